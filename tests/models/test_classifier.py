"""The classifier and the layers after the backbone, BatchNorm over ranks among them."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from videoadapt import distributed
from videoadapt.config.schema import HeadConfig, ModelConfig
from videoadapt.errors import CheckpointError, ConfigError, VideoAdaptError
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import FeatureBatchNorm, Head
from videoadapt.models.parameters import count_gflops
from videoadapt.runs.build import build_model

TINY = {"name": "vit", "size": "tiny", "width": 32, "depth": 2, "num_heads": 2}
LINEAR = {"name": "linear"}


def test_logits_in_every_mode_and_float32_under_autocast():
    model = build_model(ModelConfig(backbone=TINY), 7, 4, 16)
    clip = torch.randn(3, 3, 4, 16, 16)
    assert model.training and model(clip).shape == (3, 7)
    model.eval()
    exact = model(clip)
    assert exact.min() < 0 and not torch.allclose(exact.sum(1), torch.ones(3))  # no softmax
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = []
        model.fc_norm.register_forward_hook(lambda module, args, out: seen.extend((args[0].dtype, out.dtype)))
        mixed = model(clip)
    assert mixed.dtype == torch.float32 and seen == [torch.float32, torch.float32]
    torch.testing.assert_close(mixed, exact, rtol=0, atol=0.02)


def test_the_head_starts_as_configured():
    head = Head(512, 100, batch_norm=True, sync=True, dropout=0.25, init_std=0.05)
    assert head.linear.weight.std().item() == pytest.approx(0.05, rel=0.02) and not head.linear.bias.any()
    assert isinstance(head.norm, FeatureBatchNorm) and head.norm.sync and head.norm.eps == 1e-6
    assert list(head.norm.parameters()) == [] and head.dropout.p == 0.25
    scaled = Head(512, 100, init_std=0.02, init_scale=0.001).linear.weight  # VideoMAE's fine-tuning
    assert scaled.std().item() == pytest.approx(2e-5, rel=0.02)  # 51,200 draws: 0.3 % is one deviation of the estimate
    spec = ModelConfig(backbone=TINY, head=HeadConfig(batch_norm=False, init_std=0.5))
    plain = build_model(spec, 400, 4, 16).head
    assert isinstance(plain.norm, nn.Identity) and plain.linear.weight.std().item() == pytest.approx(0.5, rel=0.05)


def test_backbones_without_fc_norm_have_none():
    spec = ModelConfig(backbone={"name": "timm", "model": "test_resnet"}, adapter=LINEAR)
    model = build_model(spec, 5, 4, 64)
    assert isinstance(model.fc_norm, nn.Identity)
    eps = build_model(ModelConfig(backbone=TINY | {"fc_norm_eps": 1e-5, "eps": 1e-12}), 5, 4, 16)
    assert eps.fc_norm.eps == 1e-5 and eps.backbone.blocks[0].attn.norm.eps == 1e-12


def test_the_clip_is_checked_before_the_weights_are_opened():
    spec = ModelConfig(backbone=TINY, weights="nowhere.pth", obtain="ask the authors")
    with pytest.raises(ConfigError, match=r"data\.num_frames = 5"):
        build_model(spec, 5, 5, 16)
    with pytest.raises(CheckpointError, match=r"model\.weights = nowhere\.pth: no such file; ask the authors"):
        build_model(spec, 5, 4, 16)


@pytest.mark.parametrize(("num_classes", "loaded"), [(5, True), (7, False)])
def test_the_model_knows_whether_its_head_came_with_the_weights(num_classes, loaded):
    data = Path(__file__).parents[1] / "golden"
    toy = {"name": "vit", "size": "tiny", "width": 48, "depth": 3, "num_heads": 3}
    head = HeadConfig(batch_norm=False)
    spec = ModelConfig(backbone=toy, adapter=LINEAR, head=head, weights=str(data / "videomae_finetune.pth"))
    assert build_model(spec, num_classes, 8, 32).head_loaded is loaded
    spec = spec.model_copy(update={"weights": str(data / "videomae_pretrain.pth")})
    assert not build_model(spec, num_classes, 8, 32).head_loaded
    assert not build_model(spec.model_copy(update={"weights": None}), num_classes, 8, 32).head_loaded


# ---- cost ------------------------------------------------------------------------------------------------------------


def classifier(**dims) -> Classifier:
    vit = ViT(**dims)
    return Classifier(vit, Head(vit.width, 400, batch_norm=False, sync=False, dropout=0.0, init_std=0.01))


def test_gflops_count_attention():
    width, depth, tokens, patch = 64, 2, 4 * 8 * 8, 2 * 8 * 8 * 3
    model = classifier(size="tiny", width=width, depth=depth, num_heads=2)
    attention = 2 * tokens * tokens * width
    expected = tokens * width * patch + depth * (12 * tokens * width * width + attention) + 400 * width
    assert count_gflops(model, 8, 64, 64) * 1e9 == pytest.approx(expected, rel=0.02)  # fvcore adds the norms
    assert count_gflops(model, 8, 64, 64) * 1e9 > expected
    assert model.training


@pytest.mark.slow
def test_gflops_of_vit_base_are_those_published():
    assert count_gflops(classifier(size="base"), 16, 224, 224) == pytest.approx(180, abs=1)


# ---- BatchNorm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [False, True])
def test_alone_it_is_torch_batch_norm(sync):
    torch.manual_seed(0)
    ours, torchs = FeatureBatchNorm(16, sync), nn.BatchNorm1d(16, eps=1e-6, affine=False)
    for _ in range(3):
        x = torch.randn(5, 16)
        assert ours(x).equal(torchs(x))
    assert all(ours.state_dict()[key].equal(tensor) for key, tensor in torchs.state_dict().items())
    x = torch.randn(1, 16)
    assert ours.eval()(x).equal(torchs.eval()(x))


def test_statistics_keep_float32_under_autocast():
    norm = FeatureBatchNorm(8, sync=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = norm(torch.randn(4, 8, dtype=torch.bfloat16))
    assert out.dtype == norm.running_mean.dtype == torch.float32


@pytest.mark.parametrize("sync", [False, True])
def test_a_training_batch_of_one_says_what_to_do(sync):
    model = build_model(ModelConfig(backbone=TINY, head=HeadConfig(sync=sync)), 5, 4, 16)
    with pytest.raises(
        VideoAdaptError, match=r"batch_norm of the head: .* one clip.*larger batch.*leave batch_norm off"
    ):
        model(torch.zeros(1, 3, 4, 16, 16))
    model.eval()(torch.zeros(1, 3, 4, 16, 16))


def two_ranks(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    x, weight = torch.load(folder / "batch.pth")
    mine = slice(0, 3) if rank == 0 else slice(3, 8)  # ranks may hold different numbers of clips
    norm, part = FeatureBatchNorm(16, sync=True), x[mine].clone().requires_grad_()
    out = norm(part)
    (out * weight[mine]).sum().backward()
    singles = FeatureBatchNorm(16, sync=True)(x[rank : rank + 1])  # one clip on each rank is a batch of two
    with pytest.raises(VideoAdaptError, match="batch of all ranks together holds one clip"):
        FeatureBatchNorm(16, sync=True)(x[: 1 - rank])
    torch.save((out.detach(), part.grad, norm.state_dict(), singles), folder / f"rank{rank}.pth")
    local = FeatureBatchNorm(16, sync=False)
    local(x[mine])
    torch.save(local.state_dict(), folder / f"local{rank}.pth")
    distributed.leave_group()


@pytest.mark.slow
def test_two_ranks_are_one_process_with_the_whole_batch(tmp_path):
    torch.manual_seed(0)
    x, weight = 3 + 0.2 * torch.randn(8, 16), torch.randn(8, 16)
    torch.save((x, weight), tmp_path / "batch.pth")
    mp.spawn(two_ranks, (tmp_path,), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2)]

    whole = nn.BatchNorm1d(16, eps=1e-6, affine=False).double()  # the exact values; its own float32 is off by 1e-4
    wide = x.double().requires_grad_()
    out = whole(wide)
    (out * weight).sum().backward()
    pair = nn.BatchNorm1d(16, eps=1e-6, affine=False).double()(wide.detach()[:2])
    for column, expected in ((0, out), (1, wide.grad), (3, pair)):
        found = torch.cat([rank[column] for rank in ranks])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=2e-6)
    for _, _, statistics, _ in ranks:
        for key, tensor in whole.state_dict().items():
            torch.testing.assert_close(statistics[key].double(), tensor.double(), rtol=0, atol=1e-6)
    for rank, mine in enumerate((slice(0, 3), slice(3, 8))):
        alone = nn.BatchNorm1d(16, eps=1e-6, affine=False)
        alone(x[mine])
        assert torch.load(tmp_path / f"local{rank}.pth")["running_var"].equal(alone.running_var)
