// Package plots draws what a comparison found: distributions and means of waits, use and queues over time, Gantt charts, graphs of
// jobs. Inputs are plain numbers; nothing here knows the simulator.
//
// The look: the colours of Okabe and Ito (2008), which people with colour-blindness tell apart, and always a second sign beside the
// colour (dashes, markers, names); labels with units; the legend below the picture, where it covers nothing.
package plots

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgpdf"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Width and Height are a figure's size in CSS pixels (1/96 inch).
const (
	Width  = 900
	Height = 600
)

const pixel = vg.Inch / 96

// Formats are the formats that Write knows.
var Formats = []string{"svg", "png", "pdf"}

// Figure is a picture that is ready to be written.
type Figure struct {
	plot   *plot.Plot
	legend []legendEntry
	note   string // one line below the legend: what was left out, and the like
}

// Write writes the figure as "svg", "png" or "pdf".
func (f *Figure) Write(w io.Writer, format string) error {
	var c vg.CanvasWriterTo
	width, height := vg.Length(Width)*pixel, vg.Length(Height)*pixel
	switch format {
	case "svg":
		c = vgsvg.New(width, height)
	case "png":
		c = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(96))}
	case "pdf":
		c = vgpdf.New(width, height)
	default:
		return fmt.Errorf("unknown picture format %q: %s", format, strings.Join(Formats, ", "))
	}
	var on vg.Canvas = c
	if format != "svg" { // an SVG is shown with the viewer's fonts
		on = boxed{c}
	}
	f.draw(draw.NewCanvas(on, width, height))
	_, err := c.WriteTo(w)
	return err
}

// boxed draws a box for what the font has no sign for, such as Chinese, in the place of nothing at all.
type boxed struct{ vg.Canvas }

func (b boxed) FillString(f font.Face, at vg.Point, s string) {
	b.Canvas.FillString(f, at, strings.Map(func(r rune) rune {
		if i, err := f.Face.GlyphIndex(nil, r); err == nil && i == 0 {
			return '\u25A1'
		}
		return r
	}, s))
}

func (f *Figure) draw(c draw.Canvas) {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, 8, -14, 8, -8)
	if f.note != "" {
		sty := style(9)
		sty.Color = gray
		sty.XAlign, sty.YAlign = draw.XCenter, draw.YBottom
		c.FillText(sty, vg.Point{X: (c.Min.X + c.Max.X) / 2, Y: c.Min.Y}, elide(sty, f.note, c.Max.X-c.Min.X))
		c = draw.Crop(c, 0, 0, 14, 0)
	}
	c = draw.Crop(c, 0, 0, drawLegend(c, f.legend), 0)
	f.plot.Draw(c)
}

// The palette of Okabe and Ito, the strongest first; yellow is last since it is faint on white.
var palette = []color.NRGBA{
	{0x00, 0x72, 0xB2, 255}, // blue
	{0xD5, 0x5E, 0x00, 255}, // vermillion
	{0x00, 0x9E, 0x73, 255}, // bluish green
	{0xCC, 0x79, 0xA7, 255}, // reddish purple
	{0xE6, 0x9F, 0x00, 255}, // orange
	{0x56, 0xB4, 0xE9, 255}, // sky blue
	{0x00, 0x00, 0x00, 255}, // black
	{0xF0, 0xE4, 0x42, 255}, // yellow
}

var (
	gray  = color.NRGBA{0x60, 0x60, 0x60, 255}
	light = color.NRGBA{0xE2, 0xE2, 0xE2, 255}
	other = color.NRGBA{0xA8, 0xA8, 0xA8, 255} // what has no colour of its own
)

var dashes = [][]vg.Length{nil, {7, 3}, {2, 2}, {8, 3, 2, 3}, {12, 4}, {4, 2, 1, 2, 1, 2}, {1, 3}, {10, 2, 4, 2}}

var markers = []draw.GlyphDrawer{
	draw.CircleGlyph{},
	draw.BoxGlyph{},
	draw.PyramidGlyph{},
	draw.CrossGlyph{},
	draw.RingGlyph{},
	draw.PlusGlyph{},
	draw.SquareGlyph{},
	draw.TriangleGlyph{},
}

func lineStyle(i int) draw.LineStyle {
	// Past the palette's end the dashes move on by one more, so that a colour meets another dash.
	return draw.LineStyle{Color: palette[i%len(palette)], Width: 1.6, Dashes: dashes[(i+i/len(palette))%len(dashes)]}
}

func glyphStyle(i int) draw.GlyphStyle {
	return draw.GlyphStyle{Color: palette[i%len(palette)], Radius: 3.5, Shape: markers[(i+2*(i/len(palette)))%len(markers)]}
}

func style(size vg.Length) text.Style {
	return text.Style{
		Color: color.Black, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}, Handler: plot.DefaultTextHandler,
	}
}

// newPlot returns an empty plot in the house style.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = 8
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Title.TextStyle.Font = style(13).Font
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font = style(11).Font
		a.Label.Padding = 4
		a.Tick.Label.Font = style(10).Font
		a.LineStyle.Color, a.Tick.LineStyle.Color = gray, gray
		a.Padding = 2
	}
	return p
}

// elide shortens s in the middle so that it is at most width wide.
func elide(sty text.Style, s string, width vg.Length) string {
	if sty.Width(s) <= width {
		return s
	}
	r := []rune(s)
	for keep := len(r) - 1; keep > 1; keep-- {
		short := string(r[:(keep+1)/2]) + "…" + string(r[len(r)-keep/2:])
		if sty.Width(short) <= width {
			return short
		}
	}
	return "…"
}

type legendEntry struct {
	name  string
	line  *draw.LineStyle
	glyph *draw.GlyphStyle
	fill  color.Color
}

// drawLegend draws the entries in rows at the canvas' foot and returns the height that they take.
func drawLegend(c draw.Canvas, entries []legendEntry) vg.Length {
	const sample, gap, between, row = vg.Length(30), vg.Length(5), vg.Length(16), vg.Length(15)
	if len(entries) == 0 {
		return 0
	}
	sty := style(10)
	sty.YAlign = draw.YCenter
	width := c.Max.X - c.Min.X
	type placed struct {
		legendEntry
		w vg.Length
	}
	var rows [][]placed
	var used vg.Length
	for _, e := range entries {
		e.name = elide(sty, e.name, width/2-sample-gap)
		w := sample + gap + sty.Width(e.name) + between
		if len(rows) == 0 || used+w > width {
			rows = append(rows, nil)
			used = 0
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], placed{e, w})
		used += w
	}
	y := c.Min.Y + row*(vg.Length(len(rows))-0.5)
	for _, r := range rows {
		var total vg.Length
		for _, e := range r {
			total += e.w
		}
		x := c.Min.X + (width-total+between)/2
		for _, e := range r {
			if e.fill != nil {
				box := vg.Rectangle{Min: vg.Point{X: x + sample - 16, Y: y - 5}, Max: vg.Point{X: x + sample, Y: y + 5}}
				c.SetColor(e.fill)
				c.Fill(box.Path())
			}
			if e.line != nil {
				c.StrokeLine2(*e.line, x, y, x+sample, y)
			}
			if e.glyph != nil {
				c.DrawGlyphNoClip(*e.glyph, vg.Point{X: x + sample/2, Y: y})
			}
			c.FillText(sty, vg.Point{X: x + sample + gap, Y: y}, e.name)
			x += e.w
		}
		y -= row
	}
	return row*vg.Length(len(rows)) + 6
}

// step returns a round step (1, 2 or 5 times a power of ten) that divides span into at most n parts.
func step(span float64, n int) float64 {
	if !(span > 0) || math.IsInf(span, 0) {
		return 1
	}
	raw := span / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*power >= raw*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// linear places about n labels at round values; scale and unit are for percent.
func linear(n int, scale float64, unit string) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		by := step((hi-lo)*scale, n)
		var ticks []plot.Tick
		for k := math.Ceil(lo*scale/by - 1e-9); k*by <= hi*scale*(1+1e-12)+1e-9*by && len(ticks) < 100; k++ {
			ticks = append(ticks, plot.Tick{Value: k * by / scale, Label: short(k*by, by) + unit})
		}
		return ticks
	})
}

// short writes v as a label, to the precision of by, with k and M for large numbers.
func short(v, by float64) string {
	suffix := ""
	for _, s := range []string{"k", "M", "G", "T"} {
		if by < 1 || math.Abs(v) < 10000 && suffix == "" || math.Abs(v) < 1000 {
			break
		}
		v, by, suffix = v/1000, by/1000, s
	}
	digits := 0
	if by < 1 && by > 0 {
		digits = min(9, int(math.Ceil(-math.Log10(by)-1e-9)))
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		s = "0"
	}
	return s + suffix
}

// decades places labels at powers of ten, at most n of them, and small ticks between where the range is short.
func decades(n int) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		first, last := int(math.Floor(math.Log10(lo)+1e-9)), int(math.Ceil(math.Log10(hi)-1e-9))
		every := 1 + (last-first)/n
		var ticks []plot.Tick
		for e := first; e <= last; e++ {
			v := math.Pow(10, float64(e))
			if v >= lo*(1-1e-9) && v <= hi*(1+1e-9) {
				label := ""
				if (e-first)%every == 0 {
					label = short(v, v)
				}
				ticks = append(ticks, plot.Tick{Value: v, Label: label})
			}
			for m := 2.0; m < 10 && every == 1; m++ {
				if v*m > lo && v*m < hi {
					ticks = append(ticks, plot.Tick{Value: v * m})
				}
			}
		}
		return ticks
	})
}

// timeUnit chooses the unit of an axis that spans that many seconds.
func timeUnit(span float64) (seconds float64, name string) {
	switch {
	case span < 180:
		return 1, "s"
	case span < 180*60:
		return 60, "min"
	case span < 72*3600:
		return 3600, "h"
	}
	return 86400, "days"
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// bounds returns the least and the largest finite value, false if there is none.
func bounds(lists ...[]float64) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, v := range slices.Concat(lists...) {
		if finite(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	return lo, hi, lo <= hi
}

// grid draws thin lines behind the data at the labelled ticks.
type grid struct{ x, y bool }

func (g grid) Plot(c draw.Canvas, p *plot.Plot) {
	sty := draw.LineStyle{Color: light, Width: 0.5}
	tx, ty := p.Transforms(&c)
	if g.x {
		for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
			if x := tx(t.Value); t.Label != "" && c.ContainsX(x) {
				c.StrokeLine2(sty, x, c.Min.Y, x, c.Max.Y)
			}
		}
	}
	if g.y {
		for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
			if y := ty(t.Value); t.Label != "" && c.ContainsY(y) {
				c.StrokeLine2(sty, c.Min.X, y, c.Max.X, y)
			}
		}
	}
}
