package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// given reports what is missing of what a run needs, and what cannot be of a workload and of faults that a program makes by itself: those that are read
// have been looked at.
func (c *Config) given() error {
	w := c.Workload
	switch {
	case w == nil || w.Table == nil:
		return errors.New("there is no workload to simulate")
	case c.Policy == nil:
		return fmt.Errorf("%s: there is no policy to simulate", w.Source)
	case len(w.Run) != len(w.Tasks):
		return fmt.Errorf("%s: %d run times for %d tasks", w.Source, len(w.Run), len(w.Tasks))
	case c.Estimates != nil && len(c.Estimates) != len(w.Tasks):
		return fmt.Errorf("%s: %d estimates for %d tasks", w.Source, len(c.Estimates), len(w.Tasks))
	case c.Overhead < 0:
		return errors.New("the overhead of a start after a preemption must not be negative")
	}
	if c.Window != nil { // else noTime tells of it, and costs nothing before: an end before its start never comes
		if err := c.negative(); err != nil {
			return err
		}
	}
	if t := firstNegative(c.Estimates); t >= 0 {
		return fmt.Errorf("%s: task %s has a negative estimate, %s", w.Source, w.TaskNames.At(t), c.Estimates[t])
	}
	for _, f := range c.Faults {
		switch {
		case f.Attempt == 0 && (f.Node < 0 || int(f.Node) >= len(c.Nodes)):
			return fmt.Errorf("%s: node %d is to fail, and there are %d, by number from 0", w.Source, f.Node, len(c.Nodes))
		case f.Attempt != 0 && (f.Task < 0 || int(f.Task) >= len(w.Tasks)):
			return fmt.Errorf("%s: task %d is to fail, and there are %d, by number from 0", w.Source, f.Task, len(w.Tasks))
		case f.Attempt < 0 || f.After < 0:
			return fmt.Errorf("%s: task %s is to fail in attempt %d after %s: attempts count from 1, and times must not be negative", w.Source, w.TaskNames.At(int(f.Task)), f.Attempt, f.After)
		}
	}
	return nil
}

// negative reports a run time below 0.
func (c *Config) negative() error {
	if t := firstNegative(c.Workload.Run); t >= 0 {
		return fmt.Errorf("%s: task %s has a negative run time, %s", c.Workload.Source, c.Workload.TaskNames.At(t), c.Workload.Run[t])
	}
	return nil
}

// firstNegative returns the place of the first that is negative, or -1.
func firstNegative(all []time.Duration) int {
	return slices.IndexFunc(all, func(d time.Duration) bool { return d < 0 })
}
