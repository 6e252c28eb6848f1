package policies

import (
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// reservation is room kept for one task at its shadow time, the earliest estimated end at which it fits. It is worked out when it is first
// needed: on the agenda where that serves, else on a copy of the room. The zero value keeps none.
//
// It may be kept over decisions (hold, then takeIn before the next) as long as only tasks that leave it feasible are started, and told of,
// and what ends frees room: starts do not move it then, and an end brings it forward at most. What is past its estimate moves it at every
// instant, so it is dropped as soon as that may concern it.
type reservation struct {
	agenda agenda
	head   sched.TaskID
	demand sched.DemandID
	place  Place
	made   bool
	plain  bool  // do without the agenda
	senior bool  // plain, and estimates count for nothing: see keepWhatever
	turn   int64 // changes with what is reserved
	wider  int64 // changes when that may leave more room or time to others than before, not counting what ends on the reserved node

	shadow sched.Time // Never where not even the end of all running tasks makes room

	single bool         // one node, by the agenda
	fickle bool         // something on it is overdue: the shadow time moves with the clock
	node   sched.NodeID // what is left there at the shadow time beside the reservation:
	left   amount

	after sched.Room // otherwise: what is free at the shadow time beside the reservation
	first sched.Time // and from then on a running task may be past its estimate
	ends  heap.Heap
	on    []sched.Placement
	ids   []sched.NodeID
}

// keepFor begins a reservation for head; it is worked out when the first candidate for backfilling turns up.
func (v *reservation) keepFor(head sched.TaskID, place Place, plain bool) {
	v.head, v.place, v.plain, v.senior = head, place, plain, false
	v.drop()
}

// keepWhatever is keepFor where estimates are too short to tell when tasks end. What is kept is what the tasks that have run the longest will leave, as many of
// them as it takes; the shadow time is when the last of these was started. All else may run beside it only: so what starts later puts nothing off, that time can only
// become an earlier one, and head starts when those tasks have ended, whenever that is.
func (v *reservation) keepWhatever(head sched.TaskID, place Place) {
	v.keepFor(head, place, true)
	v.senior = true
}

// hold is keepFor, but keeps a reservation that head has already.
func (v *reservation) hold(head sched.TaskID, place Place) {
	if !v.made || v.head != head {
		v.keepFor(head, place, false)
	}
}

// drop forgets what is reserved: it is worked out anew when it is needed.
func (v *reservation) drop() {
	v.made = false
	v.turn++
	v.wider++
}

// ready works the reservation out unless it stands.
func (v *reservation) ready(s *sched.State) {
	if !v.made {
		v.workOut(s)
	}
}

func (v *reservation) workOut(s *sched.State) {
	v.made = true
	dem := s.Demand(v.head)
	v.demand = s.DemandID(v.head)
	v.single = !v.plain && v.agenda.serves(s, dem)
	if !v.single {
		v.make(s)
		return
	}
	v.shadow, v.node = v.agenda.earliest(s, v.demand)
	v.leave(s)
}

// leave works out what is left on the node of the reservation.
func (v *reservation) leave(s *sched.State) {
	if v.shadow != sched.Never {
		v.fickle = v.agenda.overdue(s, v.node)
		v.left = v.agenda.free(s, v.node, v.shadow).minus(amountOf(&s.Table().Demands[v.demand].Need, s.Table().Demands[v.demand].Gang))
	}
}

// remove takes a task out of the agenda that runs no more, and appends the nodes that it held to ended. All of a batch are taken out before
// takeIn.
func (v *reservation) remove(s *sched.State, t sched.TaskID, ended []sched.NodeID) []sched.NodeID {
	if nodes := v.agenda.gangs.take(t); nodes != nil {
		for _, n := range nodes {
			ended = v.removeFrom(s, n, t, ended)
		}
		return ended
	}
	if n := s.LastNode(t); n != sched.NoNode {
		ended = v.removeFrom(s, n, t, ended)
	}
	return ended
}

func (v *reservation) removeFrom(s *sched.State, n sched.NodeID, t sched.TaskID, ended []sched.NodeID) []sched.NodeID {
	r, ok := v.agenda.remove(s, n, t)
	if !ok {
		return ended
	}
	if v.made && v.single && v.node == n && r.end > v.shadow {
		v.left = v.left.plus(v.agenda.size(&r)) // it would still have held that at the shadow time
	}
	return append(ended, n)
}

// takeIn brings a reservation from an earlier decision up to date. Since then, tasks have ended on the nodes that are listed, and nothing else
// has happened, besides starts that it was told of.
func (v *reservation) takeIn(s *sched.State, ended []sched.NodeID) {
	switch {
	case !v.made:
	case !v.single:
		if len(ended) > 0 || v.first <= s.Now() {
			v.drop()
		}
	case v.shadow == sched.Never:
		if len(ended) > 0 {
			v.drop()
		}
	default:
		// Of the other nodes an overdue task says only that they are ready later.
		if v.fickle || v.agenda.overdue(s, v.node) {
			v.drop()
			return
		}
		for _, n := range ended {
			if n == v.node {
				if !v.bringForward(s) {
					v.drop()
					return
				}
			} else if at := v.agenda.expected(s, v.demand, n, v.shadow); at < v.shadow || at == v.shadow && n < v.node && at != sched.Never {
				v.shadow, v.node = at, n
				v.turn++
				v.wider++
				if v.leave(s); v.fickle {
					v.drop()
					return
				}
			}
		}
	}
}

// bringForward moves the shadow time to the earliest of the ends on the node at which the head fits, and reports false where it fits now. It
// fits at the shadow time, nothing is overdue on the node.
func (v *reservation) bringForward(s *sched.State) bool {
	a := &v.agenda
	runs := a.runs[v.node]
	i := position(runs, v.shadow+1, 0)
	need := a.takes[v.demand]
	for {
		left := v.left
		for ; i > 0 && runs[i-1].end == v.shadow; i-- {
			left = left.minus(a.size(&runs[i-1]))
		}
		if !left.nonNegative(need) {
			return true
		}
		if i == 0 {
			return false
		}
		v.left, v.shadow = left, runs[i-1].end
		v.turn++
	}
}

// make works the reservation out on a copy of the room: running tasks give theirs back in the order of their estimated ends, or of their starts, until the head
// finds a place. Only as many ends are put in order as that takes.
func (v *reservation) make(s *sched.State) {
	v.after.CopyFrom(s.Room())
	v.ends = v.ends[:0]
	v.shadow, v.first = sched.Never, sched.Never
	for t := range s.RunningTasks() {
		at := s.ExpectedEnd(t)
		if v.senior {
			at = s.StartedAt(t)
		}
		v.ends = append(v.ends, heap.Item{Key: int64(at), Task: t})
		v.first = min(v.first, s.EstimatedEnd(t))
	}
	v.ends.Init()
	for len(v.ends) > 0 {
		at := v.ends[0].Key
		for len(v.ends) > 0 && v.ends[0].Key == at {
			give(s, &v.after, v.ends.Pop().Task)
		}
		on, ok := lowestFit(s, &v.after, v.head, v.on[:0])
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
			k = min(k, v.left.cpu/need.CPU)
		}
		if need.Mem > 0 {
			k = min(k, v.left.mem/need.Mem)
		}
		if need.GPUs > 0 {
			k = min(k, int64(v.left.gpus/need.GPUs))
		}
		return int32(max(k, 0))
	})
}

// nodeBeside is beside for a demand that goes on one node, the first with room for it being first, where the reservation is of one node; NoNode
// where there is no such node.
func (v *reservation) nodeBeside(s *sched.State, d sched.DemandID, first sched.NodeID) sched.NodeID {
	if first != v.node {
		return first
	}
	if need := v.agenda.takes[d].times(s.Table().Demands[d].Gang); v.leaves(&need) {
		return first
	}
	if s.Room().Parted(d) {
		if v.ids = s.Room().Candidates(d, 0, 2, v.ids[:0]); len(v.ids) == 2 {
			return v.ids[1]
		}
		return sched.NoNode
	}
	if first+1 < sched.NodeID(s.Room().Len()) {
		if v.ids = s.Room().Candidates(d, first+1, 1, v.ids[:0]); len(v.ids) > 0 && v.ids[0] > first {
			return v.ids[0]
		}
	}
	return sched.NoNode
}

// leaves reports whether so much is left on the node of the reservation.
func (v *reservation) leaves(need *amount) bool {
	return (need.cpu == 0 || v.left.cpu >= need.cpu) && (need.mem == 0 || v.left.mem >= need.mem) && (need.gpus == 0 || v.left.gpus >= need.gpus)
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
	if v.shadow == sched.Never || v.senior {
		return false
	}
	left, takes := s.Remaining(t), time.Duration(0)
	for _, p := range on { // a gang is as slow as its slowest node
		here := left
		if !s.Room().Spec(p.Node).Reference() || s.Table().Uneven() {
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
	if s.Table().Uneven() {
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

// startedOn is started for a task of a demand that goes on one node, the agenda having been asked.
func (v *reservation) startedOn(s *sched.State, t sched.TaskID, d sched.DemandID, n sched.NodeID) {
	end := v.agenda.addOn(s, t, d, n)
	if !v.made {
		return
	}
	v.first = min(v.first, end)
	if end <= v.shadow {
		return
	}
	dem := &s.Table().Demands[d]
	if !v.single {
		v.after.Take(&dem.Need, sched.Placement{Node: n, Replicas: dem.Gang, GPUs: v.after.Devices(d, n, dem.Gang)})
	} else if n == v.node {
		v.left = v.left.minus(amountOf(&dem.Need, dem.Gang))
	}
}

// started books a task that has been started beside the reservation; it may run past the shadow time.
func (v *reservation) started(s *sched.State, t sched.TaskID, on []sched.Placement) {
	if !v.plain {
		v.agenda.add(s, t)
	}
	if !v.made {
		return
	}
	end := s.ExpectedEnd(t)
	v.first = min(v.first, end)
	if v.shadow == sched.Never || end <= v.shadow && !v.senior {
		return
	}
	need := &s.Demand(t).Need
	if v.single {
		for _, p := range on {
			if p.Node == v.node {
				v.left = v.left.minus(amountOf(need, p.Replicas))
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
