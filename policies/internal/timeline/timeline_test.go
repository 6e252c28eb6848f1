package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// TestALineGivesTheFirstSlotThatIsFree holds Earliest and Times against a plain array of what is free in every second.
func TestALineGivesTheFirstSlotThatIsFree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const span = 60
		cap := Amount{4, 8, 2}
		var plain [span + 42*20]Amount
		for i := range plain {
			plain[i] = cap
		}
		var l Line
		l.Reset(0, cap)
		now := 0
		amount := func() Amount {
			return Amount{rapid.Int64Range(0, 4).Draw(rt, "cpu"), rapid.Int64Range(0, 4).Draw(rt, "mem"), rapid.Int64Range(0, 2).Draw(rt, "gpus")}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			a := amount()
			from := rapid.IntRange(now, span).Draw(rt, "from")
			d := rapid.IntRange(0, 20).Draw(rt, "for")
			fits := func(s int) int64 {
				k := plain[s].Times(a, 3)
				for i := s; i < s+d; i++ {
					k = min(k, plain[i].Times(a, 3))
				}
				return k
			}
			want := -1
			for s := from; s < len(plain)-20 && want < 0; s++ {
				if fits(s) > 0 {
					want = s
				}
			}
			got, ok := l.Earliest(sched.Time(from), time.Duration(d), a)
			if !ok || int(got) != want {
				rt.Fatalf("%v for %d from %d: %d %v, want %d", a, d, from, got, ok, want)
			}
			if k := l.Times(sched.Time(from), time.Duration(d), a, 3); k != fits(from) {
				rt.Fatalf("%v for %d at %d: %d times, want %d", a, d, from, k, fits(from))
			}
			l.Take(got, got.Add(time.Duration(d)), a)
			for i := want; i < want+d; i++ {
				plain[i] = plain[i].Plus(-1, a)
			}
			if rapid.Bool().Draw(rt, "undo") {
				l.Give(got, got.Add(time.Duration(d)), a)
				for i := want; i < want+d; i++ {
					plain[i] = plain[i].Plus(1, a)
				}
			}
			now = rapid.IntRange(now, min(now+5, span)).Draw(rt, "now")
			l.Forget(sched.Time(now))
		}
		if _, ok := l.Earliest(0, 1, Amount{CPU: 5}); ok {
			rt.Fatal("more than there is was found")
		}
	})
}
