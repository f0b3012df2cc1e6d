#!/usr/bin/env bash
# Pillow 13 resizes columns before rows where that is cheaper; Pillow 12 always takes rows first. The pictures differ.
#
# `Image.resize` rounds and cuts to 0..255 between its two passes, so that their order shows, without a word: with a bicubic filter
# in 13 and more grey levels of a sharp picture (22 of noise), with a bilinear one in 1. It meets tall pictures (here 1000 x 300
# and 800 x 300, not 640 x 480), and those that lose more of their height than of their width. torchvision's Resize of a picture
# of Pillow is this call: after the update a model sees other pixels than it was trained and tested on, and hashes of resized
# pictures change. Two calls, `resize((width, old_height))` and then `resize((width, height))`, give Pillow 12's picture to the
# bit with both versions.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"

cat >"$work/look.py" <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

folder, write = sys.argv[1], sys.argv[2] == "write"
print(f"Pillow {PIL.__version__}")
rows, columns = np.mgrid[0:1000, 0:1000]
stripes = np.where((rows // 3 + columns // 3) % 2, 255, 0)
for height, width, to_height, to_width in [
    (1000, 300, 853, 256), (640, 480, 224, 224), (480, 640, 224, 224), (1000, 600, 512, 307), (800, 300, 224, 224),
]:
    image = Image.fromarray(stripes[:height, :width].astype(np.uint8))
    for name, kind in (("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)):
        one = np.asarray(image.resize((to_width, to_height), kind)).astype(int)
        two = np.asarray(image.resize((to_width, height), kind).resize((to_width, to_height), kind)).astype(int)
        path = f"{folder}/{height}_{width}_{name}.npy"
        if write:
            np.save(path, one)
        before = np.load(path)
        print(f"{height} x {width} to {to_height} x {to_width}, {name}: differs from 12.3.0 by {abs(one - before).max()}; "
              f"in two calls by {abs(two - before).max()}")
PY

for version in 12.3.0 13.0.0; do
    "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "pillow==$version" numpy==2.2.6 2>"$work/pip" ||
        { cat "$work/pip"; exit 1; }
    "$work/venv/bin/python" "$work/look.py" "$work" "$([ $version = 12.3.0 ] && echo write || echo compare)"
done >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
Pillow 12.3.0
1000 x 300 to 853 x 256, bicubic: differs from 12.3.0 by 0; in two calls by 0
1000 x 300 to 853 x 256, bilinear: differs from 12.3.0 by 0; in two calls by 0
640 x 480 to 224 x 224, bicubic: differs from 12.3.0 by 0; in two calls by 0
640 x 480 to 224 x 224, bilinear: differs from 12.3.0 by 0; in two calls by 0
480 x 640 to 224 x 224, bicubic: differs from 12.3.0 by 0; in two calls by 0
480 x 640 to 224 x 224, bilinear: differs from 12.3.0 by 0; in two calls by 0
1000 x 600 to 512 x 307, bicubic: differs from 12.3.0 by 0; in two calls by 0
1000 x 600 to 512 x 307, bilinear: differs from 12.3.0 by 0; in two calls by 0
800 x 300 to 224 x 224, bicubic: differs from 12.3.0 by 0; in two calls by 0
800 x 300 to 224 x 224, bilinear: differs from 12.3.0 by 0; in two calls by 0
Pillow 13.0.0
1000 x 300 to 853 x 256, bicubic: differs from 12.3.0 by 14; in two calls by 0
1000 x 300 to 853 x 256, bilinear: differs from 12.3.0 by 1; in two calls by 0
640 x 480 to 224 x 224, bicubic: differs from 12.3.0 by 0; in two calls by 0
640 x 480 to 224 x 224, bilinear: differs from 12.3.0 by 0; in two calls by 0
480 x 640 to 224 x 224, bicubic: differs from 12.3.0 by 0; in two calls by 0
480 x 640 to 224 x 224, bilinear: differs from 12.3.0 by 0; in two calls by 0
1000 x 600 to 512 x 307, bicubic: differs from 12.3.0 by 0; in two calls by 0
1000 x 600 to 512 x 307, bilinear: differs from 12.3.0 by 0; in two calls by 0
800 x 300 to 224 x 224, bicubic: differs from 12.3.0 by 13; in two calls by 0
800 x 300 to 224 x 224, bilinear: differs from 12.3.0 by 1; in two calls by 0
SEEN
