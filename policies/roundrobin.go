package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// RoundRobin is round-robin with time slices: one line in the order of readiness (a task whose slice has ended goes to its end), whose
// head blocks, so that each waits at most a slice for its turn. A running task may be stopped once it has worked for the quantum, from
// when its data are there, and no sooner than those that started before it. It is only if that makes room for the head of the line: as few as it
// takes in the order of their start, less those without whom the head fits as well.
//
// Tasks run in the order of their start, so those past their slice are a prefix of that order. They are kept by node, and for each demand of one replica a
// tree over the nodes knows with which of them there is room first; gangs are only searched for where what all that may be stopped hold is enough.
type RoundRobin struct {
	Quantum time.Duration // must be positive
	Place   Place         // nil: first fit

	line    turnLine
	aside   []sched.TaskID // a quota refused them in this decision
	running stints
	stop    stopping
	full    []int        // by demand: the last decision that found no room for it. What is started and claimed since leaves no more
	round   int          // decisions
	stuck   sched.TaskID // the head that found no room, by these changes of room and this end of the prefix
	changes int
	open    int32
	plain   bool // work out whom to stop the slow way (tests compare)
}

// Observe keeps the line and the running tasks.
func (p *RoundRobin) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.TaskReady:
		p.running.endClaim(s, e.Task)
		p.line.insert(s, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		p.running.endClaim(s, e.Task)
		p.line.remove(e.Task)
	case sched.JobArrived:
		p.running.arrive(s, e)
	case sched.Started:
		p.running.start(s, e.Task)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		p.running.end(e.Task)
	case sched.NodeUp, sched.NodeDown:
		p.running.grow(s)
		p.running.touch(e.Node)
	case sched.NodeProfile:
		p.running.grow(s)
		p.running.rebook(s, e.Node)
	case sched.Updated, sched.CheckpointDone, sched.EdgeAdded:
	default:
		p.running.changes++ // a quota may have been raised
	}
}

// Decide starts tasks in the order of the line as long as there is room, or can be made.
func (p *RoundRobin) Decide(r *sched.Round) {
	p.round++
	for len(p.line.tasks) > p.line.head {
		t := p.line.tasks[p.line.head]
		if !p.try(r, t) {
			r.Skip(t, sched.NoRoom)
			if at, ok := p.running.nextSlice(r.State, p.Quantum); ok {
				r.WakeAt(at)
			}
			break
		}
		p.line.pop()
		if r.Phase(t) == sched.Ready { // a quota refused it: the line moves on without it
			p.aside = append(p.aside, t)
		}
	}
	if len(p.aside) > 0 {
		p.line.unpop(p.aside)
		p.aside = p.aside[:0]
	}
}

// try starts t, or claims room for it. It reports false where there is no room; true, with the task still ready, where there was room and
// the kernel refused the start.
func (p *RoundRobin) try(r *sched.Round, t sched.TaskID) bool {
	again := t == p.stuck && p.changes == p.running.changes
	d := r.DemandID(t)
	for len(p.full) <= int(d) {
		p.full = append(p.full, 0)
	}
	if p.Place == nil {
		if !again && p.full[d] != p.round {
			if r.StartFirst(t) {
				p.started(r, t)
				return true
			}
			p.full[d] = p.round
		}
	} else {
		on, ok := p.Place(r.State, r.Room(), t, p.stop.buf[:0])
		p.stop.buf = on[:0]
		if ok {
			r.Start(t, on...)
			p.started(r, t)
			return true
		}
	}
	p.running.pass(r.State, p.Quantum)
	if again && p.open == p.running.open {
		return false // nothing came free and no slice ended since it found no room
	}
	done := false
	switch {
	case p.plain:
		done = p.byPlan(r, t)
	case p.Place == nil && p.stop.near.serves(r.State, t):
		done = p.byNode(r, t)
	case p.running.couldHold(r.State, d):
		done = p.byPlan(r, t)
	}
	if done && r.Phase(t) == sched.Claiming {
		p.running.claim(r.State, t)
	}
	p.stuck = sched.Nobody
	if !done {
		p.stuck, p.changes, p.open = t, p.running.changes, p.running.open
	}
	return done
}

func (p *RoundRobin) started(r *sched.Round, t sched.TaskID) {
	if r.Phase(t) == sched.Running {
		p.running.start(r.State, t)
	}
}

// byNode stops tasks for one that fits on one node as a whole, under first fit: those on the node where the fewest of the order of start
// make room. Tasks on other nodes that stopped as well would be spared.
func (p *RoundRobin) byNode(r *sched.Round, t sched.TaskID) bool {
	q, x, d := &p.running, &p.stop, r.DemandID(t)
	at := q.soonest(r.State, d)
	if at == 0 {
		return false
	}
	if on := r.Placements(q.runs[at].task); len(on) == 1 {
		node := on[0].Node
		g := gapOn(r.State, d, node)
		for i := at; i != 0; i = q.runs[i].earlier {
			g.less(q.runs[i].freed)
		}
		x.ids = x.ids[:0]
		for i := at; i != 0; i = q.runs[i].earlier {
			if r.Phase(q.runs[i].task) == sched.Stopping {
				continue
			}
			spared := g
			if spared.more(q.runs[i].freed); spared.closed() {
				g = spared
			} else {
				x.ids = append(x.ids, q.runs[i].task)
			}
		}
		x.buf = append(x.buf[:0], sched.Placement{Node: node, Replicas: 1}) // the kernel chooses the devices
	} else {
		p.byNodes(r, t, at, on)
	}
	if len(x.ids) == 0 {
		return false
	}
	if r.Claim(t, x.buf, x.ids...) {
		return true
	}
	for i := q.runs[0].next; i != 0 && q.runs[i].seq <= q.runs[at].seq; i = q.runs[i].next {
		if r.Phase(q.runs[i].task) == sched.Stopping {
			return false // it needs room that is only being left: it waits
		}
	}
	return true // a quota refused it
}

// byNodes finds whom to stop where the last is a gang, so that its stop makes room on several nodes.
func (p *RoundRobin) byNodes(r *sched.Round, t sched.TaskID, at int32, on []sched.Placement) {
	q, x := &p.running, &p.stop
	x.victims = x.victims[:0]
	for _, pl := range on {
		for i := q.nodes[pl.Node].first; i != 0 && q.runs[i].seq <= q.runs[at].seq; i = q.runs[i].later {
			x.victims = append(x.victims, victim{q.runs[i].seq, q.runs[i].task})
		}
	}
	slices.SortFunc(x.victims, func(a, b victim) int { return cmp.Compare(a.rank, b.rank) })
	x.victims = slices.Compact(x.victims)
	x.near.begin(r.State)
	for _, v := range x.victims {
		x.near.give(r.State, r.DemandID(t), v.task)
	}
	x.nearly(r, q.runs[at].task)
}

// byPlan does the same for whatever asks for more than one node, or is placed otherwise: it gives what running tasks hold to a copy of the
// room, one by one.
func (p *RoundRobin) byPlan(r *sched.Round, t sched.TaskID) bool {
	q, x := &p.running, &p.stop
	place := p.Place
	if place == nil {
		place = FirstFit
	}
	x.victims, x.leaving = x.victims[:0], x.leaving[:0]
	on, ok := x.buf, false
	for i := q.runs[0].next; i != q.open && !ok; i = q.runs[i].next {
		v := q.runs[i].task
		if v == q.runs[q.runs[i].prev].task {
			continue // on another node
		}
		if len(x.victims)+len(x.leaving) == 0 {
			x.plan.CopyFrom(r.Room())
		}
		if r.Phase(v) == sched.Stopping {
			x.leaving = append(x.leaving, v)
		} else {
			x.victims = append(x.victims, victim{q.runs[i].seq, v})
		}
		give(r.State, &x.plan, v)
		on, ok = place(r.State, &x.plan, t, on[:0])
	}
	x.buf = on[:0]
	return ok && len(x.victims) > 0 && x.spareAndClaim(r, t, place, p.Place == nil)
}

// turnLine is the line: ready tasks by the time of readiness, ties to the lower TaskID. That is the order in which they come, so that
// most of them go to its end.
type turnLine struct {
	tasks []sched.TaskID
	head  int
}

func (l *turnLine) insert(s *sched.State, t sched.TaskID) {
	if l.head > 1024 && l.head > len(l.tasks)/2 {
		l.tasks = l.tasks[:copy(l.tasks, l.tasks[l.head:])]
		l.head = 0
	}
	since := s.ReadySince(t)
	l.tasks = append(l.tasks, t)
	i := len(l.tasks) - 1
	for ; i > l.head; i-- {
		u := l.tasks[i-1]
		if at := s.ReadySince(u); at < since || at == since && u < t {
			break
		}
		l.tasks[i] = u
	}
	l.tasks[i] = t
}

func (l *turnLine) pop() {
	if l.head++; l.head == len(l.tasks) {
		l.tasks, l.head = l.tasks[:0], 0
	}
}

// unpop puts tasks that were popped since the last insert back to the front.
func (l *turnLine) unpop(tasks []sched.TaskID) {
	if l.head < len(tasks) { // the line ran empty
		l.tasks = append(l.tasks[:0], tasks...)
		return
	}
	l.head -= len(tasks)
	copy(l.tasks[l.head:], tasks)
}

// remove takes a task out wherever it stands; linear time, for the rare cases.
func (l *turnLine) remove(t sched.TaskID) {
	if i := slices.Index(l.tasks[l.head:], t); i >= 0 {
		l.tasks = slices.Delete(l.tasks, l.head+i, l.head+i+1)
	}
}

// stints are the running tasks in the order of their start, and what those of them that may be stopped hold on every node.
type stints struct {
	runs    []stint // slot 0 is the anchor of the ring
	free    []int32 // unused slots
	slot    []int32 // by TaskID: its first slot; 0 = none, negative = it claims room, see claims
	open    int32   // the first that may not be stopped, where those that are stopping anyway do not count; 0 = none
	due     int32   // the first whose slice is not over; 0 = none
	seq     int64
	nodes   []stintsOn
	claims  []claimed
	log     nodeLog    // nodes that have changed
	trees   []*endings // by demand; nil = never asked for
	leaves  int        // of all trees
	wants   []amount   // by demand, as of ranks
	seen    int        // entries of the log that byGPU and byCPU have taken in
	byGPU   nodeLevels // nodes by what is free or held by tasks that may be stopped
	byCPU   nodeLevels
	changes int // of room and of what may be stopped
	search  int64
}

// stint is a running task on one of its nodes. Those of a gang follow each other.
type stint struct {
	task           sched.TaskID
	node           sched.NodeID
	next, prev     int32 // in the order of start
	later, earlier int32 // on the node, in the same order; 0 = none
	passed         bool  // may be stopped, or is stopping
	whole          bool  // no other stint holds its devices
	start          sched.Time
	seq            int64 // rises in the order of start, the same for a whole gang
	devices        sched.Devices
	freed          amount // what its end makes free on the node. Devices that a claim has booked as well go to the claim
}

// stintsOn is what runs on a node, and what those hold that may be stopped.
type stintsOn struct {
	first, last int32
	passed      int32         // those that may be stopped, or are stopping
	freed       amount        // by these
	twice       sched.Devices // booked more than once, when freed was worked out
	gpuLevel    int32         // in the index; -1 = down
	cpuLevel    int32
	search      int64 // gap is of this search
	gap         gap
}

// claimed is a task that waits for victims to stop.
type claimed struct {
	task  sched.TaskID
	nodes []sched.NodeID
}

func (q *stints) grow(s *sched.State) {
	if len(q.runs) == 0 {
		q.runs = append(q.runs, stint{task: sched.Nobody})
	}
	if n := len(s.Table().Tasks); len(q.slot) < n {
		q.slot = append(q.slot, make([]int32, n-len(q.slot))...)
	}
	for n := len(q.nodes); n < s.Room().Len(); n++ {
		q.nodes = append(q.nodes, stintsOn{gpuLevel: -1, cpuLevel: -1})
		q.byGPU.grow(n + 1)
		q.byCPU.grow(n + 1)
		q.log.grow()
		q.touch(sched.NodeID(n))
	}
	for all := s.Table().Demands; len(q.wants) < len(all); {
		q.wants = append(q.wants, wanted(&all[len(q.wants)]))
	}
}

// arrive takes in that tasks are known. A restored kernel tells it of tasks that claim room too.
func (q *stints) arrive(s *sched.State, e sched.Event) {
	q.grow(s)
	for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
		if s.Phase(t) == sched.Claiming {
			q.claim(s, t)
		}
	}
}

// start takes in that a task runs, once.
func (q *stints) start(s *sched.State, t sched.TaskID) {
	q.endClaim(s, t)
	if q.slot[t] != 0 {
		return
	}
	q.seq++
	need, at := &s.Demand(t).Need, s.WorkBegins(t)
	for _, p := range s.Placements(t) {
		i := q.on(t, p.Node)
		if i == 0 {
			i = q.add(t, p.Node)
			q.runs[i].start, q.runs[i].seq, q.runs[i].whole = at, q.seq, need.GPUMilli >= sched.Whole
		}
		r := &q.runs[i]
		r.freed, r.devices = r.freed.plus(amountOf(need, p.Replicas)), r.devices|p.GPUs
	}
	for i := q.slot[t]; q.runs[i].task == t; i = q.runs[i].next {
		if s.Room().Shared(q.runs[i].node) { // a restored kernel tells of claims first: they, or others, may have booked its devices
			q.rebook(s, q.runs[i].node)
		} else {
			q.touch(q.runs[i].node)
		}
	}
}

// on returns the slot of a task on a node.
func (q *stints) on(t sched.TaskID, n sched.NodeID) int32 {
	i := q.slot[t]
	for i > 0 && q.runs[i].task == t && q.runs[i].node != n {
		i = q.runs[i].next
	}
	if i > 0 && q.runs[i].task != t {
		return 0
	}
	return i
}

// add puts a task at the end of the ring and of its node.
func (q *stints) add(t sched.TaskID, n sched.NodeID) int32 {
	var i int32
	if last := len(q.free) - 1; last >= 0 {
		i, q.free = q.free[last], q.free[:last]
	} else {
		q.runs = append(q.runs, stint{})
		i = int32(len(q.runs) - 1)
	}
	nd, end := &q.nodes[n], q.runs[0].prev
	q.runs[i] = stint{task: t, node: n, prev: end, earlier: nd.last}
	q.runs[end].next, q.runs[0].prev = i, i
	if nd.last != 0 {
		q.runs[nd.last].later = i
	} else {
		nd.first = i
	}
	nd.last = i
	if q.slot[t] == 0 {
		q.slot[t] = i
	}
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
			nd.freed = nd.freed.minus(r.freed)
			nd.passed--
		}
		if r.whole {
			nd.twice &^= r.devices // what claims had booked of it is theirs alone now
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
		q.touch(r.node)
		i = next
	}
}

// claim takes in that a task claims room.
func (q *stints) claim(s *sched.State, t sched.TaskID) {
	k := len(q.claims)
	if k < cap(q.claims) {
		q.claims = q.claims[:k+1]
	} else {
		q.claims = append(q.claims, claimed{})
	}
	c := &q.claims[k]
	c.task, c.nodes = t, c.nodes[:0]
	q.slot[t] = -int32(k + 1)
	for _, p := range s.Placements(t) {
		c.nodes = append(c.nodes, p.Node)
		q.claimed(s, p.Node)
	}
}

// endClaim takes in that a task claims no room any more.
func (q *stints) endClaim(s *sched.State, t sched.TaskID) {
	if q.slot[t] >= 0 {
		return
	}
	k, last := int(-q.slot[t]-1), len(q.claims)-1
	q.claims[k], q.claims[last] = q.claims[last], q.claims[k]
	q.slot[q.claims[k].task] = -int32(k + 1)
	q.slot[t] = 0
	q.claims = q.claims[:last]
	for _, n := range q.claims[:last+1][last].nodes {
		q.claimed(s, n)
	}
}

// claimed takes in that a claim has booked room on a node, or given it back.
func (q *stints) claimed(s *sched.State, n sched.NodeID) {
	nd, twice := &q.nodes[n], s.Room().Overbooked(n)
	changed := nd.twice ^ twice
	nd.twice = twice
	for i := nd.first; i != 0 && changed != 0; i = q.runs[i].later {
		if r := &q.runs[i]; r.devices&changed != 0 {
			q.rebookOne(r, nd)
		}
	}
	q.touch(n)
}

// rebook takes in that claims, or others by a profile, have booked or given back devices of a node.
func (q *stints) rebook(s *sched.State, n sched.NodeID) {
	nd := &q.nodes[n]
	nd.twice = s.Room().Overbooked(n)
	for i := nd.first; i != 0; i = q.runs[i].later {
		if r := &q.runs[i]; r.devices != 0 {
			q.rebookOne(r, nd)
		}
	}
	q.touch(n)
}

func (q *stints) rebookOne(r *stint, nd *stintsOn) {
	gpus := int32(bits.OnesCount64(uint64(r.devices &^ nd.twice)))
	if r.passed {
		nd.freed.gpus += gpus - r.freed.gpus
	}
	r.freed.gpus = gpus
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
		nd.freed = nd.freed.plus(r.freed)
		nd.passed++
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

// touch takes in that the room of a node has changed, or what may be stopped there.
func (q *stints) touch(n sched.NodeID) {
	q.changes++
	q.log.add(n)
}

// levelled takes in what has changed since the levels of the nodes were asked for.
func (q *stints) levelled(s *sched.State) {
	if q.seen < q.log.begun {
		for n := range q.nodes {
			q.level(s, sched.NodeID(n))
		}
	} else {
		for i := q.seen; i < q.log.end(); i++ {
			if n, ok := q.log.at(i); ok {
				q.level(s, n)
			}
		}
	}
	q.seen = q.log.mark()
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
	room := s.Room()
	return q.nodes[n].freed.plus(amount{room.FreeCPU(n), room.FreeMem(n), room.FreeGPUs(n)})
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
	if int(d) < len(q.trees) && q.trees[d] != nil || q.leaves < maxLeaves {
		n := q.first(s, d)
		if n == sched.NoNode {
			return 0
		}
		return q.endingOn(s, d, n)
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
				if g.less(q.runs[i].freed); g.closed() {
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
			nd.search, nd.gap = q.search, q.gap(s, d, r.node)
		}
		if nd.gap.less(r.freed); nd.gap.closed() {
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

// endings keeps, for one demand of one replica, with which stint, in the order of start, there is room on a node: a tournament tree of their seq, never where
// not even all that may be stopped are enough.
type endings struct {
	seen int     // entries of the log that are taken in, dropped ones included
	size int     // leaves of tree, a power of two
	tree []int64 // the first of each subtree; leaf i at size+i
}

// first returns the node on which there is room first, or NoNode.
func (q *stints) first(s *sched.State, d sched.DemandID) sched.NodeID {
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
		w = &endings{size: size, tree: slices.Repeat([]int64{never}, 2*size)}
		q.trees[d] = w
		fallthrough
	case w.seen < q.log.begun || q.log.end()-w.seen > nodes:
		for n := range nodes {
			w.tree[w.size+n] = q.ending(s, d, sched.NodeID(n))
		}
		for i := w.size - 1; i > 0; i-- {
			w.tree[i] = min(w.tree[2*i], w.tree[2*i+1])
		}
	default:
		for i := w.seen; i < q.log.end(); i++ {
			n, ok := q.log.at(i)
			if !ok {
				continue // it comes up again
			}
			seq := q.ending(s, d, n)
			for k := w.size + int(n); w.tree[k] != seq; k /= 2 {
				w.tree[k] = seq
				seq = min(seq, w.tree[k^1])
				if k == 1 {
					break
				}
			}
		}
	}
	w.seen = q.log.mark()
	if w.tree[1] == never {
		return sched.NoNode
	}
	k := 1
	for k < w.size {
		if k *= 2; w.tree[k] != w.tree[1] {
			k++
		}
	}
	return sched.NodeID(k - w.size)
}

// ending returns the seq of the stint with which there is room on a node.
func (q *stints) ending(s *sched.State, d sched.DemandID, n sched.NodeID) int64 {
	nd := &q.nodes[n]
	if nd.passed == 0 {
		return never
	}
	room := s.Room()
	g := gap{q.wants[d].minus(amount{room.FreeCPU(n), room.FreeMem(n), room.FreeGPUs(n)})}
	if all := g.minus(nd.freed); all.gpus > 0 || all.cpu > 0 || all.mem > 0 || !room.Up(n) || !room.Allowed(d, n) {
		return never
	}
	for i := nd.first; i != 0; i = q.runs[i].later {
		r := &q.runs[i]
		if g.less(r.freed); g.closed() {
			return r.seq
		}
	}
	return never
}

// endingOn returns the slot of the stint with which there is room on a node, on which there is if all that may be stopped do.
func (q *stints) endingOn(s *sched.State, d sched.DemandID, n sched.NodeID) int32 {
	i, g := q.nodes[n].first, gapOn(s, d, n)
	for g.less(q.runs[i].freed); !g.closed(); g.less(q.runs[i].freed) {
		i = q.runs[i].later
	}
	return i
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

var rrEntry = Entry{
	Name: "rr", Summary: "Round-robin: time slices in turn, preemptive.", Placed: true,
	About: "One line in the order of readiness; a task whose slice has ended may be stopped, and is only if that makes room for the head of the line, " +
		"which blocks. Each waits at most a slice for its turn once it is the head, so nothing starves.",
	Source: "Time-sharing as in Kleinrock 1967; gang time slices as in Feitelson & Rudolph, JPDC 1992.",
	Params: []Param{{Name: "quantum", Default: auto, About: "length of a slice; auto is a tenth of the mean estimate"}},
	New: func(a Args) (sched.Policy, error) {
		q := a.Duration("quantum")
		if q <= 0 {
			q = max(a.Hints.MeanEstimate/10, time.Millisecond)
		}
		return &RoundRobin{Quantum: q, Place: a.Place}, nil
	},
}
