package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/doctor"
	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/live/node"
)

// gpusFlag adds --gpus.
func gpusFlag(cmd *cobra.Command, o *device.Options) {
	cmd.Flags().StringVar(&o.Use, "gpus", "auto", "GPU driver: auto, nvml, sysfs (AMD, Intel) or none; or a declared set: 8xH100, 4xA100:80gb")
}

func liveNodesCommand() *cobra.Command {
	var output string
	var gpus device.Options
	var watch bool
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show this machine's profile: what it has, and what is in use",
		Long: `Show this machine's profile: CPUs, memory, network and GPUs, what of them is in
use, and what of the GPUs is held by processes that the scheduler did not start.
Where a daemon runs, it is what that saw within the last second; else, and with
--gpus, this command looks itself, and takes a quarter of a second for it. Then
all GPU processes count as others'. Nothing is sent: all is read from the kernel
and the GPU driver.

A daemon that was started with other flags, or on another machine, than what
runs was placed on counts with what was, and says under "not yet" what comes
once nothing runs.

With -o json a node is one line, in the form in which --cluster takes it.
A container counts with the CPUs and the memory that it was given.`,
		Example: `  schedlab live nodes
  schedlab live nodes --watch
  schedlab live nodes --gpus 8xH100:80gb -o json > me.json
  schedlab compare jobs.csv --cluster me.json`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("gpus") {
				err := askNodes(cmd, output, watch)
				var refused *api.Refusal
				if !errors.Is(err, api.ErrNoDaemon) && !errors.As(err, &refused) { // it has just started
					return err
				}
			}
			found, err := device.Open(gpus)
			if err != nil {
				return asUsage(err)
			}
			defer func() { _ = found.Close() }() // only read
			o := node.Options{Driver: device.Guard(found, 5*time.Second)}
			o.CPU, o.Mem = cgroup.Own()
			s, err := node.Open(o)
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }() // only read
			return watchNode(cmd, s, found, output, watch)
		},
	}
	outputFlag(cmd, &output, "table", "json")
	gpusFlag(cmd, &gpus)
	cmd.Flags().BoolVar(&watch, "watch", false, "print it again every second until interrupted")
	return cmd
}

// askNodes shows what the daemon saw.
func askNodes(cmd *cobra.Command, output string, watch bool) error {
	c, err := client()
	if err != nil {
		return err
	}
	for {
		err := toStdout(cmd, func(w io.Writer) error {
			if output == "json" {
				nodes, err := c.Nodes(cmd.Context())
				e := json.NewEncoder(w)
				e.SetEscapeHTML(false)
				for i := 0; err == nil && i < len(nodes); i++ {
					err = e.Encode(&nodes[i])
				}
				return err
			}
			seen, err := c.Readings(cmd.Context())
			for i := 0; err == nil && i < len(seen); i++ {
				err = nodeTable(w, seen[i].ID, &seen[i].Reading, seen[i].GPUs)
				nodeLines(w, &seen[i])
			}
			return err
		})
		if err != nil || !watch {
			return err
		}
		if err := pause(cmd.Context(), time.Second); err != nil {
			return nil // how it is ended
		}
	}
}

// nodeLines says of a node what the scheduler knows of it.
func nodeLines(w io.Writer, s *daemon.Seen) {
	row := func(key, text string) {
		first, rest, _ := strings.Cut(wrap(text, 80-15), "\n")
		_, _ = fmt.Fprintf(w, "  %-12s %s\n", key, first)
		if rest != "" {
			_, _ = io.WriteString(w, indent(rest, 15))
		}
	}
	if s.Drained != "" {
		row("drained", drainedText(s.Drained))
	}
	if len(s.Labels) > 0 {
		row("labels", strings.Join(s.Labels, ", "))
	}
	if len(s.Taints) > 0 {
		row("taints", strings.Join(s.Taints, ", "))
	}
	if len(s.Later) > 0 {
		row("not yet", strings.Join(s.Later, ", ")+": this counts once nothing runs here; `schedlab live drain` starts nothing more until then")
	}
}

func watchNode(cmd *cobra.Command, s *node.Sampler, found *device.Found, output string, watch bool) error {
	s.Sample(node.Own{}) // what it had used before says nothing of now
	wait := 250 * time.Millisecond
	for {
		if err := pause(cmd.Context(), wait); err != nil {
			if watch {
				return nil // how it is ended
			}
			return err
		}
		r := s.Sample(node.Own{})
		err := toStdout(cmd, func(w io.Writer) error {
			if output == "json" {
				e := json.NewEncoder(w)
				e.SetEscapeHTML(false)
				return e.Encode(r.Profile(s.ID(), time.Time{}))
			}
			return nodeTable(w, s.ID(), r, found.Says())
		})
		if err != nil || !watch {
			return err
		}
		wait = time.Second
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func nodeTable(w io.Writer, id string, r *node.Reading, gpus string) error {
	gb := func(b int64) string { return fmt.Sprintf("%.1f", float64(b)/(1<<30)) }
	_, _ = fmt.Fprintf(w, "%s\n", id)
	_, _ = fmt.Fprintf(w, "  CPU          %.2f of %g in use, load %.2f\n", r.CPUUsed, r.CPU, r.Load)
	_, _ = fmt.Fprintf(w, "  memory       %s of %s GiB in use\n", gb(r.MemUsed), gb(r.Mem))
	_, _ = fmt.Fprintf(w, "  network      %.1f Mbit/s in, %.1f out", r.RxMbps, r.TxMbps)
	if r.NetMbps > 0 {
		_, _ = fmt.Fprintf(w, " of %g", r.NetMbps)
	}
	_, _ = fmt.Fprintf(w, ", %d connections", r.Connections)
	if r.Latency > 0 {
		_, _ = fmt.Fprintf(w, ", latency %v", r.Latency.Round(10*time.Microsecond))
	}
	_, _ = fmt.Fprintln(w)
	if r.Storage > 0 {
		_, _ = fmt.Fprintf(w, "  disks        %v an operation\n", r.Storage.Round(10*time.Microsecond))
	}
	first, rest, _ := strings.Cut(wrap(gpus, 80-15), "\n")
	_, _ = fmt.Fprintf(w, "  GPUs         %s\n", first)
	if rest != "" {
		_, _ = io.WriteString(w, indent(rest, 15))
	}
	if len(r.GPUs) == 0 || !told(r) {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	known := func(format string, v float64) string {
		if v == device.Unknown {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	_, _ = fmt.Fprintln(t, "  GPU\ttype\tbusy\tGiB used\tGiB\tothers\tC\tW\tstate")
	for i := range r.GPUs {
		g, card, o := &r.GPUs[i], &r.Cards[i], &r.Others[i]
		others := "-"
		if g.Counted {
			others = fmt.Sprintf("%d (%s GiB)", o.Processes, gb(o.VRAM))
		}
		used := "-"
		if g.Used != device.Unknown {
			used = gb(g.Used)
		}
		busy := "-"
		if g.Utilization != device.Unknown {
			busy = fmt.Sprintf("%.0f%%", 100*g.Utilization)
		}
		state := g.State.String()
		if g.Why != "" {
			state += ": " + g.Why
		}
		_, _ = fmt.Fprintf(t, "  %d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			g.Index, card.Model, busy, used, gb(card.VRAM), others, known("%.0f", g.TempC), known("%.0f", g.PowerW), state)
	}
	return t.Flush()
}

// told reports whether anything is known of the GPUs but that they are there: of declared ones it is not.
func told(r *node.Reading) bool {
	for i := range r.GPUs {
		g := &r.GPUs[i]
		if g.Utilization != device.Unknown || g.Used != device.Unknown || g.TempC != device.Unknown || g.State != device.OK || g.Counted {
			return true
		}
	}
	return false
}

// doctorJSON is the report for programs.
type doctorJSON struct {
	Schema string         `json:"schema"`
	Checks []doctor.Check `json:"checks"`
}

func liveDoctorCommand() *cobra.Command {
	var output string
	var gpus device.Options
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what of this machine can be used, and why not the rest",
		Long: `Say what of this machine the live mode can use, and why not the rest: control
groups (one is made and removed), GPUs and their driver, the state folder (a
file is written, synced and removed), limits, clock.

Each line is ok, limited (it works with less) or missing, with the reason and,
behind an arrow, what to do about it. The exit code is 1 where the daemon could
not run at all.`,
		Example: `  schedlab live doctor
  schedlab live doctor -o json | jq -r '.checks[] | select(.state!="ok").check'`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := doctor.Options{GPUs: gpus}
			o.Folder, o.FolderErr = folders.Find(os.Getenv)
			checks := doctor.Look(o)
			err := toStdout(cmd, func(w io.Writer) error {
				if output == "json" {
					return writeJSON(w, doctorJSON{"schedlab/doctor/v1", checks})
				}
				for _, c := range checks {
					text := c.Why
					if c.Fix != "" {
						text += " -> " + c.Fix
					}
					entry(w, fmt.Sprintf("%-8s %s", c.State, c.Name), 30, text)
				}
				return nil
			})
			if err == nil && doctor.Stops(checks) {
				err = errors.New("the daemon cannot run on this machine as it is")
			}
			return err
		},
	}
	outputFlag(cmd, &output, "table", "json")
	gpusFlag(cmd, &gpus)
	return cmd
}
