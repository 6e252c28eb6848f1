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

// breaking is a source that panics once it is looked at so many times.
type breaking struct {
	Source
	mu   sync.Mutex
	left int
}

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
		fail bool
	}{
		{"the user leaves", func(_ func(), typed *io.PipeWriter) { typed.Write([]byte("q")) }, false},
		{"the context ends", func(cancel func(), _ *io.PipeWriter) { cancel() }, false},
		{"SIGTERM", func(func(), *io.PipeWriter) { syscall.Kill(syscall.Getpid(), syscall.SIGTERM) }, false},
		{"a panic", func(func(), *io.PipeWriter) {}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			src := Source(&breaking{Source: exampleSources(t)[0]})
			if x.fail {
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
				if (err != nil) != x.fail {
					t.Fatalf("it ended with %v", err)
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
