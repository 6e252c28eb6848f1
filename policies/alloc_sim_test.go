//go:build !invariants && !race

package policies_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/traces"
)

// traffic is n tasks in jobs of one, or of four in a diamond, for 6 nodes of 8 GPUs that are nearly full: all that any policy of the catalogue looks
// at differs between them.
func traffic(tb testing.TB, n int, diamonds bool) *traces.Workload {
	tb.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	b := traces.NewBuilder("traffic", "test")
	at := 0.0
	for i := range n {
		r := devices(at, 10+float64(rng.IntN(200)), 1<<rng.IntN(3))
		r.Need.CPU, r.Need.Mem = int64(500*rng.IntN(4)), int64(rng.IntN(8))<<30
		r.Estimate = r.Run * time.Duration(4+rng.IntN(8)) / 4
		r.Deadline = time.Duration(rng.IntN(4)) * 100 * time.Second
		r.Tenant, r.Kind = "ab"[i%2:i%2+1], "xyz"[i%3:i%3+1]
		r.Criticality = float64(rng.IntN(3)) / 2
		if diamonds {
			r.Job, r.ID = strconv.Itoa(i/4), strconv.Itoa(i%4)
			r.After = [][]string{nil, {"0"}, {"0"}, {"1", "2"}}[i%4]
		}
		if !diamonds || i%4 == 3 {
			step := 5.9
			if diamonds {
				step *= 4
			}
			at += step * rng.ExpFloat64()
		}
		if err := b.Add(&r); err != nil {
			tb.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// TestASimulationAllocatesNothingATask runs every policy of the catalogue in the simulator, on a trace and on its first half: what the second half adds
// is the growth of slices, a few each time that one doubles, and few bytes a task.
func TestASimulationAllocatesNothingATask(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const n = 6000
	for _, diamonds := range []bool{false, true} {
		small, large := traffic(t, n, diamonds), traffic(t, 2*n, diamonds)
		for _, name := range append(append(policies.Names(), expressions...),
			"easy{scan=sjbf}", "sjf{skip=false}", "srtf{skip=false}", "critical-path{patience=60s}", "fifo+best-fit", "fjf+worst-fit", "fjf+seed",
			"drf{skip=false}", "themis{skip=false,lease=60s}", "hrrn{skip=false}", "fair-share{half-life=600s}", "fifo+fgd", "fjf+best-fit{by=sum}",
			"fjf+gpu-clustering", "fjf+pack-by-tenant", "fjf+consolidate", "fifo+random", "fifo+load-weighted", "fifo{unplaced=reject}+two-choices",
			"easy{scan=lookahead}", "conservative+worst-fit", "gavel{round=30s}", "gavel{round=30s,objective=ftf}", "gavel{round=30s,objective=fifo}",
			"srsf{repack=true}", "srtf{victims=lost}", "srtf{victims=saved,skip=false}", "srsf{victims=saved}", "2d-las{queues=100/400,promote=2}") {
			t.Run(fmt.Sprintf("%s/diamonds=%v", name, diamonds), func(t *testing.T) {
				newPolicy := build(t, name)
				mallocs := func(w *traces.Workload) (number, bytes uint64) {
					c := config(w, machines(6, 32, 8), newPolicy(), nil)
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					res := simulate(t, c)
					runtime.ReadMemStats(&after)
					if res.Unfinished > 0 {
						t.Fatalf("%d tasks are unfinished", res.Unfinished)
					}
					return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
				}
				mallocs(small) // what is made once
				a, less := mallocs(small)
				b, more := mallocs(large)
				each := float64(more-less) / n
				t.Logf("%d allocations for %d tasks, %d for %d, %.1f bytes a task", a, n, b, 2*n, each)
				if each > 90 { // what the simulator and the policy keep of it, once; lists that are copied as they grow take their memory again and again
					t.Errorf("%.1f bytes are allocated a task", each)
				}
				if b > a+n/50 {
					t.Errorf("%d allocations for %d tasks, %d for %d", a, n, b, 2*n)
				}
			})
		}
	}
}
