package sim_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// What is read of many tasks together is what is read of each, also of those that failed, were stopped or were dropped.
func TestOutcomesTogetherAreThoseOfEach(t *testing.T) {
	waited := false
	rapid.Check(t, func(rt *rapid.T) {
		c := policytest.Cases(policytest.Gen{}).Draw(rt, "case")
		res, err := runErr(caseConfig(c, named(rt, rapid.SampledFrom([]string{"fifo", "srtf", "critical-path"}).Draw(rt, "policy"))))
		if err != nil {
			rt.Fatal(err)
		}
		n := sched.TaskID(len(c.Run))
		from := sched.TaskID(rapid.IntRange(0, int(n)).Draw(rt, "from"))
		end := sched.TaskID(rapid.IntRange(int(from), int(n)+1).Draw(rt, "end")) // one more than there are
		all := make([]sched.Outcome, n-from)
		res.Outcomes(from, all)
		var waits []time.Duration
		for i, o := range all {
			if each := res.Outcome(from + sched.TaskID(i)); o != each {
				rt.Errorf("task %d: %+v, and alone %+v", int(from)+i, o, each)
			}
			if o.Phase == sched.Done && from+sched.TaskID(i) < end {
				waits = append(waits, o.Wait())
				waited = waited || o.Wait() > 0
			}
		}
		if got := res.DoneWaits(from, end, nil); !slices.Equal(got, waits) {
			rt.Errorf("waits of %d..%d: %v, and one by one %v", from, end-1, got, waits)
		}
	})
	if !waited {
		t.Error("nobody waited: nothing was tried")
	}
}
