package sched

import (
	"cmp"
	"maps"
	"slices"
)

// Borrowing. The tenants (or the queues) of one cohort lend each other what they do not use, as the ClusterQueues of a Kueue cohort do
// (kueue.sigs.k8s.io/docs/concepts/cluster_queue): nominalQuota is Quota.CPU and GPUMilli, borrowingLimit the Borrow fields, reclaimWithinCohort
// Quota.Reclaim. For each resource, with u what a tenant's tasks hold, n its nominal quota and w what its ready tasks ask for:
//
//	within its own:  u + d <= n       and  sum(u) + d <= sum(n)
//	borrowing:       u + d <= n + b   and  sum(u) + d + sum over the others of max(0, min(n - u, w)) <= sum(n)
//
// So nobody borrows what an owner's ready tasks ask for: as borrowers end, the owner gets its own back. With Reclaim it does not wait for their ends:
// the kernel orders tasks of borrowers to stop before the policy decides, those of the lowest priority first, of equals the last started, until
// what the owner's tasks ask for is covered. That frees quota, not the room on a certain node: where the owner's tasks go is the policy's
// decision. Unlike Kueue, which looks at the head of each queue, all ready tasks of an owner count, but for those that ask for more than its nominal quota.
type cohort struct {
	members []*quotaUse // by name
}

// The two resources of quotas.
const (
	quotaCPU = iota
	quotaGPU
	quotaResources
)

func (u *quotaUse) nominal(r int) int64 {
	if r == quotaCPU {
		return u.Quota.CPU
	}
	return u.GPUMilli
}

func (u *quotaUse) used(r int) int64 {
	if r == quotaCPU {
		return u.CPU
	}
	return u.GPU
}

func (u *quotaUse) borrow(r int) int64 {
	if r == quotaCPU {
		return u.BorrowCPU
	}
	return u.BorrowGPUMilli
}

func askedFor(d *Demand, r int) int64 {
	if r == quotaCPU {
		return d.CPUTotal()
	}
	return d.GPUTotal()
}

// unmet returns what the ready tasks of u ask for of its nominal quota, and do not have.
func (u *quotaUse) unmet(r int) int64 {
	return max(0, min(u.nominal(r)-u.used(r), u.waiting[r]))
}

// allows reports whether u may hold the demand as well.
func (u *quotaUse) allows(d *Demand) bool {
	if u.Quota.Tasks > 0 && u.Tasks+1 > u.Quota.Tasks {
		return false
	}
	for r := range quotaResources {
		n, want := u.nominal(r), askedFor(d, r)
		switch {
		case n < 0 || want == 0 && u.with != nil:
		case u.with == nil:
			if u.used(r)+want > n {
				return false
			}
		case !u.with.lends(u, r, want):
			return false
		}
	}
	return true
}

func (c *cohort) lends(u *quotaUse, r int, want int64) bool {
	var nominal, used, unmet int64
	for _, m := range c.members {
		if m.nominal(r) < 0 {
			continue
		}
		nominal += m.nominal(r)
		used += m.used(r)
		if m != u {
			unmet += m.unmet(r)
		}
	}
	if used+want > nominal {
		return false
	}
	over := u.used(r) + want - u.nominal(r)
	return over <= 0 || (u.borrow(r) < 0 || over <= u.borrow(r)) && used+want+unmet <= nominal
}

// regroup finds the cohorts anew after a quota was set, and counts what waits.
func (k *Kernel) regroup() {
	q := k.quotas
	q.cohorts = q.cohorts[:0]
	for _, m := range []map[string]*quotaUse{q.tenant, q.queue} {
		by := map[string]*cohort{}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			u := m[name]
			u.with, u.waiting = nil, [quotaResources]int64{}
			if u.Cohort == "" || u.Quota.CPU < 0 && u.GPUMilli < 0 {
				continue
			}
			c := by[u.Cohort]
			if c == nil {
				c = &cohort{}
				by[u.Cohort] = c
				q.cohorts = append(q.cohorts, c)
			}
			c.members = append(c.members, u)
			u.with = c
		}
	}
	if len(q.cohorts) == 0 {
		return
	}
	for t := range k.rows {
		if k.rows[t].phase == Ready {
			q.waits(k.tb, TaskID(t), 1)
		}
	}
}

// waits counts a task that has become ready (n = 1) or is it no more (-1).
func (q *quotas) waits(tb *Table, t TaskID, n int64) {
	if len(q.cohorts) == 0 {
		return
	}
	d := tb.DemandOf(t)
	for _, u := range q.both(tb, t) {
		if u.with == nil {
			continue
		}
		fits := true // what asks for more can only borrow
		for r := range quotaResources {
			fits = fits && (u.nominal(r) < 0 || askedFor(d, r) <= u.nominal(r))
		}
		if fits {
			for r := range quotaResources {
				u.waiting[r] += n * askedFor(d, r)
			}
		}
	}
}

// reclaim orders borrowers to stop where owners that take back what is theirs wait for it.
func (k *Kernel) reclaim() {
	for _, c := range k.quotas.cohorts {
		var short [quotaResources]int64
		wanted := false
		for r := range quotaResources {
			for _, m := range c.members {
				if m.nominal(r) < 0 {
					continue
				}
				short[r] += m.used(r) - m.nominal(r)
				if m.Reclaim {
					short[r] += m.unmet(r)
					wanted = wanted || m.unmet(r) > 0
				}
			}
		}
		if wanted && slices.Max(short[:]) > 0 {
			k.takeBack(c, short)
		}
	}
}

// takeBack orders tasks of borrowers to stop, until what stops covers what is short.
func (k *Kernel) takeBack(c *cohort, short [quotaResources]int64) {
	over := map[*quotaUse]*[quotaResources]int64{} // what each member borrows
	for _, m := range c.members {
		over[m] = &[quotaResources]int64{}
		for r := range quotaResources {
			if m.nominal(r) >= 0 {
				over[m][r] = m.used(r) - m.nominal(r)
			}
		}
	}
	member := func(t TaskID) *quotaUse {
		for _, u := range k.quotas.both(k.tb, t) {
			if u.with == c {
				return u
			}
		}
		return nil
	}
	leave := func(u *quotaUse, d *Demand) {
		for r := range quotaResources {
			short[r] -= askedFor(d, r)
			over[u][r] -= askedFor(d, r)
		}
	}
	var victims []TaskID
	for i := k.ring[0].prev; i != 0; i = k.ring[i].prev { // the last started first
		t := k.runs[i].task
		u := member(t)
		if u == nil {
			continue
		}
		switch k.rows[t].phase {
		case Stopping: // on its way already
			leave(u, k.Demand(t))
		case Running:
			victims = append(victims, t)
		}
	}
	slices.SortStableFunc(victims, func(a, b TaskID) int { return cmp.Compare(k.Class(a).Priority, k.Class(b).Priority) })
	for _, t := range victims {
		u, d := member(t), k.Demand(t)
		helps := false
		for r := range quotaResources {
			helps = helps || short[r] > 0 && over[u][r] > 0 && askedFor(d, r) > 0
		}
		if helps {
			k.evict(t)
			leave(u, d)
		}
	}
}
