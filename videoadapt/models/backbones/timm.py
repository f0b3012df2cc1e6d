"""Any image model of timm as a video backbone: applied to every frame, features averaged over the frames.

Shapes: B clips, C channels, T frames, H W pixels, D width.
"""

import difflib
from collections.abc import Collection
from typing import Any

import timm
from timm.models import group_parameters
from torch import Tensor

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.backbone import Backbone
from videoadapt.registry import BACKBONES


@BACKBONES.register
class Timm(Backbone):
    """Frame-averaged image backbone, a baseline without motion. Weights come from a file."""

    fc_norm_eps = None

    def __init__(self, *, model: str):
        super().__init__()
        if not timm.is_model(model):
            close = difflib.get_close_matches(model, timm.list_models(), n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ConfigError(f"model = {model!r}: timm has no such model; {hint}see timm.list_models()")
        net: Any = timm.create_model(model, pretrained=False, num_classes=0)
        self.net = net
        self.width = int(net.num_features)
        blocks = net.blocks if hasattr(net, "blocks") and hasattr(net, "group_matcher") else ()
        outside = _outside_blocks(net) if blocks else {}
        self._stem = {name for name, group in outside.items() if group == 0}
        between = [name for name, group in outside.items() if 0 < group < len(blocks)]  # as Twins' embeddings are
        self.depth = 0 if between else len(blocks)
        self._model = model
        self._size_px = tuple(net.default_cfg["input_size"][1:]) if net.default_cfg.get("fixed_input_size") else None

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError when the image model is made for another size."""
        if self._size_px not in (None, (height_px, width_px)):
            raise ArgumentError(
                type(self).__name__, f"crop_px = {(height_px, width_px)}: {self._model} takes {self._size_px} only"
            )

    def positions_elsewhere(self) -> str:
        """Those of the image model know no time."""
        return "each frame passes the image model alone, so that their number changes no position"

    def layer_of(self, parameter: str) -> int:
        """0 for what timm's own grouping calls the stem, 1 to `depth` for the blocks, depth + 1 for what stands behind them."""
        part, number, *_ = f"{(name := parameter.removeprefix('net.'))}.".split(".")
        if part == "blocks":
            return int(number) + 1
        return 0 if name in self._stem else self.depth + 1

    def undecayed(self) -> Collection[str]:
        """What timm's model says about itself, so that a tuning decays what timm's would."""
        return {f"net.{name}" for name in getattr(self.net, "no_weight_decay", set)()}

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the mean over frames of the pooled image feature, (B, D)."""
        self.check_clip(*clip_BCTHW.shape[2:])
        frames_NCHW = clip_BCTHW.transpose(1, 2).flatten(0, 1)
        return self.net(frames_NCHW).unflatten(0, (len(clip_BCTHW), -1)).mean(1)


def _outside_blocks(net: Any) -> dict[str, int]:
    """In which of timm's groups each parameter outside `blocks` is: 0 is the stem, then block by block.

    What stands behind the last block is in its group.
    """
    groups = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    return {name: group for name, group in groups.items() if not name.startswith("blocks.")}
