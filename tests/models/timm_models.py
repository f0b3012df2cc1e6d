"""timm's families in small: a registered model of each with few and narrow blocks, random weights, and the clips it takes."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.toy_models import PLAIN, shake
from videoadapt.config.schema import ModelConfig
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model

FRAMES = 3
PAGE = Path(__file__).parents[2] / "docs" / "image_models.md"


class Family(NamedTuple):
    """A model that timm registers, the side of its images here, and what makes it small."""

    model: str
    side_px: int
    arguments: dict[str, Any]


_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
_SWIN = {"embed_dim": 16, "depths": (2, 2), "num_heads": (1, 2)}
_HIERA = {"embed_dim": 16, "num_heads": 1, "stages": (1, 1, 1, 1)}
FAMILIES = {
    "ViT": Family("vit_tiny_patch16_224", 32, _VIT),
    "DeiT": Family("deit_tiny_distilled_patch16_224", 32, _VIT),
    "DeiT III": Family("deit3_small_patch16_224", 32, _VIT),
    "CLIP": Family("vit_base_patch16_clip_224", 32, _VIT),
    "SigLIP": Family("vit_base_patch16_siglip_224", 32, _VIT),
    "DINOv2, registers": Family("vit_small_patch14_reg4_dinov2", 28, _VIT),
    "DINOv3": Family("vit_small_patch16_dinov3", 32, _VIT),
    "PE-Core": Family("vit_pe_core_tiny_patch16_384", 32, _VIT),
    "EVA": Family("eva_giant_patch14_224", 28, _VIT),
    "EVA-02 Ti, S": Family("eva02_tiny_patch14_224", 28, _VIT),
    "EVA-02 B, L": Family("eva02_base_patch14_224", 28, _VIT),
    "BEiT": Family("beit_base_patch16_224", 32, _VIT),
    "T2T-ViT": Family("t2t_vit_t_14", 32, _VIT),
    "Swin": Family("swin_tiny_patch4_window7_224", 56, _SWIN),
    "Swin V2": Family("swinv2_tiny_window8_256", 64, _SWIN),
    "Hiera": Family("hiera_tiny_224", 64, _HIERA),
}
_create = timm.create_model


def small_net(family: Family, **changes: Any) -> Any:
    """timm's own model, without classifier, all of its parameters moved: Swin V2 starts with branches that are zero."""
    side = (family.side_px, family.side_px)
    torch.manual_seed(0)
    net = _create(family.model, num_classes=0, img_size=side, **(family.arguments | changes))
    net.pretrained_cfg = net.default_cfg = {**net.default_cfg, "input_size": (3, *side)}
    shake(net)
    return net.eval()


def build_small(monkeypatch: pytest.MonkeyPatch, family: Family, adapter: Any, **changes: Any) -> Classifier:
    """A classifier in eval mode on the backbone `timm`, whose model is `small_net`."""
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: small_net(family, **changes))
    spec = ModelConfig(backbone={"name": "timm", "model": family.model}, adapter=adapter, head=PLAIN)
    return build_model(spec, 5, FRAMES, family.side_px).eval()


def clip_for(family: Family) -> Tensor:
    return torch.randn(2, 3, FRAMES, family.side_px, family.side_px, generator=torch.Generator().manual_seed(1))


def blocks_in(net: nn.Module) -> list[Any]:
    """timm's blocks in their order, found by what is in them."""
    named = [(name, module) for name, module in net.named_modules() if not name.startswith("patch_embed.")]
    return [module for _, module in named if hasattr(module, "norm1") and hasattr(module, "mlp")]


def own_forward(block: Any, x: Tensor, **context: Any) -> Tensor:
    """What timm's code says the block does."""
    out: Tensor = type(block).forward(block, x, **context)
    return out


@functools.cache
def in_the_page() -> dict[tuple[str, str], str]:
    """What the page's table says of each family (rows) and adapter (columns)."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.read_text(encoding="utf-8").partition("\n## ")[0].splitlines()
        if line.startswith("| ")
    ]
    names = [name.strip("`") for name in rows[0][1:]]
    return {(row[0], name): cell for row in rows[2:] for name, cell in zip(names, row[1:], strict=True)}
