package policies

import "github.com/schedlab/schedlab/policies/sched"

// NewETF returns Earliest Task First (Hwang, Chow, Anger & Lee, SIAM J. Computing 18(2) 1989; Kwok & Ahmad, ACM Computing Surveys 1999, section
// 6.4.4): the pair of a ready task and a node with the earliest start, its data on their way counted, ties to the larger b-level: dynamic list
// scheduling by start and b-level.
//
// Where we differ: it decides at run time, with the tasks that are ready then. Starts are compared to the millisecond: else the b-level would
// hardly ever decide.
func NewETF() sched.Policy {
	l := &leveled{}
	l.soonest = true
	l.key = func(s *sched.State, t sched.TaskID, sl slot) int64 {
		wait := min(int64(sl.start.Sub(s.Now())/1e6), 1<<31-1)
		return wait<<32 - min(l.levels.ranks[t]/1e6, 1<<31-1)
	}
	return l
}

var etfEntry = Entry{
	Name: "etf", Summary: "Earliest task first: the ready task and node with the earliest start, ties by b-level.", Starves: true,
	About: "Starts what can start first, transfers of data counted, and of tasks that could start together the head of the longest path. It does not look at the nodes' " +
		"speeds. Tasks with short paths may starve behind a stream of jobs with long ones." + mappedAbout,
	Source: "Hwang, Chow, Anger & Lee, SIAM J. Computing 18(2) 1989; Kwok & Ahmad, ACM Computing Surveys 31(4) 1999.",
	New:    func(Args) (sched.Policy, error) { return NewETF(), nil },
}
