#!/usr/bin/env bash
# Films that phones record in HDR (HLG or PQ) have flat frames of other colours in PyAV, decord, OpenCV 4.12 and the `ffmpeg` command, and ordinary ones
# in OpenCV 4.13: by the release of a library, not by anything one asks for. The cure that most recipes name, FFmpeg's `tonemap=hable`, makes all dark.
#
# The levels of such a film follow another curve than an ordinary one's. White paper, 255 in the ordinary film, becomes 189 (HLG) or 146 (PQ), and a
# red (200, 30, 30) brown. OpenCV maps the tones from 4.13 on, and so a pipeline that is updated, or mixes frames
# extracted with one library and films decoded with another, shows a model two looks. `hable` presses all levels together, to leave room for lights a
# hundred times as bright as paper: white becomes 157 and middle grey, 128, becomes 86, darker than the untreated frames. `clip` gives paper
# and all below it the levels of the ordinary film.
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
from pathlib import Path

import av
import cv2
import decord
import imageio_ffmpeg
import numpy as np

WORK = Path(sys.argv[1])
CHART = ((0, 0, 0), (64, 64, 64), (128, 128, 128), (192, 192, 192), (255, 255, 255), (200, 30, 30))
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
LINEAR = "zscale=t=linear:npl=203,format=gbrpf32le"  # white is 203 cd/m2, as ITU-R BT.2408 has it


def ffmpeg(*arguments):
    subprocess.run([FFMPEG, "-v", "error", "-y", *arguments], check=True)


def write(film, curve):
    """Half a second of six stripes: as an ordinary film, or as a phone's 10-bit HEVC."""
    picture = np.repeat(np.array([CHART], np.uint8), 64, 1).repeat(64, 0)
    (WORK / "chart.rgb").write_bytes(picture.tobytes() * 12)
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "384x64", "-r", "24", "-i", str(WORK / "chart.rgb"))
    rgb = "format=gbrp,setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc,zscale=tin=bt709:pin=bt709:min=gbr:rin=full"
    if curve == "bt709":
        ffmpeg(*source, "-vf", f"{rgb}:m=bt709:r=tv,format=yuv420p", "-c:v", "libx264", "-crf", "4", str(film))
        return
    filters = f"{rgb}:t=linear:npl=203,format=gbrpf32le,zscale=t={curve}:p=bt2020:m=bt2020nc:r=tv:npl=203,format=yuv420p10le"
    tags = f"log-level=error:colorprim=bt2020:transfer={curve}:colormatrix=bt2020nc"
    ffmpeg(*source, "-vf", filters, "-c:v", "libx265", "-x265-params", tags, "-crf", "4", str(film))


def levels(picture):
    """White, middle grey and the red, of the middles of their stripes."""
    at = [picture[24:40, 64 * stripe + 24 : 64 * stripe + 40].reshape(-1, 3).mean(0).round().astype(int) for stripe in (4, 2, 5)]
    return f"white {at[0][0]}, grey {at[1][0]}, red ({', '.join(map(str, at[2]))})"


def by_pyav(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


version = subprocess.run([FFMPEG, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
print(f"PyAV {av.__version__}, decord {decord.__version__}, OpenCV {cv2.__version__}, FFmpeg {version.split('-')[0].lstrip('n')}")
for name, curve in (("ordinary", "bt709"), ("HLG", "arib-std-b67"), ("PQ", "smpte2084")):
    film, picture, mapped = WORK / "film.mp4", WORK / "frame.png", WORK / "mapped.mp4"
    write(film, curve)
    ffmpeg("-i", str(film), "-frames:v", "1", "-pix_fmt", "rgb24", "-update", "1", str(picture))
    print(f"{name}, PyAV: {levels(by_pyav(film))}")
    print(f"{name}, decord: {levels(decord.VideoReader(str(film))[0].asnumpy())}")
    print(f"{name}, OpenCV: {levels(cv2.VideoCapture(str(film)).read()[1][..., ::-1])}")
    print(f"{name}, ffmpeg frame.png: {levels(cv2.imread(str(picture))[..., ::-1])}")
    for how in () if curve == "bt709" else ("hable", "clip"):
        filters = f"{LINEAR},zscale=p=bt709,tonemap={how}:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
        ffmpeg("-i", str(film), "-vf", filters, "-c:v", "libx264", "-crf", "4", str(mapped))
        print(f"{name}, tonemap={how}: {levels(by_pyav(mapped))}")
PY
pip av==18.1.0 decord==0.6.0 numpy==2.2.6 setuptools==75.8.0
for versions in "4.12.0.88 0.6.0" "4.13.0.92 0.8.1"; do
    pip "opencv-python-headless==${versions% *}" "imageio-ffmpeg==${versions#* }" numpy==2.2.6
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
PyAV 18.1.0, decord 0.6.0, OpenCV 4.12.0, FFmpeg 7.0.2
ordinary, PyAV: white 255, grey 128, red (200, 29, 30)
ordinary, decord: white 255, grey 128, red (200, 29, 30)
ordinary, OpenCV: white 255, grey 128, red (185, 11, 31)
ordinary, ffmpeg frame.png: white 255, grey 128, red (200, 29, 30)
HLG, PyAV: white 189, grey 112, red (143, 60, 38)
HLG, decord: white 189, grey 112, red (143, 60, 38)
HLG, OpenCV: white 191, grey 114, red (141, 58, 42)
HLG, ffmpeg frame.png: white 189, grey 112, red (143, 60, 38)
HLG, tonemap=hable: white 157, grey 86, red (129, 19, 19)
HLG, tonemap=clip: white 255, grey 128, red (200, 29, 30)
PQ, PyAV: white 146, grey 104, red (118, 72, 53)
PQ, decord: white 146, grey 104, red (118, 72, 53)
PQ, OpenCV: white 148, grey 106, red (119, 72, 56)
PQ, ffmpeg frame.png: white 146, grey 104, red (118, 72, 53)
PQ, tonemap=hable: white 157, grey 86, red (129, 19, 19)
PQ, tonemap=clip: white 255, grey 128, red (198, 29, 30)
PyAV 18.1.0, decord 0.6.0, OpenCV 4.13.0, FFmpeg 9.0.2
ordinary, PyAV: white 255, grey 128, red (200, 29, 30)
ordinary, decord: white 255, grey 128, red (200, 29, 30)
ordinary, OpenCV: white 255, grey 128, red (200, 29, 30)
ordinary, ffmpeg frame.png: white 255, grey 128, red (200, 29, 30)
HLG, PyAV: white 189, grey 112, red (143, 60, 38)
HLG, decord: white 189, grey 112, red (143, 60, 38)
HLG, OpenCV: white 254, grey 128, red (188, 56, 39)
HLG, ffmpeg frame.png: white 189, grey 112, red (143, 60, 38)
HLG, tonemap=hable: white 157, grey 86, red (129, 19, 19)
HLG, tonemap=clip: white 255, grey 128, red (200, 29, 30)
PQ, PyAV: white 146, grey 104, red (118, 72, 53)
PQ, decord: white 146, grey 104, red (118, 72, 53)
PQ, OpenCV: white 253, grey 128, red (205, 36, 27)
PQ, ffmpeg frame.png: white 146, grey 104, red (118, 72, 53)
PQ, tonemap=hable: white 157, grey 86, red (129, 19, 19)
PQ, tonemap=clip: white 255, grey 128, red (198, 29, 30)
SEEN
echo "as it was"
