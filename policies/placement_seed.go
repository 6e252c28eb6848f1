package policies

import "github.com/schedlab/schedlab/policies/sched"

var seedEntry = PlacementEntry{
	Name:   "seed",
	About:  "the node with the best score of free memory, GPU load and storage latency, the lowest-numbered of equals",
	Source: "The node choice described for Open-AutoGLM: 0.5 x free memory ratio + 0.4 x (1 - GPU load) + 0.1 x 1/(1 + storage latency in ms)",
	Params: []Param{scoreParam},
	New: func(a Args) Place {
		p := &seedScore{expires: sched.Never}
		return (&byScore{rate: p.rate, begin: p.begin, limit: limited(a)}).place
	},
}

// seedScore is the node score with what it takes from the nodes' descriptions at hand. A sampled load counts while it is fresh, so the scores
// do not hold for longer than the first of them.
type seedScore struct {
	nodes   []capacities
	expires sched.Time
}

func (p *seedScore) begin(s *sched.State, room *sched.Room) (void bool) {
	for len(p.nodes) < room.Len() {
		p.nodes = append(p.nodes, capacitiesOf(room.Spec(sched.NodeID(len(p.nodes)))))
	}
	if s.Now() < p.expires {
		return false
	}
	p.expires = sched.Never
	return true
}

func (p *seedScore) rate(s *sched.State, room *sched.Room, _ sched.TaskID, n sched.NodeID) int64 {
	sampled, until := sampledLoad(s, n)
	p.expires = min(p.expires, until)
	return p.nodes[n].score(room, n, sampled)
}
