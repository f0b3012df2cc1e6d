#!/usr/bin/env bash
# `imageio.v3.imread(film, plugin="pyav")` of a film that was cut without re-encoding ends with frames that nobody decoded.
#
# A cut by `ffmpeg -ss ... -c copy`, or by a phone, keeps the packets from the last key frame on, and an edit list that hides those before the cut.
# imageio makes the array as long as the number of packets, and leaves what comes after the last decoded frame as the memory was: black in a
# fresh process, else whatever was there. glibc's MALLOC_PERTURB_, which fills fresh memory with one byte, shows it at will. `imiter` gives the
# frames that decode, and `improps` counts the others, too. This is how imread reads mp4 by default where imageio-ffmpeg is not installed.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux with glibc on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install imageio==2.38.1 av==18.1.0 numpy==2.2.6 imageio-ffmpeg==0.8.1 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/write.py" <<'PY'
import subprocess
import sys

import av
import imageio_ffmpeg
import numpy as np

folder = sys.argv[1]
with av.open(f"{folder}/whole.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "5", "g": "20"})
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    for number in range(40):
        picture = np.full((120, 160, 3), 40 + 3 * number, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode())
cut = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", "0.4", "-i", f"{folder}/whole.mp4", "-c", "copy", f"{folder}/cut.mp4"]
subprocess.run(cut, check=True)
PY
cat >"$work/read.py" <<'PY'
import sys

import imageio
import imageio.v3 as iio

print(f"imageio {imageio.__version__}, memory filled with {sys.argv[2]}")
for name in ("whole.mp4", "cut.mp4"):
    path = f"{sys.argv[1]}/{name}"
    read = iio.imread(path, plugin="pyav")
    decoded = list(iio.imiter(path, plugin="pyav"))
    more = read[len(decoded) :]
    assert all((one == other).all() for one, other in zip(read, decoded))
    counted = iio.improps(path, plugin="pyav").n_images
    print(f"{name}: imiter {len(decoded)} frames, improps {counted}, imread {len(read)}; grey levels of the last {len(more)}: {sorted(set(more.ravel().tolist()))}")
PY
"$work/venv/bin/python" "$work/write.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
for byte in 200 100; do
    MALLOC_PERTURB_=$((255 - byte)) "$work/venv/bin/python" "$work/read.py" "$work" $byte 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
imageio 2.38.1, memory filled with 200
whole.mp4: imiter 40 frames, improps 40, imread 40; grey levels of the last 0: []
cut.mp4: imiter 30 frames, improps 40, imread 40; grey levels of the last 10: [200]
imageio 2.38.1, memory filled with 100
whole.mp4: imiter 40 frames, improps 40, imread 40; grey levels of the last 0: []
cut.mp4: imiter 30 frames, improps 40, imread 40; grey levels of the last 10: [100]
SEEN
echo "as it was"
