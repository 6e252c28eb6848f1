package policies

import (
	"cmp"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

var packByTenantEntry = PlacementEntry{
	Name: "pack-by-tenant",
	About: "the node where most replicas of its tenant run, of equals that where the fewest of others do, then the one with the least room left (GPUs, then whole cores), then the " +
		"lowest-numbered",
	Source:  "No paper: preferred affinity to one's own pods and anti-affinity to others' as in Kubernetes (InterPodAffinity); cf. placement by virtual cluster, Jeon et al., USENIX ATC 2019, section 2.3",
	Params:  []Param{scoreParam},
	Company: true,
	New: func(a Args) Place {
		return (&byScore{rate: ownTenant, alike: byTenant, limit: limited(a)}).place
	},
}

var consolidateEntry = PlacementEntry{
	Name: "consolidate",
	About: "a gang on as few nodes as possible: those that hold the most replicas, for the rest the fullest node that holds it; what fits on one node, and ties, as best-fit " +
		"(GPUs, then CPU, then the lowest-numbered)",
	Source: "Gu et al. (Tiresias), NSDI 2019, section 3.4 (consolidated placement), for all jobs; Jeon et al. (Philly), USENIX ATC 2019, section 2.3",
	New:    func(Args) Place { return (&consolidate{}).place },
}

func ownTenant(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	own, others, tenant := int64(0), int64(0), s.Class(t).Tenant
	for _, h := range s.Holders(n) {
		if s.Class(h.Task).Tenant == tenant {
			own += int64(h.Replicas)
		} else {
			others += int64(h.Replicas)
		}
	}
	const few = 1<<14 - 1
	left := max(min(room.FreeGPUMilli(n), 1<<20-1), 0)<<14 + max(min(room.FreeCPU(n)/1000, few), 0)
	return min(own, few)<<48 - min(others, few)<<34 - left
}

// consolidate places gangs on the fewest nodes. Filling the nodes that hold the most does that: no other choice of as many nodes holds more.
type consolidate struct {
	ids   []sched.NodeID
	nodes []hostFit
	one   byScore
}

// hostFit is a node with the replicas that fit on it.
type hostFit struct {
	fit  int32
	left int64
	node sched.NodeID
}

func (c *consolidate) place(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	d := s.DemandID(t)
	dem := &s.Table().Demands[d]
	if c.one.rate == nil {
		c.one.rate = leastLeft
	}
	if dem.Gang == 1 {
		return c.one.place(s, room, t, buf)
	}
	memo := c.one.search(s, room, t)
	rate := func(n sched.NodeID) int64 { return leastLeft(s, room, t, n) }
	c.ids = room.Candidates(d, 0, 0, c.ids[:0])
	c.nodes = c.nodes[:0]
	others := int32(0) // replicas that fit on nodes that are not taken last: these stand first
	for _, n := range c.ids {
		k, last := room.FitsOn(d, n, dem.Gang), room.TakenLast(d, n)
		if last && others >= dem.Gang {
			break
		}
		if !last {
			others = min(others+k, dem.Gang)
		}
		c.nodes = append(c.nodes, hostFit{k, -room.Rated(n, memo, rate), n})
	}
	slices.SortFunc(c.nodes, func(a, b hostFit) int {
		return cmp.Or(cmp.Compare(b.fit, a.fit), cmp.Compare(a.left, b.left), cmp.Compare(a.node, b.node))
	})
	start, need := len(buf), dem.Gang
	for i, h := range c.nodes {
		if h.fit < need {
			buf = fill(room, d, dem, h.node, h.fit, buf)
			need -= h.fit
			continue
		}
		for _, o := range c.nodes[i:] {
			if o.fit < need {
				break
			}
			if o.left < h.left || o.left == h.left && o.node < h.node {
				h = o
			}
		}
		return fill(room, d, dem, h.node, need, buf), true
	}
	return buf[:start], false
}
