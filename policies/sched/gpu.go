package sched

import (
	"slices"
	"strings"
	"unicode"
)

// SameGPU reports whether two names are of one GPU type, which is so whatever the case of the letters and whether the maker is named:
// "NVIDIA A100" is a100. Whatever compares names of types does it so.
func SameGPU(a, b string) bool {
	return a == b || strings.EqualFold(bareGPU(a), bareGPU(b))
}

// GPUKey is equal for names of one type, for maps and sorting; it is not for showing.
func GPUKey(name string) string {
	return strings.Map(func(r rune) rune { // as EqualFold has it
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, bareGPU(name))
}

// GPUKeys is equal for lists of the same types, in whatever order and however often each stands there.
func GPUKeys(names []string) string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = GPUKey(name)
	}
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), "|")
}

// TakesGPU reports whether the demand may use GPUs of a type.
func (d *Demand) TakesGPU(typ string) bool {
	for _, t := range d.GPUTypes {
		if SameGPU(t, typ) {
			return true
		}
	}
	return len(d.GPUTypes) == 0
}

// bareGPU returns the name without its maker.
func bareGPU(name string) string {
	const maker = "NVIDIA "
	if len(name) > len(maker) && strings.EqualFold(name[:len(maker)], maker) {
		return name[len(maker):]
	}
	return name
}
