package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
)

// Who asks for something, as the kernel of the machine says.
type Who struct{ UID uint32 }

// Errors of requests; they are wrapped in ones that say more.
var (
	ErrNotFound  = errors.New("not found")
	ErrForbidden = errors.New("not yours")
	ErrConflict  = errors.New("not possible now")
	ErrBad       = errors.New("bad request")
	// ErrUnavailable is wrapped by refusals that are the daemon's fault and may pass.
	ErrUnavailable = errors.New("not now")
)

// maxOpen bounds the tasks that are not over.
const maxOpen = 1_000_000

// Submit accepts jobs, all or none, and returns their ids. When it returns without an error they are in the state file.
func (d *Daemon) Submit(ctx context.Context, who Who, jobs ...*job.Job) ([]sched.JobID, error) {
	for _, j := range jobs {
		if j.Recurs != 0 {
			return nil, fmt.Errorf("%w: recurs is set by the daemon", ErrBad)
		}
	}
	return d.submit(ctx, slices.Repeat([]Who{who}, len(jobs)), jobs...)
}

// submit accepts jobs, each in the name of its own owner, whoever has them submitted: who runs a job again does not run it himself.
func (d *Daemon) submit(ctx context.Context, owners []Who, jobs ...*job.Job) ([]sched.JobID, error) {
	if uid() != 0 { // their jobs would run as the daemon's user
		for i := range owners {
			if owners[i].UID != 0 && owners[i].UID != uid() {
				return nil, fmt.Errorf("%w: this daemon is not root's, so it runs its own user's jobs only", ErrForbidden)
			}
			owners[i].UID = uid()
		}
	}
	specs := make([][]byte, len(jobs))
	for i, j := range jobs {
		if j.To > 0 && len(jobs) > 1 {
			return nil, fmt.Errorf("%w: an addition to a workflow is submitted by itself", ErrBad)
		}
		if err := d.admit(j); err != nil {
			return nil, err
		}
		var err error
		if jobs[i], err = d.inherit(j); err != nil {
			return nil, err
		}
		if specs[i], err = json.Marshal(jobs[i]); err != nil {
			return nil, err
		}
	}
	ids := make([]sched.JobID, len(jobs))
	tasks, names := 0, 0
	for _, j := range jobs {
		tasks += len(j.Tasks)
		for i := range j.Tasks {
			names += len(j.Tasks[i].ID)
		}
	}
	err := d.ask(ctx, func(now sched.Time) ([]sched.Event, error) {
		if open := d.kernel.Known() - d.kernel.Over(); open+tasks > maxOpen {
			return nil, fmt.Errorf("%w: the queue is full: %d tasks are open, and there may be %d", ErrUnavailable, open, maxOpen)
		}
		if known := len(d.book.tb.Tasks); known+tasks > math.MaxInt32 || d.book.names+names > math.MaxUint32 {
			return nil, fmt.Errorf("%w: the list of tasks is full", ErrUnavailable)
		}
		var facts, edges []sched.Event
		for i, j := range jobs {
			if j.Recurs > 0 && d.recurring[sched.JobID(j.Recurs-1)] == nil {
				return nil, errEnded
			}
			if j.To > 0 {
				var err error
				if edges, err = d.joins(owners[i], j); err != nil {
					return nil, err
				}
				if len(j.Tasks) == 0 {
					ids[i] = d.jobs[j.To-1].Of
					return edges, nil
				}
			}
			id, first, err := d.book.add(j, now)
			if err != nil {
				return nil, err
			}
			name := d.book.tb.JobName.At(int(id))
			owner := owners[i].UID
			if j.To > 0 {
				owner = d.jobs[j.To-1].UID
			}
			d.accept(Job{ID: id, First: first, Tasks: int32(len(j.Tasks)), UID: owner, Submit: now, Name: name}, j)
			ids[i] = d.jobs[id].Of
			d.newJobs = append(d.newJobs, store.Job{ID: id, First: first, Tasks: int32(len(j.Tasks)), UID: owner, Submit: now, Name: name, Spec: specs[i]})
			facts = append(facts, sched.Event{Kind: sched.JobArrived, Task: first, N: int32(len(j.Tasks)), Node: sched.NoNode})
		}
		return append(facts, edges...), nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// admit says what of a job this machine could never hold.
func (d *Daemon) admit(j *job.Job) error {
	if err := j.Expand(); err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	if j.Every != "" {
		if _, err := nextRelease(j.Every, time.Now()); err != nil {
			return fmt.Errorf("%w: %w", ErrBad, err)
		}
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	nodes := []sched.NodeSpec{*d.kernel.Room().Spec(d.here())}
	for i := range j.Tasks {
		dem, err := j.Tasks[i].Demand()
		if err != nil {
			return fmt.Errorf("%w: task %s: %w", ErrBad, j.Tasks[i].ID, err)
		}
		if !sched.CouldEverFit(nodes, &dem) {
			text := fmt.Sprintf("task %s asks for %s, which this machine could not hold if it were empty", j.Tasks[i].ID, dem.String())
			plain := dem
			if plain.Labels, plain.NotLabels, plain.Tolerations = nil, nil, []sched.Toleration{{Exists: true}}; sched.CouldEverFit(nodes, &plain) {
				text += ": " + wrongKind(&nodes[0], &dem)
			}
			if d.unfit && sched.CouldEverFit([]sched.NodeSpec{d.cfg.Node}, &dem) {
				text += ". It offers more once nothing runs: the daemon was started with what is not in force yet (`schedlab live nodes`)"
			}
			return fmt.Errorf("%w: %s", ErrBad, text)
		}
	}
	return nil
}

// Action is what can be done to tasks.
type Action string

// The actions.
const (
	Cancel  Action = "cancel"  // stopped where they run, and dropped with all that come after
	Hold    Action = "hold"    // not started until released; what runs runs on
	Release Action = "release" // from a hold
	Preempt Action = "preempt" // stopped where they run, and ready again
)

// Act does something to tasks of the asker's, and returns those it was done to. Cancel and Preempt return when it has really happened.
func (d *Daemon) Act(ctx context.Context, who Who, what Action, tasks []sched.TaskID) ([]sched.TaskID, error) {
	var done []sched.TaskID
	attempt := map[sched.TaskID]int32{}
	err := d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		var facts []sched.Event
		for _, t := range tasks {
			if err := d.may(who, t); err != nil {
				return nil, err
			}
		}
		for _, t := range tasks {
			e := sched.Event{Task: t, Node: sched.NoNode}
			phase := d.kernel.Phase(t)
			running := phase == sched.Running || phase == sched.Stopping
			switch what {
			case Cancel:
				if phase.Over() {
					continue
				}
				e.Kind = sched.Cancelled
				d.stopWhy[t] = reasonCancelled
			case Hold:
				if phase.Over() || d.kernel.OnHold(t) {
					continue
				}
				e.Kind = sched.Hold
			case Release:
				if phase.Over() || !d.kernel.OnHold(t) {
					continue
				}
				e.Kind = sched.Release
			case Preempt:
				if !running {
					continue
				}
				attempt[t] = d.kernel.Attempt(t)
				done = append(done, t)
				continue
			default:
				return nil, fmt.Errorf("%w: unknown action %q", ErrBad, what)
			}
			done = append(done, t)
			facts = append(facts, e)
		}
		return facts, nil
	})
	if err != nil {
		return nil, err
	}
	switch what {
	case Cancel:
		err = d.await(ctx, done, func(t sched.TaskID) bool { return d.kernel.Phase(t).Over() })
	case Preempt:
		for t, n := range attempt {
			grace := d.grace(t)
			for !d.runner.Stop(t, n, local.Stop{Reason: reasonPreempted, Grace: grace, Save: true}) && d.runs(t, n) { // between two tries of the attempt
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
		err = d.await(ctx, done, func(t sched.TaskID) bool {
			return d.kernel.Attempt(t) != attempt[t] || d.kernel.Phase(t) != sched.Running && d.kernel.Phase(t) != sched.Stopping
		})
	}
	return done, err
}

// runs reports whether an attempt is still to end, as far as is known.
func (d *Daemon) runs(t sched.TaskID, attempt int32) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.kernel.Attempt(t) == attempt && d.kernel.Phase(t) == sched.Running && d.ended[attemptKey{t, attempt}] == nil
}

// may says whether somebody may act on a task. It is called under mu.
func (d *Daemon) may(who Who, t sched.TaskID) error {
	if t < 0 || int(t) >= d.kernel.Known() {
		return fmt.Errorf("%w: there is no such task", ErrNotFound)
	}
	if owner := d.jobs[d.book.tb.Tasks[t].Job].UID; who.UID != 0 && who.UID != owner {
		return fmt.Errorf("%w: task %s", ErrForbidden, d.name(t))
	}
	return nil
}

// await waits until ok has held for each of the tasks, for one after the other. ok is called under mu.
func (d *Daemon) await(ctx context.Context, tasks []sched.TaskID, ok func(sched.TaskID) bool) error {
	for {
		d.mu.RLock()
		changed := d.changed
		for len(tasks) > 0 && ok(tasks[0]) {
			tasks = tasks[1:]
		}
		d.mu.RUnlock()
		if len(tasks) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Update replaces the run-time estimate of tasks that are not over.
func (d *Daemon) Update(ctx context.Context, who Who, tasks []sched.TaskID, estimate time.Duration) ([]sched.TaskID, error) {
	if estimate < 0 {
		return nil, fmt.Errorf("%w: a negative estimate", ErrBad)
	}
	var done []sched.TaskID
	err := d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		var facts []sched.Event
		for _, t := range tasks {
			if err := d.may(who, t); err != nil {
				return nil, err
			}
			if !d.kernel.Phase(t).Over() {
				done = append(done, t)
				facts = append(facts, sched.Event{Kind: sched.Updated, Task: t, Value: int64(estimate), Node: sched.NoNode})
			}
		}
		return facts, nil
	})
	return done, err
}

// Policy returns the policy in force.
func (d *Daemon) Policy() string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.policy
}

// SetPolicy changes the policy while everything runs on. Only root and the daemon's own user may.
func (d *Daemon) SetPolicy(ctx context.Context, who Who, name string) error {
	if err := mayOperate(who); err != nil {
		return err
	}
	p, err := d.cfg.Build(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	return d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		return []sched.Event{{Kind: sched.PolicySet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Policy: named{p, name}, Name: name}}}, nil
	})
}

// Ready reports whether the daemon decides and writes: an empty request goes through the loop.
func (d *Daemon) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return d.ask(ctx, func(sched.Time) ([]sched.Event, error) { return nil, nil })
}

// Wait waits until tasks are over.
func (d *Daemon) Wait(ctx context.Context, tasks []sched.TaskID) error {
	return d.await(ctx, tasks, func(t sched.TaskID) bool { return d.kernel.Phase(t).Over() })
}
