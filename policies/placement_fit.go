package policies

import (
	"math"

	"github.com/schedlab/schedlab/policies/sched"
)

var bestFitEntry = PlacementEntry{
	Name:  "best-fit",
	About: "the node with the least room left, GPUs first, then CPU, the lowest-numbered of equals",
	Source: "Johnson, Demers, Ullman, Garey & Graham, SIAM J. Comput. 1974, section 1; by=sum: BestFit in Weng et al., USENIX ATC 2023, section 6, where the sums are in " +
		"terms of 128 cores and 8 GPUs, here of the largest node's",
	Params: []Param{
		{Name: "by", Default: "gpu", Choices: []string{"gpu", "sum"}, About: "what is left: GPUs and, where they are equal, CPU; or half the share of CPU left and half that of GPUs, in whole percent"},
		scoreParam,
	},
	New: func(a Args) Place {
		if a.Text("by") == "sum" {
			l := &largest{}
			return (&byScore{rate: l.leastSum, alike: byDemand, begin: l.begin, limit: limited(a)}).place
		}
		return (&byScore{rate: leastLeft, limit: limited(a)}).place
	},
}

var worstFitEntry = PlacementEntry{
	Name: "worst-fit", About: "the node with the most room left, GPUs first, then CPU, the lowest-numbered of equals",
	Source: "Johnson, J. Comput. Syst. Sci. 1974, section 4", Params: []Param{scoreParam},
	New: func(a Args) Place { return (&byScore{rate: mostLeft, limit: limited(a)}).place },
}

var dotProductEntry = PlacementEntry{
	Name: "dot-product", About: "the node with the smallest product of what is free and what is asked for, CPU and GPUs as shares of the largest node's, in whole percent; " +
		"the lowest-numbered of equals",
	Source: "DotProd in Weng et al., USENIX ATC 2023, section 6; Grandl et al. (Tetris), SIGCOMM 2014, section 3.2, take the largest product",
	Params: []Param{scoreParam},
	New: func(a Args) Place {
		l := &largest{}
		return (&byScore{rate: l.dotProduct, alike: byDemand, begin: l.begin, limit: limited(a)}).place
	},
}

// mostLeft is the room left on a node: GPUs in 1/1000, then milli-CPU. Of nodes that do not state their CPU those have less left of which more is
// used, and all have more than those that state it.
func mostLeft(_ *sched.State, room *sched.Room, _ sched.TaskID, n sched.NodeID) int64 {
	const half = 1 << 33
	cpu := room.FreeCPU(n)
	if room.Spec(n).CPU >= sched.Unlimited {
		cpu = 2*half - 1 - min(sched.Unlimited-cpu, half-1)
	} else {
		cpu = max(min(cpu, half-1), 0)
	}
	return min(room.FreeGPUMilli(n), math.MaxInt64/(2*half)-1)*2*half + cpu
}

func leastLeft(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	return -mostLeft(s, room, t, n)
}

// leastSum is 100 less half the percentage of the largest node's CPU, and half that of its GPUs, that is left when a replica has been placed.
func (l *largest) leastSum(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	need := &s.Demand(t).Need
	left := 0.5*l.shareCPU(room, n, need.CPU) + 0.5*float64(room.FreeGPUMilli(n)-int64(need.GPUs)*int64(need.GPUMilli))/float64(l.gpu)
	return percent(1 - left)
}

func (l *largest) dotProduct(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	need := &s.Demand(t).Need
	cpu, gpu := float64(need.CPU)/float64(l.cpu), float64(need.GPUs)*float64(need.GPUMilli)/float64(l.gpu)
	return percent(1 - (l.shareCPU(room, n, 0)*cpu+float64(room.FreeGPUMilli(n))/float64(l.gpu)*gpu)/2)
}

// shareCPU is the share of the largest node's CPU that is free on a node when so much has been taken; 0 where the node does not state its CPU.
func (l *largest) shareCPU(room *sched.Room, n sched.NodeID, taken int64) float64 {
	if room.Spec(n).CPU >= sched.Unlimited {
		return 0
	}
	return float64(room.FreeCPU(n)-taken) / float64(l.cpu)
}

// percent is x in whole percent, rounded down. A billionth of a percent makes up for what floating point may have lost.
func percent(x float64) int64 { return int64(math.Floor(100*x + 1e-9)) }
