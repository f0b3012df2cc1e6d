#!/usr/bin/env bash
# torch.onnx.export of an antialiased resize by `scale_factor` gives a file that resizes by another factor: pixels shift by up to 0.74 towards one end.
#
# `F.interpolate(x, scale_factor=s)` steps through a picture by 1 / s, also where the size has to be rounded: 320 columns by 224 / 240 are 298 and not
# 298.67. The exported Resize is told the size alone, and steps by 320 / 298. The exporter's source says that torch always ignores scales where it
# antialiases, which is not so. Shapes agree and nothing is said; squares of 8 pixels are 119 to 157 grey levels off. Without antialias the file is
# right, and so it is with `size=`, with `recompute_scale_factor=True`, and where the size is a whole number, as at 0.5. A model that makes
# its frames smaller itself answers otherwise in the file.
#
# Makes its own input; needs Python 3.10 to 3.13, pip and Linux on x86. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.2.6 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import logging
import sys
import warnings

import numpy as np
import onnxruntime
import onnxscript
import torch
import torch.nn.functional as F

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
HEIGHT, WIDTH = 240, 320


class Resize(torch.nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, frames_TCHW):
        return F.interpolate(frames_TCHW, **self.how)


def by_file(model, frames):
    path = f"{sys.argv[1]}/resize.onnx"
    torch.onnx.export(model, (frames,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: frames.numpy()})[0]


columns = torch.arange(WIDTH).float().expand(1, 1, HEIGHT, WIDTH).contiguous()  # each pixel says where it is
checks = (torch.arange(HEIGHT)[:, None] // 8 + torch.arange(WIDTH) // 8) % 2 * 200.0 + 20  # squares of 8 pixels
checks = checks.expand(1, 1, HEIGHT, WIDTH).contiguous()
print(f"torch {torch.__version__.split('+')[0]}, onnxscript {onnxscript.__version__}, onnxruntime {onnxruntime.__version__}, {HEIGHT} x {WIDTH}")
short = 224 / HEIGHT
for name, how in {
    "scale_factor=224/240": {"scale_factor": short},
    "scale_factor=224/240, no antialias": {"scale_factor": short, "antialias": False},
    "scale_factor=224/240, recompute_scale_factor": {"scale_factor": short, "recompute_scale_factor": True},
    "size=(224, 298)": {"size": (224, 298)},
    "scale_factor=0.5": {"scale_factor": 0.5},
}.items():
    for mode in ("bilinear", "bicubic"):
        model = Resize(**({"mode": mode, "antialias": True, "align_corners": False} | how)).eval()
        here = model(columns)
        middle, right = (by_file(model, columns) - here.numpy())[0, 0, 100, [here.shape[3] // 2, -6]]
        levels = np.abs(by_file(model, checks) - model(checks).numpy()).max()
        print(
            f"{name}, {mode}: {tuple(here.shape[2:])}, shifted by {abs(middle):.2f} pixels in the middle, "
            f"{abs(right):.2f} at the right; squares {levels:.0f} levels off"
        )
PY
"$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/said" | grep -v "^\[torch.onnx\]" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff - "$work/seen" <<'SEEN'
torch 2.11.0, onnxscript 0.7.2, onnxruntime 1.32.0, 240 x 320
scale_factor=224/240, bilinear: (224, 298), shifted by 0.41 pixels in the middle, 0.74 at the right; squares 119 levels off
scale_factor=224/240, bicubic: (224, 298), shifted by 0.35 pixels in the middle, 0.70 at the right; squares 157 levels off
scale_factor=224/240, no antialias, bilinear: (224, 298), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
scale_factor=224/240, no antialias, bicubic: (224, 298), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
scale_factor=224/240, recompute_scale_factor, bilinear: (224, 298), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
scale_factor=224/240, recompute_scale_factor, bicubic: (224, 298), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
size=(224, 298), bilinear: (224, 298), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
size=(224, 298), bicubic: (224, 298), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
scale_factor=0.5, bilinear: (120, 160), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
scale_factor=0.5, bicubic: (120, 160), shifted by 0.00 pixels in the middle, 0.00 at the right; squares 0 levels off
SEEN
echo "as it was"
