package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// CPOP is Critical Path On a Processor (Topcuoglu, Hariri & Wu, TPDS 13(3) 2002, section 4.2): the tasks of a job in the order of upward plus downward
// rank, of those whose predecessors are placed the largest first; the tasks of the critical path all on the node that runs them in the least time
// together, the others where they finish first.
//
// Where we differ: of nodes that would run the critical path in equal time, that on which its first task finishes first, or runs already; a
// critical task that fits on no one node, or not on that one, is placed as the others are; a job of one task has no path that would be
// worth a queue for the fastest node, and is placed as by HEFT. Otherwise as HEFT, also its complexity, O(e x p).
//
// Make one with NewCPOP.
type CPOP struct {
	planner
	cost, up, down []int64
	critical       []bool
	on             sched.NodeID // of the critical path; NoNode if there is none
}

// NewCPOP returns CPOP.
func NewCPOP() *CPOP {
	c := &CPOP{}
	c.m = c
	return c
}

func (c *CPOP) rank(p *planner, s *sched.State, g group) {
	for _, list := range []*[]int64{&c.cost, &c.up, &c.down} {
		*list = slices.Grow((*list)[:0], int(g.n))[:g.n]
		clear(*list)
	}
	c.critical = slices.Grow(c.critical[:0], int(g.n))[:g.n]
	clear(c.critical)
	for i := range c.cost {
		c.cost[i] = p.meanCost(s, g.first+sched.TaskID(i))
	}
	p.upward(s, g, c.cost, c.up)
	for _, t := range p.order {
		i := t - g.first
		for u := range s.Succs(t) {
			if u >= g.first && u < g.end() {
				c.down[u-g.first] = max(c.down[u-g.first], min(c.down[i]+c.cost[i]+p.costs.mean(s.Table().Sends(t, u)), 1<<61))
			}
		}
		p.prio[i] = c.up[i] + c.down[i]
	}
	// From the entry task of the largest priority along the largest.
	first := sched.Nobody
	for _, t := range p.order {
		if c.down[t-g.first] == 0 && !c.within(s, g, t) && (first == sched.Nobody || p.prio[t-g.first] > p.prio[first-g.first]) {
			first = t
		}
	}
	for t := first; t != sched.Nobody; {
		c.critical[t-g.first] = true
		next := sched.Nobody
		for u := range s.Succs(t) {
			if u >= g.first && u < g.end() && (next == sched.Nobody || p.prio[u-g.first] > p.prio[next-g.first]) {
				next = u
			}
		}
		t = next
	}
	c.choose(p, s, g, first)
}

// within reports whether a task has a predecessor in its group.
func (c *CPOP) within(s *sched.State, g group, t sched.TaskID) bool {
	for q := range s.Preds(t) {
		if q >= g.first && q < g.end() {
			return true
		}
	}
	return false
}

// choose picks the node of the critical path.
func (c *CPOP) choose(p *planner, s *sched.State, g group, first sched.TaskID) {
	c.on = sched.NoNode
	least, soonest := int64(math.MaxInt64), sched.Never
	runs := sched.NoNode // where its first task has been started
	if s.Phase(first) != sched.Unknown {
		if runs = s.LastNode(first); runs != sched.NoNode && !holdsGang(s.Demand(first), s.Room().Spec(runs)) {
			runs = sched.NoNode // it is the first of several
		}
	}
	known := runs == sched.NoNode && p.gather(s, g, first)
	for n := range sched.NodeID(s.Room().Len()) {
		sum, ok := int64(0), true
		for i, on := range c.critical {
			if t := g.first + sched.TaskID(i); on && ok {
				ok = allowed(s, s.DemandID(t), n)
				sum = min(sum+int64(s.EstimateOn(t, n)), 1<<61)
			}
		}
		if !ok || sum > least {
			continue
		}
		end := sched.Never
		if known {
			if sl, ok := p.slotOn(s, first, n); ok {
				end = sl.end
			}
		}
		if sum < least || n == runs || c.on != runs && end < soonest {
			c.on, least, soonest = n, sum, end
		}
	}
}

// holdsGang reports whether a node, if empty, has room for all replicas of a demand.
func holdsGang(d *sched.Demand, n *sched.NodeSpec) bool {
	all := booked(d, n, d.Gang)
	return all.CPU <= n.CPU && all.Mem <= n.Mem && all.GPUs <= int64(n.GPUs)
}

func (c *CPOP) pick(p *planner, s *sched.State, g group, t sched.TaskID) (slot, bool) {
	if g.n > 1 && c.critical[t-g.first] && c.on != sched.NoNode {
		if sl, ok := p.slotOn(s, t, c.on); ok {
			return sl, true
		}
	}
	return p.finishFirst(s, t, nil)
}

var cpopEntry = Entry{
	Name: "cpop", Summary: "CPOP: the critical path on one node, the others where they finish first.",
	About: "Plans a job when it arrives, in the order of upward plus downward rank; the tasks of its critical path go to the node that runs them fastest, " +
		"also where they have to wait for it. Plans anew when reality differs from the estimates. A share of a GPU gets a GPU of its own. Jobs are planned in the order of arrival: nothing starves.",
	Source: "Topcuoglu, Hariri & Wu, IEEE TPDS 13(3) 2002, section 4.2.",
	New:    func(Args) (sched.Policy, error) { return NewCPOP(), nil },
}
