package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Look at, check, convert and generate workloads",
		Long: `Look at, check, convert and generate workloads.

TRACE is a file in one of the formats below, - for standard input, or gen:SPEC
(what "schedlab trace generate SPEC" makes, with seed 1). The format is told by
the content (--format overrides); gzip and zstd are taken off.

` + formatList(),
		Example: `  schedlab trace info philly.csv.gz --cluster 80x8xV100
  schedlab trace convert KTH-SP2-1996-2.1-cln.swf.gz kth.csv
  schedlab trace generate jobs=1000,gpus=philly --seed 7 --out jobs.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	narrow(cmd)
	cmd.AddCommand(traceInfoCommand(), traceConvertCommand(), traceGenerateCommand(), traceCheckCommand(), traceGraphCommand(), traceClusterCommand())
	return cmd
}

// narrow makes the help of a command and its subcommands fit in 80 columns.
func narrow(cmd *cobra.Command) {
	usage := strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 80 ")
	cmd.SetUsageTemplate(strings.ReplaceAll(usage, "for more information about a command.", "for more."))
}

func formatList() string {
	var b strings.Builder
	b.WriteString("Formats (w: can be written, too):\n")
	for _, f := range traces.Formats() {
		mark := ""
		if f.Write != nil {
			mark = "w"
		}
		first, rest, _ := strings.Cut(wrap(f.About, 80-18), "\n")
		fmt.Fprintf(&b, "  %-13s %-1s %s\n", f.Name, mark, first)
		if rest != "" {
			b.WriteString(indent(rest, 18))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// arguments wants as many arguments as names, and says what is missing.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s wants %s; see %s --help", cmd.CommandPath(), strings.Join(names, " and "), cmd.CommandPath())
		}
		if i := slices.Index(args, ""); i >= 0 && i < len(names) {
			return fmt.Errorf("%s: %s is empty; see %s --help", cmd.CommandPath(), names[i], cmd.CommandPath())
		}
		if len(args) > len(names) {
			return fmt.Errorf("%s: %q is one argument too many; see %s --help", cmd.CommandPath(), args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// traceFlags are the flags that say how a trace is read.
type traceFlags struct {
	format, cluster string
}

func (f *traceFlags) add(cmd *cobra.Command, withCluster bool) {
	cmd.Flags().StringVar(&f.format, "format", "", "format of the trace (default: told by its content); one of "+strings.Join(formatNames(false), ", "))
	if withCluster {
		cmd.Flags().StringVar(&f.cluster, "cluster", "", "the cluster: pool:128cpu, 8x8xA100, 1000x(64cpu,512gb,8xH100) or a file (default: what the trace itself names)")
	}
}

func formatNames(write bool) []string {
	var list []string
	for _, f := range traces.Formats() {
		if write && f.Write != nil || !write && f.Read != nil {
			list = append(list, f.Name)
		}
	}
	return list
}

// check refuses what is wrong on the command line before a file is opened.
func (f *traceFlags) check(path string) error {
	if names := formatNames(false); f.format != "" && !slices.Contains(names, f.format) {
		return usagef("--format: unknown trace format %q (can be read: %s)", f.format, strings.Join(names, ", "))
	}
	if f.format != "" && strings.HasPrefix(path, genPrefix) {
		return errNoneRead
	}
	return nil
}

var errNoneRead = usagef("--format says how to read a TRACE, and none is read")

// load reads the trace and the cluster: the one given, or else the trace's own, which may be nil.
func (f *traceFlags) load(path string) (*traces.Workload, []sched.NodeSpec, error) {
	var nodes []sched.NodeSpec
	if f.cluster != "" {
		var err error
		if nodes, err = cluster.Parse(f.cluster); err != nil {
			return nil, nil, asUsageUnlessFile(err, f.cluster)
		}
	}
	if spec, ok := strings.CutPrefix(path, genPrefix); ok {
		w, own, err := generate(spec, 1, nodes)
		if nodes == nil {
			nodes = own
		}
		return w, nodes, err
	}
	w, err := traces.Open(path, f.format)
	if err != nil {
		return nil, nil, err
	}
	if nodes == nil {
		nodes = w.Cluster
	}
	return w, nodes, nil
}

// await runs f and gives up on it when the context ends: a read of a terminal or of a slow disk cannot be stopped otherwise.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// toStdout buffers what write writes to standard output for people.
func toStdout(cmd *cobra.Command, write func(io.Writer) error) error {
	return toStdoutAsIs(cmd, func(w io.Writer) error { return write(shown{w}) })
}

// toStdoutAsIs is toStdout for what other programs read.
func toStdoutAsIs(cmd *cobra.Command, write func(io.Writer) error) error {
	b := bufio.NewWriter(cmd.OutOrStdout())
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}

// writeTo writes to path as writeFile does, or to standard output where it is "-" or "". The name's end says whether it is packed. The
// context's end is an error, so that nothing half-written is left.
func writeTo(cmd *cobra.Command, path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		return toStdoutAsIs(cmd, write)
	}
	return writeFile(path, func(w io.Writer) error {
		b := bufio.NewWriterSize(stoppable{cmd.Context(), w}, 256<<10)
		z, err := packer(path, b)
		if err != nil {
			return err
		}
		if err := write(z); err != nil {
			return err
		}
		return errors.Join(z.Close(), b.Flush())
	})
}

type stoppable struct {
	ctx context.Context
	w   io.Writer
}

func (s stoppable) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}

// packer compresses as the end of the name says: .gz, .zst, or not at all.
func packer(path string, w io.Writer) (io.WriteCloser, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case ".zst":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// extension returns the end of a file's name that says its content, lower case: ".csv" of "a.CSV.gz".
func extension(path string) string {
	path = strings.ToLower(filepath.Base(path))
	if e := filepath.Ext(path); e == ".gz" || e == ".zst" {
		path = strings.TrimSuffix(path, e)
	}
	return filepath.Ext(path)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// wrap breaks text at spaces into lines of at most width characters; a longer word stands alone.
func wrap(text string, width int) string {
	var b strings.Builder
	col := 0
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case col+1+n > width:
			b.WriteByte('\n')
			col = 0
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += n
	}
	return b.String()
}

// indent begins every line with n spaces and ends the last.
func indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+pad) + "\n"
}

func traceInfoCommand() *cobra.Command {
	var f traceFlags
	var output string
	cmd := &cobra.Command{
		Use:   "info TRACE",
		Short: "Say what is in a trace",
		Long: `Say what is in a trace: tasks, jobs and dependencies, quantiles of run times
(s), GPUs, CPUs and memory (GiB) per task, the work offered and its load on the
cluster, tenants, queues and kinds, and what the reader dropped or mended and
why, with the number of records and the first line.`,
		Example: `  schedlab trace info philly.csv.gz --cluster 80x8xV100
  zcat KTH-SP2-1996-2.1-cln.swf.gz | schedlab trace info -
  schedlab trace info jobs.csv -o json | jq .run_s.median`,
		Args: arguments("TRACE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			var in *traces.Info
			err := await(cmd.Context(), func() error {
				w, nodes, err := f.load(args[0])
				if err != nil {
					return err
				}
				in = w.Info(nodes)
				if nodes != nil {
					in.Cluster = cluster.Format(nodes)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, in)
				}
				return in.Text(w)
			})
		},
	}
	f.add(cmd, true)
	outputFlag(cmd, &output, "table", "json")
	return cmd
}
