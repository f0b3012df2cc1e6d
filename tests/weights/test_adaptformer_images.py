"""AdaptFormer's release for images, on the backbone `timm`: the numbers that its own code gave, class token or mean."""

import json
import re
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from tests.models.timm_models import Family, small_net
from tests.weight_files import DATA
from videoadapt.config.loading import load_config
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model
from videoadapt.weights.formats import read_weights

FILE = DATA / "adaptformer_image.pth"
FACTS = json.loads((DATA / "adaptformer_image.json").read_text())
DIMS = FACTS["dims"]
NUMBERS = np.load(DATA / "adaptformer_image.npz")
MODEL = "vit_tiny_patch16_224"
ADAPTER = {"name": "adaptformer", "bottleneck": DIMS["bottleneck"], "scale": DIMS["scale"]}


MODELS = pytest.mark.parametrize(
    ("part", "numbers", "arguments", "adapter"),
    [
        ("", "class_token", {}, ADAPTER),
        ("#mean", "mean", {"global_pool": "avg"}, ADAPTER),
        ("#vpt", "class_token_vpt", {}, {"name": "vpt", "num_tokens": DIMS["vpt_tokens"]}),
    ],
)


def build(monkeypatch: pytest.MonkeyPatch, part: str, arguments: dict[str, Any], adapter: dict[str, Any]) -> Classifier:
    """The model of a golden file, for pictures: clips of one frame."""
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
    return build_model(spec, DIMS["num_classes"], 1, DIMS["img_px"])


@MODELS
def test_the_whole_model_is_the_released_codes(monkeypatch, part, numbers, arguments, adapter: dict[str, Any]):
    """Features and logits, three updates of what its code trains, and the logits after them; float32 in another order."""
    model = build(monkeypatch, part, arguments, adapter).eval()
    assert model.head_loaded
    clip_BCTHW, labels_B = torch.from_numpy(NUMBERS["images_BCHW"])[:, :, None], torch.from_numpy(NUMBERS["labels_B"])
    with torch.no_grad():
        np.testing.assert_allclose(model.features(clip_BCTHW), NUMBERS[f"{numbers}_features_BD"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(model(clip_BCTHW), NUMBERS[f"{numbers}_logits_BK"], rtol=0, atol=1e-5)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sorted(trained) == sorted(map(our_name, FACTS[numbers]["trained"]))
    optimizer = torch.optim.SGD(trained.values(), lr=DIMS["sgd_lr"], momentum=DIMS["momentum"])
    losses = []
    for _ in FACTS[numbers]["losses_train_mode"]:
        loss = F.cross_entropy(model.train()(clip_BCTHW), labels_B)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(losses, FACTS[numbers]["losses_train_mode"], rtol=0, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(model.eval()(clip_BCTHW), NUMBERS[f"{numbers}_logits_after_BK"], rtol=0, atol=5e-5)


def our_name(name: str) -> str:
    name = name.replace("head.1.", "head.linear.").replace("blocks.", "backbone.blocks.")
    name = name.replace(".adaptmlp.down_proj.", ".mlp.adapter.down.").replace(".adaptmlp.up_proj.", ".mlp.adapter.up.")
    return re.sub(r"embeddings\.(\d+)", r"backbone.blocks.\1.adapter.tokens", name)


def test_the_released_dropout_is_the_configs():
    """main_image.py leaves its adapters' dropout at 0.1, which the golden files set to 0."""
    assert load_config("method/image_adapt", ["output=x"]).model.adapter["dropout"] == 0.1


def test_into_a_video_vit_it_says_what_it_leaves_out():
    weights = read_weights(str(FILE))
    assert weights.format == "AdaptFormer for images" and len(weights.part(adapter=True)) == 12
    assert {"class token", "head of 5 image classes", "norm"} <= set(weights.unused)
    assert "backbone.space_positions" in weights.tensors


def test_a_part_that_is_not_there():
    with pytest.raises(CheckpointError, match=r"several models: model, mean, vpt|no part .nothing."):
        read_weights(f"{FILE}#nothing")
