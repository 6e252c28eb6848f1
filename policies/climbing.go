package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// climbing is how the ranks of Attained move where nothing but the time held tells them: the key is the time held less the time, which stands still while
// a task runs, so that steps cost nothing. What has to be known of them is when the next one lets a waiting task stop a running one.
type climbing struct {
	p *Attained
	// rises appends the times held at which tasks like t come from a rank of at most key to a larger one.
	rises   func(s *sched.State, t sched.TaskID, key int64, buf []time.Duration) []time.Duration
	byWidth widthClasses // rough where ranks go by time held: the classes only tell then who holds much
	// order are the cells where ranks rise and fall; limits returns between which times held tasks like t are in a cell.
	order  []cell
	limits func(s *sched.State, t sched.TaskID, n int) (from, until time.Duration)
	bounds [][][2]time.Duration // by class and cell: limits, once they have been asked for

	lines  []rising // by demand: to a rank at which the task that shut its line may stop them
	denied []rising // by demand: likewise the task of which its denial tells, where that is another
}

// rising is when running tasks come to a rank at which a task may stop them.
type rising struct {
	known   bool
	key     int64 // of that task
	classes int   // that there were
	steps   []riseOf
	seen    sched.Time // up to then it is taken in
	next    sched.Time
	first   sched.TaskID // which rises next
}

type riseOf struct {
	class int
	held  time.Duration
}

func (m *climbing) class(s *sched.State, d sched.DemandID) int { return m.byWidth.of(s, d) }

func (m *climbing) key(s *sched.State, t sched.TaskID) int64 {
	return int64(s.Attained(t)) - int64(s.Now())
}

func (m *climbing) rank(s *sched.State, _ int32, t sched.TaskID, key int64) (rank int64, until sched.Time) {
	rank, _, to := m.p.Level(s, t, time.Duration(key+int64(s.Now())))
	if until = sched.Never; to < math.MaxInt64 {
		until = sched.Time(int64(to) - key)
	}
	return rank, until
}

func (m *climbing) since(s *sched.State, _ int32, t sched.TaskID, key, _ int64) int64 {
	_, from, _ := m.p.Level(s, t, time.Duration(key+int64(s.Now())))
	return int64(from) - int64(s.Now())
}

func (m *climbing) cells() []cell { return m.order }

func (m *climbing) part(s *sched.State, class int, t sched.TaskID, c cell) (low, high int64) {
	for class >= len(m.bounds) {
		m.bounds = append(m.bounds, nil)
	}
	if len(m.bounds[class]) == 0 {
		for n := range m.order {
			from, until := m.limits(s, t, n)
			m.bounds[class] = append(m.bounds[class], [2]time.Duration{from, until})
		}
	}
	b := &m.bounds[class][c.n]
	if low, high = int64(b[0])-int64(s.Now()), math.MaxInt64; b[1] < math.MaxInt64 {
		high = int64(b[1]) - int64(s.Now())
	}
	return low, high
}

// sortCells makes the cells of their ranks.
func (m *climbing) sortCells(ranks []int64) {
	m.order = m.order[:0]
	for class := range m.bounds {
		m.bounds[class] = m.bounds[class][:0]
	}
	for n, r := range ranks {
		m.order = append(m.order, cell{r, n})
	}
	slices.SortFunc(m.order, func(a, b cell) int { return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.n, b.n)) })
}

// forget takes in that ranks have changed.
func (m *climbing) forget() {
	for d := range m.lines {
		m.lines[d].known, m.denied[d].known = false, false
	}
	of := m.p.list.running.moves
	for n := range of.holds {
		of.holds[n] = math.MinInt64
		for i := range m.p.list.running.nodes[n] {
			m.p.list.running.nodes[n][i].until = math.MinInt64
		}
	}
}

// started takes in that a task runs: it may be the next to rise.
func (m *climbing) started(s *sched.State, t sched.TaskID) {
	class, key := m.class(s, s.DemandID(t)), m.key(s, t)
	for d := range m.lines {
		m.lines[d].started(s, t, class, key)
		m.denied[d].started(s, t, class, key)
	}
}

func (l *rising) started(s *sched.State, t sched.TaskID, class int, key int64) {
	if !l.known {
		return
	}
	for _, r := range l.steps {
		if at := sched.Time(int64(r.held) - key); r.class == class && at > s.Now() && at < l.next {
			l.next, l.first = at, t
		}
	}
}

// take takes in what has risen since the last decision: of lines that are told by the nodes that have gained these nodes, else they are opened.
func (m *climbing) take(s *sched.State) {
	list := &m.p.list
	for d := range m.lines {
		if m.gained(s, &m.lines[d]) && (!list.near || list.quotas || !list.byNodeServes(s, sched.DemandID(d))) {
			list.lines.Unshut(sched.DemandID(d))
		}
		m.gained(s, &m.denied[d])
	}
}

// gained notes the nodes of what has risen since the last decision, and reports whether anything has.
func (m *climbing) gained(s *sched.State, l *rising) bool {
	if !l.known || l.next > s.Now() {
		return false
	}
	running := &m.p.list.running
	for _, r := range l.steps {
		// Those with keys from held-now on, but below held-seen.
		walk, low := running.moves.classes[r.class].list.DownFrom(int64(r.held)-int64(l.seen)), int64(r.held)-int64(s.Now())
		for v, ok := walk.Next(); ok && v.Rank >= low; v, ok = walk.Next() {
			if v.Node != sched.NoNode {
				running.gains.add(v.Node)
				continue
			}
			for _, on := range s.Placements(v.Task) {
				running.gains.add(on.Node)
			}
		}
	}
	m.findNext(s, l)
	return true
}

// findNext works out when the next of the running tasks rises.
func (m *climbing) findNext(s *sched.State, l *rising) {
	of := m.p.list.running.moves
	l.seen, l.next, l.first = s.Now(), sched.Never, sched.Nobody
	for _, r := range l.steps {
		walk := of.classes[r.class].list.DownFrom(int64(r.held) - int64(s.Now()))
		if v, ok := walk.Next(); ok && sched.Time(int64(r.held)-v.Rank) < l.next {
			l.next, l.first = sched.Time(int64(r.held)-v.Rank), v.Task
		}
	}
}

// watch is called at the end of a decision and returns when the next one is to be made if nothing happens, or Never. A denial tells nobody when to wake: a
// restored policy has none.
func (m *climbing) watch(s *sched.State) sched.Time {
	list := &m.p.list
	at := sched.Never
	for len(m.lines) < list.lines.Demands() {
		m.lines, m.denied = append(m.lines, rising{}), append(m.denied, rising{})
	}
	for d := range m.lines {
		by, shut := list.lines.ShutBy(sched.DemandID(d))
		_, waits := list.lines.Head(sched.DemandID(d))
		waits = waits && shut
		other := d < len(list.denials) && list.denials[d].ok
		if other && waits {
			k := &list.denials[d]
			if k.it.Before(by) {
				k.it = by
			}
			other = k.it.Key != by.Key
		}
		if m.lines[d].known = m.lines[d].known && waits; waits {
			m.follow(s, &m.lines[d], by.Key)
			at = min(at, m.lines[d].next)
		}
		if m.denied[d].known = m.denied[d].known && other; other {
			m.follow(s, &m.denied[d], list.denials[d].it.Key)
		}
	}
	list.running.moves.gone = list.running.moves.gone[:0]
	return at
}

// follow works out when tasks rise over a key, if that is not known from before.
func (m *climbing) follow(s *sched.State, l *rising, key int64) {
	of := m.p.list.running.moves
	if l.known && l.key == key && l.classes == of.met {
		if l.next > s.Now() && !slices.Contains(of.gone, l.first) {
			l.seen = s.Now() // what has come since started takes in
			return
		}
	} else {
		l.known, l.key, l.classes, l.steps = true, key, of.met, l.steps[:0]
		for c := range of.classes {
			if of.classes[c].task == sched.Nobody {
				continue
			}
			m.p.times = m.rises(s, of.classes[c].task, key, m.p.times[:0])
			for _, held := range m.p.times {
				l.steps = append(l.steps, riseOf{c, held})
			}
		}
	}
	m.findNext(s, l)
}

// widthClasses tells demands apart by their width.
type widthClasses struct {
	rough   bool    // widths are rounded to powers of two
	widths  []int64 // by class
	wholes  []int64 // likewise, in whole GPUs or cores; 0 where it is none, or many
	classes []int32 // by demand
}

func (w *widthClasses) of(s *sched.State, d sched.DemandID) int {
	for int(d) >= len(w.classes) {
		width := width(&s.Table().Demands[len(w.classes)])
		if w.rough {
			width = 1 << (bits.Len64(uint64(width)) - 1)
		}
		c := slices.Index(w.widths, width)
		if c < 0 {
			c = len(w.widths)
			n := width / sched.Whole
			if n*sched.Whole != width || n >= 1<<10 {
				n = 0
			}
			w.widths, w.wholes = append(w.widths, width), append(w.wholes, n)
		}
		w.classes = append(w.classes, int32(c))
	}
	return int(w.classes[d])
}
