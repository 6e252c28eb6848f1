package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/graph"
)

var dagParts = []part{
	{group: "dag", name: "Topcuoglu's graph", source: "references/dag/expected.json (topcuoglu2002)", run: topcuoglu},
	{group: "dag", name: "tight instances of Graham's bounds", source: "references/dag/expected.json", run: graham},
	{group: "dag", name: "standard task graphs", source: "references/dag/stg_graphs", run: stg},
	{group: "dag", name: "list schedules of Topcuoglu's graph", source: "references/dag/expected.json (topcuoglu2002)", run: topcuogluPlans},
	{group: "dag", name: "closed forms of dslab-dag", source: "references/dag/expected.json (dslab)", run: dslabForms},
	{group: "dag", name: "runs of dslab-dag", source: "traces/dag/dslab/expected", run: dslabRuns},
}

// rankOnly is critical-path with the upward rank as its only term, which makes it HEFT's order.
const rankOnly = "critical-path{rank=1,latency=0,share=0,preds=0,heat=0,age=0,patience=100000h}"

// expectedDAG is the part of expected.json that is looked at.
type expectedDAG struct {
	Topcuoglu struct {
		Rank []float64 `json:"rank_u"`
	} `json:"topcuoglu2002"`
	Graham map[string]struct{ LS, OPT int64 } `json:"graham_bound_tight"`
	LPT    map[string]struct {
		Jobs     []int64
		LPT, OPT int64
	} `json:"LPT_tight"`
}

// topcuoglu takes the graph of figure 2 of Topcuoglu, Hariri and Wu (TPDS 2002): upward ranks with mean costs and communication, and the order of
// the critical-path policy, which knows no communication, on one processor.
func topcuoglu(b *bench) error {
	var ref expectedDAG
	if err := b.json("references/dag/expected.json", &ref); err != nil {
		return err
	}
	costs, err := b.rows("references/dag/topcuoglu_task_exe_time.csv")
	if err != nil {
		return err
	}
	edges, err := b.rows("references/dag/topcuoglu_task_connectivity.csv")
	if err != nil {
		return err
	}
	if len(costs) != len(edges) || len(costs) != len(ref.Topcuoglu.Rank) {
		return fmt.Errorf("%d costs, %d rows of edges and %d ranks", len(costs), len(edges), len(ref.Topcuoglu.Rank))
	}
	name := func(i int) string { return "T" + strconv.Itoa(i) }
	build := traces.NewBuilder("topcuoglu", "csv")
	for i, c := range costs {
		r := traces.Row{ID: name(i), Job: "graph", Need: sched.Need{CPU: 1000}}
		for p := range 3 {
			r.Run += time.Duration(c.seconds("P_" + strconv.Itoa(p)))
		}
		r.Run /= 3
		r.Estimate = r.Run
		for j := range edges {
			if edges[j].number(name(i)) > 0 {
				r.After = append(r.After, name(j))
			}
		}
		if err := errors.Join(bad(costs), bad(edges), build.Add(&r)); err != nil {
			return err
		}
	}
	w, err := build.Build()
	if err != nil {
		return err
	}
	comm := make([]time.Duration, len(w.Succ))
	for t := range w.Tasks {
		from := w.TaskNames.At(t)[1:]
		i, _ := strconv.Atoi(from)
		for j, s := range w.Succs(sched.TaskID(t)) {
			comm[int(w.SuccOff[t])+j] = time.Duration(edges[i].seconds(w.TaskNames.At(int(s))))
		}
	}
	ranks, err := graph.UpwardRanks(w.Table, w.Run, comm)
	if err != nil {
		return err
	}
	var t tally
	order := inputOrder(w)
	for i, want := range ref.Topcuoglu.Rank {
		got := ranks[order[i]].Seconds()
		t.see(abs(got-want) <= 5.01e-4, "task %d has rank %.3f, not %.3f", i+1, got, want)
	}
	b.exact("upward ranks of Topcuoglu's graph, 3 decimals", "tasks", &t)

	plain, err := graph.UpwardRanks(w.Table, w.Run, nil)
	if err != nil {
		return err
	}
	res, err := b.run(w, "pool:1cpu", rankOnly)
	if err != nil {
		return err
	}
	byRank := slices.Clone(order)
	slices.SortStableFunc(byRank, func(a, b sched.TaskID) int { return cmp.Compare(plain[b], plain[a]) })
	started := slices.Clone(order)
	slices.SortStableFunc(started, func(a, b sched.TaskID) int { return cmp.Compare(res.Outcome(a).Start, res.Outcome(b).Start) })
	say := func(ts []sched.TaskID) string {
		var out []string
		for _, t := range ts {
			out = append(out, w.TaskNames.At(int(t)))
		}
		return strings.Join(out, " ")
	}
	b.add(Check{
		Name:     "critical-path, rank only: order on one processor is that of decreasing upward rank (no communication)",
		Expected: say(byRank), Got: say(started), Tolerance: "equal", OK: say(byRank) == say(started),
	})
	return nil
}

// graham takes the instances in which list scheduling is as bad as it can be, (2 - 1/m) x the optimum (Graham 1969), under fifo, and those
// for longest processing time first, 4/3 - 1/(3m), under critical-path by rank alone, which for independent tasks of one job is that order.
func graham(b *bench) error {
	var ref expectedDAG
	if err := b.json("references/dag/expected.json", &ref); err != nil {
		return err
	}
	var t tally
	for _, m := range numbers(ref.Graham) {
		want := ref.Graham[strconv.Itoa(m)]
		jobs := slices.Repeat([]int64{1}, m*(m-1))
		got, err := b.makespan(append(jobs, int64(m)), m, "fifo")
		if err != nil {
			return err
		}
		t.see(got == float64(want.LS), "%d processors: %g, not %d", m, got, want.LS)
	}
	b.exact("fifo: makespan of Graham's worst lists", "instances", &t)
	for _, policy := range []string{rankOnly, "lpt"} {
		t = tally{}
		for _, m := range numbers(ref.LPT) {
			want := ref.LPT[strconv.Itoa(m)]
			got, err := b.makespan(want.Jobs, m, policy)
			if err != nil {
				return err
			}
			t.see(got == float64(want.LPT), "%d processors: %g, not %d", m, got, want.LPT)
		}
		name, _, _ := strings.Cut(policy, "{")
		if policy == rankOnly {
			name += ", rank only"
		}
		b.exact(name+": makespan of the worst jobs for longest first", "instances", &t)
	}
	return nil
}

// numbers returns the keys that are numbers, ascending.
func numbers[V any](m map[string]V) []int {
	var out []int
	for k := range m {
		if n, err := strconv.Atoi(k); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// makespan simulates independent tasks of one job, in seconds.
func (b *bench) makespan(jobs []int64, m int, policy string) (float64, error) {
	build := traces.NewBuilder("list", "csv")
	for _, s := range jobs {
		d := time.Duration(s) * time.Second
		if err := build.Add(&traces.Row{Job: "list", Run: d, Estimate: d, Need: sched.Need{CPU: 1000}}); err != nil {
			return 0, err
		}
	}
	w, err := build.Build()
	if err != nil {
		return 0, err
	}
	res, err := b.run(w, fmt.Sprintf("pool:%dcpu", m), policy)
	if err != nil {
		return 0, err
	}
	return res.Last.Sub(res.First).Seconds(), nil
}

// stg holds list schedules of standard task graphs between the lower bound, max(critical path, work / m), and (2 - 1/m) times it.
func stg(b *bench) error {
	files, err := filepath.Glob(filepath.Join(b.path(b.source), "*.stg"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: %w", b.source, fs.ErrNotExist)
	}
	slices.Sort(files)
	var graphs []*traces.Workload
	var bounds tally
	lower := map[[2]int]time.Duration{} // graph, processors
	sizes := []int{2, 4, 8, 16}
	for i, f := range files {
		w, err := traces.Open(f, "stg")
		if err != nil {
			return err
		}
		graphs = append(graphs, w)
		ranks, err := graph.UpwardRanks(w.Table, w.Run, nil)
		if err != nil {
			return err
		}
		work := time.Duration(0)
		for _, d := range w.Run {
			work += d
		}
		for _, m := range sizes {
			lb := max(slices.Max(ranks), (work+time.Duration(m)-1)/time.Duration(m))
			lower[[2]int{i, m}] = lb
			nodes, err := cluster.Parse(fmt.Sprintf("pool:%dcpu", m))
			if err != nil {
				return err
			}
			got, err := graph.LowerBound(w.Table, w.Run, nil, nodes)
			if err != nil {
				return err
			}
			bounds.see(got.Makespan == lb, "%s on %d: %v, not %v", filepath.Base(f), m, got.Makespan, lb)
		}
	}
	b.exact("lower bound of standard task graphs: max(critical path, work / m)", "cases", &bounds)
	for _, policy := range []string{"fifo", "fjf", "sjf", "lpt", "critical-path", "blevel", "heft", "cpop", "peft", "dls", "etf", "min-min", "max-min"} {
		var t tally
		worst, most := 0.0, ""
		for i, w := range graphs {
			for _, m := range sizes {
				res, err := b.run(w, fmt.Sprintf("pool:%dcpu", m), policy, func(c *sim.Config) { c.Estimates = w.Run })
				if err != nil {
					return err
				}
				lb, got := lower[[2]int{i, m}], res.Last.Sub(res.First)
				limit := 2 - 1/float64(m)
				ratio := float64(got) / float64(lb)
				where := fmt.Sprintf("%.3f of at most %.3f, %s on %d", ratio, limit, filepath.Base(files[i]), m)
				t.see(res.Unfinished == 0 && got >= lb && ratio <= limit, "%s", where)
				if ratio/limit > worst {
					worst, most = ratio/limit, where
				}
			}
		}
		b.add(Check{
			Name:     policy + ": makespans of standard task graphs / lower bound",
			Expected: fmt.Sprintf("%d cases in 1 .. 2 - 1/m", t.all), Got: t.String() + " (closest: " + most + ")", Tolerance: "all within", OK: t.equal == t.all,
		})
	}
	return nil
}
