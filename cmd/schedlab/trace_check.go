package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

func traceCheckCommand() *cobra.Command {
	var (
		f     traceFlags
		tasks string
		load  float64
		kill  bool

		horizon time.Duration
	)
	cmd := &cobra.Command{
		Use:   "check TRACE",
		Short: "Check a trace, or a run by its tasks CSV",
		Long: `Read a trace and report what was dropped, what is allowed and yet likely wrong
(warning), and, with a cluster, tasks that no node can ever hold (error).

With --tasks, check a run by the tasks CSV that "schedlab run --tasks-csv"
wrote: capacity of every node and GPU at every instant, constraints, precedence,
gangs together, service given = run time, waits. The checker shares no code
with the simulator. Of tasks that were started more than once the CSV has only
the last attempt, so that their capacity and service are not checked. The CSV
says nothing of the models of a run: where tasks fail of themselves, or with
--checkpoint, --memory or --window, they hold what they have for another time
than the trace says, and that is told as an error. "schedlab run --check" knows
the models and checks any run.

Exit code 0: no error found; 1: errors, all of which are listed.`,
		Example: `  schedlab trace check jobs.csv --cluster 8x8xA100
  schedlab run jobs.csv --cluster 8x8xA100 --policy easy --tasks-csv tasks.csv
  schedlab trace check jobs.csv --cluster 8x8xA100 --tasks tasks.csv`,
		Args: arguments("TRACE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			loaded := cmd.Flags().Changed("load")
			switch {
			case tasks == "" && (loaded || kill || horizon != 0):
				return usagef("--load, --horizon and --kill-at-estimate are for --tasks: they say how the run was made")
			case horizon < 0:
				return usagef("--horizon must not be negative")
			case loaded && !(load > 0 && load < 1e6):
				return usagef("--load must be a positive number, not %v", load)
			case args[0] == "-" && tasks == "-":
				return usagef("TRACE and --tasks cannot both be standard input")
			}
			var text strings.Builder
			var bad error
			err := await(cmd.Context(), func() error {
				w, nodes, err := f.load(args[0])
				if err != nil {
					return err
				}
				if bad = checkTrace(&text, w, nodes); bad != nil || tasks == "" {
					return nil
				}
				if nodes == nil {
					return usagef("%s names no cluster: give the one of the run with --cluster; %s", args[0], cluster.Usage)
				}
				if w, err = experiment.Releases(w, horizon); err != nil {
					return err
				}
				if loaded {
					if w, err = w.ScaleLoad(nodes, load); err != nil {
						return fmt.Errorf("%s: --load: %w", args[0], err)
					}
				}
				bad, err = checkTasks(&text, w, nodes, tasks, kill, horizon)
				return err
			})
			if err != nil {
				return err
			}
			if err := toStdout(cmd, func(w io.Writer) error { _, err := io.WriteString(w, text.String()); return err }); err != nil {
				return err
			}
			return bad
		},
	}
	f.add(cmd, true)
	nameFlag(cmd.Flags(), &tasks, "tasks", "", "tasks CSV of a run to check against the trace and the cluster; - is standard input")
	cmd.Flags().Float64Var(&load, "load", 0, "the run was made with this --load (offered work / capacity)")
	cmd.Flags().DurationVar(&horizon, "horizon", 0, "the run was made with this --horizon: what had not ended then is no error")
	cmd.Flags().BoolVar(&kill, "kill-at-estimate", false, "the run was made with --kill-at-estimate, by the trace's estimates")
	return cmd
}

// checkTrace reports on the trace itself; the error is that it cannot be run to its end.
func checkTrace(out *strings.Builder, w *traces.Workload, nodes []sched.NodeSpec) error {
	fmt.Fprintf(out, "%s: %s in %s (%s)\n", w.Source, count(w.Len(), "task"), count(int(w.Jobs), "job"), w.Format)
	if nodes != nil {
		fmt.Fprintf(out, "cluster: %s\n", cluster.Format(nodes))
	}
	for _, n := range w.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	fatal, tasks := 0, 0
	for _, p := range w.Check(nodes) {
		level := "warning"
		if p.Fatal {
			level = "error"
			fatal++
			tasks += p.Count
		}
		fmt.Fprintf(out, "%s: %s\n", level, p)
	}
	if fatal > 0 {
		return fmt.Errorf("%s: %s can never start on this cluster", w.Source, count(tasks, "task"))
	}
	if nodes == nil {
		fmt.Fprintln(out, "trace: ok, as far as can be told without a cluster (--cluster)")
	} else {
		fmt.Fprintln(out, "trace: ok")
	}
	return nil
}

// checkTasks reports on a run; bad is that it broke a promise.
func checkTasks(out *strings.Builder, w *traces.Workload, nodes []sched.NodeSpec, path string, kill bool, horizon time.Duration) (bad, err error) {
	in, name := io.Reader(os.Stdin), "stdin"
	if path != "-" {
		file, err := traces.OpenFile(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in, name = file, path
	}
	unpacked, err := traces.Unpack(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer unpacked.Close()
	type key struct{ job, task string }
	byName := make(map[key]sched.TaskID, w.Len())
	for t := range w.Tasks {
		byName[key{w.JobName.At(int(w.Tasks[t].Job)), w.TaskNames.At(t)}] = sched.TaskID(t)
	}
	byNode := make(map[string]sched.NodeID, len(nodes))
	for i := range nodes {
		byNode[nodes[i].Name] = sched.NodeID(i)
	}
	c := check.Case{Table: w.Table, Run: w.Run, RunOn: w.RunOn, Nodes: nodes, KillAtEstimate: kill, Horizon: horizon}
	sum, list, err := check.CheckCSV(c, unpacked,
		func(job, task string) (sched.TaskID, bool) { t, ok := byName[key{job, task}]; return t, ok },
		func(node string) (sched.NodeID, bool) { n, ok := byNode[node]; return n, ok })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, v := range list {
		what := ""
		if v.Task != sched.Nobody {
			what = fmt.Sprintf("task %s of job %s: ", w.TaskNames.At(int(v.Task)), w.JobName.At(int(w.Tasks[v.Task].Job)))
		}
		fmt.Fprintf(out, "%s: %s: %s%s\n", name, v.Rule, what, v.Text)
	}
	fmt.Fprintf(out, "%s: %s, %d started", name, count(sum.Rows, "row"), sum.Started)
	if sum.Repeated > 0 {
		fmt.Fprintf(out, "; %d of them more than once: only order and waits are checked of these", sum.Repeated)
	}
	fmt.Fprintln(out)
	if len(list) > 0 {
		return fmt.Errorf("%s: %s", name, count(len(list), "broken promise")), nil
	}
	fmt.Fprintln(out, "run: ok, every promise that the CSV tells of is kept")
	return nil, nil
}
