// Package api serves a daemon over HTTP with JSON on a unix socket, and is its client. Who asks is what the kernel says of the socket's
// other end. Errors are {"error": "..."} with a status that fits.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

// SocketFile is the socket's name in its folder, which only its owner may enter.
const SocketFile = "socket"

// What one request may be.
const (
	maxBody  = 64 << 20
	maxJobs  = 100_000 // of one submission, and their tasks
	smallMax = 256 << 10
)

// largeAtOnce bounds the requests above smallMax that are in memory together; others wait for them a little.
const largeAtOnce = 2

// errBusy is returned, wrapped, where too many others ask for much.
var errBusy = fmt.Errorf("%w: other large requests are being read", daemon.ErrUnavailable)

// Submitted answers a submission: the ids of the jobs in their order.
type Submitted struct {
	Jobs []int32 `json:"jobs"`
}

// Acted answers an action: the tasks that it was done to.
type Acted struct {
	Tasks []string `json:"tasks"`
}

// Policy is the policy in force, or to be.
type Policy struct {
	Policy string `json:"policy"`
}

// Estimate is a new run-time estimate.
type Estimate struct {
	EstimateS float64 `json:"estimate_s"`
}

type whoKey struct{}

// server is the daemon as a handler.
type server struct {
	d     *daemon.Daemon
	large chan struct{} // a place for each large request
}

// Handler returns the daemon's API.
func Handler(d *daemon.Daemon) http.Handler {
	s := &server{d: d, large: make(chan struct{}, largeAtOnce)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/jobs", s.submit)
	mux.HandleFunc("GET /v1/tasks", s.tasks)
	mux.HandleFunc("POST /v1/actions/{action}", s.act)
	mux.HandleFunc("POST /v1/estimate", s.estimate)
	mux.HandleFunc("GET /v1/wait", s.wait)
	mux.HandleFunc("GET /v1/explain", s.explain)
	mux.HandleFunc("GET /v1/log", s.log)
	mux.HandleFunc("GET /v1/policy", s.policy)
	mux.HandleFunc("PUT /v1/policy", s.setPolicy)
	mux.HandleFunc("GET /v1/export", s.export)
	mux.HandleFunc("GET /v1/journal", s.journal)
	mux.HandleFunc("POST /v1/retry", s.retry)
	mux.HandleFunc("POST /v1/end-recurrence", s.endRecurrence)
	mux.HandleFunc("POST /v1/drain", s.drain)
	mux.HandleFunc("GET /v1/quotas", s.quotas)
	mux.HandleFunc("PUT /v1/quotas", s.setQuota)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/alerts", s.alerts)
	mux.HandleFunc("GET /v1/queues", s.queues)
	mux.HandleFunc("POST /v1/alerts/test", s.testAlert)
	mux.HandleFunc("GET /v1/record", s.record)
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/nodes", s.nodes)
	mux.HandleFunc("GET /v1/nodes/readings", s.readings)
	mux.Handle("GET /", Observed(d))
	limited := http.MaxBytesHandler(mux, maxBody)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody { // not a byte of it is read
			w.Header().Set("Connection", "close")
			fail(w, &http.MaxBytesError{Limit: maxBody})
			return
		}
		limited.ServeHTTP(w, r)
	})
}

// Observed returns what may be seen by whoever reaches it: /metrics for Prometheus, /healthz and /readyz. No job's data is in it.
func Observed(d *daemon.Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.Metrics(), promhttp.HandlerOpts{}))
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := d.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		ok(w, r)
	})
	return mux
}

// ServeObserved answers what Observed does on a TCP address until the context ends.
func ServeObserved(ctx context.Context, d *daemon.Daemon, l net.Listener) error {
	srv := &http.Server{Handler: Observed(d), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Options say who is let in besides the daemon's user and root, who come by the socket.
type Options struct {
	Shared bool     // every user of the machine, by the socket, each as who he is
	Remote []Remote // whoever has a token, by TCP, as the daemon's user
}

// Serve answers on a socket in the folder, which it makes, until the context ends.
func Serve(ctx context.Context, d *daemon.Daemon, dir string, o Options) error {
	folder, file := os.FileMode(0o700), os.FileMode(0o600)
	if o.Shared {
		folder, file = 0o755, 0o666
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, folder); err != nil {
		return err
	}
	path := filepath.Join(dir, SocketFile)
	l, err := listen(path, file)
	if err != nil {
		return err
	}
	h := Handler(d)
	srv := newServer(ctx, h)
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if who, err := peer(c); err == nil {
			return context.WithValue(ctx, whoKey{}, who)
		}
		return ctx
	}
	servers := []*http.Server{srv}
	done := make(chan error, 1+len(o.Remote))
	go func() { done <- srv.Serve(limit(l, maxConns)) }()
	for i := range o.Remote {
		srv := newServer(ctx, o.Remote[i].guard(h))
		servers = append(servers, srv)
		go func() { done <- srv.Serve(o.Remote[i].listener()) }()
	}
	over := 0
	select {
	case err = <-done:
		over = 1
	case <-ctx.Done():
	}
	shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(shut) != nil {
			_ = srv.Close()
		}
	}
	for range len(servers) - over {
		<-done
	}
	return err
}

// newServer returns a server that slow and silent clients cannot hold for long while it reads.
func newServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(io.Discard, "", 0), // what a client does wrong is told to the client
	}
}

// listen makes the socket. The state's lock says that no other daemon has it, so one that is there is left over. Its path may be longer
// than a socket address takes, so it is named through the folder.
func listen(path string, mode os.FileMode) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.Listen("unix", short)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// shorten names a path through an open folder, for addresses of at most 107 bytes. The name holds until done is called.
func shorten(path string) (short string, done func(), err error) {
	if len(path) < 100 {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { _ = unix.Close(fd) }, nil
}

// peer asks the kernel who is at the other end.
func peer(c net.Conn) (daemon.Who, error) {
	if p, ok := c.(*placed); ok {
		c = p.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return daemon.Who{}, errors.New("no unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return daemon.Who{}, err
	}
	var cred *unix.Ucred
	var err2 error
	if err := raw.Control(func(fd uintptr) { cred, err2 = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return daemon.Who{}, err
	}
	if err2 != nil {
		return daemon.Who{}, err2
	}
	return daemon.Who{UID: cred.Uid}, nil
}

// who returns the asker; where it is not known, the request is refused.
func who(w http.ResponseWriter, r *http.Request) (daemon.Who, bool) {
	v, ok := r.Context().Value(whoKey{}).(daemon.Who)
	if !ok {
		fail(w, fmt.Errorf("%w: it is not known who asks", daemon.ErrForbidden))
	}
	return v, ok
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, daemon.ErrBad):
		status = http.StatusBadRequest
	case errors.Is(err, daemon.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, daemon.ErrForbidden):
		status = http.StatusForbidden
	case errors.Is(err, daemon.ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, store.ErrFull):
		status = http.StatusInsufficientStorage
	case errors.Is(err, daemon.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		status = http.StatusServiceUnavailable
	}
	answerJSON(w, status, map[string]string{"error": err.Error()})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the asker may be gone
}

// body reads a JSON body into v.
func body(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", daemon.ErrBad, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one JSON value", daemon.ErrBad)
	}
	return nil
}

// room waits for a place among the large requests, unless this is a small one.
func (s *server) room(r *http.Request) (done func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= smallMax {
		return func() {}, nil
	}
	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	select {
	case s.large <- struct{}{}:
		return func() { <-s.large }, nil
	case <-t.C:
		return nil, errBusy
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// submit takes one job as YAML or JSON, or a JSON array of jobs, all or none.
func (s *server) submit(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	done, err := s.room(r)
	if err != nil {
		fail(w, err)
		return
	}
	defer done()
	text, err := io.ReadAll(r.Body)
	var jobs []*job.Job
	if err == nil {
		jobs, err = parseJobs(text)
	}
	if err != nil {
		fail(w, fmt.Errorf("%w: %w", daemon.ErrBad, err))
		return
	}
	ids, err := s.d.Submit(r.Context(), me, jobs...)
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusCreated, submitted(ids))
}

// parseJobs reads one job, or a JSON array of jobs.
func parseJobs(text []byte) ([]*job.Job, error) {
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) == 0 || t[0] != '[' {
		j, err := job.Parse(text, "job")
		return []*job.Job{j}, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var jobs []*job.Job
	tasks := 0
	for d.More() {
		var one json.RawMessage
		if err := d.Decode(&one); err != nil {
			return nil, err
		}
		j, err := job.Parse(one, "job "+strconv.Itoa(len(jobs)+1))
		if err != nil {
			return nil, err
		}
		if tasks += len(j.Tasks); tasks > maxJobs {
			return nil, fmt.Errorf("more than %d tasks in one submission", maxJobs)
		}
		jobs = append(jobs, j)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something comes after the array of jobs")
	}
	if len(jobs) == 0 {
		return nil, errors.New("no job in it")
	}
	return jobs, nil
}

func submitted(ids []sched.JobID) Submitted {
	a := Submitted{Jobs: make([]int32, len(ids))}
	for i, id := range ids {
		a.Jobs[i] = int32(id) + 1
	}
	return a
}

// selected finds the tasks that the query's select names; all where it names none.
func (s *server) selected(r *http.Request, all bool) ([]sched.TaskID, error) {
	sel := r.URL.Query().Get("select")
	if sel == "" {
		if !all {
			return nil, fmt.Errorf("%w: select what? (3-8,12, a task as 12/train, last or all)", daemon.ErrBad)
		}
		return s.d.All(), nil
	}
	return s.d.Select(sel)
}

func (s *server) tasks(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); !ok {
		return
	}
	tasks, err := s.selected(r, true)
	if err != nil {
		fail(w, err)
		return
	}
	q := r.URL.Query()
	limit := 0
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
			fail(w, fmt.Errorf("%w: limit %q", daemon.ErrBad, text))
			return
		}
	}
	var states []string
	if text := q.Get("state"); text != "" {
		states = strings.Split(text, ",")
	}
	list, more, err := s.d.List(tasks, states, limit)
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, struct {
		Tasks []daemon.Task `json:"tasks"`
		More  int           `json:"more"` // that the limit left out
	}{list, more})
}

func (s *server) act(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	tasks, err := s.selected(r, false)
	if err == nil {
		tasks, err = s.d.Act(r.Context(), me, daemon.Action(r.PathValue("action")), tasks)
	}
	s.acted(w, tasks, err)
}

func (s *server) acted(w http.ResponseWriter, tasks []sched.TaskID, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, Acted{Tasks: s.d.Names(tasks)})
}

func (s *server) estimate(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	var e Estimate
	tasks, err := s.selected(r, false)
	if err == nil {
		err = body(r, &e)
	}
	if err == nil && !(e.EstimateS > 0 && e.EstimateS <= 1e9) {
		err = fmt.Errorf("%w: an estimate is a number of seconds up to 1e9", daemon.ErrBad)
	}
	if err == nil {
		tasks, err = s.d.Update(r.Context(), me, tasks, job.Seconds(e.EstimateS))
	}
	s.acted(w, tasks, err)
}

// wait answers with the tasks once they are over.
func (s *server) wait(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); !ok {
		return
	}
	tasks, err := s.selected(r, false)
	if err == nil {
		err = s.d.Wait(r.Context(), tasks)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, s.d.Tasks(tasks))
}

func (s *server) explain(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); !ok {
		return
	}
	tasks, err := s.selected(r, false)
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, s.d.Explain(tasks))
}

func (s *server) policy(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); ok {
		answerJSON(w, http.StatusOK, Policy{s.d.Policy()})
	}
}

func (s *server) setPolicy(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	var p Policy
	err := body(r, &p)
	if err == nil {
		err = s.d.SetPolicy(r.Context(), me, p.Policy)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, Policy{s.d.Policy()})
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); ok {
		answerJSON(w, http.StatusOK, s.d.Status())
	}
}

// nodes answers with the profiles of the nodes as they were seen last, in the form in which clusters are read.
func (s *server) nodes(w http.ResponseWriter, r *http.Request) {
	if seen := s.seen(w, r); seen != nil {
		answerJSON(w, http.StatusOK, []cluster.Profile{seen.Profile})
	}
}

// readings answers with all that was seen.
func (s *server) readings(w http.ResponseWriter, r *http.Request) {
	if seen := s.seen(w, r); seen != nil {
		answerJSON(w, http.StatusOK, []*daemon.Seen{seen})
	}
}

func (s *server) seen(w http.ResponseWriter, r *http.Request) *daemon.Seen {
	if _, ok := who(w, r); !ok {
		return nil
	}
	seen := s.d.Seen()
	if seen == nil {
		fail(w, fmt.Errorf("%w: the machine has not been sampled yet", daemon.ErrConflict))
	}
	return seen
}

// log writes an attempt's log; with follow until the attempt is over.
func (s *server) log(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	tasks, err := s.selected(r, false)
	if err == nil && len(tasks) != 1 {
		err = fmt.Errorf("%w: the log of one task at a time, not of %d", daemon.ErrBad, len(tasks))
	}
	attempt := int32(0)
	if text := r.URL.Query().Get("attempt"); err == nil && text != "" {
		n, e := strconv.ParseInt(text, 10, 32)
		if attempt = int32(n); e != nil || n < 1 {
			err = fmt.Errorf("%w: attempt %q", daemon.ErrBad, text)
		}
	}
	if err != nil {
		fail(w, err)
		return
	}
	out := &flusher{w: w}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.d.Log(r.Context(), me, tasks[0], attempt, r.URL.Query().Get("follow") == "true", out); err != nil && !out.any {
		w.Header().Del("Content-Type")
		fail(w, err)
	}
}

// flusher sends at once what is written.
type flusher struct {
	w   http.ResponseWriter
	any bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.any = true
	n, err := f.w.Write(p)
	if fl, ok := f.w.(http.Flusher); ok {
		fl.Flush()
	}
	return n, err
}

// export writes what has been run as a native CSV trace.
func (s *server) export(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); !ok {
		return
	}
	tasks, err := s.selected(r, true)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	if err := s.d.Export(w, tasks); err != nil {
		panic(http.ErrAbortHandler) // the head is sent: only a broken connection tells
	}
}

// journal writes the facts and orders so far in the simulator's journal format.
func (s *server) journal(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := s.d.Journal(r.Context(), w); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Drain says whether a node is to be closed to new starts.
type Drain struct {
	Node  string `json:"node"` // "" = the only one
	Drain bool   `json:"drain"`
}

func (s *server) drain(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	var v Drain
	err := body(r, &v)
	if err == nil {
		err = s.d.Drain(r.Context(), me, v.Node, v.Drain)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, s.d.Status())
}

func (s *server) quotas(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); ok {
		answerJSON(w, http.StatusOK, s.d.Quotas())
	}
}

func (s *server) setQuota(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	var q daemon.Quota
	err := body(r, &q)
	if err == nil {
		err = s.d.SetQuota(r.Context(), me, q)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, s.d.Quotas())
}

func (s *server) retry(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	tasks, err := s.selected(r, false)
	var ids []sched.JobID
	if err == nil {
		ids, err = s.d.Retry(r.Context(), me, tasks)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusCreated, submitted(ids))
}

// events writes what happens, one JSON object a line.
func (s *server) events(w http.ResponseWriter, r *http.Request) { lines(w, r, s.d.Events) }

func (s *server) record(w http.ResponseWriter, r *http.Request) { lines(w, r, s.d.Record) }

// lines answers with what has happened from a batch on, a line of JSON each.
func lines(w http.ResponseWriter, r *http.Request, write func(ctx context.Context, from int64, follow bool, w io.Writer) error) {
	if _, ok := who(w, r); !ok {
		return
	}
	from := int64(0)
	if text := r.URL.Query().Get("from"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			fail(w, fmt.Errorf("%w: from %q", daemon.ErrBad, text))
			return
		}
		from = n
	}
	follow := r.URL.Query().Get("follow") == "true"
	w.Header().Set("Content-Type", "application/jsonl")
	out := io.Writer(w)
	if follow {
		out = &flusher{w: w}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
	}
	if err := write(r.Context(), from, follow, out); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// QueuesState is what is shown of queues.
type QueuesState struct {
	Pool   int                `json:"pool,omitempty"` // workers of all queues that scale together
	Queues []daemon.QueueView `json:"queues"`
}

func (s *server) queues(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); ok {
		list, pool := s.d.QueuesView()
		answerJSON(w, http.StatusOK, QueuesState{pool, list})
	}
}

func (s *server) alerts(w http.ResponseWriter, r *http.Request) {
	if _, ok := who(w, r); ok {
		answerJSON(w, http.StatusOK, s.d.Alerts())
	}
}

func (s *server) testAlert(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	if err := s.d.TestAlert(me); err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, s.d.Alerts())
}

func (s *server) endRecurrence(w http.ResponseWriter, r *http.Request) {
	me, ok := who(w, r)
	if !ok {
		return
	}
	tasks, err := s.selected(r, false)
	var ended []int32
	if err == nil {
		ended, err = s.d.EndRecurrence(r.Context(), me, tasks)
	}
	if err != nil {
		fail(w, err)
		return
	}
	answerJSON(w, http.StatusOK, Submitted{Jobs: ended})
}
