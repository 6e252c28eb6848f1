package sched

// How tasks take room: starts, claims, and the slots of those that hold some.

import (
	"slices"
	"time"
)

// stage notes how long after its start an attempt waits, holding its room, for what its predecessors send and for its own input.
func (k *Kernel) stage(t TaskID, slot int32) {
	if int(slot) >= len(k.staging) {
		k.staging = append(k.staging, make([]time.Duration, len(k.runs)-len(k.staging))...)
	}
	r := &k.runs[slot]
	at := r.start
	for _, p := range k.on(r) {
		at = max(at, r.start.Add(k.InputTime(t, p.Node)))
		if k.tb.EdgeBytes != nil {
			at = max(at, k.Sent(t, p.Node))
		}
	}
	k.staging[slot] = at.Sub(r.start)
}

// slot returns a free slot of runs.
func (k *Kernel) slot() int32 {
	n := len(k.free)
	if n == 0 {
		return k.newSlot()
	}
	i := k.free[n-1]
	k.free = k.free[:n-1]
	return i
}

func (k *Kernel) newSlot() int32 {
	if len(k.runs) == cap(k.runs) { // their placements move with them; orders that are out keep the old ones
		k.runs = slices.Grow(k.runs, len(k.runs))
	}
	k.runs, k.ring = append(k.runs, run{}), append(k.ring, link{})
	return int32(len(k.runs) - 1)
}

// put notes the placements of a slot that has none.
func (k *Kernel) put(r *run, on []Placement) {
	if len(on) == 1 {
		r.one[0] = on[0]
		return
	}
	n := len(k.noGangs) - 1
	if n < 0 {
		n = k.moreGangs() - 1
	}
	r.gang, k.noGangs = k.noGangs[n], k.noGangs[:n]
	all := k.gangs[r.gang][:0]
	if cap(all) < len(on) {
		all = make([]Placement, 0, len(on))
	}
	k.gangs[r.gang] = append(all, on...)
	if len(on) > 0 {
		r.one[0] = on[0]
	}
}

// moreGangs doubles the lists for placements of gangs, and returns how many are unused.
func (k *Kernel) moreGangs() int {
	const each = 4 // placements, for a start
	if len(k.gangs) == 0 {
		k.gangs = make([][]Placement, 1)
	}
	more := max(len(k.gangs), 8)
	all := make([]Placement, more*each)
	for range more {
		k.noGangs = append(k.noGangs, int32(len(k.gangs)))
		k.gangs, all = append(k.gangs, all[:0:each]), all[each:]
	}
	return more
}

// disband takes the placements of a slot away.
func (k *Kernel) disband(r *run) {
	if r.gang != 0 {
		k.noGangs = append(k.noGangs, r.gang)
		r.gang = 0
	}
}

// link puts a slot at the end of the ring, unlink takes it out.
func (k *Kernel) link(i int32) {
	last := k.ring[0].prev
	k.ring[i] = link{last, 0}
	k.ring[last].next = i
	k.ring[0].prev = i
}

func (k *Kernel) unlink(i int32) {
	l := k.ring[i]
	k.ring[l.prev].next, k.ring[l.next].prev = l.next, l.prev
}

// start carries out Start (victims nil) and Claim.
func (k *Kernel) start(t TaskID, on []Placement, victims []TaskID) bool {
	rw := k.startable(t)
	if rw == nil {
		return false
	}
	dem := k.tb.Classes[rw.class].Demand
	if len(victims) > 0 && len(on) == 1 && k.quotas == nil {
		if p, ok := k.claimOne(dem, on[0], victims); ok {
			i := k.slot()
			r := &k.runs[i]
			r.one[0] = p
			k.occupy(t, rw, r, dem, i)
			k.claim(t, rw, r, victims)
			return true
		}
	}
	d := &k.tb.Demands[dem]
	var gang int32
	for _, p := range on {
		gang += p.Replicas
	}
	if gang != d.Gang {
		return false
	}
	for i, v := range victims {
		if k.Phase(v) != Running || slices.Contains(victims[:i], v) {
			return false
		}
	}
	if k.quotas != nil && !k.quotas.allows(k.tb, t, victims) {
		k.round.Skip(t, Order)
		return false
	}
	// Victims' room counts as free while the placements are checked and booked; afterwards it is booked twice until they stop.
	for _, v := range victims {
		k.bookAll(v, -1)
	}
	placed := k.placed[:0]
	for _, p := range on {
		if p.GPUs == 0 && d.Need.GPUs > 0 && p.Node >= 0 && int(p.Node) < k.room.Len() {
			p.GPUs = k.room.devices(&d.Need, p.Node, p.Replicas)
		}
		if !k.room.fits(dem, p) {
			for _, q := range placed {
				k.room.Give(&d.Need, q)
			}
			k.placed = placed[:0]
			for _, v := range victims {
				k.bookAll(v, 1)
			}
			return false
		}
		k.room.Take(&d.Need, p)
		placed = append(placed, p)
	}
	k.placed = placed[:0]
	i := k.slot()
	r := &k.runs[i]
	k.put(r, placed)
	k.occupy(t, rw, r, dem, i)
	if len(victims) == 0 {
		k.run(t, rw, r)
		return true
	}
	for _, v := range victims {
		k.bookAll(v, 1)
	}
	k.claim(t, rw, r, victims)
	return true
}

// claimOne books the room of a claim in one step, where it and its victims, which run, hold whole GPUs of one node, or CPUs of it, and nothing else. It reports
// false, and nothing happens, where it is otherwise.
func (k *Kernel) claimOne(dem DemandID, p Placement, victims []TaskID) (Placement, bool) {
	plan := k.room.plan(dem)
	if plan.whole == 0 || p.Replicas != 1 || p.GPUs != 0 || uint32(p.Node) >= uint32(len(k.room.nodes)) {
		return p, k.claimCores(dem, plan, p, victims)
	}
	var held Devices
	for _, v := range victims {
		vr := k.runsOnOne(v)
		if vr == nil || vr.one[0].Node != p.Node || held&vr.one[0].GPUs != 0 || k.room.plan(vr.demand).whole == 0 {
			return p, false
		}
		held |= vr.one[0].GPUs
	}
	p.GPUs = k.room.claimWhole(plan, p.Node, held)
	return p, p.GPUs != 0
}

func (k *Kernel) claimCores(dem DemandID, plan *plan, p Placement, victims []TaskID) bool {
	if plan.cores <= 0 || p.Replicas != k.tb.Demands[dem].Gang || p.GPUs != 0 || uint32(p.Node) >= uint32(len(k.room.nodes)) {
		return false
	}
	n := &k.room.nodes[p.Node]
	free := n.cpu
	for i, v := range victims {
		vr := k.runsOnOne(v)
		if vr == nil || vr.one[0].Node != p.Node || slices.Contains(victims[:i], v) {
			return false
		}
		cores := k.room.plan(vr.demand).cores
		if cores <= 0 {
			return false
		}
		free += cores
	}
	if !n.up || !plan.kinds.has(int(p.Node)) || free < plan.cores {
		return false
	}
	k.room.takeCores(p.Node, plan.cores)
	return true
}

// runsOnOne returns the slot of a task that runs on one node, else nil.
func (k *Kernel) runsOnOne(t TaskID) *run {
	if uint32(t) < uint32(len(k.rows)) && k.rows[t].phase == Running {
		if r := &k.runs[k.rows[t].at]; r.gang == 0 {
			return r
		}
	}
	return nil
}

// claim notes whom a claim waits for, and orders them to stop.
func (k *Kernel) claim(t TaskID, rw *row, r *run, victims []TaskID) {
	r.wait = int32(len(victims))
	rw.phase = Claiming
	k.claims++
	for _, v := range victims {
		vw := &k.rows[v]
		k.runs[vw.at].claimant = t
		vw.flags |= flagEvict
		k.stop(v, vw)
	}
}

// occupy notes that a task, which was ready, holds the room that was booked for a slot.
func (k *Kernel) occupy(t TaskID, rw *row, r *run, dem DemandID, slot int32) {
	k.link(slot)
	r.task, r.demand, r.claimant, r.was, rw.at = t, dem, Nobody, NodeID(rw.at), slot
	k.noteHolder(r)
	k.ready--
	if k.quotas != nil {
		k.quotas.take(k.tb, t, &k.tb.Demands[dem])
		k.quotas.waits(k.tb, t, -1)
	}
}

// startFirst starts t where first fit finds room. What first fit finds need not be checked again.
func (k *Kernel) startFirst(t TaskID) bool {
	rw := k.startable(t)
	if rw == nil {
		return false
	}
	dem := k.tb.Classes[rw.class].Demand
	plan := k.room.plan(dem)
	if plan.whole > 0 && k.quotas == nil && plan.split == nil {
		n := k.room.gpuIdx.first(plan.level, plan.kinds)
		if n == NoNode {
			return false
		}
		k.startFitting(t, rw, dem, plan, n)
		return true
	}
	d, n := &k.tb.Demands[dem], NodeID(0)
	switch {
	case k.quotas != nil || d.Gang > 1 && (len(k.room.nodes) > 1 || d.Need.share()):
		on, ok := k.room.FirstFit(dem, k.first[:0])
		k.first = on[:0]
		if ok {
			k.start(t, on, nil)
		}
		return ok
	case len(k.room.nodes) > 1 || d.Need.share():
		if n = k.room.firstNode(&d.Need, plan); n == NoNode {
			return false
		}
	case !k.room.holds(d, plan, 0): // a pool
		return false
	}
	k.startFitting(t, rw, dem, plan, n)
	return true
}

// startOn starts t on one node, if it fits there. Like finished it is not to be inlined.
//
//go:noinline
func (k *Kernel) startOn(t TaskID, n NodeID) bool {
	rw := k.startable(t)
	if rw == nil || uint32(n) >= uint32(len(k.room.nodes)) {
		return false
	}
	dem := k.tb.Classes[rw.class].Demand
	d := &k.tb.Demands[dem]
	if k.quotas != nil || d.Need.share() {
		k.first = append(k.first[:0], Placement{Node: n, Replicas: d.Gang})
		return k.start(t, k.first, nil)
	}
	plan := k.room.plan(dem)
	if !k.room.holds(d, plan, n) {
		return false
	}
	k.startFitting(t, rw, dem, plan, n)
	return true
}

// startable returns the row of a task that is ready, else nil.
func (k *Kernel) startable(t TaskID) *row {
	if i := uint(t); i < uint(len(k.rows)) { // a negative one is a large one
		if rw := &k.rows[i]; rw.phase == Ready {
			return rw
		}
	}
	return nil
}

// startFitting starts t, which is ready and which no quota holds back, on a node on which all of it is known to fit.
func (k *Kernel) startFitting(t TaskID, rw *row, dem DemandID, plan *plan, n NodeID) {
	i := k.slot()
	r := &k.runs[i]
	p := Placement{Node: n, Replicas: 1}
	switch {
	case plan.whole > 0:
		p.GPUs = k.room.takeGPUs(plan.whole, n)
	case plan.cores > 0:
		p.Replicas = k.tb.Demands[dem].Gang
		k.room.takeCores(n, plan.cores)
	default:
		p = k.takeFitting(&k.tb.Demands[dem], plan, n)
	}
	r.one[0] = p
	k.link(i)
	r.task, r.demand, r.claimant, r.was, rw.at = t, dem, Nobody, NodeID(rw.at), i
	if k.holders != nil {
		k.addHolder(r)
	}
	k.ready--
	k.run(t, rw, r)
}

// takeFitting books all of a demand on a node, which is not for whole GPUs or cores alone.
func (k *Kernel) takeFitting(d *Demand, plan *plan, n NodeID) Placement {
	p := Placement{Node: n, Replicas: d.Gang}
	switch {
	case d.Gang == 1 && plan.gpu:
		p.GPUs = k.room.takeWhole(&d.Need, n)
	default:
		p.GPUs = k.room.devices(&d.Need, n, d.Gang)
		k.room.Take(&d.Need, p)
	}
	return p
}

// bookAll books what a task holds once more (sign 1), or gives it back (-1).
func (k *Kernel) bookAll(t TaskID, sign int64) {
	r := &k.runs[k.rows[t].at]
	need := &k.tb.Demands[r.demand].Need
	for _, p := range k.on(r) {
		k.room.book(need, p, sign)
	}
}

// run orders the start of a task whose room is booked.
func (k *Kernel) run(t TaskID, rw *row, r *run) {
	if rw.since != k.now {
		k.closeWait(t, rw)
	}
	rw.attempt++
	rw.phase = Running
	rw.flags &^= flagEvict | flagLost
	if rw.first == Never {
		rw.first = k.now
	}
	r.start, r.wait, r.kept = k.now, 0, 0
	if rw.attempt > 1 {
		r.kept = k.keptOf(t)
	}
	r.est = notAsked
	if k.tb.EdgeBytes != nil || k.tb.Data != nil {
		k.stage(t, rw.at)
	}
	k.running++
	c := more(&k.cmds) // written in place: this is the order that is given most
	c.Kind, c.Cause, c.Task, c.Attempt, c.Queue, c.Replicas, c.On = Start, 0, t, rw.attempt, 0, 0, k.on(r)
}

// startClaim orders the start of a claim whose room is free.
func (k *Kernel) startClaim(t TaskID) {
	rw := &k.rows[t]
	if rw.phase != Claiming || k.runs[rw.at].wait > 0 {
		return
	}
	k.claims--
	k.unlink(rw.at) // the ring is in the order of start, and a claim starts now
	k.link(rw.at)
	k.run(t, rw, &k.runs[rw.at])
	k.pol.Observe(&k.State, Event{Kind: Started, Task: t, Attempt: rw.attempt, Node: NoNode})
}

// undoClaim gives a claim's room back and makes its task ready again.
func (k *Kernel) undoClaim(t TaskID) {
	rw := &k.rows[t]
	if k.quotas != nil {
		k.quotas.give(k.tb, t, k.Demand(t))
	}
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		if k.runs[i].claimant == t {
			k.runs[i].claimant = Nobody
		}
	}
	r := &k.runs[rw.at]
	k.leave(rw, r, k.room.plan(r.demand), r.was)
	k.claims--
	k.makeReady(t, rw, rw.cause)
}
