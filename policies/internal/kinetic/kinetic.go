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

// ahead reports whether x comes before y at a time, exactly; ties go to the lower TaskID. high and low are by how much, times the Per of both: 128 bits.
func (x *Item) ahead(y *Item, now sched.Time) (ahead bool, high, low uint64) {
	xh, xl := bits.Mul64(uint64(now-x.From), uint64(y.Per))
	yh, yl := bits.Mul64(uint64(now-y.From), uint64(x.Per))
	low, behind := bits.Sub64(xl, yl, 0)
	high, behind = bits.Sub64(xh, yh, behind)
	if behind == 0 {
		return high|low != 0 || x.Task < y.Task, high, low
	}
	low, behind = bits.Sub64(0, low, 0)
	high, _ = bits.Sub64(0, high, behind)
	return false, high, low
}

// overtaken returns when y comes before x, which now comes before y by so much: the first instant at which it does, but not after a last one.
func (x *Item) overtaken(y *Item, now sched.Time, high, low uint64, last sched.Time) sched.Time {
	if y.Per >= x.Per {
		return last // it falls behind, or keeps its distance
	}
	// (now + d - y.From) x.Per >= (now + d - x.From) y.Per, or > where y loses ties: d is at least the distance by the pace. A product tells sooner than a quotient
	// that this is too late. (now may be negative: the difference wraps to the right number.)
	pace := uint64(x.Per - y.Per)
	if h, l := bits.Mul64(uint64(last-now), pace); high > h || high == h && low >= l {
		return last
	}
	d, rest := bits.Div64(high, low, pace)
	if rest > 0 || x.Task < y.Task {
		d++
	}
	return now + sched.Time(d)
}

// Line is a set of tasks, the one with the largest ratio first, ties to the lower TaskID: a kinetic tournament. Each node of a binary tree
// knows the winner of its leaves and until when it is the winner; when that time comes, only the matches below it that may turn out
// differently are played again. The zero value is empty. Time must not go back.
type Line struct {
	items []Item  // by leaf
	free  []int32 // empty leaves
	tree  []match // tree[1] is the final; behind the matches stand the leaves
	n     int
}

// match is a node of the tree; a leaf is one without a match, of which its task is the winner.
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
	l.tree[len(l.items)+int(leaf)].leaf = leaf
	l.n++
	l.replay(now, leaf)
	return leaf
}

// Remove takes the task on a leaf out.
func (l *Line) Remove(now sched.Time, leaf int32) {
	l.tree[len(l.items)+int(leaf)].leaf = -1
	l.free = append(l.free, leaf)
	l.n--
	l.replay(now, leaf)
}

// First returns the first task at a time and its leaf; there must be one.
func (l *Line) First(now sched.Time) (Item, int32) {
	l.pass(now, 1)
	leaf := l.tree[1].leaf
	return l.items[leaf], leaf
}

// Over reports whether x comes before y at a time.
func Over(x, y Item, now sched.Time) bool {
	ahead, _, _ := x.ahead(&y, now)
	return ahead
}

// grow doubles the leaves.
func (l *Line) grow(now sched.Time) {
	size := max(1, 2*len(l.items))
	for i := size - 1; i >= len(l.items); i-- {
		l.free = append(l.free, int32(i))
	}
	known := l.tree[len(l.items):]
	tree := make([]match, 2*size)
	copy(tree[size:], known)
	for i := size + len(l.items); i < 2*size; i++ {
		tree[i] = match{-1, sched.Never}
	}
	l.items, l.tree = append(l.items, make([]Item, size-len(l.items))...), tree
	for i := size - 1; i > 0; i-- {
		l.play(now, i)
	}
}

// play works out a match whose sides are right.
func (l *Line) play(now sched.Time, i int) match {
	a, b := &l.tree[2*i], &l.tree[2*i+1]
	m := match{a.leaf, min(a.until, b.until)}
	switch {
	case a.leaf < 0:
		m.leaf = b.leaf
	case b.leaf >= 0:
		x, y := &l.items[a.leaf], &l.items[b.leaf]
		ahead, high, low := x.ahead(y, now)
		if !ahead {
			m.leaf, x, y = b.leaf, y, x
		}
		m.until = x.overtaken(y, now, high, low, m.until)
	}
	l.tree[i] = m
	return m
}

// replay plays the matches of a leaf again, of which those that time has changed besides, up to one that turns out as before.
func (l *Line) replay(now sched.Time, leaf int32) {
	l.pass(now, 1)
	for i := (len(l.items) + int(leaf)) / 2; i > 0; i /= 2 {
		old := l.tree[i]
		if m := l.play(now, i); m == old && m.leaf != leaf {
			return
		}
	}
}

// pass takes in that time has passed below a match.
func (l *Line) pass(now sched.Time, i int) {
	if l.tree[i].until > now { // as of a leaf
		return
	}
	l.pass(now, 2*i)
	l.pass(now, 2*i+1)
	l.play(now, i)
}
