package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// Preemptive is list scheduling in the order of a key in which a task may stop running tasks that come after it, ties to the lower TaskID:
// the last of them first, as many as it takes, less those without whom it fits as well. It gives the orders of a List whose Evict compares the
// keys, and does not look at all running tasks for it: those of every node are kept in the order in which they would be stopped, and, for each
// demand that found no room, a tree over the nodes knows which of them the search would reach first.
type Preemptive struct {
	Key   Key   // must be set
	Falls bool  // the key is ShortestRemaining: it falls as a task runs, all at one speed
	Sinks bool  // the key falls as a task runs, at speeds that differ. Without Falls and Sinks it must not change, but with an Updated estimate
	Mild  bool  // a task stops none of the same key
	Place Place // nil: first fit
	Skip  bool  // pass over what does not fit
	Loss  Loss  // if not nil: what a stop costs counts, see Loss

	laxity int64                                                             // of NewLLF: running tasks may be stopped whose laxities are larger by so much, ns; 0: keys decide
	grows  bool                                                              // the keys of waiting tasks fall against the ranks of running ones as time goes by
	began  func(s *sched.State, t sched.TaskID, key int64, until sched.Time) // if not nil: told of every task that has started; these are of ranked
	claims func(t sched.TaskID)                                              // if not nil: told of every task that now claims room

	line    heap.Heap   // strict
	lines   lines.Lines // Skip
	fresh   []sched.TaskID
	aside   []heap.Item
	passed  []sched.DemandID // asked again at every decision: shut by one behind tasks that a quota refused, or by one that needs what is being left
	near    bool             // tasks of one replica are placed by first fit, and nobody shares GPUs
	quotas  bool
	stirred bool // something happened that may have made room
	sure    bool // of all lines that are shut it is known that there was no room for them when gains was read last
	looked  int  // up to where the log of touched nodes was read for lines to reopen
	stop    stopping
	running ranks
	denials []denial         // by demand
	asked   []sched.DemandID // by ask: lines that may be opened
	evict   Evictable        // of search
}

// IgnoresArrivals says that a Preemptive does not need to be told of arrivals, unless it is embedded in a policy that may.
func (p *Preemptive) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

// Observe keeps the lines and the running tasks.
func (p *Preemptive) Observe(s *sched.State, e sched.Event) { p.observe(s, &e) }

func (p *Preemptive) observe(s *sched.State, e *sched.Event) {
	p.keepRunning(s, e)
	switch e.Kind {
	case sched.TaskReady:
		p.push(s, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		// Tasks that were started have left their line already; if one is blocked, its claim was undone and room came free.
		if !p.remove(s, e.Task) && e.Kind == sched.TaskBlocked {
			p.stirred = true
		}
	case sched.Updated:
		if p.remove(s, e.Task) {
			p.push(s, e.Task)
		}
		p.forget()
	case sched.CheckpointDone:
		p.stirred = p.stirred || p.Loss != nil // it costs less now to stop it
	case sched.JobArrived, sched.Started:
	default:
		p.stirred = true
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
	if by, shut := p.lines.ShutBy(d); shut && p.earlier(it, by) {
		if p.denied(d, it) { // as who was stopped mostly is
			p.lines.ShutFor(d, it)
		} else {
			p.lines.Unshut(d) // it may stop tasks that the others of its demand may not
		}
	}
	p.fresh = append(p.fresh, t)
}

// rekey takes in that keys have changed.
func (p *Preemptive) rekey(s *sched.State) {
	key := func(t sched.TaskID) int64 { return p.Key(s, t) }
	if p.Skip {
		p.lines.Rekey(key)
		p.forget()
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
	if !p.Skip {
		return p.line.Remove(t)
	}
	d := s.DemandID(t)
	was := p.lines.Remove(d, t)
	p.sure = p.sure && !was // its line may be empty
	if was && p.laxity > 0 && p.lines.IsShut(d) {
		p.lines.Unshut(d) // it may have been late, and stop nobody: those behind it may
	}
	return was
}

// Decide starts tasks in the order of their keys as long as there is room, or can be made.
func (p *Preemptive) Decide(r *sched.Round) {
	if len(r.Ordered()) > 0 {
		p.ordered(r)
	}
	p.look(r.State)
	p.decide(r)
}

func (p *Preemptive) decide(r *sched.Round) {
	p.running.round++
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
		if !p.try(r, p.line[0]) {
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
	if len(p.passed) > 0 {
		for _, d := range p.passed {
			p.lines.Unshut(d)
		}
		p.passed = p.passed[:0]
	}
	if p.looked != p.running.gains.end() || p.stirred && !p.settled() {
		if n := p.ask(r.State); n != sched.NoNode {
			p.startOn(r, n)
		}
		for _, d := range p.asked {
			p.lines.Unshut(d)
		}
	}
	for len(p.lines.Open()) > 0 {
		d, first, _ := p.lines.Next()
		t := first.Task
		if p.denied(d, first) || !p.try(r, first) {
			r.Skip(t, sched.NoRoom)
			p.sure = p.sure && p.denied(d, first)
			if p.lines.Shut(d); p.stop.awaits {
				p.stop.awaits, p.passed = false, append(p.passed, d)
			}
			continue
		}
		it := p.lines.Pop(d)
		if r.Phase(t) == sched.Ready {
			p.aside = append(p.aside, it)
		}
	}
	if len(p.aside) > 0 {
		for _, it := range p.aside {
			d := r.DemandID(it.Task)
			p.lines.Push(d, it)
			if p.lines.IsShut(d) {
				p.passed = append(p.passed, d)
			}
		}
		p.aside = p.aside[:0]
	}
	p.fresh = tellFresh(r, p.fresh, &p.lines)
}

// try starts a task, which it is given with its key, or claims room for it. It reports false where there is no room; true, with the task still ready, where
// there was room and the kernel refused the start.
func (p *Preemptive) try(r *sched.Round, it heap.Item) bool {
	t := it.Task
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
	for len(p.denials) <= int(d) {
		p.denials = append(p.denials, denial{})
		p.running.hard = append(p.running.hard, 0)
		p.running.rightFrom(r.State, sched.DemandID(len(p.denials)-1))
	}
	if !p.byNodeServes(d) || !p.orders(it.Key) {
		if r.StartFirst(t) {
			p.tried(r, t)
			return true
		}
		return p.search(r, t, lowestFit)
	}
	c, known := p.amongGained(r.State, d, it)
	if !known && p.fitsNowhere(r.State, d) {
		c, known = p.running.closest(r.State, p, d, it), true
	}
	if (!known || c.how == fits) && r.StartFirst(t) {
		p.tried(r, t)
		return true
	}
	if !known {
		c = p.running.closest(r.State, p, d, it)
	}
	if c.how == noRoom || c.how == atStop && !p.mayStop(r.State, c.rank, c.task, it) {
		p.deny(d, it)
		return false
	}
	done := p.byNode(r, t, c)
	p.tried(r, t)
	return done
}

// byNodeServes reports whether the tree can tell whom to stop for tasks of a demand.
func (p *Preemptive) byNodeServes(d sched.DemandID) bool {
	return p.near && p.running.wants[d].alone && p.running.serves(d)
}

// orders reports whether the ranks order running tasks as the search does, for a task of that key: where they fall, ties with what is past its
// estimate decide, which the order of ends does not show.
func (p *Preemptive) orders(key int64) bool { return !p.Falls && !p.Sinks || key > 0 }

// search looks at all running tasks.
func (p *Preemptive) search(r *sched.Round, t sched.TaskID, place Place) bool {
	switch {
	case p.evict != nil:
	case p.Loss != nil:
		p.evict = worthwhile(p.Key, p.Loss)
	case p.laxity > 0:
		p.evict = func(s *sched.State, running, t sched.TaskID) (int64, bool) {
			rank := laxityRunning(s, running)
			return rank, p.mayYield(s, rank, p.Key(s, t))
		}
	case p.running.quanta != nil:
		p.evict = p.running.quanta.latest
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
		p.running.leaveFor(r.State, t, p.stop.ids)
		if p.claims != nil {
			p.claims(t)
		}
	}
}

// byNode stops tasks for one that fits on one node as a whole, under first fit: those on the node where the fewest of the order in which
// they are stopped make room. Tasks on other nodes that stopped as well would be spared.
func (p *Preemptive) byNode(r *sched.Round, t sched.TaskID, c closing) bool {
	q, x, d := &p.running, &p.stop, r.DemandID(t)
	if c.how != atStop {
		return false // there is room, but a quota forbids it, or there will be
	}
	if on := r.Placements(c.task); len(on) > 1 {
		q.gather(r, x, d, c.task)
	} else {
		node := on[0].Node
		q.sink(r.State, node)
		list := q.nodes[node]
		list = list[slices.IndexFunc(list, func(r ranked) bool { return r.task == c.task }):]
		g := gapOn(r.State, d, node)
		for i := range list {
			g.less(list[i].freed())
		}
		x.spareOn(list, g)
		x.buf = append(x.buf[:0], sched.Placement{Node: node, Replicas: 1}) // the kernel chooses the devices
	}
	if len(x.ids) == 0 {
		return false
	}
	if r.Claim(t, x.buf, x.ids...) {
		p.learn(r.State, d, c)
		return true
	}
	x.awaits = len(q.left) > 0 // else a quota refused it
	return !x.awaits
}
