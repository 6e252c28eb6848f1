package daemon

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// A job with `every` recurs: when its time has come, a copy of it is submitted for its owner, which recurs in its turn. What was missed
// while no daemon ran is made up once.

// recurrence is a chain of jobs that are copies of each other.
type recurrence struct {
	last sched.JobID // the newest of them
	next time.Time
}

// minEvery bounds how often a job may recur.
const minEvery = time.Second

// nextRelease returns when a job that was submitted at a time recurs.
func nextRelease(every string, submit time.Time) (time.Time, error) {
	if p, err := time.ParseDuration(every); err == nil {
		if p < minEvery {
			return time.Time{}, fmt.Errorf("every: %s is less than %s", every, minEvery)
		}
		return submit.Add(p), nil
	}
	next, err := traces.NextCron(every, submit)
	if err != nil {
		return time.Time{}, fmt.Errorf("every: neither a duration nor a cron line: %w", err)
	}
	return next, nil
}

// recurs notes that a job with `every` was accepted. It is called under mu, and while the state is brought back.
func (d *Daemon) recurs(id sched.JobID, j *job.Job, submit sched.Time) {
	if j.Every == "" {
		return
	}
	origin := sched.JobID(j.Recurs - 1)
	if j.Recurs == 0 {
		origin = id
	}
	if next, err := nextRelease(j.Every, d.loop.Epoch.Add(time.Duration(submit))); err == nil {
		d.recurring[origin] = &recurrence{id, next}
	}
}

// recurLoop submits the copies when their time has come.
func (d *Daemon) recurLoop(ctx context.Context) {
	for {
		wait := time.Hour
		now := time.Now()
		var due []sched.JobID
		d.mu.RLock()
		changed := d.changed
		for origin, r := range d.recurring {
			if over := r.next.Sub(now); over <= 0 {
				due = append(due, origin)
			} else {
				wait = min(wait, over)
			}
		}
		d.mu.RUnlock()
		for _, origin := range due {
			if err := d.recur(ctx, origin); err != nil && ctx.Err() == nil {
				d.log.Error("a recurring job could not be submitted", "job", origin+1, "err", err)
				wait = min(wait, time.Second)
			}
		}
		if len(due) > 0 && wait == time.Hour {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func (d *Daemon) recur(ctx context.Context, origin sched.JobID) error {
	d.mu.RLock()
	r := d.recurring[origin]
	first := d.jobs[r.last].First
	d.mu.RUnlock()
	old, uid, _, err := d.specs.job(d, first)
	if err != nil {
		return err
	}
	j := *old
	j.Recurs = int32(origin) + 1
	_, err = d.submit(ctx, Who{uid}, &j)
	return err
}

// EndRecurrence ends the recurrence that the tasks' jobs belong to; the jobs stay. It returns the numbers of the chains' first jobs.
func (d *Daemon) EndRecurrence(ctx context.Context, who Who, tasks []sched.TaskID) ([]int32, error) {
	var ended []int32
	err := d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		jobs := map[sched.JobID]bool{}
		for _, t := range tasks {
			if err := d.may(who, t); err != nil {
				return nil, err
			}
			jobs[d.book.tb.Tasks[t].Job] = true
		}
		for origin := range sched.JobID(len(d.jobs)) {
			r := d.recurring[origin]
			if r == nil || !jobs[origin] && !jobs[r.last] {
				continue
			}
			if err := d.store.SetMeta(ctx, endedKey(origin), []byte("1")); err != nil {
				return nil, err
			}
			delete(d.recurring, origin)
			ended = append(ended, int32(origin)+1)
		}
		return nil, nil
	})
	return ended, err
}

func endedKey(origin sched.JobID) string { return "recurrence-ended/" + strconv.Itoa(int(origin)+1) }

// forgetEnded leaves out the recurrences that somebody has ended.
func (d *Daemon) forgetEnded(ctx context.Context) error {
	for origin := range d.recurring {
		v, err := d.store.Meta(ctx, endedKey(origin))
		if err != nil {
			return err
		}
		if v != nil {
			delete(d.recurring, origin)
		}
	}
	return nil
}
