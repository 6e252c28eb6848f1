package policies

import (
	"math"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// Level says how a task ranks after it has held resources for `attained`, all attempts together: smallest first. Until says from which attained time
// on the rank may be another; it must be larger than attained.
type Level func(s *sched.State, t sched.TaskID, attained time.Duration) (rank int64, until time.Duration)

// Attained is preemptive list scheduling by what tasks have been served: they rank by steps of their attained service, ties to the lower TaskID, what
// does not fit is passed over, and running tasks that come later are stopped as by Preemptive. A running task comes to its next step at a time that
// is known, so a decision is only asked for when that lets a waiting task stop it. Where nothing waits nobody is woken.
type Attained struct {
	Level   Level
	Strict  bool          // a task stops later ones of its own rank too, as FIFO queues demand; else only of larger ranks
	Promote float64       // a task that waits counts as new once its time waited is that times its time served, and so its next attempt; 0: never
	Round   time.Duration // decide only at multiples of it on the trace's axis; 0: at any time
	Place   Place         // nil: first fit

	list  Preemptive
	runs  agendaOfSteps // running tasks, by when their rank changes
	waits agendaOfSteps // with Promote: waiting tasks, by when they count as new
}

// fewSteps running tasks are looked at one by one for whose step matters next; of more the first step counts.
const fewSteps = 16

// Observe keeps the lines and the running tasks.
func (p *Attained) Observe(s *sched.State, e sched.Event) {
	l := &p.list
	if l.Key == nil {
		l.Key = func(s *sched.State, t sched.TaskID) int64 { rank, _ := p.rank(s, t); return rank }
		l.Skip, l.Mild, l.Place, l.began = true, !p.Strict, p.Place, p.start
	}
	switch e.Kind {
	case sched.Wake: // by itself it makes no room; see step
		return
	case sched.JobArrived:
		if n := len(s.Table().Tasks); p.Promote > 0 {
			l.lines.Index(n)
			p.waits.grow(n)
		}
		p.runs.grow(len(s.Table().Tasks))
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped, sched.TaskBlocked, sched.TaskDropped:
		p.runs.drop(e.Task)
		p.waits.drop(e.Task)
	case sched.TaskReady:
		p.runs.drop(e.Task) // its last node was lost
		if _, next := p.rank(s, e.Task); p.Promote > 0 && next != sched.Never {
			p.waits.put(e.Task, next)
		}
	}
	l.Observe(s, e)
}

// start takes in that a task runs.
func (p *Attained) start(s *sched.State, t sched.TaskID) {
	p.waits.drop(t)
	_, next := p.rank(s, t)
	p.runs.put(t, next)
}

// rank returns the rank of a task, and when it changes if the task goes on as it does.
func (p *Attained) rank(s *sched.State, t sched.TaskID) (int64, sched.Time) {
	had := s.Attained(t)
	if holds(s.Phase(t)) {
		if begun := s.Now().Sub(s.StartedAt(t)); p.Promote > 0 && had > begun && p.waited(s, t) >= p.owed(had-begun) {
			had = begun // it started as new
		}
		rank, until := p.Level(s, t, had)
		if until == math.MaxInt64 {
			return rank, sched.Never
		}
		return rank, s.Now().Add(until - had)
	}
	rank, _ := p.Level(s, t, had)
	if p.Promote > 0 && had > 0 {
		first, _ := p.Level(s, t, 0)
		more := p.owed(had) - p.waited(s, t)
		if first < rank && more > 0 {
			return rank, s.Now().Add(more)
		}
		return min(first, rank), sched.Never
	}
	return rank, sched.Never
}

// waited is the time that a task has waited since it was first ready; it stands still while the task runs.
func (p *Attained) waited(s *sched.State, t sched.TaskID) time.Duration {
	return s.Now().Sub(s.FirstReady(t)) - s.Attained(t)
}

// owed is the time that a task that was served so long must have waited to count as new.
func (p *Attained) owed(served time.Duration) time.Duration { return scaled(served, p.Promote) }

func holds(ph sched.Phase) bool { return ph == sched.Running || ph == sched.Stopping }

// scaled returns d x f, rounded, at most the largest Duration.
func scaled(d time.Duration, f float64) time.Duration {
	x := math.Round(float64(d) * f)
	if x >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(x)
}

// Decide starts tasks in the order of their ranks as long as there is room, or can be made.
func (p *Attained) Decide(r *sched.Round) {
	l := &p.list
	if l.ordered(r); l.lines.Len() == 0 {
		return
	}
	if on := p.grid(r.Now()); on != r.Now() {
		r.WakeAt(on)
		return
	}
	p.step(r.State)
	l.Decide(r)
	if l.lines.Len() > 0 {
		if at := p.nextStep(r.State); at != sched.Never {
			r.WakeAt(p.grid(at))
		}
	}
}

// grid returns the first time from at on at which decisions are made.
func (p *Attained) grid(at sched.Time) sched.Time {
	if p.Round <= 0 {
		return at
	}
	past := at % sched.Time(p.Round)
	if past == 0 {
		return at
	}
	if past < 0 {
		past += sched.Time(p.Round)
	}
	return at.Add(p.Round - time.Duration(past))
}

// step takes in the steps that are due.
func (p *Attained) step(s *sched.State) {
	l := &p.list
	for {
		t, ok := p.waits.due(s.Now())
		if !ok {
			break
		}
		if l.remove(s, t) {
			l.push(s, t)
			l.lines.Unshut(s.DemandID(t))
		}
		_, next := p.rank(s, t)
		p.waits.put(t, next)
	}
	for {
		t, ok := p.runs.due(s.Now())
		if !ok {
			break
		}
		rank, next := p.rank(s, t)
		p.runs.put(t, next)
		l.lines.UnshutBetween(l.running.rerank(s, t, rank), rank)
	}
}

// relevel takes in that Level has changed.
func (p *Attained) relevel(s *sched.State) {
	l := &p.list
	l.lines.Rekey(func(t sched.TaskID) int64 { return l.Key(s, t) })
	for t := range s.RunningTasks() {
		rank, next := p.rank(s, t)
		p.runs.put(t, next)
		l.running.rerank(s, t, rank)
	}
	l.lines.Reopen()
}

// opens reports whether a running task whose rank changes from old to rank may be stopped by a waiting task that could not stop it before.
func (p *Attained) opens(old, rank int64) bool {
	if !p.Strict {
		rank-- // its equals do not stop it
	}
	return p.list.lines.AnyBetween(old, rank)
}

// nextStep returns when a decision is to be made if nothing happens: when a step of a running task may let a waiting one stop it, or a waiting task
// counts as new.
func (p *Attained) nextStep(s *sched.State) sched.Time {
	at := p.waits.next()
	if p.runs.n > fewSteps || p.Promote > 0 {
		return min(at, p.runs.next())
	}
	for _, it := range p.runs.heap {
		t := it.Task
		if p.runs.at[t] != sched.Time(it.Key) {
			continue
		}
		had := s.Attained(t)
		rank, until := p.Level(s, t, had)
		for range 64 { // beyond, it is woken for nothing
			if until == math.MaxInt64 {
				break
			}
			then, next := p.Level(s, t, until)
			if p.opens(rank, then) {
				break
			}
			rank, until = then, next
		}
		if until < math.MaxInt64 {
			at = min(at, s.Now().Add(until-had))
		}
	}
	return at
}

// agendaOfSteps knows the tasks whose rank changes at a time. Entries that no longer hold are dropped when they come up, or when there are too many.
type agendaOfSteps struct {
	heap heap.Heap    // by time
	at   []sched.Time // by TaskID: the entry that holds; Never = none
	n    int          // entries that hold
}

func (a *agendaOfSteps) grow(tasks int) {
	for len(a.at) < tasks {
		a.at = append(a.at, sched.Never)
	}
}

// put notes when the rank of a task changes, instead of what was noted before.
func (a *agendaOfSteps) put(t sched.TaskID, at sched.Time) {
	a.drop(t)
	if at == sched.Never {
		return
	}
	if len(a.heap) > 2*a.n+64 {
		keep := a.heap[:0]
		for _, it := range a.heap {
			if a.at[it.Task] == sched.Time(it.Key) {
				keep = append(keep, it)
			}
		}
		a.heap = keep
		a.heap.Init()
	}
	a.at[t] = at
	a.n++
	a.heap.Push(heap.Item{Key: int64(at), Task: t})
}

// drop forgets a task.
func (a *agendaOfSteps) drop(t sched.TaskID) {
	if int(t) < len(a.at) && a.at[t] != sched.Never {
		a.at[t] = sched.Never
		a.n--
	}
}

// next returns the first time, or Never.
func (a *agendaOfSteps) next() sched.Time {
	for len(a.heap) > 0 {
		if it := a.heap[0]; a.at[it.Task] == sched.Time(it.Key) {
			return sched.Time(it.Key)
		}
		a.heap.Pop()
	}
	return sched.Never
}

// due takes out a task whose time has come.
func (a *agendaOfSteps) due(now sched.Time) (sched.TaskID, bool) {
	if at := a.next(); at == sched.Never || at > now {
		return sched.Nobody, false
	}
	t := a.heap.Pop().Task
	a.drop(t)
	return t, true
}
