package sim

import (
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// saver knows what running tasks have done and saved. Nothing happens at a checkpoint that nobody looks at, so checkpoints are not simulated one by
// one: between two storage outages the k-th of an attempt that works from b on ends at b + k (Every + Cost), and what was saved by a time follows. They are told
// as they happen to a policy that is a sched.CheckpointWatcher; for the others what is saved is told where it comes to count, before the
// loss of the node.
type saver struct {
	m             *models
	c             Checkpoint
	every         time.Duration // 0: by rule
	watched       bool
	works         []work  // by task; nil until one starts
	saveGPU, load float64 // GPU-seconds held for checkpoints, and for restoring
}

// work is the present attempt of a task, in time on its node: done and saved of what it had to do, by the instant pos, from which on it works again.
type work struct {
	attempt  int32
	stopping bool          // it saves before it stops
	begins   sched.Time    // after its staging: it restores, then works
	starts   sched.Time    // to work
	whole    time.Duration // of all of the task
	left     time.Duration // to do when it started
	every    time.Duration // between checkpoints; 0: none
	pos      sched.Time
	done     time.Duration
	saved    time.Duration
	was      time.Duration // what was saved before the checkpoint that ends at pos, while that is in the future
	told     sched.Time    // when its next checkpoint is told
	end      sched.Time    // its scheduled end
	fails    sched.Time    // by itself, unless it has ended
}

func newSaver(m *models, c *Checkpoint) *saver {
	v := &saver{m: m, c: *c}
	v.every, _ = c.Every.fixed()
	p := m.r.Policy
	if e, ok := p.(*elastic); ok {
		p = e.Policy
	}
	if w, ok := p.(sched.CheckpointWatcher); ok {
		v.watched = w.WatchesCheckpoints()
	}
	return v
}

// interval returns the time between checkpoints of an attempt.
func (v *saver) interval(on []sched.Placement) time.Duration {
	if v.every > 0 || v.c.Every == never {
		return v.every
	}
	nodes := 0
	for i, p := range on {
		fresh := 1
		for _, q := range on[:i] {
			if q.Node == p.Node {
				fresh = 0
			}
		}
		nodes += fresh
	}
	rate := 0.0
	if v.c.MTBF > 0 {
		rate = float64(nodes) / float64(v.c.MTBF)
	} else if b := v.m.breaking; b != nil {
		rate = b.rate(nodes)
	}
	return v.c.optimum(rate)
}

// begin takes in the start of an attempt that works for left, of the whole's time on these nodes, after its staging and overhead, and returns
// how long it will hold its room if nothing goes wrong.
func (v *saver) begin(now sched.Time, c *sched.Command, whole, left, staging, overhead time.Duration) time.Duration {
	t := c.Task
	if v.works == nil {
		v.works = make([]work, len(v.m.r.tb.Tasks))
	}
	w := &v.works[t]
	*w = work{attempt: c.Attempt, begins: now.Add(staging), whole: whole, left: left, every: v.interval(c.On), told: sched.Never, fails: sched.Never}
	w.starts = w.begins.Add(overhead)
	if c.Attempt > 1 {
		if v.m.storage != nil && v.m.r.keptOf(t) > 0 {
			w.starts = v.m.storage.clear(w.starts, v.c.Restart)
		}
		w.starts = w.starts.Add(v.c.Restart)
	}
	w.pos = w.starts
	if v.watched {
		if d := w.starts.Sub(w.begins); d > 0 {
			v.m.later(due{at: w.starts, task: t, attempt: c.Attempt, kind: sched.Started, value: int64(d)})
		}
		v.tellNext(t, w)
	}
	w.end = v.finish(w)
	return w.end.Sub(now)
}

// step returns when the next checkpoint after pos begins and ends and whether it saves; more is false where the attempt ends before.
func (v *saver) step(w *work) (begins, ends sched.Time, ok, more bool) {
	if w.every <= 0 || w.left-w.done <= w.every {
		return 0, 0, false, false
	}
	begins, ends, ok = v.one(w.pos.Add(w.every))
	return begins, ends, ok, true
}

// one returns when a checkpoint ends that begins at a time, and whether it saves.
func (v *saver) one(at sched.Time) (begins, ends sched.Time, ok bool) {
	s := v.m.storage
	if s == nil {
		return at, at.Add(v.c.Cost), true
	}
	free := s.clear(at, v.c.Cost)
	if v.c.Outage == "wait" {
		return at, free.Add(v.c.Cost), true
	}
	return at, at.Add(v.c.Cost), free == at
}

// advance moves pos to the end of the last checkpoint that ends by a time.
func (v *saver) advance(w *work, until sched.Time) {
	for {
		_, ends, ok, more := v.step(w)
		if !more || ends > until {
			return
		}
		// Many at once, up to the next outage.
		period, to := w.every+v.c.Cost, until
		if s := v.m.storage; s != nil {
			if x := s.next(w.pos); x.from <= w.pos {
				to = w.pos
			} else {
				to = min(to, x.from)
			}
		}
		n := int64((w.left - w.done - 1) / w.every)
		if to != sched.Never {
			n = min(n, int64(to.Sub(w.pos)/period))
		}
		if n > 0 {
			if w.pos = w.pos.Add(time.Duration(n) * period); n > int64(sched.Never)/int64(period) {
				w.pos = sched.Never
			}
			w.done += time.Duration(n) * w.every
			w.saved = w.done
			continue
		}
		w.pos = ends
		if w.done += w.every; ok {
			w.saved = w.done
		}
	}
}

// at returns what the attempt has done by now, and what of it is saved.
func (v *saver) at(w *work, now sched.Time) (done, saved time.Duration) {
	v.advance(w, now)
	if now < w.pos { // it saves on order, or restores
		return w.done, w.was
	}
	d := now.Sub(w.pos)
	if w.every > 0 && w.left-w.done > w.every {
		d = min(d, w.every)
	}
	return min(w.done+d, w.left), w.saved
}

// finish returns when the attempt ends if nothing goes wrong.
func (v *saver) finish(w *work) sched.Time {
	last := *w
	v.advance(&last, sched.Never)
	return last.pos.Add(last.left - last.done)
}

// tellNext schedules the report of the next checkpoint that saves.
func (v *saver) tellNext(t sched.TaskID, w *work) {
	w.told = sched.Never
	for next := *w; ; {
		begins, ends, ok, more := v.step(&next)
		if !more {
			return
		}
		if ok {
			w.told = ends
			v.m.later(due{at: ends, task: t, attempt: w.attempt, kind: sched.CheckpointDone, value: int64(ends.Sub(begins))})
			return
		}
		next.pos, next.done = ends, next.done+next.every
	}
}

// report tells what is due, if it is still true.
func (v *saver) report(now sched.Time, d due) {
	r, w := v.m.r, &v.works[d.task]
	ph := r.k.Phase(d.task)
	if w.attempt != d.attempt || r.k.Attempt(d.task) != d.attempt || ph != sched.Running && ph != sched.Stopping {
		return
	}
	if r.window != nil && r.window.endAt[d.task] < d.at {
		return // it has ended before, which is told in this batch
	}
	switch d.kind {
	case sched.Started:
		if w.stopping {
			return
		}
		*r.fact() = sched.Event{Kind: sched.Started, Task: d.task, Attempt: d.attempt, Node: sched.NoNode, Value: d.value}
	case sched.CheckpointDone:
		if w.stopping || !d.ordered && w.told != d.at {
			return
		}
		_, saved := v.at(w, d.at)
		*r.fact() = sched.Event{Kind: sched.CheckpointDone, Task: d.task, Attempt: d.attempt, Node: sched.NoNode, Done: v.workOf(d.task, w, saved), Value: d.value}
		if v.watched {
			v.tellNext(d.task, w)
		}
	case sched.Stopped:
		if r.lost[d.task] == d.attempt { // while it saved: that is booked
			*r.fact() = sched.Event{Kind: sched.Stopped, Task: d.task, Attempt: d.attempt, Node: sched.NoNode, Done: r.keptOf(d.task)}
		} else if w.stopping && w.pos == d.at {
			*r.fact() = v.stoppedAt(now, d.task, w, w.saved)
		}
	}
}

// workOf returns the work of a task, all attempts together, of which this one has saved so much.
func (v *saver) workOf(t sched.TaskID, w *work, saved time.Duration) time.Duration {
	r := v.m.r
	run, kept := r.Workload.Run[t], r.keptOf(t)
	switch {
	case w.whole <= 0:
		return run
	case w.whole == run:
		return min(kept+saved, run)
	}
	return min(kept+sched.MulDiv(saved, int64(run), int64(w.whole), false), run)
}

// order carries an order to save out. One that comes while the work is being saved, or restored, changes nothing.
func (v *saver) order(now sched.Time, c *sched.Command) {
	t, r := c.Task, v.m.r
	w := &v.works[t]
	if r.window != nil && r.window.endAt[t] < now {
		return // it has ended, which is told next
	}
	done, saved := v.at(w, now)
	if w.stopping || now < w.pos || done >= w.left {
		return
	}
	if begins, ends, ok, more := v.step(w); more && begins <= now { // one is being taken: it is told when it is done
		if ok && !v.watched {
			v.m.later(due{at: ends, task: t, attempt: c.Attempt, kind: sched.CheckpointDone, ordered: true, value: int64(ends.Sub(begins))})
		}
		return
	}
	_, ends, ok := v.one(now)
	w.was, w.done, w.pos = saved, done, ends
	if ok {
		w.saved = done
		v.m.later(due{at: ends, task: t, attempt: c.Attempt, kind: sched.CheckpointDone, ordered: true, value: int64(ends.Sub(now))})
	}
	if v.watched {
		v.tellNext(t, w)
	}
	at := v.finish(w)
	if w.fails < at {
		at = w.fails
		r.fates[t] = fate{sched.FailedAttempt, c.Attempt}
	}
	if at != w.end {
		w.end = at
		if r.window != nil {
			r.window.endAt[t] = at
		}
		r.cut = true // the end that was scheduled is none
		r.ends.push(end{at, t, c.Attempt})
	}
}

// stop carries an order to stop out: at once, which ok says, or after the work is saved.
func (v *saver) stop(now sched.Time, c *sched.Command) (ev sched.Event, ok bool) {
	t, w := c.Task, &v.works[c.Task]
	done, saved := v.at(w, now)
	at, good := now, false
	switch {
	case v.c.Stop == "lose" || done == saved:
	case now < w.pos: // it is saving on order
		at, good = w.pos, w.saved == w.done
	default:
		if begins, ends, ok, more := v.step(w); more && begins <= now {
			at, good = ends, ok
		} else if s := v.m.storage; s == nil || v.c.Outage == "wait" || s.clear(now, 0) == now { // else there is nobody to save with
			_, at, good = v.one(now)
		}
	}
	if good {
		w.was, w.saved = saved, done
	} else {
		w.was, w.saved = saved, saved
	}
	w.done, w.pos, w.every, w.stopping = done, at, 0, true
	if at == now {
		return v.stoppedAt(now, t, w, w.saved), true
	}
	v.m.later(due{at: at, task: t, attempt: c.Attempt, kind: sched.Stopped})
	return ev, false
}

// stoppedAt is the report of an attempt that has stopped on order, with what it saved.
func (v *saver) stoppedAt(now sched.Time, t sched.TaskID, w *work, saved time.Duration) sched.Event {
	r := v.m.r
	v.over(now, w.begins, t, w, saved)
	if r.Overhead > 0 {
		r.paying[t] = w.attempt + 1
	}
	return sched.Event{Kind: sched.Stopped, Task: t, Attempt: w.attempt, Node: sched.NoNode, Done: r.keptOf(t)}
}

// over books the end of an attempt of which so much is kept: the rest of the time that it held its room since from is lost.
func (v *saver) over(now, from sched.Time, t sched.TaskID, w *work, saved time.Duration) {
	r := v.m.r
	v.spend(now, t, w)
	r.lose(t, max(now.Sub(from)-saved, 0))
	if saved <= 0 {
		return
	}
	if r.kept == nil {
		r.kept = make([]keptWork, len(r.tb.Tasks))
	}
	r.kept[t] = keptWork{v.workOf(t, w, saved), r.kept[t].held + saved}
}

// spend books what an attempt that ends now held for checkpoints and restoring.
func (v *saver) spend(now sched.Time, t sched.TaskID, w *work) {
	gpus := float64(v.m.r.tb.DemandOf(t).GPUTotal()) / sched.Whole
	v.load += gpus * max(min(now, w.starts).Sub(w.begins), 0).Seconds()
	if now > w.starts {
		done, _ := v.at(w, now)
		v.saveGPU += gpus * (now.Sub(w.starts) - done).Seconds()
	}
}

// failed books an attempt that fails or loses a node, and returns the work that is kept.
func (v *saver) failed(now sched.Time, t sched.TaskID) time.Duration {
	w := &v.works[t]
	_, saved := v.at(w, now)
	if w.stopping { // a gang that has lost a node need not go on with saving on the others
		v.m.later(due{at: now, task: t, attempt: w.attempt, kind: sched.Stopped})
	}
	v.over(now, v.m.r.k.StartedAt(t), t, w, saved)
	return v.m.r.keptOf(t)
}

// wasted returns how much of the time that the present attempt has held went into checkpoints, restoring and overhead.
func (v *saver) wasted(now sched.Time, t sched.TaskID) time.Duration {
	w := &v.works[t]
	done, _ := v.at(w, now)
	return max(now.Sub(w.begins)-done, 0)
}
