"""Other code that ours is measured beside: the plain model, and Hugging Face's models with PEFT."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.huggingface_backbones import HuggingFaceBackbone
from benchmarks.huggingface_vit import HuggingFaceViT
from benchmarks.plain_vit import PlainViT
from benchmarks.setting import NUM_CLASSES, Setting, clips_and_labels
from videoadapt.models.backbones.vit import SIZES
from videoadapt.runs.forward import autocast
from videoadapt.video.sides import sides_of


def step_of(model: nn.Module, setting: Setting, device: torch.device) -> Callable[[], object]:
    """A step of a peer, as its users write it: autocast, cross-entropy, fused SGD."""
    clips, labels_B = clips_and_labels(setting, device)
    mean, std = (
        torch.tensor(v, device=device).view(3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    clips_BCTHW = clips.float().div_(255).sub_(mean).div_(std)
    called = torch.compile(model, dynamic=False) if setting.compiled else model
    if setting.mode == "infer":
        model.eval()

        @torch.inference_mode()
        def infer() -> Tensor:
            with autocast(setting.precision, device):
                return called(clips_BCTHW)

        return infer
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)

    def train() -> None:
        with autocast(setting.precision, device):
            loss = F.cross_entropy(called(clips_BCTHW).float(), labels_B)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return train


def plain(setting: Setting, device: torch.device) -> Callable[[], object]:
    """AdaptMLP in every block, or full tuning, in PyTorch's own layers."""
    bottleneck = {"adaptformer": setting.adapter.get("bottleneck", 64), "full": 0}.get(setting.adapter["name"])
    if bottleneck is None:
        raise ValueError("the plain model is tuned by adaptformer or full only")
    size = SIZES[setting.backbone["size"]]
    tokens = setting.num_frames // 2 * math.prod(side // size.patch_px for side in sides_of(setting.crop_px))
    model = PlainViT(**size._asdict(), num_tokens=tokens, bottleneck=bottleneck, num_classes=NUM_CLASSES).to(device)
    return step_of(model, setting, device)


def huggingface(setting: Setting, device: torch.device) -> Callable[[], object]:
    """Hugging Face's model of this backbone. Where it trains, PEFT's LoRA stands beside any adapter of ours."""
    rank = setting.adapter.get("rank", 8) if setting.mode == "train" else None
    if setting.backbone["name"] == "vit":
        size = SIZES[setting.backbone["size"]]
        model: nn.Module = HuggingFaceViT(size, setting.num_frames, setting.crop_px, NUM_CLASSES, rank)
    else:
        model = HuggingFaceBackbone(setting, rank)
    return step_of(model.to(device), setting, device)
