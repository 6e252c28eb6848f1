package policies_test

import (
	"bytes"
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// everyPolicy is the catalogue, and variants whose code differs: among them every placement, and orders of every family with some.
func everyPolicy() []string {
	list := append(append(policies.Names(), expressions...), "rr{quantum=1s}", "rms{preempt=false}", "sjf{skip=false}", "srtf{skip=false}", "blevel{skip=false}", "easy{scan=sjbf}", "easy{scan=reverse}", "critical-path{patience=2s}", "critical-path{place=first,heat=0}", "critical-path{score=0}", "drf{skip=false}", "qssf{skip=false,samples=3}", "themis{skip=false}", "themis{lease=1s}", "themis+best-fit", "hrrn{skip=false}", "fair-share{half-life=5s,weights=red:3}", "rms{mode=partitioned}", "rms{mode=partitioned,test=bound,skip=false}+worst-fit", "edf{admission=demand}", "edf{admission=utilization,preempt=false}", "opa{skip=false}", "llf{quantum=1s}", "llf{skip=false}", "llf+best-fit")
	for _, name := range policies.PlacementNames() {
		list = append(list, "fjf+"+name)
	}
	return append(list, "fifo{unplaced=reject}", "fifo+best-fit{by=sum}", "sjf+seed{score=2}", "sjf+random{seed=3}", "easy+random", "easy+best-fit", "easy{scan=reverse}+fgd", "blevel+random", "srtf+fgd", "srtf+two-choices", "srtf+two-choices{load=all}", "edf+gpu-clustering", "dm+pack-by-tenant", "rr{quantum=1s}+load-weighted", "rr{quantum=1s}+consolidate", "easy{scan=lookahead}", "conservative+best-fit", "allox{head=3,patience=1}", "gavel{round=2s}", "gavel{round=1s,aware=false}", "gavel{objective=ftf,round=1s}", "gavel{objective=makespan,round=2s}", "gavel{objective=throughput,round=2s}", "gavel{objective=fifo,round=1s}", "gavel{objective=fifo,round=2s,aware=false}", "gittins{distribution=h2:5/4,cells=20}", "gittins{cells=5}", "las{quantum=1s}", "2d-las{queues=5/20}", "2d-las{queues=5/20,promote=1}", "2d-las{queues=5/20,fifo=submit}", "2d-las{queues=5/20,round=10s}", "srtf{repack=true}", "srsf{repack=true}", "srtf{victims=lost}", "srtf{victims=saved,skip=false}", "srsf{victims=saved}", "lookahead{depth=all}")
}

// newHand drives a new kernel with the policy.
func newHand(tb interface{ Fatal(...any) }, c policytest.Case, p sched.Policy) *hand {
	slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return cmp.Compare(a.At, b.At) })
	start := c.Table.Tasks[0].Submit
	k, err := sched.New(sched.Config{Table: c.Table, Nodes: c.Nodes, Start: start, Policy: p})
	if err != nil {
		tb.Fatal(err)
	}
	return &hand{c: c, k: k, now: start, kept: map[sched.TaskID]time.Duration{}}
}

func build(tb testing.TB, name string) func() sched.Policy {
	spec, err := policies.Parse(name)
	if err != nil {
		tb.Fatal(err)
	}
	return func() sched.Policy {
		p, err := policies.Build(spec, policies.Hints{MeanEstimate: 10 * time.Second})
		if err != nil {
			tb.Fatal(err)
		}
		return p
	}
}

// hand drives a kernel through a case without a simulator: it carries orders out a moment late, so that tasks are Stopping and Claiming
// between batches, and throws in facts of every kind.
type hand struct {
	c     policytest.Case
	k     *sched.Kernel
	now   sched.Time
	next  int // first task that has not arrived
	fault int
	due   []due
	kept  map[sched.TaskID]time.Duration
}

type due struct {
	at sched.Time
	e  sched.Event
}

// surprised is batch, with a surprise in every fourth where there may be one, in the order in which a kernel takes facts in.
func (h *hand) surprised(rt *rapid.T, may bool) (at sched.Time, in []sched.Event, more bool) {
	at, in, more = h.batch()
	if more && may && rapid.IntRange(0, 3).Draw(rt, "surprise now") == 3 {
		in = append(in, h.surprise(rt))
	}
	sched.SortBatch(in)
	return at, in, more
}

// batch returns the next instant and its facts, and false at the end.
func (h *hand) batch() (sched.Time, []sched.Event, bool) {
	at := sched.Never
	for _, d := range h.due {
		at = min(at, d.at)
	}
	if h.next < len(h.c.Table.Tasks) {
		at = min(at, max(h.c.Table.Tasks[h.next].Submit, h.now))
	}
	if h.fault < len(h.c.Faults) {
		at = min(at, max(h.c.Faults[h.fault].At, h.now))
	}
	if wake, ok := h.k.NextWake(); ok {
		at = min(at, max(wake, h.now+1))
	}
	if at == sched.Never {
		return 0, nil, false
	}
	h.now = at
	var in []sched.Event
	h.due = slices.DeleteFunc(h.due, func(d due) bool {
		if d.at <= at {
			in = append(in, d.e)
		}
		return d.at <= at
	})
	for ; h.fault < len(h.c.Faults) && h.c.Faults[h.fault].At <= at; h.fault++ {
		if f := h.c.Faults[h.fault]; f.Attempt == 0 {
			kind := sched.NodeDown
			if f.Up {
				kind = sched.NodeUp
			}
			in = append(in, sched.Event{Kind: kind, Node: f.Node, Task: sched.Nobody})
		}
	}
	for h.next < len(h.c.Table.Tasks) && h.c.Table.Tasks[h.next].Submit <= at {
		first := h.next
		for h.next < len(h.c.Table.Tasks) && h.c.Table.Tasks[h.next].Submit <= at && h.c.Table.Tasks[h.next].Job == h.c.Table.Tasks[first].Job {
			h.next++
		}
		in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(first), N: int32(h.next - first), Node: sched.NoNode})
	}
	return at, in, true
}

func (h *hand) carryOut(orders []sched.Command) {
	for _, o := range orders {
		report := sched.Event{Task: o.Task, Attempt: o.Attempt, Node: sched.NoNode}
		switch o.Kind {
		case sched.Start:
			left := max(h.c.Run[o.Task]-h.kept[o.Task], 0)
			report.Kind = sched.Finished
			for _, f := range h.c.Faults {
				if f.Attempt == o.Attempt && f.Task == o.Task {
					report.Kind, left = sched.FailedAttempt, min(left, f.After)
				}
			}
			h.due = append(h.due, due{h.now.Add(left), report})
		case sched.Stop:
			if h.k.Phase(o.Task) != sched.Stopping || h.k.Attempt(o.Task) != o.Attempt {
				continue // the loss of another node ended it in the same batch
			}
			h.kept[o.Task] += max(h.now.Sub(h.k.StartedAt(o.Task)), 0)
			report.Kind, report.Done = sched.Stopped, min(h.kept[o.Task], h.c.Run[o.Task])
			h.due = append(h.due, due{h.now.Add(time.Duration(o.Task%3) * 250 * time.Millisecond), report})
		}
	}
}

// surprise makes a fact that no simulator would.
func (h *hand) surprise(rt *rapid.T) sched.Event {
	n := len(h.c.Table.Tasks)
	e := sched.Event{Task: sched.TaskID(rapid.IntRange(0, n-1).Draw(rt, "task")), Node: sched.NoNode}
	switch rapid.IntRange(0, 13).Draw(rt, "surprise") {
	case 0:
		e.Kind = sched.Hold
	case 1, 2:
		e.Kind = sched.Release
	case 3:
		e.Kind = sched.Cancelled
	case 4:
		e.Kind, e.Value = sched.Updated, int64(rapid.IntRange(0, 60).Draw(rt, "seconds"))*1e9
	case 5, 6:
		e.Kind, e.Other = sched.EdgeAdded, sched.TaskID(rapid.IntRange(0, n-1).Draw(rt, "other"))
	case 7:
		e.Kind = sched.QuotaSet
		e.More = &sched.Detail{Quota: &sched.Quota{Tenant: "red", CPU: int64(rapid.IntRange(-1, 4).Draw(rt, "cpu")) * 1000, GPUMilli: -1, Tasks: int64(rapid.IntRange(-1, 3).Draw(rt, "tasks"))}}
	case 11, 12, 13:
		e.Kind = sched.CheckpointDone
		if h.k.Phase(e.Task) == sched.Running {
			e.Attempt, e.Value = h.k.Attempt(e.Task), int64(rapid.IntRange(0, 3).Draw(rt, "cost"))*1e9
			e.Done = h.k.Kept(e.Task) + h.k.AtRisk(e.Task)
		}
	case 8:
		e.Kind = sched.NodeUp
		spec := h.c.Nodes[rapid.IntRange(0, len(h.c.Nodes)-1).Draw(rt, "like")]
		spec.Name = "added"
		if spec.GPUs > 0 {
			spec.GPUType = rapid.SampledFrom([]string{spec.GPUType, "A100", "T4"}).Draw(rt, "type")
		}
		e.More = &sched.Detail{Spec: &spec}
	case 9, 10:
		e.Kind, e.Task, e.Node = sched.NodeProfile, sched.Nobody, sched.NodeID(rapid.IntRange(0, len(h.c.Nodes)-1).Draw(rt, "node"))
		e.More = &sched.Detail{Profile: &sched.Profile{
			SampledAt: h.now.Add(-time.Duration(rapid.IntRange(0, 12).Draw(rt, "age")) * time.Second), GPULoad: float64(rapid.IntRange(0, 4).Draw(rt, "load")) / 4,
			OtherCPU: int64(rapid.IntRange(0, 2).Draw(rt, "others")) * 500, OtherMem: int64(rapid.IntRange(0, 2).Draw(rt, "others' memory")) << 29,
			OtherGPUs: sched.Devices(rapid.IntRange(0, 5).Draw(rt, "others' GPUs")),
		}}
	}
	return e
}

func restore(tb interface{ Fatal(...any) }, k *sched.Kernel, c sched.Config) *sched.Kernel {
	var b bytes.Buffer
	if err := k.Snapshot(&b); err != nil {
		tb.Fatal(err)
	}
	r, err := sched.Restore(&b, c)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// lockstep gives the same facts, of every kind, to two kernels, which differ in their policies, and demands equal orders, and equal stretches of waiting where the
// config keeps them. It returns the kernels, and how many orders there were.
func lockstep(rt *rapid.T, c policytest.Case, config sched.Config, policy, plain sched.Policy) (both [2]*sched.Kernel, n int) {
	slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return cmp.Compare(a.At, b.At) })
	config.Table, config.Nodes, config.Start = c.Table, c.Nodes, c.Table.Tasks[0].Submit
	for i, p := range [2]sched.Policy{policy, plain} {
		config.Policy = p
		k, err := sched.New(config)
		if err != nil {
			rt.Fatal(err)
		}
		both[i] = k
	}
	h := &hand{c: c, k: both[0], now: config.Start, kept: map[sched.TaskID]time.Duration{}}
	calm := rapid.Bool().Draw(rt, "calm")
	for i := range 400 {
		at, in, more := h.surprised(rt, !calm && i < 60)
		if !more {
			break
		}
		again := slices.Clone(in)
		orders, want := both[0].Step(at, in), both[1].Step(at, again)
		if !slices.EqualFunc(orders, want, sameOrder) {
			rt.Fatalf("batch %d at %v: %v, plainly %v", i, at, orders, want)
		}
		if a, b := both[0].WaitParts(), both[1].WaitParts(); !slices.Equal(a, b) {
			rt.Fatalf("batch %d at %v: waited %v, plainly %v", i, at, a, b)
		}
		n += len(orders)
		h.carryOut(orders)
	}
	return both, n
}

func sameOrder(a, b sched.Command) bool {
	on := slices.Equal(a.On, b.On)
	a.On, b.On = nil, nil
	return on && a.Kind == b.Kind && a.Cause == b.Cause && a.Task == b.Task && a.Attempt == b.Attempt && a.Queue == b.Queue && a.Replicas == b.Replicas
}

// TestARestoredKernelDecidesAsTheFirst restores a kernel with a new policy at any moment of a random case: from there on the same facts get
// the same orders. So a policy keeps nothing that does not follow from the facts and the State.
func TestARestoredKernelDecidesAsTheFirst(t *testing.T) {
	for _, name := range everyPolicy() {
		t.Run(name, func(t *testing.T) {
			restored := 0
			newPolicy := build(t, name)
			cases := policytest.Cases(policytest.Gen{MaxTasks: 24, Sends: true})
			rapid.Check(t, func(rt *rapid.T) {
				c := cases.Draw(rt, "case")
				slices.SortStableFunc(c.Faults, func(a, b policytest.Fault) int { return cmp.Compare(a.At, b.At) })
				config := sched.Config{Table: c.Table, Nodes: c.Nodes, Start: c.Table.Tasks[0].Submit}
				config.Policy = newPolicy()
				k, err := sched.New(config)
				if err != nil {
					rt.Fatal(err)
				}
				h := &hand{c: c, k: k, now: config.Start, kept: map[sched.TaskID]time.Duration{}}
				calm := rapid.Bool().Draw(rt, "calm")
				var second *sched.Kernel
				for i := range 400 {
					at, in, more := h.surprised(rt, !calm && i < 60)
					if !more {
						break
					}
					again := slices.Clone(in)
					orders := k.Step(at, in)
					if second != nil {
						same := second.Step(at, again)
						if !slices.EqualFunc(orders, same, sameOrder) {
							rt.Fatalf("batch %d at %v: %v, the restored kernel %v", i, at, orders, same)
						}
						if a, _ := k.NextWake(); true {
							if b, _ := second.NextWake(); a != b {
								rt.Fatalf("batch %d at %v: wakes at %v, the restored kernel at %v", i, at, a, b)
							}
						}
					}
					h.carryOut(orders)
					if i < 60 && rapid.IntRange(0, 7).Draw(rt, "restore") == 7 {
						config.Policy = newPolicy()
						second = restore(rt, k, config)
						restored++
					}
				}
			})
			if restored == 0 {
				t.Error("nothing was restored")
			}
		})
	}
}
