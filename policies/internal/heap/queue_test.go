package heap

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestAQueueGivesWhatAHeapGivesWhateverTheOrderOfPushes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q Queue
		var h Heap
		key := int64(0)
		for i := range rapid.IntRange(1, 300).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				key += rapid.Int64Range(0, 2).Draw(rt, "later")
				q.Push(Item{key, sched.TaskID(i)})
				h.Push(Item{key, sched.TaskID(i)})
			case 2:
				it := Item{rapid.Int64Range(0, key).Draw(rt, "earlier"), sched.TaskID(i)}
				q.Push(it)
				h.Push(it)
			default:
				got, ok := q.First()
				if ok != (len(h) > 0) || ok && got != h[0] {
					rt.Fatalf("first is %v %v, of the heap %v", got, ok, h)
				}
				if ok {
					q.Pop()
					h.Pop()
				}
			}
		}
	})
}

func TestAQueueThatKeepsItsLengthAllocatesNothing(t *testing.T) {
	var q Queue
	next := 0
	push := func() { q.Push(Item{int64(next), sched.TaskID(next)}); next++ }
	for range 100 {
		push()
	}
	round := func() {
		for range 1000 {
			push()
			q.Pop()
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
