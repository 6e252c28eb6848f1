package sched

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config is what a kernel starts from.
type Config struct {
	Table  *Table // may be shared by kernels; appended to only by the driver, between Steps
	Nodes  []NodeSpec
	Policy Policy
	Start  Time // time before the first batch; batches never go back before it
	Waits  bool // keep the wait profile's rows

	WaitParts bool // keep what waiting ends in each step, see Kernel.WaitParts
}

// Kernel turns facts into orders. One goroutine owns it. See the package comment for the main loop.
type Kernel struct {
	State
	round    Round
	pol      Policy
	ignored  bool // it ignores arrivals
	cmds     []Command
	wake     Time // policy's wish; Never if none
	backoffs backoffs
	waits    waits
	stack    []TaskID    // scratch of drop
	freed    []TaskID    // successors of the task that ended that wait for nothing more
	soon     []TaskID    // that Round.Soon told of in this step
	undone   int         // tasks that are over and not done
	first    []Placement // scratch of startFirst
	placed   []Placement // scratch of start
	noGangs  []int32     // unused entries of gangs
	given    int         // nodes that the kernel started with; later ones were added by facts
	vetted   vetted      // what of the table is known to be well-formed
	claims   int         // tasks in Claiming
	late     int64       // reports of old attempts that were dropped
	refused  int64       // facts that could not be taken in (an edge into a started task, a cycle)
	starts   []TaskID    // claims whose last victim has stopped in this batch
	book     Books

	sinceCheck int // steps since the invariants were checked; only with -tags invariants
}

// Books are the kernel's sums over all attempts so far, the running ones not included.
type Books struct {
	GPUSeconds, CPUSeconds float64 // allocated resource-seconds; CPU in cores. Float64: milli-GPU x ns overflows int64 on real traces
	Preemptions            int64   // attempts that ended because the policy evicted them
	Restarts               int64   // attempts that ended by failure or a lost node and were tried again
	CauseSeconds           [NumCauses]float64
}

// New returns a kernel. It refuses a table that is not well-formed, and one with a cycle of dependencies, which it names.
func New(c Config) (*Kernel, error) {
	k, err := empty(c)
	if err != nil {
		return nil, err
	}
	if err := k.vet(0, len(c.Table.Tasks)); err != nil {
		return nil, err
	}
	if cycle := c.Table.Cycle(0, len(c.Table.Tasks)); cycle != nil {
		return nil, fmt.Errorf("dependency cycle: %s", c.Table.Path(cycle))
	}
	k.vetted.tasks = len(c.Table.Tasks)
	return k, nil
}

// empty returns a kernel that has seen nothing, of a table that nobody has looked at.
func empty(c Config) (*Kernel, error) {
	if c.Table == nil || c.Policy == nil {
		return nil, errors.New("a kernel needs a table and a policy")
	}
	for i := range c.Nodes {
		if err := c.Nodes[i].check(); err != nil {
			return nil, err
		}
	}
	k := &Kernel{wake: Never, given: len(c.Nodes)}
	k.obey(c.Policy)
	k.tb, k.now, k.lastEnd = c.Table, c.Start, c.Start
	k.room = NewRoom(c.Nodes, &c.Table.Demands)
	k.runs = make([]run, 1, 64) // slot 0 is the ring's anchor
	k.runs[0].task = Nobody
	k.ring = make([]link, 1, 64)
	k.rows = make([]row, 0, len(c.Table.Tasks))
	k.round = Round{State: &k.State, k: k}
	k.waits.head = Nobody
	if c.Waits {
		k.waits.rows = map[waitKey]*waitSum{}
	}
	if k.waits.keeps = c.WaitParts; c.Waits || c.WaitParts {
		k.waits.lacking = map[TaskID]Resource{}
		k.waits.last = map[TaskID]TaskID{}
	}
	return k, nil
}

// Books returns the sums so far. The slice-free copy may be kept.
func (k *Kernel) Books() Books { return k.book }

// Late returns the number of reports of old attempts that were dropped, Refused that of facts that could not be taken in.
func (k *Kernel) Late() int64 { return k.late }

// Refused returns the number of facts that were refused; see Late.
func (k *Kernel) Refused() int64 { return k.refused }

// NextWake returns when the kernel wants a Step if no fact comes earlier: the policy's wish or the end of a backoff.
func (k *Kernel) NextWake() (Time, bool) {
	at := k.wake
	if len(k.backoffs) > 0 {
		at = min(at, k.backoffs[0].at)
	}
	return at, at != Never
}

// Step takes in one batch of facts and returns the orders, valid until the next Step: first all ends and changes in the order given,
// then backoffs that are over, then arrivals in the order given, then one decision. Time never goes back: a batch older than the
// last one counts as now.
func (k *Kernel) Step(now Time, in []Event) []Command {
	k.begin(now)
	arrivals := false
	for i := range in {
		switch e := &in[i]; {
		case e.Kind == Finished:
			if rw := k.reported(e.Task, e.Attempt); rw != nil {
				k.finished(e.Task, rw, &k.runs[rw.at], e.Done)
			}
		case e.Kind < EdgeAdded:
			k.change(e)
		default:
			arrivals = true
		}
	}
	if len(k.backoffs) > 0 {
		k.ripen()
	}
	if arrivals {
		for i := range in {
			switch e := &in[i]; e.Kind {
			case JobArrived:
				k.arrive(e)
			case EdgeAdded:
				k.addEdge(*e)
			}
		}
	}
	k.decide()
	return k.cmds
}

// StepFinished is Step for one fact alone: that a task is done, whose attempt worked as long as it held its room. Orders returns the orders.
func (k *Kernel) StepFinished(now Time, t TaskID, attempt int32) {
	k.begin(now)
	if rw := k.reported(t, attempt); rw != nil {
		r := &k.runs[rw.at]
		k.finished(t, rw, r, r.kept+k.now.Sub(r.start))
	}
	if len(k.backoffs) > 0 {
		k.ripen()
	}
	k.decide()
}

// StepArrived is Step for one fact alone: that a job of one task is submitted. Orders returns the orders.
func (k *Kernel) StepArrived(now Time, t TaskID) {
	k.begin(now)
	if len(k.backoffs) > 0 {
		k.ripen()
	}
	if k.comesAlone(t) {
		k.arriveAlone(t)
	} else {
		k.arrive(&Event{Kind: JobArrived, Task: t, N: 1, Node: NoNode})
	}
	k.decide()
}

// Orders returns the orders of the last step, valid until the next.
func (k *Kernel) Orders() []Command { return k.cmds }

// begin begins a step.
func (k *Kernel) begin(now Time) {
	k.now = max(k.now, now)
	k.cmds, k.soon = k.cmds[:0], k.soon[:0]
	k.waits.parts = k.waits.parts[:0]
}

// ripen makes ready what has waited long enough after a failure.
func (k *Kernel) ripen() {
	for len(k.backoffs) > 0 && k.backoffs[0].at <= k.now {
		t := k.backoffs.pop()
		if k.rows[t].phase == Backoff {
			k.makeReady(t, &k.rows[t], FailureDelay)
		}
	}
}

// decide ends a step with what follows from the facts and the policy's decision.
func (k *Kernel) decide() {
	if k.wake <= k.now || len(k.starts) > 0 || k.quotas != nil {
		k.follow()
	}
	k.pol.Decide(&k.round)
	if invariants {
		k.sampleInvariants()
	}
}

// follow takes in what follows from the facts of a step.
func (k *Kernel) follow() {
	if k.wake <= k.now {
		k.wake = Never
		k.pol.Observe(&k.State, Event{Kind: Wake, Task: Nobody})
	}
	for _, t := range k.starts {
		k.startClaim(t)
	}
	k.starts = k.starts[:0]
	if k.quotas != nil && len(k.quotas.cohorts) > 0 {
		k.reclaim()
	}
}

// reported returns the row of the running attempt that a report is of; nil, and counts it, where it is of another.
func (k *Kernel) reported(t TaskID, attempt int32) *row {
	if i := uint(t); i < uint(len(k.rows)) {
		if rw := &k.rows[i]; rw.attempt == attempt && (rw.phase == Running || rw.phase == Stopping) {
			return rw
		}
	}
	k.late++
	return nil
}

// change takes in a fact that is neither an arrival nor Finished.
func (k *Kernel) change(e *Event) {
	switch e.Kind {
	case FailedAttempt, Killed, Stopped, CheckpointDone, Started:
		rw := k.reported(e.Task, e.Attempt)
		if rw == nil {
			return
		}
		switch e.Kind {
		case Killed:
			k.release(e.Task, rw, &k.runs[rw.at], true)
			k.finishObserved(e.Task, Failed, *e)
		case FailedAttempt:
			k.failed(e, rw)
		case Stopped:
			k.stopped(e, rw)
		case CheckpointDone:
			k.keep(e.Task, e.Done)
			k.noteSaving(e)
			k.pol.Observe(&k.State, *e)
		case Started:
			k.noteSaving(e)
			k.pol.Observe(&k.State, *e)
		}
	case NodeDown:
		k.nodeDown(e)
	case NodeDrain:
		k.nodeDrain(e)
	case NodeUp:
		if e.More != nil && e.More.Spec != nil {
			if e.More.Spec.check() != nil {
				k.refused++
				return
			}
			e.Node = k.room.add(*e.More.Spec)
		} else if int(e.Node) < k.room.Len() && e.Node >= 0 {
			k.room.setUp(e.Node, true)
		} else {
			k.refused++
			return
		}
		k.pol.Observe(&k.State, *e)
	case NodeProfile:
		k.profile(e)
	case DependencyUp, DependencyDown:
		if e.More == nil {
			k.refused++
			return
		}
		if e.Kind == DependencyUp {
			delete(k.down, e.More.Name)
		} else {
			if k.down == nil {
				k.down = map[string]bool{}
			}
			k.down[e.More.Name] = true
		}
		k.pol.Observe(&k.State, *e)
	case Cancelled:
		k.cancel(*e)
	case Hold, Release:
		k.hold(*e)
	case Updated:
		k.update(e)
	case QuotaSet:
		if e.More == nil || e.More.Quota == nil || (e.More.Quota.Tenant == "") == (e.More.Quota.Queue == "") {
			k.refused++
			return
		}
		k.setQuota(*e.More.Quota)
		k.pol.Observe(&k.State, *e)
	case PolicySet:
		if e.More == nil || e.More.Policy == nil {
			k.refused++
			return
		}
		k.obey(e.More.Policy)
		k.wake = Never
		k.tellPresent()
	}
}

// obey makes p the policy.
func (k *Kernel) obey(p Policy) {
	k.pol = p
	i, ok := p.(Ignorer)
	k.ignored = ok && i.IgnoresArrivals(p)
}

// tellPresent tells a new policy the present as facts: what arrived, what runs in the order of start, what is ready in the order of
// readiness.
func (k *Kernel) tellPresent() {
	s := &k.State
	for t := 0; t < len(k.rows); {
		n := 1
		for t+n < len(k.rows) && k.tb.Tasks[t+n].Job == k.tb.Tasks[t].Job && k.rows[t+n].phase != Unknown {
			n++
		}
		if k.rows[t].phase != Unknown {
			k.pol.Observe(s, Event{Kind: JobArrived, Task: TaskID(t), N: int32(n), Node: NoNode})
		}
		t += n
	}
	for t := range s.RunningTasks() {
		k.pol.Observe(s, Event{Kind: Started, Task: t, Attempt: k.rows[t].attempt, Node: NoNode})
	}
	var ready []TaskID
	for t := range k.rows {
		if k.rows[t].phase == Ready {
			ready = append(ready, TaskID(t))
		}
	}
	slices.SortStableFunc(ready, func(a, b TaskID) int { return cmp.Compare(k.ReadySince(a), k.ReadySince(b)) })
	for _, t := range ready {
		k.pol.Observe(s, Event{Kind: TaskReady, Task: t, Node: NoNode})
	}
}

// keep records work kept of a task.
func (k *Kernel) keep(t TaskID, done time.Duration) {
	done = max(done, 0)
	if done == k.keptOf(t) {
		return
	}
	if k.kept == nil { // from now on it stands apart
		kept := make([]time.Duration, len(k.tb.Tasks))
		for u := range k.rows {
			kept[u] = k.keptOf(TaskID(u))
		}
		k.kept = kept
	}
	if int(t) >= len(k.kept) {
		k.kept = append(k.kept, make([]time.Duration, len(k.tb.Tasks)-len(k.kept))...)
	}
	k.kept[t] = done
}

// update takes in a new estimate; that of a running attempt changes with it.
func (k *Kernel) update(e *Event) {
	if ph := k.Phase(e.Task); ph == Unknown || ph.Over() || e.Value < 0 {
		k.refused++
		return
	}
	if k.updated == nil {
		k.updated = map[TaskID]time.Duration{}
	}
	k.updated[e.Task] = time.Duration(e.Value)
	if rw := &k.rows[e.Task]; rw.phase == Running || rw.phase == Stopping {
		r := &k.runs[rw.at]
		r.est = notAsked
	}
	k.pol.Observe(&k.State, *e)
}

// more adds an entry to a list, for the caller to write: what stood there before is still in it.
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
