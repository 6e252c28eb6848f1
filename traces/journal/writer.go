package journal

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Writer writes a journal. It is used by one goroutine, which packs and writes a frame when it is full.
//
// Its memory is that of a frame, 256 KiB, and more only while one batch is larger than that.
type Writer struct {
	tb *sched.Table
	w  io.Writer

	buf  []byte // buf[8+preambleLen2:n] is the frame that is being filled
	n    int
	now  sched.Time
	no   int64        // the next batch
	next sched.TaskID // the task after the last arrival of the frame
	job  sched.JobID  // the last one that arrived in the frame

	frame   entry
	count   int64   // frames begun, from 1
	defined []int64 // by class: the frame in which it was last written out

	offset  int64
	entries []entry
	closed  bool
	err     error // of the writer below
	bad     error // the first batch that was refused; those before it are still written
	shut    bool  // one of these three: no batch is taken any more
}

// NewWriter begins a journal with its header. The tasks of arriving jobs are looked up in tb, which may grow meanwhile. w is not closed
// by Close.
func NewWriter(w io.Writer, h Header, tb *sched.Table) (*Writer, error) {
	jw := &Writer{tb: tb, w: w, now: math.MinInt64, buf: make([]byte, 8+preambleLen2, frameTarget+4*slack)}
	head, err := appendHeader(jw.buf, &h)
	if err != nil {
		return nil, err
	}
	jw.took(head)
	jw.send()
	return jw, nil
}

func appendHeader(b []byte, h *Header) ([]byte, error) {
	b = append(b, `{"schema":"`+Schema+`",`...)
	b = append(appendString(append(b, `"policy":`...), h.Policy), ',')
	b = append(strconv.AppendInt(append(b, `"seed":`...), h.Seed, 10), ',')
	if h.Config != nil {
		compact, err := json.Marshal(h.Config) // checks it, and takes newlines out
		if err != nil {
			return nil, fmt.Errorf("journal: config: %w", err)
		}
		b = append(append(append(b, `"config":`...), compact...), ',')
	}
	b = append(b, `"nodes":[`...)
	for i := range h.Nodes {
		b = append(appendNode(b, &h.Nodes[i]), ',')
	}
	return append(closeWith(b, ']'), '}', '\n'), nil
}

// Batch adds one batch: what a step at the time now was told and what it ordered. Both slices are read during the call only. Times must
// not fall. After an error the writer takes nothing more.
func (jw *Writer) Batch(now sched.Time, in []sched.Event, out []sched.Command) error {
	if jw.shut || now < jw.now || len(in) > maxEvents || len(out) > maxEvents {
		return jw.refuse(now, len(in), len(out))
	}
	if jw.frame.batches == 0 {
		jw.frame.batch, jw.frame.time, jw.frame.last = jw.no, now, now
		jw.next, jw.job = 0, -1
	}
	jw.now = now
	since, n := uint64(now)-uint64(jw.frame.last), 0
	if len(in) == 1 && len(out) <= 1 && since < in6 && len(jw.buf)-jw.n >= 3*slack {
		n = jw.small((*[3 * slack]byte)(jw.buf[jw.n:]), since, in, out)
	}
	if jw.n += n; n == 0 {
		if err := jw.large(since, in, out); err != nil {
			return err
		}
	}
	jw.frame.batches++
	jw.frame.last = now
	jw.no++
	if jw.n >= frameTarget {
		jw.send()
	}
	return nil
}

// Finished is Batch for one fact alone: that an attempt of t is done, after so much work.
func (jw *Writer) Finished(now sched.Time, t sched.TaskID, attempt int32, done time.Duration, out []sched.Command) error {
	back, since := zigzag(int64(jw.next)-int64(t)), uint64(now)-uint64(jw.now)
	if attempt == 1 && back < in3 && uint64(done) < in7 && jw.takes(now, since, out) {
		b := (*[3 * slack]byte)(jw.buf[jw.n:])
		put6((*[8]byte)(b[:]), since)
		putDone((*[slack]byte)(b[6:]), back, uint64(done))
		if jw.finish(b, 6+doneLen, now, out) {
			return nil
		}
	}
	return jw.Batch(now, []sched.Event{{Kind: sched.Finished, Task: t, Node: sched.NoNode, Attempt: attempt, Done: done}}, out)
}

// Arrived is Batch for one fact alone: that a job of one task has arrived.
func (jw *Writer) Arrived(now sched.Time, t sched.TaskID, out []sched.Command) error {
	if since := uint64(now) - uint64(jw.now); jw.takes(now, since, out) {
		if class, estimate, ok := jw.usual(now, t); ok {
			b := (*[3 * slack]byte)(jw.buf[jw.n:])
			put6((*[8]byte)(b[:]), since)
			putArrival((*[slack]byte)(b[6:]), class, estimate)
			jw.next, jw.job = jw.next+1, jw.job+1
			if jw.finish(b, 6+arrivalLen, now, out) {
				return nil
			}
			jw.next, jw.job = jw.next-1, jw.job-1
		}
	}
	return jw.Batch(now, []sched.Event{{Kind: sched.JobArrived, Task: t, N: 1, Node: sched.NoNode}}, out)
}

// takes reports whether a batch of one fact, so long after the one before, can be written as most are: it is not the frame's first.
func (jw *Writer) takes(now sched.Time, since uint64, out []sched.Command) bool {
	return !jw.shut && jw.frame.batches > 0 && now >= jw.now && since < in6 && len(out) <= 1 && len(jw.buf)-jw.n >= 3*slack
}

// finish ends a batch of which n bytes are written with its orders, one at most; false, and nothing is written, where there is one that is not common.
func (jw *Writer) finish(b *[3 * slack]byte, n int, now sched.Time, out []sched.Command) bool {
	if len(out) > 0 {
		k := jw.commonStart((*[slack]byte)(b[n:]), &out[0])
		if k == 0 {
			return false
		}
		n += k
	}
	b[n] = recEnd
	jw.n += n + 1
	jw.now, jw.frame.last = now, now
	jw.frame.batches++
	jw.no++
	if jw.n >= frameTarget {
		jw.send()
	}
	return true
}

// refuse says why a batch is not taken.
func (jw *Writer) refuse(now sched.Time, facts, orders int) error {
	switch {
	case jw.err != nil || jw.bad != nil:
		return cmp.Or(jw.err, jw.bad)
	case jw.closed:
		return fmt.Errorf("journal: batch %d after Close", jw.no)
	case now < jw.now:
		jw.bad = fmt.Errorf("journal: batch %d: time falls from %d to %d ns", jw.no, jw.now, now)
	default:
		jw.bad = fmt.Errorf("journal: batch %d: %d facts and %d orders are more than %d", jw.no, facts, orders, maxEvents)
	}
	jw.shut = true
	return jw.bad
}

// small writes what most batches are, one common fact and at most one common order, and returns how many bytes that takes; 0 for any other.
func (jw *Writer) small(b *[3 * slack]byte, since uint64, in []sched.Event, out []sched.Command) int {
	next, job := jw.next, jw.job
	put6((*[8]byte)(b[:]), since)
	n := jw.common((*[slack]byte)(b[6:]), &in[0])
	if n == 0 {
		return 0
	}
	n += 6
	if len(out) > 0 {
		k := jw.commonStart((*[slack]byte)(b[n:]), &out[0])
		if k == 0 {
			jw.next, jw.job = next, job
			return 0
		}
		n += k
	}
	b[n] = recEnd
	return n + 1
}

// large writes any batch.
func (jw *Writer) large(since uint64, in []sched.Event, out []sched.Command) error {
	size := jw.n
	jw.reserve(slack)
	if since < in6 {
		put6((*[8]byte)(jw.buf[jw.n:]), since)
		jw.n += 6
	} else {
		jw.n = put(jw.buf, jw.n, since)
	}
	for i := range in {
		jw.reserve(slack)
		if k := jw.common((*[slack]byte)(jw.buf[jw.n:]), &in[i]); k > 0 {
			jw.n += k
		} else if err := jw.fact(&in[i]); err != nil {
			jw.n, jw.bad, jw.shut = size, err, true
			return err
		}
	}
	for i := range out {
		jw.reserve(slack)
		if k := jw.commonStart((*[slack]byte)(jw.buf[jw.n:]), &out[i]); k > 0 {
			jw.n += k
		} else {
			jw.order(&out[i])
		}
	}
	jw.reserve(1)
	jw.buf[jw.n] = recEnd
	jw.n++
	return nil
}

// Flush ends the frame and writes it; a caller that needs it durable syncs the file then.
func (jw *Writer) Flush() error {
	if !jw.closed && jw.frame.batches > 0 {
		jw.send()
	}
	return cmp.Or(jw.err, jw.bad)
}

// Close writes what is left and the index. It does not close the writer below. A second Close does nothing.
func (jw *Writer) Close() error {
	if !jw.closed {
		_ = jw.Flush()
		jw.closed, jw.shut = true, true
		if jw.err == nil {
			jw.write(appendIndex(nil, jw.entries, jw.offset))
		}
	}
	return cmp.Or(jw.err, jw.bad)
}

// send writes the frame and begins the next one.
func (jw *Writer) send() {
	jw.frame.offset, jw.frame.size = jw.offset, int64(jw.n-8-preambleLen2)
	if jw.frame.size > math.MaxUint32 && jw.err == nil {
		jw.err, jw.shut = fmt.Errorf("journal: batch %d: a frame of %d bytes is too large", jw.frame.batch, jw.frame.size), true
	}
	if jw.err == nil {
		appendPreamble(jw.buf[:0], &jw.frame, crc32.Checksum(jw.buf[8+preambleLen2:jw.n], castagnoli))
		jw.write(jw.buf[:jw.n])
		jw.entries = append(jw.entries, jw.frame)
	}
	if len(jw.buf) > 16*frameTarget { // one giant batch must not keep its memory for ever
		jw.buf = make([]byte, frameTarget+4*slack)
	}
	jw.n = 8 + preambleLen2
	jw.frame = entry{}
	jw.count++
}

func (jw *Writer) write(b []byte) {
	n, err := jw.w.Write(b)
	jw.offset += int64(n)
	if err != nil {
		jw.err, jw.shut = err, true // as it is: it names the file
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendPreamble(b []byte, e *entry, sum uint32) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, magicPreamble)
	b = le.AppendUint32(b, preambleLen2)
	b = append(b, tag2...)
	b = le.AppendUint32(b, uint32(e.size))
	b = le.AppendUint32(b, e.batches)
	b = le.AppendUint64(b, uint64(e.batch))
	b = le.AppendUint64(b, uint64(e.time))
	b = le.AppendUint64(b, uint64(e.last))
	return le.AppendUint32(b, sum)
}

func appendIndex(b []byte, entries []entry, offset int64) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, magicIndex)
	b = le.AppendUint32(b, uint32(len(entries)*entryLen+footerLen))
	from := len(b)
	for i := range entries {
		e := &entries[i]
		b = le.AppendUint64(b, uint64(e.offset))
		b = le.AppendUint64(b, uint64(e.batch))
		b = le.AppendUint64(b, uint64(e.time))
		b = le.AppendUint32(b, e.batches)
		b = le.AppendUint32(b, uint32(e.size))
	}
	b = le.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
	b = le.AppendUint64(b, uint64(offset))
	return append(b, indexTag...)
}
