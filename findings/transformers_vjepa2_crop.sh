#!/usr/bin/env bash
# transformers' V-JEPA 2 gives tokens the places of other rows and frames where a clip is not of the config's `crop_size`, without a word.
#
# Its rotary positions are counted from token numbers with rows and frames of crop_size / patch_size tokens, whatever the clip is. A clip of
# 224 px in a model for 256 px has 196 tokens a frame and is counted as if it had 256, so that its second frame begins as the end of the
# first. Meta's own code counts with the clip's rows and columns. With `model.config.crop_size` set before the model is made, the tokens
# are those of the clip; a clip that is no square has no such setting.
#
# Needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 torchvision==0.26.0 numpy==2.2.6 \
    transformers==5.23.0 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import torch
import transformers
from transformers import VJEPA2Config, VJEPA2Model

SMALL = dict(
    patch_size=16, hidden_size=48, num_hidden_layers=2, num_attention_heads=2, pred_hidden_size=24, pred_num_hidden_layers=1,
    pred_num_attention_heads=2, frames_per_clip=8,
)


def model(crop_size):
    torch.manual_seed(0)
    made = VJEPA2Model(VJEPA2Config(crop_size=crop_size, **SMALL)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


trained = model(256)
print(f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}")
for height, width in ((256, 256), (224, 224), (384, 384)):
    clip = torch.randn(1, 8, 3, height, width, generator=torch.Generator().manual_seed(1))
    counted = model(height)
    counted.load_state_dict(trained.state_dict())  # the same weights: no tensor depends on crop_size
    with torch.no_grad():
        one, other = (m(clip, skip_predictor=True).last_hidden_state for m in (trained, counted))
    attention = trained.encoder.layer[0].attention
    frames = attention.get_position_ids(one)[0].unique().tolist()
    differ = bool((one - other).abs().max() > 1e-2)
    print(f"{height} x {width} px in a model of 256 px: 4 tokens in time, counted as {len(frames)}; features differ from its own size {differ}")
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" 2>/dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
torch 2.11.0, transformers 5.23.0
256 x 256 px in a model of 256 px: 4 tokens in time, counted as 4; features differ from its own size False
224 x 224 px in a model of 256 px: 4 tokens in time, counted as 4; features differ from its own size True
384 x 384 px in a model of 256 px: 4 tokens in time, counted as 9; features differ from its own size True
SEEN
