package scale

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Tier is how much a queue matters: high tiers scale up at once and give back late, low ones the other way round.
type Tier uint8

// The tiers. The windows and rates are ours: the description names none.
const (
	Normal Tier = iota // as Kubernetes does by default
	High               // up at once, as far as is asked for; down after 300 s
	Low                // up once all of the last 300 s asked for it, one replica a minute; down after 60 s
)

var tierNames = [...]string{"normal", "high", "low"}

func (t Tier) String() string { return tierNames[t] }

// ParseTier returns the tier of a name; "" is normal.
func ParseTier(name string) (Tier, error) {
	if i := slices.Index(tierNames[:], name); i >= 0 {
		return Tier(i), nil
	}
	if name == "" {
		return Normal, nil
	}
	return 0, fmt.Errorf("no tier %q: high, normal or low", name)
}

// Apply sets the behavior of the tier where the rules set none.
func (t Tier) Apply(r Rules) Rules {
	var up, down Behavior
	switch t {
	case High:
		up.Policies = []Policy{{Value: 1 << 20, Period: time.Second}}
	case Low:
		up.Window, down.Window = 300*time.Second, 60*time.Second
		up.Policies = []Policy{{Value: 1, Period: time.Minute}}
	}
	fill(&r.Up, up)
	fill(&r.Down, down)
	return r
}

func fill(b *Behavior, from Behavior) {
	if b.Window == 0 {
		b.Window = from.Window
	}
	if len(b.Policies) == 0 {
		b.Policies = from.Policies
	}
}

// Ask is what one queue wants of a shared pool.
type Ask struct {
	Tier      Tier
	Min, Want int // replicas
	Need      int // replicas without which something that waits cannot start; 0: fewer are of use too
}

// Share divides the replicas of a pool and writes what each queue gets to got, which is as long as asks: first every queue's Min, then what
// the high tier wants, then the normal, then the low; within a tier what a queue needs, all or nothing, the least first, and then one by one to the
// queue that has the fewest of those that want more, the first of equals. No queue gets more than it wants, and nobody is left short while
// there is some.
func Share(pool int, asks []Ask, got []int) {
	clear(got)
	order := [...]Tier{High, Normal, Low}
	for round := range 2 { // the minima, the rest
		for _, tier := range order {
			for round > 0 { // else two queues that need three of four replicas got two each, for ever
				next := -1
				for i, a := range asks {
					if a.Tier == tier && a.Need <= a.Want && got[i] < a.Need && a.Need-got[i] <= pool && (next < 0 || a.Need < asks[next].Need) {
						next = i
					}
				}
				if next < 0 {
					break
				}
				pool -= asks[next].Need - got[next]
				got[next] = asks[next].Need
			}
			for pool > 0 {
				least := -1
				for i, a := range asks {
					limit := a.Want
					if round == 0 {
						limit = min(limit, a.Min)
					}
					if a.Tier == tier && got[i] < limit && (least < 0 || cmp.Less(got[i], got[least])) {
						least = i
					}
				}
				if least < 0 {
					break
				}
				got[least]++
				pool--
			}
		}
	}
}
