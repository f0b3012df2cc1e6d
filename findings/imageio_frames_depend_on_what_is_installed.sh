#!/usr/bin/env bash
# `imageio.v3.imread("film.mp4")` gives other frames where imageio-ffmpeg is not installed: phones' films lie on their side, others change length.
#
# imageio reads films by FFmpeg's command (imageio-ffmpeg) if that is there, and else by PyAV; both are its documented extras, and the call is the
# same. The command turns a film as its container says, and repeats frames of a variable rate until the rate is constant. By PyAV a film lies as it
# is stored, and each frame comes once. So shapes, counts and frame numbers differ between two environments that run one script:
# frame 30 of one film is frame 22 of its stream, or 30. `plugin="FFMPEG"` or `plugin="pyav"` says which.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/write.py" <<'PY'
import subprocess
import sys
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np

folder, command = sys.argv[1], imageio_ffmpeg.get_ffmpeg_exe()


def write(name, times):
    """Number k is a picture of grey level 10 + 5 k, with its upper left quarter black; shown at times[k] / 50 s."""
    with av.open(f"{folder}/{name}", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "g": "20", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 50)
        for number, time in enumerate(times):
            picture = np.full((64, 96, 3), 10 + 5 * number, np.uint8)
            picture[:32, :48] = 0
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


write("plain.mp4", [2 * k for k in range(40)])
write("varying rate.mp4", [2 * k if k < 20 else 40 + 8 * (k - 20) for k in range(40)])  # 25 frames a second, then 6.25
turn = [command, "-v", "error", "-display_rotation", "90", "-i", f"{folder}/plain.mp4", "-c", "copy", f"{folder}/turned.mp4"]
subprocess.run(turn, check=True)
PY
cat >"$work/read.py" <<'PY'
import importlib.util
import sys

import imageio.v3 as iio

both = importlib.util.find_spec("imageio_ffmpeg") is not None
print("imageio-ffmpeg and PyAV installed:" if both else "PyAV installed:")
for name in ("plain.mp4", "turned.mp4", "varying rate.mp4"):
    frames = iio.imread(f"{sys.argv[1]}/{name}")
    numbers = [round((int(frame[2 * len(frame) // 3, 2 * frame.shape[1] // 3, 0]) - 10) / 5) for frame in frames]
    black = [edge for edge, part in (("top left", (8, 8)), ("bottom left", (-8, 8))) if frames[20][part][0] < 5]
    height, width = frames.shape[1:3]
    print(f"    {name}: {len(frames)} frames of {width} x {height}, black at the {black[0]}, frame 0 is {numbers[0]}, frame 30 is {numbers[30]}")
PY
pip imageio==2.38.1 av==18.1.0 numpy==2.2.6 imageio-ffmpeg==0.8.1
"$work/venv/bin/python" "$work/write.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
{
    echo "imageio $("$work/venv/bin/python" -c 'import imageio; print(imageio.__version__)'), imageio-ffmpeg 0.8.1, PyAV 18.1.0"
    "$work/venv/bin/python" "$work/read.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
    "$work/venv/bin/python" -m pip --quiet uninstall --yes imageio-ffmpeg
    "$work/venv/bin/python" "$work/read.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
} | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
imageio 2.38.1, imageio-ffmpeg 0.8.1, PyAV 18.1.0
imageio-ffmpeg and PyAV installed:
    plain.mp4: 40 frames of 96 x 64, black at the top left, frame 0 is 0, frame 30 is 30
    turned.mp4: 40 frames of 64 x 96, black at the bottom left, frame 0 is 0, frame 30 is 30
    varying rate.mp4: 97 frames of 96 x 64, black at the top left, frame 0 is 0, frame 30 is 22
PyAV installed:
    plain.mp4: 40 frames of 96 x 64, black at the top left, frame 0 is 0, frame 30 is 30
    turned.mp4: 40 frames of 96 x 64, black at the top left, frame 0 is 0, frame 30 is 30
    varying rate.mp4: 40 frames of 96 x 64, black at the top left, frame 0 is 0, frame 30 is 30
SEEN
echo "as it was"
