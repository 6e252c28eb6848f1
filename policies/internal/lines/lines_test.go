package lines

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

func TestLinesGiveTheSmallestOfTheOpenLinesWithAndWithoutAnIndex(t *testing.T) {
	type entry struct {
		d  sched.DemandID
		it heap.Item
	}
	rapid.Check(t, func(rt *rapid.T) {
		var l Lines
		if rapid.Bool().Draw(rt, "indexed") {
			l.Index(1000)
		}
		var plain []entry
		shut := map[sched.DemandID]bool{}
		next := sched.TaskID(0)
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			switch rapid.IntRange(0, 7).Draw(rt, "what") {
			case 0, 1, 2:
				e := entry{sched.DemandID(rapid.IntRange(0, 3).Draw(rt, "demand")), heap.Item{Key: rapid.Int64Range(0, 9).Draw(rt, "key"), Task: next}}
				next++
				l.Push(e.d, e.it)
				plain = append(plain, e)
			case 3:
				if len(plain) > 0 {
					i := rapid.IntRange(0, len(plain)-1).Draw(rt, "which")
					if !l.Remove(plain[i].d, plain[i].it.Task) {
						rt.Fatal("Remove does not find a task that is there")
					}
					if l.Remove(plain[i].d, plain[i].it.Task) {
						rt.Fatal("Remove finds a task twice")
					}
					plain = slices.Delete(plain, i, i+1)
				}
			case 4:
				d := sched.DemandID(rapid.IntRange(0, 3).Draw(rt, "shut"))
				if slices.ContainsFunc(plain, func(e entry) bool { return e.d == d }) {
					l.Shut(d)
					shut[d] = true
				}
			case 5:
				l.Reopen()
				clear(shut)
			case 6:
				key := func(t sched.TaskID) int64 { return int64(t*7) % 10 }
				l.Rekey(key)
				for i := range plain {
					plain[i].it.Key = key(plain[i].it.Task)
				}
			case 7:
				d := sched.DemandID(rapid.IntRange(0, 3).Draw(rt, "pop of a shut one"))
				var of []entry
				for _, e := range plain {
					if e.d == d {
						of = append(of, e)
					}
				}
				if !shut[d] || len(of) == 0 {
					continue
				}
				slices.SortFunc(of, func(a, b entry) int {
					if a.it.Before(b.it) {
						return -1
					}
					return 1
				})
				got, ok := l.PopShut(d)
				if ok != (len(of) > 1) || ok && got != of[1].it {
					rt.Fatalf("PopShut %v, %v of %v", got, ok, of)
				}
				by, is := l.ShutBy(d)
				if is != ok || ok && by != of[1].it {
					rt.Fatalf("shut %v by %v after PopShut of %v", is, by, of)
				}
				plain = slices.DeleteFunc(plain, func(e entry) bool { return e == of[0] })
				shut[d] = ok
			}
			best := -1
			for i, e := range plain {
				if !shut[e.d] && (best < 0 || e.it.Before(plain[best].it)) {
					best = i
				}
			}
			d, ok := l.Best(nil)
			if ok != (best >= 0) || l.Len() != len(plain) {
				rt.Fatalf("Best %v, Len %d; want index %d of %d", ok, l.Len(), best, len(plain))
			}
			if ok {
				if got := l.First(d); got != plain[best].it || d != plain[best].d {
					rt.Fatalf("Best is %v of %d, want %v", got, d, plain[best])
				}
				if rapid.Bool().Draw(rt, "pop") {
					l.Pop(d)
					plain = slices.Delete(plain, best, best+1)
				}
			}
		}
	})
}
