"""Toy models of transformers and of timm with random values, in the files in which such models stand on the hub."""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import VideoMAEConfig

CLIP = torch.randn(2, 3, 4, 16, 24, generator=torch.Generator().manual_seed(0))
AS_THERE = {"eps": 1e-12, "fc_norm_eps": 1e-5}  # what transformers computes with


def reference(kind: type, *, key_bias: bool = False, **changes):
    """A toy model of transformers with random values everywhere; `key_bias`: as its versions before 5.23 had it."""
    config = VideoMAEConfig(
        image_size=[16, 24],
        patch_size=8,
        num_frames=4,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=192,
        decoder_hidden_size=24,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=96,
        num_labels=5,
        attn_implementation="eager",
        **changes,
    )
    torch.manual_seed(1)
    model = kind(config).eval()
    if key_bias:
        for layer in (model.videomae if hasattr(model, "videomae") else model).encoder.layer:
            attention = layer.attention.attention
            attention.key = nn.Linear(48, 48)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def hub_layout(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the files on the hub."""
    names = {"query.bias": "q_bias", "value.bias": "v_bias"}
    for later, hub in names.items():
        tensors = {key.replace(f"attention.{later}", f"attention.{hub}"): value for key, value in tensors.items()}
    return tensors


def in_hub_folder(folder: Path, model: nn.Module, layout: str) -> str:
    """Save as a folder in one of the forms in which such folders come."""
    model.save_pretrained(folder, max_shard_size="60KB" if layout == "shards" else "1GB")
    path = folder / "model.safetensors"
    if layout == "hub":
        save_file(hub_layout(load_file(path)), path, metadata={"format": "pt"})
    if layout == "bin":
        torch.save(hub_layout(load_file(path)), folder / "pytorch_model.bin")
        path.unlink()
    if layout == "bin shards":
        tensors = list(hub_layout(load_file(path)).items())
        path.unlink()
        places = {}
        for part in range(3):
            name = f"pytorch_model-0000{part + 1}-of-00003.bin"
            torch.save(dict(tensors[part::3]), folder / name)
            places |= dict.fromkeys(dict(tensors[part::3]), name)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return str(folder)


def timm_vit(**changes: Any) -> nn.Module:
    """A toy ViT of timm with random values everywhere, a key bias among them."""
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7}
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224", **(arguments | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def in_timm_folder(folder: Path, model: nn.Module) -> str:
    """As timm's models stand on the hub."""
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224", "num_classes": 7}')
    return str(folder)


def mae_fine_tuned() -> dict[str, Tensor]:
    """As MAE's fine-tuning saves it: mean over the patches, so `fc_norm` and no `norm`."""
    return timm_vit(global_pool="avg").state_dict()
