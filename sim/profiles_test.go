package sim_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
)

// sampled returns the loads that were told of node 0, as "at: load of sampling time".
func sampled(t *testing.T, p sim.Profiles, seed uint64) (out []string, loads []float64) {
	// A GPU of two is held from 0 to 4 s, both from 10 to 12 s; something happens at 1, 3, 6, 11 and 14 s.
	w := workload(t, gpus(0, 4*s, 1), cpus(1, 0, 1), cpus(3, 0, 1), cpus(6, 0, 1), gpus(10, 2*s, 2), cpus(11, 0, 1), cpus(14, 0, 1))
	run(t, sim.Config{Workload: w, Nodes: nodes(1, 8, 2), Policy: &policies.List{}, Profiles: &p, Seed: seed, Tap: func(now sched.Time, in []sched.Event, _ []sched.Command) error {
		for _, e := range in {
			if e.Kind == sched.NodeProfile {
				x := e.More.Profile
				out = append(out, fmt.Sprintf("%g: %g with %d at %g", now.Seconds(), x.GPULoad, x.Connections, x.SampledAt.Seconds()))
				loads = append(loads, x.GPULoad)
			}
		}
		return nil
	}})
	return out, loads
}

func TestPoliciesSeeWhatASamplerHasSeen(t *testing.T) {
	for _, c := range []struct {
		p    sim.Profiles
		want []string
	}{
		{sim.Profiles{Every: s}, []string{"0: 0 with 0 at 0", "1: 0.5 with 1 at 1", "3: 0.5 with 1 at 3", "4: 0.5 with 1 at 4", "6: 0 with 0 at 6", "11: 1 with 1 at 11", "12: 1 with 1 at 12", "14: 0 with 0 at 14"}},
		// 2.5 s late: at 3 s what was at 0 s is known, at 6 s what was at 3 s.
		{sim.Profiles{Every: s, Delay: 2500 * time.Millisecond}, []string{"3: 0 with 0 at 0", "4: 0.5 with 1 at 1", "6: 0.5 with 1 at 3", "10: 0 with 0 at 7", "14: 1 with 1 at 11"}},
		{sim.Profiles{Every: 5 * s}, []string{"0: 0 with 0 at 0", "14: 0 with 0 at 10"}},
	} {
		got, _ := sampled(t, c.p, 1)
		if c.p.Every == 5*s { // unchanged, and no load: not told again
			c.want = c.want[:1]
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v:\n%q, wanted\n%q", c.p, got, c.want)
		}
	}
}

func TestTheNoiseOfASamplerIsTheSeeds(t *testing.T) {
	p := sim.Profiles{Every: s, Noise: 0.1}
	a, _ := sampled(t, p, 1)
	b, _ := sampled(t, p, 1)
	c, _ := sampled(t, p, 2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("one seed gives %q and %q, another %q", a, b, c)
	}
	sum := 0.0
	n := 0
	for seed := range uint64(200) {
		_, loads := sampled(t, p, seed)
		sum, n = sum+(loads[1]-0.5)*(loads[1]-0.5), n+1 // at 1 s one of two GPUs is held
	}
	if sd := math.Sqrt(sum / float64(n)); sd < 0.08 || sd > 0.12 {
		t.Errorf("the error's standard deviation is %.3f, wanted 0.1", sd)
	}
}
