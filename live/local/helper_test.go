package local

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

func (b *bench) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.idle)
}

// shims returns the processes that are shims of a folder of attempts.
func shims(t *testing.T, root string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if pid, err := strconv.Atoi(e.Name()); err == nil && strings.Contains(string(args), shimCommand+"\x00"+root+"\x00") {
			out = append(out, pid)
		}
	}
	return out
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestAShimThatHasRunAnAttemptTakesTheNextAndKeepsNothingOfTheFirst(t *testing.T) {
	b := newBench(t, t.TempDir())
	first, files := 0, 0
	for i := range runsApiece {
		s := spec(sched.TaskID(i), `env; ls /proc/$PPID/task/*/children >/dev/null; setsid sleep 100 & exit 3`)
		s.Env = append(s.Env, fmt.Sprintf("OWN_%d=%d", i, i))
		if i%3 == 0 {
			s.Replicas = []Replica{{Env: []string{fmt.Sprintf("OWN_%d_0=x", i)}}, {}}
		}
		if e := b.run(s); e.Exit.Code != 3 {
			t.Fatalf("exit %+v", e.Exit)
		}
		log, err := os.ReadFile(b.LogPath(s.Task, 1))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if strings.HasPrefix(line, "OWN_") && !strings.HasPrefix(line, fmt.Sprintf("OWN_%d", i)) {
				t.Fatalf("attempt %d has %s of another", i, line)
			}
		}
		pid := shimOf(t, b.Root, i)
		if i == 0 {
			waitFor(t, func() bool { return b.waiting() == 1 })
			first, files = pid, openFiles(t, pid)
			continue
		}
		if pid != first {
			t.Fatalf("attempt %d was run by another shim", i)
		}
		if i < runsApiece-1 {
			waitFor(t, func() bool { return b.waiting() == 1 })
			if n := openFiles(t, pid); n != files {
				t.Fatalf("after %d attempts the shim has %d files open, after one %d", i+1, n, files)
			}
		}
	}
	waitFor(t, func() bool { return len(shims(t, b.Root)) == 0 }) // that was its last
}

func TestAShimWithoutAttemptsEndsSoonAndWithItsDaemon(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run(spec(1, "true"))
	began := time.Now()
	waitFor(t, func() bool { return len(shims(t, b.Root)) == 0 })
	if took := time.Since(began); took > 10*idleFor {
		t.Errorf("it ended after %v", took)
	}
	b.run(spec(2, "true"))
	waitFor(t, func() bool { return b.waiting() == 1 })
	b.Close()
	waitFor(t, func() bool { return len(shims(t, b.Root)) == 0 })
}

func TestAShimThatIsKilledWhileItIsIdleHarmsNoAttempt(t *testing.T) {
	b := newBench(t, t.TempDir())
	for i := range 20 {
		b.run(spec(sched.TaskID(2*i), "true"))
		waitFor(t, func() bool { return b.waiting() == 1 })
		for _, pid := range shims(t, b.Root) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if e := b.run(spec(sched.TaskID(2*i+1), "exit 4")); e.Exit.Code != 4 {
			t.Fatalf("exit %+v", e.Exit)
		}
	}
}

// Stops that come about the end of one attempt do not reach the next one in the same shim.
func TestAStopReachesItsOwnAttemptOnly(t *testing.T) {
	b := newBench(t, t.TempDir())
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		task := sched.TaskID(i)
		b.start(spec(task, "sleep 0.00"+strconv.Itoa(rng.IntN(10))+" & wait"))
		b.want(Ready)
		b.Open(task, 1)
		stopped := i%2 == 0
		if stopped {
			time.Sleep(time.Duration(rng.Int64N(int64(12 * time.Millisecond))))
			b.Stop(task, 1, Stop{Reason: "cancelled", Grace: time.Duration(rng.Int64N(int64(3 * time.Millisecond)))})
		}
		if e := b.want(Ended); !stopped && (e.Exit.Code != 0 || e.Exit.Reason != "") {
			t.Fatalf("attempt %d, which nobody has stopped, ended with %+v", i, e.Exit)
		}
	}
}

// A shim is woken lazily; what it runs is not.
func TestACommandHasTheUsualTimerSlackAndItsShimAnother(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run(spec(1, `cat /proc/self/timerslack_ns; cat /proc/$PPID/timerslack_ns; for t in /proc/$PPID/task/*; do cat /proc/${t##*/}/timerslack_ns; done`))
	log, err := os.ReadFile(b.LogPath(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(log))
	usual, lazy := strconv.Itoa(int(usualSlack)), strconv.Itoa(int(lazySlack))
	if len(lines) < 4 || lines[0] != usual || lines[1] != usual { // its main thread is the one that forks
		t.Fatalf("the slack of the command, of its shim and of its shim's threads: %v", lines)
	}
	if n := strings.Count(strings.Join(lines[2:], " "), lazy); n < 1 {
		t.Errorf("no thread of the shim has a slack of %s: %v", lazy, lines)
	}
}

func TestACommandIgnoresNoSignalWhateverItsDaemonDoes(t *testing.T) {
	hangups := []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGCONT}
	signal.Ignore(hangups...) // as nohup does, and a shell without job control
	defer signal.Reset(hangups...)
	b := newBench(t, t.TempDir())
	s := spec(1, `grep -E "SigIgn|SigBlk" /proc/self/status; yes | head -n 1; sh -c 'kill -HUP $$; echo survived'; exit 0`)
	s.Limit = 20 * time.Second
	e := b.run(s)
	log, err := os.ReadFile(b.LogPath(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	ours := uint64(0) // whoever runs the tests may ignore others, as the C library's own
	for _, s := range append(hangups, syscall.SIGQUIT, syscall.SIGPIPE) {
		ours |= 1 << (s.(syscall.Signal) - 1)
	}
	none := func(mask string) bool {
		m, err := strconv.ParseUint(mask, 16, 64)
		return err == nil && m&ours == 0
	}
	if got := strings.Fields(string(log)); len(got) < 5 || !none(got[1]) || !none(got[3]) || got[4] != "y" || strings.Contains(string(log), "survived") || strings.Contains(string(log), "roken pipe") {
		t.Errorf("the command wrote %q", log)
	}
	if e.Exit.Code != 0 {
		t.Errorf("exit %+v", e.Exit)
	}
	b.run(spec(2, "for sig in HUP INT QUIT PIPE TSTP; do kill -$sig $PPID; done")) // its shim lives on
}

func TestAnAttemptThatIsStoppedBeforeItIsOnItsWayNeverRuns(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run(spec(1, "true"))
	for range cap(b.ways) { // as many as the processors can help
		b.ways <- struct{}{}
	}
	b.start(spec(2, "true"))
	select {
	case e := <-b.events:
		t.Fatalf("%+v", e)
	case <-time.After(50 * time.Millisecond):
	}
	b.Stop(2, 1, Stop{Reason: "cancelled"})
	if e := b.want(Voided); !e.Stopped {
		t.Errorf("%+v", e)
	}
	if path := b.LogPath(2, 1); path != "" {
		t.Errorf("it has a log: %s", path)
	}
	for range cap(b.ways) {
		<-b.ways
	}
	b.run(spec(3, "true"))
}
