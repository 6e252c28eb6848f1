package policies

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// Preemptive is list scheduling in the order of a key in which a task may stop running tasks that come after it, ties to the lower TaskID:
// the last of them first, as many as it takes, less those without whom it fits as well. It gives the orders of a List whose Evict compares the
// keys, and does not look at all running tasks for it: those of every node are kept in the order in which they would be stopped, and, for each
// demand that found no room, a tree over the nodes knows which of them the search would reach first.
type Preemptive struct {
	Key   Key
	Falls bool  // the key is ShortestRemaining: it falls as a task runs, all at one speed
	Sinks bool  // the key falls as a task runs, at speeds that differ. Without Falls and Sinks it must not change, but with an Updated estimate
	Mild  bool  // a task stops none of the same key
	Place Place // nil: first fit
	Skip  bool  // pass over what does not fit
	Loss  Loss  // if not nil: what a stop costs counts, see Loss

	laxity int64                                // of NewLLF: running tasks may be stopped whose laxities are larger by so much, ns; 0: keys decide
	began  func(s *sched.State, t sched.TaskID) // if not nil: told of every task that has started
	claims func(t sched.TaskID)                 // if not nil: told of every task that now claims room

	line    heap.Heap   // strict
	lines   lines.Lines // Skip
	fresh   []sched.TaskID
	aside   []heap.Item
	passed  []sched.DemandID // shut by one that stands behind tasks that a quota refused: whether they find room is asked at every decision
	stop    stopping
	running ranks
	tight   []bool // by demand: the last that was tried found no room
	evict   Evictable
}

// Observe keeps the lines and the running tasks.
func (p *Preemptive) Observe(s *sched.State, e sched.Event) {
	p.observe(s, e)
	switch e.Kind {
	case sched.TaskReady:
		p.push(s, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		// Tasks that were started have left their line already; if one is blocked, its claim was undone and room came free.
		if !p.remove(s, e.Task) && e.Kind == sched.TaskBlocked {
			p.lines.Reopen()
		}
	case sched.Updated:
		if p.remove(s, e.Task) {
			p.push(s, e.Task)
		}
		p.lines.Reopen()
	case sched.CheckpointDone:
		if p.Loss != nil { // it costs less now to stop it
			p.lines.Reopen()
		}
	case sched.JobArrived, sched.Started:
	default:
		p.lines.Reopen()
	}
}

func (p *Preemptive) push(s *sched.State, t sched.TaskID) {
	it := heap.Item{Key: p.Key(s, t), Task: t}
	if !p.Skip {
		p.line.Push(it)
		return
	}
	d := s.DemandID(t)
	p.lines.Push(d, it)
	if p.lines.Overtakes(d, it) {
		p.lines.Unshut(d) // it may stop tasks that the others of its demand may not
	}
	p.fresh = append(p.fresh, t)
}

// rekey takes in that keys have changed.
func (p *Preemptive) rekey(s *sched.State) {
	key := func(t sched.TaskID) int64 { return p.Key(s, t) }
	if p.Skip {
		p.lines.Rekey(key)
		p.lines.Reopen()
	}
	for i := range p.line {
		p.line[i].Key = key(p.line[i].Task)
	}
	p.line.Init()
	for t := range s.RunningTasks() {
		p.running.end(s, t)
		p.started(s, t)
	}
}

// remove takes t out of its line and reports whether it was there.
func (p *Preemptive) remove(s *sched.State, t sched.TaskID) bool {
	if p.Skip {
		return p.lines.Remove(s.DemandID(t), t)
	}
	return p.line.Remove(t)
}

// Decide starts tasks in the order of their keys as long as there is room, or can be made.
func (p *Preemptive) Decide(r *sched.Round) {
	p.ordered(r)
	if p.Skip {
		p.decideSkip(r)
	} else {
		p.decideStrict(r)
	}
	if p.laxity > 0 {
		p.watch(r)
	}
}

func (p *Preemptive) decideStrict(r *sched.Round) {
	for len(p.line) > 0 {
		t := p.line[0].Task
		if !p.try(r, t) {
			r.Skip(t, sched.NoRoom)
			break
		}
		if r.Phase(t) == sched.Ready { // a quota refused it: the line moves on without it
			p.aside = append(p.aside, p.line[0])
		}
		p.line.Pop()
	}
	for _, it := range p.aside {
		p.line.Push(it)
	}
	p.aside = p.aside[:0]
}

// ordered takes in whom facts have ordered to stop, of which nobody is told. The loss of its last node may have ended a task since.
func (p *Preemptive) ordered(r *sched.Round) {
	for _, o := range r.Ordered() {
		if o.Kind == sched.Stop && r.Phase(o.Task) == sched.Stopping {
			p.running.leave(r.State, o.Task)
		}
	}
}

func (p *Preemptive) decideSkip(r *sched.Round) {
	for _, d := range p.passed {
		p.lines.Unshut(d)
	}
	p.passed = p.passed[:0]
	for {
		d, ok := p.lines.Best(nil)
		if !ok {
			break
		}
		t := p.lines.First(d).Task
		if !p.try(r, t) {
			r.Skip(t, sched.NoRoom)
			p.lines.Shut(d)
			continue
		}
		it := p.lines.Pop(d)
		if r.Phase(t) == sched.Ready {
			p.aside = append(p.aside, it)
		}
	}
	for _, it := range p.aside {
		d := r.DemandID(it.Task)
		p.lines.Push(d, it)
		if p.lines.IsShut(d) {
			p.passed = append(p.passed, d)
		}
	}
	p.aside = p.aside[:0]
	for _, t := range p.fresh {
		if r.Phase(t) == sched.Ready && p.lines.IsShut(r.DemandID(t)) {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.fresh = p.fresh[:0]
}

// try starts t, or claims room for it. It reports false where there is no room; true, with the task still ready, where there was room and
// the kernel refused the start.
func (p *Preemptive) try(r *sched.Round, t sched.TaskID) bool {
	if p.Place != nil {
		on, ok := p.Place(r.State, r.Room(), t, p.stop.buf[:0])
		p.stop.buf = on[:0]
		if ok {
			r.Start(t, on...)
			p.tried(r, t)
			return true
		}
		return p.search(r, t, p.Place)
	}
	d := r.DemandID(t)
	for len(p.tight) <= int(d) {
		p.tight = append(p.tight, false)
	}
	key, byNode := int64(0), p.byNodeServes(r.State, t)
	if byNode {
		key = p.Key(r.State, t)
		byNode = !p.Falls || key > 0 // else ties with what is past its estimate decide, which the order of ends does not show
	}
	// Where the last task of the demand found no room, the tree says whether there is some now.
	c, asked := closing{}, byNode && p.tight[d]
	if asked {
		c = p.running.first(r.State, d)
	}
	if (!asked || c.how == fits) && r.StartFirst(t) {
		p.tight[d] = false
		p.tried(r, t)
		return true
	}
	p.tight[d] = true
	if !byNode {
		return p.search(r, t, FirstFit)
	}
	if !asked {
		c = p.running.first(r.State, d)
	}
	done := p.byNode(r, t, key, c)
	p.tried(r, t)
	return done
}

// byNodeServes reports whether the tree can tell whom to stop for t.
func (p *Preemptive) byNodeServes(s *sched.State, t sched.TaskID) bool {
	return p.Place == nil && p.Loss == nil && p.stop.near.serves(s, t) && p.running.serves(s.DemandID(t))
}

// search looks at all running tasks.
func (p *Preemptive) search(r *sched.Round, t sched.TaskID, place Place) bool {
	switch {
	case p.evict != nil:
	case p.Loss != nil:
		p.evict = worthwhile(p.Key, p.Loss)
	case p.laxity > 0:
		p.evict = func(s *sched.State, running, t sched.TaskID) (int64, bool) {
			rank := laxityRunning(s, running)
			return rank, p.mayStop(s, rank, p.Key(s, t))
		}
	case p.Mild:
		p.evict = passes(p.Key)
	default:
		p.evict = overtakes(p.Key)
	}
	done := false
	if p.Place == nil && p.stop.near.serves(r.State, t) {
		done = p.stop.byGaps(r, t, p.evict)
	} else {
		done = p.stop.byPlan(r, t, p.evict, place, p.Place == nil)
	}
	p.tried(r, t)
	return done
}

// tried takes in what became of a task that was tried.
func (p *Preemptive) tried(r *sched.Round, t sched.TaskID) {
	switch r.Phase(t) {
	case sched.Running:
		p.started(r.State, t)
	case sched.Claiming:
		for _, v := range p.stop.ids {
			p.running.leave(r.State, v)
		}
		p.running.claim(r.State, t)
		if p.claims != nil {
			p.claims(t)
		}
	}
}

// byNode stops tasks for one that fits on one node as a whole, under first fit: those on the node where the fewest of the order in which
// they are stopped make room. Tasks on other nodes that stopped as well would be spared.
func (p *Preemptive) byNode(r *sched.Round, t sched.TaskID, key int64, c closing) bool {
	q, x, d := &p.running, &p.stop, r.DemandID(t)
	if c.how != atStop {
		return false // there is no room even if all stop, or there will be without
	}
	rank := c.rank
	if p.Falls {
		rank -= int64(r.Now())
	}
	if p.laxity > 0 && !p.mayStop(r.State, rank, key) || p.laxity == 0 && (rank < key || rank == key && (p.Mild || c.task < t)) {
		return false // a task that must not be stopped would have to be
	}
	if on := r.Placements(c.task); len(on) > 1 {
		q.gather(r, x, d, c.task)
	} else {
		node := on[0].Node
		list := q.nodes[node]
		g, last := gapOn(r.State, d, node), slices.IndexFunc(list, func(r ranked) bool { return r.task == c.task })
		for i := range list[:last+1] {
			g.less(list[i].freed)
		}
		x.ids = x.ids[:0]
		for i := last; i >= 0 && !list[i].leaving; i-- {
			spared := g
			if spared.more(list[i].freed); spared.closed() {
				g = spared
			} else {
				x.ids = append(x.ids, list[i].task)
			}
		}
		x.buf = append(x.buf[:0], sched.Placement{Node: node, Replicas: 1}) // the kernel chooses the devices
	}
	if len(x.ids) == 0 {
		return false
	}
	if r.Claim(t, x.buf, x.ids...) {
		return true
	}
	for v := range r.RunningTasks() {
		if r.Phase(v) == sched.Stopping {
			return false // it needs room that is only being left: it waits
		}
	}
	return true // a quota refused it
}

// ranks are the running tasks by node, in the order in which they would be stopped.
type ranks struct {
	nodes  [][]ranked // those that are stopping, then the others: the largest rank first, then the larger TaskID
	gangs  gangs
	claims []claimed
	odd    int            // entries of running tasks whose place in the order changes as time goes by
	trees  []*closings    // by demand; nil = never asked for
	leaves int            // of all trees
	log    []sched.NodeID // nodes that changed, oldest first
	begun  int            // number of entries that were dropped from the front of log
	read   int            // entries that some tree has taken in, dropped ones included
	sinks  Key            // if not nil: the ranks of running tasks fall by it, and are worked out when looked at
}

// ranked is a running task on a node.
type ranked struct {
	rank    int64 // the key, or where that falls the estimated end
	task    sched.TaskID
	freed   amount // what its end makes free on the node. Devices that a claim has booked as well go to the claim
	devices sched.Devices
	leaving bool // it is stopping
	odd     bool
}

func (r *ranked) before(u *ranked) bool {
	switch {
	case r.leaving != u.leaving:
		return r.leaving
	case r.rank != u.rank:
		return r.rank > u.rank
	}
	return r.task > u.task
}

func (q *ranks) grow(s *sched.State) {
	for len(q.nodes) < s.Room().Len() {
		q.nodes = append(q.nodes, nil)
	}
}

// observe keeps the running tasks by the facts.
func (p *Preemptive) observe(s *sched.State, e sched.Event) {
	q := &p.running
	q.grow(s)
	if p.Sinks {
		q.sinks = p.Key
	}
	switch e.Kind {
	case sched.JobArrived:
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			if s.Phase(t) == sched.Claiming { // it claimed room before the kernel was restored
				q.claim(s, t)
			}
		}
	case sched.Started:
		q.endClaim(s, e.Task)
		if !slices.ContainsFunc(q.nodes[s.Placements(e.Task)[0].Node], func(r ranked) bool { return r.task == e.Task }) {
			p.started(s, e.Task)
		}
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		q.end(s, e.Task)
	case sched.TaskReady, sched.TaskBlocked, sched.TaskDropped, sched.Cancelled:
		q.endClaim(s, e.Task)
	case sched.Updated: // its place in the order may have changed
		if ph := s.Phase(e.Task); ph == sched.Running || ph == sched.Stopping {
			q.end(s, e.Task)
			p.started(s, e.Task)
		}
	case sched.NodeUp, sched.NodeDown, sched.NodeProfile:
		q.touch(e.Node)
	}
}

// started takes in that a task runs.
func (p *Preemptive) started(s *sched.State, t sched.TaskID) {
	r := ranked{task: t, leaving: s.Phase(t) == sched.Stopping}
	on := s.Placements(t)
	if p.laxity > 0 {
		r.rank = laxityRunning(s, t)
	} else if p.Falls {
		// The estimated work left falls by one second a second, from the start on, so that the order of the estimated ends is the same, where the attempt is
		// estimated to take as long as the work on a node of reference speed.
		r.rank = int64(s.EstimatedEnd(t).Add(s.StartedAt(t).Sub(s.WorkBegins(t))))
		var most time.Duration
		for _, pl := range on {
			most = max(most, s.EstimateOn(t, pl.Node))
		}
		r.odd = most != s.Estimate(t) || r.rank == int64(sched.Never)
	} else {
		r.rank = p.Key(s, t)
	}
	p.running.start(s, r, on)
	if p.began != nil {
		p.began(s, t)
	}
}

func (q *ranks) start(s *sched.State, r ranked, on []sched.Placement) {
	need, t := &s.Demand(r.task).Need, r.task
	q.gangs.note(t, on)
	for i, p := range on {
		here := r
		for j, o := range on {
			if o.Node != p.Node {
				continue
			}
			if j < i {
				here.task = sched.Nobody // its entry stands already
				break
			}
			here.freed, here.devices = here.freed.plus(amountOf(need, o.Replicas)), here.devices|o.GPUs
		}
		if here.task == t {
			q.insert(p.Node, here)
			if len(q.claims) > 0 { // a restored kernel tells of claims first: they may have booked its devices
				q.rebook(s, p.Node)
			}
		}
	}
}

func (q *ranks) insert(n sched.NodeID, r ranked) {
	list := append(q.nodes[n], r)
	i := len(list) - 1
	for ; i > 0 && r.before(&list[i-1]); i-- {
		list[i] = list[i-1]
	}
	list[i] = r
	q.nodes[n] = list
	if r.odd {
		q.odd++
	}
	q.touch(n)
}

// end takes in that a task runs no more.
func (q *ranks) end(s *sched.State, t sched.TaskID) {
	if nodes := q.gangs.take(t); nodes != nil {
		for i, n := range nodes {
			if !slices.Contains(nodes[:i], n) { // it has one entry a node
				q.remove(n, t)
			}
		}
		return
	}
	if n := s.Outcome(t).Node; n != sched.NoNode {
		q.remove(n, t)
	}
}

func (q *ranks) remove(n sched.NodeID, t sched.TaskID) (r ranked, ok bool) {
	i := slices.IndexFunc(q.nodes[n], func(r ranked) bool { return r.task == t })
	if i < 0 {
		return r, false
	}
	if r = q.nodes[n][i]; r.odd {
		q.odd--
	}
	q.nodes[n] = slices.Delete(q.nodes[n], i, i+1)
	q.touch(n)
	return r, true
}

// rerank takes in that the rank of a running task has changed, and returns what it was.
func (q *ranks) rerank(s *sched.State, t sched.TaskID, rank int64) (old int64) {
	on := s.Placements(t)
	for i, p := range on {
		if slices.ContainsFunc(on[:i], func(o sched.Placement) bool { return o.Node == p.Node }) {
			continue
		}
		if r, ok := q.remove(p.Node, t); ok {
			old, r.rank = r.rank, rank
			q.insert(p.Node, r)
		}
	}
	return old
}

// sink works out the ranks on a node as they are now.
func (q *ranks) sink(s *sched.State, n sched.NodeID) {
	if q.sinks == nil {
		return
	}
	list := q.nodes[n]
	for i := range list {
		r := list[i]
		r.rank = q.sinks(s, r.task)
		j := i
		for ; j > 0 && r.before(&list[j-1]); j-- {
			list[j] = list[j-1]
		}
		list[j] = r
	}
}

// leave takes in that a running task is stopping.
func (q *ranks) leave(s *sched.State, t sched.TaskID) {
	on := s.Placements(t)
	for i, p := range on {
		if slices.ContainsFunc(on[:i], func(o sched.Placement) bool { return o.Node == p.Node }) {
			continue
		}
		if r, ok := q.remove(p.Node, t); ok {
			r.leaving = true
			q.insert(p.Node, r)
		}
	}
}

// claim takes in that a task claims room.
func (q *ranks) claim(s *sched.State, t sched.TaskID) {
	k := len(q.claims)
	if k < cap(q.claims) {
		q.claims = q.claims[:k+1]
	} else {
		q.claims = append(q.claims, claimed{})
	}
	c := &q.claims[k]
	c.task, c.nodes = t, c.nodes[:0]
	for _, p := range s.Placements(t) {
		c.nodes = append(c.nodes, p.Node)
		q.rebook(s, p.Node)
	}
}

// endClaim takes in that a task claims no room any more.
func (q *ranks) endClaim(s *sched.State, t sched.TaskID) {
	k := slices.IndexFunc(q.claims, func(c claimed) bool { return c.task == t })
	if k < 0 {
		return
	}
	last := len(q.claims) - 1
	q.claims[k], q.claims[last] = q.claims[last], q.claims[k]
	for _, n := range q.claims[last].nodes {
		q.rebook(s, n)
	}
	q.claims = q.claims[:last]
}

// rebook takes in that claims have booked or given back devices of a node.
func (q *ranks) rebook(s *sched.State, n sched.NodeID) {
	twice := bookedTwice(s.Room(), n)
	for i := range q.nodes[n] {
		if r := &q.nodes[n][i]; r.devices != 0 {
			r.freed.gpus = int32(bits.OnesCount64(uint64(r.devices &^ twice)))
		}
	}
	q.touch(n)
}

// touch takes in that the room of a node has changed, or what runs there.
func (q *ranks) touch(n sched.NodeID) {
	if last := len(q.log) - 1; last >= 0 && q.log[last] == n && q.begun+last >= q.read {
		return // nobody has read it yet
	}
	if len(q.log) > 4*len(q.nodes)+1024 { // who has not asked for so long starts afresh
		q.begun += len(q.log)
		q.log = q.log[:0]
	}
	q.log = append(q.log, n)
}

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

// before reports whether the search for room reaches c first.
func (c *closing) before(d *closing) bool {
	switch {
	case c.how != d.how:
		return c.how > d.how
	case c.rank != d.rank:
		return c.rank > d.rank
	}
	return c.task > d.task
}

// closings keeps, for one demand, the closing of every node in a tournament tree.
type closings struct {
	seen int          // entries of the log that are taken in, dropped ones included
	size int          // leaves of tree, a power of two
	tree []closing    // the first of each subtree; leaf i at size+i
	at   []sched.Time // by node, where ranks sink: when its leaf was worked out
}

// maxLeaves bounds what the trees of all demands take: 16 MB. A demand that comes after is worked out by a search.
const maxLeaves = 1 << 19

// serves reports whether first can tell.
func (q *ranks) serves(d sched.DemandID) bool {
	return q.odd == 0 && (int(d) < len(q.trees) && q.trees[d] != nil || q.leaves < maxLeaves)
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
		if q.sinks != nil {
			w.at = make([]sched.Time, size)
		}
		q.trees[d] = w
		fallthrough
	case w.seen < q.begun || q.begun+len(q.log)-w.seen > nodes:
		for n := range nodes {
			w.tree[w.size+n] = q.closing(s, d, sched.NodeID(n))
			if q.sinks != nil {
				w.at[n] = s.Now()
			}
		}
		for i := w.size - 1; i > 0; i-- {
			w.play(i)
		}
	default:
		for _, n := range q.log[w.seen-q.begun:] {
			c, i := q.closing(s, d, n), w.size+int(n)
			if q.sinks != nil {
				w.at[n] = s.Now()
			}
			if w.tree[i] == c {
				continue
			}
			w.tree[i] = c
			for i /= 2; i > 0 && w.play(i); i /= 2 {
			}
		}
	}
	w.seen = q.begun + len(q.log)
	q.read = w.seen
	// Ranks that sink have only fallen since a leaf was worked out, and with them its place: the first is the first if it is of now.
	for q.sinks != nil && w.tree[1].how == atStop {
		i := 1
		for i < w.size {
			if i *= 2; w.tree[i] != w.tree[i/2] {
				i++
			}
		}
		n := i - w.size
		if w.at[n] == s.Now() {
			break
		}
		w.tree[i] = q.closing(s, d, sched.NodeID(n))
		w.at[n] = s.Now()
		for i /= 2; i > 0 && w.play(i); i /= 2 {
		}
	}
	return w.tree[1]
}

// play works out the first of a subtree from its halves and reports whether it has changed.
func (w *closings) play(i int) bool {
	a, b := &w.tree[2*i], &w.tree[2*i+1]
	if b.before(a) {
		a = b
	}
	if w.tree[i] == *a {
		return false
	}
	w.tree[i] = *a
	return true
}

// closing works out the closing of a node.
func (q *ranks) closing(s *sched.State, d sched.DemandID, n sched.NodeID) closing {
	room := s.Room()
	if !room.Up(n) || !room.Allowed(d, n) {
		return closing{}
	}
	g := gapOn(s, d, n)
	if g.closed() {
		return closing{how: fits}
	}
	q.sink(s, n)
	for i := range q.nodes[n] {
		r := &q.nodes[n][i]
		if g.less(r.freed); !g.closed() {
			continue
		}
		if r.leaving {
			return closing{how: leaving}
		}
		return closing{r.rank, r.task, atStop}
	}
	return closing{}
}

// gather finds whom to stop where the last is a gang, so that its stop makes room on several nodes.
func (q *ranks) gather(r *sched.Round, x *stopping, d sched.DemandID, last sched.TaskID) {
	x.victims, x.leaving = x.victims[:0], x.leaving[:0]
	for _, p := range r.Placements(last) {
		q.sink(r.State, p.Node)
		for _, v := range q.nodes[p.Node] {
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
