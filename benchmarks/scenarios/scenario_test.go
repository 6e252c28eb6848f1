package scenarios_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/scenarios"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/metrics"
)

// means runs a scenario's policies on seeds and returns the means by policy.
func means(t *testing.T, s *scenarios.Scenario, from, to int64, names ...string) map[string]metrics.Row {
	t.Helper()
	o := experiment.Options{Nodes: s.Nodes, Source: experiment.Source{Load: s.Load(s.Nodes)}, Estimates: experiment.Estimates{Kind: "trace"}, Check: to-from < 2}
	s.Simulation.Into(&o.Sim)
	for seed := from; seed <= to; seed++ {
		o.Seeds = append(o.Seeds, seed)
	}
	for _, n := range names {
		p, err := policies.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = append(o.Policies, p)
	}
	res, err := experiment.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]metrics.Row{}
	for i, sum := range res.Summary {
		out[names[i]] = sum.Mean
	}
	return out
}

// TestThePublishedComparisonIsReachedOnUnseenSeeds holds the means of seeds on which no parameter was fitted against the published rows:
// fifo and round-robin within 12 %, critical-path at or better, utilization not under 85 %. Seeds 101-170 were run for the first time when all was done.
func TestThePublishedComparisonIsReachedOnUnseenSeeds(t *testing.T) {
	s, err := scenarios.Open("open-autoglm")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{31, 101} {
		t.Run(fmt.Sprintf("from seed %d", from), func(t *testing.T) { holdPublished(t, means(t, s, from, from+69, s.Policies...)) })
	}
}

func holdPublished(t *testing.T, got map[string]metrics.Row) {
	t.Helper()
	for name, want := range map[string][3]float64{"fifo": {128, 61, 23}, "rr{quantum=30s}": {97, 69, 28}} {
		r, ok := got[name]
		for i, v := range []float64{r.WaitMean, 100 * r.UtilizationGPU, r.ThroughputPerMin} {
			if !ok || math.Abs(v/want[i]-1) > 0.12 {
				t.Errorf("%s: %.4g, published %g", name, v, want[i])
			}
		}
	}
	cp, score := got["critical-path"], got["critical-path{place=published}"]
	t.Logf("critical-path: %.1f s, %.1f %%, %.1f/min; by the published score alone: %.1f s, %.1f %%, %.1f/min", cp.WaitMean, 100*cp.UtilizationGPU, cp.ThroughputPerMin,
		score.WaitMean, 100*score.UtilizationGPU, score.ThroughputPerMin)
	if cp.WaitMean > 46 || cp.UtilizationGPU < 0.85 || cp.ThroughputPerMin < 45 {
		t.Errorf("critical-path: %.1f s, %.1f %%, %.2f/min; published 46 s, 87 %%, 45/min", cp.WaitMean, 100*cp.UtilizationGPU, cp.ThroughputPerMin)
	}
}

// TestWithoutCrossAffinityTheRowsAreReachedButTheThroughput holds the relative of that scenario in which all kinds prefer the same types: on unseen
// seeds fifo and round-robin have the published rows, and critical-path the published wait and utilization. The published throughput is beyond what
// any policy could do there: all GPUs busy all the time, each with the kind that runs fastest there, make fewer tasks a minute.
func TestWithoutCrossAffinityTheRowsAreReachedButTheThroughput(t *testing.T) {
	s, err := scenarios.Open("open-autoglm-alike")
	if err != nil {
		t.Fatal(err)
	}
	got := means(t, s, 31, 100, s.Policies...)
	for name, want := range map[string][3]float64{"fifo": {128, 61, 23}, "rr{quantum=33s}": {97, 69, 28}} {
		r, ok := got[name]
		for i, v := range []float64{r.WaitMean, 100 * r.UtilizationGPU, r.ThroughputPerMin} {
			if !ok || math.Abs(v/want[i]-1) > 0.12 {
				t.Errorf("%s: %.4g, published %g", name, v, want[i])
			}
		}
	}
	cp, score := got["critical-path"], got["critical-path{place=published}"]
	if cp.WaitMean > 46 || cp.UtilizationGPU < 0.85 || cp.ThroughputPerMin < 1.2*score.ThroughputPerMin {
		t.Errorf("critical-path: %.1f s, %.1f %%, %.1f/min, by the published score %.1f/min", cp.WaitMean, 100*cp.UtilizationGPU, cp.ThroughputPerMin, score.ThroughputPerMin)
	}
	bound := 0.0
	for seed := int64(31); seed <= 100; seed++ {
		w, err := s.Load(s.Nodes)(seed)
		if err != nil {
			t.Fatal(err)
		}
		work, speed := 0.0, 0.0
		for i := range w.Tasks {
			work += w.Run[i].Minutes() * float64(w.DemandOf(sched.TaskID(i)).GPUTotal()) / sched.Whole
		}
		for _, n := range s.Nodes {
			best := 0.0
			for _, k := range s.Workload.Mix.Kinds {
				best = max(best, k.Speeds[n.GPUType])
			}
			speed += best * float64(n.GPUs)
		}
		bound += speed * float64(len(w.Tasks)) / work / 70
	}
	t.Logf("critical-path: %.1f s, %.1f %%, %.1f/min; no schedule makes more than %.1f/min", cp.WaitMean, 100*cp.UtilizationGPU, cp.ThroughputPerMin, bound)
	if bound > 45 || cp.ThroughputPerMin < 0.8*bound {
		t.Errorf("critical-path makes %.1f tasks a minute of %.1f that are possible; published 45", cp.ThroughputPerMin, bound)
	}
}

// TestEveryScenarioRunsAndKeepsItsPromises runs each on one seed with all policies that it names, under the independent checkers.
func TestEveryScenarioRunsAndKeepsItsPromises(t *testing.T) {
	all, err := scenarios.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Summary() == "" || len(s.Policies) == 0 || s.Seeds == "" || s.Nodes == nil || s.Load(s.Nodes) == nil {
			t.Errorf("%s: a scenario that comes with schedlab says what it is about and all that it takes to run", s.Name)
			continue
		}
		if s.Source != s.Name+".yaml" {
			t.Errorf("%s stands in %s", s.Name, s.Source)
		}
		means(t, s, 1, 1, s.Policies...)
	}
}

func TestScenariosAreReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "empty",
		"version: 1\nname: a\nabuot: x\n": `x.yaml:3: unknown field "abuot"`,
		"version: 2\nname: a\n":           "version must be 1",
		"version: 1\n":                    "needs a name",
		"version: 1\nname: a\nsimulation:\n  failures: {mtbf: 3h, mtfb: 2h}\n":      `x.yaml:4: unknown field "mtfb"`,
		"version: 1\nname: a\nsimulation:\n  overhead: -3s\n":                       "overhead and horizon must not be negative",
		"version: 1\nname: a\nsimulation: {node_price: .inf}\n":                     "node_price must be a number from 0 on, not +Inf",
		"version: 1\nname: a\nsimulation:\n  overhead: three\n":                     `x.yaml:4: simulation.overhead must be a duration such as 30s, not "three"`,
		"version: 1\nname: a\nsimulation:\n  window: fast\n":                        `x.yaml:4: simulation.window must be keys and values (min, max, cost), not "fast"`,
		"version: 1\nname: a\nsimulation:\n  memory: {sgma: 1}\n":                   `x.yaml:4: unknown field "sgma" in simulation.memory (known: median, sigma, peak, slowdown)`,
		"version: 1\nname: a\nsimulation: {restart: maybe}\n":                       `x.yaml:3: simulation.restart must be true or false, not "maybe"`,
		"version: 1\nname: a\npolicies: fifo\n":                                     `x.yaml:3: policies must be a list, not "fifo"`,
		"version: 1\nname: a\npolicies:\n- fifo\n- {a: b}\n":                        "x.yaml:5: policies[2] must be text, not keys and values",
		"version: 1\nname: a\nworkload:\n  mix: {tasks_per_job: [1, 2, 3]}\n":       "x.yaml:4: workload.mix.tasks_per_job must be a list of 2, not a list of 3",
		"version: 1\nname: a\nname: b\n":                                            `x.yaml:3: key "name" stands twice, first in line 2`,
		"version: two\nname: a\n":                                                   `x.yaml:1: version must be a whole number, not "two"`,
		"version: 1\nname: a\ncluster: 2x8xA100\nnodes:\n- {gpus: 2}\n":             "not both",
		"version: 1\nname: a\nnodes:\n- {gpus: 2}\n- {gpus: 2, gpu_typ: A100}\n":    "x.yaml:5",
		"version: 1\nname: a\nnodes: []\n":                                          "x.yaml: the cluster has no nodes",
		"version: 1\nname: a\nnodes:\n- {name: n, cpu: 1}\n- {name: n, cpu: 1}\n":   `x.yaml: two nodes are named "n"`,
		"version: 1\nname: a\nworkload: {gen: jobs=2, trace: x}\n":                  "one of",
		"version: 1\nname: a\nworkload: {gen: jbos=2}\n":                            "gen",
		"version: 1\nname: a\nworkload:\n  mix: {jobs: 0}\n":                        "jobs must be",
		"version: 1\nname: a\nsimulation: {staging: {tiers: {direct: {gbps: -1}}}}": "direct",
		"version: 1\nname: a\n---\nversion: 1\n":                                    "only one",
		"- 1\n":                                                                     "x.yaml:1: the file must be keys and values (version, name, about,",
		"version: 1\nname: [\n":                                                     "x.yaml:2: not YAML: ",
	} {
		if _, err := scenarios.Read(strings.NewReader(text), "x.yaml"); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.yaml") {
			t.Errorf("%q: error %v, want one of x.yaml with %q", text, err, want)
		}
	}
}

// The nodes are read as those of a cluster file are, taints that follow from labels included.
func TestAnEdgeNodeOfAScenarioIsTainted(t *testing.T) {
	s, err := scenarios.Read(strings.NewReader("version: 1\nname: a\nnodes:\n- {cpu: 1, labels: {node-type: edge}}\n"), "x.yaml")
	if err != nil || len(s.Nodes) != 1 || len(s.Nodes[0].Taints) != 1 || s.Nodes[0].Taints[0].Key != "edge-node" {
		t.Errorf("%+v, %v", s, err)
	}
}

// FuzzScenario reads anything without a panic, and what it takes can be made into a workload or refuses with an error.
func FuzzScenario(f *testing.F) {
	all, err := scenarios.All()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range all {
		f.Add(s.Text)
	}
	f.Add([]byte("version: 1\nname: a\nnodes:\n- {gpus: 2}\nsimulation:\n  failures: {mtbf: 3h}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := scenarios.Read(strings.NewReader(string(text)), "x.yaml")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.yaml") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		if m := s.Workload.Mix; m != nil && m.Jobs*m.TasksPerJob[1] < 10_000 && len(m.GPUs)*len(m.Kinds) < 1000 {
			if _, err := s.Load(s.Nodes)(1); err != nil {
				t.Skip(err)
			}
		}
	})
}
