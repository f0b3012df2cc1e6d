#!/usr/bin/env bash
# Three readers take a video that is to be mirrored for one that is to be turned by 180 degrees, or leave it as it is stored.
#
# A display matrix of mp4, mov or Matroska may mirror (selfie cameras and editors write such). The angle that FFmpeg's
# av_display_rotation_get makes of a matrix knows no mirroring: -180 degrees for left-right, 0 for upside-down. PyAV's
# `frame.rotation`, OpenCV and decord go by that angle alone (decord in mp4 only), so that the picture is upside down, or has
# left and right exchanged, where the labels say "moving something from left to right". The `ffmpeg` command mirrors.
#
# Makes its own videos with PyAV; needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install \
    av==18.1.0 decord==0.6.0 opencv-python-headless==4.12.0.88 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import sys
from fractions import Fraction

import av
import cv2
import decord
import numpy as np

decord.logging.set_level(decord.logging.QUIET)
folder = sys.argv[1]
stored = np.zeros((64, 96, 3), np.uint8)  # four corners of four colours
stored[:32, :48], stored[:32, 48:], stored[32:, :48] = (200, 40, 40), (40, 200, 40), (40, 40, 200)
WAYS = {
    "as stored": stored,
    "mirrored": stored[:, ::-1],
    "upside down": stored[::-1],
    "turned by 180": stored[::-1, ::-1],
    "turned clockwise": np.rot90(stored, 3),
    "turned counterclockwise": np.rot90(stored),
    "transposed": stored.swapaxes(0, 1),
}
MATRICES = {"mirrored": (-1, 0, 0, 1), "upside down": (1, 0, 0, -1), "transposed": (0, 1, 1, 0), "turned clockwise": (0, 1, -1, 0)}


def write(path, matrix):
    a, b, c, d = (65536 * value for value in matrix)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def by_pyav(path):
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def by_opencv(path):
    return cv2.VideoCapture(path).read()[1][:, :, ::-1]


def by_decord(path):
    try:
        return decord.VideoReader(path)[0].asnumpy()
    except decord.DECORDError:
        return None


def name_of(picture):
    if picture is None:
        return "an error"
    return next(
        name for name, way in WAYS.items() if way.shape == picture.shape and np.abs(way - picture.astype(float)).mean() < 10
    )


print(f"PyAV {av.__version__}, OpenCV {cv2.__version__}, decord {decord.__version__}")
for suffix in ("mp4", "mkv"):
    for wanted, matrix in MATRICES.items():
        path = f"{folder}/video.{suffix}"
        write(path, matrix)
        with av.open(path) as container:
            angle = next(container.decode(video=0)).rotation
        read = [name_of(reader(path)) for reader in (by_pyav, by_opencv, by_decord)]
        print(f"{suffix}, to be {wanted}: frame.rotation {angle}; PyAV {read[0]}, OpenCV {read[1]}, decord {read[2]}")
PY
"$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" | tee "$work/seen"

diff - "$work/seen" <<'SEEN'
PyAV 18.1.0, OpenCV 4.12.0, decord 0.6.0
mp4, to be mirrored: frame.rotation -180; PyAV turned by 180, OpenCV turned by 180, decord turned by 180
mp4, to be upside down: frame.rotation 0; PyAV as stored, OpenCV as stored, decord as stored
mp4, to be transposed: frame.rotation -90; PyAV turned clockwise, OpenCV turned clockwise, decord turned clockwise
mp4, to be turned clockwise: frame.rotation -90; PyAV turned clockwise, OpenCV turned clockwise, decord turned clockwise
mkv, to be mirrored: frame.rotation -180; PyAV turned by 180, OpenCV turned by 180, decord as stored
mkv, to be upside down: frame.rotation 0; PyAV as stored, OpenCV as stored, decord as stored
mkv, to be transposed: frame.rotation -90; PyAV turned clockwise, OpenCV turned clockwise, decord as stored
mkv, to be turned clockwise: frame.rotation -90; PyAV turned clockwise, OpenCV turned clockwise, decord as stored
SEEN
echo "as it was"
