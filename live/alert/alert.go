// Package alert tells somebody that something went wrong: it runs a command, or posts to a URL, with one JSON object (Alert). It is bounded
// in every way: a call has a timeout, what waits has a place in a short queue, so many go out a minute, and what does not fit is dropped and
// counted, never waited for. Alerts are not durable: those that wait when the daemon is killed are lost.
//
// An alert never makes another: what goes wrong with one is logged and counted only, and a command runs with the variable Variable set, by
// which `schedlab live submit` knows to submit jobs that raise none.
package alert

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Schema is the schema of an Alert.
const Schema = "schedlab/alert/v1"

// Variable is set in the environment of a command, to the event.
const Variable = "SCHEDLAB_ALERT"

// Event says what an alert is about.
type Event string

// The events.
const (
	JobFailed     Event = "job-failed"      // a task failed for good; it was allowed no retry, or ran into its limit
	RetriesUsedUp Event = "retries-used-up" // a task failed for good, its retries or the retry budget being spent
	JobLost       Event = "job-lost"        // a task failed for good since what became of its last attempt is not known
	NodeDown      Event = "node-down"       // the machine is closed to new starts since a GPU is lost
	DiskFull      Event = "disk-full"       // the state cannot be written, or a job's log lost lines

	Suppressed Event = "suppressed" // the rate left alerts out: how many. Sent by itself
	Test       Event = "test"       // asked for by a user
)

// Events returns the events that can be chosen.
func Events() []Event { return []Event{JobFailed, RetriesUsedUp, JobLost, NodeDown, DiskFull} }

// ParseEvents reads events separated by commas; "all" is all of them.
func ParseEvents(text string) ([]Event, error) {
	if text == "all" {
		return Events(), nil
	}
	var out []Event
	for word := range strings.SplitSeq(text, ",") {
		e := Event(strings.TrimSpace(word))
		if !slices.Contains(Events(), e) {
			var known []string
			for _, e := range Events() {
				known = append(known, string(e))
			}
			return nil, fmt.Errorf("unknown event %q (known: %s, all)", word, strings.Join(known, ", "))
		}
		out = append(out, e)
	}
	return out, nil
}

// Alert is what is sent. Members that do not apply are left out.
type Alert struct {
	Schema     string    `json:"schema"`
	Event      Event     `json:"event"`
	At         time.Time `json:"at"`
	Host       string    `json:"host"`
	Message    string    `json:"message"` // one line for people
	Task       string    `json:"task,omitempty"`
	Job        int32     `json:"job,omitempty"`
	JobName    string    `json:"job_name,omitempty"`
	Tenant     string    `json:"tenant,omitempty"`
	Queue      string    `json:"queue,omitempty"`
	UID        *uint32   `json:"uid,omitempty"` // the job's owner
	Attempts   int32     `json:"attempts,omitempty"`
	Code       *int32    `json:"exit_code,omitempty"` // of the last attempt
	Reason     string    `json:"reason,omitempty"`
	Suppressed int64     `json:"suppressed,omitempty"` // alerts that were dropped since the last one

	done chan<- error // gets what has become of it; nil: nobody waits for that
}

// Config says whom to tell, and how much. Exactly one of Command and URL is set.
type Config struct {
	Command string  // a line for /bin/sh; the alert is its standard input
	URL     string  // http or https; the alert is posted as JSON. Redirects are not followed
	Events  []Event // those that are sent; nil: all

	Timeout   time.Duration // of one call; 0 is 10 s
	Queue     int           // alerts that may wait; 0 is 100
	PerMinute int           // alerts that go out a minute, all of them at once if need be; 0 is 30

	Host  string
	Log   *slog.Logger
	Count func(result string) // counts what becomes of each alert, see Results; may be nil
}

// What becomes of an alert.
const (
	Sent         = "sent"
	Failed       = "failed"        // the command or the other side did not take it, Tries times
	DroppedQueue = "dropped-queue" // too many waited
	DroppedRate  = "dropped-rate"  // too many in a minute
	DroppedEnd   = "dropped-end"   // the daemon ended first
)

// Results returns what can become of an alert.
func Results() []string { return []string{Sent, Failed, DroppedQueue, DroppedRate, DroppedEnd} }

// Tries is how often a call is made that fails, a second and then two apart.
const Tries = 3

// Sender sends alerts, one at a time. A nil Sender sends none.
type Sender struct {
	c     Config
	http  *http.Client
	queue chan Alert
	late  chan struct{} // something has been left out for the rate
	pause time.Duration // before the second try

	mu      sync.Mutex
	tokens  float64
	at      time.Time
	dropped int64 // since the last one that was queued
}

// New returns a sender; nil where the config names neither a command nor a URL. Run makes it work.
func New(c Config) (*Sender, error) {
	switch {
	case c.Command == "" && c.URL == "":
		return nil, nil
	case c.Command != "" && c.URL != "":
		return nil, errors.New("alerts go to a command or to a URL, not to both")
	case c.Timeout < 0 || c.Queue < 0 || c.PerMinute < 0:
		return nil, errors.New("the timeout, queue and rate of alerts must not be negative")
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil {
			return nil, errors.New("the URL for alerts cannot be read") // it may be a secret
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, errors.New("the URL for alerts is none of http:// or https://")
		}
	}
	c.Timeout, c.Queue, c.PerMinute = cmp.Or(c.Timeout, 10*time.Second), cmp.Or(c.Queue, 100), cmp.Or(c.PerMinute, 30)
	if c.Events == nil {
		c.Events = Events()
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Count == nil {
		c.Count = func(string) {}
	}
	return &Sender{
		c: c, queue: make(chan Alert, c.Queue), late: make(chan struct{}, 1), tokens: float64(c.PerMinute), at: time.Now(), pause: time.Second,
		http: &http.Client{Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Wants reports whether alerts of an event are sent.
func (s *Sender) Wants(e Event) bool {
	return s != nil && (e == Test || slices.Contains(s.c.Events, e))
}

// Try sends an alert and waits until it is known what became of it: nil where it went out, else why not.
func (s *Sender) Try(ctx context.Context, a Alert) error {
	done := make(chan error, 1)
	a.done = done
	s.Send(a)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: it is not known yet whether it goes out", ctx.Err())
	}
}

// over counts what has become of an alert, and tells whoever waits for that.
func (s *Sender) over(a *Alert, how string, err error) {
	s.c.Count(how)
	if a.done != nil {
		a.done <- err
	}
}

// Send sends an alert, if it is wanted, sometime. It never waits.
func (s *Sender) Send(a Alert) {
	if !s.Wants(a.Event) {
		return
	}
	s.fill(&a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.token() {
		s.drop(&a, DroppedRate, fmt.Errorf("at most %d alerts go out a minute", s.c.PerMinute))
		return
	}
	s.put(a)
}

func (s *Sender) fill(a *Alert) {
	a.Schema, a.Host = Schema, s.c.Host
	if a.At.IsZero() {
		a.At = time.Now()
	}
	a.At = a.At.UTC().Truncate(time.Millisecond)
}

// put queues an alert that has its token, with how many were dropped before it. It is called under mu.
func (s *Sender) put(a Alert) {
	a.Suppressed = s.dropped
	select {
	case s.queue <- a:
		s.dropped = 0
	default:
		s.drop(&a, DroppedQueue, fmt.Errorf("%d others wait to go out", cap(s.queue)))
	}
}

func (s *Sender) drop(a *Alert, how string, err error) {
	s.dropped++
	s.over(a, how, err)
	select {
	case s.late <- struct{}{}:
	default:
	}
}

// token takes one of the tokens that come in at the rate, at most a minute's. It is called under mu.
func (s *Sender) token() bool {
	now := time.Now()
	rate := float64(s.c.PerMinute)
	s.tokens = min(rate, s.tokens+now.Sub(s.at).Minutes()*rate)
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// Run sends what is to be sent until the context ends, and then, within one timeout, what still waits.
func (s *Sender) Run(ctx context.Context) {
	if s == nil {
		return
	}
	var summary <-chan time.Time
	for {
		select {
		case a := <-s.queue:
			s.deliver(ctx, &a)
			continue
		case <-s.late:
			if summary == nil {
				summary = time.After(time.Minute / time.Duration(s.c.PerMinute))
			}
			continue
		case <-summary:
			summary = nil
			s.sumUp()
			continue
		case <-ctx.Done():
		}
		break
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.c.Timeout)
	defer cancel()
	for {
		select {
		case a := <-s.queue:
			if last.Err() != nil {
				s.over(&a, DroppedEnd, errors.New("the daemon is stopping"))
				continue
			}
			s.deliver(last, &a)
		default:
			return
		}
	}
}

// sumUp tells how many were dropped, where no other alert has done so since.
func (s *Sender) sumUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped == 0 || len(s.queue) == cap(s.queue) || !s.token() {
		if s.dropped > 0 {
			select {
			case s.late <- struct{}{}:
			default:
			}
		}
		return
	}
	a := Alert{Event: Suppressed, Message: fmt.Sprintf("%d alerts were left out: at most %d go out a minute", s.dropped, s.c.PerMinute)}
	s.fill(&a)
	s.put(a)
}

// deliver makes the calls for one alert.
func (s *Sender) deliver(ctx context.Context, a *Alert) {
	text, err := json.Marshal(a)
	if err != nil {
		s.c.Log.Error("an alert could not be made", "event", a.Event, "err", err)
		s.over(a, Failed, err)
		return
	}
	pause := s.pause
	for try := 1; ; try++ {
		if s.c.URL != "" {
			err = s.post(ctx, text)
		} else {
			err = s.run(ctx, a.Event, text)
		}
		if err == nil {
			s.over(a, Sent, nil)
			return
		}
		if try == Tries || ctx.Err() != nil {
			s.c.Log.Warn("an alert could not be sent", "event", a.Event, "task", a.Task, "tries", try, "err", err)
			s.over(a, Failed, err)
			return
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause *= 2
	}
}

// post posts an alert. A call that has begun goes on to its timeout when the daemon ends.
func (s *Sender) post(ctx context.Context, text []byte) error {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, s.c.URL, bytes.NewReader(text))
	if err != nil {
		return errors.New("the URL cannot be read")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "schedlab")
	resp, err := s.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which may be a secret
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	return nil
}

// run runs the command. All that it started is killed with it at the timeout.
func (s *Sender) run(ctx context.Context, e Event, text []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.c.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.c.Command)
	out := &tail{max: 1 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(text, '\n')), out, out
	cmd.Env = append(os.Environ(), Variable+"="+string(e))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("killed after %s", s.c.Timeout)
	}
	if err != nil && len(out.b) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.ToValidUTF8(string(bytes.TrimSpace(out.b)), "?"))
	}
	return err
}

// tail keeps the last bytes that were written.
type tail struct {
	max int
	b   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(len(p)-t.max, 0):]...)
	if over := len(t.b) - t.max; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}
