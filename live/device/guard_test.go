package device

import (
	"testing"
	"time"
)

// stuck is a driver that answers when it is let.
type stuck struct {
	none
	let    chan int64
	closed bool
}

func (s *stuck) List() []GPU { return []GPU{{}} }

func (s *stuck) Sample(dst []Sample) []Sample {
	dst = blank(dst, 1)
	dst[0].Used = <-s.let
	dst[0].Processes = append(dst[0].Processes, Process{PID: 1, VRAM: dst[0].Used})
	return dst
}

func (s *stuck) Close() error { s.closed = true; return nil }

func TestADriverThatHangsDoesNotHoldUpItsCaller(t *testing.T) {
	d := &stuck{let: make(chan int64, 4)}
	g := Guard(d, 20*time.Millisecond)
	d.let <- 1
	s := g.Sample(nil)
	if s[0].State != OK || s[0].Used != 1 || len(s[0].Processes) != 1 {
		t.Fatalf("%+v", s)
	}
	for range 3 {
		begin := time.Now()
		if s = g.Sample(s); s[0].State != Failed || s[0].Used != Unknown || len(s[0].Processes) != 0 {
			t.Fatalf("%+v", s)
		}
		if waited := time.Since(begin); waited > 2*time.Second {
			t.Errorf("it took %v", waited)
		}
	}
	d.let <- 2
	if s = g.Sample(s); s[0].State != OK || s[0].Used != 2 || len(s[0].Processes) != 1 || s[0].Processes[0].VRAM != 2 {
		t.Errorf("%+v", s)
	}
	d.let <- 3
	if s = g.Sample(s); s[0].Used != 3 || len(s[0].Processes) != 1 {
		t.Errorf("%+v", s)
	}
	if err := g.Close(); err != nil || !d.closed {
		t.Error(err)
	}
}

func TestADriverThatHangsIsNotClosedUnderTheCall(t *testing.T) {
	d := &stuck{let: make(chan int64)}
	g := Guard(d, time.Millisecond)
	g.Sample(nil)
	if err := g.Close(); err != nil || d.closed {
		t.Errorf("%v, closed %v", err, d.closed)
	}
	d.let <- 1 // ends the goroutine
}
