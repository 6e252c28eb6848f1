package traces

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// plainCSV is what is kept for reading plain rows: of as many cells as the header, without quotes or blanks, with the decimals of the rows before in
// seconds, of a known class, and with nothing in the columns that few rows need. All others are left to nativeCSV.task.
type plainCSV struct {
	usable bool
	ends   [64]int32 // where the row's cells end in the buffer
	submit secondsCell
	run    secondsCell
	est    secondsCell
}

// secondsCell says how many digits stand after the point in the cells of a column.
type secondsCell struct {
	gap  int    // the point and what follows
	frac uint64 // which of the last eight bytes are digits after the point
	unit int64  // ns of the last of them
}

func (c *secondsCell) set(after int) {
	if after > 8 {
		return
	}
	*c = secondsCell{frac: lastBytes(after), unit: pow10[9-after]}
	if after > 0 {
		c.gap = after + 1
	}
}

// plainRows adds the tasks of the rows that follow, up to one that is not plain.
func (s *nativeCSV) plainRows() error {
	b, p := s.b, &s.plain
	idAt, submitAt, runAt, estAt := s.at[colID], s.at[colSubmit], s.at[colRun], s.at[colEstimate]
	next := uint64(0) // the next id's text if ids go on counting; 0: not known
	for p.usable && len(b.tasks) != roomAt {
		begin := s.from
		if !s.cut() {
			return nil
		}
		submit, ok := s.plainSeconds(submitAt, colSubmit, &p.submit)
		run, ok2 := s.plainSeconds(runAt, colRun, &p.run)
		est, ok3 := int64(-1), true
		if estAt >= 0 && s.cellAt(estAt) < int(p.ends[estAt&63]) {
			est, ok3 = s.plainSeconds(estAt, colEstimate, &p.est)
		}
		if !(ok && ok2 && ok3) {
			return nil
		}
		for _, i := range s.rare {
			if s.cellAt(i) < int(p.ends[i&63]) {
				return nil
			}
		}
		if i := s.at[colJob]; i >= 0 && s.cellAt(i) < int(p.ends[i&63]) {
			return nil
		}
		class, ok := s.known(s.plainKey())
		if !ok {
			return nil
		}
		from, to := s.cellAt(idAt), int(p.ends[idAt&63])
		if next == 0 && b.ids.counts() {
			next = numberText(len(b.tasks) + 1)
		}
		end := int(p.ends[(len(s.head)-1)&63]) + 1
		s.lines.line++
		own := lastBytes(to - from)
		if text := binary.LittleEndian.Uint64(s.buf[to-8:])&own | blanks8&^own; text == next && to-from <= 8 {
			b.pushNext(sched.Time(submit), time.Duration(run), time.Duration(est), class)
			next = nextText(next)
		} else {
			next = 0
			if err := b.push(sched.Time(submit), time.Duration(run), time.Duration(est), class, s.buf[from:to], nil, s.lines.line); err != nil {
				return err
			}
		}
		s.from = end
		s.read += int64(end - begin)
	}
	return nil
}

// cellAt returns where cell i of the row begins in the buffer.
func (s *nativeCSV) cellAt(i int) int {
	if i == 0 {
		return s.from
	}
	return int(s.plain.ends[(i-1)&63]) + 1
}

// cut finds the ends of the next row's cells. It reports false where they are not as many as in the header, or hold a byte up to the comma, which blanks
// and quotes are.
func (s *nativeCSV) cut() bool {
	at := 0
	for base := s.from; base < s.to; base += 64 {
		p := (*[64]byte)(s.buf[base:])
		for low := lowBits(p); low != 0; low &= low - 1 {
			i := bits.TrailingZeros64(low) & 63
			s.plain.ends[at&63] = int32(base + i)
			at++
			if p[i] != ',' {
				return p[i] == '\n' && at == len(s.head) && base+i < s.to
			}
		}
	}
	return false
}

// lowBits has bit i set if p[i] is at most a comma.
func lowBits(p *[64]byte) uint64 {
	set := uint64(0)
	for i := 0; i < 64; i += 32 {
		q := (*[32]byte)(p[i:])
		a, b := binary.LittleEndian.Uint64(q[:]), binary.LittleEndian.Uint64(q[8:])
		c, d := binary.LittleEndian.Uint64(q[16:]), binary.LittleEndian.Uint64(q[24:])
		const high, beyond, gather = 0x80 * ones, (',' + 1) * ones, 0x0002040810204081
		half := (^((a|high)-beyond|a)&high*gather)>>56 | (^((b|high)-beyond|b)&high*gather)>>56<<8 |
			(^((c|high)-beyond|c)&high*gather)>>56<<16 | (^((d|high)-beyond|d)&high*gather)>>56<<24
		set |= half << i
	}
	return set
}

// plainSeconds returns the seconds in a cell in ns.
func (s *nativeCSV) plainSeconds(i, col int, c *secondsCell) (int64, bool) {
	from, to := s.cellAt(i), int(s.plain.ends[i&63])
	point := to - c.gap
	if n := point - from; uint(n-1) < 8 && (c.gap == 0 || s.buf[point] == '.') {
		whole := (binary.LittleEndian.Uint64(s.buf[point-8:]) ^ zeros8) & (^uint64(0) << ((64 - 8*n) & 63))
		frac := (binary.LittleEndian.Uint64(s.buf[to-8:]) ^ zeros8) & c.frac
		const nine = (0x80 - 10) * ones
		if ((whole+nine)|whole|(frac+nine)|frac)&(0x80*ones) == 0 {
			return valueOf(whole)*1e9 + valueOf(frac)*c.unit, true
		}
	}
	v, ok := quickSeconds(s.buf[:to], from, to, &s.after[col])
	if ok {
		c.set(s.after[col])
	}
	return v, ok
}

// plainKey returns the key of the row's class.
func (s *nativeCSV) plainKey() []byte {
	if len(s.runs) == 1 {
		r := s.runs[0]
		return s.buf[s.cellAt(int(r.from)):s.plain.ends[(r.to-1)&63]]
	}
	key := s.key[:0]
	for _, r := range s.runs {
		key = append(append(key, s.buf[s.cellAt(int(r.from)):s.plain.ends[(r.to-1)&63]]...), '\n')
	}
	s.key = key
	return key
}
