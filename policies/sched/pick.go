package sched

import (
	"math"
	"math/bits"
)

// Pick returns, of the first limit nodes on which one replica fits, in node order, that with the largest score, the lowest-numbered of equals;
// NoNode where it fits nowhere. limit <= 0 means all: then top must hold the largest score of each 64 nodes, so that nodes behind better
// ones are not looked at.
func (r *Room) Pick(d DemandID, limit int, score, top []int64) NodeID {
	need, kinds := &(*r.demands)[d].Need, r.kinds(d)
	set, sum := r.roomy(need)
	best, most := NoNode, int64(math.MinInt64)
	if limit <= 0 {
		for w := sum.next(0, r.words); w < r.words; w = sum.next(w+1, r.words) {
			if top[w] <= most {
				continue
			}
			for cand := set[w] & kinds[w]; cand != 0; cand &= cand - 1 {
				id := NodeID(w<<6 + bits.TrailingZeros64(cand))
				if score[id] > most && r.fitsOn(need, id, 1) == 1 {
					best, most = id, score[id]
				}
			}
		}
		return best
	}
	for w := sum.next(0, r.words); w < r.words; w = sum.next(w+1, r.words) {
		for cand := set[w] & kinds[w]; cand != 0; cand &= cand - 1 {
			id := NodeID(w<<6 + bits.TrailingZeros64(cand))
			if r.fitsOn(need, id, 1) != 1 {
				continue
			}
			if score[id] > most {
				best, most = id, score[id]
			}
			if limit--; limit == 0 {
				return best
			}
		}
	}
	return best
}
