package cluster

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/schedlab/schedlab/policies/sched"
)

// yamlNode is one entry under "nodes", with its fields in the order of the manual (see readYAML).
type yamlNode struct {
	Name             string    `yaml:"name,omitempty"`
	Count            int       `yaml:"count,omitempty"`
	CPU              *float64  `yaml:"cpu,omitempty"`
	MemGB            *float64  `yaml:"mem_gb,omitempty"`
	GPUs             int32     `yaml:"gpus,omitempty"`
	GPUType          string    `yaml:"gpu_type,omitempty"`
	GPUMemGB         *float64  `yaml:"gpu_mem_gb,omitempty"`
	Speed            float64   `yaml:"speed,omitempty"`
	Labels           yaml.Node `yaml:"labels,omitempty"`
	Taints           []string  `yaml:"taints,omitempty,flow"`
	StorageLatencyMS float64   `yaml:"storage_latency_ms,omitempty"`
	StorageMBps      float64   `yaml:"storage_mbps,omitempty"`
	NetworkMbps      float64   `yaml:"network_mbps,omitempty"`
	NetworkLatencyMS float64   `yaml:"network_latency_ms,omitempty"`
}

// WriteYAML writes the nodes so that Read gives them back, equal neighbours as one entry with a count where their names allow it.
func WriteYAML(w io.Writer, nodes []sched.NodeSpec) error {
	text, err := encodeYAML(nodes, true)
	if err != nil {
		return err
	}
	// Which names follow from a count is the reader's to say. It is asked, and what it would call otherwise is written node by node.
	if back, err := Read(bytes.NewReader(text), "yaml"); err != nil || !reflect.DeepEqual(back, nodes) {
		if text, err = encodeYAML(nodes, false); err != nil {
			return err
		}
	}
	_, err = w.Write(text)
	return err
}

func encodeYAML(nodes []sched.NodeSpec, counted bool) ([]byte, error) {
	var doc struct {
		Nodes []*yamlNode `yaml:"nodes"`
	}
	for i := 0; i < len(nodes); {
		n := 1
		e := entryOf(&nodes[i])
		base, digits := cutNumber(nodes[i].Name)
		if counted && digits != "" {
			first, _ := strconv.Atoi(digits)
			for i+n < len(nodes) && sameKind(&nodes[i], &nodes[i+n]) && nodes[i+n].Name == fmt.Sprintf("%s%0*d", base, len(digits), first+n) {
				n++
			}
			switch {
			case base == "node-":
				if e.Name = ""; n > 1 {
					e.Count = n
				}
			case first == 1 && strings.HasSuffix(base, "-") && len(base) > 1 && len(digits) == max(3, len(strconv.Itoa(n))):
				e.Name, e.Count = base[:len(base)-1], n
			default:
				n = 1
			}
		}
		doc.Nodes = append(doc.Nodes, e)
		i += n
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// cutNumber splits "node-012" into "node-" and "012".
func cutNumber(name string) (base, digits string) {
	i := len(name)
	for i > 0 && name[i-1] >= '0' && name[i-1] <= '9' && len(name)-i < 9 {
		i--
	}
	return name[:i], name[i:]
}

// sameKind reports whether two nodes differ in nothing but their names.
func sameKind(a, b *sched.NodeSpec) bool {
	x, y := *a, *b
	x.Name, y.Name = "", ""
	return reflect.DeepEqual(x, y)
}

func entryOf(n *sched.NodeSpec) *yamlNode {
	e := &yamlNode{
		Name: n.Name, GPUs: n.GPUs, GPUType: n.GPUType, StorageLatencyMS: float64(n.StorageLatency) / 1e6,
		StorageMBps: n.StorageMBps, NetworkMbps: n.NetworkMbps, NetworkLatencyMS: float64(n.NetworkLatency) / 1e6,
	}
	stated := func(v int64, unit float64) *float64 {
		if v >= sched.Unlimited {
			return nil
		}
		f := float64(v) / unit
		return &f
	}
	e.CPU, e.MemGB = stated(n.CPU, 1000), stated(n.Mem, GB)
	if n.GPUs > 0 {
		e.GPUMemGB = stated(n.VRAM, GB)
	}
	if !n.Reference() {
		e.Speed = float64(n.SpeedMilli) / 1000
	}
	if len(n.Labels) > 0 { // a mapping of its own, since a Go map would lose the order
		e.Labels = yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, l := range n.Labels {
			var k, v yaml.Node
			k.SetString(l.Key)
			v.SetString(l.Value)
			e.Labels.Content = append(e.Labels.Content, &k, &v)
		}
	}
	for _, t := range n.Taints {
		s := t.Key
		if t.Value != "" {
			s += "=" + t.Value
		}
		e.Taints = append(e.Taints, s+":"+t.Effect)
	}
	return e
}
