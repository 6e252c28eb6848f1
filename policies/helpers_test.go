package policies_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// shared returns the path of a file of the public traces and references, which are not part of the project; the test is skipped where
// they are absent.
func shared(t testing.TB, path string) string {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	full := filepath.Join(root, path)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("the reference %s is not here (set SCHEDLAB_SHARED)", path)
	}
	return full
}

// second is a time on the trace's axis.
func second(n float64) sched.Time { return sched.Time(n * 1e9) }

// cores is a row that asks for CPUs, devices one that asks for whole GPUs. Its estimate is its run time.
func cores(submit, run float64, n int64) traces.Row {
	d := time.Duration(run * 1e9)
	return traces.Row{Submit: second(submit), Run: d, Estimate: d, Need: sched.Need{CPU: n * 1000}}
}

func devices(submit, run float64, n int32) traces.Row {
	d := time.Duration(run * 1e9)
	return traces.Row{Submit: second(submit), Run: d, Estimate: d, Need: sched.Need{GPUs: n, GPUMilli: sched.Whole}}
}

func with(r traces.Row, change func(*traces.Row)) traces.Row {
	change(&r)
	return r
}

// inJob names a row and says what it comes after.
func inJob(r traces.Row, id string, after ...string) traces.Row {
	r.Job, r.ID, r.After = "j", id, after
	return r
}

func workload(t testing.TB, rows ...traces.Row) *traces.Workload {
	t.Helper()
	b := traces.NewBuilder("case", "test")
	for i := range rows {
		if err := b.Add(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// arrival tells that a job of one task has arrived, report what has become of an attempt.
func arrival(t sched.TaskID) sched.Event {
	return sched.Event{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}
}

func report(kind sched.EventKind, t sched.TaskID, attempt int32, done time.Duration) sched.Event {
	return sched.Event{Kind: kind, Task: t, Attempt: attempt, Done: done, Node: sched.NoNode}
}

// machines returns nodes with that many cores and GPUs each.
func machines(count int, cores int64, gpus int32) []sched.NodeSpec {
	var out []sched.NodeSpec
	for i := range count {
		out = append(out, sched.NodeSpec{Name: fmt.Sprintf("n%d", i), CPU: cores * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: gpus})
	}
	return out
}

func simulate(t testing.TB, c sim.Config) *sim.Result {
	t.Helper()
	res, err := sim.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func config(w *traces.Workload, nodes []sched.NodeSpec, p sched.Policy, tap func(sched.Time, []sched.Event, []sched.Command) error) sim.Config {
	return sim.Config{Workload: w, Nodes: nodes, Policy: p, Tap: tap}
}

// orders returns a tap that notes orders as `at kind task@node`, and the notes.
func orders() (tap func(sched.Time, []sched.Event, []sched.Command) error, text func() string) {
	var notes []string
	tap = func(now sched.Time, _ []sched.Event, out []sched.Command) error {
		for _, c := range out {
			note := fmt.Sprintf("%g %v %d", now.Seconds(), c.Kind, c.Task)
			if c.Kind == sched.Start {
				for _, p := range c.On {
					note += fmt.Sprintf("@%d", p.Node)
				}
			}
			notes = append(notes, note)
		}
		return nil
	}
	return tap, func() string { return strings.Join(notes, ", ") }
}

// startOrder simulates and returns the tasks' ids in the order of their first start.
func startOrder(t testing.TB, c sim.Config, policy string) string {
	t.Helper()
	var ids []string
	seen := map[sched.TaskID]bool{}
	c.Policy = build(t, policy)()
	c.Tap = func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
		for _, o := range out {
			if o.Kind == sched.Start && !seen[o.Task] {
				seen[o.Task] = true
				ids = append(ids, c.Workload.TaskNames.At(int(o.Task)))
			}
		}
		return nil
	}
	simulate(t, c)
	return strings.Join(ids, " ")
}
