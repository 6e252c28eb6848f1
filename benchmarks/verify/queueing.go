package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
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
	{group: "queueing", name: "M/G/1 that preempts", source: "references/queueing/mg1.csv", run: mg1Preemptive},
	{group: "queueing", name: "priorities", source: "references/queueing/priority_cobham.py", run: cobham},
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
	constant
)

// second returns the second moment.
func (l law) second() float64 { return []float64{2, 5, 1}[l] }

// draw returns a service time. The parameters of h2: with p the mean is m1, else m2, and p m1 = (1-p) m2 = 1/2.
func (l law) draw(rng *rand.Rand) float64 {
	if l == constant {
		return 1
	}
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
	mix     int // index of mixes; 0 = one class by the law
}

// watched is what one replication saw of the jobs that count.
type watched struct {
	wait, response, sd float64   // means, and the standard deviation of the wait, s
	above              []float64 // share of the jobs that waited longer than each level asked for
	byClass            []float64 // mean wait of each class of a mix
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

// prepare makes the first samples of several systems in one go, so that no worker is idle while another makes the last replication of one of them. It calls
// begin, one call at a time, before each replication.
func (q *queues) prepare(ctx context.Context, looks []looked, begin func(of looked, rep, reps int)) error {
	type part struct{ of, rep int }
	var parts []part
	out, first := make([][]watched, len(looks)), map[queue]int{}
	for i, l := range looks {
		have, seen := q.seen[sampled{l.queue, false}]
		if seen && len(have[0].above) >= len(l.levels) {
			continue
		}
		if _, again := first[l.queue]; again {
			continue // it is looked at twice
		}
		first[l.queue], out[i] = i, make([]watched, l.size.reps)
		for rep := range l.size.reps {
			parts = append(parts, part{i, rep})
		}
	}
	fails := make([]error, len(q.workers))
	var mu sync.Mutex
	next := 0
	take := func() (part, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(parts) {
			return part{}, false
		}
		next++
		p := parts[next-1]
		begin(looks[p.of], next, len(parts))
		return p, true
	}
	var wg sync.WaitGroup
	for i, w := range q.workers {
		wg.Go(func() {
			for p, ok := take(); ok && fails[i] == nil; p, ok = take() {
				out[p.of][p.rep], fails[i] = w.watch(ctx, looks[p.of].queue, looks[p.of].size.jobs, p.rep, looks[p.of].levels)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(fails...); err != nil {
		return err
	}
	for i, l := range looks {
		if out[i] != nil {
			q.seen[sampled{l.queue, false}] = out[i]
		}
	}
	return nil
}

// draw makes the jobs of one replication.
func (w *queueWorker) draw(sys queue, jobs, rep int) {
	tb := &w.table
	if len(tb.Tasks) != jobs || len(tb.Classes) != 1 {
		*tb = sched.Table{
			Tasks: make([]sched.Task, jobs), Classes: []sched.Class{{}}, Demands: []sched.Demand{{Need: sched.Need{CPU: 1000}, Gang: 1}},
			Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: int32(jobs),
		}
		w.run = make([]time.Duration, jobs)
		tb.Estimates = w.run
	}
	// Policies see the same jobs. The seed is a hash, since generators of similar seeds need not be independent.
	rng := rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "law %d, %d servers, load %g, replication %d", sys.law+law(16*sys.mix), sys.servers, sys.rho, rep))))
	if sys.mix > 0 {
		w.drawMix(rng, mixes[sys.mix])
		return
	}
	rate, at := sys.rho*float64(sys.servers), 0.0
	for i := range w.run {
		at += rng.ExpFloat64() / rate
		tb.Tasks[i] = sched.Task{Submit: sched.Time(math.Round(at * 1e9)), Job: sched.JobID(i)}
		w.run[i] = time.Duration(math.Round(sys.law.draw(rng) * 1e9))
	}
}

// drawMix makes jobs of several classes, the first of the highest priority.
func (w *queueWorker) drawMix(rng *rand.Rand, m mix) {
	tb := &w.table
	tb.Classes = tb.Classes[:0]
	rate, at := 0.0, 0.0
	for i, c := range m.classes {
		tb.Classes = append(tb.Classes, sched.Class{Priority: int32(len(m.classes) - i)})
		rate += c.rate
	}
	for i := range w.run {
		at += rng.ExpFloat64() / rate
		which, u := 0, rng.Float64()*rate
		for u -= m.classes[0].rate; u > 0 && which+1 < len(m.classes); u -= m.classes[which].rate {
			which++
		}
		c := m.classes[which]
		tb.Tasks[i] = sched.Task{Submit: sched.Time(math.Round(at * 1e9)), Job: sched.JobID(i), Class: sched.ClassID(which)}
		w.run[i] = time.Duration(math.Round(c.mean * c.law.draw(rng) * 1e9))
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
	if sys.mix > 0 {
		out.byClass = make([]float64, len(tb.Classes))
		count := make([]float64, len(tb.Classes))
		for t := from; t < jobs; t++ {
			c := tb.Tasks[t].Class
			out.byClass[c] += res.Outcome(sched.TaskID(t)).Wait().Seconds()
			count[c]++
		}
		for c := range count {
			out.byClass[c] /= count[c]
		}
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

// judged is what is looked at in a system, and what it must be.
type judged struct {
	looked
	what       string
	want       float64
	value      func(*watched) float64
	level, rel float64
}

// judgeAll makes the samples of all systems in one go and judges them in their order.
func (b *bench) judgeAll(all []judged) error {
	looks := make([]looked, len(all))
	for i := range all {
		looks[i] = all[i].looked
	}
	begin := func(of looked, rep, reps int) { b.say(fmt.Sprintf("%s (replication %d of %d)", of.name, rep, reps)) }
	if err := b.queues.prepare(b.ctx, looks, begin); err != nil {
		return err
	}
	for i := range all {
		j := &all[i]
		if err := b.judge(j.looked, j.what, j.want, j.value, j.level, j.rel); err != nil {
			return err
		}
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
	var all []judged
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
		l := looked{queue{exponential, c, rho, "fifo", 0}, fmt.Sprintf("M/M/%d, load %g, fifo", c, rho), s, []float64{0, p95, p99}}
		above := func(i int) func(*watched) float64 { return func(w *watched) float64 { return w.above[i] } }
		all = append(all, judged{l, "mean wait, s", wait, meanWait, s.level, relMean}, judged{l, "share that waits", share, above(0), s.tail, relShare})
		if p95 > 0 {
			all = append(all, judged{l, fmt.Sprintf("share beyond the P95 of %g s", p95), 0.05, above(1), s.tail, relP95})
		}
		if p99 > 0 && !b.opt.Short { // too rare for a short run
			all = append(all, judged{l, fmt.Sprintf("share beyond the P99 of %g s", p99), 0.01, above(2), s.tail, relP99})
		}
	}
	return b.judgeAll(all)
}

// mg1 holds a single server under fifo, sjf and srtf, told the true run times, against Pollaczek-Khinchine, Phipps and Schrage & Miller.
func mg1(b *bench) error {
	rows, err := b.rows(b.source)
	if err != nil {
		return err
	}
	var all []judged
	for _, r := range rows {
		kind, title, err := lawOf(r)
		if err != nil {
			return err
		}
		pk := relMean
		if kind == h2 {
			pk = relPK
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
			return looked{queue{kind, 1, rho, policy, 0}, fmt.Sprintf("%s, load %g, %s", title, rho, policy), s, nil}
		}
		all = append(all,
			judged{of("fifo"), "mean wait, s", wait, meanWait, s.level, pk},
			judged{of("fifo"), "mean response, s", response, meanResponse, s.level, pk},
			judged{of("fifo"), "standard deviation of the wait, s", sd, sdWait, s.tail, relSD},
			judged{of("sjf"), "mean response, s", sjf, meanResponse, s.level, relMean},
			judged{of("srtf"), "mean response, s", srpt, meanResponse, s.level, relMean},
		)
	}
	return b.judgeAll(all)
}

// lawOf reads the distribution of a row, and how a queue with it is called.
func lawOf(r row) (law, string, error) {
	switch dist := r.text("dist"); dist {
	case "exp(mean1)":
		return exponential, "M/M/1", nil
	case "H2 balanced means, mean 1, C2=4":
		return h2, "M/H2/1", nil
	default:
		return 0, "", fmt.Errorf("%s:%d: unknown distribution %q", r.file, r.line, dist)
	}
}

// mg1Preemptive holds a single server under preemptive policies against their formulas: rr by slices against processor sharing, las by quanta against
// foreground-background, both of a hundredth of the mean service; sjf that preempts against PSJF; and gittins, told the law, against
// foreground-background too, which is optimal where the hazard falls (Aalto, Ayesta & Righter 2009). A slice costs two batches, so there are fewer jobs
// than in mg1, and no loads beyond 0.8 by slices.
func mg1Preemptive(b *bench) error {
	rows, err := b.rows(b.source)
	if err != nil {
		return err
	}
	var all []judged
	for _, r := range rows {
		kind, title, err := lawOf(r)
		if err != nil {
			return err
		}
		rho, ps, psjf, las := r.number("rho"), r.number("PS_ET"), r.number("PSJF_ET"), r.number("LAS_FB_ET")
		if err := bad(rows); err != nil {
			return err
		}
		if b.opt.Short && rho > 0.6 {
			continue
		}
		s := size{reps: 5, jobs: 200_000, level: 0.95}
		sliced := s
		slice := "10ms"
		if b.opt.Short {
			s = size{reps: 10, jobs: 20_000, level: 0.999, rel: 0.05}
			slice, sliced = "50ms", size{reps: 10, jobs: 5_000, level: 0.999, rel: 0.05}
		}
		of := func(policy string, s size) looked {
			return looked{queue{kind, 1, rho, policy, 0}, fmt.Sprintf("%s, load %g, %s", title, rho, policy), s, nil}
		}
		add := func(l looked, what string, want float64) {
			all = append(all, judged{l, what, want, meanResponse, s.level, relMean})
		}
		add(of("sjf{preempt=true}", s), "mean response, s", psjf)
		if rho <= 0.8 {
			add(of("rr{quantum="+slice+"}", sliced), "mean response under processor sharing, s", ps)
			add(of("las{quantum="+slice+"}", sliced), "mean response, s", las)
			if kind == h2 {
				add(of("gittins{distribution=h2:1/4}", sliced), "mean response, s", las)
			}
		}
	}
	return b.judgeAll(all)
}

// mix is a single server with classes of jobs, the first of the highest priority.
type mix struct {
	name    string
	classes []mixed
}

type mixed struct {
	rate, mean float64
	law        law
}

// mixes are the cases of references/queueing/priority_cobham.py; the first is none.
var mixes = []mix{
	{},
	{"exp at .3 and .5", []mixed{{0.3, 1, exponential}, {0.5, 1, exponential}}},
	{"exp at .3 each of three", []mixed{{0.3, 1, exponential}, {0.3, 1, exponential}, {0.3, 1, exponential}}},
	{"exp, short first", []mixed{{0.6, 0.5, exponential}, {0.25, 2, exponential}}},
	{"exp, long first", []mixed{{0.25, 2, exponential}, {0.6, 0.5, exponential}}},
	{"constant, exp and H2", []mixed{{0.4, 0.5, constant}, {0.3, 1, exponential}, {0.15, 2, h2}}},
}

// waits returns the mean wait of each class: Cobham's W0 / ((1 - s')(1 - s)) with s the load of the classes up to it and s' without it, W0 half the
// sum of rate x second moment over all classes; with preemption (White & Christie) the mean service over (1 - s'), less itself, is added, and W0 is
// of the classes up to it.
func (m mix) waits(preempt bool) []float64 {
	var out []float64
	all, upTo, load := 0.0, 0.0, 0.0
	for _, c := range m.classes {
		all += c.rate * c.mean * c.mean * c.law.second() / 2
	}
	for _, c := range m.classes {
		before := load
		load += c.rate * c.mean
		upTo += c.rate * c.mean * c.mean * c.law.second() / 2
		if preempt {
			out = append(out, c.mean/(1-before)-c.mean+upTo/((1-before)*(1-load)))
		} else {
			out = append(out, all/((1-before)*(1-load)))
		}
	}
	return out
}

// cobham holds a single server under static priorities against Cobham (Operations Research 1954) and, with preemption and resumption, White & Christie
// (Operations Research 1958): the mean wait of each class.
func cobham(b *bench) error {
	if _, err := os.Stat(b.path(b.source)); err != nil {
		return err
	}
	s := size{reps: 5, jobs: 200_000, level: 0.95}
	if b.opt.Short {
		s = size{reps: 10, jobs: 20_000, level: 0.999, rel: 0.05}
	}
	var all []judged
	for i, m := range mixes {
		if i == 0 || b.opt.Short && i > 1 {
			continue
		}
		for _, preempt := range []bool{false, true} {
			policy := fmt.Sprintf("priority{preempt=%v}", preempt)
			l := looked{queue{exponential, 1, 0, policy, i}, fmt.Sprintf("M/G/1, %s, %s", m.name, policy), s, nil}
			for c, want := range m.waits(preempt) {
				all = append(all, judged{l, fmt.Sprintf("mean wait of class %d, s", c+1), want, func(w *watched) float64 { return w.byClass[c] }, s.level, relMean})
			}
		}
	}
	return b.judgeAll(all)
}

// recursion compares the wait of every job under fifo with the recursion of Kiefer and Wolfowitz on the same random numbers: a job gets the
// server that is free first. It shows that what is left between simulation and formula is chance.
func recursion(b *bench) error {
	jobs := 1_000_000
	if b.opt.Short {
		jobs = 50_000
	}
	w := b.queues.workers[0]
	for _, sys := range []queue{{exponential, 1, 0.95, "fifo", 0}, {exponential, 4, 0.95, "fifo", 0}, {exponential, 64, 0.95, "fifo", 0}, {h2, 1, 0.9, "fifo", 0}} {
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
