//go:build unix

package tui

import (
	"bytes"
	"context"
	"io"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// screenOf is what a program writes to its terminal.
type screenOf struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screenOf) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screenOf) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// breaking is a source that panics once it is looked at so many times, and where a task is looked for.
type breaking struct {
	Source
	mu   sync.Mutex
	left int
}

func (*breaking) TaskNamed(string, string) (sched.TaskID, bool) { panic("a name breaks") }

func (b *breaking) Look(q history.Query) history.Frame {
	b.mu.Lock()
	b.left--
	if b.left == 0 {
		b.mu.Unlock()
		panic("a source breaks")
	}
	b.mu.Unlock()
	return b.Source.Look(q)
}

// However the UI ends, the terminal is given back: the other screen is left, the cursor is shown, the mouse is let go.
func TestTheTerminalIsGivenBack(t *testing.T) {
	for _, x := range []struct {
		name string
		end  func(cancel func(), typed *io.PipeWriter)
		fail string // what the error says
	}{
		{"the user leaves", func(_ func(), typed *io.PipeWriter) { typed.Write([]byte("q")) }, ""},
		{"the context ends", func(cancel func(), _ *io.PipeWriter) { cancel() }, ""},
		{"SIGTERM", func(func(), *io.PipeWriter) { syscall.Kill(syscall.Getpid(), syscall.SIGTERM) }, ""},
		{"a panic of a source", func(func(), *io.PipeWriter) {}, "a source breaks"},
		{"a panic at a key", func(_ func(), typed *io.PipeWriter) { typed.Write([]byte(":task x\r")) }, "a name breaks"},
	} {
		t.Run(x.name, func(t *testing.T) {
			src := Source(&breaking{Source: exampleSources(t)[0]})
			if x.name == "a panic of a source" {
				src.(*breaking).left = 10
			}
			ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM) // as the command does
			defer cancel()
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM) // as the command does
			defer stop()
			in, typed := io.Pipe()
			defer typed.Close()
			out := &screenOf{}
			ended := make(chan error, 1)
			go func() { ended <- Run(ctx, Options{Sources: []Source{src}, Colour: "256", In: in, Out: out}) }()
			const entered = "\x1b[?1049h"
			for began := time.Now(); !strings.Contains(out.String(), entered); time.Sleep(5 * time.Millisecond) {
				if time.Since(began) > 20*time.Second {
					t.Fatal("the UI does not come up")
				}
			}
			x.end(cancel, typed)
			select {
			case err := <-ended:
				if (err != nil) != (x.fail != "") || err != nil && !strings.Contains(err.Error(), x.fail) {
					t.Fatalf("it ended with %v, wanted %q", err, x.fail)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it does not end")
			}
			got := out.String()
			after := got[strings.LastIndex(got, entered):]
			for _, back := range []string{"\x1b[?1049l", "\x1b[?25h", "\x1b[?1002l"} {
				if !strings.Contains(after, back) {
					t.Errorf("%q is not sent at the end", back)
				}
			}
		})
	}
}

// A panic while it is drawn ends the program with the next message, which says what was wrong.
func TestAPanicInTheDrawingEndsTheProgram(t *testing.T) {
	s := exampleSession(t, 100, 30)
	g := guarded{s.m, &fault{}}
	if g.View() == "" || g.fault.err() != nil {
		t.Fatalf("what is whole is not drawn: %v", g.fault.err())
	}
	g.model.sides[0].info.Mode = 77 // has no name
	g.model.change++
	if got := g.View(); got != "" {
		t.Fatalf("it draws %q", got)
	}
	_, cmd := g.Update(tickMsg{s.now})
	if cmd == nil {
		t.Fatal("the program goes on")
	}
	if _, quits := cmd().(tea.QuitMsg); !quits {
		t.Fatal("the program goes on")
	}
	if err := g.fault.err(); err == nil || !strings.Contains(err.Error(), "index out of range") || !strings.Contains(err.Error(), "drawHeader") {
		t.Fatalf("it ends with %v", err)
	}
}
