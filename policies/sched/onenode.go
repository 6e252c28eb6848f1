package sched

// FirstNode returns the first node on which one replica of the demand fits now, or NoNode: the node that FirstFit finds for a gang of one.
func (r *Room) FirstNode(d DemandID) NodeID { return r.firstNode(&(*r.demands)[d].Need, r.plan(d)) }

// StartOn is Start with the whole gang on one node, on the devices that first fit takes there. It looks once whether it fits.
func (r *Round) StartOn(t TaskID, n NodeID) bool { return r.k.startOn(t, n) }

func (k *Kernel) startOn(t TaskID, n NodeID) bool {
	if k.Phase(t) != Ready || uint32(n) >= uint32(len(k.room.nodes)) {
		return false
	}
	rw := &k.rows[t]
	dem := k.tb.Classes[k.tb.Tasks[t].Class].Demand
	d := &k.tb.Demands[dem]
	if k.quotas != nil || d.Need.share() {
		k.first = append(k.first[:0], Placement{Node: n, Replicas: d.Gang})
		return k.start(t, k.first, nil)
	}
	if k.room.FitsOn(dem, n, d.Gang) < d.Gang {
		return false
	}
	i := k.slot()
	r := &k.runs[i]
	p := Placement{Node: n, Replicas: d.Gang}
	if plan := k.room.plan(dem); d.Gang == 1 && plan.exact && plan.gpu {
		p.GPUs = k.room.takeWhole(&d.Need, n)
	} else {
		p.GPUs = k.room.devices(&d.Need, n, d.Gang)
		k.room.Take(&d.Need, p)
	}
	r.on = append(r.on[:0], p)
	r.task, r.demand, r.claimant, r.was, rw.at = t, dem, Nobody, NodeID(rw.at), i
	k.ready--
	k.run(t, rw, r)
	return true
}
