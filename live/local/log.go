package local

import (
	"bytes"
	"os"
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
	name := func(i int) string { return l.path + "." + strconv.Itoa(i) }
	if l.keep <= 0 {
		_ = os.Remove(l.path)
	} else {
		_ = os.Remove(name(l.keep))
		for i := l.keep - 1; i >= 1; i-- {
			_ = os.Rename(name(i), name(i+1))
		}
		_ = os.Rename(l.path, name(1))
	}
	l.open()
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
