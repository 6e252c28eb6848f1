package tui

import (
	"fmt"
	"math"

	"github.com/schedlab/schedlab/tui/history"
)

// measure is a line of the comparison.
type measure struct {
	name  string
	value func(*history.Frame, *Info) float64
	show  func(float64) string
	less  bool // less is better
	none  bool // neither is
}

var measures = []measure{
	{"mean wait", func(f *history.Frame, _ *Info) float64 { return f.Metrics.WaitMean }, seconds, true, false},
	{medianWait, func(f *history.Frame, _ *Info) float64 { return f.Metrics.WaitP50 }, seconds, true, false},
	{p99Wait, func(f *history.Frame, _ *Info) float64 { return f.Metrics.WaitP99 }, seconds, true, false},
	{"mean job wait", func(f *history.Frame, _ *Info) float64 { return f.Metrics.JobWaitMean }, seconds, true, false},
	{"mean JCT", func(f *history.Frame, _ *Info) float64 { return f.Metrics.JCTMean }, seconds, true, false},
	{"makespan", func(f *history.Frame, _ *Info) float64 { return f.Metrics.Makespan }, seconds, true, false},
	{"over bound", overBound, excess, true, false},
	{"GPU utilization", func(f *history.Frame, _ *Info) float64 { return f.Metrics.Utilization }, percent, false, false},
	{"CPU utilization", func(f *history.Frame, _ *Info) float64 { return f.Metrics.UtilizationCPU }, percent, false, false},
	{"tasks/min", func(f *history.Frame, _ *Info) float64 { return f.Metrics.Throughput }, short, false, false},
	{"finished", func(f *history.Frame, _ *Info) float64 { return float64(f.Metrics.Finished) }, short, false, false},
	{"queued now", func(f *history.Frame, _ *Info) float64 { return float64(f.Counts.Queued()) }, short, true, false},
	{"running now", func(f *history.Frame, _ *Info) float64 { return float64(f.Counts.Running()) }, short, false, true},
	{"preemptions", func(f *history.Frame, _ *Info) float64 { return float64(f.Metrics.Preemptions) }, short, false, true},
}

// text is the value as it is shown. A quantile that is not exact is marked.
func (x *measure) text(f *history.Frame, i *Info) string {
	v := x.value(f, i)
	if x.name == medianWait || x.name == p99Wait {
		return quantile(&f.Metrics, v)
	}
	return x.show(v)
}

// The two that are quantiles.
const (
	medianWait = "median wait"
	p99Wait    = "p99 wait"
)

// quantile prints one of m's, in s.
func quantile(m *history.Metrics, v float64) string {
	if m.WaitRough {
		return "~" + seconds(v)
	}
	return seconds(v)
}

func excess(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%+.1f%%", v*100)
}

// overBound is by how much the makespan of a whole run exceeds what no schedule can beat.
func overBound(f *history.Frame, i *Info) float64 {
	if i.LowerBound <= 0 || !f.Whole() {
		return math.NaN()
	}
	over := f.Metrics.Makespan/i.LowerBound.Seconds() - 1
	if math.Abs(over) < 1e-9 { // rounded seconds: a schedule on the bound is not below it
		return 0
	}
	return over
}

// The two sides' colours differ in lightness too.
var sideColours = [2]colour{colRunning, colQueued}

func (m *model) drawCompare(a area) {
	st := style{bold: true}
	cw := min(max((a.w-30)/3, 10), 26)
	a.fit(1, 0, 17, style{fg: faint}, "at "+m.cur().instant(m.clock.at))
	for i := range m.sides {
		a.right(18+i*cw, 0, cw-1, style{bold: true, fg: sideColours[i]}, m.sideName(i))
	}
	if len(m.sides) > 1 {
		a.right(18+2*cw, 0, cw-1, st, "B to A")
	}
	rows := min(len(measures), max(a.h-11, 5))
	for k, x := range measures[:rows] {
		m.drawMeasure(a, k+1, cw, x)
	}
	y := rows + 2
	if a.h-y < 4 {
		return
	}
	title := "share of tasks that waited at most so long"
	if m.curves {
		title = "mean wait of the tasks that finished at a time"
	}
	if len(m.sides) < 2 {
		title += "; two policies are compared"
	}
	a.line(y, style{fg: faint}, m.theme.rule(), title)
	if m.curves {
		m.drawWaitCurves(a.sub(0, y+1, a.w, a.h-y-1))
	} else {
		m.drawDistributions(a.sub(0, y+1, a.w, a.h-y-1))
	}
}

func (m *model) drawMeasure(a area, y, cw int, x measure) {
	name, running := x.name, x.name == "makespan" && m.clock.at < m.end() // it says nothing before the end
	if running {
		name += " so far"
	}
	a.fit(1, y, 17, style{fg: faint}, name)
	var v [2]float64
	for i := range m.sides {
		v[i] = x.value(&m.sides[i].frame, &m.sides[i].info)
		a.right(18+i*cw, y, cw-1, style{bold: true}, x.text(&m.sides[i].frame, &m.sides[i].info))
	}
	if len(m.sides) < 2 {
		return
	}
	text, better := relate(v[0], v[1], x.less)
	col, verdict := faint, ""
	switch {
	case x.none || running:
	case better > 0:
		col, verdict = colDone, m.theme.glyph("▲ B better", "B better")
	case better < 0:
		col, verdict = colFailed, m.theme.glyph("▼ A better", "A better")
	}
	a.right(18+2*cw, y, cw-1, style{fg: col, bold: true}, text)
	a.fit(18+3*cw+1, y, a.w-18-3*cw-2, style{fg: col}, verdict)
}

// relate says by how much b differs from a, and which of them is better: 1 is b, -1 a, 0 neither.
func relate(a, b float64, less bool) (text string, better int) {
	switch d := b/a - 1; {
	case a == b:
		return "=", 0
	case math.IsNaN(d):
		return "-", 0
	case math.IsInf(d, 0): // so many times nothing
		text = "-"
	case d > 9.99:
		text = fmt.Sprintf("x%.3g", d+1)
	default:
		text = fmt.Sprintf("%+.1f%%", d*100)
	}
	switch more := b - a; {
	case math.Abs(more) < 0.0005*max(math.Abs(a), math.Abs(b)):
	case (more < 0) == less:
		better = 1
	default:
		better = -1
	}
	return text, better
}

// plot is a field on which two curves are drawn, each with its own sign.
type plot struct {
	m    *model
	a    area
	w, h int
	dots [2][]uint8 // braille dots of a cell, by curve
}

func (m *model) newPlot(a area) *plot {
	p := &plot{m: m, a: a, w: a.w, h: a.h}
	for i := range p.dots {
		p.dots[i] = make([]uint8, p.w*p.h)
	}
	return p
}

// at sets a point of a curve; x in half columns, y in quarters of a line from the top.
func (p *plot) at(curve, x, y int) {
	if x < 0 || y < 0 || x >= p.w*2 || y >= p.h*4 {
		return
	}
	bits := [4][2]uint8{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}
	p.dots[curve][y/4*p.w+x/2] |= bits[y%4][x%2]
}

// steps draws a curve whose value is given for each half column, 0 at the bottom and 1 at the top; NaN is left out.
func (p *plot) steps(curve int, value func(x int) float64) {
	last := -1
	for x := range p.w * 2 {
		v := value(x)
		if math.IsNaN(v) {
			last = -1
			continue
		}
		y := int((1-math.Min(math.Max(v, 0), 1))*float64(p.h*4-1) + 0.5)
		if last < 0 {
			last = y
		}
		for k := min(last, y); k <= max(last, y); k++ {
			p.at(curve, x, k)
		}
		last = y
	}
}

func (p *plot) draw() {
	for i := range p.w * p.h {
		a, b := p.dots[0][i], p.dots[1][i]
		if a|b == 0 {
			continue
		}
		st, g := style{fg: sideColours[0], bold: true}, 'A'
		switch {
		case a != 0 && b != 0:
			st, g = style{fg: own, bold: true}, '*'
		case b != 0:
			st, g = style{fg: sideColours[1], bold: true}, 'B'
		}
		if !p.m.theme.ascii {
			g = rune(0x2800) + rune(a|b)
			if p.m.theme.colourless() && b != 0 && a == 0 {
				g = 'B'
			}
		}
		p.a.put(i%p.w, i/p.w, st, g, 1)
	}
}

// waitTicks are the times that the logarithmic axis names where there is room.
var waitTicks = []struct {
	s    float64
	name string
}{
	{0.1, "100ms"},
	{0.3, "300ms"},
	{1, "1s"},
	{3, "3s"},
	{10, "10s"},
	{30, "30s"},
	{120, "2m"},
	{600, "10m"},
	{1800, "30m"},
	{2 * 3600, "2h"},
	{6 * 3600, "6h"},
	{86400, "1d"},
	{3 * 86400, "3d"},
	{10 * 86400, "10d"},
	{30 * 86400, "30d"},
	{100 * 86400, "100d"},
	{300 * 86400, "300d"},
}

// drawDistributions draws how the waits are spread: their share over a logarithmic axis.
func (m *model) drawDistributions(a area) {
	const lo = 0.1 // s
	hi := 1.0
	for i := range m.sides {
		if u := m.sides[i].frame.Waits.Upper; len(u) > 0 {
			hi = math.Max(hi, u[len(u)-1])
		}
	}
	body := a.sub(6, 0, a.w-7, (a.h-2)|1) // with a line in the middle
	p := m.newPlot(body)
	decades := math.Log(hi / lo)
	for i := range m.sides {
		d := &m.sides[i].frame.Waits
		if d.Total == 0 {
			continue
		}
		k, sum := 0, int32(0)
		p.steps(i, func(x int) float64 {
			edge := lo * math.Exp(decades*float64(x)/float64(p.w*2-1))
			for k < len(d.Upper) && d.Upper[k] <= edge*1.0001 {
				sum += d.Count[k]
				k++
			}
			return float64(sum) / float64(d.Total)
		})
	}
	for y := range body.h {
		if y == 0 || y == body.h-1 || y == body.h/2 {
			a.right(0, y, 5, style{fg: faint}, share(1-float64(y)/float64(max(body.h-1, 1))))
		}
		a.text(5, y, style{fg: track}, m.theme.glyph("│", "|"))
	}
	p.draw()
	free := 0
	for _, t := range waitTicks {
		if x := int(math.Log(t.s/lo) / decades * float64(body.w)); x >= free && x+8 < body.w {
			free = a.text(6+x, body.h, style{fg: faint}, m.theme.glyph("╵", "'")+t.name) - 6 + 2
		}
	}
}

// drawWaitCurves draws the waits of both over time.
func (m *model) drawWaitCurves(a area) {
	body := a.sub(chartLabel-1, 0, a.w-chartLabel, (a.h-2)|1)
	top := 0.0
	for i := range m.sides {
		for _, b := range m.sides[i].frame.Curves {
			if b.Known && b.Wait > top {
				top = b.Wait
			}
		}
	}
	p := m.newPlot(body)
	for i := range m.sides {
		c := m.sides[i].frame.Curves
		if len(c) == 0 || top == 0 {
			continue
		}
		last := math.NaN()
		p.steps(i, func(x int) float64 {
			k := x * len(c) / (p.w * 2)
			if !c[k].Known {
				return math.NaN()
			}
			if !math.IsNaN(c[k].Wait) {
				last = c[k].Wait / top
			}
			return last
		})
	}
	for y := range body.h {
		if y == 0 || y == body.h-1 || y == body.h/2 {
			a.right(0, y, chartLabel-3, style{fg: faint}, seconds(top*(1-float64(y)/float64(max(body.h-1, 1)))))
		}
		a.text(chartLabel-2, y, style{fg: track}, m.theme.glyph("│", "|"))
	}
	p.draw()
	from, to := m.window()
	m.drawAxis(a.sub(chartLabel-1, body.h, a.w-chartLabel, 1), from, to, m.cur())
}
