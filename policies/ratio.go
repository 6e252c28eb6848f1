package policies

import (
	"github.com/schedlab/schedlab/policies/internal/kinetic"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// ratios are ready tasks by a ratio that grows as they wait, the largest first, in one line a demand; see lines.Lines, which keeps those whose
// keys stand still. The zero value is empty.
type ratios struct {
	lines []ratioLine      // by DemandID
	open  []sched.DemandID // lines that are neither shut nor empty, in no special order
	leaf  []int32          // by TaskID; -1 = in no line
}

type ratioLine struct {
	kinetic.Line
	shut  bool
	known bool       // least is there
	at    int32      // in open; -1
	least sched.Need // lines.LeastFree
}

func (q *ratios) push(s *sched.State, it kinetic.Item) {
	d := s.DemandID(it.Task)
	for len(q.lines) <= int(d) {
		q.lines = append(q.lines, ratioLine{at: -1})
	}
	for len(q.leaf) < s.Known() {
		q.leaf = append(q.leaf, -1)
	}
	q.leaf[it.Task] = q.lines[d].Push(s.Now(), it)
	q.list(d)
}

// remove takes t out of its line and reports whether it was there.
func (q *ratios) remove(s *sched.State, t sched.TaskID) bool {
	if int(t) >= len(q.leaf) || q.leaf[t] < 0 {
		return false
	}
	d := s.DemandID(t)
	q.lines[d].Remove(s.Now(), q.leaf[t])
	q.leaf[t] = -1
	if q.lines[d].Len() == 0 {
		q.unlist(d)
	}
	return true
}

// list puts a line among the open ones if it belongs there.
func (q *ratios) list(d sched.DemandID) {
	if l := &q.lines[d]; l.at < 0 && !l.shut && l.Len() > 0 {
		l.at = int32(len(q.open))
		q.open = append(q.open, d)
	}
}

func (q *ratios) unlist(d sched.DemandID) {
	l := &q.lines[d]
	if l.at < 0 {
		return
	}
	last := q.open[len(q.open)-1]
	q.open[l.at] = last
	q.lines[last].at = l.at
	q.open = q.open[:len(q.open)-1]
	l.at = -1
}

// shut marks a line of which no task finds room.
func (q *ratios) shut(d sched.DemandID) {
	q.lines[d].shut = true
	q.unlist(d)
}

// IsShut reports whether a line is shut.
func (q *ratios) IsShut(d sched.DemandID) bool { return int(d) < len(q.lines) && q.lines[d].shut }

// reopen opens all lines.
func (q *ratios) reopen() {
	for d := range q.lines {
		if l := &q.lines[d]; l.shut {
			l.shut = false
			q.list(sched.DemandID(d))
		}
	}
}

// reopenOn opens the lines of which a replica fits on a node, where some room came free.
func (q *ratios) reopenOn(s *sched.State, n sched.NodeID) {
	room := s.Room()
	cpu, _, gpus := room.Free(n)
	for d := range q.lines {
		l := &q.lines[d]
		if !l.shut {
			continue
		}
		if !l.known {
			l.least, l.known = lines.LeastFree(&s.Table().Demands[d]), true
		}
		if id := sched.DemandID(d); gpus >= l.least.GPUs && cpu >= l.least.CPU && room.Holds(id, n) {
			l.shut = false
			q.list(id)
		}
	}
}

// first returns the first task of the open lines, and false where none is open.
func (q *ratios) first(now sched.Time) (best kinetic.Item, ok bool) {
	for _, d := range q.open {
		if it, _ := q.lines[d].First(now); !ok || kinetic.Over(it, best, now) {
			best, ok = it, true
		}
	}
	return best, ok
}
