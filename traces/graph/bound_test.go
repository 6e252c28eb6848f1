package graph

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// The bound by work looks at divisions only where they may say something new, and sums tasks up by class where there are few and none is long; here all
// divisions are done, task by task.
func TestTheBoundByWorkIsTheLargestOverAllReleases(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, scale := rapid.IntRange(1, 20).Draw(rt, "tasks"), rapid.SampledFrom([]int64{1, 1000, 1e9, 1e13, 1e15}).Draw(rt, "ns")
		if scale < 1e13 && rapid.Bool().Draw(rt, "many") {
			n += part * rapid.IntRange(1, 6).Draw(rt, "parts")
		}
		cpus, classes := int64(rapid.IntRange(1, 8).Draw(rt, "cpus")), int64(rapid.SampledFrom([]int{1, 3, mostClasses, mostClasses + 1}).Draw(rt, "classes"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(n)}
		for c := range classes {
			tb.Demands = append(tb.Demands, sched.Demand{Gang: 1, Need: sched.Need{CPU: (c%cpus + 1) * 1000}})
			tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(c)})
		}
		submits, run := make([]int64, n), make([]int64, n)
		at, gap := int64(0), int64(0)
		for i := range n {
			if rng.IntN(60) == 0 || i == 0 { // idle times and crowds, so that the bound may come from anywhere
				gap = []int64{1, 8, 20, 40}[rng.IntN(4)]
			}
			at += rng.Int64N(gap) * scale
			submits[i], run[i] = at, rng.Int64N(40)*scale
		}
		runs := make([]time.Duration, n)
		for i := range n {
			class := sched.ClassID(rng.Int64N(classes))
			tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(submits[i]), Deadline: sched.Never, Job: sched.JobID(i), Class: class})
			runs[i] = time.Duration(run[i])
		}
		nodes := []sched.NodeSpec{{Name: "n", CPU: cpus * 1000, Mem: sched.Unlimited}}
		got, err := LowerBound(tb, runs, nil, nodes)
		if err != nil {
			rt.Fatal(err)
		}
		var work, path time.Duration
		for i := range n {
			var area int64 // of the tasks released from here on, in cores x ns
			for j := range n {
				if submits[j] >= submits[i] {
					area += run[j] * (int64(tb.Tasks[j].Class)%cpus + 1)
				}
			}
			work = max(work, time.Duration(submits[i]-submits[0]+area/cpus))
			path = max(path, time.Duration(submits[i]-submits[0]+run[i]))
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
