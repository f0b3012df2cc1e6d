"""Weights from one format into another and back: no bit changes, and what is left out is said."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

from tests.hub_files import (
    AS_THERE,
    CLIP,
    hub_layout,
    in_hub_folder,
    in_timm_folder,
    mae_fine_tuned,
    reference,
    timm_vit,
)
from tests.toy_runs import REPOSITORY
from tests.weight_files import DATA, saved, state, toy
from videoadapt.cli.convert import main
from videoadapt.errors import CheckpointError
from videoadapt.export.conversion import convert
from videoadapt.models.loading import load_backbone, save_backbone
from videoadapt.weights.files import checksum
from videoadapt.weights.formats import read_any, read_weights


def same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and left[name].equal(right[name]) for name in left
    )


def line(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


def refused(*arguments) -> str:
    with pytest.raises(CheckpointError) as error:
        convert(*arguments)
    return str(error.value)


# ---- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_videomae_fine_tuned_there_and_back(tmp_path, dtype):
    source = {name: tensor.to(dtype) for name, tensor in state("videomae_finetune.pth").items()}
    there = convert(Path(saved(tmp_path, {"module": source})), tmp_path / "ours.safetensors")
    back = convert(tmp_path / "ours.safetensors", tmp_path / "back.pth", "videomae")
    content = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(content) == ["model"] and same_bits(content["model"], source)
    assert line(there, "sha256") == line(back, "sha256")
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        assert file.metadata() == {"format": "videoadapt"}


def test_videomae_pre_training_there_and_back_but_its_decoder(tmp_path):
    source = state("videomae_pretrain.pth")
    there = convert(DATA / "videomae_pretrain.pth", tmp_path / "ours.safetensors")
    assert there[1] == "left out: mask_token, encoder.norm, decoder, encoder_to_decoder"
    convert(tmp_path / "ours.safetensors", tmp_path / "back.safetensors", "videomae")
    encoder = {name: value for name, value in source.items() if name.startswith("encoder.") and ".norm." not in name}
    assert same_bits(load_file(tmp_path / "back.safetensors"), encoder)


@pytest.mark.parametrize("kind", [VideoMAEForVideoClassification, VideoMAEForPreTraining, VideoMAEModel])
def test_huggingface_there_and_back(tmp_path, kind):
    theirs = reference(kind)
    source = load_file(Path(in_hub_folder(tmp_path / "hub", theirs, "hub")) / "model.safetensors")
    there = convert(tmp_path / "hub", tmp_path / "ours.safetensors")
    back = convert(tmp_path / "ours.safetensors", tmp_path / "back", "huggingface", 3)
    if kind is VideoMAEForPreTraining:
        assert set(line(there, "left out").removeprefix("left out: ").split(", ")) == {
            "mask_token",
            "encoder_to_decoder",
            "decoder",
        }
        source = {name: value for name, value in source.items() if name.startswith("videomae.")}
    if kind is VideoMAEModel:  # stands alone without the prefix, which all three understand
        source = {f"videomae.{name}": value for name, value in source.items()}
    assert same_bits(load_file(tmp_path / "back" / "model.safetensors"), source)
    assert line(there, "sha256") == line(back, "sha256")


def test_the_checksum_is_of_the_weights_and_not_of_the_format(tmp_path):
    sums = {line(convert(DATA / "videomae_finetune.pth", tmp_path / "a.safetensors"), "sha256")}
    for source, out, to in (
        ("a.safetensors", "b.pth", "videomae"),
        ("b.pth", "c.safetensors", "huggingface"),
        ("c.safetensors", "d.pth", "huggingface"),
        ("d.pth", "e", "huggingface"),
    ):
        sums.add(line(convert(tmp_path / source, tmp_path / out, to, 3), "sha256"))
    assert len(sums) == 1
    tensors = read_any(tmp_path / "e").tensors
    changes = [
        {name: value for name, value in tensors.items() if name != "head.linear.bias"},
        tensors | {"head.linear.bias": tensors["head.linear.bias"].nextafter(torch.ones(5))},
        tensors | {"head.linear.bias": tensors["head.linear.bias"].half()},
        tensors | {"fc_norm.bias": tensors["fc_norm.bias"].view(1, -1)},
    ]
    assert len({checksum(tensors), *map(checksum, changes)}) == 5
    assert checksum(dict(reversed(tensors.items()))) == checksum(tensors)


# ---- others read what we write ---------------------------------------------------------------------------------------


def test_transformers_reads_our_folder_to_the_same_logits(tmp_path):
    model = toy(**AS_THERE)
    load_backbone(model, read_weights(str(DATA / "videomae_finetune.pth")))
    convert(DATA / "videomae_finetune.pth", tmp_path / "out", "huggingface", 3)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["layer_norm_eps"], config["num_frames"], config["image_size"]) == (1e-6, 16, 224)
    config |= {"layer_norm_eps": 1e-12, "num_frames": 4, "image_size": [16, 24]}
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    theirs, info = VideoMAEForVideoClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        logits = theirs.eval()(CLIP.transpose(1, 2)).logits
        assert logits.std() > 0.01 and (model(CLIP) - logits).abs().max() <= 1e-5


def test_config_json_says_what_the_source_s_did(tmp_path):
    in_hub_folder(tmp_path / "hub", reference(VideoMAEForVideoClassification), "hub")
    convert(tmp_path / "hub", tmp_path / "again", "huggingface")
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("hub", "again"))
    shared = [key for key in after if key not in ("num_frames", "image_size")]
    assert {key: before[key] for key in shared} == {key: after[key] for key in shared}
    lines = convert(tmp_path / "hub", tmp_path / "ours.safetensors")
    assert line(lines, "config.json") == (
        "config.json: layer_norm_eps = 1e-12, which ours.safetensors cannot hold (the backbone's eps)"
    )


def test_heads_of_published_widths_are_known(tmp_path):
    save_backbone(toy(width=128, depth=1, num_heads=4).backbone, tmp_path / "tiny.safetensors", {})
    convert(tmp_path / "tiny.safetensors", tmp_path / "tiny", "huggingface")
    assert json.loads((tmp_path / "tiny" / "config.json").read_text())["num_attention_heads"] == 4
    assert "48 wide; say --num-heads" in refused(DATA / "videomae_finetune.pth", tmp_path / "out", "huggingface")
    message = refused(DATA / "videomae_finetune.pth", tmp_path / "out", "huggingface", 5)
    assert "--num-heads 5" in message and not (tmp_path / "out").exists()


def test_an_image_vit_is_converted_as_it_is_and_inflated_later(tmp_path):
    location = in_timm_folder(tmp_path / "timm", timm_vit())
    lines = convert(Path(location), tmp_path / "ours.safetensors")
    assert (
        line(lines, "left out") == "left out: head of 7 image classes, norm, class token, key bias (softmax ignores it)"
    )
    for inflate in ("average", "centre"):
        direct, converted = toy(tubelet_frames=3), toy(tubelet_frames=3)
        load_backbone(direct, read_weights(location), inflate)
        load_backbone(converted, read_weights(str(tmp_path / "ours.safetensors")), inflate)
        assert same_bits(direct.backbone.state_dict(), converted.backbone.state_dict())
    assert "no video ViT" in refused(tmp_path / "ours.safetensors", tmp_path / "x.pth", "videomae")


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_what_a_format_cannot_hold_is_refused_and_not_written(tmp_path):
    positions = toy()
    load_backbone(positions, read_weights(in_timm_folder(tmp_path / "timm", timm_vit())))
    save_backbone(positions.backbone, tmp_path / "positions.safetensors", {})
    source = state("videomae_finetune.pth")
    batch_norm = source | {"head.0.running_mean": torch.zeros(48)}
    batch_norm["blocks.0.attn.q_proj.weight"], batch_norm["blocks.0.attn.k_proj.weight"], value = batch_norm.pop(
        "blocks.0.attn.qkv.weight"
    ).chunk(3)
    batch_norm["blocks.0.attn.v_proj.weight"] = value
    out = tmp_path / "out"
    for path, kept in (
        (DATA / "adaptformer_parallel.pth", "backbone.blocks.0.mlp.adapter.down.bias"),
        (tmp_path / "positions.safetensors", "backbone.space_positions"),
        (Path(saved(tmp_path, batch_norm)), "head.norm.running_mean"),
    ):
        for to in ("videomae", "huggingface"):
            message = refused(path, out / "x.pth", to)
            assert f"the {to} format has no place for" in message and f"such as {kept} " in message
    for change in ({"extra": torch.zeros(1)}, {"blocks.3.norm1.weight": torch.zeros(48)}):
        assert " wrong: " in refused(Path(saved(tmp_path, source | change)), out / "x.pth")
    del source["blocks.1.attn.q_bias"]
    message = refused(Path(saved(tmp_path, source)), out / "x.safetensors")
    assert "1 tensor is wrong: missing backbone.blocks.1.attn.fn.qkv.q_bias" in message
    assert "needs to end in .safetensors or .pth" in refused(DATA / "videomae_finetune.pth", out / "x.ckpt")
    assert "have no ending" in refused(DATA / "videomae_finetune.pth", out / "x.bin", "huggingface")
    assert "needs to end" in refused(DATA / "videomae_finetune.pth", out / "folder", "videomae")
    assert not out.exists()


def test_the_command_prints_what_it_found_or_returns_2(tmp_path, capsys):
    out = tmp_path / "ours.safetensors"
    assert main([str(DATA / "videomae_pretrain.pth"), str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    tensors = load_file(out)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    assert printed == [
        f"{DATA / 'videomae_pretrain.pth'}: VideoMAE pre-training",
        "left out: mask_token, encoder.norm, decoder, encoder_to_decoder",
        f"kept: 41 tensors, {parameters:,} parameters, {4 * parameters:,} bytes",
        f"sha256: {checksum(tensors)}",
        f"written: {out}, videoadapt, 41 tensors",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    (tmp_path / "cut.pth").write_bytes((DATA / "videomae_pretrain.pth").read_bytes()[:5000])
    assert main([str(tmp_path / "cut.pth"), str(tmp_path / "never.pth")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {tmp_path / 'cut.pth'}: damaged or cut short")
    assert captured.err.count("\n") == 1 and captured.out == "" and not (tmp_path / "never.pth").exists()
    assert main(["nowhere.pth", str(out)]) == 2
    assert capsys.readouterr().err == "error: nowhere.pth: no such file or folder\n"


def test_a_file_of_the_later_layout_becomes_one_of_the_hub(tmp_path):
    theirs = reference(VideoMAEForVideoClassification)
    later = load_file(Path(in_hub_folder(tmp_path, theirs, "later")) / "model.safetensors")
    save_file(
        later | {"videomae.encoder.layer.0.attention.attention.key.bias": torch.ones(48)}, tmp_path / "x.safetensors"
    )
    lines = convert(tmp_path / "x.safetensors", tmp_path / "hub.safetensors", "huggingface")
    assert line(lines, "left out") == "left out: key bias (softmax ignores it)"
    assert same_bits(load_file(tmp_path / "hub.safetensors"), hub_layout(later))


# ---- docs/weights.md -------------------------------------------------------------------------------------------------

DOC = (REPOSITORY / "docs" / "weights.md").read_text(encoding="utf-8")


def test_the_documented_conversions_print_what_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(REPOSITORY / "tests")
    shown = re.search(r"```console\n(.*?)```", DOC, re.S)[1]
    commands = re.findall(r"^\$ python tools/convert_checkpoint\.py (.*)$", shown, re.M)
    printed = []
    for command in commands:
        main(command.split())
        captured = capsys.readouterr()
        printed.append(f"$ python tools/convert_checkpoint.py {command}\n{captured.out}{captured.err}")
    assert "".join(printed) == shown and len(commands) == 4


def test_the_documented_log_lines_are_real(tmp_path):
    theirs = reference(VideoMAEForVideoClassification, key_bias=True)
    locations = [
        in_hub_folder(tmp_path / "hub", theirs, "later"),
        in_timm_folder(tmp_path / "timm", timm_vit()),
        saved(tmp_path, {"model": mae_fine_tuned()}),
    ]
    for location in locations:
        report = load_backbone(toy(), read_weights(location))
        assert f"\n{str(report).removeprefix(f'{location}: ')}\n" in DOC
