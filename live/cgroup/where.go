package cgroup

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// mount is where one tree of control groups is seen.
type mount struct {
	at   string // where it is mounted
	root string // the group that is seen there: "/" but in some containers
}

// folder returns the folder of a group of the tree.
func (m mount) folder(group string) (string, error) {
	if m.root == "/" {
		return path.Join(m.at, group), nil
	}
	if rest, ok := strings.CutPrefix(group, m.root); ok && (rest == "" || rest[0] == '/') {
		return path.Join(m.at, rest), nil
	}
	if group == "/" {
		return m.at, nil // a namespace of control groups: the mount shows it from its own root
	}
	return "", fmt.Errorf("this process's control group %s is not below %s, which is all that is mounted here", group, m.root)
}

// whereAmI returns the groups of this process and the mounts, by controller of version 1, and by "" for version 2.
func whereAmI(k kernel) (own map[string]string, mounts map[string]mount, err error) {
	b, err := k.read("/proc/self/cgroup")
	if err != nil {
		return nil, nil, fmt.Errorf("this kernel has no control groups: %w", err)
	}
	own = parseOwn(string(b))
	if b, err = k.read("/proc/self/mountinfo"); err != nil {
		return nil, nil, err
	}
	mounts = parseMounts(string(b))
	for c := range mounts {
		if _, ok := own[c]; !ok {
			delete(mounts, c)
		}
	}
	return own, mounts, nil
}

// parseOwn reads /proc/self/cgroup: lines of number:controllers:group.
func parseOwn(text string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") || strings.Contains(f[2], "/..") {
			continue // "/.." is a group outside of this namespace
		}
		if f[0] == "0" && f[1] == "" {
			own[""] = f[2]
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if c != "" && !strings.HasPrefix(c, "name=") {
				own[c] = f[2]
			}
		}
	}
	return own
}

// parseMounts reads /proc/self/mountinfo. Of several mounts of a tree the first counts.
func parseMounts(text string) map[string]mount {
	mounts := map[string]mount{}
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(kind) < 3 {
			continue
		}
		m := mount{at: unescape(f[4]), root: unescape(f[3])}
		switch kind[0] {
		case "cgroup2":
			if _, ok := mounts[""]; !ok {
				mounts[""] = m
			}
		case "cgroup":
			for c := range strings.SplitSeq(kind[2], ",") {
				switch c {
				case "rw", "ro", "xattr", "":
					continue
				}
				if _, ok := mounts[c]; !ok {
					mounts[c] = m
				}
			}
		}
	}
	return mounts
}

// unescape undoes the kernel's \040 for a blank.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Own returns what the control group of this process allows it and all beside it: CPUs, and bytes of memory; 0 where there is no limit.
// In a container that is its size.
func Own() (cpu float64, mem int64) { return ownLimits(realKernel{}) }

func ownLimits(k kernel) (cpu float64, mem int64) {
	own, mounts, err := whereAmI(k)
	if err != nil {
		return 0, 0
	}
	// up calls f for the folder of the process's group and all above it that are seen.
	up := func(c string, f func(folder string)) {
		m, ok := mounts[c]
		if !ok {
			return
		}
		at, err := m.folder(own[c])
		for err == nil && strings.HasPrefix(at, m.at) {
			f(at)
			if at == m.at || at == "/" {
				return
			}
			at = path.Dir(at)
		}
	}
	number := func(folder, file string) (int64, bool) {
		b, err := k.read(path.Join(folder, file))
		if err != nil {
			return 0, false
		}
		v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return v, err == nil && v > 0
	}
	least := func(v int64) {
		if v < 1<<60 && (mem == 0 || v < mem) { // version 1 writes no limit as almost 2^63
			mem = v
		}
	}
	cap := func(quota, period int64) {
		if f := float64(quota) / float64(period); quota > 0 && period > 0 && (cpu == 0 || f < cpu) {
			cpu = f
		}
	}
	up("", func(folder string) {
		if v, ok := number(folder, "memory.max"); ok {
			least(v)
		}
		b, _ := k.read(path.Join(folder, "cpu.max"))
		if f := strings.Fields(string(b)); len(f) == 2 {
			quota, err1 := strconv.ParseInt(f[0], 10, 64)
			period, err2 := strconv.ParseInt(f[1], 10, 64)
			if err1 == nil && err2 == nil {
				cap(quota, period)
			}
		}
	})
	up("memory", func(folder string) {
		if v, ok := number(folder, "memory.limit_in_bytes"); ok {
			least(v)
		}
	})
	up("cpu", func(folder string) {
		quota, ok1 := number(folder, "cpu.cfs_quota_us")
		period, ok2 := number(folder, "cpu.cfs_period_us")
		if ok1 && ok2 {
			cap(quota, period)
		}
	})
	return cpu, mem
}
