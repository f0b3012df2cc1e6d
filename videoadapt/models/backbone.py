"""What every backbone offers: the contract between backbones, adapters and the classifier."""

from collections.abc import Mapping

from torch import Tensor, nn


class TokenGrid:
    """The grid (time, height, width) that a backbone's tokens come from, as of its last clip; modules inside may read it."""

    thw: tuple[int, int, int] = (0, 0, 0)


class Backbone(nn.Module):
    """What the rest of the package may ask of any backbone: `backbone(clip_BCTHW) -> feature_BD`, and these.

    Adapters ask for more by name and refuse without it: `blocks`, each with the residual branches `attn` and `mlp`, and with
    them the TokenGrid `grid`; `num_heads`; the module `pool` from the tokens to the feature.
    """

    width: int  # D
    depth: int  # number of `blocks`, 0 when the backbone is not a plain chain of blocks
    fc_norm_eps: float | None  # epsilon of the LayerNorm between feature and head; None: no LayerNorm there

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError, naming the keys, unless clips of this shape can be processed."""
        raise NotImplementedError

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Make ready for tensors of a weight file, under the backbone's names, that it holds only when a file brings them."""
