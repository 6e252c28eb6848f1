package tui

import (
	"fmt"
	"math"
	"strconv"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

func (m *model) drawOverview(a area, s *side) {
	f := &s.frame
	y := 0
	if f.Err != "" {
		a.fit(1, y, a.w-2, style{fg: colFailed, bold: true}, "it ended early: "+f.Err)
		y++
	}
	if s.info.Note != "" {
		a.fit(1, y, a.w-2, style{fg: colQueued, bold: true}, m.theme.glyph("⚠ ", "! ")+s.info.Note)
		y++
	}
	y = m.drawCounts(a, y, f)
	metrics := m.metricList(s)
	cols := max(min(a.w/26, 4), 2)
	mrows := min((len(metrics)+cols-1)/cols, max((a.h-y)/2, 3)) // the first ones, where there is little room
	metrics = metrics[:min(mrows*cols, len(metrics))]
	trows := 0
	if len(f.Groups) > 1 || len(f.Groups) == 1 && f.Groups[0].Name != "" {
		trows = min(len(f.Groups), max((a.h-y-mrows-6)/2, 0)) + 1
		if trows < 3 {
			trows = 0
		}
	}
	charts := m.chartList(s)
	ch := min(max((a.h-y-mrows-trows-1)/len(charts), 1), 6)
	for _, c := range charts {
		if y+ch > a.h-mrows {
			break
		}
		m.drawChart(a.sub(0, y, a.w, ch), c)
		y += ch
	}
	y++
	if y+mrows > a.h {
		y = a.h - mrows
	}
	w := (a.w - 2) / cols
	for i, kv := range metrics {
		x, ly := 1+i%cols*w, y+i/cols
		a.fit(x, ly, w-10, style{fg: faint}, kv[0])
		a.right(x+w-11, ly, 9, style{bold: true}, kv[1])
	}
	y += mrows + 1
	if trows > 0 {
		m.drawTenants(a.sub(0, y, a.w, a.h-y), f)
	}
}

// drawCounts shows how many tasks stand where: in words, and as one bar.
func (m *model) drawCounts(a area, y int, f *history.Frame) int {
	x := 1
	total := max(f.Tasks, 1)
	bar := []struct {
		p sched.Phase
		n int32
	}{
		{sched.Running, f.Counts.Running()},
		{sched.Ready, f.Counts.Queued()},
		{sched.Blocked, f.Counts[sched.Blocked]},
		{sched.Done, f.Counts[sched.Done]},
		{sched.Failed, f.Counts[sched.Failed] + f.Counts[sched.Dropped] + f.Counts[sched.Rejected]},
	}
	for _, b := range bar {
		l := looks[b.p]
		if b.n == 0 && b.p == sched.Failed {
			continue
		}
		s := fmt.Sprintf("%s %s %s", m.theme.glyph(l.glyph, l.ascii), count(int(b.n)), l.word)
		if x+width(s) > a.w {
			break
		}
		x = a.text(x, y, style{fg: l.col, bold: true}, s) + 2
	}
	s := fmt.Sprintf("of %s", count(f.Tasks))
	if x+width(s) <= a.w {
		a.text(x, y, style{fg: faint}, s)
	}
	y++
	w := a.w - 2
	x, sum := 1, 0
	for _, b := range bar {
		sum += int(b.n)
		to := 1 + sum*w/total
		if b.n > 0 {
			to = max(to, x+1) // few are seen too
		}
		for ; x < to && x <= w; x++ {
			g := "█"
			if m.theme.colourless() {
				g = looks[b.p].glyph
			}
			a.text(x, y, style{fg: looks[b.p].col}, m.theme.glyph(g, looks[b.p].ascii))
		}
	}
	for ; x <= w; x++ {
		a.text(x, y, style{fg: track}, m.theme.glyph("░", "."))
	}
	return y + 2
}

// chart is one curve.
type chart struct {
	name   string
	col    colour
	unit   func(float64) string
	values []float64 // NaN: nothing known
	top    float64   // 0 = the largest value
	now    string
}

func (m *model) chartList(s *side) []chart {
	f := &s.frame
	pick := func(g func(*history.Bucket) float64) []float64 {
		v := make([]float64, len(f.Curves))
		for i := range v {
			v[i] = math.NaN()
			if f.Curves[i].Known {
				v[i] = g(&f.Curves[i])
			}
		}
		return v
	}
	perMin := 0.0
	if q := m.windowWidth(); q > 0 && len(f.Curves) > 0 {
		perMin = 60 / (q / float64(len(f.Curves)))
	}
	num := func(v float64) string { return count(int(v + 0.5)) }
	cs := []chart{
		{"queue", colQueued, num, pick(func(b *history.Bucket) float64 { return b.Queued }), 0, count(int(f.Counts.Queued()))},
		{"running", colRunning, num, pick(func(b *history.Bucket) float64 { return b.Running }), 0, count(int(f.Counts.Running()))},
	}
	if f.Use.GPUs > 0 {
		cs = append(cs, chart{"GPU use", colDone, share, pick(func(b *history.Bucket) float64 { return b.GPU }), 1, fraction(f.Use.GPU, f.Use.GPUs)})
	}
	if f.Use.CPUs > 0 {
		cs = append(cs, chart{"CPU use", colPreempted, share, pick(func(b *history.Bucket) float64 { return b.CPU }), 1, fraction(f.Use.CPU, f.Use.CPUs)})
	}
	return append(cs,
		chart{"ended/min", accent, short, pick(func(b *history.Bucket) float64 { return b.Ended * perMin }), 0, short(f.Metrics.Throughput)},
		chart{"wait", colHeld, seconds, pick(func(b *history.Bucket) float64 { return b.Wait }), 0, seconds(f.Metrics.WaitMean)})
}

// windowWidth is the length of the window in s.
func (m *model) windowWidth() float64 {
	from, to := m.window()
	return to.Sub(from).Seconds()
}

// drawChart draws a curve as columns, with its name at the left, what it is now and its top at the right.
func (m *model) drawChart(a area, c chart) {
	a.fit(1, 0, chartLabel-2, style{fg: c.col, bold: true}, c.name)
	top := c.top
	if top == 0 {
		for _, v := range c.values {
			if v > top {
				top = v
			}
		}
	}
	w := min(len(c.values), a.w-chartLabel-chartValue)
	for x := range w {
		v := c.values[x]
		if math.IsNaN(v) {
			continue
		}
		h := 0.0
		if top > 0 {
			h = v / top * (float64(a.h) - 0.13) // curves above each other do not touch
		}
		for y := range a.h {
			part := h - float64(a.h-1-y)
			if part <= 0 && !(y == a.h-1 && v > 0) {
				continue
			}
			a.put(chartLabel+x, y, style{fg: c.col}, m.theme.level(math.Min(math.Max(part, 0.01), 1)), 1)
		}
	}
	x := a.w - chartValue + 1
	a.fit(x, 0, chartValue-1, style{bold: true}, c.now)
	if a.h > 1 {
		a.fit(x, 1, chartValue-1, style{fg: faint}, "top "+c.unit(top))
	}
}

// metricList is README.md's metrics at the instant, and the distance to what no schedule can beat.
func (m *model) metricList(s *side) [][2]string {
	x, f := &s.frame.Metrics, &s.frame
	l := [][2]string{
		{"mean wait", seconds(x.WaitMean)},
		{p99Wait, quantile(x, x.WaitP99)},
		{"GPU utilization", percent(x.Utilization)},
		{"tasks/min", short(x.Throughput)},
		{"mean JCT", seconds(x.JCTMean)},
		{medianWait, quantile(x, x.WaitP50)},
		{"CPU utilization", percent(x.UtilizationCPU)},
		{"finished", count(x.Finished)},
		{"preemptions", count(x.Preemptions)},
		{"restarts", count(x.Restarts)},
	}
	if f.Use.GPUs == 0 {
		l[2] = [2]string{"jobs done", count(x.FinishedJobs)}
	}
	if x.WithDeadline > 0 {
		l = append(l, [2]string{"late", fmt.Sprintf("%d of %d", x.Late, x.WithDeadline)})
	}
	if b := s.info.LowerBound; b > 0 {
		l = append(l, [2]string{"lower bound", seconds(b.Seconds())})
		over := "-"
		if v := overBound(f, &s.info); !math.IsNaN(v) {
			over = excess(v)
		} else if el := f.At.Sub(f.From).Seconds(); el > b.Seconds() {
			over = fmt.Sprintf(">+%.1f%%", (el/b.Seconds()-1)*100)
		}
		l = append(l, [2]string{"over bound", over})
	}
	if !f.Closed || f.At < f.End {
		return append(l, [2]string{"makespan so far", seconds(x.Makespan)})
	}
	return append(l, [2]string{"makespan", seconds(x.Makespan)})
}

func (m *model) drawTenants(a area, f *history.Frame) {
	nw := min(max(a.w/5, 8), 24)
	x := 1
	title := "tenant"
	if shown := min(len(f.Groups), a.h-1); shown < f.AllGroups {
		title = fmt.Sprintf("%d of %d tenants", shown, f.AllGroups)
		if len(title) > nw {
			title = fmt.Sprintf("%d/%d tenants", shown, f.AllGroups)
		}
	}
	a.fit(x, 0, nw, style{bold: true}, title)
	a.right(x+nw, 0, 9, style{bold: true}, "running")
	a.right(x+nw+9, 0, 9, style{bold: true}, "queued")
	a.right(x+nw+18, 0, 9, style{bold: true}, "done")
	gpu := f.Use.GPUs > 0
	name := "CPUs"
	if gpu {
		name = "GPUs"
	}
	a.right(x+nw+27, 0, 9, style{bold: true}, name)
	for i, g := range f.Groups {
		y := i + 1
		if y >= a.h {
			break
		}
		n := g.Name
		if n == "" {
			n = "(none)"
		}
		a.fit(x, y, nw, style{}, n)
		a.right(x+nw, y, 9, style{}, count(int(g.Running)))
		a.right(x+nw+9, y, 9, style{}, count(int(g.Queued)))
		a.right(x+nw+18, y, 9, style{}, count(int(g.Done)))
		held, all := g.CPU, f.Use.CPUs
		if gpu {
			held, all = g.GPU, f.Use.GPUs
		}
		a.right(x+nw+27, y, 9, style{}, milli(held))
		if w := a.w - (x + nw + 38) - 1; w > 4 && all > 0 {
			m.theme.gauge(a, x+nw+38, y, min(w, 40), float64(held)/float64(all), colDone)
		}
	}
}

// count prints a number of things in at most 6 columns.
func count(n int) string {
	switch {
	case n < 0:
		return "-" + count(-n)
	case n < 100_000:
		return strconv.Itoa(n)
	case n < 10_000_000:
		return fmt.Sprintf("%.0fk", float64(n)/1e3)
	}
	return fmt.Sprintf("%.0fM", float64(n)/1e6)
}

func percent(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", v*100)
}

func share(v float64) string { return fmt.Sprintf("%.0f%%", v*100) }

// short prints a number with three digits.
func short(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case math.Abs(v) >= 10_000:
		return count(int(v))
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// milli prints thousandths of a GPU or CPU.
func milli(v int64) string { return strconv.FormatFloat(math.Round(float64(v)/10)/100, 'f', -1, 64) }

// fraction prints how much of a capacity is held.
func fraction(held, all int64) string {
	return fmt.Sprintf("%s/%s", short(float64(held)/1000), short(float64(all)/1000))
}

// bytes prints an amount of memory.
func gib(b int64) string {
	g := float64(b) / (1 << 30)
	switch {
	case g >= 10_000:
		return fmt.Sprintf("%.0fT", g/1024)
	case g >= 100 || g == math.Trunc(g):
		return fmt.Sprintf("%.0fG", g)
	}
	return fmt.Sprintf("%.1fG", g)
}
