"""mAP of detected segments on cases worked out by hand, and in the layouts of ActivityNet and THUMOS14."""

import json
from pathlib import Path

import numpy as np
import pytest

from videoadapt.cli import evaluate
from videoadapt.errors import DataListError
from videoadapt.evaluation.localisation import (
    AMBIGUOUS,
    Detection,
    average_precisions,
    read_annotations,
    read_detections,
)


def ap(truth: list[Detection], found: list[Detection], *tiou: float) -> dict[str, list[float]]:
    return {label: list(ap_M) for label, ap_M in average_precisions(truth, found, np.array(tiou)).items()}


def test_interpolated_average_precision() -> None:
    truth = [Detection("f", "a", 0, 10), Detection("f", "a", 20, 30), Detection("g", "a", 0, 10)]
    found = [
        Detection("f", "a", 0, 10, 0.9),  # right: precision 1
        Detection("f", "a", 50, 60, 0.8),  # wrong
        Detection("h", "a", 0, 10, 0.7),  # in a film without an annotation: wrong
        Detection("g", "a", 0, 10, 0.6),  # right: 2/4
        Detection("f", "a", 20, 30, 0.5),  # right: 3/5, which counts at the recall before as well
    ]
    assert ap(truth, found, 0.5) == {"a": [pytest.approx((1 + 3 / 5 + 3 / 5) / 3)]}
    assert ap(truth, found[:4], 0.5) == {"a": [pytest.approx((1 + 2 / 4) / 3)]}  # one is never found
    assert ap(truth, [], 0.5) == {"a": [0]}


def test_each_threshold_has_its_own_matches() -> None:
    truth = [Detection("f", "a", 0, 10)]
    found = [Detection("f", "a", 0, 5, 0.9), Detection("f", "a", 0, 9, 0.8)]  # tIoU 0.5 and 0.9
    assert ap(truth, found, 0.3, 0.5, 0.7, 0.95) == {"a": [1, 1, 0.5, 0]}  # at 0.7 the first is wrong, the second right


def test_one_annotation_is_found_once_then_the_next_best() -> None:
    truth = [Detection("f", "a", 0, 10), Detection("f", "a", 4, 14)]
    # both overlap the first most; the second detection takes the other one, 6/14, where that is enough
    found = [Detection("f", "a", 0, 10, 0.9), Detection("f", "a", 0, 10, 0.8)]
    assert ap(truth, found, 0.4, 0.5) == {"a": [1, 0.5]}


def test_classes_apart_and_the_score_decides() -> None:
    truth = [Detection("f", "a", 0, 10), Detection("f", "b", 0, 10)]
    found = [Detection("f", "a", 0, 10, 0.1), Detection("f", "a", 40, 50, 0.9), Detection("f", "c", 0, 10, 1.0)]
    assert ap(truth, found, 0.5) == {"a": [0.5], "b": [0]}


def test_what_overlaps_an_ambiguous_segment_is_not_wrong() -> None:
    truth = [Detection("f", "a", 0, 10), Detection("f", AMBIGUOUS, 19, 30), Detection("f", AMBIGUOUS, 0, 10)]
    wrong, right = Detection("f", "a", 15, 20, 0.9), Detection("f", "a", 0, 10, 0.8)
    assert ap(truth, [wrong, right], 0.5) == {"a": [1]}  # and what is right counts, ambiguous or not
    assert ap(truth, [wrong._replace(end_sec=18), right], 0.5) == {"a": [0.5]}
    assert ap(truth, [wrong._replace(film="g"), right], 0.5) == {"a": [0.5]}


def publish(folder: Path) -> tuple[Path, Path]:
    """Annotations and results in the published layouts."""
    database = {
        "x1": {"subset": "validation", "duration": 60.0, "annotations": [
            {"label": "jump", "segment": [0.0, 10.0]}, {"label": "run", "segment": ["20.0", "30.0"]}]},
        "x2": {"subset": "training", "annotations": [{"label": "swim", "segment": [1, 2]}]},
        "x3": {"subset": "testing", "annotations": []},
        "x4": {"subset": "validation", "annotations": [{"label": AMBIGUOUS, "label_id": 0, "segment": [0, 100]}]},
    }  # fmt: skip
    results = {
        "v_x1": [
            {"label": "jump", "score": 0.9, "segment": [0, 10]},
            {"label": "run", "score": 0.2, "segment": [20, 36]},
        ],
        "x4": [{"label": "jump", "score": 1.0, "segment": [50, 60]}],
    }
    truth, found = folder / "truth.json", folder / "detections.json"
    truth.write_text(json.dumps({"version": "VERSION 1.3", "taxonomy": [], "database": database}))
    found.write_text(json.dumps({"version": "VERSION 1.3", "results": results, "external_data": {}}))
    return truth, found


def test_the_command_on_published_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, found = publish(tmp_path)
    out = tmp_path / "numbers.json"
    assert evaluate.main([str(found), "--truth", str(truth), "--subset", "Validation", "--out", str(out)]) == 0
    numbers = json.loads(out.read_text())
    assert numbers["THUMOS14"]["mAP"] == [100, 100, 100, 100, 50]  # run: 10/16
    assert numbers["THUMOS14"]["average_mAP"] == 90
    assert numbers["ActivityNet"]["tiou"][:3] == [0.5, 0.55, 0.6] and len(numbers["ActivityNet"]["tiou"]) == 10
    assert numbers["ActivityNet"]["mAP"] == [100, 100, 100] + [50] * 7
    shown = capsys.readouterr().out
    assert "0.70: 50.00  mean: 90.00" in shown and "2 classes" in shown


def test_wrong_files_are_named(tmp_path: Path) -> None:
    truth, found = publish(tmp_path)
    for subset, said in (
        ("val", "has no subset 'val'; allowed: testing, training, validation"),
        ("testing", "no segment of the subset"),
    ):
        with pytest.raises(DataListError, match=said):
            read_annotations(truth, subset)
    annotations = read_annotations(truth, "validation")
    found.write_text(found.read_text().replace('"run"', '"rum"'))
    with pytest.raises(DataListError, match="the label 'rum' is not annotated; did you mean 'run'"):
        read_detections(found, annotations)
    for segment, score, said in (
        (
            "[0, 10]",
            "NaN",
            r"json: x1: segment \[0.0, 10.0\], score nan: is not a number",
        ),  # its place in the order would be chance
        ("[0, Infinity]", "0.5", "score 0.5: is not a number, or infinite"),
        ("[10, 0]", "0.5", "x1: a segment from 10 to 0 s; the start comes first"),
    ):
        found.write_text(f'{{"results": {{"x1": [{{"label": "run", "score": {score}, "segment": {segment}}}]}}}}')
        with pytest.raises(DataListError, match=said):
            read_detections(found, annotations)


ANNOTATED = '{"subset": ..., "annotations": [{"label": ..., "segment": [start, end]}, ...]}'
DETECTED = '[{"label": ..., "score": ..., "segment": [start, end]}, ...]'


@pytest.mark.parametrize(
    "content", ["[]", "3", "null", '"text"', "true", "{}", '{"some": 1, "other": 2}', '{"%s": []}']
)
@pytest.mark.parametrize("key", ["database", "results"])
def test_other_json_is_no_annotation(
    key: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = publish(tmp_path)
    wrong, layout = (truth, ANNOTATED) if key == "database" else (found, DETECTED)
    wrong.write_text(content.replace("%s", key))
    assert evaluate.main([str(found), "--truth", str(truth)]) == 2
    kind = {
        "[]": "a list", "3": "a number", "null": "null", '"text"': "a text", "true": "true or false",
        "{}": "an object with nothing in it", '{"some": 1, "other": 2}': "an object with 'some', 'other'",
    }.get(content, f"a list under '{key}'")  # fmt: skip
    said = f'error: {wrong}: expected {{"{key}": {{film: {layout}}}}}, as ActivityNet has it, found {kind}\n'
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("film", "said"),
    [
        ("3", "a value is of another kind"),
        ('{"subset": 3, "annotations": []}', "a value is of another kind"),
        ('{"annotations": []}', "there is no 'subset'"),
        ('{"subset": "validation", "annotations": null}', "a value is of another kind"),
        ('{"subset": "validation", "annotations": [{"label": "run"}]}', "there is no 'segment'"),
        ('{"subset": "validation", "annotations": [{"label": "run", "segment": 3}]}', "a value is of another kind"),
        ('{"subset": "validation", "annotations": [{"label": "run", "segment": [1]}]}', "not enough values"),
    ],
)
def test_a_film_that_is_annotated_otherwise_is_named(film: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(f'{{"database": {{"x1": {film}}}}}')
    with pytest.raises(DataListError) as error:
        read_annotations(path, "validation")
    assert str(error.value).startswith(f"{path}: x1: {said}") and str(error.value).endswith(f"; expected {ANNOTATED}")


@pytest.mark.parametrize(
    ("records", "said"),
    [("3", "a value is of another kind"), ('[{"label": "run", "segment": [0, 1]}]', "there is no 'score'")],
)
def test_a_film_that_is_detected_otherwise_is_named(records: str, said: str, tmp_path: Path) -> None:
    truth, found = publish(tmp_path)
    found.write_text(f'{{"results": {{"x1": {records}}}}}')
    with pytest.raises(DataListError) as error:
        read_detections(found, read_annotations(truth, "validation"))
    assert str(error.value).startswith(f"{found}: x1: {said}") and str(error.value).endswith(f"; expected {DETECTED}")


def test_films_without_annotation_are_said(tmp_path: Path, log_lines: list[str]) -> None:
    truth, found = publish(tmp_path)
    found.write_text(found.read_text().replace("v_x1", "other"))
    read_detections(found, read_annotations(truth, "validation"))
    assert len(log_lines) == 1 and "1 film is not annotated, such as other" in log_lines[0]
