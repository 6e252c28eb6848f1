package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/policies/sched"
)

// groupName names the group of one try of an attempt: t12-1, or t12-1.2.
func groupName(f folder) string {
	return "t" + filepath.Base(filepath.Dir(string(f))) + "-" + filepath.Base(string(f))
}

// ofGroup tells whose group has a name.
func ofGroup(name string) (key, bool) {
	task, attempt, ok := strings.Cut(strings.TrimPrefix(name, "t"), "-")
	attempt, _, _ = strings.Cut(attempt, "_")
	attempt, _, _ = strings.Cut(attempt, ".")
	t, err := strconv.ParseInt(task, 10, 32)
	n, err2 := strconv.ParseInt(attempt, 10, 32)
	return key{sched.TaskID(t), int32(n)}, ok && err == nil && err2 == nil
}

// makeGroup makes the control group of an attempt with its limits, and notes in the spec where it is.
func (r *Runner) makeGroup(u *run, f folder, s *Spec) error {
	u.mem = s.Mem
	if r.Groups == nil || failpoint.Naive("start") { // a group left over would end what it spawns twice
		return nil
	}
	limits := cgroup.Limits{Mem: s.Mem, CPU: s.CPUMilli, CPUCap: s.CPUCap, Pids: s.Pids, Deny: s.Deny}
	r.making.Lock()
	defer r.making.Unlock()
	name := groupName(f)
	for i := 0; ; i++ {
		g, err := r.Groups.Create(name, limits)
		if err == nil {
			s.Cgroups = g.Paths()
			r.mu.Lock()
			u.group = g
			r.mu.Unlock()
			g.SetMark(FolderVariable + "=" + string(f))
			return nil
		}
		// One that is there, with processes in it, is of a state that was in this folder before and is gone.
		if !errors.Is(err, fs.ErrExist) || i == 100 {
			return err
		}
		name = fmt.Sprintf("%s_%d", groupName(f), i+1)
	}
}

// findGroup finds the group of an attempt that a daemon before this one has started.
func (r *Runner) findGroup(u *run, f folder) {
	if r.Groups == nil || failpoint.Naive("start") {
		return
	}
	var s Spec
	var g cgroup.Group
	if f.read("spec", &s) == nil {
		g = cgroup.At(s.Cgroups)
	} else { // that daemon died in between, or has written nothing at all
		r.making.Lock()
		left, ok := r.Groups.Find(groupName(f))
		r.making.Unlock()
		if !ok {
			return
		}
		g = left
	}
	g.SetMark(FolderVariable + "=" + string(f))
	r.mu.Lock()
	u.group, u.mem = g, s.Mem
	r.mu.Unlock()
}

// reapedBy notes the shim, below which all processes are the attempt's. It is called under the runner's mu.
func (u *run) reapedBy(shim int) {
	u.shim = shim
	if u.group != nil && len(u.group.Paths()) == 0 {
		u.group.SetReaper(shim)
	}
}

// release removes the group of an attempt that is over.
func (r *Runner) release(u *run) {
	r.mu.Lock()
	g := u.group
	u.group = nil
	r.mu.Unlock()
	if g != nil && len(g.Paths()) > 0 {
		_ = dissolve(g) // what cannot be removed now, Sweep removes at the next start
	}
}

// dissolve removes a group, and ends what is in it.
func dissolve(g cgroup.Group) error {
	if g.RemoveNow() == nil { // as almost always
		return nil
	}
	if left, err := g.Members(); err == nil && len(left) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Kill(ctx); err != nil {
			return err
		}
	}
	return g.Remove()
}

// Sweep removes the groups that are empty and of no attempt that is known here, as a daemon that was killed has left them, and returns the
// names of those that are not empty. It is to be called after Adopt and before Start.
func (r *Runner) Sweep() (busy []string) {
	if r.Groups == nil {
		return nil
	}
	r.making.Lock()
	defer r.making.Unlock()
	for _, name := range r.Groups.Names() {
		if k, ok := ofGroup(name); ok {
			r.mu.Lock()
			known := r.runs[k] != nil
			r.mu.Unlock()
			if known {
				continue
			}
		}
		g, ok := r.Groups.Find(name)
		if !ok {
			continue
		}
		if left, err := g.Members(); err != nil || len(left) > 0 {
			busy = append(busy, name)
			continue
		}
		_ = g.Remove() // an empty folder does no harm
	}
	return busy
}

// Use is what an attempt that runs uses.
type Use struct {
	Task    sched.TaskID
	Attempt int32
	Limit   int64 // of its memory, in bytes; 0 = none
	cgroup.Usage
	PIDs []int
}

// Uses calls f for each attempt of which is known what it uses, in no order.
func (r *Runner) Uses(f func(Use)) {
	type open struct {
		key
		g   cgroup.Group
		mem int64
	}
	var all []open
	r.mu.Lock()
	for k, u := range r.runs {
		if u.group != nil && u.f != "" {
			all = append(all, open{k, u.group, u.mem})
		}
	}
	r.mu.Unlock()
	for _, o := range all {
		u := Use{Task: o.task, Attempt: o.attempt, Limit: o.mem}
		var err error
		if u.Usage, err = o.g.Usage(); err != nil {
			continue // it has just ended
		}
		if u.PIDs, err = o.g.Members(); err == nil {
			f(u)
		}
	}
}
