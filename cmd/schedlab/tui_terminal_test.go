package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

// These tests type into a real terminal, tmux's, as a person would, and read what is on its screen. `make deps` installs tmux.

// terminal is a shell in a tmux server of its own.
type terminal struct {
	t      *testing.T
	socket string
	env    []string
}

var terminals atomic.Int32

func newTerminal(t *testing.T, columns, rows int, env ...string) *terminal {
	t.Helper()
	if testing.Short() {
		t.Skip("it waits for a terminal")
	}
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not on this machine")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"schedlab", "panicking-ui"} { // the test's own binary, by the names under which it is a command
		if err := os.Symlink(exe, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	rc := filepath.Join(dir, "rc")
	if err := os.WriteFile(rc, []byte("PS1='at-the-shell> '\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, socket: fmt.Sprintf("schedlab-test-%d-%d", os.Getpid(), terminals.Add(1))}
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "TMUX", "TMUX_PANE", "TERM", "PATH", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "ENV":
		default:
			x.env = append(x.env, kv)
		}
	}
	x.env = append(append(x.env, "TERM=xterm-256color", "PATH="+dir+":"+os.Getenv("PATH"), "ENV="+rc, "COLORTERM=truecolor"), env...)
	t.Cleanup(func() { _ = x.command("kill-server").Run() })
	x.tmux("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows), "sh")
	x.until("at-the-shell>")
	return x
}

func (x *terminal) command(args ...string) *exec.Cmd {
	c := exec.Command("tmux", append([]string{"-L", x.socket}, args...)...)
	c.Env, c.Dir = x.env, x.t.TempDir()
	return c
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := x.command(args...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys presses keys, by tmux's names.
func (x *terminal) keys(names ...string) {
	x.t.Helper()
	for _, name := range names {
		x.tmux("send-keys", name)
		if name == "Escape" { // what follows at once would count as one key with it
			time.Sleep(150 * time.Millisecond)
		}
	}
}

// types types characters.
func (x *terminal) types(text string) {
	x.t.Helper()
	x.tmux("send-keys", "-l", text)
}

// line types a line and presses Enter.
func (x *terminal) line(text string) {
	x.t.Helper()
	x.types(text)
	x.keys("Enter")
}

func (x *terminal) screen() string { return x.tmux("capture-pane", "-p") }

// until waits until the expressions all match the screen, and returns it.
func (x *terminal) until(expressions ...string) string {
	x.t.Helper()
	var s string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		s = x.screen()
		missing := ""
		for _, e := range expressions {
			if !regexp.MustCompile(e).MatchString(s) {
				missing = e
			}
		}
		if missing == "" {
			return s
		}
		if time.Now().After(end) {
			x.t.Fatalf("not within 30 s on the screen: %s\n%s", missing, s)
		}
	}
}

// restored waits until the shell is back and the terminal as it was: its own screen, the cursor, no mouse, echo of what is typed.
func (x *terminal) restored() {
	x.t.Helper()
	x.until(`at-the-shell> *\n*$`)
	const want = "0 1 0 0"
	got := ""
	for end := time.Now().Add(10 * time.Second); got != want && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = strings.TrimSpace(x.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{bracket_paste_flag}"))
		got = strings.Join(strings.Fields(got + " 0")[:4], " ") // older ones do not know the last
	}
	if got != want {
		x.t.Errorf("alternate screen, cursor, mouse, bracketed paste are %s, wanted %s", got, want)
	}
	x.line("echo $((40+2))")
	x.until(`at-the-shell> echo \$\(\(40\+2\)\)\n42\n`)
	x.line("clear")
	x.until(`^at-the-shell> *\n*$`)
}

// child returns the process that the shell runs.
func (x *terminal) child() int {
	x.t.Helper()
	shell := strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_pid}"))
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
		if err != nil {
			x.t.Skip(err)
		}
		if f := strings.Fields(string(text)); len(f) == 1 {
			pid, err := strconv.Atoi(f[0])
			if err != nil {
				x.t.Fatal(err)
			}
			return pid
		}
	}
	x.t.Fatal("the shell runs no command")
	return 0
}

func TestInATerminalASimulationIsWatchedAndLeft(t *testing.T) {
	x := newTerminal(t, 120, 40)
	x.line("schedlab tui")
	// It runs at once.
	before := x.until(`SIM .*fifo.*critical-path.*example`, `[1-9]\d* running`)
	clock := regexp.MustCompile(`\d\d:\d\d:\d\d`)
	for end := time.Now().Add(20 * time.Second); clock.FindString(x.screen()) == clock.FindString(before); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the clock stands still\n%s", x.screen())
		}
	}
	// It is stopped, and then it stands.
	x.keys("p")
	x.until("paused")
	time.Sleep(200 * time.Millisecond)
	first := x.screen()
	time.Sleep(300 * time.Millisecond)
	if second := x.screen(); second != first {
		t.Errorf("the screen changes while it is paused:\n%s\n%s", first, second)
	}
	// To a time, to the end, back.
	x.keys("T")
	x.line("1h")
	x.until(`01:00:00`, `619 done`)
	x.keys("L")
	x.until(`04:34:42`, `2875 done`)
	x.keys("T")
	x.line("3600")
	x.until(`01:00:00`, `619 done`)
	// Every view.
	x.keys("2")
	x.until(`node-001 +V100`, `node-008 +A100`)
	x.keys("3")
	x.until("task.*state.*wait")
	x.keys("4")
	x.until(`node-`, `rows 1-`)
	x.keys("6")
	x.until("(?i)mean wait", "B to A", "B better")
	x.keys("7")
	x.until("finished|started|submitted")
	x.keys("?")
	x.until("go to a time", "this help")
	x.keys("Escape")
	// A task, its details, its DAG.
	x.keys("3")
	x.until("task.*state.*wait")
	x.keys("/")
	x.line("state:running")
	x.until("running")
	x.keys("Enter")
	x.until("attempts?|asks for|demand")
	x.keys("t")
	x.until("critical", "▾")
	x.keys("Z")
	x.until(`▸ .*\[\d+/\d+\]`)
	x.keys("Z")
	x.until("▾")
	// Nothing can be changed in what is recorded.
	x.keys("3")
	x.keys("x")
	x.until("cannot be changed")
	// Smaller than it can be, and back.
	x.tmux("resize-window", "-x", "50", "-y", "12")
	x.until("(?i)too small|at least|60")
	x.tmux("resize-window", "-x", "80", "-y", "24")
	x.until("SIM", "overview")
	x.keys("q")
	x.restored()
}

func TestInATerminalAJournalIsScrubbed(t *testing.T) {
	x := newTerminal(t, 100, 30, "NO_COLOR=1")
	x.line("schedlab run --policy easy --journal run.journal >/dev/null && schedlab tui --ascii --replay run.journal --at 1h")
	s := x.until(`REPLAY .*easy.*run.journal`, `01:0\d:\d\d`)
	for _, r := range s {
		if r > 126 {
			t.Fatalf("%q is no ASCII character:\n%s", r, s)
		}
	}
	if raw := x.tmux("capture-pane", "-p", "-e"); regexp.MustCompile(`\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7]|38|48)[;m]`).MatchString(raw) {
		t.Errorf("there are colours in spite of NO_COLOR:\n%q", raw)
	}
	x.keys("p")
	x.until("paused")
	at := func() string { return regexp.MustCompile(`\d\d:\d\d:\d\d`).FindString(x.screen()) }
	here := at()
	x.types("}}")
	forth := here
	for end := time.Now().Add(10 * time.Second); forth <= here && time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		forth = at()
	}
	x.types("{{{")
	back := forth
	for end := time.Now().Add(10 * time.Second); back >= forth && time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		back = at()
	}
	if !(here < forth && back < forth) {
		t.Errorf("from %s a jump on leads to %s, and a jump back to %s", here, forth, back)
	}
	// A signal ends it, and the terminal is as it was.
	if err := syscall.Kill(x.child(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	x.restored()
}

// The colours are those that the terminal says it has, unless --colours says otherwise.
func TestInATerminalTheColoursAreThoseItHas(t *testing.T) {
	kinds := map[string]*regexp.Regexp{
		"true": regexp.MustCompile(`\x1b\[[0-9;]*[34]8;2;`), "256": regexp.MustCompile(`\x1b\[[0-9;]*[34]8;5;`),
		"16": regexp.MustCompile(`\x1b\[(3[0-7]|4[0-7]|9[0-7]|10[0-7])m`),
	}
	x := newTerminal(t, 100, 30)
	for _, c := range []struct{ env, flags, want string }{
		{"TERM=xterm-256color COLORTERM=truecolor", "", "true"},
		{"TERM=xterm-256color COLORTERM=", "", "256"},
		{"TERM=xterm COLORTERM=", "", "16"},
		{"TERM=linux COLORTERM=", "", "16"},
		{"CI=true", "", "true"}, // a terminal is one, whoever holds it
		{"CI=", "", "true"},
		{"NO_COLOR=1", "", ""},
		{"NO_COLOR=", "", "true"}, // empty counts as not set
		{"TERM=xterm COLORTERM=", "--colours true", "true"},
		{"TERM=xterm-256color COLORTERM=truecolor", "--colours 16", "16"},
		{"TERM=xterm-256color COLORTERM=truecolor", "--colours none", ""},
	} {
		x.line("env " + c.env + " schedlab tui --policies fifo " + c.flags)
		x.until(`SIM .*fifo`, `[1-9]\d* running`)
		raw := x.tmux("capture-pane", "-p", "-e")
		for kind, found := range kinds {
			if found.MatchString(raw) != (kind == c.want) {
				t.Errorf("%s %s: colours of kind %s on the screen: %v, wanted %q\n%q", c.env, c.flags, kind, found.MatchString(raw), c.want, raw)
			}
		}
		x.keys("q")
		x.restored()
	}
}

func TestInATerminalTheDaemonIsWatchedAndSteered(t *testing.T) {
	home := t.TempDir()
	x := newTerminal(t, 120, 36, "SCHEDLAB_HOME="+home)
	daemon := func() *exec.Cmd {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		c := &exec.Cmd{Path: exe, Args: []string{"schedlab", "live", "serve", "--node", "(4cpu,8gb,2xA100)"}, Env: append(os.Environ(), "SCHEDLAB_HOME="+home)}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	end := func(c *exec.Cmd) {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	d := daemon()
	defer func() {
		if d.ProcessState == nil {
			end(d)
		}
	}()
	x.line("until schedlab live status >/dev/null 2>&1; do sleep 0.1; done; clear")
	x.until(`^at-the-shell> *\n*$`)
	x.line("schedlab live submit --name train --cpu 4 -- sh -c 'echo epoch 7; sleep 1000'")
	x.line("schedlab live submit --name eval --cpu 1 -- true")
	x.line("schedlab live submit --name report --cpu 1 -- sleep 1001")
	x.until(`(?m)\b3\n.*at-the-shell> *\n*$`)
	defer func() { // what the test has begun
		c := exec.Command("schedlab", "live", "cancel", "all")
		c.Path, _ = os.Executable()
		c.Env = append(os.Environ(), "SCHEDLAB_HOME="+home)
		_ = c.Run()
	}()
	x.line("schedlab live ui")
	x.until(`LIVE .*fifo`, `1 running`, `2 queued`)
	x.keys("3")
	x.until(`running.*train`, `queued.*eval`)
	// The running task's log, and why the next one waits.
	x.keys("/")
	x.line("train")
	x.until(`❯.*train`, "1 of 3")
	x.keys("l")
	x.until("epoch 7")
	x.keys("Escape")
	x.keys("/", "C-u")
	x.line("eval")
	x.until(`❯.*eval`, "1 of 3")
	x.keys("e")
	x.until("No room: on node")
	x.keys("Escape")
	// Hold it; a key that is not y does nothing.
	x.keys("3", "H")
	x.until(`(?i)hold .*eval.*\?`)
	x.keys("n")
	x.until("nothing was done")
	x.keys("H")
	x.until(`(?i)hold .*eval.*\?`)
	x.keys("y")
	x.until(`held.*eval`)
	x.keys("R")
	x.until(`(?i)release .*eval.*\?`)
	x.keys("y")
	x.until(`queued.*eval`)
	// Another policy.
	x.keys(":")
	x.line("policy easy")
	x.until(`\?`)
	x.keys("y")
	x.until(`LIVE .*easy`)
	// The daemon goes and comes back; the UI says so, and goes on.
	end(d)
	x.until("does not answer")
	d = daemon()
	x.until(`LIVE .*easy`)
	for end := time.Now().Add(20 * time.Second); strings.Contains(x.screen(), "does not answer"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it still says that the daemon does not answer\n%s", x.screen())
		}
	}
	// Cancel what runs, and the next one runs to its end.
	x.keys("3", "/", "C-u")
	x.line("train")
	x.until("running.*train")
	x.keys("x")
	x.until(`(?i)cancel .*train.*\?`)
	x.keys("y")
	x.until(`(dropped|cancelled).*train`)
	x.keys("/", "C-u")
	x.line("eval")
	x.until(`done.*eval`)
	x.keys("q")
	x.restored()
	// Nothing can be changed with --read-only.
	x.line("schedlab live ui --read-only")
	x.until("LIVE", "1 running")
	x.keys("3", "x")
	x.until("read-only")
	x.keys("q")
	x.restored()
}

func TestInATerminalAPanicLeavesTheTerminalAsItWas(t *testing.T) {
	x := newTerminal(t, 100, 30)
	x.line("panicking-ui")
	x.until("a bug on purpose", "at-the-shell> *\n*$")
	x.line("clear")
	x.restored()
}

// panickingUI is a command of the test's binary: a UI whose source breaks after a while.
func panickingUI() {
	if err := tui.Run(context.Background(), tui.Options{Sources: []tui.Source{&broken{}}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type broken struct{ looks atomic.Int32 }

func (*broken) Info() tui.Info { return tui.Info{Title: "broken"} }

func (b *broken) Look(history.Query) history.Frame {
	if b.looks.Add(1) > 5 {
		panic("a bug on purpose")
	}
	return history.Frame{}
}
