package sim

import (
	"github.com/schedlab/schedlab/policies/sched"
)

// models is what goes on in a run beside the orders: nodes and storage break and are repaired, work is saved, nodes are sampled. A run without
// such a model has none, and asks once a batch whether it has.
type models struct {
	r        *run
	breaking *breaking
	storage  *outages
	saver    *saver
	profiler *profiler
	elastic  *elastic
	due      heapOf[due]
}

// due is a report of the models that is told at a time, if its attempt is still the present one.
type due struct {
	at      sched.Time
	task    sched.TaskID
	attempt int32
	kind    sched.EventKind // CheckpointDone, Started or Stopped
	ordered bool            // a CheckpointDone that was ordered
	value   int64
}

// later notes a report for its time. Of one instant they are told by task, and of one task the start first, then what was saved, then the stop.
func (m *models) later(d due) { m.due.push(d.at, int64(d.task)<<8|int64(^d.kind), d) }

// newModels returns the models of a configuration; nil if there are none.
func newModels(r *run, first sched.Time) *models {
	m := &models{r: r, elastic: r.elastic}
	if f := r.Failures; f != nil {
		if f.MTBF > 0 || f.Scale > 0 || f.TaskMTBF > 0 || f.TaskScale > 0 {
			m.breaking = newBreaking(f, r.Seed, len(r.Nodes), first)
		}
		if f.StorageMTBF > 0 {
			m.storage = newOutages(f, r.Seed, first)
		}
	}
	if r.Checkpoint != nil {
		m.saver = newSaver(m, r.Checkpoint)
	}
	if r.Profiles != nil {
		m.profiler = newProfiler(r.Profiles, r.Seed, first)
	}
	if m.breaking == nil && m.storage == nil && m.saver == nil && m.profiler == nil && m.elastic == nil {
		return nil
	}
	return m
}

// next returns when the models have something to tell.
func (m *models) next() sched.Time {
	at := sched.Never
	if len(m.due) > 0 {
		at = m.due[0].at
	}
	if m.breaking != nil && len(m.breaking.turns) > 0 {
		at = min(at, m.breaking.turns[0].at)
	}
	if m.storage != nil {
		turn, _ := m.storage.turn()
		at = min(at, turn)
	}
	if m.elastic != nil {
		at = min(at, m.elastic.next())
	}
	return at
}

// reports adds to the batch what is due by cut to be told of attempts.
func (m *models) reports(now, cut sched.Time) {
	for len(m.due) > 0 && m.due[0].at <= cut {
		m.saver.report(now, m.due.pop())
	}
}

// changes adds to the batch which nodes and storage are lost or back by cut, what samplers saw, and which nodes are switched on and off.
func (m *models) changes(now, cut sched.Time) {
	r := m.r
	if m.breaking != nil {
		for len(m.breaking.turns) > 0 && m.breaking.turns[0].at <= cut {
			t := m.breaking.pop()
			if m.elastic != nil && !m.elastic.fault(t.node, t.up) {
				continue
			}
			kind := sched.NodeDown
			if t.up {
				kind = sched.NodeUp
			} else {
				r.cut = true
				r.losses(t.node, now)
			}
			r.in = append(r.in, sched.Event{Kind: kind, Node: t.node, Task: sched.Nobody})
		}
	}
	if m.storage != nil {
		for at, up := m.storage.turn(); at <= cut; at, up = m.storage.turn() {
			kind := sched.DependencyDown
			if up {
				kind = sched.DependencyUp
			}
			r.in = append(r.in, sched.Event{Kind: kind, Task: sched.Nobody, Node: sched.NoNode, More: storageDetail})
			m.storage.told++
		}
	}
	if m.profiler != nil {
		r.in = m.profiler.tell(now, &r.k.State, r.in)
	}
	if m.elastic != nil {
		r.in = m.elastic.tell(now, r.in)
	}
	sched.SortBatch(r.in)
}

var storageDetail = &sched.Detail{Name: sched.CheckpointStorage}
