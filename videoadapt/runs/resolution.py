"""What `auto` means on this machine: decided once, kept in config.yaml and the checkpoints, and so when the run resumes."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, counted
from videoadapt.runs.checkpoint import read_facts
from videoadapt.runs.folder import newest_checkpoint
from videoadapt.runs.forward import HALF_PRECISION, Precision, autocast
from videoadapt.runs.machine import missing_compiler

_SLOWER = 1.3  # from here on a person wants to know


def resolved(config: Config, device: torch.device) -> Config:
    """The config with a value in place of every `auto` that alters numbers: that of its checkpoints, else what suits `device`.

    `train.precision`: bf16 where the device multiplies it, fp32 elsewhere. `train.compile`: on a GPU with a compiler beside it.
    """
    training = config.train
    if "auto" not in (training.precision, training.compile):
        return config
    before = _before(config)
    values = {
        "precision": before.get("precision") or ("bf16" if multiplies_bf16(device) else "fp32"),
        "compile": before.get("compile", device.type == "cuda" and not missing_compiler(device)),
    }
    chosen = {key: value for key, value in values.items() if getattr(training, key) == "auto"}
    return config.model_copy(update={"train": training.model_copy(update=chosen)})


def say_chosen(asked: Config, config: Config) -> None:
    """Log what was decided for the user: which config, how long it trains, and the value of each `auto`."""
    if config.chosen:
        logger.info("chosen: %s", config.chosen)
    if config.model.expect and config.train.enable:
        logger.info("expect: %s", config.model.expect)
    if config.train.least_updates is not None and config.train.enable:
        given, chosen = asked.train, config.train
        longer = chosen.epochs > given.epochs
        why = (
            f" (train.least_updates = {given.least_updates} needs more than train.epochs = {given.epochs})"
            if longer
            else ""
        )
        logger.info(
            "training: %s%s in batches of %s", counted(chosen.epochs, "epoch"), why, counted(chosen.batch_size, "video")
        )
    keys = [key for key in ("precision", "compile") if getattr(asked.train, key) != getattr(config.train, key)]
    if keys:
        logger.info("%s", ", ".join(f"train.{key} auto is {str(getattr(config.train, key)).lower()}" for key in keys))


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware has instructions for products in bf16: GPUs from Ampere on, CPUs with AMX or AVX512_BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def warn_if_slow(precision: Precision, device: torch.device) -> None:
    """Say so when a precision that a config names is slower than fp32 on this CPU: some have no instructions for it.

    Of `auto`, and of bf16 where the CPU has instructions for it, nothing is said: beside other programs a measurement is off
    by a factor of two. Takes about a second.
    """
    if device.type != "cpu" or precision not in HALF_PRECISION or (precision == "bf16" and multiplies_bf16(device)):
        return
    if (factor := slowness(precision)) > _SLOWER:
        logger.warning(
            "train.precision = %s: %.0f times as slow as fp32 on this CPU; a recipe of your own can say train.precision auto",
            precision, factor,
        )  # fmt: skip


def slowness(precision: Precision) -> float:
    """How many times as long as in fp32 a Linear of ViT-B's width takes on this CPU, there and back."""

    x_ND, weight_ED = torch.randn(128, 768, requires_grad=True), torch.randn(768, 768, requires_grad=True)

    def seconds(chosen: Precision) -> float:
        start = time.perf_counter()
        with autocast(chosen, torch.device("cpu")):
            F.linear(x_ND, weight_ED).sum().backward()
        return time.perf_counter() - start

    # in turns, so that what else the CPU does slows both; the first pair warms up
    pairs = [(seconds(precision), seconds("fp32")) for _ in range(4)][1:]
    return min(half for half, _ in pairs) / min(full for _, full in pairs)


def _before(config: Config) -> Mapping[str, Any]:
    """The training section of the newest checkpoint that says one; {} in a folder without any."""
    path = newest_checkpoint(config.output)
    try:
        found = read_facts(path).get("config", {}).get("train", {}) if path is not None else {}
    except CheckpointError:  # resuming says so, and looks at the ones before
        return {}
    return found if isinstance(found, Mapping) else {}
