"""Weight files: published formats load completely, anything else is refused with the reason."""

import argparse
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.weight_files import DATA, TOY, refusal, saved, state, toy
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.models.adapters.adaptformer import AdaptFormer
from videoadapt.models.loading import load_adapter, load_backbone, save_backbone
from videoadapt.runs.build import build_model
from videoadapt.runs.checkpoint import save_checkpoint
from videoadapt.weights.files import ADAPTER_FORMAT, read_tensors
from videoadapt.weights.formats import Weights, read_weights

ADAPTFORMER = {"name": "adaptformer", "bottleneck": 6}


# ---- published formats -----------------------------------------------------------------------------------------------


def test_a_pre_training_file_says_what_it_leaves_out(caplog):
    model, source = toy(), state("videomae_pretrain.pth")
    fc_norm, head = model.fc_norm.weight.clone(), model.head.linear.weight.clone()
    with caplog.at_level(logging.INFO, "videoadapt"):
        report = load_backbone(model, read_weights(str(DATA / "videomae_pretrain.pth")))
    assert report.format == "VideoMAE pre-training"
    assert set(report.unused) == {"mask_token", "encoder.norm", "decoder", "encoder_to_decoder"}
    assert (report.replaced, report.new) == ((), ("fc_norm", "head"))
    assert "not used: " in caplog.text and "encoder.norm" in caplog.text
    encoder = {key: value for key, value in source.items() if key.startswith("encoder.") and "encoder.norm" not in key}
    assert report.loaded == len(encoder) == len(model.backbone.state_dict())
    block = model.backbone.blocks[1]
    for ours, theirs in (
        (model.backbone.patch_embed.weight, "patch_embed.proj.weight"),
        (block.attn.norm.bias, "blocks.1.norm1.bias"),
        (block.attn.fn.qkv.weight, "blocks.1.attn.qkv.weight"),
        (block.attn.fn.qkv.v_bias, "blocks.1.attn.v_bias"),
        (block.attn.fn.proj.bias, "blocks.1.attn.proj.bias"),
        (block.mlp.norm.weight, "blocks.1.norm2.weight"),
        (block.mlp.fn.fc2.weight, "blocks.1.mlp.fc2.weight"),
    ):
        assert ours.equal(source[f"encoder.{theirs}"]), theirs
    assert model.fc_norm.weight.equal(fc_norm) and model.head.linear.weight.equal(head)


def prefixed(tensors, prefix):
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"module": s}, lambda s: {"model": s, "epoch": 3}, dict,
        lambda s: {"state_dict": s, "meta": {"epoch": 3}}, lambda s: {"model_state_dict": s}, lambda s: {"model_state": s},
        lambda s: {"state_dict": prefixed(s, "module.")}, lambda s: prefixed(s, "module._orig_mod."),
    ],
)  # fmt: skip
def test_fine_tuned_file_under_module_model_or_bare(tmp_path, wrap):
    model, source = toy(), state("videomae_finetune.pth")
    report = load_backbone(model, read_weights(saved(tmp_path, wrap(source))))
    assert (report.format, report.loaded) == ("VideoMAE fine-tuned", len(source))
    assert (report.unused, report.replaced, report.new) == ((), (), ())
    assert model.head.linear.bias.equal(source["head.bias"]) and model.fc_norm.bias.equal(source["fc_norm.bias"])


def test_one_trunk_in_four_formats_gives_one_feature(tmp_path):
    source = state("videomae_finetune.pth")
    trunk = {key: value for key, value in source.items() if not key.startswith(("fc_norm", "head"))}
    split = {}  # as AdaptFormer's code stores a converted pre-training file
    for key, value in trunk.items():
        if key.endswith("qkv.weight"):
            split |= {
                key.replace("qkv", f"{n}_proj"): part.clone() for n, part in zip("qkv", value.chunk(3), strict=True)
            }
        else:
            split[key.replace(".mlp.fc", ".fc")] = value
    model = toy()
    load_backbone(model, read_weights(str(DATA / "videomae_finetune.pth")))
    save_backbone(model.backbone, tmp_path / "trunk.safetensors", {})
    files = [
        saved(tmp_path, {"model": {f"encoder.{key}": value for key, value in trunk.items()}}, "pretraining.pth"),
        saved(tmp_path, {"model": {f"encoder.{key}": value for key, value in split.items()}}, "adaptformer.pth"),
        saved(tmp_path, {"model": split}, "adaptformer_bare.pth"),
        str(tmp_path / "trunk.safetensors"),
    ]
    clip = torch.randn(2, 3, 4, 16, 16)
    formats = []
    for file in files:
        other = toy()
        formats.append(load_backbone(other, read_weights(file)).format)
        assert other.backbone(clip).equal(model.backbone(clip)), file
    assert formats == ["VideoMAE pre-training", "AdaptFormer", "AdaptFormer", "videoadapt"]


@pytest.mark.parametrize(
    ("manifest", "num_classes", "format", "adapter_tensors"),
    [
        ("videomae_pretrain_base", 51, "VideoMAE pre-training", 0),
        ("videomae_finetune_base", 400, "VideoMAE fine-tuned", 0),
        ("adaptformer_video_base", 174, "AdaptFormer", 48),
    ],
)
@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_key_names_and_shapes_of_published_base_models(tmp_path, manifest, num_classes, format, adapter_tensors):
    shapes = json.loads((DATA / "manifests" / f"{manifest}.json").read_text())
    weights = read_weights(saved(tmp_path, {"model": {key: torch.zeros(1).expand(s) for key, s in shapes.items()}}))
    with torch.device("meta"):
        model = toy(num_classes, size="base", width=None, depth=None, num_heads=None)
        report = load_backbone(model, weights)
        assert report.format == format and report.replaced == ()
        assert report.new == (("fc_norm", "head") if "pretrain" in manifest else ())
        AdaptFormer(bottleneck=64).attach(model.backbone)
    assert load_adapter(model, weights) == adapter_tensors
    served = sum(not key.startswith(("decoder", "encoder_to_decoder", "mask_token", "encoder.norm")) for key in shapes)
    stacked = 2 * 12 if format == "AdaptFormer" else 0  # three tensors became one in each block
    assert report.loaded + adapter_tensors == served - stacked


# ---- heads and adapters ----------------------------------------------------------------------------------------------


def test_a_head_for_other_classes_is_replaced_and_said(caplog):
    model = toy(num_classes=7)
    head = model.head.linear.weight.clone()
    with caplog.at_level(logging.INFO, "videoadapt"):
        report = load_backbone(model, read_weights(str(DATA / "videomae_finetune.pth")))
    assert report.replaced == ("head (5 classes in the file, 7 here)",) and report.new == ()
    assert "replaced by new ones: head (5 classes in the file, 7 here)" in caplog.text
    assert model.head.linear.weight.equal(head)
    assert model.fc_norm.weight.equal(state("videomae_finetune.pth")["fc_norm.weight"])


def test_a_head_of_the_same_classes_built_otherwise_is_refused():
    message = refusal(str(DATA / "videomae_finetune.pth"), toy(batch_norm=True))
    assert "missing in the file: head.norm.running_mean" in message and "set the head's batch_norm to false" in message
    message = refusal(str(DATA / "adaptformer_parallel.pth"))
    assert "unexpected in the file: head.norm.running_var" in message and "set the head's batch_norm to true" in message


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [
        ({"name": "linear"}, "unexpected in the file: backbone.blocks.*.mlp.adapter.down.weight (3 tensors)"),
        (ADAPTFORMER | {"bottleneck": 8}, "backbone.blocks.*.mlp.adapter.down.weight, (6, 48) in the file, (8, 48)"),
        (ADAPTFORMER | {"blocks": [0]}, "unexpected in the file: backbone.blocks.*.mlp.adapter.up.bias (2 tensors)"),
        (ADAPTFORMER | {"scale": "learnable"}, "missing in the file: backbone.blocks.*.mlp.adapter.scale (3 tensors)"),
    ],
)
def test_adapters_in_the_file_need_to_be_those_of_the_model(adapter, problem):
    spec = ModelConfig(backbone={"name": "vit"} | TOY, adapter=adapter, weights=str(DATA / "adaptformer_parallel.pth"))
    with pytest.raises(CheckpointError) as error:
        build_model(spec, 5, 8, 32)
    assert problem in str(error.value) and str(error.value).startswith("model.weights = ")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_whole_trained_model_loads_back(tmp_path, suffix):
    spec = {"backbone": {"name": "vit"} | TOY, "adapter": ADAPTFORMER | {"scale": "learnable"}}
    model = build_model(ModelConfig(**spec), 5, 8, 32)
    clip = torch.randn(3, 3, 8, 32, 32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model(clip)  # moves the running statistics
    path = tmp_path / f"model.{suffix}"
    (torch.save if suffix == "pth" else save_file)(model.state_dict(), path)
    again = build_model(ModelConfig(weights=str(path), **spec), 5, 8, 32)
    assert again.eval()(clip).equal(model.eval()(clip))


# ---- strictness ------------------------------------------------------------------------------------------------------


def test_no_tensor_may_be_missing_misshaped_or_not_finite(tmp_path):
    source = state("videomae_finetune.pth")
    for key in [key for key in source if not key.startswith(("blocks.0.", "blocks.2."))]:
        without = {name: tensor for name, tensor in source.items() if name != key}
        assert "missing in the file: " in refusal(saved(tmp_path, without)), key
        renamed = without | {key + "_": source[key]}
        message = refusal(saved(tmp_path, renamed))
        assert "missing in the file: " in message and "unexpected in the file: " in message, key
        misshaped = source | {key: torch.cat([source[key], source[key]], dim=-1)}
        assert "of another shape: " in refusal(saved(tmp_path, misshaped)), key
        broken = source | {key: source[key].clone().fill_(float("nan"))}
        assert "not finite: " in refusal(saved(tmp_path, broken)), key


@pytest.mark.parametrize(
    ("dims", "cause"),
    [
        ({"width": 96}, "width = 48 in the file, 96 in the model: change the backbone's size or width"),
        ({"depth": 4}, "depth = 3 in the file, 4 in the model: change the backbone's size or depth"),
        ({"depth": 2}, "depth = 3 in the file, 2 in the model: change the backbone's size or depth"),
        ({"patch_px": 16}, "patch_px = 8 in the file, 16 in the model: change the backbone's size or patch_px"),
        ({"tubelet_frames": 1}, "tubelet_frames = 2 in the file, 1 in the model"),
    ],
)
def test_the_likely_cause_is_named(dims, cause):
    for file in ("videomae_pretrain.pth", "videomae_finetune.pth"):
        message = refusal(str(DATA / file), toy(**dims))
        assert f"likely cause: {cause}" in message and file in message
        assert len(message.splitlines()) < 25  # blocks are told as one


def test_keys_of_no_known_format(tmp_path):
    message = refusal(saved(tmp_path, {"vit.encoder.layer.0.attention.weight": torch.zeros(1)}))
    assert "no known format" in message and "vit.encoder.layer.0" in message and "AdaptFormer" in message


def test_half_an_attention_is_refused(tmp_path):
    source = state("adaptformer_parallel.pth")
    del source["blocks.1.attn.k_proj.weight"]
    assert "blocks.1.attn.q_proj.weight has no blocks.1.attn.k_proj.weight beside it" in refusal(
        saved(tmp_path, source)
    )


# ---- files -----------------------------------------------------------------------------------------------------------


class Dangerous:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_training_arguments_and_numpy_scalars_are_let_through(tmp_path):
    content = {
        "model": state("videomae_finetune.pth"),
        "args": argparse.Namespace(
            lr=1e-3, best=np.float64(0.5), seen=np.int64(3), loss=np.float32(1), flag=np.bool_(True)
        ),
        "epoch": 90,
    }
    assert load_backbone(toy(), read_weights(saved(tmp_path, content))).loaded == 45


def test_other_python_objects_are_refused_and_not_run(tmp_path):
    marker = tmp_path / "it_ran"
    message = refusal(saved(tmp_path, {"model": state("videomae_finetune.pth"), "hook": Dangerous(marker)}))
    assert "posix.system" in message and "could run code" in message and "weights.pth" in message
    assert not marker.exists()


def test_damaged_and_foreign_files(tmp_path):
    whole = (DATA / "videomae_finetune.pth").read_bytes()
    save_backbone(toy().backbone, tmp_path / "trunk.safetensors", {})
    tensors = (tmp_path / "trunk.safetensors").read_bytes()
    torch.save(state("videomae_finetune.pth"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pth").read_bytes()
    for name, content, reason in (
        ("empty.pth", b"", "is empty"),
        ("cut.pth", whole[: len(whole) // 2], "cut short"),
        ("cut_old.pth", old[: len(old) // 2], "cut short"),
        ("cut.safetensors", tensors[: len(tensors) // 2], "cut short"),
        ("page.pth", b"<!DOCTYPE html><html>sign in to download</html>", "neither a safetensors nor a torch file"),
        ("video.pth", bytes(range(256)) * 40, "neither a safetensors nor a torch file"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        message = refusal(str(path))
        assert reason in message and message.startswith(f"{path}: "), message
    assert load_backbone(toy(), read_weights(str(tmp_path / "old.pth"))).loaded == 45


@pytest.mark.parametrize("suffix", ["pth", "old.pth", "safetensors"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damage_anywhere_is_an_error_that_names_the_file(tmp_path, suffix):
    tensors = {key: value for key, value in state("videomae_finetune.pth").items() if value.ndim == 1}
    path, random = tmp_path / f"weights.{suffix}", Random(0)
    if suffix == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors}, path, _use_new_zipfile_serialization=suffix == "pth")
    whole = path.read_bytes()
    cut = [whole[: random.randrange(len(whole))] for _ in range(100)]
    changed = [bytearray(whole) for _ in range(200)]
    for content in changed:
        content[random.randrange(min(len(content), 4000))] = random.randrange(256)
    for content in cut + changed:
        path.write_bytes(content)
        with suppress(CheckpointError):  # a change inside a tensor's values cannot be seen
            assert read_weights(str(path)).tensors
            assert content not in cut
    path.write_bytes(cut[0])
    assert refusal(str(path)).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"epoch": 3}, {}, {"model": {"a": 1}}, {0: torch.zeros(1)}], ids=str
)
def test_files_without_a_state_dict(tmp_path, content):
    assert "no tensors under `model`, `module`" in refusal(saved(tmp_path, content))


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"^nowhere/x\.pth: no such file; ask the authors"):
        read_weights("nowhere/x.pth", obtain="ask the authors")
    with pytest.raises(CheckpointError, match=r"no such file; give the path"):
        read_weights(str(tmp_path / "nothing"))


def test_what_a_run_leaves_is_named_as_what_it_is(tmp_path):
    """They were refused as weights with keys that are missing, unexpected and of no known format."""
    run = tmp_path / "try #1"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    checkpoint, adapter = run / "checkpoints" / "step_00000003.pt", run / "adapter.safetensors"
    save_checkpoint(checkpoint, {"step": 3, "model": {"head.linear.bias": torch.zeros(2)}, "ema": None})
    save_file({"head.linear.bias": torch.zeros(2)}, adapter, {"format": ADAPTER_FORMAT})
    for path, kind, option in (
        (run, "the folder of a run", f"--run '{run}'"),
        (checkpoint, "a checkpoint of a run", f"--run '{run}'"),
        (adapter, "an adapter file", f"--adapter '{adapter}'"),
    ):
        said = refusal(str(path))
        assert said.startswith(f"{path}: is {kind}, which holds what was trained") and "\n" not in said
        assert f"with {option}; " in said and "name the weights that the run began with" in said


def test_package_files(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"videoadapt/assets/no_such\.safetensors: no such file"):
        read_weights("package:no_such.safetensors")
    monkeypatch.setattr("videoadapt.weights.files.__file__", str(tmp_path / "weights" / "files.py"))
    (tmp_path / "assets").mkdir()
    save_backbone(toy().backbone, tmp_path / "assets" / "trunk.safetensors", {})
    assert read_weights("package:trunk.safetensors").format == "videoadapt"


# ---- our own trunk files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_trunk_loads_back_in_float32(tmp_path, half):
    model, other = toy(), toy()
    path = tmp_path / "trunk.safetensors"
    save_backbone(model.backbone, path, {"source": "a test"}, half=half)
    assert [file.name for file in tmp_path.iterdir()] == ["trunk.safetensors"]
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "videoadapt", "source": "a test"}
        assert file.get_tensor("backbone.patch_embed.bias").dtype == (torch.float16 if half else torch.float32)
    report = load_backbone(other, read_weights(str(path)))
    assert report.new == ("fc_norm", "head")
    for name, tensor in other.backbone.state_dict().items():
        source = model.backbone.state_dict()[name]
        assert tensor.dtype == torch.float32 and tensor.equal(source.half().float() if half else source), name


def test_a_trunk_that_would_not_load_is_not_written(tmp_path):
    model = toy()
    model.backbone.blocks[0].mlp.fn.fc1.weight.data[0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"blocks\.\*\.mlp\.fn\.fc1\.weight"):
        save_backbone(model.backbone, tmp_path / "trunk.safetensors", {}, half=True)
    adapted = toy()
    AdaptFormer(bottleneck=2).attach(adapted.backbone)
    with pytest.raises(CheckpointError, match=r"adapter"):
        save_backbone(adapted.backbone, tmp_path / "trunk.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_weights_split_into_trunk_and_adapter_without_rest():
    weights: Weights = read_weights(str(DATA / "adaptformer_parallel.pth"))
    trunk, adapter = weights.part(adapter=False), weights.part(adapter=True)
    assert trunk.keys() | adapter.keys() == weights.tensors.keys() and not trunk.keys() & adapter.keys()
    assert len(adapter) == 12


def test_a_pipe_is_named_as_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match=r"pipe\.pth: is no regular file"):
        read_tensors(tmp_path / "pipe.pth")
