"""What is wrong with the rows of one list, and with the files that they name."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import logger
from videoadapt.config.schema import Config, DataConfig
from videoadapt.data.class_folders import SUFFIXES
from videoadapt.data.file_identity import NO_FILE
from videoadapt.data.list_files import why_no_file
from videoadapt.data.videos import VideoRows
from videoadapt.errors import counted
from videoadapt.paths import is_folder, started_from
from videoadapt.runs.frame_counts import short_folders
from videoadapt.runs.named_lists import where_to_get
from videoadapt.runs.same_files import same_files
from videoadapt.video.decoders import reads_folders, reads_pictures
from videoadapt.video.files import why_no_video


def row_problems(
    split: str,
    videos: VideoRows,
    files_N: NDArray[Any],
    config: Config,
    num_classes: int,
    limit: float,
    planned: bool,
) -> list[str]:
    """What is wrong with rows and their files, of which the share `limit` may be missing, one line for each kind.

    `num_classes`: 0 where they are not known. Of files that are `planned`, what their names say.
    """
    data = config.data
    of_names = [
        *(_wrong_labels(split, videos, num_classes) if num_classes else []),
        *_no_pictures(split, videos, limit, data),
    ]
    if planned:
        return of_names
    return [
        *of_names,
        *_missing_files(split, videos, files_N, limit, data),
        *same_files(split, videos, files_N, config.task != "pretrain"),
        *short_folders(split, videos, files_N, limit, data.decoder),
    ]


def doubled_names(split: str, source: str | None, videos: VideoRows) -> list[str]:
    """Videos that a list has twice, which may be so in training, where it only shows one more often."""
    if split == "train":
        return []
    first: dict[str, int] = {}
    doubled = [row for row, name in enumerate(videos.ids()) if first.setdefault(name, row) != row]
    if not doubled:
        return []
    again = videos[doubled[0]]
    before = videos[first[again.id]]
    labels = f", labels {before.label} and {again.label}" if before.label != again.label else ""
    return [
        f"data.{split} = {source}: {counted(len(doubled), 'video appears', 'videos appear')} twice, first {again.id!r} (lines "
        f"{before.line} and {again.line}{labels}); take one out"
    ]


def _wrong_labels(split: str, videos: VideoRows, num_classes: int) -> list[str]:
    wrong = np.flatnonzero(videos.highest_label_N() >= num_classes)
    if not len(wrong):
        return []
    first = videos[wrong[0]]
    labels = counted(len(wrong), "label is", "labels are")
    return [
        f"data.{split}: {labels} outside 0..{num_classes - 1} (data.classes names {num_classes} classes), "
        f"first {first.label_text} of {first.id!r} (line {first.line}); fix the list or data.classes"
    ]


def _missing_files(split: str, videos: VideoRows, files_N: NDArray[Any], limit: float, data: DataConfig) -> list[str]:
    missing = np.flatnonzero(files_N["inode"] == NO_FILE)
    if not len(missing):
        return []
    first = videos[missing[0]]
    hint = why_no_file(f"{first.name} {first.label_text}") if videos.parts_N2 is None else ""
    of = f"of the {counted(len(videos), 'video')} of data.{split}"
    said = (
        f"data.root = {data.root}: {counted(len(missing), f'{of} is', f'{of} are')} not there, "
        f"first {first.path} (line {first.line}): {why_no_video(first.path, reads_folders(data.decoder))}{hint}"
    )
    if len(missing) <= limit * len(videos):
        logger.warning("%s; within the limit of %g, so the run continues without them", said, limit)
        return []
    if not is_folder(data.root) and not data.root.is_absolute():
        said += f"; data.root starts {started_from()}"
    return [said + where_to_get(data)]


def _no_pictures(split: str, videos: VideoRows, limit: float, data: DataConfig) -> list[str]:
    """What a decoder of single pictures cannot read, by its name: films."""
    if not reads_pictures(data.decoder) or reads_folders(data.decoder):
        return []
    films = [name for name in videos.names() if name.lower().endswith(SUFFIXES["videos"])]
    if len(films) <= limit * len(videos):
        return []
    name = data.decoder["name"]
    frames = ", and data.num_frames to more than 1 to see motion" if data.num_frames == 1 else ""
    of = f"of the {counted(len(videos), 'file')} of data.{split}"
    return [
        f"data.decoder.name = {name!r}: reads pictures, and {counted(len(films), f'{of} is a film', f'{of} are films')}, "
        f"first {films[0]}; set it to decord{frames}, or list pictures ({', '.join(SUFFIXES['images'])})"
    ]
