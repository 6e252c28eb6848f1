package graph

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// kinds groups nodes that no task can tell apart, so that costs are computed once a kind and not once a node.
type kinds struct {
	buf    []sched.CostOn
	spec   []sched.NodeSpec // one of each kind
	count  []int64
	byName map[string]int32 // node name -> kind
	fits   [][]bool         // demand -> kind: one replica fits the empty node
}

func newKinds(tb *sched.Table, nodes []sched.NodeSpec) *kinds {
	k := &kinds{byName: make(map[string]int32, len(nodes))}
	index := map[string]int32{}
	for i := range nodes {
		n := &nodes[i]
		key := fmt.Sprint(n.CPU, n.Mem, n.GPUs, n.VRAM, n.SpeedMilli, len(n.Labels), len(n.Taints), " ", n.GPUType)
		if len(n.Labels)+len(n.Taints) > 0 {
			key += fmt.Sprintf("%q%q", n.Labels, n.Taints)
		}
		at, ok := index[key]
		if !ok {
			at = int32(len(k.spec))
			index[key] = at
			k.spec = append(k.spec, *n)
			k.count = append(k.count, 0)
		}
		k.count[at]++
		k.byName[n.Name] = at
	}
	k.fits = make([][]bool, len(tb.Demands))
	for d := range tb.Demands {
		one := tb.Demands[d]
		one.Gang = 1
		k.fits[d] = make([]bool, len(k.spec))
		for i := range k.spec {
			k.fits[d][i] = sched.CouldEverFit(k.spec[i:i+1], &one)
		}
	}
	return k
}

// costs returns a task's run times by node or GPU type: its own, or those that its class's throughput table comes to. The latter are valid
// until the next call.
func (k *kinds) costs(tb *sched.Table, run []time.Duration, on map[sched.TaskID][]sched.CostOn, t sched.TaskID) []sched.CostOn {
	own := on[t]
	class := tb.ClassOf(t)
	if class.Speeds == 0 {
		return own
	}
	k.buf = append(k.buf[:0], own...)
	for _, s := range tb.Speeds[class.Speeds] {
		k.buf = append(k.buf, sched.CostOn{On: s.GPUType, Run: sched.MulDiv(max(run[t], 0), sched.ReferenceNano, s.Nano, true)})
	}
	return k.buf
}

// on returns the run time on kind i where no node's name decides.
func (k *kinds) on(base time.Duration, costs []sched.CostOn, i int) time.Duration {
	s := &k.spec[i]
	if s.GPUType != "" {
		for _, c := range costs {
			if sched.SameGPU(c.On, s.GPUType) {
				return c.Run
			}
		}
	}
	return sched.OnSpeed(base, s.SpeedMilli)
}

// MeanCost returns for each task the mean of its run time over the nodes that its demand fits (Topcuoglu et al. 2002, eq. 1), rounded
// to the nanosecond. run are run times at reference speed and on those by node or GPU type: the table's Estimates and EstimateOn,
// or the true ones. A task that fits no node has its run time at reference speed.
func MeanCost(tb *sched.Table, run []time.Duration, on map[sched.TaskID][]sched.CostOn, nodes []sched.NodeSpec) []time.Duration {
	k := newKinds(tb, nodes)
	// Without costs by node, a task's mean is its run time times the mean slowdown of the nodes.
	slow := make([]float64, len(tb.Demands))
	for d := range slow {
		var sum, count float64
		for i, ok := range k.fits[d] {
			if ok {
				sum += float64(k.count[i]) * 1000 / float64(speedOf(&k.spec[i]))
				count += float64(k.count[i])
			}
		}
		slow[d] = 1
		if count > 0 {
			slow[d] = sum / count
		}
	}
	cost := make([]time.Duration, len(tb.Tasks))
	for t := range cost {
		id := sched.TaskID(t)
		d := tb.ClassOf(id).Demand
		costs := k.costs(tb, run, on, id)
		if len(costs) == 0 {
			cost[t] = rounded(float64(run[t]) * slow[d])
			continue
		}
		var sum, count float64
		for i, ok := range k.fits[d] {
			if ok {
				sum += float64(k.count[i]) * float64(k.on(run[t], costs, i))
				count += float64(k.count[i])
			}
		}
		for i, c := range costs {
			if at, ok := k.byName[c.On]; ok && k.fits[d][at] && !slices.ContainsFunc(costs[:i], func(o sched.CostOn) bool { return o.On == c.On }) {
				sum += float64(c.Run) - float64(k.on(run[t], costs, int(at)))
			}
		}
		cost[t] = run[t]
		if count > 0 {
			cost[t] = rounded(sum / count)
		}
	}
	return cost
}

func speedOf(n *sched.NodeSpec) int64 {
	if n.SpeedMilli <= 0 {
		return 1000
	}
	return n.SpeedMilli
}

func rounded(f float64) time.Duration {
	if f >= math.MaxInt64 {
		return longest
	}
	return time.Duration(math.Round(f))
}

// Fastest returns for each task its shortest run time on any node that its demand fits. A task that fits no node has its run time
// at reference speed. Arguments as for MeanCost.
func Fastest(tb *sched.Table, run []time.Duration, on map[sched.TaskID][]sched.CostOn, nodes []sched.NodeSpec) []time.Duration {
	return newKinds(tb, nodes).fastest(tb, run, on)
}

func (k *kinds) fastest(tb *sched.Table, run []time.Duration, on map[sched.TaskID][]sched.CostOn) []time.Duration {
	speed := make([]int64, len(tb.Demands))
	for d := range speed {
		for i, ok := range k.fits[d] {
			if ok {
				speed[d] = max(speed[d], speedOf(&k.spec[i]))
			}
		}
		if speed[d] == 0 {
			speed[d] = sched.Whole
		}
	}
	if len(on) == 0 && !tb.Uneven() && !slices.ContainsFunc(speed, func(s int64) bool { return s != sched.Whole }) {
		return run // not copied: nobody writes to it
	}
	fast := make([]time.Duration, len(tb.Tasks))
	for t := range fast {
		id := sched.TaskID(t)
		d := tb.ClassOf(id).Demand
		if costs := k.costs(tb, run, on, id); len(costs) > 0 {
			fast[t] = k.least(d, run[t], costs, func(_ int, c time.Duration) time.Duration { return c })
		} else {
			fast[t] = sched.OnSpeed(run[t], speed[d])
		}
	}
	return fast
}

// unnamed reports whether kind i has a node whose name is not among the costs.
func (k *kinds) unnamed(costs []sched.CostOn, i int) bool {
	left := k.count[i]
	for j, c := range costs {
		if at, ok := k.byName[c.On]; ok && int(at) == i && !slices.ContainsFunc(costs[:j], func(o sched.CostOn) bool { return o.On == c.On }) {
			left--
		}
	}
	return left > 0
}

// least returns the least of f(kind, run time on it) over the nodes that the demand fits.
func (k *kinds) least(d sched.DemandID, run time.Duration, costs []sched.CostOn, f func(kind int, c time.Duration) time.Duration) time.Duration {
	best := longest
	for i, ok := range k.fits[d] {
		if ok && k.unnamed(costs, i) {
			best = min(best, f(i, k.on(run, costs, i)))
		}
	}
	for _, c := range costs {
		if at, ok := k.byName[c.On]; ok && k.fits[d][at] {
			best = min(best, f(int(at), c.Run))
		}
	}
	if best == longest {
		return run
	}
	return best
}

// Bound is a lower bound of the makespan, and what it comes from. No schedule ends earlier, preemptive or not, whatever it knows.
type Bound struct {
	Makespan time.Duration // the largest of the others; from the first submit
	Path     time.Duration // the latest end if there were room for all: releases and longest paths
	CPU      time.Duration // by work; 0 where a node states no capacity, or nothing is asked
	Memory   time.Duration
	GPU      time.Duration // over all GPUs, and over those of each set of GPU types that tasks ask for
	By       string        // what decides: "path", "cpu", "memory", "gpu", "gpu A100"

	// Paths are what JobPaths returns of the true run times, where they have come up on the way: of a single workflow that is submitted at once, on nodes
	// of which none is faster than the reference. Else nil.
	Paths []time.Duration
}

// LowerBound returns the lower bound of README.md: the maximum over release times r of r + the longest path released from r on, and, for each
// resource, of r + the work released from r on / its capacity. run and on are true run times as in Workload; a task is taken at
// its fastest on the given nodes, its work also as speed x time over the capacity weighted by speed, whichever says more.
// The error is a *CycleError.
func LowerBound(tb *sched.Table, run []time.Duration, on map[sched.TaskID][]sched.CostOn, nodes []sched.NodeSpec) (Bound, error) {
	var b Bound
	if len(tb.Tasks) == 0 {
		return b, nil
	}
	k := newKinds(tb, nodes)
	fast := k.fastest(tb, run, on)
	first := tb.Tasks[0].Submit

	// The earliest end of each task, room or not. A path that waits for a later release is counted from that release.
	blocks, alone := sumBlocks(tb, fast)
	if tb.SuccOff == nil {
		b.Path = alone
	} else if !Forward(tb, false, func(t sched.TaskID, before time.Duration) time.Duration {
		end := add(max(before, tb.Tasks[t].Submit.Sub(first)), fast[t])
		b.Path = max(b.Path, end)
		return end
	}) {
		order, err := Order(tb)
		if err != nil {
			return b, err
		}
		b.Path = 0
		start := make([]time.Duration, len(tb.Tasks))
		for _, t := range order {
			end := add(max(start[t], tb.Tasks[t].Submit.Sub(first)), fast[t])
			b.Path = max(b.Path, end)
			for _, s := range tb.Succs(t) {
				start[s] = max(start[s], end)
			}
		}
	}
	b.consider("path", b.Path)
	if n := len(tb.Tasks); tb.Jobs == 1 && tb.Tasks[n-1].Submit == first && &fast[0] == &run[0] {
		b.Paths = []time.Duration{b.Path}
	}

	b.CPU = k.work(tb, run, on, fast, blocks, first, func(n *sched.NodeSpec) int64 { return n.CPU }, func(d *sched.Demand) int64 { return d.CPUTotal() })
	b.consider("cpu", b.CPU)
	b.Memory = k.work(tb, run, on, fast, blocks, first, func(n *sched.NodeSpec) int64 { return n.Mem }, func(d *sched.Demand) int64 { return int64(d.Gang) * d.Need.Mem })
	b.consider("memory", b.Memory)
	b.GPU = k.work(tb, run, on, fast, blocks, first, func(n *sched.NodeSpec) int64 { return int64(n.GPUs) * sched.Whole }, (*sched.Demand).GPUTotal)
	b.consider("gpu", b.GPU)
	for _, set := range typeSets(tb) {
		in := func(have []string, typ string) bool {
			return slices.ContainsFunc(have, func(h string) bool { return sched.SameGPU(h, typ) })
		}
		w := k.work(tb, run, on, fast, blocks, first, func(n *sched.NodeSpec) int64 {
			if !in(set, n.GPUType) {
				return 0
			}
			return int64(n.GPUs) * sched.Whole
		}, func(d *sched.Demand) int64 {
			if len(d.GPUTypes) == 0 || slices.ContainsFunc(d.GPUTypes, func(t string) bool { return !in(set, t) }) {
				return 0
			}
			return d.GPUTotal()
		})
		b.GPU = max(b.GPU, w)
		b.consider("gpu "+strings.Join(set, "|"), w)
	}
	return b, nil
}

func (b *Bound) consider(by string, d time.Duration) {
	if d > b.Makespan || b.By == "" {
		b.Makespan, b.By = d, by
	}
}

// typeSets returns the distinct sets of GPU types that demands name, at most 16: more add little and cost a pass each.
func typeSets(tb *sched.Table) [][]string {
	var sets [][]string
	for i := range tb.Demands {
		types := tb.Demands[i].GPUTypes
		if len(types) > 0 && len(sets) < 16 && !slices.ContainsFunc(sets, func(s []string) bool { return slices.Equal(s, types) }) {
			sets = append(sets, types)
		}
	}
	return sets
}

// block is so many tasks, from the last one back, of which most say nothing new.
const block = 256

// sumBlocks returns how long the tasks of each class take together, block by block of tasks, where the classes are so few and the tasks so short that this is worth
// its memory and fits into 64 bits, else nil; and when the last task ends if none waits for another or for room, from the first submit.
func sumBlocks(tb *sched.Table, fast []time.Duration) (sums []uint64, last time.Duration) {
	first, classes := tb.Tasks[0].Submit, len(tb.Classes)
	if classes <= block/8 {
		sums = make([]uint64, (len(tb.Tasks)+block-1)/block*classes)
	}
	var long, latest uint64
	for at, end := 0, len(tb.Tasks); end > 0; at, end = at+1, max(end-block, 0) {
		tasks := tb.Tasks[max(end-block, 0):end]
		fast := fast[max(end-block, 0):end]
		if sums == nil {
			for t := range tasks {
				latest = max(latest, uint64(tasks[t].Submit-first)+uint64(max(fast[t], 0)))
			}
			continue
		}
		of := sums[at*classes:][:classes]
		for t := range tasks {
			d := uint64(max(fast[t], 0))
			of[tasks[t].Class] += d
			long |= d
			latest = max(latest, uint64(tasks[t].Submit-first)+d)
		}
	}
	if long >= 1<<64/block {
		sums = nil
	}
	return sums, time.Duration(min(latest, math.MaxInt64))
}

// work returns max over releases r of r + work released from r on / capacity, rounded down. Nodes of capacity 0 do not serve, and a
// task whose demand fits none of the serving kinds is left out.
func (k *kinds) work(tb *sched.Table, run []time.Duration, on map[sched.TaskID][]sched.CostOn, fast []time.Duration, blocks []uint64, first sched.Time,
	capacity func(*sched.NodeSpec) int64, need func(*sched.Demand) int64,
) time.Duration {
	var plain, weighted u128
	needs := make([]int64, len(tb.Demands))
	any := false
	for d := range needs {
		needs[d] = need(&tb.Demands[d])
		if needs[d] > 0 && slices.Contains(k.fits[d], true) {
			any = true
		} else {
			needs[d] = 0
		}
	}
	same := true
	for i := range k.spec {
		c := capacity(&k.spec[i])
		if c >= sched.Unlimited {
			return 0
		}
		plain.addProduct(uint64(c), uint64(k.count[i]))
		// Speed in 1/1000: capacity x speed fits in 64 bits up to 1e6 x, beyond which the plain bound must do.
		hi, lo := bits.Mul64(uint64(c), uint64(speedOf(&k.spec[i])))
		if hi > 0 {
			return 0
		}
		weighted.addProduct(lo, uint64(k.count[i]))
		same = same && speedOf(&k.spec[i]) == speedOf(&k.spec[0])
	}
	if !any || plain.hi > 0 || plain.lo == 0 {
		return 0
	}
	var best time.Duration
	var done, speedDone u128
	perUnit := 1 / float64(plain.lo)
	need1 := make([]int64, len(tb.Classes)) // by class
	for c := range need1 {
		need1[c] = needs[tb.Classes[c].Demand]
	}
	var bar float64 // what the bound will be at least, about
	if same && blocks != nil {
		var all u128
		for end := len(tb.Tasks); end > 0; end = max(end-block, 0) {
			all.addBlock(blocks, (len(tb.Tasks)-end)/block, need1)
			bar = max(bar, float64(tb.Tasks[max(end-block, 0)].Submit.Sub(first))+all.float()*perUnit)
		}
	}
	for end := len(tb.Tasks); end > 0; end = max(end-block, 0) {
		from := max(end-block, 0)
		if same {
			// No release of these is later than that of the last, and no work more than that up to the first: most blocks say nothing new.
			all := done
			if blocks != nil {
				all.addBlock(blocks, (len(tb.Tasks)-end)/block, need1)
			} else {
				for t := from; t < end; t++ {
					all.addProduct(uint64(need1[tb.Tasks[t].Class]), uint64(max(fast[t], 0)))
				}
			}
			// Nor is there anything to be said before the first of those that are released together.
			release := tb.Tasks[end-1].Submit
			if about := float64(release.Sub(first)) + all.float()*perUnit; about <= max(bar, float64(best))*(1-1e-9) || from > 0 && tb.Tasks[from-1].Submit == release {
				done = all
				continue
			}
		}
		for t := end - 1; t >= from; t-- {
			if n := need1[tb.Tasks[t].Class]; n > 0 {
				done.addProduct(uint64(n), uint64(max(fast[t], 0)))
				if !same {
					// time x speed is the run time at reference speed, where no cost by node says otherwise
					w, id := run[t], sched.TaskID(t)
					if costs := k.costs(tb, run, on, id); len(costs) > 0 {
						w = k.least(tb.ClassOf(id).Demand, run[t], costs, func(kind int, c time.Duration) time.Duration {
							return sched.MulDiv(c, speedOf(&k.spec[kind]), sched.Whole, false)
						})
					}
					speedDone.addProduct(uint64(n), uint64(max(w, 0)))
				}
			}
			if t > 0 && tb.Tasks[t-1].Submit == tb.Tasks[t].Submit {
				continue
			}
			release := tb.Tasks[t].Submit.Sub(first)
			if about := float64(release) + done.float()*perUnit; about > float64(best)*(1-1e-9) { // a division is dear, and most say nothing new
				best = max(best, add(release, done.div(plain.lo)))
			}
			if !same && weighted.hi == 0 {
				best = max(best, add(release, speedDone.scaled(sched.Whole).div(weighted.lo)))
			}
		}
	}
	return best
}

// u128 is an unsigned sum that saturates: milli-CPU x nanoseconds of a long trace do not fit in 64 bits.
type u128 struct{ hi, lo uint64 }

func (u *u128) addProduct(a, b uint64) {
	hi, lo := bits.Mul64(a, b)
	var carry uint64
	u.lo, carry = bits.Add64(u.lo, lo, 0)
	if u.hi, carry = bits.Add64(u.hi, hi, carry); carry > 0 {
		u.hi, u.lo = math.MaxUint64, math.MaxUint64
	}
}

// addBlock adds the work of a block; see sumBlocks.
func (u *u128) addBlock(blocks []uint64, at int, need []int64) {
	for c, sum := range blocks[at*len(need):][:len(need)] {
		u.addProduct(uint64(need[c]), sum)
	}
}

func (u u128) float() float64 { return float64(u.hi)*(1<<64) + float64(u.lo) }

func (u u128) scaled(by uint64) u128 {
	over, hi := bits.Mul64(u.hi, by)
	carry, lo := bits.Mul64(u.lo, by)
	hi, c := bits.Add64(hi, carry, 0)
	if over > 0 || c > 0 {
		return u128{math.MaxUint64, math.MaxUint64}
	}
	return u128{hi, lo}
}

// div returns u / by rounded down, at most the longest duration.
func (u u128) div(by uint64) time.Duration {
	if by == 0 || u.hi >= by {
		return longest
	}
	q, _ := bits.Div64(u.hi, u.lo, by)
	return time.Duration(min(q, math.MaxInt64))
}
