package cgroup

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// model is a kernel's tree of control groups, version 2, as its documentation describes it: controllers come to a group if its parent's
// subtree_control names them, and a group other than the root that has processes cannot name any.
type model struct {
	at    string // mount
	group string // of this process
	v1    string // more lines of mountinfo and of the own groups
	own1  string
	root  []string // controllers of the root
	g     map[string]*modelGroup
	deny  func(op, path string) error
	log   []string
}

type modelGroup struct {
	subtree []string
	procs   []int
	values  map[string]string
}

func newModel(group string, controllers ...string) *model {
	m := &model{at: "/sys/fs/cgroup", group: group, root: controllers, g: map[string]*modelGroup{}}
	for at := path.Join(m.at, group); ; at = path.Dir(at) {
		m.g[at] = &modelGroup{}
		if at != m.at {
			m.g[path.Dir(at)] = &modelGroup{}
		}
		if at == m.at {
			break
		}
	}
	m.g[path.Join(m.at, group)].procs = []int{m.pid()}
	return m
}

// handDown gives a group's children the controllers, up to the root.
func (m *model) handDown(to string, controllers ...string) {
	for at := path.Join(m.at, to); ; at = path.Dir(at) {
		m.g[at].subtree = slices.Clone(controllers)
		if at == m.at {
			return
		}
	}
}

func (m *model) pid() int { return 4242 }

func (m *model) has(folder string) []string {
	if folder == m.at {
		return m.root
	}
	return m.g[path.Dir(folder)].subtree
}

func (m *model) denied(op, p string) error {
	m.log = append(m.log, op+" "+strings.TrimPrefix(p, m.at))
	if m.deny != nil {
		if err := m.deny(op, p); err != nil {
			return &os.PathError{Op: op, Path: p, Err: err}
		}
	}
	return nil
}

func (m *model) mkdir(p string) error {
	if err := m.denied("mkdir", p); err != nil {
		return err
	}
	if m.g[p] != nil {
		return &os.PathError{Op: "mkdir", Path: p, Err: syscall.EEXIST}
	}
	if m.g[path.Dir(p)] == nil {
		return &os.PathError{Op: "mkdir", Path: p, Err: syscall.ENOENT}
	}
	m.g[p] = &modelGroup{}
	return nil
}

func (m *model) rmdir(p string) error {
	if m.g[p] == nil {
		return &os.PathError{Op: "rmdir", Path: p, Err: syscall.ENOENT}
	}
	if len(m.g[p].procs) > 0 || len(m.children(p)) > 0 {
		return &os.PathError{Op: "rmdir", Path: p, Err: syscall.EBUSY}
	}
	delete(m.g, p)
	return nil
}

func (m *model) children(p string) []string {
	var out []string
	for k := range m.g {
		if path.Dir(k) == p && k != p {
			out = append(out, path.Base(k))
		}
	}
	slices.Sort(out)
	return out
}

func (m *model) exists(p string) bool {
	if m.g[p] != nil {
		return true
	}
	_, err := m.read(p)
	return err == nil
}

func (m *model) read(p string) ([]byte, error) {
	switch p {
	case "/proc/self/cgroup":
		group := m.group
		for k, g := range m.g {
			if slices.Contains(g.procs, m.pid()) {
				group = path.Join("/", strings.TrimPrefix(k, m.at))
			}
		}
		return []byte(m.own1 + "0::" + group + "\n"), nil
	case "/proc/self/mountinfo":
		return []byte(m.v1 + "35 24 0:30 / " + m.at + " rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"), nil
	}
	folder, file := path.Split(p)
	folder = path.Clean(folder)
	g := m.g[folder]
	missing := &os.PathError{Op: "open", Path: p, Err: syscall.ENOENT}
	if g == nil {
		return nil, missing
	}
	if v, ok := g.values[file]; ok {
		return []byte(v), nil
	}
	switch file {
	case "cgroup.controllers":
		return []byte(strings.Join(m.has(folder), " ") + "\n"), nil
	case "cgroup.subtree_control":
		return []byte(strings.Join(g.subtree, " ") + "\n"), nil
	case "cgroup.procs":
		return []byte(strings.Trim(strings.ReplaceAll(fmt.Sprint(g.procs), " ", "\n"), "[]") + "\n"), nil
	case "cgroup.freeze", "cgroup.kill", "cgroup.events":
		if folder != m.at {
			return nil, nil
		}
	}
	return nil, missing
}

func (m *model) write(p, text string) error {
	if err := m.denied("write "+text, p); err != nil {
		return err
	}
	folder, file := path.Split(p)
	folder = path.Clean(folder)
	g := m.g[folder]
	fail := func(e syscall.Errno) error { return &os.PathError{Op: "write", Path: p, Err: e} }
	if g == nil {
		return fail(syscall.ENOENT)
	}
	controller, _, _ := strings.Cut(file, ".")
	switch {
	case file == "cgroup.subtree_control":
		c := strings.TrimPrefix(text, "+")
		switch {
		case !slices.Contains(m.has(folder), c):
			return fail(syscall.ENOENT)
		case folder != m.at && len(g.procs) > 0:
			return fail(syscall.EBUSY)
		case !slices.Contains(g.subtree, c):
			g.subtree = append(g.subtree, c)
		}
	case file == "cgroup.procs":
		var pid int
		if _, err := fmt.Sscan(text, &pid); err != nil {
			return fail(syscall.EINVAL)
		}
		if len(g.subtree) > 0 {
			return fail(syscall.EBUSY)
		}
		for _, other := range m.g {
			other.procs = slices.DeleteFunc(other.procs, func(p int) bool { return p == pid })
		}
		g.procs = append(g.procs, pid)
	case slices.Contains(m.has(folder), controller) && folder != m.at || file == "cgroup.freeze" || file == "cgroup.kill":
		if g.values == nil {
			g.values = map[string]string{}
		}
		g.values[file] = text
	default:
		return fail(syscall.ENOENT)
	}
	return nil
}

func by(m *Manager) map[string]string {
	out := map[string]string{}
	for _, c := range m.Capabilities() {
		out[c.Name] = c.By
	}
	return out
}

func TestADelegatedUnitHandsItsControllersToTheAttempts(t *testing.T) {
	k := newModel("/system.slice/schedlab.service", "cpuset", "cpu", "io", "memory", "pids")
	k.handDown("/system.slice", "cpu", "memory", "pids")
	m := Open(Options{MoveSelf: true, kernel: k})
	if m.Level() != "v2" {
		t.Fatal(m.Level())
	}
	got := by(m)
	for _, c := range []string{"memory", "cpu", "pids", "freeze", "kill"} {
		if got[c] != "v2" {
			t.Errorf("%s by %q", c, got[c])
		}
	}
	if got["devices"] != "" {
		t.Error("version 2 has no file for devices")
	}
	unit := "/sys/fs/cgroup/system.slice/schedlab.service"
	if p := k.g[unit+"/schedlab-daemon"]; p == nil || !slices.Equal(p.procs, []int{k.pid()}) {
		t.Errorf("the daemon is not in its leaf: %+v", p)
	}
	g, err := m.Create("job-3.1", Limits{Mem: 1 << 30, CPU: 1500, CPUCap: true, Pids: 100, Deny: []Device{{195, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	at := unit + "/schedlab/job-3.1"
	if p := g.Paths(); len(p) != 1 || p[0] != at {
		t.Errorf("%q", p)
	}
	for file, want := range map[string]string{
		"memory.max": "1073741824", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "150000 100000", "pids.max": "100",
		"cpu.weight": "59", // 1 + (1536-2) x 9999 / 262142
	} {
		if v := k.g[at].values[file]; v != want {
			t.Errorf("%s is %q, wanted %q", file, v, want)
		}
	}
	// The next daemon, which finds itself in the leaf, takes the same groups.
	m2 := Open(Options{MoveSelf: true, kernel: k})
	if n := m2.Names(); !slices.Equal(n, []string{"job-3.1"}) || by(m2)["memory"] != "v2" {
		t.Errorf("%q %v", n, by(m2))
	}
	if _, ok := m2.Find("job-3.2"); ok {
		t.Error("a group that is not there is found")
	}
	g2, ok := m2.Find("job-3.1")
	if !ok {
		t.Fatal("the group is not found")
	}
	if err := g2.Remove(); err != nil || k.g[at] != nil {
		t.Error(err)
	}
	if err := m2.Close(); err != nil || k.g[unit+"/schedlab"] != nil {
		t.Error(err)
	}
}

func TestWithoutLeaveToMoveTheDaemonSaysWhatIsInTheWay(t *testing.T) {
	k := newModel("/system.slice/schedlab.service", "cpu", "memory", "pids")
	k.handDown("/system.slice", "cpu", "memory", "pids")
	m := Open(Options{kernel: k})
	if got := by(m); got["memory"] != "" || got["kill"] != "v2" || got["freeze"] != "v2" {
		t.Errorf("%v", got)
	}
	if c := m.Capabilities()[0]; c.Name != "memory" || !strings.Contains(c.Why, "there are processes, this one or others") {
		t.Errorf("%+v", c)
	}
	if len(k.g["/sys/fs/cgroup/system.slice/schedlab.service"].procs) != 1 {
		t.Error("the process was moved")
	}
}

func TestProcessesOfOthersInTheUnitAreNotMoved(t *testing.T) {
	k := newModel("/user.slice/session.scope", "cpu", "memory", "pids")
	k.handDown("/user.slice", "cpu", "memory", "pids")
	scope := k.g["/sys/fs/cgroup/user.slice/session.scope"]
	scope.procs = append(scope.procs, 4300)
	m := Open(Options{MoveSelf: true, kernel: k})
	if got := by(m); got["memory"] != "" || got["kill"] != "v2" || len(scope.procs) != 2 {
		t.Errorf("%v %v", got, scope.procs)
	}
	if n := k.children("/sys/fs/cgroup/user.slice/session.scope"); !slices.Equal(n, []string{"schedlab"}) {
		t.Errorf("%q", n)
	}
}

func TestTheRootMayHaveProcessesBesideGroups(t *testing.T) {
	k := newModel("/", "cpu", "memory", "pids")
	m := Open(Options{kernel: k})
	if got := by(m); got["memory"] != "v2" || got["pids"] != "v2" || got["cpu"] != "v2" {
		t.Errorf("%v; %q", got, k.log)
	}
}

func TestAControllerThatIsNotHandedDownIsMissingAlone(t *testing.T) {
	k := newModel("/user.slice/u", "cpu", "memory", "pids")
	k.handDown("/user.slice", "memory", "pids")
	m := Open(Options{MoveSelf: true, kernel: k})
	if got := by(m); got["memory"] != "v2" || got["pids"] != "v2" || got["cpu"] != "" {
		t.Errorf("%v", got)
	}
	for _, c := range m.Capabilities() {
		if c.Name == "cpu" && !strings.Contains(c.Why, "not handed down") {
			t.Errorf("%+v", c)
		}
	}
	if _, err := m.Create("a", Limits{CPU: 1000, Mem: 1 << 20}); err != nil {
		t.Errorf("a limit that cannot be set must not keep the attempt: %v", err)
	}
}

func TestAReadOnlyTreeLeavesTheProcesses(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EROFS, syscall.EACCES} {
		k := newModel("/", "cpu", "memory", "pids")
		k.deny = func(op, p string) error { return errno }
		m := Open(Options{kernel: k})
		if m.Level() != "processes" || by(m)["kill"] != "processes" || by(m)["memory"] != "" {
			t.Errorf("%s %v", m.Level(), by(m))
		}
		if c := m.Capabilities()[0]; !strings.Contains(c.Why, "mkdir: "+errno.Error()) {
			t.Errorf("%+v", c)
		}
		g, err := m.Create("a", Limits{Mem: 1 << 20, CPU: 1, Pids: 1})
		if err != nil || len(g.Paths()) != 0 {
			t.Errorf("%v %v", g, err)
		}
		if _, ok := m.Find("a"); !ok {
			t.Error("a tree of processes cannot be known not to be there")
		}
	}
}

func TestAGroupThatCannotBeLimitedIsNotLeftBehind(t *testing.T) {
	k := newModel("/", "cpu", "memory", "pids")
	m := Open(Options{kernel: k})
	k.deny = func(op, p string) error {
		if strings.HasSuffix(p, "memory.max") {
			return syscall.EINVAL
		}
		return nil
	}
	if _, err := m.Create("a", Limits{Mem: 1}); err == nil || !strings.Contains(err.Error(), "memory.max") {
		t.Error(err)
	}
	if n := m.Names(); len(n) != 0 {
		t.Errorf("left: %q", n)
	}
	k.deny = nil
	if _, err := m.Create("a", Limits{}); err != nil {
		t.Error(err)
	}
	if _, err := m.Create("a", Limits{}); err == nil {
		t.Error("a group is made twice")
	}
}

func TestAFolderThatSomebodyRemovedIsMadeAnew(t *testing.T) {
	k := newModel("/system.slice/schedlab.service", "cpu", "memory", "pids")
	k.handDown("/system.slice", "cpu", "memory", "pids")
	m := Open(Options{MoveSelf: true, kernel: k})
	if err := k.rmdir(m.v2); err != nil {
		t.Fatal(err)
	}
	g, err := m.Create("a", Limits{Mem: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if v := k.g[g.Paths()[0]].values["memory.max"]; v != "1048576" {
		t.Errorf("memory.max is %q", v)
	}
	k.deny = func(op, p string) error { return syscall.ENOENT }
	if _, err := m.Create("b", Limits{}); err == nil {
		t.Error("a group is made where none can be")
	}
}

func TestNamesThatClimbOutAreRefused(t *testing.T) {
	m := Open(Options{kernel: newModel("/", "memory")})
	for _, n := range []string{"", ".", "..", "a/b", "../x", "cgroup.procs", "probe-1", "a b", "a\n", strings.Repeat("a", 201)} {
		if _, err := m.Create(n, Limits{}); err == nil {
			t.Errorf("%q is made", n)
		}
		if _, ok := m.Find(n); ok {
			t.Errorf("%q is found", n)
		}
	}
}

func TestAContainersSizeIsTheLeastOfItsGroups(t *testing.T) {
	k := newModel("/pod/box", "cpu", "memory")
	k.handDown("/pod", "cpu", "memory")
	set := func(g, file, v string) {
		if k.g[k.at+g].values == nil {
			k.g[k.at+g].values = map[string]string{}
		}
		k.g[k.at+g].values[file] = v
	}
	if cpu, mem := ownLimits(k); cpu != 0 || mem != 0 {
		t.Errorf("%v %v", cpu, mem)
	}
	set("/pod", "memory.max", "8589934592\n")
	set("/pod/box", "memory.max", "max\n")
	set("/pod", "cpu.max", "400000 100000\n")
	set("/pod/box", "cpu.max", "150000 100000\n")
	if cpu, mem := ownLimits(k); cpu != 1.5 || mem != 8<<30 {
		t.Errorf("%v %v", cpu, mem)
	}
}

func TestOwnGroupsAndMountsAreRead(t *testing.T) {
	own := parseOwn("12:cpu,cpuacct:/a:b\n4:memory:/m\n1:name=systemd:/s\n0::/u\n9:pids:/../x\nrubbish\n")
	if len(own) != 4 || own["cpu"] != "/a:b" || own["cpuacct"] != "/a:b" || own["memory"] != "/m" || own[""] != "/u" {
		t.Errorf("%q", own)
	}
	mounts := parseMounts(`31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 /docker/x /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
36 31 0:33 / /a\040b rw - cgroup cgroup rw,xattr,cpu,cpuacct
37 31 0:33 / /second rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
x
`)
	if mounts["memory"] != (mount{"/sys/fs/cgroup/memory", "/docker/x"}) || mounts["cpu"].at != "/a b" || mounts["cpuacct"].at != "/a b" || mounts[""].at != "/sys/fs/cgroup/unified" || len(mounts) != 4 {
		t.Errorf("%v", mounts)
	}
	m := mounts["memory"]
	for group, want := range map[string]string{"/docker/x": m.at, "/docker/x/y": m.at + "/y", "/": m.at} {
		if f, err := m.folder(group); err != nil || f != want {
			t.Errorf("%s: %s %v", group, f, err)
		}
	}
	for _, group := range []string{"/docker/xy", "/docker", "/other"} {
		if f, err := m.folder(group); err == nil {
			t.Errorf("%s: %s", group, f)
		}
	}
}

func FuzzWhere(f *testing.F) {
	f.Add("0::/a\n", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	f.Add("4:memory:/m\n", `35 31 0:32 /x /s\134 rw,relatime shared:7 - cgroup cgroup rw,memory`)
	f.Fuzz(func(t *testing.T, own, mounts string) {
		groups := parseOwn(own)
		for c, m := range parseMounts(mounts) {
			folder, err := m.folder(groups[c])
			if err == nil && groups[c] != "" && path.IsAbs(m.at) && !under(folder, path.Clean(m.at)) {
				t.Fatalf("group %q of mount %+v lies at %q", groups[c], m, folder)
			}
		}
	})
}

func under(p, folder string) bool {
	return p == folder || folder == "/" || strings.HasPrefix(p, folder+"/")
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 7 1 1 0 -1 4194560 1 1 1 1 10 20 30 40 20 0 1 0 5 100 25 18446744073709551615"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if st, ok := parseStat(b); ok && (st.cpu < 0 || st.waited < 0 || st.rss < 0) {
			t.Fatalf("%+v", st)
		}
	})
}

func TestAStatWithBracketsInTheNameIsRead(t *testing.T) {
	st, ok := parseStat([]byte("1 (a) (b) R) S 7 1 1 0 -1 4194560 1 1 1 1 10 20 30 40 20 0 1 0 5 100 25 0"))
	if !ok || st.parent != 7 || st.state != 'S' || st.cpu.Milliseconds() != 300 || st.waited.Milliseconds() != 700 || st.rss != 25*int64(os.Getpagesize()) {
		t.Errorf("%+v %v", st, ok)
	}
}
