"""One yaml file plus `key value` overrides -> one frozen Config, or one ConfigError that lists every problem.

A component (`{name: adaptformer, bottleneck: 64}`) is checked against the keyword-only arguments of its constructor:
the signature is the schema, so this file knows no component.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Tag

Component = dict[str, Any]
Share = Annotated[float, Interval(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_cache(value: str) -> str:
    if value not in ("off", "ram") and "/" not in value:
        raise ValueError("allowed: off, ram, or a folder, with a / in its name")
    return value


class HeadConfig(_Section):
    """What follows the pooled feature: `fc_norm`, optionally BatchNorm without affine, dropout, Linear."""

    batch_norm: bool = True
    sync: bool = False  # share BatchNorm statistics over ranks; false is AdaptFormer's behaviour
    dropout: Share = 0.0
    init_std: Annotated[float, Gt(0)] = 0.01


class ModelConfig(_Section):
    """Backbone, its pre-trained weights, the adapter, the head."""

    backbone: Component = {"name": "vit", "size": "base"}
    weights: str | None = None
    obtain: str = ""  # said when the weights are missing: where to get them
    inflate: Literal["average", "centre"] = "average"  # how the patch kernel of an image ViT becomes one over frames
    adapter: Component | list[Component] = {"name": "adaptformer"}  # a list: several methods at once
    head: HeadConfig = HeadConfig()


class Holdout(_Section):
    """Validate on a share of the training list; rows whose `group` (a regex; its first group) agrees stay together."""

    holdout: Annotated[float, Interval(gt=0, lt=1)]
    group: str | None = None


class AugmentConfig(_Section):
    """Training augmentation, drawn once per clip."""

    crop: Literal["multi_scale", "random_resized", "random", "centre"] = "multi_scale"
    flip: Share = 0.0
    rand_augment: str | None = None
    erasing: Share = 0.0
    mixup: Annotated[float, Ge(0)] = 0.0
    cutmix: Annotated[float, Ge(0)] = 0.0
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    repeated: Annotated[int, Ge(1)] = 1  # clips drawn from each video of a batch


class Rendered(_Section):
    """Clips of procedural motions rendered on the device while training, none twice.

    `motions`: a vocabulary, whose motions are the classes; any: one to four coordinates either way, without classes.
    """

    motions: Literal["quickstart", "trunk", "any"]
    clips_per_epoch: Annotated[int, Ge(1)]


class DataConfig(_Section):
    """Which videos, which frames of them, and what is done to the frames."""

    dataset: Component = {"name": "video_list"}
    root: Path = Path()
    train: str | None = None
    first_per_class: Annotated[int, Ge(1)] | None = None  # train on the first so many of each class
    rendered: Rendered | None = None  # train on these instead of data.train
    val: Annotated[
        Annotated[str, Tag("a list")] | Annotated[Holdout, Tag("a holdout")] | Annotated[None, Tag("no list")],
        Discriminator(lambda v: "no list" if v is None else "a holdout" if isinstance(v, dict | Holdout) else "a list"),
    ] = None
    test: str | None = None
    classes: str | Annotated[int, Ge(2)] | None = None  # a file with one name a line, or just their number
    obtain: str = ""  # said when files are missing: where to get them
    decoder: Component = {"name": "decord"}
    short_side_px: Annotated[int, Ge(1)] | None = None  # larger frames are made this small before anything else
    cache: Annotated[str, AfterValidator(_known_cache)] = "off"  # frames are decoded once: off, ram, or a folder
    cache_gb: Annotated[float, Gt(0)] = 10.0  # what the cache may hold
    num_frames: Annotated[int, Ge(1)] = 8
    sampling: Component = {"name": "dense"}
    crop_px: Annotated[int, Ge(1)] = 224
    augment: AugmentConfig = AugmentConfig()
    workers: Annotated[int, Ge(0)] = 4  # processes that read videos; 0: the main one reads, without a time limit
    limit_sec: Annotated[float, Gt(0)] = 120.0  # for one video; then its process is ended and it counts as unreadable
    max_unreadable: Share = 0.01


class OptimConfig(_Section):
    """Optimizer and schedule. Learning rates are per 256 videos of the global batch."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr_per_256: Annotated[float, Gt(0)] = 0.1
    warmup_lr_per_256: Annotated[float, Ge(0)] = 0.0
    min_lr_per_256: Annotated[float, Ge(0)] = 0.0
    warmup_epochs: Annotated[float, Ge(0)] = 10
    weight_decay: Annotated[float, Ge(0)] = 0.0
    momentum: Share = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0


class TrainConfig(_Section):
    """The training loop. `batch_size` counts videos over all ranks and accumulation steps.

    `resume`: what to do in a folder that holds checkpoints. strict goes on, and refuses a config with other values; force
    goes on with the new values and logs each difference; never refuses the folder.
    """

    enable: bool = True
    epochs: Annotated[int, Ge(1)] = 90
    batch_size: Annotated[int, Ge(1)] = 64
    accumulate: Annotated[int, Ge(1)] = 1
    clip_grad_norm: Annotated[float, Gt(0)] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False  # torch.compile for the transformer blocks: faster steps after a minute's wait
    ema: Annotated[float, Interval(gt=0, lt=1)] | None = None
    validate_every_epochs: Annotated[int, Ge(1)] = 1
    checkpoint_every_steps: Annotated[int, Ge(1)] = 500
    keep_checkpoints: Annotated[int, Ge(1)] = 2  # the newest; the best is kept besides
    resume: Literal["strict", "force", "never"] = "strict"


class TestConfig(_Section):
    """Multi-view testing. `batch_size` counts views in one forward pass of one rank."""

    enable: bool = True
    clips: Annotated[int, Ge(1)] = 4
    crops: Annotated[int, Ge(1)] = 3
    average: Literal["logits", "probs"] = "logits"
    batch_size: Annotated[int, Ge(1)] = 24
    max_unreadable: Share = 0.0


class PretrainConfig(_Section):
    """Masked pre-training (`task: pretrain`). The decoder's dimensions are the published ones for model.backbone.size."""

    mask_ratio: Annotated[float, Interval(ge=0.5, le=0.95)] = 0.9
    decoder_width: Annotated[int, Ge(1)] | None = None
    decoder_heads: Annotated[int, Ge(1)] | None = None
    decoder_depth: Annotated[int, Ge(1)] | None = None
    picture_every_epochs: Annotated[int, Ge(1)] = 20


class Config(_Section):
    """Everything a run depends on; saved as config.yaml in its output folder."""

    task: Literal["train", "pretrain"] = "train"
    output: Path
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    pretrain: PretrainConfig = PretrainConfig()
    test: TestConfig = TestConfig()
