package realtime

import (
	"fmt"
	"math"
	"math/big"
	"time"
)

// EDFSchedulable reports whether earliest deadline first meets every deadline; it is exact. Where no deadline comes before the end of
// its period and there is no jitter, that is utilization <= 1 (C. L. Liu and J. W. Layland, JACM 20(1), 1973, theorem 7).
// Otherwise the processor-demand criterion decides (S. Baruah, A. Mok and L. Rosier, RTSS 1990): for all t up to a horizon,
//
//	h(t) = sum over D_i - J_i <= t of (1 + floor((t + J_i - D_i) / T_i)) C_i  <=  t
//
// looked for from the horizon downwards (QPA: F. Zhang and A. Burns, IEEE Trans. Computers 58(9), 2009). The horizon is the shorter of the
// first busy period and sum of (T - D + J) U / (1 - U). Jitter as in M. Spuri, INRIA RR-2772, 1996. Blocking is not covered: ErrModel.
func (s Set) EDFSchedulable() (bool, error) {
	if err := s.Validate(); err != nil {
		return false, err
	}
	implicit := true
	for i := range s {
		if s[i].B > 0 {
			return false, ErrModel
		}
		implicit = implicit && s[i].Deadline() >= s[i].T && s[i].J == 0
	}
	full := s.load(s.all())
	if full > 0 {
		return false, nil
	}
	if implicit {
		return true, nil
	}
	first := time.Duration(math.MaxInt64)
	for i := range s {
		k := &s[i]
		if k.Deadline()-k.J < k.C {
			return false, nil
		}
		if k.C > 0 {
			first = min(first, k.Deadline()-k.J)
		}
	}
	if first == math.MaxInt64 {
		return true, nil // nothing to do
	}
	var c counter
	horizon, err := s.demandHorizon(full, &c)
	if err != nil {
		return false, err
	}
	t, ok := s.deadlineBefore(horizon + 1)
	for ok {
		if err := c.spend(2 * len(s)); err != nil {
			return false, err
		}
		h, fits := s.demand(t)
		switch {
		case !fits || h > t:
			return false, nil
		case h <= first:
			return true, nil
		case h < t:
			t = h
		default:
			t, ok = s.deadlineBefore(t)
		}
	}
	return true, nil
}

// demandHorizon returns an instant after which no demand can exceed the time if none did before.
func (s Set) demandHorizon(full int, c *counter) (time.Duration, error) {
	horizon := Unbounded
	if full < 0 {
		u, sum := s.exact(s.all()), new(big.Rat)
		for i := range s {
			k := &s[i]
			slack := k.T - k.Deadline() + k.J
			if slack > 0 {
				x := big.NewRat(int64(slack), 1)
				sum.Add(sum, x.Mul(x, big.NewRat(int64(k.C), int64(k.T))))
			}
		}
		sum.Quo(sum, u.Sub(big.NewRat(1, 1), u))
		if q := new(big.Int).Quo(sum.Num(), sum.Denom()); q.IsInt64() && q.Int64() < int64(Limit) {
			horizon = time.Duration(q.Int64()) + 1
		}
	} else if h, ok := s.Hyperperiod(); ok {
		// At full load the demand of one hyperperiod repeats.
		longest := time.Duration(0)
		for i := range s {
			longest = max(longest, s[i].Deadline())
		}
		if h+longest <= Limit {
			horizon = h + longest
		}
	}
	// The first busy period may be much shorter; it is not worth more steps than the search itself.
	part := counter(Steps / 2)
	busy, err := s.finish(1, 0, s.all(), horizon, &part)
	if err == nil && busy < horizon {
		return busy, nil
	}
	if horizon > Limit {
		if err == nil {
			err = ErrRange
		}
		return 0, err
	}
	return horizon, c.spend(1)
}

// demand returns the work that is released at or after 0 and due by t, every job released as late as its jitter allows at the first
// and as early as it may afterwards. It reports false beyond the limit.
func (s Set) demand(t time.Duration) (time.Duration, bool) {
	var h time.Duration
	for i := range s {
		k := &s[i]
		x := t + k.J - k.Deadline()
		if x < 0 {
			continue
		}
		w, ok := scale(int64(x/k.T)+1, k.C)
		if h += w; !ok || h > Limit {
			return 0, false
		}
	}
	return h, true
}

// deadlineBefore returns the latest deadline before t, and false if there is none.
func (s Set) deadlineBefore(t time.Duration) (time.Duration, bool) {
	best, ok := time.Duration(0), false
	for i := range s {
		k := &s[i]
		d := k.Deadline() - k.J
		if d >= t {
			continue
		}
		d += (t - 1 - d) / k.T * k.T
		if !ok || d > best {
			best, ok = d, true
		}
	}
	return best, ok
}

// EDFResponseTimes returns the exact worst-case response times under earliest deadline first, by index; Unbounded above full load.
// A job of task i released at a ends its busy period at the least
//
//	L(a) = (1 + floor(a/T_i)) C_i + sum over j != i, D_j <= a + D_i of min(ceil(L(a)/T_j), 1 + floor((a + D_i - D_j)/T_j)) C_j
//
// and R = max over a of max(C_i, L(a) - a), where only those a count at which a + D_i is a deadline of some task released from 0 on. Source:
// M. Spuri, Analysis of deadline scheduled real-time systems, INRIA RR-2772, 1996. Jitter and blocking are not covered: ErrModel.
func (s Set) EDFResponseTimes() ([]time.Duration, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	for i := range s {
		if s[i].B > 0 || s[i].J > 0 {
			return nil, ErrModel
		}
	}
	out := make([]time.Duration, len(s))
	if s.load(s.all()) > 0 {
		for i := range out {
			out[i] = Unbounded
		}
		return out, nil
	}
	var c counter
	busy, err := s.finish(1, 0, s.all(), Unbounded, &c)
	if err != nil {
		return nil, err
	}
	for i := range s {
		k := &s[i]
		out[i] = k.C
		for j := range s {
			a := s[j].Deadline() - k.Deadline()
			if a < 0 {
				a += (-a + s[j].T - 1) / s[j].T * s[j].T
			}
			for ; a < max(busy, 1); a += s[j].T {
				l, err := s.edfBusy(i, a, &c)
				if err != nil {
					return nil, fmt.Errorf("task %d %q: %w", i+1, k.Name, err)
				}
				out[i] = max(out[i], l-a)
			}
		}
	}
	return out, nil
}

func (s Set) edfBusy(i int, a time.Duration, c *counter) (time.Duration, error) {
	k := &s[i]
	own, ok := scale(int64(a/k.T)+1, k.C)
	if !ok {
		return 0, ErrRange
	}
	due := a + k.Deadline()
	l := time.Duration(1)
	for {
		if err := c.spend(len(s)); err != nil {
			return 0, err
		}
		next := own
		for j := range s {
			x := &s[j]
			if j == i || x.Deadline() > due {
				continue
			}
			n := min((l-1)/x.T+1, 1+(due-x.Deadline())/x.T)
			w, ok := scale(int64(n), x.C)
			if next += w; !ok || next > Limit {
				return 0, ErrRange
			}
		}
		if next <= l {
			return next, nil
		}
		l = next
	}
}
