package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// silentTerminal returns both ends of a terminal that answers no question.
func silentTerminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminal can be made here: ", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// A command that shows no screen of its own writes what it has to say, and asks the terminal nothing: the answer may not come, and would be waited for.
func TestNoCommandAsksTheTerminalForItsColours(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, term := range []string{"xterm-256color", "linux", "vt100"} {
		screen, tty := silentTerminal(t)
		c := &exec.Cmd{Path: exe, Args: []string{"schedlab", "--version"}, Stdin: tty, Stdout: tty, Stderr: tty, Env: []string{"TERM=" + term}}
		c.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		var read sync.WaitGroup
		read.Go(func() { _, _ = out.ReadFrom(screen) }) // until nobody has it open
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
		_ = tty.Close()
		read.Wait()
		if bytes.ContainsRune(out.Bytes(), '\x1b') || !bytes.HasPrefix(out.Bytes(), []byte("schedlab ")) {
			t.Errorf("TERM=%s: %q", term, out.Bytes())
		}
	}
}
