package daemon

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/live/retry"
	"github.com/schedlab/schedlab/policies/sched"
)

// Explanation says why a task is where it is, in words.
type Explanation struct {
	ID    string   `json:"id"`
	State string   `json:"state"`
	Why   []string `json:"why"`
}

// shownNames bounds the list of names in an explanation.
const shownNames = 5

// Explain says of each task why it waits, runs or ended.
func (d *Daemon) Explain(tasks []sched.TaskID) []Explanation {
	d.mu.Lock() // who looks for room writes down what he finds
	defer d.mu.Unlock()
	out := make([]Explanation, 0, len(tasks))
	for _, t := range tasks {
		if int(t) < d.kernel.Known() {
			phase := d.kernel.Phase(t)
			e := Explanation{ID: d.name(t), State: phase.String(), Why: d.why(t)}
			if d.kernel.OnHold(t) && phase != sched.Held && !phase.Over() {
				e.Why = append(e.Why, "A user holds it besides: nothing starts it before `schedlab live release "+e.ID+"`.")
			}
			out = append(out, e)
		}
	}
	return out
}

// why is called under mu.
func (d *Daemon) why(t sched.TaskID) []string {
	k := d.kernel
	since := func(at sched.Time) string { return ago(d.now().Sub(at)) }
	switch phase := k.Phase(t); phase {
	case sched.Blocked:
		return d.whyBlocked(t)
	case sched.Held:
		return []string{"A user holds it: `schedlab live release " + d.name(t) + "` lets it go."}
	case sched.Ready, sched.Claiming, sched.Backoff:
		var why []string
		if n := k.Attempt(t); n > 0 {
			text := fmt.Sprintf("It had %d attempt(s) before", n)
			if x, ok := d.lastEnd[t]; ok {
				text += fmt.Sprintf("; the last one ended with %d", x.code)
				if x.reason != "" {
					text += " (" + x.reason + ")"
				}
			} else if p := d.problem[t]; p != "" {
				text += "; the last one did not come to its end: " + p
			}
			why = append(why, text+".")
		}
		if phase == sched.Backoff {
			text := "It waits out the backoff after a failure"
			if at, ok := k.RetryAt(t); ok && d.away[t] > 0 {
				text = fmt.Sprintf("It waits for the storage of checkpoints, which was away %d time(s) in a row, and tries again in %s", d.away[t], ago(max(at.Sub(d.loop.Now()), 0)))
			} else if ok {
				text = fmt.Sprintf("It waits out the backoff after failure %d of the %d that are tried again, for %s more", k.Failures(t), k.Class(t).Retries, ago(max(at.Sub(d.loop.Now()), 0)))
			}
			return append(why, text+".")
		}
		if phase == sched.Claiming {
			return append(why, "Room is held for it: the tasks that make it are stopping.")
		}
		return append(why, d.whyReady(t)...)
	case sched.Running:
		why := []string{fmt.Sprintf("It runs since %s (attempt %d).", since(k.StartedAt(t)), k.Attempt(t))}
		if d.isPlacing(attemptKey{t, k.Attempt(t)}) {
			why = []string{fmt.Sprintf("It is placed since %s (attempt %d), and its inputs are being brought.", since(k.StartedAt(t)), k.Attempt(t))}
		}
		if text := d.notBegun(t); text != "" {
			why = []string{fmt.Sprintf("It is placed since %s (attempt %d), and has not begun: %s.", since(k.StartedAt(t)), k.Attempt(t), text)}
		}
		if text := d.overruns(attemptKey{t, k.Attempt(t)}); text != "" {
			why = append(why, "It uses more GPU memory than it asked for: "+text+".")
		}
		return why
	case sched.Stopping:
		return []string{"It is being stopped."}
	case sched.Failed:
		text := "Its last attempt failed"
		if x, ok := d.lastEnd[t]; ok {
			text = fmt.Sprintf("Its last attempt ended with %d", x.code)
			if x.reason != "" {
				text += " (" + x.reason + ")"
			}
		} else if p := d.problem[t]; p != "" {
			text += " (" + p + ")"
		}
		if strings.Contains(text, retry.Refusal+" of ") {
			return []string{fmt.Sprintf("%s, and so it is final after %d of its %d retries.", text, k.Failures(t), k.Class(t).Retries)}
		}
		return []string{fmt.Sprintf("%s, and no retry is left (%d allowed).", text, k.Class(t).Retries)}
	case sched.Dropped:
		for p := range k.Preds(t) {
			if ph := k.Phase(p); ph.Over() && ph != sched.Done {
				return []string{fmt.Sprintf("It comes after %s, which is %s.", d.name(p), ph)}
			}
		}
		return []string{"It was cancelled."}
	case sched.Rejected:
		return []string{"The policy " + d.policy + " refused it."}
	case sched.Done:
		o := d.outcome(t)
		text := fmt.Sprintf("It is done: it waited %s and held its resources for %s", ago(o.Wait()), ago(o.Held))
		if why := d.lastEnd[t].reason; why != "" {
			text += " (" + why + ")"
		}
		return []string{text + "."}
	}
	return nil
}

// now is the time now, which goes on where no batch comes. It is called under mu.
func (d *Daemon) now() sched.Time { return max(d.loop.Now(), d.kernel.Now()) }

func (d *Daemon) whyBlocked(t sched.TaskID) []string {
	k := d.kernel
	var left []string
	total, open := 0, 0
	for p := range k.Preds(t) {
		total++
		if ph := k.Phase(p); ph != sched.Done {
			if open++; open <= shownNames {
				left = append(left, d.name(p)+" ("+ph.String()+")")
			}
		}
	}
	text := fmt.Sprintf("It waits for %d of its %d predecessors: %s", open, total, strings.Join(left, ", "))
	if open > shownNames {
		text += fmt.Sprintf(" and %d more", open-shownNames)
	}
	return []string{text + "."}
}

// whyReady says why a task that may start does not.
func (d *Daemon) whyReady(t sched.TaskID) []string {
	k := d.kernel
	room, id, dem := k.Room(), k.DemandID(t), k.Demand(t)
	ask := fmt.Sprintf("It asks for %s and is ready since %s.", dem.String(), ago(d.now().Sub(k.ReadySince(t))))
	if !k.QuotaAllows(t) {
		if text := d.whyWorkers(t); text != "" {
			return []string{ask, text}
		}
		return append([]string{ask}, d.whyQuota(t)...)
	}
	if _, ok := room.FirstFit(id, nil); ok {
		return []string{ask, fmt.Sprintf("There is room for it, but the policy %s keeps that for tasks that come first: %d tasks are ready.", d.policy, k.Queued())}
	}
	why := []string{ask}
	n := d.here()
	spec := room.Spec(n)
	switch {
	case !room.Up(n):
		text := fmt.Sprintf("Node %s is drained", spec.Name)
		if broken := d.isBroken(); broken != "" {
			text += ": " + broken
		}
		return append(why, text+". Nothing is started there until `schedlab live undrain`.")
	case !room.Allowed(id, n):
		why = append(why, fmt.Sprintf("Node %s is not of the right kind: %s.", spec.Name, wrongKind(spec, dem)))
	default:
		var free []string
		if spec.GPUs > 0 {
			free = append(free, fmt.Sprintf("%g of %d GPU", float64(room.FreeGPUMilli(n))/sched.Whole, spec.GPUs))
		}
		if spec.CPU != sched.Unlimited {
			free = append(free, fmt.Sprintf("%g of %g cores", float64(room.FreeCPU(n))/1000, float64(spec.CPU)/1000))
		}
		if spec.Mem != sched.Unlimited {
			free = append(free, fmt.Sprintf("%.1f of %.1f GiB", float64(room.FreeMem(n))/gib, float64(spec.Mem)/gib))
		}
		why = append(why, fmt.Sprintf("No room: on node %s are free %s; short of it is %s.%s", spec.Name, strings.Join(free, ", "), room.Lacks(id), d.others()))
	}
	if cause := k.CauseOf(t); cause == sched.Order {
		why = append(why, fmt.Sprintf("Besides, the policy %s has other tasks before it.", d.policy))
	}
	return why
}

// others says what of this machine is not offered since programs use it that are none of our tasks; "" where nothing is. It is called under mu.
func (d *Daemon) others() string {
	p, _ := d.kernel.ProfileOf(d.here())
	var gone sched.Profile
	var text string
	if d.gone(&gone); gone != (sched.Profile{}) {
		p.OtherCPU, p.OtherMem, p.OtherGPUs = p.OtherCPU-gone.OtherCPU, p.OtherMem-gone.OtherMem, p.OtherGPUs&^gone.OtherGPUs
		text = " The machine offers less than it did (`live nodes`)."
	}
	var use []string
	if p.OtherCPU > 0 {
		use = append(use, fmt.Sprintf("%g cores", float64(p.OtherCPU)/1000))
	}
	if p.OtherMem > 0 {
		use = append(use, fmt.Sprintf("%.1f GiB", float64(p.OtherMem)/gib))
	}
	if n := bits.OnesCount64(uint64(p.OtherGPUs)); n > 0 {
		use = append(use, fmt.Sprintf("%d GPU", n))
	}
	if len(use) == 0 {
		return text
	}
	return text + " Other programs use " + strings.Join(use, ", ") + " (`live serve --others ignore` offers that too)."
}

// whyQuota says which quotas a task waits for, and what they leave. It is called under mu.
func (d *Daemon) whyQuota(t sched.TaskID) []string {
	k, dem := d.kernel, d.kernel.Demand(t)
	class := k.Class(t)
	tenant, queue := d.whose(t)
	var why []string
	say := func(what string, q sched.Quota, mine func(*sched.Class) bool) {
		var cpu, gpu, tasks int64
		for u := range k.RunningTasks() {
			if mine(k.Class(u)) {
				other := k.Demand(u)
				cpu, gpu, tasks = cpu+other.CPUTotal(), gpu+other.GPUTotal(), tasks+1
			}
		}
		if ask := dem.CPUTotal(); q.CPU >= 0 && cpu+ask > q.CPU {
			why = append(why, fmt.Sprintf("The quota of %s is %g cores: its %d running tasks hold %g, and this one would be %g more.",
				what, float64(q.CPU)/1000, tasks, float64(cpu)/1000, float64(ask)/1000))
		}
		if ask := dem.GPUTotal(); q.GPUMilli >= 0 && gpu+ask > q.GPUMilli {
			why = append(why, fmt.Sprintf("The quota of %s is %g GPUs: its %d running tasks hold %g, and this one would be %g more.",
				what, float64(q.GPUMilli)/sched.Whole, tasks, float64(gpu)/sched.Whole, float64(ask)/sched.Whole))
		}
		if q.Tasks > 0 && tasks >= q.Tasks {
			why = append(why, fmt.Sprintf("The quota of %s is %d tasks at a time, and so many run.", what, q.Tasks))
		}
	}
	if q, ok := d.quotas[[2]string{tenant, ""}]; ok && tenant != "" {
		say(fmt.Sprintf("tenant %q", tenant), q, func(c *sched.Class) bool { return c.Tenant == class.Tenant })
	}
	if q, ok := d.quotas[[2]string{"", queue}]; ok && queue != "" {
		say(fmt.Sprintf("queue %q", queue), q, func(c *sched.Class) bool { return c.Queue == class.Queue })
	}
	if len(why) == 0 { // it has just come free, and nothing was decided since
		why = []string{fmt.Sprintf("A quota of tenant %q or queue %q forbade it.", tenant, queue)}
	}
	return why
}

// wrongKind says why a node is not of the right kind for a demand.
func wrongKind(n *sched.NodeSpec, d *sched.Demand) string {
	for _, l := range d.Labels {
		if !slices.Contains(n.Labels, l) {
			return fmt.Sprintf("it does not have the label %s=%s", l.Key, l.Value)
		}
	}
	for _, not := range d.NotLabels {
		if i := slices.IndexFunc(n.Labels, not.Forbids); i >= 0 {
			return fmt.Sprintf("it has the label %s=%s, and the task asks for %s", n.Labels[i].Key, n.Labels[i].Value, not)
		}
	}
	for _, t := range n.Taints {
		if t.Effect != "PreferNoSchedule" && !slices.ContainsFunc(d.Tolerations, func(tol sched.Toleration) bool { return tol.Tolerates(t) }) {
			return fmt.Sprintf("it has the taint %s, which the task does not tolerate", taintText(t))
		}
	}
	return "its GPU type or the memory of a GPU is another"
}

func taintText(t sched.Taint) string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}

// ago prints a duration for people.
func ago(t time.Duration) string {
	switch {
	case t < time.Second:
		return t.Round(time.Millisecond).String()
	case t < time.Minute:
		return t.Round(100 * time.Millisecond).String()
	}
	return t.Round(time.Second).String()
}
