package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestWhatWasAppendedIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 5 {
		b := &Batch{
			No: int64(i), At: sched.Time(i * 10), Facts: fmt.Appendf(nil, "facts %d", i),
			Jobs:     []Job{{ID: sched.JobID(i), First: sched.TaskID(3 * i), Tasks: 3, UID: 7, Submit: sched.Time(i), Name: "j", Spec: []byte("{}")}},
			Attempts: []Attempt{{Task: sched.TaskID(i), N: 1, Start: 1, End: 2, Code: -1, How: "lost", Placed: "n 0"}},
		}
		if err := s.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetMeta(t.Context(), "epoch", []byte("now")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if s.Next() != 5 {
		t.Errorf("next batch %d, want 5", s.Next())
	}
	n := int64(2)
	for b, err := range s.Batches(t.Context(), 2) {
		if err != nil || b.No != n || b.At != sched.Time(n*10) || string(b.Facts) != fmt.Sprintf("facts %d", n) {
			t.Errorf("batch %d is %+v, %v", n, b, err)
		}
		n++
	}
	if n != 5 {
		t.Errorf("the batches end before %d", n)
	}
	for _, c := range []struct {
		task sched.TaskID
		job  sched.JobID
		ok   bool
	}{{0, 0, true}, {2, 0, true}, {3, 1, true}, {14, 4, true}, {15, 4, false}} {
		if j, ok, err := s.JobOf(t.Context(), c.task); err != nil || ok != c.ok || ok && (j.ID != c.job || j.UID != 7) {
			t.Errorf("the job of task %d is %+v, %v, %v", c.task, j, ok, err)
		}
	}
	count := 0
	for a, err := range s.Attempts(t.Context(), 3) {
		if err != nil || a.N != 1 || a.Code != -1 || a.How != "lost" {
			t.Errorf("%+v, %v", a, err)
		}
		count++
	}
	if v, err := s.Meta(t.Context(), "epoch"); count != 1 || err != nil || string(v) != "now" {
		t.Errorf("%d attempts, epoch %q, %v", count, v, err)
	}
}

func TestABatchThatFailsLeavesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	twice := []Job{{ID: 1, Spec: []byte("{}")}, {ID: 1, Spec: []byte("{}")}}
	if err := s.Append(&Batch{No: 0, Facts: []byte("x"), Jobs: twice}); err == nil {
		t.Fatal("two jobs of one id were taken")
	}
	if err := s.Append(&Batch{No: 1, Facts: []byte("x")}); err == nil {
		t.Error("a gap in the numbers was taken")
	}
	if err := s.Append(&Batch{No: 0, Facts: []byte("y"), Jobs: twice[:1]}); err != nil {
		t.Fatal(err)
	}
	for b := range s.Batches(t.Context(), 0) {
		if string(b.Facts) != "y" {
			t.Errorf("batch %q", b.Facts)
		}
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(t.Context(), dir); !errors.Is(err, ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
}

func TestAFileThatIsNotOursOrNotWholeIsRefusedAndKept(t *testing.T) {
	whole := func(t *testing.T) string {
		dir := t.TempDir()
		s := open(t, dir)
		for i := range 200 {
			if err := s.Append(&Batch{No: int64(i), Facts: bytes.Repeat([]byte("fact "), 200)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	edit := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec := func(sql string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			s := open(t, filepath.Dir(path))
			if _, err := s.write.ExecContext(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*testing.T, string)
		want   string
	}{
		{"empty", edit(func([]byte) []byte { return nil }), "too short"},
		{"text", edit(func([]byte) []byte { return bytes.Repeat([]byte("hello "), 100) }), "no SQLite file"},
		{"truncated", edit(func(b []byte) []byte { return b[:len(b)/2] }), "malformed"},
		{"overwritten", edit(func(b []byte) []byte {
			for i := range 3000 {
				b[8192+i] = 0xff
			}
			return b
		}), ""},
		{"without tables", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			db, err := connect(path, "WAL")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), "CREATE TABLE song (name TEXT)"); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, "no state of schedlab"},
		{"newer", exec("PRAGMA user_version = 99"), "newer schedlab"},
		{"another's", exec("PRAGMA application_id = 1"), "another program"},
		{"without a version", exec("PRAGMA user_version = 0"), "no version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := whole(t)
			path := filepath.Join(dir, File)
			c.damage(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), dir)
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want an error with %q and the path", err, c.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the refused file was changed (%v)", err)
			}
		})
	}
	t.Run("gone with its log left", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, File+"-wal"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(t.Context(), dir); err == nil {
			_ = s.Close()
			t.Error("it was started empty")
		}
	})
}

// Whatever is left of a state file that was begun, the next start makes it whole.
func TestAStateThatWasBegunIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, File+".*")); err != nil || len(names) > 0 {
		t.Errorf("%q is left, %v", names, err)
	}
	for n := 0; n <= len(whole); n += 1000 {
		dir := t.TempDir()
		making := filepath.Join(dir, File+".new")
		if err := errors.Join(os.WriteFile(making, whole[:n], 0o600), os.WriteFile(making+"-journal", whole[:n], 0o600)); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		if err := errors.Join(s.Append(&Batch{No: 0, Facts: []byte("x")}), s.Close()); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if st, err := os.Stat(filepath.Join(dir, File)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", st, err)
		}
	}
}

// A log whose end is torn or damaged, as a disk leaves it that lost power, costs what was appended there and nothing before: the state is one
// that was, without gaps.
func TestATornOrDamagedEndOfTheLogCostsOnlyWhatStoodThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	path := filepath.Join(dir, File)
	const n = 12
	facts := func(i int64) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 100+3000*int(i%3)) }
	var ends []int // of the log after each batch
	for i := range int64(n) {
		b := &Batch{No: i, At: sched.Time(i), Facts: facts(i), Jobs: []Job{{ID: sched.JobID(i), First: sched.TaskID(i), Tasks: 1, Spec: []byte("{}")}}}
		if err := s.Append(b); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(st.Size()))
	}
	db, err := os.ReadFile(path)
	wal, err2 := os.ReadFile(path + "-wal") // as a crash leaves it: nothing is closed
	mark, err3 := os.ReadFile(filepath.Join(dir, markFile))
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 150 {
		at := rng.IntN(len(wal) + 1)
		if i < n { // and right after a batch
			at = ends[i]
		}
		torn := slices.Clone(wal[:at])
		if i%2 == 1 && i >= n && at < len(wal) {
			torn = slices.Clone(wal)
			torn[at] ^= 1 << rng.IntN(8)
		}
		whole := int64(0) // batches that end before the damage
		for _, end := range ends {
			if end <= at {
				whole++
			}
		}
		dir := t.TempDir()
		path := filepath.Join(dir, File)
		if err := errors.Join(os.WriteFile(path, db, 0o600), os.WriteFile(path+"-wal", torn, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatalf("damage at %d of %d: %v", at, len(wal), err)
		}
		got := int64(0)
		for b, err := range s.Batches(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if b.No != got || !bytes.Equal(b.Facts, facts(got)) {
				t.Fatalf("damage at %d: batch %d stands where %d does", at, b.No, got)
			}
			got++
		}
		jobs := int64(0)
		for _, err := range s.Jobs(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			jobs++
		}
		if got != jobs || s.Next() != got || at >= 32 && (got < whole || got > whole+1) {
			t.Fatalf("damage at %d of %d: %d batches, %d jobs, the next is %d; %d ended before", at, len(wal), got, jobs, s.Next(), whole)
		}
		if err := errors.Join(s.Append(&Batch{No: got, Facts: []byte("x")}), s.Close()); err != nil {
			t.Fatal(err)
		}
		// Where it is known how much there was, none of it is missed silently, and it is said what then can be done.
		noted := filepath.Join(dir, markFile)
		if err := errors.Join(os.WriteFile(path, db, 0o600), os.WriteFile(path+"-wal", torn, 0o600), os.WriteFile(noted, mark, 0o600)); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(t.Context(), dir); (err == nil) != (got == n) {
			t.Fatalf("damage at %d, which leaves %d of %d batches: %v", at, got, n, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "12 batches") || !strings.Contains(err.Error(), noted) {
				t.Fatal(err)
			}
			if err := os.Remove(noted); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANoteThatSaysNothingRefusesNothing(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	path, noted := filepath.Join(dir, File), filepath.Join(dir, markFile)
	whole, err := os.ReadFile(noted)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range [][]byte{nil, whole[:len(whole)-1], bytes.Repeat([]byte{0xff}, len(whole)), bytes.Repeat([]byte{0}, len(whole))} {
		if err := os.WriteFile(noted, note, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		if s.Next() != 6 {
			t.Errorf("%x: %d batches", note, s.Next())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Of a state that was moved away to start anew.
	if err := errors.Join(os.WriteFile(noted, whole, 0o600), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if s := open(t, dir); s.Next() != 0 {
		t.Errorf("a new state has %d batches", s.Next())
	}
}

// contents are all rows, as the readers give them.
func contents(ctx context.Context, s *Store) (text string, err error) {
	var b strings.Builder
	for v, err := range s.Batches(ctx, 0) {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%+v\n", v)
	}
	for v, err := range s.Jobs(ctx, 0) {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%+v\n", v)
		of, ok, err := s.JobOf(ctx, v.First)
		if err != nil || !ok {
			return "", fmt.Errorf("job %d of task %d: %v, %w", v.ID, v.First, ok, err)
		}
		fmt.Fprintf(&b, "%+v\n", of)
		for a, err := range s.Attempts(ctx, v.First) {
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%+v\n", a)
		}
	}
	for v, err := range s.LastAttempts(ctx) {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%+v\n", v)
	}
	v, err := s.Meta(ctx, "birth")
	fmt.Fprintf(&b, "%s\n", v)
	return b.String(), err
}

// filled makes a state with some of everything.
func filled(t testing.TB, dir string) (want string) {
	t.Helper()
	s := open(t, dir)
	for i := range int64(6) {
		if err := s.Append(&Batch{
			No: i, At: sched.Time(i * 10), Facts: fmt.Appendf(nil, `{"in":[{"k":"arrived","task":%d,"n":1}]}`, i),
			Jobs:     []Job{{ID: sched.JobID(i), First: sched.TaskID(i), Tasks: 1, UID: 7, Submit: sched.Time(i), Name: "n\xff\x00", Spec: []byte(`{"tasks":[]}`)}},
			Attempts: []Attempt{{Task: sched.TaskID(i), N: 1, Start: 1, End: 2, Code: -1, How: "lost"}, {Task: sched.TaskID(i), N: 2, Start: 3, End: 4, How: "finished"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetMeta(t.Context(), "birth", []byte("now")); err != nil {
		t.Fatal(err)
	}
	want, err := contents(t.Context(), s)
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return want
}

func TestARecordThatWasChangedIsNamed(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{"UPDATE batch SET facts = replace(facts, 'task', 'tosk') WHERE no = 3", "batch 3"},
		{"UPDATE batch SET at_ns = at_ns + 1 WHERE no = 3", "batch 3"},
		{"UPDATE batch SET at_ns = 'x' WHERE no = 3", "batch 3"},
		{"UPDATE batch SET no = 17 WHERE no = 5", "batch 17"},
		{"DELETE FROM batch WHERE no = 2", "batch 2 is missing"},
		{"DELETE FROM job WHERE id = 4", "job id 4 is missing"},
		{"UPDATE job SET uid = 0 WHERE id = 1", "job 2"},
		{"UPDATE job SET tasks = 2 WHERE id = 1", "job 2"},
		{"UPDATE job SET spec = '{}' WHERE id = 1", "job 2"},
		{"UPDATE job SET sum = -1 WHERE id = 1", "job 2"},
		{"UPDATE attempt SET code = 1 WHERE task = 5 AND n = 1", "attempt 1 of task 5"},
		{"UPDATE attempt SET code = 1 WHERE task = 5 AND n = 2", "attempt 2 of task 5"},
		{"UPDATE meta SET value = 'then'", "entry birth"},
	} {
		dir := t.TempDir()
		filled(t, dir)
		s := open(t, dir)
		if _, err := s.write.ExecContext(t.Context(), c.change); err != nil {
			t.Fatalf("%s: %v", c.change, err)
		}
		if got, err := contents(t.Context(), s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q\n%s", c.change, err, c.want, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whichever bit of the file is another, what is read is what was written, or an error.
func TestAChangedBitIsNeverServedAsIfRight(t *testing.T) {
	dir := t.TempDir()
	want := filled(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	mark, err := os.ReadFile(filepath.Join(dir, markFile))
	if err != nil {
		t.Fatal(err)
	}
	var used []int // the rest of the file is zeros that nobody reads
	for i, c := range text {
		if c != 0 {
			used = append(used, i)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 300 {
		at, bit := used[rng.IntN(len(used))], byte(1)<<rng.IntN(8)
		dir := t.TempDir()
		damaged := slices.Clone(text)
		damaged[at] ^= bit
		if err := errors.Join(os.WriteFile(filepath.Join(dir, File), damaged, 0o600), os.WriteFile(filepath.Join(dir, markFile), mark, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), dir)
		if err != nil {
			refused++
			continue
		}
		got, err := contents(t.Context(), s)
		if err != nil {
			refused++
		} else if got != want {
			t.Errorf("bit %d of byte %d: got\n%s\nwant\n%s", bit, at, got, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if refused < 50 {
		t.Errorf("%d of 300 were refused: this proves little", refused)
	}
}

func TestAnOlderStateGetsItsChecksums(t *testing.T) {
	dir := t.TempDir()
	want := filled(t, dir)
	s := open(t, dir)
	for _, table := range []string{"meta", "batch", "job", "attempt"} {
		if _, err := s.write.ExecContext(t.Context(), "ALTER TABLE "+table+" DROP COLUMN sum"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.write.ExecContext(t.Context(), "PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * pageRows {
		if _, err := s.write.ExecContext(t.Context(), "INSERT INTO attempt (task, n, start_ns, end_ns, code, how, placed) VALUES (?, ?, 0, 0, 0, '', '')", 100+i/5, i%5); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	n := 0
	for a, err := range s.LastAttempts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if a.Task >= 100 {
			n++
		}
	}
	if n != (3*pageRows+4)/5 {
		t.Errorf("%d tasks have attempts", n)
	}
	if _, err := s.write.ExecContext(t.Context(), "DELETE FROM attempt WHERE task >= 100"); err != nil {
		t.Fatal(err)
	}
	if got, err := contents(t.Context(), s); err != nil || got != want {
		t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
	}
	if copies, err := filepath.Glob(filepath.Join(dir, File+".v1-*")); err != nil || len(copies) != 1 {
		t.Errorf("copies of the older state: %q, %v", copies, err)
	}
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, b.TempDir())
	facts := bytes.Repeat([]byte(`{"k":"finished","task":12345,"try":1}`), 4)
	for i := range b.N {
		if err := s.Append(&Batch{No: int64(i), At: sched.Time(i), Facts: facts}); err != nil {
			b.Fatal(err)
		}
	}
}
