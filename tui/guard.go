package tui

import (
	"fmt"
	"runtime/debug"
	"sync"

	tea "github.com/charmbracelet/bubbletea"
)

// guarded is a model whose panics end the program as a key does, so that what went wrong is told when the terminal is as it was: bubbletea prints it while
// its own screen is still there, and nobody sees it.
type guarded struct {
	model model
	fault *fault
}

// fault is the first panic.
type fault struct {
	mu    sync.Mutex
	what  any
	stack []byte
}

func (f *fault) note(p any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.what == nil {
		f.what, f.stack = p, debug.Stack()
	}
}

func (f *fault) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.what == nil {
		return nil
	}
	return fmt.Errorf("this is a bug in schedlab's terminal UI: %v\n\n%s", f.what, f.stack)
}

func (g guarded) Init() tea.Cmd { return g.safe(g.model.Init()) }

func (g guarded) Update(msg tea.Msg) (next tea.Model, cmd tea.Cmd) {
	defer func() {
		if p := recover(); p != nil {
			g.fault.note(p)
		}
		if g.fault.err() != nil {
			next, cmd = g, tea.Quit
		}
	}()
	m, c := g.model.Update(msg)
	g.model = m.(model)
	return g, g.safe(c)
}

func (g guarded) View() (s string) {
	defer func() {
		if p := recover(); p != nil {
			g.fault.note(p) // the next Update ends it
		}
	}()
	return g.model.View()
}

// safe returns a command that notes its panic and ends the program.
func (g guarded) safe(cmd tea.Cmd) tea.Cmd {
	if cmd == nil {
		return nil
	}
	return func() (msg tea.Msg) {
		defer func() {
			if p := recover(); p != nil {
				g.fault.note(p)
				msg = tea.Quit()
			}
		}()
		msg = cmd()
		if batch, ok := msg.(tea.BatchMsg); ok {
			for i := range batch {
				batch[i] = g.safe(batch[i])
			}
		}
		return msg
	}
}
