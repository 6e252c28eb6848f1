package policytest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// Option says what a policy cannot be asked to do.
type Option func(*Gen)

// Slices is for policies that may evict a task again and again without anything else happening, as time slices do: if the evicted
// lost their work, nothing would ever end. They get no cases with Restart, and an overhead of at most a fortieth of the mean estimate.
func Slices(g *Gen) { g.NoRestart, g.SmallOverhead = true, true }

// Without changes what Conform generates, for drivers that cannot do everything.
func Without(change func(*Gen)) Option { return change }

// maxBatches stops a run that does not come to its end. The largest honest runs (time slices of a tenth of the mean) need a few thousand.
const maxBatches = 300_000

// Conform runs the policy over random cases (rapid's flags say how many) and fails on any broken promise: those of Check and of the
// recorder's stream, equal orders in two runs of one case, an end for every task that can have one, and nothing written to the table and the
// nodes, which policies share. Half of the cases have node losses or task failures; a second round has a task that fits no node, where only the
// tasks that it cannot hold up must be free of violations, and others may stay open.
func Conform(t *testing.T, name string, newPolicy func() sched.Policy, drive Driver, opts ...Option) {
	t.Helper()
	var g Gen
	for _, o := range opts {
		o(&g)
	}
	t.Run(name, func(t *testing.T) {
		t.Run("keeps every promise", func(t *testing.T) {
			cases := Cases(g)
			rapid.Check(t, func(rt *rapid.T) {
				conform(TB(t, rt), cases.Draw(rt, "case"), newPolicy, drive)
			})
		})
		t.Run("with a task that fits nowhere", func(t *testing.T) {
			g := g
			g.Unfit = true
			cases := Cases(g)
			rapid.Check(t, func(rt *rapid.T) {
				conform(TB(t, rt), cases.Draw(rt, "case"), newPolicy, drive)
			})
		})
	})
}

func conform(tb testing.TB, c Case, newPolicy func() sched.Policy, drive Driver) {
	tb.Helper()
	impossible := false
	for t := range c.Table.Tasks {
		impossible = impossible || !Fits(c, sched.TaskID(t))
	}
	var rec Recorder
	var streams [2]bytes.Buffer
	var outcome func(sched.TaskID) sched.Outcome
	before := inReach(c)
	for i := range streams {
		b := &streams[i]
		batches := 0
		o := drive(tb, c, newPolicy(), func(now sched.Time, in []sched.Event, out []sched.Command) {
			if batches++; batches > maxBatches {
				tb.Fatalf("no end after %d batches, at %s", maxBatches, now.Sub(0))
			}
			for j := range out {
				fmt.Fprintf(b, "%d %s task %d attempt %d on %v, cause %v, queue %d x %d\n", int64(now), out[j].Kind, out[j].Task, out[j].Attempt, out[j].On, out[j].Cause, out[j].Queue, out[j].Replicas)
			}
			if i == 0 {
				rec.Tap(now, in, out)
			}
		})
		if o == nil {
			if !impossible {
				tb.Fatalf("the driver refuses a case in which every task fits an empty node")
			}
			return
		}
		if inReach(c) != before {
			tb.Fatalf("the policy (or the driver) has written to the table or to the nodes, which it may only read: other policies share them")
		}
		if i == 0 {
			outcome = o
			judge(tb, c, &rec, outcome, impossible)
		}
	}
	if !bytes.Equal(streams[0].Bytes(), streams[1].Bytes()) {
		a, b := strings.Split(streams[0].String(), "\n"), strings.Split(streams[1].String(), "\n")
		for i := range a {
			if i >= len(b) || a[i] != b[i] {
				other := "(nothing)"
				if i < len(b) {
					other = b[i]
				}
				tb.Fatalf("two runs of one case differ in order %d:\n%s\n%s", i+1, a[i], other)
			}
		}
		tb.Fatalf("the second run of one case gives more orders than the first")
	}
}

// inReach is all of a case that a policy can reach, in words.
func inReach(c Case) string { return fmt.Sprintf("%+v %+v", *c.Table, c.Nodes) }

func judge(tb testing.TB, c Case, rec *Recorder, outcome func(sched.TaskID) sched.Outcome, impossible bool) {
	tb.Helper()
	found := rec.Check(c, outcome)
	var text []string
	for _, v := range found {
		if impossible && v.Rule == "end" {
			continue // it may have to wait for ever, and so may the tasks behind it
		}
		text = append(text, v.String())
	}
	if len(text) > 20 {
		text = append(text[:20], fmt.Sprintf("and %d more", len(text)-20))
	}
	if len(text) > 0 {
		tb.Fatalf("%d violations:\n%s", len(found), strings.Join(text, "\n"))
	}
}

// TB gives a property the testing.TB that drivers take: what fails, fails the property, so that rapid can shrink it; files and cleanup
// beyond one run are t's.
func TB(t *testing.T, rt *rapid.T) testing.TB { return &rapidTB{TB: t, rt: rt} }

// testing.TB has a private method, so that only an embedded one can make a new one.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (b *rapidTB) Helper()                   { b.rt.Helper() }
func (b *rapidTB) Error(args ...any)         { b.rt.Error(args...) }
func (b *rapidTB) Errorf(f string, a ...any) { b.rt.Errorf(f, a...) }
func (b *rapidTB) Fatal(args ...any)         { b.rt.Fatal(args...) }
func (b *rapidTB) Fatalf(f string, a ...any) { b.rt.Fatalf(f, a...) }
func (b *rapidTB) Fail()                     { b.rt.Fail() }
func (b *rapidTB) FailNow()                  { b.rt.FailNow() }
func (b *rapidTB) Failed() bool              { return b.rt.Failed() }
func (b *rapidTB) Log(args ...any)           { b.rt.Log(args...) }
func (b *rapidTB) Logf(f string, a ...any)   { b.rt.Logf(f, a...) }
func (b *rapidTB) Skip(args ...any)          { b.rt.Skip(args...) }
func (b *rapidTB) Skipf(f string, a ...any)  { b.rt.Skipf(f, a...) }
func (b *rapidTB) SkipNow()                  { b.rt.SkipNow() }
func (b *rapidTB) Cleanup(f func())          { b.rt.Cleanup(f) }
func (b *rapidTB) Context() context.Context  { return b.rt.Context() }
