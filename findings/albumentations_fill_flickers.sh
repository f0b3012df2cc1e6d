#!/usr/bin/env bash
# albumentations' Affine of a clip fills the corners of each frame with another colour where `fill` is a colour: (124, 116, 104), (0, 124, 116), (104, 0, 124), ...
#
# `Compose(...)(images=clip)` turns a clip once, its frames as channels of one picture, four at a time because OpenCV takes no more. A colour of three
# is laid over each four, so that its parts wander from channel to channel, with black between them, and come round every fourth frame. SafeRotate,
# ShiftScaleRotate and ElasticTransform do the same. Corners that should be still flicker at a quarter of the frame rate, in training alone, without a
# warning: a motion that no film has. The mean colour of photographs, as here, is a usual fill. One frame (`image=`), one grey (`fill=114`), Rotate
# and PadIfNeeded are right, and so are releases 2.0.0 and 2.0.1; 2.0.8 is the last one of this name. AlbumentationsX 2.0.20 and 2.2.6 are right (looked
# at once, not below).
#
# Makes its own input; needs Python 3.10 to 3.13, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import albumentations as A
import cv2
import numpy as np

COLOUR = (124, 116, 104)
clip = np.full((6, 64, 96, 3), 200, np.uint8)
always = {"p": 1, "fill": COLOUR}
steps = {
    "Affine": A.Affine(rotate=(45, 45), **always),
    "SafeRotate": A.SafeRotate(limit=(30, 30), border_mode=cv2.BORDER_CONSTANT, **always),
    "ShiftScaleRotate": A.ShiftScaleRotate(rotate_limit=(45, 45), border_mode=cv2.BORDER_CONSTANT, **always),
    "Rotate": A.Rotate(limit=(45, 45), border_mode=cv2.BORDER_CONSTANT, **always),
    "PadIfNeeded": A.PadIfNeeded(80, 112, border_mode=cv2.BORDER_CONSTANT, **always),
    "Affine, fill=114": A.Affine(rotate=(45, 45), fill=114, p=1),
}
print(f"albumentations {A.__version__}, a still clip of six frames, fill {COLOUR}: the upper left corner of each frame")
for name, step in steps.items():
    print(f"{name}:", *(tuple(frame[0, 0].tolist()) for frame in A.Compose([step], seed=0)(images=clip)["images"]))
alone = A.Compose([steps["Affine"]], seed=0)(image=clip[1])["image"]
print("Affine, frame 1 alone:", tuple(alone[0, 0].tolist()))
PY
pip opencv-python-headless==4.12.0.88 numpy==2.2.6
for version in 2.0.0 2.0.8; do
    pip "albumentations==$version"
    NO_ALBUMENTATIONS_UPDATE=1 "$work/venv/bin/python" "$work/look.py" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
albumentations 2.0.0, a still clip of six frames, fill (124, 116, 104): the upper left corner of each frame
Affine: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
SafeRotate: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
ShiftScaleRotate: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
Rotate: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
PadIfNeeded: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
Affine, fill=114: (114, 114, 114) (114, 114, 114) (114, 114, 114) (114, 114, 114) (114, 114, 114) (114, 114, 114)
Affine, frame 1 alone: (124, 116, 104)
albumentations 2.0.8, a still clip of six frames, fill (124, 116, 104): the upper left corner of each frame
Affine: (124, 116, 104) (0, 124, 116) (104, 0, 124) (116, 104, 0) (124, 116, 104) (0, 124, 124)
SafeRotate: (124, 116, 104) (0, 124, 116) (104, 0, 124) (116, 104, 0) (124, 116, 104) (0, 124, 124)
ShiftScaleRotate: (124, 116, 104) (0, 124, 116) (104, 0, 124) (116, 104, 0) (124, 116, 104) (0, 124, 124)
Rotate: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
PadIfNeeded: (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104) (124, 116, 104)
Affine, fill=114: (114, 114, 114) (114, 114, 114) (114, 114, 114) (114, 114, 114) (114, 114, 114) (114, 114, 114)
Affine, frame 1 alone: (124, 116, 104)
SEEN
echo "as it was"
