package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/policies/sched"
)

func cleanCommand() *cobra.Command {
	older, output := age(-1), ""
	var dry bool
	cmd := &cobra.Command{
		Use:   "clean --older AGE",
		Short: "Remove the logs of jobs that are over",
		Long: `Removes the logs of jobs that have been over for at least --older, with the
folders of their attempts, and says what that freed on the daemon's disk. A job
of which anything waits, runs or is held keeps them all. What jobs wrote
elsewhere stays, and so does what list, show and export know of them. Each user
removes those of his own jobs, root and the daemon's user those of all.
"live serve --keep-logs AGE" does it by itself.`,
		Example: "  schedlab live clean --older 7d --dry-run\n  schedlab live clean --older 7d",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if older < 0 {
				return usagef("--older is missing: say for how long jobs must have been over, as --older 7d")
			}
			c, err := client()
			if err != nil {
				return err
			}
			done, err := c.Clean(cmd.Context(), daemon.Clean{OlderS: time.Duration(older).Seconds(), DryRun: dry})
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				switch {
				case output == "json":
					return writeJSON(w, done)
				case done.Tasks == 0:
					_, err = fmt.Fprintln(w, "nothing to remove")
				case dry:
					_, err = fmt.Fprintf(w, "%s, %s: %s would be freed\n", count(done.Jobs, "job"), count(done.Tasks, "task"), size(done.Bytes))
				default:
					_, err = fmt.Fprintf(w, "%s, %s: %s freed\n", count(done.Jobs, "job"), count(done.Tasks, "task"), size(done.Bytes))
				}
				return err
			})
		},
	}
	cmd.Flags().Var(&older, "older", "how long they must have been over, as 7d, 12h or 0s")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "remove nothing, and say what would be")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// age is a flag's duration that may be written in days; below 0: it is not given.
type age time.Duration

const day = 24 * time.Hour

func (a *age) Type() string { return "age" }

func (a *age) String() string {
	if *a < 0 {
		return ""
	}
	return sched.ShortDuration(time.Duration(*a))
}

func (a *age) Set(s string) error {
	d, err := time.ParseDuration(s)
	if number, ok := strings.CutSuffix(s, "d"); ok {
		var days float64
		days, err = strconv.ParseFloat(number, 64)
		if !(days <= 36500) {
			days = -1
		}
		d = time.Duration(days * float64(day))
	}
	if err != nil || d < 0 {
		return fmt.Errorf("it must be a time such as 7d or 12h")
	}
	*a = age(d)
	return nil
}
