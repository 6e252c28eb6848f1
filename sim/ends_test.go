package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// plainEnds is the obvious queue: a list that is searched for its first end.
type plainEnds []end

func (q *plainEnds) pop() end {
	i := 0
	for j, e := range *q {
		if e.at < (*q)[i].at || e.at == (*q)[i].at && e.task < (*q)[i].task {
			i = j
		}
	}
	e := (*q)[i]
	*q = slices.Delete(*q, i, i+1)
	return e
}

func TestEndsComeInTheOrderOfAPlainList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q ends
		var plain plainEnds
		now := rapid.SampledFrom([]sched.Time{0, -5, -1 << 62, 1 << 40, math.MinInt64, math.MaxInt64 - 1000}).Draw(rt, "start")
		q.start(now)
		span := rapid.SampledFrom([]int64{0, 1, 63, 64, 5000, 1 << 20, 1 << 40, 1 << 61}).Draw(rt, "span")
		task := sched.TaskID(0)
		gone := map[end]bool{} // pruned: it may come up, or not
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			for range rapid.IntRange(0, 40).Draw(rt, "pushes") {
				d := rapid.Int64Range(0, span).Draw(rt, "run")
				at := now + sched.Time(d)
				if at < now {
					at = math.MaxInt64
				}
				e := end{at, sched.TaskID(rapid.Int32Range(0, 5).Draw(rt, "back")) + task, int32(task)}
				task += 7
				q.push(e)
				plain = append(plain, e)
			}
			if third := rapid.SampledFrom([]int32{-1, -1, 0, 1, 2}).Draw(rt, "prune"); third >= 0 {
				n := q.len()
				q.prune(func(e end) bool { return int32(e.task)%3 != third })
				plain = slices.DeleteFunc(plain, func(e end) bool {
					gone[e] = gone[e] || int32(e.task)%3 == third
					return gone[e]
				})
				if q.len() > n || q.len() < len(plain) {
					rt.Fatalf("%d ends of %d are left, at least %d are to be kept", q.len(), n, len(plain))
				}
			}
			for range rapid.IntRange(0, 40).Draw(rt, "pops") {
				for len(gone) > 0 && !q.empty() && gone[q.top()] {
					q.pop()
				}
				if q.empty() != (len(plain) == 0) {
					rt.Fatalf("empty is %v with %d ends", q.empty(), len(plain))
				}
				if len(plain) == 0 {
					break
				}
				want := plain.pop()
				if q.next() != want.at {
					rt.Fatalf("the next is at %d, want %v", q.next(), want)
				}
				if rapid.Bool().Draw(rt, "look") {
					if got := q.top(); got != want {
						rt.Fatalf("%v comes next, want %v", got, want)
					}
				}
				if got := q.pop(); got != want {
					rt.Fatalf("%v came, want %v", got, want)
				}
				now = max(now, want.at)
			}
		}
	})
}

// A simulation's own pattern, long enough for every level of the wheel to turn.
func TestEndsOfALongSimulationComeInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var q ends
	q.start(0)
	run := func() sched.Time { return sched.Time(600e9*math.Exp(1.5*rng.NormFloat64())) + 1 }
	for i := range 2000 {
		q.push(end{run(), sched.TaskID(i), 1})
	}
	last := end{at: -1}
	for i := range 200_000 {
		e := q.top()
		q.pop()
		if e.Before(last) {
			t.Fatalf("%v comes after %v", e, last)
		}
		last = e
		q.push(end{e.at + run(), sched.TaskID(2000 + i), 1})
	}
	if n := len(q.nodes); n > 2001 {
		t.Errorf("%d nodes for 2000 ends: used ones are not used again", n)
	}
}

func BenchmarkEnds(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	runs := make([]sched.Time, 1<<16)
	for i := range runs {
		runs[i] = sched.Time(600e9*math.Exp(1.5*rng.NormFloat64())) + 1
	}
	var q ends
	q.start(0)
	for i := range 3200 {
		q.push(end{runs[i], sched.TaskID(i), 1})
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		e := q.top()
		q.pop()
		i++
		q.push(end{e.at + runs[i&(1<<16-1)], sched.TaskID(i), 1})
	}
}

func TestEndsThatComeOneByOneSurviveEachChangeOfTheSlots(t *testing.T) {
	var q ends
	q.start(0)
	now := sched.Time(0)
	for i := range 20_000 {
		// Each time the queue is empty and the ends lie far behind the last, so that many slots are looked at, and the slots' width changes.
		gap := sched.Time(1) << (10 + i/100%20)
		var want []end
		for j := range 2 + i*i%5 {
			want = append(want, end{now + gap + sched.Time(j), sched.TaskID(i), int32(j)})
		}
		for j := len(want) - 1; j >= 0; j-- {
			q.push(want[j])
		}
		for _, w := range want {
			if q.next() != w.at {
				t.Fatalf("end %d: the next is at %d, want %d", i, q.next(), w.at)
			}
			if e := q.pop(); e != w {
				t.Fatalf("end %d: %v comes, want %v", i, e, w)
			}
			now = w.at
		}
		if !q.empty() || q.next() != sched.Never {
			t.Fatalf("end %d: there are ends left", i)
		}
	}
}
