package sched

import (
	"iter"
	"math/bits"
	"slices"
	"time"
)

// State is what a policy may see. Only the kernel changes it; a policy reads it during Observe and Decide.
type State struct {
	tb   *Table
	room *Room
	now  Time

	rows []row // per known task
	// pending is the number of predecessors that are not done, per known task, but negative where the task is over; nil until a task has a
	// predecessor, and 0 for those that it does not reach. See edges.go.
	pending []int8
	many    map[TaskID]int32
	runs    []run           // slots of tasks that hold or claim room
	free    []int32         // unused slots
	ring    []link          // of the slots, in the order of start; that of slot 0 is the anchor
	gangs   [][]Placement   // of those that have several placements, or none yet; the first is of nobody
	kept    []time.Duration // work kept from earlier attempts, per task; nil while that is what they held
	past    []past          // per task; see row
	extra   edges           // dependencies added after their tasks arrived

	updated map[TaskID]time.Duration // estimates that facts have replaced; nil until one has. The table is shared and never written

	saving   []saving      // per task; nil until a checkpoint's or a restoring's cost is told
	restored time.Duration // what the last restoring took that was told

	holders  [][]Holder      // by node; nil until they are asked for
	staging  []time.Duration // by slot: from the start until what its predecessors send is there and the work begins; nil where edges carry nothing
	profiles []nodeProfile   // by node; nil until a profile arrives
	quotas   *quotas         // nil until a quota is set
	down     map[string]bool
	lost     map[taskNode]int32 // nodes that attempts of gangs have lost, which have yet to stop on others: the attempt; nil until one has

	open, over              int  // tasks that arrived and are not over, and that are
	lastEnd                 Time // when the last task ended that had been started
	ready, running, blocked int  // numbers of tasks in these phases; running counts Stopping too
}

// taskNode names a node of a task.
type taskNode struct {
	task TaskID
	node NodeID
}

// row is a task's state. There is one for each task of the trace, so it is small (40 bytes): at and since mean one thing or another by phase,
// and what few tasks have stands elsewhere. Invariants: State.past says what a task has held exactly with flagHeld. Most tasks have one attempt,
// which ends them: those held room from first to since. Most are ready once: those have been so since ready, the others, with flagAgain, since when
// State.past says.
type row struct {
	phase   Phase
	cause   Cause
	flags   uint8
	fails   uint8
	attempt int32
	class   ClassID // the task's, which lies elsewhere in memory
	at      int32   // in Claiming, Running and Stopping its slot; else the first node of the last attempt
	since   Time    // waiting: when the present segment of it began; holding room: when that did; over: when it ended
	ready   Time    // first ready; Never before
	first   Time    // first start; Never before
}

const (
	flagCancel uint8 = 1 << iota // drop when stopped
	flagHold                     // a user holds it: Held instead of Ready
	flagEvict                    // stopping because of the policy
	flagLost                     // its node was lost
	flagHeld                     // State.past has what ended attempts held
	flagAgain                    // State.past has since when it has been ready
)

// holds reports whether a task of this phase has a slot.
func (p Phase) holds() bool { return p >= Claiming && p <= Stopping }

// past is what is known besides of a task that has had several attempts, or came late.
type past struct {
	held  time.Duration // that ended attempts held room
	ready Time          // since when it has been ready, this time
}

// pastOf returns what is known of the past of a task, for the caller to write.
func (s *State) pastOf(t TaskID) *past {
	if int(t) >= len(s.past) {
		s.past = append(s.past, make([]past, max(len(s.tb.Tasks), int(t)+1)-len(s.past))...)
	}
	return &s.past[t]
}

// run is a task that holds room: 64 bytes, a line of the processor's cache.
type run struct {
	task     TaskID
	wait     int32  // victims of its Claim that have not stopped; 0 when it runs
	claimant TaskID // the task whose Claim waits for this one to stop; Nobody
	demand   DemandID
	start    Time
	est      time.Duration // estimated time of this attempt on its slowest node, once somebody has asked for it; see State.attempt
	kept     time.Duration // work kept from earlier attempts when it started
	one      [1]Placement  // the first; most tasks have no other
	was      NodeID        // first node of the attempt before
	gang     int32         // where in State.gangs all of them are; 0 where one is all
}

// on returns the placements of a slot.
func (s *State) on(r *run) []Placement {
	if r.gang == 0 {
		return r.one[:]
	}
	return s.gangs[r.gang]
}

// link is a slot's place in the ring.
type link struct{ prev, next int32 }

type edges struct {
	succ, pred map[TaskID][]TaskID
	list       [][2]TaskID // in the order in which they were added, for snapshots
}

func (x *edges) add(from, to TaskID) {
	if x.succ == nil {
		x.succ, x.pred = map[TaskID][]TaskID{}, map[TaskID][]TaskID{}
	}
	x.succ[from] = append(x.succ[from], to)
	x.pred[to] = append(x.pred[to], from)
	x.list = append(x.list, [2]TaskID{from, to})
}

type nodeProfile struct {
	Profile
	set bool
}

// Now returns the time of the present batch.
func (s *State) Now() Time { return s.now }

// Table returns the tasks. Do not modify.
func (s *State) Table() *Table { return s.tb }

// Room returns the ledger of free resources. Do not modify; copy it to plan.
func (s *State) Room() *Room { return s.room }

// Task returns the record of t.
func (s *State) Task(t TaskID) *Task { return &s.tb.Tasks[t] }

// Deadline returns when t is due; Never where it has no deadline.
func (s *State) Deadline(t TaskID) Time { return s.tb.DeadlineOf(t) }

// Class returns the class of t.
func (s *State) Class(t TaskID) *Class { return &s.tb.Classes[s.classOf(t)] }

func (s *State) classOf(t TaskID) ClassID {
	if i := uint(t); i < uint(len(s.rows)) {
		return s.rows[i].class
	}
	return s.tb.Tasks[t].Class
}

// DemandID returns the demand of t.
func (s *State) DemandID(t TaskID) DemandID { return s.tb.Classes[s.classOf(t)].Demand }

// Demand returns what t asks for.
func (s *State) Demand(t TaskID) *Demand { return &s.tb.Demands[s.DemandID(t)] }

// Known returns the number of tasks that have arrived or were passed over: all known TaskIDs are below it.
func (s *State) Known() int { return len(s.rows) }

// Phase returns where t stands.
func (s *State) Phase(t TaskID) Phase {
	if i := uint(t); i < uint(len(s.rows)) {
		return s.rows[i].phase
	}
	return Unknown
}

// OnHold reports whether a user holds t: it is Held, or will be where it would be ready.
func (s *State) OnHold(t TaskID) bool { return s.Phase(t) != Unknown && s.rows[t].flags&flagHold != 0 }

// Queued returns the number of ready tasks that do not run, Running of those that hold room, Blocked of those that wait for others.
func (s *State) Queued() int { return s.ready }

// Open returns the number of tasks that have arrived and are not over.
func (s *State) Open() int { return s.open }

// Over returns the number of tasks that are over.
func (s *State) Over() int { return s.over }

// LastEnd returns when the last of the tasks ended that are over and had been started; the kernel's start if there is none.
func (s *State) LastEnd() Time { return s.lastEnd }

// Running returns the number of tasks that hold resources.
func (s *State) Running() int { return s.running }

// Blocked returns the number of tasks that have arrived and wait for predecessors.
func (s *State) Blocked() int { return s.blocked }

// Estimate returns the estimated run time of t on a node of reference speed.
func (s *State) Estimate(t TaskID) time.Duration {
	if s.updated != nil {
		if d, ok := s.updated[t]; ok {
			return d
		}
	}
	return s.tb.Estimates[t]
}

// EstimateOn returns the estimated run time of t, from its beginning, on node n.
func (s *State) EstimateOn(t TaskID, n NodeID) time.Duration {
	return estimateOn(s.tb, t, &s.room.specs[n], s.Estimate(t))
}

// EstimateOn returns the estimated run time of t on a node by the table, see Table.RunOn. It does not
// know of estimates that facts have replaced since; State.EstimateOn does.
func EstimateOn(tb *Table, t TaskID, n *NodeSpec) time.Duration {
	return estimateOn(tb, t, n, tb.Estimates[t])
}

func estimateOn(tb *Table, t TaskID, n *NodeSpec, reference time.Duration) time.Duration {
	return tb.RunOn(t, reference, tb.EstimateOn[t], n)
}

// notAsked is run.est of an attempt of which nobody has asked for the estimated time.
const notAsked time.Duration = -1

// attempt returns the estimated time of an attempt on its slowest node. Many policies do not ask for it.
func (s *State) attempt(r *run) time.Duration {
	if r.est == notAsked {
		r.est = s.Estimate(r.task)
		if s.room.mixed || s.tb.Uneven() || r.kept != 0 {
			r.est = s.attemptOf(r, r.est)
		}
	}
	return r.est
}

func (s *State) attemptOf(r *run, whole time.Duration) time.Duration {
	var most time.Duration
	for _, p := range s.on(r) {
		spec := &s.room.specs[p.Node]
		est := whole
		if s.tb.Uneven() || !spec.Reference() {
			est = estimateOn(s.tb, r.task, spec, whole)
		}
		if r.kept > 0 && whole > 0 {
			est = MulDiv(est, int64(max(whole-r.kept, 0)), int64(whole), true)
		}
		most = max(most, est)
	}
	return most
}

// CostFor returns the run time given for the node's name, else for its GPU type.
func CostFor(costs []CostOn, n *NodeSpec) (time.Duration, bool) {
	for _, c := range costs {
		if c.On == n.Name {
			return c.Run, true
		}
	}
	for _, c := range costs {
		if c.On != "" && SameGPU(c.On, n.GPUType) {
			return c.Run, true
		}
	}
	return 0, false
}

// OnSpeed returns how long work takes on a node of the given speed (1/1000; 0 means 1000), rounded up, at most Never.
func OnSpeed(work time.Duration, speedMilli int64) time.Duration {
	if speedMilli == Whole || speedMilli <= 0 || work <= 0 {
		return work
	}
	return MulDiv(work, Whole, speedMilli, true)
}

// MulDiv returns d x mul / div without overflow on the way, rounded down or up, at most the largest Duration. d and mul must be >= 0,
// div > 0.
func MulDiv(d time.Duration, mul, div int64, up bool) time.Duration {
	hi, lo := bits.Mul64(uint64(d), uint64(mul))
	if up {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(div)-1, 0)
		hi += carry
	}
	if hi >= uint64(div) {
		return time.Duration(Never)
	}
	q, _ := bits.Div64(hi, lo, uint64(div))
	return time.Duration(min(q, uint64(Never)))
}

// Attained returns the time that t has held resources, all attempts, up to now.
func (s *State) Attained(t TaskID) time.Duration {
	rw := &s.rows[t]
	held := s.heldOf(t, rw)
	if rw.phase == Running || rw.phase == Stopping {
		held += s.now.Sub(s.runs[rw.at].start)
	}
	return held
}

// heldOf returns the time that the ended attempts of t held room.
func (s *State) heldOf(t TaskID, rw *row) time.Duration {
	switch {
	case rw.flags&flagHeld != 0:
		return s.past[t].held
	case rw.phase.Over() && rw.attempt > 0:
		return rw.since.Sub(rw.first)
	}
	return 0
}

// addHeld adds to what the ended attempts of t held.
func (s *State) addHeld(t TaskID, rw *row, d time.Duration) {
	s.pastOf(t).held += d
	rw.flags |= flagHeld
}

// Remaining returns the estimated work left of t on a node of reference speed: its estimate less the work kept and the work of the
// running attempt, not below 0. An attempt that waits for what its predecessors send counts as working, so that what is left falls as time goes.
func (s *State) Remaining(t TaskID) time.Duration {
	left := s.Estimate(t)
	if rw := &s.rows[t]; rw.phase == Running || rw.phase == Stopping {
		// By the work kept when the attempt started: what it has saved itself since is part of its running time.
		r := &s.runs[rw.at]
		left -= r.kept
		if est := s.attempt(r); est > 0 {
			left -= MulDiv(min(s.now.Sub(r.start), est), int64(max(left, 0)), int64(est), false)
		}
		return max(left, 0)
	}
	return max(left-s.keptOf(t), 0)
}

// LeftAtStart returns what Remaining was of a running task when its present attempt started, by its present estimate.
func (s *State) LeftAtStart(t TaskID) time.Duration {
	return max(s.Estimate(t)-s.runs[s.rows[t].at].kept, 0)
}

// ExpectedEnd returns when a running task is expected to end by its estimate; one that is past it, in one second from now. One that
// starts at this very moment and is estimated to take no time is not past it.
func (s *State) ExpectedEnd(t TaskID) Time {
	r := &s.runs[s.rows[t].at]
	end := r.start.Add(s.attempt(r))
	if s.staging != nil {
		end = end.Add(s.staging[s.rows[t].at])
	}
	if end <= s.now && r.start < s.now {
		return s.now.Add(time.Second)
	}
	return end
}

// EstimatedEnd returns start plus staging plus estimate of a running task, which may be past.
func (s *State) EstimatedEnd(t TaskID) Time {
	r := &s.runs[s.rows[t].at]
	return s.WorkBegins(t).Add(s.attempt(r))
}

// StartedAt returns when the present attempt of a running task started.
func (s *State) StartedAt(t TaskID) Time { return s.runs[s.rows[t].at].start }

// WorkBegins returns when the work of the present attempt of a running task begins, or began: its start, or when what its predecessors
// send is there.
func (s *State) WorkBegins(t TaskID) Time {
	at := s.rows[t].at
	if s.staging == nil {
		return s.runs[at].start
	}
	return s.runs[at].start.Add(s.staging[at])
}

// Attempt returns the number of attempts of t so far.
func (s *State) Attempt(t TaskID) int32 { return s.rows[t].attempt }

// keptOf returns the work kept of t.
func (s *State) keptOf(t TaskID) time.Duration {
	switch {
	case s.kept == nil:
		if uint32(t) < uint32(len(s.rows)) && s.rows[t].flags&flagHeld != 0 {
			return s.past[t].held
		}
	case int(t) < len(s.kept):
		return s.kept[t]
	}
	return 0
}

// ReadySince returns since when a task that is ready has been so, this time; of one that waits otherwise, when the present segment of its
// waiting began.
func (s *State) ReadySince(t TaskID) Time {
	rw := &s.rows[t]
	switch {
	case rw.phase != Ready:
		return rw.since
	case rw.flags&flagAgain != 0:
		return s.past[t].ready
	}
	return rw.ready
}

// setReadySince notes since when t, which is ready, has been so.
func (s *State) setReadySince(t TaskID, rw *row, at Time) {
	if at == rw.ready {
		rw.flags &^= flagAgain
		return
	}
	s.pastOf(t).ready = at
	rw.flags |= flagAgain
}

// FirstReady returns when t was first ready; Never if it has not been.
func (s *State) FirstReady(t TaskID) Time { return s.rows[t].ready }

// CauseOf returns why t waits at present.
func (s *State) CauseOf(t TaskID) Cause { return s.rows[t].cause }

// Placements returns where a task that holds room stands. The slice is valid until the state changes.
func (s *State) Placements(t TaskID) []Placement { return s.on(&s.runs[s.rows[t].at]) }

// Holder is a task that holds room on a node, or has claimed some, with one of its placements there.
type Holder struct {
	Task     TaskID
	Replicas int32
}

// Holders returns who holds room on a node, or claims some, by TaskID, one entry a placement. The slice is valid until the state
// changes. The lists are made when they are first asked for, and kept from then on.
func (s *State) Holders(n NodeID) []Holder {
	if len(s.holders) < s.room.Len() {
		made := s.holders != nil
		s.holders = append(s.holders, make([][]Holder, s.room.Len()-len(s.holders))...)
		for i := s.ring[0].next; i != 0 && !made; i = s.ring[i].next {
			s.noteHolder(&s.runs[i])
		}
	}
	return s.holders[n]
}

// noteHolder takes in who holds the room that was booked for a slot.
func (s *State) noteHolder(r *run) {
	if s.holders != nil {
		s.addHolder(r)
	}
}

func (s *State) addHolder(r *run) {
	for _, p := range s.on(r) {
		if int(p.Node) >= len(s.holders) { // a node that was added since
			s.holders = append(s.holders, make([][]Holder, s.room.Len()-len(s.holders))...)
		}
		list := &s.holders[p.Node]
		i := len(*list)
		for i > 0 && (*list)[i-1].Task > r.task {
			i--
		}
		*list = slices.Insert(*list, i, Holder{r.task, p.Replicas})
	}
}

func (s *State) removeHolder(r *run) {
	for _, p := range s.on(r) {
		list := &s.holders[p.Node]
		i := slices.IndexFunc(*list, func(h Holder) bool { return h.Task == r.task })
		*list = slices.Delete(*list, i, i+1)
	}
}

// RunningTasks yields the tasks that hold resources in the order of their start.
func (s *State) RunningTasks() iter.Seq[TaskID] {
	return func(yield func(TaskID) bool) {
		for i := s.ring[0].next; i != 0; i = s.ring[i].next {
			if s.rows[s.runs[i].task].phase != Claiming && !yield(s.runs[i].task) {
				return
			}
		}
	}
}

// Succs calls yield for the successors of t, also those added later.
func (s *State) Succs(t TaskID) iter.Seq[TaskID] {
	return func(yield func(TaskID) bool) {
		for _, u := range s.tb.Succs(t) {
			if !yield(u) {
				return
			}
		}
		for _, u := range s.extra.succ[t] {
			if !yield(u) {
				return
			}
		}
	}
}

// Preds calls yield for the predecessors of t, also those added later.
func (s *State) Preds(t TaskID) iter.Seq[TaskID] {
	return func(yield func(TaskID) bool) {
		for _, u := range s.tb.Preds(t) {
			if !yield(u) {
				return
			}
		}
		for _, u := range s.extra.pred[t] {
			if !yield(u) {
				return
			}
		}
	}
}

// SuccLists returns the successors of t as they came with its job and those added later: Succs without a call for each. Do not modify.
func (s *State) SuccLists(t TaskID) (given, added []TaskID) {
	if s.extra.succ == nil {
		return s.tb.Succs(t), nil
	}
	return s.tb.Succs(t), s.extra.succ[t]
}

// PredLists returns the predecessors of t; see SuccLists.
func (s *State) PredLists(t TaskID) (given, added []TaskID) {
	if s.extra.pred == nil {
		return s.tb.Preds(t), nil
	}
	return s.tb.Preds(t), s.extra.pred[t]
}

// Added reports whether edges were added later to those given with the jobs.
func (s *State) Added() bool { return s.extra.succ != nil }

// Linked reports whether any task of the table has a predecessor.
func (s *State) Linked() bool { return s.tb.SuccOff != nil || s.extra.succ != nil }

// LastNode returns the first node of t's last attempt; NoNode if it has had none. t must have arrived.
func (s *State) LastNode(t TaskID) NodeID { return s.nodeOf(&s.rows[t]) }

// ProfileOf returns the last profile of a node, and false if there was none.
func (s *State) ProfileOf(n NodeID) (Profile, bool) {
	if int(n) >= len(s.profiles) || !s.profiles[n].set {
		return Profile{}, false
	}
	return s.profiles[n].Profile, true
}

// ProfileAge returns the age of the node's last profile; the largest Duration if there was none.
func (s *State) ProfileAge(n NodeID) time.Duration {
	if p, ok := s.ProfileOf(n); ok {
		return s.now.Sub(p.SampledAt)
	}
	return time.Duration(Never)
}

// Quotas reports whether a quota was ever set.
func (s *State) Quotas() bool { return s.quotas != nil }

// QuotaAllows reports whether the quotas let t start now, room or not.
func (s *State) QuotaAllows(t TaskID) bool { return s.quotas == nil || s.quotas.allows(s.tb, t, nil) }

// DependencyIsUp reports whether the named outside dependency is up, as far as facts say.
func (s *State) DependencyIsUp(name string) bool { return !s.down[name] }

// Sent returns when all that the predecessors of t send is on node n: each sends when it ends, from the (first) node on which it ran,
// to where it is wanted, as Transfer says; the later of the ends and the arrivals. It is Never while a predecessor is not done, and the
// submission where t has none. An attempt that starts before it holds its room, and its work begins then.
func (s *State) Sent(t TaskID, n NodeID) Time {
	at := s.tb.Tasks[t].Submit
	for p := range s.Preds(t) {
		if s.Phase(p) != Done {
			return Never
		}
		rw := &s.rows[p]
		end := rw.since
		if from := NodeID(rw.at); from != n && from != NoNode {
			end = end.Add(Transfer(s.tb.Sends(p, t), &s.room.specs[from], &s.room.specs[n]))
		}
		at = max(at, end)
	}
	return at
}

// DataReady returns when the data of t is on node n: what its predecessors send (see Sent), and its own input, if it is fetched from now on
// (see Fetch).
func (s *State) DataReady(t TaskID, n NodeID) Time {
	at := s.now.Add(s.InputTime(t, n))
	if s.tb.EdgeBytes != nil {
		at = max(at, s.Sent(t, n))
	}
	return at
}

// InputTime returns how long t fetches its own input on node n before it works there; see Fetch. A driver may know of links that are shared
// or of data that came early, and take longer or shorter.
func (s *State) InputTime(t TaskID, n NodeID) time.Duration {
	if s.tb.Data == nil {
		return 0
	}
	d, ok := s.tb.Data[t]
	if !ok {
		return 0
	}
	return Fetch(&d, &s.room.specs[n])
}

// Outcome returns what became of t so far.
func (s *State) Outcome(t TaskID) (o Outcome) {
	if uint32(t) >= uint32(len(s.rows)) {
		return Outcome{Ready: Never, Start: Never, End: Never, Node: NoNode}
	}
	rw := &s.rows[t]
	o.Phase, o.Attempts, o.Ready, o.Start, o.End = rw.phase, rw.attempt, rw.ready, rw.first, Never
	if rw.phase.Over() {
		o.End = rw.since
	}
	o.Held, o.Node = s.heldOf(t, rw), s.nodeOf(rw)
	return o
}

// Outcomes fills outcomes with what became of the tasks from `from` on.
func (s *State) Outcomes(from TaskID, outcomes []Outcome) {
	for i := range outcomes {
		o, t := &outcomes[i], from+TaskID(i)
		if uint32(t) < uint32(len(s.rows)) {
			if rw := &s.rows[t]; rw.phase == Done && rw.flags&flagHeld == 0 {
				o.Phase, o.Attempts, o.Node = Done, rw.attempt, NodeID(rw.at)
				o.Ready, o.Start, o.End, o.Held = rw.ready, rw.first, rw.since, rw.since.Sub(rw.first)
				continue
			}
		}
		*o = s.Outcome(t)
	}
}

// Ran is what became of a task that was done in its one attempt: it held room from Start to End.
type Ran struct{ Ready, Start, End Time }

// Ran fills all with what became of the tasks from `from` on, if they are all done and each was in its one attempt, as most are; else it reports false, and what it
// has written means nothing.
func (s *State) Ran(from TaskID, all []Ran) bool {
	if int(from)+len(all) > len(s.rows) {
		return false
	}
	rows := s.rows[from:][:len(all)]
	for i := range rows {
		rw := &rows[i]
		if rw.phase != Done || rw.flags&flagHeld != 0 {
			return false
		}
		all[i] = Ran{rw.ready, rw.first, rw.since}
	}
	return true
}

// nodeOf returns the first node of a task's last attempt, NoNode if it has had none.
func (s *State) nodeOf(rw *row) NodeID {
	if !rw.phase.holds() {
		return NodeID(rw.at)
	}
	r := &s.runs[rw.at]
	if rw.phase == Claiming {
		return r.was
	}
	return r.one[0].Node
}
