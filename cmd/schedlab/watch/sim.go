package watch

import (
	"context"
	"fmt"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
	"github.com/schedlab/schedlab/tui"
)

// Simulate begins to simulate and returns the recording, which runs ahead of whoever looks. c's Tap and WaitParts are overwritten.
func Simulate(ctx context.Context, c sim.Config, info tui.Info) *Run {
	info.Mode = tui.Sim
	r := newRun(info)
	tb := *c.Workload.Table
	if c.Estimates != nil {
		tb.Estimates = c.Estimates
	}
	r.begin(&tb, c.Nodes)
	rec, waits := r.rec, r.waits
	c.WaitParts = waits.add
	c.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
		rec.Batch(now, in, out)
		return nil
	}
	go r.guarded(func() error {
		res, err := sim.Run(ctx, c)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", info.Policy, err)
		case c.Horizon != 0:
			rec.Cut(c.Horizon)
		case res.Unfinished > 0:
			return fmt.Errorf("%s: %w", info.Policy, experiment.Unfinished(res, c.Workload))
		}
		if res.OutOfMemory > 0 || !allDone(res, len(c.Workload.Tasks)) {
			r.bound(0) // it is one of the time for all work
		}
		return nil
	})
	return r
}

// allDone reports whether all of n tasks were done: none failed for good, was cut, refused or left over.
func allDone(res *sim.Result, n int) bool {
	for t := range sched.TaskID(n) {
		if res.Outcome(t).Phase != sched.Done {
			return false
		}
	}
	return true
}

// Bound works out the lower bound of the makespan in the background and tells it to the runs, which are of the same workload. The channel is closed when
// that is done.
func Bound(w *traces.Workload, nodes []sched.NodeSpec, runs ...*Run) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // a bound that cannot be had is left out; the same bug shows in every other command
		b, err := graph.LowerBound(w.Table, w.Run, w.RunOn, nodes)
		if err != nil {
			return
		}
		for _, r := range runs {
			r.bound(sched.Time(b.Makespan))
		}
	}()
	return done
}
