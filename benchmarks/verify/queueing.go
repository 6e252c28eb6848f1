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
	{group: "queueing", name: "the recursion of Kiefer and Wolfowitz", source: "Kiefer & Wolfowitz, Trans. AMS 78, 1955", run: recursion},
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
	seen    map[sampled][]watched
	workers []*queueWorker
}

func newQueues(workers int) *queues {
	q := &queues{seen: map[sampled][]watched{}}
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

// sampled names a sample of a system: the first, or the one that decides where the first disagrees.
type sampled struct {
	queue
	second bool
}

// of returns the replications of a system. Each has its own stream of random numbers, given by the system and its number alone; those of
// the second sample are numbered on from the first's, and four times as many.
func (q *queues) of(ctx context.Context, sys sampled, s size, levels []float64) ([]watched, error) {
	if have, ok := q.seen[sys]; ok && len(have[0].above) >= len(levels) {
		return have, nil
	}
	first, count := 0, s.reps
	if sys.second {
		first, count = s.reps, 4*s.reps
	}
	out := make([]watched, count)
	fails := make([]error, len(q.workers))
	var wg sync.WaitGroup
	for i, w := range q.workers {
		wg.Go(func() {
			for k := i; k < count && fails[i] == nil; k += len(q.workers) {
				out[k], fails[i] = w.watch(ctx, sys.queue, s.jobs, first+k, levels)
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

// draw makes the jobs of one replication.
func (w *queueWorker) draw(sys queue, jobs, rep int) {
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
}

// simulate makes and simulates one replication.
func (w *queueWorker) simulate(ctx context.Context, sys queue, jobs, rep int) (*sim.Result, error) {
	w.draw(sys, jobs, rep)
	spec, err := policies.Parse(sys.policy)
	if err != nil {
		return nil, err
	}
	policy, err := policies.Build(spec, policies.Hints{})
	if err != nil {
		return nil, err
	}
	nodes, err := cluster.Parse(fmt.Sprintf("pool:%dcpu", sys.servers))
	if err != nil {
		return nil, err
	}
	res, err := sim.Run(ctx, sim.Config{Workload: &traces.Workload{Table: &w.table, Run: w.run, Source: "queue"}, Nodes: nodes, Policy: policy})
	if err != nil {
		return nil, err
	}
	if res.Unfinished > 0 {
		return nil, fmt.Errorf("%d jobs never ended", res.Unfinished)
	}
	return res, nil
}

// watch makes, simulates and watches one replication.
func (w *queueWorker) watch(ctx context.Context, sys queue, jobs, rep int, levels []float64) (watched, error) {
	res, err := w.simulate(ctx, sys, jobs, rep)
	if err != nil {
		return watched{}, err
	}
	tb := &w.table
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

// looked is a system and what is looked at in it.
type looked struct {
	queue
	name   string
	size   size
	levels []float64
}

// judge compares the replications' mean with the reference: the interval at the level covers it, or the mean is within rel of it. An
// interval misses the truth now and then, one in twenty at 95 %. So where a sample disagrees, a second one, of new
// random numbers and four times the replications, is judged by the same rule and decides; the check says so. A policy that is wrong by
// more than rel fails both.
func (b *bench) judge(l looked, what string, want float64, value func(*watched) float64, level, rel float64) error {
	if l.size.rel > 0 {
		rel = l.size.rel
	}
	first := ""
	for _, second := range []bool{false, true} {
		if second {
			b.say(l.name + ", second sample")
		} else {
			b.say(l.name)
		}
		reps, err := b.queues.of(b.ctx, sampled{l.queue, second}, l.size, l.levels)
		if err != nil {
			return err
		}
		x := make([]float64, len(reps))
		for i := range reps {
			x[i] = value(&reps[i])
		}
		iv := stats.T(x, level)
		half, off := iv.High-iv.Mean, abs(iv.Mean-want)
		got := fmt.Sprintf("%.6g ± %.2g", iv.Mean, half)
		if want > 0 {
			got += fmt.Sprintf(" (%+.2f %%)", 100*(iv.Mean-want)/want)
		}
		ok := off <= half && half <= widest*want || off < rel*want || off <= lastDigit
		if !ok && !second {
			first = got
			continue
		}
		if second {
			got += ", second sample after " + first
		}
		b.add(Check{
			Name: l.name + ": " + what, Expected: num(want), Got: got, OK: ok,
			Tolerance: fmt.Sprintf("%g %% CI of %d x %s jobs, at most ±%g %% wide, or %g %%",
				100*level, len(reps), strings.ReplaceAll(strconv.FormatFloat(float64(l.size.jobs), 'e', -1, 64), "e+0", "e"), 100*widest, 100*rel),
		})
		break
	}
	return nil
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
		s := b.sizeOf(rho)
		l := looked{queue{exponential, c, rho, "fifo"}, fmt.Sprintf("M/M/%d, load %g, fifo", c, rho), s, []float64{0, p95, p99}}
		above := func(i int) func(*watched) float64 { return func(w *watched) float64 { return w.above[i] } }
		err := errors.Join(
			b.judge(l, "mean wait, s", wait, meanWait, s.level, relMean),
			b.judge(l, "share that waits", share, above(0), s.tail, relShare),
		)
		if p95 > 0 && err == nil {
			err = b.judge(l, fmt.Sprintf("share beyond the P95 of %g s", p95), 0.05, above(1), s.tail, relP95)
		}
		if p99 > 0 && !b.opt.Short && err == nil { // too rare for a short run
			err = b.judge(l, fmt.Sprintf("share beyond the P99 of %g s", p99), 0.01, above(2), s.tail, relP99)
		}
		if err != nil {
			return err
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
		of := func(policy string) looked {
			return looked{queue{kind, 1, rho, policy}, fmt.Sprintf("%s, load %g, %s", title, rho, policy), s, nil}
		}
		if err := errors.Join(
			b.judge(of("fifo"), "mean wait, s", wait, meanWait, s.level, pk),
			b.judge(of("fifo"), "mean response, s", response, meanResponse, s.level, pk),
			b.judge(of("fifo"), "standard deviation of the wait, s", sd, sdWait, s.tail, relSD),
			b.judge(of("sjf"), "mean response, s", sjf, meanResponse, s.level, relMean),
			b.judge(of("srtf"), "mean response, s", srpt, meanResponse, s.level, relMean),
		); err != nil {
			return err
		}
	}
	return nil
}

// recursion compares the wait of every job under fifo with the recursion of Kiefer and Wolfowitz on the same random numbers: a job gets the
// server that is free first. It shows that what is left between simulation and formula is chance.
func recursion(b *bench) error {
	jobs := 1_000_000
	if b.opt.Short {
		jobs = 50_000
	}
	w := b.queues.workers[0]
	for _, sys := range []queue{{exponential, 1, 0.95, "fifo"}, {exponential, 4, 0.95, "fifo"}, {exponential, 64, 0.95, "fifo"}, {h2, 1, 0.9, "fifo"}} {
		res, err := w.simulate(b.ctx, sys, jobs, 0)
		if err != nil {
			return err
		}
		var t tally
		free := make([]sched.Time, sys.servers)
		for i := range w.run {
			first := 0
			for s := range free {
				if free[s] < free[first] {
					first = s
				}
			}
			submit := w.table.Tasks[i].Submit
			start := max(submit, free[first])
			free[first] = start.Add(w.run[i])
			got := res.Outcome(sched.TaskID(i)).Wait()
			t.see(got == start.Sub(submit), "job %d waits %v, not %v", i+1, got, start.Sub(submit))
		}
		title := map[law]string{exponential: "M", h2: "H2"}[sys.law]
		b.exact(fmt.Sprintf("M/%s/%d, load %g, fifo: wait of every job, by recursion", title, sys.servers, sys.rho), "jobs", &t)
	}
	return nil
}
