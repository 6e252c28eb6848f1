// Package api serves a daemon over HTTP with JSON on a unix socket, and is its client. Who asks is what the kernel says of the socket's
// other end. Errors are {"error": "..."} with a status that fits.
package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// SocketFile is the socket's name in its folder.
const SocketFile = folders.SocketFile

// What one request may be.
const (
	maxBody  = 64 << 20
	maxJobs  = 100_000 // of one submission, and their tasks
	smallMax = 256 << 10
)

// largeAtOnce bounds the requests above smallMax that are in memory together, of root and the daemon's user, and of all others; who comes
// beyond waits for them a little.
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
	// Recurring are the first jobs of those whose tasks were to be cancelled and that recur all the same.
	Recurring []int32 `json:"recurring,omitempty"`
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
	d      *daemon.Daemon
	large  chan struct{} // a place for each large request of those who may do all
	others chan struct{} // and of the other users

	mu    sync.Mutex
	turns map[uint32]chan struct{} // one such request of each other user at a time
}

func serverOf(d *daemon.Daemon) *server {
	return &server{d: d, large: make(chan struct{}, largeAtOnce), others: make(chan struct{}, largeAtOnce), turns: map[uint32]chan struct{}{}}
}

// Handler returns the daemon's API.
func Handler(d *daemon.Daemon) http.Handler {
	s := serverOf(d)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/jobs", answers(http.StatusCreated, s.submit))
	mux.HandleFunc("GET /v1/tasks", answers(http.StatusOK, s.tasks))
	mux.HandleFunc("POST /v1/actions/{action}", answers(http.StatusOK, s.act))
	mux.HandleFunc("POST /v1/estimate", answers(http.StatusOK, s.estimate))
	mux.HandleFunc("GET /v1/wait", answers(http.StatusOK, s.wait))
	mux.HandleFunc("GET /v1/explain", answers(http.StatusOK, s.explain))
	mux.HandleFunc("GET /v1/log", streams("text/plain; charset=utf-8", s.log))
	mux.HandleFunc("GET /v1/policy", answers(http.StatusOK, s.policy))
	mux.HandleFunc("PUT /v1/policy", answers(http.StatusOK, s.setPolicy))
	mux.HandleFunc("GET /v1/export", streams("text/csv; charset=utf-8", s.export))
	mux.HandleFunc("GET /v1/journal", streams("application/octet-stream", s.journal))
	mux.HandleFunc("POST /v1/retry", answers(http.StatusCreated, s.retry))
	mux.HandleFunc("POST /v1/end-recurrence", answers(http.StatusOK, s.endRecurrence))
	mux.HandleFunc("POST /v1/clean", answers(http.StatusOK, s.clean))
	mux.HandleFunc("POST /v1/drain", answers(http.StatusOK, s.drain))
	mux.HandleFunc("GET /v1/quotas", answers(http.StatusOK, s.quotas))
	mux.HandleFunc("PUT /v1/quotas", answers(http.StatusOK, s.setQuota))
	mux.HandleFunc("GET /v1/events", streams("application/jsonl", s.events))
	mux.HandleFunc("GET /v1/alerts", answers(http.StatusOK, s.alerts))
	mux.HandleFunc("GET /v1/queues", answers(http.StatusOK, s.queues))
	mux.HandleFunc("GET /v1/record", streams("application/jsonl", s.record))
	mux.HandleFunc("POST /v1/alerts/test", answers(http.StatusOK, s.testAlert))
	mux.HandleFunc("GET /v1/status", answers(http.StatusOK, s.status))
	mux.HandleFunc("GET /v1/nodes", answers(http.StatusOK, s.nodes))
	mux.HandleFunc("GET /v1/nodes/readings", answers(http.StatusOK, s.readings))
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
	Socket *Socket  // that is open already; nil: Serve opens it
}

// Socket is the socket of one daemon.
type Socket struct {
	l    net.Listener
	lock *os.File
}

// OpenSocket makes the socket in the folder, which it makes too. It is an error if another daemon answers there.
func OpenSocket(dir string, shared bool) (_ *Socket, err error) {
	folder, file := os.FileMode(0o700), os.FileMode(0o600)
	if shared {
		folder, file = 0o755, 0o666
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, SocketFile)
	s := &Socket{}
	if s.lock, err = store.Lock(path + ".lock"); errors.Is(err, store.ErrLocked) {
		return nil, answered(path)
	} else if err != nil {
		return nil, err
	}
	if err = vacate(path); err == nil {
		if err = os.Chmod(dir, folder); err == nil {
			s.l, err = listen(path, file)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// answered is the error where another daemon has the socket.
func answered(path string) error {
	return fmt.Errorf("%s: another daemon, on another state, answers on this socket: end it, or give this one a folder of its own with $%s", path, folders.HomeEnv)
}

// Close gives up the socket.
func (s *Socket) Close() error { return errors.Join(s.l.Close(), s.lock.Close()) }

// Serve answers on a socket in the folder until the context ends.
func Serve(ctx context.Context, d *daemon.Daemon, dir string, o Options) error {
	if o.Socket == nil {
		var err error
		if o.Socket, err = OpenSocket(dir, o.Shared); err != nil {
			return err
		}
	}
	defer func() { _ = o.Socket.lock.Close() }()
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
	go func() { done <- srv.Serve(limit(o.Socket.l, userOf)) }()
	for i := range o.Remote {
		srv := newServer(ctx, o.Remote[i].guard(h))
		servers = append(servers, srv)
		go func() { done <- srv.Serve(o.Remote[i].listener()) }()
	}
	over := 0
	var err error
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

// vacate removes a socket that is left over, on which nobody answers.
func vacate(path string) error {
	switch st, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s: it is no socket, and in the place of the daemon's: move it away", path)
	}
	short, done, err := shorten(path)
	if err != nil {
		return err
	}
	defer done()
	c, err := net.DialTimeout("unix", short, 5*time.Second)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) { // one that is too busy to answer is one as well
		return answered(path)
	}
	return os.Remove(path)
}

// listen makes the socket. Its path may be longer than a socket address takes, so it is named through the folder.
func listen(path string, mode os.FileMode) (net.Listener, error) {
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

// userOf returns the user at the other end; nobody's number where that is not known.
func userOf(c net.Conn) uint32 {
	who, err := peer(c)
	if err != nil {
		return math.MaxUint32
	}
	return who.UID
}

// query is a request of somebody who is known.
type query struct {
	*http.Request
	who daemon.Who
}

// asked returns the query; where it is not known who asks, it is refused.
func asked(w http.ResponseWriter, r *http.Request) (query, bool) {
	who, ok := r.Context().Value(whoKey{}).(daemon.Who)
	if !ok {
		fail(w, fmt.Errorf("%w: it is not known who asks", daemon.ErrForbidden))
	}
	return query{r, who}, ok
}

// answers makes a handler that answers with the status and, as JSON, what f returns.
func answers[T any](status int, f func(query) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, ok := asked(w, r)
		if !ok {
			return
		}
		v, err := f(q)
		if err != nil {
			fail(w, err)
			return
		}
		answerJSON(w, status, v)
	}
}

// streams makes a handler that answers with what f writes.
func streams(kind string, f func(query, *stream) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, ok := asked(w, r)
		if !ok {
			return
		}
		out := &stream{w: w, kind: kind}
		switch err := f(q, out); {
		case err == nil:
			out.begin()
		case out.begun:
			panic(http.ErrAbortHandler) // the head is sent: only a broken connection tells
		default:
			fail(w, err)
		}
	}
}

// stream is an answer that is written bit by bit.
type stream struct {
	w     http.ResponseWriter
	kind  string // Content-Type
	begun bool
	flush bool // send at once what is written
}

func (s *stream) begin() {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", s.kind)
		s.w.WriteHeader(http.StatusOK)
		s.sent()
	}
}

func (s *stream) sent() {
	if s.flush {
		_ = http.NewResponseController(s.w).Flush()
	}
}

func (s *stream) Write(p []byte) (int, error) {
	s.begin()
	n, err := s.w.Write(p)
	s.sent()
	return n, err
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
	text := err.Error()
	if errors.Is(err, context.Canceled) { // else it is the asker who is gone
		text = daemon.ErrUnavailable.Error() + ": " + strings.Replace(text, context.Canceled.Error(), "the daemon is stopping", 1)
	}
	answerJSON(w, status, map[string]string{"error": text})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the asker may be gone
}

// body reads a JSON body.
func body[T any](r io.Reader) (v T, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %w", daemon.ErrBad, mismatch.JSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("%w: more than one JSON value", daemon.ErrBad)
	}
	return v, nil
}

// room waits for a place among the large requests, unless this is a small one. A user who sends his slowly keeps neither root waiting nor,
// alone, the others.
func (s *server) room(q query) (done func(), err error) {
	if q.ContentLength >= 0 && q.ContentLength <= smallMax {
		return func() {}, nil
	}
	places := []chan struct{}{s.large}
	if !trusted(q.who.UID) {
		s.mu.Lock()
		turn := s.turns[q.who.UID]
		if turn == nil {
			turn = make(chan struct{}, 1)
			s.turns[q.who.UID] = turn
		}
		s.mu.Unlock()
		places = []chan struct{}{turn, s.others}
	}
	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	taken := 0
	done = func() {
		for _, p := range places[:taken] {
			<-p
		}
	}
	for _, p := range places {
		select {
		case p <- struct{}{}:
			taken++
			continue
		case <-t.C:
			err = errBusy
		case <-q.Context().Done():
			err = q.Context().Err()
		}
		done()
		return nil, err
	}
	return done, nil
}

// submit takes one job as YAML or JSON, or a JSON array of jobs, all or none.
func (s *server) submit(q query) (a Submitted, err error) {
	done, err := s.room(q)
	if err != nil {
		return a, err
	}
	defer done()
	text, err := io.ReadAll(q.Body)
	var jobs []*job.Job
	if err == nil {
		jobs, err = parseJobs(text)
	}
	if err != nil {
		return a, fmt.Errorf("%w: %w", daemon.ErrBad, err)
	}
	ids, err := s.d.Submit(q.Context(), q.who, jobs...)
	return submitted(ids), err
}

// parseJobs reads one job, or a JSON array of jobs.
func parseJobs(text []byte) ([]*job.Job, error) {
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) == 0 || t[0] != '[' {
		j, err := job.Parse(text, "job")
		return []*job.Job{j}, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil, mismatch.JSON(err)
	}
	var jobs []*job.Job
	tasks := 0
	for d.More() {
		var one json.RawMessage
		if err := d.Decode(&one); err != nil {
			return nil, mismatch.JSON(err)
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
		return nil, mismatch.JSON(err)
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

// selected finds the tasks that the query's select names.
func (s *server) selected(q query) ([]sched.TaskID, error) {
	sel := q.URL.Query().Get("select")
	if sel == "" {
		return nil, fmt.Errorf("%w: select what? (3-8,12, a task as 12/train, last or all)", daemon.ErrBad)
	}
	return s.d.Select(sel)
}

// selectedOrAll is selected, and all tasks where the query names none.
func (s *server) selectedOrAll(q query) ([]sched.TaskID, error) {
	if q.URL.Query().Get("select") == "" {
		return s.d.All(), nil
	}
	return s.selected(q)
}

// count reads a whole number of the query that is not below least; 0 where it has none.
func (q query) count(name string, least int64, bits int) (int64, error) {
	text := q.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil || n < least {
		return 0, fmt.Errorf("%w: %s %q", daemon.ErrBad, name, text)
	}
	return n, nil
}

// TaskList is a list of tasks.
type TaskList struct {
	Tasks []daemon.Task `json:"tasks"`
	More  int           `json:"more"` // that the limit left out
}

func (s *server) tasks(q query) (l TaskList, err error) {
	tasks, err := s.selectedOrAll(q)
	if err != nil {
		return l, err
	}
	limit, err := q.count("limit", 0, 0)
	if err != nil {
		return l, err
	}
	var states []string
	if text := q.URL.Query().Get("state"); text != "" {
		states = strings.Split(text, ",")
	}
	l.Tasks, l.More, err = s.d.List(tasks, states, int(limit))
	return l, err
}

func (s *server) act(q query) (Acted, error) {
	named, err := s.selected(q)
	if err != nil {
		return Acted{Tasks: []string{}}, err
	}
	what := daemon.Action(q.PathValue("action"))
	tasks, err := s.d.Act(q.Context(), q.who, what, named)
	a := Acted{Tasks: s.d.Names(tasks)}
	if what == daemon.Cancel {
		a.Recurring = s.d.Recurring(named)
	}
	return a, err
}

func (s *server) estimate(q query) (a Acted, err error) {
	tasks, err := s.selected(q)
	if err != nil {
		return a, err
	}
	e, err := body[Estimate](q.Body)
	if err == nil && !(e.EstimateS > 0 && e.EstimateS <= 1e9) {
		err = fmt.Errorf("%w: an estimate is a number of seconds up to 1e9", daemon.ErrBad)
	}
	if err == nil {
		tasks, err = s.d.Update(q.Context(), q.who, tasks, job.Seconds(e.EstimateS))
	}
	return Acted{Tasks: s.d.Names(tasks)}, err
}

// wait answers with the tasks once they are over.
func (s *server) wait(q query) ([]daemon.Task, error) {
	tasks, err := s.selected(q)
	if err == nil {
		err = s.d.Wait(q.Context(), tasks)
	}
	if err != nil {
		return nil, err
	}
	return s.d.Tasks(tasks), nil
}

func (s *server) explain(q query) ([]daemon.Explanation, error) {
	tasks, err := s.selected(q)
	if err != nil {
		return nil, err
	}
	return s.d.Explain(tasks), nil
}

func (s *server) policy(query) (Policy, error) { return Policy{s.d.Policy()}, nil }

func (s *server) setPolicy(q query) (Policy, error) {
	p, err := body[Policy](q.Body)
	if err == nil {
		err = s.d.SetPolicy(q.Context(), q.who, p.Policy)
	}
	return Policy{s.d.Policy()}, err
}

func (s *server) status(query) (daemon.Status, error) { return s.d.Status(), nil }

// nodes answers with the profiles of the nodes as they were seen last, in the form in which clusters are read.
func (s *server) nodes(q query) ([]cluster.Profile, error) {
	seen, err := s.readings(q)
	if err != nil {
		return nil, err
	}
	return []cluster.Profile{seen[0].Profile}, nil
}

// readings answers with all that was seen.
func (s *server) readings(query) ([]*daemon.Seen, error) {
	seen := s.d.Seen()
	if seen == nil {
		return nil, fmt.Errorf("%w: the machine has not been sampled yet", daemon.ErrConflict)
	}
	return []*daemon.Seen{seen}, nil
}

// log writes an attempt's log; with follow until the attempt is over.
func (s *server) log(q query, out *stream) error {
	tasks, err := s.selected(q)
	if err != nil {
		return err
	}
	if len(tasks) != 1 {
		return fmt.Errorf("%w: the log of one task at a time, not of %d", daemon.ErrBad, len(tasks))
	}
	attempt, err := q.count("attempt", 1, 32)
	if err != nil {
		return err
	}
	out.flush = true
	if err = s.d.Log(q.Context(), q.who, tasks[0], int32(attempt), q.follow(), out); out.begun {
		return nil // as far as it goes
	}
	return err
}

// follow reports whether what comes later is wanted too.
func (q query) follow() bool { return q.URL.Query().Get("follow") == "true" }

// export writes what has been run as a native trace.
func (s *server) export(q query, out *stream) error {
	tasks, err := s.selectedOrAll(q)
	if err != nil {
		return err
	}
	format := cmp.Or(q.URL.Query().Get("format"), "csv")
	if format == "jsonl" {
		out.kind = "application/jsonl"
	}
	return s.d.Export(out, tasks, format)
}

// journal writes the facts and orders so far in the simulator's journal format.
func (s *server) journal(q query, out *stream) error { return s.d.Journal(q.Context(), out) }

// Drain says whether a node is to be closed to new starts.
type Drain struct {
	Node  string `json:"node"` // "" = the only one
	Drain bool   `json:"drain"`
}

func (s *server) drain(q query) (daemon.Status, error) {
	v, err := body[Drain](q.Body)
	if err == nil {
		err = s.d.Drain(q.Context(), q.who, v.Node, v.Drain)
	}
	return s.d.Status(), err
}

func (s *server) clean(q query) (out daemon.Cleaned, err error) {
	c, err := body[daemon.Clean](q.Body)
	if err == nil {
		out, err = s.d.Clean(q.Context(), q.who, c)
	}
	return out, err
}

func (s *server) quotas(query) ([]daemon.Quota, error) { return s.d.Quotas(), nil }

func (s *server) setQuota(q query) ([]daemon.Quota, error) {
	v, err := body[daemon.Quota](q.Body)
	if err == nil {
		err = s.d.SetQuota(q.Context(), q.who, v)
	}
	return s.d.Quotas(), err
}

func (s *server) retry(q query) (a Submitted, err error) {
	tasks, err := s.selected(q)
	if err != nil {
		return a, err
	}
	ids, err := s.d.Retry(q.Context(), q.who, tasks)
	return submitted(ids), err
}

func (s *server) events(q query, out *stream) error { return lines(q, out, s.d.Events) }

func (s *server) record(q query, out *stream) error { return lines(q, out, s.d.Record) }

// lines writes JSON objects, one a line, from a number on.
func lines(q query, out *stream, write func(ctx context.Context, from int64, follow bool, w io.Writer) error) error {
	from, err := q.count("from", 0, 64)
	if err != nil {
		return err
	}
	if out.flush = q.follow(); out.flush {
		out.begin()
	}
	return write(q.Context(), from, out.flush, out)
}

// QueuesState is what is shown of queues.
type QueuesState struct {
	Pool   int                `json:"pool,omitempty"` // workers of all queues that scale together
	Queues []daemon.QueueView `json:"queues"`
}

func (s *server) queues(query) (QueuesState, error) {
	list, pool := s.d.QueuesView()
	return QueuesState{pool, list}, nil
}

func (s *server) alerts(query) (daemon.AlertsState, error) { return s.d.Alerts(), nil }

func (s *server) testAlert(q query) (daemon.AlertsState, error) {
	err := s.d.TestAlert(q.Context(), q.who)
	return s.d.Alerts(), err
}

func (s *server) endRecurrence(q query) (a Submitted, err error) {
	tasks, err := s.selected(q)
	if err == nil {
		a.Jobs, err = s.d.EndRecurrence(q.Context(), q.who, tasks)
	}
	return a, err
}
