package sched

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	foreseen int64       // of no meaning: that there is a use keeps the reads of Round.Soon
	undone   int         // tasks that are over and not done
	first    []Placement // scratch of startFirst
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

// vetted counts the entries of the table that have been looked at: tasks below it are free of cycles.
type vetted struct{ tasks, classes, demands int }

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

// vet looks at the tasks from..end-1, and at classes and demands that have not been looked at: what would break the kernel later is an
// error now.
func (k *Kernel) vet(from, end int) error {
	tb := k.tb
	for i := k.vetted.demands; i < len(tb.Demands); i++ {
		if err := tb.Demands[i].check(); err != nil {
			return fmt.Errorf("demand %d: %w", i, err)
		}
	}
	k.vetted.demands = len(tb.Demands)
	for i := k.vetted.classes; i < len(tb.Classes); i++ {
		if d := tb.Classes[i].Demand; d < 0 || int(d) >= len(tb.Demands) {
			return fmt.Errorf("class %d: there is no demand %d", i, d)
		}
		s := tb.Classes[i].Speeds
		if s < 0 || s > 0 && int(s) >= len(tb.Speeds) {
			return fmt.Errorf("class %d: there is no throughput table %d", i, s)
		}
		if s > 0 {
			for _, on := range tb.Speeds[s] {
				if on.Nano <= 0 {
					return fmt.Errorf("class %d: the speed on %q is not positive", i, on.GPUType)
				}
			}
		}
	}
	k.vetted.classes = len(tb.Classes)
	if len(tb.Estimates) < end || tb.SuccOff != nil && (len(tb.SuccOff) <= end || len(tb.PredOff) <= end) || tb.EdgeBytes != nil && len(tb.EdgeBytes) < len(tb.Succ) {
		return fmt.Errorf("the table has %d tasks, but fewer estimates or edges", end)
	}
	tasks, classes := tb.Tasks[from:end], uint(len(tb.Classes))
	for i := range tasks {
		if c := tasks[i].Class; uint(c) >= classes { // a negative one is a large one
			return fmt.Errorf("task %s: there is no class %d", tb.TaskNames.At(from+i), c)
		}
	}
	return nil
}

func (d *Demand) check() error {
	n := d.Need
	switch {
	case d.Gang < 1:
		return fmt.Errorf("a gang of %d", d.Gang)
	case n.CPU < 0 || n.Mem < 0 || n.VRAM < 0 || n.GPUs < 0:
		return errors.New("negative need")
	case n.GPUs > 0 && (n.GPUMilli < 1 || n.GPUMilli > Whole || n.GPUMilli < Whole && n.GPUs > 1):
		return fmt.Errorf("%d GPUs of %d/1000 each", n.GPUs, n.GPUMilli)
	}
	return nil
}

func (n *NodeSpec) check() error {
	if n.CPU < 0 || n.Mem < 0 || n.VRAM < 0 || n.GPUs < 0 || n.SpeedMilli < 0 {
		return fmt.Errorf("node %s: negative capacity or speed", n.Name)
	}
	if !(n.NetworkMbps >= 0) || n.NetworkLatency < 0 {
		return fmt.Errorf("node %s: negative bandwidth or latency of its link", n.Name)
	}
	return nil
}

// Path prints tasks as a -> b -> c.
func (tb *Table) Path(ts []TaskID) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = tb.TaskNames.At(int(t))
	}
	return strings.Join(names, " -> ")
}

// Cycle returns a cycle among the tasks from..to-1 and their successors, first task repeated at the end, or nil. Linear time.
func (tb *Table) Cycle(from, to int) []TaskID {
	if tb.SuccOff == nil || tb.forward(from, to) {
		return nil
	}
	left := make([]int32, to-from)
	var queue []TaskID
	for t := from; t < to; t++ {
		for _, p := range tb.Preds(TaskID(t)) {
			if int(p) >= from && int(p) < to {
				left[t-from]++
			}
		}
		if left[t-from] == 0 {
			queue = append(queue, TaskID(t))
		}
	}
	seen := 0
	for ; seen < len(queue); seen++ {
		for _, u := range tb.Succs(queue[seen]) {
			if int(u) >= from && int(u) < to {
				if left[int(u)-from]--; left[int(u)-from] == 0 {
					queue = append(queue, u)
				}
			}
		}
	}
	if seen == to-from {
		return nil
	}
	// Every task that is left has a predecessor that is left: walk back until one repeats.
	at := slices.IndexFunc(left, func(n int32) bool { return n > 0 })
	pos := map[TaskID]int{}
	var path []TaskID
	for t := TaskID(from + at); ; {
		if i, ok := pos[t]; ok {
			path = append(path[i:], t)
			slices.Reverse(path)
			return path
		}
		pos[t] = len(path)
		path = append(path, t)
		for _, p := range tb.Preds(t) {
			if int(p) >= from && int(p) < to && left[int(p)-from] > 0 {
				t = p
				break
			}
		}
	}
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
				k.finished(e.Task, rw, &k.runs[rw.at], e.Done, e.Value)
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
		k.finished(t, rw, r, r.kept+k.now.Sub(r.start), 0)
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
	if uint32(t) < uint32(len(k.rows)) {
		if rw := &k.rows[t]; rw.attempt == attempt && (rw.phase == Running || rw.phase == Stopping) {
			return rw
		}
	}
	k.late++
	return nil
}

// finished takes in that a task is done.
func (k *Kernel) finished(t TaskID, rw *row, r *run, done time.Duration, value int64) {
	k.release(t, rw, r, true)
	rw.phase, rw.mark = Done, k.now
	k.open--
	k.over++
	k.lastEnd = k.now
	edges := k.tb.SuccOff != nil || k.extra.succ != nil
	if edges {
		k.countDone(t)
	}
	k.pol.Observe(&k.State, Event{Kind: Finished, Task: t, Node: NoNode, Attempt: rw.attempt, Done: done, Value: value})
	if edges {
		k.unblock(t)
	}
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
	slices.SortStableFunc(ready, func(a, b TaskID) int { return cmp.Compare(k.rows[a].mark, k.rows[b].mark) })
	for _, t := range ready {
		k.pol.Observe(s, Event{Kind: TaskReady, Task: t, Node: NoNode})
	}
}

// arrive makes the tasks of a JobArrived known.
func (k *Kernel) arrive(e *Event) {
	if e.N == 1 && k.comesAlone(e.Task) {
		k.arriveAlone(e.Task)
		return
	}
	first, end := int(e.Task), int(e.Task)+int(e.N)
	if first < 0 || e.N <= 0 || end > len(k.tb.Tasks) {
		k.refused++
		return
	}
	for t := first; t < len(k.rows) && t < end; t++ {
		if k.rows[t].phase != Unknown {
			k.refused++
			return
		}
	}
	if end > k.vetted.tasks {
		if k.vet(first, end) != nil || k.tb.Cycle(first, end) != nil {
			k.refused++
			return
		}
		if first <= k.vetted.tasks {
			k.vetted.tasks = end
		}
	}
	for len(k.rows) < first { // those between come later
		k.rows = append(k.rows, row{class: k.tb.Tasks[len(k.rows)].Class, at: int32(NoNode), ready: Never, first: Never, mark: Never})
	}
	edges, tasks := k.tb.SuccOff != nil, k.tb.Tasks[first:end]
	for i := range tasks {
		t := TaskID(first + i)
		if arrived := (row{phase: Blocked, cause: Dependency, class: tasks[i].Class, at: int32(NoNode), since: k.now, ready: Never, first: Never, mark: Never}); int(t) < len(k.rows) {
			k.rows[t] = arrived
		} else {
			k.rows = append(k.rows, arrived)
		}
		rw := &k.rows[t]
		if submit := tasks[i].Submit; submit < k.now { // what a decision window took since the submission is waiting too
			rw.since, rw.cause = submit, Window
			k.closeWait(t, rw)
			rw.cause = Dependency
		}
	}
	if edges {
		k.countPreds(first, end)
	}
	k.blocked += len(tasks)
	k.open += len(tasks)
	k.pol.Observe(&k.State, *e)
	for i := range tasks {
		t := first + i
		rw := &k.rows[t]
		if rw.phase != Blocked {
			continue // dropped with a predecessor meanwhile
		}
		if edges && k.pending[t] > 0 {
			if k.lostPred(TaskID(t)) {
				k.finish(TaskID(t), Dropped)
			}
			continue
		}
		// Ready since it was submitted, or since the last of what it comes after ended: the decision window is waiting.
		rw.ready = tasks[i].Submit
		if edges {
			for _, p := range k.tb.Preds(TaskID(t)) {
				rw.ready = max(rw.ready, k.rows[p].mark)
			}
		}
		rw.ready = min(rw.ready, k.now)
		k.makeReady(TaskID(t), rw, Order)
	}
}

// comesAlone reports whether a task that arrives comes when it was submitted, after all that are known, and waits for no other.
func (k *Kernel) comesAlone(t TaskID) bool {
	return int(t) == len(k.rows) && int(t) < k.vetted.tasks && k.tb.SuccOff == nil && k.tb.Tasks[t].Submit >= k.now
}

// arriveAlone is arrive for a task for which comesAlone holds.
func (k *Kernel) arriveAlone(t TaskID) {
	n := len(k.rows)
	if n < cap(k.rows) {
		k.rows = k.rows[:n+1]
	} else {
		k.rows = append(k.rows, row{})
	}
	rw := &k.rows[n]
	k.open++
	if k.quotas == nil && k.ignored {
		*rw = row{phase: Ready, cause: Order, class: k.tb.Tasks[t].Class, at: int32(NoNode), since: k.now, ready: k.now, first: Never, mark: k.now}
		k.ready++
		k.pol.Observe(&k.State, Event{Kind: TaskReady, Task: t, Node: NoNode})
		return
	}
	*rw = row{phase: Blocked, cause: Dependency, class: k.tb.Tasks[t].Class, at: int32(NoNode), since: k.now, ready: Never, first: Never, mark: Never}
	k.blocked++
	k.pol.Observe(&k.State, Event{Kind: JobArrived, Task: t, N: 1, Node: NoNode})
	if rw := &k.rows[t]; rw.phase == Blocked {
		k.makeReady(t, rw, Order)
	}
}

// makeReady lets a task that waits for nothing be started. cause is what its waiting counts as until the policy says otherwise.
func (k *Kernel) makeReady(t TaskID, rw *row, cause Cause) {
	if rw.phase == Blocked {
		k.blocked--
	}
	if rw.since != k.now {
		k.closeWait(t, rw)
	}
	rw.cause = cause
	if rw.ready == Never {
		rw.ready = k.now
	}
	if rw.flags&flagHold != 0 {
		rw.phase, rw.cause = Held, Order
		return
	}
	rw.phase, rw.mark = Ready, k.now
	k.ready++
	if k.quotas != nil {
		k.quotas.waits(k.tb, t, 1)
	}
	k.pol.Observe(&k.State, Event{Kind: TaskReady, Task: t, Node: NoNode})
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

// stage notes how long after its start an attempt waits, holding its room, for what its predecessors send and for its own input.
func (k *Kernel) stage(t TaskID, slot int32) {
	if int(slot) >= len(k.staging) {
		k.staging = append(k.staging, make([]time.Duration, len(k.runs)-len(k.staging))...)
	}
	r := &k.runs[slot]
	at := r.start
	for _, p := range r.on {
		at = max(at, r.start.Add(k.InputTime(t, p.Node)))
		if k.tb.EdgeBytes != nil {
			at = max(at, k.Sent(t, p.Node))
		}
	}
	k.staging[slot] = at.Sub(r.start)
}

// slot returns a free slot of runs.
func (k *Kernel) slot() int32 {
	if n := len(k.free) - 1; n >= 0 {
		i := k.free[n]
		k.free = k.free[:n]
		return i
	}
	return k.newSlot()
}

func (k *Kernel) newSlot() int32 {
	if len(k.runs) == cap(k.runs) {
		k.growRuns()
	}
	k.runs, k.ring = append(k.runs, run{}), append(k.ring, link{})
	i := int32(len(k.runs) - 1)
	k.runs[i].on = k.runs[i].one[:0]
	return i
}

// growRuns moves the slots to where there is room for more. Their first placements move with them; orders that are out keep the old ones.
func (k *Kernel) growRuns() {
	k.runs = slices.Grow(k.runs, len(k.runs))
	for i := range k.runs {
		if r := &k.runs[i]; cap(r.on) <= 1 {
			r.on = r.one[:len(r.on)]
		}
	}
}

// link puts a slot at the end of the ring, unlink takes it out.
func (k *Kernel) link(i int32) {
	last := k.ring[0].prev
	k.ring[i] = link{last, 0}
	k.ring[last].next = i
	k.ring[0].prev = i
}

func (k *Kernel) unlink(i int32) {
	l := k.ring[i]
	k.ring[l.prev].next, k.ring[l.next].prev = l.next, l.prev
}

// leave takes a task off its slot and gives its room back. node is the first of its last attempt.
func (k *Kernel) leave(rw *row, r *run, plan *plan, node NodeID) {
	if k.holders != nil {
		k.removeHolder(r)
	}
	if plan.whole == 0 || !k.room.giveGPUs(plan.whole, &r.on[0]) {
		k.give(r)
	}
	k.unlink(rw.at)
	k.free = append(k.free, rw.at)
	rw.at = int32(node)
}

// give gives back the room that a slot has booked.
func (k *Kernel) give(r *run) {
	need := &k.tb.Demands[r.demand].Need
	for i := range r.on {
		if p := &r.on[i]; need.GPUs == 0 && need.Mem == 0 {
			k.room.takeCores(p.Node, -need.CPU*int64(p.Replicas))
		} else if !k.room.giveWhole(need, p) {
			k.room.Give(need, *p)
		}
	}
}

// release ends the running attempt of a task: books, room, slot, and the claims that waited for it. last says that the task is over with it,
// at this moment.
func (k *Kernel) release(t TaskID, rw *row, r *run, last bool) {
	held := k.now.Sub(r.start)
	if !last || rw.attempt > 1 {
		k.addHeld(t, rw, held)
	}
	plan := k.room.plan(r.demand)
	sec := float64(held) / 1e9
	k.book.GPUSeconds += sec * plan.gpuMilli / Whole
	if plan.cpuMilli != 0 {
		k.book.CPUSeconds += sec * plan.cpuMilli / 1000
	}
	if k.quotas != nil {
		k.quotas.give(k.tb, t, &k.tb.Demands[r.demand])
	}
	if c := r.claimant; c != Nobody {
		r.claimant = Nobody
		cr := &k.runs[k.rows[c].at]
		if cr.wait--; cr.wait == 0 {
			k.starts = append(k.starts, c)
		}
	}
	k.leave(rw, r, plan, r.on[0].Node)
	k.running--
	rw.since = k.now
}

// start carries out Start (victims nil) and Claim.
func (k *Kernel) start(t TaskID, on []Placement, victims []TaskID) bool {
	rw := k.startable(t)
	if rw == nil {
		return false
	}
	dem := k.tb.Classes[rw.class].Demand
	if len(victims) > 0 && len(on) == 1 && k.quotas == nil {
		if p, ok := k.claimOne(dem, on[0], victims); ok {
			i := k.slot()
			r := &k.runs[i]
			r.on = append(r.on[:0], p)
			k.occupy(t, rw, r, dem, i)
			k.claim(t, rw, r, victims)
			return true
		}
	}
	d := &k.tb.Demands[dem]
	var gang int32
	for _, p := range on {
		gang += p.Replicas
	}
	if gang != d.Gang {
		return false
	}
	for i, v := range victims {
		if k.Phase(v) != Running || slices.Contains(victims[:i], v) {
			return false
		}
	}
	if k.quotas != nil && !k.quotas.allows(k.tb, t, victims) {
		k.round.Skip(t, Order)
		return false
	}
	i := k.slot()
	r := &k.runs[i]
	// Victims' room counts as free while the placements are checked and booked; afterwards it is booked twice until they stop.
	for _, v := range victims {
		k.bookAll(v, -1)
	}
	if r.on = r.on[:0]; cap(r.on) < len(on) {
		r.on = make([]Placement, 0, max(len(on), 4))
	}
	for _, p := range on {
		if p.GPUs == 0 && d.Need.GPUs > 0 && p.Node >= 0 && int(p.Node) < k.room.Len() {
			p.GPUs = k.room.devices(&d.Need, p.Node, p.Replicas)
		}
		if !k.room.fits(dem, p) {
			for _, q := range r.on {
				k.room.Give(&d.Need, q)
			}
			k.free = append(k.free, i)
			for _, v := range victims {
				k.bookAll(v, 1)
			}
			return false
		}
		k.room.Take(&d.Need, p)
		r.on = append(r.on, p)
	}
	k.occupy(t, rw, r, dem, i)
	if len(victims) == 0 {
		k.run(t, rw, r)
		return true
	}
	for _, v := range victims {
		k.bookAll(v, 1)
	}
	k.claim(t, rw, r, victims)
	return true
}

// claimOne books the room of a claim in one step, where it and its victims, which run, hold whole GPUs of one node, or CPUs of it, and nothing else. It reports
// false, and nothing happens, where it is otherwise.
func (k *Kernel) claimOne(dem DemandID, p Placement, victims []TaskID) (Placement, bool) {
	plan := k.room.plan(dem)
	if plan.whole == 0 || p.Replicas != 1 || p.GPUs != 0 || uint32(p.Node) >= uint32(len(k.room.nodes)) {
		return p, k.claimCores(dem, plan, p, victims)
	}
	var held Devices
	for _, v := range victims {
		vr := k.runsOnOne(v)
		if vr == nil || vr.on[0].Node != p.Node || held&vr.on[0].GPUs != 0 || k.room.plan(vr.demand).whole == 0 {
			return p, false
		}
		held |= vr.on[0].GPUs
	}
	p.GPUs = k.room.claimWhole(plan, p.Node, held)
	return p, p.GPUs != 0
}

func (k *Kernel) claimCores(dem DemandID, plan *plan, p Placement, victims []TaskID) bool {
	if plan.cores <= 0 || p.Replicas != k.tb.Demands[dem].Gang || p.GPUs != 0 || uint32(p.Node) >= uint32(len(k.room.nodes)) {
		return false
	}
	n := &k.room.nodes[p.Node]
	free := n.cpu
	for i, v := range victims {
		vr := k.runsOnOne(v)
		if vr == nil || vr.on[0].Node != p.Node || slices.Contains(victims[:i], v) {
			return false
		}
		cores := k.room.plan(vr.demand).cores
		if cores <= 0 {
			return false
		}
		free += cores
	}
	if !n.up || !plan.kinds.has(int(p.Node)) || free < plan.cores {
		return false
	}
	k.room.takeCores(p.Node, plan.cores)
	return true
}

// runsOnOne returns the slot of a task that runs on one node, else nil.
func (k *Kernel) runsOnOne(t TaskID) *run {
	if uint32(t) < uint32(len(k.rows)) && k.rows[t].phase == Running {
		if r := &k.runs[k.rows[t].at]; len(r.on) == 1 {
			return r
		}
	}
	return nil
}

// claim notes whom a claim waits for, and orders them to stop.
func (k *Kernel) claim(t TaskID, rw *row, r *run, victims []TaskID) {
	r.wait = int32(len(victims))
	rw.phase = Claiming
	k.claims++
	for _, v := range victims {
		vw := &k.rows[v]
		k.runs[vw.at].claimant = t
		vw.flags |= flagEvict
		k.stop(v, vw)
	}
}

// occupy notes that a task, which was ready, holds the room that was booked for a slot.
func (k *Kernel) occupy(t TaskID, rw *row, r *run, dem DemandID, slot int32) {
	k.link(slot)
	r.task, r.demand, r.claimant, r.was, rw.at = t, dem, Nobody, NodeID(rw.at), slot
	k.noteHolder(r)
	k.ready--
	if k.quotas != nil {
		k.quotas.take(k.tb, t, &k.tb.Demands[dem])
		k.quotas.waits(k.tb, t, -1)
	}
}

// startFirst starts t where first fit finds room. What first fit finds need not be checked again.
func (k *Kernel) startFirst(t TaskID) bool {
	rw := k.startable(t)
	if rw == nil {
		return false
	}
	dem := k.tb.Classes[rw.class].Demand
	plan := k.room.plan(dem)
	if plan.whole > 0 && k.quotas == nil {
		n := k.room.gpuIdx.first(plan.level, plan.kinds)
		if n == NoNode {
			return false
		}
		k.startFitting(t, rw, dem, plan, n)
		return true
	}
	d, n := &k.tb.Demands[dem], NodeID(0)
	switch {
	case k.quotas != nil || d.Gang > 1 && (len(k.room.nodes) > 1 || d.Need.share()):
		on, ok := k.room.FirstFit(dem, k.first[:0])
		k.first = on[:0]
		if ok {
			k.start(t, on, nil)
		}
		return ok
	case len(k.room.nodes) > 1 || d.Need.share():
		if n = k.room.firstNode(&d.Need, plan); n == NoNode {
			return false
		}
	case !k.room.holds(d, plan, 0): // a pool
		return false
	}
	k.startFitting(t, rw, dem, plan, n)
	return true
}

// startOn starts t on one node, if it fits there.
func (k *Kernel) startOn(t TaskID, n NodeID) bool {
	rw := k.startable(t)
	if rw == nil || uint32(n) >= uint32(len(k.room.nodes)) {
		return false
	}
	dem := k.tb.Classes[rw.class].Demand
	d := &k.tb.Demands[dem]
	if k.quotas != nil || d.Need.share() {
		k.first = append(k.first[:0], Placement{Node: n, Replicas: d.Gang})
		return k.start(t, k.first, nil)
	}
	plan := k.room.plan(dem)
	if !k.room.holds(d, plan, n) {
		return false
	}
	k.startFitting(t, rw, dem, plan, n)
	return true
}

// startable returns the row of a task that is ready, else nil.
func (k *Kernel) startable(t TaskID) *row {
	if uint32(t) < uint32(len(k.rows)) {
		if rw := &k.rows[t]; rw.phase == Ready {
			return rw
		}
	}
	return nil
}

// startFitting starts t, which is ready and which no quota holds back, on a node on which all of it is known to fit.
func (k *Kernel) startFitting(t TaskID, rw *row, dem DemandID, plan *plan, n NodeID) {
	i := k.slot()
	r := &k.runs[i]
	p := Placement{Node: n, Replicas: 1}
	if plan.whole > 0 {
		p.GPUs = k.room.takeGPUs(plan.whole, n)
	} else {
		p = k.takeFitting(&k.tb.Demands[dem], plan, n)
	}
	r.on = append(r.on[:0], p)
	k.link(i)
	r.task, r.demand, r.claimant, r.was, rw.at = t, dem, Nobody, NodeID(rw.at), i
	if k.holders != nil {
		k.addHolder(r)
	}
	k.ready--
	k.run(t, rw, r)
}

// takeFitting books all of a demand on a node.
func (k *Kernel) takeFitting(d *Demand, plan *plan, n NodeID) Placement {
	p := Placement{Node: n, Replicas: d.Gang}
	switch {
	case plan.cores > 0:
		k.room.takeCores(n, plan.cores)
	case d.Gang == 1 && plan.gpu:
		p.GPUs = k.room.takeWhole(&d.Need, n)
	default:
		p.GPUs = k.room.devices(&d.Need, n, d.Gang)
		k.room.Take(&d.Need, p)
	}
	return p
}

// bookAll books what a task holds once more (sign 1), or gives it back (-1).
func (k *Kernel) bookAll(t TaskID, sign int64) {
	r := &k.runs[k.rows[t].at]
	need := &k.tb.Demands[r.demand].Need
	for _, p := range r.on {
		k.room.book(need, p, sign)
	}
}

// run orders the start of a task whose room is booked.
func (k *Kernel) run(t TaskID, rw *row, r *run) {
	if rw.since != k.now {
		k.closeWait(t, rw)
	}
	rw.attempt++
	rw.phase = Running
	rw.flags &^= flagEvict | flagLost
	if rw.first == Never {
		rw.first = k.now
	}
	r.start, r.wait, r.kept = k.now, 0, 0
	if rw.attempt > 1 {
		r.kept = k.keptOf(t)
	}
	r.est = notAsked
	if k.tb.EdgeBytes != nil || k.tb.Data != nil {
		k.stage(t, rw.at)
	}
	k.running++
	// Written in place: this is the order that is given most.
	n := len(k.cmds)
	if n < cap(k.cmds) {
		k.cmds = k.cmds[:n+1]
	} else {
		k.cmds = append(k.cmds, Command{})
	}
	c := &k.cmds[n]
	c.Kind, c.Cause, c.Task, c.Attempt, c.Queue, c.Replicas, c.On = Start, 0, t, rw.attempt, 0, 0, r.on
}

// evict orders a running task to stop.
func (k *Kernel) evict(t TaskID) bool {
	if k.Phase(t) != Running {
		return false
	}
	rw := &k.rows[t]
	rw.flags |= flagEvict
	k.stop(t, rw)
	return true
}

func (k *Kernel) stop(t TaskID, rw *row) {
	rw.phase = Stopping
	k.cmds = append(k.cmds, Command{Kind: Stop, Task: t, Attempt: rw.attempt})
}

// stopped takes in that an order to stop was carried out.
func (k *Kernel) stopped(e *Event, rw *row) {
	t, flags := e.Task, rw.flags
	k.release(t, rw, &k.runs[rw.at], flags&flagCancel != 0)
	rw.flags &^= flagEvict | flagLost
	if flags&flagCancel != 0 {
		k.finishObserved(t, Dropped, *e)
		return
	}
	k.keep(t, e.Done)
	cause := Preempted
	if flags&flagLost != 0 {
		cause = FailureDelay
		k.book.Restarts++
	} else {
		k.book.Preemptions++
	}
	rw.phase, rw.cause = Backoff, cause // it runs no more, and is not ready yet
	k.pol.Observe(&k.State, *e)
	k.makeReady(t, rw, cause)
}

// failed takes in the failure of an attempt: again after the backoff, or over.
func (k *Kernel) failed(e *Event, rw *row) {
	t := e.Task
	cl := k.Class(t)
	cancelled, spent := rw.flags&flagCancel != 0, int32(rw.fails) >= cl.Retries || rw.fails == 255
	k.release(t, rw, &k.runs[rw.at], cancelled || spent)
	switch {
	case cancelled:
		k.finishObserved(t, Dropped, *e)
		return
	case spent:
		k.finishObserved(t, Failed, *e)
		return
	}
	k.keep(t, e.Done)
	rw.fails++
	k.book.Restarts++
	rw.phase, rw.cause = Backoff, FailureDelay
	k.pol.Observe(&k.State, *e)
	wait := RetryBackoff(cl.Backoff, int(rw.fails))
	if e.Value > 0 {
		wait = time.Duration(e.Value)
	}
	if wait <= 0 {
		k.makeReady(t, rw, FailureDelay)
		return
	}
	k.backoffs.push(k.now.Add(wait), t)
}

// RetryBackoff returns the wait before the n-th retry (n from 1): base doubled each time, at most 64 times base.
func RetryBackoff(base time.Duration, n int) time.Duration {
	return MulDiv(max(base, 0), 1<<min(max(n-1, 0), 6), 1, false)
}

// finish ends a task that does not run, for good, and cancels its successors.
func (k *Kernel) finish(t TaskID, as Phase) {
	k.finishObserved(t, as, Event{Kind: TaskDropped, Task: t, Node: NoNode})
}

// finishObserved ends a task that does not run (any more); e is what the policy is told of it.
func (k *Kernel) finishObserved(t TaskID, as Phase, e Event) {
	k.end(t, as)
	k.pol.Observe(&k.State, e)
	if e.Kind != TaskDropped {
		k.pol.Observe(&k.State, Event{Kind: TaskDropped, Task: t, Node: NoNode})
	}
	k.stack = k.stack[:0]
	k.pushSuccs(t)
	for len(k.stack) > 0 {
		u := k.stack[len(k.stack)-1]
		k.stack = k.stack[:len(k.stack)-1]
		if ph := k.Phase(u); ph == Unknown || ph.Over() {
			continue
		}
		k.end(u, Dropped)
		k.pol.Observe(&k.State, Event{Kind: TaskDropped, Task: u, Node: NoNode})
		k.pushSuccs(u)
	}
}

func (k *Kernel) pushSuccs(t TaskID) {
	at := len(k.stack)
	for u := range k.Succs(t) {
		k.stack = append(k.stack, u)
	}
	slices.Reverse(k.stack[at:]) // so that the lowest is dropped first
}

func (k *Kernel) end(t TaskID, as Phase) {
	rw := &k.rows[t]
	switch rw.phase {
	case Blocked:
		k.blocked--
	case Ready:
		k.ready--
		if k.quotas != nil {
			k.quotas.waits(k.tb, t, -1)
		}
	}
	k.closeWait(t, rw)
	k.dropWaits(t)
	rw.phase, rw.mark = as, k.now
	k.open--
	k.over++
	if rw.attempt > 0 {
		k.lastEnd = k.now
	}
}

// nodeDown takes in the loss of a node: what ran there ends at once; a gang that also runs elsewhere is ordered to stop there.
func (k *Kernel) nodeDown(e *Event) {
	if e.Node < 0 || int(e.Node) >= k.room.Len() {
		k.refused++
		return
	}
	var lost, undone []TaskID
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		r := &k.runs[i]
		if !slices.ContainsFunc(r.on, func(p Placement) bool { return p.Node == e.Node }) {
			continue
		}
		if k.rows[r.task].phase == Claiming {
			undone = append(undone, r.task)
		} else {
			lost = append(lost, r.task)
		}
	}
	// It may be down already, unless what still runs there says that it was only drained.
	if !k.room.Up(e.Node) && !slices.ContainsFunc(lost, func(t TaskID) bool { return k.rows[t].flags&flagLost == 0 }) {
		k.refused++
		return
	}
	k.room.setUp(e.Node, false)
	k.pol.Observe(&k.State, *e)
	for _, t := range undone {
		k.undoClaim(t)
	}
	for _, t := range lost {
		rw := &k.rows[t]
		r := &k.runs[rw.at]
		// What runs on a drained node runs on; of a task that has lost no node yet, every other node that is closed is a drained one.
		elsewhere := slices.ContainsFunc(r.on, func(p Placement) bool {
			return p.Node != e.Node && (k.room.Up(p.Node) || rw.flags&flagLost == 0)
		})
		if elsewhere {
			if rw.phase == Running {
				rw.flags |= flagLost
				k.stop(t, rw)
			}
			continue
		}
		rw.flags |= flagLost
		rw.flags &^= flagEvict
		// The attempt is fenced by its number: a late report of it is dropped.
		k.stopped(&Event{Kind: Stopped, Task: t, Attempt: rw.attempt, Node: e.Node, Done: k.keptOf(t)}, rw)
	}
}

// nodeDrain closes a node to new starts. Claims on it are undone, or they would start there.
func (k *Kernel) nodeDrain(e *Event) {
	if e.Node < 0 || int(e.Node) >= k.room.Len() || !k.room.Up(e.Node) {
		k.refused++
		return
	}
	k.room.setUp(e.Node, false)
	var undone []TaskID
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		if r := &k.runs[i]; k.rows[r.task].phase == Claiming && slices.ContainsFunc(r.on, func(p Placement) bool { return p.Node == e.Node }) {
			undone = append(undone, r.task)
		}
	}
	k.pol.Observe(&k.State, Event{Kind: NodeProfile, Task: Nobody, Node: e.Node})
	for _, t := range undone {
		k.undoClaim(t)
	}
}

// startClaim orders the start of a claim whose room is free.
func (k *Kernel) startClaim(t TaskID) {
	rw := &k.rows[t]
	if rw.phase != Claiming || k.runs[rw.at].wait > 0 {
		return
	}
	k.claims--
	k.unlink(rw.at) // the ring is in the order of start, and a claim starts now
	k.link(rw.at)
	k.run(t, rw, &k.runs[rw.at])
	k.pol.Observe(&k.State, Event{Kind: Started, Task: t, Attempt: rw.attempt, Node: NoNode})
}

// undoClaim gives a claim's room back and makes its task ready again.
func (k *Kernel) undoClaim(t TaskID) {
	rw := &k.rows[t]
	if k.quotas != nil {
		k.quotas.give(k.tb, t, k.Demand(t))
	}
	for i := k.ring[0].next; i != 0; i = k.ring[i].next {
		if k.runs[i].claimant == t {
			k.runs[i].claimant = Nobody
		}
	}
	r := &k.runs[rw.at]
	k.leave(rw, r, k.room.plan(r.demand), r.was)
	k.claims--
	k.makeReady(t, rw, rw.cause)
}
