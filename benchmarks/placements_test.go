package benchmarks_test

import (
	"fmt"
	"testing"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
)

// TestCappingTheCandidatesOfTheNodeScoreShortensWaits shows in its log (-v) what it does to look at the first N nodes only. The node score of S7
// prefers idle nodes: among all of them it breaks up the room that large tasks need. Best-fit and FGD pack, whatever N.
func TestCappingTheCandidatesOfTheNodeScoreShortensWaits(t *testing.T) {
	nodes, err := cluster.Parse("64x(96cpu,768gb,8xA100:80gb)")
	if err != nil {
		t.Fatal(err)
	}
	spec := gen.MustParse("jobs=20000,load=0.9,duration=lognormal(sigma=1),gpus=philly,cpu=4,mem=32")
	o := experiment.Options{Nodes: nodes, Seeds: []int64{1, 2, 3}, Workers: 1, Source: experiment.Source{Load: func(seed int64) (*traces.Workload, error) {
		return spec.Generate(uint64(seed), nodes)
	}}}
	names := []string{"fjf+first-fit"}
	for _, placement := range []string{"seed", "best-fit", "fgd"} {
		for _, n := range []int{1, 2, 4, 8, 16, 32, 0} {
			names = append(names, fmt.Sprintf("fjf+%s{score=%d}", placement, n))
		}
	}
	got := compare(t, o, names...)
	t.Logf("%-24s %12s %12s %12s", "policy", "mean wait, s", "utilization", "ns a task")
	for _, name := range names {
		r := got[name].Mean
		t.Logf("%-24s %12.2f %12.4f %12.0f", name, r.WaitMean, r.UtilizationGPU, 1e9*r.SimWall/float64(r.Tasks))
	}
	wait := func(name string, n int) float64 { return got[fmt.Sprintf("fjf+%s{score=%d}", name, n)].Mean.WaitMean }
	if all := wait("seed", 0); !(wait("seed", 8) < all/5 && wait("seed", 16) < all/5) {
		t.Errorf("seed waits %.1f s with 8 candidates, %.1f s with all", wait("seed", 8), all)
	}
	for _, name := range []string{"best-fit", "fgd"} {
		if all := wait(name, 0); !(all < got["fjf+first-fit"].Mean.WaitMean && all < wait("seed", 8)) {
			t.Errorf("%s waits %.2f s: not less than first-fit and the capped seed", name, all)
		}
	}
}
