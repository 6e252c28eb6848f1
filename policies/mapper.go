package policies

import (
	"github.com/schedlab/schedlab/policies/sched"
)

// mapper is what the policies share that map the ready tasks to nodes again at every decision (min-min, max-min, DLS, ETF): of all ready tasks, each
// with the slot that is best for it among what running tasks and those mapped before it leave free, the task of the least key is mapped to its
// slot, and so on. What is mapped to this moment starts; all else is mapped anew at the next decision, which may say otherwise.
// It keeps no more than the ready tasks, so that any deviation from the estimates is dealt with by itself. Slots are those of planner.
//
// Each decision tries q ready tasks on p nodes, O(q x p), and again those in whose way the last mapped one is, O(q^2 x p) at most, which is the complexity of
// min-min as published. A line in some order does not: that is why all four take longer, and are for hundreds of ready tasks.
type mapper struct {
	planner
	key     func(s *sched.State, t sched.TaskID, sl slot) int64
	soonest bool           // a task's best slot is that which starts first, not that which ends first
	tasks   []sched.TaskID // ready, in no order that matters
	at      []int32        // by task: its index in tasks plus 1
	choices []choice
	seen    []int32 // by demand: the last look for room for it
	look    int32
}

// choice is a ready task of this decision with its best slot.
type choice struct {
	task sched.TaskID
	key  int64
	slot slot
}

// Observe keeps the ready tasks.
func (m *mapper) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		if n := len(s.Table().Tasks); len(m.at) < n {
			m.at = append(m.at, make([]int32, n-len(m.at))...)
			m.plans = append(m.plans, make([]plan, n-len(m.plans))...)
		}
	case sched.TaskReady:
		m.tasks = append(m.tasks, e.Task)
		m.at[e.Task] = int32(len(m.tasks))
	case sched.TaskBlocked, sched.TaskDropped:
		m.remove(e.Task)
	}
}

func (m *mapper) remove(t sched.TaskID) {
	i := m.at[t]
	if i == 0 {
		return
	}
	last := m.tasks[len(m.tasks)-1]
	m.tasks[i-1], m.at[last], m.at[t] = last, i, 0
	m.tasks = m.tasks[:len(m.tasks)-1]
}

// Decide maps the ready tasks and starts those that are mapped to now.
func (m *mapper) Decide(r *sched.Round) {
	s := r.State
	m.choices = m.choices[:0]
	for _, t := range m.tasks {
		if !s.Quotas() || s.QuotaAllows(t) {
			m.choices = append(m.choices, choice{task: t})
		}
	}
	if !m.roomy(r) {
		return
	}
	m.ending, m.gangs = m.ending[:0], m.gangs[:0]
	m.ledger(s)
	for i := range m.choices {
		m.choose(s, &m.choices[i])
	}
	for len(m.choices) > 0 {
		first := 0
		for i, c := range m.choices {
			if b := m.choices[first]; c.key < b.key || c.key == b.key && c.task < b.task {
				first = i
			}
		}
		c := m.choices[first]
		last := len(m.choices) - 1
		m.choices[first] = m.choices[last]
		m.choices = m.choices[:last]
		if c.slot.end == 0 && c.key == never {
			r.Skip(c.task, sched.NoRoom)
			continue
		}
		pl := plan{start: c.slot.start, end: c.slot.end, node: c.slot.node}
		m.gangs = m.gangs[:0]
		m.gather(s, group{}, c.task)
		if c.slot.parts > 0 {
			m.spread(s, c.task)
			pl.gang, pl.parts = 1, int32(c.slot.parts)
			m.gangs = append(m.gangs, m.on[:c.slot.parts]...)
		}
		m.book(s, c.task, &pl, pl.start, 1)
		started := false
		switch {
		case pl.start > s.Now():
			if pl.gang > 0 {
				r.WakeAt(pl.start)
			} else if m.sent(s, pl.node) == pl.start { // nothing but its data may happen then
				r.WakeAt(pl.start)
				r.Skip(c.task, sched.Staging)
			}
		case m.start(r, c.task, &pl):
			m.remove(c.task)
			started = true
		default:
			r.Skip(c.task, sched.NoRoom)
		}
		if started && !m.roomy(r) {
			return // what the others would be mapped to is no use now
		}
		for i := range m.choices {
			if o := &m.choices[i]; m.touches(&pl, &o.slot) {
				m.choose(s, o)
			}
		}
	}
}

// roomy reports whether any of the choices may start now. The others are told that there is no room.
func (m *mapper) roomy(r *sched.Round) bool {
	if n := len(r.Table().Demands); len(m.seen) < n {
		m.seen = append(m.seen, make([]int32, n-len(m.seen))...)
	}
	m.look++
	for _, c := range m.choices {
		d := r.DemandID(c.task)
		if m.seen[d] == m.look {
			continue
		}
		if m.seen[d] = m.look; r.Room().FirstNode(d) != sched.NoNode {
			return true
		}
	}
	for _, c := range m.choices {
		r.Skip(c.task, sched.NoRoom)
	}
	return false
}

// choose finds the best slot of a task.
func (m *mapper) choose(s *sched.State, c *choice) {
	t := c.task
	m.gather(s, group{}, t)
	var ok bool
	if m.soonest {
		w := workOf(s, t)
		c.slot, ok = m.finishFirst(s, t, func(n sched.NodeID) int64 { return -int64(w.on(s, t, n)) })
	} else {
		c.slot, ok = m.finishFirst(s, t, nil)
	}
	if !ok {
		c.key, c.slot = never, slot{}
		return
	}
	c.key = m.key(s, t, c.slot)
}

// touches reports whether a place that is taken may change the best slot of another task.
func (m *mapper) touches(pl *plan, o *slot) bool {
	if o.parts > 0 || o.end == 0 {
		return true
	}
	if pl.gang == 0 {
		return pl.node == o.node
	}
	for _, on := range m.gangs[:pl.parts] {
		if on.Node == o.node {
			return true
		}
	}
	return false
}
