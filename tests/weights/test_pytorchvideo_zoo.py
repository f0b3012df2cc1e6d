"""PyTorchVideo's own networks, saved as its zoo's files are: the same classes come out of the backbone `pytorchvideo`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorchvideo.models import hub
from torch import Tensor, nn

from tests.weight_files import saved
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.models.backbones.pytorchvideo import MODELS, SLOWFAST_ALPHA
from videoadapt.models.loading import load_backbone
from videoadapt.runs.build import build_model
from videoadapt.weights.formats import read_weights
from videoadapt.weights.normalisation import IMAGENET

LINEAR: dict[str, Any] = {"adapter": {"name": "linear"}, "head": {"batch_norm": False}}
ZOO: dict[str, Any] = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}


def made(name: str) -> nn.Module:
    """The zoo's network as its own code makes it, with other than fresh statistics in its norms."""
    torch.manual_seed(3)
    net: nn.Module = getattr(hub, name)(pretrained=False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean, module.running_var = (
                torch.randn(module.num_features) / 9,
                torch.rand(module.num_features) + 0.5,
            )
    return net.eval()


def asked(name: str, net: nn.Module, levels_BCTHW: Tensor) -> Tensor:
    """What the hub's page does with grey levels from 0 to 1."""
    clip = (levels_BCTHW - 0.45) / 0.225
    if not name.startswith("slowfast"):
        return net(clip)
    slow = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // SLOWFAST_ALPHA).long()
    return net([clip[:, :, slow], clip])


@pytest.mark.parametrize(
    "name", ["x3d_xs", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "x3d_xs")]
)
def test_its_classes_come_out(name: str, tmp_path: Path) -> None:
    net = made(name)
    location = saved(tmp_path, {"model_state": net.state_dict()}, f"{name}.pyth")
    config = {**LINEAR, "backbone": {"name": "pytorchvideo", "model": name, **ZOO}}
    published = MODELS[name]
    model = build_model(ModelConfig.model_validate(config), 400, published.num_frames, published.crop_px).eval()
    report = load_backbone(model, read_weights(location, names="pytorchvideo"))
    assert report.format == "PyTorchVideo" and report.loaded == len(net.state_dict()) and not report.new + report.unused
    levels = torch.rand(1, 3, published.num_frames, published.crop_px, published.crop_px)
    mean, std = (torch.tensor(part).view(3, 1, 1, 1) for part in IMAGENET)
    with torch.inference_mode():
        theirs, ours = asked(name, net, levels), model((levels - mean) / std)
    if name.startswith("x3d"):
        ours = ours.softmax(-1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert theirs.std() > 1e-6


def test_other_pixels_and_other_backbones_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    location = saved(tmp_path, {"model_state": made("x3d_xs").state_dict()}, "x3d.pyth")
    config = ModelConfig.model_validate({**LINEAR, "backbone": {"name": "pytorchvideo", "model": "x3d_xs"}})
    report = load_backbone(build_model(config, 7, 4, 160), read_weights(location, names="pytorchvideo"))
    assert report.replaced == ("head (400 classes in the file, 7 here)",)
    assert "normalised with mean [0.45, 0.45, 0.45] and std [0.225, 0.225, 0.225]" in caplog.text
    for names in ("own", "timm"):
        with pytest.raises(CheckpointError, match="is of PyTorchVideo's zoo: take the backbone"):
            read_weights(location, names=names)
