package traces

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

var (
	errLong  = errors.New("the line is longer than 1 MiB")
	errQuote = errors.New("a quote that is not closed, or text after a closing quote")
)

// lines reads lines by hand in chunks. A line is valid until the next call.
type lines struct {
	r    io.Reader
	buf  []byte
	from int // start of what is unread
	to   int // end of it
	err  error
	line int   // number of the line returned last
	read int64 // bytes handed out

	start, end int // of the line returned last
	plain      int // there is no quote between the line returned last and here
}

// Around what a buffer holds, so many bytes can be looked at, whatever they are: a quick reader need not ask whether the eight bytes that end with
// a cell, or a block that begins with it, are there.
const (
	marginBefore = 16
	marginAfter  = 256
)

// The buffer is larger than those below it, so that reads go past them.
func newLines(r io.Reader) *lines {
	return &lines{r: r, buf: make([]byte, 4*headSize), from: marginBefore, to: marginBefore}
}

// quoted reports whether there is a quote in the line returned last. It looks far ahead at once: most files have none.
func (l *lines) quoted() bool {
	if l.plain < l.end {
		from := max(l.plain, l.start)
		if i := bytes.IndexByte(l.buf[from:l.to], '"'); i >= 0 {
			l.plain = from + i
		} else {
			l.plain = l.to
		}
	}
	return l.plain < l.end
}

// next returns the next line without its end (\n or \r\n). The error is io.EOF after the last one.
func (l *lines) next() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(l.buf[l.from+seen:l.to], '\n'); i >= 0 {
			end := l.from + seen + i
			s := l.buf[l.from:end:end]
			l.start, l.end = l.from, end
			l.read += int64(end + 1 - l.from)
			l.from = end + 1
			if n := len(s); n > 0 && n <= maxLine && l.line > 0 { // the usual
				if l.line++; s[n-1] == '\r' {
					s = s[:n-1]
				}
				return s, nil
			}
			return l.finish(s)
		}
		seen = l.to - l.from
		if l.err != nil {
			if seen == 0 || l.err != io.EOF {
				return nil, l.err
			}
			s := l.buf[l.from:l.to]
			l.start, l.end = l.from, l.to
			l.from = l.to
			l.read += int64(len(s))
			return l.finish(s)
		}
		if seen > maxLine {
			l.line++
			return nil, errLong
		}
		l.fill()
	}
}

func (l *lines) finish(s []byte) ([]byte, error) {
	l.line++
	if len(s) > maxLine {
		return nil, errLong
	}
	if l.line == 1 {
		s = bytes.TrimPrefix(s, []byte("\xef\xbb\xbf"))
		l.start = l.end - len(s)
	}
	if n := len(s); n > 0 && s[n-1] == '\r' {
		s = s[:n-1]
	}
	return s, nil
}

func (l *lines) fill() {
	if by := l.from - marginBefore; by > 0 {
		copy(l.buf[marginBefore:], l.buf[l.from:l.to])
		l.to -= by
		l.plain -= by
		l.from = marginBefore
	}
	if l.to == len(l.buf)-marginAfter {
		bigger := make([]byte, 2*len(l.buf))
		copy(bigger, l.buf[:l.to])
		l.buf = bigger
	}
	for range 100 {
		n, err := l.r.Read(l.buf[l.to : len(l.buf)-marginAfter])
		l.to += n
		if l.err = err; n > 0 || err != nil {
			return
		}
	}
	l.err = io.ErrNoProgress
}

// records reads CSV after RFC 4180: a record without a quote is split by hand, any other goes the slow way. Cells are valid until
// the next call. Empty lines are skipped.
type records struct {
	lines
	row   []byte // the record, quotes taken off
	spans []span // of its cells; offsets, since slices would cost a write barrier each while the collector runs
	line  int    // where the record returned last begins
	joint []byte

	unquoted bool // the record had quotes, which were taken off: a cell may hold commas and line ends
}

type span struct{ from, to int32 }

func newRecords(r io.Reader) *records { return &records{lines: *newLines(r)} }

// cell returns cell i of the record.
func (c *records) cell(i int) []byte { return c.row[c.spans[i].from:c.spans[i].to] }

func (c *records) next() error {
	for {
		s, err := c.lines.next()
		c.line = c.lines.line
		if err != nil {
			return err
		}
		if len(s) == 0 {
			continue
		}
		if c.unquoted = c.lines.quoted(); c.unquoted {
			c.spans = c.spans[:0]
			return c.quoted(s)
		}
		c.row = s
		c.split(s)
		return nil
	}
}

// split finds the cells of a line without quotes. It makes a bit for each comma of 64 bytes and then takes the bits, since loops whose number of
// rounds is that of the row before are what a processor foresees. Bytes after the line are looked at, too, and left out.
func (c *records) split(s []byte) {
	spans := c.spans[:0]
	from := int32(0)
	buf := c.buf[c.start:]
	for base := 0; base < len(s); base += 64 {
		p := (*[64]byte)(buf[base:])
		set := commaBits(p[:8]) | commaBits(p[8:16])<<8 | commaBits(p[16:24])<<16 | commaBits(p[24:32])<<24 |
			commaBits(p[32:40])<<32 | commaBits(p[40:48])<<40 | commaBits(p[48:56])<<48 | commaBits(p[56:])<<56
		if rest := len(s) - base; rest < 64 {
			set &= 1<<rest - 1
		}
		for ; set != 0; set &= set - 1 {
			i := int32(base + bits.TrailingZeros64(set))
			spans = append(spans, span{from, i})
			from = i + 1
		}
	}
	c.spans = append(spans, span{from, int32(len(s))})
}

// commaBits has bit i set if s[i] is a comma, of eight bytes.
func commaBits(s []byte) uint64 {
	const commas = ',' * ones
	x := binary.LittleEndian.Uint64(s) ^ commas // a comma is a zero byte now
	zero := ^((x&low + low) | x | low)
	return (zero >> 7) * 0x0102040810204080 >> 56
}

// trim is bytes.TrimSpace, quick where there is nothing to trim.
func trim(s []byte) []byte {
	if len(s) == 0 || s[0]-'!' <= '~'-'!' && s[len(s)-1]-'!' <= '~'-'!' {
		return s
	}
	return bytes.TrimSpace(s)
}

// quoted splits a record with quotes, which may hold commas, doubled quotes and line ends. A quote inside an unquoted cell is text.
func (c *records) quoted(s []byte) error {
	buf := c.joint[:0]
	for {
		from := int32(len(buf))
		if len(s) == 0 || s[0] != '"' {
			i := bytes.IndexByte(s, ',')
			if i < 0 {
				buf = append(buf, s...)
				c.spans = append(c.spans, span{from, int32(len(buf))})
				break
			}
			buf = append(buf, s[:i]...)
			c.spans = append(c.spans, span{from, int32(len(buf))})
			s = s[i+1:]
			continue
		}
		s = s[1:]
		for {
			i := bytes.IndexByte(s, '"')
			if i < 0 { // the cell goes on in the next line
				buf = append(append(buf, s...), '\n')
				if len(buf) > maxLine {
					return errLong
				}
				next, err := c.lines.next()
				if err == io.EOF {
					return errQuote
				}
				if err != nil {
					return err
				}
				s = next
				continue
			}
			buf = append(buf, s[:i]...)
			s = s[i+1:]
			if len(s) == 0 || s[0] != '"' {
				break
			}
			buf = append(buf, '"')
			s = s[1:]
		}
		c.spans = append(c.spans, span{from, int32(len(buf))})
		if len(s) == 0 {
			break
		}
		if s[0] != ',' {
			return errQuote
		}
		s = s[1:]
	}
	c.row, c.joint = buf, buf
	return nil
}

// sheet is a CSV file with a header, read by column name.
type sheet struct {
	*records
	b    *Builder
	head []string
	col  map[string]int
}

// newSheet reads the header. Columns named in need must be there.
func newSheet(r io.Reader, b *Builder, need ...string) (*sheet, error) {
	s := &sheet{records: newRecords(r), b: b, col: map[string]int{}}
	if err := s.records.next(); err != nil {
		return nil, b.Errorf(s.line, "header: %w", orEmpty(err))
	}
	for i := range s.spans {
		name := string(bytes.TrimSpace(s.cell(i)))
		if _, ok := s.col[name]; ok {
			return nil, b.Errorf(s.line, "column %q stands twice", clip(name))
		}
		s.col[name] = i
		s.head = append(s.head, name)
	}
	for _, name := range need {
		if _, ok := s.col[name]; !ok {
			return nil, b.Errorf(s.line, "no column %q", name)
		}
	}
	return s, nil
}

// next reads a row; false at the end.
func (s *sheet) next() (bool, error) {
	err := s.records.next()
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, s.b.Errorf(s.line, "%w", err)
	}
	if len(s.spans) != len(s.head) {
		return false, s.b.Errorf(s.line, "%d cells in the row, %d in the header", len(s.spans), len(s.head))
	}
	return true, nil
}

// text returns a cell, "" if there is no such column.
func (s *sheet) text(name string) string {
	if i, ok := s.col[name]; ok {
		return string(bytes.TrimSpace(s.cell(i)))
	}
	return ""
}

// number returns a cell as an integer; empty is 0.
func (s *sheet) number(name string) (int64, error) {
	t := s.text(name)
	if t == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(strings.TrimSuffix(t, ".0"), 10, 64)
	const most = 1 << 52
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, s.b.Errorf(s.line, "%s: %q is not a whole number", name, clip(t))
	case err != nil || v > most || v < -most:
		return 0, s.b.Errorf(s.line, "%s: %w", name, numberError([]byte(t), most))
	}
	return v, nil
}

// count is number, refusing negative ones and those beyond limit.
func (s *sheet) count(name, of string, limit int64) (int64, error) {
	v, err := s.number(name)
	switch {
	case err != nil:
		return 0, err
	case v < 0:
		return 0, s.b.Errorf(s.line, "negative %s", of)
	case v > limit:
		return 0, s.b.Errorf(s.line, "%s %d is beyond %d", of, v, limit)
	}
	return v, nil
}

// seconds returns a cell of seconds in ns.
func (s *sheet) seconds(name string) (int64, error) { return s.fixed(name, 9) }

// fixed returns a cell times 10^digits; 0 if there is no such column.
func (s *sheet) fixed(name string, digits int) (int64, error) {
	i, ok := s.col[name]
	if !ok {
		return 0, nil
	}
	v, err := parseFixed(bytes.TrimSpace(s.cell(i)), digits)
	if err != nil {
		return 0, s.b.Errorf(s.line, "%s: %w", name, err)
	}
	return v, nil
}

func orEmpty(err error) error {
	if err == io.EOF {
		return errors.New("the file is empty")
	}
	return err
}

// clip shortens text from a file for an error.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// numberError says that text is not a number, or one further from 0 than most.
func numberError(text []byte, most int64) error {
	f, err := strconv.ParseFloat(string(text), 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax) || math.IsNaN(f) || bytes.ContainsAny(text, "_xXpP"):
		return fmt.Errorf("%q is not a number", clip(string(text)))
	case f < 0:
		return fmt.Errorf("%q is below -%d", clip(string(text)), most)
	}
	return fmt.Errorf("%q is beyond %d", clip(string(text)), most)
}

var pow10 = [...]int64{1, 10, 100, 1000, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// parseFixed returns the decimal number s times 10^digits, rounded half away from zero. Plain decimals are exact; exponents go by
// way of float64. It refuses NaN, infinities and what exceeds 2^61.
func parseFixed(s []byte, digits int) (int64, error) {
	t, negative := s, false
	if len(t) > 0 && (t[0] == '-' || t[0] == '+') {
		negative = t[0] == '-'
		t = t[1:]
	}
	v, i := int64(0), 0
	for ; i < len(t) && t[i]-'0' <= 9; i++ {
		if v > (1<<61)/10 {
			return 0, numberError(s, (1<<61)/pow10[digits])
		}
		v = v*10 + int64(t[i]-'0')
	}
	whole := i
	left := digits
	if i < len(t) && t[i] == '.' {
		i++
		whole--
		for ; i < len(t) && t[i]-'0' <= 9; i++ {
			if left == 0 {
				if t[i] >= '5' {
					v++
				}
				for i++; i < len(t) && t[i]-'0' <= 9; i++ {
				}
				break
			}
			if v > (1<<61)/10 {
				return 0, numberError(s, (1<<61)/pow10[digits])
			}
			v = v*10 + int64(t[i]-'0')
			left--
		}
	}
	if i < len(t) || whole+i == 0 || len(t) == 1 && t[0] == '.' {
		return parseFloatFixed(s, digits)
	}
	if v > (1<<61)/pow10[left] {
		return 0, numberError(s, (1<<61)/pow10[digits])
	}
	v *= pow10[left]
	if negative {
		v = -v
	}
	return v, nil
}

func parseFloatFixed(s []byte, digits int) (int64, error) {
	if bytes.IndexByte(s, '_') >= 0 || bytes.ContainsAny(s, "xXpP") {
		return 0, numberError(s, (1<<61)/pow10[digits])
	}
	f, err := strconv.ParseFloat(string(s), 64)
	f = math.Round(f * float64(pow10[digits]))
	if err != nil || !(math.Abs(f) <= 1<<61) {
		return 0, numberError(s, (1<<61)/pow10[digits])
	}
	return int64(f), nil
}

// appendFixed appends v / 10^digits in decimal, exactly and without trailing zeros.
func appendFixed(dst []byte, v int64, digits int) []byte {
	if v < 0 {
		dst = append(dst, '-')
	}
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	p := uint64(pow10[digits])
	dst = strconv.AppendUint(dst, u/p, 10)
	rest := u % p
	if rest == 0 {
		return dst
	}
	dst = append(dst, '.')
	for p /= 10; rest > 0; p /= 10 {
		dst = append(dst, byte('0'+rest/p))
		rest %= p
	}
	return dst
}

// gib is the GB of the native formats.
const gib = 1 << 30

// parseGiB returns the bytes of a number of GiB.
func parseGiB(s []byte) (int64, error) {
	f, err := strconv.ParseFloat(string(s), 64)
	f = math.Round(f * gib)
	switch {
	case err == nil && f < 0:
		return 0, fmt.Errorf("%s is negative", clip(string(s)))
	case err != nil || !(f < 1<<61):
		return 0, numberError(s, (1<<61)/gib)
	}
	return int64(f), nil
}

// appendGiB appends bytes in GiB: exact below 2^53 bytes, since a float64 divided by a power of two stays exact.
func appendGiB(dst []byte, bytes int64) []byte {
	return strconv.AppendFloat(dst, float64(bytes)/gib, 'f', -1, 64)
}

// parseToleration reads KEY=VALUE:Effect, KEY:Effect (the key exists), KEY; the key * is any.
func parseToleration(s string) (sched.Toleration, bool) {
	t := sched.Toleration{}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		s, t.Effect = s[:i], s[i+1:]
	}
	var hasValue bool
	t.Key, t.Value, hasValue = strings.Cut(s, "=")
	t.Exists = !hasValue
	if t.Key == "*" && t.Exists {
		t.Key = ""
	} else if t.Key == "" && t.Exists {
		return t, false
	}
	switch t.Effect {
	case "", "NoSchedule", "NoExecute", "PreferNoSchedule":
		return t, true
	}
	return t, false
}

func tolerationText(t sched.Toleration) string {
	s := t.Key
	if t.Exists && s == "" {
		s = "*"
	}
	if !t.Exists {
		s += "=" + t.Value
	}
	if t.Effect != "" || strings.Contains(s, ":") {
		s += ":" + t.Effect
	}
	return s
}

// parseCost reads NAME=SECONDS; the name may hold a = and a /. One that reads as an item with another behind it, as in A100=12/V100=20, is not meant as a
// name: without an error the first would be lost, and no node would have the second.
func parseCost(s string) (sched.CostOn, error) {
	i := strings.LastIndexByte(s, '=')
	if i <= 0 {
		return sched.CostOn{}, errors.New(strconv.Quote(clip(s)) + " is not NAME=SECONDS")
	}
	if _, rest, ok := strings.Cut(s[:i], "="); ok {
		if end := strings.IndexAny(rest, "/,| "); end > 0 {
			if _, err := parseFixed([]byte(rest[:end]), 9); err == nil {
				return sched.CostOn{}, errors.New(strconv.Quote(clip(s)) + " is more than one NAME=SECONDS: part them with ;")
			}
		}
	}
	ns, err := parseFixed([]byte(strings.TrimSpace(s[i+1:])), 9)
	if err != nil {
		return sched.CostOn{}, err
	}
	return sched.CostOn{On: strings.TrimSpace(s[:i]), Run: time.Duration(ns)}, nil
}

// wide gives a job of n GPUs a shape that can span nodes: above 8 a gang of replicas of 8, 4, 2 or 1 GPUs, whichever first divides n.
func wide(r *Row, n int64) {
	per := n
	if n > 8 {
		per = 8
		for n%per != 0 {
			per /= 2
		}
	}
	r.Need.GPUs, r.Gang = int32(per), 1
	if per > 0 {
		r.Gang = int32(n / per)
	}
}
