package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sort"

	"github.com/klauspost/compress/zstd"
	"github.com/schedlab/schedlab/policies/sched"
)

// Reader reads a journal, from any point. It holds one frame's lines at a time in memory, and the index.
type Reader struct {
	// ParsePolicy turns the name in a PolicySet fact into a policy. Where it is nil, the name stands in Detail.Name instead.
	ParsePolicy func(string) (sched.Policy, error)

	src    io.ReaderAt
	size   int64
	name   string // for errors
	file   *os.File
	temp   bool // it is a temporary one
	header Header

	version int
	entries []entry // the frames, without the header's
	end     error   // what follows the last frame: io.EOF, ErrTruncated or damage

	state  frameState // of the open frame
	dec    *zstd.Decoder
	lines  *bufio.Reader // of the open frame, version 1
	long   []byte        // a line that does not fit the buffer of lines
	frame  int           // the open frame, else the next one
	open   bool
	read   uint32 // batches read of the open frame
	ahead  *Batch // read by a seek, not yet returned
	lastAt sched.Time
	failed error
}

// Open opens the journal in a file, which gzip or zstd may have packed: then it is unpacked into a temporary file first.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err == nil && st.IsDir():
		err = fmt.Errorf("%s: is a folder", path)
	case err == nil && !st.Mode().IsRegular():
		err = fmt.Errorf("%s: is no regular file, and a journal is read from its end", path)
	}
	if err == nil {
		var plain *os.File
		if plain, err = unpacked(f, path); plain != nil {
			_ = f.Close()
			return openPlain(plain, path, true)
		}
	}
	if err == nil {
		return openPlain(f, path, false)
	}
	_ = f.Close()
	return nil, err
}

func openPlain(f *os.File, path string, temp bool) (*Reader, error) {
	st, err := f.Stat()
	if err == nil {
		var r *Reader
		if r, err = newReader(f, st.Size(), path); err == nil {
			r.file, r.temp = f, temp
			return r, nil
		}
	}
	if temp {
		discard(f)
	} else {
		_ = f.Close()
	}
	return nil, err
}

// NewReader reads the journal in the first size bytes of src. It reads the header and the index, or, where there is none because the
// journal was cut short, finds the frames one by one.
func NewReader(src io.ReaderAt, size int64) (*Reader, error) { return newReader(src, size, "journal") }

func newReader(src io.ReaderAt, size int64, name string) (*Reader, error) {
	r := &Reader{src: src, size: size, name: name, lastAt: math.MinInt64}
	var first [12]byte
	if _, err := src.ReadAt(first[:], 0); err == nil && size >= int64(len(first)) && binary.LittleEndian.Uint32(first[:]) == magicPreamble {
		switch t := string(first[8:]); {
		case t == tag1:
			r.version = 1
		case t == tag2:
			r.version = 2
		case t[:3] == tag1[:3]:
			return nil, fmt.Errorf("%s: a journal of another version (%q); %s and %s are read", name, t, tag1, tag2)
		}
	}
	if r.version == 0 {
		return nil, fmt.Errorf("%s: not a journal, or cut short within its header", name)
	}
	if r.version == 1 {
		dec, err := newDecoder()
		if err != nil {
			return nil, err
		}
		r.dec, r.lines = dec, bufio.NewReaderSize(dec, 64<<10)
	}
	if !r.readIndex() {
		r.scan()
	}
	if len(r.entries) == 0 {
		// An empty journal, the beginning of one, and any other file: what the bytes say is no help to anybody.
		return nil, fmt.Errorf("%s: not a journal, or cut short within its header", name)
	}
	head := r.entries[0]
	r.entries = r.entries[1:]
	if err := r.readHeader(&head); err != nil {
		return nil, err
	}
	return r, nil
}

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

// preamble is the length of what stands before a frame, and its tag.
func (r *Reader) preamble() (int64, string) {
	if r.version == 1 {
		return preambleLen1, tag1
	}
	return preambleLen2, tag2
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.dec != nil {
		r.dec.Close()
	}
	switch {
	case r.temp:
		discard(r.file)
	case r.file != nil:
		return r.file.Close()
	}
	return nil
}

// Header returns the journal's header.
func (r *Reader) Header() Header { return r.header }

// Truncated reports whether the journal ends without its index: the run crashed, or still goes on.
func (r *Reader) Truncated() bool { return errors.Is(r.end, ErrTruncated) }

// Batches returns the number of batches in the frames that are whole.
func (r *Reader) Batches() int64 {
	if len(r.entries) == 0 {
		return 0
	}
	last := &r.entries[len(r.entries)-1]
	return last.batch + int64(last.batches)
}

func (r *Reader) damage(offset int64, err error) error {
	return fmt.Errorf("%s: offset %d: %w", r.name, offset, err)
}

// readIndex reads the index at the end, and reports whether there is a sound one.
func (r *Reader) readIndex() bool {
	var tail [footerLen]byte
	if r.size < footerLen+8 {
		return false
	}
	if _, err := r.src.ReadAt(tail[:], r.size-footerLen); err != nil {
		return false
	}
	le := binary.LittleEndian
	at := int64(le.Uint64(tail[4:]))
	if string(tail[12:]) != indexTag || at < 0 || at > r.size-footerLen-8 {
		return false
	}
	b := make([]byte, r.size-at)
	if n, err := r.src.ReadAt(b, at); n < len(b) {
		_ = err
		return false
	}
	body := b[8 : len(b)-footerLen]
	if le.Uint32(b) != magicIndex || int64(le.Uint32(b[4:])) != int64(len(b)-8) || len(body)%entryLen != 0 ||
		crc32.ChecksumIEEE(body) != le.Uint32(tail[:]) {
		return false
	}
	entries := make([]entry, 0, len(body)/entryLen)
	preambleLen, _ := r.preamble()
	var offset, batch int64
	for ; len(body) > 0; body = body[entryLen:] {
		e := entry{
			offset: int64(le.Uint64(body)), batch: int64(le.Uint64(body[8:])), time: sched.Time(le.Uint64(body[16:])),
			batches: le.Uint32(body[24:]), size: int64(le.Uint32(body[28:])),
		}
		if e.offset != offset || len(entries) > 0 && e.batch != batch {
			return false
		}
		offset += 8 + preambleLen + e.size
		batch = e.batch + int64(e.batches)
		entries = append(entries, e)
	}
	if offset != at {
		return false
	}
	r.entries, r.end = entries, io.EOF
	return true
}

// scan finds the frames by their preambles.
func (r *Reader) scan() {
	le := binary.LittleEndian
	preambleLen, tag := r.preamble()
	b := make([]byte, 8+preambleLen)
	var batch int64
	for offset := int64(0); ; {
		if r.size-offset < int64(len(b)) {
			r.end = fmt.Errorf("%s: offset %d: %w", r.name, offset, ErrTruncated)
			if n := r.size - offset; n >= 4 { // too short for a frame: its beginning, or something else?
				if _, err := r.src.ReadAt(b[:4], offset); err == nil && le.Uint32(b[:]) != magicPreamble && le.Uint32(b[:]) != magicIndex {
					r.end = r.damage(offset, errors.New("damaged: no frame begins here"))
				}
			}
			return
		}
		if _, err := r.src.ReadAt(b, offset); err != nil {
			r.end = r.damage(offset, err)
			return
		}
		e := entry{
			offset: offset, size: int64(le.Uint32(b[12:])), batches: le.Uint32(b[16:]), batch: int64(le.Uint64(b[20:])),
			time: sched.Time(le.Uint64(b[28:])), last: sched.Time(le.Uint64(b[36:])),
		}
		switch {
		case le.Uint32(b[:]) == magicIndex: // a damaged or unfinished index
			r.end = fmt.Errorf("%s: offset %d: %w", r.name, offset, ErrTruncated)
			return
		case le.Uint32(b[:]) != magicPreamble || int64(le.Uint32(b[4:])) != preambleLen || string(b[8:12]) != tag:
			r.end = r.damage(offset, errors.New("damaged: no frame begins here"))
			return
		case len(r.entries) > 0 && e.batch != batch:
			r.end = r.damage(offset, fmt.Errorf("damaged: a frame begins with batch %d where %d is due", e.batch, batch))
			return
		case offset+int64(len(b))+e.size > r.size:
			r.end = fmt.Errorf("%s: offset %d: %w", r.name, offset, ErrTruncated)
			return
		}
		r.entries = append(r.entries, e)
		batch = e.batch + int64(e.batches)
		offset += int64(len(b)) + e.size
	}
}

// unpack checks a whole frame, and then makes its lines ready.
func (r *Reader) unpack(e *entry) error {
	for pass := range 2 {
		if err := r.dec.Reset(io.NewSectionReader(r.src, e.offset+8+preambleLen1, e.size)); err != nil {
			return r.damage(e.offset, fmt.Errorf("damaged frame: %w", err))
		}
		if pass == 1 {
			break
		}
		// The first pass compares the checksum, so that no batch of a damaged frame is believed.
		n, err := io.Copy(io.Discard, io.LimitReader(r.dec, maxFrame))
		if err == nil && n == maxFrame {
			err = fmt.Errorf("more than %d bytes", int64(maxFrame))
		}
		if err != nil {
			return r.damage(e.offset, fmt.Errorf("damaged frame: %w", err))
		}
	}
	r.lines.Reset(r.dec)
	r.read = 0
	return nil
}

// line returns the next line without its end, valid until the next call.
func (r *Reader) line() ([]byte, error) {
	r.long = r.long[:0]
	for {
		part, err := r.lines.ReadSlice('\n')
		if err == nil && len(r.long) == 0 {
			return part[:len(part)-1], nil
		}
		r.long = append(r.long, part...)
		switch {
		case err == nil:
			return r.long[:len(r.long)-1], nil
		case len(r.long) > maxLine:
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		case err == io.EOF && len(r.long) > 0:
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (r *Reader) readHeader(e *entry) error {
	want := schema1
	var b []byte
	if r.version == 1 {
		if err := r.unpack(e); err != nil {
			return err
		}
		var err error
		if b, err = r.line(); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return r.damage(e.offset, err)
		}
	} else {
		if err := r.load(e); err != nil {
			return err
		}
		b, want = r.state.b, Schema
	}
	var h headerJSON
	if err := json.Unmarshal(b, &h); err != nil {
		return r.damage(e.offset, fmt.Errorf("header: %w", err))
	}
	if h.Schema != want {
		return r.damage(e.offset, fmt.Errorf("the schema is %q, not %q", h.Schema, want))
	}
	r.header = Header{Policy: h.Policy, Seed: h.Seed, Config: h.Config}
	for i := range h.Nodes {
		r.header.Nodes = append(r.header.Nodes, h.Nodes[i].spec())
	}
	return nil
}

// Next returns the next batch, whose slices are the caller's. After the last one it returns io.EOF, or, wrapped, ErrTruncated where the
// journal was cut short; damage is an error that names the offset of the frame.
func (r *Reader) Next() (Batch, error) {
	if r.ahead != nil {
		b := *r.ahead
		r.ahead = nil
		return b, nil
	}
	if r.failed != nil {
		return Batch{}, r.failed
	}
	b, err := r.next()
	if err != nil {
		r.failed = err
	}
	return b, err
}

// nextLine returns the next line and its frame; begins is true for the first line of a frame.
func (r *Reader) nextLine() (line []byte, e *entry, begins bool, err error) {
	for {
		if r.frame >= len(r.entries) {
			return nil, nil, false, r.end
		}
		e = &r.entries[r.frame]
		begins = !r.open
		if begins {
			if err := r.unpack(e); err != nil {
				return nil, e, false, err
			}
			r.open = true
		}
		line, err = r.line()
		if err == nil {
			return line, e, begins, nil
		}
		if err != io.EOF {
			return nil, e, false, r.damage(e.offset, err)
		}
		if r.read != e.batches {
			return nil, e, false, r.damage(e.offset, fmt.Errorf("%d batches where %d are announced", r.read, e.batches))
		}
		r.open = false
		r.frame++
	}
}

func (r *Reader) next() (Batch, error) {
	if r.version == 2 {
		return r.batch(nil)
	}
	var b Batch
	for part := 0; ; part++ {
		line, e, begins, err := r.nextLine()
		if err == io.EOF && part > 0 || begins && part > 0 {
			err = errors.New("a batch breaks off")
		}
		if err != nil {
			return Batch{}, err
		}
		var l lineJSON
		if err := json.Unmarshal(line, &l); err != nil {
			return Batch{}, r.damage(e.offset, fmt.Errorf("after batch %d: %w", b.No, err))
		}
		want := e.batch + int64(r.read)
		if l.B != want || part > 0 && l.T != b.Now || l.T < r.lastAt {
			return Batch{}, r.damage(e.offset, fmt.Errorf("batch %d at %d ns where batch %d is due, no earlier than %d ns", l.B, l.T, want, r.lastAt))
		}
		b.No, b.Now, r.lastAt = l.B, l.T, l.T
		for i := range l.In {
			if l.In[i].K == "tasks" {
				continue // more of an arrival: for the table
			}
			ev, err := l.In[i].event(r.ParsePolicy)
			if err != nil {
				return Batch{}, r.damage(e.offset, fmt.Errorf("batch %d: %w", b.No, err))
			}
			b.In = append(b.In, ev)
		}
		for i := range l.Out {
			c, err := l.Out[i].command()
			if err != nil {
				return Batch{}, r.damage(e.offset, fmt.Errorf("batch %d: %w", b.No, err))
			}
			b.Out = append(b.Out, c)
		}
		if len(b.In) > maxEvents || len(b.Out) > maxEvents {
			return Batch{}, r.damage(e.offset, fmt.Errorf("batch %d has more than %d facts or orders", b.No, maxEvents))
		}
		if !l.More {
			r.read++
			return b, nil
		}
	}
}

// to makes the frame the next one to be read.
func (r *Reader) to(frame int) {
	r.frame, r.open, r.read = frame, false, 0
	r.ahead, r.failed, r.lastAt = nil, nil, math.MinInt64
}

// SeekBatch makes the batch of that number the next one. Past the last one, Next returns what it returns at the end.
func (r *Reader) SeekBatch(batch int64) error {
	if batch < 0 {
		return fmt.Errorf("%s: no batch %d", r.name, batch)
	}
	r.to(max(0, sort.Search(len(r.entries), func(i int) bool { return r.entries[i].batch > batch })-1))
	return r.skip(func(b *Batch) bool { return b.No >= batch })
}

// SeekTime makes the first batch at t or later the next one.
func (r *Reader) SeekTime(t sched.Time) error {
	r.to(max(0, sort.Search(len(r.entries), func(i int) bool { return r.entries[i].time >= t })-1))
	return r.skip(func(b *Batch) bool { return b.Now >= t })
}

func (r *Reader) skip(until func(*Batch) bool) error {
	for {
		b, err := r.next()
		if err != nil {
			r.failed = err
			if err == io.EOF || errors.Is(err, ErrTruncated) {
				return nil // Next says it
			}
			return err
		}
		if until(&b) {
			r.ahead = &b
			return nil
		}
	}
}

// Table reads the whole journal and puts the table of all tasks together that arrive in it, with the numbers that they had. Where Next
// would stand is not changed. A journal that was cut short gives the tasks of its whole frames.
func (r *Reader) Table() (*sched.Table, error) {
	if r.version == 2 {
		return r.table2()
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	pass := &Reader{src: r.src, size: r.size, name: r.name, entries: r.entries, end: r.end, version: 1, dec: dec, lines: bufio.NewReaderSize(dec, 64<<10)}
	build := newTableBuilder()
	mark := []byte(`"tasks":[`)
	for {
		line, e, begins, err := pass.nextLine()
		if err == io.EOF || errors.Is(err, ErrTruncated) {
			break
		}
		if err != nil {
			return nil, err
		}
		if begins {
			clear(build.in)
		}
		if !bytes.HasSuffix(line, []byte(`"more":true}`)) {
			pass.read++
		}
		if !bytes.Contains(line, mark) {
			continue
		}
		var l lineJSON
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, pass.damage(e.offset, err)
		}
		for i := range l.In {
			if err := build.add(&l.In[i], l.T); err != nil {
				return nil, pass.damage(e.offset, fmt.Errorf("batch %d: %w", l.B, err))
			}
		}
	}
	tb, err := build.finish()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	return tb, nil
}
