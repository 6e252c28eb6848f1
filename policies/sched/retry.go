package sched

import "time"

// Failures returns how often an attempt of t has failed and was to be tried again, and MayRetry whether the running attempt would be, if it
// failed now.
func (s *State) Failures(t TaskID) int {
	if s.Phase(t) == Unknown {
		return 0
	}
	return int(s.rows[t].fails)
}

// MayRetry reports whether a failure of the running attempt would be tried again; see Failures.
func (s *State) MayRetry(t TaskID) bool {
	if p := s.Phase(t); p != Running && p != Stopping {
		return false
	}
	rw := &s.rows[t]
	return rw.flags&flagCancel == 0 && int32(rw.fails) < s.Class(t).Retries && rw.fails < 255
}

// RetryAt returns when a task in Backoff is ready again. It looks at all that are.
func (k *Kernel) RetryAt(t TaskID) (Time, bool) {
	if k.Phase(t) == Backoff {
		for _, b := range k.backoffs {
			if b.t == t {
				return b.at, true
			}
		}
	}
	return 0, false
}

// RetryBackoff returns the wait before the n-th retry (n from 1): base doubled each time, at most 64 times base.
func RetryBackoff(base time.Duration, n int) time.Duration {
	return MulDiv(max(base, 0), 1<<min(max(n-1, 0), 6), 1, false)
}
