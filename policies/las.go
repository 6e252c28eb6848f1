package policies

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// LAS is preemptive list scheduling by whole quanta of attained time, the fewest first, ties to the lower TaskID: what does not fit is passed over, and running tasks
// of later quanta are stopped as by Preemptive, those first that have attained most, ties to the larger TaskID. All running tasks attain alike, so that their order stands
// still, and a decision is only asked for when one comes to a quantum at which a waiting task may stop it. Where nothing waits nobody is woken.
//
// Make one with NewLAS.
type LAS struct {
	list   Preemptive
	quanta quanta
}

// NewLAS returns the policy for a quantum of more than 0, by first fit where place is nil.
func NewLAS(quantum time.Duration, place Place) *LAS {
	p := &LAS{quanta: quanta{quantum: quantum}}
	p.list = Preemptive{Key: p.quanta.key, Skip: true, Mild: true, Place: place}
	p.list.running.quanta = &p.quanta
	return p
}

// IgnoresArrivals says that a LAS does not need to be told of arrivals, unless it is embedded in a policy that may.
func (p *LAS) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

// Observe keeps the lines and the running tasks.
func (p *LAS) Observe(s *sched.State, e sched.Event) {
	if e.Kind == sched.Wake {
		return // by itself it makes no room
	}
	p.list.observe(s, &e)
	if e.Kind == sched.TaskBlocked || e.Kind == sched.TaskDropped {
		if d := s.DemandID(e.Task); p.list.lines.IsShut(d) {
			p.list.lines.Unshut(d) // it may be the one that found no room
		}
	}
}

// Decide starts tasks in the order of their quanta as long as there is room, or can be made.
func (p *LAS) Decide(r *sched.Round) {
	l := &p.list
	if len(r.Ordered()) > 0 {
		l.ordered(r)
	}
	if l.lines.Len() == 0 {
		return
	}
	l.look(r.State)
	p.quanta.take(r.State, l)
	l.decide(r)
	if at := p.quanta.watch(r.State, l); at != sched.Never && l.lines.Len() > 0 {
		r.WakeAt(at)
	}
}

var lasEntry = Entry{
	Name: "las", Summary: "Least attained service first (foreground-background), by quanta, preemptive.", Placed: true, Starves: true,
	About: "The fewest whole quanta of attained time first, ties in the order of submission; no estimate is looked at. A task that came to a new quantum is " +
		"stopped if a task with fewer waits and that makes room, of several the one that has attained most first; within a quantum none is stopped for its equals, so each stop costs a quantum of service or an arrival. " +
		"Tasks that have attained the same share the nodes in turn, a quantum each. A long task may starve while shorter ones keep coming. " +
		"Where each start costs more than a quantum before work begins (a fetch, a restore), tasks may stop each other without end: choose a longer one.",
	Source: "Foreground-background of Kleinrock, Queueing Systems II, 1976, section 4.6; LAS of Rai, Urvoy-Keller & Biersack, SIGMETRICS 2003; by quanta where they share.",
	Params: []Param{{Name: "quantum", Default: auto, About: "attained time by which tasks are told apart; auto is a tenth of the mean estimate on top of what a start after a preemption costs"}},
	New: func(a Args) (sched.Policy, error) {
		q := a.Duration("quantum")
		if q <= 0 {
			q = a.Hints.slice(10)
		}
		return NewLAS(q, a.Place), nil
	},
}
