"""From a Config to objects: the only place that does it."""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from videoadapt import distributed
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config, DataConfig
from videoadapt.data.batches import (
    Schedule,
    TestBatches,
    TestItem,
    TrainBatches,
    TrainItem,
    collate_clips,
    collate_views,
    file_of,
)
from videoadapt.data.loader import Loader
from videoadapt.data.structures import ClipBatch, Unreadable, Video, VideoViews
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.models.adapters import build_adapter
from videoadapt.models.autoencoder import DECODERS, MaskedAutoencoder
from videoadapt.models.backbone import Backbone
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier, ModelSpec
from videoadapt.models.head import Head
from videoadapt.models.loading import load_adapter, load_trunk
from videoadapt.models.masking import num_masked_patches
from videoadapt.models.parameters import freeze
from videoadapt.registry import BACKBONES
from videoadapt.rendering.clips import Render, draw_clips
from videoadapt.rendering.motions import MOTIONS, render
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.seeds import hash_seed
from videoadapt.video.readers import TestViews, TrainClips
from videoadapt.weights.formats import read_weights


def build_autoencoder(config: Config) -> MaskedAutoencoder:
    """Build backbone and decoder with new weights; every parameter trains.

    Raises ConfigError for a backbone, clips, a ratio or a decoder that cannot be.
    """
    backbone, pretrain = BACKBONES.build(config.model.backbone), config.pretrain
    if not isinstance(backbone, ViT):
        raise ConfigError(
            f"model.backbone.name = {config.model.backbone['name']!r}: masked tokens can be left out of a vit only"
        )
    num_masked_patches(backbone.grid_THW(config.data.num_frames, *2 * [config.data.crop_px]), pretrain.mask_ratio)
    published = DECODERS[config.model.backbone["size"]]
    given = {"width": pretrain.decoder_width, "num_heads": pretrain.decoder_heads, "depth": pretrain.decoder_depth}
    size = published._replace(**{key: value for key, value in given.items() if value is not None})
    if size.width % size.num_heads:
        raise ConfigError(f"pretrain.decoder_heads = {size.num_heads}: needs to divide decoder_width = {size.width}")
    return MaskedAutoencoder(backbone, size)


def schedule_of(config: Config, videos: Sequence[Video]) -> Schedule:
    """The updates of a run over these training videos, or over clips rendered for it."""
    training, rendered = config.train, config.data.rendered
    num_videos = len(videos) if rendered is None else rendered.clips_per_epoch
    return Schedule(num_videos, training.batch_size, training.epochs, training.accumulate, config.seed)


def build_train_loader(
    videos: Sequence[Video], config: DataConfig, schedule: Schedule, start_step: int
) -> Loader[TrainItem, ClipBatch]:
    """Iterates over this rank's ClipBatches from `start_step` to the end of training, across epochs."""
    clips = TrainClips(config, schedule.seed)
    return Loader(
        clips,
        TrainBatches(videos, schedule, start_step),
        collate_clips,
        workers=config.workers,
        sample_bytes=clips.sample_bytes,
        limit_sec=config.limit_sec,
        file=file_of,
    )


def build_test_loader(
    videos: Sequence[Video], config: DataConfig, num_clips: int, num_crops: int
) -> Loader[TestItem, VideoViews | Unreadable]:
    """Iterates over VideoViews or Unreadable; every video is read by one rank."""
    batches = TestBatches(videos)
    views = TestViews(config, num_clips, num_crops)
    return Loader(
        views,
        batches,
        collate_views,
        workers=min(config.workers, len(batches)),
        sample_bytes=views.sample_bytes,
        limit_sec=config.limit_sec,
        file=file_of,
    )


def build_model(spec: ModelSpec, num_classes: int, num_frames: int, crop_px: int) -> Classifier:
    """Build backbone -> check that the clip fits -> weights (strict) -> adapter -> freeze; return it in training mode.

    Raises ConfigError for a backbone that does not take such clips or such an adapter, CheckpointError for the weights.
    """
    backbone: Backbone = BACKBONES.build(spec.backbone)
    adapter = build_adapter(spec.adapter)
    backbone.check_clip(num_frames, crop_px, crop_px)
    head = Head(
        backbone.width,
        num_classes,
        batch_norm=spec.head.batch_norm,
        sync=spec.head.sync,
        dropout=spec.head.dropout,
        init_std=spec.head.init_std,
    )
    model = Classifier(backbone, head)
    weights = read_weights(spec.weights, spec.obtain) if spec.weights is not None else None
    if weights is not None:
        report = load_trunk(model, weights, spec.inflate)
        model.head_loaded = not report.replaced and "head" not in report.new
    adapter.attach(backbone)
    if weights is not None:
        load_adapter(model, weights)
    freeze(model, backbone, adapter)
    return model.train()


def motion_names(config: DataConfig) -> list[str] | None:
    """The classes of rendered clips; None where they have none."""
    assert config.rendered is not None
    return None if config.rendered.motions == "any" else list(MOTIONS[config.rendered.motions])


def rendered_batches(
    config: Config, start_step: int, total_steps: int, device: torch.device
) -> Generator[ClipBatch, None, None]:
    """This rank's micro-batches from `start_step` on, each drawn from (seed, step, micro-batch, rank)."""
    names, accumulate = motion_names(config.data), config.train.accumulate
    size = config.train.batch_size // (distributed.world_size() * accumulate)
    draw: Render = torch.compile(render, dynamic=False) if config.train.compile else render
    for step in range(start_step, total_steps):
        for number in range(accumulate):
            seed = hash_seed(config.seed, step, distributed.rank(), number, 2)
            generator = torch.Generator().manual_seed(seed)
            clips_BCTHW, labels_B = draw_clips(names, size, config.data, generator, device, draw)
            ids = tuple(f"rendered {step}/{distributed.rank()}/{number}/{clip}" for clip in range(size))
            yield ClipBatch(clips_BCTHW, labels_B, ids, (None,) * size)


def build_seeded_model(config: Config, num_classes: int) -> Classifier:
    """Build the model; initial values come from the seed, so that a trunk without weights is the same in every process."""
    torch.manual_seed(config.seed)
    return build_model(config.model, num_classes, config.data.num_frames, config.data.crop_px)


def open_run(folder: Path, device: torch.device) -> tuple[Config, list[str], Classifier]:
    """Rebuild the model of a finished or interrupted run from its folder: config, class names, model in eval mode."""
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"{folder}: not a run folder (no config.yaml in it)")
    config = load_config(folder / "config.yaml")
    if config.task != "train":
        raise CheckpointError(
            f"{folder}: holds a masked pre-training, which has no classes; train on its pretrained.pth"
        )
    class_names = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    model = build_seeded_model(config, len(class_names))
    path = find_checkpoint(folder)
    if path is None:
        raise CheckpointError(f"{folder}/checkpoints: holds no checkpoint; train first")
    load_result(model, path)
    return config, class_names, model.to(device).eval()
