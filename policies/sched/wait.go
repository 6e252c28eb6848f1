package sched

import (
	"cmp"
	"slices"
)

// waits keeps why tasks wait. The sums by cause are always kept (Books); the rows only where Config.Waits asks for them, the parts of each
// task where Config.WaitParts does.
type waits struct {
	rows    map[waitKey]*waitSum
	lacking map[TaskID]Resource // what a task skipped for NoRoom lacked when it was skipped
	last    map[TaskID]TaskID   // the predecessor that a task waited for last; nil where neither rows nor parts are kept
	head    TaskID              // the last task skipped for NoRoom
	keeps   bool                // Config.WaitParts
	parts   []WaitPart          // that ended in this step
}

// WaitPart is a stretch of waiting of a task for one cause.
type WaitPart struct {
	From, To Time
	Task     TaskID
	Blocker  TaskID // as in WaitRow
	Cause    Cause
	Lack     Resource // as in WaitRow
}

// WaitParts returns the stretches of waiting that ended in the last Step, in the order of their ends; nil unless Config.WaitParts asked for
// them. They are valid until the next Step.
func (k *Kernel) WaitParts() []WaitPart { return k.waits.parts }

type waitKey struct {
	class   ClassID
	blocker TaskID
	cause   Cause
	lack    Resource
}

type waitSum struct {
	ns    float64
	tasks int64
}

func (w *waits) lacks(t TaskID, r Resource) { w.lacking[t] = r }

// WaitRow says how long tasks of a class waited for one cause and blocker.
type WaitRow struct {
	Cause   Cause
	Lack    Resource // NoRoom: what was short when the task was skipped
	Blocker TaskID   // Dependency: the predecessor that was done last; Order: the head of the line when the wait ended; else Nobody
	Class   ClassID
	Wait    float64 // ns, summed over the segments
	Count   int64   // segments of waiting
}

// closeWait ends the present segment of waiting and begins the next.
func (k *Kernel) closeWait(t TaskID, rw *row) {
	d := k.now.Sub(rw.since)
	if d > 0 {
		k.book.CauseSeconds[rw.cause] += float64(d) / 1e9
		if k.waits.last != nil {
			k.addWait(t, rw, float64(d))
		}
	}
	rw.since = k.now
}

func (k *Kernel) addWait(t TaskID, rw *row, ns float64) {
	key := waitKey{class: k.tb.Tasks[t].Class, blocker: Nobody, cause: rw.cause}
	switch rw.cause {
	case Dependency:
		if u, ok := k.waits.last[t]; ok {
			key.blocker = u
			delete(k.waits.last, t)
		}
	case NoRoom:
		key.lack = k.waits.lacking[t]
		delete(k.waits.lacking, t)
	case Order:
		if k.waits.head != t {
			key.blocker = k.waits.head
		}
	}
	if k.waits.keeps {
		k.waits.parts = append(k.waits.parts, WaitPart{rw.since, k.now, t, key.blocker, key.cause, key.lack})
	}
	if k.waits.rows == nil {
		return
	}
	s := k.waits.rows[key]
	if s == nil {
		s = &waitSum{}
		k.waits.rows[key] = s
	}
	s.ns += ns
	s.tasks++
}

// Waits returns the rows of the wait profile so far, largest first; nil unless Config.Waits asked for them.
func (k *Kernel) Waits() []WaitRow {
	rows := make([]WaitRow, 0, len(k.waits.rows))
	for key, s := range k.waits.rows {
		rows = append(rows, WaitRow{key.cause, key.lack, key.blocker, key.class, s.ns, s.tasks})
	}
	slices.SortFunc(rows, func(a, b WaitRow) int {
		if c := cmp.Compare(b.Wait, a.Wait); c != 0 {
			return c
		}
		return waitKey{a.Class, a.Blocker, a.Cause, a.Lack}.compare(waitKey{b.Class, b.Blocker, b.Cause, b.Lack})
	})
	return rows
}

func (a waitKey) compare(b waitKey) int {
	return cmp.Or(cmp.Compare(a.cause, b.cause), cmp.Compare(a.lack, b.lack), cmp.Compare(a.class, b.class), cmp.Compare(a.blocker, b.blocker))
}

// backoffs is a binary heap of tasks by the end of their backoff, ties to the lower TaskID.
type backoffs []backoffEntry

type backoffEntry struct {
	at Time
	t  TaskID
}

func (b backoffs) less(i, j int) bool {
	return b[i].at < b[j].at || b[i].at == b[j].at && b[i].t < b[j].t
}

func (b *backoffs) push(at Time, t TaskID) {
	*b = append(*b, backoffEntry{at, t})
	q := *b
	for i := len(q) - 1; i > 0 && q.less(i, (i-1)/2); i = (i - 1) / 2 {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
	}
}

func (b *backoffs) pop() TaskID {
	q := *b
	t := q[0].t
	last := len(q) - 1
	q[0] = q[last]
	q = q[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c+1 < last && q.less(c+1, c) {
			c++
		}
		if c >= last || !q.less(c, i) {
			break
		}
		q[i], q[c] = q[c], q[i]
		i = c
	}
	*b = q
	return t
}
