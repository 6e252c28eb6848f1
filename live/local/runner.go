package local

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/policies/sched"
)

// EventKind says what an attempt has come to.
type EventKind uint8

// The events of an attempt: Ready or Failed, then, once the gate is open, Ended or Lost. After an adoption Adopted comes first, where the
// attempt still runs.
const (
	Ready   EventKind = iota + 1 // its shim waits at the gate
	Adopted                      // its shim has survived the daemon
	Ended                        // it is over, and no process of it is left
	Lost                         // its shim was killed: what the command did is not known. No process of it is left
	Failed                       // its command did not run and will not
	Voided                       // it was stopped before its command ran
	Noted                        // Saved has changed
)

// Event is one report on an attempt.
type Event struct {
	Kind    EventKind
	Task    sched.TaskID
	Attempt int32
	Exit    Exit   // Ended
	Err     string // Failed, Lost
	Stopped bool   // Stop was called
	Saved   *Saved // Noted, and with an end: what is saved of its work; nil where nothing is known of that
}

// Runner keeps the attempts of this machine. Root and Exe must be set. Its methods return at once.
type Runner struct {
	Root   string      // folder of the attempts' folders
	Exe    string      // a program that has this package
	Report func(Event) // called from any goroutine; never two events of one attempt at a time, but for Noted
	Env    []string    // of the shims, besides what they must have
	// Groups, if not nil, makes a control group for each attempt. Where this machine can make none, its processes are found below the shim
	// and by their environment.
	Groups *cgroup.Manager

	making  sync.Mutex // of groups
	first   sync.Once
	ways    chan struct{} // one for each attempt on its way to its gate
	mu      sync.Mutex
	runs    map[key]*run
	idle    []*helper // shims that wait for another attempt
	closed  bool
	slack   time.Duration // 0 is stopSlack. For tests
	reports *os.File      // the FIFO by which the shims say that Saved has changed
}

type key struct {
	task    sched.TaskID
	attempt int32
}

// run is an attempt that is not over.
type run struct {
	key
	f     folder
	by    *helper // its shim; nil where it is adopted, and once it is over
	gate  bool    // its shim waits at it
	shim  int     // its process id, from when it waits at the gate or is adopted
	pidfd int     // of the shim of one that is adopted; else -1
	stop  *Stop
	over  chan struct{} // closed when that is told
	ended bool          // by the runner itself, as the shim did not

	killing sync.Mutex   // held while the runner kills what is below the shim, which has another attempt once by is nil; before the runner's mu
	group   cgroup.Group // nil where the runner makes none
	mem     int64        // the limit of its memory, in bytes; 0 = none
	at      folder       // of its try, from the beginning
	saves   bool         // its shim knows askSignal
	short   string       // what the machine said it is short of when it was to begin

	ctx    context.Context // of what comes before its shim; ends when it is stopped, and with the runner
	cancel context.CancelFunc
}

func (r *Runner) add(k key) *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs == nil {
		r.runs = map[key]*run{}
	}
	if r.runs[k] != nil || r.closed {
		return nil
	}
	u := &run{key: k, pidfd: -1, over: make(chan struct{})}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	r.runs[k] = u
	return u
}

func (r *Runner) end(u *run, e Event) {
	r.mu.Lock()
	if u.pidfd >= 0 {
		_ = unix.Close(u.pidfd)
		u.pidfd = -1
	}
	delete(r.runs, u.key)
	u.cancel()
	close(u.over)
	switch {
	case !u.ended:
	case e.Kind == Lost:
		e.Kind, e.Err = Ended, ""
		e.Exit = Exit{At: time.Now(), Code: 128 + int32(syscall.SIGKILL), Signal: int(syscall.SIGKILL), Reason: u.stop.Reason}
	case e.Kind == Ended && e.Exit.Code != 0 && e.Exit.Reason == "":
		e.Exit.Reason = u.stop.Reason
	}
	if u.at != "" {
		if s, ok := u.at.readSaved(); ok {
			e.Saved = &s
		}
	}
	e.Task, e.Attempt, e.Stopped = u.task, u.attempt, u.stop != nil
	closed := r.closed
	r.mu.Unlock()
	if !closed {
		r.Report(e)
	}
}

// Start spawns the shim of an attempt, which may be stopped from here on. describe says what it is to run, and may take its time until its
// context ends; it is called from another goroutine. Ready, Failed or Voided is reported.
func (r *Runner) Start(t sched.TaskID, attempt int32, describe func(ctx context.Context) (*Spec, error)) {
	u := r.add(key{t, attempt})
	if u == nil {
		return
	}
	go func() {
		s, err := describe(u.ctx)
		e := Event{Kind: Voided}
		if err != nil && u.ctx.Err() != nil { // it is not to run any more
			r.end(u, e)
			return
		}
		for wait := 50 * time.Millisecond; err == nil; wait = min(2*wait, 5*time.Second) {
			if e, err = r.spawn(u, s); err == nil || !passing(err) {
				break
			}
			// The machine is short of something: that is no fault of the command, which has not run.
			r.mu.Lock()
			u.short = err.Error()
			r.mu.Unlock()
			if r.slept(u, wait) {
				e, err = Event{Kind: Voided}, nil
				break
			}
			err = nil
		}
		if err != nil {
			e = Event{Kind: Failed, Err: err.Error()}
		}
		r.release(u)
		r.end(u, e)
	}()
}

// Short says what the machine was short of when an attempt was to begin that waits for it; "" where it does not.
func (r *Runner) Short(t sched.TaskID, attempt int32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.runs[key{t, attempt}]; u != nil && u.f == "" {
		return u.short
	}
	return ""
}

// passing reports whether an error is one of a machine that is short of something for now.
func passing(err error) bool {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// slept sleeps and reports whether the attempt is to end meanwhile, or the runner.
func (r *Runner) slept(u *run, wait time.Duration) (over bool) {
	for end := time.Now().Add(wait); !over && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		r.mu.Lock()
		over = u.stop != nil || r.closed
		r.mu.Unlock()
	}
	return over
}

// spawn takes the attempt from its folder to its end.
func (r *Runner) spawn(u *run, s *Spec) (Event, error) {
	// More attempts on their way than the processors can help only make more shims, which then take turns.
	r.first.Do(func() { r.ways = make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0))) })
	select {
	case r.ways <- struct{}{}:
	case <-u.ctx.Done():
		return Event{Kind: Voided}, nil
	}
	f, h, err := r.toGate(u, s)
	<-r.ways
	if err != nil {
		return Event{}, err
	}
	r.mu.Lock()
	u.f, u.by, u.gate, u.saves = f, h, true, s.Checkpoint != nil
	u.reapedBy(h.cmd.Process.Pid)
	if u.stop != nil || r.closed { // ordered meanwhile
		u.shut()
	}
	r.mu.Unlock()
	r.Report(Event{Kind: Ready, Task: u.task, Attempt: u.attempt})
	over, problem := h.attend()
	if !over {
		h.end()
	}
	e, err := f.verdict(u, problem)
	u.killing.Lock()
	r.mu.Lock()
	u.by = nil // nobody tells it anything about this attempt any more
	r.mu.Unlock()
	u.killing.Unlock()
	if over {
		r.keep(h)
	}
	return e, err
}

// toGate makes an attempt's folder and has a shim wait at its gate.
func (r *Runner) toGate(u *run, s *Spec) (folder, *helper, error) {
	f, err := attempts(r.Root).next(u.task, u.attempt)
	if err != nil {
		return "", nil, err
	}
	r.mu.Lock()
	u.at = f
	r.mu.Unlock()
	if err := r.makeGroup(u, f, s); err != nil {
		return "", nil, err
	}
	failpoint.Hit("runner-group-made")
	if err := f.write("spec", s, fleeting); err != nil {
		return "", nil, err
	}
	failpoint.Hit("runner-spec-written")
	h, err := r.prepare(f)
	return f, h, err
}

// verdict reads an attempt's end in its folder. Nothing may run there afterwards.
func (f folder) verdict(u *run, problem string) (Event, error) {
	l, err := f.take(true)
	if err != nil {
		return Event{}, err
	}
	defer l.Close()
	var x Exit
	switch err := f.readWhole("exit", &x); {
	case err == nil:
		return Event{Kind: Ended, Exit: x}, nil
	case !errors.Is(err, os.ErrNotExist):
		return Event{Kind: Lost, Err: err.Error()}, nil
	}
	if f.has("started") {
		if problem == "" {
			problem = "its shim was killed"
		}
		u.killLeft(f)
		return Event{Kind: Lost, Err: problem}, nil
	}
	failpoint.Hit("runner-void-writing")
	if err := f.write("void", time.Now(), there); err != nil {
		return Event{}, err
	}
	failpoint.Hit("runner-void-written")
	if problem != "" {
		return Event{Kind: Failed, Err: problem}, nil
	}
	return Event{Kind: Voided}, nil
}

// killLeft kills what a killed shim has left: its replicas die with it (Pdeathsig), their children are in the control group, and carry the
// folder in their environment.
func (u *run) killLeft(f folder) {
	if u.group != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = u.group.Kill(ctx) // what that leaves, the marks find
	}
	mark := []byte(FolderVariable + "=" + string(f) + "\x00")
	for range 1000 {
		left := marked(mark)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// Open opens the gate: that the attempt is ready is durable now.
func (r *Runner) Open(t sched.TaskID, attempt int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.runs[key{t, attempt}]; u != nil && u.gate {
		failpoint.Hit("runner-gate-opening")
		u.by.tell(lineGo)
		u.gate = false
		failpoint.Hit("runner-gate-open")
	}
}

// Stop ends an attempt; Ended, Lost or Voided is reported once no process of it is left. It returns false where there is no such attempt.
func (r *Runner) Stop(t sched.TaskID, attempt int32, how Stop) bool {
	r.mu.Lock()
	u := r.runs[key{t, attempt}]
	if u == nil {
		r.mu.Unlock()
		return false
	}
	u.stop = &how
	u.cancel()
	if u.gate { // it has not run: it will not
		u.shut()
		r.mu.Unlock()
		return true
	}
	f := u.f
	r.mu.Unlock()
	if f != "" { // else start or adopt looks for it
		go r.signal(u, f, how)
	}
	return true
}

// signal tells the shim to stop.
func (r *Runner) signal(u *run, f folder, how Stop) {
	failpoint.Hit("runner-stop-writing")
	within := how.Grace
	if err := f.write("stop", how, fleeting); err != nil { // the shim takes its default
		var s Spec
		_ = f.read("spec", &s)
		within = s.Grace
	}
	if how.Save { // once for the checkpoint, then for the end
		within *= 2
	}
	r.mu.Lock()
	switch {
	case u.by != nil:
		u.by.tell(lineStop)
	case u.pidfd >= 0:
		u.send(unix.SIGCONT)
		u.send(unix.SIGTERM)
	}
	r.mu.Unlock()
	go r.enforce(u, within)
}

// send signals the shim, and reports whether there is one. It is called under the runner's mu.
func (u *run) send(sig syscall.Signal) bool {
	switch {
	case u.by != nil:
		return u.by.cmd.Process.Signal(sig) == nil
	case u.pidfd >= 0:
		return unix.PidfdSendSignal(u.pidfd, sig, nil, 0) == nil
	}
	return false
}

// stopSlack is how much longer than its grace a stop may take.
const stopSlack = 5 * time.Second

// enforce ends what a stop has not ended in time, for a shim that somebody has stopped does nothing: it is woken, and what it runs is killed. One
// that then stays stopped is killed as well. One that has no process any more may take its time: it may have work to store.
func (r *Runner) enforce(u *run, within time.Duration) {
	next := time.NewTimer(within + cmp.Or(r.slack, stopSlack))
	defer next.Stop()
	for stuck := 0; ; {
		select {
		case <-u.over:
			return
		case <-next.C:
			next.Reset(time.Second)
		}
		r.mu.Lock()
		closed := r.closed
		r.mu.Unlock()
		if closed {
			return
		}
		stuck = r.kill(u, stuck)
	}
}

// kill is one try of enforce. It returns how many there were at which the shim stayed stopped.
func (r *Runner) kill(u *run, stuck int) int {
	u.killing.Lock()
	defer u.killing.Unlock()
	r.mu.Lock()
	if !u.send(syscall.SIGCONT) { // it is over, and told in a moment
		r.mu.Unlock()
		return 0
	}
	shim, g := u.shim, u.group
	r.mu.Unlock()
	left := descendants(shim)
	if g != nil {
		if in, err := g.Members(); err == nil && len(in) > 0 {
			left = append(left, in...)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = g.Kill(ctx) // what that leaves, killTree and the next try find
			cancel()
		}
	}
	killTree(shim)
	if stuck++; !halted(shim) {
		stuck = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if stuck > 2 {
		u.send(syscall.SIGKILL)
	}
	u.ended = u.ended || len(left) > 0 || stuck > 2
	return stuck
}

// shut ends the shim that waits at the gate. It is called under the runner's mu.
func (u *run) shut() {
	u.send(syscall.SIGCONT)
	u.by.orders.Close()
	u.gate = false
}

// Adopt takes up an attempt that was started before this daemon: Adopted where it runs, and in the end Ended, Lost or Voided. ready says that
// it was told to be Ready, so that its gate may have opened: what its folder does not say any more does not mean that it never ran.
func (r *Runner) Adopt(t sched.TaskID, attempt int32, ready bool) {
	if u := r.add(key{t, attempt}); u != nil {
		go func() {
			e, err := r.adopt(u)
			if err == nil && ready && e.Kind == Voided && !failpoint.Naive("start") {
				emptied := u.at == "" || !u.at.has("spec")
				if r.killTries(u) || emptied {
					e = Event{Kind: Lost, Err: "its folder was removed, and with it what came of it"}
				}
			}
			if err != nil {
				e = Event{Kind: Lost, Err: err.Error()}
			}
			r.release(u)
			r.end(u, e)
		}()
	}
}

func (r *Runner) adopt(u *run) (Event, error) {
	f, _, err := attempts(r.Root).last(u.task, u.attempt)
	if err != nil {
		return Event{}, err
	}
	if f != "" {
		r.findGroup(u, f)
	}
	r.mu.Lock()
	u.at = f
	r.mu.Unlock()
	if f == "" || f.has("void") || failpoint.Naive("start") && !f.has("exit") {
		return Event{Kind: Voided}, nil
	}
	// While the lock is held the shim lives, if only to see the gate's end. Once it has started, its process id is in its file, and cannot be
	// another's as long as the lock is held.
	var s Started
	for started := false; ; time.Sleep(2 * time.Millisecond) {
		fd := -1
		if started = f.read("started", &s) == nil; started {
			if pidfd, err := unix.PidfdOpen(s.Shim, 0); err == nil {
				fd = pidfd
			}
		}
		l, err := f.take(false)
		if err == nil {
			_ = l.Close()
			if fd >= 0 {
				_ = unix.Close(fd)
			}
			return f.verdict(u, "")
		}
		if !errors.Is(err, errHeld) {
			return Event{}, err
		}
		if started {
			var spec Spec
			r.mu.Lock()
			u.f, u.pidfd, u.saves = f, fd, f.read("spec", &spec) == nil && spec.Checkpoint != nil
			u.reapedBy(s.Shim)
			how := u.stop
			r.mu.Unlock()
			if !f.has("exit") { // else the lock is a moment from free
				r.Report(Event{Kind: Adopted, Task: u.task, Attempt: u.attempt})
			}
			r.note(u.key) // what was saved while no daemon ran
			if how != nil {
				r.signal(u, f, *how)
			}
			return f.verdict(u, "") // waits for the lock
		}
	}
}

// Close shuts the gates that are not open yet, so that what waits there ends; what runs runs on. Nothing is started or reported any more.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.runs {
		u.cancel()
		if u.by != nil {
			u.shut()
		}
	}
	for _, h := range r.idle {
		go h.end()
	}
	r.idle, r.closed = nil, true
	if r.reports != nil {
		_ = r.reports.Close()
		r.reports = nil
	}
}

// Checkpoint asks an attempt to save its work; Noted is reported once that is done. One whose work cannot be saved is not asked.
func (r *Runner) Checkpoint(t sched.TaskID, attempt int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch u := r.runs[key{t, attempt}]; {
	case u == nil || !u.saves || u.gate:
	case u.by != nil:
		u.by.tell(lineSave)
	case u.pidfd >= 0 && u.f.has("started"):
		_ = unix.PidfdSendSignal(u.pidfd, askSignal, nil, 0)
	}
}

// Listen hears from the shims until Close. Without it, what an attempt has saved is known at its end.
func (r *Runner) Listen() error {
	if err := os.MkdirAll(r.Root, 0o755); err != nil {
		return err
	}
	path := filepath.Join(r.Root, reportsFile)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	// Open for writing as well: it has no end when a shim closes it, and opening it waits for nobody.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.reports = f
	r.mu.Unlock()
	go func() {
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var k key
			if n, err := fmt.Sscanf(lines.Text(), "%d %d", &k.task, &k.attempt); err == nil && n == 2 {
				r.note(k)
			}
		}
	}()
	return nil
}

// note reports what an attempt has saved.
func (r *Runner) note(k key) {
	r.mu.Lock()
	u := r.runs[k]
	if u == nil || r.closed || !u.saves {
		r.mu.Unlock()
		return
	}
	f := u.f
	r.mu.Unlock()
	if s, ok := f.readSaved(); ok {
		r.Report(Event{Kind: Noted, Task: k.task, Attempt: k.attempt, Saved: &s})
	}
}

// Saved returns what the newest try of an attempt has saved, and what it last said of its progress; false where nothing is known.
func (r *Runner) Saved(t sched.TaskID, attempt int32) (s Saved, progress string, ok bool) {
	f, _, err := attempts(r.Root).last(t, attempt)
	if err != nil || f == "" {
		return s, "", false
	}
	b, _ := os.ReadFile(f.path(progressFile))
	s, ok = f.readSaved()
	return s, string(b), ok
}

// Running returns the number of attempts that are not over.
func (r *Runner) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.runs)
}

// LogPath returns the log of the newest try of an attempt; "" if there is none.
func (r *Runner) LogPath(t sched.TaskID, attempt int32) string {
	f, _, err := attempts(r.Root).last(t, attempt)
	if err != nil || f == "" {
		return ""
	}
	return f.path("log")
}
