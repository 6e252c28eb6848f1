package gen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// ExampleCluster is the cluster of Example: 32 slow GPUs, the older and so the first nodes, and 32 fast ones. The speeds average 1, so
// that a load counted in GPUs is the load of the cluster.
const ExampleCluster = "4x(8xV100:32gb,64cpu,512gb,speed=0.75)+4x(8xA100:80gb,96cpu,768gb,speed=1.25)"

const (
	exampleJobs = 120
	exampleLoad = 1
)

// team is a tenant of the example and how often its jobs come.
type team struct {
	name, queue string
	weight      float64
	plans       []plan
}

// plan is a kind of job.
type plan struct {
	name   string
	weight float64
	make   func(*maker)
}

// Example returns the default workload of `schedlab compare` and its cluster: 120 DAG jobs of four teams that share 64 GPUs, about 2900
// tasks, submitted over some four hours at a load of 1. The jobs have the shapes that such teams run: data preparation on CPUs,
// gangs of 4 to 16 GPUs, sweeps and evaluations of many small tasks, rounds of training that are long and narrow, pipelines that
// somebody waits for; the numbers are invented. Order matters in it, since large gangs stand in the way of small tasks and long
// paths are not the wide ones, and so does placement, since half of the GPUs are slow.
func Example(seed uint64) (*traces.Workload, []sched.NodeSpec) {
	nodes, err := cluster.Parse(ExampleCluster)
	if err != nil {
		panic(err) // the text above is ours
	}
	teams := []team{
		{"vision", "batch", 3, []plan{{"detector", 3, (*maker).detector}, {"sweep", 2, (*maker).sweep}}},
		{"language", "batch", 5, []plan{{"pretrain", 1, (*maker).pretrain}, {"finetune", 2, (*maker).finetune}, {"curriculum", 4, (*maker).curriculum}}},
		{"ads", "online", 3, []plan{{"ranking", 3, (*maker).ranking}, {"embed", 2, (*maker).embed}}},
		{"science", "batch", 2, []plan{{"mosaic", 2, (*maker).mosaic}, {"sweep", 1, (*maker).sweep}}},
	}
	arrivals, choose, shapes := stream(seed, "arrival"), stream(seed, "jobs"), stream(seed, "shapes")
	runs, estimates, urgent := stream(seed, "duration"), stream(seed, "estimates"), stream(seed, "deadlines")

	b := traces.NewBuilder("example", "generated")
	now := 0.0
	for j := range exampleJobs {
		if j > 0 {
			now -= math.Log(open(arrivals)) * 150 // stretched below
		}
		t := &teams[weighted(choose, len(teams), func(i int) float64 { return teams[i].weight })]
		p := &t.plans[weighted(choose, len(t.plans), func(i int) float64 { return t.plans[i].weight })]
		if p.name == "pretrain" && j > exampleJobs*2/3 {
			p = &t.plans[1] // large runs are planned: none begins late
		}
		m := &maker{r: shapes, runs: runs}
		m.base = traces.Row{Job: fmt.Sprintf("%s-%s-%03d", t.name, p.name, j+1), Tenant: t.name, Queue: t.queue, Submit: sched.Time(math.Round(now*1e6)) * 1000}
		// Drawn for every job, used or not, so that the streams stay in step.
		rush, slack := open(urgent), 2+3*open(urgent)
		p.make(m)
		deadline, criticality := time.Duration(0), 0.0
		switch {
		case t.queue == "online":
			criticality = 0.8
			if rush < 0.5 {
				deadline, criticality = microseconds(math.Round(slack*m.longest())), 1
			}
		case rush < 0.1:
			deadline, criticality = microseconds(math.Round(slack*m.longest())), 0.5
		}
		for i := range m.rows {
			r := &m.rows[i]
			r.Deadline, r.Criticality, r.Line = deadline, criticality, b.Len()+1
			r.Estimate = microseconds(math.Round(r.Run.Seconds() * math.Exp(math.Abs(0.25*normal(estimates)))))
			r.Estimate = max(r.Estimate, r.Run)
			if err := b.Add(r); err != nil {
				panic(err)
			}
		}
	}
	w, err := b.Build()
	if err == nil {
		w.Recorded = false
		w.Cluster = nodes
		w, err = w.ScaleLoad(nodes, exampleLoad)
	}
	if err != nil {
		panic(err)
	}
	return w, nodes
}

// weighted draws one of n.
func weighted(r *rand.Rand, n int, weight func(int) float64) int {
	total := 0.0
	for i := range n {
		total += weight(i)
	}
	u := open(r) * total
	for i := range n {
		if u -= weight(i); u < 0 {
			return i
		}
	}
	return n - 1
}

// maker builds one job of the example.
type maker struct {
	r, runs *rand.Rand
	base    traces.Row
	rows    []traces.Row
	ends    []float64
	index   map[string]int
	count   map[string]int
}

// ask is what a task needs; mean is its mean run time in seconds, on a GPU of speed 1.
type ask struct {
	mean, sigma    float64
	gpus, gang     int32
	share          int32 // of one GPU, in 1/1000
	cpu, mem, vram int64 // cores, GB, GB
}

func (m *maker) add(kind string, a ask, after ...string) string {
	if m.index == nil {
		m.index, m.count = map[string]int{}, map[string]int{}
	}
	m.count[kind]++
	r := m.base
	r.ID = fmt.Sprintf("%s-%d", kind, m.count[kind])
	r.Kind = kind
	r.After = after
	sigma := a.sigma
	if sigma == 0 {
		sigma = 0.4
	}
	r.Run = microseconds(max(1, math.Round(lognormal(a.mean, sigma).sample(m.runs)*10)/10))
	r.Need = sched.Need{CPU: a.cpu * 1000, Mem: a.mem << 30, VRAM: a.vram << 30, GPUs: a.gpus, GPUMilli: sched.Whole}
	switch {
	case a.share > 0:
		r.Need.GPUs, r.Need.GPUMilli = 1, a.share
	case a.gpus == 0:
		r.Need.GPUMilli = 0
	}
	r.Gang = a.gang
	start := 0.0
	for _, p := range after {
		start = max(start, m.ends[m.index[p]])
	}
	m.index[r.ID] = len(m.rows)
	m.ends = append(m.ends, start+r.Run.Seconds())
	m.rows = append(m.rows, r)
	return r.ID
}

// each adds n tasks of a kind with the same predecessors.
func (m *maker) each(n int, kind string, a ask, after ...string) []string {
	var ids []string
	for range n {
		ids = append(ids, m.add(kind, a, after...))
	}
	return ids
}

// between draws a whole number from low to high.
func (m *maker) between(low, high int) int { return low + int(open(m.r)*float64(high-low+1)) }

// longest returns the job's longest path in seconds.
func (m *maker) longest() float64 {
	longest := 0.0
	for _, e := range m.ends {
		longest = max(longest, e)
	}
	return longest
}

// detector: shards are decoded on CPUs, a gang trains, checkpoints are evaluated one by one, the best is exported.
func (m *maker) detector() {
	list := m.add("list", ask{mean: 20, cpu: 1, mem: 2})
	shards := m.each(m.between(6, 12), "decode", ask{mean: 120, cpu: 4, mem: 16}, list)
	train := m.add("train", ask{mean: 900, sigma: 0.3, gpus: 1, gang: int32(4 << m.between(0, 1)), cpu: 4, mem: 24, vram: 24}, shards...)
	evals := m.each(m.between(6, 12), "eval", ask{mean: 150, gpus: 1, cpu: 4, mem: 16, vram: 12}, train)
	best := m.add("select", ask{mean: 15, cpu: 1, mem: 2}, evals...)
	m.add("export", ask{mean: 90, gpus: 1, cpu: 4, mem: 16, vram: 8}, best)
}

// sweep: many trials of one or two GPUs, the best two trained in full.
func (m *maker) sweep() {
	prep := m.add("prepare", ask{mean: 90, cpu: 8, mem: 32})
	trials := m.each(m.between(12, 28), "trial", ask{mean: 240, sigma: 0.8, gpus: int32(1 << m.between(0, 1)), cpu: 4, mem: 16, vram: 10}, prep)
	best := m.add("select", ask{mean: 15, cpu: 1, mem: 2}, trials...)
	full := m.each(2, "train", ask{mean: 600, sigma: 0.3, gpus: 4, cpu: 16, mem: 64, vram: 20}, best)
	m.add("report", ask{mean: 30, cpu: 2, mem: 4}, full...)
}

// pretrain: tokenised shards, then stages of a gang of two whole nodes, each followed by small evaluations beside the next stage.
func (m *maker) pretrain() {
	shards := m.each(m.between(8, 16), "tokenize", ask{mean: 180, cpu: 8, mem: 24})
	before := shards
	var all []string
	for range 2 {
		stage := m.add("pretrain", ask{mean: 500, sigma: 0.2, gpus: 2, gang: 8, cpu: 8, mem: 64, vram: 30}, before...)
		all = append(all, m.each(m.between(3, 5), "probe", ask{mean: 120, gpus: 1, cpu: 4, mem: 16, vram: 16}, stage)...)
		before = []string{stage}
	}
	m.add("merge", ask{mean: 120, gpus: 2, cpu: 8, mem: 64, vram: 28}, all...)
}

// curriculum: round after round on two GPUs, each with tests beside the next round: a long path that is narrow.
func (m *maker) curriculum() {
	last := m.add("load", ask{mean: 60, cpu: 4, mem: 64})
	var tested []string
	for range m.between(5, 8) {
		last = m.add("round", ask{mean: 300, sigma: 0.3, gpus: 2, cpu: 8, mem: 64, vram: 24}, last)
		tested = append(tested, m.each(m.between(2, 4), "test", ask{mean: 120, sigma: 0.6, gpus: 1, cpu: 2, mem: 16, vram: 16}, last)...)
	}
	m.add("merge", ask{mean: 60, gpus: 2, cpu: 8, mem: 64, vram: 28}, append(tested, last)...)
}

// finetune: adapters on two to four GPUs, each tested on several sets, a merge.
func (m *maker) finetune() {
	load := m.add("load", ask{mean: 60, cpu: 4, mem: 64})
	var tested []string
	for range m.between(3, 5) {
		tune := m.add("tune", ask{mean: 700, gpus: int32(2 << m.between(0, 1)), cpu: 8, mem: 64, vram: 28}, load)
		tested = append(tested, m.each(m.between(3, 5), "test", ask{mean: 90, sigma: 0.6, gpus: 1, cpu: 2, mem: 16, vram: 16}, tune)...)
	}
	m.add("merge", ask{mean: 120, gpus: 2, cpu: 8, mem: 64, vram: 28}, tested...)
}

// ranking: features in two rounds on CPUs and parts of GPUs, a short training on a node, checks, a release that somebody waits for.
func (m *maker) ranking() {
	var built []string
	for range m.between(5, 9) {
		join := m.add("join", ask{mean: 80, cpu: 8, mem: 48})
		built = append(built, m.add("feature", ask{mean: 100, share: 500, cpu: 2, mem: 16, vram: 8}, join))
	}
	train := m.add("train", ask{mean: 480, gpus: 4, cpu: 16, mem: 96, vram: 20}, built...)
	checks := m.each(m.between(3, 6), "check", ask{mean: 60, share: 250, cpu: 1, mem: 8, vram: 6}, train)
	m.add("release", ask{mean: 30, cpu: 2, mem: 8}, checks...)
}

// embed: a fan of short inference tasks over the catalogue, an index built from them.
func (m *maker) embed() {
	split := m.add("split", ask{mean: 25, cpu: 2, mem: 8})
	parts := m.each(m.between(14, 26), "infer", ask{mean: 75, sigma: 0.7, gpus: 1, cpu: 2, mem: 12, vram: 10}, split)
	index := m.add("index", ask{mean: 150, gpus: 1, cpu: 8, mem: 64, vram: 24}, parts...)
	m.add("publish", ask{mean: 20, cpu: 1, mem: 4}, index)
}

// mosaic: the Montage shape on GPUs (see montage).
func (m *maker) mosaic() {
	n := m.between(6, 10)
	var project, fits []string
	for range n {
		project = append(project, m.add("project", ask{mean: 180, gpus: 1, cpu: 4, mem: 24, vram: 12}))
	}
	for i := range n {
		for _, j := range []int{i + 1, i + 2} {
			if j < n {
				fits = append(fits, m.add("fit", ask{mean: 40, cpu: 2, mem: 8}, project[i], project[j]))
			}
		}
	}
	model := m.add("model", ask{mean: 420, gpus: 2, cpu: 8, mem: 48, vram: 24}, fits...)
	var flat []string
	for i := range n {
		flat = append(flat, m.add("flatten", ask{mean: 60, share: 500, cpu: 2, mem: 16, vram: 8}, project[i], model))
	}
	sum := m.add("add", ask{mean: 300, gpus: 4, cpu: 16, mem: 128, vram: 28}, flat...)
	m.add("view", ask{mean: 30, cpu: 1, mem: 8}, sum)
}
