package sim

import "github.com/schedlab/schedlab/policies/sched"

// heapOf is a binary heap of what comes at a time, ties to the lower number: the first of all stands at 0. The zero value is empty. Time and number stand in
// its entries, since a comparison that is asked of the type in it would be a call.
type heapOf[T any] []timed[T]

type timed[T any] struct {
	at   sched.Time
	id   int64
	what T
}

func (a *timed[T]) before(b *timed[T]) bool { return a.at < b.at || a.at == b.at && a.id < b.id }

func (q *heapOf[T]) push(at sched.Time, id int64, what T) {
	x := timed[T]{at, id, what}
	h := append(*q, x)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !x.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = x
	*q = h
}

// pop removes and returns the first; there must be one.
func (q *heapOf[T]) pop() T {
	h := *q
	first, n := h[0].what, len(h)-1
	last := h[n]
	*q = h[:n]
	if n > 0 {
		q.sink(last)
	}
	return first
}

// replace puts another in the place of the first.
func (q *heapOf[T]) replace(at sched.Time, id int64, what T) { q.sink(timed[T]{at, id, what}) }

// sink puts x where the hole at 0 should be filled.
func (q *heapOf[T]) sink(x timed[T]) {
	h, i := *q, 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if right := child + 1; right < len(h) && h[right].before(&h[child]) {
			child = right
		}
		if !h[child].before(&x) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = x
}
