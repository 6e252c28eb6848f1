package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/schedlab/schedlab/live"
	"github.com/schedlab/schedlab/policies/sched"
)

// table has one job of n tasks of one core; task i is estimated at i+1 seconds.
func table(n int) *sched.Table {
	tb := &sched.Table{
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}}, Classes: make([]sched.Class, 1),
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 1,
	}
	for i := range n {
		tb.Tasks = append(tb.Tasks, sched.Task{})
		tb.Estimates = append(tb.Estimates, time.Duration(i+1)*time.Second)
	}
	return tb
}

// slices1s is a policy with time slices of a second on a first-come line: it starts, stops and wakes.
type slices1s struct{ line []sched.TaskID }

func (p *slices1s) Observe(_ *sched.State, e sched.Event) {
	if e.Kind == sched.TaskReady {
		p.line = append(p.line, e.Task)
	}
}

func (p *slices1s) Decide(r *sched.Round) {
	for len(p.line) > 0 {
		on, ok := r.Room().FirstFit(r.DemandID(p.line[0]), nil)
		if !ok || !r.Start(p.line[0], on...) {
			break
		}
		p.line = p.line[1:]
	}
	if len(p.line) == 0 {
		return
	}
	for t := range r.RunningTasks() {
		if over := r.StartedAt(t).Add(time.Second); over <= r.Now() {
			r.Evict(t)
		} else {
			r.WakeAt(over)
		}
	}
}

// runner notes calls and reports ends; stopping takes stopFor.
type runner struct {
	loop    *live.Loop
	calls   []string
	left    map[sched.TaskID]time.Duration
	began   map[sched.TaskID]time.Time
	timers  map[sched.TaskID]*time.Timer
	stopFor time.Duration
}

func (r *runner) note(format string, args ...any) {
	r.calls = append(r.calls, fmt.Sprintf("%g ", r.loop.Now().Seconds())+fmt.Sprintf(format, args...))
}

func (r *runner) Start(t sched.TaskID, attempt int32, on []sched.Placement) {
	r.note("start %d#%d@%d", t, attempt, on[0].Node)
	on[0].Node = 77 // the callee's to keep
	r.began[t] = time.Now()
	r.timers[t] = time.AfterFunc(r.left[t], func() {
		r.loop.Report(sched.Event{Kind: sched.Finished, Task: t, Attempt: attempt, Node: sched.NoNode})
	})
}

func (r *runner) Stop(t sched.TaskID, attempt int32) {
	r.note("stop %d#%d", t, attempt)
	r.timers[t].Stop()
	r.left[t] -= time.Since(r.began[t])
	time.AfterFunc(r.stopFor, func() {
		r.loop.Report(sched.Event{Kind: sched.Stopped, Task: t, Attempt: attempt, Node: sched.NoNode})
	})
}

func (r *runner) Checkpoint(t sched.TaskID, attempt int32) { r.note("checkpoint %d#%d", t, attempt) }

var nodes = []sched.NodeSpec{{Name: "a", CPU: 1000, Mem: sched.Unlimited}}

func newLoop(t *testing.T, tb *sched.Table, p sched.Policy) (*live.Loop, *runner) {
	k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{left: map[sched.TaskID]time.Duration{}, began: map[sched.TaskID]time.Time{}, timers: map[sched.TaskID]*time.Timer{}, stopFor: 100 * time.Millisecond}
	for i := range tb.Tasks {
		r.left[sched.TaskID(i)] = 1500 * time.Millisecond
	}
	l := &live.Loop{Kernel: k, Runner: r, Epoch: time.Now()}
	l.Settle = func(context.Context) { synctest.Wait() }
	l.Done = func(s *sched.State) bool { return s.Known() > 0 && s.Open() == 0 }
	r.loop = l
	return l, r
}

func arrived(first, n int32) sched.Event {
	return sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(first), N: n, Node: sched.NoNode}
}

func TestFactsReportedBeforeRunAreTakenIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := newLoop(t, table(1), &slices1s{})
		l.Report(arrived(0, 1))
		l.Report() // nothing at all
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"0 start 0#1@0"}; !slices.Equal(r.calls, want) {
			t.Errorf("calls %q, wanted %q", r.calls, want)
		}
		if l.Now() != sched.Time(1500*time.Millisecond) {
			t.Errorf("it ended at %v", l.Now().Seconds())
		}
	})
}

// Whoever replays the steps that Tap saw must find the kernel as it is: a policy may remember when it was asked.
func TestTheKernelTakesNoStepThatTapDoesNotSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := &counted{}
		l, _ := newLoop(t, table(2), asked)
		taps, idle := 0, 0
		l.Tap = func(sched.Time, []sched.Event, []sched.Command) error { taps++; return nil }
		l.Idle = func() error { idle++; return nil }
		l.Report(arrived(0, 2))
		for at := range 3 {
			time.AfterFunc(time.Duration(at)*time.Second+500*time.Millisecond, func() { l.Report() })
		}
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if taps != asked.decisions || idle == 0 {
			t.Errorf("%d decisions, of which Tap saw %d; idle %d times", asked.decisions, taps, idle)
		}
	})
}

// counted is slices1s that counts how often it was asked.
type counted struct {
	slices1s
	decisions int
}

func (p *counted) Decide(r *sched.Round) {
	p.decisions++
	p.slices1s.Decide(r)
}

func TestTheLoopWakesWhenThePolicyAskedAndTellsOrdersInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := newLoop(t, table(2), &slices1s{})
		l.Report(arrived(0, 2))
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"0 start 0#1@0",
			"1 stop 0#1", // nothing was reported at 1: the policy asked to be woken
			"1.1 start 1#1@0",
			"2.1 stop 1#1",
			"2.2 start 0#2@0",
			"2.7 start 1#2@0",
		}
		if !slices.Equal(r.calls, want) {
			t.Errorf("calls\n%s\nwanted\n%s", strings.Join(r.calls, "\n"), strings.Join(want, "\n"))
		}
	})
}

// many gives several orders in one decision: it stops all that runs and starts all that is ready, the highest number first.
type many struct{}

func (many) Observe(*sched.State, sched.Event) {}

func (many) Decide(r *sched.Round) {
	for t := range r.RunningTasks() {
		r.Checkpoint(t)
		r.Evict(t)
	}
	for t := sched.TaskID(r.Known() - 1); t >= 0; t-- {
		if r.Phase(t) == sched.Ready && r.Attempt(t) == 0 {
			r.Start(t, sched.Placement{Node: 0, Replicas: 1})
		}
	}
}

func TestTheRunnerIsCalledInTheOrderOfTheCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := table(4)
		k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "a", CPU: 4000, Mem: sched.Unlimited}}, Policy: many{}})
		if err != nil {
			t.Fatal(err)
		}
		l, r := newLoop(t, tb, many{})
		l.Kernel = k
		var want []string
		batches := 0
		l.Tap = func(now sched.Time, _ []sched.Event, out []sched.Command) error {
			if len(r.calls) != len(want) {
				t.Errorf("%d of %d orders had left before the tap of the next batch", len(r.calls), len(want))
			}
			for _, c := range out {
				w := fmt.Sprintf("%g %v %d#%d", now.Seconds(), c.Kind, c.Task, c.Attempt)
				if c.Kind == sched.Start {
					w += fmt.Sprintf("@%d", c.On[0].Node)
				}
				want = append(want, w)
			}
			batches++
			return nil
		}
		l.Done = func(*sched.State) bool { return batches == 2 }
		l.Report(arrived(0, 4))
		time.AfterFunc(time.Second, func() { l.Report(sched.Event{Kind: sched.NodeProfile}) })
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.calls, want) || len(want) != 12 {
			t.Errorf("calls\n%s\norders\n%s", strings.Join(r.calls, "\n"), strings.Join(want, "\n"))
		}
		for _, p := range k.Placements(0) {
			if p.Node != 0 {
				t.Errorf("the runner has changed the kernel's placement: %v", p)
			}
		}
	})
}

func TestTheEndOfTheContextEndsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := newLoop(t, table(1), &slices1s{})
		r.left[0] = time.Hour
		l.Report(arrived(0, 1))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := l.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
		l.Report(arrived(0, 1)) // nobody listens any more; it does not block
		l.Report(arrived(0, 1))
		r.timers[0].Stop()
	})
}

func TestAnErrorOfTapStopsTheLoopBeforeTheOrdersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := newLoop(t, table(1), &slices1s{})
		full := errors.New("disk full")
		l.Tap = func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
			if len(out) != 1 {
				t.Errorf("%d orders", len(out))
			}
			return full
		}
		l.Report(arrived(0, 1))
		if err := l.Run(context.Background()); !errors.Is(err, full) {
			t.Errorf("error %v", err)
		}
		if len(r.calls) != 0 {
			t.Errorf("orders have left: %q", r.calls)
		}
	})
}

func TestLateReportsChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain, noisy := &runner{}, &runner{}
		for _, noise := range []bool{false, true} {
			l, r := newLoop(t, table(3), &slices1s{})
			l.Report(arrived(0, 3))
			if noise {
				// Attempts that never were, that are over, tasks that do not exist, ends told twice.
				for _, at := range []time.Duration{10, 1050, 2150, 2250, 3000, 3500, 4000, 4500} {
					old := int32(0)
					if at >= 3500 { // all are in their second attempts by then
						old = 1
					}
					time.AfterFunc(at*time.Millisecond, func() {
						for task := sched.TaskID(-1); task < 5; task++ {
							for _, kind := range []sched.EventKind{sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped, sched.CheckpointDone, sched.Started} {
								for _, attempt := range []int32{-1, 0, old, 99} {
									l.Report(sched.Event{Kind: kind, Task: task, Attempt: attempt, Node: sched.NoNode, Done: time.Second})
								}
							}
						}
					})
				}
				noisy = r
			} else {
				plain = r
			}
			if err := l.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			if noise && l.Kernel.Late() == 0 {
				t.Error("nothing was late")
			}
			time.Sleep(time.Minute)
		}
		for i := range noisy.calls { // both begin at 0 of their own epoch
			if i >= len(plain.calls) || plain.calls[i] != noisy.calls[i] {
				t.Fatalf("calls with late reports\n%s\nwithout\n%s", strings.Join(noisy.calls, "\n"), strings.Join(plain.calls, "\n"))
			}
		}
		if len(plain.calls) != len(noisy.calls) || len(plain.calls) < 6 {
			t.Errorf("%d and %d calls", len(plain.calls), len(noisy.calls))
		}
	})
}

func TestSettleGathersTheFactsOfAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, window := range []time.Duration{0, 20 * time.Millisecond} {
			l, r := newLoop(t, table(5), &slices1s{})
			l.Settle = func(context.Context) { time.Sleep(window) }
			r.stopFor = 0
			var batches []string
			l.Tap = func(now sched.Time, in []sched.Event, _ []sched.Command) error {
				if len(in) > 0 && in[0].Kind == sched.JobArrived {
					var tasks []sched.TaskID
					for _, e := range in {
						tasks = append(tasks, e.Task)
					}
					batches = append(batches, fmt.Sprint(time.Duration(now), tasks))
				}
				return nil
			}
			// Told against their order, 5 ms apart.
			for i := range 5 {
				time.AfterFunc(time.Duration(i)*5*time.Millisecond, func() { l.Report(arrived(int32(4-i), 1)) })
			}
			if err := l.Run(contextFor(t, 30*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			want := []string{"0s [4]", "5ms [3]", "10ms [2]", "15ms [1]", "20ms [0]"}
			if window > 0 {
				want = []string{"20ms [1 2 3 4]", "40ms [0]"}
			}
			if window > 0 && len(batches) > 0 && strings.HasPrefix(batches[0], "20ms [0") { // the last one came at the window's very end
				want = []string{"20ms [0 1 2 3 4]"}
			}
			if !slices.Equal(batches, want) {
				t.Errorf("window %v: batches %q, wanted %q", window, batches, want)
			}
			for _, timer := range r.timers {
				timer.Stop()
			}
		}
	})
}

func contextFor(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestTheTapSeesTheKernelsTimeWhichNeverFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := table(2)
		l, _ := newLoop(t, tb, &slices1s{})
		// A kernel that goes on from a journal whose last batch is later than this machine's clock.
		k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: &slices1s{}, Start: sched.Time(10 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		l.Kernel = k
		last := sched.Time(10 * time.Second)
		l.Tap = func(now sched.Time, _ []sched.Event, _ []sched.Command) error {
			if now < last || now != k.Now() {
				t.Errorf("the tap is told %v, the kernel has %v, the last batch was at %v", now.Seconds(), k.Now().Seconds(), last.Seconds())
			}
			last = now
			return nil
		}
		l.Report(arrived(0, 1))
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// batch is one entry of a journal in memory.
type batch struct {
	now sched.Time
	in  []sched.Event
	out string
}

func said(out []sched.Command) string {
	var s []string
	for _, c := range out {
		s = append(s, fmt.Sprintf("%v %d#%d %v", c.Kind, c.Task, c.Attempt, c.On))
	}
	return strings.Join(s, ", ")
}

func TestARecordedRunReplaysToEqualOrders(t *testing.T) {
	var journal []batch
	tb := table(6)
	synctest.Test(t, func(t *testing.T) {
		l, r := newLoop(t, tb, &slices1s{})
		r.stopFor = 30 * time.Millisecond
		l.Settle = func(context.Context) { time.Sleep(10 * time.Millisecond) }
		l.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			journal = append(journal, batch{now, slices.Clone(in), said(out)})
			return nil
		}
		go func() {
			for i := range 6 {
				l.Report(arrived(int32(i), 1))
				time.Sleep(time.Duration(i*333) * time.Millisecond)
			}
		}()
		time.AfterFunc(3*time.Second, func() { l.Report(sched.Event{Kind: sched.NodeDown, Node: 0, Task: sched.Nobody}) })
		time.AfterFunc(4*time.Second, func() { l.Report(sched.Event{Kind: sched.NodeUp, Node: 0, Task: sched.Nobody}) })
		l.Done = func(s *sched.State) bool { return s.Known() == 6 && s.Open() == 0 }
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: &slices1s{}})
	if err != nil {
		t.Fatal(err)
	}
	orders := 0
	for i, b := range journal {
		if got := said(k.Step(b.now, b.in)); got != b.out {
			t.Fatalf("batch %d at %v: replayed to %q, recorded %q", i, b.now.Seconds(), got, b.out)
		}
		if b.out != "" {
			orders++
		}
	}
	if orders < 15 || k.Open() != 0 {
		t.Errorf("%d batches with orders, %d tasks open", orders, k.Open())
	}
}
