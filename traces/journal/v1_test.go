package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/schedlab/schedlab/policies/sched"
	"pgregory.net/rapid"
)

// The writer of version 1 as it was, on one goroutine: journals that it wrote must be read for ever.

const (
	lineTarget = 1 << 20 // bytes after which a batch goes on in a new line
	chunkTasks = 1024    // tasks in one member of a line
)

type writer1 struct {
	tb      *sched.Table
	buf     []byte
	now     sched.Time
	no      int64
	frame   entry
	count   int64
	defined []int64
	fresh   []sched.ClassID
	out     []byte
	entries []entry
}

// write1 writes the journal in version 1; flush says after which batches a frame ends.
func (j *recorded) write1(t interface{ Fatal(...any) }, flush func(int) bool) []byte {
	jw := &writer1{tb: j.table, now: math.MinInt64, count: 1}
	head, err := appendHeader(nil, &j.header)
	if err != nil {
		t.Fatal(err)
	}
	jw.buf = bytes.Replace(head, []byte(Schema), []byte(schema1), 1)
	jw.send()
	for i, x := range j.batches {
		if err := jw.batch(x.Now, x.In, x.Out); err != nil {
			t.Fatal(err)
		}
		jw.no++
		if flush(i) {
			jw.send()
		}
	}
	if len(jw.buf) > 0 {
		jw.send()
	}
	return append(jw.out, appendIndex(nil, jw.entries, int64(len(jw.out)))...)
}

func (jw *writer1) send() {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	packed := z.EncodeAll(jw.buf, nil)
	jw.frame.offset, jw.frame.size = int64(len(jw.out)), int64(len(packed))
	jw.out = append(appendPreamble1(jw.out, &jw.frame), packed...)
	jw.entries = append(jw.entries, jw.frame)
	jw.buf, jw.frame = jw.buf[:0], entry{}
	jw.count++
}

func (jw *writer1) batch(now sched.Time, in []sched.Event, out []sched.Command) error {
	if len(in) > maxEvents || len(out) > maxEvents {
		return fmt.Errorf("journal: batch %d: %d facts and %d orders are more than %d", jw.no, len(in), len(out), maxEvents)
	}
	jw.now = now
	if jw.frame.batches == 0 {
		jw.frame.batch, jw.frame.time = jw.no, now
	}
	jw.frame.batches++
	jw.frame.last = now

	l := line{jw: jw}
	l.open()
	jw.buf = append(jw.buf, `"in":[`...)
	for i := range in {
		jw.buf = appendEvent(jw.buf, &in[i])
		if in[i].Kind == sched.JobArrived && jw.tb != nil {
			if err := jw.appendArrival(&l, &in[i]); err != nil {
				return err
			}
		}
		jw.buf = append(closeWith(jw.buf, '}'), ',')
		l.split(`"in":[`)
	}
	jw.buf = closeWith(jw.buf, ']')
	if len(out) > 0 {
		jw.buf = append(jw.buf, `,"out":[`...)
		for i := range out {
			jw.buf = append(appendCommand(jw.buf, &out[i]), ',')
			l.split(`"out":[`)
		}
		jw.buf = closeWith(jw.buf, ']')
	}
	l.close("}\n")
	if l.longest > maxLine {
		return fmt.Errorf("journal: batch %d: a line of %d bytes is longer than %d", jw.no, l.longest, maxLine)
	}
	return nil
}

// line follows one batch's lines.
type line struct {
	jw            *writer1
	from, longest int
}

func (l *line) open() {
	l.from = len(l.jw.buf)
	b := append(l.jw.buf, `{"b":`...)
	b = strconv.AppendInt(b, l.jw.no, 10)
	b = append(b, `,"t":`...)
	b = strconv.AppendInt(b, int64(l.jw.now), 10)
	l.jw.buf = append(b, ',')
}

func (l *line) close(end string) {
	l.jw.buf = append(l.jw.buf, end...)
	l.longest = max(l.longest, len(l.jw.buf)-l.from)
}

// split ends a line that has grown long and goes on in the list key of the next one.
func (l *line) split(key string) {
	if len(l.jw.buf)-l.from < lineTarget {
		return
	}
	l.jw.buf = closeWith(l.jw.buf, ']')
	l.close(",\"more\":true}\n")
	l.open()
	l.jw.buf = append(l.jw.buf, key...)
}

// appendArrival appends the job and its tasks to the open member of e.
func (jw *writer1) appendArrival(l *line, e *sched.Event) error {
	tb := jw.tb
	if e.N <= 0 || e.Task < 0 || int64(e.Task)+int64(e.N) > int64(len(tb.Tasks)) {
		return fmt.Errorf("journal: batch %d: a job arrives with tasks %d to %d of %d", jw.no, e.Task, int64(e.Task)+int64(e.N)-1, len(tb.Tasks))
	}
	job := tb.Tasks[e.Task].Job
	jw.buf = appendInt(jw.buf, `"job":`, int64(job))
	if tb.JobName.Len() > 0 {
		jw.buf = append(appendString(append(jw.buf, `"jobname":`...), tb.JobName.At(int(job))), ',')
	}
	last := e.Task + sched.TaskID(e.N)
	for from := e.Task; from < last; from += chunkTasks {
		to := min(from+chunkTasks, last)
		if from > e.Task {
			jw.buf = append(closeWith(jw.buf, '}'), ',')
			l.split(`"in":[`)
			jw.buf = append(jw.buf, `{"k":"tasks",`...)
			jw.buf = appendInt(jw.buf, `"task":`, int64(from))
			jw.buf = appendInt(jw.buf, `"job":`, int64(job))
		}
		jw.fresh = jw.fresh[:0]
		for t := from; t < to; t++ {
			c := tb.Tasks[t].Class
			for int(c) >= len(jw.defined) {
				jw.defined = append(jw.defined, 0)
			}
			if jw.defined[c] != jw.count {
				jw.defined[c] = jw.count
				jw.fresh = append(jw.fresh, c)
			}
		}
		if len(jw.fresh) > 0 {
			jw.buf = append(jw.buf, `"classes":[`...)
			for _, c := range jw.fresh {
				jw.buf = append(appendClass(jw.buf, tb, c), ',')
			}
			jw.buf = append(closeWith(jw.buf, ']'), ',')
		}
		jw.buf = append(jw.buf, `"tasks":[`...)
		for t := from; t < to; t++ {
			jw.buf = append(appendTask(jw.buf, tb, t, jw.now), ',')
		}
		jw.buf = append(closeWith(jw.buf, ']'), ',')
	}
	return nil
}

func appendPreamble1(b []byte, e *entry) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, magicPreamble)
	b = le.AppendUint32(b, preambleLen1)
	b = append(b, tag1...)
	b = le.AppendUint32(b, uint32(e.size))
	b = le.AppendUint32(b, e.batches)
	b = le.AppendUint64(b, uint64(e.batch))
	b = le.AppendUint64(b, uint64(e.time))
	return le.AppendUint64(b, uint64(e.last))
}

func appendStrings(b []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	for _, s := range list {
		b = append(appendString(b, s), ',')
	}
	return append(closeWith(b, ']'), ',')
}

func appendInterned(b []byte, key string, id int32, name string) []byte {
	if id == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	b = append(strconv.AppendInt(b, int64(id), 10), ',')
	return append(appendString(b, name), ']', ',')
}

func appendClass(b []byte, tb *sched.Table, id sched.ClassID) []byte {
	c := &tb.Classes[id]
	d := &tb.Demands[c.Demand]
	b = append(b, '{')
	b = appendInt(b, `"id":`, int64(id))
	b = appendInt(b, `"demand":`, int64(c.Demand))
	b = appendInterned(b, `"kind":`, int32(c.Kind), tb.Kinds[c.Kind])
	b = appendInterned(b, `"tenant":`, int32(c.Tenant), tb.Tenants[c.Tenant])
	b = appendInterned(b, `"queue":`, int32(c.Queue), tb.Queues[c.Queue])
	b = appendInt(b, `"priority":`, int64(c.Priority))
	b = appendInt(b, `"retries":`, int64(c.Retries))
	b = appendFloat(b, `"criticality":`, c.Criticality)
	b = appendInt(b, `"period":`, int64(c.Period))
	b = appendInt(b, `"rel_deadline":`, int64(c.RelDeadline))
	b = appendInt(b, `"backoff":`, int64(c.Backoff))
	b = append(b, `"need":{`...)
	b = appendInt(b, `"cpu":`, d.Need.CPU)
	b = appendInt(b, `"mem":`, d.Need.Mem)
	b = appendInt(b, `"vram":`, d.Need.VRAM)
	b = appendInt(b, `"gpus":`, int64(d.Need.GPUs))
	b = appendInt(b, `"gpu_milli":`, int64(d.Need.GPUMilli))
	b = append(closeWith(b, '}'), ',')
	b = appendInt(b, `"gang":`, int64(d.Gang))
	b = appendStrings(b, `"gpu_types":`, d.GPUTypes)
	b = appendLabels(b, `"labels":`, d.Labels)
	if len(d.Tolerations) > 0 {
		b = append(b, `"tolerations":[`...)
		for i := range d.Tolerations {
			t := &d.Tolerations[i]
			b = append(b, '{')
			b = appendText(b, `"key":`, t.Key)
			b = appendText(b, `"value":`, t.Value)
			b = appendText(b, `"effect":`, t.Effect)
			if t.Exists {
				b = append(b, `"exists":true,`...)
			}
			b = append(closeWith(b, '}'), ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	return closeWith(b, '}')
}

func appendTask(b []byte, tb *sched.Table, t sched.TaskID, now sched.Time) []byte {
	task := &tb.Tasks[t]
	b = append(b, '{')
	if tb.TaskNames.Len() > 0 {
		b = append(appendString(append(b, `"name":`...), tb.TaskNames.At(int(t))), ',')
	}
	b = appendInt(b, `"class":`, int64(task.Class))
	if task.Submit != now {
		b = append(strconv.AppendInt(append(b, `"submit":`...), int64(task.Submit), 10), ',')
	}
	b = appendInt(b, `"est":`, int64(tb.Estimates[t]))
	if due := tb.DeadlineOf(t); due != sched.Never {
		b = append(strconv.AppendInt(append(b, `"deadline":`...), int64(due), 10), ',')
	}
	if preds := tb.Preds(t); len(preds) > 0 {
		b = append(b, `"after":[`...)
		for _, p := range preds {
			b = append(strconv.AppendInt(b, int64(p), 10), ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	if tb.EstimateOn != nil {
		b = appendCostOn(b, tb.EstimateOn[t])
	}
	if tb.Data != nil {
		if d, ok := tb.Data[t]; ok {
			b = append(b, `"data":{`...)
			b = appendInt(b, `"in":`, d.Input)
			b = appendInt(b, `"out":`, d.Output)
			b = appendText(b, `"at":`, d.At)
			b = append(closeWith(b, '}'), ',')
		}
	}
	return closeWith(b, '}')
}

func appendEvent(b []byte, e *sched.Event) []byte {
	b = append(b, `{"k":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, '"', ',')
	b = appendInt(b, `"task":`, int64(e.Task))
	b = appendInt(b, `"other":`, int64(e.Other))
	b = appendInt(b, `"n":`, int64(e.N))
	b = appendInt(b, `"node":`, int64(e.Node))
	b = appendInt(b, `"try":`, int64(e.Attempt))
	b = appendInt(b, `"done":`, int64(e.Done))
	b = appendInt(b, `"value":`, e.Value)
	if e.More != nil {
		b = appendDetail(b, e.More)
	}
	return b // open: an arrival goes on
}

func appendCommand(b []byte, c *sched.Command) []byte {
	b = append(b, `{"k":"`...)
	b = append(b, c.Kind.String()...)
	b = append(b, '"', ',')
	b = appendInt(b, `"cause":`, int64(c.Cause))
	b = appendInt(b, `"task":`, int64(c.Task))
	b = appendInt(b, `"try":`, int64(c.Attempt))
	b = appendInt(b, `"queue":`, int64(c.Queue))
	b = appendInt(b, `"replicas":`, int64(c.Replicas))
	if len(c.On) > 0 {
		b = append(b, `"on":[`...)
		for i := range c.On {
			p := &c.On[i]
			b = append(b, '[')
			b = append(strconv.AppendInt(b, int64(p.Node), 10), ',')
			b = strconv.AppendInt(b, int64(p.Replicas), 10)
			if p.GPUs != 0 {
				b = append(b, ',', '"')
				b = append(strconv.AppendUint(b, uint64(p.GPUs), 16), '"')
			}
			b = append(b, ']', ',')
		}
		b = append(closeWith(b, ']'), ',')
	}
	return closeWith(b, '}')
}

func TestAJournalOfVersion1ReadsAsTheSameOfVersion2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := journals(t)
		for i := range j.table.Classes {
			j.table.Classes[i].Speeds = 0 // version 1 had no throughput tables
		}
		j.table.EdgeBytes = nil // version 1 knew nothing of it
		for i := range j.table.Demands {
			j.table.Demands[i].NotLabels = nil // nor of these
		}
		every := rapid.IntRange(1, 4).Draw(t, "frame")
		flush := func(i int) bool { return i%every == 0 }
		old, err := open(j.write1(t, flush))
		if err != nil {
			t.Fatal(err)
		}
		now, err := open(j.write(t, flush))
		if err != nil {
			t.Fatal(err)
		}
		old.ParsePolicy, now.ParsePolicy = parseNamed, parseNamed
		if !reflect.DeepEqual(old.Header(), now.Header()) || old.Batches() != now.Batches() {
			t.Fatalf("%+v and %d batches, in version 2 %+v and %d", old.Header(), old.Batches(), now.Header(), now.Batches())
		}
		for {
			a, err := old.Next()
			b, err2 := now.Next()
			if err != err2 || !reflect.DeepEqual(a, b) {
				t.Fatalf("%+v, %v, in version 2 %+v, %v", a, err, b, err2)
			}
			if err == io.EOF {
				break
			}
		}
		a, err := old.Table()
		if err != nil {
			t.Fatal(err)
		}
		same(t, a, j.table)
	})
}
