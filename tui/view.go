package tui

import (
	"fmt"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

// hit is a part of the screen that can be clicked.
type hit struct {
	x, y, w, h int
	do         func(m *model, x, y int)
}

// View draws the screen.
func (m model) View() string {
	if d := m.drawn; !d.valid || d.change != m.change {
		*d = drawn{m.change, m.draw().render(m.theme, m.out), true}
	}
	return m.drawn.text
}

// draw makes the picture of the present state. The canvas is used again by the next call.
func (m *model) draw() *canvas {
	c := m.buffer
	c.reset(m.w, m.h)
	*m.hits = (*m.hits)[:0]
	a := c.all()
	if m.w < minWidth || m.h < minHeight {
		m.drawTooSmall(a)
		return c
	}
	m.drawHeader(a)
	m.drawTabs(a)
	if !m.cur().have {
		a.text(2, bodyTop+1, style{fg: faint}, "reading ...")
	} else {
		panes := m.panes()
		for i, p := range panes {
			if len(panes) > 1 {
				st := style{bold: true, fg: sideColours[p.side], underline: p.side == m.focus}
				a.text(p.x+1, p.y-1, st, fitText(m.sideName(p.side), min(width(m.sideName(p.side)), p.w-2), false))
			}
			if i > 0 {
				for y := -1; y < p.h; y++ {
					a.text(p.x-1, p.y+y, style{fg: track}, m.theme.glyph("│", "|"))
				}
			}
			m.drawPane(a.sub(p.x, p.y, p.w, p.h), &m.sides[p.side], p.side)
		}
	}
	m.drawTime(a)
	m.drawBottom(a)
	switch {
	case m.helping:
		m.drawHelp(a)
	case m.asking != nil:
		m.drawQuestion(a)
	case m.prompt == promptCommand:
		m.drawCandidates(a)
	}
	return c
}

func (m *model) drawPane(a area, s *side, i int) {
	switch m.view {
	case viewOverview:
		m.drawOverview(a, s)
	case viewCluster:
		m.drawCluster(a, s, i)
	case viewTasks:
		m.drawTasks(a, s, i)
	case viewGantt:
		m.drawGantt(a, s, i)
	case viewDAG:
		m.drawDAG(a, s, i)
	case viewCompare:
		m.drawCompare(a)
	case viewEvents:
		m.drawEvents(a, s, i)
	case viewDetail:
		m.drawDetail(a, s)
	case viewText:
		m.drawText(a)
	}
}

func (m *model) drawTooSmall(a area) {
	for i, l := range []string{"schedlab needs", fmt.Sprintf("%d x %d,", minWidth, minHeight), fmt.Sprintf("this is %d x %d", m.w, m.h)} {
		a.text(max((a.w-width(l))/2, 0), max(a.h/2-1, 0)+i, style{bold: i == 1}, l)
	}
}

func (m *model) drawHeader(a area) {
	st := style{bg: bar, fg: own, bold: true}
	if !m.theme.colourless() {
		st.fg = firstOwner + 7
	}
	for x := range a.w {
		a.put(x, 0, st, ' ', 1)
	}
	s := m.cur()
	x := a.text(1, 0, st, s.info.Mode.String()+" ")
	state := m.theme.glyph("▶", ">") + " " + m.clock.String()
	switch {
	case s.info.Mode == Live && m.clock.follow:
		state = m.theme.glyph("●", "*") + " now"
	case m.clock.paused:
		state = m.theme.glyph("‖", "=") + " paused"
	case m.closed() && m.clock.at >= m.end():
		state = m.theme.glyph("■", "#") + " end"
	case m.clock.follow:
		state = m.theme.glyph("▶", ">") + " end"
	}
	right := fmt.Sprintf(" %s  %s ", state, s.instant(m.clock.at))
	if m.opt.ReadOnly && m.actsAtAll() {
		right = " read-only " + right
	}
	room := a.w - x - width(right) - 1
	var names []string
	for i := range m.sides {
		n := m.sideName(i)
		if len(m.sides) > 1 && i == m.focus {
			n = "[" + n + "]"
		}
		names = append(names, n)
	}
	title := strings.Join(names, "  ")
	if s.info.Title != "" {
		title += "  " + s.info.Title
	}
	a.fit(x, 0, room, st, title)
	a.text(a.w-width(right), 0, st, right)
}

// sideName is the policy of a side, with its letter where there are two.
func (m *model) sideName(i int) string {
	if len(m.sides) < 2 {
		return m.sides[i].info.Policy
	}
	return string(rune('A'+i)) + " " + m.sides[i].info.Policy
}

func (m *model) end() sched.Time {
	_, end := m.ends()
	return end
}

func (m *model) drawTabs(a area) {
	x := 1
	for v := range numTabs {
		name := fmt.Sprintf("%d %s", v+1, v)
		st := style{fg: faint}
		if v == m.view || m.view >= numTabs && len(m.past) > 0 && m.past[len(m.past)-1] == v {
			st = style{bold: true, underline: true, fg: accent}
			if a.w < 76 {
				name = fmt.Sprintf("%d %s", v+1, v)
			}
		} else if a.w < 76 {
			name = fmt.Sprintf("%d %s", v+1, v.String()[:3])
		}
		to := a.text(x, 1, st, name)
		*m.hits = append(*m.hits, hit{a.x + x, a.y + 1, to - x, 1, func(m *model, _, _ int) { m.open(v) }})
		x = to + 2
	}
	if m.view >= numTabs {
		name := m.view.String()
		if m.view == viewText {
			name = m.tab
		}
		a.text(x, 1, style{bold: true, underline: true, fg: accent}, name)
	}
}

// drawTime draws where the clock stands in what is recorded, and the window that curves show.
func (m *model) drawTime(a area) {
	y := a.h - 2
	from, end := m.ends()
	l, r := " "+m.cur().instant(from)+" ", " "+m.cur().instant(end)+" "
	if !m.closed() {
		r = m.theme.glyph(" …", " ..") + strings.TrimPrefix(r, " ")
		r = " " + strings.TrimLeft(r, " ")
	}
	x := a.text(0, y, style{fg: faint}, l)
	w := a.w - x - width(r)
	if w < 4 {
		return
	}
	a.text(x+w, y, style{fg: faint}, r)
	pos := func(t sched.Time) int {
		if end <= from {
			return 0
		}
		return min(max(int(float64(t-from)/float64(end-from)*float64(w-1)+0.5), 0), w-1)
	}
	at := pos(m.clock.at)
	wf, wt := m.window()
	a0, a1 := pos(wf), pos(wt)
	for i := range w {
		st, g := style{fg: track}, m.theme.glyph("─", "-")
		if i < at {
			st, g = style{fg: accent}, m.theme.glyph("━", "=")
		}
		if m.zoom < 1 && i >= a0 && i <= a1 {
			st.bold = true
			g = m.theme.glyph("═", "#")
		}
		a.text(x+i, y, st, g)
	}
	a.text(x+at, y, style{fg: accent, bold: true}, m.theme.glyph("●", "O"))
	*m.hits = append(*m.hits, hit{a.x + x, a.y + y, w, 1, func(m *model, hx, _ int) {
		m.moveTo(from + sched.Time(float64(end-from)*float64(hx-x)/float64(max(w-1, 1))))
	}})
}

func (m *model) drawBottom(a area) {
	y := a.h - 1
	switch {
	case m.prompt != noPrompt:
		x := a.text(0, y, style{bold: true, fg: accent}, map[prompt]string{promptFilter: "/", promptCommand: ":", promptTime: "go to: "}[m.prompt])
		text := []rune(m.input.Value())
		at := m.input.Position()
		text = append(text, ' ')
		first := 0
		for width(string(text[first:at+1])) > a.w-x-1 {
			first++
		}
		if len(text) == 1 {
			times := "1h20m, 90 (s), 50%, +10m, -1m, start, end"
			if !m.cur().info.Epoch.IsZero() {
				times = "15:04, 15:04:05, -10m, +1m, 50%, 1h20m after the start, end"
			}
			a.text(x+2, y, style{fg: faint}, map[prompt]string{
				promptFilter: "a word, tenant:vision, state:queued, wait>60s, !word; none shows all", promptCommand: "tab completes, esc leaves",
				promptTime: times,
			}[m.prompt])
		}
		for i := first; i < len(text); i++ {
			st := style{}
			if i == at {
				st.reverse = true
			}
			x = a.text(x, y, st, string(text[i]))
		}
	case m.message != "":
		st := style{fg: colDone}
		if m.bad {
			st = style{fg: colFailed, bold: true}
		}
		mark := m.theme.glyph("✓ ", "+ ")
		if m.bad {
			mark = m.theme.glyph("✗ ", "! ")
		}
		lines := wrapped(mark+m.message, max(a.w-2, 1)) // a long one lies over what is above
		lines = lines[:min(len(lines), max(a.h/2, 1))]
		for i, line := range lines {
			a.fit(0, y+1+i-len(lines), a.w, st, " "+line)
		}
	case m.view != viewOverview && m.cur().info.Note != "": // the overview has a line for it
		a.fit(1, y, a.w-2, style{fg: colQueued, bold: true}, m.theme.glyph("⚠ ", "! ")+m.cur().info.Note)
	default:
		x := 1
		for _, h := range m.hints() {
			if x+width(h[0])+width(h[1])+3 > a.w {
				break
			}
			x = a.text(x, y, style{bold: true}, h[0])
			x = a.text(x+1, y, style{fg: faint}, h[1]) + 2
		}
	}
}

// hints are the keys that matter most in the present view.
func (m *model) hints() [][2]string {
	h := [][2]string{{"?", "help"}}
	switch m.view {
	case viewTasks:
		h = append(h, [2]string{"/", "filter"}, [2]string{"< >", "sort"}, [2]string{"enter", "details"}, [2]string{"t", "dag"})
	case viewGantt:
		h = append(h, [2]string{"+ -", "zoom"}, [2]string{"left right", "scroll"}, [2]string{"c", "colour"}, [2]string{"m", "rows"})
	case viewCluster:
		h = append(h, [2]string{"m", "heat map"}, [2]string{"enter", "its tasks"})
	case viewCompare:
		h = append(h, [2]string{"m", "curves"})
	case viewEvents:
		h = append(h, [2]string{"/", "filter"}, [2]string{"enter", "details"})
	case viewDAG:
		h = append(h, [2]string{"z", "fold"}, [2]string{"enter", "details"}, [2]string{"esc", "back"})
	case viewDetail, viewText:
		h = append(h, [2]string{"esc", "back"})
	}
	h = append(h, [2]string{"p", "pause"}, [2]string{"[ ]", "step"}, [2]string{", .", "speed"})
	if len(m.sides) > 1 && m.view != viewCompare {
		h = append(h, [2]string{"tab", "other policy"})
	}
	return append(h, [2]string{":", "command"}, [2]string{"q", "quit"})
}

// selectLine marks the chosen line of a list: by its ground, and by a sign at its beginning where there are no colours.
func (m *model) selectLine(a area, y int) {
	if m.theme.colourless() {
		a.text(0, y, style{}, m.theme.glyph("❯", ">"))
		a.restyle(0, y, a.w, func(s *style, r rune) { s.reverse = !filled(r) }) // a full bar in reverse would be an empty one
		return
	}
	a.text(0, y, style{fg: accent, bold: true}, m.theme.glyph("❯", ">"))
	a.restyle(0, y, a.w, func(s *style, r rune) {
		if m.theme.few() && s.bg == own && !filled(r) {
			s.fg, s.bg = choseInk, chose
		}
		if s.bg == own {
			s.bg = chose
		}
		if s.fg == track || s.fg == faint || s.fg == colBlocked {
			s.fg = own
		}
	})
}

// filled reports whether a glyph is part of a bar or a curve.
func filled(r rune) bool { return r >= '▀' && r <= '▟' }

// empty says in the middle why there is nothing.
func (m *model) empty(a area, text string) {
	lines := wrapped(text, max(a.w-2, 1))
	for i, l := range lines {
		a.text(max((a.w-width(l))/2, 1), max((a.h-len(lines))/2, 0)+i, style{fg: faint}, l)
	}
}
