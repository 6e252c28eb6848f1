package sched

// Quotas reports whether a quota was ever set.
func (s *State) Quotas() bool { return s.quotas != nil }

// QuotaAllows reports whether the quotas let t start now, room or not.
func (s *State) QuotaAllows(t TaskID) bool { return s.quotas == nil || s.quotas.allows(s.tb, t, nil) }
