package policies

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Gittins runs first whose Gittins index is largest: of all ways to go on with a task for a while, the best chance of its end for the service that it
// takes, by the distribution of the service that tasks need and what the task has attained. It is Attained with the inverse of the index as the rank,
// the expected service for one end, so it minimises the mean response time of a single server that knows no more (Gittins 1989; Aalto, Ayesta & Righter 2009).
//
// The index is worked out at steps of attained service, at which a task may be stopped too: cells that hold equal parts of the samples and of their
// service together. Who has attained more than every sample comes last.
//
// Make one with NewGittins.
type Gittins struct {
	Attained
	Cells int
	Learn bool // the samples are the service of the tasks that have finished, not those that were given

	steps   serviceSteps
	ranks   []int64 // by cell, ns of service for one end
	bounds  []cellBound
	rising  []ascent       // where ranks rise
	samples []int64        // sorted
	done    []sched.TaskID // finished tasks, by their end
	lastEnd sched.Time     // of them
	before  int            // of them have ended before that
	used    int            // of them the ranks were made of
	told    bool           // done has to be sorted: a restored kernel tells of them by number
}

// ascent is a cell with a larger rank than the one before, and both ranks.
type ascent struct {
	low, high int64
	n         int
}

// cellBound is where a cell begins, and the number and the sum of the samples up to it.
type cellBound struct{ at, count, sum float64 }

// NewGittins returns the policy for samples of service, in ns x GPU; without samples it learns.
func NewGittins(samples []int64, cells int) *Gittins {
	p := &Gittins{Cells: cells, Learn: len(samples) == 0}
	p.Level = func(s *sched.State, t sched.TaskID, attained time.Duration) (int64, time.Duration, time.Duration) {
		if len(p.ranks) == 0 {
			return 0, 0, math.MaxInt64
		}
		n, from, until := p.steps.of(s, t, attained)
		return p.ranks[n], from, until
	}
	p.climb = &climbing{limits: p.limits, rises: p.rises}
	if !p.Learn {
		p.make(slices.Sorted(slices.Values(samples)))
	}
	return p
}

// limits returns between which times held a task is in a cell.
func (p *Gittins) limits(s *sched.State, t sched.TaskID, n int) (from, until time.Duration) {
	times := p.steps.times(s, t)
	until = math.MaxInt64
	if n > 0 {
		from = times[n-1]
	}
	if n < len(times) {
		until = times[n]
	}
	return from, until
}

// rises appends the times held at which tasks like t come from a rank of at most key to a larger one.
func (p *Gittins) rises(s *sched.State, t sched.TaskID, key int64, buf []time.Duration) []time.Duration {
	for i := range p.rising {
		if a := &p.rising[i]; a.low <= key && key < a.high {
			from, _ := p.limits(s, t, a.n)
			buf = append(buf, from)
		}
	}
	return buf
}

// fewest finished tasks are waited for before anything is learned from them.
const fewest = 8

// Observe notes finished tasks.
func (p *Gittins) Observe(s *sched.State, e sched.Event) {
	if p.Learn {
		switch e.Kind {
		case sched.Finished:
			if now := s.Now(); now != p.lastEnd || len(p.done) == 0 {
				p.lastEnd, p.before = now, len(p.done)
			}
			p.done = append(roomForAll(s, p.done), e.Task)
			for i := len(p.done) - 1; i > p.before && p.done[i-1] > p.done[i]; i-- {
				p.done[i-1], p.done[i] = p.done[i], p.done[i-1]
			}
		case sched.JobArrived:
			for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
				if s.Phase(t) == sched.Done { // before the kernel was restored
					p.done, p.told = append(p.done, t), true
				}
			}
		}
	}
	p.observe(s, &e)
}

// Decide learns from what has finished before now, and decides.
func (p *Gittins) Decide(r *sched.Round) {
	if p.Learn && p.learn(r.State) {
		p.relevel(r.State)
	}
	p.Attained.Decide(r)
}

// learn makes the ranks anew once twice as many tasks have finished before now as they were made of: always of the first of the power of two, so that
// they follow from the present alone.
func (p *Gittins) learn(s *sched.State) bool {
	if p.told {
		end := func(t sched.TaskID) sched.Time { return s.Outcome(t).End }
		slices.SortFunc(p.done, func(a, b sched.TaskID) int { return cmp.Or(cmp.Compare(end(a), end(b)), cmp.Compare(a, b)) })
		p.told, p.lastEnd = false, end(p.done[len(p.done)-1])
		p.before = slices.IndexFunc(p.done, func(t sched.TaskID) bool { return end(t) == p.lastEnd })
	}
	past := len(p.done)
	if p.lastEnd >= s.Now() {
		past = p.before
	}
	if past < max(2*p.used, fewest) {
		return false
	}
	had := p.used
	for p.used = max(p.used, fewest); 2*p.used <= past; {
		p.used *= 2
	}
	if cap(p.samples) < p.used { // made once, for as many as there can be, a power of two
		most := 1 << (bits.Len(uint(max(len(s.Table().Tasks), p.used))) - 1)
		p.samples = slices.Grow(p.samples, most-len(p.samples))
	}
	for _, t := range p.done[had:p.used] {
		p.samples = append(p.samples, int64(sched.MulDiv(s.Attained(t), width(s.Demand(t)), 1000, false)))
	}
	slices.Sort(p.samples)
	p.make(p.samples)
	return true
}

// make works out the cells and their ranks of samples, which must be sorted.
func (p *Gittins) make(samples []int64) {
	all := 0.0
	for _, x := range samples {
		all += float64(x)
	}
	bounds := append(p.bounds[:0], cellBound{})
	p.steps.reset()
	part, count, sum := 0.0, 0.0, 0.0
	for i, x := range samples {
		count++
		sum += float64(x)
		part = count/float64(len(samples)) + sum/max(all, 1)
		if last := i == len(samples)-1; !last && (samples[i+1] == x || part*float64(p.Cells) < float64(2*len(bounds))) || x <= 0 {
			continue
		}
		bounds = append(bounds, cellBound{float64(x), count, sum})
		p.steps.limits = append(p.steps.limits, time.Duration(x))
	}
	p.bounds, p.ranks = bounds, p.ranks[:0]
	for i, b := range bounds {
		best := float64(never / 2) // beyond all samples
		for _, to := range bounds[i+1:] {
			if ends := to.count - b.count; ends > 0 {
				rest := float64(len(samples)) - to.count
				spent := to.sum - b.sum - float64(ends*b.at) + float64(rest*(to.at-b.at))
				best = min(best, spent/ends)
			}
		}
		p.ranks = append(p.ranks, int64(math.Round(best)))
	}
	p.ranked()
}

// ranked takes in that the ranks have changed.
func (p *Gittins) ranked() {
	p.rising = p.rising[:0]
	for n := 1; n < len(p.ranks); n++ {
		if p.ranks[n-1] < p.ranks[n] {
			p.rising = append(p.rising, ascent{p.ranks[n-1], p.ranks[n], n})
		}
	}
	p.climb.sortCells(p.ranks)
}

// laws are the distributions that can be named, with the number of their parameters: each returns the quantile of u.
var laws = map[string]struct {
	params int
	about  string
	at     func(p []float64, u float64) float64
}{
	"exp":       {1, "exp:MEAN", func(p []float64, u float64) float64 { return -p[0] * math.Log1p(-u) }},
	"pareto":    {2, "pareto:MIN/ALPHA", func(p []float64, u float64) float64 { return p[0] * math.Pow(1-u, -1/p[1]) }},
	"lognormal": {2, "lognormal:MEDIAN/SIGMA", func(p []float64, u float64) float64 { return p[0] * math.Exp(p[1]*math.Sqrt2*math.Erfinv(2*u-1)) }},
	"h2":        {2, "h2:MEAN/SCV", hyperexponential},
}

// hyperexponential returns the quantile of two exponential phases with balanced means, of that mean and squared coefficient of variation.
func hyperexponential(p []float64, u float64) float64 {
	c := max(p[1], 1)
	q := (1 + math.Sqrt((c-1)/(c+1))) / 2
	a, b := 2*q/p[0], 2*(1-q)/p[0]
	low, high := 0.0, -math.Log1p(-u)/b
	for range 100 {
		mid := (low + high) / 2
		if q*math.Exp(-a*mid)+(1-q)*math.Exp(-b*mid) > 1-u {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// parseLaw reads name:a/b; ok is false where the text names no law.
func parseLaw(text string) (at func(u float64) float64, ok bool, err error) {
	name, rest, _ := strings.Cut(text, ":")
	law, known := laws[name]
	if !known {
		return nil, false, nil
	}
	var params []float64
	for _, s := range strings.Split(rest, "/") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0 && f <= 1e9) {
			return nil, true, fmt.Errorf("must read %s with positive numbers", law.about)
		}
		params = append(params, f)
	}
	if len(params) != law.params {
		return nil, true, fmt.Errorf("must read %s", law.about)
	}
	return func(u float64) float64 { return law.at(params, u) }, true, nil
}

// serviceSamples returns samples of service in ns x GPU: quantiles of a law, or the lines of a file in GPU-seconds, of which the first may be a heading.
func serviceSamples(text string) ([]int64, error) {
	at, ok, err := parseLaw(text)
	if err != nil {
		return nil, err
	}
	toNs := func(seconds float64) int64 { return int64(math.Round(min(seconds*1e9, math.MaxInt64/4))) }
	if ok {
		const n = 1 << 14
		out := make([]int64, n)
		for i := range out {
			out[i] = toNs(at((float64(i) + 0.5) / n))
		}
		return out, nil
	}
	f, err := os.Open(text)
	if err != nil {
		return nil, fmt.Errorf("%w (it is a file, or one of exp:, pareto:, lognormal: and h2:)", err)
	}
	defer f.Close()
	var out []int64
	in := bufio.NewScanner(f)
	for line := 1; in.Scan(); line++ {
		word := strings.TrimSpace(in.Text())
		v, err := strconv.ParseFloat(word, 64)
		switch {
		case word == "" || err != nil && line == 1:
		case err != nil || !(v >= 0 && v <= 1e9):
			return nil, fmt.Errorf("%s:%d: %q is not a number of GPU-seconds", text, line, word)
		default:
			out = append(out, toNs(v))
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no samples", text)
	}
	return out, nil
}

var gittinsEntry = Entry{
	Name: "gittins", Summary: "Gittins index of the attained GPU-time, by a distribution, preemptive.", Placed: true, Starves: true,
	About: "The task with the best chance to end for the GPU-time that takes (cores x time without GPUs) first, by what it has attained and how much tasks need; no " +
		"estimate is looked at. The distribution is that of the tasks that have finished, learned anew whenever their number has doubled: until 8 have, and among equals, " +
		"submission decides, and tasks longer than any of them come last. A running task is stopped only for one of a better index: falling hazard makes this least attained service, " +
		"rising hazard FIFO. Tasks that still run are not counted, so what is learned early is too short. Long tasks may starve.",
	Source: "Gittins 1989; Aalto, Ayesta & Righter, Queueing Systems 2009; 2D-Gittins of Tiresias: Gu et al., NSDI 2019, section 3.2 (there only within queues).",
	Params: []Param{
		{
			Name: "distribution", Default: auto, Example: "lognormal:600/2", About: "service of tasks in GPU-seconds: exp:MEAN, pareto:MIN/ALPHA, lognormal:MEDIAN/SIGMA, h2:MEAN/SCV, " +
				"a file with one a line, or auto, which learns it",
			Form: func(v string) error { _, _, err := parseLaw(v); return err },
			File: func(v string) bool { _, law, _ := parseLaw(v); return !law && v != auto },
		},
		{Name: "cells", Default: "100", Example: "50", About: "steps of attained service at which the index is worked out, from 1 to 10000", Form: counting(10_000)},
	},
	New: func(a Args) (sched.Policy, error) {
		var samples []int64
		if text := a.Text("distribution"); text != auto {
			var err error
			if samples, err = serviceSamples(text); err != nil {
				return nil, fmt.Errorf("gittins: distribution: %w", err)
			}
		}
		p := NewGittins(samples, int(a.Float("cells")))
		p.Place = a.Place
		return p, nil
	},
}
