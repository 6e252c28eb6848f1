// Package ranking keeps tasks sorted by a rank, so that the last of them can be gone through without the others: a list of short sorted blocks, in
// which a place is found by two binary searches. The zero value is empty.
package ranking

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Item is a task with its rank, and a node to remember.
type Item struct {
	Rank int64
	Task sched.TaskID
	Node sched.NodeID
}

// Before is the order: by rank, ties by TaskID.
func (a Item) Before(b Item) bool { return a.Rank < b.Rank || a.Rank == b.Rank && a.Task < b.Task }

// List is a sorted list.
type List struct {
	blocks [][]Item       // none is empty
	lasts  []Item         // the last item of each
	tops   []sched.TaskID // the largest TaskID of each; unknown = to be looked for
	spare  [][]Item
	n      int
}

const (
	most    = 128 // items of a block
	unknown = sched.TaskID(-2)
)

// Len returns the number of items.
func (l *List) Len() int { return l.n }

// Ranks returns the smallest and the largest rank; there must be some item.
func (l *List) Ranks() (first, last int64) { return l.blocks[0][0].Rank, l.lasts[len(l.lasts)-1].Rank }

// find returns the first place at or behind which it belongs.
func (l *List) find(it Item) (block, i int) {
	if len(l.blocks) == 0 {
		return 0, 0
	}
	block = Place(l.lasts[:len(l.lasts)-1], it)
	return block, Place(l.blocks[block], it)
}

// Place returns how many of sorted items come before it.
func Place(items []Item, it Item) int {
	from, to := 0, len(items)
	for from < to {
		m := int(uint(from+to) / 2)
		if u := &items[m]; u.Rank < it.Rank || u.Rank == it.Rank && u.Task < it.Task {
			from = m + 1
		} else {
			to = m
		}
	}
	return from
}

// Insert adds an item.
func (l *List) Insert(it Item) {
	if len(l.blocks) == 0 {
		l.blocks, l.lasts, l.tops = append(l.blocks, l.block()), append(l.lasts, it), append(l.tops, it.Task)
	}
	k, i := 0, 0
	if b := l.blocks[0]; len(b) > 0 && b[0].Before(it) { // else it comes before all
		k, i = l.find(it)
	}
	b := l.blocks[k]
	if len(b) == most {
		half := append(l.block(), b[most/2:]...)
		l.blocks[k] = b[:most/2]
		l.blocks, l.lasts, l.tops = slices.Insert(l.blocks, k+1, half), slices.Insert(l.lasts, k, b[most/2-1]), slices.Insert(l.tops, k, unknown)
		l.tops[k+1] = unknown
		if i > most/2 {
			k, i = k+1, i-most/2
		}
		b = l.blocks[k]
	}
	b = b[:len(b)+1]
	copy(b[i+1:], b[i:])
	b[i] = it
	l.blocks[k] = b
	l.lasts[k] = b[len(b)-1]
	if l.tops[k] != unknown {
		l.tops[k] = max(l.tops[k], it.Task)
	}
	l.n++
}

// Remove takes the item with this rank and task out, and reports whether it was there.
func (l *List) Remove(rank int64, t sched.TaskID) bool {
	k, i := l.find(Item{Rank: rank, Task: t})
	if k >= len(l.blocks) || i >= len(l.blocks[k]) || l.blocks[k][i].Task != t || l.blocks[k][i].Rank != rank {
		return false
	}
	b := l.blocks[k]
	b = b[:i+copy(b[i:], b[i+1:])]
	l.blocks[k] = b
	l.n--
	if l.tops[k] == t {
		l.tops[k] = unknown
	}
	if next := k + 1; len(b) > 0 && len(b) < most/8 && next < len(l.blocks) && len(l.blocks[next]) < most/2 {
		l.blocks[k] = append(b, l.blocks[next]...)
		l.lasts[k], l.tops[k] = l.lasts[next], unknown
		l.drop(next)
	} else if len(b) == 0 {
		l.drop(k)
	} else {
		l.lasts[k] = b[len(b)-1]
	}
	return true
}

func (l *List) drop(k int) {
	l.spare = append(l.spare, l.blocks[k])
	l.blocks, l.lasts, l.tops = slices.Delete(l.blocks, k, k+1), slices.Delete(l.lasts, k, k+1), slices.Delete(l.tops, k, k+1)
}

func (l *List) block() []Item {
	if n := len(l.spare); n > 0 {
		b := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return b[:0]
	}
	return make([]Item, 0, most)
}

// Clear takes all out.
func (l *List) Clear() {
	l.spare = append(l.spare, l.blocks...)
	l.blocks, l.lasts, l.tops, l.n = l.blocks[:0], l.lasts[:0], l.tops[:0], 0
}

// Down is a walk from the last item to the first. It is valid until the list changes.
type Down struct {
	l     *List
	block int32
	rest  int32 // so many items of the block have not been returned
}

// Down returns a walk that has not begun.
func (l *List) Down() Down { return Down{l, int32(len(l.blocks)), 0} }

// Next returns the item before the last one returned, and false behind the first of the list.
func (d *Down) Next() (it Item, ok bool) {
	if d.rest == 0 && !d.further() {
		return
	}
	d.rest--
	return d.l.blocks[d.block][d.rest], true
}

// further goes on to the next block and reports whether there is one.
func (d *Down) further() bool {
	if d.block == 0 {
		return false
	}
	d.block--
	d.rest = int32(len(d.l.blocks[d.block]))
	return true
}

// DownFrom returns a walk that begins at the last item of a rank below high.
func (l *List) DownFrom(high int64) Down {
	if l.n == 0 || l.lasts[len(l.lasts)-1].Rank < high {
		return l.Down()
	}
	k, i := l.find(Item{Rank: high, Task: -1})
	return Down{l, int32(k), int32(i)}
}

// Part returns some of the items before the last one returned that have a rank of at least low, and a TaskID that none of theirs is above, the largest of them where that
// is known; nothing where there are no more: Next goes on behind them. The items are valid until the list changes. Do not modify.
func (d *Down) Part(low int64) ([]Item, sched.TaskID) {
	if d.rest == 0 && !d.further() {
		return nil, -1
	}
	b := d.l.blocks[d.block][:d.rest]
	switch {
	case b[len(b)-1].Rank < low:
		return nil, -1
	case b[0].Rank < low:
		i := Place(b, Item{Rank: low, Task: -1})
		d.rest = int32(i)
		return b[i:], math.MaxInt32
	}
	d.rest = 0
	return b, d.l.top(int(d.block))
}

// top returns the largest TaskID of a block.
func (l *List) top(block int) sched.TaskID {
	if l.tops[block] == unknown {
		l.tops[block] = largest(l.blocks[block])
	}
	return l.tops[block]
}

// largest returns the largest TaskID.
func largest(items []Item) sched.TaskID {
	t := sched.TaskID(-1)
	for i := range items {
		t = max(t, items[i].Task)
	}
	return t
}
