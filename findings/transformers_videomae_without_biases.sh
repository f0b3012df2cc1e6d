#!/usr/bin/env bash
# transformers 5.6 to 5.17 load the published VideoMAE files without the biases of queries and values: the model answers otherwise than in 5.5 and 5.18.
#
# The files on the hub, and all that transformers up to 5.5 saved, have `attention.q_bias` and `v_bias`. 5.6 gave the layers biases of their own
# (`query.bias`, `key.bias`, `value.bias`), and leaves them zero when it loads such a file; 5.18 renames what it finds. A report of the loading lists the
# biases as MISSING and UNEXPECTED, among what is to be ignored, and the model runs. Whoever took features, tested or fine-tuned with one of these
# releases did so with another network. A file that was saved by 5.17 is worse off in 5.5 and older: its biases are whatever memory held, others at each loading
# (MALLOC_PERTURB_, which fills fresh memory with one byte, shows it at will), and logits may be NaN. Here weights and biases are drawn from one
# distribution, and 22 % of the clips get another class; what a published model loses depends on its own biases.
#
# Needs Python 3.10 or newer, pip and Linux on x86. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import sys
from pathlib import Path

import torch
import transformers
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

work, task = Path(sys.argv[1]), sys.argv[2]
SMALL = dict(image_size=32, patch_size=16, num_frames=8, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
CLIPS = torch.randn(400, 8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def logits(net):
    with torch.no_grad():
        return net.eval()(pixel_values=CLIPS).logits


version = transformers.__version__
QUERY = "videomae.encoder.layer.0.attention.attention."
if task == "save":
    torch.manual_seed(0)
    net = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=50, **SMALL))
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.save_pretrained(work / version)
    torch.save(logits(net), work / version / "logits")
    torch.save(dict(net.named_parameters()).get(QUERY + "q_bias", dict(net.named_parameters()).get(QUERY + "query.bias")), work / version / "bias")
for folder in sorted(work.glob("[0-9]*")) if task == "load" else ():
    then, net = torch.load(folder / "logits"), VideoMAEForVideoClassification.from_pretrained(folder)
    bias = dict(net.named_parameters()).get(QUERY + "q_bias", dict(net.named_parameters()).get(QUERY + "query.bias"))
    biases = "zero" if not bias.any() else "as saved" if torch.equal(bias, torch.load(folder / "bias")) else "neither as saved nor zero"
    said = f"{version} loads what {folder.name} saved: biases {biases}"
    print(said if "neither" in biases else f"{said}, {100 * (logits(net).argmax(1) == then.argmax(1)).float().mean():.0f} % of the classes as before")
PY
pip torch==2.11.0 numpy==2.2.6
for step in "save 4.57.1" "save 5.17.0" "load 5.17.0" "load 5.6.0" "load 5.18.0" "load 5.5.0"; do
    pip "transformers==${step#* }"
    MALLOC_PERTURB_=85 OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" "$work" "${step% *}" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
5.17.0 loads what 4.57.1 saved: biases zero, 78 % of the classes as before
5.17.0 loads what 5.17.0 saved: biases as saved, 100 % of the classes as before
5.6.0 loads what 4.57.1 saved: biases zero, 78 % of the classes as before
5.6.0 loads what 5.17.0 saved: biases as saved, 100 % of the classes as before
5.18.0 loads what 4.57.1 saved: biases as saved, 100 % of the classes as before
5.18.0 loads what 5.17.0 saved: biases as saved, 100 % of the classes as before
5.5.0 loads what 4.57.1 saved: biases as saved, 100 % of the classes as before
5.5.0 loads what 5.17.0 saved: biases neither as saved nor zero
SEEN
echo "as it was"
