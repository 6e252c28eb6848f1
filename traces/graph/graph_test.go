package graph_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
)

// sharedFile finds a file of the shared traces, and skips the test where they are absent.
func sharedFile(t testing.TB, path string) string {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	for dir, _ := os.Getwd(); root == ""; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			root = filepath.Join(dir, "..", "shared")
		} else if dir == filepath.Dir(dir) {
			t.Skip("no module root above the test")
		}
	}
	file := filepath.Join(root, path)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the shared traces are not here: %v", err)
	}
	return file
}

func build(t interface{ Fatal(...any) }, rows ...traces.Row) *traces.Workload {
	b := traces.NewBuilder("test", "test")
	for i := range rows {
		if rows[i].Job == "" {
			rows[i].Job = "job"
		}
		rows[i].Estimate = -1
		if err := b.Add(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func node(name string, cpus int64) sched.NodeSpec {
	return sched.NodeSpec{Name: name, CPU: cpus * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, SpeedMilli: 1000}
}

// topcuoglu returns the ten tasks of Topcuoglu et al. 2002, Fig. 2 and Table 2, its three processors, and the communication per edge.
func topcuoglu(t *testing.T) (*traces.Workload, []sched.NodeSpec, []time.Duration) {
	text, err := os.ReadFile(sharedFile(t, "traces/dag/heft_canonical.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Cost  [][]float64
		Edges [][3]int
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	rows := make([]traces.Row, len(g.Cost))
	for i, c := range g.Cost {
		rows[i].ID = fmt.Sprint(i + 1)
		for p, s := range c {
			rows[i].RunOn = append(rows[i].RunOn, sched.CostOn{On: fmt.Sprintf("P%d", p), Run: time.Duration(s) * time.Second})
		}
	}
	for _, e := range g.Edges {
		rows[e[1]-1].After = append(rows[e[1]-1].After, fmt.Sprint(e[0]))
	}
	w := build(t, rows...)
	comm := make([]time.Duration, len(w.Succ))
	for from := range w.Tasks {
		for j, to := range w.Succs(sched.TaskID(from)) {
			for _, e := range g.Edges {
				if e[0] == from+1 && e[1] == int(to)+1 {
					comm[int(w.SuccOff[from])+j] = time.Duration(e[2]) * time.Second
				}
			}
		}
	}
	return w, []sched.NodeSpec{node("P0", 1), node("P1", 1), node("P2", 1)}, comm
}

func TestRanksOfTheTopcuogluGraph(t *testing.T) {
	w, nodes, comm := topcuoglu(t)
	cost := graph.MeanCost(w.Table, w.Run, w.RunOn, nodes)
	up, err := graph.UpwardRanks(w.Table, cost, comm)
	if err != nil {
		t.Fatal(err)
	}
	// Table 3 of the paper, both columns.
	wantUp := []float64{108, 77, 80, 80, 69, 63.333, 42.667, 35.667, 44.333, 14.667}
	wantDown := []float64{0, 31, 25, 22, 24, 27, 62.333, 66.667, 63.667, 93.333}
	down, err := graph.DownwardRanks(w.Table, cost, comm)
	if err != nil {
		t.Fatal(err)
	}
	for i := range wantUp {
		if math.Abs(up[i].Seconds()-wantUp[i]) > 0.0006 || math.Abs(down[i].Seconds()-wantDown[i]) > 0.0006 {
			t.Errorf("task %d: up %.3f, down %.3f; want %.3f, %.3f", i+1, up[i].Seconds(), down[i].Seconds(), wantUp[i], wantDown[i])
		}
	}
	fast := graph.Fastest(w.Table, w.Run, w.RunOn, nodes)
	for i, want := range []int{9, 13, 11, 8, 10, 9, 7, 5, 12, 7} {
		if fast[i] != time.Duration(want)*time.Second {
			t.Errorf("task %d: fastest %v, want %d s", i+1, fast[i], want)
		}
	}
	// Without communication HEFT's 80 s stays above the bound.
	b, err := graph.LowerBound(w.Table, w.Run, w.RunOn, nodes)
	if err != nil || b.Makespan > 80*time.Second || b.Path != 41*time.Second {
		t.Errorf("bound %+v, %v; the longest path, 1 2 9 10, has 9+13+12+7 s", b, err)
	}
}

func TestLowerBoundOfRobot(t *testing.T) {
	w, err := traces.Open(sharedFile(t, "traces/dag/stg/robot.stg"), "")
	if err != nil {
		t.Fatal(err)
	}
	for cpus, want := range map[int64]time.Duration{1: 2483e9, 2: 1241500e6, 4: 620750e6, 8: 569e9, 100: 569e9} {
		b, err := graph.LowerBound(w.Table, w.Run, nil, []sched.NodeSpec{node("pool", cpus)})
		if err != nil || b.Makespan != want || b.Path != 569*time.Second {
			t.Errorf("%d CPUs: %+v, %v; want %v", cpus, b, err, want)
		}
	}
	path, length, err := graph.CriticalPath(w.Table, 0, w.Run)
	if err != nil || length != 569*time.Second {
		t.Errorf("longest path %v, %v", length, err)
	}
	sum := time.Duration(0)
	for i, task := range path {
		sum += w.Run[task]
		if i > 0 && !slices.Contains(w.Preds(task), path[i-1]) {
			t.Errorf("no edge from %d to %d", path[i-1], task)
		}
	}
	if sum != length {
		t.Errorf("the path's tasks add up to %v", sum)
	}
}

func TestLowerBoundTakesReleasesAndEachResource(t *testing.T) {
	gpu := func(id string, submit, run int, gpus int32, types ...string) traces.Row {
		return traces.Row{ID: id, Job: id, Submit: sched.Time(submit) * 1e9, Run: time.Duration(run) * time.Second, Need: sched.Need{GPUs: gpus}, GPUTypes: types}
	}
	a100 := node("a", 8)
	a100.GPUs, a100.GPUType, a100.SpeedMilli = 4, "A100", 2000
	v100 := node("v", 8)
	v100.GPUs, v100.GPUType = 4, "V100"
	nodes := []sched.NodeSpec{a100, v100}
	cases := []struct {
		name string
		rows []traces.Row
		want time.Duration
		by   string
	}{
		// 5 s until the release, then 10 s at double speed.
		{"path", []traces.Row{gpu("a", 100, 1, 1), gpu("b", 105, 10, 1)}, 10 * time.Second, "path"},
		// 24 reference GPU-hours on GPUs of total speed 4x2 + 4x1.
		{"speed", []traces.Row{gpu("a", 0, 60, 4), gpu("b", 0, 60, 4), gpu("c", 0, 60, 4), gpu("d", 0, 60, 4)}, 80 * time.Second, "gpu"},
		// Only V100: 2 x 60 x 4 on 4 GPUs.
		{"type", []traces.Row{gpu("a", 0, 60, 4, "V100"), gpu("b", 7, 60, 4, "v100")}, 120 * time.Second, "gpu V100"},
		// The late release decides: 1000 + 2 x 60.
		{"late", []traces.Row{gpu("z", 0, 1, 1), gpu("a", 1000, 60, 4, "V100"), gpu("b", 1000, 60, 4, "V100")}, 1120 * time.Second, "gpu V100"},
		{"cpu", []traces.Row{{ID: "a", Run: 60e9, Need: sched.Need{CPU: 8000}}, {ID: "b", Run: 60e9, Need: sched.Need{CPU: 8000}}, {ID: "c", Run: 60e9, Need: sched.Need{CPU: 8000}}}, 60 * time.Second, "cpu"},
	}
	for _, c := range cases {
		w := build(t, c.rows...)
		b, err := graph.LowerBound(w.Table, w.Run, w.RunOn, nodes)
		if err != nil || b.Makespan != c.want || b.By != c.by {
			t.Errorf("%s: %+v, %v; want %v by %s", c.name, b, err, c.want, c.by)
		}
	}
}

// Work of a long trace overflows 64 bits: a million GPUs for a year, several thousand times.
func TestLowerBoundDoesNotOverflow(t *testing.T) {
	n := sched.NodeSpec{Name: "n", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 1_000_000}
	var rows []traces.Row
	year := 365 * 24 * time.Hour
	for i := range 40 {
		rows = append(rows, traces.Row{ID: fmt.Sprint(i), Run: year, Need: sched.Need{GPUs: 1_000_000}})
	}
	w := build(t, rows...)
	b, err := graph.LowerBound(w.Table, w.Run, nil, []sched.NodeSpec{n})
	if err != nil || b.Makespan != 40*year {
		t.Errorf("%+v, %v; want %v", b, err, 40*year)
	}
}

// table makes a table of n tasks in one job from edges that may well be cyclic.
func table(n int, edges [][2]int) *sched.Table {
	tb := &sched.Table{Tasks: make([]sched.Task, n), Estimates: make([]time.Duration, n), Classes: make([]sched.Class, 1), Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}}, Jobs: 1}
	tb.JobName.Append("j")
	tb.SuccOff, tb.PredOff = make([]int32, n+1), make([]int32, n+1)
	slices.SortFunc(edges, func(a, b [2]int) int { return 10000*(a[0]-b[0]) + a[1] - b[1] })
	edges = slices.Compact(edges)
	for t := range n {
		for _, e := range edges {
			if e[0] == t {
				tb.Succ = append(tb.Succ, sched.TaskID(e[1]))
			}
			if e[1] == t {
				tb.Pred = append(tb.Pred, sched.TaskID(e[0]))
			}
		}
		tb.SuccOff[t+1], tb.PredOff[t+1] = int32(len(tb.Succ)), int32(len(tb.Pred))
	}
	return tb
}

func TestCycleIsSpelledOut(t *testing.T) {
	tb := table(5, [][2]int{{4, 2}, {2, 3}, {3, 1}, {1, 2}, {0, 4}})
	_, err := graph.Order(tb)
	var ce *graph.CycleError
	if !errors.As(err, &ce) || err.Error() != "cycle 2 -> 3 -> 4 -> 2" {
		t.Errorf("%v", err)
	}
	if _, err := graph.UpwardRanks(tb, tb.Estimates, nil); err == nil {
		t.Error("ranks of a cycle")
	}
	if _, _, err := graph.CriticalPath(tb, 0, tb.Estimates); err == nil {
		t.Error("longest path of a cycle")
	}
	if _, err := graph.LowerBound(tb, tb.Estimates, nil, []sched.NodeSpec{node("n", 1)}); err == nil {
		t.Error("bound of a cycle")
	}
}

func drawEdges(t *rapid.T, n int) [][2]int {
	var edges [][2]int
	for range rapid.IntRange(0, 2*n).Draw(t, "edges") {
		edges = append(edges, [2]int{rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")})
	}
	return edges
}

// Of any graph, Order is topological or Cycle is a cycle of its edges; never neither.
func TestOrderOrCycle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		tb := table(n, drawEdges(t, n))
		order, err := graph.Order(tb)
		if err == nil {
			at := make([]int, n)
			for i, task := range order {
				at[task] = i + 1
			}
			for from := range n {
				for _, to := range tb.Succs(sched.TaskID(from)) {
					if at[from] == 0 || at[to] == 0 || at[from] >= at[to] {
						t.Fatalf("%d before %d in %v", to, from, order)
					}
				}
			}
			if graph.Cycle(tb) != nil {
				t.Fatal("a cycle in a DAG")
			}
			return
		}
		c := graph.Cycle(tb)
		if len(c) == 0 {
			t.Fatal("neither order nor cycle")
		}
		for i, task := range c {
			if !slices.Contains(tb.Succs(task), c[(i+1)%len(c)]) || task < c[0] || slices.Index(c, task) != i {
				t.Fatalf("%v is no cycle that begins with its lowest", c)
			}
		}
	})
}

// Ranks and paths against the definition, by enumerating all paths.
func TestRanksAreLongestPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "n")
		perm := rapid.Permutation(seq(n)).Draw(t, "perm")
		var edges [][2]int
		for _, e := range drawEdges(t, n) {
			if e[0] < e[1] {
				edges = append(edges, [2]int{perm[e[0]], perm[e[1]]})
			}
		}
		tb := table(n, edges)
		cost := make([]time.Duration, n)
		for i := range cost {
			cost[i] = time.Duration(rapid.IntRange(0, 9).Draw(t, "cost"))
		}
		comm := make([]time.Duration, len(tb.Succ))
		for i := range comm {
			comm[i] = time.Duration(rapid.IntRange(0, 9).Draw(t, "comm"))
		}
		var from func(task int, withComm bool) time.Duration
		from = func(task int, withComm bool) time.Duration {
			best := time.Duration(0)
			for j, s := range tb.Succs(sched.TaskID(task)) {
				d := from(int(s), withComm)
				if withComm {
					d += comm[int(tb.SuccOff[task])+j]
				}
				best = max(best, d)
			}
			return best + cost[task]
		}
		up, _ := graph.UpwardRanks(tb, cost, comm)
		down, _ := graph.DownwardRanks(tb, cost, comm)
		longest, most := time.Duration(0), time.Duration(0)
		for i := range n {
			if up[i] != from(i, true) {
				t.Fatalf("rank of %d is %d, by enumeration %d", i, up[i], from(i, true))
			}
			longest, most = max(longest, from(i, false)), max(most, up[i])
		}
		for i := range n {
			if down[i]+up[i] > most || len(tb.Preds(sched.TaskID(i))) == 0 && down[i] != 0 {
				t.Fatalf("downward rank of %d is %d", i, down[i])
			}
		}
		if !slices.ContainsFunc(seq(n), func(i int) bool { return down[i] > 0 && down[i]+up[i] == most || down[i] == 0 }) {
			t.Fatal("no task on the longest path")
		}
		path, length, _ := graph.CriticalPath(tb, 0, cost)
		jobs, _ := graph.JobPaths(tb, cost)
		if length != longest || jobs[0] != longest || len(path) == 0 {
			t.Fatalf("longest path %d, of the job %d, by enumeration %d", length, jobs[0], longest)
		}
	})
}

// The bound by paths against the definition, by enumerating all paths, with tasks numbered topologically or not, and edges that reach far back
// or not.
func TestTheBoundByPathIsTheLatestEndOfAnyPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "n")
		number := seq(n)
		if rapid.Bool().Draw(t, "shuffled") {
			number = rapid.Permutation(number).Draw(t, "numbers")
		}
		near := rapid.SampledFrom([]int{1, 3, n}).Draw(t, "edges reach back")
		var edges [][2]int
		for _, e := range drawEdges(t, n) {
			if e[0] < e[1] && e[1]-e[0] <= near {
				edges = append(edges, [2]int{number[e[0]], number[e[1]]})
			}
		}
		tb := table(n, edges)
		submit, apart := sched.Time(-7), rapid.SampledFrom([]int{0, 9}).Draw(t, "at most so far apart")
		for i := range n {
			submit += sched.Time(rapid.IntRange(0, apart).Draw(t, "between submits"))
			tb.Tasks[i].Submit = submit
			tb.Estimates[i] = time.Duration(rapid.IntRange(0, 20).Draw(t, "run"))
		}
		var end func(sched.TaskID) sched.Time
		end = func(i sched.TaskID) sched.Time {
			start := tb.Tasks[i].Submit
			for _, p := range tb.Preds(i) {
				start = max(start, end(p))
			}
			return start.Add(tb.Estimates[i])
		}
		last := sched.Time(math.MinInt64)
		forward := true
		for i := range n {
			last = max(last, end(sched.TaskID(i)))
			for _, p := range tb.Preds(sched.TaskID(i)) {
				forward = forward && int(p) < i
			}
		}
		b, err := graph.LowerBound(tb, tb.Estimates, nil, []sched.NodeSpec{node("n", 1)})
		if want := last.Sub(tb.Tasks[0].Submit); err != nil || b.Path != want {
			t.Fatalf("bound by path %v, %v, by enumeration %v", b.Path, err, want)
		}
		together := tb.Tasks[0].Submit == submit
		if paths, _ := graph.JobPaths(tb, tb.Estimates); together != (b.Paths != nil) || together && !slices.Equal(b.Paths, paths) {
			t.Fatalf("submitted together: %v; paths on the way %v, of the jobs %v", together, b.Paths, paths)
		}
		if got := graph.Forward(tb, false, func(sched.TaskID, time.Duration) time.Duration { return 0 }); got != forward {
			t.Fatalf("numbers are topological: %v, want %v", got, forward)
		}
	})
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// The bound never exceeds the makespan of a schedule: here first come first served, each on the first node with room.
func TestLowerBoundIsBelowASchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []sched.NodeSpec{node("a", 2), node("b", 3)}
		nodes[1].SpeedMilli = rapid.SampledFrom([]int64{500, 1000, 3000}).Draw(t, "speed")
		var rows []traces.Row
		for i := range rapid.IntRange(1, 12).Draw(t, "n") {
			r := traces.Row{ID: fmt.Sprint(i), Submit: sched.Time(rapid.IntRange(0, 50).Draw(t, "submit")), Run: time.Duration(rapid.IntRange(0, 30).Draw(t, "run")), Need: sched.Need{CPU: 1000 * rapid.Int64Range(1, 2).Draw(t, "cpu")}}
			if i > 0 && rapid.Bool().Draw(t, "edge?") {
				r.After = []string{fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "after"))}
			}
			if rapid.IntRange(0, 3).Draw(t, "on?") == 0 {
				r.RunOn = []sched.CostOn{{On: "a", Run: time.Duration(rapid.IntRange(0, 30).Draw(t, "on"))}}
			}
			if rapid.IntRange(0, 3).Draw(t, "throughput table?") == 0 {
				r.SpeedOn = []sched.SpeedOn{{GPUType: "B", Nano: rapid.SampledFrom([]int64{4e8, 7e9}).Draw(t, "speed on B")}}
			}
			rows = append(rows, r)
		}
		nodes[1].GPUType = "B"
		w := build(t, rows...)
		bound, err := graph.LowerBound(w.Table, w.Run, w.RunOn, nodes)
		if err != nil {
			t.Fatal(err)
		}
		order, _ := graph.Order(w.Table)
		// One task at a time on each CPU, tick by tick.
		end := make([]sched.Time, w.Len())
		free := [][]sched.Time{make([]sched.Time, 2), make([]sched.Time, 3)}
		last := sched.Time(0)
		for _, task := range order {
			ready := w.Tasks[task].Submit
			for _, p := range w.Preds(task) {
				ready = max(ready, end[p])
			}
			k := int(w.DemandOf(task).Need.CPU / 1000)
			best, at := sched.Never, 0
			for n := range nodes {
				slices.Sort(free[n])
				run := w.Table.RunOn(task, w.Run[task], w.RunOn[task], &nodes[n])
				if e := max(ready, free[n][k-1]).Add(run); e < best {
					best, at = e, n
				}
			}
			for i := range k {
				free[at][i] = best
			}
			end[task] = best
			last = max(last, best)
		}
		if makespan := last.Sub(w.Tasks[0].Submit); bound.Makespan > makespan {
			t.Fatalf("bound %+v, but a schedule takes %d", bound, makespan)
		}
	})
}

func montage(t *testing.T) *traces.Workload {
	w, err := traces.Open(sharedFile(t, "traces/dag/wfinstances/montage-chameleon-2mass-005d-001.json.gz"), "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTreeShowsEveryTask(t *testing.T) {
	w := montage(t)
	var out bytes.Buffer
	if err := graph.Tree(&out, w.Table, 0, graph.Picture{Run: w.Run, Lines: 1000}); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(first, "montage: 58 tasks, 114 edges, depth ") {
		t.Errorf("header %q", first)
	}
	full := 0
	for line := range strings.Lines(rest) {
		if !strings.Contains(line, "(above)") {
			full++
		}
	}
	if full != 58 {
		t.Errorf("%d tasks in full, want 58:\n%s", full, rest)
	}
	out.Reset()
	if err := graph.Tree(&out, w.Table, 0, graph.Picture{Lines: 5}); err != nil || strings.Count(out.String(), "\n") != 7 || !strings.Contains(out.String(), "more tasks") {
		t.Errorf("5 lines: %v\n%s", err, out.String())
	}
	w = build(t, traces.Row{ID: "a", Run: 1e9}, traces.Row{ID: "b\n\x1b[31m", Run: 25e8, After: []string{"a"}}, traces.Row{ID: "c", Run: 1e9, After: []string{"a"}}, traces.Row{ID: "d", Run: 1e9, After: []string{"b\n\x1b[31m", "c"}})
	out.Reset()
	if err := graph.Tree(&out, w.Table, 0, graph.Picture{}); err != nil {
		t.Fatal(err)
	}
	want := "job: 4 tasks, 4 edges, depth 3, longest path 4.5 s (* = on it)\n└─ a  1 s *\n   ├─ b  [31m  2.5 s *\n   │  └─ d  1 s *\n   └─ c  1 s\n      └─ d (above) *\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestSVGIsWellFormedAndShowsEveryTask(t *testing.T) {
	for _, w := range []*traces.Workload{montage(t), build(t, traces.Row{ID: "<a & \"b\">\x01", Run: 1e9}), manyTasks(t, 400)} {
		var out bytes.Buffer
		if err := graph.SVG(&out, w.Table, 0, graph.Picture{Run: w.Run}); err != nil {
			t.Fatal(err)
		}
		dec := xml.NewDecoder(&out)
		rects, paths := 0, 0
		for {
			tok, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := tok.(xml.StartElement); ok {
				switch s.Name.Local {
				case "rect":
					rects++
				case "path":
					paths++
				}
			}
		}
		if rects != w.Len()+1 || paths != len(w.Succ) {
			t.Errorf("%d boxes and a background, %d edges; want %d, %d", rects-1, paths, w.Len(), len(w.Succ))
		}
	}
	if err := graph.SVG(io.Discard, manyTasks(t, graph.MaxSVG+1).Table, 0, graph.Picture{}); err == nil || !strings.Contains(err.Error(), "3001 tasks") {
		t.Errorf("too many tasks: %v", err)
	}
}

func manyTasks(t *testing.T, n int) *traces.Workload {
	rows := make([]traces.Row, n)
	for i := range rows {
		rows[i] = traces.Row{ID: fmt.Sprint("t", i), Run: time.Duration(i) * time.Second}
		if i > 0 {
			rows[i].After = []string{fmt.Sprint("t", (i-1)/3)}
		}
	}
	return build(t, rows...)
}

func TestDOTOfSomeTasksHasOnlyTheirEdges(t *testing.T) {
	w := manyTasks(t, 13)
	var out bytes.Buffer
	if err := graph.DOT(&out, w.Table, []sched.TaskID{0, 1, 4}, graph.Picture{Run: w.Run, Title: `a "b"`}); err != nil {
		t.Fatal(err)
	}
	want := "digraph \"a \\\"b\\\"\" {\n\trankdir=LR;\n\tnode [shape=box];\n\t\"t0\" [label=\"t0\\n0 s\"];\n\t\"t1\" [label=\"t1\\n1 s\"];\n\t\"t4\" [label=\"t4\\n4 s\"];\n\t\"t0\" -> \"t1\";\n\t\"t1\" -> \"t4\";\n}\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
