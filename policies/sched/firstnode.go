package sched

import "math/bits"

// FirstNode returns the first node on which one replica of the demand fits now, or NoNode: the node that FirstFit finds for a gang of one.
func (r *Room) FirstNode(d DemandID) NodeID {
	need := &(*r.demands)[d].Need
	set, sum := r.roomy(need)
	w := sum.next(0, r.words)
	if w >= r.words {
		return NoNode // the usual case under load: what kinds of nodes would do need not be looked up
	}
	for kinds := r.kinds(d); w < r.words; w = sum.next(w+1, r.words) {
		for cand := set[w] & kinds[w]; cand != 0; cand &= cand - 1 {
			if id := NodeID(w<<6 + bits.TrailingZeros64(cand)); r.fitsOn(need, id, 1) == 1 {
				return id
			}
		}
	}
	return NoNode
}
