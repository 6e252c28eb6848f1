package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
)

// target returns the format to write: the one asked for, or what the file's name says, or CSV on standard output.
func target(to, path string) (string, error) {
	names := formatNames(true)
	known := strings.Join(names, ", ")
	switch {
	case to != "" && !slices.Contains(names, to):
		return "", usagef("--to: cannot write trace format %q (can be written: %s)", to, known)
	case to != "":
		return to, nil
	case path == "-" || path == "":
		return "csv", nil
	}
	switch ext := extension(path); ext {
	case ".csv", ".jsonl", ".parquet", ".swf", ".dot":
		return ext[1:], nil
	case ".ndjson":
		return "jsonl", nil
	case ".gv":
		return "dot", nil
	}
	return "", usagef("%s: the name does not say the format to write; say it with --to (%s)", path, known)
}

// wrote tells on standard error what a file holds now, and what its format has no words for; standard output stays for data.
func wrote(cmd *cobra.Command, w *traces.Workload, path, format string) {
	if lost := traces.Lost(w, format); len(lost) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s cannot say, and leaves out: %s\n", destination(path), format, strings.Join(lost, ", "))
	}
	if path != "-" && path != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s in %s (%s)\n", path, count(w.Len(), "task"), count(int(w.Jobs), "job"), format)
	}
}

// count says "1 task" or "2 tasks".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func traceConvertCommand() *cobra.Command {
	var f traceFlags
	var to string
	cmd := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "Write a trace in another format",
		Long: `Read the trace IN (- is standard input) and write it to OUT (- is standard
output) as csv, jsonl, parquet, swf or dot. OUT's name says the format, and .gz
or .zst after it packs the file; --to overrides. OUT appears whole or not at
all. What the reader dropped or mended is told on standard error.

csv, jsonl and parquet keep everything. swf keeps submit times, run times,
estimates, processors, memory, users, queues, kinds and at most one predecessor
a task. It refuses shares of GPUs, GPU and CPU tasks in one file, and more
predecessors; what else it cannot say is left out and told on standard error.`,
		Example: `  schedlab trace convert philly.csv.gz philly.jsonl.zst
  schedlab trace convert montage.json.gz - --to dot | dot -Tsvg > montage.svg
  zcat old.swf.gz | schedlab trace convert - new.csv`,
		Args: arguments("IN", "OUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			format, err := target(to, args[1])
			if err != nil {
				return err
			}
			var w *traces.Workload
			err = await(cmd.Context(), func() error {
				var err error
				w, _, err = f.load(args[0])
				return err
			})
			if err != nil {
				return err
			}
			if err := writeTo(cmd, args[1], func(out io.Writer) error { return traces.Write(out, w, format) }); err != nil {
				return at(args[1], err)
			}
			for _, n := range w.Notes {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", args[0], n)
			}
			wrote(cmd, w, args[1], format)
			return nil
		},
	}
	f.add(cmd, false)
	cmd.Flags().StringVar(&to, "to", "", "format to write: "+strings.Join(formatNames(true), ", ")+" (default: as OUT's name says; csv to -)")
	return cmd
}

// at puts the path before an error that does not name it.
func at(path string, err error) error {
	path = destination(path)
	if strings.Contains(err.Error(), path) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func destination(path string) string {
	if path == "-" || path == "" {
		return "stdout"
	}
	return path
}

func traceGenerateCommand() *cobra.Command {
	var (
		f       traceFlags
		out, to string
		seed    uint64
	)
	cmd := &cobra.Command{
		Use:   "generate SPEC",
		Short: "Make a workload from published distributions, by seed",
		Long: `Make a workload from published distributions. The same SPEC and seed give the
same workload on every machine. SPEC is key=value,... with these keys (all may
be left out; times are seconds, or like 10m), or the word example: the workload
that "schedlab compare" runs by default, whose cluster is
  ` + gen.ExampleCluster + `

` + generateHelp(),
		Example: `  schedlab trace generate example --out example.csv
  schedlab trace generate jobs=1000,gpus=philly,load=0.9 --cluster 8x8xA100
  schedlab trace generate "jobs=200,dag=chain(tasks=5)" --seed 7
  schedlab trace generate "arrival=bursty,duration=pareto(alpha=1.1)"
  schedlab trace generate "periodic=uunifast(tasks=5)" --out set.csv`,
		Args: arguments("SPEC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			format, err := target(to, out)
			if err != nil {
				return err
			}
			spec := strings.TrimPrefix(strings.TrimSpace(args[0]), genPrefix)
			if spec == exampleSpec && f.cluster != "" {
				return usagef("generate example: it has its own cluster; leave --cluster out")
			}
			var w *traces.Workload
			err = await(cmd.Context(), func() error {
				var nodes []sched.NodeSpec
				var err error
				if f.cluster != "" {
					if nodes, err = cluster.Parse(f.cluster); err != nil {
						return asUsageUnlessFile(err, f.cluster)
					}
				}
				w, _, err = generate(spec, seed, nodes)
				return err
			})
			if err != nil {
				return err
			}
			if err := writeTo(cmd, out, func(o io.Writer) error { return traces.Write(o, w, format) }); err != nil {
				return at(out, err)
			}
			wrote(cmd, w, out, format)
			return nil
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 1, "seed: a whole number")
	nameFlag(cmd.Flags(), &out, "out", "-", "file to write; .csv, .jsonl, .parquet, .swf or .dot say the format, .gz or .zst after it pack it; - is standard output")
	cmd.Flags().StringVar(&to, "to", "", "format to write: "+strings.Join(formatNames(true), ", ")+" (default: as the file's name says, or csv)")
	cmd.Flags().StringVar(&f.cluster, "cluster", "", "the cluster that load=x is on: pool:128cpu, 8x8xA100, 1000x(64cpu,8xH100) or a file")
	return cmd
}

const exampleSpec = "example"

// generate makes the workload of a description, or the embedded example and its cluster. Its errors are those of the description.
func generate(text string, seed uint64, nodes []sched.NodeSpec) (*traces.Workload, []sched.NodeSpec, error) {
	if text == exampleSpec {
		w, own := gen.Example(seed)
		return w, own, nil
	}
	spec, err := gen.Parse(text)
	if err != nil {
		return nil, nil, usagef("generate: %w; see schedlab trace generate --help", err)
	}
	w, err := spec.Generate(seed, nodes)
	if err != nil {
		return nil, nil, usagef("generate: %w", err) // what the description asks for cannot be had
	}
	return w, nodes, nil
}

// generateHelp is gen.Help at a width of 80.
func generateHelp() string {
	var b strings.Builder
	for line := range strings.Lines(gen.Help()) {
		line = strings.TrimRight(line, "\n")
		text := strings.TrimLeft(line, " ")
		lead := len(line) - len(text)
		hang := 15
		if lead == 0 { // a key and what it says, in columns
			hang = 11
		}
		first, rest, _ := strings.Cut(wrap(text, 78-lead), "\n")
		if lead == 0 && len(line) > 11 {
			first, rest, _ = strings.Cut(wrap(line[11:], 78-11), "\n")
			first = line[:11] + first
		}
		b.WriteString(indent(first, lead))
		if rest != "" {
			b.WriteString(indent(wrap(rest, 78-hang), hang))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
