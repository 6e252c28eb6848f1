package policies

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// Level says how a task ranks after it has held resources for `attained`, all attempts together: smallest first. From and until say between which
// attained times, until not included, the rank is that one.
type Level func(s *sched.State, t sched.TaskID, attained time.Duration) (rank int64, from, until time.Duration)

// Attained is preemptive list scheduling by what tasks have been served: they rank by steps of their attained service, ties to the lower TaskID, what
// does not fit is passed over, and running tasks that come later are stopped as by Preemptive. A running task comes to its next step at a time that
// is known, so a decision is only asked for when that lets a waiting task stop it. Where nothing waits nobody is woken.
type Attained struct {
	Level   Level         // must be set
	Strict  bool          // a task stops later ones of its own rank too; else only of larger ranks
	Queues  bool          // each rank is a queue; see key. Ranks must be below 2^19 then, and Strict false
	Promote float64       // a task that waits counts as new once its time waited is that times its time served, and so its next attempt; 0: never
	Round   time.Duration // decide only at multiples of it on the trace's axis; 0: at any time
	Place   Place         // nil: first fit

	list  Preemptive
	runs  agendaOfSteps  // running tasks, by when their rank changes
	waits agendaOfSteps  // with Promote: waiting tasks, by when they count as new
	came  []sched.TaskID // with Queues: running tasks that came to their rank when the keys were last worked out
	climb *climbing      // if not nil: instead of runs
	round sched.Time     // with Round: for which multiple of it the last decision asked; Never = none
	last  standing       // that key was made of last
}

// fewSteps running tasks are looked at one by one for whose step matters next; of more the first step counts.
const fewSteps = 16

// IgnoresArrivals says that an Attained does not need to be told of arrivals, unless it is embedded in a policy that may.
func (p *Attained) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

// Observe keeps the lines and the running tasks.
func (p *Attained) Observe(s *sched.State, e sched.Event) { p.observe(s, &e) }

func (p *Attained) observe(s *sched.State, e *sched.Event) {
	l := &p.list
	if l.Key == nil {
		l.Key = p.key
		l.Skip, l.Mild, l.Place, l.began = true, !p.Strict, p.Place, p.began
		p.round = sched.Never
		l.claims = p.waits.drop // it starts before anything else comes of it, or is told as ready again
		if p.climb != nil {
			p.climb.p = p
			l.Key = func(s *sched.State, t sched.TaskID) int64 {
				rank, _, _ := p.Level(s, t, s.Attained(t))
				return rank
			}
			l.running.moves = &movers{moving: p.climb, notes: true}
		}
	}
	switch e.Kind {
	case sched.Wake: // by itself it makes no room; see step
		return
	case sched.JobArrived:
		p.grow(s)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped, sched.TaskBlocked, sched.TaskDropped:
		p.runs.drop(e.Task)
		p.waits.drop(e.Task)
	case sched.TaskReady:
		p.grow(s)
		p.runs.drop(e.Task) // its last node was lost
		if p.Promote > 0 {
			p.waits.put(e.Task, s.DemandID(e.Task), p.standing(s, e.Task).next)
		}
	}
	l.observe(s, e)
	if e.Kind == sched.TaskBlocked || e.Kind == sched.TaskDropped {
		if d := s.DemandID(e.Task); l.lines.IsShut(d) {
			l.lines.Unshut(d) // it may be the one that found no room
		}
	}
}

// grow makes room for the tasks of the table.
func (p *Attained) grow(s *sched.State) {
	n := len(s.Table().Tasks)
	if p.Promote > 0 && len(p.waits.at) < n {
		p.list.lines.Index(n)
		p.waits.grow(n)
	}
	if p.climb == nil && len(p.runs.at) < n {
		p.runs.grow(n)
	}
}

// key is the rank. With Queues, in its low bits stands the place in the queue: first what runs, in the order in which it came to run there; then what
// was stopped there, the last first; then what came to the queue and has not run there, in that order. A running task comes to its next queue as one of
// the last, so that it yields to who waits there; if it goes on running it is one of the first.
func (p *Attained) key(s *sched.State, t sched.TaskID) int64 {
	st := &p.last
	p.stands(s, t, st)
	if !p.Queues {
		return st.rank
	}
	runs := holds(s.Phase(t))
	at := s.ReadySince(t)
	if runs {
		at = max(s.StartedAt(t), s.Now().Add(st.from-st.had))
	}
	since := min(max(int64(at)/1e6+1<<(sinceBits-2), 0), 1<<sinceBits-1) // 35 years before the axis begins to 100 after
	key := st.rank << (sinceBits + 2)
	switch {
	case runs && !st.comes:
		return key | since
	case st.had != st.from && !st.new:
		return key | 2<<sinceBits | (1<<sinceBits - 1 - since)
	}
	return key | 3<<sinceBits | since
}

// sinceBits are the bits of a key that hold a time in ms.
const sinceBits = 42

// began takes in that a task has started.
func (p *Attained) began(s *sched.State, t sched.TaskID, key int64, until sched.Time) {
	if p.climb != nil {
		if s.Phase(t) != sched.Stopping { // as one is whose estimate has changed: it does not rise any more
			p.climb.started(s, t, key, until)
		}
		return
	}
	p.waits.drop(t)
	p.rises(s, t, &p.last) // key has just been asked for it
}

// rises notes when the rank of a running task changes next.
func (p *Attained) rises(s *sched.State, t sched.TaskID, st *standing) {
	p.runs.put(t, s.DemandID(t), st.next)
	if st.comes {
		p.came = append(p.came, t)
	}
}

// standing is where a task stands.
type standing struct {
	rank      int64
	had, from time.Duration // time held that counts, and from where on the rank is that
	next      sched.Time    // when the rank changes if the task goes on as it does; Never = not
	new       bool          // it waits, and counts as new for having waited long
	comes     bool          // it runs, and has come to the rank this instant
}

func (p *Attained) standing(s *sched.State, t sched.TaskID) (st standing) {
	p.stands(s, t, &st)
	return st
}

// stands finds out where a task stands. It writes field by field: a copy would wait for what has just been written.
func (p *Attained) stands(s *sched.State, t sched.TaskID, st *standing) {
	st.had, st.next, st.new, st.comes = s.Attained(t), sched.Never, false, false
	until := time.Duration(0)
	if holds(s.Phase(t)) {
		begun := s.Now().Sub(s.StartedAt(t))
		if p.Promote > 0 && st.had > begun && p.waited(s, t) >= p.owed(st.had-begun) {
			st.had = begun // it started as new
		}
		if st.rank, st.from, until = p.Level(s, t, st.had); until < math.MaxInt64 {
			st.next = s.Now().Add(until - st.had)
		}
		st.comes = p.Queues && st.from > 0 && st.had == st.from && begun > 0
		return
	}
	st.rank, st.from, _ = p.Level(s, t, st.had)
	if p.Promote > 0 && st.had > 0 {
		first, _, _ := p.Level(s, t, 0)
		if more := p.owed(st.had) - p.waited(s, t); first < st.rank && more > 0 {
			st.next = s.Now().Add(more)
		} else if first < st.rank {
			st.rank, st.new = first, true
		}
	}
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
	if len(r.Ordered()) > 0 {
		l.ordered(r)
	}
	asked := p.round
	p.round = sched.Never
	if l.lines.Len() == 0 {
		return
	}
	if p.climb != nil {
		l.look(r.State)
		p.climb.take(r.State)
		l.decide(r)
		if at := p.climb.watch(r.State); at != sched.Never && l.lines.Len() > 0 {
			r.WakeAt(at)
		}
		return
	}
	if on := p.grid(r.Now()); on != r.Now() && asked > r.Now() { // a driver that gathers facts comes later than it was asked to
		p.wake(r, on)
		return
	}
	p.step(r.State)
	l.look(r.State)
	l.decide(r)
	if l.lines.Len() > 0 {
		if at := p.nextStep(r.State); at != sched.Never {
			p.wake(r, p.grid(at))
		}
	}
}

func (p *Attained) wake(r *sched.Round, at sched.Time) {
	p.round = at
	r.WakeAt(at)
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
	came := p.came
	p.came = p.came[:0]
	for _, t := range came {
		if !holds(s.Phase(t)) {
			continue
		}
		if p.standing(s, t).comes {
			p.came = append(p.came, t) // it is still that instant
		} else {
			l.running.rerank(s, t, p.key(s, t))
		}
	}
	for p.Promote > 0 {
		t, ok := p.waits.due(s.Now())
		if !ok {
			break
		}
		if l.remove(s, t) {
			l.push(s, t)
			l.lines.Unshut(s.DemandID(t))
		}
		p.waits.put(t, s.DemandID(t), p.standing(s, t).next)
	}
	for {
		t, ok := p.runs.due(s.Now())
		if !ok {
			break
		}
		key := p.key(s, t)
		p.rises(s, t, &p.last)
		l.raise(s, l.running.rerank(s, t, key), key)
	}
}

// relevel takes in that Level has changed.
func (p *Attained) relevel(s *sched.State) {
	l := &p.list
	l.lines.Rekey(func(t sched.TaskID) int64 { return l.Key(s, t) })
	if p.climb != nil {
		p.climb.forget()
		l.forget()
		return
	}
	for t := range s.RunningTasks() {
		key := p.key(s, t)
		p.rises(s, t, &p.last)
		l.running.rerank(s, t, key)
	}
	l.forget()
}

// opens reports whether a running task whose rank changes from old to rank may be stopped by a waiting task that could not stop it before.
func (p *Attained) opens(old, rank int64) bool {
	switch {
	case p.Queues:
		old, rank = old<<(sinceBits+2), (rank+1)<<(sinceBits+2)-1
	case !p.Strict:
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
	for i := range p.runs.lines {
		for it := range p.runs.lines[i].All() {
			if p.runs.at[it.Task] == sched.Time(it.Key) {
				at = min(at, p.opensAt(s, it.Task))
			}
		}
	}
	return at
}

// opensAt returns when a running task comes to a rank that opens a line, Never where it comes to none.
func (p *Attained) opensAt(s *sched.State, t sched.TaskID) sched.Time {
	had := s.Attained(t)
	rank, _, until := p.Level(s, t, had)
	for range 64 { // beyond, it is woken for nothing
		if until == math.MaxInt64 {
			return sched.Never
		}
		then, _, next := p.Level(s, t, until)
		if p.opens(rank, then) {
			break
		}
		rank, until = then, next
	}
	if until == math.MaxInt64 {
		return sched.Never
	}
	return s.Now().Add(until - had)
}

// agendaOfSteps knows the tasks whose rank changes at a time. Entries that no longer hold are dropped when they come up, or when there are too many. Tasks of one
// demand that start as new come to their next step in the order in which they started, so they stand in lines.
type agendaOfSteps struct {
	lines [stepLines]heap.Queue // by time, some demands each
	heads heap.Heap             // when the first of each line is due that is not empty, or what stood before it; Task: the line
	at    []sched.Time          // by TaskID: the entry that holds; Never = none
	n     int                   // entries that hold
	size  int                   // entries
	first sched.Time            // of those that hold, Never = none,
	known bool                  // where that is known
}

const stepLines = 16

func (a *agendaOfSteps) grow(tasks int) {
	a.at = slices.Grow(a.at, max(tasks-len(a.at), 0))
	for len(a.at) < tasks {
		a.at = append(a.at, sched.Never)
	}
}

// put notes when the rank of a task of a demand changes, instead of what was noted before.
func (a *agendaOfSteps) put(t sched.TaskID, d sched.DemandID, at sched.Time) {
	a.drop(t)
	if at == sched.Never {
		return
	}
	if a.size > 2*a.n+64 {
		a.tidy()
	}
	a.at[t] = at
	a.n++
	a.size++
	a.first = min(a.first, at)
	line, it := d%stepLines, heap.Item{Key: int64(at), Task: t}
	if first, ok := a.lines[line].First(); !ok || it.Key < first.Key {
		a.heads.Push(heap.Item{Key: it.Key, Task: sched.TaskID(line)})
	}
	a.lines[line].Push(it)
}

// tidy takes out the entries that do not hold.
func (a *agendaOfSteps) tidy() {
	for i := range a.lines {
		a.lines[i].Filter(func(it heap.Item) bool { return a.at[it.Task] == sched.Time(it.Key) })
	}
	a.size = a.n
}

// drop forgets a task.
func (a *agendaOfSteps) drop(t sched.TaskID) {
	if int(t) < len(a.at) && a.at[t] != sched.Never {
		a.known = a.known && a.at[t] > a.first
		a.at[t] = sched.Never
		a.n--
	}
}

// next returns the first time, or Never.
func (a *agendaOfSteps) next() sched.Time {
	if !a.known {
		a.first, a.known = a.find(), true
	}
	return a.first
}

// find finds out what next returns; the first of the heads is of its line.
func (a *agendaOfSteps) find() sched.Time {
	for len(a.heads) > 0 {
		line := &a.lines[a.heads[0].Task]
		it, ok := line.First()
		switch {
		case !ok:
			a.heads.Pop()
		case a.at[it.Task] != sched.Time(it.Key):
			line.Pop()
			a.size--
		case it.Key != a.heads[0].Key:
			head := a.heads.Pop()
			a.heads.Push(heap.Item{Key: it.Key, Task: head.Task})
		default:
			return sched.Time(it.Key)
		}
	}
	return sched.Never
}

// due takes out a task whose time has come.
func (a *agendaOfSteps) due(now sched.Time) (sched.TaskID, bool) {
	if at := a.next(); at == sched.Never || at > now {
		return sched.Nobody, false
	}
	a.find()
	t := a.lines[a.heads[0].Task].Pop().Task
	a.size--
	a.drop(t)
	return t, true
}
