package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/schedlab/schedlab/benchmarks/stats"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

var queueingParts = []part{
	{group: "queueing", name: "M/M/c", source: "references/queueing/mmc.csv", run: mmc},
	{group: "queueing", name: "M/G/1", source: "references/queueing/mg1.csv", run: mg1},
}

// size says how long a queue is watched, decided before any result is seen.
type size struct {
	reps, jobs int
	level      float64 // of the interval of a mean
	rel        float64 // 0: the reference's own
	tail       float64 // level for shares and the standard deviation
}

// sizeOf follows the references' rule: at least 20 replications of at least 1e6 jobs, of which the first 5 % by arrival do not count. Near
// saturation waits are so correlated that 40 are taken.
func (b *bench) sizeOf(rho float64) size {
	if b.opt.Short {
		return size{reps: 20, jobs: 50_000, level: 0.999, rel: 0.05, tail: 0.999}
	}
	s := size{reps: 20, jobs: 1_000_000, level: 0.95, tail: 0.99}
	if rho > 0.92 {
		s.reps = 40
	}
	return s
}

const warmUp = 0.05

// law is a distribution of service times of mean 1.
type law uint8

const (
	exponential law = iota
	h2              // two phases, balanced means, squared coefficient of variation 4
)

// draw returns a service time. The parameters of h2: with p the mean is m1, else m2, and p m1 = (1-p) m2 = 1/2.
func (l law) draw(rng *rand.Rand) float64 {
	x := rng.ExpFloat64()
	if l == h2 {
		const p = 0.88729833462074168852 // (1 + sqrt(3/5)) / 2
		if rng.Float64() < p {
			return x / (2 * p)
		}
		return x / (2 * (1 - p))
	}
	return x
}

// queue is one system: Poisson arrivals at rho x servers a second, service of mean 1 s.
type queue struct {
	law     law
	servers int
	rho     float64
	policy  string
}

// watched is what one replication saw of the jobs that count.
type watched struct {
	wait, response, sd float64   // means, and the standard deviation of the wait, s
	above              []float64 // share of the jobs that waited longer than each level asked for
}

// queues keeps results of systems that two references look at, and the workers' buffers.
type queues struct {
	seen    map[queue][]watched
	workers []*queueWorker
}

func newQueues(workers int) *queues {
	q := &queues{seen: map[queue][]watched{}}
	for range workers {
		q.workers = append(q.workers, &queueWorker{})
	}
	return q
}

// queueWorker makes and watches replications in buffers of its own.
type queueWorker struct {
	table sched.Table
	run   []time.Duration
}

// of returns the replications of a system. Each has its own stream of random numbers, given by the system and its number alone.
func (q *queues) of(ctx context.Context, sys queue, s size, levels ...float64) ([]watched, error) {
	if have, ok := q.seen[sys]; ok && (len(levels) == 0 || have[0].above != nil) {
		return have, nil
	}
	out := make([]watched, s.reps)
	fails := make([]error, len(q.workers))
	var wg sync.WaitGroup
	for i, w := range q.workers {
		wg.Go(func() {
			for rep := i; rep < s.reps && fails[i] == nil; rep += len(q.workers) {
				out[rep], fails[i] = w.watch(ctx, sys, s.jobs, rep, levels)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(fails...); err != nil {
		return nil, err
	}
	q.seen[sys] = out
	return out, nil
}

// watch makes and simulates one replication.
func (w *queueWorker) watch(ctx context.Context, sys queue, jobs, rep int, levels []float64) (watched, error) {
	tb := &w.table
	if len(tb.Tasks) != jobs {
		*tb = sched.Table{
			Tasks: make([]sched.Task, jobs), Classes: []sched.Class{{}}, Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}},
			Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(jobs),
		}
		w.run = make([]time.Duration, jobs)
		tb.Estimates = w.run
	}
	// Policies see the same jobs. The seed is a hash, since generators of similar seeds need not be independent.
	rng := rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "law %d, %d servers, load %g, replication %d", sys.law, sys.servers, sys.rho, rep))))
	rate, at := sys.rho*float64(sys.servers), 0.0
	for i := range w.run {
		at += rng.ExpFloat64() / rate
		tb.Tasks[i] = sched.Task{Submit: sched.Time(math.Round(at * 1e9)), Deadline: sched.Never, Job: sched.JobID(i)}
		w.run[i] = time.Duration(math.Round(sys.law.draw(rng) * 1e9))
	}
	spec, err := policies.Parse(sys.policy)
	if err != nil {
		return watched{}, err
	}
	policy, err := policies.Build(spec, policies.Hints{})
	if err != nil {
		return watched{}, err
	}
	nodes, err := cluster.Parse(fmt.Sprintf("pool:%dcpu", sys.servers))
	if err != nil {
		return watched{}, err
	}
	res, err := sim.Run(ctx, sim.Config{Workload: &traces.Workload{Table: tb, Run: w.run, Source: "queue"}, Nodes: nodes, Policy: policy})
	if err != nil {
		return watched{}, err
	}
	if res.Unfinished > 0 {
		return watched{}, fmt.Errorf("%d jobs never ended", res.Unfinished)
	}
	var sum, squares, response float64
	beyond := make([]int, len(levels))
	from := int(warmUp * float64(jobs))
	for t := from; t < jobs; t++ {
		o := res.Outcome(sched.TaskID(t))
		wait := o.Wait().Seconds()
		sum += wait
		squares += wait * wait
		response += o.End.Sub(tb.Tasks[t].Submit).Seconds()
		for i, l := range levels {
			if wait > l {
				beyond[i]++
			}
		}
	}
	n := float64(jobs - from)
	out := watched{wait: sum / n, response: response / n, sd: math.Sqrt(max(squares/n-sum/n*sum/n, 0))}
	for _, c := range beyond {
		out.above = append(out.above, float64(c)/n)
	}
	return out, nil
}

// lastDigit is the rounding of the references' six decimals, and a bit.
const lastDigit = 1e-6

// widest is the half width of an interval, relative to the value, beyond which it says too little to agree.
const widest = 0.25

// judge compares the replications' mean with the reference: the interval at the level covers it, or the mean is within rel of it.
func (b *bench) judge(name string, want float64, reps []watched, value func(*watched) float64, s size, level, rel float64) {
	if s.rel > 0 {
		rel = s.rel
	}
	x := make([]float64, len(reps))
	for i := range reps {
		x[i] = value(&reps[i])
	}
	iv := stats.T(x, level)
	half := iv.High - iv.Mean
	off := abs(iv.Mean - want)
	covers := off <= half && half <= widest*want
	got := fmt.Sprintf("%.6g ± %.2g", iv.Mean, half)
	if want > 0 {
		got += fmt.Sprintf(" (%+.2f %%)", 100*(iv.Mean-want)/want)
	}
	b.add(Check{
		Name: name, Expected: num(want), Got: got, OK: covers || off < rel*want || off <= lastDigit,
		Tolerance: fmt.Sprintf("%g %% CI of %d x %s jobs, at most ±%g %% wide, or %g %%",
			100*level, len(reps), strings.ReplaceAll(strconv.FormatFloat(float64(s.jobs), 'e', -1, 64), "e+0", "e"), 100*widest, 100*rel),
	})
}

func meanWait(w *watched) float64     { return w.wait }
func meanResponse(w *watched) float64 { return w.response }
func sdWait(w *watched) float64       { return w.sd }

// Relative tolerances: of the references for means; for P95 and P99 ours, and wider, of the share of the jobs beyond them.
const (
	relMean  = 0.01
	relPK    = 0.03 // waits in M/G/1 with a squared coefficient of variation of 4
	relShare = 0.01
	relSD    = 0.03
	relP95   = 0.05
	relP99   = 0.10
)

// mmc holds M/M/c under fifo against Erlang's formulas: the mean wait, the share of jobs that wait (Erlang C) and the shares that wait longer
// than the reference's P95 and P99, which must be 5 % and 1 %. Shares are unbiased, where a quantile of a replication is not.
func mmc(b *bench) error {
	rows, err := b.rows(b.source)
	if err != nil {
		return err
	}
	for _, r := range rows {
		c, rho := int(r.number("c")), r.number("rho")
		wait, share, p95, p99 := r.number("Wq"), r.number("ErlangC"), r.number("P95_Wq"), r.number("P99_Wq")
		if err := bad(rows); err != nil {
			return err
		}
		if b.opt.Short && (rho > 0.75 || c == 2 || c > 8) {
			continue
		}
		name := fmt.Sprintf("M/M/%d, load %g, fifo: ", c, rho)
		b.say(name)
		s := b.sizeOf(rho)
		reps, err := b.queues.of(b.ctx, queue{exponential, c, rho, "fifo"}, s, 0, p95, p99)
		if err != nil {
			return err
		}
		b.judge(name+"mean wait, s", wait, reps, meanWait, s, s.level, relMean)
		b.judge(name+"share that waits", share, reps, func(w *watched) float64 { return w.above[0] }, s, s.tail, relShare)
		if p95 > 0 {
			b.judge(fmt.Sprintf("%sshare beyond the P95 of %g s", name, p95), 0.05, reps, func(w *watched) float64 { return w.above[1] }, s, s.tail, relP95)
		}
		if p99 > 0 && !b.opt.Short { // too rare for a short run
			b.judge(fmt.Sprintf("%sshare beyond the P99 of %g s", name, p99), 0.01, reps, func(w *watched) float64 { return w.above[2] }, s, s.tail, relP99)
		}
	}
	return nil
}

// mg1 holds a single server under fifo, sjf and srtf, told the true run times, against Pollaczek-Khinchine, Phipps and Schrage & Miller.
func mg1(b *bench) error {
	rows, err := b.rows(b.source)
	if err != nil {
		return err
	}
	for _, r := range rows {
		kind, title, pk := exponential, "M/M/1", relMean
		switch dist := r.text("dist"); dist {
		case "exp(mean1)":
		case "H2 balanced means, mean 1, C2=4":
			kind, title, pk = h2, "M/H2/1", relPK
		default:
			return fmt.Errorf("%s:%d: unknown distribution %q", r.file, r.line, dist)
		}
		rho := r.number("rho")
		wait, response, sd := r.number("FIFO_EW"), r.number("FIFO_ET"), r.number("FIFO_sdW")
		sjf, srpt := r.number("SJF_nonpre_ET"), r.number("SRPT_ET")
		if err := bad(rows); err != nil {
			return err
		}
		if b.opt.Short && rho > 0.6 {
			continue
		}
		s := b.sizeOf(rho)
		name := fmt.Sprintf("%s, load %g, ", title, rho)
		var reps [3][]watched
		for i, policy := range []string{"fifo", "sjf", "srtf"} {
			b.say(name + policy)
			if reps[i], err = b.queues.of(b.ctx, queue{kind, 1, rho, policy}, s); err != nil {
				return err
			}
			switch i {
			case 0:
				b.judge(name+"fifo: mean wait, s", wait, reps[0], meanWait, s, s.level, pk)
				b.judge(name+"fifo: mean response, s", response, reps[0], meanResponse, s, s.level, pk)
				b.judge(name+"fifo: standard deviation of the wait, s", sd, reps[0], sdWait, s, s.tail, relSD)
			case 1:
				b.judge(name+"sjf: mean response, s", sjf, reps[1], meanResponse, s, s.level, relMean)
			case 2:
				b.judge(name+"srtf: mean response, s", srpt, reps[2], meanResponse, s, s.level, relMean)
			}
		}
	}
	return nil
}
