package policies

import (
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
// 4 s and so on (Tsafrir, Etsion & Feitelson, TPDS 2007, section 5, correct predictions likewise by growing steps). Who loses its promise by this is placed anew, and those
// who came later make way for it: in order of readiness each keeps its promise where it still can. A task that comes back after a failure keeps its place in the order and gets a
// new promise. When a node comes, goes or changes, or a user changes an estimate, all is promised anew. A task that a quota refuses when its turn
// comes loses its promise until the quota lets it start. With a Place, promises are for the lowest-numbered nodes all the same, and Place
// chooses those on which a task does start, among the nodes that stay free as long as it holds them.
//
// With q tasks waiting and s steps in a node's skyline (tasks running or promised there), a task that goes on one node is placed in time
// O(log n + s) of n nodes typically, a gang in O(n s^2). An early end costs O(q) to pass over those that the room it frees is no use to, and a search of the
// nodes with freed room for each of the others; each that moves frees room in its turn, so that where the queue is long an early end may move much of it.
// Nothing is looked at when tasks end as expected; an end that was expected too early places all anew that it moves. That is why it is not within three times fifo's time where thousands wait: the paper's own form
// looks at every waiting job whenever one ends early, and each of them along the whole profile.
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
	on, was  []sched.Placement // scratch
	hopes    []hope            // by demand
	holes    []skyline.Hole    // scratch
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
	twice    bool // it runs on a GPU that others hold too, which its end does not free
	ready    sched.Time
	from, to sched.Time // Never: nothing is promised
	end      sched.Time // of a running task, by its estimate
	on       []sched.Placement
}

// Observe keeps the line, and what is booked of what has ended.
func (p *Conservative) Observe(s *sched.State, e sched.Event) {
	p.slot = byTask(s, p.slot, 0)
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
	if b := &p.bookings[i]; b.twice {
		p.made = false
	} else {
		p.unbook(s, b)
	}
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
		b.twice = p.table.othersKeep(s, b.on, b.to)
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
		if b.twice {
			p.late = p.late[:0]
			p.makeAll(s)
			return
		}
		b.to = expectedBy(b.end, s.Now())
		p.table.book(s, b.demand, b.on, s.Now(), b.to, -1)
		p.late = append(p.late, it.Task)
	}
	for _, t := range p.late {
		p.push(&p.ends, p.bookings[p.slot[t]].to, t)
	}
	p.displace(s)
}

// displace places those anew whose promises the tasks in late make impossible. From the first of these on, in the order of readiness, who came later makes way:
// else whoever loses its promise would go behind all that are waiting, again and again.
func (p *Conservative) displace(s *sched.State) {
	now, first := s.Now(), len(p.line)
	for _, t := range p.late {
		x := &p.bookings[p.slot[t]]
		for i := range x.on {
			n := x.on[i].Node
			if !p.table.short(n, now, x.to) {
				continue
			}
			for j, w := range p.line[:first] {
				b := &p.bookings[w.slot]
				if b.from < x.to && b.to > now && slices.ContainsFunc(b.on, func(q sched.Placement) bool { return q.Node == n }) {
					first = j
					break
				}
			}
		}
	}
	p.late = p.late[:0]
	for _, w := range p.line[first:] {
		if b := &p.bookings[w.slot]; b.from < sched.Never {
			p.table.book(s, b.demand, b.on, max(b.from, now), b.to, 1)
		}
	}
	for _, w := range p.line[first:] {
		b := &p.bookings[w.slot]
		if b.from == sched.Never {
			continue
		}
		switch {
		case b.from < now:
		case p.table.whole(s, b.demand):
			if p.table.nodes[b.on[0].Node].Fits(int64(b.from), int64(b.to), &p.table.wants[b.demand]) {
				p.table.book(s, b.demand, b.on, b.from, b.to, -1)
				continue
			}
		default:
			p.table.book(s, b.demand, b.on, b.from, b.to, -1)
			if p.table.keeps(s, b.demand, b.on, b.from, b.to) {
				continue
			}
			p.table.book(s, b.demand, b.on, b.from, b.to, 1)
		}
		p.early = true
		for i := range b.on {
			p.freed.add(b.on[i].Node, max(b.from, now), b.to)
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
	if !sameNodes(b.on, on) {
		p.early = true
		for i := range b.on {
			p.freed.add(b.on[i].Node, s.Now(), b.to)
		}
	}
	p.refused++
	p.book(s, b, s.Now(), on)
}

var conservativeEntry = Entry{
	Name: "conservative", Summary: "Conservative backfilling: every waiting task has a reservation.", Placed: true,
	About: "Each task is promised a start and nodes when it comes, the earliest that delays no earlier promise; when room comes free before its time all are brought " +
		"forward where they can, in the order of readiness. Needs run-time estimates. Never starves a task whose predecessors' estimates are not too short; where they are, its promise moves back, and those " +
		"of tasks that came later make way for it.",
	Source: "Mu'alem & Feitelson, TPDS 2001, section 2.2.",
	New:    func(a Args) (sched.Policy, error) { return &Conservative{Place: a.Place}, nil },
}
