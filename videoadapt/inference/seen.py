"""What a model makes of the videos of a list, in one pass each: the logits of every view and the mean feature.

Shapes: N videos, V views of each, K classes, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt.data.structures import Unreadable, Video
from videoadapt.errors import DecodeError, counted
from videoadapt.inference.predictor import Predictor
from videoadapt.log import progress
from videoadapt.runs.build_data import build_test_loader


class Seen(NamedTuple):
    """Of the videos that could be read, in order; `unreadable` are the others."""

    videos: list[Video]
    logits_NVK: NDArray[np.float32]
    features_ND: NDArray[np.float32]
    unreadable: list[Unreadable]


def see(predictor: Predictor, videos: Sequence[Video], name: str) -> Seen:
    """Look at all videos by the run's test views. Raises DecodeError where none of them can be read."""
    test = predictor.config.test
    seen: list[Video] = []
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    unreadable: list[Unreadable] = []
    with progress(name, len(videos), "videos") as line:
        for item in build_test_loader(videos, predictor.config.data, test.clips, test.crops, predictor.device):
            if isinstance(item, Unreadable):
                unreadable.append(item)
            else:
                predictor.other_rates.note(item.fps_hz)
                logits_VK, feature_D = predictor.logits_and_feature(item.views_NJCTHW)
                seen.append(item.video)
                logits.append(logits_VK.numpy())
                features.append(feature_D.numpy())
            line.advance()
    if not seen:
        first = f", first: {unreadable[0].reason}" if unreadable else ""
        raise DecodeError(f"{name}: none of its {counted(len(videos), 'video')} can be read{first}")
    return Seen(seen, np.stack(logits), np.stack(features), unreadable)
