package heap

// Queue is a priority queue for items that mostly come in order: those that do stand in one line, at whose end they cost nothing; the others
// in a heap. The zero value is empty.
type Queue struct {
	line []Item
	head int
	late Heap
}

// Push adds an item.
func (q *Queue) Push(it Item) {
	if q.head == len(q.line) {
		q.line, q.head = q.line[:0], 0
	} else if it.Before(q.line[len(q.line)-1]) {
		q.late.Push(it)
		return
	}
	if len(q.line) == cap(q.line) && q.head > len(q.line)/2 {
		q.line, q.head = q.line[:copy(q.line, q.line[q.head:])], 0
	}
	q.line = append(q.line, it)
}

// inLate reports whether the smallest item is in the heap; some item must be there.
func (q *Queue) inLate() bool {
	return q.head == len(q.line) || len(q.late) > 0 && q.late[0].Before(q.line[q.head])
}

// First returns the smallest item, and false where there is none.
func (q *Queue) First() (Item, bool) {
	switch {
	case q.head == len(q.line) && len(q.late) == 0:
		return Item{}, false
	case q.inLate():
		return q.late[0], true
	}
	return q.line[q.head], true
}

// Pop removes the smallest item. The queue must not be empty.
func (q *Queue) Pop() {
	if q.inLate() {
		q.late.Pop()
		return
	}
	q.head++
}
