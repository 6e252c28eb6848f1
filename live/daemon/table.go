package daemon

import (
	"fmt"
	"slices"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
)

// book is the kernel's table, which grows with each job.
type book struct {
	tb       *sched.Table
	classOf  map[sched.Class]sched.ClassID
	demandOf map[string]sched.DemandID // by the demand as Go prints it
	tenantOf map[string]sched.TenantID
	queueOf  map[string]sched.QueueID
	kindOf   map[string]sched.KindID
	names    int // bytes of the tasks' names
}

func newBook() *book {
	return &book{
		tb: &sched.Table{
			SuccOff: []int32{0}, PredOff: []int32{0}, Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
			Succ: []sched.TaskID{}, Pred: []sched.TaskID{},
		},
		classOf: map[sched.Class]sched.ClassID{}, demandOf: map[string]sched.DemandID{}, tenantOf: map[string]sched.TenantID{"": 0},
		queueOf: map[string]sched.QueueID{"": 0}, kindOf: map[string]sched.KindID{"": 0},
	}
}

func intern[ID ~int32](of map[string]ID, names *[]string, name string) ID {
	id, ok := of[name]
	if !ok {
		id = ID(len(*names))
		*names = append(*names, name)
		of[name] = id
	}
	return id
}

// add appends an expanded job's tasks.
func (b *book) add(j *job.Job, submit sched.Time) (sched.JobID, sched.TaskID, error) {
	tb := b.tb
	first, id := sched.TaskID(len(tb.Tasks)), sched.JobID(tb.Jobs)
	at := make(map[string]sched.TaskID, len(j.Tasks))
	classes := make([]sched.ClassID, len(j.Tasks))
	for i := range j.Tasks {
		t := &j.Tasks[i]
		at[t.ID] = first + sched.TaskID(i)
		d, err := t.Demand()
		if err != nil {
			return 0, 0, fmt.Errorf("task %s: %w", t.ID, err)
		}
		classes[i] = b.class(j, t, &d)
	}
	name := j.Name
	if name == "" && j.To > 0 && j.To <= tb.Jobs {
		name = tb.JobName.At(int(j.To) - 1)
	}
	if name == "" {
		name = j.Tasks[0].ID
	}
	if !tb.JobName.Append(name) {
		return 0, 0, fmt.Errorf("the list of names is full")
	}
	succ := make([][]sched.TaskID, len(j.Tasks))
	for i := range j.Tasks {
		t := &j.Tasks[i]
		if !tb.TaskNames.Append(t.ID) {
			return 0, 0, fmt.Errorf("the list of names is full")
		}
		b.names += len(t.ID)
		deadline := sched.Never
		if rel := tb.Classes[classes[i]].RelDeadline; rel > 0 {
			deadline = submit.Add(rel)
		}
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: submit, Job: id, Class: classes[i]})
		tb.SetDeadline(first+sched.TaskID(i), deadline)
		tb.Estimates = append(tb.Estimates, estimate(t))
		for _, name := range t.After {
			p, ours := at[name]
			if !ours { // of the workflow that this is added to: facts say so
				continue
			}
			succ[p-first] = append(succ[p-first], first+sched.TaskID(i))
			tb.Pred = append(tb.Pred, p)
		}
		slices.Sort(tb.Pred[tb.PredOff[len(tb.PredOff)-1]:])
		tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
	}
	for _, s := range succ {
		tb.Succ = append(tb.Succ, s...)
		tb.SuccOff = append(tb.SuccOff, int32(len(tb.Succ)))
	}
	tb.Jobs++
	return id, first, nil
}

func (b *book) class(j *job.Job, t *job.Task, d *sched.Demand) sched.ClassID {
	key := fmt.Sprintf("%+v", *d)
	demand, ok := b.demandOf[key]
	if !ok {
		demand = sched.DemandID(len(b.tb.Demands))
		b.tb.Demands = append(b.tb.Demands, *d)
		b.demandOf[key] = demand
	}
	c := sched.Class{
		Demand: demand, Kind: intern(b.kindOf, &b.tb.Kinds, t.Kind), Tenant: intern(b.tenantOf, &b.tb.Tenants, j.Tenant),
		Queue: intern(b.queueOf, &b.tb.Queues, j.Queue), Priority: t.Priority, Retries: t.Retries, Criticality: t.Criticality,
		RelDeadline: job.Seconds(t.DeadlineS), Backoff: backoff(t),
	}
	id, ok := b.classOf[c]
	if !ok {
		id = sched.ClassID(len(b.tb.Classes))
		b.tb.Classes = append(b.tb.Classes, c)
		b.classOf[c] = id
	}
	return id
}

// backoff is the wait before a first retry: a command that fails at once must not be started in a loop.
func backoff(t *job.Task) time.Duration {
	if t.BackoffS == 0 && t.Retries > 0 {
		return time.Second
	}
	return job.Seconds(t.BackoffS)
}

// unknownEstimate is what policies see of a task that says nothing of its run time: long enough that nothing is planned behind it lightly.
const unknownEstimate = time.Hour

func estimate(t *job.Task) time.Duration {
	switch {
	case t.EstimateS > 0:
		return job.Seconds(t.EstimateS)
	case t.LimitS > 0:
		return job.Seconds(t.LimitS)
	}
	return unknownEstimate
}
