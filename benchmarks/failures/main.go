// Command failures compares policies on a recorded trace at several mean times between failures of a node and draws how the waiting grows with
// them:
//
//	go run ./benchmarks/failures -out benchmarks/pictures philly.csv.gz
//
// Every node is an exponential of its own; a seed is the same failures for all policies. It prints a table in Markdown.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/plots"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "failures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	nodes := flag.String("cluster", "80x8xV100", "nodes")
	list := flag.String("policies", "fjf,easy,critical-path,srtf", "policies, separated by commas")
	mtbfs := flag.String("mtbf", "24h,168h,720h", "mean times between failures of a node, ascending")
	repair := flag.Duration("repair", time.Hour, "time that a node is down")
	checkpoint := flag.String("checkpoint", "every=daly,cost=1m,restart=2m", "as of schedlab compare; none: work is not saved")
	seeds := flag.Int("seeds", 3, "seeds of the failures")
	out := flag.String("out", "", "folder for failures.svg and failures.png")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("one trace is wanted (failures -help)")
	}
	w, err := traces.Open(flag.Arg(0), "")
	if err != nil {
		return err
	}
	o := experiment.Options{
		Source:    experiment.Source{Fixed: true, Load: func(int64) (*traces.Workload, error) { return w, nil }},
		Estimates: experiment.Estimates{Kind: "trace"},
	}
	if o.Nodes, err = cluster.Parse(*nodes); err != nil {
		return err
	}
	for _, name := range policies.Split(*list) {
		spec, err := policies.Parse(name)
		if err != nil {
			return err
		}
		o.Policies = append(o.Policies, spec)
	}
	for seed := range int64(*seeds) {
		o.Seeds = append(o.Seeds, seed+1)
	}
	if *checkpoint != "none" {
		if o.Sim.Checkpoint, err = sim.ParseCheckpoint(*checkpoint); err != nil {
			return err
		}
	}
	calm := o
	calm.Sim.Checkpoint = nil
	without, err := experiment.Run(ctx, calm)
	if err != nil {
		return err
	}
	waits := make([]plots.Line, len(o.Policies))
	fmt.Println("| MTBF of a node | policy | mean wait s | p99 wait s | goodput % | restarts | lost work, GPU-h |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
	for _, s := range without.Summary {
		m := &s.Mean
		fmt.Printf("| no failures | `%s` | %.0f | %.0f | %.2f | 0 | 0 |\n", s.Policy, m.WaitMean, m.WaitP99, 100*m.Goodput)
	}
	for _, s := range strings.Split(*mtbfs, ",") {
		mtbf, err := time.ParseDuration(s)
		if err != nil {
			return err
		}
		o.Sim.Failures = &sim.Failures{MTBF: mtbf, Repair: *repair}
		if err := o.Sim.Check(); err != nil {
			return err
		}
		res, err := experiment.Run(ctx, o)
		if err != nil {
			return err
		}
		for i, s := range res.Summary {
			m := &s.Mean
			fmt.Printf("| %.4g h | `%s` | %.0f | %.0f | %.2f | %.0f | %.0f |\n", mtbf.Hours(), s.Policy, m.WaitMean, m.WaitP99, 100*m.Goodput, math.Round(float64(m.Restarts)), m.LostWorkGPU/3600)
			l := &waits[i]
			l.Name, l.X, l.Y = s.Policy, append(l.X, mtbf.Hours()), append(l.Y, m.WaitMean/without.Summary[i].Mean.WaitMean)
		}
	}
	if *out == "" {
		return nil
	}
	if err := os.MkdirAll(*out, 0o777); err != nil {
		return err
	}
	f, err := plots.Growth(fmt.Sprintf("Mean wait under failures (%s on %s)", filepath.Base(flag.Arg(0)), *nodes),
		"mean time between failures of a node (h)", "mean wait, without failures = 1", waits)
	if err != nil {
		return err
	}
	f.Note(fmt.Sprintf("a node is down for %s; checkpoints %s; mean of %d seeds", sched.ShortDuration(*repair), *checkpoint, *seeds))
	for _, format := range []string{"svg", "png"} {
		if err := write(f, filepath.Join(*out, "failures."+format), format); err != nil {
			return err
		}
	}
	return nil
}

func write(f *plots.Figure, name, format string) (err error) {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	return f.Write(out, format)
}
