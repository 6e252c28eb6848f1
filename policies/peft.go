package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// PEFT is Predict Earliest Finish Time (Arabnejad & Barbosa, TPDS 25(3) 2014): the optimistic cost OCT(t, n) is the longest way from t, run on n, to
// the end of its job, if each later task could have the node that is best for it (section 4.1); tasks in the order of the mean of their row of the
// table, of those whose predecessors are placed the largest first, each where its finish plus OCT is least.
//
// Where we differ: means are over the nodes that may run the task. Otherwise as HEFT, also its complexity, O(e x p), which the
// table has as well.
//
// Make one with NewPEFT.
type PEFT struct {
	planner
	oct   []int64 // by task less the first, and node
	nodes int
	best  []int64 // by task: the least OCT plus run time
}

// NewPEFT returns PEFT.
func NewPEFT() *PEFT {
	h := &PEFT{}
	h.m = h
	return h
}

func (h *PEFT) rank(p *planner, s *sched.State, g group) {
	h.nodes = s.Room().Len()
	h.oct = slices.Grow(h.oct[:0], int(g.n)*h.nodes)[:int(g.n)*h.nodes]
	h.best = slices.Grow(h.best[:0], int(g.n))[:g.n]
	clear(h.oct)
	for i := len(p.order) - 1; i >= 0; i-- {
		t := p.order[i]
		row := h.row(g, t)
		for u := range s.Succs(t) {
			if u < g.first || u >= g.end() {
				continue
			}
			next, d := h.row(g, u), s.DemandID(u)
			away := h.best[u-g.first] + p.costs.mean(s.Table().Sends(t, u))
			for n := range row {
				cost := away
				if allowed(s, d, sched.NodeID(n)) {
					cost = min(cost, next[n]+int64(s.EstimateOn(u, sched.NodeID(n))))
				}
				row[n] = min(max(row[n], cost), 1<<61)
			}
		}
		least, sum, count := int64(math.MaxInt64), 0.0, 0
		for n := range row {
			if allowed(s, s.DemandID(t), sched.NodeID(n)) {
				least = min(least, row[n]+int64(s.EstimateOn(t, sched.NodeID(n))))
				sum += float64(row[n])
				count++
			}
		}
		if count == 0 {
			least, sum, count = int64(s.Estimate(t)), 0, 1
		}
		h.best[t-g.first] = least
		p.prio[t-g.first] = int64(math.Round(sum / float64(count)))
	}
}

func (h *PEFT) row(g group, t sched.TaskID) []int64 {
	at := int(t-g.first) * h.nodes
	return h.oct[at : at+h.nodes]
}

func (h *PEFT) pick(p *planner, s *sched.State, g group, t sched.TaskID) (slot, bool) {
	if g.n == 1 {
		return p.finishFirst(s, t, nil)
	}
	row := h.row(g, t)
	return p.finishFirst(s, t, func(n sched.NodeID) int64 { return row[n] })
}

var peftEntry = Entry{
	Name: "peft", Summary: "PEFT: by optimistic cost table, each task where its end and what comes after it promise most.",
	About: "Plans a job when it arrives, with a table of how long the rest of the job takes at best from each task on each node. " +
		"Plans anew when reality differs from the estimates. A share of a GPU gets a GPU of its own. Jobs are planned in the order of arrival: nothing starves.",
	Source: "Arabnejad & Barbosa, IEEE TPDS 25(3) 2014, sections 4 and 5.",
	New:    func(Args) (sched.Policy, error) { return NewPEFT(), nil },
}
