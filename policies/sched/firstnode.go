package sched

// FirstNode returns the first node on which one replica of the demand fits now, or NoNode: the node that FirstFit finds for a gang of one.
func (r *Room) FirstNode(d DemandID) NodeID {
	return r.firstNode(&(*r.demands)[d].Need, r.kinds(d))
}
