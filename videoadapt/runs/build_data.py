"""From a Config to what reads, renders and orders the clips of a run."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from videoadapt import distributed
from videoadapt.config.schema import Config, DataConfig
from videoadapt.config.shipped import find_list
from videoadapt.data.balance import BalancedRows
from videoadapt.data.batches import Schedule, TestBatches, TrainBatches
from videoadapt.data.columns import problem_of
from videoadapt.data.corrupted import CollateCorrupted, CorruptedBatches, CorruptedLoader, ReadCorrupted
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.loader import CPU, Loader
from videoadapt.data.reading import ReadClips, ReadViews, TestLoader, TrainLoader, collate_clips, collate_views, file_of
from videoadapt.data.structures import ClipBatch, Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, at_key
from videoadapt.paths import is_file
from videoadapt.registry import DATASETS, SAMPLERS
from videoadapt.rendering.clips import Render, draw_clips
from videoadapt.rendering.motions import FPS_HZ, MOTIONS
from videoadapt.rendering.painting import compiled_render, render
from videoadapt.runs.frame_size import fit_of
from videoadapt.runs.seeds import hash_seed
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.corruptions.views import CorruptedViews, Setting
from videoadapt.video.rand_augment import RandAugment
from videoadapt.video.readers import ClipReader, ViewReader
from videoadapt.video.samplers import Sampler
from videoadapt.video.transforms import TrainTransform


def schedule_of(config: Config, videos: VideoRows) -> Schedule:
    """The updates of a run over these training videos, or over clips rendered for it."""
    training, rendered = config.train, config.data.rendered
    num_videos = len(videos) if rendered is None else rendered.clips_per_epoch
    balanced = BalancedRows(videos.labels_N, config.data.balance) if config.data.balance else None
    return Schedule(num_videos, training.batch_size, training.epochs, training.accumulate, config.seed, balanced)


def build_frame_source(config: DataConfig) -> FrameSource:
    """Opens videos as `data.decoder`, `data.short_side_px`, `data.jpeg_quality` and `data.cache` say."""
    return FrameSource(
        config.decoder,
        short_side_px=config.short_side_px,
        jpeg_quality=config.jpeg_quality,
        cache=config.cache,
        cache_bytes=int(config.cache_gb * 1e9),
        limit_sec=config.limit_sec,
    )


def build_dataset(config: DataConfig, source: str | None = None) -> Any:
    """What reads the lists, as `data.dataset`, `data.columns` and `data.labels` say. Raises ConfigError.

    `source`: a list besides the run's own. Where the data set has splits by name only, a file of rows is read as such.
    """
    with at_key("data.dataset"):
        dataset = DATASETS.build(config.dataset)
    if source is not None and not hasattr(dataset, "columns") and _is_of_rows(source):
        dataset = VideoList()
    if config.columns is not None:
        if problem := problem_of(config.columns):
            raise ConfigError(f"data.columns = {config.columns}: {problem}")
        if not hasattr(dataset, "columns"):
            raise ConfigError(
                f"data.columns = {config.columns}: data.dataset.name = {config.dataset['name']!r} reads no columns; "
                "allowed: null, or data.dataset.name video_list"
            )
        dataset.columns = config.columns
    if config.labels == "multi":
        if not hasattr(dataset, "labels"):
            raise ConfigError(
                f"data.labels = multi: data.dataset.name = {config.dataset['name']!r} has one label a video; allowed: single, "
                "or data.dataset.name video_list"
            )
        dataset.labels = config.labels
    return dataset


def _is_of_rows(source: str) -> bool:
    path = find_list(source)
    return path.suffix not in ("", ".tar") and is_file(path)


def build_sampler(config: DataConfig) -> Sampler:
    """Chooses the frames of a clip as `data.sampling` says."""
    with at_key("data.sampling"):
        sampler: Sampler = SAMPLERS.build(config.sampling)
    return sampler


def build_clip_reader(config: DataConfig) -> ClipReader:
    """Reads training clips of a file, augmented as `data.augment` says."""
    augment = config.augment
    transform = TrainTransform(
        crop_px=config.crop_px,
        crop=augment.crop,
        flip=augment.flip,
        erasing=augment.erasing,
        noise=augment.noise,
        augment=RandAugment(augment.rand_augment) if augment.rand_augment else None,
        fit=fit_of(config),
    )
    return ClipReader(
        build_frame_source(config),
        build_sampler(config),
        transform,
        num_frames=config.num_frames,
        same_frames=augment.repeated_frames == "same",
    )


def build_view_reader(config: DataConfig, num_clips: int, num_crops: int) -> ViewReader:
    """Reads the test views of a file."""
    return ViewReader(
        build_frame_source(config),
        build_sampler(config),
        num_frames=config.num_frames,
        crop_px=config.crop_px,
        num_clips=num_clips,
        num_crops=num_crops,
        fit=fit_of(config),
    )


def build_train_loader(
    videos: Sequence[Video],
    config: DataConfig,
    schedule: Schedule,
    start_step: int,
    device: torch.device = CPU,
    num_classes: int | None = None,
) -> TrainLoader:
    """Iterates over this rank's ClipBatches, their clips on `device`, from `start_step` to the end of training.

    `num_classes`: how many there are, where videos have several labels.
    """
    on_device = config.jpeg_decoding == "device"
    reader = build_clip_reader(config)
    read = ReadClips(reader, schedule.seed, config.augment.repeated, in_jpeg=on_device)
    return Loader(
        read,
        TrainBatches(videos, schedule, start_step),
        partial(collate_clips, num_classes=num_classes, decoder=reader.decoder(device) if on_device else None),
        workers=config.workers,
        sample_bytes=read.sample_bytes,
        limit_sec=config.limit_sec,
        device=device,
        file=file_of,
        in_place=on_device,
    )


def build_test_loader(
    videos: Sequence[Video], config: DataConfig, num_clips: int, num_crops: int, device: torch.device = CPU
) -> TestLoader:
    """Iterates over VideoViews, their views on `device`, or Unreadable; every video is read by one rank."""
    batches = TestBatches(videos)
    read = ReadViews(build_view_reader(config, num_clips, num_crops))
    return Loader(
        read,
        batches,
        collate_views,
        workers=min(config.workers, len(batches)),
        sample_bytes=read.sample_bytes,
        limit_sec=config.limit_sec,
        device=device,
        file=file_of,
    )


def build_corrupted_loader(
    videos: Sequence[Video],
    config: DataConfig,
    num_clips: int,
    num_crops: int,
    settings: Sequence[Setting],
    seed: int,
    device: torch.device = CPU,
) -> CorruptedLoader:
    """Iterates over lists of VideoViews, or Unreadable, of some settings of a video each; every video is read by one rank.

    Their `index` is setting * len(videos) + row.
    """
    views = CorruptedViews(build_view_reader(config, num_clips, num_crops), settings, seed)
    read = ReadCorrupted(views)
    batches = CorruptedBatches(videos, len(settings), read.at_once)
    return Loader(
        read,
        batches,
        CollateCorrupted(len(videos), len(settings), read.at_once),
        workers=min(config.workers, len(batches)),
        sample_bytes=read.sample_bytes,
        limit_sec=config.limit_sec * read.at_once,
        device=device,
        file=lambda item: item.video.id,
    )


def build_renderer(
    config: DataConfig, device: torch.device, draw: Render = render
) -> Callable[[int, torch.Generator], tuple[Tensor, Tensor]]:
    """Renders as many clips as asked for, drawn from a generator, as `data.rendered` says: see `draw_clips`."""
    assert config.rendered is not None
    return partial(
        draw_clips,
        None if config.rendered.motions == "any" else list(MOTIONS[config.rendered.motions]),
        device=device,
        sampler=build_sampler(config),
        num_frames=config.num_frames,
        crop_px=config.crop_px,
        draw=draw,
    )


def rendered_batches(
    config: Config, start_step: int, total_steps: int, device: torch.device
) -> Generator[ClipBatch, None, None]:
    """This rank's micro-batches from `start_step` on, each drawn from (seed, step, micro-batch, rank)."""
    accumulate = config.train.accumulate
    size = config.train.batch_size // (distributed.world_size() * accumulate)
    draw: Render = compiled_render() if config.train.compile else render
    render_clips = build_renderer(config.data, device, draw)
    for step in range(start_step, total_steps):
        for number in range(accumulate):
            seed = hash_seed(config.seed, step, distributed.rank(), number, 2)
            generator = torch.Generator().manual_seed(seed)
            clips_BCTHW, labels_B = render_clips(size, generator)
            ids = tuple(f"rendered {step}/{distributed.rank()}/{number}/{clip}" for clip in range(size))
            yield ClipBatch(clips_BCTHW, labels_B, ids, (None,) * size, rates_hz=(float(FPS_HZ),) * size)
