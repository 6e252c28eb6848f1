package sim_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// What is read of many tasks together is what is read of each, also of those that failed, were stopped or were dropped.
func TestOutcomesTogetherAreThoseOfEach(t *testing.T) {
	waited, ranPlain := false, false
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
		plain := true
		for i, o := range all {
			if each := res.Outcome(from + sched.TaskID(i)); o != each {
				rt.Errorf("task %d: %+v, and alone %+v", int(from)+i, o, each)
			}
			if from+sched.TaskID(i) < end {
				plain = plain && o.Phase == sched.Done && o.Attempts == 1
			}
			waited = waited || o.Phase == sched.Done && o.Wait() > 0
		}
		ran := make([]sched.Ran, end-from)
		got := res.Ran(from, ran)
		if end > n {
			plain = false // there is no such task
		}
		if got != plain {
			rt.Errorf("tasks %d..%d are done in one attempt each: %v, want %v", from, end-1, got, plain)
		}
		if ranPlain = ranPlain || got && len(ran) > 1; !got {
			return
		}
		for i, r := range ran {
			if o := all[i]; r != (sched.Ran{Ready: o.Ready, Start: o.Start, End: o.End}) || r.End.Sub(r.Start) != o.Held {
				rt.Errorf("task %d: %+v of %+v", int(from)+i, r, o)
			}
		}
	})
	if !waited || !ranPlain {
		t.Error("nobody waited, or no tasks together were done in one attempt each: nothing was tried")
	}
}
