package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Fork calls start with the calling thread so placed that the process which start forks from it begins in the group of the given Paths: no
// moment of it is outside, and no program stands in between. attr is what start passes on. The caller has locked its goroutine to the
// thread.
//
// A thread can be in a group of version 1 of its own, and its child begins there: it is moved there, forks, and is moved back. To a group of
// version 2 the child is born (clone3, from Linux 5.7; before, it is moved there at once after its start, and what it has forked by then
// is outside of that tree).
func Fork(paths []string, attr *syscall.SysProcAttr, start func() (pid int, err error)) (pid int, err error) {
	var k realKernel
	var back []string // the folders of the groups that were entered
	defer func() {
		for _, p := range back {
			home, e := homes.of(k, path.Dir(p), false)
			if e == nil {
				e = k.write(path.Join(home, "tasks"), "0")
			}
			if e != nil { // somebody has moved this process, and removed where it was
				if home, e = homes.of(k, path.Dir(p), true); e == nil {
					e = k.write(path.Join(home, "tasks"), "0")
				}
			}
			if e != nil {
				err = errors.Join(err, fmt.Errorf("leaving a control group: %w", e))
			}
		}
	}()
	unified := ""
	for _, p := range paths {
		if treeOf(k, p).unified {
			unified = p
			continue
		}
		if _, err := homes.of(k, path.Dir(p), false); err != nil {
			return 0, err
		}
		if err := k.write(path.Join(p, "tasks"), "0"); err != nil {
			return 0, fmt.Errorf("entering a control group: %w", err)
		}
		back = append(back, p)
	}
	if unified == "" {
		return start()
	}
	folder, err := os.Open(unified)
	if err != nil {
		return 0, fmt.Errorf("entering a control group: %w", err)
	}
	defer folder.Close()
	attr.UseCgroupFD, attr.CgroupFD = true, int(folder.Fd())
	pid, err = start()
	attr.UseCgroupFD, attr.CgroupFD = false, 0
	if !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.E2BIG) && !errors.Is(err, syscall.EPERM) {
		return pid, err
	}
	if pid, err = start(); err != nil {
		return pid, err
	}
	if e := join(k, []string{unified}, strconv.Itoa(pid)); e != nil && !errors.Is(e, syscall.ESRCH) {
		return pid, e
	}
	return pid, nil
}

// homes remembers, by the folder that holds the groups, in which group of its tree this process is. A shim forks one attempt after the
// other, and the lists of mounts and groups are long.
var homes homeCache

type homeCache struct {
	mu sync.Mutex
	by map[string]string
}

// of returns the folder of the group in which this process is, of the tree in which parent lies.
func (h *homeCache) of(k kernel, parent string, anew bool) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if home, ok := h.by[parent]; ok && !anew {
		return home, nil
	}
	own, mounts, err := whereAmI(k)
	if err != nil {
		return "", err
	}
	for c, m := range mounts {
		if c != "" && strings.HasPrefix(parent, m.at+"/") {
			home, err := m.folder(own[c])
			if err == nil {
				if h.by == nil {
					h.by = map[string]string{}
				}
				h.by[parent] = home
			}
			return home, err
		}
	}
	return "", fmt.Errorf("%s lies in no tree of control groups that is mounted here", parent)
}

// tree is what all groups in one folder have in common.
type tree struct {
	unified, kill, freeze bool
	has                   []string // controllers
}

// trees remembers them by the folder.
var trees struct {
	mu sync.Mutex
	by map[string]tree
}

// treeOf returns what the group in a folder has, and all beside it.
func treeOf(k kernel, p string) tree {
	trees.mu.Lock()
	defer trees.mu.Unlock()
	if t, ok := trees.by[path.Dir(p)]; ok {
		return t
	}
	var t tree
	if t.unified = k.exists(path.Join(p, "cgroup.controllers")); t.unified {
		t.kill, t.freeze = k.exists(path.Join(p, "cgroup.kill")), k.exists(path.Join(p, "cgroup.freeze"))
		b, _ := k.read(path.Join(p, "cgroup.controllers"))
		for _, c := range strings.Fields(string(b)) {
			if c == "cpu" || c == "memory" || c == "pids" {
				t.has = append(t.has, c)
			}
		}
	} else {
		for c, file := range map[string]string{
			"freezer": "freezer.state", "pids": "pids.max", "memory": "memory.limit_in_bytes", "cpu": "cpu.shares", "cpuacct": "cpuacct.usage",
			"devices": "devices.list",
		} {
			if k.exists(path.Join(p, file)) {
				t.has = append(t.has, c)
			}
		}
	}
	if t.unified || len(t.has) > 0 { // else it is gone
		if trees.by == nil {
			trees.by = map[string]tree{}
		}
		trees.by[path.Dir(p)] = t
	}
	return t
}

// At returns the group that has the given Paths, as the attempt's shim knows it: without a Manager, and without a look at what the machine
// offers. Limits cannot be set again.
func At(paths []string) Group {
	k := realKernel{}
	m := &Manager{k: k, v1: map[string]string{}}
	g := &group{m: m}
	for _, p := range paths {
		parent := path.Dir(p)
		g.name = path.Base(p)
		g.folders = append(g.folders, p)
		t := treeOf(k, p)
		if t.unified {
			m.v2, m.kill, m.frz2, m.ctl2 = parent, t.kill, t.freeze, t.has
			continue
		}
		for _, c := range t.has {
			m.v1[c] = parent
		}
	}
	return g
}
