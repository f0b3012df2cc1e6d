"""Mean and deviation of the pixels that weights were trained on: read where a file tells, set, and told where they differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.hub_files import timm_vit
from tests.toy_models import PLAIN
from videoadapt import logger
from videoadapt.config.schema import Config, ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.models.loading import load_backbone
from videoadapt.registry import BACKBONES
from videoadapt.runs.build import build_autoencoder, build_model
from videoadapt.video.transforms import normalise
from videoadapt.weights.formats import read_weights
from videoadapt.weights.normalisation import CLIP, HALF, IMAGENET, Normalisation

PIXELS = torch.randint(256, (2, 3, 2, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ODD = Normalisation((0.1, 0.4, 0.7), (0.2, 0.5, 0.3))
TINY = {"size": "tiny", "width": 32, "depth": 2, "num_heads": 2, "patch_px": 8}
TIMMS = {"name": "timm", "model": "test_vit", "crop_px": 32}


@pytest.mark.parametrize("spec", [{"name": "vit", **TINY}, TIMMS, {"name": "timm", "model": "test_resnet"}])
def test_a_backbone_sees_pixels_as_its_weights_did(spec: dict[str, Any]) -> None:
    """The same weights, shown the same pixels normalised by the definition."""
    torch.manual_seed(0)
    plain = BACKBONES.build(spec).eval()
    own = BACKBONES.build({**spec, "mean": list(ODD.mean), "std": list(ODD.std)}).eval()
    own.load_state_dict(plain.state_dict())
    clips = normalise(PIXELS, [None] * 2)
    expected = plain(normalise(PIXELS, [None] * 2, *ODD))
    torch.testing.assert_close(own(clips), expected, rtol=1e-4, atol=1e-4)
    assert (plain(clips) - expected).abs().max() > 0.01
    assert own.normalisation == ODD and plain.normalisation == IMAGENET
    half = BACKBONES.build({**spec, "mean": [0.5, 0.5, 0.5]})
    assert half.normalisation == Normalisation(HALF.mean, IMAGENET.std)


def test_masked_pretraining_has_no_weights_to_fit(tmp_path: Path) -> None:
    spec = {"backbone": {"name": "vit", **TINY, "std": [0.5, 0.5, 0.5]}}
    config = Config(output=tmp_path, task="pretrain", model=spec, data={"num_frames": 2, "crop_px": 32})
    with pytest.raises(ConfigError, match=r"^model\.backbone: mean \[0\.485.* std \[0\.5.*leave them out$"):
        build_autoencoder(config)


def folder(path: Path, content: dict[str, Any], **beside: Any) -> Path:
    path.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in content.items()}, path / "model.safetensors")
    for name, said in beside.items():
        (path / f"{name}.json").write_text(json.dumps(said))
    return path


def said(norm: Normalisation, prefix: str = "") -> dict[str, list[float]]:
    return {f"{prefix}mean": list(norm.mean), f"{prefix}std": list(norm.std)}


def of_transformers(tensors: dict[str, Any]) -> dict[str, Any]:
    return {"embeddings.patch_embeddings.projection.weight": tensors["patch_embed.proj.weight"]}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"config": {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": said(HALF)}}, HALF),
        ({"config": {"architecture": "vit_tiny_patch16_224"}}, None),
        ({"config": {"pretrained_cfg": {"mean": "x", "std": [1, 2]}}}, None),
        ({"config": {"model_type": "siglip"}, "preprocessor_config": said(ODD, "image_")}, ODD),
        ({"config": {"model_type": "vit"}, "preprocessor_config": said(HALF, "image_")}, HALF),
        ({"config": {"model_type": "vit"}}, None),  # google's and facebook/dino's differ
        ({"config": {"model_type": "vit_mae"}}, IMAGENET),
        ({}, None),
    ],
)
def test_what_files_say(tmp_path: Path, beside: dict[str, Any], expected: Normalisation | None) -> None:
    tensors = timm_vit().state_dict()
    kind = beside.get("config", {}).get("model_type", "")
    content = of_transformers(tensors) if kind in ("vit", "vit_mae") else tensors
    if kind == "siglip":
        renamed = (("patch_embedding", "patch_embed.proj.weight"), ("position_embedding", "pos_embed"))
        content = {f"embeddings.{ours}.weight": tensors[theirs].squeeze(0) for ours, theirs in renamed}
    found = read_weights(str(folder(tmp_path / "m", content, **beside)), names="timm")
    assert found.normalisation == expected
    assert CLIP.is_like(Normalisation((0.481, 0.458, 0.408), (0.269, 0.261, 0.276))) and not CLIP.is_like(IMAGENET)


def test_another_normalisation_is_told_with_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    """In a warning before the first step; none once it is set, nor from the check that allocates nothing."""
    monkeypatch.setattr(logger, "propagate", True)
    net = BACKBONES.build(TIMMS).net.state_dict()
    config = {"architecture": "test_vit", "pretrained_cfg": said(HALF)}
    spec = {"weights": str(folder(tmp_path / "m", net, config=config)), "adapter": {"name": "linear"}, "head": PLAIN}
    build_model(ModelConfig(backbone=TIMMS, **spec), 3, 2, 32)
    (line,) = [line for line in log_lines if "normalised" in line]
    assert "was trained on pixels normalised with mean [0.5, 0.5, 0.5] and std [0.5, 0.5, 0.5]" in line
    assert "shown them with mean [0.485, 0.456, 0.406]" in line
    assert line.endswith("set model.backbone.mean [0.5, 0.5, 0.5] and model.backbone.std [0.5, 0.5, 0.5]")
    log_lines.clear()
    build_model(ModelConfig(backbone=TIMMS | said(HALF), **spec), 3, 2, 32)
    assert not [line for line in log_lines if "normalised" in line]


def test_timms_own_weights_are_named_where_no_file_tells(tmp_path: Path) -> None:
    """vit_tiny's, of timm, took 0.5; other files of the same layout took ImageNet's, so that this is no warning."""
    spec = {"name": "timm", "model": "test_vit", "crop_px": 32}
    model = build_model(ModelConfig(backbone=spec, adapter={"name": "linear"}, head=PLAIN), 3, 2, 32)
    path = folder(tmp_path / "m", model.backbone.net.state_dict())
    usual = model.backbone.usual_weights
    assert usual is not None and usual[0] == "timm:test_vit.r160_in1k" and usual[1].is_like(HALF)
    report = load_backbone(model, read_weights(str(path), names="timm"))
    (note,) = [note for note in report.notes if "normalised" in note]
    assert note.startswith(
        "no file says how pixels were normalised; timm:test_vit.r160_in1k was trained with mean [0.5"
    )
