"""Clips rendered for training are those that the files would hold, and a function of seed and step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from videoadapt.config.schema import Config, DataConfig, TrainConfig
from videoadapt.rendering import clips as rendered
from videoadapt.rendering.clips import _Draws, draw_clips
from videoadapt.rendering.motions import COORDINATES, MOTIONS, draw_signs
from videoadapt.runs.build_data import rendered_batches
from videoadapt.video.boxes import multi_scale_boxes
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.samplers.segment import Segment

CPU = torch.device("cpu")
MOTION_NAMES = list(MOTIONS["trunk"])
CLIP = {"sampler": Dense(stride_frames=2), "num_frames": 8, "crop_px": 64}


def draw(seed: int, size: int = 40, **changes: object) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_clips(MOTION_NAMES, size, torch.Generator().manual_seed(seed), CPU, **CLIP | changes)


def test_the_generator_decides_everything() -> None:
    clips, labels = draw(1)
    assert clips.shape == (40, 3, 8, 64, 64) and clips.dtype == torch.uint8 and len(labels.unique()) > 10
    again, same_labels = draw(1)
    assert clips.equal(again) and labels.equal(same_labels)
    assert not draw(2)[0].equal(clips)


def test_frames_are_those_of_the_whole_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncropped, a clip is frames start, start + 2, ... of the 24 that a file with this motion and seed holds."""
    drawn: dict[str, torch.Tensor] = {}
    real_states, real_render = rendered.draw_states, rendered.render

    def draw_states(motions: list[str], seeds_B: torch.Tensor, num_frames: int) -> torch.Tensor:
        drawn["whole"] = real_render(real_states(motions, seeds_B, num_frames), seeds_B, 72, 96)
        drawn["motions"] = torch.tensor([MOTION_NAMES.index(name) for name in motions])
        return real_states(motions, seeds_B, num_frames)

    def render(states_BTS: torch.Tensor, seeds_B: torch.Tensor, height_px: int, width_px: int) -> torch.Tensor:
        drawn["clips"] = real_render(states_BTS, seeds_B, height_px, width_px)
        return drawn["clips"]

    monkeypatch.setattr(rendered, "draw_states", draw_states)
    monkeypatch.setattr(rendered, "render", render)
    _, labels = draw(3, size=12)
    assert labels.equal(drawn["motions"])
    starts = set()
    for whole, clip in zip(drawn["whole"], drawn["clips"], strict=True):
        found = [start for start in range(10) if whole[start : start + 15 : 2].equal(clip)]
        assert len(found) == 1
        starts.update(found)
    assert len(starts) > 3


def test_boxes_differ_between_parts_of_a_batch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {box[2:] for boxes in multi_scale_boxes(72, 96, 64) for box in boxes}
    seen: list[tuple[int, int]] = []
    real = rendered.F.interpolate

    def interpolate(frames: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append(tuple(frames.shape[-2:]))
        return real(frames, **options)

    monkeypatch.setattr(rendered.F, "interpolate", interpolate)
    draw(4, size=160)
    assert len(seen) == 5 and set(seen) <= sizes and len(set(seen)) > 1


def test_any_motion_moves_one_to_four_coordinates_alike() -> None:
    signs_BS = draw_signs(4000, torch.Generator().manual_seed(0))
    moved_B = signs_BS.abs().sum(1)
    assert set(signs_BS.unique().tolist()) == {-1, 0, 1} and set(moved_B.tolist()) == {1, 2, 3, 4}
    assert abs((moved_B == 1).float().mean() - 1 / 8) < 0.02
    share_S = signs_BS.abs().mean(0)
    movable = torch.tensor([coordinate.fast > 0 for coordinate in COORDINATES.values()])
    assert (share_S[~movable] == 0).all() and (share_S[movable] - 2.5 / 9).abs().max() < 0.03
    assert signs_BS.mean().abs() < 0.01


def test_any_sampler_chooses_the_frames() -> None:
    """The same motions, cut alike: with one frame of each third, a clip's frames lie in other places of the video."""
    few = {"num_frames": 3, "sampler": Segment()}
    clips, labels = draw(5, **few)
    assert clips.shape == (40, 3, 3, 64, 64) and labels.equal(draw(5)[1])
    rng = _Draws(torch.Generator().manual_seed(0))
    indices = np.stack([Segment().train_indices(24, 3, rng) for _ in range(200)])
    assert ((indices // 8) == [0, 1, 2]).all() and (np.ptp(indices % 8, axis=0) == 7).all()


def test_clips_without_classes() -> None:
    clips, labels = draw_clips(None, 8, torch.Generator().manual_seed(1), CPU, **CLIP)
    assert clips.shape == (8, 3, 8, 64, 64) and not labels.any()


def test_batches_are_a_function_of_the_step() -> None:
    rendered = {"motions": "trunk", "clips_per_epoch": 8}
    data = DataConfig(num_frames=8, sampling={"name": "dense", "stride_frames": 2}, crop_px=32, rendered=rendered)
    config = Config(output=Path("x"), data=data, train=TrainConfig(batch_size=4, accumulate=2))
    batches = list(rendered_batches(config, 0, 3, CPU))
    later = list(rendered_batches(config, 2, 3, CPU))
    assert len(batches) == 6 and len(later) == 2
    for one, other in zip(batches[4:], later, strict=True):
        assert one.clips_BCTHW.equal(other.clips_BCTHW) and one.labels_B.equal(other.labels_B)
    assert len({batch.clips_BCTHW.sum().item() for batch in batches}) == 6
