#!/usr/bin/env bash
# `ffmpeg -i film.mp4 %05d.jpg` gives frames of other colours than the film's, 18 to 30 grey levels off, where the film is BT.709 as HD films are.
#
# A JPEG has no field for a colour matrix, and all that read it take BT.601. FFmpeg stretches the range to JPEG's, and leaves the matrix of the
# film: red becomes darker and green brighter for Pillow, OpenCV and torchvision. PNGs of the same command are right, and so are JPEGs of films without
# a tag, or with BT.601's. What people take for the cure depends on the release: `scale=out_color_matrix=bt601` does nothing in 7.0 and half of it in 4.2,
# `format=rgb24` nothing in 4.2 and 9.0. Both, one behind the other, are right in all of them. A model that was trained on a folder of frames and is
# asked about the films, or the other way round, sees other colours, and in a data set of both kinds of films colours tell where a film came from.
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
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image

WORK = Path(sys.argv[1])
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "grey": (120, 120, 120)}
TAGS = {"BT.709": (1, "ITU709"), "BT.601": (5, "ITU601"), "no tag": (2, "ITU601")}


def write(path, tag):
    """One second of four stripes, 4:2:0 of limited range."""
    number, matrix = TAGS[tag]
    picture = np.repeat(np.array([list(COLOURS.values())], np.uint8), 32, 1).repeat(64, 0)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.codec_context.colorspace = number
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
            frame.pts, frame.time_base, frame.colorspace = index, Fraction(1, 25), number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
version = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
print(f"FFmpeg {version.split('-')[0].lstrip('n')}, from its frames to those that PyAV {av.__version__} decodes, in grey levels")
for tag in TAGS:
    film = str(WORK / "film.mp4")
    write(film, tag)
    with av.open(film) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    seen = []
    for name, filters in (
        ("frame.png", ""),
        ("frame.jpg", ""),
        ("frame.jpg", "format=rgb24"),
        ("frame.jpg", "scale=out_color_matrix=bt601"),
        ("frame.jpg", "format=rgb24,scale=out_color_matrix=bt601"),
    ):
        options = ["-vf", filters] if filters else []
        command = [ffmpeg, "-v", "error", "-y", "-i", film, *options, "-q:v", "1", "-frames:v", "1", "-update", "1", str(WORK / name)]
        subprocess.run(command, check=True)
        picture = np.asarray(Image.open(WORK / name).convert("RGB")).astype(int)
        far = [np.abs(picture - decoded)[:, 32 * k + 8 : 32 * k + 24].mean((0, 1)).max() for k in range(4)]
        said = "as the film" if max(far) <= 4 else ", ".join(f"{colour} {away:.0f}" for colour, away in zip(COLOURS, far))
        seen.append(f"{tag}, {' '.join([*options, name])}: {said}")
    print("\n".join(seen) if any("red" in line for line in seen) else f"{tag}, all five: as the film")
PY
pip av==18.1.0 numpy==2.2.6 pillow==11.3.0
for version in 0.4.9 0.6.0 0.8.1; do
    pip "imageio-ffmpeg==$version" "setuptools==75.8.0"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
FFmpeg 4.2.2, from its frames to those that PyAV 18.1.0 decodes, in grey levels
BT.709, frame.png: as the film
BT.709, frame.jpg: red 18, green 30, blue 6, grey 1
BT.709, -vf format=rgb24 frame.jpg: red 20, green 29, blue 9, grey 0
BT.709, -vf scale=out_color_matrix=bt601 frame.jpg: red 13, green 12, blue 14, grey 3
BT.709, -vf format=rgb24,scale=out_color_matrix=bt601 frame.jpg: as the film
BT.601, all five: as the film
no tag, all five: as the film
FFmpeg 7.0.2, from its frames to those that PyAV 18.1.0 decodes, in grey levels
BT.709, frame.png: as the film
BT.709, frame.jpg: red 18, green 30, blue 6, grey 1
BT.709, -vf format=rgb24 frame.jpg: as the film
BT.709, -vf scale=out_color_matrix=bt601 frame.jpg: red 18, green 30, blue 6, grey 1
BT.709, -vf format=rgb24,scale=out_color_matrix=bt601 frame.jpg: as the film
BT.601, all five: as the film
no tag, all five: as the film
FFmpeg 9.0.2, from its frames to those that PyAV 18.1.0 decodes, in grey levels
BT.709, frame.png: as the film
BT.709, frame.jpg: red 18, green 31, blue 7, grey 1
BT.709, -vf format=rgb24 frame.jpg: red 20, green 30, blue 8, grey 0
BT.709, -vf scale=out_color_matrix=bt601 frame.jpg: as the film
BT.709, -vf format=rgb24,scale=out_color_matrix=bt601 frame.jpg: as the film
BT.601, all five: as the film
no tag, all five: as the film
SEEN
echo "as it was"
