package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/schedlab/schedlab/live/daemon"
)

// minToken is the least length of a token: 128 bits in hexadecimal.
const minToken = 32

// Remote is a TCP address on which whoever has the token is served, over TLS only, as the daemon's own user.
type Remote struct {
	l     net.Listener
	certs *tls.Config
	token [sha256.Size]byte
}

// Listen opens a TCP address for Serve. All three files must be there; the token's must be its owner's only.
func Listen(address, certFile, keyFile, tokenFile string) (Remote, error) {
	var r Remote
	if certFile == "" || keyFile == "" || tokenFile == "" {
		return r, fmt.Errorf("an address is served with a certificate, its key and a token only")
	}
	token, err := ReadToken(tokenFile)
	if err != nil {
		return r, err
	}
	r.token = sha256.Sum256([]byte(token))
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return r, err
	}
	r.certs = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
	r.l, err = net.Listen("tcp", address)
	return r, err
}

// Addr returns the address that is listened on.
func (r *Remote) Addr() net.Addr { return r.l.Addr() }

// Close gives up the address, unless Serve has it.
func (r *Remote) Close() error { return r.l.Close() }

func (r *Remote) listener() net.Listener { return tls.NewListener(limit(r.l, nil), r.certs) }

// ReadToken reads a token from a file that nobody but its owner may read.
func ReadToken(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: others may read it (mode %o): chmod 600 it, and make a new token", path, st.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: a token is at least %d printable characters without blanks (openssl rand -hex 32 makes one)", path, minToken)
	}
	return token, nil
}

// guard lets in who has the token. Digests of equal length are compared, in a time that does not depend on them.
func (r *Remote) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		token, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(sum[:], r.token[:]) != 1 || !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Connection", "close")
			answerJSON(w, http.StatusUnauthorized, map[string]string{"error": "a token is wanted, and this is not it"})
			return
		}
		me := daemon.Who{UID: uint32(os.Geteuid())}
		h.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), whoKey{}, me)))
	})
}
