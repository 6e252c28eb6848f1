package tui

import (
	"math"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

func TestTheVerdictIsTheSameWhicheverPolicyComesFirst(t *testing.T) {
	for _, x := range []struct {
		a, b   float64
		text   string
		better int // of the smaller value
	}{
		{100, 20, "-80.0%", 1},
		{20, 100, "+400.0%", -1},
		{20, 400, "x20", -1},
		{25, 0, "-100.0%", 1},
		{0, 25, "-", -1}, // not so many percent of nothing, and yet more
		{0, 0, "=", 0},
		{5, 5.001, "+0.0%", 0},
		{math.NaN(), 5, "-", 0},
		{5, math.NaN(), "-", 0},
	} {
		if text, better := relate(x.a, x.b, true); text != x.text || better != x.better {
			t.Errorf("%g and %g: %q, %d; want %q, %d", x.a, x.b, text, better, x.text, x.better)
		}
		if _, better := relate(x.a, x.b, false); better != -x.better {
			t.Errorf("%g and %g, the more the better: %d", x.a, x.b, better)
		}
		if _, back := relate(x.b, x.a, true); back != -x.better {
			t.Errorf("%g and %g the other way round: %d and %d", x.a, x.b, x.better, back)
		}
	}
}

func TestAScheduleOnTheBoundIsNotBelowIt(t *testing.T) {
	bound := sched.Time(1e18 + 1000) // as float64 it is a little more than the seconds of the same schedule
	f := &history.Frame{Closed: true, At: bound, End: bound}
	f.Metrics.Makespan = bound.Seconds() * (1 - 1e-15)
	f.Metrics.Finished = f.Tasks
	if got := excess(overBound(f, &Info{LowerBound: bound})); got != "+0.0%" {
		t.Errorf("a schedule on the bound is %s over it", got)
	}
}

func TestATimeTooShortForAMillisecondIsNotShownAsOne(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1: "<1ms", 499 * time.Microsecond: "<1ms", 500 * time.Microsecond: "1ms", time.Millisecond: "1ms", 999 * time.Millisecond: "999ms",
		-1: "-<1ms", time.Second: "1.0s", 119 * time.Second: "119s", 2 * time.Minute: "2m00s", 25 * time.Hour: "1d01h",
	} {
		if got := span(d); got != want {
			t.Errorf("%d ns are %q, want %q", int64(d), got, want)
		}
	}
}
