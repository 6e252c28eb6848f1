// Package watch makes recordings for the terminal UI: of a simulation, of a journal and of a daemon. Each is fed by a goroutine of its own,
// which is all that touches a kernel.
package watch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

// Run is a recording and what is known of it besides. It is a tui.Source.
type Run struct {
	mu    sync.RWMutex
	rec   *history.Record
	tb    *sched.Table // changes only within rec.Grow
	nodes []sched.NodeSpec
	waits *waitLog
	info  tui.Info
	apart bool          // no lower bound holds for it
	done  chan struct{} // closed when nothing comes any more
}

func newRun(info tui.Info) *Run { return &Run{info: info, done: make(chan struct{})} }

// record is the recording of the moment: a daemon with another state brings a new one.
func (r *Run) record() (*history.Record, *sched.Table, *waitLog) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.rec, r.tb, r.waits
}

func (r *Run) begin(tb *sched.Table, nodes []sched.NodeSpec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rec, r.tb, r.nodes, r.waits = history.New(tb, nodes), tb, nodes, &waitLog{}
}

// Info says what is recorded.
func (r *Run) Info() tui.Info {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.info
}

func (r *Run) change(f func(*tui.Info)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.info)
}

// bound sets the lower bound of the makespan; 0: there is none, whatever is said later.
func (r *Run) bound(b sched.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.apart = r.apart || b == 0; r.apart {
		b = 0
	}
	r.info.LowerBound = b
}

// Look answers what is on the screen. Why a task waited is what the kernel's books say, where there was one.
func (r *Run) Look(q history.Query) history.Frame {
	rec, _, waits := r.record()
	f := rec.Look(q)
	if q.Task != nil && q.Task.Causes && f.Task != nil {
		f.Task.Causes = waits.causes(q.Task.Task, f.At, f.Task)
	}
	return f
}

// TaskNamed returns the task of that name, in the job if one is given.
func (r *Run) TaskNamed(job, name string) (sched.TaskID, bool) {
	rec, _, _ := r.record()
	return rec.TaskNamed(job, name)
}

// Done is closed when nothing comes any more.
func (r *Run) Done() <-chan struct{} { return r.done }

// Explain says why a task stands where it does at an instant, by the stretches in which it waited.
func (r *Run) Explain(_ context.Context, t sched.TaskID, at sched.Time) ([]string, error) {
	rec, tb, waits := r.record()
	f, epoch := rec.Look(history.Query{At: at, Task: &history.TaskQuery{Task: t, Causes: true, Relatives: 1000}}), r.Info().Epoch
	clock := func(t sched.Time) string { return tui.Instant(t, epoch, f.End-f.From) }
	d := f.Task
	if d == nil {
		return nil, fmt.Errorf("the task has not been submitted at %s", clock(at))
	}
	var out []string
	parts := waits.of(t, at)
	const shown = 12
	if n := len(parts) - shown; n > 0 {
		out = append(out, fmt.Sprintf("(%d earlier stretches are left out)", n))
		parts = parts[n:]
	}
	for _, p := range parts {
		out = append(out, fmt.Sprintf("%s to %s: %s.", clock(p.from), clock(min(p.to, at)), words(tb, p)))
	}
	if cause, left := waits.open(t, at, d); left > 0 && !d.Row.State.Over() { // it still waits
		why := words(tb, part{cause: cause, blocker: sched.Nobody, lack: sched.NoResource})
		if d.Row.State == sched.Held {
			why = "held"
		}
		out = append(out, fmt.Sprintf("%s to now: %s.", clock(at.Add(-left)), why))
	}
	state := d.Row.State.String()
	switch {
	case d.Row.State == sched.Running:
		state = fmt.Sprintf("running on %s, attempt %d", d.Row.Node, d.Row.Attempts)
	case d.Row.State == sched.Blocked:
		open := 0
		for _, p := range d.Preds {
			if p.State != sched.Done {
				open++
			}
		}
		state = "blocked: predecessors are not done"
		if open > 0 {
			state = "blocked by " + plural(open, "predecessor", "predecessors")
		}
	}
	out = append(out, fmt.Sprintf("At %s it is %s; it asks for %s.", clock(at), state, d.Demand))
	if d.Ahead > 0 {
		out = append(out, plural(d.Ahead, "ready task has", "ready tasks have")+" waited longer.")
	}
	if d.Overtaken > 0 {
		out = append(out, plural(d.Overtaken, "task that was ready later has", "tasks that were ready later have")+" started before it.")
	}
	return out, nil
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n) + " " + more
}

// words says what a stretch of waiting was spent for.
func words(tb *sched.Table, p part) string {
	name := func(t sched.TaskID) string { return tb.TaskNames.At(int(t)) }
	switch p.cause {
	case sched.Dependency:
		if p.blocker >= 0 {
			return "waited for predecessors, the last was " + name(p.blocker)
		}
		return "waited for predecessors"
	case sched.NoRoom:
		if p.lack != sched.NoResource {
			return "no room, short of " + p.lack.String()
		}
		return "no room"
	case sched.Order:
		if p.blocker >= 0 {
			return "held back by order, " + name(p.blocker) + " stood at the head of the line when it ended"
		}
		return "held back by order"
	case sched.FailureDelay:
		return "backoff after a failure"
	}
	return p.cause.String()
}

// waitLog keeps the stretches in which tasks waited. The zero value is empty.
type waitLog struct {
	mu    sync.RWMutex
	parts [][]part // in chunks, so that growing copies nothing
	n     int32
	last  []int32 // by task, of its stretches; -1 if there is none
}

type part struct {
	from, to sched.Time
	prev     int32 // of the same task; -1 if none
	blocker  sched.TaskID
	cause    sched.Cause
	lack     sched.Resource
}

const chunk = 1 << 14

func (w *waitLog) at(i int32) *part { return &w.parts[i/chunk][i%chunk] }

// add takes the stretches that ended in a batch.
func (w *waitLog) add(list []sched.WaitPart) {
	if len(list) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range list {
		x := &list[i]
		for int(x.Task) >= len(w.last) {
			w.last = append(w.last, -1)
		}
		if w.n%chunk == 0 {
			w.parts = append(w.parts, make([]part, chunk))
		}
		*w.at(w.n) = part{x.From, x.To, w.last[x.Task], x.Blocker, x.Cause, x.Lack}
		w.last[x.Task] = w.n
		w.n++
	}
}

// of returns the stretches of a task that began before the instant, in their order.
func (w *waitLog) of(t sched.TaskID, at sched.Time) []part {
	w.mu.RLock()
	defer w.mu.RUnlock()
	var out []part
	if int(t) < len(w.last) {
		for i := w.last[t]; i >= 0; {
			p := w.at(i)
			if p.from < at {
				out = append(out, *p)
			}
			i = p.prev
		}
	}
	slices.Reverse(out)
	return out
}

// causes returns why the task waited up to the instant. Where its present stretch has not ended in what is recorded, the rest is as the
// recording guesses.
func (w *waitLog) causes(t sched.TaskID, at sched.Time, d *history.TaskDetail) []history.CauseTime {
	var sum [sched.NumCauses]time.Duration
	for _, p := range w.of(t, at) {
		sum[p.cause] += min(p.to, at).Sub(p.from)
	}
	if most, rest := w.open(t, at, d); rest > 0 {
		sum[most] += rest
	}
	var out []history.CauseTime
	for c, x := range sum {
		if x > 0 {
			out = append(out, history.CauseTime{Cause: sched.Cause(c), Time: x})
		}
	}
	slices.SortStableFunc(out, func(a, b history.CauseTime) int { return cmp.Compare(b.Time, a.Time) })
	return out
}

// open returns how long of the task's wait up to the instant is in no stretch that has ended, and what the recording takes its cause to be.
func (w *waitLog) open(t sched.TaskID, at sched.Time, d *history.TaskDetail) (most sched.Cause, rest time.Duration) {
	var left [sched.NumCauses]time.Duration
	for _, c := range d.Causes {
		left[c.Cause] += c.Time
		rest += c.Time
	}
	for _, p := range w.of(t, at) {
		x := min(p.to, at).Sub(p.from)
		left[p.cause] -= x
		rest -= x
	}
	for c := range left {
		if left[c] > left[most] {
			most = sched.Cause(c)
		}
	}
	return most, rest
}

// guarded runs f and closes the recording with its error. A panic in it must not take the terminal along.
func (r *Run) guarded(f func() error) {
	defer close(r.done)
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("this is a bug in schedlab: %v", p)
			}
		}()
		return f()
	}()
	rec, _, _ := r.record()
	rec.Close(err)
}
