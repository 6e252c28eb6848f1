// Package skyline keeps what is expected to be free of a few resources at every time to come: the profile of Mu'alem & Feitelson (TPDS 2001), a step
// function to which each running or reserved task adds a step down and a step up.
package skyline

import (
	"math"
	"slices"
	"sort"
)

// Amount is what is free, taken or needed of three resources.
type Amount [3]int64

// Any is a need of nothing, whatever is free: less than any amount.
const Any = math.MinInt64 / 2

// Ever is the end of what has none.
const Ever = math.MaxInt64

// covers reports whether a is enough for need.
func (a *Amount) covers(need *Amount) bool {
	return a[0] >= need[0] && a[1] >= need[1] && a[2] >= need[2]
}

func (a Amount) plus(b *Amount) Amount { return Amount{a[0] + b[0], a[1] + b[1], a[2] + b[2]} }

func (a *Amount) lower(b *Amount) {
	a[0], a[1], a[2] = min(a[0], b[0]), min(a[1], b[1]), min(a[2], b[2])
}

func (a *Amount) raise(b *Amount) {
	a[0], a[1], a[2] = max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2])
}

// Line is one skyline. Its steps stand in blocks of up to 64, each with the least and the most that is free in it, so that a search passes over
// blocks of which all will do or none, and a change of a whole block is one addition: with n steps, Add and the searches take O(sqrt n) typically
// and O(n) at worst, in time with the number of steps that are neither clearly enough nor clearly too little. It must be Reset before its first use.
type Line struct {
	blocks []*block
	spare  []*block
}

// most is the number of steps in a block.
const most = 64

type block struct {
	at        []int64  // when each step starts, ascending; it ends where the next one starts, the last one never
	free      []Amount // less what is added to all
	all       Amount
	low, high Amount // of free, unless stale
	stale     bool
}

// Reset makes the line one step without beginning or end.
func (l *Line) Reset(free Amount) {
	l.spare = append(l.spare, l.blocks...)
	l.blocks = append(l.blocks[:0], l.block())
	b := l.blocks[0]
	b.at, b.free = append(b.at, math.MinInt64), append(b.free, free)
	b.low, b.high = free, free
}

func (l *Line) block() *block {
	if n := len(l.spare); n > 0 {
		b := l.spare[n-1]
		l.spare = l.spare[:n-1]
		b.at, b.free, b.all, b.stale = b.at[:0], b.free[:0], Amount{}, false
		return b
	}
	return &block{at: make([]int64, 0, 8), free: make([]Amount, 0, 8)}
}

// bounds makes low and high those of free. Changes leave that to who asks: many come between two questions.
func (b *block) bounds() {
	if !b.stale {
		return
	}
	b.stale = false
	b.low, b.high = b.free[0], b.free[0]
	for i := range b.free[1:] {
		b.low.lower(&b.free[1+i])
		b.high.raise(&b.free[1+i])
	}
}

func (b *block) value(i int) Amount { return b.free[i].plus(&b.all) }

// find returns the block and the place in it of the step at a time.
func (l *Line) find(t int64) (bi, i int) {
	if len(l.blocks) > 1 {
		bi = sort.Search(len(l.blocks)-1, func(k int) bool { return l.blocks[k+1].at[0] > t })
	}
	at := l.blocks[bi].at
	for n := len(at); n > 1; { // no branch to be guessed: it would be guessed wrongly every other time
		half := n / 2
		if at[i+half] <= t {
			i += half
		}
		n -= half
	}
	return bi, i
}

// end returns when a step ends.
func (l *Line) end(bi, i int) int64 {
	if b := l.blocks[bi]; i+1 < len(b.at) {
		return b.at[i+1]
	}
	if bi+1 < len(l.blocks) {
		return l.blocks[bi+1].at[0]
	}
	return Ever
}

// split makes a step start at t.
func (l *Line) split(t int64) (bi, i int) {
	bi, i = l.find(t)
	b := l.blocks[bi]
	if b.at[i] >= t { // or it was forgotten
		return bi, i
	}
	if len(b.at) == most {
		half := l.block()
		half.at, half.free, half.all = append(half.at, b.at[most/2:]...), append(half.free, b.free[most/2:]...), b.all
		b.at, b.free = b.at[:most/2], b.free[:most/2]
		b.stale, half.stale = true, true
		l.blocks = slices.Insert(l.blocks, bi+1, half)
		if i >= most/2 {
			b, bi, i = half, bi+1, i-most/2
		}
	}
	i++
	b.at, b.free = slices.Insert(b.at, i, t), slices.Insert(b.free, i, b.free[i-1])
	return bi, i
}

// Add adds an amount from one time to another, Ever being never. There may be less than nothing free. What was forgotten stays so: from must not be
// before it.
func (l *Line) Add(from, to int64, a Amount) {
	if from >= to || a == (Amount{}) {
		return
	}
	if to < Ever {
		l.split(to)
	}
	first, at := l.split(from)
	bi, i := first, at
	for ; bi < len(l.blocks); bi, i = bi+1, 0 {
		b := l.blocks[bi]
		if i == 0 && l.end(bi, len(b.at)-1) <= to {
			b.all = b.all.plus(&a)
			continue
		}
		if b.at[i] >= to {
			break
		}
		b.stale = true
		for ; i < len(b.at) && b.at[i] < to; i++ {
			b.free[i] = b.free[i].plus(&a)
		}
		if i < len(b.at) {
			break
		}
	}
	if bi < len(l.blocks) {
		l.join(bi, i)
	}
	l.join(first, at)
}

// join makes one step of a step and the one before it, if they are alike.
func (l *Line) join(bi, i int) {
	b := l.blocks[bi]
	var before Amount
	switch {
	case i > 0:
		if b.free[i] == b.free[i-1] {
			l.drop(bi, i, i+1)
		}
		return
	case bi > 0:
		last := l.blocks[bi-1]
		before = last.value(len(last.at) - 1)
	default:
		return
	}
	if b.value(i) == before {
		l.drop(bi, i, i+1)
	}
}

// drop takes steps from..to-1 of a block out.
func (l *Line) drop(bi, from, to int) {
	b := l.blocks[bi]
	b.at, b.free = slices.Delete(b.at, from, to), slices.Delete(b.free, from, to)
	if len(b.at) == 0 {
		l.blocks = slices.Delete(l.blocks, bi, bi+1)
		l.spare = append(l.spare, b)
		return
	}
	b.stale = true
}

// Forget drops the steps that are over at t.
func (l *Line) Forget(t int64) {
	if at := l.blocks[0].at; len(at) > 1 && at[1] > t {
		return
	}
	bi, i := l.find(t)
	if bi == 0 && i == 0 {
		return
	}
	l.spare = append(l.spare, l.blocks[:bi]...)
	l.blocks = slices.Delete(l.blocks, 0, bi)
	if i > 0 {
		l.drop(0, 0, i)
	}
}

// Steps appends the starts of the steps that start after from and before until.
func (l *Line) Steps(from, until int64, buf []int64) []int64 {
	bi, i := l.find(from)
	for i++; bi < len(l.blocks); bi, i = bi+1, 0 {
		for _, at := range l.blocks[bi].at[i:] {
			if at >= until {
				return buf
			}
			buf = append(buf, at)
		}
	}
	return buf
}

// Fits reports whether need is free from one time to another, from < to.
func (l *Line) Fits(from, to int64, need *Amount) bool {
	bi, i := l.find(from)
	for ; bi < len(l.blocks); bi, i = bi+1, 0 {
		b := l.blocks[bi]
		left := Amount{need[0] - b.all[0], need[1] - b.all[1], need[2] - b.all[2]}
		if i == 0 && !b.stale && b.low.covers(&left) {
			continue
		}
		for ; i < len(b.at); i++ {
			if b.at[i] >= to {
				return true
			}
			if !b.free[i].covers(&left) {
				return false
			}
		}
	}
	return true
}

// Low returns the least of each resource that is free between two times, from < to.
func (l *Line) Low(from, to int64) Amount {
	bi, i := l.find(from)
	low := l.blocks[bi].value(i)
	l.each(bi, i+1, to, func(b *block, i int) {
		v := b.low
		if i >= 0 {
			v = b.free[i]
		}
		v = v.plus(&b.all)
		low.lower(&v)
	})
	return low
}

// High returns the most of each resource, not necessarily at one time; see Low.
func (l *Line) High(from, to int64) Amount {
	bi, i := l.find(from)
	high := l.blocks[bi].value(i)
	l.each(bi, i+1, to, func(b *block, i int) {
		v := b.high
		if i >= 0 {
			v = b.free[i]
		}
		v = v.plus(&b.all)
		high.raise(&v)
	})
	return high
}

// each calls f for the steps from a place on that start before a time, or with -1 for a whole block of them.
func (l *Line) each(bi, i int, to int64, f func(b *block, i int)) {
	for ; bi < len(l.blocks); bi, i = bi+1, 0 {
		b := l.blocks[bi]
		if i == 0 && b.at[len(b.at)-1] < to {
			b.bounds()
			f(b, -1)
			continue
		}
		for ; i < len(b.at); i++ {
			if b.at[i] >= to {
				return
			}
			f(b, i)
		}
	}
}

// Earliest returns the first time t, from <= t < until, from which on need is free for so long, hold > 0, or up to stop if that is earlier, which
// must not be before until.
func (l *Line) Earliest(from, until, hold, stop int64, need *Amount) (int64, bool) {
	if from >= until {
		return 0, false
	}
	bi, i := l.find(from)
	t, ok, done := from, true, min(plus(from, hold), stop) // ok: need is free from t up to the step at hand, and until done is enough
	for ; bi < len(l.blocks); bi, i = bi+1, 0 {
		b := l.blocks[bi]
		left := Amount{need[0] - b.all[0], need[1] - b.all[1], need[2] - b.all[2]}
		if i == 0 {
			switch at := b.at[0]; {
			case ok && at >= done:
				return t, true
			case !ok && at >= until:
				return 0, false
			}
			b.bounds()
			if ok && b.low.covers(&left) {
				continue
			}
			if !b.high.covers(&left) {
				ok = false
				continue
			}
		}
		free := b.free[:len(b.at)]
		for k, at := range b.at[i:] {
			f := &free[i+k]
			if ok {
				if at >= done {
					return t, true
				}
				ok = f.covers(&left)
				continue
			}
			if at >= until {
				return 0, false
			}
			if f.covers(&left) {
				t, ok, done = at, true, min(plus(at, hold), stop)
			}
		}
	}
	return t, ok
}

// Hole is a stretch of time in which a need is free.
type Hole struct{ From, To int64 }

// Holes appends the stretches in which need is free, of those that end after from and start before until, in their order. The first is cut at from,
// the last may go on past until.
func (l *Line) Holes(from, until int64, need *Amount, buf []Hole) []Hole {
	if from >= until {
		return buf
	}
	bi, i := l.find(from)
	start, ok := from, false
	for ; bi < len(l.blocks); bi, i = bi+1, 0 {
		b := l.blocks[bi]
		if i == 0 {
			b.bounds()
			if low := b.low.plus(&b.all); ok && low.covers(need) {
				continue
			}
			if high := b.high.plus(&b.all); !ok && b.at[0] < until && !high.covers(need) {
				continue
			}
		}
		left := Amount{need[0] - b.all[0], need[1] - b.all[1], need[2] - b.all[2]}
		for ; i < len(b.at); i++ {
			if !ok && b.at[i] >= until {
				return buf
			}
			switch fits := b.free[i].covers(&left); {
			case fits && !ok:
				start, ok = max(b.at[i], from), true
			case ok && !fits:
				buf, ok = append(buf, Hole{start, b.at[i]}), false
			}
		}
	}
	if ok {
		buf = append(buf, Hole{start, Ever})
	}
	return buf
}

// Back returns the first time, not before floor, from which on need is free up to t; t where it is not free just before t.
func (l *Line) Back(t, floor int64, need *Amount) int64 {
	if t <= floor {
		return t
	}
	bi, i := l.find(t - 1)
	for first := t; ; {
		b := l.blocks[bi]
		if v := b.value(i); !v.covers(need) {
			return first
		}
		if first = b.at[i]; first <= floor {
			return floor
		}
		if i--; i < 0 {
			if bi--; bi < 0 {
				return floor
			}
			i = len(l.blocks[bi].at) - 1
		}
	}
}

func plus(a, b int64) int64 {
	if s := a + b; s >= a {
		return s
	}
	return Ever
}
