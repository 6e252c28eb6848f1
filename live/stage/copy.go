package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Tier is a way in which bytes are copied.
type Tier uint8

// The tiers.
const (
	Pooled Tier = iota // through one pooled buffer: less than Small bytes
	Plain              // through two blocks in turn, and the page cache
	Direct             // through two blocks in turn, past the page cache (O_DIRECT) on at least one side
	// Locked is as Direct, through blocks whose pages are locked in memory (mlock) and that are kept for the next copy. They are not pinned as
	// CUDA has it: that belongs to the context of the process that copies to the GPU, which is the job's own, and one in a stager would
	// take hundreds of MB of the VRAM that was granted to the job.
	Locked
	Cloned // not copied: the file system shares the blocks (FICLONE)
	Linked // not copied: a symbolic link
	NumTiers
)

var tierNames = [...]string{"pooled", "plain", "direct", "locked", "cloned", "linked"}

func (t Tier) String() string { return tierNames[t] }

const (
	// Small is the size from which on blocks are used.
	Small = 1 << 20
	// Block is the size of a block.
	Block = 4 << 20
	align = 4096 // of addresses, offsets and lengths of direct copies: enough for all common devices
)

var pooled = sync.Pool{New: func() any {
	b := make([]byte, Small)
	return &b
}}

type lockedKey struct{}

// WithLocked returns a context under which copies go through page-locked blocks: for what a GPU's job reads again and again.
func WithLocked(ctx context.Context) context.Context {
	return context.WithValue(ctx, lockedKey{}, true)
}

// Copy copies at most size bytes, and says how. Reading, and what r does besides as hashing, goes on while the block before is written.
// Where r or w is a file and size is not small, it is read or written past the page cache as far as the file system can; what is in the cache
// already is read from there.
func Copy(ctx context.Context, w io.Writer, r io.Reader, size int64) (int64, Tier, error) {
	if size < Small {
		b := pooled.Get().(*[]byte)
		defer pooled.Put(b)
		n, err := io.ReadFull(r, (*b)[:size])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return 0, Pooled, err
		}
		m, err := w.Write((*b)[:n])
		return int64(m), Pooled, err
	}
	tier := Plain
	from, to := directReader(r), directWriter(w)
	defer from.plain()
	defer to.plain()
	if from.on || to.on {
		tier = Direct
	}
	var blocks [2]*block
	for i := range blocks {
		var err error
		if blocks[i], err = takeBlock(ctx.Value(lockedKey{}) != nil); err != nil {
			return 0, tier, err
		}
		defer blocks[i].give()
		if blocks[i].locked {
			tier = Locked
		}
	}
	n, err := pipeline(ctx, to, from, size, [2][]byte{blocks[0].b, blocks[1].b})
	return n, tier, err
}

// pipeline copies through two blocks: one is read while the other is written. It returns when nothing touches the blocks any more.
func pipeline(ctx context.Context, w *directFile, r *directFile, size int64, blocks [2][]byte) (int64, error) {
	type part struct {
		b   []byte
		err error
	}
	free, full := make(chan []byte, 2), make(chan part, 2)
	free <- blocks[0]
	free <- blocks[1]
	go func() {
		defer close(full)
		for left := size; left > 0; {
			b, ok := <-free
			if !ok {
				return
			}
			n, err := r.fill(b, min(left, Block))
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
			n, err = w.write(p.b)
			done += int64(n)
			if err == nil && p.err != nil && !errors.Is(p.err, io.ErrUnexpectedEOF) && !errors.Is(p.err, io.EOF) {
				err = p.err
			}
			if err != nil {
				close(free) // the reader ends at its next block
			}
		}
		if err == nil {
			free <- p.b[:Block]
		}
	}
	return done, err
}

// directFile is one side of a copy: past the page cache while on.
type directFile struct {
	r    io.Reader
	w    io.Writer
	f    *os.File // nil where it is none
	on   bool
	gone bool // at the file's end
}

func directReader(r io.Reader) *directFile {
	d := &directFile{r: r}
	if f, ok := r.(*os.File); ok {
		d.f = f
		if at, err := f.Seek(0, io.SeekCurrent); err == nil && at%align == 0 && !cached(f, at) {
			d.on = setDirect(f, true) == nil
		}
	}
	return d
}

func directWriter(w io.Writer) *directFile {
	d := &directFile{w: w}
	if f, ok := w.(*os.File); ok {
		d.f = f
		if at, err := f.Seek(0, io.SeekCurrent); err == nil && at%align == 0 {
			d.on = setDirect(f, true) == nil
		}
	}
	return d
}

// plain makes the file go through the page cache again.
func (d *directFile) plain() {
	if d.on {
		d.on = false
		_ = setDirect(d.f, false)
	}
}

// fill reads n bytes into b, which has room for a whole block.
func (d *directFile) fill(b []byte, n int64) (int, error) {
	if !d.on {
		return io.ReadFull(d.r, b[:n])
	}
	if d.gone {
		return 0, io.EOF
	}
	want := (n + align - 1) / align * align // more than wanted: lengths are aligned
	got := 0
	for int64(got) < want {
		m, err := d.f.Read(b[got:want])
		got += m
		switch {
		case err == nil && m > 0 && m%align == 0:
			continue
		case got == 0 && errors.Is(err, unix.EINVAL): // the file system cannot after all
			d.plain()
			return io.ReadFull(d.r, b[:n])
		case err != nil && !errors.Is(err, io.EOF):
			return int(min(int64(got), n)), err
		}
		d.gone = true // a length that is not aligned is the file's end
		break
	}
	if int64(got) < n {
		return got, io.ErrUnexpectedEOF
	}
	return int(n), nil
}

// write writes b.
func (d *directFile) write(b []byte) (int, error) {
	if !d.on {
		return d.w.Write(b)
	}
	whole := len(b) / align * align
	n := 0
	if whole > 0 {
		var err error
		if n, err = d.f.Write(b[:whole]); err != nil {
			if n > 0 || !errors.Is(err, unix.EINVAL) {
				return n, err
			}
			d.plain()
			return d.w.Write(b)
		}
	}
	if whole == len(b) {
		return n, nil
	}
	d.plain() // only the last block is not whole
	m, err := d.w.Write(b[whole:])
	return n + m, err
}

// block is a block of pages.
type block struct {
	b      []byte
	locked bool
}

// kept are the locked blocks that nobody uses: to lock pages takes longer than to copy them.
var kept struct {
	sync.Mutex
	free   []*block
	refuse bool // the pages of this process cannot be locked
}

// maxKept bounds them: two copies at a time.
const maxKept = 4

// takeBlock returns a block, whose pages are locked where that is asked for and possible.
func takeBlock(lock bool) (*block, error) {
	if !lock {
		b, err := pages(Block)
		return &block{b: b}, err
	}
	kept.Lock()
	defer kept.Unlock()
	if n := len(kept.free); n > 0 {
		b := kept.free[n-1]
		kept.free = kept.free[:n-1]
		return b, nil
	}
	b, err := pages(Block)
	if err != nil {
		return nil, err
	}
	out := &block{b: b}
	if !kept.refuse {
		if out.locked = unix.Mlock(b) == nil; !out.locked {
			kept.refuse = true
		}
	}
	return out, nil
}

// give gives the block back.
func (b *block) give() {
	if b.locked {
		kept.Lock()
		defer kept.Unlock()
		if len(kept.free) < maxKept {
			kept.free = append(kept.free, b)
			return
		}
	}
	_ = unix.Munmap(b.b) // the lock goes with the pages
}

// pages returns memory that begins at a page.
func pages(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("%d bytes of memory: %w", n, err)
	}
	return b, nil
}
