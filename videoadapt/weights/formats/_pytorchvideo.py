"""PyTorchVideo's zoo: state dicts of its networks, `model_state` of a .pyth file, for the backbone `pytorchvideo`."""

import re

from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._names import Found
from videoadapt.weights.normalisation import Normalisation

ZOO = Normalisation((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))  # pytorch.org/hub: of Slow, SlowFast, X3D and MViT alike
_STEM = re.compile(r"blocks\.0\.(multipathway_blocks\.0\.)?conv(\.conv_t)?\.weight|patch_embed\.patch_model\.weight")


def is_from_zoo(tensors: Tensors) -> bool:
    """Whether these are named as PyTorchVideo's networks name theirs: by the stem of Slow, SlowFast, X3D or MViT."""
    return any(map(_STEM.fullmatch, tensors))


def from_zoo(tensors: Tensors) -> Found:
    """The network under `backbone.net`, and its classifier as the head."""
    last = max((int(match[1]) for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))), default=0)
    classifier = "head.proj." if "head.proj.weight" in tensors else f"blocks.{last}.proj."
    return Found(
        "PyTorchVideo",
        {
            f"head.linear.{name.removeprefix(classifier)}"
            if name.startswith(classifier)
            else f"backbone.net.{name}": tensor
            for name, tensor in tensors.items()
        },
    )
