package tui

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// clock is the view's own time, which moves over the recordings.
type clock struct {
	at     sched.Time
	speed  float64 // trace seconds a second
	paused bool
	follow bool // stay at the end of what is recorded: live, or speed max
}

// speeds are the steps of faster and slower; beyond the last one the clock follows the end.
var speeds = []float64{
	0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 10_000_000,
}

// advance moves the clock by what has passed, not beyond what is recorded.
func (c *clock) advance(d time.Duration, from, end sched.Time) {
	switch {
	case c.follow:
		c.at = end
	case !c.paused:
		step := d.Seconds() * c.speed * 1e9
		if step > float64(end-c.at) {
			c.at = end
		} else {
			c.at += sched.Time(step)
		}
	}
	c.at = min(max(c.at, from), end)
}

// faster takes the next speed up (or down); above the last is the end of the recording.
func (c *clock) faster(up bool) {
	if c.follow {
		if !up {
			c.follow = false
		}
		return
	}
	if up {
		for _, s := range speeds {
			if s > c.speed*1.0001 {
				c.speed = s
				return
			}
		}
		c.follow, c.paused = true, false
		return
	}
	for i := len(speeds) - 1; i >= 0; i-- {
		if speeds[i] < c.speed*0.9999 {
			c.speed = speeds[i]
			return
		}
	}
}

// speedFor returns the speed at which a run of that length lasts about so long.
func speedFor(length, lasts time.Duration) float64 {
	best := speeds[0]
	for _, s := range speeds {
		if s <= length.Seconds()/lasts.Seconds()*1.2 {
			best = s
		}
	}
	return max(best, 1)
}

func (c *clock) String() string {
	switch {
	case c.follow:
		return "max"
	case c.speed >= 1:
		return strconv.FormatFloat(c.speed, 'f', -1, 64) + "x"
	}
	return strconv.FormatFloat(c.speed, 'g', 2, 64) + "x"
}

// Instant prints a time as the UI does: on the trace's own axis, or as the wall clock where it is known what 0 is. A run of minutes, whose length
// is given too, has fractions of a second.
func Instant(t sched.Time, epoch time.Time, length sched.Time) string {
	return instant(t, epoch, length)
}

// instant prints a time on the trace's own axis, or as the wall clock where it is known what 0 is. Runs of minutes have fractions of a second.
func instant(t sched.Time, epoch time.Time, length sched.Time) string {
	if !epoch.IsZero() {
		layout := "15:04:05"
		if length >= sched.Time(24*time.Hour) {
			layout = "01-02 15:04:05"
		}
		return epoch.Add(time.Duration(t)).Format(layout)
	}
	sign := ""
	if t < 0 {
		sign, t = "-", -t
	}
	if length < sched.Time(5*time.Minute) && t < 3600e9 {
		ms := int64(t) / 1e6
		return fmt.Sprintf("%s%d:%02d.%03d", sign, ms/60_000, ms/1000%60, ms%1000)
	}
	s := int64(t) / 1e9
	d, h, m := s/86400, s/3600%24, s/60%60
	if d > 0 {
		return fmt.Sprintf("%s%dd %02d:%02d:%02d", sign, d, h, m, s%60)
	}
	return fmt.Sprintf("%s%02d:%02d:%02d", sign, h, m, s%60)
}

func (s *side) instant(t sched.Time) string {
	return instant(t, s.info.Epoch, s.frame.End-s.frame.From)
}

// span prints a length of time in a few columns: <1ms 12ms 3.4s 56s 12m30s 3h05m 4d07h.
func span(d time.Duration) string {
	if d < 0 {
		return "-" + span(-d)
	}
	s := d.Seconds()
	switch {
	case d == 0:
		return "0s"
	case s < 0.0005:
		return "<1ms"
	case s < 0.9995:
		return fmt.Sprintf("%.0fms", max(s*1e3, 1))
	case s < 9.95:
		return fmt.Sprintf("%.1fs", s)
	case s < 119.5:
		return fmt.Sprintf("%.0fs", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", int(s)/60, int(s)%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", int(s)/3600, int(s)/60%60)
	}
	return fmt.Sprintf("%dd%02dh", int(s)/86400, int(s)/3600%24)
}

// seconds prints a metric in s.
func seconds(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return span(time.Duration(math.Min(v, 9e9) * 1e9))
}

// parseTime reads where to go: `end`, `start`, `50%`, seconds, `1h20m`, `1:02:03`, or relative to now with a sign before it. Where it is known what
// time of day 0 is, `15:04` and `15:04:05` are the last such time of day.
func parseTime(s string, now, from, end sched.Time, epoch time.Time) (sched.Time, error) {
	s = strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	base, sign := sched.Time(0), sched.Time(1)
	if t, ok := timeOfDay(s, end, epoch); ok {
		return t, nil
	}
	switch {
	case s == "end":
		return end, nil
	case s == "start":
		return from, nil
	case strings.HasSuffix(s, "%"):
		v, err := strconv.ParseFloat(s[:len(s)-1], 64)
		if err != nil || !(v >= 0 && v <= 100) {
			return 0, fmt.Errorf("%q is not a share between 0%% and 100%%", s)
		}
		return from + sched.Time(v/100*float64(end-from)), nil
	case strings.HasPrefix(s, "+"):
		base, s = now, s[1:]
	case strings.HasPrefix(s, "-"):
		base, sign, s = now, -1, s[1:]
	}
	d, err := parseSpan(s)
	if err != nil {
		return 0, err
	}
	return base + sign*sched.Time(d), nil
}

func timeOfDay(s string, end sched.Time, epoch time.Time) (sched.Time, bool) {
	if epoch.IsZero() {
		return 0, false
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if d, err := time.Parse(layout, s); err == nil {
			last := epoch.Add(time.Duration(end))
			t := time.Date(last.Year(), last.Month(), last.Day(), d.Hour(), d.Minute(), d.Second(), 0, last.Location())
			if t.After(last) {
				t = t.AddDate(0, 0, -1)
			}
			return sched.Time(t.Sub(epoch)), true
		}
	}
	return 0, false
}

var errTime = errors.New("a time is seconds, 1h20m, 2d, 1:02:03, 50%, start or end; with + or - before it, from now")

func parseSpan(s string) (time.Duration, error) {
	if v, err := strconv.ParseFloat(s, 64); err == nil && v >= 0 && v < 9e9 {
		return time.Duration(v * 1e9), nil
	}
	days := time.Duration(0)
	if d, rest, ok := strings.Cut(s, "d"); ok {
		v, err := strconv.Atoi(d)
		if err != nil || v < 0 || v > 100_000 {
			return 0, errTime
		}
		days, s = time.Duration(v)*24*time.Hour, rest
		if s == "" {
			return days, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return days + d, nil
	}
	sum := time.Duration(0)
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, errTime
	}
	for _, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || v > 1_000_000 {
			return 0, errTime
		}
		sum = sum*60 + time.Duration(v)
	}
	return days + sum*time.Second, nil
}
