#!/usr/bin/env bash
# Stop what up.sh started in FOLDER, and nothing else: the processes of its pid files, and steps that outlived their slurmd.
set -uo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
folder=$(realpath -m "${1:?usage: down.sh FOLDER}")
export SLURM_CONF=$folder/slurm.conf
[ -e "$folder" ] || exit 0

name_of() { awk '/^Name:/{n=$2} /^State:/{if ($2 != "Z") print n; exit}' "/proc/$1/status" 2>/dev/null; } # no zombies
stop() { # NAME PIDFILE...: TERM, and KILL after 15 s
    local name=$1 file pid pids=()
    shift
    for file in "$@"; do
        pid=$(cat "$file" 2>/dev/null)
        [ -n "$pid" ] && [ "$(name_of "$pid")" = "$name" ] && kill -TERM "$pid" && pids+=("$pid")
    done
    for pid in "${pids[@]}"; do
        for _ in $(seq 150); do [ "$(name_of "$pid")" = "$name" ] || continue 2; sleep 0.1; done
        kill -KILL "$pid"
    done
}

timeout 10 scancel --user=root 2>/dev/null # jobs first, while the daemons can end them
for _ in $(seq 60); do [ -z "$(timeout 5 squeue -h -t running,completing 2>/dev/null)" ] && break; sleep 0.25; done
shopt -s nullglob
stop slurmd "$folder"/run/slurmd-*.pid
for proc in /proc/[0-9]*; do # a step of ours has our log open
    [ "$(name_of "${proc#/proc/}")" = slurmstepd ] && ls -l "$proc/fd" 2>/dev/null | grep -qF "$folder/" || continue
    for child in $(cat "$proc"/task/*/children 2>/dev/null); do kill -KILL -- "-$child" 2>/dev/null || kill -KILL "$child"; done
    kill -KILL "${proc#/proc/}"
done
stop slurmctld "$folder/run/slurmctld.pid"
stop slurmdbd "$folder/run/slurmdbd.pid"
stop mariadbd "$folder/run/mariadbd.pid"
stop munged "$folder/run/munged.pid"
hosts=$(grep -vF '# videoadapt test cluster' /etc/hosts) && printf '%s\n' "$hosts" >/etc/hosts
exit 0
