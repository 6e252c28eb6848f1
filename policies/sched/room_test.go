package sched

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// slowRoom is the ledger without an index: what is booked stands in a list, and every question walks over it.
type slowRoom struct {
	specs   []NodeSpec
	demands []Demand
	booked  []slowBooking
	down    map[NodeID]bool
	others  map[NodeID][2]int64 // CPU and memory used by others
}

type slowBooking struct {
	d DemandID
	p Placement
}

func (r *slowRoom) allowed(d *Demand, n *NodeSpec) bool {
	ok := true
	if d.Need.GPUs > 0 {
		ok = n.GPUs > 0 && n.VRAM >= d.Need.VRAM && (d.Need.GPUMilli == Whole || n.GPUs <= MaxDevices)
		if len(d.GPUTypes) > 0 {
			ok = ok && slices.Contains(d.GPUTypes, n.GPUType)
		}
	}
	for _, l := range d.Labels {
		ok = ok && slices.Contains(n.Labels, l)
	}
	for _, t := range n.Taints {
		ok = ok && (t.Effect == "PreferNoSchedule" || slices.ContainsFunc(d.Tolerations, func(x Toleration) bool { return x.Tolerates(t) }))
	}
	return ok
}

// last reports whether a demand takes a node last.
func (r *slowRoom) last(d *Demand, n NodeID) bool {
	return slices.ContainsFunc(r.specs[n].Taints, func(t Taint) bool {
		return t.Effect == "PreferNoSchedule" && !slices.ContainsFunc(d.Tolerations, func(x Toleration) bool { return x.Tolerates(t) })
	})
}

// inTurn puts nodes that are taken last behind the others.
func (r *slowRoom) inTurn(d *Demand, nodes []NodeID) []NodeID {
	var last []NodeID
	others := slices.DeleteFunc(slices.Clone(nodes), func(n NodeID) bool {
		if r.last(d, n) {
			last = append(last, n)
			return true
		}
		return false
	})
	return append(others, last...)
}

func (r *slowRoom) all() (nodes []NodeID) {
	for n := range r.specs {
		nodes = append(nodes, NodeID(n))
	}
	return nodes
}

// left returns free CPU, memory, share and VRAM of each device (of a pool: one entry with all of it).
func (r *slowRoom) left(n NodeID) (cpu, mem int64, milli, vram []int64) {
	s := &r.specs[n]
	cpu, mem = s.CPU-r.others[n][0], s.Mem-r.others[n][1]
	devices := int(s.GPUs)
	if s.GPUs > MaxDevices {
		devices = 1
	}
	for range devices {
		milli, vram = append(milli, Whole), append(vram, s.VRAM)
	}
	if s.GPUs > MaxDevices {
		milli[0] = int64(s.GPUs) * Whole
	}
	for _, b := range r.booked {
		if b.p.Node != n {
			continue
		}
		need := &r.demands[b.d].Need
		cpu -= int64(b.p.Replicas) * need.CPU
		mem -= int64(b.p.Replicas) * need.Mem
		switch {
		case need.GPUs == 0:
		case s.GPUs > MaxDevices:
			milli[0] -= int64(b.p.Replicas) * int64(need.GPUs) * Whole
		case need.GPUMilli == Whole:
			for i := range milli {
				if b.p.GPUs>>i&1 == 1 {
					milli[i] -= Whole
				}
			}
		default:
			i := bits.TrailingZeros64(uint64(b.p.GPUs))
			milli[i] -= int64(b.p.Replicas) * int64(need.GPUMilli)
			vram[i] -= int64(b.p.Replicas) * need.VRAM
		}
	}
	return cpu, mem, milli, vram
}

// fitsOn puts one replica after the other.
func (r *slowRoom) fitsOn(d DemandID, n NodeID, limit int32) int32 {
	dem := &r.demands[d]
	if r.down[n] || !r.allowed(dem, &r.specs[n]) {
		return 0
	}
	cpu, mem, milli, vram := r.left(n)
	need := &dem.Need
	count := int32(0)
	for ; count < limit; count++ {
		if need.CPU > 0 && cpu < need.CPU || need.Mem > 0 && mem < need.Mem {
			break
		}
		got := int32(0)
		for i := range milli {
			for got < need.GPUs && milli[i] >= int64(need.GPUMilli) && (need.GPUMilli < Whole || r.specs[n].GPUs > MaxDevices || milli[i] == Whole) && (need.GPUMilli == Whole || vram[i] >= need.VRAM) {
				milli[i] -= int64(need.GPUMilli)
				if need.GPUMilli < Whole {
					vram[i] -= need.VRAM
				}
				got++
			}
		}
		if got < need.GPUs {
			break
		}
		cpu -= need.CPU
		mem -= need.Mem
	}
	return count
}

// TestRoomIndexAgreesWithAScan holds the index against a loop over all nodes, through bookings, profiles, losses and added nodes.
func TestRoomIndexAgreesWithAScan(t *testing.T) {
	found, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n := func(label string, from, to int) int { return rapid.IntRange(from, to).Draw(rt, label) }
		shape := func(i int) NodeSpec {
			s := NodeSpec{
				Name: fmt.Sprint("n", i), CPU: rapid.SampledFrom([]int64{1000, 2500, 8000, 64000, Unlimited}).Draw(rt, "cpu"), Mem: rapid.SampledFrom([]int64{4, 16, Unlimited}).Draw(rt, "mem"),
				GPUs: rapid.SampledFrom([]int32{0, 1, 2, 8, 16, 17, 64, 65}).Draw(rt, "gpus"), GPUType: rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "type"), VRAM: int64(n("vram", 1, 4)),
			}
			if n("labelled", 0, 2) == 0 {
				s.Labels = []Label{{"zone", "x"}}
			}
			if n("tainted", 0, 4) == 0 {
				s.Taints = []Taint{{"edge", "true", "NoSchedule"}}
			}
			if n("soft", 0, 2) == 0 {
				s.Taints = append(s.Taints, Taint{rapid.SampledFrom([]string{"edge", "hot"}).Draw(rt, "key"), "true", "PreferNoSchedule"})
			}
			return s
		}
		slow := &slowRoom{down: map[NodeID]bool{}, others: map[NodeID][2]int64{}}
		nodes := rapid.SampledFrom([]int{1, 3, 63, 64, 65, 130}).Draw(rt, "nodes")
		shapes := []NodeSpec{shape(0), shape(1), shape(2)}
		for i := range nodes {
			slow.specs = append(slow.specs, shapes[i*7%5%3])
		}
		for range n("demands", 1, 6) {
			d := Demand{Gang: int32(n("gang", 1, 5))}
			d.Need.CPU, d.Need.Mem = rapid.SampledFrom([]int64{0, 500, 1000, 2500, 9000}).Draw(rt, "need cpu"), int64(n("need mem", 0, 5))
			if d.Need.GPUs = rapid.SampledFrom([]int32{0, 0, 1, 1, 2, 8, 20}).Draw(rt, "need gpus"); d.Need.GPUs > 0 {
				d.Need.GPUMilli, d.Need.VRAM = Whole, int64(n("need vram", 0, 3))
				if d.Need.GPUs == 1 {
					d.Need.GPUMilli = rapid.SampledFrom([]int32{Whole, 100, 300, 500, 999}).Draw(rt, "milli")
				}
				if n("typed", 0, 2) == 0 {
					d.GPUTypes = []string{"B"}
				}
			}
			if n("labels", 0, 3) == 0 {
				d.Labels = []Label{{"zone", "x"}}
			}
			if n("tolerates", 0, 1) == 0 {
				d.Tolerations = []Toleration{{Key: "edge", Exists: true}}
			}
			slow.demands = append(slow.demands, d)
		}
		room := NewRoom(slow.specs, &slow.demands)
		var plan Room
		for range n("acts", 1, 30) {
			d := DemandID(n("demand", 0, len(slow.demands)-1))
			id := NodeID(n("node", 0, len(slow.specs)-1))
			switch n("act", 0, 9) {
			case 0:
				if len(slow.booked) > 0 {
					i := n("which", 0, len(slow.booked)-1)
					room.Give(&slow.demands[slow.booked[i].d].Need, slow.booked[i].p)
					slow.booked = slices.Delete(slow.booked, i, i+1)
				}
			case 1:
				slow.down[id] = !slow.down[id]
				room.setUp(id, !slow.down[id])
			case 2:
				was, now := slow.others[id], [2]int64{int64(n("other cpu", 0, 3000)), int64(n("other mem", 0, 3))}
				room.occupy(id, now[0]-was[0], now[1]-was[1])
				slow.others[id] = now
			case 3:
				if len(slow.specs) < 140 {
					s := shape(len(slow.specs))
					slow.specs = append(slow.specs, s)
					room.add(s)
				}
			default:
				on := checkFirstFit(rt, slow, room, d)
				if on == nil {
					refused++
					continue
				}
				found++
				for _, p := range on {
					room.Take(&slow.demands[d].Need, p)
					slow.booked = append(slow.booked, slowBooking{d, p})
				}
			}
			plan.CopyFrom(room)
			for _, r := range []*Room{room, &plan} {
				checkRoom(rt, slow, r, d, id)
			}
		}
	})
	if found == 0 || refused == 0 {
		t.Errorf("%d found room, %d did not: nothing was checked", found, refused)
	}
}

// checkFirstFit compares FirstFit and FirstFitWhere with the scan and returns placements, nil if there is no room. That the devices can be
// had is seen by fits.
func checkFirstFit(rt *rapid.T, slow *slowRoom, room *Room, d DemandID) []Placement {
	dem := &slow.demands[d]
	for _, odd := range []bool{true, false} {
		var limit func(NodeID, int32) int32
		if odd {
			limit = func(n NodeID, fits int32) int32 { return fits * int32(n&1) }
		}
		left := dem.Gang
		want := map[NodeID]int32{}
		for _, i := range slow.inTurn(dem, slow.all()) {
			k := slow.fitsOn(d, i, left)
			if odd {
				k *= int32(i & 1)
			}
			if k > 0 {
				want[i] = k
				left -= k
			}
		}
		room.plan(d)       // the first demand for cores alone makes their index,
		room.settleCores() // which a search brings up to date
		before := booked(room)
		front := []Placement{{Node: 77}}
		got, ok := room.FirstFitWhere(d, front, limit)
		if !odd && left == 0 { // the short way of one replica
			short, ok := room.FirstFit(d, nil)
			if !ok || !slices.Equal(short, got[1:]) {
				rt.Fatalf("demand %v: FirstFit %v behind something, %v alone", dem, got[1:], short)
			}
		}
		if !odd {
			lowest, found := room.LowestFit(d, nil)
			rest := dem.Gang
			for _, i := range slow.all() {
				k := int32(0)
				for _, p := range lowest {
					if p.Node == i {
						k += p.Replicas
					}
				}
				if found && k != slow.fitsOn(d, i, rest) {
					rt.Fatalf("demand %v: LowestFit %v", dem, lowest)
				}
				rest -= k
			}
			if found != (left == 0) {
				rt.Fatalf("demand %v: LowestFit says %v, the scan leaves %d replicas", dem, found, left)
			}
		}
		if before != booked(room) {
			rt.Fatal("FirstFit changed the room")
		}
		if ok != (left == 0) || got[0].Node != 77 {
			rt.Fatalf("demand %v: FirstFit says %v, the scan leaves %d replicas", dem, ok, left)
		}
		if !ok {
			if len(got) != 1 {
				rt.Fatalf("no room, and %v", got)
			}
			if !odd {
				return nil
			}
			continue
		}
		sum := map[NodeID]int32{}
		for i, p := range got[1:] {
			if !room.fits(d, p) {
				rt.Fatalf("demand %v: placement %d of %v does not fit", dem, i, got)
			}
			room.Take(&dem.Need, p)
			sum[p.Node] += p.Replicas
		}
		for _, p := range got[1:] {
			room.Give(&dem.Need, p)
		}
		if fmt.Sprint(sum) != fmt.Sprint(want) {
			rt.Fatalf("demand %v: FirstFit %v, the scan %v", dem, sum, want)
		}
		if !odd {
			return got[1:]
		}
	}
	return nil
}

func checkRoom(rt *rapid.T, slow *slowRoom, room *Room, d DemandID, id NodeID) {
	dem := &slow.demands[d]
	gpus := room.FreeGPUMilli(id) // before anybody asks who writes down what is booked
	for _, limit := range []int32{1, 2, 50} {
		if got, want := room.FitsOn(d, id, limit), slow.fitsOn(d, id, limit); got != want {
			rt.Fatalf("demand %v on node %d: FitsOn %d of %d, the scan %d", dem, id, got, limit, want)
		}
	}
	var all []NodeID
	for i := range slow.specs {
		n := NodeID((int(id) + i) % len(slow.specs))
		if slow.fitsOn(d, n, 1) == 1 {
			all = append(all, n)
		}
	}
	all = slow.inTurn(dem, all)
	for n := range slow.specs {
		if n := NodeID(n); room.Allowed(d, n) && room.Allowed(d, id) && (room.TakenLast(d, n) && !room.TakenLast(d, id) || n > id && room.TakenLast(d, n) == room.TakenLast(d, id)) != room.Before(d, id, n) {
			rt.Fatalf("demand %v: first fit looks at %d before %d: %v", dem, id, n, room.Before(d, id, n))
		}
	}
	front := []NodeID{77}
	if got := room.Candidates(d, id, 0, front); !slices.Equal(got[1:], all) {
		rt.Fatalf("demand %v: candidates from %d: %v, the scan %v", dem, id, got[1:], all)
	}
	if got := room.Candidates(d, id, 2, nil); !slices.Equal(got, all[:min(2, len(all))]) {
		rt.Fatalf("demand %v: two candidates from %d: %v, the scan %v", dem, id, got, all)
	}
	cpu, mem, milli, _ := slow.left(id)
	free := int64(0)
	for _, m := range milli {
		free += m
	}
	if room.FreeCPU(id) != cpu || room.FreeMem(id) != mem || gpus != free || room.Up(id) == slow.down[id] || room.Allowed(d, id) != slow.allowed(dem, &slow.specs[id]) {
		rt.Fatalf("node %d: %d, %d and %d free, the scan %d, %d and %d", id, room.FreeCPU(id), room.FreeMem(id), gpus, cpu, mem, free)
	}
	var usedGPU, usedCPU int64
	for _, b := range slow.booked {
		n := &slow.demands[b.d].Need
		usedGPU += int64(b.p.Replicas) * int64(n.GPUs) * int64(n.GPUMilli)
		if slow.specs[b.p.Node].CPU < Unlimited {
			usedCPU += int64(b.p.Replicas) * n.CPU
		}
	}
	byType := int64(0)
	for i := range room.GPUTypes() {
		_, used := room.GPUs(i)
		byType += used
	}
	if room.UsedGPUMilli() != usedGPU || byType != usedGPU || room.UsedCPU() != usedCPU {
		rt.Fatalf("booked GPUs %d (by type %d), CPU %d; the list says %d and %d", room.UsedGPUMilli(), byType, room.UsedCPU(), usedGPU, usedCPU)
	}
}

// TestLacksNamesWhatIsShort checks the words that explain a wait.
func TestLacksNamesWhatIsShort(t *testing.T) {
	demands := []Demand{
		{Gang: 1, Need: Need{CPU: 2000}},
		{Gang: 1, Need: Need{Mem: 3}},
		{Gang: 1, Need: Need{GPUs: 1, GPUMilli: Whole}},
		{Gang: 1, Need: Need{GPUs: 1, GPUMilli: Whole}, GPUTypes: []string{"B"}},
		{Gang: 1, Need: Need{CPU: 1000, GPUs: 1, GPUMilli: 500, VRAM: 3}},
	}
	room := NewRoom([]NodeSpec{{Name: "a", CPU: 1000, Mem: 2, VRAM: 4, GPUs: 1, GPUType: "A"}, {Name: "b", CPU: 500, Mem: 9}}, &demands)
	room.Take(&Need{GPUs: 1, GPUMilli: 100}, Placement{Node: 0, Replicas: 1, GPUs: 1})
	room.Take(&Need{GPUs: 1, GPUMilli: 100, VRAM: 2}, Placement{Node: 0, Replicas: 1, GPUs: 1})
	for d, want := range []Resource{CPU, NoResource, GPU, Constraint, VRAM} {
		if want == NoResource {
			if room.FitsOn(DemandID(d), 0, 1)+room.FitsOn(DemandID(d), 1, 1) == 0 {
				t.Errorf("demand %d does not fit", d)
			}
			continue
		}
		if got := room.Lacks(DemandID(d)); got != want {
			t.Errorf("demand %d lacks %v, want %v", d, got, want)
		}
	}
	room.setUp(1, false)
	if got := room.Lacks(1); got != Memory {
		t.Errorf("lacks %v, want memory", got)
	}
}

// TestDevicesMayBeBookedMoreThanOnce books devices over each other, as claims do before their victims have stopped, and compares with sums.
func TestDevicesMayBeBookedMoreThanOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type booking struct {
			need Need
			p    Placement
		}
		demands := []Demand{{Gang: 1, Need: Need{GPUs: 1, GPUMilli: 500}}}
		room := NewRoom([]NodeSpec{{Name: "a", GPUs: 6}}, &demands)
		var held []booking
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(rt, "give") {
				i := rapid.IntRange(0, len(held)-1).Draw(rt, "which")
				room.Give(&held[i].need, held[i].p)
				held = slices.Delete(held, i, i+1)
			} else {
				set := Devices(rapid.IntRange(1, 63).Draw(rt, "devices"))
				b := booking{Need{GPUs: int32(bits.OnesCount64(uint64(set))), GPUMilli: Whole}, Placement{Replicas: 1, GPUs: set}}
				if rapid.IntRange(0, 3).Draw(rt, "share") == 0 {
					b = booking{Need{GPUs: 1, GPUMilli: 500}, Placement{Replicas: 1, GPUs: set & -set}}
				}
				room.Take(&b.need, b.p)
				held = append(held, b)
			}
			var milli [6]int32
			for _, b := range held {
				for i := range milli {
					if b.p.GPUs>>i&1 != 0 {
						milli[i] += b.need.GPUMilli
					}
				}
			}
			var whole, over Devices
			odd := false
			for i, m := range milli {
				if m == 0 {
					whole |= 1 << i
				} else if m > Whole {
					over |= 1 << i
				}
				odd = odd || m != 0 && m != Whole
			}
			if got := room.Overbooked(0); got != over || room.WholeDevices(0) != whole || room.Shared(0) != odd || int(room.FreeGPUs(0)) != bits.OnesCount64(uint64(whole)) {
				rt.Fatalf("booked %v: overbooked %b, free %b, shared %v", milli, got, room.WholeDevices(0), room.Shared(0))
			}
			if rapid.Bool().Draw(rt, "look") && !slices.Equal(room.BookedMilli(0), milli[:]) {
				rt.Fatalf("booked %v, the sums %v", room.BookedMilli(0), milli)
			}
			if (room.FirstNode(0) == 0) != slices.ContainsFunc(milli[:], func(m int32) bool { return m <= 500 }) {
				rt.Fatalf("booked %v: half a GPU on node %d", milli, room.FirstNode(0))
			}
		}
	})
}

// booked writes the ledger.
func booked(r *Room) string {
	nodes := slices.Clone(r.nodes)
	for i := range nodes {
		r.settle(&r.nodes[i])
		nodes[i].unsettled = false
	}
	return fmt.Sprint(nodes, r.milli, r.vram)
}

// The index does not follow the CPU of an only node: what is found there must be found as if it did, also when there are others later.
func TestAnOnlyNodeIsFoundAsAmongOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		demands := []Demand{
			{Need: Need{CPU: 1000}, Gang: 1},
			{Need: Need{CPU: 3000}, Gang: 2},
			{Need: Need{CPU: 500, Mem: 1 << 30}, Gang: 1},
			{Need: Need{Mem: 2 << 30}, Gang: 1},
			{Gang: 1},
			{Need: Need{CPU: 1000, GPUs: 1, GPUMilli: Whole}, Gang: 1},
		}
		spec := NodeSpec{Name: "a", CPU: 8000, Mem: 4 << 30, GPUs: 2, SpeedMilli: Whole}
		full := NodeSpec{Name: "b", CPU: 0, Mem: 0, SpeedMilli: Whole}
		one, two := NewRoom([]NodeSpec{spec}, &demands), NewRoom([]NodeSpec{spec, full}, &demands)
		two.setUp(1, false)
		type booked struct{ d, k int }
		var held []booked
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch d := rapid.IntRange(0, len(demands)-1).Draw(t, "demand"); rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				up := rapid.Bool().Draw(t, "up")
				one.setUp(0, up)
				two.setUp(0, up)
			case 1, 2, 3:
				if len(held) > 0 {
					h := held[len(held)-1]
					held = held[:len(held)-1]
					p := Placement{Node: 0, Replicas: int32(h.k)}
					one.Give(&demands[h.d].Need, p)
					two.Give(&demands[h.d].Need, p)
				}
			default:
				if k := one.FitsOn(DemandID(d), 0, demands[d].Gang); k > 0 && demands[d].Need.GPUs == 0 {
					p := Placement{Node: 0, Replicas: k}
					one.Take(&demands[d].Need, p)
					two.Take(&demands[d].Need, p)
					held = append(held, booked{d, int(k)})
				}
			}
			for i := range demands {
				d := DemandID(i)
				on, ok := one.FirstFit(d, nil)
				on2, ok2 := two.FirstFit(d, nil)
				if one.Roomy(d) != two.Roomy(d) || one.FirstNode(d) != two.FirstNode(d) || ok != ok2 || !slices.Equal(on, on2) || !slices.Equal(one.Candidates(d, 0, 0, nil), two.Candidates(d, 0, 0, nil)) {
					t.Fatalf("%v: alone %v %v %v, with another that is down %v %v %v", demands[i], one.Roomy(d), one.FirstNode(d), on, two.Roomy(d), two.FirstNode(d), on2)
				}
				if gang := demands[i].Gang; ok != one.holds(&demands[i], one.plan(d), 0) {
					t.Fatalf("%v: %d replicas are placed: %v, and held: %v", demands[i], gang, ok, !ok)
				}
			}
		}
		one.add(full)
		one.setUp(1, false)
		if !slices.Equal(one.byCPU().flat, two.byCPU().flat) {
			t.Fatal("the index differs when there is a second node")
		}
	})
}

func TestTheLowestGPUsOfASetAreThoseOfTheSmallestIndexes(t *testing.T) {
	check := func(set Devices, k int32) {
		var want Devices
		for i, n := 0, int32(0); i < MaxDevices && n < k; i++ {
			if bit := Devices(1) << i; set&bit != 0 {
				want, n = want|bit, n+1
			}
		}
		if got := set.lowest(k); got != want {
			t.Fatalf("the %d lowest of %b are %b, got %b", k, set, want, got)
		}
	}
	for set := range Devices(256) { // a node of 8, all that can be asked of it
		for k := range int32(11) {
			check(set, k)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		check(Devices(rapid.Uint64().Draw(t, "set")), rapid.Int32Range(0, MaxDevices+1).Draw(t, "k"))
	})
}

func TestARowOfStateIsFortyBytes(t *testing.T) {
	if n := unsafe.Sizeof(row{}); n != 40 {
		t.Fatalf("%d bytes: there is one for each task of the trace", n)
	}
}

func TestWhatIsReadMostIsALineOfTheCache(t *testing.T) {
	if n := unsafe.Sizeof(nodeRoom{}); n != 64 {
		t.Errorf("the ledger of a node has %d bytes", n)
	}
	if n := unsafe.Sizeof(run{}); n != 64 {
		t.Errorf("the slot of a running task has %d bytes", n)
	}
}

// The free GPUs of a node are those that its booked shares leave, claims that book what others still hold included; and to count them writes nothing down, for several may
// do so at a time.
func TestFreeGPUsAreCountedWithoutWritingDown(t *testing.T) {
	whole, half := Need{GPUs: 1, GPUMilli: Whole}, Need{GPUs: 1, GPUMilli: Whole / 2}
	var twice bool
	rapid.Check(t, func(t *rapid.T) {
		demands := []Demand{{Need: whole, Gang: 1}, {Need: half, Gang: 1}}
		r := NewRoom([]NodeSpec{{Name: "n", CPU: Unlimited, Mem: Unlimited, GPUs: 4, VRAM: Unlimited}}, &demands)
		var booked [4]int32
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			i := rapid.IntRange(0, 3).Draw(t, "device")
			need := &whole
			if rapid.Bool().Draw(t, "half") {
				need = &half
			}
			p := Placement{Replicas: 1, GPUs: 1 << i}
			switch share := need.GPUMilli; {
			case booked[i]%Whole != 0 && share == Whole, booked[i] == 2*Whole, booked[i] == Whole && share < Whole:
				continue // nobody books that
			default:
				r.Take(need, p)
				booked[i] += share
			}
			free := int64(0)
			for _, b := range booked {
				free += int64(Whole - b)
				twice = twice || b == 2*Whole
			}
			before := r.nodes[0]
			if got := r.FreeGPUMilli(0); got != free || r.nodes[0] != before {
				t.Fatalf("%d free of %v, want %d; %+v before, %+v after", got, booked, free, before, r.nodes[0])
			}
		}
	})
	if !twice {
		t.Error("no GPU was booked twice: nothing was checked")
	}
}
