package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

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
	awaits  bool // room that is only being left is needed besides: set by claim
}

// victim is a task that may be stopped, and its place in the order.
type victim struct {
	rank int64
	task sched.TaskID
}

// byPlan looks for the victims without which t fits: the largest ranks first until it does, then spares, from the smallest rank on, those
// that need not go. What is being stopped already counts as gone, so that nobody is stopped for room that comes anyway; t then waits for it.
// What victims hold is given to a copy of the room, one by one.
func (x *stopping) byPlan(r *sched.Round, t sched.TaskID, evict Evictable, place Place, firstFit bool) bool {
	x.victims, x.leaving = x.victims[:0], x.leaving[:0]
	for v := range r.RunningTasks() {
		if r.Phase(v) == sched.Stopping {
			x.leaving = append(x.leaving, v)
		} else if rank, may := evict(r.State, v, t); may {
			x.victims = append(x.victims, victim{rank, v})
		}
	}
	if len(x.victims) == 0 {
		return false
	}
	slices.SortFunc(x.victims, func(a, b victim) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.task, a.task))
	})
	x.plan.CopyFrom(r.Room())
	for _, v := range x.leaving {
		give(r.State, &x.plan, v)
	}
	on, ok := x.buf, false
	if len(x.leaving) > 0 {
		on, ok = place(r.State, &x.plan, t, on[:0])
	}
	n := 0
	for ; n < len(x.victims) && !ok; n++ {
		give(r.State, &x.plan, x.victims[n].task)
		on, ok = place(r.State, &x.plan, t, on[:0])
	}
	x.buf, x.victims = on[:0], x.victims[:n]
	return ok && n > 0 && x.spareAndClaim(r, t, place, firstFit)
}

// byGaps is byPlan for what near serves; the outcome is the same.
func (x *stopping) byGaps(r *sched.Round, t sched.TaskID, evict Evictable) bool {
	d, last, closed := r.DemandID(t), sched.Nobody, false
	x.near.begin(r.State)
	x.victims, x.leaving = x.victims[:0], x.leaving[:0]
	order := x.near.order[:0]
	for v := range r.RunningTasks() {
		if r.Phase(v) == sched.Stopping {
			x.leaving = append(x.leaving, v)
			closed = closed || x.near.give(r.State, d, v) != sched.NoNode
		} else if rank, may := evict(r.State, v, t); may {
			order = append(order, heap.Item{Key: -rank, Task: -v}) // largest rank first, then the larger TaskID
		}
	}
	x.near.order = order
	if closed {
		return false // there will be room without stopping anybody
	}
	order.Init()
	for len(order) > 0 && !closed {
		last = -order.Pop().Task
		x.victims = append(x.victims, victim{task: last})
		closed = x.near.give(r.State, d, last) != sched.NoNode
	}
	if !closed {
		return false
	}
	x.nearly(r, last)
	return len(x.ids) > 0 && x.claim(r, t, x.buf)
}

// claim claims room for t, by the stop of x.ids. It reports false where t has to wait; true, with the task still ready, where a quota refused it, so that it
// is passed over as one whose start was refused.
func (x *stopping) claim(r *sched.Round, t sched.TaskID, on []sched.Placement) bool {
	x.awaits = !r.Claim(t, on, x.ids...) && len(x.leaving) > 0
	return !x.awaits
}

// spareAndClaim spares, from the last victim on, those without whom t fits the plan as well, and claims room for t as claim does. What is leaving counts
// as gone in the plan, so that nobody is stopped for room that comes anyway; t then waits for it.
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
	return x.claim(r, t, on)
}

// spareOn leaves in ids who has to be stopped of the last tasks of a node, without which a gap is closed: it spares, from the last that would be stopped on, those
// without whom it is closed as well.
func (x *stopping) spareOn(list []ranked, g gap) {
	x.ids = x.ids[:0]
	for i := 0; i < len(list) && !list[i].leaving; i++ {
		spared := g
		if spared.more(list[i].freed()); spared.closed() {
			g = spared
		} else {
			x.ids = append(x.ids, list[i].task)
		}
	}
}

// nearly spares by gaps, on the nodes of last, the last that was given to near: it leaves whom to stop in ids, and the placement in
// buf. Nobody is to be stopped where there is room anyway, or none.
func (x *stopping) nearly(r *sched.Round, last sched.TaskID) {
	x.ids = x.ids[:0]
	node := x.near.lowestClosed(r.State, last) // it may have closed the gaps of several nodes
	if node == sched.NoNode {
		return
	}
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
	gangs  bool
	order  heap.Heap
}

// sees reports whether near can decide for tasks of one replica.
func (n *near) sees(s *sched.State) bool {
	if n.seen < len(s.Table().Demands) {
		n.see(s)
	}
	return !n.shares
}

// serves reports whether near can decide for the task.
func (n *near) serves(s *sched.State, t sched.TaskID) bool { return n.sees(s) && s.Demand(t).Gang == 1 }

// servesAll reports whether near can decide for all tasks.
func (n *near) servesAll(s *sched.State) bool { return n.sees(s) && !n.gangs }

func (n *near) see(s *sched.State) {
	for all := s.Table().Demands; n.seen < len(all); n.seen++ {
		d := &all[n.seen]
		n.shares = n.shares || d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole
		n.gangs = n.gangs || d.Gang > 1
	}
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
			*g = gap{amount{cpu: math.MaxInt64 / 2}} // of the wrong kind, or down: never closes
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
		n.gaps[p.Node].less(f.times(int32(sign)))
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

// freed is what the end of a placement makes free. A device that a claim has booked as well goes to the claim.
func freed(s *sched.State, need *sched.Need, p sched.Placement) amount {
	r := amountOf(need, p.Replicas)
	if p.GPUs != 0 {
		r.gpus -= int32(bits.OnesCount64(uint64(p.GPUs & s.Room().Overbooked(p.Node))))
	}
	return r
}
