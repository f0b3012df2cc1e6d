#!/usr/bin/env bash
# A film that is one line less high has other colours everywhere: FFmpeg enlarges chroma in another way where the height is odd.
#
# 4:2:0 becomes RGB by a special routine that repeats each chroma sample, but only where the number of lines is even; else the general scaler runs, which
# interpolates chroma, FFmpeg 8 in another way than 7. The same planes differ by 200 grey levels where neighbouring colours do. An odd width
# changes nothing. So a film of an odd height, as crops and scalings leave behind, has other colours at edges than the same film with a line more or
# less, and other ones with each version. Films of even heights have one picture.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import av
import numpy as np

CHROMA = np.random.default_rng(0).integers(40, 216, (2, 40, 40)).astype(np.uint8)


def picture(width, height):
    """Grey 128 with a colour of its own for each 2 x 2 pixels, as RGB."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for number, plane in enumerate(frame.planes):
        rows = np.full((plane.height, plane.line_size), 128, np.uint8)
        if number:
            rows[:, : plane.width] = CHROMA[number - 1, : plane.height, : plane.width]
        plane.update(rows.tobytes())
    return frame.to_ndarray(format="rgb24").astype(int)[:63, :63]


even = picture(64, 64)
print(f"PyAV {av.__version__} on FFmpeg {av.ffmpeg_version_info}")
for width, height in ((64, 66), (63, 64), (64, 63)):
    differ = np.abs(picture(width, height) - even)
    print(f"{width} x {height} beside 64 x 64, the same planes: {differ.max()} grey levels at most, {differ.mean():.1f} on average")
PY
for version in 14.2.0 18.1.0; do
    pip "av==$version" numpy==2.2.6
    "$work/venv/bin/python" "$work/look.py"
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
PyAV 14.2.0 on FFmpeg 7.1
64 x 66 beside 64 x 64, the same planes: 0 grey levels at most, 0.0 on average
63 x 64 beside 64 x 64, the same planes: 0 grey levels at most, 0.0 on average
64 x 63 beside 64 x 64, the same planes: 151 grey levels at most, 21.9 on average
PyAV 18.1.0 on FFmpeg 8.1.2
64 x 66 beside 64 x 64, the same planes: 0 grey levels at most, 0.0 on average
63 x 64 beside 64 x 64, the same planes: 0 grey levels at most, 0.0 on average
64 x 63 beside 64 x 64, the same planes: 211 grey levels at most, 25.5 on average
SEEN
echo "as it was"
