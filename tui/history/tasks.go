package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// name is what a task is called: by its own name, or by its job's where that has no other task (live, the one task of a command is called main).
func (r *Record) name(t sched.TaskID) string {
	j := r.tb.Tasks[t].Job
	if int(j) < len(r.jobs) && r.jobs[j].tasks == 1 {
		if n := r.tb.JobName.At(int(j)); n != "" {
			return n
		}
	}
	return r.tb.TaskNames.At(int(t))
}

// lastAttempt returns the task's last attempt by the cursor's instant, -1 if it had none.
func (r *Record) lastAttempt(t sched.TaskID) int32 {
	for i := r.cur.last[t]; i >= 0; {
		e := r.log.at(i)
		switch {
		case e.kind == entStart || e.kind == entStop || e.kind == entCheckpoint || e.ended():
			return e.arg
		}
		i = e.prev
	}
	return -1
}

func (r *Record) attemptsBy(t sched.TaskID) int32 {
	n := int32(0)
	for i := r.lastAttempt(t); i >= 0; i = r.atts.at(i).prev {
		n++
	}
	return n
}

// heldBy returns how long the task has held room by now.
func (r *Record) heldBy(t sched.TaskID, now sched.Time) time.Duration {
	d := time.Duration(0)
	for i := r.lastAttempt(t); i >= 0; i = r.atts.at(i).prev {
		a := r.atts.at(i)
		d += min(a.end, now).Sub(min(a.start, now))
	}
	return d
}

// waitBy returns how long it has waited since it was first ready.
func (r *Record) waitBy(t sched.TaskID, now sched.Time) time.Duration {
	k := &r.tasks[t]
	if k.ready > now {
		return 0
	}
	return min(k.end, now).Sub(k.ready) - r.heldBy(t, now)
}

// nodeOf returns the name of the first node of its last attempt, and how many more there were.
func (r *Record) nodeOf(t sched.TaskID) (string, int32) {
	i := r.lastAttempt(t)
	if i < 0 || r.atts.at(i).places == 0 {
		return "", 0
	}
	a := r.atts.at(i)
	return r.nodes[r.places.at(a.place).node].spec.Name, a.places - 1
}

func (r *Record) evicted(t sched.TaskID) bool {
	if p := sched.Phase(r.cur.phase[t]); p != sched.Ready && p != sched.Held {
		return false
	}
	for i := r.cur.last[t]; i >= 0; {
		e := r.log.at(i)
		if e.kind == entStopped {
			return e.flags&entEvicted != 0
		}
		if e.kind == entStart || e.kind == entSubmit {
			return false
		}
		i = e.prev
	}
	return false
}

func (r *Record) row(t sched.TaskID, now sched.Time) TaskRow {
	k, x, c := &r.tasks[t], &r.tb.Tasks[t], r.tb.ClassOf(t)
	row := TaskRow{
		ID: t, Name: r.name(t), Job: r.tb.JobName.At(int(x.Job)), Tenant: r.tb.Tenants[c.Tenant], Queue: r.tb.Queues[c.Queue],
		Kind: r.tb.Kinds[c.Kind], State: sched.Phase(r.cur.phase[t]), Evicted: r.evicted(t), Submit: x.Submit, Wait: r.waitBy(t, now), Run: r.heldBy(t, now),
		Start: sched.Never, End: sched.Never, Deadline: r.tb.DeadlineOf(t), GPUs: r.tb.Demands[c.Demand].GPUTotal(), Attempts: r.attemptsBy(t),
		JobID: int32(x.Job), Group: int32(c.Tenant),
	}
	if int(t) < len(r.tb.Estimates) {
		row.Estimate = r.tb.Estimates[t]
	}
	row.Node, row.More = r.nodeOf(t)
	if k.start <= now {
		row.Start = k.start
	}
	if k.end <= now {
		row.End = k.end
	}
	return row
}

// taskOrder is the list of tasks in some order, kept while it holds.
type taskOrder struct {
	sort    Column
	desc    bool
	filter  string
	parsed  Filter
	err     string
	at      sched.Time
	version uint64
	valid   bool
	ids     []sched.TaskID
	keys    []taskKey
}

type taskKey struct {
	num  int64
	text string
	id   sched.TaskID
}

// steadyColumn reports whether tasks keep their order by it.
func steadyColumn(c Column) bool {
	switch c {
	case ByState, ByWait, ByRun, ByNode, ByAttempts:
		return false
	}
	return true
}

// prepare brings the order up to date. What does not change with time is not sorted again while only time moves.
func (r *Record) prepare(q *TasksQuery, at sched.Time) *taskOrder {
	o := &r.order
	same := o.valid && o.sort == q.Sort && o.desc == q.Desc && o.filter == q.Filter
	if !same {
		o.parsed, o.err = Filter{}, ""
		f, err := ParseFilter(q.Filter)
		if err != nil {
			o.err = err.Error()
		} else {
			o.parsed = f
		}
	}
	known := r.submitted(at)
	if same && q.Keep && at >= o.at { // back in time there are fewer tasks
		return o
	}
	if same && o.at == at && o.version == r.vers {
		return o
	}
	if same && steadyColumn(q.Sort) && o.parsed.steady() && r.submitted(o.at) == known && o.at >= r.from {
		o.at, o.version = at, r.vers
		return o
	}
	o.sort, o.desc, o.filter, o.at, o.version, o.valid = q.Sort, q.Desc, q.Filter, at, r.vers, true
	o.ids = o.ids[:0]
	plain := q.Sort == ByID && o.parsed.Empty()
	if plain {
		for t := range r.cur.phase {
			if r.cur.phase[t] != uint8(sched.Unknown) {
				o.ids = append(o.ids, sched.TaskID(t))
			}
		}
		if o.desc {
			slices.Reverse(o.ids)
		}
		return o
	}
	o.keys = o.keys[:0]
	for t := range r.cur.phase {
		id := sched.TaskID(t)
		if r.cur.phase[t] != uint8(sched.Unknown) && o.parsed.match(r, id, at) {
			o.keys = append(o.keys, r.key(q.Sort, id, at))
		}
	}
	slices.SortFunc(o.keys, func(a, b taskKey) int {
		c := cmp.Or(cmp.Compare(a.num, b.num), cmp.Compare(a.text, b.text))
		if o.desc {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.id, b.id))
	})
	for i := range o.keys {
		o.ids = append(o.ids, o.keys[i].id)
	}
	clear(o.keys) // they hold strings
	return o
}

// submitted returns how many tasks are known by then; an order by what does not change holds as long as it stays.
func (r *Record) submitted(at sched.Time) int32 {
	y := r.tallyAt(at)
	return y.counts.Submitted()
}

// stateOrder puts what is going on first.
var stateOrder = [...]int64{
	sched.Running: 0, sched.Stopping: 1, sched.Claiming: 2, sched.Ready: 3, sched.Backoff: 4, sched.Held: 5, sched.Blocked: 6,
	sched.Failed: 7, sched.Dropped: 8, sched.Rejected: 9, sched.Done: 10, sched.Unknown: 11,
}

func (r *Record) key(c Column, t sched.TaskID, at sched.Time) taskKey {
	k := taskKey{id: t}
	switch c {
	case ByName:
		k.text = r.name(t)
	case ByJob:
		k.text = r.tb.JobName.At(int(r.tb.Tasks[t].Job))
	case ByTenant:
		k.text = r.tb.Tenants[r.tb.ClassOf(t).Tenant]
	case ByState:
		k.num = stateOrder[r.cur.phase[t]]
	case BySubmit:
		k.num = int64(r.tb.Tasks[t].Submit)
	case ByWait:
		k.num = int64(r.waitBy(t, at))
	case ByRun:
		k.num = int64(r.heldBy(t, at))
	case ByGPUs:
		k.num = r.tb.DemandOf(t).GPUTotal()
	case ByNode:
		k.text, _ = r.nodeOf(t)
	case ByAttempts:
		k.num = int64(r.attemptsBy(t))
	}
	return k
}

func (r *Record) tasksPage(q *TasksQuery, at sched.Time) TasksPage {
	o := r.prepare(q, at)
	p := TasksPage{Total: len(o.ids), Found: -1, Err: o.err}
	p.From = max(min(q.From, len(o.ids)-q.Rows), 0)
	for i := p.From; i < min(p.From+q.Rows, len(o.ids)); i++ {
		p.Rows = append(p.Rows, r.row(o.ids[i], at))
	}
	if q.Find >= 0 && int(q.Find) < len(r.cur.phase) {
		p.Found, p.FoundState = slices.Index(o.ids, q.Find), sched.Phase(r.cur.phase[q.Find])
	}
	return p
}
