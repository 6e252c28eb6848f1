package policies

import "github.com/schedlab/schedlab/policies/sched"

// gangs remembers where tasks with more than one placement run: when a policy is told of their end, the state says no longer on which nodes they
// were, but for the first. The zero value is empty.
type gangs struct {
	nodes map[sched.TaskID][]sched.NodeID
	spare [][]sched.NodeID // reused
}

// note keeps the nodes of t, one for each placement, if it has more than one.
func (g *gangs) note(t sched.TaskID, on []sched.Placement) {
	if len(on) < 2 || g.nodes[t] != nil {
		return
	}
	if g.nodes == nil {
		g.nodes = map[sched.TaskID][]sched.NodeID{}
	}
	var nodes []sched.NodeID
	if last := len(g.spare) - 1; last >= 0 {
		nodes, g.spare = g.spare[last][:0], g.spare[:last]
	}
	for _, p := range on {
		nodes = append(nodes, p.Node)
	}
	g.nodes[t] = nodes
}

// take forgets t and returns its nodes, valid until the next note; nil where nothing was noted.
func (g *gangs) take(t sched.TaskID) []sched.NodeID {
	if len(g.nodes) == 0 {
		return nil
	}
	nodes := g.nodes[t]
	if nodes != nil {
		delete(g.nodes, t)
		g.spare = append(g.spare, nodes)
	}
	return nodes
}

// ganged finds out whether a task may stand on several nodes.
type ganged struct {
	seen int  // demands of the table that have been looked at
	is   bool // one of them is a gang
}

func (g *ganged) any(s *sched.State) bool {
	for demands := s.Table().Demands; g.seen < len(demands); g.seen++ {
		g.is = g.is || demands[g.seen].Gang > 1
	}
	return g.is
}
