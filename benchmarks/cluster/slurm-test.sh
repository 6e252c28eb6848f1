#!/bin/bash
# Runs sweep.sbatch under a Slurm of its own (munged, slurmctld, two slurmds on this host, all under a temporary folder), merges the parts
# and compares them with the run of one process: equal bytes but for sim_wall_s. Needs slurm-wlm and munge (Debian's names), else it
# says so and ends well. SCHEDLAB names the program (default: bin/schedlab).
set -euo pipefail
cd "$(dirname "$0")/../.."

for tool in munged slurmctld slurmd sbatch scancel scontrol; do
	if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$tool" >/dev/null; then
		echo "slurm: skipped, $tool is not installed (Debian: apt-get install slurm-wlm munge)"
		exit 0
	fi
done
PATH="$PATH:/usr/sbin:/sbin"
program=$(readlink -f "${SCHEDLAB:-bin/schedlab}")
script=$PWD/benchmarks/cluster/sweep.sbatch
host=$(hostname -s)
user=$(id -un)

dir=$(mktemp -d "${TMPDIR:-/tmp}/schedlab-slurm.XXXXXX")
chmod 711 "$dir"
pids=()
stop() {
	local code=$?
	trap '' INT TERM
	set +e
	if [ "$code" -ne 0 ]; then
		echo "slurm: failed; the last lines of the logs:" >&2
		tail -n 15 "$dir"/*.log >&2
	fi
	if [ "${#pids[@]}" -gt 1 ]; then
		timeout 5 scancel --user="$user" # in our own Slurm: its steps end with their jobs
	fi
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null
	done
	for pid in "${pids[@]}"; do
		for _ in $(seq 50); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$dir"
	exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Three free ports in a row.
free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port=$((20000 + RANDOM % 20000))
until free "$port" && free $((port + 1)) && free $((port + 2)); do
	port=$((20000 + RANDOM % 20000))
done

head -c 1024 /dev/urandom >"$dir/munge.key"
chmod 400 "$dir/munge.key"
cat >"$dir/slurm.conf" <<CONF
ClusterName=schedlab
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
SlurmctldPort=$port
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
NodeName=n0 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 RealMemory=4096
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=2 RealMemory=4096
PartitionName=all Nodes=n0,n1 Default=YES State=UP MaxTime=10
CONF
export SLURM_CONF=$dir/slurm.conf
mkdir "$dir/state" "$dir/spool-n0" "$dir/spool-n1"

munged --foreground --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
	--log-file="$dir/munged.log" --seed-file="$dir/munged.seed" >"$dir/munged.out.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
	[ -S "$dir/munge.socket" ] && break
	sleep 0.05
done
slurmctld -D -i >"$dir/slurmctld.out.log" 2>&1 &
pids+=($!)
for node in n0 n1; do
	slurmd -D -N "$node" >"$dir/slurmd-$node.out.log" 2>&1 &
	pids+=($!)
done
up() { [ "$(timeout 5 sinfo --noheader --format='%T %D' 2>/dev/null)" = 'idle 2' ]; }
for _ in $(seq 200); do
	up && break
	sleep 0.05
done
if ! up; then
	sinfo >&2
	echo "slurm: the two nodes did not come up" >&2
	exit 1
fi

export PATH="$(dirname "$program"):$PATH"
cd "$dir"
args=(--policies fifo,rr,critical-path --seeds 5 --load 0.8,1)
bare() { sed 's/"sim_wall_s":[^,}]*/"sim_wall_s":0/g' "$1"; }
compare() {
	"$program" merge parts/*.json -o json >merged.json
	cmp <(bare merged.json) <(bare whole.json)
}

"$program" compare "${args[@]}" -o json >whole.json
timeout 120 sbatch --quiet --wait --array=0-3 --cpus-per-task=1 --mem=256M "$script" "${args[@]}"
compare
echo "slurm: 4 shards of a job array, merged, are the run of one process"

rm parts/part-3-of-4.json
if "$program" merge parts/*.json >/dev/null 2>refused.txt; then
	echo "slurm: a missing part was not noticed" >&2
	exit 1
fi
SHARDS=4 timeout 120 sbatch --quiet --wait --array=2 --cpus-per-task=1 --mem=256M "$script" "${args[@]}"
compare
echo "slurm: so they are after one was lost and run again"
