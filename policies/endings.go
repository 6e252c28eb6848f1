package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// endings keeps, for one demand of one replica, with which stint, in the order of start, there is room on a node: a tournament tree over the nodes. An entry is
// the seq of the stint and the node behind it, never where not even all that may be stopped are enough. Entries may come too early, and never too late: what
// takes room off a node is not told, and the first entry is looked at again when it is asked for.
type endings struct {
	demand sched.DemandID
	want   amount
	seen   int // entries of the log that are taken in, dropped ones included; those in step have read as far as all of them
	asked  int // when it was asked last, counted in questions
	inStep bool
	right  int     // so many nodes, from the first on, are known to be of the right kind
	tree   []int64 // the first of each subtree, of four smaller ones each: those of i at 4*i. The leaf of a node is at width + node
}

// The trees of the demands that are asked for often take in together what has changed on a node, which is read once for all of them. Of the others each reads the log for
// itself when it is asked.
const (
	mostInStep = 8
	oftenAsked = 16 // questions between two of a demand that is asked for often, at most
	leftAlone  = 64 // questions after which a demand that was not in them is asked for often no more
)

// nodeBits is how many bits of an entry of a tree are the node. With more nodes no tree is asked.
const nodeBits = 24

// treeServes reports whether first can tell.
func (q *stints) treeServes(d sched.DemandID) bool {
	return len(q.nodes) < 1<<nodeBits && (q.leaves < maxLeaves || int(d) < len(q.trees) && q.trees[d] != nil)
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
	for w.tree[1] != never {
		n := sched.NodeID(w.tree[1] & (1<<nodeBits - 1))
		i := q.ending(s, w, n)
		x := q.entry(i, n)
		if x == w.tree[1] {
			return i
		}
		w.put(uint(q.width)+uint(n), x)
	}
	return 0
}

// treeOf returns the tree of a demand, which has taken in nothing where it is a new one. If there are more nodes than the trees have leaves, all are new.
func (q *stints) treeOf(d sched.DemandID) *endings {
	if q.width >= len(q.nodes) && uint(d) < uint(len(q.trees)) && q.trees[d] != nil {
		return q.trees[d]
	}
	return q.newTree(d)
}

func (q *stints) newTree(d sched.DemandID) *endings {
	if q.width < len(q.nodes) {
		for q.width = max(q.width, 1); q.width < len(q.nodes); {
			q.width *= 4
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
	for w.right < len(q.nodes) && s.Room().Allowed(w.demand, sched.NodeID(w.right)) {
		w.right++ // mostly all are
	}
	for n := range q.nodes {
		w.tree[q.width+n] = q.entry(q.ending(s, w, sched.NodeID(n)), sched.NodeID(n))
	}
	for size := q.width / 4; size > 0; size /= 4 { // of a level, whose first is at size
		for i := size; i < 2*size; i++ {
			w.tree[i] = least(w.tree[4*i:])
		}
	}
}

// refresh takes in for some trees that a node has gained room, or may.
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
	free := amount{cpu, mem, gpus}
	for _, w := range trees {
		if x := q.entry(q.endingOf(room, w, n, nd, free), n); w.tree[leaf] != x {
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
		x = least(tree[k&^3:])
		if k >>= 2; tree[k] == x {
			return
		}
	}
}

// least returns the least of the first four entries.
func least(of []int64) int64 {
	a := (*[4]int64)(of)
	return min(min(a[0], a[1]), min(a[2], a[3]))
}

// ending returns the slot of the stint with which there is room on a node for all of the demand, or 0.
func (q *stints) ending(s *sched.State, w *endings, n sched.NodeID) int32 {
	nd, room := &q.nodes[n], s.Room()
	if nd.passed == 0 || !room.Up(n) {
		return 0
	}
	cpu, mem, gpus := room.Free(n)
	return q.endingOf(room, w, n, nd, amount{cpu, mem, gpus})
}

// endingOf is ending on a node that is up, with what is free there.
func (q *stints) endingOf(room *sched.Room, w *endings, n sched.NodeID, nd *stintsOn, free amount) int32 {
	gpus := w.want.gpus - free.gpus // it lacks
	if gpus > nd.freed.gpus {       // mostly it is they that are short
		return 0
	}
	cpu, mem := w.want.cpu-free.cpu, w.want.mem-free.mem
	if cpu > nd.freed.cpu || mem > nd.freed.mem || int(n) >= w.right && !room.Allowed(w.demand, n) {
		return 0
	}
	for i := nd.first; i != 0; i = q.runs[i].later {
		f := &q.runs[i]
		if gpus, cpu, mem = gpus-f.gpus, cpu-f.cpu, mem-f.mem; gpus <= 0 && cpu <= 0 && mem <= 0 {
			return i
		}
	}
	return 0
}

// entry is what a tree keeps of a slot on a node; never of none.
func (q *stints) entry(i int32, n sched.NodeID) int64 {
	if i == 0 {
		return never
	}
	return q.runs[i].seq<<nodeBits | int64(n)
}
