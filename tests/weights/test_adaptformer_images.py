"""AdaptFormer's release for images, on the backbone `timm`: the features that its own code gave, class token or mean."""

import json
from typing import Any

import numpy as np
import pytest
import timm
import torch

from tests.models.timm_models import Family, small_net
from tests.weight_files import DATA
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.runs.build import build_model
from videoadapt.weights.formats import read_weights

FILE = DATA / "adaptformer_image.pth"
DIMS = json.loads((DATA / "adaptformer_image.json").read_text())["dims"]
NUMBERS = np.load(DATA / "adaptformer_image.npz")
MODEL = "vit_tiny_patch16_224"
ADAPTER = {"name": "adaptformer", "bottleneck": DIMS["bottleneck"], "scale": DIMS["scale"]}


@pytest.mark.parametrize(
    ("part", "numbers", "arguments", "adapter"),
    [
        ("", "class_token", {}, ADAPTER),
        ("#mean", "mean", {"global_pool": "avg"}, ADAPTER),
        ("#vpt", "class_token_vpt", {}, {"name": "vpt", "num_tokens": DIMS["vpt_tokens"]}),
    ],
)
def test_features_are_those_of_the_released_code(monkeypatch, part, numbers, arguments, adapter: dict[str, Any]):
    sizes = {
        "embed_dim": DIMS["width"],
        "depth": DIMS["depth"],
        "num_heads": DIMS["num_heads"],
        "patch_size": DIMS["patch_px"],
    }
    monkeypatch.setattr(
        timm, "create_model", lambda *_, **__: small_net(Family(MODEL, DIMS["img_px"], sizes | arguments))
    )
    spec = ModelConfig(backbone={"name": "timm", "model": MODEL}, adapter=adapter, weights=f"{FILE}{part}")
    model = build_model(spec, DIMS["num_classes"], 2, DIMS["img_px"]).eval()
    clip = torch.from_numpy(NUMBERS["images_BCHW"])[:, :, None].expand(-1, -1, 2, -1, -1)
    with torch.no_grad():
        np.testing.assert_allclose(model.backbone(clip), NUMBERS[f"{numbers}_features_BD"], rtol=0, atol=1e-5)


def test_into_a_video_vit_it_says_what_it_leaves_out():
    weights = read_weights(str(FILE))
    assert weights.format == "AdaptFormer for images" and len(weights.part(adapter=True)) == 12
    assert {"class token", "head of 5 image classes", "norm"} <= set(weights.unused)
    assert "backbone.space_positions" in weights.tensors


def test_a_part_that_is_not_there():
    with pytest.raises(CheckpointError, match=r"several models: model, mean, vpt|no part .nothing."):
        read_weights(f"{FILE}#nothing")
