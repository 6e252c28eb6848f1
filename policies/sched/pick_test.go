package sched

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPickFindsTheBestOfTheCandidates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		demands := []Demand{
			{Gang: 1, Need: Need{CPU: 1000}},
			{Gang: 1, Need: Need{CPU: 500, Mem: 2 << 30}},
			{Gang: 1, Need: Need{GPUs: 2, GPUMilli: Whole, Mem: 1 << 30}, GPUTypes: []string{"A"}},
			{Gang: 1, Need: Need{GPUs: 1, GPUMilli: 400, VRAM: 3 << 30}},
			{Gang: 1, Need: Need{GPUs: 20, GPUMilli: Whole}},
			{Gang: 1},
		}
		var specs []NodeSpec
		for range rapid.IntRange(1, 150).Draw(rt, "nodes") {
			specs = append(specs, NodeSpec{
				CPU: rapid.Int64Range(1, 4).Draw(rt, "cpu") * 1000, Mem: rapid.Int64Range(1, 4).Draw(rt, "mem") << 30, VRAM: 8 << 30,
				GPUs: rapid.SampledFrom([]int32{0, 2, 4, 24}).Draw(rt, "gpus"), GPUType: rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "type"),
			})
		}
		r := NewRoom(specs, &demands)
		for range rapid.IntRange(0, 200).Draw(rt, "tasks") {
			d := DemandID(rapid.IntRange(0, len(demands)-1).Draw(rt, "demand"))
			if on, ok := r.FirstFit(d, nil); ok {
				r.Take(&demands[d].Need, on[0])
			}
		}
		if n := rapid.IntRange(-1, len(specs)-1).Draw(rt, "down"); n >= 0 {
			r.setUp(NodeID(n), false)
		}
		if n := rapid.IntRange(-1, len(specs)-1).Draw(rt, "overbooked"); n >= 0 { // as by a claim
			r.nodes[n].mem = -1
			r.occupy(NodeID(n), specs[n].CPU+1000, 0)
		}
		score, some := make([]int64, len(specs)), make([]int64, len(specs))
		top := make([]int64, (len(specs)+63)/64)
		for i := range top {
			top[i] = Unrated
		}
		for i := range score {
			score[i] = rapid.Int64Range(-5, 5).Draw(rt, "score")
			some[i] = score[i]
			if rapid.Bool().Draw(rt, "unrated") {
				some[i] = Unrated
			}
			top[i/64] = max(top[i/64], score[i])
		}
		for d := range demands {
			if len(r.Candidates(DemandID(d), 0, 1, nil)) > 0 && !r.Roomy(DemandID(d)) {
				rt.Fatalf("there is room for demand %d", d)
			}
			for _, limit := range []int{1, 3, 8, 0} {
				want := NoNode
				for _, n := range r.Candidates(DemandID(d), 0, limit, nil) {
					if want == NoNode || score[n] > score[want] {
						want = n
					}
				}
				if got := r.Pick(DemandID(d), limit, some, func(n NodeID) int64 { return score[n] }); got != want {
					rt.Fatalf("demand %d, the best of %d is %d, picked %d", d, limit, want, got)
				}
				if limit == 0 {
					if got := r.PickAny(DemandID(d), score, top); got != want {
						rt.Fatalf("demand %d, the best of all is %d, picked %d", d, want, got)
					}
				}
			}
		}
	})
}
