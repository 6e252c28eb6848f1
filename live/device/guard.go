package device

import (
	"time"
)

// Guard wraps a driver whose calls may hang, as NVML's do when a GPU or its driver is stuck, so that Sample returns within the timeout. Until the
// driver answers again, every GPU is Failed; the answer that came late is dropped. A Close while a call hangs leaves the driver open, for it
// cannot be closed under a call.
func Guard(d Driver, timeout time.Duration) Driver {
	return &guard{Driver: d, timeout: timeout, answer: make(chan []Sample, 1)}
}

type guard struct {
	Driver
	timeout time.Duration
	answer  chan []Sample
	spare   []Sample // the buffer of the driver's own, so that a late answer does not write into the caller's
	asked   bool
	timer   *time.Timer
}

func (g *guard) Sample(dst []Sample) []Sample {
	if !g.asked {
		g.ask()
	}
	if g.timer == nil {
		g.timer = time.NewTimer(g.timeout)
	} else {
		g.timer.Reset(g.timeout)
	}
	select {
	case got := <-g.answer:
		g.timer.Stop()
		g.asked, g.spare = false, got
		return copySamples(dst, got)
	case <-g.timer.C:
	}
	dst = blank(dst, len(g.List()))
	for i := range dst {
		dst[i].State, dst[i].Why = Failed, "the GPU driver does not answer"
	}
	return dst
}

func (g *guard) ask() {
	g.asked = true
	spare := g.spare
	g.spare = nil
	go func() { g.answer <- g.Driver.Sample(spare) }()
}

func (g *guard) Close() error {
	if g.asked {
		select {
		case <-g.answer:
			g.asked = false
		case <-time.After(g.timeout):
			return nil
		}
	}
	return g.Driver.Close()
}

// copySamples copies, with the lists of processes, into the memory of dst.
func copySamples(dst, from []Sample) []Sample {
	dst = blank(dst, len(from))
	for i := range from {
		processes := append(dst[i].Processes, from[i].Processes...)
		dst[i] = from[i]
		dst[i].Processes = processes
	}
	return dst
}
