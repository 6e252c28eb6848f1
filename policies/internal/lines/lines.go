// Package lines keeps ready tasks in one heap a demand: where one task of a demand finds no room, no other of that demand does, so a
// policy that passes over what does not fit looks at the first of each line only.
package lines

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// Lines is a set of lines, one a demand. The zero value is empty.
//
// A line is shut when its first task found no room; it stays shut until Reopen. Tasks that left the line by other ways (held, dropped) are
// removed with Remove.
type Lines struct {
	indexed bool
	pos     []int32          // by TaskID, when indexed: where in its heap it stands; -1 = in none
	heaps   []heap.Heap      // by DemandID
	piles   []heap.Pile      // by DemandID: what stands behind the heap, unless indexed; a heap is empty only where its pile is
	shut    []bool           // by DemandID
	by      []heap.Item      // by DemandID: the task that found no room when the line was shut
	open    []sched.DemandID // lines that are neither shut nor empty, in no special order
	at      []int32          // by DemandID: index in open, or -1
	only    []sched.NodeID   // by DemandID: see Only
	least   []leastFree      // by DemandID, of those that ReopenOn has met
	came    []heap.Item      // what the last Pop brought to the front
	n       int
}

// Index makes Remove take logarithmic instead of linear time, for a write a move and 4 bytes a task, for tasks below the number given; it
// may be called again with more. The first call must come before the first Push.
func (l *Lines) Index(tasks int) {
	l.indexed = true
	if known := len(l.pos); tasks > known {
		l.pos = slices.Grow(l.pos, tasks-known)[:tasks]
		for i := known; i < tasks; i++ {
			l.pos[i] = -1
		}
	}
}

// Len returns the number of tasks.
func (l *Lines) Len() int { return l.n }

func (l *Lines) grow(d sched.DemandID) {
	for len(l.heaps) <= int(d) {
		l.heaps, l.piles = append(l.heaps, nil), append(l.piles, heap.Pile{})
		l.shut = append(l.shut, false)
		l.by = append(l.by, heap.Item{})
		l.at = append(l.at, -1)
		l.only = append(l.only, sched.NoNode)
	}
}

// Push adds a task with its key to the line of its demand.
func (l *Lines) Push(d sched.DemandID, it heap.Item) {
	if int(d) >= len(l.heaps) {
		l.grow(d)
	}
	if l.indexed {
		l.push(d, it)
	} else {
		l.piles[d].Push(&l.heaps[d], it)
	}
	l.n++
	if l.at[d] < 0 {
		l.reopen(d)
	}
}

func (l *Lines) reopen(d sched.DemandID) {
	if l.at[d] < 0 && !l.shut[d] && len(l.heaps[d]) > 0 {
		l.at[d] = int32(len(l.open))
		l.open = append(l.open, d)
	}
}

func (l *Lines) closeAt(i int32) {
	d, last := l.open[i], l.open[len(l.open)-1]
	l.open[i] = last
	l.at[last] = i
	l.open = l.open[:len(l.open)-1]
	l.at[d] = -1
}

// Shut marks a line whose first task found no room, or which is to rest though it has no task left; whatever comes to that one overtakes.
func (l *Lines) Shut(d sched.DemandID) {
	l.shut[d], l.by[d], l.only[d] = true, last, sched.NoNode
	if len(l.heaps[d]) > 0 {
		l.by[d] = l.heaps[d][0]
	}
	if l.at[d] >= 0 {
		l.closeAt(l.at[d])
	}
}

// Unshut opens one line.
func (l *Lines) Unshut(d sched.DemandID) {
	l.shut[d], l.only[d] = false, sched.NoNode
	l.reopen(d)
}

// UnshutBetween opens the lines in which the task that found no room has a key of at least low and at most high. That task must not have left the line
// without an Unshut.
func (l *Lines) UnshutBetween(low, high int64) {
	for d := range l.shut {
		if k := l.by[d].Key; l.shut[d] && low <= k && k <= high {
			l.Unshut(sched.DemandID(d))
		}
	}
}

// AnyBetween reports whether UnshutBetween would open a line.
func (l *Lines) AnyBetween(low, high int64) bool {
	for d := range l.shut {
		if k := l.by[d].Key; l.shut[d] && low <= k && k <= high {
			return true
		}
	}
	return false
}

// last comes after every item.
var last = heap.Item{Key: math.MaxInt64, Task: math.MaxInt32}

// Overtakes reports whether the line of d is shut and the item comes before the task that found no room.
func (l *Lines) Overtakes(d sched.DemandID, it heap.Item) bool {
	return l.shut[d] && it.Before(l.by[d])
}

// IsShut reports whether the line of d is shut.
func (l *Lines) IsShut(d sched.DemandID) bool { return int(d) < len(l.shut) && l.shut[d] }

// ShutBy returns the task that found no room when the line of d was shut, and false where it is open.
func (l *Lines) ShutBy(d sched.DemandID) (heap.Item, bool) { return l.by[d], l.shut[d] }

// AwaitedBy is ShutBy for lines that are shut and not empty; false for all others.
func (l *Lines) AwaitedBy(d sched.DemandID) (heap.Item, bool) {
	return l.by[d], l.shut[d] && len(l.heaps[d]) > 0
}

// Reopen opens all lines: room came free.
func (l *Lines) Reopen() {
	for d := range l.shut {
		l.only[d] = sched.NoNode
		if l.shut[d] {
			l.shut[d] = false
			l.reopen(sched.DemandID(d))
		}
	}
}

// ReopenOn opens the lines for whose tasks there may be room now that some came free on one node, and on no other, since they were shut: those of gangs, and
// those of which a replica fits there.
func (l *Lines) ReopenOn(s *sched.State, n sched.NodeID) {
	room, demands := s.Room(), s.Table().Demands
	for len(l.least) < len(demands) {
		d := &demands[len(l.least)]
		l.least = append(l.least, leastFree{LeastFree(d), d.Gang > 1})
	}
	gpus, cpu := room.FreeGPUs(n), room.FreeCPU(n)
	for d := range l.shut {
		least := &l.least[d]
		if !least.gang && (gpus < least.GPUs || cpu < least.CPU) {
			continue
		}
		id := sched.DemandID(d)
		switch {
		case least.gang:
			l.shut[d] = false
		case !l.shut[d] && l.only[d] == sched.NoNode || room.FitsOn(id, n, 1) == 0:
			continue
		case l.shut[d]:
			l.shut[d], l.only[d] = false, n
		case l.only[d] != n: // one of two
			l.only[d] = sched.NoNode
		}
		l.reopen(id)
	}
}

type leastFree struct {
	sched.Need
	gang bool
}

// LeastFree returns GPUs and CPU that must be free on a node before anybody looks whether a replica of the demand fits there. Of what it does not ask for there may be
// less than nothing: others may hold more than there was.
func LeastFree(d *sched.Demand) sched.Need {
	least := sched.Need{GPUs: math.MinInt32, CPU: math.MinInt64}
	if d.Need.GPUs > 0 && d.Need.GPUMilli >= sched.Whole {
		least.GPUs = d.Need.GPUs
	}
	if d.Need.CPU > 0 {
		least.CPU = d.Need.CPU
	}
	return least
}

// Only returns the only node that may have room for a task of an open line: the one for which ReopenOn has opened it. NoNode: it may be anywhere.
func (l *Lines) Only(d sched.DemandID) sched.NodeID { return l.only[d] }

// Best returns the open line whose first task has the smallest key plus bias of its demand (bias may be nil), ties to the lower
// TaskID, and false where no line is open.
func (l *Lines) Best(bias []int64) (sched.DemandID, bool) {
	switch len(l.open) {
	case 0:
		return -1, false
	case 1:
		return l.open[0], true
	}
	best, bestKey, bestTask := sched.DemandID(-1), int64(0), sched.TaskID(0)
	for _, d := range l.open {
		top := l.heaps[d][0]
		if bias != nil {
			top.Key += bias[d]
		}
		if best < 0 || top.Key < bestKey || top.Key == bestKey && top.Task < bestTask {
			best, bestKey, bestTask = d, top.Key, top.Task
		}
	}
	return best, best >= 0
}

// Open returns the lines that are neither shut nor empty, in no special order. Do not modify.
func (l *Lines) Open() []sched.DemandID { return l.open }

// First returns the first task of a line, which must not be empty.
func (l *Lines) First(d sched.DemandID) heap.Item { return l.heaps[d][0] }

// Demands returns the number of lines, empty ones included: they are numbered from 0.
func (l *Lines) Demands() int { return len(l.heaps) }

// Head returns the first task of a line, and false where it is empty.
func (l *Lines) Head(d sched.DemandID) (heap.Item, bool) {
	if len(l.heaps[d]) == 0 {
		return heap.Item{}, false
	}
	return l.heaps[d][0], true
}

// Pop removes the first task of a line.
func (l *Lines) Pop(d sched.DemandID) heap.Item {
	it := l.heaps[d][0]
	if l.indexed {
		l.removeAt(d, 0)
	} else if _, came := l.piles[d].Pop(&l.heaps[d]); came {
		l.came = l.heaps[d]
	}
	l.n--
	if len(l.heaps[d]) == 0 && l.at[d] >= 0 {
		l.closeAt(l.at[d])
	}
	return it
}

// Came returns the tasks that came to the front of a line with the last Pop, once: these will be the next of it. Most times there are none.
func (l *Lines) Came() []heap.Item {
	came := l.came
	l.came = nil
	return came
}

// Remove takes a task out of its line; linear time in the line unless Index was called. It reports whether it was there.
func (l *Lines) Remove(d sched.DemandID, t sched.TaskID) bool {
	if !l.indexed {
		if int(d) >= len(l.heaps) || !l.piles[d].Remove(&l.heaps[d], t) {
			return false
		}
	} else {
		i := l.find(d, t)
		if i < 0 {
			return false
		}
		l.removeAt(d, i)
	}
	l.n--
	if len(l.heaps[d]) == 0 && l.at[d] >= 0 {
		l.closeAt(l.at[d])
	}
	return true
}

// Has reports whether a task stands in the line of its demand, of lines with an index.
func (l *Lines) Has(d sched.DemandID, t sched.TaskID) bool { return l.find(d, t) >= 0 }

// find returns where in its heap a task stands, of lines with an index.
func (l *Lines) find(d sched.DemandID, t sched.TaskID) int {
	if int(d) >= len(l.heaps) || int(t) >= len(l.pos) {
		return -1
	}
	return int(l.pos[t])
}

// push adds a task to a line with an index.
func (l *Lines) push(d sched.DemandID, it heap.Item) {
	l.heaps[d] = append(l.heaps[d], it)
	l.up(l.heaps[d], len(l.heaps[d])-1, it)
}

// removeAt takes the item at a place of a heap out, of lines with an index.
func (l *Lines) removeAt(d sched.DemandID, i int) {
	h := l.heaps[d]
	l.pos[h[i].Task] = -1
	last := h[len(h)-1]
	h = h[:len(h)-1]
	l.heaps[d] = h
	if i == len(h) {
		return
	}
	if i > 0 && last.Before(h[(i-1)/2]) {
		l.up(h, i, last)
	} else {
		l.down(h, i, last)
	}
}

// up puts it where a hole at i should be filled, towards the top; down likewise towards the bottom. Both keep the index.
func (l *Lines) up(h heap.Heap, i int, it heap.Item) {
	for i > 0 && it.Before(h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		l.pos[h[i].Task] = int32(i)
		i = (i - 1) / 2
	}
	h[i] = it
	l.pos[it.Task] = int32(i)
}

func (l *Lines) down(h heap.Heap, i int, it heap.Item) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].Before(h[c]) {
			c++
		}
		if !h[c].Before(it) {
			break
		}
		h[i] = h[c]
		l.pos[h[i].Task] = int32(i)
		i = c
	}
	h[i] = it
	l.pos[it.Task] = int32(i)
}

// Rekey gives every task of every line a new key; linear time.
func (l *Lines) Rekey(key func(sched.TaskID) int64) {
	for d := range l.heaps {
		l.rekey(sched.DemandID(d), key)
	}
}

// RekeyOpen gives every task of the open lines that are wanted a new key; linear time.
func (l *Lines) RekeyOpen(want func(sched.DemandID) bool, key func(sched.TaskID) int64) {
	for _, d := range l.open {
		if want(d) {
			l.rekey(d, key)
		}
	}
}

func (l *Lines) rekey(d sched.DemandID, key func(sched.TaskID) int64) {
	l.piles[d].Drain(&l.heaps[d])
	h := l.heaps[d]
	for i := range h {
		h[i].Key = key(h[i].Task)
	}
	h.Init()
	if l.indexed {
		for i := range h {
			l.pos[h[i].Task] = int32(i)
		}
	}
}
