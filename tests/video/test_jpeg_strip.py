"""Pictures of a strip are those of the files that were joined, to the bit, whoever decodes it."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import decode_jpeg

from videoadapt.video import jpeg_strip
from videoadapt.video.frames import from_jpeg, to_jpeg
from videoadapt.video.jpeg_strip import most_pictures, rows_apart, strip_of


def pictures(number: int, height: int, width: int) -> list[np.ndarray]:
    """Noise over a colour of its own, so that what carries over from one to the next is seen."""
    rng = np.random.default_rng(7)
    return [
        np.clip(rng.integers(0, 256, 3) + rng.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)
        for _ in range(number)
    ]


@pytest.mark.parametrize(("number", "height", "width"), [(2, 16, 24), (9, 17, 31), (20, 8, 8), (3, 1, 1), (1, 30, 20)])
def test_every_picture_is_its_files(number: int, height: int, width: int) -> None:
    """More than eight, too, after which markers begin again."""
    files = [to_jpeg(picture_HWC, 90) for picture_HWC in pictures(number, height, width)]
    strip = strip_of(files)
    # libjpeg takes them in any order, other decoders need not
    markers = re.findall(rb"\xff([\xd0-\xd7])", strip[jpeg_strip._scan_begins(strip) :])
    assert [marker[0] - 0xD0 for marker in markers] == [before % 8 for before in range(number - 1)]
    by_pillow, by_torchvision = from_jpeg(strip), decode_jpeg(torch.frombuffer(bytearray(strip), dtype=torch.uint8))
    assert by_pillow.shape == (rows_apart(height) * (number - 1) + height, width, 3)
    for at, file in enumerate(files):
        rows = slice(at * rows_apart(height), at * rows_apart(height) + height)
        assert np.array_equal(by_pillow[rows], from_jpeg(file))
        assert np.array_equal(by_torchvision[:, rows].permute(1, 2, 0).numpy(), from_jpeg(file))


def test_a_large_picture_stays_alone() -> None:
    assert most_pictures(240, 320) == 8192 // 240 and most_pictures(241, 320) == 8192 // 248
    assert most_pictures(5000, 300) == 1
    assert most_pictures(2160, 3840) == 1  # 270 x 480 blocks are more than 16 bits count
    files = [to_jpeg(picture_HWC, 50) for picture_HWC in pictures(1, 2160, 3840)]
    assert strip_of(files) == files[0]
    assert jpeg_strip._TALLEST_PX < 2**16  # rows that a JPEG file can have


def compressed(picture_HWC: np.ndarray, **how: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture_HWC).save(file, "JPEG", **{"quality": 90, "subsampling": 0, **how})
    return file.getvalue()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"quality": 80}, "different sizes or tables"),
        ({"optimize": True}, "different sizes or tables"),
        ({"subsampling": 2}, "different sizes or tables"),
    ],
)
def test_files_that_differ_are_refused(other: dict[str, object], said: str) -> None:
    one, two = pictures(2, 32, 32)
    with pytest.raises(ValueError, match=said):
        strip_of([compressed(one), compressed(two, **other)])
    with pytest.raises(ValueError, match="different sizes"):
        strip_of([compressed(one), compressed(two[:16])])
    with pytest.raises(ValueError, match="different sizes"):
        strip_of([compressed(one), compressed(two)[:-9]])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"subsampling": 2}, "halved colours"),
        ({"progressive": True}, "not baseline"),
        ({"restart_marker_rows": 1}, "restart intervals"),
    ],
)
def test_other_kinds_are_refused(kind: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strip_of([compressed(picture_HWC, **kind) for picture_HWC in pictures(1, 32, 32) * 2])


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00\x05"])
def test_what_is_no_jpeg_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no JPEG file"):
        strip_of([content, content])
