package policies_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func TestNobodyIsStoppedForRoomThatComesAnyway(t *testing.T) {
	// Eight cores, all but one held. At 5 task 5 stops task 1, which leaves more room than it takes: enough for task 6.
	w := workload(
		t, cores(0, 10, 1), cores(0, 100, 3), cores(0, 60, 1), cores(0, 70, 1), cores(0, 80, 1),
		cores(5, 3, 2), cores(5, 12, 1), cores(5, 15, 1),
	)
	tap, text := orders()
	c := config(w, machines(1, 8, 0), build(t, "srtf")(), tap)
	c.Horizon = second(6)
	simulate(t, c)
	if want := "5 stop 1, 5 start 5@0, 5 start 6@0, 5 start 7@0"; !strings.HasSuffix(text(), want) {
		t.Errorf("orders %s, wanted %s last", text(), want)
	}
}

func TestStaticOrdersAndTheirTies(t *testing.T) {
	// One core, held by "first" until 1, when all others wait.
	hold := func() traces.Row { return with(cores(0, 1, 1), func(r *traces.Row) { r.ID = "first" }) }
	task := func(id string, period, deadline, run float64) traces.Row {
		return with(cores(0.5, run, 1), func(r *traces.Row) {
			r.ID, r.Period, r.Deadline = id, time.Duration(period*1e9), time.Duration(deadline*1e9)
		})
	}
	for _, c := range []struct {
		policy string
		rows   []traces.Row
		want   string
	}{
		{"rms{preempt=false}", []traces.Row{task("none", 0, 0, 2), task("p50", 50, 0, 2), task("p25", 25, 0, 2), task("alsoNone", 0, 0, 1), task("also25", 25, 0, 1), task("p10", 10, 90, 5)}, "p10 p25 also25 p50 none alsoNone"},
		{"dm{preempt=false}", []traces.Row{task("none", 0, 0, 2), task("p30", 30, 0, 2), task("d20", 0, 20, 2), task("d40p10", 10, 40, 2), task("alsoD20", 60, 20, 1), task("alsoNone", 0, 0, 1)}, "d20 alsoD20 p30 d40p10 none alsoNone"},
		{"edf{preempt=false}", []traces.Row{task("none", 0, 0, 2), task("d30", 0, 30, 2), task("d20", 0, 20, 2), task("also20", 5, 20, 1), task("alsoNone", 0, 0, 1), with(task("late", 0, 19.9, 1), func(r *traces.Row) { r.Submit = second(0.75) })}, "d20 also20 late d30 none alsoNone"},
		{"sjf", []traces.Row{task("r3", 0, 0, 3), task("r2", 0, 0, 2), task("also2", 0, 0, 2), task("r1", 0, 0, 1)}, "r1 r2 also2 r3"},
		{"fifo", []traces.Row{task("r3", 0, 0, 3), task("r2", 0, 0, 2), task("r1", 1, 1, 1)}, "r3 r2 r1"},
	} {
		w := workload(t, append([]traces.Row{hold()}, c.rows...)...)
		if got := startOrder(t, sim.Config{Workload: w, Nodes: machines(1, 1, 0)}, c.policy); got != "first "+c.want {
			t.Errorf("%s starts %s, wanted first %s", c.policy, got, c.want)
		}
	}
}

func TestPreemptiveOrdersStopWhatComesLaterOnly(t *testing.T) {
	period := func(submit, run, period float64) traces.Row {
		return with(cores(submit, run, 1), func(r *traces.Row) {
			r.Period, r.Deadline = time.Duration(period*1e9), time.Duration(period*1e9)
		})
	}
	for _, c := range []struct {
		policy, want string
		rows         []traces.Row
	}{
		{"rms", "0 start 0@0, 1 stop 0, 1 start 1@0, 3 start 0@0", []traces.Row{period(0, 5, 50), period(1, 2, 10)}},
		{"rms", "0 start 0@0, 5 start 1@0", []traces.Row{period(0, 5, 10), period(1, 2, 50)}},
		{"rms", "0 start 0@0, 5 start 1@0", []traces.Row{period(0, 5, 10), period(1, 2, 10)}}, // a tie goes to the lower number
		{"dm", "0 start 0@0, 1 stop 0, 1 start 1@0, 3 start 0@0", []traces.Row{period(0, 5, 50), period(1, 2, 10)}},
		{"edf", "0 start 0@0, 1 stop 0, 1 start 1@0, 3 start 0@0", []traces.Row{period(0, 5, 50), period(1, 2, 10)}},
		{"edf", "0 start 0@0, 5 start 1@0", []traces.Row{period(0, 5, 10), period(1, 2, 9)}}, // both are due at 10
		{"srtf", "0 start 0@0, 5 start 1@0", []traces.Row{cores(0, 5, 1), cores(3, 2, 1)}},   // 2 s are left of both: the lower number
		{"srtf", "0 start 0@0, 2 stop 0, 2 start 1@0, 4 start 0@0", []traces.Row{cores(0, 5, 1), cores(2, 2, 1)}},
	} {
		tap, text := orders()
		simulate(t, config(workload(t, c.rows...), machines(1, 1, 0), build(t, c.policy)(), tap))
		if text() != c.want {
			t.Errorf("%s: %s, wanted %s", c.policy, text(), c.want)
		}
	}
}

func TestVictimsAreTheLargestRanksThatMustGo(t *testing.T) {
	for _, c := range []struct {
		name, want string
		cores      int64
		rows       []traces.Row
	}{
		{"of equals the higher number", "0 start 0@0, 0 start 1@0, 1 stop 1, 1 start 2@0", 2, []traces.Row{cores(0, 10, 1), cores(0, 10, 1), cores(1, 2, 1)}},
		{"the largest does", "0 start 0@0, 0 start 1@0, 1 stop 1, 1 start 2@0", 2, []traces.Row{cores(0, 10, 1), cores(0, 11, 1), cores(1, 2, 1)}},
		{"the largest alone does not, and is spared", "0 start 0@0, 0 start 1@0, 1 stop 0, 1 start 2@0", 5, []traces.Row{cores(0, 40, 4), cores(0, 50, 1), cores(1, 2, 4)}},
		{"both must go", "0 start 0@0, 0 start 1@0, 1 stop 0, 1 stop 1, 1 start 2@0", 5, []traces.Row{cores(0, 40, 4), cores(0, 50, 1), cores(1, 2, 5)}},
		{"not even both", "0 start 0@0, 0 start 1@0, 0 start 2@0", 6, []traces.Row{cores(0, 1.5, 1), cores(0, 40, 4), cores(0, 50, 1), cores(1, 2, 6)}},
	} {
		tap, text := orders()
		cfg := config(workload(t, c.rows...), machines(1, c.cores, 0), build(t, "srtf")(), tap)
		cfg.Horizon = second(1.2)
		simulate(t, cfg)
		if text() != c.want {
			t.Errorf("%s: %s, wanted %s", c.name, text(), c.want)
		}
	}
}

func TestASliceEndsOnlyWhereAReadyTaskCouldUseTheRoom(t *testing.T) {
	for _, c := range []struct {
		name  string
		rows  []traces.Row
		nodes []sched.NodeSpec
		want  string
	}{
		{"nobody waits", []traces.Row{cores(0, 30, 1), cores(0, 30, 1)}, machines(1, 2, 0), "0 start 0@0, 0 start 1@0"},
		{"who waits asks for something else", []traces.Row{cores(0, 30, 1), devices(0, 20, 1), devices(1, 7, 1)}, machines(1, 1, 1), "0 start 0@0, 0 start 1@0, 5 stop 1, 5 start 2@0, 10 stop 2, 10 start 1@0, 15 stop 1, 15 start 2@0, 17 start 1@0"},
		// Two cores, a slice of 5 s: task 1 is over its slice at 5, task 2 at 8 only, and task 3 needs both.
		{"not enough slices are over", []traces.Row{cores(0, 30, 1), cores(3, 30, 1), cores(4, 3, 2)}, machines(1, 2, 0), "0 start 0@0, 3 start 1@0, 8 stop 1, 8 stop 0, 8 start 2@0, 11 start 0@0, 11 start 1@0"},
		// Whose slice has long been over gives way at once.
		{"an old slice", []traces.Row{cores(0, 30, 1), cores(20, 2, 1)}, machines(1, 1, 0), "0 start 0@0, 20 stop 0, 20 start 1@0, 22 start 0@0"},
		// The one that started first goes; the other, whose slice is not over, stays.
		{"one is enough", []traces.Row{cores(0, 30, 1), cores(6, 30, 1), cores(10, 2, 1)}, machines(1, 2, 0), "0 start 0@0, 6 start 1@0, 10 stop 0, 10 start 2@0, 11 stop 1, 11 start 0@0, 12 start 1@0"},
	} {
		tap, text := orders()
		simulate(t, config(workload(t, c.rows...), c.nodes, build(t, "rr{quantum=5s}")(), tap))
		if text() != c.want {
			t.Errorf("%s: %s, wanted %s", c.name, text(), c.want)
		}
	}
}

func TestTheHeadOfRoundRobinWaitsAtMostASlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const quantum = 3
	longest, preemptions := sched.Time(0), int64(0)
	for range 400 {
		procs := 1 + rng.Int64N(10)
		w := rigidWorkload(t, rigid(rng, procs, 1))
		type place struct {
			since sched.Time
			task  sched.TaskID
		}
		var line []place
		head, headSince := sched.Nobody, sched.Time(0)
		leave := func(t sched.TaskID) {
			line = slices.DeleteFunc(line, func(p place) bool { return p.task == t })
		}
		tap := func(now sched.Time, in []sched.Event, out []sched.Command) error {
			for _, e := range in {
				switch e.Kind {
				case sched.JobArrived:
					for i := range e.N {
						line = append(line, place{now, e.Task + sched.TaskID(i)})
					}
				case sched.Stopped:
					line = append(line, place{now, e.Task})
				}
			}
			for _, o := range out {
				if o.Kind == sched.Start {
					leave(o.Task)
				}
			}
			slices.SortFunc(line, func(a, b place) int { return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.task, b.task)) })
			if len(line) == 0 {
				head = sched.Nobody
				return nil
			}
			if line[0].task != head {
				head, headSince = line[0].task, now
			}
			longest = max(longest, now-headSince)
			if now-headSince > quantum*1e9 {
				return fmt.Errorf("task %d has been the head for %v", head, now.Sub(headSince))
			}
			return nil
		}
		res := simulate(t, config(w, machines(1, procs, 0), build(t, "rr{quantum=3s}")(), tap))
		preemptions += res.Preemptions
	}
	if longest != quantum*1e9 || preemptions < 1000 {
		t.Errorf("the longest wait of a head was %v, with %d preemptions: the cases say little", longest.Sub(0), preemptions)
	}
}

func TestPlacementsByHand(t *testing.T) {
	// Nodes with 4, 2, 3 and 2 free GPUs and 8, 2, 8 and 1 free cores.
	cluster := machines(4, 8, 4)
	cluster[1].CPU, cluster[3].CPU = 2000, 1000
	fill := func(node string, gpus int32) traces.Row {
		return with(devices(0, 100, gpus), func(r *traces.Row) { r.Labels = []sched.Label{{Key: "n", Value: node}} })
	}
	for i := range cluster {
		cluster[i].Labels = []sched.Label{{Key: "n", Value: fmt.Sprint(i)}}
	}
	fillers := []traces.Row{fill("1", 2), fill("2", 1), fill("3", 2)}
	one := devices(1, 5, 1)
	three := devices(1, 5, 3)
	pair := with(devices(1, 5, 2), func(r *traces.Row) { r.Gang = 2 })
	cpu := with(devices(1, 5, 1), func(r *traces.Row) { r.Need.CPU = 2000 })
	for _, c := range []struct {
		policy string
		row    traces.Row
		want   string
	}{
		{"fifo", one, "@0"},
		{"fifo+first-fit", one, "@0"},
		{"fifo+best-fit", one, "@3"}, // two GPUs left as on node 1, and fewer cores
		{"fifo+best-fit", cpu, "@1"}, // node 3 has no two cores
		{"fifo+best-fit", three, "@2"},
		{"fifo+worst-fit", one, "@0"},
		{"fifo+worst-fit", three, "@0"},
		{"fifo+best-fit", pair, "@3@1"},
		{"fifo+worst-fit", pair, "@0"},
		{"fjf+best-fit", three, "@2"},
	} {
		tap, text := orders()
		w := workload(t, append(slices.Clone(fillers), c.row)...)
		simulate(t, config(w, cluster, build(t, c.policy)(), tap))
		if want := ", 1 start 3" + c.want; !strings.HasSuffix(text(), want) {
			t.Errorf("%s: %s, wanted%s last", c.policy, text(), want)
		}
	}
	// Worst-fit takes the lowest-numbered of equals.
	tap, text := orders()
	simulate(t, config(workload(t, one, one, one), machines(2, 1, 2), build(t, "fifo+worst-fit")(), tap))
	if want := "1 start 0@0, 1 start 1@1, 1 start 2@0"; text() != want {
		t.Errorf("worst-fit: %s, wanted %s", text(), want)
	}
}

func TestWhatDoesNotFitIsRejectedInALossSystem(t *testing.T) {
	// Two GPUs: the second task has no room, is over at once, and takes its successor along; the third fits; the fourth never could.
	w := workload(t, devices(0, 10, 1), inJob(devices(1, 10, 2), "a"), inJob(devices(1, 10, 1), "b", "a"), devices(2, 10, 1), devices(20, 10, 2))
	tap, text := orders()
	c := config(w, machines(1, 1, 2), build(t, "fifo{unplaced=reject}")(), tap)
	res := simulate(t, c)
	if want := "0 start 0@0, 1 reject 1, 2 start 3@0, 20 start 4@0"; text() != want {
		t.Errorf("orders %s, wanted %s", text(), want)
	}
	for task, want := range []sched.Phase{sched.Done, sched.Rejected, sched.Dropped, sched.Done, sched.Done} {
		if got := res.Outcome(sched.TaskID(task)).Phase; got != want {
			t.Errorf("task %d is %v, wanted %v", task, got, want)
		}
	}
}

// What others take of a node may leave less than nothing of it: that keeps out only those that ask for some of it.
func TestLessThanNothingKeepsOutOnlyWhoAsksForIt(t *testing.T) {
	for _, name := range []string{"fifo", "fjf", "sjf", "blevel"} {
		for _, c := range []struct {
			what   string
			rows   []traces.Row // the first two fill the node, the third waits for the end of the second
			others sched.Profile
		}{
			{"GPUs", []traces.Row{devices(0, 90, 1), cores(0, 10, 8), cores(0, 10, 8)}, sched.Profile{OtherGPUs: 3}},
			{"CPU", []traces.Row{cores(0, 90, 8), devices(0, 10, 2), devices(0, 10, 2)}, sched.Profile{OtherCPU: 4000}},
		} {
			w := workload(t, c.rows...)
			k, err := sched.New(sched.Config{Table: w.Table, Nodes: machines(1, 8, 2), Policy: build(t, name)()})
			if err != nil {
				t.Fatal(err)
			}
			var in []sched.Event
			for id := range w.Tasks {
				in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(id), N: 1})
			}
			if out := k.Step(0, in); len(out) != 2 {
				t.Fatalf("%s, %s: %d starts", name, c.what, len(out))
			}
			k.Step(second(5), []sched.Event{{Kind: sched.NodeProfile, Node: 0, Task: sched.Nobody, More: &sched.Detail{Profile: &c.others}}})
			out := k.Step(second(10), []sched.Event{{Kind: sched.Finished, Task: 1, Attempt: 1, Done: 10e9}})
			if len(out) != 1 || out[0].Task != 2 {
				t.Errorf("%s: less than no %s: orders %v, wanted the start of task 2", name, c.what, out)
			}
		}
	}
}
