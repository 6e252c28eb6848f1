package sim

// The usual batches, without models: arrivals, ends, and the stops of preemptions; and what the orders of a decision do.

import (
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// calm runs batches as the loop does, as long as they are made of arrivals, ends and wishes of the policy, at instants of their own, and of the stops that these
// cause; what is not so simple it leaves to the loop, and from time to time it lets the loop look after the run.
func (r *run) calm() error {
	for total := len(r.tb.Tasks); ; {
		at, alone := r.now, false
		if len(r.stops) > 0 {
			if r.batches&1023 == 0 || r.same >= r.maxSameInstant() {
				return nil
			}
			r.same++
			r.in, r.stops = r.stops, r.in[:0]
			for r.ends.next() == at {
				if e := r.ends.pop(); r.runs(e) {
					r.ended(e, r.fact())
				}
			}
			sched.SortBatch(r.in)
		} else {
			at = min(r.ends.next(), r.arrival)
			if wake, ok := r.k.NextWake(); ok {
				at = min(at, wake)
			}
			if r.cut && at == r.ends.next() && at != sched.Never && !r.runs(r.ends.top()) {
				r.ends.pop()
				continue
			}
			if at <= r.now || at > r.last || r.batches&1023 == 0 || r.next == total && r.k.Open() == 0 {
				return nil
			}
			r.now, r.same = at, 0
			r.series.until(at, &r.k.State)
			r.frag.until(at, &r.k.State)
			r.in = r.in[:0]
			if alone = r.plain && r.alone(at); !alone {
				for r.ends.next() == at {
					if e := r.ends.pop(); !r.cut || r.runs(e) {
						r.ended(e, r.fact())
					}
				}
			}
		}
		r.batches++
		if !alone {
			if r.ends.pulled {
				r.foresee()
			}
			if r.arrival <= at {
				r.arrive(at)
			}
			r.k.Step(at, r.in)
		}
		out := r.k.Orders()
		if r.Tap != nil {
			if err := r.Tap(at, r.in, out); err != nil {
				return err
			}
		}
		if r.Recorder != nil {
			if err := r.record(at, alone, out); err != nil {
				return err
			}
		}
		if len(out) > 0 {
			if r.Orders != nil {
				r.Orders(out)
			}
			r.carryOut(at, out)
		}
		for _, t := range r.k.Soon() { // what starts next: all misses of the cache at once
			r.seen += int64(r.Workload.Run[t]) + r.k.LookAt(t)
		}
	}
}

// alone takes the step of an instant in which nothing happens but that one task ends or one job of one task arrives, as in most: what is told alone need not be
// written down, but for Tap. It reports false, and has begun the batch at most, where it is otherwise.
func (r *run) alone(at sched.Time) bool {
	ends := r.ends.next() == at
	if ends == (r.arrival == at) {
		return false
	}
	if ends {
		e := r.ends.pop()
		if r.ends.next() == at || !r.light && e.attempt > 1 {
			r.ended(e, r.fact())
			return false
		}
		if r.ends.pulled {
			r.foresee()
		}
		if r.Tap != nil {
			r.ended(e, r.fact())
		} else if r.Recorder != nil {
			r.lone = lone{e.task, e.attempt, r.worked(e)}
		}
		r.k.StepFinished(at, e.task, e.attempt)
		return true
	}
	t, next := r.next, sched.Never
	if after := t + 1; after < len(r.tb.Tasks) {
		task := &r.tb.Tasks[after]
		if next = task.Submit; next == at || task.Job == r.tb.Tasks[t].Job {
			return false
		}
	}
	r.next, r.arrival = t+1, next
	if r.Tap != nil {
		r.fact().Set(sched.JobArrived, sched.TaskID(t), 1, 0, 0)
	} else if r.Recorder != nil {
		r.lone = lone{task: sched.TaskID(t)}
	}
	r.k.StepArrived(at, sched.TaskID(t))
	return true
}

// lone is a fact that was told alone: that an attempt of a task is done, after so much work; attempt 0: that the task is submitted.
type lone struct {
	task    sched.TaskID
	attempt int32
	done    time.Duration
}

// record tells the recorder of a batch.
func (r *run) record(at sched.Time, alone bool, out []sched.Command) error {
	switch f := &r.lone; {
	case !alone || r.Tap != nil: // the facts are written down
		return r.Recorder.Batch(at, r.in, out)
	case f.attempt == 0:
		return r.Recorder.Arrived(at, f.task, out)
	default:
		return r.Recorder.Finished(at, f.task, f.attempt, f.done, out)
	}
}

// foresee lets the kernel look at what the next ends are about.
func (r *run) foresee() {
	r.ends.pulled = false
	ends, soon := r.ends.soon(), r.soon[:0]
	for i := range ends { // some have been stopped: nothing comes of it
		soon = append(soon, ends[i].task)
	}
	r.soon = soon
	r.seen = r.k.Foresee(soon)
}

// arrive tells of the jobs that are submitted up to a time, task after task of one job together.
func (r *run) arrive(cut sched.Time) {
	for next := r.next; next < len(r.tb.Tasks); {
		first := &r.tb.Tasks[next]
		if first.Submit > cut {
			break
		}
		for next++; next < len(r.tb.Tasks); next++ {
			if t := &r.tb.Tasks[next]; t.Job != first.Job || t.Submit > cut {
				break
			}
		}
		r.fact().Set(sched.JobArrived, sched.TaskID(r.next), int32(next-r.next), 0, 0)
		r.next = next
	}
	r.arrival = r.submit(r.next)
}

// carryOut does what a decision orders.
func (r *run) carryOut(now sched.Time, out []sched.Command) {
	for i := range out {
		switch c := &out[i]; c.Kind {
		case sched.Start:
			switch {
			case c.Attempt == 1 && r.plain:
				r.acted = true
				r.ends.push(end{now.Add(r.Workload.Run[c.Task]), c.Task, 1})
			case r.light:
				r.ends.push(end{now.Add(r.Workload.Run[c.Task] - r.k.Kept(c.Task)), c.Task, c.Attempt})
			default:
				r.begin(now, c)
			}
		case sched.Stop:
			r.cut = true
			if r.light {
				r.halts = append(r.halts, c.Task)
				continue
			}
			if r.k.Attempt(c.Task) != c.Attempt || r.k.Phase(c.Task) != sched.Stopping {
				continue // the loss of its last node ended it in the same batch
			}
			r.acted = true
			if r.window != nil && r.window.over(c.Task, now, r.lost[c.Task] == c.Attempt) {
				continue // it had ended before the order: that is told
			}
			if r.m != nil && r.m.saver != nil && r.lost[c.Task] != c.Attempt {
				if ev, ok := r.m.saver.stop(now, c); ok {
					r.stops = append(r.stops, ev)
				}
				continue
			}
			r.stops = append(r.stops, r.stopped(now, c))
		case sched.Checkpoint:
			if r.m != nil && r.m.saver != nil {
				r.m.saver.order(now, c)
				continue
			}
			if r.light {
				r.halt(now)
				r.keepApart()
			}
			r.stops = append(r.stops, sched.Event{Kind: sched.CheckpointDone, Task: c.Task, Attempt: c.Attempt, Done: r.workDone(now, c.Task)})
		}
	}
	if len(r.halts) > 0 {
		r.halt(now)
	}
}

// halt reports the stops of light preemptions, in order: numbers are sorted faster than facts.
func (r *run) halt(now sched.Time) {
	inOrder(r.halts)
	for _, t := range r.halts {
		kept, began, run := r.k.Kept(t), r.k.StartedAt(t), r.Workload.Run[t]
		r.ends.drop(began.Add(run-kept), t)
		add(&r.stops).Set(sched.Stopped, t, 0, r.k.Attempt(t), min(kept+now.Sub(began), run))
	}
	r.halts = r.halts[:0]
	if r.ends.len() > 2*r.k.Running()+1024 { // of stopped attempts, mostly
		r.ends.prune(r.runs)
	}
}

// inOrder sorts tasks, mostly very few.
func inOrder(tasks []sched.TaskID) {
	if len(tasks) > 8 {
		slices.Sort(tasks)
		return
	}
	for i := 1; i < len(tasks); i++ {
		t, j := tasks[i], i
		for ; j > 0 && t < tasks[j-1]; j-- {
			tasks[j] = tasks[j-1]
		}
		tasks[j] = t
	}
}

// keepApart begins to keep what preempted tasks keep, where the kernel is told of other work as well: that is kept while they run.
func (r *run) keepApart() {
	r.light, r.kept = false, make([]keptWork, len(r.tb.Tasks))
	note := func(t sched.TaskID, work time.Duration) { r.kept[t] = keptWork{work, work} }
	for t := range sched.TaskID(r.next) {
		note(t, r.k.Kept(t))
	}
	for i := range r.stops { // it has not been told
		note(r.stops[i].Task, r.stops[i].Done)
	}
}

// submit returns when task t is submitted, Never behind the last.
func (r *run) submit(t int) sched.Time {
	if t < len(r.tb.Tasks) {
		return r.tb.Tasks[t].Submit
	}
	return sched.Never
}

// fact adds one to the batch, for the caller to write.
func (r *run) fact() *sched.Event { return add(&r.in) }

func add(facts *[]sched.Event) *sched.Event {
	f := *facts
	if n := len(f); n < cap(f) {
		f = f[:n+1]
	} else {
		f = append(f, sched.Event{})
	}
	*facts = f
	return &f[len(f)-1]
}
