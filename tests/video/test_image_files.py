"""Files of one picture: exact pixels, upright, RGB in 8 bits, or one line that says why not."""

import io
import re
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.datasets.folder import pil_loader

from tests.frames import frames, source
from tests.media import picture, write_video
from videoadapt.errors import DecodeError
from videoadapt.preparing.inspection import Inspection, inspect_file
from videoadapt.video.cache.folder import leave_all
from videoadapt.video.clip import read_clip
from videoadapt.video.decoders import open_video

IMAGE = {"name": "image"}
TRUTH = picture(3, 48, 64)


def seen(path: Path, **arguments: Any) -> np.ndarray:
    with open_video(path, IMAGE | arguments) as video:
        assert len(video) == 1 and video[0].shape == (video.height, video.width, 3)
        frame_HWC: np.ndarray = video[0]
        return frame_HWC


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "jpg", "JPEG"])
def test_pixels_are_those_that_torchvision_reads(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(TRUTH).save(path, lossless=True, quality=90)
    assert np.array_equal(seen(path), np.asarray(pil_loader(str(path))))
    assert np.array_equal(seen(path), TRUTH) == (ending.lower() not in ("jpg", "jpeg"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_lays_a_picture_upright(tmp_path: Path, orientation: int) -> None:
    stored = Image.fromarray(TRUTH)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    upright = {
        1: TRUTH, 2: TRUTH[:, ::-1], 3: TRUTH[::-1, ::-1], 4: TRUTH[::-1],
        5: TRUTH.swapaxes(0, 1), 6: np.rot90(TRUTH, -1), 7: np.rot90(TRUTH, 2).swapaxes(0, 1), 8: np.rot90(TRUTH),
    }[orientation]  # fmt: skip
    assert np.array_equal(seen(tmp_path / "a.png"), upright)
    with open_video(tmp_path / "a.png", IMAGE) as video:  # its size is known before it is decoded
        assert (video.height, video.width) == upright.shape[:2]


@pytest.mark.filterwarnings("error")
def test_other_modes_become_rgb(tmp_path: Path) -> None:
    """Of transparency the stored colour is left, of 16-bit colour the upper 8 bits."""
    grey = Image.fromarray(TRUTH).convert("L")
    palette = Image.frombytes("P", grey.size, grey.tobytes())
    palette.putpalette([level for level in range(256) for _ in range(3)])
    palette.info["transparency"] = bytes(range(256))
    clear = Image.fromarray(np.dstack([TRUTH, np.zeros(TRUTH.shape[:2], np.uint8)]))
    as_rgb = np.asarray(grey.convert("RGB"))
    for number, (kind, expected) in enumerate(
        [(grey, as_rgb), (palette, as_rgb), (Image.merge("LA", (grey, grey)), as_rgb), (clear, TRUTH)]
    ):
        kind.save(tmp_path / f"{number}.png")
        assert np.array_equal(seen(tmp_path / f"{number}.png"), expected), number
    grey.point(lambda level: 255 * (level > 99)).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(seen(tmp_path / "bits.png"))) == {0, 255}
    deep = (TRUTH.astype(np.uint16) * 256 + 0xC8).astype(">u2")
    (tmp_path / "deep.png").write_bytes(png(deep, colour_type=2))
    assert np.array_equal(seen(tmp_path / "deep.png"), TRUTH)
    Image.new("CMYK", (64, 48), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(seen(tmp_path / "cmyk.jpg").astype(int) - (255, 0, 0)).max() <= 2


def png(values: np.ndarray, colour_type: int) -> bytes:
    """A PNG file of 16 bits, which Pillow does not write in colour."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)), (b"IDAT", zlib.compress(rows)),
              (b"IEND", b"")]  # fmt: skip
    made = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        made += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return made


def test_16_bit_grey_needs_its_levels(tmp_path: Path) -> None:
    ramp = np.linspace(7_000, 8_000, 48 * 64).round().astype(np.uint16).reshape(48, 64)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    with pytest.raises(DecodeError, match=r"a\.png: has grey levels of 16 bits .* data\.decoder\.levels \[LOW, HIGH\]"):
        seen(tmp_path / "a.png")
    expected = np.rint((ramp.astype(float) - 7_000) / 1_000 * 255)
    assert np.array_equal(seen(tmp_path / "a.png", levels=[7_000, 8_000])[..., 1], expected)


def test_of_a_phones_two_pictures_the_first(tmp_path: Path) -> None:
    first, second = Image.fromarray(TRUTH), Image.fromarray(255 - TRUTH)
    first.save(tmp_path / "mpo.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(seen(tmp_path / "mpo.jpg").astype(int) - TRUTH).mean() < 9


def test_a_jpeg_that_ends_early_is_damaged(tmp_path: Path) -> None:
    large = picture(0, 192, 256)
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) * 2 // 3])
    for name, damaged in (("a.jpg", set()), ("cut.jpg", {0})):
        with open_video(tmp_path / name, IMAGE) as video:
            assert video[0].shape == large.shape and video.damaged == damaged


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.jpg", "No such file or directory"),
        ("empty.jpg", "is empty (0 bytes); copy it again"),
        ("page.jpg", "is no picture in JPEG, PNG, WEBP, BMP; copy it again, or convert it to PNG"),
        ("film.mp4", "is no picture in JPEG, PNG, WEBP, BMP; copy it again, or convert it to PNG"),
        ("a.tif", "is no picture in JPEG, PNG, WEBP, BMP; copy it again, or convert it to PNG"),
        ("moving.webp", "is an animation and no single picture; copy it again, or convert it to PNG"),
        ("cut.png", "cannot be read: "),
        ("folder.jpg", "is a folder; name a file"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, name: str, said: str) -> None:
    still = Image.fromarray(TRUTH)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    write_video(tmp_path / "film.mp4")
    still.save(tmp_path / "a.tif")
    still.save(tmp_path / "moving.webp", save_all=True, append_images=[ImageOps.mirror(still)])
    still.save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(DecodeError, match=re.escape(f"{tmp_path / name}: {said}")) as error:
        seen(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_picture_is_a_clip_that_stands_still(tmp_path: Path) -> None:
    Image.fromarray(TRUTH).save(tmp_path / "a.png")
    clip = read_clip(tmp_path / "a.png", 4, 2, decoder=IMAGE)
    assert np.array_equal(clip.numpy(), np.broadcast_to(TRUTH.transpose(2, 0, 1)[:, None], (3, 4, 48, 64)))
    with pytest.raises(DecodeError, match=r"a\.png: a picture has no time; leave data\.sampling\.fps_hz"):
        read_clip(tmp_path / "a.png", 4, decoder=IMAGE, fps_hz=10)


def test_from_a_tar_through_a_cache_and_inspected(tmp_path: Path) -> None:
    Image.fromarray(TRUTH).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        content = (tmp_path / "a.png").read_bytes()
        member = tarfile.TarInfo("x/a.png")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    assert np.array_equal(seen(tmp_path / "b.tar" / "x" / "a.png"), TRUTH)
    kept = source(tmp_path / "cache", decoder=IMAGE)
    for _ in range(2):
        assert np.array_equal(frames(kept, tmp_path / "a.png")[0], TRUTH)
    assert len(list((tmp_path / "cache").glob("*/*"))) == 1
    leave_all()
    found = inspect_file(tmp_path / "a.png", IMAGE)
    assert isinstance(found, Inspection) and (found.frames, found.height, found.width) == (1, 48, 64)
