package sched

import "strconv"

// AppendTo appends the name of item i to dst, and makes no string of it.
func (n *Names) AppendTo(dst []byte, i int) []byte {
	if n.end == nil {
		return strconv.AppendInt(dst, int64(i)+1, 10)
	}
	from := uint32(0)
	if i > 0 {
		from = n.end[i-1]
	}
	return append(dst, n.blob[from:n.end[i]]...)
}
