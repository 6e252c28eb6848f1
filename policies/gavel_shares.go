package policies

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/lp"
	"github.com/schedlab/schedlab/policies/sched"
)

// gavelShares computes Gavel's allocations, and keeps the memory for that. Jobs of equal rates, size, weight and need are one group of the
// program, so that it grows with the kinds of jobs and not with their number.
type gavelShares struct {
	program lp.Program
	prefer  []int16
	slots   []int32   // the jobs, those of a group together
	starts  []int32   // of each group in slots, and the end
	need    []float64 // by slot of the policy: the throughput, relative to reference speed, at which the job's term of the objective is 1
	isolate []float64 // likewise: throughput with an equal share of the cluster
	key     []int64   // likewise: need on a grid
	grid    float64   // of needs and rates; 0 = exact
}

// most groups of a program: beyond it, jobs whose rates and needs are near each other are put together.
const mostGroups = 96

// allocate writes the shares of all jobs that a single type can hold.
func (g *gavelShares) allocate(p *Gavel, s *sched.State) {
	g.slots = g.slots[:0]
	gpus, asked := 0.0, 0.0
	for i := range p.jobs {
		if !p.jobs[i].wide {
			g.slots = append(g.slots, int32(i))
			asked += float64(p.jobs[i].size)
		}
	}
	clear(p.x)
	if len(g.slots) == 0 {
		return
	}
	for y := range p.types {
		gpus += float64(p.types[y].gpus)
	}
	for len(g.need) < len(p.jobs) {
		g.need, g.isolate, g.key = append(g.need, 0), append(g.isolate, 0), append(g.key, 0)
	}
	// An equal share is the same part of every type, and at most all of a job's time.
	equal := min(1/asked, 1/gpus)
	for _, i := range g.slots {
		g.isolate[i] = 0
		for y := range p.types {
			g.isolate[i] += float64(float64(p.types[y].gpus) * equal * float64(p.rate[int(i)*len(p.types)+y]) / micro)
		}
		g.isolate[i] = max(g.isolate[i], 1e-6)
	}
	switch {
	case p.Objective == "throughput":
		g.solve(p, s, false)
	case p.Objective == "makespan":
		for _, i := range g.slots {
			g.need[i] = max(s.Remaining(p.jobs[i].task), time.Second).Seconds()
		}
		g.solve(p, s, true)
	case p.Objective == "ftf":
		g.finishTimes(p, s)
	case p.Blind:
		g.level(p, s)
	default:
		for _, i := range g.slots {
			g.need[i] = g.isolate[i] / (float64(p.jobs[i].size) / sched.Whole) * p.weight(s, i)
		}
		g.solve(p, s, true)
	}
	if p.Blind {
		g.spread(p)
	}
	g.atLeastSome(p)
}

func (p *Gavel) weight(s *sched.State, i int32) float64 {
	if w := s.Class(p.jobs[i].task).Priority; p.Weights && w > 0 {
		return float64(w)
	}
	return 1
}

// level is max-min where all types are equally fast: shares in proportion to weight / GPUs, at most 1, that fill the cluster.
func (g *gavelShares) level(p *Gavel, s *sched.State) {
	left, weights := 0.0, 0.0
	for y := range p.types {
		left += float64(p.types[y].gpus)
	}
	for _, i := range g.slots {
		g.need[i] = p.weight(s, i) / float64(p.jobs[i].size)
		weights += p.weight(s, i)
	}
	// The largest needs reach 1 first.
	slices.SortFunc(g.slots, func(a, b int32) int {
		return cmp.Or(cmp.Compare(g.need[b], g.need[a]), cmp.Compare(p.jobs[a].task, p.jobs[b].task))
	})
	for _, i := range g.slots {
		share := min(1, left/max(weights, 1e-9)*g.need[i])
		left -= float64(share * float64(p.jobs[i].size))
		weights -= p.weight(s, i)
		p.x[int(i)*len(p.types)] = int64(math.Round(max(share, 0) * micro))
	}
}

// spread divides every job's time among the types that can hold it by their GPUs: who does not know of speeds has no reason to prefer one, where
// a program would end in a corner.
func (g *gavelShares) spread(p *Gavel) {
	k := len(p.types)
	for _, i := range g.slots {
		x, rate := p.x[int(i)*k:int(i+1)*k], p.rate[int(i)*k:int(i+1)*k]
		sum, gpus := int64(0), int64(0)
		for y := range k {
			sum += x[y]
			if rate[y] > 0 {
				gpus += p.types[y].gpus
			}
		}
		for y := range k {
			x[y] = 0
			if rate[y] > 0 && gpus > 0 {
				x[y] = int64(sched.MulDiv(time.Duration(sum), p.types[y].gpus, gpus, false))
			}
		}
	}
}

// atLeastSome gives a job whose shares are all rounded to 0 the least share of its fastest type, except under throughput, which may want it so.
func (g *gavelShares) atLeastSome(p *Gavel) {
	k := len(p.types)
	for _, i := range g.slots {
		x := p.x[int(i)*k : int(i+1)*k]
		if p.Objective != "throughput" && !slices.ContainsFunc(x, func(v int64) bool { return v > 0 }) {
			x[p.preference(i)[0]] = 1
		}
	}
}

// finishTimes is finish-time fairness: the largest rho, (time since it came + work left / throughput) / time in isolation with an equal share, is
// to be least. For a given rho that asks for a throughput of every job, and bisection finds the least rho for which the program has them all.
func (g *gavelShares) finishTimes(p *Gavel, s *sched.State) {
	since := func(i int32) float64 { return s.Now().Sub(s.FirstReady(p.jobs[i].task)).Seconds() }
	alone := func(i int32) float64 { return max(s.Estimate(p.jobs[i].task), time.Second).Seconds() / g.isolate[i] }
	low := 0.0
	for _, i := range g.slots {
		low = max(low, since(i)/alone(i))
	}
	feasible := func(rho float64) bool {
		for _, i := range g.slots {
			g.need[i] = max(s.Remaining(p.jobs[i].task), time.Second).Seconds() / max(float64(rho*alone(i))-since(i), 1)
		}
		return g.solve(p, s, true) >= 1
	}
	high, step := low, max(low, 1)/4
	for range 40 {
		if high += step; feasible(high) {
			break
		}
		low, step = high, step*2
	}
	for range 10 {
		if mid := (low + high) / 2; feasible(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	feasible(high)
}

// solve writes the shares that maximize the least throughput / need, or, if not leveled, the sum of throughputs relative to the best type, and among
// such shares those of the most throughput. It returns the least throughput / need.
func (g *gavelShares) solve(p *Gavel, s *sched.State, leveled bool) float64 {
	for g.grid = 0; ; g.grid = max(4*g.grid, 0.01) {
		if g.group(p, s, leveled); len(g.starts)-1 <= mostGroups || g.grid > 100 {
			break
		}
	}
	k, groups := len(p.types), len(g.starts)-1
	most, level := 0.0, groups*k
	for _, i := range g.slots {
		most = max(most, g.need[i])
	}
	// Rows: the type's GPUs; each group's time; its need, in units of the largest.
	lp := &g.program
	objectives := 1
	if leveled {
		objectives = 2
	}
	lp.Reset(groups*k+1, k+2*groups, objectives)
	for y := range k {
		lp.Bound(y, 1)
	}
	if leveled {
		lp.Objective(0)[level] = 1
	}
	total := float64(len(g.slots))
	for n := range groups {
		from, to := g.starts[n], g.starts[n+1]
		i := g.slots[from]
		count := float64(to - from)
		best := float64(slices.Max(p.rate[int(i)*k:int(i+1)*k])) / micro
		lp.Bound(k+n, 1)
		for y := range k {
			rate, at := float64(p.rate[int(i)*k+y])/micro, n*k+y
			lp.Row(k + n)[at] = 1
			if p.types[y].gpus > 0 {
				lp.Row(y)[at] = count * float64(p.jobs[i].size) / float64(p.types[y].gpus)
			}
			lp.Objective(objectives - 1)[at] = count * rate / best / total
			if leveled {
				lp.Row(k + groups + n)[at] = -rate / best
			}
		}
		if leveled {
			lp.Row(k + groups + n)[level] = g.need[i] / most / best
		} else {
			lp.Row(k + groups + n)[level] = 1 // bounded, and in nobody's interest
		}
	}
	x, _ := lp.Solve()
	for n := range groups {
		for _, i := range g.slots[g.starts[n]:g.starts[n+1]] {
			for y := range k {
				p.x[int(i)*k+y] = min(int64(math.Round(x[n*k+y]*micro)), micro)
			}
		}
	}
	return x[level] / most
}

// group sorts the jobs so that those of a group stand together.
func (g *gavelShares) group(p *Gavel, s *sched.State, leveled bool) {
	k := len(p.types)
	coarse := func(rate int64) int64 {
		if g.grid == 0 || rate == 0 {
			return rate
		}
		return 1 + int64(math.Round(math.Log(float64(rate))/math.Log1p(g.grid)))
	}
	for _, i := range g.slots {
		g.key[i] = 0
		if leveled {
			g.key[i] = int64(math.Round(math.Log(g.need[i]) / math.Log1p(max(g.grid, 1e-6))))
		}
	}
	same := func(a, b int32) int {
		c := cmp.Or(cmp.Compare(p.jobs[a].size, p.jobs[b].size), cmp.Compare(g.key[a], g.key[b]))
		for y := 0; y < k && c == 0; y++ {
			c = cmp.Compare(coarse(p.rate[int(a)*k+y]), coarse(p.rate[int(b)*k+y]))
		}
		return c
	}
	slices.SortFunc(g.slots, func(a, b int32) int { return cmp.Or(same(a, b), cmp.Compare(p.jobs[a].task, p.jobs[b].task)) })
	g.starts = g.starts[:0]
	for n, i := range g.slots {
		if n == 0 || same(g.slots[n-1], i) != 0 {
			g.starts = append(g.starts, int32(n))
		}
	}
	g.starts = append(g.starts, int32(len(g.slots)))
}
