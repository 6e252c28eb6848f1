package policies

import (
	"math"
	"time"

	"github.com/schedlab/schedlab/policies/internal/ranking"
	"github.com/schedlab/schedlab/policies/sched"
)

// quanta are the running tasks that are not stopping by the time that they have attained, less the time now: that stands still while a task runs. What has to be known
// of how they rise is when the next comes to a quantum at which a waiting task may stop it.
type quanta struct {
	quantum time.Duration
	runs    ranking.List
	walk    ranking.Down // scratch

	lines  []heldUp   // by demand
	rises  []quantum  // those of the lines, each once
	before []quantum  // scratch
	seen   sched.Time // up to then all that rose is taken in
	next   sched.Time // when the first rises of those that are followed
	last   sched.Time // no rise that is followed is later
	least  sched.Time // the first limit that is followed
}

// heldUp are the keys of the task that shut a line, and of that of which the denial of its demand tells; none where there is no such task.
type heldUp struct{ by, denied int64 }

const none = -1

// quantum is when running tasks come to a limit of attained time: to a quantum above that of tasks that have found no room.
type quantum struct {
	key   int64 // of these
	limit sched.Time
	first sched.TaskID // which comes to it next
	next  sched.Time   // when
	stale bool         // that is not known any more
	waits bool         // some of these shut a line; a denial tells nobody when to wake: a restored policy has none
}

// key is the number of whole quanta.
func (m *quanta) key(s *sched.State, t sched.TaskID) int64 { return int64(s.Attained(t) / m.quantum) }

// rank is the attained time of a running task, less the time.
func (m *quanta) rank(s *sched.State, t sched.TaskID) int64 {
	return int64(s.Attained(t)) - int64(s.Now())
}

// keyAt is the key of tasks that have attained so much.
func (m *quanta) keyAt(s *sched.State, rank int64) int64 {
	return (rank + int64(s.Now())) / int64(m.quantum)
}

// limit returns the attained time at which the quantum after a key begins, or Never.
func (m *quanta) limit(key int64) sched.Time {
	if key >= math.MaxInt64/int64(m.quantum) {
		return sched.Never
	}
	return sched.Time(key+1) * sched.Time(m.quantum)
}

// above returns the largest rank of the tasks that one of a key may not stop.
func (m *quanta) above(s *sched.State, key int64) int64 {
	if at := m.limit(key); at != sched.Never {
		return int64(at-1) - int64(s.Now())
	}
	return math.MaxInt64
}

// latest lets those be stopped that are in a later quantum, the most attained first.
func (m *quanta) latest(s *sched.State, running, t sched.TaskID) (int64, bool) {
	return int64(s.Attained(running)), m.key(s, running) > m.key(s, t)
}

// add takes in that a task runs. It may be the next to rise.
func (m *quanta) add(now sched.Time, it ranking.Item) {
	m.runs.Insert(it)
	if m.least.Add(time.Duration(-it.Rank)) >= m.last {
		return
	}
	for i := range m.rises {
		q := &m.rises[i]
		if at := q.limit.Add(time.Duration(-it.Rank)); at > now && at < q.next {
			q.next, q.first = at, it.Task
			m.next = min(m.next, at)
		}
	}
}

// remove takes in that a task runs no more, or is stopping.
func (m *quanta) remove(rank int64, t sched.TaskID) {
	m.runs.Remove(rank, t)
	for i := range m.rises {
		if q := &m.rises[i]; q.first == t {
			q.stale = true
		}
	}
}

// take takes in what has risen since the last decision: of lines that are told by the nodes that have gained these nodes, else they are opened.
func (m *quanta) take(s *sched.State, l *Preemptive) {
	if m.next > s.Now() {
		return
	}
	for i := range m.rises {
		q := &m.rises[i]
		if q.next > s.Now() {
			continue
		}
		walk, low := m.runs.DownFrom(int64(q.limit-m.seen)), int64(q.limit-s.Now())
		for v, ok := walk.Next(); ok && v.Rank >= low; v, ok = walk.Next() {
			if v.Node != sched.NoNode {
				l.running.gains.add(v.Node)
				continue
			}
			for _, on := range s.Placements(v.Task) {
				l.running.gains.add(on.Node)
			}
		}
		for d := range m.lines {
			if m.lines[d].by == q.key && (!l.near || l.quotas || !l.byNodeServes(sched.DemandID(d))) {
				l.lines.Unshut(sched.DemandID(d))
			}
		}
	}
}

// watch is called at the end of a decision and returns when the next one is to be made if nothing happens, or Never.
func (m *quanta) watch(s *sched.State, l *Preemptive) sched.Time {
	for len(m.lines) < l.lines.Demands() {
		m.lines = append(m.lines, heldUp{none, none})
	}
	same := true
	for d := range m.lines {
		is := heldUp{none, none}
		by, waits := l.lines.AwaitedBy(sched.DemandID(d))
		if waits {
			is.by = by.Key
		}
		if d < len(l.denials) && l.denials[d].ok {
			k := &l.denials[d]
			if waits && k.it.Before(by) {
				k.it = by // so that there is less to follow
			}
			is.denied = k.it.Key
		}
		if m.lines[d] != is {
			m.lines[d], same = is, false
		}
	}
	if !same {
		m.follow()
	}
	at, next := sched.Never, sched.Never
	m.last, m.least = math.MinInt64, sched.Never
	for i := range m.rises {
		q := &m.rises[i]
		if q.stale || q.next <= s.Now() {
			q.next, q.first, q.stale = sched.Never, sched.Nobody, false
			walk := m.runs.DownFrom(int64(q.limit - s.Now()))
			if v, ok := walk.Next(); ok {
				q.next, q.first = q.limit.Add(time.Duration(-v.Rank)), v.Task
			}
		}
		if q.waits {
			at = min(at, q.next)
		}
		next, m.last, m.least = min(next, q.next), max(m.last, q.next), min(m.least, q.limit)
	}
	m.seen, m.next = s.Now(), next
	return at
}

// follow finds out which limits matter.
func (m *quanta) follow() {
	m.before, m.rises = m.rises, m.before[:0]
	for _, of := range m.lines {
		for _, key := range [...]int64{of.by, of.denied} {
			if key == none || m.limit(key) == sched.Never {
				continue
			}
			q := find(m.rises, key)
			if q == nil {
				m.rises = append(m.rises, quantum{key: key, limit: m.limit(key), stale: true})
				q = &m.rises[len(m.rises)-1]
				if was := find(m.before, key); was != nil {
					*q = *was
					q.waits = false
				}
			}
			q.waits = q.waits || key == of.by
		}
	}
}

func find(list []quantum, key int64) *quantum {
	for i := range list {
		if list[i].key == key {
			return &list[i]
		}
	}
	return nil
}
