package sim

import (
	"math/bits"

	"github.com/schedlab/schedlab/policies/sched"
)

// end is a scheduled end of an attempt.
type end struct {
	at      sched.Time
	task    sched.TaskID
	attempt int32
}

func (e end) before(f end) bool { return e.at < f.at || e.at == f.at && e.task < f.task }

// ends is the queue of scheduled ends by time, ties to the lower TaskID. The ends that come next stand in a small binary heap; the
// others in a wheel of slots, from which they come slot by slot: time is read as digits of six bits, and an end stands on the level of the
// highest digit in which it differs from the base, in the slot of that digit (Varghese & Lauck 1987, scheme 7, hierarchical timing wheels). An end is moved
// two or three times in its life, each time in constant time, where a heap of all compares it with a dozen others. Ends of attempts that were stopped stay until they come up:
// cancelling by attempt number is cheaper than removing. The zero value is empty.
type ends struct {
	near  []end  // a heap of all ends before bound
	bound uint64 // key
	base  uint64 // key, at most bound; no end in the wheel is before it

	levels uint64 // which levels have ends
	slots  [wheelLevels]uint64
	head   [wheelLevels][64]int32 // index in nodes plus 1
	count  [wheelLevels][64]int32
	nodes  []farEnd
	free   int32 // list of unused nodes, index plus 1
}

type farEnd struct {
	end
	next int32
}

const (
	wheelLevels = 11 // of 6 bits: all of 64
	nearEnds    = 8  // a slot with more ends is spread over the level below
)

// timeKey keeps the order of times, also of negative ones, in a number without sign.
func timeKey(t sched.Time) uint64 { return uint64(t) ^ 1<<63 }

// push adds an end, at any time.
func (q *ends) push(e end) {
	if timeKey(e.at) < q.bound {
		q.pushNear(e)
		return
	}
	i := q.free
	if i == 0 {
		q.nodes = append(q.nodes, farEnd{})
		i = int32(len(q.nodes))
	} else {
		q.free = q.nodes[i-1].next
	}
	q.nodes[i-1].end = e
	q.link(i)
}

// link puts a node into its slot.
func (q *ends) link(i int32) {
	n := &q.nodes[i-1]
	key := timeKey(n.at)
	level := uint(bits.Len64((key^q.base)|1)-1) / 6
	slot := key >> (6 * level) & 63
	n.next = q.head[level][slot]
	q.head[level][slot] = i
	q.count[level][slot]++
	q.slots[level] |= 1 << slot
	q.levels |= 1 << level
}

// empty reports whether no end is left.
func (q *ends) empty() bool { return len(q.near) == 0 && q.levels == 0 }

// top returns the next end; there must be one.
func (q *ends) top() end {
	if len(q.near) == 0 {
		q.pull()
	}
	return q.near[0]
}

// pull takes the ends of the first slot into the empty heap.
func (q *ends) pull() {
	for {
		level := uint(bits.TrailingZeros64(q.levels))
		slot := uint(bits.TrailingZeros64(q.slots[level]))
		i, n := q.head[level][slot], q.count[level][slot]
		q.head[level][slot], q.count[level][slot] = 0, 0
		if q.slots[level] &^= 1 << slot; q.slots[level] == 0 {
			q.levels &^= 1 << level
		}
		// The shifts are done in two steps, since that of the last level is by more than 64 bits.
		low := 6 * level
		q.base = q.base>>low>>6<<6<<low | uint64(slot)<<low
		if n > nearEnds && level > 0 {
			q.bound = q.base
			for i != 0 {
				next := q.nodes[i-1].next
				q.link(i)
				i = next
			}
			continue
		}
		q.bound = q.base + 1<<low
		if q.bound < q.base { // the last slot of all: what is pushed at the last instants goes to the heap as well
			q.bound = 1<<64 - 1
		}
		for i != 0 {
			node := &q.nodes[i-1]
			q.pushNear(node.end)
			i, node.next, q.free = node.next, q.free, i
		}
		return
	}
}

func (q *ends) pushNear(e end) {
	h := append(q.near, e)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
	q.near = h
}

// pop removes the next end, which top has returned.
func (q *ends) pop() {
	h := q.near
	last := h[len(h)-1]
	h = h[:len(h)-1]
	q.near = h
	n, i := len(h), 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(last) {
			break
		}
		h[i] = h[child]
		i = child
	}
	if n > 0 {
		h[i] = last
	}
}
