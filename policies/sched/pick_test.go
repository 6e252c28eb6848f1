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
			{Gang: 1, Need: Need{CPU: 1000}, Tolerations: []Toleration{{Exists: true}}},
		}
		var specs []NodeSpec
		for range rapid.IntRange(1, 150).Draw(rt, "nodes") {
			specs = append(specs, NodeSpec{
				CPU: rapid.Int64Range(1, 4).Draw(rt, "cpu") * 1000, Mem: rapid.Int64Range(1, 4).Draw(rt, "mem") << 30, VRAM: 8 << 30,
				GPUs: rapid.SampledFrom([]int32{0, 2, 4, 24}).Draw(rt, "gpus"), GPUType: rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "type"),
				Taints: softTaints(rt),
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
					if want == NoNode || score[n] > score[want] && r.TakenLast(DemandID(d), n) == r.TakenLast(DemandID(d), want) {
						want = n
					}
				}
				if got := r.Pick(DemandID(d), limit, some, func(n NodeID) int64 { return score[n] }); got != want {
					rt.Fatalf("demand %d, the best of %d is %d, picked %d", d, limit, want, got)
				}
				rate := func(n NodeID) int64 { return score[n] }
				if got := r.PickRated(DemandID(d), limit, make([]Rating, len(specs)), make([]Favourite, r.Blocks()), rate); got != want {
					rt.Fatalf("demand %d, the best of %d is %d, picked %d by ratings", d, limit, want, got)
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

// softTaints draws the taints of a node: mostly none.
func softTaints(rt *rapid.T) []Taint {
	if rapid.IntRange(0, 3).Draw(rt, "soft") > 0 {
		return nil
	}
	return []Taint{{"hot", "", "PreferNoSchedule"}}
}

// TestRatingsHoldUntilTheNodeChanges books and frees on a room and on a copy of it that comes and goes, and picks by ratings that are kept all
// along: each time what a scan of all nodes finds.
func TestRatingsHoldUntilTheNodeChanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		demands := []Demand{
			{Gang: 1, Need: Need{CPU: 1000}},
			{Gang: 1, Need: Need{GPUs: 1, GPUMilli: Whole, CPU: 500}},
			{Gang: 1, Need: Need{GPUs: 1, GPUMilli: 300}},
			{Gang: 1, Need: Need{GPUs: 3, GPUMilli: Whole}},
		}
		var specs []NodeSpec
		for range rapid.IntRange(1, 70).Draw(rt, "nodes") {
			specs = append(specs, NodeSpec{CPU: 8000, Mem: Unlimited, VRAM: Unlimited, GPUs: rapid.SampledFrom([]int32{0, 2, 4}).Draw(rt, "gpus"), Taints: softTaints(rt)})
		}
		room, plan := NewRoom(specs, &demands), &Room{}
		plan.CopyFrom(room)
		memo := make([]Rating, len(specs))
		best := make([][]Favourite, len(demands))
		for d := range best {
			best[d] = make([]Favourite, room.Blocks())
		}
		type booked struct {
			d DemandID
			p Placement
		}
		held := map[*Room][]booked{}
		asked, picks := 0, 0
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			r := rapid.SampledFrom([]*Room{room, room, plan}).Draw(rt, "room")
			value := func(n NodeID) int64 { return r.FreeGPUMilli(n)<<20 + r.FreeCPU(n) }
			rate := func(n NodeID) int64 { asked++; return value(n) }
			switch d := DemandID(rapid.IntRange(0, len(demands)-1).Draw(rt, "demand")); rapid.IntRange(0, 5).Draw(rt, "act") {
			case 0:
				plan.CopyFrom(room)
				held[plan] = append([]booked(nil), held[room]...)
			case 1:
				if n := len(held[r]); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(rt, "which")
					b := held[r][i]
					if !r.giveWhole(&demands[b.d].Need, &b.p) {
						r.Give(&demands[b.d].Need, b.p)
					}
					held[r] = append(held[r][:i:i], held[r][i+1:]...)
				}
			case 2:
				n := NodeID(rapid.IntRange(0, len(specs)-1).Draw(rt, "node"))
				r.setUp(n, !r.Up(n))
			case 3:
				r.occupy(NodeID(rapid.IntRange(0, len(specs)-1).Draw(rt, "node")), rapid.Int64Range(-1, 1).Draw(rt, "cpu")*1000, 0)
			default:
				want := NoNode
				for _, n := range r.Candidates(d, 0, 0, nil) {
					if want == NoNode || value(n) > value(want) && r.TakenLast(d, n) == r.TakenLast(d, want) {
						want = n
					}
				}
				got := r.PickRated(d, 0, memo, best[d], rate)
				if picks++; got != want {
					rt.Fatalf("demand %d: the best is %d, picked %d", d, want, got)
				}
				if want == NoNode {
					continue
				}
				p := Placement{Node: want, Replicas: 1, GPUs: r.Devices(d, want, 1)}
				if plan := r.plan(d); plan.exact && plan.gpu {
					p.GPUs = r.takeWhole(&demands[d].Need, want)
				} else {
					r.Take(&demands[d].Need, p)
				}
				held[r] = append(held[r], booked{d, p})
			}
		}
		if asked > len(specs)*(picks+1) {
			rt.Fatalf("%d ratings for %d picks", asked, picks)
		}
	})
}
