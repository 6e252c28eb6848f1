package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/schedlab/schedlab/benchmarks/verify"
)

// dataVariable names the folder of public references where --data does not.
const dataVariable = "SCHEDLAB_SHARED"

func verifyCommand() *cobra.Command {
	var data, output string
	var only []string
	var short, allowSkip bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hold the simulator and the policies against published results",
		Long: `Simulates what others have published an answer for (closed forms of queueing
theory, runs of other simulators, worked examples) and prints for each what was
compared, where the answer comes from, what was expected and got, and within
which tolerance. A row marked "shown" proves nothing: a difference is known and
explained in the code of the check, and the row fails only if it grows.

The references are not part of the program: --data names their folder, which
holds references/ and traces/. What is not there is skipped. The exit code is 1
if a check fails or, without --allow-skip, is skipped. The whole takes about
15 minutes on two cores, --short seconds.`,
		Example: `  schedlab verify --data ../shared
  schedlab verify --short --only backfill,gpu`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var progress io.Writer
			if term.IsTerminal(int(os.Stderr.Fd())) {
				progress = os.Stderr
			}
			for _, g := range only {
				if !slices.Contains(verify.Groups(), g) {
					return usagef("--only %s: there are %s", g, strings.Join(verify.Groups(), ", "))
				}
			}
			if st, err := os.Stat(data); err != nil || !st.IsDir() {
				if !allowSkip {
					return fmt.Errorf("%s: no folder of references there (name it with --data, or pass --allow-skip)", data)
				}
			}
			began := time.Now()
			checks, err := verify.Run(cmd.Context(), data, progress, verify.Options{Short: short, Groups: only})
			if err != nil {
				return err
			}
			if err := showChecks(cmd.OutOrStdout(), checks, time.Since(began), output); err != nil {
				return err
			}
			return verdict(checks, allowSkip)
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", cmp.Or(os.Getenv(dataVariable), "../shared"), "folder of references ($"+dataVariable+")")
	f.StringSliceVar(&only, "only", nil, "groups of checks: "+strings.Join(verify.Groups(), ", ")+" (default: all)")
	f.BoolVar(&short, "short", false, "fewer and shorter simulations, and wider tolerances, which the table states")
	f.BoolVar(&allowSkip, "allow-skip", false, "skipped checks are no failure")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// countChecks returns how many checks failed and how many were skipped.
func countChecks(checks []verify.Check) (failed, skipped int) {
	for _, c := range checks {
		switch {
		case c.Skipped:
			skipped++
		case !c.OK:
			failed++
		}
	}
	return failed, skipped
}

// verdict is the error of a run of checks, nil if there is nothing to complain of.
func verdict(checks []verify.Check, allowSkip bool) error {
	failed, skipped := countChecks(checks)
	switch {
	case failed > 0:
		return fmt.Errorf("%d of %d checks fail", failed, len(checks))
	case skipped > 0 && !allowSkip:
		return fmt.Errorf("%d of %d checks were skipped: their references are not there (--allow-skip accepts that)", skipped, len(checks))
	case len(checks) == skipped && !allowSkip:
		return errors.New("nothing was checked")
	}
	return nil
}

// countShown returns how many checks only show a known difference, or that there is nothing to compare.
func countShown(checks []verify.Check) int {
	n := 0
	for _, c := range checks {
		if c.Verdict() == "shown" {
			n++
		}
	}
	return n
}

func showChecks(w io.Writer, checks []verify.Check, took time.Duration, output string) error {
	failed, skipped := countChecks(checks)
	shown := countShown(checks)
	if output == "json" {
		type row struct {
			What      string  `json:"what"`
			Source    string  `json:"source"`
			Expected  string  `json:"expected"`
			Got       string  `json:"got"`
			Tolerance string  `json:"tolerance"`
			Verdict   string  `json:"verdict"`
			TookS     float64 `json:"took_s"`
		}
		out := struct {
			Checks  []row   `json:"checks"`
			Shown   int     `json:"shown"`
			Failed  int     `json:"failed"`
			Skipped int     `json:"skipped"`
			TookS   float64 `json:"took_s"`
		}{[]row{}, shown, failed, skipped, took.Seconds()}
		for _, c := range checks {
			out.Checks = append(out.Checks, row{c.Name, c.Source, c.Expected, c.Got, c.Tolerance, c.Verdict(), c.Took.Seconds()})
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(out)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WHAT\tSOURCE\tEXPECTED\tGOT\tTOLERANCE\tVERDICT")
	for _, c := range checks {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Source, c.Expected, c.Got, c.Tolerance, c.Verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d checks: %d ok, %d shown, %d fail, %d skipped, in %s\n",
		len(checks), len(checks)-shown-failed-skipped, shown, failed, skipped, took.Round(100*time.Millisecond))
	return err
}
