package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces/metrics"
	"github.com/schedlab/schedlab/tui/history"
)

// everything asks for all that a record knows, at an instant.
func everything(at sched.Time, tasks int) history.Query {
	return history.Query{
		At: at, Waits: true, Groups: 100, Nodes: &history.NodesQuery{Rows: 1000, Heat: true},
		Tasks:  &history.TasksQuery{Sort: history.ByWait, Rows: tasks, Find: sched.Nobody},
		Gantt:  &history.GanttQuery{From: 0, To: at + 1, Cols: 20, Rows: 1000, Lanes: true},
		Events: &history.EventsQuery{Rows: 50}, Curves: &history.CurvesQuery{From: 0, To: at + 1, Buckets: 7},
		Task: &history.TaskQuery{Task: sched.TaskID(int(at) % max(tasks, 1)), Relatives: 5, Causes: true},
	}
}

// What a record derives from facts and orders is what the kernel's books and the metrics say, under failures, gangs, evictions and lost nodes, also where
// facts are gathered in a decision window before each decision.
func TestARecordedRunEndsAsTheKernelSays(t *testing.T) {
	for _, name := range []string{"fifo", "rr{quantum=1s}", "srtf", "easy", "edf{admission=demand}"} {
		newPolicy, gen := build(t, name), policytest.Cases(policytest.Gen{NoRestart: true, NoOverhead: true})
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				c := gen.Draw(rt, "case")
				cfg := simConfig(c, newPolicy())
				if sim.Placeable(cfg.Workload, cfg.Nodes) != nil {
					rt.Skip()
				}
				if w := rapid.SampledFrom([]sim.Window{{}, {Min: 700 * time.Millisecond, Max: 700 * time.Millisecond}, {Min: 50 * time.Millisecond, Max: 3 * time.Second, Cost: 10 * time.Millisecond}}).Draw(rt, "window"); w.Max > 0 {
					cfg.Window = &w
				}
				rec := history.New(c.Table, c.Nodes)
				var feed []batch
				cfg.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
					rec.Batch(now, in, out)
					in, orders := append([]sched.Event(nil), in...), append([]sched.Command(nil), out...)
					for i := range orders {
						orders[i].On = append([]sched.Placement(nil), orders[i].On...)
					}
					feed = append(feed, batch{now, in, orders})
					return nil
				}
				res, err := sim.Run(context.Background(), cfg)
				if err != nil {
					rt.Fatal(err)
				}
				rec.Close(nil)
				f := rec.Look(history.Query{Latest: true, Tasks: &history.TasksQuery{Rows: len(c.Table.Tasks), Find: sched.Nobody}})
				if len(f.List.Rows) != len(c.Table.Tasks) {
					rt.Fatalf("%d rows of %d tasks", len(f.List.Rows), len(c.Table.Tasks))
				}
				for _, row := range f.List.Rows {
					o := res.Outcome(row.ID)
					got := sched.Outcome{Phase: row.State, Attempts: row.Attempts, Ready: o.Ready, Start: row.Start, End: row.End, Held: row.Run, Node: o.Node}
					if got != o {
						rt.Fatalf("task %d: recorded %+v, the kernel says %+v", row.ID, got, o)
					}
					if o.Phase == sched.Done && row.Wait != o.Wait() {
						rt.Fatalf("task %d: wait %v, want %v", row.ID, row.Wait, o.Wait())
					}
				}
				want := metrics.Compute(metrics.Input{
					Workload: cfg.Workload, Nodes: c.Nodes, Outcome: res.Outcome, Preemptions: res.Preemptions, Restarts: res.Restarts,
					GPUSeconds: res.GPUSeconds, CPUSeconds: res.CPUSeconds,
				})
				m := f.Metrics
				for _, x := range []struct {
					what      string
					got, want float64
				}{
					{"wait", m.WaitMean, want.WaitMean},
					{"median wait", m.WaitP50, want.WaitP50},
					{"p99 wait", m.WaitP99, want.WaitP99},
					{"jct", m.JCTMean, want.JCTMean},
					{"job wait", m.JobWaitMean, want.JobWaitMean},
					{"utilization", m.Utilization, want.UtilizationGPU},
					{"utilization of CPUs", m.UtilizationCPU, want.UtilizationCPU},
					{"makespan", m.Makespan, want.Makespan},
					{"preemptions", float64(m.Preemptions), float64(want.Preemptions)},
					{"restarts", float64(m.Restarts), float64(want.Restarts)},
					{"finished", float64(m.Finished), float64(want.Finished)},
				} {
					if math.IsNaN(x.want) && (math.IsNaN(x.got) || x.got == 0) || res.Unfinished > 0 {
						continue
					}
					if !(math.Abs(x.got-x.want) <= 1e-9*math.Max(1, math.Abs(x.want))) {
						rt.Fatalf("%s: recorded %v, the metrics say %v", x.what, x.got, x.want)
					}
				}
				jumpAbout(rt, rec, c, feed)
			})
		})
	}
}

type batch struct {
	now sched.Time
	in  []sched.Event
	out []sched.Command
}

// jumpAbout looks at instants in any order, and then at the same ones in a record that has seen nothing later.
func jumpAbout(rt *rapid.T, rec *history.Record, c policytest.Case, feed []batch) {
	if len(feed) == 0 {
		return
	}
	f := rec.Look(history.Query{Latest: true})
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
	seen := make([]history.Frame, 6)
	for i := range seen {
		at := f.From + sched.Time(rng.Int64N(int64(f.End-f.From)+1))
		seen[i] = rec.Look(everything(at, len(c.Table.Tasks)))
	}
	slices.SortFunc(seen, func(a, b history.Frame) int { return cmp.Compare(a.At, b.At) })
	early := history.New(c.Table, c.Nodes)
	for _, want := range seen {
		for len(feed) > 0 && feed[0].now <= want.At {
			early.Batch(feed[0].now, feed[0].in, feed[0].out)
			feed = feed[1:]
		}
		early.Advance(want.At)
		got := early.Look(everything(want.At, len(c.Table.Tasks)))
		got.End, got.Closed, got.Version = want.End, want.Closed, want.Version
		for _, f := range []*history.Frame{&got, &want} { // rows of lanes may be added later
			f.Gantt = history.GanttPage{}
		}
		if d := difference(got, want); d != "" {
			rt.Fatalf("at %v the whole record and one that ends there differ: %s", time.Duration(want.At), d)
		}
	}
}

// difference names the first field in which two frames differ.
func difference(a, b history.Frame) string {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		p, _ := json.Marshal(printable(x.Field(i)))
		q, _ := json.Marshal(printable(y.Field(i)))
		if !bytes.Equal(p, q) {
			return fmt.Sprintf("%s\n%s\n%s", x.Type().Field(i).Name, p, q)
		}
	}
	return ""
}

// printable turns NaN, which JSON has not, into text.
func printable(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Float64:
		return fmt.Sprint(v.Float())
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			m[v.Type().Field(i).Name] = printable(v.Field(i))
		}
		return m
	case reflect.Slice, reflect.Array:
		var l []any
		for i := range v.Len() {
			l = append(l, printable(v.Index(i)))
		}
		return l
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return printable(v.Elem())
	}
	return v.Interface()
}
