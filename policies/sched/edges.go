package sched

import "slices"

// What tasks wait for: numbers of predecessors. A task that ends looks at each of its successors, wherever it stands, so the numbers lie close together
// and apart from the rows, which are looked at only of those successors that then wait for nothing more.

// WaitsFor returns the number of predecessors of t that are not done (of a task that was dropped: that were not when it was); 0 while t has not
// arrived.
func (s *State) WaitsFor(t TaskID) int {
	if uint32(t) >= uint32(len(s.pending)) {
		return 0
	}
	return int(max(s.pending[t], -s.pending[t]))
}

// growPending makes room for the numbers of the first n tasks.
func (s *State) growPending(n int) {
	if n <= len(s.pending) {
		return
	}
	s.pending = slices.Grow(s.pending, max(n, len(s.tb.Tasks))-len(s.pending))
	s.pending = append(s.pending, make([]int32, n-len(s.pending))...)
}

// setWaits notes that t, which is over or not, waits for n predecessors.
func (s *State) setWaits(t TaskID, n int32) {
	if n == 0 && int(t) >= len(s.pending) {
		return
	}
	s.growPending(len(s.rows))
	if s.rows[t].phase.Over() {
		n = -n
	}
	s.pending[t] = n
}

// countPreds notes what the tasks first..end-1, which arrive, wait for. None of them is done.
func (k *Kernel) countPreds(first, end int) {
	k.growPending(end)
	off, pending := k.tb.PredOff[first:end+1], k.pending[first:end]
	if k.over == k.undone { // nobody is done
		for i := range pending {
			pending[i] = off[i+1] - off[i]
		}
		return
	}
	for i := range pending {
		n := off[i+1] - off[i]
		for _, p := range k.tb.Pred[off[i]:off[i+1]] {
			if (int(p) < first || int(p) >= end) && k.Phase(p) == Done {
				n--
			}
		}
		pending[i] = n
	}
}

// lostPred reports whether t, which waits for something, comes after a task that is over and will never be done.
func (k *Kernel) lostPred(t TaskID) bool {
	if k.undone == 0 {
		return false
	}
	for _, p := range k.tb.Preds(t) {
		if ph := k.Phase(p); ph.Over() && ph != Done {
			return true
		}
	}
	return false
}

// dropWaits takes in that a task is over and not done: what it waits for is not counted any more.
func (k *Kernel) dropWaits(t TaskID) {
	k.undone++
	if int(t) < len(k.pending) {
		k.pending[t] = -k.pending[t]
	}
}

// Foresee looks at what the reports will need that these tasks, which run, are done, and returns nothing of meaning. What is known of tasks that have run for
// long, and of their successors, is not at hand: a driver that knows which ends are next lets the misses of the cache happen together here, and not one after
// the other, each behind a decision.
func (k *Kernel) Foresee(tasks []TaskID) (x int64) {
	for _, t := range tasks {
		r := &k.runs[k.rows[t].at]
		x += int64(r.start) + int64(r.on[0].Node)
	}
	if len(k.pending) == 0 || k.tb.SuccOff == nil {
		return x
	}
	off := k.tb.SuccOff
	for _, t := range tasks {
		x += int64(off[t])
	}
	// Which of their successors wait for one of them alone is not asked in a branch: it would be guessed wrong half the times.
	n, pending := 0, k.pending
	for _, t := range tasks {
		succs := k.tb.Succ[off[t]:off[t+1]]
		if more := n + len(succs) - len(k.freed); more > 0 {
			k.freed = slices.Grow(k.freed[:n], len(succs)+64)[:n+len(succs)]
		}
		freed := k.freed
		for _, u := range succs {
			if uint32(u) >= uint32(len(pending)) {
				continue
			}
			freed[n] = u
			one := 0
			if pending[u] == 1 {
				one = 1
			}
			n += one
		}
	}
	ready := k.freed[:n]
	for _, u := range ready {
		x += int64(k.rows[u].since)
	}
	if p, ok := k.pol.(Foreseer); ok {
		x += p.Foresee(&k.State, ready)
	}
	return x
}

// Foreseer is a Policy that keeps something of each task and looks at it when some become ready: Foresee lets it do so for many together, shortly before
// they do. It changes nothing, and returns nothing of meaning; see Kernel.Foresee. It may be left out.
type Foreseer interface {
	Policy
	Foresee(s *State, tasks []TaskID) int64
}

// countDone takes a done task off what its successors wait for, all of them before anyone is told.
func (k *Kernel) countDone(t TaskID) {
	k.freed = k.freed[:0]
	k.lessOne(k.tb.Succs(t))
	if k.extra.succ != nil {
		k.lessOne(k.extra.succ[t])
	}
}

func (k *Kernel) lessOne(succs []TaskID) {
	pending := k.pending
	for _, u := range succs {
		// One that is not there has not arrived; one that waits for nothing has not arrived either, or is over.
		if uint32(u) >= uint32(len(pending)) || pending[u] <= 0 {
			continue
		}
		if pending[u]--; pending[u] == 0 {
			k.freed = append(k.freed, u)
		}
	}
}

// unblock makes those successors of t ready that countDone found to wait for nothing more.
func (k *Kernel) unblock(t TaskID) {
	for _, u := range k.freed {
		rw := &k.rows[u]
		if rw.phase != Blocked {
			continue // held
		}
		if k.waits.last != nil {
			k.waits.last[u] = t
		}
		k.makeReady(u, rw, Order)
	}
}

// Soon returns the ready tasks that the policy will probably start next, where it has told so in the last Step: a driver that keeps something of each
// task may have a look at it. Valid until the next Step.
func (k *Kernel) Soon() []TaskID { return k.soon }
