package sched

import (
	"fmt"
	"slices"
)

// sampleInvariants checks after every step while there are few tasks, and with many tasks now and then, so that the walk costs each step about
// the same.
func (k *Kernel) sampleInvariants() {
	const few = 2000
	if k.sinceCheck++; len(k.rows) <= few || k.sinceCheck >= len(k.rows)/8 {
		k.sinceCheck = 0
		k.checkInvariants()
	}
}

// checkInvariants panics where the kernel's own books disagree: built in with -tags invariants, which the tests use. It costs a walk
// over all tasks and nodes a Step.
func (k *Kernel) checkInvariants() {
	var ready, running, blocked, claims, open, over int
	waits := map[TaskID]int32{}
	var last Time
	for i, first := k.ring[0].next, true; i != 0; i = k.ring[i].next {
		r := &k.runs[i]
		if !k.rows[r.task].phase.holds() || k.rows[r.task].at != i {
			panic(fmt.Sprintf("task %d: slot %d holds it, its row says %d", r.task, i, k.rows[r.task].at))
		}
		if r.claimant != Nobody {
			waits[r.claimant]++
			if k.rows[r.task].phase != Stopping {
				panic(fmt.Sprintf("task %d is a victim and %v", r.task, k.rows[r.task].phase))
			}
		}
		if k.rows[r.task].phase == Claiming {
			continue
		}
		if !first && r.start < last {
			panic(fmt.Sprintf("task %d started at %d, after one that started at %d in the ring", r.task, r.start, last))
		}
		first, last = false, r.start
	}
	for t := range k.rows {
		rw := &k.rows[t]
		switch {
		case rw.phase.Over():
			over++
		case rw.phase != Unknown:
			open++
		}
		switch rw.phase {
		case Ready:
			ready++
		case Running, Stopping:
			running++
		case Blocked:
			blocked++
		case Claiming:
			claims++
			if n := k.runs[rw.at].wait; n != waits[TaskID(t)] || n == 0 {
				panic(fmt.Sprintf("task %d claims from %d victims, %d know of it", t, n, waits[TaskID(t)]))
			}
			delete(waits, TaskID(t))
		}
		if rw.phase.holds() && k.runs[rw.at].task != TaskID(t) {
			panic(fmt.Sprintf("task %d: phase %v with the slot of task %d", t, rw.phase, k.runs[rw.at].task))
		}
		left := 0
		for p := range k.Preds(TaskID(t)) {
			if k.Phase(p) != Done {
				left++
			}
		}
		if got := k.WaitsFor(TaskID(t)); rw.phase == Ready && got > 0 || rw.phase != Unknown && !rw.phase.Over() && got != left || rw.phase == Unknown && got != 0 {
			panic(fmt.Sprintf("task %d is %v and waits for %d, counted %d", t, rw.phase, got, left))
		}
	}
	if len(waits) > 0 {
		panic(fmt.Sprintf("victims of tasks that claim nothing: %v", waits))
	}
	if k.quotas != nil {
		k.checkQuotas()
	}
	if k.holders != nil {
		fresh := State{room: k.room, runs: k.runs, ring: k.ring, gangs: k.gangs}
		for n := range k.holders {
			if !slices.Equal(k.holders[n], fresh.Holders(NodeID(n))) {
				panic(fmt.Sprintf("node %d: holders %v, recount %v", n, k.holders[n], fresh.holders[n]))
			}
		}
	}
	if open != k.open || over != k.over {
		panic(fmt.Sprintf("%d tasks are open and %d over, counted %d and %d", open, over, k.open, k.over))
	}
	if ready != k.ready || running != k.running || blocked != k.blocked || claims != k.claims {
		panic(fmt.Sprintf("counts: ready %d/%d running %d/%d blocked %d/%d claims %d/%d", ready, k.ready, running, k.running, blocked, k.blocked, claims, k.claims))
	}
	fresh := NewRoom(k.room.specs, k.room.demands)
	for i := range k.room.nodes {
		if !k.room.nodes[i].up {
			fresh.setUp(NodeID(i), false)
		}
		if i < len(k.profiles) {
			fresh.occupy(NodeID(i), k.profiles[i].OtherCPU, k.profiles[i].OtherMem)
			fresh.occupyGPUs(NodeID(i), k.profiles[i].OtherGPUs, 0)
		}
	}
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		r := &k.runs[i]
		need := &k.Demand(r.task).Need
		for _, p := range k.on(r) {
			fresh.Take(need, p)
		}
	}
	if k.room.byCores {
		fresh.indexCores()
		if id := k.room.stray; id != NoNode && k.room.Up(id) { // it is where it was
			n := &fresh.nodes[id]
			fresh.cpuIdx.move(int(id), int(n.cores), int(k.room.nodes[id].cores))
			n.cores = k.room.nodes[id].cores
		}
	}
	for i := range fresh.nodes {
		fresh.nodes[i].unsettled = k.room.nodes[i].unsettled
		if fresh.nodes[i] != k.room.nodes[i] {
			panic(fmt.Sprintf("node %d: ledger %+v, recount %+v", i, k.room.nodes[i], fresh.nodes[i]))
		}
		if n := &k.room.nodes[i]; claims == 0 && k.profiles == nil && n.up && (n.cpu < 0 || n.mem < 0 || n.gpus < 0) {
			panic(fmt.Sprintf("node %d is overbooked: %+v", i, *n))
		}
	}
	for _, x := range []struct {
		what        string
		fresh, kept *levels
	}{{"GPU", &fresh.gpuIdx, &k.room.gpuIdx}, {"CPU", &fresh.cpuIdx, &k.room.cpuIdx}} {
		if !slices.Equal(x.fresh.flat, x.kept.flat) || !slices.Equal(x.fresh.sums, x.kept.sums) || x.fresh.highest() > x.kept.top {
			panic(fmt.Sprintf("the index by free %ss differs from a recount", x.what))
		}
	}
	if !slices.Equal(fresh.shares, k.room.shares) {
		panic("the set of nodes with room for a share differs from a recount")
	}
	if fresh.usedGPUMilli != k.room.usedGPUMilli || fresh.usedCPU != k.room.usedCPU {
		panic("sums of booked room differ")
	}
}

// checkQuotas recounts what tenants and queues hold.
func (k *Kernel) checkQuotas() {
	fresh := &quotas{tenant: map[string]*quotaUse{}, queue: map[string]*quotaUse{}}
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		fresh.take(k.tb, k.runs[i].task, k.Demand(k.runs[i].task))
	}
	for _, pair := range [2][2]map[string]*quotaUse{{k.quotas.tenant, fresh.tenant}, {k.quotas.queue, fresh.queue}} {
		for name, u := range pair[0] {
			if v := fresh.of(pair[1], name); u.CPU != v.CPU || u.GPU != v.GPU || u.Tasks != v.Tasks {
				panic(fmt.Sprintf("quota %q: %+v, recount %+v", name, *u, *v))
			}
		}
	}
	var waiting [][quotaResources]int64
	for _, c := range k.quotas.cohorts {
		for _, m := range c.members {
			waiting = append(waiting, m.waiting)
		}
	}
	k.regroup()
	for _, c := range k.quotas.cohorts {
		for _, m := range c.members {
			if m.waiting != waiting[0] {
				panic(fmt.Sprintf("quota %+v: %v wait, recount %v", m.Quota, waiting[0], m.waiting))
			}
			waiting = waiting[1:]
		}
	}
}
