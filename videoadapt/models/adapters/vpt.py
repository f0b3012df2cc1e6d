"""Visual prompt tuning: learned tokens in front of a clip's tokens (arXiv 2203.12119).

Shapes: B clips, N tokens of a clip, P learned tokens, D width.
"""

import math
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from videoadapt.models.adapters._base import Adapter, AdapterModule, original, residual_blocks
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


class Prompt(AdapterModule):
    """P tokens, uniform in +- `bound` at first (section 3.2's Xavier initialisation)."""

    def __init__(self, num_tokens: int, width: int, bound: float):
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(1, num_tokens, width).uniform_(-bound, bound))

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return the learned tokens and then x, (B, P + N, D)."""
        return torch.cat([self.tokens.to(x_BND.dtype).expand(x_BND.shape[0], -1, -1), x_BND], dim=1)


class Prompted(nn.Module):
    """A block with learned tokens in front of its input (`adapter`), its first `drop` outputs left out."""

    def __init__(self, branch: nn.Module, adapter: Prompt | None, drop: int):
        super().__init__()
        self.branch = branch
        self.adapter = adapter
        self.drop = drop

    def forward(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return (B, N, D), or (B, P + N, D) where nothing is left out. What else comes is for the block."""
        y_BND: Tensor = self.branch(x_BND if self.adapter is None else self.adapter(x_BND), *args, **context)
        return y_BND[:, self.drop :]


@ADAPTERS.register
class VPT(Adapter):
    """`num_tokens` learned tokens: "deep" has its own in front of every block and drops them after it; "shallow" puts
    them in front of the first block and keeps them to the last.

    They start uniform in +- sqrt(6 / (F + D)), where `init` says what F is: "tubelet", the numbers that a token of the clip is
    made of; "patch", those of its patch in one frame, VPT's own formula (KMnP/vpt; for ViT-B 0.0625). "shape" is AdaptFormer's
    released code, sqrt(6 / ((num_tokens + 1) D)): Xavier's rule read off the tensor's shape (8 tokens: 0.0295).
    Trains num_tokens x width numbers, "deep" in every block: for ViT-B, 8 tokens 73,728.
    """

    unmergeable = "its tokens take part in the attention"
    starts_unchanged = False

    def __init__(
        self,
        *,
        num_tokens: Annotated[int, Ge(1)] = 8,
        form: Literal["deep", "shallow"] = "deep",
        init: Literal["tubelet", "patch", "shape"] = "tubelet",
    ):
        self.num_tokens, self.form, self.init = num_tokens, form, init

    def attach(self, backbone: Backbone) -> None:
        """Wrap every block, or for "shallow" the first and the last."""
        num_blocks = len(residual_blocks(self, backbone))
        blocks, (holder, name) = backbone.blocks, backbone.patch_layer()
        assert isinstance(blocks, nn.ModuleList)
        bound = self._bound(original(getattr(holder, name)).get_parameter("weight"))
        backbone.make_room_in_front(self.num_tokens)
        for index in range(num_blocks) if self.form == "deep" else sorted({0, num_blocks - 1}):
            first = index == 0 or self.form == "deep"
            last = index == num_blocks - 1 or self.form == "deep"
            prompt = Prompt(self.num_tokens, backbone.width, bound) if first else None
            blocks[index] = Prompted(blocks[index], prompt, self.num_tokens if last else 0)

    def _bound(self, kernel: Tensor) -> float:
        """The largest start of a token's number, by the patch layer: (D, C, T, H, W), (D, C, H, W) or (D, inputs)."""
        width, inputs = len(kernel), kernel[0].numel()
        frames = kernel.shape[2] if kernel.ndim == 5 else 1
        added = {"tubelet": inputs, "patch": inputs // frames, "shape": self.num_tokens * width}
        return math.sqrt(6 / (added[self.init] + width))
