package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/policies/sched"
)

var trainer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "schedlab-trainer")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "trainer")
	out, err := exec.Command("go", "build", "-o", path, "../checkpoint/trainer").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func train(t *testing.T, every, args, more string) string {
	t.Helper()
	path, err := trainer()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"tasks":[{"id":"a","command":"exec %s %s","checkpoint":{"every":%q},"estimate_s":100%s}]}`, path, args, every, more)
}

// checkpointed waits until ok holds of what is shown of the task's checkpoints.
func checkpointed(t *testing.T, d *running, selector string, ok func(*CheckpointView) bool) Task {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		v := d.Tasks(mustSelect(t, d, selector))[0]
		if v.Checkpoint != nil && ok(v.Checkpoint) {
			return v
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, checkpoint %+v", v, v.Checkpoint)
		}
	}
}

func TestThePolicySeesWhatIsSavedAndWhatAPreemptionWouldLose(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(train(t, "off", "-steps 1000000", ""))
	waitState(t, d, "1", "running")
	checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.AtRiskS > 0.2 && c.Seq == 0 && c.Progress != "" }) // it listens
	d.mu.RLock()
	n := d.kernel.Attempt(0)
	d.mu.RUnlock()
	(*orders)(d.Daemon).Checkpoint(0, n) // as a policy orders it
	v := checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Done == 1 })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		d.mu.RLock()
		kept, risk := d.kernel.Kept(0), d.kernel.AtRisk(0)
		d.mu.RUnlock()
		if kept == v.Checkpoint.Work && kept > 100*time.Millisecond && risk < 5*time.Second {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the kernel has %v kept, %v at risk; the checkpoint %v", kept, risk, v.Checkpoint.Work)
		}
	}
	d.mu.RLock()
	cost, loss, at := d.kernel.CheckpointCost(0), d.kernel.StopLoss(0), d.kernel.CheckpointedAt(0)
	d.mu.RUnlock()
	if want := time.Duration(v.Checkpoint.HoldS * float64(time.Second)); cost != want || cost <= 0 || loss > cost || at > d.loop.Now() {
		t.Errorf("the kernel knows of a cost of %v, %v that a stop would lose, told at %v; the checkpoint cost %v", cost, loss, at, want)
	}
	// A preemption asks for another; what is left of the estimate shows it.
	if _, err := d.Act(t.Context(), Who{0}, Preempt, mustSelect(t, d, "1")); err != nil {
		t.Fatal(err)
	}
	v = checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Resumed == 2 })
	d.mu.RLock()
	kept, left := d.kernel.Kept(0), d.kernel.Remaining(0)
	d.mu.RUnlock()
	if kept != v.Checkpoint.Work || left > 100*time.Second-kept {
		t.Errorf("kept %v, %v left of 100 s; the checkpoint %v", kept, left, v.Checkpoint.Work)
	}
	if v.Attempts != 2 {
		t.Errorf("%+v", v)
	}
}

func TestALostAttemptKeepsWhatWasSavedAndTheDaemonLearnsWhatItMissed(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(train(t, "100ms", "-steps 1000000", `,"retries":5,"backoff_s":0.01`))
	checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Done >= 1 })
	d.close()
	time.Sleep(400 * time.Millisecond) // the shim goes on
	d = serve(t, dir)
	v := checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Done >= 3 })
	if v.State != "running" || v.Attempts != 1 {
		t.Errorf("%+v", v)
	}
	d.mu.RLock()
	kept := d.kernel.Kept(0)
	d.mu.RUnlock()
	var killed int
	for _, pid := range processesOf(d) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // the shim: nobody writes an exit
		killed++
	}
	if killed == 0 {
		t.Fatal("no shim found")
	}
	v = checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Resumed >= 3 })
	if v.Attempts != 2 || v.Checkpoint.Work < kept {
		t.Errorf("%+v, kept %v, resumed with %v", v, kept, v.Checkpoint.Work)
	}
	if _, err := d.Act(t.Context(), Who{0}, Cancel, mustSelect(t, d, "1")); err != nil {
		t.Fatal(err)
	}
	// What is over has no use for them.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Stat(filepath.Join(dir, "checkpoints", d.setKey(0)))
		left, _ := os.ReadDir(d.ownWork())
		if errors.Is(err, os.ErrNotExist) && len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("they are left: %v, %v", err, left)
		}
	}
}

// processesOf returns the shims of a daemon.
func processesOf(d *running) []int {
	entries, _ := os.ReadDir("/proc")
	var out []int
	for _, e := range entries {
		var pid int
		if n, _ := fmt.Sscan(e.Name(), &pid); n == 0 {
			continue
		}
		if args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline"); strings.Contains(string(args), "__shim\x00"+d.cfg.Dir) {
			out = append(out, pid)
		}
	}
	return out
}

func TestAJobThatSavesAndLeavesTakesNoRetry(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","checkpoint":{},"command":"n=0; test -d $CKPT_DIR/last && n=$(cat $CKPT_DIR/last/n); test $n = 3 && exit 0; echo $((n+1)) >$CKPT_DIR/new/n; exit 85"}]}`)
	if v := d.wait("1")[0]; v.State != "done" || v.Attempts != 4 {
		t.Errorf("%+v, want it done at its fourth attempt", v)
	}
}

// The exit code that asks for another start is a failure like any other where there is nothing new to go on from: it would be for ever.
func TestAJobThatLeavesWithoutHavingSavedTakesARetry(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"exit 85","retries":1,"backoff_s":0.01}]}`)
	d.submit(`{"tasks":[{"id":"a","checkpoint":{},"command":"exit 85"}]}`)
	d.submit(`{"tasks":[{"id":"a","checkpoint":{},"command":"test -d $CKPT_DIR/last || echo 1 >$CKPT_DIR/new/n; exit 85"}]}`) // once it has
	d.submit(`{"tasks":[{"id":"a","checkpoint":{},"command":"mkfifo $CKPT_DIR/new/p; exit 85"}]}`)                            // what cannot be
	for i, v := range d.wait("all") {
		if want := []int32{2, 1, 2, 1}[i]; v.State != "failed" || v.Attempts != want || v.Code == nil || *v.Code != CodeRequeue || !strings.Contains(v.Reason, "saved nothing") {
			t.Errorf("%+v, want it failed with 85 at attempt %d", v, want)
		}
	}
}

// Root's daemons have one folder for running tasks unless they are told otherwise: each leaves the other's alone.
func TestADaemonLeavesTheRunningTasksOfAnotherStateAlone(t *testing.T) {
	work, other, src := t.TempDir(), t.TempDir(), t.TempDir()
	share := func(c *Config) { c.Work = work }
	second := serve(t, other, share)
	second.close()
	first := serve(t, t.TempDir(), share)
	put(t, src+"/a", "there")
	first.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"sleep 1000","inputs":["%s/a"],"checkpoint":{}}]}`, src))
	waitState(t, first, "1", "running")
	key := attemptKey{0, 1}
	used := []string{filepath.Join(first.ownWork(), "0", "job", "new"), filepath.Join(first.inputsDir(key), "a")}
	eventually(t, "its folders are not there", func() bool {
		return !slices.ContainsFunc(used, func(f string) bool { _, err := os.Stat(f); return err != nil })
	})
	foreign := filepath.Join(second.ownWork(), "in-7-1") // of a task that this state has not, or not yet again
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	second = serve(t, other, share)
	second.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	second.wait("1")
	second.close()
	stale := filepath.Join(second.ownWork(), "0")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	serve(t, other, share) // with a task 0 that is over
	eventually(t, "it tidies nothing up", func() bool { _, err := os.Stat(stale); return err != nil })
	for _, f := range append(used, foreign) {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}

func TestYoungAndDalySetTheInterval(t *testing.T) {
	d := serve(t, t.TempDir(), func(c *Config) { c.MTBF = time.Hour })
	d.submit(train(t, "young-daly", "-steps 1000000 -ballast 20000000", ""))
	waitState(t, d, "1", "running")
	time.Sleep(100 * time.Millisecond) // it listens
	d.runner.Checkpoint(0, 1)
	v := checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Done == 1 })
	hold := time.Duration(v.Checkpoint.HoldS * float64(time.Second))
	want := max(sched.CheckpointInterval(hold, time.Hour), 100*time.Millisecond).Seconds()
	if hold <= 0 || v.Checkpoint.Interval < want*0.999 || v.Checkpoint.Interval > want*1.001 {
		t.Errorf("every %v s at a cost of %v, want %v s", v.Checkpoint.Interval, hold, want)
	}
}

func TestATaskWithoutCheckpointsHasNoneOfTheProtocol(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"tasks":[{"id":"a","command":"test -z \"$CKPT_DIR$NOTIFY_SOCKET\""}]}`)
	if v := d.wait("1")[0]; v.State != "done" || v.Checkpoint != nil {
		t.Errorf("%+v", v)
	}
}

// How long an attempt has restored its work is told once, across daemons too, and is no work that a stop would lose.
func TestThePolicyLearnsHowLongRestoringTookAndIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	// Where there is something to resume from, loading it takes 0.4 s.
	d.submit(strings.Replace(train(t, "off", "-steps 1000000", ""), "exec ", "test -d $CKPT_DIR/last && sleep 0.4; exec ", 1))
	checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.AtRiskS > 0.2 && c.Progress != "" })
	if got := d.kernel.RestoreCost(); got != 0 {
		t.Errorf("%v before anything was restored", got)
	}
	if _, err := d.Act(t.Context(), Who{0}, Preempt, mustSelect(t, d, "1")); err != nil {
		t.Fatal(err)
	}
	v := checkpointed(t, d, "1", func(c *CheckpointView) bool { return c.Resumed == 1 && c.Restored })
	told := func() (cost, paid time.Duration) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			d.mu.RLock()
			cost = d.kernel.RestoreCost()
			paid = d.kernel.Now().Sub(d.kernel.WorkBegins(0)) - d.kernel.AtRisk(0)
			d.mu.RUnlock()
			if cost > 0 {
				return cost, paid
			}
			if time.Now().After(end) {
				t.Fatal("the kernel was not told how long it took")
			}
		}
	}
	cost, paid := told()
	if want := time.Duration(v.Checkpoint.RestoreS * float64(time.Second)); cost != want || cost < 400*time.Millisecond || paid != cost {
		t.Errorf("the kernel knows of %v, and of %v that was no work; it took %v", cost, paid, want)
	}
	d.close()
	d = serve(t, dir)
	waitState(t, d, "1", "running")
	checkpointed(t, d, "1", func(c *CheckpointView) bool { // it notes the same again, and more
		d.runner.Checkpoint(0, 2) // which is taken up in its own time
		return c.Done >= 1
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) { // until that is a fact
		d.mu.RLock()
		known := d.kernel.CheckpointedAt(0) > d.kernel.WorkBegins(0)
		d.mu.RUnlock()
		if known {
			break
		}
	}
	facts := 0
	for b, err := range d.store.Batches(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		in, _, err := decode(b.Facts, d.cfg.Build)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range in {
			if e.Kind == sched.Started && e.Value > 0 {
				facts++
			}
		}
	}
	// Not by two reports before the first is a fact either.
	d.mu.Lock()
	delete(d.restored, attemptKey{0, 2})
	same := local.Event{Kind: local.Noted, Task: 0, Attempt: 2, Saved: &local.Saved{Resumed: 1, Restored: true, RestoreS: 1}}
	first, second := len(d.tellRestored(&same)), len(d.tellRestored(&same))
	d.mu.Unlock()
	if first != 1 || second != 0 {
		t.Errorf("told %d times, and then %d times more", first, second)
	}
	if again, _ := told(); again != cost || facts != 1 {
		t.Errorf("it was told %d times: %v, and before %v", facts, again, cost)
	}
}

// While the storage of checkpoints is away nothing that a user gave for his command is spent: neither where what it resumes from cannot be
// read, nor where what it has saved cannot be stored; and it is said what is waited for, to the next daemon too.
func TestAnOutageOfTheStorageOfCheckpointsTakesNoRetry(t *testing.T) {
	dir, flags := t.TempDir(), t.TempDir()
	change := func(c *Config) { c.awayWait = 300 * time.Millisecond }
	d := serve(t, dir, change)
	up, leave, store := filepath.Join(flags, "up"), filepath.Join(flags, "leave"), filepath.Join(dir, "checkpoints")
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","checkpoint":{"every":"off"},"command":"test -e %[2]s && exit 0; touch %[1]s; while [ ! -e %[2]s ]; do sleep 0.01; done; echo 1 >$CKPT_DIR/new/n; exit 85"}]}`, up, leave))
	eventually(t, "it does not run", func() bool { _, err := os.Stat(up); return err == nil })
	put(t, store, "no folder")
	put(t, leave, "")
	away := func(tries int32) {
		t.Helper()
		eventually(t, "it does not wait", func() bool {
			v := d.Tasks(d.All())[0]
			return v.Attempts >= tries && v.State == "backoff" && v.Code == nil && strings.HasPrefix(v.Reason, "the storage of checkpoints is away, which takes no retry: ")
		})
	}
	away(1)
	away(3) // it could not be stored, and then not be read
	d.close()
	d = serve(t, dir, change)
	away(3)
	eventually(t, "nothing is said", func() bool {
		return strings.Contains(explained(t, d, "1"), "It waits for the storage of checkpoints, which was away")
	})
	d.mu.RLock()
	n, tries := d.away[0], d.kernel.Attempt(0)
	d.mu.RUnlock()
	if n < 3 || n < int(tries)-1 {
		t.Errorf("after a restart %d of %d attempts are known to have ended so", n, tries)
	}
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	if v := d.wait("1")[0]; v.State != "done" || *v.Code != 0 || v.Reason != "" {
		t.Errorf("%+v", v)
	}
	for a, err := range d.store.Attempts(t.Context(), 0) {
		if err != nil || !strings.HasPrefix(a.How, "failed: the storage") && a.How != "finished" {
			t.Errorf("attempt %d: %s, %v", a.N, a.How, err)
		}
	}

	// For ever it does not go on so.
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	put(t, store, "no folder")
	d.mu.Lock()
	d.away[1], d.cfg.awayWait = maxAway-1, time.Nanosecond
	d.mu.Unlock()
	d.submit(`{"tasks":[{"id":"a","checkpoint":{},"command":"true"}]}`)
	if v := d.wait("2")[0]; v.State != "failed" || v.Attempts != 2 || !strings.HasPrefix(v.Reason, reasonUnread) {
		t.Errorf("%+v", v)
	}
}
