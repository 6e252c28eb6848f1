package daemon

import "testing"

// The numbers of the status are of tasks and add up; what is added to a job is no other job.
func TestTheStatusCountsTasksAndTheyAddUp(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"exec sleep 1000","grace_s":0,"cpu":4},{"id":"b","command":"true","after":["a"]}]}`)
	waitState(t, d, "1/a", "running")
	if err := d.join(`{"to":1,"tasks":[{"id":"c","command":"true","after":["b"]}]}`); err != nil {
		t.Fatal(err)
	}
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	for selector, what := range map[string]Action{"3": Cancel, "4": Hold} {
		if _, err := d.Act(t.Context(), Who{0}, what, mustSelect(t, d, selector)); err != nil {
			t.Fatal(err)
		}
	}
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	s := d.Status()
	if s.Jobs != 4 || s.Tasks != 6 || s.Running != 1 || s.Queued != 1 || s.Blocked != 2 || s.Over != 1 || s.Aside != 1 {
		t.Errorf("%+v", s)
	}
}
