"""Unknown actions: measured on a real run, kept in its folder, and said by demo and in Python."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.toy_runs import toy_config, write_config
from videoadapt.cli import demo, train, unknown
from videoadapt.config.loading import check_config
from videoadapt.data.datasets.synthetic import Synthetic
from videoadapt.errors import ConfigError, VideoAdaptError
from videoadapt.evaluation.unknown import auroc
from videoadapt.inference import unknown_actions
from videoadapt.inference.known import SCORES, Known, Measure, _load, load_rejection, save
from videoadapt.inference.predictor import Predictor
from videoadapt.inference.unknown_actions import Asked, Found, _lists_of


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's trained model as a run of its own: one update with a rate of nearly nothing."""
    folder = tmp_path_factory.mktemp("known")
    own = Synthetic(vocabulary="quickstart", train_per_class=6, val_per_class=0, test_per_class=2)
    others = Synthetic(vocabulary="trunk", train_per_class=0, val_per_class=0, test_per_class=1)
    for split in ("train", "test"):
        own.load(split, clips)
    others.load("test", folder / "others")
    for name, root in (("known", clips), ("unknown", folder / "others")):
        rows = (root / "test.csv").read_text().splitlines()
        (folder / f"{name}.txt").write_text("".join(f"{root / row.rsplit(' ', 1)[0]}\n" for row in rows))
    config = toy_config(
        folder / "run", clips, optim={"name": "sgd", "lr_per_256": 1e-12, "warmup_epochs": 0},
        train={"epochs": 1, "batch_size": 48}, test={"enable": False, "clips": 1, "crops": 1},
    )  # fmt: skip
    config["data"] |= {"dataset": {"name": "video_list"}, "train": str(clips / "train.csv"), "root": str(clips)}
    config["data"] |= {"classes": str(clips / "classes.txt"), "test": None}
    config |= {"_BASE_": "quickstart"}
    config["model"] = {"weights": "package:quickstart_adapter.safetensors"}
    config["data"] |= {"num_frames": 8, "crop_px": 64}
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    assert measured(folder / "run", "--unknown", str(folder / "unknown.txt")) == 0
    return folder / "run"


@pytest.mark.parametrize(("known", "rate"), [(2, 0.5), (3, 0.34), (16, 0.07), (19, 0.06), (20, 0.05), (500, 0.05)])
def test_the_rate_that_is_proposed_can_be_told_by_so_few_videos(known: int, rate: float) -> None:
    scores = {"energy": np.arange(known, dtype=float)}
    assert Found({}, known, 0, []).least_rate == rate
    Known(Measure("logits"), scores, "energy").threshold(rate)
    if rate > 0.05:
        with pytest.raises(ConfigError) as refused:
            Known(Measure("logits"), scores, "energy").threshold(1e-9)
        named = float(str(refused.value).partition("from ")[2].split()[0])
        Known(Measure("logits"), scores, "energy").threshold(named)
        with pytest.raises(ConfigError, match="allowed"):
            Known(Measure("logits"), scores, "energy").threshold(rate - 0.01)


def test_commands_that_are_shown_can_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    scores = {"energy": np.arange(20.0)}
    monkeypatch.setattr(Predictor, "from_run", lambda *_: None)
    monkeypatch.setattr("videoadapt.inference.unknown_actions.measure", lambda *_: Found({}, 20, 0, []))
    assert unknown.main([str(folder)]) == 0
    assert f"--run '{folder}' --reject 0.05" in capsys.readouterr().out
    config = check_config({"output": str(folder)})
    with pytest.raises(ConfigError, match=f"first: videoadapt unknown '{re.escape(str(folder))}'"):
        load_rejection(folder, 0.1, config, [], torch.nn.Linear(1, 1))
    several = check_config({"output": str(folder), "data": {"labels": "multi"}})
    with pytest.raises(ConfigError, match="labels = multi"):  # and not to measure what cannot be
        load_rejection(folder, 0.1, several, [], torch.nn.Linear(1, 1))
    (folder / "unknown.npz").mkdir()
    assert unknown.main([str(folder)]) == 2  # before anything is measured
    assert f"RUN {folder / 'unknown.npz'}: is a folder" in capsys.readouterr().err
    (folder / "unknown.npz").rmdir()
    save(folder, Known(Measure("logits"), scores, "energy"), {"num_classes": 3})
    for damage in (lambda: None, lambda: (folder / "unknown.npz").write_bytes(b"x")):
        damage()
        with pytest.raises(VideoAdaptError, match=f"make it again: videoadapt unknown '{re.escape(str(folder))}'"):
            _load(folder / "unknown.npz", {"num_classes": 8})


def measured(run: Path, *more: str) -> int:
    return unknown.main([str(run), "--known", str(run.parent / "known.txt"), *more])


@pytest.mark.slow
def test_unknown_motions_are_told_from_known_ones(run: Path) -> None:
    found = json.loads((run / "unknown.json").read_text())
    assert found["num_known"] == 16 and found["num_unknown"] >= 16 and list(found["scores"]) == list(SCORES)
    assert found["scores"]["msp"]["auroc"] > 0.6, found["scores"]
    assert found["scores"]["energy"]["threshold_5"] is None  # a twentieth of 16 videos is none
    assert (run / "unknown.png").stat().st_size > 10_000
    predictor = Predictor.from_run(run, "cpu")
    names = [(run.parent / f"{kind}.txt").read_text().split() for kind in ("known", "unknown")]
    known_N, unknown_N = (np.array([predictor.logits(name).exp().sum().log().item() for name in of]) for of in names)
    assert found["scores"]["energy"]["auroc"] == pytest.approx(auroc(known_N, unknown_N), abs=1e-6)


@pytest.mark.slow
def test_demo_and_python_say_unknown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By both ways those that score lower than all but a quarter of the known videos: 4 of these 16."""
    videos = (run.parent / "known.txt").read_text().split()
    assert demo.main([*videos, "--run", str(run), "--reject", "0.25", "--json", "--top", "2"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(of["unknown"] for of in said) == 4
    predictor = Predictor.from_run(run, "cpu")
    for of in said:
        answer = predictor.predict(of["video"], 2, reject=0.25)
        assert [p.name for p in answer[-2:]] == [p["name"] for p in of["predictions"]]
        assert (answer[0].name == "unknown" and answer[0].label == -1 and len(answer) == 3) == of["unknown"]
    assert [of.unknown for of in predictor.predict_each(videos[:3], reject=0.25)] == [of["unknown"] for of in said[:3]]
    assert next(iter(predictor.predict_each(videos[:1]))).unknown is None
    number = next(number for number, of in enumerate(said) if of["unknown"])
    table = run.parent / "t.csv"
    assert demo.main([videos[number], "--run", str(run), "--reject", "0.25", "--csv", str(table)]) == 0
    header, row = (line.split(",") for line in table.read_text().splitlines())
    assert row[header.index("unknown")] == "1"
    assert demo.main([videos[number], "--run", str(run), "--reject", "0.25"]) == 0
    assert "unknown: less like the known videos" in capsys.readouterr().out


@pytest.mark.slow
def test_every_score_may_decide_and_is_refused_elsewhere(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = (run.parent / "known.txt").read_text().split()[0]
    assert measured(run, "--score", "knn", "--k", "3") == 0
    knn = Predictor.from_run(run, "cpu")
    assert len(knn.predict([video], reject=0.25)) == 1
    knn.config = knn.config.model_copy(update={"test": knn.config.test.model_copy(update={"crops": 3})})
    with pytest.raises(VideoAdaptError, match=r"unknown.npz: is of another model or other views \(config.test.crops\)"):
        knn.predict(video, reject=0.25)
    capsys.readouterr()
    assert measured(run, "--score", "knn", "--k", "49") == 2
    assert "--k 49: allowed: 1 to 48, the videos of the training" in capsys.readouterr().err
    assert measured(run, "data.root", "/nowhere") == 0  # the training list is gone, and that is said
    assert "without the training list: no mahalanobis and no knn" in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert measured(run, "--score", "knn", "data.root", "/nowhere") == 2
    assert measured(run) == 0


def test_a_run_without_validation_videos_asks_for_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown_actions, "load_splits", lambda config: SimpleNamespace(val=[], train=[]))
    for val in (None, "val"):  # class folders name a list that may be empty
        with pytest.raises(
            VideoAdaptError, match=r"^--known: the run has no validation videos, so name a list of videos"
        ):
            _lists_of(check_config({"output": "x", "data": {"val": val}}), Asked(None))


@pytest.mark.slow
def test_lists_that_say_nothing_are_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "unknown.npz").read_bytes()
    one = tmp_path / "one.txt"
    one.write_text((run.parent / "known.txt").read_text().split()[0])
    assert unknown.main([str(run), "--known", str(one)]) == 2
    assert "one.txt: 1 video that can be read; a rate of false alarms needs 2 or more" in said(capsys)
    assert (run / "unknown.npz").read_bytes() == before
    parts = tmp_path / "parts.txt"
    names = (run.parent / "known.txt").read_text().split()[:2]
    for part, shared in (("#t=0,0.3", False), ("#t=0.2,0.6", True)):
        parts.write_text("".join(f"{name}{part}\n" for name in names))
        later = tmp_path / "later.txt"
        later.write_text("".join(f"{name}#t=0.3\n" for name in names))
        assert unknown.main([str(run), "--known", str(parts), "--unknown", str(later), "--no-training"]) == 0
        assert ("2 of the unknown videos are in the known list too" in said(capsys)) == shared
    capsys.readouterr()
    one_of_each = "data.first_per_class", "1", "--k", "1"
    assert measured(run, "--score", "mahalanobis", *one_of_each) == 2
    assert "mahalanobis: needs two different videos of a class of the training list; allowed: msp, energy, knn" in said(
        capsys
    )
    assert measured(run, *one_of_each) == 0 and "so there is no mahalanobis" in said(capsys)
    assert list(json.loads((run / "unknown.json").read_text())["scores"]) == ["msp", "energy", "knn"]
    rendered = "data.rendered={motions: quickstart, clips_per_epoch: 8}", "data.train=null"
    assert measured(run, "--score", "knn", *rendered) == 2
    assert "knn: needs the features of the training list; allowed: msp, energy" in said(capsys)
    assert measured(run) == 0


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\s+", " ", capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize(("val", "is_warned"), [("{holdout: 0.2}", True), ("train.csv", True), ("test.csv", False)])
def test_known_videos_of_the_training_are_warned_of(
    val: str, is_warned: bool, run: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = val if val.startswith("{") else clips / val
    assert unknown.main([str(run), "--no-training", f"data.val={given}"]) == 0
    assert ("the run may have been trained on some of these known videos" in said(capsys)) == is_warned


def test_a_threshold_needs_enough_known_videos() -> None:
    known = Known(Measure("logits"), {"energy": np.arange(20.0)}, "energy")
    assert known.threshold(0.05) == 0.5 and (known.scores["energy"] < known.threshold(0.3)).sum() == 6
    for rate in (0.04, 0, 1, -1):
        with pytest.raises(ConfigError, match=rf"reject = {rate}: allowed: from 0.05 \(one of the 20 known videos\)"):
            known.threshold(rate)


def test_what_two_scores_make_of_several_views() -> None:
    logits_NVK = np.array([[[0.0, 4.0], [4.0, 0.0]]])
    features_ND = np.zeros((1, 3))
    for average, best in (("logits", 0.5), ("probs", 0.5)):
        measure = Measure(average)  # type: ignore[arg-type]
        assert measure.score("msp", logits_NVK, features_ND)[0] == pytest.approx(best)
        assert measure.score("energy", logits_NVK, features_ND)[0] == pytest.approx(2 + np.log(2))
    skewed = np.array([[[0.0, 4.0], [1.0, 0.0]]])
    sigmoid = 1 / (1 + np.exp([-4.0, 1.0]))
    assert Measure("probs").score("msp", skewed, features_ND)[0] == pytest.approx(sigmoid.mean())
    assert Measure("logits").score("msp", skewed, features_ND)[0] == pytest.approx(1 / (1 + np.exp(-1.5)))
    with pytest.raises(ConfigError, match="knn: needs the features of the training list; allowed: msp, energy"):
        Measure("logits").score("knn", skewed, features_ND)


def test_one_video_of_each_class_has_no_spread(tmp_path: Path) -> None:
    features_MD = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    measure = Measure.fit("logits", features_MD, np.arange(3), 1)
    assert measure.scores == ("msp", "energy", "knn")
    scores = {name: measure.score(name, features_MD[:, None], features_MD) for name in measure.scores}
    save(tmp_path, Known(measure, scores, "knn"), {})
    again = _load(tmp_path / "unknown.npz", {})
    assert again.measure.scores == measure.scores and np.array_equal(again.scores["knn"], scores["knn"])
    assert Measure.fit("logits", features_MD, np.array([0, 1, 1]), 1).scores == SCORES


def test_a_run_without_known_scores_says_what_to_do(tmp_path: Path) -> None:
    import torch

    config = check_config({"output": str(tmp_path)})
    with pytest.raises(ConfigError, match=f"needs the scores of known videos, and {tmp_path}/unknown.npz is not there"):
        load_rejection(tmp_path, 0.05, config, ["a"], torch.nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="only a run's folder can hold it"):
        load_rejection(None, 0.05, config, ["a"], torch.nn.Linear(1, 1))
    for facts in ("3", "[]", "null", '{"average": []}'):
        np.savez(tmp_path / "unknown.npz", facts=np.array(facts))
        with pytest.raises(VideoAdaptError, match=r"unknown.npz: cannot be read .*; make it again: videoadapt unknown"):
            load_rejection(tmp_path, 0.05, config, ["a"], torch.nn.Linear(1, 1))
    (tmp_path / "unknown.npz").write_bytes(b"no archive")
    with pytest.raises(VideoAdaptError, match=r"unknown.npz: cannot be read .*; make it again: videoadapt unknown"):
        load_rejection(tmp_path, 0.05, config, ["a"], torch.nn.Linear(1, 1))
