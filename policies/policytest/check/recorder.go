package check

import (
	"fmt"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Recorder builds the attempts of a run from the facts and orders that pass between a kernel and its driver. An order to start opens
// a span; a fact about the live attempt closes it, a lost node gives its replicas back at once. Facts about other attempts
// are ignored. The zero value is ready.
type Recorder struct {
	spans    []Span
	live     map[sched.TaskID]int // index into spans of the open attempt
	stopping map[sched.TaskID]int32
	last     map[sched.TaskID]int // index into spans of the newest attempt
	down     map[sched.NodeID]bool
	now      sched.Time
	began    bool
	order    int64
	problems []Violation
	rejected map[sched.TaskID]bool
	faults   []Fault
	outages  []Outage
	hit      []int // scratch
	batches  int
	commands int
}

// Tap takes one batch: the facts that went in and the orders that came out. It keeps nothing of the slices.
func (r *Recorder) Tap(now sched.Time, in []sched.Event, out []sched.Command) {
	if r.live == nil {
		r.live, r.last = map[sched.TaskID]int{}, map[sched.TaskID]int{}
		r.stopping, r.down, r.rejected = map[sched.TaskID]int32{}, map[sched.NodeID]bool{}, map[sched.TaskID]bool{}
	}
	if r.began && now < r.now {
		r.problem(sched.Nobody, now, "time falls from %s", stamp(r.now))
	}
	r.now, r.began = now, true
	r.batches++
	for i := range in {
		r.order++
		r.fact(now, &in[i])
	}
	for i := range out {
		r.order++
		r.commands++
		r.command(now, &out[i])
	}
}

func (r *Recorder) fact(now sched.Time, e *sched.Event) {
	switch e.Kind {
	case sched.Finished:
		r.close(now, e, Complete)
	case sched.FailedAttempt:
		r.close(now, e, Broken)
	case sched.Killed:
		r.close(now, e, Cut)
	case sched.Stopped:
		i, ok := r.live[e.Task]
		if !ok || r.spans[i].Attempt != e.Attempt {
			return
		}
		if r.stopping[e.Task] != e.Attempt {
			r.problem(e.Task, now, "attempt %d stopped without an order", e.Attempt)
		}
		if r.spans[i].Gone != nil {
			r.close(now, e, Lost)
		} else {
			r.close(now, e, Halted)
		}
	case sched.DependencyDown, sched.DependencyUp:
		if e.More == nil || e.More.Name != sched.CheckpointStorage {
			return
		}
		last := len(r.outages) - 1
		if open := last >= 0 && r.outages[last].To == sched.Never; open && e.Kind == sched.DependencyUp {
			r.outages[last].To = now
		} else if !open && e.Kind == sched.DependencyDown {
			r.outages = append(r.outages, Outage{now, sched.Never})
		}
	case sched.NodeDown:
		r.faults = append(r.faults, Fault{At: now, Node: e.Node})
		r.down[e.Node] = true
		r.hit = r.hit[:0]
		for _, i := range r.live {
			r.hit = append(r.hit, i)
		}
		slices.Sort(r.hit) // in the order of starts
		for _, i := range r.hit {
			r.lose(now, &r.spans[i], e.Node)
		}
	case sched.NodeDrain:
		r.down[e.Node] = true
	case sched.NodeUp:
		r.faults = append(r.faults, Fault{At: now, Node: e.Node, Up: true})
		delete(r.down, e.Node)
	}
}

// close ends the live attempt that the fact is about.
func (r *Recorder) close(now sched.Time, e *sched.Event, how How) {
	i, ok := r.live[e.Task]
	if !ok || r.spans[i].Attempt != e.Attempt {
		return
	}
	s := &r.spans[i]
	s.End, s.end, s.How = now, r.order, how
	delete(r.live, e.Task)
}

// lose takes a node from an attempt. When its last node is gone the attempt is over; until then the others hold.
func (r *Recorder) lose(now sched.Time, s *Span, node sched.NodeID) {
	if s.How != Open {
		return
	}
	hit, left := false, false
	for j, p := range s.On {
		switch {
		case s.Gone != nil && s.Gone[j] != sched.Never: // gone before
		case p.Node == node:
			if s.Gone == nil {
				s.Gone, s.gone = make([]sched.Time, len(s.On)), make([]int64, len(s.On))
				for x := range s.Gone {
					s.Gone[x] = sched.Never
				}
			}
			s.Gone[j], s.gone[j] = now, r.order
			hit = true
		default:
			left = true
		}
	}
	if hit && !left {
		s.End, s.end, s.How = now, r.order, Lost
		delete(r.live, s.Task)
	}
}

func (r *Recorder) command(now sched.Time, c *sched.Command) {
	switch c.Kind {
	case sched.Start:
		if i, ok := r.live[c.Task]; ok {
			r.problem(c.Task, now, "attempt %d is started while attempt %d runs", c.Attempt, r.spans[i].Attempt)
			r.spans[i].End, r.spans[i].end, r.spans[i].How = now, r.order, Unsaid
		}
		for _, p := range c.On {
			if r.down[p.Node] {
				r.problem(c.Task, now, "attempt %d is started on node %d, which is down", c.Attempt, p.Node)
			}
		}
		r.live[c.Task] = len(r.spans)
		r.last[c.Task] = len(r.spans)
		r.spans = append(r.spans, Span{
			Task: c.Task, Attempt: c.Attempt, Start: now, End: sched.Never, How: Open, begin: r.order, batch: r.batches,
			On: append([]sched.Placement(nil), c.On...),
		})
	case sched.Stop:
		i, ok := r.last[c.Task]
		switch {
		case !ok || r.spans[i].Attempt != c.Attempt:
			r.problem(c.Task, now, "an order to stop attempt %d, which was never started or is not the newest", c.Attempt)
		case r.spans[i].How != Open && r.spans[i].How != Lost:
			r.problem(c.Task, now, "an order to stop attempt %d, which is known to be %s", c.Attempt, r.spans[i].How)
		}
		if ok {
			r.spans[i].asked = now
		}
		r.stopping[c.Task] = c.Attempt
	case sched.Reject:
		r.rejected[c.Task] = true
	}
}

func (r *Recorder) problem(t sched.TaskID, at sched.Time, format string, args ...any) {
	r.problems = append(r.problems, Violation{"stream", t, at, fmt.Sprintf(format, args...)})
}

// Spans returns the attempts in the order of their starts. The recorder keeps the slice.
func (r *Recorder) Spans() []Span { return r.spans }

// Batches counts the batches that were seen.
func (r *Recorder) Batches() int { return r.batches }

// Commands counts the orders that were seen.
func (r *Recorder) Commands() int { return r.commands }

// Check is Check on what was recorded, with what was wrong in the stream itself: time falling, two live attempts, a start on a lost
// node, a stop without an order or of an attempt known to be over, a task rejected that no order rejected.
func (r *Recorder) Check(c Case, outcome func(sched.TaskID) sched.Outcome) []Violation {
	out := append([]Violation(nil), r.problems...)
	for t := range c.Table.Tasks {
		o := outcome(sched.TaskID(t))
		if o.Phase == sched.Rejected && !r.rejected[sched.TaskID(t)] {
			out = append(out, Violation{"outcome", sched.TaskID(t), o.End, "is rejected without an order"})
		}
	}
	return append(out, Check(c, r.spans, outcome)...)
}
