package policytest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
)

func TestConformPassesAnHonestDriver(t *testing.T) {
	none := func() sched.Policy { return nil }
	Conform(t, "greedy", none, toy{}.drive)
	Conform(t, "preempting", none, toy{everyN: 2}.drive)
	Conform(t, "preempting often", none, toy{everyN: 1}.drive, Slices)
}

func TestCheckCSVPassesAnHonestDriver(t *testing.T) {
	cases := Cases(Gen{})
	started, repeated := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		var rec Recorder
		outcome := toy{everyN: 7}.drive(nil, c, nil, rec.Tap)
		last := map[sched.TaskID]Span{}
		for _, s := range rec.Spans() {
			last[s.Task] = s
		}
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		_ = w.Write(check.Columns)
		for t := range c.Table.Tasks {
			id := sched.TaskID(t)
			o := outcome(id)
			node, gpus := check.FormatPlacements(last[id].On, &c.Table.DemandOf(id).Need, c.Nodes)
			wait := ""
			if o.Ready != sched.Never {
				wait = check.FormatSeconds(int64(o.Wait()))
			}
			f := func(x sched.Time) string { return check.FormatSeconds(int64(x)) }
			_ = w.Write([]string{strconv.Itoa(t), "j", f(c.Table.Tasks[t].Submit), f(o.Ready), f(o.Start), f(o.End), wait, node, gpus, fmt.Sprint(o.Attempts)})
		}
		w.Flush()
		task := func(_, name string) (sched.TaskID, bool) {
			i, err := strconv.Atoi(name)
			return sched.TaskID(i), err == nil
		}
		node := func(name string) (sched.NodeID, bool) {
			for i := range c.Nodes {
				if c.Nodes[i].Name == name {
					return sched.NodeID(i), true
				}
			}
			return 0, false
		}
		sum, found, err := CheckCSV(c, &b, task, node)
		started, repeated = started+sum.Started, repeated+sum.Repeated
		if err != nil || len(found) > 0 {
			rt.Fatalf("%v %v", found, err)
		}
	})
	if started == 0 || repeated == started {
		t.Errorf("%d started, %d of them more than once: nothing was checked", started, repeated)
	}
}

// violations counts the cases among n in which the checkers find something.
func violations(t *testing.T, drive Driver, g Gen, n int) int {
	t.Helper()
	cases := Cases(g)
	bad := 0
	for seed := range n {
		c := cases.Example(seed)
		var rec Recorder
		outcome := drive(t, c, nil, rec.Tap)
		if len(rec.Check(c, outcome)) > 0 {
			bad++
		}
	}
	return bad
}

// liar changes what an honest driver says; a suite that lets one pass is worth nothing.
func liar(o toy, change func(c Case, now *sched.Time, in []sched.Event, out []sched.Command), lie func(Case, sched.TaskID, *sched.Outcome)) Driver {
	return func(tb testing.TB, c Case, p sched.Policy, tap func(sched.Time, []sched.Event, []sched.Command)) func(sched.TaskID) sched.Outcome {
		outcome := o.drive(tb, c, p, func(now sched.Time, in []sched.Event, out []sched.Command) {
			change(c, &now, in, out)
			tap(now, in, out)
		})
		return func(t sched.TaskID) sched.Outcome {
			x := outcome(t)
			lie(c, t, &x)
			return x
		}
	}
}

func TestLyingDriversAreCaughtOnRandomCases(t *testing.T) {
	keep := func(Case, *sched.Time, []sched.Event, []sched.Command) {}
	honest := func(Case, sched.TaskID, *sched.Outcome) {}
	if bad := violations(t, liar(toy{everyN: 3}, keep, honest), Gen{}, 200); bad != 0 {
		t.Fatalf("%d honest runs are accused", bad)
	}
	for name, x := range map[string]struct {
		change func(Case, *sched.Time, []sched.Event, []sched.Command)
		lie    func(Case, sched.TaskID, *sched.Outcome)
	}{
		"another GPU": {func(_ Case, _ *sched.Time, _ []sched.Event, out []sched.Command) {
			for i := range out {
				if out[i].Kind == sched.Start && out[i].On[0].GPUs > 1 {
					out[i].On = append([]sched.Placement(nil), out[i].On...)
					out[i].On[0].GPUs = 1
				}
			}
		}, honest},
		"another node": {func(c Case, _ *sched.Time, _ []sched.Event, out []sched.Command) {
			for i := range out {
				if out[i].Kind == sched.Start && len(c.Nodes) > 1 {
					out[i].On = append([]sched.Placement(nil), out[i].On...)
					out[i].On[0].Node = sched.NodeID((int(out[i].On[0].Node) + 1) % len(c.Nodes))
				}
			}
		}, honest},
		"held": {keep, func(_ Case, _ sched.TaskID, o *sched.Outcome) { o.Held++ }},
		"a failed task is done": {keep, func(_ Case, _ sched.TaskID, o *sched.Outcome) {
			if o.Phase == sched.Failed {
				o.Phase = sched.Done
			}
		}},
		"a late report": {func(_ Case, now *sched.Time, in []sched.Event, _ []sched.Command) {
			if len(in) > 0 && in[0].Kind == sched.Finished {
				*now += 1e6
			}
		}, honest},
		"a failure kept quiet": {func(_ Case, _ *sched.Time, in []sched.Event, _ []sched.Command) {
			for i := range in {
				if in[i].Kind == sched.FailedAttempt {
					in[i].Kind = sched.Finished
				}
			}
		}, honest},
	} {
		if bad := violations(t, liar(toy{everyN: 3}, x.change, x.lie), Gen{}, 200); bad == 0 {
			t.Errorf("%s: nothing noticed in 200 cases", name)
		} else {
			t.Logf("%s: noticed in %d of 200 cases", name, bad)
		}
	}
}

func TestCasesHaveEverythingTheyPromise(t *testing.T) {
	seen := map[string]int{}
	cases := Cases(Gen{})
	for seed := range 300 {
		c := cases.Example(seed)
		has := map[string]bool{"restart": c.Restart, "kill": c.KillAtEstimate, "overhead": c.Overhead > 0, "run on": c.RunOn != nil, "edges": c.Table.Succ != nil}
		for i, n := range c.Nodes {
			has["pool"] = has["pool"] || n.GPUs > sched.MaxDevices
			has["labels"] = has["labels"] || n.Labels != nil
			has["taints"] = has["taints"] || n.Taints != nil
			has["speeds"] = has["speeds"] || (i > 0 && n.SpeedMilli != c.Nodes[0].SpeedMilli)
		}
		for i, task := range c.Table.Tasks {
			id := sched.TaskID(i)
			d, cl := c.Table.DemandOf(id), c.Table.ClassOf(id)
			if !Fits(c, id) {
				t.Fatalf("seed %d: task %d fits nowhere:\n%#v", seed, i, c)
			}
			if i > 0 && task.Submit < c.Table.Tasks[i-1].Submit {
				t.Fatalf("seed %d: tasks are not in order of submission", seed)
			}
			has["gang"] = has["gang"] || d.Gang > 1
			has["share"] = has["share"] || (d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole)
			has["VRAM"] = has["VRAM"] || d.Need.VRAM > 0
			has["types"] = has["types"] || d.GPUTypes != nil
			has["zero run"] = has["zero run"] || c.Run[i] == 0
			has["inexact"] = has["inexact"] || c.Run[i] != c.Table.Estimates[i]
			has["deadline"] = has["deadline"] || c.Table.DeadlineOf(sched.TaskID(i)) != sched.Never
			has["period"] = has["period"] || cl.Period > 0
			has["tenant"] = has["tenant"] || cl.Tenant > 0
			has["together"] = has["together"] || (i > 0 && task.Submit == c.Table.Tasks[i-1].Submit)
			for _, p := range c.Table.Preds(id) {
				has["predecessor later in the numbering"] = has["predecessor later in the numbering"] || p > id
				has["edge between jobs"] = has["edge between jobs"] || c.Table.Tasks[p].Job != task.Job
			}
		}
		for _, f := range c.Faults {
			has["outage"] = has["outage"] || f.Attempt == 0
			has["failure"] = has["failure"] || f.Attempt > 0
		}
		for k, v := range has {
			if v {
				seen[k]++
			} else {
				seen[k] += 0
			}
		}
	}
	for k, n := range seen {
		if n < 5 {
			t.Errorf("%s: only in %d of 300 cases", k, n)
		}
	}
	t.Log(seen)
	unfit := Cases(Gen{Unfit: true})
	for seed := range 50 {
		c := unfit.Example(seed)
		none := 0
		for i := range c.Table.Tasks {
			if !Fits(c, sched.TaskID(i)) {
				none++
			}
		}
		if none == 0 {
			t.Fatalf("seed %d: every task fits", seed)
		}
	}
}
