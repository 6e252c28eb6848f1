package sched

// Ordered returns the orders of this Step so far. In Decide, the first of them are those that facts have caused, of which the policy is not
// told otherwise: a running task that was cancelled, or that has lost one of its nodes, is stopping. Do not modify.
func (r *Round) Ordered() []Command { return r.k.cmds }
