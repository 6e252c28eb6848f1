package plots

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// ErrNoData says that there is nothing to draw.
var ErrNoData = errors.New("nothing to draw")

// CDF is a distribution of waits, thinned to what a picture shows.
type CDF struct {
	Name    string
	Zero    float64   // share of the tasks that did not wait
	Seconds []float64 // ascending, above 0
	Share   []float64 // of the tasks that waited at most so long
}

// cdfPoints is the number of points that a distribution is thinned to.
const cdfPoints = 400

// NewCDF makes a CDF of waits in seconds. It sorts waits.
func NewCDF(name string, waits []float64) CDF {
	slices.Sort(waits)
	c := CDF{Name: name}
	n := len(waits)
	zero, _ := slices.BinarySearchFunc(waits, 0.0, func(w, _ float64) int {
		if w > 0 {
			return 1
		}
		return -1
	})
	if n == 0 {
		return c
	}
	c.Zero = float64(zero) / float64(n)
	if zero == n {
		return c
	}
	for k, last := 0, -1; k < cdfPoints; k++ {
		i := zero + (n-1-zero)*k/(cdfPoints-1)
		if i == last || i >= n {
			continue
		}
		last = i
		for i+1 < n && waits[i+1] == waits[i] { // the step's upper end
			i++
		}
		if m := len(c.Seconds); m > 0 && c.Seconds[m-1] == waits[i] {
			continue
		}
		c.Seconds = append(c.Seconds, waits[i])
		c.Share = append(c.Share, float64(i+1)/float64(n))
	}
	return c
}

// decadesShown bounds the x axis of WaitCDF: shorter waits than this many decades below the longest stand at the left edge.
const decadesShown = 8

// WaitCDF draws the waits' distributions, x logarithmic. Waits of zero have no place on such an axis: each curve begins at the left
// edge at their share, and the legend says it.
func WaitCDF(title string, cdfs []CDF) (*Figure, error) {
	lo, hi := math.Inf(1), 0.0
	for _, c := range cdfs {
		if len(c.Seconds) > 0 {
			lo, hi = min(lo, c.Seconds[0]), max(hi, c.Seconds[len(c.Seconds)-1])
		}
	}
	if len(cdfs) == 0 {
		return nil, ErrNoData
	}
	if hi == 0 { // nobody waited
		lo, hi = 0.1, 100
	}
	p := newPlot(title, "wait (s)", "share of tasks that waited at most so long")
	p.X.Min = math.Pow(10, math.Floor(math.Log10(max(lo, hi/math.Pow(10, decadesShown)))+1e-9))
	p.X.Max = math.Pow(10, math.Ceil(math.Log10(hi)-1e-9))
	if p.X.Max <= p.X.Min {
		p.X.Max = p.X.Min * 10
	}
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = decades(8)
	p.Y.Min, p.Y.Max = 0, 1
	p.Y.Tick.Marker = linear(6, 100, " %")
	f := &Figure{plot: p}
	p.Add(grid{true, true})
	for i, c := range cdfs {
		s := &steps{i: i, n: len(cdfs)}
		s.x, s.y = append(s.x, p.X.Min), append(s.y, c.Zero)
		for k, x := range c.Seconds {
			if x <= p.X.Min {
				s.y[0] = c.Share[k]
				continue
			}
			s.x, s.y = append(s.x, x), append(s.y, c.Share[k])
		}
		s.x, s.y = append(s.x, p.X.Max), append(s.y, s.y[len(s.y)-1])
		p.Add(s)
		name := c.Name
		switch {
		case c.Zero == 1 || len(c.Seconds) == 0:
			name += " (nobody waited)"
		case c.Zero > 0:
			name += fmt.Sprintf(" (%s did not wait)", percent(c.Zero))
		}
		f.legend = append(f.legend, s.entry(name))
	}
	return f, nil
}

func percent(share float64) string {
	switch {
	case share > 0 && share < 0.01:
		return "< 1 %"
	case share > 0.99 && share < 1:
		return "> 99 %"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// Series is a quantity over time.
type Series struct {
	Name    string
	Seconds []float64 // ascending
	Value   []float64 // from that second on to the next one; NaN = unknown
}

// timePoints is the number of steps that a series is thinned to, so that several can be told apart.
const timePoints = 200

// thin returns the series' means over equal parts of x0..x1. Parts of which nothing is known are NaN.
func (s Series) thin(x0, x1 float64) Series {
	out := Series{Name: s.Name, Seconds: make([]float64, timePoints+1), Value: make([]float64, timePoints+1)}
	wide := (x1 - x0) / timePoints
	known := make([]float64, timePoints)
	for i, from := range s.Seconds {
		if i+1 == len(s.Seconds) || !finite(s.Value[i]) {
			continue
		}
		to := s.Seconds[i+1]
		for k := max(0, int((from-x0)/wide)); k < timePoints && x0+wide*float64(k) < to; k++ {
			if d := min(to, x0+wide*float64(k+1)) - max(from, x0+wide*float64(k)); d > 0 {
				known[k] += d
				out.Value[k] += d * s.Value[i]
			}
		}
	}
	for k := range out.Seconds {
		out.Seconds[k] = x0 + wide*float64(k)
		if k < timePoints {
			out.Value[k] /= known[k] // NaN where nothing is known
		}
	}
	out.Value[timePoints] = out.Value[timePoints-1]
	return out
}

// OverTime draws quantities that change in steps. Share says that values are shares of one, shown in percent of the whole.
func OverTime(title, ylabel string, share bool, series []Series) (*Figure, error) {
	var xs, ys [][]float64
	for i := range series {
		if len(series[i].Seconds) != len(series[i].Value) {
			return nil, fmt.Errorf("series %s: %d times and %d values", series[i].Name, len(series[i].Seconds), len(series[i].Value))
		}
		xs, ys = append(xs, series[i].Seconds), append(ys, series[i].Value)
	}
	x0, x1, ok := bounds(xs...)
	_, y1, ok2 := bounds(ys...)
	if !ok || !ok2 {
		return nil, ErrNoData
	}
	if x1 == x0 {
		x1 = x0 + 1
	}
	unit, name := timeUnit(x1 - x0)
	p := newPlot(title, "time ("+name+")", ylabel)
	p.X.Min, p.X.Max = x0/unit, x1/unit
	p.X.Tick.Marker = linear(9, 1, "")
	p.Y.Min, p.Y.Max = 0, y1*1.05
	p.Y.Tick.Marker = linear(7, 1, "")
	if share {
		p.Y.Max = max(1, y1)
		p.Y.Tick.Marker = linear(6, 100, " %")
	}
	if p.Y.Max <= 0 {
		p.Y.Max = 1
	}
	f := &Figure{plot: p}
	p.Add(grid{true, true})
	for i, s := range series {
		if len(s.Seconds) > timePoints+timePoints/4 {
			s = s.thin(x0, x1)
			f.note = fmt.Sprintf("means of %d equal times", timePoints)
		}
		l := &steps{i: i, n: len(series), y: s.Value}
		for _, x := range s.Seconds {
			l.x = append(l.x, x/unit)
		}
		p.Add(l)
		f.legend = append(f.legend, l.entry(s.Name))
	}
	return f, nil
}

// steps draws one series as a step line with a few markers.
type steps struct {
	i, n int // which series, of how many
	x, y []float64
}

func (s *steps) entry(name string) legendEntry {
	l, g := lineStyle(s.i), glyphStyle(s.i)
	return legendEntry{name: name, line: &l, glyph: &g}
}

func (s *steps) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	var lines [][]vg.Point
	var line []vg.Point
	for i := range s.x {
		if !finite(s.y[i]) {
			if len(line) > 0 {
				lines, line = append(lines, line), nil
			}
			continue
		}
		pt := vg.Point{X: tx(s.x[i]), Y: ty(s.y[i])}
		if n := len(line); n > 0 {
			if line[n-1].Y == pt.Y { // nothing new: longer
				if n > 1 && line[n-2].Y == pt.Y {
					line[n-1].X = pt.X
					continue
				}
			} else {
				line = append(line, vg.Point{X: pt.X, Y: line[n-1].Y})
			}
		}
		line = append(line, pt)
	}
	if len(line) > 0 {
		lines = append(lines, line)
	}
	c.StrokeLines(lineStyle(s.i), c.ClipLinesXY(lines...)...)
	// Markers: eight along the axis, each series' a little further on than the last one's.
	const marks = 8
	sty := glyphStyle(s.i)
	for k := range marks {
		at := c.Min.X + (c.Max.X-c.Min.X)*vg.Length((float64(k)+(float64(s.i)+0.5)/float64(max(1, s.n)))/marks)
		for _, l := range lines {
			if y, ok := height(l, at); ok {
				c.DrawGlyph(sty, vg.Point{X: at, Y: y})
				break
			}
		}
	}
}

// height returns the line's height at x.
func height(line []vg.Point, x vg.Length) (vg.Length, bool) {
	if x < line[0].X || x > line[len(line)-1].X {
		return 0, false
	}
	for i := len(line) - 1; i >= 0; i-- {
		if line[i].X <= x {
			return line[i].Y, true
		}
	}
	return 0, false
}

// Bar is one policy's value, with an interval where Low and High are not NaN.
type Bar struct {
	Name             string
	Value, Low, High float64
}

// Bars draws one horizontal bar a policy, from the top, with its value written beside it. xlabel says quantity and unit; interval is what
// the whiskers mean ("95 % interval over 10 seeds"), stated below the picture if there are any.
func Bars(title, xlabel, interval string, bars []Bar) (*Figure, error) {
	if len(bars) == 0 {
		return nil, ErrNoData
	}
	p := newPlot(title, xlabel, "")
	hi, lo := 0.0, 0.0
	whiskers := false
	var ticks plot.ConstantTicks
	for i, b := range bars {
		for _, v := range []float64{b.Value, b.High, b.Low} {
			if finite(v) {
				hi, lo = max(hi, v), min(lo, v)
			}
		}
		whiskers = whiskers || finite(b.Low) && finite(b.High)
		ticks = append(ticks, plot.Tick{Value: -float64(i), Label: elide(p.Y.Tick.Label, b.Name, 200)})
	}
	if hi == lo {
		hi = 1
	}
	p.X.Min, p.X.Max = lo*1.15, hi*1.15 // room for the values
	p.X.Tick.Marker = linear(8, 1, "")
	p.Y.Min, p.Y.Max = -float64(len(bars))+0.4, 0.6
	p.Y.Tick.Marker = ticks
	p.Y.Tick.Length = 0
	p.Add(grid{x: true}, hbars(bars))
	f := &Figure{plot: p}
	if whiskers {
		f.note = "whiskers: " + interval
	}
	return f, nil
}

type hbars []Bar

func (h hbars) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	unit := ty(1) - ty(0)
	half := min(unit*0.36, 18)
	sty := style(10)
	sty.YAlign = draw.YCenter
	whisker := draw.LineStyle{Color: color.Black, Width: 1.2}
	for i, b := range h {
		y := ty(-float64(i))
		if !finite(b.Value) {
			c.FillText(sty, vg.Point{X: tx(0) + 4, Y: y}, "no value")
			continue
		}
		x0, x1 := tx(min(0, b.Value)), tx(max(0, b.Value))
		c.SetColor(palette[i%len(palette)])
		c.Fill(vg.Rectangle{Min: vg.Point{X: x0, Y: y - half}, Max: vg.Point{X: x1, Y: y + half}}.Path())
		end := x1
		if finite(b.Low) && finite(b.High) {
			lo, hi := tx(b.Low), tx(b.High)
			// White behind black, so that whiskers show on any colour.
			back := draw.LineStyle{Color: color.White, Width: 3.2}
			for _, s := range []draw.LineStyle{back, whisker} {
				c.StrokeLine2(s, lo, y, hi, y)
				for _, x := range []vg.Length{lo, hi} {
					c.StrokeLine2(s, x, y-half/2, x, y+half/2)
				}
			}
			end = max(end, hi)
		}
		c.FillText(sty, vg.Point{X: end + 4, Y: y}, Number(b.Value))
	}
}

// Number writes a value to three significant digits, whole numbers above 100 whole.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case !finite(v):
		return "–"
	case a == 0:
		return "0"
	case a >= 1e7:
		return fmt.Sprintf("%.3g", v)
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.9995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
