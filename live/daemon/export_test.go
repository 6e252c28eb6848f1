package daemon

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// What is exported has the run times that were, not those that were believed, and all that a policy sees of the tasks.
func TestWhatIsExportedIsWhatRan(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"job":"flow","tenant":"blue","queue":"night","tasks":[
		{"id":"a","command":"sleep 0.2","estimate_s":100,"cpu":0.5,"mem_gb":1},
		{"id":"b","command":"sleep 0.4","estimate_s":0.01,"after":["a"],"gpus":2,"priority":7},
		{"id":"c","command":"exit 1","after":["a"]},
		{"id":"d","command":"true","after":["b"]},
		{"id":"e","command":"true","after":["c"]}]}`)
	d.wait("1")
	for _, format := range []string{"csv", "jsonl"} {
		var text bytes.Buffer
		if err := d.Export(&text, d.All(), format); err != nil {
			t.Fatal(err)
		}
		w, err := traces.Read(&text, "exported", format)
		if err != nil {
			t.Fatal(err)
		}
		if w.Len() != 3 { // c failed, e was dropped
			t.Fatalf("%s: %d tasks", format, w.Len())
		}
		for i, want := range []struct {
			name, demand string
			run, more    time.Duration // it ran for so long, and no longer than so much more
			estimate     time.Duration
			next         []sched.TaskID
			priority     int32
		}{
			{"a", "0.5 cpu, 1 GiB", 200 * time.Millisecond, 5 * time.Second, 100 * time.Second, []sched.TaskID{1}, 0},
			{"b", "2 GPU", 400 * time.Millisecond, 5 * time.Second, 10 * time.Millisecond, []sched.TaskID{2}, 7},
			{"d", "1 cpu", time.Nanosecond, 5 * time.Second, time.Hour, nil, 0}, // what is believed where nobody says
		} {
			id := sched.TaskID(i)
			if got := w.TaskNames.At(i); got != want.name {
				t.Fatalf("%s: task %d is %s, want %s", format, i, got, want.name)
			}
			if got := w.Run[i]; got < want.run || got > want.run+want.more {
				t.Errorf("%s: %s ran for %v, want at least %v", format, want.name, got, want.run)
			}
			if got := w.Estimates[i]; got != want.estimate {
				t.Errorf("%s: %s was estimated at %v, want %v", format, want.name, got, want.estimate)
			}
			if got := w.Succs(id); !slices.Equal(got, want.next) {
				t.Errorf("%s: after %s come %v, want %v", format, want.name, got, want.next)
			}
			c := w.ClassOf(id)
			if w.Tenants[c.Tenant] != "blue" || w.Queues[c.Queue] != "night" || c.Priority != want.priority {
				t.Errorf("%s: %s is of tenant %q, queue %q, priority %d", format, want.name, w.Tenants[c.Tenant], w.Queues[c.Queue], c.Priority)
			}
			if got := w.DemandOf(id).String(); got != want.demand {
				t.Errorf("%s: %s asks for %s, want %s", format, want.name, got, want.demand)
			}
		}
	}
	if err := d.Export(&bytes.Buffer{}, d.All(), "parquet"); err == nil {
		t.Error("another format was written")
	}
}
