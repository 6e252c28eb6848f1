package device

import "strings"

// Model shortens a driver's name of a GPU to what cluster descriptions and traces call it: "NVIDIA A100-SXM4-80GB" and "A100 80GB PCIe" are
// both A100, "Tesla V100-SXM2-16GB" is V100, "NVIDIA GeForce RTX 3090 Ti" is RTX3090Ti, "AMD Instinct MI250X / MI250" is MI250X. A name without
// a known pattern loses only its blanks, so that it can stand in a shorthand.
func Model(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool {
		return r == ' ' || r == '-' || r == '_' || r == '/' || r == '\t' || r == '(' || r == ')' || r == ',' || r == ':' || r == '+' || r == '=' || r == '[' || r == ']'
	})
	// What says who made it, or for which shelf.
	for len(words) > 1 {
		switch strings.ToLower(words[0]) {
		case "mock", "nvidia", "tesla", "geforce", "quadro", "graphics", "device", "amd", "ati", "instinct", "radeon", "intel", "intel(r)", "corporation", "r", "tm", "data", "center", "gpu":
			words = words[1:]
			continue
		}
		break
	}
	if len(words) == 0 {
		return ""
	}
	out := words[0]
	if !family(out) {
		return out
	}
	// A family's name needs what follows, up to what tells the form or the memory.
	for _, w := range words[1:] {
		switch l := strings.ToLower(w); {
		case l == "graphics" || l == "gpu" || l == "generation" || l == "laptop" || l == "server" || l == "workstation" || l == "edition" || l == "pcie" || l == "with" || l == "max":
			return out
		case len(l) > 2 && strings.HasSuffix(l, "gb") && l[0] >= '0' && l[0] <= '9':
			return out
		}
		out += w
	}
	return out
}

// family reports whether a word names many models, as RTX does.
func family(w string) bool {
	switch strings.ToUpper(w) {
	case "RTX", "GTX", "GT", "TITAN", "PRO", "RX", "VII", "ARC", "FLEX", "MAX", "XE", "VEGA":
		return true
	}
	return false
}
