package doctor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

type fileSystemKind struct {
	name           string
	remote, memory bool
}

// fileSystem returns the kind that a folder is on, and the bytes that this user may still write.
func fileSystem(path string) (kind fileSystemKind, free int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return kind, 0, err
	}
	return kindOf(uint32(st.Type)), int64(st.Bavail) * int64(st.Bsize), nil
}

func kindOf(magic uint32) fileSystemKind {
	switch magic { // linux/magic.h
	case 0xef53:
		return fileSystemKind{name: "ext4"}
	case 0x58465342:
		return fileSystemKind{name: "xfs"}
	case 0x9123683e:
		return fileSystemKind{name: "btrfs"}
	case 0x2fc12fc1:
		return fileSystemKind{name: "zfs"}
	case 0xf2f52010:
		return fileSystemKind{name: "f2fs"}
	case 0x794c7630:
		return fileSystemKind{name: "overlay"}
	case 0x01021994, 0x858458f6:
		return fileSystemKind{name: "tmpfs", memory: true}
	case 0x6969:
		return fileSystemKind{name: "nfs", remote: true}
	case 0xff534d42, 0xfe534d42, 0x517b:
		return fileSystemKind{name: "smb", remote: true}
	case 0x65735546:
		return fileSystemKind{name: "fuse", remote: true} // sshfs, s3fs, lustre's cousins: not to be told apart
	case 0x0bd00bd0:
		return fileSystemKind{name: "lustre", remote: true}
	case 0x47504653:
		return fileSystemKind{name: "gpfs", remote: true}
	case 0x00c36400:
		return fileSystemKind{name: "ceph", remote: true}
	case 0x01021997:
		return fileSystemKind{name: "9p", remote: true}
	}
	return fileSystemKind{name: fmt.Sprintf("file system 0x%x", magic)}
}

// The numbers of the limits that package syscall does not name.
const (
	limitProcesses = 6
	limitLocked    = 8
)

const unlimited = ^uint64(0)

func limitOf(which int) (soft, hard uint64, err error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(which, &l); err != nil {
		return 0, 0, err
	}
	return l.Cur, l.Max, nil
}

// limit judges a limit of this process, which attempts inherit.
func limit(name string, soft, hard, want uint64, unit func(uint64) string, less, flag string) Check {
	c := Check{Name: name, State: OK, Why: unit(soft)}
	if hard != soft {
		c.Why += " (hard limit " + unit(hard) + ")"
	}
	if soft >= want {
		return c
	}
	c.State = Limited
	c.Why += ": " + less
	if hard >= want {
		c.Fix = "ulimit -" + flag + " " + number(want, flag) + " before the daemon starts"
	} else {
		c.Fix = "raise it in /etc/security/limits.conf or the systemd unit"
	}
	return c
}

// number is a limit as ulimit takes it.
func number(v uint64, flag string) string {
	switch {
	case v == unlimited:
		return "unlimited"
	case flag == "l":
		return strconv.FormatUint(v>>10, 10)
	}
	return strconv.FormatUint(v, 10)
}

func count(v uint64) string {
	if v == unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(v, 10)
}

func size(v uint64) string {
	switch {
	case v == unlimited:
		return "unlimited"
	case v >= 10<<30:
		return fmt.Sprintf("%d GiB", v>>30)
	case v >= 10<<20:
		return fmt.Sprintf("%d MiB", v>>20)
	}
	return fmt.Sprintf("%d KiB", v>>10)
}

// system looks at the kernel and the limits.
func system() []Check {
	var out []Check
	out = append(out, sharedMemory("/dev/shm"))
	if soft, hard, err := limitOf(syscall.RLIMIT_NOFILE); err == nil {
		// Go raises the soft limit of this process to the hard one and gives attempts the old one back, so only the hard one binds.
		out = append(out, limit("open files", max(soft, hard), hard, 4096, count, "each attempt takes up to 6", "n"))
	}
	if soft, hard, err := limitOf(limitProcesses); err == nil {
		out = append(out, processes(soft, hard, wholeOf("/proc/sys/kernel/pid_max")))
	}
	if soft, hard, err := limitOf(limitLocked); err == nil {
		out = append(out, limit("page-locked memory", soft, hard, 1<<30, size, "staging falls back to pageable buffers beyond it, and copies to GPUs are slower", "l"))
	}
	return append(out, clock(), pidfd())
}

// processes is the user's limit, or all that the machine can have (0: not known) where that is less.
func processes(soft, hard uint64, pids int64) Check {
	if pids > 0 {
		soft, hard = min(soft, uint64(pids)), min(hard, uint64(pids))
	}
	c := limit("processes", soft, hard, 4096, count, "attempts share it with all else of this user", "u")
	if pids > 0 {
		c.Why += fmt.Sprintf(", of %d on the machine", pids)
	}
	return c
}

func wholeOf(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	v, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return v
}

func sharedMemory(path string) Check {
	c := Check{Name: "shared memory", State: OK}
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return Check{Name: c.Name, State: Missing, Why: path + ": " + err.Error(), Fix: "mount a tmpfs there: data loaders of many processes need it"}
	}
	total := uint64(st.Blocks) * uint64(st.Bsize)
	c.Why = path + ", " + size(total)
	f, err := os.CreateTemp(path, ".schedlab-doctor-*")
	if err != nil {
		c.State, c.Why, c.Fix = Missing, c.Why+": "+plain(err), "chmod 1777 "+path
		return c
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	if total < 1<<30 {
		c.State, c.Why, c.Fix = Limited, c.Why+": data loaders of many processes run out of it", "mount -o remount,size=8G "+path+" (docker run --shm-size=8g)"
	}
	return c
}

func clock() Check {
	c := Check{Name: "clock", State: OK}
	b, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	source := "unknown source"
	if err == nil {
		source = strings.TrimSpace(string(b))
	}
	c.Why = source
	switch source {
	case "hpet", "acpi_pm", "refined-jiffies", "jiffies":
		c.State, c.Why, c.Fix = Limited, source+": slow to read", "boot with tsc=reliable if the processor's counter is"
	}
	var tx syscall.Timex
	state, err := syscall.Adjtimex(&tx) // with no mode set it only reads
	const unsynchronized = 0x40
	switch {
	case err != nil:
		c.Why += ", synchronization unknown (" + err.Error() + ")"
	case state == 5 || tx.Status&unsynchronized != 0:
		c.Why += ", not synchronized: durations are right, dates in logs may be off"
		if c.State == OK {
			c.State, c.Fix = Limited, "run chrony or systemd-timesyncd"
		}
	default:
		c.Why += ", synchronized"
	}
	return c
}

func pidfd() Check {
	c := Check{Name: "process handles", State: OK, Why: "pidfd: a signal cannot hit another process that got the number"}
	const pidfdOpen = 434 // on all architectures
	fd, _, errno := syscall.Syscall(pidfdOpen, uintptr(os.Getpid()), 0, 0)
	if errno != 0 {
		return Check{Name: c.Name, State: Limited, Why: "no pidfd (" + errno.Error() + "): signals go to numbers", Fix: "use Linux 5.3 or newer"}
	}
	_ = syscall.Close(int(fd))
	return c
}
