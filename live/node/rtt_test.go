//go:build linux

package node

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
)

// diag makes one message as the kernel does.
func diag(seq uint32, family byte, src, dst string, rtt uint32) []byte {
	b := make([]byte, 16+72+4+4+104)
	le := binary.NativeEndian
	le.PutUint32(b, uint32(len(b)))
	le.PutUint16(b[4:], 20)
	le.PutUint32(b[8:], seq)
	b[16] = family
	copy(b[16+8:], netip.MustParseAddr(src).AsSlice())
	copy(b[16+24:], netip.MustParseAddr(dst).AsSlice())
	at := b[16+72:]
	le.PutUint16(at, 4) // an empty attribute before
	le.PutUint16(at[2:], 8)
	at = at[4:]
	le.PutUint16(at, 4+104)
	le.PutUint16(at[2:], 2)
	le.PutUint32(at[4+68:], rtt)
	return b
}

func done(seq uint32) []byte {
	b := make([]byte, 20)
	binary.NativeEndian.PutUint32(b, 20)
	binary.NativeEndian.PutUint16(b[4:], syscall.NLMSG_DONE)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}

func TestTheKernelTellsTheRoundTripOfARealConnection(t *testing.T) {
	p := newRTTProbe()
	defer p.close()
	p.all = true
	if _, ok := p.median(); !ok {
		t.Skip("this kernel does not tell of sockets")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var b [1]byte
	for range 10 {
		if _, err := c.Write(b[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(b[:]); err != nil {
			t.Fatal(err)
		}
	}
	d, ok := p.median()
	if !ok || d <= 0 || d > time.Second || len(p.us) < 2 {
		t.Errorf("%v %v of %d connections", d, ok, len(p.us))
	}
}

func TestLatencyIsThatOfConnectionsToOtherMachines(t *testing.T) {
	packet := slices.Concat(
		diag(7, syscall.AF_INET, "10.0.0.1", "10.0.0.2", 300),
		diag(7, syscall.AF_INET, "127.0.0.1", "127.0.0.1", 20),
		diag(7, syscall.AF_INET, "10.0.0.1", "10.0.0.1", 21),
		diag(7, syscall.AF_INET6, "fe80::1", "fe80::2", 500),
		diag(7, syscall.AF_INET6, "::1", "::1", 22),
		diag(7, syscall.AF_INET6, "::ffff:127.0.0.1", "::ffff:127.0.0.1", 23),
		diag(7, syscall.AF_INET, "10.0.0.1", "10.0.0.3", 0), // no estimate yet
		diag(6, syscall.AF_INET, "10.0.0.1", "10.0.0.2", 9), // an answer to something else
	)
	us, end, ok := parseDiag(packet, 7, false, nil)
	if !ok || end || !slices.Equal(us, []uint32{300, 500}) {
		t.Errorf("%v %v %v", us, end, ok)
	}
	if us, end, ok = parseDiag(slices.Concat(packet, done(7)), 7, false, nil); !ok || !end || len(us) != 2 {
		t.Errorf("%v %v %v", us, end, ok)
	}
	bad := diag(7, syscall.AF_INET, "10.0.0.1", "10.0.0.2", 300)
	binary.NativeEndian.PutUint32(bad, 1<<20)
	if _, _, ok = parseDiag(bad, 7, false, nil); ok {
		t.Error("a message longer than its packet is taken")
	}
}

func FuzzDiag(f *testing.F) {
	f.Add(slices.Concat(diag(1, syscall.AF_INET, "10.0.0.1", "10.0.0.2", 300), done(1)))
	f.Add(done(1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if us, _, _ := parseDiag(b, 1, false, nil); len(us) > len(b) {
			t.Error("more answers than bytes")
		}
	})
}
