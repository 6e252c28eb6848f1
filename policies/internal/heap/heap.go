// Package heap is the priority queue of the policies: a binary heap of tasks by an integer key, smallest first, ties to the lower
// TaskID. Pushing and popping allocate nothing once the heap has its size.
package heap

import (
	"math/bits"

	"github.com/schedlab/schedlab/policies/sched"
)

// Item is a task with its key.
type Item struct {
	Key  int64
	Task sched.TaskID
}

// Before is the total order of a heap.
func (a Item) Before(b Item) bool { return a.Key < b.Key || a.Key == b.Key && a.Task < b.Task }

// Heap is a binary heap; the zero value is empty. The first item is the smallest.
type Heap []Item

// Push adds an item.
func (h *Heap) Push(it Item) {
	q := append(*h, it)
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !it.Before(q[parent]) {
			break
		}
		q[i] = q[parent]
		i = parent
	}
	q[i] = it
	*h = q
}

// Pop removes and returns the smallest item. The heap must not be empty.
func (h *Heap) Pop() Item {
	q := *h
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	if len(q) > 0 {
		q.down(0, last)
	}
	return top
}

// down puts it where a hole at i should be filled.
func (h Heap) down(i int, it Item) {
	c := 2*i + 1
	for ; c+1 < len(h); c = 2*i + 1 {
		c += first(&h[c+1], &h[c])
		if !h[c].Before(it) {
			h[i] = it
			return
		}
		h[i] = h[c]
		i = c
	}
	if c < len(h) && h[c].Before(it) {
		h[i] = h[c]
		i = c
	}
	h[i] = it
}

// first is 1 where a comes before b, else 0: which of two children that is no processor can guess, so it is subtracted and not branched.
func first(a, b *Item) int {
	_, less := bits.Sub64(uint64(uint32(a.Task)^1<<31), uint64(uint32(b.Task)^1<<31), 0)
	_, less = bits.Sub64(uint64(a.Key)^1<<63, uint64(b.Key)^1<<63, less)
	return int(less)
}

// Remove takes a task out wherever it stands; linear time, for the rare cases. It reports whether it was there.
func (h *Heap) Remove(t sched.TaskID) bool {
	for i, it := range *h {
		if it.Task != t {
			continue
		}
		q := *h
		q[i] = q[len(q)-1]
		*h = q[:len(q)-1]
		h.Init()
		return true
	}
	return false
}

// Init makes a heap of items in any order.
func (h Heap) Init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i, h[i])
	}
}
