package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/traces/cluster"
)

// Client asks a daemon. Its errors are fit to be shown.
type Client struct {
	http  *http.Client
	path  string // to show: the socket, or the address
	base  string
	token string

	// Waits, if not nil, is told why an order that was sent is not answered: the daemon cannot write it down, and tries again. It may still be taken in.
	Waits func(problem string)
}

// Address returns what the client asks: a socket or host:port.
func (c *Client) Address() string { return c.path }

// ErrNoDaemon is returned, wrapped, where nobody answers.
var ErrNoDaemon = errors.New("no daemon answers (start one with `schedlab live serve`)")

// ErrGone is returned, wrapped, where the daemon was asked and goes away, or is stopping.
var ErrGone = errors.New("the daemon went away before it had answered")

// NewClient returns a client of the daemon whose socket is in the folder.
func NewClient(dir string) *Client {
	path := filepath.Join(dir, SocketFile)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		short, done, err := shorten(path)
		if err != nil {
			return nil, err
		}
		defer done()
		var d net.Dialer
		return d.DialContext(ctx, "unix", short)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, path: path, base: "http://schedlab"}
}

// NewRemote returns a client of a daemon that serves on host:port. caFile, if not "", is what its certificate must be signed by; else the
// system's certificates count.
func NewRemote(address, tokenFile, caFile string) (*Client, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, err
	}
	token, err := ReadToken(tokenFile)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in it", caFile)
		}
	}
	h := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: c, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this address
	}
	return &Client{http: h, path: address, base: "https://" + address, token: token}, nil
}

// Refusal is an answer that is an error.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

// Is reports whether an answer says that the daemon does not answer now.
func (r *Refusal) Is(target error) bool {
	return target == ErrGone && r.Status == http.StatusServiceUnavailable
}

// Bad reports whether the request itself was wrong, as a command line is.
func (r *Refusal) Bad() bool { return r.Status == http.StatusBadRequest }

// do sends a request and returns the answer's body, which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte) (io.ReadCloser, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.unanswered(method, err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &e) != nil || e.Error == "" {
		e.Error = resp.Status
	}
	return nil, &Refusal{resp.StatusCode, e.Error}
}

// unanswered says why there is no answer, or no whole one.
func (c *Client) unanswered(method string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		err = ErrNoDaemon
	case errors.Is(err, syscall.EACCES):
		err = errors.New("permission denied: a daemon lets its own user and root in, and others where it is served with --shared")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		err = ErrGone
		if method != http.MethodGet {
			err = fmt.Errorf("%w: it is not known whether this was taken in", err)
		}
	}
	return fmt.Errorf("%s: %w", c.path, err)
}

// ask sends a request and reads the answer into v.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, body, v any) error {
	var text []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		text = b
	default:
		var err error
		if text, err = json.Marshal(b); err != nil {
			return err
		}
	}
	if c.Waits != nil && method != http.MethodGet {
		defer c.lookOut(ctx)()
	}
	answer, err := c.do(ctx, method, path, query, text)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(v); err != nil {
		return c.unanswered(method, fmt.Errorf("its answer: %w", err))
	}
	return nil
}

// patience is after how long without an answer the daemon is asked why, and again.
const patience = time.Second

// lookOut tells Waits of the daemon's problems until the function that it returns is called.
func (c *Client) lookOut(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		for told := ""; ; {
			select {
			case <-time.After(patience):
			case <-ctx.Done():
				return
			}
			if s, err := c.Status(ctx); err == nil && s.Problem != "" && s.Problem != told {
				told = s.Problem
				c.Waits(told)
			}
		}
	})
	return func() {
		cancel()
		beside.Wait()
	}
}

func selecting(selector string) url.Values {
	q := url.Values{}
	if selector != "" {
		q.Set("select", selector)
	}
	return q
}

// Submit submits a job, or a JSON array of jobs, and returns their numbers.
func (c *Client) Submit(ctx context.Context, text []byte) ([]int32, error) {
	var a Submitted
	err := c.ask(ctx, http.MethodPost, "/v1/jobs", nil, text, &a)
	return a.Jobs, err
}

// Tasks returns the tasks that the selector names ("" = all) in one of the states, separated by commas ("" = any): the newest limit of
// them, and how many that left out.
func (c *Client) Tasks(ctx context.Context, selector, states string, limit int) ([]daemon.Task, int, error) {
	q := selecting(selector)
	if states != "" {
		q.Set("state", states)
	}
	q.Set("limit", strconv.Itoa(limit))
	var a struct {
		Tasks []daemon.Task `json:"tasks"`
		More  int           `json:"more"`
	}
	err := c.ask(ctx, http.MethodGet, "/v1/tasks", q, nil, &a)
	return a.Tasks, a.More, err
}

// Act does something to tasks and returns those it was done to.
func (c *Client) Act(ctx context.Context, action daemon.Action, selector string) (a Acted, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/actions/"+string(action), selecting(selector), nil, &a)
	return a, err
}

// Estimate replaces run-time estimates.
func (c *Client) Estimate(ctx context.Context, selector string, seconds float64) (a Acted, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/estimate", selecting(selector), Estimate{seconds}, &a)
	return a, err
}

// Wait returns the tasks once they are over.
func (c *Client) Wait(ctx context.Context, selector string) ([]daemon.Task, error) {
	var a []daemon.Task
	err := c.ask(ctx, http.MethodGet, "/v1/wait", selecting(selector), nil, &a)
	return a, err
}

// Explain says why tasks are where they are.
func (c *Client) Explain(ctx context.Context, selector string) ([]daemon.Explanation, error) {
	var a []daemon.Explanation
	err := c.ask(ctx, http.MethodGet, "/v1/explain", selecting(selector), nil, &a)
	return a, err
}

// Policy returns the policy in force.
func (c *Client) Policy(ctx context.Context) (string, error) {
	var p Policy
	err := c.ask(ctx, http.MethodGet, "/v1/policy", nil, nil, &p)
	return p.Policy, err
}

// SetPolicy changes the policy.
func (c *Client) SetPolicy(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodPut, "/v1/policy", nil, Policy{name}, &Policy{})
}

// Status returns the daemon at a glance.
func (c *Client) Status(ctx context.Context) (daemon.Status, error) {
	var s daemon.Status
	err := c.ask(ctx, http.MethodGet, "/v1/status", nil, nil, &s)
	return s, err
}

// Nodes returns the profiles of the nodes as the daemon saw them last.
func (c *Client) Nodes(ctx context.Context) ([]cluster.Profile, error) {
	var p []cluster.Profile
	err := c.ask(ctx, http.MethodGet, "/v1/nodes", nil, nil, &p)
	return p, err
}

// Readings returns all that the daemon saw of the nodes last.
func (c *Client) Readings(ctx context.Context) ([]daemon.Seen, error) {
	var s []daemon.Seen
	err := c.ask(ctx, http.MethodGet, "/v1/nodes/readings", nil, nil, &s)
	return s, err
}

// copyTo copies an answer to w.
func (c *Client) copyTo(ctx context.Context, w io.Writer, path string, query url.Values) error {
	answer, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	if _, err := io.Copy(w, answer); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: the answer broke off: %w", c.path, err)
	}
	return nil
}

// Log copies a task's log to w; attempt 0 is the last one.
func (c *Client) Log(ctx context.Context, w io.Writer, selector string, attempt int32, follow bool) error {
	q := selecting(selector)
	if attempt > 0 {
		q.Set("attempt", strconv.Itoa(int(attempt)))
	}
	if follow {
		q.Set("follow", "true")
	}
	return c.copyTo(ctx, w, "/v1/log", q)
}

// Export copies the trace of what is done to w, in a format that daemon.Export knows.
func (c *Client) Export(ctx context.Context, w io.Writer, selector, format string) error {
	q := selecting(selector)
	q.Set("format", format)
	return c.copyTo(ctx, w, "/v1/export", q)
}

// Journal copies the journal to w.
func (c *Client) Journal(ctx context.Context, w io.Writer) error {
	return c.copyTo(ctx, w, "/v1/journal", nil)
}

// Retry has failed and dropped tasks run again, in new jobs, whose numbers it returns.
func (c *Client) Retry(ctx context.Context, selector string) ([]int32, error) {
	var a Submitted
	err := c.ask(ctx, http.MethodPost, "/v1/retry", selecting(selector), nil, &a)
	return a.Jobs, err
}

// Drain closes a node to new starts, or opens it again.
func (c *Client) Drain(ctx context.Context, node string, on bool) (daemon.Status, error) {
	var s daemon.Status
	err := c.ask(ctx, http.MethodPost, "/v1/drain", nil, Drain{node, on}, &s)
	return s, err
}

// Clean removes the folders and logs of jobs that are over.
func (c *Client) Clean(ctx context.Context, v daemon.Clean) (daemon.Cleaned, error) {
	var out daemon.Cleaned
	err := c.ask(ctx, http.MethodPost, "/v1/clean", nil, v, &out)
	return out, err
}

// Quotas returns the quotas in force.
func (c *Client) Quotas(ctx context.Context) ([]daemon.Quota, error) {
	var q []daemon.Quota
	err := c.ask(ctx, http.MethodGet, "/v1/quotas", nil, nil, &q)
	return q, err
}

// SetQuota sets a quota and returns those in force.
func (c *Client) SetQuota(ctx context.Context, q daemon.Quota) ([]daemon.Quota, error) {
	var all []daemon.Quota
	err := c.ask(ctx, http.MethodPut, "/v1/quotas", nil, q, &all)
	return all, err
}

// Events copies what has happened from a batch on to w, one JSON object a line; with follow until the context ends.
func (c *Client) Events(ctx context.Context, w io.Writer, from int64, follow bool) error {
	q := url.Values{"from": {strconv.FormatInt(from, 10)}}
	if follow {
		q.Set("follow", "true")
	}
	return c.copyTo(ctx, w, "/v1/events", q)
}

// Queues returns the queues.
func (c *Client) Queues(ctx context.Context) (QueuesState, error) {
	var q QueuesState
	err := c.ask(ctx, http.MethodGet, "/v1/queues", nil, nil, &q)
	return q, err
}

// Alerts returns whom the daemon alerts of what.
func (c *Client) Alerts(ctx context.Context) (daemon.AlertsState, error) {
	var a daemon.AlertsState
	err := c.ask(ctx, http.MethodGet, "/v1/alerts", nil, nil, &a)
	return a, err
}

// TestAlert has an alert sent for trying, and returns once it has gone out.
func (c *Client) TestAlert(ctx context.Context) (daemon.AlertsState, error) {
	var a daemon.AlertsState
	err := c.ask(ctx, http.MethodPost, "/v1/alerts/test", nil, nil, &a)
	return a, err
}

// Record has a follower read what was told to the kernel and what it ordered, from where it stands on; with follow until the context ends
// or the daemon does.
func (c *Client) Record(ctx context.Context, f *daemon.Follower, follow bool) error {
	q := url.Values{"from": {strconv.FormatInt(f.Next(), 10)}}
	if follow {
		q.Set("follow", "true")
	}
	answer, err := c.do(ctx, http.MethodGet, "/v1/record", q, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := f.Read(answer); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: its record: %w", c.path, err)
	}
	return nil
}

// EndRecurrence ends the recurrence of jobs and returns the numbers of the first ones.
func (c *Client) EndRecurrence(ctx context.Context, selector string) ([]int32, error) {
	var a Submitted
	err := c.ask(ctx, http.MethodPost, "/v1/end-recurrence", selecting(selector), nil, &a)
	return a.Jobs, err
}
