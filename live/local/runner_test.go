package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/policies/sched"
)

// bench is a runner whose events a test waits for.
type bench struct {
	t *testing.T
	*Runner
	events chan Event
}

func newBench(t *testing.T, root string) *bench {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, events: make(chan Event, 100)}
	b.Runner = &Runner{Root: root, Exe: exe, Report: func(e Event) { b.events <- e }}
	return b
}

// groups gives the bench control groups; the test is skipped where the machine has none for what it needs.
func (b *bench) groups(needs ...string) *bench {
	b.t.Helper()
	m := cgroup.Open(cgroup.Options{Name: fmt.Sprintf("schedlab-test-%d", os.Getpid())})
	for _, c := range m.Capabilities() {
		if slices.Contains(needs, c.Name) && c.By != "v1" && c.By != "v2" {
			b.t.Skipf("no control groups for %s: %s", c.Name, c.Why)
		}
	}
	b.Groups = m
	b.t.Cleanup(func() {
		for _, name := range m.Names() {
			b.t.Errorf("group %s is left", name)
		}
		if err := m.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return b
}

func TestAnAttemptRunsInItsGroupAndItsShimDoesNot(t *testing.T) {
	b := newBench(t, t.TempDir()).groups("memory")
	// Where groups are of version 1 the shim enters them to fork, and leaves them after that.
	s := spec(1, `cat /proc/self/cgroup; echo shim; for i in $(seq 200); do grep -q /t1-1 /proc/$PPID/cgroup || break; sleep 0.05; done; cat /proc/$PPID/cgroup; `+
		`sleep 1000 & setsid sleep 1000 & exit 0`)
	s.Mem, s.CPUMilli, s.Pids = 1<<30, 500, 100
	if e := b.run(s); e.Exit.Code != 0 || e.Exit.Reason != "" || e.Exit.MemPeak <= 0 {
		t.Errorf("exit %+v", e.Exit)
	}
	log, err := os.ReadFile(b.LogPath(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	mine, shims, _ := strings.Cut(string(log), "shim\n")
	if n := strings.Count(mine, "/t1-1\n"); n < len(s.Cgroups) || n == 0 || strings.Contains(shims, "/t1-1\n") || shims == "" {
		t.Errorf("groups %v; the attempt and its shim are in\n%s", s.Cgroups, log)
	}
	if left := alive(t, FolderVariable+"="+filepath.Join(b.Root, "0", "1", "1")); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestWhatTakesMoreThanItsMemoryIsKilledAndToldWhy(t *testing.T) {
	b := newBench(t, t.TempDir()).groups("memory")
	s := spec(1, `head -c 300m /dev/zero | tail -n 1`)
	s.Mem = 64 << 20
	if e := b.run(s); e.Exit.Code != 137 || e.Exit.Reason != "memory: killed at 0.0625 GiB" {
		t.Errorf("exit %+v", e.Exit)
	}
	s = spec(2, `head -c 300m /dev/zero | tail -n 1 || echo made do; exit 0`)
	s.Mem = 64 << 20
	for _, c := range b.Groups.Capabilities() { // version 2 ends the whole attempt
		if c.Name == "memory" && c.By == "v2" {
			return
		}
	}
	if e := b.run(s); e.Exit.Code != 0 || e.Exit.Reason != "" {
		t.Errorf("exit %+v of one that made do", e.Exit)
	}
}

func TestAnAdoptedAttemptKeepsItsGroupAndWhatIsLeftOverIsSwept(t *testing.T) {
	root := t.TempDir()
	first := newBench(t, root).groups("memory")
	s := spec(1, "setsid sleep 1000 & sleep 1000")
	first.start(s)
	first.want(Ready)
	first.Open(1, 1)
	shim := shimOf(t, root, 1)
	if _, err := first.Groups.Create("t99-1", cgroup.Limits{}); err != nil { // of an attempt that nobody knows
		t.Fatal(err)
	}
	second := newBench(t, root)
	second.Groups = first.Groups
	second.Adopt(1, 1, true)
	if busy := second.Sweep(); len(busy) > 0 {
		t.Errorf("groups %v are busy", busy)
	}
	second.want(Adopted)
	if names := second.Groups.Names(); len(names) != 1 || names[0] != "t1-1" {
		t.Errorf("groups %v, want the attempt's alone", names)
	}
	waitFor(t, func() bool {
		n := 0
		second.Uses(func(u Use) { n += len(u.PIDs) })
		return n >= 3
	})
	// The group ends what the killed shim leaves.
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second.want(Lost)
	if left := alive(t, FolderVariable+"="+filepath.Join(root, "0", "1", "1")); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	first.want(Lost)
}

func TestACommandThatForksAllTheTimeIsStoppedByItsGroup(t *testing.T) {
	b := newBench(t, t.TempDir()).groups("pids")
	s := spec(1, `trap "" TERM; f() { while :; do setsid sleep 0.2 & sleep 0.005; done; }; f & f & f & f`)
	s.Pids = 1000
	b.start(s)
	b.want(Ready)
	b.Open(1, 1)
	shimOf(t, b.Root, 1)
	time.Sleep(200 * time.Millisecond)
	b.Stop(1, 1, Stop{Reason: "cancelled", Grace: 50 * time.Millisecond})
	if e := b.want(Ended); e.Exit.Reason != "cancelled" {
		t.Errorf("exit %+v", e.Exit)
	}
	if left := alive(t, FolderVariable+"="+filepath.Join(b.Root, "0", "1", "1")); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func (b *bench) start(s *Spec) {
	b.Start(s.Task, s.Attempt, func(context.Context) (*Spec, error) { return s, nil })
}

func (b *bench) want(kind EventKind) Event {
	b.t.Helper()
	select {
	case e := <-b.events:
		if e.Kind != kind {
			b.t.Fatalf("event %+v, want kind %d", e, kind)
		}
		return e
	case <-time.After(20 * time.Second):
		b.t.Fatalf("no event, want kind %d", kind)
	}
	return Event{}
}

func spec(task sched.TaskID, line string) *Spec {
	return &Spec{
		Task: task, Attempt: 1, Command: []string{"/bin/sh", "-c", line}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/",
		Replicas: []Replica{{}}, Grace: 5 * time.Second, LogBytes: 1 << 20, LogFiles: 1,
	}
}

// run takes an attempt through its gate to its end.
func (b *bench) run(s *Spec) Event {
	b.t.Helper()
	b.start(s)
	b.want(Ready)
	b.Open(s.Task, s.Attempt)
	return b.want(Ended)
}

func alive(t *testing.T, mark string) []int {
	t.Helper()
	return marked([]byte(mark + "\x00"))
}

func TestACommandRunsWithItsEnvironmentAndItsEndIsTold(t *testing.T) {
	b := newBench(t, t.TempDir())
	s := spec(7, `echo "$GREETING $CUDA_VISIBLE_DEVICES $RANK/$WORLD_SIZE"; pwd; exit 3`)
	s.Env, s.Dir, s.Replicas = append(s.Env, "GREETING=hello"), "/usr", []Replica{{GPUs: 0b1010, Env: []string{"CUDA_VISIBLE_DEVICES=1,3"}}}
	e := b.run(s)
	if e.Exit.Code != 3 || e.Exit.Signal != 0 {
		t.Errorf("exit %+v, want code 3", e.Exit)
	}
	log, err := os.ReadFile(b.LogPath(7, 1))
	if err != nil || string(log) != "hello 1,3 0/1\n/usr\n" {
		t.Errorf("log %q, %v", log, err)
	}
	if b.Running() != 0 {
		t.Error("the attempt is still known as running")
	}
}

func TestNothingRunsBeforeTheGateOpens(t *testing.T) {
	b := newBench(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "ran")
	b.start(spec(1, "touch "+file))
	b.want(Ready)
	time.Sleep(50 * time.Millisecond)
	b.Stop(1, 1, Stop{Reason: "cancelled"})
	b.want(Voided)
	if _, err := os.Stat(file); err == nil {
		t.Error("the command ran")
	}
	// The same attempt may begin anew, in another folder.
	b.start(spec(1, "touch "+file))
	b.want(Ready)
	b.Open(1, 1)
	b.want(Ended)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestAStopIsAskedForAndThenForced(t *testing.T) {
	b := newBench(t, t.TempDir())
	for i, c := range []struct {
		line  string
		grace time.Duration
		want  Exit
	}{
		{`trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done`, time.Minute, Exit{Code: 9}},
		{`trap '' TERM; echo up; while :; do sleep 0.01; done`, 50 * time.Millisecond, Exit{Code: 137, Signal: 9}},
	} {
		s := spec(sched.TaskID(i), c.line)
		b.start(s)
		b.want(Ready)
		b.Open(s.Task, 1)
		waitFor(t, func() bool {
			log, _ := os.ReadFile(b.LogPath(s.Task, 1))
			return bytes.Contains(log, []byte("up"))
		})
		b.Stop(s.Task, 1, Stop{Reason: "cancelled", Grace: c.grace})
		e := b.want(Ended)
		if e.Exit.Code != c.want.Code || e.Exit.Signal != c.want.Signal || e.Exit.Reason != "cancelled" {
			t.Errorf("exit %+v, want %+v", e.Exit, c.want)
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to that")
		}
	}
}

func TestWhatACommandLeavesBehindIsGoneWhenItsEndIsTold(t *testing.T) {
	root := t.TempDir()
	b := newBench(t, root)
	s := spec(1, `(setsid sleep 1000 &) ; setsid sh -c 'sleep 1000 & sleep 1000' & exit 0`)
	b.run(s)
	if left := alive(t, FolderVariable+"="+filepath.Join(root, "0", "1", "1")); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestWhoHoldsAJobsOutputOpenDoesNotHoldUpItsEnd(t *testing.T) {
	root := t.TempDir()
	b := newBench(t, root)
	file := filepath.Join(t.TempDir(), "go")
	b.start(spec(1, fmt.Sprintf("echo first; while [ ! -e %s ]; do sleep 0.01; done; echo last; exit 4", file)))
	b.want(Ready)
	b.Open(1, 1)
	var jobs []int
	waitFor(t, func() bool {
		jobs = children(shimOf(t, root, 1))
		return len(jobs) == 1 && len(alive(t, FolderVariable+"="+filepath.Join(root, "0", "1", "1"))) > 0 // it is executed
	})
	out, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", jobs[0]), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := b.want(Ended); e.Exit.Code != 4 {
		t.Errorf("exit %+v, want 4", e.Exit)
	}
	if log, err := os.ReadFile(b.LogPath(1, 1)); err != nil || !strings.HasPrefix(string(log), "first\nlast\nschedlab: ") || !strings.Contains(string(log), "not kept") {
		t.Errorf("log %q, %v", log, err)
	}
	b.run(spec(2, "true")) // its shim goes on
}

func TestALimitEndsTheCommand(t *testing.T) {
	b := newBench(t, t.TempDir())
	s := spec(1, "sleep 1000")
	s.Limit = 50 * time.Millisecond
	if e := b.run(s); e.Exit.Reason != "limit" || e.Exit.Code != 128+15 {
		t.Errorf("exit %+v, want it stopped by its limit", e.Exit)
	}
}

func TestACommandThatCannotRunSaysWhy(t *testing.T) {
	b := newBench(t, t.TempDir())
	s := spec(1, "")
	s.Command = []string{"no-such-program"}
	if e := b.run(s); e.Exit.Code != 127 || !strings.Contains(e.Exit.Reason, "no-such-program") {
		t.Errorf("exit %+v", e.Exit)
	}
	s = spec(2, "true")
	s.Dir = "/no/such/dir"
	if e := b.run(s); e.Exit.Code != 127 || e.Exit.Reason != "the folder that it is to run in: stat /no/such/dir: no such file or directory" {
		t.Errorf("exit %+v", e.Exit)
	}
	s = spec(3, "true")
	if s.Dir = filepath.Join(t.TempDir(), "file"); os.WriteFile(s.Dir, nil, 0o600) != nil {
		t.Fatal("no file")
	}
	if e := b.run(s); e.Exit.Code != 127 || e.Exit.Reason != "the folder that it is to run in: "+s.Dir+" is none" {
		t.Errorf("exit %+v", e.Exit)
	}
}

func TestAGangEndsTogetherWhenOneReplicaFails(t *testing.T) {
	b := newBench(t, t.TempDir())
	s := spec(1, `[ $RANK = 1 ] && exit 5; sleep 1000`)
	s.Replicas = make([]Replica, 3)
	if e := b.run(s); e.Exit.Code != 5 || !strings.Contains(e.Exit.Reason, "replica 1") {
		t.Errorf("exit %+v, want replica 1's", e.Exit)
	}
}

func shimOf(t *testing.T, root string, task int) int {
	t.Helper()
	var s Started
	waitFor(t, func() bool {
		return folder(filepath.Join(root, "0", strconv.Itoa(task), "1")).read("started", &s) == nil
	})
	return s.Shim
}

func TestAKilledShimTakesItsCommandAlongAndCountsAsLost(t *testing.T) {
	root := t.TempDir()
	b := newBench(t, root)
	b.start(spec(1, `setsid sleep 1000 & sleep 1000`))
	b.want(Ready)
	b.Open(1, 1)
	mark := FolderVariable + "=" + filepath.Join(root, "0", "1", "1")
	shim := shimOf(t, root, 1)
	waitFor(t, func() bool { return len(alive(t, mark)) >= 2 })
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.want(Lost)
	if left := alive(t, mark); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// A second runner on the same folder stands for the daemon after a restart.
func TestAnAttemptOutlivesItsDaemonAndIsAdopted(t *testing.T) {
	root := t.TempDir()
	first := newBench(t, root)
	file := filepath.Join(t.TempDir(), "go")
	first.start(spec(1, fmt.Sprintf("while [ ! -e %s ]; do sleep 0.01; done; exit 4", file)))
	first.want(Ready)
	first.Open(1, 1)
	shimOf(t, root, 1)
	second := newBench(t, root)
	second.Adopt(1, 1, true)
	second.want(Adopted)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := second.want(Ended); e.Exit.Code != 4 {
		t.Errorf("exit %+v, want 4", e.Exit)
	}
	third := newBench(t, root) // and one that comes when it is over
	third.Adopt(1, 1, true)
	if e := third.want(Ended); e.Exit.Code != 4 {
		t.Errorf("exit %+v, want 4", e.Exit)
	}
	first.want(Ended)
}

func TestAnAdoptedAttemptCanBeStopped(t *testing.T) {
	for _, late := range []bool{true, false} { // or before it is found
		root := t.TempDir()
		first := newBench(t, root)
		first.start(spec(1, "sleep 1000"))
		first.want(Ready)
		first.Open(1, 1)
		shimOf(t, root, 1)
		second := newBench(t, root)
		second.Adopt(1, 1, true)
		if late {
			second.want(Adopted)
		}
		second.Stop(1, 1, Stop{Reason: "preempted", Grace: time.Second})
		if !late {
			second.want(Adopted)
		}
		if e := second.want(Ended); e.Exit.Signal != 15 || e.Exit.Reason != "preempted" {
			t.Errorf("exit %+v, want it stopped", e.Exit)
		}
		first.want(Ended)
	}
}

func TestAnAttemptWhoseShimIsStoppedCanBeStopped(t *testing.T) {
	for _, adopted := range []bool{false, true} {
		for name, harass := range map[string]func(t *testing.T, shim int) (done func()){
			"once": func(*testing.T, int) func() { return func() {} },
			"for ever": func(t *testing.T, shim int) func() {
				fd, err := unix.PidfdOpen(shim, 0)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				end := sync.OnceFunc(func() {
					close(done)
					_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may wait, stopped, for another attempt
				})
				t.Cleanup(end)
				go func() {
					for tick := time.Tick(100 * time.Microsecond); ; {
						select {
						case <-done:
							return
						case <-tick:
							_ = unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0)
						}
					}
				}()
				return end
			},
		} {
			t.Run(fmt.Sprint(name, " adopted ", adopted), func(t *testing.T) {
				root := t.TempDir()
				first := newBench(t, root)
				first.slack = 100 * time.Millisecond
				first.start(spec(1, `trap "" TERM; setsid sleep 1000 & while :; do sleep 1; done`))
				first.want(Ready)
				first.Open(1, 1)
				shim := shimOf(t, root, 1)
				mark := FolderVariable + "=" + filepath.Join(root, "0", "1", "1")
				waitFor(t, func() bool { return len(alive(t, mark)) >= 3 })
				b := first
				if adopted {
					b = newBench(t, root)
					b.slack = first.slack
					b.Adopt(1, 1, true)
					b.want(Adopted)
				}
				if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				done := harass(t, shim)
				b.Stop(1, 1, Stop{Reason: "cancelled", Grace: 50 * time.Millisecond})
				if e := b.want(Ended); e.Exit.Signal != 9 || e.Exit.Reason != "cancelled" {
					t.Errorf("exit %+v, want it killed and cancelled", e.Exit)
				}
				if left := alive(t, mark); len(left) > 0 {
					t.Errorf("processes %v are left", left)
				}
				done()
				if adopted {
					<-first.events
				}
			})
		}
	}
}

func TestAStoppedShimThatWaitsIsWoken(t *testing.T) {
	b := newBench(t, t.TempDir())
	stop := func() {
		for _, pid := range shims(t, b.Root) {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.start(spec(1, "true"))
	b.want(Ready)
	stop() // at its gate
	b.Open(1, 1)
	b.want(Ended)
	stop() // for another attempt
	b.start(spec(2, "true"))
	b.want(Ready)
	stop()
	b.Stop(2, 1, Stop{Reason: "cancelled"})
	b.want(Voided)
}

func TestAnAttemptWaitsForAFullDiskAndSaysSo(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m,nr_inodes=20"); err != nil {
		t.Skipf("no file system of its own can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var ballast []string
	for {
		name := filepath.Join(root, fmt.Sprint("ballast", len(ballast)))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			break
		}
		ballast = append(ballast, name)
	}
	b := newBench(t, root)
	b.start(spec(1, "true"))
	waitFor(t, func() bool { return strings.Contains(b.Short(1, 1), "no space left") })
	for _, name := range ballast {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	b.want(Ready)
	if text := b.Short(1, 1); text != "" {
		t.Errorf("it still says %q", text)
	}
	b.Open(1, 1)
	b.want(Ended)
}

// What a command came to is worth waiting for as long as its disk is full: hours, where nobody makes room before. What will not pass is given up.
func TestTheEndOfACommandIsKeptUntilTheDiskHasRoom(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "exit.tmp", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err   error
		after time.Duration
		want  bool
	}{
		{full, time.Second, true},
		{full, 24 * time.Hour, true},
		{syscall.EDQUOT, time.Hour, true},
		{syscall.EIO, time.Second, true},
		{syscall.EIO, 3 * time.Minute, false},
		{syscall.EROFS, 3 * time.Minute, false},
		{fs.ErrNotExist, 0, false}, // the folder is gone
	} {
		if got := writtenLater(c.err, c.after); got != c.want {
			t.Errorf("%v after %v: %v", c.err, c.after, got)
		}
	}
}

func TestAnAttemptThatNeverRanIsVoidForEver(t *testing.T) {
	root := t.TempDir()
	b := newBench(t, root)
	b.Adopt(1, 1, false) // the daemon died before it made a folder
	b.want(Voided)
	f, err := attempts(root).next(2, 1)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ran")
	if err := f.write("spec", spec(2, "touch "+file), fleeting); err != nil {
		t.Fatal(err)
	}
	b.Adopt(2, 1, false) // or before it spawned the shim
	b.want(Voided)
	// A shim that comes late to the folder runs nothing.
	if h, err := b.prepare(f); err == nil {
		h.tell(lineGo)
		h.end()
		t.Error("it got ready")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the command ran in a void folder")
	}
}

// Whoever removes the folder of an attempt, it does not run a second time beside the first.
func TestAnAttemptWhoseFolderIsGoneIsLostAndNothingOfItRunsOn(t *testing.T) {
	for name, remove := range map[string]func(root string) error{
		"all":          os.RemoveAll,
		"all attempts": func(root string) error { return os.RemoveAll(filepath.Join(root, "0")) },
		"its files": func(root string) error {
			files, err := filepath.Glob(filepath.Join(root, "0", "1", "1", "*"))
			for _, f := range files {
				err = errors.Join(err, os.Remove(f))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "attempts")
			first := newBench(t, root)
			first.start(spec(1, `setsid sleep 1000 & exec env -i sleep 1000`)) // one bears no mark
			first.want(Ready)
			first.Open(1, 1)
			mark := FolderVariable + "=" + filepath.Join(root, "0", "1", "1")
			shim := shimOf(t, root, 1)
			waitFor(t, func() bool { return len(descendants(shim)) == 2 && len(alive(t, mark)) == 1 })
			all := descendants(shim)
			if err := remove(root); err != nil {
				t.Fatal(err)
			}
			second := newBench(t, root)
			second.Adopt(1, 1, true)
			if e := second.want(Lost); !strings.Contains(e.Err, "removed") {
				t.Errorf("%+v", e)
			}
			for _, pid := range all {
				if _, dead, ok := parentOf(pid); ok && !dead {
					t.Errorf("process %d is left", pid)
				}
			}
			if left := attempts(root).shimsOf(1, 1); len(left) > 0 {
				t.Errorf("shims %v are left", left)
			}
			<-first.events
		})
	}
}

func TestAnAttemptThatWasReadyAndMetNoOpenGateIsVoid(t *testing.T) {
	root := t.TempDir()
	first := newBench(t, root)
	first.start(spec(1, "true"))
	first.want(Ready)
	first.Close() // the daemon dies when that is in its state
	second := newBench(t, root)
	second.Adopt(1, 1, true)
	second.want(Voided)
}

func TestAnExitWhoseRenameWasLostInACrashCounts(t *testing.T) {
	for text, want := range map[string]EventKind{`{"code":7}` + "\n": Ended, `{"code":`: Lost, "": Lost} {
		root := t.TempDir()
		f, err := attempts(root).next(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.write("started", Started{}, there); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.path("exit.tmp"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b := newBench(t, root)
		b.Adopt(1, 1, true)
		if e := b.want(want); want == Ended && e.Exit.Code != 7 {
			t.Errorf("exit %+v, want code 7", e.Exit)
		}
	}
}

func TestTheLogIsRotatedAndAFullDiskNeverBlocksTheCommand(t *testing.T) {
	b := newBench(t, t.TempDir())
	s := spec(1, `i=0; while [ $i -lt 2000 ]; do echo "line $i of the log"; i=$((i+1)); done`)
	s.LogBytes, s.LogFiles = 10000, 2
	e := b.run(s)
	path := b.LogPath(1, 1)
	var all []byte
	for _, end := range []string{".2", ".1", ""} { // oldest first
		log, err := os.ReadFile(path + end)
		if err != nil || len(log) > 10000 {
			t.Errorf("the log%s has %d bytes, %v", end, len(log), err)
		}
		all = append(all, log...)
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("three older files are kept")
	}
	// What is kept is the end of it, without a gap.
	first := 0
	if _, err := fmt.Sscanf(string(all), "line %d ", &first); err != nil || first == 0 || len(all) < 20000 {
		t.Errorf("what is kept has %d bytes and begins with line %d, %v", len(all), first, err)
	}
	var want bytes.Buffer
	for i := first; i < 2000; i++ {
		fmt.Fprintf(&want, "line %d of the log\n", i)
	}
	if !bytes.Equal(all, want.Bytes()) {
		t.Errorf("what is kept is not lines %d to 1999", first)
	}
	if e.Exit.Code != 0 || e.Exit.DroppedLines != 0 {
		t.Errorf("exit %+v", e.Exit)
	}
	began := time.Now()
	l := openLog("/dev/full", 1<<20, 1)
	for range 10 {
		if n, err := l.Write([]byte("a line\n")); n != 7 || err != nil {
			t.Fatalf("a write to a full disk returned %d, %v", n, err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a full disk held the command up for %v", took)
	}
	if dropped := l.close(); dropped != 10 {
		t.Errorf("%d lines were counted as dropped, want 10", dropped)
	}
}
