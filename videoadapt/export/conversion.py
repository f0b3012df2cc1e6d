"""A weight file of any known format into another format, and what a person needs to know about it."""

import json
import re
from pathlib import Path
from typing import Literal

import torch

from videoadapt.errors import CheckpointError, counted
from videoadapt.files import write_atomically, write_text
from videoadapt.models.activations import trained_with
from videoadapt.models.backbones.vit import SIZES, ViT
from videoadapt.paths import exists
from videoadapt.weights.files import Tensors, checksum, weights_path, write_tensors
from videoadapt.weights.formats import Weights, huggingface_config, read_any, to_huggingface, to_videomae
from videoadapt.weights.names import here
from videoadapt.weights.published import fetched

Target = Literal["videoadapt", "videomae", "huggingface"]

PUBLISHED_EPS = 1e-6  # of the LayerNorms that the published backbones were trained with, and our default


def convert(source: str | Path, out: str | Path, to: Target = "videoadapt", num_heads: int | None = None) -> list[str]:
    """Write the weights of `source` (a path, or a name) to `out`; return what was found, left out and written, a line each.

    `out` ends in .safetensors or .pth; without an ending it is a Hugging Face folder, whose config.json also needs
    `num_heads` (known for published widths). No value changes: the checksum is over the tensors under our names, so it
    is the same in every format. Raises CheckpointError when `source` cannot be read, is not complete, or holds what the
    format has no place for.
    """
    source, out = fetched(str(source)), Path(out)
    if not exists(weights_path(source)):
        raise CheckpointError(f"{source}: no such file or folder")
    in_folder = to == "huggingface" and not out.suffix
    if not in_folder and out.suffix not in (".safetensors", ".pth"):
        also = ", or for a Hugging Face folder have no ending" if to == "huggingface" else ""
        raise CheckpointError(f"{out}: the name needs to end in .safetensors or .pth{also}")
    weights = read_any(Path(here(source)))
    _check_complete(weights)
    if (activation := trained_with(weights)) not in (None, "gelu"):
        raise CheckpointError(
            f"{source} ({weights.format}): was trained with the activation {activation}, which no format here keeps, and a vit "
            "computes gelu; give the file itself to the backbone timm"
        )
    tensors = _renamed(weights, to)
    path = out / "model.safetensors" if in_folder else out
    config = _config(weights, num_heads) if in_folder else ""
    as_torch = path.suffix == ".pth"
    about = {} if as_torch else {"format": "videoadapt" if to == "videoadapt" else "pt"}  # transformers needs `pt`
    write_atomically(path, lambda part: write_tensors(part, tensors, about, as_torch=as_torch))
    lines = [f"{source}: {weights.format}"]
    lines += [f"left out: {', '.join(weights.unused)}"] if weights.unused else []
    parameters = sum(tensor.numel() for tensor in weights.tensors.values())
    size = sum(tensor.nbytes for tensor in weights.tensors.values())
    lines += [f"kept: {counted(len(weights.tensors), 'tensor')}, {parameters:,} parameters, {size:,} bytes"]
    lines += [f"sha256: {checksum(weights.tensors)}", f"written: {path}, {to}, {counted(len(tensors), 'tensor')}"]
    if weights.eps not in (None, PUBLISHED_EPS) and not in_folder:
        lines += [f"config.json: layer_norm_eps = {weights.eps:g}, which {path.name} cannot hold (the backbone's eps)"]
    if in_folder:
        write_text(out / "config.json", config)
        lines += ["config.json: says 16 frames of 224 px; for others change num_frames and image_size in it"]
    return lines


def _check_complete(weights: Weights) -> None:
    """Raise CheckpointError unless a ViT's tensors are all there, and none of another kind."""
    strangers = [name for name in weights.tensors if not name.startswith(("backbone.", "fc_norm.", "head."))]
    blocks = [int(match[1]) for name in weights.tensors if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))]
    with torch.device("meta"):
        names = ViT(depth=max(blocks) + 1).state_dict() if blocks else {}
    missing = [f"backbone.{name}" for name in names if f"backbone.{name}" not in weights.tensors]
    problems = [f"missing {name}" for name in missing[:3]] + [f"unexpected {name}" for name in strangers[:3]]
    if problems:
        count = len(missing) + len(strangers)
        raise CheckpointError(
            f"{weights.path} ({weights.format}): {counted(count, 'tensor is', 'tensors are')} wrong: {', '.join(problems)}"
        )


def _renamed(weights: Weights, to: Target) -> Tensors:
    """Tensors under the names of a format. Raises CheckpointError for what it cannot hold."""
    if to == "videoadapt":
        return weights.tensors
    kernel = weights.tensors.get("backbone.patch_embed.weight")
    if kernel is None or kernel.ndim != 5:
        raise CheckpointError(f"{weights.path}: no video ViT, so the {to} format cannot hold it; use --to videoadapt")
    tensors = to_videomae(weights.tensors) if to == "videomae" else to_huggingface(weights.tensors)
    left = sorted(name for name in tensors if "backbone." in name or name.startswith("head.norm."))
    if left:
        raise CheckpointError(
            f"{weights.path}: the {to} format has no place for {len(left)} of its tensors, such as "
            f"{left[0].removeprefix('encoder.')} (adapters, learned positions, BatchNorm in the head); use --to videoadapt"
        )
    return tensors


def _config(weights: Weights, num_heads: int | None) -> str:
    """The text of config.json; heads as asked for, as the source's own config.json says, or as published for the width."""
    width = len(weights.tensors["backbone.patch_embed.weight"])
    published = next((size.num_heads for size in SIZES.values() if size.width == width), None)
    heads = num_heads or weights.num_heads or published
    if heads is None:
        raise CheckpointError(f"{weights.path}: no published model is {width} wide; say --num-heads")
    if width % heads:
        raise CheckpointError(f"--num-heads {heads}: needs to divide the width, {width}")
    return json.dumps(huggingface_config(weights.tensors, heads, weights.eps or PUBLISHED_EPS), indent=2) + "\n"
