package device

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The sysfs driver reads what the kernel's own drivers publish below /sys/class/drm/cardN:
//
//	amdgpu  device/{mem_info_vram_total,mem_info_vram_used,gpu_busy_percent,unique_id,product_name}, device/hwmon/hwmon*/{temp1_input,
//	        power1_average or power1_input}; processes of ROCm in /sys/class/kfd/kfd/proc/PID/vram_GPUID
//	xe      device/tile*/physical_vram_size_bytes, device/tile*/gt*/gtidle/idle_residency_ms
//	i915    lmem_total_bytes and lmem_avail_bytes where this kernel has them, gt/gt*/rc6_residency_ms
//
// Where an Intel driver publishes no size, the size of the memory's window on the bus (BAR 2 of device/resource) stands for it. Intel's
// utilization is the share of time in which the engines were awake, so it needs two samples. A card without 1 GiB of memory of its own is
// part of a processor and is left out.
type sysfs struct {
	cards []card
	gpus  []GPU
	kfd   string // folder of ROCm's processes; "" if there is none
	buf   []byte
	now   func() time.Time // replaced by tests
}

type card struct {
	used, avail, busy, temp, power *os.File // nil where the kernel has none
	idle                           []*os.File
	wasIdle                        []int64 // ms
	at                             time.Time
	total                          int64
	kfdFile                        string // "vram_GPUID"; "" if ROCm does not know the card
}

const leastVRAM = 1 << 30

func openSysfs(o Options) (Driver, Tried) {
	root := o.Root
	if root == "" {
		root = "/"
	}
	t := Tried{Driver: "sysfs"}
	drm := filepath.Join(root, "sys/class/drm")
	entries, err := os.ReadDir(drm)
	if err != nil {
		t.Why = "the kernel has no graphics cards (no " + drm + ")"
		if !errors.Is(err, os.ErrNotExist) {
			t.Why = err.Error()
		}
		return nil, t
	}
	type seen struct {
		gpu  GPU
		path string
	}
	var all []seen
	other, small := 0, 0
	for _, e := range entries {
		n, ok := strings.CutPrefix(e.Name(), "card")
		if !ok || strings.Trim(n, "0123456789") != "" || n == "" {
			continue // card0-HDMI-A-1 is a socket of card0
		}
		path := filepath.Join(drm, e.Name())
		g := GPU{Bus: busBy(path), VRAM: vramBy(path)}
		switch readWord(path, "device/vendor") {
		case "0x1002":
			g.Vendor = AMD
		case "0x8086":
			g.Vendor = Intel
		default:
			other++
			continue
		}
		all = append(all, seen{g, path})
	}
	slices.SortFunc(all, func(a, b seen) int { return cmp.Or(cmp.Compare(a.gpu.Bus, b.gpu.Bus), cmp.Compare(a.path, b.path)) })
	d := &sysfs{buf: make([]byte, 64), now: time.Now}
	kfd := kfdIDs(root)
	if _, err := os.Stat(filepath.Join(root, "sys/class/kfd/kfd/proc")); err == nil {
		d.kfd = filepath.Join(root, "sys/class/kfd/kfd/proc")
	}
	ordinal := map[Vendor]int{}
	for _, s := range all {
		g := s.gpu
		g.Ordinal = ordinal[g.Vendor]
		ordinal[g.Vendor]++ // a processor's own card counts for the vendor's runtime too
		if g.VRAM < leastVRAM {
			small++
			continue
		}
		if len(d.gpus) > 0 && d.gpus[0].Vendor != g.Vendor {
			t.Notes = append(t.Notes, fmt.Sprintf("the %s card at %s is left out: a machine's GPUs are of one vendor here", g.Vendor, g.Bus))
			continue
		}
		g.Index = int32(len(d.gpus))
		g.Name = readLine(s.path, "device/product_name")
		if g.Name == "" {
			g.Name = nameByID(g.Vendor, readWord(s.path, "device/device"))
		}
		g.Model = Model(g.Name)
		if id := readWord(s.path, "device/unique_id"); id != "" {
			g.UUID = "GPU-" + strings.TrimPrefix(id, "0x")
		}
		c := card{total: g.VRAM, at: d.now()}
		if r := renderBy(s.path); r != "" {
			g.Files = []string{"/dev/dri/" + r}
			if id, ok := kfd[strings.TrimPrefix(r, "renderD")]; ok {
				c.kfdFile = "vram_" + id
			}
		}
		c.used = keep(filepath.Join(s.path, "device/mem_info_vram_used"))
		c.avail = keep(filepath.Join(s.path, "lmem_avail_bytes"))
		c.busy = keep(filepath.Join(s.path, "device/gpu_busy_percent"))
		for _, name := range []string{"temp1_input", "temp2_input"} {
			if c.temp == nil {
				c.temp = keep(first(filepath.Join(s.path, "device/hwmon/hwmon*", name)))
			}
		}
		for _, name := range []string{"power1_average", "power1_input"} {
			if c.power == nil {
				c.power = keep(first(filepath.Join(s.path, "device/hwmon/hwmon*", name)))
			}
		}
		for _, pattern := range []string{"device/tile*/gt*/gtidle/idle_residency_ms", "gt/gt*/rc6_residency_ms"} {
			paths, _ := filepath.Glob(filepath.Join(s.path, pattern)) // the pattern is well formed
			for _, p := range paths {
				if f := keep(p); f != nil {
					ms, _ := d.number(f)
					c.idle, c.wasIdle = append(c.idle, f), append(c.wasIdle, ms)
				}
			}
		}
		d.gpus, d.cards = append(d.gpus, g), append(d.cards, c)
	}
	if small > 0 {
		t.Notes = append(t.Notes, fmt.Sprintf("%d without memory of its own left out", small))
	}
	if t.GPUs = len(d.gpus); t.GPUs == 0 {
		t.Why = "no AMD or Intel card with memory of its own"
		if other > 0 {
			t.Why += fmt.Sprintf(" (%d of other makers)", other)
		}
	}
	return d, t
}

// keep opens a file of sysfs to be read again and again; nil if it cannot be.
func keep(path string) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	return f
}

// first returns the first path that matches, "" if none does.
func first(pattern string) string {
	paths, _ := filepath.Glob(pattern)
	if len(paths) == 0 {
		return ""
	}
	return paths[0]
}

func readLine(folder, name string) string {
	b, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

func readWord(folder, name string) string {
	f := strings.Fields(readLine(folder, name))
	if len(f) == 0 {
		return ""
	}
	return strings.ToLower(f[0])
}

func busBy(path string) string {
	b, _ := os.ReadFile(filepath.Join(path, "device/uevent"))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PCI_SLOT_NAME="); ok {
			return strings.ToLower(v)
		}
	}
	if to, err := filepath.EvalSymlinks(filepath.Join(path, "device")); err == nil && strings.Count(filepath.Base(to), ":") == 2 {
		return filepath.Base(to)
	}
	return ""
}

func vramBy(path string) int64 {
	parse := func(s string) int64 {
		v, err := strconv.ParseInt(s, 0, 64)
		if err != nil || v < 0 {
			return 0
		}
		return v
	}
	if v := parse(readWord(path, "device/mem_info_vram_total")); v > 0 {
		return v
	}
	if v := parse(readWord(path, "lmem_total_bytes")); v > 0 {
		return v
	}
	tiles, _ := filepath.Glob(filepath.Join(path, "device/tile*"))
	sum := int64(0)
	for _, t := range tiles {
		sum += parse(readWord(t, "physical_vram_size_bytes"))
	}
	if sum > 0 {
		return sum
	}
	return windowBy(path)
}

// windowBy returns the size of BAR 2, the window to a card's memory.
func windowBy(path string) int64 {
	b, _ := os.ReadFile(filepath.Join(path, "device/resource"))
	lines := bytes.Split(b, []byte{'\n'})
	if len(lines) < 3 {
		return 0
	}
	f := strings.Fields(string(lines[2]))
	if len(f) < 2 {
		return 0
	}
	from, err1 := strconv.ParseUint(f[0], 0, 64)
	to, err2 := strconv.ParseUint(f[1], 0, 64)
	if err1 != nil || err2 != nil || to <= from || to-from >= 1<<50 {
		return 0
	}
	return int64(to - from + 1)
}

func renderBy(path string) string {
	entries, _ := os.ReadDir(filepath.Join(path, "device/drm"))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "renderD") {
			return e.Name()
		}
	}
	return ""
}

// kfdIDs maps render minors to the numbers under which ROCm's kernel part knows the cards.
func kfdIDs(root string) map[string]string {
	ids := map[string]string{}
	nodes, _ := filepath.Glob(filepath.Join(root, "sys/class/kfd/kfd/topology/nodes/*"))
	for _, n := range nodes {
		id := readWord(n, "gpu_id")
		b, _ := os.ReadFile(filepath.Join(n, "properties"))
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "drm_render_minor" && id != "" && id != "0" {
				ids[f[1]] = id
			}
		}
	}
	return ids
}

// nameByID names a card whose driver does not, by its PCI device number; only those found in clusters.
func nameByID(v Vendor, id string) string {
	known := map[string]string{
		"0x66a0": "MI50", "0x66a1": "MI50", "0x738c": "MI100", "0x738e": "MI100", "0x740f": "MI210", "0x740c": "MI250", "0x7408": "MI250X",
		"0x74a0": "MI300A", "0x74a1": "MI300X", "0x74a5": "MI325X",
	}
	if v == Intel {
		known = map[string]string{
			"0x0bd5": "Max 1550", "0x0bda": "Max 1100", "0x56c0": "Flex 170", "0x56c1": "Flex 140", "0x56a0": "Arc A770", "0x56a1": "Arc A750",
			"0xe20b": "Arc B580", "0xe20c": "Arc B570",
		}
	}
	if name, ok := known[id]; ok {
		return name
	}
	return string(v) + strings.TrimPrefix(id, "0x")
}

func (d *sysfs) Name() string { return "sysfs" }
func (d *sysfs) List() []GPU  { return d.gpus }

// number reads a whole number from a kept file.
func (d *sysfs) number(f *os.File) (int64, error) {
	n, err := f.ReadAt(d.buf, 0)
	if n == 0 && err != nil && err != io.EOF {
		return 0, err
	}
	v, ok := wholeNumber(d.buf[:n])
	if !ok {
		return 0, errors.New("no number")
	}
	return v, nil
}

// wholeNumber reads decimal digits, with blanks around them.
func wholeNumber(b []byte) (int64, bool) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	v := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, true
}

func (d *sysfs) Sample(dst []Sample) []Sample {
	dst = blank(dst, len(d.gpus))
	now := d.now()
	for i := range d.cards {
		d.one(&dst[i], &d.cards[i], now)
	}
	d.processes(dst)
	return dst
}

func (d *sysfs) one(s *Sample, c *card, now time.Time) {
	get := func(f *os.File) (int64, bool) {
		if f == nil {
			return 0, false
		}
		v, err := d.number(f)
		if isGone(err) {
			s.State, s.Why = Lost, "the card is gone from the bus"
		}
		return v, err == nil
	}
	if v, ok := get(c.used); ok {
		s.Used = v
	} else if v, ok := get(c.avail); ok {
		s.Used = max(c.total-v, 0)
	}
	if v, ok := get(c.busy); ok {
		s.Utilization = min(float64(v)/100, 1)
	}
	if v, ok := get(c.temp); ok {
		s.TempC = float64(v) / 1000
	}
	if v, ok := get(c.power); ok {
		s.PowerW = float64(v) / 1e6
	}
	if len(c.idle) == 0 {
		return
	}
	elapsed := now.Sub(c.at).Seconds() * 1000
	most := float64(Unknown)
	for i, f := range c.idle {
		v, ok := get(f)
		if !ok {
			continue
		}
		// The counter is of 32 bits in some kernels; a step back says nothing.
		if slept := v - c.wasIdle[i]; slept >= 0 && elapsed > 0 {
			most = max(most, 1-min(float64(slept)/elapsed, 1))
		}
		c.wasIdle[i] = v
	}
	s.Utilization, c.at = most, now
}

// processes fills in who holds memory, by what ROCm's kernel part tells.
func (d *sysfs) processes(dst []Sample) {
	if d.kfd == "" {
		return
	}
	entries, err := os.ReadDir(d.kfd)
	if err != nil {
		return
	}
	for i := range d.cards {
		dst[i].Counted = d.cards[i].kfdFile != ""
	}
	for _, e := range entries {
		pid, err := strconv.ParseInt(e.Name(), 10, 32)
		if err != nil {
			continue
		}
		for i := range d.cards {
			if !dst[i].Counted {
				continue
			}
			b, err := os.ReadFile(filepath.Join(d.kfd, e.Name(), d.cards[i].kfdFile))
			if err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					dst[i].Processes = addProcess(dst[i].Processes, Process{PID: int32(pid), VRAM: Unknown})
				}
				continue // it has ended, or does not use this card
			}
			if v, ok := wholeNumber(b); ok && v > 0 {
				dst[i].Processes = addProcess(dst[i].Processes, Process{PID: int32(pid), VRAM: v})
			}
		}
	}
}

func (d *sysfs) Close() error {
	for i := range d.cards {
		c := &d.cards[i]
		for _, f := range append([]*os.File{c.used, c.avail, c.busy, c.temp, c.power}, c.idle...) {
			if f != nil {
				_ = f.Close() // read only
			}
		}
		d.cards[i] = card{total: c.total, kfdFile: c.kfdFile}
	}
	return nil
}
