"""DINOv2, with and without registers, as `transformers` and as Meta's own code save it."""

from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._names import drop, rename
from videoadapt.weights.formats._vit import EMBEDDINGS, LAYERS, fused
from videoadapt.weights.normalisation import IMAGENET

_LAYER = "encoder.layer.#."
_RULES = (
    ("embeddings.register_tokens", "register_tokens"),
    (f"{_LAYER}norm", "blocks.#.norm"),
    (f"{_LAYER}layer_scale1.lambda1", "blocks.#.ls1.gamma"),
    (f"{_LAYER}layer_scale2.lambda1", "blocks.#.ls2.gamma"),
    (f"{_LAYER}mlp.", "blocks.#.mlp."),
)
_GATED = (  # the MLP of DINOv2-g, whose gate stands in the first half, in `transformers` and in Meta's code
    ("blocks.#.mlp.weights_in.", "blocks.#.mlp.fc1."),
    ("blocks.#.mlp.weights_out.", "blocks.#.mlp.fc2."),
    ("blocks.#.mlp.w12.", "blocks.#.mlp.fc1."),
    ("blocks.#.mlp.w3.", "blocks.#.mlp.fc2."),
)


def from_dinov2(tensors: Tensors) -> ImageModel:
    """The token that masks patches in pre-training is left out."""
    kept, unused = drop(tensors, r"embeddings\.mask_token|mask_token")
    return from_meta(
        fused(rename(kept, EMBEDDINGS + _RULES + LAYERS), "query", "key", "value"), unused, "Hugging Face DINOv2"
    )


def from_meta(tensors: Tensors, unused: tuple[str, ...] = (), name: str = "DINOv2") -> ImageModel:
    """Meta's names are timm's, but for registers and the gated MLP.

    Where there are registers, timm's model adds no position to the class token, so that it is in the token already.
    """
    tensors = rename(tensors, _GATED)
    registers = tensors.pop("register_tokens", None)
    if registers is not None:
        positions = tensors["pos_embed"]
        tensors |= {
            "reg_token": registers,
            "cls_token": tensors["cls_token"] + positions[:, :1],
            "pos_embed": positions[:, 1:].contiguous(),
        }
    return ImageModel(name, tensors, unused, normalisation=IMAGENET)
