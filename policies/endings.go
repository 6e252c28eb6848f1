package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// endings keeps, for one demand of one replica, with which stint, in the order of start, there is room on a node: a tournament tree over the nodes. An entry is
// the seq of the stint and its slot behind it, never where not even all that may be stopped are enough.
type endings struct {
	demand sched.DemandID
	want   amount
	seen   int // entries of the log that are taken in, dropped ones included; those in step have read as far as all of them
	asked  int // when it was asked last, counted in questions
	inStep bool
	tree   []int64 // the first of each subtree; the leaf of a node at width + node
}

// The trees of the demands that are asked for often take in together what has changed on a node, which is read once for all of them. Of the others each reads the log for
// itself when it is asked.
const (
	mostInStep = 8
	oftenAsked = 16 // questions between two of a demand that is asked for often, at most
	leftAlone  = 64 // questions after which a demand that was not in them is asked for often no more
)

// slotBits is how many bits of an entry of a tree are the slot. With more running tasks no tree is asked.
const slotBits = 24

// treeServes reports whether first can tell.
func (q *stints) treeServes(d sched.DemandID) bool {
	return len(q.runs) < 1<<slotBits && (q.leaves < maxLeaves || int(d) < len(q.trees) && q.trees[d] != nil)
}

// first returns the slot of the first running task, in the order of start, with which there is room on a node for all of the demand, or 0.
func (q *stints) first(s *sched.State, d sched.DemandID) int32 {
	w := q.treeOf(d)
	q.asks++
	often := q.asks-w.asked <= oftenAsked
	w.asked = q.asks
	q.follow(s)
	if !w.inStep {
		q.catchUp(s, w)
		if often && len(q.inStep) < mostInStep {
			w.inStep, q.inStep = true, append(q.inStep, w)
		}
	}
	if w.tree[1] == never {
		return 0
	}
	return int32(w.tree[1] & (1<<slotBits - 1))
}

// treeOf returns the tree of a demand, which has taken in nothing where it is a new one. If there are more nodes than the trees have leaves, all are new.
func (q *stints) treeOf(d sched.DemandID) *endings {
	if q.width < len(q.nodes) {
		for q.width = max(q.width, 1); q.width < len(q.nodes); {
			q.width *= 2
		}
		q.trees, q.inStep, q.leaves = nil, nil, 0
	}
	for len(q.trees) <= int(d) {
		q.trees = append(q.trees, nil)
	}
	if q.trees[d] == nil {
		q.leaves += q.width
		q.trees[d] = &endings{demand: d, want: q.wants[d], seen: -1, asked: -oftenAsked, tree: slices.Repeat([]int64{never}, 2*q.width)}
	}
	return q.trees[d]
}

// follow lets the trees in step take in what has changed, and falls out of step with those that were not asked for a while.
func (q *stints) follow(s *sched.State) {
	if q.asks%leftAlone == 0 {
		q.inStep = slices.DeleteFunc(q.inStep, func(w *endings) bool {
			if q.asks-w.asked > leftAlone {
				w.inStep, w.seen = false, q.told
			}
			return !w.inStep
		})
	}
	if len(q.inStep) == 0 {
		return
	}
	end := q.log.end()
	if q.told < q.log.begun || end-q.told > len(q.nodes) {
		for _, w := range q.inStep {
			q.rebuild(s, w)
		}
	} else {
		for i := q.told; i < end; i++ {
			if n, ok := q.log.at(i); ok { // else it comes up again
				q.refresh(s, n, q.inStep)
			}
		}
	}
	q.told = q.log.mark()
}

// catchUp lets one tree take in what has changed.
func (q *stints) catchUp(s *sched.State, w *endings) {
	end := q.log.end()
	if w.seen < q.log.begun || end-w.seen > len(q.nodes) {
		q.rebuild(s, w)
	} else {
		one := [...]*endings{w}
		for i := w.seen; i < end; i++ {
			if n, ok := q.log.at(i); ok {
				q.refresh(s, n, one[:])
			}
		}
	}
	w.seen = q.log.mark()
	q.told = w.seen // those in step have read as far
}

func (q *stints) rebuild(s *sched.State, w *endings) {
	for n := range q.nodes {
		w.tree[q.width+n] = q.entry(q.ending(s, w.demand, sched.NodeID(n)))
	}
	for i := q.width - 1; i > 0; i-- {
		w.tree[i] = min(w.tree[2*i], w.tree[2*i+1])
	}
}

// refresh takes in for some trees that a node has changed.
func (q *stints) refresh(s *sched.State, n sched.NodeID, trees []*endings) {
	nd, leaf, room := &q.nodes[n], uint(q.width)+uint(n), s.Room()
	if nd.passed == 0 || !room.Up(n) {
		for _, w := range trees {
			if w.tree[leaf] != never {
				w.put(leaf, never)
			}
		}
		return
	}
	cpu, mem, gpus := room.Free(n)
	for _, w := range trees {
		x := int64(never)
		if lacks := (amount{w.want.cpu - cpu, w.want.mem - mem, w.want.gpus - gpus}); lacks.gpus <= nd.freed.gpus && lacks.cpu <= nd.freed.cpu && lacks.mem <= nd.freed.mem && room.Allowed(w.demand, n) {
			x = q.entry(q.closes(nd, lacks))
		}
		if w.tree[leaf] != x {
			w.put(leaf, x)
		}
	}
}

// put changes an entry, and what follows from it.
func (w *endings) put(k uint, x int64) {
	tree := w.tree
	for {
		tree[k] = x
		if k == 1 {
			return
		}
		x = min(x, tree[k^1])
		if k >>= 1; tree[k] == x {
			return
		}
	}
}

// ending returns the slot of the stint with which there is room on a node for all of the demand, or 0.
func (q *stints) ending(s *sched.State, d sched.DemandID, n sched.NodeID) int32 {
	nd, room, want := &q.nodes[n], s.Room(), &q.wants[d]
	cpu, mem, gpus := room.Free(n)
	lacks := amount{want.cpu - cpu, want.mem - mem, want.gpus - gpus}
	if nd.passed == 0 || lacks.gpus > nd.freed.gpus || lacks.cpu > nd.freed.cpu || lacks.mem > nd.freed.mem || !room.Up(n) || !room.Allowed(d, n) {
		return 0
	}
	return q.closes(nd, lacks)
}

// closes returns the slot of the stint with which what is lacking on a node is there, or 0.
func (q *stints) closes(nd *stintsOn, lacks amount) int32 {
	for i := nd.first; i != 0; i = q.runs[i].later {
		f := &q.runs[i].freed
		if lacks.gpus, lacks.cpu, lacks.mem = lacks.gpus-f.gpus, lacks.cpu-f.cpu, lacks.mem-f.mem; lacks.gpus <= 0 && lacks.cpu <= 0 && lacks.mem <= 0 {
			return i
		}
	}
	return 0
}

// entry is what a tree keeps of a slot; never of none.
func (q *stints) entry(i int32) int64 {
	if i == 0 {
		return never
	}
	return q.runs[i].seq<<slotBits | int64(i)
}
