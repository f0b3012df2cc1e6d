"""The bottleneck of Houlsby et al. (arXiv 1902.00751), which several methods put in different places.

Shapes: B clips, N tokens, D width, R width of the bottleneck.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from videoadapt.models.adapters._base import AdapterModule

_STD = 0.01


class NearZeroBottleneck(AdapterModule):
    """x -> up(dropout(gelu(down(x)))), figure 2; weights start normal with 0.01, cut at two deviations, biases zero.

    What it adds is small at first (section 2.1), but not zero.
    """

    each_token_alone = True

    def __init__(self, width: int, bottleneck: int, dropout: float):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=_STD, a=-2 * _STD, b=2 * _STD)
            nn.init.zeros_(layer.bias)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return what the adapter adds, (B, N, D)."""
        added_BND: Tensor = self.up(self.dropout(F.gelu(self.down(x_BND))))
        return added_BND
