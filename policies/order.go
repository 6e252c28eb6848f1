package policies

import (
	"github.com/schedlab/schedlab/policies/sched"
)

// Shortest is the key of SJF: the estimated run time.
func Shortest(s *sched.State, t sched.TaskID) int64 { return int64(s.Estimate(t)) }

// ShortestRemaining is the key of SRTF: the estimated work left. It falls while a task runs and stands still while it waits.
func ShortestRemaining(s *sched.State, t sched.TaskID) int64 { return int64(s.Remaining(t)) }

// ByPeriod is the key of rate-monotonic scheduling (Liu & Layland 1973): the shortest period first, tasks without a period last.
func ByPeriod(s *sched.State, t sched.TaskID) int64 {
	if p := s.Class(t).Period; p > 0 {
		return int64(p)
	}
	return never
}

// ByRelativeDeadline is the key of deadline-monotonic scheduling (Leung & Whitehead 1982): the shortest relative deadline first; a periodic
// task without one has its period; all others come last.
func ByRelativeDeadline(s *sched.State, t sched.TaskID) int64 {
	c := s.Class(t)
	switch {
	case c.RelDeadline > 0:
		return int64(c.RelDeadline)
	case c.Period > 0:
		return int64(c.Period)
	}
	return never
}

// ByDeadline is the key of earliest-deadline-first (Liu & Layland 1973): the earliest absolute deadline first, tasks without one last.
func ByDeadline(s *sched.State, t sched.TaskID) int64 { return int64(s.Task(t).Deadline) }

// overtakes lets t stop running tasks that come after it in the order of the key as it is now, ties to the lower TaskID.
func overtakes(key Key) Evictable {
	return func(s *sched.State, running, t sched.TaskID) (int64, bool) {
		k := key(s, running)
		mine := key(s, t)
		return k, k > mine || k == mine && running > t
	}
}
