package live

import (
	"sync"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// clock tells a time that never falls and never stands still: it follows the wall clock where that is ahead of it, as when the machine has
// slept; one that was set back is left alone, and the clock goes on as the monotonic one does.
type clock struct {
	mu    sync.Mutex
	begun bool
	told  sched.Time
	at    time.Duration // of the monotonic clock, when that was told
}

// tell returns the time. mono is of any beginning, wall is on the clock's own axis.
func (c *clock) tell(mono time.Duration, wall sched.Time) sched.Time {
	if !c.begun {
		c.begun, c.told, c.at = true, wall, mono
	}
	c.told = max(c.told.Add(mono-c.at), wall)
	c.at = mono
	return c.told
}

// process is when this process began.
var process = time.Now()

// Now returns the present time on the kernel's axis. It may be called from any goroutine.
func (l *Loop) Now() sched.Time {
	l.clock.mu.Lock()
	defer l.clock.mu.Unlock()
	now := time.Now() // under mu, so that the monotonic clock does not fall here
	return l.clock.tell(now.Sub(process), sched.Time(now.Round(0).Sub(l.Epoch)))
}

// Zero returns the instant of sched.Time 0 by the wall clock as it stands.
func (l *Loop) Zero() time.Time { return time.Now().Add(-time.Duration(l.Now())) }
