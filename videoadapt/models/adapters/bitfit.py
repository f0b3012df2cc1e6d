"""BitFit: only the backbone's biases train (arXiv 2106.10199)."""

from collections.abc import Iterator

from torch import nn

from videoadapt.models.adapters._base import Adapter
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


@ADAPTERS.register
class BitFit(Adapter):
    """Adds nothing to the backbone and trains its biases, those of the norms included: for ViT-B 92,928 numbers."""

    def attach(self, backbone: Backbone) -> None:
        """Leave the backbone as it is; any backbone will do."""

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        """Yield the biases of the backbone (`bias`, and a ViT's `q_bias` and `v_bias`)."""
        for name, parameter in backbone.named_parameters():
            if name.rsplit(".", 1)[-1].endswith("bias"):
                yield parameter

    def merge(self, backbone: Backbone) -> None:
        """Nothing to do: there are no tensors besides the backbone's own."""
