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
// A line is shut when its first task found no room; it stays shut until it is opened again. Tasks that left the line by other ways (held, dropped) are
// removed with Remove.
type Lines struct {
	indexed bool
	pos     []int32          // by TaskID, when indexed: where in its heap it stands; -1 = in none
	lines   []line           // by DemandID
	open    []sched.DemandID // lines that are neither shut nor empty, in no special order
	gates   []sched.DemandID // lines that are shut, or open for one node, in no special order
	least   []leastFree      // by DemandID, of those that ReopenOn has met
	nodes   int              // that ReopenOn has met,
	tainted bool             // and whether one of them keeps tasks out by a taint
	came    []heap.Item      // what the last Pop brought to the front
	n       int
}

// line is the front of a line. What is asked of it stands together.
type line struct {
	heap heap.Heap    // empty only where the pile is
	pile *heap.Pile   // what stands behind the heap, unless indexed
	by   heap.Item    // the task that found no room when the line was shut
	at   int32        // index in open, or -1
	gate int32        // index in gates, or -1
	only sched.NodeID // the only node that may have room while it is open: that for which ReopenOn has opened it. NoNode: it may be anywhere
	shut bool
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
	for len(l.lines) <= int(d) {
		l.lines = append(l.lines, line{pile: new(heap.Pile), at: -1, gate: -1, only: sched.NoNode})
	}
}

// Push adds a task with its key to the line of its demand.
func (l *Lines) Push(d sched.DemandID, it heap.Item) {
	if int(d) >= len(l.lines) {
		l.grow(d)
	}
	x := &l.lines[d]
	if l.indexed {
		l.push(x, it)
	} else {
		x.pile.Push(&x.heap, it)
	}
	l.n++
	l.reopen(d, x)
}

// reopen puts a line among the open ones if it is one of them.
func (l *Lines) reopen(d sched.DemandID, x *line) {
	if x.at < 0 && !x.shut && len(x.heap) > 0 {
		x.at = int32(len(l.open))
		l.open = append(l.open, d)
	}
}

// close takes a line out of the open ones.
func (l *Lines) close(x *line) {
	i, n := x.at, len(l.open)-1
	last := l.open[n]
	l.open[i], l.lines[last].at = last, i
	l.open, x.at = l.open[:n], -1
}

// Shut marks a line whose first task found no room, or which is to rest though it has no task left; whatever comes to that one overtakes.
func (l *Lines) Shut(d sched.DemandID) {
	x := &l.lines[d]
	x.shut, x.by, x.only = true, last, sched.NoNode
	if len(x.heap) > 0 {
		x.by = x.heap[0]
	}
	if x.at >= 0 {
		l.close(x)
	}
	if x.gate < 0 {
		x.gate = int32(len(l.gates))
		l.gates = append(l.gates, d)
	}
}

// ShutFor says of a line that is shut that its first task, which has come since, finds no room either.
func (l *Lines) ShutFor(d sched.DemandID, first heap.Item) { l.lines[d].by = first }

// Unshut opens one line.
func (l *Lines) Unshut(d sched.DemandID) {
	x := &l.lines[d]
	if x.shut, x.only = false, sched.NoNode; x.gate >= 0 {
		l.ungate(x)
	}
	l.reopen(d, x)
}

// ungate takes a line out of those that are shut or open for one node; the last of them takes its place.
func (l *Lines) ungate(x *line) {
	i, n := x.gate, len(l.gates)-1
	last := l.gates[n]
	l.gates[i], l.lines[last].gate = last, i
	l.gates, x.gate = l.gates[:n], -1
}

// UnshutBetween opens the lines in which the task that found no room has a key of at least low and at most high. That task must not have left the line
// without an Unshut.
func (l *Lines) UnshutBetween(low, high int64) {
	for i := len(l.gates) - 1; i >= 0; i-- { // the last takes the place of one that is taken out
		if x := &l.lines[l.gates[i]]; x.shut && low <= x.by.Key && x.by.Key <= high {
			l.Unshut(l.gates[i])
		}
	}
}

// AnyBetween reports whether UnshutBetween would open a line.
func (l *Lines) AnyBetween(low, high int64) bool {
	for _, d := range l.gates {
		if x := &l.lines[d]; x.shut && low <= x.by.Key && x.by.Key <= high {
			return true
		}
	}
	return false
}

// last comes after every item.
var last = heap.Item{Key: math.MaxInt64, Task: math.MaxInt32}

// OneShut reports whether the line of d is shut and not empty, and no other is shut, or has a task.
func (l *Lines) OneShut(d sched.DemandID) bool {
	if len(l.open) > 0 || len(l.gates) != 1 || l.gates[0] != d {
		return false
	}
	x := &l.lines[d]
	return x.shut && len(x.heap) > 0
}

// Overtakes reports whether the line of d is shut and the item comes before the task that found no room.
func (l *Lines) Overtakes(d sched.DemandID, it heap.Item) bool {
	x := &l.lines[d]
	return x.shut && it.Before(x.by)
}

// IsShut reports whether the line of d is shut.
func (l *Lines) IsShut(d sched.DemandID) bool { return int(d) < len(l.lines) && l.lines[d].shut }

// ShutBy returns the task that found no room when the line of d was shut, and false where it is open.
func (l *Lines) ShutBy(d sched.DemandID) (heap.Item, bool) { return l.lines[d].by, l.lines[d].shut }

// AwaitedBy is ShutBy for lines that are shut and not empty; false for all others.
func (l *Lines) AwaitedBy(d sched.DemandID) (heap.Item, bool) {
	x := &l.lines[d]
	return x.by, x.shut && len(x.heap) > 0
}

// Reopen opens all lines: room came free.
func (l *Lines) Reopen() {
	for _, d := range l.gates {
		x := &l.lines[d]
		x.shut, x.only, x.gate = false, sched.NoNode, -1
		l.reopen(d, x)
	}
	l.gates = l.gates[:0]
}

// ReopenOn opens the lines for whose tasks there may be room now that some came free on one node, and on no other, since they were shut: those of gangs, and
// those of which a replica fits there.
func (l *Lines) ReopenOn(s *sched.State, n sched.NodeID) {
	if len(l.gates) == 0 {
		return
	}
	room, demands := s.Room(), s.Table().Demands
	for len(l.least) < len(demands) {
		d := &demands[len(l.least)]
		need := LeastFree(d)
		l.least = append(l.least, leastFree{need.CPU, need.GPUs, d.Gang > 1, isPlain(d)})
	}
	for ; l.nodes < room.Len(); l.nodes++ {
		l.tainted = l.tainted || len(room.Spec(sched.NodeID(l.nodes)).Taints) > 0
	}
	for i := len(l.gates) - 1; i >= 0; i-- { // the last takes the place of one that is taken out
		d := l.gates[i]
		gang := l.least[d].gang
		if !gang && l.NoRoomOn(room, d, n) {
			continue
		}
		x := &l.lines[d]
		switch {
		case gang:
			x.shut = false
			l.ungate(x)
		case x.shut:
			x.shut, x.only = false, n
		case x.only != n: // one of two
			x.only = sched.NoNode
			l.ungate(x)
		}
		l.reopen(d, x)
	}
}

type leastFree struct {
	cpu   int64
	gpus  int32
	gang  bool
	plain bool // a node that is up, has so much free and no taints has room
}

// isPlain reports whether a demand is for CPU and whole GPUs alone, of any kind.
func isPlain(d *sched.Demand) bool {
	need := &d.Need
	return need.Mem == 0 && need.VRAM == 0 && (need.GPUs == 0 || need.GPUMilli >= sched.Whole) && len(d.GPUTypes)+len(d.Labels)+len(d.NotLabels) == 0
}

// NoRoomOn reports whether no task of a demand fits on a node: of a demand of one replica that ReopenOn has met.
func (l *Lines) NoRoomOn(room *sched.Room, d sched.DemandID, n sched.NodeID) bool {
	least := &l.least[d]
	if room.FreeCPU(n) < least.cpu || room.FreeGPUs(n) < least.gpus {
		return true
	}
	if least.plain && !l.tainted {
		return !room.Up(n)
	}
	return !room.Holds(d, n)
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
		top := l.lines[d].heap[0]
		if bias != nil {
			top.Key += bias[d]
		}
		if best < 0 || top.Key < bestKey || top.Key == bestKey && top.Task < bestTask {
			best, bestKey, bestTask = d, top.Key, top.Task
		}
	}
	return best, best >= 0
}

// Shuts returns the lines that are shut, and those that ReopenOn has opened for one node, in no special order; the last takes the place of one that is opened. Do
// not modify.
func (l *Lines) Shuts() []sched.DemandID { return l.gates }

// Next returns the line that Best does without bias, with its first task and its only node; some line must be open.
func (l *Lines) Next() (sched.DemandID, heap.Item, sched.NodeID) {
	d := l.open[0]
	if len(l.open) > 1 {
		d, _ = l.Best(nil)
	}
	x := &l.lines[d]
	return d, x.heap[0], x.only
}

// Open returns the lines that are neither shut nor empty, in no special order. Do not modify.
func (l *Lines) Open() []sched.DemandID { return l.open }

// First returns the first task of a line, which must not be empty.
func (l *Lines) First(d sched.DemandID) heap.Item { return l.lines[d].heap[0] }

// Demands returns the number of lines, empty ones included: they are numbered from 0.
func (l *Lines) Demands() int { return len(l.lines) }

// Head returns the first task of a line, and false where it is empty.
func (l *Lines) Head(d sched.DemandID) (heap.Item, bool) {
	if h := l.lines[d].heap; len(h) > 0 {
		return h[0], true
	}
	return heap.Item{}, false
}

// Pop removes the first task of a line.
func (l *Lines) Pop(d sched.DemandID) heap.Item {
	x := &l.lines[d]
	it := x.heap[0]
	if l.indexed {
		l.removeAt(x, 0)
	} else if _, came := x.pile.Pop(&x.heap); came > 0 {
		l.came = x.heap[len(x.heap)-came:]
	}
	l.n--
	if len(x.heap) == 0 && x.at >= 0 {
		l.close(x)
	}
	return it
}

// PopShut removes the first task of a line that is shut and returns the next, by which it stays shut; false where it was the last: then it is open, and who comes is tried.
func (l *Lines) PopShut(d sched.DemandID) (heap.Item, bool) {
	l.Pop(d)
	x := &l.lines[d]
	if len(x.heap) == 0 {
		l.Unshut(d)
		return heap.Item{}, false
	}
	x.by = x.heap[0]
	return x.by, true
}

// Came returns tasks that came to the front of a line with the last Pop, once: these will soon be the next of it. Most times there are none.
func (l *Lines) Came() []heap.Item {
	came := l.came
	l.came = nil
	return came
}

// Remove takes a task out of its line; linear time in the line unless Index was called. It reports whether it was there.
func (l *Lines) Remove(d sched.DemandID, t sched.TaskID) bool {
	if int(d) >= len(l.lines) {
		return false
	}
	x := &l.lines[d]
	if !l.indexed {
		if !x.pile.Remove(&x.heap, t) {
			return false
		}
	} else {
		i := l.find(d, t)
		if i < 0 {
			return false
		}
		l.removeAt(x, i)
	}
	l.n--
	if len(x.heap) == 0 && x.at >= 0 {
		l.close(x)
	}
	return true
}

// Has reports whether a task stands in the line of its demand, of lines with an index.
func (l *Lines) Has(d sched.DemandID, t sched.TaskID) bool { return l.find(d, t) >= 0 }

// find returns where in its heap a task stands, of lines with an index.
func (l *Lines) find(d sched.DemandID, t sched.TaskID) int {
	if int(d) >= len(l.lines) || int(t) >= len(l.pos) {
		return -1
	}
	return int(l.pos[t])
}

// push adds a task to a line with an index.
func (l *Lines) push(x *line, it heap.Item) {
	x.heap = append(x.heap, it)
	l.up(x.heap, len(x.heap)-1, it)
}

// removeAt takes the item at a place of a heap out, of lines with an index.
func (l *Lines) removeAt(x *line, i int) {
	h := x.heap
	l.pos[h[i].Task] = -1
	last := h[len(h)-1]
	h = h[:len(h)-1]
	x.heap = h
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
	for d := range l.lines {
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
	x := &l.lines[d]
	x.pile.Drain(&x.heap)
	h := x.heap
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
