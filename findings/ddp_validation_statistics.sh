#!/usr/bin/env bash
# After an update under DistributedDataParallel each process holds running statistics of BatchNorm that are its own.
#
# DDP sends rank 0's buffers to the others at the beginning of a forward pass, not behind an update. Whoever validates between two
# updates through the bare module, which is the usual advice where the ranks' shares of a list are unequal, asks as many slightly
# different models as there are ranks; the checkpoint holds rank 0's, so that a resumed run validates to other numbers.
#
# Needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
wrapped = DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
torch.manual_seed(rank)  # each rank has clips of its own
for _ in range(3):
    wrapped(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def of_all(tensor):
    found = [torch.empty_like(tensor) for _ in range(2)]
    dist.all_gather(found, tensor.contiguous())
    return found


weights = of_all(wrapped.module[0].weight.detach())
means = of_all(wrapped.module[1].running_mean)
wrapped.eval()
with torch.no_grad():
    bare = of_all(wrapped.module(torch.ones(1, 4)))
    through = of_all(wrapped(torch.ones(1, 4)))
if rank == 0:
    print(f"torch {torch.__version__.split('+')[0]}, two processes, after three updates")
    print("weights of both ranks equal:", torch.equal(*weights))
    print("running means equal:", torch.equal(*means))
    print("one input through the bare module, outputs equal:", torch.equal(*bare))
    print("the same through DDP, outputs equal:", torch.equal(*through))
dist.destroy_process_group()
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node 2 "$work/look.py" 2>/dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
torch 2.11.0, two processes, after three updates
weights of both ranks equal: True
running means equal: False
one input through the bare module, outputs equal: False
the same through DDP, outputs equal: True
SEEN
