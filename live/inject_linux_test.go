package live_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/live/api"
)

// Storage faults are put between the program and the kernel: the daemon runs under a seccomp filter that asks this process about every
// call that writes or syncs, and this process lets it through or answers with an error in the kernel's place.

// faultyEnv makes the test program one that puts the filter on itself and becomes the daemon.
const faultyEnv = "SCHEDLAB_TEST_UNDER_FILTER"

func TestMain(m *testing.M) {
	if os.Getenv(faultyEnv) != "" {
		fmt.Fprintln(os.Stderr, underFilter())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Calls that are asked about.
var asked = []uint32{unix.SYS_PWRITE64, unix.SYS_WRITE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE}

// underFilter puts the filter on, hands its other end through file 3, and becomes the program in os.Args.
func underFilter() error {
	runtime.LockOSThread()
	_ = os.Unsetenv(faultyEnv)
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // seccomp_data.nr
	for i, nr := range asked {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: uint8(len(asked) - i)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	// From here on no write, not even to say what is wrong, until the other end is there.
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(fd)), nil, 0); err != nil {
		return err
	}
	_ = unix.Close(int(fd))
	_ = unix.Close(3)
	return unix.Exec(os.Args[1], os.Args[1:], os.Environ())
}

// fault is a call that fails.
type fault struct {
	call uint32
	file string // how the file's path ends
	err  unix.Errno
}

// filtered is a program under the filter.
type filtered struct {
	mu   sync.Mutex
	now  []fault
	hits atomic.Int64
}

func (f *filtered) set(faults ...fault) func() {
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.now = faults
	}
}

// answer answers one call after the other, until the last process under the filter is gone.
func (f *filtered) answer(fd int) {
	defer unix.Close(fd)
	for {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		} else if err != nil {
			return
		}
		var q [80]byte // struct seccomp_notif: id, pid, flags, then seccomp_data: nr, arch, ip, args
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); errno != 0 {
			if errno == unix.EINTR || errno == unix.ENOENT && !over(fd) {
				continue
			}
			return
		}
		pid, nr, file := binary.NativeEndian.Uint32(q[8:]), binary.NativeEndian.Uint32(q[16:]), binary.NativeEndian.Uint64(q[32:])
		var a [24]byte // struct seccomp_notif_resp: id, val, error, flags
		copy(a[:8], q[:8])
		if err := f.verdict(int(pid), nr, int32(file)); err != 0 {
			f.hits.Add(1)
			binary.NativeEndian.PutUint32(a[16:], uint32(-int32(err)))
		} else {
			binary.NativeEndian.PutUint32(a[20:], unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a))) // it may just have died
	}
}

// over reports whether no process is under the filter any more.
func over(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&unix.POLLHUP != 0
}

func (f *filtered) verdict(pid int, nr uint32, fd int32) unix.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.now) == 0 {
		return 0
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		return 0
	}
	for _, x := range f.now {
		if x.call == nr && strings.HasSuffix(path, x.file) {
			return x.err
		}
	}
	return 0
}

// filter has the yard's next daemons run under the filter. The faults are those of the latest one.
func (y *yard) filter() *filtered {
	y.t.Helper()
	f := &filtered{}
	exe, err := os.Executable()
	if err != nil {
		y.t.Fatal(err)
	}
	y.wrap = func(cmd *exec.Cmd) func() {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			y.t.Fatal(err)
		}
		theirs := os.NewFile(uintptr(pair[1]), "filter")
		cmd.Path, cmd.Args = exe, append([]string{exe}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
		cmd.Env, cmd.ExtraFiles = append(cmd.Env, faultyEnv+"=1"), []*os.File{theirs}
		return func() {
			_ = theirs.Close()
			defer unix.Close(pair[0])
			oob := make([]byte, 64)
			_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, 0)
			if err != nil || n == 0 {
				y.t.Skipf("this machine has no such filters: %v", err)
			}
			messages, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil {
				y.t.Fatal(err)
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil {
				y.t.Fatal(err)
			}
			unix.CloseOnExec(fds[0])
			go f.answer(fds[0])
		}
	}
	return f
}

func TestWhateverTheStateFilesDiskAnswersNothingIsAcceptedAndNothingIsLost(t *testing.T) {
	const wal = "/state.db-wal"
	for _, c := range []struct {
		name   string
		status int
		faults []fault
	}{
		{"errors when written", http.StatusServiceUnavailable, []fault{{unix.SYS_PWRITE64, wal, unix.EIO}}},
		{"errors when synced", http.StatusServiceUnavailable, []fault{{unix.SYS_FSYNC, wal, unix.EIO}, {unix.SYS_FDATASYNC, wal, unix.EIO}}},
		{"no space when synced", http.StatusServiceUnavailable, []fault{{unix.SYS_FSYNC, wal, unix.ENOSPC}, {unix.SYS_FDATASYNC, wal, unix.ENOSPC}}},
		{"full", http.StatusInsufficientStorage, []fault{{unix.SYS_PWRITE64, wal, unix.ENOSPC}}},
		{"over its quota", http.StatusServiceUnavailable, []fault{{unix.SYS_PWRITE64, wal, unix.EDQUOT}}},
		{"read-only", http.StatusServiceUnavailable, []fault{{unix.SYS_PWRITE64, wal, unix.EROFS}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := newYard(t)
			f := y.filter()
			faulty(t, y, c.status, f.set(c.faults...), f.set())
			if f.hits.Load() == 0 {
				t.Error("no call failed")
			}
		})
	}
}

// What came of a command is waited for where it cannot be written, and then told.
func TestAnEndThatCannotBeWrittenIsWrittenLater(t *testing.T) {
	for _, x := range []fault{
		{unix.SYS_WRITE, "/exit.tmp", unix.EIO}, {unix.SYS_WRITE, "/exit.tmp", unix.ENOSPC}, {unix.SYS_FSYNC, "/exit.tmp", unix.EIO},
	} {
		y := newYard(t)
		f := y.filter()
		f.set(x)()
		y.start()
		if _, err := y.client.Submit(t.Context(), []byte(`{"tasks":[{"id":"a","command":"exit 3","dir":"/"}]}`)); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); f.hits.Load() < 3; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing was tried")
			}
		}
		if v, _, err := y.client.Tasks(t.Context(), "1", "", 0); err != nil || v[0].State != "running" {
			t.Errorf("%+v, %v: want it running while its end is not written", v, err)
		}
		f.set()()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if v, err := y.client.Wait(ctx, "1"); err != nil || v[0].State != "failed" || v[0].Code == nil || *v[0].Code != 3 || v[0].Attempts != 1 {
			t.Errorf("%+v, %v: want its exit code, 3", v, err)
		}
	}
}

func TestADaemonWhoseStateIsReadOnlyDoesNotStartAndSaysWhy(t *testing.T) {
	y := newYard(t)
	home := filepath.Join(y.home, "disk")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", home, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("no file system of its own can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(home, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	y.home, y.client = home, api.NewClient(filepath.Join(home, "run"))
	y.start()
	if _, err := y.client.Submit(t.Context(), []byte(`{"tasks":[{"id":"a","command":"true","dir":"/"}]}`)); err != nil {
		t.Fatal(err)
	}
	y.settle()
	_ = y.cmd.Process.Signal(syscall.SIGTERM)
	<-y.gone
	y.cmd = nil
	if err := unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(y.program, "live", "serve", "--node", "(4cpu,8gb)")
	cmd.Env = append(os.Environ(), "SCHEDLAB_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "read-only") || !strings.Contains(string(out), home) {
		t.Errorf("%v: %s: want it to end and say that %s is read-only", err, out, home)
	}
	if err := unix.Mount("", home, "", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	y.start()
	if n := y.jobs(); n != 1 {
		t.Errorf("%d jobs are there when it can be written again", n)
	}
}
