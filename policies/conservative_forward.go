package policies

import (
	"cmp"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/skyline"
	"github.com/schedlab/schedlab/policies/sched"
)

// How Conservative brings promises forward into room that has come free before its time.

// regions are stretches of time in which room has come free, one hull a node.
type regions struct {
	list []region
	at   []int32 // by node: index in list, plus 1
	log  []int32 // indexes in list, each time that one was added or has more room
}

type region struct {
	node     sched.NodeID
	from, to sched.Time
}

func (r *regions) add(n sched.NodeID, from, to sched.Time) {
	for len(r.at) <= int(n) {
		r.at = append(r.at, 0)
	}
	i := r.at[n] - 1
	if i >= 0 {
		g := &r.list[i]
		g.from, g.to = min(g.from, from), max(g.to, to)
	} else {
		i = int32(len(r.list))
		r.list = append(r.list, region{n, from, to})
		r.at[n] = i + 1
	}
	r.log = append(r.log, i)
}

func (r *regions) clear() {
	for i := range r.list {
		r.at[r.list[i].node] = 0
	}
	r.list, r.log = r.list[:0], r.log[:0]
}

// of returns the region of a node, or nil.
func (r *regions) of(n sched.NodeID) *region {
	if int(n) >= len(r.at) || r.at[n] == 0 {
		return nil
	}
	return &r.list[r.at[n]-1]
}

// hope is what the freed room promises a demand that goes on one node: it may be less, as room has been taken since, and not more.
type hope struct {
	pass    int64 // to which the rest belongs
	seen    int   // entries of the log that are taken in
	first   int64 // the earliest time of a stretch with enough room
	longest int64
	vain    int  // searches since then that found nothing
	again   bool // all regions are to be taken in again
}

// bringForward looks at all that wait, in their order, for an earlier start in room that has come free. What was not free when a task was last looked
// at, and has not come free since, is not free: a new start makes use of freed room.
func (p *Conservative) bringForward(s *sched.State) {
	p.next.clear()
	p.pass++
	now := s.Now()
	for i := range p.freed.list {
		p.freed.list[i].from = max(p.freed.list[i].from, now)
	}
	for _, w := range p.line {
		b := &p.bookings[w.slot]
		if b.from <= now || b.from == sched.Never {
			continue
		}
		from, to := b.from, b.to
		var on []sched.Placement
		at, ok := sched.Never, false
		if p.table.whole(s, b.demand) {
			if !p.hopeful(s, b) {
				continue
			}
			var n sched.NodeID
			if n, at = p.sooner(s, b); n == b.on[0].Node && at == from {
				p.dash(b.demand)
				continue
			}
			p.was = append(p.was[:0], b.on...)
			on = append(p.on[:0], sched.Placement{Node: n, Replicas: b.on[0].Replicas})
			p.table.book(s, b.demand, b.on, from, to, 1)
		} else {
			if !p.useful(s, b) {
				continue
			}
			p.was = append(p.was[:0], b.on...)
			p.table.book(s, b.demand, b.on, from, to, 1)
			on, at, ok = p.table.place(s, b.task, now, from+1, p.on[:0])
			if !ok || at == from && sameNodes(on, b.on) { // which device of a node has least room says nothing of what came free
				p.table.book(s, b.demand, b.on, from, to, -1)
				continue
			}
		}
		p.on = on[:0]
		p.refused++
		p.book(s, b, at, on)
		for i := range p.was {
			p.freed.add(p.was[i].Node, from, to)
			p.next.add(p.was[i].Node, from, to)
		}
	}
	p.freed, p.next = p.next, p.freed
}

// useful reports whether some freed room may be of use to a replica of a waiting task: a quick look.
func (p *Conservative) useful(s *sched.State, b *booking) bool {
	want := p.table.wants[b.demand]
	if p.table.shares {
		want[2] = skyline.Any
	}
	for i := range p.freed.list {
		g := &p.freed.list[i]
		if g.from >= b.to && !p.table.mixed || g.from >= g.to || !p.table.allowed(s, b.demand, g.node) { // it would be over before
			continue
		}
		if high := p.table.nodes[g.node].High(int64(g.from), int64(g.to)); high[0] >= want[0] && high[1] >= want[1] && high[2] >= want[2] {
			return true
		}
	}
	return false
}

// hopeful is useful for a task that goes on one node.
func (p *Conservative) hopeful(s *sched.State, b *booking) bool {
	for len(p.hopes) <= int(b.demand) {
		p.hopes = append(p.hopes, hope{})
	}
	h := &p.hopes[b.demand]
	if h.pass != p.pass {
		*h = hope{pass: p.pass, first: skyline.Ever}
	}
	if h.again {
		h.again, h.seen = false, len(p.freed.log)
		for i := range p.freed.list {
			p.look(s, b.demand, h, &p.freed.list[i])
		}
	}
	want, last := &p.table.wants[b.demand], int32(-1)
	for ; h.seen < len(p.freed.log); h.seen++ {
		if i := p.freed.log[h.seen]; i != last { // of the only node they are all the same
			last = i
			p.look(s, b.demand, h, &p.freed.list[i])
		}
	}
	if h.first <= int64(b.from) && (h.longest >= int64(b.to-b.from) || p.table.mixed) {
		return true
	}
	g := p.freed.of(b.on[0].Node) // it may slide into what is free just before it
	return g != nil && g.from < b.from && g.to > g.from && p.table.nodes[g.node].Back(int64(b.from), int64(b.from)-1, want) < int64(b.from)
}

// look takes a region into a demand's hope.
func (p *Conservative) look(s *sched.State, d sched.DemandID, h *hope, g *region) {
	if g.from >= g.to || !p.table.allowed(s, d, g.node) {
		return
	}
	l, want := &p.table.nodes[g.node], &p.table.wants[d]
	if first, longest := l.Holes(l.Back(int64(g.from), int64(s.Now()), want), int64(g.to), want); longest > 0 {
		h.first, h.longest = min(h.first, first), max(h.longest, longest)
	}
}

// dash takes in that a hope was vain. After a few, what is left of it is worked out again.
func (p *Conservative) dash(d sched.DemandID) {
	h := &p.hopes[d]
	if h.vain++; h.vain == 4 {
		*h = hope{pass: h.pass, first: skyline.Ever, again: true}
	}
}

// sooner looks for an earlier start of a task that goes on one node, or for the same on a lower-numbered node, and returns what it has where there is
// none. The room that is promised to the task itself counts as free.
func (p *Conservative) sooner(s *sched.State, b *booking) (node sched.NodeID, best sched.Time) {
	own := b.on[0].Node
	node, best = own, b.from
	want := &p.table.wants[b.demand]
	look := func(g *region, until, stop sched.Time) {
		if g.from >= g.to || !p.table.allowed(s, b.demand, g.node) {
			return
		}
		line := &p.table.nodes[g.node]
		first := line.Back(int64(g.from), int64(s.Now()), want)
		if at, ok := line.Earliest(first, int64(min(until, g.to)), p.table.hold(s, b.task, g.node), int64(stop), want); ok {
			node, best = g.node, sched.Time(at)
		}
	}
	if g := p.freed.of(own); g != nil && g.from < b.from {
		look(g, b.from, b.from)
	}
	if len(p.freed.list) > cmp.Or(p.near, few) { // quicker than to look at each
		n, at := p.table.soonest(s, b.task, b.demand, s.Now(), best+1)
		if n != sched.NoNode && (at < best || n < node) {
			return n, at
		}
		return node, best
	}
	for i := range p.freed.list {
		if g := &p.freed.list[i]; g.node < node {
			look(g, best+1, skyline.Ever)
		} else if g.node != own {
			look(g, best, skyline.Ever)
		}
	}
	return node, best
}

// sameNodes reports whether replicas are on the same nodes, whatever the devices.
func sameNodes(a, b []sched.Placement) bool {
	return slices.EqualFunc(a, b, func(x, y sched.Placement) bool { return x.Node == y.Node && x.Replicas == y.Replicas })
}
