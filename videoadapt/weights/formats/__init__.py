"""Formats of weights, one file each: told apart by their keys, never by a file's name, and brought under our names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from videoadapt.errors import CheckpointError
from videoadapt.paths import exists
from videoadapt.weights.files import Tensors, read_tensors, weights_path
from videoadapt.weights.formats._clip import from_openai
from videoadapt.weights.formats._dinov2 import from_meta
from videoadapt.weights.formats._facts import facts
from videoadapt.weights.formats._huggingface import from_huggingface, huggingface_config, to_huggingface
from videoadapt.weights.formats._image import (
    ImageModel,
    Inflation,
    from_adaptformer_images,
    inflate_kernel,
    to_timm,
    to_vit,
)
from videoadapt.weights.formats._names import Found, Weights
from videoadapt.weights.formats._prefixes import Bare, without_prefix
from videoadapt.weights.formats._pytorchvideo import ZOO, from_zoo, is_from_zoo
from videoadapt.weights.formats._t2t import from_t2t, is_t2t
from videoadapt.weights.formats._transformers import from_transformers
from videoadapt.weights.formats._videomae import (
    from_adaptformer,
    from_fine_tuned,
    from_pretraining,
    refuse_internvideo2,
    to_pretraining,
    to_videomae,
)
from videoadapt.weights.formats._vjepa import (
    from_meta_vjepa,
    from_transformers_vjepa,
    is_from_meta,
    is_from_transformers,
)
from videoadapt.weights.names import here
from videoadapt.weights.normalisation import IMAGENET
from videoadapt.weights.parts import split_part

__all__ = [
    "Inflation",
    "Names",
    "Weights",
    "huggingface_config",
    "inflate_kernel",
    "plain_name",
    "read_any",
    "read_weights",
    "to_huggingface",
    "to_pretraining",
    "to_videomae",
]


Names = Literal["own", "timm", "pytorchvideo"]


def read_weights(location: str, obtain: str = "", names: Names = "own") -> Weights:
    """Read a file or folder of weights, or `package:NAME` for a file inside videoadapt; `obtain`: where to get it.

    A name (`hf:`, `timm:`, `https:`) is read where it was downloaded.

    `names`: whether the model has our names, or those of the backbone `timm`, for the formats of image models, or of
    `pytorchvideo`.
    Raises CheckpointError when it is missing, damaged, names code to run, or has keys of no known format.
    """
    path = weights_path(location)
    if not exists(path):
        hint = obtain or "give the path of a weight file or folder, or nothing (null) to start from random weights"
        raise CheckpointError(f"{path}: no such file; {hint}")
    return read_any(path if location.startswith("package:") else Path(here(location)), names)


def read_any(path: Path, names: Names = "own") -> Weights:
    """Read a weight file or folder of any known format, `#part` behind its name for one of several models in it.

    Raises CheckpointError, which starts with the path.
    """
    content = read_tensors(path)
    path, config = split_part(path)[0], content.config
    try:
        if is_from_zoo(content.tensors):
            if names != "pytorchvideo":
                raise CheckpointError("is of PyTorchVideo's zoo: take the backbone {name: pytorchvideo, model: ...}")
            found = from_zoo(content.tensors)
            return Weights(path, found.format, found.tensors, notes=content.notes, **facts(config, None, ZOO))
        # its names are all its own
        by_timm = names == "timm" and "architecture" in config and "model_type" not in config
        bare = Bare(content.tensors) if by_timm else without_prefix(content.tensors, path, content.part)
        image = _image(bare, config, names)
        if image is None:
            found = _video(bare.tensors, config)
        else:
            found = to_timm(image) if names == "timm" else to_vit(image)
        known = facts(config, image.activation, image.normalisation) if image else facts(config, None)
        notes = (*content.notes, *bare.notes, *_unsaid(image, known["activation"]))
        return Weights(path, found.format, found.tensors, found.unused + bare.unused, notes=notes, **known)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _image(bare: Bare, config: Mapping[str, Any], names: Names) -> ImageModel | None:
    """The format of an image model, whose patch kernel has one dimension less than a video's; None for any other."""
    tensors = bare.tensors
    kernel = tensors.get("patch_embed.proj.weight")
    if any(name.startswith("backbone.") for name in tensors):
        return None
    if (found := from_transformers(tensors, config)) is not None:
        return found
    if is_t2t(tensors):
        return from_t2t(tensors, for_timm=names == "timm")
    if "conv1.weight" in tensors and "transformer" in {name.split(".")[0] for name in (*tensors, *bare.unused)}:
        return from_openai(tensors, by_openai="input_resolution" in bare.unused)
    if kernel is None or kernel.ndim != 4:
        return None if names != "timm" or _is_video(tensors) else ImageModel("timm", tensors)
    if any(name.endswith(".q_proj.weight") for name in tensors) and any(
        ".adaptmlp." in n or ".fc1." in n for n in tensors
    ):
        return from_adaptformer_images(tensors)
    if "register_tokens" in tensors or any(".mlp.w12." in name for name in tensors):
        return from_meta(tensors)
    is_mae = any(name.startswith("decoder") for name in tensors)
    return ImageModel("image ViT", tensors, normalisation=IMAGENET if is_mae else None)


def _unsaid(image: ImageModel | None, activation: str | None) -> tuple[str, ...]:
    """What to say of a format whose models differ in their activation, where the file does not tell which."""
    if (
        image is None
        or activation is not None
        or image.format not in ("OpenCLIP", "Hugging Face CLIP", "Hugging Face SigLIP")
    ):
        return ()
    return (
        "the activation is not in the file, which has no config beside it (OpenAI's CLIP: quick_gelu, SigLIP: gelu_tanh)",
    )


def _is_video(tensors: Tensors) -> bool:
    """Whether the patch kernel is one over frames."""
    return any(tensor.ndim == 5 and "patch_embed" in name for name, tensor in tensors.items())


def _video(tensors: Tensors, config: Mapping[str, Any]) -> Found:
    """Choose the format of a video model by the names of its tensors."""
    if any(name.startswith("backbone.") for name in tensors):
        return _from_ours(tensors)
    if is_from_transformers(tensors):
        return from_transformers_vjepa(tensors)
    if is_from_meta(tensors):
        return from_meta_vjepa(tensors)
    if _is_video(tensors):
        refuse_internvideo2(tensors)
    if any(re.match(r"(videomae\.)?encoder\.layer\.\d", name) for name in tensors):
        return from_huggingface(tensors)
    if any(name.endswith(".q_proj.weight") for name in tensors):
        return from_adaptformer(tensors)
    if any(name.startswith("encoder.blocks.") for name in tensors):
        return from_pretraining(tensors)
    if any(name.startswith("blocks.") for name in tensors):
        return from_fine_tuned(tensors, on_hub="model_config" in config)
    raise CheckpointError(
        f"keys of no known format (the first: {', '.join(list(tensors)[:4])}); known: VideoMAE and VideoMAE V2, "
        "pre-training and fine-tuned, also from Hugging Face; V-JEPA 2; AdaptFormer; image ViTs of timm, MAE and Hugging Face; "
        "CLIP; PyTorchVideo's zoo; "
        "videoadapt"
    )


def _from_ours(tensors: Tensors) -> Found:
    """Backbone files, and state dicts of whole models, where an adapted branch stands under `.branch.`."""
    return Found("videoadapt", {plain_name(name): tensor for name, tensor in tensors.items()})


def plain_name(name: str) -> str:
    """Return the name that a tensor of the backbone has without adapters, which call what they stand around `branch`."""
    return re.sub(r"\.branch(?=\.)", "", name)
