"""From video files to updates of the weights, and to the logits of all test views: what comes out beside what there could be.

In the same run: the readers beside one another without a loader, the model with clips that are on the device already, and both
together through the loader. The time until processes have started, and what they read ahead meanwhile, does not count.

Under torchrun each process has a GPU, a batch and readers of its own; they measure one thing at a time, and rates are of all.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.model_speed import infer, ours, updater_of
from benchmarks.readers_alone import items_per_sec
from benchmarks.reading_speed import CLIPS, CROPS, SEED, machine
from benchmarks.setting import NUM_CLASSES, Setting, clips_and_labels
from videoadapt import distributed
from videoadapt.config.schema import DataConfig
from videoadapt.data.batches import Schedule, TestItem, TrainItem
from videoadapt.data.reading import ReadClips, ReadViews
from videoadapt.data.structures import ClipBatch, Unreadable, Video, VideoViews
from videoadapt.errors import DecodeError
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.models.compiling import filled_up
from videoadapt.processes.slots import Read
from videoadapt.runs.build_data import build_clip_reader, build_test_loader, build_train_loader, build_view_reader
from videoadapt.video.jpeg_clips import JpegDecoder

_WARM_UP = 5  # batches: more than the loader has memory for
_ROWS = 4096  # of the training list, which goes round the files


@dataclass(frozen=True)
class Cached:
    """A cache of frames in JPEG, which is filled before anything is measured."""

    folder: Path
    quality: int


@dataclass(frozen=True)
class Job:
    """What is measured: who reads, what the model does, and for how long each time."""

    setting: Setting  # its mode: "train" is training, "infer" the test of 4 x 3 views
    decoder: str
    workers: int  # of each GPU
    seconds: float
    jpeg: Cached | None = None  # out of this instead


def measure(videos: Sequence[Video], job: Job, device: torch.device) -> dict[str, Any]:
    """All figures of these videos by how they are decoded. Raises DecodeError for one that cannot be read."""
    values: dict[str, Any] = {
        "decoder": {"name": job.decoder}, "num_frames": job.setting.num_frames, "crop_px": job.setting.crop_px,
        "workers": job.workers,
    }  # fmt: skip
    ways = {job.decoder: values}
    if job.jpeg is not None:
        values |= {"jpeg_quality": job.jpeg.quality, "cache": str(job.jpeg.folder.absolute())}
        places = ("processor", "device") if job.setting.mode == "train" else ("processor",)
        ways = {
            f"{job.decoder}, JPEG {job.jpeg.quality}, {place}": values | {"jpeg_decoding": place} for place in places
        }
    how = partial(_training, trained=_Trained(job, device)) if job.setting.mode == "train" else _testing
    return {
        way: {
            "decoder": job.decoder,
            "gpus": distributed.world_size(),  # processes, where there are none
            "workers": job.workers,
            "batch": job.setting.batch,
            **how(videos, DataConfig.model_validate(of_way), job, device),
            "load": machine()["load"],
        }
        for way, of_way in ways.items()
    }


class _Trained:
    """A model that is trained in each way of reading, made and compiled when it is first asked for, and once."""

    def __init__(self, job: Job, device: torch.device):
        self._job, self._device = job, device

    @cached_property
    def update(self) -> Callable[[list[ClipBatch]], object]:
        """One step."""
        setting = self._job.setting
        return updater_of(ours(setting, self._device)[0], setting, self._device).update

    @cached_property
    def alone(self) -> float:
        """Clips a second of those that are on the device already."""
        batch = self._job.setting.batch
        clips_BCTHW, labels_B = clips_and_labels(self._job.setting, self._device)
        ready = ClipBatch(clips_BCTHW, labels_B, ("",) * batch, (None,) * batch)
        return _sum(batch / _step_sec(partial(self.update, [ready]), self._job.seconds))


def _training(
    videos: Sequence[Video], config: DataConfig, job: Job, device: torch.device, trained: _Trained
) -> dict[str, Any]:
    """Clips a second; waiting is the share of a step in which the loader has no batch."""
    batch, together = job.setting.batch, job.setting.batch * distributed.world_size()
    rows = list(islice(cycle(videos), max(_ROWS, together)))
    items = [TrainItem(0, row, video) for row, video in enumerate(rows)]
    reader, in_jpeg = build_clip_reader(config), config.jpeg_decoding == "device"
    read = ReadClips(reader, SEED, in_jpeg=in_jpeg)
    readers = _readers_alone(read, items, len(videos), job)
    decoding = _decoding_alone(read, reader.decoder(device), items[:batch], job.seconds) if in_jpeg else None
    update, alone = trained.update, trained.alone
    schedule = Schedule(len(rows), together, epochs=10**6, accumulate=1, seed=SEED)
    waited, steps = 0.0, max(2, round(job.seconds * min(readers, alone) / together))
    with closing(iter(build_train_loader(rows, config, schedule, 0, device))) as batches:
        for _ in range(_WARM_UP):
            update([next(batches)])
        start = time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            made = next(batches)
            waited += time.perf_counter() - asked
            _check(made.unreadable)
            update([made])
        took = time.perf_counter() - start
    speed, waiting = _sum(batch * steps / took), _sum(waited / took) / distributed.world_size()
    return {
        "clips_per_sec": speed, "waiting": waiting, "readers_clips_per_sec": readers, "device_clips_per_sec": alone,
        "of_the_readers": speed / readers, "of_the_device": speed / alone, "of_the_possible": speed / min(readers, alone),
    } | ({} if decoding is None else {"decoding_clips_per_sec": decoding})  # fmt: skip


def _decoding_alone(read: ReadClips, decoder: JpegDecoder, items: Sequence[TrainItem], seconds: float) -> float:
    """Clips a second that the device decodes, cuts and resizes, batch after batch, and does nothing else."""
    found = [one for one in map(read, items) if isinstance(one, Read)]
    rows = [(one.pixels, one.notes.jpeg) for one in found if one.notes.jpeg is not None]
    return _sum(len(rows) / _step_sec(partial(decoder, rows), seconds / 4))


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

    alone = _sum(job.setting.batch / _step_sec(logits_of_ready, job.seconds) / views)
    first = 3 * job.workers + math.ceil(job.setting.batch / views)  # more than are read ahead
    number = first + max(2, round(job.seconds * min(readers, alone) / distributed.world_size()))  # of each GPU
    rows = list(islice(cycle(videos), number * distributed.world_size()))
    arrivals: list[float] = []
    started = time.perf_counter()
    loader = build_test_loader(rows, config, CLIPS, CROPS, device)
    accumulator = ViewAccumulator(rows, CLIPS, CROPS, NUM_CLASSES)
    # as a run's test, which compiles for one size
    forward = filled_up(partial(infer, model, job.setting), job.setting.batch)
    evaluate(forward, _noting(loader, arrivals), accumulator, job.setting.batch)
    speed = _sum((number - first) / (arrivals[-1] - arrivals[first - 1]))
    return {
        "videos_per_sec": speed, "readers_videos_per_sec": readers, "device_videos_per_sec": alone,
        "of_the_readers": speed / readers, "device_busy": speed / alone, "of_the_possible": speed / min(readers, alone),
        "first_video_sec": arrivals[0] - started, "videos": len(rows), "all_sec": time.perf_counter() - started,
    }  # fmt: skip


def _step_sec(step: Callable[[], object], seconds: float) -> float:
    """Mean seconds of a call that waits for the device, after three that compile and fill caches; as many on all ranks."""
    for _ in range(3):
        start = time.perf_counter()
        step()
    count = max(2, round(seconds * distributed.world_size() / _sum(time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def _readers_alone(read: Callable[[Any], object], items: Sequence[Any], videos: int, job: Job) -> float:
    """Items a second; each of the videos is read here first, where an error has a listener."""
    _check(map(read, items[:videos]))
    _sum(0.0)  # all begin together
    return _sum(items_per_sec(read, items, job.workers, job.seconds))


def _sum(of_rank: float) -> float:
    """What all ranks have together; waits for the last of them."""
    return float(sum(distributed.all_gather_objects(of_rank)))


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
    notes: list[str] = []
    head = f"| videos | decoder | readers | {unit}/s | {share.replace('_', ' ')} | "
    head += "readers alone | device alone | of the possible |" + " of the device |" * training
    gpus = f"{result['gpus']} x " if result["gpus"] > 1 else ""
    lines = [f"{gpus}{result['device']}, {result['machine']['cores']} cores", "", head, "| --- " * (8 + training) + "|"]
    for name, of_decoder in result["groups"].items():
        for decoder, row in of_decoder.items():
            lines.append(
                f"| {name} | {decoder} | {row['gpus'] * row['workers']} | {row[f'{unit}_per_sec']:.1f} | {row[share]:.0%} | "
                f"{row[f'readers_{unit}_per_sec']:.1f} ({row['of_the_readers']:.0%}) | {row[f'device_{unit}_per_sec']:.1f} | "
                f"{row['of_the_possible']:.0%} |" + (f" {row['of_the_device']:.0%} |" if training else "")
            )
            if (decoding := row.get("decoding_clips_per_sec")) is not None:
                notes += ["", f"{name}: JPEG decoded on the device alone, {decoding:.1f} clips/s"]
    return "\n".join(lines + notes) + "\n"
