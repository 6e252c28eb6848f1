package sched

// SuccLists returns the successors of t as they came with its job and those added later: Succs without a call for each. Do not modify.
func (s *State) SuccLists(t TaskID) (given, added []TaskID) {
	if s.extra.succ == nil {
		return s.tb.Succs(t), nil
	}
	return s.tb.Succs(t), s.extra.succ[t]
}

// PredLists returns the predecessors of t; see SuccLists.
func (s *State) PredLists(t TaskID) (given, added []TaskID) {
	if s.extra.pred == nil {
		return s.tb.Preds(t), nil
	}
	return s.tb.Preds(t), s.extra.pred[t]
}

// Linked reports whether any task of the table has a predecessor.
func (s *State) Linked() bool { return s.tb.SuccOff != nil || s.extra.succ != nil }

// LastNode returns the first node of t's last attempt; NoNode if it has had none. t must have arrived.
func (s *State) LastNode(t TaskID) NodeID { return s.nodeOf(&s.rows[t]) }
