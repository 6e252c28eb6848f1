package local

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/checkpoint"
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

// train returns what a checkpointing attempt runs, and where it notes its steps.
func train(t *testing.T, dir, args string, every time.Duration) (s *Spec, trace string) {
	t.Helper()
	path, err := trainer()
	if err != nil {
		t.Fatal(err)
	}
	trace = filepath.Join(dir, "trace")
	s = spec(1, fmt.Sprintf("%s -trace %s -out %s/out %s; code=$?; exit $code", path, trace, dir, args)) // a shell stays around it
	s.Checkpoint = &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "x/1", Every: every}
	return s, trace
}

func lines(path string) []string {
	b, _ := os.ReadFile(path)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func (b *bench) wantNoted(ok func(*Saved) bool) *Saved {
	b.t.Helper()
	for {
		select {
		case e := <-b.events:
			if e.Kind == Noted && ok(e.Saved) {
				return e.Saved
			}
			if e.Kind != Noted {
				b.t.Fatalf("event %+v, want a note", e)
			}
		case <-time.After(20 * time.Second):
			b.t.Fatal("no note")
		}
	}
}

// end waits for the end behind notes.
func (b *bench) end() Event {
	b.t.Helper()
	for {
		select {
		case e := <-b.events:
			if e.Kind == Ended {
				return e
			}
			if e.Kind != Noted {
				b.t.Fatalf("event %+v, want the end", e)
			}
		case <-time.After(20 * time.Second):
			b.t.Fatal("no end")
		}
	}
}

func TestAJobIsAskedForCheckpointsAndGoesOnFromTheLast(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, filepath.Join(dir, "attempts"))
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, trace := train(t, dir, "-steps 1000000 -ballast 3000000", 100*time.Millisecond)
	b.start(s)
	b.want(Ready)
	b.Open(1, 1)
	got := b.wantNoted(func(s *Saved) bool { return s.Done == 3 })
	if got.Seq != 3 || got.Bytes < 3_000_000 || got.Files != 2 || got.Work <= 0 || got.SaveS <= 0 || got.Interval != 0.1 || got.Resumed != 0 {
		t.Errorf("noted %+v", got)
	}
	// A preemption: one more checkpoint, then SIGTERM.
	b.Stop(1, 1, Stop{Reason: "preempted", Grace: 5 * time.Second, Save: true})
	e := b.end()
	if e.Exit.Reason != "preempted" || e.Exit.Code != 143 || e.Saved == nil || e.Saved.Seq <= got.Seq || e.Saved.Work <= got.Work {
		t.Fatalf("the end %+v, saved %+v", e.Exit, e.Saved)
	}
	var saved, last string
	for _, l := range lines(trace) {
		if f := strings.Fields(l); f[0] == "save" {
			saved = f[1]
		} else if f[0] == "step" {
			last = f[1]
		}
	}
	seqs, err := os.ReadDir(filepath.Join(dir, "store/x/1"))
	if err != nil || len(seqs) != checkpoint.Keep {
		t.Errorf("in the store: %v, %v", seqs, err)
	}
	if _, err := os.Stat(s.Checkpoint.Dir); !os.IsNotExist(err) {
		t.Errorf("the working folder is left: %v", err)
	}
	s2, _ := train(t, dir, "-steps 1000000", time.Hour)
	s2.Attempt = 2
	b.start(s2)
	b.want(Ready)
	b.Open(1, 2)
	resumed := b.wantNoted(func(s *Saved) bool { return true })
	if resumed.Resumed != e.Saved.Seq || resumed.Work != e.Saved.Work {
		t.Errorf("resumed from %+v, want %+v", resumed, e.Saved)
	}
	waitFor(t, func() bool { return strings.Contains(strings.Join(lines(trace), "\n"), "start "+saved+" ") })
	// The policy's order, in an attempt that is asked once an hour.
	waitFor(t, func() bool {
		all := lines(trace) // once: it grows
		f := strings.Fields(all[len(all)-1])
		return len(f) == 3 && f[0] == "step" && f[1] != last
	})
	b.Checkpoint(1, 2)
	b.wantNoted(func(s *Saved) bool { return s.Done == 1 && s.Seq == resumed.Resumed+1 })
	b.Stop(1, 2, Stop{Reason: "cancelled", Grace: 5 * time.Second})
	if e := b.end(); e.Exit.Reason != "cancelled" || e.Saved.Done != 1 {
		t.Errorf("the end %+v, saved %+v", e.Exit, e.Saved)
	}
}

func TestADamagedCheckpointFallsBackToTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, filepath.Join(dir, "attempts"))
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, _ := train(t, dir, "-steps 1000000", 100*time.Millisecond)
	b.start(s)
	b.want(Ready)
	b.Open(1, 1)
	b.wantNoted(func(s *Saved) bool { return s.Done == 2 })
	b.Stop(1, 1, Stop{Reason: "cancelled"})
	e := b.end()
	newest := filepath.Join(dir, fmt.Sprintf("store/x/1/%012d/0", e.Saved.Seq))
	if err := os.WriteFile(newest, []byte(`{"step":`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Attempt = 2
	b.start(s)
	b.want(Ready)
	b.Open(1, 2)
	r := b.wantNoted(func(*Saved) bool { return true })
	if r.Resumed != e.Saved.Seq-1 || !strings.Contains(r.Problem, "model.json is not what was saved") {
		t.Errorf("resumed from %+v, want %d", r, e.Saved.Seq-1)
	}
	b.Stop(1, 2, Stop{Reason: "cancelled"})
	b.end()
}

func TestCode85SavesWhatLiesInNewAndAShellCanDoIt(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, filepath.Join(dir, "attempts"))
	s := spec(1, `n=0; test -d $CKPT_DIR/last && n=$(cat $CKPT_DIR/last/n); echo "from $n"
trap 'echo $((n+1)) >$CKPT_DIR/new/n; exit 85' USR1; echo up; while :; do sleep 0.02; done`)
	for attempt := int32(1); attempt <= 3; attempt++ {
		s.Attempt = attempt
		s.Checkpoint = &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "x/1"} // at a preemption only
		b.start(s)
		b.want(Ready)
		b.Open(1, attempt)
		log := func() string { text, _ := os.ReadFile(b.LogPath(1, attempt)); return string(text) }
		waitFor(t, func() bool { return strings.Contains(log(), "up") })
		if want := fmt.Sprintf("from %d\n", attempt-1); !strings.HasPrefix(log(), want) {
			t.Errorf("attempt %d: %q, want %q", attempt, log(), want)
		}
		b.Stop(1, attempt, Stop{Reason: "preempted", Grace: 10 * time.Second, Save: true})
		e := b.want(Ended)
		if e.Exit.Code != 85 || e.Exit.Reason != "preempted" || e.Saved == nil || e.Saved.Seq != int64(attempt) {
			t.Fatalf("attempt %d: %+v, saved %+v", attempt, e.Exit, e.Saved)
		}
	}
}

func TestAJobThatDoesNotListenIsStoppedAsBeforeAndNeverKilledByTheRequest(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, filepath.Join(dir, "attempts"))
	s := spec(1, `echo up; sleep 0.5; exit 7`)
	s.Checkpoint = &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "x/1", Every: 20 * time.Millisecond}
	if e := b.run(s); e.Exit.Code != 7 {
		t.Errorf("%+v, want code 7: SIGUSR1 is for whom listens", e.Exit)
	}
	s = spec(2, `trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done`)
	s.Checkpoint = &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "x/2"}
	b.start(s)
	b.want(Ready)
	b.Open(2, 1)
	waitFor(t, func() bool { text, _ := os.ReadFile(b.LogPath(2, 1)); return len(text) > 0 })
	began := time.Now()
	b.Stop(2, 1, Stop{Reason: "preempted", Grace: time.Minute, Save: true})
	if e := b.want(Ended); e.Exit.Code != 9 || e.Exit.Reason != "preempted" || time.Since(began) > 20*time.Second {
		t.Errorf("%+v after %v", e.Exit, time.Since(began))
	}
}

func TestALinkInThePlaceOfAFileOrOfNewIsRefused(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, filepath.Join(dir, "attempts"))
	for i, line := range []string{`ln -s ` + secret + ` $CKPT_DIR/new/x; exit 85`, `rm -r $CKPT_DIR/new; ln -s ` + dir + ` $CKPT_DIR/new; exit 85`, `mkfifo $CKPT_DIR/new/p; exit 85`} {
		s := spec(1, line)
		s.Attempt = int32(i + 1)
		s.Checkpoint = &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "x/1"}
		e := b.run(s)
		if e.Exit.Code != 85 || e.Saved == nil || e.Saved.Done != 0 || e.Saved.Failed != 1 || e.Saved.Problem == "" {
			t.Errorf("%q: %+v, saved %+v", line, e.Exit, e.Saved)
		}
	}
	if err := filepath.WalkDir(filepath.Join(dir, "store"), func(p string, _ os.DirEntry, err error) error {
		if text, _ := os.ReadFile(p); strings.Contains(string(text), "s3cret") {
			t.Errorf("%s has what the link points to", p)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestTheSocketHearsOnlyTheAttempt(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, filepath.Join(dir, "attempts"))
	s := spec(1, `echo x >$CKPT_DIR/new/x; echo $NOTIFY_SOCKET; sleep 0.5`)
	s.Checkpoint = &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "x/1"}
	b.start(s)
	b.want(Ready)
	b.Open(1, 1)
	var name string
	waitFor(t, func() bool {
		text, _ := os.ReadFile(b.LogPath(1, 1))
		name = strings.TrimSpace(string(text))
		return name != ""
	})
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: name}) // this test: of the same user, outside the attempt
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(checkpoint.SaysDone)); err != nil {
		t.Fatal(err)
	}
	if e := b.want(Ended); e.Saved == nil || e.Saved.Done+e.Saved.Failed != 0 {
		t.Errorf("%+v: a stranger was heard", e.Saved)
	}
	if !catches(os.Getpid(), syscall.SIGUSR1) { // the Go runtime does
		t.Error("catches does not see this process's handler")
	}
}

// What a failure may cost is what the job has worked since the last checkpoint that is whole in the store: requests come as much sooner as
// checkpoints take.
func TestRequestsComeSoonerByWhatCheckpointsTake(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		before time.Duration
		took   []time.Duration
		want   time.Duration
	}{
		{0, nil, 500 * ms},                             // nobody knows yet
		{200 * ms, nil, 700 * ms},                      // the attempt before knew
		{0, []time.Duration{20 * ms}, 970 * ms},        //
		{100 * ms, []time.Duration{20 * ms}, 850 * ms}, // not forgotten at once
		{100 * ms, []time.Duration{20 * ms, 20 * ms, 20 * ms, 20 * ms}, 970 * ms},
		{0, []time.Duration{300 * ms, 20 * ms, 20 * ms, 20 * ms, 10 * ms}, 970 * ms}, // the last four
		{0, []time.Duration{900 * ms}, 500 * ms},                                     // no more often than twice
	} {
		k := &keeper{c: &Checkpoint{Every: time.Second, Took: c.before}}
		for _, d := range c.took {
			k.noteTook(d)
		}
		if got := k.period(); got != c.want {
			t.Errorf("%v, %v: a request each %v, want %v", c.before, c.took, got, c.want)
		}
	}
	k := &keeper{c: &Checkpoint{Every: time.Second, MTBF: time.Hour, Took: time.Second}}
	if got := k.period(); got != time.Second {
		t.Errorf("by Young and Daly, before a cost is known: %v", got)
	}
}

func TestAJobSaysWhenItHasRestoredItsWork(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, filepath.Join(dir, "attempts"))
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, _ := train(t, dir, "-steps 1000000", 100*time.Millisecond)
	s.Command[2] = "sleep 0.3; " + s.Command[2] // to load what was saved takes long
	b.start(s)
	b.want(Ready)
	b.Open(1, 1)
	if got := b.wantNoted(func(s *Saved) bool { return s.Done == 1 }); got.Resumed != 0 || got.RestoreS > 0.25 {
		t.Errorf("noted %+v", got)
	}
	b.Stop(1, 1, Stop{Reason: "cancelled"})
	e := b.end()
	s.Attempt, s.Checkpoint.Every = 2, time.Hour
	b.start(s)
	b.want(Ready)
	opened := time.Now()
	b.Open(1, 2)
	got := b.wantNoted(func(s *Saved) bool { return s.Restored })
	if got.Resumed != e.Saved.Seq || got.RestoreS < 0.3 || got.Done != 0 {
		t.Errorf("noted %+v", got)
	}
	// What came before is no work.
	b.Checkpoint(1, 2)
	more := b.wantNoted(func(s *Saved) bool { return s.Done == 1 })
	if worked := more.Work - got.Work; worked < 0 || worked > more.At.Sub(opened)-300*time.Millisecond {
		t.Errorf("%v of work, and before %+v", worked, got)
	}
	b.Stop(1, 2, Stop{Reason: "cancelled"})
	b.end()
}

// A request that is due while a checkpoint is still being stored is made once that is over, not an interval later.
func TestProgressIsOneLineOfText(t *testing.T) {
	k := keeper{f: folder(t.TempDir())}
	k.hear(0, checkpoint.SaysProgress+"5\x1b[31m of\t9\u009b\xff\n", "")
	if b, err := os.ReadFile(k.f.path(progressFile)); err != nil || string(b) != "5?[31m of?9??" {
		t.Errorf("progress %q, %v", b, err)
	}
}

func TestARequestThatIsDueDuringASaveFollowsIt(t *testing.T) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGUSR1)
	defer signal.Stop(heard)
	k := &keeper{c: &Checkpoint{Every: time.Hour}, roots: func() []int { return []int{os.Getpid()} }, done: make([]bool, 1), saving: true}
	k.quiet.L = &k.mu
	k.timer = time.AfterFunc(time.Hour, k.tick)
	defer k.timer.Stop()
	k.tick()
	select {
	case <-heard:
		t.Fatal("it was asked while a checkpoint was being stored")
	case <-time.After(20 * time.Millisecond):
	}
	k.save() // of which nothing is left
	select {
	case <-heard:
	case <-time.After(10 * time.Second):
		t.Error("it was not asked")
	}
}
