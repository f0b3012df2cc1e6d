"""2,000 damaged headers of six containers, with each decoder: an answer or one DecodeError, and nothing else."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.frames import FILE_DECODERS, require_decoder
from tests.media import VP9, write_video
from videoadapt.errors import DecodeError
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import forget

SEED, NUM_FILES, JOBS, LIMIT_SEC = 15, 2000, 2, 120.0
HEADER_BYTES = 1500  # of the beginning, and as many of the end, where mp4 and avi have their index
CONTAINERS = {
    "mp4": {"bframes": 2},
    "mov": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "mkv": {"bframes": 2},
    "webm": {"codec": "libvpx-vp9", "options": VP9},
    "avi": {"codec": "mpeg4"},
    "ts": {"codec": "mpeg2video"},
}


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite, take out, double or insert a few bytes of the header or the index, or cut the file off."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        near = min(HEADER_BYTES, len(changed) - 1)
        place = int(rng.integers(0, near)) - (near if rng.random() < 0.4 else 0)
        place %= len(changed)
        length = int(rng.integers(1, 9))
        kind = rng.integers(0, 7)
        if kind < 2:
            changed[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:
            changed[place : place + length] = rng.bytes(length)
        elif kind == 3:
            changed[place : place + length] = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * length
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place:place] = changed[place : place + length]
        else:
            del changed[max(place, 100) :]
    return bytes(changed)


def answer(number: int, folder: Path, decoder: str) -> str:
    """Open damaged file `number` and read from it."""
    suffix = list(CONTAINERS)[number % len(CONTAINERS)]
    content = (folder / f"whole.{suffix}").read_bytes()
    path = folder / f"{decoder}_{number}.{suffix}"
    path.write_bytes(damage(content, np.random.default_rng([SEED, number])))
    forget()
    try:
        with open_video(path, {"name": decoder}) as opened:
            last = opened.num_frames - 1
            frames_NHWC = opened.get([0, last // 2, last])
            assert frames_NHWC.shape == (3, opened.height, opened.width, 3)
        return "read"
    except DecodeError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error), error
        return "refused"
    finally:
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("decoder", FILE_DECODERS)
def test_2000_damaged_headers(tmp_path: Path, decoder: str) -> None:
    """A library that dies in native code costs its file; what Python raises, or a file without end, is a fault of ours."""
    require_decoder(decoder)
    for suffix, settings in CONTAINERS.items():
        write_video(tmp_path / f"whole.{suffix}", num_frames=6, **settings)
    work = partial(answer, folder=tmp_path, decoder=decoder)
    found = dict(map_in_processes(work, range(NUM_FILES), JOBS, LIMIT_SEC))
    lost = {number: result.reason for number, result in found.items() if isinstance(result, Lost)}
    assert len(found) == NUM_FILES
    assert not {number: reason for number, reason in lost.items() if "killed by" not in reason}
    answers = [result for result in found.values() if not isinstance(result, Lost)]
    assert answers.count("read") > NUM_FILES // 10 and answers.count("refused") > NUM_FILES // 10
