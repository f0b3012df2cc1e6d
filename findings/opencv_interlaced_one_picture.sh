#!/usr/bin/env bash
# OpenCV 4.13 to 5.0 reads every interlaced video as one picture that never changes, and says that each read went well.
#
# `VideoCapture.read()` returns True and an image that was never filled, for each frame that is flagged as interlaced (H.264,
# MPEG-2, anything from a camcorder or a broadcast). The wheels since 4.13.0 hold FFmpeg 8, whose swscale refuses to convert
# an interlaced frame into one that is not flagged so, and OpenCV does not look at what it returns. 4.12.0 (FFmpeg 5) is right.
# A training on such files learns from noise of old memory, without an error; only stderr has lines of swscaler.
# The same happens with colour matrices that FFmpeg 8 refuses (YCgCo; see pyav_colour_matrices.sh).
#
# Makes its own videos with PyAV; needs Python 3.10 or newer, pip and Linux. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/write.py" <<'PY'
import sys
from fractions import Fraction

import av
import numpy as np

folder = sys.argv[1]
rows, columns = np.mgrid[0:96, 0:128]
kinds = {
    "progressive": {},
    "interlaced": {"flags": "+ilme+ildct", "x264-params": "tff=1"},
    "ycgco": {"x264-params": "colormatrix=YCgCo"},
}
for name, options in kinds.items():
    with av.open(f"{folder}/{name}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(24):
            value = 128 + 90 * np.sin((columns + rows + 5 * index) / 9)
            picture = np.stack([value, 255 - value, np.roll(value, index, 1)], -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
PY
cat >"$work/read.py" <<'PY'
import sys

import cv2

for name in ("progressive", "interlaced", "ycgco"):
    capture = cv2.VideoCapture(f"{sys.argv[1]}/{name}.mp4")
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1].tobytes())
    print(f"opencv {cv2.__version__} {name}: {len(frames)} reads went well, {len(set(frames))} different pictures")
PY

pip av==18.1.0 numpy==2.2.6
"$work/venv/bin/python" "$work/write.py" "$work"
for version in 4.12.0.88 4.13.0.92 4.14.0.94 5.0.0.93; do
    pip --no-deps --force-reinstall "opencv-python-headless==$version"
    "$work/venv/bin/python" "$work/read.py" "$work" 2>/dev/null
done | tee "$work/seen"

diff - "$work/seen" <<'SEEN'
opencv 4.12.0 progressive: 24 reads went well, 24 different pictures
opencv 4.12.0 interlaced: 24 reads went well, 24 different pictures
opencv 4.12.0 ycgco: 24 reads went well, 24 different pictures
opencv 4.13.0 progressive: 24 reads went well, 24 different pictures
opencv 4.13.0 interlaced: 24 reads went well, 1 different pictures
opencv 4.13.0 ycgco: 24 reads went well, 1 different pictures
opencv 4.14.0 progressive: 24 reads went well, 24 different pictures
opencv 4.14.0 interlaced: 24 reads went well, 1 different pictures
opencv 4.14.0 ycgco: 24 reads went well, 1 different pictures
opencv 5.0.0 progressive: 24 reads went well, 24 different pictures
opencv 5.0.0 interlaced: 24 reads went well, 1 different pictures
opencv 5.0.0 ycgco: 24 reads went well, 1 different pictures
SEEN
echo "as it was"
