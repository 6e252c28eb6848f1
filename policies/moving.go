package policies

import (
	"math"
	"time"

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
	// since returns the smallest key of the class that has the same rank now, where there are no cells.
	since(s *sched.State, class int32, t sched.TaskID, key, rank int64) int64
	// sinks returns by how much the rank of a class falls in a ns: it is so often the key less the time, while that is from 0 to 2^52. 0 where it is something else.
	sinks(class int) int64
	// above returns a key from which on the ranks of a class are above a rank, where few have the same rank.
	above(s *sched.State, class int, rank int64) int64
	// cells are the parts into which the ranks fall, the largest rank first; nil where in a class larger keys have larger ranks, or equal ones.
	cells() []cell
	// bounds returns between which times held, the second not included, tasks of a class, of which t is one, are in each cell. A key is such a time less the time.
	bounds(s *sched.State, class int, t sched.TaskID) [][2]time.Duration
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
	apart   bool           // few have the same rank

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
	list  ranking.List // unless apart,
	tops  topRanks     // and then these, by key
	fresh bool         // tops are looked for
	task  sched.TaskID // some task of the class; Nobody while none has run
	most  amount       // what any of them holds on a node, at most
	sinks int64        // see moving
}

func (m *movers) add(s *sched.State, r *ranked, node sched.NodeID) {
	d, c := s.DemandID(r.task), int(r.class)
	for len(m.classes) <= c {
		m.classes = append(m.classes, moverClass{task: sched.Nobody, tops: topRanks{whole: true, valid: true}})
	}
	of := &m.classes[c]
	if m.apart {
		if of.task == sched.Nobody {
			of.task, of.sinks = r.task, m.sinks(c)
		}
		of.tops.insert(ranking.Item{Rank: r.key, Task: r.task, Node: node})
		return
	}
	for len(m.known) <= int(d) {
		m.known = append(m.known, false)
	}
	if !m.known[d] {
		m.known[d] = true
		if of.task == sched.Nobody {
			m.met++
			of.task, of.sinks = r.task, m.sinks(c)
		}
		dem := &s.Table().Demands[d]
		all := amountOf(&dem.Need, dem.Gang)
		of.most = amount{max(of.most.cpu, all.cpu), max(of.most.mem, all.mem), max(of.most.gpus, all.gpus)}
	}
	of.list.Insert(ranking.Item{Rank: r.key, Task: r.task, Node: node})
}

// remove takes out a task that runs no more, or is stopping.
func (m *movers) remove(r *ranked) {
	of := &m.classes[r.class]
	if m.apart {
		of.tops.remove(r.key, r.task)
		return
	}
	of.list.Remove(r.key, r.task)
	if m.notes {
		m.gone = append(m.gone, r.task)
	}
}

// sink works out the ranks on a node as they are now.
func (q *ranks) sink(s *sched.State, n sched.NodeID) {
	m := q.moves
	if m == nil || s.Now() < m.holds[n] {
		return
	}
	list, next := q.nodes[n], sched.Never
	for i := range list {
		if s.Now() < list[i].until && (i == 0 || !list[i-1].before(&list[i])) {
			next = min(next, list[i].until)
			continue
		}
		e := &list[i]
		if s.Now() >= e.until {
			m.rerank(s, e)
		}
		next = min(next, e.until)
		if i == 0 || !list[i-1].before(e) {
			continue
		}
		r, j := *e, i
		for ; j > 0 && list[j-1].before(&r); j-- {
			list[j] = list[j-1]
		}
		list[j] = r
	}
	m.holds[n] = next
}

// rerank works out the rank now of a running task.
func (m *movers) rerank(s *sched.State, e *ranked) {
	if left := e.key - int64(s.Now()); m.apart && left > 0 && left < 1<<52 && int(e.class) < len(m.classes) {
		if n := m.classes[e.class].sinks; n > 0 {
			e.rank, e.until = left*n, s.Now()+1
			return
		}
	}
	e.rank, e.until = m.rank(s, e.class, e.task, e.key)
}

// victimWalk goes through running tasks in the order in which they would be stopped: in groups of the same rank.
type victimWalk struct {
	tops   []top      // by class, where there are no cells
	ranges []keyRange // where there are: of the classes that have tasks
	cell   int
	rank   int64  // of the group
	parts  []part // of the group
	some   []ranking.Item
	order  []head // where few have the same rank: the classes by what comes next of each, the largest rank first
	left   []int  // likewise, by class: so many of its tops have not been taken
}

type head struct {
	rank  int64
	task  sched.TaskID
	class int
}

func (h *head) before(o *head) bool { return h.rank > o.rank || h.rank == o.rank && h.task > o.task }

// keyRange is between which keys the tasks of a class are.
type keyRange struct {
	class       int
	first, last int64
	bounds      [][2]time.Duration // of cells
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
	w.cell, w.ranges = 0, w.ranges[:0]
	if m.cells() != nil {
		for c := range m.classes {
			if of := &m.classes[c]; of.list.Len() > 0 {
				r := more(&w.ranges)
				r.class, r.bounds = c, m.bounds(s, c, of.task)
				r.first, r.last = of.list.Ranks()
			}
		}
		return
	}
	w.tops = w.tops[:0]
	for c := range m.classes {
		t := more(&w.tops)
		t.walk = m.classes[c].list.Down()
		m.next(s, t, c)
	}
}

// next goes on to the next task of a class, and returns its rank.
func (m *movers) next(s *sched.State, t *top, class int) int64 {
	ok := false
	if t.it, ok = t.walk.Next(); ok {
		t.rank = m.rankNow(s, int32(class), t.it.Task, t.it.Rank)
	} else {
		t.rank = noTop
	}
	return t.rank
}

// rankNow is the rank now of a task of a class with the key.
func (m *movers) rankNow(s *sched.State, class int32, t sched.TaskID, key int64) int64 {
	if left, sinks := key-int64(s.Now()), m.classes[class].sinks; sinks > 0 && left >= 0 && left < 1<<52 {
		return left * sinks
	}
	rank, _ := m.rank(s, class, t, key)
	return rank
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
			for i := range w.ranges {
				r := &w.ranges[i]
				b := &r.bounds[c.n]
				low, high := int64(b[0])-int64(s.Now()), int64(math.MaxInt64)
				if b[1] < math.MaxInt64 {
					high = int64(b[1]) - int64(s.Now())
				}
				if low <= r.last && r.first < high {
					walk := m.classes[r.class].list.DownFrom(high)
					w.take(&walk, r.class, low)
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
		w.add(w.some[n:n+1], c, t.it.Task)
		w.take(&t.walk, c, m.since(s, int32(c), t.it.Task, t.it.Rank, first))
		m.next(s, t, c)
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
		w.add(tasks, class, last)
	}
}

func (w *victimWalk) add(tasks []ranking.Item, class int, last sched.TaskID) {
	p := more(&w.parts)
	p.tasks, p.class, p.last = tasks, class, last
}

// more adds an entry to a list, for the caller to write, and all of it: what stood there before is still in it. An entry that is put together elsewhere is copied,
// and the copy waits for what has just been written.
func more[T any](list *[]T) *T {
	l := *list
	if n := len(l); n < cap(l) {
		l = l[:n+1]
	} else {
		var zero T
		l = append(l, zero)
	}
	*list = l
	return &l[len(l)-1]
}

// lastTask comes after all tasks.
const lastTask = 1<<31 - 1

// closestMoving is closest where ranks move. A gap per node is kept, from which what the tasks of each group hold at most is taken; only nodes whose gap closes are looked
// at. In a group the larger TaskIDs come first, so that it is gone through down to one that makes room alone, if there is any.
func (q *ranks) closestMoving(s *sched.State, d sched.DemandID, b *bar) (best closing) {
	m, w := q.moves, &q.wants[d].amount
	if m.search++; m.search == lastTask {
		clear(m.gaps)
		m.search = 1
	}
	for _, n := range q.left {
		g := q.gap(s, w, n)
		for i := len(q.nodes[n]) - 1; i >= 0 && q.nodes[n][i].leaving; i-- {
			g.less(q.nodes[n][i].freed())
		}
	}
	m.begin(s)
	for best.how == noRoom && m.nextGroup(s, b) {
		from := sched.Nobody
		if m.walk.rank == b.rank {
			from = b.task
		}
		parts := m.walk.parts
		if v := m.lastAlone(w, from); v.Task > from {
			if best = q.closed(s, d, v, b, best); best.how == atStop {
				from = max(from, best.task)
			}
		}
		for i := range parts {
			of := &parts[i]
			if of.last <= from {
				continue
			}
			holds := &m.classes[of.class].most
			for at := 0; ; at++ {
				if at = q.takeOff(s.Room(), w, of.tasks, at, from, holds); at == len(of.tasks) {
					break
				}
				best = q.closedBy(s, d, w, of.tasks[at], of.class, b, best)
			}
		}
	}
	return best
}

// closestApart is closest where ranks move and few have the same: one task is taken after the other. Of those below a bar, or best.
func (q *ranks) closestApart(s *sched.State, d sched.DemandID, b, below *bar, best closing) closing {
	for {
		q.lookApart(s)
		c, short := q.walkApart(s, d, b, below, best)
		if short < 0 {
			return c
		}
		x := &q.moves.classes[short].tops
		if x.most() >= deepTops {
			return q.closestOfAll(s, d, *b, best)
		}
		x.deepen()
	}
}

// closestOfAll is closest by the closings of all nodes.
func (q *ranks) closestOfAll(s *sched.State, d sched.DemandID, b bar, best closing) closing {
	for n := range q.nodes {
		if c := q.closing(s, d, sched.NodeID(n), &b); c.before(&best) {
			best, b = c, bar{c.rank, c.task}
		}
	}
	return best
}

// walkApart is closestApart by the tops of the classes. It returns one of which more are needed, if there is any, else -1.
func (q *ranks) walkApart(s *sched.State, d sched.DemandID, b, below *bar, best closing) (first closing, short int) {
	m := q.moves
	left, order := m.walk.left[:0], m.walk.order[:0]
	for c := range m.classes {
		items := m.classes[c].tops.items
		n := len(items)
		if below.rank < math.MaxInt64 && n > 0 {
			n = ranking.Place(items, ranking.Item{Rank: m.above(s, c, below.rank), Task: -1})
		}
		left = append(left, n)
		h, ok := m.nextApart(s, &left[c], c)
		if !ok {
			if m.short(s, c, b) {
				return closing{}, c
			}
			continue
		}
		i := len(order)
		order = append(order, h)
		for ; i > 0 && h.before(&order[i-1]); i-- {
			order[i] = order[i-1]
		}
		order[i] = h
	}
	m.walk.left, m.walk.order = left, order
	for len(order) > 0 && b.over(order[0].rank, order[0].task) {
		h, i := order[0], 1
		n := m.classes[h.class].tops.items[left[h.class]].Node
		next, ok := m.nextApart(s, &left[h.class], h.class)
		if !ok && m.short(s, h.class, b) {
			return closing{}, h.class
		}
		for ; i < len(order) && (!ok || order[i].before(&next)); i++ {
			order[i-1] = order[i]
		}
		if order[i-1] = next; !ok { // it is the last
			order = order[:len(order)-1]
		}
		if !below.over(h.rank, h.task) && q.closedAt(s, d, n, &h) {
			return closing{h.rank, h.task, atStop}, -1
		}
	}
	return best, -1
}

// nextApart returns the last of the tops of a class that is left, which is then not, and false where there is none.
func (m *movers) nextApart(s *sched.State, left *int, class int) (h head, ok bool) {
	if *left == 0 {
		return h, false
	}
	*left--
	it := &m.classes[class].tops.items[*left]
	return head{m.rankNow(s, int32(class), it.Task, it.Rank), it.Task, class}, true
}

// short reports whether tasks of a class that are not among its tops may be over the bar.
func (m *movers) short(s *sched.State, class int, b *bar) bool {
	x := &m.classes[class].tops
	return !x.whole && m.rankNow(s, int32(class), x.items[0].Task, x.items[0].Rank) >= b.rank
}

// lookApart makes sure that the tops of all classes are there.
func (q *ranks) lookApart(s *sched.State) {
	m, missing := q.moves, false
	for c := range m.classes {
		of := &m.classes[c]
		if of.tops.asked(); !of.tops.valid {
			of.tops.begin()
			of.fresh, missing = true, true
		}
	}
	if missing {
		q.findApart(s)
	}
}

// findApart looks for the tops of fresh classes on all nodes.
func (q *ranks) findApart(s *sched.State) {
	m := q.moves
	for n, list := range q.nodes {
		for i := range list {
			if r := &list[i]; !r.leaving && m.classes[r.class].fresh {
				m.classes[r.class].tops.offer(ranking.Item{Rank: r.key, Task: r.task, Node: sched.NodeID(n)})
			}
		}
	}
	for c := range m.classes {
		of := &m.classes[c]
		if !of.fresh {
			continue
		}
		of.fresh = false
		of.tops.cut()
		for i := range of.tops.items {
			if it := &of.tops.items[i]; len(s.Placements(it.Task)) > 1 {
				it.Node = sched.NoNode
			}
		}
	}
}

// closedAt reports whether there is room for a task of a demand on a node, or if that is none on one of those of a running task, when that and all that come before it in
// the order have stopped.
func (q *ranks) closedAt(s *sched.State, d sched.DemandID, n sched.NodeID, last *head) bool {
	if n == sched.NoNode {
		for _, on := range s.Placements(last.task) {
			if q.closedAt(s, d, on.Node, last) {
				return true
			}
		}
		return false
	}
	room, w := s.Room(), &q.wants[d]
	cpu, mem, gpus := room.Free(n)
	cpu, mem, gpus = w.cpu-cpu, w.mem-mem, w.gpus-gpus // what it lacks
	for i, list := 0, q.nodes[n]; i < len(list); i++ {
		r := &list[i]
		if !r.leaving {
			if h := (head{rank: q.moves.rankNow(s, r.class, r.task, r.key), task: r.task}); last.before(&h) {
				continue
			}
		}
		gpus, cpu, mem = gpus-r.gpus, cpu-r.cpu, mem-r.mem
	}
	return gpus <= 0 && cpu <= 0 && mem <= 0 && q.couldHold(room, d, n)
}

// closedBy returns the first of a closing and what takeOff has stopped at.
func (q *ranks) closedBy(s *sched.State, d sched.DemandID, w *amount, v ranking.Item, class int, b *bar, best closing) closing {
	if v.Node == sched.NoNode {
		for _, on := range s.Placements(v.Task) {
			q.gap(s, w, on.Node).less(q.moves.classes[class].most)
		}
	}
	return q.closed(s, d, v, b, best)
}

// lastAlone returns the last task of a group, above a TaskID, that may make room alone.
func (m *movers) lastAlone(w *amount, from sched.TaskID) ranking.Item {
	best := ranking.Item{Task: from}
	for i := range m.walk.parts {
		of := &m.walk.parts[i]
		if of.last <= best.Task || !m.classes[of.class].most.covers(w) {
			continue
		}
		for k := range of.tasks {
			if v := &of.tasks[k]; v.Task > best.Task {
				best = *v
			}
		}
	}
	return best
}

// takeOff takes what tasks hold, at most, off the gaps of their nodes, those above a TaskID, from a place on, and returns the place of the first that closes one, or that
// stands on several nodes.
func (q *ranks) takeOff(room *sched.Room, w *amount, tasks []ranking.Item, at int, from sched.TaskID, holds *amount) int {
	gaps, search := q.moves.gaps, q.moves.search
	onlyGPUs := w.cpu < 0 && w.mem < 0 // are asked for
	for ; at < len(tasks); at++ {
		v := &tasks[at]
		if v.Task <= from {
			continue
		}
		n := v.Node
		if uint32(n) >= uint32(len(gaps)) {
			return at
		}
		g := &gaps[n]
		if g.search != search {
			g.search, g.gpus = search, w.gpus-room.FreeGPUs(n)
			if g.cpu, g.mem = w.cpu, w.mem; !onlyGPUs {
				g.cpu, g.mem = g.cpu-room.FreeCPU(n), g.mem-room.FreeMem(n)
			}
		}
		if g.gpus -= holds.gpus; !onlyGPUs {
			g.cpu, g.mem = g.cpu-holds.cpu, g.mem-holds.mem
		}
		if g.gpus <= 0 && g.cpu <= 0 && g.mem <= 0 {
			return at
		}
	}
	return at
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
