package scale

import (
	"encoding/binary"
	"errors"
)

// Keep appends the controller's state to b, so that one that Recall has filled decides as this one would. The rules are not in it.
func (c *Controller) Keep(b []byte) []byte {
	for _, ms := range [][]mark{c.wishes, c.steps, c.last} {
		b = binary.AppendUvarint(b, uint64(len(ms)))
		for _, m := range ms {
			b = binary.AppendVarint(binary.AppendVarint(b, m.at), int64(m.n))
		}
	}
	return b
}

// Recall takes the state that Keep wrote and returns what follows it in b. It refuses what Keep cannot have written, and leaves the
// controller as it was.
func (c *Controller) Recall(b []byte) (rest []byte, err error) {
	var lists [3][]mark
	for i := range lists {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)) {
			return nil, errKept
		}
		b = b[size:]
		for range n {
			at, size := binary.Varint(b)
			if size <= 0 {
				return nil, errKept
			}
			b = b[size:]
			v, size := binary.Varint(b)
			if size <= 0 || int64(int(v)) != v {
				return nil, errKept
			}
			b = b[size:]
			if l := lists[i]; len(l) > 0 && l[len(l)-1].at > at {
				return nil, errKept
			}
			lists[i] = append(lists[i], mark{at, int(v)})
		}
	}
	if len(lists[2]) > 1 {
		return nil, errKept
	}
	c.wishes, c.steps, c.last = lists[0], lists[1], lists[2]
	return b, nil
}

var errKept = errors.New("this is not the state of a scaling controller")
