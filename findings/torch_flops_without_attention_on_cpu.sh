#!/usr/bin/env bash
# torch's FlopCounterMode counts no attention on the CPU, and nothing at all of a TransformerEncoderLayer that is asked without gradients.
#
# It knows the attention kernels of CUDA by name. On the CPU scaled_dot_product_attention is another kernel, which counts as 0, forward and
# backward (pytorch issue 195460, 2.13; the same in 2.14.1). Neither has it the fused operations that nn.MultiheadAttention and
# nn.TransformerEncoderLayer become in eval mode under no_grad, nor an LSTM's on the CPU. No warning. What is missing grows with the tokens: 4 % of
# a ViT-B on one picture, 22 % of one of its blocks on a clip of 16 frames (1568 tokens): video models look cheaper than they are, and a model with
# attention written out dearer than the same one with a fused kernel. The same model on the device "meta" has all operations.
#
# Makes its own input; needs Python 3.10 or newer and pip. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 torchvision==0.26.0 timm==1.0.31 numpy==2.2.6 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def counted(call, gradients=False):
    with torch.set_grad_enabled(gradients), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e6


def attend_and_return(device):
    q, k, v = (torch.rand(1, 4, 128, 16, device=device, requires_grad=True) for _ in range(3))
    F.scaled_dot_product_attention(q, k, v).sum().backward()


print(f"torch {torch.__version__.partition('+')[0]}, timm {timm.__version__}; millions of operations, CPU / meta")
found = {}
for device in ("cpu", "meta"):
    torch.manual_seed(0)
    tokens = torch.rand(1, 128, 64, device=device)
    heads = torch.rand(1, 4, 128, 16, device=device)
    layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, device=device).eval()
    vit = timm.create_model("vit_base_patch16_224").eval().to(device)
    # 1568 tokens, as of 16 frames of 224 x 224 in tubelets of two frames
    long = timm.create_model("vit_base_patch16_224", img_size=(448, 784), depth=1, class_token=False, global_pool="avg").to(device)
    for name, call, gradients in (
        ("attention", lambda: F.scaled_dot_product_attention(heads, heads, heads), False),
        ("the same, written out", lambda: (heads @ heads.mT).softmax(-1) @ heads, False),
        ("attention and its gradients", lambda: attend_and_return(device), True),
        ("TransformerEncoderLayer", lambda: layer(tokens), False),
        ("TransformerEncoderLayer with gradients", lambda: layer(tokens), True),
        ("LSTM", lambda: nn.LSTM(64, 64, device=device)(tokens), False),
        ("ViT-B, 197 tokens", lambda: vit(torch.rand(1, 3, 224, 224, device=device)), False),
        ("one block of ViT-B, 1568 tokens, and its ends", lambda: long(torch.rand(1, 3, 448, 784, device=device)), False),
    ):
        found.setdefault(name, []).append(f"{counted(call, gradients):.1f}")
for name, values in found.items():
    print(f"{name}: {' / '.join(values)}")
PY
"$work/venv/bin/python" "$work/look.py" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff "$work/seen" - <<'SEEN'
torch 2.11.0, timm 1.0.31; millions of operations, CPU / meta
attention: 0.0 / 4.2
the same, written out: 4.2 / 4.2
attention and its gradients: 0.0 / 12.6
TransformerEncoderLayer: 0.0 / 16.8
TransformerEncoderLayer with gradients: 12.6 / 16.8
LSTM: 0.0 / 8.4
ViT-B, 197 tokens: 33697.0 / 35127.7
one block of ViT-B, 1568 tokens, and its ends: 21041.7 / 26824.4
SEEN
echo "as it was"
