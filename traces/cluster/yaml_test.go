package cluster

import (
	"reflect"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
	"pgregory.net/rapid"
)

func TestYAMLThatIsWrittenReadsBack(t *testing.T) {
	kinds := []string{
		"pool:64cpu,16gpu", "8x8xA100", "4x16cpu", "1x(8cpu,node-type=edge,zone=1)", "1000x(64cpu,512gb,8xH100:80gb,speed=1.5)", "2x(0.5cpu,a=yes,b=null)",
	}
	names := []string{"a-001", "a-002", "a-1", "node-001", "node-002", "node-7", "x", "pool", "b-0001", "2x8", "null", "ä: b"}
	rapid.Check(t, func(t *rapid.T) {
		nodes, err := Parse(strings.Join(rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 4).Draw(t, "kinds"), "+"))
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "named") {
			mine := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, len(names), rapid.ID).Draw(t, "names")
			nodes = nodes[:min(len(nodes), len(mine))]
			for i := range nodes {
				nodes[i].Name = mine[i]
			}
		}
		var b strings.Builder
		if err := WriteYAML(&b, nodes); err != nil {
			t.Fatal(err)
		}
		back, err := Read(strings.NewReader(b.String()), "x.yaml")
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if !reflect.DeepEqual(back, nodes) {
			t.Fatalf("%+v\nbecame %+v\nby\n%s", nodes, back, b.String())
		}
	})
}

func TestYAMLKeepsDisksNetworksAndTaints(t *testing.T) {
	nodes := []sched.NodeSpec{{
		Name: "a", CPU: 1500, Mem: GB / 2, GPUs: 2, GPUType: "T4", VRAM: sched.Unlimited, SpeedMilli: 1000, StorageLatency: 2_500_000, StorageMBps: 100, NetworkMbps: 10, NetworkLatency: 1_500_000,
		Taints: []sched.Taint{{Key: "k", Effect: "NoExecute"}},
	}}
	var b strings.Builder
	if err := WriteYAML(&b, nodes); err != nil {
		t.Fatal(err)
	}
	if back, err := Read(strings.NewReader(b.String()), "x.yaml"); err != nil || !reflect.DeepEqual(back, nodes) {
		t.Fatalf("%+v became %+v, %v, by\n%s", nodes, back, err, b.String())
	}
}

func TestYAMLSaysEqualNodesOnce(t *testing.T) {
	nodes, _ := Parse("2x(8xA100)+6x8xV100")
	var b strings.Builder
	if err := WriteYAML(&b, nodes); err != nil || strings.Count(b.String(), "count:") != 2 {
		t.Fatalf("%v\n%s", err, b.String())
	}
}
