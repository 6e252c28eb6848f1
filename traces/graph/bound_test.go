package graph

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// The bound by work looks at divisions only where they may say something new; here they are all done.
func TestTheBoundByWorkIsTheLargestOverAllReleases(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{1, 7, 30, block, 3*block + 5}).Draw(rt, "tasks")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		cpus := int64(rapid.SampledFrom([]int{1, 2, 5, 8, block/8 + 1}).Draw(rt, "cpus"))
		scale := rapid.SampledFrom([]int64{1, 1000, 1e9, 1e13, 1e16}).Draw(rt, "ns") // of the last few fit into 64 bits
		tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(n)}
		for c := range cpus {
			tb.Demands = append(tb.Demands, sched.Demand{Gang: 1, Need: sched.Need{CPU: (c + 1) * 1000}})
			tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(c)})
		}
		var submits, run []int64
		span, most := rapid.Int64Range(1, 200).Draw(rt, "span"), rapid.Int64Range(1, 40).Draw(rt, "longest")
		uneven := scale < 1e16 && rapid.Bool().Draw(rt, "uneven") // or times would not fit
		at, gap := int64(0), int64(1)
		for range n {
			if uneven { // idle times and crowds, so that the bound may come from anywhere
				if rng.IntN(60) == 0 {
					gap = []int64{1, 8, 20, 40}[rng.IntN(4)]
				}
				at += rng.Int64N(gap)
			} else {
				at = rng.Int64N(span + 1)
			}
			submits = append(submits, at*scale)
			run = append(run, rng.Int64N(most+1)*scale)
		}
		slices.Sort(submits)
		runs := make([]time.Duration, n)
		for i := range n {
			class := sched.ClassID(rng.Int64N(cpus))
			tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(submits[i]), Job: sched.JobID(i), Class: class})
			runs[i] = time.Duration(run[i])
		}
		nodes := []sched.NodeSpec{{Name: "n", CPU: cpus * 1000, Mem: sched.Unlimited}}
		got, err := LowerBound(tb, runs, nil, nodes)
		if err != nil {
			rt.Fatal(err)
		}
		var work, path time.Duration
		area := new(big.Int) // of the tasks released from here on, in cores x ns
		for i := n - 1; i >= 0; i-- {
			area.Add(area, new(big.Int).Mul(big.NewInt(run[i]), big.NewInt(int64(tb.Tasks[i].Class)+1)))
			path = max(path, time.Duration(submits[i]-submits[0]+run[i]))
			if i > 0 && submits[i-1] == submits[i] {
				continue // released with it
			}
			at := new(big.Int).Div(area, big.NewInt(cpus))
			if at.Add(at, big.NewInt(submits[i]-submits[0])); !at.IsInt64() {
				at.SetInt64(math.MaxInt64)
			}
			work = max(work, time.Duration(at.Int64()))
		}
		if got.CPU != work || got.Path != path {
			rt.Fatalf("by work %v and by path %v, want %v and %v", got.CPU, got.Path, work, path)
		}
	})
}

// A ring of any size gives each task the largest value of its predecessors, or says that an edge reaches too far back for it.
func TestARingGivesTheLargestValueOfThePredecessorsOrSaysThatItIsTooSmall(t *testing.T) {
	fits, small := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(rt, "tasks")
		tb := &sched.Table{Tasks: make([]sched.Task, n), PredOff: []int32{0}, Jobs: 2}
		far := rapid.SampledFrom([]int{1, 5, 60}).Draw(rt, "edges reach back")
		size := 1 << rapid.IntRange(0, 6).Draw(rt, "size")
		sameJob, fit := rapid.Bool().Draw(rt, "same job"), true
		for i := range n {
			tb.Tasks[i].Job = sched.JobID(rapid.IntRange(0, 1).Draw(rt, "job"))
			for p := max(0, i-far); p < i; p++ {
				if rapid.IntRange(0, 3).Draw(rt, "edge") == 0 {
					tb.Pred, fit = append(tb.Pred, sched.TaskID(p)), fit && i-p < size
				}
			}
			if rapid.IntRange(0, 999).Draw(rt, "back") == 0 {
				tb.Pred, fit = append(tb.Pred, sched.TaskID(rapid.IntRange(i, n-1).Draw(rt, "to"))), false
			}
			tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
		}
		var want []time.Duration
		got := forward(tb, sameJob, make([]time.Duration, size), func(t sched.TaskID, before time.Duration) time.Duration {
			largest := time.Duration(0)
			for _, p := range tb.Preds(t) {
				if !sameJob || tb.Tasks[p].Job == tb.Tasks[t].Job {
					largest = max(largest, want[p])
				}
			}
			if before != largest {
				rt.Fatalf("task %d gets %d, want %d", t, before, largest)
			}
			want = append(want, largest+time.Duration(rapid.IntRange(0, 9).Draw(rt, "more")))
			return want[t]
		})
		if got != fit {
			rt.Fatalf("a ring of %d fits: %v, want %v", size, got, fit)
		}
		if fit {
			fits++
		} else {
			small++
		}
	})
	if fits == 0 || small == 0 {
		t.Errorf("%d rings that fit and %d that do not", fits, small)
	}
}
