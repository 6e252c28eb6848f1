package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces/journal"
	"github.com/schedlab/schedlab/traces/mismatch"
)

var nan = math.NaN()

// journalSettings are the driver's settings that a replay must know.
type journalSettings struct {
	Driver       string `json:"driver"`
	StartNS      int64  `json:"start_ns"`
	MeanEstimate int64  `json:"mean_estimate_ns"` // policies may derive defaults from it
	Setup        int64  `json:"setup_ns,omitempty"`
	HorizonNS    int64  `json:"horizon_ns,omitempty"`

	Typical []typicalTasks `json:"typical,omitempty"` // of the whole trace, for placements that go by it, where some of it was never told
}

// typicalTasks are the replicas of a trace that ask for the same.
type typicalTasks struct {
	CPU      int64    `json:"cpu"`
	GPUs     int32    `json:"gpus,omitempty"`
	GPUMilli int32    `json:"gpu_milli,omitempty"`
	GPUTypes []string `json:"gpu_types,omitempty"`
	Replicas int32    `json:"replicas"`
}

func journalConfig(c sim.Config, spec policies.Spec) (json.RawMessage, error) {
	s := journalSettings{Driver: "sim", Setup: int64(c.Setup()), HorizonNS: int64(c.Horizon)}
	if c.Horizon != 0 && spec.Placement == "fgd" {
		s.Typical = typicalOf(c.Workload.Table)
	}
	est := c.Estimates
	if est == nil {
		est = c.Workload.Estimates
	}
	sum := 0.0
	for _, d := range est {
		sum += float64(d)
	}
	if len(est) > 0 {
		s.MeanEstimate = int64(sum / float64(len(est)))
		s.StartNS = int64(c.Workload.Tasks[0].Submit)
	}
	return json.Marshal(s)
}

func typicalOf(tb *sched.Table) []typicalTasks {
	replicas := make([]int64, len(tb.Demands))
	for i := range tb.Tasks {
		d := tb.Classes[tb.Tasks[i].Class].Demand
		replicas[d] += int64(max(tb.Demands[d].Gang, 1))
	}
	var out []typicalTasks
	for d, n := range replicas {
		if dem := &tb.Demands[d]; n > 0 {
			out = append(out, typicalTasks{dem.Need.CPU, dem.Need.GPUs, dem.Need.GPUMilli, dem.GPUTypes, int32(min(n, math.MaxInt32))})
		}
	}
	return out
}

// typicalTable is a table with one gang for each of them.
func typicalTable(all []typicalTasks) *sched.Table {
	if len(all) == 0 {
		return nil
	}
	tb := &sched.Table{}
	for i, x := range all {
		need := sched.Need{CPU: x.CPU, GPUs: x.GPUs, GPUMilli: x.GPUMilli}
		tb.Demands = append(tb.Demands, sched.Demand{Need: need, GPUTypes: x.GPUTypes, Gang: x.Replicas})
		tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(i)})
		tb.Tasks = append(tb.Tasks, sched.Task{Class: sched.ClassID(i)})
	}
	return tb
}

func replayCommand() *cobra.Command {
	var policy string
	cmd := &cobra.Command{
		Use:   "replay JOURNAL",
		Short: "Decide a recorded run again and compare the orders",
		Long: `Reads a journal written by schedlab run --journal, tells its facts to a fresh
kernel and policy, and compares every order with the recorded one. It fails,
exit code 1, on the first different order, and names it. Of a journal that was
cut short it compares what is whole, and says so.`,
		Example: "  schedlab run --policy easy --journal run.journal\n  schedlab replay run.journal",
		Args:    arguments("JOURNAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := journal.Open(args[0])
			if err != nil {
				return err
			}
			defer r.Close()
			n, orders, err := replay(r, args[0], policy)
			if err != nil {
				return err
			}
			note := ""
			if r.Truncated() {
				if n == 0 {
					return fmt.Errorf("%s: cut short before its first whole frame: nothing to compare", args[0])
				}
				note = " (the journal was cut short; this is up to its last whole frame)"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, all equal%s\n", args[0], counted(n, "batch", "batches"), counted(orders, "order", "orders"), note)
			return err
		},
	}
	cmd.Flags().StringVar(&policy, "policy", "", "feed the facts to another policy and show the first order in which it differs")
	return cmd
}

// journalled returns the settings in a journal's header, and what builds policies by them.
func journalled(h *journal.Header, name string) (s journalSettings, build func(string) (sched.Policy, error), err error) {
	if len(h.Config) > 0 {
		if err := json.Unmarshal(h.Config, &s); err != nil {
			return s, nil, fmt.Errorf("%s: header: %w", name, mismatch.JSON(err))
		}
	}
	typical := typicalTable(s.Typical)
	return s, func(text string) (sched.Policy, error) {
		spec, err := policies.Parse(text)
		if err != nil {
			return nil, err
		}
		return policies.Build(spec, policies.Hints{MeanEstimate: time.Duration(s.MeanEstimate), Setup: time.Duration(s.Setup), Typical: typical})
	}, nil
}

// replay feeds the journal's facts to its policy, or to another one, and returns an error that names the first different order.
func replay(r *journal.Reader, name, other string) (batches, orders int64, err error) {
	h := r.Header()
	s, build, err := journalled(&h, name)
	if err != nil {
		return 0, 0, err
	}
	if other == "" {
		other = h.Policy
	}
	p, err := build(other)
	if err != nil {
		if other == h.Policy { // not what the user typed
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		return 0, 0, asUsage(err)
	}
	r.ParsePolicy = build
	tb, err := r.Table()
	if err != nil {
		return 0, 0, err // it names the journal
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: h.Nodes, Policy: p, Start: sched.Time(s.StartNS)})
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, journal.ErrTruncated) {
			return batches, orders, nil
		}
		if err != nil {
			return batches, orders, err
		}
		got := k.Step(b.Now, b.In)
		for i := range max(len(got), len(b.Out)) {
			var want, have string
			if i < len(b.Out) {
				want = orderText(tb, h.Nodes, b.Out[i])
			}
			if i < len(got) {
				have = orderText(tb, h.Nodes, got[i])
			}
			if want != have || !sameOn(got, b.Out, i) {
				return batches, orders, fmt.Errorf("%s: batch %d at %g s, order %d: recorded %s, now %s", name, b.No, b.Now.Seconds(), i+1, orNone(want), orNone(have))
			}
		}
		batches++
		orders += int64(len(got))
	}
}

func sameOn(a, b []sched.Command, i int) bool {
	return i < len(a) && i < len(b) && slices.Equal(a[i].On, b[i].On)
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// counted writes "1 batch", "2 batches".
func counted(n int64, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func orderText(tb *sched.Table, nodes []sched.NodeSpec, c sched.Command) string {
	if c.Kind == sched.Scale {
		return fmt.Sprintf("scale queue %d to %d", c.Queue, c.Replicas)
	}
	s := fmt.Sprintf("%v %s (attempt %d)", c.Kind, tb.TaskNames.At(int(c.Task)), c.Attempt)
	for i, p := range c.On {
		s += map[bool]string{true: " on ", false: ", "}[i == 0]
		if int(p.Node) < len(nodes) && nodes[p.Node].Name != "" {
			s += nodes[p.Node].Name
		} else {
			s += fmt.Sprintf("node %d", p.Node)
		}
		if p.Replicas > 1 {
			s += fmt.Sprintf(" x%d", p.Replicas)
		}
		if p.GPUs != 0 {
			s += " GPU"
			sep := " "
			for set := p.GPUs; set != 0; set &= set - 1 {
				s += sep + strconv.Itoa(bits.TrailingZeros64(uint64(set)))
				sep = ","
			}
		}
	}
	return s
}
