package daemon

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/schedlab/schedlab/live/alert"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/retry"
	"github.com/schedlab/schedlab/policies/sched"
)

// What follows a failure: a retry after a backoff with jitter, as far as the budget goes, or an alert. Both are decided before the kernel
// hears of the failure, and the fact says what was decided: a replay of the journal needs no budget, no seed and no clock.

// retries decides on the failures of a batch. It is called under mu, before the kernel takes them in.
func (d *Daemon) retries(now sched.Time, in []sched.Event) {
	for i := range in {
		e := &in[i]
		if e.Kind == sched.FailedAttempt && d.kernel.Attempt(e.Task) == e.Attempt && d.isAway(d.ended[attemptKey{e.Task, e.Attempt}]) && d.away[e.Task] < maxAway {
			e.N, e.Value = 1, int64(retry.Wait(cmp.Or(d.cfg.awayWait, DefaultAwayWait), uint64(d.first.Epoch.UnixNano()), e.Task, d.away[e.Task]+1))
			d.noteAway(e)
			continue
		}
		d.noteAway(e)
		if e.Kind != sched.FailedAttempt || d.kernel.Attempt(e.Task) != e.Attempt || !d.kernel.MayRetry(e.Task) {
			continue
		}
		tenant, queue := d.whose(e.Task)
		if why := d.budget.Refuses(now, tenant, queue); why != "" {
			e.Value = -1
			d.refusedRetry[attemptKey{e.Task, e.Attempt}] = why
			d.metrics.refusedRetries.Inc()
			continue
		}
		e.Value = max(int64(retry.Wait(d.kernel.Class(e.Task).Backoff, uint64(d.first.Epoch.UnixNano()), e.Task, d.kernel.Failures(e.Task)+1)), 1)
		d.budget.Retried(now, tenant, queue)
		d.metrics.retries.Inc()
	}
}

// DefaultAwayWait is the wait after the first attempt that ended since the storage of checkpoints was away; it doubles up to 64 times that.
// maxAway bounds how many in a row take no retry: that is more than a day.
const (
	DefaultAwayWait = 5 * time.Second
	maxAway         = 300
)

// isAway reports whether it is the storage of checkpoints that an attempt failed of: what it resumes from could not be read, so that its command
// did not run, or what it left with CodeRequeue for could not be stored.
func (d *Daemon) isAway(ev *local.Event) bool {
	if ev == nil || ev.Kind != local.Ended {
		return false
	}
	return strings.HasPrefix(ev.Exit.Reason, reasonUnread) || ev.Exit.Code == CodeRequeue && ev.Saved != nil && ev.Saved.Away
}

// reasonUnread begins the shim's reason why it has not run the command.
const reasonUnread = "its checkpoints cannot be read: "

// noteAway counts the attempts in a row that the storage of checkpoints ended.
func (d *Daemon) noteAway(e *sched.Event) {
	switch e.Kind {
	case sched.FailedAttempt:
		if e.N == 1 {
			d.away[e.Task]++
			return
		}
	case sched.Finished, sched.Killed, sched.Stopped:
	default:
		return
	}
	delete(d.away, e.Task)
}

// awaits says what a task waits for whose attempt the storage of checkpoints has ended.
func (d *Daemon) awaits(ev *local.Event) string {
	text := strings.TrimPrefix(ev.Exit.Reason, reasonUnread)
	if ev.Exit.Code == CodeRequeue {
		text = ev.Saved.Problem
	}
	return "the storage of checkpoints is away, which takes no retry: " + text
}

func (d *Daemon) whose(t sched.TaskID) (tenant, queue string) {
	c := d.book.tb.ClassOf(t)
	return d.book.tb.Tenants[c.Tenant], d.book.tb.Queues[c.Queue]
}

// recount brings the budget to where it was, from what happened in a batch of the state file.
func (d *Daemon) recount(now sched.Time, in []sched.Event, out []sched.Command) {
	for i := range in {
		e := &in[i]
		d.noteAway(e)
		if e.Kind == sched.FailedAttempt && e.Value > 0 && e.N == 0 {
			tenant, queue := d.whose(e.Task)
			d.budget.Retried(now, tenant, queue)
		}
	}
	d.countStarts(now, out)
}

// countStarts counts the attempts that begin.
func (d *Daemon) countStarts(now sched.Time, out []sched.Command) {
	for i := range out {
		if out[i].Kind == sched.Start {
			tenant, queue := d.whose(out[i].Task)
			d.budget.Started(now, tenant, queue)
		}
	}
}

// failed makes the alert of an attempt that was a task's last, all others having failed too. ev is what its end was, if that is known. It is
// called under mu, once the kernel has taken the end in.
func (d *Daemon) failed(e *sched.Event, ev *local.Event, refused string) {
	if d.kernel.Phase(e.Task) != sched.Failed {
		return
	}
	tb := d.book.tb
	j := d.workflow(e.Task)
	if d.jobs[tb.Tasks[e.Task].Job].quiet {
		return
	}
	tenant, queue := d.whose(e.Task)
	uid, allowed := j.UID, d.kernel.Class(e.Task).Retries
	a := alert.Alert{
		Event: alert.JobFailed, At: d.loop.Zero().Add(time.Duration(d.kernel.Now())), Task: d.name(e.Task), Job: int32(j.ID) + 1, JobName: j.Name, Tenant: tenant, Queue: queue,
		UID: &uid, Attempts: e.Attempt,
	}
	lost := ev != nil && ev.Kind == local.Lost
	how := "failed"
	switch {
	case ev == nil:
	case ev.Kind == local.Ended:
		code := ev.Exit.Code
		a.Code, a.Reason = &code, ev.Exit.Reason
		how = fmt.Sprintf("ended with %d", code)
	default:
		a.Reason = ev.Err
		how = "did not run"
	}
	if lost {
		a.Event, how = alert.JobLost, "was lost"
	}
	tail := ""
	switch {
	case refused != "":
		a.Event, tail = alert.RetriesUsedUp, "; the "+refused
		a.Reason = strings.TrimPrefix(a.Reason+"; "+refused, "; ")
	case e.Kind == sched.FailedAttempt && allowed > 0:
		tail = fmt.Sprintf("; all %d retries are used up", allowed)
		if !lost {
			a.Event = alert.RetriesUsedUp
		}
	}
	a.Message = fmt.Sprintf("task %s (%s): attempt %d %s", a.Task, j.Name, e.Attempt, how)
	if ev != nil && ev.Kind == local.Ended && ev.Exit.Reason != "" {
		a.Message += " (" + ev.Exit.Reason + ")"
	} else if ev != nil && ev.Err != "" {
		a.Message += ": " + ev.Err
	}
	a.Message += tail
	d.alarms = append(d.alarms, a)
}

// lostLines makes the alert of an attempt whose log lost lines. It is called under mu.
func (d *Daemon) lostLines(t sched.TaskID, n int64) {
	if n > 0 {
		d.alarms = append(d.alarms, alert.Alert{
			Event: alert.DiskFull, Task: d.name(t), Message: fmt.Sprintf("the log of task %s lost %d lines: the disk was full", d.name(t), n),
		})
	}
}

// alarm sends the alerts of a batch, which is in the state file now.
func (d *Daemon) alarm() {
	for i := range d.alarms {
		d.alerts.Send(d.alarms[i])
	}
	clear(d.alarms)
	d.alarms = d.alarms[:0]
}

// AlertsState is what is shown of alerts.
type AlertsState struct {
	To     string         `json:"to"`     // command, url or none
	Events []alert.Event  `json:"events"` // that are sent
	Counts map[string]int `json:"counts"` // what became of alerts so far
}

// Alerts returns what is shown of alerts.
func (d *Daemon) Alerts() AlertsState {
	s := AlertsState{To: "none", Events: []alert.Event{}, Counts: map[string]int{}}
	if d.alerts == nil {
		return s
	}
	s.To = "command"
	if d.cfg.Alert.URL != "" {
		s.To = "url"
	}
	for _, e := range alert.Events() {
		if d.alerts.Wants(e) {
			s.Events = append(s.Events, e)
		}
	}
	for _, r := range alert.Results() {
		s.Counts[r] = int(d.alerted[r].Load())
	}
	return s
}

// TestAlert sends an alert for trying, and returns once it has gone out, or why it has not. Only the daemon's user and root may.
func (d *Daemon) TestAlert(ctx context.Context, who Who) error {
	if err := mayOperate(who); err != nil {
		return err
	}
	if d.alerts == nil {
		return fmt.Errorf("%w: the daemon has nobody to alert: start it with --alert-command or --alert-url", ErrConflict)
	}
	if err := d.alerts.Try(ctx, alert.Alert{Event: alert.Test, Message: "this is a test"}); err != nil {
		return fmt.Errorf("%w: the alert did not go out: %w", ErrConflict, err)
	}
	return nil
}
