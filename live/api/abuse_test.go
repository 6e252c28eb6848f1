package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/policies/sched"
)

// probeEnv makes the test program a client: the socket's folder and what to ask, as "METHOD PATH BODY".
const probeEnv = "SCHEDLAB_TEST_PROBE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(probeEnv); dir != "" {
		os.Exit(probe(dir, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// probe asks for each of "METHOD PATH BODY" and prints status and answer.
func probe(dir string, asks []string) int {
	c := NewClient(dir)
	for _, a := range asks {
		f := strings.SplitN(a, " ", 3)
		body := ""
		if len(f) == 3 {
			body = f[2]
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, f[0], "http://schedlab"+f[1], strings.NewReader(body))
		if err != nil {
			fmt.Println("error", err)
			continue
		}
		resp, err := c.http.Do(req)
		if err != nil {
			fmt.Println("error", c.unanswered(f[0], err))
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode, strings.ReplaceAll(string(text), "\n", " "))
	}
	return 0
}

// starter starts all that is ready, in order.
type starter struct{ ready []sched.TaskID }

func (p *starter) Observe(_ *sched.State, e sched.Event) {
	if e.Kind == sched.TaskReady {
		p.ready = append(p.ready, e.Task)
	}
}

func (p *starter) Decide(r *sched.Round) {
	for len(p.ready) > 0 {
		if t := p.ready[0]; r.Phase(t) == sched.Ready && !r.StartFirst(t) {
			return
		}
		p.ready = p.ready[1:]
	}
}

// serve runs a daemon and its API in folders of the test. ready is where its socket is.
func serve(t *testing.T, o Options) (c *Client, dir string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	parent, err := os.MkdirTemp("", "schedlab-api") // short, and others may come to it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Open(t.Context(), daemon.Config{
		Dir: state, Node: sched.NodeSpec{Name: "here", CPU: 4000, Mem: 1 << 34}, Policy: "p", Exe: exe,
		Build: func(name string) (sched.Policy, error) {
			if name != "p" {
				return nil, fmt.Errorf("unknown policy %q", name)
			}
			return &starter{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	dir = filepath.Join(parent, "run")
	go func() { done <- d.Run(ctx) }()
	go func() { done <- Serve(ctx, d, dir, o) }()
	c = NewClient(dir)
	t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, _ = c.Act(ending, daemon.Cancel, "all") // nothing may write in the folders any more
		stop()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := c.Policy(t.Context()); err == nil {
			return c, dir
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// raw sends text as it is and returns the status line of the answer.
func raw(t *testing.T, dir, text string) string {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(dir, SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, text) // it may be cut off amid it
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(strings.TrimPrefix(line, "HTTP/1.1 "))
}

func ask(method, path, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
}

func TestBadRequestsAreRefusedAndTheDaemonLivesOn(t *testing.T) {
	c, dir := serve(t, Options{})
	if _, err := c.Submit(t.Context(), []byte(`{"tasks":[{"id":"a","command":"sleep 100","dir":"/","grace_s":0}]}`)); err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct{ name, text, want string }{
		{"no HTTP", "hello\r\n\r\n", "400"},
		{"zero bytes", strings.Repeat("\x00", 1000) + "\r\n\r\n", "400"},
		{"a long head", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 200_000) + "\r\n\r\n", "431"},
		{"an unknown path", ask("GET", "/v1/nope", ""), "404"},
		{"a wrong method", ask("DELETE", "/v1/jobs", ""), "405"},
		{"no JSON", ask("PUT", "/v1/policy", "{"), "400"},
		{"more than one JSON value", ask("PUT", "/v1/policy", `{"policy":"p"}{}`), "400"},
		{"another JSON value", ask("PUT", "/v1/policy", `[]`), "400"},
		{"an unknown member", ask("PUT", "/v1/policy", `{"policy":"p","x":1}`), "400"},
		{"an unknown policy", ask("PUT", "/v1/policy", `{"policy":"../../etc/passwd"}`), "400"},
		{"an empty job", ask("POST", "/v1/jobs", ""), "400"},
		{"no jobs", ask("POST", "/v1/jobs", "[]"), "400"},
		{"a torn array", ask("POST", "/v1/jobs", `[{"tasks":[{"id":"a","command":"true"}]}`), "400"},
		{"something after the array", ask("POST", "/v1/jobs", `[{"tasks":[{"id":"a","command":"true"}]}] x`), "400"},
		{"one bad job among good ones", ask("POST", "/v1/jobs", `[{"tasks":[{"id":"a","command":"true"}]},{"tasks":[]}]`), "400"},
		{"a member that is the daemon's", ask("POST", "/v1/jobs", `{"recurs":1,"tasks":[{"id":"a","command":"true"}]}`), "400"},
		{"arrays in an array", ask("POST", "/v1/jobs", `[`+strings.Repeat(`{"tasks":[{"id":"a","command":"x","array":"1-60000"}]},`, 2)+`{}]`), "400"},
		{"a name that climbs", ask("POST", "/v1/jobs", `{"tasks":[{"id":"../../x","command":"true"}]}`), "400"},
		{"a job's name that climbs", ask("POST", "/v1/jobs", `{"job":"/etc","tasks":[{"id":"a","command":"true"}]}`), "400"},
		{"a folder that is not absolute", ask("POST", "/v1/jobs", `{"tasks":[{"id":"a","command":"true","dir":"../.."}]}`), "400"},
		{"a path that climbs", ask("GET", "/v1/log/../../../etc/passwd", ""), "307"}, // to the cleaned path, which is unknown
		{"a selector that climbs", ask("GET", "/v1/log?select=../../etc/passwd", ""), "400"},
		{"a task that climbs", ask("GET", "/v1/log?select=1/..%2f..%2fetc", ""), "404"},
		{"a zero byte in a selector", ask("GET", "/v1/log?select=1%00", ""), "400"},
		{"a large number", ask("GET", "/v1/log?select=99999999999999999999", ""), "400"},
		{"a negative number", ask("GET", "/v1/log?select=-1", ""), "400"},
		{"a large range", ask("POST", "/v1/actions/cancel?select=1-4000000000", ""), "404"},
		{"the same again and again", ask("GET", "/v1/tasks?select=all"+strings.Repeat(",all", 10_000), ""), "400"},
		{"an unknown action", ask("POST", "/v1/actions/explode?select=1", ""), "400"},
		{"no selector", ask("POST", "/v1/actions/cancel", ""), "400"},
		{"attempt 0", ask("GET", "/v1/log?select=1&attempt=0", ""), "400"},
		{"an attempt that climbs", ask("GET", "/v1/log?select=1&attempt=../1", ""), "400"},
		{"an attempt that was not", ask("GET", "/v1/log?select=1&attempt=7", ""), "404"},
		{"a limit below 0", ask("GET", "/v1/tasks?limit=-1", ""), "400"},
		{"an estimate that is no number", ask("POST", "/v1/estimate?select=1", `{"estimate_s":"NaN"}`), "400"},
		{"a huge estimate", ask("POST", "/v1/estimate?select=1", `{"estimate_s":1e300}`), "400"},
		{"a quota of nobody", ask("PUT", "/v1/quotas", `{"cpu":1}`), "400"},
		{"an unknown node", ask("POST", "/v1/drain", `{"node":"../x","drain":true}`), "404"},
	} {
		if got := raw(t, dir, q.text); !strings.HasPrefix(got, q.want) {
			t.Errorf("%s: answered %q, want %s", q.name, got, q.want)
		}
	}
	if list, _, err := c.Tasks(t.Context(), "", "", 0); err != nil || len(list) != 1 {
		t.Errorf("%d tasks are there, %v: want the one", len(list), err)
	}
}

func TestABodyThatDoesNotFitIsSaidInItsOwnWords(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:              `an object ({"key": value}) is wanted, not a list`,
		`{"policy":1}`:    "policy: text is wanted, not a number",
		`{"policy":"p","`: "not JSON: it ends in the middle",
	} {
		if _, err := body[Policy](strings.NewReader(text)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestAnEndlessBodyIsRefusedWithoutBeingKept(t *testing.T) {
	c, dir := serve(t, Options{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	if got := raw(t, dir, fmt.Sprintf("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n[", 1<<30)); !strings.HasPrefix(got, "413") {
		t.Errorf("a body of 1 GB that says so: %q", got)
	}
	runtime.ReadMemStats(&after)
	if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 8 || time.Since(began) > 10*time.Second {
		t.Errorf("%d MB were allocated for it in %s", mb, time.Since(began))
	}
	// One that does not say how long it is.
	req, err := http.NewRequest(http.MethodPost, "http://schedlab/v1/jobs", io.LimitReader(spaces{}, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of 1 GB in chunks: %s", resp.Status)
		}
	} else if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) { // cut off while it still sends
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 600 {
		t.Errorf("%d MB were allocated for it", mb)
	}
	if _, err := c.Policy(t.Context()); err != nil {
		t.Error(err)
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestThousandsOfSilentClientsKeepNobodyOut(t *testing.T) {
	c, dir := serve(t, Options{})
	if _, err := c.Submit(t.Context(), []byte(`{"tasks":[{"id":"a","command":"true","dir":"/"}]}`)); err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	defer func() {
		for _, o := range open {
			_ = o.Close()
		}
	}()
	refused := 0
	for range 2 * maxConns {
		o, err := net.Dial("unix", filepath.Join(dir, SocketFile))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(o, "GET /v1/tasks HT") // and no more: it may have been sent away
		open = append(open, o)
	}
	// Who is beyond the bound is told at once; whoever was in before goes on.
	last := open[len(open)-1]
	_ = last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if text, _ := io.ReadAll(last); !strings.HasPrefix(string(text), "HTTP/1.1 503 ") || !json.Valid(text[bytes.Index(text, []byte("\r\n\r\n")):]) {
		t.Errorf("the last one was told %q", text)
	} else {
		refused++
	}
	if _, err := c.Wait(t.Context(), "all"); err != nil {
		t.Errorf("a client that was in: %v", err)
	}
	// Those who say nothing lose their place, so that others come in again.
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := NewClient(dir).Policy(t.Context()); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("nobody comes in any more: %v", err)
		}
	}
	if n := runtime.NumGoroutine(); refused == 0 || n > 4*maxConns {
		t.Errorf("%d goroutines", n)
	}
}

func TestASocketOnWhichSomebodyAnswersIsLeftAlone(t *testing.T) {
	c, dir := serve(t, Options{})
	path := filepath.Join(dir, SocketFile)
	refused := func(dir, want string) {
		t.Helper()
		s, err := OpenSocket(dir, true)
		if err == nil {
			_ = s.Close()
			t.Fatal("it was opened")
		}
		if path := filepath.Join(dir, SocketFile); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want an error with %q and %s", err, want, path)
		}
	}
	refused(dir, "another daemon")
	if err := os.Remove(path + ".lock"); err != nil { // as of a daemon that knows of none
		t.Fatal(err)
	}
	refused(dir, "another daemon")
	if _, err := c.Policy(t.Context()); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
	other := filepath.Join(filepath.Dir(dir), "other")
	s, err := OpenSocket(other, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenSocket(other, false); err != nil { // over the one that is left
		t.Fatal(err)
	}
	file := filepath.Join(other, SocketFile)
	if err := errors.Join(s.Close(), os.Remove(file), os.WriteFile(file, []byte("precious"), 0o600)); err != nil {
		t.Fatal(err)
	}
	refused(other, "no socket")
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

// A client that does not read what it has asked for must stop nobody but itself.
func TestAClientThatDoesNotReadStopsNobody(t *testing.T) {
	c, dir := serve(t, Options{})
	one := `{"tasks":[{"id":"` + strings.Repeat("x", 120) + `","command":"sleep 1000","cpu":4,"dir":"/","grace_s":0}]}`
	many := []byte("[" + strings.Repeat(one+",", 999) + one + "]")
	for range 10 {
		if _, err := c.Submit(t.Context(), many); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/v1/journal", "/v1/events", "/v1/events?follow=true", "/v1/tasks", "/v1/explain?select=all"} {
		for range 8 {
			o, err := net.Dial("unix", filepath.Join(dir, SocketFile))
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			_, _ = io.WriteString(o, ask("GET", path, ""))
		}
	}
	time.Sleep(500 * time.Millisecond) // until their answers are stuck
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Submit(ctx, []byte(one)); err != nil {
		t.Errorf("another client: %v", err)
	}
	if _, err := c.Act(ctx, daemon.Cancel, "1"); err != nil {
		t.Errorf("another client: %v", err)
	}
}

// asNobody asks as another user.
func asNobody(t *testing.T, dir string, asks ...string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test's program lies where nobody may not look.
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(dir), "probe")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, asks...)
	cmd.Env, cmd.Dir = []string{probeEnv + "=" + dir}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestAnotherUserDoesNotGetToTheSocket(t *testing.T) {
	_, dir := serve(t, Options{})
	for _, line := range asNobody(t, dir, "GET /v1/status", "GET /metrics") {
		if !strings.Contains(line, "permission denied: a daemon lets its own user and root in") {
			t.Errorf("another user was told %q", line)
		}
	}
}

func TestInASharedFolderAnotherUserSeesNoSecretsAndActsOnHisOwnJobsOnly(t *testing.T) {
	c, dir := serve(t, Options{Shared: true})
	const secret = "hunter2-very-secret"
	if _, err := c.Submit(t.Context(), []byte(`{"tasks":[{"id":"a","command":"echo `+secret+`; sleep 1000","env":{"TOKEN":"`+secret+`"},"dir":"/","grace_s":0}]}`)); err != nil {
		t.Fatal(err)
	}
	got := asNobody(t, dir,
		"POST /v1/actions/cancel?select=1", "POST /v1/actions/hold?select=1", "POST /v1/actions/preempt?select=all", "GET /v1/log?select=1",
		`POST /v1/estimate?select=1 {"estimate_s":1}`, "POST /v1/end-recurrence?select=1", "POST /v1/retry?select=1",
		`PUT /v1/policy {"policy":"p"}`, `PUT /v1/quotas {"tenant":"x","cpu":0}`, `POST /v1/drain {"drain":true}`)
	for i, line := range got {
		if !strings.HasPrefix(line, "403 ") {
			t.Errorf("request %d of another user: %s", i, line)
		}
	}
	for i, line := range asNobody(t, dir, "GET /v1/tasks", "GET /v1/explain?select=all", "GET /v1/status", "GET /v1/events", "GET /v1/journal", "GET /v1/export", "GET /metrics") {
		if strings.Contains(line, secret) {
			t.Errorf("look %d of another user shows the secret: %s", i, line)
		}
	}
	// What he submits is his, whatever he says, and runs as him.
	got = asNobody(t, dir, `POST /v1/jobs {"tasks":[{"id":"b","command":"id -u","env":{"USER":"root"},"dir":"/","grace_s":0}]}`, "GET /v1/wait?select=2", "GET /v1/log?select=2",
		"POST /v1/actions/cancel?select=2")
	if len(got) != 4 || !strings.HasPrefix(got[0], "201 ") || !strings.Contains(got[1], `"uid":65534`) || strings.TrimSpace(got[2]) != "200 65534" || !strings.HasPrefix(got[3], "200 ") {
		t.Errorf("his own job: %q", got)
	}
	if list, _, err := c.Tasks(t.Context(), "1", "", 0); err != nil || list[0].State != "running" {
		t.Errorf("the first job: %+v, %v", list, err)
	}
}

// remote serves on TCP and returns where, and the certificate's file.
func remote(t *testing.T) (r Remote, dir string) {
	t.Helper()
	dir = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"cert": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), "key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
		"token": []byte(strings.Repeat("0123456789abcdef", 4) + "\n"), "other": []byte(strings.Repeat("0123456789abcdeF", 4)), "short": []byte("hunter2"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if r, err = Listen("127.0.0.1:0", at("cert"), at("key"), at("token")); err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func TestTCPIsServedOverTLSAndWithTheTokenOnly(t *testing.T) {
	r, files := remote(t)
	at := func(name string) string { return filepath.Join(files, name) }
	serve(t, Options{Remote: []Remote{r}})
	address := r.Addr().String()
	good, err := NewRemote(address, at("token"), at("cert"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := good.Submit(t.Context(), []byte(`{"tasks":[{"id":"a","command":"true","dir":"/"}]}`)); err != nil {
		t.Fatal(err)
	}
	if v, err := good.Wait(t.Context(), "1"); err != nil || v[0].State != "done" || v[0].UID != uint32(os.Geteuid()) {
		t.Errorf("%+v, %v", v, err)
	}
	bad, err := NewRemote(address, at("other"), at("cert"))
	if err != nil {
		t.Fatal(err)
	}
	var refusal *Refusal
	for _, path := range []string{"/v1/status", "/metrics", "/healthz", "/nope"} {
		if _, err := bad.do(t.Context(), http.MethodGet, path, nil, nil); !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized {
			t.Errorf("%s with another token: %v", path, err)
		}
	}
	bad.token = ""
	if _, err := bad.Status(t.Context()); !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %v", err)
	}
	stranger, err := NewRemote(address, at("token"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Status(t.Context()); err == nil {
		t.Error("a certificate that nobody has signed was taken")
	}
	if resp, err := http.Get("http://" + address + "/v1/status"); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %s", resp.Status)
		}
	}
	// What is refused before anything listens.
	for name, f := range map[string][3]string{
		"no certificate": {"", at("key"), at("token")}, "no token": {at("cert"), at("key"), ""}, "a short token": {at("cert"), at("key"), at("short")},
		"no file": {at("nope"), at("key"), at("token")},
	} {
		if r, err := Listen("127.0.0.1:0", f[0], f[1], f[2]); err == nil {
			_ = r.Close()
			t.Errorf("%s: it listens", name)
		}
	}
	if err := os.Chmod(at("token"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadToken(at("token")); err == nil || !strings.Contains(err.Error(), "others may read it") {
		t.Errorf("a token that others may read: %v", err)
	}
}
