package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/schedlab/schedlab/benchmarks/plots"
)

// grown are the rows whose growth is drawn, by name, with what the legend calls them.
var grown = []struct{ row, name string }{
	{"fifo", "fifo"},
	{"sjf", "sjf"},
	{"easy, inexact estimates", "easy, inexact estimates"},
	{"critical-path, 4 resources, 8 scored", "critical-path{score=8}, 4 resources"},
	{"blevel, 3 edges a task", "blevel, 3 edges a task"},
}

// sizes are the numbers of tasks.
var sizes = []int{10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000}

// growthTurns is how often each size is measured, the largest once in three turns; growthRuns of them count, or more if they were at quiet times.
const (
	growthTurns = 6
	growthRuns  = 3
)

// grow measures the cost of a task at each size, in turns, and draws it. A point is the ratio to the floor around it, in ns by the median of all floors:
// the machine's own swings are not the simulator's.
func grow(h *house, out io.Writer, folder string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	all := make([][][]sample, len(grown))
	for turn := range growthTurns {
		fmt.Fprintf(os.Stderr, "turn %d\n", turn+1)
		for i, g := range grown {
			r := table[slices.IndexFunc(table, func(r row) bool { return r.name == g.row })]
			if all[i] == nil {
				all[i] = make([][]sample, len(sizes))
			}
			for k, n := range sizes {
				if n > 3*million && turn%3 > 0 {
					continue
				}
				s, err := h.simulateTimes(r.policy, r.load, n, max(1, 300_000/n))
				if err != nil {
					return fmt.Errorf("%s: %w", g.name, err)
				}
				all[i][k] = append(all[i][k], s)
			}
		}
	}
	lines := make([]plots.Line, 0, len(grown))
	for i, g := range grown {
		line := plots.Line{Name: g.name}
		for k, n := range sizes {
			s := medians(h.counted(all[i][k], growthRuns))
			if s.skip != "" {
				fmt.Fprintf(out, "%s: %s\n", g.name, s.skip)
				break
			}
			fmt.Fprintf(out, "%-40s %9s %6.2f Ew\n", g.name, count(n), s.ratio)
			line.X, line.Y = append(line.X, float64(n)), append(line.Y, s.ratio)
		}
		if len(line.X) > 0 {
			lines = append(lines, line)
		}
	}
	ew := median(h.ew)
	for i := range lines {
		for k := range lines[i].Y {
			lines[i].Y[k] *= ew
		}
	}
	f, err := plots.Growth("Cost of a task against the number of tasks", "tasks", "user CPU (ns a task)", lines)
	if err != nil {
		return err
	}
	f.Note(fmt.Sprintf("1000 nodes, all metrics on; each point by the floor Ew around it, Ew = %.0f ns; %s", ew, machine()))
	for _, format := range []string{"png", "svg"} {
		w, err := os.Create(filepath.Join(folder, "growth."+format))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Write(w, format), w.Close()); err != nil {
			return err
		}
	}
	return nil
}
