package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/live/checkpoint"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/policies/sched"
)

// The shims save the work of tasks and find what an attempt resumes from; the daemon says where and how often, tells the kernel what is
// saved, and removes what is of no use any more.

// DefaultMTBF is the mean time between failures where nobody says.
const DefaultMTBF = 24 * time.Hour

// place returns where checkpoints are kept.
func (c *Config) place() string { return cmp.Or(c.Checkpoints, filepath.Join(c.Dir, "checkpoints")) }

// workDir returns the folder of running tasks' folders.
func (c *Config) workDir() string { return cmp.Or(c.Work, filepath.Join(c.Dir, "work")) }

// stateKey tells this state from others, which may share the store of checkpoints and the folder of running tasks, now or after it.
func (d *Daemon) stateKey() string { return strconv.FormatInt(d.first.Epoch.UnixNano(), 36) }

func (d *Daemon) setKey(t sched.TaskID) string {
	return d.stateKey() + "/" + strconv.Itoa(int(t))
}

// ownWork is this state's part of the folder of running tasks' folders. What is beside it is another's.
func (d *Daemon) ownWork() string { return filepath.Join(d.cfg.workDir(), d.stateKey()) }

// saving says how an attempt's work is saved; nil where the task has no checkpoints.
func (d *Daemon) saving(t sched.TaskID, task *job.Task, on []sched.Placement) *local.Checkpoint {
	if task.Checkpoint == nil {
		return nil
	}
	every, youngDaly := task.Checkpoint.Interval()
	c := &local.Checkpoint{Dir: filepath.Join(d.ownWork(), strconv.Itoa(int(t))), Store: d.cfg.place(), Key: d.setKey(t), Every: every}
	if youngDaly {
		c.MTBF = cmp.Or(d.cfg.MTBF, DefaultMTBF)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s, ok := d.saved[t]; ok {
		c.Took = time.Duration((s.HoldS + s.SaveS) * 1e9)
	}
	for _, p := range on {
		if speed := cmp.Or(d.kernel.Room().Spec(p.Node).SpeedMilli, 1000); c.Speed == 0 || speed < c.Speed {
			c.Speed = speed
		}
	}
	return c
}

// tellRestored says, once an attempt, for how long it restored its work. It is called under mu.
func (d *Daemon) tellRestored(e *local.Event) []sched.Event {
	k, s := attemptKey{e.Task, e.Attempt}, e.Saved
	if s == nil || s.Resumed == 0 || !s.Restored || s.RestoreS <= 0 || d.restored[k] || d.kernel.Attempt(e.Task) != e.Attempt {
		return nil
	}
	d.restored[k] = true
	return []sched.Event{{Kind: sched.Started, Task: e.Task, Attempt: e.Attempt, Node: sched.NoNode, Value: int64(s.RestoreS * 1e9)}}
}

// noteSaved keeps what a report says is saved, counts what is new, and returns the work that is kept. It is called under mu.
func (d *Daemon) noteSaved(e *local.Event) time.Duration {
	s := e.Saved
	if s == nil {
		return d.kernel.Kept(e.Task)
	}
	k := attemptKey{e.Task, e.Attempt}
	was := d.noted[k]
	if s.Done < was.Done || s.Failed < was.Failed || d.kernel.Attempt(e.Task) != e.Attempt { // of before the last report, or another's
		return d.kernel.Kept(e.Task)
	}
	d.noted[k], d.saved[e.Task] = *s, *s
	d.metrics.checkpoints.WithLabelValues("done").Add(float64(s.Done - was.Done))
	d.metrics.checkpoints.WithLabelValues("failed").Add(float64(s.Failed - was.Failed))
	d.metrics.checkpoints.WithLabelValues("not-now").Add(float64(max(s.NotNow-was.NotNow, 0)))
	if s.Done > was.Done {
		d.metrics.checkpointTime.WithLabelValues("hold").Observe(s.HoldS)
		d.metrics.checkpointTime.WithLabelValues("save").Observe(s.SaveS)
		d.metrics.checkpointBytes.Add(float64(s.Bytes))
	}
	if e.Kind != local.Noted {
		delete(d.noted, k)
		select {
		case d.swept <- struct{}{}:
		default:
		}
	}
	return s.Work
}

// heldUp returns for how long the last checkpoint held the job up, in ns; 0 where that is not known: what the attempt began with is another's.
func heldUp(s *local.Saved) int64 {
	if s == nil || s.Done == 0 {
		return 0
	}
	return int64(s.HoldS * 1e9)
}

// CheckpointView is what is shown of a task's checkpoints.
type CheckpointView struct {
	local.Saved
	AgeS     float64 `json:"age_s"`              // of the last one
	AtRiskS  float64 `json:"at_risk_s"`          // work that would be lost now
	Progress string  `json:"progress,omitempty"` // in the job's own words
}

// viewSaved returns what is shown of a task's checkpoints; nil where it has none. It is called under mu.
func (d *Daemon) viewSaved(t sched.TaskID) *CheckpointView {
	s, ok := d.saved[t]
	if !ok {
		return nil
	}
	v := &CheckpointView{Saved: s}
	if s.Seq > 0 {
		v.AgeS = time.Since(s.At).Seconds()
	}
	if ph := d.kernel.Phase(t); ph == sched.Running || ph == sched.Stopping {
		v.AtRiskS = (d.kernel.AtRisk(t) + max(d.loop.Now().Sub(d.kernel.Now()), 0)).Seconds()
		_, v.Progress, _ = d.runner.Saved(t, d.kernel.Attempt(t))
	}
	return v
}

// recall finds what open tasks had saved that do not run. It is called under mu.
func (d *Daemon) recall() {
	for t := range sched.TaskID(d.kernel.Known()) {
		if n := d.kernel.Attempt(t); n > 0 && !d.kernel.Phase(t).Over() && d.kernel.Kept(t) > 0 {
			if s, _, ok := d.runner.Saved(t, n); ok {
				d.saved[t] = s
			}
		}
	}
}

// sweep removes the checkpoints of tasks that are over: at once where they end, and at its beginning those that a crash has left. Those of
// a failed task stay, as its log does.
func (d *Daemon) sweep(ctx context.Context) {
	store, err := checkpoint.Open(d.cfg.place())
	if err != nil {
		d.log.Error("checkpoints", "err", err)
		return
	}
	uses := func(t sched.TaskID) (open, wanted bool) {
		d.mu.RLock()
		defer d.mu.RUnlock()
		if t < 0 || int(t) >= d.kernel.Known() {
			return true, true // of this state, but not as it stands: who knows
		}
		ph := d.kernel.Phase(t)
		return !ph.Over(), !ph.Over() || ph == sched.Failed
	}
	remove := func(t sched.TaskID) bool {
		set := checkpoint.Set{Store: store, Key: d.setKey(t)}
		if err := set.Remove(ctx); err != nil {
			d.log.Warn("the checkpoints of a task that is over cannot be removed; it is tried again at the next start", "task", t, "err", err)
			return false
		}
		return true
	}
	if entries, err := os.ReadDir(d.ownWork()); err == nil {
		for _, e := range entries {
			if t, err := strconv.Atoi(e.Name()); err == nil {
				if open, _ := uses(sched.TaskID(t)); !open {
					_ = os.RemoveAll(filepath.Join(d.ownWork(), e.Name()))
				}
			}
		}
	}
	keys, err := store.Folders(ctx, d.stateKey()+"/")
	if err != nil && ctx.Err() == nil {
		d.log.Warn("what checkpoints there are is not known", "place", d.cfg.place(), "err", err)
	}
	for _, key := range keys {
		if t, err := strconv.Atoi(path.Base(strings.TrimSuffix(key, "/"))); err == nil {
			if _, wanted := uses(sched.TaskID(t)); !wanted && !remove(sched.TaskID(t)) {
				break
			}
		}
	}
	tick := time.NewTicker(time.Minute) // for what was cancelled while it waited
	defer tick.Stop()
	for looks := 0; ; {
		var over []sched.TaskID
		d.mu.RLock()
		changed := d.changed
		for t := range d.saved {
			if ph := d.kernel.Phase(t); ph.Over() && ph != sched.Failed {
				over = append(over, t)
			}
		}
		d.mu.RUnlock()
		for _, t := range over {
			remove(t)
			d.mu.Lock()
			delete(d.saved, t)
			d.mu.Unlock()
		}
		if looks > 0 { // the end that woke it may not be in the state yet, and the next batches may be about others
			looks--
			select {
			case <-changed:
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case <-d.swept:
			looks = 10
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// prepareWork makes the folder of running tasks' folders, which their owners pass through.
func (d *Daemon) prepareWork() error {
	if err := os.MkdirAll(d.ownWork(), 0o711); err != nil {
		return fmt.Errorf("the folder for checkpoints being written: %w", err)
	}
	return errors.Join(os.Chmod(d.cfg.workDir(), 0o711), os.Chmod(d.ownWork(), 0o711))
}

// shimEnv is what a shim needs to open the store.
func (c *Config) shimEnv() []string {
	if !strings.HasPrefix(c.place(), "s3://") {
		return nil
	}
	var out []string
	for _, name := range checkpoint.Environment {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}
