"""Films that x264 encodes are the same at each call, and on each processor of a kind."""

import ctypes
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.media import write_video
from videoadapt.preparing.encoding import Encoded, Settings, write_h264
from videoadapt.video.corruptions import corrupt

M_PERTURB = -6  # of glibc's malloc.h


@contextmanager
def memory_of(byte: int) -> Iterator[None]:
    """glibc fills memory that it gives out with the byte's complement, and what is given back with the byte."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        pytest.skip("this C library is not glibc")
    assert mallopt(M_PERTURB, byte)
    try:
        yield
    finally:
        mallopt(M_PERTURB, 0)


def films_of(film: Path, copy: Path) -> list[str]:
    """What is made of a film and of moving pictures, as checksums."""
    y, x = np.mgrid[0:64, 0:64]
    picture = np.stack([40 + 2 * x, 60 + 3 * y, 200 - x - y], axis=2)
    picture[10:30, 15:40] = 200, 30, 90
    moving = np.stack([np.roll(picture, 2 * number, axis=1) for number in range(30)])
    moving = (moving + np.random.default_rng(0).integers(0, 12, moving.shape)).clip(0, 255).astype(np.uint8)
    encoded = write_h264((film, copy), Settings())
    assert isinstance(encoded, Encoded) and encoded.frames == 60
    made = [copy.read_bytes(), *(corrupt(moving, kind, 1).tobytes() for kind in ("h264", "packet_loss"))]
    return [hashlib.sha256(content).hexdigest() for content in made]


def test_no_film_depends_on_what_memory_held(tmp_path: Path) -> None:
    """It did on processors with AVX-512: all memory that is given out is filled with the one byte, then the other."""
    film = write_video(tmp_path / "film.mp4", num_frames=60, height=120, width=160)
    said = []
    for byte in (85, 170):
        with memory_of(byte):
            said.append(films_of(film, tmp_path / "copy.mp4"))
    assert said[0] == said[1]
