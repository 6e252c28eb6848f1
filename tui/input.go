package tui

import (
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// onKeys takes what was typed. Characters that come fast, as from a key that is held down, come together.
func (m model) onKeys(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if k.Type != tea.KeyRunes || len(k.Runes) < 2 || k.Paste || m.prompt != noPrompt {
		return m.onKey(k)
	}
	var cmds []tea.Cmd
	for i, r := range k.Runes {
		next, cmd := m.onKey(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: k.Alt})
		m = next.(model)
		cmds = append(cmds, cmd)
		if m.prompt != noPrompt && i+1 < len(k.Runes) { // what follows was typed into it
			next, cmd = m.onKey(tea.KeyMsg{Type: tea.KeyRunes, Runes: k.Runes[i+1:]})
			m, cmds = next.(model), append(cmds, cmd)
			break
		}
	}
	return m, tea.Batch(cmds...)
}

func (m model) onKey(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	name := k.String()
	if name == "ctrl+c" {
		return m, tea.Quit
	}
	m.message = ""
	switch {
	case m.asking != nil:
		return m.onAnswer(name)
	case m.prompt != noPrompt:
		return m.onPrompt(k)
	case m.helping:
		m.onHelpKey(name)
		return m, nil
	}
	b := keyActions[name]
	if b == nil {
		return m, nil
	}
	return m.do(b)
}

func (m *model) onHelpKey(name string) {
	switch b := keyActions[name]; {
	case b == nil:
	case b.does == down:
		m.helpTop++
	case b.does == up:
		m.helpTop = max(m.helpTop-1, 0)
	case b.does == pageDown:
		m.helpTop += 10
	case b.does == pageUp:
		m.helpTop = max(m.helpTop-10, 0)
	default:
		m.helping, m.helpTop = false, 0
	}
}

func (m model) do(b *binding) (tea.Model, tea.Cmd) {
	m.stale = true
	switch b.does {
	case quit:
		return m, tea.Quit
	case back:
		m.goBack()
	case help:
		m.helping = true
	case nextView, prevView:
		if b.does == nextView && len(m.sides) > 1 && m.view != viewCompare { // where there are two to look at, it is between them
			m.focus = (m.focus + 1) % len(m.sides)
			break
		}
		step := viewID(1)
		if b.does == prevView {
			step = numTabs - 1
		}
		v := m.view
		if v >= numTabs {
			v = viewOverview
		}
		m.open((v + step) % numTabs)
	case view1, view2, view3, view4, view5, view6, view7:
		m.open(viewID(b.does - view1))
	case otherSide:
		m.focus = (m.focus + 1) % len(m.sides)
	case up, down, top, bottom, pageUp, pageDown:
		m.move(b.does)
	case left, right:
		if m.view == viewDAG {
			m.climb(b.does == right)
		} else {
			m.pan(b.does == right)
		}
	case fold:
		m.fold()
	case foldAll:
		m.foldAll()
	case enter:
		m.details()
	case mark:
		m.mark()
	case filter:
		m.startPrompt(promptFilter, m.filters[m.filterOf()])
	case command:
		m.startPrompt(promptCommand, "")
	case goTo:
		m.startPrompt(promptTime, "")
	case sortNext:
		m.nextSort(1)
	case sortPrev:
		m.nextSort(-1)
	case reverse:
		m.desc = !m.desc
		m.reorder()
	case toggle:
		m.toggle()
	case colours:
		m.paint = (m.paint + 1) % 3
	case tree:
		if r, ok := m.selected(); ok {
			m.showDAG(r.ID)
		} else {
			m.open(viewDAG)
		}
	case logs:
		return m, m.showLogs()
	case explain:
		return m, m.showExplanation()
	case hold, release, preempt, cancel:
		m.askFor(map[action]ActionKind{hold: Hold, release: Release, preempt: Preempt, cancel: Cancel}[b.does])
	case save:
		return m, m.save()
	default:
		m.time(b.does)
	}
	return m, nil
}

// time handles the keys that move the clock and the window.
func (m *model) time(a action) {
	from, end := m.ends()
	w := m.windowLength()
	switch a {
	case pause:
		switch {
		case m.clock.follow:
			m.clock.follow, m.clock.paused = false, true
		case m.clock.paused && m.clock.at >= end && m.closed():
			m.clock.at, m.clock.paused = from, false // from the beginning again
		default:
			m.clock.paused = !m.clock.paused
		}
	case stepBack:
		m.moveTo(m.clock.at - w/200)
	case stepOn:
		m.moveTo(m.clock.at + w/200)
	case jumpBack:
		m.moveTo(m.clock.at - w/10)
	case jumpOn:
		m.moveTo(m.clock.at + w/10)
	case slower, faster:
		m.clock.faster(a == faster)
		m.tempo = true
	case zoomIn:
		m.zoom = max(m.zoom/2, 1e-7)
	case zoomOut:
		m.zoom = min(m.zoom*2, 1)
	case zoomAll:
		m.zoom, m.panned = 1, false
	case toLive:
		m.clock.follow, m.clock.paused, m.panned = true, false, false
		m.clock.at = end
	}
	if m.zoom == 1 {
		m.panned = false
	}
}

func (m *model) windowLength() sched.Time {
	from, to := m.window()
	return to - from
}

// moveTo sets the clock, and stops it there.
func (m *model) moveTo(t sched.Time) {
	from, end := m.ends()
	m.clock.at = min(max(t, from), end)
	m.clock.follow, m.clock.paused = false, true
	m.stale = true
}

// pan moves the window of curves and Gantt chart by a quarter.
func (m *model) pan(right bool) {
	if m.zoom >= 1 {
		m.say("all of the run is shown: zoom in with + first", false)
		return
	}
	from, to := m.window()
	d := (to - from) / 4
	if !right {
		d = -d
	}
	m.middle, m.panned = from+(to-from)/2+d, true
	a, b := m.ends()
	m.middle = min(max(m.middle, a+(to-from)/2), b-(to-from)/2)
}

// open shows one of the tabs.
func (m *model) open(v viewID) {
	if v == viewDAG && m.cur().task == sched.Nobody {
		if r, ok := m.selected(); ok {
			m.seekDAG(r.ID)
		} else {
			m.seekDAG(0) // the first one there is
		}
	}
	m.go_(v)
}

func (m *model) showDAG(t sched.TaskID) {
	m.seekDAG(t)
	m.go_(viewDAG)
}

// seekDAG moves the cursor of the DAG to a task, or to the branch that it is folded into, as soon as it is known where that is.
func (m *model) seekDAG(t sched.TaskID) {
	m.about(t)
	for i := range m.sides {
		s := &m.sides[i]
		s.seek, s.sought = true, false
	}
}

// about sets the task that details and DAG are about, on both sides: two policies run one workload.
func (m *model) about(t sched.TaskID) {
	for i := range m.sides {
		s := &m.sides[i]
		s.task, s.cursor[viewDetail], s.offset[viewDetail] = t, 0, 0
	}
	m.stale = true
}

// dagRow is the row of the DAG that the cursor is on; nil if there is none.
func (m *model) dagRow() *history.DAGRow {
	s := m.cur()
	p := &s.frame.DAG
	if i := s.cursor[viewDAG] - p.From; m.view == viewDAG && i >= 0 && i < len(p.Rows) {
		return &p.Rows[i]
	}
	return nil
}

// fold folds the chosen branch of the DAG, or unfolds it.
func (m *model) fold() {
	r := m.dagRow()
	switch {
	case m.view != viewDAG:
		m.say("branches are folded in the DAG: press t on a task", false)
	case r == nil:
	case r.Below == 0:
		m.say("nothing stands below "+taskName(r.Task), false)
	default:
		m.turn(r.Task.ID)
	}
}

// turn folds or unfolds the branch of a task.
func (m *model) turn(t sched.TaskID) {
	s := m.cur()
	if s.unlike[t] {
		delete(s.unlike, t)
	} else {
		s.unlike[t] = true
	}
	m.stale = true
}

// foldAll folds all branches of the DAG, or unfolds them if they are.
func (m *model) foldAll() {
	if m.view != viewDAG {
		m.fold() // says where
		return
	}
	s := m.cur()
	s.folded = !s.folded
	clear(s.unlike)
	if r := m.dagRow(); r != nil {
		m.seekDAG(r.Task.ID)
	}
}

// climb does what left and right do in trees: left folds the branch and then goes to the one above, right unfolds it and then goes into it.
func (m *model) climb(right bool) {
	r := m.dagRow()
	switch {
	case r == nil:
	case right && r.Folded || !right && r.Below > 0 && !r.Folded:
		m.turn(r.Task.ID)
	case right && r.Below > 0:
		m.move(down)
	case !right && r.Parent != sched.Nobody:
		m.seekDAG(r.Parent)
	}
}

// total is how many rows the view's list has.
func (s *side) total(v viewID) int {
	f := &s.frame
	switch v {
	case viewCluster:
		return f.Nodes.Total
	case viewTasks:
		return f.List.Total
	case viewGantt:
		return f.Gantt.Total
	case viewDAG:
		return f.DAG.Total
	case viewDetail:
		if f.Task != nil {
			return len(f.Task.Preds) + len(f.Task.Succs) + 1
		}
	}
	return 0
}

// move moves the cursor of the view's list.
func (m *model) move(a action) {
	s, v := m.cur(), m.view
	n := m.rows(v, m.panes()[0].h)
	step := map[action]int{up: -1, down: 1, pageUp: -max(n/2, 1), pageDown: max(n/2, 1), top: -1 << 30, bottom: 1 << 30}[a]
	switch v {
	case viewEvents:
		m.moveEvents(a, step, n)
		return
	case viewText:
		s.offset[v] = max(min(s.offset[v]+step, len(m.lines())-n+1), 0)
		return
	case viewDetail:
		if a == pageUp || a == pageDown || s.total(v) < 2 { // nothing to choose: it scrolls
			s.cursor[v] = 0
			s.offset[v] = max(s.offset[v]+step, 0)
			return
		}
	case viewCluster:
		if m.heatMap(s) && (a == up || a == down) {
			step *= m.heatWidth(s)
		}
	}
	s.cursor[v] = max(min(s.cursor[v]+step, s.total(v)-1), 0)
	s.moved = s.moved || v == viewTasks
	m.together(v)
	if v == viewDetail && s.cursor[v] == 0 && a != down {
		s.offset[v] = 0
	}
}

// together keeps two policies on the same node: they have one cluster.
func (m *model) together(v viewID) {
	if v != viewCluster {
		return
	}
	for i := range m.sides {
		if s := &m.sides[i]; s.frame.NumNodes == m.cur().frame.NumNodes {
			s.cursor[v] = m.cur().cursor[v]
		}
	}
}

// heatWidth is how many nodes stand in a line of the heat map.
func (m *model) heatWidth(s *side) int {
	p := m.panes()[0]
	_, per := heatCells(p.w, p.h-4, s.frame.NumNodes)
	return per
}

// moveEvents moves the cursor, and past the edges of the screen the list, which counts from its newest.
func (m *model) moveEvents(a action, step, rows int) {
	s := m.cur()
	shown := len(s.frame.Events.Rows)
	switch a {
	case bottom:
		s.offset[viewEvents], s.cursor[viewEvents] = 0, max(shown-1, 0)
		return
	case top:
		s.cursor[viewEvents], s.offset[viewEvents] = 0, s.offset[viewEvents]+max(rows, 1)*100
		return
	}
	c := s.cursor[viewEvents] + step
	switch {
	case c < 0:
		s.offset[viewEvents] -= c
		c = 0
	case c >= shown:
		s.offset[viewEvents] = max(s.offset[viewEvents]-(c-shown+1), 0)
		c = max(shown-1, 0)
	}
	s.cursor[viewEvents] = c
}

// choose puts the cursor on a row, and opens it if it was there already.
func (m *model) choose(v viewID, row int) {
	s := m.cur()
	was := s.cursor[v]
	s.cursor[v] = max(row, 0)
	s.moved = s.moved || v == viewTasks
	m.together(v)
	m.stale = true
	if was == row && m.ticked.Sub(m.clicked) < 500*time.Millisecond {
		m.details()
	}
	m.clicked = m.ticked
}

// details opens what the cursor is on.
func (m *model) details() {
	s := m.cur()
	switch m.view {
	case viewOverview, viewCompare, viewText:
		return
	case viewCluster:
		if i := s.cursor[viewCluster] - s.frame.Nodes.From; i >= 0 && i < len(s.frame.Nodes.Rows) {
			m.filters[0], m.lent = "node="+s.frame.Nodes.Rows[i].Name+" state:running", true
			m.reorder()
			m.go_(viewTasks)
		}
		return
	case viewDetail:
		if s.cursor[viewDetail] == 0 {
			return
		}
	}
	r, ok := m.selected()
	if !ok {
		return
	}
	m.about(r.ID)
	m.go_(viewDetail)
}

func (m *model) mark() {
	if m.view != viewTasks {
		return
	}
	s := m.cur()
	if r, ok := m.selected(); ok {
		if s.marked[r.ID] {
			delete(s.marked, r.ID)
		} else {
			s.marked[r.ID] = true
		}
		m.move(down)
	}
}

func (m *model) toggle() {
	s := m.cur()
	switch m.view {
	case viewCluster:
		m.heat = map[bool]int8{true: -1, false: 1}[m.heatMap(s)]
	case viewGantt:
		m.lanes = map[bool]int8{true: -1, false: 1}[m.laneRows(s)]
		for i := range m.sides {
			m.sides[i].cursor[viewGantt], m.sides[i].offset[viewGantt] = 0, 0
		}
	case viewCompare:
		m.curves = !m.curves
	}
}

// filterOf says which filter the view has: that of the events or that of the tasks.
func (m *model) filterOf() int {
	if m.view == viewEvents {
		return 1
	}
	return 0
}

func (m *model) setFilter(text string) {
	if _, err := history.ParseFilter(text); err != nil {
		m.say(err.Error(), true)
		return
	}
	i := m.filterOf()
	m.clearFilter()
	m.filters[i] = text
	if i == 0 {
		m.go_(viewTasks)
	}
}

// clearFilter shows all tasks, or events, again.
func (m *model) clearFilter() {
	i := m.filterOf()
	m.filters[i], m.stale = "", true
	if i == 0 {
		m.lent = false
		m.reorder()
		return
	}
	for k := range m.sides {
		m.sides[k].offset[viewEvents] = 0
	}
}
