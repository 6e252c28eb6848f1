package tui

import (
	"errors"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// Picture draws what a user would see on a screen of that size who stops the clock at o.At (or the end) and types the keys, each as Bubble Tea names
// it. The sources should be closed: nothing is waited for.
func Picture(o Options, w, h int, keys ...string) (svg, text string, err error) {
	if len(o.Sources) < 1 || len(o.Sources) > 2 {
		return "", "", errors.New("a picture is of one or two runs")
	}
	r := lipgloss.NewRenderer(nil)
	r.SetColorProfile(termenv.TrueColor)
	m, now := newModel(o, newTheme(r, o.ASCII)), time.Unix(0, 0)
	send := func(msg tea.Msg) {
		next, _ := m.Update(msg)
		m = next.(model)
	}
	tick := func() {
		now = now.Add(time.Second / perSecond)
		send(tickMsg{now})
		if m.busy {
			send(m.ask()())
		}
	}
	send(tea.WindowSizeMsg{Width: w, Height: h})
	tick()
	if o.At != nil {
		m.moveTo(*o.At)
	} else {
		m.moveTo(m.end())
	}
	tick()
	for _, k := range keys {
		send(keyNamed(k))
		tick()
		tick() // what the key asked for has an answer now
	}
	c := m.draw()
	return c.svg(m.theme), c.plain(), nil
}

// keyNamed is the message of a key; of those with names, the ones that views need.
func keyNamed(name string) tea.KeyMsg {
	for _, k := range []tea.KeyType{tea.KeyEnter, tea.KeyEsc, tea.KeyTab, tea.KeyUp, tea.KeyDown, tea.KeyLeft, tea.KeyRight} {
		if k.String() == name {
			return tea.KeyMsg{Type: k}
		}
	}
	return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(name)}
}
