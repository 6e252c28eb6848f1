package job

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

const gib = 1 << 30

// Demand returns what a task asks of the nodes.
func (t *Task) Demand() (sched.Demand, error) {
	d := sched.Demand{
		Need: sched.Need{Mem: int64(math.Round(t.MemGB * gib)), VRAM: int64(math.Round(t.GPUMemGB * gib))},
		Gang: max(t.Gang, 1), GPUTypes: slices.Clone(t.GPUTypes),
	}
	switch {
	case t.CPU != nil:
		d.Need.CPU = int64(math.Round(*t.CPU * 1000))
	case t.GPUs == 0:
		d.Need.CPU = 1000
	}
	switch {
	case t.GPUs >= 1:
		d.Need.GPUs, d.Need.GPUMilli = int32(t.GPUs), sched.Whole
	case t.GPUs > 0:
		d.Need.GPUs, d.Need.GPUMilli = 1, int32(math.Round(t.GPUs*1000))
	}
	for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
		if text := k + "=" + t.Labels[k]; !d.ParseLabel(text) {
			return d, fmt.Errorf("label %q: write key: value, \"key!\": value or \"!key\": \"\"", clip(text))
		}
	}
	for _, text := range t.Tolerations {
		tol, err := parseToleration(text)
		if err != nil {
			return d, err
		}
		d.Tolerations = append(d.Tolerations, tol)
	}
	return d, nil
}

// parseToleration reads key=value:Effect, key:Effect (any value), key (any effect) and * (any key), as the native trace format has them.
func parseToleration(s string) (sched.Toleration, error) {
	if s == "*" {
		return sched.Toleration{Exists: true}, nil
	}
	rest, effect, _ := strings.Cut(s, ":")
	key, value, has := strings.Cut(rest, "=")
	if key == "" {
		return sched.Toleration{}, fmt.Errorf("toleration %q: write key=value:Effect, key:Effect, key or *", clip(s))
	}
	return sched.Toleration{Key: key, Value: value, Effect: effect, Exists: !has}, nil
}
