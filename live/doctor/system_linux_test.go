package doctor

import (
	"os"
	"strings"
	"testing"
)

func TestALimitSaysHowItIsRaised(t *testing.T) {
	for _, c := range []struct {
		soft, hard uint64
		state      State
		why, fix   string
	}{
		{unlimited, unlimited, OK, "unlimited", ""},
		{64 << 10, unlimited, Limited, "64 KiB (hard limit unlimited): less", "ulimit -l 1048576 before"},
		{64 << 10, 64 << 20, Limited, "64 KiB (hard limit 64 MiB): less", "limits.conf"},
	} {
		got := limit("page-locked memory", c.soft, c.hard, 1<<30, size, "less", "l")
		if got.State != c.state || got.Why != c.why || !strings.Contains(got.Fix, c.fix) || (got.Fix == "") != (c.fix == "") {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestAUserHasNoMoreProcessesThanTheMachine(t *testing.T) {
	for _, c := range []struct {
		soft, hard uint64
		pids       int64
		want       string
	}{
		{96364, 96364, 32768, "32768, of 32768 on the machine"},
		{8192, unlimited, 32768, "8192 (hard limit 32768), of 32768 on the machine"},
		{unlimited, unlimited, 0, "unlimited"},
	} {
		if got := processes(c.soft, c.hard, c.pids).Why; got != c.want {
			t.Errorf("%d, %d of %d: %q, want %q", c.soft, c.hard, c.pids, got, c.want)
		}
	}
}

func TestFileSystemsThatLoseTheStateAreKnown(t *testing.T) {
	for magic, want := range map[uint32]fileSystemKind{
		0xef53: {name: "ext4"}, 0x01021994: {name: "tmpfs", memory: true}, 0x6969: {name: "nfs", remote: true}, 7: {name: "file system 0x7"},
	} {
		if got := kindOf(magic); got != want {
			t.Errorf("%x: %+v", magic, got)
		}
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		if kind, free, err := fileSystem("/dev/shm"); err != nil || !kind.memory || free <= 0 {
			t.Errorf("%+v %d %v", kind, free, err)
		}
		if c := stateFolder("/dev/shm/schedlab-none"); c.State != Limited || !strings.Contains(c.Fix, "loses all jobs") {
			t.Errorf("%+v", c)
		}
	}
	if c := sharedMemory("/nonexistent"); c.State != Missing {
		t.Errorf("%+v", c)
	}
}
