package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/policies/realtime"
	"github.com/schedlab/schedlab/traces"
)

func analyzeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "analyze",
		Short:   "Analyze a workload without running it",
		Long:    "Analyze a workload without running it.",
		Example: "  schedlab analyze rt tasks.csv",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	narrow(cmd)
	cmd.AddCommand(analyzeRTCommand())
	return cmd
}

func analyzeRTCommand() *cobra.Command {
	var order, format, output string
	var processors int
	cmd := &cobra.Command{
		Use:   "rt FILE",
		Short: "Say whether periodic tasks always meet their deadlines",
		Long: `Say whether periodic tasks on one preemptive processor always meet their
deadlines: priorities, utilization, the Liu-Layland bound n(2^(1/n)-1), the
hyperbolic bound, exact worst-case response times, and the verdict under fixed
priorities, under the best order of these (Audsley) and under EDF. With
--processors it also shares the tasks out among as many processors.

FILE (- is standard input) is a CSV with the columns
  name, c, t and, where wanted, d, j, b, priority
(run time, period, relative deadline, release jitter, blocking; as 2ms, 1.5s or
a number of seconds; a larger priority is more important), or a trace whose
tasks have a period_s, as "schedlab trace generate periodic=uunifast" makes it,
or gen:periodic=uunifast itself: run times are then its estimates, which should
be the worst case.

Exit code 0 means that the analysis was made, whatever the verdict.`,
		Example: `  schedlab analyze rt set.csv
  schedlab analyze rt set.csv --order dm -o json
  schedlab analyze rt set.csv --order opa --processors 4
  schedlab analyze rt 'gen:periodic=uunifast(tasks=8,utilization=0.9)'
  printf 'name,c,t\nT1,2ms,10ms\nT2,5ms,25ms\n' | schedlab analyze rt -`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := realtime.ParseOrder(order)
			if err != nil {
				return usagef("--order: %w", err)
			}
			if processors < 0 || processors > 100_000 {
				return usagef("--processors must be from 1 to 100000, not %d", processors)
			}
			f := traceFlags{format: format}
			if err := f.check(args[0]); err != nil {
				return err
			}
			var report *realtime.Report
			err = await(cmd.Context(), func() error {
				set, name, err := readSet(args[0], &f)
				if err != nil {
					return err
				}
				if report, err = realtime.Analyze(set, o); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if processors > 0 {
					return report.AddPartition(set, o, processors)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return report.JSON(w)
				}
				return report.Text(w)
			})
		},
	}
	cmd.Flags().StringVar(&order, "order", "rm", "priorities: rm (shorter period first), dm (shorter relative deadline first), given (larger priority first) or opa (Audsley's optimal assignment)")
	cmd.Flags().IntVar(&processors, "processors", 0, "share the tasks out among so many processors, first fit by falling utilization")
	cmd.Flags().StringVar(&format, "format", "", "format of a trace (default: told by its content); one of "+strings.Join(formatNames(false), ", "))
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// readSet reads a task set in its own CSV, told by the columns c and t, or a trace.
func readSet(path string, f *traceFlags) (realtime.Set, string, error) {
	if strings.HasPrefix(path, genPrefix) {
		w, _, err := f.load(path)
		if err != nil {
			return nil, path, err
		}
		return setOf(w)
	}
	in, name := io.Reader(os.Stdin), "stdin"
	if path != "-" {
		file, err := traces.OpenFile(path)
		if err != nil {
			return nil, path, err
		}
		defer file.Close()
		in, name = file, path
	}
	unpacked, err := traces.Unpack(in)
	if err != nil {
		return nil, name, fmt.Errorf("%s: %w", name, err)
	}
	defer unpacked.Close()
	br := bufio.NewReaderSize(unpacked, 64<<10)
	head, err := br.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, name, fmt.Errorf("%s: %w", name, err)
	}
	if f.format == "" && ownColumns(head) {
		set, err := realtime.Read(br, name)
		return set, name, err
	}
	w, err := traces.Read(br, name, f.format)
	if err != nil {
		return nil, name, err
	}
	return setOf(w)
}

// setOf returns the periodic tasks of a workload.
func setOf(w *traces.Workload) (realtime.Set, string, error) {
	set, name := realtime.FromTable(w.Table), w.Source
	if len(set) == 0 {
		how := "column period_s, or a CSV with columns name,c,t"
		if w.Format == "generated" {
			how = "gen:periodic=uunifast makes such tasks"
		}
		return nil, name, fmt.Errorf("%s: none of its %s is periodic (%s)", name, count(w.Len(), "task"), how)
	}
	return set, name, nil
}

// ownColumns reports whether the first line that is no comment is the header of realtime's CSV.
func ownColumns(head []byte) bool {
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		cells := strings.Split(strings.ToLower(string(line)), ",")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		return slices.Contains(cells, "c") && slices.Contains(cells, "t")
	}
	return false
}
