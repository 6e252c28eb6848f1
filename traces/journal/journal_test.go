package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/schedlab/schedlab/policies/sched"
	"pgregory.net/rapid"
)

// recorded is a journal as it was written.
type recorded struct {
	header  Header
	table   *sched.Table
	batches []Batch
}

// write writes the journal; flush says after which batches a frame ends.
func (j *recorded) write(t interface{ Fatal(...any) }, flush func(int) bool) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, j.header, j.table)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range j.batches {
		if err := w.Batch(x.Now, x.In, x.Out); err != nil {
			t.Fatal(err)
		}
		if flush(i) {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*Reader, error) { return NewReader(bytes.NewReader(b), int64(len(b))) }

func text() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom([]string{"", "a", "同步", "x,\"y\"\\\n", "</script>\u2028"}), rapid.StringN(0, 8, -1))
}

func labels(t *rapid.T) []sched.Label {
	var out []sched.Label
	for range rapid.IntRange(0, 2).Draw(t, "labels") {
		out = append(out, sched.Label{Key: text().Draw(t, "key"), Value: text().Draw(t, "value")})
	}
	return out
}

func node(t *rapid.T) sched.NodeSpec {
	capacity := rapid.SampledFrom([]int64{0, 1, 64000, sched.Unlimited})
	n := sched.NodeSpec{
		Name: text().Draw(t, "node"), CPU: capacity.Draw(t, "cpu"), Mem: capacity.Draw(t, "mem"), VRAM: capacity.Draw(t, "vram"),
		GPUs: rapid.Int32Range(0, 100).Draw(t, "gpus"), GPUType: text().Draw(t, "type"), SpeedMilli: rapid.Int64Range(0, 9).Draw(t, "speed"),
		StorageLatency: time.Duration(rapid.Int64Range(0, 9).Draw(t, "latency")), StorageMBps: rapid.Float64().Draw(t, "mbps"),
		NetworkMbps: rapid.Float64().Draw(t, "net"), NetworkLatency: time.Duration(rapid.Int64Range(0, 9).Draw(t, "net latency")), Labels: labels(t),
	}
	if rapid.Bool().Draw(t, "tainted") {
		n.Taints = []sched.Taint{{Key: text().Draw(t, "k"), Value: "v", Effect: "NoSchedule"}}
	}
	return n
}

type named string

func (named) Observe(*sched.State, sched.Event) {}
func (named) Decide(*sched.Round)               {}
func (n named) String() string                  { return string(n) }

// journals draws a journal: jobs that arrive with tasks of a random table, and random facts and orders.
func journals(t *rapid.T) *recorded {
	tb := &sched.Table{Kinds: []string{""}, Tenants: []string{""}, Queues: []string{""}}
	j := &recorded{table: tb, header: Header{Policy: text().Draw(t, "policy"), Seed: rapid.Int64().Draw(t, "seed")}}
	for range rapid.IntRange(0, 3).Draw(t, "nodes") {
		j.header.Nodes = append(j.header.Nodes, node(t))
	}
	if rapid.Bool().Draw(t, "config") {
		j.header.Config = json.RawMessage(`{"horizon":5}`)
	}
	for i := range 2 {
		tb.Kinds = append(tb.Kinds, fmt.Sprint("k", i))
		tb.Tenants = append(tb.Tenants, text().Draw(t, "tenant"))
		tb.Queues = append(tb.Queues, "q")
	}
	classes := rapid.IntRange(1, 4).Draw(t, "classes")
	i32 := func(hi int32, what string) int32 { return rapid.Int32Range(0, hi).Draw(t, what) }
	for c := range classes {
		d := sched.Demand{
			Need: sched.Need{CPU: rapid.Int64Range(0, 1<<40).Draw(t, "cpu"), Mem: 5, VRAM: 6, GPUs: i32(2, "gpus"), GPUMilli: 1000},
			Gang: 1 + i32(3, "gang"), Labels: labels(t),
		}
		if rapid.Bool().Draw(t, "typed") {
			d.GPUTypes = []string{"A100", text().Draw(t, "gpu")}
			d.Tolerations = []sched.Toleration{{Key: "k", Exists: true}, {Value: text().Draw(t, "tolerated")}}
		}
		if rapid.Bool().Draw(t, "avoids") {
			d.NotLabels = []sched.NotLabel{{Key: "zone", Value: text().Draw(t, "not")}, {Key: text().Draw(t, "key"), Any: true}}
		}
		tb.Demands = append(tb.Demands, d)
		speeds := sched.SpeedsID(0)
		if rapid.Bool().Draw(t, "speeds") {
			if tb.Speeds == nil {
				tb.Speeds = [][]sched.SpeedOn{nil, {{GPUType: "A100", Nano: 1}, {GPUType: text().Draw(t, "slow"), Nano: 5e9}}, {}}
			}
			speeds = sched.SpeedsID(1 + i32(1, "table"))
		}
		tb.Classes = append(tb.Classes, sched.Class{
			Speeds: speeds,
			Demand: sched.DemandID(c), Kind: sched.KindID(i32(2, "kind")), Tenant: sched.TenantID(i32(2, "tenant")), Queue: sched.QueueID(i32(2, "queue")),
			Priority: rapid.Int32().Draw(t, "priority"), Retries: i32(3, "retries"), Criticality: rapid.Float64Range(0, 1).Draw(t, "criticality"),
			Period: time.Duration(i32(5, "period")), RelDeadline: 7, Backoff: time.Duration(i32(5, "backoff")),
		})
	}
	withNames, withEdges := rapid.Bool().Draw(t, "names"), rapid.Bool().Draw(t, "edges")
	now := sched.Time(rapid.Int64Range(-1e12, 1e12).Draw(t, "epoch"))
	var after [][]sched.TaskID
	for range rapid.IntRange(0, 8).Draw(t, "batches") {
		now += sched.Time(rapid.SampledFrom([]int64{0, 1, 1e9}).Draw(t, "step"))
		b := Batch{No: int64(len(j.batches)), Now: now}
		for range rapid.IntRange(0, 3).Draw(t, "arrivals") {
			job := tb.Jobs
			if job > 0 && rapid.IntRange(0, 4).Draw(t, "same job") == 0 {
				job-- // a later part of a job
			} else {
				tb.Jobs++
				if withNames {
					tb.JobName.Append(text().Draw(t, "job name"))
				}
			}
			first := len(tb.Tasks)
			n := rapid.IntRange(1, 4).Draw(t, "tasks")
			for k := range n {
				task, due := sched.Task{Submit: now, Job: sched.JobID(job), Class: sched.ClassID(rapid.IntRange(0, classes-1).Draw(t, "class"))}, sched.Never
				if rapid.Bool().Draw(t, "odd") {
					task.Submit--
					due = now + 99
					if tb.Data == nil {
						tb.Data, tb.EstimateOn = map[sched.TaskID]sched.Data{}, map[sched.TaskID][]sched.CostOn{}
					}
					tb.Data[sched.TaskID(first+k)] = sched.Data{Input: 1, Output: 2, At: text().Draw(t, "at")}
					tb.EstimateOn[sched.TaskID(first+k)] = []sched.CostOn{{On: "A100", Run: 5}, {On: text().Draw(t, "on"), Run: 0}}
				}
				tb.Tasks = append(tb.Tasks, task)
				tb.SetDeadline(sched.TaskID(first+k), due)
				tb.Estimates = append(tb.Estimates, time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "estimate")))
				if withNames {
					tb.TaskNames.Append(text().Draw(t, "name"))
				}
				var preds []sched.TaskID
				for p := max(0, first+k-3); withEdges && p < first+k; p++ {
					if rapid.Bool().Draw(t, "edge") {
						preds = append(preds, sched.TaskID(p))
					}
				}
				after = append(after, preds)
			}
			b.In = append(b.In, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(first), N: int32(n)})
		}
		for range rapid.IntRange(0, 3).Draw(t, "facts") {
			b.In = append(b.In, fact(t))
		}
		for range rapid.IntRange(0, 3).Draw(t, "orders") {
			c := sched.Command{
				Kind: sched.CommandKind(rapid.IntRange(1, 5).Draw(t, "order")), Cause: sched.Cause(i32(6, "cause")), Task: sched.TaskID(i32(99, "task")),
				Attempt: i32(3, "try"), Queue: sched.QueueID(i32(3, "queue")), Replicas: i32(3, "replicas"),
			}
			for range rapid.IntRange(0, 2).Draw(t, "on") {
				c.On = append(c.On, sched.Placement{Node: sched.NodeID(i32(9, "node")), Replicas: i32(9, "replicas"), GPUs: sched.Devices(rapid.Uint64().Draw(t, "gpus"))})
			}
			b.Out = append(b.Out, c)
		}
		j.batches = append(j.batches, b)
	}
	link(tb, after)
	if len(tb.Succ) > 0 && rapid.Bool().Draw(t, "sends") {
		for range tb.Succ {
			tb.EdgeBytes = append(tb.EdgeBytes, int64(i32(2, "sent"))<<40)
		}
		if slices.Max(tb.EdgeBytes) == 0 {
			tb.EdgeBytes = nil
		}
	}
	return j
}

// link sets the edges of a table, all nil where there are none.
func link(tb *sched.Table, after [][]sched.TaskID) {
	succ := make([][]sched.TaskID, len(after))
	off := []int32{0}
	for t, preds := range after {
		tb.Pred = append(tb.Pred, preds...)
		off = append(off, int32(len(tb.Pred)))
		for _, p := range preds {
			succ[p] = append(succ[p], sched.TaskID(t))
		}
	}
	if len(tb.Pred) == 0 {
		return
	}
	tb.PredOff, tb.SuccOff = off, []int32{0}
	for _, s := range succ {
		tb.Succ = append(tb.Succ, s...)
		tb.SuccOff = append(tb.SuccOff, int32(len(tb.Succ)))
	}
}

func fact(t *rapid.T) sched.Event {
	e := sched.Event{
		Kind: sched.EventKind(rapid.IntRange(int(sched.Finished), int(sched.EdgeAdded)).Draw(t, "fact")), Task: sched.TaskID(rapid.Int32Range(0, 99).Draw(t, "task")),
		Other: sched.TaskID(rapid.Int32Range(-1, 9).Draw(t, "other")), Node: sched.NodeID(rapid.Int32Range(-1, 9).Draw(t, "node")),
		Attempt: rapid.Int32Range(0, 9).Draw(t, "try"), Done: time.Duration(rapid.Int64().Draw(t, "done")), Value: rapid.Int64().Draw(t, "value"),
	}
	switch e.Kind {
	case sched.NodeUp:
		n := node(t)
		e.More = &sched.Detail{Spec: &n}
	case sched.NodeProfile:
		e.More = &sched.Detail{Profile: &sched.Profile{
			SampledAt: -3, OtherCPU: 1, OtherMem: rapid.Int64().Draw(t, "mem"), GPULoad: rapid.SampledFrom([]float64{0, 0.1, 1e300, math.Inf(1), math.Inf(-1)}).Draw(t, "load"),
			Latency: 4, Connections: 5, OtherGPUs: sched.Devices(rapid.Uint64().Draw(t, "gpus")),
		}}
	case sched.QuotaSet:
		e.More = &sched.Detail{Quota: &sched.Quota{Tenant: text().Draw(t, "tenant"), CPU: -1, GPUMilli: 500, Tasks: rapid.Int64Range(-1, 3).Draw(t, "tasks"), Cohort: text().Draw(t, "cohort"), BorrowCPU: -1, BorrowGPUMilli: rapid.Int64Range(0, 2).Draw(t, "borrow"), Reclaim: rapid.Bool().Draw(t, "reclaim")}}
	case sched.PolicySet:
		e.More = &sched.Detail{Policy: named(text().Draw(t, "policy"))}
	case sched.DependencyUp, sched.DependencyDown:
		e.More = &sched.Detail{Name: text().Draw(t, "dependency")}
	}
	return e
}

func parseNamed(s string) (sched.Policy, error) { return named(s), nil }

func TestAJournalReadsBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := journals(t)
		every := rapid.IntRange(1, 4).Draw(t, "frame")
		b := j.write(t, func(i int) bool { return i%every == 0 })
		r, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		if r.Truncated() || r.Batches() != int64(len(j.batches)) {
			t.Fatalf("truncated %v, %d batches of %d", r.Truncated(), r.Batches(), len(j.batches))
		}
		if got := r.Header(); !reflect.DeepEqual(got, j.header) {
			t.Fatalf("header %+v, want %+v", got, j.header)
		}
		r.ParsePolicy = parseNamed
		for _, want := range j.batches {
			got, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("batch\n%+v, want\n%+v", got, want)
			}
		}
		for range 2 {
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("at the end: %v", err)
			}
		}
		tb, err := r.Table()
		if err != nil {
			t.Fatal(err)
		}
		same(t, tb, j.table)

		// From any point.
		if len(j.batches) > 0 {
			k := rapid.IntRange(0, len(j.batches)-1).Draw(t, "seek")
			if err := r.SeekBatch(int64(k)); err != nil {
				t.Fatal(err)
			}
			if got, err := r.Next(); err != nil || !reflect.DeepEqual(got, j.batches[k]) {
				t.Fatalf("after seeking to batch %d: %+v, %v", k, got, err)
			}
			at := j.batches[k].Now
			first := 0
			for j.batches[first].Now < at {
				first++
			}
			if err := r.SeekTime(at); err != nil {
				t.Fatal(err)
			}
			if got, err := r.Next(); err != nil || got.No != int64(first) {
				t.Fatalf("after seeking to %d ns: batch %d, want %d, %v", at, got.No, first, err)
			}
		}
		if err := r.SeekBatch(int64(len(j.batches))); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("past the end: %v", err)
		}
	})
}

// same compares what arrived: classes and names that no task uses are not in a journal.
func same(t *rapid.T, got, want *sched.Table) {
	if len(got.Tasks) != len(want.Tasks) || got.Jobs != want.Jobs {
		t.Fatalf("%d tasks of %d jobs, want %d of %d", len(got.Tasks), got.Jobs, len(want.Tasks), want.Jobs)
	}
	if !slices.Equal(got.Deadlines, want.Deadlines) || (got.Deadlines == nil) != (want.Deadlines == nil) {
		t.Fatalf("deadlines %v, want %v", got.Deadlines, want.Deadlines)
	}
	for i := range want.Tasks {
		id := sched.TaskID(i)
		g, w := got.ClassOf(id), want.ClassOf(id)
		if got.Tasks[i] != want.Tasks[i] || got.Estimates[i] != want.Estimates[i] || *g != *w || !reflect.DeepEqual(got.DemandOf(id), want.DemandOf(id)) {
			t.Fatalf("task %d: %+v %+v, want %+v %+v", i, got.Tasks[i], g, want.Tasks[i], w)
		}
		if got.Kinds[g.Kind] != want.Kinds[w.Kind] || got.Tenants[g.Tenant] != want.Tenants[w.Tenant] || got.Queues[g.Queue] != want.Queues[w.Queue] {
			t.Fatalf("task %d: names differ", i)
		}
		if g.Speeds > 0 && fmt.Sprint(got.Speeds[g.Speeds]) != fmt.Sprint(want.Speeds[w.Speeds]) {
			t.Fatalf("task %d: throughput table %v, want %v", i, got.Speeds[g.Speeds], want.Speeds[w.Speeds])
		}
		if got.TaskNames.At(i) != want.TaskNames.At(i) || !reflect.DeepEqual(got.Data[id], want.Data[id]) || !reflect.DeepEqual(got.EstimateOn[id], want.EstimateOn[id]) {
			t.Fatalf("task %d: its name, data or estimates differ", i)
		}
	}
	for j := range int(want.Jobs) {
		if got.JobName.At(j) != want.JobName.At(j) {
			t.Fatalf("job %d: %q, want %q", j, got.JobName.At(j), want.JobName.At(j))
		}
	}
	if !reflect.DeepEqual(got.PredOff, want.PredOff) || !reflect.DeepEqual(got.Pred, want.Pred) || !reflect.DeepEqual(got.SuccOff, want.SuccOff) || !reflect.DeepEqual(got.Succ, want.Succ) || !reflect.DeepEqual(got.EdgeBytes, want.EdgeBytes) {
		t.Fatalf("edges %v %v %v %v, want %v %v %v %v", got.PredOff, got.Pred, got.SuccOff, got.Succ, want.PredOff, want.Pred, want.SuccOff, want.Succ)
	}
}

// plain is a journal of n jobs of one task, each in a batch of its own.
func plain(n int) *recorded {
	tb := &sched.Table{
		Kinds: []string{"", "train"}, Tenants: []string{"", "ann"}, Queues: []string{""},
		Demands: []sched.Demand{{Need: sched.Need{CPU: 1000, GPUs: 1, GPUMilli: 1000}, Gang: 1}}, Classes: []sched.Class{{Kind: 1, Tenant: 1}},
	}
	j := &recorded{table: tb, header: Header{Policy: "fifo", Nodes: []sched.NodeSpec{{Name: "node-001", CPU: 64000, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: 8}}}}
	for i := range n {
		now := sched.Time(i) * 1e9
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: now, Job: sched.JobID(i)})
		tb.Estimates = append(tb.Estimates, time.Duration(i)*time.Millisecond)
		tb.Jobs++
		j.batches = append(j.batches, Batch{
			No: int64(i), Now: now,
			In:  []sched.Event{{Kind: sched.Finished, Task: sched.TaskID(i / 2), Attempt: 1}, {Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1}},
			Out: []sched.Command{{Kind: sched.Start, Task: sched.TaskID(i), Attempt: 1, On: []sched.Placement{{Node: 0, Replicas: 1, GPUs: 1 << (i % 8)}}}},
		})
	}
	return j
}

func readAll(r *Reader) (n int64, err error) {
	for {
		b, err := r.Next()
		if err != nil {
			return n, err
		}
		if b.No != n {
			return n, fmt.Errorf("batch %d where %d is due", b.No, n)
		}
		n++
	}
}

func TestAJournalCutAnywhereReadsUpToItsLastWholeFrame(t *testing.T) {
	j := plain(40)
	b := j.write(t, func(i int) bool { return i%10 == 9 })
	whole, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64 // of the frames
	for _, e := range whole.entries {
		ends = append(ends, e.offset+8+preambleLen2+e.size)
	}
	header := int(whole.entries[0].offset)
	for cut := range len(b) {
		r, err := open(b[:cut])
		if cut < header {
			if err == nil {
				t.Fatalf("cut at %d, inside the header: no error", cut)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		var want int64
		for i, end := range ends {
			if int64(cut) >= end {
				want = int64(i+1) * 10
			}
		}
		n, err := readAll(r)
		if n != want || !errors.Is(err, ErrTruncated) || !r.Truncated() {
			t.Fatalf("cut at %d of %d: %d batches, want %d; %v", cut, len(b), n, want, err)
		}
		if tb, err := r.Table(); err != nil || len(tb.Tasks) != int(want) {
			t.Fatalf("cut at %d: table %v", cut, err)
		}
	}
}

func TestADamagedFrameIsAnErrorThatNamesItsOffset(t *testing.T) {
	j := plain(40)
	b := j.write(t, func(i int) bool { return i%10 == 9 })
	r, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	second := r.entries[1]
	for i := second.offset; i < second.offset+8+preambleLen2+second.size; i++ {
		bad := bytes.Clone(b)
		bad[i] ^= 0x04
		r, err := open(bad)
		if err != nil {
			t.Fatal(err)
		}
		n, err := readAll(r)
		if i >= second.offset+36 && i < second.offset+44 {
			continue // the last time serves only to find frames without an index
		}
		if n != 10 || err == io.EOF || errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d", second.offset)) {
			t.Fatalf("byte %d: %d batches, %v", i, n, err)
		}
		if err := r.SeekBatch(25); err != nil {
			t.Fatalf("what follows the damage cannot be reached: %v", err)
		}
	}
}

func TestEachFrameCanBeReadAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := journals(t)
		b := j.write(t, func(i int) bool { return i%2 == 1 })
		r, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range r.entries { // the others are wiped out
			alone := bytes.Clone(b)
			for k, other := range r.entries {
				if k != i {
					clear(alone[other.offset : other.offset+8+preambleLen2+other.size])
				}
			}
			r, err := open(alone)
			if err != nil {
				t.Fatal(err)
			}
			r.ParsePolicy = parseNamed
			for no := e.batch; no < e.batch+int64(e.batches); no++ {
				if err := r.SeekBatch(no); err != nil {
					t.Fatal(err)
				}
				if got, err := r.Next(); err != nil || !reflect.DeepEqual(got, j.batches[no]) {
					t.Fatalf("batch %d: %+v, %v, want %+v", no, got, err, j.batches[no])
				}
			}
			build := newTableBuilder()
			pass := &Reader{src: bytes.NewReader(alone), size: int64(len(alone)), name: "t", entries: r.entries[i : i+1], end: io.EOF, version: 2, lastAt: math.MinInt64}
			for err == nil {
				_, err = pass.batch(build)
			}
			if err != io.EOF && !strings.Contains(err.Error(), "is due") && !strings.Contains(err.Error(), "predecessor") && !strings.Contains(err.Error(), "names") {
				t.Fatalf("frame %d alone: %v", i, err)
			}
		}
	})
}

func TestAGiantJobAndAGiantBatchReadBack(t *testing.T) {
	j := plain(1)
	tb := j.table
	const n = 30_000
	tb.Tasks, tb.Estimates, tb.Jobs = nil, nil, 0
	var in []sched.Event
	for i := range n {
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(i % 3)})
		tb.Estimates = append(tb.Estimates, time.Duration(i))
		in = append(in, sched.Event{Kind: sched.Finished, Task: sched.TaskID(i), Attempt: 1})
		if !tb.TaskNames.Append(strings.Repeat("x", 40)) {
			t.Fatal("full")
		}
	}
	tb.Jobs = 1
	in = append(in, sched.Event{Kind: sched.JobArrived, N: n})
	j.batches = []Batch{{Now: 0, In: in}, {No: 1, Now: 5, In: []sched.Event{{Kind: sched.Wake}}}}
	for _, b := range [][]byte{j.write(t, func(int) bool { return false }), j.write1(t, func(int) bool { return false })} {
		r, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range j.batches {
			if got, err := r.Next(); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("batch %d differs: %v", want.No, err)
			}
		}
		if got, err := r.Table(); err != nil || !reflect.DeepEqual(got.Tasks, tb.Tasks) {
			t.Fatalf("table: %v", err)
		}
	}
}

func TestTheWriterRefusesTimeThatFallsAndKeepsWhatCameBefore(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(5, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(4, nil, nil); err == nil || !strings.Contains(err.Error(), "batch 1") {
		t.Errorf("time fell: %v", err)
	}
	if err := w.Batch(6, nil, nil); err == nil || !strings.Contains(err.Error(), "batch 1") {
		t.Errorf("after that: %v", err)
	}
	if w.Close() == nil {
		t.Error("Close forgot the error")
	}
	r, err := open(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(r); n != 1 || err != io.EOF {
		t.Errorf("%d batches, %v", n, err)
	}
}

type fullDisk struct{ room int }

func (f *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func TestAFullDiskIsReported(t *testing.T) {
	j := plain(5000)
	for _, room := range []int{0, 500, 5000} {
		w, err := NewWriter(&fullDisk{room}, j.header, j.table)
		if err != nil {
			t.Fatal(err)
		}
		last := sched.Time(0)
		for _, b := range j.batches {
			if err, last = w.Batch(b.Now, b.In, b.Out), b.Now; err != nil {
				break
			}
		}
		if w.Flush() == nil || w.Batch(last, nil, nil) == nil {
			t.Errorf("room for %d bytes: a batch is taken after that", room)
		}
		if err := w.Close(); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
}

func TestOpenReadsAFileAndRefusesWhatIsNoJournal(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "a.journal"), filepath.Join(dir, "b.csv")
	if err := os.WriteFile(good, plain(3).write(t, func(int) bool { return false }), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(good)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := readAll(r); n != 3 || err != io.EOF {
		t.Errorf("%d batches, %v", n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, content := range []string{"", "id,submit_s\n1,2\n", strings.Repeat("id,submit_s\n", 50)} {
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(bad); err == nil || !strings.Contains(err.Error(), "b.csv") {
			t.Errorf("%.10q: %v", content, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	j := plain(12)
	b := j.write(f, func(i int) bool { return i%5 == 4 })
	f.Add(b)
	f.Add(b[:len(b)-7])
	f.Add(b[:len(b)/2])
	f.Add(j.write1(f, func(i int) bool { return i%5 == 4 }))
	f.Add(rawJournal(`{"schema":"schedlab/journal/v1"}`, `{"b":0,"t":0,"in":[{"k":"arrived","n":1,"classes":[{"id":2000000}],"tasks":[{"class":2000000}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := open(b)
		if err != nil {
			return
		}
		defer r.Close()
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		if _, err := r.Table(); err != nil {
			return
		}
		_ = r.SeekBatch(3)
		_ = r.SeekTime(1e9)
	})
}

// FuzzRecords fuzzes what the checksum would keep a byte fuzzer from: the records.
func FuzzRecords(f *testing.F) {
	j := plain(12)
	b := j.write(f, func(int) bool { return false })
	r, err := open(b)
	if err != nil {
		f.Fatal(err)
	}
	e := r.entries[0]
	head, body := b[:e.offset], b[e.offset+8+preambleLen2:e.offset+8+preambleLen2+e.size]
	f.Add(body, uint32(12))
	f.Add([]byte{1, 5, 13, 0, 2, 3, 6, 5, 10, 5, 1, 1, 3, 0}, uint32(1))
	f.Fuzz(func(t *testing.T, body []byte, batches uint32) {
		e := entry{size: int64(len(body)), batches: batches}
		b := appendPreamble(bytes.Clone(head), &e, crc32.Checksum(body, castagnoli))
		r, err := open(append(b, body...))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = readAll(r)
		if tb, err := r.Table(); err == nil {
			for i := range tb.Tasks { // whatever was accepted can be walked
				_ = tb.DemandOf(sched.TaskID(i))
				_ = tb.Kinds[tb.ClassOf(sched.TaskID(i)).Kind]
				_, _ = tb.Preds(sched.TaskID(i)), tb.Succs(sched.TaskID(i))
			}
		}
	})
}

func TestNumbersOfAnySizeReadBack(t *testing.T) {
	b := make([]byte, 16)
	for bit := range 64 {
		for _, v := range []uint64{1 << bit, 1<<bit - 1, 1<<bit + 1, ^uint64(0) << bit} {
			n := put(b, 0, v)
			d := decoder{b: b[:n]}
			if got := d.number(); got != v || d.err != nil || d.at != n {
				t.Errorf("%d reads back as %d, %v; %d bytes of %d", v, got, d.err, d.at, n)
			}
			if d = (decoder{b: b[:n-1]}); n > 1 && d.number() != 0 || d.err == nil && n > 1 {
				t.Errorf("%d without its last byte: no error", v)
			}
			s := int64(v)
			d = decoder{b: b[:put(b, 0, zigzag(s))]}
			if got := d.signed(); got != s {
				t.Errorf("%d reads back as %d", s, got)
			}
		}
	}
}

func TestAJournalOfALaterVersionIsToldFromOtherFiles(t *testing.T) {
	b := plain(2).write(t, func(int) bool { return false })
	copy(b[8:], "SLJ9")
	if _, err := open(b); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("%v", err)
	}
}

// FuzzLines fuzzes what the zstd checksum would keep a byte fuzzer from: the JSON.
func FuzzLines(f *testing.F) {
	f.Add(`{"schema":"schedlab/journal/v1","nodes":[{"name":"a"}]}`, `{"b":0,"t":0,"in":[{"k":"arrived","n":2,"classes":[{"id":1,"need":{}}],"tasks":[{"class":1},{"class":1,"after":[0]}]}]}`)
	f.Add(`{"schema":"schedlab/journal/v1"}`, `{"b":0,"t":0,"more":true}`)
	f.Add(`{"schema":"schedlab/journal/v1"}`, `{"b":0,"t":0,"in":[{"k":"quota","quota":{"cpu":-1}}],"out":[{"k":"start","on":[[0,1,"ff"]]}]}`)
	f.Fuzz(func(t *testing.T, header, line string) {
		r, err := open(rawJournal(header, line))
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = readAll(r)
		if tb, err := r.Table(); err == nil {
			for i := range tb.Tasks { // whatever was accepted can be walked
				_ = tb.DemandOf(sched.TaskID(i))
				_ = tb.Kinds[tb.ClassOf(sched.TaskID(i)).Kind]
				_, _ = tb.Preds(sched.TaskID(i)), tb.Succs(sched.TaskID(i))
			}
		}
	})
}

// rawJournal is a journal of these lines, sound in all but what they say.
func rawJournal(header, line string) []byte {
	enc, _ := zstd.NewWriter(nil)
	var b []byte
	for i, text := range []string{header, line} {
		z := enc.EncodeAll([]byte(text+"\n"), nil)
		b = appendPreamble1(b, &entry{size: int64(len(z)), batches: uint32(i)})
		b = append(b, z...)
	}
	return b
}

func TestTasksAreRefusedThatDoNotFitTogether(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"k":"arrived","task":5,"n":1,"tasks":[{}]}`, "task 5 arrives where task 0 is due"},
		{`{"k":"arrived","n":1,"tasks":[{"class":3}]}`, "class 3 is not written out"},
		{`{"k":"arrived","n":1,"job":4,"tasks":[]}`, "job 4"},
		{`{"k":"arrived","n":2,"classes":[{}],"tasks":[{}]}`, "task 1 was announced"},
		{`{"k":"arrived","n":1,"classes":[{}],"tasks":[{},{}]}`, "more tasks"},
		{`{"k":"arrived","n":1,"classes":[{}],"tasks":[{"after":[7]}]}`, "task 7, which never arrives"},
		{`{"k":"arrived","n":1,"classes":[{"id":2000000000}],"tasks":[{"class":2000000000}]}`, "class 2000000000 among only 1"},
	} {
		r, err := open(rawJournal(`{"schema":"schedlab/journal/v1"}`, `{"b":0,"t":0,"in":[`+c.in+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Table(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.in, err, c.want)
		}
	}
}

func TestTheWriterAllocatesNothingInSteadyState(t *testing.T) {
	j := plain(1)
	w, err := NewWriter(io.Discard, j.header, j.table)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b := j.batches[0]
	if n := testing.AllocsPerRun(1000, func() { _ = w.Batch(b.Now, b.In, b.Out) }); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func TestAFactThatIsToldAloneIsWrittenAsInABatch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const tasks = 40
		j := plain(tasks)
		odd := func(what string) bool { return rapid.IntRange(0, 9).Draw(rt, what) == 0 }
		if odd("names") {
			for t := range tasks {
				j.table.TaskNames.Append(fmt.Sprint(t))
			}
		}
		if odd("deadlines") {
			j.table.SetDeadline(sched.TaskID(rapid.IntRange(0, len(j.table.Tasks)-1).Draw(rt, "due")), 7)
		}
		var one, other bytes.Buffer
		w, _ := NewWriter(&one, j.header, j.table)
		v, err := NewWriter(&other, j.header, j.table)
		if err != nil {
			rt.Fatal(err)
		}
		now, next := sched.Time(0), sched.TaskID(0)
		for range rapid.IntRange(1, 60).Draw(rt, "batches") {
			if now += sched.Time(rapid.Int64Range(0, 2).Draw(rt, "step")); odd("jump") {
				now += in6
			}
			if odd("back") && now > 0 {
				now--
			}
			var out []sched.Command
			for range rapid.SampledFrom([]int{0, 0, 1, 1, 1, 2}).Draw(rt, "orders") {
				out = append(out, sched.Command{Kind: sched.Start, Task: next, Attempt: rapid.SampledFrom([]int32{1, 1, 2}).Draw(rt, "try"), On: []sched.Placement{{
					Node: sched.NodeID(rapid.IntRange(0, 1<<14).Draw(rt, "node")), Replicas: rapid.Int32Range(1, 2).Draw(rt, "replicas"), GPUs: sched.Devices(rapid.Uint64Range(0, 1<<15).Draw(rt, "gpus")),
				}}})
			}
			var a, b error
			if rapid.Bool().Draw(rt, "arrives") && int(next) < len(j.table.Tasks) {
				if odd("later") {
					next = min(next+1, sched.TaskID(len(j.table.Tasks)-1))
				}
				if rapid.Bool().Draw(rt, "submitted now") {
					j.table.Tasks[next].Submit = now
				}
				a = w.Batch(now, []sched.Event{{Kind: sched.JobArrived, Task: next, N: 1, Node: sched.NoNode}}, out)
				b = v.Arrived(now, next, out)
				next++
			} else {
				done, id := time.Duration(rapid.SampledFrom([]int64{0, 1, 1e9, in7 - 1, in7, -1}).Draw(rt, "done")), sched.TaskID(rapid.SampledFrom([]int{0, 5, 1 << 24}).Draw(rt, "task"))
				attempt := rapid.SampledFrom([]int32{1, 1, 1, 2}).Draw(rt, "attempt")
				a = w.Batch(now, []sched.Event{{Kind: sched.Finished, Task: id, Node: sched.NoNode, Attempt: attempt, Done: done}}, out)
				b = v.Finished(now, id, attempt, done, out)
			}
			if fmt.Sprint(a) != fmt.Sprint(b) {
				rt.Fatalf("%v, alone %v", a, b)
			}
			if odd("flush") && (fmt.Sprint(w.Flush()) != fmt.Sprint(v.Flush())) {
				rt.Fatal("they flush otherwise")
			}
		}
		if fmt.Sprint(w.Close()) != fmt.Sprint(v.Close()) {
			rt.Fatal("they close otherwise")
		}
		if !bytes.Equal(one.Bytes(), other.Bytes()) {
			rt.Fatalf("%d bytes, alone %d, or others", one.Len(), other.Len())
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	const n = 1 << 16
	j := plain(n)
	w, err := NewWriter(io.Discard, j.header, j.table)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x := &j.batches[i%n]
		if err := w.Batch(sched.Time(i), x.In, x.Out); err != nil {
			b.Fatal(err)
		}
		i++
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkNext(b *testing.B) {
	j := plain(20000)
	r, err := open(j.write(b, func(int) bool { return false }))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := r.Next(); err == io.EOF {
			_ = r.SeekBatch(0)
		} else if err != nil {
			b.Fatal(err)
		}
	}
}
