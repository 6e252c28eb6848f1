package ranking

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestAListIsSortedWhateverComesAndGoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var l List
		var plain []Item
		span := rapid.SampledFrom([]int64{3, 100, 1 << 40}).Draw(rt, "span")
		grow := rapid.IntRange(1, 8).Draw(rt, "grow")
		next := sched.TaskID(0)
		seed := rapid.Uint64().Draw(rt, "seed")
		draw := func(n uint64) uint64 { // xorshift64: thousands of steps are too many to be drawn one by one
			seed ^= seed<<13 | 1
			seed ^= seed >> 7
			seed ^= seed << 17
			return seed % n
		}
		for range rapid.IntRange(1, 3000).Draw(rt, "steps") {
			if draw(10) < uint64(grow) || len(plain) == 0 {
				it := Item{int64(draw(uint64(span))) - span/2, next, sched.NodeID(draw(9))}
				next++
				l.Insert(it)
				plain = append(plain, it)
			} else {
				i := int(draw(uint64(len(plain))))
				it := plain[i]
				plain = slices.Delete(plain, i, i+1)
				if !l.Remove(it.Rank, it.Task) || l.Remove(it.Rank, it.Task) {
					rt.Fatalf("%v is not found, or twice", it)
				}
			}
			if draw(1000) == 0 {
				l.Clear()
				plain = plain[:0]
			}
		}
		slices.SortFunc(plain, func(a, b Item) int { return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(b.Task, a.Task)) })
		high := int64(draw(uint64(span+2))) - span/2 - 1
		below := l.DownFrom(high)
		got, ok := below.Next()
		if k := slices.IndexFunc(plain, func(it Item) bool { return it.Rank < high }); ok != (k >= 0) || ok && got != plain[k] {
			rt.Fatalf("below %d: %v %v", high, got, ok)
		}
		low := high - int64(draw(uint64(span)))
		if len(plain) > 0 {
			if first, last := l.Ranks(); first != plain[len(plain)-1].Rank || last != plain[0].Rank {
				rt.Fatalf("ranks from %d to %d", first, last)
			}
		}
		from, to := 0, 0
		for _, it := range plain {
			if it.Rank >= high {
				from++
			}
			if it.Rank >= low {
				to++
			}
		}
		in := plain[from:to]
		for range 2 { // what has been looked for is known the second time
			parts := l.DownFrom(high)
			var got []Item
			for part, top := parts.Part(low); len(part) > 0; part, top = parts.Part(low) {
				if most := slices.MaxFunc(part, func(a, b Item) int { return cmp.Compare(a.Task, b.Task) }); top < most.Task {
					rt.Fatalf("the largest of %v is %d, not at most %d", part, most.Task, top)
				}
				got = append(got, part...)
			}
			slices.SortFunc(got, func(a, b Item) int { return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(b.Task, a.Task)) })
			if !slices.Equal(got, in) {
				rt.Fatalf("from %d to below %d: %v, not %v", low, high, got, in)
			}
			if got, ok := parts.Next(); ok != (to < len(plain)) || ok && got != plain[to] {
				rt.Fatalf("behind %d: %v %v", low, got, ok)
			}
		}
		walk := l.Down()
		for i, want := range plain {
			if got, ok := walk.Next(); !ok || got != want {
				rt.Fatalf("item %d from the end is %v, not %v", i, got, want)
			}
		}
		if _, ok := walk.Next(); ok || l.Len() != len(plain) {
			rt.Fatalf("%d items, not %d", l.Len(), len(plain))
		}
	})
}
