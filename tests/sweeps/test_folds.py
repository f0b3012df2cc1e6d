"""Cross-validation: a sweep whose folds keep groups apart, resumed as any other, with both intervals and all predictions."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml

from tests.toy_runs import toy_config, write_config
from tests.toy_sweeps import METHODS
from videoadapt.cli import sweep as command
from videoadapt.errors import ConfigError, VideoAdaptError
from videoadapt.evaluation.intervals import bootstrap_interval, t_interval, t_quantile
from videoadapt.sweeps.checks import check_cells
from videoadapt.sweeps.cross_validation import CrossValidation, Fold, _markdown, write_cross_validation
from videoadapt.sweeps.fold_plot import _figure
from videoadapt.sweeps.plan import Sweep

FILM = r"(film\d+)_"


@pytest.fixture(scope="module")
def films(finished_run: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `all.txt` and its 48 videos: of every of 8 classes six cuts, two of each of three films.

    They are cut from `clips`, which the finished run has rendered.
    """
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for label, name in enumerate(sorted(path.name for path in (clips / "train").iterdir())):
        for number, video in enumerate(sorted((clips / "train" / name).glob("*.mp4"))[:6]):
            place = f"{name}/film{number // 2}_{number}.mp4"
            (folder / name).mkdir(exist_ok=True)
            shutil.copy(video, folder / place)
            rows.append(f"{place} {label}\n")
    (folder / "all.txt").write_text("".join(rows))
    return folder


def written(folder: Path, films: Path, folds: Any, rows: str | None = None, **keys: Any) -> Path:
    """A sweep over the films, its base beside it."""
    source = films / "all.txt"
    if rows is not None:
        source = folder / "other.txt"
        source.write_text(rows)
    data = {"dataset": {"name": "video_list"}, "root": str(films), "train": str(source), "test": None, "classes": 8}
    base = toy_config(folder / "unused", films, data=data, train={"epochs": 1, "batch_size": 8})
    write_config(folder / "base.yaml", base)
    raw = {"base": "base.yaml", "output": str(folder / "sweep"), "folds": folds, **keys}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(raw))
    return folder / "sweep.yaml"


def of_films(path: Path) -> set[str]:
    return {name.split("/")[1].split("_")[0] for name in path.read_text().split("\n") if name}


@pytest.mark.slow
def test_a_cross_validation_in_one_command(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, films, {"number": 3, "group": FILM}, axes=METHODS)
    assert command.main(["--cfg", str(path), "--workers", "2"]) == 0
    folder, said = tmp_path / "sweep", capsys.readouterr().out
    assert said.startswith((folder / "table.md").read_text())
    for number in (1, 2, 3):
        trained, tested = (of_films(folder / f"folds/{number}_{name}.txt") for name in ("train", "test"))
        assert len(tested) == 1 and len(trained) == 2 and not trained & tested
    linear, lora = json.loads((folder / "table.json").read_text())
    assert (linear["settings"], lora["settings"]) == ({"method": "linear"}, {"method": "lora"})
    found = np.load(folder / "out_of_fold.npz")
    for row in (linear, lora):
        results = [
            json.loads(p.read_text())
            for p in sorted(folder.glob(f"cells/*{row['settings']['method']}*/*/results.json"))
        ]
        assert row["top1"] == pytest.approx(np.mean([r["top1"] for r in results])) and len(results) == 3
        assert [fold["num_videos"] for fold in row["folds"]] == [16, 16, 16] and row["num_groups"] == 3
        of_row = found["settings"] == f"method {row['settings']['method']}"
        names = [line.split()[0] for line in (films / "all.txt").read_text().splitlines()]
        assert sorted(found["video_id"][of_row]) == sorted(names)  # each once
        right = found["scores"][of_row].argmax(axis=1) == found["label"][of_row]
        assert row["pooled_top1"] == pytest.approx(100 * right.mean())
        low, high = row["pooled_top1_bootstrap"]
        assert low <= row["pooled_top1"] <= high
        assert row["top1_t"] == pytest.approx(t_interval([r["top1"] for r in results]))
    assert set(found["group"]) == {"film0", "film1", "film2"} and (folder / "folds.png").stat().st_size > 10_000

    before = {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/*/results.json")}
    assert command.main(["--cfg", str(path)]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/*/results.json")}, (
        "finished cells ran again"
    )
    with pytest.raises(ConfigError, match="holds folds of another list, or in another way; choose another `output`"):
        Sweep(path, ["folds.seed=1"])
    cell = Sweep(path).cells[0]
    stale = {**cell.results, "top1": 99.0}  # type: ignore[dict-item]
    (cell.folder / "results.json").write_text(json.dumps(stale))
    with pytest.raises(VideoAdaptError, match=r"predictions.npz: is of another test than results.json beside it"):
        write_cross_validation(Sweep(path))


@pytest.mark.parametrize("with_top5", [True, False])
def test_a_table_of_folds_is_as_wide_as_its_header(with_top5: bool) -> None:
    folds = [Fold("1", 8, 50.0, 90.0, 40.0, None)]
    row = CrossValidation({"method": "lora"}, 5, 1, 1, folds, 50.0, None, 50.0, None, 90.0, 40.0, 8, 8)
    lines = _markdown(cast(Sweep, None), [row], with_top5).splitlines()[:3]
    header, rule, line = ([cell.strip() for cell in text.strip("|").split("|")] for text in lines)
    assert len(header) == len(rule) == len(line) and dict(zip(header, line, strict=True))["mean class (%)"] == "40.00"
    assert ("top-5 (%)" in header, "90.00" in line) == (with_top5, with_top5)


def test_groups_of_a_column_and_of_a_file(films: Path, tmp_path: Path) -> None:
    lines = [line.split() for line in (films / "all.txt").read_text().splitlines()]
    group = {name: f"g{number % 6}" for number, (name, _) in enumerate(lines)}
    rows = "group,label,path\n" + "".join(f"{group[name]},{label},{name}\n" for name, label in lines)
    (tmp_path / "groups.txt").write_text("".join(f"{name} {group[name]}\n" for name, _ in lines))
    for number, folds in enumerate(({"group": "column"}, {"group_file": str(tmp_path / "groups.txt")})):
        (tmp_path / str(number)).mkdir()
        sweep = Sweep(written(tmp_path / str(number), films, {"number": 3, **folds}, None if number else rows))
        assert sweep.division is not None and sweep.division.group_of == group
        assert len(sweep.cells) == 3 and sweep.cells[0].name == "fold 1, seed 0"
    one, other = ((tmp_path / f"{n}/sweep/folds/2_test.txt").read_text() for n in (0, 1))
    assert one == other
    with pytest.raises(
        ConfigError, match=r"has rows without a group; name it in data.columns or in the list's first row"
    ):
        (tmp_path / "2").mkdir()
        Sweep(written(tmp_path / "2", films, {"number": 3, "group": "column"}))


def test_published_splits_as_folds(films: Path, tmp_path: Path) -> None:
    lines = (films / "all.txt").read_text().splitlines()
    for number in (0, 1):
        (tmp_path / f"{number}_train").write_text("".join(f"{row}\n" for row in lines if f"film{number}" not in row))
        (tmp_path / f"{number}_test").write_text("".join(f"{row}\n" for row in lines if f"film{number}" in row))
    splits = [[str(tmp_path / f"{number}_train"), str(tmp_path / f"{number}_test")] for number in (0, 1)]
    sweep = Sweep(written(tmp_path, films, {"splits": splits, "group": FILM}))
    assert [cell.config.data.test for cell in sweep.cells] == [test for _, test in splits]
    splits[1][0] = splits[0][0]  # which trains film1 and film2
    with pytest.raises(ConfigError, match="split 2 has 1 group in training and test, first 'film1'"):
        Sweep(written(tmp_path, films, {"splits": splits, "group": FILM}))


@pytest.mark.parametrize(
    ("folds", "keys", "said"),
    [
        (5, {}, "folds = 5: group is not given, and videos of one group"),
        ({"number": 1, "group": "video"}, {}, "folds.number = 1: input should be greater than or equal to 2"),
        ({"number": 4, "group": FILM}, {}, "folds.number = 4: there are only 3 groups; choose fewer, or finer groups"),
        ({"number": 3, "group": "scene"}, {}, "folds.group = 'scene': finds nothing in '"),
        ({"number": 3, "group": "("}, {}, "folds.group = '(': is no regular expression"),
        ({"number": 3, "group": "^[^/]+"}, {},
         "folds: the videos of class '0' (and 7 more: '1', '2', '3', '4', ...) are all of one group"),
        ({"number": 3, "group": "video"}, {"set": {"data.val": "v.txt"}}, "folds: data.val = v.txt would stay the same"),
        ({"number": 3, "group": "video"}, {"set": {"data.dataset": {"name": "class_folders"}, "data.val": "val"}},
         "`prepare folder FOLDER --out LISTS --val 0 --test 0` writes both"),
        ({"number": 3, "group": "video"}, {"axes": {"data.train": ["a"]}}, "folds: sets the axis fold, data.train and"),
        ({"number": 3, "group": "video"}, {"set": {"data.labels": "multi"}}, "folds: data.labels = multi: has no top-1"),
        ({"splits": [["a", "b"]]}, {}, "folds.splits = "),
        ({"splits": [["a", "b"], ["c", "d"]], "number": 2}, {}, "allowed: a number of folds, or splits"),
        ({"number": 3, "group": "video"}, {"set": {"data.train": None}}, "folds: divides data.train, which is null"),
    ],
)  # fmt: skip
def test_folds_that_cannot_be_are_one_line(folds: Any, keys: Any, said: str, films: Path, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, VideoAdaptError)) as caught:
        Sweep(written(tmp_path, films, folds, **keys))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_in_fewer_groups_than_folds_is_said(films: Path, tmp_path: Path, log_lines: list[str]) -> None:
    rows = "".join(
        f"{line}\n"
        for line in (films / "all.txt").read_text().splitlines()
        if not (line.endswith(" 0") and "film2" in line)
    )
    Sweep(written(tmp_path, films, {"number": 3, "group": FILM}, rows))
    assert log_lines == ["WARNING folds.number = 3: class '0' is in 2 groups only: some folds do not test it"]


def test_classes_that_folds_cannot_test_are_named(films: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("wave\narm wrestling\n" + "".join(f"other {n}\n" for n in range(6)))
    lines = (films / "all.txt").read_text().splitlines()
    rows = "".join(f"{row}\n" for row in lines if not row.endswith((" 1", " 2")) or "film0" in row)
    sweep = written(
        tmp_path, films, {"number": 3, "group": FILM}, rows, set={"data.classes": str(tmp_path / "classes.txt")}
    )
    with pytest.raises(
        ConfigError, match=r"the videos of class 'arm wrestling' \(and 1 more: 'other 0'\) are all of one group"
    ):
        Sweep(sweep)


def test_what_all_cells_share_is_said_once(films: Path, tmp_path: Path, log_lines: list[str]) -> None:
    paths = [row.rpartition(" ")[0] for row in (films / "all.txt").read_text().splitlines()]
    rows = [
        f"{path} {int(number < 2)}\n" for number, path in enumerate(paths)
    ]  # two videos of class 1, the others of class 0
    sweep = Sweep(written(tmp_path, films, {"number": 2, "group": "video"}, "".join(rows), axes=METHODS))
    assert len(sweep.cells) == 4
    check_cells(sweep)
    said = [line for line in log_lines if "rare classes" in line]
    assert said and len(said) == len(set(said)) and len(said) <= 2  # of each fold's list


def test_the_picture_says_what_its_interval_draws() -> None:
    row = ("all folds", [70.0, 80.0], 75.0, (60.0, 90.0), 75.0, (70.0, 80.0))
    (legend,) = _figure([row], "videos").legends
    assert legend.get_texts()[-1].get_text() == "all videos pooled, bootstrap over videos (95 %)"


def test_quantiles_of_students_t() -> None:
    for freedom, expected in ((1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (29, 2.0452), (1000, 1.9623)):
        assert t_quantile(freedom) == pytest.approx(expected, abs=1e-4)
    assert t_interval([80.0]) is None and t_interval([100.0, 100.0]) == (100.0, 100.0)
    low, high = t_interval([70.0, 80.0, 90.0])  # type: ignore[misc]
    assert (low, high) == pytest.approx((80 - 4.3027 * 10 / 3**0.5, 100.0), abs=1e-3)


def test_the_bootstrap_draws_groups_and_not_videos() -> None:
    generator = np.random.default_rng(1)
    right_N = (generator.random(400) < 0.8).astype(float)
    alone = bootstrap_interval(right_N, [str(n) for n in range(400)])
    half = 1.96 * 100 * (right_N.mean() * (1 - right_N.mean()) / 400) ** 0.5
    assert alone is not None and alone[1] - alone[0] == pytest.approx(2 * half, rel=0.1)
    together = np.repeat(
        (generator.random(40) < 0.8).astype(float), 10
    )  # videos of a group are all right, or all wrong
    of_groups = bootstrap_interval(together, [str(n // 10) for n in range(400)])
    assert of_groups is not None and of_groups[1] - of_groups[0] > 2.5 * 2 * half
    assert bootstrap_interval(right_N, ["one"] * 400) is None
