"""report.html: what stands on it, that nothing in it is taken for markup, and that it asks no network for anything."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.made_tests import leave_test
from tests.pages import Page
from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli import report, test, train
from videoadapt.cli.train import _scores
from videoadapt.config.loading import check_config
from videoadapt.evaluation.report.charts import _draw_noisy, curves, epochs_of
from videoadapt.evaluation.report.groups import groups_of
from videoadapt.evaluation.report.page import write_report
from videoadapt.evaluation.report.settings import changed_settings
from videoadapt.export.adapter_page import _numbers

NAMES = ["<script>alert(1)</script>", '$\\frac{1}$ & "it\'s"', "走る", "plain"]


def test_every_run_leaves_a_report(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    data = {**toy_config(Path(), clips)["data"], "val": {"holdout": 0.17}}
    path = write_config(tmp_path / "c.yaml", toy_config(output, clips, data=data))
    assert train.main(["--cfg", str(path)]) == 0
    page, found = Page(output / "report.html"), results(output)
    assert page.asks_nothing()
    for said in (
        f"Top-1 accuracy {found['top1']:.2f} %", "all 6 together", "Loss", "Learning rate", "validation, best",
        "counter_clockwise", "backbone (frozen)", found["test_list_sha256"], found["statement"]["backbone"], "finished",
        "torch",
        "not known: only GPUs of NVIDIA count theirs", 'data.dataset.name "synthetic" "video_list"', "Most frequent mistakes",
    ):  # fmt: skip
        assert said in page.text, said
    assert re.search(r"training [\d: -]+UTC 0 to 10 [\d.]+ s", page.text) and re.search(r"\d clips/s", page.text)
    (output / "report.html").unlink()
    capsys.readouterr()
    assert report.main([str(output)]) == 0
    assert capsys.readouterr().out == f"{output}/report.html\n" and Page(output / "report.html").text == page.text
    assert test.main(["--cfg", str(path), "test.clips=1", "test.crops=1"]) == 0
    page = Page(output / "report.html")  # of the new test
    assert "One view of a video" not in page.text and "Tested otherwise than trained: test.clips 2 → 1" in page.text
    assert re.search(r"test [\d: -]+UTC [\d.]+ s .* test [\d: -]+UTC [\d.]+ s", page.text)  # both are listed
    assert "last command here finished" not in page.text
    assert train.main(["--cfg", str(path), "data.train=nowhere"]) == 2 and report.main([str(output)]) == 0
    page = Page(output / "report.html")  # the refusal is not the test's
    assert "the last command here failed" in page.text and "The test below ended before that." in page.text
    metrics = output / "metrics.jsonl"
    metrics.write_text("no record\n" + metrics.read_text())
    assert test.main(["--cfg", str(path)]) == 0  # the test is none the worse
    assert f"report.html: cannot be written: {metrics}: line 1 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, None),
        (2, "validation videos that are in the test list 2"),
        (None, "in the test list not looked at: a test alone"),
    ],
)
def test_validation_videos_in_the_test_list(number: int | None, said: str | None, tmp_path: Path) -> None:
    folder = leave_test(tmp_path / "run", ["a", "b"], [0, 1], np.eye(2)[:, None])
    results = folder / "results.json"
    results.write_text(json.dumps({**json.loads(results.read_text()), "num_val_in_test": number}))
    assert report.main([str(folder)]) == 0
    text = Page(folder / "report.html").text
    assert said in text if said is not None else "that are in the test list" not in text


def test_a_training_alone_has_a_report(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    path = write_config(tmp_path / "c.yaml", toy_config(output, clips, train={"epochs": 1, "batch_size": 8}))
    assert train.main(["--cfg", str(path), "test.enable=false"]) == 0
    page = Page(output / "report.html")
    assert page.asks_nothing() and "Loss" in page.text
    assert "Confusion" not in page.text and "95 %" not in page.text


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, logits_NVK = [0, 1, 2, 3] * 5, rng.normal(size=(20, 2, 4))
    ids = [f"<img src=x onerror=1>/$a$ \"{number}' & \x1b[31m.mp4" for number in range(20)]
    unreadable = {4: "<b>no</b> film", 5: "</td><script>"}
    folder = leave_test(tmp_path / "<i>run", NAMES, labels, logits_NVK, ids, unreadable)
    page = Page(write_report(folder))
    assert page.asks_nothing() and not {"script", "img", "b", "i"} & {tag for tag, _ in page.tags}
    for said in (*NAMES, "<i>run", "<b>no</b> film", "</td><script>", ids[4].replace("\x1b", "\\x1b")):
        assert said in page.text, said
    assert "\x1b" not in page.text


@pytest.mark.parametrize(("num_classes", "is_shown"), [(5, False), (6, True)])
def test_a_top5_of_five_classes_is_not_shown(num_classes: int, is_shown: bool, tmp_path: Path) -> None:
    """It is 100 % whatever the model says; results.json keeps it."""
    labels = list(range(num_classes)) * 4
    logits_NVK = np.random.default_rng(0).normal(size=(len(labels), 2, num_classes))
    folder = leave_test(tmp_path, "abcdef"[:num_classes], labels, logits_NVK)
    text, found = Page(write_report(folder)).text, results(folder)
    assert ("Top-5 accuracy" in text, " top-5 " in text) == (is_shown, is_shown)
    assert "Top-1 accuracy" in text and "most often taken for" in text and "top5" in found
    statement = {"class_names": list("abcdef"[:num_classes])}
    found = {**found, "statement": statement, "num_views": 2, "num_videos": len(labels), "checkpoint": "x.pt"}
    assert ("top-5" in _scores(found), "top-5" in _numbers(found)) == (is_shown, is_shown)
    assert "top-1" in _scores(found) and "top-1" in _numbers(found)


def test_a_report_of_several_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [(0, 1), (), (2,)] * 6
    folder = leave_test(tmp_path, NAMES[1:], labels, rng.normal(size=(18, 2, 3)), data={"labels": "multi"})
    page, found = Page(write_report(folder)), results(folder)
    assert page.asks_nothing() and f"Mean average precision {found['mAP']:.2f} % 95 %:" in page.text
    assert "average precision" in page.text and "Confusion" not in page.text


def test_a_report_where_nothing_could_be_read(tmp_path: Path) -> None:
    folder = leave_test(tmp_path, "ab", [0, 1], np.zeros((2, 1, 2)), unreadable={0: "gone", 1: "gone"})
    page = Page(write_report(folder))
    assert "No video could be read" in page.text and "Top-1 accuracy 0.00 %" in page.text


def test_epochs_after_an_update() -> None:
    """Four updates an epoch; a record's epoch is where its update began."""
    train = [{"step": step, "epoch": (step - 1) / 4} for step in range(1, 9)]
    assert epochs_of([1, 4, 8], train).tolist() == [0.25, 1, 2]
    assert epochs_of([4], train[:4]).tolist() == [1]


def test_long_curves_stay_small_and_hold_every_value() -> None:
    rng = np.random.default_rng(0)
    metrics = [
        {"kind": "train", "step": n, "epoch": (n - 1) / 500, "loss": float(rng.uniform()), "top1": 5.0, "lr": 0.1}
        for n in range(1, 20_001)
    ]
    metrics[500] |= {"skipped": 1.0}
    charts = curves([*metrics, {"kind": "val", "step": 20_000, "top1": 66.5, "loss": 0.25}])
    assert [chart.title for chart in charts] == ["Loss", "Top-1 accuracy", "Learning rate"]
    assert all(len(chart.svg) < 120_000 for chart in charts)
    assert charts[1].said.endswith("validation, best 66.5 % after 40 epochs") and "19999 updates" in charts[0].said
    assert curves([]) == []


def test_what_updates_measured_is_faint_to_the_end() -> None:
    """Of 750 updates in 600 groups most were one update alone, whose band from the least to the most has no height."""
    values_R = np.arange(750) % 2 + 1.0
    axes = Figure().subplots()
    _draw_noisy(axes, np.arange(750) / 125, values_R, "black")
    corners = axes.collections[0].get_paths()[0].vertices
    heights = {at: np.ptp(corners[corners[:, 0] == at, 1]) for at in np.unique(corners[:, 0])}
    assert set(heights.values()) == {1.0} and max(heights) > 5.9


def test_groups_as_the_config_keeps_them_apart() -> None:
    ids = ["a_g1_c1.mp4", "a_g1_c2.mp4", "b_g2_c1.mp4"]
    plain = check_config({"output": "x"})
    held = check_config({"output": "x", "data": {"val": {"holdout": 0.1, "group": "(g[0-9]+)_c"}}})
    assert groups_of(plain, ids) is None and groups_of(held, ids) == ["g1", "g1", "g2"]
    assert groups_of(held, ["other.mp4", "another.mp4"]) is None  # made for another list
    assert groups_of(plain, ["f.mp4#t=0,2", "f.mp4#t=2,4", "g.mp4"]) == ["f.mp4", "f.mp4", "g.mp4"]


def test_what_differs_from_the_defaults() -> None:
    data = {"sampling": {"name": "segment"}, "dataset": {"name": "class_folders", "test": 0.3}}
    config = check_config({"output": "x", "train": {"epochs": 7}, "data": data})
    found = {of.key: (of.value, of.default) for of in changed_settings(config)}
    assert found == {
        "train.epochs": ("7", found["train.epochs"][1]),
        "data.sampling.name": ('"segment"', '"dense"'),
        "data.dataset.name": ('"class_folders"', '"video_list"'),
        "data.dataset.test": ("0.3", ""),
    }


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "nowhere")]) == 2
    assert "holds no config.yaml" in capsys.readouterr().err
    folder = leave_test(tmp_path / "run", "ab", [0, 1], np.eye(2)[:, None])
    broken = {**json.loads((folder / "results.json").read_text()), "top1": 3}
    (folder / "results.json").write_text(json.dumps(broken))
    assert report.main([str(folder)]) == 2 and "is of another test" in capsys.readouterr().err
