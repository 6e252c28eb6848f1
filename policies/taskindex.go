package policies

import "github.com/schedlab/schedlab/policies/sched"

// taskIndex maps few tasks of many to numbers that are not 0: a hash table with linear probing, so that it takes memory for those alone. The zero value is empty.
type taskIndex struct {
	slots []taskNumber // a power of two; half of them are empty, at least
	shift uint
	n     int
}

type taskNumber struct {
	task sched.TaskID
	v    int32 // 0 = empty
}

// home is where the search for a task begins: Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4).
func (x *taskIndex) home(t sched.TaskID) int { return int(uint32(t) * 2654435769 >> x.shift) }

// at returns the number of a task, 0 where it has none.
func (x *taskIndex) at(t sched.TaskID) int32 {
	if x.n == 0 {
		return 0
	}
	for i := x.home(t); ; i = (i + 1) & (len(x.slots) - 1) {
		if s := x.slots[i]; s.task == t || s.v == 0 {
			return s.v
		}
	}
}

// set gives a task a number, in place of the one that it may have.
func (x *taskIndex) set(t sched.TaskID, v int32) {
	if 2*(x.n+1) > len(x.slots) {
		old := x.slots
		if x.slots = make([]taskNumber, max(16, 2*len(old))); old == nil {
			x.shift = 32 - 3
		}
		x.shift, x.n = x.shift-1, 0
		for _, s := range old {
			if s.v != 0 {
				x.set(s.task, s.v)
			}
		}
	}
	i := x.home(t)
	for ; x.slots[i].v != 0; i = (i + 1) & (len(x.slots) - 1) {
		if x.slots[i].task == t {
			x.slots[i].v = v
			return
		}
	}
	x.slots[i] = taskNumber{t, v}
	x.n++
}

// drop takes the number of a task away and returns it, 0 where it has none.
func (x *taskIndex) drop(t sched.TaskID) int32 {
	if x.n == 0 {
		return 0
	}
	mask := len(x.slots) - 1
	i := x.home(t)
	for ; x.slots[i].task != t || x.slots[i].v == 0; i = (i + 1) & mask {
		if x.slots[i].v == 0 {
			return 0
		}
	}
	v := x.slots[i].v
	for j := (i + 1) & mask; x.slots[j].v != 0; j = (j + 1) & mask { // those behind move up, unless they stand before their home then
		if h := x.home(x.slots[j].task); (j-h)&mask >= (j-i)&mask {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = taskNumber{}
	x.n--
	return v
}
