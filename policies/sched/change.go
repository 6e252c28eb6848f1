package sched

// The rarer facts: holds, cancellations, added dependencies, profiles, quotas.

func (k *Kernel) cancel(e Event) {
	if e.Task < 0 || int(e.Task) >= len(k.rows) {
		k.refused++
		return
	}
	rw := &k.rows[e.Task]
	switch rw.phase {
	case Running:
		rw.flags |= flagCancel
		k.stop(e.Task, rw)
	case Stopping:
		rw.flags |= flagCancel
	case Claiming:
		k.undoClaim(e.Task)
		k.finishObserved(e.Task, Dropped, e)
	case Blocked, Ready, Backoff, Held:
		k.finishObserved(e.Task, Dropped, e)
	default:
		k.refused++
	}
}

// hold takes a task out of the line until it is released. A running task runs on; the hold counts when it would be ready again.
func (k *Kernel) hold(e Event) {
	if e.Task < 0 || int(e.Task) >= len(k.rows) {
		k.refused++
		return
	}
	rw := &k.rows[e.Task]
	if rw.phase == Unknown || rw.phase.Over() {
		k.refused++
		return
	}
	if e.Kind == Hold {
		rw.flags |= flagHold
		if rw.phase == Claiming {
			k.undoClaim(e.Task) // held now; the policy hears of it because room came free
			k.pol.Observe(&k.State, Event{Kind: TaskBlocked, Task: e.Task, Node: NoNode})
			return
		}
		if rw.phase == Ready {
			k.unready(e.Task, rw, Held, Order)
		}
		return
	}
	rw.flags &^= flagHold
	switch {
	case rw.phase != Held:
	case k.WaitsFor(e.Task) > 0: // an edge was added meanwhile
		k.closeWait(e.Task, rw)
		rw.phase, rw.cause = Blocked, Dependency
		k.blocked++
	default:
		k.makeReady(e.Task, &k.rows[e.Task], Order)
	}
}

// unready takes a ready task out of the line.
func (k *Kernel) unready(t TaskID, rw *row, to Phase, cause Cause) {
	k.closeWait(t, rw)
	k.ready--
	if k.quotas != nil {
		k.quotas.waits(k.tb, t, -1)
	}
	rw.phase, rw.cause = to, cause
	if to == Blocked {
		k.blocked++
	}
	k.pol.Observe(&k.State, Event{Kind: TaskBlocked, Task: t, Node: NoNode})
}

// CheckEdge says whether the dependency from -> to can be added now: both are known, to has not started, from did not fail, and no cycle
// comes of it. It returns the cycle where one would, and a reason.
func (k *Kernel) CheckEdge(from, to TaskID) (cycle []TaskID, reason string) {
	if k.Phase(from) == Unknown || k.Phase(to) == Unknown {
		return nil, "unknown task"
	}
	switch ph := k.Phase(to); {
	case ph != Blocked && ph != Ready && ph != Held:
		return nil, "the task has started or is over"
	case k.Phase(from).Over() && k.Phase(from) != Done:
		return nil, "the predecessor is not going to be done"
	}
	// A path from `to` to `from` would close a cycle.
	came := map[TaskID]TaskID{to: Nobody}
	stack := []TaskID{to}
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if t == from {
			cycle = append(cycle, to)
			for u := from; u != Nobody; u = came[u] {
				cycle = append(cycle, u)
			}
			// to <- ... walked backwards from `from`: the list reads to, from, ..., to; turn it into from's order.
			for i, j := 0, len(cycle)-1; i < j; i, j = i+1, j-1 {
				cycle[i], cycle[j] = cycle[j], cycle[i]
			}
			return cycle, "a cycle"
		}
		for u := range k.Succs(t) {
			if _, ok := came[u]; !ok {
				came[u] = t
				stack = append(stack, u)
			}
		}
	}
	return nil, ""
}

func (k *Kernel) addEdge(e Event) {
	if _, reason := k.CheckEdge(e.Task, e.Other); reason != "" {
		k.refused++
		return
	}
	for u := range k.Succs(e.Task) {
		if u == e.Other {
			return // known
		}
	}
	k.extra.add(e.Task, e.Other)
	rw := &k.rows[e.Other]
	if k.Phase(e.Task) != Done {
		k.setWaits(e.Other, int32(k.WaitsFor(e.Other))+1)
	}
	k.pol.Observe(&k.State, e)
	if k.WaitsFor(e.Other) > 0 && rw.phase == Ready {
		k.unready(e.Other, rw, Blocked, Dependency)
		if rw.ready == k.now && rw.first == Never { // it came with this edge: it has not been ready yet
			rw.ready = Never
		}
	}
}

// profile takes in what a sampler saw: use by others lowers the room, nothing raises it.
func (k *Kernel) profile(e *Event) {
	if e.More == nil || e.More.Profile == nil || e.Node < 0 || int(e.Node) >= k.room.Len() {
		k.refused++
		return
	}
	for len(k.profiles) < k.room.Len() {
		k.profiles = append(k.profiles, nodeProfile{})
	}
	p := &k.profiles[e.Node]
	if p.set && e.More.Profile.SampledAt < p.SampledAt {
		k.late++
		return
	}
	next := *e.More.Profile
	next.OtherCPU, next.OtherMem = min(max(next.OtherCPU, 0), Unlimited), min(max(next.OtherMem, 0), Unlimited)
	if !(next.GPULoad > 0) { // not a number
		next.GPULoad = 0
	}
	next.GPULoad = min(next.GPULoad, 1)
	next.OtherGPUs &= k.room.nodes[e.Node].all()
	k.room.occupy(e.Node, next.OtherCPU-p.OtherCPU, next.OtherMem-p.OtherMem)
	k.room.occupyGPUs(e.Node, next.OtherGPUs&^p.OtherGPUs, p.OtherGPUs&^next.OtherGPUs)
	*p = nodeProfile{next, true}
	k.pol.Observe(&k.State, *e)
}

// quotas bounds what tenants and queues hold.
type quotas struct {
	tenant, queue   map[string]*quotaUse
	tenants, queues []*quotaUse // the same by number; nil where none has been looked up
	cohorts         []*cohort   // nil where nobody lends
}

type quotaUse struct {
	Quota
	CPU, GPU, Tasks int64 // in use

	with    *cohort               // that it lends to and borrows from; nil if it does not
	waiting [quotaResources]int64 // what its ready tasks ask for; only with a cohort
}

func (k *Kernel) setQuota(q Quota) {
	if k.quotas == nil {
		k.quotas = &quotas{tenant: map[string]*quotaUse{}, queue: map[string]*quotaUse{}}
		for i := k.ring[0].next; i != 0; i = k.ring[i].next {
			k.quotas.take(k.tb, k.runs[i].task, k.Demand(k.runs[i].task))
		}
	}
	if q.Tenant != "" {
		k.quotas.of(k.quotas.tenant, q.Tenant).Quota = q
	} else {
		k.quotas.of(k.quotas.queue, q.Queue).Quota = q
	}
	k.regroup()
}

func (q *quotas) of(m map[string]*quotaUse, name string) *quotaUse {
	u := m[name]
	if u == nil {
		u = &quotaUse{Quota: Quota{CPU: -1, GPUMilli: -1}}
		m[name] = u
	}
	return u
}

func (q *quotas) both(tb *Table, t TaskID) [2]*quotaUse {
	c := tb.ClassOf(t)
	return [2]*quotaUse{q.at(&q.tenants, q.tenant, tb.Tenants, int(c.Tenant)), q.at(&q.queues, q.queue, tb.Queues, int(c.Queue))}
}

// at returns the entry of a tenant or a queue by its number, which it notes: a name is looked up once.
func (q *quotas) at(noted *[]*quotaUse, m map[string]*quotaUse, names []string, i int) *quotaUse {
	if uint(i) < uint(len(*noted)) && (*noted)[i] != nil {
		return (*noted)[i]
	}
	u := q.of(m, nameOf(names, i))
	if i >= 0 {
		if i >= len(*noted) {
			*noted = append(*noted, make([]*quotaUse, i+1-len(*noted))...)
		}
		(*noted)[i] = u
	}
	return u
}

func nameOf(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return ""
	}
	return names[i]
}

// allows reports whether t may hold its demand as well once the victims hold theirs no more.
func (q *quotas) allows(tb *Table, t TaskID, victims []TaskID) bool {
	for _, v := range victims {
		q.give(tb, v, tb.DemandOf(v))
		q.waits(tb, v, 1) // it is ready then, and nobody borrows what it asks for
	}
	d, ok := tb.DemandOf(t), true
	for _, u := range q.both(tb, t) {
		ok = ok && u.allows(d)
	}
	for _, v := range victims {
		q.take(tb, v, tb.DemandOf(v))
		q.waits(tb, v, -1)
	}
	return ok
}

func (q *quotas) take(tb *Table, t TaskID, d *Demand) {
	for _, u := range q.both(tb, t) {
		u.CPU += d.CPUTotal()
		u.GPU += d.GPUTotal()
		u.Tasks++
	}
}

func (q *quotas) give(tb *Table, t TaskID, d *Demand) {
	for _, u := range q.both(tb, t) {
		u.CPU -= d.CPUTotal()
		u.GPU -= d.GPUTotal()
		u.Tasks--
	}
}
