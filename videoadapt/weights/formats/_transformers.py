"""Image models as Hugging Face's `transformers` saves them, told apart by config.json's `model_type`, else by content."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._beit import from_beit
from videoadapt.weights.formats._clip import from_clip
from videoadapt.weights.formats._dinov2 import from_dinov2
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._siglip import from_siglip
from videoadapt.weights.formats._vit import from_vit
from videoadapt.weights.normalisation import CLIP, HALF, IMAGENET, Normalisation


class Family(NamedTuple):
    """How its tensors come under timm's names; the activation of `transformers`, and its processor's normalisation, where the
    files are silent."""

    read: Callable[[Tensors], ImageModel]
    activation: str = "gelu"
    normalisation: Normalisation | None = None  # None: models of this family differ


FAMILIES = {
    "beit": Family(from_beit, normalisation=HALF),
    "clip": Family(from_clip, "quick_gelu", CLIP),
    "clip_vision_model": Family(from_clip, "quick_gelu", CLIP),
    "dinov2": Family(from_dinov2, normalisation=IMAGENET),
    "dinov2_with_registers": Family(from_dinov2, normalisation=IMAGENET),
    "siglip": Family(from_siglip, "gelu_tanh", HALF),
    "siglip_vision_model": Family(from_siglip, "gelu_tanh", HALF),
    "siglip2": Family(from_siglip, "gelu_tanh", HALF),
    "siglip2_vision_model": Family(from_siglip, "gelu_tanh", HALF),
    "vit": Family(from_vit),
    "vit_mae": Family(from_vit, normalisation=IMAGENET),
}
_VIDEO = ("videomae", "vjepa2")
_OTHERS = ("timm_wrapper", *_VIDEO)  # read elsewhere


def from_transformers(tensors: Tensors, config: Mapping[str, Any]) -> ImageModel | None:
    """The image model under timm's names; None for what is none of `transformers`'.

    Raises CheckpointError for a `model_type` that is not read.
    """
    kind = config.get("model_type")
    if isinstance(kind, str) and "model_config" not in config:  # VideoMAE V2 has its own
        if kind not in FAMILIES and kind not in _OTHERS:
            read = ", ".join(sorted({*FAMILIES, *_VIDEO}))
            raise CheckpointError(
                f"Hugging Face files of {kind!r} (config.json's model_type) are not read; read are: {read}"
            )
        if kind in FAMILIES:
            family = FAMILIES[kind]
            return family.read(tensors)._replace(activation=family.activation, normalisation=family.normalisation)
    found = _by_content(tensors)
    return (
        None if found is None else FAMILIES[found].read(tensors)._replace(normalisation=FAMILIES[found].normalisation)
    )


def _by_content(tensors: Tensors) -> str | None:
    kernel = tensors.get("embeddings.patch_embeddings.projection.weight")
    if "embeddings.patch_embedding.weight" in tensors:
        return "clip" if "embeddings.class_embedding" in tensors else "siglip"
    if kernel is None or kernel.ndim != 4:
        return None
    if any(".layer_scale1." in name for name in tensors):
        return "dinov2"
    return "beit" if any(name.endswith(".lambda_1") for name in tensors) else "vit"
