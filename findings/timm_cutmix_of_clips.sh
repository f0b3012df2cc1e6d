#!/usr/bin/env bash
# timm's CutMix of clips (B, C, T, H, W) pastes nothing in most batches, and mixes their labels all the same.
#
# It draws a box of rows and columns by the last two dimensions, and lays it over the third and fourth, which are an image's rows and
# columns and a clip's frames and rows. Of 16 frames with 224 rows a box that begins below row 15 holds nothing, while targets are mixed by the
# box's share of a frame. No error and no warning: it is label noise. All three modes do so. VideoMAE's copy (MCG-NJU/VideoMAE, mixup.py at
# 5291aaf; issue 34) has the line of mode `elem` mended, and that of mode `batch`, which its fine-tuning uses with `--cutmix 1.0`, as it was.
# Frames as channels, `clips.flatten(1, 2)`, give a box of rows and columns in every frame.
#
# Makes its own input; needs Python 3.10 or newer and pip. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 torchvision==0.26.0 timm==1.0.31 numpy==2.2.6 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import numpy as np
import timm
import torch
from timm.data import Mixup

SHAPE = (2, 1, 16, 224, 224)
print(f"timm {timm.__version__}, 200 batches of two clips of 16 frames of 224 x 224")
for mode in ("batch", "pair", "elem"):
    for name, view in (("clips", None), ("frames as channels", (2, 16, 224, 224))):
        np.random.seed(0)
        cutmix = Mixup(mixup_alpha=0, cutmix_alpha=1, label_smoothing=0, num_classes=2, mode=mode)
        pasted, weights = [], []
        for _ in range(200):
            clips = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1).expand(SHAPE).clone()
            mixed, targets = cutmix(clips if view is None else clips.view(view), torch.tensor([0, 1]))
            pasted.append(mixed[0].double().mean().item())
            weights.append(targets[0, 1].item())
        unchanged = np.mean([here == 0 and weight > 0 for here, weight in zip(pasted, weights)])
        print(
            f"{mode}, {name}: pixels of the other clip {np.mean(pasted):.2f}, weight of its label {np.mean(weights):.2f}; "
            f"mixed labels over pixels of one clip in {unchanged:.0%} of batches"
        )
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff "$work/seen" - <<'SEEN'
timm 1.0.31, 200 batches of two clips of 16 frames of 224 x 224
batch, clips: pixels of the other clip 0.24, weight of its label 0.32; mixed labels over pixels of one clip in 55% of batches
batch, frames as channels: pixels of the other clip 0.32, weight of its label 0.32; mixed labels over pixels of one clip in 0% of batches
pair, clips: pixels of the other clip 0.22, weight of its label 0.34; mixed labels over pixels of one clip in 60% of batches
pair, frames as channels: pixels of the other clip 0.34, weight of its label 0.34; mixed labels over pixels of one clip in 0% of batches
elem, clips: pixels of the other clip 0.22, weight of its label 0.34; mixed labels over pixels of one clip in 60% of batches
elem, frames as channels: pixels of the other clip 0.34, weight of its label 0.34; mixed labels over pixels of one clip in 0% of batches
SEEN
echo "as it was"
