package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/stage"
	"github.com/schedlab/schedlab/policies/sched"
)

// Inputs (S12): before an attempt runs, what its task reads is copied to a folder of its own, by a process that is the job's owner. That begins
// when the attempt is placed; or ahead, while the task's last predecessors run or it waits for room, so that the copying overlaps with their
// work. What was staged ahead is looked at again when the attempt is placed, and what has changed since is staged anew.

// What may be staged ahead: tasks at a time, and bytes that wait. It takes disk from nobody who runs.
const (
	aheadTasks = 4
	aheadBytes = 16 << 30
	aheadLook  = 2000        // tasks that are looked at
	maxShown   = 10_000      // tasks whose staging is remembered to be shown
	aheadAgain = time.Second // after which it is tried again, where an input was not there
)

// staging is what is staged for an attempt, or for the next.
type staging struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing is being staged ahead (any more)

	// Under stages.mu.
	ahead   *stage.Report // nil where nothing whole has been staged ahead
	again   time.Time     // not before; zero: it is staged
	took    time.Duration // ahead
	placing bool
}

// stages are the attempts that have inputs, and what is staged for them.
type stages struct {
	mu    sync.Mutex
	of    map[attemptKey]*staging
	shown map[sched.TaskID]*InputsView
	run   sync.WaitGroup
}

// InputsView is what is shown of a task's inputs.
type InputsView struct {
	Files   int64            `json:"files"` // copied or linked
	Bytes   int64            `json:"bytes"`
	Seconds float64          `json:"staged_s"` // it took all in all
	AheadS  float64          `json:"ahead_s"`  // of it, before the attempt was placed
	Tiers   map[string]int64 `json:"tiers"`    // bytes by how they were copied
}

func (d *Daemon) inputsDir(k attemptKey) string {
	return filepath.Join(d.ownWork(), fmt.Sprintf("in-%d-%d", k.task, k.n))
}

// request makes the folder of an attempt's inputs and says what is to be staged there.
func (d *Daemon) request(k attemptKey, task *job.Task, owner uint32) (*stage.Request, error) {
	u, err := ownerOf(owner)
	if err != nil {
		return nil, err
	}
	dir := d.inputsDir(k)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("the folder for inputs: %w", err)
	}
	if uid() == 0 && owner != 0 {
		if err := os.Lchown(dir, int(owner), int(u.gid)); err != nil {
			return nil, err
		}
	}
	r := &stage.Request{Dir: dir, UID: owner, GID: u.gid, Groups: u.groups, Locked: task.GPUs > 0}
	for _, in := range task.Inputs {
		r.Items = append(r.Items, stage.Item{From: in.From, As: in.As, Link: in.Link})
	}
	return r, nil
}

// place stages what is missing of the inputs of an attempt that has been placed, and returns their folder.
func (d *Daemon) place(ctx context.Context, k attemptKey, task *job.Task, owner uint32) (string, error) {
	s := &d.stages
	s.mu.Lock()
	e := s.of[k]
	if e == nil {
		e = &staging{cancel: func() {}, done: make(chan struct{})}
		close(e.done)
		s.of[k] = e
	}
	e.placing = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		e.placing = false
		s.mu.Unlock()
	}()
	select {
	case <-e.done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	r, err := d.request(k, task, owner)
	if err != nil {
		return "", err
	}
	v := &InputsView{Tiers: map[string]int64{}}
	s.mu.Lock()
	if e.ahead != nil {
		for i := range r.Items {
			r.Items[i].Have = e.ahead.Items[i].ID
		}
		v.AheadS = e.took.Seconds()
		v.add(e.ahead)
	}
	s.mu.Unlock()
	began := time.Now()
	rep, err := d.stage(ctx, r, "placed")
	if err != nil {
		return "", err
	}
	v.add(rep)
	v.Seconds = v.AheadS + time.Since(began).Seconds()
	s.mu.Lock()
	if len(s.shown) >= maxShown { // rather than ever more of it
		clear(s.shown)
	}
	s.shown[k.task] = v
	s.mu.Unlock()
	return r.Dir, nil
}

func (v *InputsView) add(r *stage.Report) {
	v.Files += r.Files
	v.Bytes += r.Bytes
	for t, n := range r.Tiers {
		if n > 0 {
			v.Tiers[stage.Tier(t).String()] += n
		}
	}
}

// stage runs a stager and counts what it did.
func (d *Daemon) stage(ctx context.Context, r *stage.Request, when string) (*stage.Report, error) {
	began := time.Now()
	rep, err := stage.Run(ctx, d.cfg.Exe, r)
	if err != nil {
		return nil, err
	}
	for t, n := range rep.Tiers {
		if n > 0 {
			d.metrics.staged.WithLabelValues(stage.Tier(t).String()).Add(float64(n))
		}
	}
	if rep.Err != "" {
		if when == "placed" {
			d.metrics.unstaged.Inc()
		}
		return rep, errors.New(rep.Err)
	}
	d.metrics.staging.WithLabelValues(when).Observe(since(began))
	return rep, nil
}

// stageLoop stages ahead, and removes what is of no use any more.
func (d *Daemon) stageLoop(ctx context.Context) {
	d.sweepInputs()
	for {
		d.mu.RLock()
		changed := d.changed
		idle := len(d.inputs) == 0
		d.mu.RUnlock()
		wait := time.Hour
		if !idle {
			wait = d.stageStep(ctx)
		}
		t := time.NewTimer(wait)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			d.stages.run.Wait()
			return
		}
		t.Stop()
	}
}

// stageStep looks once at what can be staged ahead and what can be removed, and returns when to look again at the latest.
func (d *Daemon) stageStep(ctx context.Context) time.Duration {
	s := &d.stages
	wait := time.Hour
	var next []attemptKey
	d.mu.Lock()
	s.mu.Lock()
	k := d.kernel
	ahead, bytes := 0, int64(0)
	for key, e := range s.of {
		ph, n := k.Phase(key.task), k.Attempt(key.task)
		switch runs := ph == sched.Running || ph == sched.Stopping; {
		case runs && key.n == n:
		case !runs && !ph.Over() && key.n == n+1 || e.placing:
			ahead++
			if e.ahead != nil {
				bytes += e.ahead.Bytes
			}
		default:
			delete(s.of, key)
			e.cancel()
			s.run.Go(func() {
				<-e.done
				if err := os.RemoveAll(d.inputsDir(key)); err != nil {
					d.log.Warn("the inputs of an attempt that is over cannot be removed; it is tried again at the next start", "task", key.task, "err", err)
				}
			})
		}
	}
	looked, kept := 0, d.inputs[:0]
	for i, t := range d.inputs {
		if looked == aheadLook {
			kept = append(kept, d.inputs[i:]...)
			break
		}
		ph := k.Phase(t)
		if ph.Over() {
			continue
		}
		kept = append(kept, t)
		looked++
		if ahead+len(next) >= aheadTasks || bytes >= aheadBytes || !d.nearlyReady(t, ph) {
			continue
		}
		key := attemptKey{t, k.Attempt(t) + 1}
		if e := s.of[key]; e != nil {
			if e.again.IsZero() || e.placing {
				continue
			}
			if over := time.Until(e.again); over > 0 {
				wait = min(wait, over)
				continue
			}
		}
		next = append(next, key)
	}
	d.inputs = kept
	s.mu.Unlock()
	d.mu.Unlock()
	for _, key := range next {
		d.stageAhead(ctx, key, aheadBytes-bytes)
	}
	return wait
}

// nearlyReady reports whether a task waits for nothing but room, or for predecessors that run. It is called under mu.
func (d *Daemon) nearlyReady(t sched.TaskID, ph sched.Phase) bool {
	switch ph {
	case sched.Ready, sched.Claiming:
		return true
	case sched.Blocked:
	default:
		return false
	}
	for p := range d.kernel.Preds(t) {
		if ph := d.kernel.Phase(p); ph != sched.Done && ph != sched.Running && ph != sched.Stopping {
			return false
		}
	}
	return true
}

// stageAhead begins to stage for an attempt that is not placed yet.
func (d *Daemon) stageAhead(ctx context.Context, key attemptKey, limit int64) {
	j, owner, at, err := d.specs.job(d, key.task)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &staging{cancel: cancel, done: make(chan struct{})}
	s := &d.stages
	s.mu.Lock()
	if old := s.of[key]; old != nil && (old.placing || old.again.IsZero()) { // placed meanwhile
		s.mu.Unlock()
		cancel()
		return
	}
	s.of[key] = e
	s.mu.Unlock()
	s.run.Go(func() {
		defer close(e.done)
		defer cancel()
		began := time.Now()
		r, err := d.request(key, &j.Tasks[at], owner)
		var rep *stage.Report
		if err == nil {
			r.Limit = limit
			rep, err = d.stage(ctx, r, "ahead")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil { // whatever it is: it is told when the attempt is placed
			e.again = time.Now().Add(aheadAgain)
			return
		}
		e.ahead, e.took = rep, time.Since(began)
	})
}

// viewInputs returns what is shown of a task's inputs; nil where nothing is known.
func (d *Daemon) viewInputs(t sched.TaskID) *InputsView {
	d.stages.mu.Lock()
	defer d.stages.mu.Unlock()
	v := d.stages.shown[t]
	if v == nil {
		return nil
	}
	c := *v
	c.Tiers = maps.Clone(v.Tiers)
	return &c
}

// isPlacing reports whether an attempt waits for its inputs.
func (d *Daemon) isPlacing(k attemptKey) bool {
	d.stages.mu.Lock()
	defer d.stages.mu.Unlock()
	e := d.stages.of[k]
	return e != nil && e.placing
}

// sweepInputs removes the inputs of attempts that an earlier daemon has left, and takes up those of attempts that run.
func (d *Daemon) sweepInputs() {
	entries, err := os.ReadDir(d.ownWork())
	if err != nil {
		return
	}
	for _, f := range entries {
		task, n, ok := strings.Cut(strings.TrimPrefix(f.Name(), "in-"), "-")
		t, err := strconv.Atoi(task)
		a, err2 := strconv.Atoi(n)
		if !strings.HasPrefix(f.Name(), "in-") || !ok || err != nil || err2 != nil {
			continue
		}
		key := attemptKey{sched.TaskID(t), int32(a)}
		d.mu.RLock()
		if t < 0 || t >= d.kernel.Known() { // of this state, but not as it stands: who knows
			d.mu.RUnlock()
			continue
		}
		ph := d.kernel.Phase(key.task)
		runs := (ph == sched.Running || ph == sched.Stopping) && d.kernel.Attempt(key.task) == key.n
		d.mu.RUnlock()
		d.stages.mu.Lock()
		e := d.stages.of[key]
		if runs && e == nil {
			e = &staging{cancel: func() {}, done: make(chan struct{})}
			close(e.done)
			d.stages.of[key] = e
		}
		d.stages.mu.Unlock()
		if e == nil {
			_ = os.RemoveAll(d.inputsDir(key)) // the next start tries again
		}
	}
}
