package traces

import (
	"os"
	"testing"
)

func TestTmp(t *testing.T) {
	for _, f := range []string{"gpu/philly/philly.csv.gz", "gpu/openb/openb_pod_list_default.csv.gz", "gpu/openb/openb_pod_list_multigpu20.csv.gz", "gpu/muri/trace3.csv.gz", "gpu/tiresias/60_job.csv", "gpu/muri/testbed/cluster_trace.csv",
		"hpc/swf/HPC2N-2002-2.1-cln.swf.gz", "hpc/swf/KTH-SP2-1996-2.1-cln.swf.gz", "hpc/swf/LLNL-Thunder-2007-1.1-cln.swf.gz", "hpc/swf/NASA-iPSC-1993-3.1-cln.swf.gz", "hpc/swf/alea-hpc2n-3171.swf.gz", "hpc/swf/lublin_256.swf.gz",
		"hpc/batsim/medium_late.json.gz", "hpc/batsim/example_workload_hpc_seed1_jobs250.json", "gpu/chronus/trace_job_Philly_SLO.csv.gz"} {
		w, err := Open("/work/shared/traces/"+f, "")
		if err != nil {
			t.Log(err)
			continue
		}
		w.Info(w.Cluster).Text(os.Stdout)
	}
}
