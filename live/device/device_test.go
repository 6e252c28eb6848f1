package device

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

func TestModelIsWhatClusterDescriptionsCallIt(t *testing.T) {
	for name, want := range map[string]string{
		"NVIDIA A100-SXM4-80GB":                        "A100",
		"NVIDIA A100 80GB PCIe":                        "A100",
		"A100-PCIE-40GB":                               "A100",
		"Mock NVIDIA A100-SXM4-40GB":                   "A100",
		"NVIDIA H100 80GB HBM3":                        "H100",
		"NVIDIA H100 NVL":                              "H100",
		"NVIDIA H200":                                  "H200",
		"NVIDIA B200":                                  "B200",
		"NVIDIA GH200 480GB":                           "GH200",
		"Tesla V100-SXM2-16GB":                         "V100",
		"Tesla P100-PCIE-16GB":                         "P100",
		"Tesla K80":                                    "K80",
		"Tesla T4":                                     "T4",
		"NVIDIA A10G":                                  "A10G",
		"NVIDIA L40S":                                  "L40S",
		"NVIDIA GeForce RTX 3090":                      "RTX3090",
		"NVIDIA GeForce RTX 3090 Ti":                   "RTX3090Ti",
		"NVIDIA GeForce RTX 4070 Laptop GPU":           "RTX4070",
		"GeForce GTX 1080 Ti":                          "GTX1080Ti",
		"NVIDIA RTX A6000":                             "RTXA6000",
		"NVIDIA RTX 6000 Ada Generation":               "RTX6000Ada",
		"Quadro RTX 8000":                              "RTX8000",
		"NVIDIA TITAN RTX":                             "TITANRTX",
		"NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTXPRO6000Blackwell",
		"AMD Instinct MI250X / MI250":                  "MI250X",
		"AMD Instinct MI300X OAM":                      "MI300X",
		"Instinct MI210":                               "MI210",
		"Radeon RX 7900 XTX":                           "RX7900XTX",
		"Intel(R) Data Center GPU Max 1550":            "Max1550",
		"Intel Data Center GPU Flex 170":               "Flex170",
		"Arc A770":                                     "ArcA770",
		"amd740f":                                      "amd740f",
		"":                                             "",
		"NVIDIA":                                       "NVIDIA",
	} {
		if got := Model(name); got != want {
			t.Errorf("%q: %q, wanted %q", name, got, want)
		}
	}
}

func TestAModelCanBeWrittenInAClusterShorthand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Model(rapid.StringMatching(`(NVIDIA |Tesla |AMD Instinct |)[A-Za-z0-9 \-/():,+=]{0,30}`).Draw(t, "name"))
		if m == "" {
			return
		}
		nodes, err := cluster.Parse("1x(2x" + m + ")")
		if err != nil {
			t.Fatalf("%q: %v", m, err)
		}
		if nodes[0].GPUType != m || nodes[0].GPUs != 2 {
			t.Fatalf("%q is read as %+v", m, nodes[0])
		}
	})
}

func TestDeclaredGPUsAreListedAndNothingIsKnownOfTheirUse(t *testing.T) {
	d, err := Declare("4xA100:80gb")
	if err != nil {
		t.Fatal(err)
	}
	gpus := d.List()
	if len(gpus) != 4 || ModelOf(gpus) != "A100" || VRAMOf(gpus) != 80<<30 || gpus[3].Index != 3 || gpus[3].Ordinal != 3 {
		t.Errorf("%+v", gpus)
	}
	s := d.Sample(nil)
	if len(s) != 4 || s[1].Utilization != Unknown || s[1].Used != Unknown || s[1].Counted || s[1].State != OK {
		t.Errorf("%+v", s)
	}
	if d, err = Declare(" 8Xh100 "); err != nil || len(d.List()) != 8 || d.List()[0].VRAM != 0 || d.List()[0].Model != "h100" {
		t.Errorf("%v, %v", d, err)
	}
}

func TestAWrongDeclarationSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "nothing is declared",
		"A100":             "neither a driver",
		"8":                "no x behind the number 8",
		"8 x A100":         "no x behind the number 8",
		"0xA100":           "1 to 64 GPUs",
		"65xA100":          "1 to 64 GPUs",
		"99999999999xA100": "1 to 64 GPUs",
		"8x":               "the type is missing",
		"8x:80gb":          "the type is missing",
		"8xA 100":          "not ' '",
		"8xA100,64cpu":     "not ','",
		"8xA100:":          "no amount of memory",
		"8xA100:gb":        "no amount of memory",
		"8xA100:80":        "the unit is one of",
		"8xA100:80g":       "the unit is one of",
		"8xA100:0gb":       "from 1mb to 1024tb",
		"8xA100:1e9gb":     "the unit is one of",
		"8xA100:1.2.3gb":   "no amount of memory",
		"8xA100:99999tb":   "from 1mb to 1024tb",
	} {
		_, err := Declare(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %q", text, err, want)
		}
	}
}

// FuzzDeclare: what is taken reads as the same in a cluster description, which has a parser of its own.
func FuzzDeclare(f *testing.F) {
	for _, s := range []string{"8xH100", "4xA100:80gb", "1xRTX3090:24.5GiB", "64xx:1mb", "8x", "x8", "2xA:1tb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Declare(text)
		if err != nil {
			return
		}
		gpus := d.List()
		if len(gpus) < 1 || len(gpus) > sched.MaxDevices {
			t.Fatalf("%q: %d GPUs", text, len(gpus))
		}
		nodes, err := cluster.Parse("1x(" + strings.TrimSpace(text) + ")")
		if err != nil {
			t.Fatalf("%q: a cluster description refuses it: %v", text, err)
		}
		n := nodes[0]
		vram := n.VRAM
		if vram == sched.Unlimited {
			vram = 0
		}
		if int(n.GPUs) != len(gpus) || n.GPUType != ModelOf(gpus) || vram != VRAMOf(gpus) {
			t.Fatalf("%q: %d %s %d, the cluster has %d %s %d", text, len(gpus), ModelOf(gpus), VRAMOf(gpus), n.GPUs, n.GPUType, vram)
		}
	})
}

func TestVisibleShowsExactlyThePlacementsGPUs(t *testing.T) {
	nv := []GPU{{Ordinal: 0, Vendor: NVIDIA}, {Index: 1, Ordinal: 2, Vendor: NVIDIA}, {Index: 2, Ordinal: 3, Vendor: NVIDIA}}
	amd := []GPU{{Ordinal: 0, Vendor: AMD, UUID: "GPU-a"}, {Index: 1, Ordinal: 1, Vendor: AMD}, {Index: 2, Ordinal: 2, Vendor: AMD, UUID: "GPU-c"}}
	intel := []GPU{{Ordinal: 1, Vendor: Intel}}
	order := "CUDA_DEVICE_ORDER=PCI_BUS_ID"
	for _, c := range []struct {
		all  []GPU
		idx  []int32
		want []string
	}{
		{nv, []int32{1, 2}, []string{order, "CUDA_VISIBLE_DEVICES=2,3"}}, // a GPU lost at the start keeps its number
		{nv, nil, []string{order, "CUDA_VISIBLE_DEVICES="}},
		{nil, nil, []string{order, "CUDA_VISIBLE_DEVICES="}},
		{amd, []int32{0, 1}, []string{order, "CUDA_VISIBLE_DEVICES=0,1", "ROCR_VISIBLE_DEVICES=GPU-a,1"}},
		{amd, []int32{2}, []string{order, "CUDA_VISIBLE_DEVICES=0", "ROCR_VISIBLE_DEVICES=GPU-c"}},
		{amd, nil, []string{order, "CUDA_VISIBLE_DEVICES=", "ROCR_VISIBLE_DEVICES=-1"}},
		{intel, []int32{0}, []string{order, "CUDA_VISIBLE_DEVICES=1", "ZE_AFFINITY_MASK=1", "ZE_ENABLE_PCI_ID_DEVICE_ORDER=1"}},
		{intel, nil, []string{order, "CUDA_VISIBLE_DEVICES=", "ONEAPI_DEVICE_SELECTOR=opencl:cpu"}},
	} {
		got, err := Visible(c.all, c.idx)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, %v, wanted %q", c.idx, got, err, c.want)
		}
	}
	for _, i := range []int32{-1, 3} {
		if _, err := Visible(nv, []int32{i}); err == nil {
			t.Errorf("GPU %d of 3 is taken", i)
		}
	}
}

func TestANodeOfTwoModelsIsOfNeither(t *testing.T) {
	g := []GPU{{Model: "A100", VRAM: 80}, {Model: "V100", VRAM: 16}, {Model: "A100", VRAM: 80}}
	if ModelOf(g) != "A100+V100" || VRAMOf(g) != 16 {
		t.Errorf("%s %d", ModelOf(g), VRAMOf(g))
	}
	if ModelOf(g[:1]) != "A100" || ModelOf([]GPU{{}}) != "GPU" || VRAMOf(nil) != 0 {
		t.Error("of one")
	}
}

func TestProcessesAreOnceEachByPID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[int32]int64{}
		var list []Process
		for range rapid.IntRange(0, 20).Draw(t, "n") {
			p := Process{PID: rapid.Int32Range(1, 9).Draw(t, "pid"), VRAM: rapid.Int64Range(-1, 5).Draw(t, "vram")}
			list = addProcess(list, p)
			if v, ok := want[p.PID]; !ok || p.VRAM > v {
				want[p.PID] = p.VRAM
			}
		}
		got := map[int32]int64{}
		for _, p := range list {
			got[p.PID] = p.VRAM
		}
		if len(got) != len(list) || !reflect.DeepEqual(got, want) || !slices.IsSortedFunc(list, func(a, b Process) int { return int(a.PID - b.PID) }) {
			t.Fatalf("%v, wanted %v", list, want)
		}
	})
}

func TestAMachineWithoutGPUsIsNoErrorAndSaysWhyOnce(t *testing.T) {
	f, err := Open(Options{Library: "/nonexistent/libnvidia-ml.so", Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if f.Name() != "none" || len(f.List()) != 0 || len(f.Sample(nil)) != 0 || len(f.Tried) != 2 {
		t.Errorf("%+v", f)
	}
	says := f.Says()
	for _, want := range []string{"no GPUs", "nvml: ", "sysfs: "} {
		if strings.Count(says, want) != 1 {
			t.Errorf("%q: %q is not there once", says, want)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, use := range []string{"nvml", "sysfs", "cuda"} {
		if _, err := Open(Options{Use: use, Library: "/nonexistent/libnvidia-ml.so", Root: t.TempDir()}); err == nil {
			t.Errorf("%q opens", use)
		}
	}
	f, err = Open(Options{Use: "2xT4:16gb"})
	if err != nil || f.Name() != "declared" || f.Says() != "2 T4 (declared)" {
		t.Errorf("%v %v", f, err)
	}
	if f, err = Open(Options{Use: "none"}); err != nil || f.Name() != "none" {
		t.Errorf("%v %v", f, err)
	}
}
