"""The films on a report: decoded from their files, playable, and small; those that cannot be read say why."""

import base64
import io
import re
import time
from pathlib import Path

import av
import numpy as np
import pytest

from tests.made_tests import leave_test
from tests.media import write_video
from tests.pages import Page
from videoadapt.config.loading import check_config
from videoadapt.config.schema import DataConfig
from videoadapt.evaluation.report.films import Thumbnail, thumbnails
from videoadapt.evaluation.report.mistakes import confident_mistakes
from videoadapt.evaluation.report.page import write_report
from videoadapt.evaluation.tested import Tested as Results


def data(root: Path, **changes: object) -> DataConfig:
    return check_config({"output": "x", "data": {"root": str(root), "workers": 0, **changes}}).data


def played(film: Thumbnail) -> np.ndarray:
    """All frames of a data URI, uint8 (T, H, W, 3)."""
    kind, _, content = film.uri.partition(";base64,")
    assert kind == "data:video/mp4" and not film.why_not
    with av.open(io.BytesIO(base64.b64decode(content))) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_middle_of_a_film_is_shown(tmp_path: Path) -> None:
    """Seconds 3.5 to 6.5 of ten: each frame is as grey as the second that it is from."""
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(250):
            picture = np.full((180, 320, 3), 20 + number // 25 * 20, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (film,) = thumbnails(data(tmp_path), ["film.mp4"])
    frames_THWC = played(film)
    assert frames_THWC.shape == (24, 90, 160, 3)
    seconds = (frames_THWC.mean(axis=(1, 2, 3)) - 20) / 20
    np.testing.assert_allclose(seconds, (3.5 + np.arange(24) / 8) // 1, atol=0.2)
    (part,) = thumbnails(data(tmp_path), ["film.mp4#t=8,9"])
    np.testing.assert_allclose((played(part).mean(axis=(1, 2, 3)) - 20) / 20, np.full(8, 8), atol=0.2)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_says_so(workers: int, tmp_path: Path) -> None:
    write_video(tmp_path / "good.mp4")
    (tmp_path / "garbage.mp4").write_text("no film at all")
    good, garbage, moved = thumbnails(data(tmp_path, workers=workers), ["good.mp4", "garbage.mp4", "moved.mp4"])
    assert len(played(good)) > 5
    assert not garbage.uri and "garbage.mp4" in garbage.why_not and "no video" in garbage.why_not
    assert not moved.uri and "moved.mp4: No such file" in moved.why_not


def test_the_surest_mistakes_come_first(tmp_path: Path) -> None:
    logits_NVK = np.log(np.array([
        [[0.6, 0.3, 0.1]],  # is 1
        [[0.1, 0.8, 0.1]],  # is 1
        [[0.9, 0.05, 0.05]],  # is 2
        [[0.5, 0.3, 0.2]],  # unreadable
    ]))  # fmt: skip
    folder = leave_test(tmp_path, "abc", [1, 1, 2, 2], logits_NVK, unreadable={3: "gone"})
    found = confident_mistakes(Results(folder), data(tmp_path))
    assert [(of.video, of.called, of.truth) for of in found] == [("film_2.mp4", "a", "c"), ("film_0.mp4", "a", "b")]
    assert [(of.probability, of.truth_probability) for of in found] == [
        (pytest.approx(0.9), pytest.approx(0.05)),
        (pytest.approx(0.6), pytest.approx(0.3)),
    ]


def test_mistakes_of_several_labels_are_classes_not_there(tmp_path: Path) -> None:
    logits_NVK = np.array([[[3.0, 2.0, -1.0]], [[4.0, 1.0, -2.0]], [[-3.0, -3.0, -2.0]]])
    folder = leave_test(tmp_path, "abc", [(0,), (), (2,)], logits_NVK, data={"labels": "multi"})
    found = confident_mistakes(Results(folder), data(tmp_path))
    # the third video is called nothing: thresholds are 0.5
    assert [(of.called, of.truth, of.truth_probability) for of in found] == [("a", "", None), ("b", "a", None)]


@pytest.mark.slow
def test_a_report_of_hmdb51_size_stays_small(clips_dir: Path, tmp_path: Path) -> None:
    """51 classes, 1530 videos x 12 views, a third wrong; the surest mistakes are real clips, again and again."""
    rng = np.random.default_rng(0)
    real = sorted(path.name for path in clips_dir.iterdir() if path.suffix in (".avi", ".mp4"))
    assert len(real) > 5
    labels = np.repeat(np.arange(51), 30)
    logits_NVK = rng.normal(size=(1530, 12, 51)) * 2
    logits_NVK[np.arange(1530), :, labels] += rng.normal(2.2, 1.5, size=(1530, 1))
    names = [f"action number {number} of fifty-one" for number in range(51)]
    ids = [f"{real[number % len(real)]}#t={number / 1e6:.6f}" for number in range(1530)]
    folder = leave_test(tmp_path / "run", names, labels.tolist(), logits_NVK, ids, data={"root": str(clips_dir)})
    metrics = "".join(
        f'{{"kind": "train", "step": {n}, "epoch": {(n - 1) / 27}, "loss": {rng.uniform()}, "top1": 50.0, "lr": 0.1}}\n'
        for n in range(1, 1351)
    )
    (folder / "metrics.jsonl").write_text(metrics)
    start = time.perf_counter()
    path = write_report(folder)
    size, page = path.stat().st_size, Page(path)
    print(f"{size / 1e6:.2f} MB in {time.perf_counter() - start:.1f} s")
    assert size < 3_000_000 and page.asks_nothing()
    films = [attrs for tag, attrs in page.tags if tag == "video"]
    assert len(films) == 24 and all(re.match("data:video/mp4;base64,", of["src"] or "") for of in films)
