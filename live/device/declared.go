package device

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

// DeclareUsage shows how a set of GPUs is declared.
const DeclareUsage = `write a number, x and a type, as 8xH100 or 4xA100:80gb (memory of each)`

// Declare makes the driver of GPUs that are only said to be there, for tests and dry runs: nothing is known of their use. Memory is in
// powers of two (80gb are 80 x 2^30 bytes), as in cluster descriptions; without it, VRAM is not limited.
func Declare(text string) (Driver, error) {
	count, model, vram, err := parseDeclared(text)
	if err != nil {
		return nil, fmt.Errorf("GPUs %q: %w; %s", text, err, DeclareUsage)
	}
	d := &declared{gpus: make([]GPU, count)}
	for i := range d.gpus {
		d.gpus[i] = GPU{
			Index: int32(i), Ordinal: i, Model: model, Name: model, VRAM: vram,
			UUID: "declared-" + strconv.Itoa(i),
		}
	}
	return d, nil
}

func parseDeclared(text string) (count int, model string, vram int64, err error) {
	s := strings.TrimSpace(text)
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	switch {
	case s == "":
		return 0, "", 0, fmt.Errorf("nothing is declared")
	case i == 0:
		return 0, "", 0, fmt.Errorf("it is neither a driver (auto, nvml, sysfs, none) nor a number of GPUs")
	case i == len(s) || s[i] != 'x' && s[i] != 'X':
		return 0, "", 0, fmt.Errorf("there is no x behind the number %s", s[:i])
	}
	count, err = strconv.Atoi(s[:i])
	if err != nil || count < 1 || count > sched.MaxDevices {
		return 0, "", 0, fmt.Errorf("one machine can have 1 to %d GPUs", sched.MaxDevices)
	}
	model, memory, stated := strings.Cut(s[i+1:], ":")
	if model == "" {
		return 0, "", 0, fmt.Errorf("the type is missing")
	}
	for _, r := range model {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return 0, "", 0, fmt.Errorf("a type has letters, digits, - _ and ., not %q", r)
		}
	}
	if !stated {
		return count, model, 0, nil
	}
	vram, err = parseMemory(memory)
	return count, model, vram, err
}

func parseMemory(s string) (int64, error) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	f, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount of memory, as 80gb", s)
	}
	shift, ok := map[string]int{"mb": 20, "mib": 20, "gb": 30, "gib": 30, "tb": 40, "tib": 40}[strings.ToLower(s[i:])]
	if !ok {
		return 0, fmt.Errorf("%q: the unit is one of mb, gb, tb, mib, gib, tib", s)
	}
	b := math.Round(math.Ldexp(f, shift))
	if !(b >= 1<<20 && b <= 1<<50) {
		return 0, fmt.Errorf("%q: a GPU has from 1mb to 1024tb", s)
	}
	return int64(b), nil
}

type declared struct{ gpus []GPU }

func (d *declared) Name() string                 { return "declared" }
func (d *declared) List() []GPU                  { return d.gpus }
func (d *declared) Sample(dst []Sample) []Sample { return blank(dst, len(d.gpus)) }
func (d *declared) Close() error                 { return nil }
