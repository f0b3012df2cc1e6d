"""What a test leaves in a run's folder, made up without a model: config.yaml, results.json and predictions.npz."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoadapt.config.loading import check_config, dump_config
from videoadapt.data.structures import Video
from videoadapt.evaluation.of_labels import OF_LABELS


def leave_test(
    folder: Path,
    names: Sequence[str],
    labels: Sequence[int] | Sequence[tuple[int, ...]],
    logits_NVK: np.ndarray,
    ids: Sequence[str] | None = None,
    unreadable: dict[int, str] | None = None,
    **config: Any,
) -> Path:
    """The results are those that the evaluation itself gives for these logits; `config`: sections of it."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"film_{number}.mp4" for number in range(len(labels))] if ids is None else ids
    multi = isinstance(labels[0], tuple)
    videos = [
        Video(name, Path(name), -1 if multi else of, line, None, of if multi else None)
        for line, (name, of) in enumerate(zip(ids, labels, strict=True), start=1)
    ]
    logits_NVK = logits_NVK.astype(np.float32)
    logits_NVK[list(unreadable or {})] = np.nan
    found = OF_LABELS["multi" if multi else "single"].predictions(videos, logits_NVK, unreadable or {})
    checked = check_config({"output": str(folder), **config})
    (folder / "config.yaml").write_text(dump_config(checked), encoding="utf-8")
    sums = {
        "test_list_sha256": hashlib.sha256(repr(list(zip(ids, labels, strict=True))).encode()).hexdigest(),
        "test_files_sha256": hashlib.sha256(repr(ids).encode()).hexdigest(),
    }
    rest = {
        "checkpoint": "checkpoints/best.pt",
        "other_than_trained": {},
        "trained_parameters": 5,
        "num_val_in_test": 0,
    }
    statement = {"statement": {"backbone": "f" * 64}}
    (folder / "results.json").write_text(json.dumps({**found.results(), **rest, **sums, **statement}))
    np.savez(
        folder / "predictions.npz", video_id=np.array(ids), label=found.labels, scores=found.scores_NK,
        view_logits=logits_NVK, class_names=np.array(names),
    )  # fmt: skip
    return folder
