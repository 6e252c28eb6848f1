package report

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// Bar is a progress bar on a terminal. It appears once a run takes long enough to be waited for, and is drawn at most twenty times a second:
// a simulation may ask for it far more often. The nil Bar draws nothing. It is for one goroutine at a time.
type Bar struct {
	w     io.Writer
	began time.Time
	drawn time.Time // zero: never
}

// NewBar returns a bar that writes to w, a terminal.
func NewBar(w io.Writer) *Bar { return &Bar{w: w, began: time.Now()} }

// At shows that done of total is done.
func (b *Bar) At(done, total float64) {
	if b == nil || total <= 0 {
		return
	}
	now := time.Now()
	if now.Sub(b.began) < 200*time.Millisecond || now.Sub(b.drawn) < 50*time.Millisecond {
		return
	}
	const width = 30
	share := min(max(done/total, 0), 1)
	full := int(share * width)
	fmt.Fprintf(b.w, "\r  simulating [%s%s] %3.0f %%  %d processors ", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*share, runtime.GOMAXPROCS(0))
	b.drawn = now
}

// Clear takes the bar away.
func (b *Bar) Clear() {
	if b != nil && !b.drawn.IsZero() {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", 70))
	}
}
