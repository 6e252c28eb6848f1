package verify

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// dslabLog is what is read of a run that DSLab-DAG has logged: the machines, the tasks and their data (Gflop, Gflop/s, MB), the events.
type dslabLog struct {
	Resources []struct {
		Name  string
		Speed float64
		Cores int64
	}
	Graph struct {
		Tasks []struct {
			Flops           float64
			Inputs, Outputs []int
		}
		Items []struct{ Size float64 } `json:"data_items"`
	}
	Events []struct {
		Time     float64
		Type     string
		Task     int `json:"task_id"`
		Location string
	}
}

// dslabRuns runs the LIGO inspiral graph of 100 tasks on four machines of 32 cores, as DSLab-DAG's demo does, under what its Simple and Lookahead
// schedulers are here. Files go directly between machines, all at once and each at the whole bandwidth, so that of the files between two tasks
// the largest counts; those that no task writes come from a master, and those that none reads go there.
//
// Simple takes the ready tasks by number, first fit: a List whose key says nothing. Every task is on the same machine; the ends differ by up to 17 ms, since
// a machine there starts what it was sent in that order, and a task whose files are there waits behind one whose files are still coming: the largest
// takes 16 ms. Lookahead is planned once there, on
// single cores, by ranks that leave out latencies and weigh the machines by cores, and its trials prefer the later of equal machines; ours is
// planned at every start, on what is free of a machine, and its trials prefer the earlier. So only its makespan is compared, to 2 %.
func dslabRuns(b *bench) error {
	for _, c := range []struct {
		name, says, tolerance string
		policy                func() sched.Policy
		off                   float64
		same                  bool // else a difference is known
	}{
		{name: "Simple", says: "fit by TaskID", policy: func() sched.Policy {
			return &policies.List{Key: func(*sched.State, sched.TaskID) int64 { return 0 }, Skip: true}
		}, off: 1e-5, same: true},
		{name: "Lookahead", says: "lookahead{depth=all}", policy: func() sched.Policy { return policies.NewLookahead(true) }, off: 0.02},
	} {
		log, err := b.dslabLog("traces/dag/dslab/expected/inspiral-100_cluster-het-4-32cores_" + c.name + "_direct.json.gz")
		if err != nil {
			return err
		}
		w, nodes, err := b.dslabCase(log)
		if err != nil {
			return err
		}
		res, err := b.run(w, "pool:1cpu", "fifo", func(cfg *sim.Config) { cfg.Nodes, cfg.Policy = nodes, c.policy() })
		if err != nil {
			return err
		}
		compare := b.near
		if !c.same {
			compare = b.show
		}
		compare(c.says+": makespan of inspiral-100 on cluster-het-4-32cores as DSLab's "+c.name+", s", log.Events[len(log.Events)-1].Time, res.Last.Sub(res.First).Seconds(), c.off)
		if !c.same {
			continue
		}
		var t tally
		worst := 0.0
		order := inputOrder(w)
		for _, e := range log.Events {
			switch e.Type {
			case "task_scheduled":
				o := res.Outcome(order[e.Task+1])
				t.see(nodes[o.Node].Name == e.Location, "task %d on %s, not %s", e.Task, nodes[o.Node].Name, e.Location)
			case "task_completed":
				o := res.Outcome(order[e.Task+1])
				worst = max(worst, math.Abs(o.End.Seconds()-e.Time))
			}
		}
		b.exact(c.says+": machine of every task as DSLab's "+c.name, "tasks", &t)
		b.add(Check{
			Name: c.says + ": end of every task as DSLab's " + c.name + ", largest difference, s", Expected: "0", Got: num(worst), Tolerance: "0.02 s", OK: worst <= 0.02,
		})
	}
	return nil
}

func (b *bench) dslabLog(name string) (*dslabLog, error) {
	f, err := os.Open(b.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := traces.Unpack(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer plain.Close()
	var log dslabLog
	if err := json.NewDecoder(plain).Decode(&log); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(log.Events) == 0 || len(log.Graph.Tasks) == 0 || len(log.Resources) == 0 {
		return nil, fmt.Errorf("%s: no events, tasks or machines", name)
	}
	return &log, nil
}

// dslabCase makes the workload and the machines of a log: the tasks by number behind one that sends what comes from the master, and before one that
// takes what goes there. A reference node has 10 Gflop/s.
func (b *bench) dslabCase(log *dslabLog) (*traces.Workload, []sched.NodeSpec, error) {
	const name, reference = "traces/dag/dslab/systems/cluster-het-4-32cores.yaml", 10.0
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		return nil, nil, err
	}
	var system struct {
		Network struct{ Bandwidth, Latency float64 } // MB/s, us
	}
	if err := yaml.Unmarshal(text, &system); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	link := sched.NodeSpec{
		Mem: sched.Unlimited, VRAM: sched.Unlimited, CPU: 1000, Name: "master", Labels: []sched.Label{{Key: "role", Value: "master"}},
		NetworkMbps: 8 * system.Network.Bandwidth, NetworkLatency: time.Duration(system.Network.Latency * 1000),
	}
	worker := []sched.Label{{Key: "role", Value: "worker"}}
	var nodes []sched.NodeSpec
	for _, r := range log.Resources {
		n := link
		n.Name, n.CPU, n.Labels, n.SpeedMilli = r.Name, 1000*r.Cores, worker, int64(math.Round(1000*r.Speed/reference))
		nodes = append(nodes, n)
	}
	nodes = append(nodes, link)

	items := log.Graph.Items
	writer := make([]int, len(items))
	read := make([]bool, len(items))
	for i := range writer {
		writer[i] = -1
	}
	for t, task := range log.Graph.Tasks {
		for _, i := range slices.Concat(task.Inputs, task.Outputs) {
			if i < 0 || i >= len(items) {
				return nil, nil, fmt.Errorf("task %d: no data item %d", t, i)
			}
		}
		for _, i := range task.Outputs {
			writer[i] = t
		}
		for _, i := range task.Inputs {
			read[i] = true
		}
	}
	build := traces.NewBuilder("inspiral-100", "dslab")
	row := func(id string, run float64, labels []sched.Label, sent map[int]float64) error {
		r := traces.Row{ID: id, Job: "dag", Run: time.Duration(math.Round(run * 1e9)), Estimate: -1, Labels: labels, Need: sched.Need{CPU: 1000}}
		for p := -1; p < len(log.Graph.Tasks); p++ {
			if size, ok := sent[p]; ok {
				r.After, r.AfterBytes = append(r.After, strconv.Itoa(p)), append(r.AfterBytes, int64(math.Round(size*mb)))
			}
		}
		return build.Add(&r)
	}
	if err := row("-1", 0, link.Labels, nil); err != nil {
		return nil, nil, err
	}
	out := map[int]float64{}
	for t, task := range log.Graph.Tasks {
		sent := map[int]float64{}
		for _, i := range task.Inputs {
			sent[writer[i]] = max(sent[writer[i]], items[i].Size)
		}
		for _, i := range task.Outputs {
			if !read[i] {
				out[t] = max(out[t], items[i].Size)
			}
		}
		if err := row(strconv.Itoa(t), task.Flops/reference, worker, sent); err != nil {
			return nil, nil, err
		}
	}
	if err := row("out", 0, link.Labels, out); err != nil {
		return nil, nil, err
	}
	w, err := build.Build()
	return w, nodes, err
}
