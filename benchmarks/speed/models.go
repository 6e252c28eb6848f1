package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// leastHooks is how many questions of the simulator's loop whether a model is on there must be to cut out: fewer, and the row would compare
// less than it says.
const leastHooks = 25

var hook = regexp.MustCompile(`\br\.(?:m|m\.saver|m\.breaking|window|stager|elastic|ooms|Tenants) ([!=])= nil\b`)

// withoutModels returns a file of the simulator with every question whether a model is on answered by no, so that the compiler leaves the models out, and how many
// questions there were.
func withoutModels(text string) (string, int) {
	n := 0
	out := hook.ReplaceAllStringFunc(text, func(q string) string {
		n++
		if strings.Contains(q, "!=") {
			return "false"
		}
		return "true"
	})
	return out, n
}

// asking are the simulator's files that ask whether a model is on, other than those of the models.
var asking = []string{"sim.go", "calm.go", "attempts.go"}

// bare builds this program with a simulator that has no models.
func (h *house) bare() (string, error) {
	out := filepath.Join(h.dir, "bare")
	if h.made[out] {
		return out, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	replace, questions := map[string]string{}, 0
	for _, name := range asking {
		source, copied := filepath.Join(root, "sim", name), filepath.Join(h.dir, name)
		text, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		cut, n := withoutModels(string(text))
		if err := os.WriteFile(copied, []byte(cut), 0o666); err != nil {
			return "", err
		}
		replace[source], questions = copied, questions+n
	}
	if questions < leastHooks {
		return "", fmt.Errorf("%s: %d questions whether a model is on, not %d or more: withoutModels does not know how they are written now", strings.Join(asking, ", "), questions, leastHooks)
	}
	overlay := filepath.Join(h.dir, "overlay.json")
	said, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, said, 0o666); err != nil {
		return "", err
	}
	err = compile(out, "benchmarks/speed", "-overlay", overlay)
	h.made[out] = err == nil
	return out, err
}

// modelsOff is fifo with every model off over fifo in a simulator from which the models are cut out. The two take turns, and the least of each
// counts: what comes on top is the machine's other work.
func (h *house) modelsOff(n int) (sample, error) {
	bare, err := h.bare()
	if err != nil {
		return sample{}, err
	}
	cost := [2]float64{math.Inf(1), math.Inf(1)}
	var last process
	for _, whole := range []int{0, 1, 1, 0, 0, 1, 1, 0} {
		name := bare
		if whole == 1 {
			name = h.program
		}
		p, err := h.run(1, true, name, "-child", "simulate", "-tasks", fmt.Sprint(n), "-policy", "fifo", "-load", "gpus")
		if err != nil {
			return sample{}, err
		}
		if cost[whole] = min(cost[whole], p.told.UserNS); whole == 1 {
			last = p
		}
	}
	s := sampleOf(last, n, floorPair{})
	s.ns = cost[1] / float64(n)
	s.ratio = cost[1] / cost[0]
	return s, nil
}
