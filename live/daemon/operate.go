package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
)

// What an operator does: drain a node, set quotas, have failed tasks run again, watch what happens.

// mayOperate says whether somebody may do what concerns everybody.
func mayOperate(who Who) error {
	if who.UID != 0 && who.UID != uid() {
		return fmt.Errorf("%w: only the daemon's user and root may", ErrForbidden)
	}
	return nil
}

// Drain closes a node to new starts, or opens it again. What runs there runs on. "" is the only node.
func (d *Daemon) Drain(ctx context.Context, who Who, node string, on bool) error {
	if err := mayOperate(who); err != nil {
		return err
	}
	return d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		room, n := d.kernel.Room(), d.here()
		switch {
		case node != "" && node != room.Spec(n).Name:
			return nil, fmt.Errorf("%w: there is no node %q", ErrNotFound, node)
		case room.Up(n) != on: // it is as it should be
			return nil, nil
		case on:
			return []sched.Event{{Kind: sched.NodeDrain, Task: sched.Nobody, Node: n}}, nil
		}
		return []sched.Event{{Kind: sched.NodeUp, Task: sched.Nobody, Node: n}}, nil
	})
}

// Quota bounds what the running tasks of a tenant or a queue hold together, and how many they are. A bound that is nil is none.
type Quota struct {
	Tenant string   `json:"tenant,omitempty"`
	Queue  string   `json:"queue,omitempty"`
	CPU    *float64 `json:"cpu,omitempty"`  // cores
	GPUs   *float64 `json:"gpus,omitempty"` // shares as fractions
	Tasks  *int64   `json:"tasks,omitempty"`
}

// SetQuota sets the quota of a tenant or a queue; without bounds it is lifted.
func (d *Daemon) SetQuota(ctx context.Context, who Who, q Quota) error {
	if err := mayOperate(who); err != nil {
		return err
	}
	if (q.Tenant == "") == (q.Queue == "") {
		return fmt.Errorf("%w: a quota is of a tenant or of a queue", ErrBad)
	}
	milli := func(v *float64) (int64, error) {
		switch {
		case v == nil:
			return -1, nil
		case !(*v >= 0 && *v <= 1e9):
			return 0, fmt.Errorf("%w: a quota must be from 0 to 1e9", ErrBad)
		}
		return int64(*v*1000 + 0.5), nil
	}
	cpu, err := milli(q.CPU)
	if err != nil {
		return err
	}
	gpu, err := milli(q.GPUs)
	if err != nil {
		return err
	}
	tasks := int64(0)
	if q.Tasks != nil {
		if tasks = *q.Tasks; tasks < 1 || tasks > maxOpen {
			return fmt.Errorf("%w: a quota of tasks must be from 1 to %d", ErrBad, maxOpen)
		}
	}
	return d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		if d.scaling.of(q.Queue) != nil {
			if q.Tasks != nil {
				return nil, fmt.Errorf("%w: queue %q scales its workers itself", ErrConflict, q.Queue)
			}
			tasks = d.quotas[[2]string{"", q.Queue}].Tasks
		}
		e := sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: &sched.Quota{Tenant: q.Tenant, Queue: q.Queue, CPU: cpu, GPUMilli: gpu, Tasks: tasks}}}
		d.noteQuota(&e)
		return []sched.Event{e}, nil
	})
}

// noteQuota keeps which quotas are in force. It is called under mu, and while the state is brought back.
func (d *Daemon) noteQuota(e *sched.Event) {
	q := *e.More.Quota
	key := [2]string{q.Tenant, q.Queue}
	if !q.Bounds() {
		delete(d.quotas, key)
		return
	}
	d.quotas[key] = q
}

// Quotas returns the quotas in force, tenants' before queues', by name.
func (d *Daemon) Quotas() []Quota {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := []Quota{}
	for _, k := range d.quotaKeys() {
		out = append(out, quotaView(d.quotas[k]))
	}
	return out
}

// quotaKeys returns the keys of the quotas in the order in which they are shown.
func (d *Daemon) quotaKeys() [][2]string {
	return slices.SortedFunc(maps.Keys(d.quotas), func(a, b [2]string) int { return slices.Compare([]string{a[1], a[0]}, []string{b[1], b[0]}) })
}

func quotaView(q sched.Quota) Quota {
	v := Quota{Tenant: q.Tenant, Queue: q.Queue}
	bound := func(milli int64) *float64 {
		if milli < 0 {
			return nil
		}
		f := float64(milli) / 1000
		return &f
	}
	v.CPU, v.GPUs = bound(q.CPU), bound(q.GPUMilli)
	if q.Tasks > 0 {
		v.Tasks = &q.Tasks
	}
	return v
}

// Retry has those of the tasks that failed, or were dropped, run again: in a new job for each of theirs, with the dependencies among them.
// Each stays its owner's, whoever asks for it. It returns the new jobs.
func (d *Daemon) Retry(ctx context.Context, who Who, tasks []sched.TaskID) ([]sched.JobID, error) {
	again := map[sched.JobID][]sched.TaskID{} // by the workflow
	after := map[sched.TaskID][]string{}      // predecessors that run again too
	var order []sched.JobID
	d.mu.RLock()
	in := map[sched.TaskID]bool{}
	for _, t := range tasks {
		if err := d.may(who, t); err != nil {
			d.mu.RUnlock()
			return nil, err
		}
		if ph := d.kernel.Phase(t); ph.Over() && ph != sched.Done && !in[t] {
			id := d.workflow(t).ID
			if again[id] == nil {
				order = append(order, id)
			}
			again[id] = append(again[id], t)
			in[t] = true
		}
	}
	for t := range in {
		for p := range d.kernel.Preds(t) {
			if in[p] {
				after[t] = append(after[t], d.book.tb.TaskNames.At(int(p)))
			}
		}
	}
	d.mu.RUnlock()
	if len(order) == 0 {
		return nil, fmt.Errorf("%w: none of them has failed or was dropped", ErrConflict)
	}
	var jobs []*job.Job
	var owners []Who
	for _, id := range order {
		old, owner, _, err := d.specs.job(d, d.firstOf(id))
		if err != nil {
			return nil, err
		}
		j := *old
		j.Tasks, j.Every, j.Recurs = nil, "", 0
		for _, t := range again[id] {
			task, err := d.specs.task(d, t)
			if err != nil {
				return nil, err
			}
			fresh := *task
			fresh.After = after[t]
			j.Tasks = append(j.Tasks, fresh)
		}
		jobs, owners = append(jobs, &j), append(owners, Who{owner})
	}
	return d.submit(ctx, owners, jobs...)
}

func (d *Daemon) firstOf(id sched.JobID) sched.TaskID {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.jobs[id].First
}

// Happening is one fact or order, for people and programs that watch.
type Happening struct {
	Batch   int64   `json:"batch"`
	TimeS   float64 `json:"time_s"`
	What    string  `json:"what"` // the fact's name, or start, stop, ... of an order
	Order   bool    `json:"order,omitempty"`
	Task    string  `json:"task,omitempty"`
	Tasks   int32   `json:"tasks,omitempty"` // of an arrived job
	Attempt int32   `json:"attempt,omitempty"`
	Name    string  `json:"name,omitempty"`
}

// Events writes what has happened from a batch on, one JSON object a line; with follow it goes on until the context ends.
func (d *Daemon) Events(ctx context.Context, from int64, follow bool, w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for {
		d.mu.RLock()
		changed := d.changed
		d.mu.RUnlock()
		for b, err := range d.store.Batches(ctx, from) {
			if err != nil {
				return err
			}
			var r batchRecord
			if err := json.Unmarshal(b.Facts, &r); err != nil {
				return fmt.Errorf("batch %d: %w", b.No, err)
			}
			for i := range r.In {
				f := &r.In[i]
				h := Happening{Batch: b.No, TimeS: b.At.Seconds(), What: f.K, Attempt: f.Attempt, Name: f.Name}
				if kind, ok := sched.EventKindOf(f.K); ok && aboutTask(kind) {
					if kind == sched.JobArrived {
						h.Tasks = f.N
					}
					if kind == sched.Started && f.Value > 0 { // told later than its start
						h.What = "restored"
					}
					h.Task = d.Names([]sched.TaskID{sched.TaskID(f.Task)})[0]
				}
				if err := enc.Encode(h); err != nil {
					return err
				}
			}
			for i := range r.Out {
				o := &r.Out[i]
				h := Happening{Batch: b.No, TimeS: b.At.Seconds(), What: o.K, Order: true, Attempt: o.Attempt}
				if kind, ok := orderKind(o.K); ok && kind != sched.Scale {
					h.Task = d.Names([]sched.TaskID{sched.TaskID(o.Task)})[0]
				}
				if err := enc.Encode(h); err != nil {
					return err
				}
			}
			from = b.No + 1
		}
		if !follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Second): // a broken connection shows at a write only; the context tells it too
		}
	}
}

// aboutTask reports whether a fact is about one task, or begins with one.
func aboutTask(k sched.EventKind) bool {
	switch k {
	case sched.NodeDown, sched.NodeUp, sched.NodeProfile, sched.NodeDrain, sched.DependencyUp, sched.DependencyDown, sched.QuotaSet, sched.PolicySet, sched.Wake:
		return false
	}
	return true
}
