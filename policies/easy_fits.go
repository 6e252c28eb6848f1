package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// What Easy remembers of demands that found no room, so that a decision looks only at those to which something has changed.

// liveDemand is a demand with what it must find on a node to fit there: all of it where it goes on one node, else one replica.
type liveDemand struct {
	least  amount
	demand sched.DemandID
}

// demandFit is what is known of a demand's chance to start. Of a demand that is neither open nor stale, no task has room.
type demandFit struct {
	live  bool // stands in Easy.live; else it is neither open nor asleep nor hopeless
	open  bool // stands in Easy.open: tasks of it may start
	stale bool // room and what follows is not known
	room  bool // it fits now
	one   bool // it goes on one node by first fit: the fields node and asideOn say on which
	known bool // what follows is known, of the reservation's turn
	aside bool // it fits beside the reservation, however long it runs

	hopeless bool // the end of no running task makes room

	asleep bool // it may fit on the reserved node, but not beside the reservation, and no task of it is short enough; it is stale and not open
	listed bool // stands in Easy.asleep

	woken int64 // the last decision in which a node that came free opened it
	dozed bool  // it was asleep then; else it was closed

	slept int64 // on the only node: no task of it is short enough as long as the reservation has not become wider than this

	least   amount // liveDemand's
	node    sched.NodeID
	asideOn sched.NodeID
	turn    int64
	most    int64 // where not one: what is left of a task that ends by the shadow time is at most this, ns

	round int64 // the decision to which at belongs
	at    int   // tasks before this position cannot start in it
}

// stands reports whether the reservation for the head stands, and works it out first.
func (p *Easy) stands(s *sched.State) bool {
	p.reserve.ready(s)
	return p.reserve.shadow != sched.Never
}

// forget makes all that is known of demands stale.
func (p *Easy) forget(s *sched.State) {
	p.reserve.drop()
	if p.nodes != s.Room().Len() { // what a demand must find on a node depends on whether there are others
		p.nodes = s.Room().Len()
		live := slices.Clone(p.live)
		p.live = p.live[:0]
		for _, l := range live {
			p.enlist(s, l.demand)
		}
	}
	p.open, p.news, p.hopeless = p.open[:0], true, 0
	kept := p.live[:0]
	for _, l := range p.live {
		f := &p.fits[l.demand]
		f.live = p.queues[l.demand].Len() > 0
		f.open, f.stale, f.asleep, f.hopeless = f.live, true, false, false
		if f.live {
			p.open = append(p.open, l.demand)
			kept = append(kept, l)
		}
	}
	p.live = kept
}

// freed takes in that room came free on a node.
func (p *Easy) freed(s *sched.State, n sched.NodeID) {
	v, a, free := &p.reserve, &p.reserve.agenda, freeOn(s.Room(), n)
	for i := 0; i < len(p.live) && p.live[i].least.cpu <= free.cpu; i++ {
		l := &p.live[i]
		if !free.covers(&l.least) {
			continue
		}
		f := &p.fits[l.demand]
		if p.queues[l.demand].Len() == 0 && !f.open {
			f.live, f.asleep, f.hopeless = false, false, false // wake and forget, which goes through live, would not put these right
			p.live = slices.Delete(p.live, i, i+1)
			i--
			continue
		}
		switch {
		case f.asleep && v.made && v.single:
			switch {
			case n != v.node: // besides this one, it may fit on the reserved node only
				f.node = n
				if s.Room().Before(l.demand, v.node, n) && freeOn(s.Room(), v.node).covers(&f.least) {
					f.node = v.node
				}
				if !s.Room().Up(n) || !a.allowed(s, l.demand, n) {
					continue
				}
			case v.leaves(&l.least):
				f.node = n
			default:
				continue
			}
			f.stale, f.room, f.known = false, true, false
			p.reopen(l.demand, f)
			f.woken, f.dozed = p.rounds, true
		case f.stale || !f.one:
			p.stale(l.demand, f)
		case f.room && !s.Room().Before(l.demand, n, f.node): // the first node stays the first
			f.known = f.known && f.aside && !s.Room().Before(l.demand, n, f.asideOn)
		case s.Room().Up(n) && a.allowed(s, l.demand, n):
			if !f.open {
				f.woken, f.dozed = p.rounds, false
			}
			f.room, f.node, f.known = true, n, false
			p.reopen(l.demand, f)
		default:
			continue
		}
		p.news = true
	}
}

// wake opens what is asleep.
func (p *Easy) wake() {
	for _, d := range p.asleep {
		f := &p.fits[d]
		f.listed = false
		if f.asleep {
			p.stale(d, f)
		}
	}
	p.asleep, p.cameFree = p.asleep[:0], sched.NoNode
	p.news, p.wider = true, p.reserve.wider
}

func (p *Easy) stale(d sched.DemandID, f *demandFit) {
	f.stale = true
	p.reopen(d, f)
}

func (p *Easy) reopen(d sched.DemandID, f *demandFit) {
	f.asleep = false
	if !f.open {
		f.open = true
		p.open = append(p.open, d)
	}
}

// took takes in that a task was started on these nodes.
func (p *Easy) took(s *sched.State, on []sched.Placement) {
	if len(on) == 1 {
		p.tookOf(s, on[0].Node)
		return
	}
	for _, d := range p.open {
		p.fits[d].stale = true
	}
}

// tookOf takes in that a task was started on a node.
func (p *Easy) tookOf(s *sched.State, n sched.NodeID) {
	free := freeOn(s.Room(), n)
	for i := 0; i < len(p.open); {
		f := &p.fits[p.open[i]]
		switch {
		case f.woken == p.rounds && n == p.cameFree && !free.covers(&f.least):
			// What woke it is gone again: all is as it was before.
			f.room, f.stale, f.asleep = false, f.dozed, f.dozed
			p.close(i)
			continue
		case f.stale:
		case !f.one:
			f.stale = true
		case f.node == n: // it stays the first if the demand fits on it once more
			f.stale, f.known = !free.covers(&f.least), false
		case f.known && f.aside && f.asideOn == n:
			f.known = false
		}
		i++
	}
}

// hasRoom reports whether a task of the demand fits now.
func (p *Easy) hasRoom(s *sched.State, d sched.DemandID) bool {
	f := &p.fits[d]
	switch {
	case p.pool:
		return p.fitsPool(s, d)
	case f.stale || p.plain:
		return p.look(s, d, f)
	}
	return f.room
}

func (p *Easy) look(s *sched.State, d sched.DemandID, f *demandFit) bool {
	f.stale, f.known = false, false
	dem := &s.Table().Demands[d]
	room := s.Room()
	switch f.one = p.Place == nil && (dem.Gang == 1 || room.Len() == 1) && !p.reserve.agenda.shares; {
	case f.one && dem.Gang == 1:
		f.node = room.FirstNode(d)
		f.room = f.node != sched.NoNode
	case f.one:
		f.node, f.room = 0, room.FitsOn(d, 0, dem.Gang) == dem.Gang
	default:
		var on []sched.Placement
		on, f.room = p.place()(s, room, p.queues[d].Head(), p.buf[:0])
		p.buf = on[:0]
	}
	if f.asleep = false; f.room {
		p.reopen(d, f)
	}
	return f.room
}

// roomFor is hasRoom, and wakes nobody.
func (p *Easy) roomFor(s *sched.State, d sched.DemandID) bool {
	if f := &p.fits[d]; f.asleep && !p.pool {
		return freeOn(s.Room(), p.reserve.node).covers(&f.least)
	}
	return p.hasRoom(s, d)
}

// close takes the demand at a place of open out.
func (p *Easy) close(i int) {
	last := len(p.open) - 1
	p.fits[p.open[i]].open = false
	p.open[i] = p.open[last]
	p.open = p.open[:last]
}

// atMost returns how much work a task of the demand may have left to start now behind the head; there is room.
func (p *Easy) atMost(s *sched.State, d sched.DemandID, f *demandFit) int64 {
	v := &p.reserve
	if !f.known || f.turn != v.turn {
		f.known, f.turn, f.most = true, v.turn, -1
		switch {
		case f.one && v.single && p.keep:
			f.asideOn = v.nodeBeside(s, d, f.node)
			f.aside = f.asideOn != sched.NoNode
		default:
			on, ok := p.place()(s, s.Room(), p.queues[d].Head(), p.buf[:0])
			if ok {
				f.most = v.mostWork(s, on)
			}
			on, f.aside = v.beside(s, d, on[:0])
			p.buf = on[:0]
			f.asideOn = f.node
			if f.aside && f.one {
				f.asideOn = on[0].Node
			}
		}
	}
	switch {
	case f.aside:
		return lines.All
	case !p.keep:
		return f.most
	}
	return int64(v.shadow - s.Now())
}
