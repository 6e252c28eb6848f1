package policies

import (
	"math"

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
	part(s *sched.State, class int, t sched.TaskID, c cell) (low, high int64)
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
	known   []bool         // by demand: some task has run
	gone    []sched.TaskID // that run no more, or are stopping, since the last decision; for climbing
	notes   bool           // gone is kept

	holds  []sched.Time // by node: until when, that time not included, its ranks hold as they were worked out
	walk   victimWalk
	gaps   []searched // by node
	search int32
}

// searched is what is lacking on a node, when all that is stopping has left and, at best, what a search has come to. It is of the last search that has.
type searched struct {
	gap
	search int32
}

type moverClass struct {
	list ranking.List
	task sched.TaskID // some task of the class; Nobody while none has run
	most amount       // what any of them holds on a node, at most
}

func (m *movers) add(s *sched.State, r *ranked, node sched.NodeID) {
	d := s.DemandID(r.task)
	c := m.class(s, d)
	for len(m.classes) <= c {
		m.classes = append(m.classes, moverClass{task: sched.Nobody})
	}
	of := &m.classes[c]
	for len(m.known) <= int(d) {
		m.known = append(m.known, false)
	}
	if !m.known[d] {
		m.known[d] = true
		if of.task == sched.Nobody {
			m.met++
			of.task = r.task
		}
		dem := &s.Table().Demands[d]
		all := amountOf(&dem.Need, dem.Gang)
		of.most = amount{max(of.most.cpu, all.cpu), max(of.most.mem, all.mem), max(of.most.gpus, all.gpus)}
	}
	r.class = int32(c)
	of.list.Insert(ranking.Item{Rank: r.key, Task: r.task, Node: node})
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
}

// victimWalk goes through running tasks in the order in which they would be stopped: in groups of the same rank.
type victimWalk struct {
	tops  []top // by class, where there are no cells
	cell  int
	rank  int64  // of the group
	parts []part // of the group
	some  []ranking.Item
}

// part is some tasks of a class.
type part struct {
	tasks []ranking.Item
	class int
	last  sched.TaskID // the largest
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

// nextGroup finds the next group, and reports false where there is none, or only of tasks that may not be stopped.
func (m *movers) nextGroup(s *sched.State, b *bar) bool {
	w := &m.walk
	w.parts, w.some = w.parts[:0], w.some[:0]
	if cells := m.cells(); cells != nil {
		for ; w.cell < len(cells); w.cell++ {
			c := cells[w.cell]
			if len(w.parts) > 0 && c.rank != w.rank {
				break
			}
			if w.rank = c.rank; !b.over(c.rank, lastTask) {
				return false
			}
			for i := range m.classes {
				of := &m.classes[i]
				if of.list.Len() == 0 {
					continue
				}
				if low, high := m.part(s, i, of.task, c); of.list.Spans(low, high) {
					walk := of.list.DownFrom(high)
					w.take(&walk, i, low)
				}
			}
		}
		return len(w.parts) > 0
	}
	first := int64(noTop)
	for c := range w.tops {
		first = max(first, w.tops[c].rank)
	}
	if w.rank = first; first == noTop || !b.over(first, lastTask) {
		return false
	}
	for c := range w.tops {
		t := &w.tops[c]
		if t.rank != first {
			continue
		}
		w.some = append(w.some, t.it)
		n := len(w.some) - 1
		w.parts = append(w.parts, part{w.some[n : n+1], c, t.it.Task})
		w.take(&t.walk, c, m.since(s, int32(c), t.it.Task, t.it.Rank, first))
		m.next(s, c)
	}
	return true
}

// take takes what comes next in a walk, down to a key, into the group.
func (w *victimWalk) take(walk *ranking.Down, class int, low int64) {
	for {
		tasks, last := walk.Part(low)
		if len(tasks) == 0 {
			return
		}
		w.parts = append(w.parts, part{tasks, class, last})
	}
}

// lastTask comes after all tasks.
const lastTask = 1<<31 - 1

// closestMoving is closest where ranks move. A gap per node is kept, from which what the tasks of each group hold at most is taken; only nodes whose gap closes are looked
// at. In a group the larger TaskIDs come first, so that it is gone through down to one that makes room alone, if there is any.
func (q *ranks) closestMoving(s *sched.State, p *Preemptive, d sched.DemandID, it heap.Item) (best closing) {
	m, b, w := q.moves, p.bar(s, it), &q.wants[d]
	if m.search++; m.search == lastTask {
		clear(m.gaps)
		m.search = 1
	}
	for _, n := range q.left {
		g := q.gap(s, w, n)
		for i := 0; i < len(q.nodes[n]) && q.nodes[n][i].leaving; i++ {
			g.less(q.nodes[n][i].freed)
		}
	}
	m.begin(s)
	for best.how == noRoom && m.nextGroup(s, &b) {
		from := sched.Nobody
		if m.walk.rank == b.rank {
			from = b.task
		}
		parts := m.walk.parts
		sure, last := -1, from
		for i := range parts {
			if of := &parts[i]; of.last > last && m.classes[of.class].most.covers(w) {
				sure, last = i, of.last
			}
		}
		if sure >= 0 {
			for _, v := range parts[sure].tasks {
				if v.Task == last {
					best = q.closed(s, d, v, &b, best)
				}
			}
			if best.how == atStop {
				from = max(from, best.task)
			}
		}
		for i := range parts {
			of := &parts[i]
			if of.last <= from {
				continue
			}
			holds := &m.classes[of.class].most
			for k := range of.tasks {
				v := &of.tasks[k]
				if v.Task <= from {
					continue
				}
				if v.Node == sched.NoNode {
					for _, on := range s.Placements(v.Task) {
						q.gap(s, w, on.Node).less(*holds)
					}
					best = q.closed(s, d, *v, &b, best)
					continue
				}
				g := &m.gaps[v.Node]
				if g.search != m.search {
					g = q.gap(s, w, v.Node)
				}
				if g.gpus, g.cpu, g.mem = g.gpus-holds.gpus, g.cpu-holds.cpu, g.mem-holds.mem; g.gpus <= 0 && g.cpu <= 0 && g.mem <= 0 {
					best = q.closed(s, d, *v, &b, best)
				}
			}
		}
	}
	return best
}

// gap returns what is lacking on a node, in this search.
func (q *ranks) gap(s *sched.State, w *amount, n sched.NodeID) *searched {
	m, room := q.moves, s.Room()
	g := &m.gaps[n]
	if g.search != m.search {
		g.search, g.gpus, g.cpu, g.mem = m.search, w.gpus-room.FreeGPUs(n), w.cpu-room.FreeCPU(n), w.mem-room.FreeMem(n)
	}
	return g
}

// closed returns the first of a closing and those of the nodes of a running task, if these are of a rank that has been come to.
func (q *ranks) closed(s *sched.State, d sched.DemandID, v ranking.Item, b *bar, best closing) closing {
	if v.Node != sched.NoNode {
		if c := q.closing(s, d, v.Node, b); c.how == atStop && c.rank >= q.moves.walk.rank && c.before(&best) {
			return c
		}
		return best
	}
	for _, pl := range s.Placements(v.Task) {
		if c := q.closing(s, d, pl.Node, b); c.how == atStop && c.rank >= q.moves.walk.rank && c.before(&best) {
			best = c
		}
	}
	return best
}
