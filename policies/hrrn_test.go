package policies_test

import (
	"cmp"
	"math/big"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// plainHRRN works out every response ratio anew, as a fraction.
func plainHRRN(skip bool) sched.Policy {
	ratio := func(s *sched.State, t sched.TaskID) *big.Rat {
		est := max(s.Estimate(t), time.Nanosecond)
		return new(big.Rat).SetFrac64(int64(s.Now().Sub(s.FirstReady(t))+est), int64(est))
	}
	return &plainOrder{skip: skip, before: func(s *sched.State, a, b sched.TaskID) int {
		return cmp.Or(ratio(s, b).Cmp(ratio(s, a)), cmp.Compare(a, b))
	}}
}

func TestHRRNStartsTheHighestRatioWorkedOutPlainly(t *testing.T) {
	agrees(t, "hrrn", func() sched.Policy { return plainHRRN(true) })
	agrees(t, "hrrn{skip=false}", func() sched.Policy { return plainHRRN(false) })
}

func TestALongTaskThatHasWaitedPassesAShortOne(t *testing.T) {
	// The only core is free again at 100 s. By then the long task's ratio is (99 + 50) / 50 = 2.98; a task of 10 s needs a wait of 19.8 s for that.
	rows := func(came float64) string {
		w := workload(t, cores(0, 100, 1), cores(1, 50, 1), cores(came, 10, 1))
		return startOrder(t, config(w, machines(1, 1, 0), nil, nil), "hrrn")
	}
	for came, want := range map[float64]string{80.1: "1 3 2", 80.2: "1 2 3", 80.3: "1 2 3"} { // equal at 80.2, where the lower TaskID goes first
		if got := rows(came); got != want {
			t.Errorf("a short task that comes at %g s: order %s, wanted %s", came, got, want)
		}
	}
}
