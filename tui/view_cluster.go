package tui

import (
	"fmt"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

func (m *model) drawCluster(a area, s *side, i int) {
	if m.heatMap(s) {
		m.drawHeat(a, s, i)
		return
	}
	f := &s.frame
	list := m.rows(viewCluster, a.h)
	c := m.clusterColumns(a.w, f)
	st := style{bold: true}
	a.fit(2, 0, c.name-1, st, "node")
	a.fit(c.name+2, 0, c.kind, st, "GPU type")
	x := c.name + c.kind + 3
	a.fit(x, 0, c.gauge+10, st, "CPU held")
	x += c.gauge + 10
	if c.mem {
		a.fit(x, 0, c.gauge+10, st, "memory held")
		x += c.gauge + 10
	}
	a.fit(x, 0, a.w-x, st, "GPUs, by "+m.paint.String())
	for k := range f.Nodes.Rows {
		if k >= list {
			break
		}
		row := f.Nodes.From + k
		m.drawNode(a, k+1, c, &f.Nodes.Rows[k])
		if row == s.cursor[viewCluster] && i == m.focus {
			m.selectLine(a, k+1)
		}
		m.click(a, 0, k+1, a.w, 1, func(m *model, _, _ int) { m.focus = i; m.choose(viewCluster, row) })
	}
	if p := panelHeight(a.h); p > 0 {
		if k := s.cursor[viewCluster] - f.Nodes.From; k >= 0 && k < len(f.Nodes.Rows) {
			m.drawNodePanel(a.sub(0, a.h-p, a.w, p), &f.Nodes.Rows[k])
		}
	}
}

type clusterColumns struct {
	name, kind, gauge int
	mem               bool
}

func (m *model) clusterColumns(w int, f *history.Frame) clusterColumns {
	c := clusterColumns{name: 10, kind: 8, gauge: 6, mem: w >= 90}
	for i := range f.Nodes.Rows {
		c.name = min(max(c.name, width(f.Nodes.Rows[i].Name)+1), max(w/5, 10))
	}
	if w >= 130 {
		c.gauge = 12
	}
	return c
}

func (m *model) drawNode(a area, y int, c clusterColumns, n *history.Node) {
	a.fit(2, y, c.name-1, style{}, n.Name)
	x := c.name + 2
	if n.State != history.Up {
		a.fit(x, y, a.w-x, style{fg: colFailed, bold: true}, m.theme.glyph("✗ ", "x ")+n.State.String())
		if n.State == history.Down {
			return
		}
		x += width(n.State.String()) + 3
		c.kind = max(c.kind-width(n.State.String())-3, 0)
	}
	a.fit(x, y, c.kind, style{fg: faint}, n.GPUType)
	x = c.name + c.kind + 3
	if n.State != history.Up {
		x = c.name + 11
	}
	resource := func(held, all int64, text string) {
		if all > 0 {
			m.theme.gauge(a, x, y, c.gauge, float64(held)/float64(all), colPreempted)
		}
		a.fit(x+c.gauge+1, y, 9, style{}, text)
		x += c.gauge + 10
	}
	cpu := "-" // not stated
	if n.CPUs > 0 {
		cpu = fraction(n.CPU, n.CPUs)
	}
	resource(n.CPU, n.CPUs, cpu)
	if c.mem {
		mem := "-"
		if n.Mems > 0 {
			mem = gib(n.Mem)
		}
		if of := mem + "/" + gib(n.Mems); n.Mems > 0 && width(of) <= 9 {
			mem = of
		}
		resource(n.Mem, n.Mems, mem)
	}
	m.drawDevices(a.sub(x, y, a.w-x, 1), n)
}

// drawDevices shows each GPU as a cell: its owner's colour, how much of it is held, and after them who holds most of the node.
func (m *model) drawDevices(a area, n *history.Node) {
	x := 0
	if n.GPUs > 0 && n.Devices == nil {
		w := min(a.w-14, 20)
		m.theme.gauge(a, 0, 0, w, float64(n.GPU)/float64(int64(n.GPUs)*sched.Whole), colDone)
		x = a.text(w+1, 0, style{}, fmt.Sprintf("%s/%d", short(float64(n.GPU)/1000), n.GPUs)) + 1
	}
	wide := 1
	if len(n.Devices)*3+12 <= a.w {
		wide = 2
	}
	for i := range n.Devices {
		d := &n.Devices[i]
		st, g := style{fg: track}, m.theme.glyph("·", ".")
		if d.Milli > 0 {
			st, g = style{fg: m.ownerColour(d.Owner)}, string(m.theme.level(float64(d.Milli)/sched.Whole))
			if m.theme.letters() {
				g = letter(m.ownerID(d.Owner))
			}
		}
		for range wide {
			x = a.text(x, 0, st, g)
		}
		if wide == 2 {
			x++
		}
	}
	if n.Largest.Task != sched.Nobody {
		text := n.Largest.Name
		if n.Holders > 1 {
			text += fmt.Sprintf(" +%d", n.Holders-1)
		}
		a.fit(x+1, 0, a.w-x-1, style{fg: m.ownerColour(n.Largest)}, text)
	}
}

// ownerID is the number that stands for the owner's job or tenant.
func (m *model) ownerID(o history.Owner) int32 {
	if m.paint == byTenant {
		return o.Tenant
	}
	return o.Job
}

func (m *model) ownerColour(o history.Owner) colour {
	if m.paint == byState {
		return colRunning
	}
	return ownerColour(m.ownerID(o))
}

// letter stands for an owner where there are no colours.
func letter(id int32) string { return string(rune('A' + uint32(id)%26)) }

func (m *model) drawNodePanel(a area, n *history.Node) {
	title := n.Name
	if n.GPUType != "" {
		title += "  " + fmt.Sprintf("%d x %s", n.GPUs, n.GPUType)
	}
	title += "  " + plural(int(n.Holders), "task", "tasks")
	if n.Sampled != nil {
		title += fmt.Sprintf("  measured: CPU %.0f%%, memory %s", n.Sampled.CPULoad*100, gib(n.Sampled.MemUsed))
	}
	if len(n.Devices) > 0 && n.Sampled == nil && width(title) < a.w-40 {
		title += "  held, GPU memory held, owner"
	}
	a.line(0, style{fg: faint}, m.theme.rule(), title)
	if len(n.Devices) == 0 {
		text := "no GPUs"
		if n.GPUs > 0 {
			text = fmt.Sprintf("%s of %d GPUs held", short(float64(n.GPU)/1000), n.GPUs)
		}
		if n.Largest.Task != sched.Nobody {
			text += "; most is held by " + n.Largest.Name
		}
		a.fit(2, 1, a.w-2, style{}, text)
		return
	}
	rows := a.h - 1
	cols := (len(n.Devices) + rows - 1) / rows
	w := a.w / max(cols, 1)
	for i := range n.Devices {
		if i/rows*w+20 > a.w {
			break
		}
		m.drawDevice(a.sub(i/rows*w, 1+i%rows, w, 1), i, &n.Devices[i])
	}
}

func (m *model) drawDevice(a area, i int, d *history.Device) {
	g := min(max(a.w/8, 6), 16)
	if a.w < 40 { // for the name
		g = 4
	}
	x := a.text(1, 0, style{bold: true}, fmt.Sprintf("GPU %-2d ", i))
	m.theme.gauge(a, x, 0, g, float64(d.Milli)/sched.Whole, m.ownerColour(d.Owner))
	x = a.text(x+g, 0, style{}, fmt.Sprintf(" %3d%% ", d.Milli/10))
	if d.Load >= 0 {
		x = a.text(x, 0, style{fg: faint}, fmt.Sprintf("busy %d%% ", d.Load))
	}
	switch {
	case d.UsedVRAM >= 0 && d.VRAMs > 0:
		x = a.text(x, 0, style{}, fmt.Sprintf("%s used of %s ", gib(d.UsedVRAM), gib(d.VRAMs)))
	case d.VRAMs > 0:
		x = a.text(x, 0, style{}, fmt.Sprintf("%s/%s ", gib(d.VRAM), gib(d.VRAMs)))
	}
	if d.Owner.Task == sched.Nobody {
		a.fit(x, 0, a.w-x-1, style{fg: faint}, "idle")
		return
	}
	text := d.Owner.Name
	if d.Others > 0 {
		text += fmt.Sprintf(" +%d", d.Others)
	}
	a.fit(x, 0, a.w-x-1, style{fg: m.ownerColour(d.Owner)}, text)
}

// drawHeat shows all nodes at once, a cell each, from unused to full.
func (m *model) drawHeat(a area, s *side, i int) {
	f := &s.frame
	heat := f.Nodes.Heat
	what := "CPUs"
	if f.Use.GPUs > 0 {
		what = "GPUs"
	}
	x := a.text(1, 0, style{bold: true}, fmt.Sprintf("%d nodes, %s held ", len(heat), what))
	x = a.text(x, 0, style{}, "0% ")
	for l := range heats {
		v := uint8(l * 100 / (heats - 1))
		x = m.heatCell(a, x, 0, 2, v)
	}
	x = a.text(x, 0, style{}, " 100%  ")
	x = m.heatCell(a, x, 0, 2, history.HeatDown)
	a.text(x, 0, style{}, " down")
	body := a.sub(0, 2, a.w, a.h-4)
	wide, per := heatCells(body.w, body.h, len(heat))
	first := 0
	if row := s.cursor[viewCluster] / per; row >= body.h {
		first = (row - body.h + 1) * per
	}
	for n := first; n < len(heat); n++ {
		cx, cy := (n-first)%per*wide, (n-first)/per
		if cy >= body.h {
			break
		}
		m.heatCell(body, cx, cy, wide, heat[n])
		if n == s.cursor[viewCluster] && i == m.focus {
			body.text(cx, cy, style{}, m.theme.glyph("❯", ">"))
			body.restyle(cx, cy, wide, func(st *style, _ rune) { *st = style{reverse: true, bold: true} })
		}
	}
	m.click(body, 0, 0, per*wide, body.h, func(m *model, hx, hy int) {
		m.focus = i
		m.choose(viewCluster, min(first+(hy-body.y)*per+(hx-body.x)/wide, len(heat)-1))
	})
	if len(f.Nodes.Rows) > 0 && f.Nodes.From == s.cursor[viewCluster] {
		n := &f.Nodes.Rows[0]
		m.drawNode(a, a.h-1, m.clusterColumns(a.w, f), n)
	}
}

// heatCell draws a use by colour and, for those who see none, by how dense the glyph is.
func (m *model) heatCell(a area, x, y, w int, v uint8) int {
	glyphs, st := []string{"·", "░", "▒", "▓", "█"}, style{fg: heatColour(v)}
	if m.theme.ascii {
		glyphs = []string{".", ":", "+", "#", "@"}
	}
	g := glyphs[min((int(v)+32)/33, 3)]
	if v == 100 { // only what is full looks so
		g = glyphs[4]
	}
	if v == history.HeatDown {
		g = m.theme.glyph("✗", "x")
	}
	for range w {
		x = a.text(x, y, st, g)
	}
	return x
}
