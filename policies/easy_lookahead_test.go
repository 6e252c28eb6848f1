package policies_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// At one instant a head that does not fit and up to ten more come to a pool on which three tasks run: what starts uses as many cores as the best of all sets that
// fit now and leave the head's cores free at its shadow time.
func TestLookaheadUsesAsMuchAsTheBestOfAllSets(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	better := 0
	for range 3000 {
		procs := int64(4 + rng.IntN(20))
		free := procs
		var rows []traces.Row
		ends := []int{}
		for range 3 {
			size, run := 1+rng.Int64N(max(procs/3, 1)), 5+5*rng.IntN(4)
			free -= size
			rows, ends = append(rows, cores(0, float64(run), size)), append(ends, run)
		}
		if free < 1 {
			continue
		}
		head := min(free+1+rng.Int64N(procs-free), procs)
		rows = append(rows, cores(1, 10, head))
		shadow, then := 0, free
		for then < head { // the ends in their order
			next := 1 << 30
			for i, e := range ends {
				if e > shadow {
					next = min(next, ends[i])
				}
			}
			shadow = next
			for i, e := range ends {
				if e == shadow {
					then += rows[i].Need.CPU / 1000
				}
			}
		}
		behind := 1 + rng.IntN(10)
		for range behind {
			rows = append(rows, cores(1, float64(1+rng.IntN(25)), 1+rng.Int64N(procs)))
		}
		best := int64(0)
		for set := range 1 << behind {
			use, long := int64(0), int64(0)
			for i := range behind {
				if set>>i&1 == 0 {
					continue
				}
				r := &rows[4+i]
				use += r.Need.CPU / 1000
				if 1+int(r.Run/time.Second) > shadow {
					long += r.Need.CPU / 1000
				}
			}
			if use <= free && long <= then-head {
				best = max(best, use)
			}
		}
		used := func(p sched.Policy) (sum int64) {
			res := simulate(t, config(workload(t, rows...), machines(1, procs, 0), p, nil))
			if got := res.Outcome(3).Start; got > second(float64(shadow)) {
				t.Fatalf("the head starts at %g, its shadow time was %d", got.Seconds(), shadow)
			}
			for i := 4; i < len(rows); i++ {
				if res.Outcome(sched.TaskID(i)).Start == second(1) {
					sum += rows[i].Need.CPU / 1000
				}
			}
			return sum
		}
		got := used(&policies.Easy{Scan: policies.ScanLookahead})
		if got != best {
			t.Fatalf("%d cores, %d free, head of %d at %d: %d are used, and could be %d\n%+v", procs, free, head, shadow, got, best, rows)
		}
		if used(&policies.Easy{}) < best {
			better++
		}
		if few := used(&policies.Easy{Scan: policies.ScanLookahead, Depth: 1}); few > rows[4].Need.CPU/1000 {
			t.Fatalf("looking at one task, %d cores are used", few)
		}
	}
	if better < 100 {
		t.Errorf("only %d cases in which it is better than the order of arrival", better)
	}
}
