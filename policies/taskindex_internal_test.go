package policies

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestATaskIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var x taskIndex
		plain := map[sched.TaskID]int32{}
		span := rapid.Int32Range(1, 300).Draw(rt, "tasks")
		for range rapid.IntRange(1, 400).Draw(rt, "steps") {
			task := sched.TaskID(rapid.Int32Range(0, span).Draw(rt, "task") * 1597)
			switch v := rapid.Int32Range(-3, 9).Draw(rt, "number"); v {
			case 0, 1, 2, 3:
				if v := x.drop(task); v != plain[task] {
					rt.Fatalf("task %d had %d, not %d", task, v, plain[task])
				}
				delete(plain, task)
			default:
				x.set(task, v)
				plain[task] = v
			}
			for i := range span + 1 {
				if task := sched.TaskID(i * 1597); x.at(task) != plain[task] {
					rt.Fatalf("task %d has %d, not %d", task, x.at(task), plain[task])
				}
			}
			if x.n != len(plain) {
				rt.Fatalf("%d tasks, not %d", x.n, len(plain))
			}
		}
	})
}
