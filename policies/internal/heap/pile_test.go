package heap

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestAPileGivesTheSmallestWhateverTheOrderOfPushes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		var p Pile
		var h Heap
		var plain Heap
		next := sched.TaskID(0)
		pop := func() Item {
			before := p.Len()
			it, came := p.Pop(&h)
			if came != before-p.Len() || came > len(h) {
				rt.Fatalf("%d items came to the heap of %d, and the pile lost %d", came, len(h), before-p.Len())
			}
			return it
		}
		check := func() {
			if len(h)+p.Len() != len(plain) || len(plain) > 0 && (len(h) == 0 || h[0] != plain[0]) {
				rt.Fatalf("%d in front and %d in the pile, wanted %d", len(h), p.Len(), len(plain))
			}
		}
		for range rapid.IntRange(1, 12).Draw(rt, "rounds") {
			// Many at a time: it takes hundreds to make a pile.
			n := rapid.SampledFrom([]int{1, 100, 1000, 5000, 20000}).Draw(rt, "times")
			spread := rapid.SampledFrom([]int64{1, 3, 1000, 1 << 40, 1 << 62}).Draw(rt, "spread of keys")
			drift := rapid.SampledFrom([]int64{-1 << 30, -3, 0, 3, 1 << 30}).Draw(rt, "drift of keys")
			pops := rapid.SampledFrom([]int{0, 40, 60, 100}).Draw(rt, "pops in a hundred")
			back := rapid.SampledFrom([]int{0, 10, 90}).Draw(rt, "of a hundred popped, those that come back")
			var out []Item
			for range n {
				if rng.IntN(100) < pops && len(plain) > 0 {
					if got, want := pop(), plain.Pop(); got != want {
						rt.Fatalf("popped %v, wanted %v", got, want)
					} else if rng.IntN(100) < back {
						out = append(out, got)
					}
				} else if n := len(out); n > 0 && rng.IntN(3) == 0 {
					p.Push(&h, out[n-1])
					plain.Push(out[n-1])
					out = out[:n-1]
				} else {
					it := Item{Key: rng.Int64N(spread) + drift*int64(next), Task: next}
					next++
					p.Push(&h, it)
					plain.Push(it)
				}
				check()
			}
			removals := rapid.IntRange(0, 5).Draw(rt, "removals")
			if removals == 5 && len(plain) < 2000 { // so many that slots run empty
				removals = len(plain) * 3 / 4
			}
			for range removals {
				if len(plain) > 0 {
					t := plain[rng.IntN(len(plain))].Task
					if !p.Remove(&h, t) || p.Remove(&h, t) || !plain.Remove(t) {
						rt.Fatal("Remove does not find the task, or twice")
					}
					check()
				}
			}
			if rapid.IntRange(0, 9).Draw(rt, "drain") == 0 {
				p.Drain(&h)
				h.Init()
				check()
			}
		}
		for len(plain) > 0 {
			if got, want := pop(), plain.Pop(); got != want {
				rt.Fatalf("popped %v, wanted %v", got, want)
			}
			check()
		}
	})
}

func TestAPileAllocatesNothingOnceItHasItsSize(t *testing.T) {
	for _, n := range []int{300, 2000, 14_000} {
		rng := rand.New(rand.NewPCG(1, 2))
		var p Pile
		var h Heap
		next := sched.TaskID(0)
		for range n {
			p.Push(&h, Item{Key: rng.Int64N(2e11) - 1e15, Task: next})
			next++
		}
		step := func() {
			for range 20 * n {
				it, _ := p.Pop(&h)
				p.Push(&h, Item{Key: it.Key + rng.Int64N(2e11), Task: next})
				next++
			}
		}
		step()
		if got := testing.AllocsPerRun(5, step); got > 0 {
			t.Errorf("%v allocations in %d pops and pushes of %d items", got, 20*n, n)
		}
	}
}

// BenchmarkPile takes the first of 14000 items out and puts one in that comes after it, as ready tasks of a workflow by their b-levels do.
func BenchmarkPile(b *testing.B) {
	const n = 14_000
	rng := rand.New(rand.NewPCG(1, 2))
	var p Pile
	var h Heap
	steps := make([]int64, 1<<16)
	for i := range steps {
		steps[i] = rng.Int64N(2e11)
	}
	t := sched.TaskID(0)
	for range n {
		p.Push(&h, Item{Key: steps[int(t)&(len(steps)-1)] - 1e15, Task: t})
		t++
	}
	b.ReportAllocs()
	for b.Loop() {
		it, _ := p.Pop(&h)
		p.Push(&h, Item{Key: it.Key + steps[int(t)&(len(steps)-1)], Task: t & 0xffffff})
		t++
	}
}
