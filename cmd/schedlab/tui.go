package main

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/schedlab/schedlab/cmd/schedlab/watch"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces/journal"
	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

// uiFlags are the flags of every terminal UI.
type uiFlags struct {
	ascii, once         bool
	output, at, colours string
}

func (f *uiFlags) add(cmd *cobra.Command, at bool) {
	fl := cmd.Flags()
	fl.BoolVar(&f.ascii, "ascii", false, "draw with plain ASCII characters")
	fl.StringVar(&f.colours, "colours", "", "none, 16, 256 or true (default: what the terminal has, none where NO_COLOR is set)")
	fl.BoolVar(&f.once, "once", false, "print one table and be done, as where the output is no terminal")
	if at {
		fl.StringVar(&f.at, "at", "", "begin at this time of the trace: seconds, or a duration such as 1h30m; with --once, print the state at it (default: at the end)")
	}
	outputFlag(cmd, &f.output, "table", "json")
}

// printed reports whether a table is printed instead of a UI: where it is asked for, and where there is no terminal to draw on.
func (f *uiFlags) printed(cmd *cobra.Command) bool {
	if f.once || cmd.Flags().Changed("output") || os.Getenv("TERM") == "dumb" {
		return true
	}
	out, ok := cmd.OutOrStdout().(*os.File)
	return !ok || !term.IsTerminal(int(out.Fd()))
}

// check refuses what the flags cannot be.
func (f *uiFlags) check() error {
	if f.colours != "" && !slices.Contains(tui.Colours, f.colours) {
		return usagef("--colours takes %s, not %q", strings.Join(tui.Colours, ", "), f.colours)
	}
	return nil
}

// instant returns the time that --at says; false where it says none.
func (f *uiFlags) instant() (sched.Time, bool, error) {
	if f.at == "" {
		return 0, false, nil
	}
	if d, err := time.ParseDuration(f.at); err == nil {
		return sched.Time(d), true, nil
	}
	s, err := strconv.ParseFloat(f.at, 64)
	if t, ok := sched.Seconds(s); err == nil && ok {
		return t, true, nil
	}
	return 0, false, usagef("--at must be seconds or a duration such as 1h30m, not %q", f.at)
}

func tuiCommand() *cobra.Command {
	var f simFlags
	var u uiFlags
	var names, load string
	var journals, simulated []string // simulated: the flags that say what is simulated
	var seed int64
	var speed float64
	cmd := &cobra.Command{
		Use:   "tui [TRACE]",
		Short: "Watch, scrub, compare and explain runs in the terminal",
		Long: `Opens the terminal UI on a simulation of one policy, or of two side by side on
one clock. TRACE is as for schedlab compare; without it the built-in example
runs. The simulation runs ahead in the background; the UI has a clock of its
own, which stops, goes faster and goes back. --replay shows a journal instead,
as schedlab run --journal and schedlab live journal write it, or two of them.
"?" shows the keys, "q" leaves. "schedlab live ui" does the same for a daemon.
Where more than 131,072 tasks have finished, the quantiles of their waits on the
screen are within 3 % and marked, ~49s; all else, and what --once prints, is
exact.

Where the output is no terminal, it prints one table and is done; so it does
with --once.`,
		Example: `  schedlab tui
  schedlab tui trace.csv --cluster 8x8xA100 --policies fifo,critical-path
  schedlab run --policy easy --journal run.journal && \
    schedlab tui --replay run.journal
  schedlab tui --policies easy --once --at 1h -o json | jq .runs[0].metrics`,
		Args: atMostOneTrace,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, given, err := u.instant()
			if err != nil {
				return err
			}
			if err := u.check(); err != nil {
				return err
			}
			if !(speed >= 0) || math.IsInf(speed, 0) {
				return usagef("--speed must not be negative")
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel() // the simulations too
			var runs []*watch.Run
			var bound <-chan struct{} // nil: not waited for
			if len(journals) > 0 {
				if len(args) > 0 {
					return usagef("--replay shows what a journal holds: it takes no TRACE")
				}
				for _, name := range simulated {
					if cmd.Flags().Changed(name) {
						return usagef("--replay shows what a journal holds: it takes no --%s", name)
					}
				}
				runs, err = replays(ctx, journals)
			} else {
				runs, bound, err = f.simulations(ctx, cmd, args, names, load, seed)
			}
			if err != nil {
				return err
			}
			sources := make([]tui.Source, len(runs))
			for i, r := range runs {
				sources[i] = r
			}
			if !u.printed(cmd) {
				o := tui.Options{Sources: sources, ASCII: u.ascii, Colour: u.colours, Speed: speed}
				if given {
					o.At = &at
				}
				return tui.Run(ctx, o)
			}
			for _, r := range runs {
				if err := ended(ctx, r); err != nil {
					return err
				}
			}
			if bound != nil {
				<-bound
			}
			return u.print(cmd, sources, history.Query{At: at, Latest: !given})
		},
	}
	f.addSimulation(cmd)
	fl := cmd.Flags()
	fl.Int64Var(&seed, "seed", 1, "seed of a generated workload, and of what breaks at random; with --scenario its first is the default")
	fl.StringVar(&load, "load", "", "offered load to scale the trace to")
	fl.StringVar(&names, "policies", "fifo,critical-path", "one policy or two, as name{key=value,...}+placement; with --scenario its first two are the default")
	fl.VisitAll(func(fl *pflag.Flag) { simulated = append(simulated, fl.Name) }) // what follows is of the view
	fl.StringArrayVar(&journals, "replay", nil, "show this journal instead; twice: two side by side")
	fl.Float64Var(&speed, "speed", 0, "seconds of the trace a second (0: all of it in about two minutes)")
	u.add(cmd, true)
	return cmd
}

// simulations begins to simulate the policies. The channel is closed when their lower bound is known.
func (f *simFlags) simulations(ctx context.Context, cmd *cobra.Command, args []string, names, load string, seed int64) ([]*watch.Run, <-chan struct{}, error) {
	opt, err := f.options(cmd)
	if err != nil {
		return nil, nil, err
	}
	if f.sc != nil && len(f.sc.Policies) > 0 && !cmd.Flags().Changed("policies") {
		names = strings.Join(f.sc.Policies[:min(len(f.sc.Policies), 2)], ",")
	}
	specs, err := parsePolicies(names)
	if err != nil {
		return nil, nil, err
	}
	if len(specs) < 1 || len(specs) > 2 {
		return nil, nil, usagef("the UI shows one policy or two side by side, not %d; schedlab compare takes any number", len(specs))
	}
	loads, err := parseLoads(load)
	if err != nil {
		return nil, nil, err
	}
	if len(loads) > 1 {
		return nil, nil, usagef("the UI takes one load; schedlab compare takes several")
	}
	if seed, err = f.oneSeed(cmd, seed); err != nil {
		return nil, nil, err
	}
	path := ""
	if len(args) == 1 {
		path = args[0]
	}
	_, w, nodes, clusterName, err := f.source(cmd, path, seed, opt.Sim.Horizon)
	if err != nil {
		return nil, nil, err
	}
	if len(loads) == 1 {
		if w, err = w.ScaleLoad(nodes, loads[0]); err != nil {
			return nil, nil, err
		}
	}
	if err := sim.Placeable(w, nodes); err != nil {
		return nil, nil, err
	}
	if err := opt.Sim.ReadFaults(nodes); err != nil {
		return nil, nil, err
	}
	opt.Nodes = nodes
	configs := make([]sim.Config, len(specs))
	for i, s := range specs {
		if configs[i], err = opt.Config(w, s, seed); err != nil {
			return nil, nil, asUsage(err)
		}
	}
	runs := make([]*watch.Run, len(specs))
	for i, s := range specs {
		runs[i] = watch.Simulate(ctx, configs[i], tui.Info{Title: w.Source, Policy: s.String(), Cluster: clusterName})
	}
	return runs, watch.Bound(w, nodes, runs...), nil
}

// replays begins to read journals.
func replays(ctx context.Context, paths []string) ([]*watch.Run, error) {
	if len(paths) > 2 {
		return nil, usagef("the UI shows one journal or two side by side, not %d", len(paths))
	}
	var runs []*watch.Run
	for _, path := range paths {
		if path == "" {
			return nil, usagef("--replay: the name is empty")
		}
		j, err := journal.Open(path)
		if err != nil {
			return nil, err
		}
		h := j.Header()
		s, build, err := journalled(&h, path)
		if err != nil {
			return nil, err
		}
		r, err := watch.Replay(ctx, j, tui.Info{Title: filepath.Base(path)}, watch.ReplaySettings{Start: sched.Time(s.StartNS), Horizon: sched.Time(s.HorizonNS), Build: build})
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// ended waits until the recording has come to its end, also where an instant before it is asked for: what is printed must not depend on how far
// it has come.
func ended(ctx context.Context, r *watch.Run) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.Done():
	}
	if f := r.Look(history.Query{Latest: true}); f.Err != "" {
		return errors.New(f.Err)
	}
	return nil
}

func liveUICommand() *cobra.Command {
	var u uiFlags
	var readOnly bool
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Watch and steer the daemon in the terminal",
		Long: `Opens the terminal UI on the daemon: what has run since its beginning, what runs
and waits now, and why. The clock can be stopped and taken back as in "schedlab
tui". Tasks are held, released, preempted and cancelled, and the policy is
changed, each after a question; --read-only leaves that out. A daemon that is
started again meanwhile is found again. "?" shows the keys, "q" leaves.

Where the output is no terminal, it prints one table and is done; so it does
with --once.`,
		Example: `  schedlab live ui
  schedlab live ui --read-only
  schedlab live ui --once -o json`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := u.check(); err != nil {
				return err
			}
			c, err := silentClient()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			l, err := watch.Follow(ctx, c, tui.Info{Title: c.Address(), Policies: policies.Names()}, buildLive)
			if err != nil {
				return refused(err)
			}
			sources := []tui.Source{l}
			if u.printed(cmd) {
				return u.print(cmd, sources, history.Query{Latest: true})
			}
			return tui.Run(ctx, tui.Options{Sources: sources, ASCII: u.ascii, Colour: u.colours, ReadOnly: readOnly})
		},
	}
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "change nothing")
	u.add(cmd, false)
	return cmd
}

// print prints one table.
func (f *uiFlags) print(cmd *cobra.Command, sources []tui.Source, q history.Query) error {
	return toStdout(cmd, func(w io.Writer) error {
		if f.output == "json" {
			return writeJSON(w, watch.Summarise(sources, q))
		}
		if !q.Latest {
			for i := range sources {
				sources[i] = pinned{sources[i], q.At}
			}
		}
		return tui.Plain(w, sources...)
	})
}

// pinned is a recording whose end is at an instant before it.
type pinned struct {
	tui.Source
	at sched.Time
}

func (p pinned) Look(q history.Query) history.Frame {
	if q.Latest {
		q.Latest, q.At = false, p.at
	}
	return p.Source.Look(q)
}
