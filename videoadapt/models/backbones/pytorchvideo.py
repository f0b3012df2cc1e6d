"""PyTorchVideo's networks as comparison backbones: Slow, SlowFast, X3D and MViT, without their classifiers.

Shapes: B clips, C channels, T frames, H W pixels, D width.
"""

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.backbone import Backbone
from videoadapt.models.backbones._pixels import Deviation, Pixels
from videoadapt.registry import BACKBONES
from videoadapt.weights.normalisation import Normalisation

try:
    from pytorchvideo.models.resnet import create_resnet
    from pytorchvideo.models.slowfast import create_slowfast
    from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers
    from pytorchvideo.models.x3d import create_x3d
except ModuleNotFoundError as error:
    raise ConfigError(
        f"backbone pytorchvideo: needs the package {error.name}, which is not installed: `pip install pytorchvideo`, or choose "
        "another backbone: vit, timm"
    ) from error

SLOWFAST_ALPHA = 4  # frames of the fast pathway for each one of the slow pathway


class Published(NamedTuple):
    """Constructor and clip of a model of PyTorchVideo's zoo (all trained on Kinetics-400)."""

    create: Callable[..., nn.Module]
    num_frames: int
    crop_px: int
    arguments: dict[str, Any]


_MVIT_BASE = {
    "embed_dim_mul": [[1, 2.0], [3, 2.0], [14, 2.0]],
    "atten_head_mul": [[1, 2.0], [3, 2.0], [14, 2.0]],
    "pool_q_stride_size": [[1, 1, 2, 2], [3, 1, 2, 2], [14, 1, 2, 2]],
    "pool_kv_stride_adaptive": [1, 8, 8],
    "pool_kvq_kernel": [3, 3, 3],
}
_R50, _R101 = {"model_depth": 50}, {"model_depth": 101, "slowfast_fusion_conv_kernel_size": (5, 1, 1)}

MODELS = {
    "slow_r50": Published(create_resnet, 8, 224, {**_R50, "stem_conv_kernel_size": (1, 7, 7)}),
    "slowfast_r50": Published(create_slowfast, 32, 224, {**_R50, "slowfast_fusion_conv_kernel_size": (7, 1, 1)}),
    "slowfast_r101": Published(create_slowfast, 32, 224, _R101),
    "x3d_xs": Published(create_x3d, 4, 160, {}),
    "x3d_s": Published(create_x3d, 13, 160, {}),
    "x3d_m": Published(create_x3d, 16, 224, {}),
    "x3d_l": Published(create_x3d, 16, 312, {"depth_factor": 5.0}),
    "mvit_base_16x4": Published(create_multiscale_vision_transformers, 16, 224, _MVIT_BASE),
    "mvit_base_32x3": Published(create_multiscale_vision_transformers, 32, 224, _MVIT_BASE),
}


Side = Annotated[int, Ge(32)]


@BACKBONES.register
class PyTorchVideo(Backbone):
    """One of the zoo's networks; clips need to have `num_frames` and `crop_px`, by default those published.

    `mean` and `std`, of grey levels from 0 to 1: what the weights were trained with, where these are not ImageNet's. The zoo's
    took 0.45 and 0.225 for each colour.
    """

    fc_norm_eps = None
    weight_names = "pytorchvideo"

    def __init__(
        self,
        *,
        model: Literal[
            "slow_r50",
            "slowfast_r50",
            "slowfast_r101",
            "x3d_xs",
            "x3d_s",
            "x3d_m",
            "x3d_l",
            "mvit_base_16x4",
            "mvit_base_32x3",
        ],
        num_frames: Annotated[int, Ge(1)] | None = None,
        crop_px: Side | tuple[Side, Side] | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[Deviation, Deviation, Deviation] | None = None,
    ):
        super().__init__()
        self.pixels = Pixels(mean, std)
        published = MODELS[model]
        self.num_frames = published.num_frames if num_frames is None else num_frames
        side_px = published.crop_px if crop_px is None else crop_px
        self.sides_px = (side_px, side_px) if isinstance(side_px, int) else side_px
        self._two_pathways = published.create is create_slowfast
        if self._two_pathways and self.num_frames % SLOWFAST_ALPHA:
            raise ConfigError(f"num_frames = {num_frames}: {model} needs a multiple of {SLOWFAST_ALPHA}")
        if published.create is create_x3d and len(set(self.sides_px)) > 1:
            raise ConfigError(f"crop_px = {list(self.sides_px)}: {model} takes squares only; set one number")
        with _ReadableNumbers():
            net: Any = published.create(
                **published.arguments, **_sized(published.create, self.num_frames, self.sides_px)
            )
        self.net = net
        self.width = _remove_classifier(net)
        # a convolutional network's list of blocks begins with its stem and ends with its pooling, MViT's is blocks alone
        self._stems = 0 if published.create is create_multiscale_vision_transformers else 1
        stages = net.blocks[self._stems : -1] if self._stems else net.blocks
        self.depth = sum(any(True for _ in stage.parameters()) for stage in stages)  # SlowFast's last one only joins
        self._model = model

    @property
    def normalisation(self) -> Normalisation:
        """By `mean` and `std`."""
        return self.pixels.wanted

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError unless the clip has the size that the network was built for."""
        if (num_frames, height_px, width_px) != (self.num_frames, *self.sides_px):
            ours = self.sides_px[0] if len(set(self.sides_px)) == 1 else " x ".join(map(str, self.sides_px))
            raise ArgumentError(
                type(self).__name__,
                f"num_frames = {num_frames} and crop_px = {[height_px, width_px]}: {self._model} is built for clips of "
                f"{self.num_frames} frames and {ours} px; change these, or the backbone's num_frames and crop_px",
            )

    def layer_of(self, parameter: str) -> int:
        """0 for stem, patches and positions, 1 to `depth` for the stages or blocks, depth + 1 for norms and pooling behind."""
        _, part, number, *_ = f"{parameter}.".split(".")
        if part == "blocks":
            return min(int(number) + 1 - self._stems, self.depth + 1)
        return 0 if part in ("patch_embed", "cls_positional_encoding") else self.depth + 1

    def undecayed(self) -> Collection[str]:
        """MViT's class token and positions, as PySlowFast trains it."""
        return [name for name, _ in self.named_parameters() if name.startswith("net.cls_positional_encoding.")]

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the pooled feature (MViT: the class token), (B, D)."""
        self.check_clip(*clip_BCTHW.shape[2:])
        clip_BCTHW = self.pixels(clip_BCTHW)
        return self.net(_pathways(clip_BCTHW) if self._two_pathways else clip_BCTHW)


class _ReadableNumbers(TorchFunctionMode):
    """Makes on the CPU what MViT's constructor makes to read numbers off it, also where the network goes to the meta device.

    Layers say on which device their tensors are; it does not.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.ones, torch.linspace) and "device" not in kwargs:
            kwargs = {**kwargs, "device": "cpu"}
        return func(*args, **kwargs)


def _pathways(clip_BCTHW: Tensor) -> list[Tensor]:
    """Slow and fast pathway; the slow one takes evenly spread frames, first and last included, as in training."""
    frames = clip_BCTHW.shape[2]
    slow = torch.linspace(0, frames - 1, frames // SLOWFAST_ALPHA).long().to(clip_BCTHW.device)
    return [clip_BCTHW.index_select(2, slow), clip_BCTHW]


def _sized(create: Callable[..., nn.Module], num_frames: int, sides_px: tuple[int, int]) -> dict[str, Any]:
    """Arguments that tie a network to the size of its clips."""
    if create is create_x3d:
        return {"input_clip_length": num_frames, "input_crop_size": sides_px[0], "head_activation": None}
    if create is create_multiscale_vision_transformers:
        return {"temporal_size": num_frames, "spatial_size": sides_px}
    return {"head_pool": nn.AdaptiveAvgPool3d}  # the published windows cover the whole map: the same mean


def _remove_classifier(net: Any) -> int:
    """Let the network's head end after its pooling; return the width of what it pools."""
    head = net.head if hasattr(net, "head") else net.blocks[-1]
    width = int(head.proj.in_features)
    head.dropout = None
    head.proj = nn.Identity()
    return width
