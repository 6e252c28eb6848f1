package policies

import (
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/internal/ranking"
	"github.com/schedlab/schedlab/policies/sched"
)

func TestTheTopsAreTheLastOfAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var x topRanks
		nodes := make([][]ranked, 20)
		var all []ranking.Item
		span := rapid.SampledFrom([]uint64{1, 5, 1 << 30}).Draw(rt, "span")
		grow, asks := rapid.Uint64Range(1, 9).Draw(rt, "grow"), rapid.Uint64Range(1, 3000).Draw(rt, "asks")
		seed := rapid.Uint64().Draw(rt, "seed")
		draw := func(n uint64) uint64 { // xorshift64: thousands of steps are too many to be drawn one by one
			seed ^= seed<<13 | 1
			seed ^= seed >> 7
			seed ^= seed << 17
			return seed % n
		}
		next := sched.TaskID(0)
		for range rapid.IntRange(1, 20_000).Draw(rt, "steps") {
			if n := len(all); n == 0 || n < 1500 && draw(10) < grow {
				it := ranking.Item{Rank: int64(draw(span)), Task: next, Node: sched.NodeID(draw(20))}
				next++
				all = append(all, it)
				nodes[it.Node] = append(nodes[it.Node], ranked{rank: it.Rank, task: it.Task})
				if draw(20) == 0 { // a gang
					nodes[(it.Node+1)%20] = append(nodes[(it.Node+1)%20], ranked{rank: it.Rank, task: it.Task})
				}
				x.insert(it)
			} else {
				i := int(draw(uint64(n)))
				if draw(2) == 0 && x.valid && len(x.items) > 0 { // the last are those that are stopped
					last := x.items[len(x.items)-1].Task
					i = slices.IndexFunc(all, func(it ranking.Item) bool { return it.Task == last })
				}
				it := all[i]
				all[i] = all[n-1]
				all = all[:n-1]
				for k := range nodes {
					nodes[k] = slices.DeleteFunc(nodes[k], func(r ranked) bool { return r.task == it.Task })
				}
				x.remove(it.Rank, it.Task)
			}
			if draw(asks) > 0 {
				continue
			}
			if x.most() < 1000 && draw(100) == 0 {
				x.deepen()
			}
			x.look(nodes, fewVictims)
			sorted := slices.SortedFunc(slices.Values(all), order)
			got := x.items
			if len(got) < min(fewVictims, len(all)) || !slices.EqualFunc(got, sorted[len(sorted)-min(len(got), len(sorted)):], func(a, b ranking.Item) bool { return a.Rank == b.Rank && a.Task == b.Task }) {
				rt.Fatalf("the last of %d are not these %d: %v", len(all), len(got), got)
			}
		}
	})
}

func TestARunningTaskOnItsNodeIsALineOfTheCache(t *testing.T) {
	if n := unsafe.Sizeof(ranked{}); n != 64 {
		t.Errorf("%d bytes", n)
	}
}
