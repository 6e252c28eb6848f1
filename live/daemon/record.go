package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/journal"
)

// Export writes those of the tasks that are done as a native trace (csv or jsonl) with their true run times, so that the simulator can run
// them again: each run time is the work of the task, and not what else its attempts held room for. Dependencies on tasks that are left out
// are left out.
func (d *Daemon) Export(w io.Writer, tasks []sched.TaskID, format string) error {
	if format != "csv" && format != "jsonl" {
		return fmt.Errorf("%w: a trace is csv or jsonl, not %q", ErrBad, format)
	}
	wl, err := d.workload(tasks)
	if err != nil {
		return err
	}
	return traces.Write(w, wl, format)
}

func (d *Daemon) workload(tasks []sched.TaskID) (*traces.Workload, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	k, tb := d.kernel, d.book.tb
	b := traces.NewBuilder("live", "live")
	in := make(map[sched.TaskID]bool, len(tasks))
	for _, t := range tasks {
		in[t] = k.Phase(t) == sched.Done
	}
	for _, t := range tasks {
		if !in[t] {
			continue
		}
		class, dem := k.Class(t), k.Demand(t)
		run := d.work[t]
		if run == 0 { // what starting it and noticing its end took is part of what it cost
			run = d.outcome(t).Held
		}
		row := traces.Row{
			ID: tb.TaskNames.At(int(t)), Job: fmt.Sprint(int(d.workflow(t).ID) + 1), Kind: tb.Kinds[class.Kind], Tenant: tb.Tenants[class.Tenant],
			Queue: tb.Queues[class.Queue], Submit: tb.Tasks[t].Submit, Run: run, Estimate: k.Estimate(t), Need: dem.Need, Gang: dem.Gang,
			GPUTypes: dem.GPUTypes, Labels: dem.Labels, NotLabels: dem.NotLabels, Tolerations: dem.Tolerations, Priority: class.Priority, Retries: class.Retries,
			Criticality: class.Criticality, Deadline: class.RelDeadline, Backoff: class.Backoff,
		}
		for p := range k.Preds(t) {
			if in[p] {
				row.After = append(row.After, tb.TaskNames.At(int(p)))
			}
		}
		if err := b.Add(&row); err != nil {
			return nil, err
		}
	}
	if b.Len() == 0 {
		return nil, fmt.Errorf("%w: no task is done yet", ErrConflict)
	}
	return b.Build()
}

// Journal writes all facts and orders so far in the simulator's journal format, as they stand in the state file. Nothing is locked while w
// takes its time.
func (d *Daemon) Journal(ctx context.Context, w io.Writer) error {
	var ahead bytes.Buffer
	d.mu.RLock()
	tb := d.book.tb
	h := journal.Header{Policy: d.first.Policy, Config: d.cfg.Header, Nodes: d.first.Nodes}
	d.mu.RUnlock()
	jw, err := journal.NewWriter(&ahead, h, tb)
	if err != nil {
		return err
	}
	for b, err := range d.store.Batches(ctx, 0) {
		if err != nil {
			return err
		}
		in, out, err := decode(b.Facts, d.cfg.Build)
		if err != nil {
			return fmt.Errorf("batch %d: %w", b.No, err)
		}
		d.mu.RLock() // the table grows
		err = jw.Batch(b.At, in, out)
		d.mu.RUnlock()
		if err != nil {
			return err
		}
		if _, err := ahead.WriteTo(w); err != nil {
			return err
		}
	}
	d.mu.RLock()
	err = jw.Close()
	d.mu.RUnlock()
	if err != nil {
		return err
	}
	_, err = ahead.WriteTo(w)
	return err
}

// Log writes the log of a task's attempt to w: of the last one where attempt is 0. With follow it goes on until the task is over.
func (d *Daemon) Log(ctx context.Context, who Who, t sched.TaskID, attempt int32, follow bool, w io.Writer) error {
	d.mu.RLock()
	err := d.may(who, t)
	last := int32(0)
	if err == nil {
		last = d.kernel.Attempt(t)
	}
	name := d.name(t)
	d.mu.RUnlock()
	switch {
	case err != nil:
		return err
	case last > 0 && attempt <= last && d.runner.Removed(t):
		return fmt.Errorf("%w: the log of task %s was removed (live clean, serve --keep-logs)", ErrNotFound, name)
	case attempt > last || last == 0 && !follow:
		return fmt.Errorf("%w: task %s has had %d attempt(s)", ErrNotFound, name, last)
	}
	for n := attempt; ; {
		d.mu.RLock()
		over, now := d.kernel.Phase(t).Over(), d.kernel.Attempt(t)
		d.mu.RUnlock()
		if n == 0 {
			n = now
		}
		if n > 0 {
			if err := d.copyLog(ctx, t, n, follow, w); err != nil {
				return err
			}
		}
		if !follow || over || attempt != 0 {
			return nil
		}
		// The next attempt, if one comes.
		if err := d.await(ctx, []sched.TaskID{t}, func(t sched.TaskID) bool { return d.kernel.Phase(t).Over() || d.kernel.Attempt(t) > n }); err != nil {
			return err
		}
		d.mu.RLock()
		now = d.kernel.Attempt(t)
		d.mu.RUnlock()
		if now == n {
			return nil
		}
		n++
	}
}

// copyLog copies an attempt's log, with follow up to the end of the attempt.
func (d *Daemon) copyLog(ctx context.Context, t sched.TaskID, n int32, follow bool, w io.Writer) error {
	var log local.LogReader
	defer log.Close()
	for {
		d.mu.RLock()
		phase := d.kernel.Phase(t)
		over := d.kernel.Attempt(t) != n || phase != sched.Running && phase != sched.Stopping
		d.mu.RUnlock()
		if path := d.runner.LogPath(t, n); path != log.Path { // a try before it that is void has written nothing
			log.Close()
			log.Path = path
		}
		if log.Path != "" {
			if err := log.Copy(w); err != nil {
				return err
			}
		}
		if over || !follow {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
