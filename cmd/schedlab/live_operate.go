package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/daemon"
)

func retryCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "retry JOBS",
		Short: "Run failed and dropped tasks again",
		Long: `Has those of the tasks that failed or were dropped run again, in a new job for
each of theirs, with the dependencies among them. It prints the new numbers.`,
		Example: "  schedlab live retry 12\n  schedlab live retry 12/train",
		Args:    arguments("JOBS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			ids, err := c.Retry(cmd.Context(), args[0])
			if err != nil {
				return refused(err)
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"jobs": ids})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Trim(fmt.Sprint(ids), "[]"))
			return err
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func drainCommand(on bool) *cobra.Command {
	use, short, long := "drain", "Start nothing more on this machine", "Closes a node to new starts; what runs there runs on. \"live undrain\" opens it\nagain."
	if !on {
		use, short, long = "undrain", "Start jobs on this machine again", "Opens a drained node to new starts."
	}
	var output string
	cmd := &cobra.Command{
		Use: use + " [NODE]", Short: short, Long: long, Example: "  schedlab live " + use, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			s, err := c.Drain(cmd.Context(), strings.Join(args, ""), on)
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, s)
				}
				_, err = fmt.Fprintf(w, "%d running\n", s.Running)
				return err
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func quotaCommand() *cobra.Command {
	var q daemon.Quota
	var cpu, gpus, output string
	var running int64
	var lift bool
	cmd := &cobra.Command{
		Use:   "quota",
		Short: "Show quotas, or set one",
		Long: `Shows the quotas in force, or that of --tenant or --queue. With --cpu, --gpus or
--tasks it sets that one: what the running tasks of the tenant or queue may hold
together, and how many they may be; what is not said is not bounded. --lift
takes the quota away.`,
		Example: "  schedlab live quota\n  schedlab live quota --tenant vision --gpus 4 --cpu 32\n  schedlab live quota --tenant vision --lift",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, b := range []struct {
				flag, text string
				to         **float64
			}{{"cpu", cpu, &q.CPU}, {"gpus", gpus, &q.GPUs}} {
				if !cmd.Flags().Changed(b.flag) {
					continue
				}
				if b.text == "" { // a variable of a script that is not set
					return usagef("--%s: a number is missing", b.flag)
				}
				v, err := number("--"+b.flag, b.text)
				if err != nil {
					return err
				}
				*b.to = &v
			}
			if cmd.Flags().Changed("tasks") {
				q.Tasks = &running
			}
			set, whose := q.CPU != nil || q.GPUs != nil || q.Tasks != nil, q.Tenant != "" || q.Queue != ""
			if lift && set {
				return usagef("--lift takes the whole quota away; it goes without --cpu, --gpus and --tasks")
			}
			c, err := client()
			if err != nil {
				return err
			}
			var all []daemon.Quota
			switch {
			case (set || lift) && !whose:
				return usagef("whose quota? --tenant or --queue says it")
			case set || lift:
				all, err = c.SetQuota(cmd.Context(), q)
			default:
				all, err = c.Quotas(cmd.Context())
				if whose {
					all = slices.DeleteFunc(all, func(o daemon.Quota) bool {
						return (q.Tenant == "" || o.Tenant != q.Tenant) && (q.Queue == "" || o.Queue != q.Queue)
					})
				}
			}
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, all)
				}
				if len(all) == 0 {
					if whose && !lift {
						fmt.Fprintln(w, "no quota")
					} else {
						fmt.Fprintln(w, "no quotas")
					}
					return nil
				}
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "OF\tCORES\tGPUS\tTASKS")
				bound := func(v *float64) string {
					if v == nil {
						return "no bound"
					}
					return strconv.FormatFloat(*v, 'g', -1, 64)
				}
				for _, q := range all {
					of := "tenant " + q.Tenant
					if q.Queue != "" {
						of = "queue " + q.Queue
					}
					tasks := "no bound"
					if q.Tasks != nil {
						tasks = strconv.FormatInt(*q.Tasks, 10)
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", of, bound(q.CPU), bound(q.GPUs), tasks)
				}
				return t.Flush()
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Tenant, "tenant", "", "the tenant whose quota is shown or set")
	f.StringVar(&q.Queue, "queue", "", "the queue whose quota is shown or set")
	f.StringVar(&cpu, "cpu", "", "cores; 0 lets nothing start that asks for any")
	f.StringVar(&gpus, "gpus", "", "GPUs, shares as fractions")
	f.Int64Var(&running, "tasks", 0, "tasks that run at once")
	f.BoolVar(&lift, "lift", false, "take the quota away")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func eventsCommand() *cobra.Command {
	var follow bool
	var from int64
	var output string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what has happened, fact by fact and order by order",
		Long: `Prints what has happened: every fact that the scheduler was told and every order
that it gave. With -f it goes on. -o json prints one JSON object a line.`,
		Example: "  schedlab live events -f\n  schedlab live events -o json | jq 'select(.order)'",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from < 0 {
				return usagef("--from must not be negative")
			}
			c, err := client()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if output == "json" {
				err = c.Events(cmd.Context(), out, from, follow)
			} else {
				r, w := io.Pipe()
				go func() { w.CloseWithError(c.Events(cmd.Context(), w, from, follow)) }()
				err = eventLines(shown{out}, r)
			}
			if follow && errors.Is(err, context.Canceled) {
				return nil
			}
			return refused(err)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().Int64Var(&from, "from", 0, "the first batch to print")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// eventLines prints happenings for people.
func eventLines(w io.Writer, r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var h daemon.Happening
		if err := json.Unmarshal(s.Bytes(), &h); err != nil {
			return err
		}
		mark := "  "
		if h.Order {
			mark = "->"
		}
		line := fmt.Sprintf("%12.3f s  %s %-9s", h.TimeS, mark, h.What)
		if h.Task != "" {
			line += " " + h.Task
		}
		if h.Attempt > 0 {
			line += " attempt " + strconv.Itoa(int(h.Attempt))
		}
		if h.What == "arrived" && h.Tasks > 1 {
			line += fmt.Sprintf(" and %d more of its job", h.Tasks-1)
		}
		if h.Name != "" {
			line += " " + h.Name
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return s.Err()
}
