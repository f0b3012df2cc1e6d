"""VideoMAE and VideoMAE V2 in every published size, by the names and shapes of their files."""

import json
import logging
import re

import pytest
import torch
from safetensors.torch import save_file

from tests.weight_files import DATA, refusal, saved, state, toy
from videoadapt.models.backbones.vit import SIZES
from videoadapt.models.loading import load_backbone
from videoadapt.weights.formats import read_weights

Shapes = dict[str, tuple[int, ...]]
# Width, depth, hidden width of the MLP, pixels of a patch; and of the decoder: width, depth in V1 (None: not published)
# and in V2.
PUBLISHED = {
    "small": ((384, 12, 1536, 16), (192, 4, 4)),
    "base": ((768, 12, 3072, 16), (384, 4, 4)),
    "large": ((1024, 24, 4096, 16), (512, 12, 4)),
    "huge": ((1280, 32, 5120, 16), (512, 12, 4)),
    "giant": ((1408, 40, 6144, 14), (512, None, 4)),
}


def block(prefix: str, width: int, hidden: int) -> Shapes:
    vectors = ("norm1.weight", "norm1.bias", "attn.q_bias", "attn.v_bias", "attn.proj.bias")
    vectors += ("norm2.weight", "norm2.bias", "mlp.fc2.bias")
    shapes: Shapes = {f"{prefix}.{name}": (width,) for name in vectors}
    shapes |= {f"{prefix}.attn.qkv.weight": (3 * width, width), f"{prefix}.attn.proj.weight": (width, width)}
    shapes |= {f"{prefix}.mlp.fc1.weight": (hidden, width), f"{prefix}.mlp.fc1.bias": (hidden,)}
    return shapes | {f"{prefix}.mlp.fc2.weight": (width, hidden)}


def trunk(size: str) -> Shapes:
    (width, depth, hidden, patch), _ = PUBLISHED[size]
    shapes: Shapes = {"patch_embed.proj.weight": (width, 3, 2, patch, patch), "patch_embed.proj.bias": (width,)}
    for number in range(depth):
        shapes |= block(f"blocks.{number}", width, hidden)
    return shapes


def pre_training(size: str, version: int) -> Shapes:
    (width, _, _, patch), (narrow, *depths) = PUBLISHED[size]
    depth = depths[version - 1]
    shapes = {f"encoder.{name}": shape for name, shape in trunk(size).items()}
    shapes |= {"encoder.norm.weight": (width,), "encoder.norm.bias": (width,)}
    for number in range(depth):
        shapes |= block(f"decoder.blocks.{number}", narrow, 4 * narrow)
    shapes |= {"decoder.norm.weight": (narrow,), "decoder.norm.bias": (narrow,)}
    pixels = 3 * 2 * patch**2
    shapes |= {"decoder.head.weight": (pixels, narrow), "decoder.head.bias": (pixels,)}
    return shapes | {"encoder_to_decoder.weight": (narrow, width), "mask_token": (1, 1, narrow)}


def fine_tuned(size: str, num_classes: int) -> Shapes:
    width = PUBLISHED[size][0][0]
    shapes = trunk(size) | {"fc_norm.weight": (width,), "fc_norm.bias": (width,)}
    return shapes | {"head.weight": (num_classes, width), "head.bias": (num_classes,)}


def file_of(tmp_path, shapes: Shapes, wrap: str) -> str:
    """A torch file with these names and shapes that takes no room: every tensor is one number, expanded."""
    return saved(tmp_path, {wrap: {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}})


def sized(size: str, *values):
    """A case that is slow for the larger models: their numbers, up to a billion, are looked at one by one."""
    return pytest.param(size, *values, marks=[] if size in ("small", "base") else [pytest.mark.slow])


def meta_model(size: str, num_classes: int):
    with torch.device("meta"):
        return toy(num_classes, size=size, width=None, depth=None, num_heads=None)


@pytest.mark.parametrize(
    ("manifest", "shapes"),
    [
        ("videomae_pretrain_base", pre_training("base", 1)),
        ("videomae_finetune_base", fine_tuned("base", 400)),
    ],
)
def test_the_shapes_used_here_are_those_of_the_published_files(manifest, shapes):
    published = json.loads((DATA / "manifests" / f"{manifest}.json").read_text())
    assert {name: tuple(shape) for name, shape in published.items()} == shapes


@pytest.mark.parametrize(
    ("size", "version"),
    [sized(size, version) for size in PUBLISHED for version in (1, 2) if PUBLISHED[size][1][version]],
)
@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_pre_training_files_of_every_size(tmp_path, size, version):
    shapes = pre_training(size, version)
    weights = read_weights(file_of(tmp_path, shapes, "model"))
    report = load_backbone(meta_model(size, 51), weights)
    assert report.format == "VideoMAE pre-training" and report.new == ("fc_norm", "head") and report.replaced == ()
    assert set(report.unused) == {"decoder", "encoder_to_decoder", "mask_token", "encoder.norm"}
    assert report.loaded == 2 + 13 * SIZES[size].depth == len(trunk(size))


@pytest.mark.parametrize(
    ("size", "num_classes", "wrap"),
    [("small", 710, "module"), ("base", 710, "module"), sized("giant", 710, "module"), ("base", 400, "model")],
)
@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_fine_tuned_and_distilled_files(tmp_path, size, num_classes, wrap):
    report = load_backbone(meta_model(size, 400), read_weights(file_of(tmp_path, fine_tuned(size, num_classes), wrap)))
    head = (f"head ({num_classes} classes in the file, 400 here)",) if num_classes != 400 else ()
    assert (report.format, report.replaced, report.new, report.unused) == ("VideoMAE fine-tuned", head, (), ())
    assert report.loaded == len(trunk(size)) + (2 if head else 4)


def test_another_size_is_named_as_the_likely_cause(tmp_path):
    ends = {
        name: s
        for name, s in fine_tuned("giant", 710).items()
        if not re.match(r"blocks\.([1-9]|[12]\d|3[0-8])\.", name)
    }
    location = file_of(tmp_path, ends, "module")
    message = refusal(location, meta_model("huge", 400))
    for cause in (
        "width = 1408 in the file, 1280 in the model: change the backbone's size or width",
        "patch_px = 14 in the file, 16 in the model: change the backbone's size or patch_px",
        "depth = 40 in the file, 32 in the model: change the backbone's size or depth",
        "mlp_ratio = 4.364 in the file, 4.0 in the model: change the backbone's size or mlp_ratio",
    ):
        assert f"likely cause: {cause}" in message


@pytest.mark.parametrize("head", [False, True])
def test_v2_on_hugging_face_puts_model_in_front(tmp_path, caplog, head):
    source = state("videomae_finetune.pth")
    kept = {name: tensor for name, tensor in source.items() if head or not name.startswith("head.")}
    save_file({f"model.{name}": tensor for name, tensor in kept.items()}, tmp_path / "model.safetensors")
    model_config = {"embed_dim": 48, "num_heads": 3, "layer_norm_eps": 1e-6, "tubelet_size": 2}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "VideoMAEv2_Base", "model_config": model_config}))
    model, plain = toy(), toy()
    with caplog.at_level(logging.INFO, "videoadapt"):
        report = load_backbone(model, read_weights(str(tmp_path)))
    load_backbone(plain, read_weights(str(DATA / "videomae_finetune.pth")))
    assert report.format == "VideoMAE V2 on Hugging Face" and report.loaded == len(kept)
    assert (report.new, report.notes) == (() if head else ("head",), ())
    clip = torch.randn(2, 3, 4, 16, 16)
    assert model.features(clip).equal(plain.features(clip))
    assert "3 attention heads, the model has 6" in refusal(str(tmp_path), toy(num_heads=6))
