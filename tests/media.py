"""Writes small real video files for the tests, with PyAV: any codec, container, size, group of pictures, B-frames.

`python -m tests.media FOLDER` writes all FILMS, for `tools/benchmark.py decoders`.
"""

import functools
import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import av
import numpy as np
from av.stream import Disposition

X264_FIXED_GOP = {"b-adapt": "0", "sc_threshold": "0", "crf": "12"}
X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0:open-gop="
VP9 = {"deadline": "realtime", "cpu-used": "8"}
FINE = {"qmin": "2", "qmax": "2"}  # pictures large enough that damage is in them, and not in their headers
FIELDS = {"flags": "+ilme+ildct"}  # of an encoder of interlaced pictures
MBAFF = FIELDS | {"x264-params": "tff=1"}
MIRRORED, UPSIDE_DOWN, TRANSPOSED = (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0)  # display matrices: a, b, c, d
STEPS = (1, 1, 3, 1, 7, 2)  # a variable frame rate
P = ParamSpec("P")
Films = dict[str, tuple[dict[str, Any], bool]]  # name: what to write, whether seeking in it is exact
UNUSUAL: Films = {  # what libraries show in different ways; the `ffmpeg` command is right
    "mirrored.mp4": ({"matrix": MIRRORED, "bframes": 2}, True),
    "upside_down.mov": ({"matrix": UPSIDE_DOWN}, True),
    "transposed.mkv": ({"matrix": TRANSPOSED}, True),
    "mirrored_mpeg4.mp4": ({"codec": "mpeg4", "matrix": MIRRORED}, False),
    "interlaced.mp4": ({"options": MBAFF, "bframes": 2}, True),
    "interlaced.mkv": ({"options": MBAFF, "bframes": 2}, True),
    "interlaced.ts": ({"options": MBAFF, "bframes": 2}, False),
    "interlaced_hevc.mp4": ({"codec": "libx265", "options": {"x265-params": X265 + "0:interlace=tff"}}, True),
    "interlaced_mpeg2.mpg": ({"codec": "mpeg2video", "options": FIELDS}, False),
    "interlaced_mpeg4.avi": ({"codec": "mpeg4", "options": FIELDS}, True),
    "interlaced_later.mp4": ({"codec": "libx264", "halves": ({}, {"options": MBAFF})}, False),
    "full_range_later.webm": ({"codec": "libvpx-vp9", "halves": ({"color_range": 1}, {"color_range": 2})}, True),
    "ycgco.mp4": ({"options": {"x264-params": "colormatrix=YCgCo"}}, True),
    "bt2020_constant.mkv": ({"options": {"x264-params": "colormatrix=bt2020c"}}, True),
    "chroma_derived.mp4": ({"options": {"x264-params": "colormatrix=chroma-derived-nc"}}, True),
    "tagged_rgb.mp4": ({"options": {"x264-params": "colormatrix=GBR"}}, True),
    "rgb.mp4": ({"codec": "libx264rgb", "pix_fmt": "rgb24"}, True),
    "wide_pixels.mp4": ({"pixel_aspect": Fraction(64, 45)}, True),
}
FILMS: Films = UNUSUAL | {
    "h264 closed [b] ä.mp4": ({"bframes": 3}, True),
    "h264_every_frame_key.mov": ({"gop": 1, "bframes": 2}, True),
    "h264_short_groups.mp4": ({"gop": 2, "bframes": 2}, True),
    "h264.mkv": ({"bframes": 3}, True),
    "h264_open.mp4": ({"bframes": 3, "options": {"x264-params": "open-gop=1"}}, False),
    "h264_open.mkv": ({"bframes": 3, "options": {"x264-params": "open-gop=1"}}, False),
    "h264_intra_refresh.mp4": ({"options": {"x264-params": "intra-refresh=1:bframes=0"}}, False),
    "h264.avi": ({"bframes": 3}, False),
    "h264.ts": ({"bframes": 3}, False),
    "h264_edit_list.mp4": ({"bframes": 2, "trim_frames": 5}, False),
    "h264_bt709.mp4": ({"options": {"x264-params": "colormatrix=bt709"}}, True),
    "h264_full_range.mp4": ({"pix_fmt": "yuvj420p"}, True),
    "h264_10bit.mp4": ({"pix_fmt": "yuv420p10le"}, True),
    "h264_444_odd.mp4": ({"pix_fmt": "yuv444p", "height": 47, "width": 61}, True),
    "one_frame.mp4": ({"num_frames": 1}, True),
    "narrow_48.mp4": ({"height": 64, "width": 48}, True),
    "narrow_72.mp4": ({"height": 64, "width": 72}, True),
    "rotated_90.mp4": ({"counterclockwise": 90, "bframes": 2}, True),
    "rotated_180.mp4": ({"counterclockwise": 180}, True),
    "rotated_270.mp4": ({"counterclockwise": 270}, True),
    "hevc_closed.mp4": ({"codec": "libx265", "options": {"x265-params": X265 + "0"}}, True),
    "hevc_open.mp4": ({"codec": "libx265", "options": {"x265-params": X265 + "1"}}, False),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": VP9}, True),
    "vp9_odd.webm": ({"codec": "libvpx-vp9", "options": VP9, "height": 47, "width": 61}, True),
    "vp9_vfr.mkv": ({"codec": "libvpx-vp9", "options": VP9, "steps": STEPS}, True),
    "h264_vfr.mp4": ({"bframes": 2, "steps": STEPS}, True),
    "two_streams.mp4": ({"best": 0}, True),
    "two_streams.mkv": ({"best": 1}, True),
    "h264_not_utf8.mkv": ({"latin1_title": "Café"}, True),
    "mpeg4_not_utf8.avi": ({"codec": "mpeg4", "latin1_title": "Café"}, True),
    "mpeg4.avi": ({"codec": "mpeg4", "bframes": 2}, False),
    "mpeg4.mp4": ({"codec": "mpeg4", "bframes": 2}, False),
    "mpeg2.mpg": ({"codec": "mpeg2video", "bframes": 2}, False),
    "h264_full_range_later.mp4": ({"codec": "libx264", "halves": ({}, {"color_range": 2})}, False),
    "av1.mp4": ({"codec": "libsvtav1", "height": 64, "options": {"preset": "12"}}, False),
}


@functools.lru_cache(maxsize=512)
def picture(index: int, height: int, width: int) -> np.ndarray:
    """Frame `index` of the test film, uint8 (H, W, 3), read-only: a drifting texture under a jumping bar, no two alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    rgb_HWC = np.stack(
        [
            128 + 90 * np.sin((columns + 2 * index) / 9),
            128 + 90 * np.cos((rows - index) / 7),
            128 + 90 * np.sin((columns + rows + 3 * index) / 11),
        ],
        axis=-1,
    )
    left = (index * 11) % max(1, width - width // 8)
    rgb_HWC[: height // 2, left : left + width // 8] = (255, 255 - (index * 37) % 256, (index * 53) % 256)
    found_HWC = rgb_HWC.astype(np.uint8)
    found_HWC.flags.writeable = False
    return found_HWC


def encoded_once(write: Callable[Concatenate[Path, P], Path]) -> Callable[Concatenate[Path, P], Path]:
    """A small film is encoded once, however many tests write it: later ones get the same bytes."""
    made: dict[tuple[str, str], bytes] = {}

    @functools.wraps(write)
    def write_or_copy(path: Path, *args: P.args, **settings: P.kwargs) -> Path:
        film = path.suffix, repr((args, sorted(settings.items())))
        if film in made:
            path.write_bytes(made[film])
        elif write(path, *args, **settings).stat().st_size < 2**20:
            made[film] = path.read_bytes()
        return path

    return write_or_copy


@encoded_once
def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 48,
    height: int = 48,
    width: int = 64,
    fps_hz: int = 25,
    gop: int = 12,
    bframes: int = 0,
    options: dict[str, str] | None = None,
    counterclockwise: int = 0,
    matrix: Sequence[float] = (),
    pixel_aspect: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    trim_frames: int = 0,
    container_options: dict[str, str] | None = None,
    steps: Sequence[int] = (1,),
    latin1_title: str = "",
) -> Path:
    """Write `num_frames` pictures to `path`; the suffix picks the container.

    `counterclockwise` is the rotation in degrees that the display matrix asks for, or `matrix` is (a, b, c, d) of it;
    `pixel_aspect` is the width of a pixel by its height; `trim_frames` makes an edit list
    start the film that many frames late, as a cut without re-encoding does; `steps`, taken in turn, are the ticks of
    1/fps_hz s that frames stay; `latin1_title` is metadata that is not UTF-8.
    """
    settings = dict(X264_FIXED_GOP) if codec == "libx264" else {}
    settings |= options or {}
    muxer = {"avoid_negative_ts": "disabled"} if trim_frames else {}
    with av.open(str(path), "w", container_options=muxer | (container_options or {})) as container:
        stream = container.add_stream(codec, rate=fps_hz, options=settings)
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.gop_size, stream.codec_context.max_b_frames = gop, bframes
        if counterclockwise:
            stream.set_display_rotation(counterclockwise)
        if matrix:
            a, b, c, d = (round(value * 65536) for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        placeholder = "#" * len(latin1_title)
        if latin1_title:
            container.metadata["title"] = placeholder
        ticks = -trim_frames
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            frame.pts, frame.time_base = ticks, Fraction(1, fps_hz)
            container.mux(stream.encode(frame))
            ticks += steps[index % len(steps)]
        container.mux(stream.encode())
    if latin1_title:
        content = path.read_bytes()
        assert content.count(placeholder.encode()) == 1
        path.write_bytes(content.replace(placeholder.encode(), latin1_title.encode("latin-1")))
    return path


@encoded_once
def write_two_streams(path: Path, *, best: int) -> Path:
    """Write two H.264 streams of one size and different pictures, of which `best` is marked as the default."""
    with av.open(str(path), "w") as container:
        # The other one has more bits, by which old versions of FFmpeg choose.
        qualities = [X264_FIXED_GOP | {"crf": "30" if number == best else "4"} for number in range(2)]
        streams = [container.add_stream("libx264", rate=25, options=options) for options in qualities]
        for number, stream in enumerate(streams):
            stream.height, stream.width, stream.pix_fmt, stream.gop_size = 48, 64, "yuv420p", 12
            stream.disposition = Disposition.default if number == best else Disposition(0)
        for index in range(48):
            for number, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(picture(index + 100 * number, 48, 64), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


@encoded_once
def write_halves(path: Path, *, codec: str, halves: Sequence[dict[str, Any]]) -> Path:
    """Write one stream of 24 pictures of each of two encoders: `options`, other attributes, and `size`, 64 x 48 pixels."""
    with av.open(str(path), "w") as container:
        encoders: list[Any] = [container.add_stream(codec, rate=25), av.CodecContext.create(codec, "w")]
        stream = encoders[0]
        for number, (encoder, settings) in enumerate(zip(encoders, halves, strict=True)):
            context = encoder if number else encoder.codec_context
            wanted = {"pix_fmt": "yuv420p", "gop_size": 12, "time_base": Fraction(1, 25), "framerate": Fraction(25)}
            wanted |= {"size": (64, 48), "options": VP9 if codec == "libvpx-vp9" else {}} | settings
            context.width, context.height = wanted.pop("size")
            for name, value in wanted.items():
                setattr(context, name, value)
            frames: list[Any] = []
            for index in range(24 * number, 24 * number + 24):
                rgb_HWC = picture(index, context.height, context.width)
                frames.append(av.VideoFrame.from_ndarray(rgb_HWC, format="rgb24"))
                frames[-1].pts, frames[-1].time_base = index, Fraction(1, 25)
            for frame in (*frames, None):
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    return path


# A message on film grain (H.264 D.1.22, HEVC D.2.25): added to brightness of all levels, at scale 80, cut off at 8.
GRAIN = bytes.fromhex("130a 01200200ff0140100860 80")


def with_grain(source: Path, target: Path) -> Path:
    """Copy an H.264 or HEVC film, and describe film grain in front of each picture, which a player is to add."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        unit = (b"\x06" if old.streams.video[0].codec_context.name == "h264" else b"\x4e\x01") + GRAIN
        for packet in old.demux(video=0):
            if packet.size:
                grained = av.Packet(len(unit).to_bytes(4, "big") + unit + bytes(packet))
                grained.pts, grained.dts, grained.duration = packet.pts, packet.dts, packet.duration
                grained.is_keyframe, grained.time_base, grained.stream = packet.is_keyframe, packet.time_base, stream
                new.mux(grained)
    return target


def write_as_old_x264(path: Path, pix_fmt: str) -> Path:
    """Write a film of 4:4:4 pictures that names an x264 of 2016, for whose bugs FFmpeg allows."""
    write_video(path, pix_fmt=pix_fmt, codec="libx264rgb" if pix_fmt == "rgb24" else "libx264", bframes=2)
    content = path.read_bytes()
    (named,) = re.findall(rb"x264 - core \d+", content)
    path.write_bytes(content.replace(named, b"x264 - core 148"))
    return path


def write_two_sizes(path: Path, codec: str, options: dict[str, str]) -> Path:
    """Write 24 pictures of 64 x 48 pixels and then 24 of 128 x 96, as a recording of a call may be."""
    return write_halves(path, codec=codec, halves=[{"options": options}, {"options": options, "size": (128, 96)}])


def write_film(folder: Path, name: str) -> Path:
    """Write the film of FILMS that is called `name` into `folder`. Raises UnknownCodecError without its encoder."""
    settings, _ = FILMS[name]
    write: Any = write_two_streams if "best" in settings else write_halves if "halves" in settings else write_video
    return write(folder / name, **settings)  # type: ignore[no-any-return]


def damaged(path: Path, codec: str = "libx264") -> Path:
    """A film of which a bad disk turned a few bytes round."""
    write_video(path, height=96, width=128, codec=codec, options={} if codec == "libx264" else FINE)
    content = bytearray(path.read_bytes())
    for place in range(2000, len(content) * 4 // 5, 1501):
        content[place] ^= 0xFF
    path.write_bytes(content)
    return path


def overwritten(path: Path) -> Path:
    """A film of which zeros took the place of a part in the middle."""
    write_video(path, options={"crf": "5"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    for film in FILMS:
        write_film(Path(sys.argv[1]), film)
