package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// A job with `every` recurs: when its time has come, a copy of it is submitted for its owner, which recurs in its turn. What was missed
// while no daemon ran is made up once. A copy is left out where the one before it has not begun: one waits, whatever they take and however long
// there is no room.

// recurrence is a chain of jobs that are copies of each other.
type recurrence struct {
	last sched.JobID // the newest of them
	next sched.Time  // by the clock of the loop, which never stands still, whatever is done to the machine's
	zero time.Time   // that clock's beginning by the machine's, for cron lines
}

// RecursView is what is shown of a recurrence.
type RecursView struct {
	Every string  `json:"every"`     // a duration or a cron line, as it was submitted
	First int32   `json:"first_job"` // the number of the job that the others are copies of
	Next  float64 `json:"next_s"`    // when the next copy comes
}

// viewRecurs returns what is shown of the recurrence of a task's job; nil where it does not recur. It is called under mu.
func (d *Daemon) viewRecurs(t sched.TaskID) *RecursView {
	j := d.workflow(t)
	if j.every == "" {
		return nil
	}
	r := d.recurring[j.chain]
	if r == nil {
		return nil
	}
	return &RecursView{Every: j.every, First: int32(j.chain) + 1, Next: r.next.Seconds()}
}

// Recurring returns the numbers of the first jobs of the chains that the tasks' jobs belong to and that go on, each once.
func (d *Daemon) Recurring(tasks []sched.TaskID) []int32 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []int32
	if len(d.recurring) == 0 {
		return nil
	}
	for _, t := range tasks {
		if j := d.workflow(t); j.every != "" && d.recurring[j.chain] != nil {
			out = append(out, int32(j.chain)+1)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
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
func (d *Daemon) recurs(j *Job, spec *job.Job) {
	if spec.Every == "" {
		return
	}
	j.every, j.chain = spec.Every, sched.JobID(spec.Recurs-1)
	if spec.Recurs == 0 {
		j.chain = j.ID
	}
	r := d.recurring[j.chain]
	if r == nil {
		r = &recurrence{}
		d.recurring[j.chain] = r
	}
	r.last = j.ID
	if d.kernel != nil {
		d.plan(r, j)
	}
}

// plan sets when a job that recurs has its next copy. A machine's clock that was set is followed by cron lines from then on, but not where it
// was only set right: a copy that came a moment early must not come again.
func (d *Daemon) plan(r *recurrence, j *Job) { d.planFrom(r, j, j.Submit) }

// planFrom sets when the next copy after an instant comes.
func (d *Daemon) planFrom(r *recurrence, j *Job, from sched.Time) {
	if zero := d.loop.Zero().Round(0); zero.Sub(r.zero).Abs() > time.Minute {
		r.zero = zero
	}
	next, err := nextRelease(j.every, r.zero.Add(time.Duration(from)))
	if err != nil { // a cron line that never comes again
		delete(d.recurring, j.chain)
		return
	}
	r.next = sched.Time(next.Sub(r.zero))
}

// recurLook is how long the recurrences are not looked at, at most: the machine may have slept.
const recurLook = time.Minute

// recurLoop submits the copies when their time has come.
func (d *Daemon) recurLoop(ctx context.Context) {
	said := map[sched.JobID]string{} // why there is no copy
	for {
		wait := recurLook
		now := d.loop.Now()
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
			err := d.recur(ctx, origin)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				delete(said, origin)
				continue
			case said[origin] == err.Error():
			case errors.Is(err, errWaits):
				d.log.Warn("a recurring job is not submitted again as long as its last copy has not begun", "job", origin+1)
			default:
				d.log.Error("a recurring job could not be submitted; it is tried again every second", "job", origin+1, "err", err)
			}
			said[origin] = err.Error()
			if !errors.Is(err, errWaits) {
				wait = min(wait, time.Second)
			}
		}
		if len(due) > 0 && wait == recurLook {
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

// errEnded says of a copy that its recurrence was ended after it was due.
var errEnded = errors.New("its recurrence has been ended")

// errWaits says that a copy is left out.
var errWaits = errors.New("the last copy waits")

// waits reports whether a job is not over and nothing of it has begun. It is called under mu.
func (d *Daemon) waits(j *Job) bool {
	open := false
	for t := j.First; t < j.First+sched.TaskID(j.Tasks); t++ {
		if d.kernel.Attempt(t) > 0 {
			return false
		}
		open = open || !d.kernel.Phase(t).Over()
	}
	return open
}

// recur submits the next copy of a chain, unless that has been ended or the last one waits.
func (d *Daemon) recur(ctx context.Context, origin sched.JobID) error {
	d.mu.Lock()
	r := d.recurring[origin]
	if r == nil {
		d.mu.Unlock()
		return nil
	}
	last := &d.jobs[r.last]
	first := last.First
	if d.waits(last) {
		d.planFrom(r, last, d.now())
		d.mu.Unlock()
		return errWaits
	}
	d.mu.Unlock()
	old, uid, _, err := d.specs.job(d, first)
	if err != nil {
		return err
	}
	j := *old
	j.Recurs = int32(origin) + 1
	if _, err = d.submit(ctx, []Who{{uid}}, &j); errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// EndRecurrence ends the recurrence that the tasks' jobs belong to; the jobs stay. It returns the numbers of the chains' first jobs.
func (d *Daemon) EndRecurrence(ctx context.Context, who Who, tasks []sched.TaskID) ([]int32, error) {
	var ended []int32
	err := d.ask(ctx, func(sched.Time) ([]sched.Event, error) {
		chains := map[sched.JobID]bool{}
		for _, t := range tasks {
			if err := d.may(who, t); err != nil {
				return nil, err
			}
			if j := d.workflow(t); j.every != "" {
				chains[j.chain] = true
			}
		}
		for origin := range sched.JobID(len(d.jobs)) {
			if !chains[origin] || d.recurring[origin] == nil {
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
