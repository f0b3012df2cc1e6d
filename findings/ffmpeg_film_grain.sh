#!/usr/bin/env bash
# One film with film grain has three pictures: FFmpeg 4 adds no grain, 5 one noise, 7 and 8 another.
#
# H.264 and HEVC may describe grain in messages (SEI) that a player adds to the decoded picture. FFmpeg's decoders add it themselves since 5.0, so
# that decord 0.6 (FFmpeg 4), OpenCV 4.12 (FFmpeg 5) and PyAV 14 and 18 (FFmpeg 7 and 8) read one file in three ways, without a word. A list that was decoded with one library and is tested with another differs in every pixel.
# `export_side_data=film_grain` leaves the grain out, and gives decord's picture to the bit.
#
# Makes its own input; needs Python 3.10 to 3.13, pip and Linux on x86. Fails when anything differs from what is below.
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

# Film grain for brightness, of all levels: added, at scale 80, cut off at 8 in both directions (H.264 D.1.22, HEVC D.2.25).
MESSAGE = bytes.fromhex("130a 01200200ff0140100860 80")
rows, columns = np.mgrid[0:96, 0:128]
for codec, start in (("libx264", b"\x06"), ("libx265", b"\x4e\x01")):
    with av.open(f"{sys.argv[1]}/{codec}.mp4", "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "10", "x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        packets = []
        for index in range(24):
            value = 128 + 60 * np.sin((columns + rows + 4 * index) / 15)
            picture = np.stack([value, 255 - value, np.roll(value, index, 1)], -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode()]:
            grained = av.Packet(b"\0\0\0\1" + start + MESSAGE + bytes(packet))
            grained.pts, grained.dts, grained.time_base = packet.pts, packet.dts, packet.time_base
            grained.is_keyframe, grained.stream = packet.is_keyframe, stream
            container.mux(grained)
PY
cat >"$work/read.py" <<'PY'
import sys

import av
import cv2
import decord
import numpy as np

decord.logging.set_level(decord.logging.QUIET)


def by_pyav(path, options):
    with av.open(path) as container:
        container.streams.video[0].codec_context.options = options
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def by_opencv(path):
    capture, frames = cv2.VideoCapture(path), []
    while (answer := capture.read())[0]:
        frames.append(answer[1][:, :, ::-1])
    return np.stack(frames)


for codec in ("libx264", "libx265"):
    path = f"{sys.argv[1]}/{codec}.mp4"
    of_decord = decord.VideoReader(path).get_batch(range(24)).asnumpy().astype(int)
    others = {
        f"PyAV {av.__version__}": by_pyav(path, {}),
        "without grain": by_pyav(path, {"export_side_data": "film_grain"}),
        f"OpenCV {cv2.__version__}": by_opencv(path),
    }
    far = [f"{name} {np.abs(pictures - of_decord).max()}" for name, pictures in others.items()]
    between = np.abs(others[f"PyAV {av.__version__}"].astype(int) - others[f"OpenCV {cv2.__version__}"]).max()
    print(f"{codec}: grey levels from decord {decord.__version__}: {', '.join(far)}; the two from one another: {between}")
PY
pip decord==0.6.0 opencv-python-headless==4.12.0.88 numpy==2.2.6 av==18.1.0
"$work/venv/bin/python" "$work/write.py" "$work"
for version in 14.2.0 18.1.0; do
    pip "av==$version"
    "$work/venv/bin/python" "$work/read.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
libx264: grey levels from decord 0.6.0: PyAV 14.2.0 11, without grain 0, OpenCV 4.12.0 12; the two from one another: 19
libx265: grey levels from decord 0.6.0: PyAV 14.2.0 11, without grain 0, OpenCV 4.12.0 12; the two from one another: 19
libx264: grey levels from decord 0.6.0: PyAV 18.1.0 11, without grain 0, OpenCV 4.12.0 12; the two from one another: 19
libx265: grey levels from decord 0.6.0: PyAV 18.1.0 11, without grain 0, OpenCV 4.12.0 12; the two from one another: 19
SEEN
echo "as it was"
