"""The evaluator: right accuracies, and an error with a name in it for every view that is missing, doubled or broken."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from videoadapt.data.structures import Unreadable, Video, VideoViews
from videoadapt.errors import NotFinite
from videoadapt.evaluation.predictions import Predictions, average_views
from videoadapt.evaluation.views import ViewAccumulator, ViewId, evaluate

CLIPS, CROPS, CLASSES = 2, 3, 7
VIDEOS = [Video(f"a b/[{i}] ü.mp4", Path(f"{i}.mp4"), i % CLASSES) for i in range(14)]


def one_hot(label: int, height: float = 1.0) -> np.ndarray:
    return height * np.eye(CLASSES, dtype=np.float32)[label]


def filled(answer, skip: ViewId | None = None) -> ViewAccumulator:
    accumulator = ViewAccumulator(VIDEOS, CLIPS, CROPS, CLASSES)
    for index, video in enumerate(VIDEOS):
        for clip in range(CLIPS):
            for crop in range(CROPS):
                if ViewId(index, clip, crop) != skip:
                    accumulator.add(ViewId(index, clip, crop), answer(video, clip, crop))
    return accumulator


def test_always_right_and_always_wrong() -> None:
    right = filled(lambda video, *_: one_hot(video.label)).predictions("logits").results()
    assert (right["top1"], right["top5"], right["mean_class"]) == (100.0, 100.0, 100.0)
    wrong = filled(lambda video, *_: one_hot((video.label + 1) % CLASSES)).predictions("logits").results()
    assert wrong["top1"] == 0.0 and wrong["mean_class"] == 0.0


def test_a_constant_answer_is_never_right_by_luck() -> None:
    results = filled(lambda *_: np.zeros(CLASSES, dtype=np.float32)).predictions("logits").results()
    assert (results["top1"], results["top5"]) == (0.0, 0.0)


@pytest.mark.parametrize("view", [ViewId(0, 0, 0), ViewId(5, 1, 0), ViewId(13, 1, 2)])
def test_a_dropped_view_raises_and_is_named(view: ViewId) -> None:
    accumulator = filled(lambda video, *_: one_hot(video.label), skip=view)
    with pytest.raises(ValueError, match="never arrived") as caught:
        accumulator.predictions("logits")
    assert VIDEOS[view.video].id in str(caught.value)
    assert f"clip {view.clip}, crop {view.crop}" in str(caught.value)


def test_doubled_foreign_and_broken_views_raise_with_the_name() -> None:
    accumulator = ViewAccumulator(VIDEOS, CLIPS, CROPS, CLASSES)
    accumulator.add(ViewId(3, 0, 1), one_hot(0))
    with pytest.raises(ValueError, match="arrived twice") as caught:
        accumulator.add(ViewId(3, 0, 1), one_hot(0))
    assert VIDEOS[3].id in str(caught.value)
    with pytest.raises(ValueError, match="not one of the 6"):
        accumulator.add(ViewId(3, 2, 0), one_hot(0))
    with pytest.raises(ValueError, match="not one of the 6"):
        accumulator.add(ViewId(3, 0, 3), one_hot(0))
    with pytest.raises(NotFinite, match=re.escape(f"{VIDEOS[3].id}, clip 0, crop 2: not all logits are finite")):
        accumulator.add(ViewId(3, 0, 2), np.array([np.inf] + [0.0] * (CLASSES - 1), dtype=np.float32))
    with pytest.raises(ValueError, match=f"expected {CLASSES} logits, got an array of shape .8,.$"):
        accumulator.add(ViewId(3, 0, 2), np.zeros(CLASSES + 1, dtype=np.float32))
    with pytest.raises(ValueError, match="second time"):
        accumulator.add_unreadable(3, "reason")


def test_unreadable_is_wrong_and_both_accuracies_are_given() -> None:
    accumulator = ViewAccumulator(VIDEOS[:4], 1, 1, CLASSES)
    for index in range(3):
        accumulator.add(ViewId(index, 0, 0), one_hot(VIDEOS[index].label if index else 3))
    accumulator.add_unreadable(3, "moov atom not found")
    predictions = accumulator.predictions("logits")
    results = predictions.results()
    assert results["top1"] == 50.0
    assert results["readable_only"]["top1"] == pytest.approx(200 / 3, abs=1e-4)
    assert results["unreadable"] == [{"video": VIDEOS[3].id, "line": 0, "reason": "moov atom not found"}]
    assert list(predictions.predicted_N()) == [3, 1, 2, -1]


def test_top5_counts_the_five_best() -> None:
    accumulator = ViewAccumulator(VIDEOS[:CLASSES], 1, 1, CLASSES)
    for index in range(CLASSES):
        accumulator.add(ViewId(index, 0, 0), -np.arange(CLASSES, dtype=np.float32))  # class 0 best, class 6 worst
    results = accumulator.predictions("logits").results()
    assert results["top1"] == pytest.approx(100 / 7, abs=1e-3)
    assert results["top5"] == pytest.approx(500 / 7, abs=1e-3)


def test_logits_and_probabilities_average_differently() -> None:
    logits_VK = torch.tensor([[4.0, 0.0, -9.0], [-2.0, 1.0, 0.0], [-2.0, 1.0, 0.0]])
    by_logits, by_probs = average_views(logits_VK, "logits"), average_views(logits_VK, "probs")
    torch.testing.assert_close(by_logits, logits_VK.mean(0))
    torch.testing.assert_close(by_probs, logits_VK.softmax(1).mean(0))
    assert by_logits.argmax() == 1 and by_probs.argmax() == 1
    torch.testing.assert_close(average_views(logits_VK, "logits", as_probs=True), logits_VK.mean(0).softmax(0))


def test_the_loss_is_the_mean_over_the_readable_views() -> None:
    random = np.random.default_rng(0)
    logits_NVK = random.normal(size=(14, 6, CLASSES)).astype(np.float32)
    accumulator = ViewAccumulator(VIDEOS, CLIPS, CROPS, CLASSES)
    for index in range(14):
        if index == 3:
            accumulator.add_unreadable(3, "damaged")
            continue
        for column, (clip, crop) in enumerate((clip, crop) for clip in range(CLIPS) for crop in range(CROPS)):
            accumulator.add(ViewId(index, clip, crop), logits_NVK[index, column])
    probs_NVK = np.exp(logits_NVK.astype(float)) / np.exp(logits_NVK.astype(float)).sum(-1, keepdims=True)
    own = [-np.log(probs_NVK[i, :, video.label]) for i, video in enumerate(VIDEOS) if i != 3]
    for average in ("logits", "probs"):
        assert accumulator.predictions(average).loss() == pytest.approx(np.mean(own), rel=1e-12)


def test_no_readable_video_has_no_loss() -> None:
    accumulator = ViewAccumulator(VIDEOS[:2], 1, 1, CLASSES)
    accumulator.add_unreadable(0, "damaged")
    accumulator.add_unreadable(1, "damaged")
    assert accumulator.predictions("logits").loss() is None


def test_mean_class_weighs_classes_equally() -> None:
    videos = [Video(str(i), Path(str(i)), label) for i, label in enumerate([0, 0, 0, 1])]
    logits_NVK = np.stack([one_hot(0)] * 4)[:, None, :]
    results = Predictions(videos, logits_NVK, {}).results()
    assert (results["top1"], results["mean_class"]) == (75.0, 50.0)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_evaluate_delivers_every_view_whatever_the_batch(batch_size: int) -> None:
    def forward(clips_BCTHW: torch.Tensor) -> torch.Tensor:
        assert len(clips_BCTHW) <= batch_size
        return torch.nn.functional.one_hot(clips_BCTHW[:, 0, 0, 0, 0].long(), CLASSES).float()

    read: list[VideoViews | Unreadable] = []
    for index, video in enumerate(VIDEOS):
        views = torch.full((CLIPS, CROPS, 3, 2, 4, 4), video.label, dtype=torch.uint8)
        read.append(VideoViews(index, video, views) if index != 4 else Unreadable(4, video, "broken"))
    accumulator = ViewAccumulator(VIDEOS, CLIPS, CROPS, CLASSES)
    evaluate(forward, read, accumulator, batch_size)
    results = accumulator.predictions("probs").results()
    assert results["num_unreadable"] == 1 and results["readable_only"]["top1"] == 100.0


def test_every_view_keeps_its_place() -> None:
    """Views of several videos share a pass; their logits come out as clip 0 with its crops, then clip 1."""

    def forward(clips_BCTHW: torch.Tensor) -> torch.Tensor:
        return clips_BCTHW[:, :1, 0, 0, 0].float().expand(-1, CLASSES)

    views_NJCTHW = torch.arange(CLIPS * CROPS, dtype=torch.uint8).reshape(CLIPS, CROPS, 1, 1, 1, 1)
    accumulator = ViewAccumulator(VIDEOS[:3], CLIPS, CROPS, CLASSES)
    evaluate(forward, [VideoViews(i, VIDEOS[i], views_NJCTHW + 10 * i) for i in (2, 0, 1)], accumulator, batch_size=4)
    logits_NVK = accumulator.predictions("logits").logits_NVK
    assert np.array_equal(logits_NVK[..., 0], [[10 * i + v for v in range(CLIPS * CROPS)] for i in range(3)])
