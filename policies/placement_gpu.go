package policies

import "github.com/schedlab/schedlab/policies/sched"

// gpuPackingEntry and gpuClusteringEntry are two policies that Weng et al. compare with; they say nothing of tasks without GPUs, which take the
// lowest-numbered node.
var gpuPackingEntry = PlacementEntry{
	Name: "gpu-packing",
	About: "first the GPUs that others share, the fullest; then free GPUs of nodes in use; then idle nodes, those with fewer GPUs first (with more than 16, the more the " +
		"better, as published); the lowest-numbered of equals",
	Source: "GpuPacking in Weng et al., USENIX ATC 2023, section 6; after Weng et al. (MLaaS), NSDI 2022, section 6",
	Params: []Param{scoreParam},
	New: func(a Args) Place {
		return (&byScore{rate: packing, alike: byDemand, limit: limited(a)}).place
	},
}

var gpuClusteringEntry = PlacementEntry{
	Name: "gpu-clustering",
	About: "first nodes on which only tasks of its kind run (a share of a GPU, or that many GPUs), then nodes where some do, then idle ones, then the others; among them the " +
		"fewest free GPUs, in steps of 1/25 of the largest node's; the lowest-numbered of equals",
	Source:  "GpuClustering in Weng et al., USENIX ATC 2023, section 6; after Xiao et al. (Gandiva), OSDI 2018, section 3.3",
	Params:  []Param{scoreParam},
	Company: true,
	New: func(a Args) Place {
		l := &largest{}
		return (&byScore{rate: l.clustering, alike: byDemand, begin: l.begin, limit: limited(a)}).place
	},
}

func packing(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	d := s.DemandID(t)
	dem, all := &s.Table().Demands[d], int64(room.Spec(n).GPUs)
	switch {
	case dem.Need.GPUs == 0:
		return 0
	case int64(room.FreeGPUs(n)) == all:
		return max(33-all, all)
	case !isShare(dem):
		return max(50-int64(dem.Need.GPUs), 33)
	}
	set := room.Devices(d, n, 1)
	if set&room.WholeDevices(n) != 0 {
		return 49
	}
	booked := room.BookedMilli(n)
	for i, b := range booked {
		if set>>i&1 != 0 {
			return max(100-int64(sched.Whole-b)*100/sched.Whole/10, 50)
		}
	}
	return 0
}

// gpuKind is what gpu-clustering tells tasks apart by: the GPUs of a replica, 0 for a share of one, -1 without any.
func gpuKind(dem *sched.Demand) int32 {
	switch {
	case dem.Need.GPUs == 0:
		return -1
	case isShare(dem):
		return 0
	}
	return dem.Need.GPUs
}

func (l *largest) clustering(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	kind := gpuKind(s.Demand(t))
	if kind < 0 {
		return 0
	}
	same, other := false, false
	for _, h := range s.Holders(n) {
		switch k := gpuKind(s.Demand(h.Task)); {
		case k == kind:
			same = true
		case k >= 0:
			other = true
		}
	}
	full := 25 * (l.gpu - room.FreeGPUMilli(n)) / l.gpu
	switch {
	case same && !other:
		return full + 75
	case same:
		return full + 50
	case !other:
		return full + 25
	}
	return full
}
