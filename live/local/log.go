package local

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
)

// logFile is an attempt's log: what the command writes, rotated, and never a reason for the command to wait. What does not get to the
// disk is dropped and its lines counted.
type logFile struct {
	mu      sync.Mutex
	path    string
	max     int64 // bytes of one file
	keep    int   // older files
	f       *os.File
	size    int64
	dropped int64 // lines
	torn    bool  // the file ends amid a line, because the rest did not get there
}

func openLog(path string, maxBytes int64, keep int) *logFile {
	return &logFile{path: path, max: maxBytes, keep: keep} // made with the first line
}

func (l *logFile) open() {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		l.f = nil
		return
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		l.f = nil
		return
	}
	l.f, l.size = f, st.Size()
}

// Write takes all of p, whatever becomes of it.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		part := p
		if l.max > 0 && l.size+int64(len(p)) > l.max { // up to the last line that still fits
			room := int(max(l.max-l.size, 0))
			part = p[:bytes.LastIndexByte(p[:room], '\n')+1]
			if len(part) == 0 && l.size > 0 {
				l.rotate()
				if l.f == nil || l.size > 0 { // it cannot be rotated: it grows on
					l.put(p)
					return n, nil
				}
				continue
			}
			if len(part) == 0 { // a line longer than a file
				part = p[:min(len(p), int(l.max))]
			}
		}
		l.put(part)
		p = p[len(part):]
	}
	return n, nil
}

// put writes p to the file as far as it takes it.
func (l *logFile) put(p []byte) {
	if l.f == nil {
		l.open()
	}
	if l.f == nil {
		l.drop(p)
		return
	}
	if l.torn { // the next line begins on a line of its own
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return
		}
		p, l.torn = p[i:], false
	}
	w, err := l.f.Write(p)
	l.size += int64(w)
	if err != nil {
		l.drop(p[w:])
		l.torn = w > 0 && p[w-1] != '\n'
	}
}

func (l *logFile) drop(p []byte) { l.dropped += int64(max(bytes.Count(p, []byte{'\n'}), 1)) }

func (l *logFile) rotate() {
	_ = l.f.Close()
	l.f = nil
	if l.keep <= 0 {
		_ = os.Remove(l.path)
	} else {
		_ = os.Remove(older(l.path, l.keep))
		for i := l.keep - 1; i >= 0; i-- {
			_ = os.Rename(older(l.path, i), older(l.path, i+1))
		}
	}
	l.open()
}

// older returns the name of the i-th file before the one that is being written, which is the 0-th.
func older(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

func (l *logFile) close() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close()
		l.f = nil
	}
	return l.dropped
}

// LogReader reads an attempt's log as it grows, from the oldest file that is kept, whenever that is rotated.
type LogReader struct {
	Path  string
	files []logPart // oldest first
}

type logPart struct {
	*os.File
	gap bool // before it something may be missing
}

// Copy writes what is in the log by now and was not written before.
func (l *LogReader) Copy(w io.Writer) error {
	l.look()
	n := len(l.files)
	if n == 0 {
		return nil
	}
	st, err := l.files[n-1].Stat() // the others grow no more
	if err != nil {
		return err
	}
	for i := range n {
		f, left := &l.files[0], int64(-1)
		if i == n-1 {
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			left = st.Size() - at
		}
		if f.gap {
			f.gap = false
			if _, err := io.WriteString(w, "schedlab: lines may be missing here: the log was rotated faster than it was read\n"); err != nil {
				return err
			}
		}
		for left != 0 {
			const part = 1 << 20
			m := int64(part)
			if left > 0 {
				m = min(m, left)
				left -= m
			}
			if _, err := io.CopyN(w, l.files[0].File, m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			l.look() // before what comes next is rotated away: who reads may be slow
		}
		if i < n-1 {
			_ = l.files[0].Close()
			l.files = l.files[1:]
		}
	}
	return nil
}

// look opens what is newer than all that is open.
func (l *LogReader) look() {
	var newest os.FileInfo
	if n := len(l.files); n > 0 {
		newest, _ = l.files[n-1].Stat()
		if now, err := os.Stat(l.Path); err == nil && os.SameFile(now, newest) {
			return
		}
	}
	for range 1000 { // again where it was rotated meanwhile
		var found []logPart // newest first
		var infos []os.FileInfo
		first, known := "", false
		// In the midst of a rotation a number is missing, or a file comes up under the next number once more.
		for i, missing := 0, 0; missing < 2 && !known; i++ {
			f, err := os.Open(older(l.Path, i))
			if err != nil {
				missing++
				continue
			}
			st, err := f.Stat()
			same := func(other os.FileInfo) bool { return os.SameFile(st, other) }
			switch {
			case err != nil, slices.ContainsFunc(infos, same):
				_ = f.Close()
			case newest != nil && same(newest):
				known = true
				_ = f.Close()
			default:
				if len(found) == 0 {
					first = f.Name()
				}
				found, infos = append(found, logPart{File: f}), append(infos, st)
			}
		}
		if len(found) == 0 {
			return
		}
		if st, err := os.Stat(first); err == nil && os.SameFile(st, infos[0]) {
			slices.Reverse(found)
			found[0].gap = newest != nil && !known
			l.files = append(l.files, found...)
			return
		}
		for _, f := range found {
			_ = f.Close()
		}
	}
}

// Close gives back what is open.
func (l *LogReader) Close() {
	for _, f := range l.files {
		_ = f.Close()
	}
	l.files = nil
}
