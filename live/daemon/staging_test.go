package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

// folders returns the folders of inputs that are there.
func folders(t *testing.T, d *running) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.ownWork(), "in-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestInputsAreThereBeforeTheCommandAndGoneAfterIt(t *testing.T) {
	src := t.TempDir()
	put(t, src+"/a", "hello")
	put(t, src+"/big", strings.Repeat("x", 3<<20))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("from afar")) }))
	defer srv.Close()
	d := serve(t, t.TempDir())
	out := filepath.Join(t.TempDir(), "out")
	d.submit(fmt.Sprintf(`{"dir":%q,"env":{"OUT":%q},"params":{"n":"a"},"tasks":[{"id":"t","gpus":1,"inputs":["{n}:as=in/first","%s/big",{"from":"%s/x","as":"far"},"%s/a:link"],
		"command":"cat $INPUT_DIR/in/first $INPUT_DIR/far $INPUT_DIR/a >$OUT; wc -c <$INPUT_DIR/big >>$OUT; test -L $INPUT_DIR/a"}]}`, src, out, src, srv.URL, src))
	v := d.wait("1")[0]
	text, err := os.ReadFile(out)
	if v.State != "done" || err != nil || string(text) != "hellofrom afarhello3145728\n" {
		t.Fatalf("%+v wrote %q, %v", v, text, err)
	}
	in := v.Inputs
	if in == nil || in.Files < 4 || in.Bytes != 5+9+3<<20 || in.Seconds <= 0 || in.Tiers["locked"]+in.Tiers["direct"]+in.Tiers["plain"]+in.Tiers["cloned"] < 3<<20 {
		t.Errorf("shown as %+v", in)
	}
	eventually(t, "the folder is left", func() bool { return len(folders(t, d)) == 0 })
	got, err := d.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range got {
		if f.GetName() == "schedlab_staged_bytes_total" {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	if sum != float64(in.Bytes) {
		t.Errorf("the metrics count %g bytes, want %d", sum, in.Bytes)
	}
}

// While its predecessor runs the inputs of a task are staged; what has changed until it starts is staged anew.
func TestInputsAreStagedAheadAndLookedAtAgain(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	put(t, src+"/steady", "steady")
	put(t, src+"/changes", "before")
	flag := filepath.Join(src, "go")
	d := serve(t, dir)
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"while [ ! -e %s ]; do sleep 0.01; done; echo made >%s/made"},
		{"id":"b","after":["a"],"inputs":["%s/steady","%s/changes"],"command":"cat $INPUT_DIR/steady $INPUT_DIR/changes"},
		{"id":"c","after":["a"],"inputs":["%s/made"],"command":"cat $INPUT_DIR/made"},
		{"id":"far","after":["b"],"inputs":["%s/steady"],"command":"true"}]}`, flag, src, src, src, src, src))
	staged := func() bool {
		d.stages.mu.Lock()
		defer d.stages.mu.Unlock()
		e := d.stages.of[attemptKey{1, 1}]
		return e != nil && e.ahead != nil
	}
	eventually(t, "nothing is staged ahead", staged)
	if ph := d.Tasks(mustSelect(t, d, "1/b"))[0].State; ph != "blocked" {
		t.Errorf("the task is %s", ph)
	}
	d.stages.mu.Lock()
	far := d.stages.of[attemptKey{3, 1}]
	d.stages.mu.Unlock()
	if far != nil {
		t.Error("a task whose predecessor waits is staged for")
	}
	put(t, src+"/changes", "after!")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.wait("1") {
		if v.State != "done" {
			t.Errorf("%+v", v)
		}
	}
	for sel, want := range map[string]string{"1/b": "steadyafter!", "1/c": "made\n"} {
		var log strings.Builder
		if err := d.Log(t.Context(), Who{0}, mustSelect(t, d, sel)[0], 0, false, &log); err != nil || log.String() != want {
			t.Errorf("%s read %q, %v; want %q", sel, log.String(), err, want)
		}
	}
	if in := d.Tasks(mustSelect(t, d, "1/b"))[0].Inputs; in == nil || in.Files != 3 || in.AheadS <= 0 || in.AheadS >= in.Seconds {
		t.Errorf("shown as %+v, want 2 files ahead and the changed one again", in)
	}
	eventually(t, "folders are left", func() bool { return len(folders(t, d)) == 0 })
}

func TestAnInputThatIsNotThereFailsTheAttemptAndSaysSo(t *testing.T) {
	src := t.TempDir()
	d := serve(t, t.TempDir())
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","inputs":["%s/nope"],"command":"true"}]}`, src))
	v := d.wait("1")[0]
	if v.State != "failed" || !strings.Contains(v.Reason, "nope: no such file") {
		t.Errorf("%+v", v)
	}
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","inputs":["%s/late"],"command":"true","retries":3,"backoff_s":0.2}]}`, src))
	waitState(t, d, "2", "backoff")
	put(t, src+"/late", "x")
	if v := d.wait("2")[0]; v.State != "done" || v.Attempts < 2 {
		t.Errorf("%+v", v)
	}
}

// A stager that hangs holds nobody up: the attempt can be stopped, and a daemon that ends takes it along.
func TestStagingIsBrokenOff(t *testing.T) {
	hold := make(chan struct{})
	asked := make(chan struct{}, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		select {
		case <-hold:
			_, _ = w.Write([]byte("x"))
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	d := serve(t, dir)
	text := fmt.Sprintf(`{"tasks":[{"id":"t","inputs":["%s/x"],"command":"cat $INPUT_DIR/x"}]}`, srv.URL)
	d.submit(text)
	<-asked
	eventually(t, "it is not said", func() bool { return strings.Contains(explained(t, d, "1"), "inputs are being brought") })
	done, err := d.Act(t.Context(), Who{0}, Cancel, mustSelect(t, d, "1"))
	if err != nil || len(done) != 1 {
		t.Fatalf("%v, %v", done, err)
	}
	eventually(t, "its folder is left", func() bool { return len(folders(t, d)) == 0 })
	d.submit(text)
	<-asked
	d.close()
	close(hold)
	d = serve(t, dir) // the attempt begins anew
	v := d.wait("2")[0]
	if v.State != "done" || v.Attempts != 1 {
		t.Errorf("%+v", v)
	}
	var log strings.Builder
	if err := d.Log(t.Context(), Who{0}, sched.TaskID(1), 0, false, &log); err != nil || log.String() != "x" {
		t.Errorf("it read %q, %v", log.String(), err)
	}
	eventually(t, "its folder is left", func() bool { return len(folders(t, d)) == 0 })
}

// What an attempt reads outlives the daemon; what no attempt reads is removed at the next start.
func TestInputsOutliveTheDaemonAsTheAttemptDoes(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	put(t, src+"/a", "there")
	flag := filepath.Join(src, "go")
	d := serve(t, dir)
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","inputs":["%s/a"],"command":"while [ ! -e %s ]; do sleep 0.01; done; cat $INPUT_DIR/a"}]}`, src, flag))
	eventually(t, "it does not run", func() bool { return strings.Contains(explained(t, d, "1"), "It runs since") && len(folders(t, d)) == 1 })
	waitState(t, d, "1", "running")
	time.Sleep(50 * time.Millisecond)
	d.close()
	stale := filepath.Join(d.ownWork(), "in-0-7")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	d = serve(t, dir)
	eventually(t, "a stale folder is left", func() bool { _, err := os.Stat(stale); return err != nil })
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.wait("1")
	var log strings.Builder
	if err := d.Log(t.Context(), Who{0}, 0, 0, false, &log); err != nil || log.String() != "there" {
		t.Errorf("it read %q, %v", log.String(), err)
	}
	eventually(t, "its folder is left", func() bool { return len(folders(t, d)) == 0 })
}
