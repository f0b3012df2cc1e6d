"""From a Config to a model; `build_data` makes what reads its clips. No other files turn a Config into objects."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from videoadapt import logger
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config, ModelConfig
from videoadapt.errors import CheckpointError, ConfigError, at_file_key, at_key
from videoadapt.models.adapters import build_adapter
from videoadapt.models.assembly import assemble
from videoadapt.models.autoencoder import DECODERS, MaskedAutoencoder
from videoadapt.models.backbone import Backbone
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.masking import num_left_out, num_masked_patches
from videoadapt.models.parameters import freeze_by_name
from videoadapt.paths import is_file
from videoadapt.registry import BACKBONES
from videoadapt.runs.checkpoint import load_checkpoint
from videoadapt.runs.folder import (
    check_class_names,
    load_result,
    needed_checkpoint,
    newest_checkpoint,
    read_class_names,
    statement_in,
)
from videoadapt.runs.start import StartWeights, read_start, start_weights
from videoadapt.runs.statement import Statement, said
from videoadapt.video.sides import CropPx, sides_of
from videoadapt.weights.formats import Weights, read_weights
from videoadapt.weights.normalisation import IMAGENET
from videoadapt.weights.published import fetched

Model = TypeVar("Model", Classifier, MaskedAutoencoder)
Classes = int | Sequence[str]  # how many, or their names


def build_autoencoder(config: Config) -> MaskedAutoencoder:
    """Build backbone and decoder with new weights; every parameter trains.

    Raises ConfigError for a backbone, clips, a ratio, a decoder or names to freeze that cannot be.
    """
    with at_key("model.backbone"):
        backbone, pretrain = BACKBONES.build(config.model.backbone), config.pretrain
    if not isinstance(backbone, ViT):
        raise ConfigError(
            f"model.backbone.name = {config.model.backbone['name']!r}: masked tokens can be left out of a vit only"
        )
    if backbone.grid.framewise:
        raise ConfigError(
            "model.backbone.attention = 'framewise': masked tokens are left out of whole clips; allowed: joint. For frames by "
            "themselves pre-train on clips of one: data.num_frames and model.backbone.tubelet_frames 1"
        )
    if backbone.normalisation != IMAGENET:
        raise ConfigError(
            f"model.backbone: {backbone.normalisation}: say what given weights were trained with, and masked "
            "pre-training begins without any; leave them out"
        )
    with at_key("data"):
        grid_THW = backbone.grid_THW(config.data.num_frames, *sides_of(config.data.crop_px))
    with at_key("pretrain"):
        num_masked_patches(grid_THW, pretrain.mask_ratio)
        if pretrain.decoder_mask_ratio is not None:
            num_left_out(grid_THW, pretrain.decoder_mask_ratio)
    published = DECODERS[config.model.backbone["size"]]
    given = {"width": pretrain.decoder_width, "num_heads": pretrain.decoder_heads, "depth": pretrain.decoder_depth}
    size = published._replace(**{key: value for key, value in given.items() if value is not None})
    if size.width % size.num_heads:
        raise ConfigError(f"pretrain.decoder_heads = {size.num_heads}: needs to divide decoder_width = {size.width}")
    return _frozen(MaskedAutoencoder(backbone, size, pretrain.mask_token_cut), config)


def build_model(
    spec: ModelConfig,
    classes: Classes,
    num_frames: int,
    crop_px: CropPx,
    weights_key: str = "model.weights",
    trained: bool = False,
) -> Classifier:
    """Build backbone -> check that the clip fits -> weights (strict) -> adapter -> freeze; return it in training mode.

    `classes`: their names or, where no file has a head for them by name, how many they are. `weights_key`: where whoever asks
    has set `spec.weights`, a key or an argument. `trained`: whoever asks loads what a run has trained next.
    Raises ConfigError for a backbone that does not take such clips or such an adapter, CheckpointError for the weights.
    """
    return _assemble(
        spec, lambda: _read(spec, classes, weights_key), classes, num_frames, crop_px, weights_key, trained
    )


def _read(spec: ModelConfig, classes: Classes, weights_key: str = "model.weights") -> Weights | None:
    with at_file_key(weights_key):
        given = {key: getattr(spec, key) for key in ("weights", "backbone_weights")}
        spec = spec.model_copy(update={key: fetched(name) for key, name in given.items() if name is not None})
        start = read_start(spec.weights)
        if start is not None:
            return start_weights(start, spec, None if isinstance(classes, int) else classes)
    if spec.backbone_weights is not None:
        raise ConfigError(
            f"model.backbone_weights = {spec.backbone_weights}: is the backbone of what a run left, and {weights_key} = "
            f"{spec.weights} is no such thing; set it to null"
        )
    with at_file_key(weights_key):
        if spec.weights is None:
            return None
        return read_weights(spec.weights, spec.obtain, BACKBONES.get(spec.backbone["name"]).weight_names)


def _assemble(
    spec: ModelConfig,
    read: Callable[[], Weights | None],
    classes: Classes,
    num_frames: int,
    crop_px: CropPx,
    weights_key: str = "model.weights",
    trained: bool = False,
) -> Classifier:
    with at_key("model.backbone"):
        backbone: Backbone = BACKBONES.build(spec.backbone)
    adapter = build_adapter(spec.adapter, "model.adapter")
    with at_key("data"):
        backbone.check_clip(num_frames, *sides_of(crop_px))
    head = Head(
        backbone.width,
        _number_of(classes),
        batch_norm=spec.head.batch_norm,
        sync=spec.head.sync,
        dropout=spec.head.dropout,
        init_std=spec.head.init_std,
        init_scale=spec.head.init_scale,
    )
    weights = read()  # once everything that is quickly known to be wrong has been said
    with at_file_key(weights_key), at_key("model.adapter"):
        model = assemble(backbone, adapter, head, weights, spec.inflate, trained)
        if isinstance(weights, StartWeights) and not head.linear.weight.is_meta:
            weights.confirm(model, num_frames, crop_px)
    return model


def _number_of(classes: Classes) -> int:
    return classes if isinstance(classes, int) else len(classes)


def build_seeded_model(
    config: Config, classes: Classes, weights_key: str = "model.weights", trained: bool = False
) -> Classifier:
    """Build the model; initial values come from the seed, so that a backbone without weights is the same in every process.

    `trained` as of `build_model`.
    """
    torch.manual_seed(config.seed)
    model = build_model(config.model, classes, config.data.num_frames, config.data.crop_px, weights_key, trained)
    return _frozen(model, config)


def _frozen(model: Model, config: Config) -> Model:
    """The model with the parameters frozen that `train.freeze` names."""
    with at_key("train"):
        freeze_by_name(model, config.train.freeze)
    model.train()  # BatchNorm of a frozen head stays as it is
    return model


def build_on_meta(config: Config, classes: Classes) -> Classifier | MaskedAutoencoder:
    """Build the model on the meta device: shows whether backbone, adapters, weights and clips fit, and allocates nothing.

    Raises what `build_autoencoder` and `build_model` raise.
    """
    spec = config.model
    weights = _read(spec, classes) if config.task == "train" else None
    with _WithoutValues(), torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")  # that is what it is for
        if config.task == "pretrain":
            return build_autoencoder(config)
        model = _assemble(spec, lambda: weights, classes, config.data.num_frames, config.data.crop_px)
        return _frozen(model, config)


class _WithoutValues(TorchFunctionMode):
    """Skips what sets or changes values in place: the meta device has none, and takes seconds over drawing them."""

    _SKIPPED = ("add_", "clamp_", "erfinv_", "fill_", "kaiming_uniform_", "mul_", "normal_", "uniform_", "zero_")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._SKIPPED:
            changed = args[0] if args else kwargs["tensor"]  # torch.nn.init names it
            if changed.is_meta:
                return changed
        return func(*args, **kwargs)


def open_run(folder: Path, device: torch.device) -> tuple[Config, list[str], Classifier]:
    """Rebuild the model of a finished or interrupted run from its folder: config, class names, model in eval mode.

    Of a run that was only tested, whose head is in `model.weights`, it is that model. Raises CheckpointError for a folder
    that holds none, and for weights that do not fit, ConfigError for its config.
    """
    if not is_file(folder / "config.yaml"):
        option = {".safetensors": "--adapter", ".onnx": "--onnx"}.get(folder.suffix)
        cure = f"; a file is given with {option}, where a command takes it" if option else ""
        raise CheckpointError(f"{folder}: not a run folder (no config.yaml in it){cure}")
    config = load_config(folder / "config.yaml")
    if config.task != "train":
        raise CheckpointError(
            f"{folder}: holds a masked pre-training, which has no classes; train on its pretrained.pth"
        )
    path = None if _was_only_tested(folder, config) else needed_checkpoint(folder)
    # before the model, which takes long: a training may delete the file meanwhile
    state = None if path is None else load_checkpoint(path)
    there = None if path is None or state is None else statement_in(state, path)
    class_names = read_class_names(folder) or (there.class_names if there is not None else [])
    check_class_names(class_names, folder)
    elsewhere = "set it to where that is now"
    if path is not None:
        elsewhere += f", or load {folder / 'adapter.safetensors'} with it as `weights`"
    hints = {"obtain": "; ".join(filter(None, (config.model.obtain, elsewhere)))}
    asked = config.model_copy(update={"model": config.model.model_copy(update=hints)})
    model = build_seeded_model(asked, class_names, f"{folder / 'config.yaml'}: model.weights", path is not None)
    if path is None:
        if not model.head_loaded:
            needed_checkpoint(folder)
    elif differing := load_result(model, path, Statement.of(config, class_names, model), state):
        logger.info("%s: %s", folder / "config.yaml", said(differing))
    return config, class_names, model.to(device).eval()


def _was_only_tested(folder: Path, config: Config) -> bool:
    """Whether a test of `model.weights` may have left this folder, without a training."""
    return newest_checkpoint(folder) is None and config.model.weights is not None and is_file(folder / "results.json")
