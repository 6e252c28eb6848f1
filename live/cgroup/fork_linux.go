package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
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
	own, mounts, err := whereAmI(k)
	if err != nil && len(paths) > 0 {
		return 0, err
	}
	var back []string
	defer func() {
		for _, home := range back {
			if e := k.write(path.Join(home, "tasks"), "0"); e != nil {
				err = errors.Join(err, fmt.Errorf("leaving a control group: %w", e))
			}
		}
	}()
	unified := ""
	for _, p := range paths {
		if isUnified(k, p) {
			unified = p
			continue
		}
		home, err := homeOf(own, mounts, p)
		if err != nil {
			return 0, err
		}
		if err := k.write(path.Join(p, "tasks"), "0"); err != nil {
			return 0, fmt.Errorf("entering a control group: %w", err)
		}
		back = append(back, home)
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

// homeOf returns the folder of the group in which this process is, of the tree in which the folder p lies.
func homeOf(own map[string]string, mounts map[string]mount, p string) (string, error) {
	for c, m := range mounts {
		if c != "" && strings.HasPrefix(p, m.at+"/") {
			return m.folder(own[c])
		}
	}
	return "", fmt.Errorf("%s lies in no tree of control groups that is mounted here", p)
}

func isUnified(k kernel, folder string) bool {
	return k.exists(path.Join(folder, "cgroup.controllers"))
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
		if isUnified(k, p) {
			m.v2 = parent
			m.kill, m.frz2 = k.exists(path.Join(p, "cgroup.kill")), k.exists(path.Join(p, "cgroup.freeze"))
			b, _ := k.read(path.Join(p, "cgroup.controllers"))
			for _, c := range strings.Fields(string(b)) {
				if c == "cpu" || c == "memory" || c == "pids" {
					m.ctl2 = append(m.ctl2, c)
				}
			}
			continue
		}
		for c, file := range map[string]string{
			"freezer": "freezer.state", "pids": "pids.max", "memory": "memory.limit_in_bytes", "cpu": "cpu.shares", "cpuacct": "cpuacct.usage",
			"devices": "devices.list",
		} {
			if k.exists(path.Join(p, file)) {
				m.v1[c] = parent
			}
		}
	}
	return g
}
