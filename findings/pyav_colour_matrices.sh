#!/usr/bin/env bash
# PyAV 16 takes every video for BT.601; PyAV 18 takes the matrix that the video states, and cannot convert six of them at all.
#
# `frame.to_ndarray(format="rgb24")` of the same file gives other colours after the update: 27 grey levels for BT.709, which
# is nearly all video in HD. decord, torchcodec and the `ffmpeg` command have gone by the stated matrix all along. So features,
# lists of hashes and accuracies of one file differ between PyAV 16 and 18, and between PyAV 16 and decord, without a word.
# And where swscale of FFmpeg 8 refuses a matrix (YCgCo, BT.2020 with constant luminance, derived from the
# primaries, ICtCp), PyAV 18 says "Operation not supported" of a sound file. With the frame's matrix set to "unspecified"
# it gives decord's picture (with constant luminance: set to BT.2020, 9).
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

decord.logging.set_level(decord.logging.QUIET)
NAMES = "bt709 fcc bt470bg smpte170m smpte240m YCgCo bt2020nc bt2020c smpte2085 chroma-derived-nc chroma-derived-c ICtCp".split()
UNSPECIFIED, BT2020, BT2020_CONSTANT = 2, 9, 10
rows, columns = np.mgrid[0:96, 0:128]

print(f"PyAV {av.__version__} on FFmpeg {av.ffmpeg_version_info}, decord {decord.__version__}")
for name in NAMES:
    path = f"{sys.argv[1]}/video.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": f"colormatrix={name}"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        picture = np.stack([2 * rows, columns, 255 - rows - columns], -1).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    by_decord = decord.VideoReader(path)[0].asnumpy().astype(int)
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    code = frame.colorspace
    try:
        answer = f"{np.abs(frame.to_ndarray(format='rgb24') - by_decord).max()} grey levels from decord"
    except OSError as error:
        frame.colorspace = BT2020 if code == BT2020_CONSTANT else UNSPECIFIED
        off = np.abs(frame.to_ndarray(format="rgb24") - by_decord).max()
        answer = f"{error.strerror}; tagged {frame.colorspace} instead: {off} grey levels from decord"
    print(f"{name} ({code}): {answer}")
PY
for version in 16.1.0 18.1.0; do
    "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "av==$version" 2>"$work/pip"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors"
done | tee "$work/seen"

diff - "$work/seen" <<'SEEN'
PyAV 16.1.0 on FFmpeg 8.0.1, decord 0.6.0
bt709 (1): 27 grey levels from decord
fcc (4): 2 grey levels from decord
bt470bg (5): 0 grey levels from decord
smpte170m (6): 0 grey levels from decord
smpte240m (7): 24 grey levels from decord
YCgCo (8): 0 grey levels from decord
bt2020nc (9): 21 grey levels from decord
bt2020c (10): 21 grey levels from decord
smpte2085 (11): 0 grey levels from decord
chroma-derived-nc (12): 0 grey levels from decord
chroma-derived-c (13): 0 grey levels from decord
ICtCp (14): 0 grey levels from decord
PyAV 18.1.0 on FFmpeg 8.1.2, decord 0.6.0
bt709 (1): 0 grey levels from decord
fcc (4): 0 grey levels from decord
bt470bg (5): 0 grey levels from decord
smpte170m (6): 0 grey levels from decord
smpte240m (7): 0 grey levels from decord
YCgCo (8): Operation not supported; tagged 2 instead: 0 grey levels from decord
bt2020nc (9): 0 grey levels from decord
bt2020c (10): Operation not supported; tagged 9 instead: 0 grey levels from decord
smpte2085 (11): Operation not supported; tagged 2 instead: 0 grey levels from decord
chroma-derived-nc (12): Operation not supported; tagged 2 instead: 0 grey levels from decord
chroma-derived-c (13): Operation not supported; tagged 2 instead: 0 grey levels from decord
ICtCp (14): Operation not supported; tagged 2 instead: 0 grey levels from decord
SEEN
echo "as it was"
