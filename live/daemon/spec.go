package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/stage"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
)

const (
	logBytes = 64 << 20 // of one log file
	logFiles = 1        // kept besides
)

// specCache keeps the jobs that were looked at last as they were accepted: the rest is in the state file.
type specCache struct {
	mu   sync.Mutex
	jobs map[sched.JobID]*job.Job
	uids map[sched.JobID]uint32
	last []sched.JobID // oldest first
}

const cachedJobs = 64

// job returns the job of a task, its owner and where the task stands in it. The job must not be changed.
func (c *specCache) job(d *Daemon, t sched.TaskID) (*job.Job, uint32, int, error) {
	d.mu.RLock()
	if t < 0 || int(t) >= len(d.book.tb.Tasks) {
		d.mu.RUnlock()
		return nil, 0, 0, fmt.Errorf("there is no task %d", t)
	}
	id := d.book.tb.Tasks[t].Job
	at := int(t - d.jobs[id].First)
	d.mu.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.jobs[id]; j != nil {
		return j, c.uids[id], at, nil
	}
	row, ok, err := d.store.JobOf(context.Background(), t)
	if err == nil && !ok {
		err = fmt.Errorf("job %d is missing: %w", id+1, store.ErrDamaged)
	}
	j := &job.Job{}
	if err == nil {
		err = json.Unmarshal(row.Spec, j)
	}
	if err == nil && at >= len(j.Tasks) {
		err = fmt.Errorf("job %d has too few tasks: %w", id+1, store.ErrDamaged)
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("the state file: %w", err)
	}
	c.put(id, j, row.UID)
	return j, row.UID, at, nil
}

func (c *specCache) put(id sched.JobID, j *job.Job, uid uint32) {
	if c.jobs == nil {
		c.jobs, c.uids = map[sched.JobID]*job.Job{}, map[sched.JobID]uint32{}
	}
	if len(c.last) >= cachedJobs {
		delete(c.jobs, c.last[0])
		delete(c.uids, c.last[0])
		c.last = c.last[1:]
	}
	c.jobs[id], c.uids[id] = j, uid
	c.last = append(c.last, id)
}

// task returns a task as it was accepted.
func (c *specCache) task(d *Daemon, t sched.TaskID) (*job.Task, error) {
	j, _, at, err := c.job(d, t)
	if err != nil {
		return nil, err
	}
	return &j.Tasks[at], nil
}

// describe says what an attempt runs, once its inputs are there.
func (d *Daemon) describe(ctx context.Context, t sched.TaskID, attempt int32, on []sched.Placement) (*local.Spec, error) {
	j, uid, at, err := d.specs.job(d, t)
	if err != nil {
		return nil, err
	}
	task := &j.Tasks[at]
	demand, err := task.Demand()
	if err != nil {
		return nil, err
	}
	d.mu.RLock()
	name := d.name(t)
	id := d.workflow(t).ID
	d.mu.RUnlock()
	s := &local.Spec{
		Task: t, Attempt: attempt, Name: name, Command: task.Command, Dir: task.Dir, UID: uid, Grace: task.Grace(),
		Limit: job.Seconds(task.LimitS), Mem: demand.Need.Mem * int64(demand.Gang), CPUMilli: demand.CPUTotal(), CPUCap: d.cfg.CPUCap,
		Pids: d.cfg.Pids, LogBytes: logBytes, LogFiles: logFiles,
	}
	s.Checkpoint = d.saving(t, task, on)
	u, err := ownerOf(uid)
	if err != nil {
		return nil, err
	}
	s.GID, s.Groups = u.gid, u.groups
	if s.Dir == "" {
		s.Dir = u.home
	}
	for _, p := range on {
		s.Replicas = append(s.Replicas, replicas(p, &demand.Need)...)
	}
	if err := d.devices(s, int(d.cfg.Node.GPUs)); err != nil {
		return nil, err
	}
	s.Env = append(s.Env, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "HOME="+u.home, "USER="+u.name, "LOGNAME="+u.name,
		"SHELL=/bin/sh", "LANG=C.UTF-8")
	for _, k := range slices.Sorted(maps.Keys(task.Env)) {
		s.Env = append(s.Env, k+"="+task.Env[k])
	}
	s.Env = append(s.Env, "SCHEDLAB_JOB="+strconv.Itoa(int(id)+1), "SCHEDLAB_TASK="+task.ID, "SCHEDLAB_ID="+name,
		"ATTEMPT="+strconv.Itoa(int(attempt)), "RESTART_COUNT="+strconv.Itoa(int(attempt)-1),
		"GRACE="+strconv.FormatFloat(s.Grace.Seconds(), 'f', -1, 64))
	if len(task.Inputs) > 0 {
		dir, err := d.place(ctx, attemptKey{t, attempt}, task, uid)
		if err != nil {
			return nil, err
		}
		s.Env = append(s.Env, stage.DirVariable+"="+dir)
	}
	s.Env = once(s.Env)
	return s, nil
}

// devices shows each replica its GPUs, and no other; and keeps the attempt from the device files of the rest, where the machine can do that.
func (d *Daemon) devices(s *local.Spec, n int) error {
	cards := d.cfg.Cards
	if cards == nil {
		cards = make([]device.GPU, n)
		for i := range cards {
			cards[i].Index, cards[i].Ordinal = int32(i), i
		}
	}
	var all sched.Devices
	for i := range s.Replicas {
		r := &s.Replicas[i]
		all |= r.GPUs
		var mine []int32
		for g := range sched.MaxDevices {
			if r.GPUs&(1<<g) != 0 {
				mine = append(mine, int32(g))
			}
		}
		var err error
		if r.Env, err = device.Visible(cards, mine); err != nil {
			return err
		}
	}
	for i := range cards {
		if all&(1<<i) != 0 {
			continue
		}
		for _, file := range cards[i].Files {
			if numbers, err := cgroup.DeviceOf(file); err == nil { // what is not there nobody can open
				s.Deny = append(s.Deny, numbers)
			}
		}
	}
	return nil
}

// once leaves the last value of each variable: of two, some programs take the one and some the other.
func once(env []string) []string {
	last := make(map[string]int, len(env))
	for i, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		last[name] = i
	}
	out := env[:0]
	for i, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); last[name] == i {
			out = append(out, kv)
		}
	}
	return out
}

// replicas splits a placement into its replicas, each with its own GPUs: whole ones in their order, or the shared one for all.
func replicas(p sched.Placement, need *sched.Need) []local.Replica {
	out := make([]local.Replica, p.Replicas)
	rest := p.GPUs
	for i := range out {
		if need.GPUMilli < sched.Whole {
			out[i].GPUs = p.GPUs
			continue
		}
		for range need.GPUs {
			lowest := rest & -rest
			out[i].GPUs |= lowest
			rest &^= lowest
		}
	}
	return out
}

type account struct {
	name, home string
	gid        uint32
	groups     []uint32
}

// ownerOf looks an account up.
func ownerOf(uid uint32) (account, error) {
	u, err := user.LookupId(strconv.Itoa(int(uid)))
	if err != nil {
		return account{}, fmt.Errorf("the job's owner: %w", err)
	}
	a := account{name: u.Username, home: u.HomeDir}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("the job's owner: group %q", u.Gid)
	}
	a.gid = uint32(gid)
	ids, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("the job's owner: %w", err)
	}
	for _, text := range ids {
		if g, err := strconv.ParseUint(text, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(g))
		}
	}
	return a, nil
}
