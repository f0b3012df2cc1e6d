"""V-JEPA 2 as `transformers` computes it, with random values; and the files of Meta's code, which has no reader there."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from tests.toy_models import shake
from tests.weight_files import TOY, state, toy
from videoadapt.config.schema import HeadConfig, ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.models.backbones.vjepa2 import VJEPA2
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.loading import LoadReport, load_backbone, save_backbone
from videoadapt.runs.build import build_model
from videoadapt.weights.formats import read_weights

DIMS = {
    "width": 32,
    "depth": 2,
    "num_heads": 2,
    "patch_px": 8,
}  # heads of 16: 4 by time, 4 by height, 4 by width, 4 by nothing
PROBE = {"name": "attentive_probe", "layers": 3}


def reference(kind: Any = hf.VJEPA2Model, crop_px: int = 32, **changes: Any) -> Any:
    config = hf.VJEPA2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8, crop_size=crop_px, num_labels=5,
        pred_hidden_size=24, pred_num_hidden_layers=1, pred_num_attention_heads=2, **changes,
    )  # fmt: skip
    torch.manual_seed(1)
    model = kind(config).eval()
    shake(model)
    return model


def clips(frames: int, crop_px: int) -> Tensor:
    return torch.randn(2, 3, frames, crop_px, crop_px, generator=torch.Generator().manual_seed(0))


def theirs(model: Any, clips_BCTHW: Tensor) -> Tensor:
    """The normed tokens of the encoder."""
    with torch.no_grad():
        tokens_BND: Tensor = model(clips_BCTHW.transpose(1, 2), skip_predictor=True).last_hidden_state
    return tokens_BND


def loaded(location: str | Path, **changes: Any) -> tuple[VJEPA2, LoadReport]:
    backbone = VJEPA2(**(DIMS | changes)).eval()
    report = load_backbone(
        Classifier(backbone, Head(32, 5, batch_norm=False, sync=False, dropout=0.0, init_std=0.01)),
        read_weights(str(location)),
    )
    return backbone, report


def as_meta_names_it(model: Any) -> dict[str, Tensor]:
    """An encoder of transformers under the names of Meta's code."""
    named: dict[str, Tensor] = {}
    found = {name.removeprefix("encoder."): t for name, t in model.state_dict().items() if name.startswith("encoder.")}
    for name, tensor in found.items():
        new = name.replace("layer.", "blocks.", 1).replace("embeddings.patch_embeddings.", "patch_embed.")
        new = new.replace("layernorm.", "norm.").replace("attention.", "attn.")
        if ".query." in new:
            parts = [found[name.replace("query", part)] for part in ("query", "key", "value")]
            named[new.replace("query", "qkv")] = torch.cat(parts)
        elif ".key." not in new and ".value." not in new:
            named[new] = tensor.clone()
    return named


def metas_file(path: Path, encoder: dict[str, Tensor], **others: Any) -> Path:
    wrapped = {f"module.backbone.{name}": tensor for name, tensor in encoder.items()}
    other = {name: tensor + 1 for name, tensor in wrapped.items()}
    predictor = {"module.backbone.predictor_embed.weight": torch.zeros(2, 2)}
    content = {
        "encoder": other,
        "predictor": predictor,
        "target_encoder": wrapped,
        "opt": {"state": {}},
        "scaler": None,
    }
    torch.save({**content, "epoch": 3, "loss": 0.5, **others}, path)
    return path


@pytest.mark.parametrize(("frames", "crop_px"), [(4, 32), (8, 48), (2, 64)])
def test_tokens_and_feature_are_those_of_transformers(frames: int, crop_px: int, tmp_path: Path) -> None:
    model = reference(crop_px=crop_px)  # it counts rows by this number, whatever the clip's size
    model.save_pretrained(tmp_path)
    backbone, report = loaded(tmp_path)
    assert report.format == "Hugging Face V-JEPA 2 backbone" and report.unused == ("predictor",)
    clips_BCTHW = clips(frames, crop_px)
    with torch.no_grad():
        torch.testing.assert_close(backbone.forward_tokens(clips_BCTHW), theirs(model, clips_BCTHW), rtol=0, atol=1e-5)
        # in float64 the two differ by our tables of cosines, which are float32
        wide, double = theirs(model.double(), clips_BCTHW.double()), backbone.double()(clips_BCTHW.double())
    torch.testing.assert_close(double, wide.mean(1), rtol=0, atol=1e-6)


def test_a_file_of_metas_code_gives_the_same_features(tmp_path: Path) -> None:
    model = reference()
    encoder = as_meta_names_it(model) | {"pos_embed": torch.zeros(1, 2 * 4 * 4, 32)}  # V-JEPA 2's hold one, unused
    backbone, report = loaded(metas_file(tmp_path / "vitl.pt", encoder))
    assert report.format == "V-JEPA 2" and report.unused == ("pos_embed",)
    assert "`target_encoder` taken, beside it encoder, predictor (vitl.pt#encoder takes that)" in str(report)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.forward_tokens(clips(4, 32)), theirs(model, clips(4, 32)), rtol=0, atol=1e-5
        )


def test_a_classifier_is_an_attentive_probe_with_its_head(tmp_path: Path) -> None:
    # transformers gives the pooler's norms the encoder's epsilon, V-JEPA's code 1e-5: here both have that
    model = reference(hf.VJEPA2ForVideoClassification, num_pooler_layers=3, layer_norm_eps=1e-5)
    model.config.id2label = dict(enumerate("abcde"))
    model.save_pretrained(tmp_path)
    spec = {"name": "vjepa2", **DIMS, "eps": 1e-5}
    config = ModelConfig(backbone=spec, adapter=PROBE, head=HeadConfig(batch_norm=False), weights=str(tmp_path))
    ours = build_model(config, list("abcde"), 4, 32).eval()
    assert ours.head_loaded and ours.head_class_names == tuple("abcde")
    with torch.no_grad():
        logits = model(clips(4, 32).transpose(1, 2)).logits
        torch.testing.assert_close(ours(clips(4, 32)), logits, rtol=0, atol=1e-5)


def of_2_1() -> dict[str, Tensor]:
    """The tensors of V-JEPA 2.1's encoder as Meta's code names them."""
    encoder = as_meta_names_it(reference())
    norm = {kind: encoder.pop(f"norm.{kind}") for kind in ("weight", "bias")}
    for number in range(4):
        encoder |= {f"norms_block.{number}.{kind}": norm[kind] + (number - 3) for kind in norm}
    images = {"patch_embed_img.proj.weight": torch.zeros(32, 3, 1, 8, 8), "patch_embed_img.proj.bias": torch.zeros(32)}
    return encoder | images | {"img_mod_embed": torch.zeros(1, 1, 32), "video_mod_embed": torch.full((1, 1, 32), 0.5)}


@pytest.mark.parametrize("under", ["target_encoder", "ema_encoder"])
def test_2_1_is_read_with_its_last_norm_and_its_modality(under: str, tmp_path: Path) -> None:
    encoder = of_2_1()
    file = metas_file(tmp_path / "a.pt", encoder)
    content = torch.load(file)
    torch.save({(under if name == "target_encoder" else name): part for name, part in content.items()}, file)
    backbone, report = loaded(file, version="v2.1")
    assert report.format == "V-JEPA 2.1"
    unused = {"patch_embed_img", "img_mod_embed", "norms_block.0", "norms_block.1", "norms_block.2"}
    assert set(report.unused) == unused
    assert backbone.modality is not None and (backbone.modality == 0.5).all()
    assert torch.equal(backbone.norm.weight, encoder["norms_block.3.weight"])


def test_what_is_of_another_version_says_so(tmp_path: Path) -> None:
    two, later = (
        metas_file(tmp_path / "two.pt", as_meta_names_it(reference())),
        metas_file(tmp_path / "later.pt", of_2_1()),
    )
    with pytest.raises(CheckpointError, match=r"of V-JEPA 2\.1: set the backbone's version to v2\.1$"):
        loaded(later)
    with pytest.raises(CheckpointError, match=r"of V-JEPA 2: set the backbone's version to v2$"):
        loaded(two, version="v2.1")
    with pytest.raises(CheckpointError, match="the file is V-JEPA's: take the backbone vjepa2"):
        load_backbone(toy(width=32, depth=2, num_heads=2), read_weights(str(two)))
    videomae = tmp_path / "videomae.pth"
    torch.save(state("videomae_finetune.pth"), videomae)
    with pytest.raises(CheckpointError, match="the file is VideoMAE's, or has its layout: take the backbone vit"):
        loaded(videomae, **{key: value for key, value in TOY.items() if key in DIMS})


@pytest.mark.parametrize(("positions", "crop_px"), [(1568, 224), (4608, 384)])
def test_the_first_version_is_refused(positions: int, crop_px: int, tmp_path: Path) -> None:
    encoder = as_meta_names_it(reference()) | {"pos_embed": torch.zeros(1, positions, 32)}
    with pytest.raises(CheckpointError, match=rf"V-JEPA's first version .*16 frames of {crop_px} px.*is not read"):
        read_weights(str(metas_file(tmp_path / "vitl16.pth.tar", encoder)))


@pytest.mark.parametrize("version", ["v2", "v2.1"])
def test_a_trunk_of_ours_is_read_again(version: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = VJEPA2(**DIMS, version=version).eval()
    shake(backbone)
    save_backbone(backbone, tmp_path / "trunk.safetensors", {})
    again, _ = loaded(tmp_path / "trunk.safetensors", version=version)
    with torch.no_grad():
        assert torch.equal(again(clips(4, 32)), backbone(clips(4, 32)))
