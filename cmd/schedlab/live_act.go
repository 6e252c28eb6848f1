package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/daemon"
)

// actCommand does something to tasks.
func actCommand(action, short, long string) *cobra.Command {
	var output string
	var recurrence bool
	cmd := &cobra.Command{
		Use:     action + " JOBS",
		Short:   short,
		Long:    long,
		Example: "  schedlab live " + action + " 12\n  schedlab live " + action + " 3-8,12/train",
		Args:    arguments("JOBS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			if recurrence {
				ended, err := c.EndRecurrence(cmd.Context(), args[0])
				if err != nil {
					return refused(err)
				}
				for _, id := range ended {
					if output != "json" {
						_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%d recurs no more\n", id)
					}
				}
			}
			done, err := c.Act(cmd.Context(), daemon.Action(action), args[0])
			return acted(cmd, output, done, err)
		},
	}
	outputFlag(cmd, &output, "table", "json")
	if daemon.Action(action) == daemon.Cancel {
		cmd.Flags().BoolVar(&recurrence, "recurrence", false, "a job that recurs does so no more")
	}
	return cmd
}

// acted prints which tasks something was done to.
func acted(cmd *cobra.Command, output string, done api.Acted, err error) error {
	if err != nil {
		return refused(err)
	}
	if output == "json" {
		return writeJSON(cmd.OutOrStdout(), done)
	}
	text := "nothing to do"
	if len(done.Tasks) > 0 {
		text = strings.Join(done.Tasks, " ")
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
		return err
	}
	if n := len(done.Recurring); n > 0 { // who cancels the copies alone gets the next one
		jobs := strings.ReplaceAll(strings.Trim(fmt.Sprint(done.Recurring), "[]"), " ", ",")
		who := map[bool]string{true: "job " + jobs + " recurs", false: "jobs " + jobs + " recur"}[n == 1]
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s all the same: `schedlab live cancel --recurrence %s` ends that\n", who, jobs)
	}
	return nil
}

func updateCommand() *cobra.Command {
	var estimate time.Duration
	var output string
	cmd := &cobra.Command{
		Use:     "update JOBS --estimate DURATION",
		Short:   "Change what policies believe of a job's run time",
		Long:    "Replaces the run-time estimate of tasks that are not over.",
		Example: "  schedlab live update 12 --estimate 30m",
		Args:    arguments("JOBS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if estimate <= 0 {
				return usagef("update wants --estimate, a positive duration")
			}
			c, err := client()
			if err != nil {
				return err
			}
			done, err := c.Estimate(cmd.Context(), args[0], estimate.Seconds())
			return acted(cmd, output, done, err)
		},
	}
	cmd.Flags().DurationVar(&estimate, "estimate", 0, "how long it will run, from its beginning")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func livePolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy",
		Short:   "Show or change the policy in force",
		Long:    "Shows or changes the policy. A change keeps the queue and what runs.",
		Example: "  schedlab live policy get\n  schedlab live policy set 'easy+best-fit'",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var output string
	show := func(cmd *cobra.Command, name string) error {
		return toStdout(cmd, func(w io.Writer) error {
			if output == "json" {
				return writeJSON(w, api.Policy{Policy: name})
			}
			_, err := fmt.Fprintln(w, name)
			return err
		})
	}
	get := &cobra.Command{
		Use: "get", Short: "Show the policy", Long: "Prints the policy in force.", Example: "  schedlab live policy get", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			name, err := c.Policy(cmd.Context())
			if err != nil {
				return refused(err)
			}
			return show(cmd, name)
		},
	}
	set := &cobra.Command{
		Use: "set POLICY", Short: "Change the policy", Long: "Changes the policy while everything runs on. Only the daemon's user and root\nmay.",
		Example: "  schedlab live policy set critical-path", Args: arguments("POLICY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			policy := rooted(args[0])
			if err := c.SetPolicy(cmd.Context(), policy); err != nil || output != "json" {
				return refused(err)
			}
			return show(cmd, policy)
		},
	}
	for _, c := range []*cobra.Command{get, set} {
		outputFlag(c, &output, "table", "json")
	}
	cmd.AddCommand(get, set)
	return cmd
}

func liveExportCommand() *cobra.Command {
	var out, output string
	cmd := &cobra.Command{
		Use:   "export [JOBS]",
		Short: "Write what has been run as a trace",
		Long: `Writes the tasks that are done as a native CSV trace with their true run times,
for the simulator: which policy would have served this queue best? A run time is
how long the attempt ran that did the task, and the work that checkpoints had
kept for it; attempts whose work was lost do not count. With -o json as native
JSON lines.`,
		Example: "  schedlab live export | schedlab compare - --cluster '1x(8cpu,4xA100)'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			format := map[string]string{"csv": "csv", "json": "jsonl"}[output]
			return refused(writeTo(cmd, out, func(w io.Writer) error { return c.Export(cmd.Context(), w, strings.Join(args, ""), format) }))
		},
	}
	outputFlag(cmd, &output, "csv", "json")
	nameFlag(cmd.Flags(), &out, "out", "", "the file (packed if it ends in .gz or .zst; default: standard output)")
	return cmd
}

func liveJournalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "journal FILE",
		Short:   "Write all facts and orders so far, for schedlab replay",
		Long:    "Writes all facts and orders so far in the simulator's journal format.",
		Example: "  schedlab live journal live.journal\n  schedlab replay live.journal",
		Args:    arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			if err := writeTo(cmd, args[0], func(w io.Writer) error { return c.Journal(cmd.Context(), w) }); err != nil {
				return refused(err)
			}
			if args[0] != "-" {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: for schedlab replay\n", args[0])
			}
			return err
		},
	}
	return cmd
}
