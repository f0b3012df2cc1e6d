"""Where and when a model looked: published equations against what is computed by hand, and models that look at one place."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.timm_models import FAMILIES, FRAMES, build_small
from tests.toy_models import ADAPTERS, CLIP, PLAIN, build, shake
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.inference.explaining.explanation import number_of
from videoadapt.inference.explaining.films import Marks
from videoadapt.inference.explaining.methods import (
    METHODS,
    Method,
    grad_cam,
    map_by_frames,
    on_places,
    over_blocks,
    relevance_step,
    rollout_step,
)
from videoadapt.inference.explaining.sheet import _figure
from videoadapt.inference.explaining.trace import Attention, BlockTrace, Trace, traced
from videoadapt.models.backbones import pytorchvideo as ptv
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model
from videoadapt.video.part import Part
from videoadapt.video.readers import CropBox

CPU = torch.device("cpu")
PIXELS = (CLIP[0] * 40 + 128).clamp(0, 255).to(torch.uint8)  # (3, 4, 16, 16)


def two_layers() -> tuple[Trace, list[Tensor], Tensor]:
    """Two attentions of one head over three tokens of a clip of 1 x 1 x 3 places, their weights, and what the mean is given."""
    torch.manual_seed(0)
    clip = torch.randn(1, 1, 1, 1, 3, requires_grad=True)
    x_1ND = clip.reshape(1, 3, 1) * torch.tensor([1.0, -2.0])
    blocks, weights = [], []
    for _ in range(2):
        q, k = torch.randn(1, 1, 3, 2), torch.randn(1, 1, 3, 2)
        out = F.scaled_dot_product_attention(q, k, x_1ND[:, None])
        left = x_1ND + out[:, 0]
        blocks.append(BlockTrace(x_1ND, left, [Attention(q, k, x_1ND[:, None], None, None, out)]))
        weights.append((q @ k.mT / 2**0.5).softmax(-1)[0, 0])
        x_1ND = left
    head = torch.tensor([[1.0, 0.5], [-1.0, 2.0]])
    return Trace(clip, x_1ND.mean(1)[0] @ head.T, blocks, [], [], (1, 1, 3)), weights, head


def test_rollout_of_two_layers_by_hand() -> None:
    trace, (first, second), _ = two_layers()
    expected = ((second + torch.eye(3)) / 2 @ ((first + torch.eye(3)) / 2)).mean(0)
    torch.testing.assert_close(over_blocks(trace, 0, rollout_step).flatten(), expected)
    assert expected.sum() == pytest.approx(1)


def test_relevance_of_two_layers_by_hand() -> None:
    """dy/dA of the explicit products, by autograd through A itself, which the fused attention does not keep."""
    trace, weights, head = two_layers()
    asked = [weight.clone().requires_grad_() for weight in weights]
    x_ND = trace.blocks[0].entered[0].detach()
    for weight in asked:
        x_ND = x_ND + weight @ x_ND
    (x_ND.mean(0) @ head[1]).backward()
    first, second = (torch.eye(3) + (weight * weight.grad).clamp(min=0).detach() for weight in asked)
    torch.testing.assert_close(over_blocks(trace, 1, relevance_step).flatten(), (second @ first).mean(0))


def test_grad_cam_of_a_convolution_by_hand() -> None:
    torch.manual_seed(0)
    x_1CTHW, kernel, head = torch.rand(1, 2, 2, 3, 3, requires_grad=True), torch.randn(4, 2, 1, 1, 1), torch.randn(2, 4)
    features = F.conv3d(x_1CTHW, kernel)
    trace = Trace(x_1CTHW, features.mean((2, 3, 4))[0] @ head.T, [], [], [features], None)
    label = int(trace.logits.argmax())  # the mean over places of what is marked, less what speaks against
    expected = torch.einsum("d,dthw->thw", head[label] / 18, features[0]).clamp(min=0).detach()  # dy/dx of a mean of 18
    assert expected.max() > 0
    torch.testing.assert_close(grad_cam(trace, label), expected)


class OnePlace(nn.Module):
    """Pools one token, and no other."""

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND[:, 2]


class ToItself(nn.Module):
    """An attention whose every token sees itself only."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x_BND: Tensor) -> Tensor:
        qkv = self.fn.qkv(x_BND).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv, attn_mask=torch.eye(x_BND.shape[1], dtype=torch.bool))
        return self.fn.proj(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("method", METHODS)
def test_the_place_that_the_answer_hangs_on_is_marked(method: Method) -> None:
    """Of 2 x 2 places of 2 times the third, with an attention of every token to itself alone."""
    model = build({"name": "linear"})
    model.backbone.pool = OnePlace()
    for block in model.backbone.blocks:
        block.attn.fn = ToItself(block.attn.fn)
    marked = 0
    for label in range(5):
        map_Thw = map_by_frames(traced(model.eval(), PIXELS, "fp32", CPU), label, method)
        marked += bool(map_Thw.any())
        elsewhere = map_Thw.clone()
        elsewhere[:2, 1, 0] = 0
        assert not elsewhere.any()
    assert marked > (1 if method == "grad_cam" else 4)  # a place that speaks against a class is not marked for it


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_explaining_leaves_the_answer_as_it_is(name: str) -> None:
    """With every adapter, to the bit: the answer before, the one that is explained, and the one after."""
    model = build(ADAPTERS[name])
    shake(model)
    model.eval()
    with torch.no_grad():
        before = model(CLIP)
    hooks = [len(module._forward_hooks) for module in model.modules()]
    trace = traced(model, PIXELS, "fp32", CPU)
    assert all(parameter.grad is None for parameter in model.parameters())
    for method in METHODS:
        if name == "aim" and method != "grad_cam":
            with pytest.raises(ConfigError, match="allowed: grad_cam"):
                map_by_frames(trace, 0, method)
            continue
        map_Thw = map_by_frames(trace, 0, method)
        assert map_Thw.shape == (4, 2, 2) and torch.isfinite(map_Thw).all() and map_Thw.min() >= 0
    assert hooks == [len(module._forward_hooks) for module in model.modules()]
    with torch.no_grad():
        assert torch.equal(model(CLIP), before)


@pytest.mark.parametrize(("model", "side"), [("test_resnet", 64), ("test_vit", 32)])
def test_image_models(model: str, side: int) -> None:
    """The last feature map of a convolutional network, and beside a class token what its last attention reads."""
    backbone = {"name": "timm", "model": model, "crop_px": side if model == "test_vit" else None}
    torch.manual_seed(0)
    built = build_model(ModelConfig(backbone=backbone, adapter={"name": "linear"}, head=PLAIN), 5, 4, side).eval()
    pixels = torch.randint(256, (3, 4, side, side), dtype=torch.uint8)
    maps = [map_by_frames(traced(built, pixels, "fp32", CPU), label, "grad_cam") for label in range(5)]
    assert {tuple(map_Thw.shape) for map_Thw in maps} == {(4, 2, 2)} and max(map_Thw.max() for map_Thw in maps) > 1e-5
    if model == "test_resnet":
        with pytest.raises(ConfigError, match="allowed: grad_cam"):
            map_by_frames(traced(built, pixels, "fp32", CPU), 0, "rollout")


def follows(model: Classifier, pixels: Tensor) -> np.ndarray:
    """How places of what is looked at go with the middle of the pixels behind them: correlations over time, rows, columns."""
    trace = traced(model, pixels, "fp32", CPU)
    assert max(float(map_by_frames(trace, label, "grad_cam").max()) for label in range(5)) > 0
    for method in ("relevance", "rollout") if not trace.blocks or trace.by_rows else ():
        with pytest.raises(ConfigError, match="allowed: grad_cam"):
            map_by_frames(trace, 0, method)
    placed_Dthw = on_places((trace.tokens if trace.blocks else trace.maps)[-1], trace)
    places, middles = np.argwhere(np.ones(placed_Dthw.shape[1:])), []
    for place in places:
        score = placed_Dthw[(slice(None), *place)].square().sum()
        (by_pixel,) = torch.autograd.grad(score, [trace.clip], retain_graph=True)
        weight_THW = by_pixel.square().sum((0, 1)) / by_pixel.square().sum()
        middles.append([float((weight_THW.sum(others) * torch.arange(n)).sum()) for n, others in
                        zip(weight_THW.shape, ((1, 2), (0, 2), (0, 1)), strict=True)])  # fmt: skip
    assert min(placed_Dthw.shape[1:]) > 1
    return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(places.T, np.array(middles).T, strict=True)])


@pytest.mark.parametrize("family", ["CLIP", "Swin", "Swin V2", "Hiera"])
def test_tokens_of_image_models_are_marked_where_they_come_from(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hiera's lie by windows, in another order than their places."""
    small = FAMILIES[family]
    if family == "Hiera":  # 4 x 4 places are left, not 2 x 2
        small = small._replace(side_px=128)
    model = build_small(monkeypatch, small, {"name": "linear"})
    pixels = torch.randint(256, (3, FRAMES, small.side_px, small.side_px), dtype=torch.uint8)
    assert follows(model, pixels).min() > 0.95


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_mambaout", "mobilenetv3_small_050"])
def test_maps_of_convolutions_lie_where_they_come_from(name: str) -> None:
    """MambaOut has channels last, and MobileNetV3 a layer behind what is pooled."""
    torch.manual_seed(0)
    spec = ModelConfig(backbone={"name": "timm", "model": name}, adapter={"name": "linear"}, head=PLAIN)
    model = build_model(spec, 5, 2, 128).eval()
    assert follows(model, torch.randint(256, (3, 2, 128, 128), dtype=torch.uint8)).min() > 0.95


def test_tokens_of_mvit_are_marked_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attention pools them between blocks; the class is told by a class token, which reads those that enter the last."""
    changes = {"depth": 3, "embed_dim_mul": [[1, 2.0]], "atten_head_mul": [[1, 2.0]],
               "pool_q_stride_size": [[1, 1, 2, 2]], "pool_kv_stride_adaptive": [1, 4, 4]}  # fmt: skip
    base = ptv.MODELS["mvit_base_16x4"]
    published = base._replace(arguments=base.arguments | changes)
    monkeypatch.setitem(ptv.MODELS, "mvit_base_16x4", published)
    backbone = {"name": "pytorchvideo", "model": "mvit_base_16x4", "num_frames": 4, "crop_px": 32}
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=backbone, adapter={"name": "linear"}, head=PLAIN), 5, 4, 32).eval()
    shake(model)
    pixels = torch.randint(256, (3, 4, 32, 32), dtype=torch.uint8)
    assert map_by_frames(traced(model, pixels, "fp32", CPU), 0, "grad_cam").shape == (4, 4, 4)
    assert follows(model, pixels).min() > 0.95


def test_what_a_norm_is_given_is_not_what_is_looked_at() -> None:
    """V-JEPA's tokens are pooled behind a norm, whose gradient is at right angles to what it is given."""
    backbone = {"name": "vjepa2", "width": 48, "depth": 2, "num_heads": 2}
    model = build_model(ModelConfig(backbone=backbone, adapter={"name": "linear"}, head=PLAIN), 5, 4, 32).eval()
    pixels = torch.randint(256, (3, 4, 32, 32), dtype=torch.uint8)
    trace = traced(model, pixels, "fp32", CPU)
    (gradient,) = trace.gradients(0, [trace.blocks[-1].left])
    across = (gradient * trace.blocks[-1].left).sum(-1).abs().max()
    found = max(map_by_frames(trace, label, "grad_cam").max() for label in range(5))
    assert found > 100 * across


def test_marks_lie_where_and_when_the_crop_was_marked() -> None:
    """The upper left place of a crop at the right half of a film, in the second of two frames of the second window."""
    maps_WJThw = torch.zeros(2, 1, 2, 4, 4)
    maps_WJThw[1, 0, 1, 0, 0] = 1
    windows, begins_WT = [Part(0, 2), Part(2, 4)], np.array([[0.0, 1.0], [2.0, 3.0]])
    marks = Marks(windows, begins_WT, maps_WJThw, [CropBox(0.0, 0.5, 1.0, 1.0)])
    assert not marks.at(1.0, 40, 80).any() and not marks.at(2.0, 40, 80).any()
    at_HW = marks.at(3.5, 40, 80)
    assert np.argwhere(at_HW == at_HW.max()).mean(0) == pytest.approx([2, 42], abs=3)
    assert not at_HW[:, :40].any() and not at_HW[20:].any()
    assert marks.at(2.5, 40, 80).max() == pytest.approx(at_HW.max() / 2)
    frame_HWC = np.full((240, 480, 3), 90, np.uint8)
    marks.draw(frame_HWC, 3.5)
    changed = (frame_HWC != 90).any(axis=2)
    assert changed[:30, 240:300].mean() > 0.5 and not changed[:, :230].any() and not changed[130:].any()


@pytest.mark.parametrize(("num_frames", "rows"), [(1, ["seen", "marked"]), (3, ["seen", "marked", "when"])])
def test_a_sheet_of_a_picture_has_no_bars(num_frames: int, rows: list[str]) -> None:
    clips = np.zeros((2, num_frames, 8, 8, 3), np.uint8)
    figure = _figure("title", clips, np.ones((2, num_frames, 8, 8), np.float32), [["x"] * num_frames] * 2)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == rows * 2
    assert len(figure.axes) == 2 * num_frames * len(rows)


def test_a_class_by_its_name_or_by_a_number_of_any_library() -> None:
    names = ["run", "walk", "0"]
    assert [number_of(label, names) for label in ("walk", 1, np.int64(1), torch.tensor([0.1, 0.8]).argmax())] == [1] * 4
    assert number_of("0", names) == 2 and number_of(0, names) == 0
    for label in ("jump", 3, -1):
        with pytest.raises(ConfigError, match="no such class"):
            number_of(label, names)
