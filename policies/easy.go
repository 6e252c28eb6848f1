package policies

import (
	"cmp"
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
	fresh    []turn
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

// IgnoresArrivals says that it need not be told of arrivals, unless it is embedded in a policy that may.
func (p *Easy) IgnoresArrivals(q sched.Policy) bool { return q == sched.Policy(p) }

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
	p.reserve.agenda.grow(s)
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
	p.fresh = append(p.fresh, turn{ready, t, d})
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
		if q := &p.queues[h.demand]; q.Starts(h.task) && q.ReadyAt(q.HeadAt()) == h.ready { // else it has been blocked, and ready again since then
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
	for _, f := range p.fresh {
		if r.Phase(f.task) == sched.Ready && !p.roomFor(s, f.demand) && r.QuotaAllows(f.task) {
			r.Skip(f.task, sched.NoRoom)
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
		Form: counting(10_000), Example: "100",
	}},
	New: func(a Args) (sched.Policy, error) {
		scan := map[string]Scan{"arrival": ScanArrival, "sjbf": ScanSJBF, "reverse": ScanReverse, "lookahead": ScanLookahead}[a.Text("scan")]
		return &Easy{Scan: scan, Depth: int(a.Float("depth")), Place: a.Place}, nil
	},
}
