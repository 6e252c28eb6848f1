package policies

import (
	"github.com/schedlab/schedlab/policies/internal/kinetic"
	"github.com/schedlab/schedlab/policies/sched"
)

// HRRN is highest response ratio next (Brinch Hansen 1971): whenever there is room, the ready task starts next that has the largest
// (wait + estimate) / estimate, the wait counted from its first readiness; tasks run to their end. Short tasks go first, and long ones that have
// waited pass them. The order changes as time goes by, and is compared exactly.
//
// Where we differ: the paper has one processor. Here tasks that do not fit now are passed over, or, with Skip false, hold up all others.
type HRRN struct {
	Place Place // nil: first fit
	Skip  bool  // pass over what does not fit

	ready ratios
	stuck sched.TaskID // strict, +1: it was first, there was no room, and nothing has happened since that could make any; 0 = nobody
	fresh []sched.TaskID
	aside []sched.TaskID
	buf   []sched.Placement
	gangs ganged
}

// responseRatio is (wait + estimate) / estimate of a ready task. One that is estimated to take no time counts as if it took 1 ns.
func responseRatio(s *sched.State, t sched.TaskID) kinetic.Item {
	est := max(s.Estimate(t), 1)
	return kinetic.Item{From: s.FirstReady(t) - sched.Time(est), Per: int64(est), Task: t}
}

// IgnoresArrivals says that it need not be told of arrivals.
func (p *HRRN) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

// Observe keeps the lines.
func (p *HRRN) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.TaskReady:
		p.ready.push(s, responseRatio(s, e.Task))
		p.fresh = append(p.fresh, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		// Tasks that were started have left their line already; if one is blocked, its claim was undone and room came free.
		if !p.ready.remove(s, e.Task) && e.Kind == sched.TaskBlocked {
			p.reopen()
		}
	case sched.Updated:
		if p.ready.remove(s, e.Task) {
			p.ready.push(s, responseRatio(s, e.Task))
		}
		p.reopen()
	case sched.JobArrived, sched.Started, sched.CheckpointDone:
	case sched.Finished:
		if p.Place != nil || s.Quotas() || p.gangs.any(s) { // what a quota held back waits for room now, and is told so
			p.reopen()
			return
		}
		p.stuck = 0
		p.ready.reopenOn(s, s.LastNode(e.Task)) // what was on one node has made room there only
	default:
		p.reopen()
	}
}

// reopen takes in that there may be room for what found none.
func (p *HRRN) reopen() {
	p.stuck = 0
	p.ready.reopen()
}

// Decide starts the task with the highest response ratio as long as there is room.
func (p *HRRN) Decide(r *sched.Round) {
	for {
		it, ok := p.ready.first(r.Now())
		if !ok || it.Task+1 == p.stuck {
			break
		}
		t := it.Task
		if !p.try(r, t) {
			r.Skip(t, sched.NoRoom)
			if !p.Skip {
				p.stuck = t + 1
				break
			}
			p.ready.shut(r.DemandID(t))
			continue
		}
		p.ready.remove(r.State, t)
		if r.Phase(t) == sched.Ready { // a quota refused it: the others move on without it
			p.aside = append(p.aside, t)
		}
	}
	for _, t := range p.aside {
		p.ready.push(r.State, responseRatio(r.State, t))
	}
	p.aside = p.aside[:0]
	p.fresh = tellFresh(r, p.fresh, &p.ready)
}

// try starts t. It reports false where there is no room; true, with the task still ready, where there was room and the kernel refused.
func (p *HRRN) try(r *sched.Round, t sched.TaskID) bool {
	if p.Place == nil {
		return r.StartFirst(t)
	}
	on, ok := p.Place(r.State, r.Room(), t, p.buf[:0])
	p.buf = on[:0]
	if ok {
		r.Start(t, on...)
	}
	return ok
}

var hrrnEntry = Entry{
	Name: "hrrn", Summary: "Highest response ratio next, by estimate, not preemptive.", Placed: true, Starves: true,
	About: "The largest (wait + estimate) / estimate first: short tasks go first, and long ones that have waited long enough pass them. A large task may starve " +
		"behind a stream of small ones, but not with skip=false, where whoever is first holds up all others; a long task may starve while more work comes than can be done.",
	Source: "Brinch Hansen, Short-term scheduling in multiprogramming systems, SOSP 1971.",
	Params: []Param{skipParam},
	New:    func(a Args) (sched.Policy, error) { return &HRRN{Place: a.Place, Skip: a.Bool("skip")}, nil },
}
