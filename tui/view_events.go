package tui

import (
	"fmt"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

func (m *model) drawEvents(a area, s *side, i int) {
	p := &s.frame.Events
	title, st := "newest at the bottom", style{fg: faint}
	if p.Skip > 0 {
		title = fmt.Sprintf("%s newer ones below, G goes to them", count(p.Skip))
	}
	if m.filters[1] != "" {
		title += "  filter: " + m.filters[1]
	}
	if p.Err != "" {
		title, st = p.Err, style{fg: colFailed, bold: true}
	}
	a.fit(1, 0, a.w-2, st, title)
	tw := width(s.instant(s.frame.End)) + 1
	ww := 14 // of what happened
	if a.w < 70 {
		ww = 12
	}
	nw := min(max(a.w-tw-ww-23, 14), 48)
	for k := range p.Rows {
		y := k + 1
		if y >= a.h {
			break
		}
		e := &p.Rows[k]
		x := a.right(1, y, tw, style{fg: faint}, s.instant(e.At)) + 1
		l := look{"•", "-", "", own}
		if e.Task != sched.Nobody {
			l = lookOf(e.To, strings.HasPrefix(e.What, "preempt"))
		}
		x = a.fit(x, y, ww, style{fg: l.col, bold: true}, m.theme.glyph(l.glyph, l.ascii)+" "+e.What) + 1
		name := e.Name
		if left := nw - width(name) - 4; e.Job != "" && e.Job != e.Name && left >= min(width(e.Job), 10) {
			name += " of " + middleCut(e.Job, left)
		}
		x = a.fit(x, y, nw, style{}, name) + 1
		a.fit(x, y, a.w-x-1, style{fg: faint}, e.Note)
		if k == s.cursor[viewEvents] && i == m.focus {
			m.selectLine(a, y)
		}
		m.click(a, 0, y, a.w, 1, func(m *model, _, _ int) { m.focus = i; m.choose(viewEvents, k) })
	}
	if len(p.Rows) == 0 {
		m.empty(a, "no event matches, or nothing has happened yet")
	}
}

func (m *model) drawText(a area) {
	a.line(0, style{fg: faint}, m.theme.rule(), m.title)
	off := m.cur().offset[viewText]
	lines := m.lines()
	off = max(min(off, len(lines)-a.h+1), 0) // the screen may have grown
	m.cur().offset[viewText] = off
	for y := 1; y < a.h && off+y-1 < len(lines); y++ {
		a.fit(1, y, a.w-2, style{}, lines[off+y-1])
	}
	if len(lines)-off >= a.h {
		a.right(a.w-9, a.h-1, 8, style{fg: faint}, m.theme.glyph("more ↓", "more v"))
	}
	if len(m.words) == 0 {
		m.empty(a, "nothing")
	}
}
