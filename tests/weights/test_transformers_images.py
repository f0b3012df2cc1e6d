"""Image models of `transformers`, with random values: loaded here into timm's counterpart, they give the same features."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.hub_files import timm_vit
from tests.models.timm_models import Family, build_small
from tests.toy_models import shake
from tests.weight_files import toy
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.export.conversion import convert
from videoadapt.models.activations import activation_of
from videoadapt.models.backbones.timm import Timm
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.loading import LoadReport, load_backbone
from videoadapt.runs.build import build_model
from videoadapt.weights.formats import read_weights

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
PLAIN: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
IMAGE = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()


def eps(value: float) -> dict[str, Any]:
    return {"norm_layer": partial(nn.LayerNorm, eps=value)}


class Case(NamedTuple):
    """A model there, its feature, and the model of timm that is the same in small."""

    make: Callable[..., Any]
    config: Any
    feature: Callable[[Any, Tensor], Tensor]
    timm: str
    arguments: dict[str, Any]
    format: str
    unused: tuple[str, ...] = ()


def first(model: Any, image: Tensor) -> Tensor:
    return model(image).last_hidden_state[:, 0]


def pooled(model: Any, image: Tensor) -> Tensor:
    return model(image).pooler_output


def unmasked(model: Any, image: Tensor) -> Tensor:
    """MAE's encoder with all patches in their order."""
    noise = torch.arange(16, dtype=image.dtype).expand(len(image), -1)
    return model.vit(image, noise=noise).last_hidden_state[:, 0]


def of_naflex(model: Any, image: Tensor) -> Tensor:
    """The image as patches whose values lie row, column, channel."""
    patches = image.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    mask, shapes = torch.ones(len(image), 16), torch.full((len(image), 2), 4)
    return model(patches, pixel_attention_mask=mask, spatial_shapes=shapes).pooler_output


SQUARE = SIZES | {"image_size": 32, "patch_size": 8}
SWIGLU = {"mlp_ratio": 5.5}
MASK = ("embeddings.mask_token",)
CASES = {
    "vit": Case(hf.ViTModel, hf.ViTConfig(**SQUARE), first, "vit_tiny_patch16_224", eps(1e-12), "ViT", ("pooler",)),
    "vit, classes": Case(
        hf.ViTForImageClassification, hf.ViTConfig(**SQUARE, num_labels=3), lambda m, x: first(m.vit, x),
        "vit_tiny_patch16_224", eps(1e-12), "ViT", ("head of 3 image classes",),
    ),
    "vit_mae": Case(
        hf.ViTMAEForPreTraining,
        hf.ViTMAEConfig(**SQUARE, mask_ratio=0.0, decoder_num_hidden_layers=1, decoder_hidden_size=16,
                        decoder_num_attention_heads=2, decoder_intermediate_size=16),
        unmasked, "vit_tiny_patch16_224", eps(1e-12), "ViT", ("decoder",),
    ),
    "dinov2": Case(hf.Dinov2Model, hf.Dinov2Config(**SQUARE), pooled, "vit_small_patch14_dinov2", eps(1e-6), "DINOv2", MASK),
    "dinov2, gated": Case(
        hf.Dinov2Model, hf.Dinov2Config(**SQUARE, use_swiglu_ffn=True), pooled, "vit_giant_patch14_dinov2",
        eps(1e-6) | SWIGLU, "DINOv2", MASK,
    ),
    "dinov2_with_registers": Case(
        hf.Dinov2WithRegistersModel, hf.Dinov2WithRegistersConfig(**SQUARE), pooled, "vit_small_patch14_reg4_dinov2", eps(1e-6),
        "DINOv2", MASK,
    ),
    "beit": Case(
        hf.BeitModel, hf.BeitConfig(**SQUARE, use_relative_position_bias=True), pooled, "beit_base_patch16_224", eps(1e-12),
        "BEiT",
    ),
    "beit, shared": Case(
        hf.BeitModel,
        hf.BeitConfig(**SQUARE, use_shared_relative_position_bias=True, use_absolute_position_embeddings=True), pooled,
        "beit_base_patch16_224",
        eps(1e-12) | {"use_abs_pos_emb": True, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}, "BEiT",
    ),
    "clip": Case(
        hf.CLIPVisionModelWithProjection, hf.CLIPVisionConfig(**SQUARE, projection_dim=16),
        lambda m, x: m.vision_model(x).pooler_output, "vit_base_patch16_clip_quickgelu_224", eps(1e-5), "CLIP",
        ("visual_projection",),
    ),
    "clip, gelu": Case(
        hf.CLIPVisionModel, hf.CLIPVisionConfig(**SQUARE, hidden_act="gelu"), pooled, "vit_base_patch16_clip_224", eps(1e-5),
        "CLIP",
    ),
    "siglip": Case(
        hf.SiglipVisionModel, hf.SiglipVisionConfig(**SQUARE), pooled, "vit_base_patch16_siglip_224",
        {"act_layer": "gelu_tanh"}, "SigLIP",
    ),
    "siglip2": Case(
        hf.Siglip2VisionModel, hf.Siglip2VisionConfig(**SIZES, patch_size=8, num_patches=16), of_naflex,
        "vit_base_patch16_siglip_224", {"act_layer": "gelu_tanh"}, "SigLIP",
    ),
}  # fmt: skip


def saved(folder: Path, case: Case) -> Any:
    """The model there, in float64, which also lies in the folder."""
    torch.manual_seed(1)
    model = case.make(case.config).eval()
    shake(model)
    model.save_pretrained(folder)
    return model.double()


def counterpart(monkeypatch: pytest.MonkeyPatch, case: Case, **changes: Any) -> Classifier:
    family = Family(case.timm, 32, PLAIN | {"patch_size": 8} | case.arguments | changes)
    return build_small(monkeypatch, family, {"name": "linear"})


def loaded(model: Classifier, location: Path) -> tuple[LoadReport, Tensor]:
    report = load_backbone(model, read_weights(str(location), names="timm"))
    with torch.no_grad():
        return report, model.double().eval().backbone(IMAGE[:, :, None])


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_of_transformers(tmp_path, monkeypatch, name):
    case = CASES[name]
    theirs = saved(tmp_path, case)
    with torch.no_grad():
        expected = case.feature(theirs, IMAGE)
    report, got = loaded(counterpart(monkeypatch, case), tmp_path)
    assert (report.format, report.unused) == (f"Hugging Face {case.format}", case.unused)
    assert expected.std() > 0.1
    rounded = name == "dinov2_with_registers"  # the class token's position is added to it, in float32
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 if rounded else 1e-10)


@pytest.mark.parametrize("name", ["vit", "dinov2", "beit", "clip", "siglip"])
def test_without_config_json_the_content_tells(tmp_path, monkeypatch, name):
    case = CASES[name]
    theirs = saved(tmp_path, case)
    (tmp_path / "config.json").unlink()
    with torch.no_grad():
        expected = case.feature(theirs, IMAGE)
    report, got = loaded(counterpart(monkeypatch, case), tmp_path)
    assert report.format == f"Hugging Face {case.format}"
    assert not any("layer_norm_eps" in note for note in report.notes)
    assert ("activation is not in the file" in "".join(report.notes)) == (name in ("clip", "siglip"))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_a_whole_clip_gives_its_image_encoder(tmp_path, monkeypatch):
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = hf.CLIPConfig(text_config=text | {"vocab_size": 9}, vision_config=SQUARE, projection_dim=16)
    case = CASES["clip"]._replace(make=hf.CLIPModel, config=config)
    theirs = saved(tmp_path, case)
    with torch.no_grad():
        expected = theirs.vision_model(IMAGE).pooler_output
    report, got = loaded(counterpart(monkeypatch, case), tmp_path)
    assert sorted(report.unused) == ["logit_scale", "text_model", "text_projection", "visual_projection"]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    with pytest.raises(CheckpointError, match="trained with the activation quick_gelu"):
        load_backbone(counterpart(monkeypatch, CASES["clip, gelu"]), read_weights(str(tmp_path), names="timm"))


# ---- what only config.json tells -------------------------------------------------------------------------------------


def written(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_type_that_is_not_read_is_named(tmp_path):
    saved(tmp_path, CASES["vit"])
    written(tmp_path, {"model_type": "swinv2"})
    with pytest.raises(CheckpointError) as error:
        read_weights(str(tmp_path))
    assert "Hugging Face files of 'swinv2' (config.json's model_type) are not read; read are: beit, clip, " in str(
        error.value
    )
    assert str(error.value).startswith(f"{tmp_path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (
            "clip",
            {"act_layer": "gelu"},
            "activation quick_gelu, the model computes gelu: set the backbone's activation to",
        ),
        (
            "clip, gelu",
            {"act_layer": "quick_gelu"},
            "activation gelu, the model computes quick_gelu: set the backbone's",
        ),
        (
            "siglip",
            {"act_layer": "gelu"},
            "activation gelu_tanh, the model computes gelu: set the backbone's activation to",
        ),
    ],
)
def test_another_activation_is_refused(tmp_path, monkeypatch, name, arguments, said):
    saved(tmp_path, CASES[name])
    with pytest.raises(CheckpointError) as error:
        load_backbone(counterpart(monkeypatch, CASES[name], **arguments), read_weights(str(tmp_path), names="timm"))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_fitting_model_of_timm_is_named(tmp_path, monkeypatch):
    saved(tmp_path, CASES["clip"])
    model = counterpart(monkeypatch, CASES["clip"]._replace(timm="vit_base_patch16_clip_224"))
    with pytest.raises(
        CheckpointError, match="model to vit_base_patch16_clip_quickgelu_224, or its activation to quick_gelu"
    ):
        load_backbone(model, read_weights(str(tmp_path), names="timm"))


@pytest.mark.parametrize("act", ["gelu_new", "gelu_pytorch_tanh", "quick_gelu"])
def test_a_video_vit_refuses_what_it_does_not_compute(tmp_path, act):
    saved(tmp_path, CASES["vit"])
    written(tmp_path, {"hidden_act": act})
    model = toy(width=32, depth=2, num_heads=2, patch_px=8)
    with pytest.raises(CheckpointError, match="the model computes gelu: take the backbone timm, which has it"):
        load_backbone(model, read_weights(str(tmp_path)))


def test_another_activation_is_not_lost_in_a_conversion(tmp_path):
    saved(tmp_path / "theirs", CASES["vit"])
    assert convert(tmp_path / "theirs", tmp_path / "ours.safetensors")
    written(tmp_path / "theirs", {"hidden_act": "gelu_new"})
    with pytest.raises(CheckpointError, match="trained with the activation gelu_tanh, which no format here keeps"):
        convert(tmp_path / "theirs", tmp_path / "again.safetensors")


def test_timms_own_config_tells_by_the_name_of_its_model(tmp_path):
    """SigLIP 2 in timm's files: 1.3e-4 off in a video ViT, without a word."""
    tensors = timm_vit(class_token=False, global_pool="avg").state_dict()
    save_file(tensors, tmp_path / "model.safetensors")
    for config, refused in (
        ({"architecture": "vit_base_patch32_siglip_gap_256"}, "gelu_tanh"),
        ({"architecture": "vit_base_patch16_clip_quickgelu_224"}, "quick_gelu"),
        ({"architecture": "vit_tiny_patch16_224", "model_args": {"act_layer": "gelu_tanh"}}, "gelu_tanh"),
        ({"architecture": "vit_tiny_patch16_224"}, None),
        ({"architecture": "no_such_model"}, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        if refused is None:
            assert load_backbone(toy(), read_weights(str(tmp_path))).format == "image ViT"
        else:
            with pytest.raises(CheckpointError, match=f"the activation {refused}, the model computes gelu"):
                load_backbone(toy(), read_weights(str(tmp_path)))


# ---- into a video ViT, and by the usual way --------------------------------------------------------------------------


def test_a_vit_is_inflated_as_timms_is(tmp_path):
    theirs = saved(tmp_path, CASES["vit"])
    model = toy(width=32, depth=2, num_heads=2, patch_px=8, tubelet_frames=1)
    report = load_backbone(model, read_weights(str(tmp_path)))
    assert sorted(report.unused) == ["class token", "key bias (softmax ignores it)", "norm", "pooler"]
    tokens = model.double().backbone.embed(IMAGE[:, :, None])
    expected = theirs.embeddings(IMAGE)[:, 1:]
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["dinov2_with_registers", "beit", "clip", "siglip"])
def test_others_do_not_fit_a_video_vit(tmp_path, name):
    saved(tmp_path, CASES[name])
    written(tmp_path, {"hidden_act": "gelu"})
    with pytest.raises(CheckpointError):
        load_backbone(toy(width=32, depth=2, num_heads=2, patch_px=8), read_weights(str(tmp_path)))


def test_another_eps_is_said(tmp_path, monkeypatch):
    saved(tmp_path, CASES["vit"])
    notes = loaded(counterpart(monkeypatch, CASES["vit"], **eps(1e-6)), tmp_path)[0].notes
    assert notes[:1] == ("config.json says layer_norm_eps = 1e-12, timm's model uses 1e-06",)


def test_a_config_s_backbone_says_whose_names_it_wants(tmp_path, monkeypatch):
    case = CASES["dinov2"]
    theirs = saved(tmp_path, case)
    counterpart(monkeypatch, case)
    spec = ModelConfig(backbone={"name": "timm", "model": case.timm}, adapter={"name": "linear"}, weights=str(tmp_path))
    model = build_model(spec, 5, 2, 32).double().eval()
    with torch.no_grad():
        got, expected = model.backbone(IMAGE[:, :, None].expand(-1, -1, 2, -1, -1)), case.feature(theirs, IMAGE)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_the_backbone_s_activation_makes_a_model_fit(tmp_path):
    with torch.device("meta"):
        for activation in ("gelu", "gelu_tanh", "quick_gelu"):
            assert activation_of(Timm(model="vit_tiny_patch16_224", activation=activation)) == activation
        with pytest.raises(ConfigError, match="activation = gelu_tanh: resnet18 has no MLP that takes it"):
            Timm(model="resnet18", activation="gelu_tanh")


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize(
    "name",
    ["resnet18", "convnext_atto", "beit_base_patch16_224", "mobilenetv3_small_050", "levit_128s", "deepseek_vit_412m"],
)
def test_any_model_of_timm_takes_its_own_file(tmp_path, name):
    with torch.device("meta"):
        model = Timm(model=name)
        tensors = timm.create_model(name, num_classes=7).state_dict()
        whole = Classifier(model, Head(model.width, 5, batch_norm=False, sync=False, dropout=0.0, init_std=0.01))
    torch.save({key: torch.zeros(()).expand(t.shape) for key, t in tensors.items()}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    report = load_backbone(whole, read_weights(str(tmp_path), names="timm"))
    assert "head of 7 image classes" in report.unused or (name == "levit_128s" and "head" in report.unused)
    assert report.new == ("head",) and report.loaded == len(model.state_dict())
