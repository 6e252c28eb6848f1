package sim

// heapOf is a binary heap of what comes before something else: the first of all stands at 0. The zero value is empty.
type heapOf[T interface{ Before(T) bool }] []T

func (q *heapOf[T]) push(x T) {
	h := append(*q, x)
	i := len(h) - 1
	for ; i > 0 && x.Before(h[(i-1)/2]); i = (i - 1) / 2 {
		h[i] = h[(i-1)/2]
	}
	h[i] = x
	*q = h
}

// pop removes and returns the first; there must be one.
func (q *heapOf[T]) pop() T {
	h := *q
	first, n := h[0], len(h)-1
	last := h[n]
	*q = h[:n]
	if n > 0 {
		q.replace(last)
	}
	return first
}

// replace puts another in the place of the first.
func (q *heapOf[T]) replace(x T) {
	h, i := *q, 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].Before(h[child]) {
			child++
		}
		if !h[child].Before(x) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = x
}
