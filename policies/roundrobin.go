package policies

import (
	"cmp"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// RoundRobin is round-robin with time slices: one line in the order of readiness (a task whose slice has ended goes to its end), whose
// head blocks, so that each waits at most a slice for its turn. A running task may be stopped once it has worked for the quantum, from
// when its data are there, and no sooner than those that started before it. It is only if that makes room for the head of the line: as few as it
// takes in the order of their start, less those without whom the head fits as well.
//
// Tasks run in the order of their start, so those past their slice are a prefix of that order. They are kept by node, and for each demand of one replica a
// tree over the nodes knows with which of them there is room first; gangs are only searched for where what all that may be stopped hold is enough.
//
// Where we differ: Kleinrock (JACM 1967) has one processor, and a slice always ends; here it ends only where that makes room for the head. Feitelson & Rudolph
// switch all gangs of a row of the machine together; here each gang has slices of its own.
type RoundRobin struct {
	Quantum time.Duration // must be positive
	Place   Place         // nil: first fit

	line    turnLine
	aside   []heap.Item // a quota refused them in this decision
	running stints
	stop    stopping
	full    []int        // by demand: the last decision that found no room for it. What is started and claimed since leaves no more
	round   int          // decisions
	stuck   sched.TaskID // the head that found no room, after these gains of it and by this end of the prefix
	gains   int
	open    int32
	near    bool // tasks of one replica are placed by first fit, and nobody shares GPUs
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
		p.running.arrive(s, &e)
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
		p.running.gains++ // a quota may have been raised
	}
}

// Decide starts tasks in the order of the line as long as there is room, or can be made.
func (p *RoundRobin) Decide(r *sched.Round) {
	p.round++
	p.near = p.Place == nil && p.stop.near.sees(r.State)
	for len(p.line.items) > p.line.head {
		it := p.line.items[p.line.head]
		t := it.Task
		if !p.try(r, t) {
			r.Skip(t, sched.NoRoom)
			if at, ok := p.running.nextSlice(r.State, p.Quantum); ok {
				r.WakeAt(at)
			}
			break
		}
		p.line.pop()
		if next := p.line.head + 3; next < len(p.line.items) {
			r.Soon(p.line.items[next].Task)
		}
		if r.Phase(t) == sched.Ready { // a quota refused it: the line moves on without it
			p.aside = append(p.aside, it)
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
	again := t == p.stuck && p.gains == p.running.gains
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
	case p.running.ripe == 0:
	case p.plain:
		done = p.byPlan(r, t)
	case p.near && p.running.alone[d]:
		done = p.byNode(r, t)
	case p.running.couldHold(r.State, d):
		done = p.byPlan(r, t)
	}
	if done && r.Phase(t) == sched.Claiming {
		p.running.claim(r.State, t)
	}
	p.stuck = sched.Nobody
	if !done {
		p.stuck, p.gains, p.open = t, p.running.gains, p.running.open
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
	if last := &q.runs[at]; q.runs[last.prev].task != last.task && q.runs[last.next].task != last.task {
		node := last.node
		g := gapOn(r.State, d, node)
		for i := at; i != 0; i = q.runs[i].earlier {
			g.less(q.runs[i].freed())
		}
		x.ids = x.ids[:0]
		for i := at; i != 0; i = q.runs[i].earlier {
			if r.Phase(q.runs[i].task) == sched.Stopping {
				continue
			}
			spared := g
			if spared.more(q.runs[i].freed()); spared.closed() {
				g = spared
			} else {
				x.ids = append(x.ids, q.runs[i].task)
			}
		}
		x.buf = append(x.buf[:0], sched.Placement{Node: node, Replicas: 1}) // the kernel chooses the devices
	} else {
		p.byNodes(r, t, at, r.Placements(last.task))
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
		place = lowestFit
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
	items []heap.Item // the key is since when it has been ready
	head  int
}

func (l *turnLine) insert(s *sched.State, t sched.TaskID) {
	if l.head > 1024 && l.head > len(l.items)/2 {
		l.items = l.items[:copy(l.items, l.items[l.head:])]
		l.head = 0
	}
	it := heap.Item{Key: int64(s.ReadySince(t)), Task: t}
	// Slices that began together end together: among many of the same instant its place is not at the end.
	from, to := l.head, len(l.items)
	for step := 1; from < to; step *= 2 {
		m := max(to-step, from)
		if !it.Before(l.items[m]) {
			from = m + 1
			break
		}
		to = m
	}
	for from < to {
		if m := int(uint(from+to) / 2); it.Before(l.items[m]) {
			to = m
		} else {
			from = m + 1
		}
	}
	l.items = append(l.items, it)
	if behind := l.items[from:]; len(behind) > 1 {
		copy(behind[1:], behind)
		behind[0] = it
	}
}

func (l *turnLine) pop() {
	if l.head++; l.head == len(l.items) {
		l.items, l.head = l.items[:0], 0
	}
}

// unpop puts what was popped since the last insert back to the front.
func (l *turnLine) unpop(items []heap.Item) {
	if l.head < len(items) { // the line ran empty
		l.items = append(l.items[:0], items...)
		return
	}
	l.head -= len(items)
	copy(l.items[l.head:], items)
}

// remove takes a task out wherever it stands; linear time, for the rare cases.
func (l *turnLine) remove(t sched.TaskID) {
	if i := slices.IndexFunc(l.items[l.head:], func(it heap.Item) bool { return it.Task == t }); i >= 0 {
		l.items = slices.Delete(l.items, l.head+i, l.head+i+1)
	}
}

var rrEntry = Entry{
	Name: "rr", Summary: "Round-robin: time slices in turn, preemptive.", Placed: true,
	About: "One line in the order of readiness; a task whose slice has ended may be stopped, and is only if that makes room for the head of the line, " +
		"which blocks. Each waits at most a slice for its turn once it is the head, so nothing starves.",
	Source: "Time-sharing as in Kleinrock 1967; gang time slices as in Feitelson & Rudolph, JPDC 1992.",
	Params: []Param{{Name: "quantum", Default: auto, About: "length of a slice; auto is a tenth of the mean estimate on top of what a start after a preemption costs"}},
	New: func(a Args) (sched.Policy, error) {
		q := a.Duration("quantum")
		if q <= 0 {
			q = a.Hints.slice(10)
		}
		return &RoundRobin{Quantum: q, Place: a.Place}, nil
	},
}
