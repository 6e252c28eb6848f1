package sched

import "slices"

// How tasks come, and become ready.

// arrive makes the tasks of a JobArrived known.
func (k *Kernel) arrive(e *Event) {
	if e.N == 1 && k.comesAlone(e.Task) {
		k.arriveAlone(e.Task)
		return
	}
	first, end := int(e.Task), int(e.Task)+int(e.N)
	if first < 0 || e.N <= 0 || end > len(k.tb.Tasks) {
		k.refused++
		return
	}
	for t := first; t < len(k.rows) && t < end; t++ {
		if k.rows[t].phase != Unknown {
			k.refused++
			return
		}
	}
	if end > k.vetted.tasks {
		if k.vet(first, end) != nil || k.tb.Cycle(first, end) != nil {
			k.refused++
			return
		}
		if first <= k.vetted.tasks {
			k.vetted.tasks = end
		}
	}
	for len(k.rows) < first { // those between come later
		k.rows = append(k.rows, row{class: k.tb.Tasks[len(k.rows)].Class, at: int32(NoNode), ready: Never, first: Never})
	}
	if grow := end - len(k.rows); grow > 0 { // once for all of them
		k.rows = slices.Grow(k.rows, grow)[:end]
	}
	edges, tasks, rows := k.tb.SuccOff != nil, k.tb.Tasks[first:end], k.rows[first:end]
	for i := range tasks {
		t, rw := TaskID(first+i), &rows[i]
		rw.fresh(Blocked, Dependency, tasks[i].Class, k.now, Never)
		if submit := tasks[i].Submit; submit < k.now { // what a decision window took since the submission is waiting too
			rw.since, rw.cause = submit, Window
			k.closeWait(t, rw)
			rw.cause = Dependency
		}
	}
	if edges {
		k.countPreds(first, end)
	}
	k.blocked += len(tasks)
	k.open += len(tasks)
	k.pol.Observe(&k.State, *e)
	for i := range tasks {
		t := first + i
		if edges && k.pending[t] > 0 && k.undone == 0 {
			continue
		}
		rw := &k.rows[t]
		if rw.phase != Blocked {
			continue // dropped with a predecessor meanwhile
		}
		if edges && k.pending[t] > 0 {
			if k.lostPred(TaskID(t)) {
				k.finish(TaskID(t), Dropped)
			}
			continue
		}
		// Ready since it was submitted, or since the last of what it comes after ended: the decision window is waiting.
		rw.ready = tasks[i].Submit
		if edges {
			for _, p := range k.tb.Preds(TaskID(t)) {
				rw.ready = max(rw.ready, k.rows[p].since)
			}
		}
		rw.ready = min(rw.ready, k.now)
		k.makeReady(TaskID(t), rw, Order)
	}
}

// comesAlone reports whether a task that arrives comes when it was submitted, after all that are known, and waits for no other.
func (k *Kernel) comesAlone(t TaskID) bool {
	return int(t) == len(k.rows) && int(t) < k.vetted.tasks && k.tb.SuccOff == nil && k.tb.Tasks[t].Submit >= k.now
}

// arriveAlone is arrive for a task for which comesAlone holds.
func (k *Kernel) arriveAlone(t TaskID) {
	rw := more(&k.rows)
	k.open++
	if k.quotas == nil && k.ignored {
		rw.fresh(Ready, Order, k.tb.Tasks[t].Class, k.now, k.now)
		k.ready++
		k.pol.Observe(&k.State, Event{Kind: TaskReady, Task: t, Node: NoNode})
		return
	}
	rw.fresh(Blocked, Dependency, k.tb.Tasks[t].Class, k.now, Never)
	k.blocked++
	k.pol.Observe(&k.State, Event{Kind: JobArrived, Task: t, N: 1, Node: NoNode})
	if rw := &k.rows[t]; rw.phase == Blocked {
		k.makeReady(t, rw, Order)
	}
}

// fresh makes a row that of a task which has not run: field by field, since what is put together first is copied, and the copy waits for it.
func (rw *row) fresh(phase Phase, cause Cause, class ClassID, since, ready Time) {
	rw.phase, rw.cause, rw.flags, rw.fails, rw.attempt = phase, cause, 0, 0, 0
	rw.class, rw.at, rw.since, rw.ready, rw.first = class, int32(NoNode), since, ready, Never
}

// makeReady lets a task that waits for nothing be started. cause is what its waiting counts as until the policy says otherwise.
func (k *Kernel) makeReady(t TaskID, rw *row, cause Cause) {
	if rw.phase == Blocked {
		k.blocked--
	}
	if rw.since != k.now {
		k.closeWait(t, rw)
	}
	rw.cause = cause
	if rw.ready == Never {
		rw.ready = k.now
	}
	if rw.flags&flagHold != 0 {
		rw.phase, rw.cause = Held, Order
		return
	}
	rw.phase = Ready
	k.setReadySince(t, rw, k.now)
	k.ready++
	if k.quotas != nil {
		k.quotas.waits(k.tb, t, 1)
	}
	k.pol.Observe(&k.State, Event{Kind: TaskReady, Task: t, Node: NoNode})
}
