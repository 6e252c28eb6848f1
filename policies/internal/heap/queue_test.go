package heap

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func order(a, b Item) int {
	if a.Before(b) {
		return -1
	}
	return 1
}

func TestQueueGivesTheSmallestWhateverTheOrderOfPushes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q Queue
		var plain []Item
		next := sched.TaskID(0)
		inOrder := rapid.Bool().Draw(rt, "in order") // mostly
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0, 1, 2:
				it := Item{Key: rapid.Int64Range(0, 20).Draw(rt, "key"), Task: next}
				if inOrder && rapid.IntRange(0, 9).Draw(rt, "out of order") > 0 {
					it.Key = int64(next)
				}
				next++
				q.Push(it)
				plain = append(plain, it)
				slices.SortFunc(plain, order)
			case 3, 4:
				if len(plain) > 0 {
					if got := q.Top(); got != plain[0] {
						rt.Fatalf("top %v, want %v", got, plain[0])
					}
					if got := q.Pop(); got != plain[0] {
						rt.Fatalf("%v, want %v", got, plain[0])
					}
					plain = plain[1:]
				}
			case 5:
				id := sched.TaskID(rapid.IntRange(0, int(next)).Draw(rt, "task"))
				i := slices.IndexFunc(plain, func(it Item) bool { return it.Task == id })
				if q.Remove(id) != (i >= 0) {
					rt.Fatalf("remove %d: want %v", id, i >= 0)
				}
				if i >= 0 {
					plain = slices.Delete(slices.Clone(plain), i, i+1)
				}
			case 6:
				third := sched.TaskID(rapid.IntRange(0, 2).Draw(rt, "third"))
				q.Filter(func(it Item) bool { return it.Task%3 != third })
				plain = slices.DeleteFunc(slices.Clone(plain), func(it Item) bool { return it.Task%3 == third })
			}
			all := slices.SortedFunc(q.All(), order)
			if !slices.Equal(all, plain) {
				rt.Fatalf("all are %v, want %v", all, plain)
			}
			if q.Len() != len(plain) {
				rt.Fatalf("%d tasks, want %d", q.Len(), len(plain))
			}
		}
	})
}
