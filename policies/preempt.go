package policies

import (
	"math"
	"math/bits"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// stopping is the scratch in which it is worked out whom to stop.
type stopping struct {
	victims []victim // in the order in which they are stopped
	leaving []sched.TaskID
	ids     []sched.TaskID
	buf     []sched.Placement
	plan    sched.Room
	near    near
}

// victim is a task that may be stopped, and its place in the order.
type victim struct {
	rank int64
	task sched.TaskID
}

// spareAndClaim spares, from the last victim on, those without whom t fits the plan as well, and claims room for t. What is leaving counts
// as gone in the plan, so that nobody is stopped for room that comes anyway; t then waits for it. It reports false where t has to wait;
// true, with the task still ready, where a quota refused it, so that it is passed over as one whose start was refused.
func (x *stopping) spareAndClaim(r *sched.Round, t sched.TaskID, place Place, firstFit bool) bool {
	on := x.buf
	x.ids = x.ids[:0]
	for i := len(x.victims) - 1; i >= 0; i-- {
		v := x.victims[i].task
		take(r.State, &x.plan, v)
		// The victim's own devices may be free only once: whether it fits beside t is seen by placing t without them.
		if spared, fits := place(r.State, &x.plan, t, on[:0]); fits {
			on = spared
			continue
		}
		give(r.State, &x.plan, v)
		x.ids = append(x.ids, v)
	}
	on, ok := place(r.State, &x.plan, t, on[:0])
	x.buf = on[:0]
	if !ok || len(x.ids) == 0 {
		return false
	}
	if firstFit && r.Demand(t).Need.GPUMilli >= sched.Whole {
		for i := range on {
			on[i].GPUs = 0 // the kernel chooses among those that are really free: what is leaving may keep others busy
		}
	}
	return r.Claim(t, on, x.ids...) || len(x.leaving) == 0
}

// nearly does the same on the nodes of last, the last that was given to near, up to the claim: it leaves whom to stop in ids and the
// placement in buf. It reports false where nobody is to be stopped, or no room was made.
func (x *stopping) nearly(r *sched.Round, t, last sched.TaskID) bool {
	node := x.near.lowestClosed(r.State, last) // it may have closed the gaps of several nodes
	if node == sched.NoNode {
		return false
	}
	x.ids = x.ids[:0]
	for i := len(x.victims) - 1; i >= 0; i-- {
		v := x.victims[i].task
		if r.Phase(v) == sched.Stopping {
			continue
		}
		x.near.back(r.State, v, -1)
		if n := x.near.lowestClosed(r.State, last); n != sched.NoNode {
			node = n
			continue
		}
		x.near.back(r.State, v, +1)
		x.ids = append(x.ids, v)
	}
	x.buf = append(x.buf[:0], sched.Placement{Node: node, Replicas: 1}) // the kernel chooses the devices
	return len(x.ids) > 0
}

func give(s *sched.State, room *sched.Room, t sched.TaskID) {
	need := &s.Demand(t).Need
	for _, p := range s.Placements(t) {
		room.Give(need, p)
	}
}

func take(s *sched.State, room *sched.Room, t sched.TaskID) {
	need := &s.Demand(t).Need
	for _, p := range s.Placements(t) {
		room.Take(need, p)
	}
}

// near finds out whom to stop for a task of one replica under first fit, where nobody shares GPUs, without a copy of the room: such a task
// fits as soon as the stopped tasks of one node free enough, so a gap per node is all that has to be kept.
type near struct {
	gaps   []gap // by node, of this search
	stamp  []int32
	search int32
	seen   int // demands that were looked at for shares
	shares bool
	order  heap.Heap
}

// serves reports whether near can decide for the task.
func (n *near) serves(s *sched.State, t sched.TaskID) bool {
	for all := s.Table().Demands; n.seen < len(all); n.seen++ {
		need := &all[n.seen].Need
		n.shares = n.shares || need.GPUs > 0 && need.GPUMilli < sched.Whole
	}
	return !n.shares && s.Demand(t).Gang == 1
}

// begin starts a search.
func (n *near) begin(s *sched.State) {
	for len(n.stamp) < s.Room().Len() {
		n.stamp, n.gaps = append(n.stamp, 0), append(n.gaps, gap{})
	}
	if n.search++; n.search == math.MaxInt32 {
		clear(n.stamp)
		n.search = 1
	}
}

// give takes what a running task holds off the gaps of its nodes and returns the lowest node whose gap has closed, or NoNode.
func (n *near) give(s *sched.State, d sched.DemandID, v sched.TaskID) sched.NodeID {
	need, closed := &s.Demand(v).Need, sched.NoNode
	for _, p := range s.Placements(v) {
		g := &n.gaps[p.Node]
		if n.stamp[p.Node] != n.search {
			n.stamp[p.Node] = n.search
			*g = gap{cpu: math.MaxInt64 / 2} // of the wrong kind, or down: never closes
			if s.Room().Up(p.Node) && s.Room().Allowed(d, p.Node) {
				*g = gapOn(s, d, p.Node)
			}
		}
		g.less(freed(s, need, p))
		if g.closed() && (closed == sched.NoNode || p.Node < closed) {
			closed = p.Node
		}
	}
	return closed
}

// back takes a victim's room out of the gaps of its nodes again (sign -1), or gives it once more (+1).
func (n *near) back(s *sched.State, v sched.TaskID, sign int64) {
	need := &s.Demand(v).Need
	for _, p := range s.Placements(v) {
		f := freed(s, need, p)
		n.gaps[p.Node].less(nodeRun{cpu: sign * f.cpu, mem: sign * f.mem, gpus: int32(sign) * f.gpus})
	}
}

// lowestClosed returns the lowest of the task's nodes whose gap is closed, or NoNode.
func (n *near) lowestClosed(s *sched.State, v sched.TaskID) sched.NodeID {
	closed := sched.NoNode
	for _, p := range s.Placements(v) {
		if n.gaps[p.Node].closed() && (closed == sched.NoNode || p.Node < closed) {
			closed = p.Node
		}
	}
	return closed
}

// freed is what the end of a placement makes free, as an entry of the agenda. A device that a claim has booked as well goes to the claim.
func freed(s *sched.State, need *sched.Need, p sched.Placement) nodeRun {
	k := int64(p.Replicas)
	r := nodeRun{cpu: k * need.CPU, mem: k * need.Mem, gpus: p.Replicas * need.GPUs}
	if p.GPUs != 0 {
		booked := s.Room().BookedMilli(p.Node)
		for set := p.GPUs; set != 0; set &= set - 1 {
			if booked[bits.TrailingZeros64(uint64(set))] > sched.Whole {
				r.gpus--
			}
		}
	}
	return r
}

// preemptNear is preempt for what near serves; the outcome is the same.
func (l *List) preemptNear(r *sched.Round, t sched.TaskID) bool {
	d, node, last, leaving := r.DemandID(t), sched.NoNode, sched.Nobody, false
	l.near.begin(r.State)
	l.victims = l.victims[:0]
	if l.Turns {
		for v := range r.RunningTasks() {
			if r.Phase(v) == sched.Stopping {
				leaving = true
			} else {
				rank, may := l.Evict(r.State, v, t)
				if !may {
					break
				}
				l.victims = append(l.victims, victim{rank, v})
			}
			last = v
			if node = l.near.give(r.State, d, v); node != sched.NoNode {
				break
			}
		}
	} else {
		order := l.near.order[:0]
		for v := range r.RunningTasks() {
			if r.Phase(v) == sched.Stopping {
				leaving = true
				if n := l.near.give(r.State, d, v); n != sched.NoNode {
					l.near.order = order
					return false // there will be room without stopping anybody
				}
			} else if rank, may := l.Evict(r.State, v, t); may {
				order = append(order, heap.Item{Key: -rank, Task: -v}) // largest rank first, then the larger TaskID
			}
		}
		order.Init()
		for len(order) > 0 && node == sched.NoNode {
			it := order.Pop()
			last = -it.Task
			l.victims = append(l.victims, victim{-it.Key, last})
			node = l.near.give(r.State, d, last)
		}
		l.near.order = order[:0]
	}
	if node == sched.NoNode || len(l.victims) == 0 {
		return false
	}
	// Spare, from the smallest rank on, those without whom a gap stays closed. The last one stopped may have closed the gaps of several nodes.
	l.ids = l.ids[:0]
	for i := len(l.victims) - 1; i >= 0; i-- {
		v := l.victims[i].task
		l.near.back(r.State, v, -1)
		if n := l.near.lowestClosed(r.State, last); n != sched.NoNode {
			node = n
			continue
		}
		l.near.back(r.State, v, +1)
		l.ids = append(l.ids, v)
	}
	l.buf = append(l.buf[:0], sched.Placement{Node: node, Replicas: 1}) // the kernel chooses the devices
	// Where it needs room that is only being left, it waits; otherwise a quota refused it, as in preempt.
	if len(l.ids) == 0 {
		return false
	}
	return r.Claim(t, l.buf, l.ids...) || !leaving
}
