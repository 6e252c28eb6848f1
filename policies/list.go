package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// Key orders ready tasks: smallest first, ties to the lower TaskID. It is asked when a task becomes ready and when its estimate is updated,
// so it must not change otherwise while the task waits.
type Key func(*sched.State, sched.TaskID) int64

// Place looks for room for the whole gang in room (the real one, or a plan) and appends the placements to buf. Whether there is room must depend on
// the task's demand only: where it fails for one task of a demand, the others of that demand are not tried. Which room it finds may depend on the
// task. It is made for one policy, and keeps nothing that does not follow from its arguments.
type Place func(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool)

// Evictable says whether a running task may be stopped so that t can start, and in which order: the largest rank is stopped first.
type Evictable func(s *sched.State, running, t sched.TaskID) (rank int64, ok bool)

// List is list scheduling: ready tasks in the order of a key, each placed as soon as it is its turn and there is room. The zero value is
// strict FIFO by the time of readiness: the head of the line blocks, first fit. Most policies are a List with a Key.
type List struct {
	Key   Key       // nil: time of first readiness
	Place Place     // nil: first fit
	Skip  bool      // pass over what does not fit
	Lossy bool      // reject what does not fit, which is then over: nothing waits for room
	Evict Evictable // looks at all running tasks: RoundRobin and Preemptive are faster

	alone  bool        // nobody takes room before it decides, as a policy around it may: so it is known of those of the catalogue
	line   heap.Queue  // strict
	stuck  bool        // no room for its head, and nothing has happened since that could make any
	lacks  sched.Need  // while it is stuck: lines.LeastFree of the head
	lines  lines.Lines // Skip
	vacant vacancy
	fresh  []sched.TaskID
	aside  []heap.Item
	buf    []sched.Placement
	stop   stopping

	gangs ganged
}

// ReadyTime is the key of FIFO: the time of first readiness, so that a task which failed or was preempted keeps its turn.
func ReadyTime(s *sched.State, t sched.TaskID) int64 { return int64(s.FirstReady(t)) }

// IgnoresArrivals says that a List does not need to be told of arrivals, unless it is embedded in a policy that may.
func (l *List) IgnoresArrivals(p sched.Policy) bool { return p == sched.Policy(l) }

// Observe keeps the lines.
func (l *List) Observe(s *sched.State, e sched.Event) { l.observe(s, &e) }

// observe is Observe for policies that hand their facts on: a copy would wait for what the kernel has just written.
func (l *List) observe(s *sched.State, e *sched.Event) {
	switch e.Kind {
	case sched.TaskReady:
		l.push(s, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		l.stuck = false
		// Tasks that were started have left their line already; if one is blocked, its claim was undone and room came free.
		if !l.remove(s, e.Task) && e.Kind == sched.TaskBlocked {
			l.lines.Reopen()
		}
	case sched.Updated:
		if l.remove(s, e.Task) {
			l.push(s, e.Task)
		}
		l.reopen()
	case sched.JobArrived, sched.Started, sched.CheckpointDone:
	case sched.Finished:
		l.freed(s, e.Task)
	default:
		l.reopen()
	}
}

// freed takes in that a task has ended: what was on one node has made room there only.
func (l *List) freed(s *sched.State, t sched.TaskID) {
	switch {
	case l.Place != nil || l.Evict != nil || l.gangs.any(s):
		l.reopen()
	case l.Skip:
		if l.vacant.is {
			l.openVacant(s)
		}
		if !l.alone {
			l.lines.ReopenOn(s, s.LastNode(t))
			return
		}
		l.vacant.is, l.vacant.on, l.vacant.of = true, s.LastNode(t), s.DemandID(t)
	case l.stuck:
		room, n := s.Room(), s.LastNode(t)
		l.stuck = room.FreeGPUs(n) < l.lacks.GPUs || room.FreeCPU(n) < l.lacks.CPU
	}
}

// vacancy is the room that a task of a demand has left on a node, if it is any.
type vacancy struct {
	is bool
	on sched.NodeID
	of sched.DemandID
}

// openVacant opens the lines for whose tasks there may be room in the vacancy, which there is.
func (l *List) openVacant(s *sched.State) {
	l.vacant.is = false
	l.lines.ReopenOn(s, l.vacant.on)
}

// handOver starts the first of those who wait in the vacancy, where all ask for what the task did that left it: there is no room elsewhere, and then none again. It
// reports false where it is otherwise.
func (l *List) handOver(r *sched.Round) bool {
	d := l.vacant.of
	if !l.lines.OneShut(d) || r.Quotas() || !r.StartOn(l.lines.First(d).Task, l.vacant.on) {
		return false
	}
	l.vacant.is = false
	if next, ok := l.lines.PopShut(d); ok {
		r.Skip(next.Task, sched.NoRoom)
	}
	l.tellSoon(r)
	return true
}

// pop takes the first task out of a line.
func (l *List) pop(r *sched.Round, d sched.DemandID) {
	l.lines.Pop(d)
	l.tellSoon(r)
}

// tellSoon tells of the tasks that have come to the front of a line.
func (l *List) tellSoon(r *sched.Round) {
	for _, next := range l.lines.Came() {
		r.Soon(next.Task)
	}
}

// reopen takes in that there may be room for what found none.
func (l *List) reopen() {
	l.stuck = false
	if l.Skip {
		l.lines.Reopen()
	}
}

func (l *List) push(s *sched.State, t sched.TaskID) {
	it := heap.Item{Task: t}
	if l.Key == nil {
		it.Key = ReadyTime(s, t)
	} else {
		it.Key = l.Key(s, t)
	}
	if !l.Skip {
		l.line.Push(it)
		l.stuck = l.stuck && l.line.Top() != it
		return
	}
	d := s.DemandID(t)
	l.lines.Push(d, it)
	if l.Evict != nil && l.lines.Overtakes(d, it) {
		l.lines.Unshut(d) // it may stop tasks that the others of its demand may not
	}
	l.fresh = append(l.fresh, t)
}

// remove takes t out of its line and reports whether it was there.
func (l *List) remove(s *sched.State, t sched.TaskID) bool {
	if !l.Skip {
		return l.line.Remove(t)
	}
	d := s.DemandID(t)
	was := l.lines.Remove(d, t)
	if was && l.lines.IsShut(d) {
		l.lines.Unshut(d) // who is first now has not been told why it waits
	}
	return was
}

// Decide starts tasks in the order of their keys as long as there is room.
func (l *List) Decide(r *sched.Round) {
	if l.Skip {
		l.decideSkip(r)
		return
	}
	if l.stuck {
		return
	}
	for {
		it, ok := l.line.First()
		if !ok {
			break
		}
		t := it.Task
		if !l.try(r, t) {
			if l.Lossy && r.Reject(t, sched.NoRoom) { // it has left the line: it was told as dropped
				continue
			}
			r.Skip(t, sched.NoRoom)
			if l.stuck = l.Evict == nil && len(l.aside) == 0; l.stuck {
				l.lacks = lines.LeastFree(r.Demand(t))
			}
			break
		}
		l.line.Pop()
		if r.Quotas() && r.Phase(t) == sched.Ready { // one of them refused it: the line moves on without it
			l.aside = append(l.aside, it)
		}
	}
	if len(l.aside) > 0 {
		for _, it := range l.aside {
			l.line.Push(it)
		}
		l.aside = l.aside[:0]
	}
}

func (l *List) decideSkip(r *sched.Round) {
	if l.vacant.is && !l.handOver(r) {
		l.openVacant(r.State)
	}
	for len(l.lines.Open()) > 0 {
		d, first, only := l.lines.Next()
		t := first.Task
		if !l.start(r, t, only) {
			r.Skip(t, sched.NoRoom)
			l.lines.Shut(d)
			continue
		}
		l.pop(r, d)
		if r.Phase(t) == sched.Ready {
			l.aside = append(l.aside, first)
		} else if open := l.lines.Open(); only != sched.NoNode && len(open) == 1 && open[0] == d && l.lines.NoRoomOn(r.Room(), d, only) { // the next of it need not be tried
			r.Skip(l.lines.First(d).Task, sched.NoRoom)
			l.lines.Shut(d)
		}
	}
	if len(l.aside) > 0 {
		for _, it := range l.aside {
			l.lines.Push(r.DemandID(it.Task), it)
		}
		l.aside = l.aside[:0]
	}
	if len(l.lines.Open()) == 0 { // who waits does so in a line that is shut
		r.SkipAll(l.fresh, sched.NoRoom)
		l.fresh = l.fresh[:0]
		return
	}
	l.fresh = tellFresh(r, l.fresh, &l.lines)
}

// tellFresh says of tasks that have become ready since the last decision that there is no room for them, where their line is shut. It returns the empty list.
func tellFresh(r *sched.Round, fresh []sched.TaskID, lines interface{ IsShut(sched.DemandID) bool }) []sched.TaskID {
	for _, t := range fresh {
		if lines.IsShut(r.DemandID(t)) {
			r.Skip(t, sched.NoRoom) // if it is still ready
		}
	}
	return fresh[:0]
}

// start is try for a task of which may be known that there is room on one node at most.
func (l *List) start(r *sched.Round, t sched.TaskID, only sched.NodeID) bool {
	if only != sched.NoNode && !r.Quotas() {
		return r.StartOn(t, only)
	}
	return l.try(r, t)
}

// try starts t, or claims room for it. It reports false where there is no room; true, with the task still ready, where there was room and
// the kernel refused the start.
func (l *List) try(r *sched.Round, t sched.TaskID) bool {
	if l.Place == nil {
		switch {
		case r.StartFirst(t):
			return true
		case l.Evict == nil:
			return false
		case l.stop.near.serves(r.State, t):
			return l.stop.byGaps(r, t, l.Evict)
		}
		return l.stop.byPlan(r, t, l.Evict, lowestFit, true)
	}
	on, ok := l.Place(r.State, r.Room(), t, l.buf[:0])
	l.buf = on[:0]
	if ok {
		r.Start(t, on...)
		return true
	}
	return l.Evict != nil && l.stop.byPlan(r, t, l.Evict, l.Place, false)
}

// never is the key of tasks that rank last.
const never = math.MaxInt64

// byTask returns a list by TaskID with an entry for every known task; those that are new are x.
func byTask[T any](s *sched.State, list []T, x T) []T {
	if n := s.Known(); len(list) < n {
		list = roomForAll(s, list)
		for len(list) < n {
			list = append(list, x)
		}
	}
	return list
}

// roomForAll returns a list with room for an entry of every task of the table, made at once: appended to one by one it would be copied again and again,
// and what it was copied from is, at a million tasks, more memory than all else that a policy keeps of a task.
func roomForAll[T any](s *sched.State, list []T) []T {
	return slices.Grow(list, max(len(s.Table().Tasks)-len(list), 0))
}
