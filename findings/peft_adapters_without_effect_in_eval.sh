#!/usr/bin/env bash
# peft's adapters in torch's nn.TransformerEncoderLayer train, and have no effect in eval(): what is validated and tested is the model without them.
#
# In eval mode a layer with batch_first=True takes a fast path where nothing that it looks at needs a gradient, and hands its weights to one fused function.
# Of a layer that peft put there it takes `linear1.weight`, which is that of the layer below, and never calls it. In training mode it does, so that the
# loss falls: below, 100 % right in train() and 16 % in eval(), as before the training. Every method of peft that was tried is met, on the MLP as
# on `self_attn`, with and without no_grad; no warning. Temporal heads over features of frames are often made of this layer. Whether an adapter
# counts hangs on small things: it does under autocast of a GPU, with a hook or an odd number of heads (these by torch's source), with batch_first=False, where
# the input needs a gradient, behind `merge_and_unload`, and in a `torch.export` of the very model. `torch.backends.mha.set_fastpath_enabled(False)`
# makes it count always. Torch leaves the fast path for hooks (issue 128413), not for layers that were replaced; peft's issue 761 has the layer, with
# an error in eval mode that is gone.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux on x86. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 numpy==2.2.6 peft==0.21.2 transformers==5.24.0 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import warnings

import peft
import torch
from peft import HRAConfig, IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, VeraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

CLASSES, WIDTH = 4, 64
MLP = ["linear1", "linear2"]


class Head(nn.Module):
    """A temporal head over the features of frames, as if it came with trained weights."""

    def __init__(self, batch_first=True):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 128, dropout=0.0, activation="gelu", norm_first=True, batch_first=batch_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, frames):
        return self.out(self.layers(frames).mean(1))


def adapted(config, **settings):
    torch.manual_seed(1)
    return get_peft_model(Head(**settings), config)


def same(one, adapted, bare):
    near = [name for name, other in (("with adapters", adapted), ("without", bare)) if torch.allclose(one, other, atol=1e-4)]
    return " and ".join(near) or "neither"


torch.manual_seed(2)
clips, labels = torch.randn(64, 8, WIDTH), torch.arange(64) % CLASSES
bare = Head().eval()(clips).detach()
print(f"torch {torch.__version__.split('+')[0]}, peft {peft.__version__}; dropout 0, so that train() and eval() should answer alike")
methods = {
    "LoRA of linear1, linear2": LoraConfig(target_modules=MLP, init_lora_weights=False),
    "LoRA of self_attn": LoraConfig(target_modules=["self_attn"], init_lora_weights=False),
    "LoRA, all-linear": LoraConfig(target_modules="all-linear", exclude_modules=["out"], init_lora_weights=False),
    "DoRA": LoraConfig(target_modules=MLP, use_dora=True, init_lora_weights=False),
    "VeRA": VeraConfig(target_modules=["linear2"], init_weights=False),
    "IA3": IA3Config(target_modules=MLP, feedforward_modules=[], init_ia3_weights=False),
    "LoHa": LoHaConfig(target_modules=MLP, init_weights=False, r=64),
    "LoKr": LoKrConfig(target_modules=MLP, init_weights=False),
    "OFT": OFTConfig(target_modules=MLP, init_weights=False),
    "HRA": HRAConfig(target_modules=MLP, init_weights=False),
}
warnings.simplefilter("error", UserWarning)  # there is none
for name, config in methods.items():
    model = adapted(config)
    tuned = model.train()(clips).detach()
    print(f"{name}: train() is not the bare model: {not torch.allclose(tuned, bare, atol=1e-4)}, eval() is", same(model.eval()(clips), tuned, bare))
warnings.resetwarnings()

config = methods["LoRA of linear1, linear2"]
tuned = adapted(config).train()(clips).detach()
other = adapted(config, batch_first=False)
other_tuned = other.train()(clips)
model = adapted(config).eval()
print("LoRA of linear1, linear2 in eval():")
with torch.no_grad():
    print("  under no_grad:", same(model(clips), tuned, bare))
    print("  torch.export:", same(torch.export.export(model, (clips,)).module()(clips), tuned, bare))
    torch.backends.mha.set_fastpath_enabled(False)
    print("  without the fast path:", same(model(clips), tuned, bare))
    torch.backends.mha.set_fastpath_enabled(True)
    print("  batch_first=False:", same(other.eval()(clips), other_tuned, Head(batch_first=False).eval()(clips)))
print("  an input that needs a gradient:", same(model(clips.clone().requires_grad_()), tuned, bare))
print("  merge_and_unload:", same(model.merge_and_unload().eval()(clips), tuned, bare))

model = adapted(LoraConfig(target_modules=MLP, r=8))
steps = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)


def right():
    return f"{100 * (model(clips).argmax(1) == labels).float().mean().item():.0f} %"


print("LoRA before training: train()", (model.train(), right())[1], "right, eval()", (model.eval(), right())[1])
model.train()
for _ in range(300):
    steps.zero_grad()
    F.cross_entropy(model(clips), labels).backward()
    steps.step()
print("LoRA after 300 steps: train()", (model.train(), right())[1], "right, eval()", (model.eval(), right())[1])
print("merged: eval()", (model := model.merge_and_unload().eval(), right())[1])
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" 2>"$work/errors" | tee "$work/seen" || { cat "$work/errors"; exit 1; }
diff - "$work/seen" <<'SEEN'
torch 2.11.0, peft 0.21.2; dropout 0, so that train() and eval() should answer alike
LoRA of linear1, linear2: train() is not the bare model: True, eval() is without
LoRA of self_attn: train() is not the bare model: True, eval() is without
LoRA, all-linear: train() is not the bare model: True, eval() is without
DoRA: train() is not the bare model: True, eval() is without
VeRA: train() is not the bare model: True, eval() is without
IA3: train() is not the bare model: True, eval() is without
LoHa: train() is not the bare model: True, eval() is without
LoKr: train() is not the bare model: True, eval() is without
OFT: train() is not the bare model: True, eval() is without
HRA: train() is not the bare model: True, eval() is without
LoRA of linear1, linear2 in eval():
  under no_grad: without
  torch.export: with adapters
  without the fast path: with adapters
  batch_first=False: with adapters
  an input that needs a gradient: with adapters
  merge_and_unload: with adapters
LoRA before training: train() 16 % right, eval() 16 %
LoRA after 300 steps: train() 100 % right, eval() 16 %
merged: eval() 100 %
SEEN
echo "as it was"
