package tui

import (
	"fmt"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

func (m *model) drawDAG(a area, s *side, i int) {
	p := &s.frame.DAG
	if s.task == sched.Nobody || p.Tasks == 0 {
		m.empty(a, "choose a task in the tasks view, and press t for the DAG of its job")
		return
	}
	critical := fmt.Sprintf("%s critical path: %s, %s", m.theme.glyph("◆", "*"), plural(p.Critical, "task", "tasks"), span(p.Length))
	if a.w < 76 {
		critical = fmt.Sprintf("%s critical: %s", m.theme.glyph("◆", "*"), span(p.Length))
	}
	head := fmt.Sprintf("job %s: %d/%d done", p.Job, p.Done, p.Tasks)
	if a.w >= 76 {
		head += ", " + plural(p.Edges, "edge", "edges")
	}
	x := a.fit(1, 0, min(width(head), a.w-width(critical)-4), style{bold: true}, head)
	a.fit(x+2, 0, a.w-x-3, style{fg: colQueued, bold: true}, critical)
	right := 30
	switch {
	case a.w >= 110:
		right = 52
	case a.w >= 76:
		right = 40
	}
	st := style{bold: true}
	x = a.text(a.w-right+1, 1, st, "state     ")
	x = a.right(x, 1, 9, st, "estimate")
	x = a.right(x, 1, 8, st, "wait")
	if right > 30 {
		a.fit(x+1, 1, a.w-x-2, st, "node")
	}
	a.text(1, 1, st, "task")
	for k := range p.Rows {
		y := k + 2
		if y >= a.h {
			break
		}
		r := &p.Rows[k]
		l := lookOf(r.Task.State, r.Task.Evicted)
		st := style{}
		mark := "  "
		if r.Critical {
			st, mark = style{fg: colQueued, bold: true}, m.theme.glyph("◆ ", "* ")
		}
		x := a.text(1, y, st, mark)
		x = a.text(x, y, style{fg: track}, m.branches(r.Depth, r.Last, a.w-right-14))
		x = a.text(x, y, style{fg: track}, m.foldSign(r))
		x = a.text(x, y, style{fg: l.col, bold: true}, m.theme.glyph(l.glyph, l.ascii)+" ")
		node := x
		name := taskName(r.Task)
		done, before := " done", " before"
		if a.w < 76 {
			done, before = "", ""
		}
		if r.Folded {
			name += fmt.Sprintf(" [%d/%d%s]", r.Done, r.Below, done)
		}
		if r.Others > 0 {
			name += fmt.Sprintf(" (+%d%s)", r.Others, before)
		}
		a.fit(x, y, max(a.w-right-x, 4), st, name)
		x = a.w - right
		x = a.fit(x+1, y, 10, style{fg: l.col}, l.word)
		x = a.right(x, y, 9, style{}, span(r.Task.Estimate))
		x = a.right(x, y, 8, style{fg: faint}, span(r.Task.Wait))
		if right > 30 {
			a.fit(x+1, y, a.w-x-2, style{fg: faint}, r.Task.Node)
		}
		row := p.From + k
		if row == s.cursor[viewDAG] && i == m.focus {
			m.selectLine(a, y)
		}
		m.click(a, 0, y, a.w, 1, func(m *model, _, _ int) { m.focus = i; m.choose(viewDAG, row) })
		if r.Below > 0 {
			m.click(a, 0, y, node, 1, func(m *model, _, _ int) { // left of its name
				m.focus, m.cur().cursor[viewDAG] = i, row
				m.turn(r.Task.ID)
			})
		}
	}
}

// foldSign says whether a branch stands below a node, and whether it is shown.
func (m *model) foldSign(r *history.DAGRow) string {
	switch {
	case r.Folded:
		return m.theme.glyph("▸ ", "[+] ")
	case r.Below > 0:
		return m.theme.glyph("▾ ", "[-] ")
	case r.Depth > 0:
		return m.theme.glyph("─ ", "--- ")
	}
	return m.theme.glyph("  ", "    ")
}

// branches draws the lines of a tree before a node: a level takes two columns, and deep ones are left out in the middle.
func (m *model) branches(depth int32, lasts uint64, room int) string {
	var b strings.Builder
	for d := int32(0); d <= depth; d++ {
		last := d < 64 && lasts>>d&1 != 0
		switch {
		case d == 0 && depth == 0:
		case d == 0:
			// roots have no line to their left
		case d == depth && last:
			b.WriteString(m.theme.glyph("└─", "`-"))
		case d == depth:
			b.WriteString(m.theme.glyph("├─", "|-"))
		case last:
			b.WriteString("  ")
		default:
			b.WriteString(m.theme.glyph("│ ", "| "))
		}
	}
	s := []rune(b.String())
	if room = max(room, 6); len(s) > room {
		return fmt.Sprintf("%-4s", fmt.Sprintf("+%d", depth)) + string(s[len(s)-room+4:])
	}
	return string(s)
}
