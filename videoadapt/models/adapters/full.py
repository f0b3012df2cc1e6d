"""Full fine-tuning: everything trains."""

from collections.abc import Iterator

from torch import nn

from videoadapt.models.adapters._base import Adapter
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


@ADAPTERS.register
class Full(Adapter):
    """Adds nothing to the backbone and trains all of it: for ViT-B 86,225,664 numbers."""

    alone = "it trains everything already"

    def attach(self, backbone: Backbone) -> None:
        """Leave the backbone as it is; any backbone will do."""

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        """Yield every parameter of the backbone."""
        return backbone.parameters()

    def merge(self, backbone: Backbone) -> None:
        """Nothing to do: there are no tensors besides the backbone's own."""
