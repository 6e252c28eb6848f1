package priority

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"
	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// watcher notes the state and starts the first task.
type watcher struct{ s *sched.State }

func (w *watcher) Observe(s *sched.State, _ sched.Event) { w.s = s }
func (w *watcher) Decide(r *sched.Round)                 { r.StartFirst(0) }

// state has one task that runs and three that wait, at 100 s.
func state(tb interface{ Fatal(...any) }) *sched.State {
	table := &sched.Table{
		Tenants: []string{"", "red"}, Queues: []string{"", "batch"}, Kinds: []string{"", "train"}, Jobs: 4,
		Demands: []sched.Demand{{Gang: 2, Need: sched.Need{CPU: 1500, Mem: 3 << 30, GPUs: 1, GPUMilli: 1000, VRAM: 5 << 30}, GPUTypes: []string{"A"}}, {Gang: 1, Need: sched.Need{CPU: 500}}},
		Classes: []sched.Class{
			{Tenant: 1, Queue: 1, Kind: 1, Priority: 7, Criticality: 0.25, Period: 50 * time.Second},
			{Demand: 1, Criticality: 1, Priority: -2},
		},
	}
	for i := range 4 {
		table.Tasks = append(table.Tasks, sched.Task{Submit: sched.Time(i) * 10e9, Job: sched.JobID(i), Class: sched.ClassID(i % 2)})
		table.Estimates = append(table.Estimates, time.Duration(30+i)*time.Second)
	}
	table.Deadlines = []sched.Time{0, 200e9, 400e9, sched.Never}
	w := &watcher{}
	k, err := sched.New(sched.Config{Table: table, Policy: w, Nodes: []sched.NodeSpec{{CPU: 4000, Mem: 64 << 30, GPUs: 2, GPUType: "A", VRAM: 8 << 30}}})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range 4 {
		k.Step(sched.Time(i)*10e9, []sched.Event{{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1}})
	}
	k.Step(100e9, nil)
	return w.s
}

func TestVariablesHaveTheirStatedUnits(t *testing.T) {
	s := state(t)
	for _, c := range []struct {
		task sched.TaskID
		text string
		want float64
	}{
		{2, "wait", 80},
		{2, "age", 80},
		{2, "slack", 400 - 100 - 32},
		{3, "slack", math.Inf(1)},
		{3, "deadline", math.Inf(1)},
		{2, "now", 100},
		{2, "estimate + remaining", 64},
		{0, "remaining", 0},
		{0, "attained", 100},
		{0, "wait", 0},
		{0, "attempts", 1},
		{2, "attempts + attained", 0},
		{2, "submit + ready + deadline", 440},
		{2, "period", 50},
		{2, "criticality + critical", 0.5},
		{2, "priority", 7},
		{3, "priority", -2},
		{2, "gpus", 2},
		{2, "cpu", 3},
		{2, "mem_gb", 6},
		{2, "gpu_mem_gb", 5},
		{2, "gang", 2},
		{2, "upward_rank", 12},
		{2, "job_tasks", 3},
		{2, "queued", 3},
		{2, "running", 1},
		{2, "free_gpus", 0},
		{2, "free_cpu", 1},
		{2, `(tenant == "red" ? 1 : 0) + (queue startsWith "b" ? 2 : 0) + (kind in ["x", "train"] ? 4 : 0) + (gpu_type contains "A" ? 8 : 0)`, 15},
		{3, `tenant == "" and gpu_type != "A" ? 0.5 : -1`, 0.5},
	} {
		p, err := Compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := p.Value(&Scope{State: s, Task: c.task, Now: s.Now(), Rank: 12e9, Tasks: 3}); got != c.want {
			t.Errorf("%s of task %d: %v, wanted %v", c.text, c.task, got, c.want)
		}
	}
}

// drawNumber draws an expression whose value is a number; drawCondition one that is true or false.
func drawNumber(t *rapid.T, depth int) string {
	if depth == 0 || rapid.IntRange(0, 4).Draw(t, "leaf") == 0 {
		if rapid.Bool().Draw(t, "literal") { // with a point: here every number is a float, and -0.0 differs from expr's whole number -0
			return rapid.SampledFrom([]string{"0.0", "1.0", "2.5", "10.0", "1e3", "0.001"}).Draw(t, "number")
		}
		v := rapid.SampledFrom(Variables).Draw(t, "variable")
		if v.Text() {
			return "estimate"
		}
		return v.Name
	}
	a, b := drawNumber(t, depth-1), drawNumber(t, depth-1)
	switch rapid.IntRange(0, 5).Draw(t, "form") {
	case 0:
		return "-(" + a + ")"
	case 1:
		return fmt.Sprintf("(%s ? %s : 0.0 + %s)", drawCondition(t, depth-1), a, b)
	case 2:
		return fmt.Sprintf("%s(0.0 + %s, 0.0 + %s)", rapid.SampledFrom([]string{"max", "min"}).Draw(t, "of two"), a, b)
	case 3:
		return fmt.Sprintf("%s(0.0 + %s)", rapid.SampledFrom([]string{"abs", "ceil", "exp", "floor", "log", "log10", "log2", "round", "sqrt"}).Draw(t, "of one"), a)
	default:
		return fmt.Sprintf("(%s %s %s)", a, rapid.SampledFrom([]string{"+", "-", "*", "/", "**"}).Draw(t, "operator"), b)
	}
}

func drawCondition(t *rapid.T, depth int) string {
	switch rapid.IntRange(0, 3).Draw(t, "condition") {
	case 0:
		return fmt.Sprintf("%s %s %s", rapid.SampledFrom([]string{"tenant", "queue", "kind", "gpu_type"}).Draw(t, "text"),
			rapid.SampledFrom([]string{"==", "!=", "startsWith", "endsWith", "contains"}).Draw(t, "operator"), rapid.SampledFrom([]string{`""`, `"red"`, "'t'"}).Draw(t, "word"))
	case 1:
		if depth > 0 {
			return fmt.Sprintf("(%s) %s not (%s)", drawCondition(t, depth-1), rapid.SampledFrom([]string{"and", "or", "&&", "||"}).Draw(t, "and"), drawCondition(t, depth-1))
		}
		fallthrough
	default:
		return fmt.Sprintf("%s %s %s", drawNumber(t, max(depth-1, 0)), rapid.SampledFrom([]string{"<", "<=", ">", ">=", "==", "!="}).Draw(t, "comparison"), drawNumber(t, max(depth-1, 0)))
	}
}

// The machine of github.com/expr-lang/expr is the plain one.
func TestValuesAreThoseOfExprsOwnMachine(t *testing.T) {
	s := state(t)
	numbers := 0
	rapid.Check(t, func(rt *rapid.T) {
		text := drawNumber(rt, 4)
		p, err := Compile(text)
		if err != nil {
			if strings.Contains(err.Error(), "bytes") || strings.Contains(err.Error(), "nodes") {
				return // too long
			}
			rt.Fatalf("%s: %v", text, err)
		}
		c := &Scope{State: s, Task: sched.TaskID(rapid.IntRange(0, 3).Draw(rt, "task")), Now: s.Now(), Rank: 12e9, Tasks: 3}
		env := map[string]any{}
		for i := range Variables {
			if v := &Variables[i]; v.Text() {
				env[v.Name] = v.text(c)
			} else {
				env[v.Name] = v.num(c)
			}
		}
		program, err := expr.Compile(text, append(options(), expr.AsFloat64())...)
		if err != nil {
			rt.Fatalf("%s: %v", text, err)
		}
		out, err := expr.Run(program, env)
		if err != nil {
			rt.Fatalf("%s: %v", text, err)
		}
		got, want := p.Value(c), out.(float64)
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			rt.Fatalf("%s: %v, expr's machine %v", text, got, want)
		}
		if !math.IsNaN(got) {
			numbers++
		}
	})
	if numbers < 50 && !testing.Short() { // -short draws a fifth of the cases
		t.Errorf("only %d values were numbers", numbers)
	}
}

func TestKeysOrderPrioritiesFromTheLargestOn(t *testing.T) {
	inOrder := []float64{math.Inf(1), math.MaxFloat64, 1e300, 3, 1 + 1e-9, 1, 1e-300, 0, -1e-300, -1, -1 - 1e-9, -3, -math.MaxFloat64, math.Inf(-1), math.NaN()}
	for i := 1; i < len(inOrder); i++ {
		a, b := Key(inOrder[i-1]), Key(inOrder[i])
		if a > b || a == b && inOrder[i-1] != math.Inf(1) && !math.IsInf(inOrder[i], -1) { // the largest number is rounded up to infinity
			t.Errorf("the keys of %v and %v are %d and %d", inOrder[i-1], inOrder[i], a, b)
		}
	}
	if Key(math.Copysign(0, -1)) != Key(0) || Key(-math.NaN()) != Key(math.NaN()) {
		t.Error("zeros, or what is not a number, differ by sign")
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := rapid.Float64().Draw(rt, "a"), rapid.Float64().Draw(rt, "b")
		if a < b {
			a, b = b, a
		}
		if Key(a) > Key(b) {
			rt.Fatalf("%v > %v, and has the larger key", a, b)
		}
		if Key(a) == Key(b) && math.Abs(a-b) > 1e-13*math.Abs(a) && math.Abs(a) > 1e-300 && !math.IsInf(a, 0) && math.Abs(a) < 1e308 {
			rt.Fatalf("%v and %v have one key", a, b)
		}
		if next := math.Nextafter(a, b); a > 0 && a < 1e300 && Key(a)-Key(next) > 1<<8 {
			rt.Fatalf("%v and its neighbour are far apart", a)
		}
	})
}

func TestWhatChangesTheOrderOfTasksIsFound(t *testing.T) {
	for text, want := range map[string]Order{
		"-estimate":                           Once,
		"upward_rank + 2*criticality":         Once,
		`tenant == "red" ? 1 : 0`:             Once,
		"wait":                                Steady,
		"2*wait - estimate/3 + criticality":   Steady,
		"-(slack)":                            Steady,
		"age*-0.5 + wait/4":                   Steady,
		"wait + submit - now":                 Steady,
		"(wait - 3*age) * 2":                  Steady,
		"wait/estimate":                       Shifts,
		"wait*criticality":                    Shifts,
		"wait**2":                             Shifts,
		"max(wait, 10)":                       Shifts,
		"wait > 60 ? 1 : 0":                   Shifts,
		"criticality > 0.5 ? wait : estimate": Shifts,
		"wait/0":                              Shifts,
		"estimate * free_gpus":                Shifts,
		"wait + queued":                       Shifts,
	} {
		p, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.Order() != want {
			t.Errorf("%s: %d, wanted %d", text, p.Order(), want)
		}
	}
}

// drawLinear draws sums in which the clock appears often.
func drawLinear(t *rapid.T, depth int) string {
	if depth == 0 {
		return rapid.SampledFrom([]string{"wait", "age", "slack", "now", "estimate", "criticality", "3", "priority", "wait/2", "slack*3"}).Draw(t, "part")
	}
	return fmt.Sprintf("(%s %s %s)", drawLinear(t, depth-1), rapid.SampledFrom([]string{"+", "-", "*", "/"}).Draw(t, "operator"), drawLinear(t, depth-1))
}

func TestASteadyOrderIsTheSameAtAnyTime(t *testing.T) {
	s := state(t)
	steady := 0
	rapid.Check(t, func(rt *rapid.T) {
		p, err := Compile(drawLinear(rt, 2))
		if err != nil {
			rt.Fatal(err)
		}
		if p.Order() != Steady {
			return
		}
		at := func(task sched.TaskID, now sched.Time) float64 {
			return p.Value(&Scope{State: s, Task: task, Now: now})
		}
		for _, now := range []sched.Time{-50e9, 20e9, 100e9, 1e15} {
			for a := sched.TaskID(1); a < 4; a++ {
				for b := a + 1; b < 4; b++ {
					d, zero := at(a, now)-at(b, now), at(a, 0)-at(b, 0)
					if math.IsNaN(d) && math.IsNaN(zero) || d == zero {
						continue
					}
					if scale := math.Abs(at(a, now)) + math.Abs(at(b, now)) + 1; !(math.Abs(d-zero) < 1e-9*scale) {
						rt.Fatalf("%s: tasks %d and %d differ by %v at %v and by %v at 0", p.Text, a, b, d, now, zero)
					}
				}
			}
		}
		steady++
	})
	if steady < 5 && !testing.Short() {
		t.Errorf("only %d expressions were steady", steady)
	}
}

func TestErrorsPointAtTheirPlace(t *testing.T) {
	for text, parts := range map[string][]string{
		"":                             {"missing"},
		"wai/estimate":                 {"unknown name wai (1:1)", " | wai/estimate\n | ^", "upward_rank", "log10"},
		"1 + wai":                      {"(1:5)", " | ....^"},
		"wait +":                       {"the expression ends too early (1:6)", "^"},
		"wait*1e999":                   {"a number is too large (1:10)", "^"},
		"99999999999999999999":         {"a number is too large (1:20)", "^"},
		"wait > 3":                     {"true or false", "(1:6)", "^"},
		"tenant":                       {"text", "(1:1)", "^"},
		"[1]":                          {"no number", "^"},
		"now()":                        {"not callable", "(1:1)"},
		"date('2026-01-01')":           {"unknown name date"},
		"let x = wait; x":              {"does not belong here", "(1:5)"},
		"log(tenant)":                  {"string", "(1:5)"},
		"log(1, 2)":                    {"arguments", "(1:1)"},
		`kind < "a" ? 1 : 2`:           {"<: a priority is made of", "(1:6)"},
		"gpus in [1,2] ? 1 : 2":        {"does not belong here", "(1:9)"},
		"wait matches 'a'":             {"mismatched types", "(1:6)"},
		"tenant matches 'a' ? 1 : 0":   {"matches: a priority", "(1:8)"},
		"wait ? 1 : 0":                 {"non-bool", "(1:1)"},
		"wait\n+1":                     {"one line"},
		strings.Repeat("(", 5000):      {"at most 4096 bytes"},
		strings.Repeat("1+", 1500):     {"nodes"},
		"tenant in [wait] ? 1 : 0":     {"(1:8)"},
		"tenant in ['a', kind] ? 1: 0": {"list of text", "(1:17)"},
		"$env['wait']":                 {"does not belong here"},
		"wait + nil":                   {"mismatched types"},
		"\xff":                         {"one line of at most"},
	} {
		_, err := Compile(text)
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error\n%v\ndoes not say %q", text, err, part)
			}
		}
	}
}

func TestEveryFunctionIsKnownToTheParser(t *testing.T) {
	for _, f := range Functions {
		if _, err := Compile(f + "(wait)"); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if !slices.IsSorted(Functions) {
		t.Error("the help lists functions out of order")
	}
}

func TestAnEvaluationAllocatesNothing(t *testing.T) {
	s := state(t)
	p, err := Compile(`max(wait, 10)/estimate + 2*critical + log2(gpus + 1)**2 + (tenant == "red" and kind in ["a", "train"] ? 1 : 0.5) + free_gpus`)
	if err != nil {
		t.Fatal(err)
	}
	c := &Scope{State: s, Task: 2, Now: s.Now()}
	if n := testing.AllocsPerRun(100, func() { p.Value(c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkValue(b *testing.B) {
	s := state(b)
	p, err := Compile("wait/estimate + 2*critical")
	if err != nil {
		b.Fatal(err)
	}
	c := &Scope{State: s, Task: 2, Now: s.Now()}
	b.Run("functions", func(b *testing.B) {
		for range b.N {
			p.Value(c)
		}
	})
	b.Run("expr's machine", func(b *testing.B) {
		program, err := expr.Compile("wait/estimate + 2*critical", options()...)
		if err != nil {
			b.Fatal(err)
		}
		env := map[string]any{}
		b.ReportAllocs()
		for range b.N {
			for _, name := range []string{"wait", "estimate", "critical"} {
				env[name] = Variables[lookup(name)].num(c)
			}
			if _, err := expr.Run(program, env); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"wait/estimate + 2*critical", `tenant == "a" ? 1 : 0.5`, "max(wait, 10)", "-(log10(estimate)*gpus + 870*log10(submit))", "kind in ['a']", "1..3", "wait | max(3)", "let x = 1; x", "((", "a?.b"} {
		f.Add(s)
	}
	s := state(f)
	f.Fuzz(func(t *testing.T, source string) {
		p, err := Compile(source)
		if err != nil {
			return
		}
		for task := range sched.TaskID(4) {
			Key(p.Value(&Scope{State: s, Task: task, Now: s.Now()}))
		}
	})
}
