// Package kinetic keeps tasks by a ratio that grows with time, each at a pace of its own: (now - From) / Per, the response ratio of a task
// that waits. Who comes first changes without anything happening, and the change is found without looking at all of them.
package kinetic

import (
	"math/bits"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Item is a task whose ratio is (now - From) / Per. From must not be later than now, and Per is at least 1.
type Item struct {
	From sched.Time
	Per  int64 // ns
	Task sched.TaskID
}

// Line is a set of tasks, the one with the largest ratio first, ties to the lower TaskID: a kinetic tournament. Each node of a binary tree
// knows the winner of its leaves and until when it is the winner; when that time comes, only the matches below it that may turn out
// differently are played again. The zero value is empty. Time must not go back.
type Line struct {
	free []int32 // empty leaves
	tree []match // tree[1] is the final; in the second half are the leaves
	n    int
}

// match is a node of the tree, 32 bytes, with its winner: the two sides of a match are one line of the processor's cache. A leaf is a match without sides.
type match struct {
	from  sched.Time // of the winner, see Item
	per   int64
	task  sched.TaskID
	leaf  int32      // of the winner; -1 if there is none
	until sched.Time // before it, the winner is the same
}

// be sets all of a match, field by field: a copy of the whole would wait for fields that have just been written.
func (m *match) be(from sched.Time, per int64, task sched.TaskID, leaf int32, until sched.Time) {
	m.from, m.per, m.task, m.leaf, m.until = from, per, task, leaf, until
}

// nobody is an empty leaf.
var nobody = match{leaf: -1, until: sched.Never}

// Len returns the number of tasks.
func (l *Line) Len() int { return l.n }

// Push adds a task and returns its leaf, by which it is removed.
func (l *Line) Push(now sched.Time, it Item) int32 {
	if len(l.free) == 0 {
		l.grow(now)
	}
	leaf := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	l.tree[len(l.tree)/2+int(leaf)].be(it.From, it.Per, it.Task, leaf, sched.Never)
	l.n++
	l.replay(now, leaf)
	return leaf
}

// Remove takes the task on a leaf out.
func (l *Line) Remove(now sched.Time, leaf int32) {
	if l.n--; l.n == 0 { // the next tasks may be few: their tree is small
		l.free, l.tree = l.free[:0], l.tree[:0]
		return
	}
	l.tree[len(l.tree)/2+int(leaf)] = nobody
	l.free = append(l.free, leaf)
	l.replay(now, leaf)
}

// First returns the first task at a time and its leaf; there must be one.
func (l *Line) First(now sched.Time) (Item, int32) {
	w := &l.tree[1]
	if w.until <= now {
		l.pass(now, 1)
	}
	return Item{w.from, w.per, w.task}, w.leaf
}

// Over reports whether x comes before y at a time.
func Over(x, y Item, now sched.Time) bool {
	low, high, behind := lead(now, x.From, x.Per, y.From, y.Per)
	return behind == 0 && (high|low != 0 || x.Task < y.Task)
}

// lead returns by how much x comes before y at a time, exactly, times the Per of both: a number of 128 bits, and 1 where it is negative, else 0.
func lead(now, xFrom sched.Time, xPer int64, yFrom sched.Time, yPer int64) (low, high, behind uint64) {
	xh, xl := bits.Mul64(uint64(now-xFrom), uint64(yPer))
	yh, yl := bits.Mul64(uint64(now-yFrom), uint64(xPer))
	low, behind = bits.Sub64(xl, yl, 0)
	high, behind = bits.Sub64(xh, yh, behind)
	return low, high, behind
}

// grow doubles the leaves.
func (l *Line) grow(now sched.Time) {
	old := len(l.tree) / 2
	size := max(1, 2*old)
	for i := size - 1; i >= old; i-- {
		l.free = append(l.free, int32(i))
	}
	l.tree = slices.Grow(l.tree, 2*(size-old))[:2*size]
	copy(l.tree[size:], l.tree[old:2*old])
	for i := size + old; i < 2*size; i++ {
		l.tree[i] = nobody
	}
	for i := size - 1; i > 0; i-- {
		l.play(now, i)
	}
}

// play works out a match whose sides are right. It reports whether another leaf wins than before, or until another time. Who wins, and whether that one falls behind, is
// not asked in branches: they would be guessed wrong half the times.
func (l *Line) play(now sched.Time, i int) bool {
	m, sides := &l.tree[i], (*[2]match)(l.tree[2*i:])
	x, y := &sides[0], &sides[1]
	until := min(x.until, y.until)
	if x.leaf|y.leaf < 0 {
		if x.leaf < 0 {
			x = y
		}
		return m.won(x, until)
	}
	low, high, behind := lead(now, x.from, x.per, y.from, y.per)
	if high|low == 0 && y.task < x.task {
		behind = 1
	}
	low, carry := bits.Sub64(low^-behind, -behind, 0) // without its sign
	high, _ = bits.Sub64(high^-behind, -behind, carry)
	x, y = &sides[behind&1], &sides[behind&1^1]
	// y comes before x at the first d for which (now + d - y.from) x.per >= (now + d - x.from) y.per, or > where y loses ties: d is at least the distance by the pace.
	// Where y does not catch up, the pace is 0. A product tells sooner than a quotient that it would be too late. (now may be negative: the difference
	// wraps to the right number.)
	pace := uint64(max(x.per-y.per, 0))
	h, lo := bits.Mul64(uint64(until-now), pace)
	_, soon := bits.Sub64(low, lo, 0)
	if _, soon = bits.Sub64(high, h, soon); soon != 0 {
		d, rest := bits.Div64(high, low, pace)
		if rest > 0 || x.task < y.task {
			d++
		}
		until = now + sched.Time(d)
	}
	return m.won(x, until)
}

// won notes who has won a match, and until when, and reports whether that was otherwise before.
func (m *match) won(x *match, until sched.Time) bool {
	other := uint64(m.leaf^x.leaf)|uint64(m.until^until) != 0
	m.be(x.from, x.per, x.task, x.leaf, until)
	return other
}

// replay plays the matches of a leaf again, of which those that time has changed besides, up to one that turns out as before.
func (l *Line) replay(now sched.Time, leaf int32) {
	if l.tree[1].until <= now {
		l.pass(now, 1)
	}
	for i := (len(l.tree)/2 + int(leaf)) / 2; i > 0; i /= 2 {
		if !l.play(now, i) {
			return
		}
	}
}

// pass takes in that time has passed below a match that may turn out differently now.
func (l *Line) pass(now sched.Time, i int) {
	for side := 2 * i; side <= 2*i+1; side++ {
		if l.tree[side].until <= now { // never of a leaf
			l.pass(now, side)
		}
	}
	l.play(now, i)
}
