package api

import (
	"net"
	"sync"
	"time"
)

// maxConns bounds the connections of one listener: each costs a file descriptor, of which starting a job needs some.
const maxConns = 1024

// limit returns the listener with at most n connections at a time; whoever comes beyond that is told so and sent away at once, so that
// those who are slow cannot keep others waiting in a line that they do not see.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, places: make(chan struct{}, n)}
}

type limited struct {
	net.Listener
	places chan struct{}
}

const tooMany = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 32\r\n\r\n{\"error\":\"too many connections\"}"

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			return &placed{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
		default:
			_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = c.Write([]byte(tooMany)) // it may be gone
			_ = c.Close()
		}
	}
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
