"""What every backbone offers: the contract between backbones, adapters and the classifier."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, nn

from videoadapt.weights.formats import Names
from videoadapt.weights.normalisation import IMAGENET, Normalisation


class TokenGrid:
    """The grid (time, height, width) that a backbone's tokens come from, as of its last clip; modules inside may read it."""

    thw: tuple[int, int, int] = (0, 0, 0)
    framewise: bool = False  # whether each frame is a row of the batch by itself, as in an image model
    in_order: bool = True  # whether the tokens of a frame lie row by row, so that neighbours in space can be found


class ResidualBranch(nn.Module):
    """A branch of a block as adapters see it: `branch(x_BND)`, with the block's further arguments, is what the block adds to x.

    Adapters stand around it: what they add is outside of its norms, its LayerScale and its stochastic depth.
    """

    width: int  # D of what it returns
    keeps_tokens: bool = True  # whether it returns as many tokens, of the same width, as it is given
    # why an attention takes no others than all tokens of an image or clip; "" where it takes any
    own_tokens_only: str = ""

    def place(self, layer: str) -> tuple[nn.Module, str]:
        """Return the module that holds a layer, and its name there: "norm", or "fn.qkv" for one of what it normalises.

        A branch may lack the layer. One that is asked for may be replaced, so it has to be called as a module from then on.
        """
        raise NotImplementedError

    def reads(self, x_BND: Tensor) -> Tensor:
        """Return what its attention or MLP is given of x, (B, N, D): its norm of it, where that comes first."""
        raise NotImplementedError

    def undropped(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what the branch makes of x, (B, N, D), without stochastic depth."""
        raise NotImplementedError

    def bias_outside(self, layer: str) -> Callable[[], Tensor] | None:
        """What gives the bias that the branch adds to a layer's output by itself; None: the layer holds what it has."""
        return None


def each_token_alone(branch: nn.Module) -> bool:
    """Whether all that adapters put around a branch makes of a token is its own: what they mix is not known here."""
    while not isinstance(branch, ResidualBranch):
        inner = getattr(branch, "branch", None)
        if not getattr(branch, "each_token_alone", False) or not isinstance(inner, nn.Module):
            return False
        branch = inner
    return True


class Backbone(nn.Module):
    """What the rest of the package may ask of any backbone: `backbone(clip_BCTHW) -> feature_BD`, and these.

    Adapters ask for more by name and refuse without it: `blocks`, each with the ResidualBranches `attn` and `mlp`, and with
    them the TokenGrid `grid` (or one in each block) and `patch_layer`; `num_heads`; the module `pool` from the tokens to the
    feature, and `time_pool` from one feature of each time, (B, T, D), to it.
    """

    width: int  # D
    depth: int  # how many blocks follow one another, 0 when the backbone is not a plain chain of them
    fc_norm_eps: float | None  # epsilon of the LayerNorm between feature and head; None: no LayerNorm there
    map_width: int | None = None  # channels of the last feature map before it is pooled, where they need not come first
    # those whose name the model has, and what they were trained on
    usual_weights: tuple[str, Normalisation] | None = None
    no_branches: str = ""  # why there are no `blocks`, for errors
    weight_names: Names = "own"  # under which weight files come: those of timm and of pytorchvideo are below `net`
    # modules, by their names here, that files of its weights hold and it has no use for
    classifier: tuple[str, ...] = ()

    @property
    def normalisation(self) -> Normalisation:
        """How the pixels are normalised that its weights see; clips come with ImageNet's."""
        return IMAGENET

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError, naming the keys, unless clips of this shape can be processed."""
        raise NotImplementedError

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Make ready for tensors of a weight file, under the backbone's names, that it holds only when a file brings them."""

    def patch_layer(self) -> tuple[nn.Module, str]:
        """Return the module that holds the convolution of patches to tokens, and its name there."""
        raise NotImplementedError

    def make_room_in_front(self, num_tokens: int) -> None:
        """Let the blocks take this many more tokens in front of a clip's. Raises ConfigError where positions forbid it."""

    def by_rows(self, tokens_XND: Tensor) -> Tensor | None:
        """Return tokens that left the last block as they lie in their frame, (X, h, w, D), where `grid` is not in order.

        None: that is not known.
        """
        return None

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of a weight file, under the backbone's names, with learned positions on this backbone's grid."""
        return dict(tensors)

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
