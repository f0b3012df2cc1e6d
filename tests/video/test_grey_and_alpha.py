"""Grey videos of more than 8 bits with stated levels, and pictures with alpha: the same from every decoder."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videoadapt.config.loading import check_config
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.preparing.encoding import Settings, write_h264
from videoadapt.preparing.inspection import Inspection, inspect_file
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.clip import read_clip
from videoadapt.video.decoders import open_video

HEIGHT, WIDTH, FRAMES = 48, 64, 6
LOW, HIGH = 7_000, 8_000  # as an infrared camera gives a room: a thousand values of 65,536
DECODERS = ("decord", "pyav", "torchcodec", "nvdec")  # the last one needs no GPU to hand these over


def encode(path: Path, frames: np.ndarray, raw: str, codec: str, pixel_format: str, *options: str) -> Path:
    """Let the ffmpeg command write frames that are given as `raw`."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    given = ["-f", "rawvideo", "-pix_fmt", raw, "-s", size, "-r", "12", "-i", "-"]
    made = ["-c:v", codec, "-pix_fmt", pixel_format, *options, str(path)]
    subprocess.run(["ffmpeg", "-v", "error", *given, *made], input=frames.tobytes(), check=True)
    return path


def values(low: int = LOW, high: int = HIGH) -> np.ndarray:
    """Every value of a range, another one in each frame's corner: uint16 (N, H, W)."""
    ramp = np.linspace(low, high, HEIGHT * WIDTH).round().reshape(HEIGHT, WIDTH)
    return np.stack([np.roll(ramp, number, axis=1) for number in range(FRAMES)]).astype("<u2")


def expected(raw_NHW: np.ndarray, low: int, high: int) -> np.ndarray:
    """The definition: the nearest of 256 levels."""
    grey = np.rint((raw_NHW.clip(low, high).astype(float) - low) * 255 / (high - low)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


KINDS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "ffv1 16.mkv": ("gray16le", "ffv1", "gray16le", ()),
    "png 16.mkv": ("gray16le", "png", "gray16be", ()),
    "ffv1 12.mkv": ("gray12le", "ffv1", "gray12le", ()),
    "hevc 12.mp4": ("gray12le", "libx265", "gray12le", ("-x265-params", "log-level=none:lossless=1")),
    "hevc 10.mp4": ("gray10le", "libx265", "gray10le", ("-x265-params", "log-level=none:lossless=1")),
    "ffv1 8.mkv": ("gray", "ffv1", "gray", ()),
    "png 8 alpha.mkv": ("ya8", "png", "ya8", ()),
}
RANGES = {"16": (LOW, HIGH), "12": (1_000, 2_000), "10": (100, 900), "8": (20, 120)}


def written(folder: Path, name: str) -> tuple[Path, np.ndarray, tuple[int, int]]:
    """The file, what was put into it, (N, H, W), and the range."""
    raw, codec, pixel_format, options = KINDS[name]
    low, high = next(found for bits, found in RANGES.items() if bits in name.split()[1])
    grey = values(low, high)
    stored = grey.astype("u1") if low < 256 and high < 256 else grey
    if raw == "ya8":
        stored = np.stack([stored, 255 - stored], axis=-1)
    return encode(folder / name.replace(" ", "_"), stored, raw, codec, pixel_format, *options), grey, (low, high)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", KINDS)
def test_stated_levels_become_all_of_256(name: str, decoder: str, tmp_path: Path) -> None:
    path, grey, (low, high) = written(tmp_path, name)
    inner = low + (high - low) // 10, high - (high - low) // 10  # what is beyond is cut off
    for levels in ((low, high), inner):
        with open_video(path, {"name": decoder, "levels": list(levels)}) as video:
            found = video[:]
        assert np.array_equal(found, expected(grey, *levels))
    assert len(np.unique(found)) == min(256, inner[1] - inner[0] + 1)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", [name for name in KINDS if " 8" not in name])
def test_grey_above_8_bits_without_levels_is_refused(name: str, decoder: str, tmp_path: Path) -> None:
    path, _, _ = written(tmp_path, name)
    bits = int(name.split()[1].partition(".")[0])
    line = rf"has grey levels of {bits} bits \(gray{bits}.e\), .* data\.decoder\.levels \[LOW, HIGH\]"
    with pytest.raises(DecodeError, match=rf"{line} \(all of them: \[0, {2**bits - 1}\]\)$"):
        open_video(path, decoder)
    if bits < 16:
        with pytest.raises(DecodeError, match=rf"levels = \[0, 65535\] is above the highest, {2**bits - 1}$"):
            open_video(path, {"name": decoder, "levels": [0, 65_535]})
    found = write_h264((path, tmp_path / "small.mp4"), Settings())
    assert isinstance(found, DecodeError) and "has grey levels of" in str(found)


def test_the_shift_to_8_bits_would_leave_five_levels(tmp_path: Path) -> None:
    """What the range is for: the top 8 of 16 bits of a thousand values."""
    assert len(np.unique(values() >> 8)) == 5
    path, _, levels = written(tmp_path, "ffv1 16.mkv")
    with open_video(path, {"name": "pyav", "levels": levels}) as video:
        assert len(np.unique(video[:])) == 256


def test_levels_pass_through_clips_caches_and_scans(tmp_path: Path) -> None:
    path, grey, levels = written(tmp_path, "ffv1 16.mkv")
    decoder = {"name": "decord", "levels": list(levels)}
    assert np.array_equal(
        read_clip(path, 2, 1, start=3, decoder=decoder).permute(1, 2, 3, 0), expected(grey, *levels)[3:5]
    )
    for cached in ([LOW, HIGH], [LOW, 7_500]):  # one is not taken for the other
        source = FrameSource({"name": "pyav", "levels": cached}, cache=str(tmp_path / "cache"))
        for _ in range(2):
            frames = source.open(path)
            assert np.array_equal(frames.get([1, 4]), expected(grey, *cached)[[1, 4]])
            frames.close()
    found = inspect_file(path, decoder)
    assert isinstance(found, Inspection) and (found.frames, found.wrong) == (FRAMES, "")
    assert isinstance(inspect_file(path, {"name": "decord"}), DecodeError)


def test_a_folder_of_16_bit_pictures(tmp_path: Path) -> None:
    grey = values()
    for number, frame in enumerate(grey):
        Image.fromarray(frame.astype(np.uint16)).save(tmp_path / f"{number}.png")
    with open_video(tmp_path, {"name": "frame_folder", "levels": [LOW, HIGH]}) as folder:
        assert np.array_equal(folder[:], expected(grey, LOW, HIGH))
    with open_video(tmp_path, "frame_folder") as folder, pytest.raises(DecodeError, match="has grey levels of 16 bits"):
        folder.get([0])


@pytest.mark.parametrize("decoder", DECODERS)
def test_levels_are_for_grey_videos(decoder: str, tmp_path: Path) -> None:
    colour = encode(tmp_path / "c.mp4", np.zeros((3, HEIGHT, WIDTH, 3), np.uint8), "rgb24", "libx264", "yuv420p")
    with pytest.raises(DecodeError, match=r"c\.mp4: is in colour \(yuv420p\), and data\.decoder\.levels is for grey"):
        open_video(colour, {"name": decoder, "levels": [0, 255]})
    for wrong in ([8, 8], [9, 8], [0, 65_536], [-1, 8], [1]):
        with pytest.raises(ConfigError, match=r"data\.decoder\.levels"):
            check_config({"output": "o", "data": {"decoder": {"name": decoder, "levels": wrong}}})


# ---- alpha -----------------------------------------------------------------------------------------------------------

COLOUR = (200, 100, 50)
WITH_ALPHA: dict[str, tuple[str, str, Sequence[str]]] = {
    "vp9.webm": ("libvpx-vp9", "yuva420p", ("-auto-alt-ref", "0", "-crf", "5", "-b:v", "0")),
    "qtrle.mov": ("qtrle", "argb", ()),
    "png.mov": ("png", "rgba", ()),
    "prores.mov": ("prores_ks", "yuva444p10le", ("-profile:v", "4444")),
    "ffv1.mkv": ("ffv1", "yuva444p", ()),
}  # fmt: skip


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", WITH_ALPHA)
def test_alpha_is_left_out(name: str, decoder: str, tmp_path: Path) -> None:
    """The stored colour is the picture, behind whatever part of it is transparent."""
    frames = np.zeros((FRAMES, HEIGHT, WIDTH, 4), np.uint8)
    frames[..., :3] = COLOUR
    frames[:, :, WIDTH // 2 :, 3] = 255
    codec, pixel_format, options = WITH_ALPHA[name]
    path = encode(tmp_path / name, frames, "rgba", codec, pixel_format, *options)
    with open_video(path, decoder) as video:
        found = video[:]
    assert np.abs(found.astype(int) - COLOUR).max() <= 3  # the rounding of YUV
