package sched_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestTheWindowGrowsUnderLoadAndIsGoneWhenIdle(t *testing.T) {
	w := sched.BatchWindow{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}
	var got []time.Duration
	for _, facts := range []int{1, 2, 16, 100, 100, 100, 8, 8, 1, 1, 1, 1} {
		got = append(got, w.Next(facts)/time.Millisecond)
	}
	want := []time.Duration{0, 0, 10, 20, 40, 50, 50, 50, 25, 12, 0, 0}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("windows %v ms, want %v", got, want)
		}
	}
	var zero sched.BatchWindow
	if d := zero.Next(1000); d != 0 {
		t.Errorf("the zero window waits %v", d)
	}
}

func TestTheWindowStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := time.Duration(rapid.IntRange(1, 1000).Draw(t, "min"))
		w := sched.BatchWindow{Min: lo, Max: lo + time.Duration(rapid.IntRange(0, 1000).Draw(t, "more")), Many: rapid.IntRange(0, 20).Draw(t, "many")}
		for range 50 {
			if d := w.Next(rapid.IntRange(0, 40).Draw(t, "facts")); d != 0 && (d < w.Min || d > w.Max) {
				t.Fatalf("window %v outside %v..%v", d, w.Min, w.Max)
			}
		}
	})
}

func TestAWindowIsWrittenAsAdaptiveFixedOrNone(t *testing.T) {
	const ms = time.Millisecond
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
	for _, facts := range []int{1, 100, 1, 1} {
		if d := fixed.Next(facts); d != 20*ms {
			t.Errorf("a fixed window of %v after %d facts, want 20 ms", d, facts)
		}
	}
}
