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

// YoungInterval is the first term of CheckpointInterval alone, J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM
// 17(9), 1974: sqrt(2 C M). It is 0 where the cost is 0.
func YoungInterval(cost, mtbf time.Duration) time.Duration {
	if cost <= 0 || mtbf <= 0 {
		return 0
	}
	return time.Duration(math.Round(math.Sqrt(2 * float64(cost) * float64(mtbf))))
}

// CheckpointStorage is the name under which DependencyDown and DependencyUp tell that the storage of checkpoints is lost or back.
const CheckpointStorage = "checkpoint-storage"

// A CheckpointWatcher is a Policy that decides by what tasks have at risk. A driver that knows beforehand when the work of tasks is saved tells
// CheckpointDone as it happens to those that watch; for the others it may leave it out until it counts, which is where an attempt ends.
type CheckpointWatcher interface {
	Policy
	WatchesCheckpoints() bool
}

// saving is what reports have told of the checkpoints of a task.
type saving struct {
	cost    time.Duration // that the last one held the work up; 0 before the first
	at      Time          // when it was told; Never before the first
	paid    time.Duration // that checkpoints and restoring have held up the attempt, so far
	attempt int32         // which that is of
}

// noteSaving takes in what a CheckpointDone or Started says of the time in which the attempt did not work.
func (k *Kernel) noteSaving(e *Event) {
	if e.Value <= 0 && (e.Kind == Started || k.saving == nil) {
		return // nothing is known to cost anything
	}
	for len(k.saving) <= int(e.Task) {
		k.saving = append(k.saving, make([]saving, max(len(k.tb.Tasks), int(e.Task)+1)-len(k.saving))...)
	}
	s, d := &k.saving[e.Task], time.Duration(max(e.Value, 0))
	if s.attempt != e.Attempt {
		s.paid, s.attempt = 0, e.Attempt
	}
	if s.paid += d; s.paid < 0 {
		s.paid = math.MaxInt64
	}
	if e.Kind == CheckpointDone {
		s.cost, s.at = d, k.now
	} else {
		k.restored = d
	}
}

// RestoreCost returns for how long the last attempt of any task restored its work that said so; 0 if none has.
func (s *State) RestoreCost() time.Duration { return s.restored }

// CheckpointCost returns for how long the last checkpoint of t held its work up, as its CheckpointDone said; 0 where none has said so.
func (s *State) CheckpointCost(t TaskID) time.Duration {
	if int(t) < len(s.saving) {
		return s.saving[t].cost
	}
	return 0
}

// CheckpointedAt returns when the last checkpoint of t was told that had a cost, whichever attempt took it; Never if there was none.
func (s *State) CheckpointedAt(t TaskID) Time {
	if int(t) < len(s.saving) && s.saving[t].cost > 0 {
		return s.saving[t].at
	}
	return Never
}

// Kept returns the work of t that is saved, all attempts together, in time on a node of reference speed.
func (s *State) Kept(t TaskID) time.Duration { return s.keptOf(t) }

// AtRisk returns the work of a running task that is not saved: what stopping it now without a checkpoint would lose, in time on a node of
// reference speed, by the speed of its slowest node. It is 0 where t does not run. Divided by that speed it is the time worked since its last
// checkpoint: what staging, checkpoints and restoring took, as far as it was told, is not work.
func (s *State) AtRisk(t TaskID) time.Duration {
	rw := &s.rows[t]
	if rw.phase != Running && rw.phase != Stopping {
		return 0
	}
	r := &s.runs[rw.at]
	slowest := int64(math.MaxInt64)
	for _, p := range s.on(r) {
		slowest = min(slowest, cmp.Or(s.room.Spec(p.Node).SpeedMilli, 1000))
	}
	worked := s.now.Sub(s.WorkBegins(t))
	if int(t) < len(s.saving) && s.saving[t].attempt == rw.attempt {
		worked -= s.saving[t].paid
	}
	return max(r.kept+MulDiv(max(worked, 0), slowest, 1000, false)-s.keptOf(t), 0)
}

// StopLoss returns what stopping a running task now costs, in time: the work at risk, or a checkpoint like its last one where that is
// known to be cheaper and the storage is up. It is 0 where t does not run.
func (s *State) StopLoss(t TaskID) time.Duration {
	d := s.AtRisk(t)
	if c := s.CheckpointCost(t); c > 0 && c < d && s.DependencyIsUp(CheckpointStorage) {
		return c
	}
	return d
}
