package api

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// maxConns bounds the connections of one listener: each costs a file descriptor, of which starting a job needs some. No user but root and the
// daemon's has more than maxOfUser of them, and all others together leave these two a quarter.
const (
	maxConns  = 1024
	maxOfUser = maxConns / 8
	maxOthers = maxConns - maxConns/4
)

// limit returns the listener with a bounded number of connections at a time; whoever comes beyond that is told so and sent away at once, so
// that those who are slow cannot keep others waiting in a line that they do not see. user tells whose a connection is, where not all are
// the daemon's user's; nil: they are.
func limit(l net.Listener, user func(net.Conn) uint32) net.Listener {
	return &limited{Listener: l, user: user, of: map[uint32]int{}}
}

type limited struct {
	net.Listener
	user func(net.Conn) uint32

	mu          sync.Mutex
	all, others int
	of          map[uint32]int // others' by user
}

// trusted reports whether a user is root or the daemon's, who may do all.
func trusted(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		leave, why := l.enter(c)
		if why == "" {
			return &placed{Conn: c, leave: sync.OnceFunc(leave)}, nil
		}
		body := fmt.Sprintf(`{"error":%q}`, why)
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body) // it may be gone
		_ = c.Close()
	}
}

// enter takes a place, or says why there is none.
func (l *limited) enter(c net.Conn) (leave func(), why string) {
	stranger := false
	var uid uint32
	if l.user != nil {
		uid = l.user(c)
		stranger = !trusted(uid)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.all >= maxConns, stranger && l.others >= maxOthers:
		return nil, "too many connections"
	case stranger && l.of[uid] >= maxOfUser:
		return nil, fmt.Sprintf("too many connections: a user may have %d", maxOfUser)
	}
	l.all++
	if stranger {
		l.others++
		l.of[uid]++
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all--
		if stranger {
			l.others--
			if l.of[uid]--; l.of[uid] == 0 {
				delete(l.of, uid)
			}
		}
	}, ""
}

// placed is a connection that has a place.
type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
