package policies

import (
	"github.com/schedlab/schedlab/policies/sched"
)

// Shortest is the key of SJF: the estimated run time.
func Shortest(s *sched.State, t sched.TaskID) int64 { return int64(s.Estimate(t)) }

// Longest is the key of LPT: the estimated run time, the largest first.
func Longest(s *sched.State, t sched.TaskID) int64 { return -int64(s.Estimate(t)) }

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

var fifoEntry = Entry{
	Name: "fifo", Summary: "First in, first out: the head of the line blocks.", Placed: true,
	About:  "Tasks start in the order in which they became ready; a task that does not fit holds up all behind it. Never starves a task.",
	Source: "The usual baseline; FCFS of Feitelson & Rudolph, JSSPP 1995.",
	New:    func(a Args) (sched.Policy, error) { return &List{Place: a.Place}, nil },
}

var fjfEntry = Entry{
	Name: "fjf", Summary: "FIFO that passes over what does not fit.", Placed: true,
	About:  "Tasks are tried in the order in which they became ready; whatever fits starts. A large task may starve behind a stream of small ones.",
	Source: "`fjf` (fit job first) of the Tiresias simulator (Gu et al., NSDI 2019); list scheduling of Graham 1969.",
	New:    func(a Args) (sched.Policy, error) { return &List{Place: a.Place, Skip: true}, nil },
}

var rmsEntry = Entry{
	Name: "rms", Summary: "Rate-monotonic: the shortest period first.", Placed: true,
	About:  "Fixed priorities by period; tasks without a period rank last, in the order of their number, and may starve.",
	Source: "Liu & Layland, JACM 1973, section 4.", Params: []Param{preemptParam, skipParam}, New: preemptive(ByPeriod, false),
}

var dmEntry = Entry{
	Name: "dm", Summary: "Deadline-monotonic: the shortest relative deadline first.", Placed: true,
	About:  "Fixed priorities by relative deadline (a periodic task without one has its period); tasks with neither rank last and may starve.",
	Source: "Leung & Whitehead, Performance Evaluation 1982.", Params: []Param{preemptParam, skipParam}, New: preemptive(ByRelativeDeadline, false),
}

var edfEntry = Entry{
	Name: "edf", Summary: "Earliest deadline first.", Placed: true,
	About:  "The earliest absolute deadline first; tasks without one rank last and may starve.",
	Source: "Liu & Layland, JACM 1973, section 7.", Params: []Param{preemptParam, skipParam}, New: preemptive(ByDeadline, false),
}

var sjfEntry = Entry{
	Name: "sjf", Summary: "Shortest job first, by estimate, not preemptive.", Placed: true,
	About:  "The shortest estimate first. Long tasks may starve.",
	Source: "Conway, Maxwell & Miller 1967; Phipps 1956 for M/G/1.", Params: []Param{skipParam}, New: keyed(Shortest),
}

var lptEntry = Entry{
	Name: "lpt", Summary: "Longest processing time first, by estimate, not preemptive.", Placed: true,
	About:  "The longest estimate first: for independent tasks on m equal processors a makespan of at most 4/3 - 1/(3m) times the best. Short tasks may starve.",
	Source: "Graham, SIAM J. Applied Mathematics 17(2) 1969.", Params: []Param{skipParam}, New: keyed(Longest),
}

var srtfEntry = Entry{
	Name: "srtf", Summary: "Shortest remaining time first, preemptive.", Placed: true,
	About:  "The least estimated work left first; a running task with more left is stopped where that makes room. Long tasks may starve.",
	Source: "Schrage, Operations Research 1968 (SRPT); `shortest` of the Tiresias simulator (NSDI 2019).",
	Params: []Param{preemptParam, skipParam}, New: preemptive(ShortestRemaining, true),
}
