package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/checkpoint"
	"github.com/schedlab/schedlab/live/failpoint"
)

// shimCommand is the hidden command of the program under which shims run; the folder of all attempts comes after it, for people.
const shimCommand = "__shim"

// Every program that has this package is a shim too. Shims start often, so one does not wait until all packages of the program are initialized, of which it needs few: this is a third of its
// processor time.
func init() {
	if len(os.Args) == 3 && os.Args[1] == shimCommand {
		os.Exit(beShim())
	}
}

// What a shim's two extra files are, and the lines that go through them.
const (
	ordersFD = 3 // read: from the daemon
	reportFD = 4 // write: to it

	lineRun   = "run "    // and the attempt's folder, quoted: take its lock and wait at its gate
	lineGo    = "go"      // the gate is open. The end of the orders before it shuts the gate for good
	lineStop  = "stop"    // as the file `stop` says
	lineSave  = "save"    // ask the command for a checkpoint
	lineReady = "ready"   // the lock is held, nothing has run
	lineOver  = "over"    // the lock is free again, `exit` is written: the next order may be to run another attempt
	lineErr   = "error: " // and what went wrong, after which the shim ends
)

// beShim runs attempts as the daemon hands them to it, never two at a time, and returns the exit code of the shim itself. It ends when the
// daemon does, once the attempt that runs is over. It is the whole of a process: it changes what belongs to the process (signals,
// subreaper) and never undoes it.
func beShim() int {
	// A replica is killed when the thread that forked it ends (Pdeathsig): this goroutine keeps its thread to the end.
	runtime.LockOSThread()
	eager()
	syscall.CloseOnExec(ordersFD)
	syscall.CloseOnExec(reportFD)
	orders, report := os.NewFile(ordersFD, "orders"), os.NewFile(reportFD, "report")
	d := &driver{report: report, lines: make(chan string), term: make(chan os.Signal, 8), ask: make(chan os.Signal, 1)}
	signal.Notify(d.term, syscall.SIGTERM)
	signal.Notify(d.ask, askSignal)
	// These it survives. They are caught and not ignored: what is ignored stays so in what is executed, and a command whose writer outlives
	// its reader would write for ever. That goes, too, for what a daemon under nohup hands on.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGCONT)
	err := cgroup.BecomeReaper()
	if err != nil {
		err = fmt.Errorf("subreaper: %w", err)
	} else {
		go func() {
			for in := bufio.NewScanner(orders); in.Scan(); {
				d.lines <- in.Text()
			}
			close(d.lines)
		}()
		err = d.loop()
	}
	if err != nil {
		_, _ = fmt.Fprintf(report, lineErr+"%v\n", err)
		return 1
	}
	return 0
}

// driver is who tells a shim what to do: the daemon that has started it, or, by signals, one that has adopted its attempt.
type driver struct {
	report    *os.File
	lines     chan string // orders; closed when the daemon is gone
	term, ask chan os.Signal
}

// loop runs one attempt after the other until the daemon is gone.
func (d *driver) loop() error {
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				return nil
			}
			name, run := strings.CutPrefix(line, lineRun)
			if !run { // meant for the attempt that is just over
				continue
			}
			dir, err := strconv.Unquote(name)
			if err != nil {
				return err
			}
			s := &shim{f: folder(dir), driver: d, pids: map[int]int{}, gone: make(chan struct{})}
			if over, err := s.run(); err != nil || !over {
				return err
			}
			if _, err := io.WriteString(d.report, lineOver+"\n"); err != nil {
				return nil
			}
		case <-d.term:
			return nil
		}
	}
}

type shim struct {
	*driver
	f    folder
	spec Spec
	log  *logFile

	group   cgroup.Group // nil where there are no control groups
	killing sync.Mutex   // held while all of the attempt is killed; before mu
	mu      sync.Mutex
	pids    map[int]int   // process id -> replica, of those that are not reaped
	reason  string        // why it is being stopped; "" while it is not
	asked   string        // why it was asked to save its work and to end, before it is stopped
	over    bool          // no replica is left: nobody must be signalled any more
	gone    chan struct{} // closed then
	exit    Exit
	failed  bool
	saved   int // replicas that have left with checkpoint.CodeSaved

	keeper   *keeper // nil where the work is not saved
	starting context.CancelFunc
}

// run takes the attempt to its end; over says that it came to it.
func (s *shim) run() (over bool, err error) {
	lock, err := s.f.take(false)
	if err != nil {
		return false, fmt.Errorf("the attempt's lock: %w", err)
	}
	defer lock.Close()
	failpoint.Hit("shim-locked")
	if s.f.has("void") {
		return false, nil
	}
	for _, name := range []string{"started", "exit"} {
		if s.f.has(name) {
			return false, fmt.Errorf("the attempt has run already: %s is there", name)
		}
	}
	if err := s.f.read("spec", &s.spec); err != nil {
		return false, err
	}
	if len(s.spec.Cgroups) > 0 {
		s.group = cgroup.At(s.spec.Cgroups)
		s.group.SetReaper(os.Getpid())
		s.group.SetMark(FolderVariable + "=" + string(s.f))
	}
	if _, err := io.WriteString(s.report, lineReady+"\n"); err != nil {
		return false, nil // the daemon is gone
	}
	for open := false; !open; {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return false, nil
			}
			open = line == lineGo
		case <-s.term:
			return false, nil
		}
	}
	failpoint.Hit("shim-gate-passed")
	if err := s.f.write("started", Started{At: time.Now(), Shim: os.Getpid(), Boot: bootID()}, there); err != nil {
		return false, err
	}
	failpoint.Hit("shim-started-written")
	ended := make(chan struct{})
	var obeying sync.WaitGroup
	obeying.Go(func() { s.obey(ended) })
	s.execute()
	// What is left to kill for must not meet the next attempt.
	s.killing.Lock()
	err = s.finish()
	s.killing.Unlock()
	close(ended)
	obeying.Wait()
	return err == nil, err
}

// obey does to the running attempt what the daemon says, until it is over.
func (s *shim) obey(over <-chan struct{}) {
	lines := s.lines
	for {
		select {
		case <-over:
			return
		case line, ok := <-lines:
			switch {
			case !ok:
				lines = nil // the daemon is gone; the next one signals
			case line == lineStop:
				s.stopAsTold()
			case line == lineSave:
				s.request()
			}
		case <-s.term:
			s.stopAsTold()
		case <-s.ask:
			s.request()
		}
	}
}

// stopAsTold stops the command as the file says, or as the attempt's own grace does.
func (s *shim) stopAsTold() {
	how := Stop{Reason: "stopped", Grace: s.spec.Grace}
	if err := s.f.read("stop", &how); err == nil || errors.Is(err, os.ErrNotExist) {
		s.stop(how)
	}
}

// askSignal has the shim ask for a checkpoint.
const askSignal = syscall.SIGUSR1

// request asks the command for a checkpoint.
func (s *shim) request() {
	s.mu.Lock()
	k := s.keeper
	s.mu.Unlock()
	if k != nil {
		k.request()
	}
}

// keep opens what saves the command's work, and finds what it resumes from. A stop breaks that off.
func (s *shim) keep() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	s.starting = cancel
	stopped := s.reason != ""
	s.mu.Unlock()
	if stopped {
		return nil
	}
	k, err := openKeeper(ctx, s.f, &s.spec, func(format string, args ...any) { _, _ = fmt.Fprintf(s.log, "schedlab: "+format+"\n", args...) }, s.roots)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.reason != "" {
		return nil
	}
	s.keeper = k
	return err
}

// roots returns the replicas that live.
func (s *shim) roots() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.pids))
}

// execute runs the replicas until no process of theirs is left.
func (s *shim) execute() {
	s.log = openLog(s.f.path("log"), s.spec.LogBytes, s.spec.LogFiles)
	began := time.Now()
	if s.spec.Limit > 0 {
		timer := time.AfterFunc(s.spec.Limit, func() { s.stop(Stop{Reason: "limit", Grace: s.spec.Grace}) })
		defer timer.Stop()
	}
	read, write, err := os.Pipe()
	if err != nil {
		s.fail(err)
		return
	}
	if s.spec.Checkpoint != nil {
		if err := s.keep(); err != nil {
			s.fail(err)
			_, _ = read.Close(), write.Close()
			return
		}
	}
	drained := make(chan struct{})
	go func() {
		if _, err := io.Copy(struct{ io.Writer }{s.log}, read); errors.Is(err, os.ErrDeadlineExceeded) && s.logRest(read) {
			_, _ = io.WriteString(s.log, "schedlab: a process that is none of the job's holds the job's output open; what it writes from here on is not kept\n")
		}
		_ = read.Close()
		close(drained)
	}()
	for i := range s.spec.Replicas {
		if err := s.spawn(i, write); err != nil {
			s.fail(err)
			go s.stop(Stop{Reason: s.exit.Reason})
			break
		}
	}
	_ = write.Close()
	failpoint.Hit("shim-executed")
	if s.keeper != nil {
		s.keeper.start()
	}
	s.reap()
	_ = read.SetReadDeadline(time.Now().Add(outputFor))
	<-drained
	if s.keeper != nil {
		s.keeper.end(s.saved == len(s.spec.Replicas), !s.failed && s.reason == "")
	}
	s.exit.RanFor = time.Since(began).Seconds()
}

// outputFor is how long the end of the output is waited for once no process of the attempt is left. Whoever was handed it, or has opened it by
// /proc, could hold it open for ever.
const outputFor = 2 * time.Second

// logRest logs what lies in the pipe now, and reports whether somebody holds it open: it may be the log that is slow.
func (s *shim) logRest(read *os.File) (open bool) {
	raw, err := read.SyscallConn()
	if err != nil {
		return true
	}
	b := make([]byte, 64<<10)
	open = true
	_ = raw.Control(func(fd uintptr) { // Read would only say again that it is too late
		for range 16 { // as much as a pipe holds at most, as a rule
			n, err := syscall.Read(int(fd), b)
			if err != nil || n == 0 {
				open = err != nil
				return
			}
			_, _ = s.log.Write(b[:n])
		}
	})
	return open
}

// fail notes that the command could not be run.
func (s *shim) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.failed {
		s.failed = true
		s.exit.Code, s.exit.Reason = 127, err.Error()
	}
}

// ours reports whether the shim itself sets the variable: of two of a name, some programs take the one and some the other.
func ours(kv string) bool {
	switch nameOf(kv) {
	case FolderVariable, "RANK", "LOCAL_RANK", "WORLD_SIZE":
		return true
	}
	return false
}

// nameOf returns the name of a variable in NAME=VALUE.
func nameOf(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}

func (s *shim) spawn(i int, out *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != "" { // it was stopped before this replica began
		s.failed = true
		s.exit.Code, s.exit.Signal = 128+int32(syscall.SIGTERM), int(syscall.SIGTERM)
		return nil
	}
	own := s.spec.Replicas[i].Env
	env := slices.DeleteFunc(slices.Clone(s.spec.Env), func(kv string) bool {
		return ours(kv) || slices.ContainsFunc(own, func(set string) bool { return nameOf(set) == nameOf(kv) })
	})
	env = append(append(env, own...), FolderVariable+"="+string(s.f),
		"RANK="+strconv.Itoa(i), "LOCAL_RANK="+strconv.Itoa(i), "WORLD_SIZE="+strconv.Itoa(len(s.spec.Replicas)))
	if s.keeper != nil {
		env = append(env, s.keeper.env(i)...)
	}
	path, err := lookPath(s.spec.Command[0], s.spec.Env, s.spec.Dir)
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: s.spec.Dir, Env: env, Files: []*os.File{null, out, out}, Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}}
	if os.Geteuid() == 0 && s.spec.UID != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: s.spec.UID, Gid: s.spec.GID, Groups: s.spec.Groups}
	}
	pid, err := cgroup.Fork(s.spec.Cgroups, attr.Sys, func() (int, error) {
		p, err := os.StartProcess(path, s.spec.Command, attr)
		if err != nil {
			return 0, err
		}
		pid := p.Pid
		return pid, p.Release()
	})
	if pid > 0 { // with an error too: then it runs, if only to be stopped
		s.pids[pid] = i
	} else if err != nil && s.spec.Dir != "" { // the kernel says the same of a folder that is not there as of a program
		if st, no := os.Stat(s.spec.Dir); no != nil {
			return fmt.Errorf("the folder that it is to run in: %w", no)
		} else if !st.IsDir() {
			return fmt.Errorf("the folder that it is to run in: %s is none", s.spec.Dir)
		}
	}
	return err
}

// lookPath finds a program as the command's own environment has it, not as the daemon's.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range env {
		if list, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, p := range filepath.SplitList(list) {
				if !filepath.IsAbs(p) {
					p = filepath.Join(dir, p)
				}
				full := filepath.Join(p, name)
				if st, err := os.Stat(full); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
					return full, nil
				}
			}
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// reap waits for all processes below this one: replicas, and what they left behind, which is killed once the last replica is gone.
func (s *shim) reap() {
	for {
		var ws syscall.WaitStatus
		var ru syscall.Rusage
		pid, err := syscall.Wait4(-1, &ws, 0, &ru)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // ECHILD: nobody is left
			s.mu.Lock()
			s.over = true
			close(s.gone)
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		replica, mine := s.pids[pid]
		if mine {
			delete(s.pids, pid)
			s.account(&ru)
			code, sig := ws.ExitStatus(), 0
			if ws.Signaled() {
				sig = int(ws.Signal())
				code = 128 + sig
			}
			if code == checkpoint.CodeSaved {
				s.saved++
			}
			if code != 0 && !s.failed {
				s.failed = true
				s.exit.Code, s.exit.Signal = int32(code), sig
				if len(s.pids) > 0 && s.reason == "" {
					why := fmt.Sprintf(replicaEnded+"%d ended with %d", replica, code)
					go s.stop(Stop{Reason: why, Grace: s.spec.Grace})
				}
			}
		}
		last := mine && len(s.pids) == 0
		s.mu.Unlock()
		if last && s.leaves() {
			s.killAll()
		}
	}
}

// leaves reports whether children of this process are left, after it has reaped those that are dead. Whoever descends from it is a child of
// it or below one, as it is their reaper.
func (s *shim) leaves() bool {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false
		case pid == 0:
			return true
		}
	}
}

// killAll kills all processes of the attempt, until none is left.
func (s *shim) killAll() {
	if s.group != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.group.Kill(ctx) // what that leaves, the next finds
	}
	killTree(os.Getpid())
}

// memory tells whether the attempt was ended for want of memory, and how much it had at most. Where it went on nevertheless and ended
// well, it was not.
func (s *shim) memory() {
	if s.group == nil {
		return
	}
	u, err := s.group.Ended()
	if err != nil {
		return
	}
	s.exit.MemPeak = u.MemPeak
	if u.OOMKill > 0 && s.exit.Code != 0 && (s.exit.Reason == "" && s.reason == "" || strings.HasPrefix(s.reason, replicaEnded)) {
		s.exit.Reason = OutOfMemory(s.spec.Mem)
	}
}

// replicaEnded begins the reason for which the replicas beside one that failed are stopped.
const replicaEnded = "replica "

// ReasonMemory begins what OutOfMemory returns.
const ReasonMemory = "memory: "

// OutOfMemory is the reason of an attempt that was ended since it used more than so many bytes.
func OutOfMemory(limit int64) string {
	if limit <= 0 {
		return ReasonMemory + "killed, as the machine had no more"
	}
	return fmt.Sprintf(ReasonMemory+"killed at %.3g GiB", float64(limit)/(1<<30))
}

func (s *shim) account(ru *syscall.Rusage) {
	s.exit.UserCPU += float64(ru.Utime.Nano()) / 1e9
	s.exit.SystemCPU += float64(ru.Stime.Nano()) / 1e9
	s.exit.MaxRSS = max(s.exit.MaxRSS, ru.Maxrss<<10)
}

// stop asks the replicas to end, and kills them, with all they have started, when the grace is over. The first reason counts, the
// shortest grace.
func (s *shim) stop(how Stop) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	if k := s.keeper; how.Save && k != nil && s.reason == "" { // it is not being stopped yet: it may still finish
		first := s.asked == ""
		s.asked = how.Reason
		s.mu.Unlock()
		if first {
			go func() {
				k.preempt(how.Grace, s.gone)
				how.Save = false
				s.stop(how)
			}()
		}
		return
	}
	if s.starting != nil {
		s.starting()
	}
	if s.reason == "" {
		s.reason = how.Reason
	}
	for pid := range s.pids {
		_ = syscall.Kill(-pid, syscall.SIGTERM)
		_ = syscall.Kill(-pid, syscall.SIGCONT)
	}
	s.mu.Unlock()
	time.AfterFunc(max(how.Grace, 0), func() {
		s.killing.Lock()
		defer s.killing.Unlock()
		s.mu.Lock()
		over := s.over
		s.mu.Unlock()
		if !over {
			s.killAll()
		}
	})
}

// finish writes what came of it. Without `exit` the attempt counts as lost, so a full disk is waited for.
func (s *shim) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit.At = time.Now()
	s.memory()
	if s.exit.Reason == "" {
		s.exit.Reason = s.reason
	}
	if s.exit.Reason == "" && s.exit.Code == checkpoint.CodeSaved {
		s.exit.Reason = s.asked
	}
	s.exit.DroppedLines = s.log.close()
	failpoint.Hit("shim-exit-writing")
	for began, wait := time.Now(), 10*time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := s.f.write("exit", s.exit, whole)
		if err == nil {
			failpoint.Hit("shim-exit-written")
			return nil
		}
		if !writtenLater(err, time.Since(began)) {
			return err
		}
		time.Sleep(wait)
	}
}

// writtenLater reports whether an end that could not be written for so long is tried to be written again. A full disk may take somebody a night
// to see to, and the work is done.
func writtenLater(err error, tried time.Duration) bool {
	return passing(err) || tried < 2*time.Minute && !errors.Is(err, fs.ErrNotExist) // the folder is gone: nobody will ask
}

// killTree kills all descendants of a process that is their subreaper, until a look at the process table shows none.
func killTree(root int) {
	for range 1000 {
		below := descendants(root)
		if len(below) == 0 {
			return
		}
		for _, pid := range below {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// descendants returns the processes below root that are not dead yet.
func descendants(root int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parent := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ppid, dead, ok := parentOf(pid); ok && !dead {
			parent[pid] = ppid
		}
	}
	var out []int
	for pid := range parent {
		for p, hops := parent[pid], 0; p > 1 && hops < 1000; p, hops = parent[p], hops+1 {
			if p == root {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

// parentOf returns a process's parent, and whether it is dead and not reaped yet.
func parentOf(pid int) (ppid int, dead, ok bool) {
	ppid, state := statOf(pid)
	return ppid, state == "Z" || state == "X", state != ""
}

// halted reports whether a process is stopped, by a signal or by who traces it.
func halted(pid int) bool {
	_, state := statOf(pid)
	return state == "T" || state == "t"
}

// statOf reads /proc/PID/stat: pid (name) state ppid. The name may hold anything, so the last bracket counts. The state is "" where there is no
// such process.
func statOf(pid int) (ppid int, state string) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, ""
	}
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return 0, ""
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 2 {
		return 0, ""
	}
	if ppid, err = strconv.Atoi(f[1]); err != nil {
		return 0, ""
	}
	return ppid, f[0]
}

// bootID tells one boot of the machine from another.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})
