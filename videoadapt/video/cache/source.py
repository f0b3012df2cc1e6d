"""Decoded frames kept for the next epoch and the next run: one file a video, in memory or in a folder.

What is in the cache changes no frame: a video is found by its path, size, time of change, short side, JPEG quality and decoder,
with the versions of its libraries; it is kept whole or not at all, and each frame is compared with its checksum. Frames that
are to be seen through JPEG are so without a cache, too. A full cache takes nothing more; with every video once an epoch,
throwing out the oldest would throw out the next one needed.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import av

from videoadapt import logger
from videoadapt.errors import DecodeError
from videoadapt.files import remove_partial, write_atomically
from videoadapt.video.cache.coding import Jpeg, Raw
from videoadapt.video.cache.entry import KeptFrames, NotKept, film_bytes, is_whole, read_film, write_film
from videoadapt.video.cache.folder import join, only_one_at, reserve
from videoadapt.video.decoders import open_video, reads_pictures
from videoadapt.video.files import state_of
from videoadapt.video.frames import JPEG_VERSIONS, Frames, Smaller, ThroughJpeg

_LAYOUT = 3  # part of what a video is found by; one more when entries are written, or decoders read, in another way


class FrameSource:
    """Opens videos with a decoder, their frames made smaller and kept in a cache where that is asked for.

    Made in the main process, which holds the cache's place for as long as it lives; loader processes get copies.
    """

    def __init__(
        self,
        decoder: Mapping[str, Any],
        *,
        short_side_px: int | None = None,
        jpeg_quality: int | None = None,
        cache: str = "off",
        cache_bytes: int = 10 * 10**9,
        limit_sec: float = 120.0,
    ):
        """`decoder`: name and arguments, such as {"name": "pyav"}. `short_side_px`: larger frames are made this small.

        `jpeg_quality`: then all frames are seen through JPEG of this quality, from 1 to 100, and kept as such.
        `cache`: off, ram, or a folder; it holds at most `cache_bytes`. A video is put into it as long as decoding all of it
        takes no more than a quarter of `limit_sec`. Raises ConfigError for a place that cannot be used.
        """
        self._spec = dict(decoder)
        # an argument that came later is null in entries of before
        self._stated = {key: value for key, value in self._spec.items() if value is not None}
        self._short_px, self._quality = short_side_px, jpeg_quality
        self._coding = Raw() if jpeg_quality is None else Jpeg(jpeg_quality)
        self._limit_bytes = cache_bytes
        self._limit_sec = limit_sec
        self._not_kept: set[Path] = set()
        self._said_full = False
        self._place = join(cache)
        self._versions: list[str | None] = [av.__version__, _version(self._spec["name"])]
        if reads_pictures(self._spec):
            self._versions += JPEG_VERSIONS

    def open(self, video: str | Path | Frames) -> Frames:
        """Frames of a file, or of a video that is decoded already. Raises DecodeError naming the file."""
        if not isinstance(video, str | Path):
            return self._seen(self._smaller(video))
        path = Path(video)
        entry = self._entry(path)
        if entry is None:
            return self._seen(self._decode(path))
        instead = partial(self._decode_instead, path, entry)
        if (kept := read_film(entry, path, self._coding, instead)) is not None:
            return kept
        frames = self._decode(path)
        if not self._keep(frames, entry) or (kept := read_film(entry, path, self._coding, instead)) is None:
            return self._seen(frames)
        frames.close()
        return kept

    def open_jpeg(self, path: Path) -> KeptFrames | ThroughJpeg:
        """The same frames of a file, whose `get_jpeg` gives them as JPEG files, too: from the cache, or made for the call.

        Raises TypeError of a source without `jpeg_quality`.
        """
        frames = self.open(path)
        if self._quality is None or not isinstance(frames, KeptFrames | ThroughJpeg):
            raise TypeError("frames are not seen through JPEG: jpeg_quality is None")
        return frames

    def _decode_instead(self, path: Path, entry: Path, file: io.FileIO) -> Frames:
        """Open the video whose entry `file` is damaged or cannot be read, and remove that entry: the next one makes it anew."""
        place, damaged = entry.parent.parent, os.fstat(file.fileno())
        try:
            with only_one_at(entry) as alone:
                found = os.stat(entry)
                if alone and os.path.samestat(found, damaged):  # another process may have made it anew
                    reserve(place, -found.st_size, self._limit_bytes)
                    entry.unlink()
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._give_up(place, error)
        return self._seen(self._decode(path))

    def _decode(self, path: Path) -> Frames:
        return self._smaller(open_video(path, self._spec))

    def _smaller(self, frames: Frames) -> Frames:
        short_px = self._short_px
        return Smaller(frames, short_px) if short_px and min(frames.height, frames.width) > short_px else frames

    def _seen(self, frames: Frames) -> Frames:
        return frames if self._quality is None else ThroughJpeg(frames, self._quality)

    def _entry(self, path: Path) -> Path | None:
        """The file for this video's frames; None without a cache, or for a file that cannot be looked at."""
        if self._place is None:
            return None
        state = state_of(path)
        if state is None:
            return None
        identity: list[Any] = [
            str(path.absolute()), *state, self._stated, self._versions, self._short_px, _LAYOUT
        ]  # fmt: skip
        if self._quality is not None:
            identity += [self._quality, JPEG_VERSIONS]
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return self._place / name[:2] / f"{name}{self._coding.suffix}"

    def _keep(self, frames: Frames, entry: Path) -> bool:
        """Decode all frames into `entry`; False where they do not fit, do not all decode or in time, or another is at it."""
        if entry in self._not_kept:
            return False
        place, size = entry.parent.parent, film_bytes(frames, self._coding)
        try:
            with only_one_at(entry) as alone:
                if not alone:
                    return False
                if os.path.lexists(entry):  # another kept it since this process looked; or it is broken
                    if is_whole(entry, self._coding):
                        return True
                    reserve(place, -entry.lstat().st_size, self._limit_bytes)
                    entry.unlink()
                reserve(place, -size * remove_partial(entry), self._limit_bytes)  # of processes that were killed here
                if not reserve(place, size, self._limit_bytes):
                    self._say_full(place)
                    return False
                try:
                    write_atomically(
                        entry, lambda path: write_film(frames, path, entry.name, self._coding, self._limit_sec / 4)
                    )
                except BaseException:
                    reserve(place, -size, self._limit_bytes)
                    raise
                reserve(place, entry.stat().st_size - size, self._limit_bytes)  # what JPEG left of it
        except (DecodeError, NotKept):  # as without a cache, the frames that are asked for may be fine
            self._not_kept.add(entry)
            return False
        except (OSError, ValueError) as error:
            self._give_up(place, error)
            return False
        return True

    def _give_up(self, place: Path, error: Exception) -> None:
        logger.warning("data.cache: %s keeps no more frames: %s", place, error)
        self._place = None

    def _say_full(self, place: Path) -> None:
        if not self._said_full:
            self._said_full = True
            logger.warning(
                "data.cache: %s has no room for all videos, and the rest is decoded each time (data.cache_gb = %g, and a tenth "
                "of its disk's %.1f GB stays free); raise data.cache_gb, or name a folder on a larger disk",
                place, self._limit_bytes / 1e9, shutil.disk_usage(place).total / 1e9,
            )  # fmt: skip


def _version(decoder: str) -> str:
    """Of the library that a decoder has its name from; "" for a decoder that is none."""
    try:
        return metadata.version(decoder)
    except metadata.PackageNotFoundError:
        return ""
