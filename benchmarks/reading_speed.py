"""How fast clips come out of files: the loader against decoding alone, and all views of a test video from one decode.

Times are CPU seconds of this process with one thread, so that other work on the machine does not count. What is compared
is called in turn; every figure is a median.
"""

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.decoding_alone import limit_of
from videoadapt.config.schema import DataConfig
from videoadapt.data.batches import TrainItem
from videoadapt.data.loader import Loader
from videoadapt.data.reading import ClipNotes, ReadClips
from videoadapt.data.structures import Unreadable, Video
from videoadapt.errors import DecodeError
from videoadapt.processes.slots import Read
from videoadapt.registry import SAMPLERS
from videoadapt.runs.build_data import build_clip_reader, build_view_reader
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import forget
from videoadapt.video.resizing import resize_to_cover
from videoadapt.video.transforms import view_crops

NUM_FRAMES, SEED = 8, 0
CLIPS, CROPS, CROP_PX = 4, 3, 224


def alternate(
    functions: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each function, called in turn so that a noisy moment hits all; one round of warm-up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, values in zip(functions, seconds, strict=True):
            start = clock()
            function()
            if repeat:
                values.append(clock() - start)
    return [statistics.median(values) for values in seconds]


def machine() -> dict[str, Any]:
    """The processor, and how busy it was."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else []
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count(), "load": load}


def measure(videos: Sequence[Video], decoder: str, clips: int, repeats: int) -> dict[str, Any]:
    """All figures of these videos with one decoder: means over the videos, and each video's own."""
    clip_rows, view_rows = measure_clips(videos, decoder, clips, repeats), measure_views(videos, decoder, repeats)
    rows = [one | other for one, other in zip(clip_rows, view_rows, strict=True)]
    means = {key: statistics.mean(row[key] for row in rows) for key in rows[0] if key.endswith("_ms")}
    return means | {"read_by": sorted({row["read_by"] for row in rows}), "videos": rows}


class ByLimit:
    """Reads the frames of a training clip as `limit_of` does, in a loader's process; gives one pixel."""

    def __init__(self, decoder: str, items: Sequence[TrainItem]):
        self._drawn = {item: drawn_indices(item.video.path, decoder, item.epoch, item.row) for item in items}
        self._limits = {item.video.path: limit_of(item.video.path, decoder)[0] for item in items}

    def __call__(self, item: TrainItem) -> Read[ClipNotes]:
        """See Loader."""
        self._limits[item.video.path](self._drawn[item])
        return Read(torch.zeros(1, dtype=torch.uint8), ClipNotes(()))


def measure_workers(videos: Sequence[Video], decoder: str, clips: int, repeats: int, workers: int) -> dict[str, float]:
    """Clips per second of wall-clock time from `workers` processes: decoding alone, and by the loader.

    The time of the first batch, in which the processes start, does not count.
    """
    items = [TrainItem(epoch, row, video) for epoch in range(clips) for row, video in enumerate(videos)]
    batches = [items[:1] * workers, *([item] for item in items)]
    config = data_config(decoder)
    load = ReadClips(build_clip_reader(config), SEED)
    speeds: dict[str, list[float]] = {"limit": [], "loader": []}
    for _ in range(repeats):
        for name, read, size in (("limit", ByLimit(decoder, items), 1), ("loader", load, load.sample_bytes)):
            loader: Loader[TrainItem, ClipNotes, Unreadable, int] = Loader(
                read, batches, _count, workers=workers, sample_bytes=size, limit_sec=config.limit_sec
            )
            start = 0.0
            for number, _ in enumerate(loader):
                if number == 0:
                    start = time.perf_counter()
            speeds[name].append(len(items) / (time.perf_counter() - start))
    return {f"{name}_clips_per_sec": statistics.median(values) for name, values in speeds.items()}


def _count(samples: Sequence[object], pixels_BN: torch.Tensor) -> int:
    return len(samples)


def markdown(result: Mapping[str, Any]) -> str:
    """Tables of training clips, of test views, and of several processes where they were measured."""
    clips = (
        "| videos | decoder (reads by) | decoding alone, ms | loader, ms | after decoding | clips/s | a new file, ms |"
    )
    views = "| videos | decoder | 4 x 3 views, ms | each view its 8 frames | AdaptFormer's way |"
    clip_lines, view_lines = [clips, "| --- " * 7 + "|"], [views, "| --- " * 5 + "|"]
    for name, of_decoder in result["groups"].items():
        for decoder, row in of_decoder.items():
            limit, loader, ours = row["limit_ms"], row["loader_ms"], row["ours_ms"]
            line = f"| {name} | {decoder} ({', '.join(row['read_by'])}) | {limit:.1f} | {loader:.1f} | "
            line += (
                f"{loader - limit:+.1f} ms, {loader / limit - 1:+.0%} | {1000 / loader:.1f} | {row['first_ms']:.1f} |"
            )
            clip_lines.append(line)
            others = [f"{row[key]:.0f} ({row[key] / ours:.1f} x)" for key in ("per_view_ms", "adaptformer_ms")]
            view_lines.append(f"| {name} | {decoder} | {ours:.1f} | {' | '.join(others)} |")
    tables = [*clip_lines, "", *view_lines]
    if "workers" in result:
        tables += [
            "",
            f"| videos | decoder | decoding alone, clips/s with {result['num_workers']} processes | loader |",
        ]
        tables.append("| --- " * 4 + "|")
        for name, of_decoder in result["workers"].items():
            for decoder, row in of_decoder.items():
                limit, loader = row["limit_clips_per_sec"], row["loader_clips_per_sec"]
                tables.append(f"| {name} | {decoder} | {limit:.1f} | {loader:.1f} ({loader / limit:.0%}) |")
    return "\n".join(tables) + "\n"


def data_config(decoder: str) -> DataConfig:
    """8 frames at stride 4, AdaptFormer's multi-scale crop, 4 x 3 views at 224 px."""
    values = {"decoder": {"name": decoder}, "num_frames": NUM_FRAMES, "crop_px": CROP_PX}
    return DataConfig.model_validate(values)


def measure_clips(videos: Sequence[Video], decoder: str, clips: int, repeats: int) -> list[dict[str, Any]]:
    """Per video: milliseconds of one core for a training clip, decoding alone and by the loader, over `clips` random ones.

    Raises DecodeError for a file that cannot be read.
    """
    load = ReadClips(build_clip_reader(data_config(decoder)), SEED)
    rows = []
    for row, video in enumerate(videos):
        drawn = [drawn_indices(video.path, decoder, epoch, row) for epoch in range(clips)]
        limit, reader = limit_of(video.path, decoder)
        items = [TrainItem(epoch, row, video) for epoch in range(clips)]
        ways = [
            partial(_for_each, limit, drawn),
            partial(_for_each, load, items),
            partial(_for_each, partial(_as_if_new, load), items),
        ]
        limit_sec, loader_sec, first_sec = alternate(ways, repeats, time.process_time)
        rows.append(
            {
                "video": video.id,
                "read_by": reader,
                "limit_ms": 1000 * limit_sec / clips,
                "loader_ms": 1000 * loader_sec / clips,
                "first_ms": 1000 * first_sec / clips,
            }
        )
    return rows


def _as_if_new(load: ReadClips, item: TrainItem) -> Any:
    """Load a clip of a file that this process has not seen before."""
    forget()
    return load(item)


def _for_each(function: Callable[[Any], object], arguments: Sequence[Any]) -> None:
    for argument in arguments:
        result = function(argument)
        if isinstance(result, Unreadable):
            raise DecodeError(result.reason)


def drawn_indices(path: Path, decoder: str, epoch: int, row: int) -> list[int]:
    """The frames that the loader takes for this clip."""
    rng = np.random.default_rng([SEED, epoch, row, 0])
    with open_video(path, {"name": decoder}) as opened:
        sampler = SAMPLERS.build(data_config(decoder).sampling)
        indices: list[int] = sampler.train_indices(opened.num_frames, NUM_FRAMES, rng).tolist()
    return indices


def measure_views(videos: Sequence[Video], decoder: str, repeats: int) -> list[dict[str, Any]]:
    """Per video: milliseconds of one core for all 4 x 3 test views at 224 px, uint8: ours, and two other ways.

    `adaptformer_ms`: AdaptFormer's, for each view the whole video at the stride from decord, resized and cropped; the time
    of one view times 12. `per_view_ms`: our decoder, for each view a reader of its own that gives its 8 frames.
    """
    config = data_config(decoder)
    load = build_view_reader(config, CLIPS, CROPS)
    rows = []
    for video in videos:
        ways = [
            partial(_for_each, load, [video.path]),
            partial(per_view, video.path, config),
            partial(adaptformer_view, video.path),
        ]
        ours, per_view_sec, view_sec = alternate(ways, repeats, time.process_time)
        others = {"per_view_ms": 1000 * per_view_sec, "adaptformer_ms": 1000 * view_sec * CLIPS * CROPS}
        rows.append({"video": video.id, "ours_ms": 1000 * ours, **others})
    return rows


def per_view(path: Path, config: DataConfig) -> None:
    """All views, each from a reader of its own that gives its 8 frames."""
    sampler = SAMPLERS.build(config.sampling)
    for clip in range(CLIPS):
        for crop in range(CROPS):
            with open_video(path, config.decoder) as opened:
                indices = sampler.test_indices(opened.num_frames, NUM_FRAMES, CLIPS)[clip]
                frames_TCHW = torch.from_numpy(opened.get(indices)).permute(0, 3, 1, 2)
            view_crops(resize_to_cover(frames_TCHW, CROP_PX, CROP_PX), CROP_PX, CROPS)[crop].contiguous()


def adaptformer_view(path: Path) -> None:
    """One view as AdaptFormer's test loader makes it; the resize is torch's, which is as fast as its cv2."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(path.absolute()), num_threads=1)
    frames_TCHW = torch.from_numpy(reader.get_batch(range(0, len(reader), 4)).asnumpy()).permute(0, 3, 1, 2)
    height, width = frames_TCHW.shape[-2:]
    size = (CROP_PX, CROP_PX * width // height) if height <= width else (CROP_PX * height // width, CROP_PX)
    resized_TCHW = F.interpolate(frames_TCHW, size=size, mode="bilinear")
    view_crops(resized_TCHW[:NUM_FRAMES], CROP_PX, CROPS)[0].contiguous()
