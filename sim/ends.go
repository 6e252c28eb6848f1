package sim

import (
	"math"
	"math/bits"

	"github.com/schedlab/schedlab/policies/sched"
)

// end is a scheduled end of an attempt.
type end struct {
	at      sched.Time
	task    sched.TaskID
	attempt int32
}

func (e end) Before(f end) bool { return e.at < f.at || e.at == f.at && e.task < f.task }

// ends is the queue of scheduled ends by time, ties to the lower TaskID: a calendar (Brown 1988) with a heap beside it. Time is cut into slots for two to four
// ends each; the ends of so many slots from now on stand in a ring of lists, one a slot. Page by page of a few slots they are put into a line, in order,
// from which they are taken one by one. What comes before the line's end later is put into its place there; what comes after the ring's end, or finds the
// line full, waits in the heap. So nearly every end is moved twice in its life, each time in constant time, where a heap of all compares it with a dozen
// others; and where ends do not come as the slots would have them, a heap of all is what remains. The slots' width follows the rate at
// which ends are taken, the ring's length their number.
//
// Ends of attempts that were stopped are dropped where that is quick; others stay until they come up, or until somebody prunes: attempts are told apart by
// their numbers.
// Invariant: an end is in the ring only if its slot is one of cur..cur+len(ring)-1, and in the line only if its slot is before cur.
type ends struct {
	first  sched.Time // when the next of all is; Never where there is none
	head   uint       // line[head:tail] are the next ones, in order
	tail   uint
	sure   uint        // tail, if the whole line comes before the heap; else 0
	free   int32       // list of unused nodes
	shift  uint32      // slots are 1 << shift ns wide
	cur    uint64      // number of the ring's first slot, which begins a page
	nodes  []endNode   // from 1
	ring   []int32     // by the slot's number, modulo its length, a power of two: the slot's first node; 0: none
	inRing int         // ends
	heap   heapOf[end] // may hold any
	pulled bool        // a line was made since somebody looked

	since   sched.Time // the slots' width was chosen; since then
	taken   int        // so many ends have been taken, those in the line among them,
	strays  int        // so many of them from the heap,
	scanned int        // and so many slots were looked at;
	due     int        // so much of it is enough to choose it anew

	line [lineSize]end
}

type endNode struct {
	end
	next int32
}

const (
	lineSize  = 64
	pageSlots = 8 // slots whose ends are put into the line together
	minRing   = 1 << 11
	maxRing   = 1 << 22
	fewInSlot = 8 // ends of a slot that drop looks at
)

// timeKey keeps the order of times, also of negative ones, in a number without sign.
func timeKey(t sched.Time) uint64 { return uint64(t) ^ 1<<63 }

// slotOf returns the number of a time's slot.
func (q *ends) slotOf(t sched.Time) uint64 { return timeKey(t) >> (q.shift & 63) }

// pageOf returns the number of the first slot of a time's page.
func (q *ends) pageOf(t sched.Time) uint64 { return q.slotOf(t) &^ (pageSlots - 1) }

// start makes the queue ready, and empty, when time begins.
func (q *ends) start(at sched.Time) { *q = ends{first: sched.Never, since: at} }

// push adds an end, at any time.
func (q *ends) push(e end) {
	if e.at < q.first {
		q.first = e.at
	}
	slot, i := q.slotOf(e.at), q.free
	if slot-q.cur >= uint64(len(q.ring)) || i == 0 {
		q.aside(e)
		return
	}
	n := &q.nodes[i]
	at := &q.ring[slot&uint64(len(q.ring)-1)]
	q.free = n.next
	n.end, n.next = e, *at
	*at = i
	q.inRing++
}

// aside adds an end that has no place in the ring, or no node yet.
func (q *ends) aside(e end) {
	if q.ring == nil {
		// The first run says how long runs are: the ring is to take most of them.
		run := max(uint64(e.at-q.since), 1)
		q.ring, q.nodes, q.due = make([]int32, minRing), make([]endNode, 1, 64), 512
		q.shift = uint32(max(bits.Len64(run)+2-(bits.Len(minRing)-1), 1))
		q.cur = q.pageOf(q.since)
	}
	if q.inRing == 0 && q.head == q.tail { // time has gone on without the ring; it is not known how far, but to no later than the next end
		q.cur = q.pageOf(e.at)
		if len(q.heap) > 0 {
			q.cur = min(q.cur, q.pageOf(q.heap[0].at))
		} else {
			q.cur -= min(q.cur, uint64(len(q.ring))/2)
		}
	}
	if q.slotOf(e.at) < q.cur && q.insert(e) {
		q.taken++
		q.compare()
		return
	}
	q.place(e)
}

// place puts an end into the ring, or else into the heap.
func (q *ends) place(e end) {
	if q.slotOf(e.at)-q.cur >= uint64(len(q.ring)) {
		q.toHeap(e)
		q.compare()
		return
	}
	if q.free == 0 {
		q.nodes = append(q.nodes, endNode{})
		q.free = int32(len(q.nodes) - 1)
	}
	q.push(e)
}

func (q *ends) toHeap(e end) { q.heap.push(e.at, int64(e.task), e) }

// insert puts an end into its place in the line, if there is room.
func (q *ends) insert(e end) bool {
	if q.tail == lineSize {
		if q.head == 0 {
			return false
		}
		copy(q.line[:], q.line[q.head:])
		q.head, q.tail = 0, q.tail-q.head
	}
	q.sink(q.tail, e)
	q.tail++
	return true
}

// sink puts an end into place i of the line, or before those of the line that come after it.
func (q *ends) sink(i uint, e end) {
	for ; i > q.head && e.Before(q.line[(i-1)%lineSize]); i-- {
		q.line[i%lineSize] = q.line[(i-1)%lineSize]
	}
	q.line[i%lineSize] = e
}

// compare finds out whether the whole line comes before the heap: its ends come before its bound.
func (q *ends) compare() {
	q.sure = q.tail
	if len(q.heap) > 0 && q.slotOf(q.heap[0].at) < q.cur {
		q.sure = 0
	}
}

// len returns how many ends there are.
func (q *ends) len() int { return q.inRing + int(q.tail-q.head) + len(q.heap) }

// empty reports whether no end is left.
func (q *ends) empty() bool { return q.len() == 0 }

// next returns when the next end is; Never where there is none.
func (q *ends) next() sched.Time { return q.first }

// soon returns ends that come next, in order, but for those in the heap. It is valid until the queue is changed.
func (q *ends) soon() []end { return q.line[q.head:q.tail] }

// pop removes and returns the next end; there must be one.
func (q *ends) pop() end {
	i := q.head
	if i+1 >= q.sure {
		return q.take()
	}
	q.head = i + 1
	q.first = q.line[(i+1)%lineSize].at
	return q.line[i%lineSize]
}

// top returns the next end; there must be one.
func (q *ends) top() end {
	if q.inLine() {
		return q.line[q.head]
	}
	return q.heap[0].what
}

// inLine reports whether the next end, of which there must be one, stands in the line; else it is the first of the heap. A line that is used up is
// made anew.
func (q *ends) inLine() bool {
	if q.head == q.tail && q.inRing > 0 {
		q.pull()
	}
	return q.head < q.sure || q.head < q.tail && (len(q.heap) == 0 || q.line[q.head].Before(q.heap[0].what))
}

// take is pop where the line ends, or the heap may come before it.
func (q *ends) take() (e end) {
	if q.inLine() {
		e = q.line[q.head]
		q.head++
	} else {
		e = q.heap.pop()
		q.taken++
		q.strays++
		q.compare()
	}
	if q.taken+q.scanned/8 > q.due {
		q.adapt(e.at)
	}
	q.look()
	return e
}

// look finds out when the next end is.
func (q *ends) look() {
	q.first = sched.Never
	if !q.empty() {
		q.first = q.top().at
	}
}

// pull makes a line of the ends of the ring's next page that has any, which must be there; the line is used up.
func (q *ends) pull() {
	slot, ring := q.cur, q.ring
	mask := uint64(len(ring) - 1)
	for ring[slot&mask] == 0 {
		slot++
	}
	stop := slot&^(pageSlots-1) + pageSlots
	q.scanned += int(stop - q.cur)
	q.cur = stop
	var lists [pageSlots]int32
	k := uint(0)
	for ; slot != stop; slot++ {
		at := &ring[slot&mask]
		if i := *at; i != 0 {
			*at = 0
			lists[k%pageSlots] = i
			k++
		}
	}
	q.head, q.tail = 0, 0
	n, old := uint(0), len(q.heap)
	nodes, latest := q.nodes, sched.Time(math.MinInt64)
	for _, list := range lists[:k] {
		i := list
		for {
			node := &nodes[i]
			switch {
			case n == lineSize:
				q.toHeap(node.end)
			case node.at > latest:
				latest = node.at
				q.line[n] = node.end
				n++
			default:
				q.sink(n, node.end)
				n++
			}
			if node.next == 0 {
				node.next, q.free = q.free, list
				break
			}
			i = node.next
		}
	}
	q.tail = n
	n += uint(len(q.heap) - old)
	q.inRing -= int(n)
	q.taken += int(n)
	for len(q.heap) > 0 && q.slotOf(q.heap[0].at) < stop && q.insert(q.heap[0].what) {
		q.heap.pop()
		q.taken++
		q.strays++
	}
	q.compare()
	q.pulled = true
}

// adapt chooses the slots' width by the rate at which ends were taken up to now, and the ring's length so that the ring holds most of what is to come.
// The present ones stay if they are about right, and serve.
func (q *ends) adapt(now sched.Time) {
	span, taken, strays := uint64(now-q.since), max(q.taken, 1), q.strays
	forward := now > q.since
	q.since, q.taken, q.strays, q.scanned = now, 0, 0, 0
	q.due = min(2*q.due, 4*q.len()+1024) // at first it is known less well
	if !forward {
		return
	}
	shift := uint32(max(min(bits.Len64(span/uint64(taken))+1, 60), 1)) // 2 to 4 ends a slot
	size := max(min(max(1<<bits.Len(uint(4*q.len())), minRing), maxRing), len(q.ring))
	if shift+1 < q.shift || shift > q.shift+1 || size > len(q.ring) || strays > taken/4 {
		q.rebuild(now, shift, size)
	}
}

// rebuild makes a ring of another length, with slots of another width, that begins now. What finds no place in it goes into the heap.
func (q *ends) rebuild(now sched.Time, shift uint32, size int) {
	all, nodes := int32(0), q.nodes
	for k, i := range q.ring {
		for i != 0 {
			n := &nodes[i]
			i, n.next, all = n.next, all, i
		}
		q.ring[k] = 0
	}
	if size != len(q.ring) {
		q.ring = make([]int32, size)
	}
	heap, line := q.heap, q.soon()
	q.heap, q.head, q.tail, q.sure, q.inRing = q.heap[:0], 0, 0, 0, 0
	q.shift = shift
	q.cur = q.pageOf(now)
	for i := range heap { // what goes back into the heap falls behind what was looked at
		q.place(heap[i].what)
	}
	for _, e := range line {
		q.place(e)
	}
	for all != 0 {
		n := &q.nodes[all]
		e := n.end
		all, n.next, q.free = n.next, q.free, all
		q.place(e)
	}
}

// drop takes the end of a task at a time out, if it is found at once: in the ring, in a slot of few. Otherwise it stays, and comes up, or is pruned.
func (q *ends) drop(at sched.Time, t sched.TaskID) {
	slot := q.slotOf(at)
	if slot-q.cur >= uint64(len(q.ring)) {
		return
	}
	link := &q.ring[slot&uint64(len(q.ring)-1)]
	for range fewInSlot {
		i := *link
		if i == 0 {
			return
		}
		n := &q.nodes[i]
		if n.task != t || n.at != at {
			link = &n.next
			continue
		}
		*link = n.next
		n.next, q.free = q.free, i
		q.inRing--
		if at == q.first { // it was not in the line, of which there is none then
			q.look()
		}
		return
	}
}

// prune takes ends out that are not to be kept; those that come up soon stay.
func (q *ends) prune(keep func(end) bool) {
	for k, i := range q.ring {
		if i == 0 {
			continue
		}
		at := &q.ring[k]
		for ; i != 0; i = *at {
			if n := &q.nodes[i]; keep(n.end) {
				at = &n.next
			} else {
				*at = n.next
				n.next, q.free = q.free, i
				q.inRing--
			}
		}
	}
	heap := q.heap
	q.heap = q.heap[:0]
	for i := range heap {
		if e := heap[i].what; keep(e) {
			q.toHeap(e)
		}
	}
	q.compare()
	q.look()
}
