package policies

import (
	"cmp"
	"errors"
	"slices"
	"strconv"

	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// Easy is EASY backfilling (Lifka 1995; Mu'alem & Feitelson 2001, section 2): tasks start in the order of readiness; when the head of the
// line finds no room it gets a reservation at the shadow time, the earliest estimated end at which it fits, on the lowest-numbered
// nodes; a later task starts now if it ends by its estimate before the shadow time or leaves the reservation feasible. On one node this
// is EASY by counting processors. A task past its estimate is expected to end one second from now. An early end brings the reservation
// forward. Who waits for something else than the end of running tasks, because a quota refuses it or a node is down, is passed over: the head is
// the first of the others.
//
// The causes of waiting are those of the moment when a task was last looked at: when it came, stood at the head, or was passed over.
//
// Only what can have changed is looked at. What is known of each demand (demandFit), and the reservation, is kept from one decision to the
// next: in between, time only runs short for those that must end by the shadow time, starts take room away, and an end frees the room of
// one node. This holds under first fit where all nodes are equally fast, nobody shares GPUs and there are no quotas; otherwise, and after any other fact than
// an arrival or an end, the decision looks at everything.
type Easy struct {
	Scan  Scan
	Depth int   // of ScanLookahead: how many tasks behind the head are looked at; 0: DefaultDepth
	Place Place // nil: first fit

	queues   []lines.Waiting // by demand, in order of readiness
	line     []turn          // those of all demands in one, together with some who have left it
	lineAt   int             // all before it have left
	live     []liveDemand    // demands with waiting tasks, and some others, by what they ask for
	fits     []demandFit     // by demand
	open     []sched.DemandID
	asleep   []sched.DemandID // and some that are not any more
	fresh    []sched.TaskID
	ended    []sched.NodeID // where tasks have ended since the last decision
	cameFree sched.NodeID   // the one node of them, if there is only one, as long as nothing else has opened demands in this decision
	over     sched.TaskID   // the last that ended, plus 1
	settled  bool           // nothing else has happened since then
	keep     bool           // what is known may be kept over decisions
	pool     bool           // there is one node, and what is known may be kept
	nodes    int            // number of nodes when live was put in order
	news     bool           // something has become known since the last backfilling that may let a task start
	wider    int64          // the reservation's at the last backfilling
	reserve  reservation
	hopeless int // demands
	rounds   int64
	cands    []candidate
	buf      []sched.Placement
	scan     []sched.TaskID
	ahead    lookahead
	plain    bool // work everything out the slow way (tests compare)
}

// turn is a place in the line.
type turn struct {
	ready  sched.Time
	task   sched.TaskID
	demand sched.DemandID
}

// liveDemand is a demand with what it must find on a node to fit there: all of it where it goes on one node, else one replica.
type liveDemand struct {
	least  amount
	demand sched.DemandID
}

// demandFit is what is known of a demand's chance to start. Of a demand that is neither open nor stale, no task has room.
type demandFit struct {
	live  bool // stands in Easy.live
	open  bool // stands in Easy.open: tasks of it may start
	stale bool // room and what follows is not known
	room  bool // it fits now
	one   bool // it goes on one node by first fit: the fields node and asideOn say on which
	known bool // what follows is known, of the reservation's turn
	aside bool // it fits beside the reservation, however long it runs

	hopeless bool // the end of no running task makes room

	asleep bool // it may fit on the reserved node, but not beside the reservation, and no task of it is short enough; it is stale and not open
	listed bool // stands in Easy.asleep

	woken int64 // the last decision in which a node that came free opened it
	dozed bool  // it was asleep then; else it was closed

	slept int64 // on the only node: no task of it is short enough as long as the reservation has not become wider than this

	least   amount // liveDemand's
	node    sched.NodeID
	asideOn sched.NodeID
	turn    int64
	most    int64 // where not one: what is left of a task that ends by the shadow time is at most this, ns

	round int64 // the decision to which at belongs
	at    int   // tasks before this position cannot start in it
}

// Scan is the order in which the tasks behind the head are tried.
type Scan int

// The scan orders.
const (
	ScanArrival   Scan = iota // in the order of the line
	ScanSJBF                  // shortest estimate first (Tsafrir, Etsion & Feitelson 2007, section 4: SJBF)
	ScanReverse               // from the back of the line
	ScanLookahead             // not one by one: the set of them that uses most of the room (Shmueli & Feitelson 2005)
)

// DefaultDepth is how far ScanLookahead looks, the paper's limit.
const DefaultDepth = 50

// Observe keeps the lines and the agenda.
func (p *Easy) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		p.reserve.agenda.grow(s)
	case sched.CheckpointDone, sched.Wake:
	case sched.TaskReady:
		p.enter(s, e.Task)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		p.ended = p.reserve.remove(s, e.Task, p.ended)
		p.over = e.Task + 1
	case sched.TaskBlocked, sched.TaskDropped:
		d := s.DemandID(e.Task)
		if waited := int(d) < len(p.queues) && p.queues[d].Remove(e.Task); !waited && e.Task+1 != p.over {
			p.settled = false // it may have had a claim, of another policy, whose room is free now
		}
	case sched.Started:
		if a := &p.reserve.agenda; !a.has(s, e.Task) {
			a.add(s, e.Task)
			p.settled = false
		}
	case sched.Updated:
		p.settled = false
		d := s.DemandID(e.Task)
		switch ph := s.Phase(e.Task); {
		case ph == sched.Running || ph == sched.Stopping: // its expected end has moved
			p.reserve.remove(s, e.Task, nil)
			p.reserve.agenda.add(s, e.Task)
		case int(d) < len(p.queues) && p.queues[d].Remove(e.Task):
			p.queues[d].Insert(e.Task, s.FirstReady(e.Task), int64(s.Remaining(e.Task)))
		}
	case sched.NodeUp, sched.NodeDown, sched.NodeProfile:
		p.reserve.agenda.grow(s)
		p.reserve.agenda.touch(e.Node)
		p.settled = false
	default:
		p.settled = false
	}
}

// enter puts a task that has become ready in its line. One that comes back after a failure keeps its turn.
func (p *Easy) enter(s *sched.State, t sched.TaskID) {
	d := s.DemandID(t)
	for len(p.queues) <= int(d) {
		p.queues, p.fits = append(p.queues, lines.Waiting{}), append(p.fits, demandFit{})
	}
	f := &p.fits[d]
	if !f.live {
		f.live, f.stale = true, true
		p.enlist(s, d)
	}
	if f.stale {
		p.reopen(d, f)
	}
	f.slept = -1
	p.news = p.news || f.open && !p.pool // on the only node, backfill looks whether it fits
	ready := s.FirstReady(t)
	p.queues[d].Insert(t, ready, int64(s.Remaining(t)))
	p.fresh = append(p.fresh, t)
	if p.lineAt > 1024 && p.lineAt > len(p.line)/2 {
		p.line = p.line[:copy(p.line, p.line[p.lineAt:])]
		p.lineAt = 0
	}
	i := len(p.line)
	for i > p.lineAt && lines.Before(ready, t, p.line[i-1].ready, p.line[i-1].task) {
		i--
	}
	if i == len(p.line) {
		p.line = append(p.line, turn{ready, t, d})
	} else {
		p.line = slices.Insert(p.line, i, turn{ready, t, d})
	}
}

// enlist adds a demand to live, which is ordered by the CPU they ask for.
func (p *Easy) enlist(s *sched.State, d sched.DemandID) {
	dem := &s.Table().Demands[d]
	l := liveDemand{amountOf(&dem.Need, 1), d}
	if dem.Need.GPUs > 0 && dem.Need.GPUMilli < sched.Whole {
		l.least.gpus = 0 // a part of one will do
	}
	if s.Room().Len() == 1 {
		l.least = l.least.times(dem.Gang)
	}
	p.fits[d].least = l.least
	i := len(p.live)
	for i > 0 && p.live[i-1].least.cpu > l.least.cpu {
		i--
	}
	p.live = slices.Insert(p.live, i, l)
}

func comesBefore(s *sched.State, a, b sched.TaskID) bool {
	return lines.Before(s.FirstReady(a), a, s.FirstReady(b), b)
}

// head returns the first task in the line, its demand, and its position in the line of that.
func (p *Easy) head() (sched.TaskID, sched.DemandID, int, bool) {
	for ; p.lineAt < len(p.line); p.lineAt++ {
		h := &p.line[p.lineAt]
		if q := &p.queues[h.demand]; q.Starts(h.task) {
			return h.task, h.demand, q.HeadAt(), true
		}
	}
	return sched.Nobody, -1, 0, false
}

// headOfSome is head of those that only a lack of room keeps from starting.
func (p *Easy) headOfSome(r *sched.Round) (best sched.TaskID, of sched.DemandID, at int, ok bool) {
	best = sched.Nobody
	for _, l := range p.live {
		if p.fits[l.demand].hopeless {
			continue
		}
		q := &p.queues[l.demand]
		for i, t, more := q.First(0, lines.All); more; i, t, more = q.First(i+1, lines.All) {
			if ok && !lines.Before(q.ReadyAt(i), t, r.FirstReady(best), best) {
				break
			}
			if r.QuotaAllows(t) {
				best, of, at, ok = t, l.demand, i, true
				break
			}
			r.Skip(t, sched.Order)
		}
	}
	return best, of, at, ok
}

func (p *Easy) place() Place {
	if p.Place == nil {
		return FirstFit
	}
	return p.Place
}

// keeps reports whether what is known may be kept over decisions.
func (p *Easy) keeps(s *sched.State) bool {
	a := &p.reserve.agenda
	return p.Place == nil && !p.plain && !a.shares && !a.mixed && !s.Table().Uneven() && !s.Quotas()
}

// Decide starts what stands first, reserves for the head and backfills.
func (p *Easy) Decide(r *sched.Round) {
	s := r.State
	p.rounds++
	p.keep = p.keeps(s)
	p.pool = p.keep && s.Room().Len() == 1
	if p.settled && p.keep {
		p.takeIn(s)
	} else {
		p.forget(s)
	}
	p.ended = p.ended[:0]
	for {
		t, d, at, ok := p.head()
		if p.hopeless > 0 || r.Quotas() {
			t, d, at, ok = p.headOfSome(r)
		}
		if !ok {
			break
		}
		if !p.hasRoom(s, d) || !p.startFirst(r, t, d) {
			r.Skip(t, sched.NoRoom)
			if r.Queued() > 1 && !p.backfill(r, t, d, at) {
				continue // the end of no running task would let it start
			}
			break
		}
		// What starts first does not heed the reservation: it is its own, or it came back and stands before whom it is for.
		if p.reserve.made {
			p.reserve.drop()
		}
		p.queues[d].RemoveAt(at)
	}
	for _, t := range p.fresh {
		if r.Phase(t) == sched.Ready && !p.roomFor(s, r.DemandID(t)) && r.QuotaAllows(t) {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.fresh = p.fresh[:0]
	p.settled = true
}

// takeIn brings what is known up to date with what has ended since the last decision.
func (p *Easy) takeIn(s *sched.State) {
	p.reserve.takeIn(s, p.ended)
	if p.pool {
		p.news = p.news || len(p.ended) > 0
		return
	}
	if p.wider != p.reserve.wider {
		p.wake()
	}
	p.cameFree = sched.NoNode
	if len(p.ended) == 1 {
		p.cameFree = p.ended[0]
	}
	for _, n := range p.ended {
		p.freed(s, n)
	}
}

// backfill starts tasks behind the head, which has no room, if any of them may have become able to start. It reports false, and starts none,
// where there is nothing that can be reserved for the head.
func (p *Easy) backfill(r *sched.Round, head sched.TaskID, d sched.DemandID, at int) bool {
	p.reserve.hold(head, p.place())
	p.reserve.plain = p.plain
	hopeful := true
	switch {
	case p.Scan == ScanLookahead:
		hopeful = p.backfillBest(r, head)
	case p.Scan != ScanArrival || p.plain:
		hopeful = p.backfillEach(r, head)
	case p.pool:
		if p.news || p.wider != p.reserve.wider || p.freshFits(r.State) {
			p.wider = p.reserve.wider
			hopeful = p.backfillPool(r, d, at+1)
		}
	default:
		if p.wider != p.reserve.wider {
			p.wake()
		}
		if p.news {
			hopeful = p.backfillInOrder(r, d, at+1)
		}
	}
	if !hopeful {
		p.fits[d].hopeless = true
		p.hopeless++
		return false
	}
	p.news = false
	return true
}

// stands reports whether the reservation for the head stands, and works it out first.
func (p *Easy) stands(s *sched.State) bool {
	p.reserve.ready(s)
	return p.reserve.shadow != sched.Never
}

// forget makes all that is known of demands stale.
func (p *Easy) forget(s *sched.State) {
	p.reserve.drop()
	if p.nodes != s.Room().Len() { // what a demand must find on a node depends on whether there are others
		p.nodes = s.Room().Len()
		live := slices.Clone(p.live)
		p.live = p.live[:0]
		for _, l := range live {
			p.enlist(s, l.demand)
		}
	}
	p.open, p.news, p.hopeless = p.open[:0], true, 0
	kept := p.live[:0]
	for _, l := range p.live {
		f := &p.fits[l.demand]
		f.live = p.queues[l.demand].Len() > 0
		f.open, f.stale, f.asleep, f.hopeless = f.live, true, false, false
		if f.live {
			p.open = append(p.open, l.demand)
			kept = append(kept, l)
		}
	}
	p.live = kept
}

// freed takes in that room came free on a node.
func (p *Easy) freed(s *sched.State, n sched.NodeID) {
	v, a, free := &p.reserve, &p.reserve.agenda, freeOn(s.Room(), n)
	for i := 0; i < len(p.live) && p.live[i].least.cpu <= free.cpu; i++ {
		l := &p.live[i]
		if !free.covers(&l.least) {
			continue
		}
		f := &p.fits[l.demand]
		if p.queues[l.demand].Len() == 0 && !f.open {
			f.live = false
			p.live = slices.Delete(p.live, i, i+1)
			i--
			continue
		}
		switch {
		case f.asleep && v.made && v.single:
			switch {
			case n != v.node: // besides this one, it may fit on the reserved node only
				f.node = n
				if v.node < n && freeOn(s.Room(), v.node).covers(&f.least) {
					f.node = v.node
				}
				if !s.Room().Up(n) || !a.allowed(s, l.demand, n) {
					continue
				}
			case v.leaves(&l.least):
				f.node = n
			default:
				continue
			}
			f.stale, f.room, f.known = false, true, false
			p.reopen(l.demand, f)
			f.woken, f.dozed = p.rounds, true
		case f.stale || !f.one:
			p.stale(l.demand, f)
		case f.room && n >= f.node: // the first node stays the first
			f.known = f.known && f.aside && n >= f.asideOn
		case s.Room().Up(n) && a.allowed(s, l.demand, n):
			if !f.open {
				f.woken, f.dozed = p.rounds, false
			}
			f.room, f.node, f.known = true, n, false
			p.reopen(l.demand, f)
		default:
			continue
		}
		p.news = true
	}
}

// wake opens what is asleep.
func (p *Easy) wake() {
	for _, d := range p.asleep {
		f := &p.fits[d]
		f.listed = false
		if f.asleep {
			p.stale(d, f)
		}
	}
	p.asleep, p.cameFree = p.asleep[:0], sched.NoNode
	p.news, p.wider = true, p.reserve.wider
}

func (p *Easy) stale(d sched.DemandID, f *demandFit) {
	f.stale = true
	p.reopen(d, f)
}

func (p *Easy) reopen(d sched.DemandID, f *demandFit) {
	f.asleep = false
	if !f.open {
		f.open = true
		p.open = append(p.open, d)
	}
}

// took takes in that a task was started on these nodes.
func (p *Easy) took(s *sched.State, on []sched.Placement) {
	if len(on) == 1 {
		p.tookOf(s, on[0].Node)
		return
	}
	for _, d := range p.open {
		p.fits[d].stale = true
	}
}

// tookOf takes in that a task was started on a node.
func (p *Easy) tookOf(s *sched.State, n sched.NodeID) {
	free := freeOn(s.Room(), n)
	for i := 0; i < len(p.open); {
		f := &p.fits[p.open[i]]
		switch {
		case f.woken == p.rounds && n == p.cameFree && !free.covers(&f.least):
			// What woke it is gone again: all is as it was before.
			f.room, f.stale, f.asleep = false, f.dozed, f.dozed
			p.close(i)
			continue
		case f.stale:
		case !f.one:
			f.stale = true
		case f.node == n: // it stays the first if the demand fits on it once more
			f.stale, f.known = !free.covers(&f.least), false
		case f.known && f.aside && f.asideOn == n:
			f.known = false
		}
		i++
	}
}

// hasRoom reports whether a task of the demand fits now.
func (p *Easy) hasRoom(s *sched.State, d sched.DemandID) bool {
	f := &p.fits[d]
	switch {
	case p.pool:
		return p.fitsPool(s, d)
	case f.stale || p.plain:
		return p.look(s, d, f)
	}
	return f.room
}

func (p *Easy) look(s *sched.State, d sched.DemandID, f *demandFit) bool {
	f.stale, f.known = false, false
	dem := &s.Table().Demands[d]
	room := s.Room()
	switch f.one = p.Place == nil && (dem.Gang == 1 || room.Len() == 1) && !p.reserve.agenda.shares; {
	case f.one && dem.Gang == 1:
		f.node = room.FirstNode(d)
		f.room = f.node != sched.NoNode
	case f.one:
		f.node, f.room = 0, room.FitsOn(d, 0, dem.Gang) == dem.Gang
	default:
		var on []sched.Placement
		on, f.room = p.place()(s, room, p.queues[d].Head(), p.buf[:0])
		p.buf = on[:0]
	}
	if f.asleep = false; f.room {
		p.reopen(d, f)
	}
	return f.room
}

// roomFor is hasRoom, and wakes nobody.
func (p *Easy) roomFor(s *sched.State, d sched.DemandID) bool {
	if f := &p.fits[d]; f.asleep && !p.pool {
		return freeOn(s.Room(), p.reserve.node).covers(&f.least)
	}
	return p.hasRoom(s, d)
}

// startFirst starts the head of the line.
func (p *Easy) startFirst(r *sched.Round, t sched.TaskID, d sched.DemandID) bool {
	if f := &p.fits[d]; f.one || p.pool {
		n := f.node
		if p.pool {
			n = 0
		}
		if !r.StartOn(t, n) {
			return false
		}
		p.reserve.agenda.addOn(r.State, t, d, n)
		if !p.pool {
			p.tookOf(r.State, n)
		}
		return true
	}
	on, ok := p.place()(r.State, r.Room(), t, p.buf[:0])
	p.buf = on
	if !ok || !r.Start(t, on...) {
		return false
	}
	p.reserve.agenda.add(r.State, t)
	p.took(r.State, on)
	return true
}

// backfillInOrder starts tasks behind the head in the order of the line. In one decision room only shrinks, so the next task to start is the
// first, over all demands, of those that each demand's room, or the time to the shadow, lets start.
func (p *Easy) backfillInOrder(r *sched.Round, head sched.DemandID, from int) (hopeful bool) {
	v := &p.reserve
	p.fits[head].round, p.fits[head].at = p.rounds, from
	for {
		best, bestAt, bestTask, bestReady := sched.DemandID(-1), 0, sched.Nobody, sched.Time(0)
		for i := 0; i < len(p.open); {
			d := p.open[i]
			f, q := &p.fits[d], &p.queues[d]
			if q.Len() == 0 || !p.hasRoom(r.State, d) {
				p.close(i)
				f.stale = f.stale || q.Len() == 0
				continue
			}
			if !p.stands(r.State) {
				return false
			}
			if f.round != p.rounds {
				f.round, f.at = p.rounds, 0
			}
			at, t, ok := q.First(f.at, p.atMost(r.State, d, f))
			f.at = at
			if !ok && p.keep && f.one && v.single && !f.aside {
				p.close(i)
				f.stale, f.asleep = true, true
				if !f.listed {
					f.listed = true
					p.asleep = append(p.asleep, d)
				}
				continue
			}
			i++
			if ok && (best < 0 || lines.Before(q.ReadyAt(at), t, bestReady, bestTask)) {
				best, bestAt, bestTask, bestReady = d, at, t, q.ReadyAt(at)
			}
		}
		if best < 0 {
			return true
		}
		f := &p.fits[best]
		if p.startBehind(r, bestTask, best, f, p.queues[best].LeftAt(bestAt)) {
			f.at = bestAt - p.queues[best].RemoveAt(bestAt)
		} else {
			f.at = bestAt + 1 // its nodes are slower than the bound assumes, or a quota holds it back
		}
	}
}

// close takes the demand at a place of open out.
func (p *Easy) close(i int) {
	last := len(p.open) - 1
	p.fits[p.open[i]].open = false
	p.open[i] = p.open[last]
	p.open = p.open[:last]
}

// atMost returns how much work a task of the demand may have left to start now behind the head; there is room.
func (p *Easy) atMost(s *sched.State, d sched.DemandID, f *demandFit) int64 {
	v := &p.reserve
	if !f.known || f.turn != v.turn {
		f.known, f.turn, f.most = true, v.turn, -1
		switch {
		case f.one && v.single && p.keep:
			f.asideOn = v.nodeBeside(s, d, f.node)
			f.aside = f.asideOn != sched.NoNode
		default:
			on, ok := p.place()(s, s.Room(), p.queues[d].Head(), p.buf[:0])
			if ok {
				f.most = v.mostWork(s, on)
			}
			on, f.aside = v.beside(s, d, on[:0])
			p.buf = on[:0]
			f.asideOn = f.node
			if f.aside && f.one {
				f.asideOn = on[0].Node
			}
		}
	}
	switch {
	case f.aside:
		return lines.All
	case !p.keep:
		return f.most
	}
	return int64(v.shadow - s.Now())
}

// startBehind starts a task behind the head on nodes that leave the reservation feasible, or where it ends by the shadow time.
func (p *Easy) startBehind(r *sched.Round, t sched.TaskID, d sched.DemandID, f *demandFit, left int64) bool {
	s, v := r.State, &p.reserve
	if f.one && p.keep {
		n := f.node
		if left > int64(v.shadow-s.Now()) {
			n = f.asideOn
		}
		if !r.StartOn(t, n) {
			return false
		}
		v.startedOn(s, t, d, n)
		p.tookOf(s, n)
		return true
	}
	on, ok, _ := v.backfill(s, p.place(), t, p.buf[:0], !f.aside)
	p.buf = on
	if !ok || !r.Start(t, on...) {
		return false
	}
	v.started(s, t, on)
	p.took(s, on)
	return true
}

// backfillEach tries every task but the head in the order of Scan.
func (p *Easy) backfillEach(r *sched.Round, head sched.TaskID) (hopeful bool) {
	p.scan = p.scan[:0]
	for _, l := range p.live {
		q := &p.queues[l.demand]
		for at, t, ok := q.First(0, lines.All); ok; at, t, ok = q.First(at+1, lines.All) {
			if t != head {
				p.scan = append(p.scan, t)
			}
		}
	}
	slices.SortFunc(p.scan, func(a, b sched.TaskID) int {
		if comesBefore(r.State, a, b) {
			return -1
		}
		return 1
	})
	switch p.Scan {
	case ScanReverse:
		slices.Reverse(p.scan)
	case ScanSJBF:
		slices.SortStableFunc(p.scan, func(a, b sched.TaskID) int { return cmp.Compare(r.Remaining(a), r.Remaining(b)) })
	}
	for _, t := range p.scan {
		d := r.DemandID(t)
		if !r.QuotaAllows(t) {
			r.Skip(t, sched.Order)
			continue
		}
		if !p.hasRoom(r.State, d) {
			r.Skip(t, sched.NoRoom)
			continue
		}
		if !p.stands(r.State) {
			return false
		}
		on, ok, fits := p.reserve.backfill(r.State, p.place(), t, p.buf[:0], false)
		p.buf = on
		switch {
		case !fits:
			r.Skip(t, sched.NoRoom)
		case !ok:
			r.Skip(t, sched.Order)
		case r.Start(t, on...):
			p.reserve.started(r.State, t, on)
			p.queues[d].Remove(t)
			p.took(r.State, on)
		}
	}
	return true
}

var easyEntry = Entry{
	Name: "easy", Summary: "EASY backfilling: FIFO with a reservation for the head of the line.", Placed: true,
	About: "Later tasks start early where that does not delay the head by the estimates. Needs run-time estimates. Never starves a task whose predecessors' " +
		"estimates are not too short.",
	Source: "Lifka, JSSPP 1995; Mu'alem & Feitelson, TPDS 2001, section 2; scan=sjbf: Tsafrir, Etsion & Feitelson, TPDS 2007, section 4; scan=lookahead: " +
		"Shmueli & Feitelson, JPDC 2005.",
	Params: []Param{{
		Name: "scan", Default: "arrival", Choices: []string{"arrival", "sjbf", "reverse", "lookahead"},
		About: "order in which the tasks behind the head are tried: as they came, shortest estimate first, or from the back; lookahead: at once, the set that uses most",
	}, {
		Name: "depth", Default: strconv.Itoa(DefaultDepth), About: "how many tasks behind the head scan=lookahead looks at",
		Form: func(v string) error {
			if n, err := strconv.Atoi(v); err != nil || n < 1 || n > 10_000 {
				return errors.New("must be a whole number from 1 to 10000")
			}
			return nil
		}, Example: "100",
	}},
	New: func(a Args) (sched.Policy, error) {
		scan := map[string]Scan{"arrival": ScanArrival, "sjbf": ScanSJBF, "reverse": ScanReverse, "lookahead": ScanLookahead}[a.Text("scan")]
		return &Easy{Scan: scan, Depth: int(a.Float("depth")), Place: a.Place}, nil
	},
}
