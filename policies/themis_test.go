package policies_test

import (
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

func TestTwoLikeJobsTakeTurnsByTheLease(t *testing.T) {
	// Each needs 40 s of the only GPU: they alternate by 10 s and end after 70 and 80 s, with rho = 7/4 and 2.
	w := workload(t, devices(0, 40, 1), devices(0, 40, 1))
	tap, text := orders()
	simulate(t, config(w, machines(1, 4, 1), build(t, "themis{lease=10s}")(), tap))
	var want []string
	for i, at := range []string{"0", "10", "20", "30", "40", "50", "60", "70"} {
		me, other := "01"[i%2:i%2+1], "10"[i%2:i%2+1]
		if i > 0 && i < 7 {
			want = append(want, at+" stop "+other)
		}
		want = append(want, at+" start "+me+"@0")
	}
	if got := text(); got != strings.Join(want, ", ") {
		t.Errorf("orders %s, wanted %s", got, strings.Join(want, ", "))
	}
}

// worst returns the largest rho of a run: time from submission to end by the run time alone.
func worst(t *testing.T, w *traces.Workload, nodes []sched.NodeSpec, policy string) float64 {
	res := simulate(t, config(w, nodes, build(t, policy)(), nil))
	most := 0.0
	for id := range w.Tasks {
		o := res.Outcome(sched.TaskID(id))
		if o.Phase != sched.Done {
			t.Fatalf("task %d is %v", id, o.Phase)
		}
		most = max(most, o.End.Sub(w.Tasks[id].Submit).Seconds()/w.Run[id].Seconds())
	}
	return most
}

func TestTheWorstOffIsBetterOffUnderThemis(t *testing.T) {
	for name, rows := range map[string]func() []traces.Row{
		// Who comes first has all: bad for those behind it.
		"long ones first": func() (rows []traces.Row) {
			for range 8 {
				rows = append(rows, devices(0, 5000, 1))
			}
			for i := range 200 {
				rows = append(rows, devices(float64(10+i), 50, 1))
			}
			return rows
		},
		// The shortest has all: bad for the long ones, as little is left of the cluster for 20 times as long.
		"a stream of short ones": func() (rows []traces.Row) {
			for range 8 {
				rows = append(rows, devices(0, 4000, 1))
			}
			for i := range 12000 {
				rows = append(rows, devices(float64(i)*50/8/0.95, 50, 1))
			}
			return rows
		},
	} {
		w := workload(t, rows()...)
		themis := worst(t, w, machines(1, 64, 8), "themis{lease=10s}")
		for _, other := range []string{"fifo", "srtf", "sjf"} {
			got := worst(t, w, machines(1, 64, 8), other)
			t.Logf("%s: largest rho %.2f under themis, %.2f under %s", name, themis, got, other)
			if name == "long ones first" && other == "srtf" {
				got *= 1.02 // shortest first is as good where only short ones have much to lose; leases cost a little
			}
			if themis >= got {
				t.Errorf("%s: largest rho %.2f under themis, %.2f under %s", name, themis, got, other)
			}
		}
	}
}
