package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
)

// expectedPlan is the part of expected.json that is looked at here.
type expectedPlan struct {
	Topcuoglu map[string]json.RawMessage `json:"topcuoglu2002"` // by key, since a key has commas
	Chain     struct {
		Flops              []float64 `json:"tasks_flops"`
		Cores              float64   `json:"cores_used"`
		Speed              float64   `json:"core_speed"`
		Bandwidth, Latency float64
		Input, Output      float64
		Edges              []float64 `json:"edge_i_size"`
		Makespan           float64   `json:"makespan_direct"`
	} `json:"dslab_chain_10"`
	Fork struct {
		Root, End          float64
		Mid                []float64
		Out                float64 `json:"out_edges"`
		In                 float64 `json:"in_edges"`
		Bandwidth, Latency float64
		Makespan           float64
	} `json:"dslab_fork_join"`
}

const mb = 1_000_000

// topcuogluPlans schedules the graph of figure 2 of Topcuoglu, Hariri and Wu (TPDS 2002) on its three processors. Its costs of communication are MB
// over links of 8 Mbit/s, so that they are seconds.
func topcuogluPlans(b *bench) error {
	var ref expectedPlan
	if err := b.json("references/dag/expected.json", &ref); err != nil {
		return err
	}
	var want struct {
		Procs            int
		HEFT, CPOP, PEFT float64                  // makespans
		Schedule         map[string][3]sched.Time // HEFT's: processor, start, end
		Path             []int                    // CPOP's critical path, and the processor that it is on
		PathOn           int
	}
	for key, to := range map[string]any{
		"procs": &want.Procs, "HEFT_makespan": &want.HEFT, "CPOP_makespan": &want.CPOP, "PEFT_makespan": &want.PEFT,
		"HEFT_schedule_task:(proc,start,finish)": &want.Schedule, "CPOP_critical_path": &want.Path, "CPOP_cp_proc": &want.PathOn,
	} {
		if err := json.Unmarshal(ref.Topcuoglu[key], to); err != nil {
			return fmt.Errorf("expected.json: %s: %w", key, err)
		}
	}
	costs, err := b.rows("references/dag/topcuoglu_task_exe_time.csv")
	if err != nil {
		return err
	}
	edges, err := b.rows("references/dag/topcuoglu_task_connectivity.csv")
	if err != nil {
		return err
	}
	if len(costs) != len(edges) || len(want.Schedule) != len(costs) || want.Procs < 1 {
		return fmt.Errorf("expected.json: %d costs, %d rows of edges, %d tasks in the schedule, %d processors", len(costs), len(edges), len(want.Schedule), want.Procs)
	}
	build := traces.NewBuilder("topcuoglu", "csv")
	name := func(i int) string { return "T" + strconv.Itoa(i) }
	var nodes []sched.NodeSpec
	for p := range want.Procs {
		nodes = append(nodes, sched.NodeSpec{Name: "P_" + strconv.Itoa(p), CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, NetworkMbps: 8})
	}
	for i, c := range costs {
		r := traces.Row{ID: name(i), Job: "graph", Estimate: -1, Need: sched.Need{CPU: 1000}}
		for _, n := range nodes {
			run := time.Duration(c.seconds(n.Name))
			r.RunOn = append(r.RunOn, sched.CostOn{On: n.Name, Run: run})
			r.Run += run / time.Duration(len(nodes))
		}
		for j := range edges {
			if v := edges[j].number(name(i)); v > 0 {
				r.After, r.AfterBytes = append(r.After, name(j)), append(r.AfterBytes, int64(v*mb))
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
	order := inputOrder(w)
	on := func(c *sim.Config) { c.Nodes = nodes }
	for _, c := range []struct {
		policy   string
		makespan float64
	}{{"heft", want.HEFT}, {"cpop", want.CPOP}, {"peft", want.PEFT}} {
		res, err := b.run(w, "pool:1cpu", c.policy, on)
		if err != nil {
			return err
		}
		b.near(c.policy+": makespan of Topcuoglu's graph on three processors, s", c.makespan, res.Last.Sub(res.First).Seconds(), 0)
		switch c.policy {
		case "heft":
			var t tally
			for _, key := range slices.Sorted(maps.Keys(want.Schedule)) {
				i, err := strconv.Atoi(key)
				if err != nil || i < 0 || i >= len(order) {
					return fmt.Errorf("expected.json: a schedule of task %q", key)
				}
				v, o := want.Schedule[key], res.Outcome(order[i])
				t.see(o.Node == sched.NodeID(v[0]) && o.Start == v[1]*1e9 && o.End == v[2]*1e9, "task %s on %d from %g to %g, not %v", key, o.Node, o.Start.Seconds(), o.End.Seconds(), v)
			}
			b.exact("heft: processor, start and end of every task of Topcuoglu's graph", "tasks", &t)
		case "cpop":
			var got []string
			for i, t := range order {
				if slices.Contains(want.Path, i) {
					got = append(got, fmt.Sprintf("%d on %d", i, res.Outcome(t).Node))
				}
			}
			path, err := criticalPath(w)
			if err != nil {
				return err
			}
			say := func(is []int) string {
				var s []string
				for _, i := range is {
					s = append(s, fmt.Sprintf("%d on %d", i, want.PathOn))
				}
				return strings.Join(s, ", ")
			}
			b.add(Check{
				Name: "cpop: critical path of Topcuoglu's graph, and where it runs", Expected: say(want.Path), Got: strings.Join(got, ", "), Tolerance: "equal",
				OK: slices.Equal(path, want.Path) && strings.Join(got, ", ") == say(want.Path),
			})
		}
	}
	return nil
}

// criticalPath returns the input positions of the tasks whose upward and downward ranks add up to the longest, by mean costs.
func criticalPath(w *traces.Workload) ([]int, error) {
	comm := make([]time.Duration, len(w.Succ))
	for i, v := range w.EdgeBytes {
		comm[i] = time.Duration(v) * time.Second / mb
	}
	up, err := graph.UpwardRanks(w.Table, w.Run, comm)
	if err != nil {
		return nil, err
	}
	down, err := graph.DownwardRanks(w.Table, w.Run, comm)
	if err != nil {
		return nil, err
	}
	var path []int
	for i, t := range inputOrder(w) {
		if slices.Max(up)-up[t]-down[t] < time.Microsecond { // mean costs are rounded to ns
			path = append(path, i)
		}
	}
	return path, nil
}

// dslabForms takes the closed forms of the tests of dslab-dag: a chain of tasks on one machine, its input and output brought from and to a master, and a
// fork and join. Data move directly between machines, each at the whole bandwidth.
func dslabForms(b *bench) error {
	var ref expectedPlan
	if err := b.json("references/dag/expected.json", &ref); err != nil {
		return err
	}
	seconds := func(s float64) time.Duration { return time.Duration(s*1e9 + 0.5) }
	machine := func(name string, cores int64, bandwidth, latency float64) sched.NodeSpec {
		return sched.NodeSpec{
			Name: name, CPU: 1000 * cores, Mem: sched.Unlimited, VRAM: sched.Unlimited, NetworkMbps: 8 * bandwidth, NetworkLatency: seconds(latency),
			Labels: []sched.Label{{Key: "machine", Value: name}},
		}
	}
	run := func(rows []traces.Row, nodes []sched.NodeSpec, policy string) (float64, error) {
		build := traces.NewBuilder("dslab", "csv")
		for i := range rows {
			rows[i].Job, rows[i].Estimate = "dag", -1
			if err := build.Add(&rows[i]); err != nil {
				return 0, err
			}
		}
		w, err := build.Build()
		if err != nil {
			return 0, err
		}
		res, err := b.run(w, "pool:1cpu", policy, func(c *sim.Config) { c.Nodes = nodes })
		if err != nil {
			return 0, err
		}
		return res.Last.Sub(res.First).Seconds(), nil
	}
	c, f := &ref.Chain, &ref.Fork
	if len(c.Edges) != len(c.Flops)-1 || len(f.Mid) == 0 {
		return fmt.Errorf("expected.json: a chain of %d tasks and %d edges, a fork of %d", len(c.Flops), len(c.Edges), len(f.Mid))
	}
	master := []sched.Label{{Key: "machine", Value: "master"}}
	chain := []traces.Row{{ID: "input", Labels: master}}
	for i, flops := range c.Flops {
		r := traces.Row{ID: strconv.Itoa(i), Run: seconds(flops / (c.Cores * c.Speed)), Need: sched.Need{CPU: int64(1000 * c.Cores)}, After: []string{chain[i].ID}}
		if i == 0 {
			r.AfterBytes = []int64{int64(c.Input * mb)}
		} else {
			r.AfterBytes = []int64{int64(c.Edges[i-1] * mb)}
		}
		chain = append(chain, r)
	}
	chain = append(chain, traces.Row{ID: "output", Labels: master, After: []string{chain[len(chain)-1].ID}, AfterBytes: []int64{int64(c.Output * mb)}})
	fork := []traces.Row{{ID: "root", Run: seconds(f.Root / 5)}}
	join := traces.Row{ID: "end", Run: seconds(f.End / 5)}
	var workers []sched.NodeSpec
	for i, flops := range f.Mid {
		id := strconv.Itoa(i)
		fork = append(fork, traces.Row{ID: id, Run: seconds(flops / 5), After: []string{"root"}, AfterBytes: []int64{int64(f.Out * mb)}})
		join.After, join.AfterBytes = append(join.After, id), append(join.AfterBytes, int64(f.In*mb))
		workers = append(workers, machine("m"+id, 1, f.Bandwidth, f.Latency))
	}
	fork = append(fork, join)
	for _, policy := range []string{"fjf", "heft"} {
		got, err := run(chain, []sched.NodeSpec{machine("m", int64(c.Cores), c.Bandwidth, c.Latency), machine("master", 1, c.Bandwidth, c.Latency)}, policy)
		if err != nil {
			return err
		}
		b.near(policy+": makespan of dslab's chain of 10 tasks, data sent directly, s", c.Makespan, got, 1e-9)
		if got, err = run(fork, workers, policy); err != nil {
			return err
		}
		b.near(policy+": makespan of dslab's fork and join on 5 machines, s", f.Makespan, got, 1e-9)
	}
	return nil
}
