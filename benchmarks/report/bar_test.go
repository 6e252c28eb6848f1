package report

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type counter struct {
	writes int
	last   string
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	c.last = string(p)
	return len(p), nil
}

func TestTheBarIsDrawnTwentyTimesASecondHoweverOftenItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counter
		b := NewBar(&c)
		for ms := range 2000 {
			b.At(float64(ms), 2000)
			if ms < 200 && c.writes > 0 {
				t.Fatalf("drawn after %d ms: a short run needs no bar", ms)
			}
			time.Sleep(time.Millisecond)
		}
		if c.writes < 30 || c.writes > 36 { // 1.8 s
			t.Errorf("drawn %d times in 1.8 s", c.writes)
		}
		if !strings.Contains(c.last, "98 %") && !strings.Contains(c.last, "99 %") {
			t.Errorf("at last %q", c.last)
		}
		b.Clear()
		if strings.Trim(c.last, "\r ") != "" {
			t.Errorf("cleared with %q", c.last)
		}
		(*Bar)(nil).At(1, 2)
		(*Bar)(nil).Clear()
	})
}
