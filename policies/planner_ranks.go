package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// The upward ranks of planners, with the mean cost of communication.

// transfers says how long it takes on average to send between two nodes that are up.
type transfers struct {
	latency, perByte float64 // ns
	sorted           []float64
}

// update takes the means over all pairs of different nodes.
func (c *transfers) update(s *sched.State) {
	c.latency, c.perByte = 0, 0
	if s.Table().EdgeBytes == nil {
		return
	}
	room := s.Room()
	mean := func(of func(*sched.NodeSpec) float64) float64 {
		c.sorted = c.sorted[:0]
		for n := range sched.NodeID(room.Len()) {
			if room.Up(n) {
				c.sorted = append(c.sorted, of(room.Spec(n)))
			}
		}
		slices.Sort(c.sorted)
		sum, n := 0.0, float64(len(c.sorted))
		for i, v := range c.sorted {
			sum += v * float64(i) // the larger of as many pairs
		}
		if n < 2 {
			return 0
		}
		return sum / (n * (n - 1) / 2)
	}
	c.latency = mean(func(n *sched.NodeSpec) float64 { return float64(n.NetworkLatency) })
	c.perByte = mean(func(n *sched.NodeSpec) float64 {
		if n.NetworkMbps > 0 {
			return 8000 / n.NetworkMbps
		}
		return 0
	})
}

// mean returns the mean time to send so many bytes, rounded to ns.
func (c *transfers) mean(bytes int64) int64 {
	if bytes <= 0 {
		return 0
	}
	return int64(min(math.Round(c.latency+c.perByte*float64(bytes)), 1<<60))
}

// meanCost returns the mean run time of a task on the nodes that may run it, or its estimate if none may.
func (p *planner) meanCost(s *sched.State, t sched.TaskID) int64 {
	sum, n := 0.0, 0
	for node := range sched.NodeID(s.Room().Len()) {
		if allowed(s, s.DemandID(t), node) {
			sum += float64(s.EstimateOn(t, node))
			n++
		}
	}
	if n == 0 {
		return int64(s.Estimate(t))
	}
	return int64(min(math.Round(sum/float64(n)), 1<<60))
}

// upward fills rank with the upward ranks of the tasks of g (Topcuoglu et al. 2002, eq. 8), of their mean costs in cost, in ns.
func (p *planner) upward(s *sched.State, g group, cost, rank []int64) {
	for i := len(p.order) - 1; i >= 0; i-- {
		t := p.order[i]
		most := int64(0)
		for u := range s.Succs(t) {
			if u >= g.first && u < g.end() {
				most = max(most, p.costs.mean(s.Table().Sends(t, u))+rank[u-g.first])
			}
		}
		rank[t-g.first] = min(most+cost[t-g.first], 1<<61)
	}
}
