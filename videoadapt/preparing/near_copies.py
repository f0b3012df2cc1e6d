"""Videos that look alike, such as clips cut from one film: by a perceptual hash of some frames of each.

Shapes: F frames of all videos, each with 64 bits.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videoadapt.errors import DecodeError
from videoadapt.log import progress
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.video.decoders import open_video

NUM_FRAMES = 16  # of each video, evenly spread
MOST_BITS = 12  # of imagehash's phash, 64, in which two pictures of one scene may differ; strangers differ in 32 +- 4
FEWEST_FRAMES = 3  # of one video that have such a picture in the other
NEARLY_EQUAL_BITS = 6  # one such pair of pictures is enough: where a film was cut in two, the last and the first are
_FLAT_LEVELS = 10.0  # a frame of less contrast (black, a title) looks like many others
_AT_ONCE = 4096


def find_near_copies(
    paths: Sequence[Path], decoder: Mapping[str, Any], jobs: int, limit_sec: float
) -> tuple[list[tuple[int, int, int]], dict[int, str]]:
    """Return (index, other index, frames that are alike) of pairs of videos, the most alike first, and what cannot be read."""
    bits: list[NDArray[np.bool_]] = []
    video: list[int] = []
    failed: dict[int, str] = {}
    with progress("look at frames", len(paths), "files") as line:
        for index, found in map_in_processes(partial(frame_bits, decoder=decoder), paths, jobs, limit_sec):
            if isinstance(found, Lost | DecodeError):
                failed[index] = found.reason if isinstance(found, Lost) else str(found)
            else:
                bits += list(found)
                video += [index] * len(found)
            line.advance()
    if not bits:
        return [], failed
    pairs = [(*pair, frames) for pair, frames in _alike(np.stack(bits), np.array(video)).items()]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2])), failed


def frame_bits(path: Path, decoder: Mapping[str, Any]) -> NDArray[np.bool_] | DecodeError:
    """The perceptual hashes of the frames of one video that are not flat: bool (up to NUM_FRAMES, 64)."""
    try:
        with open_video(path, decoder) as opened:
            wanted = np.unique(np.linspace(0, opened.num_frames - 1, NUM_FRAMES).round().astype(int)).tolist()
            frames_THWC = opened.get(wanted)
    except DecodeError as error:
        return error
    return hashes(frames_THWC)


def hashes(frames_THWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The perceptual hashes of the frames, uint8 (T, H, W, 3), that are not flat: bool (up to T, 64)."""
    pictures = [Image.fromarray(frame_HWC).convert("L") for frame_HWC in frames_THWC]
    kept = [imagehash.phash(picture).hash.ravel() for picture in pictures if np.std(np.asarray(picture)) > _FLAT_LEVELS]
    return np.array(kept, dtype=np.bool_).reshape(-1, 64)


def _alike(bits_FD: NDArray[np.bool_], video_F: NDArray[np.int64]) -> dict[tuple[int, int], int]:
    """Pairs of videos that are alike, with how many frames of one have one in the other within MOST_BITS, the lesser count.

    They are alike by FEWEST_FRAMES of them, or by one that is within NEARLY_EQUAL_BITS.
    """
    signs_FD = np.where(bits_FD, np.float32(1), np.float32(-1))
    frames: dict[tuple[int, int], set[int]] = defaultdict(set)  # of (video, other video): frames of the first
    nearly_equal: set[tuple[int, int]] = set()
    with progress("compare frames", len(signs_FD), "frames") as line:
        for start in range(0, len(signs_FD), _AT_ONCE):
            part_PD = signs_FD[start : start + _AT_ONCE]
            equal_PF = part_PD @ signs_FD.T  # bits that are equal less bits that are not
            for frame, other in np.argwhere(equal_PF >= bits_FD.shape[1] - 2 * MOST_BITS):
                one, two = int(video_F[start + frame]), int(video_F[other])
                if one != two:
                    frames[one, two].add(start + int(frame))
                    if equal_PF[frame, other] >= bits_FD.shape[1] - 2 * NEARLY_EQUAL_BITS:
                        nearly_equal.add((one, two))
            line.advance(count=len(part_PD))
    counts = {
        pair: min(len(found), len(frames[pair[::-1]])) for pair, found in list(frames.items()) if pair[0] < pair[1]
    }
    return {pair: count for pair, count in counts.items() if count >= FEWEST_FRAMES or pair in nearly_equal}
