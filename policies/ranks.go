package policies

import (
	"math"
	"math/bits"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/ranking"
	"github.com/schedlab/schedlab/policies/sched"
)

// ranks are the running tasks by node, in the order in which they would be stopped.
type ranks struct {
	nodes   [][]ranked // from the end on: those that are stopping, then the others, the largest rank first, then the larger TaskID. Who comes last is often the first to go
	gangs   gangs
	claims  claims
	round   int            // decisions
	odd     int            // entries of running tasks whose place in the order changes as time goes by
	trees   []*closings    // by demand; nil = never asked for
	leaves  int            // of all trees
	order   topRanks       // where ranks do not move
	left    []sched.NodeID // where somebody is stopping
	onLeft  []int32        // by node: how many
	hard    []uint8        // by demand: how often the tree is asked before order again
	log     nodeLog        // nodes that changed
	changes int            // of nodes, or of what runs there
	gains   nodeLog        // nodes that changed otherwise than by a start
	right   []int          // by demand: so many nodes, from the first on, are known to be of the right kind
	wants   []want         // by demand
	moves   *movers        // if not nil: ranks move, and are worked out when looked at
	quanta  *quanta        // if not nil: keys are whole quanta of attained time, and ranks what it says; instead of order
	out     ranked         // of remove
}

// want is what all replicas of a demand together ask for; what they do not is far below 0.
type want struct {
	amount
	alone bool // there is one replica
}

// ranked is a running task on a node: 64 bytes, a line of the processor's cache.
type ranked struct {
	rank     int64      // the key, or where that falls the estimated end
	key      int64      // see moving
	until    sched.Time // the rank does not move before, where it does
	devices  sched.Devices
	cpu, mem int64 // see freed
	gpus     int32
	task     sched.TaskID
	class    int32
	leaving  bool // it is stopping
	odd      bool
}

// freed is what its end makes free on the node. Devices that a claim has booked as well go to the claim.
func (r *ranked) freed() amount { return amount{r.cpu, r.mem, r.gpus} }

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
		q.nodes, q.onLeft = append(q.nodes, nil), append(q.onLeft, 0)
		q.log.grow()
		q.gains.grow()
		if m := q.moves; m != nil {
			m.holds, m.gaps = append(m.holds, math.MinInt64), append(m.gaps, searched{})
		}
	}
	for all := s.Table().Demands; len(q.wants) < len(all); {
		d := &all[len(q.wants)]
		q.wants, q.right = append(q.wants, want{wanted(d), d.Gang == 1}), append(q.right, 0)
	}
}

// rightFrom looks which nodes are of the right kind for a demand, up to the first that is not: mostly all are.
func (q *ranks) rightFrom(s *sched.State, d sched.DemandID) {
	for n := q.right[d]; n < len(q.nodes) && s.Room().Allowed(d, sched.NodeID(n)); n++ {
		q.right[d] = n + 1
	}
}

// couldHold reports whether a node is up and of the right kind for a demand.
func (q *ranks) couldHold(room *sched.Room, d sched.DemandID, n sched.NodeID) bool {
	return room.Up(n) && (int(n) < q.right[d] || room.Allowed(d, n))
}

// keepRunning keeps the running tasks by the facts.
func (p *Preemptive) keepRunning(s *sched.State, e *sched.Event) {
	q := &p.running
	if p.Sinks && q.moves == nil {
		q.moves = &movers{moving: &sinking{}, apart: true}
	}
	if len(q.nodes) < s.Room().Len() || len(q.wants) < len(s.Table().Demands) {
		q.grow(s)
	}
	switch e.Kind {
	case sched.JobArrived:
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			if s.Phase(t) == sched.Claiming { // it claimed room before the kernel was restored
				q.claim(s, t)
			}
		}
	case sched.Started:
		if q.endClaim(s, e.Task, false) || !slices.ContainsFunc(q.nodes[s.Placements(e.Task)[0].Node], func(r ranked) bool { return r.task == e.Task }) {
			p.started(s, e.Task)
		}
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		q.end(s, e.Task)
	case sched.TaskReady, sched.TaskBlocked, sched.TaskDropped, sched.Cancelled:
		q.endClaim(s, e.Task, true)
	case sched.Updated: // its place in the order may have changed
		if ph := s.Phase(e.Task); ph == sched.Running || ph == sched.Stopping {
			q.end(s, e.Task)
			p.started(s, e.Task)
		}
	case sched.NodeUp, sched.NodeDown:
		q.touch(e.Node)
	case sched.NodeProfile:
		q.rebook(s, e.Node)
		q.touch(e.Node)
	}
}

// started takes in that a task runs.
func (p *Preemptive) started(s *sched.State, t sched.TaskID) {
	r := ranked{task: t, leaving: s.Phase(t) == sched.Stopping, until: math.MinInt64}
	on := s.Placements(t)
	if p.laxity > 0 {
		r.rank = laxityRunning(s, t)
	} else if p.Falls {
		// The estimated work left falls by one second a second, from the start on, so that the order of the estimated ends is the same, where the attempt is
		// estimated to take as long as the work on a node of reference speed.
		end, begins := s.EstimatedEnd(t), s.WorkBegins(t)
		r.rank = int64(end.Add(s.StartedAt(t).Sub(begins)))
		r.odd = end.Sub(begins) != s.LeftAtStart(t) || r.rank == int64(sched.Never)
	} else if m := p.running.quanta; m != nil {
		r.rank = m.rank(s, t)
	} else if p.running.moves == nil {
		r.rank = p.Key(s, t)
	}
	if m := p.running.moves; m != nil {
		r.key, r.class = m.key(s, t), int32(m.class(s, s.DemandID(t))) // of one that is stopping too, as a restored kernel tells of some
		if !p.Sinks {
			r.rank, r.until = m.rank(s, r.class, t, r.key)
		} else {
			r.odd = s.EstimatedEnd(t).Sub(s.WorkBegins(t)) != s.LeftAtStart(t) || r.key == int64(sched.Never)
		}
	}
	p.running.start(s, &r, on)
	if p.began != nil {
		p.began(s, t, r.key, r.until)
	}
}

func (q *ranks) start(s *sched.State, r *ranked, on []sched.Placement) {
	need, t := &s.Demand(r.task).Need, r.task
	if len(on) > 1 {
		q.gangs.note(t, on)
	}
	if !r.leaving {
		q.list(s, r, on)
	}
	if len(on) == 1 { // as most
		r.devices = on[0].GPUs
		q.enter(s, need, on[0].Node, on[0].Replicas, r)
		return
	}
	for i := range on {
		n := on[i].Node
		if slices.ContainsFunc(on[:i], func(o sched.Placement) bool { return o.Node == n }) {
			continue // its entry stands already
		}
		replicas := int32(0)
		r.devices = 0
		for _, o := range on[i:] {
			if o.Node == n {
				replicas, r.devices = replicas+o.Replicas, r.devices|o.GPUs
			}
		}
		q.enter(s, need, n, replicas, r)
	}
}

// enter puts a task that runs so many replicas on a node among those that do there.
func (q *ranks) enter(s *sched.State, need *sched.Need, n sched.NodeID, replicas int32, r *ranked) {
	all := amountOf(need, replicas)
	r.cpu, r.mem, r.gpus = all.cpu, all.mem, all.gpus
	q.insert(n, r)
	q.changed(n)
	if s.Room().Shared(n) { // a restored kernel tells of claims first: they, or others, may have booked its devices
		q.rebook(s, n)
		q.touch(n)
	}
}

// list takes in that a task runs that may be stopped. It is known without a node where it runs on more than one.
func (q *ranks) list(s *sched.State, r *ranked, on []sched.Placement) {
	node := on[0].Node
	if len(on) > 1 {
		node = sched.NoNode
	}
	switch it := (ranking.Item{Rank: r.rank, Task: r.task, Node: node}); {
	case q.moves != nil:
		q.moves.add(s, r, node)
	case q.quanta != nil:
		q.quanta.add(s.Now(), it)
	default:
		q.order.insert(it)
	}
}

// unlist takes it out again.
func (q *ranks) unlist(r *ranked) {
	switch {
	case r.leaving:
	case q.moves != nil:
		q.moves.remove(r)
	case q.quanta != nil:
		q.quanta.remove(r.rank, r.task)
	default:
		q.order.remove(r.rank, r.task)
	}
}

func (q *ranks) insert(n sched.NodeID, r *ranked) {
	list := append(q.nodes[n], *r)
	i := len(list) - 1
	for ; i > 0 && list[i-1].before(r); i-- {
		list[i] = list[i-1]
	}
	if i < len(list)-1 {
		list[i] = *r
	}
	q.nodes[n] = list
	if r.odd {
		q.odd++
	}
	if q.moves != nil {
		q.moves.holds[n] = math.MinInt64
	}
	if r.leaving {
		q.isLeft(n)
	}
}

// isLeft notes that one more task is stopping on a node.
func (q *ranks) isLeft(n sched.NodeID) {
	if q.onLeft[n]++; q.onLeft[n] == 1 {
		q.left = append(q.left, n)
	}
}

// end takes in that a task runs no more.
func (q *ranks) end(s *sched.State, t sched.TaskID) {
	if nodes := q.gangs.take(t); nodes != nil {
		for i, n := range nodes {
			if slices.Contains(nodes[:i], n) { // it has one entry a node
				continue
			}
			if q.remove(n, t) {
				q.ended(s, n)
				if i == 0 {
					q.unlist(&q.out)
				}
			}
		}
		return
	}
	if n := s.LastNode(t); n != sched.NoNode && q.remove(n, t) {
		q.ended(s, n)
		q.unlist(&q.out)
	}
}

// ended takes in that what is known by out runs on a node no more. The node has gained nothing where a claim takes all that it held: what is leaving counts as room
// before it has left, but for those who fit only then.
func (q *ranks) ended(s *sched.State, n sched.NodeID) {
	r := &q.out
	if cpu, mem, gpus := s.Room().Free(n); r.leaving && (r.gpus <= 0 || gpus <= 0) && (r.cpu <= 0 || cpu <= 0) && (r.mem <= 0 || mem <= 0) {
		q.changed(n)
	} else {
		q.touch(n)
	}
}

// remove takes a task off a node and leaves in out what was known of it. It reports whether it was there.
func (q *ranks) remove(n sched.NodeID, t sched.TaskID) bool {
	list := q.nodes[n]
	i := len(list) - 1
	for i >= 0 && list[i].task != t {
		i--
	}
	if i < 0 {
		return false
	}
	r := &q.out
	if *r = list[i]; r.odd {
		q.odd--
	}
	if r.leaving {
		if q.onLeft[n]--; q.onLeft[n] == 0 {
			k := slices.Index(q.left, n)
			q.left[k] = q.left[len(q.left)-1]
			q.left = q.left[:len(q.left)-1]
		}
	}
	for ; i+1 < len(list); i++ { // a few: less than a call
		list[i] = list[i+1]
	}
	q.nodes[n] = list[:i]
	return true
}

// rerank takes in that the rank of a running task has changed, and returns what it was.
func (q *ranks) rerank(s *sched.State, t sched.TaskID, rank int64) (old int64) {
	on := s.Placements(t)
	for k, p := range on {
		list := q.nodes[p.Node]
		i := slices.IndexFunc(list, func(r ranked) bool { return r.task == t })
		if i < 0 || slices.ContainsFunc(on[:k], func(o sched.Placement) bool { return o.Node == p.Node }) {
			continue
		}
		r := list[i]
		if k == 0 {
			q.unlist(&r)
		}
		old, r.rank = r.rank, rank
		if k == 0 && !r.leaving {
			q.list(s, &r, on)
		}
		for ; i > 0 && list[i-1].before(&r); i-- {
			list[i] = list[i-1]
		}
		for ; i+1 < len(list) && r.before(&list[i+1]); i++ {
			list[i] = list[i+1]
		}
		list[i] = r
		q.touch(p.Node)
	}
	return old
}

// leave takes in that a running task is stopping.
func (q *ranks) leave(s *sched.State, t sched.TaskID) {
	on := s.Placements(t)
	for i, p := range on {
		if slices.ContainsFunc(on[:i], func(o sched.Placement) bool { return o.Node == p.Node }) {
			continue
		}
		if q.remove(p.Node, t) {
			r := q.out
			if i == 0 {
				q.unlist(&r)
			}
			r.leaving = true
			q.insert(p.Node, &r)
			q.touch(p.Node)
		}
	}
}

// leaveFor takes in that running tasks are stopping for one that claims room. Where all that they hold goes to it, on one node, nobody gains by that: who could stop
// it could stop them, and who could not finds no more there than before.
func (q *ranks) leaveFor(s *sched.State, t sched.TaskID, victims []sched.TaskID) {
	on := s.Placements(t)
	n, left, alone := on[0].Node, amountOf(&s.Demand(t).Need, on[0].Replicas), len(on) == 1
	for _, v := range victims {
		at := s.Placements(v)
		alone = alone && len(at) == 1 && at[0].Node == n
	}
	if !alone {
		for _, v := range victims {
			q.leave(s, v)
		}
		q.claim(s, t)
		return
	}
	twice := s.Room().Overbooked(n)
	for _, v := range victims {
		freed := q.leaveOn(n, v, twice)
		left = left.minus(freed)
	}
	if q.claimed(s, t); left.cpu >= 0 && left.mem >= 0 && left.gpus >= 0 {
		q.changed(n)
	} else {
		q.touch(n)
	}
}

// leaveOn takes in that a task that runs on one node alone is stopping there, and returns what it frees by that besides what a claim has booked, of which are the devices
// that are booked twice.
func (q *ranks) leaveOn(n sched.NodeID, t sched.TaskID, twice sched.Devices) (all amount) {
	list := q.nodes[n]
	i := len(list) - 1
	for list[i].task != t { // it is one of the last
		i--
	}
	r := list[i]
	q.unlist(&r)
	all = r.freed()
	if r.leaving = true; r.devices != 0 {
		r.gpus = int32(bits.OnesCount64(uint64(r.devices &^ twice)))
	}
	for ; i+1 < len(list) && r.before(&list[i+1]); i++ {
		list[i] = list[i+1]
	}
	list[i] = r
	q.isLeft(n)
	return all
}

// claim takes in that a task claims room.
func (q *ranks) claim(s *sched.State, t sched.TaskID) {
	for _, n := range q.claimed(s, t) {
		q.rebook(s, n)
		q.touch(n)
	}
}

// claimed notes a claim and returns its nodes.
func (q *ranks) claimed(s *sched.State, t sched.TaskID) []sched.NodeID {
	on := q.claims.add(s, t)
	q.claims[len(q.claims)-1].round = q.round
	return on
}

// endClaim takes in that a task claims no room any more, which was given up, or starts. It reports whether it did.
func (q *ranks) endClaim(s *sched.State, t sched.TaskID, givenUp bool) bool {
	k := q.claims.find(t)
	if k < 0 {
		return false
	}
	// Who came before its victims had stopped could not stop it, and now may.
	givenUp = givenUp || q.round > q.claims[k].round
	for _, n := range q.claims.take(k) {
		// What runs on holds what it held: a claim takes devices of those who stop for it.
		if (givenUp || q.onLeft[n] > 0) && q.rebook(s, n) || givenUp {
			q.touch(n)
		} else {
			q.changed(n)
		}
	}
	return true
}

// rebook takes in that claims, or others by a profile, have booked or given back devices of a node, and reports whether tasks hold more for it.
func (q *ranks) rebook(s *sched.State, n sched.NodeID) (more bool) {
	twice := s.Room().Overbooked(n)
	for i := range q.nodes[n] {
		if r := &q.nodes[n][i]; r.devices != 0 {
			gpus := int32(bits.OnesCount64(uint64(r.devices &^ twice)))
			more = more || gpus > r.gpus
			r.gpus = gpus
		}
	}
	return more
}

// touch takes in that the room of a node has changed, or what runs there.
func (q *ranks) touch(n sched.NodeID) {
	q.changed(n)
	q.gains.add(n)
}

// changed takes in that who runs on a node has changed, or what is free there. The log is for the trees.
func (q *ranks) changed(n sched.NodeID) {
	q.changes++
	if q.leaves > 0 {
		q.log.add(n)
	}
}
