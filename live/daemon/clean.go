package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Clean says what of jobs that are over is removed: the folders of their attempts, with their logs.
type Clean struct {
	OlderS float64 `json:"older_s"` // they have been over for at least so long
	DryRun bool    `json:"dry_run,omitempty"`
}

// Cleaned says what was removed, or would be.
type Cleaned struct {
	Jobs   int   `json:"jobs"`
	Tasks  int   `json:"tasks"`
	Bytes  int64 `json:"bytes"` // on the disk
	DryRun bool  `json:"dry_run,omitempty"`
}

// maxOlderS bounds the age: a hundred years.
const maxOlderS = 100 * 365 * 24 * 3600

// Clean removes the folders and logs of jobs of which all, with what was added to them, has been over for so long: those of who asks, or of all where he
// may operate. What the jobs wrote elsewhere stays, and so does what is known of them.
func (d *Daemon) Clean(ctx context.Context, who Who, c Clean) (Cleaned, error) {
	out := Cleaned{DryRun: c.DryRun}
	if !(c.OlderS >= 0 && c.OlderS <= maxOlderS) {
		return out, fmt.Errorf("%w: older_s must be from 0 to %d", ErrBad, maxOlderS)
	}
	var failed error
	for _, tasks := range d.overSince(who, time.Duration(c.OlderS*1e9)) {
		some := false
		for _, t := range tasks {
			if err := ctx.Err(); err != nil {
				return out, err
			}
			bytes, found, err := d.runner.Remove(t, c.DryRun)
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			if found {
				some = true
				out.Tasks++
				out.Bytes += bytes
			}
		}
		if some {
			out.Jobs++
		}
	}
	return out, failed
}

// overSince returns the tasks, by workflow, of those that have been over for so long and that somebody may clean.
func (d *Daemon) overSince(who Who, older time.Duration) map[sched.JobID][]sched.TaskID {
	d.mu.RLock()
	defer d.mu.RUnlock()
	until := max(d.loop.Now(), d.kernel.Now()).Add(-older)
	out := map[sched.JobID][]sched.TaskID{}
	keep := map[sched.JobID]bool{}
	for t := range sched.TaskID(d.kernel.Known()) {
		id := d.workflow(t).ID
		switch o := d.outcome(t); {
		case !o.Phase.Over() || o.End > until:
			keep[id] = true
		case d.may(who, t) == nil || mayOperate(who) == nil:
			out[id] = append(out[id], t)
		}
	}
	for id := range keep {
		delete(out, id)
	}
	return out
}

// cleanEvery is the time between two looks for what is older than Config.KeepLogs.
const cleanEvery = 10 * time.Minute

// cleanLoop removes what is older than Config.KeepLogs.
func (d *Daemon) cleanLoop(ctx context.Context) {
	if d.cfg.KeepLogs <= 0 {
		return
	}
	for {
		c, err := d.Clean(ctx, Who{uid()}, Clean{OlderS: d.cfg.KeepLogs.Seconds()})
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.log.Warn("logs of jobs that are over cannot be removed", "error", err)
		}
		if c.Tasks > 0 {
			d.log.Info("the logs of jobs that are over were removed", "jobs", c.Jobs, "tasks", c.Tasks, "bytes", c.Bytes)
		}
		select {
		case <-time.After(cleanEvery):
		case <-ctx.Done():
			return
		}
	}
}
