package policies

import (
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// plainList is list scheduling as it was first written, and the reference of all preemptive policies: whom to stop is worked out by giving what
// running tasks hold to a copy of the room, one by one.
type plainList struct {
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
	passed  []sched.DemandID // asked again at every decision: shut by one behind tasks that a quota refused, or by one that needs what is being left
	awaits  bool             // the task at hand does
	buf     []sched.Placement
	victims []victim
	leaving []sched.TaskID
	ids     []sched.TaskID
	plan    sched.Room
}

// Observe keeps the lines.
func (l *plainList) Observe(s *sched.State, e sched.Event) {
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

func (l *plainList) push(s *sched.State, t sched.TaskID) {
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
	if l.Evict != nil && l.lines.Overtakes(d, it) {
		l.lines.Unshut(d) // it may stop tasks that the others of its demand may not
	}
	l.fresh = append(l.fresh, t)
}

// remove takes t out of its line and reports whether it was there.
func (l *plainList) remove(s *sched.State, t sched.TaskID) bool {
	if l.Skip {
		return l.lines.Remove(s.DemandID(t), t)
	}
	return l.line.Remove(t)
}

// Decide starts tasks in the order of their keys as long as there is room.
func (l *plainList) Decide(r *sched.Round) {
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

func (l *plainList) decideSkip(r *sched.Round) {
	for _, d := range l.passed {
		l.lines.Unshut(d)
	}
	l.passed = l.passed[:0]
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
			if l.lines.Shut(d); l.awaits {
				l.awaits, l.passed = false, append(l.passed, d)
			}
			continue
		}
		it := l.lines.Pop(d)
		if r.Phase(t) == sched.Ready {
			l.aside = append(l.aside, it)
		}
	}
	for _, it := range l.aside {
		d := r.DemandID(it.Task)
		if l.lines.Push(d, it); l.lines.IsShut(d) && l.Evict != nil {
			l.passed = append(l.passed, d)
		}
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
func (l *plainList) try(r *sched.Round, t sched.TaskID) bool {
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
	if l.Place == nil {
		place = lowestFit
	}
	return l.preempt(r, t, place)
}

// preempt looks for the victims without which t fits: the largest ranks first until it does, then spares, from the smallest rank on, those
// that need not go. What is being stopped already counts as gone, so that nobody is stopped for room that comes anyway; t then waits for it.
func (l *plainList) preempt(r *sched.Round, t sched.TaskID, place Place) bool {
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
	l.awaits = len(l.leaving) > 0
	return !l.awaits
}

// plainRoundRobin returns round-robin with time slices: one line in the order of readiness (a task whose slice has ended goes to its end),
// whose head blocks, so that each waits at most a slice for its turn. A running task may be stopped once it has worked for the quantum, and
// no sooner than those that started before it, and is only if that makes room for the head of the line. quantum must be positive.
func plainRoundRobin(quantum time.Duration) *plainList {
	l := &plainList{Turns: true, Key: func(s *sched.State, t sched.TaskID) int64 { return int64(s.ReadySince(t)) }}
	l.Evict = func(s *sched.State, running, _ sched.TaskID) (int64, bool) {
		for t := range s.RunningTasks() { // in the order of their start
			if s.Phase(t) != sched.Stopping && s.Now().Sub(s.WorkBegins(t)) < quantum {
				return 0, false
			}
			if t == running {
				break
			}
		}
		return -int64(s.StartedAt(running)), true
	}
	l.Wake = func(r *sched.Round, _ sched.TaskID) {
		// Tasks run in the order of their start, so the first whose slice is not over ends next.
		for t := range r.RunningTasks() {
			if at := r.WorkBegins(t).Add(quantum); at > r.Now() {
				r.WakeAt(at)
				return
			}
		}
	}
	return l
}

// PlainPreemptive returns the reference of a preemptive policy, for tests outside the package.
func PlainPreemptive(name string, quantum time.Duration, skip bool) sched.Policy {
	keys := map[string]Key{"srtf": ShortestRemaining, "rms": ByPeriod, "dm": ByRelativeDeadline, "edf": ByDeadline}
	if name == "rr" {
		return plainRoundRobin(quantum)
	}
	return &plainList{Key: keys[name], Skip: skip, Evict: overtakes(keys[name])}
}
