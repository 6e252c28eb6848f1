package cluster

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.yaml.in/yaml/v3"

	"github.com/schedlab/schedlab/policies/sched"
)

// maxFile bounds what is read of a cluster file, unpacked.
const maxFile = 256 << 20

// Open reads the cluster file at path.
func Open(path string) ([]sched.NodeSpec, error) {
	nodes, _, err := open(path)
	return nodes, err
}

func open(path string) ([]sched.NodeSpec, []Profile, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("cluster %q: there is no such file, and it is no shorthand; %s", path, Usage)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cluster: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, nil, fmt.Errorf("cluster: %s: is a folder", path)
	}
	return read(f, path)
}

// Read reads a cluster file: YAML, openb node list, Muri or Tiresias cluster file, or node profiles, told apart by content. name
// stands in errors.
func Read(r io.Reader, name string) ([]sched.NodeSpec, error) {
	nodes, _, err := read(r, name)
	return nodes, err
}

// read is Read; it returns the profiles too where the file is one of profiles.
func read(r io.Reader, name string) (nodes []sched.NodeSpec, profiles []Profile, err error) {
	data, err := unpack(r)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	text := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	first := firstLine(text)
	switch {
	case len(first) == 0:
		return nil, nil, fmt.Errorf("%s: the file is empty", name)
	case first[0] == '{' || first[0] == '[':
		nodes, profiles, err = readJSON(text, name)
	case bytes.HasPrefix(first, []byte("sn,")):
		nodes, err = readOpenb(text, name)
	case bytes.HasPrefix(first, []byte("num_switch,")):
		nodes, err = readSwitches(text, name)
	default:
		nodes, err = readYAML(text, name)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := finish(nodes); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return nodes, profiles, nil
}

// unpack reads all of r, at most maxFile bytes, through gzip or zstd where the first bytes say so.
func unpack(r io.Reader) ([]byte, error) {
	br := bufio.NewReader(r)
	magic, _ := br.Peek(4)
	var in io.Reader = br
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		in = z
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFile))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		in = z
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("a cluster file may have %d MB at most", maxFile>>20)
	}
	return data, nil
}

func firstLine(b []byte) []byte {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line
		}
		b = rest
	}
	return nil
}

// readCSV calls row for every row after the header, with the columns by name.
func readCSV(text []byte, name string, need []string, row func(line int, get func(col string) string) error) error {
	r := csv.NewReader(bytes.NewReader(text))
	r.ReuseRecord = true
	r.TrimLeadingSpace = true
	head, err := r.Read()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	col := map[string]int{}
	for i, h := range head {
		col[strings.TrimSpace(h)] = i
	}
	for _, want := range need {
		if _, ok := col[want]; !ok {
			return fmt.Errorf("%s:1: no column %q (columns: %s)", name, want, strings.Join(need, ","))
		}
	}
	for {
		rec, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			var pe *csv.ParseError
			if errors.As(err, &pe) {
				return fmt.Errorf("%s:%d: %v", name, pe.Line, pe.Err)
			}
			return fmt.Errorf("%s: %w", name, err)
		}
		line, _ := r.FieldPos(0)
		if err := row(line, func(c string) string { return strings.TrimSpace(rec[col[c]]) }); err != nil {
			return fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
}

func whole(field, s string, most int64) (int64, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a whole number", field, s)
	}
	if v < 0 {
		return 0, fmt.Errorf("negative %s", field)
	}
	if v > most {
		return 0, fmt.Errorf("%s: %d is more than %d", field, v, most)
	}
	return v, nil
}

// readOpenb reads the node list of the Alibaba trace of 2023 ("openb"): sn,cpu_milli,memory_mib,gpu,model.
func readOpenb(text []byte, name string) ([]sched.NodeSpec, error) {
	var nodes []sched.NodeSpec
	err := readCSV(text, name, []string{"sn", "cpu_milli", "memory_mib", "gpu", "model"}, func(_ int, get func(string) string) error {
		n := blank()
		cpu, err := whole("cpu_milli", get("cpu_milli"), 1e15)
		if err != nil {
			return err
		}
		mib, err := whole("memory_mib", get("memory_mib"), 1e12)
		if err != nil {
			return err
		}
		gpus, err := whole("gpu", get("gpu"), math.MaxInt32)
		if err != nil {
			return err
		}
		n.Name, n.CPU, n.Mem, n.GPUs = strings.Clone(get("sn")), cpu, mib<<20, int32(gpus)
		if gpus > 0 {
			n.GPUType = strings.Clone(get("model"))
		}
		if n.Name == "" {
			return fmt.Errorf("a node has no name")
		}
		if len(nodes) == limit {
			return fmt.Errorf("more than %d nodes", limit)
		}
		nodes = append(nodes, n)
		return nil
	})
	return nodes, err
}

// readSwitches reads the cluster files of the Muri and Tiresias simulators:
// num_switch,num_node_p_switch,num_gpu_p_node,num_cpu_p_node,mem_p_node (GB). A switch becomes the label "switch".
func readSwitches(text []byte, name string) ([]sched.NodeSpec, error) {
	var nodes []sched.NodeSpec
	sw := int64(0)
	cols := []string{"num_switch", "num_node_p_switch", "num_gpu_p_node", "num_cpu_p_node", "mem_p_node"}
	err := readCSV(text, name, cols, func(_ int, get func(string) string) error {
		var v [5]int64
		for i, c := range cols {
			most := int64(math.MaxInt32)
			if i < 2 {
				most = int64(limit)
			}
			var err error
			if v[i], err = whole(c, get(c), most); err != nil {
				return err
			}
		}
		if v[0]*v[1] > int64(limit-len(nodes)) {
			return fmt.Errorf("more than %d nodes", limit)
		}
		for range v[0] {
			sw++
			labels := []sched.Label{{Key: "switch", Value: strconv.FormatInt(sw, 10)}}
			for range v[1] {
				n := blank()
				n.GPUs, n.Labels = int32(v[2]), labels
				if v[3] > 0 {
					n.CPU = v[3] * 1000
				}
				if v[4] > 0 {
					n.Mem = v[4] * GB
				}
				nodes = append(nodes, n)
			}
		}
		return nil
	})
	width := max(3, len(strconv.Itoa(len(nodes))))
	for i := range nodes {
		nodes[i].Name = fmt.Sprintf("node-%0*d", width, i+1)
	}
	return nodes, err
}

// yamlFields are the fields of one entry under "nodes", in the order of the manual.
const yamlFields = "name, count, cpu, mem_gb, gpus, gpu_type, gpu_mem_gb, speed, labels, taints, storage_latency_ms, storage_mbps, network_mbps, network_latency_ms"

// readYAML reads
//
//	nodes:
//	  - name: trainer          # optional; with a count the nodes are trainer-001, trainer-002, ...
//	    count: 8               # default 1
//	    cpu: 64                # cores
//	    mem_gb: 512
//	    gpus: 8
//	    gpu_type: A100
//	    gpu_mem_gb: 80         # on each GPU
//	    speed: 1.5             # 1 is the reference; a task runs for run / speed
//	    labels: {zone: a}
//	    taints: ["dedicated=training:NoSchedule"]   # or {key: dedicated, value: training, effect: NoSchedule}
//	    storage_latency_ms: 2
//	    storage_mbps: 2000
//	    network_mbps: 10000     # of its link, over which tasks send what their edges carry
//	    network_latency_ms: 0.1
func readYAML(text []byte, name string) ([]sched.NodeSpec, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if err == io.EOF {
			return nil, fmt.Errorf("%s: the file has no nodes", name)
		}
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if line, what, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
			return nil, fmt.Errorf("%s:%s: not YAML: %s", name, line, what)
		}
		return nil, fmt.Errorf("%s: not YAML: %s", name, text)
	}
	if err := dec.Decode(new(yaml.Node)); err != io.EOF {
		return nil, fmt.Errorf("%s: only one YAML document is read", name)
	}
	y := yamlReader{name: name}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: this is not a cluster; it begins with \"nodes:\" and a list of {%s}", name, yamlFields)
	}
	var nodes []sched.NodeSpec
	err := y.mapping(doc.Content[0], "", func(key string, k, v *yaml.Node) (err error) {
		if key != "nodes" {
			return y.at(k, "unknown field %q (a cluster has only: nodes)", key)
		}
		nodes, err = y.list(v)
		return err
	})
	return nodes, err
}

// FromYAML reads the list that stands under "nodes" in a cluster file, as part of another document. Errors name its lines.
func FromYAML(list *yaml.Node, name string) ([]sched.NodeSpec, error) {
	y := yamlReader{name: name}
	nodes, err := y.list(list)
	if err != nil {
		return nil, err
	}
	if err := finish(nodes); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return nodes, nil
}

func (y *yamlReader) list(v *yaml.Node) ([]sched.NodeSpec, error) {
	if v = deref(v); v.Kind != yaml.SequenceNode {
		return nil, y.at(v, "nodes must be a list, as in [{cpu: 64}]")
	}
	var nodes []sched.NodeSpec
	number := 0
	for _, entry := range v.Content {
		if err := y.entry(deref(entry), &nodes, &number); err != nil {
			return nil, err
		}
	}
	// Numbers are padded to the width of the last one, so names need all counts.
	width := max(3, len(strconv.Itoa(number)))
	number = 0
	for i := range nodes {
		if nodes[i].Name == "" {
			number++
			nodes[i].Name = fmt.Sprintf("node-%0*d", width, number)
		}
	}
	return nodes, nil
}

type yamlReader struct{ name string }

func (y *yamlReader) at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", y.name, n.Line, fmt.Sprintf(format, args...))
}

func deref(n *yaml.Node) *yaml.Node {
	// An alias of an alias cannot be written in YAML, so one step is enough.
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// mapping calls f for each key in order and refuses what is no mapping, with what is wanted, and keys that come twice.
func (y *yamlReader) mapping(n *yaml.Node, want string, f func(key string, k, v *yaml.Node) error) error {
	n = deref(n)
	if n.Kind != yaml.MappingNode {
		return y.at(n, "%s", want)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			return y.at(k, "a field's name must be plain text")
		}
		if seen[k.Value] {
			return y.at(k, "%q is stated twice", k.Value)
		}
		seen[k.Value] = true
		if err := f(k.Value, k, v); err != nil {
			return err
		}
	}
	return nil
}

func (y *yamlReader) text(key string, v *yaml.Node) (string, error) {
	if v = deref(v); v.Kind != yaml.ScalarNode {
		return "", y.at(v, "%s must be plain text", key)
	}
	return v.Value, nil
}

func (y *yamlReader) number(key string, v *yaml.Node) (float64, error) {
	if v = deref(v); v.Kind != yaml.ScalarNode {
		return 0, y.at(v, "%s must be a number", key)
	}
	f, err := number(v.Value)
	if err != nil {
		return 0, y.at(v, "%s: %v", key, err)
	}
	return f, nil
}

func (y *yamlReader) entry(e *yaml.Node, nodes *[]sched.NodeSpec, unnamed *int) error {
	n := blank()
	count, explicit := 1, false
	vramStated, typeStated := false, false
	err := y.mapping(e, "a node must be fields, as in {cpu: 64, gpus: 8}", func(key string, k, v *yaml.Node) error {
		var f float64
		var err error
		switch key {
		case "name", "gpu_type":
			var s string
			if s, err = y.text(key, v); err != nil {
				return err
			}
			if key == "name" {
				n.Name = s
			} else {
				n.GPUType, typeStated = s, true
			}
			return nil
		case "labels":
			return y.mapping(v, "labels must be keys and values, as in {zone: a}", func(k string, _, v *yaml.Node) error {
				s, err := y.text("label "+k, v)
				n.Labels = append(n.Labels, sched.Label{Key: k, Value: s})
				return err
			})
		case "taints":
			if v = deref(v); v.Kind != yaml.SequenceNode {
				return y.at(v, "taints must be a list, as in [\"dedicated=training:NoSchedule\"]")
			}
			for _, t := range v.Content {
				taint, err := y.taint(deref(t))
				if err != nil {
					return err
				}
				n.Taints = append(n.Taints, taint)
			}
			return nil
		case "count", "cpu", "mem_gb", "gpus", "gpu_mem_gb", "speed", "storage_latency_ms", "storage_mbps", "network_mbps", "network_latency_ms":
			if f, err = y.number(key, v); err != nil {
				return err
			}
		default:
			return y.at(k, "unknown field %q (fields: %s)", key, yamlFields)
		}
		if f < 0 {
			return y.at(v, "negative %s", key)
		}
		switch key {
		case "count":
			if f != math.Trunc(f) || f < 1 || f > float64(limit) {
				return y.at(v, "count must be 1 to %d", limit)
			}
			count, explicit = int(f), true
		case "cpu":
			n.CPU, err = milli(f)
		case "mem_gb":
			n.Mem, err = bytesOf(f, "gb")
		case "gpus":
			if f != math.Trunc(f) || f > math.MaxInt32 {
				return y.at(v, "gpus must be a whole number up to %d", math.MaxInt32)
			}
			n.GPUs = int32(f)
		case "gpu_mem_gb":
			n.VRAM, err = bytesOf(f, "gb")
			vramStated = true
		case "speed":
			n.SpeedMilli, err = speedMilli(f)
		case "storage_latency_ms":
			if f > 1e9 {
				return y.at(v, "storage_latency_ms is more than 1e9")
			}
			n.StorageLatency = time.Duration(math.Round(f * 1e6))
		case "storage_mbps":
			n.StorageMBps = f
		case "network_mbps":
			n.NetworkMbps = f
		case "network_latency_ms":
			if f > 1e9 {
				return y.at(v, "network_latency_ms is more than 1e9")
			}
			n.NetworkLatency = time.Duration(math.Round(f * 1e6))
		}
		if err != nil {
			return y.at(v, "%s: %v", key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n.GPUs == 0 && (vramStated || typeStated) {
		return y.at(e, "gpu_type or gpu_mem_gb without gpus")
	}
	if count > limit-len(*nodes) {
		return y.at(e, "more than %d nodes", limit)
	}
	base := n.Name
	width := max(3, len(strconv.Itoa(count)))
	for i := range count {
		if base == "" {
			*unnamed++
		} else if explicit {
			n.Name = fmt.Sprintf("%s-%0*d", base, width, i+1)
		}
		*nodes = append(*nodes, n)
	}
	return nil
}

// taint reads "key=value:Effect" or the three as fields.
func (y *yamlReader) taint(v *yaml.Node) (sched.Taint, error) {
	var t sched.Taint
	if v.Kind == yaml.ScalarNode {
		t, err := ParseTaint(v.Value)
		if err != nil {
			return t, y.at(v, "%v", err)
		}
		return t, nil
	}
	err := y.mapping(v, "a taint must be text, as in dedicated=training:NoSchedule, or its fields", func(key string, k, f *yaml.Node) error {
		s, err := y.text("a taint's "+key, f)
		switch key {
		case "key":
			t.Key = s
		case "value":
			t.Value = s
		case "effect":
			t.Effect = s
		default:
			return y.at(k, "unknown field %q (a taint has key, value, effect)", key)
		}
		return err
	})
	if err == nil {
		if err = checkTaint(t); err != nil {
			err = y.at(v, "%v", err)
		}
	}
	return t, err
}

// ParseTaint reads a taint as kubectl writes it: "key=value:Effect" or "key:Effect".
func ParseTaint(s string) (sched.Taint, error) {
	body, effect, ok := strings.Cut(s, ":")
	if !ok {
		return sched.Taint{}, fmt.Errorf("taint %q: write key=value:NoSchedule", s)
	}
	key, value, _ := strings.Cut(body, "=")
	t := sched.Taint{Key: key, Value: value, Effect: effect}
	return t, checkTaint(t)
}

func checkTaint(t sched.Taint) error {
	if t.Key == "" {
		return fmt.Errorf("a taint has no key")
	}
	switch t.Effect {
	case "NoSchedule", "NoExecute", "PreferNoSchedule":
		return nil
	}
	return fmt.Errorf("taint effect %q is none of NoSchedule, NoExecute, PreferNoSchedule", t.Effect)
}
