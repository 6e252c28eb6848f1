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
	n, top int      // no node is, or was, on a level above top; n leaves room to read `span` words from it on
	flat   []uint64 // of each 64 nodes a word for each level
	sums   []uint64 // of each 64 words a word for each level
}

// span is how many levels are read at once: nodes of 8 GPUs have as many.
const span = 8

const (
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

func (l *levels) init(levels, words int) {
	n := levels + span - 1
	l.n, l.flat, l.sums = n, make([]uint64, n*words), make([]uint64, n*((words+63)/64))
}

// move takes a node from one level to another; -1 is none.
func (l *levels) move(node, from, to int) {
	w := node >> 6
	bit, sumBit := uint64(1)<<(node&63), uint64(1)<<(w&63)
	at, sum := w*l.n, w>>6*l.n
	if from >= 0 {
		left, last := l.flat[at+from]&^bit, uint64(0)
		if left == 0 {
			last = sumBit
		}
		l.flat[at+from] = left
		l.sums[sum+from] &^= last
	}
	if to >= 0 {
		l.flat[at+to] |= bit
		l.sums[sum+to] |= sumBit
		l.top = max(l.top, to)
	}
}

// from returns the nodes that are at least on a level.
func (l *levels) from(level int) nodeSet {
	return nodeSet{l.flat, l.sums, l.n, level, l.top + 1 - level}
}

// first returns the first node of a set that is at least on a level, NoNode where there is none.
func (l *levels) first(level int, of bitset) NodeID {
	n, wide := l.n, l.top+1-level
	w := 0
	for i := level; i < len(l.sums); i += n {
		for rest := union(l.sums[i:], wide); rest != 0; rest &= rest - 1 {
			x := w + bits.TrailingZeros64(rest)
			if cand := union(l.flat[x*n+level:], wide) & of[x]; cand != 0 {
				return NodeID(x<<6 + bits.TrailingZeros64(cand))
			}
		}
		w += 64
	}
	return NoNode
}

// union returns what is in any of the first words. Up to span, span are read: to ask which is the last would cost more than to read on, for how
// many they are changes from one search to the next, and would be guessed wrong.
func union(words []uint64, wide int) uint64 {
	if wide <= span {
		x := (*[span]uint64)(words)
		return x[0] | x[1] | x[2] | x[3] | x[4] | x[5] | x[6] | x[7]
	}
	all := uint64(0)
	for _, w := range words[:wide] {
		all |= w
	}
	return all
}

// widen makes room for more nodes: the words of those that are there stay where they are.
func (l *levels) widen(words int) {
	old := *l
	l.init(old.n-span+1, words)
	copy(l.flat, old.flat)
	copy(l.sums, old.sums)
}

func (l *levels) copyFrom(src *levels) {
	l.n, l.top = src.n, src.top
	l.flat = append(l.flat[:0], src.flat...)
	l.sums = append(l.sums[:0], src.sums...)
}

// nodeSet is the set of nodes on some levels; without sums, a set as it is.
type nodeSet struct {
	flat, sums []uint64
	n          int
	from, wide int // of n levels so many; at most span stands for span
}

// word returns the nodes 64w..64w+63 that are in the set.
func (s *nodeSet) word(w int) uint64 {
	if s.sums == nil {
		return s.flat[w]
	}
	return union(s.flat[w*s.n+s.from:], s.wide)
}

// next returns the first word from w on that is not 0, or at least words where there is none.
func (s *nodeSet) next(w, words int) int {
	if s.sums == nil {
		return w
	}
	for i := w>>6*s.n + s.from; i < len(s.sums); i += s.n {
		if rest := union(s.sums[i:], s.wide) >> (w & 63); rest != 0 {
			return w + bits.TrailingZeros64(rest)
		}
		w = w&^63 + 64
	}
	return words
}
