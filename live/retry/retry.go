// Package retry says how long a failed attempt waits before it is tried again, and whether it may be: bounded backoff with jitter, and a
// budget that keeps retries from multiplying the load when everything fails at once. It does no I/O and asks no clock.
package retry

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Spread is how much the jitter adds to a backoff at most, as a share of it: never less than was asked for is waited.
const Spread = 0.5

// Wait returns how long to wait before the n-th retry (n from 1) of a task: sched.RetryBackoff, and up to Spread of it more, so that tasks
// that failed together do not come back together. What is added follows from the seed, the task and n alone.
func Wait(base time.Duration, seed uint64, task sched.TaskID, n int) time.Duration {
	d := sched.RetryBackoff(base, n)
	// The upper 63 bits of the product of a uniform 64-bit number and half of d: uniform in [0, d/2).
	more, _ := bits.Mul64(mix(mix(mix(seed)^uint64(task))^uint64(n)), uint64(float64(d)*Spread))
	return d + time.Duration(more)
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) behind its increment: every bit of the result depends on every
// bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Limit is a retry budget: of the attempts that were started within Window, no more than Share may be retries; but Min may at any rate.
// The zero value is none. RPC systems bound retries so: to 10 % of a client's requests in Beyer et al., "Site Reliability Engineering"
// (2016), chapter 21, to 20 % and 10 a second in Finagle.
type Limit struct {
	Share  float64 // 0.1 = 10 %
	Window time.Duration
	Min    int
	Per    string // whose attempts are counted together: tenant, queue, tenant+queue or all
}

// Pers returns the words that Per can be.
func Pers() []string { return []string{"tenant", "queue", "tenant+queue", "all"} }

// ParseLimit reads none, or a share and what differs from the defaults: 10%, or 10%,window=1h,min=10,per=tenant.
func ParseLimit(text string) (Limit, error) {
	if text == "none" || text == "" {
		return Limit{}, nil
	}
	l := Limit{Window: time.Hour, Min: 10, Per: "tenant"}
	bad := func(what string) (Limit, error) {
		return Limit{}, fmt.Errorf("retry budget %q: %s; write it as none, 10%% or 10%%,window=1h,min=10,per=tenant", text, what)
	}
	share, rest, more := strings.Cut(text, ",")
	percent, ok := strings.CutSuffix(strings.TrimSpace(share), "%")
	v, err := strconv.ParseFloat(percent, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return bad("it begins with a share from 0% to 100%")
	}
	l.Share = v / 100
	for more {
		var word string
		word, rest, more = strings.Cut(rest, ",")
		key, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		switch key {
		case "window":
			if l.Window, err = time.ParseDuration(value); err != nil || l.Window < time.Second || l.Window > 30*24*time.Hour {
				return bad("a window is a duration from 1s to 720h")
			}
		case "min":
			if l.Min, err = strconv.Atoi(value); err != nil || l.Min < 0 {
				return bad("min is a number of retries")
			}
		case "per":
			l.Per = ""
			for _, p := range Pers() {
				if p == value {
					l.Per = p
				}
			}
			if l.Per == "" {
				return bad("per is one of " + strings.Join(Pers(), ", "))
			}
		default:
			return bad(fmt.Sprintf("unknown %q", key))
		}
	}
	return l, nil
}

// String returns the limit as ParseLimit reads it.
func (l Limit) String() string {
	if l.Window == 0 {
		return "none"
	}
	return fmt.Sprintf("%s%%,window=%s,min=%d,per=%s", strconv.FormatFloat(l.Share*100, 'g', -1, 64), l.Window, l.Min, l.Per)
}

// slices is how many parts the window has: what is older than it is forgotten a part at a time, so it is up to a part longer.
const slices = 12

// Budget counts attempts and retries. It is for one goroutine. Times may not go back.
type Budget struct {
	l   Limit
	use map[key]*use
}

type key struct{ tenant, queue string }

type use struct {
	at       int64 // number of the newest part
	attempts [slices + 1]int
	retries  [slices + 1]int
}

// New returns a budget of which nothing is spent.
func New(l Limit) *Budget { return &Budget{l: l, use: map[key]*use{}} }

// Limit returns the budget's limit.
func (b *Budget) Limit() Limit { return b.l }

// of returns the count that a tenant's and queue's attempts are in, as of now; nil without a limit.
func (b *Budget) of(now sched.Time, tenant, queue string) *use {
	if b.l.Window == 0 {
		return nil
	}
	var k key
	if b.l.Per == "tenant" || b.l.Per == "tenant+queue" {
		k.tenant = tenant
	}
	if b.l.Per == "queue" || b.l.Per == "tenant+queue" {
		k.queue = queue
	}
	u := b.use[k]
	if u == nil {
		u = &use{}
		b.use[k] = u
	}
	at := max(int64(now)/max(int64(b.l.Window)/slices, 1), u.at)
	for n := at - u.at; n > 0 && n <= slices+1; n-- {
		i := (at - n + 1) % (slices + 1)
		u.attempts[i], u.retries[i] = 0, 0
	}
	if at-u.at > slices+1 {
		*u = use{}
	}
	u.at = at
	return u
}

func (u *use) sums() (attempts, retries int) {
	for i := range u.attempts {
		attempts += u.attempts[i]
		retries += u.retries[i]
	}
	return attempts, retries
}

// Started counts an attempt.
func (b *Budget) Started(now sched.Time, tenant, queue string) {
	if u := b.of(now, tenant, queue); u != nil {
		u.attempts[u.at%(slices+1)]++
	}
}

// Retried counts a retry that was granted.
func (b *Budget) Retried(now sched.Time, tenant, queue string) {
	if u := b.of(now, tenant, queue); u != nil {
		u.retries[u.at%(slices+1)]++
	}
}

// Refusal begins what Refuses says.
const Refusal = "retry budget"

// Refuses says why an attempt that failed now may not be tried again; "" if it may.
func (b *Budget) Refuses(now sched.Time, tenant, queue string) string {
	u := b.of(now, tenant, queue)
	if u == nil {
		return ""
	}
	attempts, retries := u.sums()
	if retries < b.l.Min || float64(retries+1) <= b.l.Share*float64(attempts) {
		return ""
	}
	whose := map[string]string{
		"tenant": fmt.Sprintf("tenant %q", tenant), "queue": fmt.Sprintf("queue %q", queue), "tenant+queue": fmt.Sprintf("tenant %q in queue %q", tenant, queue), "all": "all",
	}[b.l.Per]
	return fmt.Sprintf("%s of %s is spent: %d of %d attempts within %s were retries, and %g%% may be, or %d", Refusal, whose, retries, attempts, b.l.Window, b.l.Share*100, b.l.Min)
}
