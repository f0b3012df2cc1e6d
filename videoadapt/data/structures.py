"""The few values that travel between floors: videos, clips, views. Each checks itself when it is made.

Shapes: B clips, N test clips, J crops, C channels, T frames, H W pixels, K classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from videoadapt.data.label_sets import Labels, text_of
from videoadapt.video.boxes import EraseBox
from videoadapt.video.part import AnyPart


def id_of(name: str, part: AnyPart | None) -> str:
    """See `Video.id`."""
    return name if part is None else f"{name}{part}"


class Video(NamedTuple):
    """One row of a data list: `name` is the path as the list spells it; None as `part` is the whole film.

    `line` is counted from 1; 0 is a video that stands in no list. Of a list with several labels a video, `labels` are those,
    and `label` is -1.
    """

    name: str
    path: Path
    label: int
    line: int = 0
    part: AnyPart | None = None
    labels: Labels | None = None

    @property
    def label_text(self) -> str:
        """What it is labelled, as a row of a list has it: 3, or of several labels 0,3."""
        return str(self.label) if self.labels is None else text_of(self.labels)

    @property
    def id(self) -> str:
        """What it is called in results, unique within its list: its name, with its part: film.mp4#t=1.5,4."""
        return id_of(self.name, self.part)


@dataclass(frozen=True)
class Unreadable:
    """Stands where a clip or a video should be, when its file cannot be decoded; `index` is its row in the list."""

    index: int
    video: Video
    reason: str


@dataclass(frozen=True)
class VideoViews:
    """All test views of one video: uint8 (N clips, J crops, 3, T, H, W).

    `damaged_frames` of those that it is made from the decoder marked; None where it cannot tell. `fps_hz` is the file's rate,
    and `num_frames` how many there are.
    """

    index: int
    video: Video
    views_NJCTHW: Tensor
    damaged_frames: int | None = None
    fps_hz: float | None = None
    num_frames: int | None = None


@dataclass(frozen=True)
class ClipBatch:
    """A training batch: uint8 clips, their labels, what to erase, and the samples that could not be read.

    `labels_B`: int64 (B,); of several labels a clip float32 (B, K), 1 for each that it has and 0 for the others.
    `damaged`: ids of videos with damage, as far as decoders can tell, and how many of the frames read have it.
    `rates_hz`: of each clip's file, as far as they are known.
    """

    clips_BCTHW: Tensor
    labels_B: Tensor
    video_ids: tuple[str, ...]
    erase: tuple[EraseBox | None, ...]
    unreadable: tuple[Unreadable, ...] = ()
    damaged: tuple[tuple[str, int], ...] = ()
    rates_hz: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.clips_BCTHW) == len(self.labels_B) == len(self.video_ids) == len(self.erase):
            raise ValueError("clips, labels, video ids and erase boxes of a batch differ in number")
