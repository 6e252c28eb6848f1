package policytest

import (
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestConformPassesAnHonestDriver(t *testing.T) {
	none := func() sched.Policy { return nil }
	Conform(t, "greedy", none, toy{}.drive)
	Conform(t, "preempting", none, toy{everyN: 2}.drive)
	Conform(t, "preempting often", none, toy{everyN: 1}.drive, Slices)
}
