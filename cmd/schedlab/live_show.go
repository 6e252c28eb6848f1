package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/stage"
)

func listCommand() *cobra.Command {
	var states, output string
	var limit int
	cmd := &cobra.Command{
		Use:   "list [JOBS]",
		Short: "List jobs and where they stand",
		Long: `Lists tasks, the newest last: what is open and, up to --limit, what is over. WHY
says in a word what a task waits for; "live explain" says it in full. EVERY,
where a job recurs, says how often.`,
		Example: "  schedlab live list\n  schedlab live list --state ready,running\n  schedlab live list 3-8 -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit must not be negative")
			}
			tasks, more, err := c.Tasks(cmd.Context(), strings.Join(args, ""), states, limit)
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, map[string]any{"tasks": tasks, "more": more})
				}
				return taskTable(w, tasks, more)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&states, "state", "", "only these: "+strings.Join(daemon.States(), ", "))
	f.IntVar(&limit, "limit", 50, "the newest tasks to list; 0 for all")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// seconds prints a duration in at most six characters or so.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + "s"
	case d < 100*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func taskTable(w io.Writer, tasks []daemon.Task, more int) error {
	if len(tasks) == 0 {
		_, err := fmt.Fprintln(w, "no tasks")
		return err
	}
	if more > 0 {
		fmt.Fprintf(w, "(%d older ones are not shown; --limit 0 shows all)\n", more)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	every := "" // a column where there is something to say in it
	if slices.ContainsFunc(tasks, func(v daemon.Task) bool { return v.Recurs != nil }) {
		every = "EVERY\t"
	}
	fmt.Fprintln(t, "ID\tNAME\tSTATE\tWHY\tWAIT\tRAN\tTRIES\tEXIT\t"+every+"ASKS FOR\tON")
	for i := range tasks {
		v := &tasks[i]
		ran, exit, on := "", "", ""
		if v.Held > 0 {
			ran = seconds(v.Held)
		}
		if v.Code != nil {
			exit = strconv.Itoa(int(*v.Code))
		}
		if len(v.GPUs) > 0 {
			on = "gpu " + strings.Trim(fmt.Sprint(v.GPUs), "[]")
		}
		name := v.JobName
		if v.Task != name && strings.Contains(v.ID, "/") {
			name += "/" + v.Task
		}
		if every != "" {
			exit += "\t"
			if v.Recurs != nil {
				exit += v.Recurs.Every
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.ID, name, v.State, v.Why, seconds(v.Wait), ran, v.Attempts, exit, v.Demand, on)
	}
	return t.Flush()
}

func showCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "show JOBS",
		Short:   "Show all of some jobs",
		Long:    "Shows all that is known of tasks: times, attempts, exit, and why they are where\nthey are.",
		Example: "  schedlab live show 12\n  schedlab live show 12/train -o json",
		Args:    arguments("JOBS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			tasks, _, err := c.Tasks(cmd.Context(), args[0], "", 0)
			if err != nil {
				return refused(err)
			}
			why, err := c.Explain(cmd.Context(), args[0])
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, tasks)
				}
				for i := range tasks {
					if i > 0 {
						fmt.Fprintln(w)
					}
					showTask(w, &tasks[i])
					if i < len(why) {
						for _, line := range why[i].Why {
							fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(wrap(line, 78), "\n", "\n  "))
						}
					}
				}
				return nil
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func showTask(w io.Writer, v *daemon.Task) {
	fmt.Fprintf(w, "%s  %s  %s\n", v.ID, v.JobName, v.State)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(key, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t"+format+"\n", append([]any{key}, args...)...)
	}
	row("task", "%s", v.Task)
	if v.Tenant != "" || v.Queue != "" {
		row("tenant, queue", "%s, %s", v.Tenant, v.Queue)
	}
	row("owner", "uid %d", v.UID)
	row("asks for", "%s", v.Demand)
	row("submitted", "%.3f s", v.Submit)
	if r := v.Recurs; r != nil {
		row("recurs", "every %s, next at %.3f s; `schedlab live cancel --recurrence %d` ends that", r.Every, r.Next, r.First)
	}
	if v.Ready != nil {
		row("ready", "%.3f s", *v.Ready)
	}
	if v.Start != nil {
		row("first start", "%.3f s", *v.Start)
	}
	if v.End != nil {
		row("end", "%.3f s", *v.End)
	}
	row("waited", "%.3f s", v.Wait)
	row("ran", "%.3f s", v.Held)
	row("attempts", "%d", v.Attempts)
	if v.Code != nil {
		row("exit", "%d %s", *v.Code, v.Reason)
	}
	if v.Node != "" {
		row("on", "%s %s", v.Node, strings.Trim(fmt.Sprint(v.GPUs), "[]"))
	}
	if in := v.Inputs; in != nil {
		how := ""
		for tier := range stage.NumTiers {
			if n := in.Tiers[tier.String()]; n > 0 {
				how += fmt.Sprintf(", %s %s", size(n), tier)
			}
		}
		row("inputs", "%s, %s in %s, %s of it before it was placed%s", counted(in.Files, "file", "files"), size(in.Bytes), seconds(in.Seconds), seconds(in.AheadS), how)
	}
	if c := v.Checkpoint; c != nil {
		switch {
		case c.Seq == 0:
			row("checkpoint", "none yet")
		default:
			row("checkpoint", "number %d, %s old, %s in %s", c.Seq, seconds(c.AgeS), size(c.Bytes), counted(int64(c.Files), "file", "files"))
			row("it holds", "%s of work", seconds(c.Work.Seconds()))
		}
		if c.Done > 0 {
			row("it cost", "%s of the job's time, then %s to store it", seconds(c.HoldS), seconds(c.SaveS))
		}
		if v.Node != "" {
			row("not saved", "%s of work", seconds(c.AtRiskS))
		}
		every := "only when preempted"
		if c.Interval > 0 {
			every = "every " + seconds(c.NextS)
			if c.NextS < c.Interval {
				every += ", so that no more than " + seconds(c.Interval) + " is lost"
			}
		}
		row("asked", "%s: %d stored, %d failed, %d refused in this attempt", every, c.Done, c.Failed, c.NotNow)
		if c.Resumed > 0 {
			row("resumed from", "number %d in %s", c.Resumed, seconds(c.RestoreS))
		}
		if c.Problem != "" {
			row("problem", "%s", c.Problem)
		}
		if c.Progress != "" {
			row("progress", "%s", c.Progress)
		}
	}
	_ = t.Flush()
}

// size prints a number of bytes.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	case n < 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}

func explainCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "explain JOBS",
		Short: "Say why jobs wait, run or failed",
		Long: `Says of each task why it is where it is: which predecessors it waits for, what
room is short and how much is free, what the policy keeps it back for, or how
its last attempt ended.`,
		Example: "  schedlab live explain 12",
		Args:    arguments("JOBS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			list, err := c.Explain(cmd.Context(), args[0])
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, list)
				}
				for _, e := range list {
					fmt.Fprintf(w, "%s  %s\n", e.ID, e.State)
					for _, line := range e.Why {
						fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(wrap(line, 78), "\n", "\n  "))
					}
				}
				return nil
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func logsCommand() *cobra.Command {
	var follow bool
	var attempt int32
	var output string
	cmd := &cobra.Command{
		Use:   "logs JOB",
		Short: "Print what a job wrote",
		Long: `Prints what a task wrote to standard output and error: of its last attempt, or
of --attempt. With -f it goes on until the task is over, through its attempts.
Of each attempt's output the last 64 to 128 MiB are kept, until "live clean" or
"serve --keep-logs" removes them, which this says.
With -o json each line is an object with the member line.`,
		Example: "  schedlab live logs -f last",
		Args:    arguments("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			if attempt < 0 {
				return usagef("--attempt must not be negative")
			}
			if output == "json" {
				lines := newLineWriter(cmd.OutOrStdout())
				err := c.Log(cmd.Context(), lines, args[0], attempt, follow)
				return refused(errors.Join(err, lines.Close()))
			}
			return refused(c.Log(cmd.Context(), cmd.OutOrStdout(), args[0], attempt, follow))
		},
	}
	outputFlag(cmd, &output, "text", "json")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the task is over")
	cmd.Flags().Int32Var(&attempt, "attempt", 0, "which attempt (default: the last)")
	return cmd
}

// lineWriter writes each line as a JSON object.
type lineWriter struct {
	out  *bufio.Writer // flushed with each piece that comes
	to   *json.Encoder // to out
	rest []byte        // of a line that is not over
}

func newLineWriter(w io.Writer) *lineWriter {
	out := bufio.NewWriterSize(w, 1<<16)
	return &lineWriter{out: out, to: json.NewEncoder(out)}
}

func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, ok := bytes.Cut(p, []byte{'\n'})
		if !ok {
			l.rest = append(l.rest, p...)
			return n, l.out.Flush()
		}
		if len(l.rest) > 0 {
			line = append(l.rest, line...)
			l.rest = line[:0]
		}
		if err := l.put(line); err != nil {
			return 0, err
		}
		p = rest
	}
}

// Close writes what is left.
func (l *lineWriter) Close() error {
	if len(l.rest) == 0 {
		return nil
	}
	return errors.Join(l.put(l.rest), l.out.Flush())
}

func (l *lineWriter) put(line []byte) error {
	return l.to.Encode(struct {
		Line string `json:"line"`
	}{string(line)})
}

func waitCommand() *cobra.Command {
	var timeout time.Duration
	var output string
	cmd := &cobra.Command{
		Use:   "wait JOBS",
		Short: "Wait until jobs are over",
		Long: `Waits until tasks are over and prints those that are not done. The exit code is
0 if all are done, 1 if one failed or was dropped, 3 if --timeout came first.
Where the daemon goes away meanwhile, it waits a minute for the next one.`,
		Example: "  schedlab live wait 12\n  schedlab live wait all --timeout 1h",
		Args:    arguments("JOBS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			tasks, err := waitOver(ctx, c, args[0], cmd.ErrOrStderr())
			if err != nil {
				if ctx.Err() != nil && cmd.Context().Err() == nil {
					return &exitError{3, fmt.Errorf("they are not over after %s", timeout)}
				}
				return refused(err)
			}
			bad := slices.DeleteFunc(slices.Clone(tasks), func(v daemon.Task) bool { return v.State == "done" })
			if output == "json" {
				if err := writeJSON(cmd.OutOrStdout(), tasks); err != nil {
					return err
				}
			} else if len(bad) > 0 {
				if err := toStdout(cmd, func(w io.Writer) error { return taskTable(w, bad, 0) }); err != nil {
					return err
				}
			}
			if len(bad) > 0 {
				return fmt.Errorf("%d of %s not done", len(bad), counted(int64(len(tasks)), "task is", "tasks are"))
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait at most")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// waitOver waits until tasks are over, through a restart of the daemon, which they outlive.
func waitOver(ctx context.Context, c *api.Client, selector string, stderr io.Writer) ([]daemon.Task, error) {
	if selector == "last" { // to the next daemon it may be another
		last, _, err := c.Tasks(ctx, selector, "", 1)
		if err != nil {
			return nil, err
		}
		selector = strconv.Itoa(int(last[0].Job))
	}
	var away time.Time // since then; zero: it is there
	for {
		began := time.Now()
		tasks, err := c.Wait(ctx, selector)
		switch {
		case errors.Is(err, api.ErrGone) && time.Since(began) > time.Second: // it was there
			away = time.Time{}
		case errors.Is(err, api.ErrGone):
		case errors.Is(err, api.ErrNoDaemon) && !away.IsZero():
		default:
			return tasks, err
		}
		if away.IsZero() {
			away = time.Now()
			_, _ = fmt.Fprintln(stderr, "the daemon went away: waiting for the next one")
		}
		if time.Since(away) > time.Minute {
			return nil, err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// drainedText says of a node that was drained what follows, and what ends it.
func drainedText(why string) string {
	text := "nothing is started here until `schedlab live undrain`"
	if why != "" && why != "by hand" {
		text = why + ": " + text
	}
	return text
}

func statusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the daemon at a glance",
		Long:    "Shows the policy, the queue, and what is free.",
		Example: "  schedlab live status",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, s)
				}
				if s.Problem != "" {
					fmt.Fprintln(w, wrap("nothing is accepted or started: "+s.Problem, 80))
				}
				fmt.Fprintf(w, "policy %s; %s in %s: %d running, %d ready, %d blocked, %d over", s.Policy,
					counted(int64(s.Tasks), "task", "tasks"), counted(int64(s.Jobs), "job", "jobs"), s.Running, s.Queued, s.Blocked, s.Over)
				if s.Aside > 0 {
					fmt.Fprintf(w, ", %d held or in backoff", s.Aside)
				}
				fmt.Fprintln(w)
				for _, n := range s.Nodes {
					state := "up"
					if !n.Up {
						state = "drained"
					}
					fmt.Fprintf(w, "node %s %s:", n.Name, state)
					if n.CPU > 0 {
						fmt.Fprintf(w, " %g of %g cores free", n.CPUFree, n.CPU)
					}
					if n.MemGB > 0 {
						fmt.Fprintf(w, ", %.1f of %.1f GiB", n.MemFreeGB, n.MemGB)
					}
					if n.GPUs > 0 {
						fmt.Fprintf(w, ", %g of %d %s GPUs", n.GPUsFree, n.GPUs, n.GPUType)
					}
					fmt.Fprintln(w)
					if !n.Up {
						fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(wrap(drainedText(n.Drained), 78), "\n", "\n  "))
					}
				}
				return nil
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}
