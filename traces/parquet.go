package traces

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/schedlab/schedlab/policies/sched"
)

// Parquet with the native columns, one row a task. The cells mean what they mean in CSV; null and the empty text are the default.
//
//	numbers  DOUBLE, FLOAT, INT32 and INT64 are in the unit of the column's name (seconds, GB, CPUs), as in CSV; DECIMAL is so too, and exact.
//	         A column may be called run_ns for run_s or mem_bytes for mem_gb: integers, in that unit.
//	texts    BYTE_ARRAY; integers stand for their decimal text. Lists are one text, as in CSV: a;b
//
// The columns are flat (no groups, nothing repeated). Encodings: all of Parquet's but the bit-packed levels that nobody writes any more.
// Compression: none, snappy, gzip, zstd. Checksums are checked where they are. Memory: the workload, and for each column a page.
//
// The writer puts times as DECIMAL(18) with as many digits as they need (as run_ns where 18 do not do), sizes and shares as DOUBLE, which
// holds them exactly, and ids that are numbers as INT64. Integers are delta-coded, what few values repeat is put in a dictionary.

const (
	pqMagic   = "PAR1"
	maxSpool  = 16 << 30 // bytes of a file that comes through a pipe or is packed
	pqPerByte = 256      // rows that a byte of the file may stand for, beyond the first million
	null      = math.MinInt64
)

var pqProtocol thrift.CompactProtocol

func detectParquet(head []byte, _ string) bool {
	return bytes.HasPrefix(head, []byte(pqMagic))
}

// seekable is what a reader gets whose source can be read at any place.
type seekable struct {
	io.Reader
	at   io.ReaderAt
	size int64
}

// whole returns r's source if it can be read at any place and nothing of it has been read yet.
func whole(r io.Reader) (io.ReaderAt, int64) {
	switch f := r.(type) {
	case *os.File:
		at, err := f.Seek(0, io.SeekCurrent)
		if st, err2 := f.Stat(); err == nil && err2 == nil && at == 0 && st.Mode().IsRegular() {
			return f, st.Size()
		}
	case interface { // bytes and strings
		io.ReaderAt
		Len() int
		Size() int64
	}:
		if f.Size() == int64(f.Len()) {
			return f, f.Size()
		}
	}
	return nil, 0
}

// spool copies r to a temporary file, which remove closes and deletes.
func spool(r io.Reader) (f *os.File, size int64, remove func(), err error) {
	f, err = os.CreateTemp("", "schedlab-*.parquet")
	if err != nil {
		return nil, 0, nil, err
	}
	_ = os.Remove(f.Name()) // where that works on an open file nothing is left even if this process is killed
	remove = func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
	size, err = io.Copy(f, io.LimitReader(r, maxSpool+1))
	if err == nil && size > maxSpool {
		err = errors.New("more than 16 GiB from a pipe or a packed file")
	}
	if err != nil {
		remove()
		return nil, 0, nil, err
	}
	return f, size, remove, nil
}

func readParquet(in io.Reader, b *Builder) error {
	b.noLine = true
	p := &parquetFile{b: b}
	if s, ok := in.(seekable); ok {
		p.at, p.size = s.at, s.size
	} else {
		f, size, remove, err := spool(in)
		if err != nil {
			return b.Errorf(0, "%w", err)
		}
		defer remove()
		p.at, p.size = f, size
	}
	defer p.unpack.close()
	return p.read()
}

// parquetFile reads one file.
type parquetFile struct {
	b      *Builder
	at     io.ReaderAt
	size   int64
	unpack unpackers
	cols   []*parquetColumn
	of     [numCols]*parquetColumn // by native column; nil = not there
	common []*parquetColumn        // those of the class
	rare   []*parquetColumn
	place  string // for errors: where the reading is
	rows   int    // of a batch, at most

	expected int // rows of the file

	classes  map[string]sched.ClassID // by the words of the common columns
	keys     []uint64                 // of a batch, one row's words after another's
	class    []sched.ClassID
	key      []byte
	near     [1024]sched.ClassID // + 1; 0 = none
	dense    []sched.ClassID     // + 1, by the indexes into the row group's dictionaries taken together; 0 = not yet known
	joint    []uint32
	nearKeys []uint64
	r        Row
	idBuf    []byte
	jobBuf   []byte
}

// parquetColumn is one column of the file: its cells of a batch, converted.
type parquetColumn struct {
	chunk
	name   string
	col    int
	number bool   // of a native column of numbers
	direct bool   // in ns or bytes, not s or GB
	scale  int    // of a DECIMAL; -1 = no DECIMAL
	intern intern // of texts that make the class

	ints     []int64  // numbers in the native unit, null = none; also texts that are integers
	spans    []span   // texts, in text
	text     []byte   // of the batch
	dictInts []int64  // the dictionary's values, converted
	dictText []span   // or where they lie in dict
	dictCode []uint64 // or their code for the class, + 1; 0 = not yet known
	index    []uint32
	null     []bool
	some     bool // null is in use
	coded    bool // the cells of the batch stand in index only
}

func (p *parquetFile) errorf(format string, args ...any) error {
	return p.b.Errorf(0, "%s%w", p.place, fmt.Errorf(format, args...))
}

func (p *parquetFile) read() (err error) {
	// The library's Thrift decoder and the decompressors are not ours: should one panic on a damaged file, that is the file's error.
	defer func() {
		if x := recover(); x != nil {
			err = p.errorf("damaged: %v", x)
		}
	}()
	meta, err := p.footer()
	if err != nil {
		return err
	}
	rows := int64(0)
	for g := range meta.RowGroups {
		p.place = fmt.Sprintf("row group %d: ", g)
		n := meta.RowGroups[g].NumRows
		if rows += n; n < 0 || rows > maxTasks || rows > 1<<20+p.size*pqPerByte {
			return p.errorf("%d rows in a file of %d bytes", n, p.size)
		}
	}
	p.rows = int(max(1, min(rows, pqBatch)))
	if err := p.schema(meta); err != nil {
		return err
	}
	p.expected = int(min(rows, 1<<16+8*p.size)) // by what there is, not by what the footer says
	p.b.Grow(p.expected)
	for g := range meta.RowGroups {
		if err := p.group(g, &meta.RowGroups[g]); err != nil {
			return err
		}
	}
	return nil
}

func (p *parquetFile) footer() (*format.FileMetaData, error) {
	p.place = "footer: "
	var tail [8]byte
	if p.size < 12 {
		return nil, p.errorf("%w", errCut)
	}
	if _, err := p.at.ReadAt(tail[:], p.size-8); err != nil {
		return nil, p.errorf("%w", err)
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	switch {
	case string(tail[4:]) == "PARE":
		return nil, p.errorf("the file is encrypted")
	case string(tail[4:]) != pqMagic:
		return nil, p.errorf("the file does not end as Parquet; it may be cut")
	case n > p.size-12 || n > maxHeader:
		return nil, p.errorf("%d bytes in a file of %d", n, p.size)
	}
	buf := make([]byte, n)
	if _, err := p.at.ReadAt(buf, p.size-8-n); err != nil {
		return nil, p.errorf("%w", err)
	}
	end, err := thriftEnd(buf)
	if err != nil {
		return nil, p.errorf("%w", err)
	}
	meta := new(format.FileMetaData)
	if err := thrift.Unmarshal(&pqProtocol, buf[:end], meta); err != nil {
		return nil, p.errorf("%w", err)
	}
	if meta.EncryptionAlgorithm.Value != nil {
		return nil, p.errorf("the file is encrypted")
	}
	return meta, nil
}

// schema makes the columns.
func (p *parquetFile) schema(meta *format.FileMetaData) error {
	p.place = "schema: "
	if len(meta.Schema) == 0 || int(meta.Schema[0].NumChildren.V) != len(meta.Schema)-1 {
		for _, e := range meta.Schema[min(1, len(meta.Schema)):] {
			if e.NumChildren.V > 0 {
				return p.errorf("column %q is nested; a list is one text: a;b", clip(e.Name))
			}
		}
		return p.errorf("damaged")
	}
	for _, e := range meta.Schema[1:] {
		c := &parquetColumn{name: e.Name, scale: -1}
		p.place = fmt.Sprintf("column %s: ", clip(e.Name))
		name, direct := e.Name, false
		if base, ok := strings.CutSuffix(name, "_ns"); ok {
			name, direct = base+"_s", true
		} else if base, ok := strings.CutSuffix(name, "_bytes"); ok {
			name, direct = base+"_gb", true
		}
		if c.col = columnOf(name); c.col < 0 {
			return p.errorf("unknown column %q (known: %s)", clip(e.Name), strings.Join(columnNames[:], ", "))
		}
		if p.of[c.col] != nil {
			return p.errorf("column %s stands twice", columnNames[c.col])
		}
		p.of[c.col] = c
		c.direct, c.number = direct, unitOf(c.col) != unitText
		c.kind = e.Type.V
		rep := e.RepetitionType.V
		c.optional = rep == format.Optional
		decimal := false
		if d, ok := e.LogicalType.Value.(*format.DecimalType); ok {
			decimal, c.scale = true, int(d.Scale)
		} else if e.ConvertedType.Valid && e.ConvertedType.V == deprecated.Decimal {
			decimal, c.scale = true, int(e.Scale.V)
		}
		switch {
		case !e.Type.Valid || e.NumChildren.V > 0 || rep == format.Repeated:
			return p.errorf("nested or repeated; a list is one text: a;b")
		case decimal && (c.scale < 0 || c.scale > 18):
			return p.errorf("a scale of %d", c.scale)
		case direct && (c.scale > 0 || c.kind == format.Double || c.kind == format.Float):
			return p.errorf("integers are wanted")
		}
		switch c.kind {
		case format.Int32, format.Float:
			c.size = 4
		case format.Int64, format.Double:
			c.size = 8
		case format.FixedLenByteArray:
			if c.size = int(e.TypeLength.V); c.size <= 0 || c.size > 1<<20 {
				return p.errorf("values of %d bytes", c.size)
			}
		case format.ByteArray:
		default:
			return p.errorf("values of type %v", c.kind)
		}
		switch e.LogicalType.Value.(type) {
		case *format.DateType, *format.TimeType, *format.TimestampType:
			return p.errorf("dates or times of day; seconds are wanted")
		}
		switch bytesLike := c.kind == format.ByteArray || c.kind == format.FixedLenByteArray; {
		case c.number && bytesLike && !decimal:
			return p.errorf("text, numbers are wanted")
		case !c.number && (decimal || c.kind == format.Double || c.kind == format.Float):
			return p.errorf("numbers of type %v, text is wanted", c.kind)
		}
		c.file, c.unpack = p.at, &p.unpack
		c.newDict = c.readDict
		c.ints, c.spans, c.index, c.null = make([]int64, p.rows), nil, make([]uint32, p.rows), make([]bool, p.rows)
		if c.kind == format.ByteArray || c.kind == format.FixedLenByteArray {
			c.spans = make([]span, p.rows)
		}
		p.cols = append(p.cols, c)
		switch {
		case c.col >= colOther:
			p.common = append(p.common, c)
		case c.col == colName || c.col >= colAfter:
			p.rare = append(p.rare, c)
		}
	}
	p.place = "schema: "
	if p.of[colRun] == nil && p.of[colRunOn] == nil {
		return p.errorf("no column run_s or run_on")
	}
	p.classes = map[string]sched.ClassID{}
	p.class, p.joint = make([]sched.ClassID, p.rows), make([]uint32, p.rows)
	p.idBuf, p.jobBuf = make([]byte, 0, 24), make([]byte, 0, 24)
	p.keys = make([]uint64, p.rows*len(p.common))
	p.nearKeys = make([]uint64, len(p.near)*len(p.common))
	return nil
}

// group reads one row group.
func (p *parquetFile) group(g int, rg *format.RowGroup) error {
	p.place = fmt.Sprintf("row group %d: ", g)
	if len(rg.Columns) != len(p.cols) {
		return p.errorf("%d columns, %d in the schema", len(rg.Columns), len(p.cols))
	}
	for i, c := range p.cols {
		p.place = fmt.Sprintf("row group %d, column %s: ", g, c.name)
		m := &rg.Columns[i].MetaData
		start := m.DataPageOffset
		if d := m.DictionaryPageOffset; d > 0 && d < start {
			start = d
		}
		switch {
		case rg.Columns[i].FilePath != "":
			return p.errorf("it lies in another file")
		case rg.Columns[i].CryptoMetadata.Value != nil:
			return p.errorf("it is encrypted")
		case m.Type != c.kind || len(m.PathInSchema) != 1 || m.PathInSchema[0] != c.name:
			return p.errorf("it is not the column of the schema")
		case m.NumValues != rg.NumRows:
			return p.errorf("%d values, %d rows in the row group", m.NumValues, rg.NumRows)
		case start < 4 || m.TotalCompressedSize < 0 || m.TotalCompressedSize > p.size-8 || start > p.size-8-m.TotalCompressedSize:
			return p.errorf("%d bytes at %d, in a file of %d", m.TotalCompressedSize, start, p.size)
		}
		c.codec, c.off, c.end, c.win = m.Codec, start, start+m.TotalCompressedSize, nil
		c.page, c.left, c.pageLeft, c.dict, c.dictCount = -1, int(rg.NumRows), 0, nil, 0
	}
	p.dense = p.dense[:0]
	for left := int(rg.NumRows); left > 0; {
		n := min(left, p.rows)
		for _, c := range p.cols {
			for c.pageLeft == 0 {
				if err := c.readPage(); err != nil {
					p.place = fmt.Sprintf("row group %d, column %s, page %d: ", g, c.name, c.page)
					return p.errorf("%w", err)
				}
			}
			n = min(n, c.pageLeft)
		}
		for _, c := range p.cols {
			if err := c.fill(n); err != nil {
				p.place = fmt.Sprintf("row group %d, column %s, page %d: ", g, c.name, c.page)
				var bad *cellError
				if errors.As(err, &bad) {
					p.place = fmt.Sprintf("row group %d, column %s, row %d: ", g, c.name, p.b.Len()+1+bad.row)
				}
				return p.errorf("%w", err)
			}
		}
		first := p.b.Len() == 0
		if err := p.batch(g, n); err != nil {
			return err
		}
		if first { // again, with the length of the ids
			p.b.Grow(p.expected - n)
		}
		left -= n
	}
	return nil
}

// cellError is an error of one cell of a batch.
type cellError struct {
	row int // in the batch
	err error
}

func (e *cellError) Error() string { return e.err.Error() }

// The units of numbers in a Workload.
const (
	unitText   = iota
	unitNS     // from seconds
	unitMilli  // CPUs and GPUs
	unitBytes  // from GB
	unitCount  // whole numbers that fit an int32
	unitFactor // a float64's bits
)

func unitOf(col int) int {
	switch col {
	case colSubmit, colRun, colEstimate, colDeadline, colPeriod, colBackoff:
		return unitNS
	case colCPU, colGPUs:
		return unitMilli
	case colMem, colGPUMem, colInput, colOutput, colMemUsed, colGPUMemUsed:
		return unitBytes
	case colGang, colPriority, colRetries:
		return unitCount
	case colCriticality:
		return unitFactor
	}
	return unitText
}

// fill decodes n cells, which the page has.
func (c *parquetColumn) fill(n int) error {
	err := c.decode(n)
	var bad *cellError
	if errors.As(err, &bad) && c.some { // it counted values, not rows
		for i, left := 0, bad.row; i < n; i++ {
			if c.null[i] {
				bad.row++
			} else if left--; left < 0 {
				break
			}
		}
	}
	return err
}

func (c *parquetColumn) decode(n int) error {
	c.pageLeft -= n
	c.left -= n
	values, err := c.nulls(n, c.null, c.index)
	if err != nil {
		return err
	}
	c.some, c.coded = values < n, false
	if c.enc == format.RLEDictionary {
		if err := c.indexes(c.index[:values]); err != nil {
			return err
		}
		if c.col >= colOther && !c.some {
			c.coded = true
			return nil
		}
		c.look(0, values)
	}
	if c.spans == nil || c.number {
		if c.enc != format.RLEDictionary {
			if err := c.numbers(c.ints[:values]); err != nil {
				return err
			}
		}
		if c.some {
			spread(c.ints, c.null[:n], values, null)
		}
		return nil
	}
	if c.enc != format.RLEDictionary {
		c.text = c.data
		if err := c.texts(c.spans[:values]); err != nil {
			return err
		}
		for i, s := range c.spans[:values] {
			if s.to-s.from > maxLine {
				return &cellError{i, errLong}
			}
		}
	}
	if c.some {
		spread(c.spans, c.null[:n], values, span{})
	}
	return nil
}

// look takes the cells from..to from the dictionary.
func (c *parquetColumn) look(from, to int) {
	if c.spans == nil || c.number {
		for i, k := range c.index[from:to] {
			c.ints[from+i] = c.dictInts[k]
		}
		return
	}
	c.text = c.dict
	for i, k := range c.index[from:to] {
		c.spans[from+i] = c.dictText[k]
	}
}

// spread moves the values to the rows that have one.
func spread[T any](s []T, null []bool, values int, none T) {
	for i := len(null) - 1; i >= 0; i-- {
		if null[i] {
			s[i] = none
		} else {
			values--
			s[i] = s[values]
		}
	}
}

// readDict converts the dictionary.
func (c *parquetColumn) readDict() error {
	n := c.dictCount
	if c.spans != nil && !c.number {
		c.dictText = slices.Grow(c.dictText[:0], n)[:n]
		at := 0
		for i := range c.dictText {
			var err error
			if c.dictText[i], at, err = c.plainText(c.dict, at); err != nil {
				return fmt.Errorf("dictionary: %w", err)
			}
			if s := c.dictText[i]; s.to-s.from > maxLine {
				return fmt.Errorf("dictionary: %w", errLong)
			}
		}
		c.dictCode = slices.Grow(c.dictCode[:0], n)[:n]
		clear(c.dictCode)
		return nil
	}
	c.dictInts = slices.Grow(c.dictInts[:0], n)[:n]
	enc, plain, data := c.enc, c.plain, c.data
	c.enc, c.plain, c.data = format.Plain, c.dict, c.dict
	var err error
	for at := 0; at < n && err == nil; at += len(c.ints) { // spans holds a batch
		err = c.numbers(c.dictInts[at:min(n, at+len(c.ints))])
	}
	c.enc, c.plain, c.data = enc, plain, data
	var bad *cellError
	if errors.As(err, &bad) {
		err = bad.err // its row is none of the file's
	}
	if err != nil {
		return fmt.Errorf("dictionary: %w", err)
	}
	return nil
}

// numbers decodes values and converts them to the native unit.
func (c *parquetColumn) numbers(dst []int64) error {
	switch c.kind {
	case format.FixedLenByteArray, format.ByteArray: // a DECIMAL, big-endian
		spans := c.spans[:len(dst)]
		if err := c.texts(spans); err != nil {
			return err
		}
		for i, s := range spans {
			v, ok := bigEndian(c.data[s.from:s.to])
			if !ok {
				return &cellError{i, errors.New("a number beyond 64 bits")}
			}
			dst[i] = v
		}
	default:
		if err := c.raw(dst); err != nil {
			return err
		}
	}
	if !c.number {
		return nil
	}
	unit := unitOf(c.col)
	if c.kind == format.Double || c.kind == format.Float {
		for i, v := range dst {
			f := math.Float64frombits(uint64(v))
			if c.size == 4 {
				f = widen(math.Float32frombits(uint32(v)))
			}
			var err error
			if dst[i], err = c.fromFloat(f, unit); err != nil {
				return &cellError{i, err}
			}
		}
		return nil
	}
	if unit == unitNS && c.scale <= 9 { // the usual: integers times a power of ten
		factor := int64(1e9)
		switch {
		case c.direct:
			factor = 1
		case c.scale >= 0:
			factor = pow10[9-c.scale]
		}
		top := int64(maxDuration) / factor
		least := int64(0)
		if c.col == colSubmit {
			least = -top
		}
		for i, v := range dst {
			if v < least || v > top {
				return &cellError{i, c.rangeError(strconv.FormatInt(v, 10), v < 0)}
			}
			dst[i] = v * factor
		}
		return nil
	}
	for i, v := range dst {
		var err error
		if dst[i], err = c.fromInt(v, unit); err != nil {
			return &cellError{i, err}
		}
	}
	return nil
}

// widen returns the float64 of the shortest decimal that is this float32: 0.1 is meant where 0.1 is written.
func widen(f float32) float64 {
	v, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	return v
}

func bigEndian(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	v := int64(int8(b[0]))
	for _, x := range b[1:] {
		if v > math.MaxInt64>>8 || v < math.MinInt64>>8 {
			return 0, false
		}
		v = v<<8 | int64(x)
	}
	return v, v != null
}

func (c *parquetColumn) rangeError(text string, negative bool) error {
	if negative && c.col == colGPUs {
		return errors.New("negative GPU count")
	}
	if negative && c.col != colSubmit && unitOf(c.col) == unitNS {
		return fmt.Errorf("%s is negative", text)
	}
	most := int64(1 << 61)
	switch {
	case c.direct:
	case unitOf(c.col) == unitNS:
		most /= 1e9
	case unitOf(c.col) == unitBytes:
		most /= gib
	default:
		most /= 1000
	}
	return numberError([]byte(text), most)
}

// fromInt converts an integer or DECIMAL, by way of its text unless it is simple.
func (c *parquetColumn) fromInt(v int64, unit int) (int64, error) {
	scale := max(c.scale, 0)
	text := func() string {
		s := strconv.FormatInt(v, 10)
		if scale == 0 {
			return s
		}
		return strconv.FormatInt(v, 10) + "e-" + strconv.Itoa(scale)
	}
	switch unit {
	case unitBytes:
		if c.direct {
			if v < 0 || v >= 1<<61 {
				return 0, c.rangeError(text(), v < 0)
			}
			return v, nil
		}
		return c.fromFloat(float64(v)/math.Pow10(scale), unit)
	case unitFactor:
		return c.fromFloat(float64(v)/math.Pow10(scale), unit)
	}
	digits := 3
	if unit == unitNS {
		digits = 9
	}
	lost := false
	for ; scale > digits; scale-- { // half away from zero, as in CSV
		lost = lost || v != 0
		if rest := v % 10; scale == digits+1 && (rest >= 5 || rest <= -5) {
			v += 10 * (rest / max(rest, -rest))
		}
		v /= 10
	}
	if f := pow10[digits-scale]; v > (1<<61)/f || v < -(1<<61)/f {
		return 0, c.rangeError(text(), false)
	} else {
		v *= f
	}
	return c.inRange(v, lost, unit, text)
}

// fromFloat converts a number in the unit of CSV.
func (c *parquetColumn) fromFloat(f float64, unit int) (int64, error) {
	text := func() string { return strconv.FormatFloat(f, 'g', -1, 64) }
	var scaled float64
	switch unit {
	case unitFactor:
		if !(f >= 0 && f <= 1) {
			return 0, fmt.Errorf("%s is not a number in 0..1", text())
		}
		return int64(math.Float64bits(f + 0)), nil // + 0: -0 is 0
	case unitNS:
		scaled = math.Round(f * 1e9)
	case unitBytes:
		if scaled = math.Round(f * gib); !(scaled >= 0 && scaled < 1<<61) {
			return 0, c.rangeError(text(), f < 0)
		}
	default:
		scaled = math.Round(f * 1000)
	}
	if !(math.Abs(scaled) <= 1<<61) {
		return 0, c.rangeError(text(), f < 0)
	}
	return c.inRange(int64(scaled), f != 0, unit, text)
}

// inRange checks a number in ns or thousandths. given: it was not 0 before it was rounded.
func (c *parquetColumn) inRange(v int64, given bool, unit int, text func() string) (int64, error) {
	switch {
	case unit == unitNS && v < 0 && c.col != colSubmit:
		return 0, c.rangeError(text(), true)
	case unit == unitCount:
		if v%1000 != 0 || v/1000 > math.MaxInt32 || v/1000 < math.MinInt32 {
			if v%1000 == 0 {
				return 0, numberError([]byte(text()), math.MaxInt32)
			}
			return 0, fmt.Errorf("%s is not a whole number", text())
		}
		v /= 1000
	case c.col == colCPU && v == 0 && given:
		v = 1 // less than half a milli-CPU is still something
	case c.col == colGPUs:
		switch {
		case v < 0:
			return 0, c.rangeError(text(), true)
		case v > 1000 && v%1000 != 0 || v/1000 > math.MaxInt32 || v == 0 && given:
			return 0, fmt.Errorf("%s is neither whole nor a share from 0.001 to 1", text())
		}
	}
	return v, nil
}

// cell returns the text of row i of the batch; buf is for integers.
func (c *parquetColumn) cell(i int, buf []byte) []byte {
	if c == nil {
		return nil
	}
	if c.spans != nil {
		return c.text[c.spans[i].from:c.spans[i].to]
	}
	if c.ints[i] == null {
		return nil
	}
	return strconv.AppendInt(buf[:0], c.ints[i], 10)
}

// code returns a word for the cell of row i, equal where the cells are.
func (c *parquetColumn) code(i int) uint64 {
	s := c.spans[i]
	return uint64(c.intern.bytesID(c.text[s.from:s.to]))
}

// batch adds n rows.
func (p *parquetFile) batch(g, n int) error {
	done, err := p.classifyCoded(g, n)
	if err != nil {
		return err
	}
	if !done {
		for j, c := range p.common {
			if c.coded {
				c.look(0, n)
			}
			p.words(c, j, 0, n)
		}
		if err := p.classify(g, n); err != nil {
			return err
		}
	}
	id, job := p.of[colID], p.of[colJob]
	numbers := id != nil && id.spans == nil
	var submits, runs, estimates []int64
	if c := p.of[colSubmit]; c != nil {
		submits = c.ints
	}
	if c := p.of[colRun]; c != nil {
		runs = c.ints
	}
	if c := p.of[colEstimate]; c != nil {
		estimates = c.ints
	}
	b := p.b
	if job == nil && (id == nil || numbers) && submits != nil && runs != nil && len(p.rare) == 0 {
		var given []int64
		if id != nil {
			given = id.ints[:n]
		}
		var est []int64
		if estimates != nil {
			est = estimates[:n]
		}
		if b.pushAll(submits[:n], runs[:n], est, given, p.class[:n]) {
			return nil
		}
	}
	for i := range n {
		submit, run, est := int64(0), int64(null), int64(-1)
		if submits != nil && submits[i] != null {
			submit = submits[i]
		}
		if runs != nil {
			run = runs[i]
		}
		if estimates != nil && estimates[i] != null {
			est = estimates[i]
		}
		few := run == null
		for _, c := range p.rare {
			few = few || c.given(i)
		}
		if few {
			if err := p.fewer(g, i, run); err != nil {
				return err
			}
			run = int64(p.r.Run)
		}
		var name []byte
		switch {
		case numbers && b.ids.end == nil && id.ints[i] == int64(len(b.tasks))+1: // nameless: it counts
		default:
			name = trim(id.cell(i, p.idBuf[:0]))
		}
		if err := b.push(sched.Time(submit), time.Duration(run), time.Duration(est), p.class[i], name, trim(job.cell(i, p.jobBuf[:0])), len(b.tasks)+1); err != nil {
			return p.inGroup(g, err)
		}
		if few {
			if err := b.extras(&p.r); err != nil {
				return p.inGroup(g, err)
			}
		}
	}
	return nil
}

// words fills in word j of the keys of rows from..to with the cells of c.
func (p *parquetFile) words(c *parquetColumn, j, from, to int) {
	k := len(p.common)
	keys := p.keys[from*k+j:]
	switch {
	case c.spans == nil || c.number:
		for i, v := range c.ints[from:to] {
			keys[i*k] = uint64(v)
		}
	case c.enc == format.RLEDictionary && !c.some:
		for i, d := range c.index[from:to] {
			if c.dictCode[d] == 0 {
				c.dictCode[d] = c.code(from+i) + 1
			}
			keys[i*k] = c.dictCode[d]
		}
	default:
		for i := from; i < to; i++ {
			keys[(i-from)*k] = c.code(i) + 1
		}
	}
}

// classifyCoded finds the classes of a batch by the indexes into the dictionaries, if all cells have one and few combinations are possible.
func (p *parquetFile) classifyCoded(g, n int) (bool, error) {
	combinations := 1
	for _, c := range p.common {
		if !c.coded || c.dictCount > 1<<16/combinations {
			return false, nil
		}
		combinations *= c.dictCount
	}
	if len(p.dense) == 0 { // a new row group
		p.dense = slices.Grow(p.dense, combinations)[:combinations]
		clear(p.dense)
	}
	joint := p.joint[:n]
	first := true
	for _, c := range p.common {
		switch count := uint32(c.dictCount); {
		case count == 1:
		case first:
			copy(joint, c.index)
			first = false
		default:
			for i, d := range c.index[:n] {
				joint[i] = joint[i]*count + d
			}
		}
	}
	if first {
		clear(joint)
	}
	k := len(p.common)
	for i, x := range joint {
		class := p.dense[x]
		if class == 0 {
			for j, c := range p.common {
				c.look(i, i+1)
				p.words(c, j, i, i+1)
			}
			var err error
			if class, err = p.lookUp(g, i, p.keys[i*k:i*k+k]); err != nil {
				return false, err
			}
			class++
			p.dense[x] = class
		}
		p.class[i] = class - 1
	}
	return true, nil
}

// inGroup adds the row group to the Builder's error, which names the row.
func (p *parquetFile) inGroup(g int, err error) error { return fmt.Errorf("%w (row group %d)", err, g) }

// given reports whether row i has a cell.
func (c *parquetColumn) given(i int) bool {
	if c.spans != nil && !c.number {
		return c.spans[i].from < c.spans[i].to
	}
	return c.ints[i] != null && (c.ints[i] != 0 || !c.number)
}

// fewer reads what few rows have into p.r.
func (p *parquetFile) fewer(g, i int, run int64) error {
	p.r = Row{Line: p.b.Len() + 1, After: p.r.After[:0]}
	for _, c := range p.rare {
		if !c.given(i) {
			continue
		}
		if err := p.set(c, i, func() uint64 { return uint64(c.ints[i]) }); err != nil {
			return p.badCell(g, c, err)
		}
	}
	p.r.Run = time.Duration(max(run, 0))
	if err := settle(&p.r, run != null); err != nil {
		return p.inGroup(g, p.b.Errorf(p.r.Line, "%w", err))
	}
	return nil
}

// badCell places the error of a cell of the row in p.r.
func (p *parquetFile) badCell(g int, c *parquetColumn, err error) error {
	p.place = fmt.Sprintf("row group %d, column %s, row %d: ", g, c.name, p.r.Line)
	return p.errorf("%w", err)
}

// set puts the cell of row i into p.r.
func (p *parquetFile) set(c *parquetColumn, i int, word func() uint64) error {
	r := &p.r
	if !c.number {
		return setColumn(r, c.col, c.cell(i, p.idBuf[:0]))
	}
	v := int64(word())
	if v == null {
		return nil
	}
	switch c.col {
	case colCPU:
		r.Need.CPU = v
	case colMem:
		r.Need.Mem = v
	case colGPUMem:
		r.Need.VRAM = v
	case colGPUs:
		if r.Need.GPUs = int32(v / 1000); v > 0 && v < sched.Whole {
			r.Need.GPUs, r.Need.GPUMilli = 1, int32(v)
		}
	case colGang:
		r.Gang = int32(v)
	case colPriority:
		r.Priority = int32(v)
	case colRetries:
		r.Retries = int32(v)
	case colCriticality:
		r.Criticality = math.Float64frombits(uint64(v))
	case colDeadline:
		r.Deadline = time.Duration(v)
	case colPeriod:
		r.Period = time.Duration(v)
	case colBackoff:
		r.Backoff = time.Duration(v)
	case colInput:
		r.InputBytes = v
	case colOutput:
		r.OutputBytes = v
	case colMemUsed:
		r.UsedMem = v
	case colGPUMemUsed:
		r.UsedVRAM = v
	}
	return nil
}

// classify finds the classes of a batch by the words of its keys.
func (p *parquetFile) classify(g, n int) error {
	k := len(p.common)
	for i := range n {
		key := p.keys[i*k : i*k+k]
		h := uint64(0)
		for _, w := range key {
			h = (h ^ w) * 0x9e3779b97f4a7c15
			h ^= h >> 29
		}
		at := int(h>>7) & (len(p.near) - 1)
		known := p.nearKeys[at*k : at*k+k]
		near := &p.near[at]
		same := *near > 0
		for j := range known {
			same = same && known[j] == key[j]
		}
		if same {
			p.class[i] = *near - 1
			continue
		}
		class, err := p.lookUp(g, i, key)
		if err != nil {
			return err
		}
		p.class[i], *near = class, class+1
		copy(known, key)
	}
	return nil
}

func (p *parquetFile) lookUp(g, i int, key []uint64) (sched.ClassID, error) {
	p.key = p.key[:0]
	for _, w := range key {
		p.key = binary.LittleEndian.AppendUint64(p.key, w)
	}
	if class, ok := p.classes[string(p.key)]; ok {
		return class, nil
	}
	p.r = Row{Line: p.b.Len() + 1 + i}
	for j, c := range p.common {
		if err := p.set(c, i, func() uint64 { return key[j] }); err != nil {
			return 0, p.badCell(g, c, err)
		}
	}
	class, err := p.b.class(&p.r)
	if err != nil {
		return 0, p.inGroup(g, err)
	}
	if len(p.classes) < maxCached {
		p.classes[string(p.key)] = class
	}
	return class, nil
}
