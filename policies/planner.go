package policies

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/timeline"
	"github.com/schedlab/schedlab/policies/sched"
)

// planner is what the list schedulers of DAGs share (HEFT, CPOP, PEFT, lookahead): a plan that says for every task where and when it is to run, made
// when its job arrives, into the time that the plans of earlier jobs and the running tasks leave free on each node (insertion), and carried
// out by the clock. A method says in which order the tasks of a job are placed, and where.
//
// A node is a free profile over time, so that tasks may ask for any CPU, RAM and GPUs. A share of a GPU is planned, and started, as a GPU of its
// own. A gang goes to one node, or to the lowest-numbered nodes that have room for all of it at the earliest time.
//
// The plan is a function of the State: all tasks that have not started, job by job in the order of arrival, around those that run as
// estimated. What is planned stays true while all goes as planned, because a start on time takes nothing from a task that was placed
// before it: the choice of a task is the best of all that was free, and stays the best when what was worse is taken. So a plan is only extended when
// jobs arrive, and made anew, for all tasks, when something happens otherwise: an end early or late, a failure, a lost node, a new estimate, an
// added edge, a start that was refused. While a task is late, or a quota is set, every decision plans anew. A task that cannot be
// planned (held, waiting for a backoff, refused by a quota, or for whom no node is up) has no place and holds nothing up but its successors.
type planner struct {
	m      method
	lines  []timeline.Line // by node
	plans  []plan          // by task
	groups []group         // by first task; those with open tasks, and some that are over
	kept   int             // groups when they were looked through last
	fresh  int             // groups at the end of the list that are not planned yet
	gangs  []sched.Placement

	valid   bool           // the plan holds as far as it goes
	exact   bool           // and will, if all goes as planned
	ready   heap.Heap      // planned tasks that are ready, by start; entries that the plan contradicts are void
	ended   []sched.TaskID // since the last decision
	waiting int            // tasks that are planned and have not started
	became  []sched.TaskID // tasks that have become ready and may wait for what is sent
	ending  heap.Heap      // running tasks by the end that the plan counts on; likewise
	costs   transfers

	// Scratch of one group, by task less the first.
	prio    []int64
	missing []int32
	queue   heap.Heap
	order   []sched.TaskID // the group's, each behind its predecessors
	shares  []deviceRun
	times   []sched.Time
	preds   []arrival
	on      []sched.Placement
}

// method is what tells the list schedulers apart.
type method interface {
	// rank fills p.prio with the priorities of the tasks of g, larger first. They follow from the tables alone, not from the plan.
	rank(p *planner, s *sched.State, g group)
	// pick returns the slot of a task of g whose predecessors have their places.
	pick(p *planner, s *sched.State, g group, t sched.TaskID) (slot, bool)
}

// group is the tasks of a job that were submitted together.
type group struct {
	first sched.TaskID
	n     int32
}

func (g group) end() sched.TaskID { return g.first + sched.TaskID(g.n) }

type planKind uint8

const (
	unplanned planKind = iota
	arrived            // of a group that is not planned yet
	planned
	started
)

// plan is the place of a task.
type plan struct {
	start, end sched.Time
	node       sched.NodeID // the first
	gang       int32        // index + 1 of the first placement in gangs; 0: all of it on the node
	parts      int32        // placements there
	kind       planKind
}

// late returns when a task that runs is known to be late, if it has not ended. One that takes no time is not in the instant of its start.
func (pl *plan) late() int64 { return int64(max(pl.end, pl.start+1)) }

// slot is a place that a task could have.
type slot struct {
	node       sched.NodeID
	start, end sched.Time
	parts      int // placements in planner.on, for a gang on several nodes
}

// deviceRun is a task that runs on a share of a GPU.
type deviceRun struct {
	node   sched.NodeID
	device sched.Devices
	end    sched.Time
}

// arrival is what a predecessor sends.
type arrival struct {
	end   sched.Time
	node  sched.NodeID
	bytes int64
}

// Observe keeps the groups, and notes what the plan did not foresee.
func (p *planner) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		p.arrive(s, e.Task, e.Task+sched.TaskID(e.N))
	case sched.TaskReady:
		switch pl := &p.plans[e.Task]; pl.kind {
		case planned:
			p.ready.Push(heap.Item{Key: int64(pl.start), Task: e.Task})
			if s.Table().EdgeBytes != nil {
				p.became = append(p.became, e.Task)
			}
		case arrived:
		default:
			p.valid = false
		}
	case sched.Finished:
		pl := &p.plans[e.Task]
		switch {
		case pl.kind != started || pl.end < s.Now():
			p.valid = false
		case pl.end > s.Now() && p.valid:
			// What waits may start earlier; a GPU that others share may not be free yet.
			if p.valid = p.waiting == 0 && !share(s.Demand(e.Task)) && !s.Room().Shared(pl.node); p.valid {
				p.book(s, e.Task, pl, s.Now(), -1)
			}
		}
		pl.kind = unplanned
		if p.waiting > 0 && s.Linked() {
			p.ended = append(p.ended, e.Task)
		}
	case sched.Started:
		p.valid = p.valid && p.plans[e.Task].kind == started
	case sched.Wake, sched.CheckpointDone, sched.DependencyUp, sched.DependencyDown:
	default:
		p.valid = false
		switch e.Kind {
		case sched.FailedAttempt, sched.Killed, sched.Stopped, sched.TaskBlocked, sched.TaskDropped:
			p.plans[e.Task].kind = unplanned
		}
	}
}

func (p *planner) arrive(s *sched.State, first, end sched.TaskID) {
	if n := len(s.Table().Tasks); len(p.plans) < n {
		p.plans = append(p.plans, make([]plan, n-len(p.plans))...)
	}
	tasks := s.Table().Tasks
	for t := first; t < end; {
		g := group{t, 1}
		for t++; t < end && tasks[t].Submit == tasks[t-1].Submit && tasks[t].Job == tasks[t-1].Job; t++ {
			g.n++
		}
		for i := g.first; i < g.end(); i++ {
			p.plans[i].kind = arrived
		}
		last := len(p.groups) - 1
		if last < 0 || p.groups[last].end() <= g.first && !(p.groups[last].end() == g.first && together(tasks, g.first)) {
			p.groups = append(p.groups, g)
			p.fresh++
			continue
		}
		// Out of order, or a later part of what was submitted together.
		p.valid = false
		at, _ := slices.BinarySearchFunc(p.groups, g, func(a, b group) int { return int(a.first) - int(b.first) })
		if at > 0 && p.groups[at-1].end() == g.first && together(tasks, g.first) {
			at--
			p.groups[at].n += g.n
		} else {
			p.groups = slices.Insert(p.groups, at, g)
		}
		if at+1 < len(p.groups) && p.groups[at].end() == p.groups[at+1].first && together(tasks, p.groups[at+1].first) {
			p.groups[at].n += p.groups[at+1].n
			p.groups = slices.Delete(p.groups, at+1, at+2)
		}
	}
}

// together reports whether t was submitted with the task before it, as a task of the same job.
func together(tasks []sched.Task, t sched.TaskID) bool {
	return tasks[t].Submit == tasks[t-1].Submit && tasks[t].Job == tasks[t-1].Job
}

// Decide brings the plan up to date and starts what it says.
func (p *planner) Decide(r *sched.Round) {
	for _, o := range r.Ordered() {
		p.valid = p.valid && o.Kind != sched.Stop // a fact has ordered it, and nobody is told of that
	}
	for _, t := range p.ended { // nobody is told that a task would be ready and is held
		for u := range r.Succs(t) {
			p.valid = p.valid && r.Phase(u) != sched.Held
		}
	}
	p.ended = p.ended[:0]
	now := r.Now()
	for len(p.ending) > 0 && p.ending[0].Key <= int64(now) {
		it := p.ending.Pop()
		if pl := &p.plans[it.Task]; pl.kind == started && pl.late() == it.Key {
			p.valid = false
		}
	}
	switch {
	case (!p.valid || !p.exact) && r.Open() == r.Running():
		// There is nothing to plan.
	case !p.valid || !p.exact:
		p.planAll(r)
	default:
		for _, g := range p.groups[len(p.groups)-p.fresh:] {
			p.planGroup(r, g)
		}
		if len(p.groups) > 2*p.kept+1024 {
			p.forgetGroups(r.State)
		}
	}
	p.fresh = 0
	for _, t := range p.became {
		if r.Phase(t) == sched.Ready && p.plans[t].kind == planned {
			p.staged(r, t)
		}
	}
	p.became = p.became[:0]
	p.carryOut(r)
}

// staged says so where a task that is ready waits for what is sent.
func (p *planner) staged(r *sched.Round, t sched.TaskID) {
	if pl := &p.plans[t]; pl.start > r.Now() && r.Table().EdgeBytes != nil && r.Sent(t, pl.node) == pl.start {
		r.Skip(t, sched.Staging)
	}
}

// carryOut starts what is due and asks to be woken for the next start.
func (p *planner) carryOut(r *sched.Round) {
	now := r.Now()
	for len(p.ready) > 0 {
		it := p.ready[0]
		pl := &p.plans[it.Task]
		if pl.kind != planned || int64(pl.start) != it.Key || r.Phase(it.Task) != sched.Ready {
			p.ready.Pop()
			continue
		}
		if pl.start > now {
			r.WakeAt(pl.start)
			return
		}
		p.ready.Pop()
		if !p.start(r, it.Task, pl) {
			p.valid = false
			if r.QuotaAllows(it.Task) {
				r.Skip(it.Task, sched.NoRoom)
			}
			continue
		}
		pl.kind = started
		p.waiting--
		if end := r.ExpectedEnd(it.Task); end != pl.end {
			p.valid = false
		}
		p.ending.Push(heap.Item{Key: pl.late(), Task: it.Task})
	}
}

// start starts a task in its place.
func (p *planner) start(r *sched.Round, t sched.TaskID, pl *plan) bool {
	d := r.Demand(t)
	if pl.gang == 0 && !share(d) {
		return r.StartOn(t, pl.node)
	}
	parts := p.on[:0]
	if pl.gang == 0 {
		parts = append(parts, sched.Placement{Node: pl.node, Replicas: d.Gang})
	} else {
		parts = append(parts, p.gangs[pl.gang-1:pl.gang-1+pl.parts]...)
	}
	if share(d) { // on GPUs of its own, the lowest that are free
		whole := len(parts)
		for _, q := range parts[:whole] {
			free, per := r.Room().WholeDevices(q.Node), perGPU(d, r.Room().Spec(q.Node))
			for i := range int64(q.Replicas) {
				if i > 0 && i%per == 0 {
					free &= free - 1
				}
				if free == 0 {
					return false
				}
				parts = append(parts, sched.Placement{Node: q.Node, Replicas: 1, GPUs: free & -free})
			}
		}
		parts = append(parts[:0], parts[whole:]...)
	}
	p.on = parts[:0]
	return r.Start(t, parts...)
}

// forgetGroups drops the groups that are over.
func (p *planner) forgetGroups(s *sched.State) {
	p.groups = slices.DeleteFunc(p.groups, func(g group) bool {
		for t := g.first; t < g.end(); t++ {
			if !s.Phase(t).Over() {
				return false
			}
		}
		return true
	})
	p.kept = len(p.groups)
}

// planAll makes the plan anew.
func (p *planner) planAll(r *sched.Round) {
	s := r.State
	p.valid, p.exact = true, !s.Quotas()
	p.forgetGroups(s)
	p.ready, p.ending, p.gangs, p.waiting = p.ready[:0], p.ending[:0], p.gangs[:0], 0
	p.costs.update(s)
	p.ledger(s)
	for _, g := range p.groups {
		for t := g.first; t < g.end(); t++ {
			if k := &p.plans[t].kind; *k != started {
				*k = arrived
			}
		}
	}
	for _, g := range p.groups {
		p.planGroup(r, g)
	}
}

// ledger makes the profiles of the nodes from what is free now and what running tasks will give back.
func (p *planner) ledger(s *sched.State) {
	room, now := s.Room(), s.Now()
	if n := room.Len(); len(p.lines) < n {
		p.lines = append(p.lines, make([]timeline.Line, n-len(p.lines))...)
	}
	for n := range p.lines {
		id := sched.NodeID(n)
		p.lines[n].Reset(now, timeline.Amount{CPU: room.FreeCPU(id), Mem: room.FreeMem(id), GPUs: int64(room.FreeGPUs(id))})
	}
	p.shares = p.shares[:0]
	for t := range s.RunningTasks() {
		d, end := s.Demand(t), s.ExpectedEnd(t)
		if s.StartedAt(t) < now && s.EstimatedEnd(t) <= now {
			p.exact = false
		}
		end = max(end, now+1) // what takes no time holds its room until its end is told
		for _, on := range s.Placements(t) {
			need := booked(d, room.Spec(on.Node), on.Replicas)
			if share(d) {
				need.GPUs = 0
				p.shares = append(p.shares, deviceRun{on.Node, on.GPUs, end})
			} else if room.Shared(on.Node) { // what others hold too stays theirs
				need.GPUs -= int64(bits.OnesCount64(uint64(on.GPUs & bookedTwice(room, on.Node))))
			}
			// It is free for ever, less what is taken until then.
			p.lines[on.Node].Give(end, sched.Never, need)
		}
		pl := &p.plans[t]
		*pl = plan{start: s.StartedAt(t), end: end, node: s.Placements(t)[0].Node, kind: started}
		if len(s.Placements(t)) > 1 {
			pl.gang = int32(len(p.gangs)) + 1
			p.gangs = append(p.gangs, s.Placements(t)...)
			pl.parts = int32(len(p.gangs)) + 1 - pl.gang
		}
		if s.Phase(t) == sched.Stopping {
			pl.kind, p.exact = unplanned, false
			continue
		}
		p.ending.Push(heap.Item{Key: pl.late(), Task: t})
	}
	// A shared GPU is free when the last on it is over.
	slices.SortFunc(p.shares, func(a, b deviceRun) int {
		switch {
		case a.node != b.node:
			return int(a.node) - int(b.node)
		case a.device != b.device:
			if a.device < b.device {
				return -1
			}
			return 1
		case a.end > b.end:
			return -1
		case a.end < b.end:
			return 1
		}
		return 0
	})
	for i, d := range p.shares {
		if i == 0 || p.shares[i-1].node != d.node || p.shares[i-1].device != d.device {
			p.lines[d.node].Give(d.end, sched.Never, timeline.Amount{GPUs: 1})
		}
	}
}

// booked returns what so many replicas of a gang take of a node. Shares of a GPU take whole GPUs: the gang shares them with nobody else.
func booked(d *sched.Demand, n *sched.NodeSpec, replicas int32) timeline.Amount {
	k, gpus := int64(replicas), int64(replicas)*int64(d.Need.GPUs)
	if per := perGPU(d, n); per > 1 {
		gpus = (k + per - 1) / per
	}
	return timeline.Amount{CPU: k * d.Need.CPU, Mem: k * d.Need.Mem, GPUs: gpus}
}

// perGPU returns how many replicas fit on a GPU of the node: 1 where they ask for whole ones, or none.
func perGPU(d *sched.Demand, n *sched.NodeSpec) int64 {
	if !share(d) {
		return 1
	}
	per := int64(sched.Whole / d.Need.GPUMilli)
	if d.Need.VRAM > 0 {
		per = min(per, n.VRAM/d.Need.VRAM)
	}
	return max(per, 1)
}

func share(d *sched.Demand) bool { return d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole }

// planGroup places the tasks of a group that have not started.
func (p *planner) planGroup(r *sched.Round, g group) {
	s := r.State
	if g.n == 1 {
		p.place(r, g, g.first)
		return
	}
	open := 0
	for t := g.first; t < g.end(); t++ {
		if p.plans[t].kind == arrived && !s.Phase(t).Over() {
			open++
		}
	}
	if open == 0 {
		return
	}
	p.prio = slices.Grow(p.prio[:0], int(g.n))[:g.n]
	p.sort(s, g)
	p.m.rank(p, s, g)
	p.byPriority(s, g)
	for _, t := range p.order {
		p.place(r, g, t)
	}
}

// sort fills p.order with the tasks of the group, each behind its predecessors, by TaskID where that allows it.
func (p *planner) sort(s *sched.State, g group) {
	clear(p.prio)
	p.byPriority(s, g)
}

// byPriority fills p.order with the tasks of the group: of those whose predecessors stand in it already, that of the largest priority first,
// ties to the lower TaskID. Tasks that have started are among them, so that the order does not change as they do.
func (p *planner) byPriority(s *sched.State, g group) {
	p.missing = slices.Grow(p.missing[:0], int(g.n))[:g.n]
	p.order, p.queue = p.order[:0], p.queue[:0]
	for t := g.first; t < g.end(); t++ {
		n := int32(0)
		given, added := s.PredLists(t)
		for _, q := range given {
			if q >= g.first && q < g.end() {
				n++
			}
		}
		for _, q := range added {
			if q >= g.first && q < g.end() {
				n++
			}
		}
		if p.missing[t-g.first] = n; n == 0 {
			p.queue.Push(heap.Item{Key: -p.prio[t-g.first], Task: t})
		}
	}
	for len(p.queue) > 0 {
		t := p.queue.Pop().Task
		p.order = append(p.order, t)
		given, added := s.SuccLists(t)
		for _, list := range [2][]sched.TaskID{given, added} {
			for _, u := range list {
				if u < g.first || u >= g.end() {
					continue
				}
				if i := u - g.first; p.missing[i] == 1 {
					p.missing[i] = 0
					p.queue.Push(heap.Item{Key: -p.prio[i], Task: u})
				} else {
					p.missing[i]--
				}
			}
		}
	}
}

// place gives a task its place, if it can have one.
func (p *planner) place(r *sched.Round, g group, t sched.TaskID) {
	s, pl := r.State, &p.plans[t]
	if pl.kind != arrived {
		return
	}
	pl.kind = unplanned
	ready := s.Phase(t) == sched.Ready
	if !ready && s.Phase(t) != sched.Blocked || ready && s.Quotas() && !s.QuotaAllows(t) || !p.gather(s, g, t) {
		return
	}
	sl, ok := p.m.pick(p, s, g, t)
	if !ok {
		if ready {
			r.Skip(t, sched.NoRoom)
		}
		return
	}
	*pl = plan{start: sl.start, end: sl.end, node: sl.node, kind: planned}
	if sl.parts > 0 {
		pl.gang, pl.parts = int32(len(p.gangs))+1, int32(sl.parts)
		p.gangs = append(p.gangs, p.on[:sl.parts]...)
	}
	p.waiting++
	p.book(s, t, pl, pl.start, 1)
	if ready {
		p.ready.Push(heap.Item{Key: int64(pl.start), Task: t})
		p.staged(r, t)
	}
}

// book takes the room of a place from that time on, times 1, or gives it back, times -1.
func (p *planner) book(s *sched.State, t sched.TaskID, pl *plan, from sched.Time, times int64) {
	d := s.Demand(t)
	if pl.gang == 0 {
		p.lines[pl.node].Take(from, pl.end, timeline.Amount{}.Plus(times, booked(d, s.Room().Spec(pl.node), d.Gang)))
		return
	}
	for _, on := range p.gangs[pl.gang-1 : pl.gang-1+pl.parts] {
		p.lines[on.Node].Take(from, pl.end, timeline.Amount{}.Plus(times, booked(d, s.Room().Spec(on.Node), on.Replicas)))
	}
}

// gather fills p.preds with the ends and nodes of the predecessors of t; false where one has neither.
func (p *planner) gather(s *sched.State, g group, t sched.TaskID) bool {
	p.preds = p.preds[:0]
	for q := range s.Preds(t) {
		a := arrival{bytes: s.Table().Sends(q, t)}
		switch s.Phase(q) {
		case sched.Done:
			if a.bytes == 0 {
				continue // it is past
			}
			o := s.Outcome(q)
			a.end, a.node = o.End, o.Node
		default:
			pl := &p.plans[q]
			if pl.kind != planned && pl.kind != started {
				// What a job waits for that is planned after it may start, and end, as planned: nothing will say that this can be planned then.
				p.exact = p.exact && q >= g.first && q < g.end()
				return false
			}
			a.end, a.node = pl.end, pl.node
		}
		p.preds = append(p.preds, a)
	}
	return true
}

// after returns when the predecessors in p.preds are all over, not before now.
func (p *planner) after(s *sched.State) sched.Time {
	at := s.Now()
	for _, a := range p.preds {
		at = max(at, a.end)
	}
	return at
}

// sent returns when what they send is on a node; see State.Sent.
func (p *planner) sent(s *sched.State, n sched.NodeID) sched.Time {
	at := s.Now()
	for _, a := range p.preds {
		end := a.end
		if a.bytes > 0 && a.node != n && a.node != sched.NoNode {
			end = end.Add(sched.Transfer(a.bytes, s.Room().Spec(a.node), s.Room().Spec(n)))
		}
		at = max(at, end)
	}
	return at
}

// work is how long a task takes on a node, less the work that it has kept of earlier attempts.
type work struct{ whole, left time.Duration }

func workOf(s *sched.State, t sched.TaskID) work { return work{s.Estimate(t), s.Remaining(t)} }

func (w work) on(s *sched.State, t sched.TaskID, n sched.NodeID) time.Duration {
	d := s.EstimateOn(t, n)
	if w.left < w.whole {
		d = sched.MulDiv(d, int64(w.left), int64(w.whole), true)
	}
	return max(d, 1) // so that what takes no time has a place too
}

// allowed reports whether the node is up and of the right kind for the task.
func allowed(s *sched.State, d sched.DemandID, n sched.NodeID) bool {
	room := s.Room()
	if !room.Up(n) || !room.Allowed(d, n) {
		return false
	}
	need := &s.Table().Demands[d].Need
	return need.GPUs == 0 || need.GPUMilli == sched.Whole || room.Spec(n).GPUs <= sched.MaxDevices
}

// slotOn returns the earliest slot of a task on a node, all of its gang together.
func (p *planner) slotOn(s *sched.State, t sched.TaskID, n sched.NodeID) (slot, bool) {
	d := s.Demand(t)
	if !allowed(s, s.DemandID(t), n) {
		return slot{}, false
	}
	dur := workOf(s, t).on(s, t, n)
	p.lines[n].Forget(s.Now())
	at, ok := p.lines[n].Earliest(p.sent(s, n), dur, booked(d, s.Room().Spec(n), d.Gang))
	return slot{node: n, start: at, end: at.Add(dur)}, ok
}

// finishFirst returns the slot of a task that ends first, plus bias(node) if there is one; of equals that on the lowest-numbered node.
func (p *planner) finishFirst(s *sched.State, t sched.TaskID, bias func(n sched.NodeID) int64) (slot, bool) {
	d, id := s.Demand(t), s.DemandID(t)
	w, after, now := workOf(s, t), p.after(s), s.Now()
	sends := s.Table().EdgeBytes != nil
	var best slot
	found, least := false, int64(math.MaxInt64)
	for n := range sched.NodeID(s.Room().Len()) {
		if !allowed(s, id, n) {
			continue
		}
		dur, more := w.on(s, t, n), int64(0)
		if bias != nil {
			more = bias(n)
		}
		if found && int64(after.Add(dur))+more >= least {
			continue // not even at once
		}
		from := after
		if sends {
			from = p.sent(s, n)
		}
		l := &p.lines[n]
		l.Forget(now)
		at, ok := l.Earliest(from, dur, booked(d, s.Room().Spec(n), d.Gang))
		if !ok {
			continue
		}
		if score := int64(at.Add(dur)) + more; !found || score < least {
			found, least = true, score
			best = slot{node: n, start: at, end: at.Add(dur)}
		}
	}
	if d.Gang > 1 {
		if sl, ok := p.spread(s, t); ok && (!found || int64(sl.end) < least) {
			return sl, true
		}
	}
	return best, found
}

// spread returns the earliest slot of a gang on several nodes, the lowest-numbered that have room, and leaves the placements in p.on. It reserves
// room for as long as the slowest of all nodes of the right kind would take, and has its data wherever it may go.
func (p *planner) spread(s *sched.State, t sched.TaskID) (slot, bool) {
	d, id := s.Demand(t), s.DemandID(t)
	w := workOf(s, t)
	ready, most, up := s.Now(), time.Duration(0), 0
	for n := range sched.NodeID(s.Room().Len()) {
		if allowed(s, id, n) {
			ready, most = max(ready, p.sent(s, n)), max(most, w.on(s, t, n))
			up++
		}
	}
	if up < 2 {
		return slot{}, false
	}
	p.times = append(p.times[:0], ready)
	for n := range sched.NodeID(s.Room().Len()) {
		if allowed(s, id, n) {
			p.lines[n].Forget(s.Now())
			p.times = p.lines[n].Changes(ready, p.times)
		}
	}
	slices.Sort(p.times)
	for i, at := range p.times {
		if i > 0 && at == p.times[i-1] {
			continue
		}
		p.on = p.on[:0]
		left, slowest := int64(d.Gang), time.Duration(0)
		for n := sched.NodeID(0); left > 0 && int(n) < s.Room().Len(); n++ {
			if !allowed(s, id, n) {
				continue
			}
			if k := p.replicas(s, d, n, at, most, left); k > 0 {
				p.on = append(p.on, sched.Placement{Node: n, Replicas: int32(k)})
				left, slowest = left-k, max(slowest, w.on(s, t, n))
			}
		}
		if left == 0 {
			return slot{node: p.on[0].Node, start: at, end: at.Add(slowest), parts: len(p.on)}, true
		}
	}
	return slot{}, false
}

// replicas returns how many of a gang's replicas, at most limit, a node has room for from that time on for so long.
func (p *planner) replicas(s *sched.State, d *sched.Demand, n sched.NodeID, at sched.Time, dur time.Duration, limit int64) int64 {
	k := p.lines[n].Times(at, dur, timeline.Amount{CPU: d.Need.CPU, Mem: d.Need.Mem}, limit)
	if d.Need.GPUs == 0 || k == 0 {
		return k
	}
	per := perGPU(d, s.Room().Spec(n))
	return min(k, per*p.lines[n].Times(at, dur, timeline.Amount{GPUs: int64(d.Need.GPUs)}, limit))
}

// transfers says how long it takes on average to send between two nodes that are up.
type transfers struct {
	latency, perByte float64 // ns
	sorted           []float64
}

// update takes the means over all pairs of different nodes.
func (c *transfers) update(s *sched.State) {
	c.latency, c.perByte = 0, 0
	if s.Table().EdgeBytes == nil {
		return
	}
	room := s.Room()
	mean := func(of func(*sched.NodeSpec) float64) float64 {
		c.sorted = c.sorted[:0]
		for n := range sched.NodeID(room.Len()) {
			if room.Up(n) {
				c.sorted = append(c.sorted, of(room.Spec(n)))
			}
		}
		slices.Sort(c.sorted)
		sum, n := 0.0, float64(len(c.sorted))
		for i, v := range c.sorted {
			sum += v * float64(i) // the larger of as many pairs
		}
		if n < 2 {
			return 0
		}
		return sum / (n * (n - 1) / 2)
	}
	c.latency = mean(func(n *sched.NodeSpec) float64 { return float64(n.NetworkLatency) })
	c.perByte = mean(func(n *sched.NodeSpec) float64 {
		if n.NetworkMbps > 0 {
			return 8000 / n.NetworkMbps
		}
		return 0
	})
}

// mean returns the mean time to send so many bytes, rounded to ns.
func (c *transfers) mean(bytes int64) int64 {
	if bytes <= 0 {
		return 0
	}
	return int64(min(math.Round(c.latency+c.perByte*float64(bytes)), 1<<60))
}

// meanCost returns the mean run time of a task on the nodes that may run it, or its estimate if none may.
func (p *planner) meanCost(s *sched.State, t sched.TaskID) int64 {
	sum, n := 0.0, 0
	for node := range sched.NodeID(s.Room().Len()) {
		if allowed(s, s.DemandID(t), node) {
			sum += float64(s.EstimateOn(t, node))
			n++
		}
	}
	if n == 0 {
		return int64(s.Estimate(t))
	}
	return int64(min(math.Round(sum/float64(n)), 1<<60))
}

// upward fills rank with the upward ranks of the tasks of g (Topcuoglu et al. 2002, eq. 8), of their mean costs in cost, in ns.
func (p *planner) upward(s *sched.State, g group, cost, rank []int64) {
	for i := len(p.order) - 1; i >= 0; i-- {
		t := p.order[i]
		most := int64(0)
		for u := range s.Succs(t) {
			if u >= g.first && u < g.end() {
				most = max(most, p.costs.mean(s.Table().Sends(t, u))+rank[u-g.first])
			}
		}
		rank[t-g.first] = min(most+cost[t-g.first], 1<<61)
	}
}
