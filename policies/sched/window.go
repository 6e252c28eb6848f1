package sched

import (
	"fmt"
	"strings"
	"time"
)

// BatchWindow is the decision window (S14): how long the facts of a moment are gathered before the kernel is asked. It is 0 while facts come
// one at a time, so that a lone task starts at once, and between Min and Max while they come fast, so that one decision, and live one
// write to the disk, serves many. The zero value never waits.
type BatchWindow struct {
	Min, Max time.Duration // 10 and 50 ms, say
	// Many is how many facts in one batch make the window longer; a quarter of it makes it shorter. 0 means 16.
	Many int
	// Always makes a lone fact wait for Min too: with Max equal to Min the window is fixed.
	Always bool

	now time.Duration
}

// ParseBatchWindow reads 10ms-50ms (adaptive), 20ms (fixed) or 0 (none).
func ParseBatchWindow(text string) (BatchWindow, error) {
	if text == "0" {
		return BatchWindow{}, nil
	}
	from, to, adaptive := strings.Cut(text, "-")
	if !adaptive {
		to = from
	}
	lo, err := time.ParseDuration(from)
	hi, err2 := time.ParseDuration(to)
	if err != nil || err2 != nil || lo <= 0 || hi < lo || hi > time.Minute {
		return BatchWindow{}, fmt.Errorf("window %q: write it as 10ms-50ms (adaptive), 20ms (fixed) or 0 for none", text)
	}
	return BatchWindow{Min: lo, Max: hi, Always: !adaptive}, nil
}

// Next returns how long to gather facts for the batch after one of that many.
func (w *BatchWindow) Next(facts int) time.Duration {
	many := w.Many
	if many <= 0 {
		many = 16
	}
	switch {
	case w.Max <= 0:
		return 0
	case facts >= many:
		w.now = min(max(2*w.now, w.Min), w.Max)
	case facts <= many/4:
		if w.now /= 2; w.now < w.Min {
			w.now = 0
		}
	}
	if w.Always {
		w.now = max(w.now, w.Min)
	}
	return w.now
}
