package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/ranking"
	"github.com/schedlab/schedlab/policies/sched"
)

// moving says how the ranks of running tasks move while they run. Those of a class have the same rank wherever they have the same key, so that nothing need
// be done as time goes by: they are kept by their keys, and the ranks worked out when somebody wants to know.
type moving interface {
	class(s *sched.State, d sched.DemandID) int
	// key stands still while the task runs.
	key(s *sched.State, t sched.TaskID) int64
	// rank is the rank now of a task of a class, of which it is any, with the key, and until when, that time not included, it is that one.
	rank(s *sched.State, class int32, t sched.TaskID, key int64) (rank int64, until sched.Time)
	// since returns the smallest key of the class that has the same rank now.
	since(s *sched.State, class int32, t sched.TaskID, key, rank int64) int64
	// cells are the parts into which the ranks fall, the largest rank first; nil where in a class larger keys have larger ranks, or equal ones.
	cells() []cell
	// part returns which keys of a class, of which t is one, now belong to a cell: from low on, high not included.
	part(s *sched.State, t sched.TaskID, c cell) (low, high int64)
}

// cell is a step of attained service, with its rank.
type cell struct {
	rank int64
	n    int
}

// movers are the running tasks that are not stopping, by class and key.
type movers struct {
	moving
	classes []moverClass
	met     int            // classes of which some task has run
	gone    []sched.TaskID // that run no more, or are stopping, since the last decision; for climbing
	notes   bool           // gone is kept
	steps   bool           // ranks change seldom, by steps: the trees are told of them

	holds  []sched.Time // by node: until when, that time not included, its ranks hold as they were worked out
	stepAt []sched.Time // with steps: by node, when one of its ranks changes next, as far as they were worked out; Never = not
	comes  heap.Heap    // nodes by that time; entries that no longer hold are dropped when they come up
	walk   victimWalk
	gaps   []gap   // by node, of this search
	seen   []int32 // by node: the last search that looked at it
	search int32
}

type moverClass struct {
	list ranking.List
	task sched.TaskID // some task of the class; Nobody while none has run
}

func (m *movers) add(s *sched.State, r *ranked, node sched.NodeID) {
	c := m.class(s, s.DemandID(r.task))
	for len(m.classes) <= c {
		m.classes = append(m.classes, moverClass{task: sched.Nobody})
	}
	if m.classes[c].task == sched.Nobody {
		m.met++
		m.classes[c].task = r.task
	}
	r.class = int32(c)
	m.classes[c].list.Insert(ranking.Item{Rank: r.key, Task: r.task, Node: node})
}

// sink works out the ranks on a node as they are now.
func (q *ranks) sink(s *sched.State, n sched.NodeID) {
	m := q.moves
	if m == nil || s.Now() < m.holds[n] {
		return
	}
	list, next := q.nodes[n], sched.Never
	for i := range list {
		if s.Now() < list[i].until && (i == 0 || !list[i].before(&list[i-1])) {
			next = min(next, list[i].until)
			continue
		}
		r := list[i]
		if s.Now() >= r.until {
			r.rank, r.until = m.rank(s, r.class, r.task, r.key)
		}
		next = min(next, r.until)
		j := i
		for ; j > 0 && r.before(&list[j-1]); j-- {
			list[j] = list[j-1]
		}
		list[j] = r
	}
	m.holds[n] = next
	if m.steps && next != m.stepAt[n] {
		if m.stepAt[n] <= s.Now() {
			q.log.add(n) // before stepped has come to it
		}
		if m.stepAt[n] = next; next != sched.Never {
			m.comes.Push(heap.Item{Key: int64(next), Task: sched.TaskID(n)})
		}
	}
}

// stepped notes the nodes with ranks that have changed for the trees.
func (q *ranks) stepped(s *sched.State) {
	for m := q.moves; len(m.comes) > 0 && m.comes[0].Key <= int64(s.Now()); {
		if it := m.comes.Pop(); m.stepAt[it.Task] == sched.Time(it.Key) {
			m.stepAt[it.Task], m.holds[it.Task] = sched.Never, math.MinInt64
			q.log.add(sched.NodeID(it.Task))
		}
	}
}

// victimWalk goes through running tasks in the order in which they would be stopped: in runs of the same rank, each sorted by TaskID.
type victimWalk struct {
	tops []top // by class, where there are no cells
	run  []ranking.Item
	rank int64 // of the run
	cell int
}

type top struct {
	walk ranking.Down
	it   ranking.Item
	rank int64 // noTop behind the last
}

const noTop = math.MinInt64

func (m *movers) begin(s *sched.State) {
	w := &m.walk
	w.cell = 0
	if m.cells() != nil {
		return
	}
	w.tops = w.tops[:0]
	for c := range m.classes {
		w.tops = append(w.tops, top{walk: m.classes[c].list.Down()})
		m.next(s, c)
	}
}

func (m *movers) next(s *sched.State, class int) {
	t := &m.walk.tops[class]
	ok := false
	if t.it, ok = t.walk.Next(); ok {
		t.rank, _ = m.rank(s, int32(class), t.it.Task, t.it.Rank)
	} else {
		t.rank = noTop
	}
}

// nextRun collects the next run, and reports false where there is none, or only of tasks that may not be stopped for it.
func (m *movers) nextRun(s *sched.State, p *Preemptive, it heap.Item) bool {
	w := &m.walk
	w.run = w.run[:0]
	if cells := m.cells(); cells != nil {
		for ; w.cell < len(cells); w.cell++ {
			c := cells[w.cell]
			if len(w.run) > 0 && c.rank != w.rank {
				break
			}
			if w.rank = c.rank; !p.mayStop(s, w.rank, lastTask, it) {
				return false
			}
			for i := range m.classes {
				of := &m.classes[i]
				if of.list.Len() == 0 {
					continue
				}
				if low, high := m.part(s, of.task, c); of.list.Spans(low, high) {
					walk := of.list.DownFrom(high)
					w.run = walk.To(low, w.run)
				}
			}
		}
	} else {
		first, second, at := int64(noTop), int64(noTop), 0
		for i := range w.tops {
			if r := w.tops[i].rank; r > first {
				first, second, at = r, first, i
			} else if r > second {
				second = r
			}
		}
		if first < it.Key || first == it.Key && p.Mild || first == noTop {
			return false
		}
		w.rank = first
		w.run = append(w.run, w.tops[at].it)
		m.next(s, at)
		for i := at; i < len(w.tops) && (second == first || w.tops[at].rank == first); i++ { // mostly one is alone
			if t := &w.tops[i]; t.rank == first {
				w.run = append(w.run, t.it)
				w.run = t.walk.To(m.since(s, int32(i), t.it.Task, t.it.Rank, first), w.run)
				m.next(s, i)
			}
		}
	}
	if w.rank == it.Key { // the larger TaskIDs may be stopped
		keep := w.run[:0]
		for _, v := range w.run {
			if v.Task > it.Task {
				keep = append(keep, v)
			}
		}
		w.run = keep
	}
	return len(w.run) > 0
}

// lastTask comes after all tasks.
const lastTask = 1<<31 - 1

// closestMoving is closest where ranks move. A gap per node is kept, from which what the tasks of each run hold is taken; the order in a run counts only
// where it closes one.
func (q *ranks) closestMoving(s *sched.State, p *Preemptive, d sched.DemandID, it heap.Item) closing {
	m := q.moves
	if m.search++; m.search == lastTask {
		clear(m.seen)
		m.search = 1
	}
	m.begin(s)
	for m.nextRun(s, p, it) {
		run := m.walk.run
		if len(run) == 1 {
			if q.takeOff(s, d, run[0], 1) {
				return closing{m.walk.rank, run[0].Task, atStop}
			}
			continue
		}
		for i := range run {
			if !q.takeOff(s, d, run[i], 1) {
				continue
			}
			for _, v := range run[:i+1] {
				q.takeOff(s, d, v, -1)
			}
			// Few are gone through before one closes a gap: a heap of them is made quicker than they are sorted.
			for k := len(run)/2 - 1; k >= 0; k-- {
				sinkItem(run, k)
			}
			for len(run) > 0 {
				v, last := run[0], len(run)-1
				if q.takeOff(s, d, v, 1) {
					return closing{m.walk.rank, v.Task, atStop}
				}
				run[0], run = run[last], run[:last]
				sinkItem(run, 0)
			}
		}
	}
	return closing{}
}

// sinkItem lets the entry at k of a heap with the largest TaskID first come to its place.
func sinkItem(h []ranking.Item, k int) {
	it := h[k]
	for {
		c := 2*k + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].Task > h[c].Task {
			c++
		}
		if it.Task > h[c].Task {
			break
		}
		h[k] = h[c]
		k = c
	}
	h[k] = it
}

// takeOff takes what a running task holds off the gaps of its nodes, or puts it back (times -1), and reports whether one is closed.
func (q *ranks) takeOff(s *sched.State, d sched.DemandID, v ranking.Item, times int32) bool {
	if v.Node != sched.NoNode {
		return q.takeOffOn(s, d, v.Task, v.Node, times)
	}
	closed, on := false, s.Placements(v.Task)
	for i, pl := range on {
		if !slices.ContainsFunc(on[:i], func(o sched.Placement) bool { return o.Node == pl.Node }) && q.takeOffOn(s, d, v.Task, pl.Node, times) {
			closed = true
		}
	}
	return closed
}

func (q *ranks) takeOffOn(s *sched.State, d sched.DemandID, t sched.TaskID, n sched.NodeID, times int32) bool {
	m := q.moves
	g, list := &m.gaps[n], q.nodes[n]
	if m.seen[n] != m.search {
		m.seen[n] = m.search
		room := s.Room()
		if !q.couldHold(room, d, n) {
			*g = gap{amount{cpu: math.MaxInt64 / 2}} // never closes
		} else {
			g.amount = q.wants[d].minus(amount{room.FreeCPU(n), room.FreeMem(n), room.FreeGPUs(n)})
			for i := 0; i < len(list) && list[i].leaving; i++ {
				g.less(list[i].freed)
			}
		}
	}
	for i := range list {
		if r := &list[i]; r.task == t {
			if times < 0 {
				g.more(r.freed)
			} else {
				g.less(r.freed)
			}
			break
		}
	}
	return g.closed()
}
