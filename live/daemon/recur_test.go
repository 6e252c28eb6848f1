package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/store"
)

// Whoever looks at a job of a chain sees that it recurs, and until when: up to the end of the recurrence, which any of the chain can name.
func TestAJobThatRecursIsSaidTo(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"job":"once","tasks":[{"id":"t","command":"true"}]}`)
	d.submit(`{"job":"tick","every":"1s","tasks":[{"id":"t","command":"true"},{"id":"u","command":"true"}]}`)
	d.submit(`{"job":"tock","every":"24h","tasks":[{"id":"t","command":"true"}]}`)
	if err := d.join(`{"to":2,"tasks":[{"id":"v","command":"true"}]}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it does not recur", func() bool { return len(d.All()) > 8 })
	d.close()
	d = serve(t, dir)
	for _, task := range []string{"2/t", "2/u", "2/v", "5/u"} {
		r := d.Tasks(mustSelect(t, d, task))[0].Recurs
		if r == nil || r.Every != "1s" || r.First != 2 || r.Next < 1 {
			t.Errorf("%s: %+v", task, r)
		}
	}
	if v := d.Tasks(mustSelect(t, d, "1"))[0]; v.Recurs != nil {
		t.Errorf("a job that does not recur: %+v", v.Recurs)
	}
	if got := d.Recurring(d.All()); !slices.Equal(got, []int32{2, 3}) {
		t.Errorf("%v recur", got)
	}
	if ended, err := d.EndRecurrence(t.Context(), Who{0}, mustSelect(t, d, "5")); err != nil || !slices.Equal(ended, []int32{2}) {
		t.Errorf("%v are ended, %v", ended, err)
	}
	time.Sleep(10 * time.Millisecond)
	if v := d.Tasks(mustSelect(t, d, "2/t"))[0]; v.Recurs != nil {
		t.Errorf("its recurrence was ended: %+v", v.Recurs)
	}
	if got := d.Recurring(d.All()); !slices.Equal(got, []int32{3}) {
		t.Errorf("%v recur", got)
	}
}

// A machine's clock that was set back while no daemon ran stops nothing for so long: no recurrence, of either kind, and no backoff.
func TestAClockThatWasSetBackStopsNothing(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"tasks":[{"id":"t","command":"test $ATTEMPT = 2","retries":1,"backoff_s":2}]}`)
	waitState(t, d, "1", "backoff")
	d.submit(`{"job":"tock","every":"* * * * *","tasks":[{"id":"t","command":"true"}]}`)
	d.submit(`{"job":"tick","every":"1s","tasks":[{"id":"t","command":"true"}]}`)
	d.close()
	before, copies := d.kernel.Now(), len(d.All())
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	b := d.first
	b.Epoch = b.Epoch.Add(1000 * time.Hour) // as a clock that was set back by so much would have it
	text, err := json.Marshal(b)
	if err = errors.Join(err, s.SetMeta(t.Context(), "birth", text), s.Close()); err != nil {
		t.Fatal(err)
	}
	d = serve(t, dir)
	if now := d.loop.Now(); now < before || now > before.Add(time.Minute) {
		t.Errorf("it goes on at %v, from %v", now.Seconds(), before.Seconds())
	}
	if v := d.wait("1")[0]; v.State != "done" || v.Attempts != 2 {
		t.Errorf("%+v", v)
	}
	eventually(t, "it does not recur", func() bool { return len(d.All()) > copies+1 })
	for task, most := range map[string]float64{"3": 2, "2": 61} {
		if r := d.Tasks(mustSelect(t, d, task))[0].Recurs; r == nil || r.Next-d.loop.Now().Seconds() > most {
			t.Errorf("%s: the next of %+v comes later than in %v s", task, r, most)
		}
	}
	if epoch, err := time.Parse(time.RFC3339, d.Status().Epoch); err != nil || time.Since(epoch) > time.Minute {
		t.Errorf("times are said to be since %s, %v", epoch, err)
	}
}

// However long there is no room, one copy waits, and that others are left out is told once; they come again when it has begun.
func TestCopiesThatCannotBeginDoNotPileUp(t *testing.T) {
	dir, log, flag := t.TempDir(), &warnings{}, filepath.Join(t.TempDir(), "go")
	change := func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	d := serve(t, dir, change)
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.02; done","cpu":4}]}`, flag))
	waitState(t, d, "1", "running")
	d.submit(`{"job":"tick","every":"1s","tasks":[{"id":"t","command":"true"},{"id":"u","command":"true","after":["t"]}]}`)
	told := func(n int) bool { return strings.Count(log.String(), "as long as its last copy has not begun") == n }
	time.Sleep(3500 * time.Millisecond)
	if n := len(d.All()); n != 3 || !told(1) {
		t.Errorf("%d tasks, want 3: copies pile up; the log says\n%s", n, log)
	}
	d.close()
	d = serve(t, dir, change)
	time.Sleep(1500 * time.Millisecond)
	if n := len(d.All()); n != 3 || !told(2) {
		t.Errorf("after a restart %d tasks, want 3; the log says\n%s", n, log)
	}
	put(t, flag, "")
	eventually(t, "it does not recur any more", func() bool { return len(d.All()) > 7 })
	if !told(2) {
		t.Errorf("the log says\n%s", log)
	}
}

// That a job fits the machine no longer is told once, not at every try.
func TestARecurringJobThatFitsNoLongerIsToldOfOnce(t *testing.T) {
	dir, log := t.TempDir(), &warnings{}
	d := serve(t, dir)
	d.submit(`{"job":"tick","every":"1s","tasks":[{"id":"t","command":"true","gpus":4}]}`)
	d.wait("1")
	d.close()
	serve(t, dir, func(c *Config) {
		c.Node.GPUs = 2
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	eventually(t, "it is not told", func() bool { return strings.Contains(log.String(), "could not hold") })
	time.Sleep(2500 * time.Millisecond)
	if n := strings.Count(log.String(), "could not be submitted"); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, log)
	}
}

// A copy is made up of what is known when it is due, and taken in later: who ends the recurrence in between has ended it.
func TestARecurrenceThatWasEndedWhileACopyWasUnderWayStaysEnded(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"job":"tick","every":"24h","tasks":[{"id":"t","command":"true"}]}`)
	spec, uid, _, err := d.specs.job(d.Daemon, 0)
	if err != nil {
		t.Fatal(err)
	}
	copied := *spec
	copied.Recurs = 1
	if ended, err := d.EndRecurrence(t.Context(), Who{0}, mustSelect(t, d, "1")); err != nil || !slices.Equal(ended, []int32{1}) {
		t.Fatalf("%v are ended, %v", ended, err)
	}
	if ids, err := d.Daemon.submit(t.Context(), []Who{{uid}}, &copied); err == nil {
		t.Errorf("the copy was taken in as job %v", ids)
	}
	if err := d.recur(t.Context(), 0); err != nil { // it was found due before
		t.Error(err)
	}
	if all, going := d.All(), d.Recurring(d.All()); len(all) != 1 || len(going) != 0 {
		t.Errorf("%d tasks, and %v recur", len(all), going)
	}
}
