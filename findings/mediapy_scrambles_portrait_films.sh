#!/usr/bin/env bash
# `mediapy.read_video` gives torn pictures of a phone's portrait film: the upright picture's bytes in rows of the stored picture's length.
#
# Phones store a portrait film lying, with a display matrix that turns it by a quarter. FFmpeg's command hands over upright pictures; mediapy takes
# their size from its messages, in which it looks for "rotation of N degrees", and the last such line wins: that of the output, which says
# "rotation of -0.00". So it cuts the stream of pixels into rows of the wrong length: no error, the lying film's shape, and slanted stripes in place of
# a picture. Films turned by 180 degrees are right. `ffmpeg -i film.mp4 upright.mp4` (which encodes anew) makes one that is read right.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import subprocess
import sys

import av
import imageio_ffmpeg
import mediapy
import numpy as np

folder, command = sys.argv[1], imageio_ffmpeg.get_ffmpeg_exe()
mediapy.set_ffmpeg(command)
rows, columns = np.mgrid[0:64, 0:96]
with av.open(f"{folder}/stored.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    for number in range(10):
        picture = np.stack([2 * columns + number, 3 * rows, 200 - columns], -1).astype(np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode())
version = subprocess.run([command, "-version"], capture_output=True, text=True, check=True).stdout.split()[2].split("-")[0]
print(f"mediapy {mediapy.__version__}, FFmpeg {version}, a film stored as 96 x 64")
for degrees in (0, 90, 180, 270):
    # as phones do: the same packets, with a display matrix; as a key of its own for a command before 6.0, which has no option for it
    turned = f"{folder}/{degrees}.mp4"
    old = ["-i", f"{folder}/stored.mp4", "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}"]
    new = ["-display_rotation", str(degrees), "-i", f"{folder}/stored.mp4", "-c", "copy"]
    subprocess.run([command, "-v", "error", "-y", *(old if version < "6" else new), turned], check=True)
    raw = subprocess.run([command, "-v", "error", "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    width, height = (96, 64) if degrees % 180 == 0 else (64, 96)
    upright = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    read = np.asarray(mediapy.read_video(turned))
    if read.shape == upright.shape:
        said = f"{np.abs(read.astype(int) - upright).max()} grey levels off"
    else:
        said = "the upright picture's bytes in other rows" if read.tobytes() == upright.tobytes() else "other bytes"
    print(f"turned by {degrees}: FFmpeg's pictures {width} x {height}, mediapy's {read.shape[2]} x {read.shape[1]}, {said}")
PY
pip mediapy==1.2.7 av==18.1.0 numpy==2.2.6 pillow==11.3.0 setuptools==75.8.0
for version in 0.4.9 0.6.0; do
    pip "imageio-ffmpeg==$version"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
mediapy 1.2.7, FFmpeg 4.2.2, a film stored as 96 x 64
turned by 0: FFmpeg's pictures 96 x 64, mediapy's 96 x 64, 0 grey levels off
turned by 90: FFmpeg's pictures 64 x 96, mediapy's 96 x 64, the upright picture's bytes in other rows
turned by 180: FFmpeg's pictures 96 x 64, mediapy's 96 x 64, 0 grey levels off
turned by 270: FFmpeg's pictures 64 x 96, mediapy's 96 x 64, the upright picture's bytes in other rows
mediapy 1.2.7, FFmpeg 7.0.2, a film stored as 96 x 64
turned by 0: FFmpeg's pictures 96 x 64, mediapy's 96 x 64, 0 grey levels off
turned by 90: FFmpeg's pictures 64 x 96, mediapy's 96 x 64, the upright picture's bytes in other rows
turned by 180: FFmpeg's pictures 96 x 64, mediapy's 96 x 64, 0 grey levels off
turned by 270: FFmpeg's pictures 64 x 96, mediapy's 96 x 64, the upright picture's bytes in other rows
SEEN
echo "as it was"
