package live_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/api"
)

// refusedWith waits until a submission is refused with a status, and returns how many were accepted before.
func (y *yard) refusedWith(status int) (accepted int) {
	y.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := y.client.Submit(ctx, []byte(`{"tasks":[{"id":"a","command":"true","dir":"/","cpu":4,"env":{"X":"`+strings.Repeat("x", 50_000)+`"}}]}`))
		cancel()
		var r *api.Refusal
		switch {
		case err == nil:
			accepted++
		case errors.As(err, &r) && r.Status == status && strings.Contains(r.Text, "cannot be written"):
			return accepted
		case errors.As(err, &r):
			y.t.Fatalf("refused with %d: %v, want %d", r.Status, err, status)
		}
	}
	y.t.Fatal("nothing was refused")
	return 0
}

// jobs counts the jobs that the daemon has.
func (y *yard) jobs() int {
	y.t.Helper()
	s, err := y.client.Status(context.Background())
	if err != nil {
		y.t.Fatal(err)
	}
	return s.Jobs
}

// faulty lets a disk fail under a daemon in which a job runs, and heal; then the daemon dies, and the next one must know all.
func faulty(t *testing.T, y *yard, status int, fail, heal func()) {
	y.start()
	flag := filepath.Join(y.notes, "go")
	ctx := context.Background()
	if _, err := y.client.Submit(ctx, []byte(`{"tasks":[{"id":"long","dir":"/","cpu":4,"command":"while [ ! -e `+flag+` ]; do sleep 0.05; done"}]}`)); err != nil {
		t.Fatal(err)
	}
	fail()
	accepted := y.refusedWith(status)
	if _, _, err := y.client.Tasks(ctx, "", "", 0); err != nil {
		t.Errorf("looking is not possible meanwhile: %v", err)
	}
	if s, err := y.client.Status(ctx); err != nil || !strings.HasPrefix(s.Problem, "the state file cannot be written: ") {
		t.Errorf("status says %q, %v", s.Problem, err)
	}
	heal()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := y.client.Submit(ctx, []byte(`{"tasks":[{"id":"after","command":"true","dir":"/"}]}`))
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it does not recover: %v", err)
		}
	}
	if s, err := y.client.Status(ctx); err != nil || s.Problem != "" {
		t.Errorf("status says %q when that is over, %v", s.Problem, err)
	}
	had := y.jobs()
	if had < accepted+2 {
		t.Errorf("%d jobs are there, %d were accepted", had, accepted+2)
	}
	y.kill()
	y.start()
	if got := y.jobs(); got != had {
		t.Errorf("%d jobs are there after a restart, %d were", got, had)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tasks, err := y.client.Wait(ctx, "all")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range tasks {
		if v.State != "done" || v.Attempts != 1 {
			t.Errorf("%+v, want it done at its first attempt", v)
		}
	}
}

func TestWhileTheStateFileCannotGrowNothingIsAcceptedAndNothingIsLost(t *testing.T) {
	y := newYard(t)
	limit := func(bytes uint64) func() {
		return func() {
			t.Helper()
			old := unix.Rlimit{}
			if err := unix.Prlimit(y.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
				t.Fatal(err)
			}
			old.Cur = min(bytes, old.Max)
			if err := unix.Prlimit(y.cmd.Process.Pid, unix.RLIMIT_FSIZE, &old, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A write across the bound is cut short, the next one fails: not of a full disk, so the status is 503.
	faulty(t, y, http.StatusServiceUnavailable, limit(1_000_001), limit(unix.RLIM_INFINITY))
}

func TestOnAFullDiskNothingIsAcceptedAndNothingIsLost(t *testing.T) {
	y := newYard(t)
	home := filepath.Join(y.home, "disk")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", home, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("no file system of its own can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(home, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	y.home = home
	y.client = api.NewClient(filepath.Join(home, "run"))
	ballast := filepath.Join(home, "ballast")
	told := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		told <- string(text)
	}))
	defer hook.Close()
	y.args = []string{"--alert-url", hook.URL, "--alert-on", "disk-full"}
	faulty(t, y, http.StatusInsufficientStorage, func() {
		if err := os.WriteFile(ballast, make([]byte, 5<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	select {
	case text := <-told:
		if !strings.Contains(text, `"event":"disk-full"`) || !strings.Contains(text, "state file cannot be written") {
			t.Errorf("an alert came: %s", text)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody was told of the full disk")
	}
}

func TestADaemonWhoseDiskDoesNotHealEndsAndItsJobsAreTakenUp(t *testing.T) {
	y := newYard(t)
	y.args = []string{"--patience", "500ms"}
	y.start()
	flag := filepath.Join(y.notes, "go")
	if _, err := y.client.Submit(context.Background(), []byte(`{"tasks":[{"id":"long","dir":"/","cpu":4,"command":"while [ ! -e `+flag+` ]; do sleep 0.05; done; exit 0"}]}`)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		v, _, err := y.client.Tasks(context.Background(), "1", "running", 0)
		if err == nil && len(v) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the job does not run")
		}
	}
	if err := unix.Prlimit(y.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1000, Max: 1000}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := y.client.Submit(context.Background(), []byte(`{"tasks":[{"id":"lost","dir":"/","command":"true"}]}`)); err == nil {
		t.Error("a job was accepted that cannot be written")
	}
	select {
	case <-y.gone:
	case <-time.After(30 * time.Second):
		t.Fatal("the daemon goes on")
	}
	if ws := y.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Exited() || ws.ExitStatus() == 0 {
		t.Errorf("it ended with %v, want an error", y.cmd.ProcessState)
	}
	y.args = nil
	y.start()
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	v, err := y.client.Wait(ctx, "1")
	if err != nil || v[0].State != "done" || v[0].Attempts != 1 {
		t.Errorf("%+v, %v: want it done at its first attempt", v, err)
	}
}
