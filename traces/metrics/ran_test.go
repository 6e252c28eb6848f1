package metrics

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// ran is Input.Ran of a world.
func (w *world) ran(taken *int) func(sched.TaskID, []sched.Ran) bool {
	return func(from sched.TaskID, all []sched.Ran) bool {
		for i := range all {
			o := &w.out[int(from)+i]
			all[i] = sched.Ran{Ready: o.Ready, Start: o.Start, End: o.End}
			if o.Phase != sched.Done || o.Attempts != 1 {
				return false
			}
		}
		*taken++
		return true
	}
}

// Tasks that are counted together, as those that were done in one attempt, give the row that the outcomes of each give, to the last bit.
func TestTasksDoneInOneAttemptCountTogetherAsEachAlone(t *testing.T) {
	taken, refused, late := 0, 0, false
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		w.wl.Tenants = []string{"", "a", "b"}
		w.wl.Classes = []sched.Class{{Tenant: 1}}
		if rapid.Bool().Draw(rt, "tenants") {
			w.wl.Classes = []sched.Class{{Tenant: 0}, {Tenant: 2}, {Tenant: 1}}
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		scale := rapid.SampledFrom([]int64{1, 1e9, 1e16}).Draw(rt, "scale") // ns; of the last few fit into 64 bits
		stray := rapid.SampledFrom([]float64{0, 0.002, 0.2}).Draw(rt, "stray")
		together := rapid.SampledFrom([]int{1, 1, 3}).Draw(rt, "tasks of a job")
		submit := sched.Time(-20 * scale)
		for i := range rapid.IntRange(0, 3*someTasks).Draw(rt, "tasks") {
			submit += sched.Time(rng.Int64N(2) * scale / 100)
			ready := submit + sched.Time(rng.Int64N(5)*scale)
			start := ready + sched.Time(rng.Int64N(20)*scale)
			end := start + sched.Time(rng.Int64N(60)*scale)
			o := done(ready, start, end, end.Sub(start))
			if rng.Float64() < stray {
				o.Attempts, o.Held = 2, o.Held/2
				if rng.IntN(2) == 0 {
					o.Phase = sched.Failed
				}
			}
			id := w.add(int32(i/together), submit, end-start, o)
			w.wl.Tasks[id].Class = sched.ClassID(rng.IntN(len(w.wl.Classes)))
			if rng.IntN(3) == 0 {
				w.wl.SetDeadline(id, submit+sched.Time(rng.Int64N(80)*scale))
			}
		}
		in := w.input()
		if rapid.Bool().Draw(rt, "warm") {
			in.WarmUp = sched.Time(-18 * scale)
		}
		want := Compute(in)
		before, n := taken, (len(w.out)+someTasks-1)/someTasks
		in.Ran = w.ran(&taken)
		if got := fmt.Sprintf("%+v", Compute(in)); got != fmt.Sprintf("%+v", want) {
			rt.Fatalf("%s\nand each alone\n%+v", got, want)
		}
		refused += n - (taken - before)
		late = late || want.DeadlineMiss > 0
	})
	if taken == 0 || refused <= 0 || !late {
		t.Errorf("%d times tasks were taken together, %d times they were not, some were late: %v", taken, refused, late)
	}
}

func TestTheValueOfARankIsThatOfSorting(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		x := make([]time.Duration, rapid.IntRange(1, 2000).Draw(rt, "n"))
		most := rapid.SampledFrom([]int64{1, 3, 100, math.MaxInt64}).Draw(rt, "most")
		for i := range x {
			x[i] = time.Duration(rng.Int64N(most))
		}
		sorted := slices.Sorted(slices.Values(x))
		switch rapid.IntRange(0, 3).Draw(rt, "order") {
		case 0:
			copy(x, sorted)
		case 1: // rising, then falling
			slices.SortFunc(x[len(x)/2:], func(a, b time.Duration) int { return cmp.Compare(b, a) })
			slices.Sort(x[:len(x)/2])
		}
		k := rapid.IntRange(0, len(x)-1).Draw(rt, "k")
		if got := nth(x, k); got != sorted[k] {
			rt.Fatalf("rank %d of %d is %d, want %d", k, len(x), got, sorted[k])
		}
		if slices.Sort(x); !slices.Equal(x, sorted) {
			rt.Fatal("other values")
		}
	})
}

// Whatever the sample says, the quantiles are those of all.
func TestGuessedQuantilesAgreeWithSorting(t *testing.T) {
	right, wrong := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		top := rapid.SampledFrom([]int64{1, 2, 20, 1 << 20, math.MaxInt64}).Draw(rt, "top")
		x := make([]time.Duration, rapid.IntRange(1, 4000).Draw(rt, "n"))
		for i := range x {
			x[i] = time.Duration(rng.Int64N(top))
		}
		some := make([]time.Duration, 0, len(x))
		for range rapid.IntRange(0, min(len(x), 500)).Draw(rt, "some") {
			d := x[rng.IntN(len(x))]
			if rapid.IntRange(0, 3).Draw(rt, "odd") == 0 { // as no sample of these would be
				d /= 2
			}
			some = append(some, d)
		}
		slices.Sort(some)
		var g guesses
		for i, q := range guessed {
			g.of[i].choose(q, int64(len(x)), some)
		}
		g.add(x[:len(x)/2])
		g.add(x[len(x)/2:])
		again := 0
		p50, p99 := g.quantiles(func(part func([]time.Duration)) {
			again++
			part(x[:len(x)/3])
			part(x[len(x)/3:])
		})
		if again == 0 {
			right++
		} else {
			wrong++
		}
		slices.Sort(x)
		for i, got := range []float64{p50, p99} {
			if want := x[max(int(math.Ceil(guessed[i]*float64(len(x))))-1, 0)].Seconds(); got != want {
				rt.Fatalf("the %g-quantile of %d is %v, want %v", guessed[i], len(x), got, want)
			}
		}
	})
	if right == 0 || wrong == 0 {
		t.Errorf("%d guesses were right, %d wrong", right, wrong)
	}
	// A true sample hardly ever fails.
	rng := rand.New(rand.NewPCG(7, 8))
	w := newWorld()
	for i := range 4 * fewEnough {
		at := sched.Time(i)
		wait := sched.Time(math.Exp(10 + 3*rng.NormFloat64()))
		w.add(int32(i), at, 1, done(at, at+wait, at+wait+1, 1))
	}
	in := w.input()
	var g guesses
	g.guess(len(w.out), in.someWaits())
	for i := range w.out {
		g.add([]time.Duration{w.out[i].Wait()})
	}
	g.quantiles(func(func([]time.Duration)) { t.Fatal("the guess was wrong") })
	if n := len(g.of[0].held) + len(g.of[1].held); n > len(w.out)/5 {
		t.Errorf("%d of %d waits were kept", n, len(w.out))
	}
}
