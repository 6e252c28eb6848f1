package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine describes this machine: processors, memory, system. What cannot be found out is left out.
func machine() string {
	parts := []string{fmt.Sprintf("%d processors", runtime.NumCPU())}
	if name := firstField("/proc/cpuinfo", "model name"); name != "" {
		parts[0] = fmt.Sprintf("%d x %s", runtime.NumCPU(), name)
	}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(firstField("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GiB", kb/(1<<20)))
	}
	return strings.Join(append(parts, runtime.GOOS+"/"+runtime.GOARCH), ", ")
}

// firstField returns the value of the first line "key: value" of a file, "" if there is none.
func firstField(file, key string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// idle reports whether the machine does nothing else: its processors are idle for nine tenths of a moment in which this process waits. Where
// that cannot be found out it is not idle.
func idle() bool {
	busy0, all0, ok0 := processorTime()
	time.Sleep(300 * time.Millisecond)
	busy1, all1, ok1 := processorTime()
	return ok0 && ok1 && all1 > all0 && busy1-busy0 <= 0.1*(all1-all0)
}

// processorTime returns the time, in ticks, that all processors were busy, and all time.
func processorTime() (busy, all float64, ok bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, false
	}
	for i, f := range fields[1:9] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, 0, false
		}
		all += v
		if i != 3 && i != 4 {
			busy += v
		}
	}
	return busy, all, true
}
