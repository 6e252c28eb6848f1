package policies_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// ways are parameters of CriticalPath whose code differs.
func ways() map[string]policies.CriticalPath {
	heavy := policies.Weights{Rank: 0.3, Latency: 0.3, Share: 0.3, Preds: 0.3, Heat: 0.9, Age: 0.3}
	noHeat, noAge := policies.DefaultWeights, policies.DefaultWeights
	noHeat.Heat, noAge.Age = 0, 0
	return map[string]policies.CriticalPath{
		"as it is":           {W: policies.DefaultWeights, Score: 8},
		"all nodes":          {W: heavy, Score: 0},
		"two nodes":          {W: heavy, Score: 2, Patience: 5 * time.Second},
		"impatient":          {W: policies.DefaultWeights, Score: 0, Patience: time.Second},
		"at once":            {W: noAge, Score: 8, Patience: 1},
		"first fit, no heat": {W: noHeat, First: true, Patience: 3 * time.Second},
	}
}

// pair returns the policy and its plain form.
func pair(p policies.CriticalPath) (sched.Policy, sched.Policy) {
	return &policies.CriticalPath{W: p.W, Patience: p.Patience, Score: p.Score, First: p.First},
		&policies.PlainCriticalPath{W: p.W, Patience: p.Patience, Score: p.Score, First: p.First}
}

// TestCriticalPathGivesTheOrdersOfItsPlainForm drives both through the same facts of every kind, also after the policy is restored.
func TestCriticalPathGivesTheOrdersOfItsPlainForm(t *testing.T) {
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases := policytest.Cases(policytest.Gen{MaxTasks: 40})
			reserved := 0
			rapid.Check(t, func(rt *rapid.T) {
				c := cases.Draw(rt, "case")
				slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return cmp.Compare(a.At, b.At) })
				config := sched.Config{Table: c.Table, Nodes: c.Nodes, Start: c.Table.Tasks[0].Submit, Waits: true}
				fast, plain := pair(way)
				config.Policy = fast
				k, err := sched.New(config)
				if err != nil {
					rt.Fatal(err)
				}
				config.Policy = plain
				second, err := sched.New(config)
				if err != nil {
					rt.Fatal(err)
				}
				h := &hand{c: c, k: k, now: config.Start, kept: map[sched.TaskID]time.Duration{}}
				calm, restarted := rapid.Bool().Draw(rt, "calm"), false
				for i := range 400 {
					at, in, more := h.surprised(rt, !calm && i < 60)
					if !more {
						break
					}
					if i < 60 && rapid.IntRange(0, 24).Draw(rt, "restart") == 24 { // both are told the present anew
						fast, _ := pair(way)
						config.Policy = fast
						k = restore(rt, k, config)
						h.k, restarted = k, true
					}
					again := slices.Clone(in)
					orders, same := k.Step(at, in), second.Step(at, again)
					if !slices.EqualFunc(orders, same, sameOrder) {
						rt.Fatalf("batch %d at %v: %v, the plain form %v", i, at, orders, same)
					}
					if a, b := k.Queued(), second.Queued(); a != b {
						rt.Fatalf("batch %d at %v: %d wait, under the plain form %d", i, at, a, b)
					}
					reserved += k.Queued()
					h.carryOut(orders)
				}
				if a, b := k.Books().CauseSeconds, second.Books().CauseSeconds; a != b && !restarted { // what is told anew is spoken of anew
					rt.Fatalf("causes %v, of the plain form %v", a, b)
				}
			})
			if reserved == 0 {
				t.Error("nothing waited")
			}
		})
	}
}

// TestAnEdgeOfTheSameInstantTakesTheTurnOfATaskBack: task 1 is ready at 5 s until, a decision later, an edge has it wait for task 0. When that ends, task 2
// has waited since 5 s, and task 1 for no time at all.
func TestAnEdgeOfTheSameInstantTakesTheTurnOfATaskBack(t *testing.T) {
	w := workload(t, cores(0, 10, 1), cores(5, 10, 1), cores(5, 10, 1))
	p := &policies.CriticalPath{W: policies.DefaultWeights, Patience: 1, First: true}
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: machines(1, 1, 0), Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	arrival := func(t sched.TaskID) sched.Event {
		return sched.Event{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}
	}
	k.Step(0, []sched.Event{arrival(0)})
	k.Step(second(5), []sched.Event{arrival(1), arrival(2)})
	k.Step(second(5), []sched.Event{{Kind: sched.EdgeAdded, Task: 0, Other: 1}})
	got := k.Step(second(10), []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1, Done: 10 * time.Second}})
	if len(got) != 1 || got[0].Kind != sched.Start || got[0].Task != 2 {
		t.Errorf("orders %v, want the start of task 2", got)
	}
}

// milli is a row of a job that asks for so many milli-CPU, on a node of zone a if that is said.
func milli(job string, at, estimate float64, cpu int64, zone bool) traces.Row {
	return with(cores(at, estimate, 1), func(r *traces.Row) {
		r.Job, r.ID, r.Need.CPU = job, fmt.Sprint(job, at), cpu
		if zone {
			r.Labels = []sched.Label{{Key: "zone", Value: "a"}}
		}
	})
}

// end is a task that ends at a second.
type end struct {
	at   float64
	task sched.TaskID
}

// toldAlike submits tasks and ends some under critical-path, and compares why tasks waited with what its plain form says.
func toldAlike(t *testing.T, nodes []sched.NodeSpec, rows []traces.Row, ends ...end) {
	t.Helper()
	w := workload(t, rows...)
	told := func(p sched.Policy) [sched.NumCauses]float64 {
		k, err := sched.New(sched.Config{Table: w.Table, Nodes: nodes, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		facts := map[sched.Time][]sched.Event{}
		for id := range w.Tasks {
			at := w.Tasks[id].Submit
			facts[at] = append(facts[at], arrival(sched.TaskID(id)))
		}
		for _, e := range ends {
			facts[second(e.at)] = append(facts[second(e.at)], report(sched.Finished, e.task, 1, 0))
		}
		for _, at := range slices.Sorted(maps.Keys(facts)) {
			k.Step(at, facts[at])
		}
		if k.Over() != len(ends) {
			t.Fatalf("%d tasks are over, not %d: one had not started", k.Over(), len(ends))
		}
		return k.Books().CauseSeconds
	}
	fast, plain := pair(ways()["at once"])
	if a, b := told(fast), told(plain); a != b {
		t.Errorf("causes %v, of the plain form %v", a, b)
	}
}

// TestWhoComesFirstByTheEndOfATaskIsToldThatThereIsNoRoom: tasks 4 and 5 would delay the reservation of task 3 until task 6 starts and leaves them no room, of
// which only the first of them is told, task 5. As task 0 ends at 10 s, task 4 is what is left of its job's longest path and comes first; there is still no room.
func TestWhoComesFirstByTheEndOfATaskIsToldThatThereIsNoRoom(t *testing.T) {
	toldAlike(t, machines(1, 4, 0), []traces.Row{
		milli("a", 0, 3000, 300, false), milli("b", 0, 1000, 1000, false), milli("c", 0, 1000, 100, false), milli("d", 1, 400, 3600, false),
		milli("a", 2, 1500, 2000, false), milli("b", 2, 1500, 2000, false), milli("e", 3, 500, 1100, false), milli("f", 4, 1, 3600, false),
	}, end{5, 2}, end{10, 0}, end{20, 6})
}

// TestWhoStandsBehindTheNextWithAReservationIsToldThatThereIsNoRoom: tasks 4 and 5, which may run on node 0 only, would delay the reservation of task 3 there until
// task 6 starts and leaves them no room, of which only task 4 is told. As task 2 ends at 20 s, task 3 starts on node 1. Task 4 has the reservation now, so that
// task 5 is the first of their line.
func TestWhoStandsBehindTheNextWithAReservationIsToldThatThereIsNoRoom(t *testing.T) {
	nodes := machines(2, 4, 0)
	nodes[0].Labels = []sched.Label{{Key: "zone", Value: "a"}}
	toldAlike(t, nodes, []traces.Row{
		milli("a", 0, 500, 1900, true), milli("b", 0, 1000, 100, true), milli("c", 0, 1000, 4000, false), milli("d", 1, 400, 3600, false),
		milli("e", 2, 1500, 2000, true), milli("f", 2, 1500, 2000, true), milli("g", 3, 100, 300, true), milli("h", 4, 1, 3600, false),
	}, end{5, 1}, end{20, 2}, end{30, 6}, end{100, 0})
}

// crowd is a workload for a busy cluster: jobs of one task and of several, some of them workflows, some tasks with deadlines, gangs and
// shares of GPUs, on nodes of three kinds. dags and gangs false leave the workflows and the gangs out.
func crowd(t testing.TB, rng *rand.Rand, n int, dags, gangs bool) (*traces.Workload, []sched.NodeSpec) {
	var nodes []sched.NodeSpec
	for i := range 130 {
		spec := sched.NodeSpec{Name: fmt.Sprint("n", i), CPU: 32000, Mem: 128 << 30, VRAM: sched.Unlimited, StorageLatency: time.Duration(rng.IntN(3)) * time.Millisecond}
		switch rng.IntN(4) {
		case 0:
			spec.GPUs, spec.GPUType, spec.VRAM = 4, "A100", 40<<30
		case 1:
			spec.GPUs, spec.GPUType, spec.VRAM = 8, "T4", 16<<30
		case 2:
			spec.Mem = sched.Unlimited
		}
		nodes = append(nodes, spec)
	}
	b := traces.NewBuilder("crowd", "test")
	at := 0.0
	for i := 0; i < n; {
		at += rng.ExpFloat64() * 0.3
		size := 1
		if rng.IntN(4) == 0 {
			size = 1 + rng.IntN(30)
		}
		for j := range size {
			d := time.Duration(60e9*math.Exp(rng.NormFloat64())) + 1
			r := traces.Row{Job: fmt.Sprint(i), ID: fmt.Sprint(j), Submit: second(math.Floor(at*1e3) / 1e3), Run: d, Estimate: d * time.Duration(2+rng.IntN(3)) / 2}
			r.Need = sched.Need{CPU: 1000 << rng.IntN(4), Mem: 1 << 30 << rng.IntN(5)}
			switch rng.IntN(5) {
			case 0:
				r.Need.GPUs, r.Need.GPUMilli = 1<<rng.Int32N(3), sched.Whole
			case 1:
				r.Need.GPUs, r.Need.GPUMilli, r.GPUTypes = 1, 500, []string{"t4"}
			case 2:
				if gangs {
					r.Gang = 1 + rng.Int32N(40)
				}
			}
			if rng.IntN(5) == 0 {
				r.Deadline = d * time.Duration(1+rng.IntN(5))
			}
			r.Criticality = float64(rng.IntN(3)) / 2
			if dags {
				for k := range j {
					if rng.IntN(j+1) < 2 {
						r.After = append(r.After, fmt.Sprint(k))
					}
				}
			}
			if err := b.Add(&r); err != nil {
				t.Fatal(err)
			}
		}
		i += size
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return w, nodes
}

func TestOnABusyClusterCriticalPathGivesTheOrdersOfItsPlainForm(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(7) {
				rng := rand.New(rand.NewPCG(seed, 77))
				w, nodes := crowd(t, rng, 700, seed%2 == 0, seed < 4)
				var faults []sim.Fault
				if seed%4 > 1 {
					for range 6 {
						node, at := sched.NodeID(rng.IntN(len(nodes))), 20+rng.Float64()*400
						faults = append(faults, sim.Fault{At: second(at), Node: node}, sim.Fault{At: second(at + 30), Node: node, Up: true})
					}
				}
				fast, plain := pair(way)
				run := func(p sched.Policy) string {
					tap, text := orders()
					c := config(w, nodes, p, tap)
					c.Faults = faults
					simulate(t, c)
					return text()
				}
				if a, b := run(fast), run(plain); a != b {
					i := 0
					for i < min(len(a), len(b)) && a[i] == b[i] {
						i++
					}
					t.Fatalf("seed %d: after %d bytes %.200s, the plain form %.200s", seed, i, a[i:], b[i:])
				}
			}
		})
	}
}
