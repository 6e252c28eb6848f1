package metrics

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

// FragMix is the mix of typical tasks against which fragmentation is measured. The measure is that of Weng et al., "Beware of
// Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX ATC 2023), section 3: how many of a
// node's free GPUs a task drawn at random from the trace's mix could not use. Memory is left out, as it is there.
//
// A FragMix is immutable and may be shared.
type FragMix struct {
	kinds []fragKind
	types []string // the GPU types that the kinds name; bit i of fragKind.allowed is types[i]
}

type fragKind struct {
	cpu     int64 // milli
	milli   int32 // of each GPU
	gpus    int32
	any     bool     // takes every GPU type
	allowed []uint64 // bit set over FragMix.types
	share   float64  // of the tasks; the shares add up to 1
}

// FragKind is one kind of typical task.
type FragKind struct {
	CPU            int64 // milli-CPU
	GPUMilli, GPUs int32
	Types          []string // nil = every type
	Share          float64  // of the typical tasks
}

// coverage is the share of the tasks that the typical ones must make up.
const coverage = 0.95

// NewFragMix builds the mix of a trace: the distinct (milli-CPU, share of each GPU, GPUs, GPU types) of its tasks' replicas, most
// frequent first (the larger tuple at ties), until they make up at least 95 % of all, their shares then adding up to 1. It returns
// nil where no task asks for a GPU: fragmentation then has no meaning.
func NewFragMix(tb *sched.Table) *FragMix {
	perClass := make([]int64, len(tb.Classes))
	tasks := tb.Tasks
	for i := range tasks {
		perClass[tasks[i].Class]++
	}
	perDemand := make([]int64, len(tb.Demands))
	for c, n := range perClass {
		perDemand[tb.Classes[c].Demand] += n
	}
	type counted struct {
		FragKind
		spec  string
		count int64
	}
	var all []counted
	var total int64
	gpu := false
	for d, n := range perDemand {
		if n == 0 {
			continue
		}
		need := &tb.Demands[d].Need
		k := counted{count: n * int64(max(1, tb.Demands[d].Gang))}
		k.CPU, k.GPUMilli, k.GPUs = need.CPU, need.GPUMilli, need.GPUs
		if k.GPUs > 0 {
			gpu = true
			k.Types = tb.Demands[d].GPUTypes
			k.spec = sched.GPUKeys(k.Types)
		} else {
			k.GPUMilli = 0
		}
		total += k.count
		all = append(all, k)
	}
	if !gpu {
		return nil
	}
	byTuple := func(a, b counted) int { // larger first
		return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(b.GPUMilli, a.GPUMilli), cmp.Compare(b.GPUs, a.GPUs), cmp.Compare(b.spec, a.spec))
	}
	slices.SortFunc(all, byTuple)
	merged := all[:0]
	for _, k := range all {
		if last := len(merged) - 1; last >= 0 && byTuple(merged[last], k) == 0 {
			merged[last].count += k.count
			continue
		}
		merged = append(merged, k)
	}
	slices.SortStableFunc(merged, func(a, b counted) int { return cmp.Compare(b.count, a.count) })
	kinds := make([]FragKind, 0, len(merged))
	var covered int64
	for _, k := range merged {
		if float64(covered) >= coverage*float64(total) {
			break
		}
		covered += k.count
		k.Share = float64(k.count)
		kinds = append(kinds, k.FragKind)
	}
	return MixOf(kinds)
}

// MixOf builds a mix from kinds; their shares are scaled to add up to 1.
func MixOf(kinds []FragKind) *FragMix {
	m := &FragMix{}
	var total float64
	for i := range kinds {
		total += kinds[i].Share
		m.types = append(m.types, kinds[i].Types...)
	}
	slices.SortFunc(m.types, func(a, b string) int { return strings.Compare(sched.GPUKey(a), sched.GPUKey(b)) })
	m.types = slices.CompactFunc(m.types, sched.SameGPU)
	for i := range kinds {
		k := &kinds[i]
		f := fragKind{cpu: k.CPU, milli: k.GPUMilli, gpus: k.GPUs, any: len(k.Types) == 0, share: k.Share / total}
		if !f.any {
			f.allowed = make([]uint64, (len(m.types)+63)/64)
			for _, name := range k.Types {
				t := m.typeIndex(name)
				f.allowed[t/64] |= 1 << (t % 64)
			}
		}
		m.kinds = append(m.kinds, f)
	}
	return m
}

// Kinds returns the typical tasks, most frequent first.
func (m *FragMix) Kinds() []FragKind {
	out := make([]FragKind, len(m.kinds))
	for i, k := range m.kinds {
		out[i] = FragKind{CPU: k.cpu, GPUMilli: k.milli, GPUs: k.gpus, Share: k.share}
		for t, name := range m.types {
			if !k.any && k.allowed[t/64]>>(t%64)&1 != 0 {
				out[i].Types = append(out[i].Types, name)
			}
		}
	}
	return out
}

func (m *FragMix) typeIndex(name string) int {
	return slices.IndexFunc(m.types, func(t string) bool { return sched.SameGPU(t, name) })
}

func (k *fragKind) takes(gpuType int) bool {
	return k.any || gpuType >= 0 && k.allowed[gpuType/64]>>(gpuType%64)&1 != 0
}

// NodeFrag returns the expected unusable free GPUs of a node with cpu free milli-CPU and free[i] milli of GPU i: for a task that can
// run there, the free parts of GPUs that are too small for it; for one that cannot (or asks for no GPU), all of them. It does not
// allocate.
func (m *FragMix) NodeFrag(cpu int64, free []int32, gpuType string) float64 {
	var idle int64
	for _, f := range free {
		idle += int64(f)
	}
	if idle == 0 {
		return 0
	}
	at := m.typeIndex(gpuType)
	var milli float64
	for i := range m.kinds {
		k := &m.kinds[i]
		lost := idle
		if k.gpus > 0 && k.cpu <= cpu && k.takes(at) {
			var fits int32
			var small int64
			for _, f := range free {
				if f >= k.milli {
					fits++
				} else {
					small += int64(f)
				}
			}
			if fits >= k.gpus {
				lost = small
			}
		}
		milli += k.share * float64(lost)
	}
	return milli / sched.Whole
}

// PoolFrag is NodeFrag for a node whose GPUs are not told apart (more than sched.MaxDevices): free whole GPUs, and a share of a GPU
// cannot be had there.
func (m *FragMix) PoolFrag(cpu, free int64, gpuType string) float64 {
	if free <= 0 {
		return 0
	}
	at := m.typeIndex(gpuType)
	var lost float64
	for i := range m.kinds {
		k := &m.kinds[i]
		if k.gpus == 0 || k.cpu > cpu || !k.takes(at) || k.milli < sched.Whole || int64(k.gpus) > free {
			lost += k.share
		}
	}
	return math.Min(lost, 1) * float64(free)
}
