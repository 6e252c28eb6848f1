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

// ByPeriod is the key of rate-monotonic scheduling (Liu & Layland 1973, section 4): the shortest period first, tasks without a period last.
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

// ByDeadline is the key of earliest-deadline-first (Liu & Layland 1973, section 7): the earliest absolute deadline first, tasks without one last.
func ByDeadline(s *sched.State, t sched.TaskID) int64 { return int64(s.Deadline(t)) }

// ByPriority is the key of static priorities: the larger Class.Priority first.
func ByPriority(s *sched.State, t sched.TaskID) int64 { return -int64(s.Class(t).Priority) }

// passes is overtakes without ties: t stops no running task of the same key.
func passes(key Key) Evictable {
	return func(s *sched.State, running, t sched.TaskID) (int64, bool) {
		k := key(s, running)
		return k, k > key(s, t)
	}
}

// overtakes lets t stop running tasks that come after it in the order of the key as it is now, ties to the lower TaskID.
func overtakes(key Key) Evictable {
	return func(s *sched.State, running, t sched.TaskID) (int64, bool) {
		k := key(s, running)
		mine := key(s, t)
		return k, k > mine || k == mine && running > t
	}
}

// The line is by readiness: a task of a workflow joins it when its predecessors are done, not when it is submitted, and one that failed or was
// preempted keeps its turn.
//
// Where we differ from FCFS as it is studied for parallel machines (Feitelson & Rudolph 1995, of rigid jobs with one pool of processors): nodes keep a
// gang's replicas apart, so first fit may find no place where there are enough free GPUs in all; and a task that a quota refuses is passed over.
var fifoEntry = Entry{
	Name: "fifo", Summary: "First in, first out: the head of the line blocks.", Placed: true,
	About:  "Tasks start in the order in which they became ready; a task that does not fit holds up all behind it. Never starves a task.",
	Source: "The usual baseline; FCFS of Feitelson & Rudolph, JSSPP 1995.",
	Params: []Param{{
		Name: "unplaced", Default: "wait", Choices: []string{"wait", "reject"},
		About: "what becomes of a task that does not fit: it waits, or it is rejected, as in a loss system or where the arrivals are a fixed sequence to be packed",
	}},
	New: func(a Args) (sched.Policy, error) {
		return &List{Place: a.Place, Lossy: a.Text("unplaced") == "reject"}, nil
	},
}

// Where we differ from Graham's list scheduling: the list is the order of readiness and grows, and a task that does not fit is passed over, where
// Graham's tasks ask for one processor each and always fit. From Tiresias's fjf: none that its 60 jobs show.
var fjfEntry = Entry{
	Name: "fjf", Summary: "FIFO that passes over what does not fit.", Placed: true, Starves: true,
	About:  "Tasks are tried in the order in which they became ready; whatever fits starts. A large task may starve behind a stream of small ones.",
	Source: "`fjf` (fit job first) of the Tiresias simulator (Gu et al., NSDI 2019); list scheduling of Graham, SIAM J. Applied Mathematics 1969.",
	New:    func(a Args) (sched.Policy, error) { return &List{alone: true, Place: a.Place, Skip: true}, nil },
}

// Where we differ: the paper has one processor and shows that the order is optimal there. Here it is global, over all nodes, where no fixed order is; a
// periodic task without a deadline of its own has its period, and ties go to the lower TaskID. The analysis for one processor is in package realtime.
var dmEntry = Entry{
	Name: "dm", Summary: "Deadline-monotonic: the shortest relative deadline first.", Placed: true, Starves: true,
	About:  "Fixed priorities by relative deadline (a periodic task without one has its period); tasks with neither rank last and may starve.",
	Source: "Leung & Whitehead, Performance Evaluation 1982.", Params: []Param{preemptParam, skipParam}, New: preemptive(ByRelativeDeadline, false),
}

// Where we differ: the papers know the true run time and have one server. Here the order is by the estimate, a task that does not fit holds up those behind
// it unless skip is set, and preempt=true stops as few tasks as make room, the longest first.
var sjfEntry = Entry{
	Name: "sjf", Summary: "Shortest job first, by estimate, not preemptive.", Placed: true, Starves: true,
	About: "The shortest estimate first, whatever of it is done already. With preempt=true a running task of a longer estimate is stopped where that " +
		"makes room (PSJF). Long tasks may starve.",
	Source: "Conway, Maxwell & Miller 1967; Phipps 1956 for M/G/1; PSJF: Wierman & Harchol-Balter, SIGMETRICS 2003.",
	Params: []Param{{Name: "preempt", Default: "false", About: "stop running tasks of a longer estimate; false: they run to their end"}, skipParam},
	New:    preemptive(Shortest, false),
}

// Where we differ: the bound (Graham 1969, Theorem 2) is of independent tasks of one processor each, all there at the beginning. Here tasks come over
// time, ask for more than that, and the order is by the estimate.
var lptEntry = Entry{
	Name: "lpt", Summary: "Longest processing time first, by estimate, not preemptive.", Placed: true, Starves: true,
	About:  "The longest estimate first: for independent tasks on m equal processors a makespan of at most 4/3 - 1/(3m) times the best. Short tasks may starve.",
	Source: "Graham, SIAM J. Applied Mathematics 17(2) 1969, Theorem 2.", Params: []Param{skipParam}, New: keyed(Longest),
}

// Where we differ: Schrage's proof is for one server and work that is known. Here the order is by the estimate less the work done, which is 0 for a task
// past its estimate, and on many GPUs with gangs no such order is optimal: a short task of many GPUs may cost more than it gains (srsf weighs that).
var srtfEntry = Entry{
	Name: "srtf", Summary: "Shortest remaining time first, preemptive.", Placed: true, Starves: true,
	About: "The least estimated work left first; a running task with more left is stopped where that makes room. Long tasks may starve. " +
		"With repack=true nothing is kept out by where others run, as in simulators that clear the cluster at every event (Muri, SIGCOMM 2022).",
	Source: "Schrage, Operations Research 1968 (SRPT); `shortest` of the Tiresias simulator (NSDI 2019).",
	Params: []Param{preemptParam, skipParam, repackParam, victimsParam}, New: repacking(ShortestRemaining, func(a Args) (sched.Policy, error) {
		loss := lossOf(a, false)
		if loss == nil || !a.Bool(preemptParam.Name) {
			return preemptive(ShortestRemaining, true)(a)
		}
		return &Preemptive{Key: ShortestRemaining, Falls: true, Place: a.Place, Skip: a.Bool("skip"), Loss: loss}, nil
	}),
}

// Where we differ: the papers have one server (Cobham also several) and classes that come as Poisson streams; their mean waits are what `schedlab verify`
// holds this against. Here a task stops others only if that makes room for all of its gang.
var priorityEntry = Entry{
	Name: "priority", Summary: "Static priority: the task's own, the larger first.", Placed: true, Starves: true,
	About: "The largest priority first, ties in the order of submission; a running task of less is stopped where that makes room, and resumes later. " +
		"Tasks of low priority may starve.",
	Source: "Cobham, Operations Research 1954 (not preemptive); White & Christie, Operations Research 1958 (preemptive-resume).",
	Params: []Param{preemptParam, skipParam}, New: preemptive(ByPriority, false),
}
