package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

// serve runs a daemon with its socket until stop is called, which returns when it is gone.
func serve(t *testing.T, state, sockets string) (c *api.Client, stop func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Open(t.Context(), daemon.Config{
		Dir: state, Node: sched.NodeSpec{Name: "here", CPU: 2000, Mem: 1 << 34, GPUs: 2, GPUType: "A100", VRAM: 1 << 34}, Policy: "fifo", Build: build, Exe: exe,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- d.Run(ctx) }()
	go func() { done <- api.Serve(ctx, d, sockets, api.Options{}) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	c = api.NewClient(sockets)
	eventually(t, "the daemon answers", func() bool {
		_, err := c.Status(t.Context())
		return err == nil
	})
	return c, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func submit(t *testing.T, c *api.Client, text string) {
	t.Helper()
	if _, err := c.Submit(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestALiveRecordingFollowsTheDaemonAndActsOnIt(t *testing.T) {
	state, sockets := t.TempDir(), t.TempDir()
	c, stop := serve(t, state, sockets)
	submit(t, c, `{"job":"before","tasks":[{"id":"a","command":"echo hello; echo there"},{"id":"b","command":"true","after":["a"]}]}`)
	if _, err := c.Wait(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := Follow(ctx, c, tui.Info{Title: "test"}, build)
	if err != nil {
		t.Fatal(err)
	}
	var f history.Frame
	look := func() { f = l.Look(history.Query{Latest: true}) }
	if look(); f.Metrics.Finished != 2 {
		t.Errorf("%d tasks have finished when the UI opens, wanted 2", f.Metrics.Finished)
	}
	if i := l.Info(); i.Mode != tui.Live || i.Policy != "fifo" || !strings.Contains(i.Cluster, "2 A100") {
		t.Errorf("it says %+v", i)
	}

	// What happens now, and what it is waited for.
	submit(t, c, `{"job":"now","tasks":[{"id":"x","cpu":2,"command":"sleep 1000"},{"id":"y","cpu":1,"command":"true"}]}`)
	eventually(t, "x runs and y waits", func() bool { look(); return f.Counts.Running() == 1 && f.Counts[sched.Ready] == 1 })
	const x, y = sched.TaskID(2), sched.TaskID(3)
	eventually(t, "y has waited for room", func() bool {
		d := l.Look(history.Query{Latest: true, Task: &history.TaskQuery{Task: y, Causes: true}}).Task
		return d != nil && len(d.Causes) > 0 && d.Causes[0].Cause == sched.NoRoom
	})
	if words, err := l.Explain(t.Context(), y, f.End); err != nil || !strings.Contains(strings.Join(words, "\n"), "No room: on node here") {
		t.Errorf("the explanation is %q, %v", words, err)
	}
	if lines, err := l.Logs(t.Context(), 0, 0, 1); err != nil || len(lines) != 1 || lines[0] != "there" {
		t.Errorf("the last line of the log is %q, %v", lines, err)
	}
	for name, want := range map[string]sched.TaskID{"1/b": 1, "2/x": x, "y": y} {
		if got, ok := l.TaskNamed("", name); !ok || got != want {
			t.Errorf("%s is task %d, %v; wanted %d", name, got, ok, want)
		}
	}
	if got, ok := l.TaskNamed("", "7/x"); ok {
		t.Errorf("7/x is task %d", got)
	}
	// What is added to a workflow is of that, by its number and by its name.
	submit(t, c, `{"to":1,"tasks":[{"id":"late","cpu":1,"command":"true"}]}`)
	eventually(t, "what is added is called as its workflow is", func() bool {
		id, ok := l.TaskNamed("", "1/late")
		if !ok || l.selector(id) != "1/late" {
			return false
		}
		d := l.Look(history.Query{Latest: true, Task: &history.TaskQuery{Task: id}}).Task
		return d != nil && d.Row.Job == "1 before"
	})
	act := func(kind tui.ActionKind, task sched.TaskID, want string) {
		t.Helper()
		if said, err := l.Act(t.Context(), tui.Action{Kind: kind, Task: task}); err != nil || !strings.Contains(said, want) {
			t.Errorf("%v says %q, %v; wanted %q", kind, said, err, want)
		}
	}
	act(tui.Hold, y, "2/y")
	eventually(t, "y is held", func() bool { look(); return f.Counts[sched.Held] == 1 })
	act(tui.Release, y, "2/y")
	eventually(t, "y is not held", func() bool { look(); return f.Counts[sched.Held] == 0 })
	act(tui.Preempt, x, "2/x")
	act(tui.Cancel, x, "2/x")
	eventually(t, "x is dropped and y done", func() bool { look(); return f.Counts[sched.Dropped] == 1 && f.Counts[sched.Done] == 4 })
	if said, err := l.Act(t.Context(), tui.Action{Kind: tui.SetPolicy, Policy: "easy"}); err != nil || !strings.Contains(said, "easy") {
		t.Errorf("it says %q, %v", said, err)
	}
	eventually(t, "the policy is shown", func() bool { return l.Info().Policy == "easy" })
	if _, err := l.Act(t.Context(), tui.Action{Kind: tui.SetPolicy, Policy: "nonsense"}); err == nil {
		t.Error("a policy that is not there is set")
	}
	tasks, _, err := c.Tasks(t.Context(), "all", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range tasks {
		row := l.Look(history.Query{Latest: true, Task: &history.TaskQuery{Task: sched.TaskID(id)}}).Task.Row
		if row.State.String() != want.State || row.Attempts != want.Attempts || row.Name != want.Task || row.Job != fmt.Sprint(want.Job, " ", want.JobName) {
			t.Errorf("%+v, by the daemon %+v", row, want)
		}
	}

	// The daemon goes and comes back.
	stop()
	eventually(t, "the UI says that the daemon is gone", func() bool { return l.Info().Note != "" })
	c, stop = serve(t, state, sockets)
	submit(t, c, `{"job":"after","tasks":[{"id":"z","command":"true"}]}`)
	eventually(t, "the recording goes on", func() bool { look(); return f.Counts[sched.Done] == 5 && l.Info().Note == "" })
	if f.Counts.Submitted() != 6 {
		t.Errorf("%d tasks are recorded, wanted 6", f.Counts.Submitted())
	}

	// Another state begins a new recording.
	stop()
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(state), 0o700); err != nil {
		t.Fatal(err)
	}
	c, _ = serve(t, state, sockets)
	submit(t, c, `{"job":"new","tasks":[{"id":"only","command":"true"}]}`)
	eventually(t, "the new state is shown", func() bool { look(); return f.Counts.Submitted() == 1 && f.Counts[sched.Done] == 1 })
	cancel()
	<-l.Done()
}
