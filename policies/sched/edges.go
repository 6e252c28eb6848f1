package sched

import "slices"

// What tasks wait for: numbers of predecessors. A task that ends looks at each of its successors, wherever it stands, so the numbers lie close together,
// a byte each, and apart from the rows, which are looked at only of those successors that then wait for nothing more.

// manyPreds stands in State.pending for all numbers that a byte does not hold: those are in State.many.
const manyPreds = 127

// WaitsFor returns the number of predecessors of t that are not done (of a task that was dropped: that were not when it was); 0 while t has not
// arrived.
func (s *State) WaitsFor(t TaskID) int {
	if uint32(t) >= uint32(len(s.pending)) {
		return 0
	}
	if n := max(s.pending[t], -s.pending[t]); n < manyPreds {
		return int(n)
	}
	return int(s.many[t])
}

// growPending makes room for the numbers of the first n tasks.
func (s *State) growPending(n int) {
	if n <= len(s.pending) {
		return
	}
	s.pending = slices.Grow(s.pending, max(n, len(s.tb.Tasks))-len(s.pending))
	s.pending = append(s.pending, make([]int8, n-len(s.pending))...)
}

// setWaits notes that t, which is over or not, waits for n predecessors.
func (s *State) setWaits(t TaskID, n int32) {
	if n == 0 && int(t) >= len(s.pending) {
		return
	}
	s.growPending(len(s.rows))
	s.setPending(t, n)
	if s.rows[t].phase.Over() {
		s.pending[t] = -s.pending[t]
	}
}

// setPending notes that t, which is not over, waits for n predecessors.
func (s *State) setPending(t TaskID, n int32) {
	if n < manyPreds {
		if s.many != nil {
			delete(s.many, t)
		}
		s.pending[t] = int8(n)
		return
	}
	if s.many == nil {
		s.many = map[TaskID]int32{}
	}
	s.pending[t], s.many[t] = manyPreds, n
}

// countPreds notes what the tasks first..end-1, which arrive, wait for. None of them is done.
func (k *Kernel) countPreds(first, end int) {
	k.growPending(end)
	off, pending := k.tb.PredOff[first:end+1], k.pending[first:end]
	if k.over == k.undone { // nobody is done
		for i := range pending {
			if n := off[i+1] - off[i]; n < manyPreds {
				pending[i] = int8(n)
			} else {
				k.setPending(TaskID(first+i), n)
			}
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
		k.setPending(TaskID(first+i), n)
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

// countDone takes a done task off what its successors wait for, all of them before anyone is told.
func (k *Kernel) countDone(t TaskID) {
	k.freed = k.freed[:0]
	k.lessOne(k.tb.Succs(t))
	if k.extra.succ != nil {
		k.lessOne(k.extra.succ[t])
	}
}

func (k *Kernel) lessOne(succs []TaskID) {
	i, end := len(k.freed), len(k.freed)+len(succs)
	if end > cap(k.freed) {
		k.freed = slices.Grow(k.freed, len(succs))
	}
	freed, pending := k.freed[:end], k.pending
	for _, u := range succs {
		// One that is not there has not arrived; one that waits for nothing has not arrived either, or is over.
		at := uint(u)
		if at >= uint(len(pending)) {
			continue
		}
		left := uint8(pending[at]) - 1
		if left >= manyPreds-1 { // it waited for nothing, or is over, or its number stands apart
			if left == manyPreds-1 {
				k.setPending(u, k.many[u]-1)
			}
			continue
		}
		// Whether it was the last is not asked in a branch: it would be guessed wrong too often.
		pending[at], freed[i] = int8(left), u
		last := 0
		if left == 0 {
			last = 1
		}
		i += last
	}
	k.freed = freed[:i]
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
