#!/usr/bin/env bash
# torchvision's bicubic Resize of a picture as float is another one than of the same picture as uint8: 45 grey levels at sharp edges.
#
# Of uint8 on a CPU (as of Pillow's) the result of the first direction is rounded and cut to 0 to 255 before the second one begins; of floats
# nothing is cut, neither in between nor at the end. So `[Resize, ToDtype(float32, scale=True)]` and the two in the other order differ, also
# where the second is cut to the range afterwards (16 levels), and else pictures exceed the range that a model was trained on. By name both
# are one preprocessing. Bilinear ones differ by rounding alone. What was trained on Pillow's pictures wants Resize first, of uint8 on the CPU.
#
# Makes its own input; needs Python 3.10 or newer and pip. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 torchvision==0.26.0 numpy==2.2.6 pillow==11.3.0 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import torch
import torchvision
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

rows, columns = torch.meshgrid(torch.arange(360), torch.arange(480), indexing="ij")
letters = ((rows // 3 * 7 + columns // 4 * 5 + (rows // 12) * (columns // 16)) % 11 < 4) * 255  # white strokes on black, as of a caption
slope = (rows + columns) * 255 // 838
print(f"torchvision {torchvision.__version__.partition('+')[0]}, 480 x 360; grey levels from Resize of uint8")
for name, picture in (("strokes", letters), ("slope", slope)):
    picture = picture.to(torch.uint8).expand(3, -1, -1).contiguous()
    for mode in ("BILINEAR", "BICUBIC"):
        for side in (224, 600):
            resize = v2.Resize(side, interpolation=v2.InterpolationMode[mode])
            early = v2.Compose([v2.ToDtype(torch.float32, scale=True), resize])(picture) * 255
            late = resize(picture).float()
            pillow = pil_to_tensor(resize(to_pil_image(picture))).float()
            far = [(other - late).abs().max().round().int().item() for other in (pillow, early, early.clamp(0, 255))]
            print(
                f"{name}, {mode.lower()} to {side}: Pillow {far[0]}, float {far[1]} ({early.min():.0f} to {early.max():.0f}), "
                f"float cut to the range {far[2]}"
            )
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff "$work/seen" - <<'SEEN'
torchvision 0.26.0, 480 x 360; grey levels from Resize of uint8
strokes, bilinear to 224: Pillow 0, float 1 (0 to 255), float cut to the range 1
strokes, bilinear to 600: Pillow 0, float 0 (0 to 255), float cut to the range 0
strokes, bicubic to 224: Pillow 1, float 45 (-45 to 300), float cut to the range 16
strokes, bicubic to 600: Pillow 0, float 39 (-39 to 294), float cut to the range 16
slope, bilinear to 224: Pillow 0, float 1 (0 to 254), float cut to the range 1
slope, bilinear to 600: Pillow 0, float 1 (0 to 255), float cut to the range 1
slope, bicubic to 224: Pillow 1, float 1 (-0 to 254), float cut to the range 1
slope, bicubic to 600: Pillow 0, float 1 (-0 to 255), float cut to the range 1
SEEN
echo "as it was"
