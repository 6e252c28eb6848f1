package policies

import "github.com/schedlab/schedlab/policies/sched"

// claims are the tasks that wait for victims to stop, each with the nodes on which it has booked room.
type claims []claimed

type claimed struct {
	task  sched.TaskID
	round int // the decision that ordered it, where somebody counts them
	nodes []sched.NodeID
}

// add appends a task that has been ordered to claim room. Its nodes are valid until the next claim.
func (c *claims) add(s *sched.State, t sched.TaskID) []sched.NodeID {
	k := len(*c)
	if k < cap(*c) {
		*c = (*c)[:k+1]
	} else {
		*c = append(*c, claimed{})
	}
	it := &(*c)[k]
	it.task, it.round, it.nodes = t, 0, it.nodes[:0]
	for _, p := range s.Placements(t) {
		it.nodes = append(it.nodes, p.Node)
	}
	return it.nodes
}

// find returns where the claim of a task stands, -1 where it has none.
func (c claims) find(t sched.TaskID) int {
	for k := range c {
		if c[k].task == t {
			return k
		}
	}
	return -1
}

// take takes a claim out, whose place the last one gets, and returns its nodes, which are valid until the next claim.
func (c *claims) take(k int) []sched.NodeID {
	all := *c
	last := len(all) - 1
	all[k], all[last] = all[last], all[k]
	*c = all[:last]
	return all[last].nodes
}
