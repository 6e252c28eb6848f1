package realtime

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// permutations calls yield with every order of 0..n-1 until it returns false.
func permutations(n int, yield func([]int) bool) {
	var walk func(list []int, k int) bool
	walk = func(list []int, k int) bool {
		if k == len(list) {
			return yield(list)
		}
		for i := k; i < len(list); i++ {
			list[k], list[i] = list[i], list[k]
			if !walk(list, k+1) {
				return false
			}
			list[k], list[i] = list[i], list[k]
		}
		return true
	}
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	walk(list, 0)
}

func TestAudsleyFindsAnOrderWheneverThereIsOne(t *testing.T) {
	yes, no, better := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		s := smallSet(rt, rapid.Bool().Draw(rt, "constrained"), rapid.Bool().Draw(rt, "arbitrary"), rapid.Bool().Draw(rt, "jitter"))
		if rapid.Bool().Draw(rt, "blocked") {
			for i := range s {
				s[i].B = time.Duration(rapid.IntRange(0, 2).Draw(rt, "B"))
			}
		}
		ranks, ok, err := s.Audsley()
		if err != nil {
			rt.Fatal(err)
		}
		sorted := slices.Clone(ranks)
		slices.Sort(sorted)
		if !slices.Equal(sorted, s.all()) {
			rt.Fatalf("%v is no order of %d tasks", ranks, len(s))
		}
		some := false
		permutations(len(s), func(list []int) bool {
			fits, err := s.Schedulable(list)
			if err != nil {
				rt.Fatal(err)
			}
			some = fits
			return !some
		})
		if ok != some {
			rt.Fatalf("%+v: an order was found: %v; there is one: %v", s, ok, some)
		}
		if fits, _ := s.Schedulable(ranks); fits != ok {
			rt.Fatalf("%+v: the order %v is schedulable: %v, said %v", s, ranks, fits, ok)
		}
		dm, _ := s.Schedulable(s.Ranks(DM))
		if dm && !slices.Equal(ranks, s.Ranks(DM)) {
			rt.Fatalf("%+v: the order is %v and not that by deadline, which does", s, ranks)
		}
		switch {
		case ok && !dm:
			better++
		case ok:
			yes++
		default:
			no++
		}
	})
	t.Logf("%d schedulable, %d of them not by deadline, %d not schedulable", yes+better, better, no)
	if yes < 5 || no < 5 {
		t.Errorf("%d schedulable sets and %d others: one side is not tested", yes, no)
	}
}

// The set is that of Lehoczky, RTSS 1990, with arbitrary deadlines: (52, 100, D 110), (52, 140, D 154). By deadline the second has
// responses up to 156 ms; the other way round the first has 108.
func TestAudsleyBeatsTheOrderByDeadlineWhereDeadlinesComeLate(t *testing.T) {
	s := Set{{C: 52, T: 100, D: 110}, {C: 52, T: 140, D: 154}}
	dm, err := s.ResponseTimes(s.Ranks(DM))
	if err != nil || dm[1] != 156 {
		t.Errorf("response times by deadline %v, %v: wanted 156 for the second", dm, err)
	}
	ranks, ok, err := s.Audsley()
	if err != nil || !ok || !slices.Equal(ranks, []int{1, 0}) {
		t.Errorf("order %v, %v, %v", ranks, ok, err)
	}
	if r, _ := s.ResponseTimes(ranks); r[0] != 108 || r[1] != 52 {
		t.Errorf("response times %v", r)
	}
}

func TestAPartitionPassesItsTestOnEveryProcessor(t *testing.T) {
	left := 0
	rapid.Check(t, func(rt *rapid.T) {
		var s Set
		for range rapid.IntRange(1, 3).Draw(rt, "sets") {
			s = append(s, smallSet(rt, rapid.Bool().Draw(rt, "constrained"), false, false)...)
		}
		m := rapid.IntRange(1, 3).Draw(rt, "processors")
		test := rapid.SampledFrom([]Test{ByResponse, ByBound}).Draw(rt, "test")
		barred := rapid.IntRange(0, m).Draw(rt, "barred")
		on, err := s.Partition(m, RM, test, func(_, p int) bool { return p != barred })
		if err != nil {
			rt.Fatal(err)
		}
		for p := range m {
			var part Set
			for i := range s {
				if on[i] == p {
					part = append(part, s[i])
				}
			}
			if len(part) == 0 {
				continue
			}
			if ok, err := part.Schedulable(part.Ranks(RM)); err != nil || !ok || p == barred {
				rt.Fatalf("processor %d has %+v: %v %v", p, part, ok, err)
			}
		}
		for i := range s { // what has no processor fits nowhere beside the tasks of larger utilization
			if on[i] >= 0 {
				continue
			}
			left++
			for p := range m {
				with := Set{}
				for j := range s {
					if on[j] == p && (compareLoad(&s[j], &s[i]) > 0 || compareLoad(&s[j], &s[i]) == 0 && j < i) || j == i {
						with = append(with, s[j])
					}
				}
				if ok, _ := with.passes(RM, test); ok && p != barred {
					rt.Fatalf("task %d of %+v fits processor %d", i, s, p)
				}
			}
		}
	})
	if left == 0 {
		t.Error("no task was left over")
	}
}
