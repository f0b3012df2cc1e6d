"""Hugging Face's VideoMAE: every layout of its files gives, in our model, the numbers of `transformers` itself."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

from tests.hub_files import AS_THERE, CLIP, in_hub_folder, reference
from tests.weight_files import refusal, toy
from videoadapt.errors import CheckpointError
from videoadapt.models.loading import load_backbone
from videoadapt.weights.formats import read_weights


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == torch.float32
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("layout", ["later", "key bias", "hub", "shards", "bin", "bin shards"])
def test_classification_logits_equal_those_of_transformers(tmp_path, layout):
    theirs = reference(VideoMAEForVideoClassification, key_bias=layout == "key bias")
    model = toy(**AS_THERE)
    location = in_hub_folder(tmp_path, theirs, layout)
    assert (len(list(tmp_path.glob("*-of-*"))) >= 3) == ("shards" in layout)
    report = load_backbone(model, read_weights(location))
    assert (report.format, report.loaded) == ("Hugging Face VideoMAE fine-tuned", 45)
    assert (report.replaced, report.new, report.notes) == ((), (), ())
    assert report.unused == (("key bias (softmax ignores it)",) if layout == "key bias" else ())
    with torch.no_grad():
        logits = theirs(CLIP.transpose(1, 2)).logits
        assert logits.std() > 0.1
        assert largest_difference(model(CLIP), logits) <= 1e-5


@pytest.mark.parametrize("key_bias", [False, True])
@pytest.mark.parametrize(
    "pooled", [False, True]
)  # the published pre-training files have a last norm, which is not used
def test_pre_training_encoders_output_equals_transformers(tmp_path, key_bias, pooled):
    theirs = reference(VideoMAEForPreTraining, key_bias=key_bias, use_mean_pooling=pooled)
    model = toy(**AS_THERE)
    report = load_backbone(model, read_weights(in_hub_folder(tmp_path, theirs, "later" if key_bias else "hub")))
    assert (report.format, report.loaded) == ("Hugging Face VideoMAE pre-training", 41)
    dropped = {"decoder", "encoder_to_decoder", "mask_token"} | ({"videomae.layernorm"} if not pooled else set())
    assert set(report.unused) == dropped | ({"key bias (softmax ignores it)"} if key_bias else set())
    assert report.new == ("fc_norm", "head")
    with torch.no_grad():
        tokens = model.backbone.forward_tokens(CLIP)
        if not pooled:
            tokens = theirs.videomae.layernorm(tokens)
        output = theirs.videomae(CLIP.transpose(1, 2)).last_hidden_state
        assert largest_difference(tokens, output) <= 1e-5


def test_a_bare_model_and_bare_files(tmp_path):
    theirs = reference(VideoMAEModel)
    in_hub_folder(tmp_path, theirs, "hub")
    assert "encoder.layer.0.attention.attention.q_bias" in load_file(tmp_path / "model.safetensors")
    for location in (tmp_path, tmp_path / "model.safetensors"):
        model = toy(**AS_THERE)
        report = load_backbone(model, read_weights(str(location)))
        assert (report.format, report.loaded, report.notes) == ("Hugging Face VideoMAE backbone", 41, ())
        with torch.no_grad():
            output = theirs(CLIP.transpose(1, 2)).last_hidden_state
            assert largest_difference(model.backbone.forward_tokens(CLIP), output) <= 1e-5


def test_the_file_s_name_does_not_matter(tmp_path):
    in_hub_folder(tmp_path, reference(VideoMAEForVideoClassification), "hub")
    renamed = (tmp_path / "model.safetensors").rename(tmp_path / "videomae_pretrain.pth")
    assert read_weights(str(renamed)).format == "Hugging Face VideoMAE fine-tuned"


# ---- what only config.json tells -------------------------------------------------------------------------------------


def test_another_eps_in_config_json_is_said(tmp_path, caplog):
    location = in_hub_folder(tmp_path, reference(VideoMAEForVideoClassification), "hub")
    with caplog.at_level(logging.INFO, "videoadapt"):
        report = load_backbone(toy(), read_weights(location))
    assert "layer_norm_eps = 1e-12, the model uses 1e-06" in report.notes[0]
    assert "note: config.json says layer_norm_eps" in caplog.text and "the backbone's eps" in caplog.text


def test_another_number_of_heads_in_config_json_is_refused(tmp_path):
    location = in_hub_folder(tmp_path, reference(VideoMAEForVideoClassification), "hub")
    message = refusal(location, toy(num_heads=4))
    assert "3 attention heads, the model has 4" in message and "set the backbone's num_heads to 3" in message


def test_what_cannot_be_computed_here_is_refused(tmp_path):
    location = in_hub_folder(tmp_path / "relu", reference(VideoMAEForVideoClassification, hidden_act="relu"), "hub")
    assert "hidden_act = relu" in refusal(location)
    theirs = reference(VideoMAEForVideoClassification, use_mean_pooling=False)
    assert "reads the first token" in refusal(in_hub_folder(tmp_path / "token", theirs, "hub"))


# ---- strictness ------------------------------------------------------------------------------------------------------


def test_missing_unexpected_and_misshaped_tensors(tmp_path):
    in_hub_folder(tmp_path, reference(VideoMAEForVideoClassification), "hub")
    path = tmp_path / "model.safetensors"
    source = load_file(path)
    attention = "videomae.encoder.layer.1.attention.attention."

    def with_changes(removed: str, **added: Tensor) -> str:
        save_file({key: value for key, value in source.items() if key != removed} | added, path)
        return refusal(str(tmp_path))

    assert "missing in the file: backbone.blocks.*.attn.fn.qkv.q_bias" in with_changes(f"{attention}q_bias")
    assert "missing in the file: backbone.blocks.*.attn.fn.qkv.weight" in with_changes(f"{attention}query.weight")
    assert f"has no {attention}key.weight beside it" in with_changes(f"{attention}key.weight")
    assert "unexpected in the file: extra" in with_changes("", extra=torch.zeros(1))
    assert "under two names" in with_changes("", **{f"{attention}query.bias": torch.zeros(48)})
    save_file(source, path)
    assert "likely cause: depth = 3 in the file, 4 in the model" in refusal(str(tmp_path), toy(depth=4))
    assert "likely cause: patch_px = 8 in the file, 16 in the model" in refusal(str(tmp_path), toy(patch_px=16))
    assert "likely cause: mlp_ratio = 4.0 in the file, 2.0 in" in refusal(str(tmp_path), toy(mlp_ratio=2.0))


@pytest.mark.parametrize("layout", ["shards", "bin shards"])
def test_shards_need_to_be_all_there_and_as_the_index_says(tmp_path, layout):
    in_hub_folder(tmp_path, reference(VideoMAEForVideoClassification), layout)
    index = next(tmp_path.glob("*.index.json"))
    shard = sorted(tmp_path.glob("*-of-*"))[1]
    content, said = shard.read_bytes(), json.loads(index.read_text())
    shard.unlink()
    message = refusal(str(tmp_path))
    assert f"{shard}: no such file" in message and index.name in message
    shard.write_bytes(content[: len(content) // 2])
    assert f"{shard}: damaged or cut short" in refusal(str(tmp_path))
    shard.write_bytes(content)
    name = next(key for key, file in said["weight_map"].items() if file == shard.name)
    for wrong in (
        {key: value for key, value in said["weight_map"].items() if key != name},
        said["weight_map"] | {"extra": shard.name},
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        message = refusal(str(tmp_path))
        assert (
            f"{shard}: 1 tensor is not as {index.name} says, such as {name if 'extra' not in wrong else 'extra'}"
            in (message)
        )
    for broken, problem in (
        ('{"weight_map": {"a":', "cannot be read as json"),
        ("[1]", "expected a json object, found list"),
        ("{}", "no `weight_map`"),
        ('{"weight_map": {"a": "../elsewhere.bin"}}', "files beside it"),
        ('{"weight_map": {"a": 3}}', "no `weight_map`"),
    ):
        index.write_text(broken)
        message = refusal(str(tmp_path))
        assert problem in message and str(index) in message


def test_folders_without_weights_and_broken_config(tmp_path):
    message = refusal(str(tmp_path))
    assert f"{tmp_path}: no weight file in this folder" in message and "pytorch_model.bin" in message
    in_hub_folder(tmp_path, reference(VideoMAEForVideoClassification), "hub")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    assert f"{tmp_path / 'config.json'}: cannot be read as json" in refusal(str(tmp_path))
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    assert "Git LFS pointer" in refusal(str(tmp_path)) and "git lfs pull" in refusal(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert f"{tmp_path / 'model.safetensors'}: is empty (0 bytes); copy it again" in refusal(str(tmp_path))


def test_an_error_is_one_that_front_doors_print():
    with pytest.raises(CheckpointError, match=r"^nowhere: no such file"):
        read_weights("nowhere")
