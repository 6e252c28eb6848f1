package scale_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched/scale"
)

func seconds(n int) int64 { return int64(n) * int64(time.Second) }

func controller(t interface{ Fatal(...any) }, r scale.Rules) *scale.Controller {
	c, err := scale.New(r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wish is a metric that asks for n replicas of a queue whose target is 1000.
func wish(n, current int) scale.Metric { return scale.Total(int64(n)*1000, current) }

func TestDesiredReplicasAreThoseOfTheKubernetesDocumentation(t *testing.T) {
	for _, c := range []struct {
		name           string
		current        int
		value, target  int64 // mean over the replicas
		tolerance      int
		missing, ready int
		unready        int
		want           int
	}{
		// "Algorithm details": 200m against 100m doubles, 50m halves, and within 0.1 nothing is done.
		{name: "200m of 100m", current: 3, value: 200, target: 100, want: 6},
		{name: "50m of 100m", current: 4, value: 50, target: 100, want: 2},
		{name: "105m of 100m", current: 4, value: 105, target: 100, want: 4},
		{name: "91m of 100m", current: 4, value: 91, target: 100, want: 4},
		{name: "111m of 100m", current: 4, value: 111, target: 100, want: 5},
		{name: "ratio 1.1 is within 0.1", current: 4, value: 110, target: 100, want: 4},
		// The note on configurable tolerance (2025): 50 replicas at 90 % of 75 %.
		{name: "90 % of 75 %", current: 50, value: 90, target: 75, want: 60},
		{name: "no tolerance", current: 50, value: 76, target: 75, tolerance: -1, want: 51},
		// The walkthrough: 305 % of 50 % on one replica asks for seven.
		{name: "305 % of 50 %", current: 1, value: 305, target: 50, want: 7},
		// Missing and unready replicas: 0 upward, at target downward; never past the present in the other direction.
		{name: "missing dampens growth", current: 4, ready: 2, missing: 2, value: 300, target: 100, want: 6},
		{name: "missing undoes growth", current: 4, ready: 2, missing: 2, value: 200, target: 100, want: 4},
		{name: "missing dampens a reduction", current: 4, ready: 2, missing: 2, value: 0, target: 100, want: 2},
		{name: "unready dampens growth", current: 4, ready: 2, unready: 2, value: 300, target: 100, want: 6},
		{name: "unready does not matter downward", current: 4, ready: 3, unready: 1, value: 50, target: 100, want: 2},
	} {
		r := scale.Rules{Target: c.target, ToleranceMilli: c.tolerance}.Filled()
		ready := c.ready
		if ready == 0 {
			ready = c.current
		}
		got, ok := r.Desired(c.current, scale.Metric{Sum: c.value * int64(ready), Reported: ready, Missing: c.missing, Unready: c.unready})
		if got != c.want || !ok {
			t.Errorf("%s: %d replicas, want %d", c.name, got, c.want)
		}
	}
}

func TestTheLargestOfSeveralMetricsCountsAndAnUnknownOneForbidsToShrink(t *testing.T) {
	r := scale.Rules{}.Filled()
	if got, ok := r.Desired(4, wish(6, 4), wish(3, 4)); got != 6 || !ok {
		t.Errorf("%d, want the larger wish, 6", got)
	}
	if got, ok := r.Desired(4, wish(6, 4), scale.Metric{Unknown: true}); got != 6 || !ok {
		t.Errorf("%d, want growth to 6 whatever the other metric is", got)
	}
	if got, ok := r.Desired(4, wish(2, 4), scale.Metric{Unknown: true}); got != 4 || ok {
		t.Errorf("%d, want no reduction while a metric is not known", got)
	}
}

// story runs a controller on wishes, one a period, and returns what it had at each.
func story(t *testing.T, r scale.Rules, start int, period time.Duration, wishes ...int) []int {
	t.Helper()
	r.Min, r.ToleranceMilli = max(r.Min, 1), -1
	if r.Max == 0 {
		r.Max = 100_000
	}
	c := controller(t, r)
	var got []int
	n := start
	for i, w := range wishes {
		n = c.Step(int64(i)*int64(period), n, wish(w, n))
		got = append(got, n)
	}
	return got
}

func same(t *testing.T, got []int, want ...int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("replicas %v, want %v", got, want)
	}
}

func repeat(n, times int) []int { return slices.Repeat([]int{n}, times) }

// "Scaling policies": with 4 pods or 10 % a minute, 80 replicas on their way to 10 lose 8 each in the first two steps (72 x 10 % = 7.2, rounded
// up) and from 40 on 4 each.
func TestAReductionFromEightyIsThatOfTheDocumentation(t *testing.T) {
	r := scale.Rules{Down: scale.Behavior{Window: -1, Policies: []scale.Policy{{Value: 4, Period: time.Minute}, {Percent: true, Value: 10, Period: time.Minute}}}}
	got := story(t, r, 80, time.Minute, repeat(10, 16)...)
	same(t, got, 72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10, 10, 10)
}

// "Example: limit scale down rate": 10 % or 5 pods a minute, the smaller.
func TestTheSmallestChangeIsSelectedWhereAskedFor(t *testing.T) {
	r := scale.Rules{Down: scale.Behavior{Window: -1, Select: scale.Least, Policies: []scale.Policy{{Percent: true, Value: 10, Period: time.Minute}, {Value: 5, Period: time.Minute}}}}
	same(t, story(t, r, 80, time.Minute, repeat(10, 4)...), 75, 70, 65, 60)
	same(t, story(t, r, 20, time.Minute, repeat(10, 3)...), 18, 16, 14)
}

func TestAPolicyHoldsOverItsWholePeriod(t *testing.T) {
	r := scale.Rules{Down: scale.Behavior{Window: -1, Policies: []scale.Policy{{Value: 4, Period: time.Minute}}}}
	same(t, story(t, r, 20, 15*time.Second, repeat(10, 9)...), 16, 16, 16, 16, 12, 12, 12, 12, 10)
}

// KEP-853, stories 1 to 4.
func TestTheStoriesOfTheProposal(t *testing.T) {
	fast := scale.Behavior{Policies: []scale.Policy{{Percent: true, Value: 900, Period: time.Minute}}}
	same(t, story(t, scale.Rules{Up: fast}, 1, time.Minute, repeat(1000, 4)...), 10, 100, 1000, 1000)

	slowly := scale.Behavior{Window: -1, Policies: []scale.Policy{{Value: 1, Period: 10 * time.Minute}}}
	got := story(t, scale.Rules{Up: fast, Down: slowly}, 1000, time.Minute, append([]int{1000}, repeat(1, 21)...)...)
	same(t, got, slices.Concat([]int{1000}, repeat(999, 10), repeat(998, 10), repeat(997, 1))...)

	gradual := scale.Behavior{Policies: []scale.Policy{{Value: 1, Period: 5 * time.Minute}}}
	same(t, story(t, scale.Rules{Up: gradual}, 1, 5*time.Minute, repeat(9, 3)...), 2, 3, 4)

	same(t, story(t, scale.Rules{Down: scale.Behavior{Select: scale.Off}}, 8, 10*time.Minute, 1, 1, 20, 1), 8, 8, 16, 16)
}

// KEP-853, story 5: a window of 600 s and a cycle of a minute. The tenth wish still sees the first, 10; the eleventh does not, and 9 is the
// largest left.
func TestReductionsWaitForTheLargestWishOfTheWindow(t *testing.T) {
	r := scale.Rules{Down: scale.Behavior{Window: 600 * time.Second, Policies: []scale.Policy{{Value: 5, Period: time.Minute}}}}
	got := story(t, r, 10, time.Minute, 10, 9, 8, 9, 9, 8, 9, 8, 9, 8, 7)
	same(t, got, append(repeat(10, 10), 9)...)
}

// KEP-853, story 6: a window of 300 s upward. The proposal counts six wishes into five minutes here (and ten into ten in story 5); with a cycle of
// 59 s six are in the window, and what it tells is what happens: 2 at the sixth wish, 3 at the seventh.
func TestGrowthWaitsForTheSmallestWishOfTheWindow(t *testing.T) {
	r := scale.Rules{Up: scale.Behavior{Window: 300 * time.Second, Policies: []scale.Policy{{Value: 20, Period: time.Minute}}}}
	same(t, story(t, r, 2, 59*time.Second, 2, 3, 19, 10, 3, 4, 7), 2, 2, 2, 2, 2, 2, 3)
	same(t, story(t, r, 2, 60*time.Second, 2, 3, 19, 10, 3, 4, 7), 2, 2, 2, 2, 2, 3, 3)
}

// "Default behavior": up at once, by 4 or to the double in 15 s; down after 300 s, as far as is asked for.
func TestTheDefaultsAreThoseOfTheDocumentation(t *testing.T) {
	got := story(t, scale.Rules{}, 1, 15*time.Second, append(repeat(30, 4), repeat(3, 22)...)...)
	same(t, got, slices.Concat([]int{5, 10, 20, 30}, repeat(30, 19), repeat(3, 3))...)
}

func TestBoundsAreTwoAndTenAndOneReplicaServesAThousand(t *testing.T) {
	c := controller(t, scale.Rules{})
	n := c.Step(0, 1)
	if n != 2 {
		t.Fatalf("%d replicas at the start, want 2", n)
	}
	for i, want := range map[int64]int{1000: 2, 2000: 2, 2200: 2, 2201: 3, 6500: 6, 6501: 6} {
		c := controller(t, scale.Rules{})
		if got := c.Step(0, 2, scale.Total(i, 2)); got != want {
			t.Errorf("%d wait: %d replicas, want %d", i, got, want)
		}
	}
	if got := c.Step(seconds(15), 10, scale.Total(1_000_000, 10)); got != 10 {
		t.Errorf("%d replicas, want at most 10", got)
	}
	if got := c.Step(seconds(30), 0, scale.Total(5000, 1)); got != 0 {
		t.Errorf("%d replicas of a queue that was switched off, want 0", got)
	}
}

func TestHighTiersScaleAtOnceAndLowOnesLate(t *testing.T) {
	up := func(tier scale.Tier) []int {
		return story(t, tier.Apply(scale.Rules{Max: 20}), 2, 15*time.Second, append([]int{2}, repeat(20, 30)...)...)
	}
	reached := func(got []int, n int) int { return slices.IndexFunc(got, func(v int) bool { return v >= n }) }
	high, normal, low := up(scale.High), up(scale.Normal), up(scale.Low)
	if reached(high, 20) != 1 || reached(normal, 20) != 3 { // 2, 6, 12, 20
		t.Errorf("high %v, normal %v: want 20 in the first and in the third period", high, normal)
	}
	if at := reached(low, 3); at != 20 { // the wish for 2 at 0 s counts until 300 s
		t.Errorf("low grows at period %d, want 20: %v", at, low)
	}
	if low[23] != 3 || low[24] != 4 {
		t.Errorf("low %v: want one replica a minute", low)
	}
	if _, err := scale.ParseTier("urgent"); err == nil {
		t.Error("a tier that is none was taken")
	}
}

type step struct {
	after   time.Duration
	sum     int64
	unknown bool
}

func anyRules(t *rapid.T) scale.Rules {
	behavior := func(name string) scale.Behavior {
		b := scale.Behavior{
			Window: time.Duration(rapid.IntRange(-1, 10).Draw(t, name+" window")) * 30 * time.Second,
			Select: scale.Select(rapid.IntRange(0, 2).Draw(t, name+" select")),
		}
		for range rapid.IntRange(0, 3).Draw(t, name+" policies") {
			b.Policies = append(b.Policies, scale.Policy{rapid.Bool().Draw(t, "percent"), rapid.IntRange(1, 120).Draw(t, "value"), time.Duration(rapid.IntRange(1, 300).Draw(t, "period")) * time.Second})
		}
		return b
	}
	lo := rapid.IntRange(1, 5).Draw(t, "min")
	return scale.Rules{
		Min: lo, Max: lo + rapid.IntRange(0, 30).Draw(t, "more"), Target: int64(rapid.IntRange(1, 2000).Draw(t, "target")),
		ToleranceMilli: rapid.IntRange(-1, 300).Draw(t, "tolerance"), Up: behavior("up"), Down: behavior("down"),
	}
}

func anySteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{time.Duration(rapid.IntRange(1, 120).Draw(t, "after")) * time.Second, int64(rapid.IntRange(0, 60_000).Draw(t, "sum")), rapid.IntRange(0, 9).Draw(t, "unknown") == 0}
	}), 1, 60).Draw(t, "steps")
}

// plain does what the documentation says with the whole history in hand, in floats as the text has it.
type plain struct {
	r      scale.Rules
	at     []int64
	wishes []int
	had    []int // before each step
	got    []int
}

func (p *plain) step(now int64, current int, sum int64, unknown bool) int {
	next := current
	switch {
	case unknown && current >= p.r.Min && current <= p.r.Max:
		p.at, p.wishes = append(p.at, now), append(p.wishes, -1)
	default:
		ratio := float64(sum) / float64(current) / float64(p.r.Target)
		w := current
		if math.Abs(ratio-1) > float64(p.r.ToleranceMilli)/1000+1e-12 {
			w = int(math.Ceil(float64(current)*ratio - 1e-9))
		}
		lo, hi := w, w
		for i, at := range p.at {
			if p.wishes[i] >= 0 && at > now-int64(p.r.Up.Window) {
				lo = min(lo, p.wishes[i])
			}
			if p.wishes[i] >= 0 && at > now-int64(p.r.Down.Window) {
				hi = max(hi, p.wishes[i])
			}
		}
		if len(p.at) == 0 && p.r.Up.Window > 0 {
			lo = min(lo, current)
		}
		if len(p.at) == 0 && p.r.Down.Window > 0 {
			hi = max(hi, current)
		}
		// The first sight of the replicas counts as a wish.
		if len(p.at) == 0 {
			p.at, p.wishes, p.had, p.got = append(p.at, now), append(p.wishes, current), append(p.had, current), append(p.got, current)
		}
		p.at, p.wishes = append(p.at, now), append(p.wishes, w)
		if current < lo {
			next = lo
		}
		if current > hi {
			next = hi
		}
		b, up := p.r.Down, false
		if next > current {
			b, up = p.r.Up, true
		}
		if next != current {
			var limits []int
			for _, pol := range b.Policies {
				from := float64(current)
				for i := range p.got {
					if p.at[i] > now-int64(pol.Period) {
						from -= float64(p.got[i] - p.had[i])
					}
				}
				v := float64(pol.Value)
				switch {
				case up && pol.Percent:
					limits = append(limits, int(math.Ceil(from*(1+v/100)-1e-9)))
				case up:
					limits = append(limits, int(from+v))
				case pol.Percent:
					limits = append(limits, int(math.Floor(from*max(1-v/100, 0)+1e-9)))
				default:
					limits = append(limits, int(from-v))
				}
			}
			far := slices.Max(limits)
			if up == (b.Select == scale.Least) {
				far = slices.Min(limits)
			}
			switch {
			case b.Select == scale.Off:
				next = current
			case up:
				next = min(next, p.r.Max, max(far, current))
			default:
				next = max(next, p.r.Min, min(far, current))
			}
		}
	}
	p.had, p.got = append(p.had, current), append(p.got, next)
	return next
}

func TestTheControllerDoesWhatAPlainReadingOfTheTextDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := controller(t, anyRules(t))
		p := &plain{r: c.Rules}
		now, n := int64(0), rapid.IntRange(c.Rules.Min, c.Rules.Max).Draw(t, "start")
		for i, s := range anySteps(t) {
			now += int64(s.after)
			m := scale.Total(s.sum, n)
			m.Unknown = s.unknown
			if i == 0 {
				m.Unknown = false
			}
			got, want := c.Step(now, n, m), p.step(now, n, s.sum, m.Unknown)
			if got != want {
				t.Fatalf("step %d at %d s from %d: %d, want %d", i, now/1e9, n, got, want)
			}
			if got < c.Rules.Min || got > c.Rules.Max {
				t.Fatalf("%d replicas outside %d..%d", got, c.Rules.Min, c.Rules.Max)
			}
			n = got
		}
	})
}

func TestAControllerThatWasKeptGoesOnAsTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRules(t)
		a := controller(t, r)
		now, n := int64(0), a.Rules.Min
		for _, s := range anySteps(t) {
			b := controller(t, r)
			if rest, err := b.Recall(append(a.Keep(nil), 7)); err != nil || len(rest) != 1 {
				t.Fatalf("recall: %v, %d bytes left", err, len(rest))
			}
			now += int64(s.after)
			m := scale.Total(s.sum, n)
			m.Unknown = s.unknown
			x, y := a.Step(now, n, m), b.Step(now, n, m)
			if x != y {
				t.Fatalf("the first says %d, the one restored %d", x, y)
			}
			n = x
		}
		if kept := a.Keep(nil); len(kept) > 1 {
			if _, err := a.Recall(kept[:len(kept)-1]); err == nil {
				t.Fatal("half a state was taken")
			}
		}
	})
}

func TestASharedPoolGoesToTheHighTiersFirst(t *testing.T) {
	got := make([]int, 3)
	scale.Share(10, []scale.Ask{{scale.Low, 2, 8, 0}, {scale.High, 2, 7, 0}, {scale.Normal, 2, 3, 0}}, got)
	same(t, got, 2, 6, 2)
	scale.Share(4, []scale.Ask{{scale.Low, 1, 3, 3}, {scale.Normal, 1, 3, 3}, {scale.Normal, 1, 3, 2}}, got)
	same(t, got, 1, 1, 2)
	scale.Share(9, []scale.Ask{{scale.Normal, 1, 5, 4}, {scale.Normal, 1, 5, 3}, {scale.Normal, 1, 5, 0}}, got)
	same(t, got, 4, 3, 2)
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.IntRange(0, 40).Draw(t, "pool")
		asks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) scale.Ask {
			lo := rapid.IntRange(0, 4).Draw(t, "min")
			return scale.Ask{scale.Tier(rapid.IntRange(0, 2).Draw(t, "tier")), lo, rapid.IntRange(0, 12).Draw(t, "want"), rapid.IntRange(0, 12).Draw(t, "need")}
		}), 0, 6).Draw(t, "asks")
		got := make([]int, len(asks))
		scale.Share(pool, asks, got)
		sum, want, minima := 0, 0, 0
		for i, a := range asks {
			sum, want, minima = sum+got[i], want+a.Want, minima+min(a.Min, a.Want)
			if got[i] < 0 || got[i] > a.Want {
				t.Fatalf("queue %d got %d of %d", i, got[i], a.Want)
			}
		}
		if sum != min(pool, want) {
			t.Fatalf("%d given of %d, %d wanted", sum, pool, want)
		}
		rank := [...]int{1, 2, 0}
		for i, a := range asks {
			if pool >= minima && got[i] < min(a.Min, a.Want) {
				t.Fatalf("queue %d got %d, less than its minimum", i, got[i])
			}
			for j, b := range asks {
				if got[i] < a.Want && got[j] > min(b.Min, b.Want) && (rank[b.Tier] < rank[a.Tier] || b.Tier == a.Tier && got[j] > max(got[i], min(b.Min, b.Want), b.Need)+1) {
					t.Fatalf("%v: queue %d is short while queue %d has more than its minimum and its need: %v", asks, i, j, got)
				}
			}
		}
	})
}
