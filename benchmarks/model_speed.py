"""Clips a second of the model alone, with clips that are on the device already: training and inference, ours beside other code.

Every figure is the median of several steps, timed with CUDA events (a clock on a CPU). The share of the peak compares what the
model's matrix products and attention need at least with the fastest matrix product measured in the same run.

Shapes: B clips, T frames, H W pixels, N tokens, D width, K classes.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import huggingface, plain
from benchmarks.setting import NUM_CLASSES, Mode, Setting, clips_and_labels
from videoadapt import distributed
from videoadapt.config.schema import ModelConfig
from videoadapt.data.structures import ClipBatch
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks
from videoadapt.models.memory import hold_matrices_in, recompute_blocks
from videoadapt.models.parameters import count_gflops
from videoadapt.runs.build import build_model
from videoadapt.runs.forward import HALF_PRECISION, forward
from videoadapt.training.classification import Classification
from videoadapt.training.mixup import Mixup
from videoadapt.training.updater import Updater
from videoadapt.video.sides import sides_of


@dataclass(frozen=True)
class Speed:
    """What came out: median, least and most milliseconds of a step, and clips a second of all GPUs together."""

    who: str
    gpus: int
    mode: Mode
    compiled: bool
    batch: int
    ms: float
    least_ms: float
    most_ms: float
    clips_per_sec: float
    tflops: float
    share_of_peak: float
    memory_gib: float | None


def measure(setting: Setting, peers: Sequence[str], steps: int, device: torch.device) -> dict[str, Any]:
    """Measure ours and the `peers` ("plain", "huggingface") in turn; one JSON object with a row each.

    Under torchrun each process takes a GPU and a batch of its own, and gradients are summed as in a training. Raises
    ValueError for a peer that cannot do what the setting asks, or that is asked for under torchrun.
    """
    if peers and distributed.is_active():
        raise ValueError("peers are measured on one GPU only")
    peak = matrix_peak_tflops(device)
    rows = []
    for who in ("videoadapt", *peers):
        torch.manual_seed(0)
        step, needed_gflops = _ours(setting, device) if who == "videoadapt" else _peer(who, setting, device)
        rows.append(asdict(_speed(who, setting, step, needed_gflops, peak, steps, device)))
        del step
        torch.compiler.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "peak_tflops": peak, "setting": asdict(setting), "rows": rows}


def _speed(
    who: str,
    setting: Setting,
    step: Callable[[], object],
    needed_gflops: float,
    peak: float,
    steps: int,
    device: torch.device,
) -> Speed:
    for _ in range(3):  # compiles, and fills caches
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = sorted(_steps_ms(step, steps, device))
    ms = statistics.median(times)
    tflops = setting.batch * needed_gflops / ms  # GFLOP a millisecond
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    gpus = distributed.world_size()
    return Speed(
        who, gpus, setting.mode, setting.compiled, setting.batch, ms, times[0], times[-1], 1e3 * gpus * setting.batch / ms,
        tflops, tflops / peak, memory,
    )  # fmt: skip


def _steps_ms(step: Callable[[], object], steps: int, device: torch.device) -> list[float]:
    """Milliseconds of each of several steps in a row, as a training takes them: nothing waits for the device in between."""
    if device.type != "cuda":
        return [timed_ms(step, device) for _ in range(steps)]
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    ends[0].record()
    for end in ends[1:]:
        step()
        end.record()
    torch.cuda.synchronize()
    return [one.elapsed_time(other) for one, other in pairwise(ends)]


def timed_ms(step: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one call: between two events on the device, or on the clock of a CPU."""
    if device.type != "cuda":
        start = time.perf_counter()
        step()
        return 1e3 * (time.perf_counter() - start)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    step()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after)


def matrix_peak_tflops(device: torch.device, side: int = 8192) -> float:
    """The most TFLOP/s that a bf16 matrix product (float32 on a CPU) reached here, of 10 tries."""
    on_cpu = device.type == "cpu"
    side = 1024 if on_cpu else side
    factors = [
        torch.randn(side, side, device=device, dtype=torch.float32 if on_cpu else torch.bfloat16) for _ in range(2)
    ]
    times = [timed_ms(lambda: factors[0] @ factors[1], device) for _ in range(13)]
    return 2 * side**3 / min(times[3:]) / 1e9


def _ours(setting: Setting, device: torch.device) -> tuple[Callable[[], object], float]:
    model, needed = ours(setting, device)
    clips_BCTHW, labels_B = clips_and_labels(setting, device)
    if setting.mode == "infer":
        return partial(infer, model, setting, clips_BCTHW), needed
    batch = ClipBatch(clips_BCTHW, labels_B, ("",) * setting.batch, (None,) * setting.batch)
    return partial(updater_of(model, setting, device).update, [batch]), needed


def ours(setting: Setting, device: torch.device) -> tuple[Classifier, float]:
    """The model as a run makes it for this mode, and the GFLOPs that a step needs for one clip."""
    model = _built(setting)
    model.to(device)
    needed = needed_gflops(model, setting)
    if setting.recompute:
        recompute_blocks(model)
    if setting.mode == "infer" and (half := HALF_PRECISION.get(setting.precision)):
        hold_matrices_in(model.backbone, half)
    if setting.compiled:
        compile_blocks(model)
    return model.train(setting.mode == "train"), needed


@torch.inference_mode()
def infer(model: Classifier, setting: Setting, clips_BCTHW: Tensor) -> Tensor:
    """Logits (B, K) of uint8 clips."""
    return forward(model, clips_BCTHW, setting.precision, next(model.parameters()).device)


def updater_of(model: Classifier, setting: Setting, device: torch.device) -> Updater:
    """What training a classifier does with the model, with SGD and without augmentation."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0, momentum=0.9)
    mixup = Mixup(mixup_alpha=0, cutmix_alpha=0, label_smoothing=0, num_classes=NUM_CLASSES)
    objective = Classification(mixup, precision=setting.precision, device=device, compiled=setting.compiled)
    return Updater(model, objective, optimizer, lambda step: 1e-3)


def needed_gflops(model: Classifier, setting: Setting) -> float:
    """GFLOPs that a step needs for one clip, a multiply and an add counted as two.

    Training needs the forward pass, the gradients of what flows between layers, as much again, and the gradients of the
    trained matrices, in proportion to their share of all parameters.
    """
    once = 2 * count_gflops(model, setting.num_frames, *sides_of(setting.crop_px))
    if setting.mode == "infer":
        return once
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return once * (2 + trained / sum(p.numel() for p in model.parameters()))


def _built(setting: Setting) -> Classifier:
    return build_model(
        ModelConfig(backbone=setting.backbone, adapter=setting.adapter),
        NUM_CLASSES,
        setting.num_frames,
        setting.crop_px,
    )


def _peer(who: str, setting: Setting, device: torch.device) -> tuple[Callable[[], object], float]:
    """A peer does the same work: it is counted on our model."""
    with torch.device("cpu"):
        model = _built(setting)
    return PEERS[who](setting, device), needed_gflops(model, setting)


PEERS: dict[str, Callable[[Setting, torch.device], Callable[[], object]]] = {"plain": plain, "huggingface": huggingface}


def markdown(result: dict[str, Any]) -> str:
    """The rows as a table."""
    setting = result["setting"]
    sides = " x ".join(map(str, sides_of(setting["crop_px"])))
    lines = [
        f"{result['device']}, torch {result['torch']}, matrix peak {result['peak_tflops']:.0f} TFLOP/s; {setting['backbone']}, "
        f"{setting['adapter']}, {setting['num_frames']} x {sides}, {setting['precision']}",
        "",
        "| | GPUs | mode | compiled | batch | ms | clips/s | share of peak | GiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['who']} | {row['gpus']} | {row['mode']} | {'yes' if row['compiled'] else 'no'} | {row['batch']} | "
        f"{row['ms']:.1f} | {row['clips_per_sec']:.0f} | {100 * row['share_of_peak']:.1f} % | {row['memory_gib'] or 0:.1f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines) + "\n"
