package sched

// Round is one decision: the policy's only way to act. It is valid during the call of Decide.
type Round struct {
	*State
	k *Kernel
}

// Start orders a ready task to run on the placements, all or nothing; the room is taken at once. A placement of a demand for GPUs
// may leave GPUs empty: the kernel then chooses the devices. It reports false, and nothing happens, where the task is not ready, the
// placements do not hold the whole gang, there is no room, or a quota forbids it (the task then waits for Order).
func (r *Round) Start(t TaskID, on ...Placement) bool { return r.k.start(t, on, nil) }

// StartFirst is Start on the nodes where first fit finds room for the whole gang. It reports false where there is no room, or t is not
// ready; true, with the task still ready, where a quota forbids it.
func (r *Round) StartFirst(t TaskID) bool { return r.k.startFirst(t) }

// StartOn is Start with the whole gang on one node, on the devices that first fit takes there. It looks once whether it fits.
func (r *Round) StartOn(t TaskID, n NodeID) bool { return r.k.startOn(t, n) }

// Evict orders a running task to stop. It keeps its room until the order is carried out (the fact Stopped); then it is ready again.
// It reports false where the task does not run or is stopping already.
func (r *Round) Evict(t TaskID) bool { return r.k.evict(t) }

// Claim orders the victims to stop and holds the placements' room for t at once: what is free now, and what the victims give up. t
// starts by itself as soon as the last victim has stopped or ended. It reports false, and nothing happens, where t is not ready, a victim does not
// run (or is stopping already), or the placements would not fit even without the victims.
func (r *Round) Claim(t TaskID, on []Placement, victims ...TaskID) bool {
	return r.k.start(t, on, victims)
}

// Skip says why a ready task waits from now on. A task that has been preempted keeps that cause until it starts. The last task skipped
// for NoRoom counts as the head of the line, the one that the tasks held back by Order wait behind. A cause that there is not changes nothing.
func (r *Round) Skip(t TaskID, c Cause) {
	k := r.k
	rw := k.startable(t)
	if rw == nil {
		return
	}
	if c == NoRoom {
		k.waits.head = t
	}
	if rw.cause != c && rw.cause != Preempted && c < NumCauses {
		k.recause(t, rw, c)
	}
}

// SkipAll is Skip of several tasks, one after the other.
func (r *Round) SkipAll(tasks []TaskID, c Cause) {
	for _, t := range tasks {
		r.Skip(t, c)
	}
}

// recause makes c the cause for which a ready task waits from now on.
func (k *Kernel) recause(t TaskID, rw *row, c Cause) {
	if rw.since != k.now {
		k.closeWait(t, rw)
	}
	rw.cause = c
	if c == NoRoom && k.waits.last != nil {
		k.waits.lacks(t, k.room.Lacks(k.DemandID(t)))
	}
}

// Reject refuses a ready task for good; its successors are cancelled. It reports false, and nothing happens, where the task is not ready or there
// is no such cause.
func (r *Round) Reject(t TaskID, c Cause) bool {
	if r.Phase(t) != Ready || c >= NumCauses {
		return false
	}
	r.k.closeWait(t, &r.rows[t])
	r.rows[t].cause = c
	r.k.cmds = append(r.k.cmds, Command{Kind: Reject, Cause: c, Task: t, Attempt: r.rows[t].attempt})
	r.k.finish(t, Rejected)
	return true
}

// Checkpoint orders a running task to save its work. It reports false where the task does not run, or is stopping.
func (r *Round) Checkpoint(t TaskID) bool {
	if r.Phase(t) != Running {
		return false
	}
	r.k.cmds = append(r.k.cmds, Command{Kind: Checkpoint, Task: t, Attempt: r.rows[t].attempt})
	return true
}

// Scale orders the number of replicas that serve a queue.
func (r *Round) Scale(q QueueID, replicas int) {
	r.k.cmds = append(r.k.cmds, Command{Kind: Scale, Queue: q, Replicas: int32(replicas), Task: Nobody})
}

// Ordered returns the orders of this Step so far. In Decide, the first of them are those that facts have caused, of which the policy is not
// told otherwise: a running task that was cancelled, or that has lost one of its nodes, is stopping. Do not modify.
func (r *Round) Ordered() []Command { return r.k.cmds }

// WakeAt asks for a decision no later than at. Of several wishes the earliest counts; it is forgotten when it has come. One that is not after Now
// comes at once: a policy that has it at every decision comes to no end.
func (r *Round) WakeAt(at Time) { r.k.wake = min(r.k.wake, at) }

// Soon tells of a task that has arrived and will probably be started soon, for a policy that knows several at a time; nothing comes of it but speed: what the
// starts need is then looked at together, as Kernel.Foresee says of ends.
func (r *Round) Soon(t TaskID) {
	if uint32(t) < uint32(len(r.rows)) {
		r.k.soon = append(r.k.soon, t)
	}
}
