package policies

import (
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/ranking"
	"github.com/schedlab/schedlab/policies/sched"
)

// topRanks are the running tasks of the largest ranks that are not stopping: those that would be stopped first. Of the others nothing is kept, as few are ever
// asked for; where too few are left, all running tasks are gone through. Nothing is kept either while nobody asks.
type topRanks struct {
	items []ranking.Item // ascending; all that do not come before the first of them
	whole bool           // they are all
	valid bool
	idle  int // tasks that came or left since somebody asked
	extra int // so many more than keptTops are looked for,
	asks  int // for so many searches
}

// Tests look for fewer.
var (
	keptTops = 96   // so many are looked for, for a start; twice as many are kept at most
	deepTops = 2048 // where no tree knows what lies behind them: from so many on all nodes are asked
)

const (
	fewTops  = 256      // where trees know what lies behind them
	longDeep = 1024     // searches by more than keptTops: if none needs still more, the next ones go by less
	idleTops = 4 * 1024 // tasks that come and leave before nothing is kept any more
)

// insert takes in a task.
func (x *topRanks) insert(it ranking.Item) {
	if !x.stays() || !x.whole && it.Before(x.items[0]) {
		return
	}
	if n := len(x.items); n == 0 || x.items[n-1].Before(it) { // as where ranks are few: the last to come is the last
		x.items = append(x.items, it)
	} else {
		i := ranking.Place(x.items, it)
		x.items = append(x.items, it)
		copy(x.items[i+1:], x.items[i:])
		x.items[i] = it
	}
	if most := x.most(); len(x.items) > 2*most {
		x.items, x.whole = x.items[:copy(x.items, x.items[len(x.items)-most:])], false
	}
}

// most is how many are looked for; twice as many are kept at most.
func (x *topRanks) most() int { return keptTops + x.extra }

// remove takes a task out.
func (x *topRanks) remove(rank int64, t sched.TaskID) {
	it := ranking.Item{Rank: rank, Task: t}
	if !x.stays() || len(x.items) == 0 || it.Before(x.items[0]) {
		return
	}
	if i := ranking.Place(x.items, it); i < len(x.items) && x.items[i].Rank == rank && x.items[i].Task == t {
		x.items = x.items[:i+copy(x.items[i:], x.items[i+1:])]
		x.valid = x.whole || len(x.items) > 0
	}
}

// stays reports whether anything is kept.
func (x *topRanks) stays() bool {
	x.idle++
	x.valid = x.valid && x.idle < idleTops
	return x.valid
}

func order(a, b ranking.Item) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

// tops returns at least n of the running tasks that are not stopping, as many as there are, those of the largest ranks last. What runs on several nodes has none.
func (q *ranks) tops(s *sched.State, n int) []ranking.Item {
	x := &q.order
	if x.look(q.nodes, n) {
		for i := range x.items {
			if it := &x.items[i]; len(s.Placements(it.Task)) > 1 {
				it.Node = sched.NoNode
			}
		}
	}
	return x.items
}

// topWalk goes through running tasks that are not stopping, the largest rank first. It is valid until any comes or leaves.
type topWalk struct {
	all   *ranking.Down  // if not nil: a walk through all of them
	items []ranking.Item // else the last of these is the next
	whole bool           // nobody is missing
}

// topsFrom returns a walk through those that are not over a bar.
func (q *ranks) topsFrom(s *sched.State, below *bar) topWalk {
	if m := q.quanta; m != nil {
		m.walk = m.runs.Down()
		if below.rank < math.MaxInt64 {
			m.walk = m.runs.DownFrom(below.rank + 1) // their bars are of ranks alone
		}
		return topWalk{all: &m.walk, whole: true}
	}
	w := topWalk{items: q.tops(s, fewVictims), whole: q.order.whole}
	if below.rank < math.MaxInt64 {
		i := ranking.Place(w.items, ranking.Item{Rank: below.rank, Task: below.task})
		if i < len(w.items) && !below.over(w.items[i].Rank, w.items[i].Task) { // it is that one
			i++
		}
		w.items = w.items[:i]
	}
	return w
}

// next returns the next task, and false behind the last that is known.
func (w *topWalk) next() (it ranking.Item, ok bool) {
	if w.all != nil {
		return w.all.Next()
	}
	if n := len(w.items); n > 0 {
		it, ok = w.items[n-1], true
		w.items = w.items[:n-1]
	}
	return it, ok
}

// look makes sure that n items are there, if there are as many, and reports whether it had to look for them on the nodes.
func (x *topRanks) look(nodes [][]ranked, n int) bool {
	if x.idle = 0; x.valid && (x.whole || len(x.items) >= n) {
		return false
	}
	x.begin()
	for node, list := range nodes {
		for i := range list {
			if r := &list[i]; !r.leaving {
				x.offer(ranking.Item{Rank: r.rank, Task: r.task, Node: sched.NodeID(node)})
			}
		}
	}
	x.cut()
	return true
}

// deepen takes in that more are needed, which are looked for next.
func (x *topRanks) deepen() { x.extra, x.asks, x.valid = x.extra+x.most(), 0, false }

// asked takes in that somebody asks, who may deepen it.
func (x *topRanks) asked() {
	if x.idle = 0; x.extra == 0 {
		return
	}
	if x.asks++; x.asks > longDeep {
		x.extra, x.asks = x.extra/2, 0
	}
}

// begin begins to look for the items: all tasks are to be offered then, and cut is to be called.
func (x *topRanks) begin() { x.items, x.whole, x.valid = x.items[:0], true, true }

// offer offers a task, which may be one of those that are looked for.
func (x *topRanks) offer(it ranking.Item) {
	if !x.whole && it.Before(x.items[0]) {
		return
	}
	if x.items = append(x.items, it); len(x.items) == 2*x.most() {
		x.cut()
	}
}

// cut sorts the items and leaves the last of them, each once.
func (x *topRanks) cut() {
	slices.SortFunc(x.items, order)
	x.items = slices.CompactFunc(x.items, func(a, b ranking.Item) bool { return a.Task == b.Task })
	if over := len(x.items) - x.most(); over > 0 {
		x.items, x.whole = slices.Delete(x.items, 0, over), false
	}
}
