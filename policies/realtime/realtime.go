// Package realtime says whether a set of periodic tasks on one preemptive processor always meets its deadlines: by the utilization
// bounds of Liu and Layland and of Bini et al., by exact response-time analysis for fixed priorities (rate-monotonic,
// deadline-monotonic or given), and by the utilization and processor-demand tests for earliest deadline first.
//
// All arithmetic that decides is on integers (nanoseconds) or exact fractions; where a result would not fit, or would take longer than a
// bounded number of steps, there is an error and no verdict.
package realtime

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Task is one periodic (or sporadic) task.
type Task struct {
	Name     string
	C        time.Duration // longest run time of one job
	T        time.Duration // period, or the least time between two releases
	D        time.Duration // deadline from the nominal release; 0 = the period
	J        time.Duration // release jitter: a job becomes ready up to J after its nominal release
	B        time.Duration // longest time for which lower priorities block it (once a busy period, as with priority ceilings)
	Priority int32         // larger is more important; used by Given only
}

// Deadline returns D, or the period where D is 0.
func (k *Task) Deadline() time.Duration {
	if k.D == 0 {
		return k.T
	}
	return k.D
}

// Set is a task set on one processor.
type Set []Task

// Order says how fixed priorities are given.
type Order uint8

// The orders. Ties go to the task that stands first.
const (
	RM    Order = iota // rate-monotonic: the shorter period first (Liu and Layland 1973)
	DM                 // deadline-monotonic: the shorter relative deadline first (Leung and Whitehead 1982)
	Given              // the larger Priority first
	OPA                // Audsley's assignment; the deadline-monotonic order where its tests are not decided
)

var orderNames = [...]string{"rm", "dm", "given", "opa"}

func (o Order) String() string { return orderNames[o] }

// ParseOrder returns the order that String calls name.
func ParseOrder(name string) (Order, error) {
	for i, n := range orderNames {
		if n == name {
			return Order(i), nil
		}
	}
	return 0, fmt.Errorf("unknown priority order %q (%s)", name, strings.Join(orderNames[:], ", "))
}

// Unbounded is the response time of a task whose backlog grows without end.
const Unbounded time.Duration = math.MaxInt64

// Limit bounds every time that goes in or comes out (about 73 years).
const Limit time.Duration = math.MaxInt64 / 4

// Steps bounds the work of one analysis, in evaluations of one task's share of the interference.
const Steps = 200_000_000

// The reasons for no verdict.
var (
	ErrRange = errors.New("a time is beyond 73 years")
	ErrSteps = errors.New("not decided within the bounded number of steps (periods with a huge common multiple at full load)")
	ErrModel = errors.New("this analysis takes no jitter and no blocking")
)

// Validate reports the first task that is not one.
func (s Set) Validate() error {
	if len(s) == 0 {
		return errors.New("no tasks")
	}
	var sum time.Duration
	for i := range s {
		k := &s[i]
		what := fmt.Sprintf("task %d", i+1)
		if k.Name != "" {
			what += " " + fmt.Sprintf("%q", k.Name)
		}
		switch {
		case k.T <= 0:
			return fmt.Errorf("%s: period %s is not positive", what, k.T)
		case k.C < 0 || k.D < 0 || k.J < 0 || k.B < 0:
			return fmt.Errorf("%s: a negative time", what)
		case k.C > Limit || k.T > Limit || k.D > Limit || k.J > Limit || k.B > Limit:
			return fmt.Errorf("%s: %w", what, ErrRange)
		}
		if sum += k.C; sum > Limit {
			return fmt.Errorf("%s: the sum of run times: %w", what, ErrRange)
		}
	}
	return nil
}

// Ranks returns the tasks' indexes, highest priority first.
func (s Set) Ranks(o Order) []int {
	if o == OPA {
		if ranks, _, err := s.Audsley(); err == nil {
			return ranks
		}
		o = DM
	}
	list := make([]int, len(s))
	for i := range list {
		list[i] = i
	}
	slices.SortStableFunc(list, func(a, b int) int {
		switch o {
		case DM:
			return cmp.Compare(s[a].Deadline(), s[b].Deadline())
		case Given:
			return cmp.Compare(s[b].Priority, s[a].Priority)
		default:
			return cmp.Compare(s[a].T, s[b].T)
		}
	})
	return list
}

// Utilization returns the sum of C/T.
func (s Set) Utilization() float64 {
	u := 0.0
	for i := range s {
		u += float64(s[i].C) / float64(s[i].T)
	}
	return u
}

// load compares the utilization of the listed tasks with 1: exactly, where floating point is not sure.
func (s Set) load(list []int) int {
	u := 0.0
	for _, i := range list {
		u += float64(s[i].C) / float64(s[i].T)
	}
	if math.Abs(u-1) > 1e-9 {
		return cmp.Compare(u, 1)
	}
	return s.exact(list).Cmp(big.NewRat(1, 1))
}

func (s Set) exact(list []int) *big.Rat {
	sum := new(big.Rat)
	for _, i := range list {
		sum.Add(sum, big.NewRat(int64(s[i].C), int64(s[i].T)))
	}
	return sum
}

func (s Set) all() []int {
	list := make([]int, len(s))
	for i := range list {
		list[i] = i
	}
	return list
}

// LiuLayland returns n(2^(1/n)-1): n tasks with deadlines at the ends of their periods and rate-monotonic priorities meet them if their
// utilization is no more (sufficient). Source: C. L. Liu and J. W. Layland, JACM 20(1), 1973, theorem 5.
func LiuLayland(n int) float64 {
	if n < 1 {
		return 0
	}
	return float64(n) * (math.Exp2(1/float64(n)) - 1)
}

// PassesLiuLayland reports whether the set passes the test. It says nothing unless BoundsApply.
func (s Set) PassesLiuLayland() bool {
	if len(s) == 1 {
		return s[0].C <= s[0].T
	}
	// Beyond one task the bound is irrational, and no set's utilization equals it.
	return s.Utilization() <= LiuLayland(len(s))
}

// Hyperbolic returns the product of U+1 over the tasks. Rate-monotonic priorities meet the deadlines if it is at most 2
// (sufficient, and never worse than Liu and Layland's bound). Source: E. Bini, G. Buttazzo and G. Buttazzo, IEEE Trans. Computers 52(7), 2003.
func (s Set) Hyperbolic() float64 {
	p := 1.0
	for i := range s {
		p *= 1 + float64(s[i].C)/float64(s[i].T)
	}
	return p
}

// PassesHyperbolic reports whether the set passes the test. It says nothing unless BoundsApply.
func (s Set) PassesHyperbolic() bool {
	p := s.Hyperbolic()
	if math.Abs(p-2) > 1e-9 {
		return p < 2
	}
	exact := big.NewRat(1, 1)
	for i := range s {
		u := big.NewRat(int64(s[i].C), int64(s[i].T))
		exact.Mul(exact, u.Add(u, big.NewRat(1, 1)))
	}
	return exact.Cmp(big.NewRat(2, 1)) <= 0
}

// BoundsApply reports whether the two utilization bounds say anything about the set under these ranks: priorities must be
// rate-monotonic, no deadline before the end of its period, and no jitter or blocking.
func (s Set) BoundsApply(ranks []int) bool {
	for i := range s {
		if s[i].Deadline() < s[i].T || s[i].J > 0 || s[i].B > 0 {
			return false
		}
	}
	for i := 1; i < len(ranks); i++ {
		if s[ranks[i]].T < s[ranks[i-1]].T {
			return false
		}
	}
	return true
}

// counter bounds the work of an analysis.
type counter int64

func (c *counter) spend(n int) error {
	if *c += counter(n); *c > Steps {
		return ErrSteps
	}
	return nil
}

// interference returns ceil((w+j)/t) * c, and false if that is beyond the limit.
func interference(w, j, t, c time.Duration) (time.Duration, bool) {
	x := w + j // both at most Limit, or w up to 2 Limit: fits
	if x <= 0 {
		return 0, true
	}
	n := (x-1)/t + 1
	return scale(int64(n), c)
}

func scale(n int64, c time.Duration) (time.Duration, bool) {
	hi, lo := bits.Mul64(uint64(n), uint64(c))
	if hi != 0 || lo > uint64(Limit) {
		return 0, false
	}
	return time.Duration(lo), true
}

// finish returns the least w with w = base + sum over hp of ceil((w+J)/T) C, from a lower bound of it, and stops as soon as w passes stop.
func (s Set) finish(from, base time.Duration, hp []int, stop time.Duration, c *counter) (time.Duration, error) {
	w := max(from, base)
	for {
		if err := c.spend(len(hp) + 1); err != nil {
			return 0, err
		}
		next := base
		for _, j := range hp {
			k := &s[j]
			x, ok := interference(w, k.J, k.T, k.C)
			if next += x; !ok || next > Limit {
				return 0, ErrRange
			}
		}
		if next <= w {
			return w, nil
		}
		if w = next; w > stop {
			return w, nil
		}
	}
}

// ResponseTimes returns the worst-case response time of every task, by index, under the ranks (highest priority first): from the
// nominal release to the end, own jitter included. It is exact for any deadlines, before or after the end of the period, provided that
// jobs go on after a missed deadline. Job q of the busy period of task i ends at the least
//
//	w(q) = B + (q+1) C + sum over higher priorities j of ceil((w(q) + J_j) / T_j) C_j
//
// and R = max over q of w(q) + J - q T, until a job ends before the next release. The result is Unbounded where the
// utilization down to the task is above 1.
//
// Source: M. Joseph and P. Pandya, Computer Journal 29(5), 1986; N. Audsley et al., Software Engineering Journal 8(5), 1993
// (jitter, blocking); J. Lehoczky, RTSS 1990, and K. Tindell, A. Burns and A. Wellings, Real-Time Systems 6(2), 1994 (several jobs in a busy period).
func (s Set) ResponseTimes(ranks []int) ([]time.Duration, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	out := make([]time.Duration, len(s))
	var c counter
	for n, i := range ranks {
		r, err := s.response(i, ranks[:n], &c)
		if err != nil {
			return nil, fmt.Errorf("task %d %q: %w", i+1, s[i].Name, err)
		}
		out[i] = r
	}
	return out, nil
}

func (s Set) response(i int, hp []int, c *counter) (time.Duration, error) {
	k := &s[i]
	level := append(slices.Clone(hp), i)
	full := s.load(level)
	if full > 0 {
		return Unbounded, nil
	}
	// At full load, blocking or jitter can keep the busy period from ending. Its pattern then repeats with the hyperperiod
	// (the equation for job q + H/T is that for q moved by H), so that one hyperperiod of jobs is enough.
	most := int64(math.MaxInt64)
	if full == 0 {
		if h, ok := s.hyperperiod(level); ok {
			most = int64(h / k.T)
		}
	}
	var worst, w time.Duration
	for q := int64(0); q < most; q++ {
		base, ok := scale(q+1, k.C)
		if base += k.B; !ok || base > Limit {
			return 0, ErrRange
		}
		var err error
		if w, err = s.finish(w, base, hp, Unbounded, c); err != nil {
			return 0, err
		}
		released, ok := scale(q, k.T)
		if !ok {
			return 0, ErrRange
		}
		worst = max(worst, w+k.J-released)
		if w+k.J <= released+k.T {
			break
		}
	}
	return worst, nil
}

// Schedulable reports whether every task meets its deadline under the ranks. It is the verdict of ResponseTimes, and quicker: it stops at
// the first job that misses.
func (s Set) Schedulable(ranks []int) (bool, error) {
	if err := s.Validate(); err != nil {
		return false, err
	}
	var c counter
	for n, i := range ranks {
		ok, err := s.meets(i, ranks[:n], &c)
		if err != nil {
			return false, fmt.Errorf("task %d %q: %w", i+1, s[i].Name, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// Hyperperiod returns the least common multiple of the periods, and false if it is beyond Limit.
func (s Set) Hyperperiod() (time.Duration, bool) { return s.hyperperiod(s.all()) }

func (s Set) hyperperiod(list []int) (time.Duration, bool) {
	h := int64(1)
	for _, i := range list {
		t := int64(s[i].T)
		a, b := h, t
		for b != 0 {
			a, b = b, a%b
		}
		x, ok := scale(h/a, time.Duration(t))
		if !ok {
			return 0, false
		}
		h = int64(x)
	}
	return time.Duration(h), true
}

// FromTable returns the periodic tasks of a table, one for each class with a period and each name: C is the estimate on a reference
// node, D the class's relative deadline, Priority the class's. Tasks that repeat a name and a class (releases of one template)
// count once, with the longest estimate.
func FromTable(tb *sched.Table) Set {
	type key struct {
		name  string
		class sched.ClassID
	}
	at := map[key]int{}
	var s Set
	for i := range tb.Tasks {
		id := sched.TaskID(i)
		cl := tb.ClassOf(id)
		if cl.Period <= 0 {
			continue
		}
		k := key{tb.TaskNames.At(i), tb.Tasks[i].Class}
		if j, ok := at[k]; ok {
			s[j].C = max(s[j].C, tb.Estimates[i])
			continue
		}
		at[k] = len(s)
		s = append(s, Task{Name: k.name, C: tb.Estimates[i], T: cl.Period, D: cl.RelDeadline, Priority: cl.Priority})
	}
	return s
}
