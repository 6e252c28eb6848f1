package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// attemptsShown is how many attempts a detail lists: the last ones.
const attemptsShown = 64

func (r *Record) detail(q *TaskQuery, at sched.Time) *TaskDetail {
	t := q.Task
	if t < 0 || int(t) >= len(r.tasks) || r.cur.phase[t] == uint8(sched.Unknown) {
		return nil
	}
	k, c := &r.tasks[t], r.tb.ClassOf(t)
	d := &TaskDetail{Row: r.row(t, at), Demand: r.tb.Demands[c.Demand].String(), Priority: c.Priority, Retries: c.Retries, Ready: sched.Never}
	if k.ready <= at {
		d.Ready = k.ready
	}
	d.Blocked = min(k.ready, k.end, at).Sub(r.tb.Tasks[t].Submit)
	r.attemptList(d, t, at)
	d.Timeline = r.timeline(t, at)
	r.relatives(d, t, at, q.Relatives)
	if q.Causes {
		d.Causes = r.causesOf(t, d.Timeline)
		d.Overtaken, d.Ahead = r.overtaken(t, at)
	}
	return d
}

func (r *Record) attemptList(d *TaskDetail, t sched.TaskID, at sched.Time) {
	for i := r.lastAttempt(t); i >= 0; {
		a := r.atts.at(i)
		if len(d.Attempts) == attemptsShown {
			d.Omitted++
			i = a.prev
			continue
		}
		x := Attempt{No: a.no, Start: a.start, End: sched.Never, Outcome: runs.String()}
		if a.end <= at && a.outcome != runs {
			x.End, x.Outcome, x.Kept = a.end, a.outcome.String(), a.kept
		}
		for p := a.place; p < a.place+min(a.places, 16); p++ {
			x.On = append(x.On, r.placeName(r.places.at(p)))
		}
		if a.places > 16 {
			x.On = append(x.On, fmt.Sprintf("and %d more", a.places-16))
		}
		d.Attempts = append(d.Attempts, x)
		i = a.prev
	}
	slices.Reverse(d.Attempts)
}

func (r *Record) placeName(p *place) string {
	s := r.nodes[p.node].spec.Name
	if p.replicas > 1 {
		s += fmt.Sprintf(" x%d", p.replicas)
	}
	if p.gpus != 0 {
		s += " GPU " + ranges(uint64(p.gpus))
	}
	return s
}

// ranges prints a set of numbers as 0-3,5.
func ranges(set uint64) string {
	var parts []string
	for i := 0; i < 64; i++ {
		if set>>i&1 == 0 {
			continue
		}
		j := i
		for j < 63 && set>>(j+1)&1 != 0 {
			j++
		}
		if j > i {
			parts = append(parts, fmt.Sprintf("%d-%d", i, j))
		} else {
			parts = append(parts, fmt.Sprint(i))
		}
		i = j
	}
	return strings.Join(parts, ",")
}

// timeline returns the phases of a task one after the other, up to the instant.
func (r *Record) timeline(t sched.TaskID, at sched.Time) []TimelinePiece {
	var ps []TimelinePiece
	to := at
	for i := r.cur.last[t]; i >= 0; {
		e := r.log.at(i)
		if e.from != e.to || e.prev < 0 {
			if e.at < to || sched.Phase(e.to).Over() {
				p := TimelinePiece{From: e.at, To: to, Phase: sched.Phase(e.to), Evicted: e.flags&entEvicted != 0}
				if !p.Phase.Over() || len(ps) > 0 {
					ps = append(ps, p)
				}
			}
			to = e.at
		}
		i = e.prev
	}
	if s := r.tb.Tasks[t].Submit; s < to {
		ps = append(ps, TimelinePiece{From: s, To: to, Phase: sched.Unknown})
	}
	slices.Reverse(ps)
	return ps
}

func (r *Record) relatives(d *TaskDetail, t sched.TaskID, at sched.Time, limit int) {
	last := sched.Time(-1 << 62)
	r.eachPred(t, func(p sched.TaskID) {
		if r.unknown(p) {
			return
		}
		d.NumPreds++
		if len(d.Preds) < limit {
			d.Preds = append(d.Preds, r.row(p, at))
		}
		if e := r.tasks[p].end; e <= at && e > last {
			last, d.Last = e, r.name(p)
		}
	})
	r.eachSucc(t, func(s sched.TaskID) {
		if r.unknown(s) {
			return
		}
		d.NumSuccs++
		if len(d.Succs) < limit {
			d.Succs = append(d.Succs, r.row(s, at))
		}
	})
}

// unknown reports whether the task is submitted only later.
func (r *Record) unknown(t sched.TaskID) bool {
	return int(t) >= len(r.cur.phase) || r.cur.phase[t] == uint8(sched.Unknown)
}

// overtaken counts the tasks that were ready after t and have started before it, and those that have been ready for longer than t and still are.
func (r *Record) overtaken(t sched.TaskID, at sched.Time) (passed, ahead int) {
	k := &r.tasks[t]
	if k.ready > at {
		return 0, 0
	}
	until := min(k.start, at)
	for p := r.position(k.ready); p < int32(r.log.n); p++ {
		e := r.log.at(p)
		if e.at > until {
			break
		}
		if e.kind != entStart || e.task == t {
			continue
		}
		if u := &r.tasks[e.task]; u.ready > k.ready && u.start == e.at {
			passed++
		}
	}
	if k.start > at {
		for u := range r.cur.phase {
			if r.cur.phase[u] == uint8(sched.Ready) && r.tasks[u].ready < k.ready {
				ahead++
			}
		}
	}
	return passed, ahead
}

// causeMemo is the room at one place of the log, kept so that the next question goes on from there.
type causeMemo struct {
	room  *sched.Room
	state []NodeState
	pos   int32
	buf   []sched.Placement
	task  sched.TaskID
	done  map[stretch]split // of pieces of the task
}

type stretch struct{ from, to sched.Time }

type split struct{ noRoom, order time.Duration }

// causesOf says why the task waited: what its phases say, and where it was ready whether there was room.
func (r *Record) causesOf(t sched.TaskID, pieces []TimelinePiece) []CauseTime {
	m := &r.causes
	if m.done == nil || m.task != t {
		m.task, m.done = t, map[stretch]split{}
	}
	var sum [sched.NumCauses]time.Duration
	evicted := false
	for i, p := range pieces {
		d := p.To.Sub(p.From)
		evicted = evicted && p.Phase != sched.Running || p.Evicted
		switch {
		case p.Phase == sched.Running || p.Phase == sched.Stopping || p.Phase.Over():
		case p.Phase == sched.Unknown:
			sum[sched.Window] += d
		case evicted:
			sum[sched.Preempted] += d
		case p.Phase == sched.Blocked:
			sum[sched.Dependency] += d
		case p.Phase == sched.Backoff:
			sum[sched.FailureDelay] += d
		case p.Phase == sched.Held:
			sum[sched.Order] += d
		default:
			s, ok := m.done[stretch{p.From, p.To}]
			if !ok {
				s = r.splitOf(t, p.From, p.To)
				if i < len(pieces)-1 {
					m.done[stretch{p.From, p.To}] = s
				}
			}
			sum[sched.NoRoom] += s.noRoom
			sum[sched.Order] += s.order
		}
	}
	var out []CauseTime
	for c, d := range sum {
		if d > 0 {
			out = append(out, CauseTime{sched.Cause(c), d})
		}
	}
	slices.SortStableFunc(out, func(a, b CauseTime) int { return cmp.Compare(b.Time, a.Time) })
	return out
}

// checksAtMost bounds how often the room is tried in one stretch of waiting: in longer ones it is sampled.
const checksAtMost = 20_000

// splitOf goes through what happened while the task was ready and adds up how long no node had what it asks for.
func (r *Record) splitOf(t sched.TaskID, from, to sched.Time) split {
	m := &r.causes
	if m.room == nil || len(m.state) != len(r.nodes) {
		specs := make([]sched.NodeSpec, len(r.nodes))
		m.state = make([]NodeState, len(r.nodes))
		for i := range specs {
			specs[i] = r.nodes[i].spec
			if int32(i) >= r.given {
				m.state[i] = Down
			}
		}
		m.room, m.pos = sched.NewRoom(specs, &r.tb.Demands), 0
	}
	r.moveRoom(r.position(from))
	d := r.tb.ClassOf(t).Demand
	fits := func() bool {
		var ok bool
		m.buf, ok = m.room.FirstFitWhere(d, m.buf[:0], func(n sched.NodeID, k int32) int32 {
			if m.state[n] != Up {
				return 0
			}
			return k
		})
		return ok
	}
	end := r.position(to)
	every := (end-m.pos)/checksAtMost + 1
	var s split
	at, had := from, fits()
	add := func(until sched.Time) {
		if d := until.Sub(at); d > 0 && had {
			s.order += d
		} else if d > 0 {
			s.noRoom += d
		}
		at = until
	}
	for m.pos < end {
		e := r.log.at(m.pos)
		if e.at > at {
			add(e.at)
		}
		r.moveRoom(min(m.pos+every, end))
		for m.pos < end && r.log.at(m.pos).at == r.log.at(m.pos-1).at { // all of the instant
			r.moveRoom(m.pos + 1)
		}
		if e := r.log.at(m.pos - 1); e.at > at {
			add(e.at)
		}
		had = fits()
	}
	add(to)
	return s
}

func (r *Record) moveRoom(to int32) {
	m := &r.causes
	for m.pos < to {
		r.stepRoom(r.log.at(m.pos), 1)
		m.pos++
	}
	for m.pos > to {
		m.pos--
		r.stepRoom(r.log.at(m.pos), -1)
	}
}

func (r *Record) stepRoom(e *entry, sign int) {
	m := &r.causes
	book := func(p int32, take bool) {
		pl := r.places.at(p)
		need := &r.tb.DemandOf(r.atts.at(pl.att).task).Need
		if on := (sched.Placement{Node: pl.node, Replicas: pl.replicas, GPUs: pl.gpus}); take {
			m.room.Take(need, on)
		} else {
			m.room.Give(need, on)
		}
	}
	switch {
	case e.kind == entNode:
		m.state[e.arg] = NodeState(e.to)
		if sign < 0 {
			m.state[e.arg] = NodeState(e.from)
		}
	case e.kind == entStart:
		a := r.atts.at(e.arg)
		for p := a.place; p < a.place+a.places; p++ {
			book(p, sign > 0)
		}
	case e.kind == entPart:
		book(e.arg, sign < 0)
	case e.ended():
		a := r.atts.at(e.arg)
		for p := a.place; p < a.place+a.places; p++ {
			if r.stoodUntil(p, e) {
				book(p, sign < 0)
			}
		}
	}
}
