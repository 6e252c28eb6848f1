package policies

import (
	"math"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/kinetic"
	"github.com/schedlab/schedlab/policies/sched"
)

// Themis shares a cluster by finish-time fairness (Mahajan et al., NSDI 2020, section 3.1): rho = T_shared / T_ideal, how much later a task ends
// than if it had what it asks for to itself. Whoever is worst off, with the largest rho, is served first, and what a task holds is its own for a
// lease only: when that is over, tasks that are worse off may take its place, the best off going first, which lowers the largest rho.
//
// For a ready task T_shared is the time since its first readiness plus the estimated work left, as if it started now; for a running one the
// time from its first readiness to its estimated end. T_ideal is the estimate.
//
// Simplified: there is no auction. The paper offers the GPUs whose leases are over to the share 1-f of the apps that are worst off, which bid
// with what placement is worth to them, and partial allocation keeps the bids truthful; here they go to the worst off (f near 1), and the
// estimates are believed. An app is one task (a gang is one), with all GPUs that it asks for or none. T_ideal has the cluster to itself instead
// of 1/N of it, as in the paper: N is common to all. A task past its estimate counts as if it ended now. Between two events leases are looked
// at once a lease.
//
// Make one with NewThemis.
type Themis struct {
	Lease time.Duration
	Skip  bool // pass over what finds no room

	run   Preemptive // what runs, and whom to stop
	ready ratios
	since []sched.Time // by TaskID: start of the attempt whose lease is in leases
	lease leases
	fresh []sched.TaskID
	aside []sched.TaskID
}

// leases are those of running attempts that are not over, in the order of start.
type leases struct {
	list []leased
	head int
}

type leased struct {
	start sched.Time
	task  sched.TaskID
}

func (l *leases) push(it leased) {
	if l.head > 0 && len(l.list) == cap(l.list) && l.head >= len(l.list)/2 { // room at the front, instead of growing
		l.list = l.list[:copy(l.list, l.list[l.head:])]
		l.head = 0
	}
	l.list = append(l.list, it)
}

// pop returns the first whose lease ends by a time.
func (l *leases) pop(lease time.Duration, now sched.Time) (sched.TaskID, sched.Time, bool) {
	if l.head == len(l.list) || l.list[l.head].start.Add(lease) > now {
		return sched.Nobody, 0, false
	}
	it := l.list[l.head]
	if l.head++; l.head == len(l.list) {
		l.list, l.head = l.list[:0], 0
	}
	return it.task, it.start, true
}

// NewThemis returns the policy. lease must be positive.
func NewThemis(place Place, skip bool, lease time.Duration) *Themis {
	p := &Themis{Lease: lease, Skip: skip}
	p.run = Preemptive{Key: p.key, Place: place, grows: true}
	return p
}

// finishTimeFairness is rho of a ready task as it grows with time.
func finishTimeFairness(s *sched.State, t sched.TaskID) kinetic.Item {
	return kinetic.Item{From: s.FirstReady(t) - sched.Time(s.Remaining(t)), Per: int64(max(s.Estimate(t), 1)), Task: t}
}

// key is -rho in units of 2^-20: the best off is stopped first. A running task whose lease is not over is not stopped.
func (p *Themis) key(s *sched.State, t sched.TaskID) int64 {
	shared := s.Now().Sub(s.FirstReady(t))
	if ph := s.Phase(t); ph == sched.Running || ph == sched.Stopping {
		if s.StartedAt(t).Add(p.Lease) > s.Now() {
			return math.MinInt64
		}
		shared = s.EstimatedEnd(t).Sub(s.FirstReady(t))
	} else {
		shared += s.Remaining(t)
	}
	return -int64(sched.MulDiv(max(shared, 0), 1<<20, int64(max(s.Estimate(t), 1)), false))
}

// Observe keeps the line and the running tasks.
func (p *Themis) Observe(s *sched.State, e sched.Event) {
	p.run.keepRunning(s, &e)
	switch e.Kind {
	case sched.TaskReady:
		p.ready.push(s, finishTimeFairness(s, e.Task))
		p.fresh = append(p.fresh, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		p.ready.remove(s, e.Task)
	case sched.Updated:
		if p.ready.remove(s, e.Task) {
			p.ready.push(s, finishTimeFairness(s, e.Task))
		}
	case sched.Started:
		p.begin(s, e.Task)
	}
}

// begin takes in that a task runs: its lease begins.
func (p *Themis) begin(s *sched.State, t sched.TaskID) {
	p.since = byTask(s, p.since, sched.Never)
	if start := s.StartedAt(t); p.since[t] != start {
		p.since[t] = start
		p.lease.push(leased{start, t})
	}
}

// Decide starts the worst off as long as there is room, or can be made.
func (p *Themis) Decide(r *sched.Round) {
	for _, o := range r.Ordered() {
		// A fact has ordered it, and nobody is told of that. The loss of its last node may have ended it since.
		if o.Kind == sched.Stop && r.Phase(o.Task) == sched.Stopping {
			p.run.running.leave(r.State, o.Task)
		}
	}
	for {
		t, start, ok := p.lease.pop(p.Lease, r.Now())
		if !ok {
			break
		}
		if r.Phase(t) == sched.Running && r.StartedAt(t) == start {
			p.run.running.end(r.State, t) // its place among those that may be stopped is another now
			p.run.started(r.State, t)
		}
	}
	p.run.look(r.State)
	p.ready.reopen() // as time goes by they may stop others: what was in vain may not be now
	for {
		it, ok := p.ready.first(r.Now())
		if !ok {
			break
		}
		t := it.Task
		if !p.run.try(r, heap.Item{Key: p.key(r.State, t), Task: t}) {
			r.Skip(t, sched.NoRoom)
			if !p.Skip {
				break
			}
			p.ready.shut(r.DemandID(t))
			continue
		}
		p.ready.remove(r.State, t)
		switch r.Phase(t) {
		case sched.Running:
			p.begin(r.State, t)
		case sched.Ready: // a quota refused it: the others move on without it
			p.aside = append(p.aside, t)
		}
	}
	for _, t := range p.aside {
		p.ready.push(r.State, finishTimeFairness(r.State, t))
	}
	p.aside = p.aside[:0]
	p.fresh = tellFresh(r, p.fresh, &p.ready)
	if r.Queued() > 0 && r.Running() > 0 {
		into := r.Now() % sched.Time(p.Lease)
		if into < 0 {
			into += sched.Time(p.Lease)
		}
		r.WakeAt(r.Now().Add(p.Lease - time.Duration(into)))
	}
}

var themisEntry = Entry{
	Name: "themis", Summary: "Finish-time fairness: whoever is worst off against running alone next, in leases, preemptive.", Placed: true, Starves: true,
	About: "rho is the time from readiness to the end, if it started now, by the estimate. The largest goes first; a running task with a smaller one may be stopped for it " +
		"once it has run for a lease. The paper's auction is left out. A large task may starve beside a stream of small ones, some of which have always just begun a " +
		"lease, but not with skip=false, where the worst off holds up all others; a long task may starve while more work comes than can be done.",
	Source: "Mahajan, Balasubramanian, Singhvi, Venkataraman, Akella, Phanishayee & Chawla, NSDI 2020, sections 3 and 5.",
	Params: []Param{{Name: "lease", Default: auto, About: "time for which a task that has started is not stopped; auto is a quarter of the mean estimate on top of what a start after a preemption costs"}, skipParam},
	New: func(a Args) (sched.Policy, error) {
		lease := a.Duration("lease")
		if lease <= 0 {
			lease = a.Hints.slice(4)
		}
		return NewThemis(a.Place, a.Bool("skip"), lease), nil
	},
}
