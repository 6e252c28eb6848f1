package traces

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The decoding of Parquet's pages (https://parquet.apache.org/docs/file-format/). The library reads and writes the file's Thrift
// structures; the values are decoded here, since the library's own page reader allocates whatever size a damaged header states, and its
// assembly may fault where no recover helps.

const (
	pqBatch     = 4096      // rows decoded at a time
	maxPage     = 256 << 20 // bytes of a page, unpacked
	maxHeader   = 16 << 20  // bytes of a page header or a footer
	maxElements = 1 << 19   // of all lists in a page header or a footer
	oldDict     = 2         // the encoding PLAIN_DICTIONARY, of old files
	maxTexts    = 1 << 22   // values of a page of delta-coded texts, which cannot be read as a stream
	pqPad       = 16        // readable bytes after those of a page, so that words can be loaded at its end
)

var (
	errCut  = errors.New("the data ends too early")
	errSize = errors.New("the data is larger than it can be")
)

// thriftEnd returns the length of the Thrift struct (compact protocol) at the start of b. It checks what a decoder takes on trust: that
// every text and list is as long as it says. errCut if b ends within the struct.
func thriftEnd(b []byte) (int, error) {
	w := thriftWalk{b: b}
	err := w.structure(0)
	return w.at, err
}

type thriftWalk struct {
	b        []byte
	at       int
	elements int
}

func (w *thriftWalk) skip(n uint64) error {
	if n > uint64(len(w.b)-w.at) {
		return errCut
	}
	w.at += int(n)
	return nil
}

func (w *thriftWalk) varint() (uint64, error) {
	v, n := binary.Uvarint(w.b[w.at:])
	switch {
	case n == 0:
		return 0, errCut
	case n < 0:
		return 0, errSize
	}
	w.at += n
	return v, nil
}

func (w *thriftWalk) structure(depth int) error {
	if depth > 16 {
		return errors.New("nested too deeply")
	}
	for {
		if w.at >= len(w.b) {
			return errCut
		}
		head := w.b[w.at]
		w.at++
		if head == 0 {
			return nil
		}
		if head>>4 == 0 {
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		if kind := head & 15; kind != 1 && kind != 2 { // a field's truth value lies in its type
			if err := w.value(kind, depth); err != nil {
				return err
			}
		}
	}
}

func (w *thriftWalk) value(kind byte, depth int) error {
	switch kind {
	case 3: // a byte
		return w.skip(1)
	case 4, 5, 6: // integers
		_, err := w.varint()
		return err
	case 7: // a double
		return w.skip(8)
	case 8: // bytes
		n, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case 9, 10: // a list, a set
		if w.at >= len(w.b) {
			return errCut
		}
		head := w.b[w.at]
		w.at++
		n := uint64(head >> 4)
		if n == 15 {
			var err error
			if n, err = w.varint(); err != nil {
				return err
			}
		}
		if n > uint64(len(w.b)-w.at) {
			return errCut // an element has at least one byte
		}
		if w.elements += int(n); w.elements > maxElements {
			return errSize
		}
		for range n {
			if err := w.value(head&15, depth+1); err != nil {
				return err
			}
		}
		return nil
	case 12:
		return w.structure(depth + 1)
	}
	return fmt.Errorf("a Thrift type %d, which Parquet does not use here", kind)
}

// hybrid decodes runs of equal values and runs of packed bits (RLE and bit-packing), as for levels and dictionary indexes.
type hybrid struct {
	b     []byte // with pqPad readable bytes after it
	width uint
	run   int // values left of a run of equal ones
	value uint32
	bits  int // values left of a packed run
	bit   int // where the next one lies, in bits from the start of b
}

// next decodes up to len(dst) values, all of one run: it returns how many, and whether they are equal (then only dst[0] is set).
func (h *hybrid) next(dst []uint32) (n int, equal bool, err error) {
	if h.run == 0 && h.bits == 0 {
		if err := h.header(); err != nil {
			return 0, false, err
		}
	}
	if h.run > 0 {
		n = min(h.run, len(dst))
		h.run -= n
		dst[0] = h.value
		return n, true, nil
	}
	n = min(h.bits, len(dst))
	h.bits -= n
	b, at, width, mask := h.b[:len(h.b)+8], h.bit, h.width, uint64(1)<<h.width-1
	i := 0
	if width <= 8 && at&7 == 0 { // a word holds eight
		for ; i+8 <= n; i += 8 {
			x, d := binary.LittleEndian.Uint64(b[at>>3:]), dst[i:i+8:i+8]
			for k := range d {
				d[k] = uint32(x & mask)
				x >>= width & 15
			}
			at += 8 * int(width)
		}
	}
	for ; i < n; i++ {
		dst[i] = uint32(binary.LittleEndian.Uint64(b[at>>3:]) >> (at & 7) & mask)
		at += int(width)
	}
	if h.bit = at; h.bits == 0 {
		h.b = h.b[min((at+7)>>3, len(h.b)):]
	}
	return n, false, nil
}

func (h *hybrid) header() error {
	head, n := binary.Uvarint(h.b)
	if n <= 0 {
		return errCut
	}
	h.b = h.b[n:]
	count := head >> 1
	if count == 0 {
		return errors.New("an empty run")
	}
	if head&1 == 0 {
		if count > maxTasks {
			return errSize
		}
		size := int(h.width+7) / 8
		if len(h.b) < size {
			return errCut
		}
		h.value = uint32(binary.LittleEndian.Uint64(h.b[:8:len(h.b)+8]) & (1<<(8*size) - 1))
		h.b = h.b[size:]
		h.run = int(count)
		return nil
	}
	if count > maxTasks/8 {
		return errSize
	}
	h.bits, h.bit = int(count)*8, 0
	if h.width > 0 { // the last run may be cut short
		h.bits = min(h.bits, len(h.b)*8/int(h.width))
	}
	if h.bits == 0 {
		return errCut
	}
	return nil
}

// deltas decodes DELTA_BINARY_PACKED.
type deltas struct {
	b      []byte // with pqPad readable bytes after it
	block  int    // values of a block
	mini   int    // of a miniblock
	total  int    // values left
	v      int64  // the value returned last
	first  bool   // v is yet to be returned
	least  int64  // smallest delta of the block
	widths []byte // of the miniblocks to come
	left   int    // values left of the miniblock
	width  uint
	bit    int // where its next value lies, in bits from the start of b
}

func newDeltas(b []byte) (deltas, error) {
	var head [3]uint64
	for i := range head {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return deltas{}, errCut
		}
		head[i], b = v, b[n:]
	}
	first, n := binary.Varint(b)
	if n <= 0 {
		return deltas{}, errCut
	}
	size, minis, total := head[0], head[1], head[2]
	if size == 0 || size > 1<<16 || minis == 0 || minis > size || size%minis != 0 || size/minis%8 != 0 || total > maxTasks {
		return deltas{}, errors.New("a delta header that cannot be")
	}
	return deltas{b: b[n:], block: int(size), mini: int(size / minis), total: int(total), v: first, first: true}, nil
}

// open makes the next miniblock ready.
func (d *deltas) open() error {
	if d.bit > 0 || d.width > 0 { // past the one before, to its end
		d.b = d.b[min(d.mini*int(d.width)/8, len(d.b)):]
	}
	if len(d.widths) == 0 {
		least, n := binary.Varint(d.b)
		if n <= 0 || len(d.b)-n < d.block/d.mini {
			return errCut
		}
		d.least, d.b = least, d.b[n:]
		d.widths, d.b = d.b[:d.block/d.mini], d.b[d.block/d.mini:]
	}
	d.width, d.widths = uint(d.widths[0]), d.widths[1:]
	d.left, d.bit = d.mini, 0
	if d.width > 64 {
		return errSize
	}
	if need := (min(d.mini, d.total)*int(d.width) + 7) / 8; need > len(d.b) {
		return errCut
	}
	return nil
}

// next fills dst.
func (d *deltas) next(dst []int64) error {
	if len(dst) == 0 {
		return nil
	}
	if d.total < len(dst) {
		return errCut
	}
	if d.first {
		d.first = false
		dst[0] = d.v
		dst = dst[1:]
		d.total--
	}
	v, least := d.v, d.least
	for len(dst) > 0 {
		if d.left == 0 {
			if err := d.open(); err != nil {
				return err
			}
			least = d.least
		}
		n := min(d.left, len(dst))
		b, at, width := d.b[:len(d.b)+pqPad], d.bit, d.width
		switch {
		case width == 0:
			for i := range dst[:n] {
				v += least
				dst[i] = v
			}
		case width <= 57:
			mask := uint64(1)<<width - 1
			i := 0
			if width <= 28 { // a word holds two
				for ; i+1 < n; i += 2 {
					x := binary.LittleEndian.Uint64(b[at>>3:]) >> (at & 7)
					v1 := v + least + int64(x&mask)
					v = v1 + least + int64(x>>(width&31)&mask)
					dst[i], dst[i+1] = v1, v
					at += 2 * int(width)
				}
			}
			for ; i < n; i++ {
				v += least + int64(binary.LittleEndian.Uint64(b[at>>3:])>>(at&7)&mask)
				dst[i] = v
				at += int(width)
			}
		default:
			mask := ^uint64(0) >> (64 - width)
			for i := range dst[:n] {
				x := binary.LittleEndian.Uint64(b[at>>3:])>>(at&7) | uint64(b[at>>3+8])<<(64-at&7)
				v += least + int64(x&mask)
				dst[i] = v
				at += int(width)
			}
		}
		d.bit = at
		d.left -= n
		d.total -= n
		dst = dst[n:]
	}
	d.v = v
	return nil
}

// rest skips the values that are left and returns what follows them.
func (d *deltas) rest() ([]byte, error) {
	if d.first {
		d.first = false
		d.total = max(d.total-1, 0)
	}
	for d.total > 0 {
		if d.left == 0 {
			if err := d.open(); err != nil {
				return nil, err
			}
		}
		n := min(d.left, d.total)
		d.left -= n
		d.total -= n
		d.bit += n * int(d.width)
	}
	return d.b[min(d.mini*int(d.width)/8, len(d.b)):], nil
}

// chunk reads the pages of one column of one row group.
type chunk struct {
	file     io.ReaderAt
	kind     format.Type
	size     int  // bytes of a value of fixed size
	optional bool // values may be null
	codec    format.CompressionCodec
	unpack   *unpackers

	off, end int64  // what is not in win yet
	win      []byte // bytes of the file
	winBuf   []byte
	page     int // number of the page, from 0
	left     int // rows left in the chunk
	pageLeft int // and in the page
	data     []byte
	pageBuf  []byte

	dict      []byte // the dictionary page's values
	dictBuf   []byte
	dictCount int
	newDict   func() error // called when dict is read

	enc    format.Encoding // of the page; RLEDictionary for both kinds of dictionary
	levels hybrid
	index  hybrid
	delta  deltas
	plain  []byte // what is left of plain values
	found  []span // texts of the page, where they are not plain; in data
	joined []byte
	planes []byte // BYTE_STREAM_SPLIT: data, planes apart by count
	stride int
	seen   int // values of found or planes that are done with
}

// fetch makes at least n bytes stand in win.
func (c *chunk) fetch(n int) error {
	if n <= len(c.win) {
		return nil
	}
	if int64(n-len(c.win)) > c.end-c.off {
		return errCut
	}
	more := int(min(int64(max(n-len(c.win), 64<<10)), c.end-c.off))
	if need := len(c.win) + more + pqPad; cap(c.winBuf) < need {
		c.winBuf = make([]byte, need+need/4)
	}
	buf := c.winBuf[:len(c.win)+more+pqPad]
	held := copy(buf, c.win)
	if _, err := c.file.ReadAt(buf[held:held+more], c.off); err != nil {
		if err == io.EOF {
			err = errCut
		}
		return err
	}
	c.off += int64(more)
	c.win = buf[:held+more]
	return nil
}

// readPage reads the next page with values, and the dictionary if it stands before it.
func (c *chunk) readPage() error {
	for {
		c.page++
		var n int
		for size := 512; ; size *= 4 {
			have := int(min(int64(size), int64(len(c.win))+c.end-c.off))
			if have == 0 {
				return fmt.Errorf("%d rows are missing", c.left)
			}
			if err := c.fetch(have); err != nil {
				return err
			}
			var err error
			if n, err = thriftEnd(c.win); err == nil {
				break
			}
			if err != errCut || have < size || size >= maxHeader {
				return fmt.Errorf("header: %w", err)
			}
		}
		var h format.PageHeader
		if err := thrift.Unmarshal(&pqProtocol, c.win[:n], &h); err != nil {
			return fmt.Errorf("header: %w", err)
		}
		c.win = c.win[n:]
		packed, size := int(h.CompressedPageSize), int(h.UncompressedPageSize)
		if packed < 0 || size < 0 || size > maxPage {
			return fmt.Errorf("%d bytes, unpacked %d: not a size of a page", packed, size)
		}
		if err := c.fetch(packed); err != nil {
			return err
		}
		body := c.win[:packed]
		c.win = c.win[packed:]
		if h.CRC != 0 && crc32.ChecksumIEEE(body) != uint32(h.CRC) {
			return errors.New("its checksum is wrong")
		}
		switch {
		case h.Type == format.DictionaryPage && h.DictionaryPageHeader.Valid:
			if c.dict != nil {
				return errors.New("a second dictionary")
			}
			if e := h.DictionaryPageHeader.V.Encoding; e != format.Plain && e != oldDict {
				return fmt.Errorf("a dictionary in the encoding %v", e)
			}
			var err error
			if c.dictBuf, err = c.unpack.page(c.dictBuf, body, size, c.codec); err != nil {
				return err
			}
			c.dict, c.dictCount = c.dictBuf, int(h.DictionaryPageHeader.V.NumValues)
			if c.dictCount < 0 || c.size > 0 && c.dictCount > len(c.dict)/c.size || c.size == 0 && c.dictCount > len(c.dict)/4 {
				return fmt.Errorf("a dictionary of %d values in %d bytes", c.dictCount, len(c.dict))
			}
			if err := c.newDict(); err != nil {
				return err
			}
		case h.Type == format.DataPage && h.DataPageHeader.Valid:
			p := &h.DataPageHeader.V
			data, err := c.body(body, size, c.codec)
			if err != nil {
				return err
			}
			c.levels = hybrid{}
			if c.optional {
				if p.DefinitionLevelEncoding != format.RLE {
					return fmt.Errorf("levels in the encoding %v", p.DefinitionLevelEncoding)
				}
				if len(data) < 4 {
					return errCut
				}
				n := int64(binary.LittleEndian.Uint32(data))
				if data = data[4:]; n > int64(len(data)) {
					return errCut
				}
				c.levels = hybrid{b: data[:n], width: 1}
				data = data[n:]
			}
			return c.begin(data, int(p.NumValues), p.Encoding)
		case h.Type == format.DataPageV2 && h.DataPageHeaderV2.Valid:
			p := &h.DataPageHeaderV2.V
			defs, reps := int(p.DefinitionLevelsByteLength), int(p.RepetitionLevelsByteLength)
			if defs < 0 || reps < 0 || defs > len(body) || reps > len(body)-defs || defs+reps > size {
				return errCut
			}
			codec := c.codec
			if p.IsCompressed.Valid && !p.IsCompressed.V {
				codec = format.Uncompressed
			}
			data, err := c.body(body[defs+reps:], size-defs-reps, codec)
			if err != nil {
				return err
			}
			c.levels = hybrid{}
			if c.optional {
				c.levels = hybrid{b: body[reps : reps+defs], width: 1}
			}
			return c.begin(data, int(p.NumValues), p.Encoding)
		case h.Type == format.DataPage || h.Type == format.DataPageV2 || h.Type == format.DictionaryPage:
			return errors.New("a header of another type of page")
		}
	}
}

// body unpacks the values of a page. Those that are not packed stay in the window, which only the next page moves.
func (c *chunk) body(b []byte, size int, codec format.CompressionCodec) ([]byte, error) {
	if codec == format.Uncompressed {
		if len(b) != size {
			return nil, fmt.Errorf("%d bytes are %d unpacked, though not packed", len(b), size)
		}
		return b, nil
	}
	var err error
	c.pageBuf, err = c.unpack.page(c.pageBuf, b, size, codec)
	return c.pageBuf, err
}

// begin makes the values of a page ready.
func (c *chunk) begin(data []byte, rows int, enc format.Encoding) error {
	if rows < 0 || rows > c.left {
		return fmt.Errorf("%d rows, where %d are left in the row group", rows, c.left)
	}
	c.data, c.pageLeft, c.enc, c.seen = data, rows, enc, 0
	isText := c.kind == format.ByteArray
	switch {
	case enc == format.Plain:
		c.plain = data
	case enc == format.RLEDictionary || enc == oldDict:
		c.enc = format.RLEDictionary
		if c.dict == nil {
			return errors.New("no dictionary")
		}
		c.index = hybrid{}
		if len(data) > 0 {
			c.index = hybrid{b: data[1:], width: uint(data[0])}
		}
		if c.index.width > 32 {
			return fmt.Errorf("indexes of %d bits", c.index.width)
		}
	case enc == format.DeltaBinaryPacked && (c.kind == format.Int32 || c.kind == format.Int64):
		if rows == 0 {
			return nil
		}
		var err error
		c.delta, err = newDeltas(data)
		return err
	case enc == format.DeltaLengthByteArray && isText:
		return c.deltaTexts(data, nil)
	case enc == format.DeltaByteArray && isText:
		prefixes, err := newDeltas(data)
		if err != nil {
			return err
		}
		after := prefixes
		if data, err = after.rest(); err != nil {
			return err
		}
		return c.deltaTexts(data, &prefixes)
	case enc == format.ByteStreamSplit && (c.size == 4 || c.size == 8) && c.kind != format.FixedLenByteArray:
		c.planes, c.stride = data, len(data)/c.size
		if len(data)%c.size != 0 {
			return errCut
		}
	default:
		return fmt.Errorf("values of type %v in the encoding %v", c.kind, enc)
	}
	return nil
}

// deltaTexts finds the texts of a page whose lengths stand together before them. With prefixes, each takes its beginning from the one before.
func (c *chunk) deltaTexts(data []byte, prefixes *deltas) error {
	lengths, err := newDeltas(data)
	if err != nil {
		return err
	}
	count := lengths.total
	if count > maxTexts || prefixes != nil && prefixes.total != count {
		return fmt.Errorf("%d texts in a page", count)
	}
	after := lengths
	texts, err := after.rest()
	if err != nil {
		return err
	}
	c.found, c.joined = c.found[:0], c.joined[:0]
	c.data = texts
	var n, shared [128]int64
	at, before := int64(0), span{}
	for count > 0 {
		some := min(count, len(n))
		count -= some
		if err := lengths.next(n[:some]); err != nil {
			return err
		}
		if prefixes != nil {
			if err := prefixes.next(shared[:some]); err != nil {
				return err
			}
		}
		for i, size := range n[:some] {
			if size < 0 || size > int64(len(texts))-at {
				return errCut
			}
			text := texts[at : at+size]
			at += size
			if prefixes == nil {
				c.found = append(c.found, span{int32(at - size), int32(at)})
				continue
			}
			if shared[i] < 0 || shared[i] > int64(before.to-before.from) {
				return errors.New("a text longer than the one it begins as")
			}
			if int64(len(c.joined))+shared[i]+size > maxPage {
				return errSize
			}
			from := int32(len(c.joined))
			c.joined = append(append(c.joined, c.joined[before.from:before.from+int32(shared[i])]...), text...)
			before = span{from, int32(len(c.joined))}
			c.found = append(c.found, before)
		}
	}
	if prefixes != nil {
		c.data = c.joined
	}
	return nil
}

// nulls decodes the levels of n rows: how many values they have, and (where not all) which, in null.
func (c *chunk) nulls(n int, null []bool, scratch []uint32) (values int, err error) {
	if !c.optional {
		return n, nil
	}
	all := true
	for at := 0; at < n; {
		k, equal, err := c.levels.next(scratch[:n-at])
		if err != nil {
			return 0, fmt.Errorf("levels: %w", err)
		}
		for i := range k {
			v := scratch[i]
			if equal {
				v = scratch[0]
			}
			if v > 1 {
				return 0, fmt.Errorf("a level of %d", v)
			}
			null[at+i] = v == 0
			values += int(v)
			all = all && v == 1
			if equal && v == 1 && all { // the usual page
				for j := i + 1; j < k; j++ {
					null[at+j] = false
				}
				values += k - i - 1
				break
			}
		}
		at += k
	}
	return values, nil
}

// indexes decodes dictionary indexes.
func (c *chunk) indexes(dst []uint32) error {
	limit := uint32(c.dictCount)
	for len(dst) > 0 {
		n, equal, err := c.index.next(dst)
		if err != nil {
			return err
		}
		top := dst[0]
		if equal {
			for i := range dst[:n] {
				dst[i] = top
			}
		} else {
			for _, i := range dst[:n] {
				top = max(top, i)
			}
		}
		if top >= limit {
			return fmt.Errorf("index %d into a dictionary of %d", top, limit)
		}
		dst = dst[n:]
	}
	return nil
}

// raw decodes values of fixed size as the bits they have (integers with their sign). Values of a size other than 4 and 8 are not here.
func (c *chunk) raw(dst []int64) error {
	switch c.enc {
	case format.DeltaBinaryPacked:
		if err := c.delta.next(dst); err != nil {
			return err
		}
		if c.kind == format.Int32 {
			for i, v := range dst {
				dst[i] = int64(int32(v))
			}
		}
	case format.Plain:
		n := len(dst) * c.size
		if n > len(c.plain) {
			return errCut
		}
		fixedValues(dst, c.plain[:n], c.size)
		c.plain = c.plain[n:]
	case format.ByteStreamSplit:
		if c.seen+len(dst) > c.stride {
			return errCut
		}
		for i := range dst {
			v := uint64(0)
			for k := range c.size {
				v |= uint64(c.planes[k*c.stride+c.seen+i]) << (8 * k)
			}
			if dst[i] = int64(v); c.size == 4 {
				dst[i] = int64(int32(v))
			}
		}
		c.seen += len(dst)
	}
	return nil
}

func fixedValues(dst []int64, b []byte, size int) {
	if size == 4 {
		for i := range dst {
			dst[i] = int64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
		return
	}
	for i := range dst {
		dst[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
}

// texts finds the next texts, as places in data.
func (c *chunk) texts(dst []span) error {
	if c.enc != format.Plain {
		if len(dst) > len(c.found)-c.seen {
			return errCut
		}
		c.seen += copy(dst, c.found[c.seen:])
		return nil
	}
	at := len(c.data) - len(c.plain)
	for i := range dst {
		var err error
		if dst[i], at, err = c.plainText(c.data, at); err != nil {
			return err
		}
	}
	c.plain = c.data[at:]
	return nil
}

// plainText returns where the text at b[at:] lies and what follows it.
func (c *chunk) plainText(b []byte, at int) (span, int, error) {
	n := c.size
	if n == 0 {
		if len(b)-at < 4 {
			return span{}, 0, errCut
		}
		size := binary.LittleEndian.Uint32(b[at:])
		at += 4
		if size > maxPage {
			return span{}, 0, errCut
		}
		n = int(size)
	}
	if n > len(b)-at {
		return span{}, 0, errCut
	}
	return span{int32(at), int32(at + n)}, at + n, nil
}

// pqRatio is the most bytes that one can stand for: a copy in Snappy, deflate's limit, a repeated block of 128 KiB in zstd.
var pqRatio = map[format.CompressionCodec]int{format.Uncompressed: 1, format.Snappy: 32, format.Gzip: 1040, format.Zstd: 1 << 16}

// unpackers takes the compression off pages; shared by the columns of a file.
type unpackers struct {
	zstd *zstd.Decoder
	gzip *gzip.Reader
}

// page unpacks b into dst, which is grown; size is what the header states. The bytes that b could hold at most bound the memory.
func (u *unpackers) page(dst, b []byte, size int, codec format.CompressionCodec) ([]byte, error) {
	ratio, known := pqRatio[codec]
	if !known {
		return nil, fmt.Errorf("compression %v is not supported (none, snappy, gzip and zstd are)", codec)
	}
	if size > maxPage || size/ratio > len(b) {
		return nil, fmt.Errorf("%d bytes cannot unpack to %d", len(b), size)
	}
	if cap(dst) < size+pqPad {
		dst = make([]byte, size+pqPad)
	}
	dst = dst[:size]
	var n int
	var err error
	switch codec {
	case format.Uncompressed:
		n = copy(dst, b)
		n += len(b) - n
	case format.Snappy:
		if n, err = snappy.DecodedLen(b); err == nil && n == size {
			_, err = snappy.Decode(dst, b)
		}
	case format.Gzip:
		n, err = u.inflate(dst, b)
	case format.Zstd:
		if u.zstd == nil {
			u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, err
			}
		}
		var out []byte
		out, err = u.zstd.DecodeAll(b, dst[:0:size])
		n = len(out)
	}
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, fmt.Errorf("%d bytes unpacked, its header says %d", n, size)
	}
	return dst, nil
}

func (u *unpackers) inflate(dst, b []byte) (int, error) {
	r := &sliceReader{b}
	var err error
	if u.gzip == nil {
		u.gzip, err = gzip.NewReader(r)
	} else {
		err = u.gzip.Reset(r)
	}
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(u.gzip, dst)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return 0, err
	}
	if more, err := io.ReadFull(u.gzip, make([]byte, 1)); more > 0 {
		n++
	} else if err != io.EOF {
		return 0, err
	}
	return n, nil
}

// sliceReader is a bytes.Reader that gzip need not wrap.
type sliceReader struct{ b []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (r *sliceReader) ReadByte() (byte, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c, nil
}

func (u *unpackers) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}
