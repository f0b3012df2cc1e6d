"""What every backbone offers: the contract between backbones, adapters and the classifier."""

from collections.abc import Collection, Mapping

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
    depth: int  # how many blocks follow one another, 0 when the backbone is not a plain chain of them
    fc_norm_eps: float | None  # epsilon of the LayerNorm between feature and head; None: no LayerNorm there

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError, naming the keys, unless clips of this shape can be processed."""
        raise NotImplementedError

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Make ready for tensors of a weight file, under the backbone's names, that it holds only when a file brings them."""

    def positions_elsewhere(self) -> str:
        """Say what becomes of positions in clips of another size or number of frames than in training."""
        return "this backbone keeps no positions of its own for clips of one size"

    def layer_of(self, parameter: str) -> int:
        """Number the layer of a parameter, by its name in this backbone, for layer decay.

        0: in front of the blocks; 1 to `depth`: in that block; depth + 1: behind them. Needed where `depth` is not 0.
        """
        raise NotImplementedError

    def undecayed(self) -> Collection[str]:
        """Names of the parameters that weight decay leaves alone besides vectors: learned positions and class tokens."""
        return ()


def is_chain(backbone: Backbone) -> bool:
    """Whether the backbone is a plain chain of blocks that numbers its layers, so that layer decay has a meaning."""
    return backbone.depth > 0 and type(backbone).layer_of is not Backbone.layer_of
