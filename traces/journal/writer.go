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
}

// NewWriter begins a journal with its header. The tasks of arriving jobs are looked up in tb, which may grow meanwhile. w is not closed
// by Close.
func NewWriter(w io.Writer, h Header, tb *sched.Table) (*Writer, error) {
	jw := &Writer{tb: tb, w: w, now: math.MinInt64, buf: make([]byte, 8+preambleLen2, frameTarget+2*slack)}
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
	if jw.err != nil || jw.bad != nil {
		return cmp.Or(jw.err, jw.bad)
	}
	switch {
	case jw.closed:
		return fmt.Errorf("journal: batch %d after Close", jw.no)
	case now < jw.now:
		jw.bad = fmt.Errorf("journal: batch %d: time falls from %d to %d ns", jw.no, jw.now, now)
		return jw.bad
	case len(in) > maxEvents || len(out) > maxEvents:
		jw.bad = fmt.Errorf("journal: batch %d: %d facts and %d orders are more than %d", jw.no, len(in), len(out), maxEvents)
		return jw.bad
	}
	if jw.frame.batches == 0 {
		jw.frame.batch, jw.frame.time, jw.frame.last = jw.no, now, now
		jw.next, jw.job = 0, -1
	}
	size := jw.n
	jw.now = now
	jw.reserve(2 * slack)
	b, n := jw.buf, jw.n
	if since := uint64(now) - uint64(jw.frame.last); since < in6 {
		put6((*[8]byte)(b[n:]), since)
		n += 6
	} else {
		n = put(b, n, since)
	}
	for i := range in {
		if len(b)-n >= slack {
			if k := jw.common((*[slack]byte)(b[n:]), &in[i]); k > 0 {
				n += k
				continue
			}
		}
		jw.n = n
		if err := jw.fact(&in[i]); err != nil {
			jw.n, jw.bad = size, err
			return err
		}
		b, n = jw.buf, jw.n
	}
	for i := range out {
		if len(b)-n >= slack {
			if k := jw.commonStart((*[slack]byte)(b[n:]), &out[i]); k > 0 {
				n += k
				continue
			}
		}
		jw.n = n
		jw.order(&out[i])
		b, n = jw.buf, jw.n
	}
	jw.n = n
	jw.reserve(1)
	jw.buf[jw.n] = recEnd
	jw.n++
	jw.frame.batches++
	jw.frame.last = now
	jw.no++
	if jw.n >= frameTarget {
		jw.send()
	}
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
		jw.closed = true
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
		jw.err = fmt.Errorf("journal: batch %d: a frame of %d bytes is too large", jw.frame.batch, jw.frame.size)
	}
	if jw.err == nil {
		appendPreamble(jw.buf[:0], &jw.frame, crc32.Checksum(jw.buf[8+preambleLen2:jw.n], castagnoli))
		jw.write(jw.buf[:jw.n])
		jw.entries = append(jw.entries, jw.frame)
	}
	if len(jw.buf) > 16*frameTarget { // one giant batch must not keep its memory for ever
		jw.buf = make([]byte, frameTarget+2*slack)
	}
	jw.n = 8 + preambleLen2
	jw.frame = entry{}
	jw.count++
}

func (jw *Writer) write(b []byte) {
	n, err := jw.w.Write(b)
	jw.offset += int64(n)
	if err != nil {
		jw.err = err // as it is: it names the file
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
