"""Linear probing: the backbone is frozen, only what follows it trains."""

from videoadapt.models.adapters._base import Adapter
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


@ADAPTERS.register
class Linear(Adapter):
    """Adds nothing to the backbone."""

    alone = "it is the frozen backbone without any of them"

    def attach(self, backbone: Backbone) -> None:
        """Leave the backbone as it is; any backbone will do."""

    def merge(self, backbone: Backbone) -> None:
        """Nothing to do: there are no tensors besides the backbone's own."""
