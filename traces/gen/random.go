package gen

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// stream returns the numbers of one purpose: PCG (O'Neill, PCG: a family of simple fast space-efficient statistically good algorithms for
// random number generation, 2014), seeded by the seed and the purpose's name.
func stream(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// open returns a number strictly between 0 and 1.
func open(r *rand.Rand) float64 { return (float64(r.Uint64()>>12) + 0.5) / (1 << 52) }

// normal returns a standard normal number by inversion: one draw each, unlike the ziggurat, so that streams stay in step.
func normal(r *rand.Rand) float64 { return math.Sqrt2 * math.Erfinv(2*open(r)-1) }

// microseconds turns seconds into a duration, rounded, at least 1 us: the last bits of math.Exp differ between processors.
func microseconds(s float64) time.Duration {
	us := math.Round(s * 1e6)
	return time.Duration(min(max(us, 1), 1e15)) * time.Microsecond
}

// dist is a distribution of run times in seconds. Each sample takes one or two draws.
type dist struct {
	sample         func(r *rand.Rand) float64
	mean, variance float64 // closed forms
}

// duration returns the distribution of run times.
func (s *Spec) duration() dist {
	arg := func(k string) float64 { return s.arg(fDuration, k) }
	switch fields[fDuration].choices[s.values[fDuration].choice].name {
	case "lognormal":
		return lognormal(arg("mean"), arg("sigma"))
	case "exponential":
		return exponential(arg("mean"))
	case "hyperexp":
		return hyperexp(arg("mean"), arg("cv2"))
	case "pareto":
		return boundedPareto(arg("alpha"), arg("min"), arg("max"))
	case "weibull":
		return weibull(arg("mean"), arg("shape"))
	case "uniform":
		low, high := arg("min"), arg("max")
		return dist{func(r *rand.Rand) float64 { return low + (high-low)*open(r) }, (low + high) / 2, (high - low) * (high - low) / 12}
	}
	m := arg("mean")
	return dist{func(*rand.Rand) float64 { return m }, m, 0}
}

// lognormal has the given mean; sigma is the standard deviation of the logarithm.
func lognormal(mean, sigma float64) dist {
	mu := math.Log(mean) - sigma*sigma/2
	return dist{
		func(r *rand.Rand) float64 { return math.Exp(mu + sigma*normal(r)) },
		mean, mean * mean * math.Expm1(sigma*sigma),
	}
}

func exponential(mean float64) dist {
	return dist{func(r *rand.Rand) float64 { return -mean * math.Log(open(r)) }, mean, mean * mean}
}

// hyperexp is the hyperexponential distribution of two phases with balanced means, p1 m1 = p2 m2, of the given squared coefficient of
// variation (Allen, Probability, Statistics, and Queueing Theory, 2nd ed. 1990, sec. 3.2.9).
func hyperexp(mean, cv2 float64) dist {
	p := (1 + math.Sqrt((cv2-1)/(cv2+1))) / 2
	m1, m2 := mean/(2*p), mean/(2*(1-p))
	return dist{
		func(r *rand.Rand) float64 {
			m := m2
			if open(r) < p {
				m = m1
			}
			return -m * math.Log(open(r))
		},
		mean, cv2 * mean * mean,
	}
}

// boundedPareto has the density alpha L^alpha x^(-alpha-1) / (1 - (L/H)^alpha) on L..H (Harchol-Balter, Crovella, Murta, On choosing a task
// assignment policy for a distributed server system, JPDC 59(2), 1999).
func boundedPareto(alpha, low, high float64) dist {
	c := 1 - math.Pow(low/high, alpha)
	moment := func(k float64) float64 {
		if alpha == k {
			return k * math.Pow(low, k) * math.Log(high/low) / c
		}
		return alpha * math.Pow(low, alpha) / c * (math.Pow(high, k-alpha) - math.Pow(low, k-alpha)) / (k - alpha)
	}
	m := moment(1)
	return dist{
		func(r *rand.Rand) float64 { return low * math.Pow(1-open(r)*c, -1/alpha) },
		m, moment(2) - m*m,
	}
}

func weibull(mean, shape float64) dist {
	g1, g2 := math.Gamma(1+1/shape), math.Gamma(1+2/shape)
	scale := mean / g1
	return dist{
		func(r *rand.Rand) float64 { return scale * math.Pow(-math.Log(open(r)), 1/shape) },
		mean, scale * scale * (g2 - g1*g1),
	}
}

// arrivals returns n submit times in seconds, ascending, at the mean rate (jobs a second).
func (s *Spec) arrivals(r *rand.Rand, n int, rate float64) []float64 {
	at := make([]float64, n)
	arg := func(k string) float64 { return s.arg(fArrival, k) }
	gaps := func(d dist) {
		now := 0.0
		for i := range at {
			now += d.sample(r)
			at[i] = now
		}
	}
	switch fields[fArrival].choices[s.values[fArrival].choice].name {
	case "poisson":
		gaps(exponential(1 / rate))
	case "fixed":
		for i := range at {
			at[i] = float64(i) / rate
		}
	case "batch":
	case "weibull":
		gaps(weibull(1/rate, arg("shape")))
	case "diurnal":
		// Thinning (Lewis, Shedler, Simulation of nonhomogeneous Poisson processes by thinning, Naval Research Logistics 26(3), 1979).
		a, period, peak := arg("amplitude"), arg("period"), arg("peak")
		now, top := 0.0, rate*(1+a)
		for i := 0; i < n; {
			now -= math.Log(open(r)) / top
			if open(r)*(1+a) < 1+a*math.Cos(2*math.Pi*(now-peak)/period) {
				at[i] = now
				i++
			}
		}
	case "bursty":
		// The rate is that of the state; the states last exponential times (Fischer, Meier-Hellstern, The Markov-modulated Poisson process
		// (MMPP) cookbook, Performance Evaluation 18(2), 1993).
		factor, share, cycle := arg("factor"), arg("share"), arg("cycle")
		calm := rate / (1 - share + share*factor)
		rates := [2]float64{calm, calm * factor}
		stay := [2]float64{cycle * (1 - share), cycle * share}
		state := 0
		if open(r) < share {
			state = 1
		}
		now := 0.0
		end := -stay[state] * math.Log(open(r))
		for i := 0; i < n; {
			next := now - math.Log(open(r))/rates[state]
			if next > end { // exponential gaps have no memory: begin anew at the change of state
				now, state = end, 1-state
				end = now - stay[state]*math.Log(open(r))
				continue
			}
			now = next
			at[i] = now
			i++
		}
	}
	return at
}

// The shares of GPU demands below were counted from public traces, as integers so that they can be checked.

// phillyMix counts the jobs of the Philly trace (Jeon, Venkataraman, Phanishayee, Qian, Xiao, Yang, Analysis of large-scale multi-tenant GPU
// clusters for DNN training workloads, USENIX ATC 2019) by GPUs: 82,247 jobs of 2017-09-04 to 2017-12-22, in the reduction published
// with Sia (SOSP 2023, siasosp23/artifacts, sia-simulator/traces/philly.csv). 93.2 % ask for one GPU, 2.0 % for eight.
var phillyMix = []share{{1, 76627}, {2, 1818}, {4, 1870}, {8, 1643}, {12, 7}, {16, 199}, {24, 7}, {32, 67}, {64, 6}, {128, 3}}

// openbMix counts the pods of the Alibaba GPU trace of 2023, "openb" (Weng, Yang, Yu, Wang, Tang, Yang, Zhang, Beware of fragmentation:
// scheduling GPU-sharing workloads with fragmentation gradient descent, USENIX ATC 2023), default list of 8,152 pods, by GPUs: 13.3 %
// ask for none, 37.8 % for a part of one, 48.0 % for one. It comes from the platform PAI, whose workload of 2020 is that of Weng et
// al., MLaaS in the wild, NSDI 2022.
var openbMix = []share{
	{0, 1088},
	{0.05, 7},
	{0.11, 24},
	{0.14, 1},
	{0.16, 74},
	{0.22, 62},
	{0.23, 140},
	{0.27, 4},
	{0.29, 1},
	{0.32, 328},
	{0.33, 7},
	{0.35, 6},
	{0.37, 47},
	{0.44, 2},
	{0.46, 128},
	{0.47, 750},
	{0.48, 19},
	{0.55, 72},
	{0.59, 75},
	{0.65, 253},
	{0.81, 1078},
	{1, 3911},
	{2, 16},
	{4, 15},
	{8, 44},
}

// gpuMix returns the sizes and weights of a task's GPUs.
func (s *Spec) gpuMix() []share {
	switch v := &s.values[fGPUs]; fields[fGPUs].choices[v.choice].name {
	case "fixed":
		return []share{{s.arg(fGPUs, "n"), 1}}
	case "philly":
		return phillyMix
	case "openb":
		return openbMix
	case "mix":
		return v.mix
	}
	return []share{{0, 1}}
}

// picker draws from a mix.
type picker struct {
	mix []share
	sum []float64
}

func newPicker(mix []share) picker {
	p := picker{mix: mix}
	total := 0.0
	for _, m := range mix {
		total += m.weight
		p.sum = append(p.sum, total)
	}
	return p
}

func (p *picker) pick(r *rand.Rand) float64 {
	u := open(r) * p.sum[len(p.sum)-1]
	for i, s := range p.sum {
		if u < s {
			return p.mix[i].size
		}
	}
	return p.mix[len(p.mix)-1].size
}

// need sets GPUs: a share of one, up to 8 whole ones, or a gang of replicas of 8, 4, 2 or 1, whichever first divides the number, as a job
// wider than a node must be.
func need(gpus float64) (sched.Need, int32) {
	switch {
	case gpus == 0:
		return sched.Need{}, 1
	case gpus < 1:
		return sched.Need{GPUs: 1, GPUMilli: int32(math.Round(gpus * sched.Whole))}, 1
	}
	n, per := int32(gpus), int32(gpus)
	if n > 8 {
		for per = 8; n%per != 0; {
			per /= 2
		}
	}
	return sched.Need{GPUs: per, GPUMilli: sched.Whole}, n / per
}

// uunifast returns n utilizations that add up to total, uniformly distributed over all such (Bini, Buttazzo, Measuring the performance
// of schedulability tests, Real-Time Systems 30, 2005). Sets with a utilization above 1 are thrown away and drawn anew (Davis, Burns,
// Priority assignment for global fixed priority pre-emptive scheduling in multiprocessor real-time systems, RTSS 2009); false after
// 10,000 of them.
func uunifast(r *rand.Rand, n int, total float64) ([]float64, bool) {
	u := make([]float64, n)
	for range 10_000 {
		sum, ok := total, true
		for i := range n - 1 {
			next := sum * math.Pow(open(r), 1/float64(n-1-i))
			u[i] = sum - next
			ok = ok && u[i] <= 1
			sum = next
		}
		u[n-1] = sum
		if ok && sum <= 1 {
			return u, true
		}
	}
	return nil, false
}
