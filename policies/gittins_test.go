package policies_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
)

func TestGittinsPrefersWhoIsLikelyToEndSoon(t *testing.T) {
	// By hand: nine in ten tasks need 1 s, the others 10 s. A new one is worth 1 end for (9 x 1 + 1 x 1)/9 = 1.1 s, one that has run for 1 s an end
	// for 9 s: it yields to every new one.
	file := filepath.Join(t.TempDir(), "service")
	if err := os.WriteFile(file, []byte("seconds\n"+strings.Repeat("1\n", 9)+"10\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	got := ordersOf(t, "gittins{distribution="+file+"}", 1, devices(0, 10, 1), devices(0.5, 1, 1), devices(1, 1, 1), devices(3.5, 1, 1))
	if want := "0 start 0@0, 1 stop 0, 1 start 1@0, 2 start 2@0, 3 start 0@0, 3.5 stop 0, 3.5 start 3@0, 4.5 start 0@0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// Where all need the same, who has begun is the nearest to its end: FIFO.
	if err := os.WriteFile(file, []byte("10\n10\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	got = ordersOf(t, "gittins{distribution="+file+"}", 1, devices(0, 10, 1), devices(0.5, 1, 1), devices(1, 1, 1))
	if want := "0 start 0@0, 10 start 1@0, 11 start 2@0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestARestoredGittinsRanksWideTasksByWhatTheyHoldThoughANarrowOneIsStopping(t *testing.T) {
	// Tasks 1 and 2 have held a GPU each for 1.1 s, more than most need, when task 3 stops task 2, so that four of the five come free, and soon task 4 task 1. Task 3
	// has its four since 1.4 s, and at 1.65 s the 1 s x GPU after which it yields to task 5.
	file := filepath.Join(t.TempDir(), "service")
	if err := os.WriteFile(file, []byte(strings.Repeat("1\n", 9)+"10\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	newPolicy := build(t, "gittins{distribution="+file+"}")
	w := workload(t, devices(0, 0.1, 4), devices(0.1, 10, 1), devices(0.1, 10, 1), devices(1.2, 10, 4), devices(1.3, 1, 1), devices(1.35, 1, 2))
	c := sched.Config{Table: w.Table, Nodes: machines(1, 64, 5), Policy: newPolicy()}
	k, err := sched.New(c)
	if err != nil {
		t.Fatal(err)
	}
	k.Step(0, []sched.Event{arrival(0)})
	k.Step(second(0.1), []sched.Event{report(sched.Finished, 0, 1, 0), arrival(1), arrival(2)})
	k.Step(second(1.2), []sched.Event{arrival(3)})
	c.Policy = newPolicy()
	again := restore(t, k, c)
	for _, k := range []*sched.Kernel{k, again} {
		k.Step(second(1.3), []sched.Event{arrival(4)})
		k.Step(second(1.35), []sched.Event{arrival(5)})
		k.Step(second(1.4), []sched.Event{report(sched.Stopped, 2, 1, 1300*time.Millisecond)})
		if at, _ := k.NextWake(); k.Phase(3) != sched.Running || at != second(1.65) {
			t.Fatalf("task 3 is %v, wakes at %g s", k.Phase(3), at.Seconds())
		}
		k.Step(second(1.65), nil)
		if k.Phase(3) != sched.Stopping {
			t.Errorf("task 3 is %v at 1.65 s", k.Phase(3))
		}
	}
}

func TestWhoNeedsWhatIsBeingLeftIsAskedAgainAtEveryDecision(t *testing.T) {
	// Ranks rise at 1 and at 5 s x core. Task 2 held two cores until tasks 3 to 6 came, and finds no room as one of the second rank. Task 7 has claimed the core of
	// task 6, which is stopping. For task 8, tasks 5 and 4 were to go, and what task 6 leaves is needed besides: it waits. At 5 s task 0 comes to the third rank: it is
	// the first to go, and makes room alone.
	file := filepath.Join(t.TempDir(), "service")
	if err := os.WriteFile(file, []byte(strings.Repeat("1\n", 9)+"5\n5\n50\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	newPolicy := build(t, "gittins{distribution="+file+"}")
	w := workload(t, cores(0, 99, 1), cores(0, 99, 1), cores(0, 99, 2), cores(2, 99, 1), cores(2, 99, 1), cores(2, 99, 1), cores(2, 99, 1),
		cores(3.3, 99, 1), cores(3.5, 99, 2))
	nodes := append(machines(1, 2, 0), machines(1, 4, 0)...)
	nodes[1].Name = "wide"
	c := sched.Config{Table: w.Table, Nodes: nodes, Policy: newPolicy()}
	k, err := sched.New(c)
	if err != nil {
		t.Fatal(err)
	}
	arrive := func(from, to sched.TaskID) (in []sched.Event) {
		for ; from <= to; from++ {
			in = append(in, arrival(from))
		}
		return in
	}
	k.Step(0, arrive(0, 2))
	k.Step(second(2), arrive(3, 6))
	k.Step(second(2), []sched.Event{report(sched.Stopped, 2, 1, 2*time.Second)})
	k.Step(second(3.3), arrive(7, 7))
	k.Step(second(3.4), []sched.Event{report(sched.Finished, 1, 1, 0)})
	c.Policy = newPolicy()
	again := restore(t, k, c)
	for _, k := range []*sched.Kernel{k, again} {
		k.Step(second(3.5), arrive(8, 8))
		for task, want := range []sched.Phase{sched.Running, sched.Done, sched.Ready, sched.Running, sched.Running, sched.Running, sched.Stopping, sched.Claiming, sched.Ready} {
			if got := k.Phase(sched.TaskID(task)); got != want {
				t.Fatalf("task %d is %v, not %v", task, got, want)
			}
		}
	}
	c.Policy = newPolicy()
	for i, k := range []*sched.Kernel{k, again, restore(t, k, c)} {
		if out := k.Step(second(5), nil); len(out) != 1 || out[0].Kind != sched.Stop || out[0].Task != 0 || k.Phase(8) != sched.Claiming {
			t.Errorf("kernel %d: orders %v, task 8 is %v", i, out, k.Phase(8))
		}
	}
}

func TestGittinsSaysWhereASampleIsBad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service")
	for text, wrong := range map[string]string{"1\n2\nx\n": "service:3: \"x\"", "seconds\n": "no samples", "1\n-4\n": "service:2"} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		spec, err := policies.Parse("gittins{distribution=" + file + "}")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policies.Build(spec, policies.Hints{}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, bad := range []string{"exp", "exp:-1", "h2:1", "pareto:1/2/3"} {
		if _, err := policies.Parse("gittins{distribution=" + bad + "}"); err == nil || !strings.Contains(err.Error(), "must read") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
