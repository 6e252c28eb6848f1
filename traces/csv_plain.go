package traces

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// plainCSV is what is kept for reading plain rows: of up to 255 bytes and as many cells as the header, without quotes or blanks, with as many decimals in
// seconds as the rows before, of a known class, and with nothing in the columns that few rows need. All others are left to nativeCSV.task.
type plainCSV struct {
	usable           bool
	empty            []int       // the columns that must be
	ends             [64]uint8   // where the row's cells end
	submit, run, est secondsCell // of the columns
}

// secondsCell says how many digits stand after the point in the cells of a column: at most 7.
type secondsCell struct {
	gap          uint8  // the point and these digits
	point, place uint64 // the point in the last eight bytes, and its place; 0 where there is none
	frac         uint64 // the places of the digits
	unit         int64  // ns of the last of them
}

func (c *secondsCell) set(after int) {
	switch {
	case after == 0:
		*c = secondsCell{unit: 1e9}
	case after < 8:
		at := 56 - 8*after
		*c = secondsCell{gap: uint8(after + 1), point: '.' << at, place: 0xff << at, frac: lastBytes(after), unit: pow10[9-after]}
	}
}

// plainRows adds the tasks of the rows that follow, up to one that is not plain.
func (s *nativeCSV) plainRows() error {
	b, p := s.b, &s.plain
	next := uint64(0) // the next id's text if ids go on counting; 0: not known
	placed := false   // nextAt has said where they stand
	for p.usable && len(b.tasks) != roomAt && s.from < s.to {
		row := (*shortLine)(s.buf[s.from-8:])
		end := s.cut(row)
		if end < 0 || s.from+end >= s.to {
			return nil
		}
		submit, ok := s.plainSeconds(row, colSubmit, &p.submit)
		run, ok2 := s.plainSeconds(row, colRun, &p.run)
		est := int64(-1)
		if at := s.at[colEstimate]; at >= 0 && p.begin(at) < p.end(at) {
			var ok3 bool
			est, ok3 = s.plainSeconds(row, colEstimate, &p.est)
			ok = ok && ok3
		}
		if !ok || !ok2 {
			return nil
		}
		for _, at := range p.empty {
			if p.begin(at) < p.end(at) {
				return nil
			}
		}
		class, ok := s.known(s.plainKey())
		if !ok {
			return nil
		}
		if next == 0 && b.ids.counts() {
			next = numberText(len(b.tasks) + 1)
		}
		s.lines.line++
		from, to := p.begin(s.at[colID]), p.end(s.at[colID])
		own := lastBytes(int(to) - int(from))
		if eight(row, to)&own|blanks8&^own == next && to-from <= 8 {
			if !placed {
				b.nextAt(s.lines.line)
				placed = true
			}
			b.pushNext(sched.Time(submit), time.Duration(run), time.Duration(est), class)
			next = nextText(next)
		} else {
			next = 0
			id := trim(s.buf[s.from+int(from) : s.from+int(to)]) // there are blanks beyond ASCII
			if err := b.push(sched.Time(submit), time.Duration(run), time.Duration(est), class, id, nil, s.lines.line); err != nil {
				return err
			}
		}
		s.from += end + 1
		s.read += int64(end + 1)
	}
	return nil
}

// begin and end are of the cell in a column, from the beginning of the row.
func (p *plainCSV) begin(at int) uint8 {
	if at == 0 {
		return 0
	}
	return p.ends[(at-1)&63] + 1
}

func (p *plainCSV) end(at int) uint8 { return p.ends[at&63] }

// cut finds where the cells of a row end and returns where it does, or -1 where the cells are not as many as in the header, or hold a byte up to the
// comma: blanks and quotes are such.
func (s *nativeCSV) cut(row *shortLine) int {
	at, last := 0, len(s.head)-1
	for base := 0; base < 256; base += 64 {
		block := (*[64]byte)(row[8+base:])
		for low := lowBits(block); low != 0; low &= low - 1 {
			i := bits.TrailingZeros64(low) & 63
			s.plain.ends[at&63] = uint8(base + i)
			if block[i] != ',' {
				if block[i] == '\n' && at == last {
					return base + i
				}
				return -1
			}
			at++
		}
	}
	return -1
}

// lowBits has bit i set if p[i] is at most a comma.
func lowBits(p *[64]byte) uint64 {
	set := uint64(0)
	for i := 0; i < 64; i += 32 {
		q := (*[32]byte)(p[i:])
		a, b := binary.LittleEndian.Uint64(q[:]), binary.LittleEndian.Uint64(q[8:])
		c, d := binary.LittleEndian.Uint64(q[16:]), binary.LittleEndian.Uint64(q[24:])
		const high, beyond, gather = 0x80 * ones, (',' + 1) * ones, 0x0002040810204081
		half := (^(((a|high)-beyond)|a)&high*gather)>>56 | (^(((b|high)-beyond)|b)&high*gather)>>56<<8 |
			(^(((c|high)-beyond)|c)&high*gather)>>56<<16 | (^(((d|high)-beyond)|d)&high*gather)>>56<<24
		set |= half << i
	}
	return set
}

// plainSeconds returns the seconds in a cell of a column in ns.
func (s *nativeCSV) plainSeconds(row *shortLine, col int, c *secondsCell) (int64, bool) {
	from, to := s.plain.begin(s.at[col]), s.plain.end(s.at[col])
	tail, point := eight(row, to), to-c.gap
	if n := int(to) - int(from) - int(c.gap); uint(n-1) < 8 && tail&c.place == c.point {
		whole := (eight(row, point) ^ zeros8) & (^uint64(0) << ((64 - 8*n) & 63))
		frac := (tail ^ zeros8) & c.frac
		const nine = (0x80 - 10) * ones
		if ((whole+nine)|whole|(frac+nine)|frac)&(0x80*ones) == 0 {
			return valueOf(whole)*1e9 + valueOf(frac)*c.unit, true
		}
	}
	v, ok := quickSeconds(s.buf, s.from+int(from), s.from+int(to), &s.after[col])
	if ok {
		c.set(s.after[col])
	}
	return v, ok
}

// plainKey returns the key of the row's class.
func (s *nativeCSV) plainKey() []byte {
	p := &s.plain
	if len(s.runs) == 1 {
		r := s.runs[0]
		return s.buf[s.from+int(p.begin(int(r.from))) : s.from+int(p.end(int(r.to-1)))]
	}
	key := s.key[:0]
	for _, r := range s.runs {
		key = append(append(key, s.buf[s.from+int(p.begin(int(r.from))):s.from+int(p.end(int(r.to-1)))]...), '\n')
	}
	s.key = key
	return key
}
