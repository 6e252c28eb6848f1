package sim

import (
	"container/heap"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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
			for range rapid.IntRange(0, 10).Draw(rt, "drops") {
				if len(plain) == 0 {
					break
				}
				n, i := q.len(), rapid.IntRange(0, len(plain)-1).Draw(rt, "dropped")
				q.drop(plain[i].at, plain[i].task)
				if k := q.len(); k != n && k != n-1 {
					rt.Fatalf("%d ends of %d are left", k, n)
				}
				gone[plain[i]] = true
				plain = slices.Delete(plain, i, i+1)
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

// What is stopped goes at once, mostly: else the queue would be full of it. In a slot of many it is not searched for.
func TestADroppedEndIsGoneUnlessItsSlotHasMany(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	run := runsLike["lognormal"]
	var q ends
	q.start(0)
	var all []end
	push := func(e end) {
		q.push(e)
		all = append(all, e)
	}
	now := sched.Time(0)
	for task := range sched.TaskID(40_000) {
		push(end{now.Add(time.Duration(run(rng))), task, 1})
		if len(all) > 4000 {
			now = q.pop().at
			all = slices.DeleteFunc(all, func(e end) bool { return e.at < now })
		}
	}
	before := q.len()
	for _, e := range all[len(all)-1000:] {
		q.drop(e.at, e.task)
	}
	if left := q.len() - (before - 1000); left > 100 {
		t.Errorf("%d of 1000 ends are still there", left)
	}
	q.start(0)
	for task := range sched.TaskID(1000) {
		q.push(end{1e9, task, 1})
	}
	q.drop(1e9, 999) // the last that came is the first of its slot
	q.drop(1e9, 0)
	if q.len() != 999 {
		t.Errorf("%d ends of one time are left", q.len())
	}
}

func TestStopsAreReportedInTheOrderOfTasks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		got := rapid.SliceOfN(rapid.Map(rapid.Int32Range(0, 30), func(n int32) sched.TaskID { return sched.TaskID(n) }), 0, 20).Draw(rt, "tasks")
		want := slices.Sorted(slices.Values(got))
		if inOrder(got); !slices.Equal(got, want) {
			rt.Fatalf("%v, wanted %v", got, want)
		}
	})
}

// plainHeap is the queue as the standard library's heap.
type plainHeap []end

func (h plainHeap) Len() int { return len(h) }
func (h plainHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].task < h[j].task
}
func (h plainHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *plainHeap) Push(x any)   { *h = append(*h, x.(end)) }
func (h *plainHeap) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return e
}

// runsLike are how long tasks run, as simulations have it and as the slots would not have it.
var runsLike = map[string]func(rng *rand.Rand) float64{
	"lognormal": func(rng *rand.Rand) float64 { return 600e9 * math.Exp(1.5*rng.NormFloat64()) },
	"uniform":   func(rng *rand.Rand) float64 { return 100e9 * rng.Float64() },
	"seconds":   func(rng *rand.Rand) float64 { return 1e9 * math.Floor(100*rng.ExpFloat64()) },
	"equal":     func(*rand.Rand) float64 { return 3600e9 },
	"two kinds": func(rng *rand.Rand) float64 {
		return []float64{1e6, 1e6, 1e6, 1e6, 86400e9}[rng.IntN(5)] * rng.Float64()
	},
	"all scales":   func(rng *rand.Rand) float64 { return math.Exp2(50 * rng.Float64()) },
	"no time":      func(rng *rand.Rand) float64 { return float64(rng.IntN(2)) },
	"nearly never": func(rng *rand.Rand) float64 { return 1e18 * rng.Float64() },
}

// However the ends are spread, however that changes, and however many run, they come as from a heap; long enough for the slots to follow.
func TestEndsOfLongSimulationsComeAsFromAHeap(t *testing.T) {
	names := slices.Sorted(maps.Keys(runsLike))
	rebuilt := 0
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		var q ends
		var plain plainHeap
		now, task := sched.Time(-1e9), sched.TaskID(0)
		q.start(now)
		for range rapid.IntRange(1, 4).Draw(rt, "phases") {
			run := runsLike[rapid.SampledFrom(names).Draw(rt, "runs")]
			live := rapid.SampledFrom([]int{1, 3, 40, 700}).Draw(rt, "running")
			burst := rapid.SampledFrom([]int{1, 1, 10, 300}).Draw(rt, "burst")
			for range rapid.SampledFrom([]int{100, 2000, 6000}).Draw(rt, "rounds") / burst {
				for range burst {
					if len(plain) > live {
						break
					}
					e := end{now.Add(time.Duration(min(run(rng), 1<<61))), task ^ sched.TaskID(rng.IntN(8)), int32(task)}
					task += 8
					q.push(e)
					heap.Push(&plain, e)
					for len(plain) < live && rng.IntN(8) == 0 {
						e.task, task = task, task+8
						q.push(e)
						heap.Push(&plain, e)
					}
				}
				for range burst {
					if q.len() != len(plain) || q.empty() != (len(plain) == 0) {
						rt.Fatalf("%d ends, not %d", q.len(), len(plain))
					}
					if len(plain) == 0 {
						break
					}
					if want := plain[0].at; q.next() != want {
						rt.Fatalf("the next is at %d, not %d", q.next(), want)
					}
					width := q.shift
					want := heap.Pop(&plain).(end)
					if got := q.pop(); got != want {
						rt.Fatalf("%v came, not %v", got, want)
					}
					if now = want.at; q.shift != width {
						rebuilt++
					}
				}
			}
			if rng.IntN(2) == 0 { // idle
				for q.empty() == false {
					if got, want := q.pop(), heap.Pop(&plain).(end); got != want {
						rt.Fatalf("%v came, not %v", got, want)
					}
				}
				if q.next() != sched.Never {
					rt.Fatalf("the queue is empty, and the next end is at %d", q.next())
				}
				if now > sched.Never/2 {
					return // time is over
				}
				now += sched.Time(rng.Int64N(1e15))
			}
		}
	})
	if rebuilt == 0 {
		t.Error("the slots' width never changed")
	}
}

// The node of an end that came up is used again, and in the usual pattern nearly all ends stand in the ring.
func TestEndsOfALongSimulationStandInTheRing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var q ends
	q.start(0)
	run := func() sched.Time { return sched.Time(600e9*math.Exp(1.5*rng.NormFloat64())) + 1 }
	for i := range 2000 {
		q.push(end{run(), sched.TaskID(i), 1})
	}
	last := end{at: -1}
	aside := 0
	for i := range 200_000 {
		e := q.pop()
		if e.Before(last) {
			t.Fatalf("%v comes after %v", e, last)
		}
		last = e
		n := len(q.heap)
		q.push(end{e.at + run(), sched.TaskID(2000 + i), 1})
		if len(q.heap) > n && i > 20_000 {
			aside++
		}
	}
	if n := len(q.nodes); n > 2001 {
		t.Errorf("%d nodes for 2000 ends: used ones are not used again", n)
	}
	if aside > 10_000 {
		t.Errorf("%d of 180000 ends found no place in the ring", aside)
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
