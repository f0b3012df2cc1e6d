"""A run under attack: what is left of its accuracy on its test list when every view is changed within a budget.

Shapes: V views, C channels, T frames, H W pixels, K classes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.config.schema import Config
from videoadapt.data.chosen_rows import spread
from videoadapt.data.structures import Unreadable, VideoViews
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError
from videoadapt.evaluation.attacks import Attack, Losses, attacked
from videoadapt.evaluation.intervals import accuracy_interval
from videoadapt.evaluation.predictions import Average, Predictions
from videoadapt.evaluation.views import ViewAccumulator, ViewId
from videoadapt.log import progress
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import open_run
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.forward import Precision, forward
from videoadapt.runs.lists import load_splits
from videoadapt.runs.resolution import resolved
from videoadapt.runs.seeds import hash_seed

KINDS = ("clean", "random", "attacked")
View = tuple[ViewId, int, Tensor]  # with its label, and its clip, uint8 (C, T, H, W)


def attack_run(
    folder: Path,
    attack: Attack,
    device: torch.device,
    *,
    root: Path | None = None,
    num_videos: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Attack every test view of a run by itself, with the label of its video; return the content of attack.json.

    The views of a video are then averaged as the run's test averages them, and its accuracy is told of the clean clips, of
    clips changed at random within the same budget, and of the attacked ones, with 95 % intervals over videos drawn with
    replacement. `root`: where the videos are; None: data.root. `num_videos`: so many evenly spread over the list; None: all.
    Raises ConfigError for a run with several labels a video, a number of videos that the list does not have or a seed below
    0, and what opening the run raises.
    """
    if seed < 0:
        raise ConfigError(f"seed = {seed}: allowed: 0 or more")
    config, class_names, model = open_run(folder, device)
    if config.data.labels == "multi":
        raise ConfigError(f"{folder}: data.labels = multi: an attack raises the loss of a video's one label")
    config = resolved(config, device)
    if root is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"root": root})})
    videos = _some(_tested_list(config), num_videos)
    test = config.test
    held = {kind: ViewAccumulator(videos, test.clips, test.crops, len(class_names)) for kind in KINDS}
    loader = build_test_loader(videos, config.data, test.clips, test.crops, device)
    with progress("attack", len(videos), "videos") as line:
        for views in _batches(_views(loader, list(held.values()), line.advance), test.batch_size):
            generator = torch.Generator().manual_seed(hash_seed(seed, *views[0][0]))
            _attack_views(model, views, attack, generator, held, config.train.precision, device)
    return {
        "attack": {**asdict(attack), "frames": attack.frames or "all"},
        "seed": seed,
        "videos": len(videos),
        "views": test.clips * test.crops,
        "average": test.average,
        **_scores(held, test.average),
    }


def label_losses(
    model: Callable[[Tensor], Tensor], labels_B: Tensor, precision: Precision, device: torch.device
) -> Losses:
    """Return what an attack raises: the cross-entropy of these labels, of grey levels (B, C, T, H, W).

    fp16 is computed as fp32: gradients of a sure answer are too small for it, and would be zeros.
    """
    precision = "fp32" if precision == "fp16" else precision

    def losses(clips_BCTHW: Tensor) -> Tensor:
        logits_BK = forward(model, clips_BCTHW, precision, device)
        return F.cross_entropy(logits_BK, labels_B, reduction="none")

    return losses


def _attack_views(
    model: Classifier,
    views: list[View],
    attack: Attack,
    generator: torch.Generator,
    held: dict[str, ViewAccumulator],
    precision: Precision,
    device: torch.device,
) -> None:
    clean_BCTHW = torch.stack([clip for _, _, clip in views]).to(device)
    labels_B = torch.tensor([label for _, label, _ in views], device=device)
    worst_BCTHW, random_BCTHW = attacked(
        label_losses(model, labels_B, precision, device), clean_BCTHW, attack, generator
    )
    for kind, clips_BCTHW in zip(KINDS, (clean_BCTHW, random_BCTHW, worst_BCTHW), strict=True):
        with torch.no_grad():
            logits_BK = forward(model, clips_BCTHW, precision, device).cpu().numpy()
        for (view, _, _), logits_K in zip(views, logits_BK, strict=True):
            held[kind].add(view, logits_K)


def _tested_list(config: Config) -> VideoRows:
    if config.data.test is None:
        raise ConfigError("data.test = None: the run has no test list whose videos could be attacked")
    return load_splits(
        config.model_copy(
            update={
                "train": config.train.model_copy(update={"enable": False}),
                "test": config.test.model_copy(update={"enable": True}),
            }
        )
    ).test


def _some(videos: VideoRows, number: int | None) -> VideoRows:
    if number is None:
        return videos
    if not 1 <= number <= len(videos):
        raise ConfigError(f"--videos {number}: allowed: 1 to {len(videos)}, the videos of the test list")
    return spread(videos, number)


def _views(loader: Iterable[VideoViews | Unreadable], held: list[ViewAccumulator], advance: Any) -> Iterator[View]:
    for item in loader:
        if isinstance(item, Unreadable):
            for accumulator in held:
                accumulator.add_unreadable(item.index, item.reason)
        else:
            for clip, crops_JCTHW in enumerate(item.views_NJCTHW):
                for crop, view in enumerate(crops_JCTHW):
                    yield ViewId(item.index, clip, crop), item.video.label, view
        advance()


def _batches(views: Iterator[View], size: int) -> Iterator[list[View]]:
    waiting: list[View] = []
    for view in views:
        waiting.append(view)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _scores(held: dict[str, ViewAccumulator], average: Average) -> dict[str, Any]:
    found: dict[str, Any] = {}
    right = {}
    for kind, accumulator in held.items():
        predictions = accumulator.predictions(average)
        assert isinstance(predictions, Predictions)
        right[kind] = predictions.ranks_N == 0
        ids = [video.id for video in predictions.videos]
        found[kind] = {
            "top1": 100 * float(right[kind].mean()),
            "interval": accuracy_interval(right[kind].astype(float), ids),
            "loss": predictions.loss(),
        }
        found["unreadable"] = len(predictions.unreadable)
    was_right = int(right["clean"].sum())
    found["turned"] = 100 * float((right["clean"] & ~right["attacked"]).sum() / was_right) if was_right else None
    return found
