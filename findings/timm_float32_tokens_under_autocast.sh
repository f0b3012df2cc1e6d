#!/usr/bin/env bash
# Under autocast to bfloat16, the tokens between the blocks of timm's vision transformers are float32, and casting them once may not help.
#
# The patches come out of a convolution in bfloat16, but positions are a float32 parameter, and their sum is float32: so is then what
# every block adds to. Whoever tunes such a model moves and keeps twice the bytes that "bf16" promises for every residual and LayerNorm.
# Cast before the first block, tokens stay bfloat16 in a plain ViT; in one with LayerScale (DINOv2) they are float32 again after the
# first block, for its factors are a float32 parameter, too: there the factor's product has to be cast back as well.
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

print(f"torch {torch.__version__.partition('+')[0]}, timm {timm.__version__}")
for name, side in (("vit_tiny_patch16_224", 64), ("vit_small_patch14_dinov2", 56)):
    for cast in (False, True):
        torch.manual_seed(0)
        net = timm.create_model(name, num_classes=0, img_size=side, depth=2)
        kinds = []
        net.patch_embed.register_forward_hook(lambda module, given, y: kinds.append(y.dtype))
        for block in net.blocks:
            block.register_forward_hook(lambda module, given, y: kinds.append(y.dtype))
        if cast:
            net.blocks[0].register_forward_pre_hook(lambda module, given: (given[0].bfloat16(), *given[1:]))
        with torch.autocast("cpu", torch.bfloat16):
            net(torch.randn(1, 3, side, side))
        patches, *blocks = (str(kind).removeprefix("torch.") for kind in kinds)
        print(f"{name}{', cast before its blocks' if cast else ''}: patches {patches}, out of its blocks {', '.join(blocks)}")
PY
"$work/venv/bin/python" "$work/look.py" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff "$work/seen" - <<'SEEN'
torch 2.11.0, timm 1.0.31
vit_tiny_patch16_224: patches bfloat16, out of its blocks float32, float32
vit_tiny_patch16_224, cast before its blocks: patches bfloat16, out of its blocks bfloat16, bfloat16
vit_small_patch14_dinov2: patches bfloat16, out of its blocks float32, float32
vit_small_patch14_dinov2, cast before its blocks: patches bfloat16, out of its blocks float32, float32
SEEN
