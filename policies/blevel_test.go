package policies_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
)

func TestBLevelTakesTheLongestPathFirstWhateverTheOrderOfTheInput(t *testing.T) {
	one := machines(1, 1, 0)
	for _, rows := range [][]traces.Row{
		{inJob(cores(0, 5, 1), "leaf"), inJob(cores(0, 1, 1), "root"), inJob(cores(0, 10, 1), "next", "root")},
		{inJob(cores(0, 10, 1), "next", "root"), inJob(cores(0, 5, 1), "leaf"), inJob(cores(0, 1, 1), "root")},
	} {
		if got := startOrder(t, sim.Config{Workload: workload(t, rows...), Nodes: one}, "blevel"); got != "root next leaf" {
			t.Errorf("the order is %s", got)
		}
	}
	// The wide task has the longest path and does not fit beside the first: what comes after it passes, unless the head blocks.
	rows := []traces.Row{inJob(cores(0, 9, 1), "a"), inJob(cores(0, 8, 2), "wide"), inJob(cores(0, 1, 1), "b")}
	two := machines(1, 2, 0)
	for policy, want := range map[string]string{"blevel": "a b wide", "blevel{skip=false}": "a wide b"} {
		if got := startOrder(t, sim.Config{Workload: workload(t, rows...), Nodes: two}, policy); got != want {
			t.Errorf("%s: the order is %s, wanted %s", policy, got, want)
		}
	}
}

// makespan simulates blevel on tasks of a CPU each.
func makespan(t testing.TB, w *traces.Workload, nodes []sched.NodeSpec) time.Duration {
	t.Helper()
	res := simulate(t, sim.Config{Workload: w, Nodes: nodes, Policy: build(t, "blevel")(), Estimates: w.Run})
	if res.Unfinished > 0 {
		t.Fatalf("%d tasks are not finished", res.Unfinished)
	}
	return res.Last.Sub(res.First)
}

func TestBLevelKeepsGrahamsBoundOnTheStandardTaskGraphs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "references/dag/stg_graphs"), "*.stg"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		w, err := traces.Open(file, "")
		if err != nil {
			t.Fatal(err)
		}
		paths, err := graph.JobPaths(w.Table, w.Run)
		if err != nil {
			t.Fatal(err)
		}
		var work time.Duration
		for _, d := range w.Run {
			work += d
		}
		for _, m := range []time.Duration{1, 2, 4, 8} {
			got := makespan(t, w, machines(1, int64(m), 0))
			// Graham 1969: no processor is idle but while a longest path gets shorter.
			least, most := max(paths[0], (work+m-1)/m), work/m+paths[0]*(m-1)/m+1
			if got < least || got > most {
				t.Errorf("%s on %d processors takes %v, wanted %v to %v", filepath.Base(file), m, got, least, most)
			}
		}
	}
}

func TestBLevelIsNeverBelowTheOptimumOfAJobShop(t *testing.T) {
	text, err := os.ReadFile(shared(t, "traces/dag/jsplib/instances.json"))
	if err != nil {
		t.Fatal(err)
	}
	var instances []struct {
		Name           string
		Jobs, Machines int
		Optimum        *int64
	}
	if err := json.Unmarshal(text, &instances); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, in := range instances {
		text, err := os.ReadFile(filepath.Join(shared(t, "traces/dag/jsplib"), in.Name))
		if err != nil || in.Optimum == nil {
			continue
		}
		var numbers []int64
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, f := range strings.Fields(line) {
				var v int64
				if _, err := fmt.Sscan(f, &v); err != nil {
					t.Fatalf("%s: %v", in.Name, err)
				}
				numbers = append(numbers, v)
			}
		}
		numbers = numbers[2:]
		var rows []traces.Row
		for j := range in.Jobs { // a job is a chain, each link on a machine of its own
			for i := range in.Machines {
				on, run := numbers[2*(j*in.Machines+i)], numbers[2*(j*in.Machines+i)+1]
				r := inJob(cores(0, float64(run), 1), fmt.Sprint(i))
				r.Job, r.Labels = fmt.Sprint("j", j), []sched.Label{{Key: "machine", Value: fmt.Sprint(on)}}
				if i > 0 {
					r.After = []string{fmt.Sprint(i - 1)}
				}
				rows = append(rows, r)
			}
		}
		nodes := machines(in.Machines, 1, 0)
		for i := range nodes {
			nodes[i].Labels = []sched.Label{{Key: "machine", Value: fmt.Sprint(i)}}
		}
		got := makespan(t, workload(t, rows...), nodes)
		// Largest b-level first is the rule "most work remaining", which is within a half of the optimum on these.
		if best := time.Duration(*in.Optimum) * time.Second; got < best || got > best*3/2 {
			t.Errorf("%s takes %v, the optimum is %v", in.Name, got, best)
		}
		checked++
	}
	if checked < 5 {
		t.Errorf("only %d instances were there", checked)
	}
}

// layers makes one job of n tasks of a core and a little less than three edges each: layers of random width, each task behind 1 to 5 tasks of
// the layer before; ids topological.
func layers(n int) *traces.Workload {
	rng := rand.New(rand.NewPCG(3, 1))
	tb := &sched.Table{
		Tasks: make([]sched.Task, n), Estimates: make([]time.Duration, n), Jobs: 1, Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}}, Classes: []sched.Class{{}}, PredOff: []int32{0}, SuccOff: make([]int32, n+1),
	}
	w := &traces.Workload{Table: tb, Run: make([]time.Duration, n), Source: "layers"}
	for from, end, before := 0, 0, 0; from < n; before, from = from, end {
		end = min(n, from+1+rng.IntN(20000))
		for t := from; t < end; t++ {
			w.Run[t] = time.Second + time.Duration(rng.Int64N(99e9))
			tb.Estimates[t] = w.Run[t]
			stride := 1 + rng.IntN(7)
			for p, k := before+rng.IntN(max(from-before, 1)), rng.IntN(5); p < from && k >= 0; p, k = p+stride, k-1 {
				tb.Pred = append(tb.Pred, sched.TaskID(p))
				tb.SuccOff[p+1]++
			}
			tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
		}
	}
	for t := range n {
		tb.SuccOff[t+1] += tb.SuccOff[t]
	}
	tb.Succ = make([]sched.TaskID, len(tb.Pred))
	at := append([]int32(nil), tb.SuccOff...)
	for t := range sched.TaskID(n) {
		for _, p := range tb.Preds(t) {
			tb.Succ[at[p]] = t
			at[p]++
		}
	}
	return w
}

// BenchmarkBLevel schedules a large DAG on 8000 cores, ranks and simulation included.
func BenchmarkBLevel(b *testing.B) {
	const n = 200_000
	w, nodes := layers(n), machines(250, 32, 0)
	b.ReportAllocs()
	for b.Loop() {
		simulate(b, sim.Config{Workload: w, Nodes: nodes, Policy: build(b, "blevel")()})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/task")
}

func TestBLevelsOfALargeGraphAreItsUpwardRanks(t *testing.T) {
	// On one processor tasks start in the order of their b-levels: no task comes before its predecessors, whose b-levels are larger.
	w := layers(3000)
	want, err := graph.UpwardRanks(w.Table, w.Run, nil)
	if err != nil {
		t.Fatal(err)
	}
	last, count := time.Duration(sched.Never), 0
	tap := func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
		for _, o := range out {
			if r := want[o.Task]; r > last {
				t.Fatalf("task %d of b-level %v starts after one of %v", o.Task, r, last)
			}
			last = want[o.Task]
			count++
		}
		return nil
	}
	simulate(t, sim.Config{Workload: w, Nodes: machines(1, 1, 0), Policy: build(t, "blevel")(), Tap: tap})
	if count != 3000 {
		t.Errorf("%d tasks were started", count)
	}
}
