package policies

import (
	"cmp"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Lookahead is HEFT with lookahead (Bittencourt, Sakellariou & Madeira, PDP 2010): tasks in the order of their upward ranks, each on the node from which
// its successors can finish first: for every node the task is placed there for a trial, and then its successors where each finishes first;
// the largest of their ends decides, ties to the earlier end of the task itself, then to the lower node. With depth all, every task of the job
// that is not placed is placed for the trial, and the job's end decides.
//
// Where we differ: predecessors of a successor that have no place yet are passed over; a gang that fits on no one node is placed as by HEFT. The trials
// look at what runs, so that a start may change what comes out of them: every decision plans anew.
//
// A trial places what follows on every node, for every node: a plan of n tasks takes O(n x c x p^2) for c successors a task and p nodes, with depth all
// O(n^2 x p^2), where HEFT takes O(e x p), and every decision makes one. So it is for single workflows.
//
// Make one with NewLookahead.
type Lookahead struct {
	HEFT
	All    bool // depth all
	trials []sched.TaskID
	next   []sched.TaskID
	end    sched.Time // of the trials
}

// NewLookahead returns HEFT with lookahead: to the successors, or to all of the job.
func NewLookahead(all bool) *Lookahead {
	l := &Lookahead{All: all}
	l.m = l
	return l
}

func (l *Lookahead) pick(p *planner, s *sched.State, g group, t sched.TaskID) (slot, bool) {
	if g.n == 1 {
		return p.finishFirst(s, t, nil)
	}
	p.exact = false
	later := l.later(p, s, g, t)
	var best slot
	least, found := sched.Never, false
	for n := range sched.NodeID(s.Room().Len()) {
		p.gather(s, g, t)
		sl, ok := p.slotOn(s, t, n)
		if !ok {
			continue
		}
		gangs := len(p.gangs)
		l.trials, l.end = l.trials[:0], sl.end
		l.try(p, s, t, sl)
		for _, u := range later {
			l.gather(p, s, u)
			if sl, ok := p.finishFirst(s, u, nil); ok {
				l.try(p, s, u, sl)
			}
		}
		for i := len(l.trials) - 1; i >= 0; i-- {
			pl := &p.plans[l.trials[i]]
			p.book(s, l.trials[i], pl, pl.start, -1)
			pl.kind = arrived
		}
		p.gangs = p.gangs[:gangs]
		if !found || l.end < least || l.end == least && sl.end < best.end {
			best, least, found = sl, l.end, true
		}
	}
	p.plans[t].kind = unplanned
	if !found {
		p.gather(s, g, t)
		return p.finishFirst(s, t, nil)
	}
	return best, true
}

// later returns the tasks that are placed for a trial of t, in the order of the ranks.
func (l *Lookahead) later(p *planner, s *sched.State, g group, t sched.TaskID) []sched.TaskID {
	open := func(u sched.TaskID) bool {
		return u != t && p.plans[u].kind == arrived && (s.Phase(u) == sched.Ready || s.Phase(u) == sched.Blocked)
	}
	l.next = l.next[:0]
	if l.All {
		for _, u := range p.order {
			if open(u) {
				l.next = append(l.next, u)
			}
		}
		return l.next
	}
	for u := range s.Succs(t) {
		if u >= g.first && u < g.end() && open(u) {
			l.next = append(l.next, u)
		}
	}
	slices.SortFunc(l.next, func(a, b sched.TaskID) int {
		return cmp.Or(cmp.Compare(p.prio[b-g.first], p.prio[a-g.first]), cmp.Compare(a, b))
	})
	return l.next
}

// try places a task for a trial.
func (l *Lookahead) try(p *planner, s *sched.State, t sched.TaskID, sl slot) {
	pl := &p.plans[t]
	*pl = plan{start: sl.start, end: sl.end, node: sl.node, kind: planned}
	if sl.parts > 0 {
		pl.gang, pl.parts = int32(len(p.gangs))+1, int32(sl.parts)
		p.gangs = append(p.gangs, p.on[:sl.parts]...)
	}
	p.book(s, t, pl, pl.start, 1)
	l.trials = append(l.trials, t)
	l.end = max(l.end, sl.end)
}

// gather is planner.gather, but passes over predecessors that have no place.
func (l *Lookahead) gather(p *planner, s *sched.State, t sched.TaskID) {
	p.preds = p.preds[:0]
	for q := range s.Preds(t) {
		a := arrival{bytes: s.Table().Sends(q, t)}
		switch k := p.plans[q].kind; {
		case s.Phase(q) == sched.Done:
			o := s.Outcome(q)
			a.end, a.node = o.End, o.Node
		case k == planned || k == started:
			a.end, a.node = p.plans[q].end, p.plans[q].node
		default:
			continue
		}
		p.preds = append(p.preds, a)
	}
}

var lookaheadEntry = Entry{
	Name: "lookahead", Summary: "HEFT with lookahead: each task where its successors can finish first.",
	About: "Plans as HEFT does, but tries every node for every task and looks how soon the successors, or all the rest of the job, would be done. Every decision plans anew, which takes " +
		"time that grows with the square of the tasks and nodes, and with depth=all of the tasks once more: for single workflows. Jobs are planned in the order of arrival: nothing starves.",
	Source: "Bittencourt, Sakellariou & Madeira, PDP 2010; depth=all as the Lookahead scheduler of DSLab-DAG.",
	Params: []Param{{Name: "depth", Default: "children", About: "what is placed for a trial: the task's children (successors), or all of its job", Choices: []string{"children", "all"}}},
	New:    func(a Args) (sched.Policy, error) { return NewLookahead(a.Text("depth") == "all"), nil },
}
