//go:build !cgo || !linux || nonvml

package device

// NVMLBuilt tells whether this program can load NVML.
const NVMLBuilt = false

func openNVML(Options) (Driver, Tried) {
	return nil, Tried{Driver: "nvml", Why: "this program was built without NVML (CGO_ENABLED=0, the tag nonvml, or not for Linux)"}
}
