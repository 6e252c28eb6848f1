package checkpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What a job says on its notify socket: datagrams of lines.
const (
	SaysDone     = "checkpoint_done" // $CKPT_DIR/new holds a whole checkpoint
	SaysNotNow   = "not_now"         // it cannot save its work now; where it is preempted it may still say SaysDone in its grace
	SaysRestored = "restored"        // it has loaded $CKPT_DIR/last, and works from here on
	SaysProgress = "progress="       // and a text, for people
	AnswerTaken  = "taken"           // the answer to SaysDone: new is empty again and may be written to
)

// The variables of the protocol.
const (
	DirVariable    = "CKPT_DIR"      // the folder with new, to write to, and last, to resume from
	SocketVariable = "NOTIFY_SOCKET" // path of the notify socket; with @ before it a name in the abstract space
)

// CodeSaved is the exit code by which a job says that $CKPT_DIR/new holds a whole checkpoint, and that it wants to be started again.
const CodeSaved = 85

// Job is a job's end of the protocol. The signal that asks for a checkpoint is SIGUSR1; the job catches it itself.
type Job struct {
	dir  string
	conn *net.UnixConn
}

// ErrNoCheckpoints says that the process is no job that can be asked for checkpoints.
var ErrNoCheckpoints = errors.New("no checkpoints are taken of this process: it is not in a task with checkpoint")

// OpenJob returns this process's end. It fails with ErrNoCheckpoints where there is no other.
func OpenJob() (*Job, error) {
	dir, socket := os.Getenv(DirVariable), os.Getenv(SocketVariable)
	if dir == "" || socket == "" {
		return nil, ErrNoCheckpoints
	}
	// An address of its own, in the abstract space, lets the other side answer.
	own := fmt.Sprintf("@schedlab-job-%d-%s", os.Getpid(), rand.Text())
	conn, err := net.DialUnix("unixgram", &net.UnixAddr{Net: "unixgram", Name: own}, &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		return nil, err
	}
	return &Job{dir, conn}, nil
}

// New returns the folder to write a checkpoint to. It is there and empty at the beginning, and again when Done returns.
func (j *Job) New() string { return filepath.Join(j.dir, "new") }

// Last returns the folder to resume from, and false where there is none: then the job begins at its beginning.
func (j *Job) Last() (string, bool) {
	last := filepath.Join(j.dir, "last")
	if _, err := os.Stat(last); errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	return last, true
}

// Say says one thing.
func (j *Job) Say(what string) error {
	if strings.ContainsRune(what, '\n') {
		return fmt.Errorf("checkpoint: %q is more than a line", what)
	}
	_, err := j.conn.Write([]byte(what + "\n"))
	return err
}

// Done says that the folder New holds a whole checkpoint, and returns once it has been taken. It is being stored while the job goes on. It
// may be called without having been asked.
func (j *Job) Done(ctx context.Context) error {
	if err := j.Say(SaysDone); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = j.conn.SetReadDeadline(time.Now()) })
	defer func() {
		if stop() {
			return
		}
		_ = j.conn.SetReadDeadline(time.Time{})
	}()
	b := make([]byte, 64)
	for {
		n, err := j.conn.Read(b)
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return fmt.Errorf("the checkpoint was not taken: %w", err)
		}
		if strings.TrimSpace(string(b[:n])) == AnswerTaken {
			return nil
		}
	}
}

// Close gives the socket back.
func (j *Job) Close() error { return j.conn.Close() }
