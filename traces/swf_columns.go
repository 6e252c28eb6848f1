package traces

import (
	"math/bits"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// swfTable reads lines whose cells end where those of a line before do. Logs are written in columns, with blanks on the left of what is shorter,
// so that this holds for nearly all lines of one; and where its end is known, a number can be taken without looking for its first digit, since blanks
// can stand for zeros. Lines that are not so, or of which there is something to be said, are left to the other ways of reading.
type swfTable struct {
	swfPlaces
	strange bool // the line that stopped table has other places
	served  int  // lines read with these places
	wait    int  // lines to let pass before others are tried
	waited  int

	slots [1 << 13]uint16 // place in known + 1, by open addressing
	known []swfKnown
	key   [6]uint64 // of the line looked at last, if its class is not known
	slot  int       // where that is to stand; < 0: there is none
}

// swfPlaces are where the cells of a line stand. The columns up to requested memory are looked at one by one. The others, the tail, seldom say something
// new: their text is looked up.
type swfPlaces struct {
	length       int       // of the line; 0: none is known
	ends, looked [2]uint64 // where cells end, and the bytes of the line that this is about, as in sameEnds
	words        int       // to be looked at beyond the first 64 bytes
	at           [swfReqMemory + 1]uint8
	own          [swfReqMemory + 1]uint64 // which of the eight bytes before an end are the column's
	before       [swfReqMemory + 1]uint64 // and which of the eight before these
	ids          int                      // the largest number for which the column of ids has room
	from         [4]uint8                 // the ends of the tail's words, the last first
	tail         [4]uint64                // which of their bytes are the tail's
}

// swfKnown is the class of a line by all that is in it but id, times and what is not taken over. Of such lines there is nothing more to say.
type swfKnown struct {
	key   [6]uint64 // processors requested and allocated, the tail from its last word on
	class sched.ClassID
}

// learn takes the places over from a line that is not as those before: where each cell begins and ends. In a log that is no table this
// is tried less and less.
func (l *swfTable) learn(length int, bounds []uint8) {
	if l.served > 0 {
		l.wait = 0
	}
	if l.waited++; l.waited <= l.wait {
		return
	}
	l.wait, l.waited, l.served = min(2*l.wait+1, 1000), 0, 0
	l.swfPlaces = swfPlaces{}
	if length < 64 {
		return
	}
	start := 0
	for c := range l.at {
		end := int(bounds[2*c+1])
		width, most := end-start, 8
		switch c {
		case swfSubmit, swfRun, swfReqTime:
			most = 16
		case swfWait, swfCPUTime, swfMemory, swfReqMemory: // not taken over
			most = end
		}
		if width > most || end > 120 {
			return
		}
		l.at[c], l.own[c], l.before[c] = uint8(end), lastBytes(width), lastBytes(width-8)
		block, bit := textBit(end - 1)
		l.ends[block] |= bit
		start = end
	}
	for i := range start {
		block, bit := textBit(i)
		l.looked[block] |= bit
	}
	l.words = max(0, start/8-7) // with the byte after the last end
	l.ids = int(pow10[l.at[swfJob]]) - 1
	rest := length - start
	for i := range l.tail {
		l.from[i], l.tail[i] = uint8(length-8*i), lastBytes(rest-8*i)
	}
	if rest <= 8*len(l.tail) {
		l.length = length
	}
}

// textBit is the bit that sameEnds makes of byte i of a line.
func textBit(i int) (block int, bit uint64) { return i / 64, 1 << (8*(i%8) + i/8%8) }

// table adds the tasks of the lines that follow, up to one that is not as those before.
func (r *swfReader) table() error {
	l, b := &r.columns, r.b
	l.slot, l.strange = -1, l.length == 0
	if l.strange {
		return nil
	}
	next := uint64(0) // the next id's text if ids go on counting; 0: not known
	placed := false   // nextAt has said where they stand
	for {
		n := len(b.tasks)
		if r.from+l.length >= r.to || n == roomAt {
			return nil
		}
		p := (*shortLine)(r.buf[r.from-8:])
		if p[8+l.length] != '\n' || !l.sameEnds(p) {
			l.strange = true
			return nil
		}
		submit, run, estimate, ok := l.times(p)
		if !ok || run <= 0 || submit < int64(r.lastSubmit) {
			return nil
		}
		class := l.class(p)
		if class < 0 {
			return nil
		}
		if estimate <= 0 {
			estimate = -1
		}
		if next == 0 && b.ids.counts() {
			next = numberText(n + 1)
		}
		id := eight(p, l.at[swfJob]) & l.own[swfJob]
		if next != 0 && id == next&l.own[swfJob] && n < l.ids {
			if !placed {
				b.nextAt(r.line + 1)
				placed = true
			}
			b.pushNext(sched.Time(submit), time.Duration(run), time.Duration(estimate), class)
			next = nextText(next)
		} else {
			next = 0
			end := r.from + int(l.at[swfJob])
			s := r.buf[end-8+bits.TrailingZeros64((id^blanks8)&l.own[swfJob])/8 : end]
			if s[0] == ';' {
				return nil
			}
			if err := b.push(sched.Time(submit), time.Duration(run), time.Duration(estimate), class, s, nil, r.line+1); err != nil {
				return err
			}
		}
		r.lastSubmit = sched.Time(submit)
		r.line++
		r.read += int64(l.length + 1)
		r.from += l.length + 1
		l.served++
	}
}

// sameEnds reports whether each column before the tail has one cell, and that ends where it should.
func (l *swfTable) sameEnds(p *shortLine) bool {
	// A bit for each byte that is text: that of word i of a block of eight is bit i in byte 0 to 7. Bytes beyond 63 and control characters are
	// strange; of the others, adding 31 to what is no blank carries into the sixth bit.
	const most, text = 0x1f * ones, 0x20 * ones
	a, b := eight(p, 8)^blanks8, eight(p, 16)^blanks8
	c, d := eight(p, 24)^blanks8, eight(p, 32)^blanks8
	e, f := eight(p, 40)^blanks8, eight(p, 48)^blanks8
	g, h := eight(p, 56)^blanks8, eight(p, 64)^blanks8
	strange := a | b | c | d | e | f | g | h
	first := (a+most)&text>>5 | (b+most)&text>>4 | (c+most)&text>>3 | (d+most)&text>>2 |
		(e+most)&text>>1 | (f+most)&text | (g+most)&text<<1 | (h+most)&text<<2
	second := uint64(0)
	for i := range l.words {
		a := eight(p, uint8(8*i+72)) ^ blanks8
		strange |= a
		second |= (a + most) & text >> 5 << i
	}
	// A cell ends where text has a blank behind it.
	falls := first &^ (first>>8 | first&0xff>>1<<56 | second<<63)
	falls2 := second &^ (second>>8 | second&0xff>>1<<56)
	return (falls^l.ends[0])&l.looked[0]|(falls2^l.ends[1])&l.looked[1]|strange&(0xe0*ones) == 0
}

// times returns submit, run and requested time in ns.
func (l *swfTable) times(p *shortLine) (submit, run, estimate int64, ok bool) {
	x, y, z := l.digits(p, swfSubmit), l.digits(p, swfRun), l.digits(p, swfReqTime)
	long := l.more(p, swfSubmit) | l.more(p, swfRun) | l.more(p, swfReqTime)
	if long|noDigits(x)|noDigits(y)|noDigits(z) == 0 {
		return valueOf(x) * 1e9, valueOf(y) * 1e9, valueOf(z) * 1e9, true
	}
	submit, ok1 := l.seconds(p, swfSubmit)
	run, ok2 := l.seconds(p, swfRun)
	estimate, ok3 := l.seconds(p, swfReqTime)
	return submit, run, estimate, ok1 && ok2 && ok3
}

// digits returns the last eight bytes of a column: 0 to 9 for a digit and 0x10 for a blank.
func (l *swfTable) digits(p *shortLine, col int) uint64 {
	return (eight(p, l.at[col]) ^ zeros8) & l.own[col]
}

// more is not 0 if there is text before these.
func (l *swfTable) more(p *shortLine, col int) uint64 {
	return (eight(p, l.at[col]-8) ^ blanks8) & l.before[col]
}

// seconds returns a column as times does, also where it has a minus or up to 16 digits.
func (l *swfTable) seconds(p *shortLine, col int) (int64, bool) {
	const longest = 1 << 61 / 1_000_000_000
	x := l.digits(p, col)
	if high := l.more(p, col); high != 0 {
		high ^= 0x10 * ones & l.before[col]
		v := valueOf(high)*1e8 + valueOf(x)
		return v * 1e9, noDigits(x)|noDigits(high) == 0 && v <= longest
	}
	// A minus stands before the first digit.
	at, sign := bits.TrailingZeros64((x^0x10*ones)&l.own[col])&^7, int64(1)
	if at < 56 && byte(x>>at) == '-'^'0' {
		x ^= ('-' ^ '0') << at
		sign = -1
	}
	return sign * valueOf(x) * 1e9, noDigits(x) == 0
}

// class returns the class of a line, or -1 if its text is new.
func (l *swfTable) class(p *shortLine) sched.ClassID {
	width, alloc := eight(p, l.at[swfReqProcs])&l.own[swfReqProcs], eight(p, l.at[swfProcs])&l.own[swfProcs]
	a, b := eight(p, l.from[0])&l.tail[0], eight(p, l.from[1])&l.tail[1]
	c, d := eight(p, l.from[2])&l.tail[2], eight(p, l.from[3])&l.tail[3]
	high, low := bits.Mul64(a^width, b^0x9e3779b97f4a7c15)
	high2, low2 := bits.Mul64(c^alloc, d^0xbf58476d1ce4e5b9)
	at := int((high^low^bits.RotateLeft64(high2^low2, 32))*0x94d049bb133111eb>>(64-13)) & (len(l.slots) - 1)
	for {
		i := l.slots[at]
		if i == 0 {
			l.key, l.slot = [6]uint64{width, alloc, a, b, c, d}, at
			return -1
		}
		k := &l.known[i-1]
		if k.key[0] == width && k.key[1] == alloc && k.key[2] == a && k.key[3] == b && k.key[4] == c && k.key[5] == d {
			return k.class
		}
		at = (at + 1) & (len(l.slots) - 1)
	}
}

// keep takes over the class of the line that stopped table.
func (l *swfTable) keep(class sched.ClassID) {
	if len(l.known) == len(l.slots)/2 { // lines that differ so much are seldom the same again
		l.known = l.known[:0]
		clear(l.slots[:])
	}
	l.known = append(l.known, swfKnown{l.key, class})
	l.slots[l.slot] = uint16(len(l.known))
}
