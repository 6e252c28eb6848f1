package metrics

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// guesses finds the median and the 99th percentile of a run's waits in the pass that counts them. Before it, some of the waits say between which two
// values the quantile will be; in the pass those below are counted, and the few between are kept. A guess that was wrong costs further passes.
type guesses struct {
	of [2]guess
	n  int64
}

var guessed = [2]float64{0.50, 0.99}

type guess struct {
	low, width uint64          // it is one of low..low+width-1
	below      int64           // waits before low,
	least      int64           // that are low: often many are the same
	in         int64           // and that are in the rest of the range
	held       []time.Duration // the latter
}

// guess looks at a sample of n waits.
func (g *guesses) guess(n int, some []time.Duration) {
	if n <= fewEnough { // all
		for i := range g.of {
			g.of[i] = guess{width: 1 << 63, held: make([]time.Duration, 0, n)}
		}
		return
	}
	slices.Sort(some)
	for i, q := range guessed {
		g.of[i].choose(q, int64(n), some)
	}
}

// choose chooses the range of the q-quantile by a sorted sample: four standard deviations of its rank to either side.
func (g *guess) choose(q float64, n int64, some []time.Duration) {
	m := float64(len(some))
	margin := 4*math.Sqrt(m*q*(1-q)) + 2
	if from := q*m - margin; from > 0 {
		g.low = uint64(some[int(from)])
	}
	g.width = 1<<63 - g.low
	if to := int(q*m + margin); to < len(some) {
		g.width = uint64(some[to]) - g.low + 1
	}
	from, to := 0, len(some)
	if g.low < math.MaxInt64 {
		from, _ = slices.BinarySearch(some, time.Duration(g.low)+1)
	}
	if last := g.low + g.width; last < 1<<63 {
		to, _ = slices.BinarySearch(some, time.Duration(last))
	}
	in := float64(to - from)
	if m == 0 || in > 4*margin+16 || in/m*float64(n) > mostHeld { // too many to keep
		g.width = 0
		return
	}
	g.held = make([]time.Duration, 0, int(in/m*float64(n)*1.25))
}

// add counts waits.
func (g *guesses) add(waits []time.Duration) {
	g.n += int64(len(waits))
	for i := range g.of {
		g.of[i].add(waits)
	}
}

func (g *guess) add(waits []time.Duration) {
	low, width, held := g.low, g.width, g.held
	var below, least, in uint64
	for _, d := range waits {
		at := uint64(d) - low
		below += at >> 63
		if at < width {
			if at == 0 {
				least++
				continue
			}
			in++
			if n := len(held); n < cap(held) {
				held = held[:n+1]
				held[n] = d
			}
		}
	}
	g.below += int64(below)
	g.least += int64(least)
	g.in += int64(in)
	g.held = held
}

// quantiles returns the two quantiles in seconds by nearest rank, NaN where nothing was added. each yields all that was added, in parts, as often as it is
// called.
func (g *guesses) quantiles(each func(part func([]time.Duration))) (p50, p99 float64) {
	var out [2]float64
	for i := range g.of {
		var ok bool
		if out[i], ok = g.of[i].quantile(rankOf(guessed[i], g.n)); !ok && g.n > 0 {
			var r ranked
			each(func(ds []time.Duration) {
				for _, d := range ds {
					r.add(d)
				}
			})
			both := r.quantiles(each, guessed[:]...)
			return both[0], both[1]
		}
	}
	return out[0], out[1]
}

// quantile returns the wait of rank k in seconds, and false if the guess was wrong.
func (g *guess) quantile(k int64) (float64, bool) {
	switch k -= g.below; {
	case k < 0:
		return math.NaN(), false
	case k < g.least:
		return time.Duration(g.low).Seconds(), true
	}
	if k -= g.least; k >= g.in || g.in > int64(len(g.held)) { // it comes later, or more were in the range than was thought
		return math.NaN(), false
	}
	return nth(g.held, int(k)).Seconds(), true
}

// nth returns the value that has rank k, from 0, and puts the values into another order (Hoare's FIND, 1961). Where it does not come nearer fast
// enough it sorts what is left.
func nth(x []time.Duration, k int) time.Duration {
	for left := 4 * bits.Len(uint(len(x))); len(x) > 64 && left > 0; left-- {
		a, b, c := x[0], x[len(x)/2], x[len(x)-1]
		pivot := max(min(a, b), min(max(a, b), c)) // the median of three
		i, j := 0, len(x)-1
		for i <= j {
			for x[i] < pivot {
				i++
			}
			for pivot < x[j] {
				j--
			}
			if i <= j {
				x[i], x[j] = x[j], x[i]
				i++
				j--
			}
		}
		switch { // x[:j+1] <= pivot <= x[i:], and all between are the pivot
		case k <= j:
			x = x[:j+1]
		case k >= i:
			x, k = x[i:], k-i
		default:
			return pivot
		}
	}
	slices.Sort(x)
	return x[k]
}

// rankOf returns the rank of the q-quantile among n, from 0.
func rankOf(q float64, n int64) int64 { return min(max(int64(math.Ceil(q*float64(n)))-1, 0), n-1) }

// ranked finds order statistics of more durations than one wants to keep: a first pass counts them in buckets whose width is at most 1/128 of
// what stands in them; further passes look into the buckets of the ranks that are asked for. Memory stays below a megabyte, and the results
// are exact.
type ranked struct {
	count [8192]int32
	n     int64
}

const (
	mostHeld     = 1 << 20
	exactBuckets = 256     // below, a bucket is one nanosecond wide
	fewEnough    = 1 << 15 // durations that are put in order
)

// add counts a duration, which must not be negative.
func (r *ranked) add(d time.Duration) {
	r.count[bucketOf(uint64(d))]++
	r.n++
}

func bucketOf(d uint64) int {
	if d < exactBuckets {
		return int(d)
	}
	e := bits.Len64(d) - 8
	return e<<7 + int(d>>e)
}

// span is a range of durations that holds the one of rank k among its n.
type span struct {
	low, width uint64
	k, n       int64
}

// spanOf returns the bucket in which rank k stands.
func (r *ranked) spanOf(k int64) span {
	for b, c := range r.count {
		if k >= int64(c) {
			k -= int64(c)
			continue
		}
		if b < exactBuckets {
			return span{uint64(b), 1, k, int64(c)}
		}
		e := b>>7 - 1
		return span{uint64(b-e<<7) << e, 1 << e, k, int64(c)}
	}
	panic("metrics: no such rank")
}

// quantiles returns the q-quantiles in seconds by nearest rank, NaN where nothing was added. each yields all that was added, in parts, as
// often as it is called.
func (r *ranked) quantiles(each func(part func([]time.Duration)), qs ...float64) []float64 {
	out := make([]float64, len(qs))
	if r.n == 0 {
		for i := range out {
			out[i] = math.NaN()
		}
		return out
	}
	spans := make([]span, len(qs))
	for i, q := range qs {
		spans[i] = r.spanOf(rankOf(q, r.n))
	}
	for narrow(spans, each) {
	}
	for i, s := range spans {
		out[i] = time.Duration(s.low).Seconds()
	}
	return out
}

// narrow makes the spans that are wider than one value narrower in one pass, and reports whether there were any.
func narrow(spans []span, each func(part func([]time.Duration))) bool {
	var wide []int
	var held [][]time.Duration // of those with few
	var parts [][]int64        // of the others: counts of 4096 equal parts
	for i, s := range spans {
		if s.width > 1 {
			wide = append(wide, i)
			if s.n <= fewEnough {
				held, parts = append(held, make([]time.Duration, 0, s.n)), append(parts, nil)
			} else {
				held, parts = append(held, nil), append(parts, make([]int64, 4096))
			}
		}
	}
	if len(wide) == 0 {
		return false
	}
	each(func(ds []time.Duration) {
		for j, i := range wide {
			low, width := spans[i].low, spans[i].width
			step := max(width/4096, 1)
			for _, d := range ds {
				if uint64(d)-low >= width {
					continue
				}
				if parts[j] == nil {
					held[j] = append(held[j], d)
				} else {
					parts[j][(uint64(d)-low)/step]++
				}
			}
		}
	})
	for j, i := range wide {
		s := &spans[i]
		if parts[j] == nil {
			slices.Sort(held[j])
			*s = span{uint64(held[j][s.k]), 1, 0, 1}
			continue
		}
		step := max(s.width/4096, 1)
		for p, c := range parts[j] {
			if s.k < c {
				*s = span{s.low + uint64(p)*step, step, s.k, c}
				break
			}
			s.k -= c
		}
	}
	return true
}
