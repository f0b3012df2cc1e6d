#!/usr/bin/env bash
# LoRA of peft on `query` and `value` of transformers' VideoMAE changes and trains nothing up to transformers 5.5: what is trained is the classifier alone.
#
# Its attention took `query.weight` itself, F.linear(x, weight=self.query.weight, bias=self.q_bias), and never called the layer that peft puts around
# `query`. `print_trainable_parameters` counts the factors, the training runs, and the accuracy is linear probing's, published as LoRA's. Since 5.6 the layer
# is called. An adapter that was trained with 5.6 or newer is loaded by 5.5 without a word and has no effect there, until it is merged:
# `merge_and_unload`, which promises the same outputs, changes them. By their source, ViViT, TimeSformer and V-JEPA 2 of transformers call the layer.
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

import peft
import torch
import transformers
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

adapter = Path(sys.argv[1]) / "adapter"
SMALL = dict(image_size=32, patch_size=16, num_frames=8, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
CLIPS = torch.randn(8, 8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made():
    torch.manual_seed(0)
    net = VideoMAEForVideoClassification(VideoMAEConfig(num_labels=4, **SMALL)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def logits(net):
    with torch.no_grad():
        return net(pixel_values=CLIPS).logits


def differ(one, other):
    return bool((one - other).abs().max() > 1e-4)


lora = peft.LoraConfig(r=4, target_modules=["query", "value"], modules_to_save=["classifier"])
tuned = peft.get_peft_model(made(), lora).train()
optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=0.1)
for _ in range(5):
    loss = torch.nn.functional.cross_entropy(tuned(pixel_values=CLIPS).logits, torch.arange(8) % 4)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
ups = [p for name, p in tuned.named_parameters() if "lora_B" in name]
said = f"{sum(bool(p.any()) for p in ups)} of {len(ups)} pairs of factors trained, of {tuned.get_nb_trainable_parameters()[0]} numbers that peft counts"

plain = peft.LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False)
if not adapter.exists():  # what a colleague hands on
    peft.get_peft_model(made(), plain).save_pretrained(adapter)
loaded = peft.PeftModel.from_pretrained(made(), adapter).eval()
with_it = logits(loaded)
merged = logits(loaded.merge_and_unload())
print(f"transformers {transformers.__version__}, peft {peft.__version__}: {said};", end=" ")
print(f"an adapter of 5.23 changes the logits {differ(with_it, logits(made()))}, merging changes them {differ(merged, with_it)}")
PY
pip torch==2.11.0 numpy==2.2.6 peft==0.21.2 transformers==5.23.0
for version in 5.23.0 4.57.1 5.5.0 5.6.0; do
    pip "transformers==$version"
    OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
transformers 5.23.0, peft 0.21.2: 4 of 4 pairs of factors trained, of 2308 numbers that peft counts; an adapter of 5.23 changes the logits True, merging changes them False
transformers 4.57.1, peft 0.21.2: 0 of 4 pairs of factors trained, of 2308 numbers that peft counts; an adapter of 5.23 changes the logits False, merging changes them True
transformers 5.5.0, peft 0.21.2: 0 of 4 pairs of factors trained, of 2308 numbers that peft counts; an adapter of 5.23 changes the logits False, merging changes them True
transformers 5.6.0, peft 0.21.2: 4 of 4 pairs of factors trained, of 2308 numbers that peft counts; an adapter of 5.23 changes the logits True, merging changes them False
SEEN
echo "as it was"
