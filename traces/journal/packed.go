package journal

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxPackedWindow is how far the unpacking of a packed journal looks back at most.
const maxPackedWindow = 128 << 20

// unpacked returns a temporary file of what f holds packed by gzip or zstd, or nil where it is not: a journal is read from its end. Of one that
// was cut short the file has what can still be unpacked.
func unpacked(f *os.File, name string) (_ *os.File, err error) {
	magic := make([]byte, 4)
	if n, err := f.ReadAt(magic, 0); err != nil && err != io.EOF {
		return nil, err
	} else {
		magic = magic[:n]
	}
	var in io.Reader
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: gzip: %w", name, err)
		}
		in = z
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxPackedWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("%s: zstd: %w", name, err)
		}
		defer z.Close()
		in = z
	default:
		return nil, nil
	}
	first := make([]byte, 8+4)
	n, err := io.ReadFull(in, first)
	if n < len(first) || string(first[8:11]) != tag1[:3] { // whatever else it is need not be unpacked
		return nil, fmt.Errorf("%s: not a journal, or cut short within its header", name)
	}
	to, err := os.CreateTemp("", "schedlab-journal-*")
	if err != nil {
		return nil, fmt.Errorf("%s: to unpack it: %w", name, err)
	}
	_ = os.Remove(to.Name()) // where that can be while it is open; else Close does
	defer func() {
		if err != nil {
			discard(to)
		}
	}()
	source := &failing{r: in}
	if _, err := io.Copy(to, io.MultiReader(bytes.NewReader(first), source)); err != nil && err != source.err {
		return nil, fmt.Errorf("%s: to unpack it: %w", name, err)
	}
	if source.err != nil && !errors.Is(source.err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: damaged: %w", name, source.err)
	}
	return to, nil
}

// failing keeps the error of a reader apart from that of whoever is written to.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// discard closes a temporary file that is gone, or goes now.
func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
