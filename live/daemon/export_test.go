package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// ranFor returns the run time with which the only task is exported, and what the kernel says that it held room.
func ranFor(t *testing.T, d *running) (run, held time.Duration) {
	t.Helper()
	var text bytes.Buffer
	if err := d.Export(&text, d.All(), "csv"); err != nil {
		t.Fatal(err)
	}
	w, err := traces.Read(&text, "exported", "csv")
	if err != nil {
		t.Fatal(err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return w.Run[0], d.kernel.Outcome(0).Held
}

// What ends while no daemon runs has ended when it did, not when the next one finds out; and each later daemon says the same.
func TestTheTimeWithoutADaemonIsNotExportedAsRunTime(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	flag := filepath.Join(t.TempDir(), "runs")
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"touch %s; sleep 0.5"}]}`, flag))
	eventually(t, "it does not run", func() bool { _, err := os.Stat(flag); return err == nil })
	d.close()
	time.Sleep(2500 * time.Millisecond)
	d = serve(t, dir)
	d.wait("1")
	run, held := ranFor(t, d)
	if run < 500*time.Millisecond || run > 2*time.Second || held < 2500*time.Millisecond {
		t.Errorf("half a second is exported as %v; room was held for %v", run, held)
	}
	seen := d.Tasks(d.All())[0]
	d.close()
	d = serve(t, dir)
	if again, _ := ranFor(t, d); again != run {
		t.Errorf("after another restart %v is exported, and %v before", again, run)
	}
	// Nor is it shown as such.
	for _, v := range []Task{seen, d.Tasks(d.All())[0]} {
		if v.Held < 0.5 || v.Held > 2 || *v.End < *v.Start+0.5 || *v.End > *v.Start+2 || v.Wait > 1 {
			t.Errorf("half a second is shown as %.3f s, from %.3f to %.3f, after a wait of %.3f s", v.Held, *v.Start, *v.End, v.Wait)
		}
	}
	d.mu.RLock()
	really := ago(d.outcome(0).Held)
	d.mu.RUnlock()
	if text := explained(t, d, "1"); !strings.HasSuffix(text, "for "+really+".") {
		t.Errorf("explained: %s, and it was for %s", text, really)
	}
}

// An attempt that failed has made nothing of what the task is: the simulator, which has failures of its own, would run it twice.
func TestAFailedAttemptIsNotExportedAsRunTime(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"[ $ATTEMPT = 2 ] && exec sleep 0.2; sleep 2; exit 1","retries":1,"backoff_s":0.01}]}`)
	d.wait("1")
	if run, held := ranFor(t, d); run < 200*time.Millisecond || run > 1900*time.Millisecond || held < 2200*time.Millisecond {
		t.Errorf("0.2 s after a failure at 2 s are exported as %v; room was held for %v", run, held)
	}
}

// Work that a checkpoint carried from one attempt to the next is the task's, whichever attempt did it.
func TestWorkThatACheckpointKeptIsExportedAsRunTime(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(train(t, "off", "-steps 1000 -pace 2ms", `,"retries":1`))
	checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.AtRiskS > 1 && c.Progress != "" }) // it listens
	if _, err := d.Act(t.Context(), Who{0}, Preempt, mustSelect(t, d, "1")); err != nil {
		t.Fatal(err)
	}
	v := checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Resumed > 0 })
	kept := v.Checkpoint.Work
	d.wait("1")
	if run, held := ranFor(t, d); run < 2*time.Second || run < kept || run > held+time.Second {
		t.Errorf("2 s of work, %v of it kept, are exported as %v; room was held for %v", kept, run, held)
	}
}
