#!/usr/bin/env bash
# x264 makes another film of the same frames at each call on processors with AVX-512, in one thread and with one seed of everything.
#
# x264 is taken to be deterministic for one set of options. Its AVX-512 code for `mbtree` takes in what memory held before, so the
# bits differ by what a process did earlier; glibc's MALLOC_PERTURB_, which fills fresh memory with one byte, shows it at will. The
# pixels are right to the eye, and a data set that is encoded twice is not the same data set: sizes, checksums, and a point of an
# accuracy at high compression. With `x264-params asm=avx2`, `asm=sse2` or `mbtree=0` the film is the same each time. Seen with the x264 in
# PyAV's wheel.
#
# Makes its own input; needs Python 3.11 or newer, pip, Linux with glibc and an x86-64 processor. Fails when anything differs from what
# is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install av==18.1.0 numpy==2.2.6 2>"$work/pip" ||
    { cat "$work/pip"; exit 1; }

cat >"$work/encode.py" <<'PY'
import hashlib
import sys
from fractions import Fraction

import av
import numpy as np

y, x = np.mgrid[0:64, 0:64]
picture = np.stack([40 + 2 * x, 60 + 3 * y, 200 - x - y], axis=2)
picture[10:30, 15:40] = 200, 30, 90
moving = np.stack([np.roll(picture, 2 * number, axis=1) for number in range(60)])
moving = (moving + np.random.default_rng(0).integers(0, 12, moving.shape)).clip(0, 255).astype(np.uint8)
encoder = av.CodecContext.create("libx264", "w")
encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
encoder.thread_count = 1
encoder.options = {"crf": "23", "x264-params": "threads=1:lookahead-threads=1:sliced-threads=0" + sys.argv[1]}
found = hashlib.sha256()
for frame in [*(av.VideoFrame.from_ndarray(of, format="rgb24") for of in moving), None]:
    for packet in encoder.encode(frame):
        found.update(bytes(packet))
print(found.hexdigest())
PY

echo "av $("$work/venv/bin/python" -c 'import av; print(av.__version__)')" >"$work/seen"
for params in "" ":asm=avx2" ":asm=sse2" ":mbtree=0"; do
    films=$(for byte in 85 170; do MALLOC_PERTURB_=$byte "$work/venv/bin/python" "$work/encode.py" "$params"; done | sort -u | wc -l)
    echo "${params:-as it is}: $films" >>"$work/seen"
done
cat "$work/seen"
if grep -qE '^flags.*avx512bw.*avx512vl' /proc/cpuinfo; then
    films=2
else
    echo "this processor has no AVX-512"
    films=1
fi
diff "$work/seen" - <<SEEN
av 18.1.0
as it is: $films
:asm=avx2: 1
:asm=sse2: 1
:mbtree=0: 1
SEEN
