package sched

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is what a kernel starts from.
type Config struct {
	Table  *Table // may be shared by kernels; appended to only by the driver, between Steps
	Nodes  []NodeSpec
	Policy Policy
	Start  Time // time before the first batch; batches never go back before it
	Waits  bool // keep the wait profile's rows
}

// Kernel turns facts into orders. One goroutine owns it. See the package comment for the main loop.
type Kernel struct {
	State
	round    Round
	pol      Policy
	cmds     []Command
	wake     Time // policy's wish; Never if none
	backoffs backoffs
	waits    waits
	stack    []TaskID // scratch of drop
	claims   int      // tasks in Claiming
	late     int64    // reports of old attempts that were dropped
	refused  int64    // facts that could not be taken in (an edge into a started task, a cycle)
	checked  int      // tasks below this ID are known to be free of cycles
	starts   []TaskID // claims whose last victim has stopped in this batch
	book     Books
}

// Books are the kernel's sums over all attempts so far, the running ones not included.
type Books struct {
	GPUSeconds, CPUSeconds float64 // allocated resource-seconds; CPU in cores. Float64: milli-GPU x ns overflows int64 on real traces
	Preemptions            int64   // attempts that ended because the policy evicted them
	Restarts               int64   // attempts that ended by failure or a lost node and were tried again
	CauseSeconds           [NumCauses]float64
}

// New returns a kernel. It refuses a table with a cycle of dependencies, and names it.
func New(c Config) (*Kernel, error) {
	k := &Kernel{pol: c.Policy, wake: Never}
	k.tb, k.now = c.Table, c.Start
	k.room = NewRoom(c.Nodes, &c.Table.Demands)
	k.runs = make([]run, 1, 64) // slot 0 is the ring's anchor
	k.runs[0].task = Nobody
	k.rows = make([]row, 0, len(c.Table.Tasks))
	k.round = Round{State: &k.State, k: k}
	k.waits.head = Nobody
	if c.Waits {
		k.waits.rows = map[waitKey]*waitSum{}
		k.waits.lacking = map[TaskID]Resource{}
		k.waits.last = map[TaskID]TaskID{}
	}
	if cycle := c.Table.Cycle(0, len(c.Table.Tasks)); cycle != nil {
		return nil, fmt.Errorf("dependency cycle: %s", c.Table.Path(cycle))
	}
	k.checked = len(c.Table.Tasks)
	return k, nil
}

// Path prints tasks as a -> b -> c.
func (tb *Table) Path(ts []TaskID) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = tb.TaskNames.At(int(t))
	}
	return strings.Join(names, " -> ")
}

// Cycle returns a cycle among the tasks from..to-1 and their successors, first task repeated at the end, or nil. Linear time.
func (tb *Table) Cycle(from, to int) []TaskID {
	if tb.SuccOff == nil {
		return nil
	}
	left := make([]int32, to-from)
	var queue []TaskID
	for t := from; t < to; t++ {
		for _, p := range tb.Preds(TaskID(t)) {
			if int(p) >= from && int(p) < to {
				left[t-from]++
			}
		}
		if left[t-from] == 0 {
			queue = append(queue, TaskID(t))
		}
	}
	seen := 0
	for ; seen < len(queue); seen++ {
		for _, u := range tb.Succs(queue[seen]) {
			if int(u) >= from && int(u) < to {
				if left[int(u)-from]--; left[int(u)-from] == 0 {
					queue = append(queue, u)
				}
			}
		}
	}
	if seen == to-from {
		return nil
	}
	// Every task that is left has a predecessor that is left: walk back until one repeats.
	at := slices.IndexFunc(left, func(n int32) bool { return n > 0 })
	pos := map[TaskID]int{}
	var path []TaskID
	for t := TaskID(from + at); ; {
		if i, ok := pos[t]; ok {
			path = append(path[i:], t)
			slices.Reverse(path)
			return path
		}
		pos[t] = len(path)
		path = append(path, t)
		for _, p := range tb.Preds(t) {
			if int(p) >= from && int(p) < to && left[int(p)-from] > 0 {
				t = p
				break
			}
		}
	}
}

// Books returns the sums so far. The slice-free copy may be kept.
func (k *Kernel) Books() Books { return k.book }

// Late returns the number of reports of old attempts that were dropped, Refused that of facts that could not be taken in.
func (k *Kernel) Late() int64 { return k.late }

// Refused returns the number of facts that were refused; see Late.
func (k *Kernel) Refused() int64 { return k.refused }

// NextWake returns when the kernel wants a Step if no fact comes earlier: the policy's wish or the end of a backoff.
func (k *Kernel) NextWake() (Time, bool) {
	at := k.wake
	if len(k.backoffs) > 0 {
		at = min(at, k.backoffs[0].at)
	}
	return at, at != Never
}

// Step takes in one batch of facts and returns the orders, valid until the next Step: first all ends and changes in the order given,
// then backoffs that are over, then arrivals in the order given, then one decision. Time never goes back: a batch older than the
// last one counts as now.
func (k *Kernel) Step(now Time, in []Event) []Command {
	k.now = max(k.now, now)
	k.cmds = k.cmds[:0]
	arrivals := false
	for i := range in {
		if in[i].Kind >= EdgeAdded {
			arrivals = true
			continue
		}
		k.change(&in[i])
	}
	for len(k.backoffs) > 0 && k.backoffs[0].at <= k.now {
		t := k.backoffs.pop()
		if k.rows[t].phase == Backoff {
			k.makeReady(t, FailureDelay)
		}
	}
	if arrivals {
		for i := range in {
			switch in[i].Kind {
			case JobArrived:
				k.arrive(in[i])
			case EdgeAdded:
				k.addEdge(in[i])
			}
		}
	}
	if k.wake <= k.now {
		k.wake = Never
		k.pol.Observe(&k.State, Event{Kind: Wake, Task: Nobody})
	}
	for _, t := range k.starts {
		k.startClaim(t)
	}
	k.starts = k.starts[:0]
	k.pol.Decide(&k.round)
	if invariants {
		k.checkInvariants()
	}
	return k.cmds
}

// change takes in a fact that is no arrival.
func (k *Kernel) change(e *Event) {
	switch e.Kind {
	case Finished, FailedAttempt, Killed, Stopped, CheckpointDone, Started:
		if int(e.Task) < 0 || int(e.Task) >= len(k.rows) {
			k.late++
			return
		}
		rw := &k.rows[e.Task]
		if rw.attempt != e.Attempt || rw.phase != Running && rw.phase != Stopping {
			k.late++
			return
		}
		switch e.Kind {
		case Finished:
			k.release(e.Task, rw)
			k.keep(e.Task, e.Done)
			rw.phase, rw.end = Done, k.now
			k.pol.Observe(&k.State, *e)
			k.unblock(e.Task)
		case Killed:
			k.release(e.Task, rw)
			k.finishObserved(e.Task, Failed, *e)
		case FailedAttempt:
			k.failed(e, rw)
		case Stopped:
			k.stopped(e, rw)
		case CheckpointDone:
			k.keep(e.Task, e.Done)
			k.pol.Observe(&k.State, *e)
		case Started:
			k.pol.Observe(&k.State, *e)
		}
	case NodeDown:
		k.nodeDown(e)
	case NodeUp:
		if e.More != nil && e.More.Spec != nil {
			e.Node = k.room.add(*e.More.Spec)
		} else if int(e.Node) < k.room.Len() && e.Node >= 0 {
			k.room.setUp(e.Node, true)
		} else {
			k.refused++
			return
		}
		k.pol.Observe(&k.State, *e)
	case NodeProfile:
		k.profile(e)
	case DependencyUp, DependencyDown:
		if k.down == nil {
			k.down = map[string]bool{}
		}
		if e.More != nil {
			k.down[e.More.Name] = e.Kind == DependencyDown
		}
		k.pol.Observe(&k.State, *e)
	case Cancelled:
		k.cancel(*e)
	case Hold, Release:
		k.hold(*e)
	case Updated:
		if int(e.Task) < len(k.rows) && e.Task >= 0 && e.Value >= 0 {
			k.tb.Estimates[e.Task] = time.Duration(e.Value)
			k.pol.Observe(&k.State, *e)
		}
	case QuotaSet:
		if e.More != nil && e.More.Quota != nil {
			k.setQuota(*e.More.Quota)
		}
		k.pol.Observe(&k.State, *e)
	case PolicySet:
		if e.More != nil && e.More.Policy != nil {
			k.pol = e.More.Policy
			k.wake = Never
			k.tellPresent()
		}
	}
}

// tellPresent tells a new policy the present as facts: what arrived, what runs in the order of start, what is ready in the order of
// readiness.
func (k *Kernel) tellPresent() {
	s := &k.State
	for t := 0; t < len(k.rows); {
		n := 1
		for t+n < len(k.rows) && k.tb.Tasks[t+n].Job == k.tb.Tasks[t].Job && k.rows[t+n].phase != Unknown {
			n++
		}
		if k.rows[t].phase != Unknown {
			k.pol.Observe(s, Event{Kind: JobArrived, Task: TaskID(t), N: int32(n)})
		}
		t += n
	}
	for t := range s.RunningTasks() {
		k.pol.Observe(s, Event{Kind: Started, Task: t, Attempt: k.rows[t].attempt})
	}
	var ready []TaskID
	for t := range k.rows {
		if k.rows[t].phase == Ready {
			ready = append(ready, TaskID(t))
		}
	}
	slices.SortStableFunc(ready, func(a, b TaskID) int { return int(min(max(k.rows[a].since-k.rows[b].since, -1), 1)) })
	for _, t := range ready {
		k.pol.Observe(s, Event{Kind: TaskReady, Task: t})
	}
}

// arrive makes the tasks of a JobArrived known.
func (k *Kernel) arrive(e Event) {
	first, end := int(e.Task), int(e.Task)+int(e.N)
	if first < 0 || e.N <= 0 || end > len(k.tb.Tasks) || first < len(k.rows) && k.rows[first].phase != Unknown {
		k.refused++
		return
	}
	if end > k.checked {
		if k.tb.Cycle(first, end) != nil {
			k.refused++
			return
		}
	}
	for len(k.rows) < end {
		k.rows = append(k.rows, row{slot: -1, node: NoNode, ready: Never, first: Never, end: Never})
	}
	edges := k.tb.SuccOff != nil
	for t := first; t < end; t++ {
		rw := &k.rows[t]
		rw.phase, rw.cause, rw.since = Blocked, Dependency, k.now
		k.blocked++
		if edges {
			for _, p := range k.tb.Preds(TaskID(t)) {
				if k.Phase(p) != Done {
					rw.waitsFor++
				}
			}
		}
	}
	k.pol.Observe(&k.State, e)
	for t := first; t < end; t++ {
		rw := &k.rows[t]
		if rw.phase != Blocked {
			continue // dropped with a predecessor meanwhile
		}
		if edges && rw.waitsFor > 0 {
			for _, p := range k.tb.Preds(TaskID(t)) {
				if ph := k.Phase(p); ph.Over() && ph != Done {
					k.finish(TaskID(t), Dropped)
					break
				}
			}
			continue
		}
		k.makeReady(TaskID(t), Order)
	}
}

// makeReady lets a task that waits for nothing be started. cause is what its waiting counts as until the policy says otherwise.
func (k *Kernel) makeReady(t TaskID, cause Cause) {
	rw := &k.rows[t]
	if rw.phase == Blocked {
		k.blocked--
	}
	k.closeWait(t, rw)
	rw.cause = cause
	if rw.ready == Never {
		rw.ready = k.now
	}
	if rw.flags&flagHold != 0 {
		rw.phase, rw.cause = Held, Order
		return
	}
	rw.phase = Ready
	k.ready++
	k.pol.Observe(&k.State, Event{Kind: TaskReady, Task: t, Node: NoNode})
}

// unblock tells the successors of a done task.
func (k *Kernel) unblock(t TaskID) {
	if k.tb.SuccOff != nil {
		for _, u := range k.tb.Succs(t) {
			k.lessOne(t, u)
		}
	}
	for _, u := range k.extra.succ[t] {
		k.lessOne(t, u)
	}
}

func (k *Kernel) lessOne(t, u TaskID) {
	if int(u) >= len(k.rows) {
		return // its job has not arrived
	}
	rw := &k.rows[u]
	if rw.phase == Unknown || rw.phase.Over() {
		return
	}
	rw.waitsFor--
	if rw.waitsFor > 0 {
		return
	}
	if k.waits.rows != nil {
		k.waits.last[u] = t
	}
	if rw.phase == Blocked {
		k.makeReady(u, Order)
	}
}

// keep records work kept of a task.
func (k *Kernel) keep(t TaskID, done time.Duration) {
	if done <= 0 && (k.kept == nil || int(t) >= len(k.kept)) {
		return
	}
	if k.rows[t].phase.Over() {
		return
	}
	for len(k.kept) <= int(t) {
		k.kept = append(k.kept, make([]time.Duration, max(int(t)+1, len(k.rows))-len(k.kept))...)
	}
	k.kept[t] = done
}

// slot returns a free slot of runs, at the end of the ring.
func (k *Kernel) slot() int32 {
	var i int32
	if n := len(k.free); n > 0 {
		i = k.free[n-1]
		k.free = k.free[:n-1]
	} else {
		k.runs = append(k.runs, run{})
		i = int32(len(k.runs) - 1)
	}
	last := k.runs[0].prev
	k.runs[i].prev, k.runs[i].next = last, 0
	k.runs[last].next = i
	k.runs[0].prev = i
	return i
}

// leave takes a task off its slot and gives its room back.
func (k *Kernel) leave(rw *row) {
	r := &k.runs[rw.slot]
	need := &k.tb.Demands[k.tb.Classes[k.tb.Tasks[r.task].Class].Demand].Need
	for _, p := range r.on {
		k.room.Give(need, p)
	}
	k.runs[r.prev].next = r.next
	k.runs[r.next].prev = r.prev
	k.free = append(k.free, rw.slot)
	rw.slot = -1
}

// release ends the running attempt of a task: books, room, slot, and the claims that waited for it.
func (k *Kernel) release(t TaskID, rw *row) {
	r := &k.runs[rw.slot]
	held := k.now.Sub(r.start)
	rw.held += held
	d := &k.tb.Demands[k.tb.Classes[k.tb.Tasks[t].Class].Demand]
	sec := held.Seconds()
	k.book.GPUSeconds += sec * float64(d.GPUTotal()) / Whole
	k.book.CPUSeconds += sec * float64(d.CPUTotal()) / 1000
	if k.quotas != nil {
		k.quotas.give(k.tb, t, d)
	}
	if c := r.claimant; c != Nobody {
		r.claimant = Nobody
		cr := &k.runs[k.rows[c].slot]
		if cr.wait--; cr.wait == 0 {
			k.starts = append(k.starts, c)
		}
	}
	k.leave(rw)
	k.running--
	rw.since = k.now
}

// start carries out Start (victims nil) and Claim.
func (k *Kernel) start(t TaskID, on []Placement, victims []TaskID) bool {
	if int(t) >= len(k.rows) || t < 0 {
		return false
	}
	rw := &k.rows[t]
	if rw.phase != Ready || len(on) == 0 {
		return false
	}
	cl := &k.tb.Classes[k.tb.Tasks[t].Class]
	d := &k.tb.Demands[cl.Demand]
	var gang int32
	for _, p := range on {
		gang += p.Replicas
	}
	if gang != d.Gang {
		return false
	}
	if k.quotas != nil && !k.quotas.allows(k.tb, t, d) {
		k.round.Skip(t, Order)
		return false
	}
	for i, v := range victims {
		if int(v) >= len(k.rows) || v < 0 || k.rows[v].phase != Running || slices.Contains(victims[:i], v) {
			return false
		}
	}
	// Victims' room counts as free while the placements are checked and booked; afterwards it is booked twice until they stop.
	for _, v := range victims {
		k.bookAll(v, k.room.Give)
	}
	i := k.slot()
	r := &k.runs[i]
	r.on = r.on[:0]
	for _, p := range on {
		if p.GPUs == 0 && d.Need.GPUs > 0 && p.Node >= 0 && int(p.Node) < k.room.Len() {
			p.GPUs = k.room.devices(&d.Need, p.Node, p.Replicas)
		}
		if !k.room.fits(cl.Demand, p) {
			for _, q := range r.on {
				k.room.Give(&d.Need, q)
			}
			k.runs[r.prev].next, k.runs[r.next].prev = r.next, r.prev
			k.free = append(k.free, i)
			for _, v := range victims {
				k.bookAll(v, k.room.Take)
			}
			return false
		}
		k.room.Take(&d.Need, p)
		r.on = append(r.on, p)
	}
	r.task, r.claimant, rw.slot = t, Nobody, i
	k.ready--
	if k.quotas != nil {
		k.quotas.take(k.tb, t, d)
	}
	if len(victims) == 0 {
		k.run(t, rw, r)
		return true
	}
	r.wait = int32(len(victims))
	rw.phase = Claiming
	k.claims++
	for _, v := range victims {
		k.bookAll(v, k.room.Take)
	}
	for _, v := range victims {
		k.runs[k.rows[v].slot].claimant = t
		k.evict(v)
	}
	return true
}

func (k *Kernel) bookAll(t TaskID, book func(*Need, Placement)) {
	need := &k.Demand(t).Need
	for _, p := range k.runs[k.rows[t].slot].on {
		book(need, p)
	}
}

// run orders the start of a task whose room is booked.
func (k *Kernel) run(t TaskID, rw *row, r *run) {
	k.closeWait(t, rw)
	rw.attempt++
	rw.phase = Running
	rw.flags &^= flagEvict | flagLost
	rw.node = r.on[0].Node
	if rw.first == Never {
		rw.first = k.now
	}
	r.start, r.wait = k.now, 0
	r.est = 0
	left := k.tb.Estimates[t]
	var kept time.Duration
	if int(t) < len(k.kept) {
		kept = k.kept[t]
	}
	for _, p := range r.on {
		spec := &k.room.specs[p.Node]
		est := left
		if k.tb.EstimateOn != nil || spec.SpeedMilli != Whole && spec.SpeedMilli != 0 {
			est = EstimateOn(k.tb, t, spec)
		}
		if kept > 0 && left > 0 {
			est = MulDiv(est, int64(max(left-kept, 0)), int64(left), true)
		}
		r.est = max(r.est, est)
	}
	k.running++
	k.cmds = append(k.cmds, Command{Kind: Start, Task: t, Attempt: rw.attempt, On: r.on})
}

// evict orders a running task to stop.
func (k *Kernel) evict(t TaskID) bool {
	rw := &k.rows[t]
	if rw.phase != Running {
		return false
	}
	rw.flags |= flagEvict
	k.stop(t, rw)
	return true
}

func (k *Kernel) stop(t TaskID, rw *row) {
	rw.phase = Stopping
	k.cmds = append(k.cmds, Command{Kind: Stop, Task: t, Attempt: rw.attempt})
}

// stopped takes in that an order to stop was carried out.
func (k *Kernel) stopped(e *Event, rw *row) {
	t, flags := e.Task, rw.flags
	k.release(t, rw)
	rw.flags &^= flagEvict | flagLost
	if flags&flagCancel != 0 {
		k.finishObserved(t, Dropped, *e)
		return
	}
	k.keep(t, e.Done)
	cause := Preempted
	if flags&flagLost != 0 {
		cause = FailureDelay
		k.book.Restarts++
	} else {
		k.book.Preemptions++
	}
	k.pol.Observe(&k.State, *e)
	k.makeReady(t, cause)
}

// failed takes in the failure of an attempt: again after the backoff, or over.
func (k *Kernel) failed(e *Event, rw *row) {
	t := e.Task
	cl := k.Class(t)
	k.release(t, rw)
	if rw.flags&flagCancel != 0 {
		k.finishObserved(t, Dropped, *e)
		return
	}
	if int32(rw.fails) >= cl.Retries || rw.fails == 255 {
		k.finishObserved(t, Failed, *e)
		return
	}
	k.keep(t, e.Done)
	rw.fails++
	k.book.Restarts++
	rw.cause = FailureDelay
	k.pol.Observe(&k.State, *e)
	if cl.Backoff <= 0 {
		k.makeReady(t, FailureDelay)
		return
	}
	rw.phase = Backoff
	k.backoffs.push(k.now.Add(RetryBackoff(cl.Backoff, int(rw.fails))), t)
}

// RetryBackoff returns the wait before the n-th retry (n from 1): base doubled each time, at most 64 times base.
func RetryBackoff(base time.Duration, n int) time.Duration {
	return MulDiv(base, 1<<min(max(n-1, 0), 6), 1, false)
}

// finish ends a task that does not run, for good, and cancels its successors.
func (k *Kernel) finish(t TaskID, as Phase) {
	k.finishObserved(t, as, Event{Kind: TaskDropped, Task: t, Node: NoNode})
}

// finishObserved ends a task that does not run (any more); e is what the policy is told of it.
func (k *Kernel) finishObserved(t TaskID, as Phase, e Event) {
	k.end(t, as)
	k.pol.Observe(&k.State, e)
	if e.Kind != TaskDropped {
		k.pol.Observe(&k.State, Event{Kind: TaskDropped, Task: t, Node: NoNode})
	}
	k.stack = k.stack[:0]
	k.pushSuccs(t)
	for len(k.stack) > 0 {
		u := k.stack[len(k.stack)-1]
		k.stack = k.stack[:len(k.stack)-1]
		if ph := k.Phase(u); ph == Unknown || ph.Over() {
			continue
		}
		k.end(u, Dropped)
		k.pol.Observe(&k.State, Event{Kind: TaskDropped, Task: u, Node: NoNode})
		k.pushSuccs(u)
	}
}

func (k *Kernel) pushSuccs(t TaskID) {
	at := len(k.stack)
	for u := range k.Succs(t) {
		k.stack = append(k.stack, u)
	}
	slices.Reverse(k.stack[at:]) // so that the lowest is dropped first
}

func (k *Kernel) end(t TaskID, as Phase) {
	rw := &k.rows[t]
	switch rw.phase {
	case Blocked:
		k.blocked--
	case Ready:
		k.ready--
	}
	k.closeWait(t, rw)
	rw.phase, rw.end = as, k.now
}

// nodeDown takes in the loss of a node: what ran there ends at once; a gang that also runs elsewhere is ordered to stop there.
func (k *Kernel) nodeDown(e *Event) {
	if e.Node < 0 || int(e.Node) >= k.room.Len() || !k.room.Up(e.Node) {
		k.refused++
		return
	}
	k.room.setUp(e.Node, false)
	var lost, undone []TaskID
	for i := k.runs[0].next; i != 0; i = k.runs[i].next {
		r := &k.runs[i]
		if !slices.ContainsFunc(r.on, func(p Placement) bool { return p.Node == e.Node }) {
			continue
		}
		if k.rows[r.task].phase == Claiming {
			undone = append(undone, r.task)
		} else {
			lost = append(lost, r.task)
		}
	}
	k.pol.Observe(&k.State, *e)
	for _, t := range undone {
		k.undoClaim(t)
	}
	for _, t := range lost {
		rw := &k.rows[t]
		r := &k.runs[rw.slot]
		elsewhere := slices.ContainsFunc(r.on, func(p Placement) bool { return k.room.Up(p.Node) })
		if elsewhere {
			if rw.phase == Running {
				rw.flags |= flagLost
				k.stop(t, rw)
			}
			continue
		}
		rw.flags |= flagLost
		rw.flags &^= flagEvict
		// The attempt is fenced by its number: a late report of it is dropped.
		k.stopped(&Event{Kind: Stopped, Task: t, Attempt: rw.attempt, Node: e.Node, Done: k.keptOf(t)}, rw)
	}
}

func (k *Kernel) keptOf(t TaskID) time.Duration {
	if int(t) < len(k.kept) {
		return k.kept[t]
	}
	return 0
}

// startClaim orders the start of a claim whose room is free.
func (k *Kernel) startClaim(t TaskID) {
	rw := &k.rows[t]
	if rw.phase != Claiming || k.runs[rw.slot].wait > 0 {
		return
	}
	k.claims--
	k.run(t, rw, &k.runs[rw.slot])
}

// undoClaim gives a claim's room back and makes its task ready again.
func (k *Kernel) undoClaim(t TaskID) {
	rw := &k.rows[t]
	if k.quotas != nil {
		k.quotas.give(k.tb, t, k.Demand(t))
	}
	for i := k.runs[0].next; i != 0; i = k.runs[i].next {
		if k.runs[i].claimant == t {
			k.runs[i].claimant = Nobody
		}
	}
	k.leave(rw)
	k.claims--
	k.makeReady(t, rw.cause)
}
