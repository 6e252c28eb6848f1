package device

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree writes files below a root: path -> content.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		put(t, root, path, text)
	}
	return root
}

func put(t *testing.T, root, path, text string) {
	t.Helper()
	p := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// amdTree has two MI210 (card1 before card0 on the bus), a socket, and a processor's own card.
func amdTree(t *testing.T) string {
	return tree(t, map[string]string{
		"sys/class/drm/card0/device/vendor":                      "0x1002\n",
		"sys/class/drm/card0/device/device":                      "0x740f\n",
		"sys/class/drm/card0/device/uevent":                      "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:C3:00.0\n",
		"sys/class/drm/card0/device/mem_info_vram_total":         "68702699520\n",
		"sys/class/drm/card0/device/mem_info_vram_used":          "11034624\n",
		"sys/class/drm/card0/device/gpu_busy_percent":            "0\n",
		"sys/class/drm/card0/device/unique_id":                   "18f68e602b8a790f\n",
		"sys/class/drm/card0/device/drm/renderD128/dev":          "226:128\n",
		"sys/class/drm/card0/device/hwmon/hwmon2/temp2_input":    "31000\n",
		"sys/class/drm/card0/device/hwmon/hwmon2/power1_average": "42000000\n",
		"sys/class/drm/card1/device/vendor":                      "0x1002\n",
		"sys/class/drm/card1/device/product_name":                "AMD Instinct MI210\n",
		"sys/class/drm/card1/device/uevent":                      "PCI_SLOT_NAME=0000:43:00.0\n",
		"sys/class/drm/card1/device/mem_info_vram_total":         "68702699520\n",
		"sys/class/drm/card1/device/mem_info_vram_used":          "34351349760\n",
		"sys/class/drm/card1/device/gpu_busy_percent":            "87\n",
		"sys/class/drm/card1/device/drm/renderD129/dev":          "226:129\n",
		"sys/class/drm/card2/device/vendor":                      "0x1002\n",
		"sys/class/drm/card2/device/uevent":                      "PCI_SLOT_NAME=0000:05:00.0\n",
		"sys/class/drm/card2/device/mem_info_vram_total":         "536870912\n",
		"sys/class/drm/card0-DP-1/status":                        "connected\n",
		"sys/class/drm/version":                                  "drm 1.1.0\n",
		"sys/class/kfd/kfd/topology/nodes/0/gpu_id":              "0\n",
		"sys/class/kfd/kfd/topology/nodes/0/properties":          "cpu_cores_count 64\ndrm_render_minor 0\n",
		"sys/class/kfd/kfd/topology/nodes/1/gpu_id":              "51431\n",
		"sys/class/kfd/kfd/topology/nodes/1/properties":          "simd_count 416\ndrm_render_minor 129\n",
		"sys/class/kfd/kfd/topology/nodes/2/gpu_id":              "4660\n",
		"sys/class/kfd/kfd/topology/nodes/2/properties":          "simd_count 416\ndrm_render_minor 128\n",
		"sys/class/kfd/kfd/proc/9123/vram_51431":                 "34000000000\n",
		"sys/class/kfd/kfd/proc/9123/vram_4660":                  "0\n",
		"sys/class/kfd/kfd/proc/812/vram_51431":                  "4096\n",
	})
}

func TestAMDCardsAreReadFromSysfs(t *testing.T) {
	root := amdTree(t)
	f, err := Open(Options{Library: "/nonexistent.so", Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := f.List()
	if f.Name() != "sysfs" || len(g) != 2 {
		t.Fatalf("%s %+v", f.Name(), g)
	}
	// By the bus: 43 before c3; the processor's own card at 05 is number 0 of the vendor's runtime.
	if g[0].Bus != "0000:43:00.0" || g[0].Model != "MI210" || g[0].VRAM != 68702699520 || g[0].Ordinal != 1 || g[0].Files[0] != "/dev/dri/renderD129" {
		t.Errorf("%+v", g[0])
	}
	if g[1].Bus != "0000:c3:00.0" || g[1].Model != "MI210" || g[1].UUID != "GPU-18f68e602b8a790f" || g[1].Ordinal != 2 || g[1].Vendor != AMD {
		t.Errorf("%+v", g[1])
	}
	s := f.Sample(nil)
	want0 := Sample{Utilization: 0.87, Used: 34351349760, TempC: Unknown, PowerW: Unknown, Counted: true, Processes: []Process{{812, 4096}, {9123, 34000000000}}}
	want1 := Sample{Index: 1, Utilization: 0, Used: 11034624, TempC: 31, PowerW: 42, Counted: true}
	if !sameSample(s[0], want0) || !sameSample(s[1], want1) {
		t.Errorf("%+v\nwanted %+v\n%+v", s, want0, want1)
	}
	// The files are read again.
	put(t, root, "sys/class/drm/card1/device/gpu_busy_percent", "12\n")
	put(t, root, "sys/class/drm/card1/device/mem_info_vram_used", "many\n")
	if s = f.Sample(s); s[0].Utilization != 0.12 || s[0].Used != Unknown || s[0].State != OK {
		t.Errorf("%+v", s[0])
	}
	if !strings.Contains(f.Says(), "2 MI210 (sysfs)") {
		t.Errorf("%q", f.Says())
	}
}

func sameSample(a, b Sample) bool {
	if len(a.Processes) != len(b.Processes) {
		return false
	}
	for i := range a.Processes {
		if a.Processes[i] != b.Processes[i] {
			return false
		}
	}
	a.Processes, b.Processes = nil, nil
	return a.Index == b.Index && a.State == b.State && a.Utilization == b.Utilization && a.Used == b.Used && a.TempC == b.TempC && a.PowerW == b.PowerW && a.Counted == b.Counted
}

func TestIntelCardsAreReadFromSysfs(t *testing.T) {
	root := tree(t, map[string]string{
		// xe: two tiles, and how long each was idle.
		"sys/class/drm/card1/device/vendor":                             "0x8086\n",
		"sys/class/drm/card1/device/device":                             "0x0bd5\n",
		"sys/class/drm/card1/device/uevent":                             "PCI_SLOT_NAME=0000:9a:00.0\n",
		"sys/class/drm/card1/device/tile0/physical_vram_size_bytes":     "68719476736\n",
		"sys/class/drm/card1/device/tile1/physical_vram_size_bytes":     "0x1000000000\n",
		"sys/class/drm/card1/device/tile0/gt0/gtidle/idle_residency_ms": "5000\n",
		"sys/class/drm/card1/device/tile1/gt1/gtidle/idle_residency_ms": "100\n",
		"sys/class/drm/card1/device/drm/renderD129/dev":                 "226:129\n",
		// i915 that tells its memory.
		"sys/class/drm/card2/device/vendor":           "0x8086\n",
		"sys/class/drm/card2/device/device":           "0x56c0\n",
		"sys/class/drm/card2/device/uevent":           "PCI_SLOT_NAME=0000:b3:00.0\n",
		"sys/class/drm/card2/lmem_total_bytes":        "17179869184\n",
		"sys/class/drm/card2/lmem_avail_bytes":        "16106127360\n",
		"sys/class/drm/card2/gt/gt0/rc6_residency_ms": "77\n",
		// i915 of today's kernel: only the window on the bus.
		"sys/class/drm/card3/device/vendor":   "0x8086\n",
		"sys/class/drm/card3/device/device":   "0x56a0\n",
		"sys/class/drm/card3/device/uevent":   "PCI_SLOT_NAME=0000:c3:00.0\n",
		"sys/class/drm/card3/device/resource": "0x00000000aa000000 0x00000000aaffffff 0x0000000000140204\n0x0 0x0 0x0\n0x000000e000000000 0x000000e3ffffffff 0x000000000014220c\n",
		// a processor's own card, with a window of 256 MB
		"sys/class/drm/card0/device/vendor":   "0x8086\n",
		"sys/class/drm/card0/device/uevent":   "PCI_SLOT_NAME=0000:00:02.0\n",
		"sys/class/drm/card0/device/resource": "0x0 0x0 0x0\n0x0 0x0 0x0\n0x0000000090000000 0x000000009fffffff 0x000000000014220c\n",
	})
	d, tried := openSysfs(Options{Root: root})
	if d == nil || tried.GPUs != 3 {
		t.Fatalf("%+v", tried)
	}
	defer d.Close()
	g := d.List()
	for i, want := range []GPU{
		{Model: "Max1550", VRAM: 128 << 30, Ordinal: 1, Bus: "0000:9a:00.0"},
		{Model: "Flex170", VRAM: 16 << 30, Ordinal: 2, Bus: "0000:b3:00.0"},
		{Model: "ArcA770", VRAM: 16 << 30, Ordinal: 3, Bus: "0000:c3:00.0"},
	} {
		if g[i].Model != want.Model || g[i].VRAM != want.VRAM || g[i].Ordinal != want.Ordinal || g[i].Bus != want.Bus || g[i].Vendor != Intel {
			t.Errorf("%+v, wanted %+v", g[i], want)
		}
	}
	now := time.Unix(1000, 0)
	x := d.(*sysfs)
	for i := range x.cards {
		x.cards[i].at = now
	}
	x.now = func() time.Time { return now }
	now = now.Add(time.Second)
	put(t, root, "sys/class/drm/card1/device/tile0/gt0/gtidle/idle_residency_ms", "5900\n") // idle for 0.9 of the second
	put(t, root, "sys/class/drm/card1/device/tile1/gt1/gtidle/idle_residency_ms", "350\n")  // for 0.25
	put(t, root, "sys/class/drm/card2/gt/gt0/rc6_residency_ms", "1077\n")
	s := d.Sample(nil)
	if s[0].Utilization != 0.75 || s[0].Used != Unknown || s[0].Counted {
		t.Errorf("%+v", s[0])
	}
	if s[1].Utilization != 0 || s[1].Used != 1<<30 {
		t.Errorf("%+v", s[1])
	}
	if s[2].Utilization != Unknown || s[2].Used != Unknown {
		t.Errorf("%+v", s[2])
	}
	now = now.Add(2 * time.Second)
	put(t, root, "sys/class/drm/card1/device/tile0/gt0/gtidle/idle_residency_ms", "0\n") // a step back
	put(t, root, "sys/class/drm/card1/device/tile1/gt1/gtidle/idle_residency_ms", "2350\n")
	if s = d.Sample(s); s[0].Utilization != 0 {
		t.Errorf("%+v", s[0])
	}
}

func TestOtherMakersCardsAndNoCardsAreZeroGPUs(t *testing.T) {
	root := tree(t, map[string]string{"sys/class/drm/card0/device/vendor": "0x1013\n"})
	d, tried := openSysfs(Options{Root: root})
	if d == nil || tried.GPUs != 0 || !strings.Contains(tried.Why, "1 of other makers") {
		t.Errorf("%+v", tried)
	}
	if d, tried = openSysfs(Options{Root: t.TempDir()}); d != nil || !strings.Contains(tried.Why, "no graphics cards") {
		t.Errorf("%+v", tried)
	}
}

func TestAMachineOfTwoMakersUsesTheFirst(t *testing.T) {
	root := amdTree(t)
	put(t, root, "sys/class/drm/card7/device/vendor", "0x8086\n")
	put(t, root, "sys/class/drm/card7/device/uevent", "PCI_SLOT_NAME=0000:f3:00.0\n")
	put(t, root, "sys/class/drm/card7/lmem_total_bytes", "17179869184\n")
	d, tried := openSysfs(Options{Root: root})
	if d == nil || tried.GPUs != 2 || len(tried.Notes) != 2 || !strings.Contains(strings.Join(tried.Notes, ";"), "intel card at 0000:f3:00.0 is left out") {
		t.Errorf("%+v", tried)
	}
}

func FuzzSysfsNumbers(f *testing.F) {
	f.Add([]byte("12\n"))
	f.Add([]byte("-1"))
	f.Add([]byte("99999999999999999999"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := wholeNumber(b)
		if ok && (v < 0 || len(strings.TrimSpace(string(b))) == 0) || !ok && v != 0 && len(b) <= 18 && strings.Trim(string(b), "0123456789") == "" && len(b) > 0 {
			t.Fatalf("%q: %d %v", b, v, ok)
		}
	})
}

func BenchmarkSampleOfSysfs(b *testing.B) {
	root := b.TempDir()
	for path, text := range map[string]string{
		"vendor": "0x1002", "mem_info_vram_total": "68702699520", "mem_info_vram_used": "34351349760", "gpu_busy_percent": "87",
		"hwmon/hwmon2/temp1_input": "31000", "hwmon/hwmon2/power1_average": "42000000",
	} {
		p := filepath.Join(root, "sys/class/drm/card0/device", path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text+"\n"), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	d, _ := openSysfs(Options{Root: root})
	defer d.Close()
	b.ReportAllocs()
	var s []Sample
	for b.Loop() {
		s = d.Sample(s)
	}
}
