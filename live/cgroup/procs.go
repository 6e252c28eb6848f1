package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// stat is what is used of /proc/PID/stat.
type stat struct {
	parent int
	state  byte
	cpu    time.Duration
	waited time.Duration // CPU time of the children that it has waited for, which is nowhere else any more
	rss    int64
	born   uint64 // ticks since boot
}

// ticks a second, the kernel's fixed USER_HZ on all platforms that Go runs on.
const hertz = 100

func parseStat(b []byte) (st stat, ok bool) {
	// The name stands in brackets and may hold anything, brackets too.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return st, false
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 22 || len(f[0]) != 1 {
		return st, false
	}
	st.state = f[0][0]
	parent, err := strconv.Atoi(string(f[1]))
	if err != nil {
		return st, false
	}
	st.parent = parent
	for i, to := range []*time.Duration{&st.cpu, &st.cpu, &st.waited, &st.waited} { // utime stime cutime cstime
		v, err := strconv.ParseInt(string(f[11+i]), 10, 64)
		if err != nil || v < 0 || v > 1<<36 {
			return st, false
		}
		*to += time.Duration(v) * (time.Second / hertz)
	}
	if st.born, err = strconv.ParseUint(string(f[19]), 10, 64); err != nil {
		return st, false
	}
	pages, err := strconv.ParseInt(string(f[21]), 10, 64)
	if err != nil || pages < 0 || pages > 1<<40 {
		return st, false
	}
	st.rss = pages * int64(os.Getpagesize())
	return st, true
}

func statOf(pid int) (stat, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	return parseStat(b)
}

// descendants returns the live processes below one, itself not (0: below none), and those that have the mark in their environment ("": none)
// with all below them.
func descendants(root int, mark string) ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close()
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	dead := map[int]bool{}
	var next []int
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		if st, ok := statOf(pid); ok {
			children[st.parent] = append(children[st.parent], pid)
			dead[pid] = st.state == 'Z' || st.state == 'X'
			if mark != "" && marked(pid, mark) {
				next = append(next, pid)
			}
		}
	}
	if root > 0 {
		next = append(next, children[root]...)
	}
	var out []int
	seen := map[int]bool{}
	for len(next) > 0 {
		pid := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		next = append(next, children[pid]...)
		if !dead[pid] {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out, nil
}

// marked reports whether a process has KEY=value in its environment; false too where this user may not see it.
func marked(pid int, mark string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if string(entry) == mark {
			return true
		}
	}
	return false
}
