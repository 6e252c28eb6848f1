package verify

import (
	"fmt"
	"time"

	"github.com/schedlab/schedlab/policies/sched/scale"
)

const (
	hpaSource = "kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale"
	kepSource = "kubernetes/enhancements, KEP-853"
)

var scaleParts = []part{
	{group: "scale", name: "desired replicas", source: hpaSource, run: hpaDesired},
	{group: "scale", name: "scaling behavior", source: kepSource, run: hpaBehavior},
}

func hpaDesired(b *bench) error {
	for _, c := range []struct {
		source, what  string
		current       int
		value, target int64
		want          int
	}{
		{source: hpaSource + ", Algorithm details", what: "200m against 100m doubles 4 replicas", current: 4, value: 200, target: 100, want: 8},
		{source: hpaSource + ", Algorithm details", what: "50m against 100m halves them", current: 4, value: 50, target: 100, want: 2},
		{source: hpaSource + ", Algorithm details", what: "a ratio within 0.1 of 1 changes nothing", current: 4, value: 109, target: 100, want: 4},
		{source: "kubernetes.io/blog/2025/04/28", what: "50 replicas at 90 % of 75 %", current: 50, value: 90, target: 75, want: 60},
		{source: hpaSource + "-walkthrough", what: "1 replica at 305 % of 50 %", current: 1, value: 305, target: 50, want: 7},
	} {
		r := scale.Rules{Target: c.target}.Filled()
		got, _ := r.Desired(c.current, scale.Total(c.value*int64(c.current), c.current))
		b.add(Check{Name: "HPA: " + c.what, Source: c.source, Expected: fmt.Sprint(c.want), Got: fmt.Sprint(got), Tolerance: "equal", OK: got == c.want})
	}
	return nil
}

func hpaBehavior(b *bench) error {
	const minute = time.Minute
	repeat := func(n, times int) (out []int) {
		for range times {
			out = append(out, n)
		}
		return out
	}
	pods := func(n int, period time.Duration) []scale.Policy { return []scale.Policy{{Value: n, Period: period}} }
	for _, c := range []struct {
		source, what string
		rules        scale.Rules
		start        int
		period       time.Duration
		wishes       []int
		want         string
	}{
		{
			hpaSource + ", Scaling policies", "80 replicas on their way to 10, 4 pods or 10 % a minute: 8, 8, ..., then 4 each",
			scale.Rules{Down: scale.Behavior{Window: -1, Policies: append(pods(4, minute), scale.Policy{Percent: true, Value: 10, Period: minute})}},
			80, minute, repeat(10, 14), "[72 64 57 51 45 40 36 32 28 24 20 16 12 10]",
		},
		{
			kepSource + ", story 1", "900 % a minute: 1, 10, 100, 1000",
			scale.Rules{Up: scale.Behavior{Policies: []scale.Policy{{Percent: true, Value: 900, Period: minute}}}},
			1, minute, repeat(1000, 3), "[10 100 1000]",
		},
		{
			kepSource + ", story 3", "one pod in five minutes: 1, 2, 3, 4",
			scale.Rules{Up: scale.Behavior{Policies: pods(1, 5*minute)}},
			1, 5 * minute, repeat(9, 3), "[2 3 4]",
		},
		{
			kepSource + ", story 5", "ten wishes in 600 s with 10 among them change nothing; the eleventh leaves 9",
			scale.Rules{Down: scale.Behavior{Window: 10 * minute, Policies: pods(5, minute)}},
			10, minute,
			[]int{10, 9, 8, 9, 9, 8, 9, 8, 9, 8, 7},
			"[10 10 10 10 10 10 10 10 10 10 9]",
		},
		{
			kepSource + ", story 6 (its six wishes lie in 300 s with a cycle of 59 s)", "the smallest of six wishes is 2; the seventh leaves 3",
			scale.Rules{Up: scale.Behavior{Window: 5 * minute, Policies: pods(20, minute)}},
			2, 59 * time.Second,
			[]int{2, 3, 19, 10, 3, 4, 7},
			"[2 2 2 2 2 2 3]",
		},
	} {
		c.rules.Min, c.rules.Max, c.rules.ToleranceMilli = 1, 1_000_000, -1
		k, err := scale.New(c.rules)
		if err != nil {
			return err
		}
		n, got := c.start, []int(nil)
		for i, wish := range c.wishes {
			n = k.Step(int64(i)*int64(c.period), n, scale.Total(int64(wish)*1000, n))
			got = append(got, n)
		}
		b.add(Check{Name: "HPA: " + c.what, Source: c.source, Expected: c.want, Got: fmt.Sprint(got), Tolerance: "equal", OK: fmt.Sprint(got) == c.want})
	}
	return nil
}
