package sched

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// BatchWindow is the decision window (S14): how long the facts of a moment are gathered before the kernel is asked. It is 0 while facts come
// one at a time, so that a lone task starts at once, and between Min and Max while they come fast, so that one decision, and live one
// write to the disk, serves many. The zero value never waits.
type BatchWindow struct {
	Min, Max time.Duration // 10 and 50 ms, say
	// Many is how many facts in the last Max make the window longer; a quarter of it makes it shorter. 0 means 16.
	Many int
	// Always makes a lone fact wait for Min too: with Max equal to Min the window is fixed.
	Always bool

	now  time.Duration
	load float64 // facts, each of the weight exp(-age / Max): how many come in Max
	at   Time    // when it was last asked
	told int64   // and facts then
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

// Next returns how long to gather facts for a batch that begins at an instant, where told facts are known in all, those of earlier batches
// and those of this one. It goes by how fast facts come, not by how many wait: where decisions are quick, none do.
func (w *BatchWindow) Next(at Time, told int64) time.Duration {
	if w.Max <= 0 {
		return 0
	}
	many := float64(w.Many)
	if many <= 0 {
		many = 16
	}
	w.load = w.load*math.Exp(-float64(max(at.Sub(w.at), 0))/float64(w.Max)) + float64(told-w.told)
	w.at, w.told = at, told
	switch {
	case w.load >= many:
		w.now = min(max(2*w.now, w.Min), w.Max)
	case w.load <= many/4:
		if w.now /= 2; w.now < w.Min {
			w.now = 0
		}
	}
	if w.Always {
		w.now = max(w.now, w.Min)
	}
	return w.now
}
