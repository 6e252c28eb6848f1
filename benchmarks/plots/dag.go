package plots

import (
	"cmp"
	"errors"
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Node is one task of a job's graph.
type Node struct {
	Name, Kind string
	Seconds    float64 // run time, for the longest path
}

// dagNodes is the number of tasks that a picture of a graph shows at most.
const dagNodes = 1500

// DAG draws a job's graph from left to right: a task stands right of all its predecessors. Edges are [from, to]. The longest path in
// seconds is drawn bold; kinds have colours.
func DAG(title string, nodes []Node, edges [][2]int) (*Figure, error) {
	if len(nodes) == 0 {
		return nil, ErrNoData
	}
	succ, pred := make([][]int, len(nodes)), make([][]int, len(nodes))
	for _, e := range edges {
		if e[0] < 0 || e[1] < 0 || e[0] >= len(nodes) || e[1] >= len(nodes) {
			return nil, fmt.Errorf("edge %d -> %d of a graph with %d tasks", e[0], e[1], len(nodes))
		}
		succ[e[0]], pred[e[1]] = append(succ[e[0]], e[1]), append(pred[e[1]], e[0])
	}
	// Layers and longest paths in topological order.
	left := make([]int, len(nodes))
	var order []int
	for i := range nodes {
		if left[i] = len(pred[i]); left[i] == 0 {
			order = append(order, i)
		}
	}
	layer, length, via := make([]int, len(nodes)), make([]float64, len(nodes)), make([]int, len(nodes))
	for k := 0; k < len(order); k++ {
		i := order[k]
		via[i] = -1
		for _, p := range pred[i] {
			layer[i] = max(layer[i], layer[p]+1)
			if via[i] < 0 || length[p] > length[via[i]] {
				via[i] = p
			}
		}
		length[i] = nodes[i].Seconds
		if via[i] >= 0 {
			length[i] += length[via[i]]
		}
		for _, s := range succ[i] {
			if left[s]--; left[s] == 0 {
				order = append(order, s)
			}
		}
	}
	if len(order) < len(nodes) {
		return nil, errors.New("the graph has a cycle")
	}
	bold := map[[2]int]bool{}
	end := slices.MaxFunc(order, func(a, b int) int { return cmp.Compare(length[a], length[b]) })
	total := length[end]
	for i := end; via[i] >= 0; i = via[i] {
		bold[[2]int{via[i], i}] = true
	}

	g := &dagPlotter{nodes: nodes, x: make([]float64, len(nodes)), y: make([]float64, len(nodes)), bold: bold, edges: edges}
	g.shown = make([]bool, len(nodes))
	for _, i := range order[:min(len(order), dagNodes)] {
		g.shown[i] = true
	}
	g.place(order, layer, pred, succ)

	unit, name := timeUnit(total)
	p := newPlot(title, "", "")
	p.HideAxes()
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = -0.5, float64(g.layers)-0.5, -0.08, 1.08
	f := &Figure{plot: p}
	// Kinds by number of tasks.
	count := map[string]int{}
	var kinds []string
	for _, n := range nodes {
		if count[n.Kind]++; count[n.Kind] == 1 {
			kinds = append(kinds, n.Kind)
		}
	}
	slices.SortStableFunc(kinds, func(a, b string) int { return cmp.Compare(count[b], count[a]) })
	g.colour, g.glyph = map[string]color.Color{}, map[string]draw.GlyphDrawer{}
	own := len(palette)
	if len(kinds) > own {
		own--
	}
	for k, kind := range kinds {
		g.colour[kind], g.glyph[kind] = other, draw.CircleGlyph{}
		if k >= own {
			continue
		}
		g.colour[kind], g.glyph[kind] = palette[k], dagGlyphs[k%len(dagGlyphs)]
		if len(kinds) > 1 {
			label := kind
			if label == "" {
				label = "(no kind)"
			}
			f.legend = append(f.legend, legendEntry{
				name:  fmt.Sprintf("%s (%d)", label, count[kind]),
				glyph: &draw.GlyphStyle{Color: palette[k], Radius: 5, Shape: dagGlyphs[k%len(dagGlyphs)]},
			})
		}
	}
	if own < len(kinds) {
		f.legend = append(f.legend, legendEntry{name: fmt.Sprintf("%d other kinds", len(kinds)-own), glyph: &draw.GlyphStyle{Color: other, Radius: 5, Shape: draw.CircleGlyph{}}})
	}
	if len(bold) > 0 && total > 0 {
		f.legend = append(f.legend, legendEntry{name: fmt.Sprintf("longest path, %s %s", Number(total/unit), name), line: &boldStyle})
	}
	p.Add(g)
	if len(nodes) > dagNodes {
		f.note = fmt.Sprintf("the first %d of %d tasks", dagNodes, len(nodes))
	}
	return f, nil
}

var (
	boldStyle = draw.LineStyle{Color: color.Black, Width: 2}
	dagGlyphs = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}}
)

type dagPlotter struct {
	nodes  []Node
	edges  [][2]int
	shown  []bool
	x, y   []float64 // layer; 0..1 from the bottom
	layers int
	widest int
	bold   map[[2]int]bool
	colour map[string]color.Color
	glyph  map[string]draw.GlyphDrawer
}

// place orders each layer by the mean height of its neighbours in the layer before, and back, a few times over (Sugiyama's barycentres),
// which takes most crossings out.
func (g *dagPlotter) place(order, layer []int, pred, succ [][]int) {
	var layers [][]int
	for _, i := range order {
		if !g.shown[i] {
			continue
		}
		for len(layers) <= layer[i] {
			layers = append(layers, nil)
		}
		layers[layer[i]] = append(layers[layer[i]], i)
	}
	g.layers = len(layers)
	spread := func(l []int) {
		for k, i := range l {
			g.y[i] = 1 - (float64(k)+0.5)/float64(len(l))
		}
	}
	for d, l := range layers {
		for _, i := range l {
			g.x[i] = float64(d)
		}
		g.widest = max(g.widest, len(l))
		spread(l)
	}
	sweep := func(l []int, near [][]int) {
		want := map[int]float64{}
		for _, i := range l {
			total, n := 0.0, 0
			for _, j := range near[i] {
				if g.shown[j] {
					total += g.y[j]
					n++
				}
			}
			want[i] = g.y[i]
			if n > 0 {
				want[i] = total / float64(n)
			}
		}
		slices.SortStableFunc(l, func(a, b int) int { return cmp.Compare(want[b], want[a]) })
		spread(l)
	}
	for range 8 {
		for d := 1; d < len(layers); d++ {
			sweep(layers[d], pred)
		}
		for d := len(layers) - 2; d >= 0; d-- {
			sweep(layers[d], succ)
		}
	}
}

func (g *dagPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	apart := (c.Max.Y - c.Min.Y) / 1.16 / vg.Length(max(1, g.widest))
	column := (c.Max.X - c.Min.X) / vg.Length(max(1, g.layers))
	radius := min(max(min(apart, column)*0.3, 2), 7)
	at := func(i int) vg.Point { return vg.Point{X: tx(g.x[i]), Y: ty(g.y[i])} }
	thin := draw.LineStyle{Color: color.NRGBA{0x90, 0x90, 0x90, 255}, Width: 0.7}
	if len(g.edges) > 400 {
		thin.Width, thin.Color = 0.3, color.NRGBA{0xB0, 0xB0, 0xB0, 255}
	}
	for _, strong := range []bool{false, true} {
		for _, e := range g.edges {
			if g.bold[e] != strong || !g.shown[e[0]] || !g.shown[e[1]] {
				continue
			}
			sty := thin
			if strong {
				sty = boldStyle
			}
			arrow(&c, sty, at(e[0]), at(e[1]), radius)
		}
	}
	sty := style(9)
	sty.XAlign, sty.YAlign = draw.XCenter, draw.YTop
	for i := range g.nodes {
		if g.shown[i] {
			pt, kind := at(i), g.nodes[i].Kind
			if _, ring := g.glyph[kind].(draw.RingGlyph); ring {
				c.DrawGlyphNoClip(draw.GlyphStyle{Color: color.White, Radius: radius, Shape: draw.CircleGlyph{}}, pt)
			}
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: g.colour[kind], Radius: radius, Shape: g.glyph[kind]}, pt)
			if apart >= 24 && column >= 30 {
				name := elide(sty, g.nodes[i].Name, column-6)
				w := sty.Width(name)/2 + 1
				c.SetColor(color.NRGBA{255, 255, 255, 210})
				c.Fill(vg.Rectangle{Min: vg.Point{X: pt.X - w, Y: pt.Y - radius - 12}, Max: vg.Point{X: pt.X + w, Y: pt.Y - radius - 1}}.Path())
				c.FillText(sty, vg.Point{X: pt.X, Y: pt.Y - radius - 2}, name)
			}
		}
	}
}

// arrow draws a line between the rims of two nodes, with a head.
func arrow(c *draw.Canvas, sty draw.LineStyle, from, to vg.Point, radius vg.Length) {
	dx, dy := to.X-from.X, to.Y-from.Y
	d := vg.Length(math.Hypot(float64(dx), float64(dy)))
	if d <= 2*radius {
		return
	}
	ux, uy := dx/d, dy/d
	tip := vg.Point{X: to.X - ux*(radius+1), Y: to.Y - uy*(radius+1)}
	c.StrokeLine2(sty, from.X+ux*radius, from.Y+uy*radius, tip.X, tip.Y)
	if size := min(4+sty.Width, d/4); sty.Width >= 0.5 {
		c.FillPolygon(sty.Color, []vg.Point{
			tip,
			{X: tip.X - ux*size - uy*size/2, Y: tip.Y - uy*size + ux*size/2},
			{X: tip.X - ux*size + uy*size/2, Y: tip.Y - uy*size - ux*size/2},
		})
	}
}
