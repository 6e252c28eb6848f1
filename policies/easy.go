package policies

import (
	"cmp"
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// Easy is EASY backfilling (Lifka 1995; Mu'alem & Feitelson 2001, section 2): tasks start in the order of readiness; when the head of the
// line finds no room it gets a reservation at the shadow time, the earliest estimated end at which it fits, on the lowest-numbered
// nodes; a later task starts now if it ends by its estimate before the shadow time or leaves the reservation feasible. On one node this
// is EASY by counting processors. A task past its estimate is expected to end one second from now. The reservation is found anew at every
// decision, so an early end brings it forward.
//
// The causes of waiting are those of the moment when a task was last looked at: when it came, stood at the head, or was passed over.
type Easy struct {
	Scan  Scan
	Place Place // nil: first fit

	queues  []lines.Waiting  // by demand, in order of readiness
	live    []sched.DemandID // demands with waiting tasks, in no special order
	isLive  []bool
	fresh   []sched.TaskID
	reserve reservation
	buf     []sched.Placement
	scan    []sched.TaskID
	fits    []demandFit // by demand, of this decision
	stamp   int64       // of what fits holds; moves with every start
	plain   bool        // work everything out the slow way (tests compare)
}

// demandFit is what is known in a decision of a demand's chance to start now.
type demandFit struct {
	stamp  int64
	at     int   // tasks before this position cannot start in this decision
	room   bool  // it fits now
	beside bool  // it fits beside the reservation, however long it runs
	most   int64 // what is left of a task that ends by the shadow time is at most this, ns
}

// Scan is the order in which the tasks behind the head are tried.
type Scan int

// The scan orders.
const (
	ScanArrival Scan = iota // in the order of the line
	ScanSJBF                // shortest estimate first (Tsafrir, Etsion & Feitelson 2007, section 4: SJBF)
	ScanReverse             // from the back of the line
)

// Observe keeps the lines.
func (p *Easy) Observe(s *sched.State, e sched.Event) {
	p.reserve.agenda.observe(s, e)
	switch e.Kind {
	case sched.TaskReady:
		d := s.DemandID(e.Task)
		for len(p.queues) <= int(d) {
			p.queues, p.isLive, p.fits = append(p.queues, lines.Waiting{}), append(p.isLive, false), append(p.fits, demandFit{stamp: -1})
		}
		if !p.isLive[d] {
			p.isLive[d] = true
			p.live = append(p.live, d)
		}
		// A task that comes back after a failure keeps its turn.
		p.queues[d].Insert(e.Task, int64(s.Remaining(e.Task)), func(a, b sched.TaskID) bool { return comesBefore(s, a, b) })
		p.fresh = append(p.fresh, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		if d := s.DemandID(e.Task); int(d) < len(p.queues) {
			p.queues[d].Remove(e.Task)
		}
	case sched.Updated:
		if d := s.DemandID(e.Task); int(d) < len(p.queues) && p.queues[d].Remove(e.Task) {
			p.queues[d].Insert(e.Task, int64(s.Remaining(e.Task)), func(a, b sched.TaskID) bool { return comesBefore(s, a, b) })
		}
	}
}

func comesBefore(s *sched.State, a, b sched.TaskID) bool {
	if x, y := s.FirstReady(a), s.FirstReady(b); x != y {
		return x < y
	}
	return a < b
}

// head returns the demand whose first task stands first in the line.
func (p *Easy) head(s *sched.State) (sched.DemandID, bool) {
	best := sched.DemandID(-1)
	for i := 0; i < len(p.live); {
		d := p.live[i]
		if p.queues[d].Len() == 0 {
			p.isLive[d] = false
			p.live[i] = p.live[len(p.live)-1]
			p.live = p.live[:len(p.live)-1]
			continue
		}
		if best < 0 || comesBefore(s, p.queues[d].Head(), p.queues[best].Head()) {
			best = d
		}
		i++
	}
	return best, best >= 0
}

func (p *Easy) place() Place {
	if p.Place == nil {
		return FirstFit
	}
	return p.Place
}

// Decide starts what stands first, reserves for the head and backfills.
func (p *Easy) Decide(r *sched.Round) {
	place := p.place()
	for {
		d, ok := p.head(r.State)
		if !ok {
			break
		}
		t := p.queues[d].Head()
		on, ok := place(r.State, r.Room(), t, p.buf[:0])
		p.buf = on[:0]
		if !ok || !r.Start(t, on...) {
			r.Skip(t, sched.NoRoom)
			if len(p.live) > 1 || p.queues[d].Len() > 1 {
				p.reserve.keepFor(t, place, p.plain)
				if p.Scan == ScanArrival && !p.plain {
					p.backfillInOrder(r, d)
				} else {
					p.backfillEach(r, t)
				}
			}
			break
		}
		p.reserve.agenda.add(r.State, t)
		p.queues[d].RemoveAt(p.queues[d].HeadAt())
	}
	for _, t := range p.fresh {
		if r.Phase(t) == sched.Ready && !p.roomNow(r.State, r.DemandID(t)) {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.fresh = p.fresh[:0]
	p.stamp++
}

func (p *Easy) roomNow(s *sched.State, d sched.DemandID) bool {
	f := &p.fits[d]
	if f.stamp != p.stamp {
		on, ok := s.Room().FirstFit(d, p.buf[:0])
		p.buf = on[:0]
		*f = demandFit{stamp: p.stamp, room: ok}
	}
	return f.room
}

// backfillInOrder starts tasks behind the head in the order of the line. In one decision room only shrinks, so the next task to start is the
// first, over all demands, of those that each demand's room, or the time to the shadow, lets start.
func (p *Easy) backfillInOrder(r *sched.Round, head sched.DemandID) {
	for i := range p.live {
		p.fits[p.live[i]].at = 0
	}
	p.fits[head].at = p.queues[head].HeadAt() + 1
	for {
		best, bestAt, bestTask := sched.DemandID(-1), 0, sched.Nobody
		for _, d := range p.live {
			f := &p.fits[d]
			if p.queues[d].Len() == 0 {
				continue
			}
			if f.stamp != p.stamp {
				p.look(r.State, d)
			}
			if !f.room {
				continue
			}
			most := f.most
			if f.beside {
				most = math.MaxInt64 - 1
			}
			at, t, ok := p.queues[d].First(f.at, most)
			f.at = at
			if ok && (best < 0 || comesBefore(r.State, t, bestTask)) {
				best, bestAt, bestTask = d, at, t
			}
		}
		if best < 0 {
			return
		}
		f := &p.fits[best]
		on, ok, _ := p.reserve.backfill(r.State, p.place(), bestTask, p.buf[:0], !f.beside)
		p.buf = on[:0]
		if !ok || !r.Start(bestTask, on...) {
			f.at = bestAt + 1 // its nodes are slower than the bound assumes, or a quota holds it back
			continue
		}
		p.reserve.started(r.State, bestTask, on)
		f.at = bestAt - p.queues[best].RemoveAt(bestAt)
		p.stamp++
	}
}

// look works out what lets a task of the demand start now; f.at, where the search of this decision stands, is kept.
func (p *Easy) look(s *sched.State, d sched.DemandID) {
	f := &p.fits[d]
	on, ok := p.place()(s, s.Room(), p.queues[d].Head(), p.buf[:0])
	p.buf = on[:0]
	*f = demandFit{stamp: p.stamp, at: f.at, room: ok}
	if !ok {
		return
	}
	p.reserve.ready(s)
	if p.reserve.shadow != sched.Never {
		f.most = p.reserve.mostWork(s, on)
	} else {
		f.most = -1
	}
	on, f.beside = p.reserve.beside(s, d, on[:0])
	p.buf = on[:0]
}

// backfillEach tries every task behind the head in the order of Scan.
func (p *Easy) backfillEach(r *sched.Round, head sched.TaskID) {
	p.scan = p.scan[:0]
	for _, d := range p.live {
		q := &p.queues[d]
		for at, t, ok := q.First(0, math.MaxInt64-1); ok; at, t, ok = q.First(at+1, math.MaxInt64-1) {
			if t != head {
				p.scan = append(p.scan, t)
			}
		}
	}
	slices.SortFunc(p.scan, func(a, b sched.TaskID) int {
		if comesBefore(r.State, a, b) {
			return -1
		}
		return 1
	})
	switch p.Scan {
	case ScanReverse:
		slices.Reverse(p.scan)
	case ScanSJBF:
		slices.SortStableFunc(p.scan, func(a, b sched.TaskID) int { return cmp.Compare(r.Remaining(a), r.Remaining(b)) })
	}
	for _, t := range p.scan {
		d := r.DemandID(t)
		if f := &p.fits[d]; f.stamp == p.stamp && !f.room {
			r.Skip(t, sched.NoRoom)
			continue
		}
		on, ok, fits := p.reserve.backfill(r.State, p.place(), t, p.buf[:0], false)
		p.buf = on[:0]
		switch {
		case !fits:
			p.fits[d] = demandFit{stamp: p.stamp}
			r.Skip(t, sched.NoRoom)
		case !ok:
			r.Skip(t, sched.Order)
		case r.Start(t, on...):
			p.reserve.started(r.State, t, on)
			p.queues[d].Remove(t)
		}
	}
}
