package history

import (
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Batch takes in what a kernel was told at one instant and what it ordered. Both slices are read during the call only. Facts that the kernel
// refused are left out here too: reports of attempts that do not run, unknown tasks.
func (r *Record) Batch(now sched.Time, in []sched.Event, out []sched.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved.keep(r)
	if r.began && now < r.end {
		now = r.end
	}
	r.moveTo(now)
	r.end = now
	for i := range in {
		if in[i].Kind < sched.EdgeAdded {
			r.fact(now, &in[i])
		}
	}
	for i := range in {
		switch e := &in[i]; e.Kind {
		case sched.JobArrived:
			r.arrive(now, e)
		case sched.EdgeAdded:
			r.edge(now, e)
		}
	}
	for i := range out {
		r.obey(now, &out[i])
	}
	r.vers++
}

func (r *Record) known(t sched.TaskID) *task {
	if t < 0 || int(t) >= len(r.tasks) || r.tasks[t].phase == sched.Unknown {
		return nil
	}
	return &r.tasks[t]
}

// running returns the task and its running attempt, nil if it is another that the report is of.
func (r *Record) running(e *sched.Event) (*task, *attempt) {
	k := r.known(e.Task)
	if k == nil || k.att < 0 || k.phase != sched.Running && k.phase != sched.Stopping {
		return nil, nil
	}
	a := r.atts.at(k.att)
	if a.outcome != runs || a.no != e.Attempt {
		return nil, nil
	}
	return k, a
}

func (r *Record) fact(now sched.Time, e *sched.Event) {
	switch e.Kind {
	case sched.Finished:
		if k, a := r.running(e); k != nil {
			r.ends(now, k, a, finished)
			r.over(now, e.Task, entFinish, sched.Done, k.att)
		}
	case sched.Killed:
		if k, a := r.running(e); k != nil {
			r.ends(now, k, a, killed)
			r.over(now, e.Task, entKill, sched.Failed, k.att)
		}
	case sched.FailedAttempt:
		if k, a := r.running(e); k != nil {
			a.kept = e.Done
			r.ends(now, k, a, failed)
			r.failedOnce(now, e, k)
		}
	case sched.Stopped:
		if k, a := r.running(e); k != nil { // also without an order: a user has it preempted
			a.kept = e.Done
			how, what := stopped, entStopped
			if a.left < a.places { // the rest of a gang that lost a node
				how, what = lostNode, entLost
			}
			r.ends(now, k, a, how)
			r.again(now, e.Task, k, what)
		}
	case sched.CheckpointDone:
		if k, _ := r.running(e); k != nil {
			r.note(now, e.Task, entCheckpoint, k.att)
		}
	case sched.NodeDown, sched.NodeUp, sched.NodeDrain:
		r.nodeFact(now, e)
	case sched.NodeProfile:
		if e.More != nil && e.More.Profile != nil {
			if r.profiles == nil {
				r.profiles = map[sched.NodeID]sched.Profile{}
			}
			r.profiles[e.Node] = *e.More.Profile
		}
	case sched.DependencyUp, sched.DependencyDown, sched.QuotaSet, sched.PolicySet:
		r.word(now, e)
	case sched.Cancelled:
		r.cancel(now, e.Task)
	case sched.Hold, sched.Release:
		r.hold(now, e)
	case sched.Updated:
		if r.known(e.Task) != nil {
			r.note(now, e.Task, entUpdated, -1)
		}
	}
}

// arrive makes the tasks of a job known: first all, then which of them may be started.
func (r *Record) arrive(now sched.Time, e *sched.Event) {
	first, end := e.Task, e.Task+sched.TaskID(max(e.N, 1))
	if first < 0 || int(end) > len(r.tb.Tasks) {
		return
	}
	for ; r.sized < len(r.tb.Tasks); r.sized++ {
		x := &r.tb.Tasks[r.sized]
		for len(r.jobs) <= int(x.Job) {
			r.jobs = append(r.jobs, job{submit: sched.Never, start: sched.Never, last: -1})
		}
		b := &r.jobs[x.Job]
		b.submit = min(b.submit, x.Submit)
		b.tasks++
	}
	for len(r.tasks) < int(end) {
		r.tasks = append(r.tasks, task{ready: sched.Never, start: sched.Never, end: sched.Never, last: -1, att: -1, sibling: -1})
	}
	for t := first; t < end; t++ {
		k := &r.tasks[t]
		if k.phase != sched.Unknown {
			return
		}
		j := r.tb.Tasks[t].Job
		b := &r.jobs[j]
		k.sibling, b.last = b.last, int32(t)
		k.waitsFor = 0
		for _, p := range r.tb.Preds(t) {
			if int(p) >= len(r.tasks) || r.tasks[p].phase != sched.Done {
				k.waitsFor++
			}
		}
	}
	for t := first; t < end; t++ {
		to := sched.Blocked
		if r.tasks[t].waitsFor == 0 {
			to = sched.Ready
			ready := r.tb.Tasks[t].Submit
			r.eachPred(t, func(p sched.TaskID) { ready = max(ready, r.tasks[p].end) }) // one that ended between the submission and this batch
			r.tasks[t].ready = min(ready, now)
		}
		r.step(now, t, entSubmit, to, -1)
	}
	for t := first; t < end; t++ { // of those that were over before it came
		for _, p := range r.tb.Preds(t) {
			if int(p) < len(r.tasks) && r.tasks[p].phase.Over() && r.tasks[p].phase != sched.Done {
				r.drop(now, t)
				break
			}
		}
	}
}

func (r *Record) edge(now sched.Time, e *sched.Event) {
	from, to := r.known(e.Task), r.known(e.Other)
	if from == nil || to == nil || to.phase != sched.Blocked && to.phase != sched.Ready && to.phase != sched.Held ||
		slices.Contains(r.tb.Succs(e.Task), e.Other) || slices.Contains(r.extra.succ[e.Task], e.Other) {
		return
	}
	r.extra.add(e.Task, e.Other)
	r.note(now, e.Other, entEdge, int32(e.Task))
	if from.phase != sched.Done {
		to.waitsFor++
		if to.phase == sched.Ready {
			r.step(now, e.Other, entBlocked, sched.Blocked, -1)
		}
	}
}

func (r *Record) obey(now sched.Time, c *sched.Command) {
	k := r.known(c.Task)
	switch {
	case c.Kind == sched.Start && k != nil && !k.phase.Over() && k.phase != sched.Running && k.phase != sched.Stopping:
		r.start(now, c, k)
	case c.Kind == sched.Stop && k != nil && k.phase == sched.Running:
		if r.atts.at(k.att).no == c.Attempt {
			r.step(now, c.Task, entStop, sched.Stopping, k.att)
		}
	case c.Kind == sched.Reject && k != nil && !k.phase.Over():
		r.over(now, c.Task, entReject, sched.Rejected, -1)
	}
}

func (r *Record) start(now sched.Time, c *sched.Command, k *task) {
	a := attempt{start: now, end: sched.Never, task: c.Task, no: c.Attempt, prev: k.att, place: int32(r.places.n), places: int32(len(c.On)), left: int32(len(c.On))}
	i := r.atts.add(a)
	for _, on := range c.On {
		if on.Node < 0 || int(on.Node) >= len(r.nodes) {
			panic("history: an order names a node that is not known")
		}
		n := &r.nodes[on.Node]
		p := r.places.add(place{end: sched.Never, gpus: on.GPUs, att: i, node: on.Node, replicas: max(on.Replicas, 1), lane: -1})
		if on.GPUs == 0 {
			r.places.at(p).lane = n.takeLane()
		}
		if len(n.taken)%blockOf == 0 {
			n.latest = append(n.latest, sched.Never)
		}
		n.taken = append(n.taken, p)
		n.holding = append(n.holding, p)
	}
	k.att = i
	k.attempts++
	if k.start == sched.Never {
		k.start = now
		if j := &r.jobs[r.tb.Tasks[c.Task].Job]; j.start == sched.Never {
			j.start = now
		}
	}
	r.step(now, c.Task, entStart, sched.Running, i)
}

// ends closes the attempt and gives its places back.
func (r *Record) ends(now sched.Time, k *task, a *attempt, how outcome) {
	a.end, a.outcome = now, how
	for p := a.place; p < a.place+a.places; p++ {
		r.leave(now, p)
	}
	a.left = 0
}

func (r *Record) leave(now sched.Time, p int32) bool {
	pl := r.places.at(p)
	if pl.end != sched.Never {
		return false
	}
	pl.end = now
	n := &r.nodes[pl.node]
	if pl.lane >= 0 {
		n.free[pl.lane>>6] |= 1 << (pl.lane & 63)
	}
	if i := slices.Index(n.holding, p); i >= 0 {
		n.holding[i] = n.holding[len(n.holding)-1]
		n.holding = n.holding[:len(n.holding)-1]
	}
	b, _ := slices.BinarySearch(n.taken, p)
	b /= blockOf
	if end := min((b+1)*blockOf, len(n.taken)); end == (b+1)*blockOf {
		latest := now
		for _, q := range n.taken[b*blockOf : end] {
			latest = max(latest, r.places.at(q).end)
		}
		n.latest[b] = latest
	}
	return true
}

const maxLanes = 512

// takeLane takes the lowest lane that is free. Beyond maxLanes the last one is shared.
func (n *node) takeLane() int16 {
	for w, f := range n.free {
		if f != 0 {
			b := trailing(f)
			n.free[w] &^= 1 << b
			l := int16(w*64 + b)
			n.lanes = max(n.lanes, int32(l)+1)
			return l
		}
	}
	if len(n.free)*64 >= maxLanes {
		return maxLanes - 1
	}
	n.free = append(n.free, ^uint64(1))
	l := int16(len(n.free)*64 - 64)
	n.lanes = max(n.lanes, int32(l)+1)
	return l
}

// failedOnce decides as the kernel does: again after the backoff while retries last.
func (r *Record) failedOnce(now sched.Time, e *sched.Event, k *task) {
	t := e.Task
	c := r.tb.ClassOf(t)
	spare := e.N == 1
	if !spare {
		r.fails[t]++
	}
	n := r.fails[t]
	wait := sched.RetryBackoff(c.Backoff, int(n))
	if e.Value > 0 {
		wait = time.Duration(e.Value)
	}
	switch {
	case k.flags&flagCancel != 0:
		r.over(now, t, entFail, sched.Dropped, k.att)
	case !spare && n > c.Retries || e.Value < 0:
		r.over(now, t, entFail, sched.Failed, k.att)
	case wait > 0:
		r.step(now, t, entFail, sched.Backoff, k.att)
		r.pushBackoff(now.Add(wait), t)
	default:
		r.again(now, t, k, entFail)
	}
}

// again puts a task whose attempt is over back into the line.
func (r *Record) again(now sched.Time, t sched.TaskID, k *task, what entryKind) {
	switch {
	case k.flags&flagCancel != 0:
		r.over(now, t, what, sched.Dropped, k.att)
	case k.flags&flagHold != 0:
		r.step(now, t, what, sched.Held, k.att)
	case k.waitsFor > 0:
		r.step(now, t, what, sched.Blocked, k.att)
	default:
		r.step(now, t, what, sched.Ready, k.att)
	}
}

// over ends a task for good, and lets its successors go on or drops them.
func (r *Record) over(now sched.Time, t sched.TaskID, what entryKind, as sched.Phase, att int32) {
	k := &r.tasks[t]
	k.end = now
	if k.ready != sched.Never {
		k.wait = now.Sub(k.ready) - r.held(k, now)
	}
	j := &r.jobs[r.tb.Tasks[t].Job]
	if as == sched.Done {
		j.done++
	}
	all := j.done == j.tasks && !j.told
	j.told = j.told || all
	r.stepJob(now, t, what, as, att, all)
	r.eachSucc(t, func(u sched.TaskID) {
		s := r.known(u)
		switch {
		case s == nil || s.phase.Over():
		case as != sched.Done:
			r.drop(now, u)
		default:
			s.waitsFor--
			if s.waitsFor == 0 && s.phase == sched.Blocked {
				if s.ready == sched.Never {
					s.ready = now
				}
				r.step(now, u, entReady, sched.Ready, -1)
			}
		}
	})
}

func (r *Record) drop(now sched.Time, t sched.TaskID) {
	if k := r.known(t); k != nil && !k.phase.Over() && k.phase != sched.Running && k.phase != sched.Stopping {
		r.over(now, t, entDrop, sched.Dropped, -1)
	}
}

func (r *Record) cancel(now sched.Time, t sched.TaskID) {
	switch k := r.known(t); {
	case k == nil || k.phase.Over():
	case k.phase == sched.Running || k.phase == sched.Stopping:
		k.flags |= flagCancel
	default:
		r.over(now, t, entCancel, sched.Dropped, -1)
	}
}

func (r *Record) hold(now sched.Time, e *sched.Event) {
	k := r.known(e.Task)
	if k == nil || k.phase.Over() {
		return
	}
	if e.Kind == sched.Hold {
		k.flags |= flagHold
		if k.phase == sched.Ready {
			r.step(now, e.Task, entHold, sched.Held, -1)
		} else {
			r.note(now, e.Task, entHold, -1)
		}
		return
	}
	k.flags &^= flagHold
	switch {
	case k.phase != sched.Held:
		r.note(now, e.Task, entRelease, -1)
	case k.waitsFor > 0:
		r.step(now, e.Task, entRelease, sched.Blocked, -1)
	default:
		r.step(now, e.Task, entRelease, sched.Ready, -1)
	}
}

func (r *Record) word(now sched.Time, e *sched.Event) {
	w := e.Kind.String()
	if e.More != nil {
		switch {
		case e.More.Name != "":
			w += " " + e.More.Name
		case e.More.Quota != nil:
			w += " " + e.More.Quota.Tenant + e.More.Quota.Queue
		case e.More.Policy != nil:
			if s, ok := e.More.Policy.(interface{ String() string }); ok {
				w += " " + s.String()
			}
		}
	}
	r.words = append(r.words, w)
	r.write(entry{at: now, task: sched.Nobody, prev: -1, arg: int32(len(r.words) - 1), kind: entWord})
}

func (r *Record) nodeFact(now sched.Time, e *sched.Event) {
	id := e.Node
	if e.Kind == sched.NodeUp && e.More != nil && e.More.Spec != nil {
		id = r.addNode(*e.More.Spec)
	}
	if id < 0 || int(id) >= len(r.nodes) {
		return
	}
	n := &r.nodes[id]
	to := Up
	switch e.Kind {
	case sched.NodeDown:
		to = Down
	case sched.NodeDrain:
		to = Draining
	}
	if to == n.state && n.known || to == Draining && n.state == Down {
		return
	}
	r.write(entry{at: now, task: sched.Nobody, prev: -1, arg: int32(id), kind: entNode, from: uint8(n.state), to: uint8(to)})
	n.state, n.known = to, true
	if to == Down {
		for _, p := range slices.Sorted(slices.Values(n.holding)) {
			r.loseNode(now, p)
		}
	}
}

// loseNode takes a place away from an attempt whose node is lost. With the last one the attempt is over, without a report.
func (r *Record) loseNode(now sched.Time, p int32) {
	if !r.leave(now, p) {
		return
	}
	i := r.places.at(p).att
	a := r.atts.at(i)
	a.left--
	k := &r.tasks[a.task]
	if a.left > 0 {
		r.write(entry{at: now, task: a.task, prev: k.last, arg: p, kind: entPart, from: uint8(k.phase), to: uint8(k.phase)})
		k.last = int32(r.log.n - 1)
		return
	}
	a.end, a.outcome = now, lostNode
	r.again(now, a.task, k, entLost)
}

type extraEdges struct {
	succ, pred map[sched.TaskID][]sched.TaskID
}

func (x *extraEdges) add(from, to sched.TaskID) {
	if x.succ == nil {
		x.succ, x.pred = map[sched.TaskID][]sched.TaskID{}, map[sched.TaskID][]sched.TaskID{}
	}
	x.succ[from] = append(x.succ[from], to)
	x.pred[to] = append(x.pred[to], from)
}

func (r *Record) eachSucc(t sched.TaskID, f func(sched.TaskID)) {
	for _, u := range r.tb.Succs(t) {
		f(u)
	}
	for _, u := range r.extra.succ[t] {
		f(u)
	}
}

func (r *Record) eachPred(t sched.TaskID, f func(sched.TaskID)) {
	for _, u := range r.tb.Preds(t) {
		f(u)
	}
	for _, u := range r.extra.pred[t] {
		f(u)
	}
}

type backoff struct {
	at sched.Time
	t  sched.TaskID
}

// pushBackoff keeps the list ascending; there are few at a time.
func (r *Record) pushBackoff(at sched.Time, t sched.TaskID) {
	i, _ := slices.BinarySearchFunc(r.backoffs, backoff{at, t}, func(a, b backoff) int {
		if a.at != b.at {
			return int(min(max(a.at-b.at, -1), 1))
		}
		return int(a.t - b.t)
	})
	r.backoffs = slices.Insert(r.backoffs, i, backoff{at, t})
}

func (r *Record) endBackoffs(now sched.Time) {
	for len(r.backoffs) > 0 && r.backoffs[0].at <= now {
		b := r.backoffs[0]
		r.backoffs = r.backoffs[1:]
		if k := &r.tasks[b.t]; k.phase == sched.Backoff {
			at := max(b.at, r.end)
			r.end = at
			if k.flags&flagHold != 0 {
				r.step(at, b.t, entBackoffOver, sched.Held, -1)
			} else {
				r.step(at, b.t, entBackoffOver, sched.Ready, -1)
			}
		}
	}
}
