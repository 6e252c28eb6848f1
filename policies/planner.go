package policies

import (
	"slices"

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
