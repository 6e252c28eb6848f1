package heap

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func compare(a, b Item) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

func TestAHeapGivesTheSmallest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var h Heap
		var sorted []Item
		for i := range rapid.IntRange(1, 200).Draw(rt, "steps") {
			switch what := rapid.IntRange(0, 7).Draw(rt, "what"); {
			case what < 4 || len(sorted) == 0:
				it := Item{rapid.Int64Range(-20, 20).Draw(rt, "key"), sched.TaskID(i - 100)} // who wants the larger TaskID first pushes them negative
				h.Push(it)
				sorted = append(sorted, it)
				slices.SortFunc(sorted, compare)
			case what < 6:
				if got := h.Pop(); got != sorted[0] {
					rt.Fatalf("popped %v of %v", got, sorted)
				}
				sorted = sorted[1:]
			case what == 6:
				at := rapid.IntRange(0, len(sorted)-1).Draw(rt, "at")
				if !h.Remove(sorted[at].Task) || h.Remove(sorted[at].Task) {
					rt.Fatal("Remove does not find the task, or twice")
				}
				sorted = slices.Delete(sorted, at, at+1)
			default:
				for j := range h {
					h[j].Key = (h[j].Key*7 + int64(h[j].Task)) % 20
				}
				sorted = append(sorted[:0], h...)
				slices.SortFunc(sorted, compare)
				h.Init()
			}
			if len(h) != len(sorted) || len(h) > 0 && h[0] != sorted[0] {
				rt.Fatalf("first of %v, wanted %v", h, sorted)
			}
		}
	})
}
