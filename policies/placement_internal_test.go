package policies

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// plainScores are the placements by score, worked out from their definitions for one node, without memory. A score is a list of numbers, the
// larger first.
var plainScores = map[string]func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64{
	"best-fit": func(_ *sched.State, room *sched.Room, _ sched.TaskID, n sched.NodeID) []int64 {
		return []int64{-room.FreeGPUMilli(n), -max(room.FreeCPU(n), 0)}
	},
	"worst-fit": func(_ *sched.State, room *sched.Room, _ sched.TaskID, n sched.NodeID) []int64 {
		return []int64{room.FreeGPUMilli(n), max(room.FreeCPU(n), 0)}
	},
	"best-fit{by=sum}": func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64 {
		cpu, gpu, need := mostCPU(room), mostGPU(room), s.Demand(t).Need
		left := new(big.Rat).Add(half(free(room, n)-need.CPU, cpu), half(room.FreeGPUMilli(n)-int64(need.GPUs)*int64(need.GPUMilli), gpu))
		if room.Spec(n).CPU >= sched.Unlimited {
			left = half(room.FreeGPUMilli(n)-int64(need.GPUs)*int64(need.GPUMilli), gpu)
		}
		return []int64{wholePercent(left)}
	},
	"dot-product": func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64 {
		cpu, gpu, need := mostCPU(room), mostGPU(room), s.Demand(t).Need
		x := new(big.Rat).Mul(big.NewRat(free(room, n), cpu), half(need.CPU, cpu))
		y := new(big.Rat).Mul(big.NewRat(room.FreeGPUMilli(n), gpu), half(int64(need.GPUs)*int64(need.GPUMilli), gpu))
		return []int64{wholePercent(x.Add(x, y))}
	},
	"gpu-packing": func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64 {
		d := s.DemandID(t)
		need, gpus := s.Demand(t).Need, int64(room.Spec(n).GPUs)
		if need.GPUs == 0 {
			return []int64{0}
		}
		if int64(room.FreeGPUs(n)) == gpus {
			return []int64{max(33-gpus, gpus)}
		}
		if need.GPUMilli == sched.Whole {
			return []int64{max(50-int64(need.GPUs), 33)}
		}
		least := int64(sched.Whole)
		for i, b := range room.BookedMilli(n) {
			if room.ShareFits(d, n, i) {
				least = min(least, int64(sched.Whole-b))
			}
		}
		if least == sched.Whole {
			return []int64{49}
		}
		return []int64{max(100-least/10/10, 50)}
	},
	"gpu-clustering": func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64 {
		kinds := map[int32]bool{}
		kind := func(t sched.TaskID) int32 {
			if need := s.Demand(t).Need; need.GPUMilli == sched.Whole {
				return need.GPUs
			}
			return 0
		}
		if s.Demand(t).Need.GPUs == 0 {
			return []int64{0}
		}
		heldOn(s, n, func(u sched.TaskID, _ int32) {
			if s.Demand(u).Need.GPUs > 0 {
				kinds[kind(u)] = true
			}
		})
		q := 25 * (mostGPU(room) - room.FreeGPUMilli(n)) / mostGPU(room)
		switch mine := kinds[kind(t)]; {
		case mine && len(kinds) == 1:
			q += 75
		case mine:
			q += 50
		case len(kinds) == 0:
			q += 25
		}
		return []int64{q}
	},
	"fgd": func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64 {
		score, _ := plainFGD(s, room, t, n)
		return []int64{score}
	},
	"seed": func(s *sched.State, room *sched.Room, _ sched.TaskID, n sched.NodeID) []int64 {
		return []int64{int64(math.Round(1e9 * NodeScore(s, room, n)))}
	},
	"pack-by-tenant": func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) []int64 {
		var own, others int64
		heldOn(s, n, func(u sched.TaskID, replicas int32) {
			if s.Class(u).Tenant == s.Class(t).Tenant {
				own += int64(replicas)
			} else {
				others += int64(replicas)
			}
		})
		return []int64{own, -others, -max(room.FreeGPUMilli(n), 0), -max(min(room.FreeCPU(n)/1000, 1<<14-1), 0)} // less than nothing where a claim waits
	},
}

// heldOn calls f for what holds room on a node, found among all tasks.
func heldOn(s *sched.State, n sched.NodeID, f func(t sched.TaskID, replicas int32)) {
	for t := range sched.TaskID(s.Known()) {
		if p := s.Phase(t); p == sched.Running || p == sched.Stopping || p == sched.Claiming {
			for _, on := range s.Placements(t) {
				if on.Node == n {
					f(t, on.Replicas)
				}
			}
		}
	}
}

func mostCPU(room *sched.Room) int64 {
	most := int64(1)
	for n := range sched.NodeID(room.Len()) {
		if c := room.Spec(n).CPU; c < sched.Unlimited {
			most = max(most, c)
		}
	}
	return most
}

func mostGPU(room *sched.Room) int64 {
	most := int64(1)
	for n := range sched.NodeID(room.Len()) {
		most = max(most, int64(room.Spec(n).GPUs)*sched.Whole)
	}
	return most
}

func half(x, of int64) *big.Rat { return big.NewRat(x, 2*of) }

// free is the free CPU of a node that states it.
func free(room *sched.Room, n sched.NodeID) int64 {
	if room.Spec(n).CPU >= sched.Unlimited {
		return 0
	}
	return room.FreeCPU(n)
}

// wholePercent is 100 x (1 - x) rounded down.
func wholePercent(x *big.Rat) int64 {
	x = new(big.Rat).Sub(big.NewRat(100, 1), new(big.Rat).Mul(x, big.NewRat(100, 1)))
	return new(big.Int).Div(x.Num(), x.Denom()).Int64()
}

// plainFGD tries every GPU of a node and works the fragmentation out kind by kind and GPU by GPU.
func plainFGD(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) (score int64, gpu int) {
	tb, need, spec := s.Table(), s.Demand(t).Need, room.Spec(n)
	type kind struct {
		cpu         int64
		milli, gpus int32
		types       string
	}
	count := map[kind]int64{}
	all := int64(0)
	for i := range tb.Tasks {
		d := tb.DemandOf(sched.TaskID(i))
		k := kind{cpu: d.Need.CPU, gpus: d.Need.GPUs}
		if k.gpus > 0 {
			k.milli, k.types = d.Need.GPUMilli, strings.Join(slices.Compact(slices.Sorted(slices.Values(d.GPUTypes))), "|")
		}
		count[k] += int64(d.Gang)
		all += int64(d.Gang)
	}
	var kinds []kind
	for k := range count {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(b.cpu, a.cpu), cmp.Compare(b.milli, a.milli), cmp.Compare(b.gpus, a.gpus), cmp.Compare(b.types, a.types))
	})
	total := int64(0)
	for i, k := range kinds {
		if total*100 >= all*95 {
			kinds = kinds[:i]
			break
		}
		total += count[k]
	}
	fragment := func(cpu int64, free []int32) (sum int64) {
		for _, k := range kinds {
			fits, small, idle := int32(0), int64(0), int64(0)
			for _, f := range free {
				idle += int64(f)
				if f >= k.milli && f > 0 && (len(free) <= sched.MaxDevices || k.milli == sched.Whole) {
					fits++
				} else {
					small += int64(f)
				}
			}
			allowed := k.types == "" || slices.ContainsFunc(strings.Split(k.types, "|"), func(x string) bool { return strings.EqualFold(x, spec.GPUType) })
			if k.gpus == 0 || !allowed || fits < k.gpus || cpu < k.cpu {
				small = idle
			}
			sum += count[k] * small
		}
		return sum
	}
	free := make([]int32, spec.GPUs)
	if booked := room.BookedMilli(n); booked != nil {
		for i, b := range booked {
			free[i] = max(sched.Whole-b, 0)
		}
	} else {
		for i := range max(room.FreeGPUs(n), 0) {
			free[i] = sched.Whole
		}
	}
	value := func(after []int32) int64 {
		falls := float64(fragment(room.FreeCPU(n), free) - fragment(room.FreeCPU(n)-need.CPU, after))
		return int64(math.Floor(100/(1+math.Exp(-falls/(1000*float64(total)))) + 1e-9))
	}
	if need.GPUs > 0 && need.GPUMilli < sched.Whole {
		score = -1
		for i := range free {
			if room.ShareFits(s.DemandID(t), n, i) {
				after := slices.Clone(free)
				after[i] -= need.GPUMilli
				if v := value(after); v > score {
					score, gpu = v, i
				}
			}
		}
		return score, gpu
	}
	after, left := slices.Clone(free), need.GPUs
	for i := range after {
		if after[i] == sched.Whole && left > 0 {
			after[i], left = 0, left-1
		}
	}
	return value(after), 0
}

// plainPlace places by a plain score: it looks at every node.
func plainPlace(name string) Place {
	return func(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
		type node struct {
			id    sched.NodeID
			score []int64
		}
		var nodes []node
		d, dem := s.DemandID(t), s.Demand(t)
		for n := range sched.NodeID(room.Len()) {
			if room.FitsOn(d, n, 1) == 1 {
				nodes = append(nodes, node{n, plainScores[name](s, room, t, n)})
			}
		}
		slices.SortStableFunc(nodes, func(a, b node) int {
			return cmp.Or(cmp.Compare(plainLast(room, dem, a.id), plainLast(room, dem, b.id)), slices.Compare(b.score, a.score))
		})
		left := dem.Gang
		for _, n := range nodes {
			k := room.FitsOn(d, n.id, left)
			if left -= k; dem.Need.GPUs == 0 || dem.Need.GPUMilli == sched.Whole {
				buf = append(buf, sched.Placement{Node: n.id, Replicas: k, GPUs: room.Devices(d, n.id, k)})
			} else {
				plan := &sched.Room{}
				plan.CopyFrom(room)
				for range k {
					p := sched.Placement{Node: n.id, Replicas: 1, GPUs: plan.Devices(d, n.id, 1)}
					if name == "fgd" {
						_, i := plainFGD(s, plan, t, n.id)
						p.GPUs = 1 << i
					}
					plan.Take(&dem.Need, p)
					buf = append(buf, p)
				}
			}
			if left == 0 {
				return buf, true
			}
		}
		return buf[:0], false
	}
}

// plainLast is 1 for a node with a soft taint that the demand does not tolerate, else 0.
func plainLast(room *sched.Room, dem *sched.Demand, n sched.NodeID) int {
	for _, taint := range room.Spec(n).Taints {
		if taint.Effect == "PreferNoSchedule" && !slices.ContainsFunc(dem.Tolerations, func(t sched.Toleration) bool { return t.Tolerates(taint) }) {
			return 1
		}
	}
	return 0
}

// watched makes a placement that is held against others at each call: what it finds must pass check.
func watched(p Place, check func(s *sched.State, room *sched.Room, t sched.TaskID, on []sched.Placement, ok bool)) Place {
	return func(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
		start := len(buf)
		buf, ok := p(s, room, t, buf)
		check(s, room, t, buf[start:], ok)
		return buf, ok
	}
}

// orderFor draws a policy that uses the placement: one that plans on copies of the room too.
func orderFor(rt *rapid.T, place Place) sched.Policy {
	switch rapid.SampledFrom([]string{"fjf", "srtf", "easy"}).Draw(rt, "order") {
	case "srtf":
		return &Preemptive{Key: ShortestRemaining, Falls: true, Place: place, Skip: true}
	case "easy":
		return &Easy{Place: place}
	}
	return &List{Place: place, Skip: true}
}

func placed(t *testing.T, name string) func() Place {
	spec, err := Parse("fifo+" + name)
	if err != nil {
		t.Fatal(err)
	}
	return func() Place { return FindPlacement(spec.Placement).place(spec.Placed, Hints{}) }
}

func TestAPlacementByScoreIsThatOfAPlainScan(t *testing.T) {
	for name := range plainScores {
		t.Run(name, func(t *testing.T) {
			newPlace, plain := placed(t, name), plainPlace(name)
			gen := policytest.Cases(policytest.Gen{})
			calls, planned := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				c := gen.Draw(rt, "case")
				place := watched(newPlace(), func(s *sched.State, room *sched.Room, task sched.TaskID, on []sched.Placement, ok bool) {
					calls++
					if room != s.Room() {
						planned++
						if strings.HasPrefix(name, "gpu-cl") || strings.HasPrefix(name, "pack") { // they count what runs, the plan or not: not so the stamps
							return
						}
					}
					if want, fits := plain(s, room, task, nil); ok != fits || !slices.Equal(on, want) {
						rt.Fatalf("task %d (%v): %v %v, the plain scan %v %v", task, s.Demand(task), on, ok, want, fits)
					}
				})
				batches(policytest.TB(t, rt), c, orderFor(rt, place))
			})
			if (calls < 1000 || planned == 0) && !testing.Short() { // -short draws a fifth of the cases
				t.Errorf("%d calls, %d on plans: the cases say little", calls, planned)
			}
		})
	}
}

func TestWhatAPlacementReturnsFits(t *testing.T) {
	names := append(PlacementNames(), "best-fit{by=sum}", "fgd{score=1}", "seed{score=2}", "random{seed=7}")
	lasts := 0 // of all: some seeds have none for one placement
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			newPlace := placed(t, name)
			gen := policytest.Cases(policytest.Gen{})
			found, gangs := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				c := gen.Draw(rt, "case")
				place := watched(newPlace(), func(s *sched.State, room *sched.Room, task sched.TaskID, on []sched.Placement, ok bool) {
					d, dem := s.DemandID(task), s.Demand(task)
					want, fits := room.FirstFit(d, nil)
					if ok != fits || ok != (fitting(room, d, dem.Gang, nil) >= dem.Gang) {
						rt.Fatalf("task %d (%v): found %v, first fit %v", task, dem, ok, fits)
					}
					if !ok {
						if len(on) > 0 {
							rt.Fatalf("no room, and %v", on)
						}
						return
					}
					plan := &sched.Room{}
					plan.CopyFrom(room)
					replicas, last := int32(0), false
					for _, p := range on {
						last = last || plainLast(room, dem, p.Node) == 1
						whole := dem.Need.GPUs == 0 || dem.Need.GPUMilli == sched.Whole
						if plan.FitsOn(d, p.Node, p.Replicas) < p.Replicas || p.GPUs != 0 && whole && p.GPUs&^plan.WholeDevices(p.Node) != 0 {
							rt.Fatalf("task %d (%v): %v does not fit behind those before it", task, dem, p)
						}
						if all := p.GPUs; !whole {
							i := slices.IndexFunc(plan.BookedMilli(p.Node), func(int32) bool { p.GPUs >>= 1; return p.GPUs == 0 })
							if p.GPUs = 1 << max(i, 0); p.Replicas != 1 || i < 0 || p.GPUs != all || !plan.ShareFits(d, p.Node, i) {
								rt.Fatalf("task %d (%v): %v does not fit on that device", task, dem, p)
							}
						}
						plan.Take(&dem.Need, p)
						replicas += p.Replicas
					}
					if replicas != dem.Gang {
						rt.Fatalf("task %d (%v): %v are not all replicas", task, dem, on)
					}
					found++
					if dem.Gang > 1 {
						gangs++
					}
					others := func(n sched.NodeID) bool { return plainLast(room, dem, n) == 0 }
					if last {
						lasts++
						if fitting(room, d, dem.Gang, others) >= dem.Gang || name != "consolidate" && fitting(plan, d, 1, others) > 0 {
							rt.Fatalf("task %d (%v): on %v, and there is room on nodes that are not taken last", task, dem, on)
						}
						others = nil
					}
					if name == "consolidate" {
						nodes := func(on []sched.Placement) int {
							seen := map[sched.NodeID]bool{}
							for _, p := range on {
								seen[p.Node] = true
							}
							return len(seen)
						}
						if least := fewestNodes(room, d, dem.Gang, others); nodes(on) != least || nodes(want) < least {
							rt.Fatalf("task %d (%v): on %d nodes, it fits on %d", task, dem, nodes(on), least)
						}
					}
				})
				batches(policytest.TB(t, rt), c, orderFor(rt, place))
			})
			if (found < 300 || gangs == 0) && !testing.Short() { // some seeds make few gangs that fit
				t.Errorf("%d placements, %d of gangs: the cases say little", found, gangs)
			}
		})
	}
	if lasts == 0 {
		t.Error("no placement is on nodes that are taken last: the cases say little")
	}
}

// fitting adds up how many replicas fit, each node at most the gang, on the nodes that of, if not nil, names.
func fitting(room *sched.Room, d sched.DemandID, gang int32, of func(sched.NodeID) bool) int32 {
	sum := int32(0)
	for n := range sched.NodeID(room.Len()) {
		if of == nil || of(n) {
			sum += room.FitsOn(d, n, gang)
		}
	}
	return sum
}

// fewestNodes tries every set of the nodes that of, if not nil, names.
func fewestNodes(room *sched.Room, d sched.DemandID, gang int32, of func(sched.NodeID) bool) int {
	least := math.MaxInt
	for set := range 1 << room.Len() {
		sum, size := int32(0), 0
		for n := range sched.NodeID(room.Len()) {
			if set>>n&1 != 0 && (of == nil || of(n)) {
				size++
				sum += room.FitsOn(d, n, gang)
			}
		}
		if sum >= gang {
			least = min(least, size)
		}
	}
	return least
}

// With load=all CPU, memory, GPUs, latency and connections count alike, each from 0 to 1, the last two while the sample is fresh; what a node does
// not state counts nothing.
func TestWholeLoadIsOfAllThatANodeHas(t *testing.T) {
	const n = 100_000
	tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 1, Classes: []sched.Class{{}}}
	tb.Demands = []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1}}, {Gang: 1, Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}}}
	for range n {
		tb.Tasks, tb.Estimates = append(tb.Tasks, sched.Task{}), append(tb.Estimates, 1)
	}
	spec := sched.NodeSpec{CPU: 8000, Mem: 1 << 30, VRAM: sched.Unlimited, GPUs: 4}
	nodes := []sched.NodeSpec{spec, spec, spec, spec, spec, spec, {CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 4}}
	nowhere := func(_ *sched.State, _ *sched.Room, _ sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
		return buf, false
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: &List{Place: nowhere}})
	if err != nil {
		t.Fatal(err)
	}
	in := []sched.Event{{Kind: sched.JobArrived, Task: 0, N: n, Node: sched.NoNode}}
	for i, p := range []sched.Profile{
		{},
		{OtherCPU: 2000},
		{OtherMem: 1 << 29},
		{Latency: 60 * time.Millisecond},
		{Connections: 300},
		{OtherCPU: 8000 - 1, OtherMem: 1 << 30, GPULoad: 0.5, Latency: 20 * time.Millisecond, Connections: 100},
		{GPULoad: 0.25},
	} {
		in = append(in, sched.Event{Kind: sched.NodeProfile, Node: sched.NodeID(i), Task: sched.Nobody, More: &sched.Detail{Profile: &p}})
	}
	k.Step(0, in)
	for _, name := range []string{"fresh", "stale"} {
		want := [2][]int64{{0, 250, 500, 0, 0, 2000, 0}, {0, 250, 500, 0, 0, 2000, 0}} // for a task of a CPU, and of a GPU
		if name == "fresh" {
			want = [2][]int64{{0, 250, 500, 750, 750, 3000, 0}, {0, 250, 500, 750, 750, 3500, 250}}
		} else {
			k.Step(sched.Time(freshProfile), nil)
		}
		room := k.Room()
		for d := range tb.Demands {
			for i := range nodes {
				if got := wholeLoad(&k.State, room, &tb.Demands[d].Need, sched.NodeID(i)); got != want[d][i] {
					t.Errorf("%s, demand %d, node %d: load %d, want %d", name, d, i, got, want[d][i])
				}
			}
		}
		place := placed(t, "load-weighted{load=all}")()
		sum := 0.0
		for i := range nodes {
			sum += 1000 / (1000 + float64(want[0][i]))
		}
		var got [7]float64
		for i := range sched.TaskID(n) {
			on, ok := place(&k.State, room, i, nil)
			if !ok {
				t.Fatal("no room")
			}
			got[on[0].Node] += 1. / n
		}
		for i := range got {
			p := 1000 / (1000 + float64(want[0][i])) / sum
			if math.Abs(got[i]-p) > 4*math.Sqrt(p*(1-p)/n) {
				t.Errorf("%s: node %d in %.4f of the draws, want %.4f", name, i, got[i], p)
			}
		}
	}
}

// TestRandomPlacementsDrawAsTheySay draws many nodes for one task after the other on a cluster that does not change, and counts.
func TestRandomPlacementsDrawAsTheySay(t *testing.T) {
	const n = 200_000
	tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 1, Classes: []sched.Class{{}}}
	tb.Demands = []sched.Demand{{Gang: 1, Need: sched.Need{GPUs: 1, GPUMilli: 500}}}
	for range n {
		tb.Tasks, tb.Estimates = append(tb.Tasks, sched.Task{}), append(tb.Estimates, 1)
	}
	// Nodes with 0, 1, 3, 4 and 2 of 4 GPUs busy: the fourth is full.
	var nodes []sched.NodeSpec
	for i := range 5 {
		nodes = append(nodes, sched.NodeSpec{Name: fmt.Sprint(i), CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 4})
	}
	for _, few := range []bool{false, true} { // few: nodes on which nothing fits hide those on which something does, so that they are looked up
		if few {
			for range 200 {
				nodes = append(nodes, sched.NodeSpec{Name: "c", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited})
			}
		}
		k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: &List{}})
		if err != nil {
			t.Fatal(err)
		}
		k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: 0, N: n}})
		room := &sched.Room{}
		room.CopyFrom(k.Room())
		for n := range sched.NodeID(room.Len()) { // the arrivals have taken room: start from an empty one
			for t := range k.RunningTasks() {
				for _, p := range k.Placements(t) {
					if p.Node == n {
						room.Give(&tb.Demands[0].Need, p)
					}
				}
			}
		}
		whole := sched.Need{GPUs: 1, GPUMilli: sched.Whole}
		for n, busy := range []int{0, 1, 3, 4, 2} {
			for i := range busy {
				room.Take(&whole, sched.Placement{Node: sched.NodeID(n), Replicas: 1, GPUs: 1 << i})
			}
		}
		weights := 1 + 1./2 + 1./4 + 1./3
		for name, want := range map[string][5]float64{
			"random":        {1. / 4, 1. / 4, 1. / 4, 0, 1. / 4},
			"load-weighted": {1 / weights, 1. / 2 / weights, 1. / 4 / weights, 0, 1. / 3 / weights},
			"two-choices":   {7. / 16, 5. / 16, 1. / 16, 0, 3. / 16}, // of 16 pairs
		} {
			for _, seed := range []string{"1", "2"} {
				place := placed(t, name+"{seed="+seed+"}")()
				var got [5]float64
				devices := map[sched.Devices]int{}
				for i := range sched.TaskID(n) {
					on, ok := place(&k.State, room, i, nil)
					if !ok {
						t.Fatal("no room")
					}
					got[on[0].Node] += 1. / n
					if on[0].Node == 0 {
						devices[on[0].GPUs]++
					}
				}
				for i := range got {
					if math.Abs(got[i]-want[i]) > 4*math.Sqrt(want[i]*(1-want[i])/n) {
						t.Errorf("%s, seed %s, %d nodes: node %d in %.4f of the draws, wanted %.4f", name, seed, room.Len(), i, got[i], want[i])
					}
				}
				if all := map[bool]int{true: 4, false: 1}[name == "random"]; len(devices) != all {
					t.Errorf("%s: %d devices of a free node are drawn, wanted %d", name, len(devices), all)
				}
			}
		}
	}
}

func TestRowsAreReusedWhenTheyAreTooMany(t *testing.T) {
	var r rows[int]
	const n = maxRated / 4
	for round := range 3 {
		for key := range 6 {
			row := r.of(key, n)
			if len(row) != n || row[0] != 0 && row[0] != key+1 {
				t.Fatalf("round %d: the row of %d holds %d", round, key, row[0])
			}
			row[0] = key + 1
			if again := r.of(key, n); &again[0] != &row[0] {
				t.Fatalf("the row of %d has moved", key)
			}
		}
	}
	if len(r.rows) != 4 {
		t.Errorf("%d rows are kept, wanted 4", len(r.rows))
	}
	if r.of(0, n+1)[0] != 0 {
		t.Error("a row of another length is kept")
	}
}
