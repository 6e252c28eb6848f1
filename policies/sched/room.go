package sched

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"strings"
)

// Room is the ledger of what is free on every node, with an index for first-fit searches. The kernel keeps the real one; a policy
// may keep copies to plan on (CopyFrom, then Take and Give). It is not safe for concurrent use.
//
// Invariants: (1) a device is in whole of its node exactly when nothing is booked on it; (2) a node is in the index, up to the level of its
// free GPUs and, if anybody asks for cores alone, of its free CPU, exactly when it is up (an only node is on the highest of CPU, and one that has just changed may be
// on that of before); (3) free amounts fall below zero only for a
// Claim whose victims have not stopped yet.
type Room struct {
	demands *[]Demand
	specs   []NodeSpec
	nodes   []nodeRoom
	milli   []int32 // booked share of each told-apart device, all nodes in one slice; of devices that are free, full or booked twice once settled
	vram    []int64 // VRAM booked by shares on each of these devices
	gpuIdx  levels  // by number of wholly free GPUs
	cpuIdx  levels  // by bits.Len of whole free cores; empty until byCores
	byCores bool    // a demand without GPUs was asked for
	stray   NodeID  // the node whose free CPU may be of another level than that on which it is in cpuIdx; NoNode: none is
	settled int64   // the free CPU of which that level is
	shares  bitset  // nodes that have a device with a part to spare (up, and told apart)
	allowed map[string]rightKind
	plans   []plan // per demand
	words   int
	clock   *clock   // of the stamps; copies share it
	touched []int64  // the last stamp of each node; see Rating
	stamps  []int64  // likewise of each block of nodes
	stamped bool     // all of them have one
	found   []NodeID // scratch of front
	mixed   bool     // some node is not of reference speed
	soft    bool     // some node has a soft taint, so that demands may part the nodes

	types        []string // GPU types of the nodes, in order of appearance
	capGPU       []int64  // GPUs of each type, 1/1000, up or down
	usedGPU      []int64  // booked GPUs of each type, 1/1000
	capCPU       int64    // milli-CPU of nodes that state a capacity
	capMem       int64    // bytes, likewise
	usedMem      int64    // bytes booked on these nodes
	usedGPUMilli int64    // booked on up nodes, all nodes; shares as fractions
	usedCPU      int64    // booked milli-CPU, on nodes that state a capacity
}

// nodeRoom is what is free on a node: 64 bytes, a line of the processor's cache.
type nodeRoom struct {
	cpu, mem  int64   // free; Unlimited less what was taken where not stated
	whole     Devices // told-apart devices with nothing booked
	odd       Devices // told-apart devices that are neither free nor full: booked in part, or twice by a Claim
	twice     Devices // of these the ones that are booked twice as a whole
	gpus      int32   // wholly free GPUs
	dev       int32   // first entry in milli and vram
	kind      int32   // GPU type: index in Room.types, -1 without GPUs
	devices   uint8   // told-apart devices
	up        bool
	cores     int8 // its level in cpuIdx; -1 while it is in none
	pool      bool // more than MaxDevices GPUs: counted
	capped    bool // states a CPU capacity
	memory    bool // states a capacity of RAM
	slow      bool // or fast: not of reference speed
	unsettled bool // milli of the node's free and full devices, and of those booked twice, may be out of date
}

// plan is what a search for room for a demand needs to know of it.
type plan struct {
	kinds bitset // nodes of the right kind; nil = not looked up yet
	split *split // of these; nil = all are alike
	level int
	gpu   bool  // the level is one of free GPUs; else of free CPU
	share bool  // of a GPU: the nodes are in Room.shares
	exact bool  // whoever is on the level, and of the right kind, has room for a replica
	cores int64 // milli-CPU of all replicas, where CPUs are all they ask for; else 0
	whole int32 // GPUs of the one replica, where it asks for whole GPUs and nothing else, and is exact; else 0

	gpuMilli, cpuMilli float64 // of all replicas
}

// rightKind is which nodes are of the right kind for a demand.
type rightKind struct {
	all   bitset
	split *split
}

// split parts the nodes of the right kind: those at the back have a soft taint (PreferNoSchedule) that the demand does not tolerate. Searches for room take them last,
// so whether there is room does not depend on it. Neither part is empty.
type split struct{ front, back bitset }

// turns returns the nodes of the right kind in the order in which they are searched: the second are nil where all are alike.
func (p *plan) turns() (first, second bitset) {
	if p.split != nil {
		return p.split.front, p.split.back
	}
	return p.kinds, nil
}

// NewRoom returns the empty ledger of the nodes. Demands are looked up in *demands, which may grow.
func NewRoom(specs []NodeSpec, demands *[]Demand) *Room {
	r := &Room{demands: demands, allowed: map[string]rightKind{}, clock: new(clock), stray: NoNode}
	r.words = max(1, (len(specs)+63)/64)
	r.gpuIdx.init(r.words)
	r.cpuIdx.init(r.words)
	r.shares = make(bitset, r.words)
	for _, s := range specs {
		r.add(s)
	}
	return r
}

func (r *Room) add(s NodeSpec) NodeID {
	id := len(r.specs)
	if words := (id + 64) / 64; words > r.words {
		r.widen(words)
	}
	n := nodeRoom{cores: -1, cpu: s.CPU, mem: s.Mem, gpus: s.GPUs, dev: int32(len(r.milli)), pool: s.GPUs > MaxDevices, capped: s.CPU < Unlimited, memory: s.Mem < Unlimited, slow: !s.Reference()}
	r.mixed = r.mixed || n.slow
	r.soft = r.soft || (&Demand{}).shuns(&s)
	if !n.pool && s.GPUs > 0 {
		n.devices = uint8(s.GPUs)
		n.whole = Devices(1)<<s.GPUs - 1
		for range s.GPUs {
			r.milli, r.vram = append(r.milli, 0), append(r.vram, 0)
		}
	}
	n.kind = r.gpuType(s)
	r.specs, r.nodes, r.touched = append(r.specs, s), append(r.nodes, n), append(r.touched, unstamped)
	if id/blockNodes == len(r.stamps) {
		r.stamps = append(r.stamps, unstamped)
	}
	if n.capped {
		r.capCPU += s.CPU
	}
	if n.memory {
		r.capMem += s.Mem
	}
	clear(r.allowed)
	r.plans = nil // copies may share them
	if id == 1 {
		r.markCores(0, &r.nodes[0])
	}
	r.setUp(NodeID(id), true)
	return NodeID(id)
}

// gpuType returns the index of the node's GPU type and counts its capacity.
func (r *Room) gpuType(s NodeSpec) int32 {
	if s.GPUs == 0 {
		return -1
	}
	i := slices.IndexFunc(r.types, func(t string) bool { return SameGPU(t, s.GPUType) })
	if i < 0 {
		i = len(r.types)
		r.types, r.capGPU, r.usedGPU = append(r.types, s.GPUType), append(r.capGPU, 0), append(r.usedGPU, 0)
	}
	r.capGPU[i] += int64(s.GPUs) * Whole
	return int32(i)
}

func (r *Room) widen(words int) {
	grow := func(b bitset) bitset {
		return append(append(make(bitset, 0, words), b...), make(bitset, words-len(b))...)
	}
	r.gpuIdx.widen(words)
	r.cpuIdx.widen(words)
	r.shares = grow(r.shares)
	r.words = words
}

func (r *Room) setUp(id NodeID, up bool) {
	n := &r.nodes[id]
	if n.up == up {
		return
	}
	r.settleCores()
	n.up = up
	r.touch(id)
	g := gpuLevel(n.gpus)
	if up {
		r.gpuIdx.move(int(id), -1, g)
		r.markCores(id, n)
		r.markShares(id)
		return
	}
	r.gpuIdx.move(int(id), g, -1)
	r.cpuIdx.move(int(id), int(n.cores), -1)
	n.cores = -1
	r.shares.clear(int(id))
}

// markCores takes a node whose free CPU has changed to its level. An only node stays on the highest, for nobody is helped by a choice of one.
func (r *Room) markCores(id NodeID, n *nodeRoom) {
	if !r.byCores || len(r.nodes) == 1 && n.cores == cpuLevels-1 || !n.up {
		return
	}
	to := cpuLevels - 1
	if len(r.nodes) > 1 {
		to = cpuLevel(n.cpu)
	}
	if int(n.cores) != to {
		r.cpuIdx.move(int(id), int(n.cores), to)
		n.cores = int8(to)
	}
}

// noteCores takes in that the free CPU of a node is not what it was. On which level that leaves it is found out when somebody asks, or another node changes: where tasks
// wait, what one gives back the next one takes.
func (r *Room) noteCores(id NodeID, was int64) {
	switch {
	case id != r.stray && r.byCores:
		if r.stray != NoNode {
			r.settleCores()
		}
		r.stray, r.settled = id, was
	case id == r.stray && r.nodes[id].cpu == r.settled:
		r.stray = NoNode
	}
}

// settleCores brings the index by cores up to date.
func (r *Room) settleCores() {
	if id := r.stray; id >= 0 {
		r.stray = NoNode
		r.markCores(id, &r.nodes[id])
	}
}

// byCPU returns the index by cores.
func (r *Room) byCPU() *levels {
	r.settleCores()
	return &r.cpuIdx
}

// indexCores puts the nodes into the index by cores: where all demands are for GPUs it would be kept for nobody.
func (r *Room) indexCores() {
	if r.byCores {
		return
	}
	r.byCores = true
	for id := range r.nodes {
		r.markCores(NodeID(id), &r.nodes[id])
	}
}

// markShares keeps the set of nodes on which a share may fit.
func (r *Room) markShares(id NodeID) {
	n := &r.nodes[id]
	switch {
	case n.devices == 0:
	case n.up && (n.whole|n.odd != 0):
		r.shares.set(int(id))
	default:
		r.shares.clear(int(id))
	}
}

// CopyFrom makes r equal to src, reusing r's memory. The copy shares what never changes.
func (r *Room) CopyFrom(src *Room) {
	if len(r.specs) != len(src.specs) { // nodes were added: look the kinds up again
		r.allowed = map[string]rightKind{}
	}
	r.plans = src.plans[:len(src.plans):len(src.plans)] // they never change
	r.demands, r.specs = src.demands, src.specs
	if r.allowed == nil {
		r.allowed = map[string]rightKind{}
	}
	if src.clock.runs {
		src.stamp() // a copy of it may be asked for ratings again and again
	}
	r.nodes = append(r.nodes[:0], src.nodes...)
	r.touched, r.stamped = append(r.touched[:0], src.touched...), src.stamped
	r.stamps = append(r.stamps[:0], src.stamps...)
	r.milli = append(r.milli[:0], src.milli...)
	r.vram = append(r.vram[:0], src.vram...)
	r.words, r.clock, r.mixed, r.soft = src.words, src.clock, src.mixed, src.soft
	r.gpuIdx.copyFrom(&src.gpuIdx)
	r.cpuIdx.copyFrom(&src.cpuIdx)
	r.byCores, r.stray, r.settled = src.byCores, src.stray, src.settled
	r.shares = append(r.shares[:0], src.shares...)
	r.types, r.capGPU = src.types, src.capGPU
	r.usedGPU = append(r.usedGPU[:0], src.usedGPU...)
	r.capCPU, r.capMem, r.usedMem = src.capCPU, src.capMem, src.usedMem
	r.usedGPUMilli, r.usedCPU = src.usedGPUMilli, src.usedCPU
}

// Len returns the number of nodes, up or down.
func (r *Room) Len() int { return len(r.nodes) }

// Spec returns the description of a node. Do not modify.
func (r *Room) Spec(n NodeID) *NodeSpec { return &r.specs[n] }

// Up reports whether the node is up.
func (r *Room) Up(n NodeID) bool { return r.nodes[n].up }

// FreeCPU returns the free milli-CPU of a node.
func (r *Room) FreeCPU(n NodeID) int64 { return r.nodes[n].cpu }

// FreeMem returns the free bytes of RAM of a node.
func (r *Room) FreeMem(n NodeID) int64 { return r.nodes[n].mem }

// FreeGPUs returns the number of wholly free GPUs of a node.
func (r *Room) FreeGPUs(n NodeID) int32 { return r.nodes[n].gpus }

// Free returns the free milli-CPU, bytes of RAM and wholly free GPUs of a node.
func (r *Room) Free(n NodeID) (cpu, mem int64, gpus int32) {
	nd := &r.nodes[n]
	return nd.cpu, nd.mem, nd.gpus
}

// WholeDevices returns the wholly free GPUs of a node (none on a pool of more than MaxDevices).
func (r *Room) WholeDevices(n NodeID) Devices { return r.nodes[n].whole }

// BookedMilli returns the share of each GPU of a node that is booked, in 1/1000. Empty on a pool. Do not modify.
func (r *Room) BookedMilli(n NodeID) []int32 {
	nd := &r.nodes[n]
	if nd.pool {
		return nil
	}
	r.settle(nd)
	return r.milli[nd.dev : nd.dev+r.specs[n].GPUs]
}

// settle writes down the booked shares of a node's free and full devices, and of those booked twice. Whole GPUs are booked without it, as sets: most are never asked for
// their shares.
func (r *Room) settle(n *nodeRoom) {
	if !n.unsettled {
		return
	}
	n.unsettled = false
	for i := range r.milli[n.dev : n.dev+int32(n.devices)] {
		switch bit := Devices(1) << i; {
		case n.whole&bit != 0:
			r.milli[int(n.dev)+i] = 0
		case n.twice&bit != 0:
			r.milli[int(n.dev)+i] = 2 * Whole
		case n.odd&bit == 0:
			r.milli[int(n.dev)+i] = Whole
		}
	}
}

// Overbooked returns the GPUs of a node of which more than the whole is booked: by a Claim while others still hold them.
func (r *Room) Overbooked(id NodeID) Devices {
	n := &r.nodes[id]
	if n.odd == n.twice {
		return n.twice
	}
	var set Devices
	for i, milli := range r.BookedMilli(id) {
		if milli > Whole {
			set |= 1 << i
		}
	}
	return set
}

// Shared reports whether a GPU of the node is neither free nor full: booked in part, or twice by a Claim.
func (r *Room) Shared(n NodeID) bool { return r.nodes[n].odd != 0 }

// FreeGPUMilli returns the free GPU capacity of a node in 1/1000, parts included.
func (r *Room) FreeGPUMilli(n NodeID) int64 {
	nd := &r.nodes[n]
	if nd.pool || nd.odd == 0 {
		return int64(nd.gpus) * Whole
	}
	free := int64(nd.gpus-int32(bits.OnesCount64(uint64(nd.twice)))) * Whole
	for odd := nd.odd &^ nd.twice; odd != 0; odd &= odd - 1 { // of these milli is always up to date
		free += Whole - int64(r.milli[int(nd.dev)+bits.TrailingZeros64(uint64(odd))])
	}
	return free
}

// UsedGPUMilli and UsedCPU return what is booked on all nodes together; CPU only on nodes that state a capacity.
func (r *Room) UsedGPUMilli() int64 { return r.usedGPUMilli }

// UsedCPU returns the booked milli-CPU; see UsedGPUMilli.
func (r *Room) UsedCPU() int64 { return r.usedCPU }

// CPU and Mem return capacity and booked amount of all nodes that state a capacity, in milli-CPU and bytes.
func (r *Room) CPU() (capacity, used int64) { return r.capCPU, r.usedCPU }

// Mem returns capacity and booked bytes of RAM; see CPU.
func (r *Room) Mem() (capacity, used int64) { return r.capMem, r.usedMem }

// GPUTypes returns the GPU types of the cluster in the order of their first node, as that one calls them. Do not modify.
func (r *Room) GPUTypes() []string { return r.types }

// TypeOf returns the index in GPUTypes of the node's type, -1 where it has no GPUs.
func (r *Room) TypeOf(n NodeID) int { return int(r.nodes[n].kind) }

// GPUs returns capacity and booked amount of the GPU type with this index in GPUTypes, in 1/1000 of a GPU.
func (r *Room) GPUs(i int) (capacity, used int64) { return r.capGPU[i], r.usedGPU[i] }

// Allowed reports whether the node is of the right kind for the demand (GPU type, labels, taints, VRAM of a device), full or not.
func (r *Room) Allowed(d DemandID, n NodeID) bool { return r.kinds(d).has(int(n)) }

// kinds returns the nodes of the right kind for d.
func (r *Room) kinds(d DemandID) bitset { return r.plan(d).kinds }

// plan returns how to look for room for d. It is valid until nodes are added.
func (r *Room) plan(d DemandID) *plan {
	if i := uint(d); i < uint(len(r.plans)) {
		return &r.plans[i]
	}
	return r.makePlans(d)
}

// makePlans makes the plans of all demands up to d, and returns that of d.
func (r *Room) makePlans(d DemandID) *plan {
	for i := len(r.plans); i <= int(d); i++ {
		r.plans = append(r.plans, r.planOf(&(*r.demands)[i]))
	}
	return &r.plans[d]
}

func (r *Room) planOf(dem *Demand) plan {
	key := dem.kindKey()
	right, ok := r.allowed[key]
	if !ok {
		right = r.rightKind(dem)
		r.allowed[key] = right
	}
	need, p := &dem.Need, plan{kinds: right.all, split: right.split, gpuMilli: float64(dem.GPUTotal()), cpuMilli: float64(dem.CPUTotal())}
	switch {
	case need.share():
		p.share = true
	case need.GPUs > 0:
		p.gpu, p.level = true, gpuLevel(need.GPUs)
		p.exact = need.CPU == 0 && need.Mem == 0 && need.GPUs < gpuLevels-1
		if p.exact && dem.Gang == 1 {
			p.whole = need.GPUs
		}
	default:
		r.indexCores()
		p.level = cpuLevel(need.CPU)
		p.exact = need.CPU == 0 && need.Mem == 0
		if need.Mem == 0 && need.CPU <= Unlimited/int64(max(dem.Gang, 1)) {
			p.cores = need.CPU * int64(dem.Gang)
		}
	}
	return p
}

func (r *Room) rightKind(dem *Demand) rightKind {
	k := rightKind{all: make(bitset, r.words)}
	parts := split{make(bitset, r.words), make(bitset, r.words)}
	front, back := false, false
	for i := range r.specs {
		switch s := &r.specs[i]; {
		case !dem.allows(s):
			continue
		case dem.shuns(s):
			parts.back.set(i)
			back = true
		default:
			parts.front.set(i)
			front = true
		}
		k.all.set(i)
	}
	if front && back {
		k.split = &parts
	}
	return k
}

// TakenLast reports whether searches for room take the node after others, for a soft taint that the demand does not tolerate.
func (r *Room) TakenLast(d DemandID, n NodeID) bool { return r.soft && r.last(d, n) }

// Parted reports whether some nodes are TakenLast.
func (r *Room) Parted(d DemandID) bool { return r.soft && r.parted(d) }

// Before reports whether first fit looks at a before it looks at b; both are of the right kind.
func (r *Room) Before(d DemandID, a, b NodeID) bool {
	if r.soft {
		return r.before(d, a, b)
	}
	return a < b
}

// These are apart so that what is mostly asked for, where there is no soft taint, is inlined.
func (r *Room) last(d DemandID, n NodeID) bool {
	s := r.plan(d).split
	return s != nil && s.back.has(int(n))
}

func (r *Room) parted(d DemandID) bool { return r.plan(d).split != nil }

func (r *Room) before(d DemandID, a, b NodeID) bool {
	if last := r.last(d, b); last != r.last(d, a) {
		return last
	}
	return a < b
}

// roomy returns the nodes that have the GPUs, or without GPUs about the cores, that one replica needs.
func (r *Room) roomy(p *plan) nodeSet {
	switch {
	case p.share:
		return nodeSet{plain: r.shares}
	case p.gpu:
		return r.gpuIdx.from(p.level)
	}
	return r.byCPU().from(p.level)
}

// kindKey is equal for demands that the same kinds of nodes satisfy.
func (d *Demand) kindKey() string {
	var b strings.Builder
	types := append([]string(nil), d.GPUTypes...)
	sort.Strings(types)
	fmt.Fprintf(&b, "%q %d %t %t", types, d.Need.VRAM, d.Need.GPUs > 0, d.Need.GPUs > 0 && d.Need.GPUMilli < Whole)
	labels := append([]Label(nil), d.Labels...)
	sort.Slice(labels, func(i, j int) bool { return labels[i].Key < labels[j].Key })
	fmt.Fprintf(&b, " %q %q %#v", labels, d.NotLabels, d.Tolerations)
	return b.String()
}

// allows reports whether a node is of the right kind, whatever is free.
func (d *Demand) allows(s *NodeSpec) bool {
	if d.Need.GPUs > 0 {
		if s.GPUs == 0 || d.Need.VRAM > s.VRAM {
			return false
		}
		if d.Need.GPUMilli < Whole && s.GPUs > MaxDevices {
			return false
		}
		if !d.TakesGPU(s.GPUType) {
			return false
		}
	}
	if len(d.Labels)+len(d.NotLabels) > 0 && d.labelsForbid(s) {
		return false
	}
	for _, taint := range s.Taints {
		if taint.Effect != "PreferNoSchedule" && !d.tolerates(taint) {
			return false
		}
	}
	return true
}

// shuns reports whether a node has a soft taint that the demand does not tolerate.
func (d *Demand) shuns(s *NodeSpec) bool {
	for _, taint := range s.Taints {
		if taint.Effect == "PreferNoSchedule" && !d.tolerates(taint) {
			return true
		}
	}
	return false
}

func (d *Demand) tolerates(taint Taint) bool {
	for _, t := range d.Tolerations {
		if t.Tolerates(taint) {
			return true
		}
	}
	return false
}

// FitsOn returns how many replicas of the demand, at most limit, fit on the node now.
func (r *Room) FitsOn(d DemandID, n NodeID, limit int32) int32 {
	if !r.nodes[n].up || !r.kinds(d).has(int(n)) {
		return 0
	}
	return r.fitsOn(&(*r.demands)[d].Need, n, limit)
}

// fitsOn is FitsOn for a node known to be up and of the right kind.
func (r *Room) fitsOn(need *Need, id NodeID, limit int32) int32 {
	n := &r.nodes[id]
	k := int64(limit)
	if need.CPU > 0 {
		if n.cpu < need.CPU {
			return 0
		}
		if k > 1 {
			k = min(k, n.cpu/need.CPU)
		}
	}
	if need.Mem > 0 {
		if n.mem < need.Mem {
			return 0
		}
		if k > 1 {
			k = min(k, n.mem/need.Mem)
		}
	}
	if need.GPUs > 0 {
		if need.GPUMilli >= Whole {
			if n.gpus < need.GPUs {
				return 0
			}
			k = min(k, int64(n.gpus/need.GPUs))
		} else {
			if !r.shares.has(int(id)) {
				return 0
			}
			r.settle(n)
			fit := int64(0)
			for i := range int32(n.devices) {
				at := n.dev + i
				room := int64(Whole-r.milli[at]) / int64(need.GPUMilli)
				if need.VRAM > 0 && room > 0 {
					room = min(room, (r.specs[id].VRAM-r.vram[at])/need.VRAM)
				}
				if fit += max(room, 0); fit >= k {
					break
				}
			}
			k = min(k, fit)
		}
	}
	return int32(max(k, 0))
}

// ShareFits reports whether GPU i of a node, whose GPUs are told apart, has room for one replica of a demand for a share of a GPU.
func (r *Room) ShareFits(d DemandID, n NodeID, i int) bool {
	need, at := &(*r.demands)[d].Need, r.nodes[n].dev+int32(i)
	r.settle(&r.nodes[n])
	return Whole-r.milli[at] >= need.GPUMilli && (need.VRAM == 0 || r.specs[n].VRAM-r.vram[at] >= need.VRAM)
}

// Devices chooses GPU indexes for replicas of the demand on a node on which they fit: the lowest wholly free GPUs, or for a share the
// device with the least room that holds them all, the lowest of equals. It returns none where the node has no such devices.
func (r *Room) Devices(d DemandID, n NodeID, replicas int32) Devices {
	return r.devices(&(*r.demands)[d].Need, n, replicas)
}

func (r *Room) devices(need *Need, id NodeID, replicas int32) Devices {
	n := &r.nodes[id]
	if need.GPUs == 0 || n.pool {
		return 0
	}
	if need.GPUMilli >= Whole {
		k := int(need.GPUs * replicas)
		if k == bits.OnesCount64(uint64(n.whole)) {
			return n.whole
		}
		var set Devices
		for rest := n.whole; k > 0 && rest != 0; k-- {
			low := rest & -rest
			set |= low
			rest &^= low
		}
		return set
	}
	share := need.GPUMilli
	if replicas > 1 {
		if replicas > Whole {
			return 0
		}
		share *= replicas
	}
	r.settle(n)
	best, least := -1, int32(Whole+1)
	for i := range r.specs[id].GPUs {
		at := n.dev + i
		free := Whole - r.milli[at]
		if free >= share && free < least && (need.VRAM == 0 || (r.specs[id].VRAM-r.vram[at])/need.VRAM >= int64(max(replicas, 1))) {
			best, least = int(i), free
		}
	}
	if best < 0 {
		return 0
	}
	return 1 << best
}

// FirstFit looks for room for the whole gang on the nodes in their order, those that are TakenLast behind all others, and appends the placements to buf. A
// share that several replicas ask for gets one placement a replica. It reports false, and buf unchanged, where there is no room.
func (r *Room) FirstFit(d DemandID, buf []Placement) ([]Placement, bool) {
	return r.FirstFitWhere(d, buf, nil)
}

// LowestFit is FirstFit on the nodes in their order, taken last or not: for plans, which ask when and by whose end there will be room.
func (r *Room) LowestFit(d DemandID, buf []Placement) ([]Placement, bool) {
	p := *r.plan(d)
	p.split = nil
	return r.firstFit(d, &p, buf, nil)
}

// FirstFitWhere is FirstFit on those nodes on which limit, if not nil, allows replicas: it gets the node and the replicas that fit
// and returns how many of them it allows.
func (r *Room) FirstFitWhere(d DemandID, buf []Placement, limit func(n NodeID, fits int32) int32) ([]Placement, bool) {
	return r.firstFit(d, r.plan(d), buf, limit)
}

func (r *Room) firstFit(d DemandID, p *plan, buf []Placement, limit func(n NodeID, fits int32) int32) ([]Placement, bool) {
	dem := &(*r.demands)[d]
	if len(buf) == 0 && dem.Gang == 1 && limit == nil {
		id := r.firstNode(&dem.Need, p)
		if id < 0 {
			return buf, false
		}
		return append(buf, Placement{Node: id, Replicas: 1, GPUs: r.devices(&dem.Need, id, 1)}), true
	}
	start, left := len(buf), dem.Gang
	share := dem.Need.share()
	set := r.roomy(p)
	for kinds, back := p.turns(); kinds != nil; kinds, back = back, nil {
		for w := set.next(0, r.words); w < r.words; w = set.next(w+1, r.words) {
			for cand := set.word(w) & kinds[w]; cand != 0; cand &= cand - 1 {
				id := NodeID(w<<6 + bits.TrailingZeros64(cand))
				k := r.fitsOn(&dem.Need, id, left)
				if k > 0 && limit != nil {
					k = min(k, limit(id, k))
				}
				if k <= 0 {
					continue
				}
				if share && k > 1 { // each on its own device or part; choose one by one on booked room
					buf = r.Shares(d, id, k, buf, nil)
				} else {
					buf = append(buf, Placement{Node: id, Replicas: k, GPUs: r.devices(&dem.Need, id, k)})
				}
				if left -= k; left == 0 {
					return buf, true
				}
			}
		}
	}
	return buf[:start], false
}

// Shares appends one placement each for replicas of a share of a GPU that fit on a node, every one on room that those before it have left. choose
// says on which device the next one goes; nil: the one with the least room left. The room is afterwards as it was.
func (r *Room) Shares(d DemandID, n NodeID, replicas int32, buf []Placement, choose func() Devices) []Placement {
	need, start := &(*r.demands)[d].Need, len(buf)
	for range replicas {
		p := Placement{Node: n, Replicas: 1}
		if choose != nil {
			p.GPUs = choose()
		} else {
			p.GPUs = r.devices(need, n, 1)
		}
		r.Take(need, p)
		buf = append(buf, p)
	}
	for _, p := range buf[start:] {
		r.Give(need, p)
	}
	return buf
}

// share reports whether the need is for a part of a GPU.
func (n *Need) share() bool { return n.GPUs > 0 && n.GPUMilli < Whole }

// FirstNode returns the first node on which one replica of the demand fits now, or NoNode: the node that FirstFit finds for a gang of one.
func (r *Room) FirstNode(d DemandID) NodeID { return r.firstNode(&(*r.demands)[d].Need, r.plan(d)) }

// firstNode returns the first node with room for one replica, or -1.
func (r *Room) firstNode(need *Need, p *plan) NodeID {
	if p.exact && p.gpu && p.split == nil {
		return r.gpuIdx.first(p.level, p.kinds)
	}
	set := r.roomy(p)
	for kinds, back := p.turns(); kinds != nil; kinds, back = back, nil {
		for w := set.next(0, r.words); w < r.words; w = set.next(w+1, r.words) {
			for cand := set.word(w) & kinds[w]; cand != 0; cand &= cand - 1 {
				if id := NodeID(w<<6 + bits.TrailingZeros64(cand)); r.fitsOn(need, id, 1) == 1 {
					return id
				}
			}
		}
	}
	return NoNode
}

// Candidates appends to buf the first limit nodes, in node order from node `from` on and round the end, on which one replica fits; those that are TakenLast come
// behind all others, in the same order. limit <= 0 means all.
func (r *Room) Candidates(d DemandID, from NodeID, limit int, buf []NodeID) []NodeID {
	p, start := r.plan(d), len(buf)
	kinds, back := p.turns()
	buf = r.candidates(d, p, kinds, from, limit, buf)
	if found := len(buf) - start; back != nil && (limit <= 0 || found < limit) {
		buf = r.candidates(d, p, back, from, limit-found, buf)
	}
	return buf
}

// candidates is Candidates among some nodes of the right kind.
func (r *Room) candidates(d DemandID, p *plan, kinds bitset, from NodeID, limit int, buf []NodeID) []NodeID {
	need := &(*r.demands)[d].Need
	set := r.roomy(p)
	start, first, cut := len(buf), int(from)>>6, uint64(1)<<(from&63)-1
	for round := range 2 { // the words from that of `from` on, then those up to it: it is looked at twice, each time in part
		w, end, part := first, r.words, ^cut
		if round == 1 {
			w, end, part = 0, first+1, cut
		}
		for w = set.next(w, r.words); w < end; w = set.next(w+1, r.words) {
			cand := set.word(w) & kinds[w]
			if w == first {
				cand &= part
			}
			for ; cand != 0; cand &= cand - 1 {
				if id := NodeID(w<<6 + bits.TrailingZeros64(cand)); p.exact || r.fitsOn(need, id, 1) == 1 {
					if buf = append(buf, id); limit > 0 && len(buf)-start == limit {
						return buf
					}
				}
			}
		}
	}
	return buf
}

// takeWhole books what one replica of a demand for whole GPUs asks for of a node, and returns the GPUs:
// the lowest of those that are wholly free. The node must have them. giveWhole undoes it, and reports false, and does nothing, where the devices are booked otherwise.
func (r *Room) takeWhole(need *Need, id NodeID) Devices {
	if need.CPU|need.Mem != 0 {
		r.takeRest(id, &r.nodes[id], need.CPU, need.Mem)
	}
	return r.takeGPUs(need.GPUs, id)
}

// takeGPUs is takeWhole where GPUs are all that is asked for, and giveGPUs giveWhole.
func (r *Room) takeGPUs(k int32, id NodeID) Devices {
	n := &r.nodes[id]
	r.touch(id)
	r.usedGPUMilli += int64(k) * Whole
	r.usedGPU[n.kind] += int64(k) * Whole
	free := n.gpus
	n.gpus = free - k
	r.gpuIdx.move(int(id), gpuLevel(free), gpuLevel(free-k))
	if n.pool {
		return 0
	}
	set := n.whole.lowest(k)
	rest := n.whole ^ set
	n.whole, n.unsettled = rest, true
	if rest|n.odd == 0 {
		r.shares.clear(int(id))
	}
	return set
}

func (r *Room) giveWhole(need *Need, p *Placement) bool {
	if need.GPUMilli < Whole || p.Replicas != 1 || !r.giveGPUs(need.GPUs, p) {
		return false
	}
	if need.CPU|need.Mem != 0 {
		r.takeRest(p.Node, &r.nodes[p.Node], -need.CPU, -need.Mem)
	}
	return true
}

func (r *Room) giveGPUs(k int32, p *Placement) bool {
	id := p.Node
	n := &r.nodes[id]
	twice := p.GPUs & n.twice // these stay booked, by a claim
	once := p.GPUs ^ twice
	if !n.up || once&(n.whole|n.odd) != 0 {
		return false
	}
	r.touch(id)
	r.usedGPUMilli -= int64(k) * Whole
	r.usedGPU[n.kind] -= int64(k) * Whole
	n.unsettled = true
	if twice != 0 {
		n.twice ^= twice
		n.odd ^= twice
		n.whole |= once
		r.markShares(id)
		if k = int32(bits.OnesCount64(uint64(once))); k == 0 {
			return true
		}
	} else if once != 0 { // none where GPUs are not told apart
		n.whole |= once
		r.shares.set(int(id))
	}
	free := n.gpus
	n.gpus = free + k
	r.gpuIdx.move(int(id), gpuLevel(free), gpuLevel(free+k))
	return true
}

// Holds reports whether all replicas of the demand fit on the node now.
func (r *Room) Holds(d DemandID, n NodeID) bool { return r.holds(&(*r.demands)[d], r.plan(d), n) }

// holds is Holds by the plan of the demand.
func (r *Room) holds(d *Demand, p *plan, id NodeID) bool {
	n := &r.nodes[id]
	if !n.up || !p.kinds.has(int(id)) {
		return false
	}
	switch need := &d.Need; {
	case p.cores > 0:
		return n.cpu >= p.cores
	case p.whole > 0:
		return n.gpus >= p.whole
	case d.Gang == 1 && !p.share:
		return (need.CPU == 0 || n.cpu >= need.CPU) && (need.Mem == 0 || n.mem >= need.Mem) && (need.GPUs == 0 || n.gpus >= need.GPUs)
	}
	return r.fitsOn(&d.Need, id, d.Gang) >= d.Gang
}

// takeCores is Take where CPUs are all that is asked for: so many milli-CPU in all, negative to give them back.
func (r *Room) takeCores(id NodeID, milli int64) {
	n := &r.nodes[id]
	r.touch(id)
	was := n.cpu
	n.cpu = was - milli
	if n.capped {
		r.usedCPU += milli
	}
	r.noteCores(id, was)
}

// takeRest books what is asked for besides GPUs; negative amounts give it back.
func (r *Room) takeRest(id NodeID, n *nodeRoom, cpu, mem int64) {
	n.cpu -= cpu
	if n.capped {
		r.usedCPU += cpu
	}
	if cpu != 0 {
		r.noteCores(id, n.cpu+cpu)
	}
	n.mem -= mem
	if n.memory {
		r.usedMem += mem
	}
}

// claimWhole books the GPUs of a demand that asks for nothing else, as if what the victims hold there were free, and returns the lowest; 0 where it does not
// fit, or devices are booked otherwise than as a whole and once.
func (r *Room) claimWhole(p *plan, id NodeID, victims Devices) Devices {
	n := &r.nodes[id]
	open := n.whole | victims
	if !n.up || n.pool || !p.kinds.has(int(id)) || victims&(n.whole|n.odd) != 0 || bits.OnesCount64(uint64(open)) < int(p.whole) {
		return 0
	}
	set := open.lowest(p.whole)
	taken := set & n.whole
	r.touch(id)
	n.whole ^= taken
	n.twice |= set ^ taken
	n.odd |= set ^ taken // so that a share is looked for here, if in vain
	n.unsettled = true
	r.usedGPUMilli += int64(p.whole) * Whole
	r.usedGPU[n.kind] += int64(p.whole) * Whole
	if taken != 0 {
		free := n.gpus
		n.gpus -= int32(bits.OnesCount64(uint64(taken)))
		r.gpuIdx.move(int(id), gpuLevel(free), gpuLevel(n.gpus))
	}
	r.markShares(id)
	return set
}

// Take books the replicas of a placement. It does not look whether they fit.
func (r *Room) Take(need *Need, p Placement) { r.book(need, p, 1) }

// Give undoes Take.
func (r *Room) Give(need *Need, p Placement) { r.book(need, p, -1) }

func (r *Room) book(need *Need, p Placement, sign int64) {
	n := &r.nodes[p.Node]
	r.touch(p.Node)
	k := sign * int64(p.Replicas)
	if need.CPU != 0 {
		n.cpu -= k * need.CPU
		if n.capped {
			r.usedCPU += k * need.CPU
		}
		r.noteCores(p.Node, n.cpu+k*need.CPU)
	}
	if need.Mem != 0 {
		n.mem -= k * need.Mem
		if n.memory {
			r.usedMem += k * need.Mem
		}
	}
	if need.GPUs == 0 {
		return
	}
	milli := k * int64(need.GPUs) * int64(need.GPUMilli)
	r.usedGPUMilli += milli
	r.usedGPU[n.kind] += milli
	gpus, shared := n.gpus, n.whole|n.odd != 0
	switch {
	case n.pool:
		n.gpus -= int32(k) * need.GPUs
	case need.GPUMilli >= Whole:
		if !r.bookWhole(n, p.GPUs, sign) {
			r.bookDevices(n, p.GPUs, int32(sign)*Whole, 0)
		}
	default:
		// Several shares of a gang may stand on one device.
		r.bookDevices(n, p.GPUs, int32(k)*need.GPUMilli, k*need.VRAM)
	}
	if !n.up {
		return
	}
	if gpus != n.gpus {
		r.gpuIdx.move(int(p.Node), gpuLevel(gpus), gpuLevel(n.gpus))
	}
	if shared != (n.whole|n.odd != 0) {
		r.markShares(p.Node)
	}
}

// bookWhole books devices that are free, or full by what a Claim is to stop, or gives back such that are booked once or twice, all of them as a whole; it
// reports false, and nothing happens, where they are otherwise.
func (r *Room) bookWhole(n *nodeRoom, set Devices, sign int64) bool {
	if sign > 0 {
		if set&n.odd != 0 {
			return false
		}
		free := set & n.whole
		n.whole ^= free
		n.twice |= set ^ free
		n.odd |= set ^ free
		n.gpus -= int32(bits.OnesCount64(uint64(free)))
	} else {
		twice := set & n.twice
		once := set ^ twice
		if once&(n.whole|n.odd) != 0 {
			return false
		}
		n.twice ^= twice
		n.odd ^= twice
		n.whole |= once
		n.gpus += int32(bits.OnesCount64(uint64(once)))
	}
	n.unsettled = true
	return true
}

// bookDevices books a share, and VRAM, on each device of a set.
func (r *Room) bookDevices(n *nodeRoom, set Devices, share int32, vram int64) {
	r.settle(n)
	whole := n.whole
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(uint64(set))
		at := int(n.dev) + i
		to := r.milli[at] + share
		r.milli[at] = to
		if vram != 0 {
			r.vram[at] += vram
		}
		bit := Devices(1) << i
		whole, n.odd, n.twice = whole&^bit, n.odd&^bit, n.twice&^bit
		switch to {
		case 0:
			whole |= bit
		case Whole:
		default:
			n.odd |= bit
			if to == 2*Whole {
				n.twice |= bit
			}
		}
	}
	n.gpus += int32(bits.OnesCount64(uint64(whole)) - bits.OnesCount64(uint64(n.whole)))
	n.whole = whole
}

// occupy books what others use on a node (a profile), or frees it with negative amounts.
func (r *Room) occupy(id NodeID, cpu, mem int64) {
	n := &r.nodes[id]
	r.touch(id)
	n.cpu -= cpu
	n.mem -= mem
	r.noteCores(id, n.cpu+cpu)
}

// all returns the devices of the node that are told apart.
func (n *nodeRoom) all() Devices { return Devices(1)<<n.devices - 1 }

// occupyGPUs books the whole of devices that others hold, beside what is booked there, and frees those that they have left.
func (r *Room) occupyGPUs(id NodeID, held, left Devices) {
	if held|left == 0 {
		return
	}
	n := &r.nodes[id]
	r.touch(id)
	gpus := n.gpus
	r.bookDevices(n, held, Whole, 0)
	r.bookDevices(n, left, -Whole, 0)
	if n.up {
		r.gpuIdx.move(int(id), gpuLevel(gpus), gpuLevel(n.gpus))
		r.markShares(id)
	}
}

// fits reports whether a placement can be booked now.
func (r *Room) fits(d DemandID, p Placement) bool {
	if p.Node < 0 || int(p.Node) >= len(r.nodes) || p.Replicas < 1 {
		return false
	}
	dem := &(*r.demands)[d]
	if r.FitsOn(d, p.Node, p.Replicas) < p.Replicas {
		return false
	}
	n := &r.nodes[p.Node]
	if dem.Need.GPUs == 0 || n.pool {
		return p.GPUs == 0
	}
	if dem.Need.GPUMilli >= Whole {
		return p.GPUs&^n.whole == 0 && bits.OnesCount64(uint64(p.GPUs)) == int(p.Replicas*dem.Need.GPUs)
	}
	if bits.OnesCount64(uint64(p.GPUs)) != 1 {
		return false
	}
	i := int32(bits.TrailingZeros64(uint64(p.GPUs)))
	if i >= r.specs[p.Node].GPUs {
		return false
	}
	at := n.dev + i
	r.settle(n)
	return Whole-r.milli[at] >= dem.Need.GPUMilli*p.Replicas && (dem.Need.VRAM == 0 || (r.specs[p.Node].VRAM-r.vram[at])/dem.Need.VRAM >= int64(p.Replicas))
}

// Lacks says what keeps one replica of the demand out: the first of GPUs, VRAM, CPU, memory that no node of the right kind has,
// or Constraint where no node up is of the right kind, or GPU or CPU where several lacks combine. It looks at every node.
func (r *Room) Lacks(d DemandID) Resource {
	dem := &(*r.demands)[d]
	kinds := r.kinds(d)
	any, cpu, mem, gpu, share := false, false, false, false, false
	bare := dem.Need
	bare.CPU, bare.Mem = 0, 0
	thin := bare
	thin.VRAM = 0
	for i := range r.nodes {
		if !r.nodes[i].up || !kinds.has(i) {
			continue
		}
		any = true
		g := r.fitsOn(&bare, NodeID(i), 1) == 1
		gpu = gpu || g
		share = share || r.fitsOn(&thin, NodeID(i), 1) == 1
		cpu = cpu || g && r.nodes[i].cpu >= dem.Need.CPU
		mem = mem || g && r.nodes[i].mem >= dem.Need.Mem
	}
	switch {
	case !any:
		return Constraint
	case !gpu && share:
		return VRAM
	case !gpu:
		return GPU
	case !cpu:
		return CPU
	case !mem:
		return Memory
	case dem.Need.GPUs > 0:
		return GPU
	}
	return CPU
}

// CouldEverFit reports whether the gang would fit the nodes if they were all up and empty.
func CouldEverFit(specs []NodeSpec, d *Demand) bool {
	left := d.Gang
	for i := range specs {
		s := &specs[i]
		if !d.allows(s) {
			continue
		}
		k := int64(left)
		if d.Need.CPU > 0 {
			k = min(k, s.CPU/d.Need.CPU)
		}
		if d.Need.Mem > 0 {
			k = min(k, s.Mem/d.Need.Mem)
		}
		if d.Need.GPUs > 0 {
			if d.Need.GPUMilli >= Whole {
				k = min(k, int64(s.GPUs/d.Need.GPUs))
			} else {
				per := int64(Whole / d.Need.GPUMilli)
				if d.Need.VRAM > 0 {
					per = min(per, s.VRAM/d.Need.VRAM)
				}
				k = min(k, per*int64(s.GPUs))
			}
		}
		if left -= int32(max(k, 0)); left <= 0 {
			return true
		}
	}
	return false
}
