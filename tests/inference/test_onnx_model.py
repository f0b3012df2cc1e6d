"""ONNX files that cannot answer are refused in one line that says why."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from videoadapt.cli import demo
from videoadapt.config.schema import Config
from videoadapt.runs.statement import Statement


def write_onnx(path: Path, frames: int = 8, **metadata: str) -> Path:
    """A graph without weights: the mean of a clip, twice, from a clip of so many frames."""
    places = [
        helper.make_tensor_value_info("clips", TensorProto.UINT8, ["B", 3, frames, 224, 224]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2]),
    ]
    nodes = [
        helper.make_node("Cast", ["clips"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("Slice", ["means", "zero", "two", "one"], ["logits"]),
    ]
    numbers = [helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in (("zero", 0), ("two", 2), ("one", 1))]
    graph = helper.make_graph(nodes, "g", places[:1], places[1:], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def statement(**changes: object) -> str:
    said = Statement.of(Config(output=Path()), ["a", "b"]).as_dict()
    return json.dumps({**said, **changes})


@pytest.mark.parametrize(
    ("frames", "metadata", "expected"),
    [
        (8, {}, "says nothing of frames, sizes and classes (no metadata `statement`); what answers are files that vi"),
        (8, {"statement": "[1"}, "its statement cannot be read: "),
        (8, {"statement": statement(class_names=["a"])}, "class_names are not two texts or more"),
        (8, {"statement": statement(normalisation={})}, "was trained with another normalisation ({})"),
        (4, {"statement": statement()}, "its graph maps clips tensor(uint8) (B, 3, 4, 224, 224) to "),
    ],
)
def test_a_file_that_says_something_else(
    frames: int, metadata: dict[str, str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_onnx(tmp_path / "m.onnx", frames, **metadata)
    assert demo.main(["x.mp4", "--onnx", str(path)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {path}: ") and expected in shown and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such ONNX file; videoadapt export writes one"),
        (b"", "cannot be read as an ONNX file: "),
        (b"nothing", "cannot be read as an ONNX file: "),
    ],
)
def test_a_file_that_is_none(
    content: bytes | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    assert demo.main(["x.mp4", "--onnx", str(path)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {path}: {expected}") and shown.count("\n") == 1


def test_options_that_do_not_go_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    for option, expected in (
        (["--run", "r"], "give one of them"),
        (["--compile"], "no --device cuda and no --compile"),
    ):
        with pytest.raises(SystemExit):
            demo.main(["x.mp4", "--onnx", "m.onnx", *option])
        assert expected in capsys.readouterr().err
