"""Folders that hold fewer frames than a list says, found before the first step where one look at each tells."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import logger
from videoadapt.data.file_identity import NO_FILE
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DecodeError, counted
from videoadapt.video.decoders import open_video, reads_folders
from videoadapt.video.part import FramePart


def short_folders(
    split: str, videos: VideoRows, files_N: NDArray[Any], limit: float, decoder: Mapping[str, Any]
) -> list[str]:
    """Rows that name more frames than their folder has, where the decoder's `template` says how the last is called.

    Without a template, or a number of frames in the list, whoever reads a folder finds out. Up to the share `limit` it is a
    warning, as of videos that are not there.
    """
    template = decoder.get("template") if reads_folders(decoder) else None
    if template is None or videos.parts_N2 is None or videos.unit is not FramePart:
        return []
    told = np.flatnonzero(np.isfinite(videos.parts_N2[:, 1]) & (files_N["inode"] != NO_FILE))
    found = {int(row): problem for row in told if (problem := _problem(videos, int(row), decoder))}
    if not found:
        return []
    video = videos[next(iter(found))]
    differing = counted(len(found), "row has", "rows have")
    said = f"data.{split}: {differing} other frames than the list says, first line {video.line}: "
    said += next(iter(found.values()))
    if len(found) <= limit * len(videos):
        logger.warning("%s; within the limit of %g, so the run continues without them", said, limit)
        return []
    return [said]


def _problem(videos: VideoRows, row: int, decoder: Mapping[str, Any]) -> str:
    """The whole folder is listed only where its last frame is not there, as it is in one that begins at 0."""
    video = videos[row]
    part, first = video.part, decoder.get("first")
    assert isinstance(part, FramePart)
    last = int(part.stop) - 1 + (1 if first is None else first)
    if os.path.exists(video.path / decoder["template"].format(last)):
        return ""
    try:
        with open_video(video.path, decoder) as folder:
            problem = part.problem_in(folder.num_frames)
    except DecodeError as error:
        return str(error)
    return f"{video.path}: {problem}" if problem else ""
