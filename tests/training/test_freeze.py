"""`train.freeze`: what it names stays as it began, bit by bit, and is in all files of the run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy_runs import assert_same_run, final_weights, toy_config, write_config
from tests.weight_files import SIZES, trunk
from videoadapt.api import load
from videoadapt.cli import train
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import ArgumentError
from videoadapt.models.parameters import freeze_by_name, held, parameter_table, trainable_state
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.build import build_model
from videoadapt.runs.checkpoint import list_checkpoints
from videoadapt.runs.statement import backbone_fingerprint
from videoadapt.training.optimizer import OptimConfig, build_optimizer

FROZEN = ("backbone.blocks.*.adapter", "fc_norm", "head")


def run(output: Path, clips: Path, *overrides: str, **changes: Any) -> int:
    path = write_config(output.with_suffix(".yaml"), toy_config(output, clips, **changes))
    return train.main(["--cfg", str(path), *overrides])


def one_adapter(folder: Path, clips: Path) -> Path:
    """A short run around a backbone's file; its folder."""
    weights = str(trunk(folder / "backbone.safetensors"))
    optim = {"name": "adamw", "lr_per_256": 0.05, "warmup_epochs": 0}
    assert run(folder / "first", clips, model={"weights": weights}, optim=optim, train={"epochs": 1}) == 0
    return folder / "first"


@pytest.mark.slow
def test_what_is_frozen_stays_and_is_in_every_file(clips: Path, tmp_path: Path) -> None:
    first, output = one_adapter(tmp_path, clips), tmp_path / "second"
    changes: dict[str, Any] = {"model": {"weights": str(first)}, "seed": 3}
    changes["train"] = {"epochs": 2, "ema": 0.5, "freeze": ["backbone.blocks.0.mlp.adapter", "head"]}
    assert run(output, clips, **changes) == 0
    before, after = final_weights(first), final_weights(output)
    assert before.keys() == after.keys()
    same = {name for name in before if before[name].equal(after[name])}
    assert same == {name for name in before if name.startswith(("backbone.blocks.0.mlp.adapter.", "head."))}
    files = [read_adapter(folder / "adapter.safetensors") for folder in (first, output)]
    assert files[0].backbone == files[1].backbone and files[0].tensors.keys() == files[1].tensors.keys()
    video = next(clips.glob("test/*/*.mp4"))
    of_file = load(output / "adapter.safetensors", weights=tmp_path / "backbone.safetensors", device="cpu")
    assert load(output, device="cpu").logits(video).equal(of_file.logits(video))


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(clips: Path, tmp_path: Path) -> None:
    training = {"epochs": 2, "freeze": ["head.linear.bias", "backbone.blocks.1"]}
    for name in ("whole", "resumed"):
        assert run(tmp_path / name, clips, train=training) == 0
    (newest, older, *_) = list_checkpoints(tmp_path / "resumed")
    newest.unlink()
    assert older.is_file() and run(tmp_path / "resumed", clips, train=training) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.slow
def test_other_names_do_not_resume(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", clips, train={"epochs": 1, "freeze": ["fc_norm"]}, optim={"warmup_epochs": 0}) == 0
    assert run(tmp_path / "out", clips, train={"epochs": 1}, optim={"warmup_epochs": 0}) == 2
    assert "train.freeze: ['fc_norm'] there, [] here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            "[had]",
            "train.freeze = 'had': names no parameter and no module; the model's names begin with backbone, fc_norm, head",
        ),
        ("[backbone, fc_norm, head]", "train.freeze = ['backbone', 'fc_norm', 'head']: leaves nothing to train"),
    ],
)
def test_names_that_cannot_be(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str, said: str
) -> None:
    assert run(tmp_path / "out", clips, f"train.freeze={names}") == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_table_optimizer_and_fingerprint() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=SIZES, adapter={"name": "adaptformer", "bottleneck": 4}), 5, 4, 32)
    state, backbone = trainable_state(model).keys(), backbone_fingerprint(model)
    trained = held(model)
    freeze_by_name(model, FROZEN[:2])
    freeze_by_name(model, ["backbone.blocks.0.mlp.fn.fc1.weight"])  # frozen anyway, under its name without adapters
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        "head.linear.weight",
        "head.linear.bias",
    }
    assert held(model) == trained and trainable_state(model).keys() == state and backbone_fingerprint(model) == backbone
    rows = {(row.group, row.trainable): row.num_parameters for row in parameter_table(model)}
    assert rows[("adapter", False)] > 0 and ("adapter", True) not in rows and rows[("head", True)] == 5 * 33
    groups = build_optimizer(model, model.backbone, OptimConfig()).param_groups
    assert sum(len(group["params"]) for group in groups) == 2
    with pytest.raises(ArgumentError, match="leaves nothing to train"):
        freeze_by_name(model, FROZEN)


def test_the_statistics_of_a_frozen_head_stay() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=SIZES, adapter={"name": "linear"}), 5, 4, 32)
    clip_BCTHW = torch.randn(3, 3, 4, 32, 32)
    for frozen in (False, True):
        if frozen:
            freeze_by_name(model, ["head"])
        before = model.head.norm.running_mean.clone()
        model.train()(clip_BCTHW)
        assert before.equal(model.head.norm.running_mean) == frozen
