package metrics

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"pgregory.net/rapid"
)

func TestTasksCSVHasOneLineATaskInInputOrder(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 10*second, done(0, second/2, 11*second, 10*time.Second))
	w.add(0, 1, 10*second, sched.Outcome{Phase: sched.Dropped, Ready: sched.Never, Start: sched.Never, End: 12 * second, Node: sched.NoNode})
	w.add(1, 2, 10*second, sched.Outcome{Phase: sched.Running, Ready: 2, Start: 3, End: sched.Never, Attempts: 2, Node: 1})
	w.wl.TaskNames.Append("a")
	w.wl.TaskNames.Append(`b,"x"`)
	w.wl.TaskNames.Append("c")
	w.wl.Input = []int32{1, 2, 0}
	w.wl.Demands = append(w.wl.Demands, sched.Demand{Gang: 1, Need: sched.Need{GPUs: 1, GPUMilli: 500}})
	w.wl.Classes = append(w.wl.Classes, sched.Class{Demand: 1})
	w.wl.Tasks[2].Class = 1
	nodes := []sched.NodeSpec{{Name: "node-001"}, {Name: "node-002"}}
	var b strings.Builder
	err := WriteTasks(&b, w.wl, nodes, w.outcomes, func(t sched.TaskID) []sched.Placement {
		switch t {
		case 0:
			return []sched.Placement{{Node: 0, Replicas: 2, GPUs: 0b1111}, {Node: 1, Replicas: 1, GPUs: 0b101}}
		case 2:
			return []sched.Placement{{Node: 1, Replicas: 1, GPUs: 1}}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := TasksHeader + `
c,2,0.000000002,0.000000002,0.000000003,,,node-002,0:500,2,running
a,1,0,0,0.5,11,1,node-001*2;node-002,0-3;0+2,1,done
"b,""x""",1,0.000000001,,,12,,,,0,dropped
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestTasksCSVCountsTheGPUsOfAPool(t *testing.T) {
	w := newWorld()
	w.add(0, 0, second, done(0, 0, second, time.Second))
	w.wl.Demands[0] = sched.Demand{Gang: 3, Need: sched.Need{GPUs: 8, GPUMilli: sched.Whole}}
	var b strings.Builder
	err := WriteTasks(&b, w.wl, []sched.NodeSpec{{Name: "pool", GPUs: 1000}, {Name: "small", GPUs: 8}}, w.outcomes,
		func(sched.TaskID) []sched.Placement {
			return []sched.Placement{{Node: 0, Replicas: 2}, {Node: 1, Replicas: 1, GPUs: 0xff}}
		})
	if want := ",pool*2;small,#16;0-7,1,done\n"; err != nil || !strings.HasSuffix(b.String(), want) {
		t.Errorf("%v: %q does not end in %q", err, b.String(), want)
	}
}

func TestTasksCSVReportsAFullDisk(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 1, done(0, 0, 1, 1))
	if err := WriteTasks(full{}, w.wl, []sched.NodeSpec{{Name: "n"}}, w.outcomes, nil); err == nil {
		t.Error("no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestSecondsAreExactWithAsFewDecimalsAsThatTakes(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0", 1: "0.000000001", -1: "-0.000000001", 1500000000: "1.5", 100000000: "0.1", -2000000000: "-2",
		math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		if got := string(AppendSeconds(nil, ns)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.Int64().Draw(t, "ns")
		s := string(AppendSeconds(nil, ns))
		x, ok := new(big.Rat).SetString(s)
		if !ok || x.Mul(x, big.NewRat(1e9, 1)).Cmp(new(big.Rat).SetInt64(ns)) != 0 {
			t.Fatalf("%d ns printed as %s", ns, s)
		}
		if strings.Contains(s, ".") && strings.HasSuffix(s, "0") {
			t.Fatalf("%s ends in a needless zero", s)
		}
	})
}

func TestAnyNameSurvivesTheCSV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Filter(func(s string) bool { return !strings.Contains(s, "\r") }).Draw(t, "name")
		rec, err := csv.NewReader(strings.NewReader(string(appendField(nil, name)) + ",x\n")).Read()
		if err != nil || rec[0] != name {
			t.Fatalf("%q came back as %q, %v", name, rec, err)
		}
	})
}

func TestDeviceSetsPrintAsRanges(t *testing.T) {
	for set, want := range map[sched.Devices]string{
		1: "0", 0b1111: "0-3", 0b1011: "0-1+3", 1 << 63: "63", math.MaxUint64: "0-63", 1<<63 | 1: "0+63",
	} {
		if got := string(AppendDevices(nil, set)); got != want {
			t.Errorf("%b: %s, want %s", set, got, want)
		}
	}
}

func BenchmarkWriteTasks(b *testing.B) {
	w := newWorld()
	const n = 100_000
	on := make([]sched.Placement, n)
	nodes := make([]sched.NodeSpec, 1000)
	for i := range nodes {
		nodes[i] = sched.NodeSpec{Name: fmt.Sprintf("node-%04d", i+1), GPUs: 8}
	}
	for i := range n {
		at := sched.Time(i) * 1234567891
		start := at + sched.Time(i%2*i)*987654321
		w.add(int32(i), at, second, done(at, start, start+sched.Time(i)*987654321, time.Second))
		on[i] = sched.Placement{Node: sched.NodeID(i * 7919 % 1000), Replicas: 1, GPUs: 3 << (i % 7)}
	}
	w.wl.Demands[0].Need = sched.Need{GPUs: 2, GPUMilli: sched.Whole}
	b.ResetTimer()
	for b.Loop() {
		_ = WriteTasks(discard{}, w.wl, nodes, w.outcomes, func(t sched.TaskID) []sched.Placement { return on[t : t+1] })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
