"""Why the tensors of a weight file do not fit a model: likely causes, for errors."""

import re
from collections.abc import Collection

from videoadapt.weights.files import Tensors


def causes(expected: Tensors, found: Tensors) -> list[str]:
    """What is likely wrong, each with the key to change; `expected` and `found` are under our names."""
    ours, theirs = _geometry(expected), _geometry(found)
    said = [
        f"{key} = {theirs[key]} in the file, {ours[key]} in the model: change the backbone's size or {key}"
        for key in ours
        if key in theirs and theirs[key] != ours[key]
    ]
    ours_norm, theirs_norm = (any(name.startswith("head.norm.") for name in names) for names in (expected, found))
    if ours_norm != theirs_norm and any(name.startswith("head.") for name in expected):
        said.append(f"BatchNorm in only one of the two heads: set the head's batch_norm to {str(theirs_norm).lower()}")
    if any(".adapter." in name for name in found):
        said.append("the file's adapters are of another kind or size: take the one that they were trained as")
    return said + _other_backbone(expected.keys(), found.keys())


def _other_backbone(expected: Collection[str], found: Collection[str]) -> list[str]:
    """Which video backbone the file is of, told by what one of them has and the other lacks."""
    norm, modality = "backbone.norm.weight", "backbone.modality"
    if norm in found and norm not in expected:
        return ["the file is V-JEPA's: take the backbone vjepa2"]
    if norm in expected and "backbone.blocks.0.attn.fn.qkv.q_bias" in found:
        return ["the file is VideoMAE's, or has its layout: take the backbone vit"]
    if norm in expected and norm in found and (modality in found) != (modality in expected):
        return [
            f"the file is of V-JEPA {'2.1' if modality in found else '2'}: set the backbone's version to "
            f"{'v2.1' if modality in found else 'v2'}"
        ]
    return []


def _geometry(tensors: Tensors) -> dict[str, float]:
    """Dimensions of a vit read off its tensors, under the names of its arguments."""
    geometry: dict[str, float] = {}
    embed = tensors.get("backbone.patch_embed.weight")
    if embed is not None and embed.ndim == 5:
        geometry = {"width": embed.shape[0], "tubelet_frames": embed.shape[2], "patch_px": embed.shape[4]}
    blocks = [int(match.group(1)) for name in tensors if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))]
    hidden = tensors.get("backbone.blocks.0.mlp.fn.fc1.weight")
    if hidden is not None and hidden.ndim == 2 and hidden.shape[1]:
        geometry["mlp_ratio"] = round(hidden.shape[0] / hidden.shape[1], 3)
    return geometry | ({"depth": max(blocks) + 1} if blocks else {})
