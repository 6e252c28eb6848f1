package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/plots"
	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/benchmarks/scenarios"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
	"github.com/schedlab/schedlab/traces/metrics"
)

// simFlags are the flags that compare and run share.
type simFlags struct {
	scenario                           string
	sc                                 *scenarios.Scenario // as options has read it
	cluster, format, estimates, warmUp string
	kill, restart, check               bool
	overhead, horizon                  time.Duration
	failures, checkpoint               string
	profiles                           sim.Profiles
	models                             modelFlags
}

func (f *simFlags) add(cmd *cobra.Command) {
	f.addSimulation(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.warmUp, "warm-up", "0", "leave tasks out of the means that are submitted in the first 1h (say), or are the first 10% (say)")
	fl.BoolVar(&f.check, "check", false, "verify every schedule with checkers that share no code with the simulator")
}

// addSimulation adds those that say what is simulated.
func (f *simFlags) addSimulation(cmd *cobra.Command) {
	fl := cmd.Flags()
	f.warmUp = "0"
	nameFlag(fl, &f.scenario, "scenario", "", "a scenario, by name or file: cluster, workload and models; flags say otherwise (schedlab scenario list)")
	fl.StringVar(&f.cluster, "cluster", "", "nodes: a shorthand such as 8x8xA100, pool:128cpu or \"1000x(64cpu,512gb,8xH100)\", or a file (default: what the trace names)")
	fl.StringVar(&f.format, "format", "", "format of the trace (default: detected)")
	fl.StringVar(&f.estimates, "estimates", "trace", "run-time estimates that policies see: trace, perfect or factor:x (of the run time)")
	fl.BoolVar(&f.kill, "kill-at-estimate", false, "cut a run that exceeds its estimate, that of the trace whatever policies see")
	fl.BoolVar(&f.restart, "restart", false, "a preempted task loses its work (default: it resumes)")
	fl.DurationVar(&f.overhead, "overhead", 0, "time lost, while holding, at each start after a preemption")
	fl.DurationVar(&f.horizon, "horizon", 0, "stop so long after the first submit (default: run to the end). What is periodic or recurs is released up to then (default: for two hyperperiods)")
	fl.StringVar(&f.failures, "failures", "", "nodes and tasks that fail: mtbf=720h,repair=10m (schedlab help failures)")
	fl.StringVar(&f.checkpoint, "checkpoint", "", "how tasks save their work: every=10m,cost=30s,restart=1m (schedlab help failures)")
	fl.DurationVar(&f.profiles.Every, "profile-every", 0, "policies see a load of the nodes that is sampled so often (default: 1s with the other two, else none)")
	fl.DurationVar(&f.profiles.Delay, "profile-delay", 0, "age at which they see a sample")
	fl.Float64Var(&f.profiles.Noise, "profile-noise", 0, "standard deviation of its error, 0..1")
	f.models.add(fl)
}

// options turns the flags into options, but for policies, seeds and loads. A flag that is given goes before the scenario, also where it says none.
func (f *simFlags) options(cmd *cobra.Command) (experiment.Options, error) {
	var o experiment.Options
	var err error
	given := cmd.Flags().Changed
	if f.scenario != "" {
		if f.sc, err = openScenario(f.scenario); err != nil {
			return o, err
		}
		if f.sc.Estimates != "" && !given("estimates") {
			f.estimates = f.sc.Estimates
		}
		f.sc.Simulation.Into(&o.Sim)
	}
	if o.Estimates, err = experiment.ParseEstimates(f.estimates); err != nil {
		return o, asUsage(err)
	}
	if o.Sim.WarmUp, err = experiment.ParseWarmUp(f.warmUp); err != nil {
		return o, asUsage(err)
	}
	if f.overhead < 0 || f.horizon < 0 {
		return o, usagef("--overhead and --horizon must not be negative")
	}
	if err := (&sim.Config{Overhead: f.overhead}).Check(); err != nil {
		return o, usagef("--%w", err)
	}
	override(given("kill-at-estimate"), &o.Sim.KillAtEstimate, f.kill)
	override(given("restart"), &o.Sim.Restart, f.restart)
	override(given("overhead"), &o.Sim.Overhead, f.overhead)
	override(given("horizon"), &o.Sim.Horizon, f.horizon)
	o.Check = f.check
	if err := f.models.set(given, &o.Sim); err != nil {
		return o, err
	}
	if err := parseInto(given("failures"), &o.Sim.Failures, f.failures, sim.ParseFailures); err != nil {
		return o, asUsage(err)
	}
	if err := parseInto(given("checkpoint"), &o.Sim.Checkpoint, f.checkpoint, sim.ParseCheckpoint); err != nil {
		return o, asUsage(err)
	}
	if given("profile-every") || given("profile-delay") || given("profile-noise") {
		var p sim.Profiles
		if o.Sim.Profiles != nil {
			p = *o.Sim.Profiles
		}
		override(given("profile-every"), &p.Every, f.profiles.Every)
		override(given("profile-delay"), &p.Delay, f.profiles.Delay)
		override(given("profile-noise"), &p.Noise, f.profiles.Noise)
		o.Sim.Profiles = nil
		if p != (sim.Profiles{}) {
			o.Sim.Profiles = &p
		}
	}
	return o, asUsage(o.Sim.Check())
}

// oneSeed returns the seed of a command that simulates one: as the flag says, or else the scenario's first.
func (f *simFlags) oneSeed(cmd *cobra.Command, flag int64) (int64, error) {
	if f.sc != nil && f.sc.Seeds != "" && !cmd.Flags().Changed("seed") {
		seeds, err := parseSeeds(f.sc.Seeds)
		if err != nil {
			return 0, err // openScenario has read them
		}
		return seeds[0], nil
	}
	if flag < 0 {
		return 0, usagef("--seed must not be negative")
	}
	return flag, nil
}

// override puts what a flag says in the place of what a scenario says, where the flag is given.
func override[T any](given bool, to *T, v T) {
	if given {
		*to = v
	}
}

// parseInto is override for a model that is written as text; "" is none.
func parseInto[T any](given bool, to **T, text string, parse func(string) (*T, error)) (err error) {
	if !given {
		return nil
	}
	if *to = nil; text != "" {
		*to, err = parse(text)
	}
	return err
}

const genPrefix = "gen:"

// atMostOneTrace wants no argument or one, which says something: an empty variable is not meant to be the example.
func atMostOneTrace(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%s takes one TRACE; %q is one argument too many", cmd.CommandPath(), args[1])
	}
	if len(args) == 1 && args[0] == "" {
		return errors.New("TRACE is empty; leave it out for the built-in example")
	}
	return nil
}

// source opens the trace: a file, "-", gen:SPEC, or the embedded example where path is empty. It returns the first workload too, with its releases up to the
// horizon, and the nodes.
func (f *simFlags) source(cmd *cobra.Command, path string, seed int64, horizon time.Duration) (src experiment.Source, w *traces.Workload, nodes []sched.NodeSpec, clusterName string, err error) {
	if f.cluster != "" {
		if nodes, err = cluster.Parse(f.cluster); err != nil {
			return src, nil, nil, "", asUsageUnlessFile(err, f.cluster)
		}
		clusterName = f.cluster
	}
	if f.sc != nil && !cmd.Flags().Changed("cluster") && f.sc.Nodes != nil {
		nodes, clusterName = f.sc.Nodes, cmp.Or(f.sc.Cluster, "the cluster of scenario "+f.sc.Name)
	}
	if f.sc != nil && path == "" && f.sc.Workload.Trace != "" {
		path = f.sc.Workload.Trace
	}
	if err := (&traceFlags{format: f.format}).check(path); err != nil {
		return src, nil, nil, "", err
	}
	if f.format != "" && path == "" {
		return src, nil, nil, "", errNoneRead
	}
	spec, generated := strings.CutPrefix(path, genPrefix)
	switch {
	case path == "" && f.sc != nil && f.sc.Load(nodes) != nil:
		src.Load = f.sc.Load(nodes)
		if nodes == nil && f.sc.Workload.Gen != "" {
			return src, nil, nil, "", usagef("scenario %s names no cluster; give one with --cluster: %s", f.sc.Name, cluster.Usage)
		}
	case path == "" || path == genPrefix+exampleSpec:
		if nodes == nil {
			if nodes, err = cluster.Parse(gen.ExampleCluster); err != nil {
				return src, nil, nil, "", err
			}
			clusterName = gen.ExampleCluster
		}
		src.Load = func(seed int64) (*traces.Workload, error) {
			w, _ := gen.Example(uint64(seed))
			return w, nil
		}
	case generated:
		s, err := gen.Parse(spec)
		if err != nil {
			return src, nil, nil, "", asUsage(err)
		}
		if nodes == nil {
			return src, nil, nil, "", usagef("a generated workload needs --cluster: %s", cluster.Usage)
		}
		src.Load = func(seed int64) (*traces.Workload, error) { return s.Generate(uint64(seed), nodes) }
	default:
		src.Fixed = true
		var recorded *traces.Workload
		err = await(cmd.Context(), func() (err error) {
			recorded, err = traces.Open(path, f.format)
			return err
		})
		if err != nil {
			return src, nil, nil, "", err
		}
		src.Load = func(int64) (*traces.Workload, error) { return recorded, nil }
	}
	if w, err = src.Load(seed); err != nil {
		return src, nil, nil, "", err
	}
	if len(w.Tasks) == 0 {
		return src, nil, nil, "", fmt.Errorf("%s: there are no tasks in it", w.Source)
	}
	if w, err = experiment.Releases(w, horizon); err != nil {
		return src, nil, nil, "", err
	}
	load := src.Load
	src.Load = func(s int64) (*traces.Workload, error) {
		if s == seed || src.Fixed {
			return w, nil // made once: a workload is read-only
		}
		return load(s)
	}
	if nodes == nil {
		if nodes = w.Cluster; len(nodes) == 0 {
			return src, nil, nil, "", usagef("%s names no cluster; give one with --cluster: %s", w.Source, cluster.Usage)
		}
		clusterName = "the trace's cluster, " + cluster.Format(nodes)
	}
	return src, w, nodes, clusterName, nil
}

// asUsageUnlessFile makes an error in a shorthand a usage error; one in a file stays a failure.
func asUsageUnlessFile(err error, spec string) error {
	if _, e := os.Stat(spec); e == nil {
		return err
	}
	return asUsage(err)
}

func parsePolicies(list string) ([]policies.Spec, error) {
	var out []policies.Spec
	for _, text := range policies.Split(list) {
		s, err := policies.Parse(text)
		if err != nil {
			return nil, asUsage(err)
		}
		if s.Estimates != "" {
			if _, err := experiment.ParseEstimates(s.Estimates); err != nil {
				return nil, usagef("policy %q: %v", text, err)
			}
		}
		for _, other := range out {
			if other.String() == s.String() {
				if text != s.String() {
					return nil, usagef("policy %s is named twice: %s is the same", s, text)
				}
				return nil, usagef("policy %s is named twice", s)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// parseSeeds reads N (1..N) or a-b.
func parseSeeds(s string) ([]int64, error) {
	bad := usagef("--seeds must be a number N (1..N) or a range a-b of at most 10000 seeds, not %q", s)
	from, to := int64(1), int64(0)
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		a, b = "1", s
	}
	var err error
	if from, err = strconv.ParseInt(a, 10, 64); err != nil {
		return nil, bad
	}
	if to, err = strconv.ParseInt(b, 10, 64); err != nil || from < 0 || to < from || to-from >= 10000 {
		return nil, bad
	}
	var out []int64
	for i := range to - from + 1 { // seed <= to would never end at the largest there is
		out = append(out, from+i)
	}
	return out, nil
}

func parseLoads(s string) ([]float64, error) {
	if s == "" {
		return nil, nil
	}
	var out []float64
	for _, x := range strings.Split(s, ",") {
		f, err := strconv.ParseFloat(strings.TrimSpace(x), 64)
		if err != nil || !(f > 0) || f > 100 {
			return nil, usagef("--load must be numbers above 0 and at most 100 (1 = all the cluster can do), not %q", x)
		}
		if slices.Contains(out, f) {
			return nil, usagef("--load names %v twice", f)
		}
		out = append(out, f)
	}
	return out, nil
}

func compareCommand() *cobra.Command {
	var f simFlags
	var names, seeds, load, out, output, shard, intervals string
	var pdf bool
	var workers int
	cmd := &cobra.Command{
		Use:   "compare [TRACE]",
		Short: "Compare policies on a trace: a table, and plots with --out",
		Long: `Simulates every policy on the same workload and prints one row a policy.

TRACE is a file in any known format (see schedlab trace --help; .gz and .zst are
fine), - for standard input, or gen:SPEC for a generated workload (see schedlab
trace generate --help). Without TRACE: a built-in workload of GPU DAG jobs of
four teams.

Policies are written name{key=value,...}+placement; schedlab policy list
explains them. The README says what each column means.

With --shard i/n it runs the i-th of n parts of the experiment and writes a
partial result, to the file --out or else to standard output; schedlab merge
joins the parts. auto reads i and n from JOB_COMPLETION_INDEX and
JOB_COMPLETIONS (Kubernetes) or from SLURM_ARRAY_TASK_ID and its kin (Slurm),
auto/n the index alone, from 0. All policies of a load and seed go to the same
part, unless there are more parts than loads times seeds; then runs are dealt
one by one.`,
		Example: `  schedlab compare --out out
  schedlab compare jobs.csv --cluster 8x8xA100 --policies 'fifo,rr{quantum=30s}'
  schedlab compare log.swf.gz --policies 'fifo,easy,easy{estimates=perfect}'
  schedlab compare gen:jobs=500,gpus=philly --cluster 10x8xV100 --load 0.7,0.9`,
		Args: atMostOneTrace,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(cmd)
			if err != nil {
				return err
			}
			if f.sc != nil {
				if len(f.sc.Policies) > 0 && !cmd.Flags().Changed("policies") {
					names = strings.Join(f.sc.Policies, ",")
				}
				if !cmd.Flags().Changed("seeds") {
					seeds = f.sc.Seeds
				}
			}
			if o.Policies, err = parsePolicies(names); err != nil {
				return err
			}
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			generated := path == "" && (f.sc == nil || f.sc.Generated()) || strings.HasPrefix(path, genPrefix)
			if seeds == "" {
				seeds = "1"
				if generated {
					seeds = "5"
				}
			}
			if o.Seeds, err = parseSeeds(seeds); err != nil {
				return err
			}
			if o.Loads, err = parseLoads(load); err != nil {
				return err
			}
			if workers < 0 {
				return usagef("--workers must not be negative")
			}
			if pdf && out == "" {
				return usagef("--pdf needs --out")
			}
			if o.Shard, err = parseShard(shard, pdf, output, cmd.Flags().Changed("output")); err != nil {
				return err
			}
			switch {
			case intervals == "t":
			case o.Shard.Parted():
				return usagef("--intervals: a shard has none; schedlab merge takes it")
			case len(o.Seeds) < 2:
				return usagef("--intervals bootstrap resamples the seeds, and there is one; see --seeds")
			}
			if out != "" && !o.Shard.Parted() {
				if err := checkFolder(out); err != nil {
					return err
				}
			}
			src, w, nodes, clusterName, err := f.source(cmd, path, o.Seeds[0], o.Sim.Horizon)
			if err != nil {
				return err
			}
			if err := o.Sim.ReadFaults(nodes); err != nil {
				return err
			}
			o.Source, o.Nodes, o.Pictures, o.Workers = src, nodes, out != "", workers
			if o.Shard.Parted() {
				return compareShard(cmd, &o, w, clusterName, out, args)
			}
			var headErr error
			if output == "table" { // the first line at once, since the rest may take a while
				o.Begin = func(first *traces.Workload) {
					headErr = heading(w, first, clusterName, nodes).Heading(cmd.OutOrStdout(), tableOptions(cmd.OutOrStdout()))
				}
			}
			bar := newBar(os.Stderr)
			o.Progress = bar.At
			res, err := experiment.Run(cmd.Context(), o)
			bar.Clear()
			if err = errors.Join(err, headErr); err != nil {
				return err
			}
			if intervals == "bootstrap" {
				bootstrap(res)
			}
			c := comparison(w, clusterName, nodes, res, &o.Sim)
			var outErr error // the numbers are shown all the same: to find them may have taken hours
			if out != "" {
				var said string
				if said, outErr = writeOut(out, c, res, pdf); outErr == nil {
					c.Notes = append(c.Notes, said)
				}
			}
			if output == "table" {
				err = c.Body(cmd.OutOrStdout(), tableOptions(cmd.OutOrStdout()))
			} else {
				err = show(cmd.OutOrStdout(), c, output)
			}
			return errors.Join(outErr, err)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&names, "policies", "fifo,rr,critical-path", "policies, separated by commas; the first is what the others are compared with")
	cmd.Flags().StringVar(&seeds, "seeds", "", "seeds: N for 1..N, or a-b (default: 5 for generated workloads, 1 for a trace)")
	cmd.Flags().StringVar(&load, "load", "", "offered loads to scale the trace to: all submit times divided by one factor (default: as it is)")
	nameFlag(cmd.Flags(), &out, "out", "", "folder for plots (SVG, PNG), compare.json and compare.csv, in the place of those of the run before; with --shard the file to write, or a folder for part-i-of-n.json")
	cmd.Flags().StringVar(&shard, "shard", "", "run one part of the experiment, for schedlab merge: i/n (1/4 is the first of four), auto or auto/n")
	cmd.Flags().BoolVar(&pdf, "pdf", false, "plots as PDF too")
	intervalsFlag(cmd, &intervals)
	cmd.Flags().IntVar(&workers, "workers", 0, "simulations at a time (default: one a processor)")
	outputFlag(cmd, &output, "table", "json", "csv")
	return cmd
}

func intervalsFlag(cmd *cobra.Command, to *string) {
	*to = "t"
	cmd.Flags().Var(&choice{to, []string{"t", "bootstrap"}}, "intervals", "how 95 % intervals over seeds are made: Student's t, or the BCa bootstrap, which takes no normal distribution for granted and wants 20 seeds")
}

// fewSeeds is below what a bootstrap wants: its intervals of a mean over n seeds are too narrow by about 1/n.
const fewSeeds = 20

// bootstrap has the intervals over seeds by the bootstrap, and says so.
func bootstrap(res *experiment.Result) {
	switch n := report.Bootstrap(res.Summary, res.Runs); {
	case n == 0:
		res.Notes = append(res.Notes, "no interval is by bootstrap: each policy runs once")
	case n < fewSeeds:
		res.Notes = append(res.Notes, fmt.Sprintf("intervals over %d seeds by BCa bootstrap: too narrow below %d seeds or so", n, fewSeeds))
	default:
		res.Notes = append(res.Notes, fmt.Sprintf("intervals over %d seeds by BCa bootstrap", n))
	}
}

// comparison puts together what the report prints.
func comparison(w *traces.Workload, clusterName string, nodes []sched.NodeSpec, res *experiment.Result, s *experiment.Settings) *report.Comparison {
	c := heading(w, res.Workload, clusterName, nodes)
	c.Runs, c.Summary = res.Runs, res.Summary
	c.Notes = notes(res, traceNotes(w, nodes, s))
	return c
}

// heading is the part of a comparison that is known before anything is simulated: w is the trace as loaded, first what is replayed of it.
func heading(w, first *traces.Workload, clusterName string, nodes []sched.NodeSpec) *report.Comparison {
	return &report.Comparison{
		Trace: report.Trace{
			Source: w.Source, Format: w.Format, Recorded: w.Recorded, Tasks: len(first.Tasks), Jobs: int(first.Jobs),
			MissingEstimates: w.MissingEstimates,
		},
		Cluster: report.ClusterOf(clusterName, nodes),
	}
}

// traceNotes is what is to be said of a trace, of settings that speak of what is not in it, which may be meant, and of nodes.
func traceNotes(w *traces.Workload, nodes []sched.NodeSpec, s *experiment.Settings) []string {
	var out []string
	for _, tenant := range s.Tenants.Absent(w) {
		out = append(out, fmt.Sprintf("no task is of tenant %q, which has a quota", tenant))
	}
	for _, queue := range s.Elastic.Absent(w) {
		out = append(out, fmt.Sprintf("no task is of queue %q, which is said to scale", queue))
	}
	if w.MissingEstimates > 0 {
		have := "have no estimate: policies see their"
		if w.MissingEstimates == 1 {
			have = "has no estimate: policies see its"
		}
		out = append(out, fmt.Sprintf("%d of %s %s true run time", w.MissingEstimates, report.Plural(len(w.Tasks), "task"), have))
	}
	for _, n := range w.Notes {
		out = append(out, n.String())
	}
	for _, p := range w.Strangers(nodes) {
		out = append(out, p.String())
	}
	return out
}

// notes is what stands below the table.
func notes(res *experiment.Result, ofTrace []string) []string {
	out := append(slices.Clone(res.Notes), ofTrace...)
	if res.Checked > 0 {
		out = append(out, fmt.Sprintf("checked: no promise broken in %d of %d schedules", res.Checked, len(res.Runs)))
	}
	return out
}

// show prints a comparison on standard output.
func show(w io.Writer, c *report.Comparison, output string) error {
	switch output {
	case "json":
		return c.JSON(w)
	case "csv":
		return c.CSV(w)
	}
	return c.Table(w, tableOptions(w))
}

// tableOptions says how a table on w may look.
func tableOptions(w io.Writer) report.TableOptions {
	opt := report.TableOptions{}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		opt.Color = report.ColorWanted(true)
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			opt.Width = width
		}
	}
	return opt
}

// bars makes one bar a policy and load of a metric.
func bars(all []report.Summary, metric string) (out []plots.Bar, interval string) {
	loads := map[float64]bool{}
	for _, s := range all {
		if !math.IsNaN(s.Load) {
			loads[s.Load] = true
		}
	}
	for _, s := range all {
		b := plots.Bar{Name: s.Policy, Low: math.NaN(), High: math.NaN()}
		if len(loads) > 1 {
			b.Name += fmt.Sprintf(" @ load %g", s.Load)
		}
		b.Value = metrics.Lookup(metric).Of(&s.Mean)
		if ci, ok := s.CI[metric]; ok && ci.Known() {
			b.Low, b.High = ci.Low, ci.High
			interval = fmt.Sprintf("95 %% interval over %d seeds", s.Runs)
			if ci.Method == "bca" {
				interval += " (bootstrap)"
			}
			if s.Runs == 1 {
				interval = "95 % interval by batch means"
			}
		}
		out = append(out, b)
	}
	return out, interval
}

// newBar is the progress bar on a terminal's standard error; elsewhere it draws nothing.
func newBar(w *os.File) *report.Bar {
	if !term.IsTerminal(int(w.Fd())) {
		return nil
	}
	return report.NewBar(w)
}
