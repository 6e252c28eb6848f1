package sim

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// end is a scheduled end of an attempt.
type end struct {
	at      sched.Time
	task    sched.TaskID
	attempt int32
}

func (e end) Before(f end) bool { return e.at < f.at || e.at == f.at && e.task < f.task }

// ends is the queue of scheduled ends by time, ties to the lower TaskID. Far ends stand in a wheel of slots (Varghese & Lauck 1987, scheme 7,
// hierarchical timing wheels): a time is read as digits of wheelBits bits above the lowest `shift` bits, and an end stands on the level of the highest digit
// in which it differs from the base, in the slot of that digit. The ends of the next slot are sorted into a line, from which they are
// taken one by one; what is pushed after that and comes before the slot's end goes into a heap beside it. So an end is moved two or three
// times in its life, each time in constant time, where a heap of all compares it with a dozen others. The width of the slots follows the
// density of the ends. Ends of attempts that were stopped stay until they come up: cancelling by attempt number is cheaper than removing. The
// zero value is empty.
type ends struct {
	line  []end       // the slot's, the next one last
	late  heapOf[end] // pushed since, and before bound
	bound uint64
	base  uint64 // at most bound; no end in the wheel is before it
	shift uint   // width of a slot of the lowest level: 1 << shift ns

	wheel  []level // made when they are needed
	levels uint64  // which levels have ends
	nodes  []farEnd
	free   int32      // list of unused nodes, index plus 1
	far    int        // ends in the wheel
	n      int        // all ends
	first  sched.Time // when the next of them is
	pulled bool       // a line was made since somebody looked
	moved  int        // ends that went down a level since the last ends were taken, a few forgotten for each of these
}

type farEnd struct {
	end
	next int32
}

const (
	wheelBits  = 12
	wheelSlots = 1 << wheelBits
	fullSlot   = 96 // ends: beyond, the slots are too wide
	aimedSlot  = 16 // about so many ends are to stand in a slot
)

// level is a turn of the wheel. Its zero value is empty.
type level struct {
	words uint64                  // which words of used are not 0
	used  [wheelSlots / 64]uint64 // which slots are not empty
	head  [wheelSlots]int32       // index in nodes plus 1
}

// timeKey keeps the order of times, also of negative ones, in a number without sign.
func timeKey(t sched.Time) uint64 { return uint64(t) ^ 1<<63 }

// start says when time begins, so that the first slots are not as wide as all time. The queue must be new.
func (q *ends) start(at sched.Time) { q.base, q.bound = timeKey(at), timeKey(at) }

// push adds an end, at any time.
func (q *ends) push(e end) {
	if q.n == 0 || e.at < q.first {
		q.first = e.at
	}
	q.n++
	if timeKey(e.at) < q.bound {
		q.late.push(e)
		return
	}
	if q.far == 0 {
		q.resettle(e)
	}
	q.far++
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

// resettle chooses the width of the slots anew while the wheel is empty, for runs like that of e, if it is far off.
func (q *ends) resettle(e end) {
	want := uint(max(bits.Len64(timeKey(e.at)-q.bound)+bits.Len(aimedSlot)-1-wheelBits, 0))
	if q.wheel == nil || want > q.shift+wheelBits {
		q.shift = want
	}
	q.base = q.bound
}

// link puts a node into its slot.
func (q *ends) link(i int32) {
	n := &q.nodes[i-1]
	key, low, turn := timeKey(n.at), q.shift, uint(0)
	for x := (key ^ q.base) >> (low & 63); x >= wheelSlots; x >>= wheelBits {
		turn, low = turn+1, low+wheelBits
	}
	for int(turn) >= len(q.wheel) {
		q.wheel = append(q.wheel, level{})
	}
	l := &q.wheel[turn]
	slot := key >> (low & 63) & (wheelSlots - 1)
	n.next = l.head[slot]
	l.head[slot] = i
	l.used[slot>>6] |= 1 << (slot & 63)
	l.words |= 1 << (slot >> 6 & 63)
	q.levels |= 1 << (turn & 63)
}

// empty reports whether no end is left.
func (q *ends) empty() bool { return q.n == 0 }

// next returns when the next end is; Never where there is none.
func (q *ends) next() sched.Time {
	if q.n == 0 {
		return sched.Never
	}
	return q.first
}

// top returns the next end; there must be one.
func (q *ends) top() end {
	if q.inLine() {
		return q.line[len(q.line)-1]
	}
	return q.late[0]
}

// inLine reports whether the next end, of which there must be one, stands in the line; else it is the first of the heap.
func (q *ends) inLine() bool {
	if len(q.late) == 0 {
		if len(q.line) == 0 {
			q.pull()
		}
		return true
	}
	return len(q.line) > 0 && q.line[len(q.line)-1].Before(q.late[0])
}

// pop removes and returns the next end; there must be one.
func (q *ends) pop() end {
	var e end
	if q.inLine() {
		n := len(q.line) - 1
		e, q.line = q.line[n], q.line[:n]
	} else {
		e = q.late.pop()
	}
	if q.n--; q.n > 0 {
		if n := len(q.line); n > 0 && len(q.late) == 0 {
			q.first = q.line[n-1].at
		} else {
			q.first = q.top().at
		}
	}
	return e
}

// pull makes a line of the ends of the first slot, which must be there; line and heap are empty.
func (q *ends) pull() {
	for {
		turn := uint(bits.TrailingZeros64(q.levels))
		l := &q.wheel[turn]
		word := bits.TrailingZeros64(l.words)
		slot := uint64(word<<6 + bits.TrailingZeros64(l.used[word]))
		i := l.head[slot]
		l.head[slot] = 0
		if l.used[word] &= l.used[word] - 1; l.used[word] == 0 {
			if l.words &^= 1 << word; l.words == 0 {
				q.levels &^= 1 << turn
			}
		}
		low := q.shift + wheelBits*turn
		q.base = q.base&^(1<<(low+wheelBits)-1) | slot<<low
		if turn > 0 {
			if q.bound = q.base; q.moved > 4*len(q.nodes)+wheelSlots {
				q.spread(i, q.shift+2) // ends come down more often than up: wider slots
				continue
			}
			for i != 0 {
				next := q.nodes[i-1].next
				q.link(i)
				q.moved++
				i = next
			}
			continue
		}
		final := i
		for j := i; j != 0; {
			node := &q.nodes[j-1]
			q.line = append(q.line, node.end)
			final, j = j, node.next
		}
		n := len(q.line)
		if n > fullSlot && q.shift > 0 {
			q.line = q.line[:0]
			q.bound = q.base
			q.spread(i, q.shift-min(q.shift, uint(bits.Len(uint(n/aimedSlot))-1)))
			continue
		}
		q.bound = q.base + 1<<low
		if q.bound < q.base { // the last slot of all: what is pushed at the last instants goes to the heap as well
			q.bound = 1<<64 - 1
		}
		q.far -= n
		q.moved = max(0, q.moved-3*n)
		q.nodes[final-1].next, q.free = q.free, i
		if n > 1 {
			q.sortLine()
		}
		q.pulled = true
		return
	}
}

// spread builds the wheel anew with slots of another width; i is the list of a slot that was taken out.
func (q *ends) spread(i int32, shift uint) {
	all := i
	for turn := range q.wheel {
		l := &q.wheel[turn]
		for slot := range l.head {
			for j := l.head[slot]; j != 0; {
				next := q.nodes[j-1].next
				q.nodes[j-1].next, all, j = all, j, next
			}
		}
		*l = level{}
	}
	q.levels, q.shift, q.moved = 0, min(shift, 64-wheelBits), 0
	for all != 0 {
		next := q.nodes[all-1].next
		q.link(all)
		all = next
	}
}

// sortLine sorts the line, the next end last.
func (q *ends) sortLine() {
	h := q.line
	if len(h) > 48 {
		slices.SortFunc(h, func(a, b end) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.task, a.task)) })
		return
	}
	for i := 1; i < len(h); i++ {
		e, j := h[i], i
		for ; j > 0 && h[j-1].Before(e); j-- {
			h[j] = h[j-1]
		}
		h[j] = e
	}
}
