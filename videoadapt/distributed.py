"""Ranks, devices and the collectives we use. Everything is a no-op in a process that runs alone."""

import atexit
import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from videoadapt.errors import ConfigError, VideoAdaptError


def is_active() -> bool:
    """True inside a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number among all, 0 when alone."""
    return dist.get_rank() if is_active() else 0


def world_size() -> int:
    """Number of processes that share the work, 1 when alone."""
    return dist.get_world_size() if is_active() else 1


def is_main() -> bool:
    """True in the one process that prints and writes files."""
    return rank() == 0


def device() -> torch.device:
    """The device of this process: its own GPU where CUDA is available, else the CPU.

    Raises ConfigError when this host has more processes than GPUs. Where one GPU is visible, it is taken: Slurm can hand
    each process its own.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    own, visible = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if visible == 1:
        own = 0
    if own >= visible:
        raise ConfigError(f"process {own} of this host has no GPU: {visible} are visible; start one process for each")
    return torch.device("cuda", own)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that torchrun (or the launcher) announces in the environment, and leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    where = device()
    backend = "gloo"
    if where.type == "cuda":
        torch.cuda.set_device(where)
        backend = "cpu:gloo,cuda:nccl"  # objects and flags travel over gloo, gradients over nccl
    # its functions take the group of the moment of their import for their default, and keep it: imported later, by
    # DistributedDataParallel, they hold gloo's threads, with which a process may abort at its end
    from torch.distributed.nn import functional  # noqa: F401

    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    try:
        yield
    finally:
        leave_group()


def leave_group() -> None:
    """Leave the process group. It is gone at the program's end, when nothing else holds it.

    Python drops a group so that its threads can end. A DistributedDataParallel that is the last to hold one, from a traceback
    say, waits for them where they may wait for it (torch 2.11): the process would never end.
    """
    atexit.register(_drop, [dist.group.WORLD])  # first: destroying may fail
    dist.destroy_process_group()


def _drop(groups: list[Any]) -> None:
    gc.collect()  # what else holds them
    groups.clear()


def all_gather_objects(value: Any) -> list[Any]:
    """Return `value` of every rank, in rank order."""
    if not is_active():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def on_main(action: Callable[[], object]) -> None:
    """Run `action` on rank 0 while the others wait; what goes wrong there is raised on every rank, so that none hangs."""
    raise_on_all(_problem_of(action) if is_main() else None)


def first_of_each_host_first(action: Callable[[], object]) -> None:
    """Run `action` in one process of each host, then in the others, which find what it left; what fails is raised on all."""
    for now in (True, False):
        is_turn = (int(os.environ.get("LOCAL_RANK", 0)) == 0) == now
        raise_on_all(_problem_of(action) if is_turn else None)


def _problem_of(action: Callable[[], object]) -> Exception | None:
    """What goes wrong in `action` that a user can change, so that all ranks may hear of it."""
    try:
        action()
    except (VideoAdaptError, OSError) as error:
        return error
    return None


def raise_on_all(problem: Exception | None) -> None:
    """Raise, on every rank, the problem of the first rank that has one, so that none waits for the others."""
    for found in all_gather_objects(problem):
        if found is not None:
            raise found


def all_reduce(value: Tensor, op: str = "sum") -> Tensor:
    """Return the element-wise sum, minimum or maximum of `value` over all ranks (not differentiable)."""
    if is_active():
        value = value.clone()
        dist.all_reduce(value, {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}[op])
    return value


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return all_reduce(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return all_reduce(grads[0])


def differentiable_sum(value: Tensor) -> Tensor:
    """Sum over ranks whose gradient is the sum over ranks too; works on CPU (gloo) and CUDA (nccl)."""
    return _AllReduceSum.apply(value) if is_active() else value


def barrier() -> None:
    """Wait for every rank."""
    if is_active():
        all_reduce(torch.zeros(1))


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the block on rank 0, then on the others: one process prepares files, the rest find them.

    Where it raises on rank 0, the others run it still, and raise for themselves.
    """
    if not is_main():
        barrier()
    try:
        yield
    finally:
        if is_main():
            barrier()


def choose_device(name: str | torch.device) -> torch.device:
    """The device that a user names: auto, cpu, cuda (this process's own GPU), cuda:1 (a certain one), or a torch.device.

    Raises ConfigError when there is no such device.
    """
    torch.backends.cudnn.allow_tf32 = False  # fp32 means float32: by default convolutions would round to 10 bits
    asked = str(name)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise ConfigError(f"device = {asked!r}: allowed: auto, cpu, cuda, or one GPU by its number, such as cuda:0")
    if asked == "cpu":
        return torch.device("cpu")
    if asked != "auto" and not torch.cuda.is_available():
        raise ConfigError(f"device = {asked!r}: this machine offers no CUDA device; use auto or cpu")
    if ":" not in asked:
        return device()
    if (chosen := torch.device(asked)).index >= torch.cuda.device_count():
        raise ConfigError(f"device = {asked!r}: this machine has {torch.cuda.device_count()} GPUs, numbered from 0")
    return chosen
