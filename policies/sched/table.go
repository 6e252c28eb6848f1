package sched

import (
	"slices"
	"strconv"
	"time"
)

// Table holds what policies may know of every task that has arrived or will arrive. It is append-only, owned by the driver, and
// may be shared by several kernels that only read it (a comparison loads its trace once). Kernels look only at tasks whose
// JobArrived they have seen. The big slices hold no pointers.
type Table struct {
	Tasks     []Task
	Estimates []time.Duration // estimated run time on a node of reference speed, per task
	Deadlines []Time          // absolute, per task, Never where a task has none; nil where no task has one. See SetDeadline

	// Succ[SuccOff[t]:SuccOff[t+1]] are the successors of t, ascending, and Pred likewise; all four are nil where there are no edges.
	SuccOff, PredOff []int32
	Succ, Pred       []TaskID

	// EdgeBytes is what each edge of Succ carries from the node of the one task to that of the other; nil where none carries anything.
	EdgeBytes []int64

	// EstimateOn overrides Estimates by node name or GPU type (node name first), for tasks whose cost is given per kind of node. Rare.
	EstimateOn map[TaskID][]CostOn

	// Speeds are throughput tables by GPU type, one for all tasks of the classes that name it, where EstimateOn has one a task. Index 0 is
	// none.
	Speeds [][]SpeedOn

	Classes []Class
	Demands []Demand
	Tenants []string // index 0 is ""
	Queues  []string // index 0 is ""
	Kinds   []string // index 0 is ""

	Jobs               int32 // number of jobs: JobIDs are 0..Jobs-1
	TaskNames, JobName Names
	Data               map[TaskID]Data // input and output data, for tasks that have any
}

// CostOn is a run time on nodes of one name or GPU type.
type CostOn struct {
	On  string
	Run time.Duration
}

// SpeedOn is how fast tasks of a class run on nodes of a GPU type, in 1e-9 of the speed on a node of reference speed: the node's own speed
// does not count there. It must be positive; a type that a task cannot run on is missing in Demand.GPUTypes.
type SpeedOn struct {
	GPUType string
	Nano    int64
}

// ReferenceNano is SpeedOn.Nano of the reference.
const ReferenceNano = 1_000_000_000

// Uneven reports whether a task's run time may depend on the node otherwise than by the node's speed.
func (tb *Table) Uneven() bool { return tb.EstimateOn != nil || len(tb.Speeds) > 1 }

// RunOn returns how long t takes on a node: as given says by the node's name or else its GPU type, as the class's throughput table says, or
// by the node's speed, where it takes reference on one of reference speed. It serves estimates and true run times alike.
func (tb *Table) RunOn(t TaskID, reference time.Duration, given []CostOn, n *NodeSpec) time.Duration {
	if given != nil {
		if d, ok := CostFor(given, n); ok {
			return d
		}
	}
	if len(tb.Speeds) > 1 {
		for _, s := range tb.Speeds[tb.Classes[tb.Tasks[t].Class].Speeds] {
			if SameGPU(s.GPUType, n.GPUType) {
				return MulDiv(max(reference, 0), ReferenceNano, s.Nano, true)
			}
		}
	}
	return OnSpeed(reference, n.SpeedMilli)
}

// Data says what a task reads and writes.
type Data struct {
	Input, Output int64  // bytes
	At            string // where the input lies: a node's name, or ""
}

// Succs returns the successors of t as given with its job (edges added later are in the kernel's State). Do not modify.
func (tb *Table) Succs(t TaskID) []TaskID {
	if tb.SuccOff == nil {
		return nil
	}
	return tb.Succ[tb.SuccOff[t]:tb.SuccOff[t+1]]
}

// Preds returns the predecessors of t as given with its job. Do not modify.
func (tb *Table) Preds(t TaskID) []TaskID {
	if tb.PredOff == nil {
		return nil
	}
	return tb.Pred[tb.PredOff[t]:tb.PredOff[t+1]]
}

// forward reports whether no task of from..to-1 has a predecessor among them with a larger number, or itself: then there is no cycle among them. It
// looks at the last predecessor of each.
func (tb *Table) forward(from, to int) bool {
	off := tb.PredOff[from : to+1]
	for i := 1; i < len(off); i++ {
		if last := off[i] - 1; last >= off[i-1] && int(tb.Pred[last]) >= from+i-1 {
			return false
		}
	}
	return true
}

// Sends returns the bytes that p sends to its successor t, as given with its job; an edge that was added later carries nothing.
func (tb *Table) Sends(p, t TaskID) int64 {
	if tb.EdgeBytes == nil {
		return 0
	}
	if i, ok := slices.BinarySearch(tb.Succs(p), t); ok {
		return tb.EdgeBytes[int(tb.SuccOff[p])+i]
	}
	return 0
}

// DeadlineOf returns when t is due; Never where it has no deadline.
func (tb *Table) DeadlineOf(t TaskID) Time {
	if uint(t) < uint(len(tb.Deadlines)) { // a negative one is a large one
		return tb.Deadlines[t]
	}
	return Never
}

// SetDeadline says when t, a task of the table, is due; Never says that it has no deadline. Deadlines is made for the first task that has one.
// Whoever appends a task to a table that may have deadlines must call it, with Never too: the slice must be as long as Tasks.
func (tb *Table) SetDeadline(t TaskID, at Time) {
	if tb.Deadlines == nil {
		if at == Never {
			return
		}
		tb.Deadlines = make([]Time, 0, len(tb.Tasks))
	}
	for len(tb.Deadlines) < len(tb.Tasks) {
		tb.Deadlines = append(tb.Deadlines, Never)
	}
	tb.Deadlines[t] = at
}

// ClassOf returns the class of t. Do not modify.
func (tb *Table) ClassOf(t TaskID) *Class { return &tb.Classes[tb.Tasks[t].Class] }

// DemandOf returns the demand of t. Do not modify.
func (tb *Table) DemandOf(t TaskID) *Demand { return &tb.Demands[tb.ClassOf(t).Demand] }

// Names is a compact list of strings. The zero value names item i by its number, i+1 in decimal.
type Names struct {
	blob []byte
	end  []uint32
}

// NamesOf returns the list whose item i is blob[end[i-1]:end[i]] (from 0 for the first). It takes both slices over: the caller must not
// change them again. Lists may be made of the same two slices.
func NamesOf(blob []byte, end []uint32) Names {
	// Without spare room an Append to one list cannot write into another's.
	return Names{blob[:len(blob):len(blob)], end[:len(end):len(end)]}
}

// Append adds a name. A list that starts with Append must name every item. It reports false when the list is full (4 GiB).
func (n *Names) Append(s string) bool {
	if len(n.blob)+len(s) > 1<<32-1 {
		return false
	}
	n.blob = append(n.blob, s...)
	n.end = append(n.end, uint32(len(n.blob)))
	return true
}

// At returns the name of item i.
func (n *Names) At(i int) string {
	if n.end == nil {
		return strconv.Itoa(i + 1)
	}
	from := uint32(0)
	if i > 0 {
		from = n.end[i-1]
	}
	return string(n.blob[from:n.end[i]])
}

// AppendTo appends the name of item i to dst, and makes no string of it.
func (n *Names) AppendTo(dst []byte, i int) []byte {
	if n.end == nil {
		return strconv.AppendInt(dst, int64(i)+1, 10)
	}
	from := uint32(0)
	if i > 0 {
		from = n.end[i-1]
	}
	return append(dst, n.blob[from:n.end[i]]...)
}

// Len returns the number of names that were appended.
func (n *Names) Len() int { return len(n.end) }
