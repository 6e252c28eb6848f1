package plots

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Line is a quantity measured at several sizes.
type Line struct {
	Name string
	X, Y []float64 // X ascending, above 0
}

// Growth draws quantities against a size that grows by powers of ten, x logarithmic, y from 0: what does not grow is a level line.
func Growth(title, x, y string, lines []Line) (*Figure, error) {
	var xs, ys [][]float64
	for _, l := range lines {
		xs, ys = append(xs, l.X), append(ys, l.Y)
	}
	lo, hi, ok := bounds(xs...)
	_, top, ok2 := bounds(ys...)
	if !ok || !ok2 || lo <= 0 || top <= 0 {
		return nil, ErrNoData
	}
	p := newPlot(title, x, y)
	p.X.Min, p.X.Max = math.Pow(10, math.Floor(math.Log10(lo)+1e-9)), math.Pow(10, math.Ceil(math.Log10(hi)-1e-9))
	if p.X.Max <= p.X.Min {
		p.X.Max = 10 * p.X.Min
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades(8)
	p.Y.Min, p.Y.Max = 0, top*1.05
	p.Y.Tick.Marker = linear(7, 1, "")
	f := &Figure{plot: p}
	p.Add(grid{true, true})
	for i, l := range lines {
		p.Add(measuredLine{i, l})
		line, glyph := lineStyle(i), glyphStyle(i)
		f.legend = append(f.legend, legendEntry{name: l.Name, line: &line, glyph: &glyph})
	}
	return f, nil
}

// measuredLine joins points by straight lines and marks each.
type measuredLine struct {
	i int
	Line
}

func (l measuredLine) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	var pts []vg.Point
	for k, x := range l.X {
		if finite(l.Y[k]) {
			pts = append(pts, vg.Point{X: tx(x), Y: ty(l.Y[k])})
		}
	}
	c.StrokeLines(lineStyle(l.i), c.ClipLinesXY(pts)...)
	for _, pt := range pts {
		c.DrawGlyphNoClip(glyphStyle(l.i), pt)
	}
}

// Note puts one line below the legend.
func (f *Figure) Note(s string) { f.note = s }
