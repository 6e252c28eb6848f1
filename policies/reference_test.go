package policies_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// rigid are random rigid jobs of at least so many seconds, on whole ones, so that instants collide often. Estimates are never below the run
// time.
func rigid(rng *rand.Rand, procs, least int64) []policytest.RefJob {
	jobs := make([]policytest.RefJob, 1+rng.IntN(30))
	spread := 1 + rng.Int64N(60)
	for i := range jobs {
		run := least + rng.Int64N(20)
		jobs[i] = policytest.RefJob{Submit: rng.Int64N(spread), Procs: 1 + rng.Int64N(procs), Run: run, Estimate: run}
		if rng.IntN(3) > 0 {
			jobs[i].Procs = 1 + rng.Int64N(max(procs/3, 1))
		}
		if rng.IntN(2) > 0 {
			jobs[i].Estimate += rng.Int64N(20)
		}
	}
	slices.SortStableFunc(jobs, func(a, b policytest.RefJob) int { return cmp.Compare(a.Submit, b.Submit) })
	return jobs
}

func rigidWorkload(t testing.TB, jobs []policytest.RefJob) *traces.Workload {
	rows := make([]traces.Row, len(jobs))
	for i, j := range jobs {
		rows[i] = cores(float64(j.Submit), float64(j.Run), 1)
		rows[i].Estimate = rows[i].Run + second(float64(j.Estimate-j.Run)).Sub(0)
		rows[i].Gang = int32(j.Procs)
	}
	w := workload(t, rows...)
	for i, j := range jobs { // the builder takes an estimate of 0 with a run time as missing, and there is none such here
		if w.Estimates[i].Seconds() != float64(j.Estimate) {
			t.Fatalf("estimate of job %d is %v", i, w.Estimates[i])
		}
	}
	return w
}

// smaller takes away jobs one by one as long as differs still says something, and returns what it says of the rest.
func smaller[J any](jobs []J, differs func([]J) string) ([]J, string) {
	why := differs(jobs)
	for i := 0; why != "" && i < len(jobs); {
		fewer := slices.Delete(slices.Clone(jobs), i, i+1)
		if w := differs(fewer); w != "" {
			jobs, why = fewer, w
		} else {
			i++
		}
	}
	return jobs, why
}

func TestPoliciesAreTheReferenceSimulatorsJobByJob(t *testing.T) {
	for _, c := range []struct {
		policy    string
		reference func(int64, []policytest.RefJob) []policytest.RefResult
		perfect   bool
		least     int64
	}{
		{"fifo", policytest.RefFCFS, false, 0},
		{"fjf", policytest.RefFJF, false, 0},
		{"sjf{skip=false}", policytest.RefSJF, false, 0},
		{"easy", policytest.RefEASY, false, 0},
		{"easy{scan=sjbf}", policytest.RefEASYSJBF, false, 0},
		{"easy", policytest.RefEASYPerfect, true, 0},
		// A job that takes no time ends in a batch of its own, between which and the stops of its instant the reference knows no order.
		{"srtf", policytest.RefSRTF, true, 1},
	} {
		name := c.policy
		if c.perfect {
			name += " with perfect estimates"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 2))
			newPolicy := build(t, c.policy)
			waited := 0
			for range 1500 {
				procs := 1 + rng.Int64N(12)
				differs := func(jobs []policytest.RefJob) string {
					if len(jobs) == 0 {
						return ""
					}
					w := rigidWorkload(t, jobs)
					cfg := sim.Config{Workload: w, Nodes: machines(1, procs, 0), Policy: newPolicy()}
					if c.perfect {
						cfg.Estimates = w.Run
					}
					res := simulate(t, cfg)
					want := c.reference(procs, jobs)
					for i := range jobs {
						o := res.Outcome(sched.TaskID(i))
						if o.Start != second(float64(want[i].Start)) || o.End != second(float64(want[i].Finish)) {
							return fmt.Sprintf("job %d runs %g..%g, the reference says %d..%d", i, o.Start.Seconds(), o.End.Seconds(), want[i].Start, want[i].Finish)
						}
						if o.Start > o.Ready {
							waited++
						}
					}
					return ""
				}
				jobs := rigid(rng, procs, c.least)
				if rest, why := smaller(jobs, differs); why != "" {
					t.Fatalf("%d processors: %s\n%+v", procs, why, rest)
				}
			}
			if waited < 1000 {
				t.Errorf("only %d jobs waited: the cases say little", waited)
			}
		})
	}
}
