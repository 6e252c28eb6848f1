package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
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
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/checkpoint"
	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/live/stage"
	"github.com/schedlab/schedlab/policies/sched"
)

// Checkpoint says how an attempt's work is saved. The shim does it, so that it goes on while no daemon runs.
type Checkpoint struct {
	// Dir is the task's own folder, made anew for each attempt and gone after it. $CKPT_DIR is below it, and is the owner's.
	Dir   string `json:"dir"`
	Store string `json:"store"` // as checkpoint.Open takes it
	Key   string `json:"key"`   // of the task's set
	// Every is how much work a failure may cost at most; 0 = it is asked at a preemption only. Requests come sooner than that by what a
	// checkpoint takes until it is in the store: see keeper.period.
	Every time.Duration `json:"every,omitempty"`
	Took  time.Duration `json:"took,omitempty"`  // the last checkpoint of the attempt before, from request to store; 0 = not known
	MTBF  time.Duration `json:"mtbf,omitempty"`  // not 0: once the cost is known, Young's and Daly's interval for it instead
	Speed int64         `json:"speed,omitempty"` // of the slowest node that it is on, in 1/1000; 0 = 1000
}

// Saved is what is known of an attempt's checkpoints: the file `checkpoint` in its folder. Seconds are of wall time.
type Saved struct {
	Work     time.Duration `json:"work_ns"`         // in the newest that is in the store, all attempts together, at reference speed
	Seq      int64         `json:"seq"`             // of it; 0 = there is none
	At       time.Time     `json:"at"`              // when it was asked for
	Bytes    int64         `json:"bytes"`           // of it
	Files    int           `json:"files"`           // of it, folders among them
	HoldS    float64       `json:"hold_s"`          // from the request to checkpoint_done: what it costs the job
	SaveS    float64       `json:"save_s"`          // to the store and durable there, beside the job
	Interval float64       `json:"every_s"`         // work that a failure may cost at most, or, by Young and Daly, between two; 0 = at a preemption only
	NextS    float64       `json:"next_s"`          // from one request to the next
	Resumed  int64         `json:"resumed"`         // what the attempt began with; 0 = at the beginning
	Base     time.Duration `json:"base_ns"`         // the work in that
	RestoreS float64       `json:"restore_s"`       // how long that took: from the store, and, where the job has said so, into the job
	Restored bool          `json:"restored"`        // RestoreS is final: the job has said so, or has worked on
	Done     int64         `json:"done"`            // checkpoints of this attempt that are in the store
	Failed   int64         `json:"failed"`          // that are not, because it went wrong
	NotNow   int64         `json:"not_now"`         // requests that the job has refused
	Problem  string        `json:"error,omitempty"` // of the last that went wrong
	Away     bool          `json:"away,omitempty"`  // that was the store's fault
}

const (
	savedFile    = "checkpoint"
	progressFile = "progress"
	reportsFile  = "reports"        // in the folder of all attempts: a FIFO to the daemon
	lastSave     = 10 * time.Minute // for what is to be stored when the job has ended
	reask        = time.Minute      // a job that has answered before and does not now
)

// keeper has the job's work saved.
type keeper struct {
	f     folder
	spec  *Spec
	c     *Checkpoint
	set   *checkpoint.Set
	say   func(format string, args ...any) // to the job's log
	roots func() []int                     // process ids of the replicas that live

	sockets  []*notifySocket
	ctx      context.Context
	cancel   context.CancelFunc
	readers  sync.WaitGroup
	timer    *time.Timer
	progress time.Time // when it was written last

	mu         sync.Mutex
	quiet      sync.Cond // a save is over
	began      time.Time // the command runs
	base       time.Duration
	saved      Saved
	asked      time.Time       // of the request that is not answered; zero = there is none
	heard      bool            // it has answered before
	took       []time.Duration // by the last checkpoints, from the request until each was in the store
	skipped    bool            // a request was due while a checkpoint was being stored
	done       []bool          // replicas that have said so
	answers    []string        // and where they listen
	preempting bool
	taken      chan struct{} // closed when a checkpoint is taken, and made anew
	queue      []taking
	saving     bool
	number     int
	closed     bool
}

// taking is a checkpoint that the job has written and is to be stored.
type taking struct {
	dir  string
	at   time.Time
	hold time.Duration
}

// openKeeper makes the attempt's folder and what it resumes from. The command does not run yet.
func openKeeper(ctx context.Context, f folder, s *Spec, say func(string, ...any), roots func() []int) (_ *keeper, err error) {
	k := &keeper{f: f, spec: s, c: s.Checkpoint, say: say, roots: roots, taken: make(chan struct{}), done: make([]bool, len(s.Replicas)), answers: make([]string, len(s.Replicas))}
	k.quiet.L = &k.mu
	k.ctx, k.cancel = context.WithCancel(context.Background())
	if slices.ContainsFunc(s.Replicas, func(r Replica) bool { return r.GPUs != 0 }) { // every few seconds again: worth keeping its pages
		ctx, k.ctx = stage.WithLocked(ctx), stage.WithLocked(k.ctx)
	}
	store, err := checkpoint.Open(k.c.Store)
	if err != nil {
		return nil, err
	}
	k.set = &checkpoint.Set{Store: store, Key: k.c.Key}
	if k.alien() {
		k.set.Owner = &s.UID
	}
	if err := os.RemoveAll(k.c.Dir); err != nil {
		return nil, err
	}
	// Others' users pass through, to what is theirs.
	if err := errors.Join(os.MkdirAll(k.c.Dir, 0o711), os.Chmod(k.c.Dir, 0o711)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	began := time.Now()
	if err := os.Mkdir(k.dir(), 0o700); err != nil {
		return nil, err
	}
	m, problems, err := k.set.Restore(ctx, filepath.Join(k.dir(), "last"), k.own)
	for _, p := range problems {
		say("a checkpoint is left out: %v", p)
		k.saved.Problem = p.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("its checkpoints cannot be read: %w", err)
	}
	failpoint.Hit("checkpoint-restored")
	k.saved.RestoreS = time.Since(began).Seconds()
	if m != nil {
		k.base, k.saved.Base = m.Work, m.Work
		k.saved.Work, k.saved.Seq, k.saved.At, k.saved.Bytes, k.saved.Files, k.saved.Resumed = m.Work, m.Seq, m.At, m.Bytes, len(m.Files), m.Seq
	}
	k.saved.Interval, k.saved.NextS = k.interval().Seconds(), k.period().Seconds()
	if err := k.f.write(savedFile, &k.saved, whole); err != nil {
		return nil, err
	}
	k.nudge()
	if err := k.makeNew(); err != nil {
		return nil, err
	}
	for i := range s.Replicas {
		sock, err := openNotify(filepath.Join(k.dir(), "notify-"+strconv.Itoa(i)), []uint32{s.UID, uint32(os.Geteuid())})
		if err != nil {
			return nil, fmt.Errorf("the notify socket: %w", err)
		}
		k.sockets = append(k.sockets, sock)
		k.readers.Go(func() { sock.listen(func(text, from string) { k.hear(i, text, from) }) })
	}
	d, err := os.Open(k.dir())
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return k, k.own(d)
}

func (k *keeper) dir() string { return filepath.Join(k.c.Dir, "job") }

// alien reports whether the job's user is not the shim's.
func (k *keeper) alien() bool { return os.Geteuid() == 0 && k.spec.UID != 0 }

// own gives a file to the job's owner.
func (k *keeper) own(f *os.File) error {
	if !k.alien() {
		return nil
	}
	return f.Chown(int(k.spec.UID), int(k.spec.GID))
}

// makeNew makes the folder to write to, under another name first, so that the job never sees it as another's.
func (k *keeper) makeNew() error {
	fresh := filepath.Join(k.c.Dir, "fresh")
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	d, err := os.Open(fresh)
	if err != nil {
		return err
	}
	err = k.own(d)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(k.dir(), "new"))
}

// env is what the protocol adds to a replica's environment.
func (k *keeper) env(replica int) []string {
	return []string{checkpoint.DirVariable + "=" + k.dir(), checkpoint.SocketVariable + "=" + k.sockets[replica].name}
}

// start begins to ask: the command runs.
func (k *keeper) start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.began = time.Now()
	if k.interval() > 0 {
		k.timer = time.AfterFunc(k.period(), k.tick)
	}
}

// period returns the time from one request to the next. By Young and Daly that is the interval. Else no more than the interval must be lost
// whenever the job dies, even just before the next checkpoint is whole in the store: so the next request comes sooner, by half as much again
// as the slowest of the last checkpoints took, but no sooner than after half of the interval.
func (k *keeper) period() time.Duration {
	every := k.interval()
	if k.c.MTBF > 0 {
		return every
	}
	most := k.c.Took
	for _, d := range k.took {
		most = max(most, d)
	}
	if most == 0 { // before the first
		return every / 2
	}
	return every - min(most+most/2, every/2)
}

// noteTook remembers how long a checkpoint took. What the attempt before knew is forgotten once this one knows enough.
func (k *keeper) noteTook(d time.Duration) {
	const last = 4
	if k.took = append(k.took, d); len(k.took) >= last {
		k.took, k.c.Took = k.took[len(k.took)-last:], 0
	}
}

// interval returns the time between two requests.
func (k *keeper) interval() time.Duration {
	if k.c.MTBF > 0 && k.saved.Done > 0 {
		hold := time.Duration(k.saved.HoldS * float64(time.Second))
		return max(sched.CheckpointInterval(hold, k.c.MTBF), 100*time.Millisecond)
	}
	if failpoint.Naive("lazy") {
		return 100 * k.c.Every
	}
	return k.c.Every
}

// tick is when a request is due.
func (k *keeper) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed || k.preempting:
	case k.saving || len(k.queue) > 0:
		k.skipped = true
	case !k.asked.IsZero() && time.Since(k.asked) < k.patience():
		k.timer.Reset(k.patience() - time.Since(k.asked))
	case k.ask():
		k.timer.Reset(k.patience())
	default: // nobody listens yet
		k.timer.Reset(k.period())
	}
}

// patience is how long an answer is waited for before it is asked for again: one that never came may be a request that came before
// the job listened.
func (k *keeper) patience() time.Duration {
	if k.heard {
		return max(reask, k.interval())
	}
	return max(time.Second, k.interval())
}

// request asks for a checkpoint now, if none is under way: the policy wants one.
func (k *keeper) request() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed && !k.preempting && !k.saving && k.asked.IsZero() {
		k.ask()
	}
}

// ask signals the job, and reports whether it can hear. It is called under mu.
func (k *keeper) ask() bool {
	heard := 0
	roots := k.roots()
	for _, pid := range roots {
		if signalCatcher(pid, syscall.SIGUSR1) {
			heard++
		}
	}
	if heard == 0 || heard < len(roots) {
		return false
	}
	k.asked = time.Now()
	clear(k.done)
	return true
}

// hear takes in what a replica says.
func (k *keeper) hear(replica int, text, from string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == checkpoint.SaysDone:
			k.heard, k.done[replica], k.answers[replica] = true, true, from
			k.take()
		case line == checkpoint.SaysNotNow:
			k.heard, k.asked = true, time.Time{}
			k.saved.NotNow++
			clear(k.done)
			if k.timer != nil {
				k.timer.Reset(k.period())
			}
		case line == checkpoint.SaysRestored:
			k.restored()
		case strings.HasPrefix(line, checkpoint.SaysProgress):
			if time.Since(k.progress) > 200*time.Millisecond { // it is for people
				k.progress = time.Now()
				note := strings.Map(func(r rune) rune { // one line
					if unicode.IsControl(r) {
						return '?'
					}
					return r
				}, strings.ToValidUTF8(line[len(checkpoint.SaysProgress):min(len(line), 200)], "?"))
				_ = os.WriteFile(k.f.path(progressFile+".tmp"), []byte(note), 0o600)
				_ = os.Rename(k.f.path(progressFile+".tmp"), k.f.path(progressFile))
			}
		}
	}
}

// take takes what all replicas say is whole out of the job's hands, and gives them an empty folder. It is called under mu.
func (k *keeper) take() {
	if slices.Contains(k.done, false) || k.saving && !(k.preempting && len(k.queue) == 0) {
		return
	}
	now := time.Now()
	t := taking{dir: filepath.Join(k.c.Dir, "taken-"+strconv.Itoa(k.number)), at: now}
	k.number++
	if !k.asked.IsZero() {
		t.at, t.hold = k.asked, now.Sub(k.asked)
	}
	k.asked = time.Time{}
	clear(k.done)
	err := os.Rename(filepath.Join(k.dir(), "new"), t.dir)
	if err == nil {
		err = k.makeNew()
	}
	if err == nil {
		// The job may have put a link in its place: only a folder is looked into.
		if st, lerr := os.Lstat(t.dir); lerr != nil || !st.IsDir() {
			err = errors.Join(lerr, errors.New("new is no folder"))
		}
	}
	if err != nil {
		k.failed(err)
		return
	}
	failpoint.Hit("checkpoint-taken")
	for i, to := range k.answers {
		k.sockets[i].answer(to, checkpoint.AnswerTaken)
	}
	close(k.taken)
	k.taken = make(chan struct{})
	k.queue = append(k.queue, t)
	if k.timer != nil { // from request to request, or, by Young and Daly, of work
		next := k.period()
		if k.c.MTBF == 0 {
			next -= now.Sub(t.at)
		}
		k.timer.Reset(max(next, time.Millisecond))
	}
	if !k.saving {
		k.saving = true
		go k.save()
	}
}

// restored takes in that the job has loaded what it resumes from: its work begins here. It is called under mu.
func (k *keeper) restored() {
	if k.saved.Resumed == 0 || k.saved.Restored {
		return
	}
	k.saved.Restored = true
	if now := time.Now(); !k.began.IsZero() { // else it was faster than we were
		k.saved.RestoreS += now.Sub(k.began).Seconds()
		k.began = now
	}
	if k.timer != nil {
		k.timer.Reset(k.period())
	}
	if err := k.f.write(savedFile, &k.saved, whole); err != nil { // the next checkpoint writes it again
		k.say("the note of what was restored: %v", err)
	}
	k.nudge()
}

// failed notes that a checkpoint did not come about. It is called under mu.
func (k *keeper) failed(err error) {
	k.saved.Failed++
	k.saved.Problem, k.saved.Away = err.Error(), errors.Is(err, checkpoint.ErrStore)
	k.say("a checkpoint failed: %v", err)
	_ = k.f.write(savedFile, &k.saved, whole) // the next one writes it again
	k.nudge()
}

// save stores what was taken, while the job goes on.
func (k *keeper) save() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.queue) > 0 {
		t := k.queue[0]
		k.queue = k.queue[1:]
		work := k.base
		if !k.began.IsZero() {
			work += sched.MulDiv(max(t.at.Sub(k.began), 0), cmp.Or(k.c.Speed, 1000), 1000, false)
		}
		k.mu.Unlock()
		began := time.Now()
		m, err := k.set.Save(k.ctx, t.dir, checkpoint.Manifest{At: t.at, Task: k.spec.Name, Attempt: k.spec.Attempt, Work: work})
		took := time.Since(began)
		err = errors.Join(err, os.RemoveAll(t.dir))
		k.mu.Lock()
		if m != nil {
			s := &k.saved
			s.Work, s.Seq, s.At, s.Bytes, s.Files, s.HoldS, s.SaveS = m.Work, m.Seq, m.At, m.Bytes, len(m.Files), t.hold.Seconds(), took.Seconds()
			s.Done++
			s.Restored = s.Resumed > 0
			k.noteTook(time.Since(t.at))
			s.Interval, s.NextS = k.interval().Seconds(), k.period().Seconds()
			if err == nil {
				s.Problem, s.Away = "", false
				if err := k.f.write(savedFile, s, whole); err != nil {
					k.say("the note of a checkpoint: %v", err)
				}
				failpoint.Hit("checkpoint-noted")
				k.nudge()
			}
		}
		if err != nil && k.ctx.Err() == nil {
			k.failed(err)
		}
	}
	k.saving = false
	if k.skipped && k.timer != nil {
		k.timer.Reset(time.Millisecond)
	}
	k.skipped = false
	k.take() // the job may have been faster
	k.quiet.Broadcast()
}

// preempt asks for a checkpoint and returns once it is taken, the grace is over or nobody can hear.
func (k *keeper) preempt(grace time.Duration, gone <-chan struct{}) {
	k.mu.Lock()
	k.preempting = true
	took := k.taken
	ok := k.ask()
	k.mu.Unlock()
	if !ok {
		return
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-took:
	case <-t.C:
	case <-gone:
	}
}

// end waits until what the job has saved is stored: no process of it is left. saved says that it has left with CodeSaved, finished that
// its work is done and needs no checkpoint any more.
func (k *keeper) end(saved, finished bool) {
	for _, s := range k.sockets {
		s.drain()
	}
	k.readers.Wait()
	k.mu.Lock()
	if saved {
		if entries, err := os.ReadDir(filepath.Join(k.dir(), "new")); err == nil && len(entries) > 0 {
			for i := range k.done {
				k.done[i] = true
			}
			k.preempting = true // it may be queued behind another
			k.take()
		}
	}
	if finished {
		k.cancel()
	}
	limit := time.AfterFunc(lastSave, k.cancel)
	for k.saving {
		k.quiet.Wait()
	}
	limit.Stop()
	k.mu.Unlock()
	k.close()
}

// close gives all back. What is in the store stays there.
func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	if k.timer != nil {
		k.timer.Stop()
	}
	k.mu.Unlock()
	k.cancel()
	for _, s := range k.sockets {
		s.close()
	}
	_ = os.RemoveAll(k.c.Dir) // the next attempt does it again
}

// nudge has the daemon look at the file, if there is a daemon.
func (k *keeper) nudge() {
	root := filepath.Dir(filepath.Dir(filepath.Dir(string(k.f))))
	p, err := os.OpenFile(filepath.Join(root, reportsFile), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(p, "%d %d\n", k.spec.Task, k.spec.Attempt) // a full pipe: the daemon sees it at the end
	_ = p.Close()
}

// readSaved reads the file; false where there is none.
func (f folder) readSaved() (Saved, bool) {
	var s Saved
	b, err := os.ReadFile(f.path(savedFile))
	if err != nil {
		return s, false
	}
	return s, json.Unmarshal(b, &s) == nil
}

// signalCatcher signals the topmost processes below pid, itself first, that catch the signal, and reports whether there is one. The
// default of SIGUSR1 is death: a shell around the trainer must be spared, and a trainer that does not listen yet.
func signalCatcher(pid int, sig syscall.Signal) bool {
	if catches(pid, sig) {
		return syscall.Kill(pid, sig) == nil
	}
	any := false
	for _, child := range children(pid) {
		any = signalCatcher(child, sig) || any
	}
	return any
}

// children returns the children of a process.
func children(pid int) []int {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil
	}
	var out []int
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children")
		if errors.Is(err, fs.ErrNotExist) { // a kernel without it
			return childrenByParent(pid)
		}
		for word := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(word); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

func childrenByParent(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if p, dead, ok := parentOf(n); ok && !dead && p == pid {
				out = append(out, n)
			}
		}
	}
	return out
}

// catches reports whether a process has a handler for the signal.
func catches(pid int, sig syscall.Signal) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, rest, ok := bytes.Cut(b, []byte("\nSigCgt:"))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	mask, err := strconv.ParseUint(strings.TrimSpace(string(line)), 16, 64)
	return err == nil && mask&(1<<(sig-1)) != 0
}
