"""Folders of pictures as videos: the same frames as the files that they were extracted from, and one line for what is wrong."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.frames import frames, read_in_order, source
from tests.media import picture, write_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.video.cache.folder import leave_all
from videoadapt.video.clip import read_clip
from videoadapt.video.decoders import open_video

FOLDER = {"name": "frame_folder"}


def write_frames(folder: Path, names: list[str], height: int = 48, width: int = 64) -> np.ndarray:
    """Lossless where the names say so; returns the pictures."""
    folder.mkdir(exist_ok=True)
    pictures = [picture(index, height, width) for index in range(len(names))]
    for name, frame_HWC in zip(names, pictures, strict=True):
        Image.fromarray(frame_HWC).save(folder / name)
    return np.array(pictures)


def numbered(start: int, stop: int, template: str = "img_{:05d}.png") -> list[str]:
    return [template.format(number) for number in range(start, stop)]


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "v_SoccerJuggling_g23_c01.avi"])
def test_frames_extracted_from_a_real_film_are_its_own(clips_dir: Path, tmp_path: Path, name: str) -> None:
    film = read_in_order(clips_dir / name)[:80]
    for number, frame_HWC in enumerate(film, 1):
        Image.fromarray(frame_HWC).save(tmp_path / f"img_{number:05d}.png", compress_level=1)
    with open_video(tmp_path, FOLDER) as folder, open_video(clips_dir / name) as file:
        assert len(folder) == 80 and (folder.height, folder.width) == film.shape[1:3] == (file.height, file.width)
        for indices in ([79, 0, 5, 5], [*range(80)], [-1 % 80]):
            assert np.array_equal(folder.get(indices), file.get(indices))
        assert folder.damaged == set()


@pytest.mark.parametrize(
    ("names", "template"),
    [
        (numbered(0, 12), None),
        (numbered(1, 13, "{}.png"), None),
        (numbered(1, 13, "{:05d}.PNG"), None),
        (numbered(95, 107, "a {{b}} 7 {:02d}.png"), "a {{b}} 7 {:02d}.png"),
        (numbered(1, 13, "v_x_g01_{:03}_rgb.webp"), "v_x_g01_{:03}_rgb.webp"),
    ],
)
def test_names_and_numbers(tmp_path: Path, names: list[str], template: str | None) -> None:
    """In the order of numbers and not of letters, whatever else stands in a name."""
    truth = write_frames(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._img_00001.png").write_bytes(b"of a Mac")
    spec = FOLDER | {"template": template} | ({"first": 95} if "95" in names[0] else {})
    with open_video(tmp_path, spec) as folder:
        assert len(folder) == 12
        exact = not names[0].endswith("webp")
        assert np.array_equal(folder[:], truth) == exact and np.abs(folder[:].astype(int) - truth).mean() < 9


def test_of_several_names_the_template_says_which(tmp_path: Path) -> None:
    truth = write_frames(tmp_path, numbered(1, 6))
    write_frames(tmp_path, numbered(1, 5, "x_{:05d}.png"))
    write_frames(tmp_path, numbered(1, 5, "img_{:05d}.webp"))
    with open_video(tmp_path, FOLDER | {"template": "img_{:05d}.png"}) as folder:
        assert np.array_equal(folder[:], truth)
    with pytest.raises(
        DecodeError, match=r"several names, such as img_00001.png and img_00001.webp; .*data\.decoder\.temp"
    ):
        open_video(tmp_path, FOLDER)


@pytest.mark.parametrize(
    ("names", "arguments", "said"),
    [
        (["1.png", "2.png", "4.png", "7.png"], {}, "3.png is missing, one of 3 numbers up to 7.png"),
        (["2.png", "3.png"], {}, "the first frame is 2.png; allowed: number 0 or 1"),
        (["0.png", "1.png"], {"first": 5}, "holds no frames that are called {:01d}.png"),
        (["1.png", "cover.png"], {}, "cover.png has no number"),
        (["01.png", "1.png", "2.png"], {}, "01.png is not called 1.png"),
        (["01.png", "2.png"], {"template": "{:02d}.png"}, "2.png is not called 02.png"),
        ([], {}, "holds no frames; allowed: .jpg"),
        (["1.png"], {"template": "img_{:05d}.jpg"}, "holds no frames that are called img_{:05d}.jpg"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, names: list[str], arguments: dict, said: str) -> None:
    write_frames(tmp_path, names)
    with pytest.raises(DecodeError, match=re.escape(said)) as error:
        open_video(tmp_path, FOLDER | arguments)
    assert str(error.value).startswith(f"{tmp_path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "template", ["img_%05d.jpg", "img.jpg", "{}_{}.jpg", "{:s}.jpg", "{name}.jpg", "a/{}.jpg", "{:x}.jpg"]
)
def test_what_is_no_template(tmp_path: Path, template: str) -> None:
    with pytest.raises(ConfigError, match=r"template = .*such as img_\{:05d\}\.jpg"):
        open_video(tmp_path, FOLDER | {"template": template})


def test_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4")
    with pytest.raises(DecodeError, match=r"a\.mp4: is a file; name a folder$"):
        open_video(film, FOLDER)
    with pytest.raises(DecodeError, match=r"none: No such folder$"):
        open_video(tmp_path / "none", FOLDER)
    for decoder in ("decord", "pyav"):
        with pytest.raises(DecodeError, match=r"is a folder; name a file, or set data\.decoder\.name frame_folder"):
            open_video(tmp_path, decoder)


def test_pictures_of_all_kinds_become_upright_rgb(tmp_path: Path) -> None:
    """Grey, CMYK, a palette, transparency; EXIF turns a picture, and its size is the upright one's."""
    grey = Image.fromarray(picture(3, 48, 64)).convert("L")
    palette = Image.frombytes("P", grey.size, grey.tobytes())
    palette.putpalette([level for level in range(256) for _ in range(3)])
    kinds = [grey, palette, Image.merge("LA", (grey, grey.point(lambda v: 255 - v)))]
    for number, kind in enumerate(kinds):
        kind.save(tmp_path / f"{number}.png")
    with open_video(tmp_path, FOLDER) as folder:
        for frame_HWC in folder:
            assert np.array_equal(frame_HWC, np.asarray(grey.convert("RGB")))
    cmyk = tmp_path / "cmyk"
    cmyk.mkdir()
    Image.new("CMYK", (64, 48), (0, 255, 255, 0)).save(cmyk / "0.jpg", quality=100)
    with open_video(cmyk, FOLDER) as folder:
        assert np.abs(folder[0].astype(int) - (255, 0, 0)).max() <= 2
    turned = tmp_path / "turned"
    turned.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown a quarter turn clockwise
    Image.fromarray(picture(0, 48, 64)).save(turned / "1.png", exif=exif)
    with open_video(turned, FOLDER) as folder:
        assert (folder.height, folder.width) == (64, 48)
        assert np.array_equal(folder[0], np.rot90(picture(0, 48, 64), -1))


def test_files_that_no_frame_can_be_made_of_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path, numbered(0, 6, "{}.png"))
    write_frames(tmp_path / "other", ["0.png"], height=32)
    os.replace(tmp_path / "other" / "0.png", tmp_path / "1.png")
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(tmp_path / "2.png")
    content = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "4.png").write_bytes(b"<html>")
    (tmp_path / "5.png").write_bytes(b"")
    said = {
        1: "is 64 x 32 pixels, and 0.png 64 x 48",
        2: r"has grey levels of 16 bits \(I;16\), .* data\.decoder\.levels \[LOW, HIGH\]",
        3: "truncated",
        4: "no picture",
        5: "no picture",
    }
    with open_video(tmp_path, FOLDER) as folder:
        assert folder[0].shape == (48, 64, 3)
        for index, words in said.items():
            with pytest.raises(DecodeError, match=rf"{re.escape(str(tmp_path))}/{index}\.png: .*{words}"):
                folder.get([0, index])


def test_a_jpeg_that_ends_early_is_a_damaged_frame(tmp_path: Path) -> None:
    truth = write_frames(tmp_path, numbered(1, 5, "{}.jpg"), height=192, width=256)
    content = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(content[: len(content) * 2 // 3])
    with open_video(tmp_path, FOLDER) as folder:
        assert folder.get([0, 1, 3]).shape == (3, 192, 256, 3) and folder.damaged == set()
        cut_HWC = folder[2]
        assert folder.damaged == {2}
    off_H = np.abs(cut_HWC.astype(int) - truth[2]).mean(axis=(1, 2))
    assert off_H[:32].max() < 20 < off_H[-32:].min()


def test_times_are_those_of_the_rate_that_is_stated(tmp_path: Path) -> None:
    truth = write_frames(tmp_path, numbered(1, 31))
    clip = read_clip(tmp_path, 4, 1, start=0, fps_hz=10, decoder=FOLDER | {"fps_hz": 30.0})
    assert np.array_equal(clip.numpy().transpose(1, 2, 3, 0), truth[[0, 3, 6, 9]])
    part = read_clip(tmp_path, 3, 1, start=0, start_sec=0.5, decoder=FOLDER | {"fps_hz": 30.0})
    assert np.array_equal(part.numpy().transpose(1, 2, 3, 0), truth[15:18])
    with pytest.raises(DecodeError, match=r"do not say when they are shown; set data\.decoder\.fps_hz"):
        read_clip(tmp_path, fps_hz=10, decoder=FOLDER)
    with open_video(tmp_path, FOLDER) as folder:
        assert folder.fps_hz is None and "of no rate" in repr(folder)


def test_a_cache_sees_that_one_picture_changed(tmp_path: Path) -> None:
    """The folder's own time of change stays what it was."""
    truth = write_frames(tmp_path / "film", numbered(1, 5))
    reading = source(tmp_path / "frames", decoder=FOLDER)
    try:
        assert np.array_equal(frames(reading, tmp_path / "film", 0, 3), truth[[0, 3]])
        assert len([*tmp_path.glob("frames/*/*.npy")]) == 1
        Image.fromarray(truth[0]).save(tmp_path / "film" / "img_00004.png")
        assert np.array_equal(frames(reading, tmp_path / "film", 0, 3), truth[[0, 0]])
    finally:
        leave_all()
