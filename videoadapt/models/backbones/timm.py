"""Any image model of timm as a video backbone: applied to every frame, features averaged over the frames or pooled.

Shapes: B clips, C channels, T frames, H W pixels, D width.
"""

import difflib
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

import timm
from annotated_types import Ge
from timm.models import group_parameters
from torch import Tensor, nn

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.activations import activation_of
from videoadapt.models.backbone import Backbone, TokenGrid, each_token_alone
from videoadapt.models.backbones import _t2t_vit  # noqa: F401 - puts its models among timm's
from videoadapt.models.backbones._layers import MeanPool, PatchConv
from videoadapt.models.backbones._pixels import Deviation, Pixels
from videoadapt.models.backbones._timm_blocks import views_of, why_unknown
from videoadapt.registry import BACKBONES
from videoadapt.weights.normalisation import Normalisation

Side = Annotated[int, Ge(1)]


class OwnPooling(nn.Module):
    """Says that the image model pools its tokens itself, frame by frame; an adapter may put a pooling of all tokens here."""


@BACKBONES.register
class Timm(Backbone):
    """Frame-averaged image backbone, a baseline without motion. Weights come from a file.

    `crop_px`, a side or [height, width]: a model that is made for one size is built for this one (timm's `img_size`).
    `activation` of the blocks' MLPs, where that of the weights is not the model's own. `mean` and `std`, of grey levels from 0
    to 1: what the weights were trained with, where these are not ImageNet's.
    """

    fc_norm_eps = None
    weight_names = "timm"

    def __init__(
        self,
        *,
        model: str,
        crop_px: Side | tuple[Side, Side] | None = None,
        activation: Literal["gelu", "gelu_tanh", "quick_gelu"] | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[Deviation, Deviation, Deviation] | None = None,
    ):
        super().__init__()
        if not timm.is_model(model):
            close = difflib.get_close_matches(model, timm.list_models(), n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ConfigError(f"model = {model!r}: timm has no such model; {hint}see timm.list_models()")
        size_px = (crop_px, crop_px) if isinstance(crop_px, int) else crop_px
        net: Any = _built(model, size_px, activation)
        self.net = net
        self.pixels = Pixels(mean, std)
        self.usual_weights = _usual_weights(net)
        self.classifier = _classifier(net)
        # of what comes out without a classifier: MobileNetV3, GhostNet, VGG and others widen the pooled map once more
        self.width = int(getattr(net, "head_hidden_size", None) or net.num_features)
        self.map_width = int(net.num_features)
        blocks = net.blocks if hasattr(net, "blocks") and hasattr(net, "group_matcher") else ()
        outside = _outside_blocks(net) if blocks else {}
        self._stem = {name for name, group in outside.items() if group == 0}
        between = [name for name, group in outside.items() if 0 < group < len(blocks)]  # as Twins' embeddings are
        self.depth = 0 if between else len(blocks)
        self.model = model
        self.no_branches = why_unknown(net)
        self.blocks = nn.ModuleList() if self.no_branches else views_of(net)
        self._views: list[Any] = list(self.blocks)  # these stay where an adapter puts something around one of `blocks`
        patches = getattr(net, "patch_embed", None)
        self._patch_layer = next((name for name in ("proj", "project") if hasattr(patches, name)), "")
        if isinstance(getattr(patches, "proj", None), nn.Conv2d):
            net.patch_embed.proj = PatchConv.in_place_of(net.patch_embed.proj)
        self.eps: float | None = getattr(getattr(blocks[0], "norm1", None), "eps", None) if blocks else None
        if self._views:
            self.num_heads = self._views[-1].num_heads
            self.pool: nn.Module = OwnPooling()
            self.grid: TokenGrid = self._views[-1].grid
        self.time_pool: nn.Module = MeanPool()
        published = tuple(net.default_cfg["input_size"][1:]) if net.default_cfg.get("fixed_input_size") else None
        self._size_px = size_px or published

    @property
    def normalisation(self) -> Normalisation:
        """By `mean` and `std`."""
        return self.pixels.wanted

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError when the image model is made for another size."""
        if self._size_px not in (None, (height_px, width_px)):
            raise ArgumentError(
                type(self).__name__,
                f"crop_px = {[height_px, width_px]}: {self.model} takes {list(self._size_px)} only; set that, or the "
                "backbone's crop_px",
            )

    def patch_layer(self) -> tuple[nn.Module, str]:
        """The image model's own. Raises ConfigError where several layers make the tokens."""
        if not self._patch_layer:
            raise ConfigError(f"model = {self.model!r}: has no single layer that makes tokens of patches")
        return self.net.patch_embed, self._patch_layer

    def make_room_in_front(self, num_tokens: int) -> None:
        """Leave them without a position. Raises ConfigError where the image model's positions are those of pairs of tokens."""
        reasons = {view.form.own_tokens_only for view in self._views} - {""}
        if reasons:
            raise ConfigError(
                f"adapter vpt: backbone timm, model = {self.model!r}, takes no tokens in front of an image's: {reasons.pop()}"
            )
        for view in self._views:
            view.make_room_in_front(num_tokens)

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Learned positions of images of another size, as timm itself resizes them; all else passes unchanged."""
        ours, found = self.net.state_dict(), {name.removeprefix("net."): t for name, t in tensors.items()}
        other = [name for name in ours.keys() & found.keys() if "pos" in name and ours[name].shape != found[name].shape]
        resize = getattr(sys.modules[type(self.net).__module__], "checkpoint_filter_fn", None)
        if not other or resize is None:
            return dict(tensors)
        with suppress(RuntimeError, AssertionError):  # of a grid that is no square: refused as of another shape
            found |= {name: t for name, t in resize(dict(found), self.net).items() if name in other}
        return {name: found[name.removeprefix("net.")] for name in tensors}

    def by_rows(self, tokens_XND: Tensor) -> Tensor | None:
        """Of Hiera, whose tokens lie by the windows that are pooled, as timm itself puts them back."""
        reroll = getattr(self.net, "reroll", None)
        rows_XhwD: Tensor | None = None if reroll is None else reroll(tokens_XND, len(self.blocks) - 1)
        return rows_XhwD

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
        """Return the mean over frames of the pooled image feature, (B, D), unless an adapter pools frames, or all tokens."""
        self.check_clip(*clip_BCTHW.shape[2:])
        frames_NCHW = self.pixels(clip_BCTHW).transpose(1, 2).flatten(0, 1)
        self._note_grid(*clip_BCTHW.shape[2:])
        if self.blocks:
            self._views[-1].read_tokens = self._read_tokens()
        if not self.blocks or isinstance(self.pool, OwnPooling):
            feature_BD: Tensor = self.time_pool(self.net(frames_NCHW).unflatten(0, (clip_BCTHW.shape[0], -1)))
            return feature_BD
        tokens = self.net.forward_features(frames_NCHW)  # (B T, N, D), or (B T, rows, columns, D)
        feature_BD = self.pool(tokens.reshape(clip_BCTHW.shape[0], -1, tokens.shape[-1]))
        return feature_BD

    def _read_tokens(self) -> int | None:
        """How many tokens in front are read behind the last block, where its MLP and what adapters add there can do with them.

        None: all are.
        """
        net: Any = self.net
        last, mlp = self._views[-1], self._views[-1].mlp
        pools_token = getattr(net, "global_pool", "") == "token" and isinstance(self.pool, OwnPooling)
        if not (pools_token and self.blocks[-1] is last and each_token_alone(mlp)):
            return None
        return int(net.num_prefix_tokens)

    def _note_grid(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Tell the adapters where a clip's tokens are."""
        embedding: Any = getattr(self.net, "patch_embed", None)
        rows_columns = (
            embedding.dynamic_feat_size((height_px, width_px)) if hasattr(embedding, "dynamic_feat_size") else (0, 0)
        )
        for view in self._views:
            view.grid.thw = (num_frames, *rows_columns)


def _built(model: str, size_px: tuple[int, int] | None, activation: str | None) -> Any:
    """The network, for images of this size and with this activation where they are given.

    Raises ConfigError where timm makes none for the size, and where no MLP has the activation.
    """
    given: dict[str, Any] = {} if size_px is None else {"img_size": size_px}
    no_place = ConfigError(f"activation = {activation}: {model} has no MLP that takes it; leave it out")
    if activation is not None:
        given["act_layer"] = activation
    try:
        net = timm.create_model(model, pretrained=False, num_classes=0, **given)
    except TypeError as error:  # an argument that it does not have
        if "img_size" in str(error):
            raise ConfigError(
                f"crop_px = {list(size_px or ())}: {model} takes images of any size; leave it out"
            ) from error
        if "act_layer" in str(error):
            raise no_place from error
        raise
    except (AssertionError, ValueError, RuntimeError) as error:
        if size_px is None:
            raise
        raise ConfigError(
            f"crop_px = {list(size_px)}: timm builds no {model} for this size: {str(error).splitlines()[0]}"
        ) from error
    if activation is not None and activation_of(net) != activation:
        raise no_place
    return net


def _classifier(net: Any) -> tuple[str, ...]:
    """Where timm's files of this model have a classifier, one or two."""
    named = net.default_cfg.get("classifier") or ()
    return tuple(f"net.{name}" for name in ([named] if isinstance(named, str) else named))


def _usual_weights(net: Any) -> tuple[str, Normalisation]:
    """The weights that timm itself would load, and what they were trained on."""
    config = net.default_cfg
    name = ".".join(filter(None, (config.get("architecture"), config.get("tag"))))
    return f"timm:{name}", Normalisation(tuple(config["mean"]), tuple(config["std"]))


def _outside_blocks(net: Any) -> dict[str, int]:
    """In which of timm's groups each parameter outside `blocks` is: 0 is the stem, then block by block.

    What stands behind the last block is in its group.
    """
    groups = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    return {name: group for name, group in groups.items() if not name.startswith("blocks.")}
