"""UMT's names on VideoMAE's tensors, and files of InternVideo2, of whose kind no backbone is."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.weight_files import refusal, saved, state, toy
from videoadapt.errors import CheckpointError
from videoadapt.models.loading import load_backbone
from videoadapt.weights.formats import read_weights

FIRST_FRAME = slice(0, 1)


def of_umt() -> dict[str, Tensor]:
    """What UMT's pre-training saves: VideoMAE's encoder with a kernel of one frame, and heads that predict CLIP's features."""
    found = {name: tensor for name, tensor in state("videomae_pretrain.pth").items() if name.startswith("encoder.")}
    kernel = "encoder.patch_embed.proj.weight"
    found[kernel] = found[kernel][:, :, FIRST_FRAME].clone()
    heads = {"head.weight": (16, 48), "head.bias": (16,), "norm.weight": (16,), "norm.bias": (16,)}
    return found | {f"clip_decoder.{n}.{name}": torch.zeros(*size) for n in range(6) for name, size in heads.items()}


def test_its_encoder_is_videomaes_with_tubelets_of_one_frame(tmp_path: Path) -> None:
    model = toy(tubelet_frames=1)
    report = load_backbone(model, read_weights(saved(tmp_path, {"model": of_umt()})))
    assert report.format == "UMT pre-training" and set(report.unused) == {"encoder.norm", "clip_decoder"}
    videomae = toy()
    load_backbone(videomae, read_weights(saved(tmp_path, {"model": state("videomae_pretrain.pth")}, "v.pth")))
    own, theirs = (part.backbone.state_dict() for part in (model, videomae))
    assert all(own[name].equal(theirs[name]) for name in own if name != "patch_embed.weight")
    assert own["patch_embed.weight"].equal(theirs["patch_embed.weight"][:, :, FIRST_FRAME])


def test_positions_that_it_stretched_are_refused(tmp_path: Path) -> None:
    tensors = state("videomae_finetune.pth") | {"pos_embed": torch.rand(1, 32, 48)}
    assert "its positions (pos_embed) are learned or of another kind" in refusal(saved(tmp_path, tensors))


@pytest.mark.parametrize("prefix", ["", "vision_encoder."])
def test_internvideo2_is_refused_by_name(prefix: str, tmp_path: Path) -> None:
    block = {f"blocks.0.{name}": torch.ones(48) for name in ("norm1.weight", "attn.q_norm.weight", "ls1.gamma")}
    tensors = {"cls_token": torch.zeros(1, 1, 48), "patch_embed.proj.weight": torch.zeros(48, 3, 1, 14, 14), **block}
    location = saved(tmp_path, {f"{prefix}{name}": tensor for name, tensor in tensors.items()})
    with pytest.raises(
        CheckpointError, match="InternVideo2, which is not read: no video backbone here has its RMSNorm"
    ):
        read_weights(location)
