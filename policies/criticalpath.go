package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// CriticalPath is the critical-path weighted policy of Open-AutoGLM's offline scheduler (S7 in README.md). A ready task's priority is
//
//	p = W.Rank x rank + W.Latency x latency + W.Share x share + W.Preds x preds + W.Heat x heat + W.Age x age
//
// and the largest goes first; what does not fit is passed over. Each term lies in 0..1:
//
//	rank     (r/R)^8: r the upward rank of the task (Topcuoglu, Hariri & Wu 2002, section 4.1, without communication), R the largest among
//	         the tasks of its job that are not over, rounded up to a twentieth of the job's longest path. 1 on what is left of the job's critical path; the power makes what is far from
//	         it equal, so that there the short tasks go first (on the WfInstances set: a tenth less wait at the same makespan than r/R).
//	         The ready tasks of a job are looked at again each time R has fallen. The only task of a job has 1.
//	latency  the task's criticality, or upward rank / (deadline - time of readiness) if that is more, at most 1.
//	share    1 / (1 + a/A): a = the task's dominant share of the cluster x its estimate, A = the mean of a over the tasks that had
//	         arrived when their number last reached a power of two. Small tasks first.
//	preds    state of the predecessors: 1 if the task is the last one that some successor still waits for, else 0.
//	heat     heat of the resource that the task asks most of: D / (D + F), D what the ready tasks together ask of it, F what is free,
//	         per resource, and per GPU type for GPUs. It is common to all tasks of a demand and taken anew at every decision, so that the scarce
//	         resource is not left idle.
//	age      time since first readiness / Patience; it grows without end, so any task becomes first in the end.
//
// No starvation: a task that has waited for Patience gets a reservation as in EASY, the oldest such task first: from then on only tasks
// that leave its reservation feasible may overtake it. With estimates that are never too short it starts no later than its shadow time,
// when the tasks that run at that moment have ended; so a task waits at most Patience plus one longest run, and one more for each
// overdue task that was ready before it. Where Patience is 0 it is 20 x the mean estimate (of A's tasks) + 4 x the time in which the whole
// cluster could do what is ready at the moment, so that a burst that needs its time does not turn the order into FIFO; but at most 100 x the
// mean estimate, for what a reservation keeps waiting adds to that time, and it would run ahead of the task.
//
// Where estimates are too short, that time would move on for ever, past one task after the other that claims to end before it. So once the oldest has waited for its
// longest patience and, since then and since the last that was ready before it started, for the longest estimate of all tasks, and all that ran then and still do are past
// their estimates, none may overtake it by its estimate: it gets the room of those that have run the longest (reservation.keepWhatever), and starts when they have ended.
// Whatever the estimates, a task waits at most the longest patience plus the longest estimate, on the node where it takes longest, plus one longest run, and one more of
// both for each overdue task that was ready before it.
//
// Node choice: 0.5 x free memory ratio + 0.4 x (1 - GPU load) + 0.1 x 1/(1 + storage latency in ms) among at most Score nodes on
// which the task fits. Load is the allocated share, or the sampled one where a profile younger than 10 s says more.
type CriticalPath struct {
	W        Weights
	Patience time.Duration // 0: as above
	Score    int           // nodes scored at most; 0: all
	First    bool          // first fit instead of the node score
	Finish   bool          // choose pairs of task and node where nodes differ; see matching
	Match    MatchWeights  // with Finish

	lines   lines.Lines
	indexed int            // tasks that they are indexed for
	fresh   []sched.TaskID // became ready since the last decision; not in their lines yet
	aside   []heap.Item
	crowded []sched.DemandID // lines given up in this decision
	shifted bool             // the first of a shut line may be another than when it was shut
	ended   bool             // a task has ended since the last decision
	gangs   ganged
	bias    []int64
	oldest  heap.Queue  // tasks that a decision left ready, by first readiness; those that left are skipped
	calm    sched.Time  // nobody in it is overdue before
	passed  []heap.Item // scratch of reserveForOldest
	ranks   []int64     // upward rank, ns; 0 = not computed
	ranked  bool        // there are ranks; until the first dependency is seen they are the estimates
	jobs    []int32     // by JobID: noTask, the one task of it that has arrived, or the index in paths as -2, -3, ...
	paths   []*jobPath  // of jobs of several tasks
	arena   pathArena
	changed []*jobPath     // scratch of rerank
	touched []sched.TaskID // scratch of rerank
	stale   bool           // estimates or capacities changed: sums and keys are taken anew at the next decision
	count   int64          // tasks that arrived
	area    float64        // sum of a over them
	est     float64        // sum of their estimates, s
	meanA   float64
	grace   time.Duration // 20 x the mean estimate
	longest time.Duration // estimate
	asks    []asks        // by demand
	wants   wants
	backlog int64 // sum of a over the ready tasks: ns of the whole cluster, whole so that the order of summing does not matter
	buf     []sched.Placement
	scores  scores
	nodes   []sched.NodeID
	scored  []scoredNode
	reserve reservation
	holder  sched.TaskID // whose reservation stands in this decision
	held    sched.TaskID // in the one before, plus 1; 0 where there was none
	match   matching
}

// Weights are the weights of the terms of CriticalPath's priority, at least 0.
type Weights struct{ Rank, Latency, Share, Preds, Heat, Age float64 }

// DefaultWeights are the weights of `critical-path` without parameters.
var DefaultWeights = Weights{Rank: 0.5, Latency: 0.1, Share: 0.6, Preds: 0.1, Heat: 0.1, Age: 0.1}

type scoredNode struct {
	last  bool // Room.TakenLast
	score int64
	node  sched.NodeID
}

// compare orders nodes as a gang fills them.
func (a scoredNode) compare(b scoredNode) int {
	if a.last != b.last {
		if b.last {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.node, b.node))
}

// unit is the scale of keys: priorities are rounded to millionths, so that no processor's fused arithmetic can change an order.
const unit = 1e6

// Observe keeps ranks, sums and lines.
func (p *CriticalPath) Observe(s *sched.State, e sched.Event) {
	switch e.Kind { // the three facts of every task's life, and then the others
	case sched.TaskReady:
		p.fresh = append(p.fresh, e.Task)
		return
	case sched.JobArrived:
		if e.N == 1 && !s.Linked() {
			p.arrivedAlone(s, e.Task)
		} else {
			p.arrived(s, e.Task, e.Task+sched.TaskID(e.N))
		}
		return
	case sched.Finished:
		if !p.First {
			p.scores.ended(s, e.Task)
		}
		p.freed(s, e.Task)
		if len(p.paths) > 0 {
			p.over(s, e.Task)
		}
		if s.Linked() {
			p.doneBefore(s, e.Task)
		}
		return
	}
	if !p.First {
		p.scores.observe(s, &e)
	}
	switch e.Kind {
	case sched.EdgeAdded:
		p.rankEstimates(s, 0, 0)
		p.rerank(s, e.Task)
		p.rekeyPreds(s, e.Other)
	case sched.Updated:
		p.rerank(s, e.Task)
		p.stale = true
	case sched.NodeUp:
		if e.More != nil && e.More.Spec != nil {
			p.stale = true
			clear(p.asks)
		}
		p.lines.Reopen()
	case sched.TaskBlocked:
		p.left(s, e.Task)
	case sched.TaskDropped:
		p.left(s, e.Task)
		p.over(s, e.Task)
	case sched.Started, sched.CheckpointDone:
	default:
		p.lines.Reopen()
	}
}

// freed takes in that a task has ended: what was on one node has made room there only.
func (p *CriticalPath) freed(s *sched.State, t sched.TaskID) {
	p.ended = true
	switch {
	case p.lines.Len() == 0: // no line is shut
	case p.gangs.any(s):
		p.lines.Reopen()
	default:
		p.lines.ReopenOn(s, s.LastNode(t))
	}
}

// reopenShifted opens all lines where a task has ended since the last decision and another may have become the first of one since it was shut, who has not been
// told why it waits.
func (p *CriticalPath) reopenShifted() {
	if p.ended && (p.shifted || p.stale) {
		p.shifted = false
		p.lines.Reopen()
	}
}

// passOver takes in whose reservation stands. Who stands behind a new one in its line is the first there now and has not been told why it waits: it is with the next
// look at the line after a task has ended.
func (p *CriticalPath) passOver(s *sched.State) {
	if p.holder != sched.Nobody && p.holder+1 != p.held {
		switch d := s.DemandID(p.holder); {
		case !p.lines.IsShut(d):
		case p.ended:
			p.lines.Unshut(d)
		default:
			p.shifted = true
		}
	}
	p.held, p.ended = p.holder+1, false
}

// doneBefore looks again at the predecessors that the successors of t still wait for.
func (p *CriticalPath) doneBefore(s *sched.State, t sched.TaskID) {
	given, added := s.SuccLists(t)
	for _, list := range [2][]sched.TaskID{given, added} {
		for _, u := range list {
			if s.WaitsFor(u) == 1 {
				p.rekeyPreds(s, u)
			}
		}
	}
}

func (p *CriticalPath) left(s *sched.State, t sched.TaskID) {
	if p.lines.Remove(s.DemandID(t), t) {
		p.shifted = true
		p.ask(s, t, -1)
	}
}

// arrived computes upward ranks and takes the tasks into their job and the means. All that it keeps is what the tasks that have arrived
// make it, in whatever groups they did.
func (p *CriticalPath) arrived(s *sched.State, first, end sched.TaskID) {
	p.indexed = max(p.indexed, len(s.Table().Tasks), int(end))
	p.lines.Index(p.indexed) // keys change often, so tasks leave their lines from anywhere
	linked := s.Linked()
	if linked {
		p.rankEstimates(s, first, end)
		for t := first; t < end; t++ {
			p.rank(s, t)
		}
	}
	for t := first; t < end; t++ {
		p.join(s, t, int(end-first))
		if !linked {
			continue
		}
		for u := range s.Preds(t) {
			if u < first || u >= end {
				p.rerank(s, u)
			}
		}
		if s.WaitsFor(t) == 1 {
			p.rekeyPreds(s, t)
		}
	}
	p.rekeyChanged(s)
	before := p.count
	for t := first; t < end; t++ {
		p.take(s, t)
	}
	if bits.Len64(uint64(before)) != bits.Len64(uint64(p.count)) { // the means have changed
		p.rekeyAll(s)
	}
}

// arrivedAlone is arrived for one task where nothing has a predecessor.
func (p *CriticalPath) arrivedAlone(s *sched.State, t sched.TaskID) {
	if int(t) >= p.indexed {
		p.indexed = max(len(s.Table().Tasks), int(t)+1)
		p.lines.Index(p.indexed)
	}
	if job := s.Task(t).Job; int(job) == len(p.jobs) && len(p.jobs) < cap(p.jobs) { // the first task of the next job, as mostly
		p.jobs = append(p.jobs, int32(t))
	} else if p.join(s, t, 1); len(p.changed) > 0 {
		p.rekeyChanged(s)
	}
	if p.take(s, t); p.count&(p.count-1) == 0 {
		p.rekeyAll(s)
	}
}

// take counts a task into the means.
func (p *CriticalPath) take(s *sched.State, t sched.TaskID) {
	estimate := s.Estimate(t)
	sec := estimate.Seconds()
	p.longest = max(p.longest, estimate)
	p.area += float64(p.asksOf(s, s.DemandID(t)).share * sec) // rounded before it is added, whatever the processor can fuse
	p.est += sec
	p.count++
	if p.count&(p.count-1) == 0 {
		p.meanA, p.grace = p.area/float64(p.count), time.Duration(20*(p.est/float64(p.count))*1e9)
		p.calm = math.MinInt64
	}
}

// refresh takes sums and keys anew.
func (p *CriticalPath) refresh(s *sched.State) {
	p.stale = false
	p.count, p.area, p.est, p.meanA, p.grace, p.longest, p.calm = 0, 0, 0, 0, 0, 0, math.MinInt64
	p.backlog, p.wants = 0, wants{gpu: p.wants.gpu[:0]}
	p.match.forget()
	for t := range sched.TaskID(s.Known()) {
		if s.Phase(t) != sched.Unknown {
			p.take(s, t)
		}
		if s.Phase(t) == sched.Ready {
			p.ask(s, t, 1)
		}
	}
	p.rekeyAll(s)
}

func (p *CriticalPath) rekeyAll(s *sched.State) {
	p.shifted = true
	p.lines.Rekey(func(t sched.TaskID) int64 { return p.key(s, t) })
}

func (p *CriticalPath) rekey(s *sched.State, t sched.TaskID) {
	if s.Phase(t) == sched.Ready && p.lines.Remove(s.DemandID(t), t) {
		p.shifted = true
		p.lines.Push(s.DemandID(t), heap.Item{Key: p.key(s, t), Task: t})
	}
}

// rekeyPreds looks again at the ready predecessors of t: one of them may have become the last that t waits for, or be so no more.
func (p *CriticalPath) rekeyPreds(s *sched.State, t sched.TaskID) {
	for u := range s.Preds(t) {
		p.rekey(s, u)
	}
}

// maxPatience is the longest patience, in multiples of what it is without a backlog.
const maxPatience = 5

// due returns when a ready task is overdue that was first ready at a time.
func (p *CriticalPath) due(first sched.Time) sched.Time {
	d := p.patience()
	if p.Patience <= 0 {
		d += min(time.Duration(4*p.backlog), sched.MulDiv(d, maxPatience-1, 1, false))
	}
	return first.Add(d)
}

// late reports whether the oldest ready task, which is overdue, has waited so long that tasks must have run for longer than was estimated: all that ran when it became
// the oldest, and overdue, should have ended.
func (p *CriticalPath) late(s *sched.State, t sched.TaskID, first sched.Time) bool {
	since := first.Add(p.patience())
	if p.Patience <= 0 {
		since = first.Add(sched.MulDiv(p.patience(), maxPatience, 1, false))
	}
	if s.Now() <= since.Add(p.longest) {
		return false
	}
	for v := range s.RunningTasks() {
		if at := s.FirstReady(v); at < first || at == first && v < t {
			since = max(since, s.StartedAt(v))
		}
	}
	if s.Now() <= since.Add(p.longest) {
		return false
	}
	for v := range s.RunningTasks() {
		if s.StartedAt(v) <= since && s.EstimatedEnd(v) >= s.Now() {
			return false // on a slow node, or behind what it fetches: it has the time that was estimated
		}
	}
	return true
}

// patience is the patience without what stands for the backlog; the age term counts in it too.
func (p *CriticalPath) patience() time.Duration {
	if p.Patience > 0 {
		return p.Patience
	}
	return max(p.grace, time.Second)
}

// Decide starts ready tasks in the order of their priority, past what does not fit, beside the reservation of the oldest overdue task.
func (p *CriticalPath) Decide(r *sched.Round) {
	p.reopenShifted()
	p.scores.tops = p.Score <= 0
	if p.Finish && p.matches(r.State) {
		p.ended = false
		p.decideMatched(r)
		return
	}
	if len(p.fresh)+len(p.lines.Open()) <= 1 && !p.stale && (r.Now() < p.calm || !p.overdue(r.State)) && p.decideOne(r) {
		p.fresh, p.held, p.ended = p.fresh[:0], 0, false
		return
	}
	p.enter(r.State)
	if p.stale {
		p.refresh(r.State)
	}
	p.reserveForOldest(r)
	p.passOver(r.State)
	var bias []int64
	if open := p.lines.Open(); p.W.Heat > 0 && len(open) > 1 { // one line needs no comparison, and none opens in a decision
		for len(p.bias) < len(r.Table().Demands) {
			p.bias = append(p.bias, 0)
		}
		for _, d := range open {
			p.bias[d] = -int64(math.Round(p.W.Heat * unit * p.heat(r.State, d)))
		}
		bias = p.bias
	}
	crowded := 0
	for {
		d, ok := p.lines.Best(bias)
		if !ok {
			break
		}
		t := p.lines.First(d).Task
		if t == p.holder {
			p.aside = append(p.aside, p.lines.Pop(d)) // it has no room; others of its demand may run beside its reservation
			continue
		}
		on, found, fits := p.place(r, t)
		switch {
		case !found && !fits:
			r.Skip(t, sched.NoRoom)
			p.lines.Shut(d)
		case !found: // it would delay the reservation; a shorter one of the same demand may not
			r.Skip(t, sched.Order)
			p.aside = append(p.aside, p.lines.Pop(d))
			if crowded++; crowded%crowdedTries == 0 {
				p.lines.Shut(d)
				p.crowded = append(p.crowded, d)
			}
		default:
			it := p.lines.Pop(d)
			if !r.Start(t, on...) {
				p.aside = append(p.aside, it)
				continue
			}
			p.ask(r.State, t, -1)
			p.started(t, on)
			if p.holder != sched.Nobody {
				p.reserve.started(r.State, t, on)
			}
		}
	}
	for _, it := range p.aside {
		p.lines.Push(r.DemandID(it.Task), it)
		p.shifted = true
	}
	p.aside = p.aside[:0]
	for _, d := range p.crowded {
		p.lines.Unshut(d) // given up for this decision only: what would delay the reservation now may not do so later
	}
	p.crowded = p.crowded[:0]
	p.leaveFresh(r)
}

// leaveFresh puts those of the fresh tasks that the decision leaves ready by their age, and says why they wait.
func (p *CriticalPath) leaveFresh(r *sched.Round) {
	for _, t := range p.fresh {
		if r.Phase(t) != sched.Ready {
			continue
		}
		if r.FirstReady(t) == r.Now() {
			p.age(r.State, t)
		}
		if p.lines.IsShut(r.DemandID(t)) {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.fresh = p.fresh[:0]
}

func (p *CriticalPath) started(t sched.TaskID, on []sched.Placement) {
	if !p.First {
		p.scores.started(t, on)
	}
}

// overdue reports whether a task that an earlier decision left ready is overdue. Fresh tasks, which are in no sum yet, could only make it
// so later.
func (p *CriticalPath) overdue(s *sched.State) bool {
	for {
		it, ok := p.oldest.First()
		if !ok {
			p.calm = sched.Never
			return false
		}
		if s.Now() < p.due(sched.Time(it.Key)) {
			p.calm = sched.Time(it.Key).Add(p.patience())
			return false
		}
		if waitsSince(s, it) {
			return true
		}
		p.oldest.Pop()
	}
}

// waitsSince reports whether an entry of oldest still holds: the task is ready, and since then. An edge that is added in the instant in which its task
// became ready takes that readiness back.
func waitsSince(s *sched.State, it heap.Item) bool {
	return s.Phase(it.Task) == sched.Ready && int64(s.FirstReady(it.Task)) == it.Key
}

// age puts a task that a decision leaves ready by its age, and forgets some that have left.
func (p *CriticalPath) age(s *sched.State, t sched.TaskID) {
	for range 2 {
		if it, ok := p.oldest.First(); !ok || waitsSince(s, it) {
			break
		}
		p.oldest.Pop()
	}
	if p.oldest.Len() > 2*p.lines.Len()+1024 { // of those that have left, mostly, behind one that has not
		p.oldest.Filter(func(it heap.Item) bool { return waitsSince(s, it) })
	}
	first := s.FirstReady(t)
	p.oldest.Push(heap.Item{Key: int64(first), Task: t})
	p.calm = min(p.calm, first.Add(p.patience()))
}

// decideOne decides where at most one line is open or one task fresh, and nobody is overdue. false: it is not as simple as that.
func (p *CriticalPath) decideOne(r *sched.Round) bool {
	if len(p.fresh) > 0 {
		return p.startOnly(r, p.fresh[0])
	}
	if open := p.lines.Open(); len(open) > 0 {
		d := open[0]
		if r.Room().Roomy(d) {
			return false
		}
		r.Skip(p.lines.First(d).Task, sched.NoRoom)
		p.lines.Shut(d)
	}
	return true
}

// startOnly starts the only task that can start, for which no key and no sum is worked out: most tasks come when all others wait for
// room. false: it could not be started, or not as simply.
func (p *CriticalPath) startOnly(r *sched.Round, t sched.TaskID) bool {
	if r.Phase(t) != sched.Ready {
		return true
	}
	d := r.DemandID(t)
	if p.lines.IsShut(d) {
		return false
	}
	if !p.First && r.Table().Demands[d].Gang == 1 {
		p.scores.refresh(r.State)
		n := p.bestNode(r.State, d)
		if n == sched.NoNode || !r.StartOn(t, n) {
			return false
		}
		p.scores.change(n)
		return true
	}
	on, ok := p.choose(r.State, r.Room(), t, p.buf[:0])
	p.buf = on[:0]
	if !ok || !r.Start(t, on...) {
		return false
	}
	p.started(t, on)
	return true
}

// enter puts the fresh tasks into their lines and the sums. They are put by age at the end of the decision if they are still there; before
// it only those that were ready before, for the others are not overdue.
func (p *CriticalPath) enter(s *sched.State) {
	for _, t := range p.fresh {
		d := s.DemandID(t)
		if s.Phase(t) != sched.Ready || p.lines.Has(d, t) {
			continue
		}
		p.lines.Push(d, heap.Item{Key: p.key(s, t), Task: t})
		p.ask(s, t, 1)
		if s.FirstReady(t) < s.Now() {
			p.age(s, t)
		}
	}
}

// crowdedTries bounds how many tasks that would delay the reservation a decision looks at before it gives up the line at hand.
const crowdedTries = 16

// reserveForOldest starts the oldest ready tasks that have waited for the patience, and reserves for the first that finds no room. One that
// a quota holds back, or that no running task's end lets start because a node is down, is passed over: others must not starve behind it.
func (p *CriticalPath) reserveForOldest(r *sched.Round) {
	p.holder = sched.Nobody
	for {
		it, ok := p.oldest.First()
		if !ok || r.Now() < p.due(sched.Time(it.Key)) {
			break // when it is, nothing starts for that alone; the next fact's decision sees it
		}
		t := it.Task
		if !waitsSince(r.State, it) {
			p.oldest.Pop()
			continue
		}
		on, ok := p.choose(r.State, r.Room(), t, p.buf[:0])
		p.buf = on[:0]
		if ok && r.Start(t, on...) {
			p.lines.Remove(r.DemandID(t), t)
			p.shifted = true
			p.ask(r.State, t, -1)
			p.started(t, on)
			p.oldest.Pop()
			continue
		}
		if !ok {
			r.Skip(t, sched.NoRoom)
			p.holder = t
			if p.late(r.State, t, sched.Time(it.Key)) {
				p.reserve.keepWhatever(t, FirstFit)
			} else {
				p.reserve.keepFor(t, FirstFit, true)
			}
			if !someDown(r.Room()) {
				break
			}
			if p.reserve.ready(r.State); p.reserve.shadow != sched.Never {
				break
			}
			p.holder = sched.Nobody
		}
		p.passed = append(p.passed, it)
		p.oldest.Pop()
	}
	for _, it := range p.passed {
		p.oldest.Push(it)
	}
	p.passed = p.passed[:0]
}

func someDown(room *sched.Room) bool {
	for n := range room.Len() {
		if !room.Up(sched.NodeID(n)) {
			return true
		}
	}
	return false
}

// place looks for room for t, beside the reservation if there is one.
func (p *CriticalPath) place(r *sched.Round, t sched.TaskID) (on []sched.Placement, ok, fits bool) {
	if p.holder == sched.Nobody {
		on, ok = p.choose(r.State, r.Room(), t, p.buf[:0])
		p.buf = on[:0]
		return on, ok, ok
	}
	on, ok, fits = p.reserve.backfill(r.State, FirstFit, t, p.buf[:0], false)
	p.buf = on[:0]
	return on, ok, fits
}

// choose places by the node score, or by first fit.
func (p *CriticalPath) choose(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	if p.First {
		return room.FirstFit(s.DemandID(t), buf)
	}
	return p.byScore(s, room, t, buf)
}

// byScore places on the nodes with the best score among at most Score candidates; a gang fills them in the order of their scores and
// falls back on first fit where they do not hold it.
func (p *CriticalPath) byScore(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	d := s.DemandID(t)
	dem := &s.Table().Demands[d]
	p.scores.refresh(s)
	if dem.Gang == 1 {
		n := p.bestNode(s, d)
		if n == sched.NoNode {
			return buf, false
		}
		return append(buf, sched.Placement{Node: n, Replicas: 1, GPUs: room.Devices(d, n, 1)}), true
	}
	p.nodes = room.Candidates(d, 0, p.Score, p.nodes[:0])
	if len(p.nodes) == 0 {
		return buf, false
	}
	if dem.Need.GPUs > 0 && dem.Need.GPUMilli < sched.Whole {
		return room.FirstFit(d, buf)
	}
	p.scored = p.scored[:0]
	for _, n := range p.nodes {
		p.scored = append(p.scored, scoredNode{room.TakenLast(d, n), p.scores.value(s, n), n})
	}
	slices.SortFunc(p.scored, scoredNode.compare)
	start, left := len(buf), dem.Gang
	for _, c := range p.scored {
		if k := room.FitsOn(d, c.node, left); k > 0 {
			buf = append(buf, sched.Placement{Node: c.node, Replicas: k, GPUs: room.Devices(d, c.node, k)})
			if left -= k; left == 0 {
				return buf, true
			}
		}
	}
	return room.FirstFit(d, buf[:start])
}

// bestNode returns the node with the best score among at most Score on which one replica fits; NoNode where there is none.
func (p *CriticalPath) bestNode(s *sched.State, d sched.DemandID) sched.NodeID {
	if p.Score <= 0 {
		return s.Room().PickAny(d, p.scores.of, p.scores.top)
	}
	return s.Room().Pick(d, p.Score, p.scores.of, p.scores.rater(s))
}

var criticalPathEntry = Entry{
	Name: "critical-path", Summary: "Critical-path weighted: upward rank, latency, resource share, predecessors, heat and age; nodes by score.",
	About: "A weighted sum of terms in 0..1, largest first, past what does not fit. rank: how close the task is to what is left of its job's critical path; " +
		"latency: criticality, or how near the deadline is; share: small demand x estimate; preds: whether a successor waits for this task alone; heat: demand of " +
		"the ready tasks for its scarcest resource against what is free; age: time waited. A task that has waited for the patience gets a reservation as in EASY, " +
		"so nothing starves: it starts within one longest run more where estimates are not too short, and within the longest estimate and one longest run more whatever " +
		"they are, and as much again for each such task that was ready before it. Nodes by 0.5 x free memory + 0.4 x (1 - GPU load) + 0.1 / (1 + storage latency in ms).",
	Source: "The offline scheduler described for Open-AutoGLM; upward rank: Topcuoglu, Hariri & Wu, TPDS 2002, section 4.1.",
	Params: []Param{
		{Name: "rank", Default: num(DefaultWeights.Rank), About: "weight of the upward rank within what is left of the job"},
		{Name: "latency", Default: num(DefaultWeights.Latency), About: "weight of criticality and deadline"},
		{Name: "share", Default: num(DefaultWeights.Share), About: "weight of a small resource share x estimate"},
		{Name: "preds", Default: num(DefaultWeights.Preds), About: "weight of being the last task that a successor waits for"},
		{Name: "heat", Default: num(DefaultWeights.Heat), About: "weight of the heat of the demanded resource"},
		{Name: "age", Default: num(DefaultWeights.Age), About: "weight of the waiting time, in patiences"},
		{Name: "patience", Default: auto, About: "wait after which a task gets a reservation; auto is 20 x the mean estimate + 4 x the time that the whole cluster needs for what is ready, at most 100 x the mean estimate"},
		{Name: "urgency", Default: num(DefaultMatch.Urgency), About: "place=finish: weight of the upward rank in what is left of the makespan, in place of rank"},
		{Name: "advantage", Default: num(DefaultMatch.Advantage), About: "place=finish: weight of the logarithm of a pair's comparative disadvantage"},
		{Name: "decline", Default: num(DefaultMatch.Decline), About: "place=finish: comparative disadvantage, at least 1, beyond which a task rather waits"},
		{Name: "score", Default: "8", Form: natural, Example: "32", About: "nodes scored at most; 0: all on which the task fits"},
		{Name: "place", Default: "finish", Choices: []string{"finish", "published", "first"}, About: "node choice: pairs of task and node by expected finish where nodes differ, the node score as it was published, or first fit"},
	},
	New: func(a Args) (sched.Policy, error) {
		match := MatchWeights{Urgency: a.Float("urgency"), Advantage: a.Float("advantage"), Decline: max(a.Float("decline"), 1)}
		return &CriticalPath{
			Match: match,
			W: Weights{
				Rank: a.Float("rank"), Latency: a.Float("latency"), Share: a.Float("share"), Preds: a.Float("preds"),
				Heat: a.Float("heat"), Age: a.Float("age"),
			},
			Patience: a.Duration("patience"), Score: int(a.Float("score")), First: a.Text("place") == "first", Finish: a.Text("place") == "finish",
		}, nil
	},
}
