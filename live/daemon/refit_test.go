package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// A machine that comes back with something else is one machine: what it was is neither offered nor shown.
func TestAMachineThatHasChangedIsNotThereTwice(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"tasks":[{"id":"a","command":"true","gpus":4}]}`)
	d.wait("1")
	d.close()
	d = serve(t, dir, func(c *Config) { c.Node.GPUs, c.Node.CPU = 2, 2000 })
	for end := time.Now().Add(10 * time.Second); d.Status().Nodes[0].GPUs != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", d.Status())
		}
	}
	if n := d.Status().Nodes; len(n) != 1 || n[0].CPU != 2 {
		t.Errorf("%+v", n)
	}
	if _, err := d.Submit(t.Context(), Who{0}, parse(t, `{"tasks":[{"id":"a","command":"true","gpus":4}]}`)); !errors.Is(err, ErrBad) {
		t.Errorf("a task for four GPUs: %v", err)
	}
	if _, err := d.Metrics().Gather(); err != nil {
		t.Error(err)
	}
	d.submit(`{"tasks":[{"id":"a","command":"exec sleep 1000","gpus":2,"cpu":2,"grace_s":0}]}`)
	waitState(t, d, "2", "running")
	d.submit(`{"tasks":[{"id":"a","command":"true","cpu":1}]}`)
	if why := strings.Join(d.Explain(mustSelect(t, d, "3"))[0].Why, " "); strings.Count(why, "ode here") != 1 || !strings.Contains(why, "0 of 2 GPU, 0 of 2 cores") {
		t.Errorf("%s", why)
	}
	for _, name := range []string{"", "here"} {
		for _, on := range []bool{true, false} {
			if err := d.Drain(t.Context(), Who{0}, name, on); err != nil || d.Status().Nodes[0].Up == on {
				t.Errorf("drain %q %v: %v, %+v", name, on, err, d.Status().Nodes)
			}
		}
	}
	if err := d.Drain(t.Context(), Who{0}, "there", true); !errors.Is(err, ErrNotFound) {
		t.Errorf("another node: %v", err)
	}
}

// marked makes the machine one of 8 GPUs with a label.
func marked(c *Config) {
	c.Node.GPUs, c.Node.Labels = 8, []sched.Label{{Key: "accelerator", Value: "npu"}}
	c.GPUsSay = "8 A100 (declared)"
}

// What is shown of a machine is what is in force: a change waits for what runs, says so, and needs no other start of the daemon.
func TestAChangeOfABusyMachineCountsOnceNothingRuns(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	proc(t, root, 16)
	d := serve(t, dir, watched(t, nil, root, nil))
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"until [ -e go ]; do sleep 0.01; done","gpus":1,"dir":%q}]}`, root))
	waitState(t, d, "1", "running")
	d.close()
	d = serve(t, dir, watched(t, nil, root, nil), marked)
	eventually(t, "the machine is not sampled", func() bool { return d.Seen() != nil })
	if s := d.Seen(); s.GPUs != "4 A100" || s.Labels != nil || s.Profile.Labels != nil || s.Profile.GPUCount != 4 || !slices.Equal(s.Later, []string{"8 A100", "label accelerator=npu"}) {
		t.Errorf("while a task runs: %+v", s)
	}
	npu := `{"tasks":[{"id":"a","command":"true","gpus":8,"labels":{"accelerator":"npu"}}]}`
	if _, err := d.Submit(t.Context(), Who{0}, parse(t, npu)); !errors.Is(err, ErrBad) || !strings.Contains(err.Error(), "once nothing runs") {
		t.Errorf("while a task runs: %v", err)
	}
	if n := d.Status().Nodes[0]; n.GPUs != 4 {
		t.Errorf("while a task runs: %+v", n)
	}
	if err := os.WriteFile(filepath.Join(root, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := d.wait("1")[0]; v.State != "done" || v.Attempts != 1 {
		t.Errorf("what ran was torn: %+v", v)
	}
	eventually(t, "nothing runs, and the change is not in force", func() bool { return d.Status().Nodes[0].GPUs == 8 })
	d.submit(npu)
	if v := d.wait("2")[0]; v.State != "done" {
		t.Errorf("%+v", v)
	}
	eventually(t, "the change is in force and not shown", func() bool {
		s := d.Seen()
		return s.GPUs == "8 A100 (declared)" && slices.Equal(s.Labels, []string{"accelerator=npu"}) && s.Later == nil
	})
}

// While something runs on a machine that has lost GPUs, cores or memory, what it has no more is not given to others: a task that was placed there
// failed, and for good where it had no retries.
func TestWhatABusyMachineHasNoMoreIsNotGivenToTasks(t *testing.T) {
	for _, sampled := range []bool{false, true} {
		dir, root := t.TempDir(), t.TempDir()
		proc(t, root, 16)
		d := serve(t, dir, watched(t, nil, root, nil))
		for i, need := range []string{`"gpus":1,"cpu":0.5`, `"gpus":3,"cpu":0.5`, `"gpus":3,"cpu":0.5`} {
			d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"until [ -e go%d ]; do sleep 0.01; done","dir":%q,%s}]}`, i+1, root, need))
		}
		waitState(t, d, "2", "running")
		d.close()
		less := func(c *Config) { c.Node.GPUs, c.Node.CPU, c.Node.Mem, c.GPUsSay = 2, 2000, 1<<33, "2 A100" }
		if sampled {
			d = serve(t, dir, watched(t, nil, root, nil), less)
			eventually(t, "the machine is not sampled", func() bool { return d.Seen() != nil })
		} else {
			d = serve(t, dir, less)
		}
		if err := os.WriteFile(filepath.Join(root, "go2"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		d.wait("2")
		d.submit(`{"tasks":[{"id":"a","command":"true","cpu":0.1}]}`) // a batch
		if n := d.Status().Nodes[0]; n.CPUFree != 1.5 || n.GPUsFree != 1 || n.MemFreeGB != 8 {
			t.Errorf("free: %+v", n)
		}
		if v := d.Tasks(mustSelect(t, d, "3"))[0]; v.State != "ready" || !strings.Contains(explained(t, d, "3"), "The machine offers less than it did (`live nodes`).") {
			t.Errorf("%+v: %s", v, explained(t, d, "3"))
		}
		if err := os.WriteFile(filepath.Join(root, "go1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		d.wait("1")
		eventually(t, "nothing runs, and the change is not in force", func() bool { n := d.Status().Nodes[0]; return n.GPUs == 2 && n.CPUFree == 2 })
		if v := d.Tasks(mustSelect(t, d, "3"))[0]; v.State != "ready" || v.Attempts != 0 {
			t.Errorf("what fits no more: %+v", v)
		}
	}
}

func TestWhatAMachineHasAgainIsOfferedWhileTheSameRuns(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"tasks":[{"id":"a","command":"exec sleep 1000","gpus":1,"grace_s":0}]}`)
	waitState(t, d, "1", "running")
	d.close()
	d = serve(t, dir, func(c *Config) { c.Declared, c.Node.GPUs = true, 2 })
	eventually(t, "what is lost is offered", func() bool { return d.Status().Nodes[0].GPUsFree == 1 })
	d.close()
	d = serve(t, dir, func(c *Config) { c.Declared = true })
	d.submit(`{"tasks":[{"id":"a","command":"true","gpus":3}]}`)
	if v := d.wait("2")[0]; v.State != "done" {
		t.Errorf("%+v", v)
	}
}

// Who has drained a machine to change it wants it drained until he says otherwise.
func TestADrainedMachineThatHasChangedStaysDrained(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	if err := d.Drain(t.Context(), Who{0}, "", true); err != nil {
		t.Fatal(err)
	}
	d.close()
	d = serve(t, dir, marked)
	eventually(t, "the change is not in force", func() bool { return d.Status().Nodes[0].GPUs == 8 })
	if n := d.Status().Nodes; len(n) != 1 || n[0].Up {
		t.Errorf("%+v", n)
	}
	if err := d.Drain(t.Context(), Who{0}, "", false); err != nil || !d.Status().Nodes[0].Up {
		t.Errorf("%v, %+v", err, d.Status().Nodes)
	}
}
