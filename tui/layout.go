package tui

import (
	"maps"
	"slices"

	"github.com/schedlab/schedlab/tui/history"
)

// The screen: a header, the tabs, the body, the line of time, a line for what is typed and said.
const (
	minWidth, minHeight = 60, 15
	bodyTop             = 2
	bodyLess            = 4 // lines that are not body
)

// pane is where one side is drawn.
type pane struct {
	side       int
	x, y, w, h int
}

// splitAt is the width from which two sources stand side by side.
const splitAt = 120

// panes returns where the sides are drawn in the present view.
func (m *model) panes() []pane {
	h := max(m.h-bodyLess, 0)
	if len(m.sides) > 1 && m.w >= splitAt && m.view != viewCompare && m.view != viewText {
		left := (m.w - 1) / 2
		return []pane{{0, 0, bodyTop + 1, left, h - 1}, {1, left + 1, bodyTop + 1, left, h - 1}} // below their names
	}
	return []pane{{m.focus, 0, bodyTop, m.w, h}}
}

// rows returns how many lines of a pane are the rows of the view's list.
func (m *model) rows(v viewID, h int) int {
	switch v {
	case viewCluster:
		return max(h-1-panelHeight(h), 1)
	case viewTasks, viewGantt, viewDAG:
		return max(h-2, 1)
	case viewEvents:
		return max(h-1, 1)
	}
	return max(h, 1)
}

// panelHeight is how many lines the selected node's GPUs take below the list of nodes.
func panelHeight(h int) int {
	switch {
	case h < 18:
		return 0
	case h < 22:
		return 7
	}
	return min(max(h/3, 9), 11) // eight GPUs below each other
}

// heatMap reports whether the cluster is shown as one: as chosen, or where the nodes would not fit several screens.
func (m *model) heatMap(s *side) bool {
	return m.heat > 0 || m.heat == 0 && s.frame.NumNodes > 200
}

// heatCells returns how wide a cell of the heat map is, and how many stand in a line.
func heatCells(w, h, nodes int) (wide, per int) {
	for _, wide = range []int{8, 4, 2, 1} {
		per = max(w/wide, 1)
		if per*h >= nodes*2 || wide == 2 && per*h >= nodes {
			break
		}
	}
	return wide, per
}

// laneRows reports whether the Gantt chart has a row for each GPU: as chosen, or where there are not too many.
func (m *model) laneRows(s *side) bool {
	return m.lanes > 0 || m.lanes == 0 && s.frame.NumNodes <= 64
}

// nameWidth is what the names at the left of a Gantt chart take.
func nameWidth(w int) int { return min(max(w/8, 12), 22) }

// relativesShown is how many predecessors and successors the details list.
const relativesShown = 12

// chartWidth is what the curves of the overview take in a pane.
func chartWidth(w int) int { return max(w-chartLabel-chartValue, 8) }

const (
	chartLabel = 11
	chartValue = 12
)

// query asks for what side i shows.
func (m *model) query(i int) history.Query {
	s := &m.sides[i]
	q := history.Query{At: m.clock.at, Latest: m.clock.follow}
	var p *pane
	for _, x := range m.panes() {
		if x.side == i {
			p = &x
		}
	}
	from, to := m.window()
	if m.view == viewCompare {
		q.Waits = true
		q.Curves = &history.CurvesQuery{From: from, To: to, Buckets: max(m.w-chartLabel, 16)}
		return q
	}
	if p == nil {
		return q
	}
	s.follow(m.view, m.rows(m.view, p.h))
	n := m.rows(m.view, p.h)
	switch m.view {
	case viewOverview:
		q.Curves = &history.CurvesQuery{From: from, To: to, Buckets: chartWidth(p.w)}
		q.Groups = 16
	case viewCluster:
		q.Nodes = &history.NodesQuery{From: s.offset[viewCluster], Rows: n, Heat: m.heatMap(s)}
		if m.heatMap(s) {
			q.Nodes.From, q.Nodes.Rows = s.cursor[viewCluster], 1
		}
	case viewTasks:
		q.Tasks = &history.TasksQuery{Sort: m.sortBy, Desc: m.desc, Filter: m.filters[0], From: s.offset[viewTasks], Rows: n, Find: s.pinned}
	case viewDetail:
		q.Task = &history.TaskQuery{Task: s.task, Relatives: relativesShown, Causes: true}
	case viewGantt:
		q.Gantt = &history.GanttQuery{From: from, To: to, Cols: max(p.w-nameWidth(p.w)-1, 1), Row: s.offset[viewGantt], Rows: n, Lanes: m.laneRows(s)}
	case viewDAG:
		q.DAG = &history.DAGQuery{Task: s.task, From: s.offset[viewDAG], Rows: n, Folded: s.folded, Unlike: slices.Sorted(maps.Keys(s.unlike))}
	case viewEvents:
		q.Events = &history.EventsQuery{Filter: m.filters[1], Skip: s.offset[viewEvents], Rows: n}
	}
	return q
}

// follow moves the list so that the cursor is on the screen. The events count from their end, and have no cursor outside of the screen.
func (s *side) follow(v viewID, rows int) {
	switch v {
	case viewEvents:
		s.cursor[v] = max(min(s.cursor[v], rows-1), 0)
	case viewCluster, viewTasks, viewGantt, viewDAG:
		s.offset[v] = max(min(s.offset[v], s.cursor[v]), s.cursor[v]-rows+1, 0)
	}
}
