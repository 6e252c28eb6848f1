package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/failpoint"
)

// A shim costs the start of a Go program, far more than all else about a short job: one that has run an attempt to its end is kept for the
// next. It knows nothing of the attempt before; that no process of that is left is what its end means.
const (
	idleFor    = time.Second // so long a shim waits for another attempt
	idleMost   = 64          // so many wait
	runsApiece = 64          // attempts of one shim, which collects no garbage
)

// helper is a shim that this daemon has started.
type helper struct {
	cmd    *exec.Cmd
	orders *os.File // write; closed: it ends after the attempt that runs
	report *os.File
	lines  *bufio.Scanner // of report
	runs   int
	timer  *time.Timer // while it is idle
}

// launch starts a shim.
func (r *Runner) launch() (*helper, error) {
	ordersR, ordersW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ordersR.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		_ = ordersW.Close()
		return nil, err
	}
	defer reportW.Close()
	cmd := &exec.Cmd{
		Path: r.Exe, Args: []string{"schedlab", shimCommand, r.Root}, Dir: "/",
		Env:         slices.Concat([]string{"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=64MiB"}, r.Env, failpoint.Env()),
		ExtraFiles:  []*os.File{ordersR, reportW},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := startLazy(cmd); err != nil {
		return nil, errors.Join(err, ordersW.Close(), reportR.Close())
	}
	return &helper{cmd: cmd, orders: ordersW, report: reportR, lines: bufio.NewScanner(reportR)}, nil
}

// A shim waits most of the time, and in system calls. As long as one of those does not return, the Go runtime looks after it every 20 us to
// 10 ms, which many shims together make a sixth of all processor time. A process that starts with a timer slack of a millisecond is
// woken with others instead. It hands that on to what it forks: see eager.
const (
	lazySlack  = time.Millisecond
	usualSlack = 50 * time.Microsecond // Linux's own
)

// startLazy starts a process with lazySlack.
func startLazy(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil && unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(lazySlack), 0, 0, 0) == nil {
		defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(was), 0, 0, 0) }()
	}
	return cmd.Start()
}

// eager gives this thread, and what it forks, the usual slack. The caller has locked its goroutine to the thread.
func eager() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(usualSlack), 0, 0, 0) }

// prepare has a shim take an attempt's lock and wait at its gate.
func (r *Runner) prepare(f folder) (*helper, error) {
	for {
		r.mu.Lock()
		var h *helper
		if n := len(r.idle); n > 0 {
			h, r.idle = r.idle[n-1], r.idle[:n-1]
			h.timer.Stop()
		}
		r.mu.Unlock()
		used := h != nil
		if !used {
			var err error
			if h, err = r.launch(); err != nil {
				return nil, err
			}
		}
		h.runs++
		h.tell(lineRun + strconv.Quote(string(f)))
		failpoint.Hit("runner-spawned")
		if failpoint.Naive("start") {
			h.tell(lineGo)
		}
		said := h.lines.Scan()
		if said && h.lines.Text() == lineReady {
			return h, nil
		}
		why := strings.TrimPrefix(h.lines.Text(), lineErr)
		h.end()
		if said || !used {
			return nil, fmt.Errorf("the shim did not get ready: %s", why)
		}
		// One that was idle has died, and has run nothing: another takes its place.
	}
}

// tell gives the shim an order. One that cannot hear it is dead, or about to be; one that somebody has stopped is woken.
func (h *helper) tell(line string) {
	_ = h.cmd.Process.Signal(syscall.SIGCONT)
	_ = h.orders.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = h.orders.WriteString(line + "\n")
}

// attend waits until the attempt is over, and the shim ready for another, or the shim has ended.
func (h *helper) attend() (over bool, problem string) {
	for h.lines.Scan() {
		if h.lines.Text() == lineOver {
			return true, problem
		}
		if text, ok := strings.CutPrefix(h.lines.Text(), lineErr); ok {
			problem = text
		}
	}
	return false, problem
}

// keep keeps the shim for another attempt.
func (r *Runner) keep(h *helper) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || h.runs >= runsApiece || len(r.idle) >= idleMost {
		go h.end()
		return
	}
	r.idle = append(r.idle, h)
	h.timer = time.AfterFunc(idleFor, func() {
		r.mu.Lock()
		i := slices.Index(r.idle, h)
		if i >= 0 {
			r.idle = slices.Delete(r.idle, i, i+1)
		}
		r.mu.Unlock()
		if i >= 0 {
			h.end()
		}
	})
}

// end ends a shim that runs nothing, and waits for it.
func (h *helper) end() {
	_ = h.orders.Close()
	_ = h.cmd.Process.Signal(syscall.SIGCONT)
	for h.lines.Scan() {
	}
	_ = h.report.Close()
	_ = h.cmd.Wait()
}
