#!/usr/bin/env bash
# Start a Slurm of our own on this machine, on 127.0.0.1 only, as root, without systemd and cgroups: munge, MariaDB, slurmdbd,
# slurmctld and seven slurmd, each with a host name of its own. All of it in one folder: up.sh FOLDER, and down.sh FOLDER.
set -euo pipefail
umask 022
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
folder=$(realpath -m "${1:?usage: up.sh FOLDER}")
nodes=(node{1..7})
mark='# videoadapt test cluster'
port=18200

fail() { echo "up.sh: $*" >&2; tail -n 5 "$folder"/log/*.log >&2; exit 1; }
wait_for() { # SECONDS WHAT COMMAND...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || fail "$what did not come up"; sleep 0.2; done
}
as_host() { unshare --uts sh -c 'hostname "$0" && exec "$@"' "$@"; }

[ "$(id -u)" = 0 ] || { echo "up.sh: needs root" >&2; exit 1; }
unshare --uts true || { echo "up.sh: needs UTS namespaces (CAP_SYS_ADMIN): a host name for each node" >&2; exit 1; }
[ ! -e "$folder" ] || { echo "up.sh: $folder is there: name a new folder" >&2; exit 1; }
mkdir -p "$folder"/{log,spool,db,dev,run,state}
chmod 700 "$folder/state" "$folder/db"

# MASTER_ADDR is a node's name, so it must resolve; srun and munged also look up this machine's own. In place: /etc/hosts is
# often a bind mount.
for name in slurmctl "${nodes[@]}"; do echo "127.0.0.1 $name $mark" >>/etc/hosts; done
getent ahostsv4 "$(hostname -s)" >/dev/null || echo "127.0.0.1 $(hostname -s) $mark" >>/etc/hosts

# cred_expire is also how long a requeued job waits before it starts again (Slurm's default: 120 s). KillWait: between SIGTERM
# and SIGKILL. FirstJobId: no id of an earlier cluster again. One address and a port for each node: with an address for each,
# steps call srun back on the wrong one.
cat >"$folder/slurm.conf" <<EOF
ClusterName=videoadapt
SlurmctldHost=slurmctl(127.0.0.1)
SlurmctldPort=$port
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket,cred_expire=5
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
MailProg=/bin/true
TaskProlog=$folder/task_prolog.sh
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
EnforcePartLimits=ALL
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=0
PriorityType=priority/basic
FirstJobId=$((($(date +%s) - 1700000000) / 4 % 60000000 + 1))
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=15
TCPTimeout=5
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 1))
AccountingStoragePass=$folder/run/munge.socket
GresTypes=gpu
$(for i in "${!nodes[@]}"; do
    echo "NodeName=${nodes[i]} NodeHostname=${nodes[i]} NodeAddr=127.0.0.1 Port=$((port + 11 + i)) CPUs=16 RealMemory=16000 Gres=gpu:2"
done)
PartitionName=main Nodes=node1,node2 Default=YES PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=node1,node2 PriorityTier=10 PreemptMode=OFF
PartitionName=shaky Nodes=node3,node4 PriorityTier=1
PartitionName=crashing Nodes=node5,node6,node7 PriorityTier=1
EOF
# The srun of a job listens on ports of its node alone. A step that outlives its slurmd tells the port that its srun had when it
# ends, and the requeued job's step has the same number: its srun, had it got that port, would take that for its own task's end.
for i in "${!nodes[@]}"; do
    first=$((port + 100 * (i + 1)))
    { cat "$folder/slurm.conf"; echo "SrunPortRange=$first-$((first + 99))"; } >"$folder/slurm-${nodes[i]}.conf"
done
printf '#!/bin/sh\necho "export SLURM_CONF=%s/slurm-$SLURMD_NODENAME.conf"\n' "$folder" >"$folder/task_prolog.sh"
chmod 755 "$folder/task_prolog.sh"
# slurmd loads a cgroup plugin that nothing uses; v1 does not look at /sys/fs/cgroup, which may be missing or v2.
case $(slurmd -V) in *' 22.'* | *' 23.02'*) cgroup=cgroup/v1 ;; *) cgroup=disabled ;; esac
echo "CgroupPlugin=$cgroup" >"$folder/cgroup.conf"
ln -s /dev/null "$folder/dev/gpu0" # a GPU is any character device here
ln -s /dev/null "$folder/dev/gpu1"
echo "Name=gpu File=$folder/dev/gpu[0-1]" >"$folder/gres.conf"
cat >"$folder/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
DbdHost=slurmctl
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
SlurmUser=root
PidFile=$folder/run/slurmdbd.pid
LogFile=$folder/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommunicationParameters=NoInAddrAny
EOF
chmod 600 "$folder/slurmdbd.conf"
export SLURM_CONF=$folder/slurm.conf

(umask 077; dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none)
munged --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/state/munged.seed" </dev/null
wait_for 10 munged sh -c "munge -S '$folder/run/munge.socket' -n | unmunge -S '$folder/run/munge.socket'"

mariadb-install-db --no-defaults --user=root --datadir="$folder/db" --skip-test-db --innodb-log-file-size=16M \
    --auth-root-authentication-method=socket --auth-root-socket-user=root >"$folder/log/mariadb-install.log" 2>&1 || fail mariadb
setsid mariadbd --no-defaults --user=root --datadir="$folder/db" --socket="$folder/run/mysqld.sock" \
    --pid-file="$folder/run/mariadbd.pid" --skip-networking --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
    --innodb-lock-wait-timeout=900 --max-allowed-packet=16M --log-error="$folder/log/mariadbd.log" >/dev/null 2>&1 </dev/null &
wait_for 60 mariadbd mariadb --no-defaults --socket="$folder/run/mysqld.sock" -e 'select 1'
MYSQL_UNIX_PORT=$folder/run/mysqld.sock as_host slurmctl slurmdbd </dev/null >>"$folder/log/start.log" 2>&1
wait_for 60 slurmdbd sacctmgr -n show cluster
sacctmgr -i add cluster videoadapt >>"$folder/log/start.log" 2>&1
as_host slurmctl slurmctld -i </dev/null >>"$folder/log/start.log" 2>&1
wait_for 30 slurmctld scontrol ping
for node in "${nodes[@]}"; do
    mkdir -p "$folder/spool/$node"
    as_host "$node" slurmd -N "$node" </dev/null >>"$folder/log/start.log" 2>&1
done
wait_for 60 "nodes" sh -c "[ \"\$(sinfo -h -N -p main,shaky,crashing -t idle -o %N | sort -u | wc -l)\" = ${#nodes[@]} ]"
open=$(ss -Hltnp | grep -E '"(slurmctld|slurmd|slurmdbd|mariadbd|munged)"' | awk '{print $4}' | grep -v '^127\.' || true)
[ -z "$open" ] || fail "listens beyond loopback: $open"
