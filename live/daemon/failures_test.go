package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/alert"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/retry"
	"github.com/schedlab/schedlab/policies/sched"
)

// hook is a server that takes alerts.
func hook(t *testing.T) (url string, got chan alert.Alert) {
	got = make(chan alert.Alert, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var a alert.Alert
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			t.Error(err)
		}
		got <- a
	}))
	t.Cleanup(srv.Close)
	return srv.URL, got
}

func next(t *testing.T, got chan alert.Alert) alert.Alert {
	t.Helper()
	select {
	case a := <-got:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("no alert comes")
		return alert.Alert{}
	}
}

func TestSomebodyIsToldOfAFailureThatIsFinalAndOfNoOther(t *testing.T) {
	url, got := hook(t)
	d := serve(t, t.TempDir(), func(c *Config) { c.Alert = alert.Config{URL: url} })
	d.submit(`{"job":"one","tenant":"vision","queue":"batch","tasks":[{"id":"a","command":"exit 3"},{"id":"b","command":"true","after":["a"]}]}`)
	a := next(t, got)
	if a.Schema != alert.Schema || a.Event != alert.JobFailed || a.Task != "1/a" || a.Job != 1 || a.JobName != "one" || a.Tenant != "vision" || a.Queue != "batch" ||
		a.Host != "here" || a.Attempts != 1 || a.Code == nil || *a.Code != 3 || a.UID == nil || a.Message != "task 1/a (one): attempt 1 ended with 3" || time.Since(a.At) > time.Minute {
		t.Errorf("%+v", a)
	}
	d.submit(`{"job":"two","tasks":[{"id":"a","command":"exit 4","retries":2,"backoff_s":0.01}]}`)
	if a := next(t, got); a.Event != alert.RetriesUsedUp || a.Attempts != 3 || *a.Code != 4 || !strings.HasSuffix(a.Message, "; all 2 retries are used up") {
		t.Errorf("%+v", a)
	}
	d.submit(`{"job":"quiet","quiet":true,"tasks":[{"id":"a","command":"exit 5"}]}`)
	d.wait("last")
	d.submit(`{"job":"late","tasks":[{"id":"a","command":"sleep 100","retries":5,"limit_s":0.1,"grace_s":0}]}`)
	if a := next(t, got); a.Event != alert.JobFailed || a.Reason != "limit" || a.JobName != "late" {
		t.Errorf("of a run beyond its limit: %+v", a)
	}
	if err := d.TestAlert(t.Context(), Who{0}); err != nil {
		t.Error(err)
	}
	if a := next(t, got); a.Event != alert.Test {
		t.Errorf("%+v", a)
	}
	if err := d.TestAlert(t.Context(), Who{uid() + 12345}); err == nil {
		t.Error("anybody may send alerts")
	}
	if len(got) > 0 {
		t.Errorf("one too many: %+v", <-got)
	}
	eventually(t, "they are not counted", func() bool { s := d.Alerts(); return s.To == "url" && s.Counts[alert.Sent] == 4 })
}

// A log with lines missing says nothing of it by itself: who looks at the task is told, whatever came of it and after a restart too.
func TestATaskSaysThatItsLogLostLines(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	d := serve(t, dir)
	for i, c := range []struct{ code, state, want string }{{"0", "done", "its log lost 2 lines: the disk was full"}, {"3", "failed", "its log lost 2 lines: the disk was full"}} {
		d.submit(`{"tasks":[{"id":"a","command":"ln -s /dev/full $SCHEDLAB_ATTEMPT_DIR/log; echo a; sleep 0.01; echo b; exit ` + c.code + `"}]}`)
		d.wait("last")
		if i > 0 {
			d.close()
			d = serve(t, dir)
		}
		if v := d.Tasks(mustSelect(t, d, "last"))[0]; v.State != c.state || v.Reason != c.want {
			t.Errorf("%+v", v)
		}
		if text := explained(t, d, "last"); !strings.Contains(text, c.want) {
			t.Errorf("%s", text)
		}
	}
}

func TestSomebodyIsToldOfALostGPU(t *testing.T) {
	url, got := hook(t)
	gpus, root := newCards(4), t.TempDir()
	proc(t, root, 16)
	serve(t, t.TempDir(), watched(t, gpus, root, nil), func(c *Config) { c.Alert = alert.Config{URL: url, Events: []alert.Event{alert.NodeDown}} })
	gpus.set(2, func(s *device.Sample) { s.State, s.Why = device.Lost, "it fell off the bus" })
	if a := next(t, got); a.Event != alert.NodeDown || a.Reason != "GPU 2 is lost: it fell off the bus" {
		t.Errorf("%+v", a)
	}
}

// warnings keeps what a daemon warns of.
type warnings struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestTheRetryBudgetEndsRetriesAndSaysWhyAndHoldsAcrossARestart(t *testing.T) {
	url, got := hook(t)
	dir, log := t.TempDir(), &warnings{}
	c := func(c *Config) {
		c.Retry = retry.Limit{Share: 0.1, Window: time.Hour, Min: 2, Per: "tenant"}
		c.Alert = alert.Config{URL: url}
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	d := serve(t, dir, c)
	d.submit(`{"tenant":"a","tasks":[{"id":"x","command":"exit 1","retries":2,"backoff_s":0.01}]}`)
	if v := d.wait("1")[0]; v.Attempts != 3 { // the floor
		t.Fatalf("%+v, want 3 attempts", v)
	}
	next(t, got)
	d.close()
	d = serve(t, dir, c) // nothing is forgotten
	d.submit(`{"tenant":"a","tasks":[{"id":"x","command":"exit 1","retries":5,"backoff_s":0.01}]}`)
	v := d.wait("2")[0]
	want := `retry budget of tenant "a" is spent: 2 of 4 attempts within 1h0m0s were retries, and 10% may be, or 2`
	if v.Attempts != 1 || v.State != "failed" || v.Reason != want {
		t.Errorf("%+v\nwant it failed at its first attempt since: %s", v, want)
	}
	why := d.Explain(mustSelect(t, d, "2"))[0].Why
	if len(why) != 1 || why[0] != "Its last attempt ended with 1 ("+want+"), and so it is final after 0 of its 5 retries." {
		t.Errorf("explained as %q", why)
	}
	if a := next(t, got); a.Event != alert.RetriesUsedUp || !strings.Contains(a.Message, want) {
		t.Errorf("%+v", a)
	}
	for a, err := range d.store.Attempts(t.Context(), mustSelect(t, d, "2")[0]) { // nobody has killed it
		if err != nil || a.How != "failed: "+want {
			t.Errorf("its attempt is down as %q, %v", a.How, err)
		}
	}
	families, err := d.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "schedlab_attempts_total" && m.GetLabel()[0].GetValue() != "failed" {
				t.Errorf("attempts are counted as %s", m.GetLabel()[0].GetValue())
			}
		}
	}
	d.submit(`{"tenant":"b","tasks":[{"id":"x","command":"exit 1","retries":1,"backoff_s":0.01}]}`)
	if v := d.wait("3")[0]; v.Attempts != 2 {
		t.Errorf("another tenant pays for it: %+v", v)
	}
	d.close()
	d = serve(t, dir, c)
	if v := d.Tasks(mustSelect(t, d, "2"))[0]; v.Reason != want {
		t.Errorf("after a restart the reason is %q", v.Reason)
	}
	if text := log.String(); strings.Contains(text, "decides otherwise") {
		t.Errorf("the state is not replayed to equal decisions: %s", text)
	}
}

// What a fact says of the backoff is what is waited, and a replay draws nothing.
func TestTheJitterStandsInTheFact(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"x","command":"exit 1","retries":3,"backoff_s":0.05}]}`)
	d.wait("1")
	n, last := 0, sched.Time(0)
	for b, err := range d.store.Batches(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		in, out, err := decode(b.Facts, build)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			if o.Kind == sched.Start && o.Attempt > 1 && b.At < last {
				t.Errorf("attempt %d begins at %s, %s before its time", o.Attempt, time.Duration(b.At), last.Sub(b.At))
			}
		}
		for _, e := range in {
			if e.Kind == sched.FailedAttempt {
				n++
				want := int64(0)
				if n <= 3 {
					want = int64(retry.Wait(50*time.Millisecond, uint64(d.first.Epoch.UnixNano()), 0, n))
				}
				if e.Value != want {
					t.Errorf("failure %d says a wait of %s, want %s", n, time.Duration(e.Value), time.Duration(want))
				}
				last = b.At.Add(time.Duration(e.Value))
			}
		}
	}
	if n != 4 {
		t.Errorf("%d failures, want 4", n)
	}
}
