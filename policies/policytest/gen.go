package policytest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
)

// Gen says what random cases have. The zero value is everything, with tasks that all fit some empty cluster.
type Gen struct {
	Unfit         bool // one or more tasks fit no node
	NoNodeFaults  bool
	NoTaskFaults  bool
	NoRestart     bool
	NoKill        bool
	NoOverhead    bool
	SmallOverhead bool // at most a fortieth of the mean estimate and 1.5 s: under longer ones time slices of 2 s leave no time for work
	NoRunOn       bool // no run times by node
	Sends         bool // edges carry data over links: the plain simulators of this package know nothing of it
	MaxTasks      int  // 0: 40
}

const gib = int64(1) << 30

// Cases generates small random cases on whole or half seconds, so that instants collide often.
func Cases(g Gen) *rapid.Generator[Case] {
	return rapid.Custom(func(t *rapid.T) Case { return drawCase(t, g) })
}

func oneOf[T any](t *rapid.T, label string, list ...T) T {
	return rapid.SampledFrom(list).Draw(t, label)
}

// chance is true once in n.
func chance(t *rapid.T, label string, n int) bool {
	return rapid.IntRange(0, n-1).Draw(t, label) == n-1 // shrinks to false
}

func drawNodes(t *rapid.T) []sched.NodeSpec {
	if chance(t, "pool", 6) {
		n := sched.NodeSpec{Name: "pool", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited}
		if chance(t, "gpu pool", 2) {
			n.GPUs = oneOf[int32](t, "gpus", 65, 100)
			n.GPUType = "V100"
		} else {
			n.CPU = 1000 * rapid.Int64Range(1, 16).Draw(t, "cpus")
		}
		return []sched.NodeSpec{n}
	}
	shapes := make([]sched.NodeSpec, rapid.IntRange(1, 3).Draw(t, "shapes"))
	for i := range shapes {
		s := &shapes[i]
		s.CPU = oneOf(t, "cpu", 2000, 4000, 1500, 8000, sched.Unlimited)
		s.Mem = oneOf(t, "mem", 8*gib, 16*gib, 3*gib, sched.Unlimited)
		s.GPUs = oneOf[int32](t, "gpus", 0, 1, 2, 4, 8, 64)
		if s.GPUs > 0 {
			s.GPUType = oneOf(t, "type", "A100", "V100", "T4")
			s.VRAM = oneOf(t, "vram", 16*gib, 24*gib, sched.Unlimited)
		}
		s.SpeedMilli = oneOf[int64](t, "speed", 0, 1000, 500, 2000, 1500, 333)
		s.StorageLatency = time.Duration(rapid.IntRange(0, 20).Draw(t, "latency")) * time.Millisecond
		if chance(t, "zoned", 2) {
			s.Labels = append(s.Labels, sched.Label{Key: "zone", Value: oneOf(t, "zone", "a", "b")})
		}
		if chance(t, "npu", 4) {
			s.Labels = append(s.Labels, sched.Label{Key: "accelerator", Value: "npu"})
		}
		if chance(t, "tainted", 4) {
			s.Taints = append(s.Taints, oneOf(
				t, "taint", sched.Taint{Key: "dedicated", Value: "ml", Effect: "NoSchedule"}, sched.Taint{Key: "spot", Value: "true", Effect: "NoExecute"},
				sched.Taint{Key: "soft", Effect: "PreferNoSchedule"},
			))
		}
	}
	nodes := make([]sched.NodeSpec, rapid.IntRange(1, 6).Draw(t, "nodes"))
	for i := range nodes {
		nodes[i] = shapes[rapid.IntRange(0, len(shapes)-1).Draw(t, "shape")]
		nodes[i].Name = fmt.Sprintf("n%d", i)
	}
	return nodes
}

func drawDemand(t *rapid.T) sched.Demand {
	d := sched.Demand{Gang: 1}
	d.Need.CPU = oneOf[int64](t, "cpu", 1000, 500, 0, 100, 2000, 4000)
	d.Need.Mem = oneOf(t, "mem", 0, gib, 2*gib, 5*gib)
	d.Need.GPUs = oneOf[int32](t, "gpus", 0, 1, 1, 2, 4)
	if d.Need.GPUs > 0 {
		d.Need.GPUMilli = sched.Whole
		if d.Need.GPUs == 1 {
			d.Need.GPUMilli = oneOf[int32](t, "milli", sched.Whole, 500, 250, 300, 700, 999)
		}
		d.Need.VRAM = oneOf(t, "vram", 0, 4*gib, 10*gib, 20*gib)
		if chance(t, "typed", 3) {
			d.GPUTypes = oneOf(t, "types", []string{"A100"}, []string{"V100", "T4"}, []string{"A100", "V100"})
		}
	}
	if chance(t, "gang", 4) {
		d.Gang = rapid.Int32Range(2, 4).Draw(t, "replicas")
	}
	if chance(t, "labelled", 6) {
		d.Labels = oneOf(t, "labels", []sched.Label{{Key: "zone", Value: "a"}}, []sched.Label{{Key: "accelerator", Value: "npu"}}, []sched.Label{{Key: "zone", Value: "b"}, {Key: "accelerator", Value: "npu"}})
	}
	if chance(t, "avoiding", 6) {
		d.NotLabels = oneOf(t, "labels not to have", []sched.NotLabel{{Key: "zone", Value: "a"}}, []sched.NotLabel{{Key: "accelerator", Any: true}},
			[]sched.NotLabel{{Key: "zone", Value: "b"}, {Key: "accelerator", Value: "npu"}})
	}
	if chance(t, "tolerant", 2) {
		d.Tolerations = oneOf(
			t, "tolerations", []sched.Toleration{{Exists: true}}, []sched.Toleration{{Key: "dedicated", Value: "ml", Effect: "NoSchedule"}},
			[]sched.Toleration{{Key: "spot", Exists: true}}, []sched.Toleration{{Key: "dedicated", Value: "other"}, {Key: "spot", Value: "true"}},
		)
	}
	return d
}

// relax takes away what keeps the demand off the cluster, step by step.
func relax(d *sched.Demand, nodes []sched.NodeSpec) {
	for _, step := range []func(){
		func() {}, func() { d.Gang = 1 }, func() { d.Labels = nil }, func() { d.NotLabels = nil }, func() { d.Tolerations = []sched.Toleration{{Exists: true}} },
		func() { d.GPUTypes = nil }, func() { d.Need.VRAM = 0 },
		func() {
			if d.Need.GPUs > 0 {
				d.Need.GPUs, d.Need.GPUMilli = 1, sched.Whole
			}
		},
		func() { d.Need.GPUs, d.Need.GPUMilli = 0, 0 },
		func() { d.Need.CPU = min(d.Need.CPU, 1000) }, func() { d.Need.Mem = 0 },
	} {
		step()
		if check.FitsDemand(nodes, d) {
			return
		}
	}
}

// draft is a task in input order.
type draft struct {
	job          int
	submit       sched.Time
	run, est     time.Duration
	class        int
	after        []int
	runOn, estOn []sched.CostOn
}

func drawCase(t *rapid.T, g Gen) Case {
	c := Case{Nodes: drawNodes(t)}
	table := &sched.Table{Tenants: []string{"", "red", "blue"}, Queues: []string{"", "batch", "interactive"}, Kinds: []string{"", "train", "etl"}}
	c.Table = table

	// Demands and classes.
	for range rapid.IntRange(1, 6).Draw(t, "demands") {
		d := drawDemand(t)
		relax(&d, c.Nodes)
		table.Demands = append(table.Demands, d)
	}
	if !g.NoRunOn && chance(t, "throughput tables", 5) {
		table.Speeds = [][]sched.SpeedOn{nil, {{GPUType: "A100", Nano: 2e9}, {GPUType: "V100", Nano: 3e8}}, {{GPUType: "A100", Nano: 7e8}}}
	}
	for range rapid.IntRange(1, 8).Draw(t, "classes") {
		cl := sched.Class{Demand: sched.DemandID(rapid.IntRange(0, len(table.Demands)-1).Draw(t, "demand"))}
		if table.Speeds != nil {
			cl.Speeds = sched.SpeedsID(rapid.IntRange(0, 2).Draw(t, "throughput"))
		}
		if chance(t, "rich", 2) {
			cl.Kind = sched.KindID(rapid.IntRange(0, 2).Draw(t, "kind"))
			cl.Tenant = sched.TenantID(rapid.IntRange(0, 2).Draw(t, "tenant"))
			cl.Queue = sched.QueueID(rapid.IntRange(0, 2).Draw(t, "queue"))
			cl.Priority = rapid.Int32Range(-1, 3).Draw(t, "priority")
			cl.Criticality = oneOf(t, "criticality", 0.0, 0.5, 1)
			cl.Period = oneOf[time.Duration](t, "period s", 0, 10, 25, 50) * time.Second
			cl.RelDeadline = oneOf[time.Duration](t, "deadline s", 0, 5, 20, 100) * time.Second
			cl.Retries = rapid.Int32Range(0, 3).Draw(t, "retries")
			cl.Backoff = oneOf[time.Duration](t, "backoff s", 0, 1, 7) * time.Second
		}
		table.Classes = append(table.Classes, cl)
	}
	unfit := -1
	if g.Unfit {
		d := sched.Demand{Gang: 1, Need: sched.Need{CPU: 500}}
		switch rapid.IntRange(0, 3).Draw(t, "unfit") {
		case 0:
			d.Labels = []sched.Label{{Key: "zone", Value: "nowhere"}}
		case 1:
			d.Need.GPUs, d.Need.GPUMilli, d.GPUTypes = 1, sched.Whole, []string{"H9000"}
		case 2:
			d.Need.GPUs, d.Need.GPUMilli = 65, sched.Whole
			d.Gang = 8
		case 3:
			d.Labels, d.NotLabels = []sched.Label{{Key: "zone", Value: "a"}}, []sched.NotLabel{{Key: "zone", Any: true}}
		}
		table.Classes = append(table.Classes, sched.Class{Demand: sched.DemandID(len(table.Demands))})
		table.Demands = append(table.Demands, d)
		unfit = len(table.Classes) - 1
	}

	drafts, jobs := drawTasks(t, g, c.Nodes, len(table.Classes), unfit)
	fill(&c, drafts, jobs)
	drawFaults(t, g, &c)

	if g.Sends {
		drawSends(t, &c)
	}

	c.Restart = !g.NoRestart && chance(t, "restart", 3)
	c.KillAtEstimate = !g.NoKill && chance(t, "kill at estimate", 3)
	if !g.NoOverhead && chance(t, "overhead", 3) {
		c.Overhead = oneOf(t, "overhead s", time.Second, 500*time.Millisecond, 3*time.Second)
		if g.SmallOverhead {
			var sum time.Duration
			for _, e := range table.Estimates {
				sum += e
			}
			c.Overhead = min(c.Overhead, sum/time.Duration(len(table.Tasks))/40, 1500*time.Millisecond)
		}
	}
	return c
}

// draftJob is a job before its tasks are numbered. References are raw numbers, taken modulo what there is.
type draftJob struct {
	submit   sched.Time
	linked   bool
	backward bool // predecessors stand after their successors in the input
	spread   bool // its tasks are not submitted together
	across   int  // 0: none; else one edge from an earlier job
	tasks    []draftTask
}

type draftTask struct {
	draft
	later int
	preds []int
}

// drawTasks builds on slices of jobs and tasks, which rapid shrinks well.
func drawTasks(t *rapid.T, g Gen, nodes []sched.NodeSpec, classes, unfit int) (drafts []draft, jobs int) {
	origin := oneOf[sched.Time](t, "origin", 0, -100e9, 5e8)
	task := rapid.Custom(func(t *rapid.T) draftTask { return drawTask(t, g, nodes, classes) })
	job := rapid.Custom(func(t *rapid.T) draftJob {
		return draftJob{
			submit:   origin + oneOf[sched.Time](t, "submit half-s", 0, 0, 2, 4, 5, 10, 20, 30, 61, 120)*5e8,
			linked:   chance(t, "linked", 2),
			backward: chance(t, "backward", 6),
			spread:   chance(t, "spread", 8),
			across:   rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2, 5}).Draw(t, "across"),
			tasks:    rapid.SliceOfN(task, 1, 8).Draw(t, "tasks"),
		}
	})
	limit := cmp.Or(g.MaxTasks, 40)
	for _, j := range rapid.SliceOfN(job, 1, 12).Draw(t, "jobs") {
		first := len(drafts)
		for i, k := range j.tasks {
			if len(drafts) == limit {
				break
			}
			d := k.draft
			d.job, d.submit = jobs, j.submit
			if j.spread {
				d.submit += sched.Time(k.later) * 1e9
			}
			if unfit >= 0 && first == 0 && i == 0 {
				d.class = unfit
			}
			drafts = append(drafts, d)
			if !j.linked || i == 0 {
				continue
			}
			for _, p := range k.preds {
				a, b := first+p%i, first+i
				if j.backward {
					a, b = b, a
				}
				drafts[b].after = append(drafts[b].after, a)
			}
		}
		if own := len(drafts) - first; own > 0 {
			if first > 0 && j.across > 0 {
				b := first + j.across%own
				drafts[b].after = append(drafts[b].after, (j.across*7)%first)
			}
			jobs++
		}
	}
	return drafts, jobs
}

func drawTask(t *rapid.T, g Gen, nodes []sched.NodeSpec, classes int) draftTask {
	var d draftTask
	d.class = rapid.IntRange(0, classes-1).Draw(t, "class")
	d.run = oneOf[time.Duration](t, "run", 1000, 2000, 5000, 10000, 500, 30000, 100000, 0, 333) * time.Millisecond
	d.est = d.run
	if d.run > 0 && chance(t, "inexact", 3) {
		d.est = d.run * oneOf[time.Duration](t, "factor", 1, 2, 6, 12) / 4
	}
	// Work done is told in time on a node of reference speed (sched.Event.Done), so that a task which takes none there cannot be resumed
	// elsewhere: no such cases.
	if !g.NoRunOn && d.run > 0 && chance(t, "run on", 10) {
		on := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "on")]
		name := on.Name
		if on.GPUType != "" && chance(t, "by type", 2) {
			name = on.GPUType
		}
		run := oneOf[time.Duration](t, "run there", 500, 3000, 20000) * time.Millisecond
		d.runOn = []sched.CostOn{{On: name, Run: run}}
		d.estOn = []sched.CostOn{{On: name, Run: run * oneOf[time.Duration](t, "factor there", 2, 1, 4) / 2}}
	}
	d.later = rapid.IntRange(0, 20).Draw(t, "later")
	d.preds = rapid.SliceOfN(rapid.IntRange(0, 7), 0, 3).Draw(t, "preds")
	return d
}

// fill numbers the tasks by (submit, job's input order, input order) and writes the table.
func fill(c *Case, drafts []draft, jobs int) {
	table := c.Table
	first := make([]sched.Time, jobs)
	for i := range first {
		first[i] = sched.Never
	}
	for _, d := range drafts {
		first[d.job] = min(first[d.job], d.submit)
	}
	byFirst := make([]int, jobs)
	for i := range byFirst {
		byFirst[i] = i
	}
	slices.SortStableFunc(byFirst, func(a, b int) int { return cmp.Compare(first[a], first[b]) })
	jobID := make([]sched.JobID, jobs)
	for i, j := range byFirst {
		jobID[j] = sched.JobID(i)
	}
	order := make([]int, len(drafts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(drafts[a].submit, drafts[b].submit) })
	id := make([]sched.TaskID, len(drafts))
	for i, d := range order {
		id[d] = sched.TaskID(i)
	}

	n := len(drafts)
	table.Jobs = int32(jobs)
	preds, succs := make([][]sched.TaskID, n), make([][]sched.TaskID, n)
	edges := 0
	for i, at := range order {
		d := &drafts[at]
		deadline := sched.Never
		if rel := table.Classes[d.class].RelDeadline; rel > 0 {
			deadline = d.submit.Add(rel)
		}
		table.Tasks = append(table.Tasks, sched.Task{Submit: d.submit, Job: jobID[d.job], Class: sched.ClassID(d.class)})
		table.SetDeadline(sched.TaskID(i), deadline)
		table.Estimates = append(table.Estimates, d.est)
		c.Run = append(c.Run, d.run)
		if d.runOn != nil {
			if c.RunOn == nil {
				c.RunOn, table.EstimateOn = map[sched.TaskID][]sched.CostOn{}, map[sched.TaskID][]sched.CostOn{}
			}
			c.RunOn[sched.TaskID(i)], table.EstimateOn[sched.TaskID(i)] = d.runOn, d.estOn
		}
		for _, a := range d.after {
			if p := id[a]; !slices.Contains(preds[i], p) {
				preds[i] = append(preds[i], p)
				succs[p] = append(succs[p], sched.TaskID(i))
				edges++
			}
		}
	}
	if edges == 0 {
		return
	}
	table.PredOff, table.SuccOff = []int32{0}, []int32{0}
	for i := range n {
		slices.Sort(preds[i])
		slices.Sort(succs[i])
		table.Pred = append(table.Pred, preds[i]...)
		table.Succ = append(table.Succ, succs[i]...)
		table.PredOff = append(table.PredOff, int32(len(table.Pred)))
		table.SuccOff = append(table.SuccOff, int32(len(table.Succ)))
	}
}

// drawSends puts data on edges and gives nodes links.
func drawSends(t *rapid.T, c *Case) {
	if c.Table.Succ == nil || chance(t, "nothing is sent", 3) {
		return
	}
	for range c.Table.Succ {
		c.Table.EdgeBytes = append(c.Table.EdgeBytes, oneOf[int64](t, "MB sent", 0, 1, 5, 40, 333)*1e6)
	}
	for i := range c.Nodes {
		c.Nodes[i].NetworkMbps = oneOf[float64](t, "Mbit/s", 8, 0, 80, 24, 1000)
		c.Nodes[i].NetworkLatency = oneOf(t, "link's latency", 0, time.Second, 100*time.Millisecond)
	}
}

// drawFaults scripts outages, each with a return so that every task can end, and failing attempts.
func drawFaults(t *rapid.T, g Gen, c *Case) {
	origin := c.Table.Tasks[0].Submit
	if !g.NoNodeFaults && chance(t, "outages", 3) {
		back := make([]sched.Time, len(c.Nodes)) // the node is up again
		for i := range back {
			back[i] = origin - 1e9
		}
		for range rapid.IntRange(1, 3).Draw(t, "outages") {
			n := rapid.IntRange(0, len(c.Nodes)-1).Draw(t, "node")
			from := max(origin+sched.Time(rapid.IntRange(0, 60).Draw(t, "down s"))*1e9, back[n]+1e9)
			back[n] = from + sched.Time(rapid.IntRange(1, 40).Draw(t, "for s"))*1e9
			c.Faults = append(c.Faults, Fault{At: from, Node: sched.NodeID(n)}, Fault{At: back[n], Node: sched.NodeID(n), Up: true})
		}
		slices.SortStableFunc(c.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	}
	if !g.NoTaskFaults && chance(t, "failures", 3) {
		type which struct {
			task    sched.TaskID
			attempt int32
		}
		seen := map[which]bool{}
		for range rapid.IntRange(1, 6).Draw(t, "failures") {
			w := which{sched.TaskID(rapid.IntRange(0, len(c.Run)-1).Draw(t, "task")), rapid.Int32Range(1, 3).Draw(t, "attempt")}
			if seen[w] {
				continue
			}
			seen[w] = true
			after := oneOf(t, "after", time.Second, 0, 500*time.Millisecond, c.Run[w.task]/2, c.Run[w.task])
			c.Faults = append(c.Faults, Fault{Task: w.task, Attempt: w.attempt, After: after})
		}
	}
}
