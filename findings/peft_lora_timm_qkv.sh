#!/usr/bin/env bash
# LoRA of peft on the layer `qkv` of timm's BEiT, EVA (EVA-02 Ti and S) and Swin V2 changes nothing and trains nothing.
#
# Their attention adds the biases of queries and values itself: F.linear(x, weight=self.qkv.weight, bias=qkv_bias). peft's layer around
# `qkv` has a `weight`, that of the layer below, so the call works and never reaches the low-rank factors. `print_trainable_parameters`
# counts them all the same. With `attn.qkv_bias_separate = True` timm calls the layer, and LoRA works.
#
# Needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 torchvision==0.26.0 numpy==2.2.6 timm==1.0.31 \
    peft==0.21.2 transformers==5.23.0 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import peft
import timm
import torch

MODELS = {
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 2},
    "beit_base_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 192, "num_heads": 3},
    "eva02_tiny_patch14_224": {"img_size": 28, "depth": 2},
    "swinv2_tiny_window8_256": {"img_size": 64, "embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)},
}


def look(name, apart):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=0, **MODELS[name]).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    side = MODELS[name]["img_size"]
    images = torch.randn(2, 3, side, side)
    for module in net.modules():
        if apart and hasattr(module, "qkv_bias_separate"):
            module.qkv_bias_separate = True
    before = net(images)
    config = peft.LoraConfig(r=4, target_modules=["qkv"], init_lora_weights=False)
    tuned = peft.get_peft_model(net, config).eval()
    after = tuned(images)
    head = torch.nn.Linear(after.shape[1], 2)  # as in any training: without it, backward would fail, and all would be seen
    head(after).square().sum().backward()
    factors = [p for n, p in tuned.named_parameters() if "lora_" in n]
    changed = bool((after - before).abs().max() > 1e-3)
    with_gradient = sum(p.grad is not None for p in factors)
    print(f"{name}{', biases apart' * apart}: output changed {changed}, factors with a gradient {with_gradient} of {len(factors)}")


print(f"torch {torch.__version__.split('+')[0]}, timm {timm.__version__}, peft {peft.__version__}")
for name in MODELS:
    look(name, False)
look("beit_base_patch16_224", True)
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" 2>/dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
torch 2.11.0, timm 1.0.31, peft 0.21.2
vit_tiny_patch16_224: output changed True, factors with a gradient 4 of 4
beit_base_patch16_224: output changed False, factors with a gradient 0 of 4
eva02_tiny_patch14_224: output changed False, factors with a gradient 0 of 4
swinv2_tiny_window8_256: output changed False, factors with a gradient 0 of 4
beit_base_patch16_224, biases apart: output changed True, factors with a gradient 4 of 4
SEEN
