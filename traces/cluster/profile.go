package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// Profile is a node in JSON (S10 in README.md): what it has, and what a sampler saw in use. Fields that were not stated are left
// out on writing.
type Profile struct {
	NodeID      string   `json:"node_id"`
	CPUCapacity *float64 `json:"cpu_capacity,omitempty"` // cores
	CPUUsage    float64  `json:"cpu_usage,omitempty"`    // cores in use
	GPUType     string   `json:"gpu_type,omitempty"`
	GPUCount    int32    `json:"gpu_count,omitempty"`
	Memory      *Amount  `json:"memory_gb,omitempty"`
	GPUMemory   *Amount  `json:"gpu_memory_gb,omitempty"` // on each GPU; used is the mean
	NetworkMbps float64  `json:"network_mbps,omitempty"`

	Speed             float64           `json:"speed,omitempty"` // 1 is the reference
	Labels            map[string]string `json:"labels,omitempty"`
	Taints            []ProfileTaint    `json:"taints,omitempty"`
	StorageLatencyMS  float64           `json:"storage_latency_ms,omitempty"`
	StorageMBps       float64           `json:"storage_mbps,omitempty"`
	NetworkLatencyMS  float64           `json:"network_latency_ms,omitempty"`
	ActiveConnections int32             `json:"active_connections,omitempty"`
	Load              float64           `json:"load,omitempty"`            // threads that want to run, mean of a minute
	NetworkRxMbps     float64           `json:"network_rx_mbps,omitempty"` // in use
	NetworkTxMbps     float64           `json:"network_tx_mbps,omitempty"`
	GPUs              []ProfileGPU      `json:"gpus,omitempty"`
	SampledAtSeconds  float64           `json:"sampled_at_s,omitempty"` // on the trace's axis; live: since the journal's epoch
}

// Amount is a capacity and the part of it in use, in GB.
type Amount struct {
	Capacity float64 `json:"capacity"`
	Used     float64 `json:"used"`
}

// ProfileTaint is a taint in JSON.
type ProfileTaint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// ProfileGPU is what a sampler saw of one GPU.
type ProfileGPU struct {
	Index           int32    `json:"index"`
	Utilization     *float64 `json:"utilization,omitempty"`      // 0..1; absent if the driver does not tell
	MemoryUsedGB    float64  `json:"memory_used_gb,omitempty"`   // of gpu_memory_gb.capacity
	OthersMemoryGB  float64  `json:"others_memory_gb,omitempty"` // of it, by processes that the scheduler did not start
	OthersProcesses int32    `json:"others_processes,omitempty"`
	State           string   `json:"state,omitempty"` // "lost" or "failed"; absent if it works
	TemperatureC    float64  `json:"temperature_c,omitempty"`
	PowerW          float64  `json:"power_w,omitempty"`
}

// Spec returns the node's description. What the profile does not state is unlimited; usage does not lower a capacity: that is for the
// ledger (see Sample).
func (p *Profile) Spec() (sched.NodeSpec, error) {
	n := blank()
	fail := func(format string, args ...any) (sched.NodeSpec, error) {
		return n, fmt.Errorf("node %q: %s", p.NodeID, fmt.Sprintf(format, args...))
	}
	if p.NodeID == "" {
		return n, fmt.Errorf("a node has no node_id")
	}
	n.Name = p.NodeID
	var err error
	if p.CPUCapacity != nil {
		if n.CPU, err = milli(*p.CPUCapacity); err != nil {
			return fail("cpu_capacity: %v", err)
		}
	}
	if p.Memory != nil {
		if n.Mem, err = bytesOf(p.Memory.Capacity, "gb"); err != nil {
			return fail("memory_gb: %v", err)
		}
	}
	if p.GPUCount < 0 {
		return fail("negative gpu_count")
	}
	n.GPUs = p.GPUCount
	if n.GPUs > 0 {
		n.GPUType = p.GPUType
		if p.GPUMemory != nil {
			if n.VRAM, err = bytesOf(p.GPUMemory.Capacity, "gb"); err != nil {
				return fail("gpu_memory_gb: %v", err)
			}
		}
	}
	if p.Speed != 0 {
		if n.SpeedMilli, err = speedMilli(p.Speed); err != nil {
			return fail("%v", err)
		}
	}
	if !(p.StorageLatencyMS >= 0 && p.StorageLatencyMS <= 1e9) || !(p.StorageMBps >= 0) || !(p.NetworkMbps >= 0) {
		return fail("storage_latency_ms, storage_mbps and network_mbps must not be negative")
	}
	if !(p.NetworkLatencyMS >= 0 && p.NetworkLatencyMS <= 1e9) {
		return fail("network_latency_ms must be from 0 to 1e9")
	}
	n.StorageLatency, n.NetworkLatency = time.Duration(math.Round(p.StorageLatencyMS*1e6)), time.Duration(math.Round(p.NetworkLatencyMS*1e6))
	n.StorageMBps, n.NetworkMbps = p.StorageMBps, p.NetworkMbps
	keys := make([]string, 0, len(p.Labels))
	for k := range p.Labels {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		n.Labels = append(n.Labels, sched.Label{Key: k, Value: p.Labels[k]})
	}
	for _, t := range p.Taints {
		taint := sched.Taint(t)
		if err := checkTaint(taint); err != nil {
			return fail("%v", err)
		}
		n.Taints = append(n.Taints, taint)
	}
	return n, nil
}

// Sample returns what a sampler saw of the node, as the scheduler takes it in.
func (p *Profile) Sample() sched.Profile {
	s := sched.Profile{
		OtherCPU:    int64(math.Round(clamp(p.CPUUsage, 0, 1e12) * 1000)),
		Latency:     time.Duration(math.Round(clamp(p.NetworkLatencyMS, 0, 1e9) * 1e6)),
		Connections: max(p.ActiveConnections, 0),
	}
	s.SampledAt, _ = sched.Seconds(p.SampledAtSeconds)
	if p.Memory != nil {
		s.OtherMem = int64(math.Round(clamp(p.Memory.Used, 0, 1e9) * GB))
	}
	for _, g := range p.GPUs {
		if g.Utilization != nil {
			s.GPULoad += clamp(*g.Utilization, 0, 1) / float64(len(p.GPUs))
		}
	}
	return s
}

func clamp(f, low, high float64) float64 {
	if !(f >= low) { // also NaN
		return low
	}
	return min(f, high)
}

// ProfileOf describes a node as a profile with nothing in use.
func ProfileOf(n *sched.NodeSpec) Profile {
	p := Profile{
		NodeID: n.Name, GPUType: n.GPUType, GPUCount: n.GPUs, NetworkMbps: n.NetworkMbps, StorageMBps: n.StorageMBps,
		StorageLatencyMS: float64(n.StorageLatency) / 1e6, NetworkLatencyMS: float64(n.NetworkLatency) / 1e6,
	}
	if n.CPU < sched.Unlimited {
		cpu := float64(n.CPU) / 1000
		p.CPUCapacity = &cpu
	}
	if n.Mem < sched.Unlimited {
		p.Memory = &Amount{Capacity: float64(n.Mem) / GB}
	}
	if n.GPUs > 0 && n.VRAM < sched.Unlimited {
		p.GPUMemory = &Amount{Capacity: float64(n.VRAM) / GB}
	}
	if n.SpeedMilli != 0 && n.SpeedMilli != 1000 {
		p.Speed = float64(n.SpeedMilli) / 1000
	}
	for _, l := range n.Labels {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels[l.Key] = l.Value
	}
	for _, t := range n.Taints {
		p.Taints = append(p.Taints, ProfileTaint(t))
	}
	return p
}

// ParseProfiles is Parse for whoever wants profiles: what a file of profiles says of the use of its nodes is kept.
func ParseProfiles(spec string) ([]Profile, error) {
	return describe(parse(spec))
}

// ReadProfiles is Read for whoever wants profiles; see ParseProfiles.
func ReadProfiles(r io.Reader, name string) ([]Profile, error) {
	return describe(read(r, name))
}

// describe returns the profiles that were read, or those of nodes that were described otherwise.
func describe(nodes []sched.NodeSpec, read []Profile, err error) ([]Profile, error) {
	if err != nil {
		return nil, err
	}
	if read == nil {
		read = make([]Profile, len(nodes))
		for i := range nodes {
			read[i] = ProfileOf(&nodes[i])
		}
		return read, nil
	}
	for i := range nodes { // an edge node got one
		if len(nodes[i].Taints) > len(read[i].Taints) {
			read[i].Taints = ProfileOf(&nodes[i]).Taints
		}
	}
	return read, nil
}

// decodeProfiles reads one profile, an array of them, or one a line. Unknown fields are refused: a misspelt gpu_count would be a
// node without GPUs. name stands in errors.
func decodeProfiles(text []byte, name string) ([]Profile, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	line := func(offset int64) int {
		offset = min(max(offset, 0), int64(len(text)))
		return 1 + bytes.Count(text[:offset], []byte{'\n'})
	}
	var out []Profile
	one := func() error {
		if len(out) == limit {
			return fmt.Errorf("%s:%d: more than %d nodes", name, line(dec.InputOffset()), limit)
		}
		var p Profile
		if err := dec.Decode(&p); err != nil {
			at := dec.InputOffset()
			var se *json.SyntaxError
			var te *json.UnmarshalTypeError
			switch {
			case errors.As(err, &se):
				at = se.Offset
			case errors.As(err, &te):
				at = te.Offset
			case errors.Is(err, io.ErrUnexpectedEOF):
				return fmt.Errorf("%s:%d: the file ends in the middle of a node", name, line(int64(len(text))))
			}
			return fmt.Errorf("%s:%d: %w", name, line(at), mismatch.JSON(err))
		}
		out = append(out, p)
		return nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		if _, err := dec.Token(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for dec.More() {
			if err := one(); err != nil {
				return nil, err
			}
		}
		if _, err := dec.Token(); err != nil {
			return nil, fmt.Errorf("%s:%d: the list of nodes is not closed", name, line(dec.InputOffset()))
		}
		if _, err := dec.Token(); err != io.EOF {
			return nil, fmt.Errorf("%s:%d: text after the list of nodes", name, line(dec.InputOffset()))
		}
		return out, nil
	}
	for dec.More() {
		if err := one(); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%s:%d: text after the last node", name, line(dec.InputOffset()))
	}
	return out, nil
}

func readJSON(text []byte, name string) ([]sched.NodeSpec, []Profile, error) {
	profiles, err := decodeProfiles(text, name)
	if err != nil {
		return nil, nil, err
	}
	nodes := make([]sched.NodeSpec, len(profiles))
	for i := range profiles {
		if nodes[i], err = profiles[i].Spec(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return nodes, profiles, nil
}

// WriteProfiles writes the nodes as profiles, one a line.
func WriteProfiles(w io.Writer, nodes []sched.NodeSpec) error {
	enc := json.NewEncoder(w)
	for i := range nodes {
		if err := enc.Encode(ProfileOf(&nodes[i])); err != nil {
			return err
		}
	}
	return nil
}
