package policies

import (
	"cmp"
	"math"
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
	byWidth widthClasses
	// order are the cells where ranks rise and fall; limits returns between which times held tasks like t are in a cell.
	order  []cell
	ranks  []int64 // by cell
	limits func(s *sched.State, t sched.TaskID, n int) (from, until time.Duration)
	known  [][][2]time.Duration // by class and cell: limits, once they have been asked for

	lines []awaited  // by demand
	seen  sched.Time // up to then all that rose is taken in
	next  sched.Time // when the first rises of those that are followed
	last  sched.Time // no rise that is followed is later
}

// awaited are the rises that matter to the tasks of a demand.
type awaited struct {
	line   rising // to a rank at which the task that shut its line may stop them
	denied rising // likewise the task of which its denial tells, where that is another

	// As they were when the rises were worked out.
	taken   bool // they were
	waits   bool
	denies  bool
	by, it  int64 // keys of the task that shut the line, where it waits, and of that of the denial, where there is one
	classes int
}

// rising is when running tasks come to a rank at which a task may stop them.
type rising struct {
	known   bool
	key     int64           // of that task
	classes int             // that there were
	steps   []time.Duration // times held, by class
	ends    []int           // by class: where in steps its own end
	next    sched.Time
	first   sched.TaskID // which rises next
}

// of returns the steps of a class.
func (l *rising) of(class int) []time.Duration {
	if class >= len(l.ends) {
		return nil
	}
	from := 0
	if class > 0 {
		from = l.ends[class-1]
	}
	return l.steps[from:l.ends[class]]
}

func (m *climbing) class(s *sched.State, d sched.DemandID) int { return m.byWidth.of(s, d) }

func (m *climbing) key(s *sched.State, t sched.TaskID) int64 {
	return int64(s.Attained(t)) - int64(s.Now())
}

func (m *climbing) rank(s *sched.State, class int32, t sched.TaskID, key int64) (rank int64, until sched.Time) {
	had, to := time.Duration(key+int64(s.Now())), time.Duration(0)
	if len(m.ranks) == 0 {
		rank, _, to = m.p.Level(s, t, had)
	} else { // the task is not looked at: there are many, and few are in the processor's cache
		cells := m.bounds(s, int(class), t)
		n, end := 0, len(cells)-1
		for n < end {
			if mid := (n + end) / 2; cells[mid][1] <= had {
				n = mid + 1
			} else {
				end = mid
			}
		}
		rank, to = m.ranks[n], cells[n][1]
	}
	if until = sched.Never; to < math.MaxInt64 {
		until = sched.Time(int64(to) - key)
	}
	return rank, until
}

func (m *climbing) since(s *sched.State, _ int32, t sched.TaskID, key, _ int64) int64 {
	_, from, _ := m.p.Level(s, t, time.Duration(key+int64(s.Now())))
	return int64(from) - int64(s.Now())
}

func (*climbing) sinks(int) int64 { return 0 }

func (*climbing) above(*sched.State, int, int64) int64 { return math.MaxInt64 }

func (m *climbing) cells() []cell { return m.order }

func (m *climbing) bounds(s *sched.State, class int, t sched.TaskID) [][2]time.Duration {
	for class >= len(m.known) {
		m.known = append(m.known, nil)
	}
	if len(m.known[class]) == 0 {
		for n := range m.order {
			from, until := m.limits(s, t, n)
			m.known[class] = append(m.known[class], [2]time.Duration{from, until})
		}
	}
	return m.known[class]
}

// sortCells makes the cells of their ranks.
func (m *climbing) sortCells(ranks []int64) {
	m.order, m.ranks = m.order[:0], ranks
	for class := range m.known {
		m.known[class] = m.known[class][:0]
	}
	for n, r := range ranks {
		m.order = append(m.order, cell{r, n})
	}
	slices.SortFunc(m.order, func(a, b cell) int { return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.n, b.n)) })
}

// forget takes in that ranks have changed.
func (m *climbing) forget() {
	for d := range m.lines {
		m.lines[d].line.known, m.lines[d].denied.known, m.lines[d].taken = false, false, false
	}
	of := m.p.list.running.moves
	for n := range of.holds {
		of.holds[n] = math.MinInt64
		for i := range m.p.list.running.nodes[n] {
			m.p.list.running.nodes[n][i].until = math.MinInt64
		}
	}
}

// started takes in that a task runs, whose rank does not change before a time: it may be the next to rise.
func (m *climbing) started(s *sched.State, t sched.TaskID, key int64, until sched.Time) {
	if until >= m.last {
		return
	}
	class := m.class(s, s.DemandID(t))
	for d := range m.lines {
		a := &m.lines[d]
		for l := &a.line; ; l = &a.denied {
			if l.known {
				for _, held := range l.of(class) {
					if at := sched.Time(int64(held) - key); at > s.Now() && at < l.next {
						l.next, l.first = at, t
						m.next = min(m.next, at)
					}
				}
			}
			if l == &a.denied {
				break
			}
		}
	}
}

// take takes in what has risen since the last decision: of lines that are told by the nodes that have gained these nodes, else they are opened.
func (m *climbing) take(s *sched.State) {
	if m.next > s.Now() {
		return
	}
	m.last = sched.Never // those that have come to pass are followed by later ones
	list := &m.p.list
	for d := range m.lines {
		if a := &m.lines[d]; m.gained(s, &a.line) && (!list.near || list.quotas || !list.byNodeServes(sched.DemandID(d))) {
			list.lines.Unshut(sched.DemandID(d))
		}
		m.gained(s, &m.lines[d].denied)
	}
}

// gained notes the nodes of what has risen since the last decision, and reports whether anything has.
func (m *climbing) gained(s *sched.State, l *rising) bool {
	if !l.known || l.next > s.Now() {
		return false
	}
	running := &m.p.list.running
	for class := range l.ends {
		for _, held := range l.of(class) {
			// Those with keys from held-now on, but below held-seen.
			walk, low := running.moves.classes[class].list.DownFrom(int64(held)-int64(m.seen)), int64(held)-int64(s.Now())
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
	}
	m.findNext(s, l)
	return true
}

// findNext works out when the next of the running tasks rises.
func (m *climbing) findNext(s *sched.State, l *rising) {
	of := m.p.list.running.moves
	l.next, l.first = sched.Never, sched.Nobody
	for class := range l.ends {
		list := &of.classes[class].list
		for _, held := range l.of(class) {
			walk := list.DownFrom(int64(held) - int64(s.Now()))
			if v, ok := walk.Next(); ok && sched.Time(int64(held)-v.Rank) < l.next {
				l.next, l.first = sched.Time(int64(held)-v.Rank), v.Task
			}
		}
	}
}

// watch is called at the end of a decision and returns when the next one is to be made if nothing happens, or Never. A denial tells nobody when to wake: a
// restored policy has none.
func (m *climbing) watch(s *sched.State) sched.Time {
	list := &m.p.list
	at, next, last := sched.Never, sched.Never, sched.Time(math.MinInt64)
	for len(m.lines) < list.lines.Demands() {
		m.lines = append(m.lines, awaited{})
	}
	of := list.running.moves
	for d := range m.lines {
		a := &m.lines[d]
		by, waits := list.lines.AwaitedBy(sched.DemandID(d))
		var k *denial
		if d < len(list.denials) && list.denials[d].ok {
			k = &list.denials[d]
		}
		same := a.taken && a.waits == waits && a.denies == (k != nil) && a.classes == of.met && (!waits || a.by == by.Key && m.holds(s, &a.line)) &&
			(k == nil || a.it == k.it.Key) && (!a.denied.known || m.holds(s, &a.denied))
		if !same {
			a.taken, a.waits, a.denies, a.by, a.classes = true, waits, k != nil, by.Key, of.met
			if a.line.known = a.line.known && waits; waits {
				m.follow(s, &a.line, by.Key)
			}
			if k != nil && waits && k.it.Before(by) {
				k.it = by
			}
			if a.denied.known = a.denied.known && k != nil && !(waits && k.it.Key == by.Key); k != nil {
				if a.it = k.it.Key; !waits || k.it.Key != by.Key {
					m.follow(s, &a.denied, k.it.Key)
				}
			}
		}
		if waits {
			at, last = min(at, a.line.next), max(last, a.line.next)
		}
		if a.denied.known {
			next, last = min(next, a.denied.next), max(last, a.denied.next)
		}
	}
	m.last = last
	list.running.moves.gone = list.running.moves.gone[:0]
	m.seen, m.next = s.Now(), min(at, next)
	return at
}

// holds reports whether it is still known what rises next. What has come since started has taken in.
func (m *climbing) holds(s *sched.State, l *rising) bool {
	if l.next <= s.Now() {
		return false
	}
	for _, t := range m.p.list.running.moves.gone {
		if t == l.first {
			return false
		}
	}
	return true
}

// follow works out when tasks rise over a key, if that is not known from before.
func (m *climbing) follow(s *sched.State, l *rising, key int64) {
	of := m.p.list.running.moves
	if l.known && l.key == key && l.classes == of.met {
		if m.holds(s, l) {
			return
		}
	} else {
		l.known, l.key, l.classes, l.steps, l.ends = true, key, of.met, l.steps[:0], l.ends[:0]
		for c := range of.classes {
			if of.classes[c].task != sched.Nobody {
				l.steps = m.rises(s, of.classes[c].task, key, l.steps)
			}
			l.ends = append(l.ends, len(l.steps))
		}
	}
	m.findNext(s, l)
}

// widthClasses tells demands apart by their width.
type widthClasses struct {
	widths  []int64 // by class
	wholes  []int64 // likewise, in whole GPUs or cores; 0 where it is none, or many
	classes []int32 // by demand
}

func (w *widthClasses) of(s *sched.State, d sched.DemandID) int {
	for int(d) >= len(w.classes) {
		width := width(&s.Table().Demands[len(w.classes)])
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
