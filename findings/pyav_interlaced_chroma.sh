#!/usr/bin/env bash
# PyAV 18 gives other colours than PyAV 16 and decord for the same interlaced picture: its chroma is enlarged field by field.
#
# The decoded planes are equal to the byte. swscale of FFmpeg 8 looks at a frame's flag of interlacing and treats the two
# fields as two pictures; PyAV up to 16, decord, torchcodec (on FFmpeg 5) and the `ffmpeg` command take the frame as one.
# Features of one file then depend on the reader, by 200 grey levels at edges of colour, and a list that was decoded
# with one and is tested with another differs, without an error. Taking the flag away (filter `setfield=prog`) gives the
# old picture to the bit.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install \
    decord==0.6.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import sys
from fractions import Fraction

import av
import decord
import numpy as np
from av.filter import Graph

decord.logging.set_level(decord.logging.QUIET)
rows, columns = np.mgrid[0:96, 0:128]


def write(path, codec, options):
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(12):
            red = (rows + 2 * index) // 5 % 2 * 200 + 20
            picture = np.stack([red, 240 - red, columns + 4 * index], -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def without_flag(frame):
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("setfield", "prog"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


print(f"PyAV {av.__version__} on FFmpeg {av.ffmpeg_version_info}, decord {decord.__version__}")
fields = {"flags": "+ilme+ildct"}
for name, codec, options in (
    ("progressive H.264", "libx264", {}),
    ("interlaced H.264", "libx264", fields | {"x264-params": "tff=1"}),
    ("interlaced MPEG-4", "mpeg4", fields),
):
    path = f"{sys.argv[1]}/video.mp4"
    write(path, codec, options)
    by_decord = decord.VideoReader(path).get_batch(range(12)).asnumpy().astype(int)
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    by_pyav = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    as_one = np.stack([without_flag(frame).to_ndarray(format="rgb24") for frame in frames])
    flagged = sum(frame.interlaced_frame for frame in frames)
    most = [np.abs(other - by_decord).max() for other in (by_pyav, as_one)]
    print(f"{name}, {flagged} of 12 frames flagged: PyAV {most[0]} grey levels from decord, without the flag {most[1]}")
PY
for version in 16.1.0 18.1.0; do
    "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "av==$version" 2>"$work/pip"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors"
done | tee "$work/seen"

diff - "$work/seen" <<'SEEN'
PyAV 16.1.0 on FFmpeg 8.0.1, decord 0.6.0
progressive H.264, 0 of 12 frames flagged: PyAV 0 grey levels from decord, without the flag 0
interlaced H.264, 12 of 12 frames flagged: PyAV 0 grey levels from decord, without the flag 0
interlaced MPEG-4, 12 of 12 frames flagged: PyAV 0 grey levels from decord, without the flag 0
PyAV 18.1.0 on FFmpeg 8.1.2, decord 0.6.0
progressive H.264, 0 of 12 frames flagged: PyAV 0 grey levels from decord, without the flag 0
interlaced H.264, 12 of 12 frames flagged: PyAV 206 grey levels from decord, without the flag 0
interlaced MPEG-4, 12 of 12 frames flagged: PyAV 233 grey levels from decord, without the flag 0
SEEN
echo "as it was"
