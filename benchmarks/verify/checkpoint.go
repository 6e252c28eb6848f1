package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

var checkpointParts = []part{
	{group: "checkpoint", name: "expected time with failures and checkpoints", source: "references/checkpoint/expected_makespan.csv", run: expectedMakespan},
	{group: "checkpoint", name: "the best interval", source: "references/checkpoint/expected_makespan.csv", run: bestInterval},
}

// saved is one task on one node that fails at random once in mtbf, is down for down, and restores for restart.
type saved struct{ cost, restart, down, mtbf, work time.Duration }

func (r row) saved() saved {
	return saved{
		time.Duration(r.seconds("C_s")), time.Duration(r.seconds("R_s")), time.Duration(r.seconds("D_s")),
		time.Duration(r.seconds("MTBF_s")), time.Duration(r.seconds("work_s")),
	}
}

// replicate runs the task so often with n equal segments and returns the makespans (s) and the failures of each. In the reference a checkpoint
// follows the last segment as well; the simulator takes none where nothing is left to do, so the task has one nanosecond more to do behind it.
func (b *bench) replicate(c saved, n, runs int, seed uint64) (makespans, failures []float64, err error) {
	build := traces.NewBuilder("one task", "made")
	segment := c.work / time.Duration(n)
	run := time.Duration(n)*segment + 1
	if err := build.Add(&traces.Row{Run: run, Estimate: run, Need: sched.Need{CPU: 1000}}); err != nil {
		return nil, nil, err
	}
	w, err := build.Build()
	if err != nil {
		return nil, nil, err
	}
	nodes := []sched.NodeSpec{{Name: "n", CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}
	makespans, failures = make([]float64, runs), make([]float64, runs)
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range b.opt.Workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= runs {
					return
				}
				res, err := sim.Run(ctx, sim.Config{
					Workload: w, Nodes: nodes, Policy: &policies.List{}, Seed: seed + uint64(i),
					Failures:   &sim.Failures{MTBF: c.mtbf, Repair: c.down},
					Checkpoint: &sim.Checkpoint{Every: sim.Interval(segment.String()), Cost: c.cost, Restart: c.restart},
				})
				if err == nil && res.Unfinished > 0 {
					err = errors.New("the task was not finished")
				}
				if err != nil {
					cancel(err)
					return
				}
				makespans[i], failures[i] = res.Last.Sub(res.First).Seconds(), float64(res.Restarts)
			}
		})
	}
	wg.Wait()
	return makespans, failures, context.Cause(ctx)
}

// within makes the check that a mean agrees with a reference within three standard errors.
func (b *bench) within(name string, want float64, got []float64) {
	mean, sd := stat.MeanStdDev(got, nil)
	se := sd / math.Sqrt(float64(len(got)))
	b.add(Check{
		Name: name, Expected: num(want), Got: fmt.Sprintf("%.8g (%+.2f standard errors, %d runs)", mean, (mean-want)/se, len(got)),
		Tolerance: "3 standard errors", OK: abs(mean-want) <= 3*se,
	})
}

// expectedMakespan compares the mean time that a task takes which saves its work, and how often it fails, with the expectation n e^(R/M) (M+D)
// (e^((W+C)/M) - 1) of the reference, and the intervals of Young and Daly with its columns.
func expectedMakespan(b *bench) error {
	rs, err := b.rows("references/checkpoint/expected_makespan.csv")
	if err != nil {
		return err
	}
	runs := 20_000
	if b.opt.Short {
		runs = 2_000
	}
	var intervals tally
	for i, r := range rs {
		c, n := r.saved(), int(r.number("n_segments"))
		makespans, failures, err := b.replicate(c, n, runs, uint64(i)<<32)
		if err := errors.Join(bad(rs), err); err != nil {
			return err
		}
		what := fmt.Sprintf("C %v, MTBF %v, %d segments", c.cost, c.mtbf, n)
		b.within("mean makespan, "+what, r.number("expected_makespan_s"), makespans)
		b.within("mean failures, "+what, r.number("expected_failures"), failures)
		young, daly := sched.YoungInterval(c.cost, c.mtbf).Seconds(), sched.CheckpointInterval(c.cost, c.mtbf).Seconds()
		intervals.see(abs(young-r.number("young_s")) <= 0.001, "Young's is %v, not %v", young, r.number("young_s"))
		intervals.see(abs(daly-r.number("daly_s")) <= 0.001, "Daly's is %v, not %v", daly, r.number("daly_s"))
	}
	b.exact("intervals of Young and Daly, to 1 ms", "intervals", &intervals)
	return bad(rs)
}

// bestInterval sweeps the interval, fits the mean makespan by a polynomial in its logarithm, and compares the place of the minimum with the exact optimum of
// the reference and with what the formulas of Daly and Young say. Young's leaves out terms of the order of sqrt(C/2M), so it is held to the 2 % only where C is
// below a thousandth of the MTBF; elsewhere only the time that it costs is.
func bestInterval(b *bench) error {
	rs, err := b.rows("references/checkpoint/expected_makespan.csv")
	if err != nil {
		return err
	}
	runs := 1_500
	if b.opt.Short {
		runs = 300
	}
	seen := map[saved]bool{}
	for i, r := range rs {
		c := r.saved()
		if seen[c] {
			continue
		}
		seen[c] = true
		exact := r.number("exact_opt_s")
		var at, mean, weight []float64
		for k := -8; k <= 8; k++ {
			n := int(math.Round(c.work.Seconds() / (exact * math.Pow(2.5, float64(k)/8))))
			makespans, _, err := b.replicate(c, n, runs, uint64(i)<<32|uint64(k+8)<<20)
			if err := errors.Join(bad(rs), err); err != nil {
				return err
			}
			m, sd := stat.MeanStdDev(makespans, nil)
			at, mean, weight = append(at, math.Log(c.work.Seconds()/float64(n)/exact)), append(mean, m/c.work.Seconds()), append(weight, c.work.Seconds()/sd)
		}
		found, least, err := minimum(at, mean, weight)
		if err != nil {
			return err
		}
		got := exact * math.Exp(found.at)
		what := fmt.Sprintf("C %v, MTBF %v", c.cost, c.mtbf)
		b.near("interval at the minimum of a sweep, "+what+": the exact optimum", exact, got, 0.02)
		b.near("the same: Daly's interval", sched.CheckpointInterval(c.cost, c.mtbf).Seconds(), got, 0.02)
		young := sched.YoungInterval(c.cost, c.mtbf).Seconds()
		if c.cost < c.mtbf/1000 {
			b.near("the same: Young's interval", young, got, 0.02)
		}
		b.near("the same: makespan at Young's interval against the least", least, found.value(math.Log(young/exact)), 0.02)
	}
	return bad(rs)
}

// polynomial is a polynomial and the place of its minimum.
type polynomial struct {
	by []float64
	at float64
}

func (c polynomial) value(x float64) float64 {
	y := 0.0
	for _, a := range slices.Backward(c.by) {
		y = y*x + a
	}
	return y
}

// minimum fits a polynomial of the fourth degree by weighted least squares and finds its least value among the points' range.
func minimum(x, y, weight []float64) (c polynomial, least float64, err error) {
	const degree = 4
	a, v := mat.NewDense(len(x), degree+1, nil), mat.NewVecDense(len(x), nil)
	for i := range x {
		for j := range degree + 1 {
			a.Set(i, j, weight[i]*math.Pow(x[i], float64(j)))
		}
		v.SetVec(i, weight[i]*y[i])
	}
	var by mat.VecDense
	if err := by.SolveVec(a, v); err != nil {
		return c, 0, err
	}
	c.by, least = by.RawVector().Data, math.Inf(1)
	for t := slices.Min(x); t <= slices.Max(x); t += 1e-4 {
		if f := c.value(t); f < least {
			least, c.at = f, t
		}
	}
	return c, least, nil
}
