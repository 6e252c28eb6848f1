package policies

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// longest is the b-level by its definition, of the tasks that have arrived.
func longest(s *sched.State, t sched.TaskID, known map[sched.TaskID]int64) int64 {
	if r, ok := known[t]; ok {
		return r
	}
	deepest := int64(0)
	for u := range s.Succs(t) {
		if s.Phase(u) != sched.Unknown {
			deepest = max(deepest, longest(s, u, known))
		}
	}
	known[t] = int64(s.Estimate(t)) + deepest
	return known[t]
}

// TestBLevelsAreTheLongestPathsWhateverComes has jobs arrive, estimates change and dependencies be added in any order, while nothing runs.
func TestBLevelsAreTheLongestPathsWhateverComes(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{MaxTasks: 40})
	arrivals, edges, moved := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		if rapid.Bool().Draw(rt, "without dependencies") { // the first may be added later
			tb := *c.Table
			tb.SuccOff, tb.PredOff, tb.Succ, tb.Pred = nil, nil, nil, nil
			c.Table = &tb
		}
		skip := rapid.Bool().Draw(rt, "skip")
		fresh := func() *BLevel {
			return NewBLevel(func(_ *sched.State, _ *sched.Room, _ sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
				return buf, false
			}, skip)
		}
		b := fresh()
		k, err := sched.New(sched.Config{Table: c.Table, Nodes: c.Nodes, Policy: b})
		if err != nil {
			rt.Fatal(err)
		}
		var jobs []sched.Event
		for t := range c.Table.Tasks {
			if t > 0 && c.Table.Tasks[t].Job == c.Table.Tasks[t-1].Job {
				jobs[len(jobs)-1].N++
				continue
			}
			jobs = append(jobs, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(t), N: 1, Node: sched.NoNode})
		}
		jobs = rapid.Permutation(jobs).Draw(rt, "order")
		some := rapid.IntRange(0, len(c.Table.Tasks)-1)
		for len(jobs) > 0 || rapid.IntRange(0, 9).Draw(rt, "on") > 0 {
			e := sched.Event{Kind: sched.Updated, Task: sched.TaskID(some.Draw(rt, "task")), Node: sched.NoNode}
			switch what := rapid.IntRange(0, 3).Draw(rt, "what"); {
			case what < 2 && len(jobs) > 0:
				e, jobs = jobs[0], jobs[1:]
				arrivals++
			case what < 3:
				e.Kind, e.Other = sched.EdgeAdded, sched.TaskID(some.Draw(rt, "other"))
				edges++
			default:
				e.Value = rapid.Int64Range(0, 50).Draw(rt, "estimate") * 1e9
			}
			before := slices.Clone(b.ranks)
			k.Step(0, []sched.Event{e})
			known := map[sched.TaskID]int64{}
			for t := range sched.TaskID(k.Known()) {
				if k.Phase(t) == sched.Unknown {
					continue
				}
				if want := longest(&k.State, t, known); b.ranks[t] != want {
					rt.Fatalf("after %v of %d: the b-level of %d is %d, kept is %d", e.Kind, e.Task, t, want, b.ranks[t])
				}
				if int(t) < len(before) && before[t] != untold && before[t] != b.ranks[t] {
					moved++
				}
			}
		}
		var state bytes.Buffer
		if err := k.Snapshot(&state); err != nil {
			rt.Fatal(err)
		}
		again := fresh() // it is told of jobs whose edges, added ones too, are there
		if k, err = sched.Restore(&state, sched.Config{Table: c.Table, Nodes: c.Nodes, Policy: again}); err != nil {
			rt.Fatal(err)
		}
		for t := range sched.TaskID(k.Known()) {
			if k.Phase(t) != sched.Unknown && again.ranks[t] != b.ranks[t] {
				rt.Fatalf("the b-level of %d is %d, restored %d", t, b.ranks[t], again.ranks[t])
			}
		}
	})
	if arrivals == 0 || edges == 0 || moved == 0 {
		t.Errorf("%d arrivals, %d edges, %d b-levels that changed: the cases say little", arrivals, edges, moved)
	}
}
