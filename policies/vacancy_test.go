package policies_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// TestWhoTakesWhatATaskHasLeftIsAndWaitsAsIfAllLinesWereAsked compares policies of the catalogue, which hand what a task has left to the next of its demand, with the
// same policies made in Go, which open lines as others may be around them. Orders are the same, and so is all that is told of waiting.
func TestWhoTakesWhatATaskHasLeftIsAndWaitsAsIfAllLinesWereAsked(t *testing.T) {
	const text = "wait/estimate + priority"
	for name, plain := range map[string]func() (sched.Policy, error){
		"fjf":                      func() (sched.Policy, error) { return &policies.List{Skip: true}, nil },
		"blevel{skip=true}":        func() (sched.Policy, error) { return policies.NewBLevel(nil, true), nil },
		"qssf{skip=true}":          func() (sched.Policy, error) { return policies.NewQSSF(nil, true, 1), nil },
		"expr{skip=true}: " + text: func() (sched.Policy, error) { return policies.NewExpression(text, nil, true) },
	} {
		t.Run(name, func(t *testing.T) {
			build := build(t, name)
			cases := policytest.Cases(policytest.Gen{MaxTasks: 40})
			starts := 0
			check := func(rt *rapid.T) {
				c := cases.Draw(rt, "case")
				if few := rapid.IntRange(0, 2).Draw(rt, "demands"); few > 0 { // else as many as the case has
					tb := *c.Table
					tb.Classes = slices.Clone(tb.Classes)
					for i := range tb.Classes {
						tb.Classes[i].Demand = tb.Classes[i%min(few, len(tb.Classes))].Demand
					}
					c.Table = &tb
				}
				p, err := plain()
				if err != nil {
					rt.Fatal(err)
				}
				both, n := lockstep(rt, c, sched.Config{Waits: true, WaitParts: true}, build(), p)
				starts += n
				if a, b := both[0].Waits(), both[1].Waits(); !slices.Equal(a, b) {
					rt.Errorf("waits %v, wanted %v", a, b)
				}
				if a, b := both[0].Books(), both[1].Books(); a != b {
					rt.Errorf("books %v, wanted %v", a, b)
				}
			}
			for range 20 { // who is told to head the line is seldom seen
				rapid.Check(t, check)
			}
			if starts == 0 {
				t.Error("nothing was started")
			}
		})
	}
}

// TestWhatALineThatRanEmptyLacksIsSeenAtItsTurn: of the room of 8 CPUs and 4 bytes, the first two tasks take 4 and 4 each, one after the other. The third, which asks for as
// much, comes together with one that asks for 4 CPUs alone and starts: it lacks memory, as it did at its turn, and not the CPUs that the other has taken since.
func TestWhatALineThatRanEmptyLacksIsSeenAtItsTurn(t *testing.T) {
	tb := &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 4,
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 4000, Mem: 4}}, {Gang: 1, Need: sched.Need{CPU: 4000}}},
		Classes: []sched.Class{{Demand: 0}, {Demand: 1}},
	}
	for i, at := range []sched.Time{0, 0, 12e9, 12e9} {
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: at, Job: sched.JobID(i), Class: sched.ClassID(i / 3)})
		tb.Estimates = append(tb.Estimates, 10*time.Second)
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: 8000, Mem: 4}}, Policy: build(t, "fjf")(), Waits: true, WaitParts: true})
	if err != nil {
		t.Fatal(err)
	}
	arrived := func(t sched.TaskID) sched.Event {
		return sched.Event{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}
	}
	done := func(t sched.TaskID) []sched.Event {
		return []sched.Event{{Kind: sched.Finished, Task: t, Attempt: 1, Node: sched.NoNode, Done: 10 * time.Second}}
	}
	k.Step(0, []sched.Event{arrived(0), arrived(1)})
	k.Step(10e9, done(0))
	k.Step(12e9, []sched.Event{arrived(2), arrived(3)})
	k.Step(20e9, done(1))
	found := false
	for _, w := range k.WaitParts() {
		found = found || w.Task == 2
		if w.Task == 2 && w.Lack != sched.Memory {
			t.Errorf("%+v, want memory", w)
		}
	}
	if !found {
		t.Error("nothing is told of the third")
	}
}
