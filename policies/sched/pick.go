package sched

import (
	"math"
	"math/bits"
	"slices"
)

// Unrated is the score of a node that must be rated before it is compared.
const Unrated int64 = math.MinInt64

// Pick returns, of the first limit nodes in node order on which one replica fits, that with the largest score, the lowest-numbered of equals;
// NoNode where it fits nowhere. Where a score is Unrated it asks rate, which returns the score and may note it.
func (r *Room) Pick(d DemandID, limit int, score []int64, rate func(NodeID) int64) NodeID {
	need, p := &(*r.demands)[d].Need, r.plan(d)
	set, sum := r.roomy(p)
	cpu, mem, gpus := least(need.CPU), least(need.Mem), need.GPUs
	share := need.share()
	if share {
		gpus = 0 // looked at device by device
	}
	best, most := NoNode, Unrated
	for w := sum.next(0, r.words); w < r.words; w = sum.next(w+1, r.words) {
		for cand := set[w] & p.kinds[w]; cand != 0; cand &= cand - 1 {
			id := w<<6 + bits.TrailingZeros64(cand)
			n := &r.nodes[id]
			if n.cpu < cpu || n.mem < mem || n.gpus < gpus || share && r.fitsOn(need, NodeID(id), 1) != 1 {
				continue
			}
			v := score[id]
			if v == Unrated {
				v = rate(NodeID(id))
			}
			if v > most {
				best, most = NodeID(id), v
			}
			if limit--; limit == 0 {
				return best
			}
		}
	}
	return best
}

// PickAny is Pick among all nodes. No score is Unrated, and top holds the largest score of each 64 nodes, so that nodes behind better ones are
// not looked at.
func (r *Room) PickAny(d DemandID, score, top []int64) NodeID {
	need, p := &(*r.demands)[d].Need, r.plan(d)
	set, sum := r.roomy(p)
	best, most := NoNode, Unrated
	for w := sum.next(0, r.words); w < r.words; w = sum.next(w+1, r.words) {
		if top[w] <= most {
			continue
		}
		for cand := set[w] & p.kinds[w]; cand != 0; cand &= cand - 1 {
			if id := NodeID(w<<6 + bits.TrailingZeros64(cand)); score[id] > most && r.fitsOn(need, id, 1) == 1 {
				best, most = id, score[id]
			}
		}
	}
	return best
}

// Roomy reports whether some node may have room for one replica; false: none has, whatever it is.
func (r *Room) Roomy(d DemandID) bool {
	_, sum := r.roomy(r.plan(d))
	return sum == nil || slices.ContainsFunc(sum, func(w uint64) bool { return w != 0 })
}

// least returns what must be free for a need: where nothing is needed, less than nothing may be.
func least(need int64) int64 {
	if need == 0 {
		return math.MinInt64
	}
	return need
}
