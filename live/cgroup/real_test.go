//go:build linux

package cgroup

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run upon the machine's own control groups, as far as it lets them. This program is then also the shim of an attempt and the
// attempt before it executes its command.
func TestMain(m *testing.M) {
	switch os.Getenv("CGROUP_TEST_AS") {
	case "shim":
		os.Exit(asShim())
	case "attempt":
		var paths []string
		if err := json.Unmarshal([]byte(os.Getenv("CGROUP_TEST_PATHS")), &paths); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(90)
		}
		if err := Enter(paths); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(91)
		}
		err := syscall.Exec("/bin/sh", []string{"sh", "-c", os.Getenv("CGROUP_TEST_SH")}, []string{"PATH=/usr/bin:/bin", os.Getenv("CGROUP_TEST_MARK")})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(92)
	case "eat":
		eat()
	}
	os.Exit(m.Run())
}

// asShim inherits the orphans, runs the attempt, and waits until its input ends.
func asShim() int {
	if err := BecomeReaper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 93
	}
	self, err := os.Executable()
	if err != nil {
		return 94
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "CGROUP_TEST_AS=attempt")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 95
	}
	go func() {
		err := cmd.Wait()
		fmt.Println("ended:", err)
		for { // the orphans
			var ws syscall.WaitStatus
			if _, err := syscall.Wait4(-1, &ws, 0, nil); err != nil {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// eat takes memory until it has 400 MB.
func eat() {
	var all [][]byte
	for range 100 {
		b := make([]byte, 4<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("ate", len(all))
	os.Exit(0)
}

type attempt struct {
	Group
	shim *exec.Cmd
	in   io.Closer
	out  *bufio.Scanner
}

// start runs a shell command as an attempt. With processes set, it is as on a machine without control groups.
func start(t *testing.T, m *Manager, l Limits, sh string, env ...string) *attempt {
	t.Helper()
	g, err := m.Create(strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")), l)
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{Group: g}
	paths, err := json.Marshal(g.Paths())
	if err != nil {
		t.Fatal(err)
	}
	a.shim = exec.Command(os.Args[0])
	a.shim.Env = append(os.Environ(), append(env, "CGROUP_TEST_AS=shim", "CGROUP_TEST_SH="+sh, "CGROUP_TEST_PATHS="+string(paths))...)
	a.shim.Stderr = os.Stderr
	if a.in, err = a.shim.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.shim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewScanner(out)
	if err := a.shim.Start(); err != nil {
		t.Fatal(err)
	}
	g.SetReaper(a.shim.Process.Pid)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := g.Kill(ctx); err != nil {
			t.Error(err)
		}
		_ = a.in.Close()
		_ = a.shim.Wait()
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// line waits for a line of the attempt.
func (a *attempt) line(t *testing.T, begin string) string {
	t.Helper()
	for a.out.Scan() {
		if s := a.out.Text(); strings.HasPrefix(s, begin) {
			return s
		}
	}
	t.Fatalf("the attempt ended without saying %q", begin)
	return ""
}

// machine opens this machine's groups for one test.
func machine(t *testing.T) *Manager {
	m := Open(Options{Name: fmt.Sprintf("schedlab-test-%d", os.Getpid())})
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("level %s, %+v", m.Level(), m.Capabilities())
	return m
}

// bare is a machine without control groups.
func bare() *Manager {
	k := newModel("/", "memory")
	k.deny = func(string, string) error { return syscall.EROFS }
	return Open(Options{kernel: k})
}

// without is this machine with some of what it has left out.
func without(t *testing.T, drop func(m *Manager)) *Manager {
	m := machine(t)
	drop(m)
	return m
}

func need(t *testing.T, m *Manager, what string) {
	for _, c := range m.Capabilities() {
		if c.Name == what && c.By == "" {
			t.Skipf("this machine cannot limit %s: %s", what, c.Why)
		}
	}
}

func alive(pid int) bool {
	st, ok := statOf(pid)
	return ok && st.state != 'Z' && st.state != 'X'
}

// grounds are the ways to hold an attempt that this machine can show.
func grounds(t *testing.T) map[string]func(t *testing.T) *Manager {
	out := map[string]func(t *testing.T) *Manager{"processes": func(*testing.T) *Manager { return bare() }}
	m := Open(Options{Name: fmt.Sprintf("schedlab-test-%d", os.Getpid())})
	defer m.Close()
	if m.Level() == "processes" {
		t.Logf("no control groups to be had here: %+v", m.Capabilities())
		return out
	}
	out["machine"] = machine
	if m.v2 != "" {
		out["v2 without kill"] = func(t *testing.T) *Manager {
			return without(t, func(m *Manager) { m.kill = false })
		}
	}
	if m.v1["freezer"] != "" {
		out["v1"] = func(t *testing.T) *Manager {
			return without(t, func(m *Manager) {
				_ = m.k.rmdir(m.v2)
				m.v2, m.ctl2, m.frz2, m.kill = "", nil, false, false
			})
		}
	}
	if m.v1["memory"] != "" {
		out["v1 without freezer"] = func(t *testing.T) *Manager {
			return without(t, func(m *Manager) {
				for c, f := range m.v1 {
					if c != "memory" {
						_ = m.k.rmdir(f)
						delete(m.v1, c)
					}
				}
				_ = m.k.rmdir(m.v2)
				m.v2, m.ctl2, m.frz2, m.kill = "", nil, false, false
			})
		}
	}
	return out
}

func TestKillEndsAllThatAnAttemptForked(t *testing.T) {
	for name, open := range grounds(t) {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			// A child, one in a session of its own, one whose parent is gone, one that ignores all it can, and one that is stopped.
			a := start(t, m, Limits{}, `
				sleep 1000 & echo pid $!
				setsid sleep 1001 & echo pid $!
				sh -c 'setsid sh -c "sleep 1002 & echo pid \$!" &'
				sh -c 'trap "" TERM INT HUP; echo pid $$; while :; do sleep 0.1; done' &
				sleep 1003 & kill -STOP $!; echo pid $!
				sleep 0.2; echo ready; wait`)
			var pids []int
			for len(pids) < 5 {
				pid, err := strconv.Atoi(strings.TrimPrefix(a.line(t, "pid "), "pid "))
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			a.line(t, "ready")
			members, err := a.Members()
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				if !slices.Contains(members, pid) || !alive(pid) {
					t.Errorf("%d is not among the members %v", pid, members)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := a.Kill(ctx); err != nil {
				t.Fatal(err)
			}
			for _, pid := range append(pids, members...) {
				if alive(pid) {
					t.Errorf("%d is alive", pid)
				}
			}
			if left, err := a.Members(); err != nil || len(left) > 0 {
				t.Errorf("%v %v", left, err)
			}
			if !alive(a.shim.Process.Pid) {
				t.Error("the shim was killed")
			}
			if err := a.Kill(ctx); err != nil {
				t.Errorf("of nobody: %v", err)
			}
		})
	}
}

func TestKillEndsAnAttemptThatForksAllTheTime(t *testing.T) {
	for name, open := range grounds(t) {
		t.Run(name, func(t *testing.T) {
			a := start(t, open(t), Limits{Pids: 300}, `
				echo ready
				f() { while :; do (setsid sleep 0.3 &); done; }
				f & f 2>/dev/null`)
			a.line(t, "ready")
			time.Sleep(150 * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			begin := time.Now()
			if err := a.Kill(ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("killed in %v", time.Since(begin))
			time.Sleep(50 * time.Millisecond)
			if left, err := a.Members(); err != nil || len(left) > 0 {
				t.Errorf("%v %v", left, err)
			}
		})
	}
}

func TestKillFindsThoseWhoseShimWasKilled(t *testing.T) {
	for name, open := range grounds(t) {
		t.Run(name, func(t *testing.T) {
			mark := fmt.Sprintf("SCHEDLAB_TEST_MARK=%d-%s", os.Getpid(), name)
			a := start(t, open(t), Limits{}, `
				setsid sleep 1001 & echo pid $!
				sleep 0.1; echo ready; exec sleep 1000`, "CGROUP_TEST_MARK="+mark)
			a.SetMark(mark)
			pid, err := strconv.Atoi(strings.TrimPrefix(a.line(t, "pid "), "pid "))
			if err != nil {
				t.Fatal(err)
			}
			a.line(t, "ready")
			if err := a.shim.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_, _ = a.shim.Process.Wait()
			members, err := a.Members()
			if err != nil || len(members) != 2 || !slices.Contains(members, pid) {
				t.Errorf("%v %v", members, err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := a.Kill(ctx); err != nil || alive(pid) {
				t.Error(err)
			}
		})
	}
}

func TestTheNumberOfADeadReaperSaysNothing(t *testing.T) {
	g := &group{m: bare(), name: "x"}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	g.SetReaper(os.Getpid())
	if m, err := g.Members(); err != nil || !slices.Contains(m, cmd.Process.Pid) {
		t.Errorf("%v %v", m, err)
	}
	g.born-- // as if another process had the number before
	if m, err := g.Members(); err != nil || len(m) != 0 {
		t.Errorf("%v %v", m, err)
	}
	if g.SetReaper(1 << 30); g.reaper != 0 {
		t.Error("a process that is not there is a reaper")
	}
	if err := g.Kill(context.Background()); err == nil {
		t.Error("nobody is known to be in it, and nobody is left: that is no success")
	}
}

func TestAFrozenAttemptStandsStillAndIsKilledAllTheSame(t *testing.T) {
	for name, open := range grounds(t) {
		t.Run(name, func(t *testing.T) {
			a := start(t, open(t), Limits{}, `i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.01; done`)
			a.line(t, "tick 3")
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := a.Freeze(ctx); err != nil {
				t.Fatal(err)
			}
			before, err := a.Usage()
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(150 * time.Millisecond)
			after, err := a.Usage()
			if err != nil {
				t.Fatal(err)
			}
			if used := after.CPUTime - before.CPUTime; used > 5*time.Millisecond {
				t.Errorf("frozen, it used %v", used)
			}
			if err := a.Thaw(); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				a.line(t, "tick ")
			}
			if err := a.Freeze(ctx); err != nil {
				t.Fatal(err)
			}
			if err := a.Kill(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUsageIsWhatTheAttemptUsed(t *testing.T) {
	for name, open := range grounds(t) {
		t.Run(name, func(t *testing.T) {
			a := start(t, open(t), Limits{}, `
				sh -c 'i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done'
				echo done; sleep 1000`)
			a.line(t, "done")
			u, err := a.Usage()
			if err != nil {
				t.Fatal(err)
			}
			if u.CPUTime < 10*time.Millisecond || u.CPUTime > 30*time.Second || u.Mem < 64<<10 || u.Mem > 1<<30 || u.Pids < 1 {
				t.Errorf("%+v", u)
			}
			later, err := a.Usage()
			if err != nil || later.CPUTime < u.CPUTime {
				t.Errorf("the CPU time fell from %v to %v, %v", u.CPUTime, later.CPUTime, err)
			}
		})
	}
}

func TestAnAttemptThatTakesTooMuchMemoryIsEnded(t *testing.T) {
	m := machine(t)
	need(t, m, "memory")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, m, Limits{Mem: 100 << 20}, "CGROUP_TEST_AS=eat GODEBUG=madvdontneed=1 "+self+"; echo code $?; sleep 1000")
	a.out.Scan()
	// The whole attempt (version 2) or the process that ate (version 1).
	if s := a.out.Text(); s != "code 137" && !strings.HasPrefix(s, "ended: signal: killed") {
		t.Errorf("%q", s)
	}
	u, err := a.Usage()
	if err != nil || u.OOMKill < 1 || u.MemPeak > 101<<20 || u.Mem > 100<<20 {
		t.Errorf("%+v %v", u, err)
	}
}

func TestAnAttemptCannotForkBeyondItsLimit(t *testing.T) {
	m := machine(t)
	need(t, m, "pids")
	a := start(t, m, Limits{Pids: 5}, `for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done 2>/dev/null; echo after; wait`)
	// The shell gives up at the first fork that fails.
	a.out.Scan()
	members, err := a.Members()
	if err != nil || len(members) > 5 {
		t.Errorf("%v %v", members, err)
	}
}

func TestACappedAttemptGetsNoMoreThanItsCPU(t *testing.T) {
	m := machine(t)
	need(t, m, "cpu")
	a := start(t, m, Limits{CPU: 200, CPUCap: true}, `echo ready; while :; do :; done`)
	a.line(t, "ready")
	before, err := a.Usage()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	time.Sleep(time.Second)
	after, err := a.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if share := (after.CPUTime - before.CPUTime).Seconds() / time.Since(begin).Seconds(); share > 0.35 {
		t.Errorf("it got %.2f CPUs of 0.2", share)
	}
}

func TestADeniedDeviceCannotBeOpened(t *testing.T) {
	m := machine(t)
	need(t, m, "devices")
	zero, err := DeviceOf("/dev/zero")
	if err != nil {
		t.Skip(err)
	}
	if zero != (Device{1, 5}) {
		t.Errorf("%+v", zero)
	}
	a := start(t, m, Limits{Deny: []Device{zero}}, `: </dev/null && echo null opens; (: </dev/zero) 2>/dev/null && echo zero opens; echo over; sleep 1000`)
	a.line(t, "null opens")
	if a.out.Scan(); a.out.Text() != "over" {
		t.Errorf("%q", a.out.Text())
	}
	if _, err := DeviceOf("/proc/self/stat"); err == nil {
		t.Error("a file is a device")
	}
}

func TestGroupsAreFoundAgainAndRemovedWithThoseInThem(t *testing.T) {
	m := machine(t)
	if m.Level() == "processes" {
		t.Skipf("no control groups here: %+v", m.Capabilities())
	}
	a := start(t, m, Limits{Mem: 1 << 30, CPU: 500, Pids: 50}, `echo ready; exec sleep 1000`)
	a.line(t, "ready")
	name := strings.ToLower(t.Name())
	// What the attempt itself made.
	for _, p := range a.Paths() {
		if err := os.Mkdir(p+"/inner", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	again := Open(Options{Name: m.name})
	if !slices.Equal(again.Names(), []string{name}) {
		t.Errorf("%q", again.Names())
	}
	g, ok := again.Find(name)
	if !ok {
		t.Fatal("not found")
	}
	members, err := g.Members()
	if err != nil || len(members) == 0 {
		t.Fatalf("%v %v", members, err)
	}
	if err := join(realKernel{}, []string{a.Paths()[0] + "/inner"}, strconv.Itoa(members[0])); err != nil {
		t.Fatal(err)
	}
	if after, err := g.Members(); err != nil || !slices.Equal(after, members) {
		t.Errorf("%v, with one in an inner group %v, %v", members, after, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Kill(ctx); err != nil {
		t.Error(err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if n := again.Names(); len(n) != 0 {
		t.Errorf("%q", n)
	}
}

func TestKillReturnsWithItsContext(t *testing.T) {
	g := &group{m: bare(), name: "x"}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	g.SetReaper(os.Getpid())
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // the one try that is made may have killed it already; what counts is that there is no second
	done := make(chan error, 1)
	go func() { done <- g.Kill(ctx) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("it does not return")
	}
}

func BenchmarkOpen(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = Open(Options{Name: fmt.Sprintf("schedlab-bench-%d", os.Getpid())}).Close()
	}
}

func BenchmarkAGroup(b *testing.B) {
	m := Open(Options{Name: fmt.Sprintf("schedlab-bench-%d", os.Getpid())})
	defer m.Close()
	b.ReportAllocs()
	for b.Loop() {
		g, err := m.Create("x", Limits{Mem: 1 << 30, CPU: 1000, Pids: 1000})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
	}
}
