"""What adapters changed: CKA's invariances, ratios by hand, and a whole look at the adapter that comes with the package."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from tests.media import write_video
from tests.toy_models import ADAPTERS, CLIP, build, shake
from tests.toy_runs import toy_config, write_config
from videoadapt import load
from videoadapt.cli import inspect, train
from videoadapt.data.structures import Video
from videoadapt.errors import DecodeError
from videoadapt.inference.adapter_effects import BlockEffect, LinearCKA, Moved, _ratios_noted, measure
from videoadapt.inference.adapter_picture import _figure as _effects_figure
from videoadapt.inference.adapter_picture import write_effects
from videoadapt.inference.explaining.sheet import _figure as _sheet_figure


def cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """In two parts."""
    found = LinearCKA()
    found.add(x[:20], y[:20])
    found.add(x[20:], y[20:])
    return found.value()


def test_cka_of_the_same_turned_scaled_and_of_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 6) * torch.arange(1, 7) + 3
    turn, _ = torch.linalg.qr(torch.randn(6, 6))
    assert cka(x, x) == pytest.approx(1) and cka(x, 5 * x @ turn - 2) == pytest.approx(1)
    assert cka(x, torch.randn(500, 6)) < 0.05 and cka(x, x * torch.tensor([1, 1, 1, 1, 1, 0.0])) < 0.9
    centred = x - x.mean(0)
    y = (x @ torch.randn(6, 3)).relu()
    gram_x, gram_y = centred @ centred.T, (y - y.mean(0)) @ (y - y.mean(0)).T  # the same by HSIC of Gram matrices
    assert cka(x, y) == pytest.approx(float((gram_x * gram_y).sum() / (gram_x.norm() * gram_y.norm())), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "places"), [("adaptformer", {"mlp"}), ("ssf", None), ("lora", None), ("linear", set())]
)
def test_the_ratio_of_a_branch(name: str, places: set[str] | None) -> None:
    model = build(ADAPTERS[name])
    shake(model)
    noted: dict[tuple[int, str], float] = {}
    with _ratios_noted(model.eval(), noted), torch.no_grad():
        model(CLIP)
    assert all(value > 0 for value in noted.values()) and bool(noted) == (name != "linear")
    if places is not None:
        assert noted.keys() == {(number, place) for number in range(3) for place in places}
    if name == "adaptformer":
        with torch.no_grad():
            x = model.backbone.embed(CLIP)
            x = x + model.backbone.blocks[0].attn(x)
            mlp = model.backbone.blocks[0].mlp
            by_hand = (mlp.adapter(x).norm(dim=-1) / mlp.branch(x).norm(dim=-1)).median()
        assert noted[0, "mlp"] == pytest.approx(float(by_hand), rel=1e-5)


def test_the_adapter_in_the_package(tmp_path: Path, log_lines: list[str]) -> None:
    """It stands in the last three of five blocks: before these nothing has changed. Its backbone is built twice, said once."""
    film = write_video(tmp_path / "film.mp4", num_frames=20)
    predictor = load("package:quickstart_adapter.safetensors", device="cpu")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    blocks, shown, unreadable = measure(predictor, [Video("broken.mp4", broken, 0), Video("film.mp4", film, 0)])
    assert [item.video.id for item in unreadable] == ["broken.mp4"]
    assert sum("67 tensors loaded" in line for line in log_lines) == 1
    with pytest.raises(DecodeError, match=r"none of 1 video can be read, first: .*broken.mp4"):
        measure(predictor, [Video("broken.mp4", broken, 0)])
    said = [block.as_dict() for block in blocks]
    assert [one["trained_parameters"] > 0 for one in said] == [bool(one["branch_ratio"]) for one in said]
    assert [bool(one["branch_ratio"]) for one in said] == [False, False, True, True, True]
    assert [one["cka"] for one in said[:2]] == [1, 1] and 0 < said[4]["cka"] < 1 and said[4]["moved"] > said[1]["moved"]
    five = [Video(f"{number}.mp4", film, 0) for number in range(5)]
    assert [one.video for one in measure(predictor, five, num_shown=2).shown] == [
        "0.mp4",
        "2.mp4",
    ]  # over the whole list
    assert shown[0].moved_thw.shape == (1, 8, 8) and np.isfinite(shown[0].moved_thw).all()
    write_effects(tmp_path / "x.png", "title", blocks, shown)
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_long_names_overlap_nothing_in_the_pictures() -> None:
    rng = np.random.default_rng(0)
    film, folder = (
        "GOPR0123_participant_017_take_{}.mp4",
        "outputs/sweeps/kitchen/cells/" + 3 * "optim.lr_per_256=0.004," + "x/seed=0",
    )
    clip_THWC = rng.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    shown = [Moved(film.format(n), clip_THWC, rng.random((1, 8, 8))) for n in range(4)]
    block = BlockEffect(trained=100, ratios={"mlp": [1.0, 2.0]}, moved=[0.1, 0.2])
    block.cka.add(torch.randn(20, 4), torch.randn(20, 4))
    title = f"{folder}: what its adapters changed, 64 test videos"
    effects = _effects_figure(title, [block] * 3, shown, [one.video for one in shown])
    sheet = _sheet_figure(
        f"standing up from a chair, slowly: 97.4 %   {film} (grad_cam)",
        clip_THWC[None, :1],
        rng.random((1, 1, 64, 64)),
        [["0 s"]],
    )
    for figure in (effects, sheet):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        texts = [text for text in figure.findobj(Text) if text.get_visible() and re.search("[a-z]", text.get_text())]
        boxes = [text.get_window_extent(renderer) for text in texts]
        assert not [text.get_text() for text, box in zip(texts, boxes, strict=True) if box.x1 > figure.bbox.x1]
        overlaps = [(a, b) for a, b in combinations(range(len(boxes)), 2) if boxes[a].overlaps(boxes[b])]
        assert not [(texts[a].get_text(), texts[b].get_text()) for a, b in overlaps]


@pytest.mark.slow
def test_of_several_test_lists_the_run_s_own_is_looked_at(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(tmp_path / "run", clips, train={"epochs": 1}, test={"enable": False})
    config["data"]["test"] = {"own": {"list": "test"}, "other": {"list": "train"}}
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    assert inspect.main([str(tmp_path / "run"), "--videos", "20", "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "run/inspect.json").read_text())["videos"] == 16  # the other list holds 48
    rows = (clips / "test.csv").read_text().splitlines()[:2]
    (tmp_path / "list.csv").write_text("\n".join(["missing.mp4 0", *rows]))
    asked = "--list", str(tmp_path / "list.csv"), "--root", str(clips)
    assert inspect.main([str(tmp_path / "run"), *asked, "--device", "cpu"]) == 3  # one is left out
    assert json.loads((tmp_path / "run/inspect.json").read_text())["videos"] == 2
    adapter = [str(tmp_path / "run/adapter.safetensors"), "--out", str(tmp_path / "out"), *asked, "--weights"]
    assert inspect.main([*adapter, str(tmp_path / "none.pth")]) == 2
    assert f"weights = '{tmp_path}/none.pth': no such file or folder" in capsys.readouterr().err
