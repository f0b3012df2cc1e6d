"""What is said of unequal classes, and of settings for them that cannot be."""

import logging
from pathlib import Path
from typing import Any

import pytest

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.data.videos import VideoRows
from videoadapt.runs.class_sizes import class_problems, clips_per_class, say_unequal

NAMES = ["jump", "run", "walk"]


def videos(*numbers: int) -> VideoRows:
    """So many of each class."""
    labels = [label for label, number in enumerate(numbers) for _ in range(number)]
    return VideoRows(Path(), [(f"{n}.mp4", label, n + 1) for n, label in enumerate(labels)])


def config(data: dict[str, Any] | None = None, **train: Any) -> Config:
    return Config.model_validate({"output": "out", "data": data or {}, "train": train})


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logger, "propagate", True)
    return caplog


def test_unequal_classes_are_said_with_the_keys(said: pytest.LogCaptureFixture) -> None:
    say_unequal(config(), videos(20, 4, 0), NAMES)
    say_unequal(config({"balance": 0.5}), videos(200, 4, 7), NAMES)
    say_unequal(config(logit_adjustment=1.0), videos(200, 4, 7), NAMES)
    say_unequal(config(), videos(), NAMES)
    assert not said.messages
    say_unequal(config(), videos(21, 4, 0), NAMES)
    (line,) = said.messages
    assert (
        line.startswith("data.train: class 'jump' has 21 videos and 'run' only 4: ")
        and "train.class_weights inverse" in line
    )
    assert said.records[0].levelno == logging.WARNING


def test_a_list_of_another_length_is_refused() -> None:
    assert not class_problems(config(class_weights=[1, 2, 3]), videos(5, 0, 1), NAMES)
    (line,) = class_problems(config(class_weights=[1, 2]), videos(5, 1, 1), NAMES)
    assert line.startswith("train.class_weights: has 2 weights for 3 classes; ")


def test_a_class_without_videos_is_refused_where_it_divides() -> None:
    assert not class_problems(config({"balance": 1.0}), videos(5, 0, 1), NAMES)
    for train in ({"class_weights": "inverse"}, {"class_weights": {"effective": 0.9}}, {"logit_adjustment": 1.0}):
        (line,) = class_problems(config(**train), videos(5, 0, 1), NAMES)
        assert line.startswith(f"train.{next(iter(train))} = ") and "class 'run' has no training video, and" in line
        assert line.endswith(" to null" if "class_weights" in train else " to 0")
        assert not class_problems(config(**train), videos(5, 1, 1), NAMES)
    (line,) = class_problems(config(logit_adjustment=1.0), videos(5, 0, 0), NAMES)
    assert "'run' has no training video (nor have 1 others)" in line


def test_rendered_clips_are_of_all_classes_alike() -> None:
    rendered = config({"rendered": {"motions": "quickstart", "clips_per_epoch": 30}}, class_weights="inverse")
    assert clips_per_class(rendered, videos(), 3).tolist() == [10, 10, 10] and not class_problems(
        rendered, videos(), NAMES
    )
