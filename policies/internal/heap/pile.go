package heap

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Pile keeps what stands far back in a line, so that the heap of those in front stays small, and in the processor's cache, however long the line
// is: tasks that few others wait for may stand in it to the very end. It is a stack of parts without an order inside (Navarro & Paredes, On
// sorting, heaps, and minimum spanning trees, Algorithmica 57, 2010): what is in the heap comes before what is in the pile, what is in one part
// before what is in those below it. The nearest part is divided only when the heap has run empty, so most tasks are moved a few times, all of them in rows,
// where a heap of all would compare each with a dozen others all over it. The zero value is empty.
type Pile struct {
	items []Item
	parts []part // the farthest first
}

// part is items[from:] up to the next one's.
type part struct {
	from  int
	least Item // nothing in it or below comes before it, and nothing above or in the heap is or comes after it
}

const (
	frontMost  = 2048 // items in the heap: beyond, about half of them go to the pile
	frontFew   = 1024 // items in a part: up to so many go to the heap together
	partSmall  = 8192 // items in the nearest part: below, what comes from the heap joins it
	partsMany  = 24   // parts: from so many on likewise
	sampleSize = 9
)

// Len returns the number of items in the pile.
func (p *Pile) Len() int { return len(p.items) }

// Push adds an item to the pile, or to the heap in front of it.
func (p *Pile) Push(h *Heap, it Item) {
	top := len(p.parts) - 1
	if top < 0 || it.Before(p.parts[top].least) {
		if h.Push(it); len(*h) > frontMost {
			p.spill(h)
		}
		return
	}
	i := top
	for i > 0 && !it.Before(p.parts[i-1].least) {
		i--
	}
	// Each part above makes room below itself by moving its first item behind its last.
	at := len(p.items)
	p.items = append(p.items, it)
	for ; top > i; top-- {
		from := p.parts[top].from
		p.items[at] = p.items[from]
		p.parts[top].from, at = from+1, from
	}
	p.items[at] = it
}

// Pop removes and returns the first item of the heap, which is not empty afterwards unless the pile is empty too.
func (p *Pile) Pop(h *Heap) Item {
	it := h.Pop()
	if len(*h) == 0 && len(p.items) > 0 {
		p.refill(h)
	}
	return it
}

// Remove takes a task out of the heap or the pile wherever it stands; linear time. It reports whether it was there.
func (p *Pile) Remove(h *Heap, t sched.TaskID) bool {
	if h.Remove(t) {
		if len(*h) == 0 && len(p.items) > 0 {
			p.refill(h)
		}
		return true
	}
	at := slices.IndexFunc(p.items, func(it Item) bool { return it.Task == t })
	if at < 0 {
		return false
	}
	for i := 0; i < len(p.parts); i++ {
		if p.parts[i].from > at { // the part above fills the hole below itself with its last item
			p.parts[i].from--
		}
		if end := p.end(i); end > at {
			p.items[at] = p.items[end-1]
			at = end - 1
		}
	}
	p.items = p.items[:len(p.items)-1]
	return true
}

// end returns where part i ends.
func (p *Pile) end(i int) int {
	if i+1 < len(p.parts) {
		return p.parts[i+1].from
	}
	return len(p.items)
}

// Drain moves all to the heap, which the caller puts in order.
func (p *Pile) Drain(h *Heap) {
	*h = append(*h, p.items...)
	p.items, p.parts = p.items[:0], p.parts[:0]
}

// spill moves about the farther half of the heap to the pile.
func (p *Pile) spill(h *Heap) {
	n, pivot := divide(*h)
	if n == 0 {
		return
	}
	top := len(p.parts) - 1
	if top < 0 || len(p.items)-p.parts[top].from >= partSmall && len(p.parts) < partsMany {
		p.parts = append(p.parts, part{from: len(p.items)})
		top++
	}
	p.parts[top].least = pivot
	p.items = append(p.items, (*h)[:n]...)
	*h = (*h)[:copy(*h, (*h)[n:])]
	h.Init()
}

// refill moves the nearest items to the heap, which is empty. The pile must not be.
func (p *Pile) refill(h *Heap) {
	for {
		top := len(p.parts) - 1
		from := p.parts[top].from
		if near := p.items[from:]; len(near) > frontFew {
			if n, pivot := divide(near); n > 0 {
				least := p.parts[top].least
				p.parts[top].least = pivot
				p.parts = append(p.parts, part{from + n, least})
				continue
			}
		}
		*h = append(*h, p.items[from:]...)
		p.items, p.parts = p.items[:from], p.parts[:top]
		if len(*h) > 0 {
			h.Init()
			return
		}
	}
}

// divide puts the items from a pivot on, which it returns with their number, in front of those that come before it. Both are there, where the
// items are more than a few and no two the same; else their number may be 0.
func divide(items []Item) (n int, pivot Item) {
	if len(items) < sampleSize {
		return 0, pivot
	}
	var sample [sampleSize]Item
	for i := range sample {
		sample[i] = items[i*(len(items)-1)/(sampleSize-1)]
	}
	slices.SortFunc(sample[:], func(a, b Item) int {
		if a.Before(b) {
			return -1
		}
		return 1
	})
	pivot = sample[sampleSize/2]
	if !sample[0].Before(pivot) {
		return 0, pivot
	}
	for i, it := range items {
		items[i] = items[n]
		items[n] = it
		if !it.Before(pivot) {
			n++
		}
	}
	return n, pivot
}
