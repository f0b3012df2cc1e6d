"""A number keeps its meaning: trained tensors are used with what they were trained with, or refused with the reason."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tests.toy_runs import results
from videoadapt.cli import demo, export, features, train
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError
from videoadapt.registry import ADAPTERS
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.checkpoint import load_checkpoint, save_checkpoint
from videoadapt.runs.statement import Statement, backbone_fingerprint, check_statement, completed, differences

Call = tuple[int, str]  # exit code, standard error

# The keys that no statement holds, because no other value changes what a trained run says about a video.
ALTERS_NO_PREDICTION = {
    "task", "output", "chosen", "device", "seed", "model.obtain", "model.expect",
    "model.head.sync", "model.head.dropout", "model.head.init_std",
    "model.head.init_scale",
    "data.dataset", "data.root", "data.train", "data.first_per_class",
    "data.few_per_class", "data.balance", "data.rendered", "data.val", "data.test",
    "data.columns",
    "data.obtain", "data.jpeg_decoding", "data.cache", "data.cache_gb",
    "data.augment", "data.workers", "data.limit_sec", "data.max_unreadable",
    "optim", "pretrain", "train.enable", "train.epochs", "train.least_updates",
    "train.batch_size", "train.accumulate", "train.clip_grad_norm",
    "train.loss", "train.class_weights", "train.logit_adjustment",
    "train.compile", "train.activation_checkpointing", "train.shard", "train.ema", "train.freeze",
    "train.validate_every_epochs",
    "train.validate_clips", "train.validate_crops", "train.stop_early",
    "train.checkpoint_every_steps", "train.keep_checkpoints",
    "train.resume", "train.loggers", "test.enable", "test.compile", "test.max_unreadable",
    "test.corruptions",
    "test.calibrate",
}  # fmt: skip
ELSEWHERE = {
    "model.weights": "backbone",
    "model.backbone_weights": "backbone",
    "data.classes": "class_names",
}  # what the statement holds instead of a path


@pytest.fixture
def finished(validated_run: Path) -> Path:
    """The config of a finished run with a validation; its output is `run` beside it, its backbone `trunk.safetensors`."""
    return validated_run


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    shutil.copytree(finished.parent / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def call(finished: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command of the finished run once more, in the copy and with other values."""

    def run_again(*overrides: str, test_only: bool = True) -> Call:
        capsys.readouterr()
        only = ["train.enable=false"] if test_only else []
        code = train.main(["--cfg", str(finished), f"output={folder}", *only, *overrides])
        return code, capsys.readouterr().err

    return run_again


def content(folder: Path) -> dict[str, bytes]:
    """What describes a run's checkpoints, and themselves."""
    described = [folder / "config.yaml", folder / "classes.txt", folder / "adapter.safetensors"]
    return {path.name: path.read_bytes() for path in [*described, *sorted(folder.glob("checkpoints/*.pt"))]}


def renamed(folder: Path, path: Path, names: list[str]) -> Path:
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def test_the_same_run_tested_again_gives_the_same(call: Any, folder: Path) -> None:
    before, first = content(folder), results(folder)
    assert call()[0] == 0
    assert results(folder) == first and content(folder) == before
    assert first["other_than_trained"] == {}
    assert first["statement"]["class_names"] == (folder / "classes.txt").read_text().splitlines()


@pytest.mark.parametrize("test_only", [True, False])
def test_class_names_in_another_order_are_refused(call: Any, folder: Path, tmp_path: Path, test_only: bool) -> None:
    before, names = content(folder), (folder / "classes.txt").read_text().splitlines()
    other = renamed(folder, tmp_path / "names.txt", [*names[:3], *names[:2:-1]])
    code, error = call(f"data.classes={other}", "train.resume=force", test_only=test_only)
    assert (
        code == 2 and f"class 3 is {names[3]!r} in the file and" in error and "the same names in another order" in error
    )
    assert content(folder) == before


def test_other_names_and_numbers_of_classes_are_refused(call: Any, folder: Path, tmp_path: Path) -> None:
    names = (folder / "classes.txt").read_text().splitlines()
    code, error = call(f"data.classes={renamed(folder, tmp_path / 'names.txt', [*names[:-1], 'other'])}")
    assert code == 2 and f"class 7 is {names[7]!r} in the file and 'other' in data.classes;" in error
    code, error = call("data.classes=9")
    assert code == 2 and "was trained for 8 classes, and data.classes has 9" in error


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.adapter.scale=0.7", "model.adapter.scale = 0.7, but 0.1 in the file"),
        ("model.adapter={name: lora}", 'model.adapter.name = "lora", but "adaptformer" in the file'),
        ("model.adapter.form=sequential", 'model.adapter.form = "sequential", but "parallel" in the file'),
        ("model.adapter.blocks=[0]", "model.adapter.blocks = [0], but null in the file"),
        ("model.backbone.num_heads=4", "model.backbone.num_heads = 4, but 2 in the file"),
        ("model.backbone.eps=0.01", "model.backbone.eps = 0.01, but 1e-06 in the file"),
        ("model.backbone.mean=[0.5, 0.5, 0.5]", "model.backbone.mean = [0.5, 0.5, 0.5], but null in the file"),
        ("model.head.batch_norm=false", "model.head.batch_norm = false, but true in the file"),
        ("model.inflate=centre", 'model.inflate = "centre", but "average" in the file'),
    ],
)
def test_another_function_is_refused(call: Any, folder: Path, override: str, said: str) -> None:
    before = content(folder)
    code, error = call(override)
    assert code == 2 and said in error and "Traceback" not in error
    assert error.count("in the file") == 1
    assert content(folder) == before


@pytest.mark.parametrize("arguments", [(), ("train.resume=force", "train.epochs=3")])
def test_another_backbone_at_the_same_path_is_refused(
    call: Any, finished: Path, folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    tensors = load_file(finished.parent / "trunk.safetensors")
    tensors["backbone.blocks.0.mlp.norm.bias"][3] += 1e-3
    save_file(tensors, tmp_path / "other.safetensors", {"format": "videoadapt"})
    before = content(folder)
    code, error = call(f"model.weights={tmp_path}/other.safetensors", *arguments, test_only=not arguments)
    assert code == 2 and "was trained on another backbone: its fingerprint is " in error
    assert content(folder) == before


def test_ways_of_looking_may_differ_and_are_said(call: Any, folder: Path) -> None:
    before = content(folder)
    code, error = call("test.clips=1", "test.average=probs", "data.sampling.stride_frames=1", "data.short_side_px=40")
    assert code == 0 and content(folder) == before
    assert results(folder)["other_than_trained"] == {
        "data.sampling.stride_frames": {"trained": 2, "tested": 1},
        "data.short_side_px": {"trained": None, "tested": 40},
        "test.average": {"trained": "logits", "tested": "probs"},
        "test.clips": {"trained": 2, "tested": 1},
    }
    assert results(folder)["statement"]["config"]["test"] == {
        "clips": 1,
        "crops": 3,
        "average": "probs",
        "batch_size": 24,
    }
    assert (
        "tested with other values than it was trained with: data.sampling.stride_frames = 1 (2 in training), " in error
    )


def test_an_edited_config_is_compared_by_every_door(
    folder: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("scale: 0.1", "scale: 0.7"))
    video = str(next(clips.glob("test/*/*.mp4")))
    for door in (
        lambda: demo.main([video, "--run", str(folder)]),
        lambda: features.main([str(tmp_path / "f.npz"), "--run", str(folder), "--list", "test"]),
        lambda: export.main([str(tmp_path / "m.pt2"), "--run", str(folder)]),
    ):
        assert door() == 2
        assert "model.adapter.scale = 0.7, but 0.1 in the file" in capsys.readouterr().err


def test_a_best_checkpoint_of_another_run_is_refused(call: Any, folder: Path) -> None:
    best = folder / "checkpoints" / "best.pt"
    save_checkpoint(best, {**load_checkpoint(best), "origin": "0" * 64})
    code, error = call()
    assert code == 2 and f"{best}: is of another run, unlike step_" in error
    code, error = call("train.epochs=3", "train.resume=force", "test.enable=false", test_only=False)
    assert code == 0 and (folder / "checkpoints" / "best_until_step_00000010.pt").is_file()


def test_a_best_of_an_earlier_training_is_set_aside(call: Any, folder: Path) -> None:
    code, error = call("data.val=null", "train.epochs=3", "train.resume=force", test_only=False)
    assert code == 0
    assert results(folder)["checkpoint"] == "checkpoints/step_00000018.pt"
    assert "best.pt: is not of this training, and is now best_until_step_00000010.pt" in error


def test_the_config_before_a_forced_change_is_kept(call: Any, folder: Path) -> None:
    before = (folder / "config.yaml").read_bytes()
    forced = ["model.adapter.scale=0.7", "train.epochs=3", "train.resume=force", "test.enable=false"]
    code, _ = call(*forced, test_only=False)
    assert code == 0
    assert (folder / "config_until_step_00000010.yaml").read_bytes() == before
    assert load_config(folder / "config.yaml").model.adapter["scale"] == 0.7  # type: ignore[call-overload]
    assert read_adapter(folder / "adapter.safetensors").config.model.adapter["scale"] == 0.7  # type: ignore[call-overload]
    assert call("model.adapter.scale=0.7")[0] == 0


def test_an_older_checkpoint_is_described_by_its_folder(call: Any, folder: Path) -> None:
    for path in folder.glob("checkpoints/*.pt"):
        state = load_checkpoint(path)
        save_checkpoint(path, {key: state[key] for key in state if key not in ("statement", "origin")})
    first = results(folder)
    code, error = call("model.adapter.scale=0.7")
    assert code == 2 and "model.adapter.scale = 0.7, but 0.1 in the file" in error
    assert call()[0] == 0 and results(folder)["top1"] == first["top1"]


def test_a_lost_curve_is_said_when_training_resumes(call: Any, folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()
    code, error = call("train.epochs=3", "train.resume=force", "test.enable=false", test_only=False)
    assert code == 0 and "metrics.jsonl: holds no updates before step 10" in error


def test_identical_runs_leave_identical_files(finished: Path, tmp_path: Path) -> None:
    assert train.main(["--cfg", str(finished), f"output={tmp_path}/run"]) == 0
    ours, theirs = content(tmp_path / "run"), content(finished.parent / "run")
    del ours["config.yaml"], theirs["config.yaml"]  # which says where it lies
    assert ours["adapter.safetensors"] == theirs["adapter.safetensors"] and ours.keys() == theirs.keys()
    for name in ("metrics.jsonl", "results.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished.parent / "run" / name).read_bytes()


def test_what_leaves_a_run_carries_its_statement(folder: Path, clips: Path, tmp_path: Path) -> None:
    listed = ["--run", str(folder), "--root", str(clips), "--list", "test", "--clips", "2", "--crops", "3"]
    assert features.main([str(tmp_path / "f.npz"), *listed]) == 0
    assert features.main([str(tmp_path / "f.safetensors"), *listed]) == 0
    assert export.main([str(tmp_path / "m.pt2"), "--run", str(folder)]) == 0
    extra = {"statement": ""}
    with (tmp_path / "m.pt2").open("rb") as file:
        torch.export.load(file, extra_files=extra)
    with safe_open(tmp_path / "f.safetensors", "np") as file:
        of_features = file.metadata()["statement"]
    texts = [str(np.load(tmp_path / "f.npz")["statement"]), of_features, extra["statement"]]
    assert all(json.loads(text) == results(folder)["statement"] for text in texts)
    assert list(np.load(folder / "predictions.npz")["class_names"]) == results(folder)["statement"]["class_names"]


def keys_of(values: Any, prefix: str = "") -> set[str]:
    """Dotted keys of the schema down to components and plain values."""
    found: set[str] = set()
    for name, field in values.model_fields.items():
        inner = field.annotation
        is_section = isinstance(inner, type) and issubclass(
            inner, type(Config.model_fields["model"].default).__mro__[1]
        )
        found |= keys_of(inner, f"{prefix}{name}.") if is_section else {f"{prefix}{name}"}
    return found


def test_every_key_is_stated_or_changes_no_prediction(tmp_path: Path) -> None:
    config = Config(output=tmp_path)
    stated = Statement.of(config, ["a", "b"])

    def is_stated(key: str) -> bool:
        value: Any = stated.config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return True

    listed = {key for key in keys_of(Config) if any(f"{key}.".startswith(f"{part}.") for part in ALTERS_NO_PREDICTION)}
    in_statement = {key for key in keys_of(Config) if is_stated(key)} | ELSEWHERE.keys()
    assert len(keys_of(Config)) > 70
    assert listed | in_statement == keys_of(Config) and not listed & in_statement


def test_a_statement_is_read_as_it_was_written(tmp_path: Path) -> None:
    stated = Statement.of(Config(output=tmp_path), ["a, b", "人"])
    again = Statement.read(json.loads(stated.as_json()))
    assert not list(differences(Statement.read(again.as_dict()).as_dict(), again.as_dict()))
    assert again.class_names == ["a, b", "人"]


def test_arguments_that_came_later_are_at_their_defaults(finished: Path) -> None:
    stated = Statement.of(load_config(finished), ["a", "b"])
    older = json.loads(stated.as_json())
    del older["config"]["model"]["adapter"]["scale"]
    assert Statement.read(older).config["model"]["adapter"]["scale"] == 0.1


def test_another_normalisation_is_another_function(tmp_path: Path) -> None:
    here = Statement.of(Config(output=tmp_path), ["a", "b"])
    there = replace(here, normalisation={"mean": [0.5] * 3, "std": [0.5] * 3})
    assert check_statement(tmp_path / "x", here, here) == []
    with pytest.raises(CheckpointError, match=r"x: was trained with another normalisation \(\{'mean': \[0\.5"):
        check_statement(tmp_path / "x", there, here)


def test_the_fingerprint_of_a_backbone_stays_what_it_was() -> None:
    """Every adapter file holds one: by another formula all of them would be refused."""
    model = nn.ModuleDict({"b": nn.Linear(2, 2, bias=False), "a": nn.Linear(2, 2, bias=False)}).requires_grad_(False)
    model["head"] = nn.Linear(2, 1)  # trained
    for name, values in (("a", [[1.0, 2.0], [3.0, 4.0]]), ("b", [[5.0, 6.0], [7.0, 8.0]])):
        model[name].weight.data = torch.tensor(values)
    assert backbone_fingerprint(model) == "3ea94127416b8015196e156212ef504894c49dd6b504d747dd9e18093b50ecdf"
    model["c"] = model["b"]
    del model["b"]  # another name, the same numbers
    assert backbone_fingerprint(model) != "3ea94127416b8015196e156212ef504894c49dd6b504d747dd9e18093b50ecdf"


def test_each_of_several_methods_is_completed() -> None:
    older = {"model": {"adapter": [{"name": "lora"}, {"name": "adaptformer", "bottleneck": 3}]}, "data": {}}
    found = completed(older)["model"]["adapter"]
    assert found == [ADAPTERS.complete({"name": "lora"}), ADAPTERS.complete({"name": "adaptformer", "bottleneck": 3})]
    assert all(len(part) > 3 for part in found) and older["model"]["adapter"][0] == {"name": "lora"}
