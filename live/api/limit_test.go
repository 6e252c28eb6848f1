package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/daemon"
)

// visitors is a listener to whom connections come of users that a test names.
type visitors struct {
	net.Listener
	come chan net.Conn
}

// visitor is one end of a connection of a user.
type visitor struct {
	net.Conn
	uid uint32
}

func (v *visitors) Accept() (net.Conn, error) {
	c, ok := <-v.come
	if !ok {
		return nil, errors.New("closed")
	}
	return c, nil
}

func TestOneUserCannotTakeAllConnections(t *testing.T) {
	v := &visitors{come: make(chan net.Conn)}
	defer close(v.come)
	l := limit(v, func(c net.Conn) uint32 { return c.(visitor).uid })
	in := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in <- c
		}
	}()
	// visit returns the connection if it was let in, else what was said.
	visit := func(uid uint32) (net.Conn, string) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = here.Close() })
		v.come <- visitor{there, uid}
		said := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(here)
			said <- string(text)
		}()
		select {
		case c := <-in:
			return c, ""
		case text := <-said:
			return nil, text
		}
	}
	const greedy, another = 100_001, 100_002
	var open []net.Conn
	for range maxOfUser {
		c, said := visit(greedy)
		if c == nil {
			t.Fatalf("%d came in, then: %s", len(open), said)
		}
		open = append(open, c)
	}
	if c, said := visit(greedy); c != nil || !strings.HasPrefix(said, "HTTP/1.1 503 ") || !strings.Contains(said, "a user may have 128") {
		t.Errorf("one more of one user: %v %q", c, said)
	}
	if c, said := visit(another); c == nil {
		t.Errorf("another user: %q", said)
	}
	_ = open[0].Close()
	_ = open[0].Close() // it has left once
	if c, said := visit(greedy); c == nil {
		t.Errorf("once one has left: %q", said)
	}
	if c, said := visit(greedy); c != nil {
		t.Errorf("one more after that: %q", said)
	}
	others := maxOfUser + 1
	for uid := uint32(200_000); others < maxOthers; uid++ {
		for range min(maxOfUser, maxOthers-others) {
			if c, said := visit(uid); c == nil {
				t.Fatalf("user %d, after %d: %q", uid, others, said)
			}
			others++
		}
	}
	if c, said := visit(300_000); c != nil {
		t.Errorf("one more than there is room for others: %q", said)
	}
	for _, uid := range []uint32{0, uint32(os.Geteuid())} {
		if c, said := visit(uid); c == nil {
			t.Errorf("user %d: %q", uid, said)
		}
	}
}

func TestAUserWhoSendsSlowlyLeavesOthersTheirTurn(t *testing.T) {
	s := serverOf(nil)
	ask := func(uid uint32) (func(), error) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = smallMax + 1
		return s.room(query{r, daemon.Who{UID: uid}})
	}
	const slow, another = 100_001, 100_002
	done, err := ask(slow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(slow); err == nil {
		t.Error("he has two places")
	}
	leave, err := ask(another)
	if err != nil {
		t.Fatalf("another user: %v", err)
	}
	if _, err := ask(another + 1); err == nil {
		t.Error("a third user has a place, where two are")
	}
	if _, err := ask(0); err != nil {
		t.Errorf("root: %v", err)
	}
	leave()
	done()
	if _, err := ask(slow); err != nil {
		t.Errorf("after he was done: %v", err)
	}
}
