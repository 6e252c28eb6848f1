// Package kinetic keeps tasks by a ratio that grows with time, each at a pace of its own: (now - From) / Per, the response ratio of a task
// that waits. Who comes first changes without anything happening, and the change is found without looking at all of them.
package kinetic

import (
	"math/bits"

	"github.com/schedlab/schedlab/policies/sched"
)

// Item is a task whose ratio is (now - From) / Per. From must not be later than now, and Per is at least 1.
type Item struct {
	From sched.Time
	Per  int64 // ns
	Task sched.TaskID
}

// over returns x.ratio > y.ratio at a time, exactly; ties go to the lower TaskID.
func (x *Item) over(y *Item, now sched.Time) bool {
	xh, xl := bits.Mul64(uint64(now-x.From), uint64(y.Per))
	yh, yl := bits.Mul64(uint64(now-y.From), uint64(x.Per))
	switch {
	case xh != yh:
		return xh > yh
	case xl != yl:
		return xl > yl
	}
	return x.Task < y.Task
}

// overtaken returns when y comes before x, which now comes before y: never, or the first instant at which it does.
func (x *Item) overtaken(y *Item, now sched.Time) sched.Time {
	if y.Per >= x.Per {
		return sched.Never // it falls behind, or keeps its distance
	}
	// (now + d - y.From) x.Per >= (now + d - x.From) y.Per, or > where y loses ties.
	xh, xl := bits.Mul64(uint64(now-x.From), uint64(y.Per))
	yh, yl := bits.Mul64(uint64(now-y.From), uint64(x.Per))
	low, borrow := bits.Sub64(xl, yl, 0)
	high, _ := bits.Sub64(xh, yh, borrow)
	pace := uint64(x.Per - y.Per)
	if high >= pace {
		return sched.Never
	}
	d, rest := bits.Div64(high, low, pace)
	if rest > 0 || x.Task < y.Task {
		d++
	}
	if d >= uint64(sched.Never-now) { // now may be negative: the difference wraps to the right number
		return sched.Never
	}
	return now + sched.Time(d)
}

// Line is a set of tasks, the one with the largest ratio first, ties to the lower TaskID: a kinetic tournament. Each node of a binary tree
// knows the winner of its leaves and until when it is the winner; when that time comes, only the matches below it that may turn out
// differently are played again. The zero value is empty. Time must not go back.
type Line struct {
	items []Item  // by leaf; Task is Nobody where it is empty
	free  []int32 // empty leaves
	tree  []match // tree[1] is the final; leaf i hangs below match (len(items)+i)/2
	n     int
}

// match is a node of the tree.
type match struct {
	leaf  int32      // of the winner; -1 if there is none
	until sched.Time // before it, the winner is the same
}

// Len returns the number of tasks.
func (l *Line) Len() int { return l.n }

// Push adds a task and returns its leaf, by which it is removed.
func (l *Line) Push(now sched.Time, it Item) int32 {
	if len(l.free) == 0 {
		l.grow(now)
	}
	leaf := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	l.items[leaf] = it
	l.n++
	l.replay(now, leaf)
	return leaf
}

// Remove takes the task on a leaf out.
func (l *Line) Remove(now sched.Time, leaf int32) {
	l.items[leaf].Task = sched.Nobody
	l.free = append(l.free, leaf)
	l.n--
	l.replay(now, leaf)
}

// First returns the first task at a time and its leaf; there must be one.
func (l *Line) First(now sched.Time) (Item, int32) {
	if len(l.items) == 1 {
		return l.items[0], 0
	}
	l.pass(now, 1)
	leaf := l.tree[1].leaf
	return l.items[leaf], leaf
}

// Over reports whether x comes before y at a time.
func Over(x, y Item, now sched.Time) bool { return x.over(&y, now) }

// grow doubles the leaves.
func (l *Line) grow(now sched.Time) {
	size := max(1, 2*len(l.items))
	for i := size - 1; i >= len(l.items); i-- {
		l.free = append(l.free, int32(i))
	}
	for len(l.items) < size {
		l.items = append(l.items, Item{Task: sched.Nobody})
	}
	l.tree = append(l.tree[:0], make([]match, size)...)
	for i := size - 1; i > 0; i-- {
		l.play(now, i)
	}
}

// side returns the winner of a child of a match, a leaf or another match.
func (l *Line) side(child int) match {
	if leaf := child - len(l.items); leaf >= 0 {
		if l.items[leaf].Task == sched.Nobody {
			return match{-1, sched.Never}
		}
		return match{int32(leaf), sched.Never}
	}
	return l.tree[child]
}

// play works out a match whose sides are right.
func (l *Line) play(now sched.Time, i int) {
	a, b := l.side(2*i), l.side(2*i+1)
	m := match{a.leaf, min(a.until, b.until)}
	switch {
	case a.leaf < 0:
		m.leaf = b.leaf
	case b.leaf >= 0:
		x, y := &l.items[a.leaf], &l.items[b.leaf]
		if y.over(x, now) {
			m.leaf, x, y = b.leaf, y, x
		}
		m.until = min(m.until, x.overtaken(y, now))
	}
	l.tree[i] = m
}

// replay plays the matches of a leaf again, of which those that time has changed besides.
func (l *Line) replay(now sched.Time, leaf int32) {
	if len(l.items) == 1 {
		return
	}
	l.pass(now, 1)
	for i := (len(l.items) + int(leaf)) / 2; i > 0; i /= 2 {
		l.play(now, i)
	}
}

// pass takes in that time has passed below a match.
func (l *Line) pass(now sched.Time, i int) {
	if i >= len(l.tree) || l.tree[i].until > now {
		return
	}
	l.pass(now, 2*i)
	l.pass(now, 2*i+1)
	l.play(now, i)
}
