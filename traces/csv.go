package traces

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// headerOf returns the trimmed cells of the first line.
func headerOf(head []byte) []string {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if len(line) > 4096 {
		return nil
	}
	cells := strings.Split(string(line), ",")
	for i := range cells {
		cells[i] = strings.Trim(strings.TrimSpace(cells[i]), `"`)
	}
	return cells
}

// hasColumns reports whether the header has all of want.
func hasColumns(head []byte, want ...string) bool {
	cells := headerOf(head)
	for _, w := range want {
		if !slices.Contains(cells, w) {
			return false
		}
	}
	return true
}

func detectCSV(head []byte, _ string) bool {
	return !bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) && (hasColumns(head, "run_s") || hasColumns(head, "run_on"))
}

// maxCached bounds the cache of classes by their cells, for files in which every row differs.
const maxCached = 1 << 15

// nativeCSV reads the native CSV. Only the cells of a task's own are parsed for each row; those of its class are looked up by their bytes.
type nativeCSV struct {
	*sheet
	cols  []int        // the column of each position
	at    [numCols]int // the position of each column, -1 = not there
	rare  []int        // positions of cells that few rows have
	after [numCols]int // digits after the point in the last cell of a column of seconds
	// Positions of cells that make the class, as runs of neighbours, so that a run's cells can be taken as one slice of the line.
	runs   []span
	commas int // in a key: cells less runs

	cached map[string]knownClass
	near   [1024]knownClass // a part of cached, by a quick hash
	key    []byte
	r      Row

	plain plainCSV
}

type knownClass struct {
	key         string
	first, last uint64        // eight bytes of the key
	class       sched.ClassID // + 1; 0 = none
}

// ends returns the first and the last eight bytes of the key, which say all of one of 8 to 16 bytes.
func ends(key []byte) (first, last uint64) {
	if len(key) >= 8 {
		return binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[len(key)-8:])
	}
	for _, c := range key {
		first = first<<8 | uint64(c)
	}
	return first, uint64(len(key))
}

func readCSV(in io.Reader, b *Builder) error {
	s, err := newNativeCSV(in, b)
	if err != nil {
		return err
	}
	return s.all()
}

// newNativeCSV reads the header.
func newNativeCSV(in io.Reader, b *Builder) (*nativeCSV, error) {
	sh, err := newSheet(in, b)
	if err != nil {
		return nil, err
	}
	s := &nativeCSV{sheet: sh, cols: make([]int, len(sh.head)), cached: map[string]knownClass{}}
	for c := range s.at {
		s.at[c] = -1
	}
	for i, name := range s.head {
		c := columnOf(name)
		if c < 0 {
			return nil, b.Errorf(s.line, "unknown column %q (known: %s)", clip(name), strings.Join(columnNames[:], ", "))
		}
		s.cols[i], s.at[c] = c, i
		switch {
		case c >= colOther:
			if n := len(s.runs); n > 0 && int(s.runs[n-1].to) == i {
				s.runs[n-1].to++
				s.commas++
			} else {
				s.runs = append(s.runs, span{int32(i), int32(i + 1)})
			}
		case c == colName || c >= colAfter:
			s.rare = append(s.rare, i)
		}
	}
	if s.at[colRun] < 0 && s.at[colRunOn] < 0 {
		return nil, b.Errorf(s.line, "no column run_s or run_on")
	}
	// A deadline is the only thing of a class that is written to its tasks.
	s.plain.usable = s.at[colID] >= 0 && s.at[colSubmit] >= 0 && s.at[colRun] >= 0 && s.at[colDeadline] < 0
	if s.plain.empty = s.rare; s.at[colJob] >= 0 {
		s.plain.empty = append(slices.Clone(s.rare), s.at[colJob])
	}
	return s, nil
}

func (s *nativeCSV) all() error {
	b := s.b
	for {
		if err := s.plainRows(); err != nil {
			return err
		}
		ok, err := s.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if b.Len() == roomAt && b.size > 0 {
			b.Grow(int(min(float64(b.size)/float64(s.read)*roomAt*1.02, maxTasks/16)))
		}
		if err := s.task(); err != nil {
			return err
		}
	}
}

// own returns the cell of a column of a task's own, trimmed; nil if there is no such column.
func (s *nativeCSV) own(c int) []byte {
	if s.at[c] < 0 {
		return nil
	}
	return trim(s.cell(s.at[c]))
}

// seconds returns the cell of a column of seconds in ns, and whether there is anything in it.
func (s *nativeCSV) seconds(c int) (ns int64, given bool, err error) {
	if s.at[c] < 0 {
		return 0, false, nil
	}
	at := s.spans[s.at[c]]
	if at.from == at.to {
		return 0, false, nil
	}
	if ns, ok := quickSeconds(s.row, int(at.from), int(at.to), &s.after[c]); ok {
		return ns, true, nil
	}
	cell := trim(s.row[at.from:at.to])
	if len(cell) == 0 {
		return 0, false, nil
	}
	ns, err = parseFixed(cell, 9)
	if err == nil && ns < 0 && c != colSubmit {
		err = fmt.Errorf("%s is negative", clip(string(cell)))
	}
	if err != nil {
		return 0, false, s.b.Errorf(s.line, "%s: %w", columnNames[c], err)
	}
	return ns, true, nil
}

// quickSeconds is parseFixed with 9 digits for row[from:to] that is what nearly all cells are: at most 9 digits, with or without a point and at
// most 9 digits after it, at least 8 bytes into the row. It takes eight bytes at a time, since a loop that ends at an unforeseeable digit costs
// more than all else. after is the number of digits after the point, 0 = no point: that of the column's last cell, as a guess.
func quickSeconds(row []byte, from, to int, after *int) (int64, bool) {
	n := to - from
	if n <= 0 || from < 0 || to < 9 || to > len(row) {
		return 0, false
	}
	last := binary.LittleEndian.Uint64(row[to-8:])
	a := *after
	if a == 0 && n <= 8 {
		if v, ok := digits8(last, n); ok {
			return v * 1e9, true
		}
	}
	if a == 0 || a >= n || byte(last>>((56-8*a)&63)) != '.' {
		a = digitsAfter(last, min(n, 8))
		switch {
		case a < 0 && n > 8:
			return nineDigits(row, from, to)
		case a < 0:
			*after = 0
			v, ok := digits8(last, n)
			return v * 1e9, ok
		}
		*after = a
		if a == 0 { // "5."
			return 0, false
		}
	}
	if n == 1 || n-a > 10 {
		return 0, false
	}
	// Close the gap: what stands before the point moves one byte up.
	point := uint64(1) << ((56 - 8*a) & 63)
	x := last&^(point<<8-1) | last&(point-1)<<8
	x |= uint64(row[to-9]) // if it is not of the cell, digits8 leaves it out
	lead := int64(0)
	if n > 9 {
		for _, c := range row[from : to-9] {
			if c -= '0'; c > 9 {
				return 0, false
			}
			lead = lead*10 + int64(c)
		}
	}
	v, ok := digits8(x, min(n-1, 8))
	return (lead*1e8 + v) * pow10[9-a], ok
}

// digitsAfter returns how many of the last n <= 8 bytes of x follow the last point; -1 if there is none.
func digitsAfter(x uint64, n int) int {
	for a := range n {
		if byte(x>>(56-8*a)) == '.' {
			return a
		}
	}
	return -1
}

// nineDigits is quickSeconds for 8 or 9 digits after the point.
func nineDigits(row []byte, from, to int) (int64, bool) {
	n, last, ninth, point := to-from, to, int64(0), to-9
	if n < 9 {
		return 0, false
	}
	if n > 9 && row[to-10] == '.' {
		c := row[to-1] - '0'
		if c > 9 {
			return 0, false
		}
		last, ninth, point = to-1, int64(c), to-10
	} else if row[to-9] != '.' {
		return 0, false
	}
	frac, ok := digits8(binary.LittleEndian.Uint64(row[last-8:]), 8)
	if point < 8 || point-from > 8 || point == from {
		return 0, false
	}
	whole, ok2 := digits8(binary.LittleEndian.Uint64(row[point-8:]), point-from)
	return whole*1e9 + frac*10 + ninth, ok && ok2
}

const (
	ones = 0x0101010101010101
	low  = 0x7f * ones
)

// digits8 returns the number whose 1 to 8 digits are the last n bytes of x.
func digits8(x uint64, n int) (int64, bool) {
	const zeros = '0' * ones
	x ^= zeros
	x &= ^uint64(0) << ((64 - 8*n) & 63) // the bytes before them count as the digit 0
	if (x&low+(0x80-10)*ones|x)&^low != 0 {
		return 0, false
	}
	x = x * (10<<8 + 1) >> 8 & 0x00ff00ff00ff00ff
	x = x * (100<<16 + 1) >> 16 & 0x0000ffff0000ffff
	return int64(x * (10000<<32 + 1) >> 32), true
}

// task adds the task of the row read last.
func (s *nativeCSV) task() error {
	submit, _, err := s.seconds(colSubmit)
	if err != nil {
		return err
	}
	run, hasRun, err := s.seconds(colRun)
	if err != nil {
		return err
	}
	est, given, err := s.seconds(colEstimate)
	if err != nil {
		return err
	}
	if !given {
		est = -1
	}
	class, err := s.class()
	if err != nil {
		return err
	}
	few := !hasRun
	for _, i := range s.rare {
		few = few || s.spans[i].from < s.spans[i].to
	}
	if few {
		s.r = Row{Line: s.line, After: s.r.After[:0]}
		for _, i := range s.rare {
			if err := setColumn(&s.r, s.cols[i], s.cell(i)); err != nil {
				return s.b.Errorf(s.line, "%s: %w", s.head[i], err)
			}
		}
		s.r.Run = time.Duration(run)
		if err := settle(&s.r, hasRun); err != nil {
			return s.b.Errorf(s.line, "%w", err)
		}
		run = int64(s.r.Run)
	}
	if err := s.b.push(sched.Time(submit), time.Duration(run), time.Duration(est), class, s.own(colID), s.own(colJob), s.line); err != nil {
		return err
	}
	if few {
		return s.b.extras(&s.r)
	}
	return nil
}

// class returns the class of the row read last.
func (s *nativeCSV) class() (sched.ClassID, error) {
	// The key is the cells with commas between neighbours and a line end between runs. A line without quotes has neither inside a cell, so
	// that its key says for certain which cells they are; one with quotes may, and is then looked up anew each time.
	var key []byte
	sound := true
	if len(s.runs) == 1 && !s.unquoted {
		r := s.runs[0]
		key = s.row[s.spans[r.from].from:s.spans[r.to-1].to]
	} else {
		key = s.key[:0]
		for _, r := range s.runs {
			for i := r.from; i < r.to; i++ {
				if i > r.from {
					key = append(key, ',')
				}
				key = append(key, s.cell(int(i))...)
			}
			key = append(key, '\n')
		}
		s.key = key
		if len(s.runs) == 1 { // as above
			key = key[:len(key)-1]
		}
		sound = !s.unquoted || bytes.Count(key, comma) == s.commas && bytes.Count(s.key, newline) == len(s.runs)
	}
	if sound {
		if class, ok := s.known(key); ok {
			return class, nil
		}
	}
	s.r = Row{Line: s.line}
	for _, r := range s.runs {
		for i := r.from; i < r.to; i++ {
			if err := setColumn(&s.r, s.cols[i], s.cell(int(i))); err != nil {
				return 0, s.b.Errorf(s.line, "%s: %w", s.head[i], err)
			}
		}
	}
	class, err := s.b.class(&s.r)
	if err != nil {
		return 0, err
	}
	if len(s.cached) < maxCached && sound {
		first, last := ends(key)
		s.cached[string(key)] = knownClass{string(key), first, last, class + 1}
	}
	return class, nil
}

// known returns the class of a key if it has had one.
func (s *nativeCSV) known(key []byte) (sched.ClassID, bool) {
	first, last := ends(key)
	// The place in near need not be chosen well: a miss costs a look into the big table.
	h := (uint64(len(key)) + first*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(last, 20)) * 0xbf58476d1ce4e5b9
	at := h >> (64 - 10)
	for _, at := range [2]uint64{at, at ^ 1} {
		near := &s.near[at]
		if near.first == first && near.last == last && len(near.key) == len(key) && near.class > 0 &&
			(len(key) <= 16 || near.key[8:len(key)-8] == string(key[8:len(key)-8])) {
			return near.class - 1, true
		}
	}
	known, ok := s.cached[string(key)]
	if !ok {
		return 0, false
	}
	if s.near[at].class > 0 && s.near[at^1].class == 0 {
		at ^= 1
	}
	s.near[at] = known
	return known.class - 1, true
}

var comma, newline = []byte{','}, []byte{'\n'}

// writeCSV writes the native CSV: the columns in use, rows in input order.
func writeCSV(out io.Writer, wl *Workload) error {
	w := bufio.NewWriterSize(out, 64<<10)
	s := newShape(wl)
	var cols []int
	for _, c := range writeOrder {
		if s.used[c] {
			cols = append(cols, c)
		}
	}
	for i, c := range cols {
		if i > 0 {
			w.WriteByte(',')
		}
		w.WriteString(columnNames[c])
	}
	w.WriteByte('\n')
	var r Row
	var buf []byte
	err := inInputOrder(wl, func(t sched.TaskID) error {
		s.row(t, &r)
		buf = buf[:0]
		for i, c := range cols {
			if i > 0 {
				buf = append(buf, ',')
			}
			if text, ok := textOf(&r, c); ok {
				if c == colID && text == "" {
					return fmt.Errorf("task %d has no id", t)
				}
				buf = appendCell(buf, text)
				continue
			}
			if items := listOf(&r, c); items != nil {
				for _, item := range items {
					if bad := strings.ContainsAny(item, ";") || c == colGPUTypes && strings.Contains(item, "|"); bad || item != strings.TrimSpace(item) {
						return fmt.Errorf("task %s: %s: %q cannot stand in a CSV list; write jsonl", r.ID, columnNames[c], clip(item))
					}
				}
				buf = appendCell(buf, strings.Join(items, ";"))
				continue
			}
			buf = appendScalar(buf, &r, c)
		}
		buf = append(buf, '\n')
		_, err := w.Write(buf)
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// appendCell appends text, quoted where it must be.
func appendCell(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}
