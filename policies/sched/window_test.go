package sched_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

const ms = time.Millisecond

// Facts that come one by one open the window where they come fast: nobody must wait for a decision for that.
func TestTheWindowGrowsWithTheRateOfFactsAndIsGoneWhenIdle(t *testing.T) {
	for _, c := range []struct {
		each time.Duration // between two facts
		want time.Duration // once it has settled
	}{{time.Second, 0}, {50 * ms, 0}, {ms, 50 * ms}, {100 * time.Microsecond, 50 * ms}} {
		w := sched.BatchWindow{Min: 10 * ms, Max: 50 * ms}
		at, told, d := sched.Time(0), int64(0), time.Duration(0)
		if first := w.Next(at, 1); first != 0 {
			t.Errorf("the first fact waits %v", first)
		}
		for at < sched.Time(10*time.Second) {
			at = at.Add(max(d, c.each)) // the batch ends, and the next fact comes
			told = int64(at) / int64(c.each)
			d = w.Next(at, told)
		}
		if d != c.want {
			t.Errorf("a fact every %v: window %v, want %v", c.each, d, c.want)
		}
		for range 6 {
			at = at.Add(time.Second)
			told++
			d = w.Next(at, told)
		}
		if d != 0 {
			t.Errorf("a fact every %v and then one a second: window %v, want none", c.each, d)
		}
	}
	w := sched.BatchWindow{Min: 10 * ms, Max: 50 * ms}
	if d := w.Next(0, 16); d != 10*ms {
		t.Errorf("16 facts at once: window %v, want 10 ms", d)
	}
	var zero sched.BatchWindow
	if d := zero.Next(0, 1000); d != 0 {
		t.Errorf("the zero window waits %v", d)
	}
}

func TestTheWindowStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := time.Duration(rapid.IntRange(1, 1000).Draw(t, "min"))
		w := sched.BatchWindow{Min: lo, Max: lo + time.Duration(rapid.IntRange(0, 1000).Draw(t, "more")), Many: rapid.IntRange(0, 20).Draw(t, "many")}
		at, told := sched.Time(0), int64(0)
		for range 50 {
			at, told = at.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "apart"))), told+int64(rapid.IntRange(0, 40).Draw(t, "facts"))
			if d := w.Next(at, told); d != 0 && (d < w.Min || d > w.Max) {
				t.Fatalf("window %v outside %v..%v", d, w.Min, w.Max)
			}
		}
	})
}

func TestAWindowIsWrittenAsAdaptiveFixedOrNone(t *testing.T) {
	for text, want := range map[string]sched.BatchWindow{"0": {}, "10ms-50ms": {Min: 10 * ms, Max: 50 * ms}, "20ms": {Min: 20 * ms, Max: 20 * ms, Always: true}} {
		if got, err := sched.ParseBatchWindow(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "50ms-10ms", "-5ms", "2h", "fast"} {
		if got, err := sched.ParseBatchWindow(text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	fixed, _ := sched.ParseBatchWindow("20ms")
	for at, facts := range []int64{1, 100, 1, 1} {
		if d := fixed.Next(sched.Time(at)*sched.Time(time.Second), facts); d != 20*ms {
			t.Errorf("a fixed window of %v after %d facts, want 20 ms", d, facts)
		}
	}
}

func TestShortDurationsReadBackAndEndInNoZeroUnits(t *testing.T) {
	for text, d := range map[string]time.Duration{"0s": 0, "10m": 10 * time.Minute, "720h": 720 * time.Hour, "1h30m": 90 * time.Minute, "1h0m5s": time.Hour + 5*time.Second, "20ms": 20 * ms} {
		if got := sched.ShortDuration(d); got != text {
			t.Errorf("%v is %q, want %q", d, got, text)
		}
		if back, err := time.ParseDuration(text); err != nil || back != d {
			t.Errorf("%q reads as %v", text, back)
		}
	}
}
