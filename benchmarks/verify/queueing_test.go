package verify

import (
	"math"
	"testing"
)

func TestWaitsByPriorityAreCobhams(t *testing.T) {
	// As the references print them, to five digits.
	for _, c := range []struct {
		mix     int
		preempt bool
		want    []float64
	}{
		{1, false, []float64{1.14286, 5.71429}},
		{1, true, []float64{0.42857, 6.14286}},
		{2, false, []float64{1.28571, 3.21429, 22.5}},
		{2, true, []float64{0.42857, 2.57143, 24}},
	} {
		for i, got := range mixes[c.mix].waits(c.preempt) {
			if math.Abs(got-c.want[i]) > 5.1e-6 {
				t.Errorf("%s, preempt=%v, class %d: %g, not %g", mixes[c.mix].name, c.preempt, i+1, got, c.want[i])
			}
		}
	}
}
