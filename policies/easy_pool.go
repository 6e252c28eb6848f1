package policies

import (
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// On a cluster of one node, which is how logs of supercomputers are read, whether a demand fits is a comparison: nothing of it is kept over
// decisions. The demands are gone through in the order of their size up to what is free, once a decision.

// candidate is the first task of a demand that may start behind the head.
type candidate struct {
	demand sched.DemandID
	at     int // its position in the line of the demand
	task   sched.TaskID
	ready  sched.Time
}

// fitsPool reports whether the demand fits on the only node.
func (p *Easy) fitsPool(s *sched.State, d sched.DemandID) bool {
	room, need := s.Room(), &p.fits[d].least
	if need.cpu > 0 && room.FreeCPU(0) < need.cpu { // why most do not
		return false
	}
	if need.mem|int64(need.gpus) != 0 && !freeOn(room, 0).covers(need) {
		return false
	}
	return room.Up(0) && p.reserve.agenda.allowed(s, d, 0)
}

// freshFits reports whether one of the tasks that have just come fits.
func (p *Easy) freshFits(s *sched.State) bool {
	for _, f := range p.fresh {
		if s.Phase(f.task) == sched.Ready && p.fitsPool(s, f.demand) {
			return true
		}
	}
	return false
}

// backfillPool is backfillInOrder on the only node.
func (p *Easy) backfillPool(r *sched.Round, head sched.DemandID, from int) (hopeful bool) {
	s, v := r.State, &p.reserve
	if !p.stands(s) {
		return false
	}
	p.cands = p.cands[:0]
	free, empty, seen := freeOn(s.Room(), 0), 0, 0
	live, queues := p.live, p.queues
	for ; seen < len(live); seen++ {
		l := &live[seen]
		if l.least.cpu > free.cpu {
			break
		}
		q := &queues[l.demand]
		if q.Len() == 0 {
			empty++
			continue
		}
		if f := &p.fits[l.demand]; f.slept != v.wider || v.leaves(&l.least) {
			if !free.covers(&l.least) || !v.agenda.allowed(s, l.demand, 0) {
				continue
			}
			at := 0
			if l.demand == head {
				at = from
			}
			p.propose(s, &l.least, l.demand, at)
		}
	}
	if empty > 4 && 2*empty > seen {
		p.delist(seen)
	}
	for len(p.cands) > 0 {
		best := 0
		for i := range p.cands {
			if c, b := &p.cands[i], &p.cands[best]; lines.Before(c.ready, c.task, b.ready, b.task) {
				best = i
			}
		}
		c := p.cands[best]
		next := c.at + 1
		if r.StartOn(c.task, 0) {
			v.startedOn(s, c.task, c.demand, 0)
			next = c.at - p.queues[c.demand].RemoveAt(c.at)
		}
		// Who of them can still start?
		free = freeOn(s.Room(), 0)
		old := p.cands
		p.cands = p.cands[:0]
		for i := range old {
			d, at := old[i].demand, old[i].at
			if i == best {
				at = next
			}
			if need := &p.fits[d].least; p.queues[d].Len() > 0 && free.covers(need) {
				p.propose(s, need, d, at)
			}
		}
	}
	return true
}

// propose makes the first task of a demand, from a position on, that may start now a candidate.
func (p *Easy) propose(s *sched.State, need *amount, d sched.DemandID, from int) {
	v, most := &p.reserve, int64(lines.All)
	aside := v.leaves(need) // beside the reservation, however long it runs
	if !aside {
		most = int64(v.shadow - s.Now())
	}
	q := &p.queues[d]
	if at, t, ok := q.First(from, most); ok {
		p.cands = append(p.cands, candidate{d, at, t, q.ReadyAt(at)})
	} else if !aside { // nor will one be as long as the shadow time does not move away
		p.fits[d].slept = v.wider
	}
}

// delist takes demands that no task waits for out of the first of live.
func (p *Easy) delist(first int) {
	kept := p.live[:0]
	for i, l := range p.live {
		if i < first && p.queues[l.demand].Len() == 0 {
			p.fits[l.demand].live = false
			continue
		}
		kept = append(kept, l)
	}
	p.live = kept
}
