// Package cluster reads and writes descriptions of clusters: shorthands for the command line, YAML, the openb node list, the cluster
// files of the Muri and Tiresias simulators, and node profiles in JSON.
//
// What a description does not state is not modelled: CPU, RAM and VRAM are then sched.Unlimited, and there are no GPUs.
package cluster

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
)

// MaxNodes is the largest cluster that is read.
const MaxNodes = 1_000_000

var limit = MaxNodes // lowered by the fuzz test

// GB is the unit of every "gb" here, in bytes: RAM is sold in powers of two, and traces count likewise.
const GB = 1 << 30

// Usage shows how a cluster is written; errors end with it.
const Usage = `write a cluster as pool:128cpu, 8x8xA100, 4x16cpu or "1000x(64cpu,512gb,8xH100)", joined by + for several kinds, or give a file: YAML, an openb node list (CSV) or node profiles (JSON)`

// Parse reads a shorthand, or else the file at that path.
//
//	pool:64cpu,16gpu            one node that holds everything
//	8x8xA100                    8 nodes of 8 A100
//	4x16cpu                     4 nodes of 16 CPUs
//	1000x(64cpu,512gb,8xH100)   1000 nodes of 64 CPUs, 512 GiB of RAM and 8 H100
//	2x(8xA100:80gb)+6x8xV100    two kinds; an A100 has 80 GiB of memory
//	4x(8xA100,speed=2)+1x(8cpu,node-type=edge)   a faster kind; any other key=value is a label
//
// A file is recognised by its content; gzip and zstd are unpacked.
func Parse(spec string) ([]sched.NodeSpec, error) {
	nodes, _, err := parse(spec)
	return nodes, err
}

func parse(spec string) ([]sched.NodeSpec, []Profile, error) {
	trimmed := strings.TrimSpace(spec)
	if trimmed == "" {
		return nil, nil, fmt.Errorf("no cluster given: %s", Usage)
	}
	if isShorthand(trimmed) {
		nodes, err := parseShorthand(trimmed)
		return nodes, nil, err
	}
	return open(spec)
}

// isShorthand reports whether the text begins as a shorthand does: "pool:" or a number and an x.
func isShorthand(s string) bool {
	if len(s) >= 5 && strings.EqualFold(s[:5], "pool:") {
		return true
	}
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i > 0 && i < len(s) && (s[i] == 'x' || s[i] == 'X')
}

func blank() sched.NodeSpec {
	return sched.NodeSpec{CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited, SpeedMilli: 1000}
}

// parseShorthand reads parts joined by "+".
func parseShorthand(text string) ([]sched.NodeSpec, error) {
	fail := func(format string, args ...any) ([]sched.NodeSpec, error) {
		return nil, fmt.Errorf("cluster %q: %s; %s", text, fmt.Sprintf(format, args...), Usage)
	}
	parts, err := splitOutside(text, '+')
	if err != nil {
		return fail("%v", err)
	}
	type group struct {
		count int
		node  sched.NodeSpec
	}
	var groups []group
	total, pools, plain := 0, 0, 0
	for _, part := range parts {
		part = strings.TrimSpace(part)
		g := group{count: 1, node: blank()}
		body := part
		if len(part) >= 5 && strings.EqualFold(part[:5], "pool:") {
			body = part[5:]
			pools++
			g.node.Name = "pool"
			if pools > 1 {
				g.node.Name = "pool-" + strconv.Itoa(pools)
			}
		} else {
			digits, rest, ok := cutCount(part)
			if !ok {
				return fail("%q does not begin with a number of nodes, as 8x", part)
			}
			n, err := strconv.Atoi(digits)
			if err != nil || n > limit {
				return fail("%s nodes are more than %d", digits, limit)
			}
			if n < 1 {
				return fail("%q has no nodes", part)
			}
			g.count, body = n, rest
			plain += n
		}
		body = strings.TrimSpace(body)
		if strings.HasPrefix(body, "(") && strings.HasSuffix(body, ")") {
			body = body[1 : len(body)-1]
		}
		if err := parseItems(body, &g.node); err != nil {
			return fail("%v", err)
		}
		total += g.count
		if total > limit {
			return fail("more than %d nodes", limit)
		}
		groups = append(groups, g)
	}
	nodes := make([]sched.NodeSpec, 0, total)
	number, width := 0, max(3, len(strconv.Itoa(plain)))
	for _, g := range groups {
		for range g.count {
			n := g.node
			if n.Name == "" {
				number++
				n.Name = fmt.Sprintf("node-%0*d", width, number)
			}
			nodes = append(nodes, n)
		}
	}
	if err := finish(nodes); err != nil {
		return fail("%v", err)
	}
	return nodes, nil
}

// cutCount splits "8x..." after the x.
func cutCount(s string) (digits, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	if i == 0 || i == len(s) || (s[i] != 'x' && s[i] != 'X') {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// parseItems reads "64cpu,512gb,8xH100:80gb,speed=2,zone=a".
func parseItems(text string, n *sched.NodeSpec) error {
	seen := map[string]bool{}
	once := func(what string) error {
		if seen[what] {
			return fmt.Errorf("%s is stated twice", what)
		}
		seen[what] = true
		return nil
	}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			return fmt.Errorf("%q has an empty item", text)
		}
		if key, value, ok := strings.Cut(item, "="); ok {
			if err := once(key); err != nil {
				return err
			}
			if key == "speed" {
				f, err := number(value)
				if err != nil {
					return fmt.Errorf("speed %q: %v", value, err)
				}
				if n.SpeedMilli, err = speedMilli(f); err != nil {
					return err
				}
				continue
			}
			if key == "" || strings.ContainsAny(key, "() ") {
				return fmt.Errorf("%q is not a label", item)
			}
			n.Labels = append(n.Labels, sched.Label{Key: key, Value: value})
			continue
		}
		if strings.Contains(item, "+") {
			return fmt.Errorf("%q: what one node has is joined by commas, GPUs are of one type on a node, and kinds of nodes are joined outside the brackets, as 1x4xA100+1x4xV100", item)
		}
		if digits, kind, ok := cutCount(item); ok {
			if seen["GPUs"] {
				return fmt.Errorf("%q: a second entry of GPUs, which are of one type on a node", item)
			}
			seen["GPUs"] = true
			kind, vram, hasVRAM := strings.Cut(kind, ":")
			if kind == "" || strings.ContainsAny(kind, "() ") {
				return fmt.Errorf("%q names no GPU type", item)
			}
			g, err := strconv.ParseInt(digits, 10, 32)
			if err != nil || g < 1 {
				return fmt.Errorf("%q: the number of GPUs must be 1 to %d", item, math.MaxInt32)
			}
			n.GPUs, n.GPUType = int32(g), kind
			if hasVRAM {
				f, unit, err := quantity(vram)
				if err != nil {
					return fmt.Errorf("%q: %v", item, err)
				}
				if n.VRAM, err = bytesOf(f, unit); err != nil {
					return fmt.Errorf("%q: %v", item, err)
				}
			}
			continue
		}
		f, unit, err := quantity(item)
		if err != nil {
			return err
		}
		switch unit {
		case "cpu", "cpus", "core", "cores":
			if err := once("CPU"); err != nil {
				return err
			}
			if n.CPU, err = milli(f); err != nil {
				return fmt.Errorf("%q: %v", item, err)
			}
		case "gpu", "gpus":
			if err := once("GPUs"); err != nil {
				return err
			}
			if f != math.Trunc(f) || f < 1 || f > math.MaxInt32 {
				return fmt.Errorf("%q: the number of GPUs must be 1 to %d", item, math.MaxInt32)
			}
			n.GPUs = int32(f)
		default:
			if err := once("memory"); err != nil {
				return err
			}
			if n.Mem, err = bytesOf(f, unit); err != nil {
				return fmt.Errorf("%q: %v", item, err)
			}
		}
	}
	return nil
}

// quantity splits "512gb" into 512 and "gb".
func quantity(s string) (float64, string, error) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	if i == 0 || i == len(s) {
		return 0, "", fmt.Errorf("%q is not an item like 64cpu, 512gb, 16gpu or 8xA100", s)
	}
	f, err := number(s[:i])
	if err != nil {
		return 0, "", fmt.Errorf("%q: %v", s, err)
	}
	return f, strings.ToLower(strings.TrimSpace(s[i:])), nil
}

func number(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return f, nil
}

// milli turns a number of CPUs into milli-CPU.
func milli(cpus float64) (int64, error) {
	m := math.Round(cpus * 1000)
	if !(m >= 1 && m <= 1e15) {
		return 0, fmt.Errorf("CPU must be from 0.001 to 1e12")
	}
	return int64(m), nil
}

func speedMilli(f float64) (int64, error) {
	m := math.Round(f * 1000)
	if !(m >= 1 && m <= 1e9) {
		return 0, fmt.Errorf("speed must be from 0.001 to 1e6 (1 is the reference)")
	}
	return int64(m), nil
}

// A "gb" is a "gib" here, as in traces.
var units = map[string]float64{
	"kb": 1 << 10, "mb": 1 << 20, "gb": GB, "tb": 1 << 40, "pb": 1 << 50,
	"ki": 1 << 10, "mi": 1 << 20, "gi": GB, "ti": 1 << 40, "kib": 1 << 10, "mib": 1 << 20, "gib": GB, "tib": 1 << 40,
}

func bytesOf(f float64, unit string) (int64, error) {
	u, ok := units[unit]
	if !ok {
		return 0, fmt.Errorf("unknown unit %q (cpu, gpu, mb, gb, tb, mib, gib, tib)", unit)
	}
	b := math.Round(f * u)
	if !(b >= 1 && b <= 1e18) {
		return 0, fmt.Errorf("memory must be from 1 byte to 1e9 GiB")
	}
	return int64(b), nil
}

// splitOutside splits at sep outside brackets.
func splitOutside(s string, sep byte) ([]string, error) {
	var parts []string
	depth, from := 0, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')':
			if depth--; depth < 0 {
				return nil, fmt.Errorf("a bracket is closed that was not opened")
			}
		case s[i] == sep && depth == 0:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("a bracket is not closed")
	}
	return append(parts, s[from:]), nil
}

// finish checks what every cluster must keep, however it was described: names are unique, sums over all nodes fit in 64 bits, and an
// edge node carries its taint (S11 in README.md).
func finish(nodes []sched.NodeSpec) error {
	if len(nodes) == 0 {
		return fmt.Errorf("the cluster has no nodes")
	}
	if len(nodes) > limit {
		return fmt.Errorf("more than %d nodes", limit)
	}
	names := make(map[string]struct{}, len(nodes))
	var cpu, mem, vram, gpus float64
	for i := range nodes {
		n := &nodes[i]
		if _, ok := names[n.Name]; ok {
			return fmt.Errorf("two nodes are named %q", n.Name)
		}
		names[n.Name] = struct{}{}
		if n.CPU < sched.Unlimited {
			cpu += float64(n.CPU)
		}
		if n.Mem < sched.Unlimited {
			mem += float64(n.Mem)
		}
		if n.VRAM < sched.Unlimited {
			vram += float64(n.VRAM) * float64(n.GPUs)
		}
		gpus += float64(n.GPUs)
		TaintEdge(n)
	}
	// Half of the range leaves room for those who add up demands on top.
	const most = float64(sched.Unlimited) / 2
	switch {
	case cpu > most:
		return fmt.Errorf("the nodes' CPUs together do not fit in 64 bits")
	case mem > most || vram > most:
		return fmt.Errorf("the nodes' memory together does not fit in 64 bits")
	case gpus > math.MaxInt32:
		return fmt.Errorf("more than %d GPUs", math.MaxInt32)
	}
	return nil
}

// TaintEdge gives a node labelled node-type=edge the taint edge-node=true:NoSchedule, unless it has one of that key already.
func TaintEdge(n *sched.NodeSpec) {
	edge := false
	for _, l := range n.Labels {
		edge = edge || l == sched.Label{Key: "node-type", Value: "edge"}
	}
	if !edge {
		return
	}
	for _, t := range n.Taints {
		if t.Key == "edge-node" {
			return
		}
	}
	// A fresh slice: nodes of one description share theirs.
	n.Taints = append(append([]sched.Taint(nil), n.Taints...), sched.Taint{Key: "edge-node", Value: "true", Effect: "NoSchedule"})
}

// Format describes a cluster in one line, for headers: "80 nodes: 640 V100, 5120 CPU, 40960 GiB".
func Format(nodes []sched.NodeSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d node", len(nodes))
	if len(nodes) != 1 {
		b.WriteByte('s')
	}
	var types []string
	var count []int64
	var cpu, mem int64
	cpuKnown, memKnown := false, false
	for i := range nodes {
		n := &nodes[i]
		if n.GPUs > 0 {
			t := n.GPUType
			if t == "" {
				t = "GPU"
			}
			i := slices.IndexFunc(types, func(o string) bool { return sched.SameGPU(o, t) })
			if i < 0 {
				i = len(types)
				types, count = append(types, t), append(count, 0)
			}
			count[i] += int64(n.GPUs)
		}
		if n.CPU < sched.Unlimited {
			cpu, cpuKnown = cpu+n.CPU, true
		}
		if n.Mem < sched.Unlimited {
			mem, memKnown = mem+n.Mem, true
		}
	}
	sep := ": "
	put := func(s string) {
		b.WriteString(sep)
		b.WriteString(s)
		sep = ", "
	}
	const shown = 4
	for i, t := range types {
		if i == shown && len(types) > shown+1 {
			var rest int64
			for _, n := range count[i:] {
				rest += n
			}
			put(fmt.Sprintf("%d of %d other types", rest, len(types)-shown))
			break
		}
		put(fmt.Sprintf("%d %s", count[i], t))
	}
	if cpuKnown {
		put(trim(float64(cpu)/1000) + " CPU")
	}
	if memKnown {
		put(trim(math.Round(float64(mem)/GB)) + " GiB")
	}
	return b.String()
}

func trim(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
