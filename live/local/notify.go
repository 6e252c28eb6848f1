package local

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// notifySocket is where a replica says things: a unix datagram socket, as sd_notify has it. The kernel says who sends; what is not of the
// job's owner, or of a process that lives outside the attempt, is not heard.
type notifySocket struct {
	name string // for NOTIFY_SOCKET
	conn *net.UnixConn
	uids []uint32
}

// maxSocketName is the longest path that fits a socket's address.
const maxSocketName = 107

func openNotify(path string, uids []uint32) (*notifySocket, error) {
	name := path
	if len(path) > maxSocketName { // the abstract space has no folders, and no permissions either: the kernel's word on who sends counts
		name = "@schedlab-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var opt error
		err = raw.Control(func(fd uintptr) { opt = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1) })
		if err == nil {
			err = opt
		}
	}
	if err == nil && name == path {
		err = os.Chmod(path, 0o666) // its folder is the owner's alone
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &notifySocket{name, conn, uids}, nil
}

// drained is what the shim tells itself: what was said before has been heard.
const drained = "\x00drained"

// listen hears until drain is called, or close.
func (s *notifySocket) listen(hear func(text, from string)) {
	b, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, oobn, flags, from, err := s.conn.ReadMsgUnix(b, oob)
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				continue
			}
			return
		}
		cred := credentials(oob[:oobn])
		text := string(b[:n])
		if cred == nil || flags&syscall.MSG_TRUNC != 0 || !slices.Contains(s.uids, cred.Uid) {
			continue
		}
		if int(cred.Pid) == os.Getpid() {
			if text == drained {
				return
			}
			continue
		}
		if !mayBeBelow(int(cred.Pid), os.Getpid()) {
			continue
		}
		to := ""
		if from != nil {
			to = from.Name
		}
		hear(text, to)
	}
}

// credentials returns who sent a datagram, as the kernel says.
func credentials(oob []byte) *syscall.Ucred {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if c, err := syscall.ParseUnixCredentials(&messages[i]); err == nil {
			return c
		}
	}
	return nil
}

// mayBeBelow reports false where a process that lives is not below root. Of one that has said its word and is gone nobody knows.
func mayBeBelow(pid, root int) bool {
	for range 1000 {
		if pid == root || pid <= 0 {
			return pid == root || pid == 0 // 0: of another process namespace
		}
		parent, _, ok := parentOf(pid)
		if !ok {
			return true
		}
		pid = parent
		if pid == 0 {
			return false
		}
	}
	return false
}

// answer tells a sender something, if it listens.
func (s *notifySocket) answer(to, text string) {
	if strings.HasPrefix(to, "@") { // a path could be another's by now; a name in the abstract space is the sender's as long as it lives
		_ = s.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // one that does not read keeps nobody
		_, _ = s.conn.WriteToUnix([]byte(text+"\n"), &net.UnixAddr{Net: "unixgram", Name: to})
	}
}

// drain ends listen once it has heard what was said so far.
func (s *notifySocket) drain() {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: s.name})
	if err == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = c.Write([]byte(drained))
		_ = c.Close()
	}
	if err != nil { // the job has taken the socket away
		_ = s.conn.Close()
	}
}

func (s *notifySocket) close() { _ = s.conn.Close() }
