"""T2T-ViT's files under its authors' names, and what they compute, written out from their equations in float64."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.timm_models import Family, build_small
from tests.weight_files import saved
from videoadapt.errors import CheckpointError
from videoadapt.models.backbones import _t2t_vit  # noqa: F401 - puts its models among timm's
from videoadapt.models.loading import load_backbone
from videoadapt.weights.formats import read_weights

HEADS, DEPTH, SIDE = 2, 2, 40
SMALL: dict[str, Any] = {"embed_dim": 32, "depth": DEPTH, "num_heads": HEADS}
SPLITS = [(7, 4, 2), (3, 2, 1), (3, 2, 1)]
IMAGE = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def a_file(model: str) -> dict[str, Tensor]:
    """The tensors of a small model under the authors' names, with a classifier of seven classes."""
    torch.manual_seed(5)
    net = timm.create_model(model, num_classes=7, img_size=SIDE, **SMALL)
    tensors = {name: torch.randn_like(tensor) / 9 for name, tensor in net.state_dict().items()}
    tensors["pos_embed"] = positions(tensors["pos_embed"].shape[1], tensors["pos_embed"].shape[2])
    return {name.replace("patch_embed.", "tokens_to_token."): tensor for name, tensor in tensors.items()}


def positions(num_tokens: int, width: int) -> Tensor:
    def number(position: int, place: int) -> float:
        angle = position / 10_000 ** (2 * (place // 2) / width)
        return math.cos(angle) if place % 2 else math.sin(angle)

    return torch.tensor([[[number(i, j) for j in range(width)] for i in range(num_tokens)]])


def windows(image_BCHW: Tensor, split: tuple[int, int, int]) -> tuple[Tensor, int]:
    """All windows (B, N, C * k * k), and how many stand in a row of the image."""
    side, step, border = split
    cut = F.pad(image_BCHW, [border] * 4).unfold(2, side, step).unfold(3, side, step)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2), cut.shape[3]


def norm(x: Tensor, t: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * t[f"{name}.weight"] + t[f"{name}.bias"]


def line(x: Tensor, t: dict[str, Tensor], name: str) -> Tensor:
    return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", torch.zeros(1).double())


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def narrowed(x: Tensor, t: dict[str, Tensor], name: str) -> Tensor:
    """One layer of the tokens: a performer where the file has random features, else a transformer."""
    normed, scale = norm(x, t, f"{name}.norm1"), x.shape[-1] ** -0.5
    if f"{name}.w" in t:
        k, q, v = line(normed, t, f"{name}.kqv").chunk(3, -1)
        w = t[f"{name}.w"]
        phi_k, phi_q = (torch.exp(z @ w.T - (z * z).sum(-1, keepdim=True) / 2) / math.sqrt(len(w)) for z in (k, q))
        weights = torch.einsum("bim,bjm->bij", phi_q, phi_k)
        mixed = line(
            torch.einsum("bij,bjd->bid", weights, v) / (weights.sum(-1, keepdim=True) + 1e-8), t, f"{name}.proj"
        )
        first, second = f"{name}.mlp.0", f"{name}.mlp.2"
    else:
        q, k, v = line(normed, t, f"{name}.attn.qkv").chunk(3, -1)
        mixed = line((q * scale @ k.mT).softmax(-1) @ v, t, f"{name}.attn.proj")
        first, second = f"{name}.mlp.fc1", f"{name}.mlp.fc2"
    x = v + mixed
    return x + line(gelu(line(norm(x, t, f"{name}.norm2"), t, first)), t, second)


def feature(image_BCHW: Tensor, t: dict[str, Tensor]) -> Tensor:
    """The class token behind the last norm, (B, D)."""
    x = image_BCHW
    for number, split in enumerate(SPLITS):
        tokens, columns = windows(x, split)
        if number < 2:
            tokens = narrowed(tokens, t, f"tokens_to_token.attention{number + 1}")
            x = tokens.mT.unflatten(2, (-1, columns))
    x = line(tokens, t, "tokens_to_token.project")
    x = torch.cat([t["cls_token"].expand(len(x), -1, -1), x], 1) + t["pos_embed"]
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        heads = line(norm(x, t, f"{block}.norm1"), t, f"{block}.attn.qkv").unflatten(2, (3, HEADS, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v
        x = x + line(mixed.transpose(1, 2).flatten(2), t, f"{block}.attn.proj")
        x = x + line(gelu(line(norm(x, t, f"{block}.norm2"), t, f"{block}.mlp.fc1")), t, f"{block}.mlp.fc2")
    return norm(x, t, "norm")[:, 0]


@pytest.mark.parametrize("model", ["t2t_vit_14", "t2t_vit_t_14"])
def test_features_are_those_of_the_equations(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = a_file(model)
    classifier = build_small(monkeypatch, Family(model, SIDE, SMALL), {"name": "linear"})
    location = saved(tmp_path, {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}})
    report = load_backbone(classifier, read_weights(location, names="timm"))
    assert report.format == "T2T-ViT" and report.unused == ("head of 7 image classes",) and set(report.new) == {"head"}
    with torch.no_grad():
        ours = classifier.double().backbone(IMAGE.double()[:, :, None].expand(-1, -1, 3, -1, -1))
    truth = feature(IMAGE.double(), {name: tensor.double() for name, tensor in tensors.items()})
    torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-9)
    assert truth.std() > 0.01


def test_positions_are_resized_for_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = a_file("t2t_vit_t_14")
    classifier = build_small(monkeypatch, Family("t2t_vit_t_14", 64, SMALL), {"name": "linear"})
    load_backbone(classifier, read_weights(saved(tmp_path, tensors), names="timm"))
    assert tensors["pos_embed"].shape == (1, 1 + 3 * 3, 32) and classifier.backbone.net.pos_embed.shape == (
        1,
        1 + 4 * 4,
        32,
    )
    torch.testing.assert_close(classifier.backbone.net.pos_embed[:, 0], tensors["pos_embed"][:, 0])


def test_positions_are_the_sinusoid_and_stay() -> None:
    net = timm.create_model("t2t_vit_7", num_classes=0)
    torch.testing.assert_close(net.pos_embed, positions(197, 256), rtol=0, atol=1e-6)
    assert "pos_embed" not in dict(net.named_parameters()) and "pos_embed" in net.state_dict()


@pytest.mark.parametrize(("model", "millions"), [("t2t_vit_7", 4.2), ("t2t_vit_14", 21.5), ("t2t_vit_t_24", 64.1)])
def test_sizes_are_the_published_ones(model: str, millions: float) -> None:
    """As the authors' page rounds them."""
    with torch.device("meta"):
        net = timm.create_model(model)
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.11)


def test_a_performers_gradients_are_finite_from_its_start() -> None:
    torch.manual_seed(0)
    net = timm.create_model("t2t_vit_14", num_classes=3, img_size=SIDE, **SMALL)
    net(IMAGE).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_another_backbone_and_another_size_are_said(tmp_path: Path) -> None:
    location = saved(tmp_path, a_file("t2t_vit_14"))
    with pytest.raises(CheckpointError, match=r"is T2T-ViT's: take the backbone \{name: timm, model: t2t_vit_14\}"):
        read_weights(location)
    with pytest.raises(ValueError, match=r"images of \(48, 48\) px, this T2T-ViT is for \(40, 40\)"):
        timm.create_model("t2t_vit_14", img_size=SIDE, **SMALL)(torch.zeros(1, 3, 48, 48))
