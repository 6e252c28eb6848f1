package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// decoder reads the numbers and texts of a frame. After the first error it reads zeros.
type decoder struct {
	b   []byte
	at  int
	err error
}

var (
	errShort = errors.New("a record breaks off")
	errRange = errors.New("a number is out of range")
)

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.at = len(d.b)
}

func (d *decoder) byte() byte {
	if d.at >= len(d.b) {
		d.fail(errShort)
		return 0
	}
	d.at++
	return d.b[d.at-1]
}

// number reads what put writes.
func (d *decoder) number() uint64 {
	if d.at >= len(d.b) {
		d.fail(errShort)
		return 0
	}
	k := bits.TrailingZeros8(d.b[d.at]) + 1
	if d.at+k > len(d.b) {
		d.fail(errShort)
		return 0
	}
	var eight [8]byte
	if k == 9 {
		copy(eight[:], d.b[d.at+1:d.at+9])
		d.at += 9
		return binary.LittleEndian.Uint64(eight[:])
	}
	copy(eight[:], d.b[d.at:d.at+k])
	d.at += k
	return binary.LittleEndian.Uint64(eight[:]) >> k
}

func (d *decoder) signed() int64 {
	v := d.number()
	return int64(v>>1) ^ -int64(v&1)
}

// small reads a signed number of 32 bits.
func (d *decoder) small() int32 {
	v := d.signed()
	if int64(int32(v)) != v {
		d.fail(errRange)
		return 0
	}
	return int32(v)
}

// count reads a number without sign of 31 bits.
func (d *decoder) count() int32 {
	v := d.number()
	if v > math.MaxInt32 {
		d.fail(errRange)
		return 0
	}
	return int32(v)
}

// bytes reads a text, which is valid while the frame is.
func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.b)-d.at) {
		d.fail(errShort)
		return nil
	}
	d.at += int(n)
	return d.b[d.at-int(n) : d.at]
}

func (d *decoder) text() string { return string(d.bytes()) }

// list reads how many things follow, each of at least one byte.
func (d *decoder) list() int {
	n := d.number()
	if n > uint64(len(d.b)-d.at) {
		d.fail(errShort)
		return 0
	}
	return int(n)
}

// frameState is what the records of a frame refer back to.
type frameState struct {
	decoder
	now  sched.Time
	next sched.TaskID
	job  sched.JobID
}

// load reads a frame and compares its checksum, so that no batch of a damaged frame is believed.
func (r *Reader) load(e *entry) error {
	b := make([]byte, 8+preambleLen2+e.size)
	if n, err := r.src.ReadAt(b, e.offset); n < len(b) {
		return r.damage(e.offset, fmt.Errorf("damaged frame: %w", err))
	}
	body := b[8+preambleLen2:]
	le := binary.LittleEndian
	switch {
	case le.Uint32(b) != magicPreamble || le.Uint32(b[4:]) != preambleLen2 || string(b[8:12]) != tag2 || int64(le.Uint32(b[12:])) != e.size ||
		le.Uint32(b[16:]) != e.batches || int64(le.Uint64(b[20:])) != e.batch || sched.Time(le.Uint64(b[28:])) != e.time:
		return r.damage(e.offset, errors.New("damaged frame: it does not begin as the index says"))
	case le.Uint32(b[44:]) != crc32.Checksum(body, castagnoli):
		return r.damage(e.offset, errors.New("damaged frame: its checksum is another"))
	}
	r.state = frameState{decoder: decoder{b: body}, now: e.time, job: -1}
	r.read = 0
	return nil
}

// batch reads the next batch of a journal of version 2. What arrives goes into the table too, where there is one.
func (r *Reader) batch(table *tableBuilder) (Batch, error) {
	var e *entry
	for {
		if r.frame >= len(r.entries) {
			return Batch{}, r.end
		}
		e = &r.entries[r.frame]
		if !r.open {
			if err := r.load(e); err != nil {
				return Batch{}, err
			}
			r.open = true
			if table != nil {
				clear(table.in)
			}
		}
		if r.state.at < len(r.state.b) {
			break
		}
		if r.read != e.batches {
			return Batch{}, r.damage(e.offset, fmt.Errorf("%d batches where %d are announced", r.read, e.batches))
		}
		r.open = false
		r.frame++
	}
	d := &r.state
	b := Batch{No: e.batch + int64(r.read)}
	d.now += sched.Time(d.number())
	b.Now = d.now
	err := d.err
	if err == nil && (b.Now < r.lastAt || r.read == e.batches) {
		err = fmt.Errorf("at %d ns where %d batches are due, no earlier than %d ns", b.Now, e.batches, r.lastAt)
	}
	for more := true; more && err == nil; {
		if more, err = r.record(d, &b, table); err == nil {
			err = d.err
		}
		if err == nil && (len(b.In) > maxEvents || len(b.Out) > maxEvents) {
			err = fmt.Errorf("more than %d facts or orders", maxEvents)
		}
	}
	if err != nil {
		return Batch{}, r.damage(e.offset, fmt.Errorf("batch %d: %w", b.No, err))
	}
	r.lastAt = b.Now
	r.read++
	return b, nil
}

// record reads a record into b; false at the batch's end.
func (r *Reader) record(d *frameState, b *Batch, table *tableBuilder) (bool, error) {
	head := d.byte()
	switch head & 7 {
	case recEnd:
		if head != recEnd {
			return false, errors.New("unknown record")
		}
		return false, nil
	case recReport:
		e := sched.Event{Kind: sched.Finished, Task: d.back(), Node: sched.NoNode, Attempt: 1}
		if head&reportStopped != 0 {
			e.Kind = sched.Stopped
		}
		if head&reportAgain != 0 {
			e.Attempt = d.small()
		}
		if head&reportDone != 0 {
			e.Done = time.Duration(d.number())
		}
		b.In = append(b.In, e)
	case recStart:
		c := sched.Command{Kind: sched.Start, Task: d.back(), Attempt: 1}
		p := sched.Placement{Node: sched.NodeID(d.small()), Replicas: 1}
		if head&startAgain != 0 {
			c.Attempt = d.small()
		}
		if head&startReplicas != 0 {
			p.Replicas = d.small()
		}
		if head&startGPUs != 0 {
			p.GPUs = sched.Devices(d.number())
		}
		c.On = []sched.Placement{p}
		b.Out = append(b.Out, c)
	case recArrival:
		e, err := d.arrival(head, table)
		if err != nil {
			return false, err
		}
		b.In = append(b.In, e)
	case recClass:
		c := d.class(head)
		if table != nil && d.err == nil {
			return true, table.define(&c)
		}
	case recFact, recOdd:
		e, err := d.fact(r.ParsePolicy)
		if err != nil {
			return false, err
		}
		if head&7 == recOdd {
			if head = d.byte(); head&7 != recArrival {
				return false, errors.New("a job arrives without its tasks")
			}
			if _, err := d.arrival(head, table); err != nil {
				return false, err
			}
		}
		b.In = append(b.In, e)
	case recOrder:
		c, err := d.order()
		if err != nil {
			return false, err
		}
		b.Out = append(b.Out, c)
	}
	return true, nil
}

// back reads a task as its distance back from the one after the last arrival.
func (d *frameState) back() sched.TaskID {
	t := int64(d.next) - d.signed()
	if int64(int32(t)) != t {
		d.fail(errRange)
	}
	return sched.TaskID(t)
}

func (d *frameState) arrival(head byte, table *tableBuilder) (sched.Event, error) {
	e := sched.Event{Kind: sched.JobArrived, Task: d.next, N: 1, Node: sched.NoNode}
	if head&arrivalTask != 0 {
		e.Task = sched.TaskID(d.count())
	}
	if head&arrivalOne == 0 {
		e.N = d.count()
	}
	d.job++
	if head&arrivalJob != 0 {
		d.job = sched.JobID(d.count())
	}
	if int64(e.Task)+int64(e.N) > math.MaxInt32 {
		return e, errRange
	}
	d.next = e.Task + sched.TaskID(e.N)
	a := eventJSON{K: sched.JobArrived.String(), Task: e.Task, N: e.N, Job: d.job}
	if head&arrivalName != 0 {
		name := d.text()
		a.JobName = &name
	}
	if d.err != nil {
		return e, d.err
	}
	if table != nil {
		if err := table.add(&a, d.now); err != nil {
			return e, err
		}
	}
	for t := e.Task; t < d.next && d.err == nil; t++ {
		task, err := d.task(t, head&arrivalNames != 0)
		if err == nil && d.err == nil && table != nil {
			err = table.task(&task, d.job, d.now)
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

func (d *frameState) task(id sched.TaskID, named bool) (taskJSON, error) {
	v := d.number()
	flags, class := v&(1<<taskFlags-1), v>>taskFlags
	if class > math.MaxInt32 {
		return taskJSON{}, errRange
	}
	t := taskJSON{Class: int32(class), Est: time.Duration(d.number())}
	if flags&taskSubmit != 0 {
		at := sched.Time(d.signed())
		t.Submit = &at
	}
	if flags&taskDeadline != 0 {
		at := sched.Time(d.signed())
		t.Deadline = &at
	}
	if named {
		name := d.text()
		t.Name = &name
	}
	if flags&taskAfter != 0 {
		for range d.list() {
			p := int64(id) - d.signed()
			if int64(int32(p)) != p {
				return t, errRange
			}
			t.After = append(t.After, int32(p))
		}
	}
	if flags&taskMore != 0 {
		var more taskJSON
		if text := d.bytes(); d.err == nil {
			if err := json.Unmarshal(text, &more); err != nil {
				return t, err
			}
		}
		t.EstOn, t.Data, t.Sent = more.EstOn, more.Data, more.Sent
	}
	return t, nil
}

func (d *frameState) class(head byte) classJSON {
	c := classJSON{ID: d.small(), Demand: d.small()}
	for _, x := range [...]*interned{&c.Kind, &c.Tenant, &c.Queue} {
		x.id = d.small()
	}
	c.Priority, c.Retries = d.small(), d.small()
	c.Period, c.RelDeadline, c.Backoff = time.Duration(d.signed()), time.Duration(d.signed()), time.Duration(d.signed())
	c.Need = needJSON{CPU: d.signed(), Mem: d.signed(), VRAM: d.signed(), GPUs: d.small(), GPUMilli: d.small()}
	c.Gang = d.small()
	c.Criticality = number(math.Float64frombits(d.number()))
	for _, x := range [...]*interned{&c.Kind, &c.Tenant, &c.Queue} {
		x.name = d.text()
	}
	for range d.list() {
		c.GPUTypes = append(c.GPUTypes, d.text())
	}
	for range d.list() {
		c.Labels = append(c.Labels, [2]string{d.text(), d.text()})
	}
	for range d.list() {
		t := tolerationJSON{Key: d.text(), Value: d.text(), Effect: d.text()}
		t.Exists = d.number() != 0
		c.Tolerations = append(c.Tolerations, t)
	}
	if head&classSpeeds != 0 {
		c.speeds = d.small()
		for range d.list() {
			c.speedOn = append(c.speedOn, sched.SpeedOn{GPUType: d.text(), Nano: d.signed()})
		}
	}
	if head&classNotLabels != 0 {
		for range d.list() {
			l := sched.NotLabel{Key: d.text(), Value: d.text()}
			l.Any = d.number() != 0
			c.notLabels = append(c.notLabels, l)
		}
	}
	return c
}

func (d *frameState) fact(policy func(string) (sched.Policy, error)) (sched.Event, error) {
	kind, has := d.byte(), d.byte()
	if kind == 0 || int(kind) >= len(facts) {
		return sched.Event{}, fmt.Errorf("unknown fact %d", kind)
	}
	j := eventJSON{K: facts[kind].String()}
	for i, to := range [...]*int32{(*int32)(&j.Task), (*int32)(&j.Other), &j.N, (*int32)(&j.Node), &j.Try} {
		if has>>i&1 != 0 {
			*to = d.small()
		}
	}
	if has&hasDone != 0 {
		j.Done = time.Duration(d.signed())
	}
	if has&hasValue != 0 {
		j.Value = d.signed()
	}
	if has&hasMore != 0 {
		text := d.bytes()
		if d.err != nil {
			return sched.Event{}, d.err
		}
		var more eventJSON
		if err := json.Unmarshal(text, &more); err != nil {
			return sched.Event{}, err
		}
		j.Spec, j.Profile, j.Quota, j.Policy, j.Name = more.Spec, more.Profile, more.Quota, more.Policy, more.Name
	}
	return j.event(policy)
}

func (d *frameState) order() (sched.Command, error) {
	kind, has := d.byte(), d.byte()
	if kind == 0 || int(kind) >= len(orders) {
		return sched.Command{}, fmt.Errorf("unknown order %d", kind)
	}
	c := sched.Command{Kind: orders[kind]}
	if has&hasTask != 0 {
		c.Task = sched.TaskID(d.small())
	}
	if has&hasCause != 0 {
		v := d.signed()
		if c.Cause = sched.Cause(v); int64(c.Cause) != v {
			return c, errRange
		}
	}
	if has&hasQueue != 0 {
		c.Queue = sched.QueueID(d.small())
	}
	if has&hasAttempt != 0 {
		c.Attempt = d.small()
	}
	if has&hasReplicas != 0 {
		c.Replicas = d.small()
	}
	if has&hasOn != 0 {
		for range d.list() {
			c.On = append(c.On, sched.Placement{Node: sched.NodeID(d.small()), Replicas: d.small(), GPUs: sched.Devices(d.number())})
		}
	}
	return c, d.err
}

// table2 is Table for version 2.
func (r *Reader) table2() (*sched.Table, error) {
	pass := &Reader{src: r.src, size: r.size, name: r.name, entries: r.entries, end: r.end, version: r.version, lastAt: math.MinInt64}
	build := newTableBuilder()
	for {
		if _, err := pass.batch(build); err == io.EOF || errors.Is(err, ErrTruncated) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	tb, err := build.finish()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	return tb, nil
}
