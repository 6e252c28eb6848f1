// Package stats compares policies with honest intervals: paired differences over common seeds, batch means of one recorded trace, and
// where the warm-up ends.
//
// The practice: the same seeds (arrivals, sizes, failures) for every policy, and the differences per seed rather than two separate
// intervals, since what the seeds have in common then cancels out.
package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Interval is an estimate with a confidence interval. Low and High are NaN where there are too few numbers for one.
type Interval struct {
	Mean, Low, High float64
	N               int    // numbers that it rests on
	Method          string // "t", "bca", "percentile" or "batch means"
}

// Known reports whether the interval has bounds.
func (i Interval) Known() bool { return !math.IsNaN(i.Low) && !math.IsNaN(i.High) }

// Excludes reports whether the interval is known and x is outside it.
func (i Interval) Excludes(x float64) bool { return i.Known() && (x < i.Low || x > i.High) }

// Resamples is the number of bootstrap resamples that BCa and Percentile draw.
const Resamples = 2000

// T returns the mean of x with Student's t interval at the level (0.95).
func T(x []float64, level float64) Interval {
	n := len(x)
	if n < 2 {
		return unknown(x, "t")
	}
	mean, sd := stat.MeanStdDev(x, nil)
	half := quantileT(n-1, level) * sd / math.Sqrt(float64(n))
	return Interval{mean, mean - half, mean + half, n, "t"}
}

func quantileT(df int, level float64) float64 {
	return distuv.StudentsT{Sigma: 1, Nu: float64(df)}.Quantile(0.5 + level/2)
}

func unknown(x []float64, method string) Interval {
	mean := math.NaN()
	if len(x) > 0 {
		mean = stat.Mean(x, nil)
	}
	return Interval{mean, math.NaN(), math.NaN(), len(x), method}
}

// Percentile returns the mean of x with the bootstrap's percentile interval (Efron and Tibshirani 1993, chapter 13). The same seed
// gives the same interval.
func Percentile(x []float64, level float64, seed uint64) Interval {
	if len(x) < 2 {
		return unknown(x, "percentile")
	}
	means := bootstrap(x, seed)
	return Interval{stat.Mean(x, nil), at(means, 0.5-level/2), at(means, 0.5+level/2), len(x), "percentile"}
}

// BCa returns the mean of x with the bootstrap's bias-corrected and accelerated interval (Efron 1987; Efron and Tibshirani 1993, chapter
// 14), which is second-order accurate for skewed data. The same seed gives the same interval.
func BCa(x []float64, level float64, seed uint64) Interval {
	n := len(x)
	if n < 2 {
		return unknown(x, "bca")
	}
	mean := stat.Mean(x, nil)
	means := bootstrap(x, seed)
	below := 0.0 // ties count half, so that equal numbers give no bias
	for _, m := range means {
		switch {
		case m < mean:
			below++
		case m == mean:
			below += 0.5
		}
	}
	share := below / Resamples
	if share <= 0 || share >= 1 { // (nearly) constant
		return Interval{mean, at(means, 0.5-level/2), at(means, 0.5+level/2), n, "bca"}
	}
	bias := distuv.UnitNormal.Quantile(share)
	// The acceleration by the jackknife; that of a mean needs no recomputation: the mean without i is (n mean - x_i) / (n-1).
	var squares, cubes float64
	for _, v := range x {
		d := (v - mean) / float64(n-1)
		squares += d * d
		cubes += d * d * d
	}
	accel := 0.0
	if squares > 0 {
		accel = cubes / (6 * math.Pow(squares, 1.5))
	}
	adjusted := func(p float64) float64 {
		z := bias + distuv.UnitNormal.Quantile(p)
		return distuv.UnitNormal.CDF(bias + z/(1-accel*z))
	}
	return Interval{mean, at(means, adjusted(0.5-level/2)), at(means, adjusted(0.5+level/2)), n, "bca"}
}

// bootstrap returns the sorted means of resamples of x.
func bootstrap(x []float64, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 0x5eed))
	means := make([]float64, Resamples)
	for i := range means {
		total := 0.0
		for range x {
			total += x[rng.IntN(len(x))]
		}
		means[i] = total / float64(len(x))
	}
	slices.Sort(means)
	return means
}

func at(sorted []float64, p float64) float64 {
	return stat.Quantile(min(max(p, 0), 1), stat.LinInterp, sorted, nil)
}

// Difference compares one policy with the base on the same seeds.
type Difference struct {
	T, Bootstrap Interval // of new - base, mean over the seeds
	P            float64  // two-sided, of the paired t test; NaN where it has no meaning
	Better       int      // number of seeds in which new < base
	N            int
}

// Paired compares two policies by what each seed gave: the differences b[i] - a[i], with a t interval and a BCa bootstrap interval.
// Seeds in which either is NaN are left out.
func Paired(a, b []float64, level float64, seed uint64) (Difference, error) {
	if len(a) != len(b) {
		return Difference{}, fmt.Errorf("stats: %d values against %d: pairs need the same seeds", len(a), len(b))
	}
	diff := make([]float64, 0, len(a))
	d := Difference{P: math.NaN()}
	for i := range a {
		if x := b[i] - a[i]; !math.IsNaN(x) && !math.IsInf(x, 0) {
			diff = append(diff, x)
			if x < 0 {
				d.Better++
			}
		}
	}
	d.N = len(diff)
	d.T, d.Bootstrap = T(diff, level), BCa(diff, level, seed)
	if d.N >= 2 {
		mean, sd := stat.MeanStdDev(diff, nil)
		switch {
		case sd > 0:
			t := math.Abs(mean) / sd * math.Sqrt(float64(d.N))
			d.P = 2 * distuv.StudentsT{Sigma: 1, Nu: float64(d.N - 1)}.Survival(t)
		case mean == 0:
			d.P = 1
		default: // every seed differs by the same
			d.P = 0
		}
	}
	return d, nil
}

// Batch means: between MinBatches and 2*MinBatches batches whose means are nearly uncorrelated.
const (
	MinBatches  = 20
	MaxLag1     = 0.1
	FewestItems = 2 * MinBatches // for one item a batch, twice over
)

// ErrTooShort and ErrCorrelated say why there is no interval of batch means.
var (
	ErrTooShort   = fmt.Errorf("fewer than %d finished tasks are too few for batch means", FewestItems)
	ErrCorrelated = fmt.Errorf("the means of %d batches of tasks are still correlated, so the trace is too short for one", MinBatches)
)

// BatchMeans returns the mean of a correlated series, in the order in which it arose, with an interval by non-overlapping batch means:
// 40 batches, and 20 of twice the size where the lag-1 autocorrelation of the 40 means is 0.1 or more. Where that of the 20 is, too, the
// interval is unknown and the error says so. Items at the front that fill no batch are left out of the interval and not out of the mean.
func BatchMeans(x []float64, level float64) (Interval, error) {
	if len(x) < FewestItems {
		return unknown(x, "batch means"), ErrTooShort
	}
	mean := stat.Mean(x, nil)
	for k := 2 * MinBatches; k >= MinBatches; k /= 2 {
		means := batches(x, len(x)/k)
		means = means[len(means)-k:]
		if Lag1(means) < MaxLag1 {
			t := T(means, level)
			half := (t.High - t.Low) / 2
			return Interval{mean, mean - half, mean + half, k, "batch means"}, nil
		}
	}
	return unknown(x, "batch means"), ErrCorrelated
}

// batches returns the means of consecutive batches of that size, the last of which ends with x.
func batches(x []float64, size int) []float64 {
	x = x[len(x)%size:]
	means := make([]float64, 0, len(x)/size)
	for ; len(x) > 0; x = x[size:] {
		means = append(means, stat.Mean(x[:size], nil))
	}
	return means
}

// Lag1 returns the lag-1 autocorrelation of x, 0 where x does not vary.
func Lag1(x []float64) float64 {
	mean := stat.Mean(x, nil)
	var num, den float64
	for i, v := range x {
		den += (v - mean) * (v - mean)
		if i > 0 {
			num += (v - mean) * (x[i-1] - mean)
		}
	}
	if den == 0 {
		return 0
	}
	return num / den
}

// MSER5 returns how many items at the front of x belong to the warm-up, by the marginal standard error rule on means of five (White
// 1997): the cut that minimises the sum of squared deviations from the rest's mean over the square of the rest's length. It reports
// false where the best cut lies in the second half, which means that the series is too short to tell.
func MSER5(x []float64) (int, bool) {
	const size = 5
	n := len(x) / size
	if n < 2 {
		return 0, false
	}
	means := make([]float64, n)
	for i := range means {
		means[i] = stat.Mean(x[i*size:(i+1)*size], nil)
	}
	best, cut := math.Inf(1), 0
	// From the back, by Welford's update, since the sum of squares less the square of the sum loses its digits.
	var mean, squares float64
	for d := n - 1; d >= 0; d-- {
		k := float64(n - d)
		delta := means[d] - mean
		mean += delta / k
		squares += delta * (means[d] - mean)
		if k < size { // a handful of equal numbers at the end would always win
			continue
		}
		if score := squares / (k * k); score <= best {
			best, cut = score, d
		}
	}
	return cut * size, cut <= n/2
}

// QuantileCI returns the q-quantile of sorted (by nearest rank) with a distribution-free interval between two order statistics, from
// the binomial distribution's normal approximation. The items must be independent. Bounds are NaN where the sample is too small.
func QuantileCI(sorted []float64, q, level float64) Interval {
	n := len(sorted)
	out := Interval{math.NaN(), math.NaN(), math.NaN(), n, "order statistics"}
	if n == 0 {
		return out
	}
	rank := func(r float64) int { return int(math.Ceil(r)) - 1 }
	out.Mean = sorted[min(max(rank(q*float64(n)), 0), n-1)]
	half := distuv.UnitNormal.Quantile(0.5+level/2) * math.Sqrt(float64(n)*q*(1-q))
	lo, hi := rank(q*float64(n)-half), rank(q*float64(n)+half)+1
	if lo >= 0 && hi < n {
		out.Low, out.High = sorted[lo], sorted[hi]
	}
	return out
}
