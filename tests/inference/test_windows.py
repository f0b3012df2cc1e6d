"""A long film through windows: the same answers as its parts alone, and memory that does not grow with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media import write_video
from tests.toy_runs import REPOSITORY, environment, toy_config, write_config
from videoadapt.config.loading import load_config
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.inference.long_films import OtherLengths
from videoadapt.inference.predictor import Predictor
from videoadapt.training.execution import execute
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders.decord import Decord

SPAN_SEC = 4 * 2 / 12  # of a clip of the toy run, 4 frames at stride 2, in a film of 12 frames a second


@pytest.fixture(scope="module")
def predictor(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("windows")
    config = toy_config(
        folder / "run", clips, train={"epochs": 1}, test={"enable": False, "clips": 1, "crops": 3, "batch_size": 7}
    )
    execute(load_config(write_config(folder / "c.yaml", config)))
    return Predictor.from_run(folder / "run", "cpu")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", num_frames=50, fps_hz=12, height=48, width=64)


def test_answers_are_those_of_the_parts(predictor: Predictor, film: Path) -> None:
    found = predictor.timeline(film)
    assert (found.window_sec, found.every_sec) == (pytest.approx(SPAN_SEC), pytest.approx(SPAN_SEC / 2))
    assert found.end_sec == pytest.approx(50 / 12) and found.num_frames == 50
    assert found.values.shape == (len(found.windows), 8) and len(found.windows) == 12
    for part, probs_K in zip(found.windows, found.values, strict=True):
        alone = {p.label: p.probability for p in predictor.predict(f"{film}{part}", top=8)}
        # of another batch, which sums in another order
        np.testing.assert_allclose(probs_K, [alone[label] for label in range(8)], rtol=0, atol=1e-6)
    assert np.ptp(found.values, axis=0).max() > 1e-3


def test_a_film_is_not_read_by_decord(predictor: Predictor, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("read by decord")

    monkeypatch.setattr(Decord, "_read", refuse)  # whose memory grows with the film
    assert len(predictor.timeline(film).windows) == 12
    with pytest.raises(AssertionError, match="read by decord"):
        predictor.predict(film)


def test_a_part_of_a_film_and_frames_in_memory(predictor: Predictor, film: Path) -> None:
    found = predictor.timeline(f"{film}#t=1,3", every_sec=0.5, window_sec=1.0, crops=1)
    assert [*found.windows] == [(1.0, 2.0), (1.5, 2.5), (2.0, 3.0)] and (found.start_sec, found.end_sec) == (1.0, 3.0)
    same = predictor.timeline(film, every_sec=0.5, window_sec=1.0, crops=1, start_sec=1.0, end_sec=3.0)
    assert np.array_equal(found.values, same.values)
    with open_video(film) as video:
        frames = video[:]
    in_memory = predictor.timeline(frames, every_sec=0.5, window_sec=1.0, crops=1, fps_hz=12)
    whole = predictor.timeline(film, every_sec=0.5, window_sec=1.0, crops=1)
    assert np.array_equal(in_memory.values, whole.values)
    with pytest.raises(ConfigError, match="fps_hz"):
        predictor.timeline(frames)


def test_what_cannot_be_is_said(predictor: Predictor, film: Path, tmp_path: Path) -> None:
    for wrong in ({"every_sec": 0.0}, {"window_sec": -1.0}, {"crops": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            predictor.timeline(film, **wrong)
    with pytest.raises(DecodeError, match="start_sec = 9"):
        predictor.timeline(f"{film}#t=9,10")
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(DecodeError, match=r"x\.mp4"):
        predictor.timeline(tmp_path / "x.mp4")
    data = predictor.config.data.model_copy(update={"sampling": {"name": "segment", "short": "spread", "fps_hz": None}})
    config = predictor.config.model_copy(update={"data": data})
    whole = Predictor(config, predictor.class_names, predictor.model, predictor.device)
    with pytest.raises(ConfigError, match="window_sec: this model was trained on whole videos"):
        whole.timeline(film)
    assert len(whole.timeline(film, window_sec=2.0).windows) == 4


def test_one_answer_for_a_long_film_is_said(predictor: Predictor, tmp_path: Path, log_lines: list[str]) -> None:
    six, seven = (write_video(tmp_path / f"{n}.mp4", num_frames=12 * n, fps_hz=12) for n in (6, 7))
    predictor.predict(six)
    assert not log_lines  # nine times what its clip shows
    predictor.predict(seven)
    (line,) = log_lines
    assert "7.mp4: lasts 7 s, and its one answer is from 1 clip of 0.667 s; videoadapt segment" in line
    log_lines.clear()
    assert len([*predictor.asking.each([six, seven], 1)]) == 2  # as the command asks
    assert log_lines == [line]


def test_a_picture_for_a_model_of_motion_is_said(predictor: Predictor, tmp_path: Path, log_lines: list[str]) -> None:
    """It was answered like a film, with a word on its "25 frames a second", which is what FFmpeg says of any picture."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (96, 72), "red").save(picture)
    predictor.predict(picture)
    (line,) = (line for line in log_lines if line.startswith("WARNING"))
    assert line.endswith("a.png: is a single frame, and the model looks for motion in clips of 4 frames")
    log_lines.clear()
    predictor.predict(np.zeros((1, 72, 96, 3), np.uint8))
    assert log_lines[0].endswith(
        "the 1 frame given: is a single frame, and the model looks for motion in clips of 4 frames"
    )
    log_lines.clear()
    assert len([*predictor.asking.each([picture], 1)]) == 1
    assert log_lines == [line]
    log_lines.clear()
    assert len(predictor.timeline(picture, window_sec=1.0).windows) == 1
    assert not [line for line in log_lines if "frames a second" in line]
    of_pictures = predictor.config.data.model_copy(update={"decoder": {"name": "image"}})
    OtherLengths(predictor.config.model_copy(update={"data": of_pictures})).note(picture, None, 1)
    assert not [line for line in log_lines if "single" in line]


PEAK = """
import sys
from pathlib import Path
from videoadapt.inference.predictor import Predictor

run, film = sys.argv[1:]
found = Predictor.from_run(run, "cpu").timeline(film, crops=1)
status = Path("/proc/self/status").read_text()
print(len(found.windows), int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure the highest use")
def test_six_times_the_film_needs_no_more_memory(predictor: Predictor, tmp_path: Path) -> None:
    found = []
    for seconds in (10, 60):
        path = write_video(tmp_path / f"{seconds}.mp4", num_frames=12 * seconds, fps_hz=12, height=240, width=320)
        arguments = [sys.executable, "-c", PEAK, str(predictor_folder(predictor)), str(path)]
        done = subprocess.run(arguments, cwd=REPOSITORY, env=environment(), text=True, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        windows, peak_mb = done.stdout.split()
        found.append((int(windows), float(peak_mb)))
    (few, short_mb), (many, long_mb) = found
    assert many > 5 * few
    assert long_mb < 1.1 * short_mb  # measured 1.02; the frames of the longer film would take 138 MB more


def predictor_folder(predictor: Predictor) -> Path:
    return Path(predictor.config.output)
