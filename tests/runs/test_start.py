"""A training begins with what another run left: its backbone, what it trained, and the rows of the classes that stay."""

import json
import logging
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toy_runs import results, toy_config, write_config
from tests.weight_files import SIZES, trunk
from videoadapt.cli import demo, train
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import trainable_state
from videoadapt.registry import ADAPTERS
from videoadapt.runs.adapter_file import read_adapter, save_adapter
from videoadapt.runs.build import build_on_meta, build_seeded_model
from videoadapt.runs.checkpoint import save_checkpoint
from videoadapt.runs.start import read_start, start_weights
from videoadapt.runs.statement import backbone_fingerprint

ADAPTER = {"name": "adaptformer", "bottleneck": 4}
NAMES = ["run", "jump", "swim"]


@pytest.fixture
def finished(validated_run: Path) -> tuple[Path, Path]:
    """(run folder, its backbone's file) of a short run with validation and a moving average."""
    return validated_run.parent / "run", validated_run.parent / "trunk.safetensors"


def described(output: Path, weights: object = None, seed: int = 0, adapter: object = None, **data: int) -> Config:
    values = {"backbone": SIZES, "adapter": adapter or ADAPTER, "weights": weights and str(weights)}
    clip = {"num_frames": 4, "crop_px": 32, **data}
    path = write_config(output / "c.yaml", {"output": str(output), "seed": seed, "model": values, "data": clip})
    return load_config(path)


def left(folder: Path, weights: object = None, adapter: object = None, seed: int = 0) -> tuple[Path, Classifier]:
    """An adapter file of three classes in a folder of its own, beside its config, and the model that it is of."""
    config = described(folder, weights, seed, adapter)
    model = build_seeded_model(config, NAMES)
    with torch.no_grad():
        for name, tensor in trainable_state(model).items():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor) + (0.5 if "running_var" in name else 0))
    save_adapter(model, config, NAMES, folder / "adapter.safetensors")
    (folder / "c.yaml").rename(folder / "config.yaml")
    return folder / "adapter.safetensors", model.eval()


# ---- what it begins with ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "checkpoint", "adapter"])
def test_tested_at_once_it_is_the_run_that_it_began_with(
    finished: tuple[Path, Path], clips: Path, tmp_path: Path, kind: str
) -> None:
    run, _ = finished
    place = {"folder": run, "checkpoint": run / "checkpoints" / "best.pt", "adapter": run / "adapter.safetensors"}[kind]
    config = toy_config(
        tmp_path / "out", clips, model={"weights": str(place)}, train={"enable": False, "ema": 0.5}, seed=7
    )
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    logits = [np.load(folder / "predictions.npz")["view_logits"] for folder in (run, tmp_path / "out")]
    assert np.array_equal(*logits)
    assert results(tmp_path / "out")["statement"]["backbone"] == results(run)["statement"]["backbone"]


@pytest.mark.slow
def test_an_adapter_trained_on_needs_the_first_backbone_alone(
    finished: tuple[Path, Path], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = finished
    outputs = [run, tmp_path / "second", tmp_path / "third"]
    for before, output in pairwise(outputs):
        config = toy_config(output, clips, model={"weights": str(before)}, seed=7, train={"epochs": 1})
        config["optim"] = {**config["optim"], "warmup_epochs": 0}
        assert train.main(["--cfg", str(write_config(output.with_suffix(".yaml"), config))]) == 0
        assert train.main(["--cfg", str(output.with_suffix(".yaml")), "train.enable", "false"]) == 0
    adapters = [read_adapter(output / "adapter.safetensors") for output in outputs]
    assert len({adapter.backbone for adapter in adapters}) == 1
    assert not adapters[0].tensors["head.linear.weight"].equal(adapters[2].tensors["head.linear.weight"])
    video = str(next(clips.glob("test/*/*.mp4")))
    said = []
    for chosen in (["--run", str(outputs[2])], ["--adapter", str(adapters[2].path), "--weights", str(weights)]):
        capsys.readouterr()
        assert demo.main([video, *chosen, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out)["predictions"])
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ADAPTERS.names())
def test_every_adapter_comes_back(name: str, tmp_path: Path) -> None:
    path, model = left(tmp_path / "a", trunk(tmp_path / "w.safetensors"), {"name": name})
    again = build_seeded_model(described(tmp_path / "b", path, 5, {"name": name}), NAMES)
    assert again.head_loaded and backbone_fingerprint(again) == backbone_fingerprint(model)
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    assert again.eval()(clip_BCTHW).equal(model(clip_BCTHW))


def test_a_backbone_that_a_seed_drew_is_drawn_again(tmp_path: Path) -> None:
    path, model = left(tmp_path / "a", seed=3)
    config = described(tmp_path / "b", path, seed=4)
    again = build_seeded_model(config, NAMES)
    save_adapter(again, config, NAMES, tmp_path / "b" / "adapter.safetensors")
    assert read_adapter(tmp_path / "b" / "adapter.safetensors").config.seed == 3
    (tmp_path / "b" / "c.yaml").rename(tmp_path / "b" / "config.yaml")
    third = build_seeded_model(described(tmp_path / "c", tmp_path / "b" / "adapter.safetensors", seed=5), NAMES)
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    assert third.eval()(clip_BCTHW).equal(model(clip_BCTHW))


def test_a_second_run_keeps_the_first_ones_backbone(tmp_path: Path) -> None:
    path, model = left(tmp_path / "a", seed=3)
    config = described(tmp_path / "b", path, seed=4)
    last = {name: torch.zeros_like(tensor) for name, tensor in trainable_state(model).items()}
    state = {"step": 1, "model": last, "ema": trainable_state(model), "config": config.model_dump(mode="json")}
    save_checkpoint(tmp_path / "b" / "checkpoints" / "step_00000001.pt", state)
    (tmp_path / "b" / "classes.txt").write_text("\n".join(NAMES))
    drawn = torch.get_rng_state()
    start = read_start(str(tmp_path / "b" / "checkpoints" / "step_00000001.pt"))
    assert start is not None
    weights = start_weights(start, described(tmp_path / "c", seed=5).model, NAMES)
    assert torch.get_rng_state().equal(drawn)  # the new run draws what it would have drawn
    there = {name: tensor for name, tensor in model.state_dict().items() if name in weights.tensors}
    assert len(there) > 10 and all(weights.tensors[name].equal(tensor) for name, tensor in there.items())
    normalisation = replace(start.statement, normalisation={"mean": [0.5] * 3, "std": [0.5] * 3})
    with pytest.raises(CheckpointError, match="was trained with another normalisation"):
        start_weights(replace(start, statement=normalisation), described(tmp_path / "d").model, NAMES)


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_rows_follow_the_names_of_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, model = left(tmp_path / "a")
    config = described(tmp_path / "b", path, seed=9)
    fresh = build_seeded_model(described(tmp_path / "c", seed=9), 4).head.linear
    with caplog.at_level(logging.INFO, "videoadapt"):
        again = build_seeded_model(config, ["dive", "swim", "run", "jump"])
    assert "1 of 4 rows of the head (of its 3 classes 3 are here, by name)" in caplog.text
    assert not again.head_loaded  # nothing to test before a training
    for ours, theirs, drawn in zip(
        again.head.linear.parameters(), model.head.linear.parameters(), fresh.parameters(), strict=True
    ):
        assert ours[1:].equal(theirs[[2, 0, 1]]) and ours[0].equal(drawn[0])
    assert again.head.norm.running_mean.equal(model.head.norm.running_mean)
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    same = torch.testing.assert_close
    same(again.eval()(clip_BCTHW)[:, 1:], model(clip_BCTHW)[:, [2, 0, 1]])


def test_no_row_stays_for_other_classes_and_without_names(tmp_path: Path) -> None:
    path, model = left(tmp_path / "a")
    fresh = build_seeded_model(described(tmp_path / "c", seed=9), 3)
    for classes in (["a", "b", "c"], 3):
        again = build_seeded_model(described(tmp_path / "b", path, seed=9), classes)
        assert not again.head_loaded and again.head.linear.weight.equal(fresh.head.linear.weight)
        assert again.fc_norm.weight.equal(model.fc_norm.weight)


# ---- clips -----------------------------------------------------------------------------------------------------------


def test_other_clips_are_taken_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, model = left(tmp_path / "a")
    with caplog.at_level(logging.INFO, "videoadapt"):
        again = build_seeded_model(described(tmp_path / "b", path, num_frames=8, crop_px=64), NAMES)
    assert (
        "clips of 4 frames of 32 px there, 8 frames of 64 px here: the sinusoid positions are computed" in caplog.text
    )
    clip_BCTHW = torch.randn(2, 3, 8, 64, 64)
    assert again.eval()(clip_BCTHW).equal(model(clip_BCTHW))
    caplog.clear()
    with caplog.at_level(logging.INFO, "videoadapt"):
        build_seeded_model(described(tmp_path / "b", path), NAMES)
    assert "positions" not in caplog.text


def test_learned_positions_are_interpolated_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = load_file(trunk(tmp_path / "w.safetensors"))
    tensors["backbone.patch_embed.weight"] = tensors["backbone.patch_embed.weight"][:, :, 0].clone()
    tensors["backbone.space_positions"] = torch.randn(2, 2, 32)
    save_file(tensors, tmp_path / "image.safetensors", {"format": "videoadapt"})
    path, model = left(tmp_path / "a", tmp_path / "image.safetensors")
    with caplog.at_level(logging.INFO, "videoadapt"):
        again = build_seeded_model(described(tmp_path / "b", path, crop_px=64), NAMES)
    assert "the learned positions are interpolated in space" in caplog.text
    clip_BCTHW = torch.randn(2, 3, 4, 64, 64)
    assert again.eval()(clip_BCTHW).equal(model(clip_BCTHW))


# ---- what is refused -------------------------------------------------------------------------------------------------


def refused(config: Config, classes: list[str] | int = 3) -> str:
    with pytest.raises((CheckpointError, ConfigError)) as error:
        build_seeded_model(config, classes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_model_is_refused_with_the_keys(tmp_path: Path) -> None:
    path, _ = left(tmp_path / "a")
    config = described(tmp_path / "b", path, adapter={"name": "adaptformer", "bottleneck": 8})
    said = refused(config)
    assert (
        said.startswith(f"model.weights = {path}: model.adapter.bottleneck = 4 there, 8 here") and "name the we" in said
    )
    with pytest.raises(CheckpointError, match="bottleneck = 4 there, 8 here"):  # before the run, too
        build_on_meta(config, NAMES)
    assert "model.adapter.name = 'adaptformer' there, 'lora' here" in refused(
        described(tmp_path / "b", path, adapter={"name": "lora"})
    )


def test_another_backbone_is_refused_and_its_place_may_be_given(tmp_path: Path) -> None:
    weights = trunk(tmp_path / "w.safetensors")
    path, model = left(tmp_path / "a", weights)
    moved = weights.rename(tmp_path / "moved.safetensors")
    config = described(tmp_path / "b", path)
    said = refused(config, NAMES)
    assert f"{weights}, are not there" in said and "model.backbone_weights" in said

    def given(place: Path) -> Config:
        update = {"backbone_weights": str(place)}
        return config.model_copy(update={"model": config.model.model_copy(update=update)})

    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    assert build_seeded_model(given(moved), NAMES).eval()(clip_BCTHW).equal(model(clip_BCTHW))
    tensors = load_file(moved)
    tensors["backbone.blocks.0.mlp.norm.bias"][3] += 1e-3
    save_file(tensors, tmp_path / "other.safetensors", {"format": "videoadapt"})
    assert "was trained on another backbone" in refused(given(tmp_path / "other.safetensors"), NAMES)


def test_an_adapter_file_alone_does_not_know_its_backbone(tmp_path: Path) -> None:
    path, _ = left(tmp_path / "a", trunk(tmp_path / "w.safetensors"))
    said = refused(described(tmp_path / "b", path.rename(tmp_path / "alone.safetensors")), NAMES)
    assert "was trained on another backbone" in said and "in model.backbone_weights" in said


def test_a_pre_training_says_which_of_its_files_to_name(tmp_path: Path) -> None:
    before = described(tmp_path / "a").model_copy(update={"task": "pretrain"})
    path = tmp_path / "a" / "checkpoints" / "step_00000001.pt"
    save_checkpoint(path, {"step": 1, "model": {}, "ema": None, "config": before.model_dump(mode="json")})
    said = refused(described(tmp_path / "b", path))
    assert "is of a masked pre-training" in said and said.endswith(f"name {tmp_path / 'a' / 'pretrained.pth'}")


def test_a_place_for_the_backbone_of_no_run_is_refused(tmp_path: Path) -> None:
    config = described(tmp_path, trunk(tmp_path / "w.safetensors"))
    update = {"backbone_weights": str(tmp_path / "w.safetensors")}
    config = config.model_copy(update={"model": config.model.model_copy(update=update)})
    assert "model.backbone_weights = " in refused(config) and "set it to null" in refused(config)


def test_new_rows_are_nothing_to_test(
    finished: tuple[Path, Path], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    names = (run / "classes.txt").read_text().splitlines()
    (tmp_path / "classes.txt").write_text("\n".join([*names, "another"]) + "\n")
    config = toy_config(
        tmp_path / "out",
        clips,
        model={"weights": str(run)},
        train={"enable": False},
        data={"classes": str(tmp_path / "classes.txt")},
    )
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 2
    assert "has no head for 9 classes" in capsys.readouterr().err


def test_a_run_does_not_begin_with_itself(
    finished: tuple[Path, Path], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    for place in (run, run / "adapter.safetensors", run / "checkpoints" / "best.pt"):
        config = toy_config(run, clips, model={"weights": str(place)}, train={"resume": "force", "ema": 0.5})
        assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 2
        assert f"model.weights = {place}: this run's own `output`" in capsys.readouterr().err
