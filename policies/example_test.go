package policies_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// show runs a policy of any kind on a small trace, and prints the start of each task.
func show(p sched.Policy) {
	w, err := traces.Open("testdata/example.csv", "")
	if err != nil {
		panic(err)
	}
	nodes, err := cluster.Parse("2x4gpu")
	if err != nil {
		panic(err)
	}
	res, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: nodes, Policy: p})
	if err != nil {
		panic(err)
	}
	for t := range sched.TaskID(w.Len()) {
		o := res.Outcome(t)
		fmt.Printf("%s waits %g s for node %d\n", w.TaskNames.At(int(t)), o.Wait().Seconds(), o.Node)
	}
}

// An order of tasks is a function: the smallest value starts first, ties go to the lower number.
func ExampleList() {
	largest := func(s *sched.State, t sched.TaskID) int64 { return -s.Demand(t).GPUTotal() }
	show(&policies.List{Key: largest, Skip: true})
	// Output:
	// first waits 0 s for node 0
	// second waits 0 s for node 1
	// small waits 20 s for node 1
	// large waits 10 s for node 0
	// urgent waits 15 s for node 0
}

// The same order as on the command line: `schedlab compare --policies 'fifo,expr: gpus'`.
func ExampleNewExpression() {
	p, err := policies.NewExpression("gpus", nil, true)
	if err != nil {
		panic(err)
	}
	show(p)
	// Output:
	// first waits 0 s for node 0
	// second waits 0 s for node 1
	// small waits 20 s for node 1
	// large waits 10 s for node 0
	// urgent waits 15 s for node 0
}

// urgentFirst is a policy from scratch: it starts tasks by their priority, and stops one of lower priority where that makes room.
type urgentFirst struct{ waiting []sched.TaskID }

// Observe is told every fact once the state has taken it in. A policy that knows TaskReady only is already right when tasks fail, are stopped or
// lose their nodes: they are ready again.
func (p *urgentFirst) Observe(_ *sched.State, e sched.Event) {
	if e.Kind == sched.TaskReady {
		p.waiting = append(p.waiting, e.Task)
	}
}

// Decide is asked once for each batch of facts.
func (p *urgentFirst) Decide(r *sched.Round) {
	p.waiting = slices.DeleteFunc(p.waiting, func(t sched.TaskID) bool { return r.Phase(t) != sched.Ready })
	slices.SortFunc(p.waiting, func(a, b sched.TaskID) int { // a total order, ties to the lower number
		return cmp.Or(cmp.Compare(r.Class(b).Priority, r.Class(a).Priority), cmp.Compare(a, b))
	})
	p.waiting = slices.Compact(p.waiting) // a task that was held is told ready again
	for _, t := range p.waiting {
		if !r.StartFirst(t) && !p.preempt(r, t) {
			r.Skip(t, sched.NoRoom)
			return // the head of the line blocks
		}
	}
}

// preempt claims the room of the first running task that is less urgent and whose room would do.
func (p *urgentFirst) preempt(r *sched.Round, t sched.TaskID) bool {
	for v := range r.RunningTasks() {
		if r.Class(v).Priority < r.Class(t).Priority && r.Claim(t, r.Placements(v), v) {
			return true // it starts by itself when v has stopped
		}
	}
	return false
}

func Example() {
	show(&urgentFirst{})
	// Output:
	// first waits 7 s for node 0
	// second waits 0 s for node 1
	// small waits 17 s for node 0
	// large waits 20 s for node 1
	// urgent waits 0 s for node 0
}

// The conformance suite checks a policy of one's own as it does those of the catalogue.
func TestTheExamplePolicyKeepsTheContract(t *testing.T) {
	policytest.Conform(t, "urgent first", func() sched.Policy { return &urgentFirst{} }, inSim)
}

// inSim is the simulator as a driver of the conformance suite.
func inSim(tb testing.TB, c policytest.Case, p sched.Policy, tap func(sched.Time, []sched.Event, []sched.Command)) func(sched.TaskID) sched.Outcome {
	cfg := sim.Config{
		Workload: &traces.Workload{Table: c.Table, Run: c.Run, RunOn: c.RunOn, Source: "case"},
		Nodes:    c.Nodes, Policy: p, Restart: c.Restart, KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead,
		Tap: func(now sched.Time, in []sched.Event, out []sched.Command) error { tap(now, in, out); return nil },
	}
	for _, f := range c.Faults {
		cfg.Faults = append(cfg.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up, Task: f.Task, Attempt: f.Attempt, After: f.After})
	}
	if sim.Placeable(cfg.Workload, cfg.Nodes) != nil {
		return nil // a task fits no node, and the simulator refuses the case
	}
	res, err := sim.Run(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return res.Outcome
}
