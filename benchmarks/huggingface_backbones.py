"""Hugging Face's DINOv2, CLIP and V-JEPA 2 as our models are called, with LoRA from PEFT: peers to be measured beside ours.

Shapes: B clips, T frames, H W pixels, N tokens, D width, K classes.
"""

from typing import Any

from torch import Tensor, nn

from benchmarks.setting import NUM_CLASSES, Setting
from videoadapt.video.sides import sides_of

# timm's name to width, heads and MLP of a model of 12 blocks
DINOV2 = {"vit_small_patch14_dinov2": (384, 6), "vit_base_patch14_dinov2": (768, 12)}
CLIP = "vit_base_patch16_clip_quickgelu_224"
QUERIES_AND_VALUES = {"dinov2": ["query", "value"], "clip": ["q_proj", "v_proj"], "vjepa2": ["query", "value"]}


class HuggingFaceBackbone(nn.Module):
    """(B, 3, T, H, W) to logits (B, K): frame by frame with the mean over time, or V-JEPA 2's mean over tokens."""

    def __init__(self, setting: Setting, lora_rank: int | None):
        """With a `lora_rank`, queries and values are adapted; without, nothing is. Raises ValueError for another backbone."""
        super().__init__()
        self.kind, backbone = _built(setting)
        self.head = nn.Linear(backbone.config.hidden_size, NUM_CLASSES)
        if lora_rank is not None:
            from peft import LoraConfig, get_peft_model

            targets = QUERIES_AND_VALUES[self.kind]
            backbone = get_peft_model(
                backbone, LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=targets)
            )
        self.backbone: Any = backbone

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Normalised clips to logits."""
        x_BTCHW = clip_BCTHW.transpose(1, 2)
        if self.kind == "vjepa2":
            tokens_BND = self.backbone(pixel_values_videos=x_BTCHW, skip_predictor=True).last_hidden_state
            return self.head(tokens_BND.mean(1))
        frames = self.backbone(pixel_values=x_BTCHW.flatten(0, 1)).pooler_output
        return self.head(frames.unflatten(0, x_BTCHW.shape[:2]).mean(1))


def _built(setting: Setting) -> tuple[str, Any]:
    from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, VJEPA2Config, VJEPA2Model

    name, spec = setting.backbone.get("model"), setting.backbone
    side_px, _ = sides_of(setting.crop_px)  # squares only
    fused: Any = {"attn_implementation": "sdpa"}
    if name in DINOV2:
        width, heads = DINOV2[name]
        return "dinov2", Dinov2Model(
            Dinov2Config(hidden_size=width, num_attention_heads=heads, patch_size=14, image_size=side_px, **fused)
        )
    if name == CLIP:
        return "clip", CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=768, intermediate_size=3072, num_attention_heads=12, patch_size=16, image_size=224, **fused
            )
        )
    if spec["name"] == "vjepa2" and spec.get("size", "large") == "large":
        return "vjepa2", VJEPA2Model(VJEPA2Config(crop_size=side_px, frames_per_clip=setting.num_frames, **fused))
    raise ValueError(f"of Hugging Face's models {', '.join([*DINOV2, CLIP])} and vjepa2 of size large are measured")
