"""T2T-ViT's files, as its authors' code names them, for the backbone `timm` with a model `t2t_vit_...`."""

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._names import rename
from videoadapt.weights.normalisation import IMAGENET

_TOKENS = "tokens_to_token."


def is_t2t(tensors: Tensors) -> bool:
    """Whether tokens are made of tokens, under the authors' name for that."""
    return any(name.startswith(_TOKENS) for name in tensors)


def from_t2t(tensors: Tensors, *, for_timm: bool) -> ImageModel:
    """The image model under timm's names. Raises CheckpointError for another backbone than `timm`."""
    if not for_timm:
        raise CheckpointError("is T2T-ViT's: take the backbone {name: timm, model: t2t_vit_14}, or another size of it")
    return ImageModel("T2T-ViT", rename(tensors, [(_TOKENS, "patch_embed.")]), normalisation=IMAGENET)
