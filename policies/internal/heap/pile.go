package heap

import (
	"math/bits"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Pile keeps what stands behind the front of a line, so that the heap in front stays small, and in the processor's cache, however long the line
// is: tasks that few others wait for may stand in it to the very end. What is in the heap comes before what is in the pile. The pile is a wheel of slots by
// key, on levels of which each spans a whole turn of the one below (Varghese & Lauck 1987, scheme 7, hierarchical timing wheels): a key is read
// as digits of pileBits bits above the lowest `shift` bits, and an item stands on the level of the highest digit in which it differs from the base, in
// the slot of that digit. When few are left in the heap the next slot is put into it. So an item is moved two or three times, each time in
// constant time, where a heap of all compares it with a dozen others.
//
// As long as items are pushed in order, as those of equal keys are, the heap is a plain line, which is a heap too: the first is taken off its front. What comes out of
// the pile is put in order, for it is seldom that anything comes before it later. The zero value is empty.
type Pile struct {
	mixed bool // the heap is not in order, as far as is known
	store Heap // while it is: its array from the beginning on, empty,
	gone  int  // from which so many have been taken

	bound  uint64 // keys below it belong to the heap; while the pile is empty all do
	base   uint64 // at most bound; no key in the pile is below it
	shift  uint   // width of a slot of the lowest level: 1 << shift
	used   uint64 // which levels have items
	levels []pileLevel
	bags   []bag
	free   int32 // list of unused bags, index plus 1
	n      int
	most   int // items in the heap: beyond, those behind go to the pile

	scratch Heap  // of refill
	seen    int64 // of no meaning: that there is a use keeps the read of ahead
}

// bag is some items of a slot: they are read together, so they lie together, and where two lines of the cache meet they do not.
type bag struct {
	items [bagSize]Item
	next  int32 // of the same slot, index plus 1
	n     int32 // items, while none of a slot; of those of a slot all are full but for the first, of which that is told at its head
	_     [8]byte
}

// pileHead is the first bag of a slot, index plus 1, and above the three lowest bits; they say how many items are in it. 0 where the slot is empty.
type pileHead int32

func (h pileHead) bag() int32 { return int32(h >> 3) }
func (h pileHead) n() int32   { return int32(h & bagSize) }

// pileLevel is a turn of the wheel. Its zero value is empty.
type pileLevel struct {
	words uint64                 // which words of used are not 0
	used  [pileSlots / 64]uint64 // which slots are not empty
	head  [pileSlots]pileHead
}

const (
	pileBits  = 10
	pileSlots = 1 << pileBits
	bagSize   = 7   // all three bits of a pileHead
	frontMost = 128 // items in the heap
	nearEnd   = 16  // items of a line that make way for one that comes late
	fullSlot  = 64  // items: beyond, the slots are too wide
	fewItems  = 32  // are sorted by counting
	early     = 4   // items of a line when the next come to it, so that those who know them next can have a look at them
	aimedSlot = 8   // about so many items are to stand in a slot
)

// pileKey keeps the order of keys in a number without sign.
func pileKey(key int64) uint64 { return uint64(key) ^ 1<<63 }

// Len returns the number of items in the pile.
func (p *Pile) Len() int { return p.n }

// Push adds an item to the pile, or to the heap in front of it.
func (p *Pile) Push(h *Heap, it Item) {
	if p.n > 0 && pileKey(it.Key) >= p.bound {
		p.add(it)
		return
	}
	if !p.mixed {
		q := *h
		n := len(q)
		if n == 0 || !it.Before(q[n-1]) {
			if n == cap(q) {
				q = p.room(q, 1)
			}
			*h = append(q, it)
			return
		}
		if p.insert(h, it) {
			return
		}
		p.mix(h)
	}
	if h.Push(it); len(*h) > max(p.most, frontMost) {
		p.spill(h)
	}
}

// room makes room for some more items at the end of a line.
func (p *Pile) room(line Heap, more int) Heap {
	n := len(line)
	if front := min(p.gone/2, nearEnd, cap(p.store)-n-more); p.gone > n/2 && front >= 0 { // some room is left there
		line = p.store[:front+copy(p.store[front:front+n], line)][front:]
		p.gone = front
	} else {
		line = slices.Grow(line, n+more+8)
		p.store, p.gone = line[:0], 0
	}
	return line
}

// insert puts an item into its place in the line, if that is near to one of its ends: who was stopped is mostly the first when it comes back. It reports false where
// it is not.
func (p *Pile) insert(h *Heap, it Item) bool {
	q := *h
	n := len(q)
	if first := q[min(nearEnd, n-1)]; p.gone > 0 && it.Before(first) {
		q = p.store[:p.gone+n][p.gone-1:]
		p.gone--
		i := 0
		for ; !it.Before(q[i+1]); i++ {
			q[i] = q[i+1]
		}
		q[i] = it
		*h = q
		return true
	}
	if n > nearEnd && it.Before(q[n-nearEnd]) {
		return false
	}
	if n == cap(q) {
		q = p.room(q, 1)
	}
	q = append(q, it)
	i := n
	for ; i > 0 && it.Before(q[i-1]); i-- {
		q[i] = q[i-1]
	}
	q[i] = it
	*h = q
	return true
}

// mix makes a heap of the line, which is one already, at the beginning of its array.
func (p *Pile) mix(h *Heap) {
	if p.gone > 0 {
		*h = p.store[:copy(p.store[:len(*h)], *h)]
	}
	p.mixed, p.store, p.gone = true, nil, 0
}

// Pop removes and returns the first item of the heap, which is not empty afterwards unless the pile is empty too. It returns how many items have come to the heap
// from the pile: to the end of the line, or to anywhere.
func (p *Pile) Pop(h *Heap) (it Item, came int) {
	if !p.mixed {
		q := *h
		it = q[0]
		p.gone++
		*h = q[1:]
		switch {
		case len(q) > early+1:
		case p.n > 0:
			came = p.refill(h)
		case len(q) == 1:
			*h, p.gone = p.store, 0
		}
		return it, came
	}
	if it = h.Pop(); len(*h) == 0 {
		came = p.emptied(h)
	}
	return it, came
}

// emptied makes a line of the heap, which has run empty, puts the next items into it, and returns how many there are.
func (p *Pile) emptied(h *Heap) int {
	*h = (*h)[:0]
	p.mixed, p.store, p.gone = false, *h, 0
	if p.n == 0 {
		return 0
	}
	return p.refill(h)
}

// Remove takes a task out of the heap or the pile wherever it stands; linear time. It reports whether it was there.
func (p *Pile) Remove(h *Heap, t sched.TaskID) bool {
	if !p.mixed {
		p.mix(h)
	}
	if h.Remove(t) {
		if len(*h) == 0 {
			p.emptied(h)
		}
		return true
	}
	for turn := range p.levels {
		l := &p.levels[turn]
		for slot, h := range l.head {
			n := h.n()
			for i := h.bag(); i != 0; n = bagSize {
				b := &p.bags[i-1]
				for j := range b.items[:n] {
					if b.items[j].Task == t {
						b.items[j] = p.takeLast(uint(turn), uint64(slot))
						return true
					}
				}
				i = b.next
			}
		}
	}
	return false
}

// takeLast takes the last item of the first bag out of a slot, which is not empty.
func (p *Pile) takeLast(turn uint, slot uint64) Item {
	head := &p.levels[turn].head[slot]
	i := head.bag()
	b := &p.bags[i-1]
	it := b.items[head.n()-1]
	p.n--
	switch {
	case head.n() > 1:
		*head--
	case b.next != 0:
		*head = pileHead(b.next)<<3 + bagSize
		b.next, p.free = p.free, i
	default:
		*head = 0
		b.next, p.free = p.free, i
		p.unused(turn, slot)
	}
	return it
}

// Drain moves all to the heap, which the caller puts in order.
func (p *Pile) Drain(h *Heap) {
	if !p.mixed {
		p.mix(h)
	}
	for p.used != 0 {
		*h = append(*h, p.empty(p.first())...)
	}
}

// spread puts all that is in the pile into slots of another width, or by another base.
func (p *Pile) spread(shift uint) {
	all := int32(0)
	for turn := range p.levels {
		l := &p.levels[turn]
		for _, h := range l.head {
			n := h.n()
			for i := h.bag(); i != 0; n = bagSize {
				b := &p.bags[i-1]
				b.n, b.next, all, i = n, all, i, b.next
			}
		}
		*l = pileLevel{}
	}
	p.used, p.n, p.shift = 0, 0, shift
	for all != 0 {
		b := p.bags[all-1] // a copy: it may be the next one that is needed
		p.bags[all-1].next, p.free, all = p.free, all, b.next
		for _, it := range b.items[:b.n] {
			p.add(it)
		}
	}
}

// where returns the level and the slot of a key that is not below the base.
func (p *Pile) where(key uint64) (turn uint, slot uint64) {
	low := p.shift
	for x := (key ^ p.base) >> (low & 63); x >= pileSlots; x >>= pileBits {
		turn, low = turn+1, low+pileBits
	}
	return turn, key >> (low & 63) & (pileSlots - 1)
}

// add puts an item into its slot.
func (p *Pile) add(it Item) {
	turn, slot := p.where(pileKey(it.Key))
	for int(turn) >= len(p.levels) {
		p.levels = append(p.levels, pileLevel{})
	}
	l := &p.levels[turn]
	h := l.head[slot]
	n := h.n()
	if n == 0 || n == bagSize {
		h, n = pileHead(p.bag(h.bag()))<<3, 0
		l.used[slot>>6] |= 1 << (slot & 63)
		l.words |= 1 << (slot >> 6 & 63)
		p.used |= 1 << (turn & 63)
	}
	p.bags[h.bag()-1].items[n] = it
	l.head[slot] = h + 1
	p.n++
}

// bag returns an unused bag, in front of another.
func (p *Pile) bag(next int32) int32 {
	i := p.free
	if i == 0 {
		if len(p.bags) == cap(p.bags) {
			p.bags = slices.Grow(p.bags, len(p.bags)+8)
		}
		p.bags = append(p.bags, bag{})
		i = int32(len(p.bags))
	} else {
		p.free = p.bags[i-1].next
	}
	p.bags[i-1].next = next
	return i
}

// first returns the level and the slot of the smallest keys; there must be some.
func (p *Pile) first() (turn uint, slot uint64) {
	turn = uint(bits.TrailingZeros64(p.used))
	l := &p.levels[turn]
	word := uint64(bits.TrailingZeros64(l.words))
	return turn, word<<6 + uint64(bits.TrailingZeros64(l.used[word]))
}

// empty takes the items out of a slot, in no order. They are valid until it is called again.
func (p *Pile) empty(turn uint, slot uint64) Heap {
	l := &p.levels[turn]
	head := l.head[slot]
	l.head[slot] = 0
	p.unused(turn, slot)
	q, n := p.scratch, int(head.n())
	for i := head.bag(); i != 0; n = bagSize {
		b := &p.bags[i-1]
		at := len(q)
		if cap(q)-at < bagSize { // once for all of them
			q = slices.Grow(q, bagSize+p.behind(b.next))
		}
		*(*[bagSize]Item)(q[at : at+bagSize]) = b.items // with what is not in it: where a copy ends would be guessed wrong
		q = q[:at+n]
		i, b.next, p.free = b.next, p.free, i
	}
	p.n -= len(q)
	p.scratch = q[:0]
	return q
}

// behind returns how many items are in a bag that is not the first of its slot and in those behind it.
func (p *Pile) behind(i int32) (n int) {
	for ; i != 0; i = p.bags[i-1].next {
		n += bagSize
	}
	return n
}

// unused notes that a slot has become empty.
func (p *Pile) unused(turn uint, slot uint64) {
	l := &p.levels[turn]
	if l.used[slot>>6] &^= 1 << (slot & 63); l.used[slot>>6] == 0 {
		if l.words &^= 1 << (slot >> 6 & 63); l.words == 0 {
			p.used &^= 1 << (turn & 63)
		}
	}
}

// refill moves the next items to the end of the line, and returns how many. The pile must not be empty.
func (p *Pile) refill(h *Heap) int {
	for {
		turn, slot := p.first()
		items := p.empty(turn, slot)
		low := p.shift + pileBits*turn
		p.base = p.base&^(1<<(low+pileBits)-1) | slot<<low
		if turn == 0 && (len(items) <= fullSlot || !p.narrow(items)) {
			p.bound = p.base + 1<<low // 0 after the last slot of all: the pile is empty then
			p.ahead()
			p.front(h, items)
			p.most = max(2*len(*h), p.n/4)
			return len(items)
		}
		p.bound = p.base
		for _, it := range items {
			p.add(it)
		}
	}
}

// ahead looks at what the next refill will need, so that the miss of the cache happens beside what else there is to do.
func (p *Pile) ahead() {
	if p.n > 0 {
		turn, slot := p.first()
		p.seen += p.bags[p.levels[turn].head[slot].bag()-1].items[0].Key
	}
}

// narrow makes the slots narrower where that divides what was in one of them.
func (p *Pile) narrow(items []Item) bool {
	shift := p.width(items)
	if shift >= p.shift {
		return false
	}
	p.spread(shift)
	return true
}

// width returns the width of slots among which such items are to be divided, as shift.
func (p *Pile) width(items []Item) uint {
	low, high := pileKey(items[0].Key), pileKey(items[0].Key)
	for _, it := range items {
		low, high = min(low, pileKey(it.Key)), max(high, pileKey(it.Key))
	}
	return uint(bits.Len64((high - low) / uint64(max(len(items)/aimedSlot, 1))))
}

// spill makes a pile of all but the first items of the heap, and of what is in the pile.
func (p *Pile) spill(h *Heap) {
	low, shift := pileKey((*h)[0].Key), p.shift
	if p.n == 0 { // else the slots have a width that has served
		shift = p.width(*h)
	}
	n := len(*h)
	if bound := (low>>shift + 1) << shift; bound > low { // else there is only one slot
		p.base, p.bound, n = low, bound, 0
		p.spread(shift)
		for _, it := range *h {
			if pileKey(it.Key) < bound {
				(*h)[n] = it
				n++
			} else {
				p.add(it)
			}
		}
		*h = (*h)[:n]
		h.Init()
	}
	p.most = max(2*n, p.n/4)
}

// front puts the items of a slot, which come behind those of the line, to its end in order; of very many it makes a heap.
func (p *Pile) front(h *Heap, items []Item) {
	if len(items) > fullSlot {
		p.mix(h)
		*h = append(*h, items...)
		h.Init()
		return
	}
	line := *h
	n := len(line)
	if cap(line)-n < len(items) {
		line = p.room(line, len(items))
	}
	line = line[:n+len(items)]
	*h = line
	q := line[n:]
	if len(items) <= fewItems {
		count(q, items)
	} else {
		copy(q, items)
	}
	for i := 1; i < len(q); i++ {
		it, j := q[i], i
		for ; j > 0 && it.Before(q[j-1]); j-- {
			q[j] = q[j-1]
		}
		q[j] = it
	}
}

// count writes a few items to q in the order of their keys: each behind as many as there are with smaller ones. It compares all with all, without a branch that the
// processor would guess wrong half the times.
func count(q, items []Item) {
	var place [fewItems]uint8
	for i := range items {
		key, n := items[i].Key, place[i%fewItems]
		for j := i + 1; j < len(items); j++ {
			less := uint8(0)
			if items[j].Key < key {
				less = 1
			}
			n += less
			place[j%fewItems] += 1 - less
		}
		q[n] = items[i]
	}
}
