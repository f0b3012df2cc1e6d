"""Several labels a video from a list to an answer: a training of two properties at once, and what is refused before one."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from tests.toy_runs import records, results, write_config
from videoadapt.cli import demo, export, train
from videoadapt.config.loading import load_config
from videoadapt.errors import ConfigError
from videoadapt.inference.adapter_bank import AdapterBank, asking_tasks
from videoadapt.inference.predictor import Predictor
from videoadapt.rendering.files import ClipFile, render_missing
from videoadapt.runs.checkpoint import load_checkpoint
from videoadapt.runs.checks import setting_problems
from videoadapt.runs.statement import Statement

SHOWN = {"down_right": (0, 3), "up_left": (1, 2), "up_right": (0, 2), "down_left": (1, 3), "stretch": ()}
NAMES = ["right", "left", "up", "down"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a finished run on clips that move two ways at once, or neither; its output is `run` beside it."""
    folder = tmp_path_factory.mktemp("multi")
    for split, number, first_seed in (("train", 20, 1), ("val", 6, 10_000), ("test", 8, 20_000)):
        files, rows = [], []
        for motion, labels in SHOWN.items():
            for index in range(number):
                name = f"{split}_{motion}_{index}.mp4"
                files.append(ClipFile(folder / name, motion, first_seed + len(files)))
                own_rows = [(label,) for label in labels] if motion == "down_left" else [labels]
                rows += [f"{name} {','.join(map(str, of)) or '-'}\n" for of in own_rows]
        render_missing(files, split)
        (folder / f"{split}.csv").write_text("".join(rows))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    lists = {split: f"{folder}/{split}.csv" for split in ("train", "val", "test")}
    data = {
        "dataset": {"name": "video_list"},
        "labels": "multi",
        "root": str(folder),
        "classes": f"{folder}/classes.txt",
    }
    config: dict[str, Any] = {
        "_BASE_": "quickstart",
        "output": str(folder / "run"),
        "device": "cpu",
        "data": {**data, **lists, "cache": "off", "workers": 0},
        "train": {"epochs": 7, "batch_size": 16, "stop_early": {"metric": "mAP", "patience_epochs": 6}},
        "test": {"clips": 1, "crops": 1},
    }
    path = write_config(folder / "c.yaml", config)
    assert train.main(["--cfg", str(path)]) == 0
    return path


@pytest.mark.slow
def test_two_properties_are_learned_at_once(finished: Path) -> None:
    folder = finished.parent / "run"
    found = results(folder)
    assert found["mAP"] > 65 and found["macro_f1"] > 55 and found["num_without_label"] == 8  # 40 by chance
    validated = records(folder, "val")
    assert len(validated) == 7 and all({"mAP", "loss"} < record.keys() and "top1" not in record for record in validated)
    best = load_checkpoint(folder / "checkpoints" / "best.pt")
    assert best["val_mAP"] == max(record["mAP"] for record in validated)
    assert found["thresholds"] == best["thresholds"] and set(found["thresholds"]) != {0.5}
    assert not (folder / "confusion.png").exists() and (folder / "average_precision.png").stat().st_size > 10_000
    with (folder / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == NAMES and [row["videos"] for row in rows] == ["16"] * 4
    assert np.mean([float(row["average_precision"]) for row in rows]) == pytest.approx(found["mAP"], abs=0.01)
    with np.load(folder / "predictions.npz") as file:
        assert file["label"].shape == (40, 4) and file["label"].sum() == 64


@pytest.mark.slow
def test_a_run_and_its_adapter_give_the_same_answers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, film = finished.parent / "run", finished.parent / "test_up_left_0.mp4"
    thresholds = results(folder)["thresholds"]
    adapter = folder / "adapter.safetensors"
    with safe_open(adapter, framework="pt") as file:
        assert json.loads(file.metadata()["thresholds"]) == thresholds
        assert json.loads(file.metadata()["config"])["data"]["labels"] == "multi"
    predictor = Predictor.from_run(folder, "cpu")
    answers = predictor.predict(film, top=4)
    assert Predictor.from_adapter(adapter, device="cpu").predict(film, top=4) == answers
    for answer in answers:
        assert answer.probability == pytest.approx(float(predictor.logits(film)[answer.label].sigmoid()), abs=1e-6)
        assert answer.is_there == (answer.probability >= thresholds[answer.label])
    with np.load(folder / "predictions.npz") as file:
        row = file["video_id"].tolist().index(film.name)
        assert file["scores"][row] == pytest.approx(predictor.logits(film).numpy(), abs=1e-5)
    bank = AdapterBank.from_files([adapter, adapter])
    (of_bank,) = asking_tasks(bank, predictor.device).each([film], 4)
    assert [[(a.label, a.is_there) for a in task] for task in of_bank.answers] == [
        [(a.label, a.is_there) for a in answers]
    ] * 2
    capsys.readouterr()
    assert demo.main([str(film), "--run", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["predictions"]
    assert [(of["label"], of["is_there"]) for of in said] == [(a.label, a.is_there) for a in answers]


@pytest.mark.slow
def test_the_cost_of_fewer_bits_is_at_the_thresholds(finished: Path, tmp_path: Path) -> None:
    folder = finished.parent / "run"
    assert export.main([str(tmp_path / "m.onnx"), "--run", str(folder), "--quantize", "fp16"]) == 0
    of_file, of_test = json.loads((tmp_path / "m.json").read_text())["float32"], results(folder)
    assert {name: of_file[name] for name in ("mAP", "micro_f1", "macro_f1")} == pytest.approx(
        {name: of_test[name] for name in ("mAP", "micro_f1", "macro_f1")}, abs=1e-3
    )


@pytest.mark.slow
def test_it_resumes_and_is_never_tested_as_of_one_label(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.parent / "run", tmp_path / "run")
    arguments = ["--cfg", str(finished), f"output={tmp_path / 'run'}"]
    assert train.main(arguments) == 0  # complete: tested again
    assert results(tmp_path / "run") == results(finished.parent / "run")
    (finished.parent / "one.csv").write_text("test_up_left_0.mp4 1\n")
    capsys.readouterr()
    one = ["data.labels=single", "train.enable=false", f"data.test={finished.parent}/one.csv"]
    assert train.main([*arguments, *one]) == 2
    assert 'data.labels = "single", but "multi" in the file' in capsys.readouterr().err


def test_a_statement_of_before_is_of_one_label(tmp_path: Path) -> None:
    config = load_config("quickstart", {"output": str(tmp_path)})
    values = Statement.of(config, ["a", "b"]).as_dict()
    assert values["config"]["data"].pop("labels") == "single"
    assert Statement.read(values).config == Statement.of(config, ["a", "b"]).config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"train.loss": {"name": "focal"}},
            "train.loss.name = focal: is of data.labels multi, which is single; allowed: cross_entropy",
        ),
        (
            {"data.labels": "multi", "train.loss": {"name": "cross_entropy"}},
            "train.loss.name = cross_entropy: is of data.labels single, which is multi; allowed: asymmetric, bce, focal",
        ),
        (
            {"data.labels": "multi", "data.balance": 0.5},
            "data.balance = 0.5: is for one label a video, and data.labels is multi; set it to 0, or weigh classes with "
            "train.class_weights",
        ),
        (
            {"data.labels": "multi", "train.logit_adjustment": 1.0},
            "train.logit_adjustment = 1.0: is for one label a video, and data.labels is multi; set it to 0, or weigh classes "
            "with train.class_weights",
        ),
        (
            {"data.labels": "multi", "data.val": "x.csv", "train.stop_early": {"patience_epochs": 2}},
            "train.stop_early.metric = top1: with data.labels multi, allowed: mAP, loss",
        ),
        (
            {"data.val": "x.csv", "train.stop_early": {"metric": "mAP", "patience_epochs": 2}},
            "train.stop_early.metric = mAP: with data.labels single, allowed: top1, loss",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_with_the_labels_is_one_line(changes: dict[str, Any], said: str) -> None:
    assert setting_problems(load_config("quickstart", changes)) == [said]


def test_rendered_clips_have_one_label() -> None:
    config = load_config("supervised_trunk", {"data.labels": "multi"})
    (line,) = setting_problems(config)
    assert line == "data.rendered = trunk: is for one label a video, and data.labels is multi; set it to null"


def test_a_loss_is_checked_like_any_component() -> None:
    assert load_config("quickstart").train.loss is None
    config = load_config("quickstart", ["train.loss={name: focal, gamma: 1.5}"])
    assert config.train.loss == {"name": "focal", "gamma": 1.5, "alpha": 0.25, "over_classes": "mean"}
    with pytest.raises(ConfigError, match=r"train\.loss\.gamma = -1"):
        load_config("quickstart", ["train.loss={name: focal, gamma: -1}"])
    for nameless in ("{}", "focal", "{gamma: 1}"):
        with pytest.raises(
            ConfigError, match=r"train\.loss = .*: expected a mapping with a `name`;.* allowed: asymmetric, bce"
        ):
            load_config("quickstart", [f"train.loss={nameless}"])
    with pytest.raises(ConfigError, match=r"train\.loss\.name = 'fokal': did you mean 'focal'"):
        load_config("quickstart", ["train.loss={name: fokal}"])
