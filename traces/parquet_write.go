package traces

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"strings"

	"github.com/klauspost/compress/snappy"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/schedlab/schedlab/policies/sched"
)

const (
	groupRows = 1 << 17 // rows of a row group
	pageRows  = 1 << 15 // and of a page
	maxDict   = 1 << 12 // values of a dictionary
	decimal18 = 1_000_000_000_000_000_000
)

// columnWriter gathers the cells of a row group and writes them as a column chunk.
type columnWriter struct {
	col      int
	name     string
	kind     format.Type // Int32, Int64, Double or ByteArray
	scale    int         // of a DECIMAL of seconds: digits written; -1 = none
	optional bool

	ints     []int64 // numbers, or the bits of doubles
	text     []byte
	ends     []int  // of the texts
	present  []bool // where optional
	dictPage []byte
	rows     int
}

// writeParquet writes the columns in use, rows in input order.
func writeParquet(out io.Writer, wl *Workload) error {
	s := newShape(wl)
	cols, err := planColumns(wl, s)
	if err != nil {
		return err
	}
	w := &parquetWriter{out: bufio.NewWriterSize(out, 256<<10)}
	if err := w.write([]byte(pqMagic)); err != nil {
		return err
	}
	meta := format.FileMetaData{Version: 2, NumRows: int64(wl.Len()), CreatedBy: "schedlab", RowGroups: thrift.Slice[format.RowGroup]{}}
	meta.Schema = append(meta.Schema, format.SchemaElement{Name: "schema", NumChildren: thrift.New(int32(len(cols)))})
	for _, c := range cols {
		meta.Schema = append(meta.Schema, c.element())
	}
	flush := func() error {
		if cols[0].rows == 0 {
			return nil
		}
		g := format.RowGroup{NumRows: int64(cols[0].rows), Ordinal: int16(min(len(meta.RowGroups), math.MaxInt16)), FileOffset: w.at}
		for _, c := range cols {
			chunk, err := w.chunk(c)
			if err != nil {
				return err
			}
			g.Columns = append(g.Columns, chunk)
			g.TotalByteSize += chunk.MetaData.TotalUncompressedSize
			g.TotalCompressedSize += chunk.MetaData.TotalCompressedSize
			c.reset()
		}
		meta.RowGroups = append(meta.RowGroups, g)
		return nil
	}
	var r Row
	err = inInputOrder(wl, func(t sched.TaskID) error {
		s.row(t, &r)
		for _, c := range cols {
			if err := c.add(&r); err != nil {
				return fmt.Errorf("task %s: %s: %w", r.ID, c.name, err)
			}
		}
		if cols[0].rows == groupRows {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	foot, err := thrift.Marshal(&pqProtocol, &meta)
	if err != nil {
		return err
	}
	foot = binary.LittleEndian.AppendUint32(foot, uint32(len(foot)))
	if err := w.write(append(foot, pqMagic...)); err != nil {
		return err
	}
	return w.out.Flush()
}

// planColumns chooses how each column is written, which takes a look at every task.
func planColumns(wl *Workload, s *shape) ([]*columnWriter, error) {
	var cols []*columnWriter
	for _, col := range writeOrder {
		if !s.used[col] {
			continue
		}
		c := &columnWriter{col: col, name: columnNames[col], kind: format.ByteArray, scale: -1}
		switch unitOf(col) {
		case unitNS:
			c.kind, c.scale = format.Int64, 0
		case unitCount:
			c.kind = format.Int32
		case unitMilli, unitBytes, unitFactor:
			c.kind = format.Double
		case unitText:
			if col == colID || col == colJob {
				c.kind = format.Int64 // unless a text turns up
			}
		}
		cols = append(cols, c)
	}
	var r Row
	largest := make([]int64, len(cols))
	var buf []byte
	for t := range wl.Tasks {
		s.row(sched.TaskID(t), &r)
		for i, c := range cols {
			switch {
			case c.scale >= 0:
				ns, given := secondsOf(&r, c.col)
				if !given {
					c.optional = true
					continue
				}
				for c.scale < 9 && ns%pow10[9-c.scale] != 0 {
					c.scale++
				}
				largest[i] = max(largest[i], ns, -ns)
			case (c.col == colID || c.col == colJob) && c.kind == format.Int64:
				text, _ := textOf(&r, c.col)
				if text == "" && c.col == colJob {
					c.optional = true
					continue
				}
				buf = append(buf[:0], text...)
				if _, ok := canonical(buf); !ok {
					c.kind, c.optional = format.ByteArray, false
				}
			}
		}
	}
	for i, c := range cols {
		if c.scale >= 0 && largest[i]/pow10[9-c.scale] >= decimal18 {
			c.name, c.scale = strings.TrimSuffix(c.name, "_s")+"_ns", -1
		}
	}
	return cols, nil
}

// secondsOf returns a column of times in ns; false for a missing estimate.
func secondsOf(r *Row, col int) (int64, bool) {
	switch col {
	case colSubmit:
		return int64(r.Submit), true
	case colRun:
		return int64(r.Run), true
	case colEstimate:
		return int64(r.Estimate), r.Estimate >= 0
	case colDeadline:
		return int64(r.Deadline), true
	case colPeriod:
		return int64(r.Period), true
	case colBackoff:
		return int64(r.Backoff), true
	}
	return 0, false
}

// numberOf returns the value of another column of numbers.
func numberOf(r *Row, col int) (count int64, real float64) {
	switch col {
	case colCPU:
		real = float64(r.Need.CPU) / 1000
	case colGPUs:
		real = float64(int64(r.Need.GPUs)*int64(r.Need.GPUMilli)) / 1000
	case colMem:
		real = float64(r.Need.Mem) / gib
	case colGPUMem:
		real = float64(r.Need.VRAM) / gib
	case colMemUsed:
		real = float64(r.UsedMem) / gib
	case colGPUMemUsed:
		real = float64(r.UsedVRAM) / gib
	case colInput:
		real = float64(r.InputBytes) / gib
	case colOutput:
		real = float64(r.OutputBytes) / gib
	case colCriticality:
		real = r.Criticality
	case colGang:
		count = int64(r.Gang)
	case colPriority:
		count = int64(r.Priority)
	case colRetries:
		count = int64(r.Retries)
	}
	return count, real
}

func (c *columnWriter) element() format.SchemaElement {
	e := format.SchemaElement{Name: c.name, Type: thrift.New(c.kind), RepetitionType: thrift.New(format.Required)}
	if c.optional {
		e.RepetitionType.V = format.Optional
	}
	switch {
	case c.scale >= 0:
		e.LogicalType.Value = &format.DecimalType{Scale: int32(c.scale), Precision: 18}
		e.ConvertedType, e.Scale, e.Precision = thrift.New(deprecated.Decimal), thrift.New(int32(c.scale)), thrift.New(int32(18))
	case c.kind == format.ByteArray:
		e.LogicalType.Value = &format.StringType{}
		e.ConvertedType = thrift.New(deprecated.UTF8)
	}
	return e
}

// add takes the cell of a row.
func (c *columnWriter) add(r *Row) error {
	c.rows++
	present := true
	switch unit := unitOf(c.col); {
	case unit == unitNS:
		ns, given := secondsOf(r, c.col)
		if present = given; given && c.scale >= 0 {
			ns /= pow10[9-c.scale]
		}
		if given {
			c.ints = append(c.ints, ns)
		}
	case unit != unitText:
		count, real := numberOf(r, c.col)
		if c.kind == format.Double {
			count = int64(math.Float64bits(real))
		}
		c.ints = append(c.ints, count)
	default:
		text, ok := textOf(r, c.col)
		if !ok {
			var err error
			if text, err = joinList(listOf(r, c.col), c.col); err != nil {
				return err
			}
		}
		if c.col == colID && text == "" {
			return fmt.Errorf("no id")
		}
		if c.kind == format.Int64 {
			if present = text != ""; present {
				v, _ := canonical([]byte(text))
				c.ints = append(c.ints, int64(v))
			}
			break
		}
		c.text = append(c.text, text...)
		c.ends = append(c.ends, len(c.text))
	}
	if c.optional {
		c.present = append(c.present, present)
	}
	return nil
}

// joinList returns the items of a list as one cell.
func joinList(items []string, col int) (string, error) {
	for _, item := range items {
		if strings.Contains(item, ";") || col == colGPUTypes && strings.Contains(item, "|") || item != strings.TrimSpace(item) {
			return "", fmt.Errorf("%q cannot stand in a list of one text; write jsonl", clip(item))
		}
	}
	return strings.Join(items, ";"), nil
}

func (c *columnWriter) reset() {
	c.ints, c.text, c.ends, c.present, c.rows = c.ints[:0], c.text[:0], c.ends[:0], c.present[:0], 0
}

type parquetWriter struct {
	out    *bufio.Writer
	at     int64
	buf    []byte
	packed []byte
}

func (w *parquetWriter) write(b []byte) error {
	n, err := w.out.Write(b)
	w.at += int64(n)
	return err
}

// chunk writes the column chunk of c.
func (w *parquetWriter) chunk(c *columnWriter) (format.ColumnChunk, error) {
	values := len(c.ints)
	if c.kind == format.ByteArray {
		values = len(c.ends)
	}
	m := format.ColumnMetaData{
		Type: c.kind, PathInSchema: thrift.Slice[string]{c.name}, Codec: format.Snappy, NumValues: int64(c.rows),
		Encoding: thrift.Slice[format.Encoding]{format.RLE},
	}
	start := w.at
	index, dict := c.dictionary(values)
	var enc format.Encoding
	switch {
	case index != nil:
		enc = format.RLEDictionary
		m.DictionaryPageOffset = w.at
		m.Encoding = append(m.Encoding, format.Plain)
		h := format.PageHeader{Type: format.DictionaryPage, DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(dict), Encoding: format.Plain})}
		w.packed = snappy.Encode(w.packed[:cap(w.packed)], c.dictPage)
		if err := w.page(&m, &h, nil, w.packed, len(c.dictPage)); err != nil {
			return format.ColumnChunk{}, err
		}
	case c.kind == format.ByteArray:
		enc = format.DeltaByteArray
	case c.kind == format.Double:
		enc = format.Plain
	default:
		enc = format.DeltaBinaryPacked
	}
	m.Encoding = append(m.Encoding, enc)
	m.DataPageOffset = w.at
	for row, value := 0, 0; row < c.rows; {
		rows := min(pageRows, c.rows-row)
		n := rows
		var levels []byte
		if c.optional {
			n = 0
			ones := make([]uint32, rows)
			for i, p := range c.present[row : row+rows] {
				if p {
					ones[i] = 1
					n++
				}
			}
			levels = appendHybrid(nil, ones, 1)
		}
		body := w.buf[:0]
		switch enc {
		case format.RLEDictionary:
			width := uint(max(1, bits.Len(uint(dict-1))))
			body = appendHybrid(append(body, byte(width)), index[value:value+n], width)
		case format.DeltaByteArray:
			body = appendDeltaTexts(body, c.text, c.ends, value, value+n)
		case format.Plain:
			for _, v := range c.ints[value : value+n] {
				body = binary.LittleEndian.AppendUint64(body, uint64(v))
			}
		default:
			body = appendDeltas(body, c.ints[value:value+n], c.kind == format.Int32)
		}
		w.buf = body
		v2 := format.DataPageHeaderV2{
			NumValues: int32(rows), NumNulls: int32(rows - n), NumRows: int32(rows), Encoding: enc, DefinitionLevelsByteLength: int32(len(levels)),
			IsCompressed: thrift.New(true),
		}
		size := len(body)
		w.packed = snappy.Encode(w.packed[:cap(w.packed)], body)
		if len(w.packed) > size-size/10 { // not worth the time that it takes to read
			v2.IsCompressed.V = false
		} else {
			body = w.packed
		}
		h := format.PageHeader{Type: format.DataPageV2, DataPageHeaderV2: thrift.New(v2)}
		if err := w.page(&m, &h, levels, body, size); err != nil {
			return format.ColumnChunk{}, err
		}
		row += rows
		value += n
	}
	m.TotalCompressedSize = w.at - start
	return format.ColumnChunk{FileOffset: 0, MetaData: m}, nil
}

// page writes one page; size is that of the body unpacked.
func (w *parquetWriter) page(m *format.ColumnMetaData, h *format.PageHeader, levels, body []byte, size int) error {
	h.UncompressedPageSize, h.CompressedPageSize = int32(len(levels)+size), int32(len(levels)+len(body))
	h.CRC = int32(crc32.Update(crc32.ChecksumIEEE(levels), crc32.IEEETable, body))
	head, err := thrift.Marshal(&pqProtocol, h)
	if err != nil {
		return err
	}
	m.TotalUncompressedSize += int64(len(head) + len(levels) + size)
	for _, b := range [][]byte{head, levels, body} {
		if err := w.write(b); err != nil {
			return err
		}
	}
	return nil
}

// dictionary returns the index of each value, and their number, if they are few; nil otherwise. c.dictPage is then the dictionary's page.
func (c *columnWriter) dictionary(values int) (index []uint32, count int) {
	c.dictPage = c.dictPage[:0]
	index = make([]uint32, values)
	limit := min(maxDict, values/8+1)
	if c.kind == format.ByteArray {
		seen, from := map[string]uint32{}, 0
		for i, end := range c.ends {
			text := c.text[from:end]
			from = end
			k, ok := seen[string(text)]
			if !ok {
				if len(seen) == limit {
					return nil, 0
				}
				k = uint32(len(seen))
				seen[string(text)] = k
				c.dictPage = append(binary.LittleEndian.AppendUint32(c.dictPage, uint32(len(text))), text...)
			}
			index[i] = k
		}
		return index, len(seen)
	}
	seen := map[int64]uint32{}
	for i, v := range c.ints {
		k, ok := seen[v]
		if !ok {
			if len(seen) == limit {
				return nil, 0
			}
			k = uint32(len(seen))
			seen[v] = k
			if c.kind == format.Int32 {
				c.dictPage = binary.LittleEndian.AppendUint32(c.dictPage, uint32(v))
			} else {
				c.dictPage = binary.LittleEndian.AppendUint64(c.dictPage, uint64(v))
			}
		}
		index[i] = k
	}
	return index, len(seen)
}

// appendHybrid appends values as runs of equal ones and packed runs.
func appendHybrid(dst []byte, v []uint32, width uint) []byte {
	for at := 0; at < len(v); {
		same := 1
		for at+same < len(v) && v[at+same] == v[at] {
			same++
		}
		if same >= 8 {
			dst = binary.AppendUvarint(dst, uint64(same)<<1)
			for k := uint(0); k < width; k += 8 {
				dst = append(dst, byte(v[at]>>k))
			}
			at += same
			continue
		}
		// Groups of 8, up to where 8 equal ones stand in a group of their own.
		end := at
		for end < len(v) && end-at < 504 {
			group := v[end:min(end+8, len(v))]
			equal := len(group) == 8
			for _, x := range group {
				equal = equal && x == group[0]
			}
			if equal && end > at {
				break
			}
			end += 8
		}
		dst = append(dst, byte((end-at)/8)<<1|1)
		acc, held := uint64(0), uint(0)
		for i := at; i < end; i++ {
			if i < len(v) { // the last group is filled up with zeros
				acc |= uint64(v[i]) << held
			}
			for held += width; held >= 8; held -= 8 {
				dst = append(dst, byte(acc))
				acc >>= 8
			}
		}
		at = end
	}
	return dst
}

// appendDeltas appends values as DELTA_BINARY_PACKED, blocks of 128 in 4 miniblocks. The differences of 32-bit integers are of 32 bits.
func appendDeltas(dst []byte, v []int64, narrow bool) []byte {
	const block, minis = 128, 4
	dst = binary.AppendUvarint(dst, block)
	dst = binary.AppendUvarint(dst, minis)
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	first := int64(0)
	if len(v) > 0 {
		first = v[0]
	}
	dst = binary.AppendVarint(dst, first)
	for at := 1; at < len(v); at += block {
		var deltas [block]int64
		n := min(block, len(v)-at)
		least := int64(math.MaxInt64)
		for i := range n {
			if deltas[i] = v[at+i] - v[at+i-1]; narrow {
				deltas[i] = int64(int32(deltas[i]))
			}
			least = min(least, deltas[i])
		}
		dst = binary.AppendVarint(dst, least)
		widths := len(dst)
		dst = append(dst, make([]byte, minis)...)
		for k := range minis {
			mini := deltas[min(n, k*block/minis):min(n, (k+1)*block/minis)]
			if len(mini) == 0 {
				break
			}
			top := uint64(0)
			for _, d := range mini {
				top = max(top, uint64(d)-uint64(least))
			}
			width := bits.Len64(top)
			dst[widths+k] = byte(width)
			from := len(dst)
			dst = append(dst, make([]byte, block/minis*width/8+8)...)
			bit := 0
			for _, d := range mini {
				x := uint64(d) - uint64(least)
				p := dst[from+bit/8:]
				binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)|x<<(bit%8))
				if over := bit%8 + width - 64; over > 0 {
					p[8] |= byte(x >> (width - over))
				}
				bit += width
			}
			dst = dst[:len(dst)-8]
		}
	}
	return dst
}

// appendDeltaTexts appends texts from..to as DELTA_BYTE_ARRAY.
func appendDeltaTexts(dst, text []byte, ends []int, from, to int) []byte {
	prefixes, lengths := make([]int64, 0, to-from), make([]int64, 0, to-from)
	var tails, last []byte
	for i := from; i < to; i++ {
		start := 0
		if i > 0 {
			start = ends[i-1]
		}
		s := text[start:ends[i]]
		n := 0
		for n < len(s) && n < len(last) && s[n] == last[n] {
			n++
		}
		prefixes, lengths = append(prefixes, int64(n)), append(lengths, int64(len(s)-n))
		tails = append(tails, s[n:]...)
		last = s
	}
	dst = appendDeltas(dst, prefixes, true)
	dst = appendDeltas(dst, lengths, true)
	return append(dst, tails...)
}
