// Package experiment runs policies x seeds x loads on all cores and gathers what a comparison shows. Every policy sees the same workloads:
// the same seed gives the same arrivals and sizes to all (common random numbers).
package experiment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/benchmarks/stats"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
	"github.com/schedlab/schedlab/traces/metrics"
)

// Source gives the workload of a seed. Fixed says that the seed changes nothing: a recorded trace.
type Source struct {
	Fixed bool
	Load  func(seed int64) (*traces.Workload, error)
}

// Options are what an experiment varies and how it simulates.
type Options struct {
	Source    Source
	Nodes     []sched.NodeSpec
	Policies  []policies.Spec
	Seeds     []int64
	Loads     []float64 // offered loads; empty: the workload's own
	Estimates Estimates
	Sim       Settings
	Check     bool // verify every schedule with the independent checkers
	Pictures  bool // gather what plots need, of the first seed and load
	Workers   int  // 0: one a processor
	Shard     Shard
	// Begin, if any, is told the first workload once, before anything is simulated.
	Begin    func(*traces.Workload)
	Progress func(done, total float64)
}

// Settings are the simulator's settings that are common to all runs.
type Settings struct {
	KillAtEstimate bool
	Restart        bool
	Overhead       time.Duration
	Horizon        time.Duration // after the first submit; 0: none
	WarmUp         WarmUp
	Failures       *sim.Failures   // nil: nothing breaks at random
	Faults         []sim.Fault     // what is read from Failures.Trace; see ReadFaults
	Checkpoint     *sim.Checkpoint // nil: work is not saved
	Profiles       *sim.Profiles   // nil: nodes are not sampled
	Window         *sim.Window     // nil: every instant is a decision
	Memory         *sim.Memory     // nil: tasks use what they ask for
	Tenants        *sim.Tenants    // nil: no quotas
	Elastic        *sim.Elastic    // nil: all nodes are there all the time
	Staging        *sim.Staging    // nil: input comes as sched.Fetch says
	NodePrice      float64         // of a node-hour; 0: 1 with Elastic, else none
}

// random reports whether the seed changes how a recorded trace is run.
func (s *Settings) random() bool {
	return s.Failures.Random() || s.Profiles != nil && s.Profiles.Noise > 0 || s.Memory != nil && s.Memory.Sigma > 0
}

// Check reports models that cannot be, or not together.
func (s *Settings) Check() error {
	c := sim.Config{
		Failures: s.Failures, Checkpoint: s.Checkpoint, Profiles: s.Profiles, Restart: s.Restart, KillAtEstimate: s.KillAtEstimate,
		Window: s.Window, Memory: s.Memory, Tenants: s.Tenants, Elastic: s.Elastic, Staging: s.Staging, Overhead: s.Overhead,
	}
	return c.Check()
}

// Models says which models are on, each as its flag would be written.
func (s *Settings) Models() []string {
	var out []string
	if s.Failures != nil {
		out = append(out, "failures: "+s.Failures.String())
	}
	if s.Checkpoint != nil {
		out = append(out, "checkpoint: "+s.Checkpoint.String())
	}
	if s.Profiles != nil {
		out = append(out, "profiles: "+s.Profiles.String())
	}
	if s.Window != nil {
		out = append(out, "window: "+s.Window.String())
	}
	if s.Memory != nil {
		out = append(out, "memory: "+s.Memory.String())
	}
	if s.Tenants != nil {
		out = append(out, "quotas: "+s.Tenants.String())
	}
	if s.Elastic != nil {
		out = append(out, "elastic: "+s.Elastic.String())
	}
	if s.Staging != nil {
		out = append(out, "staging: "+s.Staging.String())
	}
	if s.NodePrice > 0 {
		out = append(out, fmt.Sprintf("a node-hour costs %g", s.NodePrice))
	}
	return out
}

// ReadFaults reads the trace of failures, if Failures name one.
func (s *Settings) ReadFaults(nodes []sched.NodeSpec) error {
	if s.Failures == nil || s.Failures.Trace == "" {
		return nil
	}
	f, err := traces.OpenFile(s.Failures.Trace)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := traces.Unpack(f)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Failures.Trace, err)
	}
	defer in.Close()
	if s.Faults, err = sim.ReadFaults(in, nodes); err != nil {
		return fmt.Errorf("%s: %w", s.Failures.Trace, err)
	}
	return nil
}

// WarmUp says which tasks are left out of the means: those submitted within After of the first submit, or the first Share of the tasks.
type WarmUp struct {
	After time.Duration
	Share float64
}

// ParseWarmUp reads "0", a duration or a percentage of the tasks.
func ParseWarmUp(s string) (WarmUp, error) {
	if p, ok := strings.CutSuffix(s, "%"); ok {
		if f, err := strconv.ParseFloat(p, 64); err == nil && f >= 0 && f < 100 {
			return WarmUp{Share: f / 100}, nil
		}
	} else if s == "" || s == "0" {
		return WarmUp{}, nil
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return WarmUp{After: d}, nil
	}
	return WarmUp{}, fmt.Errorf("warm-up must be a duration such as 1h or a share of the tasks such as 10%%, not %q", s)
}

// before returns the instant before which submitted tasks do not count; 0 if all count.
func (u WarmUp) before(w *traces.Workload) sched.Time {
	n := len(w.Tasks)
	if n == 0 || u == (WarmUp{}) {
		return 0
	}
	if u.Share > 0 {
		return w.Tasks[int(float64(n)*u.Share)].Submit
	}
	return w.Tasks[0].Submit.Add(u.After)
}

// Leaves returns an error if no task of w is left to count.
func (u WarmUp) Leaves(w *traces.Workload) error {
	if n := len(w.Tasks); n > 0 && u.After > 0 && w.Tasks[n-1].Submit < u.before(w) {
		return fmt.Errorf("%s: a warm-up of %v leaves no task to count: the last one is submitted after %v",
			w.Source, u.After, w.Tasks[n-1].Submit.Sub(w.Tasks[0].Submit))
	}
	return nil
}

// Estimates says what run-time estimates the policies see.
type Estimates struct {
	Kind   string  // "trace", "perfect" or "factor"
	Factor float64 // of the true run time, with "factor"
}

// ParseEstimates reads "trace", "perfect" or "factor:x".
func ParseEstimates(s string) (Estimates, error) {
	if s == "trace" || s == "perfect" {
		return Estimates{Kind: s}, nil
	}
	if x, ok := strings.CutPrefix(s, "factor:"); ok {
		if f, err := strconv.ParseFloat(x, 64); err == nil && f > 0 && f <= 1e6 {
			return Estimates{Kind: "factor", Factor: f}, nil
		}
	}
	return Estimates{}, fmt.Errorf("estimates must be trace, perfect or factor:x with 0 < x <= 1e6, not %q", s)
}

// String is how ParseEstimates reads it.
func (e Estimates) String() string {
	if e.Kind == "factor" {
		return "factor:" + strconv.FormatFloat(e.Factor, 'g', -1, 64)
	}
	return e.Kind
}

// of returns the estimates, nil for the workload's own.
func (e Estimates) of(w *traces.Workload) []time.Duration {
	switch e.Kind {
	case "perfect":
		return w.Run
	case "factor":
		out := make([]time.Duration, len(w.Run))
		for t, d := range w.Run {
			out[t] = time.Duration(math.Min(math.Round(float64(d)*e.Factor), math.MaxInt64/2))
		}
		return out
	}
	return nil
}

// Result is what an experiment found.
type Result struct {
	Runs     []report.Run     // in the order of loads, seeds, policies
	Summary  []report.Summary // empty for a shard
	Notes    []string
	Workload *traces.Workload // of the first seed and load (of the shard); nil if the shard is empty
	Pictures []Picture        // by policy, if asked for
	Checked  int              // schedules that the checkers looked at

	index []int            // of each of Runs in the whole experiment
	waits []stats.Interval // of the mean wait by batch means, by run, for an experiment of one run a policy; nil for others
}

// work is one (load, seed): its workload is made once and shared by the policies.
type work struct {
	load  float64
	seed  int64
	once  sync.Once
	w     *traces.Workload
	bound graph.Bound
	mix   *metrics.FragMix
	err   error
	left  atomic.Int32

	mu   sync.Mutex
	made map[Estimates][]time.Duration
}

// estimates returns what policies see, made once for all of them.
func (wk *work) estimates(e Estimates) []time.Duration {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	out, ok := wk.made[e]
	if !ok {
		out = e.of(wk.w)
		if wk.made == nil {
			wk.made = map[Estimates][]time.Duration{}
		}
		wk.made[e] = out
	}
	return out
}

// Run runs the experiment. The first error ends it.
func Run(ctx context.Context, o Options) (*Result, error) {
	if len(o.Policies) == 0 {
		return nil, errors.New("no policies")
	}
	plan := newPlan(o.fixed(), len(o.Policies), o.Seeds, o.Loads)
	mine := plan.shard(o.Shard)
	works := make([]*work, plan.groups()) // nil: not of this shard
	var first *work
	for _, run := range mine {
		group, load, seed, _ := plan.at(run)
		if works[group] == nil {
			works[group] = &work{load: load, seed: seed}
		}
		works[group].left.Add(1)
		if first == nil {
			first = works[group]
		}
	}
	res := &Result{Runs: make([]report.Run, len(mine)), Notes: append(plan.notes, o.Sim.Models()...), index: mine}
	if o.Pictures {
		res.Pictures = make([]Picture, len(o.Policies))
	}
	if first != nil {
		first.once.Do(func() { first.prepare(&o) })
		if first.err != nil {
			return nil, first.err
		}
		if o.Begin != nil {
			o.Begin(first.w)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	progress := newProgress(len(mine), o.Progress)
	if plan.single() {
		res.waits = make([]stats.Interval, len(mine))
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	var checked atomic.Int64
	for range min(workers, len(mine)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= len(mine) {
					return
				}
				group, _, _, p := plan.at(mine[i])
				wk := works[group]
				wk.once.Do(func() { wk.prepare(&o) })
				if wk.err != nil {
					cancel(wk.err)
					return
				}
				one, err := o.one(ctx, wk, p, group == 0, res.waits != nil, func(share float64) { progress.at(i, share) })
				if err != nil {
					cancel(fmt.Errorf("%s: %w", o.Policies[p], err))
					return
				}
				res.Runs[i] = report.Run{Policy: o.Policies[p].String(), Seed: wk.seed, Load: wk.load, Row: one.row}
				if o.checks() {
					checked.Add(1)
				}
				if group == 0 && o.Pictures {
					res.Pictures[p] = one.picture
				}
				if res.waits != nil {
					res.waits[i] = one.wait
				}
				if wk.left.Add(-1) == 0 && wk != first {
					wk.w, wk.made = nil, nil // its memory is free for the next
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	progress.end()
	if first != nil {
		res.Workload = first.w
	}
	res.Checked = int(checked.Load())
	if o.Check && !o.checks() {
		res.Notes = append(res.Notes, NothingChecked)
	}
	if !o.Shard.Parted() {
		res.summarise()
	}
	return res, nil
}

// summarise makes the summary of a whole experiment.
func (r *Result) summarise() {
	r.Summary = report.Summarise(r.Runs)
	switch {
	case r.waits != nil:
		r.batchMeans(r.waits)
	case slices.ContainsFunc(r.Summary, func(s report.Summary) bool { return s.Runs == 1 }):
		r.Notes = append(r.Notes, oneRunALoad)
	}
}

const oneRunALoad = "no intervals: each policy runs once at each load, and batch means are made only where there is one load"

// batchMeans gives the mean wait of a single run its interval by batch means, or says why it has none.
func (r *Result) batchMeans(waits []stats.Interval) {
	known := false
	var why []error
	without := map[error][]string{} // policies
	for i := range r.Summary {
		if !waits[i].Known() {
			err := stats.ErrCorrelated
			if waits[i].N < stats.FewestItems {
				err = stats.ErrTooShort
			}
			if without[err] == nil {
				why = append(why, err)
			}
			without[err] = append(without[err], r.Summary[i].Policy)
			continue
		}
		if r.Summary[i].CI == nil {
			r.Summary[i].CI = map[string]stats.Interval{}
		}
		r.Summary[i].CI["wait_mean_s"] = waits[i]
		known = true
	}
	if known {
		r.Notes = append(r.Notes, "one run each: intervals of the mean wait are by batch means of tasks in the order of submission")
	}
	for _, err := range why {
		of := ""
		if names := without[err]; len(names) < len(r.Summary) {
			of = " under " + strings.Join(names, ", ")
		}
		r.Notes = append(r.Notes, "no interval of the mean wait"+of+": "+err.Error())
	}
}

// Releases makes the releases of what is periodic or recurs: so long after the first submit, or as many as by default where that is 0; see traces.Workload.Expand.
func Releases(w *traces.Workload, horizon time.Duration) (*traces.Workload, error) {
	if horizon <= 0 || len(w.Tasks) == 0 {
		return w.Expand(0)
	}
	return w.Expand(w.Tasks[0].Submit.Add(horizon))
}

// prepare makes the workload of a load and seed.
func (wk *work) prepare(o *Options) {
	w, err := o.Source.Load(wk.seed)
	if err == nil {
		w, err = Releases(w, o.Sim.Horizon)
	}
	if err == nil && !math.IsNaN(wk.load) {
		w, err = w.ScaleLoad(o.Nodes, wk.load)
	}
	if err != nil {
		wk.err = err
		return
	}
	if wk.err = sim.Placeable(w, o.Nodes); wk.err != nil {
		return
	}
	if wk.err = o.Sim.WarmUp.Leaves(w); wk.err != nil {
		return
	}
	b, err := graph.LowerBound(w.Table, w.Run, w.RunOn, o.Nodes)
	if err != nil {
		wk.err = fmt.Errorf("%s: %w", w.Source, err)
		return
	}
	wk.w, wk.bound, wk.mix = w, b, metrics.NewFragMix(w.Table)
}

// fixed reports whether the seed changes nothing.
func (o *Options) fixed() bool { return o.Source.Fixed && !o.Sim.random() }

// checks reports whether schedules are verified: the checkers want them whole.
func (o *Options) checks() bool { return o.Check && o.Sim.Horizon == 0 }

// single is what one run gave.
type single struct {
	row     metrics.Row
	picture Picture
	wait    stats.Interval
}

// Config returns the simulator's configuration of one policy on one workload, with what the policy must be told of it. The seed is that of what
// breaks at random.
func (o *Options) Config(w *traces.Workload, p policies.Spec, seed int64) (sim.Config, error) {
	return o.config(w, p, seed, func(e Estimates) []time.Duration { return e.of(w) })
}

func (o *Options) config(w *traces.Workload, p policies.Spec, seed int64, estimates func(Estimates) []time.Duration) (sim.Config, error) {
	est := o.Estimates
	if p.Estimates != "" {
		var err error
		if est, err = ParseEstimates(p.Estimates); err != nil {
			return sim.Config{}, err
		}
	}
	c := sim.Config{
		Workload: w, Nodes: o.Nodes, Estimates: estimates(est), KillAtEstimate: o.Sim.KillAtEstimate, Restart: o.Sim.Restart, Overhead: o.Sim.Overhead,
		Failures: o.Sim.Failures, Faults: o.Sim.Faults, Checkpoint: o.Sim.Checkpoint, Profiles: o.Sim.Profiles, Seed: uint64(seed),
	}
	c.Window, c.Memory, c.Tenants, c.Elastic = o.Sim.Window, o.Sim.Memory, o.Sim.Tenants, o.Sim.Elastic
	c.Staging = o.Sim.Staging
	if c.NodePrice = o.Sim.NodePrice; c.NodePrice == 0 && c.Elastic != nil {
		c.NodePrice = 1
	}
	if o.Sim.Horizon > 0 && len(w.Tasks) > 0 {
		c.Horizon = w.Tasks[0].Submit.Add(o.Sim.Horizon)
	}
	shown := c.Estimates
	if shown == nil {
		shown = w.Estimates
	}
	var err error
	c.Policy, err = policies.Build(p, policies.Hints{MeanEstimate: mean(shown), Setup: c.Setup()})
	return c, err
}

func mean(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	sum := 0.0
	for _, d := range ds {
		sum += float64(d)
	}
	return time.Duration(sum / float64(len(ds)))
}

// one runs one policy on one workload. first: of the first group, which pictures are of; waits: the interval of the mean wait is wanted.
func (o *Options) one(ctx context.Context, wk *work, p int, first, waits bool, progress func(float64)) (*single, error) {
	w := wk.w
	c, err := o.config(w, o.Policies[p], wk.seed, wk.estimates)
	if err != nil {
		return nil, err
	}
	c.FragMix = wk.mix
	c.Progress = func(done, total int) { progress(float64(done) / float64(max(total, 1))) }
	var rec *Checker
	var gantt *ganttRecorder
	if o.checks() {
		rec = NewChecker(c)
	}
	if o.Pictures && first {
		gantt = newGantt(w, o.Nodes)
	}
	if rec != nil || gantt != nil {
		c.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			if rec != nil {
				rec.Tap(now, in, out)
			}
			if gantt != nil {
				gantt.tap(now, in, out)
			}
			return nil
		}
	}
	r, err := sim.Run(ctx, c)
	if err != nil {
		return nil, err
	}
	if rec != nil {
		if err := Violations(rec, c, r); err != nil {
			return nil, err
		}
	}
	if r.Unfinished > 0 && c.Horizon == 0 {
		return nil, Unfinished(r, w)
	}
	s := &single{row: Measure(c, r, o.Sim.WarmUp, &wk.bound)}
	if waits {
		s.wait = batchedWait(w, r, o.Sim.WarmUp)
	}
	if gantt != nil {
		s.picture = picture(o.Policies[p].String(), w, o.Nodes, r, gantt)
	}
	return s, nil
}

// NothingChecked is the note of a run whose schedules were to be checked and could not be.
const NothingChecked = "nothing was checked: the checkers cannot judge a schedule that --horizon cuts"

// Unfinished is the error of a run, without a horizon, that did not finish all tasks. It names the first that waits for nothing but the policy.
func Unfinished(r *sim.Result, w *traces.Workload) error {
	first := ""
	for t := range sched.TaskID(w.Len()) {
		if o := r.Outcome(t); !o.Phase.Over() && o.Ready != sched.Never {
			first = fmt.Sprintf(" (the first of them: %s, which was ready at %.9g s and is %s)", w.TaskNames.At(int(t)), o.Ready.Seconds(), o.Phase)
			break
		}
	}
	return fmt.Errorf("%d of %d tasks were never finished%s: the policy left them waiting though nothing else could happen", r.Unfinished, w.Len(), first)
}

// Violations returns an error that tells what the independent checkers found wrong with a run, or nil.
func Violations(rec *Checker, c sim.Config, r *sim.Result) error {
	w := c.Truth()
	tb := c.Table()
	tb.Estimates = c.Workload.Estimates // by which runs are cut
	one := check.Case{
		Table: tb, Run: w.Run, RunOn: w.RunOn, Late: c.Window.Late(), Nodes: c.Nodes, Restart: c.Restart,
		KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead, Faults: rec.NodeFaults(),
	}
	if st := c.Staging; st != nil {
		one.Links = &check.Links{OneByOne: st.Contention, Ahead: st.Overlap}
		if st.Tiers != nil {
			one.Links.Copy = st.Tiers.Copy
		}
	}
	if p := c.Checkpoint; p != nil {
		every, rule, mtbf, own := p.For(c.Failures)
		one.Saving = &check.Saving{
			Every: every, Rule: rule, NodeMTBF: mtbf, MTBF: own, Cost: p.Cost, Restart: p.Restart, Lose: p.Stop == "lose", Wait: p.Outage == "wait",
			Outages: rec.Outages(), LostGPUSeconds: r.LostGPUSeconds,
		}
	}
	bad := append(rec.Recorder.Check(one, r.Outcome), rec.models(c, r)...)
	if len(bad) == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("the schedule breaks %d promises (a bug of schedlab or of the policy):", len(bad))}
	for _, v := range bad[:min(5, len(bad))] {
		lines = append(lines, "  "+v.String())
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Measure computes the metrics of a run. bound is that of its workload; what it says of the makespan is only in the row of a run that did all the work of all tasks.
func Measure(c sim.Config, r *sim.Result, warm WarmUp, bound *graph.Bound) metrics.Row {
	row := metrics.Compute(metrics.Input{
		Workload: c.Workload, Nodes: c.Nodes, Outcome: r.Outcome, Outcomes: r.Outcomes, Ran: r.Ran, WarmUp: warm.before(c.Workload), Horizon: c.Horizon,
		GPUSeconds: r.GPUSeconds, CPUSeconds: r.CPUSeconds, LostGPUSeconds: r.LostGPUSeconds, LostCPUSeconds: r.LostCPUSeconds,
		Preemptions: r.Preemptions, Restarts: r.Restarts, CauseSeconds: r.CauseSeconds, FragmentationGPUs: r.FragmentationGPUs,
		LowerBound: bound.Makespan.Seconds(), Paths: bound.Paths, Wall: r.Wall, Decisions: r.Batches, NodeHours: r.NodeHours, NodePrice: c.NodePrice,
	})
	if row.Finished < row.Tasks || r.OutOfMemory > 0 {
		row.LowerBound = math.NaN()
	}
	return row
}

// batchedWait returns the interval of the mean wait by batch means over the finished tasks in the order of submission, without those
// that the mean leaves out. It has no bounds where there can be none.
func batchedWait(w *traces.Workload, r *sim.Result, warm WarmUp) stats.Interval {
	waits := make([]float64, 0, len(w.Tasks))
	from := warm.before(w)
	for t := range w.Tasks {
		if w.Tasks[t].Submit < from {
			continue
		}
		if o := r.Outcome(sched.TaskID(t)); o.Phase == sched.Done {
			waits = append(waits, o.Wait().Seconds())
		}
	}
	iv, _ := stats.BatchMeans(waits, report.Level) // why there is none can be told by N
	iv.Low = max(iv.Low, 0)                        // nobody waits less; NaN stays
	return iv
}

// progress adds up the shares of the runs.
type progress struct {
	mu     sync.Mutex
	shares []float64
	sum    float64
	told   time.Time
	tell   func(done, total float64)
}

func newProgress(n int, tell func(done, total float64)) *progress {
	return &progress{shares: make([]float64, n), tell: tell}
}

func (p *progress) at(i int, share float64) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum += share - p.shares[i]
	p.shares[i] = share
	if now := time.Now(); now.Sub(p.told) > 50*time.Millisecond {
		p.told = now
		p.tell(p.sum, float64(len(p.shares)))
	}
}

func (p *progress) end() {
	if p.tell != nil {
		p.tell(float64(len(p.shares)), float64(len(p.shares)))
	}
}
