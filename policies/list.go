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

// Place looks for room for the whole gang in room (the real one, or a plan) and appends the placements to buf. It must depend on the
// task's demand only, not on the task: where it fails for one task of a demand, the others of that demand are not tried.
type Place func(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool)

// Evictable says whether a running task may be stopped so that t can start, and in which order: the largest rank is stopped first.
type Evictable func(s *sched.State, running, t sched.TaskID) (rank int64, ok bool)

// List is list scheduling: ready tasks in the order of a key, each placed as soon as it is its turn and there is room. The zero value is
// strict FIFO by the time of readiness: the head of the line blocks, first fit. Most policies are a List with a Key.
type List struct {
	Key   Key   // nil: time of first readiness
	Place Place // nil: first fit
	Skip  bool  // pass over what does not fit
	Evict Evictable
	Turns bool                             // Evict goes by the time of start: the first running task that may not be stopped ends the search
	Wake  func(*sched.Round, sched.TaskID) // called with a task that found no room, so that a preemptive policy can ask to be woken

	line    heap.Heap   // strict
	lines   lines.Lines // Skip
	fresh   []sched.TaskID
	aside   []heap.Item
	buf     []sched.Placement
	victims []victim
	leaving []sched.TaskID
	ids     []sched.TaskID
	plan    sched.Room
	near    near
	plain   bool // work out whom to stop the slow way (tests compare)
}

// ReadyTime is the key of FIFO: the time of first readiness, so that a task which failed or was preempted keeps its turn.
func ReadyTime(s *sched.State, t sched.TaskID) int64 { return int64(s.FirstReady(t)) }

// FirstFit places on the lowest-numbered nodes.
func FirstFit(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	return room.FirstFit(s.DemandID(t), buf)
}

// Observe keeps the lines.
func (l *List) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.TaskReady:
		l.push(s, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		// Tasks that were started have left their line already; if one is blocked, its claim was undone and room came free.
		if !l.remove(s, e.Task) && e.Kind == sched.TaskBlocked {
			l.lines.Reopen()
		}
	case sched.Updated:
		if l.remove(s, e.Task) {
			l.push(s, e.Task)
		}
		l.lines.Reopen()
	case sched.JobArrived, sched.Started, sched.CheckpointDone:
	default:
		l.lines.Reopen()
	}
}

func (l *List) push(s *sched.State, t sched.TaskID) {
	key := l.Key
	if key == nil {
		key = ReadyTime
	}
	it := heap.Item{Key: key(s, t), Task: t}
	if !l.Skip {
		l.line.Push(it)
		return
	}
	d := s.DemandID(t)
	l.lines.Push(d, it)
	if l.Evict != nil && l.lines.First(d) == it {
		l.lines.Unshut(d) // it may stop tasks that the others of its demand may not
	}
	l.fresh = append(l.fresh, t)
}

// remove takes t out of its line and reports whether it was there.
func (l *List) remove(s *sched.State, t sched.TaskID) bool {
	if l.Skip {
		return l.lines.Remove(s.DemandID(t), t)
	}
	return l.line.Remove(t)
}

// Decide starts tasks in the order of their keys as long as there is room.
func (l *List) Decide(r *sched.Round) {
	if l.Skip {
		l.decideSkip(r)
		return
	}
	for len(l.line) > 0 {
		t := l.line[0].Task
		if !l.try(r, t) {
			r.Skip(t, sched.NoRoom)
			if l.Wake != nil {
				l.Wake(r, t)
			}
			break
		}
		if r.Phase(t) == sched.Ready { // a quota refused it: the line moves on without it
			l.aside = append(l.aside, l.line[0])
		}
		l.line.Pop()
	}
	for _, it := range l.aside {
		l.line.Push(it)
	}
	l.aside = l.aside[:0]
}

func (l *List) decideSkip(r *sched.Round) {
	for {
		d, ok := l.lines.Best(nil)
		if !ok {
			break
		}
		t := l.lines.First(d).Task
		if !l.try(r, t) {
			r.Skip(t, sched.NoRoom)
			if l.Wake != nil {
				l.Wake(r, t)
			}
			l.lines.Shut(d)
			continue
		}
		it := l.lines.Pop(d)
		if r.Phase(t) == sched.Ready {
			l.aside = append(l.aside, it)
		}
	}
	for _, it := range l.aside {
		l.lines.Push(r.DemandID(it.Task), it)
	}
	l.aside = l.aside[:0]
	for _, t := range l.fresh {
		if r.Phase(t) == sched.Ready && l.lines.IsShut(r.DemandID(t)) {
			r.Skip(t, sched.NoRoom)
		}
	}
	l.fresh = l.fresh[:0]
}

// try starts t, or claims room for it. It reports false where there is no room; true, with the task still ready, where there was room and
// the kernel refused the start.
func (l *List) try(r *sched.Round, t sched.TaskID) bool {
	place := l.Place
	if place == nil {
		place = FirstFit
	}
	on, ok := place(r.State, r.Room(), t, l.buf[:0])
	l.buf = on[:0]
	if ok {
		r.Start(t, on...)
		return true
	}
	if l.Evict == nil {
		return false
	}
	if l.Place == nil && !l.plain && l.near.serves(r.State, t) {
		return l.preemptNear(r, t)
	}
	return l.preempt(r, t, place)
}

// preempt looks for the victims without which t fits: the largest ranks first until it does, then spares, from the smallest rank on, those
// that need not go. What is being stopped already counts as gone, so that nobody is stopped for room that comes anyway; t then waits for it.
func (l *List) preempt(r *sched.Round, t sched.TaskID, place Place) bool {
	l.victims, l.leaving = l.victims[:0], l.leaving[:0]
	on, ok := l.buf, false
	if l.Turns { // they come in the order in which they would be stopped: no more of them than needed are looked at
		for v := range r.RunningTasks() {
			stops := r.Phase(v) == sched.Stopping
			rank, may := int64(0), true
			if !stops {
				rank, may = l.Evict(r.State, v, t)
			}
			if !may {
				break
			}
			if len(l.victims)+len(l.leaving) == 0 {
				l.plan.CopyFrom(r.Room())
			}
			if stops {
				l.leaving = append(l.leaving, v)
			} else {
				l.victims = append(l.victims, victim{rank, v})
			}
			give(r.State, &l.plan, v)
			if on, ok = place(r.State, &l.plan, t, on[:0]); ok {
				break
			}
		}
	} else {
		for v := range r.RunningTasks() {
			if r.Phase(v) == sched.Stopping {
				l.leaving = append(l.leaving, v)
			} else if rank, may := l.Evict(r.State, v, t); may {
				l.victims = append(l.victims, victim{rank, v})
			}
		}
		if len(l.victims) == 0 {
			return false
		}
		slices.SortFunc(l.victims, func(a, b victim) int {
			if a.rank != b.rank {
				if a.rank > b.rank {
					return -1
				}
				return 1
			}
			return int(b.task - a.task)
		})
		l.plan.CopyFrom(r.Room())
		for _, v := range l.leaving {
			give(r.State, &l.plan, v)
		}
		n := 0
		if len(l.leaving) > 0 {
			on, ok = place(r.State, &l.plan, t, on[:0])
		}
		for ; n < len(l.victims) && !ok; n++ {
			give(r.State, &l.plan, l.victims[n].task)
			on, ok = place(r.State, &l.plan, t, on[:0])
		}
		l.victims = l.victims[:n]
	}
	if len(l.victims) == 0 {
		ok = false // nothing is to be stopped
	}
	l.buf = on[:0]
	if !ok {
		return false
	}
	l.ids = l.ids[:0]
	for i := len(l.victims) - 1; i >= 0; i-- {
		v := l.victims[i].task
		take(r.State, &l.plan, v)
		// The victim's own devices may be free only once: whether it fits beside t is seen by placing t without them.
		if spared, fits := place(r.State, &l.plan, t, on[:0]); fits {
			on = spared
			continue
		}
		give(r.State, &l.plan, v)
		l.ids = append(l.ids, v)
	}
	on, ok = place(r.State, &l.plan, t, on[:0])
	l.buf = on[:0]
	if !ok || len(l.ids) == 0 {
		return false
	}
	if l.Place == nil && r.Demand(t).Need.GPUMilli >= sched.Whole {
		for i := range on {
			on[i].GPUs = 0 // the kernel chooses among those that are really free: what is leaving may keep others busy
		}
	}
	if r.Claim(t, on, l.ids...) {
		return true
	}
	// Where it needs room that is only being left, it waits. Otherwise a quota refused it, and it is passed over as one whose start was refused.
	return len(l.leaving) == 0
}

// never is the key of tasks that rank last.
const never = math.MaxInt64
