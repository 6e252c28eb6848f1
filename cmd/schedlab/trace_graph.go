package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
)

func traceGraphCommand() *cobra.Command {
	var (
		f                traceFlags
		job, output, out string
		lines            int
	)
	cmd := &cobra.Command{
		Use:   "graph TRACE",
		Short: "Draw the DAG of one job",
		Long: `Draw the DAG of one job with the run times of its tasks (s) and its longest
path: as a tree for the terminal, as DOT for Graphviz, or as an SVG picture.
Without --job it is the job with the most tasks.`,
		Example: `  schedlab trace graph montage.json.gz
  schedlab trace graph jobs.csv --job 17 --out job-17.svg
  schedlab trace graph jobs.csv -o dot | dot -Tpdf > job.pdf`,
		Args: arguments("TRACE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			if lines < 1 {
				return usagef("--lines must be at least 1, not %d", lines)
			}
			if out != "-" && !cmd.Flags().Changed("output") {
				switch extension(out) {
				case ".svg":
					output = "svg"
				case ".dot", ".gv":
					output = "dot"
				case ".txt":
				default:
					return usagef("%s: the name does not say what to draw; say it with -o tree, dot or svg", out)
				}
			}
			if output != "tree" && cmd.Flags().Changed("lines") {
				return usagef("--lines is for a tree; %s draws all", output)
			}
			var w *traces.Workload
			var id sched.JobID
			err := await(cmd.Context(), func() error {
				var err error
				if w, _, err = f.load(args[0]); err != nil {
					return err
				}
				id, err = findJob(w, job)
				return err
			})
			if err != nil {
				return err
			}
			p := graph.Picture{Run: w.Run, Lines: lines}
			if w.Names != nil {
				p.Name = func(t sched.TaskID) string { return w.Names.At(int(t)) }
			}
			err = writeTo(cmd, out, func(to io.Writer) error {
				switch output {
				case "dot":
					p.Title = w.JobName.At(int(id))
					return graph.DOT(to, w.Table, graph.Members(w.Table, id), p)
				case "svg":
					return graph.SVG(to, w.Table, id, p)
				}
				return graph.Tree(to, w.Table, id, p)
			})
			if err != nil {
				return at(out, err)
			}
			return nil
		},
	}
	f.add(cmd, false)
	cmd.Flags().StringVar(&job, "job", "", "name of the job (default: the one with the most tasks)")
	outputFlag(cmd, &output, "tree", "dot", "svg")
	nameFlag(cmd.Flags(), &out, "out", "-", "file to write; .svg, .dot or .txt say what is drawn; - is standard output")
	cmd.Flags().IntVar(&lines, "lines", 200, "most lines of a tree")
	return cmd
}

// findJob returns the job of a name, or the first of those with the most tasks.
func findJob(w *traces.Workload, name string) (sched.JobID, error) {
	if name != "" {
		for j := range int(w.Jobs) {
			if w.JobName.At(j) == name {
				return sched.JobID(j), nil
			}
		}
		var some []string
		for j := range min(int(w.Jobs), 3) {
			some = append(some, w.JobName.At(j))
		}
		if w.Jobs > 3 {
			some = append(some, "...")
		}
		return 0, fmt.Errorf("%s: no job %q among %d (%s)", w.Source, name, w.Jobs, strings.Join(some, ", "))
	}
	size := make([]int, w.Jobs)
	best := sched.JobID(0)
	for _, t := range w.Tasks {
		size[t.Job]++
	}
	for j := range size {
		if size[j] > size[best] {
			best = sched.JobID(j)
		}
	}
	return best, nil
}
