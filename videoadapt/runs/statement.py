"""What a prediction is made of: one statement, carried by every file that leaves a run, compared wherever one is used.

Two parts of a statement are treated differently. What the trained tensors belong to (architecture, adapter, frozen tensors,
class names, normalisation) never differs: the tensors would mean something else. How a video is looked at (frames, sizes,
views, precision) may differ on purpose; it is said.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from videoadapt.config.keys import alters, keys_that_alter
from videoadapt.config.loading import COMPONENTS
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.models.parameters import held
from videoadapt.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from videoadapt.weights.formats import plain_name

NORMALISATION = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
Difference = tuple[str, Any, Any]  # dotted key, value there, value here
_COMPONENTS = {".".join(key) for key in COMPONENTS}


@dataclass(frozen=True)
class Statement:
    """Everything besides trained tensors that a prediction depends on.

    `config` holds the sections and keys of a config that alter a prediction, components with all their values;
    `backbone` is `backbone_fingerprint`, None where it was not looked at; `class_names` stand in the order of the logits.
    """

    config: dict[str, Any]
    class_names: list[str]
    backbone: str | None
    normalisation: dict[str, list[float]]

    @classmethod
    def of(cls, config: Config, class_names: Sequence[str], model: nn.Module | None = None) -> Self:
        """The statement of a model built from this config; without `model` its frozen tensors are not looked at."""
        backbone = None if model is None else backbone_fingerprint(model)
        return cls(_altering(config.model_dump(mode="json")), list(class_names), backbone, NORMALISATION)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """The statement in a file, as `as_dict` gave it. Raises KeyError where something is missing."""
        config = completed(values["config"])
        return cls(config, list(values["class_names"]), values["backbone"], dict(values["normalisation"]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as json and checkpoints hold them."""
        return {
            "config": self.config,
            "class_names": self.class_names,
            "backbone": self.backbone,
            "normalisation": self.normalisation,
        }

    def as_json(self) -> str:
        """One line of json."""
        return json.dumps(self.as_dict(), ensure_ascii=False, sort_keys=True)


def backbone_fingerprint(model: nn.Module) -> str:
    """Return the `fingerprint` of all frozen parameters, without those that `train.freeze` names.

    The names are those of the backbone without adapters, so neither the file format nor an adapter's place matters.
    """
    ours = held(model)
    return fingerprint({plain_name(name): p for name, p in model.named_parameters() if name not in ours})


def fingerprint(parameters: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hex) over name, shape and float32 bytes of all parameters, in the order of names."""
    digest = hashlib.sha256()
    for name, parameter in sorted(parameters.items()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def check_statement(path: Path, there: Statement, here: Statement) -> list[Difference]:
    """Compare what a file says of itself with the model that it shall be used in.

    Returns what differs in how a video is looked at. Raises CheckpointError for what would change the meaning of the
    file's tensors, naming every such key.
    """
    differing = list(differences(there.config, here.config))
    problems = [
        f"{key} = {_shown(new)}, but {_shown(old)} in the file; set it back, or train anew in another folder"
        for key, old, new in differing
        if Alters.FUNCTION in alters(key)
    ]
    problems += filter(None, [class_problem(there.class_names, here.class_names)])
    if None not in (there.backbone, here.backbone) and there.backbone != here.backbone:
        problems.append(
            f"was trained on another backbone: its fingerprint is {there.backbone} in the file, {here.backbone} in the model; "
            "give the weight file of the backbone that it was trained with"
        )
    if there.normalisation != here.normalisation:
        problems.append(f"was trained with another normalisation ({there.normalisation}) than this version's")
    if problems:
        raise CheckpointError("\n".join(f"{path}: {problem}" for problem in problems))
    return [difference for difference in differing if Alters.FUNCTION not in alters(difference[0])]


def class_problem(there: Sequence[str], here: Sequence[str]) -> str:
    """Say how the class names of trained tensors differ from those here, the first that does; "" where none does."""
    if list(there) == list(here):
        return ""
    if len(there) != len(here):
        return f"was trained for {len(there)} classes, and data.classes has {len(here)}; give the classes it was trained for"
    number = next(n for n, (old, new) in enumerate(zip(there, here, strict=True)) if old != new)
    order = ", the same names in another order" if sorted(there) == sorted(here) else ""
    return (
        f"class {number} is {there[number]!r} in the file and {here[number]!r} in data.classes{order}; give the classes in "
        "the order that it was trained with (classes.txt in the run's folder), and number the labels of the lists by it"
    )


def differences(there: Any, here: Any, prefix: str = "") -> Iterator[Difference]:
    """Yield the dotted key and both values of every leaf of two nested mappings that differs, in the order of keys.

    Of two components that have other names only these are compared: the arguments of one are no news of the other.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        if prefix in _COMPONENTS and there.get("name") != here.get("name"):
            yield f"{prefix}.name", there.get("name"), here.get("name")
            return
        for key in sorted(there.keys() | here.keys()):
            yield from differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else key)
    elif there != here:
        yield prefix, there, here


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every leaf of a nested mapping."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, part in value.items():
        yield from flat(part, f"{prefix}.{key}" if prefix else key)


def said(differing: Sequence[Difference]) -> str:
    """One line for people: "test.clips = 1 (4 in training)"."""
    return ", ".join(f"{key} = {_shown(new)} ({_shown(old)} in training)" for key, old, new in differing)


def value_of(dump: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key in a nested mapping; None where it is not there."""
    value: Any = dump
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _altering(dump: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config's dump that alters a prediction."""
    kept: dict[str, Any] = {}
    for key in keys_that_alter(Alters.PREDICTION):
        *sections, name = key.split(".")
        holder = kept
        for section in sections:
            holder = holder.setdefault(section, {})
        holder[name] = value_of(dump, key)
    return kept


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an older version said, with the keys and arguments that came later at their defaults, which change nothing."""
    found = {section: dict(part) if isinstance(part, Mapping) else part for section, part in config.items()}
    for section, keys in _altering(Config(output=Path()).model_dump(mode="json")).items():
        if isinstance(found.get(section), dict):
            found[section] = {**keys, **found[section]}
    for (section, key), registry in COMPONENTS.items():
        spec = value_of(found, f"{section}.{key}")
        with suppress(ConfigError):  # then it is shown as it is
            if isinstance(spec, list):
                found[section][key] = [registry.complete(part) for part in spec]
            elif spec is not None:
                found[section][key] = registry.complete(spec)
    return found


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
