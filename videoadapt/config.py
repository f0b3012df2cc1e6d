"""One yaml file plus `key value` overrides -> one frozen Config, or one ConfigError that lists every problem.

A component (`{name: adaptformer, bottleneck: 64}`) is checked against the keyword-only arguments of its constructor:
the signature is the schema, so this file knows no component.
"""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, create_model

from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.registry import ADAPTERS, BACKBONES, DATASETS, DECODERS, Registry
from videoadapt.sampling import Dense, Segment
from videoadapt.yaml_files import merge, parse_overrides, read_yaml

Component = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1)]


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
    init_std: Annotated[float, Field(gt=0)] = 0.01


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

    holdout: Annotated[float, Field(gt=0, lt=1)]
    group: str | None = None


class AugmentConfig(_Section):
    """Training augmentation, drawn once per clip."""

    crop: Literal["multi_scale", "random_resized", "random", "centre"] = "multi_scale"
    flip: Share = 0.0
    rand_augment: str | None = None
    erasing: Share = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    repeated: Annotated[int, Field(ge=1)] = 1  # clips drawn from each video of a batch


class Rendered(_Section):
    """Clips of procedural motions rendered on the device while training, none twice.

    `motions`: a vocabulary, whose motions are the classes; any: one to four coordinates either way, without classes.
    """

    motions: Literal["quickstart", "trunk", "any"]
    clips_per_epoch: Annotated[int, Field(ge=1)]


class DataConfig(_Section):
    """Which videos, which frames of them, and what is done to the frames."""

    dataset: Component = {"name": "video_list"}
    root: Path = Path()
    train: str | None = None
    first_per_class: Annotated[int, Field(ge=1)] | None = None  # train on the first so many of each class
    rendered: Rendered | None = None  # train on these instead of data.train
    val: Annotated[
        Annotated[str, Tag("a list")] | Annotated[Holdout, Tag("a holdout")] | Annotated[None, Tag("no list")],
        Discriminator(lambda v: "no list" if v is None else "a holdout" if isinstance(v, dict | Holdout) else "a list"),
    ] = None
    test: str | None = None
    classes: str | Annotated[int, Field(ge=2)] | None = None  # a file with one name a line, or just their number
    obtain: str = ""  # said when files are missing: where to get them
    decoder: Component = {"name": "decord"}
    short_side_px: Annotated[int, Field(ge=1)] | None = None  # larger frames are made this small before anything else
    cache: Annotated[str, AfterValidator(_known_cache)] = "off"  # frames are decoded once: off, ram, or a folder
    cache_gb: Annotated[float, Field(gt=0)] = 10.0  # what the cache may hold
    num_frames: Annotated[int, Field(ge=1)] = 8
    sampling: Annotated[Dense | Segment, Field(discriminator="name")] = Dense()
    crop_px: Annotated[int, Field(ge=1)] = 224
    augment: AugmentConfig = AugmentConfig()
    workers: Annotated[int, Field(ge=0)] = 4  # processes that read videos; 0: the main one reads, without a time limit
    limit_sec: Annotated[float, Field(gt=0)] = (
        120.0  # for one video; then its process is ended and it counts as unreadable
    )
    max_unreadable: Share = 0.01


class OptimConfig(_Section):
    """Optimizer and schedule. Learning rates are per 256 videos of the global batch."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr_per_256: Annotated[float, Field(gt=0)] = 0.1
    warmup_lr_per_256: Annotated[float, Field(ge=0)] = 0.0
    min_lr_per_256: Annotated[float, Field(ge=0)] = 0.0
    warmup_epochs: Annotated[float, Field(ge=0)] = 10
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Share = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class TrainConfig(_Section):
    """The training loop. `batch_size` counts videos over all ranks and accumulation steps.

    `resume`: what to do in a folder that holds checkpoints. strict goes on, and refuses a config with other values; force
    goes on with the new values and logs each difference; never refuses the folder.
    """

    enable: bool = True
    epochs: Annotated[int, Field(ge=1)] = 90
    batch_size: Annotated[int, Field(ge=1)] = 64
    accumulate: Annotated[int, Field(ge=1)] = 1
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False  # torch.compile for the transformer blocks: faster steps after a minute's wait
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    validate_every_epochs: Annotated[int, Field(ge=1)] = 1
    checkpoint_every_steps: Annotated[int, Field(ge=1)] = 500
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2  # the newest; the best is kept besides
    resume: Literal["strict", "force", "never"] = "strict"


class TestConfig(_Section):
    """Multi-view testing. `batch_size` counts views in one forward pass of one rank."""

    enable: bool = True
    clips: Annotated[int, Field(ge=1)] = 4
    crops: Annotated[int, Field(ge=1)] = 3
    average: Literal["logits", "probs"] = "logits"
    batch_size: Annotated[int, Field(ge=1)] = 24
    max_unreadable: Share = 0.0


class PretrainConfig(_Section):
    """Masked pre-training (`task: pretrain`). The decoder's dimensions are the published ones for model.backbone.size."""

    mask_ratio: Annotated[float, Field(ge=0.5, le=0.95)] = 0.9
    decoder_width: Annotated[int, Field(ge=1)] | None = None
    decoder_heads: Annotated[int, Field(ge=1)] | None = None
    decoder_depth: Annotated[int, Field(ge=1)] | None = None
    picture_every_epochs: Annotated[int, Field(ge=1)] = 20


class Config(_Section):
    """Everything a run depends on; saved as config.yaml in its output folder."""

    task: Literal["train", "pretrain"] = "train"
    output: Path
    seed: Annotated[int, Field(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    pretrain: PretrainConfig = PretrainConfig()
    test: TestConfig = TestConfig()


COMPONENTS: dict[tuple[str, str], Registry] = {
    ("model", "backbone"): BACKBONES,
    ("model", "adapter"): ADAPTERS,
    ("data", "dataset"): DATASETS,
    ("data", "decoder"): DECODERS,
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read `path` and its `_BASE_` files, apply `key value` and `key=value` overrides, check everything.

    Raises ConfigError with all problems at once: unknown keys and names, wrong types, values out of range.
    """
    raw = merge(read_yaml(Path(path)), parse_overrides(overrides))
    problems: list[str] = []
    for (section, key), registry in COMPONENTS.items():
        spec = (raw.get(section) or {}).get(key) if isinstance(raw.get(section, {}), dict) else None
        if spec is None:
            spec = (Config.model_fields[section].annotation or Config).model_fields[key].default
        check = _check_components if (section, key) == ("model", "adapter") else _check_component
        checked = check(spec, registry, f"{section}.{key}", problems)
        if isinstance(raw.setdefault(section, {}), dict):
            raw[section][key] = checked or {}  # a problem is noted, and the rest is checked as if there was none
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(item, Config) for item in error.errors()] + problems
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


def save_config(config: Config, path: Path) -> None:
    """Write the resolved config, every default included, so that `load_config(path)` gives it back."""
    path.write_text(dump_config(config), encoding="utf-8")


def dump_config(config: Config) -> str:
    """Return the resolved config as yaml text."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _check_components(
    spec: Any, registry: Registry, where: str, problems: list[str]
) -> Component | list[Component] | None:
    """Check one component, or each of a list; a list of one is that one."""
    if not isinstance(spec, list) or len(spec) == 1:
        return _check_component(spec[0] if isinstance(spec, list) else spec, registry, where, problems)
    if not spec:
        problems.append(f"{where} = []: names no component; allowed: {', '.join(registry.names())}")
    found = [_check_component(part, registry, f"{where}.{number}", problems) for number, part in enumerate(spec)]
    return [part for part in found if part is not None]


def _check_component(spec: Any, registry: Registry, where: str, problems: list[str]) -> Component | None:
    """Check `spec` against its constructor; return it with every default filled in, or note problems."""
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        problems.append(f"{where} = {spec!r}: expected a mapping with a `name`; allowed: {', '.join(registry.names())}")
        return None
    if spec["name"] not in registry.names():
        problems.append(f"{where}.name = {spec['name']!r}: {did_you_mean(spec['name'], registry.names())}")
        return None
    parameters = registry.schema(spec["name"])
    fields: dict[str, Any] = {
        key: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default) for key, p in parameters.items()
    }
    schema = create_model(registry.get(spec["name"]).__name__, __config__=ConfigDict(extra="forbid"), **fields)
    try:
        checked = schema.model_validate({key: value for key, value in spec.items() if key != "name"})
    except ValidationError as error:
        problems.extend(_explain(item, schema, where) for item in error.errors())
        return None
    return {"name": spec["name"], **checked.model_dump(mode="json")}


def _explain(item: Any, schema: type[BaseModel], prefix: str = "") -> str:
    """One line for one pydantic error: key, value, what is allowed."""
    parts, allowed = _walk(schema, [str(part) for part in item["loc"]])
    key = ".".join(([prefix] if prefix else []) + parts)
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; {did_you_mean(parts[-1], allowed)}"
    if item["type"] == "missing":
        return f"{key}: a value is required; set it in the yaml or as `{key} VALUE`"
    return f"{key} = {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _walk(schema: type[BaseModel], loc: Sequence[str]) -> tuple[list[str], list[str]]:
    """Follow an error's location: the keys as the user wrote them, and the keys allowed where the last one stands.

    Pydantic's locations also name the chosen member of a union (`data.sampling.dense.stride_frames`): no key of ours.
    """
    models: list[type[BaseModel]] = [schema]
    keys: list[str] = []
    for part in loc:
        chosen = [m for m in models if part == _name_of(m)]
        if " " in part or (chosen and len(models) > 1):  # the tags of our own unions hold a space
            models = chosen or models
            continue
        keys.append(part)
        inner = [n for m in models if part in m.model_fields for n in _models_in(m.model_fields[part].annotation)]
        allowed = sorted({field for model in models for field in model.model_fields})
        models = inner or models
    return keys, allowed


def _name_of(model: type[BaseModel]) -> str:
    field = model.model_fields.get("name")
    return str(field.default) if field else ""


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
