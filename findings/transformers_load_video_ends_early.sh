#!/usr/bin/env bash
# transformers' `load_video(film, num_frames=16)` gives frames 0 to 15 of a film of 31 frames, not 16 spread over it, up to release 5.17; 5.18 spreads them.
#
# Its documentation promises an even spread. The numbers were `np.arange(0, total, total / num_frames, dtype=int)`, and numpy takes the
# step as a whole number there, cut off: 31 / 16 is 1. As many frames come out as were asked for, without a word, and up to half of the film, its end, is
# never seen. `fps=16` of a film of 25 frames a second gives every frame of its first 64 %, which a model then takes for 16 a second. So it has been since
# the function came (4.49), with every backend. Video processors and `pipeline` do not use these numbers. A guard: `sample_indices_fn=` of one's own.
#
# Makes its own input; needs Python 3.10 to 3.13, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import sys

import av
import numpy as np
import transformers
from transformers.video_utils import load_video

print(f"transformers {transformers.__version__}, numpy {np.__version__}, films of 25 frames a second")
for total in (31, 100, 250):
    film = f"{sys.argv[1]}/{total}.mp4"
    with av.open(film, "w") as container:  # frame k has the bits of k, in bars of black and white
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 128, 32, "yuv420p"
        for number in range(total):
            bars = np.array([255 * (number >> bit & 1) for bit in range(8)], np.uint8).repeat(16)
            picture = np.broadcast_to(bars[None, :, None], (32, 128, 3)).copy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    for asked in ({"num_frames": 16}, {"num_frames": 64}, {"fps": 16}):
        if asked.get("num_frames", 0) > total:
            continue
        frames, _ = load_video(film, backend="pyav", **asked)
        numbers = ((frames[:, 16, 8::16, 0] > 128) * 2 ** np.arange(8)).sum(1).tolist()
        print(f"{total} frames, {asked}: {len(numbers)} frames, {numbers[:5]} ... {numbers[-1]} of {total - 1}")
PY
pip av==16.1.0 numpy==2.2.6 requests==2.32.5
for version in 4.57.1 5.17.0 5.18.0; do
    pip "transformers==$version"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
transformers 4.57.1, numpy 2.2.6, films of 25 frames a second
31 frames, {'num_frames': 16}: 16 frames, [0, 1, 2, 3, 4] ... 15 of 30
31 frames, {'fps': 16}: 19 frames, [0, 1, 2, 3, 4] ... 18 of 30
100 frames, {'num_frames': 16}: 16 frames, [0, 6, 12, 18, 24] ... 90 of 99
100 frames, {'num_frames': 64}: 64 frames, [0, 1, 2, 3, 4] ... 63 of 99
100 frames, {'fps': 16}: 64 frames, [0, 1, 2, 3, 4] ... 63 of 99
250 frames, {'num_frames': 16}: 16 frames, [0, 15, 30, 45, 60] ... 225 of 249
250 frames, {'num_frames': 64}: 64 frames, [0, 3, 6, 9, 12] ... 189 of 249
250 frames, {'fps': 16}: 160 frames, [0, 1, 2, 3, 4] ... 159 of 249
transformers 5.17.0, numpy 2.2.6, films of 25 frames a second
31 frames, {'num_frames': 16}: 16 frames, [0, 1, 2, 3, 4] ... 15 of 30
31 frames, {'fps': 16}: 19 frames, [0, 1, 2, 3, 4] ... 18 of 30
100 frames, {'num_frames': 16}: 16 frames, [0, 6, 12, 18, 24] ... 90 of 99
100 frames, {'num_frames': 64}: 64 frames, [0, 1, 2, 3, 4] ... 63 of 99
100 frames, {'fps': 16}: 64 frames, [0, 1, 2, 3, 4] ... 63 of 99
250 frames, {'num_frames': 16}: 16 frames, [0, 15, 30, 45, 60] ... 225 of 249
250 frames, {'num_frames': 64}: 64 frames, [0, 3, 6, 9, 12] ... 189 of 249
250 frames, {'fps': 16}: 160 frames, [0, 1, 2, 3, 4] ... 159 of 249
transformers 5.18.0, numpy 2.2.6, films of 25 frames a second
31 frames, {'num_frames': 16}: 16 frames, [0, 1, 3, 5, 7] ... 29 of 30
31 frames, {'fps': 16}: 19 frames, [0, 1, 3, 4, 6] ... 29 of 30
100 frames, {'num_frames': 16}: 16 frames, [0, 6, 12, 18, 25] ... 93 of 99
100 frames, {'num_frames': 64}: 64 frames, [0, 1, 3, 4, 6] ... 98 of 99
100 frames, {'fps': 16}: 64 frames, [0, 1, 3, 4, 6] ... 98 of 99
250 frames, {'num_frames': 16}: 16 frames, [0, 15, 31, 46, 62] ... 234 of 249
250 frames, {'num_frames': 64}: 64 frames, [0, 3, 7, 11, 15] ... 246 of 249
250 frames, {'fps': 16}: 160 frames, [0, 1, 3, 4, 6] ... 248 of 249
SEEN
echo "as it was"
