package live

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// The clock follows a wall clock that is ahead and goes on beside one that was set back.
func TestTheClockNeitherFallsNorStands(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps [][3]int64 // monotonic clock, wall clock, what is told; s
	}{
		{"both go", [][3]int64{{100, 0, 0}, {101, 1, 1}, {105, 5, 5}}},
		{"it is set back while it runs", [][3]int64{{100, 10, 10}, {101, -3599, 11}, {102, -3598, 12}, {4000, 300, 3910}}},
		{"it begins before the beginning of all", [][3]int64{{100, -7200, -7200}, {101, -7199, -7199}}},
		{"it is set forward, and back again", [][3]int64{{100, 1, 1}, {101, 86401, 86401}, {102, 3, 86402}, {103, 4, 86403}}},
		{"the machine slept", [][3]int64{{100, 1, 1}, {101, 602, 602}, {102, 603, 603}}},
	} {
		var k clock
		for _, s := range c.steps {
			if got := k.tell(time.Duration(s[0])*time.Second, sched.Time(s[1])*1e9); got != sched.Time(s[2])*1e9 {
				t.Errorf("%s: at %d, with the wall clock at %d, it tells %v, want %d", c.name, s[0], s[1], got.Seconds(), s[2])
			}
		}
	}
}
