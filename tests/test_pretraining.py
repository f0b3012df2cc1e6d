"""Masked pre-training: the reference's numbers, tubes, targets, gradients, files, and runs that go on to the same bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videoadapt.autoencoder import DecoderSize, MaskedAutoencoder
from videoadapt.backbones.vit import ViT
from videoadapt.formats import to_pretraining
from videoadapt.masking import Mask, normalised_target, pick, tubelets
from videoadapt.run import choose_device
from videoadapt.transforms import IMAGENET_MEAN, IMAGENET_STD

DATA = Path(__file__).parent / "data"
FACTS = json.loads((DATA / "facts.json").read_text())
DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"), id="cuda"
    ),
]


def golden_model() -> MaskedAutoencoder:
    keys = ("width", "depth", "num_heads", "patch_px", "tubelet_frames", "mlp_ratio")
    sizes = (FACTS["pretrain"][f"decoder_{key}"] for key in ("width", "heads", "depth"))
    model = MaskedAutoencoder(ViT(**{key: FACTS["dims"][key] for key in keys}), DecoderSize(*sizes))
    golden = torch.load(DATA / "videomae_pretrain.pth", weights_only=True)["model"]
    ours = to_pretraining(model.state_dict())
    assert ours.keys() == golden.keys()
    for name, tensor in ours.items():
        tensor.copy_(golden[name])
    return model


def tokens_of(mask_BN: torch.Tensor) -> Mask:
    order_BN = mask_BN.int().argsort(dim=1, stable=True)
    return Mask(*order_BN.split([int((~mask_BN[0]).sum()), int(mask_BN[0].sum())], dim=1))


@pytest.mark.parametrize("device", DEVICES)
def test_prediction_target_and_loss_of_the_reference(device: torch.device) -> None:
    golden = np.load(DATA / "videomae_pretrain.npz")
    choose_device(device.type)  # float32 without TF32
    model = golden_model().to(device)
    pixels_BCTHW = torch.from_numpy(golden["video01_BCTHW"]).to(device)
    mask = tokens_of(torch.from_numpy(golden["mask_BN"])).to(device)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    prediction = model((pixels_BCTHW - mean) / std, mask)
    target = normalised_target(pick(tubelets(pixels_BCTHW, model.tubelet), mask.masked_BM))
    np.testing.assert_allclose(prediction.detach().cpu(), golden["prediction"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(target.cpu(), golden["target"], rtol=0, atol=1e-5)
    assert (prediction - target).square().mean().item() == pytest.approx(float(golden["loss"]), abs=1e-5)
