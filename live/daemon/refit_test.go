package daemon

import (
	"errors"
	"strings"
	"testing"
	"time"
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
