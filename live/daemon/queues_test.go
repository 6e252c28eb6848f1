package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
)

func queue(t *testing.T, d *running, name string) QueueView {
	t.Helper()
	list, _ := d.QueuesView()
	for _, q := range list {
		if q.Name == name {
			return q
		}
	}
	t.Fatalf("no queue %s in %+v", name, list)
	return QueueView{}
}

// real builds one of the policies that users have.
func real(name string) (sched.Policy, error) {
	spec, err := policies.Parse(name)
	if err != nil {
		return nil, err
	}
	return policies.Build(spec, policies.Hints{MeanEstimate: time.Minute})
}

const scaledQueues = `
pool: 6
queues:
  - {name: urgent, tier: high, min: 1, max: 4, backlog: 2, sync: 20ms}
  - {name: batch, tier: low, min: 1, max: 4, backlog: 2, sync: 20ms, up_window: 400ms}
`

func TestQueuesScaleByTheirBacklogHighTiersAtOnceAndLowTiersLate(t *testing.T) {
	rules, err := ParseQueues([]byte(scaledQueues), "test")
	if err != nil {
		t.Fatal(err)
	}
	log := &warnings{}
	c := func(c *Config) {
		c.Queues, c.Node.CPU, c.Policy, c.Build = rules, 64000, "fifo", real
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	dir, flag := t.TempDir(), filepath.Join(t.TempDir(), "go")
	d := serve(t, dir, c)
	work := func(name string, n int) {
		d.submit(fmt.Sprintf(`{"job":%q,"queue":%q,"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.02; done","array":"1-%d","cpu":0.1}]}`, name, name, flag, n))
	}
	began := time.Now()
	work("urgent", 20)
	work("batch", 20)
	eventually(t, "the high tier does not grow to its maximum", func() bool { q := queue(t, d, "urgent"); return q.Workers == 4 && q.Running == 4 && q.Ready == 16 })
	if q := queue(t, d, "batch"); q.Workers != 1 && time.Since(began) < 300*time.Millisecond {
		t.Errorf("the low tier grew before all of its window asked for it: %+v", q)
	}
	// Of 6 workers the high tier holds 4; the low one, which is let up by one a minute, gets its second.
	eventually(t, "the low tier does not grow", func() bool { q := queue(t, d, "batch"); return q.Workers == 2 && q.Running == 2 && q.Wanted == 2 })
	why := strings.Join(d.Explain(mustSelect(t, d, "1/t-20"))[0].Why, " ")
	if want := `All 4 workers of queue "urgent" are busy, and 16 of its tasks wait. It scales from 1 to 4 workers, one for each 2 tasks that wait (tier high).`; !strings.Contains(why, want) {
		t.Errorf("explained: %s\nwant %s", why, want)
	}
	if err := d.SetQuota(t.Context(), Who{0}, Quota{Queue: "urgent", Tasks: ptr(int64(99))}); err == nil {
		t.Error("an operator can set the workers of a queue that scales")
	}
	if err := d.SetQuota(t.Context(), Who{0}, Quota{Queue: "urgent", CPU: ptr(1.5)}); err != nil || queue(t, d, "urgent").Workers != 4 {
		t.Errorf("another quota of the queue: %v, %+v", err, queue(t, d, "urgent"))
	}
	got, err := d.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range got {
		if f.GetName() == "schedlab_queue_workers" {
			found = f.Metric[1].GetGauge().GetValue() == 4 && f.Metric[1].Label[0].GetValue() == "urgent"
		}
	}
	if !found {
		t.Error("the workers are not among the metrics")
	}

	// Another daemon takes the workers up where the facts say, and decides all of it again.
	d.close()
	d = serve(t, dir, c)
	if q := queue(t, d, "urgent"); q.Workers != 4 || q.Running != 4 {
		t.Errorf("after a restart: %+v", q)
	}
	if strings.Contains(log.String(), "decides otherwise") {
		t.Errorf("the state is not replayed to equal decisions: %s", log)
	}

	// Where a queue no longer scales, nothing bounds it; what an operator has bounded stays.
	if err := d.SetQuota(t.Context(), Who{0}, Quota{Queue: "mine", Tasks: ptr(int64(1))}); err != nil {
		t.Fatal(err)
	}
	work("mine", 3)
	d.close()
	d = serve(t, dir, func(c *Config) { c.Node.CPU, c.Policy, c.Build = 64000, "fifo", real })
	eventually(t, "it is still bounded", func() bool { return queue(t, d, "batch").Running == 20 && queue(t, d, "mine").Running == 1 })
	if q := d.quotas[[2]string{"", "urgent"}]; q.Tasks != 0 || q.CPU != 1500 {
		t.Errorf("left of it is %+v", q)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.wait("all")
}

func ptr[T any](v T) *T { return &v }

// However many tasks come and go, no more run at once than there are workers, of which there are no more than the pool has.
func TestNoMoreTasksRunThanThereAreWorkers(t *testing.T) {
	d := serve(t, t.TempDir(), func(c *Config) {
		c.Node.CPU, c.Policy, c.Build = 64000, "fifo", real
		c.Queues = Queues{Pool: 5, Queues: []QueueRule{{Name: "a", Tier: "high", Min: 1, Max: 9, Backlog: 1, Sync: 10 * time.Millisecond, DownWindow: -1}, {Min: 1, Max: 9, Backlog: 1, Sync: 10 * time.Millisecond}}}
	})
	for i := range 3 {
		d.submit(fmt.Sprintf(`{"queue":%q,"tasks":[{"id":"t","command":"true","array":"1-15","cpu":0.1}]}`, string(rune('a'+i))))
	}
	d.wait("all")
	running, bound := map[sched.QueueID]int{}, map[string]int64{}
	most := 0
	for b, err := range d.store.Batches(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		in, out, err := decode(b.Facts, real)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range in {
			switch e.Kind {
			case sched.QuotaSet:
				bound[e.More.Quota.Queue] = e.More.Quota.Tasks
				sum := int64(0)
				for _, n := range bound {
					sum += n
				}
				if sum > 5+2 { // a queue that nobody has named has one worker at any rate
					t.Errorf("%v workers of a pool of 5", bound)
				}
			case sched.Finished:
				running[d.book.tb.ClassOf(e.Task).Queue]--
			}
		}
		for _, o := range out {
			if o.Kind != sched.Start {
				continue
			}
			id := d.book.tb.ClassOf(o.Task).Queue
			running[id]++
			if name := d.book.tb.Queues[id]; bound[name] > 0 && int64(running[id]) > bound[name] {
				t.Errorf("task %d is the %dth that runs of queue %s with %d workers", o.Task, running[id], name, bound[name])
			}
			if name := d.book.tb.Queues[id]; name == "a" {
				most = max(most, running[id])
			}
		}
	}
	if most < 2 {
		t.Errorf("queue a has run %d at once: it does not scale", most)
	}
}

func TestBadQueuesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                          "nothing is in it",
		"queues: [{name: a, mi: 3}]":                `q.yaml:1: unknown field "mi" in queues[1]`,
		"queues: [{name: a, tier: top}]":            "high, normal or low",
		"queues: [{name: a, min: 5, max: 3}]":       "replicas from 5 to 3",
		"queues: [{name: a, min: -1}]":              "at least one",
		"queues: [{name: a}, {name: a}]":            "stands twice",
		"queues: [{name: a, sync: 1s}, {name: b}]":  "the same for all",
		"queues: [{name: a, sync: 1ms}]":            "less than 10ms",
		"{pool: 3, queues: [{name: a}, {name: b}]}": "the pool has 3",

		"pool: -1":                               "-1 workers",
		"queues:\n- name: batch\n  min: few":     `q.yaml:3: queues[1].min must be a whole number, not "few"`,
		"queues:\n- name: batch\n  sync: 1":      `q.yaml:3: queues[1].sync must be a duration such as 30s, not "1"`,
		"pool: 4\nqueue:\n- name: batch":         `q.yaml:2: unknown field "queue" (known: pool, queues)`,
		"queues:\n- {name: batch\n- {name: low}": "q.yaml:1: not YAML: ",
	} {
		if _, err := ParseQueues([]byte(text), "q.yaml"); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "q.yaml") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
