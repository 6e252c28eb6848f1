package sched

// How tasks give room back: ends, stops, failures, and the loss of nodes.

import (
	"maps"
	"slices"
	"time"
)

// finished takes in that a task is done. It is not to be inlined itself: what it calls, which the compiler knows from a profile to be hot here, would not be, elsewhere.
//
//go:noinline
func (k *Kernel) finished(t TaskID, rw *row, r *run, done time.Duration) {
	e := Event{Kind: Finished, Task: t, Node: NoNode, Attempt: rw.attempt, Done: done} // long before it is handed over: a copy waits for what was just written
	k.release(t, rw, r, true)
	rw.phase = Done
	k.open--
	k.over++
	k.lastEnd = k.now
	edges := k.tb.SuccOff != nil || k.extra.succ != nil
	if edges {
		k.countDone(t)
	}
	k.pol.Observe(&k.State, e)
	if edges {
		k.unblock(t)
	}
}

// leave takes a task off its slot and gives its room back. node is the first of its last attempt.
func (k *Kernel) leave(rw *row, r *run, plan *plan, node NodeID) {
	if k.holders != nil {
		k.removeHolder(r)
	}
	if plan.cores > 0 && r.gang == 0 {
		k.room.takeCores(r.one[0].Node, -plan.cores)
	} else if plan.whole == 0 || !k.room.giveGPUs(plan.whole, &r.one[0]) {
		k.give(r)
	}
	k.unlink(rw.at)
	k.free = append(k.free, rw.at)
	rw.at = int32(node)
}

// give gives back the room that a slot has booked.
func (k *Kernel) give(r *run) {
	need := &k.tb.Demands[r.demand].Need
	on := k.on(r)
	for i := range on {
		if p := &on[i]; need.GPUs == 0 && need.Mem == 0 {
			k.room.takeCores(p.Node, -need.CPU*int64(p.Replicas))
		} else if !k.room.giveWhole(need, p) {
			k.room.Give(need, *p)
		}
	}
	k.disband(r)
}

// release ends the running attempt of a task: books, room, slot, and the claims that waited for it. last says that the task is over with it,
// at this moment.
func (k *Kernel) release(t TaskID, rw *row, r *run, last bool) {
	held := k.now.Sub(r.start)
	if !last || rw.attempt > 1 {
		k.addHeld(t, rw, held)
	}
	plan := k.room.plan(r.demand)
	sec := float64(held) / 1e9
	if plan.gpuMilli != 0 {
		k.book.GPUSeconds += sec * plan.gpuMilli / Whole
	}
	if plan.cpuMilli != 0 {
		k.book.CPUSeconds += sec * plan.cpuMilli / 1000
	}
	if k.quotas != nil {
		k.quotas.give(k.tb, t, &k.tb.Demands[r.demand])
	}
	if c := r.claimant; c != Nobody {
		r.claimant = Nobody
		cr := &k.runs[k.rows[c].at]
		if cr.wait--; cr.wait == 0 {
			k.starts = append(k.starts, c)
		}
	}
	k.leave(rw, r, plan, r.one[0].Node)
	k.running--
	rw.since = k.now
}

// evict orders a running task to stop.
func (k *Kernel) evict(t TaskID) bool {
	if k.Phase(t) != Running {
		return false
	}
	rw := &k.rows[t]
	rw.flags |= flagEvict
	k.stop(t, rw)
	return true
}

func (k *Kernel) stop(t TaskID, rw *row) {
	rw.phase = Stopping
	c := more(&k.cmds)
	c.Kind, c.Cause, c.Task, c.Attempt, c.Queue, c.Replicas, c.On = Stop, 0, t, rw.attempt, 0, 0, nil
}

// stopped takes in that an order to stop was carried out.
func (k *Kernel) stopped(e *Event, rw *row) {
	t, flags := e.Task, rw.flags
	k.release(t, rw, &k.runs[rw.at], flags&flagCancel != 0)
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
	rw.phase, rw.cause = Backoff, cause // it runs no more, and is not ready yet
	k.pol.Observe(&k.State, *e)
	k.makeReady(t, rw, cause)
}

// failed takes in the failure of an attempt: again after the backoff, or over.
func (k *Kernel) failed(e *Event, rw *row) {
	t := e.Task
	cl := k.Class(t)
	spare := e.N == 1
	cancelled, spent := rw.flags&flagCancel != 0, !spare && (int32(rw.fails) >= cl.Retries || rw.fails == 255) || e.Value < 0
	k.release(t, rw, &k.runs[rw.at], cancelled || spent)
	switch {
	case cancelled:
		k.finishObserved(t, Dropped, *e)
		return
	case spent:
		k.finishObserved(t, Failed, *e)
		return
	}
	k.keep(t, e.Done)
	if !spare {
		rw.fails++
	}
	k.book.Restarts++
	rw.phase, rw.cause = Backoff, FailureDelay
	k.pol.Observe(&k.State, *e)
	wait := RetryBackoff(cl.Backoff, int(rw.fails))
	if e.Value > 0 {
		wait = time.Duration(e.Value)
	}
	if wait <= 0 {
		k.makeReady(t, rw, FailureDelay)
		return
	}
	k.backoffs.push(k.now.Add(wait), t)
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
		if k.quotas != nil {
			k.quotas.waits(k.tb, t, -1)
		}
	}
	k.closeWait(t, rw)
	k.dropWaits(t)
	rw.phase = as
	k.open--
	k.over++
	if rw.attempt > 0 {
		k.lastEnd = k.now
	}
}

// nodeDown takes in the loss of a node: what ran there ends at once; a gang that also runs elsewhere is ordered to stop there.
func (k *Kernel) nodeDown(e *Event) {
	if e.Node < 0 || int(e.Node) >= k.room.Len() {
		k.refused++
		return
	}
	maps.DeleteFunc(k.lost, func(x taskNode, attempt int32) bool { // what is over by now
		return k.rows[x.task].phase != Stopping || k.rows[x.task].attempt != attempt
	})
	var lost, undone []TaskID
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		r := &k.runs[i]
		if !slices.ContainsFunc(k.on(r), func(p Placement) bool { return p.Node == e.Node }) {
			continue
		}
		switch {
		case k.rows[r.task].phase == Claiming:
			undone = append(undone, r.task)
		case !k.gone(r.task, e.Node):
			lost = append(lost, r.task)
		}
	}
	// It may be down already, unless what still runs there says that it was only drained.
	if !k.room.Up(e.Node) && len(lost) == 0 {
		k.refused++
		return
	}
	k.room.setUp(e.Node, false)
	k.pol.Observe(&k.State, *e)
	for _, t := range undone {
		k.undoClaim(t)
	}
	for _, t := range lost {
		rw := &k.rows[t]
		elsewhere := slices.ContainsFunc(k.on(&k.runs[rw.at]), func(p Placement) bool { return p.Node != e.Node && !k.gone(t, p.Node) })
		if elsewhere {
			if rw.phase == Running {
				rw.flags |= flagLost
				k.stop(t, rw)
			}
			k.setGone(t, e.Node)
			continue
		}
		rw.flags |= flagLost
		rw.flags &^= flagEvict
		// The attempt is fenced by its number: a late report of it is dropped.
		k.stopped(&Event{Kind: Stopped, Task: t, Attempt: rw.attempt, Node: e.Node, Done: k.keptOf(t)}, rw)
	}
}

// gone reports whether an attempt of t that still stops elsewhere has lost node n. That n is up says nothing, since it may be back, and that it is not says
// nothing either, since it may be drained.
func (k *Kernel) gone(t TaskID, n NodeID) bool {
	rw := &k.rows[t]
	return rw.phase == Stopping && k.lost[taskNode{t, n}] == rw.attempt
}

func (k *Kernel) setGone(t TaskID, n NodeID) {
	if k.lost == nil {
		k.lost = map[taskNode]int32{}
	}
	k.lost[taskNode{t, n}] = k.rows[t].attempt
}

// nodeDrain closes a node to new starts. Claims on it are undone, or they would start there.
func (k *Kernel) nodeDrain(e *Event) {
	if e.Node < 0 || int(e.Node) >= k.room.Len() || !k.room.Up(e.Node) {
		k.refused++
		return
	}
	k.room.setUp(e.Node, false)
	var undone []TaskID
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		if r := &k.runs[i]; k.rows[r.task].phase == Claiming && slices.ContainsFunc(k.on(r), func(p Placement) bool { return p.Node == e.Node }) {
			undone = append(undone, r.task)
		}
	}
	k.pol.Observe(&k.State, Event{Kind: NodeProfile, Task: Nobody, Node: e.Node})
	for _, t := range undone {
		k.undoClaim(t)
	}
}
