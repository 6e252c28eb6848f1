package policies

import "github.com/schedlab/schedlab/policies/sched"

// leveled is a mapper whose key takes b-levels.
type leveled struct {
	mapper
	levels BLevel
}

// Observe keeps the levels and the ready tasks.
func (l *leveled) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		l.levels.arrived(s, e.Task, e.Task+sched.TaskID(e.N))
	case sched.EdgeAdded, sched.Updated:
		l.levels.change(s, e.Task)
	}
	l.mapper.Observe(s, e)
}

// NewDLS returns Dynamic Level Scheduling (Sih & Lee, TPDS 4(2) 1993, sections 3 and 4.1): the pair of a ready task and a node with the largest
// dynamic level, DL = SL(t) - start(t, n) + (E*(t) - E(t, n)), where the start is the later of when its data and the node are there, SL the static level
// (the longest path to the end of the job) and E* the run time on a node of reference speed.
//
// Where we differ: it decides at run time, with the tasks that are ready then, and not on the whole graph before; E* and SL take the estimates at
// reference speed, not the median over the nodes.
func NewDLS() sched.Policy {
	l := &leveled{}
	// start + E(t, n) is when the task ends there.
	l.key = func(s *sched.State, t sched.TaskID, sl slot) int64 {
		return int64(sl.end) - l.levels.ranks[t] - int64(s.Estimate(t))
	}
	return l
}

var dlsEntry = Entry{
	Name: "dls", Summary: "Dynamic level scheduling: the ready task and node with the largest dynamic level.", Starves: true,
	About: "The dynamic level is the task's b-level less the time at which it could start, plus what it gains by the node's speed. Tasks with short paths may starve behind " +
		"a stream of jobs with long ones." + mappedAbout,
	Source: "Sih & Lee, IEEE TPDS 4(2) 1993, sections 3 and 4.1.",
	New:    func(Args) (sched.Policy, error) { return NewDLS(), nil },
}
