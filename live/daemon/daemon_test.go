package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
)

// line is strict FIFO, or, backwards, its opposite.
type line struct {
	backwards bool
	ready     []sched.TaskID
}

func (p *line) Observe(_ *sched.State, e sched.Event) {
	if e.Kind == sched.TaskReady {
		p.ready = append(p.ready, e.Task)
	}
}

func (p *line) Decide(r *sched.Round) {
	for len(p.ready) > 0 {
		i := 0
		if p.backwards {
			i = len(p.ready) - 1
		}
		t := p.ready[i]
		if r.Phase(t) == sched.Ready && !r.StartFirst(t) {
			r.Skip(t, sched.NoRoom)
			return
		}
		p.ready = append(p.ready[:i], p.ready[i+1:]...)
	}
}

func build(name string) (sched.Policy, error) {
	switch name {
	case "line":
		return &line{}, nil
	case "backwards":
		return &line{backwards: true}, nil
	}
	return nil, fmt.Errorf("unknown policy %q", name)
}

// running is a daemon in a goroutine.
type running struct {
	*Daemon
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, dir string, change ...func(*Config)) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Dir: dir, Node: sched.NodeSpec{Name: "here", CPU: 4000, Mem: 1 << 34, GPUs: 4, GPUType: "A100", VRAM: 1 << 34}, Policy: "line", Build: build, Exe: exe}
	for _, f := range change {
		f(&c)
	}
	d, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{d, t, stop, make(chan error, 1)}
	go func() { r.done <- d.Run(ctx) }()
	t.Cleanup(func() {
		r.mu.RLock()
		for task := range r.kernel.RunningTasks() { // what outlives the daemon must not outlive the test
			r.runner.Stop(task, r.kernel.Attempt(task), local.Stop{Reason: "the test is over"})
		}
		r.mu.RUnlock()
		r.close()
		for end := time.Now().Add(10 * time.Second); r.runner.Running() > 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) { // they write in the folder
			for _, pid := range processesOf(r) { // whom the order above has not reached before its daemon was gone
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	})
	return r
}

func (r *running) close() {
	r.stop()
	if r.done != nil {
		if err := <-r.done; err != nil {
			r.t.Error(err)
		}
		r.done = nil
	}
}

func parse(t testing.TB, text string) *job.Job {
	t.Helper()
	j, err := job.Parse([]byte(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (r *running) submit(text string) sched.JobID {
	r.t.Helper()
	ids, err := r.Submit(r.t.Context(), Who{0}, parse(r.t, text))
	if err != nil {
		r.t.Fatal(err)
	}
	return ids[0]
}

func (r *running) wait(selector string) []Task {
	r.t.Helper()
	tasks, err := r.Select(selector)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Wait(ctx, tasks); err != nil {
		r.t.Fatalf("%v: %+v", err, r.Tasks(tasks))
	}
	return r.Tasks(tasks)
}

func TestAWorkflowRunsInItsOrder(t *testing.T) {
	d := serve(t, t.TempDir())
	out := filepath.Join(t.TempDir(), "out")
	d.submit(fmt.Sprintf(`{"job":"flow","env":{"OUT":%q},"tasks":[
		{"id":"a","command":"echo a >>$OUT"},
		{"id":"b","command":"echo b$SCHEDLAB_ID:$CUDA_VISIBLE_DEVICES >>$OUT","after":["a"],"gpus":2},
		{"id":"c","command":"echo c >>$OUT; exit 3","after":["b"]},
		{"id":"d","command":"echo d >>$OUT","after":["c"]}]}`, out))
	v := d.wait("last")
	text, err := os.ReadFile(out)
	if err != nil || string(text) != "a\nb1/b:0,1\nc\n" {
		t.Errorf("it wrote %q, %v", text, err)
	}
	var states []string
	for _, task := range v {
		states = append(states, task.State)
	}
	if got := strings.Join(states, " "); got != "done done failed dropped" || *v[2].Code != 3 {
		t.Errorf("states %s, %+v", got, v[2])
	}
}

func TestWhatWasAcceptedAndWhatRanIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	flag := filepath.Join(t.TempDir(), "go")
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"long","command":"while [ ! -e %s ]; do sleep 0.01; done; exit 0","cpu":4}]}`, flag))
	d.submit(`{"tasks":[{"id":"short","command":"true"}]}`)
	waitState(t, d, "1", "running")
	d.close()
	d = serve(t, dir)
	if v := d.Tasks(mustSelect(t, d, "1-2")); v[0].State != "running" || v[1].State != "ready" || v[1].Why != "no room" {
		t.Errorf("after the restart: %+v", v)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.wait("all") {
		if v.State != "done" || v.Attempts != 1 {
			t.Errorf("%+v, want it done at its first attempt", v)
		}
	}
	d.close()
	d = serve(t, dir)
	for _, v := range d.wait("all") {
		if v.State != "done" {
			t.Errorf("%+v, want it done", v)
		}
	}
}

// The record says that it ran: the attempt without a folder is lost, and the next one does not run beside it.
func TestARunningAttemptWhoseFolderIsRemovedDoesNotRunTwice(t *testing.T) {
	dir, seen := t.TempDir(), filepath.Join(t.TempDir(), "seen")
	d := serve(t, dir)
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","retries":1,"backoff_s":0.01,"command":"if read was <%[1]s; then ! kill -0 $was; else echo $$ >%[1]s; exec sleep 1000; fi"}]}`, seen))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if b, _ := os.ReadFile(seen); len(b) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not run")
		}
	}
	d.close()
	if err := os.RemoveAll(filepath.Join(dir, "attempts")); err != nil {
		t.Fatal(err)
	}
	d = serve(t, dir)
	if v := d.wait("1")[0]; v.State != "done" || v.Attempts != 2 {
		t.Errorf("%+v, want it done at its second attempt, while nothing of the first lives", v)
	}
}

// What is shown of a task is how its last attempt ended, also where that was lost, and not how the one before it did.
func TestALostAttemptIsNotShownWithTheEndOfTheOneBefore(t *testing.T) {
	dir, flag := t.TempDir(), filepath.Join(t.TempDir(), "again")
	d := serve(t, dir)
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","retries":1,"backoff_s":0.01,"command":"test $ATTEMPT = 1 && exit 3; touch %s; exec sleep 1000"}]}`, flag))
	eventually(t, "it does not run again", func() bool { _, err := os.Stat(flag); return err == nil })
	for _, pid := range processesOf(d) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // the shim: nobody writes an exit
	}
	d.wait("1")
	for range 2 {
		if v := d.Tasks(d.All())[0]; v.State != "failed" || v.Attempts != 2 || v.Code != nil || v.Reason != "its shim was killed" {
			t.Errorf("%+v, code %v, want it lost at its second attempt", v, v.Code)
		}
		d.close()
		d = serve(t, dir)
	}
}

func TestALogIsShownWithItsPartThatWasRotatedAway(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"echo last"}]}`)
	d.wait("1")
	if err := os.WriteFile(d.runner.LogPath(0, 1)+".1", []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, follow := range []bool{false, true} {
		var log bytes.Buffer
		if err := d.Log(t.Context(), Who{0}, 0, 0, follow, &log); err != nil || log.String() != "first\nlast\n" {
			t.Errorf("with follow %v: %q, %v", follow, log.String(), err)
		}
	}
}

func mustSelect(t *testing.T, d *running, selector string) []sched.TaskID {
	t.Helper()
	tasks, err := d.Select(selector)
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

func waitState(t *testing.T, d *running, selector, state string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		v := d.Tasks(mustSelect(t, d, selector))
		if v[0].State == state {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, want state %s", v[0], state)
		}
	}
}

func TestCancelAndPreemptReturnWhenItHasHappened(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"exec sleep 1000","cpu":4},{"id":"b","command":"true","after":["a"]}]}`)
	waitState(t, d, "1", "running")
	if done, err := d.Act(t.Context(), Who{0}, Preempt, mustSelect(t, d, "1/a")); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	waitState(t, d, "1/a", "running")
	if v := d.Tasks(mustSelect(t, d, "1/a")); v[0].Attempts != 2 {
		t.Errorf("%+v, want a second attempt", v[0])
	}
	if _, err := d.Act(t.Context(), Who{12345}, Cancel, mustSelect(t, d, "1")); !errors.Is(err, ErrForbidden) {
		t.Errorf("another user's cancel: %v", err)
	}
	if _, err := d.Act(t.Context(), Who{0}, Cancel, mustSelect(t, d, "1")); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.Tasks(mustSelect(t, d, "1")) {
		if v.State != "dropped" {
			t.Errorf("%+v, want it dropped", v)
		}
	}
	if n := d.runner.Running(); n != 0 {
		t.Errorf("%d attempts are left", n)
	}
}

// A job that was told to stop has its own grace whatever becomes of the daemon meanwhile: no less, and no more.
func TestAJobThatIsStoppingKeepsItsGraceAcrossARestart(t *testing.T) {
	dir, flags := t.TempDir(), t.TempDir()
	d := serve(t, dir)
	for _, grace := range []int{3, 600} {
		d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","grace_s":%d,"command":"trap 'touch %[2]s/told-$SCHEDLAB_JOB' TERM; touch %[2]s/up-$SCHEDLAB_JOB; while :; do sleep 0.02; done"}]}`, grace, flags))
	}
	there := func(names ...string) func() bool {
		return func() bool {
			return !slices.ContainsFunc(names, func(name string) bool { _, err := os.Stat(filepath.Join(flags, name)); return err != nil })
		}
	}
	eventually(t, "they do not run", there("up-1", "up-2"))
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() { _, err := d.Act(ctx, Who{0}, Cancel, d.All()); asked <- err }()
	eventually(t, "they are not told", there("told-1", "told-2"))
	told := time.Now()
	cancel()
	<-asked
	d.close()
	d = serve(t, dir)
	var how local.Stop
	eventually(t, "the second is not told again", func() bool {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(d.runner.LogPath(1, 1)), "stop"))
		return err == nil && json.Unmarshal(text, &how) == nil && how.Reason == reasonStopped
	})
	if how.Grace != 600*time.Second {
		t.Errorf("it has a grace of %v after a restart, want 10m", how.Grace)
	}
	d.wait("1")
	if took := time.Since(told); took < 2*time.Second || took > 30*time.Second {
		t.Errorf("a job with a grace of 3 s was stopped after %v", took)
	}
}

func TestAFailedCommandIsTriedAgainWhileRetriesLast(t *testing.T) {
	d := serve(t, t.TempDir())
	dir := t.TempDir()
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"test $ATTEMPT = 3 || exit 1","retries":5,"backoff_s":0.01,"dir":%q}]}`, dir))
	d.submit(`{"tasks":[{"id":"a","command":"exit 1"}]}`)
	v := d.wait("all")
	if v[0].State != "done" || v[0].Attempts != 3 || v[1].State != "failed" || v[1].Attempts != 1 {
		t.Errorf("%+v", v)
	}
}

func TestThePolicyIsChangedWhileJobsRun(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	flag := filepath.Join(t.TempDir(), "go")
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"first","command":"while [ ! -e %s ]; do sleep 0.01; done","cpu":4}]}`, flag))
	for range 3 {
		d.submit(`{"tasks":[{"id":"t","command":"true","cpu":4}]}`)
	}
	waitState(t, d, "1", "running")
	if err := d.SetPolicy(t.Context(), Who{0}, "nope"); !errors.Is(err, ErrBad) {
		t.Errorf("an unknown policy: %v", err)
	}
	if err := d.SetPolicy(t.Context(), Who{0}, "backwards"); err != nil {
		t.Fatal(err)
	}
	d.close()
	d = serve(t, dir) // the switch outlives a restart
	if d.Policy() != "backwards" {
		t.Errorf("policy %s", d.Policy())
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	v := d.wait("all")
	if !(*v[3].Start < *v[2].Start && *v[2].Start < *v[1].Start) {
		t.Errorf("they did not start backwards: %v %v %v", *v[1].Start, *v[2].Start, *v[3].Start)
	}
}

func TestAnotherProgramsOrdersAreTakenAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	flag := filepath.Join(t.TempDir(), "go")
	for range 3 {
		d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.01; done","cpu":2}]}`, flag))
	}
	waitState(t, d, "2", "running")
	d.close()
	d = serve(t, dir, func(c *Config) { // the policy called line decides otherwise in this program: it starts nothing that is not alone
		c.Build = func(string) (sched.Policy, error) { return &line{backwards: true}, nil }
	})
	v := d.Tasks(mustSelect(t, d, "all"))
	if v[0].State != "running" || v[1].State != "running" || v[2].State != "ready" {
		t.Errorf("after the restart: %+v", v)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.wait("all") {
		if v.State != "done" || v.Attempts != 1 {
			t.Errorf("%+v, want it done at its first attempt", v)
		}
	}
}

// A kernel that books otherwise than the one before may have no room for what that had started.
func TestAnotherProgramsOrdersThatAreNotTakenAreTold(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	for range 2 {
		d.submit(`{"tasks":[{"id":"t","command":"sleep 1000","cpu":3}]}`)
	}
	waitState(t, d, "1", "running")
	d.close()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := encode(nil, []sched.Command{{Kind: sched.Start, Task: 1, Attempt: 1, On: []sched.Placement{{Replicas: 1}}}})
	if err == nil {
		err = s.Append(&store.Batch{No: s.Next(), At: sched.Time(time.Hour), Facts: facts})
	}
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d = serve(t, dir, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
	})
	if !strings.Contains(log.String(), "start of task id 1 in batch") {
		t.Errorf("it told %q", log.String())
	}
	d.close()
}

// oneAtATime starts nothing beside what runs.
type oneAtATime struct{ line }

func (p *oneAtATime) Decide(r *sched.Round) {
	for range r.RunningTasks() {
		return
	}
	p.line.Decide(r)
}

// What the policy of another program orders when it takes over is carried out, and is there again after the next restart.
func TestWhatAnotherProgramOrdersAtItsStartIsCarriedOut(t *testing.T) {
	dir := t.TempDir()
	flag := filepath.Join(t.TempDir(), "go")
	d := serve(t, dir, func(c *Config) {
		c.Build = func(string) (sched.Policy, error) { return &oneAtATime{}, nil }
	})
	for range 2 {
		d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.01; done","cpu":3}]}`, flag))
	}
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.01; done","cpu":1}]}`, flag))
	waitState(t, d, "1", "running")
	d.close()
	eager := func(c *Config) {
		c.Build = func(string) (sched.Policy, error) { return &line{backwards: true}, nil }
	}
	d = serve(t, dir, eager)
	waitState(t, d, "3", "running")
	d.close()
	d = serve(t, dir, eager)
	v := d.Tasks(mustSelect(t, d, "all"))
	if v[0].State != "running" || v[1].State != "ready" || v[2].State != "running" {
		t.Errorf("after the second restart: %+v", v)
	}
	starts := map[sched.TaskID]int{}
	for b, err := range d.store.Batches(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		_, out, err := decode(b.Facts, build)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			if o.Kind == sched.Start {
				starts[o.Task]++
			}
		}
	}
	if starts[0] != 1 || starts[1] != 0 || starts[2] != 1 {
		t.Errorf("the state file has these starts: %v", starts)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.wait("all") {
		if v.State != "done" || v.Attempts != 1 {
			t.Errorf("%+v, want it done at its first attempt", v)
		}
	}
}

// Backoffs that end one after the other, while no fact comes and nothing starts, are in the state file as they ended: a policy that starts what was ready first decides
// the same from it.
func TestBackoffsThatEndApartEndApartAfterARestart(t *testing.T) {
	dir := t.TempDir()
	var last *line
	open := func() *running {
		return serve(t, dir, func(c *Config) {
			c.Build = func(string) (sched.Policy, error) {
				last = &line{}
				return last, nil
			}
		})
	}
	waits := func(d *running) []sched.TaskID {
		d.mu.RLock()
		defer d.mu.RUnlock()
		return slices.Clone(last.ready)
	}
	d := open()
	flag := filepath.Join(t.TempDir(), "go")
	for _, backoff := range []string{"2", "0.5"} {
		d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"exit 1","cpu":4,"retries":1,"backoff_s":%s}]}`, backoff))
	}
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.01; done","cpu":4}]}`, flag))
	waitState(t, d, "3", "running")
	waitState(t, d, "1", "ready")
	waitState(t, d, "2", "ready")
	before := waits(d)
	d.close()
	d = open()
	if after := waits(d); !slices.Equal(before, after) {
		t.Errorf("%v waited in this order, after a restart %v", before, after)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.wait("all")
}

// The decision window goes by the facts of all batches: also those that came while one was gathered.
func TestTheWindowIsToldOfEveryFact(t *testing.T) {
	d := serve(t, t.TempDir(), func(c *Config) {
		c.Window = sched.BatchWindow{Min: 20 * time.Millisecond, Max: 20 * time.Millisecond, Always: true}
	})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { d.submit(`{"tasks":[{"id":"t","command":"true"}]}`) })
	}
	all.Wait()
	d.wait("all")
	d.close()
	facts, closed := int64(0), d
	d = serve(t, d.cfg.Dir)
	for b, err := range d.store.Batches(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		in, _, err := decode(b.Facts, build)
		if err != nil {
			t.Fatal(err)
		}
		facts += int64(len(in))
	}
	if closed.told != facts || facts < 60 {
		t.Errorf("it was told of %d facts, the state file has %d", closed.told, facts)
	}
}

func TestWhatTheMachineCouldNeverHoldIsRefused(t *testing.T) {
	d := serve(t, t.TempDir())
	j, err := job.Parse([]byte(`{"tasks":[{"id":"a","command":"true","gpus":5}]}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Submit(t.Context(), Who{0}, j); !errors.Is(err, ErrBad) || !strings.Contains(err.Error(), "5 GPU") {
		t.Errorf("%v", err)
	}
	for _, s := range []string{"0", "7", "x", "1-", "", "1/2/3", "last"} {
		if _, err := d.Select(s); err == nil {
			t.Errorf("selector %q was taken", s)
		}
	}
}

func TestAJobRecursUntilThatIsEndedAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"job":"tick","every":"1s","tasks":[{"id":"t","command":"true"}]}`)
	count := func() int { return len(d.All()) }
	for end := time.Now().Add(10 * time.Second); count() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not recur")
		}
	}
	d.close()
	time.Sleep(1100 * time.Millisecond) // what was missed is made up once
	d = serve(t, dir)
	had := count()
	for end := time.Now().Add(10 * time.Second); count() == had; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not recur after a restart")
		}
	}
	if _, err := d.EndRecurrence(t.Context(), Who{12345}, mustSelect(t, d, "1")); !errors.Is(err, ErrForbidden) {
		t.Errorf("another user ended it: %v", err)
	}
	if ended, err := d.EndRecurrence(t.Context(), Who{0}, mustSelect(t, d, "last")); err != nil || len(ended) != 1 || ended[0] != 1 {
		t.Fatal(ended, err)
	}
	had = count()
	d.close()
	d = serve(t, dir)
	time.Sleep(1200 * time.Millisecond)
	if count() != had {
		t.Error("it recurs though that was ended")
	}
	for _, every := range []string{"1ms", "nonsense", "99 * * * *"} {
		j, err := job.Parse([]byte(`{"every":"`+every+`","tasks":[{"id":"t","command":"true"}]}`), "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Submit(t.Context(), Who{0}, j); !errors.Is(err, ErrBad) {
			t.Errorf("every %q: %v", every, err)
		}
	}
}

func TestAMachineThatHasChangedIsTakenIn(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"tasks":[{"id":"t","command":"true"}]}`)
	d.wait("1")
	d.close()
	d = serve(t, dir, func(c *Config) { c.Node.GPUs = 8 })
	for end := time.Now().Add(10 * time.Second); d.Status().Nodes[0].GPUs != 8 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	d.submit(`{"tasks":[{"id":"t","command":"true","gpus":8}]}`)
	if v := d.wait("last"); v[0].State != "done" {
		t.Errorf("%+v", v)
	}
	d.close()
	d = serve(t, dir, func(c *Config) { c.Node.GPUs = 8 })
	if s := d.Status(); len(s.Nodes) != 1 || s.Nodes[0].GPUs != 8 {
		t.Errorf("nodes %+v", s.Nodes)
	}
}
