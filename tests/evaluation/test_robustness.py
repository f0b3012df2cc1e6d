"""The test on corrupted videos: what stands in robustness.json follows from the views, whoever reads them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.media import write_video
from tests.pages import Page
from tests.toy_runs import results, run, toy_config, write_config
from videoadapt.cli import robustness
from videoadapt.data.structures import Video
from videoadapt.errors import ConfigError, VideoAdaptError
from videoadapt.evaluation.report.page import write_report
from videoadapt.evaluation.report.robustness import robustness_of
from videoadapt.evaluation.robustness import _scores, read_robustness
from videoadapt.evaluation.verdicts import Verdicts
from videoadapt.evaluation.views import ViewId
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.corruptions import chosen_kinds, corrupt, views
from videoadapt.video.corruptions.views import CLEAN, CorruptedViews, Setting, settings_of
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.readers import ViewReader
from videoadapt.video.samplers.dense import Dense

KINDS = ["gaussian_noise", "h264", "dropped_frames", "mirrored"]


def view_reader(crops: int = 3, fit: Letterbox | None = None) -> ViewReader:
    source = FrameSource({"name": "pyav"})
    return ViewReader(source, Dense(stride_frames=2), num_frames=4, crop_px=32, num_clips=2, num_crops=crops, fit=fit)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", num_frames=14, height=48, width=80)


@pytest.mark.parametrize("fit", [None, Letterbox(16)])
def test_views_are_those_of_the_test_corrupted(film: Path, fit: Letterbox | None) -> None:
    reader = view_reader(3 if fit is None else 1, fit)
    plain_NJCTHW = reader(film)
    found, notes = CorruptedViews(reader, settings_of(KINDS, (2,)), 5)(film, None, "its name", slice(None))
    assert torch.equal(found[0], plain_NJCTHW) and notes.num_frames == 14  # as it is: bit for bit
    noise, frames_NT = found[1], reader.chosen(reader.open(film))
    whole = reader.open(film).get(range(14))
    fitted = reader.fitted(torch.from_numpy(whole)).permute(0, 2, 3, 1).contiguous().numpy()
    first, last = frames_NT.min(), frames_NT.max()
    stretch = corrupt(fitted[first : last + 1], "h264", 2, 5, "its name")  # of all frames between, encoded together
    expected = reader.cut(torch.from_numpy(stretch).permute(0, 3, 1, 2))
    assert torch.equal(found[2], expected[:, frames_NT - first].permute(1, 0, 3, 2, 4, 5))
    assert (noise.int() - plain_NJCTHW.int()).abs().float().mean() > 5
    assert len(found) == 4  # there is no mirrored 2


def test_one_decode_for_all_settings(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(KINDS, (1, 5))
    all_at_once, _ = CorruptedViews(view_reader(), settings, 0)(film, None, "x", slice(None))
    reader, opened = view_reader(), []
    open_ = ViewReader.open
    monkeypatch.setattr(ViewReader, "open", lambda self, video: opened.append(video) or open_(self, video))
    by_one = CorruptedViews(reader, settings, 0)
    one_by_one = [by_one(film, None, "x", slice(place, place + 1))[0] for place in range(len(settings))]
    assert torch.equal(torch.cat(one_by_one), all_at_once) and len(opened) == 1


def test_clips_too_far_apart_are_refused(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_BYTES", 10_000)
    with pytest.raises(ConfigError, match=r"film.mp4: its clips reach over 13 frames, .* set test.clips 1"):
        CorruptedViews(view_reader(), [CLEAN, Setting("h264", 1)], 0)(film, None, "x", slice(None))


def test_scores_by_hand() -> None:
    """Four videos of two classes: as they are all are right; fog 1, 2 and mirrored take one, two and three of them."""
    settings = [CLEAN, Setting("fog", 1), Setting("fog", 2), Setting("occlusion", 1), Setting("mirrored", 1)]
    videos = [Video(f"{number}.mp4", Path(f"{number}.mp4"), number % 2, number + 1) for number in range(4)]
    verdicts = Verdicts(videos, len(settings), 1, 1, 2)
    wrong = [0, 1, 2, 0, 3]
    for place, video in np.ndindex(5, 4):
        if (place, video) == (4, 3):
            verdicts.add_unreadable(19, "damaged")
            continue
        answer = (video + (video < wrong[place])) % 2
        verdicts.add(ViewId(4 * place + video, 0, 0), np.eye(2, dtype=np.float32)[answer])
    verdicts.gather()
    found = _scores(verdicts, settings)
    assert found["clean"]["score"] == 100 and found["clean"]["interval"] == (pytest.approx(100 * 0.025**0.25), 100)
    fog = found["corruptions"]["fog"]
    assert [fog["strengths"][strength]["score"] for strength in "12"] == [75, 50] and fog["mean"] == 62.5
    assert fog["relative_drop"] == 37.5 and fog["strengths"]["1"]["level"] == (1.5, 2.0)
    # fog and occlusion count alike, however many strengths each has; mirrored does not
    assert found["mean"]["score"] == 81.25 and found["mean"]["relative_drop"] == 18.75
    low, high = found["mean"]["interval"]
    assert 25 <= low < 81.25 < high <= 100
    assert list(found["sensitivity"]) == ["mirrored"]
    mirrored = found["sensitivity"]["mirrored"]["strengths"]["1"]  # the one that was right cannot be read
    assert (mirrored["score"], mirrored["num_unreadable"]) == (0, 1)


def test_a_table_of_an_earlier_best_checkpoint_is_said() -> None:
    """best.pt has the same name after a longer training."""
    same = {"checkpoint": "checkpoints/best.pt", "test_list_sha256": "a", "test_files_sha256": "b", "statement": {}}
    found = {**same, "clean": {"score": 50.0}, "corruptions": {}, "sensitivity": {}, "checkpoint_step": 20}
    for results_there, fits in (({"checkpoint_step": 20}, True), ({"checkpoint_step": 40}, False), ({}, True)):
        shown = robustness_of(found, {**same, **results_there})
        assert shown is not None and shown.fits == fits


def test_names_are_checked_before_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        chosen_kinds(["h264", "fog"]) == ["fog", "h264"] and chosen_kinds(None) == [] and len(chosen_kinds("all")) == 20
    )
    assert robustness.main([str(tmp_path), "--corruptions", "fog,frog"]) == 2
    assert "--corruptions 'frog': no such corruption; did you mean 'fog'?" in capsys.readouterr().err
    assert robustness.main([str(tmp_path), "--corruptions", ""]) == 2
    assert "--corruptions names no corruption; allowed: all, " in capsys.readouterr().err
    assert robustness.main([str(tmp_path), "--corruptions", "fog,mirrored", "--strengths", "3,5"]) == 2
    assert "--strengths 3,5: mirrored allows 1, as it has no grades; add 1, or leave" in capsys.readouterr().err
    assert robustness.main([str(tmp_path), "--strengths", "3,5"]) == 2  # all that have these
    assert "holds no config.yaml" in capsys.readouterr().err
    assert robustness.main([str(tmp_path)]) == 2
    assert "holds no config.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        robustness.main([str(tmp_path), "--strengths", "1,6"])
    assert "numbers from 1 to 5" in capsys.readouterr().err
    (tmp_path / "robustness.json").write_text("{")
    with pytest.raises(VideoAdaptError, match="is damaged"):
        read_robustness(tmp_path)


@pytest.mark.slow
def test_a_run_under_corruptions(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After the test as the config asks; the command gives the same with other workers, and a missing film is wrong."""
    output, chosen = tmp_path / "out", ["gaussian_noise", "packet_loss", "mirrored"]
    broken = tmp_path / "clips"
    shutil.copytree(clips, broken)
    config = toy_config(output, broken, test={"clips": 2, "crops": 3, "corruptions": chosen}, data={"workers": 2})
    run(path := write_config(tmp_path / "c.yaml", config))
    content = json.loads((output / "robustness.json").read_text())
    tested = results(output)
    assert content["checkpoint_step"] == tested["checkpoint_step"] == 12
    assert content["clean"]["score"] == tested["top1"] and content["test_list_sha256"] == tested["test_list_sha256"]
    assert list(content["corruptions"]) == chosen[:2] and list(content["sensitivity"]) == chosen[2:]
    assert len(content["corruptions"]["packet_loss"]["strengths"]) == 5
    assert (output / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    page = Page(output / "report.html")
    mean = content["mean"]["score"]
    assert page.asks_nothing() and f"Mean over corruptions {mean:.2f} %" in page.text
    assert "What may change the right answer" in page.text and "of another test" not in page.text
    phases = [json.loads(line) for line in (output / "phases.jsonl").read_text().splitlines()]
    assert [of["phase"] for of in phases] == ["training", "test", "robustness"] and phases[2]["devices"]
    costs = page.text[page.text.rindex("Time and energy") :]  # the first is a link
    assert re.search(r"\brobustness\b", costs)
    assert _in_tensorboard(output) == {
        "robustness/clean": content["clean"]["score"],
        "robustness/mean": content["mean"]["score"],
        "robustness/relative_drop": content["mean"]["relative_drop"],
        **{f"robustness/{kind}": (content["corruptions"] | content["sensitivity"])[kind]["mean"] for kind in chosen},
    }
    names = ",".join(chosen)
    assert robustness.main([str(output), "--corruptions", names, "data.workers=0", "data.cache=ram"]) == 0
    again = json.loads((output / "robustness.json").read_text())
    assert _without_host(again) == _without_host(content)
    last = json.loads((output / "phases.jsonl").read_text().splitlines()[-1])
    assert (last["phase"], len((output / "phases.jsonl").read_text().splitlines())) == ("robustness", 4)
    assert re.search(r"^mean of these +\d+\.\d +-?\d+\.\d$", capsys.readouterr().out, re.M)
    film = next((broken / "test").rglob("*.mp4"))
    film.write_bytes(film.read_bytes()[:200])
    assert robustness.main([str(output), "--corruptions", "fog", "--strengths", "1,5"]) == 3
    assert "\n1 of 16 test videos cannot be read: counted as wrong\n" in capsys.readouterr().err
    lenient = ["--corruptions", "fog", "--strengths", "1,5", "test.max_unreadable=0.1"]
    assert robustness.main([str(output), *lenient]) == 0
    fog = json.loads((output / "robustness.json").read_text())["corruptions"]["fog"]["strengths"]
    assert list(fog) == ["1", "5"] and all(at["num_unreadable"] == 1 for at in fog.values())
    write_report(output)
    assert "of another test than the accuracy above" in Page(output / "report.html").text
    run(path, "test.corruptions=[frog]", code=2)


def _in_tensorboard(output: Path) -> dict[str, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(output / "tensorboard"))
    board.Reload()
    tags = [tag for tag in board.Tags()["scalars"] if tag.startswith("robustness/")]
    return {tag: pytest.approx(board.Scalars(tag)[0].value, rel=1e-6) for tag in tags}


def _without_host(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "other_than_trained"}


def test_the_table_has_the_strengths_that_were_asked_for() -> None:
    of = {"strengths": {"1": {"score": 60.0}, "3": {"score": 40.0}}, "mean": 50.0, "relative_drop": 25.0}
    still = {"strengths": {"1": {"score": 10.0}}, "mean": 10.0, "relative_drop": 85.0}
    kinds = {"corruptions": {"fog": of}, "sensitivity": {"mirrored": still}}
    lines = robustness._lines(
        {"measure": "top1", "clean": {"score": 66.7}, "mean": {"score": 50.0, "relative_drop": 25.0}, **kinds}
    )
    assert re.split(r"\s{2,}", lines[0]) == ["top1, %", "strength 1", "strength 3", "mean", "relative drop"]
    assert [line.split()[-4:] for line in lines[2:3]] == [["60.0", "40.0", "50.0", "25.0"]]
    assert lines[-1].split() == ["mirrored", "10.0", "10.0", "85.0"]
