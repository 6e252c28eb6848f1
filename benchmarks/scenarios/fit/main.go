// Command fit fits parameters of the scenario open-autoglm (and of its relative with little cross-affinity) to the published rows of fifo and
// round-robin, and prints the residuals. Only the seeds 1-30 are used to fit. It looks at one parameter after the other, each a step up and
// down, and keeps what makes the largest residual smaller; or, with -tries, moves all of them at random. The row of critical-path is not fitted,
// only printed.
//
//	go run ./benchmarks/scenarios/fit                         # residuals of the scenario as it stands, seeds 1-30
//	go run ./benchmarks/scenarios/fit -seeds 31-100           # and on seeds that no parameter has seen
//	go run ./benchmarks/scenarios/fit -search                 # fit, and print what to write into the file
//	go run ./benchmarks/scenarios/fit -scenario open-autoglm-alike -search -tries 90
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/scenarios"
	"github.com/schedlab/schedlab/policies"
)

// row is what was published of a policy: mean wait in s, utilization in %, tasks a minute.
type row [3]float64

// published are the rows by the policy's name without parameters.
var published = map[string]row{"fifo": {128, 61, 23}, "rr": {97, 69, 28}, "critical-path": {46, 87, 45}}

func main() {
	name := flag.String("scenario", "open-autoglm", "scenario to fit")
	seeds := flag.String("seeds", "1-30", "seeds a-b to print residuals of")
	search := flag.Bool("search", false, "fit on seeds 1-30")
	tries := flag.Int("tries", 0, "with -search: so many random moves of all parameters, rather than one after the other")
	flag.Parse()
	if err := run(*name, *seeds, *search, *tries); err != nil {
		fmt.Fprintln(os.Stderr, "fit:", err)
		os.Exit(1)
	}
}

func run(name, seeds string, search bool, tries int) error {
	s, err := scenarios.Open(name)
	if err != nil {
		return err
	}
	if s.Workload.Mix == nil {
		return fmt.Errorf("scenario %s has no mix to fit", name)
	}
	if search {
		if err := fit(s, tries); err != nil {
			return err
		}
	}
	var from, to int64
	if _, err := fmt.Sscanf(seeds, "%d-%d", &from, &to); err != nil || from > to {
		return fmt.Errorf("seeds must be a-b, not %q", seeds)
	}
	rows, err := rowsOf(s, from, to, s.Policies)
	if err != nil {
		return err
	}
	fmt.Printf("%s, seeds %d-%d: value (difference to the published row)\n", s.Name, from, to)
	for _, p := range s.Policies {
		got, want := rows[p], published[base(p)]
		fmt.Printf("%-34s wait %6.1f s (%+5.1f %%)  utilization %5.1f %% (%+5.1f %%)  %5.2f tasks/min (%+5.1f %%)\n",
			p, got[0], 100*(got[0]/want[0]-1), got[1], 100*(got[1]/want[1]-1), got[2], 100*(got[2]/want[2]-1))
	}
	return nil
}

func base(policy string) string {
	name, _, _ := strings.Cut(policy, "{")
	return name
}

// rowsOf simulates the policies on the seeds.
func rowsOf(s *scenarios.Scenario, from, to int64, names []string) (map[string]row, error) {
	o := experiment.Options{Nodes: s.Nodes, Source: experiment.Source{Load: s.Load(s.Nodes)}, Estimates: experiment.Estimates{Kind: "trace"}}
	s.Simulation.Into(&o.Sim)
	for seed := from; seed <= to; seed++ {
		o.Seeds = append(o.Seeds, seed)
	}
	for _, n := range names {
		p, err := policies.Parse(n)
		if err != nil {
			return nil, err
		}
		o.Policies = append(o.Policies, p)
	}
	res, err := experiment.Run(context.Background(), o)
	if err != nil {
		return nil, err
	}
	out := map[string]row{}
	for i, sum := range res.Summary {
		out[names[i]] = row{sum.Mean.WaitMean, 100 * sum.Mean.UtilizationGPU, sum.Mean.ThroughputPerMin}
	}
	return out, nil
}

// worst is the largest residual, as a logarithm, over fifo's and round-robin's rows.
func worst(s *scenarios.Scenario) (float64, error) {
	var names []string
	for _, p := range s.Policies {
		if b := base(p); b == "fifo" || b == "rr" {
			names = append(names, p)
		}
	}
	rows, err := rowsOf(s, 1, 30, names)
	most := 0.0
	for n, got := range rows {
		for i, want := range published[base(n)] {
			most = max(most, math.Abs(math.Log(got[i]/want)))
		}
	}
	return most, err
}

// fit changes parameters as long as that makes the largest residual smaller: one at a time, or all at random.
func fit(s *scenarios.Scenario, tries int) error {
	m := s.Workload.Mix
	quantum := func() float64 {
		for _, p := range s.Policies {
			var q float64
			if _, err := fmt.Sscanf(p, "rr{quantum=%gs}", &q); err == nil {
				return q
			}
		}
		return 30
	}()
	mean, input := m.Kinds[0].MeanS, m.Kinds[0].InputGB
	type knob struct {
		name string
		v    *float64
	}
	knobs := []knob{{"span_s", &m.Span}, {"mean_s", &mean}, {"quantum", &quantum}, {"share of the last kind", &m.Kinds[len(m.Kinds)-1].Share}}
	if input > 0 {
		knobs = append(knobs, knob{"input_gb", &input})
	}
	for i := range m.GPUs {
		knobs = append(knobs, knob{fmt.Sprintf("share of %d GPUs", m.GPUs[i].GPUs), &m.GPUs[i].Share})
	}
	set := func() {
		for i := range m.Kinds {
			m.Kinds[i].MeanS, m.Kinds[i].InputGB = mean, input
		}
		for i, p := range s.Policies {
			if base(p) == "rr" {
				s.Policies[i] = fmt.Sprintf("rr{quantum=%gs}", quantum)
			}
		}
	}
	best, err := worst(s)
	if err != nil {
		return err
	}
	// All at once: the step is widened after a success and narrowed after a failure so that one in five succeeds (Rechenberg's rule for a (1+1)
	// evolution strategy).
	r, old := rand.New(rand.NewPCG(1, 1)), make([]float64, len(knobs))
	for i, step := 0, 0.15; i < tries; i++ {
		for j, k := range knobs {
			old[j] = *k.v
			*k.v = math.Round(old[j]*math.Exp(step*r.NormFloat64())*1000) / 1000
		}
		set()
		if w, err := worst(s); err == nil && w < best-1e-4 {
			best, step = w, min(step*1.5, 0.5)
			fmt.Printf("try %d: largest residual %.1f %%\n", i+1, 100*(math.Exp(w)-1))
			continue
		}
		step = max(step/1.107, 0.01)
		for j, k := range knobs {
			*k.v = old[j]
		}
		set()
	}
	for step := 0.10; tries == 0 && step > 0.015; {
		better := false
		for _, k := range knobs {
			old := *k.v
			for _, f := range []float64{1 + step, 1 / (1 + step)} {
				*k.v = math.Round(old*f*1000) / 1000
				set()
				w, err := worst(s)
				if err == nil && w < best-1e-4 {
					best, better = w, true
					fmt.Printf("%s %g: largest residual %.1f %%\n", k.name, *k.v, 100*(math.Exp(w)-1))
					break
				}
				*k.v = old
				set()
			}
		}
		if !better {
			step /= 2
		}
	}
	for _, k := range knobs {
		fmt.Printf("%s: %g\n", k.name, *k.v)
	}
	return nil
}
