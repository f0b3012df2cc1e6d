"""Adapters of one backbone and the same classes, averaged tensor by tensor into one, which costs no more than any of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from videoadapt.errors import CheckpointError, ConfigError, counted
from videoadapt.runs.adapter_content import AdapterFile
from videoadapt.runs.adapter_file import read_adapter, write_adapter
from videoadapt.runs.rates import Rates
from videoadapt.runs.statement import Statement, class_problem, differences

_ROUNDING = 1e-6  # of weights like 1/3, written down


def average_adapters(files: Sequence[str | Path], out: str | Path, weights: Sequence[float] | None = None) -> Path:
    """Write sum_i weights[i] * adapter_i to `out`, an adapter file like the others, and return its path.

    `weights` sum to 1, None: all the same; [0.7, 0.3] is a point between two, and weights outside [0, 1] lie beyond them.
    BatchNorm's statistics are averaged like parameters ("model soups", arXiv 2203.05482, does so with whole models), and
    counts of batches are the first file's. Raises ConfigError for weights, also where a variance would be negative, and
    CheckpointError for files that cannot be read, or were not trained on the same backbone, as the same adapter, for the same
    classes in the same order, on the same views.
    """
    shares = _shares(len(files), weights)
    found = [read_adapter(path) for path in files]
    for other in found[1:]:
        _check_same_kind(found[0], other)
    tensors = {name: _mean([file.tensors[name] for file in found], shares) for name in found[0].tensors}
    if broken := [name for name, t in tensors.items() if name.endswith("running_var") and bool((t < 0).any())]:
        raise ConfigError(
            f"weights = {shares}: lie so far beyond the files that a variance, {broken[0]}, would be negative"
        )
    config = found[0].config
    statement = replace(Statement.of(config, found[0].class_names), backbone=found[0].backbone)
    rates = sum((file.rates for file in found), Rates())
    write_adapter(Path(out), tensors, statement, config.seed, config.model.weights, rates)
    return Path(out)


def _shares(num_files: int, weights: Sequence[float] | None) -> list[float]:
    if num_files < 2:
        raise ConfigError(f"files: {num_files} named; averaging takes two or more")
    shares = [1 / num_files] * num_files if weights is None else [float(weight) for weight in weights]
    if len(shares) != num_files:
        raise ConfigError(f"weights = {shares}: give one for each of the {counted(num_files, 'file')}")
    if not all(map(math.isfinite, shares)) or abs(sum(shares) - 1) > _ROUNDING:
        raise ConfigError(f"weights = {shares}: need to sum to 1, and sum to {sum(shares):g}")
    return shares


def _check_same_kind(first: AdapterFile, other: AdapterFile) -> None:
    ours, theirs = (Statement.of(file.config, []).config for file in (first, other))
    problems = [f"{key} = {new!r}, but {old!r}" for key, old, new in differences(ours, theirs)]
    if problem := class_problem(other.class_names, first.class_names):
        problems.append(f"other classes ({problem.split(';')[0].replace('data.classes', 'the first file')})")
    if first.backbone != other.backbone:
        problems.append(f"backbone {other.backbone}, but {first.backbone}")
    shapes = [{name: tuple(t.shape) for name, t in file.tensors.items()} for file in (first, other)]
    if not problems and shapes[0] != shapes[1]:
        problems.append("other tensors, as an older version wrote them")
    if problems:
        raise CheckpointError(
            f"{other.path}: {', '.join(problems)} in {first.path}; only adapters that differ in their numbers can be averaged"
        )


def _mean(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    terms = [share * tensor.double() for share, tensor in zip(shares, tensors, strict=True)]
    return torch.stack(terms).sum(0).to(tensors[0].dtype)
