package daemon

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/policies/sched"
)

// Why a task waits is said in words, with the numbers.
func TestEveryReasonToWaitIsSaidWithItsNumbers(t *testing.T) {
	d := serve(t, t.TempDir())
	one, half, two, single := 1.0, 0.5, int64(2), int64(1)
	for _, q := range []Quota{{Tenant: "blue", CPU: &one}, {Queue: "few", Tasks: &two}, {Tenant: "red", GPUs: &half}, {Tenant: "green", Tasks: &single}} {
		if err := d.SetQuota(t.Context(), Who{0}, q); err != nil {
			t.Fatal(err)
		}
	}
	task := func(more string) string {
		return `{"tasks":[{"id":"t","command":"exec sleep 1000","grace_s":0` + more + `}]`
	}
	why := func(selector string) string {
		t.Helper()
		return strings.Join(d.Explain(mustSelect(t, d, selector))[0].Why, " ")
	}
	says := func(selector, want string) {
		t.Helper()
		var got string
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if got = why(selector); regexp.MustCompile("^(" + want + ")$").MatchString(got) {
				return
			}
		}
		t.Errorf("%s: %q, want %q", selector, got, want)
	}
	const when = `[0-9.]+(ms|s)`

	d.submit(task(`,"cpu":1},{"id":"u","command":"exit 5","retries":2,"backoff_s":600,"cpu":0.1},{"id":"v","after":["t","u"],"command":"true"`) + `}`)
	says("1/t", `It runs since `+when+` \(attempt 1\)\.`)
	says("1/u", `It had 1 attempt\(s\) before; the last one ended with 5\. It waits out the backoff after failure 1 of the 2 that are tried again, for 1?[0-9]m[0-9]+s more\.`)
	says("1/v", `It waits for 2 of its 2 predecessors: 1/t \(running\), 1/u \(backoff\)\.`)

	// Quotas: of cores, of tasks, of a GPU's share.
	d.submit(task(`,"cpu":0.5`) + `,"tenant":"blue"}`)
	waitState(t, d, "2", "running")
	d.submit(task(`,"cpu":0.75`) + `,"tenant":"blue"}`)
	says("3", `It asks for 0\.75 cpu and is ready since `+when+`\. The quota of tenant "blue" is 1 cores: its 1 running tasks hold 0\.5, and this one would be 0\.75 more\.`)
	d.cancel("3") // line is strict
	for range 2 {
		d.submit(task(`,"cpu":0.1`) + `,"queue":"few"}`)
	}
	waitState(t, d, "5", "running")
	d.submit(task(`,"cpu":0.1`) + `,"queue":"few"}`)
	says("6", `It asks for 0\.1 cpu and .*\. All 2 workers of queue "few" are busy, and 1 of its tasks wait\.`)
	word := func(task, want string) {
		t.Helper()
		if v := d.Tasks(mustSelect(t, d, task))[0]; v.Why != want {
			t.Errorf("%s waits for %q, want %q", task, v.Why, want)
		}
	}
	word("6", "quota")
	d.cancel("6")
	d.submit(task(`,"cpu":0.1,"gpus":0.75`) + `,"tenant":"red"}`)
	says("7", `It asks for .* The quota of tenant "red" is 0\.5 GPUs: its 0 running tasks hold 0, and this one would be 0\.75 more\.`)

	word("7", "quota")
	d.cancel("7")

	// Room: what is free, and of what it is short. Order: there is room for 9, and 8 comes first.
	d.submit(task(`,"cpu":3,"mem_gb":1`) + `}`)
	says("8", `It asks for .*\. No room: on node here are free 4 of 4 GPU, 2\.3 of 4 cores, 16\.0 of 16\.0 GiB; short of it is cpu\.`)
	d.submit(task(`,"cpu":0.1`) + `}`)
	says("9", `It asks for 0\.1 cpu and .*\. There is room for it, but the policy line keeps that for tasks that come first: 2 tasks are ready\.`)

	if err := d.holdOne("9"); err != nil {
		t.Fatal(err)
	}
	word("9", "hold")
	says("9", "A user holds it: `schedlab live release 9` lets it go\\.")
	d.cancel("8")
	for range 2 {
		d.submit(task(`,"cpu":0.1`) + `,"tenant":"green"}`)
	}
	waitState(t, d, "10", "running")
	says("11", `It asks for 0\.1 cpu and .*\. The quota of tenant "green" is 1 tasks at a time, and so many run\.`)
	d.cancel("1/u")
	says("1/u", `It was cancelled\.`)
	says("1/v", `It comes after 1/u, which is dropped\.`)
}

// What waits for something else, or runs, and is on hold as well stays where it is for both reasons: both are said.
func TestAHoldOnWhatCouldNotStartAnywayIsSaid(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"run","command":"exec sleep 1000","grace_s":0},{"id":"again","command":"exit 5","retries":2,"backoff_s":600},
		{"id":"after","after":["run"],"command":"true"}]}`)
	waitState(t, d, "1/run", "running")
	waitState(t, d, "1/again", "backoff")
	all := mustSelect(t, d, "1")
	act := func(what Action, tasks ...sched.TaskID) []string {
		t.Helper()
		done, err := d.Act(t.Context(), Who{0}, what, tasks)
		if err != nil {
			t.Fatal(err)
		}
		return d.Names(done)
	}
	said := func(want bool) {
		t.Helper()
		for i, why := range []string{"", "hold", "hold"} {
			id := d.Names(all)[i]
			if text := explained(t, d, id); strings.Contains(text, "A user holds it besides: ") != want || want && !strings.Contains(text, "`schedlab live release "+id+"`") {
				t.Errorf("%s: %s", id, text)
			}
			if v := d.Tasks(all[i : i+1])[0]; (v.Why == "hold") != (want && why != "") {
				t.Errorf("%s waits for %q", id, v.Why)
			}
		}
	}
	said(false)
	if done := act(Release, all...); len(done) > 0 {
		t.Errorf("released, and nobody held them: %v", done)
	}
	if done := act(Hold, all...); len(done) != 3 {
		t.Errorf("held: %v", done)
	}
	if done := act(Hold, all...); len(done) > 0 {
		t.Errorf("held twice: %v", done)
	}
	said(true)
	if done := act(Release, all...); len(done) != 3 {
		t.Errorf("released: %v", done)
	}
	said(false)
}

func (r *running) cancel(selector string) {
	r.t.Helper()
	if _, err := r.Act(r.t.Context(), Who{0}, Cancel, mustSelect(r.t, r, selector)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) holdOne(selector string) error {
	_, err := r.Act(r.t.Context(), Who{0}, Hold, []sched.TaskID{mustSelect(r.t, r, selector)[0]})
	return err
}

// TestWhyIsAskedBySeveralAtATime: with -race. Whoever looks for room may write down what he finds, and half a GPU is counted for views and metrics.
func TestWhyIsAskedBySeveralAtATime(t *testing.T) {
	d := serve(t, t.TempDir())
	for _, ask := range []string{`"cpu":1,"gpus":0.5`, `"cpu":1,"gpus":1`, `"cpu":2`, `"cpu":2`, `"cpu":2`} {
		d.submit(`{"tasks":[{"id":"t","command":"exec sleep 1000","grace_s":0,` + ask + `}]}`)
	}
	waitState(t, d, "3", "running")
	waits := mustSelect(t, d, "5")
	var all sync.WaitGroup
	begin := make(chan struct{})
	for range 4 {
		all.Go(func() {
			<-begin
			if len(d.Status().Nodes) == 0 {
				t.Error("no node is seen")
			}
			if len(d.Explain(waits)[0].Why) == 0 {
				t.Error("nothing is said")
			}
		})
	}
	close(begin)
	all.Wait()
}

// A machine that somebody closes is not broken: whoever looks is told so, and what opens it.
func TestADrainedNodeIsSaidToBeDrained(t *testing.T) {
	gpus, root := newCards(4), t.TempDir()
	proc(t, root, 16)
	d := serve(t, t.TempDir(), watched(t, gpus, root, nil))
	eventually(t, "the machine is not sampled", func() bool { return d.Seen() != nil })
	if n, s := d.Status().Nodes[0], d.Seen(); n.Drained != "" || s.Drained != "" {
		t.Errorf("open: %q, %q", n.Drained, s.Drained)
	}
	if err := d.Drain(t.Context(), Who{0}, "", true); err != nil {
		t.Fatal(err)
	}
	d.submit(`{"tasks":[{"id":"a","command":"true"},{"id":"b","command":"true","after":["a"]}]}`)
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	const says = "Nothing is started there until `schedlab live undrain`."
	if n, s := d.Status().Nodes[0], d.Seen(); n.Up || n.Drained != "by hand" || s.Drained != "by hand" {
		t.Errorf("drained: %+v, %q", n, s.Drained)
	}
	for _, task := range []string{"1/a", "2"} {
		if v := d.Tasks(mustSelect(t, d, task))[0]; v.Why != "drained" {
			t.Errorf("%s waits for %q", task, v.Why)
		}
		if text := explained(t, d, task); !strings.HasSuffix(text, "Node here is drained. "+says) {
			t.Errorf("%s: %s", task, text)
		}
	}
	if v := d.Tasks(mustSelect(t, d, "1/b"))[0]; v.Why != "dependency" {
		t.Errorf("what waits for another task waits for %q", v.Why)
	}
	gpus.set(2, func(s *device.Sample) { s.State, s.Why = device.Lost, "no answer" })
	const lost = "GPU 2 is lost: no answer"
	eventually(t, "that a GPU is lost is not told", func() bool { return d.Status().Nodes[0].Drained == lost })
	if text := explained(t, d, "2"); !strings.HasSuffix(text, "Node here is drained: "+lost+". "+says) {
		t.Errorf("a GPU is lost: %s", text)
	}
	if s := d.Seen(); s.Drained != lost {
		t.Errorf("a GPU is lost: %q", s.Drained)
	}
	if err := d.Drain(t.Context(), Who{0}, "", false); err != nil {
		t.Fatal(err)
	}
	d.wait("all")
}
