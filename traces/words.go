package traces

import "encoding/binary"

// What the quick readers have in common: they take eight bytes of a line at a time, as a number whose lowest byte is the first.

const (
	blanks8 = ' ' * ones
	zeros8  = '0' * ones
)

// shortLine is a line with the eight bytes before it. Places in it are counted from the beginning of the line.
type shortLine = [8 + 256]byte

// eight returns the eight bytes that end at a place.
func eight(p *shortLine, end uint8) uint64 { return binary.LittleEndian.Uint64(p[end:]) }

// lastBytes are the last n of eight bytes.
func lastBytes(n int) uint64 {
	if n <= 0 {
		return 0
	}
	return ^uint64(0) << (64 - 8*min(n, 8))
}

// noDigits is not 0 if x, text less '0' each, has something else than digits, 0 to 9, and blanks, 0x10.
func noDigits(x uint64) uint64 {
	v := x & (0x0f * ones)
	return (v + 6*ones | (v+0x0f*ones)&x) & (0x10 * ones)
}

// valueOf returns the number of which these are the digits. Blanks count as zeros; the last byte is the last digit.
func valueOf(x uint64) int64 {
	x = (x & (0x0f * ones)) * (10<<8 + 1) >> 8 & 0x00ff00ff00ff00ff
	x = x * (100<<16 + 1) >> 16 & 0x0000ffff0000ffff
	return int64(x * (10000<<32 + 1) >> 32)
}

// numberText is a number right-aligned in eight bytes, with blanks before it.
func numberText(n int) uint64 {
	text := uint64(blanks8)
	for at := 56; n > 0 && at >= 0; at -= 8 {
		text += uint64(n%10+'0'-' ') << at
		n /= 10
	}
	return text
}

// nextText is the text of the number after it.
func nextText(text uint64) uint64 {
	for at := 56; at >= 0; at -= 8 {
		switch byte(text >> at) {
		case '9':
			text -= 9 << at
		case ' ':
			return text + ('1'-' ')<<at
		default:
			return text + 1<<at
		}
	}
	return text
}
