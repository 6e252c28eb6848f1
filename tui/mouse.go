package tui

import tea "github.com/charmbracelet/bubbletea"

// click makes a part of an area clickable.
func (m *model) click(a area, x, y, w, h int, do func(m *model, x, y int)) {
	b := a.sub(x, y, w, h)
	if b.w > 0 && b.h > 0 {
		*m.hits = append(*m.hits, hit{b.x, b.y, b.w, b.h, do})
	}
}

func (m model) onMouse(e tea.MouseMsg) (tea.Model, tea.Cmd) {
	if e.Action != tea.MouseActionPress || m.asking != nil || m.prompt != noPrompt {
		return m, nil
	}
	switch e.Button {
	case tea.MouseButtonWheelUp, tea.MouseButtonWheelDown:
		a, key := up, "up"
		if e.Button == tea.MouseButtonWheelDown {
			a, key = down, "down"
		}
		switch {
		case m.helping:
			m.onHelpKey(key)
		case e.Ctrl && a == up:
			m.time(zoomIn)
		case e.Ctrl:
			m.time(zoomOut)
		default:
			for range 3 {
				m.move(a)
			}
		}
		m.stale = true
	case tea.MouseButtonWheelLeft, tea.MouseButtonWheelRight:
		if m.zoom < 1 {
			m.pan(e.Button == tea.MouseButtonWheelRight)
			m.stale = true
		}
	case tea.MouseButtonLeft:
		if m.helping {
			m.helping = false
			return m, nil
		}
		for i := len(*m.hits) - 1; i >= 0; i-- { // what was drawn last lies on top
			h := (*m.hits)[i]
			if e.X >= h.x && e.X < h.x+h.w && e.Y >= h.y && e.Y < h.y+h.h {
				h.do(&m, e.X, e.Y)
				m.stale = true
				break
			}
		}
	}
	return m, nil
}
