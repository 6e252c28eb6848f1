package sim

// Attempts: how long one will take and how it will end, what it has done when it is stopped, and what of it is lost.

import (
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// keptWork is what a preempted task keeps of its earlier attempts: the true work at reference speed, and the time that it held for it.
type keptWork struct{ work, held time.Duration }

// fate says how an attempt will end: FailedAttempt or Killed.
type fate struct {
	kind    sched.EventKind
	attempt int32
}

type taskAttempt struct {
	task    sched.TaskID
	attempt int32
}

// runs reports whether the attempt of a scheduled end is still the present one.
func (r *run) runs(e end) bool {
	if r.k.Attempt(e.task) != e.attempt {
		return false
	}
	if r.k.Phase(e.task) != sched.Running {
		return r.window != nil && r.k.Phase(e.task) == sched.Stopping && r.window.isOver(e)
	}
	return r.m == nil || r.m.saver == nil || r.m.saver.works[e.task].end == e.at // an ordered checkpoint has moved it
}

// runOn returns the true run time of a whole task on its placements: that of the slowest node.
func (r *run) runOn(t sched.TaskID, on []sched.Placement) time.Duration {
	if !r.hetero {
		return r.Workload.Run[t]
	}
	var d time.Duration
	costs := r.Workload.RunOn[t]
	for _, p := range on {
		spec := r.k.Room().Spec(p.Node)
		d = max(d, r.tb.RunOn(t, r.Workload.Run[t], costs, spec))
	}
	return d
}

func (r *run) keptOf(t sched.TaskID) time.Duration {
	if int(t) < len(r.kept) {
		return r.kept[t].work
	}
	return 0
}

// begin schedules the end of an attempt that is not plain.
func (r *run) begin(now sched.Time, c *sched.Command) {
	t := c.Task
	whole := r.runOn(t, c.On)
	d := whole
	if k := r.keptOf(t); k > 0 {
		d = sched.MulDiv(whole, int64(r.Workload.Run[t]-k), int64(max(r.Workload.Run[t], 1)), true)
	}
	if c.Attempt > 1 {
		d += r.overheadOf(t, c.Attempt)
	}
	if r.KillAtEstimate {
		// Where the estimate covers the run, rounding alone must not cut it.
		if limit := r.limit(t, c); limit < d && r.estimateOn(t, c.On) < whole {
			d = limit
			r.fates[t] = fate{sched.Killed, c.Attempt}
		}
	}
	if r.stager != nil {
		r.stager.begin(now, c)
	}
	d += r.staging(t)
	r.acted = true
	var w *work
	if r.m != nil && r.m.saver != nil {
		staging, overhead := r.staging(t), r.overheadOf(t, c.Attempt)
		d = r.m.saver.begin(now, c, whole, d-staging-overhead, staging, overhead)
		w = &r.m.saver.works[t]
	}
	after := time.Duration(sched.Never)
	if r.m != nil && r.m.breaking != nil {
		after = r.m.breaking.fails(t, c.Attempt)
	}
	if r.ooms != nil && r.ooms[t] {
		if peak := max(d-stretch(whole, 1-r.Memory.peak()), 0); peak < after {
			d, after = peak, peak
			r.fates[t] = fate{sched.FailedAttempt, c.Attempt}
			r.oomed++
		}
	}
	if len(r.taskFail) > 0 {
		if scripted, ok := r.taskFail[taskAttempt{t, c.Attempt}]; ok {
			after = min(after, scripted)
		}
	}
	if after < d {
		d = after
		r.fates[t] = fate{sched.FailedAttempt, c.Attempt}
	}
	if r.window != nil {
		r.window.endAt[t] = now.Add(d)
	}
	if w != nil {
		w.fails, w.end = now.Add(after), now.Add(d)
	}
	r.ends.push(end{now.Add(d), t, c.Attempt})
}

// staging returns how long the present attempt holds its room before its work begins, because what its predecessors send, or its own input, is
// not there yet.
func (r *run) staging(t sched.TaskID) time.Duration {
	if r.stager != nil {
		return r.stager.wait[t]
	}
	if r.tb.EdgeBytes == nil && r.tb.Data == nil {
		return 0
	}
	return r.k.WorkBegins(t).Sub(r.k.StartedAt(t))
}

// overheadOf returns the overhead that this attempt pays: Config.Overhead where a preemption ended the one before.
func (r *run) overheadOf(t sched.TaskID, attempt int32) time.Duration {
	if attempt > 1 && r.paying[t] == attempt {
		return r.Overhead
	}
	return 0
}

// wasted returns how much of the time that the present attempt has held went into the overhead of a preemption, which comes after the staging.
func (r *run) wasted(t sched.TaskID, held time.Duration) time.Duration {
	return min(max(held-r.staging(t), 0), r.overheadOf(t, r.k.Attempt(t)))
}

// limit returns after how long this attempt is cut: what earlier attempts left of the estimate, as a share of it where nodes differ.
func (r *run) limit(t sched.TaskID, c *sched.Command) time.Duration {
	est := r.estimateOn(t, c.On)
	u := r.spent[t]
	return max(est-u.on(est), 0) + r.overheadOf(t, c.Attempt)
}

// estimateOn is the workload's estimate of t there, by which runs are cut, whatever the policy is shown.
func (r *run) estimateOn(t sched.TaskID, on []sched.Placement) time.Duration {
	var est time.Duration
	for _, p := range on {
		est = max(est, sched.EstimateOn(r.Workload.Table, t, r.k.Room().Spec(p.Node)))
	}
	return est
}

// allowance is how much of an estimate the attempts of a preempted task have used up.
type allowance struct{ spent, of time.Duration }

// on returns the time spent, had it been on nodes for which the estimate is est.
func (a allowance) on(est time.Duration) time.Duration {
	if a.of == est || a.of <= 0 {
		return a.spent
	}
	return sched.MulDiv(a.spent, int64(est), int64(a.of), false)
}

// ended writes the fact of a scheduled end.
func (r *run) ended(e end, ev *sched.Event) {
	t := e.task
	ev.Set(sched.Finished, t, 0, e.attempt, r.worked(e))
	if r.plain && e.attempt == 1 {
		return
	}
	saver := (*saver)(nil)
	if r.m != nil {
		saver = r.m.saver
	}
	if (e.attempt == 1 && len(r.fates) == 0 || r.light) && saver == nil {
		return
	}
	held := e.at.Sub(r.k.StartedAt(t))
	if f, ok := r.fates[t]; ok && f.attempt == e.attempt {
		delete(r.fates, t)
		if saver != nil {
			ev.Kind, ev.Done = f.kind, saver.failed(e.at, t)
			return
		}
		r.lose(t, held)
		ev.Kind, ev.Done = f.kind, 0
		if f.kind == sched.FailedAttempt {
			ev.Done = r.keptOf(t)
		}
		return
	}
	if saver != nil {
		saver.spend(e.at, t, &saver.works[t])
		r.lose(t, saver.wasted(e.at, t))
	} else if e.attempt > 1 {
		r.lose(t, r.wasted(t, held))
	}
}

// worked returns the work of a task that is done.
func (r *run) worked(e end) time.Duration {
	if r.plain && e.attempt == 1 { // nothing but the run has passed since its start, and that is at hand, where the table of run times is not
		return e.at.Sub(r.k.StartedAt(e.task))
	}
	return r.Workload.Run[e.task]
}

// workDone returns the true work of a running task done by now, at reference speed, all kept attempts included.
func (r *run) workDone(now sched.Time, t sched.TaskID) time.Duration {
	kept := r.keptOf(t)
	held := now.Sub(r.k.StartedAt(t)) - r.staging(t) - r.overheadOf(t, r.k.Attempt(t))
	if held <= 0 {
		return kept
	}
	whole := r.runOn(t, r.k.Placements(t))
	if whole <= 0 {
		return r.Workload.Run[t]
	}
	if whole == r.Workload.Run[t] {
		return min(kept+held, r.Workload.Run[t])
	}
	return min(kept+sched.MulDiv(held, int64(r.Workload.Run[t]), int64(whole), false), r.Workload.Run[t])
}

// stopped carries an order to stop out at once.
func (r *run) stopped(now sched.Time, c *sched.Command) sched.Event {
	t := c.Task
	held := now.Sub(r.k.StartedAt(t))
	ev := sched.Event{Kind: sched.Stopped, Task: t, Attempt: c.Attempt, Node: sched.NoNode, Done: r.keptOf(t)}
	lost := r.lost[t] == c.Attempt // a node of it: that may be up again by now
	switch {
	case lost: // losses has counted it
	case r.Restart:
		ev.Done = 0
		r.lose(t, held)
	default:
		wasted := r.wasted(t, held)
		r.lose(t, wasted)
		ev.Done = r.workDone(now, t)
		if r.KillAtEstimate {
			est := r.estimateOn(t, r.k.Placements(t))
			r.spent[t] = allowance{r.spent[t].on(est) + max(held-wasted-r.staging(t), 0), est}
		}
		if r.kept == nil {
			r.kept = make([]keptWork, len(r.tb.Tasks))
		}
		r.kept[t] = keptWork{ev.Done, r.kept[t].held + held - wasted}
	}
	if !lost && r.Overhead > 0 {
		r.paying[t] = c.Attempt + 1
	}
	return ev
}

// losses counts the work that the loss of a node destroys. An attempt whose end is told in the same batch, before it, loses nothing.
func (r *run) losses(n sched.NodeID, now sched.Time) {
	if r.stager != nil {
		defer r.stager.lost(n)
	}
	for t := range r.k.RunningTasks() { // none is on a node that is down already; on a drained one there may be
		if r.lost[t] != r.k.Attempt(t) && slices.ContainsFunc(r.k.Placements(t), func(p sched.Placement) bool { return p.Node == n }) &&
			!slices.ContainsFunc(r.in, func(e sched.Event) bool { return e.Kind <= sched.Stopped && e.Task == t }) {
			r.lost[t] = r.k.Attempt(t) // a gang that loses a second node loses nothing more
			if r.m == nil || r.m.saver == nil {
				r.lose(t, now.Sub(r.k.StartedAt(t)))
			} else if kept := r.m.saver.failed(now, t); kept > r.k.Kept(t) {
				r.in = append(r.in, sched.Event{Kind: sched.CheckpointDone, Task: t, Attempt: r.k.Attempt(t), Node: sched.NoNode, Done: kept, Value: int64(r.Checkpoint.Cost)})
			}
		}
	}
}

func (r *run) lose(t sched.TaskID, held time.Duration) {
	d := r.tb.DemandOf(t)
	r.lostGPU += held.Seconds() * float64(d.GPUTotal()) / sched.Whole
	r.lostCPU += held.Seconds() * float64(d.CPUTotal()) / 1000
}
