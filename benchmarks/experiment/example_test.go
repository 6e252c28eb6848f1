package experiment_test

import (
	"context"
	"fmt"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
	"github.com/schedlab/schedlab/traces/graph"
)

// read returns a small trace and a cluster for it.
func read() (*traces.Workload, []sched.NodeSpec) {
	w, err := traces.Open("../../policies/testdata/example.csv", "")
	if err != nil {
		panic(err)
	}
	nodes, err := cluster.Parse("2x4gpu")
	if err != nil {
		panic(err)
	}
	return w, nodes
}

// One run and its metrics, all of which are fields of the row; row.MarshalJSON writes them as `schedlab run -o json` does.
func ExampleMeasure() {
	w, nodes := read()
	bound, err := graph.LowerBound(w.Table, w.Run, w.RunOn, nodes)
	if err != nil {
		panic(err)
	}
	c := sim.Config{Workload: w, Nodes: nodes, Policy: &policies.Easy{}}
	res, err := sim.Run(context.Background(), c)
	if err != nil {
		panic(err)
	}
	row := experiment.Measure(c, res, experiment.WarmUp{}, &bound)
	fmt.Printf("mean wait %.1f s, GPU utilization %.3f, makespan %g s (no schedule ends before %g s)\n", row.WaitMean, row.UtilizationGPU, row.Makespan, row.LowerBound)
	// Output:
	// mean wait 9.0 s, GPU utilization 0.825, makespan 30 s (no schedule ends before 24.75 s)
}

// A policy of one's own beside those of the catalogue, over the same workloads, as `schedlab compare` runs them. With an entry in the catalogue it has a name,
// parameters, and, where it is Placed, all placements.
func ExampleRun() {
	catalogue := policies.Catalogue
	defer func() { policies.Catalogue = catalogue }()
	policies.Catalogue = append(policies.Catalogue[:len(catalogue):len(catalogue)], policies.Entry{
		Name: "largest", Summary: "Most GPUs first.", Placed: true,
		Params: []policies.Param{{Name: "skip", Default: "true", About: "pass over what does not fit"}},
		New: func(a policies.Args) (sched.Policy, error) {
			most := func(s *sched.State, t sched.TaskID) int64 { return -s.Demand(t).GPUTotal() }
			return &policies.List{Key: most, Place: a.Place, Skip: a.Bool("skip")}, nil
		},
	})
	nodes, err := cluster.Parse("8x8gpu")
	if err != nil {
		panic(err)
	}
	jobs := gen.MustParse("jobs=200,gpus=philly,load=0.9,duration=exponential(mean=600)")
	o := experiment.Options{
		Source: experiment.Source{Load: func(seed int64) (*traces.Workload, error) { return jobs.Generate(uint64(seed), nodes) }},
		Nodes:  nodes, Seeds: []int64{1, 2, 3}, Estimates: experiment.Estimates{Kind: "trace"}, Check: true,
	}
	for _, name := range policies.Split("fifo,easy,largest+best-fit,largest{skip=false}") {
		p, err := policies.Parse(name)
		if err != nil {
			panic(err)
		}
		o.Policies = append(o.Policies, p)
	}
	res, err := experiment.Run(context.Background(), o)
	if err != nil {
		panic(err)
	}
	for _, s := range res.Summary { // res.Runs has each run
		fmt.Printf("%s: mean wait %.0f s\n", s.Policy, s.Mean.WaitMean)
	}
	// Output:
	// fifo: mean wait 247 s
	// easy: mean wait 48 s
	// largest+best-fit: mean wait 9 s
	// largest{skip=false}: mean wait 267 s
}
