package lines

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// plainLine is the obvious line: a slice of tasks in order, each looked at in turn.
type plainLine []struct {
	t    sched.TaskID
	left int64
}

func TestWaitingIsAPlainLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var w Waiting
		var plain plainLine
		next := sched.TaskID(0)
		for range rapid.IntRange(1, 40).Draw(rt, "phases") {
			for range rapid.IntRange(0, 200).Draw(rt, "arrivals") {
				id := next
				if len(plain) > 0 && rapid.IntRange(0, 19).Draw(rt, "comes back") == 0 {
					id = plain[0].t - 1 // before all, as a task that failed and keeps its turn
					if id < 0 {
						id = next
					}
				}
				if id == next {
					next += 2
				}
				if slices.ContainsFunc(plain, func(p struct {
					t    sched.TaskID
					left int64
				},
				) bool {
					return p.t == id
				}) {
					continue
				}
				left := rapid.Int64Range(0, 50).Draw(rt, "left")
				w.Insert(id, sched.Time(id/3), left)
				i := 0
				for i < len(plain) && plain[i].t < id {
					i++
				}
				plain = slices.Insert(plain, i, struct {
					t    sched.TaskID
					left int64
				}{id, left})
			}
			// A decision: from a position on, take the first with at most so much left, again and again.
			most := rapid.Int64Range(0, 60).Draw(rt, "most")
			if most > 55 {
				most = All
			}
			at, from := 0, 0
			if len(plain) > 0 && rapid.Bool().Draw(rt, "behind the head") {
				at, from = w.HeadAt()+1, 1
			}
			for range rapid.IntRange(0, 150).Draw(rt, "taken") {
				want := -1
				for i := from; i < len(plain); i++ {
					if plain[i].left <= most {
						want = i
						break
					}
				}
				pos, got, ok := w.First(at, most)
				if ok != (want >= 0) || ok && got != plain[want].t {
					rt.Fatalf("First(%d, %d) = %v %v, want index %d", at, most, got, ok, want)
				}
				if !ok {
					break
				}
				at = pos - w.RemoveAt(pos)
				plain = slices.Delete(plain, want, want+1)
				from = want
			}
			if len(plain) > 0 && rapid.Bool().Draw(rt, "drop") {
				i := rapid.IntRange(0, len(plain)-1).Draw(rt, "which")
				if !w.Remove(plain[i].t) {
					rt.Fatal("Remove does not find a task that is there")
				}
				plain = slices.Delete(plain, i, i+1)
			}
			if w.Len() != len(plain) || len(plain) > 0 && w.Head() != plain[0].t {
				rt.Fatalf("%d tasks, want %d", w.Len(), len(plain))
			}
		}
	})
}
