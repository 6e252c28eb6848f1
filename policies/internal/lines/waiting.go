package lines

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Waiting is one line in which tasks keep their order, by time of readiness and TaskID, and may leave from anywhere: the waiting tasks of
// one demand under backfilling. It finds the first task whose estimate is at most a bound without looking at each: every block of tasks
// knows a lower bound of its estimates, and what one search has found to be too long is not looked at by the next. The zero value is empty.
type Waiting struct {
	tasks []sched.TaskID // Nobody where one has left
	ready []sched.Time   // when it was first ready
	left  []int64        // estimated work left, ns; MaxInt64 where one has left
	low   []int64        // at most the smallest of each block
	head  int            // all before it have left
	n     int

	from, to int   // of the tasks at these positions none has as little left as the bound of the last searches:
	most     int64 // that bound
}

const block = 64

// All is a bound that every task keeps.
const All = math.MaxInt64 - 1

// Len returns the number of tasks.
func (w *Waiting) Len() int { return w.n }

// Head returns the first task; there must be one.
func (w *Waiting) Head() sched.TaskID { return w.tasks[w.head] }

// Starts reports whether t is the first task.
func (w *Waiting) Starts(t sched.TaskID) bool { return w.n > 0 && w.tasks[w.head] == t }

// ReadyAt returns when the task at a position was first ready.
func (w *Waiting) ReadyAt(i int) sched.Time { return w.ready[i] }

// LeftAt returns the estimated work left of the task at a position.
func (w *Waiting) LeftAt(i int) int64 { return w.left[i] }

// Before is the order of the line.
func Before(ready sched.Time, t sched.TaskID, otherReady sched.Time, other sched.TaskID) bool {
	return ready < otherReady || ready == otherReady && t < other
}

// Insert adds a task with the time of its first readiness and its estimated work left. At the end, where most belong, this takes constant
// time.
func (w *Waiting) Insert(t sched.TaskID, ready sched.Time, left int64) {
	i := len(w.tasks)
	for j := i - 1; j >= w.head; j-- {
		if u := w.tasks[j]; u != sched.Nobody {
			if !Before(ready, t, w.ready[j], u) {
				break
			}
			i = j
		}
	}
	w.n++
	if i == len(w.tasks) {
		w.tasks, w.ready, w.left = append(w.tasks, t), append(w.ready, ready), append(w.left, left)
		if i%block == 0 {
			w.low = append(w.low, left)
		} else {
			w.low[i/block] = min(w.low[i/block], left)
		}
		return
	}
	w.tasks, w.ready, w.left = slices.Insert(w.tasks, i, t), slices.Insert(w.ready, i, ready), slices.Insert(w.left, i, left)
	w.head = min(w.head, i)
	w.to = min(w.to, i)
	w.from = min(w.from, w.to)
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
	if most >= All {
		return w.search(i, most)
	}
	if i >= w.from && i <= w.to && most <= w.most {
		i = w.to
	} else {
		w.from = i
	}
	w.most = most
	i, t, ok := w.search(i, most)
	w.to = i
	return i, t, ok
}

func (w *Waiting) search(i int, most int64) (int, sched.TaskID, bool) {
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
			if w.left[i] <= most { // where one has left it is more
				return i, w.tasks[i], true
			}
			low = min(low, w.left[i])
		}
		if whole {
			w.low[b] = low // the bound was of tasks that have left
		}
	}
	return i, sched.Nobody, false
}

// RemoveAt takes the task at a position out and returns by how much the positions of all others have fallen.
func (w *Waiting) RemoveAt(i int) (shift int) {
	w.tasks[i], w.left[i] = sched.Nobody, math.MaxInt64
	w.n--
	if w.n == 0 {
		shift = i
		w.tasks, w.ready, w.left, w.low, w.head = w.tasks[:0], w.ready[:0], w.left[:0], w.low[:0], 0
		w.from, w.to = 0, 0
		return shift
	}
	for w.tasks[w.head] == sched.Nobody {
		w.head++
	}
	if w.head >= 4*block && w.head > len(w.tasks)/2 { // shift whole blocks out
		k := w.head / block * block
		w.tasks = w.tasks[:copy(w.tasks, w.tasks[k:])]
		w.ready = w.ready[:copy(w.ready, w.ready[k:])]
		w.left = w.left[:copy(w.left, w.left[k:])]
		w.low = w.low[:copy(w.low, w.low[k/block:])]
		w.head -= k
		w.from, w.to = max(w.from-k, 0), max(w.to-k, 0)
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

// HeadAt returns the position of the first task.
func (w *Waiting) HeadAt() int { return w.head }
