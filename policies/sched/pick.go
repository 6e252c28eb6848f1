package sched

import (
	"math"
	"math/bits"
	"slices"
)

// Unrated is the score of a node that must be rated before it is compared.
const Unrated int64 = math.MinInt64

// Pick returns, of the first limit nodes in node order on which one replica fits, that with the largest score, the lowest-numbered of equals;
// NoNode where it fits nowhere. Nodes that are TakenLast count only where it fits on no other, as for PickAny and PickRated. Where a score is Unrated it asks
// rate, which returns the score and may note it. No limit (0) is all nodes.
func (r *Room) Pick(d DemandID, limit int, score []int64, rate func(NodeID) int64) NodeID {
	best, most := NoNode, Unrated
	for _, n := range r.front(d, limit) {
		v := score[n]
		if v == Unrated {
			v = rate(n)
		}
		if v > most {
			best, most = n, v
		}
	}
	return best
}

// front returns the first limit nodes (0: all) on which one replica fits, those that are TakenLast only if there are no others. They are valid until the next
// search.
func (r *Room) front(d DemandID, limit int) []NodeID {
	need, p := &(*r.demands)[d].Need, r.plan(d)
	kinds, back := p.turns()
	if p.share || need.GPUs >= gpuLevels-1 {
		r.found = r.candidates(d, p, kinds, 0, limit, r.found[:0])
		if len(r.found) == 0 && back != nil {
			r.found = r.candidates(d, p, back, 0, limit, r.found)
		}
		return r.found
	}
	// Who is on the level has the GPUs.
	l, cpu, mem := &r.gpuIdx, least(need.CPU), least(need.Mem)
	if !p.gpu {
		l = r.byCPU()
	}
	if limit <= 0 || limit > len(r.nodes) {
		limit = len(r.nodes)
	}
	r.found = slices.Grow(r.found[:0], limit)[:limit]
	found, nodes, n := r.found, r.nodes, 0
	level, wide := p.level, l.top+1-p.level
	for ; n == 0 && kinds != nil; kinds, back = back, nil {
		w := 0
		for i := range l.sums {
			for rest := l.sums[i].union(level, wide); rest != 0; rest &= rest - 1 {
				x := w + bits.TrailingZeros64(rest)
				for cand := l.flat[x].union(level, wide) & kinds[x]; cand != 0; cand &= cand - 1 {
					id := x<<6 + bits.TrailingZeros64(cand)
					if nd := &nodes[id]; nd.cpu < cpu || nd.mem < mem {
						continue
					}
					found[n] = NodeID(id)
					if n++; n == limit {
						return found
					}
				}
			}
			w += 64
		}
	}
	return found[:n]
}

// PickAny is Pick among all nodes. No score is Unrated, and top holds the largest score of each 64 nodes, so that nodes behind better ones are
// not looked at.
func (r *Room) PickAny(d DemandID, score, top []int64) NodeID {
	need, p := &(*r.demands)[d].Need, r.plan(d)
	set := r.roomy(p)
	best, most := NoNode, Unrated
	for kinds, back := p.turns(); best == NoNode && kinds != nil; kinds, back = back, nil {
		for from := 0; from < r.words; from += 64 {
			for rest := set.words(from, r.words); rest != 0; rest &= rest - 1 {
				w := from + bits.TrailingZeros64(rest)
				if top[w] <= most {
					continue
				}
				for cand := set.word(w) & kinds[w]; cand != 0; cand &= cand - 1 {
					if id := NodeID(w<<6 + bits.TrailingZeros64(cand)); score[id] > most && r.fitsOn(need, id, 1) == 1 {
						if best, most = id, score[id]; most == top[w] {
							break
						}
					}
				}
			}
		}
	}
	return best
}

// words says which of the 64 words from one on may have nodes; from is a multiple of 64.
func (s *nodeSet) words(from, words int) uint64 {
	if s.plain != nil {
		return ^uint64(0) >> max(64-(words-from), 0)
	}
	return s.sums[from>>6].union(s.from, s.wide)
}

// Rating is the score of a node as it was when it was rated. Each change of a node's room, also of a copy, gives it a stamp that no other state of
// it has; so a rating tells whether it still holds, here and on copies. The zero value holds for no node.
type Rating struct{ stamp, Score int64 }

// Favourite is the best node of a block of nodes for a demand, as it was when the block was last looked at: of those that are TakenLast only where it fits on no
// other. The zero value is of no block.
type Favourite struct {
	stamp, score int64
	node         NodeID // NoNode: it fits on none
}

// blockNodes is the number of nodes of a block; it divides 64.
const blockNodes = 16

// Blocks returns how many Favourites PickRated takes.
func (r *Room) Blocks() int { return len(r.stamps) }

// clock gives stamps, once somebody has asked for a rating: most policies never do.
type clock struct {
	last int64
	runs bool
}

// unstamped is the stamp of what has not changed since the clock runs. No rating has it.
const unstamped = -1

// touch stamps a node that changes.
func (r *Room) touch(n NodeID) {
	if r.clock.runs {
		r.clock.last++
		r.touched[n], r.stamps[uint32(n)/blockNodes] = r.clock.last, r.clock.last
	}
}

// stamp lets the clock run, and stamps what has none.
func (r *Room) stamp() {
	if r.stamped {
		return
	}
	r.clock.runs, r.stamped = true, true
	for _, stamps := range [...][]int64{r.touched, r.stamps} {
		for i, at := range stamps {
			if at == unstamped {
				r.clock.last++
				stamps[i] = r.clock.last
			}
		}
	}
}

// Rated returns the rating of a node in memo, which has an entry for every node; where it no longer holds, it asks rate and notes what that
// returns.
func (r *Room) Rated(n NodeID, memo []Rating, rate func(NodeID) int64) int64 {
	m := &memo[n]
	if m.stamp != r.touched[n] {
		r.stamp()
		*m = Rating{r.touched[n], rate(n)}
	}
	return m.Score
}

// PickRated returns what Pick does, among the first limit nodes (0: all), by ratings that it keeps in memo: only nodes that have changed are
// rated. best keeps what the search has found, for this demand and these ratings; only blocks of nodes in which something has changed are
// searched. It is not used where there is a limit.
func (r *Room) PickRated(d DemandID, limit int, memo []Rating, best []Favourite, rate func(NodeID) int64) NodeID {
	need, p := &(*r.demands)[d].Need, r.plan(d)
	set := r.roomy(p)
	pick, most := NoNode, Unrated
	kinds, back := p.turns()
	if limit > 0 {
		for ; pick == NoNode && kinds != nil; kinds, back = back, nil {
			for w := set.next(0, r.words); w < r.words; w = set.next(w+1, r.words) {
				for cand := set.word(w) & kinds[w]; cand != 0; cand &= cand - 1 {
					id := NodeID(w<<6 + bits.TrailingZeros64(cand))
					if r.fitsOn(need, id, 1) != 1 {
						continue
					}
					if v := r.Rated(id, memo, rate); v > most {
						pick, most = id, v
					}
					if limit--; limit == 0 {
						return pick
					}
				}
			}
		}
		return pick
	}
	for b := range best {
		f := &best[b]
		if f.stamp != r.stamps[b] {
			r.stamp()
			w, at := b*blockNodes/64, b*blockNodes%64
			cand := set.word(w) >> at & (1<<blockNodes - 1) << at
			f.stamp = r.stamps[b]
			f.node, f.score = r.favourite(need, NodeID(w<<6), cand&kinds[w], memo, rate)
			if f.node == NoNode && back != nil {
				f.node, f.score = r.favourite(need, NodeID(w<<6), cand&back[w], memo, rate)
			}
		}
		switch {
		case f.node == NoNode:
		case back != nil && pick != NoNode && back.has(int(pick)) != back.has(int(f.node)):
			if back.has(int(pick)) {
				pick, most = f.node, f.score
			}
		case f.score > most:
			pick, most = f.node, f.score
		}
	}
	return pick
}

// favourite returns the best of the candidates, a set of nodes counted from `from`, on which one replica fits.
func (r *Room) favourite(need *Need, from NodeID, cand uint64, memo []Rating, rate func(NodeID) int64) (best NodeID, most int64) {
	cpu, mem, gpus, share := least(need.CPU), least(need.Mem), leastGPUs(need), need.share()
	best, most = NoNode, Unrated
	for ; cand != 0; cand &= cand - 1 {
		id := from + NodeID(bits.TrailingZeros64(cand))
		n, m := &r.nodes[id], &memo[id]
		if n.cpu < cpu || n.mem < mem || n.gpus < gpus {
			continue
		}
		if m.stamp == r.touched[id] && m.Score <= most || share && r.fitsOn(need, id, 1) != 1 {
			continue
		}
		if v := r.Rated(id, memo, rate); v > most {
			best, most = id, v
		}
	}
	return best, most
}

// Roomy reports whether some node may have room for one replica; false: none has, whatever it is.
func (r *Room) Roomy(d DemandID) bool {
	p := r.plan(d)
	if len(r.nodes) == 1 && !p.gpu && !p.share { // the index does not follow its CPU
		return r.nodes[0].up && cpuLevel(r.nodes[0].cpu) >= p.level
	}
	set := r.roomy(p)
	return set.next(0, r.words) < r.words
}

// least returns what must be free for a need: where nothing is needed, less than nothing may be.
func least(need int64) int64 {
	if need == 0 {
		return math.MinInt64
	}
	return need
}

// leastGPUs is least for wholly free GPUs; a share is looked for device by device.
func leastGPUs(need *Need) int32 {
	if need.GPUs == 0 || need.share() {
		return math.MinInt32
	}
	return need.GPUs
}
