package check

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

const sec = sched.Time(time.Second)

// sample is a small case with one of everything, and a schedule of it that is right.
//
//	task 0: half a GPU, task 1: the other half, task 2: gang of two whole GPUs after 0, task 3: CPU, preempted once, task 4: fails once and is retried
func sample() (Case, []Span, []sched.Outcome) {
	c := Case{
		Table: &sched.Table{
			Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 5,
			Demands: []sched.Demand{
				{Gang: 1, Need: sched.Need{CPU: 1000, Mem: 4, VRAM: 6, GPUs: 1, GPUMilli: 500}, GPUTypes: []string{"A100"}},
				{Gang: 2, Need: sched.Need{CPU: 1000, Mem: 1, VRAM: 10, GPUs: 1, GPUMilli: 1000}},
				{Gang: 1, Need: sched.Need{CPU: 2000, Mem: 2}, Labels: []sched.Label{{Key: "zone", Value: "b"}}, Tolerations: []sched.Toleration{{Key: "spot", Exists: true}}},
			},
			Classes: []sched.Class{{Demand: 0}, {Demand: 1}, {Demand: 2}, {Demand: 2, Retries: 1, Backoff: 2 * time.Second}},
			Tasks: []sched.Task{
				{Submit: 0, Class: 0}, {Submit: 0, Class: 0, Job: 1}, {Submit: 0, Class: 1, Job: 2}, {Submit: 0, Class: 2, Job: 3}, {Submit: 20 * sec, Class: 3, Job: 4},
			},
			Estimates: make([]time.Duration, 5),
			SuccOff:   []int32{0, 1, 1, 1, 1, 1}, Succ: []sched.TaskID{2},
			PredOff: []int32{0, 0, 0, 1, 1, 1}, Pred: []sched.TaskID{0},
		},
		Run: []time.Duration{10e9, 10e9, 4e9, 6e9, 4e9},
		Nodes: []sched.NodeSpec{
			{Name: "a", CPU: 4000, Mem: 8, GPUs: 2, GPUType: "A100", VRAM: 12},
			{Name: "b", CPU: 2000, Mem: 8, SpeedMilli: 2000, Labels: []sched.Label{{Key: "zone", Value: "b"}}, Taints: []sched.Taint{{Key: "spot", Value: "true", Effect: "NoExecute"}}},
		},
		Faults:   []Fault{{Task: 4, Attempt: 1, After: 1e9}, {At: 50 * sec, Node: 1}},
		Overhead: time.Second,
	}
	for i := range c.Table.Tasks {
		c.Table.Estimates[i] = c.Run[i]
	}
	spans := []Span{
		{Task: 0, Attempt: 1, Start: 0, End: 10 * sec, How: Complete, On: []sched.Placement{{Node: 0, Replicas: 1, GPUs: 1}}},
		{Task: 1, Attempt: 1, Start: 0, End: 10 * sec, How: Complete, On: []sched.Placement{{Node: 0, Replicas: 1, GPUs: 1}}},
		{Task: 3, Attempt: 1, Start: 0, End: 1 * sec, How: Halted, On: []sched.Placement{{Node: 1, Replicas: 1}}},
		{Task: 3, Attempt: 2, Start: 5 * sec, End: 8 * sec, How: Complete, On: []sched.Placement{{Node: 1, Replicas: 1}}},
		{Task: 2, Attempt: 1, Start: 10 * sec, End: 14 * sec, How: Complete, On: []sched.Placement{{Node: 0, Replicas: 2, GPUs: 3}}},
		{Task: 4, Attempt: 1, Start: 20 * sec, End: 21 * sec, How: Broken, On: []sched.Placement{{Node: 1, Replicas: 1}}},
		{Task: 4, Attempt: 2, Start: 23 * sec, End: 25 * sec, How: Complete, On: []sched.Placement{{Node: 1, Replicas: 1}}},
	}
	out := []sched.Outcome{
		{Phase: sched.Done, Attempts: 1, Ready: 0, Start: 0, End: 10 * sec, Held: 10e9, Node: 0},
		{Phase: sched.Done, Attempts: 1, Ready: 0, Start: 0, End: 10 * sec, Held: 10e9, Node: 0},
		{Phase: sched.Done, Attempts: 1, Ready: 10 * sec, Start: 10 * sec, End: 14 * sec, Held: 4e9, Node: 0},
		{Phase: sched.Done, Attempts: 2, Ready: 0, Start: 0, End: 8 * sec, Held: 4e9, Node: 1},
		{Phase: sched.Done, Attempts: 2, Ready: 20 * sec, Start: 20 * sec, End: 25 * sec, Held: 3e9, Node: 1},
	}
	return c, spans, out
}

func rules(list []Violation) []string {
	var s []string
	for _, v := range list {
		if !slices.Contains(s, v.Rule) {
			s = append(s, v.Rule)
		}
	}
	slices.Sort(s)
	return s
}

func TestARightScheduleHasNoViolations(t *testing.T) {
	c, spans, out := sample()
	for _, v := range Check(c, spans, func(t sched.TaskID) sched.Outcome { return out[t] }) {
		t.Error(v)
	}
}

func TestEveryBrokenPromiseIsNoticed(t *testing.T) {
	// Each entry breaks one promise; the rule must be among those reported, for a text that names the mistake.
	for _, m := range []struct {
		name, rule, text string
		do               func(c *Case, s []Span, o []sched.Outcome)
	}{
		{"CPU overfilled", "capacity", "milli-CPU", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[0].CPU = 1999 }},
		{"memory overfilled", "capacity", "bytes of memory", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[0].Mem = 7 }},
		{"memory wraps around", "capacity", "bytes of memory", func(c *Case, _ []Span, _ []sched.Outcome) { c.Table.Demands[1].Need.Mem = math.MaxInt64 - 1 }},
		{"GPU shares overfilled", "capacity", "of GPU 0", func(c *Case, _ []Span, _ []sched.Outcome) { c.Table.Demands[0].Need.GPUMilli = 501 }},
		{"VRAM overfilled", "capacity", "bytes on GPU 0", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[0].VRAM = 11 }},
		{"one GPU for two", "capacity", "of GPU 0", func(_ *Case, s []Span, _ []sched.Outcome) {
			s[4].On = []sched.Placement{{Node: 0, Replicas: 1, GPUs: 1}, {Node: 0, Replicas: 1, GPUs: 1}}
		}},
		{"pool overfilled", "capacity", "66 of 65 GPUs", func(c *Case, s []Span, _ []sched.Outcome) {
			c.Nodes[0].GPUs = 65
			c.Table.Demands[0].Need.GPUMilli, c.Table.Demands[0].Need.GPUs = 1000, 33
			s[0].On[0].GPUs, s[1].On[0].GPUs, s[4].On[0].GPUs = 0, 0, 0
		}},
		{"share of a pool", "devices", "share of a GPU of a pool", func(c *Case, s []Span, _ []sched.Outcome) {
			c.Nodes[0].GPUs = 65
			s[0].On[0].GPUs, s[1].On[0].GPUs, s[4].On[0].GPUs = 0, 0, 0
		}},
		{"VRAM of a pool", "devices", "VRAM", func(c *Case, s []Span, _ []sched.Outcome) {
			c.Nodes[0].GPUs, c.Nodes[0].VRAM = 65, 9
			s[4].On[0].GPUs = 0
		}},
		{"GPU outside the node", "devices", "GPU 2 of a node with 2", func(_ *Case, s []Span, _ []sched.Outcome) { s[4].On[0].GPUs = 6 }},
		{"too few GPUs", "devices", "1 GPUs for 2 replicas", func(_ *Case, s []Span, _ []sched.Outcome) { s[4].On[0].GPUs = 1 }},
		{"GPUs not asked for", "devices", "asks for none", func(c *Case, s []Span, _ []sched.Outcome) { c.Nodes[1].GPUs = 1; s[2].On[0].GPUs = 1 }},
		{"share on two GPUs", "devices", "share of 500/1000 on 2 GPUs", func(c *Case, s []Span, _ []sched.Outcome) {
			c.Table.Demands[0].Need.GPUs = 2
			s[0].On[0].GPUs, s[1].On[0].GPUs = 3, 3
		}},
		{"GPU type", "constraint", "GPU type", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[0].GPUType = "T4" }},
		{"label", "constraint", "lacks the label zone=b", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[1].Labels[0].Value = "c" }},
		{"label not to have", "constraint", "has the label zone=b, which", func(c *Case, _ []Span, _ []sched.Outcome) {
			c.Table.Demands[2].NotLabels = []sched.NotLabel{{Key: "zone", Value: "c"}, {Key: "zone", Value: "b"}}
		}},
		{"key not to have", "constraint", "has the label zone, which", func(c *Case, _ []Span, _ []sched.Outcome) {
			c.Table.Demands[2].NotLabels = []sched.NotLabel{{Key: "disk", Any: true}, {Key: "zone", Any: true}}
		}},
		{"taint", "constraint", "taint", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[1].Taints[0].Key = "other" }},
		{"no such node", "constraint", "does not exist", func(_ *Case, s []Span, _ []sched.Outcome) { s[0].On[0].Node = 2 }},
		{"lost node", "node-down", "lost", func(c *Case, _ []Span, _ []sched.Outcome) { c.Faults[1].At = 7 * sec }},
		{"lost and back", "node-down", "lost", func(c *Case, _ []Span, _ []sched.Outcome) {
			c.Faults = append(c.Faults, Fault{At: 4 * sec, Node: 1}, Fault{At: 6 * sec, Node: 1, Up: true})
		}},
		{"half a gang", "gang", "starts 1 replicas", func(_ *Case, s []Span, _ []sched.Outcome) { s[4].On[0].Replicas, s[4].On[0].GPUs = 1, 1 }},
		{"no replicas", "gang", "0 replicas", func(_ *Case, s []Span, _ []sched.Outcome) {
			s[4].On = append(s[4].On, sched.Placement{Node: 1})
		}},
		{"attempt number repeated", "attempts", "follows", func(_ *Case, s []Span, _ []sched.Outcome) { s[3].Attempt = 1 }},
		{"attempts from 2", "attempts", "number 2", func(_ *Case, s []Span, _ []sched.Outcome) { s[0].Attempt = 2 }},
		{"two attempts at once", "attempts", "runs until", func(_ *Case, s []Span, o []sched.Outcome) {
			s[3].Start, s[3].End = sec/2, 7*sec/2
			o[3].End = 7 * sec / 2
		}},
		{"no backoff", "attempts", "backoff", func(_ *Case, s []Span, _ []sched.Outcome) { s[6].Start, s[6].End = 22*sec, 24*sec }},
		{"too many retries", "attempts", "retries", func(c *Case, _ []Span, _ []sched.Outcome) { c.Table.Classes[3].Retries = 0 }},
		{"before submission", "precedence", "before it is ready", func(c *Case, _ []Span, _ []sched.Outcome) { c.Table.Tasks[4].Submit = 21 * sec }},
		{"before its predecessor ends", "precedence", "before it is ready", func(_ *Case, s []Span, _ []sched.Outcome) { s[4].Start, s[4].End = 9*sec, 13*sec }},
		{"after a failed predecessor", "precedence", "is failed", func(_ *Case, _ []Span, o []sched.Outcome) { o[0].Phase = sched.Failed }},
		{"too little service", "service", "not the whole", func(_ *Case, s []Span, o []sched.Outcome) { s[0].End--; o[0].End--; o[0].Held-- }},
		{"too much service", "service", "not the whole", func(_ *Case, s []Span, _ []sched.Outcome) { s[4].End++ }},
		{"speed ignored", "service", "not the whole", func(c *Case, _ []Span, _ []sched.Outcome) { c.Nodes[1].SpeedMilli = 1000 }},
		{"run time by type ignored", "service", "not the whole", func(c *Case, _ []Span, _ []sched.Outcome) {
			c.RunOn = map[sched.TaskID][]sched.CostOn{1: {{On: "A100", Run: 9e9}}}
		}},
		{"name goes before type", "service", "not the whole", func(c *Case, _ []Span, _ []sched.Outcome) {
			c.RunOn = map[sched.TaskID][]sched.CostOn{1: {{On: "A100", Run: 10e9}, {On: "a", Run: 9e9}}}
		}},
		{"overhead not paid", "service", "not the whole", func(_ *Case, s []Span, o []sched.Outcome) { s[3].End -= sec; o[3].End -= sec; o[3].Held -= 1e9 }},
		{"kept work under restart", "service", "not the whole", func(c *Case, _ []Span, _ []sched.Outcome) { c.Restart = true }},
		{"work kept by a failed attempt", "service", "not the whole", func(_ *Case, s []Span, o []sched.Outcome) { s[6].End -= sec; o[4].End -= sec; o[4].Held -= 1e9 }},
		{"killed without reason", "service", "killed", func(_ *Case, s []Span, o []sched.Outcome) { s[1].How = Cut; o[1].Phase = sched.Failed }},
		{"killed within its estimate", "service", "covers", func(c *Case, s []Span, o []sched.Outcome) {
			c.KillAtEstimate = true
			s[1].How = Cut
			o[1].Phase = sched.Failed
		}},
		{"runs past the cut", "service", "to be cut", func(c *Case, _ []Span, _ []sched.Outcome) { c.KillAtEstimate = true; c.Table.Estimates[1] = 9e9 }},
		{"cut too late", "service", "not the whole", func(c *Case, s []Span, o []sched.Outcome) {
			c.KillAtEstimate = true
			c.Table.Estimates[1] = 9e9
			s[1].How = Cut
			o[1].Phase = sched.Failed
		}},
		{"never ends", "end", "when all is over", func(_ *Case, _ []Span, o []sched.Outcome) { o[1].Phase = sched.Running }},
		{"still runs", "end", "still runs", func(_ *Case, s []Span, _ []sched.Outcome) { s[1].How, s[1].End = Open, sched.Never }},
		{"done without running", "outcome", "never ran", func(_ *Case, s []Span, _ []sched.Outcome) { s[1].Task = 0; s[1].Attempt = 2 }},
		{"held", "outcome", "held", func(_ *Case, _ []Span, o []sched.Outcome) { o[3].Held-- }},
		{"end", "outcome", "last attempt ended", func(_ *Case, _ []Span, o []sched.Outcome) { o[3].End++ }},
		{"start", "outcome", "first start", func(_ *Case, _ []Span, o []sched.Outcome) { o[3].Start = 5 * sec }},
		{"ready", "outcome", "ready", func(_ *Case, _ []Span, o []sched.Outcome) { o[2].Ready = 0 }},
		{"count of attempts", "outcome", "attempts", func(_ *Case, _ []Span, o []sched.Outcome) { o[3].Attempts = 1 }},
		{"node", "outcome", "node is said", func(_ *Case, _ []Span, o []sched.Outcome) { o[3].Node = 0 }},
		{"failed with retries left", "outcome", "failed for good after 1 failures", func(_ *Case, s []Span, o []sched.Outcome) {
			s[6].How = Halted
			o[4].Phase = sched.Failed
		}},
		{"dropped for no reason", "outcome", "dropped though", func(_ *Case, _ []Span, o []sched.Outcome) { o[1].Phase = sched.Dropped }},
		{"finished after the end", "attempts", "though attempt 1 was finished", func(_ *Case, s []Span, _ []sched.Outcome) { s[2].How = Complete }},
	} {
		t.Run(m.name, func(t *testing.T) {
			c, spans, out := sample()
			m.do(&c, spans, out)
			found := Check(c, spans, func(t sched.TaskID) sched.Outcome { return out[t] })
			for _, v := range found {
				if v.Rule == m.rule && strings.Contains(v.String(), m.text) {
					return
				}
			}
			t.Errorf("no violation of %q with %q among %v", m.rule, m.text, found)
		})
	}
}

func TestNodeLossEndsReplicasOnItAtOnceAndTheRestAtStopped(t *testing.T) {
	var r Recorder
	on := []sched.Placement{{Node: 0, Replicas: 1}, {Node: 1, Replicas: 2}}
	r.Tap(0, []sched.Event{{Kind: sched.JobArrived, N: 2}}, []sched.Command{
		{Kind: sched.Start, Task: 0, Attempt: 1, On: on}, {Kind: sched.Start, Task: 1, Attempt: 1, On: []sched.Placement{{Node: 0, Replicas: 1}}},
	})
	on[0].Node = 7 // the slice is the kernel's: the recorder must have copied it
	r.Tap(5*sec, []sched.Event{{Kind: sched.NodeDown, Node: 0}}, []sched.Command{{Kind: sched.Stop, Task: 0, Attempt: 1}})
	r.Tap(6*sec, []sched.Event{{Kind: sched.Stopped, Task: 0, Attempt: 1}, {Kind: sched.Finished, Task: 1, Attempt: 1}}, nil)
	s := r.Spans()
	if s[0].Until(0) != 5*sec || s[0].Until(1) != 6*sec || s[0].How != Lost || s[0].On[0].Node != 0 {
		t.Errorf("gang: %+v", s[0])
	}
	if s[1].End != 5*sec || s[1].How != Lost {
		t.Errorf("single: %+v", s[1])
	}
	if len(r.problems) != 0 {
		t.Errorf("problems: %v", r.problems)
	}
}

// TestQuotasAreFreeOnceTheLastNodeOfAnAttemptIsLost starts tasks one after the other under a quota of two GPUs, of which the one before holds all: a gang of
// two over two nodes holds them until both nodes are lost, also where the first is back by then.
func TestQuotasAreFreeOnceTheLastNodeOfAnAttemptIsLost(t *testing.T) {
	for what, c := range map[string]struct {
		lost []sched.Event
		bad  int
	}{
		"nothing lost":     {nil, 1},
		"one lost":         {[]sched.Event{{Kind: sched.NodeDown, Node: 0}}, 1},
		"another lost":     {[]sched.Event{{Kind: sched.NodeDown, Node: 0}, {Kind: sched.NodeDown, Node: 2}}, 1},
		"the same again":   {[]sched.Event{{Kind: sched.NodeDown, Node: 0}, {Kind: sched.NodeUp, Node: 0}, {Kind: sched.NodeDown, Node: 0}}, 1},
		"both lost":        {[]sched.Event{{Kind: sched.NodeDown, Node: 0}, {Kind: sched.NodeDown, Node: 1}}, 0},
		"in turn":          {[]sched.Event{{Kind: sched.NodeDown, Node: 0}, {Kind: sched.NodeUp, Node: 0}, {Kind: sched.NodeDown, Node: 1}}, 0},
		"one, and stopped": {[]sched.Event{{Kind: sched.NodeDown, Node: 0}, {Kind: sched.Stopped, Task: 2, Attempt: 1}}, 0},
	} {
		tb := &sched.Table{
			Tenants: []string{"a"}, Queues: []string{""}, Kinds: []string{""}, Jobs: 3, Classes: []sched.Class{{}},
			Demands: []sched.Demand{{Gang: 2, Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}}}, Tasks: make([]sched.Task, 3),
		}
		q := Quotas{Table: tb}
		on := []sched.Placement{{Node: 0, Replicas: 1}, {Node: 1, Replicas: 1}}
		set := &sched.Detail{Quota: &sched.Quota{Tenant: "a", CPU: -1, GPUMilli: 2 * sched.Whole}}
		q.Tap(0, []sched.Event{{Kind: sched.QuotaSet, More: set}}, []sched.Command{{Kind: sched.Start, Task: 2, Attempt: 1, On: on}})
		on[0].Node, on[1].Node = 7, 7 // the slice is the kernel's
		q.Tap(5*sec, c.lost, []sched.Command{{Kind: sched.Start, Task: 1, Attempt: 1, On: []sched.Placement{{Node: 3, Replicas: 2}}}})
		if bad := q.Check(); len(bad) != c.bad {
			t.Errorf("%s: %v, want %d", what, bad, c.bad)
		}
	}
}

func TestRecorderNoticesAWrongStream(t *testing.T) {
	start := func(attempt int32) sched.Command {
		return sched.Command{Kind: sched.Start, Task: 0, Attempt: attempt, On: []sched.Placement{{Replicas: 1}}}
	}
	for name, run := range map[string]func(r *Recorder){
		"while attempt 1 runs": func(r *Recorder) { r.Tap(0, nil, []sched.Command{start(1)}); r.Tap(1, nil, []sched.Command{start(2)}) },
		"which is down":        func(r *Recorder) { r.Tap(0, []sched.Event{{Kind: sched.NodeDown}}, []sched.Command{start(1)}) },
		"stopped without": func(r *Recorder) {
			r.Tap(0, nil, []sched.Command{start(1)})
			r.Tap(1, []sched.Event{{Kind: sched.Stopped, Attempt: 1}}, nil)
		},
		"time falls": func(r *Recorder) { r.Tap(5, nil, nil); r.Tap(4, nil, nil) },
		"known to be finished": func(r *Recorder) {
			r.Tap(0, nil, []sched.Command{start(1)})
			r.Tap(1, []sched.Event{{Kind: sched.Finished, Attempt: 1}}, []sched.Command{{Kind: sched.Stop, Attempt: 1}})
		},
		"rejected without":       func(r *Recorder) { r.Tap(0, nil, nil) },
		"never started or is no": func(r *Recorder) { r.Tap(0, nil, []sched.Command{{Kind: sched.Stop, Attempt: 3}}) },
	} {
		t.Run(name, func(t *testing.T) {
			var r Recorder
			run(&r)
			c, _, _ := sample()
			found := fmt.Sprint(r.Check(c, func(sched.TaskID) sched.Outcome { return sched.Outcome{Phase: sched.Rejected} }))
			if !strings.Contains(found, name) {
				t.Errorf("not noticed in %s", found)
			}
		})
	}
}

func TestFactsOfOldAttemptsAreIgnored(t *testing.T) {
	var r Recorder
	on := []sched.Placement{{Replicas: 1}}
	r.Tap(0, nil, []sched.Command{{Kind: sched.Start, Task: 0, Attempt: 1, On: on}})
	r.Tap(1, []sched.Event{{Kind: sched.FailedAttempt, Attempt: 1}}, []sched.Command{{Kind: sched.Start, Task: 0, Attempt: 2, On: on}})
	r.Tap(2, []sched.Event{{Kind: sched.Finished, Attempt: 1}}, nil)
	if s := r.Spans(); len(s) != 2 || s[1].How != Open || s[0].How != Broken {
		t.Errorf("%+v", s)
	}
}

func TestRunsAtOneInstantAreHeldAgainstEachOtherInTheRecordedOrder(t *testing.T) {
	c, _, _ := sample()
	c.Run = []time.Duration{0, 0, 0, 0, 0}
	c.Table.PredOff, c.Table.SuccOff, c.Table.Pred, c.Table.Succ = nil, nil, nil, nil
	c.Table.Demands[2].Need.CPU = 2000
	one := func(task sched.TaskID) sched.Command {
		return sched.Command{Kind: sched.Start, Task: task, Attempt: 1, On: []sched.Placement{{Node: 1, Replicas: 1}}}
	}
	overfilled := func(r *Recorder) bool {
		return slices.Contains(rules(r.Check(c, func(sched.TaskID) sched.Outcome { return sched.Outcome{Phase: sched.Done} })), "capacity")
	}
	var together, inTurn Recorder
	together.Tap(0, nil, []sched.Command{one(3), one(4)})
	together.Tap(0, []sched.Event{{Kind: sched.Finished, Task: 3, Attempt: 1}, {Kind: sched.Finished, Task: 4, Attempt: 1}}, nil)
	inTurn.Tap(0, nil, []sched.Command{one(3)})
	inTurn.Tap(0, []sched.Event{{Kind: sched.Finished, Task: 3, Attempt: 1}}, []sched.Command{one(4)})
	inTurn.Tap(0, []sched.Event{{Kind: sched.Finished, Task: 4, Attempt: 1}}, nil)
	if !overfilled(&together) {
		t.Error("two tasks of no length that hold the same room at once are not noticed")
	}
	if overfilled(&inTurn) {
		t.Error("two tasks of no length one after the other are taken for an overfilled node")
	}
}

func TestFitsCountsReplicasByRoom(t *testing.T) {
	gpu := sched.NodeSpec{CPU: sched.Unlimited, Mem: sched.Unlimited, GPUs: 2, VRAM: 10}
	share := func(milli int32, vram int64, gang int32) *sched.Demand {
		return &sched.Demand{Gang: gang, Need: sched.Need{GPUs: 1, GPUMilli: milli, VRAM: vram}}
	}
	pool := sched.NodeSpec{CPU: sched.Unlimited, Mem: sched.Unlimited, GPUs: 65, VRAM: sched.Unlimited}
	for i, x := range []struct {
		node sched.NodeSpec
		d    *sched.Demand
		want bool
	}{
		{gpu, share(500, 5, 4), true},
		{gpu, share(500, 6, 4), false}, // VRAM lets one on each
		{gpu, share(501, 0, 3), false},
		{gpu, share(1000, 0, 2), true},
		{gpu, share(1000, 11, 1), false},
		{pool, share(1000, 0, 65), true},
		{pool, share(1000, 0, 66), false},
		{pool, share(500, 0, 1), false}, // a pool has whole GPUs only
	} {
		if got := FitsDemand([]sched.NodeSpec{x.node}, x.d); got != x.want {
			t.Errorf("%d: %v, want %v", i, got, x.want)
		}
	}
}

func TestSecondsReadBackExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(math.MinInt64+1, math.MaxInt64-1).Draw(t, "ns") // MaxInt64 is Never
		s := FormatSeconds(v)
		if got, err := parseSeconds(s); err != nil || int64(got) != v {
			t.Fatalf("%d -> %q -> %d, %v", v, s, got, err)
		}
	})
	for _, bad := range []string{"x", "1e3", "1.0000000001", ".", "-", "99999999999999999999", "1.-3"} {
		if v, err := parseSeconds(bad); err == nil {
			t.Errorf("%q is read as %d", bad, v)
		}
	}
}

func TestPlacementsReadBackExactly(t *testing.T) {
	nodes := []sched.NodeSpec{{Name: "n-1", GPUs: 64}, {Name: "n*2", GPUs: 8}, {Name: "pool", GPUs: 100}}
	find := func(s string) (sched.NodeID, bool) {
		i := slices.IndexFunc(nodes, func(n sched.NodeSpec) bool { return n.Name == s })
		return sched.NodeID(i), i >= 0
	}
	rapid.Check(t, func(t *rapid.T) {
		need := sched.Need{GPUs: rapid.Int32Range(0, 2).Draw(t, "gpus")}
		if need.GPUs > 0 {
			need.GPUMilli = rapid.SampledFrom([]int32{1000, 500}).Draw(t, "milli")
		}
		p := rapid.Custom(func(t *rapid.T) sched.Placement {
			p := sched.Placement{Node: sched.NodeID(rapid.IntRange(0, 2).Draw(t, "node")), Replicas: rapid.Int32Range(1, 9).Draw(t, "replicas")}
			if need.GPUs > 0 && p.Node < 2 {
				p.GPUs = sched.Devices(rapid.Uint64Range(1, math.MaxUint64).Draw(t, "set"))
			}
			return p
		})
		on := rapid.SliceOfN(p, 1, 4).Draw(t, "on")
		a, b := FormatPlacements(on, &need, nodes)
		got, err := ParsePlacements(a, b, &need, nodes, find)
		if err != nil || !slices.Equal(got, on) {
			t.Fatalf("%v -> %q %q -> %v, %v", on, a, b, got, err)
		}
	})
	need := sched.Need{GPUs: 1, GPUMilli: 1000}
	if a, b := FormatPlacements([]sched.Placement{{Node: 0, Replicas: 5, GPUs: 0b1001111}, {Node: 2, Replicas: 8}}, &need, nodes); a != "n-1*5;pool*8" || b != "0-3+6;#8" {
		t.Errorf("%q %q", a, b)
	}
	need.GPUMilli = 500
	if _, b := FormatPlacements([]sched.Placement{{Node: 0, Replicas: 1, GPUs: 1}}, &need, nodes); b != "0:500" {
		t.Errorf("%q", b)
	}
}

const goodCSV = `task,job,submit_s,ready_s,start_s,end_s,wait_s,node,gpus,attempts
1,1,0,0,0,10,0,a,0:500,1
2,2,0,0,0,10,0,a,0:500,1
3,3,0,10,10,14,0,a*2,0-1,1
4,4,0,0,0,8,4,b,,2
5,5,20,20,20,25,2,b,,2
`

func checkText(c Case, text string) (CSVSummary, []Violation, error) {
	task := func(_, name string) (sched.TaskID, bool) {
		i := strings.Index("12345", name)
		return sched.TaskID(i), i >= 0 && len(name) == 1
	}
	node := func(name string) (sched.NodeID, bool) {
		i := strings.Index("ab", name)
		return sched.NodeID(i), i >= 0 && len(name) == 1
	}
	return CheckCSV(c, strings.NewReader(text), task, node)
}

func TestARightTasksCSVHasNoViolations(t *testing.T) {
	c, _, _ := sample()
	sum, found, err := checkText(c, goodCSV)
	if err != nil || len(found) > 0 || sum != (CSVSummary{Rows: 5, Started: 5, Repeated: 2}) {
		t.Errorf("%+v %v %v", sum, found, err)
	}
}

func TestEveryBrokenPromiseInATasksCSVIsNoticed(t *testing.T) {
	for _, m := range []struct{ name, from, to, rule string }{
		{"GPU overfilled", "2,2,0,0,0,10,0,a,0:500,1", "2,2,0,0,1,11,1,a,0:500,1", "capacity"}, // still holds GPU 0 when task 3 takes it
		{"early start", "3,3,0,10,10,14,0", "3,3,0,10,9,13,0", "precedence"},
		{"service", "1,1,0,0,0,10,0", "1,1,0,0,0,9.5,0", "service"},
		{"wait", "3,3,0,10,10,14,0", "3,3,0,10,10,14,1", "outcome"},
		{"negative wait", "4,4,0,0,0,8,4", "4,4,0,0,0,8,-1", "outcome"},
		{"ready", "3,3,0,10,10,14,0", "3,3,0,0,10,14,10", "outcome"},
		{"open", "5,5,20,20,20,25,2", "5,5,20,20,20,,", "end"},
		{"missing row", "2,2,0,0,0,10,0,a,0:500,1\n", "", "end"},
		{"row twice", "2,2,0", "1,2,0", "csv"},
		{"unknown node", "b,,2", "c,,2", "csv"},
		{"other share", "10,0,a,0:500", "10,0,a,0:400", "csv"},
		{"GPU twice", "0-1,1", "0-1+1,1", "csv"},
		{"not all GPUs", "0-1,1", "0,1", "devices"},
		{"half a gang", "a*2,0-1,1", "a,0,1", "gang"},
		{"submit", "2,2,0", "2,2,1", "csv"},
	} {
		t.Run(m.name, func(t *testing.T) {
			c, _, _ := sample()
			text := strings.Replace(goodCSV, m.from, m.to, 1)
			if text == goodCSV {
				t.Fatal("nothing replaced")
			}
			if _, found, err := checkText(c, text); err != nil || !slices.Contains(rules(found), m.rule) {
				t.Errorf("%v %v", found, err)
			}
		})
	}
}

func withStates(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "attempts\n", "attempts,state\n"), ",1\n", ",1,done\n")
	return strings.ReplaceAll(text, ",2\n", ",2,done\n")
}

func TestTheStatesOfATasksCSVAreChecked(t *testing.T) {
	good := withStates(goodCSV)
	c, _, _ := sample()
	if sum, found, err := checkText(c, good); err != nil || len(found) > 0 || sum.Rows != 5 {
		t.Errorf("%+v %v %v", sum, found, err)
	}
	for from, to := range map[string]string{
		"0:500,1,done": "0:500,1,failed", "0-1,1,done": "0-1,1,running", "20,20,20,25,2,b,,2,done": "20,20,20,,,b,,2,done",
		"3,3,0,10,10,14,0,a*2,0-1,1,done": "3,3,0,,,14,,,,0,done",
	} {
		if _, found, err := checkText(c, strings.Replace(good, from, to, 1)); err != nil || !slices.Contains(rules(found), "outcome") {
			t.Errorf("%s for %s: %v %v", to, from, found, err)
		}
	}
	if _, _, err := checkText(c, strings.Replace(good, "0-1,1,done", "0-1,1,lost", 1)); err == nil || !strings.Contains(err.Error(), `line 4: state: "lost" is none of `) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoTasksCSVIsAnErrorThatNamesTheLine(t *testing.T) {
	c, _, _ := sample()
	for _, text := range []string{"", "a,b\n", strings.Replace(goodCSV, "2,2,0,", "2,2,x,", 1), strings.Replace(goodCSV, ",2\n5", ",-2\n5", 1), goodCSV + "1,2\n"} {
		if _, _, err := checkText(c, text); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzCheckCSVNeverPanics(f *testing.F) {
	f.Add(goodCSV)
	f.Add(strings.ReplaceAll(goodCSV, "0-1", "#2"))
	f.Add(goodCSV[:strings.Index(goodCSV, "\n")+1] + `1"0`)
	f.Fuzz(func(_ *testing.T, text string) {
		c, _, _ := sample()
		_, _, _ = checkText(c, text)
	})
}

// TestAWholeNanosecondOnAFastNodeIsManyOnASlowOne: half of a third of a second, rounded to whole ns, leaves 12 ns more of 10 s than half of them.
func TestAWholeNanosecondOnAFastNodeIsManyOnASlowOne(t *testing.T) {
	const slow, fast, run = 10 * time.Second, 333_333_333 * time.Nanosecond, 500 * time.Millisecond
	kept := []part{part{}.plus(time.Second, 2*slow, slow, run).plus(166_666_667, fast, fast, run)}
	for held, right := range map[time.Duration]bool{4_000_000_012: true, 4_000_000_500: false, 3_999_999_500: false} {
		if got := cutRight(kept, held, []time.Duration{0}, 2*slow, slow, slow, run, run, 0); got != right {
			t.Errorf("a task that has used up a tenth and a half of its estimate is cut after %s of the last attempt: right %v, want %v", held, got, right)
		}
	}
}
