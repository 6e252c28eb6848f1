package policies

import (
	"math"
	"math/bits"

	"github.com/schedlab/schedlab/policies/sched"
)

// Where stopping tasks whose slices are over would make room: nodes by what would be free on them. For each demand a tree tells when: see endings.

// touch takes in that a node may have gained room, or that more may be stopped there.
func (q *stints) touch(n sched.NodeID) {
	q.gains++
	q.log.add(n)
	q.lose(n)
}

// lose takes in that room of a node has been taken, or is counted otherwise: no task finds room there sooner than before.
func (q *stints) lose(n sched.NodeID) {
	if q.indexed {
		q.all.add(n)
	}
}

// levelled takes in what has changed since the levels of the nodes were asked for.
func (q *stints) levelled(s *sched.State) {
	if !q.indexed || q.seen < q.all.begun {
		q.indexed = true
		for n := range q.nodes {
			q.level(s, sched.NodeID(n))
		}
	} else {
		for i := q.seen; i < q.all.end(); i++ {
			if n, ok := q.all.at(i); ok {
				q.level(s, n)
			}
		}
	}
	q.seen = q.all.mark()
}

func (q *stints) level(s *sched.State, n sched.NodeID) {
	nd := &q.nodes[n]
	g, c := int32(-1), int32(-1)
	if s.Room().Up(n) {
		a := q.spare(s, n)
		g, c = gpuLevel(a.gpus), cpuLevel(a.cpu)
	}
	if g != nd.gpuLevel {
		q.byGPU.move(n, nd.gpuLevel, g)
		nd.gpuLevel = g
	}
	if c != nd.cpuLevel {
		q.byCPU.move(n, nd.cpuLevel, c)
		nd.cpuLevel = c
	}
}

// spare returns what would be free on a node if all that may be stopped there had stopped.
func (q *stints) spare(s *sched.State, n sched.NodeID) amount {
	return q.nodes[n].freed.plus(amountFree(s.Room(), n))
}

// index returns where to look for nodes for the demand.
func (q *stints) index(need *sched.Need) (*nodeLevels, int32) {
	if need.GPUs > 0 {
		return &q.byGPU, gpuLevel(need.GPUs)
	}
	return &q.byCPU, cpuLevel(need.CPU)
}

// couldHold reports whether the nodes could hold a task of the demand if all that may be stopped had; for shares of a GPU it does not look.
func (q *stints) couldHold(s *sched.State, d sched.DemandID) bool {
	dem := &s.Table().Demands[d]
	need, left := &dem.Need, int64(dem.Gang)
	if need.GPUs > 0 && need.GPUMilli < sched.Whole {
		return true
	}
	q.levelled(s)
	idx, level := q.index(need)
	if idx.count[level] == 0 {
		return false
	}
	if left == 1 {
		return true
	}
	for n := range idx.at(level) {
		if !s.Room().Allowed(d, n) {
			continue
		}
		a, k := q.spare(s, n), left
		if need.CPU > 0 {
			k = min(k, a.cpu/need.CPU)
		}
		if need.Mem > 0 {
			k = min(k, a.mem/need.Mem)
		}
		if need.GPUs > 0 {
			k = min(k, int64(a.gpus/need.GPUs))
		}
		if left -= max(k, 0); left <= 0 {
			return true
		}
	}
	return false
}

// few nodes are looked at one by one; of more, the tasks that may be stopped are gone through from the first on.
const fewNodes = 8

// soonest returns the slot of the first running task, in the order of start, with which enough of a node's tasks have stopped for a task of
// the demand, or 0 where all that may be stopped are not enough.
func (q *stints) soonest(s *sched.State, d sched.DemandID) int32 {
	if len(q.nodes) == 1 {
		return q.ending(s, q.treeOf(d), 0)
	}
	if q.treeServes(d) {
		return q.first(s, d)
	}
	if !q.couldHold(s, d) {
		return 0
	}
	idx, level := q.index(&s.Table().Demands[d].Need)
	if idx.count[level] <= fewNodes {
		best := int32(0)
		for n := range idx.at(level) {
			g := q.gap(s, d, n)
			for i := q.nodes[n].first; i != 0 && q.runs[i].passed && (best == 0 || q.runs[i].seq < q.runs[best].seq); i = q.runs[i].later {
				if g.less(q.runs[i].freed()); g.closed() {
					best = i
					break
				}
			}
		}
		return best
	}
	q.search++
	for i := q.runs[0].next; i != q.open; i = q.runs[i].next {
		r := &q.runs[i]
		if !idx.has(level, r.node) {
			continue
		}
		nd := &q.nodes[r.node]
		if nd.search != q.search {
			nd.search, q.gaps[r.node] = q.search, q.gap(s, d, r.node)
		}
		g := &q.gaps[r.node]
		if g.less(r.freed()); g.closed() {
			return i
		}
	}
	return 0
}

// gap returns what a task of the demand lacks on a node; what never closes where all that may be stopped there is not enough.
func (q *stints) gap(s *sched.State, d sched.DemandID, n sched.NodeID) gap {
	need := &s.Table().Demands[d].Need
	if a := q.spare(s, n); need.CPU > 0 && a.cpu < need.CPU || need.Mem > 0 && a.mem < need.Mem || need.GPUs > 0 && a.gpus < need.GPUs || !s.Room().Allowed(d, n) {
		return gap{amount{cpu: math.MaxInt64 / 2}}
	}
	return gapOn(s, d, n)
}

// nodeLevels keeps for each level the set of nodes that are at least on it.
type nodeLevels struct {
	sets  [levels][]uint64
	count [levels]int32
}

const levels = 24

// gpuLevel is the level of a number of GPUs, cpuLevel that of milli-CPU. What is above the last level counts as on it.
func gpuLevel(n int32) int32 { return min(max(n, 0), levels-1) }

func cpuLevel(milli int64) int32 {
	if milli < 1000 {
		return 0
	}
	return int32(min(bits.Len64(uint64(milli)/1000), levels-1))
}

func (l *nodeLevels) grow(nodes int) {
	for i := range l.sets {
		for len(l.sets[i])*64 < nodes {
			l.sets[i] = append(l.sets[i], 0)
		}
	}
}

// move takes a node from one level to another; -1 is none.
func (l *nodeLevels) move(n sched.NodeID, from, to int32) {
	w, bit := n>>6, uint64(1)<<(n&63)
	for i := from + 1; i <= to; i++ {
		l.sets[i][w] |= bit
		l.count[i]++
	}
	for i := from; i > to; i-- {
		l.sets[i][w] &^= bit
		l.count[i]--
	}
}

func (l *nodeLevels) has(level int32, n sched.NodeID) bool { return l.sets[level][n>>6]>>(n&63)&1 != 0 }

// at yields the nodes that are at least on a level.
func (l *nodeLevels) at(level int32) func(yield func(sched.NodeID) bool) {
	return func(yield func(sched.NodeID) bool) {
		for w, set := range l.sets[level] {
			for ; set != 0; set &= set - 1 {
				if !yield(sched.NodeID(w<<6 + bits.TrailingZeros64(set))) {
					return
				}
			}
		}
	}
}
