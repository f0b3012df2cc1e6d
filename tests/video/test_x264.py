"""Films that x264 encodes are the same at each call, and on each processor of a kind."""

import subprocess
import sys
from pathlib import Path

from tests.media import write_video
from tests.toy_runs import REPOSITORY, environment

ENCODE = """
import hashlib, sys
from pathlib import Path
import numpy as np
from videoadapt.preparing.encoding import Settings, write_h264
from videoadapt.video.corruptions import corrupt

film, copy = map(Path, sys.argv[1:])
y, x = np.mgrid[0:64, 0:64]
picture = np.stack([40 + 2 * x, 60 + 3 * y, 200 - x - y], axis=2)
picture[10:30, 15:40] = 200, 30, 90
moving = np.stack([np.roll(picture, 2 * number, axis=1) for number in range(30)])
moving = (moving + np.random.default_rng(0).integers(0, 12, moving.shape)).clip(0, 255).astype(np.uint8)
print(write_h264((film, copy), Settings()).frames, hashlib.sha256(copy.read_bytes()).hexdigest())
print(*(hashlib.sha256(corrupt(moving, kind, 1)).hexdigest() for kind in ("h264", "packet_loss")))
"""


def test_no_film_depends_on_what_memory_held(tmp_path: Path) -> None:
    """It did on processors with AVX-512: glibc fills all memory that is given out with the one byte, then the other."""
    film = write_video(tmp_path / "film.mp4", num_frames=60, height=120, width=160)
    said = [
        subprocess.run(
            [sys.executable, "-c", ENCODE, film, tmp_path / "copy.mp4"],
            cwd=REPOSITORY, env={**environment(), "MALLOC_PERTURB_": byte}, capture_output=True, text=True, check=True,
        ).stdout
        for byte in ("85", "170")
    ]  # fmt: skip
    assert said[0] == said[1] and said[0].startswith("60 ") and len(said[0].split()) == 4
