package policies

import (
	"cmp"
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

var fgdEntry = PlacementEntry{
	Name: "fgd",
	About: "fragmentation gradient descent: the node, and for a share the GPU, where it adds the least to the free GPUs that a typical task could not use; the lowest-numbered of " +
		"equals",
	Source: "Weng et al., USENIX ATC 2023, sections 3 and 4; typical are the most frequent tasks of the whole trace, also of those to come, as published",
	Params: []Param{scoreParam},
	New: func(a Args) Place {
		f := &fgd{table: a.Hints.Typical}
		return (&byScore{rate: f.rate, alike: byDemand, begin: f.begin, device: f.device, limit: limited(a)}).place
	},
}

// fgd scores a node by what a placement does to its fragmentation F: the free GPUs, in 1/1000, that a task drawn from the mix of typical ones could
// not use. For one that can run there those are the parts of GPUs that are too small for it; for one that cannot, or asks for no GPU, all. Memory is left
// out, as published. The score is 100 x sigmoid((F before - F after)/1000), in whole numbers, so that what differs little counts as equal. F is
// kept as a whole number, the sum over the tasks of the mix instead of their mean: equal nodes are equal.
type fgd struct {
	table  *sched.Table // of the typical tasks; nil: the state's
	mix    mix
	before rows[sched.Rating] // F of the nodes as they are
	parts  [sched.MaxDevices]int32
	after  [sched.MaxDevices]int32
}

func (f *fgd) begin(s *sched.State, room *sched.Room) (void bool) {
	tb := f.table
	if tb == nil {
		tb = s.Table()
	}
	if !f.mix.count(tb) && f.mix.nodes == room.Len() {
		return false
	}
	f.mix.typical(tb, room)
	f.before.forget()
	return true
}

func (f *fgd) rate(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64 {
	score, _ := f.best(s, room, t, n)
	return score
}

func (f *fgd) device(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) sched.Devices {
	_, i := f.best(s, room, t, n)
	return 1 << i
}

// best returns the score of a node for one replica, and for a share the GPU that has it, the lowest of equals.
func (f *fgd) best(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) (score int64, gpu int) {
	d := s.DemandID(t)
	dem, m := &s.Table().Demands[d], &f.mix
	booked, whole, parts := room.BookedMilli(n), room.FreeGPUs(n), f.parts[:0]
	for _, b := range booked {
		if b > 0 && b < sched.Whole {
			parts = append(parts, sched.Whole-b)
		}
	}
	before := room.Rated(n, f.before.of(0, room.Len()), func(n sched.NodeID) int64 { return m.fragment(n, room.FreeCPU(n), whole, parts) })
	cpu := room.FreeCPU(n) - dem.Need.CPU
	if !isShare(dem) {
		return m.score(before - m.fragment(n, cpu, whole-dem.Need.GPUs, parts)), 0
	}
	score = -1
	for i, b := range booked {
		if !room.ShareFits(d, n, i) || slices.Contains(booked[:i], b) && room.ShareFits(d, n, slices.Index(booked[:i], b)) {
			continue // a GPU with as much free has been looked at
		}
		left, whole := append(f.after[:0], parts...), whole
		if b == 0 {
			whole--
		} else {
			at := slices.Index(left, sched.Whole-b)
			left = slices.Delete(left, at, at+1)
		}
		if rest := sched.Whole - b - dem.Need.GPUMilli; rest > 0 {
			left = append(left, rest)
		}
		if v := m.score(before - m.fragment(n, cpu, whole, left)); v > score {
			score, gpu = v, i
		}
	}
	return score, gpu
}

// mix is what the tasks of a table ask for: the distinct (CPU, share of a GPU, GPUs, GPU types) of their replicas, most frequent first, the larger at
// ties, until they make up 95 % of all.
type mix struct {
	tasks   int     // of the table that have been counted
	classes []int64 // tasks by class
	nodes   int
	total   int64     // replicas of the typical kinds
	kinds   []typical // scratch
	types   []typeMix // by GPU type of the room
	typeOf  []int32   // by node, -1 without GPUs
	pool    []bool    // by node: its GPUs are not told apart, so a share of one cannot be had
}

type typical struct {
	cpu         int64
	milli, gpus int32
	types       string
	demand      sched.DemandID // one that asks for this
	replicas    int64
}

// typeMix is the mix as nodes of one GPU type see it.
type typeMix struct {
	lost   int64 // replicas that cannot run on this type, or ask for no GPU
	shares []shareMix
}

// shareMix is what asks for the same share of a GPU.
type shareMix struct {
	milli int32
	asks  []ask
}

type ask struct {
	cpu, replicas int64
	gpus          int32
}

// count takes in tasks that have come to the table and reports whether there were any.
func (m *mix) count(tb *sched.Table) bool {
	if m.tasks == len(tb.Tasks) {
		return false
	}
	if more := len(tb.Classes) - len(m.classes); more > 0 {
		m.classes = append(m.classes, make([]int64, more)...)
	}
	for ; m.tasks < len(tb.Tasks); m.tasks++ {
		m.classes[tb.Tasks[m.tasks].Class]++
	}
	return true
}

// typical finds the typical kinds of what was counted.
func (m *mix) typical(tb *sched.Table, room *sched.Room) {
	byDemand := make([]int64, len(tb.Demands))
	all := int64(0)
	for c, n := range m.classes {
		d := tb.Classes[c].Demand
		byDemand[d] += n * int64(max(tb.Demands[d].Gang, 1))
		all += n * int64(max(tb.Demands[d].Gang, 1))
	}
	m.kinds = m.kinds[:0]
	for d, n := range byDemand {
		if n == 0 {
			continue
		}
		dem := &tb.Demands[d]
		k := typical{cpu: dem.Need.CPU, gpus: dem.Need.GPUs, demand: sched.DemandID(d), replicas: n}
		if k.gpus > 0 {
			k.milli, k.types = dem.Need.GPUMilli, sched.GPUKeys(dem.GPUTypes)
		}
		m.kinds = append(m.kinds, k)
	}
	larger := func(a, b typical) int {
		return cmp.Or(cmp.Compare(b.cpu, a.cpu), cmp.Compare(b.milli, a.milli), cmp.Compare(b.gpus, a.gpus), cmp.Compare(b.types, a.types))
	}
	slices.SortFunc(m.kinds, larger)
	kinds := m.kinds[:0]
	for _, k := range m.kinds {
		if last := len(kinds) - 1; last >= 0 && larger(kinds[last], k) == 0 {
			kinds[last].replicas += k.replicas
		} else {
			kinds = append(kinds, k)
		}
	}
	slices.SortStableFunc(kinds, func(a, b typical) int { return cmp.Compare(b.replicas, a.replicas) })
	m.total = 0
	for i, k := range kinds {
		if 100*m.total >= 95*all {
			kinds = kinds[:i]
			break
		}
		m.total += k.replicas
	}
	m.kinds = kinds
	m.perType(tb, room)
}

// perType works out what the nodes of each type see of the typical kinds.
func (m *mix) perType(tb *sched.Table, room *sched.Room) {
	slices.SortStableFunc(m.kinds, func(a, b typical) int { return cmp.Compare(a.milli, b.milli) })
	m.types, m.typeOf, m.pool, m.nodes = m.types[:0], m.typeOf[:0], m.pool[:0], room.Len()
	for _, name := range room.GPUTypes() {
		x := typeMix{}
		for _, k := range m.kinds {
			if k.gpus == 0 || !tb.Demands[k.demand].TakesGPU(name) {
				x.lost += k.replicas
				continue
			}
			if last := len(x.shares) - 1; last < 0 || x.shares[last].milli != k.milli {
				x.shares = append(x.shares, shareMix{milli: k.milli})
			}
			s := &x.shares[len(x.shares)-1]
			s.asks = append(s.asks, ask{k.cpu, k.replicas, k.gpus})
		}
		m.types = append(m.types, x)
	}
	for n := range sched.NodeID(m.nodes) {
		m.typeOf, m.pool = append(m.typeOf, int32(room.TypeOf(n))), append(m.pool, room.Spec(n).GPUs > sched.MaxDevices)
	}
}

// fragment returns F of a node, times m.total, with so much CPU, so many whole GPUs and these parts of GPUs free.
func (m *mix) fragment(n sched.NodeID, cpu int64, whole int32, parts []int32) int64 {
	idle := int64(max(whole, 0)) * sched.Whole
	for _, p := range parts {
		idle += int64(p)
	}
	if idle == 0 || m.typeOf[n] < 0 {
		return 0
	}
	x := &m.types[m.typeOf[n]]
	sum := x.lost * idle
	for i := range x.shares {
		s := &x.shares[i]
		fits, small := whole, int64(0)
		for _, p := range parts {
			if p >= s.milli {
				fits++
			} else {
				small += int64(p)
			}
		}
		if m.pool[n] && s.milli < sched.Whole {
			fits = 0
		}
		for _, a := range s.asks {
			if a.gpus <= fits && a.cpu <= cpu {
				sum += a.replicas * small
			} else {
				sum += a.replicas * idle
			}
		}
	}
	return sum
}

// score is 100 x sigmoid of what F falls by, in GPUs. A billionth makes up for what floating point may have lost.
func (m *mix) score(falls int64) int64 {
	if m.total == 0 || falls == 0 {
		return 50
	}
	return int64(math.Floor(100/(1+math.Exp(-float64(falls)/(sched.Whole*float64(m.total)))) + 1e-9))
}
