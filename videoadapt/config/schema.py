"""Every key of a run's config: its type, its range, its default, and what another value alters (`marks`).

A component (`{name: adaptformer, bottleneck: 64}`) is checked against the keyword-only arguments of its constructor:
the signature is the schema, so this file knows no component.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
)

from videoadapt.config.marks import FUNCTION, NOTHING, PASS, PREDICTION, SCORES, UPDATES
from videoadapt.config.optimizers import OptimizerName, Options
from videoadapt.config.schedules import Cosine, ScheduleKey
from videoadapt.paths import with_home
from videoadapt.registry.signature import is_no_number

Component = dict[str, Any]
ListName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # part of a file's name
Share = Annotated[float, Interval(ge=0, le=1)]
_Beta = Annotated[float, Interval(ge=0, lt=1)]
_Side = Annotated[int, Interval(ge=1, le=8_192)]
_MOST = 1_000_000_000  # epochs, updates, clips: what follows of them still fits 64 bits
MOST_CLIPS, MOST_CROPS = 1_000, 100  # of a video that is tested, wherever they are said
DAY_SEC = 86_400


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _names_a_file(cls, value: Any) -> Any:
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("holds a null byte, which no name of a file can")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_none_of_two(cls, value: Any, info: ValidationInfo) -> Any:
        if is_no_number(value, cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("a number is expected")
        return value


def _with_home(value: Any) -> Any:
    return type(value)(with_home(str(value)))


# what names a file or a folder, with `~` for a home folder
PathKey = Annotated[Path, AfterValidator(_with_home)]
PathText = Annotated[str, AfterValidator(_with_home)]


def _known_cache(value: str) -> str:
    if value not in ("off", "ram") and "/" not in value:
        raise ValueError("allowed: off, ram, or a folder, with a / in its name")
    return value


def _square_as_one(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value[0] == value[1] else value


def _as_test_list(value: Any) -> Any:
    return {"list": value} if isinstance(value, str) else value


def _is_meant_as_list(value: Any) -> bool:
    """Also 224,320: what refuses it then shows the list."""
    return isinstance(value, list | tuple) or (isinstance(value, str) and "," in value)


def _kind_of_weights(value: Any) -> str | None:
    if value is None or value == "inverse":
        return "a word"
    return "a list" if _is_meant_as_list(value) else "a rule" if isinstance(value, dict | EffectiveNumber) else None


class HeadConfig(_Section):
    """What follows the pooled feature: `fc_norm`, optionally BatchNorm without affine, dropout, Linear."""

    batch_norm: Annotated[bool, UPDATES | FUNCTION] = True
    sync: Annotated[bool, UPDATES] = False  # share BatchNorm statistics over ranks; false is AdaptFormer's behaviour
    dropout: Annotated[Share, UPDATES] = 0.0
    init_std: Annotated[float, Gt(0), UPDATES] = 0.01
    # the Linear's start times this; VideoMAE's fine-tuning: 0.02 x 0.001
    init_scale: Annotated[float, Gt(0), UPDATES] = 1.0


class ModelConfig(_Section):
    """Backbone, its pre-trained weights, the adapter, the head."""

    backbone: Annotated[Component, UPDATES | FUNCTION | PASS] = {"name": "vit", "size": "base"}
    weights: Annotated[PathText | None, UPDATES] = None
    # where model.weights is what a run left: the weights of its backbone, if they are no longer where its config says
    backbone_weights: Annotated[PathText | None, UPDATES] = None
    obtain: Annotated[str, NOTHING] = ""  # said when the weights are missing: where to get them
    expect: Annotated[str, NOTHING] = ""  # said at the start of a training: what this backbone is good for
    # how the patch kernel of an image ViT becomes one over frames
    inflate: Annotated[Literal["average", "centre"], UPDATES | FUNCTION] = "average"
    # a list: several methods at once
    adapter: Annotated[Component | list[Component], UPDATES | FUNCTION] = {"name": "adaptformer"}
    head: HeadConfig = HeadConfig()


class Holdout(_Section):
    """Validate on a share of the training list; rows whose `group` (a regex; its first group) agrees stay together."""

    holdout: Annotated[float, Interval(gt=0, le=0.5)]  # every class keeps a half for the training
    group: str | None = None


class FewOfEach(_Section):
    """Train on `count` videos of each class, drawn by `seed`; null: by the run's, so that a sweep's seeds are as many draws."""

    count: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)] | None = None


class EffectiveNumber(_Section):
    """Weigh classes by their effective number of examples, whose beta this is: 0.9 differs less from equal than 0.999."""

    effective: Annotated[float, Interval(gt=0, lt=1)]


class AugmentConfig(_Section):
    """Training augmentation, drawn once per clip."""

    crop: Literal["multi_scale", "random_resized", "random_clipped", "random", "centre"] = "multi_scale"
    flip: Share = 0.0
    rand_augment: str | None = None
    erasing: Share = 0.0
    noise: Annotated[float, Interval(ge=0, le=255)] = 0.0  # largest deviation of Gaussian noise, grey levels
    mixup: Annotated[float, Ge(0)] = 0.0
    cutmix: Annotated[float, Ge(0)] = 0.0
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    repeated: Annotated[int, Interval(ge=1, le=1_000)] = 1  # clips drawn from each video of a batch
    repeated_frames: Literal["own", "same"] = "own"  # of each clip; same: one set, augmented so many times (VideoMAE)
    cutmix_box: Literal["whole", "videomae"] = "whole"  # videomae: its rows taken as frames, its columns as rows


class TestList(_Section):
    """A list to test on. `group`: a regex; the accuracy of the videos whose first group of it agrees is given too.

    Of another data set: `root`, where its videos are, `classes`, the names of its labels, and `shared`, a csv file of its
    classes and ours for them.
    """

    list: PathText
    group: str | None = None
    root: PathKey | None = None
    classes: PathText | None = None
    shared: PathText | None = None


class Rendered(_Section):
    """Clips of procedural motions rendered on the device while training, none twice.

    `motions`: a vocabulary, whose motions are the classes; any: one to four coordinates either way, without classes.
    """

    motions: Literal["quickstart", "trunk", "any"]
    clips_per_epoch: Annotated[int, Interval(ge=1, le=_MOST)]


class DataConfig(_Section):
    """Which videos, which frames of them, and what is done to the frames."""

    dataset: Annotated[Component, UPDATES] = {"name": "video_list"}
    root: Annotated[PathKey, SCORES] = Path()
    train: Annotated[PathText | None, UPDATES] = None
    first_per_class: Annotated[int | None, Ge(1), UPDATES] = None  # train on the first so many of each class
    few_per_class: Annotated[FewOfEach | None, UPDATES] = None  # the same, drawn at random
    # 0: every row once an epoch; 1: of every class equally many; 0.5 is between, by the root of a class's number of videos
    balance: Annotated[Share, UPDATES] = 0.0
    rendered: Annotated[Rendered | None, UPDATES] = None  # train on these instead of data.train
    val: Annotated[
        Annotated[PathText, Tag("a list")] | Annotated[Holdout, Tag("a holdout")] | Annotated[None, Tag("no list")],
        Discriminator(lambda v: "no list" if v is None else "a holdout" if isinstance(v, dict | Holdout) else "a list"),
        UPDATES,
    ] = None
    # a list; or several by their names, of which the first is the run's own
    test: Annotated[
        Annotated[PathText, Tag("a list")]
        | Annotated[
            dict[ListName, Annotated[TestList, BeforeValidator(_as_test_list)]], MinLen(1), Tag("lists by name")
        ]
        | Annotated[None, Tag("no list")],
        Discriminator(lambda v: "no list" if v is None else "lists by name" if isinstance(v, dict) else "a list"),
        SCORES,
    ] = None
    # a file with one name a line, or just their number
    classes: Annotated[PathText | Annotated[int, Interval(ge=2, le=1_000_000)] | None, UPDATES] = None
    # of lists without a header row, in any order: path, label, and where rows are parts of films start_sec and end_sec, or
    # num_frames and offset
    columns: Annotated[
        list[Literal["path", "start_sec", "end_sec", "label", "offset", "num_frames", "group"]] | None, UPDATES
    ] = None
    # multi: a video has any number of labels, 0,3 in place of one, or a row for each of them
    labels: Annotated[Literal["single", "multi"], UPDATES | FUNCTION] = "single"
    obtain: Annotated[str, NOTHING] = ""  # said when files are missing: where to get them
    decoder: Annotated[Component, UPDATES | PREDICTION] = {"name": "decord"}
    # larger frames are made this small before anything else
    short_side_px: Annotated[int | None, Ge(2), UPDATES | PREDICTION | PASS] = None
    # then all frames are seen through JPEG of this quality, in training and testing, and kept as such in data.cache
    jpeg_quality: Annotated[int | None, Interval(ge=1, le=100), UPDATES | PREDICTION | PASS] = None
    # where training decodes those frames; device: processes hand over JPEG files, which the model's device decodes in batches
    jpeg_decoding: Annotated[Literal["processor", "device"], UPDATES] = "processor"
    # frames are decoded once: off, ram, or a folder
    cache: Annotated[PathText, AfterValidator(_known_cache), NOTHING] = "off"
    cache_gb: Annotated[float, Gt(0), NOTHING] = 10.0  # what the cache may hold
    num_frames: Annotated[int, Interval(ge=1, le=10_000), UPDATES | PREDICTION | PASS] = 8
    sampling: Annotated[Component, UPDATES | PREDICTION | PASS] = {"name": "dense"}
    # a square's side, or [height, width]
    crop_px: Annotated[
        Annotated[_Side, Tag("a side")] | Annotated[tuple[_Side, _Side], Tag("both sides")],
        Discriminator(lambda v: "both sides" if _is_meant_as_list(v) else "a side"),
        AfterValidator(_square_as_one),
        UPDATES | PREDICTION | PASS,
    ] = 224
    # how a frame comes to the crop's size: cut; whole, with bars of one grey level where it has another shape; or cut from
    # the middle and resized as models of images see it
    resize: Annotated[Literal["crop", "letterbox", "bicubic"], UPDATES | PREDICTION | PASS] = "crop"
    # of bicubic: the frame's short side, from whose middle a crop is cut; null: the crop's
    resize_px: Annotated[int | None, Ge(1), UPDATES | PREDICTION | PASS] = None
    bar_level: Annotated[int, Interval(ge=0, le=255), UPDATES | PREDICTION | PASS] = 0
    augment: Annotated[AugmentConfig, UPDATES] = AugmentConfig()
    # processes that read videos; 0: the main one reads, without a time limit
    workers: Annotated[int, Ge(0), NOTHING] = 4
    # for one video; then its process is ended and it counts as unreadable
    limit_sec: Annotated[float, Interval(gt=0, le=DAY_SEC), NOTHING] = 120.0
    max_unreadable: Annotated[Share, UPDATES] = 0.01


class OptimConfig(_Section):
    """Optimizer and schedule. Learning rates are per 256 videos of the global batch."""

    name: OptimizerName = "sgd"
    options: Options = {}  # arguments of torch's class that have no key here
    schedule: ScheduleKey = Cosine()  # or constant, step, polynomial, one_cycle
    lr_per_256: Annotated[float, Gt(0)] = 0.1
    warmup_lr_per_256: Annotated[float, Ge(0)] = 0.0
    min_lr_per_256: Annotated[float, Ge(0)] = 0.0
    warmup_epochs: Annotated[float, Ge(0)] = 10
    # the update with the full rate: the first after the warm-up (AdaptFormer), or the last within it (VideoMAE)
    warmup_peak: Literal["after", "within"] = "after"
    weight_decay: Annotated[float, Ge(0)] = 0.0
    momentum: Share = 0.9  # of sgd
    betas: tuple[_Beta, _Beta] = (0.9, 0.999)  # of all Adams
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0


class StopEarly(_Section):
    """End the training when a validation's `metric` has been no better for so long; the learning rate does not know of it."""

    metric: Literal["top1", "mAP", "loss"] = "top1"  # with data.labels multi: mAP or loss
    patience_epochs: Annotated[int, Ge(1)]


class TrainConfig(_Section):
    """The training loop. `batch_size` counts videos over all ranks and accumulation steps.

    `resume`: what to do in a folder that holds checkpoints. strict resumes, and refuses a config with other values; force
    resumes with the new values and logs each difference; never refuses the folder.
    """

    enable: Annotated[bool, NOTHING] = True
    epochs: Annotated[int, Interval(ge=1, le=_MOST), UPDATES] = 90
    # short lists: epochs rises until there are so many updates, and a batch is no larger than the list
    least_updates: Annotated[int | None, Interval(ge=1, le=_MOST), UPDATES] = None
    batch_size: Annotated[int, Ge(1), UPDATES] = 64
    accumulate: Annotated[int, Ge(1), UPDATES] = 1
    clip_grad_norm: Annotated[float | None, Gt(0), UPDATES] = None
    # parameters that stay as they began: names, of modules too, or patterns
    freeze: Annotated[tuple[str, ...], UPDATES] = ()
    # null: cross_entropy, or bce with data.labels multi
    loss: Annotated[Component | None, UPDATES] = None
    # what an example of each class counts in the loss: a list, one over its number of examples, or a softer rule of that
    class_weights: Annotated[
        Annotated[Literal["inverse"] | None, Tag("a word")]
        | Annotated[EffectiveNumber, Tag("a rule")]
        | Annotated[list[Annotated[float, Gt(0)]], Tag("a list")],
        Discriminator(
            _kind_of_weights, "weights", "allowed: null, inverse, {effective: BETA}, or a list of all weights"
        ),
        UPDATES,
    ] = None
    # so many times the logarithm of a class's share is added to its logit, in the loss alone; 1 is the paper's
    logit_adjustment: Annotated[float, Ge(0), UPDATES] = 0.0
    # auto: bf16 where the device multiplies it, fp32 elsewhere; config.yaml then has what it was
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], UPDATES | PREDICTION | PASS] = "fp32"
    # torch.compile for the transformer blocks: faster steps after a minute's wait. auto: on a GPU, if there is a compiler
    compile: Annotated[bool | Literal["auto"], UPDATES] = False
    # keep only what enters each transformer block, and compute the rest again for the gradients: less memory, more work
    activation_checkpointing: Annotated[bool, NOTHING] = False
    # divide parameters, gradients and moments among the GPUs (FSDP2), for what does not fit one; without: each has all (DDP)
    shard: Annotated[bool, NOTHING] = False
    ema: Annotated[float | None, Interval(gt=0, lt=1), UPDATES] = None
    validate_every_epochs: Annotated[int, Ge(1), UPDATES] = 1
    # views of a validation video, as in testing
    validate_clips: Annotated[int, Interval(ge=1, le=MOST_CLIPS), UPDATES] = 1
    validate_crops: Annotated[int, Interval(ge=1, le=MOST_CROPS), UPDATES] = 1
    stop_early: Annotated[StopEarly | None, UPDATES] = None
    checkpoint_every_steps: Annotated[int, Ge(1), NOTHING] = 500
    keep_checkpoints: Annotated[int, Ge(1), NOTHING] = 2  # the newest; the best is kept besides
    resume: Annotated[Literal["strict", "force", "never"], NOTHING] = "strict"
    # where else the numbers of metrics.jsonl go: tensorboard (where it is installed), wandb, mlflow
    loggers: Annotated[list[Component], NOTHING] = [{"name": "tensorboard"}]


class TestConfig(_Section):
    """Multi-view testing. `batch_size` counts views in one forward pass of one rank."""

    enable: Annotated[bool, NOTHING] = True
    clips: Annotated[int, Interval(ge=1, le=MOST_CLIPS), SCORES | PREDICTION | PASS] = 4
    crops: Annotated[int, Interval(ge=1, le=MOST_CROPS), SCORES | PREDICTION | PASS] = 3
    average: Annotated[Literal["logits", "probs"], SCORES | PREDICTION | PASS] = "logits"
    batch_size: Annotated[int, Ge(1), SCORES | PREDICTION] = 24  # alters the last bits of a sum
    # torch.compile for the transformer blocks, in testing and validation: worth its wait for long lists
    compile: Annotated[bool, SCORES] = False
    max_unreadable: Annotated[Share, NOTHING] = 0.0
    # after the test, the same views of corrupted videos: all kinds, or these (docs/robustness.md); null: none
    corruptions: Annotated[Literal["all"] | tuple[str, ...] | None, NOTHING] = None
    # fit a temperature on data.val, seen with the test's views, and give what probabilities are worth with it as well
    calibrate: Annotated[bool, SCORES] = False


class PretrainConfig(_Section):
    """Masked pre-training (`task: pretrain`). The decoder's dimensions are the published ones for model.backbone.size."""

    mask_ratio: Annotated[float, Interval(ge=0.5, le=0.95), UPDATES] = 0.9
    # the share of the tokens that the decoder leaves out, in running cells: 0.25, 0.5 (VideoMAE V2) or 0.75; null: none
    decoder_mask_ratio: Annotated[float | None, Interval(ge=0.25, le=0.75), UPDATES] = None
    decoder_width: Annotated[int | None, Ge(1), UPDATES] = None
    decoder_heads: Annotated[int | None, Ge(1), UPDATES] = None
    decoder_depth: Annotated[int | None, Ge(1), UPDATES] = None
    # the mask token starts normal with 0.02, cut at so many deviations (VideoMAE: 1, which leaves 0.011); null: not cut
    mask_token_cut: Annotated[float | None, Gt(0), UPDATES] = None
    picture_every_epochs: Annotated[int, Ge(1), NOTHING] = 20


class Config(_Section):
    """Everything a run depends on; saved as config.yaml in its output folder."""

    task: Annotated[Literal["train", "pretrain"], UPDATES] = "train"
    output: Annotated[PathKey, NOTHING]
    chosen: Annotated[str, NOTHING] = ""  # by `_CHOOSE_` of its yaml: which config, and why none before it
    seed: Annotated[int, Interval(ge=0, lt=2**64), UPDATES] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], NOTHING] = "auto"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optim: Annotated[OptimConfig, UPDATES] = OptimConfig()
    train: TrainConfig = TrainConfig()
    pretrain: PretrainConfig = PretrainConfig()
    test: TestConfig = TestConfig()
