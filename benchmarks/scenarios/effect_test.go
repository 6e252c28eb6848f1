package scenarios_test

import (
	"math"
	"testing"

	"github.com/schedlab/schedlab/benchmarks/scenarios"
	"github.com/schedlab/schedlab/traces/metrics"
)

// TestEveryModelShowsItsEffectInItsScenario runs each scenario as it stands and with its model off, or a part of it, on three seeds: the metric that
// the model is about must move the way that its text says, and so far at least.
func TestEveryModelShowsItsEffectInItsScenario(t *testing.T) {
	off := func(s *scenarios.Scenario) { s.Simulation = scenarios.Simulation{} }
	wait := func(r metrics.Row) float64 { return r.WaitMean }
	jct := func(r metrics.Row) float64 { return r.JCTMean }
	lost := func(r metrics.Row) float64 { return 1 - r.Goodput/r.UtilizationGPU } // share of the occupied time
	unfinished := func(r metrics.Row) float64 { return float64(r.Tasks-r.Finished) / float64(r.Tasks) }
	throughput := func(r metrics.Row) float64 { return r.ThroughputPerMin }
	shown := map[string]bool{}
	for _, c := range []struct {
		scenario, what, policy string
		off                    func(*scenarios.Scenario)
		metric                 func(metrics.Row) float64
		least, most            float64 // of the metric on over that off; where off is 0, of the metric on
	}{
		{"batch-window", "decisions fall", "fjf", off, func(r metrics.Row) float64 { return float64(r.Decisions) }, 0, 1. / 50},
		{"batch-window", "a task waits 20 to 60 ms", "fjf", off, wait, 0.020, 0.060},
		{"failures", "work is lost", "easy", off, lost, 0.1, 0.3},
		{"failures", "waits grow", "easy", off, wait, 1.3, 3},
		{"checkpoints", "less than a third of the work is lost", "easy", func(s *scenarios.Scenario) { s.Simulation.Checkpoint = nil }, lost, 0, 1. / 3},
		{"checkpoints", "jobs are done sooner", "easy", func(s *scenarios.Scenario) { s.Simulation.Checkpoint = nil }, jct, 0.5, 0.97},
		{"elastic", "under half of the node-hours", "fjf", off, func(r metrics.Row) float64 { return r.NodeHours }, 0.2, 0.5},
		{"elastic", "waiting is the price", "fjf", off, wait, 60, 300},
		{"borrowing", "without it tasks wait longer", "fjf", func(s *scenarios.Scenario) {
			for i := range s.Simulation.Tenants.Quotas {
				s.Simulation.Tenants.Quotas[i].Borrow = ""
			}
		}, wait, 0, 0.7},
		{"borrowing", "quotas hold tasks back", "fjf", off, wait, 1.2, 5},
		{"borrowing", "what is lent is taken back by preemption", "fjf", func(s *scenarios.Scenario) {
			for i := range s.Simulation.Tenants.Quotas {
				s.Simulation.Tenants.Quotas[i].Reclaim = ""
			}
		}, func(r metrics.Row) float64 { return float64(r.Preemptions) }, 1, 100},
		{"out-of-memory", "about a third never finish", "fifo", off, unfinished, 0.2, 0.4},
		{"out-of-memory", "and their work is lost", "fifo", off, lost, 0.1, 0.3},
		{"unified-memory", "nothing fails", "fifo", func(s *scenarios.Scenario) { s.Simulation.Memory.Slowdown = 0 }, unfinished, 0, 0},
		{"unified-memory", "tasks take longer", "fifo", off, jct, 1.05, 1.3},
		{"profile-delay", "old load spares whole nodes by accident", "fjf+load-weighted", off, wait, 0.5, 0.9},
		{"profile-delay", "who looks at no load sees no difference", "fjf+best-fit", off, wait, 1, 1},
		{"staging", "a shared link holds fifo up", "fifo", func(s *scenarios.Scenario) { s.Simulation.Staging.Contention = false }, wait, 1.4, 4},
		{"staging", "who goes where the data lie hardly meets it", "critical-path", func(s *scenarios.Scenario) { s.Simulation.Staging.Contention = false }, wait, 0.8, 1.2},
		{"staging", "pageable copies take longer than none", "critical-path", func(s *scenarios.Scenario) { s.Simulation.Staging.Tiers = nil }, throughput, 0.9, 0.999},
		{"staging-overlap", "jobs are done sooner", "fifo", func(s *scenarios.Scenario) { s.Simulation.Staging.Overlap = false }, jct, 0.3, 0.75},
		{"staging-overlap", "GPUs do more in the time", "fifo", func(s *scenarios.Scenario) { s.Simulation.Staging.Overlap = false }, throughput, 1.05, 1.3},
		{"open-autoglm-alike", "there is hardly a difference between kinds", "critical-path", alike, throughput, 0.9, 1.1},
		{"open-autoglm", "types that are alike leave nothing to match", "critical-path", alike, throughput, 1.2, 3},
	} {
		s, err := scenarios.Open(c.scenario)
		if err != nil {
			t.Fatal(err)
		}
		shown[c.scenario] = true
		with := c.metric(means(t, s, 1, 3, c.policy)[c.policy])
		c.off(s)
		without := c.metric(means(t, s, 1, 3, c.policy)[c.policy])
		got := with
		if without != 0 {
			got /= without
		}
		if math.IsNaN(got) || got < c.least || got > c.most {
			t.Errorf("%s, %s: %.4g, off %.4g: %.4g, want %g to %g", c.scenario, c.what, with, without, got, c.least, c.most)
		}
		t.Logf("%s, %s: %.4g, off %.4g", c.scenario, c.what, with, without)
	}
	for _, n := range scenarios.Names() {
		if !shown[n] {
			t.Errorf("nothing shows the effect of %s", n)
		}
	}
}

// alike takes from each kind of task what makes it another than the others, and keeps the speeds that GPU types have on average.
func alike(s *scenarios.Scenario) {
	kinds := s.Workload.Mix.Kinds
	total, mean := 0.0, map[string]float64{}
	for _, k := range kinds {
		total += k.Share
		for typ, v := range k.Speeds {
			mean[typ] += k.Share / v
		}
	}
	for typ := range mean {
		mean[typ] = total / mean[typ] // harmonic: the same time on each type
	}
	for i := range kinds {
		kinds[i].Speeds = mean
	}
}
