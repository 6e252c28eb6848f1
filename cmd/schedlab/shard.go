package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/traces"
)

// parseShard reads --shard and refuses what makes no sense with it.
func parseShard(text string, pdf bool, output string, outputGiven bool) (experiment.Shard, error) {
	s, err := experiment.ParseShard(text, os.Getenv)
	switch {
	case err != nil:
		return s, usagef("--shard: %v", err)
	case !s.Parted():
		return s, nil
	case pdf:
		return s, usagef("--pdf: a shard draws no plots; schedlab merge --out does")
	case outputGiven && output != "json":
		return s, usagef("-o %s: a shard writes a partial result in JSON; schedlab merge prints the table", output)
	}
	return s, nil
}

// compareShard runs one part of the experiment and writes its partial result to out, or to standard output. reads are the input files.
func compareShard(cmd *cobra.Command, o *experiment.Options, w *traces.Workload, clusterName, out string, reads []string) error {
	o.Pictures = false
	path, err := partPath(out, o.Shard)
	if err != nil {
		return err
	}
	if err := checkOutputs(reads, []string{path}); err != nil {
		return err
	}
	bar := newBar(os.Stderr)
	o.Progress = bar.At
	res, err := experiment.Run(cmd.Context(), *o)
	bar.Clear()
	if err != nil {
		return err
	}
	first := res.Workload
	if first == nil {
		first = w
	}
	c := heading(w, first, clusterName, o.Nodes)
	p := experiment.NewPartial(o, res, w, c.Trace, c.Cluster, traceNotes(w, o.Nodes, &o.Sim))
	if path == "" {
		return p.Write(cmd.OutOrStdout())
	}
	if err := writeFile(path, p.Write); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "shard %s: %d of %d runs in %s\n", o.Shard, len(p.Runs), p.Total(), path)
	return err
}

// partPath is where the partial result goes: out, or a file of its own in it if it is a folder or is written like one; the folder is made.
// "" stays "".
func partPath(out string, s experiment.Shard) (string, error) {
	if out == "" {
		return "", nil
	}
	st, err := os.Stat(out)
	if !os.IsPathSeparator(out[len(out)-1]) && (err != nil || !st.IsDir()) {
		return out, nil
	}
	return filepath.Join(out, fmt.Sprintf("part-%d-of-%d.json", s.Number, s.Of)), os.MkdirAll(out, 0o777)
}

func mergeCommand() *cobra.Command {
	var out, output, intervals string
	var pdf bool
	cmd := &cobra.Command{
		Use:   "merge PART...",
		Short: "Join the parts that compare --shard wrote",
		Long: `Joins the partial results of all shards of an experiment and prints what
schedlab compare prints for the whole of it, byte for byte, but for sim_wall_s:
the simulator's own time stays what the process measured that did the run.

A missing part, a part given twice, and parts of different experiments (another
trace, cluster, policy, setting or revision of schedlab) are refused.`,
		Example: `  schedlab compare --seeds 20 --shard 1/2 --out parts/
  schedlab compare --seeds 20 --shard 2/2 --out parts/
  schedlab merge parts/*.json`,
		Args: func(cmd *cobra.Command, args []string) error { return arguments("PART")(cmd, args[:min(len(args), 1)]) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if pdf && out == "" {
				return usagef("--pdf needs --out")
			}
			if out != "" {
				if err := checkFolder(out); err != nil {
					return err
				}
			}
			parts := make([]*experiment.Partial, 0, len(args))
			for _, path := range args {
				p, err := readPart(path)
				if err != nil {
					return err
				}
				parts = append(parts, p)
			}
			res, err := experiment.Merge(parts, args)
			if err != nil {
				return err
			}
			if intervals == "bootstrap" {
				bootstrap(res)
			}
			first := parts[0]
			for _, p := range parts {
				if p.Shard == 1 { // it holds the first run, of which the report's head speaks
					first = p
				}
			}
			c := &report.Comparison{
				Trace: first.Trace, Cluster: first.Cluster, Runs: res.Runs, Summary: res.Summary, Notes: notes(res, first.Notes),
			}
			if out != "" {
				said, err := writeOut(out, c, res, pdf)
				if err != nil {
					return err
				}
				c.Notes = append(c.Notes, said,
					"distributions, time series, Gantt charts and job graphs need the runs themselves: schedlab compare --out, of one seed and load")
			}
			return show(cmd.OutOrStdout(), c, output)
		},
	}
	nameFlag(cmd.Flags(), &out, "out", "", "folder for compare.json, compare.csv and the plots that parts suffice for: mean wait and throughput")
	intervalsFlag(cmd, &intervals)
	cmd.Flags().BoolVar(&pdf, "pdf", false, "plots as PDF too")
	outputFlag(cmd, &output, "table", "json", "csv")
	return cmd
}

func readPart(path string) (p *experiment.Partial, err error) {
	f, err := traces.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return experiment.ReadPartial(io.Reader(f), path)
}
