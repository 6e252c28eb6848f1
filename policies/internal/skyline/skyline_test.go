package skyline

import (
	"math"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// plain is a skyline that remembers every change and works out what is free at each instant by adding up. All its changes are over at plainSpan, but
// for those that never are.
type plain struct {
	base    Amount
	changes []change
}

type change struct {
	from, to int64
	a        Amount
}

const plainSpan = 200

func (p *plain) at(t int64) Amount {
	v := p.base
	for _, c := range p.changes {
		if c.from <= t && t < c.to {
			v = v.plus(&c.a)
		}
	}
	return v
}

func (p *plain) covers(from, to int64, need *Amount) bool {
	for t := from; t < min(to, plainSpan+1); t++ {
		if v := p.at(t); !v.covers(need) {
			return false
		}
	}
	return true
}

// TestALineIsItsSumOfChanges draws lines of up to hundreds of steps, so that blocks split, empty and are forgotten, and asks all questions.
func TestALineIsItsSumOfChanges(t *testing.T) {
	split := 0
	rapid.Check(t, func(rt *rapid.T) {
		wide := rapid.Bool().Draw(rt, "wide") // steps everywhere
		amount := rapid.Int64Range(-3, 3)
		p := plain{base: Amount{6, 6, 6}}
		var l Line
		l.Reset(Amount{1, 1, 1})
		l.Reset(p.base)
		now := int64(0)
		if wide { // a step at every instant: as many as four blocks
			for i := range int64(plainSpan) {
				c := change{i, i + 1, Amount{i * 7 % 5, i * 3 % 4, i * 5 % 3}}
				p.changes = append(p.changes, c)
				l.Add(c.from, c.to, c.a)
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "operations") {
			from := rapid.Int64Range(now, plainSpan-1).Draw(rt, "from")
			to := rapid.Int64Range(from+1, plainSpan).Draw(rt, "to")
			switch rapid.IntRange(0, 7).Draw(rt, "operation") {
			case 0, 1, 2:
				c := change{from, to, Amount{amount.Draw(rt, "a"), amount.Draw(rt, "b"), amount.Draw(rt, "c")}}
				if rapid.IntRange(0, 5).Draw(rt, "for ever") == 0 {
					c.to = Ever
				}
				p.changes = append(p.changes, c)
				l.Add(c.from, c.to, c.a)
				if n := len(p.changes); n > 1 && rapid.Bool().Draw(rt, "undo one") {
					u := p.changes[rapid.IntRange(0, n-1).Draw(rt, "which")]
					u.from = max(u.from, now)
					u.a = Amount{-u.a[0], -u.a[1], -u.a[2]}
					p.changes = append(p.changes, u)
					l.Add(u.from, u.to, u.a)
				}
			case 3:
				low, high := Amount{math.MaxInt64, math.MaxInt64, math.MaxInt64}, Amount{math.MinInt64, math.MinInt64, math.MinInt64}
				for u := from; u < to; u++ {
					v := p.at(u)
					low.lower(&v)
					high.raise(&v)
				}
				if got := l.Low(from, to); got != low {
					rt.Fatalf("Low(%d, %d) is %v, not %v", from, to, got, low)
				}
				if got := l.High(from, to); got != high {
					rt.Fatalf("High(%d, %d) is %v, not %v", from, to, got, high)
				}
				need := Amount{Any, low[1] + rapid.Int64Range(-1, 1).Draw(rt, "more"), low[2]}
				if got := l.Fits(from, to, &need); got != low.covers(&need) {
					rt.Fatalf("Fits(%d, %d, %v) is %v", from, to, need, got)
				}
			case 4:
				hold := rapid.Int64Range(1, 60).Draw(rt, "hold")
				stop := int64(Ever)
				if rapid.Bool().Draw(rt, "stops") {
					stop = rapid.Int64Range(to, plainSpan).Draw(rt, "stop")
				}
				need := Amount{Any, rapid.Int64Range(0, 9).Draw(rt, "need"), rapid.Int64Range(-1, 9).Draw(rt, "and")}
				want, found := int64(0), false
				for u := from; u < to && !found; u++ {
					if p.covers(u, min(u+hold, stop), &need) {
						want, found = u, true
					}
				}
				if got, ok := l.Earliest(from, to, hold, stop, &need); ok != found || ok && got != want {
					rt.Fatalf("Earliest(%d, %d, %d, %d, %v) is %d %v, not %d %v", from, to, hold, stop, need, got, ok, want, found)
				}
			case 5:
				need := Amount{rapid.Int64Range(0, 9).Draw(rt, "need"), Any, Any}
				want := to
				for want > from && p.covers(want-1, to, &need) {
					want--
				}
				if got := l.Back(to, from, &need); got != want {
					rt.Fatalf("Back(%d, %d, %v) is %d, not %d", to, from, need, got, want)
				}
			case 6:
				need := Amount{Any, Any, rapid.Int64Range(0, 9).Draw(rt, "need")}
				var want []Hole
				for u := from; u < to; u++ {
					end := u
					for end <= plainSpan && p.covers(end, end+1, &need) {
						end++
					}
					if end > u {
						want = append(want, Hole{u, end})
						if u = end; end > plainSpan {
							want[len(want)-1].To = Ever
						}
					}
				}
				if got := l.Holes(from, to, &need, nil); !slices.Equal(got, want) {
					rt.Fatalf("Holes(%d, %d, %v) are %v, not %v", from, to, need, got, want)
				}
			case 7:
				now = from
				l.Forget(now)
			}
			steps := l.Steps(now, plainSpan, nil)
			for u := now; u < plainSpan; u++ {
				if slices.Contains(steps, u) != (u > now && p.at(u) != p.at(u-1)) {
					rt.Fatalf("the steps are %v, whether or not there is one at %d", steps, u)
				}
				bi, i := l.find(u)
				if got := l.blocks[bi].value(i); got != p.at(u) {
					rt.Fatalf("at %d there is %v free, not %v", u, got, p.at(u))
				}
			}
			if len(l.blocks) > 1 {
				split++
			}
		}
	})
	if split == 0 {
		t.Error("no line had more than one block")
	}
}

func TestALineGrowsNoMoreOnceItHasGrown(t *testing.T) {
	var l Line
	l.Reset(Amount{1000, 1000, 1000})
	now := int64(0)
	turn := func() {
		for range 1000 {
			now++
			l.Add(now+now*7%300, now+300+now*3%100, Amount{-1, 0, -2})
			l.Forget(now)
		}
	}
	for range 20 {
		turn()
	}
	if n := testing.AllocsPerRun(5, turn); n > 0 {
		t.Errorf("%g allocations in 1000 changes", n)
	}
}

// BenchmarkEarliest is a line of so many steps that is full but for its end.
func BenchmarkEarliest(b *testing.B) {
	for _, steps := range []int64{64, 1024, 16384} {
		var l Line
		l.Reset(Amount{100, 100, 100})
		for i := range steps {
			l.Add(i, i+1, Amount{-90 - i%7, 0, 0})
		}
		need := Amount{50, Any, Any}
		b.Run(strconv.FormatInt(steps, 10), func(b *testing.B) {
			for range b.N {
				if t, ok := l.Earliest(0, Ever, 10, Ever, &need); !ok || t != steps {
					b.Fatal(t, ok)
				}
			}
		})
	}
}
