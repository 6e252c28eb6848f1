package retry

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestTheBackoffIsAtLeastWhatWasAskedForAndAtMostHalfMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(0, int64(math.MaxInt64)/64).Draw(t, "base"))
		n := rapid.IntRange(1, 300).Draw(t, "n")
		seed, task := rapid.Uint64().Draw(t, "seed"), sched.TaskID(rapid.Int32Range(0, math.MaxInt32).Draw(t, "task"))
		d := sched.RetryBackoff(base, n)
		w := Wait(base, seed, task, n)
		most := float64(d) * 1.5
		if d > math.MaxInt64/2 { // nobody waits for that long; it must not be negative
			t.Skip()
		}
		if w < d || float64(w) > most*(1+1e-9) {
			t.Fatalf("Wait(%s, n=%d) = %s, want %s to %g", base, n, w, d, most)
		}
		if w != Wait(base, seed, task, n) {
			t.Fatal("drawn twice, it differs")
		}
	})
}

// The jitter is uniform and draws of neighbouring tasks do not go together: mean d/4, variance (d/2)^2/12, correlation 0.
func TestTheJitterIsUniformAndIndependentFromTaskToTask(t *testing.T) {
	const n, d = 100_000, time.Second
	var sum, squares, products, last float64
	for i := range n {
		x := (Wait(d, 7, sched.TaskID(i), 1) - d).Seconds() / 0.5
		sum += x
		squares += x * x
		if i > 0 {
			products += (x - 0.5) * (last - 0.5)
		}
		last = x
	}
	mean, variance := sum/n, squares/n-(sum/n)*(sum/n)
	// Five standard errors each: of the mean 1/sqrt(12 n), of the variance sqrt((1/80 - 1/144)/n), of the correlation 1/sqrt(n).
	if math.Abs(mean-0.5) > 5/math.Sqrt(12*n) || math.Abs(variance-1.0/12) > 5*math.Sqrt((1.0/80-1.0/144)/n) || math.Abs(products/n*12) > 5/math.Sqrt(n) {
		t.Errorf("mean %g, variance %g, correlation %g", mean, variance, products/n*12)
	}
	if Wait(d, 7, 1, 1) == Wait(d, 8, 1, 1) || Wait(d, 7, 1, 1)-d == (Wait(d, 7, 1, 2)-2*d)/2 {
		t.Error("the seed or the attempt changes nothing")
	}
}

func TestABudgetGrantsItsShareAndItsFloor(t *testing.T) {
	b := New(Limit{Share: 0.1, Window: time.Hour, Min: 3, Per: "tenant"})
	granted := 0
	for i := range 200 { // every attempt of a and of b fails
		now := sched.Time(i) * sched.Time(time.Second)
		b.Started(now, "a", "q")
		if b.Refuses(now, "a", "q") == "" {
			b.Retried(now, "a", "q")
			granted++
		}
	}
	if granted != 20 { // 10 % of 200; the floor of 3 is in it
		t.Errorf("%d retries of 200 failures were granted, want 20", granted)
	}
	why := b.Refuses(200*sched.Time(time.Second), "a", "other")
	if want := `retry budget of tenant "a" is spent: 20 of 200 attempts within 1h0m0s were retries, and 10% may be, or 3`; why != want {
		t.Errorf("%s\nwant %s", why, want)
	}
	if why := b.Refuses(200*sched.Time(time.Second), "b", "q"); why != "" {
		t.Errorf("another tenant pays for it: %s", why)
	}
	if why := b.Refuses(sched.Time(2*time.Hour), "a", "q"); why != "" {
		t.Errorf("what is older than the window counts: %s", why)
	}
}

// Against the plain form: a list of all attempts and retries with their times. The window ends with the part that it ends in.
func TestABudgetCountsAsAListDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{
			Share: float64(rapid.IntRange(0, 100).Draw(t, "percent")) / 100, Window: time.Duration(rapid.IntRange(slices, 5000).Draw(t, "window")) * time.Second,
			Min: rapid.IntRange(0, 5).Draw(t, "min"), Per: rapid.SampledFrom(Pers()).Draw(t, "per"),
		}
		b := New(l)
		type entry struct {
			part          int64
			tenant, queue string
		}
		var attempts, retries []entry
		part := int64(l.Window) / slices
		now := sched.Time(0)
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			now += sched.Time(rapid.Int64Range(0, part*3).Draw(t, "pause"))
			if rapid.IntRange(0, 50).Draw(t, "long") == 0 {
				now += sched.Time(l.Window) * 2
			}
			e := entry{int64(now) / part, rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "tenant"), rapid.SampledFrom([]string{"", "q"}).Draw(t, "queue")}
			count := func(list []entry) (n int) {
				for _, x := range list {
					same := (l.Per == "all" || l.Per == "queue" || x.tenant == e.tenant) && (l.Per == "all" || l.Per == "tenant" || x.queue == e.queue)
					if same && x.part >= e.part-slices {
						n++
					}
				}
				return n
			}
			if rapid.Bool().Draw(t, "starts") {
				b.Started(now, e.tenant, e.queue)
				attempts = append(attempts, e)
				continue
			}
			r := count(retries)
			want := r >= l.Min && float64(r+1) > l.Share*float64(count(attempts))
			if got := b.Refuses(now, e.tenant, e.queue) != ""; got != want {
				t.Fatalf("refused: %v, want %v, with %d retries of %d attempts", got, want, r, count(attempts))
			}
			if !want {
				b.Retried(now, e.tenant, e.queue)
				retries = append(retries, e)
			}
		}
	})
}

func TestALimitReadsBackAsItPrints(t *testing.T) {
	for _, text := range []string{"none", "10%,window=1h0m0s,min=10,per=tenant", "0.5%,window=10m0s,min=0,per=tenant+queue"} {
		l, err := ParseLimit(text)
		if err != nil || l.String() != text {
			t.Errorf("%s: %s, %v", text, l, err)
		}
	}
	if l, err := ParseLimit("10%"); err != nil || l.String() != "10%,window=1h0m0s,min=10,per=tenant" {
		t.Errorf("the defaults are %s, %v", l, err)
	}
	for _, text := range []string{"10", "-1%", "101%", "10%,window=0s", "10%,min=-1", "10%,per=you", "10%,x", "NaN%"} {
		if _, err := ParseLimit(text); err == nil || !strings.Contains(err.Error(), "write it as") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
