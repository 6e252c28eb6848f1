package stats

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s = %v, want %v (within %v)", what, got, want, within)
	}
}

// coverage runs an interval many times over, and fails if it covers the truth less or more often than chance allows: three standard
// errors of a binomial share, and slack where the method is known to be approximate.
func coverage(t *testing.T, what string, runs int, level, slack float64, covers func(rng *rand.Rand) (covered, known bool)) (knownShare float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 11))
	hits, known := 0, 0
	for range runs {
		c, k := covers(rng)
		if k {
			known++
			if c {
				hits++
			}
		}
	}
	if known < runs/10 {
		t.Fatalf("%s: only %d intervals in %d runs", what, known, runs)
	}
	near(t, what, float64(hits)/float64(known), level, 3*math.Sqrt(level*(1-level)/float64(known))+slack)
	return float64(known) / float64(runs)
}

func sample(rng *rand.Rand, n int, draw func() float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = draw()
	}
	return x
}

func TestTIntervalIsTheTextbooks(t *testing.T) {
	i := T([]float64{1, 2, 3, 4, 5}, 0.95) // t(0.975, 4) = 2.776445, sd = 1.581139
	near(t, "mean", i.Mean, 3, 1e-12)
	near(t, "low", i.Low, 3-2.776445*1.581139/math.Sqrt(5), 1e-5)
	near(t, "high", i.High, 3+2.776445*1.581139/math.Sqrt(5), 1e-5)
}

func TestTIntervalCoversANormalMeanAsOftenAsItSays(t *testing.T) {
	coverage(t, "t, n = 10", 4000, 0.95, 0, func(rng *rand.Rand) (bool, bool) {
		i := T(sample(rng, 10, rng.NormFloat64), 0.95)
		return !i.Excludes(0), true
	})
}

func TestBootstrapIntervalsCoverASkewedMeanNearlyAsOftenAsTheySay(t *testing.T) {
	for name, f := range map[string]func([]float64, float64, uint64) Interval{"bca": BCa, "percentile": Percentile} {
		coverage(t, name, 400, 0.95, 0.02, func(rng *rand.Rand) (bool, bool) {
			i := f(sample(rng, 60, rng.ExpFloat64), 0.95, rng.Uint64())
			return !i.Excludes(1), true
		})
	}
}

// The treated mice of Efron and Tibshirani (1993, table 2.1). Of all 7^7 resamples the standard error of the mean is 23.36, as in the book
// (table 2.2); the percentile and BCa limits were worked out over all of them, too.
func TestBootstrapOfTheMiceIsThatOfAllResamples(t *testing.T) {
	x := []float64{94, 197, 16, 38, 99, 141, 23}
	means := bootstrap(x, 1)
	mean, squares := 0.0, 0.0
	for _, m := range means {
		mean += m / Resamples
	}
	for _, m := range means {
		squares += (m - mean) * (m - mean)
	}
	near(t, "standard error", math.Sqrt(squares/(Resamples-1)), 23.36, 23.36*3/math.Sqrt(2*Resamples))
	const seeds = 50
	var got [4]float64 // means over seeds: the limits of 2000 resamples are some units off those of all
	for seed := range uint64(seeds) {
		p, b := Percentile(x, 0.95, seed), BCa(x, 0.95, seed)
		for i, v := range []float64{p.Low, p.High, b.Low, b.High} {
			got[i] += v / seeds
		}
	}
	for i, want := range []float64{43.43, 134.43, 46.29, 138.29} {
		near(t, []string{"percentile low", "percentile high", "BCa low", "BCa high"}[i], got[i], want, 0.8)
	}
}

func TestBCaLeansTowardsTheLongTail(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	x := sample(rng, 40, func() float64 { return math.Exp(1.5 * rng.NormFloat64()) })
	b, p := BCa(x, 0.95, 1), Percentile(x, 0.95, 1)
	if !(b.High > p.High && b.Low > p.Low) {
		t.Errorf("BCa %v is not right of percentile %v", b, p)
	}
}

func TestTheSameSeedGivesTheSameIntervalAndAnotherAnother(t *testing.T) {
	x := []float64{1.13, 5.27, 2.91, 8.03, 3.33, 9.71, 4.57}
	if BCa(x, 0.95, 3) != BCa(x, 0.95, 3) {
		t.Error("not reproducible")
	}
	if BCa(x, 0.95, 3) == BCa(x, 0.95, 4) {
		t.Error("the seed does nothing")
	}
}

func TestPairedTTestIsTheTextbooks(t *testing.T) {
	// Student's sleep data (1908): ten patients, t = -4.0621, p = 0.002833, mean difference 1.58, interval 0.7001142 to 2.4598858.
	a := []float64{0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0}
	b := []float64{1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4}
	d, err := Paired(a, b, 0.95, 1)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "mean", d.T.Mean, 1.58, 1e-9)
	near(t, "low", d.T.Low, 0.7001142, 1e-6)
	near(t, "high", d.T.High, 2.4598858, 1e-6)
	near(t, "p", d.P, 0.00283289, 1e-7)
	if d.Better != 0 || d.N != 10 {
		t.Errorf("%+v", d)
	}
}

func TestPairingSeesADifferenceThatSeparateIntervalsHide(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var a, b []float64
	for range 10 {
		seed := 100 * rng.ExpFloat64()
		a, b = append(a, seed), append(b, seed-1+0.1*rng.NormFloat64())
	}
	d, _ := Paired(a, b, 0.95, 1)
	if !d.T.Excludes(0) || !d.Bootstrap.Excludes(0) || T(a, 0.95).Excludes(T(b, 0.95).Mean) || d.Better != 10 {
		t.Errorf("%+v", d)
	}
}

func TestPairsWithoutAValueAreLeftOutAndUnequalLengthsRefused(t *testing.T) {
	d, err := Paired([]float64{1, math.NaN(), 3}, []float64{2, 2, 4}, 0.95, 1)
	if err != nil || d.N != 2 || d.P != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := Paired([]float64{1}, nil, 0.95, 1); err == nil {
		t.Error("no error")
	}
	if i := T([]float64{4}, 0.95); i.Known() || i.Mean != 4 {
		t.Errorf("one number has the interval %+v", i)
	}
}

// ar1 draws a stationary AR(1) series of mean 0 and variance 1.
func ar1(rng *rand.Rand, n int, phi float64) []float64 {
	v := rng.NormFloat64()
	return sample(rng, n, func() float64 {
		v = phi*v + math.Sqrt(1-phi*phi)*rng.NormFloat64()
		return v
	})
}

func TestBatchMeansCoverTheMeanOfAnAR1SeriesWhereAPlainIntervalDoesNot(t *testing.T) {
	coverage(t, "batch means", 1500, 0.95, 0.015, func(rng *rand.Rand) (bool, bool) {
		i, err := BatchMeans(ar1(rng, 4000, 0.8), 0.95)
		return !i.Excludes(0), err == nil
	})
	rng, hits := rand.New(rand.NewPCG(7, 11)), 0
	for range 300 {
		if !T(ar1(rng, 4000, 0.8), 0.95).Excludes(0) {
			hits++
		}
	}
	if hits > 250 {
		t.Errorf("the plain interval covers in %d of 300: the series tests nothing", hits)
	}
}

func TestBatchMeansSayWhenTheyCannot(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	if i, err := BatchMeans(ar1(rng, 39, 0), 0.95); !errors.Is(err, ErrTooShort) || i.Known() {
		t.Errorf("39 items: %+v, %v", i, err)
	}
	ramp := sample(rng, 4000, func() float64 { return 0 })
	for i := range ramp {
		ramp[i] = float64(i)
	}
	i, err := BatchMeans(ramp, 0.95)
	if !errors.Is(err, ErrCorrelated) || i.Known() || i.Mean != 1999.5 {
		t.Errorf("a ramp: %+v, %v", i, err)
	}
	if i, err := BatchMeans(make([]float64, 100), 0.95); err != nil || i.Low != 0 || i.High != 0 {
		t.Errorf("all zero: %+v, %v", i, err)
	}
}

func TestBatchMeansDoubleTheBatchWhenFortyAreCorrelated(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	forty, twenty := 0, 0
	for range 200 {
		x := ar1(rng, 2000, 0.95)
		i, err := BatchMeans(x, 0.95)
		if err != nil {
			continue
		}
		if l := Lag1(batches(x, 50)); (l < MaxLag1) != (i.N == 40) {
			t.Fatalf("lag 1 is %v and %d batches were used", l, i.N)
		}
		if i.N == 40 {
			forty++
		} else {
			twenty++
		}
	}
	if forty == 0 || twenty == 0 {
		t.Errorf("%d with forty, %d with twenty: one way was not tried", forty, twenty)
	}
}

func TestMSER5FindsTheEndOfAWarmUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	x := ar1(rng, 1000, 0)
	for i := range 200 {
		x[i] += 10 * (1 - float64(i)/200)
	}
	cut, ok := MSER5(x)
	if !ok || cut < 130 || cut > 215 {
		t.Errorf("cut at %d, %v", cut, ok)
	}
	if cut, ok := MSER5(ar1(rng, 1000, 0)); !ok || cut > 250 {
		t.Errorf("no warm-up, and a cut at %d, %v", cut, ok)
	}
	for i := range x {
		x[i] = float64(i * i)
	}
	if _, ok := MSER5(x); ok {
		t.Error("a series that never settles was accepted")
	}
	if _, ok := MSER5(x[:4]); ok {
		t.Error("four items were accepted")
	}
}

func TestMSER5IsThePlainDefinitionsMinimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float64Range(-100, 100), 25, 120).Draw(t, "x")
		cut, _ := MSER5(x)
		n := len(x) / 5
		score := func(d int) float64 {
			var m []float64
			for i := d; i < n; i++ {
				s := 0.0
				for _, v := range x[i*5 : i*5+5] {
					s += v / 5
				}
				m = append(m, s)
			}
			mean, s := 0.0, 0.0
			for _, v := range m {
				mean += v / float64(len(m))
			}
			for _, v := range m {
				s += (v - mean) * (v - mean)
			}
			return s / float64(len(m)*len(m))
		}
		got := score(cut / 5)
		for d := 0; d <= n-5; d++ {
			if score(d) < got-1e-9*(1+got) {
				t.Fatalf("cut %d scores %v, cut %d scores %v", cut, got, d*5, score(d))
			}
		}
	})
}

func TestQuantileIntervalCoversTheMedianAsOftenAsItSays(t *testing.T) {
	coverage(t, "median", 3000, 0.95, 0.015, func(rng *rand.Rand) (bool, bool) {
		x := sample(rng, 101, rng.ExpFloat64)
		slices.Sort(x)
		i := QuantileCI(x, 0.5, 0.95)
		return !i.Excludes(math.Ln2), i.Known()
	})
	if i := QuantileCI([]float64{1, 2, 3}, 0.99, 0.95); i.Known() || i.Mean != 3 {
		t.Errorf("%+v", i)
	}
}

func TestGonumsTQuantileIsTheTables(t *testing.T) {
	near(t, "t(0.975, 9)", quantileT(9, 0.95), 2.262157, 1e-6)
	near(t, "z(0.975)", distuv.UnitNormal.Quantile(0.975), 1.959964, 1e-6)
}
