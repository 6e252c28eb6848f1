// Package benchmarks_test keeps the README's claims about policies true.
package benchmarks_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
)

func compare(t *testing.T, o experiment.Options, names ...string) map[string]report.Summary {
	t.Helper()
	for _, n := range names {
		s, err := policies.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = append(o.Policies, s)
	}
	o.Estimates.Kind = "trace"
	res, err := experiment.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]report.Summary{} // by the names that were given
	for _, s := range res.Summary {
		i := slices.IndexFunc(o.Policies, func(p policies.Spec) bool { return p.String() == s.Policy })
		out[names[i]] = s
	}
	return out
}

func TestCriticalPathIsAheadOnTheExample(t *testing.T) {
	_, nodes := gen.Example(1)
	o := experiment.Options{Nodes: nodes, Source: experiment.Source{Load: func(seed int64) (*traces.Workload, error) {
		w, _ := gen.Example(uint64(seed))
		return w, nil
	}}}
	for seed := range int64(20) {
		o.Seeds = append(o.Seeds, seed+1)
	}
	got := compare(t, o, "fifo", "rr", "critical-path")
	cp := got["critical-path"].Mean
	for _, base := range []string{"fifo", "rr"} {
		b := got[base].Mean
		t.Logf("%s: wait %.1f s, utilization %.4f, throughput %.3f/min; critical-path: %.1f, %.4f, %.3f", base, b.WaitMean, b.UtilizationGPU, b.ThroughputPerMin,
			cp.WaitMean, cp.UtilizationGPU, cp.ThroughputPerMin)
		if !(cp.WaitMean < b.WaitMean && cp.UtilizationGPU > b.UtilizationGPU && cp.ThroughputPerMin > b.ThroughputPerMin) {
			t.Errorf("critical-path is not ahead of %s in mean wait, utilization and throughput over 20 seeds", base)
		}
	}
	if d := got["critical-path"].Versus["wait_mean_s"]; !(d.T.High < 0) {
		t.Errorf("the paired difference of mean wait to fifo does not exclude 0: %+v", d.T)
	}
}

func TestWfInstancesSayWhereCriticalPathIsAhead(t *testing.T) {
	dir := os.Getenv("SCHEDLAB_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "traces/dag/wfinstances/*.json.gz"))
	if len(files) == 0 {
		t.Skip("the WfInstances traces are not on this machine (set SCHEDLAB_SHARED)")
	}
	nodes, err := cluster.Parse("2x8cpu")
	if err != nil {
		t.Fatal(err)
	}
	waited := 0
	type tally struct {
		wait, makespan  int
		ratioW, ratioMk float64
	}
	ahead := map[string]*tally{"fifo": {}, "rr": {}}
	for _, f := range files {
		w, err := traces.Open(f, "")
		if err != nil {
			t.Fatal(err)
		}
		o := experiment.Options{Nodes: nodes, Seeds: []int64{1}, Source: experiment.Source{Fixed: true, Load: func(int64) (*traces.Workload, error) { return w, nil }}}
		got := compare(t, o, "fifo", "rr", "critical-path")
		cp := got["critical-path"].Mean
		if max(got["fifo"].Mean.WaitMean, got["rr"].Mean.WaitMean) < 0.1 {
			if math.Abs(cp.Makespan-got["fifo"].Mean.Makespan) > 0.01*cp.Makespan {
				t.Errorf("%s: nobody waits, yet the makespans differ", filepath.Base(f))
			}
			continue
		}
		waited++
		for base, a := range ahead {
			b := got[base].Mean
			if cp.WaitMean <= b.WaitMean {
				a.wait++
			}
			if cp.Makespan <= b.Makespan {
				a.makespan++
			}
			a.ratioW += math.Log(cp.WaitMean / b.WaitMean)
			a.ratioMk += math.Log(cp.Makespan / b.Makespan)
		}
		t.Logf("%-48s fifo %8.4g s %8.5g s | rr %8.4g s %8.5g s | critical-path %8.4g s %8.5g s", filepath.Base(f), got["fifo"].Mean.WaitMean, got["fifo"].Mean.Makespan,
			got["rr"].Mean.WaitMean, got["rr"].Mean.Makespan, cp.WaitMean, cp.Makespan)
	}
	for base, a := range ahead {
		w, mk := math.Exp(a.ratioW/float64(waited)), math.Exp(a.ratioMk/float64(waited))
		t.Logf("of %d workflows in which somebody waits: wait at most that of %s in %d, makespan in %d; geometric mean ratios %.3f and %.3f", waited, base, a.wait, a.makespan, w, mk)
		if w >= 1 {
			t.Errorf("critical-path waits longer than %s on the whole: %.3f", base, w)
		}
		if base == "fifo" && mk >= 1 {
			t.Errorf("critical-path takes longer than fifo on the whole: %.3f", mk)
		}
	}
}
