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
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/schedlab/schedlab/policies/sched"
)

// Writer writes a journal. It is used by one goroutine; a second one, its own, packs and writes the frames.
//
// Its memory is that of a few frames of 256 KiB, and more only while one batch is larger than that.
type Writer struct {
	tb  *sched.Table
	buf []byte // the lines of the frame that is being filled
	now sched.Time
	no  int64 // the next batch

	frame   entry
	count   int64   // frames begun, from 1
	defined []int64 // by class: the frame in which it was last written out
	fresh   []sched.ClassID

	work   chan packet
	empty  chan []byte
	done   chan struct{}
	closed bool

	bad error // the first batch that was refused; those before it are still written

	mu  sync.Mutex
	err error // the first error of the packing goroutine

	// Of the packing goroutine alone, until done is closed.
	w       io.Writer
	enc     *zstd.Encoder
	packed  []byte
	offset  int64
	entries []entry
}

type packet struct {
	lines []byte
	entry entry
	ack   chan struct{} // closed once it is written
}

// NewWriter begins a journal with its header. The tasks of arriving jobs are looked up in tb, which may grow meanwhile in the caller's
// goroutine. w is not closed by Close.
func NewWriter(w io.Writer, h Header, tb *sched.Table) (*Writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	jw := &Writer{
		tb: tb, w: w, enc: enc, now: math.MinInt64, count: 1,
		work: make(chan packet), empty: make(chan []byte, 2), done: make(chan struct{}),
	}
	jw.buf, err = appendHeader(nil, &h)
	if err != nil {
		return nil, err
	}
	jw.empty <- make([]byte, 0, frameTarget+frameTarget/4)
	go jw.pack()
	jw.send(nil)
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
	if err := jw.failure(); err != nil {
		return err
	}
	if jw.bad != nil {
		return jw.bad
	}
	if jw.closed {
		return fmt.Errorf("journal: batch %d after Close", jw.no)
	}
	if now < jw.now {
		jw.bad = fmt.Errorf("journal: batch %d: time falls from %d to %d ns", jw.no, jw.now, now)
		return jw.bad
	}
	size, frame := len(jw.buf), jw.frame
	if err := jw.batch(now, in, out); err != nil {
		jw.buf, jw.frame, jw.bad = jw.buf[:size], frame, err
		return err
	}
	jw.no++
	if len(jw.buf) >= frameTarget {
		jw.send(nil)
	}
	return nil
}

func (jw *Writer) batch(now sched.Time, in []sched.Event, out []sched.Command) error {
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
	jw            *Writer
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
func (jw *Writer) appendArrival(l *line, e *sched.Event) error {
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

// Flush ends the frame and returns when it is written; a caller that needs it durable syncs the file then.
func (jw *Writer) Flush() error {
	if !jw.closed && len(jw.buf) > 0 {
		ack := make(chan struct{})
		jw.send(ack)
		<-ack
	}
	return cmp.Or(jw.failure(), jw.bad)
}

// Close writes what is left and the index. It does not close the writer below. A second Close does nothing.
func (jw *Writer) Close() error {
	if jw.closed {
		return cmp.Or(jw.failure(), jw.bad)
	}
	if len(jw.buf) > 0 && jw.failure() == nil {
		jw.send(nil)
	}
	jw.closed = true
	close(jw.work)
	<-jw.done
	if err := jw.failure(); err != nil {
		return err
	}
	if _, err := jw.w.Write(appendIndex(nil, jw.entries, jw.offset)); err != nil {
		return jw.fail(fmt.Errorf("journal: %w", err))
	}
	return jw.bad
}

// send hands the frame over and takes an empty buffer for the next one.
func (jw *Writer) send(ack chan struct{}) {
	jw.work <- packet{lines: jw.buf, entry: jw.frame, ack: ack}
	jw.buf = (<-jw.empty)[:0]
	jw.frame = entry{}
	jw.count++
}

func (jw *Writer) pack() {
	defer close(jw.done)
	for p := range jw.work {
		if jw.failure() == nil {
			if err := jw.write(&p); err != nil {
				_ = jw.fail(fmt.Errorf("journal: %w", err))
			}
		}
		if p.ack != nil {
			close(p.ack)
		}
		lines := p.lines
		if cap(lines) > 16*frameTarget { // one giant batch must not keep its memory for ever
			lines = make([]byte, 0, frameTarget+frameTarget/4)
			jw.packed = nil
		}
		jw.empty <- lines
	}
}

func (jw *Writer) write(p *packet) error {
	var room [8 + preambleLen]byte
	jw.packed = jw.enc.EncodeAll(p.lines, append(jw.packed[:0], room[:]...))
	p.entry.offset, p.entry.size = jw.offset, int64(len(jw.packed)-len(room))
	if p.entry.size > math.MaxUint32 {
		return fmt.Errorf("batch %d: a frame of %d bytes is too large", p.entry.batch, p.entry.size)
	}
	appendPreamble(jw.packed[:0], &p.entry)
	n, err := jw.w.Write(jw.packed)
	jw.offset += int64(n)
	if err != nil {
		return err
	}
	jw.entries = append(jw.entries, p.entry)
	return nil
}

func appendPreamble(b []byte, e *entry) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, magicPreamble)
	b = le.AppendUint32(b, preambleLen)
	b = append(b, tag...)
	b = le.AppendUint32(b, uint32(e.size))
	b = le.AppendUint32(b, e.batches)
	b = le.AppendUint64(b, uint64(e.batch))
	b = le.AppendUint64(b, uint64(e.time))
	return le.AppendUint64(b, uint64(e.last))
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

func (jw *Writer) failure() error {
	jw.mu.Lock()
	defer jw.mu.Unlock()
	return jw.err
}

func (jw *Writer) fail(err error) error {
	jw.mu.Lock()
	defer jw.mu.Unlock()
	if jw.err == nil {
		jw.err = err
	}
	return jw.err
}
