package tui

import (
	"fmt"
	"math"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

func (m *model) drawGantt(a area, s *side, i int) {
	p := &s.frame.Gantt
	nw := nameWidth(a.w)
	cols := max(a.w-nw-1, 1)
	from, to := m.window()
	m.drawAxis(a.sub(nw+1, 0, cols, 1), from, to, s)
	a.fit(0, 0, nw, style{fg: faint}, " by "+m.paint.String())
	now := -1
	if s.frame.At >= from && s.frame.At < to {
		now = int(float64(s.frame.At-from) / float64(to-from) * float64(cols))
	}
	for k := range p.Rows {
		y := k + 1
		if y >= a.h-1 {
			break
		}
		r := &p.Rows[k]
		name := ""
		switch {
		case r.Lane < 0:
			name = r.Name
		case r.First:
			name = r.Name
			if r.GPU {
				name = fitText(middleCut(name, nw-4), nw-4, false) + " 0"
			}
		case r.GPU:
			name = fitText("", nw-4, false) + fmt.Sprintf("%2d", r.Lane)
		case r.Lane == 0:
			name = fitText("cpu", nw-2, true)
		}
		a.fit(1, y, nw-1, style{fg: own, bold: r.First}, middleCut(name, nw-1))
		m.drawBars(a.sub(nw+1, y, cols, 1), r, p.Names, now)
		row := p.Row + k
		if row == s.cursor[viewGantt] && i == m.focus {
			a.text(0, y, style{fg: accent, bold: true}, m.theme.glyph("❯", ">"))
			a.restyle(1, y, nw-1, func(st *style, _ rune) { st.reverse = true })
		}
		m.click(a, 0, y, nw+1, 1, func(m *model, _, _ int) { m.focus = i; m.choose(viewGantt, row) })
		x0 := a.x + nw + 1
		m.click(a, nw+1, y, cols, 1, func(m *model, x, _ int) {
			m.focus = i
			m.choose(viewGantt, row)
			if c := x - x0; c >= 0 && c < len(r.Cells) && r.Cells[c].Task != sched.Nobody {
				m.about(r.Cells[c].Task)
				m.go_(viewDetail)
			}
		})
	}
	if len(p.Rows) == 0 {
		m.empty(a, "nothing to draw yet")
		return
	}
	m.drawGanttFoot(a, s)
}

// middleCut shortens a name in its middle, since names of nodes differ at their ends.
func middleCut(s string, w int) string {
	r := []rune(s)
	if width(s) <= w || w < 5 || len(r) != width(s) {
		return s
	}
	return string(r[:w-w/2-1]) + "~" + string(r[len(r)-w/2:])
}

// drawGanttFoot says what the bar under the crosshair is, and what the colours mean.
func (m *model) drawGanttFoot(a area, s *side) {
	y := a.h - 1
	x := 1
	if m.paint == byState {
		for _, c := range []history.CellState{history.CellRunning, history.CellDone, history.CellPreempted, history.CellFailed} {
			col, g, word := cellLook(c)
			if !m.theme.letters() {
				g = "█"
			}
			x = a.text(x, y, style{fg: col, bold: true}, g+" ")
			x = a.text(x, y, style{fg: faint}, word+"  ")
		}
	} else {
		what := "one colour a " + m.paint.String()
		if m.theme.ascii || m.theme.colourless() {
			what = "one letter a " + m.paint.String()
		}
		x = a.text(x, y, style{fg: faint}, what+m.theme.glyph("; ✗ failed ↺ preempted", "; x failed, p preempted")+"  ")
	}
	a.right(x, y, a.w-x-1, style{fg: faint}, fmt.Sprintf("rows %d-%d of %d", s.frame.Gantt.Row+1, s.frame.Gantt.Row+len(s.frame.Gantt.Rows), s.frame.Gantt.Total))
}

// axisSteps are the distances of marked times, in s.
var axisSteps = []float64{
	1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600,
	86400, 2 * 86400, 5 * 86400, 10 * 86400, 20 * 86400, 50 * 86400, 100 * 86400, 200 * 86400, 500 * 86400,
}

// drawAxis marks round times above a chart: they move with it.
func (m *model) drawAxis(a area, from, to sched.Time, s *side) {
	length := to.Sub(from).Seconds()
	if a.w <= 0 || !(length > 0) {
		return
	}
	label := func(t sched.Time) string {
		if length < 2 {
			return fmt.Sprintf("%.3f", t.Seconds())
		}
		return s.instant(t)
	}
	apart := float64(width(label(to))+4) / float64(a.w) * length
	step := axisSteps[len(axisSteps)-1]
	for i := len(axisSteps) - 1; i >= 0 && axisSteps[i] >= apart; i-- {
		step = axisSteps[i]
	}
	zero := 0.0 // what round times are counted from, in s: midnight, where it is known
	if e := s.info.Epoch; !e.IsZero() {
		zero = float64(e.Hour()*3600+e.Minute()*60+e.Second()) + float64(e.Nanosecond())/1e9
	}
	for k := math.Ceil((from.Seconds() + zero) / step); ; k++ {
		t := k*step - zero
		x := int((t - from.Seconds()) / length * float64(a.w))
		at, ok := sched.Seconds(math.Max(t, 0))
		if t < 0 {
			ok = false
		}
		if x >= a.w || !ok && t > 0 {
			return
		}
		if text := m.theme.glyph("╷", "'") + label(at); ok && x >= 0 && x+width(text) <= a.w {
			a.text(x, 0, style{fg: faint}, text)
		}
	}
}

func cellLook(c history.CellState) (col colour, ascii, word string) {
	switch c {
	case history.CellDone:
		return colDone, "+", "done"
	case history.CellFailed:
		return colFailed, "x", "failed"
	case history.CellPreempted:
		return colPreempted, "p", "preempted"
	}
	return colRunning, ">", "running"
}

// drawBars draws one row: each attempt a bar, with its name where it is long enough, its height where it holds less than all.
func (m *model) drawBars(a area, r *history.GanttRow, names map[sched.TaskID]string, now int) {
	plain := m.theme.ascii || m.theme.colourless()
	for x := 0; x < len(r.Cells); {
		c := r.Cells[x]
		if c.Task == sched.Nobody {
			g, st := m.theme.glyph("·", "."), style{fg: track}
			switch {
			case x == now:
				g, st = m.theme.glyph("│", "|"), style{fg: accent}
			case c.State == history.CellFuture:
				g = " "
			}
			a.text(x, 0, st, g)
			x++
			continue
		}
		from := x
		for x < len(r.Cells) && r.Cells[x].Task == c.Task && r.Cells[x].Attempt == c.Attempt {
			x++
		}
		m.drawBar(a, r, from, x, names[c.Task], plain)
	}
}

func (m *model) drawBar(a area, r *history.GanttRow, from, to int, name string, plain bool) {
	c := r.Cells[from]
	col, sign, _ := cellLook(c.State)
	id := c.Job
	if m.paint == byTenant {
		id = c.Tenant
	}
	if m.paint != byState {
		col = ownerColour(id)
	}
	full0, full1 := 0, 0 // the longest stretch in which it holds all of the row: there its name can stand
	run := from
	for x := from; x < to; x++ {
		fill := r.Cells[x].Fill
		g := m.theme.level(float64(fill) / 100)
		switch {
		case plain && m.paint == byState:
			g = rune(sign[0])
		case plain:
			g = rune(letter(id)[0])
		}
		st := style{fg: col}
		if m.theme.ascii && !m.theme.colourless() && fill > 50 {
			st = style{fg: ink, bg: col}
		}
		a.put(x, 0, st, g, 1)
		if fill <= 85 {
			run = x + 1
		} else if x+1-run > full1-full0 {
			full0, full1 = run, x+1
		}
	}
	if n := full1 - full0 - 1; n >= history.NameFrom-1 && name != "" && !m.theme.colourless() {
		// Cut off without a mark, since it is a label, and a column before the next bar's.
		x := a.sub(full0, 0, n, 1).text(0, 0, style{fg: ink, bg: col}, name)
		for ; x < n && !m.theme.ascii; x++ {
			a.put(full0+x, 0, style{fg: col}, m.theme.level(1), 1)
		}
		for ; x <= n && m.theme.ascii; x++ {
			a.put(full0+x, 0, style{fg: ink, bg: col}, ' ', 1)
		}
	}
	switch { // the end of an attempt that did not finish has its sign, whatever the colours stand for
	case c.State == history.CellFailed:
		a.text(to-1, 0, style{fg: colFailed, bold: true}, m.theme.glyph("✗", "x"))
	case c.State == history.CellPreempted && to-from > 1:
		a.text(to-1, 0, style{fg: colPreempted, bold: true}, m.theme.glyph("↺", "p"))
	}
}

// ganttCell is the bar in the chosen row at the clock, or the last one before it.
func (m *model) ganttCell(s *side) (history.Cell, bool) {
	p := &s.frame.Gantt
	k := s.cursor[viewGantt] - p.Row
	if k < 0 || k >= len(p.Rows) {
		return history.Cell{}, false
	}
	cells := p.Rows[k].Cells
	for x := len(cells) - 1; x >= 0; x-- {
		if cells[x].Task != sched.Nobody {
			return cells[x], true
		}
	}
	return history.Cell{}, false
}
