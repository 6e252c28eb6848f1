package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// group is a Group on any ground: folders of control groups, if there are any, and the processes below the reaper, if it is known.
type group struct {
	m       *Manager
	name    string
	folders []string // of the unified tree first, then of version 1 by controllers' order
	reaper  int
	born    uint64 // when the reaper started, in ticks since boot; its number may be given to another process later
	mark    string
}

// in returns the folder for a controller of version 1, "" if there is none.
func (g *group) in(controller string) string {
	if p, ok := g.m.v1[controller]; ok {
		if f := path.Join(p, g.name); slices.Contains(g.folders, f) {
			return f
		}
	}
	return ""
}

// unified returns the folder in the unified tree, "" if there is none.
func (g *group) unified() string {
	if g.m.v2 != "" {
		if f := path.Join(g.m.v2, g.name); slices.Contains(g.folders, f) {
			return f
		}
	}
	return ""
}

// with2 returns the folder in the unified tree if groups there have the controller.
func (g *group) with2(controller string) string {
	if slices.Contains(g.m.ctl2, controller) {
		return g.unified()
	}
	return ""
}

const period = 100_000 // us, the kernel's own default

func (g *group) limit(l Limits) error {
	set := func(folder, file, text string) error { return g.m.k.write(path.Join(folder, file), text) }
	itoa := func(v int64) string { return strconv.FormatInt(v, 10) }
	var errs []error
	try := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if l.Mem > 0 {
		if f := g.with2("memory"); f != "" {
			try(set(f, "memory.max", itoa(l.Mem)))
			_ = set(f, "memory.swap.max", "0")  // no such file without swap
			_ = set(f, "memory.oom.group", "1") // from 4.19: an attempt with a part of its processes ended is of no use
		} else if f := g.in("memory"); f != "" {
			try(set(f, "memory.limit_in_bytes", itoa(l.Mem)))
			_ = set(f, "memory.memsw.limit_in_bytes", itoa(l.Mem)) // no such file where swap is not counted
		}
	}
	if l.CPU > 0 {
		shares := min(max(l.CPU*1024/1000, 2), 262144)
		quota := max(l.CPU*period/1000, 1000) // the kernel takes no less than 1 ms
		if f := g.with2("cpu"); f != "" {
			try(set(f, "cpu.weight", itoa(1+(shares-2)*9999/262142)))
			if l.CPUCap {
				try(set(f, "cpu.max", fmt.Sprintf("%d %d", quota, period)))
			}
		} else if f := g.in("cpu"); f != "" {
			try(set(f, "cpu.shares", itoa(shares)))
			if l.CPUCap {
				try(set(f, "cpu.cfs_period_us", itoa(period)))
				try(set(f, "cpu.cfs_quota_us", itoa(quota)))
			}
		}
	}
	if l.Pids > 0 {
		if f := g.with2("pids"); f != "" {
			try(set(f, "pids.max", itoa(l.Pids)))
		} else if f := g.in("pids"); f != "" {
			try(set(f, "pids.max", itoa(l.Pids)))
		}
	}
	if f := g.in("devices"); f != "" {
		for _, d := range l.Deny {
			try(set(f, "devices.deny", fmt.Sprintf("c %d:%d rwm", d.Major, d.Minor)))
		}
	}
	return errors.Join(errs...)
}

func (g *group) Paths() []string { return slices.Clone(g.folders) }

func (g *group) SetReaper(pid int) {
	g.reaper, g.born = 0, 0
	if st, ok := statOf(pid); ok {
		g.reaper, g.born = pid, st.born
	}
}

func (g *group) SetMark(env string) { g.mark = env }

// reaps returns the stat of the reaper while it lives.
func (g *group) reaps() (stat, bool) {
	if g.reaper <= 0 {
		return stat{}, false
	}
	st, ok := statOf(g.reaper)
	return st, ok && st.born == g.born
}

// Enter moves the calling process into a group, given its Paths. The process that becomes the attempt calls it before it executes the command,
// so that nothing of the attempt is ever outside.
func Enter(paths []string) error { return join(realKernel{}, paths, "0") }

func join(k kernel, paths []string, pid string) error {
	for _, p := range paths {
		if err := k.write(path.Join(p, "cgroup.procs"), pid); err != nil {
			return fmt.Errorf("entering a control group: %w", err)
		}
	}
	return nil
}

func (g *group) Add(pid int) error {
	if pid <= 0 {
		return fmt.Errorf("%d is no process", pid)
	}
	return join(g.m.k, g.folders, strconv.Itoa(pid))
}

func (g *group) Members() ([]int, error) {
	var all []int
	var errs []error
	for _, f := range g.folders { // a process may be in one tree and have left another
		pids, err := listed(g.m.k, f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		all = append(all, pids...)
	}
	root, mark := 0, ""
	if _, ok := g.reaps(); ok {
		root = g.reaper
	}
	if len(g.folders) == 0 {
		mark = g.mark
	}
	if root > 0 || mark != "" {
		below, err := descendants(root, mark)
		if err != nil {
			errs = append(errs, err)
		}
		all = slices.DeleteFunc(append(all, below...), func(pid int) bool { return pid == root }) // the shim may have the mark too, and is in here while it forks
	}
	slices.Sort(all)
	return slices.Compact(all), errors.Join(errs...)
}

func (g *group) Freeze(ctx context.Context) error {
	if f := g.unified(); f != "" && g.m.frz2 {
		if err := g.m.k.write(path.Join(f, "cgroup.freeze"), "1"); err != nil {
			return err
		}
		return until(ctx, func() bool {
			b, err := g.m.k.read(path.Join(f, "cgroup.events"))
			return err != nil || strings.Contains(string(b), "frozen 1")
		})
	}
	if f := g.in("freezer"); f != "" {
		return until(ctx, func() bool {
			// Written again each time: what was just forked can keep the group at FREEZING.
			if err := g.m.k.write(path.Join(f, "freezer.state"), "FROZEN"); err != nil {
				return false
			}
			b, err := g.m.k.read(path.Join(f, "freezer.state"))
			return err == nil && strings.TrimSpace(string(b)) == "FROZEN"
		})
	}
	return until(ctx, func() bool { return g.signalAll(syscall.SIGSTOP, 'T') == 0 })
}

func (g *group) Thaw() error {
	if f := g.unified(); f != "" && g.m.frz2 {
		return g.m.k.write(path.Join(f, "cgroup.freeze"), "0")
	}
	if f := g.in("freezer"); f != "" {
		return g.m.k.write(path.Join(f, "freezer.state"), "THAWED")
	}
	g.signalAll(syscall.SIGCONT, 0)
	return nil
}

// signalAll signals the members that are not in the given state and returns how many it was. A process is held by its descriptor and looked up again
// before it is signalled, so that a number that was given to another process meanwhile hits nobody.
func (g *group) signalAll(sig syscall.Signal, unless byte) int {
	before, _ := g.Members()
	held := map[int]*os.Process{}
	for _, pid := range before {
		if unless != 0 {
			if st, ok := statOf(pid); ok && st.state == unless {
				continue
			}
		}
		if p, err := os.FindProcess(pid); err == nil {
			held[pid] = p
		}
	}
	now, _ := g.Members()
	n := 0
	for _, pid := range now {
		if p, ok := held[pid]; ok {
			if err := p.Signal(sig); err == nil {
				n++
			}
		}
	}
	for _, p := range held {
		_ = p.Release()
	}
	for _, pid := range now { // came in between
		if held[pid] == nil && !slices.Contains(before, pid) {
			n++
		}
	}
	return n
}

func (g *group) Kill(ctx context.Context) error {
	if len(g.folders) == 0 && g.reaper == 0 && g.mark == "" {
		return fmt.Errorf("group %s: without control groups, a reaper or a mark nobody knows what is in it", g.name)
	}
	// Nothing new is forked from here on, where that can be said.
	for _, f := range []string{g.with2("pids"), g.in("pids")} {
		if f != "" {
			_ = g.m.k.write(path.Join(f, "pids.max"), "0")
		}
	}
	frozen, empty := false, 0
	done := until(ctx, func() bool {
		switch f := g.unified(); {
		case f != "" && g.m.kill:
			// The kernel ends all of them at once, also those being forked.
			_ = g.m.k.write(path.Join(f, "cgroup.kill"), "1")
		case !frozen && (f != "" && g.m.frz2 || g.in("freezer") != ""):
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			frozen = g.Freeze(short) == nil
			cancel()
		}
		// Also those that are in another tree only, or escaped to be children of the reaper.
		if len(g.folders) == 0 {
			// Stopped first, until no new ones come: a process that is stopped does not fork.
			for range 100 {
				if g.signalAll(syscall.SIGSTOP, 'T') == 0 {
					break
				}
			}
		}
		g.signalAll(syscall.SIGKILL, 0)
		if frozen {
			_ = g.Thaw() // version 1 holds the signal back until then
			frozen = false
		}
		// One look can miss a process whose parent ended while the list was read.
		if left, err := g.Members(); err != nil || len(left) > 0 {
			empty = 0
			return false
		}
		empty++
		return empty == 3
	})
	if done == nil {
		return nil
	}
	left, err := g.Members()
	if err == nil && len(left) == 0 {
		return nil
	}
	return errors.Join(fmt.Errorf("group %s: processes %v are still there: %w", g.name, left, done), err)
}

// until calls f until it is true, in growing pauses.
func until(ctx context.Context, f func() bool) error {
	pause := 200 * time.Microsecond
	for {
		if f() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// counters reads numbers of control groups, and gathers what went wrong.
type counters struct {
	k    kernel
	errs []error
}

// number reads a file that holds one number.
func (c *counters) number(folder, file string) int64 {
	b, err := c.k.read(path.Join(folder, file))
	if err != nil {
		c.errs = append(c.errs, err)
		return 0
	}
	v, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return v
}

// row reads the number behind a key.
func (c *counters) row(folder, file, key string) int64 {
	b, err := c.k.read(path.Join(folder, file))
	if err != nil {
		c.errs = append(c.errs, err)
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// Ended does not ask for what is in use: version 1 adds that up over all CPUs anew each time.
func (g *group) Ended() (u Usage, err error) {
	c := &counters{k: g.m.k}
	if f := g.with2("memory"); f != "" {
		if g.m.k.exists(path.Join(f, "memory.peak")) { // from 5.19
			u.MemPeak = c.number(f, "memory.peak")
		}
		u.OOMKill = c.row(f, "memory.events", "oom_kill")
	} else if f := g.in("memory"); f != "" {
		u.MemPeak = c.number(f, "memory.max_usage_in_bytes")
		u.OOMKill = c.row(f, "memory.oom_control", "oom_kill")
	}
	return u, errors.Join(c.errs...)
}

// counted reads the counters of the control groups; mem and cpu say whether they have memory and CPU time.
func (g *group) counted() (u Usage, mem, cpu bool, err error) {
	c := &counters{k: g.m.k}
	u, err = g.Ended()
	if f := g.with2("memory"); f != "" {
		mem = true
		u.Mem = max(c.number(f, "memory.current")-c.row(f, "memory.stat", "inactive_file"), 0)
	} else if f := g.in("memory"); f != "" {
		mem = true
		u.Mem = max(c.number(f, "memory.usage_in_bytes")-c.row(f, "memory.stat", "total_inactive_file"), 0)
	}
	if f := g.unified(); f != "" { // told without the controller too
		cpu = true
		u.CPUTime = time.Duration(c.row(f, "cpu.stat", "usage_usec")) * time.Microsecond
	} else if f := g.in("cpuacct"); f != "" {
		cpu = true
		u.CPUTime = time.Duration(c.number(f, "cpuacct.usage"))
	}
	return u, mem, cpu, errors.Join(append(c.errs, err)...)
}

func (g *group) Usage() (Usage, error) {
	u, mem, cpu, err := g.counted()
	pids, err2 := g.Members()
	u.Pids = int64(len(pids))
	if st, ok := g.reaps(); ok && !cpu {
		u.CPUTime += st.waited // what has ended, and the reaper has waited for
	}
	for _, pid := range pids {
		if mem && cpu {
			break
		}
		st, ok := statOf(pid)
		if !ok {
			continue
		}
		if !cpu {
			u.CPUTime += st.cpu + st.waited
		}
		if !mem {
			u.Mem += st.rss
		}
	}
	return u, errors.Join(err, err2)
}

func (g *group) Remove() error {
	var errs []error
	for _, f := range g.folders {
		if err := g.removeAll(f); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (g *group) RemoveNow() error {
	for _, f := range g.folders {
		if err := g.m.k.rmdir(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// removeAll removes a folder and the groups that the attempt itself made in it.
func (g *group) removeAll(folder string) error {
	err := g.m.k.rmdir(folder) // most have none in them
	if isBusy(err) {
		for _, c := range g.m.k.children(folder) {
			if err := g.removeAll(path.Join(folder, c)); err != nil {
				return err
			}
		}
		// The kernel lets go of a process a moment after it has ended.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = until(ctx, func() bool {
			err = g.m.k.rmdir(folder)
			return !isBusy(err)
		})
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
