package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
)

// join submits an addition.
func (r *running) join(text string) error {
	r.t.Helper()
	j, err := job.Parse([]byte(text), "test")
	if err != nil {
		return err
	}
	_, err = r.Submit(r.t.Context(), Who{0}, j)
	return err
}

func TestTasksAndEdgesAreAddedToAWorkflowThatRuns(t *testing.T) {
	dir, out, flag := t.TempDir(), filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "go")
	d := serve(t, dir)
	id := d.submit(fmt.Sprintf(`{"job":"flow","env":{"OUT":%q},"tasks":[
		{"id":"a","command":"while [ ! -e %s ]; do sleep 0.01; done; echo a >>$OUT"},
		{"id":"b","command":"echo b >>$OUT","after":["a"]},
		{"id":"c","command":"echo c >>$OUT","after":["b"]}]}`, out, flag))
	waitState(t, d, "1/a", "running")
	j, err := job.Parse([]byte(fmt.Sprintf(`{"to":1,"env":{"OUT":%q},"tasks":[
		{"id":"x","command":"echo x >>$OUT","after":["a"]},{"id":"y","command":"echo y >>$OUT","after":["x","b"]}],"edges":["y -> c"]}`, out)), "test")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := d.Submit(t.Context(), Who{0}, j)
	if err != nil || ids[0] != id {
		t.Fatalf("added to %v, %v, want %d", ids, err, id)
	}
	if err := d.join(`{"to":1,"edges":["x -> b"]}`); err != nil { // among what is there
		t.Error(err)
	}
	if text := explained(t, d, "1/c"); !strings.Contains(text, "1/y (blocked)") {
		t.Errorf("explained: %s", text)
	}

	// What cannot be is refused, and changes nothing.
	for text, want := range map[string]struct {
		err  error
		text string
	}{
		`{"to":1,"tasks":[{"id":"z","command":"true"}],"edges":["z -> a"]}`:                                {ErrConflict, "z -> a: a is running, and nothing can come before what has started or is over"},
		`{"to":1,"edges":["c -> x"]}`:                                                                      {ErrConflict, "a cycle: c -> x -> y -> c"},
		`{"to":1,"tasks":[{"id":"z","command":"true","after":["c"]}],"edges":["z -> b"]}`:                  {ErrConflict, "a cycle:"},
		`{"to":1,"tasks":[{"id":"b","command":"true"}]}`:                                                   {ErrConflict, "has a task b already"},
		`{"to":1,"tasks":[{"id":"z","command":"true","after":["nope"]}]}`:                                  {ErrNotFound, "job 1 has no task nope"},
		`{"to":9,"tasks":[{"id":"z","command":"true"}]}`:                                                   {ErrNotFound, "there is no job 9"},
		`{"to":1,"every":"1h","tasks":[{"id":"z","command":"true"}]}`:                                      {nil, "does not recur"},
		`{"to":1,"tasks":[{"id":"z","command":"true","gpus":9}]}`:                                          {ErrBad, "could not hold"},
		`{"to":1,"tasks":[{"id":"p","command":"x","after":["q"]},{"id":"q","command":"x","after":["p"]}]}`: {nil, "a cycle: "},
	} {
		err := d.join(text)
		if err == nil || want.err != nil && !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, want %q", text, err, want.text)
		}
	}
	other, err := job.Parse([]byte(`{"to":1,"tasks":[{"id":"z","command":"true"}]}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Submit(t.Context(), Who{uid() + 12345}, other); !errors.Is(err, ErrForbidden) {
		t.Errorf("somebody else adds to it: %v", err)
	}

	// All of it is one workflow, also to the next daemon.
	d.close()
	d = serve(t, dir)
	if err := d.join(`{"to":1,"tasks":[{"id":"last","command":"exit 1","after":["c"]},{"id":"never","command":"true","after":["last"]}]}`); err != nil {
		t.Error(err)
	}
	if got := d.Names(mustSelect(t, d, "1")); !slices.Equal(got, []string{"1/a", "1/b", "1/c", "1/x", "1/y", "1/last", "1/never"}) {
		t.Errorf("the workflow is %v", got)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.wait("1") {
		if v.Job != 1 || v.JobName != "flow" || v.State != map[string]string{"last": "failed", "never": "dropped"}[v.Task] && v.State != "done" {
			t.Errorf("%+v", v)
		}
	}
	text, err := os.ReadFile(out)
	if got := strings.Fields(string(text)); err != nil || !slices.Equal(got, []string{"a", "x", "b", "y", "c"}) {
		t.Errorf("they ran as %v, %v", got, err)
	}
	if err := d.join(`{"to":1,"tasks":[{"id":"z","command":"true","after":["last"]}]}`); err == nil || !strings.Contains(err.Error(), "last is failed and will not be done, so z would never run") {
		t.Errorf("after what failed: %v", err)
	}
	var trace strings.Builder
	if err := d.Export(&trace, d.All(), "csv"); err != nil || strings.Count(trace.String(), "\n") != 6 || !strings.Contains(trace.String(), "y,1,") {
		t.Errorf("exported:\n%s%v", trace.String(), err)
	}

	// What failed of it runs again together.
	again, err := d.Retry(t.Context(), Who{0}, mustSelect(t, d, "1"))
	if err != nil || len(again) != 1 {
		t.Fatalf("%v, %v", again, err)
	}
	if got := d.wait("last"); len(got) != 2 || got[0].State != "failed" || got[1].State != "dropped" {
		t.Errorf("again: %+v", got)
	}
}

// What is added is its workflow's tenant's, in its queue, as far as it says nothing else; for later daemons too.
func TestAnAdditionHasTheTenantAndTheQueueOfItsWorkflow(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	one := int64(1)
	if err := d.SetQuota(t.Context(), Who{0}, Quota{Tenant: "blue", Tasks: &one}); err != nil {
		t.Fatal(err)
	}
	d.submit(`{"job":"flow","tenant":"blue","queue":"night","tasks":[{"id":"a","command":"sleep 1000"}]}`)
	waitState(t, d, "1", "running")
	for _, text := range []string{
		`{"to":1,"tasks":[{"id":"b","command":"true"}]}`, `{"to":2,"tasks":[{"id":"c","command":"true"}]}`, // to what was added
		`{"to":1,"tenant":"red","tasks":[{"id":"d","command":"true"}]}`, `{"to":1,"queue":"day","tasks":[{"id":"e","command":"true"}]}`,
	} {
		if err := d.join(text); err != nil {
			t.Fatal(err)
		}
	}
	d.wait("1/d")
	check := func() {
		t.Helper()
		for i, want := range []struct{ tenant, queue, state string }{
			{"blue", "night", "running"}, {"blue", "night", "ready"}, {"blue", "night", "ready"}, {"red", "night", "done"}, {"blue", "day", "ready"},
		} {
			if v := d.Tasks(mustSelect(t, d, "1"))[i]; v.Tenant != want.tenant || v.Queue != want.queue || v.State != want.state {
				t.Errorf("%+v, want %+v", v, want)
			}
		}
	}
	check()
	d.close()
	d = serve(t, dir)
	check()
}

func TestAJobOfOneTaskBecomesAWorkflow(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"job":"one","tasks":[{"id":"main","command":"true"}]}`)
	d.wait("1")
	if err := d.join(`{"to":1,"tasks":[{"id":"more","command":"true","after":["main"]}]}`); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.wait("1") {
		if v.State != "done" || v.ID != "1/"+v.Task {
			t.Errorf("%+v", v)
		}
	}
}

// The cycle check agrees with reachability by brute force.
func TestACycleThroughNewEdgesIsFoundExactlyWhereThereIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "n")
		succ := make([][]sched.TaskID, n)
		reach := make([][]bool, n)
		for i := range reach {
			reach[i] = make([]bool, n)
			for k := i + 1; k < n; k++ { // what is there has no cycle
				if rapid.IntRange(0, 3).Draw(t, "old") == 0 {
					succ[i] = append(succ[i], sched.TaskID(k))
					reach[i][k] = true
				}
			}
		}
		var edges []sched.Event
		for range rapid.IntRange(1, 4).Draw(t, "edges") {
			a, b := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			edges = append(edges, sched.Event{Task: sched.TaskID(a), Other: sched.TaskID(b)})
			succ[a] = append(succ[a], sched.TaskID(b))
			reach[a][b] = true
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		has := false
		for i := range n {
			has = has || reach[i][i]
		}
		c := cycleFrom(edges, func(t sched.TaskID) []sched.TaskID { return succ[t] })
		if has != (c != nil) {
			t.Fatalf("cycle %v, there is one: %v", c, has)
		}
		for i := 1; i < len(c); i++ {
			if !slices.Contains(succ[c[i-1]], c[i]) {
				t.Fatalf("%v: there is no edge %d -> %d", c, c[i-1], c[i])
			}
		}
		if c != nil && c[0] != c[len(c)-1] {
			t.Fatalf("%v is no cycle", c)
		}
	})
}
