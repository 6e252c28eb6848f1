package policies

import (
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// reservation is room kept for one task at its shadow time, the earliest estimated end at which it fits. It is worked out when it is first
// needed in a decision: on the agenda where that serves, else on a copy of the room. The zero value keeps none.
type reservation struct {
	agenda agenda
	head   sched.TaskID
	place  Place
	made   bool
	plain  bool // do without the agenda (tests compare)

	shadow sched.Time // Never where not even the end of all running tasks makes room

	single   bool         // one node, by the agenda
	node     sched.NodeID // what is left there at the shadow time beside the reservation:
	cpu, mem int64
	gpus     int32

	after sched.Room // otherwise: what is free at the shadow time beside the reservation
	ends  heap.Heap
	on    []sched.Placement
}

// keepFor begins a reservation for head; it is worked out when the first candidate for backfilling turns up.
func (v *reservation) keepFor(head sched.TaskID, place Place, plain bool) {
	v.head, v.place, v.made, v.plain = head, place, false, plain
}

// ready works the reservation out, once a decision.
func (v *reservation) ready(s *sched.State) {
	if v.made {
		return
	}
	v.made = true
	d := s.DemandID(v.head)
	dem := s.Demand(v.head)
	v.single = !v.plain && v.agenda.serves(s, dem)
	if !v.single {
		v.make(s)
		return
	}
	v.shadow, v.node = v.agenda.earliest(s, d)
	if v.shadow != sched.Never {
		v.cpu, v.mem, v.gpus = v.agenda.free(s, v.node, v.shadow)
		k := int64(dem.Gang)
		v.cpu, v.mem, v.gpus = v.cpu-k*dem.Need.CPU, v.mem-k*dem.Need.Mem, v.gpus-dem.Gang*dem.Need.GPUs
	}
}

// make works the reservation out on a copy of the room: running tasks give theirs back in the order of their estimated ends until the head
// finds a place. Only as many ends are put in order as that takes.
func (v *reservation) make(s *sched.State) {
	v.after.CopyFrom(s.Room())
	v.ends = v.ends[:0]
	for t := range s.RunningTasks() {
		v.ends = append(v.ends, heap.Item{Key: int64(s.ExpectedEnd(t)), Task: t})
	}
	v.ends.Init()
	v.shadow = sched.Never
	for len(v.ends) > 0 {
		at := v.ends[0].Key
		for len(v.ends) > 0 && v.ends[0].Key == at {
			give(s, &v.after, v.ends.Pop().Task)
		}
		on, ok := FirstFit(s, &v.after, v.head, v.on[:0])
		v.on = on[:0]
		if ok {
			v.shadow = sched.Time(at)
			need := &s.Demand(v.head).Need
			for _, p := range on {
				v.after.Take(need, p)
			}
			return
		}
	}
}

// backfill looks for room for t now that does not delay the reservation. ok: found; fits: there is room now, but perhaps not beside the
// reservation. crowded says that there is none beside it for t's demand.
func (v *reservation) backfill(s *sched.State, place Place, t sched.TaskID, buf []sched.Placement, crowded bool) (on []sched.Placement, ok, fits bool) {
	on, ok = place(s, s.Room(), t, buf)
	if !ok {
		return on, false, false
	}
	v.ready(s)
	if v.endsInTime(s, t, on) {
		return on, true, true
	}
	if crowded {
		return on, false, true
	}
	on, ok = v.beside(s, s.DemandID(t), on[:0])
	return on, ok, true
}

// beside looks for room now that leaves the reservation feasible however long it is held.
func (v *reservation) beside(s *sched.State, d sched.DemandID, buf []sched.Placement) ([]sched.Placement, bool) {
	if v.shadow == sched.Never {
		return s.Room().FirstFit(d, buf) // room that never comes by itself (a node is down): there is nothing to delay
	}
	need := &s.Table().Demands[d].Need
	if !v.single {
		if need.GPUs > 0 && need.GPUMilli < sched.Whole {
			return v.sharesBeside(s, d, buf)
		}
		return s.Room().FirstFitWhere(d, buf, func(n sched.NodeID, fits int32) int32 { return v.after.FitsOn(d, n, fits) })
	}
	return s.Room().FirstFitWhere(d, buf, func(n sched.NodeID, fits int32) int32 {
		if n != v.node {
			return fits
		}
		k := int64(fits)
		if need.CPU > 0 {
			k = min(k, v.cpu/need.CPU)
		}
		if need.Mem > 0 {
			k = min(k, v.mem/need.Mem)
		}
		if need.GPUs > 0 {
			k = min(k, int64(v.gpus/need.GPUs))
		}
		return int32(max(k, 0))
	})
}

// sharesBeside is beside for a share of a GPU: which device it takes matters, so each replica gets one that has room for it now and at the
// shadow time, the one with the least room now, no two the same.
func (v *reservation) sharesBeside(s *sched.State, d sched.DemandID, buf []sched.Placement) ([]sched.Placement, bool) {
	room, start := s.Room(), len(buf)
	both := func(n sched.NodeID, i int) bool { return room.ShareFits(d, n, i) && v.after.ShareFits(d, n, i) }
	on, ok := room.FirstFitWhere(d, buf, func(n sched.NodeID, fits int32) int32 {
		devices := int32(0)
		for i := range room.BookedMilli(n) {
			if both(n, i) {
				devices++
			}
		}
		return min(fits, devices, v.after.FitsOn(d, n, fits))
	})
	var taken sched.Devices
	for j := start; j < len(on); j++ {
		p := &on[j]
		if j == start || on[j-1].Node != p.Node {
			taken = 0
		}
		booked, best := room.BookedMilli(p.Node), -1
		for i, b := range booked {
			if taken>>i&1 == 0 && (best < 0 || b > booked[best]) && both(p.Node, i) {
				best = i
			}
		}
		p.GPUs = 1 << best // there are as many as replicas: the limit has counted them
		taken |= p.GPUs
	}
	return on, ok
}

// endsInTime reports whether t, started now on these placements, is expected to end no later than the shadow time.
func (v *reservation) endsInTime(s *sched.State, t sched.TaskID, on []sched.Placement) bool {
	if v.shadow == sched.Never {
		return false
	}
	left, takes := s.Remaining(t), time.Duration(0)
	for _, p := range on { // a gang is as slow as its slowest node
		here := left
		if !s.Room().Spec(p.Node).Reference() || s.Table().EstimateOn != nil {
			here = sched.MulDiv(s.EstimateOn(t, p.Node), int64(left), int64(max(s.Estimate(t), 1)), true)
		}
		takes = max(takes, here)
	}
	return s.Now().Add(takes) <= v.shadow
}

// mostWork returns the most work left, at reference speed, with which a task on these placements could end by the shadow time: a bound that
// endsInTime makes exact.
func (v *reservation) mostWork(s *sched.State, on []sched.Placement) int64 {
	most := int64(v.shadow - s.Now())
	if s.Table().EstimateOn != nil {
		return never - 1 // any may have a cost of its own here
	}
	fastest := int64(sched.Whole)
	for _, p := range on {
		if speed := s.Room().Spec(p.Node).SpeedMilli; speed > fastest {
			fastest = speed
		}
	}
	if fastest > sched.Whole {
		most = int64(sched.MulDiv(time.Duration(most), fastest, sched.Whole, true))
	}
	return most
}

// started books a backfilled task that may run past the shadow time.
func (v *reservation) started(s *sched.State, t sched.TaskID, on []sched.Placement) {
	if !v.plain {
		v.agenda.add(s, t)
	}
	if !v.made || v.shadow == sched.Never || s.ExpectedEnd(t) <= v.shadow {
		return
	}
	need := &s.Demand(t).Need
	if v.single {
		for _, p := range on {
			if p.Node == v.node {
				k := int64(p.Replicas)
				v.cpu, v.mem, v.gpus = v.cpu-k*need.CPU, v.mem-k*need.Mem, v.gpus-p.Replicas*need.GPUs
			}
		}
		return
	}
	for _, p := range on {
		if need.GPUMilli >= sched.Whole { // whole devices are interchangeable at the shadow time; sharesBeside has looked at shares
			p.GPUs = v.after.Devices(s.DemandID(t), p.Node, p.Replicas)
		}
		v.after.Take(need, p)
	}
}
