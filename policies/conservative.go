package policies

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/internal/skyline"
	"github.com/schedlab/schedlab/policies/sched"
)

// Conservative is conservative backfilling (Mu'alem & Feitelson, TPDS 2001, section 2.2): every task is promised a start and nodes when it comes, the earliest
// at which it delays nobody who was promised before, and on the lowest-numbered nodes. When room comes free earlier than expected, all that wait are
// looked at once in the order of readiness: each gives its promise back and is placed anew, which can only bring it forward, or leave its start and find
// it lower-numbered nodes. So with estimates that are not too short nobody starts later than first promised.
//
// The paper has jobs killed at their estimates and machines that never fail. Here a task past its estimate is expected to end 1 s after it, then 2 s,
// 4 s and so on (Tsafrir, Etsion & Feitelson, TPDS 2007, section 5, correct predictions likewise by growing steps). Promises that this makes
// impossible are placed anew, in order of readiness; all others stand. A task that comes back after a failure keeps its place in the order and gets a
// new promise. When a node comes, goes or changes, or a user changes an estimate, all is promised anew. A task that a quota refuses when its turn
// comes loses its promise until the quota lets it start. With a Place, promises are for the lowest-numbered nodes all the same, and Place
// chooses those on which a task does start, among the nodes that stay free as long as it holds them.
//
// With q tasks waiting and s steps in a node's skyline (tasks running or promised there), a task that goes on one node is placed in time
// O(log n + s) of n nodes typically, a gang in O(n s^2). An early end costs O(q) to pass over those that the room it frees is no use to, and a search of the
// nodes with freed room for each of the others; each that moves frees room in its turn, so that where the queue is long an early end may move much of it.
// Nothing is looked at when tasks end as expected.
type Conservative struct {
	Place Place // nil: first fit

	table    timetable
	made     bool // the timetable stands
	slot     []int32
	bookings []booking // index 0 is none's
	free     []int32
	line     []place           // who waits, in order of readiness
	fresh    []sched.TaskID    // they have come since the last decision
	starts   heap.Heap         // promised starts, also some that are no more
	ends     heap.Heap         // expected ends of running tasks, likewise
	early    bool              // room has come free before its time
	freed    regions           // since the last pass looked at all that wait
	next     regions           // during the pass at hand
	late     []sched.TaskID    // have been given more time, scratch
	due      []sched.TaskID    // scratch
	moved    []place           // scratch
	on, was  []sched.Placement // scratch
	hopes    []hope            // by demand
	pass     int64
	near     int          // regions are looked at one by one if there are at most so many; 0: few (tests take other numbers)
	over     sched.TaskID // the last that ended, plus 1
	refused  int          // waiting tasks without a promise
	room     sched.Room   // of timetable.view
}

// place is a place in the line.
type place struct {
	ready sched.Time
	task  sched.TaskID
	slot  int32
}

// booking is what a task holds, or is promised.
type booking struct {
	task     sched.TaskID
	demand   sched.DemandID
	running  bool
	ready    sched.Time
	from, to sched.Time // Never: nothing is promised
	end      sched.Time // of a running task, by its estimate
	on       []sched.Placement
}

// regions are stretches of time in which room has come free, one hull a node.
type regions struct {
	list []region
	at   []int32 // by node: index in list, plus 1
	log  []int32 // indexes in list, each time that one was added or has more room
}

type region struct {
	node     sched.NodeID
	from, to sched.Time
}

func (r *regions) add(n sched.NodeID, from, to sched.Time) {
	for len(r.at) <= int(n) {
		r.at = append(r.at, 0)
	}
	i := r.at[n] - 1
	if i >= 0 {
		g := &r.list[i]
		g.from, g.to = min(g.from, from), max(g.to, to)
	} else {
		i = int32(len(r.list))
		r.list = append(r.list, region{n, from, to})
		r.at[n] = i + 1
	}
	r.log = append(r.log, i)
}

func (r *regions) clear() {
	for i := range r.list {
		r.at[r.list[i].node] = 0
	}
	r.list, r.log = r.list[:0], r.log[:0]
}

// of returns the region of a node, or nil.
func (r *regions) of(n sched.NodeID) *region {
	if int(n) >= len(r.at) || r.at[n] == 0 {
		return nil
	}
	return &r.list[r.at[n]-1]
}

// hope is what the freed room promises a demand that goes on one node: it may be less, as room has been taken since, and not more.
type hope struct {
	pass    int64 // to which the rest belongs
	seen    int   // entries of the log that are taken in
	first   int64 // the earliest time of a stretch with enough room
	longest int64
	vain    int  // searches since then that found nothing
	again   bool // all regions are to be taken in again
}

// Observe keeps the line, and what is booked of what has ended.
func (p *Conservative) Observe(s *sched.State, e sched.Event) {
	for len(p.slot) < s.Known() {
		p.slot = append(p.slot, 0)
	}
	switch e.Kind {
	case sched.JobArrived:
		p.made = p.made && p.table.grow(s)
	case sched.TaskReady:
		p.enter(s, e.Task)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		p.over = e.Task + 1
		p.leave(s, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		if !p.leave(s, e.Task) && e.Task+1 != p.over {
			p.made = false // it may have had a claim, of another policy, whose room is free now
		}
	case sched.Started:
		if i := p.slot[e.Task]; i == 0 || !p.bookings[i].running {
			p.made = false
		}
	case sched.NodeUp, sched.NodeDown, sched.NodeProfile, sched.Updated:
		p.made = false
	}
}

// enter puts a task in the line.
func (p *Conservative) enter(s *sched.State, t sched.TaskID) {
	if i := p.slot[t]; i != 0 { // its end was not told: a node was lost
		p.drop(i)
	}
	i := p.take(s, t)
	ready := p.bookings[i].ready
	at := len(p.line)
	for at > 0 && lines.Before(ready, t, p.line[at-1].ready, p.line[at-1].task) {
		at--
	}
	p.line = slices.Insert(p.line, at, place{ready, t, i})
	p.fresh = append(p.fresh, t)
	p.refused++
}

// take makes a booking of nothing.
func (p *Conservative) take(s *sched.State, t sched.TaskID) int32 {
	if len(p.bookings) == 0 {
		p.bookings = append(p.bookings, booking{task: sched.Nobody})
	}
	i := int32(len(p.bookings))
	if n := len(p.free); n > 0 {
		i, p.free = p.free[n-1], p.free[:n-1]
	} else {
		p.bookings = append(p.bookings, booking{})
	}
	b := &p.bookings[i]
	*b = booking{task: t, demand: s.DemandID(t), ready: s.FirstReady(t), from: sched.Never, to: sched.Never, on: b.on[:0]}
	p.slot[t] = i
	return i
}

// leave takes a task out that runs or waits no more, and reports whether it did.
func (p *Conservative) leave(s *sched.State, t sched.TaskID) bool {
	i := p.slot[t]
	if i == 0 {
		return false
	}
	p.unbook(s, &p.bookings[i])
	p.drop(i)
	return true
}

// drop forgets a task, whatever of it is booked.
func (p *Conservative) drop(i int32) {
	b := &p.bookings[i]
	if !b.running {
		p.outOfLine(b)
		if b.from == sched.Never {
			p.refused--
		}
	}
	p.slot[b.task] = 0
	b.task = sched.Nobody
	p.free = append(p.free, i)
}

func (p *Conservative) outOfLine(b *booking) {
	at := sort.Search(len(p.line), func(i int) bool { return !lines.Before(p.line[i].ready, p.line[i].task, b.ready, b.task) })
	p.line = slices.Delete(p.line, at, at+1)
}

// unbook gives back what is booked from now on.
func (p *Conservative) unbook(s *sched.State, b *booking) {
	from := max(b.from, s.Now())
	if !p.made || b.from == sched.Never || from >= b.to {
		return
	}
	p.table.book(s, b.demand, b.on, from, b.to, 1)
	p.early = true
	for i := range b.on {
		p.freed.add(b.on[i].Node, from, b.to)
	}
}

// Decide brings the promises up to date and starts what is due.
func (p *Conservative) Decide(r *sched.Round) {
	s := r.State
	if !p.made {
		p.makeAll(s)
	} else {
		p.overdue(s)
	}
	for again := true; again; {
		if p.early {
			p.early = false
			p.bringForward(s)
		}
		p.promise(r)
		again = p.begin(r)
	}
	if len(p.line) > 0 {
		r.Skip(p.line[0].task, sched.NoRoom)
	}
	for _, t := range p.fresh {
		if i := p.slot[t]; i != 0 && !p.bookings[i].running && r.QuotaAllows(t) {
			cause := sched.NoRoom
			if t != p.line[0].task {
				on, ok := r.Room().FirstFit(r.DemandID(t), p.on[:0])
				if p.on = on[:0]; ok {
					cause = sched.Order
				}
				r.Skip(t, cause)
			}
		}
	}
	p.fresh = p.fresh[:0]
	if first := p.firstStart(); first < sched.Never {
		r.WakeAt(first)
	}
}

// makeAll makes the timetable anew, and all promises.
func (p *Conservative) makeAll(s *sched.State) {
	p.begins(s)
	for i := range p.line {
		b := &p.bookings[p.line[i].slot]
		b.from, b.to = sched.Never, sched.Never
	}
	p.refused = len(p.line)
	p.fresh = p.fresh[:0]
	for i := range p.line {
		p.fresh = append(p.fresh, p.line[i].task)
	}
}

// begins makes a timetable of what runs.
func (p *Conservative) begins(s *sched.State) {
	p.table.reset(s)
	p.made, p.early = true, false
	p.starts, p.ends = p.starts[:0], p.ends[:0]
	p.freed.clear()
	for i := range p.bookings {
		if b := &p.bookings[i]; i > 0 && b.running && b.task != sched.Nobody {
			p.drop(int32(i))
		}
	}
	for t := range s.RunningTasks() {
		b := &p.bookings[p.take(s, t)]
		b.on = append(b.on, s.Placements(t)...)
		p.run(s, b)
		p.table.book(s, b.demand, b.on, s.Now(), sched.Never, 1) // what is free now does not count it
		p.table.book(s, b.demand, b.on, s.Now(), b.to, -1)
	}
}

// run notes that a task runs since now, or before, and when it is expected to end.
func (p *Conservative) run(s *sched.State, b *booking) {
	b.running = true
	b.from, b.end = s.StartedAt(b.task), max(s.EstimatedEnd(b.task), s.StartedAt(b.task)+1)
	b.to = expectedBy(b.end, s.Now())
	p.push(&p.ends, b.to, b.task)
}

// expectedBy returns when a task that should have ended is expected to.
func expectedBy(end, now sched.Time) sched.Time {
	if end > now {
		return end
	}
	more := time.Second
	for end.Add(more) <= now {
		more *= 2
	}
	return end.Add(more)
}

func (p *Conservative) push(h *heap.Heap, at sched.Time, t sched.TaskID) {
	if len(*h) > 64+2*(len(p.bookings)-len(p.free)) { // most of it is no more
		kept := (*h)[:0]
		for _, it := range *h {
			if p.stands(h, it) {
				kept = append(kept, it)
			}
		}
		*h = kept
		h.Init()
	}
	h.Push(heap.Item{Key: int64(at), Task: t})
}

// stands reports whether an entry of starts or ends is still so.
func (p *Conservative) stands(h *heap.Heap, it heap.Item) bool {
	i := p.slot[it.Task]
	if i == 0 {
		return false
	}
	b := &p.bookings[i]
	if h == &p.ends {
		return b.running && int64(b.to) == it.Key
	}
	return !b.running && int64(b.from) == it.Key
}

// firstStart returns the first promised start; Never where there is none.
func (p *Conservative) firstStart() sched.Time {
	for len(p.starts) > 0 && !p.stands(&p.starts, p.starts[0]) {
		p.starts.Pop()
	}
	if len(p.starts) == 0 {
		return sched.Never
	}
	return sched.Time(p.starts[0].Key)
}

// overdue gives more time to what runs past its expected end.
func (p *Conservative) overdue(s *sched.State) {
	p.late = p.late[:0]
	for len(p.ends) > 0 && p.ends[0].Key <= int64(s.Now()) {
		it := p.ends.Pop()
		if !p.stands(&p.ends, it) {
			continue
		}
		b := &p.bookings[p.slot[it.Task]]
		b.to = expectedBy(b.end, s.Now())
		p.table.book(s, b.demand, b.on, s.Now(), b.to, -1)
		p.late = append(p.late, it.Task)
	}
	for _, t := range p.late {
		p.push(&p.ends, p.bookings[p.slot[t]].to, t)
	}
	p.displace(s)
}

// displace places those anew whose promises the tasks in late make impossible.
func (p *Conservative) displace(s *sched.State) {
	p.moved = p.moved[:0]
	now := s.Now()
	for _, t := range p.late {
		x := &p.bookings[p.slot[t]]
		for i := range x.on {
			n := x.on[i].Node
			if !p.table.short(n, now, x.to) {
				continue
			}
			for _, w := range p.line {
				b := &p.bookings[w.slot]
				if b.from >= x.to || b.to <= now || !slices.ContainsFunc(b.on, func(q sched.Placement) bool { return q.Node == n }) || slices.Contains(p.moved, w) {
					continue
				}
				p.moved = append(p.moved, w)
			}
		}
	}
	p.late = p.late[:0]
	if len(p.moved) == 0 {
		return
	}
	for _, w := range p.moved {
		p.unbook(s, &p.bookings[w.slot])
	}
	slices.SortFunc(p.moved, func(a, b place) int {
		if lines.Before(a.ready, a.task, b.ready, b.task) {
			return -1
		}
		return 1
	})
	for _, w := range p.moved {
		b := &p.bookings[w.slot]
		if b.from >= now {
			p.table.book(s, b.demand, b.on, b.from, b.to, -1)
			if p.table.keeps(s, b.demand, b.on, b.from, b.to) {
				continue
			}
			p.table.book(s, b.demand, b.on, b.from, b.to, 1)
		}
		b.from, b.to = sched.Never, sched.Never
		p.refused++
		p.placeAt(s, b, sched.Never)
	}
}

// placeAt promises a start before until to a task that is promised none, and reports false where there is none.
func (p *Conservative) placeAt(s *sched.State, b *booking, until sched.Time) bool {
	on, at, ok := p.table.place(s, b.task, s.Now(), until, p.on[:0])
	p.on = on[:0]
	if !ok {
		return false
	}
	p.book(s, b, at, on)
	return true
}

// book promises a start and nodes to a task that is promised none.
func (p *Conservative) book(s *sched.State, b *booking, at sched.Time, on []sched.Placement) {
	hold := int64(1)
	for i := range on {
		hold = max(hold, p.table.hold(s, b.task, on[i].Node))
	}
	b.from, b.to, b.on = at, at.Add(time.Duration(hold)), append(b.on[:0], on...)
	p.table.book(s, b.demand, b.on, b.from, b.to, -1)
	p.push(&p.starts, b.from, b.task)
	p.refused--
}

// promise promises a start to all who have come, and to those whom quotas refused.
func (p *Conservative) promise(r *sched.Round) {
	if p.refused == 0 {
		return
	}
	if !r.Quotas() {
		slices.SortFunc(p.fresh, func(a, b sched.TaskID) int {
			if comesBefore(r.State, a, b) {
				return -1
			}
			return 1
		})
		for _, t := range p.fresh {
			if i := p.slot[t]; i != 0 && !p.bookings[i].running && p.bookings[i].from == sched.Never {
				p.placeAt(r.State, &p.bookings[i], sched.Never)
			}
		}
		return
	}
	for i := range p.line {
		b := &p.bookings[p.line[i].slot]
		if b.from == sched.Never && r.QuotaAllows(b.task) {
			p.placeAt(r.State, b, sched.Never)
		}
	}
}

// begin starts what is due, and reports whether something came of it that promises must heed.
func (p *Conservative) begin(r *sched.Round) bool {
	s := r.State
	p.due = p.due[:0]
	for p.firstStart() <= s.Now() {
		p.due = append(p.due, p.starts.Pop().Task)
	}
	slices.SortFunc(p.due, func(a, b sched.TaskID) int {
		if comesBefore(s, a, b) {
			return -1
		}
		return 1
	})
	for _, t := range p.due {
		i := p.slot[t]
		b := &p.bookings[i]
		if b.running || b.from > s.Now() { // named twice
			continue
		}
		if p.Place != nil {
			p.choose(s, b)
		}
		if !r.Start(t, b.on...) {
			p.unbook(s, b)
			b.from, b.to = sched.Never, sched.Never
			p.refused++
			if r.QuotaAllows(t) {
				p.made = false // the room is not as it should be: at the next decision all is promised anew
			}
			continue
		}
		p.outOfLine(b)
		to := b.to
		b.on = append(b.on[:0], s.Placements(t)...)
		p.run(s, b)
		switch {
		case b.to < to:
			p.table.book(s, b.demand, b.on, b.to, to, 1)
			p.early = true
			for i := range b.on {
				p.freed.add(b.on[i].Node, b.to, to)
			}
		case b.to > to: // it was promised longer ago than now
			p.table.book(s, b.demand, b.on, max(to, s.Now()), b.to, -1)
			p.late = append(p.late, t)
		}
	}
	p.displace(s)
	if !p.made {
		r.WakeAt(s.Now().Add(time.Second))
	}
	return p.made && p.early
}

// choose lets Place choose the nodes of a task that is due.
func (p *Conservative) choose(s *sched.State, b *booking) {
	room, alone := s.Room(), true
	for _, w := range p.line {
		if c := &p.bookings[w.slot]; c != b && c.from < sched.Never {
			alone = false
			break
		}
	}
	p.table.book(s, b.demand, b.on, s.Now(), b.to, 1)
	if !alone {
		p.table.view(s, &p.room, p.table.longest(s, b.task, b.demand))
		room = &p.room
	}
	on, ok := p.Place(s, room, b.task, p.on[:0])
	p.on = on[:0]
	if !ok {
		p.table.book(s, b.demand, b.on, s.Now(), b.to, -1)
		return
	}
	if !slices.EqualFunc(b.on, on, func(x, y sched.Placement) bool { return x.Node == y.Node }) {
		p.early = true
		for i := range b.on {
			p.freed.add(b.on[i].Node, s.Now(), b.to)
		}
	}
	p.refused++
	p.book(s, b, s.Now(), on)
}

// bringForward looks at all that wait, in their order, for an earlier start in room that has come free. What was not free when a task was last looked
// at, and has not come free since, is not free: a new start makes use of freed room.
func (p *Conservative) bringForward(s *sched.State) {
	p.next.clear()
	p.pass++
	now := s.Now()
	for i := range p.freed.list {
		p.freed.list[i].from = max(p.freed.list[i].from, now)
	}
	for _, w := range p.line {
		b := &p.bookings[w.slot]
		if b.from <= now || b.from == sched.Never {
			continue
		}
		from, to := b.from, b.to
		var on []sched.Placement
		at, ok := sched.Never, false
		if p.table.whole(s, b.demand) {
			if !p.hopeful(s, b) {
				continue
			}
			var n sched.NodeID
			if n, at = p.sooner(s, b); n == b.on[0].Node && at == from {
				p.dash(b.demand)
				continue
			}
			p.was = append(p.was[:0], b.on...)
			on = append(p.on[:0], sched.Placement{Node: n, Replicas: b.on[0].Replicas})
			p.table.book(s, b.demand, b.on, from, to, 1)
		} else {
			if !p.useful(s, b) {
				continue
			}
			p.was = append(p.was[:0], b.on...)
			p.table.book(s, b.demand, b.on, from, to, 1)
			on, at, ok = p.table.place(s, b.task, now, from+1, p.on[:0])
			if !ok || at == from && slices.Equal(on, b.on) {
				p.table.book(s, b.demand, b.on, from, to, -1)
				continue
			}
		}
		p.on = on[:0]
		p.refused++
		p.book(s, b, at, on)
		for i := range p.was {
			p.freed.add(p.was[i].Node, from, to)
			p.next.add(p.was[i].Node, from, to)
		}
	}
	p.freed, p.next = p.next, p.freed
}

// useful reports whether some freed room may be of use to a replica of a waiting task: a quick look.
func (p *Conservative) useful(s *sched.State, b *booking) bool {
	want := p.table.wants[b.demand]
	if p.table.shares {
		want[2] = skyline.Any
	}
	for i := range p.freed.list {
		g := &p.freed.list[i]
		if g.from >= b.to && !p.table.mixed || g.from >= g.to || !p.table.allowed(s, b.demand, g.node) { // it would be over before
			continue
		}
		if high := p.table.nodes[g.node].High(int64(g.from), int64(g.to)); high[0] >= want[0] && high[1] >= want[1] && high[2] >= want[2] {
			return true
		}
	}
	return false
}

// hopeful is useful for a task that goes on one node.
func (p *Conservative) hopeful(s *sched.State, b *booking) bool {
	for len(p.hopes) <= int(b.demand) {
		p.hopes = append(p.hopes, hope{})
	}
	h := &p.hopes[b.demand]
	if h.pass != p.pass {
		*h = hope{pass: p.pass, first: skyline.Ever}
	}
	if h.again {
		h.again, h.seen = false, len(p.freed.log)
		for i := range p.freed.list {
			p.look(s, b.demand, h, &p.freed.list[i])
		}
	}
	want, last := &p.table.wants[b.demand], int32(-1)
	for ; h.seen < len(p.freed.log); h.seen++ {
		if i := p.freed.log[h.seen]; i != last { // of the only node they are all the same
			last = i
			p.look(s, b.demand, h, &p.freed.list[i])
		}
	}
	if h.first <= int64(b.from) && (h.longest >= int64(b.to-b.from) || p.table.mixed) {
		return true
	}
	g := p.freed.of(b.on[0].Node) // it may slide into what is free just before it
	return g != nil && g.from < b.from && g.to > g.from && p.table.nodes[g.node].Back(int64(b.from), int64(b.from)-1, want) < int64(b.from)
}

// look takes a region into a demand's hope.
func (p *Conservative) look(s *sched.State, d sched.DemandID, h *hope, g *region) {
	if g.from >= g.to || !p.table.allowed(s, d, g.node) {
		return
	}
	l, want := &p.table.nodes[g.node], &p.table.wants[d]
	if first, longest := l.Holes(l.Back(int64(g.from), int64(s.Now()), want), int64(g.to), want); longest > 0 {
		h.first, h.longest = min(h.first, first), max(h.longest, longest)
	}
}

// dash takes in that a hope was vain. After a few, what is left of it is worked out again.
func (p *Conservative) dash(d sched.DemandID) {
	h := &p.hopes[d]
	if h.vain++; h.vain == 4 {
		*h = hope{pass: h.pass, first: skyline.Ever, again: true}
	}
}

// sooner looks for an earlier start of a task that goes on one node, or for the same on a lower-numbered node, and returns what it has where there is
// none. The room that is promised to the task itself counts as free.
func (p *Conservative) sooner(s *sched.State, b *booking) (node sched.NodeID, best sched.Time) {
	own := b.on[0].Node
	node, best = own, b.from
	want := &p.table.wants[b.demand]
	look := func(g *region, until, stop sched.Time) {
		if g.from >= g.to || !p.table.allowed(s, b.demand, g.node) {
			return
		}
		line := &p.table.nodes[g.node]
		first := line.Back(int64(g.from), int64(s.Now()), want)
		if at, ok := line.Earliest(first, int64(min(until, g.to)), p.table.hold(s, b.task, g.node), int64(stop), want); ok {
			node, best = g.node, sched.Time(at)
		}
	}
	if g := p.freed.of(own); g != nil && g.from < b.from {
		look(g, b.from, b.from)
	}
	if len(p.freed.list) > cmp.Or(p.near, few) { // quicker than to look at each
		n, at := p.table.soonest(s, b.task, b.demand, s.Now(), best+1)
		if n != sched.NoNode && (at < best || n < node) {
			return n, at
		}
		return node, best
	}
	for i := range p.freed.list {
		if g := &p.freed.list[i]; g.node < node {
			look(g, best+1, skyline.Ever)
		} else if g.node != own {
			look(g, best, skyline.Ever)
		}
	}
	return node, best
}

// Keep writes the promises, which do not follow from the State.
func (p *Conservative) Keep(_ *sched.State, out []byte) []byte {
	promised := 0
	for _, w := range p.line {
		if p.bookings[w.slot].from < sched.Never {
			promised++
		}
	}
	out = binary.AppendUvarint(out, uint64(promised))
	for _, w := range p.line {
		b := &p.bookings[w.slot]
		if b.from == sched.Never {
			continue
		}
		out = binary.AppendUvarint(out, uint64(b.task))
		out = binary.AppendVarint(out, int64(b.from))
		out = binary.AppendUvarint(out, uint64(len(b.on)))
		for _, on := range b.on {
			out = binary.AppendUvarint(out, uint64(on.Node))
			out = binary.AppendUvarint(out, uint64(on.Replicas))
			out = binary.AppendUvarint(out, uint64(on.GPUs))
		}
	}
	return out
}

// Recall takes the promises of Keep over.
func (p *Conservative) Recall(s *sched.State, in []byte) error {
	p.begins(s)
	p.fresh = p.fresh[:0]
	bad := false
	below := func(limit uint64) uint64 {
		v, n := binary.Uvarint(in)
		if n <= 0 || v >= limit {
			in, bad = nil, true
			return 0
		}
		in = in[n:]
		return v
	}
	for range below(uint64(len(p.line) + 1)) {
		t := sched.TaskID(below(uint64(len(p.slot))))
		from, n := binary.Varint(in)
		if bad || n <= 0 || p.slot[t] == 0 || p.bookings[p.slot[t]].running || sched.Time(from) < s.Now() {
			return fmt.Errorf("no promise can be read for task %d", t)
		}
		in = in[n:]
		b := &p.bookings[p.slot[t]]
		on, left := p.on[:0], s.Demand(t).Gang
		for range below(math.MaxInt32) {
			q := sched.Placement{Node: sched.NodeID(below(uint64(len(p.table.nodes)))), Replicas: int32(below(uint64(left) + 1)), GPUs: sched.Devices(below(math.MaxUint64))}
			if devs := len(p.table.devs[q.Node]); bad || q.Replicas < 1 || devs > 0 && bits.Len64(uint64(q.GPUs)) > devs {
				return fmt.Errorf("no promise can be read for task %d", t)
			}
			left -= q.Replicas
			on = append(on, q)
		}
		if p.on = on[:0]; left > 0 || b.from < sched.Never {
			return fmt.Errorf("task %d is promised too little, or twice", t)
		}
		p.book(s, b, sched.Time(from), on)
	}
	if bad || len(in) > 0 {
		return errors.New("the promises end too early or too late")
	}
	for n := range p.table.nodes {
		p.freed.add(sched.NodeID(n), s.Now(), sched.Never)
	}
	return nil
}

var conservativeEntry = Entry{
	Name: "conservative", Summary: "Conservative backfilling: every waiting task has a reservation.", Placed: true,
	About: "Each task is promised a start and nodes when it comes, the earliest that delays no earlier promise; when room comes free before its time all are brought " +
		"forward where they can, in the order of readiness. Needs run-time estimates. Never starves a task; where estimates are too short, promises move back.",
	Source: "Mu'alem & Feitelson, TPDS 2001, section 2.2.",
	New:    func(a Args) (sched.Policy, error) { return &Conservative{Place: a.Place}, nil },
}
