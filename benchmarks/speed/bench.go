package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// bench measures the table and judges it.
type bench struct {
	out     io.Writer
	short   bool
	runs    int
	match   string
	gobench string
	lines   strings.Builder // for benchstat
}

// slack is by how much the short form lets a ratio exceed its budget: machines that run tests are busy.
const slack = 1.25

// retries is how often the short form measures a row again that breaks its budget.
const retries = 2

// A row that has taken so long is not run again: its median is of fewer runs. In the short form it is not tried again either.
const (
	aRow      = 40 * time.Second
	aShortRow = 8 * time.Second
)

// So long after the first run no run is repeated any more because others were not at quiet times; sooner where a few rows alone are wanted.
const (
	aTable   = 9 * time.Minute
	aFewRows = time.Minute
)

// run prints the table and returns how many budgets are broken.
func (b *bench) run(h *house) (broken int, err error) {
	began := time.Now()
	form := "all metrics on, one processor, each run a process of its own, medians"
	if b.short {
		form = fmt.Sprintf("short form: fewer tasks, a ratio breaks its budget beyond %g x", slack)
	}
	fmt.Fprintf(b.out, "%s\n%s; %s\n\n", where(), time.Now().UTC().Format(time.DateOnly), form)
	fmt.Fprintf(b.out, "%-39s %8s %6s %9s %9s %9s  %-28s %s\n", "workload", "tasks", "runs", "ns/task", "ratio", "B/task", "budget", "verdict")
	b.lines.WriteString(goBenchHead())
	turns := map[string][]sample{}
	if !b.short {
		if turns, err = b.inTurns(h); err != nil {
			return 0, err
		}
	}
	seen, busy := map[string]sample{}, false
	for _, r := range table {
		n := r.tasks
		if b.short {
			n = r.short
		}
		if n == 0 || !strings.Contains(r.name, b.match) {
			continue
		}
		var s sample
		var counted []sample
		var runs, verdict string
		started := time.Now()
		for try := 0; ; try++ {
			all := turns[r.name]
			if b.short {
				if all, err = b.row(h, r, n); err != nil {
					return broken, err
				}
			}
			counted = all
			if !b.short {
				counted = h.counted(all, b.wanted(r))
			}
			s, runs = medians(counted), fmt.Sprint(len(counted))
			switch {
			case s.skip != "":
				runs = "0"
			case !b.short:
				if runs += fmt.Sprintf("/%d", len(all)); r.bounds.ratio > 0 && r.in != inMS && h.quietRuns(all) < len(counted) {
					runs, busy = runs+"*", true
				}
			}
			verdict = judge(r, s, seen, b.slack())
			if !b.short || try == retries || time.Since(started) > aShortRow || !strings.HasPrefix(verdict, fails) {
				break
			}
		}
		if s.skip == "" {
			for _, s := range counted {
				b.lines.WriteString(goBenchLine(r, n, s))
			}
		}
		seen[r.name] = s
		if strings.HasPrefix(verdict, fails) {
			broken++
		}
		fmt.Fprintf(b.out, "%-39s %8s %6s %9s %9s %9s  %-28s %s\n", r.name, count(n), runs, number(s.ns, 0), ratio(s.ratio, r.in), number(s.bytes, 0), r.bounds.text(r.in), verdict)
	}
	fmt.Fprintln(b.out)
	if busy {
		fmt.Fprintln(b.out, "* not all of these were at quiet times, but no others were quieter")
	}
	for _, f := range []struct {
		in unit
		ns []float64
	}{{inEw, h.ew}, {inE, h.e}} {
		if len(f.ns) > 0 {
			fmt.Fprintf(b.out, "floor %s: %.0f ns of user CPU a task (%.0f to %.0f in this time)\n", f.in, median(f.ns), slices.Min(f.ns), slices.Max(f.ns))
		}
	}
	fmt.Fprintf(b.out, "%.0f s in all\n", time.Since(began).Seconds())
	if b.gobench != "" {
		err = os.WriteFile(b.gobench, []byte(b.lines.String()), 0o666)
	}
	return broken, err
}

func (b *bench) slack() float64 {
	if b.short {
		return slack
	}
	return 1
}

// wanted is how many runs of a row are to count.
func (b *bench) wanted(r row) int {
	switch {
	case r.once || r.in == inMS || r.in == inFifo && r.bounds == bounds{}:
		return 1
	case r.in == inFifo:
		return min(b.runs, 3)
	}
	return b.runs
}

// inTurns measures all rows once, then again, and so on, so that what else the machine does for half a minute spoils one run of a row and not all; and as
// long as there is time once more where there is a budget and too few runs were at quiet times.
func (b *bench) inTurns(h *house) (map[string][]sample, error) {
	turns, spent := map[string][]sample{}, map[string]time.Duration{}
	regular, most := map[string]int{}, aTable
	if b.match != "" {
		most = aFewRows
	}
	for turn, again, began := 0, true, time.Now(); again; turn++ {
		fmt.Fprintf(os.Stderr, "turn %d\n", turn+1)
		again = false
		for _, r := range table {
			if !strings.Contains(r.name, b.match) {
				continue
			}
			all := turns[r.name]
			switch {
			case turn == 0 || all[0].skip == "" && turn < b.wanted(r) && spent[r.name] < aRow:
				regular[r.name]++
			case all[0].skip != "" || r.in == inMS || r.bounds.ratio == 0 || h.quietRuns(all) >= regular[r.name] || time.Since(began) > most:
				continue
			}
			at := time.Now()
			s, err := b.between(h, r)
			if err != nil {
				return nil, err
			}
			turns[r.name] = append(all, s)
			spent[r.name] += time.Since(at)
			again = true
		}
	}
	return turns, nil
}

// between measures a row once, between two floors.
func (b *bench) between(h *house, r row) (s sample, err error) {
	if r.in == inEw || r.in == inE { // it measures them itself
		return b.one(h, r, r.tasks)
	}
	floors, err := h.around(inEw, func() (err error) {
		s, err = b.one(h, r, r.tasks)
		return err
	})
	s.floors = floors
	return s, err
}

// row measures one row several times.
func (b *bench) row(h *house, r row, n int) (all []sample, err error) {
	most := min(b.runs, 3)
	if r.once || r.in == inMS {
		most = 1
	}
	for began := time.Now(); len(all) < most && (len(all) == 0 || all[0].skip == "" && time.Since(began) < aShortRow/2); {
		s, err := b.one(h, r, n)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// one measures a row once.
func (b *bench) one(h *house, r row, n int) (sample, error) {
	s, err := r.measure(h, n)
	if err != nil {
		return s, fmt.Errorf("%s: %w", r.name, err)
	}
	return s, nil
}

// medians returns the medians of a row's runs.
func medians(all []sample) sample {
	if all[0].skip != "" {
		return all[0]
	}
	of := func(f func(sample) float64) float64 {
		var x []float64
		for _, s := range all {
			x = append(x, f(s))
		}
		return median(x)
	}
	return sample{
		ns: of(func(s sample) float64 { return s.ns }), ratio: of(func(s sample) float64 { return s.ratio }),
		bytes: of(func(s sample) float64 { return s.bytes }),
		wall:  of(func(s sample) float64 { return s.wall }), starts: of(func(s sample) float64 { return s.starts }), busy: slices.ContainsFunc(all, func(s sample) bool { return s.busy }),
	}
}

const fails = "FAIL"

// judge says whether a row keeps its budget. seen are the rows before it.
func judge(r row, s sample, seen map[string]sample, slack float64) string {
	if s.skip != "" {
		return "not judged: " + s.skip
	}
	var bad, notes []string
	kept := false
	check := func(what string, got, bound float64) {
		switch {
		case bound == 0 || math.IsNaN(got):
		case got > bound:
			bad = append(bad, fmt.Sprintf("%s %.3g", what, got/bound))
		default:
			kept = true
		}
	}
	check("ratio x", s.ratio, r.bounds.ratio*slack)
	if slack == 1 { // what a process needs before its first task is spread over too few of them in the short form
		check("memory x", s.bytes, r.bounds.bytes)
	}
	if other, ok := seen[r.bounds.after]; ok {
		check("growth x", s.ratio/other.ratio, r.bounds.grows)
		notes = append(notes, fmt.Sprintf("%.2f x of that at 1e6", s.ratio/other.ratio))
	}
	switch {
	case r.bounds.wall == 0:
	case s.busy:
		notes = append(notes, fmt.Sprintf("wall %.2f not judged: machine busy", s.wall))
	default:
		check("wall x", s.wall, r.bounds.wall)
		notes = append(notes, fmt.Sprintf("wall %.2f", s.wall))
	}
	if s.starts > 1.005 {
		notes = append(notes, fmt.Sprintf("%.2f starts a task", s.starts))
	}
	if r.note != "" {
		notes = append(notes, r.note)
	}
	note := ""
	if len(notes) > 0 {
		note = " (" + strings.Join(notes, ", ") + ")"
	}
	switch {
	case len(bad) > 0:
		return fails + ": " + strings.Join(bad, ", ") + note
	case kept:
		return "ok" + note
	}
	return strings.TrimSpace(note)
}

// text is a budget as the table shows it.
func (b bounds) text(in unit) string {
	var parts []string
	add := func(v float64, format string) {
		if v != 0 {
			parts = append(parts, fmt.Sprintf(format, v))
		}
	}
	add(b.ratio, "%g "+string(in))
	add(b.bytes, "%g B")
	add(b.grows, "%g x of 1e6")
	add(b.wall, "wall %g")
	return strings.Join(parts, ", ")
}

func number(v float64, digits int) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.*f", digits, v)
}

func ratio(v float64, in unit) string {
	if math.IsNaN(v) {
		return ""
	}
	digits := 2
	if v < 1 && in != inFifo || in == inX {
		digits = 3
	}
	return number(v, digits) + " " + string(in)
}

// count writes 1e6 for a million and so on.
func count(n int) string {
	zeros := 0
	for m := n; m >= 10 && m%10 == 0; m /= 10 {
		zeros++
	}
	if lead := n / int(math.Pow10(zeros)); zeros >= 4 && lead < 10 {
		return fmt.Sprintf("%de%d", lead, zeros)
	}
	return fmt.Sprint(n)
}

// median of no values is NaN. It leaves x as it is.
func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	x = slices.Clone(x)
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
