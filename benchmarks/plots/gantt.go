package plots

import (
	"cmp"
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Span is a time that a task held a row (a node, or a GPU).
type Span struct {
	Row      int     // index into Gantt.Rows
	From, To float64 // s
	Group    int     // index into Gantt.Groups
}

// Gantt is who held what when.
type Gantt struct {
	Rows   []string // nodes or GPUs, from the top
	Groups []string // jobs or tenants
	What   string   // what the groups are: "tenant" or "job"
	Spans  []Span
}

// A picture of a large run is thinned: what cannot be seen is not drawn, so that files stay small.
const (
	ganttRows  = 50  // rows drawn; of more, every so-manieth is shown
	ganttExact = 150 // spans of a row that are drawn one by one; more are drawn as the most present group a column
	ganttCols  = 500 // columns then
	ganttLanes = 16  // spans beside each other in a row (a node that several tasks share)
)

// Figure draws the chart. The groups that hold most have colours of their own, the others are gray. What was thinned out is said below.
func (g *Gantt) Figure(title string) (*Figure, error) {
	if len(g.Spans) == 0 || len(g.Rows) == 0 {
		return nil, ErrNoData
	}
	held := make([]float64, len(g.Groups))
	x0, x1 := g.Spans[0].From, g.Spans[0].To
	for i, s := range g.Spans {
		if s.Row < 0 || s.Row >= len(g.Rows) || s.Group < 0 || s.Group >= len(g.Groups) || !finite(s.From) || !finite(s.To) || s.To < s.From {
			return nil, fmt.Errorf("span %d of the Gantt chart is not in its rows, groups or time: %+v", i, s)
		}
		held[s.Group] += s.To - s.From
		x0, x1 = min(x0, s.From), max(x1, s.To)
	}
	if x1 == x0 {
		x1 = x0 + 1
	}
	unit, name := timeUnit(x1 - x0)
	p := newPlot(title, "time ("+name+")", "")
	p.X.Min, p.X.Max = x0/unit, x1/unit
	p.X.Tick.Marker = linear(9, 1, "")

	shown := min(len(g.Rows), ganttRows)
	rowAt := make([]int, len(g.Rows)) // the line that a row is drawn in, -1 if not
	for i := range rowAt {
		rowAt[i] = -1
	}
	var ticks plot.ConstantTicks
	every := 1 + (shown-1)/28 // labels that do not overlap
	for k := range shown {
		row := k * len(g.Rows) / shown
		rowAt[row] = k
		if k%every == 0 {
			ticks = append(ticks, plot.Tick{Value: -float64(k), Label: elide(p.Y.Tick.Label, g.Rows[row], 130)})
		}
	}
	p.Y.Min, p.Y.Max = -float64(shown)+0.45, 0.55
	p.Y.Tick.Marker = ticks
	p.Y.Tick.Length = 0
	p.Y.Tick.Label.Font.Size = 9

	colour := make([]color.Color, len(g.Groups))
	f := &Figure{plot: p}
	order := make([]int, len(g.Groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(held[b], held[a]) })
	own := len(palette)
	if len(order) > own {
		own--
	}
	for k, i := range order {
		if held[i] == 0 && k > 0 {
			break
		}
		if k < own {
			colour[i] = palette[k]
			label := g.Groups[i]
			if label == "" {
				label = "(no " + g.What + ")"
			}
			f.legend = append(f.legend, legendEntry{name: label, fill: colour[i]})
		} else if k == own {
			f.legend = append(f.legend, legendEntry{name: fmt.Sprintf("%d other %ss", len(order)-own, g.What), fill: other})
		}
	}
	for i := range colour {
		if colour[i] == nil {
			colour[i] = other
		}
	}
	byRow := make([][]Span, shown)
	for _, s := range g.Spans {
		if at := rowAt[s.Row]; at >= 0 {
			s.From, s.To = s.From/unit, s.To/unit
			byRow[at] = append(byRow[at], s)
		}
	}
	coarse := false
	for _, spans := range byRow {
		coarse = coarse || len(spans) > ganttExact
		slices.SortFunc(spans, func(a, b Span) int {
			return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Group, b.Group))
		})
	}
	p.Add(grid{x: true}, &ganttRowsPlotter{byRow, colour})
	if shown < len(g.Rows) {
		f.note = fmt.Sprintf("%d of %d rows shown", shown, len(g.Rows))
	}
	if coarse {
		if f.note != "" {
			f.note += "; "
		}
		f.note += fmt.Sprintf("crowded rows show the %s that holds most at each moment", g.What)
	}
	return f, nil
}

type ganttRowsPlotter struct {
	rows   [][]Span
	colour []color.Color
}

func (g *ganttRowsPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	unit := ty(1) - ty(0)
	half := unit * 0.42
	if unit < 8 {
		half = unit * 0.46
	}
	// The row's ground shows where nothing runs.
	for i := range g.rows {
		y := ty(-float64(i))
		c.SetColor(color.NRGBA{0xF4, 0xF4, 0xF4, 255})
		c.Fill(vg.Rectangle{Min: vg.Point{X: c.Min.X, Y: y - half}, Max: vg.Point{X: c.Max.X, Y: y + half}}.Path())
	}
	box := func(group int, x0, x1, y0, y1 vg.Length) {
		x1 = max(x1, x0+0.3) // the shortest task leaves a hair
		r := vg.Rectangle{Min: vg.Point{X: x0, Y: y0}, Max: vg.Point{X: x1, Y: y1}}
		c.SetColor(g.colour[group])
		c.Fill(r.Path())
		if x1-x0 > 3 { // so that neighbours of one colour can be told apart
			c.StrokeLine2(draw.LineStyle{Color: color.White, Width: 0.5}, x1, y0, x1, y1)
		}
	}
	for i, spans := range g.rows {
		y := ty(-float64(i))
		if len(spans) > ganttExact {
			x0, wide := p.X.Min, (p.X.Max-p.X.Min)/ganttCols
			for from, group := range columns(spans, x0, wide) {
				box(group.group, tx(x0+wide*float64(from)), tx(x0+wide*float64(group.to)), y-half, y+half)
			}
			continue
		}
		lanes, n := stack(spans)
		high := 2 * half / vg.Length(n)
		for k, s := range spans {
			top := y + half - high*vg.Length(lanes[k])
			box(s.Group, tx(s.From), tx(s.To), top-high, top)
		}
	}
}

// stack gives each span (by From) the first lane that is free, so that spans that overlap lie below each other.
func stack(spans []Span) (lane []int, n int) {
	var free []float64
	lane = make([]int, len(spans))
	n = 1
	for i, s := range spans {
		at := slices.IndexFunc(free, func(until float64) bool { return until <= s.From })
		if at < 0 {
			if len(free) < ganttLanes {
				free = append(free, 0)
			}
			at = len(free) - 1
		}
		free[at] = s.To
		lane[i] = at
		n = max(n, at+1)
	}
	return lane, n
}

type run struct{ to, group int }

// columns yields runs of columns with the group that holds most in each of them; a column that is free for more than half is left out.
func columns(spans []Span, x0, wide float64) func(yield func(int, run) bool) {
	type part struct {
		group int
		share float64
	}
	held := make([][]part, ganttCols)
	for _, s := range spans {
		first := max(0, int((s.From-x0)/wide))
		for k := first; k < ganttCols; k++ {
			lo, hi := max(s.From, x0+wide*float64(k)), min(s.To, x0+wide*float64(k+1))
			if hi <= lo && k > first {
				break
			}
			i := slices.IndexFunc(held[k], func(p part) bool { return p.group == s.Group })
			if i < 0 {
				i = len(held[k])
				held[k] = append(held[k], part{group: s.Group})
			}
			held[k][i].share += max(0, hi-lo) / wide
		}
	}
	group := make([]int, ganttCols)
	for k := range held {
		group[k] = -1
		total, most := 0.0, 0.0
		for _, p := range held[k] {
			total += p.share
			if p.share > most {
				most, group[k] = p.share, p.group
			}
		}
		if total < 0.5 {
			group[k] = -1
		}
	}
	return func(yield func(int, run) bool) {
		for k := 0; k < ganttCols; {
			to := k + 1
			for to < ganttCols && group[to] == group[k] {
				to++
			}
			if group[k] >= 0 && !yield(k, run{to, group[k]}) {
				return
			}
			k = to
		}
	}
}
