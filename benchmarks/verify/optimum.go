package verify

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/graph"
)

var optimumParts = []part{
	{group: "optimum", name: "job shops", source: "traces/dag/jsplib", run: jobShops},
	{group: "optimum", name: "standard task graphs", source: "traces/dag/stg and references/dag/stg_graphs", run: stgBounds},
	{group: "optimum", name: "small instances", source: "benchmarks/verify/optima.csv (proven by branch and bound)", run: smallOptima},
}

// shop is an instance with a makespan that nobody can beat without stopping tasks.
type shop struct {
	name    string
	w       *traces.Workload
	nodes   []sched.NodeSpec
	optimum time.Duration
	factor  float64 // list schedules stay within so many times the optimum; 0: nothing is known
}

// schedules returns the policies whose schedules have no business below an optimum: all of the catalogue, those that preempt with that switched off.
func schedules() []string {
	var out []string
	for i := range policies.Catalogue {
		e := &policies.Catalogue[i]
		name := e.Name
		if slices.ContainsFunc(e.Params, func(p policies.Param) bool { return p.Name == "preempt" }) {
			name += "{preempt=false}"
		}
		out = append(out, name)
	}
	return append(out, "easy{scan=sjbf}", "easy{scan=lookahead}")
}

// bounded holds the makespans of all policies against the optima. A policy that has stopped a task meanwhile is not held to them: they are optima of
// schedules without preemption.
func (b *bench) bounded(shops []shop, what string) error {
	if len(shops) == 0 {
		return fmt.Errorf("%s: %w", b.source, fs.ErrNotExist)
	}
	var bounds tally
	for _, x := range shops {
		got, err := graph.LowerBound(x.w.Table, x.w.Run, nil, x.nodes)
		if err != nil {
			return err
		}
		bounds.see(got.Makespan <= x.optimum, "%s: the bound is %v, the optimum %v", x.name, got.Makespan, x.optimum)
	}
	b.add(Check{
		Name: "lower bound of " + what + " / optimum", Expected: fmt.Sprintf("%d cases of at most 1", bounds.all), Got: bounds.String(),
		Tolerance: "all within", OK: bounds.equal == bounds.all,
	})
	for _, policy := range schedules() {
		b.say(what + " under " + policy)
		var t tally
		sum, worst, stopped, whole := 0.0, 0.0, 0, true
		factor := false
		for _, x := range shops {
			spec, err := policies.Parse(policy)
			if err != nil {
				return err
			}
			p, err := policies.Build(spec, policies.Hints{MeanEstimate: time.Minute})
			if err != nil {
				return err
			}
			res, err := sim.Run(b.ctx, sim.Config{Workload: x.w, Nodes: x.nodes, Policy: p, Estimates: x.w.Run})
			if err != nil {
				return fmt.Errorf("%s on %s: %w", policy, x.name, err)
			}
			if res.Preemptions > 0 {
				stopped++
				whole = whole && res.Unfinished == 0
				continue
			}
			ratio := res.Last.Sub(res.First).Seconds() / x.optimum.Seconds()
			factor = factor || x.factor > 0
			t.see(res.Unfinished == 0 && res.Last.Sub(res.First) >= x.optimum && (x.factor == 0 || ratio <= x.factor), "%.4f on %s", ratio, x.name)
			sum, worst = sum+ratio, max(worst, ratio)
		}
		name := policy + ": makespan of " + what + " / optimum"
		if t.all == 0 {
			b.add(Check{
				Name: name, Expected: "cases without preemption", Got: fmt.Sprintf("nothing to compare: it stops tasks in all %d cases", stopped),
				Tolerance: "none; all tasks end", OK: whole, Shown: true,
			})
			continue
		}
		got := fmt.Sprintf("%s; mean %.3f, largest %.3f", t.String(), sum/float64(t.all), worst)
		if stopped > 0 {
			got += fmt.Sprintf("; %d with preemptions left out", stopped)
		}
		want := "at least 1"
		if factor {
			want = "1 .. 2 - 1/m"
		}
		b.add(Check{Name: name, Expected: fmt.Sprintf("%d cases of %s", t.all, want), Got: got, Tolerance: "all within", OK: t.equal == t.all})
	}
	return nil
}

// jobShops takes the instances of JSPLIB whose optimum is known. A job is a chain, each link bound to its machine by a label.
func jobShops(b *bench) error {
	var instances []struct {
		Name           string
		Jobs, Machines int
		Optimum        *int64
	}
	if err := b.json(b.source+"/instances.json", &instances); err != nil {
		return err
	}
	var shops []shop
	for _, in := range instances {
		text, err := os.ReadFile(b.path(b.source + "/" + in.Name))
		if errors.Is(err, fs.ErrNotExist) || in.Optimum == nil {
			continue // the list has more instances than there are files
		}
		if err != nil {
			return err
		}
		var numbers []int64
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, f := range strings.Fields(line) {
				v, err := strconv.ParseInt(f, 10, 64)
				if err != nil {
					return fmt.Errorf("%s: %w", in.Name, err)
				}
				numbers = append(numbers, v)
			}
		}
		if len(numbers) != 2+2*in.Jobs*in.Machines {
			return fmt.Errorf("%s: %d numbers for %d jobs on %d machines", in.Name, len(numbers), in.Jobs, in.Machines)
		}
		numbers = numbers[2:]
		build := traces.NewBuilder(in.Name, "jsplib")
		for i := range in.Jobs * in.Machines {
			d := time.Duration(numbers[2*i+1]) * time.Second
			r := traces.Row{
				Job: strconv.Itoa(i / in.Machines), ID: strconv.Itoa(i % in.Machines), Run: d, Estimate: d, Need: sched.Need{CPU: 1000},
				Labels: []sched.Label{{Key: "machine", Value: strconv.FormatInt(numbers[2*i], 10)}},
			}
			if i%in.Machines > 0 {
				r.After = []string{strconv.Itoa(i%in.Machines - 1)}
			}
			if err := build.Add(&r); err != nil {
				return err
			}
		}
		w, err := build.Build()
		if err != nil {
			return err
		}
		x := shop{name: in.Name, w: w, optimum: time.Duration(*in.Optimum) * time.Second}
		for m := range in.Machines {
			n := sched.NodeSpec{Name: "m" + strconv.Itoa(m), CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}
			n.Labels = []sched.Label{{Key: "machine", Value: strconv.Itoa(m)}}
			x.nodes = append(x.nodes, n)
		}
		shops = append(shops, x)
	}
	return b.bounded(shops, "job shops")
}

// stgBounds takes standard task graphs on 2 to 16 processors whose optimum is known: where the schedule by the longest path to the end is as long as the
// lower bound, max(critical path, work / m), both are the optimum. The files state none.
func stgBounds(b *bench) error {
	var files []string
	for _, folder := range []string{"traces/dag/stg", "references/dag/stg_graphs"} {
		found, err := filepath.Glob(filepath.Join(b.path(folder), "*.stg"))
		if err != nil {
			return err
		}
		slices.Sort(found)
		files = append(files, found...)
	}
	var shops []shop
	for _, f := range files {
		w, err := traces.Open(f, "stg")
		if err != nil {
			return err
		}
		for _, m := range []int{2, 4, 8, 16} {
			nodes, err := cluster.Parse(fmt.Sprintf("pool:%dcpu", m))
			if err != nil {
				return err
			}
			lb, err := graph.LowerBound(w.Table, w.Run, nil, nodes)
			if err != nil {
				return err
			}
			res, err := b.run(w, fmt.Sprintf("pool:%dcpu", m), "blevel", func(c *sim.Config) { c.Estimates = w.Run })
			if err != nil {
				return err
			}
			if res.Last.Sub(res.First) == lb.Makespan {
				shops = append(shops, shop{fmt.Sprintf("%s on %d", filepath.Base(f), m), w, nodes, lb.Makespan, 2 - 1/float64(m)})
			}
		}
	}
	return b.bounded(shops, "standard task graphs of known optimum")
}

// optima holds the proven optimal makespans of the small instances. A test computes them again:
//
//	go test ./benchmarks/verify -run TestOptimaAreProven
//
//go:embed optima.csv
var optima string

// smallJob is a task of a small instance: whole seconds, processors, and the tasks before it.
type smallJob struct {
	run, procs int
	after      []int
}

// smallInstance makes a random instance of 4 to 8 tasks on 2 to 4 processors, with precedence; every other one has tasks of one processor only.
func smallInstance(seed int) (m int, jobs []smallJob) {
	rng := rand.New(rand.NewPCG(uint64(seed), 77))
	m = 2 + rng.IntN(3)
	jobs = make([]smallJob, 4+rng.IntN(5))
	for i := range jobs {
		jobs[i] = smallJob{run: 1 + rng.IntN(9), procs: 1}
		if seed%2 == 1 {
			jobs[i].procs = 1 + rng.IntN(m)
		}
		for p := range i {
			if rng.IntN(4) == 0 {
				jobs[i].after = append(jobs[i].after, p)
			}
		}
	}
	return m, jobs
}

// smallOptima takes random small instances of rigid tasks with precedence.
func smallOptima(b *bench) error {
	rows, err := csv.NewReader(strings.NewReader(optima)).ReadAll()
	if err != nil {
		return err
	}
	var rigid, single []shop
	for _, r := range rows[1:] {
		seed, err := strconv.Atoi(r[0])
		if err != nil {
			return err
		}
		best, err := strconv.Atoi(r[3])
		if err != nil {
			return err
		}
		m, jobs := smallInstance(seed)
		build := traces.NewBuilder(r[0], "optima")
		for i, j := range jobs {
			d := time.Duration(j.run) * time.Second
			row := traces.Row{Job: "j", ID: strconv.Itoa(i), Run: d, Estimate: d, Need: sched.Need{CPU: 1000 * int64(j.procs)}}
			for _, p := range j.after {
				row.After = append(row.After, strconv.Itoa(p))
			}
			if err := build.Add(&row); err != nil {
				return err
			}
		}
		w, err := build.Build()
		if err != nil {
			return err
		}
		nodes, err := cluster.Parse(fmt.Sprintf("pool:%dcpu", m))
		if err != nil {
			return err
		}
		x := shop{"instance " + r[0], w, nodes, time.Duration(best) * time.Second, 0}
		if seed%2 == 1 {
			rigid = append(rigid, x)
		} else {
			x.factor = 2 - 1/float64(m) // Graham 1969
			single = append(single, x)
		}
	}
	return errors.Join(b.bounded(single, "small instances of sequential tasks"), b.bounded(rigid, "small instances of parallel tasks"))
}
