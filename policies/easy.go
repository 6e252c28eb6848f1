package policies

import (
	"cmp"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// Easy is EASY backfilling (Lifka 1995; Mu'alem & Feitelson 2001, section 2): tasks start in the order of readiness; when the head of the
// line finds no room it gets a reservation at the shadow time, the earliest estimated end at which it fits, on the lowest-numbered
// nodes; a later task starts now if it ends by its estimate before the shadow time or leaves the reservation feasible. On one node this
// is EASY by counting processors. A task past its estimate is expected to end one second from now.
type Easy struct {
	Scan  Scan
	Place Place // of the head; nil: first fit

	line    []sched.TaskID // in order of readiness; tasks that left are skipped and swept
	gone    int
	scratch []sched.TaskID
	reserve reservation
	buf     []sched.Placement
	full    []int32 // by demand: round in which it found no room now
	shadow  []int32 // by demand: round in which it found no room beside the reservation
	round   int32
}

// Scan is the order in which the tasks behind the head are tried.
type Scan int

// The scan orders.
const (
	ScanArrival Scan = iota // in the order of the line
	ScanSJBF                // shortest estimate first (Tsafrir, Etsion & Feitelson 2007, section 4: SJBF)
	ScanReverse             // from the back of the line
)

// Observe keeps the line.
func (p *Easy) Observe(s *sched.State, e sched.Event) {
	if e.Kind != sched.TaskReady {
		return
	}
	// A task that comes back after a failure keeps its turn: the line is ordered by first readiness, then by TaskID.
	i := len(p.line)
	for i > 0 && (s.Phase(p.line[i-1]) != sched.Ready || comesBefore(s, e.Task, p.line[i-1])) {
		i--
	}
	if i < len(p.line) && slices.Contains(p.line[i:], e.Task) {
		p.line = slices.DeleteFunc(p.line, func(t sched.TaskID) bool { return t == e.Task })
		i = min(i, len(p.line))
	}
	p.line = slices.Insert(p.line, i, e.Task)
}

func comesBefore(s *sched.State, a, b sched.TaskID) bool {
	if x, y := s.FirstReady(a), s.FirstReady(b); x != y {
		return x < y
	}
	return a < b
}

// Decide starts what stands first, reserves for the head and backfills.
func (p *Easy) Decide(r *sched.Round) {
	place := p.Place
	if place == nil {
		place = FirstFit
	}
	i := 0
	for ; i < len(p.line); i++ {
		t := p.line[i]
		if r.Phase(t) != sched.Ready {
			continue
		}
		on, ok := place(r.State, r.Room(), t, p.buf[:0])
		p.buf = on[:0]
		if !ok || !r.Start(t, on...) {
			r.Skip(t, sched.NoRoom)
			break
		}
	}
	p.line = p.line[i:]
	if len(p.line) < 2 {
		return
	}
	head, rest := p.line[0], p.line[1:]
	p.reserve.keepFor(head, place)
	p.round++
	if p.Scan != ScanArrival {
		p.scratch = append(p.scratch[:0], rest...)
		if p.Scan == ScanReverse {
			slices.Reverse(p.scratch)
		} else {
			slices.SortStableFunc(p.scratch, func(a, b sched.TaskID) int { return cmp.Compare(r.Estimate(a), r.Estimate(b)) })
		}
		rest = p.scratch
	}
	gone := 0
	for _, t := range rest {
		if r.Phase(t) != sched.Ready {
			gone++
			continue
		}
		if p.backfill(r, t) {
			gone++
		}
	}
	if p.gone += gone; p.gone > len(p.line)/2+16 {
		p.line = slices.DeleteFunc(p.line, func(t sched.TaskID) bool { return r.Phase(t) != sched.Ready })
		p.gone = 0
	}
}

// backfill starts t if that does not delay the reservation.
func (p *Easy) backfill(r *sched.Round, t sched.TaskID) bool {
	d := r.DemandID(t)
	for len(p.full) <= int(d) {
		p.full, p.shadow = append(p.full, 0), append(p.shadow, 0)
	}
	if p.full[d] == p.round {
		r.Skip(t, sched.NoRoom)
		return false
	}
	on, ok, fits := p.reserve.backfill(r.State, t, p.buf[:0], p.shadow[d] == p.round)
	p.buf = on[:0]
	switch {
	case !ok && !fits:
		p.full[d] = p.round
		r.Skip(t, sched.NoRoom)
		return false
	case !ok:
		p.shadow[d] = p.round
		r.Skip(t, sched.Order)
		return false
	}
	if !r.Start(t, on...) {
		return false
	}
	p.reserve.started(r.State, t, on)
	return true
}

// reservation is room kept for one task at its shadow time. The zero value keeps none.
type reservation struct {
	shadow sched.Time // Never where not even the end of all running tasks makes room
	after  sched.Room // what is free at the shadow time beside the reservation
	ends   heap.Heap  // running tasks by expected end
	on     []sched.Placement
	head   sched.TaskID
	place  Place
	made   bool // shadow and after hold; they are found only when a task behind the head fits now
}

// keepFor begins a reservation for head; it is worked out when the first candidate for backfilling turns up.
func (v *reservation) keepFor(head sched.TaskID, place Place) {
	v.head, v.place, v.made = head, place, false
}

// make reserves for the head: the room of running tasks is given back in the order of their estimated ends until it finds a place. Only
// as many ends are put in order as that takes.
func (v *reservation) make(s *sched.State) {
	v.made = true
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
		on, ok := v.place(s, &v.after, v.head, v.on[:0])
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

// backfill looks for room for t now that does not delay the reservation. ok: found; fits: there is room now, but not beside the
// reservation. crowded says that another task of the same demand found none beside the reservation.
func (v *reservation) backfill(s *sched.State, t sched.TaskID, buf []sched.Placement, crowded bool) (on []sched.Placement, ok, fits bool) {
	d := s.DemandID(t)
	on, ok = s.Room().FirstFit(d, buf)
	if !ok {
		return on, false, false
	}
	if !v.made {
		v.make(s)
	}
	if v.endsInTime(s, t, on) {
		return on, true, true
	}
	if crowded {
		return on, false, true
	}
	on, ok = s.Room().FirstFitWhere(d, on[:0], func(n sched.NodeID, fits int32) int32 { return v.after.FitsOn(d, n, fits) })
	return on, ok, true
}

// endsInTime reports whether t, started now on these placements, is expected to end no later than the shadow time.
func (v *reservation) endsInTime(s *sched.State, t sched.TaskID, on []sched.Placement) bool {
	if v.shadow == sched.Never {
		return false // room that never comes by itself (a node is down): keep nothing, delay nothing
	}
	left := s.Remaining(t)
	for _, p := range on {
		if !s.Room().Spec(p.Node).Reference() || s.Table().EstimateOn != nil {
			whole := max(s.Estimate(t), 1)
			left = max(left, sched.MulDiv(s.EstimateOn(t, p.Node), int64(s.Remaining(t)), int64(whole), true))
		}
	}
	return s.Now().Add(left) <= v.shadow
}

// started books a backfilled task that may run past the shadow time.
func (v *reservation) started(s *sched.State, t sched.TaskID, on []sched.Placement) {
	if s.ExpectedEnd(t) <= v.shadow && v.shadow != sched.Never {
		return
	}
	d := s.Demand(t)
	for _, p := range on {
		p.GPUs = v.after.Devices(s.DemandID(t), p.Node, p.Replicas) // devices are interchangeable at the shadow time
		v.after.Take(&d.Need, p)
	}
}
