package heap

import (
	"iter"

	"github.com/schedlab/schedlab/policies/sched"
)

// Queue is a Heap that takes constant time where tasks come in the order of their keys, as under FIFO: those stand in a plain line, and
// only the others in a heap beside it. The zero value is empty.
type Queue struct {
	line []Item // ascending from head on
	head int
	heap Heap
}

// Len returns the number of tasks.
func (q *Queue) Len() int { return len(q.line) - q.head + len(q.heap) }

// Push adds an item.
func (q *Queue) Push(it Item) {
	if n := len(q.line); n > q.head && it.Before(q.line[n-1]) {
		q.heap.Push(it)
		return
	}
	if q.head > 0 && len(q.line) == cap(q.line) && q.head >= len(q.line)/2 { // room at the front, instead of growing
		q.line = q.line[:copy(q.line, q.line[q.head:])]
		q.head = 0
	}
	q.line = append(q.line, it)
}

// Top returns the smallest item; there must be one.
func (q *Queue) Top() Item {
	if q.inLine() {
		return q.line[q.head]
	}
	return q.heap[0]
}

// inLine reports whether the smallest item stands in the line.
func (q *Queue) inLine() bool {
	return q.head < len(q.line) && (len(q.heap) == 0 || q.line[q.head].Before(q.heap[0]))
}

// Pop removes and returns the smallest item; there must be one.
func (q *Queue) Pop() Item {
	if !q.inLine() {
		return q.heap.Pop()
	}
	it := q.line[q.head]
	if q.head++; q.head == len(q.line) {
		q.line, q.head = q.line[:0], 0
	}
	return it
}

// Remove takes a task out wherever it stands; linear time, for the rare cases. It reports whether it was there.
func (q *Queue) Remove(t sched.TaskID) bool {
	for i := q.head; i < len(q.line); i++ {
		if q.line[i].Task == t {
			q.line = append(q.line[:i], q.line[i+1:]...)
			return true
		}
	}
	return q.heap.Remove(t)
}

// First returns the smallest item, and false where there is none.
func (q *Queue) First() (Item, bool) {
	if q.inLine() {
		return q.line[q.head], true
	}
	if len(q.heap) == 0 {
		return Item{}, false
	}
	return q.heap[0], true
}

// Rekey gives every task a new key; linear time.
func (q *Queue) Rekey(key func(sched.TaskID) int64) {
	q.heap = append(q.heap, q.line[q.head:]...)
	q.line, q.head = q.line[:0], 0
	for i := range q.heap {
		q.heap[i].Key = key(q.heap[i].Task)
	}
	q.heap.Init()
}

// Filter takes out what keep does not hold; linear time.
func (q *Queue) Filter(keep func(Item) bool) {
	line := q.line[:0]
	for _, it := range q.line[q.head:] {
		if keep(it) {
			line = append(line, it)
		}
	}
	rest := q.heap[:0]
	for _, it := range q.heap {
		if keep(it) {
			rest = append(rest, it)
		}
	}
	q.line, q.head, q.heap = line, 0, rest
	q.heap.Init()
}

// All returns the items in no special order.
func (q *Queue) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for _, it := range q.line[q.head:] {
			if !yield(it) {
				return
			}
		}
		for _, it := range q.heap {
			if !yield(it) {
				return
			}
		}
	}
}
