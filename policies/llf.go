package policies

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// NewLLF returns scheduling by least laxity: the laxity of a task is the time to its deadline less its estimated work left, what it may still
// lose by waiting. That of a task that runs stands still, that of one that waits falls by one second a second. The least goes first, tasks
// without a deadline last. A waiting task stops running ones whose laxities are larger than its own by the quantum or more, and a decision is
// asked for when that will first be so: without it, two tasks of equal laxity would stop each other all the time. With all times multiples of
// the quantum that is the textbook's decision at each quantum, which on one processor meets all deadlines if any schedule does.
//
// Source: A. Mok, Fundamental design problems of distributed systems for the hard real-time environment, PhD thesis, MIT 1983 (optimal on one
// processor); M. Dertouzos and A. Mok, IEEE Trans. Software Engineering 15(12), 1989. They let the scheduler act at every instant of a slotted time;
// here it acts at facts and when laxities are a quantum apart. A task whose laxity is negative, which will be late whatever happens, stops nobody:
// late tasks would go on to stop each other for as long as they run. The laxity of a running task is that of its start, whatever the speed of its
// node and its estimate turn out to be: else a task that has just got the faster node would have to yield it at once.
//
// place may be nil: first fit. quantum must be positive.
func NewLLF(place Place, skip bool, quantum time.Duration) *Preemptive {
	return &Preemptive{Key: LatestStart, Place: place, Skip: skip, laxity: int64(max(quantum, 1))}
}

// LatestStart is the key of least laxity among waiting tasks: the deadline less the estimated work left, the laxity but for the present
// time, which is the same for all. It does not change while a task waits.
func LatestStart(s *sched.State, t sched.TaskID) int64 {
	d := s.Deadline(t)
	if d == sched.Never {
		return never
	}
	return int64(d) - int64(s.Remaining(t))
}

// laxityRunning is the laxity of a running task; never where it has no deadline.
func laxityRunning(s *sched.State, t sched.TaskID) int64 {
	d := s.Deadline(t)
	if d == sched.Never {
		return never
	}
	return int64(d.Sub(s.StartedAt(t)) - s.LeftAtStart(t))
}

// yields returns from when on a running task of that laxity may be stopped for a waiting one with the key, until the key itself; Never if it may
// not be.
func (p *Preemptive) yields(laxity, key int64) sched.Time {
	switch {
	case key == never || laxity < p.laxity:
		return sched.Never // the waiting one would be late by then
	case laxity == never:
		return -sched.Never
	}
	return sched.Time(key - (laxity - p.laxity))
}

// mayYield reports whether a running task of that laxity may be stopped now for a waiting one with the key.
func (p *Preemptive) mayYield(s *sched.State, laxity, key int64) bool {
	return p.yields(laxity, key) <= s.Now() && int64(s.Now()) <= key
}

// watch asks for a decision when the first of a line might next stop others.
func (p *Preemptive) watch(r *sched.Round) {
	if !p.Skip {
		if len(p.line) > 0 {
			p.watchFor(r, p.line[0].Task, p.line[0].Key)
		}
		return
	}
	for d := range p.lines.Demands() {
		if it, ok := p.lines.Head(sched.DemandID(d)); ok {
			p.watchFor(r, it.Task, it.Key)
		}
	}
}

func (p *Preemptive) watchFor(r *sched.Round, t sched.TaskID, key int64) {
	if key == never {
		return
	}
	first, now := sched.Never, r.Now()
	if p.near && p.byNodeServes(r.DemandID(t)) {
		// Laxities of running tasks stand still, so that the first way to make room stays the first while nothing else happens.
		if c := p.running.first(r.State, r.DemandID(t)); c.how == atStop {
			first = p.yields(c.rank, key)
		}
		if first <= now {
			return // it is late, or a quota refuses it
		}
	} else {
		for v := range r.RunningTasks() {
			if at := p.yields(laxityRunning(r.State, v), key); at > now && r.Phase(v) == sched.Running {
				first = min(first, at)
			}
		}
	}
	if first != sched.Never {
		r.WakeAt(first)
	}
}

var llfEntry = Entry{
	Name: "llf", Summary: "Least laxity first: the least time to spare before the deadline.", Placed: true, Starves: true,
	About: "Laxity is the time to the deadline less the estimated work left; it falls while a task waits. A waiting task stops running ones whose laxity is larger by the quantum or " +
		"more, also when that comes about with the time, unless it will be late itself. Optimal on one processor where all times are multiples of the quantum. Tasks without a deadline rank last and may starve.",
	Source: "Mok, PhD thesis, MIT 1983; Dertouzos & Mok, IEEE TSE 1989.",
	Params: []Param{{Name: "quantum", Default: auto, About: "difference of laxities from which on a task is stopped; auto is a tenth of the mean estimate on top of what a start after a preemption costs"}, skipParam},
	New: func(a Args) (sched.Policy, error) {
		q := a.Duration("quantum")
		if q <= 0 {
			q = a.Hints.slice(10)
		}
		return NewLLF(a.Place, a.Bool("skip"), q), nil
	},
}
