package report

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/metrics"
)

// Best marks the best value of a column.
const Best = "*"

// TableOptions say how the table may look.
type TableOptions struct {
	Width int  // columns of the terminal; 0 = as wide as it takes
	Color bool // bold and faint are allowed
}

// ColorWanted reports whether output may carry colours: it goes to a terminal and NO_COLOR is not set (https://no-color.org).
func ColorWanted(terminal bool) bool { return terminal && os.Getenv("NO_COLOR") == "" }

// column is one column of the table. Those of the lowest rank stay when the terminal is narrow.
type column struct {
	title, unit string
	rank        int
	value       func(s, first *Summary) float64
	format      func(float64) string
	cell        func(s *Summary) string // instead of value and format, for what is not compared
	better      metrics.Better
	idle        bool // left out where it is 0 in every row
}

// unmissed is the rank from which on a dropped column is not mentioned.
const unmissed = 16

func percentage(v float64) string { return fmt.Sprintf("%.1f", 100*v) }

func metricColumn(name string, rank int) column {
	m := metrics.Lookup(name)
	c := column{title: m.Title, unit: m.Unit, rank: rank, better: m.Better, format: Human}
	c.value = func(s, _ *Summary) float64 { return m.Of(&s.Mean) }
	return c
}

func shareColumn(name string, rank int) column {
	c := metricColumn(name, rank)
	c.unit, c.format = "%", percentage
	return c
}

func idleColumn(name string, rank int) column {
	c := metricColumn(name, rank)
	c.idle = true
	return c
}

// ratioColumn is the ratio to the first policy.
func ratioColumn(name string, rank int) column {
	m := metrics.Lookup(name)
	return column{
		title: "to first", unit: "x", rank: rank,
		value: func(s, first *Summary) float64 {
			if s == first {
				return math.NaN()
			}
			return m.Of(&s.Mean) / m.Of(&first.Mean)
		},
		format: func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) },
	}
}

func intervalColumn(name string, rank int) column {
	return column{title: "95 % interval", unit: metrics.Lookup(name).Unit, rank: rank, cell: func(s *Summary) string {
		if ci, ok := s.CI[name]; ok && ci.Known() {
			return Human(ci.Low) + ".." + Human(ci.High)
		}
		return ""
	}}
}

var columns = []column{
	metricColumn("wait_mean_s", 0), ratioColumn("wait_mean_s", 1), intervalColumn("wait_mean_s", 4),
	metricColumn("wait_p50_s", 11), metricColumn("wait_p99_s", 7),
	metricColumn("response_mean_s", 17), metricColumn("job_wait_mean_s", 14),
	metricColumn("jct_mean_s", 5), ratioColumn("jct_mean_s", 18), metricColumn("slowdown_mean", 9),
	shareColumn("utilization_gpu", 2), shareColumn("utilization_cpu", 5), shareColumn("goodput", 15),
	metricColumn("throughput_per_min", 2), ratioColumn("throughput_per_min", 16),
	metricColumn("makespan_s", 6),
	{
		title: "over bound", unit: "%", rank: 3, better: metrics.Less, format: percentage,
		value: func(s, _ *Summary) float64 { return s.Mean.Makespan/s.Mean.LowerBound - 1 },
	},
	metricColumn("lower_bound_s", 19),
	shareColumn("deadline_miss", 8), metricColumn("fairness", 12),
	idleColumn("preemptions", 10), idleColumn("restarts", 13), idleColumn("lost_work_gpu_s", 13), idleColumn("fragmentation_gpus", 17),
	{
		title: "unfinished", unit: "tasks", rank: 1, better: metrics.Less, idle: true, format: Human,
		value: func(s, _ *Summary) float64 { return s.Mean.Tasks - s.Mean.Finished },
	},
	{
		title: "decisions", unit: "", rank: 4, idle: true, format: Human, // where a window costs waiting
		value: func(s, _ *Summary) float64 {
			if s.Mean.CauseSeconds[sched.Window] == 0 {
				return 0
			}
			return s.Mean.Decisions
		},
	},
	{
		title: "node hours", unit: "h", rank: 3, better: metrics.Less, idle: true, format: Human, // where they have a price
		value: func(s, _ *Summary) float64 {
			if math.IsNaN(s.Mean.Cost) {
				return 0
			}
			return s.Mean.NodeHours
		},
	},
	idleColumn("cost", 3),
	metricColumn("sim_wall_s", 20),
}

// Human writes a number for people: three significant digits, whole with thousands apart from 100 on; "-" for NaN.
func Human(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case a == 0:
		return "0"
	case a >= 1e15:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case a >= 99.95:
		s := strconv.FormatFloat(v, 'f', 0, 64)
		from := 0
		if v < 0 {
			from = 1
		}
		for i := len(s) - 3; i > from; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 9.995:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	case a >= 0.9995:
		return trim(strconv.FormatFloat(v, 'f', 2, 64))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func trim(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

// Table writes the summary as a table, one row a policy; with several loads, one table a load. The best value of each column is marked
// with an asterisk. In a narrow terminal the less important columns are dropped.
func (c *Comparison) Table(w io.Writer, opt TableOptions) error {
	if err := c.Heading(w, opt); err != nil {
		return err
	}
	return c.Body(w, opt)
}

func (opt TableOptions) styles() (bold, faint lipgloss.Style) {
	look := lipgloss.NewRenderer(io.Discard)
	look.SetColorProfile(termenv.Ascii)
	if !opt.Color {
		return look.NewStyle(), look.NewStyle()
	}
	look.SetColorProfile(termenv.ANSI)
	return look.NewStyle().Bold(true), look.NewStyle().Faint(true)
}

// Heading writes the table's first lines, trace and cluster: what is known before there are results.
func (c *Comparison) Heading(w io.Writer, opt TableOptions) error {
	var b strings.Builder
	bold, _ := opt.styles()
	for i, line := range wrap(c.heading(), opt.Width) {
		if i == 0 {
			line = bold.Render(line)
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Body writes what follows the heading.
func (c *Comparison) Body(w io.Writer, opt TableOptions) error {
	var b strings.Builder
	bold, faint := opt.styles()
	done := 0
	var dropped []string
	marked := false
	for done < len(c.Summary) {
		first := c.Summary[done].Load
		n := done
		for n < len(c.Summary) && (c.Summary[n].Load == first || math.IsNaN(c.Summary[n].Load) && math.IsNaN(first)) {
			n++
		}
		b.WriteString("\n")
		if !math.IsNaN(first) {
			fmt.Fprintf(&b, "load %s\n", strconv.FormatFloat(first, 'g', -1, 64))
		}
		left, some := section(&b, c.Summary[done:n], opt.Width, bold, faint)
		marked = marked || some
		if dropped == nil {
			dropped = left
		}
		done = n
	}
	var foot []string
	if marked {
		foot = append(foot, Best+" best of its column")
	}
	if len(dropped) > 0 {
		foot = append(foot, "not shown for lack of width: "+strings.Join(dropped, ", "))
	}
	foot = []string{strings.Join(foot, "; ")}
	for _, line := range append(foot, c.Notes...) {
		for _, l := range wrap(line, opt.Width) {
			b.WriteString(faint.Render(l) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Comparison) heading() string {
	var parts []string
	if c.Trace.Source != "" {
		parts = append(parts, c.Trace.Source)
	}
	parts = append(parts, Plural(c.Trace.Tasks, "task")+" of "+Plural(c.Trace.Jobs, "job"))
	on := Plural(c.Cluster.Nodes, "node")
	if c.Cluster.GPUs > 0 {
		on += ", " + Plural(int(c.Cluster.GPUs), "GPU")
	} else if c.Cluster.CPUs != nil {
		unit := " CPUs"
		if *c.Cluster.CPUs == 1 {
			unit = " CPU"
		}
		on += ", " + Human(*c.Cluster.CPUs) + unit
	}
	if c.Cluster.Spec != "" {
		on = c.Cluster.Spec + " (" + on + ")"
	}
	return strings.Join(append(parts, "on "+on), ", ")
}

// Plural writes a count of things: "1 task", "2,875 tasks".
func Plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return Human(float64(n)) + " " + what
}

// section writes the rows of one load and returns the titles of the columns that did not fit, and whether a value is marked as the best.
func section(b *strings.Builder, rows []Summary, width int, bold, faint lipgloss.Style) (dropped []string, marked bool) {
	first := &rows[0]
	// The policies' names, shortened in the middle where they would take more than a third of the line.
	names := []string{"policy", ""}
	most := 40
	if width > 0 {
		most = max(12, width/3)
	}
	wide := 6
	for i := range rows {
		names = append(names, elide(rows[i].Policy, most))
		wide = max(wide, lipgloss.Width(names[i+2]))
	}
	type shown struct {
		cells []string // title, unit, one a row
		best  []bool
		width int
		rank  int
		title string
	}
	var all []shown
	for _, c := range columns {
		s := shown{cells: []string{c.title, c.unit}, best: make([]bool, len(rows)+2), rank: c.rank, title: c.title}
		useful := false
		best, worst := math.Inf(1), math.Inf(-1) // of value x direction, smaller is better
		values := make([]float64, len(rows))
		for i := range rows {
			if c.cell != nil {
				text := c.cell(&rows[i])
				useful = useful || text != ""
				if text == "" {
					text = "-"
				}
				s.cells = append(s.cells, text+" ")
				continue
			}
			v := c.value(&rows[i], first)
			values[i] = v
			if math.IsNaN(v) || math.IsInf(v, 0) {
				s.cells = append(s.cells, "- ")
				continue
			}
			useful = useful || !c.idle || v != 0
			x := -float64(c.better) * v
			best, worst = min(best, x), max(worst, x)
			s.cells = append(s.cells, c.format(v)+" ")
		}
		if !useful {
			continue
		}
		for i, v := range values {
			// Nothing is best where all are the same; values that differ by rounding alone share the mark.
			if c.better != metrics.Neither && c.cell == nil && worst-best > 1e-9*math.Abs(best) && -float64(c.better)*v-best <= 1e-9*math.Abs(best) {
				s.cells[i+2] = strings.TrimSuffix(s.cells[i+2], " ") + Best
				s.best[i+2] = true
			}
		}
		s.cells[0] += " "
		s.cells[1] += " "
		for _, cell := range s.cells {
			s.width = max(s.width, lipgloss.Width(cell))
		}
		all = append(all, s)
	}
	keep := make([]bool, len(all))
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return all[x].rank - all[y].rank })
	used := wide
	for k, i := range order {
		if width > 0 && used+1+all[i].width > width && k > 0 {
			continue // a narrower one may still fit
		}
		keep[i] = true
		used += 1 + all[i].width
	}
	for i, s := range all {
		if !keep[i] && s.rank < unmissed && s.title != "to first" {
			dropped = append(dropped, s.title)
		}
	}
	for line := range names {
		if line == 2 {
			b.WriteString(faint.Render(strings.Repeat("-", used)) + "\n")
		}
		var l strings.Builder
		l.WriteString(names[line] + strings.Repeat(" ", wide-lipgloss.Width(names[line])))
		for i, s := range all {
			if !keep[i] {
				continue
			}
			cell := strings.Repeat(" ", 1+s.width-lipgloss.Width(s.cells[line])) + s.cells[line]
			if s.best[line] {
				marked = true
				cell = bold.Render(cell)
			}
			l.WriteString(cell)
		}
		text := strings.TrimRight(l.String(), " ")
		if line < 2 {
			text = faint.Render(text)
		}
		b.WriteString(text + "\n")
	}
	unfinished := false
	for i := range rows {
		unfinished = unfinished || rows[i].Mean.Finished < rows[i].Mean.Tasks
	}
	if lb := first.Mean.LowerBound; !math.IsNaN(lb) {
		for _, l := range wrap("no schedule ends before "+Human(lb)+" s (lower bound of the makespan)", width) {
			b.WriteString(l + "\n")
		}
	}
	var nobody []string
	for i := range rows {
		if rows[i].Mean.WaitMean == 0 {
			nobody = append(nobody, rows[i].Policy)
		}
	}
	text := ""
	switch {
	case unfinished: // what is left may have waited
	case len(nobody) == len(rows):
		more := "--load"
		if !math.IsNaN(first.Load) {
			more = "a --load above " + strconv.FormatFloat(first.Load, 'g', -1, 64)
		}
		text = "nobody waited under any policy: the cluster had room for every task at once (try a smaller one, or " + more + ")"
	case len(nobody) > 0:
		text = "nobody waited under " + strings.Join(nobody, ", ")
	}
	for _, l := range wrap(text, width) {
		b.WriteString(l + "\n")
	}
	return dropped, marked
}

func elide(s string, most int) string {
	if lipgloss.Width(s) <= most {
		return s
	}
	r := []rune(s)
	for keep := len(r) - 1; keep > 1; keep-- {
		short := string(r[:(keep+1)/2]) + "…" + string(r[len(r)-keep/2:])
		if lipgloss.Width(short) <= most {
			return short
		}
	}
	return "…"
}

// wrap breaks printable text at spaces into lines of at most width; a longer word stands alone.
func wrap(text string, width int) []string {
	if text == "" {
		return nil
	}
	text = Printable(text)
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines) - 1; n >= 0 && lipgloss.Width(lines[n])+1+lipgloss.Width(word) <= width {
			lines[n] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// Printable returns the text as a terminal may be shown it, which would obey control characters: names come from files and from others. They are
// written as JSON has them, so that JSON stays what it is; lines and tabs stay, and what is no UTF-8 becomes U+FFFD.
func Printable(s string) string {
	bad := func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }
	if utf8.ValidString(s) && strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
