"""Image models of timm with adapters are read back as other models are: programs, and merged tensors under our names."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.timm_models import FAMILIES, FRAMES, build_small, clip_for, in_the_page
from tests.toy_models import PLAIN
from videoadapt.config.schema import Config, DataConfig, ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.export.programs import export_merged, export_onnx, export_torch
from videoadapt.models.classifier import Classifier
from videoadapt.registry import ADAPTERS
from videoadapt.weights.formats import read_weights

CLASSES = list("abcde")


def adapted(monkeypatch: pytest.MonkeyPatch, family: str, adapter: Any, output: Path) -> tuple[Classifier, Config]:
    small = FAMILIES[family]
    model = build_small(monkeypatch, small, adapter)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    spec = ModelConfig(backbone={"name": "timm", "model": small.model}, adapter=adapter, head=PLAIN)
    return model, Config(output=output, model=spec, data=DataConfig(num_frames=FRAMES, crop_px=small.side_px))


def test_torch_export_takes_batches_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = [{"name": "adaptformer", "bottleneck": 4}, {"name": "st_adapter", "bottleneck": 4, "before": ["mlp"]}]
    model, config = adapted(monkeypatch, "DINOv2, registers", spec, tmp_path)
    assert export_torch(model, config, CLASSES, tmp_path / "m.pt2") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ViT", "DINOv3", "BEiT", "Swin", "Hiera"])
def test_all_that_a_family_takes_exports_together(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of each kind of block: every method that docs/image_models.md has for it, but for LoRA, as SSF is there."""
    names = [name for name in ADAPTERS.names() if not ADAPTERS.get(name).alone and name != "lora"]
    spec = [{"name": name} for name in names if in_the_page()[family, name] != "no"]
    if family == "Hiera":
        spec.append({"name": "st_adapter", "before": ["mlp"]})
    model, config = adapted(monkeypatch, family, spec, tmp_path)
    assert len(spec) >= 6 and export_torch(model, config, CLASSES, tmp_path / "m.pt2") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["DINOv2, registers", "EVA-02 Ti, S", "Swin"])
def test_onnx_does_too(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = adapted(monkeypatch, family, {"name": "adaptformer", "bottleneck": 4}, tmp_path)
    assert export_onnx(model, config, CLASSES, tmp_path / "m.onnx") < 1e-5


@pytest.mark.slow
def test_what_torch_onnx_cannot_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hiera's windows are a fifth dimension of its attention."""
    model, config = adapted(monkeypatch, "Hiera", {"name": "linear"}, tmp_path)
    with pytest.raises(ConfigError, match=r"^.*m\.onnx: torch\.onnx cannot write this model \(.*\); export to \.pt2$"):
        export_onnx(model, config, CLASSES, tmp_path / "m.onnx")


@pytest.mark.parametrize("family", ["DINOv2, registers", "BEiT", "Swin"])
def test_a_merged_file_is_the_plain_model(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = adapted(monkeypatch, family, [{"name": "lora"}, {"name": "bitfit"}], tmp_path)
    clip = clip_for(FAMILIES[family])
    with torch.no_grad():
        before = model.backbone(clip)
    assert export_merged(model, config, CLASSES, tmp_path / "m.safetensors") < 1e-5
    plain = build_small(monkeypatch, FAMILIES[family], {"name": "linear"})
    tensors = read_weights(str(tmp_path / "m.safetensors")).tensors
    plain.load_state_dict(tensors)
    with torch.no_grad():
        torch.testing.assert_close(plain.backbone(clip), before, rtol=1e-5, atol=1e-6)
