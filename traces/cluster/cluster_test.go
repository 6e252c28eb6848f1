package cluster

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func shared(t testing.TB, path string) string {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				root = filepath.Join(dir, "..", "shared")
				break
			}
			if dir == filepath.Dir(dir) {
				t.Skip("no module root above the test")
			}
			dir = filepath.Dir(dir)
		}
	}
	file := filepath.Join(root, path)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the shared traces are not here: %v", err)
	}
	return file
}

func TestShorthandSaysWhatItHolds(t *testing.T) {
	const none = sched.Unlimited
	cases := []struct {
		spec     string
		count    int
		at       int
		name     string
		cpu, mem int64
		gpus     int32
		gpuType  string
		format   string
	}{
		{"pool:128cpu", 1, 0, "pool", 128_000, none, 0, "", "1 node: 128 CPU"},
		{"pool:16gpu", 1, 0, "pool", none, none, 16, "", "1 node: 16 GPU"},
		{"pool:64cpu,16gpu", 1, 0, "pool", 64_000, none, 16, "", "1 node: 16 GPU, 64 CPU"},
		{"8x8xA100", 8, 7, "node-008", none, none, 8, "A100", "8 nodes: 64 A100"},
		{"4x16cpu", 4, 0, "node-001", 16_000, none, 0, "", "4 nodes: 64 CPU"},
		{"32x1cpu", 32, 31, "node-032", 1000, none, 0, "", "32 nodes: 32 CPU"},
		{"80x8xV100", 80, 79, "node-080", none, none, 8, "V100", "80 nodes: 640 V100"},
		{"1000x(64cpu,512gb,8xH100)", 1000, 999, "node-1000", 64_000, 512 << 30, 8, "H100", "1000 nodes: 8000 H100, 64000 CPU, 512000 GiB"},
		{"2x8xA100+3x(4xV100,0.5cpu)", 5, 2, "node-003", 500, none, 4, "V100", "5 nodes: 16 A100, 12 V100, 1.5 CPU"},
		{"2x8xA100+1x4xa100", 3, 2, "node-003", none, none, 4, "a100", "3 nodes: 20 A100"},
		{" pool:100cpu + 2x4xP100 ", 3, 1, "node-001", none, none, 4, "P100", "3 nodes: 8 P100, 100 CPU"},
	}
	for _, c := range cases {
		nodes, err := Parse(c.spec)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		if len(nodes) != c.count {
			t.Errorf("%s: %d nodes, want %d", c.spec, len(nodes), c.count)
			continue
		}
		n := nodes[c.at]
		if n.Name != c.name || n.CPU != c.cpu || n.Mem != c.mem || n.GPUs != c.gpus || n.GPUType != c.gpuType || n.VRAM != none {
			t.Errorf("%s: node %d is %+v", c.spec, c.at, n)
		}
		if got := Format(nodes); got != c.format {
			t.Errorf("%s: Format = %q, want %q", c.spec, got, c.format)
		}
	}
}

func TestShorthandKnowsSpeedVRAMAndLabels(t *testing.T) {
	nodes, err := Parse("1x(8xA100:80gb,speed=2.5,zone=a)+1x(8cpu,node-type=edge)")
	if err != nil {
		t.Fatal(err)
	}
	if n := nodes[0]; n.VRAM != 80<<30 || n.SpeedMilli != 2500 || len(n.Labels) != 1 || n.Labels[0] != (sched.Label{Key: "zone", Value: "a"}) || n.Taints != nil {
		t.Errorf("node 0 is %+v", n)
	}
	want := []sched.Taint{{Key: "edge-node", Value: "true", Effect: "NoSchedule"}}
	if n := nodes[1]; !reflect.DeepEqual(n.Taints, want) {
		t.Errorf("an edge node has taints %v, want %v", n.Taints, want)
	}
}

func TestErrorsSayWhatIsWrongAndHowToWriteIt(t *testing.T) {
	for spec, part := range map[string]string{
		"":                          "no cluster given",
		"0x8xA100":                  "no nodes",
		"1000001x1cpu":              "more than 1000000",
		"600000x1cpu+600000x1cpu":   "more than 1000000 nodes",
		"99999999999999999999x1cpu": "more than 1000000",
		"8x":                        "empty item",
		"8x8":                       "not an item",
		"8x8x":                      "no GPU type",
		"8x0xA100":                  "number of GPUs",
		"8x99999999999xA100":        "number of GPUs",
		"8x(64cpu,8xA100":           "not closed",
		"8x64cpu)":                  "not opened",
		"8x64parsecs":               "unknown unit",
		"8x64cpu,32cpu":             "stated twice",
		"8x0cpu":                    "CPU must be",
		"1x(4xA100+4xV100)":         `"4xA100+4xV100": what one node has is joined by commas, GPUs are of one type on a node`,
		"pool:(4cpu+4xV100)":        `"4cpu+4xV100"`,
		"1x(4xA100,2cpu,4xV100)":    `"4xV100": a second entry of GPUs, which are of one type on a node`,
		"1000000x1000000000tb":      "memory",
		"1000000x(2000000xA100)":    "more than 2147483647 GPUs",
		"pool:":                     "empty item",
		"8x8xA100+":                 "does not begin with a number of nodes",
		"8x(8xA100,speed=0)":        "speed must be",
		"8x(8xA100,speed=NaN)":      "not a number",
		"no/such/cluster.yaml":      "no such file",
	} {
		_, err := Parse(spec)
		if err == nil {
			t.Errorf("%q is taken", spec)
			continue
		}
		if !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "pool:128cpu") {
			t.Errorf("%q: %v; want %q and how to write it", spec, err, part)
		}
	}
}

const yamlText = `
nodes:
  - name: trainer
    count: 2
    cpu: 64
    mem_gb: 512
    gpus: 8
    gpu_type: A100
    gpu_mem_gb: 80
    speed: 1.5
    labels: {zone: a, node-type: edge}
    taints: ["dedicated=training:NoSchedule", {key: hot, effect: PreferNoSchedule}]
    storage_latency_ms: 2.5
    storage_mbps: 2000
    network_mbps: 10000
    network_latency_ms: 0.1
  - name: head
    cpu: 4
  - count: 2
    gpus: 4
`

func TestYAMLIsReadWhole(t *testing.T) {
	nodes, err := Read(strings.NewReader(yamlText), "c.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	if want := "trainer-001 trainer-002 head node-001 node-002"; strings.Join(names, " ") != want {
		t.Errorf("names %v, want %s", names, want)
	}
	want := sched.NodeSpec{
		Name: "trainer-002", CPU: 64_000, Mem: 512 << 30, GPUs: 8, GPUType: "A100", VRAM: 80 << 30, SpeedMilli: 1500,
		StorageLatency: 2500 * time.Microsecond, StorageMBps: 2000, NetworkMbps: 10000, NetworkLatency: 100 * time.Microsecond,
		Labels: []sched.Label{{Key: "zone", Value: "a"}, {Key: "node-type", Value: "edge"}},
		Taints: []sched.Taint{
			{Key: "dedicated", Value: "training", Effect: "NoSchedule"},
			{Key: "hot", Effect: "PreferNoSchedule"},
			{Key: "edge-node", Value: "true", Effect: "NoSchedule"},
		},
	}
	if !reflect.DeepEqual(nodes[1], want) {
		t.Errorf("got  %+v\nwant %+v", nodes[1], want)
	}
	if n := nodes[2]; n.Mem != sched.Unlimited || n.GPUs != 0 || n.SpeedMilli != 1000 {
		t.Errorf("what is not stated: %+v", n)
	}
}

func TestYAMLErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"nodes:\n  - cpu: 4\n    gpu:\n      - 8\n":         `c.yaml:3: unknown field "gpu"`,
		"nodes:\n  - cpu: 4\n    gpu: 8\n":                  `c.yaml:3: unknown field "gpu" (fields: name, count,`,
		"nodes:\n  - cpu: 4\nnode: 3\n":                     `c.yaml:3: unknown field "node"`,
		"nodes:\n  - cpu: -4\n":                             "c.yaml:2: negative cpu",
		"nodes:\n  - cpu: many\n":                           `c.yaml:2: cpu: "many" is not a number`,
		"nodes:\n  - name: [a]\n":                           "c.yaml:2: name must be plain text",
		"nodes:\n  - cpu: 4\n    labels: x\n":               "c.yaml:3: labels must be keys and values, as in {zone: a}",
		"nodes:\n  - cpu: 4\n    labels: {a: [b]}\n":        "c.yaml:3: label a must be plain text",
		"nodes:\n  - 3\n":                                   "c.yaml:2: a node must be fields, as in {cpu: 64, gpus: 8}",
		"nodes:\n  - count: 1.5\n":                          "c.yaml:2: count must be",
		"nodes:\n  - count: 1000000\n  - count: 1\n":        "c.yaml:3: more than 1000000 nodes",
		"nodes:\n  - name: a\n    cpu: 1\n    cpu: 2\n":     `c.yaml:4: "cpu" is stated twice`,
		"nodes:\n  - name: a\n  - name: a\n":                `two nodes are named "a"`,
		"nodes:\n  - cpu: 4\n    taints: [a:Sometimes]\n":   "c.yaml:3: taint effect",
		"nodes:\n  - cpu: 4\n    taints: [{colour: red}]\n": `c.yaml:3: unknown field "colour"`,
		"nodes:\n  - cpu: 4\n    gpu_type: A100\n":          "c.yaml:2: gpu_type or gpu_mem_gb without gpus",
		"nodes: 4\n":                         "c.yaml:1: nodes must be a list",
		"just text\n":                        "not a cluster",
		"nodes:\n  - cpu: 4\n   mem_gb: 5\n": "c.yaml:1: not YAML: ",
		"nodes: []\n":                        "no nodes",
		"nodes:\n  - cpu: 4\n---\nnodes:\n  - cpu: 5\n": "only one YAML document",
		"x: &x\n  cpu: 4\nnodes: [*x]\n":                `c.yaml:1: unknown field "x"`,
		"":                                              "c.yaml: the file is empty",
	} {
		_, err := Read(strings.NewReader(text), "c.yaml")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestFilesAreUnpackedByContent(t *testing.T) {
	dir := t.TempDir()
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	fmt.Fprint(z, yamlText)
	z.Close()
	enc, _ := zstd.NewWriter(nil)
	for name, data := range map[string][]byte{"plain": []byte(yamlText), "packed": gz.Bytes(), "packed2": enc.EncodeAll([]byte(yamlText), nil)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		nodes, err := Parse(path)
		if err != nil || len(nodes) != 5 {
			t.Errorf("%s: %d nodes, %v", name, len(nodes), err)
		}
	}
}

func TestOpenbNodeListIsRead(t *testing.T) {
	for file, want := range map[string]struct{ nodes, gpus int }{
		"openb_node_list_gpu_node.csv": {1213, 6212},
		"openb_node_list_all_node.csv": {1523, 6212},
	} {
		nodes, err := Parse(shared(t, "traces/gpu/openb/"+file))
		if err != nil {
			t.Fatal(err)
		}
		gpus := 0
		for _, n := range nodes {
			gpus += int(n.GPUs)
			if (n.GPUs > 0) != (n.GPUType != "") {
				t.Errorf("%s: %d GPUs of type %q", n.Name, n.GPUs, n.GPUType)
			}
		}
		if len(nodes) != want.nodes || gpus != want.gpus {
			t.Errorf("%s: %d nodes, %d GPUs, want %v", file, len(nodes), gpus, want)
		}
	}
	nodes, err := Read(strings.NewReader("sn,cpu_milli,memory_mib,gpu,model\na,32000,262144,0,\nb,96000,1,2,P100\n"), "n.csv")
	if err != nil {
		t.Fatal(err)
	}
	if n := nodes[1]; n.CPU != 96000 || n.Mem != 1<<20 || n.GPUs != 2 || n.GPUType != "P100" || n.VRAM != sched.Unlimited {
		t.Errorf("%+v", n)
	}
	for text, want := range map[string]string{
		"sn,cpu_milli,memory_mib,gpu,model\na,1,1,-1,X\n":         "n.csv:2: negative gpu",
		"sn,cpu_milli,memory_mib,gpu,model\n\na,x,1,1,X\n":        `n.csv:3: cpu_milli: "x" is not a whole number`,
		"sn,cpu_milli,memory_mib,model\na,1,1,X\n":                `n.csv:1: no column "gpu"`,
		"sn,cpu_milli,memory_mib,gpu,model\na,1,1\n":              "n.csv:2: wrong number of fields",
		"sn,cpu_milli,memory_mib,gpu,model\n,1,1,0,\n":            "n.csv:2: a node has no name",
		"sn,cpu_milli,memory_mib,gpu,model\n":                     "no nodes",
		"sn,cpu_milli,memory_mib,gpu,model\na,1,9e9,0,\n":         "not a whole number",
		"sn,cpu_milli,memory_mib,gpu,model\na,1,1,0,\na,1,1,0,\n": `two nodes are named "a"`,
	} {
		if _, err := Read(strings.NewReader(text), "n.csv"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestMuriAndTiresiasClustersAreRead(t *testing.T) {
	nodes, err := Parse(shared(t, "traces/gpu/muri/n8g8.csv"))
	if err != nil || Format(nodes)[:15] != "8 nodes: 64 GPU" {
		t.Errorf("n8g8: %s, %v", Format(nodes), err)
	}
	nodes, err = Parse(shared(t, "traces/gpu/tiresias/n32g4.csv"))
	if err != nil || Format(nodes) != "32 nodes: 128 GPU, 1280 CPU, 8192 GiB" {
		t.Errorf("n32g4: %s, %v", Format(nodes), err)
	}
}

// The example of SPEC S10, letter by letter.
const s10 = `{"node_id":"node-001","cpu_capacity":32,"cpu_usage":24.5,"gpu_type":"NVIDIA A100","gpu_count":4,"memory_gb":{"capacity":256,"used":180},"network_mbps":10000}`

func TestNodeProfilesAreReadAsObjectArrayAndLines(t *testing.T) {
	two := strings.Replace(s10, "node-001", "node-002", 1)
	for text, count := range map[string]int{s10: 1, "[" + s10 + ",\n" + two + "]": 2, s10 + "\n" + two + "\n": 2} {
		nodes, err := Read(strings.NewReader(text), "p.json")
		if err != nil || len(nodes) != count {
			t.Fatalf("%q: %d nodes, %v", text, len(nodes), err)
		}
		n := nodes[0]
		if n.Name != "node-001" || n.CPU != 32000 || n.GPUs != 4 || n.GPUType != "NVIDIA A100" || n.Mem != 256<<30 || n.NetworkMbps != 10000 || n.VRAM != sched.Unlimited {
			t.Errorf("%+v", n)
		}
	}
	profiles, err := ReadProfiles(strings.NewReader(s10), "p.json")
	if err != nil {
		t.Fatal(err)
	}
	if s := profiles[0].Sample(); s.OtherCPU != 24500 || s.OtherMem != 180<<30 {
		t.Errorf("sample %+v", s)
	}
	out, err := json.Marshal(profiles[0])
	if err != nil || string(out) != s10 {
		t.Errorf("a profile does not come out as it went in:\n%s\n%s", out, s10)
	}
}

func TestNodeProfileErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		s10 + "\n{\"node_id\":\"b\",\"gpus_count\":3}": `p.json:2: unknown field "gpus_count"`,
		"{\"node_id\":\"b\",\n\"gpu_count\":\"3\"}":    "p.json:2: gpu_count: a whole number is wanted, not text",
		`{"node_id":"b","gpu_count":99999999999}`:      "p.json:1: gpu_count: a whole number from -2147483648 to 2147483647 is wanted, not 99999999999",
		`{"node_id":"b","memory_gb":5}`:                `p.json:1: memory_gb: an object ({"key": value}) is wanted, not a number`,
		`{"node_id":"b","memory_gb":{"capacity":"x"}}`: `p.json:1: memory_gb.capacity: a number is wanted, not text`,
		`{"node_id":"b","cpu_capacity":1e400}`:         `p.json:1: cpu_capacity: a number below 1e308 is wanted, not 1e400`,
		`[3]`:                                          `p.json:1: an object ({"key": value}) is wanted, not a number`,
		`{"node_id":"b",}`:                             "p.json:1: not JSON: ",
		`{"node_id":"b"}}`:                             "p.json:1: text after the last node",
		`{"node_id":"b","gpu_count":-3}`:               "negative gpu_count",
		`{"gpu_count":3}`:                              "no node_id",
		`{"node_id":"b"`:                               "p.json:1: the file ends",
		`[` + s10:                                      "p.json:1: the list of nodes is not closed",
		`[` + s10 + `] 5`:                              "text after the list",
		s10 + s10:                                      `two nodes are named "node-001"`,
		`{"node_id":"b","cpu_capacity":0}`:             "cpu_capacity: CPU must be",
		`{"node_id":"b","taints":[{"key":"a"}]}`:       "taint effect",
	} {
		_, err := Read(strings.NewReader(text), "p.json")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// What WriteProfiles writes, Read reads back to the same nodes.
func TestProfilesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := blank()
		n.Name = rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "name")
		if rapid.Bool().Draw(t, "cpu?") {
			n.CPU = rapid.Int64Range(1, 1e9).Draw(t, "cpu")
		}
		if rapid.Bool().Draw(t, "mem?") {
			n.Mem = rapid.Int64Range(1, 1<<45).Draw(t, "mem")
		}
		if n.GPUs = rapid.Int32Range(0, 16).Draw(t, "gpus"); n.GPUs > 0 {
			n.GPUType = rapid.SampledFrom([]string{"", "A100", "H100"}).Draw(t, "type")
			n.VRAM = rapid.Int64Range(1, 1<<38).Draw(t, "vram")
		}
		n.SpeedMilli = rapid.Int64Range(1, 9000).Draw(t, "speed")
		n.StorageLatency = time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "latency"))
		n.NetworkLatency = time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "link's latency"))
		if rapid.Bool().Draw(t, "label?") {
			n.Labels = []sched.Label{{Key: "accelerator", Value: "npu"}}
			n.Taints = []sched.Taint{{Key: "k", Effect: "NoExecute"}}
		}
		var b bytes.Buffer
		if err := WriteProfiles(&b, []sched.NodeSpec{n}); err != nil {
			t.Fatal(err)
		}
		back, err := Read(&b, "p")
		if err != nil || !reflect.DeepEqual(back[0], n) {
			t.Fatalf("%v\nout  %+v\nback %+v", err, n, back)
		}
	})
}

// A file of profiles that is read and written again says the same of each node, what is in use included.
func TestWhatProfilesSayOfUseIsKept(t *testing.T) {
	amount := rapid.Custom(func(t *rapid.T) *Amount {
		if rapid.Bool().Draw(t, "stated") {
			return &Amount{Capacity: rapid.Float64Range(0.001, 1e6).Draw(t, "capacity"), Used: rapid.Float64Range(0, 1e6).Draw(t, "used")}
		}
		return nil
	})
	positive := rapid.Float64Range(0, 1e6)
	gpu := rapid.Custom(func(t *rapid.T) ProfileGPU {
		g := ProfileGPU{
			Index: rapid.Int32Range(0, 8).Draw(t, "index"), MemoryUsedGB: positive.Draw(t, "used"), OthersMemoryGB: positive.Draw(t, "others"),
			OthersProcesses: rapid.Int32Range(0, 9).Draw(t, "processes"), State: rapid.SampledFrom([]string{"", "lost", "failed"}).Draw(t, "state"),
			TemperatureC: positive.Draw(t, "temperature"), PowerW: positive.Draw(t, "power"),
		}
		if rapid.Bool().Draw(t, "told") {
			u := rapid.Float64Range(0, 1).Draw(t, "utilization")
			g.Utilization = &u
		}
		return g
	})
	rapid.Check(t, func(t *rapid.T) {
		list := make([]Profile, rapid.IntRange(1, 3).Draw(t, "nodes"))
		for i := range list {
			p := &list[i]
			*p = Profile{
				NodeID: fmt.Sprint("n", i), CPUUsage: positive.Draw(t, "cpu usage"), Memory: amount.Draw(t, "memory"), GPUMemory: amount.Draw(t, "gpu memory"),
				GPUType: rapid.SampledFrom([]string{"", "NVIDIA A100", "A100"}).Draw(t, "type"), GPUCount: rapid.Int32Range(0, 8).Draw(t, "gpus"),
				NetworkMbps: positive.Draw(t, "mbps"), Speed: rapid.Float64Range(0.001, 9).Draw(t, "speed"), StorageLatencyMS: positive.Draw(t, "storage latency"),
				StorageMBps: positive.Draw(t, "storage"), NetworkLatencyMS: positive.Draw(t, "latency"), ActiveConnections: rapid.Int32Range(0, 99).Draw(t, "connections"),
				Load: positive.Draw(t, "load"), NetworkRxMbps: positive.Draw(t, "rx"), NetworkTxMbps: positive.Draw(t, "tx"), SampledAtSeconds: positive.Draw(t, "at"),
			}
			if rapid.Bool().Draw(t, "cpu") {
				cpu := rapid.Float64Range(0.001, 1e6).Draw(t, "cpu capacity")
				p.CPUCapacity = &cpu
			}
			if rapid.Bool().Draw(t, "marked") {
				p.Labels, p.Taints = map[string]string{"zone": "a"}, []ProfileTaint{{Key: "k", Effect: "NoExecute"}}
			}
			if gpus := rapid.SliceOfN(gpu, 0, 2).Draw(t, "gpus' use"); len(gpus) > 0 {
				p.GPUs = gpus
			}
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadProfiles(bytes.NewReader(text), "p")
		if err != nil || !reflect.DeepEqual(back, list) {
			t.Fatalf("%v\nout  %s\nback %+v", err, text, back)
		}
	})
	edge, err := ReadProfiles(strings.NewReader(`{"node_id":"e","cpu_usage":2,"labels":{"node-type":"edge"}}`), "p")
	if err != nil || len(edge[0].Taints) != 1 || edge[0].CPUUsage != 2 {
		t.Errorf("an edge node: %+v, %v", edge, err)
	}
	if plain, err := ParseProfiles("2x4cpu"); err != nil || len(plain) != 2 || *plain[1].CPUCapacity != 4 {
		t.Errorf("%+v, %v", plain, err)
	}
}

func FuzzParse(f *testing.F) {
	limit = 1000 // a million nodes take a second
	defer func() { limit = MaxNodes }()
	for _, s := range []string{"pool:64cpu,16gpu", "8x8xA100", "1000x(64cpu,512gb,8xH100)", "2x(8xA100:80gb,speed=2)+1x1cpu", yamlText, s10, "[" + s10 + "]", "sn,cpu_milli,memory_mib,gpu,model\na,1,1,1,X\n", "num_switch,num_node_p_switch,num_gpu_p_node,num_cpu_p_node,mem_p_node\n1,8,8,64,256\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(nodes []sched.NodeSpec, err error) {
			if (err == nil) == (len(nodes) == 0) {
				t.Fatalf("%d nodes and error %v", len(nodes), err)
			}
			for _, n := range nodes {
				if n.Name == "" || n.CPU < 0 || n.CPU > sched.Unlimited || n.Mem < 0 || n.Mem > sched.Unlimited || n.GPUs < 0 || n.VRAM < 0 || n.SpeedMilli < 1 {
					t.Fatalf("%q gives %+v", s, n)
				}
			}
			if len(nodes) > 0 && Format(nodes) == "" {
				t.Fatal("no description")
			}
		}
		if len(s) < 200 && isShorthand(s) {
			check(parseShorthand(s))
		}
		nodes, err := Read(strings.NewReader(s), "fuzz")
		if err != nil {
			nodes = nil
		}
		check(nodes, err)
	})
}
