package local

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// numbered writes line i of a log.
func numbered(l *logFile, i int) { fmt.Fprintf(l, "line %d\n", i) }

// gapless checks that the text is lines first to last-1.
func gapless(t *testing.T, text string, first, last int) {
	t.Helper()
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines[:len(lines)-1] {
		if want := fmt.Sprintf("line %d\n", first+i); line != want {
			t.Fatalf("line %d of %d is %q, want %q", i, len(lines), line, want)
		}
	}
	if n := len(lines) - 1; n != last-first {
		t.Fatalf("%d lines, want %d to %d", n, first, last)
	}
}

func TestALogIsReadFromTheOldestFileThatIsKept(t *testing.T) {
	for keep := range 4 {
		l := openLog(filepath.Join(t.TempDir(), "log"), 100, keep)
		var none bytes.Buffer
		if r := (LogReader{Path: l.path}); r.Copy(&none) != nil || none.Len() > 0 {
			t.Errorf("%q of no log", none.String())
		}
		for i := range 100 {
			numbered(l, i+100)
		}
		l.close()
		// Files of 11 lines of 9 bytes; the last has one.
		first := 199 - 11*keep
		var all bytes.Buffer
		r := LogReader{Path: l.path}
		if err := r.Copy(&all); err != nil {
			t.Fatal(err)
		}
		gapless(t, all.String(), first, 200)
		if err := r.Copy(&all); err != nil {
			t.Fatal(err)
		}
		gapless(t, all.String(), first, 200) // nothing twice
		r.Close()
		// A shim that dies amid a rotation leaves no newest file.
		if err := os.Remove(l.path); err != nil {
			t.Fatal(err)
		}
		all.Reset()
		r = LogReader{Path: l.path}
		if err := r.Copy(&all); err != nil {
			t.Fatal(err)
		}
		gapless(t, all.String(), first, 199)
		r.Close()
	}
}

// slow reads for the writer: between its parts the log is written on, and rotated.
type slow struct {
	bytes.Buffer
	between func()
}

func (s *slow) Write(p []byte) (int, error) {
	s.between()
	return s.Buffer.Write(p)
}

func TestALogThatIsRotatedWhileItIsReadLosesAndDoublesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		l := openLog(filepath.Join(t.TempDir(), "log"), 100, 1+rng.IntN(3))
		r := LogReader{Path: l.path}
		n := 0
		write := func() { // not quite a file, so that it is rotated once at most
			for range rng.IntN(10) {
				numbered(l, n+100)
				n++
			}
		}
		s := &slow{between: write}
		for range 30 {
			write()
			if err := r.Copy(s); err != nil {
				t.Fatal(err)
			}
		}
		s.between = func() {}
		for range 2 {
			if err := r.Copy(s); err != nil {
				t.Fatal(err)
			}
		}
		gapless(t, s.String(), 100, n+100)
		r.Close()
		l.close()
	}
}

func TestALogThatIsRotatedByAnotherProcessorLosesAndDoublesNothing(t *testing.T) {
	const lines, size = 20000, 1000
	l := openLog(filepath.Join(t.TempDir(), "log"), size, 1)
	var written, read atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range lines {
			for written.Load()-read.Load() > size-20 { // what is not read yet fits the files that are kept
				runtime.Gosched()
			}
			numbered(l, i+100000)
			written.Add(12)
		}
	}()
	r := LogReader{Path: l.path}
	defer r.Close()
	var all bytes.Buffer
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		if err := r.Copy(&all); err != nil {
			t.Fatal(err)
		}
		read.Store(int64(all.Len()))
	}
	gapless(t, all.String(), 100000, 100000+lines)
}

func TestWhoReadsALogTooSlowlyIsTold(t *testing.T) {
	l := openLog(filepath.Join(t.TempDir(), "log"), 100, 1)
	r := LogReader{Path: l.path}
	defer r.Close()
	var all bytes.Buffer
	for i := range 100 {
		if i == 5 {
			if err := r.Copy(&all); err != nil {
				t.Fatal(err)
			}
		}
		numbered(l, i+100)
	}
	if err := r.Copy(&all); err != nil {
		t.Fatal(err)
	}
	// The file that was open is read to its end; of those after it two are left.
	before, after, ok := strings.Cut(all.String(), "schedlab: lines may be missing here: the log was rotated faster than it was read\n")
	if !ok {
		t.Fatalf("%q", all.String())
	}
	gapless(t, before, 100, 111)
	gapless(t, after, 188, 200)
}

// Where the log was slow, what is left in the pipe is logged, and nobody is said to hold that open who does not.
func TestWhatIsLeftOfAnOutputIsLoggedAndWhetherItIsHeldOpenIsKnown(t *testing.T) {
	for _, held := range []bool{false, true} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		defer write.Close()
		for i := range 5000 {
			fmt.Fprintf(write, "line %d\n", i)
		}
		if !held {
			_ = write.Close()
		}
		s := &shim{log: openLog(filepath.Join(t.TempDir(), "log"), 1<<20, 1)}
		if open := s.logRest(read); open != held {
			t.Errorf("held open: %v, want %v", open, held)
		}
		s.log.close()
		text, err := os.ReadFile(s.log.path)
		if err != nil {
			t.Fatal(err)
		}
		gapless(t, string(text), 0, 5000)
	}
}
