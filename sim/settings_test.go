package sim

import (
	"testing"
	"time"
)

func TestSetupIsWhatAStartAfterAPreemptionTakesBeforeWorkGetsOn(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   time.Duration
	}{
		{Config{}, 0},
		{Config{Overhead: 20 * time.Second}, 20 * time.Second},
		{Config{Overhead: time.Second, Checkpoint: &Checkpoint{Every: "10m", Cost: 30 * time.Second, Restart: time.Minute}}, 61 * time.Second},
		{Config{Checkpoint: &Checkpoint{Every: "10m", Cost: 30 * time.Second, Restart: time.Minute, Stop: "lose"}}, 11*time.Minute + 30*time.Second},
		{Config{Checkpoint: &Checkpoint{Every: "young", Cost: 30 * time.Second, Restart: time.Minute, Stop: "lose"}}, time.Minute},
	} {
		if got := c.config.Setup(); got != c.want {
			t.Errorf("%+v: %v, wanted %v", c.config, got, c.want)
		}
	}
}
