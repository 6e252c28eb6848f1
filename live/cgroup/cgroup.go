// Package cgroup keeps the processes of one attempt together: it limits them, adds up what they use, and ends all of them, whatever they fork.
//
// It takes the best that the machine gives: control groups of version 2 where a part of their tree may be written, of version 1 for the
// controllers that are bound there (many machines have both), and the tree of processes below the attempt's shim where neither may be
// written. Open finds out by making a group and removing it, and says for each capability how it is had, or why not.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits bound an attempt. 0 is no limit.
type Limits struct {
	Mem    int64    // bytes; more ends the attempt (out of memory)
	CPU    int64    // milli-CPU: its share where CPUs are short
	CPUCap bool     // CPU is also the most that it gets
	Pids   int64    // processes and threads
	Deny   []Device // devices that it must not open
}

// Device is a character device by its numbers.
type Device struct{ Major, Minor uint32 }

// Usage is what a group has used and uses.
type Usage struct {
	CPUTime time.Duration // of all its processes so far
	Mem     int64         // bytes in use now, without file caches that can be given back
	MemPeak int64         // bytes, caches included; 0 if not known
	Pids    int64
	OOMKill int64 // processes that were ended for want of memory
}

// Group is the processes of one attempt.
type Group interface {
	// Paths are the folders to pass to Enter in the process that becomes the attempt, before it executes the command. Empty where
	// there are no control groups.
	Paths() []string
	// SetReaper names the process that inherits what the attempt orphans (see BecomeReaper): all that descends from it belongs to
	// the group, itself not. Without control groups this is how the group is known at all. It must be alive; once it is not, its
	// number says nothing any more.
	SetReaper(pid int)
	// SetMark names a KEY=value that the attempt's processes have in their environment from the start. Without control groups it
	// finds those whose reaper was killed.
	SetMark(env string)
	// Add moves a process, without its children, into the group.
	Add(pid int) error
	// Members are the live processes.
	Members() ([]int, error)
	// Freeze stops all members until Thaw.
	Freeze(ctx context.Context) error
	Thaw() error
	// Kill ends all members, also those that are frozen or being forked, and returns nil when none is left. When the context ends
	// before, the error tells which remain.
	Kill(ctx context.Context) error
	Usage() (Usage, error)
	// Ended tells of a group that has no processes any more what control groups know of its memory: MemPeak and OOMKill.
	Ended() (Usage, error)
	// Remove forgets the group, which must be empty; it waits a moment for the kernel to see that.
	Remove() error
	// RemoveNow removes a group with control groups that is empty and has no groups below it, or says that it is not.
	RemoveNow() error
}

// Capability is one thing that a Manager can or cannot do to its groups.
type Capability struct {
	Name string // "memory", "cpu", "pids", "devices", "freeze", "kill"
	By   string // "v2", "v1", or "processes" where signals and /proc do it; "" if it cannot
	Why  string // why not by a better way
}

// Options say where groups lie. The zero value is for this machine.
type Options struct {
	// Name is of the folder that holds the groups, below the control group of this process; "" is "schedlab". Two daemons need two.
	Name string
	// MoveSelf allows this process to be moved into a group of its own. Version 2 wants that before it hands out controllers where this process
	// is not at the root, and systemd's Delegate=yes is meant for it.
	MoveSelf bool

	kernel kernel // replaced by tests
}

// Manager makes groups. It is for one goroutine.
type Manager struct {
	k    kernel
	name string
	// v2 is the folder for groups in the unified tree; "" if it cannot be written.
	v2   string
	ctl2 []string // the controllers that groups have there
	kill bool     // cgroup.kill is there
	frz2 bool
	v1   map[string]string // controller -> folder for groups
	caps []Capability
}

// daemonLeaf ends the name of the group into which MoveSelf moves this process.
const daemonLeaf = "-daemon"

// controllers are those of use here, in the order in which a list of members is taken from the first that is there.
var controllers = []string{"freezer", "pids", "memory", "cpu", "cpuacct", "devices"}

// Open finds out what this machine allows, with a group that it makes and removes. It always returns a Manager: in the worst case one that knows
// processes only.
func Open(o Options) *Manager {
	m := &Manager{k: o.kernel, name: o.Name, v1: map[string]string{}}
	if m.k == nil {
		m.k = realKernel{}
	}
	if m.name == "" {
		m.name = "schedlab"
	}
	why := m.find(o.MoveSelf)
	m.judge(why)
	return m
}

// find fills in the folders; it returns why a controller ("v2" for the unified tree) is not to be had.
func (m *Manager) find(moveSelf bool) map[string]string {
	why := map[string]string{}
	own, mounts, err := whereAmI(m.k)
	if err != nil {
		for _, c := range append([]string{"v2"}, controllers...) {
			why[c] = err.Error()
		}
		return why
	}
	for _, c := range controllers {
		mnt, ok := mounts[c]
		if !ok {
			why[c] = "the kernel has no tree of version 1 for it"
			continue
		}
		parent, err := mnt.folder(own[c])
		if err == nil {
			err = m.make(path.Join(parent, m.name))
		}
		if err != nil {
			why[c] = short(err)
			continue
		}
		m.v1[c] = path.Join(parent, m.name)
	}
	mnt, ok := mounts[""]
	if !ok {
		why["v2"] = "version 2 is not mounted"
		return why
	}
	parent, err := mnt.folder(own[""])
	if path.Base(parent) == m.name+daemonLeaf {
		parent = path.Dir(parent) // moved there before
	}
	if err == nil {
		err = m.make(path.Join(parent, m.name))
	}
	if err != nil {
		why["v2"] = short(err)
		return why
	}
	m.v2 = path.Join(parent, m.name)
	m.delegate(parent, moveSelf, why)
	return why
}

// make makes a folder and sees whether a group can be made in it.
func (m *Manager) make(folder string) error {
	made := false
	switch err := m.k.mkdir(folder); {
	case err == nil:
		made = true
	case !errors.Is(err, os.ErrExist):
		return err
	}
	probe := path.Join(folder, fmt.Sprintf("probe-%d", m.k.pid()))
	err := m.k.mkdir(probe)
	if err == nil || errors.Is(err, os.ErrExist) {
		err = m.k.rmdir(probe)
	}
	if err != nil && made {
		_ = m.k.rmdir(folder)
	}
	return err
}

// delegate hands controllers down to the groups of the unified tree, as far as they are bound to it.
func (m *Manager) delegate(parent string, moveSelf bool, why map[string]string) {
	has := func(folder string) []string {
		b, _ := m.k.read(path.Join(folder, "cgroup.controllers"))
		return strings.Fields(string(b))
	}
	enable := func(folder string) error {
		var errs []error
		for _, c := range []string{"cpu", "memory", "pids"} {
			if slices.Contains(has(folder), c) { // one by one: one that fails must not keep the others
				if err := m.k.write(path.Join(folder, "cgroup.subtree_control"), "+"+c); err != nil {
					errs = append(errs, err)
				}
			}
		}
		return errors.Join(errs...)
	}
	below := has(m.v2)
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(has(parent), c) || slices.Contains(below, c) {
			continue
		}
		err := enable(parent)
		alone, _ := m.k.read(path.Join(parent, "cgroup.procs"))
		if moveSelf && isBusy(err) && strings.TrimSpace(string(alone)) == fmt.Sprint(m.k.pid()) {
			// No processes beside groups: what is in the way is this one. Others are not ours to move.
			leaf := path.Join(parent, m.name+daemonLeaf)
			if err = m.k.mkdir(leaf); err == nil || errors.Is(err, os.ErrExist) {
				if err = m.k.write(path.Join(leaf, "cgroup.procs"), fmt.Sprint(m.k.pid())); err == nil {
					err = enable(parent)
				}
			}
		}
		if err != nil {
			why["v2 controllers"] = short(err)
			if isBusy(err) {
				why["v2 controllers"] = "there are processes, this one or others, in the control group that would hand it down"
			}
		}
		break
	}
	if err := enable(m.v2); err != nil && why["v2 controllers"] == "" {
		why["v2 controllers"] = short(err)
	}
	probe := path.Join(m.v2, fmt.Sprintf("probe-%d", m.k.pid()))
	if err := m.k.mkdir(probe); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	for _, c := range has(probe) {
		if slices.Contains([]string{"cpu", "memory", "pids"}, c) {
			m.ctl2 = append(m.ctl2, c)
		}
	}
	_, err := m.k.read(path.Join(probe, "cgroup.freeze"))
	m.frz2 = err == nil
	m.kill = m.k.exists(path.Join(probe, "cgroup.kill"))
	_ = m.k.rmdir(probe)
}

// judge writes down the capabilities.
func (m *Manager) judge(why map[string]string) {
	for _, c := range []string{"memory", "cpu", "pids", "devices"} {
		cap := Capability{Name: c}
		_, v1 := m.v1[c]
		switch {
		case slices.Contains(m.ctl2, c):
			cap.By = "v2"
		case v1:
			cap.By = "v1"
		default:
			cap.Why = m.whyNot(c, why)
		}
		m.caps = append(m.caps, cap)
	}
	freeze := Capability{Name: "freeze", By: "processes"}
	kill := Capability{Name: "kill", By: "processes"}
	_, freezer := m.v1["freezer"]
	switch {
	case m.frz2:
		freeze.By = "v2"
	case freezer:
		freeze.By = "v1"
	default:
		freeze.Why = m.whyNot("freezer", why)
	}
	switch {
	case m.v2 != "" && (m.kill || m.frz2):
		kill.By = "v2"
	case len(m.v1) > 0:
		kill.By = "v1"
	default:
		kill.Why = m.whyNot("freezer", why)
	}
	m.caps = append(m.caps, freeze, kill)
}

func (m *Manager) whyNot(c string, why map[string]string) string {
	v2 := why["v2"]
	switch {
	case m.v2 == "":
	case c == "devices":
		v2 = "version 2 has it as programs in the kernel only, which are not used here"
	case c == "freezer":
		v2 = "this kernel's version 2 cannot freeze"
	case why["v2 controllers"] != "":
		v2 = why["v2 controllers"]
	default:
		v2 = "not handed down to this process's control group"
	}
	if w := why[c]; w == v2 {
		return "v1 and v2: " + w
	} else if w != "" {
		return "v2: " + v2 + "; v1: " + w
	}
	return "v2: " + v2
}

// Capabilities says what groups of this Manager can do.
func (m *Manager) Capabilities() []Capability { return m.caps }

// Level names the ground that groups stand on: "v2", "v1", "v1+v2" or "processes".
func (m *Manager) Level() string {
	switch {
	case m.v2 != "" && len(m.v1) > 0:
		return "v1+v2"
	case m.v2 != "":
		return "v2"
	case len(m.v1) > 0:
		return "v1"
	}
	return "processes"
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.HasPrefix(name, "cgroup.") || strings.HasPrefix(name, "probe-") || len(name) > 200 {
		return fmt.Errorf("%q is no name of a group", name)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return fmt.Errorf("%q is no name of a group: it has a %q", name, r)
		}
	}
	return nil
}

// Create makes a group with the limits. A limit that this machine cannot set is passed over: Capabilities told so. A group of that name must not be
// there. On an error nothing of it is left.
func (m *Manager) Create(name string, l Limits) (Group, error) {
	g, err := m.create(name, l)
	if errors.Is(err, os.ErrNotExist) && m.remake() {
		g, err = m.create(name, l)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// remake makes the folders for groups that somebody has removed. It reports whether there were any.
func (m *Manager) remake() (made bool) {
	for _, f := range m.parents() {
		made = m.k.mkdir(f) == nil || made
	}
	if m.v2 != "" {
		for _, c := range m.ctl2 {
			_ = m.k.write(path.Join(m.v2, "cgroup.subtree_control"), "+"+c) // a limit that cannot be set tells
		}
	}
	return made
}

func (m *Manager) create(name string, l Limits) (*group, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	g := m.group(name)
	g.folders = slices.DeleteFunc(g.folders, func(f string) bool { return !m.serves(f, l) })
	for i, folder := range g.folders {
		if err := m.k.mkdir(folder); err != nil {
			for _, made := range g.folders[:i] {
				_ = m.k.rmdir(made)
			}
			return nil, fmt.Errorf("control group %s: %w", name, err)
		}
	}
	if err := g.limit(l); err != nil {
		for _, made := range g.folders {
			_ = m.k.rmdir(made)
		}
		return nil, fmt.Errorf("control group %s: %w", name, err)
	}
	return g, nil
}

// serves reports whether a group with the limits has use for its folder f. Each costs the kernel some 0.3 ms to make and remove.
func (m *Manager) serves(f string, l Limits) bool {
	parent := path.Dir(f)
	if parent == m.v2 {
		return true
	}
	for c, use := range map[string]bool{
		"freezer": !m.frz2,
		"cpuacct": m.v2 == "",
		"memory":  !slices.Contains(m.ctl2, "memory"), // without a limit too: it counts
		"cpu":     l.CPU > 0 && !slices.Contains(m.ctl2, "cpu"),
		"pids":    l.Pids > 0 && !slices.Contains(m.ctl2, "pids"),
		"devices": len(l.Deny) > 0,
	} {
		if use && m.v1[c] == parent {
			return true
		}
	}
	return false
}

// Find returns the group of that name as it was left by a daemon before this one. It reports false where there is none. Where groups may have no
// folder this cannot be known: then it is always there, and SetReaper says what is in it.
func (m *Manager) Find(name string) (Group, bool) {
	if checkName(name) != nil {
		return nil, false
	}
	g := m.group(name)
	kept := g.folders[:0]
	for _, f := range g.folders {
		if m.k.exists(f) {
			kept = append(kept, f)
		}
	}
	always := slices.ContainsFunc(m.parents(), func(p string) bool { return m.serves(path.Join(p, name), Limits{}) })
	if len(kept) == 0 && always {
		return nil, false
	}
	g.folders = kept
	return g, true
}

// Names are the groups that are there, in order.
func (m *Manager) Names() []string {
	seen := map[string]bool{}
	var names []string
	for _, folder := range m.parents() {
		for _, n := range m.k.children(folder) {
			if !seen[n] && checkName(n) == nil {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (m *Manager) parents() []string {
	var out []string
	if m.v2 != "" {
		out = append(out, m.v2)
	}
	for _, c := range controllers {
		if f, ok := m.v1[c]; ok && !slices.Contains(out, f) { // cpu and cpuacct are often one tree
			out = append(out, f)
		}
	}
	return out
}

// Close removes the folders that held the groups, as far as they are empty.
func (m *Manager) Close() error {
	var errs []error
	for _, f := range m.parents() {
		if err := m.k.rmdir(f); err != nil && !errors.Is(err, os.ErrNotExist) && !isBusy(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) group(name string) *group {
	g := &group{m: m, name: name}
	for _, p := range m.parents() {
		g.folders = append(g.folders, path.Join(p, name))
	}
	return g
}

// short is an error without the path, which the reader of a report knows.
func short(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Op + ": " + pe.Err.Error()
	}
	return err.Error()
}
