package daemon

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// mirror is a kernel beside the daemon's that is told what a Follower reads.
type mirror struct {
	Follower
	k        *sched.Kernel
	tb       *sched.Table
	now      sched.Time
	batches  int
	differed bool
}

func newMirror(t *testing.T) *mirror {
	m := &mirror{}
	m.Follower = Follower{
		Build: build,
		Begin: func(b *Beginning, tb *sched.Table) {
			p, err := build(b.Policy)
			if err != nil {
				t.Fatal(err)
			}
			m.tb = tb
			if m.k, err = sched.New(sched.Config{Table: tb, Nodes: b.Nodes, Policy: p}); err != nil {
				t.Fatal(err)
			}
		},
		Batch: func(at sched.Time, in []sched.Event, out []sched.Command) error {
			m.batches++
			m.differed = m.differed || !sameOrders(m.k.Step(at, in), out)
			return nil
		},
		Time: func(now sched.Time) { m.now = now },
	}
	return m
}

func (m *mirror) catchUp(t *testing.T, d *running) {
	t.Helper()
	var b bytes.Buffer
	if err := d.Record(t.Context(), m.Next(), false, &b); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "SECRET") {
		t.Fatalf("the record shows what is its owner's business:\n%s", text)
	}
	if err := m.Read(&b); err != nil {
		t.Fatal(err)
	}
}

func TestAFollowerHasTheDaemonsHistoryAlsoAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"job":"flow","tenant":"ana","env":{"X":"SECRET"},"dir":"/","tasks":[
		{"id":"a","command":"true # SECRET"},{"id":"b","command":"exit 3","after":["a"]},{"id":"c","command":"true","after":["b"]}]}`)
	d.wait("1")
	m := newMirror(t)
	m.catchUp(t, d)
	if m.batches == 0 {
		t.Fatal("no batch was read")
	}
	d.submit(`{"job":"one","tasks":[{"id":"x","command":"true"}]}`)
	d.wait("2")
	d.close()

	d = serve(t, dir)
	d.submit(`{"job":"two","tasks":[{"id":"y","command":"true"},{"id":"z","command":"true"}]}`)
	if err := d.join(`{"to":2,"tasks":[{"id":"w","command":"true"}]}`); err != nil {
		t.Fatal(err)
	}
	d.wait("all")
	m.catchUp(t, d)
	d.mu.RLock()
	last := d.kernel.Now()
	d.mu.RUnlock()
	for tries := 0; m.k.Now() < last && tries < 1000; tries++ { // the last batch may not be stored yet
		time.Sleep(10 * time.Millisecond)
		m.catchUp(t, d)
	}
	if m.differed {
		t.Error("the orders that were read are not those that the same policy gives")
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if m.k.Known() != d.kernel.Known() || m.k.Known() != 7 {
		t.Fatalf("%d tasks are known to the follower, %d to the daemon", m.k.Known(), d.kernel.Known())
	}
	for i := range m.k.Known() {
		id := sched.TaskID(i)
		if got, want := m.k.Outcome(id), d.kernel.Outcome(id); got != want {
			t.Errorf("task %s: %+v, by the daemon %+v", d.name(id), got, want)
		}
		if got, want := m.Selector(m.tb, id), d.name(id); got != want {
			t.Errorf("task %d is called %q, by the daemon %q", i, got, want)
		}
		if of, name, grown := m.Workflow(m.tb.Tasks[id].Job); of != d.workflow(id).ID || grown && name != d.workflow(id).Name || grown != (of == 1) {
			t.Errorf("task %d is of job %d, %q, by the daemon of %+v", i, of+1, name, d.workflow(id))
		}
	}
	if m.now < m.k.Now() {
		t.Errorf("the time told is %d, before the last batch at %d", m.now, m.k.Now())
	}
}

func TestAFollowerDoesNotGoOnWithAnotherState(t *testing.T) {
	d := serve(t, t.TempDir())
	m := newMirror(t)
	m.catchUp(t, d)
	var b bytes.Buffer
	if err := serve(t, t.TempDir()).Record(t.Context(), m.Next(), false, &b); err != nil {
		t.Fatal(err)
	}
	if err := m.Read(&b); !errors.Is(err, ErrOtherState) {
		t.Errorf("it says %v", err)
	}
}
