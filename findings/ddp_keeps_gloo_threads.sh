#!/usr/bin/env bash
# After DistributedDataParallel, gloo's threads outlive destroy_process_group: a function default keeps the process group.
#
# `torch.distributed.nn.functional` has `group=group.WORLD` as defaults, which Python evaluates at its import. DistributedDataParallel
# imports it (by way of torch._dynamo) when it is first made, that is after init_process_group, so that the module keeps the group for
# the life of the process. destroy_process_group then ends no thread of gloo, and a rank that leaves while they run may abort at its
# end ("terminate called without an active exception"): launchers count a finished job as failed. With that module imported before
# init_process_group the defaults are None, and the threads end.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 numpy==2.2.6 2>"$work/pip" ||
    { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import gc
import sys
from pathlib import Path

import torch
import torch.distributed as dist

if sys.argv[1] == "before":
    import torch.distributed.nn.functional
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
model(torch.ones(2, 3)).sum().backward()
del model
gc.collect()
dist.destroy_process_group()
gc.collect()
names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
if sys.argv[2] == "1":
    print(f"torch {torch.__version__.partition('+')[0]}, imported {sys.argv[1]}: {names.count('pt_gloo_runloop')} threads of gloo")
PY

for imported in later before; do
    for rank in 0 1; do
        RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29671 OMP_NUM_THREADS=1 \
            "$work/venv/bin/python" "$work/look.py" $imported $rank 2>>"$work/said" &
        processes[rank]=$!
    done
    wait "${processes[0]}" && wait "${processes[1]}" || { cat "$work/said"; exit 1; }
done | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
torch 2.11.0, imported later: 2 threads of gloo
torch 2.11.0, imported before: 0 threads of gloo
SEEN
