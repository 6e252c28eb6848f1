package policies

import (
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// stints are the running tasks in the order of their start, and what those of them that may be stopped hold on every node.
type stints struct {
	runs    []stint         // slot 0 is the anchor of the ring
	devices []sched.Devices // by slot
	free    []int32         // unused slots
	slot    []int32         // by TaskID: its first slot, 0 = it has none; negative: it claims room, see claims
	open    int32           // the first that may not be stopped, where those that are stopping anyway do not count; 0 = none
	due     int32           // the first whose slice is not over; 0 = none
	ripe    int             // stints that may be stopped, or are stopping
	seq     int64
	nodes   []stintsOn
	gaps    []gap // by node, of its search
	claims  claims
	log     nodeLog    // nodes that have gained room, for the trees
	all     nodeLog    // nodes that have changed, for the levels
	indexed bool       // these have been asked for
	trees   []*endings // by demand; nil = never asked for
	inStep  []*endings // those of them that are asked for often
	told    int        // entries of the log that these have taken in
	asks    int        // questions to a tree
	width   int        // leaves of a tree, a power of two
	leaves  int        // of all trees
	wants   []amount   // by demand, as of ranks
	alone   []bool     // by demand: it is of one replica
	seen    int        // entries of all that byGPU and byCPU have taken in
	byGPU   nodeLevels // nodes by what is free or held by tasks that may be stopped
	byCPU   nodeLevels
	gains   int // so often room came free, or more could be stopped
	search  int64
}

// stint is a running task on one of its nodes: a line of the processor's cache. Those of a gang follow each other.
type stint struct {
	task           sched.TaskID
	node           sched.NodeID
	next, prev     int32 // in the order of start
	later, earlier int32 // on the node, in the same order; 0 = none
	start          sched.Time
	seq            int64 // rises in the order of start, the same for a whole gang
	cpu, mem       int64 // freed, see there
	gpus           int32
	passed         bool // may be stopped, or is stopping
	whole          bool // no other stint holds its devices
}

// freed is what the end of a stint makes free on its node. Devices that a claim has booked as well go to the claim.
func (r *stint) freed() amount { return amount{r.cpu, r.mem, r.gpus} }

// stintsOn is what runs on a node, and what those hold that may be stopped: a line of the processor's cache.
type stintsOn struct {
	first, last int32
	passed      int32         // those that may be stopped, or are stopping
	freed       amount        // by these
	twice       sched.Devices // booked more than once, when freed was worked out
	gpuLevel    int32         // in the index; -1 = down
	cpuLevel    int32
	search      int64 // its gap is of this search
}

func (q *stints) grow(s *sched.State) {
	if len(q.runs) == 0 {
		q.runs, q.devices = append(q.runs, stint{task: sched.Nobody}), append(q.devices, 0)
	}
	for n := len(q.nodes); n < s.Room().Len(); n++ {
		q.nodes, q.gaps = append(q.nodes, stintsOn{gpuLevel: -1, cpuLevel: -1}), append(q.gaps, gap{})
		q.byGPU.grow(n + 1)
		q.byCPU.grow(n + 1)
		q.log.grow()
		q.all.grow()
		q.touch(sched.NodeID(n))
	}
	for all := s.Table().Demands; len(q.wants) < len(all); {
		d := &all[len(q.wants)]
		q.wants, q.alone = append(q.wants, wanted(d)), append(q.alone, d.Gang == 1)
	}
}

// arrive takes in that tasks are known. A restored kernel tells it of tasks that claim room too.
func (q *stints) arrive(s *sched.State, e *sched.Event) {
	q.grow(s)
	if end := int(e.Task) + int(e.N); end > len(q.slot) {
		q.slot = slices.Grow(q.slot, max(len(s.Table().Tasks), end)-len(q.slot))[:end]
	}
	for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
		if s.Phase(t) == sched.Claiming {
			q.claim(s, t)
		}
	}
}

// start takes in that a task runs, once.
func (q *stints) start(s *sched.State, t sched.TaskID) {
	switch i := q.slot[t]; {
	case i > 0:
		return
	case i < 0:
		q.takeClaim(s, int(-i-1), false)
	}
	q.seq++
	need, at, on := &s.Demand(t).Need, s.WorkBegins(t), s.Placements(t)
	whole := need.GPUMilli >= sched.Whole
	first := q.add(t, on[0].Node, at, whole)
	q.hold(first, need, &on[0])
	q.slot[t] = first
	if len(on) == 1 {
		q.settle(s, on[0].Node)
		return
	}
	for k := range on[1:] {
		p := &on[1+k]
		i := q.on(first, t, p.Node)
		if i == 0 {
			i = q.add(t, p.Node, at, whole)
		}
		q.hold(i, need, p)
	}
	for i := first; q.runs[i].task == t; i = q.runs[i].next {
		q.settle(s, q.runs[i].node)
	}
}

// hold takes in that a stint holds what a placement says.
func (q *stints) hold(i int32, need *sched.Need, p *sched.Placement) {
	r, a := &q.runs[i], amountOf(need, p.Replicas)
	r.cpu, r.mem, r.gpus = r.cpu+a.cpu, r.mem+a.mem, r.gpus+a.gpus
	q.devices[i] |= p.GPUs
}

// settle takes in that a task has started on a node. A restored kernel tells of claims first: they, or others, may have booked its devices.
func (q *stints) settle(s *sched.State, n sched.NodeID) {
	if s.Room().Shared(n) {
		q.rebook(s, n)
	} else {
		q.lose(n)
	}
}

// on returns the slot on a node of a task whose first slot is i, or 0.
func (q *stints) on(i int32, t sched.TaskID, n sched.NodeID) int32 {
	for i > 0 && q.runs[i].task == t && q.runs[i].node != n {
		i = q.runs[i].next
	}
	if i > 0 && q.runs[i].task != t {
		return 0
	}
	return i
}

// add puts a task at the end of the ring and of its node.
func (q *stints) add(t sched.TaskID, n sched.NodeID, start sched.Time, whole bool) int32 {
	var i int32
	if last := len(q.free) - 1; last >= 0 {
		i, q.free = q.free[last], q.free[:last]
	} else {
		q.runs, q.devices = append(q.runs, stint{}), append(q.devices, 0)
		i = int32(len(q.runs) - 1)
	}
	nd, end := &q.nodes[n], q.runs[0].prev
	r := &q.runs[i]
	*r = stint{}
	q.devices[i] = 0
	r.task, r.node, r.prev, r.earlier, r.start, r.seq, r.whole = t, n, end, nd.last, start, q.seq, whole
	q.runs[end].next, q.runs[0].prev = i, i
	if nd.last != 0 {
		q.runs[nd.last].later = i
	} else {
		nd.first = i
	}
	nd.last = i
	if q.open == 0 {
		q.open = i
	}
	if q.due == 0 {
		q.due = i
	}
	return i
}

// end takes in that a task runs no more.
func (q *stints) end(t sched.TaskID) {
	i := q.slot[t]
	if i <= 0 {
		return
	}
	q.slot[t] = 0
	for q.runs[i].task == t {
		r := &q.runs[i]
		nd, next := &q.nodes[r.node], r.next
		if r.passed {
			nd.freed = nd.freed.minus(r.freed())
			nd.passed--
			q.ripe--
		}
		if r.whole && nd.twice != 0 {
			nd.twice &^= q.devices[i] // what claims had booked of it is theirs alone now
		}
		q.runs[r.prev].next, q.runs[next].prev = next, r.prev
		if r.earlier != 0 {
			q.runs[r.earlier].later = r.later
		} else {
			nd.first = r.later
		}
		if r.later != 0 {
			q.runs[r.later].earlier = r.earlier
		} else {
			nd.last = r.earlier
		}
		if q.open == i {
			q.open = next
		}
		if q.due == i {
			q.due = next
		}
		q.free = append(q.free, i)
		if r.gpus > 0 || r.cpu > 0 || r.mem > 0 {
			q.touch(r.node)
		} else { // all that it held goes to a claim; of a GPU that it shared something may be left
			q.lose(r.node)
			if !r.whole {
				q.gains++
			}
		}
		i = next
	}
}

// claim takes in that a task claims room.
func (q *stints) claim(s *sched.State, t sched.TaskID) {
	nodes := q.claims.add(s, t)
	q.slot[t] = -int32(len(q.claims))
	for _, n := range nodes {
		q.claimed(s, n)
		q.lose(n)
	}
}

// endClaim takes in that a task claims no room any more.
func (q *stints) endClaim(s *sched.State, t sched.TaskID) {
	if len(q.claims) == 0 {
		return
	}
	if i := q.slot[t]; i < 0 {
		q.slot[t] = 0
		q.takeClaim(s, int(-i-1), true)
	}
}

// takeClaim takes a claim out, which was given up, or starts.
func (q *stints) takeClaim(s *sched.State, k int, givenUp bool) {
	nodes := q.claims.take(k)
	if k < len(q.claims) {
		q.slot[q.claims[k].task] = -int32(k + 1)
	}
	for _, n := range nodes {
		if q.claimed(s, n); givenUp {
			q.touch(n)
		} else {
			q.lose(n)
		}
	}
}

// claimed takes in that a claim has booked room on a node, or given it back.
func (q *stints) claimed(s *sched.State, n sched.NodeID) {
	nd, twice := &q.nodes[n], s.Room().Overbooked(n)
	changed := nd.twice ^ twice
	nd.twice = twice
	for i := nd.first; i != 0 && changed != 0; i = q.runs[i].later {
		if q.devices[i]&changed == 0 {
			continue
		}
		if q.rebookOne(i, nd); q.runs[i].whole {
			changed &^= q.devices[i] // nobody else's
		}
	}
}

// rebook takes in that claims, or others by a profile, have booked or given back devices of a node.
func (q *stints) rebook(s *sched.State, n sched.NodeID) {
	nd := &q.nodes[n]
	nd.twice = s.Room().Overbooked(n)
	for i := nd.first; i != 0; i = q.runs[i].later {
		if q.devices[i] != 0 {
			q.rebookOne(i, nd)
		}
	}
	q.touch(n)
}

func (q *stints) rebookOne(i int32, nd *stintsOn) {
	r, gpus := &q.runs[i], int32(bits.OnesCount64(uint64(q.devices[i]&^nd.twice)))
	if r.passed {
		nd.freed.gpus += gpus - r.gpus
	}
	r.gpus = gpus
}

// pass lets the prefix that may be stopped grow up to the first task whose slice is not over.
func (q *stints) pass(s *sched.State, quantum time.Duration) {
	for q.open != 0 {
		r := &q.runs[q.open]
		if s.Now().Sub(r.start) < quantum && s.Phase(r.task) != sched.Stopping {
			break
		}
		r.passed = true
		nd := &q.nodes[r.node]
		nd.freed = nd.freed.plus(r.freed())
		nd.passed++
		q.ripe++
		q.touch(r.node)
		q.open = r.next
	}
}

// nextSlice returns when the next slice ends, and false where none does.
func (q *stints) nextSlice(s *sched.State, quantum time.Duration) (sched.Time, bool) {
	for q.due != 0 {
		if at := q.runs[q.due].start.Add(quantum); at > s.Now() {
			return at, true
		}
		q.due = q.runs[q.due].next
	}
	return 0, false
}
