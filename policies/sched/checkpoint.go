package sched

import (
	"cmp"
	"math"
	"time"
)

// CheckpointInterval returns how long to work between two checkpoints that each hold the work up for cost, where failures come at random
// once in mtbf on average: what makes the expected time to the end shortest, by J. T. Daly, "A higher order estimate of the optimum
// checkpoint interval for restart dumps", FGCS 22(3), 2006, equation 37: sqrt(2 C M) (1 + 1/3 sqrt(C/2M) + 1/9 (C/2M)) - C for C < 2M, else
// M. Its first term is J. W. Young's, CACM 17(9), 1974. It is 0 where the cost is 0.
func CheckpointInterval(cost, mtbf time.Duration) time.Duration {
	c, m := float64(cost), float64(mtbf)
	switch {
	case cost <= 0 || mtbf <= 0:
		return 0
	case c >= 2*m:
		return mtbf
	}
	x := c / (2 * m)
	return time.Duration(math.Round(math.Sqrt(2*c*m)*(1+math.Sqrt(x)/3+x/9) - c))
}

// Kept returns the work of t that is saved, all attempts together, in time on a node of reference speed.
func (s *State) Kept(t TaskID) time.Duration { return s.keptOf(t) }

// AtRisk returns the work of a running task that is not saved: what stopping it now without a checkpoint would lose, in time on a node of
// reference speed, by the speed of its slowest node. It is 0 where t does not run. Divided by that speed it is the time since its last
// checkpoint.
func (s *State) AtRisk(t TaskID) time.Duration {
	rw := &s.rows[t]
	if rw.phase != Running && rw.phase != Stopping {
		return 0
	}
	r := &s.runs[rw.at]
	slowest := int64(math.MaxInt64)
	for i := range r.on {
		slowest = min(slowest, cmp.Or(s.room.Spec(r.on[i].Node).SpeedMilli, 1000))
	}
	return max(r.kept+MulDiv(max(s.now.Sub(r.start), 0), slowest, 1000, false)-s.keptOf(t), 0)
}
