#!/usr/bin/env bash
# `pims.Video(film)[k]` goes back in a film of variable rate: behind frame 20 comes frame 5, and what [k] is depends on what was asked before.
#
# `pims.Video` takes its reader by time, which counts frames at the mean rate (in Matroska the usual one) and looks for the frame of that moment
# among those that it keeps. Where frames stay longer on the screen than that rate says, as in phones' and screen recordings and webm, it
# gives old ones from what it keeps. No error: `len` is 97 for a film of 40 frames, and time runs backwards in it. Films of a constant rate are right.
# `pims.PyAVReaderIndexed` counts frames, and is right for both when it reads from the start; from the end it errs in two frames of an mp4.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install pims==0.7 av==18.1.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import sys
from fractions import Fraction

import av
import numpy as np
import pims

CONSTANT = [2 * k for k in range(40)]
VARYING = CONSTANT[:20] + [40 + 8 * k for k in range(20)]  # 25 frames a second, then 6.25


def write(path, times):
    """Number k is a picture of grey level 10 + 5 k, shown at times[k] / 50 s."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 50)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 10 + 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbers(reader, order):
    return {k: round((int(np.asarray(reader[k])[32, 48, 0]) - 10) / 5) for k in order}


print(f"pims {pims.__version__}, PyAV {av.__version__}, films of 40 frames")
for name, times in (("constant rate", CONSTANT), ("varying rate", VARYING)):
    for suffix in ("mp4", "mkv"):
        path = f"{sys.argv[1]}/film.{suffix}"
        write(path, times)
        for kind in (pims.Video, pims.PyAVReaderIndexed):
            count = len(kind(path))
            forwards = numbers(kind(path), range(count))
            backwards = numbers(kind(path), reversed(range(count)))
            steps_back = sum(forwards[k] < forwards[k - 1] for k in range(1, count))
            other = sum(forwards[k] != backwards[k] for k in range(count))
            part = [forwards[k] for k in range(18, 26)]
            print(f"{name}, {suffix}, {kind.__name__}: {count} frames, 18 to 25 are {part}; steps back {steps_back}, others when asked from the end {other}")
PY
"$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" | tee "$work/seen" || { cat "$work/errors"; exit 1; }
diff - "$work/seen" <<'SEEN'
pims 0.7, PyAV 18.1.0, films of 40 frames
constant rate, mp4, PyAVReaderTimed: 40 frames, 18 to 25 are [18, 19, 20, 21, 22, 23, 24, 25]; steps back 0, others when asked from the end 0
constant rate, mp4, PyAVReaderIndexed: 40 frames, 18 to 25 are [18, 19, 20, 21, 22, 23, 24, 25]; steps back 0, others when asked from the end 0
constant rate, mkv, PyAVReaderTimed: 40 frames, 18 to 25 are [18, 19, 20, 21, 22, 23, 24, 25]; steps back 0, others when asked from the end 0
constant rate, mkv, PyAVReaderIndexed: 40 frames, 18 to 25 are [18, 19, 20, 21, 22, 23, 24, 25]; steps back 0, others when asked from the end 0
varying rate, mp4, PyAVReaderTimed: 40 frames, 18 to 25 are [25, 26, 26, 27, 27, 28, 28, 29]; steps back 0, others when asked from the end 9
varying rate, mp4, PyAVReaderIndexed: 40 frames, 18 to 25 are [18, 19, 20, 21, 22, 23, 24, 25]; steps back 0, others when asked from the end 2
varying rate, mkv, PyAVReaderTimed: 97 frames, 18 to 25 are [18, 19, 20, 20, 5, 6, 21, 21]; steps back 19, others when asked from the end 0
varying rate, mkv, PyAVReaderIndexed: 40 frames, 18 to 25 are [18, 19, 20, 21, 22, 23, 24, 25]; steps back 0, others when asked from the end 0
SEEN
echo "as it was"
