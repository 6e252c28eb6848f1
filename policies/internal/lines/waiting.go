package lines

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Waiting is one line in which tasks keep their order and may leave from anywhere: the waiting tasks of one demand under backfilling. It
// finds the first task whose estimate is at most a bound without looking at each: every block of tasks knows a lower bound of
// its estimates. The zero value is empty.
type Waiting struct {
	tasks []sched.TaskID // Nobody where one has left
	left  []int64        // estimated work left, ns; MaxInt64 where one has left
	low   []int64        // at most the smallest of each block
	head  int            // all before it have left
	n     int
}

const block = 64

// Len returns the number of tasks.
func (w *Waiting) Len() int { return w.n }

// Head returns the first task; there must be one.
func (w *Waiting) Head() sched.TaskID { return w.tasks[w.head] }

// Insert adds a task with its estimated work left: behind all that do not come after it by before. At the end, where most belong, this takes
// constant time.
func (w *Waiting) Insert(t sched.TaskID, left int64, before func(a, b sched.TaskID) bool) {
	i := len(w.tasks)
	for j := i - 1; j >= w.head; j-- {
		if u := w.tasks[j]; u != sched.Nobody {
			if !before(t, u) {
				break
			}
			i = j
		}
	}
	w.n++
	if i == len(w.tasks) {
		w.tasks, w.left = append(w.tasks, t), append(w.left, left)
		if i%block == 0 {
			w.low = append(w.low, left)
		} else {
			w.low[i/block] = min(w.low[i/block], left)
		}
		return
	}
	w.tasks, w.left = slices.Insert(w.tasks, i, t), slices.Insert(w.left, i, left)
	w.head = min(w.head, i)
	w.bounds()
}

// bounds works the blocks' bounds out again.
func (w *Waiting) bounds() {
	w.low = w.low[:0]
	for i, left := range w.left {
		if i%block == 0 {
			w.low = append(w.low, left)
		} else {
			w.low[i/block] = min(w.low[i/block], left)
		}
	}
}

// First returns the position and the first task, from position at on, whose estimated work left is at most most.
func (w *Waiting) First(at int, most int64) (int, sched.TaskID, bool) {
	i := max(at, w.head)
	for i < len(w.tasks) {
		b := i / block
		end := min((b+1)*block, len(w.tasks))
		if w.low[b] > most {
			i = end
			continue
		}
		whole := i == b*block
		low := int64(math.MaxInt64)
		for ; i < end; i++ {
			if w.left[i] <= most && w.tasks[i] != sched.Nobody {
				return i, w.tasks[i], true
			}
			low = min(low, w.left[i])
		}
		if whole {
			w.low[b] = low // the bound was of tasks that have left
		}
	}
	return len(w.tasks), sched.Nobody, false
}

// RemoveAt takes the task at a position out and returns by how much the positions of all others have fallen.
func (w *Waiting) RemoveAt(i int) (shift int) {
	w.tasks[i], w.left[i] = sched.Nobody, math.MaxInt64
	w.n--
	if w.n == 0 {
		shift = i
		w.tasks, w.left, w.low, w.head = w.tasks[:0], w.left[:0], w.low[:0], 0
		return shift
	}
	for w.tasks[w.head] == sched.Nobody {
		w.head++
	}
	if w.head >= 4*block && w.head > len(w.tasks)/2 { // shift whole blocks out
		k := w.head / block * block
		w.tasks = w.tasks[:copy(w.tasks, w.tasks[k:])]
		w.left = w.left[:copy(w.left, w.left[k:])]
		w.low = w.low[:copy(w.low, w.low[k/block:])]
		w.head -= k
		return k
	}
	return 0
}

// Remove takes a task out wherever it stands; linear time. It reports whether it was there.
func (w *Waiting) Remove(t sched.TaskID) bool {
	i := slices.Index(w.tasks[w.head:], t)
	if i < 0 {
		return false
	}
	w.RemoveAt(w.head + i)
	return true
}

// At returns the task at a position, Nobody where one has left.
func (w *Waiting) At(i int) sched.TaskID { return w.tasks[i] }

// HeadAt returns the position of the first task.
func (w *Waiting) HeadAt() int { return w.head }
