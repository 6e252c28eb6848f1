package sched

import (
	"math"
	"testing"
	"time"
)

// The judge is Daly's exact expression for the expected time to the end (his equation 20, restarts free), searched for its minimum.
func TestTheCheckpointIntervalIsWhereTheExpectedTimeIsShortest(t *testing.T) {
	for _, c := range []struct{ cost, mtbf time.Duration }{
		{time.Second, 24 * time.Hour}, {5 * time.Minute, 24 * time.Hour}, {5 * time.Minute, time.Hour}, {30 * time.Second, 10 * time.Minute},
	} {
		expected := func(tau float64) float64 {
			d, m := c.cost.Seconds(), c.mtbf.Seconds()
			return m * math.Expm1((tau+d)/m) / tau
		}
		best, at := math.Inf(1), 0.0
		for tau := c.cost.Seconds() / 100; tau < 3*c.mtbf.Seconds(); tau *= 1.0005 {
			if e := expected(tau); e < best {
				best, at = e, tau
			}
		}
		got := CheckpointInterval(c.cost, c.mtbf).Seconds()
		if math.Abs(got/at-1) > 0.005 {
			t.Errorf("cost %v, MTBF %v: %.1f s, and the minimum is at %.1f s", c.cost, c.mtbf, got, at)
		}
	}
	if got := CheckpointInterval(3*time.Hour, time.Hour); got != time.Hour {
		t.Errorf("a checkpoint that costs more than two failures: %v, want the MTBF", got)
	}
	if got := CheckpointInterval(0, time.Hour); got != 0 {
		t.Errorf("a free checkpoint: %v", got)
	}
}
