package api

import (
	"bufio"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// A daemon that is killed while it is asked has taken a request in, or not: who asked is told so, and nobody who only looked.
func TestADaemonThatGoesAwayBeforeItAnswersIsSaidToHave(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"} {
		dir := t.TempDir()
		l, err := net.Listen("unix", filepath.Join(dir, SocketFile))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(c))
				_, _ = c.Write([]byte(answer))
				_ = c.Close()
			}
		}()
		const gone, doubt = "the daemon went away before it had answered", ": it is not known whether this was taken in"
		if _, err := NewClient(dir).Submit(t.Context(), []byte("{}")); err == nil || !strings.HasSuffix(err.Error(), gone+doubt) {
			t.Errorf("a submission after %q: %v", answer, err)
		}
		if _, err := NewClient(dir).Status(t.Context()); err == nil || !strings.HasSuffix(err.Error(), gone) {
			t.Errorf("a look after %q: %v", answer, err)
		}
		_ = l.Close()
	}
}
