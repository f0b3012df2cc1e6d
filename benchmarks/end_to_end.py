"""From video files to updates of the weights, and to the logits of all test views: what comes out beside what there could be.

In the same run: the readers beside one another without a loader, the model with clips that are on the device already, and both
together through the loader. The time until processes have started, and what they read ahead meanwhile, does not count.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch

from benchmarks.model_speed import infer, ours, updater_of
from benchmarks.readers_alone import items_per_sec
from benchmarks.reading_speed import CLIPS, CROPS, SEED, machine
from benchmarks.setting import NUM_CLASSES, Setting, clips_and_labels
from videoadapt.config.schema import DataConfig
from videoadapt.data.batches import Schedule, TestItem, TrainItem
from videoadapt.data.reading import ReadClips, ReadViews
from videoadapt.data.structures import ClipBatch, Unreadable, Video, VideoViews
from videoadapt.errors import DecodeError
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.models.compiling import filled_up
from videoadapt.runs.build_data import build_clip_reader, build_test_loader, build_train_loader, build_view_reader

_WARM_UP = 5  # batches: more than the loader has memory for
_ROWS = 4096  # of the training list, which goes round the files


@dataclass(frozen=True)
class Job:
    """What is measured: who reads, what the model does, and for how long each time."""

    setting: Setting  # its mode: "train" is training, "infer" the test of 4 x 3 views
    decoder: str
    workers: int
    seconds: float


def measure(videos: Sequence[Video], job: Job, device: torch.device) -> dict[str, Any]:
    """All figures of these videos. Raises DecodeError for one that cannot be read."""
    values = {
        "decoder": {"name": job.decoder}, "num_frames": job.setting.num_frames, "crop_px": job.setting.crop_px,
        "workers": job.workers,
    }  # fmt: skip
    how = _training if job.setting.mode == "train" else _testing
    figures = how(videos, DataConfig.model_validate(values), job, device)
    return {
        "decoder": job.decoder,
        "workers": job.workers,
        "batch": job.setting.batch,
        **figures,
        "load": machine()["load"],
    }


def _training(videos: Sequence[Video], config: DataConfig, job: Job, device: torch.device) -> dict[str, Any]:
    """Clips a second; waiting is the share of a step in which the loader has no batch."""
    batch = job.setting.batch
    rows = list(islice(cycle(videos), max(_ROWS, batch)))
    items = [TrainItem(0, row, video) for row, video in enumerate(rows)]
    readers = _readers_alone(ReadClips(build_clip_reader(config), SEED), items, len(videos), job)
    updater = updater_of(ours(job.setting, device)[0], job.setting, device)
    clips_BCTHW, labels_B = clips_and_labels(job.setting, device)
    ready = ClipBatch(clips_BCTHW, labels_B, ("",) * batch, (None,) * batch)
    alone = batch / _step_sec(partial(updater.update, [ready]), job.seconds)
    schedule = Schedule(len(rows), batch, epochs=10**6, accumulate=1, seed=SEED)
    waited, steps = 0.0, 0
    with closing(iter(build_train_loader(rows, config, schedule, 0, device))) as batches:
        for _ in range(_WARM_UP):
            updater.update([next(batches)])
        start = time.perf_counter()
        while (took := time.perf_counter() - start) < job.seconds or steps < 2:
            asked = time.perf_counter()
            made = next(batches)
            waited += time.perf_counter() - asked
            _check(made.unreadable)
            updater.update([made])
            steps += 1
    speed = batch * steps / took
    return {
        "clips_per_sec": speed, "waiting": waited / took, "readers_clips_per_sec": readers, "device_clips_per_sec": alone,
        "of_the_readers": speed / readers, "of_the_device": speed / alone, "of_the_possible": speed / min(readers, alone),
    }  # fmt: skip


def _testing(videos: Sequence[Video], config: DataConfig, job: Job, device: torch.device) -> dict[str, Any]:
    """Videos a second; the device is busy for the share of the time that it needs for so many views alone."""
    views = CLIPS * CROPS
    read = ReadViews(build_view_reader(config, CLIPS, CROPS))
    items = [TestItem(row, video) for row, video in enumerate(videos)]
    readers = _readers_alone(read, items, len(videos), job)
    model, _ = ours(job.setting, device)
    ready, _ = clips_and_labels(job.setting, device)

    def logits_of_ready() -> None:
        infer(model, job.setting, ready).cpu()

    alone = job.setting.batch / _step_sec(logits_of_ready, job.seconds) / views
    first = 3 * job.workers + math.ceil(job.setting.batch / views)  # more than are read ahead
    number = first + max(2, round(job.seconds * min(readers, alone)))
    rows = list(islice(cycle(videos), number))
    arrivals: list[float] = []
    started = time.perf_counter()
    loader = build_test_loader(rows, config, CLIPS, CROPS, device)
    accumulator = ViewAccumulator(rows, CLIPS, CROPS, NUM_CLASSES)
    forward = filled_up(
        partial(infer, model, job.setting), job.setting.batch
    )  # as a run's test, which compiles for one size
    evaluate(forward, _noting(loader, arrivals), accumulator, job.setting.batch)
    speed = (number - first) / (arrivals[-1] - arrivals[first - 1])
    return {
        "videos_per_sec": speed, "readers_videos_per_sec": readers, "device_videos_per_sec": alone,
        "of_the_readers": speed / readers, "device_busy": speed / alone, "of_the_possible": speed / min(readers, alone),
        "first_video_sec": arrivals[0] - started, "videos": number, "all_sec": time.perf_counter() - started,
    }  # fmt: skip


def _step_sec(step: Callable[[], object], seconds: float) -> float:
    """Mean seconds of a call that waits for the device, after three that compile and fill caches."""
    for _ in range(3):
        step()
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds or count < 2:
        step()
        count += 1
    return took / count


def _readers_alone(read: Callable[[Any], object], items: Sequence[Any], videos: int, job: Job) -> float:
    """Items a second; each of the videos is read here first, where an error has a listener."""
    _check(map(read, items[:videos]))
    return items_per_sec(read, items, job.workers, job.seconds)


def _check(results: Iterable[object]) -> None:
    for result in results:
        if isinstance(result, Unreadable):
            raise DecodeError(result.reason)


def _noting(loader: Iterable[VideoViews | Unreadable], arrivals: list[float]) -> Iterator[VideoViews | Unreadable]:
    for item in loader:
        _check([item])
        arrivals.append(time.perf_counter())
        yield item


def markdown(result: Mapping[str, Any]) -> str:
    """A table of training or of testing."""
    training = result["mode"] == "train"
    unit, share = ("clips", "waiting") if training else ("videos", "device_busy")
    head = f"| videos | decoder | readers | {unit}/s | {share.replace('_', ' ')} | "
    head += "readers alone | device alone | of the possible |"
    lines = [f"{result['device']}, {result['machine']['cores']} cores", "", head, "| --- " * 8 + "|"]
    for name, of_decoder in result["groups"].items():
        for decoder, row in of_decoder.items():
            lines.append(
                f"| {name} | {decoder} | {row['workers']} | {row[f'{unit}_per_sec']:.1f} | {row[share]:.0%} | "
                f"{row[f'readers_{unit}_per_sec']:.1f} ({row['of_the_readers']:.0%}) | {row[f'device_{unit}_per_sec']:.1f} | "
                f"{row['of_the_possible']:.0%} |"
            )
    return "\n".join(lines) + "\n"
