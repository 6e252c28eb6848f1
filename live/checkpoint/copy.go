package checkpoint

import (
	"context"
	"errors"
	"io"
	"sync"
)

const (
	small = 1 << 20 // bytes of a pooled buffer: what is smaller goes through one of them
	block = 4 << 20 // of the two blocks through which what is larger goes
)

var buffers = sync.Pool{New: func() any {
	b := make([]byte, small)
	return &b
}}

// copyBlocks copies at most size bytes in one of two tiers. A small file goes through a pooled buffer with one read and one write. A large
// one goes through two blocks of its own, so that one is being read (and hashed, where r does that) while the other is being written.
func copyBlocks(ctx context.Context, w io.Writer, r io.Reader, size int64) (int64, error) {
	if size < small {
		b := buffers.Get().(*[]byte)
		defer buffers.Put(b)
		n, err := io.ReadFull(r, (*b)[:size])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return 0, err
		}
		m, err := w.Write((*b)[:n])
		return int64(m), err
	}
	type part struct {
		b   []byte
		err error
	}
	free, full := make(chan []byte, 2), make(chan part, 2)
	free <- make([]byte, block)
	free <- make([]byte, block)
	go func() { // reads ahead by a block
		defer close(full)
		for left := size; left > 0; {
			b, ok := <-free
			if !ok {
				return
			}
			n, err := io.ReadFull(r, b[:min(left, block)])
			left -= int64(n)
			if err == nil {
				err = ctx.Err()
			}
			full <- part{b[:n], err}
			if err != nil {
				return
			}
		}
	}()
	var done int64
	var err error
	for p := range full {
		if err == nil {
			var n int
			n, err = w.Write(p.b)
			done += int64(n)
			if err == nil && p.err != nil && !errors.Is(p.err, io.ErrUnexpectedEOF) && !errors.Is(p.err, io.EOF) {
				err = p.err
			}
			if err != nil {
				close(free) // the reader ends at its next block
			}
		}
		if err == nil {
			free <- p.b[:block]
		}
	}
	return done, err
}
