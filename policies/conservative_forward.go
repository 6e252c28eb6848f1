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
	at   []int32  // by node: index in list, plus 1
	log  []region // what was added
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
	r.log = append(r.log, region{n, from, to})
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
	pass int64     // to which the rest belongs
	seen int       // entries of the log that are taken in
	best []stretch // with enough room: from each first on, the longest so far; first and longest ascend
	vain int       // searches since then that found nothing
}

type stretch struct{ first, longest int64 }

// hopes of more stretches than this take two for one: there is little to win and each has to be looked at.
const mostHopes = 12

// add takes in a stretch, unless one as long starts no later.
func (h *hope) add(first, longest int64) {
	i := len(h.best)
	for i > 0 && h.best[i-1].first > first {
		i--
	}
	if i > 0 && h.best[i-1].longest >= longest {
		return
	}
	j := i
	for j < len(h.best) && h.best[j].longest <= longest {
		j++
	}
	if j > i {
		h.best[i] = stretch{first, longest}
		h.best = slices.Delete(h.best, i+1, j)
		return
	}
	h.best = slices.Insert(h.best, i, stretch{first, longest})
	if len(h.best) <= mostHopes {
		return
	}
	k := 1 // of neighbours the two of which one loses least by being taken for the other
	for m := 2; m < len(h.best)-1; m++ {
		if h.best[m].longest-h.best[m-1].longest < h.best[k].longest-h.best[k-1].longest {
			k = m
		}
	}
	h.best[k-1].longest = h.best[k].longest
	h.best = slices.Delete(h.best, k, k+1)
}

// has reports whether there may be a stretch that starts no later than a time and is so long.
func (h *hope) has(at, long int64) bool {
	for i := range h.best {
		if h.best[i].first > at {
			return false
		}
		if h.best[i].longest >= long {
			return true
		}
	}
	return false
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
				p.dash(s, b.demand)
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
		p.hopeAnew(s, b.demand, h)
	}
	for ; h.seen < len(p.freed.log); h.seen++ {
		p.look(s, b.demand, h, &p.freed.log[h.seen])
	}
	long := int64(b.to - b.from)
	if p.table.mixed {
		long = 1
	}
	if h.has(int64(b.from), long) {
		return true
	}
	g := p.freed.of(b.on[0].Node) // it may slide into what is free just before it
	return g != nil && g.from < b.from && g.to > g.from && p.table.nodes[g.node].Back(int64(b.from), int64(b.from)-1, &p.table.wants[b.demand]) < int64(b.from)
}

// hopeAnew takes all regions in.
func (p *Conservative) hopeAnew(s *sched.State, d sched.DemandID, h *hope) {
	*h = hope{pass: p.pass, seen: len(p.freed.log), best: h.best[:0]}
	for i := range p.freed.list {
		p.look(s, d, h, &p.freed.list[i])
	}
}

// look takes a region into a demand's hope.
func (p *Conservative) look(s *sched.State, d sched.DemandID, h *hope, g *region) {
	if g.from >= g.to || !p.table.allowed(s, d, g.node) {
		return
	}
	l, want := &p.table.nodes[g.node], &p.table.wants[d]
	p.holes = l.Holes(l.Back(int64(g.from), int64(s.Now()), want), int64(g.to), want, p.holes[:0])
	for _, e := range p.holes {
		long := e.To
		if long < skyline.Ever { // and it may start before 0
			long -= e.From
		}
		h.add(e.From, long)
	}
}

// dash takes in that a hope was vain. After a few, what is left of it is worked out again.
func (p *Conservative) dash(s *sched.State, d sched.DemandID) {
	h := &p.hopes[d]
	if h.vain++; h.vain == 4 {
		p.hopeAnew(s, d, h)
		h.vain = 4
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
