// Package store keeps the state of the live mode in one SQLite file: the facts that the kernel was told, batch by batch, and the jobs that
// arrived with them. They are the one source of truth: the kernel, its orders, the journal and all that is shown follow from them. Attempts
// are a projection, for whoever reads the file and for the history of a task.
//
// The file is written by one process (a lock file beside it says so), in WAL mode with synchronous=FULL: what Append has returned for
// survives a crash of the process and of the machine. A file that is corrupt, newer than this program or not ours is refused, never
// replaced. Each row has a checksum, for SQLite has none; whoever reads one that is damaged gets an error.
package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"modernc.org/sqlite" // also the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/policies/sched"
)

// Version is the newest schema that this program knows.
const Version = 2

// applicationID marks our files in SQLite's header: "slab".
const applicationID = 0x736c6162

// maxConns bounds the connections: the writer's and some readers'. No reader keeps one while it hands on what it has read.
const maxConns = 8

// File is the name of the state file in its folder.
const File = "state.db"

// migrations[v-1] makes version v of version v-1.
var migrations = []string{
	`CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
	CREATE TABLE batch (no INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, facts BLOB NOT NULL);
	CREATE TABLE job (id INTEGER PRIMARY KEY, first_task INTEGER NOT NULL, tasks INTEGER NOT NULL, uid INTEGER NOT NULL,
		submit_ns INTEGER NOT NULL, name TEXT NOT NULL, spec BLOB NOT NULL);
	CREATE INDEX job_by_first_task ON job (first_task);
	CREATE TABLE attempt (task INTEGER NOT NULL, n INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, code INTEGER NOT NULL,
		how TEXT NOT NULL, placed TEXT NOT NULL, PRIMARY KEY (task, n)) WITHOUT ROWID;`,
	// The checksums, which addSums fills in.
	`ALTER TABLE meta ADD COLUMN sum INTEGER NOT NULL DEFAULT -1;
	ALTER TABLE batch ADD COLUMN sum INTEGER NOT NULL DEFAULT -1;
	ALTER TABLE job ADD COLUMN sum INTEGER NOT NULL DEFAULT -1;
	ALTER TABLE attempt ADD COLUMN sum INTEGER NOT NULL DEFAULT -1;`,
}

// Job is a job as it was accepted.
type Job struct {
	ID     sched.JobID
	First  sched.TaskID // its tasks are First .. First+Tasks-1
	Tasks  int32
	UID    uint32 // of its owner, as the kernel said
	Submit sched.Time
	Name   string
	Spec   []byte // JSON
}

// Attempt is one attempt that is over.
type Attempt struct {
	Task       sched.TaskID
	N          int32
	Start, End sched.Time
	Code       int32  // exit code; -1 if there is none
	How        string // finished, failed, stopped, lost, ...
	Placed     string // node and GPUs, for people
}

// Batch is one batch of facts with what came along.
type Batch struct {
	No       int64 // from 0, without gaps
	At       sched.Time
	Facts    []byte
	Jobs     []Job
	Attempts []Attempt
}

// Store is an open state file. Append is for one goroutine; the readers may be called from any.
type Store struct {
	dir   string
	lock  *os.File
	db    *sql.DB
	write *sql.Conn
	next  int64
	jobs  int64 // the next job's id
	mark  *os.File

	begin, commit, rollback, batch, job, attempt *sql.Stmt

	unsure bool // whether the last commit, which failed, is in the file all the same
}

// ErrFull is returned, wrapped, by Append where there is no space left on the disk.
var ErrFull = errors.New("no space left for the state file")

// ErrLocked is returned by Lock and, wrapped, by Open where another process has the file.
var ErrLocked = errors.New("another process has it open")

// Open opens the state file in the folder, makes it where there is none, and migrates an older one, having copied it first.
func Open(ctx context.Context, dir string) (_ *Store, err error) {
	path := filepath.Join(dir, File)
	s := &Store{dir: dir}
	if s.lock, err = Lock(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			_ = s.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	fresh, err := look(path)
	if err != nil {
		return nil, err
	}
	if fresh {
		if err = s.create(ctx, path); err != nil {
			return nil, err
		}
	}
	if s.db, err = connect(path, "WAL"); err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(maxConns)
	if s.write, err = s.db.Conn(ctx); err != nil {
		return nil, err
	}
	if err = os.Chmod(path, 0o600); err != nil { // what jobs have in their environments is nobody's business; -wal and -shm follow
		return nil, err
	}
	if err = s.migrate(ctx, s.write, false); err != nil {
		return nil, err
	}
	if err = s.write.QueryRowContext(ctx, "SELECT (SELECT ifnull(max(no), -1) FROM batch) + 1, (SELECT ifnull(max(id), -1) FROM job) + 1").Scan(&s.next, &s.jobs); err != nil {
		return nil, err
	}
	if s.mark, err = os.OpenFile(filepath.Join(dir, markFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err = s.seen(); err != nil {
		return nil, err
	}
	if err = s.entries(ctx); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.batch, "INSERT INTO batch (no, at_ns, facts, sum) VALUES (?, ?, ?, ?)"},
		{&s.job, "INSERT INTO job (" + jobColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
		{&s.attempt, "INSERT OR REPLACE INTO attempt (" + attemptColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
	} {
		if *p.to, err = s.write.PrepareContext(ctx, p.sql); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func connect(path, journal string) (*sql.DB, error) {
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String()+
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode("+journal+")&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)")
}

// create makes the state file under another name, and gives it its own once it is whole: of one that was begun nobody could tell later
// whether it ever held something.
func (s *Store) create(ctx context.Context, path string) error {
	making := path + ".new"
	for _, left := range []string{making, making + "-journal", filepath.Join(s.dir, markFile)} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(making, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return err
	}
	failpoint.Hit("store-making")
	db, err := connect(making, "DELETE") // a log beside it would have to be renamed too
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err == nil {
		err = errors.Join(s.migrate(ctx, conn, true), conn.Close())
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := syncFile(making); err != nil {
		return err
	}
	failpoint.Hit("store-made")
	if err := os.Rename(making, path); err != nil {
		return err
	}
	failpoint.Hit("store-named")
	return syncFile(s.dir)
}

// Lock takes a lock file, which tells one process from the other and is never removed. It is held until the file is closed.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	// A process that the holder is just forking has the lock too, up to its exec: so a holder that has ended may seem to be there a moment.
	for range 20 {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrLocked
	}
	return nil, err
}

// look says whether there is no state yet. A file that cannot be ours is an error: SQLite would take an empty one for a new one.
func look(path string) (fresh bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		for _, rest := range []string{"-wal", "-journal"} {
			if st, err := os.Stat(path + rest); err == nil && st.Size() > 0 {
				return false, fmt.Errorf("it is gone, but %s%s is there: put the file back, or move that away to start anew", File, rest)
			}
		}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(f, head); err != nil {
		return false, errors.New("it is too short for a state file: restore it, or move it away to start anew")
	}
	if string(head[:16]) != "SQLite format 3\x00" {
		return false, errors.New("it is no SQLite file: restore it, or move it away to start anew")
	}
	return false, nil
}

func (s *Store) migrate(ctx context.Context, conn *sql.Conn, fresh bool) error {
	var version, app int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return err
	}
	if !fresh {
		switch {
		case app == 0 && version == 0:
			return errors.New("it is an SQLite file and no state of schedlab, whose tables it has not: restore the state, or move the file away to start anew")
		case app != applicationID:
			return errors.New("it is another program's SQLite file")
		case version > Version:
			return fmt.Errorf("it has version %d, written by a newer schedlab; this one knows up to %d", version, Version)
		case version < 1:
			return errors.New("it has no version: it was not made whole")
		}
		var verdict string
		if err := conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("it is damaged: %s", verdict)
		}
		if version < Version {
			backup := fmt.Sprintf("%s.v%d-%s", filepath.Join(s.dir, File), version, time.Now().UTC().Format("20060102T150405"))
			if _, err := conn.ExecContext(ctx, "VACUUM INTO ?", backup); err != nil {
				return fmt.Errorf("the copy before its migration: %w", err)
			}
			if err := errors.Join(syncFile(backup), syncFile(s.dir)); err != nil {
				return err
			}
		}
	}
	if version == Version {
		return nil
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for v, m := range migrations[version:] {
		if _, err := conn.ExecContext(ctx, m); err != nil {
			return err
		}
		if version+v+1 == 2 {
			if err := addSums(ctx, conn); err != nil {
				return err
			}
		}
	}
	_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", applicationID, Version))
	return err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Next returns the number of the next batch.
func (s *Store) Next() int64 { return s.next }

// Append makes a batch durable. After an error the batch is not in the file, unless the error came of the last step, where nobody can
// know: then it is there in full or not at all, which the next Append finds out, or Next once the file is opened again. The same batch may
// be appended again.
func (s *Store) Append(b *Batch) (err error) {
	if b.No != s.next {
		return fmt.Errorf("store: batch %d, want %d", b.No, s.next)
	}
	failpoint.Hit("store-beginning")
	defer func() {
		var e *sqlite.Error
		if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL {
			err = fmt.Errorf("store: %w: %w", ErrFull, err)
		} else if err != nil {
			err = fmt.Errorf("store: %w", err)
		}
	}()
	if s.unsure {
		there, err := s.has(b)
		if err != nil {
			return err
		}
		if s.unsure = false; there {
			s.appended(b)
			return nil
		}
	}
	if _, err := s.begin.Exec(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = s.rollback.Exec()
		}
	}()
	if _, err := s.batch.Exec(b.No, int64(b.At), b.Facts, b.sum()); err != nil {
		return err
	}
	for i := range b.Jobs {
		j := &b.Jobs[i]
		if _, err := s.job.Exec(int64(j.ID), int64(j.First), j.Tasks, j.UID, int64(j.Submit), j.Name, j.Spec, j.sum()); err != nil {
			return err
		}
	}
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if _, err := s.attempt.Exec(int64(a.Task), a.N, int64(a.Start), int64(a.End), a.Code, a.How, a.Placed, a.sum()); err != nil {
			return err
		}
	}
	failpoint.Hit("store-committing")
	if _, err := s.commit.Exec(); err != nil {
		s.unsure = true
		return err
	}
	failpoint.Hit("store-committed")
	s.appended(b)
	return nil
}

// has reports whether the batch is in the file. Another one in its place is an error: it can only be another process's.
func (s *Store) has(b *Batch) (bool, error) {
	var facts []byte
	err := s.write.QueryRowContext(context.Background(), "SELECT facts FROM batch WHERE no = ?", b.No).Scan(&facts)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(facts, b.Facts):
		return false, fmt.Errorf("batch %d is there already, and another one", b.No)
	}
	return true, nil
}

// Meta returns the value of a key, nil if it was never set.
func (s *Store) Meta(ctx context.Context, key string) (value []byte, err error) {
	var sum int64
	err = s.db.QueryRowContext(ctx, "SELECT value, sum FROM meta WHERE key = ?", key).Scan(&value, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil && sum != sumOfMeta(key, value) {
		err = ErrDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("its entry %s: %w", key, err)
	}
	return value, nil
}

// entries reads all keys and values: one whose key was changed would be missed by nobody who asks for it.
func (s *Store) entries(ctx context.Context) error {
	for _, err := range query(ctx, s.db, func(rows *sql.Rows, key *string) error {
		var value []byte
		var sum int64
		err := rows.Scan(key, &value, &sum)
		if err == nil && sum != sumOfMeta(*key, value) {
			err = ErrDamaged
		}
		if err != nil {
			return fmt.Errorf("its entry %q: %w", *key, err)
		}
		return nil
	}, "SELECT key, value, sum FROM meta") {
		if err != nil {
			return err
		}
	}
	return nil
}

// SetMeta makes a key and its value durable. It is for the goroutine that appends.
func (s *Store) SetMeta(ctx context.Context, key string, value []byte) error {
	_, err := s.write.ExecContext(ctx, "INSERT INTO meta (key, value, sum) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum",
		key, value, sumOfMeta(key, value))
	return err
}

// Batches yields the batches from a number on, without their jobs and attempts. It ends after the first error.
func (s *Store) Batches(ctx context.Context, from int64) iter.Seq2[Batch, error] {
	return pages(from, "batch", func(b *Batch) int64 { return b.No }, func(from int64) iter.Seq2[Batch, error] {
		return query(ctx, s.db, scanBatch, "SELECT no, at_ns, facts, sum FROM batch WHERE no >= ? ORDER BY no LIMIT ?", from, pageRows)
	})
}

func scanBatch(rows *sql.Rows, b *Batch) error {
	var at, sum int64
	err := rows.Scan(&b.No, &at, &b.Facts, &sum)
	b.At = sched.Time(at)
	if err == nil && sum != b.sum() {
		err = ErrDamaged
	}
	if err != nil {
		return fmt.Errorf("batch %d: %w", b.No, err)
	}
	return nil
}

// Jobs yields the jobs from an id on. It ends after the first error.
func (s *Store) Jobs(ctx context.Context, from sched.JobID) iter.Seq2[Job, error] {
	return pages(int64(from), "the record of job id", func(j *Job) int64 { return int64(j.ID) }, func(from int64) iter.Seq2[Job, error] {
		return query(ctx, s.db, scanJob, "SELECT "+jobColumns+" FROM job WHERE id >= ? ORDER BY id LIMIT ?", from, pageRows)
	})
}

// pageRows is how many rows are read at a time.
const pageRows = 256

// pages yields the rows of one page after the other. Each is read whole before any of it is handed on: whoever takes his time over them
// holds no connection, and no old state of the file, which then could never be tidied.
// They are numbered without gaps: where one is missing, the file is damaged.
func pages[T any](from int64, what string, key func(*T) int64, page func(from int64) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		rows := make([]T, 0, pageRows)
		for {
			rows = rows[:0]
			for v, err := range page(from) {
				if err != nil {
					yield(v, err)
					return
				}
				rows = append(rows, v)
			}
			for i := range rows {
				if n := key(&rows[i]); n != from {
					var none T
					yield(none, fmt.Errorf("%s %d is missing: %w", what, from, ErrDamaged))
					return
				}
				from++
				if !yield(rows[i], nil) {
					return
				}
			}
			if len(rows) < pageRows {
				return
			}
		}
	}
}

// JobOf returns the job that a task belongs to; false if there is none.
func (s *Store) JobOf(ctx context.Context, t sched.TaskID) (Job, bool, error) {
	for j, err := range query(ctx, s.db, scanJob,
		"SELECT "+jobColumns+" FROM job WHERE first_task <= ? ORDER BY first_task DESC LIMIT 1", int64(t)) {
		return j, err == nil && t < j.First+sched.TaskID(j.Tasks), err
	}
	return Job{}, false, nil
}

// The columns in the order in which they are written and read.
const (
	jobColumns     = "id, first_task, tasks, uid, submit_ns, name, spec, sum"
	attemptColumns = "task, n, start_ns, end_ns, code, how, placed, sum"
)

func scanJob(rows *sql.Rows, j *Job) error {
	var id, first, submit, sum int64
	err := rows.Scan(&id, &first, &j.Tasks, &j.UID, &submit, &j.Name, &j.Spec, &sum)
	j.ID, j.First, j.Submit = sched.JobID(id), sched.TaskID(first), sched.Time(submit)
	if err == nil && sum != j.sum() {
		err = ErrDamaged
	}
	if err != nil {
		return fmt.Errorf("job %d: %w", id+1, err)
	}
	return nil
}

func scanAttempt(rows *sql.Rows, a *Attempt) error {
	var task, start, end, sum int64
	err := rows.Scan(&task, &a.N, &start, &end, &a.Code, &a.How, &a.Placed, &sum)
	a.Task, a.Start, a.End = sched.TaskID(task), sched.Time(start), sched.Time(end)
	if err == nil && sum != a.sum() {
		err = ErrDamaged
	}
	if err != nil {
		return fmt.Errorf("attempt %d of task %d: %w", a.N, task, err)
	}
	return nil
}

// LastAttempts yields the last attempt that is over of each task that had one, in the tasks' order.
func (s *Store) LastAttempts(ctx context.Context) iter.Seq2[Attempt, error] {
	return query(ctx, s.db, scanAttempt, "SELECT task, max(n), start_ns, end_ns, code, how, placed, sum FROM attempt GROUP BY task ORDER BY task")
}

// Attempts yields the attempts of a task that are over.
func (s *Store) Attempts(ctx context.Context, t sched.TaskID) iter.Seq2[Attempt, error] {
	return query(ctx, s.db, scanAttempt, "SELECT "+attemptColumns+" FROM attempt WHERE task = ? ORDER BY n", int64(t))
}

func query[T any](ctx context.Context, db *sql.DB, scan func(*sql.Rows, *T) error, text string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		rows, err := db.QueryContext(ctx, text, args...)
		if err != nil {
			yield(zero, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var v T
			if err := scan(rows, &v); err != nil {
				yield(zero, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(zero, err)
		}
	}
}

// Close gives the file back. Nothing that Append returned for depends on it.
func (s *Store) Close() error {
	var err error
	for _, st := range []*sql.Stmt{s.begin, s.commit, s.rollback, s.batch, s.job, s.attempt} {
		if st != nil {
			err = errors.Join(err, st.Close())
		}
	}
	if s.write != nil {
		err = errors.Join(err, s.write.Close())
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	if s.mark != nil {
		err = errors.Join(err, s.mark.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
