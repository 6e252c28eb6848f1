package cgroup

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// kernel is what is used of the file system in which the kernel shows control groups. Tests put a model of it here.
type kernel interface {
	pid() int
	mkdir(path string) error
	rmdir(path string) error
	read(path string) ([]byte, error)
	write(path, text string) error
	exists(path string) bool
	children(path string) []string // folders in it
}

type realKernel struct{}

func (realKernel) pid() int                { return os.Getpid() }
func (realKernel) mkdir(path string) error { return os.Mkdir(path, 0o755) }

// read reads a file of the kernel's by bare system calls: package os would hand each of them, for the microseconds that it is open, to the
// poller, which costs as much again.
func (realKernel) read(path string) ([]byte, error) {
	fd, err := openRaw(path, syscall.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	b := make([]byte, 0, 1024)
	for {
		n, err := syscall.Read(fd, b[len(b):cap(b)])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		}
		b = b[:len(b)+n]
		b = slices.Grow(b, 512)
	}
}

func (realKernel) rmdir(path string) error {
	// Not os.Remove, which would also take a file.
	if err := syscall.Rmdir(path); err != nil {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

func (realKernel) write(path, text string) error {
	fd, err := openRaw(path, syscall.O_WRONLY)
	if err != nil {
		return err
	}
	for {
		_, err = syscall.Write(fd, []byte(text)) // the kernel takes all of it or none
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		err = &os.PathError{Op: "write", Path: path, Err: err}
	}
	return errors.Join(err, syscall.Close(fd))
}

func openRaw(path string, how int) (int, error) {
	for {
		fd, err := syscall.Open(path, how|syscall.O_CLOEXEC, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

func (realKernel) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (realKernel) children(path string) []string {
	entries, _ := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func isBusy(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENOTEMPTY)
}

// listed returns the processes in a folder and those below it, each once, in order.
func listed(k kernel, folder string) ([]int, error) {
	b, err := k.read(path.Join(folder, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 { // 0 is a process of another namespace
			pids = append(pids, pid)
		}
	}
	for _, c := range k.children(folder) {
		below, err := listed(k, path.Join(folder, c))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
			return nil, err
		}
		pids = append(pids, below...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// DeviceOf returns the numbers of a device file.
func DeviceOf(path string) (Device, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Device{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || st.Mode()&os.ModeCharDevice == 0 {
		return Device{}, &os.PathError{Op: "stat", Path: path, Err: errors.New("no character device")}
	}
	r := uint64(sys.Rdev)
	return Device{
		Major: uint32(r>>8&0xfff | r>>32&^0xfff),
		Minor: uint32(r&0xff | r>>12&^0xff),
	}, nil
}
