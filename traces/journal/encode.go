package journal

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"

	"github.com/schedlab/schedlab/policies/sched"
)

// The records of a frame. The lowest three bits of a record's first byte say which it is, the others are flags of its own.
const (
	recEnd     = iota // of the batch
	recReport         // an attempt has finished or stopped
	recStart          // an order to start on one placement
	recArrival        // a job with its tasks
	recClass          // a class, before the first task of the frame that has it
	recFact           // any fact
	recOdd            // any fact that says that a job arrived; an arrival follows that has the tasks
	recOrder          // any order
)

const (
	reportStopped = 8 << iota // it has stopped; otherwise it has finished
	reportAgain               // the attempt follows; otherwise it is the first
	reportDone                // the work done follows
)

// Bits in the head of a class: a throughput table follows, its number and rows; then the labels that a node must not have.
const (
	classSpeeds    = 8
	classNotLabels = 16
)

const (
	startAgain    = 8 << iota // the attempt follows; otherwise it is the first
	startReplicas             // replicas follow; otherwise it is one
	startGPUs                 // a set of GPUs follows
)

const (
	arrivalOne   = 8 << iota // one task; otherwise their number follows
	arrivalTask              // its number follows; otherwise it is the next after the last arrival of the frame
	arrivalJob               // the job's number follows; otherwise it is the next
	arrivalName              // the job has a name
	arrivalNames             // the tasks have names
)

const (
	taskSubmit   = 1 << iota // it was submitted at another time than that of the batch
	taskDeadline             // it has a deadline
	taskAfter                // it has predecessors
	taskMore                 // JSON follows: estimates by kind of node, data
	taskFlags    = 4
)

// What a fact or an order has besides its kind.
const (
	hasTask = 1 << iota
	hasOther
	hasN
	hasNode
	hasAttempt
	hasDone
	hasValue
	hasMore // JSON

	hasCause    = hasOther
	hasQueue    = hasN
	hasReplicas = hasDone
	hasOn       = hasValue
)

// facts and orders are the kinds by their numbers in a journal, which must stay what they are.
var (
	facts = [...]sched.EventKind{
		1: sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped, sched.CheckpointDone, sched.Started, sched.NodeDown, sched.NodeUp,
		sched.NodeProfile, sched.DependencyUp, sched.DependencyDown, sched.Cancelled, sched.Hold, sched.Release, sched.Updated, sched.QuotaSet,
		sched.PolicySet, sched.EdgeAdded, sched.JobArrived, sched.Wake, sched.TaskReady, sched.TaskBlocked, sched.TaskDropped,
		sched.NodeDrain,
	}
	orders = [...]sched.CommandKind{1: sched.Start, sched.Stop, sched.Checkpoint, sched.Scale, sched.Reject}

	factNumber, orderNumber = func() (f, o [256]byte) {
		for n, k := range facts {
			f[k] = byte(n)
		}
		for n, k := range orders {
			o[k] = byte(n)
		}
		return f, o
	}()
)

// widths are the bytes that a number takes, by its bits: up to 56 bits 7 to the byte, then 9.
var widths = func() (w [128]uint8) {
	for b := range w {
		if w[b] = uint8(max(b+6, 7) / 7); b > 56 {
			w[b] = 9
		}
	}
	return w
}()

// put writes v at b[n:], which has room for 9 bytes, and returns where it ends. As many zeros as stand at the low end of the first byte,
// so many bytes follow it: the length is known at once, unlike that of numbers in which each byte says whether another follows.
func put(b []byte, n int, v uint64) int {
	if v < 1<<7 {
		b[n] = byte(v<<1 | 1)
		return n + 1
	}
	k := widths[bits.Len64(v)]
	if k > 8 {
		b[n] = 0
		binary.LittleEndian.PutUint64(b[n+1:], v)
		return n + 9
	}
	binary.LittleEndian.PutUint64(b[n:], v<<(k&63)|1<<((k-1)&63))
	return n + int(k)
}

// What is written of every task is written in so many bytes, even where fewer would do, if it fits: it must not cost a guess of its size.
const (
	in2 = 1 << 14 // what put2 takes is below this, and so on
	in3 = 1 << 21
	in6 = 1 << 42
	in7 = 1 << 49
)

func put2(b *[2]byte, v uint64) { binary.LittleEndian.PutUint16(b[:], uint16(v<<2|1<<1)) }

// put3 writes a fourth byte of no meaning.
func put3(b *[4]byte, v uint64) { binary.LittleEndian.PutUint32(b[:], uint32(v<<3|1<<2)) }

// put6 writes two bytes more of no meaning, put7 one.
func put6(b *[8]byte, v uint64) { binary.LittleEndian.PutUint64(b[:], v<<6|1<<5) }
func put7(b *[8]byte, v uint64) { binary.LittleEndian.PutUint64(b[:], v<<7|1<<6) }

// zigzag turns small numbers of either sign into small numbers without.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// appendPut is put where there may be no room.
func appendPut(b []byte, v uint64) []byte {
	var room [9]byte
	return append(b, room[:put(room[:], 0, v)]...)
}

func appendSigned(b []byte, v int64) []byte { return appendPut(b, zigzag(v)) }

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(appendPut(b, uint64(len(s))), s...)
}

// slack is the room that is made before each record: for a batch's beginning and a report, a start, or the head of an arrival and one task of it
// without names, predecessors and JSON.
const slack = 128

// reserve makes room for n more bytes.
func (jw *Writer) reserve(n int) {
	if len(jw.buf)-jw.n < n {
		bigger := make([]byte, 2*len(jw.buf)+n)
		copy(bigger, jw.buf[:jw.n])
		jw.buf = bigger
	}
}

// rest is the written part of the frame, to be appended to and given to took.
func (jw *Writer) rest() []byte { return jw.buf[:jw.n] }

// took takes over what was appended to rest.
func (jw *Writer) took(b []byte) { jw.n, jw.buf = len(b), b[:cap(b)] }

// common writes what nearly all facts are: the end of a first attempt, and the arrival of a job of one task with nothing special, next in turn.
// It returns how many bytes that takes, 0 for any other fact.
func (jw *Writer) common(b *[slack]byte, e *sched.Event) int {
	if e.Node != sched.NoNode || e.Other != 0 || e.Value != 0 || e.More != nil {
		return 0
	}
	if e.Kind == sched.Finished {
		back, done := zigzag(int64(jw.next)-int64(e.Task)), uint64(e.Done)
		if e.Attempt != 1 || e.N != 0 || back >= in3 || done >= in7 {
			return 0
		}
		putDone(b, back, done)
		return doneLen
	}
	if e.Kind != sched.JobArrived || e.N != 1 || e.Attempt != 0 || e.Done != 0 {
		return 0
	}
	class, estimate, ok := jw.usual(jw.now, e.Task)
	if !ok {
		return 0
	}
	jw.next++
	jw.job++
	putArrival(b, class, estimate)
	return arrivalLen
}

// usual returns what is written of a task that arrives alone at a time, and false where it is not one of those with nothing special, next in turn.
func (jw *Writer) usual(now sched.Time, t sched.TaskID) (class sched.ClassID, estimate uint64, ok bool) {
	tb := jw.tb
	if t != jw.next || tb == nil || uint(t) >= uint(len(tb.Tasks)) {
		return 0, 0, false
	}
	task, estimate := &tb.Tasks[t], uint64(tb.Estimates[t])
	ok = task.Job == jw.job+1 && task.Submit == now && uint(task.Class) < uint(len(jw.defined)) && jw.defined[task.Class] == jw.count &&
		task.Class < in2>>taskFlags && estimate < in7 && tb.TaskNames.Len()|tb.JobName.Len() == 0 && tb.DeadlineOf(t) == sched.Never &&
		tb.PredOff == nil && tb.EstimateOn == nil && tb.Data == nil
	return task.Class, estimate, ok
}

// The bytes of these two: the end of a first attempt, and a job of one task with nothing special.
const (
	doneLen    = 11
	arrivalLen = 10
)

func putDone(b *[slack]byte, back, done uint64) {
	b[0] = recReport | reportDone
	put3((*[4]byte)(b[1:]), back)
	put7((*[8]byte)(b[4:]), done)
}

func putArrival(b *[slack]byte, class sched.ClassID, estimate uint64) {
	b[0] = recArrival | arrivalOne
	put2((*[2]byte)(b[1:]), uint64(class)<<taskFlags)
	put7((*[8]byte)(b[3:]), estimate)
}

// commonStart is common for orders: the start of a first attempt on one placement.
func (jw *Writer) commonStart(b *[slack]byte, c *sched.Command) int {
	if c.Kind != sched.Start || len(c.On) != 1 || c.Cause != 0 || c.Queue != 0 || c.Replicas != 0 || c.Attempt != 1 {
		return 0
	}
	p := &c.On[0]
	back, node := zigzag(int64(jw.next)-int64(c.Task)), zigzag(int64(p.Node))
	if p.Replicas != 1 || back >= in3 || node >= in2 || p.GPUs >= in2 {
		return 0
	}
	put3((*[4]byte)(b[1:]), back)
	put2((*[2]byte)(b[4:]), node)
	b[0] = recStart
	if p.GPUs == 0 {
		return 6
	}
	b[0] = recStart | startGPUs
	put2((*[2]byte)(b[6:]), uint64(p.GPUs))
	return 8
}

// fact writes a fact.
func (jw *Writer) fact(e *sched.Event) error {
	plain := e.Node == sched.NoNode && e.Other == 0 && e.Value == 0 && e.More == nil
	switch {
	case plain && e.N == 0 && (e.Kind == sched.Finished || e.Kind == sched.Stopped):
		jw.reserve(slack)
		b, at := jw.buf, jw.n
		n, head := put(b, at+1, zigzag(int64(jw.next)-int64(e.Task))), byte(recReport)
		if e.Kind == sched.Stopped {
			head |= reportStopped
		}
		if e.Attempt != 1 {
			head |= reportAgain
			n = put(b, n, zigzag(int64(e.Attempt)))
		}
		if e.Done != 0 {
			head |= reportDone
			n = put(b, n, uint64(e.Done))
		}
		b[at], jw.n = head, n
	case e.Kind == sched.JobArrived && jw.tb != nil:
		if e.N <= 0 || e.Task < 0 || int64(e.Task)+int64(e.N) > int64(len(jw.tb.Tasks)) {
			return fmt.Errorf("journal: batch %d: a job arrives with tasks %d to %d of %d", jw.no, e.Task, int64(e.Task)+int64(e.N)-1, len(jw.tb.Tasks))
		}
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			jw.define(jw.tb.Tasks[t].Class)
		}
		if !plain || e.Attempt != 0 || e.Done != 0 {
			jw.anyFact(recOdd, e)
		}
		jw.arrival(e)
	default:
		jw.anyFact(recFact, e)
	}
	return nil
}

// anyFact writes a fact of any kind with all that it has.
func (jw *Writer) anyFact(record byte, e *sched.Event) {
	b := append(jw.rest(), record, factNumber[e.Kind], 0)
	has, at := byte(0), len(b)-1
	for i, v := range [...]int64{int64(e.Task), int64(e.Other), int64(e.N), int64(e.Node), int64(e.Attempt), int64(e.Done), e.Value} {
		if v != 0 {
			has |= 1 << i
			b = appendSigned(b, v)
		}
	}
	if e.More != nil {
		has |= hasMore
		b = appendBytes(b, closeWith(appendDetail([]byte{'{'}, e.More), '}'))
	}
	b[at] = has
	jw.took(b)
}

// arrival writes a job and its tasks.
func (jw *Writer) arrival(e *sched.Event) {
	tb := jw.tb
	jw.reserve(slack)
	b, at := jw.buf, jw.n
	n, head := at+1, byte(recArrival)
	if e.Task != jw.next {
		head |= arrivalTask
		n = put(b, n, uint64(e.Task))
	}
	if e.N == 1 {
		head |= arrivalOne
	} else {
		n = put(b, n, uint64(e.N))
	}
	job := tb.Tasks[e.Task].Job
	if job != jw.job+1 {
		head |= arrivalJob
		n = put(b, n, uint64(job))
	}
	jw.next, jw.job = e.Task+sched.TaskID(e.N), job
	jw.n = n
	if tb.JobName.Len() > 0 {
		head |= arrivalName
		jw.took(appendBytes(jw.rest(), tb.JobName.At(int(job))))
	}
	named := tb.TaskNames.Len() > 0
	if named {
		head |= arrivalNames
	}
	jw.buf[at] = head
	rare := tb.PredOff != nil || tb.EstimateOn != nil || tb.Data != nil
	for t := e.Task; t < jw.next; t++ {
		jw.reserve(slack)
		task, b, n := &tb.Tasks[t], jw.buf, jw.n
		flags := uint64(0)
		if task.Submit != jw.now {
			flags |= taskSubmit
		}
		due := tb.DeadlineOf(t)
		if due != sched.Never {
			flags |= taskDeadline
		}
		var more []byte
		if rare {
			if len(tb.Preds(t)) > 0 {
				flags |= taskAfter
			}
			if more = appendMore(nil, tb, t); more != nil {
				flags |= taskMore
			}
		}
		n = put(b, n, uint64(task.Class)<<taskFlags|flags)
		n = put(b, n, uint64(tb.Estimates[t]))
		if flags&taskSubmit != 0 {
			n = put(b, n, zigzag(int64(task.Submit)))
		}
		if flags&taskDeadline != 0 {
			n = put(b, n, zigzag(int64(due)))
		}
		jw.n = n
		if named {
			jw.took(appendBytes(jw.rest(), tb.TaskNames.At(int(t))))
		}
		if flags&taskAfter != 0 {
			b := appendPut(jw.rest(), uint64(len(tb.Preds(t))))
			for _, p := range tb.Preds(t) {
				b = appendSigned(b, int64(t)-int64(p))
			}
			jw.took(b)
		}
		if more != nil {
			jw.took(appendBytes(jw.rest(), more))
		}
	}
}

// appendMore appends what few tasks have, as JSON.
func appendMore(b []byte, tb *sched.Table, t sched.TaskID) []byte {
	costs, d, data := tb.EstimateOn[t], sched.Data{}, false
	if tb.Data != nil {
		d, data = tb.Data[t]
	}
	sends := false
	if tb.EdgeBytes != nil {
		for _, p := range tb.Preds(t) {
			sends = sends || tb.Sends(p, t) != 0
		}
	}
	if len(costs) == 0 && !data && !sends {
		return b
	}
	b = appendCostOn(append(b, '{'), costs)
	if sends {
		b = append(b, `"sent":[`...)
		for i, p := range tb.Preds(t) {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, tb.Sends(p, t), 10)
		}
		b = append(b, ']', ',')
	}
	if data {
		b = append(b, `"data":{`...)
		b = appendInt(b, `"in":`, d.Input)
		b = appendInt(b, `"out":`, d.Output)
		b = appendText(b, `"at":`, d.At)
		b = append(closeWith(b, '}'), ',')
	}
	return closeWith(b, '}')
}

// define writes a class out, if it is the frame's first task that has it.
func (jw *Writer) define(id sched.ClassID) {
	for int(id) >= len(jw.defined) {
		jw.defined = append(jw.defined, 0)
	}
	if jw.defined[id] == jw.count {
		return
	}
	jw.defined[id] = jw.count
	tb := jw.tb
	c := &tb.Classes[id]
	d := &tb.Demands[c.Demand]
	head := byte(recClass)
	if c.Speeds != 0 {
		head |= classSpeeds
	}
	if len(d.NotLabels) > 0 {
		head |= classNotLabels
	}
	jw.reserve(2 * slack)
	jw.buf[jw.n] = head
	n := jw.n + 1
	for _, v := range [...]int64{
		int64(id), int64(c.Demand), int64(c.Kind), int64(c.Tenant), int64(c.Queue), int64(c.Priority), int64(c.Retries), int64(c.Period),
		int64(c.RelDeadline), int64(c.Backoff), d.Need.CPU, d.Need.Mem, d.Need.VRAM, int64(d.Need.GPUs), int64(d.Need.GPUMilli), int64(d.Gang),
	} {
		n = put(jw.buf, n, zigzag(v))
	}
	jw.n = put(jw.buf, n, math.Float64bits(c.Criticality))
	b := jw.rest()
	for _, s := range [...]string{tb.Kinds[c.Kind], tb.Tenants[c.Tenant], tb.Queues[c.Queue]} {
		b = appendBytes(b, s)
	}
	b = appendPut(b, uint64(len(d.GPUTypes)))
	for _, s := range d.GPUTypes {
		b = appendBytes(b, s)
	}
	b = appendPut(b, uint64(len(d.Labels)))
	for _, l := range d.Labels {
		b = appendBytes(appendBytes(b, l.Key), l.Value)
	}
	b = appendPut(b, uint64(len(d.Tolerations)))
	for _, t := range d.Tolerations {
		exists := uint64(0)
		if t.Exists {
			exists = 1
		}
		b = appendPut(appendBytes(appendBytes(appendBytes(b, t.Key), t.Value), t.Effect), exists)
	}
	if c.Speeds != 0 {
		b = appendPut(appendSigned(b, int64(c.Speeds)), uint64(len(tb.Speeds[c.Speeds])))
		for _, s := range tb.Speeds[c.Speeds] {
			b = appendSigned(appendBytes(b, s.GPUType), s.Nano)
		}
	}
	if len(d.NotLabels) > 0 {
		b = appendPut(b, uint64(len(d.NotLabels)))
		for _, l := range d.NotLabels {
			any := uint64(0)
			if l.Any {
				any = 1
			}
			b = appendPut(appendBytes(appendBytes(b, l.Key), l.Value), any)
		}
	}
	jw.took(b)
}

// order writes an order.
func (jw *Writer) order(c *sched.Command) {
	if c.Kind == sched.Start && len(c.On) == 1 && c.Cause == 0 && c.Queue == 0 && c.Replicas == 0 {
		jw.reserve(slack)
		b, at, p := jw.buf, jw.n, &c.On[0]
		n, head := put(b, at+1, zigzag(int64(jw.next)-int64(c.Task))), byte(recStart)
		n = put(b, n, zigzag(int64(p.Node)))
		if c.Attempt != 1 {
			head |= startAgain
			n = put(b, n, zigzag(int64(c.Attempt)))
		}
		if p.Replicas != 1 {
			head |= startReplicas
			n = put(b, n, zigzag(int64(p.Replicas)))
		}
		if p.GPUs != 0 {
			head |= startGPUs
			n = put(b, n, uint64(p.GPUs))
		}
		b[at], jw.n = head, n
		return
	}
	b := append(jw.rest(), recOrder, orderNumber[c.Kind], 0)
	has, at := byte(0), len(b)-1
	for _, f := range [...]struct {
		flag byte
		v    int64
	}{
		{hasTask, int64(c.Task)}, {hasCause, int64(c.Cause)}, {hasQueue, int64(c.Queue)}, {hasAttempt, int64(c.Attempt)}, {hasReplicas, int64(c.Replicas)},
	} {
		if f.v != 0 {
			has |= f.flag
			b = appendSigned(b, f.v)
		}
	}
	if len(c.On) > 0 {
		has |= hasOn
		b = appendPut(b, uint64(len(c.On)))
		for i := range c.On {
			b = appendPut(appendSigned(appendSigned(b, int64(c.On[i].Node)), int64(c.On[i].Replicas)), uint64(c.On[i].GPUs))
		}
	}
	b[at] = has
	jw.took(b)
}
