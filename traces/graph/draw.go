package graph

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/schedlab/schedlab/policies/sched"
)

// Picture says what a drawing shows besides the tasks and their edges. The zero value is fine.
type Picture struct {
	Title string
	Run   []time.Duration                             // shown beside the names, and what the critical path is measured in; nil: the estimates
	Name  func(sched.TaskID) string                   // what people read; nil or "": the task's id
	ID    func(sched.TaskID) string                   // DOT: the node's name, unique; nil: the task's id
	Attr  func(t sched.TaskID, put func(k, v string)) // DOT: further attributes; nil: none
	Lines int                                         // Tree: at most so many tasks; 0: 200
}

func (p *Picture) run(tb *sched.Table) []time.Duration {
	if p.Run != nil {
		return p.Run
	}
	return tb.Estimates
}

func (p *Picture) name(tb *sched.Table, t sched.TaskID) string {
	if p.Name != nil {
		if s := p.Name(t); s != "" {
			return s
		}
	}
	return tb.TaskNames.At(int(t))
}

// clean makes a name fit for one line of a terminal or a picture.
func clean(s string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if !strings.ContainsFunc(s, bad) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return ' '
		}
		return r
	}, s)
}

// seconds prints a duration in seconds with at most three decimals, "12.5 s".
func seconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Round(time.Millisecond))/1e9, 'f', -1, 64) + " s"
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// DOT writes the tasks and the edges among them for Graphviz. Tasks on the critical path of their job are not marked: a trace may
// have many jobs.
func DOT(w io.Writer, tb *sched.Table, tasks []sched.TaskID, p Picture) error {
	b := bufio.NewWriter(w)
	title := p.Title
	if title == "" {
		title = "schedlab"
	}
	fmt.Fprintf(b, "digraph %s {\n\trankdir=LR;\n\tnode [shape=box];\n", labelDOT(title))
	id := p.ID
	if id == nil {
		id = func(t sched.TaskID) string { return tb.TaskNames.At(int(t)) }
	}
	run := p.run(tb)
	for _, t := range tasks {
		fmt.Fprintf(b, "\t%s [label=%s", quoteDOT(id(t)), labelDOT(p.name(tb, t)+"\n"+seconds(run[t])))
		if p.Attr != nil {
			p.Attr(t, func(k, v string) { fmt.Fprintf(b, ", %s=%s", k, quoteDOT(v)) })
		}
		b.WriteString("];\n")
	}
	inside := func(sched.TaskID) bool { return true }
	if len(tasks) < len(tb.Tasks) {
		set := make(map[sched.TaskID]struct{}, len(tasks))
		for _, t := range tasks {
			set[t] = struct{}{}
		}
		inside = func(t sched.TaskID) bool { _, ok := set[t]; return ok }
	}
	for _, t := range tasks {
		for _, s := range tb.Succs(t) {
			if inside(s) {
				fmt.Fprintf(b, "\t%s -> %s", quoteDOT(id(t)), quoteDOT(id(s)))
				if bytes := tb.Sends(t, s); bytes > 0 {
					fmt.Fprintf(b, " [size=%d]", bytes)
				}
				b.WriteString(";\n")
			}
		}
	}
	b.WriteString("}\n")
	return b.Flush()
}

// labelDOT is quoteDOT for what is shown: what cannot be printed is a blank.
func labelDOT(s string) string {
	return quoteDOT(strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
}

// quoteDOT writes a quoted DOT string. In one, only \" and, in labels, escapes like \n mean anything else than themselves. All else stands as
// it is, since names that differ are those of different nodes.
func quoteDOT(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case 0: // ends a text in C
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Tree writes the DAG of a job for a terminal: every task once under its first predecessor, in full, and a second time as
// "(above)" under each other one. Tasks on the critical path carry a star. The error is a *CycleError or w's.
func Tree(w io.Writer, tb *sched.Table, job sched.JobID, p Picture) error {
	d, err := sub(tb, Members(tb, job))
	if err != nil {
		return err
	}
	run := p.run(tb)
	path, length := d.critical(run)
	critical := make(map[sched.TaskID]bool, len(path))
	for _, t := range path {
		critical[t] = true
	}
	edges := 0
	for _, s := range d.succ {
		edges += len(s)
	}
	title := p.Title
	if title == "" {
		title = tb.JobName.At(int(job))
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s: %s, %s, depth %d, longest path %s (* = on it)\n", clean(title), plural(len(d.ids), "task"), plural(edges, "edge"), d.levels, seconds(length))
	lines := p.Lines
	if lines == 0 {
		lines = 200
	}
	type frame struct {
		next []int32 // children yet to write
		lead string
	}
	var roots []int32
	for i := range d.ids {
		if len(d.pred[i]) == 0 {
			roots = append(roots, int32(i))
		}
	}
	shown := make([]bool, len(d.ids))
	written, left := 0, len(d.ids)
	stack := []frame{{roots, ""}}
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		if len(f.next) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		if written == lines {
			fmt.Fprintf(b, "... and %d more tasks\n", left)
			break
		}
		i := f.next[0]
		f.next = f.next[1:]
		branch, below := "├─ ", "│  "
		if len(f.next) == 0 {
			branch, below = "└─ ", "   "
		}
		star := ""
		if critical[d.ids[i]] {
			star = " *"
		}
		written++
		if shown[i] {
			fmt.Fprintf(b, "%s%s%s (above)%s\n", f.lead, branch, clean(p.name(tb, d.ids[i])), star)
			continue
		}
		shown[i] = true
		left--
		fmt.Fprintf(b, "%s%s%s  %s%s\n", f.lead, branch, clean(p.name(tb, d.ids[i])), seconds(run[d.ids[i]]), star)
		if len(d.succ[i]) > 0 {
			stack = append(stack, frame{d.succ[i], f.lead + below})
		}
	}
	return b.Flush()
}

// MaxSVG is the largest DAG that SVG draws: beyond it nobody can read the picture, and DOT has tools for it.
const MaxSVG = 3000

// spot is a task, or a bend of an edge that passes a layer, in a layered drawing.
type spot struct {
	task     int32 // -1: a bend
	in, out  []int32
	layer    int32
	pos      int32 // in its layer
	x, y     float64
	sum, num int64
}

// SVG writes a layered drawing of a job's DAG, from left to right, with the critical path in bold orange (Sugiyama, Tagawa, Toda,
// Methods for visual understanding of hierarchical system structures, IEEE TSMC 11(2), 1981: longest-path layers, bends for edges that pass
// layers, crossings lessened by barycentres). Large DAGs are drawn as dots; names stand in tooltips. A DAG of more than MaxSVG
// tasks is an error.
func SVG(w io.Writer, tb *sched.Table, job sched.JobID, p Picture) error {
	d, err := sub(tb, Members(tb, job))
	if err != nil {
		return err
	}
	n := len(d.ids)
	if n > MaxSVG {
		return fmt.Errorf("job %s has %d tasks; at most %d are drawn (DOT output has no limit)", tb.JobName.At(int(job)), n, MaxSVG)
	}
	run := p.run(tb)
	path, length := d.critical(run)
	onPath := make(map[[2]int32]bool, len(path))
	critical := make([]bool, n)
	local := make(map[sched.TaskID]int32, n)
	for i, t := range d.ids {
		local[t] = int32(i)
	}
	for k, t := range path {
		critical[local[t]] = true
		if k > 0 {
			onPath[[2]int32{local[path[k-1]], local[t]}] = true
		}
	}

	// Tasks first, so that spot i is task i; then the bends.
	spots := make([]spot, n, 2*n)
	for i := range n {
		spots[i] = spot{task: int32(i), layer: d.level[i]}
	}
	passed := 0
	for i := range n {
		for _, j := range d.succ[i] {
			passed += int(d.level[j] - d.level[i] - 1)
		}
	}
	type edge struct {
		via  []int32
		from int32
		to   int32
	}
	var edges []edge
	for i := range n {
		for _, j := range d.succ[i] {
			e := edge{from: int32(i), to: j}
			last := int32(i)
			if passed <= 20_000 { // beyond, edges run straight
				for l := d.level[i] + 1; l < d.level[j]; l++ {
					at := int32(len(spots))
					spots = append(spots, spot{task: -1, layer: l, in: []int32{last}})
					spots[last].out = append(spots[last].out, at)
					e.via = append(e.via, at)
					last = at
				}
			}
			spots[last].out = append(spots[last].out, j)
			spots[j].in = append(spots[j].in, last)
			edges = append(edges, e)
		}
	}
	layers := make([][]int32, d.levels)
	for _, i := range d.order { // in topological order, so that neighbours begin near each other
		layers[spots[i].layer] = append(layers[spots[i].layer], i)
	}
	for i := n; i < len(spots); i++ {
		layers[spots[i].layer] = append(layers[spots[i].layer], int32(i))
	}
	place := func(l []int32) {
		for k, i := range l {
			spots[i].pos = int32(k)
		}
	}
	for _, l := range layers {
		place(l)
	}
	sweep := func(l []int32, near func(*spot) []int32) {
		for _, i := range l {
			s := &spots[i]
			s.sum, s.num = int64(s.pos), 1
			if ns := near(s); len(ns) > 0 {
				s.sum, s.num = 0, int64(len(ns))
				for _, k := range ns {
					s.sum += int64(spots[k].pos)
				}
			}
		}
		slices.SortStableFunc(l, func(a, b int32) int {
			return cmp.Compare(spots[a].sum*spots[b].num, spots[b].sum*spots[a].num)
		})
		place(l)
	}
	for range 6 {
		for k := 1; k < len(layers); k++ {
			sweep(layers[k], func(s *spot) []int32 { return s.in })
		}
		for k := len(layers) - 2; k >= 0; k-- {
			sweep(layers[k], func(s *spot) []int32 { return s.out })
		}
	}

	// Coordinates: layers are columns, centred; a bend takes less room than a task.
	dots := n > 150
	boxH, taskGap, bendGap, layerGap := 34.0, 10.0, 8.0, 50.0
	if dots {
		boxH, taskGap, bendGap, layerGap = 8, 4, 3, 90
	}
	const top, margin, char, maxName = 46.0, 20.0, 6.6, 28
	names := make([]string, n)
	for i, t := range d.ids {
		names[i] = clean(p.name(tb, t))
		if r := []rune(names[i]); len(r) > maxName {
			names[i] = string(r[:maxName-9]) + "…" + string(r[len(r)-8:])
		}
	}
	widths, heights := make([]float64, len(layers)), make([]float64, len(layers))
	tallest := 0.0
	for k, l := range layers {
		widths[k] = boxH
		for _, i := range l {
			if t := spots[i].task; t >= 0 {
				heights[k] += boxH + taskGap
				if !dots {
					chars := max(utf8.RuneCountInString(names[t]), len(seconds(run[d.ids[t]])))
					widths[k] = max(widths[k], float64(chars)*char+16)
				}
			} else {
				heights[k] += bendGap
			}
		}
		tallest = max(tallest, heights[k])
	}
	x := margin
	for k, l := range layers {
		y := top + (tallest-heights[k])/2
		for _, i := range l {
			s := &spots[i]
			s.x = x
			if s.task >= 0 {
				s.y = y + boxH/2
				y += boxH + taskGap
			} else {
				s.y = y + bendGap/2
				y += bendGap
			}
		}
		x += widths[k] + layerGap
	}
	width, height := max(x-layerGap+margin, 420), top+tallest+margin

	b := bufio.NewWriter(w)
	title := p.Title
	if title == "" {
		title = tb.JobName.At(int(job))
	}
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="11">`+"\n", width, height, width, height)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	fmt.Fprintf(b, `<text x="%.0f" y="18" font-size="14" fill="#1a1a1a">%s</text>`+"\n", margin, html.EscapeString(clean(title)))
	fmt.Fprintf(b, `<text x="%.0f" y="34" fill="#555555">%s, %s; bold orange: longest path, %s</text>`+"\n", margin, plural(n, "task"), plural(len(edges), "edge"), seconds(length))
	draw := func(e *edge, bold bool) {
		stroke, wide := "#8a96a3", 1.0
		if bold {
			stroke, wide = "#d55e00", 2.5
		} else if dots {
			stroke, wide = "#b8c0c8", 0.5
		}
		from, to := &spots[e.from], &spots[e.to]
		px, py := from.x+widths[from.layer], from.y
		fmt.Fprintf(b, `<path d="M%.1f %.1f`, px, py)
		curve := func(x, y float64) {
			m := (px + x) / 2
			fmt.Fprintf(b, "C%.1f %.1f %.1f %.1f %.1f %.1f", m, py, m, y, x, y)
			px, py = x, y
		}
		for _, v := range e.via {
			curve(spots[v].x, spots[v].y)
			px += widths[spots[v].layer] // straight through the column
			fmt.Fprintf(b, "H%.1f", px)
		}
		curve(to.x, to.y)
		fmt.Fprintf(b, `" fill="none" stroke="%s" stroke-width="%.1f"/>`+"\n", stroke, wide)
	}
	for _, bold := range []bool{false, true} { // the critical path lies on top
		for k := range edges {
			if onPath[[2]int32{edges[k].from, edges[k].to}] == bold {
				draw(&edges[k], bold)
			}
		}
	}
	for i := range n {
		s := &spots[i]
		stroke, wide, fill := "#5b6770", 1.0, "#f4f6f8"
		if critical[i] {
			stroke, wide, fill = "#d55e00", 2.5, "#fff1e6"
		}
		full, took := html.EscapeString(clean(p.name(tb, d.ids[i]))), seconds(run[d.ids[i]])
		bw := widths[s.layer]
		fmt.Fprintf(b, `<g><title>%s, %s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="4" fill="%s" stroke="%s" stroke-width="%.1f"/>`,
			full, took, s.x, s.y-boxH/2, bw, boxH, fill, stroke, wide)
		if !dots {
			fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#1a1a1a">%s</text><text x="%.1f" y="%.1f" text-anchor="middle" fill="#555555" font-size="10">%s</text>`,
				s.x+bw/2, s.y-2, html.EscapeString(names[i]), s.x+bw/2, s.y+11, took)
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Flush()
}
