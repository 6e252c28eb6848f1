package tui

import (
	"fmt"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// taskColumn is a column of the task list.
type taskColumn struct {
	name  string
	sort  history.Column
	width int
	right bool
	need  int // it is left out of panes that are narrower
	text  func(m *model, r *history.TaskRow) string
}

var taskColumns = []taskColumn{
	{"task", history.ByName, 18, false, 0, func(_ *model, r *history.TaskRow) string { return r.Name }},
	{"state", history.ByState, 12, false, 0, func(m *model, r *history.TaskRow) string {
		l := lookOf(r.State, r.Evicted)
		return m.theme.glyph(l.glyph, l.ascii) + " " + l.word
	}},
	{"wait", history.ByWait, 7, true, 0, func(_ *model, r *history.TaskRow) string { return span(r.Wait) }},
	{"run", history.ByRun, 7, true, 0, func(_ *model, r *history.TaskRow) string { return span(r.Run) }},
	{"GPUs", history.ByGPUs, 5, true, 0, func(_ *model, r *history.TaskRow) string { return milli(r.GPUs) }},
	{"node", history.ByNode, 14, false, 78, func(_ *model, r *history.TaskRow) string {
		if r.More > 0 {
			return fmt.Sprintf("%s +%d", r.Node, r.More)
		}
		return r.Node
	}},
	{"tenant", history.ByTenant, 10, false, 68, func(_ *model, r *history.TaskRow) string { return r.Tenant }},
	{"job", history.ByJob, 16, false, 96, func(_ *model, r *history.TaskRow) string { return r.Job }},
	{"submit", history.BySubmit, 14, true, 114, func(m *model, r *history.TaskRow) string { return m.cur().instant(r.Submit) }},
	{"tries", history.ByAttempts, 5, true, 120, func(_ *model, r *history.TaskRow) string { return count(int(r.Attempts)) }},
	{"estimate", history.NumColumns, 8, true, 130, func(_ *model, r *history.TaskRow) string { return span(r.Estimate) }},
	{"kind", history.NumColumns, 12, false, 150, func(_ *model, r *history.TaskRow) string { return r.Kind }},
	{"queue", history.NumColumns, 10, false, 165, func(_ *model, r *history.TaskRow) string { return r.Queue }},
}

// columnsFor returns the columns that fit, the first one taking what is left.
func columnsFor(w int) []taskColumn {
	var cs []taskColumn
	left := w - 4
	for _, c := range taskColumns {
		if w >= c.need {
			cs = append(cs, c)
			left -= c.width + 1
		}
	}
	cs[0].width = min(cs[0].width+max(left, -8), 48)
	return cs
}

func (m *model) drawTasks(a area, s *side, i int) {
	p := &s.frame.List
	submitted := count(int(s.frame.Counts.Submitted()))
	title := fmt.Sprintf("%s of %s tasks submitted", submitted, count(s.frame.Tasks))
	if m.filters[0] != "" {
		title = fmt.Sprintf("%s of %s submitted  filter: %s", count(p.Total), submitted, m.filters[0])
	}
	if len(s.marked) > 0 {
		title += fmt.Sprintf("  %d marked", len(s.marked))
	}
	st := style{fg: faint}
	if p.Err != "" {
		title, st = p.Err, style{fg: colFailed, bold: true}
	}
	a.fit(1, 0, a.w-2, st, title)
	cs := columnsFor(a.w)
	x := 3
	for _, c := range cs {
		h, st := c.name, style{bold: true}
		if c.sort == m.sortBy {
			dir := m.theme.glyph("▲", "^")
			if m.desc {
				dir = m.theme.glyph("▼", "v")
			}
			h, st = fitText(c.name, min(width(c.name), c.width-1), false)+dir, style{bold: true, fg: accent}
		}
		a.text(x, 1, st, fitText(h, c.width, c.right))
		if c.sort < history.NumColumns {
			m.click(a, x, 1, c.width, 1, func(m *model, _, _ int) { m.sortOn(c.sort) })
		}
		x += c.width + 1
	}
	for k := range p.Rows {
		y := k + 2
		if y >= a.h {
			break
		}
		r := &p.Rows[k]
		m.drawTaskRow(a, y, cs, r)
		if s.marked[r.ID] {
			a.text(1, y, style{fg: accent, bold: true}, m.theme.glyph("◆", "*"))
		}
		row := p.From + k
		if row == s.cursor[viewTasks] && i == m.focus {
			m.selectLine(a, y)
		}
		m.click(a, 0, y, a.w, 1, func(m *model, _, _ int) { m.focus = i; m.choose(viewTasks, row) })
	}
	if len(p.Rows) == 0 && p.Err == "" {
		m.empty(a, "no task matches, or none is submitted yet")
	}
}

func (m *model) drawTaskRow(a area, y int, cs []taskColumn, r *history.TaskRow) {
	l := lookOf(r.State, r.Evicted)
	x := 3
	for k, c := range cs {
		st := style{}
		switch {
		case c.sort == history.ByState:
			st = style{fg: l.col, bold: r.State != sched.Done}
		case k > 0 && r.State.Over():
			st.fg = faint
		}
		a.text(x, y, st, fitText(c.text(m, r), c.width, c.right))
		x += c.width + 1
	}
}

// sortOn sorts by a column, and turns the order round if it is already the one.
func (m *model) sortOn(c history.Column) {
	if m.sortBy == c {
		m.desc = !m.desc
	} else {
		m.sortBy = c
		m.desc = c == history.ByWait || c == history.ByRun || c == history.ByGPUs || c == history.ByAttempts
	}
	m.reorder()
}

// nextSort moves the order to the column beside the present one.
func (m *model) nextSort(step int) {
	var cs []taskColumn
	at := 0
	for _, c := range taskColumns {
		if c.sort < history.NumColumns {
			if c.sort == m.sortBy {
				at = len(cs)
			}
			cs = append(cs, c)
		}
	}
	m.sortBy, m.desc = cs[(at+step+len(cs))%len(cs)].sort, false
	m.reorder()
}

// reorder asks for a new order at once, from its beginning.
func (m *model) reorder() {
	for i := range m.sides {
		s := &m.sides[i]
		s.cursor[viewTasks], s.offset[viewTasks] = 0, 0
		s.pinned, s.moved = sched.Nobody, false
	}
	m.asked, m.stale = m.asked.Add(-orderEvery), true
}
