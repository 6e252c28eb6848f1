package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// lookahead chooses, of the tasks behind the head of the line, those that use most of the room at once without delaying it (Shmueli & Feitelson,
// JPDC 2005, LOS): by dynamic programming over how much of the free room is used. The paper's table has a second dimension, how much is left beside the
// reservation; as what is to be maximised is the first, it is enough to keep for each amount of use the least that it takes away from there, which
// gives the same best use in time O(tasks x free room). Of several sets that use as much, the one with the later tasks is taken, as pyss does: its
// table lets a task in wherever that makes the use no smaller.
//
// What is counted is GPUs if the head asks for any, else CPU, of all nodes together, in steps of the largest amount that divides all, or where that makes
// more than 65536 of them, of that part of the room, needs rounded up. On one node of one resource the choice is exact. Otherwise each of the chosen
// still must find its nodes, in the order of the line, and waits if it does not.
type lookahead struct {
	tasks []sched.TaskID
	use   []int64 // by task
	long  []bool  // runs past the shadow time
	takes []int64 // by task, then by steps of use: the least taken away beside the reservation; over where it cannot be
	on    []sched.Placement
}

const (
	over      = math.MaxInt64 / 2
	lookSteps = 1 << 16
)

// amountFor is what of a need counts.
func amountFor(need *sched.Need, gpus bool) int64 {
	if gpus {
		return int64(need.GPUs) * int64(need.GPUMilli)
	}
	return need.CPU
}

func freeFor(room *sched.Room, n sched.NodeID, gpus bool) int64 {
	if !room.Up(n) {
		return 0
	}
	if gpus {
		return max(room.FreeGPUMilli(n), 0)
	}
	return min(max(room.FreeCPU(n), 0), sched.Unlimited>>20) // there may be many that state none
}

// choose keeps of l.tasks, which all have room now by themselves, those to start, in their order.
func (l *lookahead) choose(s *sched.State, v *reservation, place Place) {
	gpus := s.Demand(v.head).Need.GPUs > 0
	free, beside, step := int64(0), int64(0), int64(0)
	for n := range sched.NodeID(s.Room().Len()) {
		now := freeFor(s.Room(), n, gpus)
		then := now
		switch {
		case v.single && n == v.node && gpus:
			then = int64(v.left.gpus) * sched.Whole
		case v.single && n == v.node:
			then = v.left.cpu
		case !v.single:
			then = freeFor(&v.after, n, gpus)
		}
		free, beside = free+now, beside+min(max(then, 0), now)
	}
	l.use, l.long = l.use[:0], l.long[:0]
	most := int64(0)
	for _, t := range l.tasks {
		dem := s.Demand(t)
		w := int64(dem.Gang) * amountFor(&dem.Need, gpus)
		step, most = gcd(step, w), most+w
		on, ok := place(s, s.Room(), t, l.on[:0])
		l.on = on[:0]
		l.use, l.long = append(l.use, w), append(l.long, !ok || !v.endsInTime(s, t, on))
	}
	free = min(free, most)
	step = max(step, 1, free/lookSteps)
	width := int(free/step) + 1
	l.takes = slices.Grow(l.takes[:0], width*(len(l.tasks)+1))[:width*(len(l.tasks)+1)]
	for u := range width {
		l.takes[u] = over
	}
	l.takes[0] = 0
	for j := range l.tasks {
		w := int((l.use[j] + step - 1) / step)
		before, after := l.takes[j*width:(j+1)*width], l.takes[(j+1)*width:(j+2)*width]
		away := int64(0)
		if l.long[j] {
			away = l.use[j]
		}
		copy(after, before)
		for u := w; u < width; u++ {
			if x := before[u-w] + away; x <= beside && x <= after[u] {
				after[u] = x
			}
		}
	}
	last := l.takes[len(l.tasks)*width:]
	u := width - 1
	for last[u] >= over {
		u--
	}
	for j := len(l.tasks) - 1; j >= 0; j-- {
		w := int((l.use[j] + step - 1) / step)
		away := int64(0)
		if l.long[j] {
			away = l.use[j]
		}
		if u >= w && l.takes[j*width+u-w]+away == l.takes[(j+1)*width+u] {
			u -= w
		} else {
			l.tasks[j] = sched.Nobody
		}
	}
	l.tasks = slices.DeleteFunc(l.tasks, func(t sched.TaskID) bool { return t == sched.Nobody })
}

func gcd(a, b int64) int64 {
	if a == 0 || b == 0 {
		return a + b
	}
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// backfillBest starts the best set of the tasks behind the head, of the first Depth of them.
func (p *Easy) backfillBest(r *sched.Round, head sched.TaskID) (hopeful bool) {
	s, l := r.State, &p.ahead
	depth := p.Depth
	if depth <= 0 {
		depth = DefaultDepth
	}
	l.tasks = l.tasks[:0]
	last := sched.Nobody
	for i := p.lineAt; i < len(p.line) && depth > 0; i++ {
		t := p.line[i].task
		if t == last || t == head || r.Phase(t) != sched.Ready || r.FirstReady(t) != p.line[i].ready { // it has left this place; one that comes back to it stands beside
			continue
		}
		last = t
		depth--
		switch {
		case !r.QuotaAllows(t):
			r.Skip(t, sched.Order)
		case !p.hasRoom(s, p.line[i].demand):
			r.Skip(t, sched.NoRoom)
		default:
			r.Skip(t, sched.Order)
			l.tasks = append(l.tasks, t)
		}
	}
	if len(l.tasks) == 0 {
		return true
	}
	if !p.stands(s) {
		return false
	}
	l.choose(s, &p.reserve, p.place())
	for _, t := range l.tasks {
		on, ok, _ := p.reserve.backfill(s, p.place(), t, p.buf[:0], false)
		p.buf = on
		if ok && r.Start(t, on...) {
			p.reserve.started(s, t, on)
			p.queues[r.DemandID(t)].Remove(t)
			p.took(s, on)
		}
	}
	return true
}
