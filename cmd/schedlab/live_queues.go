package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func queuesCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "queues",
		Short: "Show queues: what waits in them, and their workers",
		Long: `Shows the queues, what waits and runs in them, and of those that scale how many
workers they have. A worker runs one task at a time. A queue of "serve --queues
FILE" has between min and max of them, by the rule of Kubernetes' horizontal
autoscaler on the tasks that are ready and wait:

  pool: 12             # workers of all queues together (default: all maxima)
  queues:
    - name: urgent
      tier: high       # up at once, down after 300 s; first at the pool
    - name: batch
      tier: low        # up once all of 300 s asked for it, one a minute
      min: 2           # the defaults: 2 and 10 workers,
      max: 10          #   one for each 1000 that wait
      backlog: 1000
    - min: 1           # without a name: every queue that is not named here

Besides: tolerance (0.1), sync (15s between two decisions), up_window and
down_window (how long a wish must have stood). Tasks of no queue, and of queues
that no line is for, are not bounded. Where fewer workers are left than tasks
run, these run on.`,
		Example: "  schedlab live serve --queues queues.yaml\n  schedlab live submit --queue batch -- make\n  schedlab live queues",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			s, err := c.Queues(cmd.Context())
			if err != nil {
				return refused(err)
			}
			return toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, s)
				}
				if len(s.Queues) == 0 {
					fmt.Fprintln(w, "no queues")
					return nil
				}
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "QUEUE\tTIER\tREADY\tRUNNING\tBLOCKED\tOVER\tWORKERS\tWANTED\tMIN-MAX\tQUOTA")
				for i := range s.Queues {
					q := &s.Queues[i]
					name, workers, wanted, span, quota := q.Name, "", "", "", ""
					if name == "" {
						name = "(none)"
					}
					if q.Max > 0 {
						workers, wanted = strconv.Itoa(q.Workers), strconv.Itoa(q.Wanted)
						span = fmt.Sprintf("%d-%d", q.Min, q.Max)
					}
					if b := q.Quota; b != nil {
						if b.CPU != nil {
							quota += fmt.Sprintf("%g cores ", *b.CPU)
						}
						if b.GPUs != nil {
							quota += fmt.Sprintf("%g GPUs ", *b.GPUs)
						}
						if b.Tasks != nil && q.Max == 0 {
							quota += fmt.Sprintf("%d tasks", *b.Tasks)
						}
					}
					fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", name, q.Tier, q.Ready, q.Running, q.Blocked, q.Over, workers, wanted, span, quota)
				}
				if err := t.Flush(); err != nil {
					return err
				}
				if s.Pool > 0 {
					fmt.Fprintf(w, "%d workers in the pool\n", s.Pool)
				}
				return nil
			})
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}
