"""How adapters start and drop: as the papers say, as their released code has it, and as other implementations do it.

Deviations of so many draws are known to about 1 / sqrt(2 n); the tolerances are five times that or more.
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.toy_models import build
from videoadapt.config.schema import HeadConfig, ModelConfig
from videoadapt.models.adapters.adaptformer import Bottleneck
from videoadapt.models.adapters.lora import LowRank
from videoadapt.runs.build import build_model

PLAIN = HeadConfig(batch_norm=False)


def test_the_released_adapter_starts_normal_above_and_below() -> None:
    torch.manual_seed(0)
    released = Bottleneck(768, 64, 0.1, 0.0, "released")
    for layer in (released.down, released.up):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)  # 49,152 draws
        assert layer.weight.abs().max() > 0.07 and not layer.bias.any()  # not cut at two or three deviations
    outside = (released.down.weight.abs() > 0.02).float().mean().item()
    assert outside == pytest.approx(math.erfc(1 / math.sqrt(2)), rel=0.05)  # a normal's share beyond one deviation


def test_only_the_papers_start_is_the_trunk() -> None:
    clip, logits = torch.randn(2, 3, 4, 16, 16), {}
    for init in ("paper", "released"):
        adapted = build({"name": "adaptformer", "init": init}).eval()
        with_adapter = adapted(clip)
        for block in adapted.backbone.blocks:
            block.mlp = block.mlp.branch
        logits[init] = with_adapter.equal(adapted(clip))
    assert logits == {"paper": True, "released": False}


@pytest.mark.parametrize(("init", "bound"), [("patch", 0.0625), ("shape", 0.0295), ("tubelet", 0.0510)])
def test_the_starts_of_prompt_tokens(init: str, bound: float) -> None:
    """KMnP's number for ViT-B, that of AdaptFormer's code for eight tokens (to the digits they are known to), and ours."""
    torch.manual_seed(0)
    backbone = {"name": "vit", "size": "base", "depth": 2, "mlp_ratio": 0.1}
    spec = ModelConfig(backbone=backbone, adapter={"name": "vpt", "num_tokens": 8, "init": init}, head=PLAIN)
    blocks: Any = build_model(spec, 2, 2, 16).backbone.blocks
    tokens = torch.cat([block.adapter.tokens for block in blocks])
    assert tokens.abs().max().item() == pytest.approx(bound, abs=6e-5)
    assert tokens.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    if init == "shape":
        theirs = torch.empty(1, 8, 768)
        torch.nn.init.xavier_uniform_(theirs)
        assert tokens.std().item() == pytest.approx(theirs.std().item(), rel=0.03)


@pytest.mark.parametrize("own_masks", [False, True])
def test_q_and_v_drop_together_or_each_for_itself(own_masks: bool) -> None:
    low_rank = LowRank(6, 3 * 4, 3, [0, 2], 2, 0.5, 0.5, own_masks)
    torch.nn.init.normal_(low_rank.up)
    x = torch.randn(50, 6)
    torch.manual_seed(3)
    out = low_rank(x)
    torch.manual_seed(3)
    first = F.dropout(x, 0.5)
    second = F.dropout(x, 0.5) if own_masks else first
    parts = [dropped @ low_rank.down[g].T @ low_rank.up[g].T for g, dropped in enumerate((first, second))]
    expected = 0.5 * torch.cat([parts[0], torch.zeros(50, 4), parts[1]], dim=1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    block: Any = build({"name": "lora", "dropout_masks": "own" if own_masks else "shared"}).backbone.blocks[0]
    assert block.attn.fn.qkv.adapter.own_masks == own_masks


def test_lora_is_pefts_with_its_masks() -> None:
    """q and v as two layers of peft's: the same outputs, gradients and dropout, from the same generator in the same order."""
    peft = pytest.importorskip("peft", reason="compared with peft's own layers")
    torch.manual_seed(0)
    width, rank = 12, 3
    names, x = ("q", "v"), torch.randn(5, 7, width, dtype=torch.float64)
    theirs = torch.nn.ModuleDict({name: torch.nn.Linear(width, width) for name in names}).double()
    config = peft.LoraConfig(r=rank, lora_alpha=6, target_modules=["q", "v"], lora_dropout=0.3, init_lora_weights=False)
    tuned = peft.inject_adapter_in_model(config, theirs).train()
    low_rank = LowRank(width, 3 * width, 3, [0, 2], rank, 6 / rank, 0.3, True).double()
    with torch.no_grad():
        for number, name in enumerate(names):
            low_rank.down[number] = tuned[name].lora_A["default"].weight
            low_rank.up[number] = tuned[name].lora_B["default"].weight
    torch.manual_seed(1)
    ours = low_rank(x).chunk(3, dim=-1)
    torch.manual_seed(1)
    expected = [tuned[name](x) - tuned[name].base_layer(x) for name in names]
    close = {"rtol": 0, "atol": 1e-12}  # float64: rounding alone
    torch.testing.assert_close([ours[0], ours[2]], expected, **close)
    assert not ours[1].any()
    sum(part.square().sum() for part in expected).backward()
    sum(part.square().sum() for part in ours).backward()
    for number, name in enumerate(names):
        torch.testing.assert_close(low_rank.down.grad[number], tuned[name].lora_A["default"].weight.grad, **close)
        torch.testing.assert_close(low_rank.up.grad[number], tuned[name].lora_B["default"].weight.grad, **close)
