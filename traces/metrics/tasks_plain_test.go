package metrics

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"pgregory.net/rapid"
)

// The plain way to write the same, which WriteTasks must agree with byte for byte.

func plainTasks(w io.Writer, wl *traces.Workload, nodes []sched.NodeSpec, outcome func(sched.TaskID) sched.Outcome,
	placed func(sched.TaskID) []sched.Placement,
) error {
	var buf []byte
	buf = append(append(buf, TasksHeader...), '\n')
	var one [1]sched.Placement
	at := inputOrder(wl)
	for i := range wl.Tasks {
		t := sched.TaskID(i)
		if at != nil {
			t = at[i]
		}
		task := &wl.Tasks[t]
		o := outcome(t)
		buf = appendField(buf, wl.TaskNames.At(int(t)))
		buf = append(buf, ',')
		buf = appendField(buf, wl.JobName.At(int(task.Job)))
		buf = append(buf, ',')
		buf = AppendSeconds(buf, int64(task.Submit))
		buf = append(buf, ',')
		buf = plainTime(buf, o.Ready)
		buf = append(buf, ',')
		buf = plainTime(buf, o.Start)
		buf = append(buf, ',')
		buf = plainTime(buf, o.End)
		buf = append(buf, ',')
		if o.Phase.Over() && o.Ready != sched.Never && o.End != sched.Never {
			buf = AppendSeconds(buf, int64(o.Wait()))
		}
		buf = append(buf, ',')
		var on []sched.Placement
		if placed != nil {
			on = placed(t)
		}
		d := wl.DemandOf(t)
		if len(on) == 0 && o.Node != sched.NoNode && o.Start != sched.Never {
			one[0] = sched.Placement{Node: o.Node, Replicas: 1}
			on = one[:]
		}
		buf = appendNodes(buf, nodes, on)
		buf = append(buf, ',')
		buf = appendGPUs(buf, nodes, on, &d.Need)
		buf = append(buf, ',')
		buf = strconv.AppendInt(buf, int64(o.Attempts), 10)
		buf = append(buf, ',')
		buf = append(append(buf, o.Phase.String()...), '\n')
	}
	_, err := w.Write(buf)
	return err
}

func plainTime(b []byte, t sched.Time) []byte {
	if t == sched.Never {
		return b
	}
	return AppendSeconds(b, int64(t))
}

func TestTasksCSVAgreesWithThePlainWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		nodes := []sched.NodeSpec{{Name: "node-001", GPUs: 8}, {Name: "a,b", GPUs: 4}, {Name: "pool", GPUs: 1000}, {Name: ""}}
		w.wl.Demands = nil
		w.wl.Classes = nil
		for i, need := range []sched.Need{{CPU: 1000}, {GPUs: 1, GPUMilli: 500}, {GPUs: 2, GPUMilli: sched.Whole}} {
			w.wl.Demands = append(w.wl.Demands, sched.Demand{Gang: 1, Need: need})
			w.wl.Classes = append(w.wl.Classes, sched.Class{Demand: sched.DemandID(i)})
		}
		ns := rapid.OneOf(rapid.SampledFrom([]int64{0, 1, 10, 1e9, 1e9 - 1, 1e17, 1e17 - 1, -1, math.MaxInt64 - 1, math.MinInt64, int64(sched.Never)}), rapid.Int64(),
			rapid.Int64Range(0, 1e15), rapid.Map(rapid.Int64Range(0, 1e9), func(ms int64) int64 { return ms * 1e6 }))
		at := rapid.Map(ns, func(v int64) sched.Time { return sched.Time(v) })
		name := rapid.OneOf(rapid.SampledFrom([]string{"", "a", " b", "c,d", "e\"", "f\r", "g h"}), rapid.String())
		named := rapid.Bool().Draw(t, "named")
		n := rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 6, 63, 64, 65, 130}).Draw(t, "tasks")
		on := make([][]sched.Placement, n)
		for i := range n {
			o := sched.Outcome{
				Phase: sched.Phase(rapid.Uint8Range(0, uint8(sched.Rejected)).Draw(t, "phase")), Attempts: rapid.Int32Range(0, 200).Draw(t, "attempts"),
				Ready: at.Draw(t, "ready"), Start: at.Draw(t, "start"), End: at.Draw(t, "end"), Held: time.Duration(ns.Draw(t, "held")),
				Node: sched.NodeID(rapid.Int32Range(-1, 3).Draw(t, "node")),
			}
			w.add(int32(i), at.Draw(t, "submit"), 1, o)
			task := &w.wl.Tasks[i]
			switch rapid.IntRange(0, 3).Draw(t, "alike") {
			case 0:
				w.out[i].Ready = task.Submit
			case 1:
				w.out[i].Start = o.Ready
			case 2:
				w.out[i].Ready, w.out[i].Start = task.Submit, task.Submit
			}
			task.Class = sched.ClassID(rapid.IntRange(0, 2).Draw(t, "class"))
			if named {
				w.wl.TaskNames.Append(name.Draw(t, "name"))
				w.wl.JobName.Append(name.Draw(t, "job"))
			}
			for range rapid.IntRange(0, 2).Draw(t, "placements") {
				on[i] = append(on[i], sched.Placement{
					Node: sched.NodeID(rapid.Int32Range(0, 3).Draw(t, "on")), Replicas: rapid.Int32Range(1, 3).Draw(t, "replicas"),
					GPUs: sched.Devices(rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Uint64()).Draw(t, "gpus")),
				})
			}
		}
		if rapid.Bool().Draw(t, "in another order") {
			for i := range n {
				w.wl.Input = append(w.wl.Input, int32(i))
			}
			w.wl.Input = rapid.Permutation(w.wl.Input).Draw(t, "input")
		}
		placed := func(t sched.TaskID) []sched.Placement { return on[t] }
		outcome := func(t sched.TaskID) sched.Outcome { return w.out[t] }
		var got, want bytes.Buffer
		if err := WriteTasks(&got, w.wl, nodes, w.outcomes, placed); err != nil {
			t.Fatal(err)
		}
		if err := plainTasks(&want, w.wl, nodes, outcome, placed); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Fatalf("got\n%swant\n%s", got.String(), want.String())
		}
	})
}

func TestSecondsArePutAsTheyAreAppended(t *testing.T) {
	b := new(line)
	check := func(t interface{ Fatalf(string, ...any) }, ns int64) {
		if got, want := string(b[1:putSeconds(b, 1, ns)]), string(append(AppendSeconds(nil, ns), ',')); got != want {
			t.Fatalf("%d ns printed as %s, want %s", ns, got, want)
		}
	}
	for v := range int64(200_000) {
		check(t, v)
		check(t, v*10_000_019)
		check(t, v*1e9)
		check(t, v*1e5)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.OneOf(rapid.Int64Range(0, 1e17+10), rapid.Int64()).Draw(t, "ns"))
	})
}

func TestTasksAreWrittenWithoutAllocation(t *testing.T) {
	allocs := func(n int) float64 {
		w := newWorld()
		for i := range n {
			at := sched.Time(i) * 1234567891
			w.add(int32(i), at, second, done(at, at+sched.Time(i%7), at+second, time.Second))
		}
		return testing.AllocsPerRun(3, func() {
			_ = WriteTasks(discard{}, w.wl, []sched.NodeSpec{{Name: "n"}}, w.outcomes, nil)
		})
	}
	if few, many := allocs(100), allocs(5000); many > few {
		t.Errorf("%v allocations for 100 tasks, %v for 5,000", few, many)
	}
}
