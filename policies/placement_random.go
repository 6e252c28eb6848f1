package policies

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// The random placements draw by a hash of the seed, the task and its attempt, never from a stream: a decision does not depend on those before it,
// and a restored policy draws as the first one would have.
var randomEntry = PlacementEntry{
	Name: "random", About: "any node on which it fits, each as likely as the other; a share on any GPU with room for it", Source: "The usual baseline; Random in Weng et al., USENIX ATC 2023, section 6",
	Params: []Param{drawsParam}, New: func(a Args) Place { return (&random{seed: drawSeed(a), devices: true}).place },
}

var loadWeightedEntry = PlacementEntry{
	Name:   "load-weighted",
	About:  "a node on which it fits, drawn by weight = 100/(1 + load), the load being what is booked there: GPUs, or cores for a task without GPUs; a fresh sampled load that is higher counts. load=all sums shares from 0 to 1: of CPU and memory in use where the node states them, of GPUs where the task asks for any, and of a fresh sample latency/(latency + 20 ms) and connections/(connections + 100)",
	Source: "The weights described for Open-AutoGLM; weighted least-connection as in Zhang (LVS), Ottawa Linux Symposium 2000",
	Params: []Param{drawsParam, loadParam}, New: func(a Args) Place { return (&random{seed: drawSeed(a), weighted: true, load: loadOf(a)}).place },
}

var twoChoicesEntry = PlacementEntry{
	Name:   "two-choices",
	About:  "the less loaded of two nodes drawn among all on which it fits, the first drawn of equals; load as in load-weighted",
	Source: "Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 2001, section 1",
	Params: []Param{drawsParam, loadParam}, New: func(a Args) Place { return (&random{seed: drawSeed(a), choices: 2, load: loadOf(a)}).place },
}

var loadParam = Param{
	Name: "load", Default: "booked", Choices: []string{"booked", "all"},
	About: "what is booked; or all: CPU, memory, GPUs, network latency and active connections together",
}

func loadOf(a Args) func(*sched.State, *sched.Room, *sched.Need, sched.NodeID) int64 {
	if a.Text(loadParam.Name) == "all" {
		return wholeLoad
	}
	return loadOn
}

var drawsParam = Param{Name: "seed", Default: "1", Form: natural, Example: "3", About: "seed of the draws, a whole number"}

func drawSeed(a Args) uint64 { return uint64(a.Float(drawsParam.Name)) }

// random draws nodes, for a gang one after the other without putting back, each filled.
type random struct {
	seed     uint64
	choices  int                                                              // nodes of which the least loaded is taken; 0 counts as 1
	weighted bool                                                             // by load
	devices  bool                                                             // a share goes on any device
	load     func(*sched.State, *sched.Room, *sched.Need, sched.NodeID) int64 // in 1/1000

	hash  uint64 // of the task at hand
	drawn uint64 // numbers drawn for it
	ids   []sched.NodeID
	heavy []int64 // running sums of weights
}

// tries is how often a node is drawn from all, in the hope that the task fits there and, by weight, that the draw stands, before those on which it
// fits are looked up.
const tries = 32

func (p *random) place(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	d := s.DemandID(t)
	dem := &s.Table().Demands[d]
	p.hash, p.drawn = mixBits(mixBits(mixBits(p.seed)+uint64(t))+uint64(s.Attempt(t))), 0
	if dem.Gang == 1 {
		if n := p.hit(s, room, d); n != sched.NoNode {
			return p.fill(room, d, dem, n, 1, buf), true
		}
	}
	p.ids = room.Candidates(d, 0, 0, p.ids[:0])
	start, left := len(buf), dem.Gang
	for len(p.ids) > 0 {
		i := p.choose(s, room, dem, p.ids[:notLast(room, d, p.ids)])
		n := p.ids[i]
		k := room.FitsOn(d, n, left)
		buf = p.fill(room, d, dem, n, k, buf)
		if left -= k; left == 0 {
			return buf, true
		}
		p.ids = slices.Delete(p.ids, i, i+1)
	}
	return buf[:start], false
}

// hit draws from all nodes until the task fits: each node on which it fits is as likely as the other, or by weight where a draw stands with the
// probability 1/(1 + load). NoNode where that takes too long.
func (p *random) hit(s *sched.State, room *sched.Room, d sched.DemandID) sched.NodeID {
	best, need, found := sched.NoNode, &s.Table().Demands[d].Need, 0
	for range tries {
		n := sched.NodeID(p.below(uint64(room.Len())))
		if room.FitsOn(d, n, 1) == 0 || room.TakenLast(d, n) {
			continue
		}
		if p.weighted && p.below(1000+uint64(p.load(s, room, need, n))) >= 1000 {
			continue
		}
		if best == sched.NoNode || p.choices > 1 && p.load(s, room, need, n) < p.load(s, room, need, best) {
			best = n
		}
		if found++; found >= p.choices {
			return best
		}
	}
	return sched.NoNode
}

// notLast returns how many of the candidates to draw from: those that are not taken last, which stand first, or all where there are no others.
func notLast(room *sched.Room, d sched.DemandID, ids []sched.NodeID) int {
	if !room.Parted(d) || room.TakenLast(d, ids[0]) {
		return len(ids)
	}
	return sort.Search(len(ids), func(i int) bool { return room.TakenLast(d, ids[i]) })
}

// choose draws an index of ids.
func (p *random) choose(s *sched.State, room *sched.Room, dem *sched.Demand, ids []sched.NodeID) int {
	if !p.weighted {
		best := int(p.below(uint64(len(ids))))
		for range p.choices - 1 {
			if i := int(p.below(uint64(len(ids)))); p.load(s, room, &dem.Need, ids[i]) < p.load(s, room, &dem.Need, ids[best]) {
				best = i
			}
		}
		return best
	}
	p.heavy = p.heavy[:0]
	sum := int64(0)
	for _, n := range ids {
		sum += max(100_000_000_000/(1000+p.load(s, room, &dem.Need, n)), 1) // 100/(1 + load), in millionths
		p.heavy = append(p.heavy, sum)
	}
	u := int64(p.below(uint64(sum)))
	i, _ := slices.BinarySearch(p.heavy, u+1)
	return i
}

func (p *random) fill(room *sched.Room, d sched.DemandID, dem *sched.Demand, n sched.NodeID, replicas int32, buf []sched.Placement) []sched.Placement {
	if !p.devices || !isShare(dem) {
		return fill(room, d, dem, n, replicas, buf)
	}
	return room.Shares(d, n, replicas, buf, func() sched.Devices {
		var fit sched.Devices
		for i := range room.BookedMilli(n) {
			if room.ShareFits(d, n, i) {
				fit |= 1 << i
			}
		}
		for range p.below(uint64(bits.OnesCount64(uint64(fit)))) {
			fit &= fit - 1
		}
		return fit & -fit
	})
}

// loadOn is what is booked on a node: GPUs in 1/1000, milli-CPU for a demand without GPUs.
func loadOn(s *sched.State, room *sched.Room, need *sched.Need, n sched.NodeID) int64 {
	spec := room.Spec(n)
	if need.GPUs == 0 {
		return max(spec.CPU-room.FreeCPU(n), 0)
	}
	all := int64(spec.GPUs) * sched.Whole
	load := max(all-room.FreeGPUMilli(n), 0)
	if p, ok := s.ProfileOf(n); ok && s.ProfileAge(n) < freshProfile {
		load = max(load, int64(p.GPULoad*float64(all)))
	}
	return load
}

// What counts half in wholeLoad. A change of as much is what the live mode takes for a change of a node that has little (node.Fact).
const (
	halfLatency     = 20 * time.Millisecond
	halfConnections = 100
)

// wholeLoad is the sum of what of a node's CPU and memory is in use, by tasks and others, of its GPUs for a demand of any, and of its latency and connections,
// each from 0 to 1, in 1/1000.
func wholeLoad(s *sched.State, room *sched.Room, need *sched.Need, n sched.NodeID) int64 {
	spec := room.Spec(n)
	load := inUse(spec.CPU, room.FreeCPU(n)) + inUse(spec.Mem, room.FreeMem(n))
	p, ok := s.ProfileOf(n)
	fresh := ok && s.ProfileAge(n) < freshProfile
	if all := int64(spec.GPUs) * sched.Whole; need.GPUs > 0 && all > 0 {
		gpu := inUse(all, room.FreeGPUMilli(n))
		if fresh {
			gpu = max(gpu, int64(p.GPULoad*1000))
		}
		load += gpu
	}
	if fresh {
		load += saturating(float64(p.Latency), float64(halfLatency)) + saturating(float64(p.Connections), halfConnections)
	}
	return load
}

// saturating is x/(x + h) in 1/1000: h counts half, and no x counts more than 1.
func saturating(x, h float64) int64 {
	x = max(x, 0)
	return int64(math.Round(1000 * x / (x + h)))
}

// inUse is the share of a capacity that is not free, in 1/1000; 0 where no capacity is stated.
func inUse(all, free int64) int64 {
	if all <= 0 || all >= sched.Unlimited {
		return 0
	}
	return int64(math.Round(1000 * float64(all-min(max(free, 0), all)) / float64(all)))
}

// below draws a number from 0 to n-1; n must be positive.
func (p *random) below(n uint64) uint64 {
	p.drawn++
	hi, _ := bits.Mul64(mixBits(p.hash+p.drawn*0x9e3779b97f4a7c15), n)
	return hi
}

// mixBits is the finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014, figure 16).
func mixBits(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
