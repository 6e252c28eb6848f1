package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

type placement struct {
	fn    Place
	about string
}

var placements = map[string]placement{
	"first-fit": {FirstFit, "the lowest-numbered nodes on which it fits"},
	"best-fit":  {fitBy(leastLeft), "the node with the least room left (GPUs, then CPU), the lowest-numbered of equals"},
	"worst-fit": {fitBy(mostLeft), "the node with the most room left (GPUs, then CPU), the lowest-numbered of equals"},
	"seed":      {fitBy(bestScore), "the node with the best score of free memory, GPU load and storage latency (S7)"},
}

// PlacementNames returns the names of the placements that `policy+placement` takes, sorted.
func PlacementNames() []string {
	var out []string
	for name := range placements {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// AboutPlacement explains a placement.
func AboutPlacement(name string) string { return placements[name].about }

// left is the room left on a node, most scarce resource first.
func left(room *sched.Room, n sched.NodeID) (gpu, cpu int64) {
	return room.FreeGPUMilli(n), room.FreeCPU(n)
}

func leastLeft(_ *sched.State, room *sched.Room, a, b sched.NodeID) bool {
	ga, ca := left(room, a)
	gb, cb := left(room, b)
	return ga < gb || ga == gb && ca < cb
}

func mostLeft(s *sched.State, room *sched.Room, a, b sched.NodeID) bool {
	return leastLeft(s, room, b, a)
}

func bestScore(s *sched.State, room *sched.Room, a, b sched.NodeID) bool {
	return NodeScore(s, room, a) > NodeScore(s, room, b)
}

// fitBy makes a Place of an order of nodes: replicas go to the node that comes first among all on which one fits, as many as fit, then to
// the next.
func fitBy(before func(s *sched.State, room *sched.Room, a, b sched.NodeID) bool) Place {
	return func(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
		d := s.DemandID(t)
		dem := s.Demand(t)
		var few [16]sched.NodeID
		nodes := room.Candidates(d, 0, 0, few[:0])
		if len(nodes) == 0 {
			return buf, false
		}
		if dem.Gang == 1 {
			best := nodes[0]
			for _, n := range nodes[1:] {
				if before(s, room, n, best) {
					best = n
				}
			}
			return append(buf, sched.Placement{Node: best, Replicas: 1, GPUs: room.Devices(d, best, 1)}), true
		}
		if dem.Need.GPUs > 0 && dem.Need.GPUMilli < sched.Whole {
			return room.FirstFit(d, buf)
		}
		slices.SortStableFunc(nodes, func(a, b sched.NodeID) int {
			switch {
			case before(s, room, a, b):
				return -1
			case before(s, room, b, a):
				return 1
			}
			return int(a - b)
		})
		start, need := len(buf), dem.Gang
		for _, n := range nodes {
			if k := room.FitsOn(d, n, need); k > 0 {
				buf = append(buf, sched.Placement{Node: n, Replicas: k, GPUs: room.Devices(d, n, k)})
				if need -= k; need == 0 {
					return buf, true
				}
			}
		}
		return buf[:start], false
	}
}
