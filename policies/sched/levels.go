package sched

// The index of a Room: sets of nodes by what is free on them.

import (
	"math/bits"
)

type bitset []uint64

func (b bitset) has(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }

func (b bitset) set(i int) { b[i>>6] |= 1 << (i & 63) }

func (b bitset) clear(i int) { b[i>>6] &^= 1 << (i & 63) }

// levels keeps for each level the set of nodes that are on it: those with so much free. A level above the last counts as the last. What a search asks for, the nodes
// that are at least on a level, is the union of some of the sets; so a node that changes is taken out of one set and put into another, which
// needs no branch, and these are guessed wrong often. The words of all levels for the same 64 nodes stand together. In front of the sets stand summaries that say which of
// their words are not 0, so that the full nodes at the front of a busy cluster are not looked at one by one.
type levels struct {
	top  int        // no node is, or was, on a level above it
	flat []levelRow // of each 64 nodes
	sums []levelRow // of each 64 rows of flat
}

// levelRow is a word for each level.
type levelRow [rowWords]uint64

const (
	span      = 8  // levels that are read at once: nodes of 8 GPUs have as many
	rowWords  = 32 // a power of two, so that no index need be compared with it; there is room to read span words from any level on
	gpuLevels = 18 // 0..16 free GPUs, and more
	cpuLevels = 24 // bits.Len of free cores
)

func gpuLevel(n int32) int { return min(max(int(n), 0), gpuLevels-1) }

func cpuLevel(milli int64) int {
	if milli < 1000 {
		return 0
	}
	return min(bits.Len64(uint64(milli)/1000), cpuLevels-1)
}

func (l *levels) init(words int) {
	l.flat, l.sums = make([]levelRow, words), make([]levelRow, (words+63)/64)
}

// move takes a node from one level to another; -1 is none.
func (l *levels) move(node, from, to int) {
	w := node >> 6
	bit, sumBit := uint64(1)<<(node&63), uint64(1)<<(w&63)
	row, sum := &l.flat[w], &l.sums[w>>6]
	if from >= 0 {
		left, last := row[uint(from)%rowWords]&^bit, uint64(0)
		if left == 0 {
			last = sumBit
		}
		row[uint(from)%rowWords] = left
		sum[uint(from)%rowWords] &^= last
	}
	if to >= 0 {
		row[uint(to)%rowWords] |= bit
		sum[uint(to)%rowWords] |= sumBit
		l.top = max(l.top, to)
	}
}

// highest returns the highest level that a node is on, -1 where there is none.
func (l *levels) highest() int {
	highest := -1
	for i := range l.sums {
		for level, sum := range l.sums[i] {
			if sum != 0 {
				highest = max(highest, level)
			}
		}
	}
	return highest
}

// from returns the nodes that are at least on a level.
func (l *levels) from(level int) nodeSet {
	return nodeSet{nil, l.flat, l.sums, level, l.top + 1 - level}
}

// first returns the first node of a set that is at least on a level, NoNode where there is none.
func (l *levels) first(level int, of bitset) NodeID {
	wide := l.top + 1 - level
	w := 0
	for i := range l.sums {
		for rest := l.sums[i].union(level, wide); rest != 0; rest &= rest - 1 {
			x := w + bits.TrailingZeros64(rest)
			if cand := l.flat[x].union(level, wide) & of[x]; cand != 0 {
				return NodeID(x<<6 + bits.TrailingZeros64(cand))
			}
		}
		w += 64
	}
	return NoNode
}

// union returns what is on so many levels, from one on. Up to span, span are read: to ask which is the last would cost more than to read on, for how
// many they are changes from one search to the next, and would be guessed wrong.
func (r *levelRow) union(level, wide int) uint64 {
	if wide <= span {
		x := (*[span]uint64)(r[level:])
		return x[0] | x[1] | x[2] | x[3] | x[4] | x[5] | x[6] | x[7]
	}
	all := uint64(0)
	for _, w := range r[level:][:wide] {
		all |= w
	}
	return all
}

// widen makes room for more nodes: the words of those that are there stay where they are.
func (l *levels) widen(words int) {
	old := *l
	l.init(words)
	copy(l.flat, old.flat)
	copy(l.sums, old.sums)
}

func (l *levels) copyFrom(src *levels) {
	l.top = src.top
	l.flat = append(l.flat[:0], src.flat...)
	l.sums = append(l.sums[:0], src.sums...)
}

// nodeSet is the set of nodes on some levels; or, with plain, a set as it is.
type nodeSet struct {
	plain      bitset
	flat, sums []levelRow
	from, wide int // so many levels; at most span stands for span
}

// word returns the nodes 64w..64w+63 that are in the set.
func (s *nodeSet) word(w int) uint64 {
	if s.plain != nil {
		return s.plain[w]
	}
	return s.flat[w].union(s.from, s.wide)
}

// next returns the first word from w on that is not 0, or at least words where there is none.
func (s *nodeSet) next(w, words int) int {
	if s.plain != nil {
		return w
	}
	for i := w >> 6; i < len(s.sums); i++ {
		if rest := s.sums[i].union(s.from, s.wide) >> (w & 63); rest != 0 {
			return w + bits.TrailingZeros64(rest)
		}
		w = w&^63 + 64
	}
	return words
}
