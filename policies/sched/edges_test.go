package sched

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What a task waits for is kept in a byte where it fits: whatever the number, it is the one that a plain count gives.
func TestWaitsForCountsAnyNumberOfPredecessors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		preds := rapid.SampledFrom([]int{1, 5, manyPreds - 1, manyPreds, manyPreds + 1, 400}).Draw(rt, "predecessors")
		late := rapid.IntRange(0, preds).Draw(rt, "of them with an edge added later")
		last := TaskID(preds)
		tb := &Table{Tasks: make([]Task, preds+1), Jobs: 1, Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Demands: []Demand{{Gang: 1}}, Classes: []Class{{}}}
		tb.Estimates = make([]time.Duration, preds+1)
		tb.PredOff, tb.SuccOff = make([]int32, preds+2), make([]int32, preds+2)
		for p := range TaskID(preds) {
			if int(p) >= late {
				tb.Pred, tb.Succ = append(tb.Pred, p), append(tb.Succ, last)
			}
			tb.SuccOff[p+1] = int32(len(tb.Succ))
		}
		tb.SuccOff[last+1], tb.PredOff[last+1] = int32(len(tb.Succ)), int32(len(tb.Pred))
		k, err := New(Config{Table: tb, Nodes: []NodeSpec{{Name: "n", CPU: Unlimited, Mem: Unlimited}}, Policy: startAll{}})
		if err != nil {
			rt.Fatal(err)
		}
		in := []Event{{Kind: JobArrived, Task: 0, N: int32(preds + 1)}}
		for p := range TaskID(late) {
			in = append(in, Event{Kind: EdgeAdded, Task: p, Other: last})
		}
		k.Step(0, in)
		order := rapid.Permutation(seq(preds)).Draw(rt, "order of the ends")
		failed := rapid.IntRange(0, 4*preds).Draw(rt, "the one that fails") // mostly none does
		for i, p := range order {
			if got := k.WaitsFor(last); got != preds-i {
				rt.Fatalf("it waits for %d, not for %d", preds-i, got)
			}
			if i == failed {
				k.Step(Time(i+1), []Event{{Kind: Killed, Task: p, Attempt: 1}})
				if got := k.WaitsFor(last); got != preds-i || k.Phase(last) != Dropped {
					rt.Fatalf("it was dropped as it waited for %d; it is %v and waits for %d", preds-i, k.Phase(last), got)
				}
				for _, p := range order[i+1:] {
					k.Step(Time(i+2), []Event{{Kind: Finished, Task: p, Attempt: 1}})
				}
				if got := k.WaitsFor(last); got != preds-i {
					rt.Fatalf("it was dropped as it waited for %d, and now waits for %d", preds-i, got)
				}
				return
			}
			k.Step(Time(i+1), []Event{{Kind: Finished, Task: p, Attempt: 1}})
		}
		if k.WaitsFor(last) != 0 || k.Phase(last) != Running || len(k.many) > 0 {
			rt.Fatalf("all are done: it is %v, waits for %d, and %d numbers stand apart", k.Phase(last), k.WaitsFor(last), len(k.many))
		}
	})
}

func seq(n int) (s []TaskID) {
	for i := range TaskID(n) {
		s = append(s, i)
	}
	return s
}

// startAll starts whatever is ready.
type startAll struct{}

func (startAll) Observe(*State, Event) {}

func (startAll) Decide(r *Round) {
	for t := range TaskID(r.Known()) {
		r.StartFirst(t)
	}
}
