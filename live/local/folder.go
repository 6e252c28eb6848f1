// Package local runs attempts as processes of this machine, so that none is lost and none runs twice, whoever is killed when.
//
// Each attempt has a folder and a shim, a small process between the daemon and the job that outlives the daemon. The folder's files are the
// protocol (all written whole, by a temporary name and a rename, and synced as far as a crash of the machine needs it):
//
//	spec     what to run; written by the daemon before the shim gets the folder
//	lock     held by the shim (flock, exclusive) from before it says that it is ready until its end
//	void     written by the daemon under the lock: nothing may run here any more
//	started  written by the shim before the command is executed
//	exit     written by the shim when all of the command's processes are gone
//	stop     written by the daemon before it tells the shim: how to stop
//	checkpoint  written by the shim once a checkpoint is in the store: what is saved
//
// An attempt starts in three steps: (1) the order to start is durable; (2) a shim is spawned behind a gate, takes the lock, and exits if
// `void` is there; (3) that it is ready is durable, then the gate opens. If the daemon dies before (3), the shim sees the gate's end and
// exits, having run nothing. After a restart the daemon takes each attempt's lock: if it is held, the shim lives and is adopted; with `exit`
// the attempt is over; with `started` alone it is lost, and the retry policy decides; with neither, `void` is written under the lock and
// the attempt begins anew in another folder. So a folder's command runs at most once, and never beside another of the same attempt. Where (3) is
// durable and somebody has removed the folder, or all in it, what runs of the attempt is ended, and it is lost.
//
// A shim has one attempt at a time. When that is over, `exit` is written, no process of it is left and its lock is free, the shim waits a
// moment for the daemon to hand it another, which takes the same three steps but for the spawning. One without an attempt ends when the
// daemon does.
package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/policies/sched"
)

// Spec is what an attempt runs. The daemon makes it; the shim reads it.
type Spec struct {
	Task     sched.TaskID `json:"task"`
	Attempt  int32        `json:"attempt"`
	Name     string       `json:"name"` // job/task, for messages
	Command  []string     `json:"command"`
	Env      []string     `json:"env"` // all of it
	Dir      string       `json:"dir"`
	Replicas []Replica    `json:"replicas"`

	// The owner; the shim changes to it where it is root.
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`

	CPUMilli int64           `json:"cpu_milli,omitempty"` // limits of the whole attempt, where the machine can hold them; 0 = none
	CPUCap   bool            `json:"cpu_cap,omitempty"`   // CPUMilli is the most that it gets, not only its share
	Mem      int64           `json:"mem,omitempty"`
	Pids     int64           `json:"pids,omitempty"`
	Deny     []cgroup.Device `json:"deny,omitempty"`    // device files that it must not open
	Cgroups  []string        `json:"cgroups,omitempty"` // folders of its control group; the runner fills them in
	Limit    time.Duration   `json:"limit,omitempty"`   // killed after so long
	Grace    time.Duration   `json:"grace"`             // from SIGTERM to SIGKILL

	Checkpoint *Checkpoint `json:"checkpoint,omitempty"` // nil: its work cannot be saved

	LogBytes int64 `json:"log_bytes"` // of one log file, after which it is rotated
	LogFiles int   `json:"log_files"` // kept besides the one being written
}

// Replica is one process of an attempt.
type Replica struct {
	GPUs sched.Devices `json:"gpus,omitempty"`
	Env  []string      `json:"env,omitempty"` // besides the attempt's
}

// Started is what the shim wrote before it executed the command.
type Started struct {
	At   time.Time `json:"at"`
	Shim int       `json:"shim"` // its process id
	Boot string    `json:"boot"` // of the machine: process ids mean nothing after another
}

// Exit is what came of the command.
type Exit struct {
	At           time.Time `json:"at"`
	Code         int32     `json:"code"`             // of the first replica that failed, else 0; 128+n where signal n ended it
	Signal       int       `json:"signal,omitempty"` // that ended it
	Reason       string    `json:"reason,omitempty"` // why it was ended or could not be run: limit, memory, cancelled, preempted, or an error
	UserCPU      float64   `json:"user_cpu_s"`
	SystemCPU    float64   `json:"system_cpu_s"`
	MaxRSS       int64     `json:"max_rss"`                 // bytes, of the largest process
	MemPeak      int64     `json:"mem_peak,omitempty"`      // bytes, of all processes together, file caches included; 0 if not known
	DroppedLines int64     `json:"dropped_lines,omitempty"` // of the log, on a full disk
	RanFor       float64   `json:"ran_s"`                   // from its shim's beginning with it to the end of all processes
}

// Stop says how to stop.
type Stop struct {
	Reason string        `json:"reason"`
	Grace  time.Duration `json:"grace"`
	Save   bool          `json:"save,omitempty"` // ask for a checkpoint first, and wait for it up to the grace
}

// folder is the folder of one attempt.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

func (f folder) has(name string) bool {
	_, err := os.Lstat(f.path(name))
	return err == nil
}

// lasting is how much of a file must outlive a crash of the machine. (A crash of any process loses nothing of it.)
type lasting int

const (
	fleeting lasting = iota // none: after such a crash nobody reads it
	there                   // that it is there: its text tells the processes of one boot only
	whole                   // all of it; it may stand under its temporary name afterwards
)

// write puts v there whole, and durably as far as how says.
func (f folder) write(name string, v any, how lasting) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := os.OpenFile(f.path(name+".tmp"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(b, '\n'))
	if err == nil && how == whole {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	failpoint.Hit(name + "-renaming")
	if err := os.Rename(tmp.Name(), f.path(name)); err != nil {
		return err
	}
	failpoint.Hit(name + "-renamed")
	if how == there {
		return f.sync()
	}
	return nil
}

func (f folder) sync() error {
	d, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f folder) read(name string, v any) error {
	b, err := os.ReadFile(f.path(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", f.path(name), err)
	}
	return nil
}

// readWhole reads what was written to last whole: its rename may have been lost in a crash, but not its text.
func (f folder) readWhole(name string, v any) error {
	err := f.read(name, v)
	if errors.Is(err, fs.ErrNotExist) && f.read(name+".tmp", v) == nil {
		return nil
	}
	return err
}

// errHeld says that another process has the lock.
var errHeld = errors.New("the lock is held")

// take takes the lock, now or, with wait, when it comes free. Closing the file gives it back.
func (f folder) take(wait bool) (*os.File, error) {
	l, err := os.OpenFile(f.path("lock"), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err = syscall.Flock(int(l.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = l.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errHeld
		}
		return nil, err
	}
	return l, nil
}

// attempts is the folder of all attempts.
type attempts string

// task returns the folder of a task's attempts: two levels, so that no folder gets too large.
func (a attempts) task(t sched.TaskID) string {
	return filepath.Join(string(a), strconv.Itoa(int(t)/1000), strconv.Itoa(int(t)))
}

// next makes the folder in which the attempt is tried next: N, or N.1, N.2 where those before it are void.
func (a attempts) next(t sched.TaskID, n int32) (folder, error) {
	last, k, err := a.last(t, n)
	if err != nil {
		return "", err
	}
	if last != "" {
		k++
	}
	f := folder(filepath.Join(a.task(t), try(n, k)))
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		return "", err
	}
	return f, nil
}

func try(n int32, k int) string {
	if k == 0 {
		return strconv.Itoa(int(n))
	}
	return strconv.Itoa(int(n)) + "." + strconv.Itoa(k)
}

// last returns the newest folder of an attempt and its number among them; "" if there is none.
func (a attempts) last(t sched.TaskID, n int32) (folder, int, error) {
	entries, err := os.ReadDir(a.task(t))
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	best := -1
	for _, e := range entries {
		num, rest, more := strings.Cut(e.Name(), ".")
		if num != strconv.Itoa(int(n)) {
			continue
		}
		k := 0
		if more {
			if k, err = strconv.Atoi(rest); err != nil {
				continue
			}
		}
		best = max(best, k)
	}
	if best < 0 {
		return "", 0, nil
	}
	return folder(filepath.Join(a.task(t), try(n, best))), best, nil
}
