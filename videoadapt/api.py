"""What scripts and notebooks use, as `import videoadapt as va`; docs/python.md shows examples.

A wrong argument is named in the error: TypeError for another type, ConfigError for a value that is not allowed.
Shapes: C channels, T frames, H W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

from videoadapt import distributed
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.errors import (
    CheckpointError,
    ConfigError,
    DataListError,
    DecodeError,
    VideoAdaptError,
    at_file_key,
    check_count,
    check_path,
)
from videoadapt.evaluation.episodes import FewShot, few_shot_accuracy
from videoadapt.inference.predictor import Prediction, Predictor
from videoadapt.models.adapters import build_adapter
from videoadapt.models.arguments import Named, model_components
from videoadapt.models.assembly import assemble
from videoadapt.models.backbone import Backbone
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.paths import exists, is_folder
from videoadapt.registry import ADAPTERS, BACKBONES, DATASETS, DECODERS, LOGGERS, LOSSES, SAMPLERS
from videoadapt.runs.adapter_average import average_adapters
from videoadapt.training.execution import execute
from videoadapt.video import transforms
from videoadapt.video.clip import read_clip
from videoadapt.video.corruptions import corrupt
from videoadapt.video.decoders import open_video
from videoadapt.video.sides import CropPx, sides_of
from videoadapt.weights.files import check_weights
from videoadapt.weights.formats import Inflation, read_weights
from videoadapt.weights.names import is_name
from videoadapt.weights.published import fetched

__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataListError",
    "DecodeError",
    "FewShot",
    "Prediction",
    "Predictor",
    "RunResult",
    "VideoAdaptError",
    "adapters",
    "average_adapters",
    "backbones",
    "corrupt",
    "create_model",
    "datasets",
    "decoders",
    "few_shot_accuracy",
    "load",
    "load_config",
    "loggers",
    "losses",
    "normalise",
    "open_video",
    "read_clip",
    "register_adapter",
    "register_backbone",
    "register_dataset",
    "register_decoder",
    "register_logger",
    "register_loss",
    "register_sampler",
    "run",
    "samplers",
]
Class = TypeVar("Class", bound=type)


def load(
    source: str | Path,
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    compile: bool = False,
    fps_hz: float | None = None,
) -> Predictor:
    """A trained model from its run folder, or from an adapter file, or name (hf:user/name), around the backbone in `weights`.

    A file model.onnx of `videoadapt export` is a whole model, which onnxruntime computes on the CPU; it gives no features.

    "package:quickstart_adapter.safetensors" is the quickstart's, which comes with videoadapt and knows eight rendered motions.
    `weights` may be left out where the adapter's backbone comes with videoadapt, or is named in it and on this machine.
    `device`: auto, cpu, cuda, cuda:1. `compile`: let torch.compile make it faster, for many videos; the first then takes up to
    a minute. `fps_hz`: see videos at this rate (`data.sampling.fps_hz`), for a model that counted frames of it in training, and
    videos of another.
    Raises CheckpointError when a file is missing or damaged, or the backbone is not the adapter's.
    """
    check_path("source", source)
    if is_name(str(source)) or str(source).startswith("package:"):
        return Predictor.from_adapter(source, weights, device, compile, fps_hz)
    path = Path(source)
    if is_folder(path):
        if weights is not None:
            raise ConfigError(
                f"weights: a run folder names its own; with others, load its adapter: {path / 'adapter.safetensors'}"
            )
        return Predictor.from_run(path, device, compile, fps_hz)
    if not exists(path):
        raise CheckpointError(f"{path}: no such run folder or adapter file")
    if path.suffix == ".onnx":
        if weights is not None or compile or str(device) not in ("auto", "cpu"):
            raise ConfigError(f"{path}: an ONNX file goes with no weights, no compile and device cpu")
        return Predictor.from_onnx(path, fps_hz)
    return Predictor.from_adapter(path, weights, device, compile, fps_hz)


def normalise(clips: Tensor) -> Tensor:
    """uint8 clips (B, 3, T, H, W), or one (3, T, H, W), as models take them: float32, ImageNet's mean and deviation.

    Raises TypeError for no tensor, ConfigError for one of another type or shape.
    """
    if not isinstance(clips, Tensor):
        raise TypeError(f"clips: expected a tensor, got {type(clips).__name__}; torch.from_numpy makes one of an array")
    if clips.dtype != torch.uint8 or clips.ndim not in (4, 5) or clips.shape[-4] != 3:
        raise ConfigError(
            f"clips: {clips.dtype} of shape {tuple(clips.shape)}; expected uint8, 0 to 255, (B, 3, T, H, W) or (3, T, H, W)"
        )
    return transforms.normalise(clips, [None] * len(clips))  # with nothing to erase, a clip is as good as a batch


def create_model(
    backbone: Named = "vit",
    *,
    num_classes: int,
    adapter: Named | Sequence[Named] = "adaptformer",
    weights: str | Path | None = None,
    num_frames: int = 16,
    crop_px: CropPx = 224,
    batch_norm: bool = True,
    inflate: Inflation = "average",
    **options: Any,
) -> Classifier:
    """A model for a training loop of your own, in training mode: normalised clips (B, 3, T, H, W) -> logits (B, K).

    `options` are arguments of the backbone (size="base") and of the adapter (bottleneck=64), told apart by their names; a
    component may also be given with its own, {"name": "lora", "rank": 8}, and `adapter` as a list of several. Only what
    the adapter trains has `requires_grad`, with the head. `weights`: a file or folder of any format of docs/weights.md, a name
    that is downloaded ("hf:MCG-NJU/videomae-base", "timm:...", "https:..."), or "package:masked_trunk.safetensors"; None:
    random, from torch's generator. `batch_norm`: BatchNorm in front of the head.
    Raises ConfigError for arguments, and for clips that the backbone does not take, CheckpointError for the weights.
    """
    for name, value in (("num_classes", num_classes), ("num_frames", num_frames)):
        check_count(name, value)
    height_px, width_px = sides_of(crop_px)
    if inflate not in get_args(Inflation):
        raise ConfigError(f"inflate = {inflate!r}: allowed: {', '.join(get_args(Inflation))}")
    if weights is not None:
        with at_file_key("weights"):
            weights = fetched(str(weights))
        check_weights("weights", weights)
    chosen, methods = model_components(backbone, adapter, options)
    built: Backbone = BACKBONES.build(chosen)
    method = build_adapter(methods[0] if len(methods) == 1 else methods)
    built.check_clip(num_frames, height_px, width_px)
    head = Head(built.width, num_classes, batch_norm=batch_norm)
    found = None if weights is None else read_weights(str(weights), names=built.weight_names)
    return assemble(built, method, head, found, inflate)


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: its folder, which `load` opens, and the content of results.json, None where nothing was tested."""

    folder: Path
    results: Mapping[str, Any] | None

    @property
    def top1(self) -> float | None:
        """Test videos that were right, in percent; None with several labels a video."""
        return self.results.get("top1") if self.results else None

    @property
    def top5(self) -> float | None:
        """Test videos whose class was among the five most probable, in percent; None with several labels a video."""
        return self.results.get("top5") if self.results else None

    @property
    def mean_average_precision(self) -> float | None:
        """With several labels a video (`data.labels` multi), the mean over classes of their average precision, in percent."""
        return self.results.get("mAP") if self.results else None


def run(config: Config) -> RunResult:
    """Train and test, or pre-train, as the config says; the same as `videoadapt train`, and to the same bits.

    A run that was stopped resumes where it was. Under torchrun all processes call it. Raises ConfigError with all that is
    wrong before the first step, Diverged when training does, and TooManyUnreadable, which has the `results`, when more test
    videos than `test.max_unreadable` allows cannot be read.
    """
    with nullcontext() if distributed.is_active() else distributed.process_group():
        finished, results = execute(config)
    return RunResult(finished.folder, results)


def adapters() -> list[str]:
    """Names for `model.adapter`."""
    return ADAPTERS.names()


def backbones() -> list[str]:
    """Names for `model.backbone`."""
    return BACKBONES.names()


def decoders() -> list[str]:
    """Names for `data.decoder`."""
    return DECODERS.names()


def samplers() -> list[str]:
    """Names for `data.sampling`."""
    return SAMPLERS.names()


def loggers() -> list[str]:
    """Names for `train.loggers`."""
    return LOGGERS.names()


def datasets() -> list[str]:
    """Names for `data.dataset`."""
    return DATASETS.names()


def register_adapter(name: str) -> Callable[[Class], Class]:
    """Class decorator: an `Adapter` (videoadapt.models.adapters) that `create_model` and configs call by this name."""
    return ADAPTERS.register(name)


def register_backbone(name: str) -> Callable[[Class], Class]:
    """Class decorator: a `Backbone` (videoadapt.models.backbone) that `create_model` and configs call by this name."""
    return BACKBONES.register(name)


def register_decoder(name: str) -> Callable[[Class], Class]:
    """Class decorator: a `Decoder` (videoadapt.video.decoders) that `open_video` and configs call by this name."""
    return DECODERS.register(name)


def register_sampler(name: str) -> Callable[[Class], Class]:
    """Class decorator: a `Sampler` (videoadapt.video.samplers) that configs call by this name."""
    return SAMPLERS.register(name)


def register_logger(name: str) -> Callable[[Class], Class]:
    """Class decorator: a `Logger` (videoadapt.runs.loggers) that configs call by this name."""
    return LOGGERS.register(name)


def losses() -> list[str]:
    """Names for `train.loss`."""
    return LOSSES.names()


def register_loss(name: str) -> Callable[[Class], Class]:
    """Class decorator: a `Loss` (videoadapt.training.losses) that configs call by this name."""
    return LOSSES.register(name)


def register_dataset(name: str) -> Callable[[Class], Class]:
    """Class decorator: a data set that configs call by this name.

    `load(source, root)` returns `videoadapt.data.videos.VideoRows(root, rows)`, a row for each video of the list `source`:
    path below root, label, line. `class_names`, if it has them, are in the order of the labels; else `data.classes` says them.
    """
    return DATASETS.register(name)
