package alert

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counts is a Count for tests.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[result]++
}

func (c *counts) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// start runs a sender; the function that it returns ends it and waits.
func start(t *testing.T, c Config) (*Sender, func()) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.pause = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(done)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// until waits until ok.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func TestAnAlertIsPostedAsTheDocumentedJSON(t *testing.T) {
	type call struct {
		head http.Header
		body []byte
	}
	calls := make(chan call, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		calls <- call{r.Header, b}
	}))
	defer srv.Close()
	var n counts
	s, stop := start(t, Config{URL: srv.URL, Host: "box", Count: n.add, Events: []Event{RetriesUsedUp}})
	code, uid := int32(3), uint32(1000)
	s.Send(Alert{Event: JobFailed, Message: "not wanted"})
	s.Send(Alert{
		Event: RetriesUsedUp, At: time.Date(2026, 1, 2, 3, 4, 5, 678912345, time.UTC), Message: "task 12/train failed", Task: "12/train", Job: 12, JobName: "sweep", Tenant: "vision",
		Queue: "batch", UID: &uid, Attempts: 3, Code: &code, Reason: "exit 3",
	})
	stop() // what waits is sent first
	c := <-calls
	want := `{"schema":"schedlab/alert/v1","event":"retries-used-up","at":"2026-01-02T03:04:05.678Z","host":"box","message":"task 12/train failed",` +
		`"task":"12/train","job":12,"job_name":"sweep","tenant":"vision","queue":"batch","uid":1000,"attempts":3,"exit_code":3,"reason":"exit 3"}`
	if string(c.body) != want || c.head.Get("Content-Type") != "application/json" {
		t.Errorf("posted %s\nwant   %s\nas %s", c.body, want, c.head.Get("Content-Type"))
	}
	if len(calls) > 0 {
		t.Errorf("an event that is not wanted was sent: %s", (<-calls).body)
	}
	if got := n.all(); got[Sent] != 1 || len(got) != 1 {
		t.Errorf("counted %v", got)
	}
}

func TestACommandGetsTheAlertAndItsEvent(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	s, stop := start(t, Config{Command: `cat >'` + out + `'; printf %s "$SCHEDLAB_ALERT" >>'` + out + `'`})
	s.Send(Alert{Event: NodeDown, Message: "GPU 3 is lost"})
	stop()
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	line, event, _ := strings.Cut(string(b), "\n")
	var a Alert
	if err := json.Unmarshal([]byte(line), &a); err != nil || a.Event != NodeDown || a.Message != "GPU 3 is lost" || event != "node-down" {
		t.Errorf("%s: %v", b, err)
	}
}

func TestACommandThatHangsIsKilledWithItsChildren(t *testing.T) {
	dir := t.TempDir()
	var n counts
	s, stop := start(t, Config{Command: `sleep 1000 & echo $! >` + dir + `/child; wait`, Timeout: 200 * time.Millisecond, Count: n.add})
	s.Send(Alert{Event: NodeDown})
	until(t, func() bool { return n.all()[Failed] == 1 })
	stop()
	b, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { // dead, or dead and not reaped by whoever inherited it
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// A hook that does not answer costs nobody any time, and what does not fit is counted.
func TestSendNeverWaitsAndDropsWhatDoesNotFit(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	var n counts
	s, stop := start(t, Config{URL: srv.URL, Queue: 5, PerMinute: 50, Timeout: 10 * time.Second, Count: n.add})
	s.Send(Alert{Event: JobFailed})
	until(t, func() bool { return len(s.queue) == 0 }) // it is being sent
	began := time.Now()
	for range 1000 {
		s.Send(Alert{Event: JobFailed})
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("1000 alerts took %s to be queued or dropped", took)
	}
	got := n.all()
	if got[DroppedQueue] != 44 || got[DroppedRate] < 945 || got[DroppedRate] > 951 { // a token a second and a bit
		t.Errorf("counted %v, want 44 that found no place (50 less the one before and 5) and the rest for the rate", got)
	}
	close(release)
	stop()
	if got := n.all(); got[Sent]+got[DroppedQueue]+got[DroppedRate] < 1001 {
		t.Errorf("counted %v of 1001", got)
	}
}

func TestWhatTheRateLeavesOutIsSummedUp(t *testing.T) {
	got := make(chan Alert, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var a Alert
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		got <- a
	}))
	defer srv.Close()
	s, _ := start(t, Config{URL: srv.URL, PerMinute: 600})
	s.mu.Lock()
	s.tokens, s.at = 1, time.Now()
	s.mu.Unlock()
	for range 8 {
		s.Send(Alert{Event: JobFailed})
	}
	seen := int64(0) // a token may have come in between
	for end := time.After(20 * time.Second); seen < 8; {
		select {
		case a := <-got:
			seen += a.Suppressed
			if a.Event == JobFailed {
				seen++
			}
		case <-end:
			t.Fatalf("%d of 8 are accounted for", seen)
		}
	}
}

func TestAHookThatFailsIsTriedAgainAndThenGivenUp(t *testing.T) {
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls != Tries {
			w.Header().Set("Location", "/elsewhere") // is not followed
			w.WriteHeader(http.StatusFound)
		}
	}))
	defer srv.Close()
	var n counts
	s, stop := start(t, Config{URL: srv.URL, Count: n.add})
	s.Send(Alert{Event: JobLost}) // goes through at the last try
	until(t, func() bool { return n.all()[Sent] == 1 })
	s.Send(Alert{Event: JobLost}) // does not
	until(t, func() bool { return n.all()[Failed] == 1 })
	stop()
	if calls != 2*Tries {
		t.Errorf("%d calls, want %d", calls, 2*Tries)
	}
}

func TestBadConfigsAreRefused(t *testing.T) {
	for _, c := range []Config{{Command: "x", URL: "http://a"}, {URL: "ftp://a"}, {URL: "http://"}, {URL: "://"}, {Command: "x", Queue: -1}} {
		if s, err := New(c); err == nil {
			t.Errorf("%+v: made %v", c, s)
		}
	}
	if _, err := ParseEvents("job-failed,nope"); err == nil || !strings.Contains(err.Error(), "disk-full") {
		t.Errorf("unknown event: %v", err)
	}
	var none *Sender
	none.Send(Alert{Event: Test})
	none.Run(t.Context())
}

// A webhook that takes the alert and never answers is given up after the timeout, and those behind it get their turn.
func TestAWebhookThatHangsIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		<-release
	}))
	defer srv.Close()
	defer close(release)
	var n counts
	s, stop := start(t, Config{URL: srv.URL, Timeout: 50 * time.Millisecond, Count: n.add})
	defer stop()
	began := time.Now()
	s.Send(Alert{Event: JobFailed})
	s.Send(Alert{Event: JobFailed})
	until(t, func() bool { return n.all()[Failed] == 2 })
	if took := time.Since(began); took < 2*Tries*50*time.Millisecond || took > 5*time.Second {
		t.Errorf("two alerts were given up after %v", took)
	}
	if got := calls.Load(); got != 2*Tries {
		t.Errorf("it was called %d times, want %d", got, 2*Tries)
	}
}

// Who tries whether alerts go out is told what became of his, and the counts have it by then.
func TestATryWaitsForWhatBecomesOfIt(t *testing.T) {
	for command, want := range map[string]string{"sleep 0.1": "", "echo no such door; exit 7": "no such door"} {
		var n counts
		s, _ := start(t, Config{Command: command, PerMinute: 1, Count: n.add})
		err := s.Try(t.Context(), Alert{Event: Test})
		if got := n.all(); want == "" && (err != nil || got[Sent] != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want) || got[Failed] != 1) {
			t.Errorf("%s: %v, %v", command, err, got)
		}
		if err := s.Try(t.Context(), Alert{Event: Test}); err == nil || !strings.Contains(err.Error(), "minute") || n.all()[DroppedRate] != 1 {
			t.Errorf("%s: beyond the rate: %v, %v", command, err, n.all())
		}
	}
	s, _ := start(t, Config{Command: "sleep 1"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Try(ctx, Alert{Event: Test}); err == nil {
		t.Error("it went out before its command had ended")
	}
}
