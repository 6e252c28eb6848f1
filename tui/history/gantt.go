package history

import (
	"math"
	"sort"

	"github.com/schedlab/schedlab/policies/sched"
)

// rowsOf returns how many rows a node takes in a Gantt chart: one; or one a GPU and one for all that takes none; or, without GPUs that are told
// apart, one a lane.
func (n *node) rowsOf(lanes bool) int {
	switch d := int(n.devices()); {
	case !lanes:
		return 1
	case d > 0:
		return d + int(min(n.lanes, 1))
	}
	return max(int(n.lanes), 1)
}

func (n *node) devices() int32 {
	if n.spec.GPUs > sched.MaxDevices {
		return 0
	}
	return n.spec.GPUs
}

func (r *Record) gantt(q *GanttQuery, at sched.Time) GanttPage {
	total := 0
	for i := range r.nodes {
		total += r.nodes[i].rowsOf(q.Lanes)
	}
	p := GanttPage{Total: total, Row: max(min(q.Row, total-q.Rows), 0)}
	if q.To <= q.From || q.Cols <= 0 {
		return p
	}
	grid := &ganttGrid{GanttQuery: q, edge: make([]sched.Time, q.Cols+1)}
	for c := range grid.edge {
		grid.edge[c] = q.From + sched.Time(float64(q.To-q.From)*float64(c)/float64(q.Cols))
	}
	row := 0
	for i := range r.nodes {
		n := &r.nodes[i]
		k := n.rowsOf(q.Lanes)
		if row+k > p.Row && row < p.Row+q.Rows {
			r.nodeLanes(&p, grid, sched.NodeID(i), row, at)
		}
		row += k
	}
	p.Names = map[sched.TaskID]string{}
	for i := range p.Rows {
		r.nameBars(&p, p.Rows[i].Cells)
	}
	return p
}

func (r *Record) nameBars(p *GanttPage, cells []Cell) {
	for x := 0; x < len(cells); {
		from, t := x, cells[x].Task
		for x < len(cells) && cells[x].Task == t {
			x++
		}
		if t != sched.Nobody && x-from >= NameFrom && p.Names[t] == "" {
			p.Names[t] = r.name(t)
		}
	}
}

// canvas is one row while it is drawn.
type canvas struct {
	cells []Cell
	best  []float64 // what the cell's owner covers
	sum   []float64 // what all cover
}

func (r *Record) nodeLanes(p *GanttPage, q *ganttGrid, id sched.NodeID, row int, at sched.Time) {
	n := &r.nodes[id]
	first, k := max(p.Row-row, 0), n.rowsOf(q.Lanes)
	k = min(k, p.Row+q.Rows-row) - first
	rows := make([]canvas, k)
	for i := range rows {
		rows[i] = canvas{make([]Cell, q.Cols), make([]float64, q.Cols), make([]float64, q.Cols)}
		for c := range rows[i].cells {
			rows[i].cells[c].Task = sched.Nobody
		}
	}
	draw := func(lane int, pl *place, share float64) {
		if lane -= first; lane >= 0 && lane < k {
			r.paint(&rows[lane], q, pl, share, at)
		}
	}
	r.overlapping(n, q.From, min(q.To, at+1), func(pl *place) {
		need := &r.tb.DemandOf(r.atts.at(pl.att).task).Need
		switch {
		case !q.Lanes:
			draw(0, pl, n.share(need, pl.replicas))
		case pl.lane >= 0 && n.devices() > 0:
			draw(int(n.devices()), pl, n.cpuShare(need, pl.replicas))
		case pl.lane >= 0:
			draw(int(pl.lane), pl, 1)
		default:
			share := 1.0
			if need.GPUMilli < sched.Whole {
				share = float64(need.GPUMilli) / sched.Whole
			}
			for g := uint64(pl.gpus); g != 0; g &= g - 1 {
				draw(trailing(g), pl, share)
			}
		}
	})
	for i := range rows {
		g := GanttRow{Node: id, Name: n.spec.Name, Lane: int32(first + i), First: first+i == 0, Cells: rows[i].cells}
		g.GPU = q.Lanes && g.Lane < n.devices()
		switch {
		case !q.Lanes:
			g.Lane = -1
		case !g.GPU:
			g.Lane -= n.devices()
		}
		for c := range g.Cells {
			g.Cells[c].Fill = uint8(min(math.Round(rows[i].sum[c]*100), 100))
			if q.edge[c] > at {
				g.Cells[c].State = CellFuture
			}
		}
		p.Rows = append(p.Rows, g)
	}
}

// share returns what part of a node the replicas take: of its GPUs, or of its CPUs where it has none.
func (n *node) share(need *sched.Need, replicas int32) float64 {
	switch {
	case n.spec.GPUs > 0:
		return float64(int64(replicas)*int64(need.GPUs)*int64(need.GPUMilli)) / float64(int64(n.spec.GPUs)*sched.Whole)
	}
	return n.cpuShare(need, replicas)
}

func (n *node) cpuShare(need *sched.Need, replicas int32) float64 {
	if n.spec.CPU < sched.Unlimited && n.spec.CPU > 0 {
		return float64(int64(replicas)*need.CPU) / float64(n.spec.CPU)
	}
	return 1
}

// ganttGrid is a query with the times of its columns' edges.
type ganttGrid struct {
	*GanttQuery
	edge []sched.Time
}

// overlapping calls f for the places of a node that stood at some time in [from, to), by their start.
func (r *Record) overlapping(n *node, from, to sched.Time, f func(*place)) {
	end := sort.Search(len(n.taken), func(i int) bool { return r.atts.at(r.places.at(n.taken[i]).att).start >= to })
	for b := 0; b*blockOf < end; b++ {
		if n.latest[b] <= from {
			continue
		}
		for _, p := range n.taken[b*blockOf : min((b+1)*blockOf, end)] {
			if pl := r.places.at(p); pl.end > from {
				f(pl)
			}
		}
	}
}

func (r *Record) paint(v *canvas, q *ganttGrid, pl *place, share float64, at sched.Time) {
	a := r.atts.at(pl.att)
	end := min(pl.end, at)
	w := float64(q.To-q.From) / float64(q.Cols)
	c := max(int(float64(a.start-q.From)/w), 0)
	for ; c < q.Cols; c++ {
		from, to := q.edge[c], q.edge[c+1]
		if from >= end {
			break
		}
		part := float64(min(end, to)-max(a.start, from)) / max(float64(min(to, at)-from), 1) // what is to come does not count
		if part <= 0 {
			continue
		}
		v.sum[c] += part * share
		if x := part * share; x > v.best[c] {
			v.best[c] = x
			v.cells[c] = Cell{Task: a.task, Attempt: a.no, Job: int32(r.tb.Tasks[a.task].Job), Tenant: int32(r.tb.ClassOf(a.task).Tenant), State: cellState(a, pl, at)}
		}
	}
}

func cellState(a *attempt, pl *place, at sched.Time) CellState {
	switch {
	case pl.end > at:
		return CellRunning
	case a.outcome == finished:
		return CellDone
	case a.outcome == stopped:
		return CellPreempted
	case a.outcome == runs:
		return CellRunning
	}
	return CellFailed
}
