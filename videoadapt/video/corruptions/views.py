"""The test views of one video under many corruptions, from one decode.

Shapes: S settings, N clips, J crops, T frames of a clip, F frames of a film, H W pixels.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.video.corruptions import KINDS, corrupt
from videoadapt.video.corruptions._kinds import Frames as Pixels
from videoadapt.video.frames import Frames
from videoadapt.video.part import AnyPart, FramesOfPart
from videoadapt.video.readers import DECODED_BYTES, FileNotes, ViewReader, notes_on
from videoadapt.video.samplers import Indices

MOST_BYTES = 2 * 2**30  # of the frames of one film that are held at a time


class Setting(NamedTuple):
    """A corruption and its strength."""

    kind: str
    strength: int


CLEAN = Setting("clean", 0)


def settings_of(kinds: Sequence[str], strengths: Sequence[int]) -> list[Setting]:
    """The film as it is, then each kind at each strength that it has."""
    graded = [
        Setting(kind, strength) for kind in kinds for strength in strengths if strength <= len(KINDS[kind].levels)
    ]
    return [CLEAN, *graded]


class _Film(NamedTuple):
    """Frames of a film at the size that views are cut from, and which of them the clips are made of."""

    frames_FHWC: Pixels
    places_NT: Indices
    notes: FileNotes


class CorruptedViews:
    """Reads all (clip, crop) views of a video as a ViewReader does, its frames corrupted before they are cut.

    Frames are corrupted at the size that they are cut from, so that a strength is the same whatever the file's. Where a kind
    changes frames in time, all from the first to the last that the clips need are read, else only those that they need.
    """

    def __init__(self, reader: ViewReader, settings: Sequence[Setting], seed: int):
        self.settings = tuple(settings)
        self._reader, self._seed = reader, seed
        self._in_time = any(KINDS[kind].in_time for kind, strength in settings if strength)
        self.views_bytes = reader.views_bytes
        self._last: tuple[tuple[Path, AnyPart | None], _Film] | None = None

    def __call__(self, path: Path, part: AnyPart | None, video: str, which: slice) -> tuple[Tensor, FileNotes]:
        """Return uint8 (S, N, J, 3, T, H, W) for a slice of the settings, and notes on the file.

        `video`: what the draws depend on, with seed, kind and strength. The film of the last call is not decoded again.
        Raises DecodeError naming a file that cannot be read, and ConfigError for clips too far apart to be held together.
        """
        if self._last is None or self._last[0] != (path, part):
            self._last = None  # its memory first
            self._last = (path, part), self._read(path, part)
        film = self._last[1]
        return torch.stack([self._views(film, setting, video) for setting in self.settings[which]]), film.notes

    def _views(self, film: _Film, setting: Setting, video: str) -> Tensor:
        frames_FHWC, places_NT = film.frames_FHWC, film.places_NT
        if setting == CLEAN or not KINDS[setting.kind].in_time:
            needed, places = np.unique(places_NT, return_inverse=True)
            frames_FHWC, places_NT = frames_FHWC[needed], places.reshape(places_NT.shape)
        if setting != CLEAN:
            frames_FHWC = corrupt(frames_FHWC, *setting, self._seed, video)
        views_JFCHW = self._reader.cut(torch.from_numpy(frames_FHWC).permute(0, 3, 1, 2))
        return views_JFCHW[:, torch.from_numpy(places_NT)].permute(1, 0, 3, 2, 4, 5)

    def _read(self, path: Path, part: AnyPart | None) -> _Film:
        with closing(self._reader.open(path)) as whole:
            video = whole if part is None else FramesOfPart(whole, part, path)
            chosen_NT = self._reader.chosen(video)
            wanted_F = np.unique(chosen_NT)
            if self._in_time:
                wanted_F = np.arange(wanted_F[0], wanted_F[-1] + 1)
            frames_FHWC = self._fitted(video, wanted_F, path)
            return _Film(frames_FHWC, np.searchsorted(wanted_F, chosen_NT), notes_on(video))

    def _fitted(self, video: Frames, wanted_F: Indices, path: Path) -> Pixels:
        """These frames, decoded a part at a time."""
        at_once = max(1, DECODED_BYTES // (3 * video.height * video.width))
        pieces: list[Tensor] = []
        for start in range(0, len(wanted_F), at_once):
            decoded_FHWC = torch.from_numpy(video.get(wanted_F[start : start + at_once]))
            pieces.append(self._reader.fitted(decoded_FHWC).permute(0, 2, 3, 1).contiguous())
            if (needs := pieces[0][0].numel() * len(wanted_F)) > MOST_BYTES:
                raise ConfigError(
                    f"{path}: its clips reach over {len(wanted_F):,} frames, {needs / 1e9:.1f} GB, which are corrupted "
                    f"together; at most {MOST_BYTES / 1e9:.1f} GB: list parts of it, or set test.clips 1"
                )
        return torch.cat(pieces).numpy()
