package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestABrokenBudgetIsNamed(t *testing.T) {
	nan := math.NaN()
	r := row{name: "x", in: inEw, bounds: bounds{ratio: 2, bytes: 100, grows: 1.1, after: "y", wall: 0.6}}
	good := sample{ns: 1, ratio: 1.9, bytes: 99, wall: 0.5}
	seen := map[string]sample{"y": {ratio: 1.8}}
	for _, c := range []struct {
		change func(*sample)
		slack  float64
		want   string
	}{
		{func(*sample) {}, 1, "ok (1.06 x of that at 1e6, wall 0.50)"},
		{func(s *sample) { s.ratio = 2.2 }, 1, "FAIL: ratio x 1.1, growth x 1.11 (1.22"},
		{func(s *sample) { s.ratio = 1.97 }, 1.25, "ok"},
		{func(s *sample) { s.bytes = 200 }, 1, "FAIL: memory x 2"},
		{func(s *sample) { s.bytes = 200 }, 1.25, "ok"},
		{func(s *sample) { s.wall = 0.9 }, 1, "FAIL: wall x 1.5"},
		{func(s *sample) { s.wall, s.busy = 0.9, true }, 1, "ok (1.06 x of that at 1e6, wall 0.90 not judged: machine busy)"},
		{func(s *sample) { *s = nothing("no compiler") }, 1, "not judged: no compiler"},
		{func(s *sample) { *s = sample{ns: nan, ratio: 2.6, bytes: nan, wall: nan, busy: true} }, 1.25, "FAIL: ratio x 1.04"},
	} {
		s := good
		c.change(&s)
		if got := judge(r, s, seen, c.slack); !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v with slack %g: %q, wanted %q", s, c.slack, got, c.want)
		}
	}
	if got := judge(row{in: inEw}, good, seen, 1); got != "" {
		t.Errorf("a row without a budget: %q", got)
	}
}

// Which runs count is chosen by the floors around them, never by what the runs say.
func TestTheRunsThatCountAreThoseAtQuietTimes(t *testing.T) {
	h := &house{ew: []float64{150, 100, 104, 140, 101, 160, 102, 103, 180, 170}, e: []float64{300, 330, 400}}
	at := func(u unit, larger, ratio float64) sample {
		return sample{ratio: ratio, floors: floorPair{unit: u, larger: larger}}
	}
	all := []sample{at(inEw, 150, 1), at(inEw, 112, 9), at(inEw, 100, 8), at(inEw, 140, 2), at(inEw, 111, 7)}
	for _, c := range []struct {
		all    []sample
		wanted int
		quiet  int
		want   []float64 // the ratios of those that count
	}{
		{all, 1, 2, []float64{8, 7}},
		{all, 3, 2, []float64{8, 7, 9}},
		{all, 9, 2, []float64{8, 7, 9, 2, 1}},
		{[]sample{at(inE, 331, 3), at(inE, 330, 4)}, 1, 1, []float64{4}},
		{[]sample{nothing("no compiler")}, 5, 0, []float64{math.NaN()}},
	} {
		var got []float64
		for _, s := range h.counted(c.all, c.wanted) {
			got = append(got, s.ratio)
		}
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
			t.Errorf("of %d wanted count %v, not %v", c.wanted, got, c.want)
		}
		if c.all[0].skip == "" && h.quietRuns(c.all) != c.quiet {
			t.Errorf("%d runs at quiet times, not %d", h.quietRuns(c.all), c.quiet)
		}
	}
}

func TestEveryRowIsInTheTableOnceAfterTheOneThatItsGrowthIsJudgedBy(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		if seen[r.name] || r.name == "" || r.tasks == 0 || r.measure == nil {
			t.Errorf("row %q", r.name)
		}
		if a := r.bounds.after; a != "" && !seen[a] {
			t.Errorf("%s is judged by %q, which is not before it", r.name, a)
		}
		seen[r.name] = true
	}
	for _, g := range grown {
		if !seen[g.row] {
			t.Errorf("the growth of %q, which is no row", g.row)
		}
	}
}

// The row would say nothing if the models were still there: what is cut out is all that the loop asks of them, and the program still builds.
func TestTheModelsAreCutOutOfTheSimulator(t *testing.T) {
	var text []byte
	for _, name := range asking {
		b, err := os.ReadFile("../../sim/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	cut, n := withoutModels(string(text))
	if n < leastHooks {
		t.Errorf("%d questions whether a model is on, not %d", n, leastHooks)
	}
	for _, model := range []string{"m", "window", "stager", "elastic", "ooms", "Tenants"} {
		if q := " r." + model + " "; !strings.Contains(string(text), q) || strings.Contains(cut, q+"!= nil") || strings.Contains(cut, q+"== nil") {
			t.Errorf("r.%s is not asked any more, or still is", model)
		}
	}
	h := &house{dir: t.TempDir(), made: map[string]bool{}}
	bare, err := h.bare()
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.run(1, true, bare, "-child", "simulate", "-tasks", "1000", "-policy", "fifo", "-load", "gpus")
	if err != nil || !(p.told.Utilization > 0) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestNumbersOfTasksAreWrittenShort(t *testing.T) {
	for n, want := range map[int]string{10_000_000: "1e7", 300_000: "3e5", 250_000: "250000", 1: "1", 10_000: "1e4", 5000: "5000"} {
		if got := count(n); got != want {
			t.Errorf("%d: %s, wanted %s", n, got, want)
		}
	}
}

func TestTheMedianOfAnEvenNumberIsBetween(t *testing.T) {
	x := []float64{4, 1, 3, 2}
	if m := median(x); m != 2.5 || x[0] != 4 {
		t.Error(m, x)
	}
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Error(m)
	}
	if !math.IsNaN(median(nil)) {
		t.Error("a median of nothing")
	}
}

func TestARunIsALineThatBenchstatReads(t *testing.T) {
	got := goBenchLine(row{name: "critical-path, 4 resources, 8 scored", in: inEw}, 1_000_000, sample{ns: 812.25, ratio: 5.5, bytes: 118, wall: math.NaN()})
	if want := "Benchmark/critical-path_4_resources_8_scored/tasks=1000000 1 812.25 ns/task 5.5 ratio 118 B/task\n"; got != want {
		t.Errorf("%q, wanted %q", got, want)
	}
	got = goBenchLine(row{name: "start, --help", in: inMS}, 1, sample{ns: math.NaN(), ratio: 13.5, bytes: math.NaN()})
	if want := "Benchmark/start_--help/tasks=1 1 13.5 start-ms\n"; got != want {
		t.Errorf("%q, wanted %q", got, want)
	}
}

func TestTheTableIsPutBetweenItsMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	var p page
	fmt.Fprint(&p, "a table  \n  of two lines\n")
	if err := os.WriteFile(path, []byte("no marks"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := p.into(path); err == nil {
		t.Error("a file without marks was taken")
	}
	if err := os.WriteFile(path, []byte("above\n"+pageBegin+"\nold\n"+pageEnd+"\nbelow\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	want := "above\n" + pageBegin + "\n\n```\na table\n  of two lines\n```\n\n" + pageEnd + "\nbelow\n"
	for range 2 { // the second time there is nothing to change
		if err := p.into(path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Fatalf("%v\n%s", err, got)
		}
	}
}

func TestTheReadmeHasItsMarks(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if from, to := strings.Index(string(b), pageBegin), strings.Index(string(b), pageEnd); from < 0 || to < from {
		t.Error("make bench-readme has no place in benchmarks/README.md")
	}
}

func TestTheLayeredWorkloadKeepsItsShape(t *testing.T) {
	const n = 400_000
	w := layered(n)
	if edges := len(w.Succ); edges < 5*n/2 || edges > 3*n {
		t.Errorf("%d edges of %d tasks", edges, n)
	}
	for task := range n {
		last := -1
		for _, p := range w.Preds(sched.TaskID(task)) {
			if int(p) <= last || int(p) >= task {
				t.Fatalf("task %d: predecessors %v", task, w.Preds(sched.TaskID(task)))
			}
			last = int(p)
		}
	}
	a := asked{policy: "fjf", load: "layered", tasks: n}
	m, err := a.simulate()
	if err != nil || m.Utilization < 0.9 {
		t.Errorf("the cores are busy for %.2f of the time: %v", m.Utilization, err)
	}
}

// TestTheFloorIsTheReferencesFloor runs this program's floor loop and the reference's, which stands beside the module, at the same time on two processors:
// the machine's speed swings by more than what is asked for from one minute to the next. Three tries, since other work may hit one of the two alone.
func TestTheFloorIsTheReferencesFloor(t *testing.T) {
	reference := filepath.Join("..", "..", "..", "shared", "floor")
	if root := os.Getenv("SCHEDLAB_SHARED"); root != "" {
		reference = filepath.Join(root, "floor")
	}
	if _, err := os.Stat(reference); err != nil {
		t.Skipf("the reference is not at %s (SCHEDLAB_SHARED names the folder that it is in)", reference)
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	dir := t.TempDir()
	build := func(name, folder string) string {
		to := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-o", to, ".")
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return to
	}
	theirs, own := build("reference", reference), build("own", ".")
	const within = 1.15
	var said []string
	for range 3 {
		var text []byte
		done := make(chan error, 1)
		go func() {
			var err error
			text, err = exec.Command(theirs).Output()
			done <- err
		}()
		f, err := startFloors(own)
		if err != nil {
			t.Fatal(err)
		}
		var ew, e []float64
		for range 5 {
			x, err := f.measure("Ew", floorRecords)
			if err != nil {
				t.Fatal(err)
			}
			ew = append(ew, x)
		}
		for range 5 {
			x, err := f.measure("E", floorRecords)
			if err != nil {
				t.Fatal(err)
			}
			e = append(e, x)
		}
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var refEw, refE float64
		for line := range strings.Lines(string(text)) {
			_, _ = fmt.Sscanf(line, "Ew %f", &refEw)
			_, _ = fmt.Sscanf(line, "E %f", &refE)
		}
		a, b := median(ew)/refEw, median(e)/refE
		said = append(said, fmt.Sprintf("Ew %.0f of %.0f ns (%.2f), E %.0f of %.0f ns (%.2f)", median(ew), refEw, a, median(e), refE, b))
		if max(a, 1/a) <= within && max(b, 1/b) <= within {
			t.Log(strings.Join(said, "; "))
			return
		}
	}
	t.Errorf("not within %g: %s", within, strings.Join(said, "; "))
}
