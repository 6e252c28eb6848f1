package node

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// rttProbe asks the kernel, by netlink's sock_diag, for its round-trip estimates of the TCP connections to other machines. That makes no traffic
// and needs no privilege. The zero value knows nothing.
type rttProbe struct {
	fd  int
	on  bool
	all bool // count connections within the machine too, for a test
	buf []byte
	us  []uint32
}

// mostSockets bounds what one question costs on a machine with very many connections; the median of these stands for all.
const mostSockets = 4096

func newRTTProbe() rttProbe {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 4 /* NETLINK_SOCK_DIAG */)
	if err != nil {
		return rttProbe{}
	}
	timeout := syscall.NsecToTimeval(int64(100 * time.Millisecond))
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout); err != nil {
		_ = syscall.Close(fd)
		return rttProbe{}
	}
	return rttProbe{fd: fd, on: true, buf: make([]byte, 64<<10)}
}

func (p *rttProbe) close() error {
	if !p.on {
		return nil
	}
	p.on = false
	return syscall.Close(p.fd)
}

// median returns the median round trip, and false where the kernel does not tell.
func (p *rttProbe) median() (time.Duration, bool) {
	if !p.on {
		return 0, false
	}
	p.us = p.us[:0]
	for i, family := range []byte{syscall.AF_INET, syscall.AF_INET6} {
		ok := p.dump(family, uint32(i+1))
		if full := len(p.us) >= mostSockets; !ok || full {
			// What is left of the answer would be taken for the next one.
			us, all := p.us, p.all
			_ = p.close()
			*p = newRTTProbe()
			p.us, p.all = us, all
			if !full {
				return 0, false
			}
			break
		}
	}
	if len(p.us) == 0 {
		return 0, true
	}
	slices.Sort(p.us)
	return time.Duration(p.us[len(p.us)/2]) * time.Microsecond, true
}

// dump asks for the established connections of a family and gathers the estimates.
func (p *rttProbe) dump(family byte, seq uint32) bool {
	const head, request = 16, 56
	msg := p.buf[:head+request]
	clear(msg)
	le := binary.NativeEndian
	le.PutUint32(msg, head+request)
	le.PutUint16(msg[4:], 20) // SOCK_DIAG_BY_FAMILY
	le.PutUint16(msg[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	le.PutUint32(msg[8:], seq)
	msg[head] = family
	msg[head+1] = syscall.IPPROTO_TCP
	msg[head+2] = 1 << (2 - 1)       // INET_DIAG_INFO
	le.PutUint32(msg[head+4:], 1<<1) // TCP_ESTABLISHED
	if err := syscall.Sendto(p.fd, msg, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return false
	}
	for {
		n, _, err := syscall.Recvfrom(p.fd, p.buf, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return false
		}
		us, end, ok := parseDiag(p.buf[:n], seq, p.all, p.us)
		p.us = us
		if !ok || end || len(us) >= mostSockets {
			return ok
		}
	}
}

// parseDiag reads one packet of the answer and appends the round trips, in us, of connections to other machines, or of all. end is true at
// the last one.
func parseDiag(b []byte, seq uint32, all bool, us []uint32) (_ []uint32, end, ok bool) {
	le := binary.NativeEndian
	for len(b) >= 16 {
		size := int(le.Uint32(b))
		if size < 16 || size > len(b) {
			return us, false, false
		}
		kind, answers := le.Uint16(b[4:]), le.Uint32(b[8:])
		body := b[16:size]
		b = b[min((size+3)&^3, len(b)):]
		if answers != seq {
			continue
		}
		switch kind {
		case syscall.NLMSG_DONE:
			return us, true, true
		case syscall.NLMSG_ERROR:
			return us, false, false
		}
		const fixed = 72 // struct inet_diag_msg
		if len(body) < fixed || len(us) >= mostSockets {
			continue
		}
		if !all && isLocal(body[0], body[8:24], body[24:40]) {
			continue
		}
		for at := body[fixed:]; len(at) >= 4; {
			l := int(le.Uint16(at))
			if l < 4 || l > len(at) {
				break
			}
			const rtt = 4 + 68 // tcpi_rtt in struct tcp_info
			if le.Uint16(at[2:]) == 2 && l >= rtt+4 {
				if v := le.Uint32(at[rtt:]); v > 0 {
					us = append(us, v)
				}
			}
			at = at[min((l+3)&^3, len(at)):]
		}
	}
	return us, false, true
}

// isLocal reports whether both ends of a connection are on this machine.
func isLocal(family byte, src, dst []byte) bool {
	if family == syscall.AF_INET {
		src, dst = src[:4], dst[:4]
	}
	s, _ := netip.AddrFromSlice(src)
	d, _ := netip.AddrFromSlice(dst)
	return d.Unmap().IsLoopback() || s == d
}
