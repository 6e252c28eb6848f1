package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/benchmarks/waits"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
	"github.com/schedlab/schedlab/traces/journal"
	"github.com/schedlab/schedlab/traces/metrics"
)

func runCommand() *cobra.Command {
	var f simFlags
	var o runOutputs
	var name, load, output string
	var seed int64
	cmd := &cobra.Command{
		Use:   "run [TRACE]",
		Short: "Simulate one policy and write what the flags name",
		Long: `Simulates one policy, prints its row, and writes only the files that the flags
name. TRACE is as for schedlab compare.

The last column of --tasks-csv says what became of a task: done, failed, dropped
(cancelled because one before it failed) or rejected (by the policy), and where
--horizon cut the run, where the task stood: running, ready, blocked, unknown
(not yet submitted) and so on.

--wait-profile writes a pprof profile of waiting: who waited for what. Look at
it with
  go tool pprof -http=: waits.pb.gz`,
		Example: `  schedlab run --policy critical-path --wait-profile waits.pb.gz
  schedlab run trace.csv --cluster 8x8xA100 --policy easy --tasks-csv tasks.csv`,
		Args: atMostOneTrace,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt, err := f.options(cmd)
			if err != nil {
				return err
			}
			if f.sc != nil && len(f.sc.Policies) > 0 && !cmd.Flags().Changed("policy") {
				name = f.sc.Policies[0]
			}
			spec, err := parsePolicies(name)
			if err != nil {
				return err
			}
			if len(spec) != 1 {
				return usagef("run takes one policy; schedlab compare takes several")
			}
			loads, err := parseLoads(load)
			if err != nil {
				return err
			}
			if len(loads) > 1 {
				return usagef("run takes one load; schedlab compare takes several")
			}
			if seed, err = f.oneSeed(cmd, seed); err != nil {
				return err
			}
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			if err := checkOutputs([]string{path, f.cluster}, []string{o.tasks, o.journal, o.metrics, o.waits}); err != nil {
				return err
			}
			_, w, nodes, clusterName, err := f.source(cmd, path, seed, opt.Sim.Horizon)
			if err != nil {
				return err
			}
			if len(loads) == 1 {
				if w, err = w.ScaleLoad(nodes, loads[0]); err != nil {
					return err
				}
			}
			if err := sim.Placeable(w, nodes); err != nil {
				return err
			}
			if err := opt.Sim.WarmUp.Leaves(w); err != nil {
				return err
			}
			opt.Nodes = nodes
			if err := opt.Sim.ReadFaults(nodes); err != nil {
				return err
			}
			row, err := o.simulate(cmd, opt, w, spec[0], seed)
			if err != nil {
				return err
			}
			run := report.Run{Policy: spec[0].String(), Seed: seed, Load: nan, Row: row}
			if len(loads) == 1 {
				run.Load = loads[0]
			}
			res := &experiment.Result{Runs: []report.Run{run}, Summary: report.Summarise([]report.Run{run}), Workload: w, Notes: opt.Sim.Models()}
			switch {
			case f.check && f.horizon == 0:
				res.Checked = 1
			case f.check:
				res.Notes = append(res.Notes, experiment.NothingChecked)
			}
			return show(cmd.OutOrStdout(), comparison(w, clusterName, nodes, res, &opt.Sim), output)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&name, "policy", "fifo", "the policy, as name{key=value,...}+placement; with --scenario its first is the default")
	fl.Int64Var(&seed, "seed", 1, "seed of a generated workload, and of what breaks at random; with --scenario its first is the default")
	fl.StringVar(&load, "load", "", "offered load to scale the trace to")
	nameFlag(fl, &o.tasks, "tasks-csv", "", "write one line a task: when it was ready, started, ended, where, what became of it (packed if the name ends in .gz or .zst)")
	nameFlag(fl, &o.journal, "journal", "", "write all facts and orders, for schedlab replay (packed if the name ends in .gz or .zst)")
	nameFlag(fl, &o.metrics, "metrics", "", "write the metrics as JSON")
	nameFlag(fl, &o.waits, "wait-profile", "", "write who waited for what as a pprof profile")
	outputFlag(cmd, &output, "table", "json", "csv")
	return cmd
}

// runOutputs are the files that run writes; "" = not.
type runOutputs struct{ tasks, journal, metrics, waits string }

// simulate runs the policy and writes the files.
func (o *runOutputs) simulate(cmd *cobra.Command, opt experiment.Options, w *traces.Workload, spec policies.Spec, seed int64) (row metrics.Row, err error) {
	c, err := opt.Config(w, spec, seed)
	if err != nil {
		return row, err
	}
	c.FragMix = metrics.NewFragMix(w.Table)
	c.Waits = o.waits != ""
	bar := newBar(os.Stderr)
	c.Progress = func(done, total int) { bar.At(float64(done), float64(total)) }
	rec := experiment.NewChecker(c)
	if opt.Check {
		c.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			rec.Tap(now, in, out)
			return nil
		}
	}
	var last lastPlacements
	simulate := func(journal sim.Recorder) (*sim.Result, error) {
		c.Recorder = journal
		if o.tasks != "" {
			last = lastPlacements{one: make([]sched.Placement, len(w.Tasks))}
			c.Orders = last.note
		}
		return sim.Run(cmd.Context(), c)
	}
	var res *sim.Result
	if o.journal != "" {
		res, err = o.journaled(w, c, spec, seed, simulate)
	} else {
		res, err = simulate(nil)
	}
	bar.Clear()
	if err != nil {
		return row, fmt.Errorf("%s: %w", spec, err)
	}
	if opt.Check && c.Horizon == 0 {
		if err := experiment.Violations(rec, c, res); err != nil {
			return row, err
		}
	}
	if res.Unfinished > 0 && c.Horizon == 0 {
		return row, fmt.Errorf("%s: %w", spec, experiment.Unfinished(res, w))
	}
	bound, err := graph.LowerBound(w.Table, w.Run, w.RunOn, c.Nodes)
	if err != nil {
		return row, err
	}
	row = experiment.Measure(c, res, opt.Sim.WarmUp, &bound)
	if o.tasks != "" {
		err = writeTo(cmd, o.tasks, func(out io.Writer) error { return metrics.WriteTasks(out, w, c.Nodes, res.Outcomes, last.of) })
		if err != nil {
			return row, err
		}
	}
	if o.metrics != "" {
		err = writeTo(cmd, o.metrics, func(out io.Writer) error {
			b, err := row.MarshalJSON()
			if err != nil {
				return err
			}
			_, err = out.Write(append(b, '\n'))
			return err
		})
		if err != nil {
			return row, err
		}
	}
	if o.waits != "" {
		err = writeFile(o.waits, func(out io.Writer) error {
			return waits.Write(out, waits.FromKernel(w.Table, res.Waits), res.Last.Sub(res.First))
		})
		if err != nil {
			return row, err
		}
	}
	return row, nil
}

// journaled simulates with a journal that takes its place when it is whole.
func (o *runOutputs) journaled(w *traces.Workload, c sim.Config, spec policies.Spec, seed int64,
	simulate func(sim.Recorder) (*sim.Result, error),
) (res *sim.Result, err error) {
	tb := c.Table()
	settings, err := journalConfig(c, spec)
	if err != nil {
		return nil, err
	}
	err = writeFile(o.journal, func(out io.Writer) (err error) {
		packed, err := packer(o.journal, out)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, packed.Close()) }()
		jw, err := journal.NewWriter(packed, journal.Header{Policy: spec.String(), Seed: seed, Config: settings, Nodes: c.Nodes}, tb)
		if err != nil {
			return err
		}
		if res, err = simulate(jw); err != nil {
			_ = jw.Close()
			return err
		}
		return jw.Close()
	})
	return res, err
}

// lastPlacements keeps where the last attempt of each task ran. One placement a task is the usual case.
type lastPlacements struct {
	one  []sched.Placement // by task; no replicas: it never ran
	more map[sched.TaskID][]sched.Placement
}

// note is of sim.Config.Orders.
func (l *lastPlacements) note(out []sched.Command) {
	for i := range out {
		c := &out[i]
		if c.Kind != sched.Start {
			continue
		}
		one, on := &l.one[c.Task], &c.On[0]
		one.Node, one.Replicas, one.GPUs = on.Node, on.Replicas, on.GPUs // a copy of the whole would wait for what has just been written
		if len(c.On) > 1 {
			if l.more == nil {
				l.more = map[sched.TaskID][]sched.Placement{}
			}
			l.more[c.Task] = slices.Clone(c.On)
		} else if l.more != nil {
			delete(l.more, c.Task)
		}
	}
}

func (l *lastPlacements) of(t sched.TaskID) []sched.Placement {
	if l.more != nil {
		if on, ok := l.more[t]; ok {
			return on
		}
	}
	if l.one[t].Replicas == 0 {
		return nil
	}
	return l.one[t : t+1]
}
