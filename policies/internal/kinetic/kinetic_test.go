package kinetic

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// ratio is the definition.
func ratio(it Item, now sched.Time) *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).Sub(big.NewInt(int64(now)), big.NewInt(int64(it.From))), big.NewInt(it.Per))
}

func TestALineGivesTheLargestRatioAtAnyTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Few values, so that ratios are often equal; or huge ones.
		scale := rapid.SampledFrom([]int64{1, 1, 7, 1e9, 1 << 56}).Draw(rt, "scale")
		now := sched.Time(rapid.Int64Range(-20, 20).Draw(rt, "begin") * scale)
		var l Line
		var plain []Item
		leaves := map[sched.TaskID]int32{}
		for i := range rapid.IntRange(1, 150).Draw(rt, "steps") {
			if rapid.IntRange(0, 2).Draw(rt, "pass") == 0 {
				step := rapid.Int64Range(0, 12).Draw(rt, "time") * scale
				if int64(now) < 1<<61 {
					now += sched.Time(step)
				}
			}
			if rapid.IntRange(0, 4).Draw(rt, "what") < 3 || len(plain) == 0 {
				it := Item{now - sched.Time(rapid.Int64Range(0, 12).Draw(rt, "age")*scale), max(1, rapid.Int64Range(0, 12).Draw(rt, "per")*scale), sched.TaskID(i)}
				if it.Task%2 == 1 { // so that later ones can win ties too
					it.Task = -it.Task + 1000
				}
				leaves[it.Task] = l.Push(now, it)
				plain = append(plain, it)
			} else {
				at := rapid.IntRange(0, len(plain)-1).Draw(rt, "at")
				l.Remove(now, leaves[plain[at].Task])
				plain = slices.Delete(plain, at, at+1)
			}
			if l.Len() != len(plain) {
				rt.Fatalf("%d tasks, wanted %d", l.Len(), len(plain))
			}
			if len(plain) == 0 || rapid.Bool().Draw(rt, "do not look") {
				continue
			}
			best := plain[0]
			for _, it := range plain[1:] {
				if c := ratio(it, now).Cmp(ratio(best, now)); c > 0 || c == 0 && it.Task < best.Task {
					best = it
				}
			}
			if got, leaf := l.First(now); got != best || leaves[got.Task] != leaf {
				rt.Fatalf("at %d first is %v, wanted %v of %v", now, got, best, plain)
			}
		}
	})
}

func TestAChangeOfTheFirstIsSeenAtItsInstantAndNotBefore(t *testing.T) {
	var l Line
	l.Push(100, Item{From: 0, Per: 10, Task: 1}) // 10 at 100, and a tenth more each ns
	l.Push(100, Item{From: 91, Per: 2, Task: 2}) // 4.5 at 100; equal at 113.75
	for _, c := range []struct {
		now  sched.Time
		want sched.TaskID
	}{{100, 1}, {113, 1}, {114, 2}} { // time does not go back
		if it, _ := l.First(c.now); it.Task != c.want {
			t.Errorf("at %d first is %d", c.now, it.Task)
		}
	}
}

// TestWhoDrawsLevelIsFirstAtThatInstantIfItsNumberIsLower: the ratios are t/10 and (t-80)/2, both 10 at 100.
func TestWhoDrawsLevelIsFirstAtThatInstantIfItsNumberIsLower(t *testing.T) {
	for _, c := range []struct {
		slow, fast sched.TaskID
		change     sched.Time
	}{{5, 3, 100}, {5, 7, 101}} {
		var l Line
		l.Push(90, Item{From: 0, Per: 10, Task: c.slow})
		l.Push(90, Item{From: 80, Per: 2, Task: c.fast})
		for now := sched.Time(90); now < 110; now++ {
			want := c.slow
			if now >= c.change {
				want = c.fast
			}
			if it, _ := l.First(now); it.Task != want {
				t.Errorf("of %d and %d first at %d is %d", c.slow, c.fast, now, it.Task)
			}
		}
	}
}

func TestPassingTimeAllocatesNothing(t *testing.T) {
	const n = 1 << 12
	var l Line
	for i := range n {
		l.Push(1<<40, Item{From: sched.Time(1<<40 - 1000*(i*i%n+1)), Per: int64(1 + (i*2654435761)%100_000), Task: sched.TaskID(i)})
	}
	firsts := map[sched.TaskID]bool{}
	now := sched.Time(1 << 40)
	allocs := testing.AllocsPerRun(1, func() {
		for range 1 << 10 {
			now += 1 << 10
			l.First(now)
		}
	})
	for range 1 << 10 {
		now += 1 << 10
		it, _ := l.First(now)
		firsts[it.Task] = true
	}
	if allocs != 0 || len(firsts) == 0 {
		t.Errorf("%g allocations", allocs)
	}
}

// BenchmarkLine takes the first out and adds one, as time goes by, with 4096 in line.
func BenchmarkLine(b *testing.B) {
	const n = 1 << 12
	rng := rand.New(rand.NewPCG(1, 2))
	var l Line
	now := sched.Time(1 << 40)
	item := func(t sched.TaskID) Item {
		per := int64(rng.ExpFloat64()*6e11) + 1
		return Item{From: now - sched.Time(per), Per: per, Task: t}
	}
	for t := range sched.TaskID(n) {
		l.Push(now, item(t))
	}
	t := sched.TaskID(n)
	b.ReportAllocs()
	for b.Loop() {
		now += 1e9
		_, leaf := l.First(now)
		l.Remove(now, leaf)
		l.Push(now, item(t))
		t++
	}
}
