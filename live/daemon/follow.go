package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
)

// What the kernel was told and what it ordered, for a program that makes the same history of it elsewhere: a line of JSON each, first one
// with the beginning.

// recordLine is a line. Exactly one of its parts is there: the beginning, a batch, or the time.
type recordLine struct {
	Begin *Beginning      `json:"begin,omitempty"`
	Batch *int64          `json:"batch,omitempty"`
	AtNS  sched.Time      `json:"at_ns"` // of the batch; else the time now, which is told while nothing happens
	Facts json.RawMessage `json:"facts,omitempty"`
	Jobs  []arrival       `json:"jobs,omitempty"` // that arrive in the batch
}

// arrival is an arriving job.
type arrival struct {
	First  sched.TaskID `json:"first"`
	Submit sched.Time   `json:"submit_ns"`
	Job    job.Job      `json:"job"`          // without what it runs
	To     int32        `json:"to,omitempty"` // the workflow that it is an addition to
}

// Beginning is where a state began.
type Beginning struct {
	Epoch  time.Time        `json:"epoch"` // of all times; it tells one state from another
	Nodes  []sched.NodeSpec `json:"nodes"`
	Policy string           `json:"policy"`
}

// beat is how often the time is told while nothing happens.
const beat = 250 * time.Millisecond

// Record writes facts, orders and arriving jobs from a batch on, for a Follower; with follow it goes on until the context ends or the daemon
// does.
func (d *Daemon) Record(ctx context.Context, from int64, follow bool, w io.Writer) error {
	d.mu.RLock()
	begin := &Beginning{d.first.Epoch, d.first.Nodes, d.first.Policy}
	d.mu.RUnlock()
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	if err := enc.Encode(recordLine{Begin: begin}); err != nil {
		return err
	}
	for more := true; ; {
		d.mu.RLock()
		changed, now := d.changed, max(d.loop.Now(), d.kernel.Now())
		d.mu.RUnlock()
		if more {
			var err error
			if from, err = d.recordBatches(ctx, from, enc); err != nil {
				return err
			}
		}
		if err := errors.Join(enc.Encode(recordLine{AtNS: now}), out.Flush()); err != nil {
			return err
		}
		if !follow {
			return nil
		}
		more = false
		select {
		case <-changed:
			more = true
		case <-ctx.Done():
			return nil
		case <-d.stopping:
			return nil
		case <-time.After(beat):
		}
	}
}

// recordBatches writes the batches from one on and returns the next one.
func (d *Daemon) recordBatches(ctx context.Context, from int64, enc *json.Encoder) (int64, error) {
	for b, err := range d.store.Batches(ctx, from) {
		if err != nil {
			return from, err
		}
		l := recordLine{Batch: &b.No, AtNS: b.At, Facts: b.Facts}
		if l.Jobs, err = d.arriving(ctx, b.Facts); err != nil {
			return from, fmt.Errorf("batch %d: %w", b.No, err)
		}
		if err := enc.Encode(&l); err != nil {
			return from, err
		}
		from = b.No + 1
	}
	return from, nil
}

// arriving returns the jobs that arrive in a batch.
func (d *Daemon) arriving(ctx context.Context, facts []byte) ([]arrival, error) {
	var r batchRecord
	if err := json.Unmarshal(facts, &r); err != nil {
		return nil, err
	}
	var out []arrival
	for i := range r.In {
		if r.In[i].K != sched.JobArrived.String() {
			continue
		}
		stored, ok, err := d.store.JobOf(ctx, sched.TaskID(r.In[i].Task))
		if err == nil && !ok {
			err = fmt.Errorf("no job has task %d", r.In[i].Task)
		}
		if err != nil {
			return nil, err
		}
		var j job.Job
		if err := json.Unmarshal(stored.Spec, &j); err != nil {
			return nil, err
		}
		out = append(out, arrival{stored.First, stored.Submit, withoutCommands(&j), j.To})
	}
	return out, nil
}

// withoutCommands returns what the scheduler knows of an expanded job. Commands, folders and environments are their owner's business.
func withoutCommands(j *job.Job) job.Job {
	out := job.Job{Name: j.Name, Tenant: j.Tenant, Queue: j.Queue, Tasks: make([]job.Task, len(j.Tasks))}
	for i := range j.Tasks {
		t := j.Tasks[i]
		t.Command, t.Env, t.Dir, t.Checkpoint, t.GraceS = nil, nil, "", nil, nil
		out.Tasks[i] = t
	}
	return out
}

// Follower puts the history together that Daemon.Record writes. The table that it fills is the daemon's own.
type Follower struct {
	// Build builds the policy of a name.
	Build func(string) (sched.Policy, error)
	// Begin is called once, with the beginning and the table, which is empty; Grow around each change of the table; Batch with each batch; Time
	// with the time, while nothing happens. Grow may be nil.
	Begin func(*Beginning, *sched.Table)
	Grow  func(change func())
	Batch func(at sched.Time, in []sched.Event, out []sched.Command) error
	Time  func(sched.Time)

	begin *Beginning
	book  *book
	next  int64

	mu    sync.RWMutex
	of    []sched.JobID          // the workflow that each job was added to; itself where it was added to none
	grown map[sched.JobID]string // workflows to which something was added: their names
}

// ErrOtherState is returned, wrapped, where a daemon answers that has another state than the one before.
var ErrOtherState = errors.New("the daemon has another state than before")

// Next returns the batch from which Read wants to go on.
func (f *Follower) Next() int64 { return f.next }

// Read takes in lines until their end. It can be called again with what a later Record from Next on writes.
func (f *Follower) Read(r io.Reader) error {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	for {
		var l recordLine
		if err := dec.Decode(&l); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := f.take(&l); err != nil {
			return err
		}
	}
}

func (f *Follower) take(l *recordLine) error {
	switch {
	case l.Begin != nil && f.begin == nil:
		f.begin, f.book = l.Begin, newBook()
		f.Begin(l.Begin, f.book.tb)
		return nil
	case l.Begin != nil:
		if !l.Begin.Epoch.Equal(f.begin.Epoch) {
			return ErrOtherState
		}
		return nil
	case f.begin == nil:
		return errors.New("a record without its beginning")
	case l.Batch == nil:
		f.Time(l.AtNS)
		return nil
	case *l.Batch < f.next:
		return nil
	case *l.Batch > f.next:
		return fmt.Errorf("batch %d comes where batch %d is due", *l.Batch, f.next)
	}
	in, out, err := decode(l.Facts, f.Build)
	if err != nil {
		return fmt.Errorf("batch %d: %w", f.next, err)
	}
	if err := f.arrive(l.Jobs); err != nil {
		return fmt.Errorf("batch %d: %w", f.next, err)
	}
	f.next++
	return f.Batch(l.AtNS, in, out)
}

// arrive takes the batch's jobs into the table.
func (f *Follower) arrive(jobs []arrival) (err error) {
	add := func() {
		for i := range jobs {
			a := &jobs[i]
			id, first, e := f.book.add(&a.Job, a.Submit)
			if e == nil {
				f.noteOf(id, a.To)
			}
			if e == nil && first != a.First {
				e = fmt.Errorf("task %d arrives where task %d is due", a.First, first)
			}
			if e != nil {
				err = e
				return
			}
		}
	}
	switch {
	case len(jobs) == 0:
	case f.Grow == nil:
		add()
	default:
		f.Grow(add)
	}
	return err
}

// noteOf keeps which workflow a job belongs to.
func (f *Follower) noteOf(id sched.JobID, to int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := id
	if to > 0 && int(to) <= len(f.of) {
		of = f.of[to-1]
		if f.grown == nil {
			f.grown = map[sched.JobID]string{}
		}
		f.grown[of] = f.book.tb.JobName.At(int(of))
	}
	f.of = append(f.of, of)
}

// Workflow returns the workflow that a job was added to, and the name of that where something was added to it. It may be called while Read takes
// in lines.
func (f *Follower) Workflow(id sched.JobID) (of sched.JobID, name string, grown bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if int(id) < len(f.of) {
		id = f.of[id]
	}
	name, grown = f.grown[id]
	return id, name, grown
}

// Selector returns the task as the commands take it: 12, or 12/train in a job of several.
func (f *Follower) Selector(tb *sched.Table, t sched.TaskID) string {
	id := tb.Tasks[t].Job
	if of, _, grown := f.Workflow(id); grown {
		return strconv.Itoa(int(of)+1) + "/" + tb.TaskNames.At(int(t))
	}
	if (t == 0 || tb.Tasks[t-1].Job != id) && (int(t)+1 == len(tb.Tasks) || tb.Tasks[t+1].Job != id) {
		return strconv.Itoa(int(id) + 1)
	}
	return strconv.Itoa(int(id)+1) + "/" + tb.TaskNames.At(int(t))
}
