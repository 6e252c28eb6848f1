// Package live is the real-time driver of the kernel in policies/sched: it carries the kernel's orders out through a Runner and turns
// what the Runner reports into facts. It decides nothing.
package live

import (
	"context"
	"sync"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Runner carries orders out. The loop calls it from its one goroutine; no method may block for long. What happens is told by Loop.Report,
// from any goroutine, with the attempt's number; reports of old attempts are harmless.
type Runner interface {
	// Start begins an attempt. on is the callee's to keep.
	Start(t sched.TaskID, attempt int32, on []sched.Placement)
	// Stop ends an attempt; the Runner reports Stopped, with the work that was kept, once it holds nothing any more.
	Stop(t sched.TaskID, attempt int32)
	// Checkpoint saves the attempt's work; the Runner reports CheckpointDone.
	Checkpoint(t sched.TaskID, attempt int32)
}

// Loop drives a kernel in real time. Set its fields, then call Run once. Facts may be reported before Run.
type Loop struct {
	Kernel *sched.Kernel
	Runner Runner
	Epoch  time.Time // the instant of sched.Time 0, as the wall clock had it
	// Settle, if not nil, is called between the first fact of a batch and the batch: the decision window, in which more facts of the
	// moment gather.
	Settle func(ctx context.Context)
	// Lock, if not nil, is held while the kernel changes, so that others may read its State under it.
	Lock sync.Locker
	// Intake, if not nil, is called under Lock with the facts of a batch before the kernel takes them in, and returns them with more, which
	// may depend on the state.
	Intake func(now sched.Time, in []sched.Event) []sched.Event
	// Tap, if not nil, sees every step of the kernel before its orders leave, so that a journal can make it durable first: a step without facts is
	// one too, for the end of a backoff or the policy's wake changes the kernel even where no order follows. An error stops the loop.
	Tap func(now sched.Time, in []sched.Event, out []sched.Command) error
	// Idle, if not nil, is called in place of Tap where the loop was woken for nothing: no fact, and the kernel wants no step yet. It gets none.
	Idle func() error
	// Done, if not nil, ends Run when it returns true after a batch.
	Done func(*sched.State) bool

	mu   sync.Mutex
	in   []sched.Event
	wake chan struct{}
	once sync.Once

	clock clock
}

func (l *Loop) init() { l.wake = make(chan struct{}, 1) }

// Report tells facts to the loop. It never blocks and may be called from any goroutine.
func (l *Loop) Report(in ...sched.Event) {
	l.once.Do(l.init)
	l.mu.Lock()
	l.in = append(l.in, in...)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run drives the kernel until the context ends (its error is returned), Tap fails, or Done says so.
func (l *Loop) Run(ctx context.Context) error {
	l.once.Do(l.init)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []sched.Event
	for {
		var due <-chan time.Time
		if at, ok := l.Kernel.NextWake(); ok {
			timer.Reset(max(at.Sub(l.Now()), 0))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-due:
		}
		if l.Settle != nil {
			l.Settle(ctx)
		}
		select { // what woke it again meanwhile is in this batch
		case <-l.wake:
		default:
		}
		l.mu.Lock()
		batch = append(batch[:0], l.in...)
		l.in = l.in[:0]
		l.mu.Unlock()
		now, out, stepped := l.step(&batch)
		switch {
		case !stepped && l.Idle != nil:
			if err := l.Idle(); err != nil {
				return err
			}
		case stepped && l.Tap != nil:
			if err := l.Tap(now, batch, out); err != nil {
				return err
			}
		}
		for i := range out {
			switch c := &out[i]; c.Kind {
			case sched.Start:
				l.Runner.Start(c.Task, c.Attempt, append([]sched.Placement(nil), c.On...))
			case sched.Stop:
				l.Runner.Stop(c.Task, c.Attempt)
			case sched.Checkpoint:
				l.Runner.Checkpoint(c.Task, c.Attempt)
			}
		}
		if l.Done != nil && l.Done(&l.Kernel.State) {
			return nil
		}
	}
}

// step lets the kernel take in a batch, if that holds a fact or the kernel wants a step by now. A decision at a moment that nothing calls for
// would not come again where the batches are replayed.
func (l *Loop) step(batch *[]sched.Event) (now sched.Time, out []sched.Command, stepped bool) {
	if l.Lock != nil {
		l.Lock.Lock()
		defer l.Lock.Unlock()
	}
	now = max(l.Now(), l.Kernel.Now()) // time never falls, whatever the clock does
	if l.Intake != nil {
		*batch = l.Intake(now, *batch)
	}
	if at, ok := l.Kernel.NextWake(); len(*batch) == 0 && (!ok || at > now) {
		return now, nil, false
	}
	sched.SortBatch(*batch)
	return now, l.Kernel.Step(now, *batch), true
}

// Waiting returns the number of facts that no batch has taken yet.
func (l *Loop) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.in)
}
