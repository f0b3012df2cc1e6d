"""Table and picture of a sweep, from results with known numbers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.toy_sweeps import RATES, end, finish, sweep
from videoadapt.errors import Diverged, VideoAdaptError
from videoadapt.sweeps.plot import Point, _free_axis, _front, _in_order, plot
from videoadapt.sweeps.table import Row, _markdown, collect, write_tables


def test_rows_are_means_and_deviations_over_seeds(tmp_path: Path) -> None:
    plan = sweep(tmp_path, axes={"train.epochs": [1, 2, 3]}, seeds=[0, 1, 2])
    assert write_tables(plan) == []
    for cell, top1 in zip(plan.cells, (10.0, 20.0, 60.0, 5.0, 6.0, None, None, None, None), strict=True):
        if top1 is not None:
            finish(cell, 0, top1)
    assert [row.top1 for row in collect(plan)] == [(10.0, 20.0, 60.0), (5.0, 6.0)]
    markdown, table, picture = write_tables(plan)
    assert [path.parent for path in (markdown, table, picture)] == [tmp_path / "sweep"] * 3
    lines = markdown.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(" | ")[:3] == ["| epochs", "trained parameters", "top-1 (%)"]
    assert "| 1 | 5 | 30.00 ± 26.46 |" in lines[2] and lines[2].endswith("| 3 |")  # n - 1 in the denominator
    assert "5.50 ± 0.71" in lines[3] and lines[3].endswith("| 2 of 3 |") and len(lines) == 4
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert float(rows[0]["top1_std"]) == pytest.approx(26.4575, abs=1e-4) and rows[0]["train.epochs"] == "1"
    assert rows[1]["num_seeds"] == "3" and rows[1]["num_finished"] == "2"
    assert rows[0]["top1_of_each_seed"].split() == ["10.0000", "20.0000", "60.0000"]
    assert imread(picture).shape[:2] == (900, 1425)


@pytest.mark.parametrize(("num_classes", "is_shown"), [(5, False), (6, True)])
def test_a_top5_of_five_classes_is_no_column(num_classes: int, is_shown: bool, tmp_path: Path) -> None:
    plan = sweep(tmp_path, axes={"train.epochs": [1]})
    finish(plan.cells[0], 0, 50.0)
    path = plan.cells[0].folder / "results.json"
    names = [str(number) for number in range(num_classes)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "statement": {"class_names": names}}))
    header, rule, line = table_of(collect(plan))
    assert ("top-5 (%)" in header) is is_shown and len(header) == len(rule) == len(line)
    assert header[-4:] == ["mean class (%)", "training clips", "training (s)", "seeds"] and line[-4] == "50.00"


def test_a_statement_of_another_kind_is_damage(tmp_path: Path) -> None:
    (cell,) = sweep(tmp_path, axes={"train.epochs": [1]}).cells
    finish(cell, 0, 50.0)
    path = cell.folder / "results.json"
    for statement in (3, {}, {"config": None}):
        path.write_text(json.dumps({**json.loads(path.read_text()), "statement": statement}))
        with pytest.raises(VideoAdaptError, match=r"results\.json: statement (= 3: .*|is damaged); delete it"):
            cell.other_values()


def table_of(rows: list[Row]) -> list[list[str]]:
    """The cells of each line."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in _markdown(rows, None).splitlines()]


def test_what_a_training_cost_is_in_both_tables(tmp_path: Path) -> None:
    plan = sweep(tmp_path, axes={"train.epochs": [1]}, seeds=[0, 1])
    for cell, updates in zip(plan.cells, (3, 5), strict=True):
        finish(cell, 0, 50.0)
        records = [{"step": step + 1, "step_sec": 2.0, "data_sec": 0.5} for step in range(updates)]
        (cell.folder / "timing.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    clips = 4 * plan.cells[0].config.train.batch_size
    markdown, table, _ = write_tables(plan)
    assert f"| {clips:,} | 8 | 2 |" in markdown.read_text(encoding="utf-8").splitlines()[2]
    (row,) = csv.DictReader(table.open(encoding="utf-8"))
    assert (row["num_clips"], row["train_sec"]) == (str(clips), "8.0")


def test_the_chosen_setting_is_a_column_and_no_point(tmp_path: Path) -> None:
    plan = sweep(tmp_path, axes={"train.epochs": [1, 2]}, select={"axis": "train.epochs"})
    for cell, val_top1 in zip(plan.missing(), (1.0, 2.0), strict=True):
        finish(cell, val_top1, 0)
    finish(plan.missing()[0], 2.0, 70.0)
    text = write_tables(plan)[0].read_text(encoding="utf-8").splitlines()
    assert text[0].endswith("| epochs (chosen on val) |") and text[2].endswith("| 1 | 2 |") and "70.00 |" in text[2]
    assert text[-1] == "Chosen at an end of train.epochs, beyond which a better one may lie: the only row."


def test_an_end_is_that_of_the_settings_tried_for_the_row(tmp_path: Path) -> None:
    """Two epochs are in the middle of what was tried for three crops, and the most that was tried for one."""
    plan = sweep(
        tmp_path,
        axes={"test.crops": [1, 3], "train.epochs": [1, 2, 3]},
        exclude=[{"test.crops": 1, "train.epochs": 3}],
        select={"axis": "train.epochs"},
    )
    for cell in plan.missing():
        finish(cell, 2.0 if cell.settings["train.epochs"] == "2" else 1.0, 0)
    for cell in plan.missing():
        finish(cell, 2.0, 70.0)
    text = write_tables(plan)[0].read_text(encoding="utf-8").splitlines()
    assert text[-1] == "Chosen at an end of train.epochs, beyond which a better one may lie: 1."


def test_the_front_has_no_point_that_another_beats() -> None:
    assert _front([(10, 5.0), (1, 3.0), (10, 7.0), (5, 2.0), (20, 7.0), (30, 8.0)]) == [(1, 3.0), (10, 7.0), (30, 8.0)]


def test_a_line_keeps_its_order_and_breaks_at_a_missing_cell() -> None:
    line = _in_order([(3, 7.0), (0, 5.0)], 4)
    assert [position for position, _ in line] == [0, 1, 2, 3]
    assert np.array_equal([value for _, value in line], [5.0, np.nan, np.nan, 7.0], equal_nan=True)


def test_error_bars_are_drawn(tmp_path: Path) -> None:
    """The same means with a wide deviation ink more rows of the picture than with none."""
    inked = []
    for spread in (0.0, 30.0):
        points = [
            Point({"m": name}, count, (50 - spread, 50.0, 50 + spread)) for name, count in (("a", 10), ("b", 1000))
        ]
        points += [Point({"m": "c"}, 100, (0.0,)), Point({"m": "d"}, 100, (100.0,))]
        plot(points, {"m": ["a", "b", "c", "d"]}, tmp_path / "p.png")
        picture = imread(tmp_path / "p.png")[..., :3]
        blue = np.abs(picture - np.array([0x1F, 0x5F, 0xA8]) / 255).max(axis=-1) < 0.1
        inked.append(blue[:, :700].any(axis=1).sum())
    assert inked[1] > 3 * inked[0]


@pytest.mark.parametrize(
    ("counts", "axis"),
    [
        (
            {"linear": (20,) * 4, "lora": (900,) * 4},
            "frames",
        ),  # two numbers of parameters, four settings that leave them
        ({"linear": (20,) * 4, "lora": (20, 90, 400, 900)}, None),  # the settings change them
        ({"linear": (20,) * 2, "lora": (900,) * 2}, None),  # two methods on two sets of clips: parameters tell more
        ({"lora": (900, 902, 905, 905)}, "frames"),  # five parameters more are no position of their own
        ({"linear": (20,) * 3, "lora": (900,) * 3, "ssf": (910,) * 3}, "frames"),  # as many methods, which change them
    ],
)
def test_settings_that_leave_the_parameters_are_an_axis(
    counts: dict[str, tuple[int, ...]], axis: str | None, tmp_path: Path
) -> None:
    points = [
        Point({"method": method, "frames": str(frames)}, trained, (10.0 * frames,))
        for method, numbers in counts.items()
        for frames, trained in enumerate(numbers, 1)
    ]
    assert _free_axis(points) == axis
    plot(points, {"method": list(counts), "frames": ["1", "2", "3", "4"]}, tmp_path / "p.png")
    assert imread(tmp_path / "p.png").shape[:2] == (900, 1425)


def test_what_a_choice_was_made_by_is_in_the_table(tmp_path: Path) -> None:
    """Each setting that was tried for a method; of equals the first is taken; one that diverged has no number."""
    plan = sweep(
        tmp_path,
        exclude=[{"method": "lora", "optim.lr_per_256": [0.001]}],
        select={"axis": "optim.lr_per_256", "seeds": [0, 1]},
    )
    scores = {("linear", "0.001"): 40.0, ("linear", "0.01"): 51.26, ("linear", "0.1"): 51.26, ("lora", "0.01"): 60.0}
    for cell in plan.missing():
        val_top1 = scores.get((cell.settings["method"], cell.settings["optim.lr_per_256"]))
        finish(cell, val_top1 or 0.0, 0)
        if val_top1 is None:
            end(cell, Diverged(4, "training", "the loss is nan"))
    for cell in plan.missing():
        finish(cell, cell.val_top1, 70.0)
    text = write_tables(plan)[0].read_text(encoding="utf-8")
    assert "\nTop-1 on the validation list (%, mean of 2 seeds) at each optim.lr_per_256 that was tried. Bold: " in text
    table = text.split("not finite.\n\n")[1].splitlines()
    assert table[:4] == [
        "| method | 0.001 | 0.01 | 0.1 |",
        "| --- | ---: | ---: | ---: |",
        "| linear | 40.0 | **51.3** | **51.3** |",
        "| lora |  | **60.0** | - |",
    ]
    assert text.splitlines()[2].endswith("| 0.01 |") and text.splitlines()[3].endswith("| 0.01 |")


def test_a_choice_for_all_is_shown_once(tmp_path: Path) -> None:
    clips = {"clips": {20: {"data.crop_px": 32}, 60: {"data.crop_px": 64}}}
    plan = sweep(tmp_path, axes=clips | RATES, select={"axis": "optim.lr_per_256", "within": {"clips": 60}})
    for val_top1 in (1.0, 3.0, 2.0):
        finish(plan.missing()[0], val_top1, 0)
    for cell in plan.missing():
        finish(cell, 3.0, 70.0)
    table = write_tables(plan)[0].read_text(encoding="utf-8").split("not finite.\n\n")[1].splitlines()
    assert table[2:] == ["| 60 | 1.0 | **3.0** | 2.0 |"]
