package policytest

import (
	"fmt"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Siege is a case in which others keep coming while one task, the victim, wants its turn: for long at less than the cluster can do, or for
// a while at a little more.
type Siege struct {
	Name   string
	Case   Case
	Victim sched.TaskID
	// Bound is the longest wait at a stretch (to a start, from its submission or from a stop) that a policy may impose on the victim if it is
	// to starve nothing: half the time that the others come. Orders of arrival and turns stay far below; a policy that puts the others first
	// however long the victim has waited lets it wait until they have come, about twice as long.
	Bound time.Duration
}

// besieger builds a siege on 2 nodes of 4 GPUs.
type besieger struct {
	Siege
	drafts []draft
	jobs   int
	begin  time.Duration // when the stream begins
}

// unit is the run time of most tasks of a siege. It is long enough for policies that count attained service in hours.
const unit = 30 * time.Minute

// streamed is the number of tasks of a stream of single ones of a unit.
const streamed = 2400

func besiege(name string) *besieger {
	b := &besieger{Siege: Siege{Name: name}}
	b.Case.Table = &sched.Table{Tenants: []string{"", "red", "blue", "green"}, Queues: []string{"", "batch", "interactive"}, Kinds: []string{"", "short", "long"}}
	for i := range 2 {
		b.Case.Nodes = append(b.Case.Nodes, sched.NodeSpec{
			Name: fmt.Sprintf("n%d", i), CPU: 32_000, Mem: 256 << 30, VRAM: 16 << 30, GPUs: 4, GPUType: "V100",
		})
	}
	return b
}

// class adds a class of tasks of so many GPUs.
func (b *besieger) class(gpus int32, c sched.Class) int {
	table := b.Case.Table
	d := sched.Demand{Gang: 1, Need: sched.Need{CPU: 4000, Mem: 8 << 30, GPUs: gpus, GPUMilli: sched.Whole}}
	if gpus > 4 {
		d.Gang, d.Need.GPUs = gpus/4, 4
	}
	c.Demand = sched.DemandID(len(table.Demands))
	table.Demands, table.Classes = append(table.Demands, d), append(table.Classes, c)
	return len(table.Classes) - 1
}

// add makes one job of one task.
func (b *besieger) add(at, run time.Duration, class int) {
	b.drafts = append(b.drafts, draft{job: b.jobs, submit: sched.Time(at), run: run, est: run, class: class})
	b.jobs++
}

// stream lets count tasks of one class come, evenly, so that they ask for load times what the cluster can do.
func (b *besieger) stream(count int, load float64, run time.Duration, class int) (step time.Duration) {
	gpus := b.Case.Table.Demands[b.Case.Table.Classes[class].Demand].GPUTotal() / sched.Whole
	step = time.Duration(float64(run) * float64(gpus) / (8 * load))
	for i := range count {
		b.add(b.begin+time.Duration(i)*step, run, class)
	}
	b.Bound = time.Duration(count) * step / 2
	return step
}

// victim adds the victim, which comes when a tenth of the stream has, and ends the siege.
func (b *besieger) victim(run time.Duration, class int) Siege {
	b.add(b.begin+b.Bound/5, run, class)
	fill(&b.Case, b.drafts, b.jobs)
	for t := range b.Case.Table.Tasks {
		if b.Case.Table.Tasks[t].Class == sched.ClassID(class) {
			b.Victim = sched.TaskID(t)
		}
	}
	return b.Siege
}

// over and under are the loads of streams: a little more than the cluster can do, and a little less.
const over, under = 1.1, 0.9

// Sieges returns the cases, a few thousand tasks each. In all of them the victim has no deadline, period, priority or criticality, and
// everybody's estimate is the run time.
func Sieges() []Siege {
	red, blue := sched.Class{Tenant: 1, Kind: 1}, sched.Class{Tenant: 2, Kind: 2}
	var out []Siege

	b := besiege("small tasks beside one that needs the whole cluster, at load 0.9")
	b.stream(streamed, under, unit, b.class(1, red))
	out = append(out, b.victim(unit, b.class(8, blue)))

	b = besiege("a tenant's small tasks beside its own that needs half of each node, at load 0.9")
	b.stream(streamed, under, unit, b.class(1, red))
	c := b.class(4, red)
	b.Case.Table.Demands[b.Case.Table.Classes[c].Demand].Gang = 2
	b.Case.Table.Demands[b.Case.Table.Classes[c].Demand].Need.GPUs = 2
	out = append(out, b.victim(unit, c))

	b = besiege("short tasks beside a long one")
	b.add(0, 80*unit, b.class(1, blue)) // so that it is known how long those are
	b.begin = 100 * unit
	b.stream(streamed, over, unit, b.class(1, red))
	out = append(out, b.victim(80*unit, b.class(1, blue)))

	b = besiege("long tasks beside a short one")
	b.stream(streamed, over, 8*unit, b.class(1, blue))
	out = append(out, b.victim(unit, b.class(1, red)))

	b = besiege("urgent tasks beside one that nobody is in a hurry for")
	urgent := red
	urgent.Priority, urgent.Criticality, urgent.Period, urgent.RelDeadline, urgent.Queue = 10, 1, 10*unit, 2*unit, 2
	b.stream(streamed, over, unit, b.class(1, urgent))
	calm := red
	calm.Queue = 1
	out = append(out, b.victim(unit, b.class(1, calm)))

	b = besiege("tasks with high priority alone beside one without")
	urgent = red
	urgent.Priority = 10
	b.stream(streamed, over, unit, b.class(1, urgent))
	out = append(out, b.victim(unit, b.class(1, red)))

	b = besiege("one tenant's tasks beside another's")
	b.stream(streamed, over, unit, b.class(1, red))
	out = append(out, b.victim(unit, b.class(1, blue)))

	b = besiege("tenants that have had nothing beside one that has had much")
	heavy := b.class(1, red)
	for range 8 {
		b.add(0, 40*unit, heavy)
	}
	b.begin = 41 * unit
	for i, c := range []int{b.class(1, blue), b.class(1, sched.Class{Tenant: 3})} {
		b.stream(streamed/2, over/2, unit, c)
		b.begin += time.Duration(i) * time.Second
	}
	out = append(out, b.victim(unit, b.class(1, red)))

	b = besiege("tasks that others wait for beside a lone one")
	c = b.class(1, red)
	b.stream(streamed/2, over, 2*unit, c) // each in two halves, one after the other
	for i := range b.drafts {
		d := &b.drafts[i]
		d.run, d.est = unit, unit
		b.drafts = append(b.drafts, draft{job: d.job, submit: d.submit, run: unit, est: unit, class: c, after: []int{i}})
	}
	out = append(out, b.victim(unit, b.class(1, red)))
	return out
}

// Wait runs the siege under a policy and returns the victim's longest wait at a stretch.
func (s Siege) Wait(tb testing.TB, p sched.Policy, drive Driver) time.Duration {
	tb.Helper()
	var longest time.Duration
	since, waits, last := s.Case.Table.Tasks[s.Victim].Submit, true, sched.Time(0)
	drive(tb, s.Case, p, func(now sched.Time, in []sched.Event, out []sched.Command) {
		last = now
		for i := range in {
			if in[i].Kind == sched.Stopped && in[i].Task == s.Victim {
				since, waits = now, true
			}
		}
		for i := range out {
			if out[i].Kind == sched.Start && out[i].Task == s.Victim {
				longest, waits = max(longest, now.Sub(since)), false
			}
		}
	})
	if waits { // it never started (again)
		longest = max(longest, last.Sub(since))
	}
	return longest
}
