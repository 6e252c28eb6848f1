package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

// How the daemon is asked.
const (
	askAgain    = 500 * time.Millisecond // where it does not answer
	sampleEvery = time.Second
	sampleOld   = 10 * time.Second // older ones are not shown
	logBytes    = 1 << 20          // of the end of a log that is kept
	gib         = 1 << 30
)

// Live is the recording of a daemon, which can be acted upon. It is a tui.Actor, tui.Logger and tui.Explainer.
type Live struct {
	*Run
	c *api.Client
	f atomic.Pointer[daemon.Follower] // of the recording

	seenMu sync.Mutex
	seen   map[string]*cluster.Profile // by node
	seenAt time.Time
}

// Follow begins to follow a daemon, which must answer at the beginning; later it may go and come back. It returns once all that has happened so far is
// in the recording.
func Follow(ctx context.Context, c *api.Client, info tui.Info, build func(string) (sched.Policy, error)) (*Live, error) {
	info.Mode = tui.Live
	l := &Live{Run: newRun(info), c: c}
	f := l.follower(build)
	if err := c.Record(ctx, f, false); err != nil {
		return nil, err
	}
	go l.guarded(func() error { return l.follow(ctx, f, build) })
	go l.sample(ctx)
	return l, nil
}

// follower feeds the recording, beginning with a new one.
func (l *Live) follower(build func(string) (sched.Policy, error)) *daemon.Follower {
	var sh *shadow
	f := &daemon.Follower{}
	f.Build = func(name string) (sched.Policy, error) {
		p, err := build(name)
		if err != nil {
			return unknown{}, nil // an older daemon may have other policies: what it did is shown all the same
		}
		return p, nil
	}
	f.Begin = func(b *daemon.Beginning, tb *sched.Table) {
		l.f.Store(f)
		l.begin(tb, b.Nodes)
		sh = newShadow(sched.Config{Table: tb, Nodes: b.Nodes}, b.Policy, build, l.waits)
		l.change(func(i *tui.Info) {
			i.Policy, i.Cluster, i.Note, i.Epoch = b.Policy, cluster.Format(b.Nodes), "", b.Epoch.Local()
		})
	}
	f.Grow = func(change func()) { l.rec.Grow(func(*sched.Table) { change() }) }
	f.Batch = func(at sched.Time, in []sched.Event, out []sched.Command) error {
		l.rec.Batch(at, in, out)
		sh.step(at, in, out)
		for i := range in {
			switch e := &in[i]; {
			case e.Kind == sched.PolicySet && e.More != nil:
				l.change(func(i *tui.Info) { i.Policy = e.More.Name })
			case e.Kind == sched.NodeUp && e.More != nil && e.More.Spec != nil: // the machine is another than it was
				spec := *e.More.Spec
				l.change(func(i *tui.Info) { i.Cluster = cluster.Format([]sched.NodeSpec{spec}) })
			}
		}
		return nil
	}
	f.Time = func(now sched.Time) {
		l.rec.Advance(now)
		if l.Info().Note != "" {
			l.change(func(i *tui.Info) { i.Note = "" })
		}
	}
	return f
}

// unknown is a policy that this program does not have.
type unknown struct{}

func (unknown) Observe(*sched.State, sched.Event) {}
func (unknown) Decide(*sched.Round)               {}

// follow reads on until the context ends.
func (l *Live) follow(ctx context.Context, f *daemon.Follower, build func(string) (sched.Policy, error)) error {
	for {
		err := l.c.Record(ctx, f, true)
		if ctx.Err() != nil {
			return nil
		}
		var refusal *api.Refusal
		switch {
		case errors.Is(err, daemon.ErrOtherState):
			f = l.follower(build)
			continue
		case errors.As(err, &refusal):
			l.change(func(i *tui.Info) { i.Note = refusal.Text })
		case err == nil || errors.Is(err, api.ErrNoDaemon):
			l.change(func(i *tui.Info) { i.Note = "the daemon does not answer; asking again" })
		default:
			l.change(func(i *tui.Info) { i.Note = "asking again: " + err.Error() })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askAgain):
		}
	}
}

// sample asks for what the daemon measures until the context ends.
func (l *Live) sample(ctx context.Context) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		if list, err := l.c.Nodes(ctx); err == nil {
			seen := make(map[string]*cluster.Profile, len(list))
			for i := range list {
				seen[list[i].NodeID] = &list[i]
			}
			l.seenMu.Lock()
			l.seen, l.seenAt = seen, time.Now()
			l.seenMu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Look answers what is on the screen, with what was measured where the present is shown.
func (l *Live) Look(q history.Query) history.Frame {
	f := l.Run.Look(q)
	l.numbered(&f)
	if f.At < f.End.Add(-2*time.Second) {
		return f
	}
	l.seenMu.Lock()
	seen, age := l.seen, time.Since(l.seenAt)
	l.seenMu.Unlock()
	if age > sampleOld {
		return f
	}
	for i := range f.Nodes.Rows {
		n := &f.Nodes.Rows[i]
		p := seen[n.Name]
		if p == nil || n.State == history.Down {
			continue
		}
		s := &history.Sample{}
		if p.CPUCapacity != nil && *p.CPUCapacity > 0 {
			s.CPULoad = min(p.CPUUsage / *p.CPUCapacity, 1)
		}
		if p.Memory != nil {
			s.MemUsed = int64(p.Memory.Used * gib)
		}
		n.Sampled = s
		for _, g := range p.GPUs {
			if int(g.Index) >= len(n.Devices) || g.Index < 0 {
				continue
			}
			d := &n.Devices[g.Index]
			d.UsedVRAM = int64(g.MemoryUsedGB * gib)
			if g.Utilization != nil {
				d.Load = int16(*g.Utilization*100 + 0.5)
			}
		}
	}
	return f
}

// numbered puts the numbers of jobs before their names: that is how the commands call them, and two jobs may have one name.
func (l *Live) numbered(f *history.Frame) {
	by := l.f.Load()
	number := func(r *history.TaskRow) {
		of, name, grown := by.Workflow(sched.JobID(r.JobID))
		if grown {
			r.Job = name
		}
		r.Job = strings.TrimSpace(strconv.Itoa(int(of)+1) + " " + r.Job)
	}
	rows := func(list []history.TaskRow) {
		for i := range list {
			number(&list[i])
		}
	}
	rows(f.List.Rows)
	if d := f.Task; d != nil {
		row := []history.TaskRow{d.Row}
		rows(row)
		d.Row = row[0]
		rows(d.Preds)
		rows(d.Succs)
	}
	for i := range f.DAG.Rows {
		number(&f.DAG.Rows[i].Task)
	}
}

// selector returns the task as the commands take it.
func (l *Live) selector(t sched.TaskID) (s string) {
	rec, _, _ := l.record()
	rec.Table(func(tb *sched.Table) {
		if t >= 0 && int(t) < len(tb.Tasks) {
			s = l.f.Load().Selector(tb, t)
		}
	})
	return s
}

// TaskNamed returns the task of that name, or as the commands take it: 12, or 12/train.
func (l *Live) TaskNamed(job, name string) (sched.TaskID, bool) {
	found := sched.Nobody
	rec, _, _ := l.record()
	if number, _, _ := strings.Cut(name, "/"); job == "" {
		if n, err := strconv.Atoi(number); err == nil {
			rec.Table(func(tb *sched.Table) {
				f := l.f.Load()
				for t := range tb.Tasks {
					if of, _, _ := f.Workflow(tb.Tasks[t].Job); int(of) == n-1 && f.Selector(tb, sched.TaskID(t)) == name {
						found = sched.TaskID(t)
						return
					}
				}
			})
		}
	}
	if found != sched.Nobody {
		return found, true
	}
	return l.Run.TaskNamed(job, name)
}

// Act has the daemon do something and returns what it did.
func (l *Live) Act(ctx context.Context, a tui.Action) (string, error) {
	if a.Kind == tui.SetPolicy {
		if err := l.c.SetPolicy(ctx, a.Policy); err != nil {
			return "", err
		}
		now, err := l.c.Policy(ctx)
		if err != nil {
			now = a.Policy
		}
		return "the policy is " + now, nil
	}
	sel := l.selector(a.Task)
	if sel == "" {
		return "", fmt.Errorf("there is no task %d", a.Task)
	}
	what := map[tui.ActionKind]daemon.Action{tui.Hold: daemon.Hold, tui.Release: daemon.Release, tui.Preempt: daemon.Preempt, tui.Cancel: daemon.Cancel}[a.Kind]
	if what == "" {
		return "", fmt.Errorf("cannot %s here", a.Kind)
	}
	done, err := l.c.Act(ctx, what, sel)
	if errors.Is(err, context.DeadlineExceeded) && (a.Kind == tui.Preempt || a.Kind == tui.Cancel) {
		return fmt.Sprintf("%s %s: asked for; it has its grace to stop", a.Kind, sel), nil
	}
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("%s: %s", a.Kind, strings.Join(done.Tasks, ", "))
	if len(done.Tasks) == 0 {
		said = fmt.Sprintf("%s %s: nothing to do", a.Kind, sel)
	}
	if len(done.Recurring) > 0 {
		said += "; its job recurs all the same"
	}
	return said, nil
}

// Logs returns the last lines that an attempt has printed.
func (l *Live) Logs(ctx context.Context, t sched.TaskID, attempt int32, lines int) ([]string, error) {
	rec, _, _ := l.record()
	if d := rec.Look(history.Query{Latest: true, Task: &history.TaskQuery{Task: t}}).Task; d != nil && d.Row.Attempts == 0 {
		return nil, errors.New("it has not started: there is nothing that it has printed")
	}
	var end tail
	if err := l.c.Log(ctx, &end, l.selector(t), attempt, false); err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(string(end.b), "\n")
	if text == "" {
		return nil, nil
	}
	all := strings.Split(text, "\n")
	if end.cut && len(all) > 1 {
		all = all[1:] // its beginning is gone
	}
	return all[max(len(all)-lines, 0):], nil
}

// tail keeps the end of what is written.
type tail struct {
	b   []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - logBytes; n > logBytes { // seldom, so that little is copied
		t.b, t.cut = append(t.b[:0], bytes.Clone(t.b[n:])...), true
	}
	return len(p), nil
}

// Explain says why a task stands where it does: the daemon's own words for now, the recording's for an instant before.
func (l *Live) Explain(ctx context.Context, t sched.TaskID, at sched.Time) ([]string, error) {
	past, err := l.Run.Explain(ctx, t, at)
	rec, _, _ := l.record()
	if end := rec.Look(history.Query{Latest: true}).End; at < end.Add(-2*time.Second) {
		return past, err
	}
	now, err := l.c.Explain(ctx, l.selector(t))
	if err != nil || len(now) == 0 {
		return past, err
	}
	return append(now[0].Why, past...), nil
}
