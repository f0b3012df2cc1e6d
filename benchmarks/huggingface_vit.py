"""Hugging Face's VideoMAE as our models are called, with LoRA from PEFT: a peer to be measured beside ours.

Shapes: B clips, T frames, H W pixels, K classes.
"""

from typing import Any

from torch import Tensor, nn

from videoadapt.video.sides import CropPx


class HuggingFaceViT(nn.Module):
    """(B, 3, T, H, W) to logits (B, K); its own order is (B, T, 3, H, W)."""

    def __init__(self, size: Any, num_frames: int, crop_px: CropPx, num_classes: int, lora_rank: int | None):
        """`size` has the dimensions of a vit; with a `lora_rank`, queries and values are adapted and the classifier trains."""
        from transformers import VideoMAEConfig, VideoMAEForVideoClassification

        super().__init__()
        dims: dict[str, Any] = {
            "image_size": crop_px, "patch_size": size.patch_px, "num_frames": num_frames,
            "hidden_size": size.width, "num_hidden_layers": size.depth, "num_attention_heads": size.num_heads,
            "intermediate_size": round(size.width * size.mlp_ratio), "num_labels": num_classes, "attn_implementation": "sdpa",
        }  # fmt: skip
        self.model: Any = VideoMAEForVideoClassification(VideoMAEConfig(**dims))
        if lora_rank is not None:
            from peft import LoraConfig, get_peft_model

            adapter = LoraConfig(
                r=lora_rank,
                lora_alpha=2 * lora_rank,
                target_modules=["query", "value"],
                modules_to_save=["classifier"],
            )
            self.model = get_peft_model(self.model, adapter)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Normalised clips to logits."""
        logits_BK: Tensor = self.model(pixel_values=clip_BCTHW.transpose(1, 2)).logits
        return logits_BK
