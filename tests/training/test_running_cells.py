"""VideoMAE V2's decoder masking: the cells, what is predicted, what the loss counts, by its definition written out."""

import shutil
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.toy_runs import toy_pretraining, write_config
from videoadapt.cli.train import main
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import ConfigError
from videoadapt.models.autoencoder import DecoderSize, MaskedAutoencoder
from videoadapt.models.backbones.vit import ViT, sinusoid_positions
from videoadapt.models.masking import Mask, draw_tubes, normalised_target, run_cells, tubelets
from videoadapt.training.reconstruction import Reconstruction

GRID = (8, 4, 6)
EVERY_TUBE = draw_tubes(64, GRID, 0.75, torch.Generator().manual_seed(0))


def cells_plainly(left_out: int, start: int) -> np.ndarray:
    """Which tokens are left out, (T, H, W): a queue of four that turns by one with each frame fills every cell row by row."""
    queue = deque([True] * left_out + [False] * (4 - left_out))
    queue.rotate(-start)
    frames = []
    for _ in range(GRID[0]):
        frames.append(np.tile(np.array(queue).reshape(2, 2), (GRID[1] // 2, GRID[2] // 2)))
        queue.rotate(-1)
    return np.stack(frames)


def kept(mask: Mask) -> Tensor:
    return torch.zeros(len(mask.predicted_BM), 8 * 4 * 6, dtype=torch.bool).scatter_(1, mask.predicted_BM, True)


@pytest.mark.parametrize(("ratio", "left_out"), [(0.25, 1), (0.5, 2), (0.75, 3)])
def test_the_cells_are_those_of_the_definition(ratio: float, left_out: int) -> None:
    mask = run_cells(EVERY_TUBE, GRID, ratio, torch.Generator().manual_seed(1))
    found_BTHW = kept(mask).unflatten(1, GRID)
    plain = [torch.from_numpy(~cells_plainly(left_out, start)) for start in range(4)]
    starts = [[found.equal(one) for one in plain].index(True) for found in found_BTHW]
    assert set(starts) == {0, 1, 2, 3}  # drawn for each clip
    assert mask.predicted_BM.shape == (64, 192 - int(ratio * 192)) and (mask.predicted_BM.diff(dim=1) > 0).all()
    # over four tokens in time, every patch of every cell is left out as often as the ratio says, and predicted otherwise
    for first in range(5):
        assert (found_BTHW[:, first : first + 4].sum(1) == 4 - left_out).all()


def test_the_loss_counts_what_is_kept_and_hidden() -> None:
    mask = run_cells(EVERY_TUBE, GRID, 0.5, torch.Generator().manual_seed(1))
    assert mask.counted_BM is not None and mask.visible_BV is EVERY_TUBE.visible_BV
    seen = torch.zeros(64, 192, dtype=torch.bool).scatter_(1, EVERY_TUBE.visible_BV, True)
    counted = torch.zeros(64, 192, dtype=torch.bool).scatter_(1, mask.predicted_BM, mask.counted_BM)
    assert counted.equal(kept(mask) & ~seen)
    assert (
        counted.sum(1).tolist() == [8 * 18 // 2] * 64
    )  # of 24 patches 18 are hidden, each of them kept in half the frames


def test_prediction_and_loss_of_the_definition() -> None:
    """As VideoMAE V2's code: boolean masks, mask tokens at all kept places, the mean over kept and hidden ones."""
    torch.manual_seed(0)
    model = MaskedAutoencoder(ViT(width=24, depth=2, num_heads=2, patch_px=4), DecoderSize(16, 2, 2))
    pixels = torch.randint(256, (3, 3, 16, 16, 24), dtype=torch.uint8)
    found = Reconstruction(model, 0.75, decoder_mask_ratio=0.5)(
        model,
        ClipBatch(pixels, torch.zeros(3, dtype=torch.int64), ("a", "b", "c"), (None,) * 3),
        torch.Generator().manual_seed(5),
    )
    generator = torch.Generator().manual_seed(5)
    mask = run_cells(draw_tubes(3, GRID, 0.75, generator), GRID, 0.5, generator)
    hidden, decoded = torch.ones(3, 192, dtype=torch.bool).scatter_(1, mask.visible_BV, False), kept(mask)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    clips = (pixels / 255 - mean) / std
    positions = sinusoid_positions(192, 16).expand(3, -1, -1)
    x = model.encoder_to_decoder(model.norm(model.encode(clips, mask)))
    x = torch.cat(
        [x + positions[~hidden].view(3, -1, 16), model.mask_token + positions[decoded].view(3, -1, 16)], dim=1
    )
    for block in model.decoder.blocks:
        x = block(x)
    outputs = model.decoder.head(model.decoder.norm(x[:, -96:]))
    labels = normalised_target(tubelets(pixels, model.tubelet).float() / 255)[decoded].view(3, 96, -1)
    of_loss = hidden[decoded].view(3, 96)
    expected = (((outputs - labels) ** 2).mean(-1) * of_loss).sum() / of_loss.sum()
    torch.testing.assert_close(found["loss"] / 3, expected, rtol=1e-5, atol=0)


def test_what_the_loss_does_not_count_gives_no_gradient() -> None:
    model = MaskedAutoencoder(ViT(width=24, depth=1, num_heads=2, patch_px=4), DecoderSize(16, 2, 1))
    pixels = torch.randint(256, (2, 3, 16, 16, 24), dtype=torch.uint8)
    batch = ClipBatch(pixels, torch.zeros(2, dtype=torch.int64), ("a", "b"), (None, None))
    made: list[Tensor] = []
    keep = model.register_forward_hook(lambda _, __, prediction: made.append(prediction) or prediction.retain_grad())
    Reconstruction(model, 0.75, decoder_mask_ratio=0.5)(model, batch, torch.Generator().manual_seed(5))[
        "loss"
    ].backward()
    keep.remove()
    generator = torch.Generator().manual_seed(5)
    mask = run_cells(draw_tubes(2, GRID, 0.75, generator), GRID, 0.5, generator)
    assert made[0].grad is not None and (made[0].grad.abs().sum(2) > 0).equal(mask.counted_BM)


@pytest.mark.parametrize(
    ("grid", "ratio", "message"),
    [
        (
            GRID,
            0.3,
            r"decoder_mask_ratio = 0\.3: of the 4 patches of a cell, 1, 2 or 3 are left out: 0\.25, 0\.5 or 0\.75",
        ),
        ((8, 3, 6), 0.5, r"decoder_mask_ratio = 0\.5: .* 8 x 3 x 6 \(time, height, width\), have no room"),
        ((2, 4, 6), 0.5, r"2 x 4 x 6 .*: more frames, or even numbers of patches"),
    ],
)
def test_cells_that_cannot_run_are_refused(grid: tuple[int, int, int], ratio: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_cells(EVERY_TUBE, grid, ratio, torch.Generator())


@pytest.mark.slow
def test_a_run_with_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train = {"epochs": 1, "checkpoint_every_steps": 1, "keep_checkpoints": 9}
    changes = {"data": {"num_frames": 8}, "pretrain": {"decoder_mask_ratio": 0.5}}
    config = write_config(tmp_path / "c.yaml", toy_pretraining(whole, train=train, **changes))
    assert main(["--cfg", str(config)]) == 0
    shutil.copytree(whole, resumed)
    for path in (resumed / "checkpoints").iterdir():
        if path.stem > "step_00000001":
            path.unlink()
    assert main(["--cfg", str(config), "output", str(resumed)]) == 0
    assert (whole / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()
