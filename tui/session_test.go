package tui

import (
	"io"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/schedlab/schedlab/policies/sched"
)

// session types as a user would, on a clock of its own.
type session struct {
	tb  testing.TB
	m   model
	now time.Time
}

func newSession(tb testing.TB, o Options, w, h int) *session {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.TrueColor)
	if p, ok := map[string]termenv.Profile{"none": termenv.Ascii, "16": termenv.ANSI, "256": termenv.ANSI256}[o.Colour]; ok {
		r.SetColorProfile(p)
	}
	s := &session{tb: tb, m: newModel(o, newTheme(r, o.ASCII)), now: time.Unix(1_700_000_000, 0)}
	s.send(tea.WindowSizeMsg{Width: w, Height: h})
	s.tick()
	s.tick()
	return s
}

// send gives the model a message, and back what its commands bring, ticks left out.
func (s *session) send(msg tea.Msg) {
	s.tb.Helper()
	m, c := s.m.Update(msg)
	s.m = m.(model)
	if c == nil {
		return
	}
	if _, tick := msg.(tickMsg); tick { // a batch: the next tick, which the session makes itself, and a question
		if s.m.busy {
			s.send(s.m.ask()())
		}
		return
	}
	patience := 20 * time.Second
	if s.m.prompt != noPrompt {
		patience = 50 * time.Millisecond // the blinking of a text cursor
	}
	done := make(chan tea.Msg, 1)
	go func() { done <- c() }()
	select {
	case got := <-done:
		if _, batch := got.(tea.BatchMsg); !batch && got != nil {
			if _, quits := got.(tea.QuitMsg); !quits {
				s.send(got)
			}
		}
	case <-time.After(patience):
	}
}

func (s *session) tick() {
	s.tb.Helper()
	s.now = s.now.Add(time.Second / perSecond)
	s.send(tickMsg{s.now})
}

var keyTypes = map[string]tea.KeyType{
	"enter": tea.KeyEnter, "esc": tea.KeyEsc, "tab": tea.KeyTab, "shift+tab": tea.KeyShiftTab, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
	"right": tea.KeyRight, "backspace": tea.KeyBackspace, "ctrl+s": tea.KeyCtrlS, "ctrl+d": tea.KeyCtrlD, "ctrl+u": tea.KeyCtrlU, "home": tea.KeyHome,
	"end": tea.KeyEnd, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "space": tea.KeySpace,
}

func keyMsg(name string) tea.KeyMsg {
	if t, ok := keyTypes[name]; ok {
		if name == "space" {
			return tea.KeyMsg{Type: t, Runes: []rune{' '}}
		}
		return tea.KeyMsg{Type: t}
	}
	return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(name)}
}

// keys presses keys, each followed by a moment in which the screen is drawn anew.
func (s *session) keys(names ...string) *session {
	s.tb.Helper()
	for _, n := range names {
		s.send(keyMsg(n))
		s.tick()
	}
	s.tick()
	return s
}

// typed presses the keys of a text, and enter.
func (s *session) typed(text string) *session {
	for _, r := range text {
		s.send(keyMsg(string(r)))
	}
	return s.keys("enter")
}

// at stops the clock at a part of the run.
func (s *session) at(part float64) *session {
	from, end := s.m.ends()
	s.m.moveTo(from + sched.Time(part*float64(end-from)))
	s.tick()
	s.tick()
	return s
}

// screen is what is seen, without colours.
func (s *session) screen() string { return s.m.draw().plain() }

// coloured is what is sent to the terminal.
func (s *session) coloured() string { return s.m.View() }
