package metrics

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// ranked finds order statistics of more durations than one wants to keep: a first pass counts them in buckets whose width is at most 1/128 of
// what stands in them; further passes look into the buckets of the ranks that are asked for. Memory stays below a megabyte, and the results
// are exact.
type ranked struct {
	count [8192]int32
	n     int64
}

const (
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
		k := int64(math.Ceil(q*float64(r.n))) - 1
		spans[i] = r.spanOf(min(max(k, 0), r.n-1))
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
