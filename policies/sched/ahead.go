package sched

// Reads ahead of time: drivers and policies that know what comes next let the misses of the cache happen together. Nothing here changes anything.

import "slices"

// Foresee looks at what the reports will need that these tasks are done, which run or have run, and returns nothing of meaning. What is known of tasks that have run for
// long, and of their successors, is not at hand: a driver that knows which ends are next lets the misses of the cache happen together here, and not one after
// the other, each behind a decision.
func (k *Kernel) Foresee(tasks []TaskID) (x int64) {
	off := k.tb.SuccOff
	if len(k.pending) == 0 || off == nil {
		for _, t := range tasks {
			x += k.lookAt(t)
		}
		return x
	}
	// In short loops, so that the processor waits for many of the same kind at a time.
	most, rows := 0, k.rows
	for _, t := range tasks {
		most += int(off[t+1] - off[t])
		x += rows[t].touch()
	}
	succ, runs := k.tb.Succ, k.runs
	for _, t := range tasks {
		if at := off[t]; int(at) < len(succ) {
			x += int64(succ[at])
		}
		if at := rows[t].at; uint32(at) < uint32(len(runs)) { // else it does not run any more
			x += int64(runs[at].start)
		}
	}
	k.freed = slices.Grow(k.freed[:0], most)[:most]
	n := 0
	for _, t := range tasks {
		n = alone(succ[off[t]:off[t+1]], k.pending, k.freed, n)
	}
	ready := k.freed[:n]
	for _, u := range ready {
		x += rows[u].touch()
	}
	if p, ok := k.pol.(Foreseer); ok {
		x += p.Foresee(&k.State, ready)
	}
	return x
}

// alone notes those of some tasks that wait for one predecessor alone, from place n on, and returns where they end. It has room for all. Which they are is not asked in a
// branch: it would be guessed wrong half the times.
func alone(tasks []TaskID, pending []int8, found []TaskID, n int) int {
	for _, u := range tasks {
		at := uint(u)
		if at >= uint(len(pending)) {
			continue
		}
		found[n] = u
		one := 0
		if pending[at] == 1 {
			one = 1
		}
		n += one
	}
	return n
}

// lookAt reads what a report on a running task asks first.
func (k *Kernel) lookAt(t TaskID) int64 {
	rw := &k.rows[t]
	at := rw.at
	if uint32(at) >= uint32(len(k.runs)) {
		return 0 // it does not run any more
	}
	r := &k.runs[at]
	return int64(rw.phase) + int64(r.start) + int64(r.one[0].Node)
}

// touch reads both ends of a row, which may lie on two lines of the cache.
func (rw *row) touch() int64 { return int64(rw.phase) + int64(rw.first) }

// Foreseer is a Policy that keeps something of each task and looks at it when some become ready: Foresee lets it do so for many together, shortly before
// they do. It changes nothing, and returns nothing of meaning; see Kernel.Foresee. It may be left out.
type Foreseer interface {
	Policy
	Foresee(s *State, tasks []TaskID) int64
}

// Soon returns the ready tasks that the policy will probably start next, where it has told so in the last Step: a driver that keeps something of each
// task may have a look at it, and at what the kernel keeps with LookAt. Valid until the next Step.
func (k *Kernel) Soon() []TaskID { return k.soon }

// LookAt looks at what the start of a task needs, and returns nothing of meaning.
func (k *Kernel) LookAt(t TaskID) int64 { return k.rows[t].touch() }
