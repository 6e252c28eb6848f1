package graph

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// The bound by work looks at divisions only where they may say something new; here they are all done.
func TestTheBoundByWorkIsTheLargestOverAllReleases(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(rt, "tasks")
		cpus := int64(rapid.IntRange(1, 8).Draw(rt, "cpus"))
		scale := rapid.SampledFrom([]int64{1, 1000, 1e9, 1e13}).Draw(rt, "ns")
		tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(n)}
		for c := range cpus {
			tb.Demands = append(tb.Demands, sched.Demand{Gang: 1, Need: sched.Need{CPU: (c + 1) * 1000}})
			tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(c)})
		}
		var submits, run []int64
		for range n {
			submits = append(submits, rapid.Int64Range(0, 200).Draw(rt, "submit")*scale)
			run = append(run, rapid.Int64Range(0, 40).Draw(rt, "run")*scale)
		}
		slices.Sort(submits)
		runs := make([]time.Duration, n)
		for i := range n {
			class := sched.ClassID(rapid.Int64Range(0, cpus-1).Draw(rt, "class"))
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
					area += run[j] * int64(tb.Tasks[j].Class+1)
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
