"""Weight files into our model, strictly: every tensor is loaded, or reported as not used, or an error."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from videoadapt import logger
from videoadapt.errors import CheckpointError
from videoadapt.files import write_atomically
from videoadapt.models.activations import activation_of, registered_in_timm, trained_with
from videoadapt.models.backbone import Backbone
from videoadapt.models.misfits import causes
from videoadapt.models.parameters import make_room
from videoadapt.weights.files import Tensors, write_tensors
from videoadapt.weights.formats import Inflation, Weights, inflate_kernel
from videoadapt.weights.normalisation import IMAGENET


@dataclass(frozen=True)
class LoadReport:
    """How many tensors were loaded, and what of the file or of the model was not served by them."""

    path: Path
    format: str
    loaded: int
    unused: tuple[str, ...]
    replaced: tuple[str, ...]
    new: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.line()

    def line(self, trained: bool = False) -> str:
        """The report for people; `trained`: a run's own tensors are loaded next, in the place of those not served."""
        said = {"not used": self.unused}
        if trained:
            said["from the training"] = self.replaced + self.new
        else:
            said |= {"replaced by new ones": self.replaced, "newly initialised": self.new}
        said["note"] = self.notes
        parts = [f"{title}: {', '.join(names)}" for title, names in said.items() if names]
        return "; ".join([f"{self.path}: {self.format}, {self.loaded} tensors loaded", *parts])


def load_backbone(
    model: nn.Module, weights: Weights, inflate: Inflation = "average", trained: bool = False
) -> LoadReport:
    """Fill a Classifier that has no adapter yet. A head for other classes is replaced, an absent part is new.

    Where the weights say which rows of their head the model's classes have, these are kept, and those of other classes new.

    Where they are `trained`, what a run left is loaded next, and the log names them so.

    An image's patch kernel is inflated along time, and the backbone makes room for positions that the file brings.
    Raises CheckpointError when any other tensor is missing, unexpected, of another shape or not finite.
    """
    found, unused = _without_classifier(model, weights.part(adapter=False))
    found, notes = _for_video(model, found, inflate)
    expected = model.state_dict()
    replaced: list[str] = []
    new: list[str] = []
    if weights.class_rows is not None:
        found, replaced = _with_rows(found, expected, weights.class_rows)
    ours, theirs = expected.get("head.linear.weight"), found.get("head.linear.weight")
    if ours is not None and theirs is not None and len(ours) != len(theirs):
        replaced.append(f"head ({len(theirs)} classes in the file, {len(ours)} here)")
        found = {name: tensor for name, tensor in found.items() if not name.startswith("head.")}
    for part in ("fc_norm", "head"):
        if not any(name.startswith(f"{part}.") for name in found):
            missing = [name for name in expected if name.startswith(f"{part}.")]
            expected = {name: tensor for name, tensor in expected.items() if name not in missing}
            new += [part] if missing and not (part == "head" and replaced) else []
    _check(expected, found, weights)
    notes += _against_config(model, weights) + _of_pixels(model, weights)
    model.load_state_dict(found, strict=False)
    report = LoadReport(
        weights.path,
        weights.format,
        len(found),
        weights.unused + unused,
        tuple(replaced),
        tuple(new),
        (*weights.notes, *notes),
    )
    _note(model, report.line(trained))
    return report


def _with_rows(found: Tensors, own: Tensors, rows: Sequence[int | None]) -> tuple[Tensors, list[str]]:
    """The head with a row for each class of the model, the file's or, for a new one, as it was drawn; and what is new."""
    if all(row is None for row in rows):
        return {name: t for name, t in found.items() if not name.startswith("head.")}, [
            "head (no class of the file is here)"
        ]
    head = {}
    for name in ("head.linear.weight", "head.linear.bias"):
        ours = own[name]
        filled = found[name].new_zeros(len(rows), *ours.shape[1:]) if ours.is_meta else ours.clone()
        for row, source in enumerate(rows):
            filled[row] = found[name][source] if source is not None else filled[row]
        head[name] = filled
    num_new, num_there = sum(row is None for row in rows), len(found["head.linear.bias"])
    said = f"{num_new} of {len(rows)} rows of the head (of its {num_there} classes {len(rows) - num_new} are here, by name)"
    return found | head, [said] if num_new else []


def _without_classifier(model: nn.Module, found: Tensors) -> tuple[Tensors, tuple[str, ...]]:
    """Leave out the classifier of an image model's file, where the backbone says how it is called."""
    names = [f"backbone.{name}" for name in getattr(model.get_submodule("backbone"), "classifier", ())]
    around = tuple(".".join(name.split(".")[:3]) + "." for name in names)  # backbone, net, and the whole head
    expected = model.state_dict().keys()
    kept = {name: t for name, t in found.items() if not around or name in expected or not name.startswith(around)}
    sizes = [len(found[f"{name}.weight"]) for name in names if f"{name}.weight" in found.keys() - kept.keys()]
    others = ("head",) if len(kept) < len(found) and not sizes else ()
    return kept, tuple(f"head of {size} image classes" for size in sizes) + others


def _for_video(model: nn.Module, found: Tensors, inflate: Inflation) -> tuple[Tensors, list[str]]:
    """Fit the tensors of an image ViT to the model, and the model to its positions; others pass unchanged."""
    notes = []
    backbone = model.get_submodule("backbone")
    if isinstance(backbone, Backbone):
        own = {name.removeprefix("backbone."): t for name, t in found.items() if name.startswith("backbone.")}
        backbone.make_room(own)
        for name, tensor in backbone.fitted(own).items():
            if tensor is not own[name]:
                notes.append(f"{name} interpolated from {tuple(own[name].shape)} to {tuple(tensor.shape)}")
                found = found | {f"backbone.{name}": tensor}
    positions = found.get("backbone.space_positions")
    if positions is not None:
        notes.append(f"positions learned on a grid of {' x '.join(map(str, positions.shape[:2]))} patches")
    name = "backbone.patch_embed.weight"
    ours, theirs = model.state_dict().get(name), found.get(name)
    if ours is not None and theirs is not None and (theirs.ndim, ours.ndim) == (4, 5):
        found = found | {name: inflate_kernel(theirs, ours.shape[2], inflate)}
        notes.append(f"patch kernel inflated to {ours.shape[2]} frames (inflate = {inflate})")
    return found, notes


def _against_config(model: nn.Module, weights: Weights) -> list[str]:
    """Compare with the file's config.json what no tensor shows: another eps is a note, heads and activation are errors."""
    backbone = model.get_submodule("backbone")
    _check_activation(backbone, weights)
    heads, eps = getattr(backbone, "num_heads", None), getattr(backbone, "eps", None)
    if None not in (weights.num_heads, heads) and weights.num_heads != heads:
        raise CheckpointError(
            f"{weights.path} ({weights.format}): config.json says {weights.num_heads} attention heads, the model has "
            f"{heads}: set the backbone's num_heads to {weights.num_heads}"
        )
    if None in (weights.eps, eps) or weights.eps == eps:
        return []
    if getattr(backbone, "weight_names", "own") == "timm":
        return [f"config.json says layer_norm_eps = {weights.eps:g}, timm's model uses {eps:g}"]
    return [
        f"config.json says layer_norm_eps = {weights.eps:g}, the model uses {eps:g} (published backbones were trained with "
        "1e-06; the backbone's eps)"
    ]


def _of_pixels(model: nn.Module, weights: Weights) -> list[str]:
    """Warn where the weights were trained on pixels normalised otherwise than they will see; a note where no file tells."""
    backbone = model.get_submodule("backbone")
    theirs, ours = weights.normalisation, getattr(backbone, "normalisation", IMAGENET)
    if theirs is not None and not theirs.is_like(ours) and not next(model.parameters()).is_meta:
        logger.warning(
            "%s: was trained on pixels normalised with %s, and is shown them with %s, which costs accuracy; set "
            "model.backbone.mean %s and model.backbone.std %s",
            weights.path, theirs, ours, list(theirs.mean), list(theirs.std),
        )  # fmt: skip
    usual = getattr(backbone, "usual_weights", None)
    if theirs is not None or usual is None or weights.format == "videoadapt" or usual[1].is_like(ours):
        return []
    return [
        f"no file says how pixels were normalised; {usual[0]} was trained with {usual[1]} (model.backbone.mean and std), and "
        f"they are shown with {ours}"
    ]


def _check_activation(backbone: nn.Module, weights: Weights) -> None:
    """Raise CheckpointError where the weights were trained with another activation than the backbone computes."""
    theirs, ours = trained_with(weights), activation_of(backbone)
    if theirs is None or ours is None or theirs == ours:
        return
    said = f"{weights.path} ({weights.format}): was trained with the activation {theirs}, the model computes {ours}: "
    if getattr(backbone, "weight_names", "own") != "timm":
        raise CheckpointError(f"{said}take the backbone timm, which has it")
    named = getattr(backbone, "model", "").replace("_clip_", "_clip_quickgelu_")
    fitting = theirs == "quick_gelu" and registered_in_timm(named)
    raise CheckpointError(f"{said}set the backbone's {f'model to {named}, or its ' * fitting}activation to {theirs}")


def load_adapter(model: nn.Module, weights: Weights) -> int:
    """Fill a Classifier's adapters from the file if it holds any; return how many tensors that were.

    Raises CheckpointError when they are not exactly those of the model.
    """
    found = weights.part(adapter=True)
    if found:
        make_room(model, found)
        _check({name: t for name, t in model.state_dict().items() if ".adapter." in name}, found, weights)
        model.load_state_dict(found, strict=False)
        _note(model, f"{weights.path}: {len(found)} adapter tensors loaded")
    return len(found)


def _note(model: nn.Module, line: str) -> None:
    """Log what was loaded; into a model on the meta device, that only shows whether the weights fit, nothing is."""
    if not next(model.parameters()).is_meta:
        logger.info("%s", line)


def save_backbone(backbone: nn.Module, path: Path, metadata: Mapping[str, str], *, half: bool = False) -> None:
    """Write the backbone's tensors in our format (safetensors, float16 if `half`); the file appears when whole.

    Raises CheckpointError when the backbone holds an adapter, or values that are not finite (in float16).
    """
    tensors = {f"backbone.{name}": t.detach().cpu().contiguous() for name, t in backbone.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    bad = [name for name, tensor in tensors.items() if ".adapter." in name or not tensor.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"{path}: not written: {', '.join(_grouped(bad))}: not finite, or not part of a plain backbone"
        )
    write_atomically(path, lambda partial: write_tensors(partial, tensors, {"format": "videoadapt", **metadata}))


def _check(expected: Tensors, found: Tensors, weights: Weights) -> None:
    """Raise CheckpointError, in groups and with likely causes, unless names and shapes agree and values are finite."""
    shapes = {
        name: f"{name}, {tuple(found[name].shape)} in the file, {tuple(expected[name].shape)} in the model"
        for name in found
        if name in expected and found[name].shape != expected[name].shape
    }
    groups = {
        "missing in the file": [name for name in expected if name not in found],
        "unexpected in the file": [name for name in found if name not in expected],
        "of another shape": list(shapes.values()),
        "not finite": [name for name in found if not found[name].isfinite().all()],
    }
    lines = [f"{title}: {line}" for title, names in groups.items() for line in _grouped(names)]
    if lines:
        lines += [f"likely cause: {cause}" for cause in causes(expected, found)]
        title = f"{weights.path} ({weights.format}): does not fit the model"
        raise CheckpointError("\n  ".join([title, *lines]))


def _grouped(names: list[str]) -> list[str]:
    """Return one line for all names that differ only in the number of the block, in order of first appearance."""
    counts: dict[str, int] = {}
    for name in names:
        pattern = re.sub(r"\bblocks\.\d+\.", "blocks.*.", name)
        counts[pattern] = counts.get(pattern, 0) + 1
    return [pattern if count == 1 else f"{pattern} ({count} tensors)" for pattern, count in counts.items()]
