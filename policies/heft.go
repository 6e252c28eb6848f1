package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// HEFT is Heterogeneous Earliest Finish Time (Topcuoglu, Hariri & Wu, TPDS 13(3) 2002, section 4.1): the tasks of a job in the order of their
// upward ranks, by mean costs of run and transfer, each placed where it finishes first, also between tasks that were placed before.
//
// Where we differ: jobs come one after the other and are planned around what was planned before; a node may hold several tasks; when reality
// differs from the estimates, all that has not started is planned anew (see planner).
//
// The paper's complexity is O(e x p) for e edges and p nodes, each task being tried on each node, and here a search of a node's gaps comes on top; a line in some
// order (fifo) looks at a task only when there is room. So it is for thousands of tasks, not millions; the same holds of CPOP and PEFT.
//
// Make one with NewHEFT.
type HEFT struct {
	planner
	cost []int64
}

// NewHEFT returns HEFT.
func NewHEFT() *HEFT {
	h := &HEFT{}
	h.m = h
	return h
}

func (h *HEFT) rank(p *planner, s *sched.State, g group) {
	h.cost = slices.Grow(h.cost[:0], int(g.n))[:g.n]
	for i := range h.cost {
		h.cost[i] = p.meanCost(s, g.first+sched.TaskID(i))
	}
	p.upward(s, g, h.cost, p.prio)
}

func (h *HEFT) pick(p *planner, s *sched.State, _ group, t sched.TaskID) (slot, bool) {
	return p.finishFirst(s, t, nil)
}

var heftEntry = Entry{
	Name: "heft", Summary: "HEFT: by upward rank, each task where it finishes first.",
	About: "Plans a job when it arrives: by mean upward rank, each task into the earliest gap on the node where it ends first, run time per node and data " +
		"transfers counted. Plans anew when reality differs from the estimates. A share of a GPU gets a GPU of its own. Jobs are planned in the order of arrival: nothing starves.",
	Source: "Topcuoglu, Hariri & Wu, IEEE TPDS 13(3) 2002, section 4.1.",
	New:    func(Args) (sched.Policy, error) { return NewHEFT(), nil },
}
