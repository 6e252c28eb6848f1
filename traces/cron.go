package traces

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// cron is a five-field line: minute, hour, day of month, month, day of week, each a set of bits. As in Vixie cron, a day matches if
// either day field does, unless one of them begins with *.
type cron struct {
	minute, hour, dom, month, dow uint64
	anyDOM, anyDOW                bool
}

var cronWords = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
	"@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

var (
	monthNames = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	dayNames   = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// parseCron reads a cron line: *, numbers, names of months and days, ranges, steps, lists, and @hourly to @yearly.
func parseCron(s string) (*cron, error) {
	if line, ok := cronWords[strings.TrimSpace(s)]; ok {
		s = line
	}
	f := strings.Fields(s)
	if len(f) != 5 {
		return nil, fmt.Errorf("%q does not have five fields", clip(s))
	}
	c := &cron{anyDOM: f[2][0] == '*', anyDOW: f[4][0] == '*'}
	for i, field := range []struct {
		to     *uint64
		lo, hi int
		names  []string
	}{{&c.minute, 0, 59, nil}, {&c.hour, 0, 23, nil}, {&c.dom, 1, 31, nil}, {&c.month, 1, 12, monthNames}, {&c.dow, 0, 7, dayNames}} {
		set, err := cronField(f[i], field.lo, field.hi, field.names)
		if err != nil {
			return nil, fmt.Errorf("cron field %q: %w", clip(f[i]), err)
		}
		*field.to = set
	}
	if c.dow&(1<<7) != 0 { // 7 is Sunday too
		c.dow |= 1
	}
	if _, ok := c.next(0); !ok {
		return nil, fmt.Errorf("%q never happens", clip(s))
	}
	return c, nil
}

func cronField(s string, lo, hi int, names []string) (uint64, error) {
	number := func(t string) (int, error) {
		for i, n := range names {
			if strings.EqualFold(t, n) {
				return i + lo, nil
			}
		}
		if !digits([]byte(t)) || len(t) > 3 {
			return 0, errors.New("not a number")
		}
		v, _ := strconv.Atoi(t)
		if v < lo || v > hi {
			return 0, fmt.Errorf("outside %d..%d", lo, hi)
		}
		return v, nil
	}
	set := uint64(0)
	for part := range strings.SplitSeq(s, ",") {
		span, stepText, hasStep := strings.Cut(part, "/")
		from, to, step := lo, hi, 1
		var err error
		if span != "*" {
			a, z, isRange := strings.Cut(span, "-")
			if from, err = number(a); err != nil {
				return 0, err
			}
			switch {
			case isRange:
				if to, err = number(z); err != nil {
					return 0, err
				}
			case !hasStep:
				to = from
			}
		}
		if hasStep {
			if !digits([]byte(stepText)) || len(stepText) > 3 {
				return 0, errors.New("not a step")
			}
			step, _ = strconv.Atoi(stepText)
		}
		if from > to || step == 0 {
			return 0, errors.New("an empty range")
		}
		for v := from; v <= to; v += step {
			set |= 1 << v
		}
	}
	return set, nil
}

// next returns the first match after the given second of the Unix epoch; false if there is none in nine years (the longest wait is
// for a 29 February over a turn of century).
func (c *cron) next(after int64) (int64, bool) {
	t := time.Unix(after, 0).UTC().Truncate(time.Minute).Add(time.Minute)
	limit := t.AddDate(9, 0, 0)
	for t.Before(limit) {
		if c.month&(1<<int(t.Month())) == 0 {
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		dom, dow := c.dom&(1<<t.Day()) != 0, c.dow&(1<<int(t.Weekday())) != 0
		day := dom || dow
		if c.anyDOM || c.anyDOW {
			day = dom && dow
		}
		if !day {
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		hours := c.hour >> t.Hour()
		if hours == 0 {
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		if skip := bits.TrailingZeros64(hours); skip > 0 {
			t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour()+skip, 0, 0, 0, time.UTC)
			continue
		}
		minutes := c.minute >> t.Minute()
		if minutes == 0 {
			t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour()+1, 0, 0, 0, time.UTC)
			continue
		}
		return t.Unix() + 60*int64(bits.TrailingZeros64(minutes)), true
	}
	return 0, false
}

// NextCron returns the first time after the given one that a cron line matches, in UTC. The error says what is wrong with the line.
func NextCron(line string, after time.Time) (time.Time, error) {
	c, err := parseCron(line)
	if err != nil {
		return time.Time{}, err
	}
	next, ok := c.next(after.Unix())
	if !ok {
		return time.Time{}, fmt.Errorf("%q does not happen again", clip(line))
	}
	return time.Unix(next, 0).UTC(), nil
}
