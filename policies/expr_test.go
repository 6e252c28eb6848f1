package policies_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// expressions are variants whose code differs: taken once, once for all times, anew for each decision; by upward ranks, by job sizes; strict.
var expressions = []string{
	"expr: -estimate + 5*gpus", "expr: wait - 2*estimate", "expr: max(wait, 10)/estimate + 2*critical", "expr: upward_rank/job_tasks - wait*free_cpu",
	"expr{skip=false}: wait/estimate - upward_rank", "expr{skip=false}+best-fit: -job_tasks + slack",
}

func TestExpressionsPrintAsTheyParse(t *testing.T) {
	for text, want := range map[string]policies.Spec{
		"expr: wait":           {Name: "expr", Expr: "wait"},
		" expr :wait ":         {Name: "expr", Expr: "wait"},
		"expr{}: wait":         {Name: "expr", Expr: "wait"},
		"expr + best-fit:wait": {Name: "expr", Expr: "wait", Placement: "best-fit"},
		"expr{ skip=false , estimates=factor:2 }+seed: gpus > 1 ? wait : -estimate": {
			Name: "expr", Expr: "gpus > 1 ? wait : -estimate", Placement: "seed", Estimates: "factor:2", Set: []policies.Setting{{Key: "skip", Value: "false"}},
		},
		`expr: tenant == "a, {b: +" ? wait + 1 : 0.5`: {Name: "expr", Expr: `tenant == "a, {b: +" ? wait + 1 : 0.5`},
	} {
		got, err := policies.Parse(text)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%q is read as %+v, %v", text, got, err)
			continue
		}
		again, err := policies.Parse(got.String())
		if err != nil || again.String() != got.String() || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", got) {
			t.Errorf("%q prints as %q, which is read as %+v (%v)", text, got, again, err)
		}
		if list := policies.Split("fifo," + text + " , rr"); len(list) != 3 || list[1] != strings.TrimSpace(text) {
			t.Errorf("a list with %q splits into %q", text, list)
		}
	}
	for text, parts := range map[string][]string{
		"expr":                    {"expression is missing", "expr: wait/estimate"},
		"expr{skip=false}":        {"expression is missing"},
		"expr:":                   {"expression is missing"},
		"expr: wai":               {`policy "expr: wai"`, "unknown name wai (1:1)", "^", "known are wait"},
		"expr{skp=true}: wait":    {`no parameter "skp"`, "skip, estimates"},
		"expr+besst-fit: wait":    {`"besst-fit"`, "best-fit"},
		"expr: wait > 1":          {"true or false"},
		"exprs: wait":             {"unknown policy", "expr: ..."},
		"fifo: wait":              {"unknown policy"},
		`expr: tenant == "a ? 1`:  {"literal not terminated"},
		"expr{skip=false: wait":   {"not closed"},
		"expr: wait, 10":          {"unexpected token"},
		"expr{estimates=}: wait":  {"key=value"},
		"expr{skip=maybe}: wait ": {"true or false"},
	} {
		_, err := policies.Parse(text)
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error %q does not say %q", text, err, part)
			}
		}
	}
}

// A policy that is written as an expression decides as that of the catalogue.
func TestExpressionsDecideAsThePoliciesThatTheySpell(t *testing.T) {
	for spelled, name := range map[string]string{
		"expr: -estimate":              "sjf",
		"expr{skip=false}: -estimate":  "sjf{skip=false}",
		"expr: -deadline":              "edf{preempt=false}",
		"expr: -ready":                 "fjf",
		"expr{skip=false}: wait":       "fifo",
		"expr: upward_rank":            "blevel",
		"expr+best-fit: wait*1 + 3":    "fjf+best-fit",
		"expr{skip=false}: -1/wait**2": "fifo",
	} {
		t.Run(name, func(t *testing.T) {
			cases := policytest.Cases(policytest.Gen{MaxTasks: 24})
			a, b := build(t, spelled), build(t, name)
			rapid.Check(t, func(rt *rapid.T) {
				c := cases.Draw(rt, "case")
				if strings.Contains(spelled, "wait") {
					c.Faults = nil // a task that failed keeps its turn under FIFO; its wait is less by what it has held
				}
				var got, want string
				for i, p := range []sched.Policy{a(), b()} {
					var text strings.Builder
					h := newHand(rt, c, p)
					for range 400 {
						at, in, more := h.batch()
						if !more {
							break
						}
						sched.SortBatch(in)
						orders := h.k.Step(at, in)
						for _, o := range orders {
							fmt.Fprintf(&text, "%v %v %v %d %v; ", at, o.Kind, o.Task, o.Attempt, o.On)
						}
						h.carryOut(orders)
					}
					if i == 0 {
						got = text.String()
					} else {
						want = text.String()
					}
				}
				if got != want {
					rt.Fatalf("%s gives\n%s\n%s gives\n%s", spelled, got, name, want)
				}
			})
		})
	}
}

// TestValuesAreTakenAnewForEachDecision: while a long task runs, a short one that came later overtakes by its ratio of wait to estimate only
// as time goes by.
func TestValuesAreTakenAnewForEachDecision(t *testing.T) {
	for _, c := range []struct {
		policy string
		free   float64 // when the core comes free
		want   string
	}{
		{"expr: wait/estimate", 30, "first long short"}, // 30/20 > 10/10
		{"expr: wait/estimate", 60, "first short long"}, // 60/20 < 40/10
		{"expr: wait", 60, "first long short"},          //
		{"expr: queued > 1 and now > 0 ? -estimate : 0", 60, "first short long"},
		{"expr: wait/0", 60, "first long short"},          // both +Inf: the lower number
		{"expr: (wait - wait)/0", 60, "first long short"}, // both no number
		{"expr: kind == 'short' ? 0/0.0 : -1e300", 60, "first long short"},
		{"expr: log(-1)", 60, "first long short"},
	} {
		named := func(id string, r traces.Row) traces.Row {
			return with(r, func(r *traces.Row) { r.ID, r.Kind = id, id })
		}
		w := workload(t, named("first", cores(0, c.free, 1)), named("long", cores(0, 20, 1)), named("short", cores(20, 10, 1)))
		if got := startOrder(t, config(w, machines(1, 1, 0), nil, nil), c.policy); got != c.want {
			t.Errorf("%s at %v s: %s, wanted %s", c.policy, c.free, got, c.want)
		}
	}
}

func TestAnExpressionSaysWhenItsOrderChanges(t *testing.T) {
	for text, want := range map[string]string{
		"-estimate": "taken once", "wait - estimate": "(wait), so that the order", "wait/estimate + free_gpus": "(wait, free_gpus): they are taken anew",
	} {
		e, err := policies.NewExpression(text, nil, true)
		if err != nil || !strings.Contains(e.Changes(), want) {
			t.Errorf("%s: %q, %v", text, e.Changes(), err)
		}
	}
}

// A job that grows changes the value of its tasks that wait.
func TestAJobThatGrowsMovesItsTasks(t *testing.T) {
	table := &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 3,
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}}, Classes: []sched.Class{{}},
	}
	for _, job := range []sched.JobID{0, 1, 2, 2, 2} {
		table.Tasks = append(table.Tasks, sched.Task{Job: job})
		table.Estimates = append(table.Estimates, time.Second)
	}
	p, err := policies.NewExpression("job_tasks", nil, true)
	if err != nil {
		t.Fatal(err)
	}
	k, err := sched.New(sched.Config{Table: table, Nodes: []sched.NodeSpec{{CPU: 1000}}, Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1, Node: sched.NoNode}})
	}
	k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: 3, N: 2, Node: sched.NoNode}})
	out := k.Step(1e9, []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1, Node: sched.NoNode}})
	if len(out) != 1 || out[0].Task != 2 {
		t.Errorf("orders %v: wanted task 2, of a job of three, before task 1", out)
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range append(expressions, "expr{skip=false,estimates=perfect}+seed: tenant == 'a,b' ? 1 : 0.5", "expr:", "expr{: :}: wait", "expr: `", "expr: 'a\\', b'") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, part := range policies.Split("expr" + text) {
			spec, err := policies.Parse(part)
			if err != nil {
				continue
			}
			again, err := policies.Parse(spec.String())
			if err != nil || again.String() != spec.String() || again.Expr != spec.Expr {
				t.Fatalf("%q prints as %q, which is read as %+v (%v)", part, spec, again, err)
			}
			if list := policies.Split("fifo, " + spec.String()); len(list) != 2 && spec.Expr == "" {
				t.Fatalf("%q splits into %q", spec, list)
			}
			if _, err := policies.Build(spec, policies.Hints{}); err != nil {
				t.Fatalf("%q: %v", part, err)
			}
		}
	})
}
