"""Less memory for the same numbers: blocks computed again for their gradients, matrices kept in half precision."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.toy_models import ADAPTERS
from videoadapt.config.schema import ModelConfig
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks
from videoadapt.models.memory import hold_matrices_in, matrices_held_in, recompute_blocks
from videoadapt.runs.build import build_model
from videoadapt.runs.forward import autocast

CPU = torch.device("cpu")
CLIPS_BCTHW = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(5))


def tuned(adapter: dict[str, Any] | list[dict[str, Any]], **backbone: Any) -> Classifier:
    """A toy model whose adapters do something, with dropout wherever the backbone has a place for it."""
    torch.manual_seed(0)
    toy = {"name": "vit", "size": "tiny", "width": 32, "depth": 3, "num_heads": 2, "patch_px": 16} | backbone
    model = build_model(ModelConfig(backbone=toy, adapter=adapter), 5, 4, 32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


def gradients(model: Classifier) -> dict[str, Tensor]:
    torch.manual_seed(1)  # what dropout and stochastic depth draw
    model.train()(CLIPS_BCTHW).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_recomputed_blocks_give_the_same_gradients(adapter: dict[str, Any]) -> None:
    plain = tuned(adapter, drop_path=0.3)
    recomputed = copy.deepcopy(plain)
    recompute_blocks(recomputed)
    expected, found = gradients(plain), gradients(recomputed)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert torch.equal(gradient, found[name]), name


def test_recomputed_blocks_keep_less() -> None:
    """What autograd saves: of every block its input, where it was all that lies between."""

    def saved_by(model: ViT) -> int:
        sizes: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.update({t.data_ptr(): t.nbytes}) or t, lambda t: t
        ):
            model.train()(CLIPS_BCTHW)
        return sum(sizes.values())

    plain = ViT(size="tiny", width=32, depth=8, num_heads=2)
    recomputed = copy.deepcopy(plain)
    recompute_blocks(recomputed)
    assert saved_by(recomputed) < 0.2 * saved_by(plain)


def test_recomputed_blocks_compile() -> None:
    torch.compiler.reset()
    plain = tuned(ADAPTERS["adaptformer"])
    recomputed = copy.deepcopy(plain)
    recompute_blocks(recomputed)
    compile_blocks(recomputed, backend="aot_eager")
    expected, found = gradients(plain), gradients(recomputed)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradient, found[name], rtol=1e-4, atol=1e-5)  # another order of the same sums


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_matrices_kept_in_half_precision_give_the_same_bits(adapter: dict[str, Any]) -> None:
    model = tuned(adapter).eval()
    with torch.inference_mode(), autocast("bf16", CPU):
        expected = model(CLIPS_BCTHW)
        before = [parameter.data for parameter in model.parameters()]
        with matrices_held_in(model.backbone, torch.bfloat16):
            assert torch.equal(expected, model(CLIPS_BCTHW))
    assert [parameter.data_ptr() for parameter in model.parameters()] == [data.data_ptr() for data in before]


def test_matrices_come_back_after_an_error() -> None:
    backbone = tuned(ADAPTERS["adaptformer"]).backbone
    before = [parameter.data_ptr() for parameter in backbone.parameters()]
    with matrices_held_in(backbone, None):
        assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    held = copy.deepcopy(backbone)
    hold_matrices_in(held, torch.bfloat16)
    whole = {name for name, parameter in held.named_parameters() if parameter.dtype == torch.float32}
    assert whole and all("norm" in name or "scale" in name for name in whole), whole
    with pytest.raises(KeyError), matrices_held_in(backbone, torch.bfloat16):
        assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32, torch.bfloat16}
        raise KeyError
    assert [parameter.data_ptr() for parameter in backbone.parameters()] == before


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "convnext_atto"])
def test_so_do_those_of_timm(model: str) -> None:
    torch.manual_seed(0)
    spec = ModelConfig(backbone={"name": "timm", "model": model}, adapter={"name": "linear"})
    built = build_model(spec, 5, 4, 224).eval()
    clips_BCTHW = torch.randn(1, 3, 4, 224, 224)
    with torch.inference_mode(), autocast("bf16", CPU):
        expected = built(clips_BCTHW)
        hold_matrices_in(built.backbone, torch.bfloat16)
        assert torch.equal(expected, built(clips_BCTHW))
