package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// closing says with which task, in the order in which they are stopped, there is room for a task of a demand.
type closing struct {
	rank int64
	task sched.TaskID
	how  uint8
}

const (
	noRoom  uint8 = iota // not even if all stop
	atStop               // if it and those before it stop
	leaving              // by what is stopping anyway
	fits                 // there is
)

// before reports whether the search for room reaches c first: what asks for no stop before what does, then the largest rank, then the larger TaskID.
func (c *closing) before(d *closing) bool { return d.behind(c) == 1 }

// behind is 1 where the search reaches d before c, else 0. It takes no branch, which would be guessed wrong too often.
func (c *closing) behind(d *closing) uint64 {
	const sign = 1 << 63
	_, less := bits.Sub64(uint64(c.task)^sign, uint64(d.task)^sign, 0)
	_, less = bits.Sub64(uint64(c.rank)^sign, uint64(d.rank)^sign, less)
	_, less = bits.Sub64(uint64(c.how), uint64(d.how), less)
	return less
}

// closings keeps, for one demand, the closing of every node in a tournament tree.
type closings struct {
	seen int       // entries of the log that are taken in, dropped ones included
	size int       // leaves of tree, a power of two
	tree []closing // the first of each subtree; leaf i at size+i
}

// maxLeaves bounds what the trees of all demands take: 16 MB. A demand that comes after is worked out by a search.
const maxLeaves = 1 << 19

// serves reports whether first can tell.
func (q *ranks) serves(d sched.DemandID) bool {
	return q.odd == 0 && (q.leaves < maxLeaves || int(d) < len(q.trees) && q.trees[d] != nil)
}

// fewVictims tasks, from the first on that may make room, are gone through in their order for whom to stop. Where those are not enough, the tree is asked, and the next
// times without a try.
const (
	fewVictims = 48
	hardTimes  = 32
)

// closest returns the closing that comes first of all nodes, for a task that fits nowhere; none, or any other, where that needs the stop of tasks that may not
// be stopped for it.
func (q *ranks) closest(s *sched.State, p *Preemptive, d sched.DemandID, it heap.Item) (best closing) {
	if q.moves == nil && q.hard[d] > 0 {
		q.hard[d]--
		return q.first(s, d)
	}
	for _, n := range q.left {
		if c := q.leavingOn(s, d, n); c.how != noRoom {
			return c
		}
	}
	b := p.bar(s, it)
	if q.moves != nil && !q.moves.apart {
		return q.closestMoving(s, d, &b)
	}
	below := bar{math.MaxInt64, lastTask}
	if k := &p.denials[d]; p.holds(k) { // nobody over its bar makes room, but on nodes that have gained since
		below = p.bar(s, k.it)
		if best = p.firstGained(s, d, k, &b); best.how > atStop {
			return best
		} else if best.how == atStop {
			b = bar{best.rank, best.task} // no other interests
		}
	}
	if q.moves != nil {
		return q.closestApart(s, d, &b, &below, best)
	}
	tops := q.topsFrom(s, &below)
	for range fewVictims {
		v, ok := tops.next()
		if !ok {
			if tops.whole {
				return best
			}
			if q.order.most() < fewTops {
				q.order.deepen()
			}
			break
		}
		if !b.over(v.Rank, v.Task) {
			return best
		}
		if v.Node != sched.NoNode {
			if c := q.closing(s, d, v.Node, &b); c.before(&best) {
				best, b = c, bar{c.rank, c.task}
			}
			continue
		}
		for _, on := range s.Placements(v.Task) {
			if c := q.closing(s, d, on.Node, &b); c.before(&best) {
				best, b = c, bar{c.rank, c.task}
			}
		}
	}
	q.hard[d] = hardTimes
	return q.first(s, d)
}

// first returns the closing that comes first of all nodes.
func (q *ranks) first(s *sched.State, d sched.DemandID) closing {
	for len(q.trees) <= int(d) {
		q.trees = append(q.trees, nil)
	}
	w, nodes := q.trees[d], len(q.nodes)
	switch {
	case w == nil || w.size < nodes:
		size := 1
		for size < nodes {
			size *= 2
		}
		if w != nil {
			q.leaves -= w.size
		}
		q.leaves += size
		w = &closings{size: size, tree: make([]closing, 2*size)}
		q.trees[d] = w
		fallthrough
	case w.seen < q.log.begun || q.log.end()-w.seen > nodes:
		for n := range nodes {
			w.tree[w.size+n] = q.closing(s, d, sched.NodeID(n), &noBar)
		}
		for i := w.size - 1; i > 0; i-- {
			w.play(i)
		}
	default:
		for i := w.seen; i < q.log.end(); i++ {
			n, ok := q.log.at(i)
			if !ok {
				continue // it comes up again
			}
			c, k := q.closing(s, d, n, &noBar), w.size+int(n)
			if w.tree[k] == c {
				continue
			}
			w.tree[k] = c
			for k /= 2; k > 0 && w.play(k); k /= 2 {
			}
		}
	}
	w.seen = q.log.mark()
	return w.tree[1]
}

// play works out the first of a subtree from its halves and reports whether it has changed.
func (w *closings) play(i int) bool {
	m, halves := &w.tree[i], (*[2]closing)(w.tree[2*i:])
	c := &halves[halves[0].behind(&halves[1])&1]
	if *m == *c {
		return false
	}
	m.rank, m.task, m.how = c.rank, c.task, c.how // a copy of the whole would wait for what has just been written
	return true
}

// closing works out the closing of a node for a task of a demand: what is not over the bar is not stopped.
func (q *ranks) closing(s *sched.State, d sched.DemandID, n sched.NodeID, b *bar) closing {
	if q.moves != nil {
		q.sink(s, n)
	}
	room, w := s.Room(), &q.wants[d]
	cpu, mem, gpus := room.Free(n)
	cpu, mem, gpus = w.cpu-cpu, w.mem-mem, w.gpus-gpus // what it lacks
	if gpus <= 0 && cpu <= 0 && mem <= 0 {
		if !q.couldHold(room, d, n) {
			return closing{}
		}
		return closing{how: fits}
	}
	list := q.nodes[n]
	for i := len(list) - 1; i >= 0; i-- {
		r := &list[i]
		if !r.leaving && !b.over(r.rank, r.task) {
			break
		}
		if gpus, cpu, mem = gpus-r.gpus, cpu-r.cpu, mem-r.mem; gpus > 0 || cpu > 0 || mem > 0 {
			continue
		}
		if !q.couldHold(room, d, n) {
			break
		}
		if r.leaving {
			return closing{how: leaving}
		}
		return closing{r.rank, r.task, atStop}
	}
	return closing{}
}

// leavingOn is closing by what is stopping anyway.
func (q *ranks) leavingOn(s *sched.State, d sched.DemandID, n sched.NodeID) closing {
	room := s.Room()
	g := gap{q.wants[d].minus(amountFree(room, n))}
	how := leaving
	if g.closed() {
		how = fits
	}
	for _, r := range slices.Backward(q.nodes[n]) {
		if !r.leaving {
			break
		}
		g.less(r.freed())
	}
	if !g.closed() || !q.couldHold(room, d, n) {
		return closing{}
	}
	return closing{how: how}
}

// gather finds whom to stop where the last is a gang, so that its stop makes room on several nodes.
func (q *ranks) gather(r *sched.Round, x *stopping, d sched.DemandID, last sched.TaskID) {
	x.victims, x.leaving = x.victims[:0], x.leaving[:0]
	for _, p := range r.Placements(last) {
		q.sink(r.State, p.Node)
		for _, v := range slices.Backward(q.nodes[p.Node]) {
			if v.leaving {
				x.leaving = append(x.leaving, v.task)
				continue
			}
			x.victims = append(x.victims, victim{v.rank, v.task})
			if v.task == last {
				break
			}
		}
	}
	slices.Sort(x.leaving)
	slices.SortFunc(x.victims, func(a, b victim) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.task, a.task))
	})
	x.victims = slices.Compact(x.victims)
	x.near.begin(r.State)
	for _, v := range slices.Compact(x.leaving) {
		x.near.give(r.State, d, v)
	}
	for _, v := range x.victims {
		x.near.give(r.State, d, v.task)
	}
	x.nearly(r, last)
}
