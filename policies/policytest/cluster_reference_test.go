package policytest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// TestTheClusterReferenceOnOnePoolIsTheReferenceOfRigidJobs holds the two references, written apart, against each other: the one of rigid jobs is
// checked against published results.
func TestTheClusterReferenceOnOnePoolIsTheReferenceOfRigidJobs(t *testing.T) {
	for name, c := range map[string]struct {
		rigid   func(int64, []RefJob) []RefResult
		cluster func() RefPolicy
		perfect bool
		least   int64 // a job of no time ends in a batch of its own, which the rigid reference of SRTF does not know
	}{
		"fcfs": {RefFCFS, RefListFIFO, false, 0},
		"fjf":  {RefFJF, RefListFJF, false, 0},
		"sjf":  {RefSJF, func() RefPolicy { return RefListSJF(false) }, false, 0},
		"easy": {RefEASY, RefClusterEASY, false, 0},
		"srtf": {RefSRTF, RefListSRTF, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				procs := rapid.Int64Range(1, 8).Draw(rt, "procs")
				jobs := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) RefJob {
					j := RefJob{Submit: rapid.Int64Range(0, 50).Draw(rt, "submit"), Procs: rapid.Int64Range(1, procs).Draw(rt, "procs"), Run: rapid.Int64Range(c.least, 20).Draw(rt, "run")}
					j.Estimate = j.Run
					if !c.perfect {
						j.Estimate += rapid.Int64Range(0, 10).Draw(rt, "over")
					}
					return j
				}), 1, 20).Draw(rt, "jobs")
				slices.SortStableFunc(jobs, func(a, b RefJob) int { return cmp.Compare(a.Submit, b.Submit) })
				tb := &sched.Table{}
				one := Case{Table: tb, Nodes: []sched.NodeSpec{{CPU: procs * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}}
				for i, j := range jobs {
					tb.Demands = append(tb.Demands, sched.Demand{Need: sched.Need{CPU: j.Procs * 1000}, Gang: 1})
					tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(i)})
					tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(j.Submit) * 1e9, Class: sched.ClassID(i)})
					tb.Estimates = append(tb.Estimates, time.Duration(j.Estimate)*time.Second)
					one.Run = append(one.Run, time.Duration(j.Run)*time.Second)
				}
				got, want := RefSimulate(one, c.cluster()), c.rigid(procs, jobs)
				for i := range jobs {
					if got[i].Start != sched.Time(want[i].Start)*1e9 || got[i].End != sched.Time(want[i].Finish)*1e9 {
						rt.Fatalf("job %d runs %g..%g, the other reference says %+v", i, got[i].Start.Seconds(), got[i].End.Seconds(), want[i])
					}
				}
			})
		})
	}
}
